//! A shard changes its role in place: real sockets, a real disk, and this test in the place of the control plane.
//!
//! Proved here: what was refused before is taken after and the other way round; the port for replicas is there while there is a master; two
//! shards take turns as masters of one log, each reign written to the epochs' file, and what is longer in one of them is cut; whoever waits is
//! answered when a life ends; a promotion whose port is taken stops the shard and says so; the control plane registers a shard as what it is, and a
//! slave alone hears of a master. Not proved: who may be promoted, which the simulator's world of replicas knows.

#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]

use std::collections::BTreeMap;
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use harness::{Client, Frame, code, wait_for};
use ringmq::broker::life::Life;
use ringmq::broker::settings::BrokerSettings;
use ringmq::config::{NamesrvConfig, NodeConfig, NodeKind};
use ringmq::control::configuration::Configuration;
use ringmq::control::mailbox::{ShardSender, control_mailbox, shard_mailbox};
use ringmq::control::plane::{NameServerPlan, NodePlan, Plane, Seat};
use ringmq::control::registrar::{Identity, Pace};
use ringmq::disk::Store;
use ringmq::letter::{MasterTables, StopReason, ToControl, ToShard};
use ringmq::log::FlushPolicy;
use ringmq::model::{BrokerId, Epoch, Role, ShardId, TopicName, UnixMs};
use ringmq::protocol::body::{DataVersion, TableChange, TablePlace, TopicConfig, TopicTable};
use ringmq::shard::descriptors::Descriptors;
use ringmq::shard::{self, ShardHandle, ShardSettings};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const WITHIN: Duration = Duration::from_secs(30);

/// An address that no other test has: its ports are taken by nobody else, also while nobody listens.
fn own_address() -> IpAddr {
    static LAST: AtomicU8 = AtomicU8::new(0);
    let [low, high, ..] = std::process::id().to_le_bytes();
    IpAddr::V4(Ipv4Addr::new(127, high, low, 1 + LAST.fetch_add(1, Ordering::Relaxed)))
}

/// A shard whose control plane is this test.
struct Shard {
    folder: tempfile::TempDir,
    handle: ShardHandle,
    to_shard: ShardSender,
    letters: mpsc::Receiver<ToControl>,
    address: SocketAddr,
    ha_address: SocketAddr,
}

impl Shard {
    fn start(role: Role) -> Shard {
        // Direct I/O differs on a tmpfs, where the tail belongs.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temp folder");
        let store = Store::open(&folder.path().join("store"), Some(1), 1, UnixMs(1_700_000_000_000)).expect("a store");
        let ip = own_address();
        let ha_port = TcpListener::bind((ip, 0)).and_then(|port| port.local_addr()).expect("a free port").port();
        let address = SocketAddr::new(ip, 0);
        let config = NodeConfig::defaults(NodeKind::Broker);
        let mut broker = BrokerSettings::of(&config, ShardId(0), 1, address);
        broker.message_body_bytes_max = 64 * 1024;
        broker.log.segment_bytes = 4 << 20;
        broker.log.flush = FlushPolicy::ASYNC;
        let settings = ShardSettings {
            shard: ShardId(0),
            store: Arc::new(store),
            bind_ip: ip,
            port: 0,
            ha_port,
            descriptors: Descriptors { clients: 1000, links: 16, name_server: 0 },
            tail_folder: PathBuf::from("/dev/shm"),
            tail_bytes: 8 << 20,
            life: Life { role, broker_id: BrokerId(1), epoch: None, end_max: None },
            broker,
        };
        let (to_control, mut from_shard) = control_mailbox();
        let (to_shard, mailbox) = shard_mailbox();
        let (tell, letters) = mpsc::channel();
        let answers = to_shard.clone();
        std::thread::spawn(move || {
            while let Some(letter) = from_shard.blocking_recv() {
                if let ToControl::TopicsChanged { ticket, .. } = &letter {
                    drop(answers.blocking_send(ToShard::Registered { ticket: *ticket }));
                }
                drop(tell.send(letter));
            }
        });
        let handle = shard::start(settings, to_control, mailbox).expect("a thread");
        let ready = handle.wait_ready().expect("it serves");
        let shard = Shard {
            folder,
            handle,
            to_shard,
            letters,
            address: ready.address,
            ha_address: SocketAddr::new(ip, ha_port),
        };
        shard.wait_role(role);
        shard
    }

