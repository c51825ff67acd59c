//! Every code once through real headers: what stock brokers and clients send, and what they must get.

use std::net::IpAddr;

use bytes::BytesMut;

use super::*;
use crate::protocol::frame::{Encoding, split};
use crate::protocol::reply::{ExtValue, encode_request};

const REGISTRATION: &str = concat!(
    r#"{"filterServerList":[],"topicConfigSerializeWrapper":{"dataVersion":{"counter":3,"stateVersion":0,"timestamp":17},"#,
    r#""mappingDataVersion":{"counter":0,"stateVersion":0,"timestamp":17},"topicConfigTable":{"#,
    r#""T":{"attributes":{},"order":false,"perm":6,"readQueueNums":4,"topicFilterType":"SINGLE_TAG","topicName":"T","topicSysFlag":0,"writeQueueNums":4},"#,
    r#""U":{"attributes":{},"order":false,"perm":6,"readQueueNums":1,"topicFilterType":"SINGLE_TAG","topicName":"U","topicSysFlag":3,"writeQueueNums":1}},"#,
    r#""topicQueueMappingDetailMap":{},"topicQueueMappingInfoMap":{}}}"#
);

struct World {
    server: NameServer,
    now: Now,
}

impl World {
    fn new(settings: &str) -> World {
        let config = NamesrvConfig::read("test", settings).expect("the settings are well-formed");
        let now = Now::default();
        World { server: NameServer::new(now, config, KvConfig::default()), now }
    }

    fn ask(&mut self, connection: u64, code: i32, ext: &[(&str, &str)], body: &[u8]) -> Answer {
        let ext: Vec<_> = ext.iter().map(|(key, value)| (*key, ExtValue::Str(value))).collect();
        let mut bytes = BytesMut::new();
        encode_request(Encoding::Json, code, 1, false, &ext, body, &mut bytes);
        let frame = split(&bytes).expect("well-formed").expect("whole");
        let header = Header::decode(frame.encoding, frame.header).expect("well-formed");
        let from = Peer::new(ConnectionId(connection), IpAddr::from(u128::from(connection).to_be_bytes()));
        self.server.handle(self.now, from, &header, frame.body)
    }

    fn register(&mut self, connection: u64, name: &str, address: &str) -> Answer {
        let ext = [
            ("brokerName", name),
            ("brokerAddr", address),
            ("clusterName", "C"),
            ("haServerAddr", "h:9"),
            ("brokerId", "0"),
            ("enableActingMaster", "false"),
            ("compressed", "false"),
            ("bodyCrc32", "0"),
        ];
        self.ask(connection, 103, &ext, REGISTRATION.as_bytes())
    }

    fn text(&mut self, code: i32, ext: &[(&str, &str)]) -> String {
        let answer = self.ask(9, code, ext, &[]);
        let body = String::from_utf8(answer.body).expect("bodies are UTF-8");
        match answer.remark {
            Some(remark) => format!("{} {remark}", answer.code.number()),
            None => format!("{} {:?} {body}", answer.code.number(), answer.ext),
        }
    }
}

#[test]
fn a_registered_broker_is_found_and_leaves_with_its_connection() {
    let mut world = World::new("");
    assert_eq!(world.register(1, "a", "h:1"), Answer::success());
    let route = concat!(
        r#"0 [] {"brokerDatas":[{"brokerAddrs":{"0":"h:1"},"brokerName":"a","cluster":"C","enableActingMaster":false}],"#,
        r#""filterServerTable":{},"queueDatas":[{"brokerName":"a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":4}]}"#
    );
    assert_eq!(world.text(105, &[("topic", "T")]), route);
    let cluster = concat!(
        r#"0 [] {"brokerAddrTable":{"a":{"brokerAddrs":{0:"h:1"},"brokerName":"a","cluster":"C","enableActingMaster":false}},"#,
        r#""clusterAddrTable":{"C":["a"]}}"#
    );
    assert_eq!(world.text(106, &[]), cluster);
    assert_eq!(world.server.disconnected(ConnectionId(1)), 1);
    assert_eq!(world.text(105, &[("topic", "T")]), "17 No topic route info in name server for the topic: T");
}

