//! The configuration as users meet it: files that must be accepted as they stand, every sentence of refusal, and `conf/`.
//!
//! Proves that each fault is found with its line and says what to do, and that the files of `conf/` are complete and read back to
//! what they say. It cannot prove that a setting does what its text says; the broker's tests do.
//!
//! `RINGMQ_BLESS=1 cargo test --test config` writes `conf/` anew from the table; read the difference.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ringmq::config::{ControllerConfig, FlushDiskType, NamesrvConfig, NodeConfig, NodeKind, table};

fn all(text: &str) -> Result<NodeConfig, String> {
    NodeConfig::read(NodeKind::All, "all.conf", text, None).map_err(|error| error.to_string())
}

fn broker(text: &str) -> Result<NodeConfig, String> {
    NodeConfig::read(NodeKind::Broker, "broker.conf", text, None).map_err(|error| error.to_string())
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

#[test]
fn the_documented_one_shard_file_is_accepted_as_it_stands() {
    let text = "brokerClusterName=DefaultCluster\nbrokerName=broker-a\nbrokerIP1=127.0.0.1\nlistenPort=10911\n\
                namesrvListenPort=9876\nstorePathRootDir=/tmp/x\nshards=1\nflushDiskType=SYNC_FLUSH\nautoCreateTopicEnable=true\n";
    for kind in [NodeKind::All, NodeKind::Broker] {
        let config = NodeConfig::read(kind, "f", text, None).expect("accepted");
        assert_eq!((config.port(0), config.vip_port(0), config.ha_port(0)), (10911, 10909, 10912));
        assert_eq!(config.shard_name(0, 1), "broker-a");
        assert_eq!(config.flush, FlushDiskType::Sync);
        assert_eq!(config.shards, Some(1));
        assert_eq!(config.store_root, PathBuf::from("/tmp/x"));
        assert_eq!(config.namesrv_listen_port, 9876);
        assert!(config.not_needed.is_empty(), "{:?}", config.not_needed);
    }
}

#[test]
fn nothing_said_means_the_defaults() {
    let config = all("").expect("accepted");
    assert_eq!((config.bind_ip, config.advertised_ip), (ip("127.0.0.1"), Some(ip("127.0.0.1"))));
    assert_eq!(config.namesrv.bind_ip, ip("127.0.0.1"));
    assert_eq!(config.namesrv.kv_config_path, PathBuf::from("ringmq-data/namesrv/kvConfig.json"));
    assert_eq!(config.flush, FlushDiskType::Async);
    let config = broker("").expect("accepted");
    assert_eq!((config.bind_ip, config.advertised_ip), (ip("0.0.0.0"), None));
}

#[test]
fn addresses_follow_one_another() {
    for (text, bind, advertised) in [
        ("brokerIP1=10.0.0.1", "0.0.0.0", Some("10.0.0.1")),
        ("brokerIP1=127.0.0.2", "127.0.0.2", Some("127.0.0.2")),
        ("bindAddress=10.0.0.1", "10.0.0.1", Some("10.0.0.1")),
        ("bindAddress=0.0.0.0", "0.0.0.0", None),
        ("bindAddress=0.0.0.0\nbrokerIP1=1.2.3.4", "0.0.0.0", Some("1.2.3.4")),
    ] {
        let config = all(text).expect("accepted");
        assert_eq!((config.bind_ip, config.advertised_ip), (ip(bind), advertised.map(ip)), "{text}");
    }
}

#[test]
fn shards_have_names_and_ports_by_the_stride() {
    let config = all("shards=3\nbrokerName=n").expect("accepted");
    let names: Vec<String> = (0..3).map(|index| config.shard_name(index, 3)).collect();
    assert_eq!(names, ["n-0", "n-1", "n-2"]);
    let ports: Vec<(u16, u16, u16)> =
        (0..3).map(|index| (config.vip_port(index), config.port(index), config.ha_port(index))).collect();
    assert_eq!(ports, [(10909, 10911, 10912), (10919, 10921, 10922), (10929, 10931, 10932)]);
}

#[test]
fn keys_of_apache_are_accepted_and_named() {
    let text = "sendMessageThreadPoolNums=16\nkvConfigPath=/tmp/kv.json\naclEnable=false\nmaxHashSlotNum=7\nmessageDelayLevel=1s 5m\n";
    let named = |config: NodeConfig| config.not_needed.into_iter().map(|entry| entry.key).collect::<Vec<_>>();
    let expected = ["sendMessageThreadPoolNums", "kvConfigPath", "aclEnable", "maxHashSlotNum"];
    assert_eq!(named(broker(text).expect("accepted")), expected);
    let config = all(text).expect("accepted");
    assert_eq!((config.delay_levels.highest(), config.delay_levels.delay_ms(2)), (2, 300_000));
    assert_eq!(config.namesrv.kv_config_path, PathBuf::from("/tmp/kv.json"), "`all` has a name server");
    assert_eq!(named(config), ["sendMessageThreadPoolNums", "aclEnable", "maxHashSlotNum"]);
    let namesrv = NamesrvConfig::read("n.conf", "serverWorkerThreads=8\nbrokerName=a").expect("accepted");
    assert_eq!(namesrv.not_needed.len(), 2);
}

#[test]
fn keys_of_what_is_not_there_yet_are_told_from_those_that_nobody_needs() {
    let config = broker("enableCompaction=true\naclCacheMaxNum=8\nreviveQueueNum=8").expect("accepted");
    let missing: Vec<Option<&str>> = config.not_needed.into_iter().map(|entry| entry.missing).collect();
    assert_eq!(missing, [Some("compacted topics"), Some("users and access control"), None]);
}

#[test]
fn a_long_value_does_not_hide_what_is_wrong() {
    let refused = broker(&format!("messageDelayLevel={}", "1s ".repeat(65))).expect_err("one too many");
    assert!(
        refused.ends_with("... is not delays such as 1s 10m 2h 1d: 65 delay levels: there may be 1 to 64"),
        "{refused}"
    );
    for long in [
        format!("slaveTimeout={}", "9".repeat(50_000)),
        format!("messageDelayLevel={}", "9".repeat(50_000)),
        "k".repeat(50_000) + "=1",
    ] {
        let refused = broker(&long).expect_err("it is no value");
        assert!(refused.len() < 500, "{} bytes", refused.len());
    }
}

#[test]
fn a_delay_that_outlives_the_messages_is_warned_of() {
    assert_eq!(broker("").expect("accepted").too_long_delay(), None);
    assert_eq!(broker("fileReservedTime=2").expect("accepted").too_long_delay(), None, "the last level is two hours");
    for (text, level) in [("fileReservedTime=1", 18), ("messageDelayLevel=1s 4d", 2)] {
        let warning = broker(text).expect("accepted").too_long_delay().expect("it may be deleted before");
        assert!(warning.starts_with(&format!("messages of delay level {level} ")), "{warning}");
    }
}

#[test]
fn roles_decide_who_is_waited_for() {
    for (text, replicas) in [
        ("", 1),
        ("brokerRole=SYNC_MASTER", 2),
        ("brokerRole=SYNC_MASTER\ninSyncReplicas=1", 1),
        ("brokerRole=SYNC_MASTER\ninSyncReplicas=3\nminInSyncReplicas=2", 3),
        ("brokerRole=SLAVE\nbrokerId=1\ninSyncReplicas=2\nminInSyncReplicas=2", 2),
        ("brokerRole=SLAVE\nbrokerId=1\nminInSyncReplicas=2", 1),
    ] {
        let config = broker(text).expect("accepted");
        assert_eq!(config.replication.replica.in_sync_replicas, replicas, "{text:?}");
        let again = broker(&config.print()).expect("our own text");
        assert_eq!(again.print(), config.print(), "{text:?}");
    }
}

#[test]
fn replication_ports_of_shards_follow_by_the_stride() {
    let config = broker("shards=3\nhaListenPort=20000\nhaMasterAddress=m:30000").expect("accepted");
    let ports: Vec<u16> = (0..3).map(|index| config.ha_port(index)).collect();
    assert_eq!(ports, [20000, 20010, 20020]);
    assert_eq!(config.ha_master_address(2).as_deref(), Some("m:30020"));
    assert_eq!(broker("").expect("accepted").ha_master_address(0), None);
}

#[test]
fn the_command_line_wins_over_the_file() {
    let read = |given| NodeConfig::read(NodeKind::Broker, "f", "namesrvAddr=a:1;b:2", given);
    assert_eq!(read(None).expect("accepted").name_servers, ["a:1", "b:2"]);
    assert_eq!(read(Some("c:3")).expect("accepted").name_servers, ["c:3"]);
    let refused = read(Some("c")).expect_err("no port").to_string();
    assert_eq!(refused, "command line: -n=c is not a list of HOST:PORT, separated by ;");
}

#[test]
#[expect(clippy::too_many_lines, reason = "one row a sentence")]
fn every_fault_is_one_sentence_with_its_line() {
    for (text, expected) in [
        ("\nbrokerNmae=a", "broker.conf line 2: unknown key brokerNmae; did you mean brokerName?"),
        ("flushdisktype=SYNC_FLUSH", "broker.conf line 1: unknown key flushdisktype; did you mean flushDiskType?"),
        (
            "sendMessageThreadPoolNum=1",
            "broker.conf line 1: unknown key sendMessageThreadPoolNum; did you mean sendMessageThreadPoolNums?",
        ),
        (
            "messageDelayLevel=1s 5x 10s",
            "broker.conf line 1: messageDelayLevel=1s 5x 10s is not delays such as 1s 10m 2h 1d: `5x` is no delay: a whole number and one of the units s, m, h, d, a hundred years at most",
        ),
        (
            "messageDelayLevel=",
            "broker.conf line 1: messageDelayLevel= is not delays such as 1s 10m 2h 1d: 0 delay levels: there may be 1 to 64",
        ),
        (
            "somethingQuiteElse=1",
            "broker.conf line 1: unknown key somethingQuiteElse; leave it out, or see conf/ for the keys there are",
        ),
        ("listenPort=1\nlistenPort=2", "broker.conf line 2: listenPort is set here and at line 1; keep one of them"),
        ("listenPort=many", "broker.conf line 1: listenPort=many is not a whole number from 0 to 65535"),
        ("flushDiskType=SYNC", "broker.conf line 1: flushDiskType=SYNC is not ASYNC_FLUSH or SYNC_FLUSH"),
        ("autoCreateTopicEnable=yes", "broker.conf line 1: autoCreateTopicEnable=yes is not true or false"),
        ("brokerName=a b", "broker.conf line 1: brokerName=a b is not a name of 1 to 90 letters, digits, - _ . % or |"),
        ("brokerIP1=here", "broker.conf line 1: brokerIP1=here is not an IP address such as 192.168.0.1"),
        ("namesrvAddr=here", "broker.conf line 1: namesrvAddr=here is not a list of HOST:PORT, separated by ;"),
        ("shards=0", "broker.conf line 1: shards=0 is not a whole number from 1 to 512"),
        ("deleteWhen=24", "broker.conf line 1: deleteWhen=24 is not hours of the day from 00 to 23, with ; between"),
        (
            "maxMessageSize=99999999",
            "broker.conf line 1: maxMessageSize=99999999 is not a whole number of bytes from 1 to 8388608",
        ),
        ("brokerRole=BOSS", "broker.conf line 1: brokerRole=BOSS is not ASYNC_MASTER, SYNC_MASTER or SLAVE"),
        (
            "brokerRole=SLAVE",
            "broker.conf line 1: brokerId=0 is the master's, but brokerRole=SLAVE; give each slave a brokerId of its own, from 1",
        ),
        (
            "brokerRole=SYNC_MASTER\nbrokerId=2",
            "broker.conf line 2: brokerId=2 is a slave's, but brokerRole=SYNC_MASTER; a master has brokerId=0",
        ),
        ("inSyncReplicas=0", "broker.conf line 1: inSyncReplicas=0 is not a whole number from 1 to 16"),
        (
            "inSyncReplicas=2",
            "broker.conf line 1: inSyncReplicas=2 waits for slaves, but brokerRole=ASYNC_MASTER waits for none; use SYNC_MASTER or remove the line",
        ),
        (
            "brokerRole=SYNC_MASTER\ninSyncReplicas=2\nminInSyncReplicas=3",
            "broker.conf line 3: minInSyncReplicas=3 is more than inSyncReplicas=2, the replicas that a reply waits for; lower it",
        ),
        (
            "haHousekeepingInterval=5000",
            "broker.conf line 1: haSendHeartbeatInterval=5000 lets idle connections be silent for haHousekeepingInterval=5000, after which they are closed; make it shorter",
        ),
        (
            "haMasterAddress=here",
            "broker.conf line 1: haMasterAddress=here is not HOST:PORT of the master's replication port",
        ),
        (
            "haMasterAddress=a:1;b:2",
            "broker.conf line 1: haMasterAddress=a:1;b:2 is not HOST:PORT of the master's replication port",
        ),
        (
            "shards=2\nhaMasterAddress=a:65530",
            "broker.conf line 2: haMasterAddress=a:65530 with portStride=10 puts the master of the last shard beyond port 65535; use a lower port or fewer shards",
        ),
        (
            "aclEnable=true",
            "broker.conf line 1: aclEnable=true is not supported by this version of ringmq: leave it out and let the network decide who may connect",
        ),
        (
            "enableControllerMode=true",
            "broker.conf line 1: enableControllerMode=true is not supported by this version of ringmq: leave it out and give masters and slaves fixed roles, as conf/2m-2s-sync does: a controller of ringmq leads brokers of Apache, not those of ringmq yet",
        ),
        (
            "brokerId=1",
            "broker.conf line 1: brokerId=1 is a slave's, but brokerRole=ASYNC_MASTER; a master has brokerId=0",
        ),
        (
            "brokerId=-1",
            "broker.conf line 1: brokerId=-1 is not 0 for a master, or a number of its own from 1 for a slave: -1 leaves it to DLedger or a controller, and ringmq's brokers take their numbers from nobody",
        ),
        (
            "enabledAppendPropCRC=false",
            "broker.conf line 1: enabledAppendPropCRC=false would leave torn records undetected after a crash; remove the line",
        ),
        (
            "mappedFileSizeCommitLog=10000000",
            "broker.conf line 1: mappedFileSizeCommitLog=10000000 is not a multiple of 4096, the block of direct I/O",
        ),
        (
            "mappedFileSizeCommitLog=4194304",
            "broker.conf line 1: mappedFileSizeCommitLog=4194304 is too small for messages of maxMessageSize=4194304; use at least 8388608",
        ),
        ("tailSize=10000000", "broker.conf line 1: tailSize=10000000 is not a power of two; use 16777216"),
        (
            "maxMessageSize=8388608\ntailSize=8388608",
            "broker.conf line 2: tailSize=8388608 is too small for messages of maxMessageSize=8388608; use at least 16777216",
        ),
        (
            "listenPort=2",
            "broker.conf line 1: listenPort=2 leaves no room for the VIP port two below it; use 1024 or more",
        ),
        (
            "shards=2\nportStride=2",
            "broker.conf line 1: portStride=2 leaves no room for the VIP port (-2) and the HA port (+1) of 2 shards; use at least 4",
        ),
        (
            "listenPort=65530\nshards=2",
            "broker.conf line 2: listenPort=65530 with portStride=10 puts shard 1 beyond port 65535; use a lower listenPort or fewer shards",
        ),
        (
            "haListenPort=10921\nshards=2",
            "broker.conf line 1: the port of shard 1 is 10921, which is the HA port of shard 0; change listenPort, portStride or namesrvListenPort",
        ),
        (
            "brokerIP1=0.0.0.0",
            "broker.conf line 1: brokerIP1=0.0.0.0 is no address that a client could connect to; name one of this machine's",
        ),
        (
            "bindAddress=127.0.0.1\nbrokerIP1=10.0.0.1",
            "broker.conf line 1: bindAddress=127.0.0.1 listens on this machine only, but brokerIP1=10.0.0.1 sends clients elsewhere; make both agree",
        ),
        (
            "storePathRootDir=/a\nstorePathCommitLog=/b",
            "broker.conf line 2: storePathCommitLog=/b lies outside storePathRootDir=/a, where every shard keeps its commit log; remove the line or move storePathRootDir",
        ),
        ("a=\\u12", "broker.conf line 1: \\u must be followed by the four hexadecimal digits of a character"),
    ] {
        assert_eq!(broker(text).map(|_| ()), Err(expected.to_owned()), "{text:?}");
    }
    let taken = "all.conf line 1: the port of shard 0 is 10911, which is namesrvListenPort; change listenPort, portStride or namesrvListenPort";
    assert_eq!(all("namesrvListenPort=10911").map(|_| ()), Err(taken.to_owned()));
    let inner = "all.conf line 1: enableTopicList=maybe is not true or false";
    assert_eq!(all("enableTopicList=maybe").map(|_| ()), Err(inner.to_owned()));
    let controller = |text: &str| ControllerConfig::read("c.conf", text).map(|_| ()).map_err(|error| error.to_string());
    let check = |text: &str, expected: &str| assert_eq!(controller(text), Err(expected.to_owned()), "{text}");
    let list = "a list of one to 7 nNUMBER-HOST:PORT, separated by ;";
    for peers in ["", "n0", "n0-a", "a-b:1", "n00-a:1", "n0-a:1;n0-b:1", "n0-a:1;n1-a:1", "n70000-a:1"] {
        check(
            &format!("controllerDLegerPeers={peers}"),
            &format!("c.conf line 1: controllerDLegerPeers={peers} is not {list}"),
        );
    }
    check(
        "controllerDLegerPeers=n1-a:1;n2-b:1\ncontrollerDLegerSelfId=n3",
        "c.conf line 2: controllerDLegerSelfId=n3 is none of controllerDLegerPeers; name this controller there, as all others name it",
    );
    check(
        "controllerType=jRaft",
        "c.conf line 1: controllerType=jRaft is not supported by this version of ringmq: leave it out, controllers of ringmq agree in one way",
    );
    assert_eq!(controller("controllerDLegerPeers=n2-b:2;n1-a:1\ncontrollerDLegerSelfId=n2\nmappedFileSize=1"), Ok(()));
    let namesrv = NamesrvConfig::read("n.conf", "listenPort=0").expect_err("no port").to_string();
    assert_eq!(namesrv, "n.conf line 1: listenPort=0 is not a whole number from 1 to 65535");
}

#[test]
fn what_is_printed_reads_back_to_the_same() {
    let config = all("shards=2\nflushDiskType=SYNC_FLUSH\nnamesrvAddr=a:1;b:2\ndeleteWhen=16").expect("accepted");
    let again = all(&config.print()).expect("our own text");
    assert_eq!(again.print(), config.print());
    let namesrv = NamesrvConfig::read("n", "orderMessageEnable=true").expect("accepted");
    assert_eq!(NamesrvConfig::read("n", &namesrv.print()).expect("our own text").print(), namesrv.print());
    let controller = ControllerConfig::read("c", "controllerDLegerPeers=n1-a:1;n0-b:2").expect("accepted");
    assert_eq!(ControllerConfig::read("c", &controller.print()).expect("our own text").print(), controller.print());
}

#[test]
fn a_controller_in_the_process_has_its_keys_in_the_same_file() {
    let text = "enableControllerInNamesrv=true\ncontrollerDLegerSelfId=n0";
    let config = all(text).expect("accepted");
    assert!(config.namesrv.has_controller && config.not_needed.is_empty());
    let namesrv = NamesrvConfig::read("n.conf", text).expect("accepted");
    assert!(namesrv.has_controller && namesrv.not_needed.is_empty());
    let without = NamesrvConfig::read("n.conf", "controllerDLegerSelfId=n0").expect("accepted");
    assert_eq!(without.not_needed.len(), 1, "it does nothing there");
    let below = ControllerConfig::read_beside("n.conf", text, Some(Path::new("/data"))).expect("accepted");
    assert_eq!(below.store_path, PathBuf::from("/data/controller"));
}

const ALL: &str = "ringmq all -c conf/all.conf: a name server and a broker node in one process.\n\
    RocketMQ's properties. Lines that are commented out show defaults. Settings of the name server (conf/namesrv.conf) are\n\
    accepted here too, its port and address excepted: namesrvListenPort, and as the node's.";
const BROKER: &str = "ringmq broker -c conf/broker.conf: a broker node, registered with other processes' name servers.\n\
    RocketMQ's properties. Lines that are commented out show defaults.";
const NAMESRV: &str = "ringmq namesrv -c conf/namesrv.conf: a name server alone.\n\
    RocketMQ's properties. Lines that are commented out show defaults.";
const CONTROLLER: &str = "ringmq controller -c conf/controller.conf: one controller alone, which is enough to try it. Of three, each has this file with its own id.\n\
    It leads brokers of Apache that have enableControllerMode=true and controllerAddr.\n\
    RocketMQ's properties. Lines that are commented out show defaults.";
const CONTROLLER_ALONE: [(&str, &str); 2] =
    [("controllerDLegerPeers", "n0-127.0.0.1:9877"), ("controllerDLegerSelfId", "n0")];
const NOTHING_SET: &str = "RocketMQ's properties. Lines that are commented out show defaults.";
const ON_ONE_MACHINE: &str = "It starts on one machine as it stands: `ringmq-cluster up` of this folder runs all of it. On machines of their own, give\n\
    brokerIP1 the machine's address, remove bindAddress, and let namesrvAddr name the machines of the name servers.";
const NAME_SERVER_OF: &str =
    "One of two name servers, which do not know of one another: brokers register with both, clients ask either.";
const MASTER_ALONE: &str =
    "One of two masters without slaves. While one is down its unread messages wait on its disk; the other goes on.";
const MASTER_ASYNC: &str = "A master whose slave copies its log a moment later: a reply waits for this machine only. If it is lost, consumers read on\n\
    from the slave without any change at their side, and the last moments, which the slave does not have, are lost.";
const MASTER_SYNC: &str = "A master that replies when its slave has the message too (synchronous double write). If this machine is lost, consumers\n\
    read on from the slave, and nothing that was acknowledged is lost. Without its slave, sends are answered SLAVE_NOT_AVAILABLE.";
const SLAVE: &str = "A slave: copies the log of the master of the same brokerName, which it finds through the name servers, and takes topics,\n\
    groups and offsets from it. It needs as many shards as its master.";

/// One node of a mode in `conf/`: a name server by its port, or a broker.
enum Part {
    NameServer(u16),
    Broker { name: &'static str, role: &'static str, id: &'static str, port: u16 },
}

/// A mode's folder: its files by name.
fn mode(folder: &str, master: &str, master_role: &'static str, with_slaves: bool) -> Vec<(String, String)> {
    let mut parts = vec![("namesrv-1", Part::NameServer(9876)), ("namesrv-2", Part::NameServer(9877))];
    let broker = |name, role, id, port| Part::Broker { name, role, id, port };
    parts.push(("broker-a", broker("broker-a", master_role, "0", 10911)));
    parts.push(("broker-b", broker("broker-b", master_role, "0", 12911)));
    if with_slaves {
        parts.push(("broker-a-s", broker("broker-a", "SLAVE", "1", 11911)));
        parts.push(("broker-b-s", broker("broker-b", "SLAVE", "1", 13911)));
    }
    let file = |(file, part): (&str, Part)| {
        let store = format!("ringmq-data/{folder}/{file}");
        let text = match part {
            Part::NameServer(port) => {
                let (port, kv) = (port.to_string(), format!("{store}/kvConfig.json"));
                let chosen = [("listenPort", port.as_str()), ("bindAddress", "127.0.0.1"), ("kvConfigPath", &kv)];
                table::render(&format!("{NAME_SERVER_OF}\n{NOTHING_SET}"), &chosen, &[NamesrvConfig::table()])
            }
            Part::Broker { name, role, id, port } => {
                let port = port.to_string();
                let header = if role == "SLAVE" { SLAVE } else { master };
                let mut chosen = vec![
                    ("brokerClusterName", "DefaultCluster"),
                    ("brokerName", name),
                    ("brokerId", id),
                    ("brokerRole", role),
                    ("brokerIP1", "127.0.0.1"),
                    ("bindAddress", "127.0.0.1"),
                    ("listenPort", port.as_str()),
                    ("shards", "1"),
                    ("namesrvAddr", "127.0.0.1:9876;127.0.0.1:9877"),
                    ("storePathRootDir", store.as_str()),
                    ("mappedFileSizeCommitLog", "67108864"),
                    ("flushDiskType", "ASYNC_FLUSH"),
                    ("fileReservedTime", "48"),
                    ("deleteWhen", "04"),
                ];
                if role == "SYNC_MASTER" {
                    chosen.push(("inSyncReplicas", "2"));
                }
                table::render(&format!("{header}\n{ON_ONE_MACHINE}\n{NOTHING_SET}"), &chosen, NodeConfig::tables())
            }
        };
        (format!("{folder}/{file}.properties"), text)
    };
    parts.into_iter().map(file).collect()
}

/// Every file of `conf/`, from the table.
fn rendered() -> Vec<(String, String)> {
    let node = |header, chosen: &[(&str, &str)]| table::render(header, chosen, NodeConfig::tables());
    let common =
        [("brokerClusterName", "DefaultCluster"), ("brokerName", "broker-a"), ("storePathRootDir", "ringmq-data")];
    let all =
        [&common[..], &[("listenPort", "10911"), ("namesrvListenPort", "9876"), ("flushDiskType", "ASYNC_FLUSH")]];
    let broker =
        [&common[..], &[("namesrvAddr", "127.0.0.1:9876"), ("listenPort", "10911"), ("flushDiskType", "ASYNC_FLUSH")]];
    let mut files = vec![
        ("all.conf".to_owned(), node(ALL, &all.concat())),
        ("broker.conf".to_owned(), node(BROKER, &broker.concat())),
        ("controller.conf".to_owned(), table::render(CONTROLLER, &CONTROLLER_ALONE, &[ControllerConfig::table()])),
        ("namesrv.conf".to_owned(), table::render(NAMESRV, &[("listenPort", "9876")], &[NamesrvConfig::table()])),
    ];
    files.extend(mode("2m-noslave", MASTER_ALONE, "ASYNC_MASTER", false));
    files.extend(mode("2m-2s-async", MASTER_ASYNC, "ASYNC_MASTER", true));
    files.extend(mode("2m-2s-sync", MASTER_SYNC, "SYNC_MASTER", true));
    files
}

/// What the files of one mode would listen on, if they ran on one machine.
#[test]
fn the_nodes_of_a_mode_share_no_port_and_no_folder() {
    for folder in ["2m-noslave", "2m-2s-async", "2m-2s-sync"] {
        let (mut ports, mut stores) = (Vec::new(), Vec::new());
        for (name, text) in rendered().into_iter().filter(|(name, _)| name.starts_with(folder)) {
            if name.contains("namesrv") {
                let config = NamesrvConfig::read(&name, &text).expect("accepted");
                ports.push(config.listen_port);
                stores.push(config.kv_config_path);
            } else {
                let config = NodeConfig::read(NodeKind::Broker, &name, &text, None).expect("accepted");
                ports.extend([config.port(0), config.vip_port(0), config.ha_port(0)]);
                stores.push(config.store_root);
                assert!(config.bind_ip.is_loopback(), "{name}");
            }
        }
        let (port_count, store_count) = (ports.len(), stores.len());
        ports.sort_unstable();
        ports.dedup();
        stores.sort_unstable();
        stores.dedup();
        assert_eq!((ports.len(), stores.len()), (port_count, store_count), "{folder}");
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test reads the files of conf/")]
fn conf_is_complete_explained_and_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    for (name, expected) in rendered() {
        let (name, path) = (name.as_str(), folder.join(&name));
        if std::env::var_os("RINGMQ_BLESS").is_some() {
            std::fs::create_dir_all(path.parent().expect("in conf/")).expect("the folder can be made");
            std::fs::write(&path, &expected).expect("the file can be written");
        }
        let found = std::fs::read_to_string(&path).expect("the file exists");
        assert!(
            found == expected,
            "conf/{name} is not what the table says; run RINGMQ_BLESS=1 cargo test --test config"
        );
        let accepted = match name {
            name if name.contains("namesrv") => NamesrvConfig::read(name, &found).map(|config| config.not_needed),
            "controller.conf" => ControllerConfig::read(name, &found).map(|config| config.not_needed),
            "all.conf" => NodeConfig::read(NodeKind::All, name, &found, None).map(|config| config.not_needed),
            _ => NodeConfig::read(NodeKind::Broker, name, &found, None).map(|config| config.not_needed),
        };
        assert_eq!(accepted, Ok(vec![]), "{name}");
    }
}
