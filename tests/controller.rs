//! Controllers as processes: what they answered is there after any of them is killed, files that cannot be believed are refused by name, and brokers
//! by hand are led from one master to the next.
//!
//! Proves nothing about networks that part and disks that lie: `tests/sim.rs` does.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]

use std::fs;
use std::net::TcpListener;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, Controllers, Frame, Node, NodeOptions, wait_for};

const NAME: &str = "broker-a";

fn apply_id(id: u64, code: &str) -> Frame {
    Frame::request(1013)
        .ext("clusterName", "c")
        .ext("brokerName", NAME)
        .ext("appliedBrokerId", id)
        .ext("registerCheckCode", format!("127.0.0.1:{};{code}", 20_000 + id))
}

fn register(id: u64, address: &str) -> Frame {
    Frame::request(1003)
        .ext("clusterName", "c")
        .ext("brokerName", NAME)
        .ext("brokerId", id)
        .ext("brokerAddress", address)
}

fn heartbeat(id: u64, address: &str, timeout_ms: u64) -> Frame {
    Frame::request(904)
        .ext("clusterName", "c")
        .ext("brokerName", NAME)
        .ext("brokerAddr", address)
        .ext("brokerId", id)
        .ext("epoch", 0)
        .ext("maxOffset", 100)
        .ext("heartbeatTimeoutMills", timeout_ms)
}

fn elect(id: i64) -> Frame {
    Frame::request(1002)
        .ext("clusterName", "c")
        .ext("brokerName", NAME)
        .ext("brokerId", id)
        .ext("designateElect", false)
}

fn replica_info() -> Frame {
    Frame::request(1004).ext("brokerName", NAME)
}