#[test]
fn lists_name_what_is_registered() {
    let mut world = World::new("");
    world.register(1, "a", "h:1");
    for (code, ext, expected) in [
        (206, &[][..], r#"0 [] {"topicList":["T","U"]}"#),
        (224, &[("cluster", "C")][..], r#"0 [] {"topicList":["T","U"]}"#),
        (224, &[("cluster", "D")][..], r#"0 [] {"topicList":[]}"#),
        (304, &[][..], r#"0 [] {"brokerAddr":"h:1","topicList":["C","a"]}"#),
        (311, &[][..], r#"0 [] {"topicList":["U"]}"#),
        (312, &[][..], r#"0 [] {"topicList":["U"]}"#),
        (313, &[][..], r#"0 [] {"topicList":[]}"#),
        (205, &[("brokerName", "a")][..], r#"0 [("wipeTopicCount", "2")] "#),
        (327, &[("brokerName", "a")][..], r#"0 [("addTopicCount", "2")] "#),
        (216, &[("topic", "U")][..], "0 [] "),
        (206, &[][..], r#"0 [] {"topicList":["T"]}"#),
        (
            901,
            &[("clusterName", "C"), ("brokerName", "a")][..],
            r#"0 [] {"brokerMemberGroup":{"brokerAddrs":{0:"h:1"},"brokerName":"a","cluster":"C"}}"#,
        ),
        (206, &[][..], r#"0 [] {"topicList":["T"]}"#),
        (4711, &[][..], "3  request type 4711 not supported"),
        (10, &[][..], "3  request type 10 not supported"),
    ] {
        assert_eq!(world.text(code, ext), expected, "{code}");
    }
    let mut closed = World::new("enableAllTopicList=false\nenableTopicList=false");
    assert_eq!(closed.text(206, &[]), "1 disable");
    assert_eq!(closed.text(224, &[("cluster", "C")]), "1 disable");
}

#[test]
fn versions_and_signs_of_life() {
    let mut world = World::new("");
    let broker = [("brokerName", "a"), ("brokerAddr", "h:1"), ("clusterName", "C"), ("brokerId", "0")];
    let version = br#"{"counter":3,"stateVersion":0,"timestamp":17}"#;
    let unknown = world.ask(1, 322, &broker, version);
    assert_eq!((unknown.ext, unknown.body), (vec![("changed", "true".to_owned())], vec![]));
    world.register(1, "a", "h:1");
    let known = world.ask(1, 322, &broker, version);
    assert_eq!((known.ext, known.body.as_slice()), (vec![("changed", "false".to_owned())], &version[..]));
    world.now.mono = world.now.mono.plus_ms(100_000);
    assert_eq!(world.ask(1, 904, &broker, &[]), Answer::success());
    world.now.mono = world.now.mono.plus_ms(100_000);
    assert_eq!(world.server.tick(world.now), 0, "a heartbeat counts");
    world.now.mono = world.now.mono.plus_ms(100_000);
    assert_eq!(world.server.tick(world.now), 1);
    world.register(1, "a", "h:1");
    let refused = world.ask(2, 104, &broker, &[]);
    assert_eq!(refused.code, ResponseCode::NoPermission, "{refused:?}");
    assert_eq!(world.text(206, &[]), r#"0 [] {"topicList":["T","U"]}"#);
    assert_eq!(world.ask(1, 104, &broker, &[]), Answer::success());
    assert_eq!(world.text(206, &[]), r#"0 [] {"topicList":[]}"#);
}

#[test]
fn queues_that_no_client_could_hold_are_not_told_of() {
    let mut world = World::new("");
    world.register(1, "a", "h:1");
    let body = |queues: u64| {
        format!(
            r#"{{"brokerDatas":[],"queueDatas":[{{"brokerName":"a","perm":6,"readQueueNums":4,"topicSysFlag":0,"writeQueueNums":{queues}}}]}}"#
        )
    };
    let mut register = |topic: &str, body: &str| world.ask(1, 217, &[("topic", topic)], body.as_bytes()).code.number();
    assert_eq!(register("V", &body(2_147_483_647)), 1);
    assert_eq!(register("", &body(4)), 29);
    assert_eq!(register("V", "no JSON"), 1);
    assert_eq!(register("V", ""), 0, "nothing is told, as by RocketMQ");
    assert_eq!(register("W", &body(4)), 0);
    assert_eq!(world.text(206, &[]), r#"0 [] {"topicList":["T","U","W"]}"#);
}

#[test]
fn key_values_are_kept_and_persisted() {
    let mut world = World::new("kvConfigPath=/tmp/kv.json\norderMessageEnable=true");
    let order = [("namespace", "ORDER_TOPIC_CONFIG"), ("key", "T"), ("value", "a:4;b:4")];
    assert_eq!(world.text(101, &order[..2]), "22 No config item, Namespace: ORDER_TOPIC_CONFIG Key: T");
    assert_eq!(world.text(219, &order[..1]), "22 No config item, Namespace: ORDER_TOPIC_CONFIG");
    let content = br#"{"configTable":{"ORDER_TOPIC_CONFIG":{"T":"a:4;b:4"}}}"#.to_vec();
    let effect = NameServerEffect::PersistKv { path: "/tmp/kv.json".into(), content: content.clone() };
    assert_eq!(world.ask(1, 100, &order, &[]), Answer { effect: Some(Box::new(effect)), ..Answer::success() });
    assert_eq!(world.text(101, &order[..2]), r#"0 [("value", "a:4;b:4")] "#);
    assert_eq!(world.text(219, &order[..1]), r#"0 [] {"table":{"T":"a:4;b:4"}}"#);
    assert_eq!(KvConfig::decode(&content).expect("our own file"), world.server.kv);
    assert_eq!(world.register(1, "a", "h:1").body, br#"{"table":{"T":"a:4;b:4"}}"#);
    assert!(world.text(105, &[("topic", "T")]).contains(r#""orderTopicConf":"a:4;b:4""#));
    world.ask(1, 102, &order[..2], &[]);
    assert_eq!(world.text(101, &order[..2]), "22 No config item, Namespace: ORDER_TOPIC_CONFIG Key: T");
}

#[test]
fn settings_are_changed_all_or_none() {
    let mut world = World::new("");
    assert_eq!(world.ask(1, 318, &[], b"enableTopicList=false\nenableAllTopicList=maybe").code.number(), 1);
    assert!(world.text(319, &[]).contains("enableTopicList=true\n"));
    assert_eq!(world.ask(1, 318, &[], b"enableTopicList=false"), Answer::success());
    assert!(world.text(319, &[]).contains("enableTopicList=false\n"));
    assert_eq!(world.ask(1, 318, &[], b"kvConfigPath=/etc/passwd").code.number(), 16);
    assert_eq!(world.ask(1, 318, &[], b"listenPort=1").code.number(), 1);
}

#[test]
fn routes_wait_if_told_to() {
    let mut world = World::new("needWaitForService=true\nwaitSecondsForService=2");
    world.register(1, "a", "h:1");
    assert_eq!(world.text(105, &[("topic", "T")]), "1 name server not ready");
    world.now.mono = world.now.mono.plus_ms(2_000);
    assert!(world.text(105, &[("topic", "T")]).starts_with("0 "));
}

#[test]
fn a_damaged_registration_is_refused() {
    let mut world = World::new("");
    let ext = [("brokerName", "a"), ("brokerAddr", "h:1"), ("clusterName", "C"), ("brokerId", "0"), ("bodyCrc32", "1")];
    let answer = world.ask(1, 103, &ext, REGISTRATION.as_bytes());
    assert_eq!(answer.code.number(), 1);
    assert_eq!(world.ask(1, 103, &ext[1..4], &[]).code.number(), 29, "a field is missing");
    assert_eq!(world.text(206, &[]), r#"0 [] {"topicList":[]}"#);
}

#[test]
fn key_values_are_bounded_in_bytes_and_read_again_at_the_bound() {
    use crate::limits::{KV_BYTES_MAX, KV_ENTRIES_MAX, KV_KEY_BYTES_MAX, KV_VALUE_BYTES_MAX};
    let mut world = World::new("");
    let large = "v".repeat(KV_VALUE_BYTES_MAX);
    let mut put = |namespace: &str, key: &str, value: &str| {
        world.ask(1, 100, &[("namespace", namespace), ("key", key), ("value", value)], &[]).code
    };
    assert_eq!(put("n", "k", &large), ResponseCode::Success);
    assert_eq!(put("n", "k", &format!("{large}v")), ResponseCode::SystemError);
    assert_eq!(put(&"n".repeat(KV_KEY_BYTES_MAX + 1), "k", "v"), ResponseCode::SystemError);
    let mut taken = 1;
    while put("n", &format!("k{taken}"), &large) == ResponseCode::Success {
        taken += 1;
    }
    assert_eq!(taken, KV_BYTES_MAX / (KV_VALUE_BYTES_MAX + 3));
    assert_eq!(put("n", "k", "small"), ResponseCode::Success, "what makes it smaller is taken");
    assert_eq!(put("n", &format!("k{taken}"), "small"), ResponseCode::Success);

    let mut full = KvConfig::default();
    for n in 0..KV_ENTRIES_MAX {
        full.insert(&format!("n{n}"), "k", "v");
    }
    assert!(full.refusal("n", "k", "v").is_some() && full.refusal("n0", "k", "w").is_none());
    assert_eq!(KvConfig::decode(&full.encode()), Ok(full), "a start reads it again");
}