    fn tell(&self, letter: ToShard) {
        self.to_shard.blocking_send(letter).expect("it lives");
    }

    /// Gives it a role, and waits until it has it.
    fn become_in(&self, role: Role, epoch: u32) {
        self.tell(ToShard::Role { role, broker_id: BrokerId(1), epoch: Epoch(epoch) });
        self.wait_role(role);
    }

    fn wait_role(&self, wanted: Role) {
        let broker_id = BrokerId(u64::from(!wanted.is_master()));
        let life = |letter: &ToControl| matches!(letter, ToControl::LifeBegan { role, broker_id: id, .. } if (*role, *id) == (wanted, broker_id));
        while !life(&self.letters.recv_timeout(WITHIN).expect("a letter")) {}
    }

    fn follow(&self, master: &Shard) {
        self.tell(ToShard::MasterFound { ha_address: Some(master.ha_address), address: None });
    }

    fn client(&self) -> Client {
        Client::connect(&self.address.to_string()).expect("it listens")
    }

    fn has_replica_port(&self) -> bool {
        TcpStream::connect(self.ha_address).is_ok()
    }

    fn epochs(&self) -> Vec<u32> {
        let file = self.folder.path().join("store/shard-0/config/epochs");
        let text = std::fs::read_to_string(file).unwrap_or_default();
        // Before them stand the log's identity and who is in sync.
        text.lines().filter_map(|line| line.split(' ').next()?.parse().ok()).collect()
    }

    /// The bodies of the messages in queue 0.
    fn bodies(&self) -> Vec<String> {
        let records = self.client().read_queue("T", 0, 0).unwrap_or_default();
        records.into_iter().map(|record| String::from_utf8(record.body).expect("text")).collect()
    }

    fn wait_bodies(&self, what: &str, wanted: &[String]) {
        wait_for(what, || (self.bodies() == wanted).then_some(()));
    }

    fn stop(self) -> StopReason {
        drop(self.to_shard.blocking_send(ToShard::Stop));
        self.handle.join().expect("its thread ends well")
    }
}

fn tell_topic(shard: &Shard) {
    let topics = BTreeMap::from([(TopicName::from("T"), TopicConfig::new("T", 1))]);
    let part = TableChange::Topics(TopicTable { version: DataVersion::default(), topics }, Vec::new());
    let told = MasterTables::Part { behind: TablePlace::FIRST, until: None, part };
    shard.tell(ToShard::MasterTables(Box::new(told)));
}

fn send(shard: &Shard, sent: &mut Vec<String>, count: usize) {
    let mut client = shard.client();
    for _ in 0..count {
        let body = format!("message {}", sent.len());
        let receipt = client.send("T", 0, body.as_bytes()).expect("a master takes it");
        assert_eq!((receipt.code, receipt.queue_offset), (code::SUCCESS, i64::try_from(sent.len()).expect("few")));
        sent.push(body);
    }
}

fn assert_is_slave(shard: &Shard) {
    let refused = shard.client().call(Client::send_request("T", 0, b"x", &[])).expect("an answer");
    assert_eq!(refused.code, code::SYSTEM_BUSY);
    assert!(!shard.has_replica_port(), "a slave has no slaves");
}

#[test]
fn two_shards_take_turns_as_masters_in_place() {
    let (a, b) = (Shard::start(Role::Slave), Shard::start(Role::Slave));
    [&a, &b].into_iter().for_each(tell_topic);
    assert_is_slave(&a);
    assert_eq!(a.epochs(), [] as [u32; 0]);

    a.become_in(Role::AsyncMaster, 5);
    assert!(a.has_replica_port());
    assert_eq!(a.epochs(), [5], "the reign is written before anything is stored");
    let mut sent = Vec::new();
    send(&a, &mut sent, 20);
    b.follow(&a);
    b.wait_bodies("copies on the slave", &sent);

    // The other one's turn.
    let mut held = a.client();
    let pull = held.start(Client::long_pull_request("G", "T", 0, 20, WITHIN)).expect("sent");
    assert_eq!(held.max_offset("T", 0).expect("behind the pull"), 20);
    a.become_in(Role::Slave, 6);
    let answer = held.finish(pull).expect("whoever waits is answered");
    assert_eq!(answer.code, code::PULL_NOT_FOUND);
    assert_is_slave(&a);
    b.become_in(Role::AsyncMaster, 6);
    a.follow(&b);
    send(&b, &mut sent, 20);
    a.wait_bodies("copies on the former master", &sent);
    assert_eq!((a.epochs(), b.epochs()), (vec![5, 6], vec![5, 6]));

    // And back, while the other one stores what nobody has: it is cut when it hears that it is a slave.
    a.become_in(Role::AsyncMaster, 7);
    let mut lost = sent.clone();
    send(&b, &mut lost, 3);
    send(&a, &mut sent, 1);
    b.become_in(Role::Slave, 7);
    b.follow(&a);
    b.wait_bodies("the new master's log", &sent);
    assert_is_slave(&b);
    // An order of a reign that is over changes nothing.
    b.tell(ToShard::Role { role: Role::AsyncMaster, broker_id: BrokerId(1), epoch: Epoch(6) });
    send(&a, &mut sent, 1);
    b.wait_bodies("what the master goes on with", &sent);
    assert_is_slave(&b);
    for shard in [a, b] {
        assert_eq!(shard.stop(), StopReason::Ordered);
    }
}