fn alter(master: u64, epochs: (i64, i64), ids: &str) -> Frame {
    Frame::request(1001)
        .ext("brokerName", NAME)
        .ext("masterBrokerId", master)
        .ext("masterEpoch", epochs.0)
        .body(format!(r#"{{"syncStateSet":[{ids}],"syncStateSetEpoch":{}}}"#, epochs.1))
}

fn master_of(controllers: &Controllers) -> Option<String> {
    controllers.ask_leader(&replica_info()).ext.get("masterBrokerId").cloned()
}

/// A broker that says to every controller that it lives, on connections of its own.
struct Beats {
    clients: Vec<Client>,
    id: u64,
    address: String,
}

impl Beats {
    fn of(controllers: &Controllers, count: usize, id: u64, address: &str) -> Beats {
        let clients = (0..count).filter_map(|index| Client::connect(&controllers.address(index)).ok()).collect();
        Beats { clients, id, address: address.to_owned() }
    }

    fn beat(&mut self) {
        let request = heartbeat(self.id, &self.address, 5_000);
        for client in &mut self.clients {
            // One of them may be down.
            drop(client.call(request.clone()));
        }
    }
}

#[test]
fn what_was_answered_outlives_the_leader_and_then_all_of_them() {
    let mut controllers = Controllers::start(3, &[]);
    let first = controllers.leader();
    assert_eq!(controllers.ask_leader(&apply_id(1, "a")).code, 0);
    let other = (first + 1) % 3;
    let refused = controllers.ask(other, apply_id(2, "b")).expect("it answers");
    assert_eq!(refused.code, 2007, "{refused:?}");
    let metadata = controllers.ask(other, Frame::request(1005)).expect("it answers");
    assert_eq!(metadata.ext.get("controllerLeaderAddress"), Some(&controllers.address(first)));
    assert_eq!(metadata.ext.get("controllerLeaderId"), Some(&format!("n{first}")));

    controllers.kill(first);
    let second = controllers.leader();
    assert_ne!(second, first);
    assert_eq!(controllers.ask_leader(&apply_id(1, "another")).code, 2014, "the number is given away");
    assert_eq!(controllers.ask_leader(&apply_id(2, "b")).code, 0);

    // Two of three are down: nobody decides.
    controllers.kill(second);
    let last = 3 - first - second;
    wait_for("a controller that cannot decide", || {
        controllers.ask(last, apply_id(3, "c")).ok().filter(|found| found.code == 2007)
    });
    controllers.kill(last);
    (0..3).for_each(|index| controllers.restart(index));
    for (id, code) in [(1, "a"), (2, "b")] {
        assert_eq!(controllers.ask_leader(&apply_id(id, code)).code, 0, "it is known by its code");
        assert_eq!(controllers.ask_leader(&apply_id(id, "another")).code, 2014);
    }
}

#[test]
fn a_master_whose_connection_ends_is_followed_by_one_that_was_in_sync() {
    let controllers = Controllers::start(1, &[]);
    controllers.leader();
    // The brokers' ports, where they hear of the new master.
    let listeners: Vec<TcpListener> = (0..3).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
    let addresses: Vec<String> =
        listeners.iter().map(|listener| listener.local_addr().expect("bound").to_string()).collect();
    let mut beats = Vec::new();
    for id in 1..=3 {
        assert_eq!(controllers.ask_leader(&apply_id(id, "x")).code, 0);
        let address = &addresses[usize::try_from(id - 1).expect("small")];
        let registered = controllers.ask_leader(&register(id, address));
        assert_eq!((registered.code, registered.ext.contains_key("masterBrokerId")), (0, id > 1));
        let mut broker = Beats::of(&controllers, 1, id, address);
        broker.beat();
        beats.push(broker);
        if id == 1 {
            let elected = controllers.ask_leader(&elect(1));
            assert_eq!((elected.code, elected.ext_number("masterEpoch").expect("an epoch")), (0, 1));
        }
    }
    assert_eq!(controllers.ask_leader(&elect(3)).code, 2011, "the master lives");
    assert_eq!(controllers.ask_leader(&alter(1, (1, 1), "1,2")).code, 0);
    assert_eq!(controllers.ask_leader(&alter(1, (1, 1), "1")).code, 2001, "an old set");

    let began = Instant::now();
    beats.remove(0);
    wait_for("another master", || {
        beats.iter_mut().for_each(Beats::beat);
        master_of(&controllers).filter(|master| master == "2")
    });
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
    let info = controllers.ask_leader(&replica_info());
    assert_eq!(info.ext_number("masterEpoch").expect("an epoch"), 2);
    assert_eq!(info.body, br#"{"syncStateSet":[2],"syncStateSetEpoch":3}"#);
    // Both living brokers hear of it.
    for (listener, id) in listeners.iter().skip(1).zip([2, 3]) {
        listener.set_nonblocking(true).expect("ours");
        let (mut stream, _) = wait_for("word of the new master", || listener.accept().ok());
        stream.set_nonblocking(false).expect("ours");
        let told = Frame::read(&mut stream).expect("a frame");
        assert_eq!((told.code, told.ext_number("masterBrokerId").expect("a master")), (1008, 2), "broker {id}");
        assert_eq!(told.ext_number("masterEpoch").expect("an epoch"), 2);
        assert_eq!(told.ext.get("masterAddress"), Some(&addresses[1]));
    }
    // 3 was never in sync: when 2 is gone as well, nobody leads.
    beats.remove(0);
    wait_for("no master", || {
        beats[0].beat();
        master_of(&controllers).is_none().then_some(())
    });
    assert_eq!(controllers.ask_leader(&elect(3)).code, 2012);
    let mut second = Beats::of(&controllers, 1, 2, &addresses[1]);
    second.beat();
    wait_for("the one that was in sync", || master_of(&controllers).filter(|master| master == "2"));
}

#[test]
fn a_silent_master_is_gone_and_a_new_leader_waits_until_it_may_be() {
    let mut controllers = Controllers::start(3, &[]);
    assert_eq!(controllers.ask_leader(&apply_id(1, "a")).code, 0);
    assert_eq!(controllers.ask_leader(&apply_id(2, "b")).code, 0);
    let address = "127.0.0.1:9";
    let mut brokers: Vec<Beats> = (1..=2).map(|id| Beats::of(&controllers, 3, id, address)).collect();
    brokers.iter_mut().for_each(Beats::beat);
    assert_eq!(controllers.ask_leader(&elect(1)).code, 0);
    assert_eq!(controllers.ask_leader(&alter(1, (1, 1), "1,2")).code, 0);
    let leader = controllers.leader();
    controllers.kill(leader);
    controllers.leader();
    brokers.iter_mut().for_each(Beats::beat);
    assert_eq!(master_of(&controllers).as_deref(), Some("1"), "the other controllers have heard it as well");
    // Silent, while its connections stay open.
    let silent_since = Instant::now();
    while master_of(&controllers).as_deref() != Some("2") {
        brokers[1].beat();
        thread::sleep(Duration::from_millis(100));
        assert!(silent_since.elapsed() < Duration::from_secs(30), "nobody takes its place");
    }
    assert!(silent_since.elapsed() >= Duration::from_millis(4_500), "too early: {:?}", silent_since.elapsed());
}

#[test]
fn files_that_cannot_be_believed_are_refused_by_name() {
    let mut controllers = Controllers::start(1, &[]);
    for id in 1..=5 {
        assert_eq!(controllers.ask_leader(&apply_id(id, "x")).code, 0);
    }
    controllers.kill(0);
    let log = controllers.store(0).join("log");
    let sound = fs::read(&log).expect("there is one");
    let start = |controllers: &Controllers| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
        let output = command.arg("controller").arg("-c").arg(controllers.config(0)).output().expect("it runs");
        assert!(!output.status.success(), "it starts");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let mut rotten = sound.clone();
    rotten[sound.len() / 2] ^= 1;
    fs::write(&log, &rotten).expect("writable");
    let said = start(&controllers);
    assert!(said.contains("log is damaged at byte") && said.contains("n0"), "{said}");
    // A torn end was promised to nobody.
    fs::write(&log, &sound[..sound.len() - 1]).expect("writable");
    controllers.restart(0);
    assert_eq!(controllers.ask_leader(&apply_id(4, "another")).code, 2014);
    controllers.kill(0);
    let config = fs::read_to_string(controllers.config(0)).expect("there is one");
    fs::write(controllers.config(0), config.replace("DLegerGroup", "DLegerGruppe")).expect("writable");
    let said = start(&controllers);
    assert!(said.contains("unknown key"), "{said}");
    fs::write(controllers.config(0), config.replace("=test", "=other")).expect("writable");
    let said = start(&controllers);
    assert!(said.contains("log belongs to controller n0 of group test"), "{said}");
}

#[test]
fn what_strangers_send_is_dropped_and_the_controller_goes_on() {
    let controllers = Controllers::start(1, &[]);
    controllers.leader();
    let agree = |body: &[u8]| Frame::request(720_004).ext("group", "test").body(body);
    let mut client = Client::connect(&controllers.address(0)).expect("it listens");
    for body in [&b""[..], b"\x00", &[0; 100], &[255; 300], &[5; 90]] {
        assert_eq!(client.call(agree(body)).expect("it answers").code, 2005);
    }
    assert_eq!(client.call(agree(b"").ext("group", "another")).expect("it answers").code, 2005);
    assert_eq!(client.call(Frame::request(1001)).expect("it answers").code, 29, "a field is missing");
    assert_eq!(client.call(Frame::request(10)).expect("it answers").code, 3);
    assert_eq!(client.call(heartbeat(1, "127.0.0.1:9", 1)).expect("it answers").code, 2010, "it is in no group");
    assert_eq!(client.call(Frame::request(1009).body("controllerStorePath=/")).expect("it answers").code, 1);
    assert_eq!(client.call(Frame::request(1009).body("enableElectUncleanMaster=true")).expect("it answers").code, 0);
    let config = client.call(Frame::request(1010)).expect("it answers").body;
    assert!(String::from_utf8_lossy(&config).contains("enableElectUncleanMaster=true"));
    assert_eq!(controllers.ask_leader(&apply_id(1, "a")).code, 0);
}

#[test]
fn a_controller_lives_within_a_node_on_a_port_of_its_own() {
    let ports = ringmq_peers::PortBlock::reserve(1);
    let peers = format!("n0-127.0.0.1:{}", ports.listen());
    let more = vec![("enableControllerInNamesrv", "true".to_owned()), ("controllerDLegerPeers", peers)];
    let node = Node::start(&NodeOptions { more, ..NodeOptions::default() });
    let address = format!("127.0.0.1:{}", ports.listen());
    let answered = wait_for("the controller", || {
        let mut client = Client::connect(&address).ok()?;
        client.call(apply_id(1, "a")).ok().filter(|answer| answer.code == 0)
    });
    assert_eq!(answered.ext.get("brokerName").map(String::as_str), Some(NAME));
    assert!(node.store_dir().join("controller/log").exists(), "below the node's folder");
}