/// What this process logs.
#[derive(Clone, Default)]
struct Said(Arc<Mutex<Vec<u8>>>);

impl Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("nobody panics with it").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An operator who looks for when a shard became what finds one line for each change.
#[test]
fn a_change_of_role_is_one_line_in_the_log() {
    let said = Said::default();
    let writer = said.clone();
    // Other tests of this file log as well: this one's reigns have numbers of their own.
    drop(tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).try_init());
    let a = Shard::start(Role::Slave);
    a.become_in(Role::AsyncMaster, 901);
    a.become_in(Role::Slave, 902);
    assert_eq!(a.stop(), StopReason::Ordered);
    let text = String::from_utf8(said.0.lock().expect("nobody panics with it").clone()).expect("text");
    let lines =
        |epoch: &str| text.lines().filter(|line| line.contains(epoch) && line.contains("INFO")).collect::<Vec<_>>();
    for (epoch, words, number) in [
        ("epoch=901", "promoted: this shard is a master now", "broker_id=0"),
        ("epoch=902", "demoted: this shard is a slave now", "broker_id=1"),
    ] {
        let of_change: Vec<_> = lines(epoch).into_iter().filter(|line| !line.contains("reign begins")).collect();
        let [line] = of_change[..] else { panic!("{of_change:?} in\n{text}") };
        assert!(line.contains(words) && line.contains(number) && line.contains("shard=0"), "{line}");
    }
}

/// Where a name server of ours says that the brokers of a name are, by brokerId.
fn addresses_at(name_server: &str) -> Option<BTreeMap<String, String>> {
    let mut client = Client::connect(name_server).ok()?;
    let info = client.call(Frame::request(106).ext("acceptStandardJsonOnly", true)).ok()?.json().ok()?;
    let addresses = info["brokerAddrTable"]["broker-a"]["brokerAddrs"].as_object()?.clone();
    Some(addresses.into_iter().map(|(id, address)| (id, address.as_str().unwrap_or_default().to_owned())).collect())
}

/// Two shards of one brokerName, of which this test plays both, and the real control plane with its name server.
#[test]
fn name_servers_and_followers_know_a_shard_by_its_life() {
    let port = TcpListener::bind((LOOPBACK, 0)).and_then(|port| port.local_addr()).expect("a free port").port();
    let folder = tempfile::tempdir().expect("a temp folder");
    let text = format!("listenPort={port}\nkvConfigPath={}/kv.json\n", folder.path().display());
    let config = NamesrvConfig::read("test", &text).expect("sound");
    let name_server = format!("127.0.0.1:{port}");
    let (to_control, from_shards) = control_mailbox();
    let (mut seats, mut mailboxes) = (Vec::new(), Vec::new());
    for number in 0..2_u16 {
        let (mailbox, receiver) = shard_mailbox();
        mailboxes.push(receiver);
        let identity = Identity {
            shard: ShardId(number),
            cluster: "DefaultCluster".to_owned(),
            broker_name: "broker-a".to_owned(),
            address: format!("127.0.0.1:{}", 10 + number),
            ha_address: format!("127.0.0.1:{}", 20 + number),
            ha_master: None,
        };
        seats.push(Seat { identity, mailbox });
    }
    let plan = NodePlan {
        seats,
        mailbox: from_shards,
        name_servers: vec![name_server.clone()],
        pace: Pace { period: Duration::from_secs(30), answer_within: Duration::from_secs(3) },
        configuration: Configuration::new(NodeConfig::defaults(NodeKind::Broker), None),
    };
    // It ends when its shards have: no signal comes.
    let node = std::thread::spawn(move || {
        let plane = Plane::start(Some(NameServerPlan { config, port_key: "listenPort", connections_max: 100 }))
            .expect("it starts");
        plane.run_node(plan, |_| ())
    });
    let say = |letter| to_control.blocking_send(letter).expect("the control plane lives");
    let live = |number: u16, role: Role, broker_id: u64| {
        let shard = ShardId(number);
        say(ToControl::LifeBegan { shard, role, broker_id: BrokerId(broker_id) });
        let topics = vec![TopicConfig::new("T", 1), TopicConfig::new("U", 1)];
        let version = DataVersion { counter: i64::from(number), ..DataVersion::default() };
        say(ToControl::TopicsChanged { shard, ticket: 1, topics, version, spread: false, full: true });
    };
    let mut wait_master = |number: usize, wanted: Option<&str>| loop {
        let letter = mailboxes[number].blocking_recv().expect("the control plane lives");
        if let ToShard::MasterFound { ha_address, .. } = letter
            && ha_address.map(|address| address.to_string()).as_deref() == wanted
        {
            return;
        }
    };
    let wait_addresses = |wanted: [(&str, &str); 2]| {
        let wanted: BTreeMap<String, String> =
            wanted.into_iter().map(|(id, address)| (id.to_owned(), address.to_owned())).collect();
        wait_for("registration as they are", || (addresses_at(&name_server)? == wanted).then_some(()));
    };
    for number in 0..2 {
        live(number, if number == 0 { Role::AsyncMaster } else { Role::Slave }, u64::from(number));
        let address = SocketAddr::new(LOOPBACK, 10 + number);
        say(ToControl::Listening { shard: ShardId(number), address, tail_survives_kill: true });
    }
    wait_addresses([("0", "127.0.0.1:10"), ("1", "127.0.0.1:11")]);
    wait_master(1, Some("127.0.0.1:20"));

    live(0, Role::Slave, 2);
    live(1, Role::AsyncMaster, 0);
    wait_addresses([("0", "127.0.0.1:11"), ("2", "127.0.0.1:10")]);
    wait_master(0, Some("127.0.0.1:21"));
    wait_master(1, None);
    for number in 0..2 {
        say(ToControl::Stopped { shard: ShardId(number), why: StopReason::Ordered });
    }
    node.join().expect("its thread ends well");
}

#[test]
fn a_promotion_without_its_port_stops_the_shard_and_says_why() {
    let shard = Shard::start(Role::Slave);
    tell_topic(&shard);
    let _taken = TcpListener::bind(shard.ha_address).expect("a slave leaves it free");
    let address = shard.ha_address.to_string();
    let sentence = fails_to_become_a_master(shard);
    assert!(sentence.contains("haListenPort") && sentence.contains(&address), "{sentence}");
}

#[test]
fn a_life_that_cannot_begin_stops_the_shard_and_leaves_its_tables() {
    let shard = Shard::start(Role::Slave);
    tell_topic(&shard);
    let epochs = shard.folder.path().join("store/shard-0/config/epochs");
    std::fs::create_dir_all(epochs.parent().expect("a folder")).expect("made");
    std::fs::write(epochs, "no epochs").expect("written");
    let sentence = fails_to_become_a_master(shard);
    assert!(sentence.contains("config/epochs cannot be read"), "{sentence}");
}

/// Orders a slave that has a topic to become a master, which stops it; returns why.
fn fails_to_become_a_master(shard: Shard) -> String {
    let Shard { folder, handle, to_shard, letters, .. } = shard;
    let order = ToShard::Role { role: Role::AsyncMaster, broker_id: BrokerId(1), epoch: Epoch(2) };
    to_shard.blocking_send(order).expect("it lives");
    let reason = loop {
        if let ToControl::Stopped { why, .. } = letters.recv_timeout(WITHIN).expect("a letter") {
            break why;
        }
    };
    assert_eq!(handle.join().expect("its thread ends well"), reason);
    let topics = std::fs::read_to_string(folder.path().join("store/shard-0/config/topics.json")).expect("a table");
    assert!(topics.contains("\"T\""), "{topics}");
    let StopReason::Failed(sentence) = reason else { panic!("stopped for {reason:?}") };
    sentence
}
