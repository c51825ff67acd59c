//! Queues that the broker deals out: what name servers say, who waits, what is told when nobody says anything.

use super::*;
use crate::broker::persist::Table;
use crate::letter::ToldRoute;
use crate::limits::ROUTE_WAITS_MAX;
use crate::model::{BrokerName, TopicName};

fn asked(world: &mut World) -> Vec<TopicName> {
    let letters = std::mem::take(&mut world.controls);
    let topics = letters.into_iter().filter_map(|letter| match letter {
        ToControl::AskRoute { topic, .. } => Some(topic),
        _ => None,
    });
    topics.collect()
}

impl World {
    fn ask_queues(&mut self, c: ConnectionId, topic: &str, client: &str) -> i32 {
        let body = format!(
            r#"{{"clientId":"{client}","consumerGroup":"g","messageModel":"CLUSTERING","strategyName":"AVG","topic":"{topic}"}}"#
        );
        let opaque = self.ask(c, RequestCode::QueryAssignment, &[], body.as_bytes());
        self.run();
        opaque
    }

    fn tell_route(&mut self, topic: &str, route: ToldRoute) {
        let letter = ToShard::RouteTold { topic: TopicName::from(topic), route };
        self.broker.handle_control(self.now, letter, &mut self.out);
        self.run();
    }

    /// Asks, has a name server tell the queues, and takes the answer.
    fn queues(&mut self, c: ConnectionId, client: &str) -> String {
        let opaque = self.ask_queues(c, "T", client);
        self.tell_route("T", queues(&[("broker-a", 2), ("broker-b", 2)]));
        self.answer(c, opaque).expect("an answer").text().to_owned()
    }

    fn set_mode(&mut self, c: ConnectionId, group: &str, topic: &str, mode: &str, shares: i32) -> Received {
        let body =
            format!(r#"{{"consumerGroup":"{group}","mode":"{mode}","popShareQueueNum":{shares},"topic":"{topic}"}}"#);
        self.call(c, RequestCode::SetMessageRequestMode, &[], body.as_bytes())
    }
}

fn queues(brokers: &[(&str, u32)]) -> ToldRoute {
    ToldRoute::Queues(brokers.iter().map(|(name, queues)| (BrokerName::from(*name), *queues)).collect())
}

fn told(broker_and_queues: &[(&str, i32)], mode: &str) -> String {
    let one = |(broker, queue): &(&str, i32)| {
        format!(r#"{{"messageQueue":{{"brokerName":"{broker}","queueId":{queue},"topic":"T"}},"mode":"{mode}"}}"#)
    };
    let all: Vec<String> = broker_and_queues.iter().map(one).collect();
    format!(r#"{{"messageQueueAssignments":[{}]}}"#, all.join(","))
}

#[test]
fn who_asks_waits_for_a_name_server_and_is_answered_at_once_for_a_while() {
    let mut world = World::new();
    world.make_topic("T", 2);
    let (a, b) = (world.connect(), world.connect());
    world.heartbeat(a, "c1", "g", "T");
    world.heartbeat(b, "c2", "g", "T");
    let (first, second) = (world.ask_queues(a, "T", "c1"), world.ask_queues(b, "T", "c2"));
    assert!(world.answer(a, first).is_none());
    assert_eq!(asked(&mut world), [TopicName::from("T")], "one question for both");
    world.tell_route("T", queues(&[("broker-a", 2), ("broker-b", 2)]));
    let own = told(&[("broker-a", 0), ("broker-a", 1)], "PULL");
    assert_eq!(world.answer(a, first).expect("an answer").text(), own);
    assert_eq!(world.answer(b, second).expect("an answer").text(), told(&[("broker-b", 0), ("broker-b", 1)], "PULL"));
    let again = world.ask_queues(a, "T", "c1");
    assert_eq!(world.answer(a, again).expect("at once").text(), own);
    assert_eq!(asked(&mut world), []);
    world.wait_ms(1_000);
    let later = world.ask_queues(a, "T", "c1");
    assert_eq!(asked(&mut world), [TopicName::from("T")]);
    world.tell_route("T", ToldRoute::Unknown);
    assert_eq!(world.answer(a, later).expect("an answer").text(), own, "what was told last");
    world.wait_ms(1_000);
    let gone = world.ask_queues(a, "T", "c1");
    world.tell_route("T", ToldRoute::NoTopic);
    assert_eq!(world.answer(a, gone).expect("an answer").text(), "{}");
    let unknown = world.ask_queues(a, "T", "c1");
    world.tell_route("T", ToldRoute::Unknown);
    assert_eq!(world.answer(a, unknown).expect("an answer").text(), "{}");
    world.tell_route("T", ToldRoute::Unknown);
    world.tell_route("U", ToldRoute::NoTopic);
}

#[test]
fn those_that_wait_are_bounded_and_may_go() {
    let mut world = World::new();
    let (gone, c) = (world.connect(), world.connect());
    world.ask_queues(gone, "T", "c1");
    world.disconnect(gone);
    let waiting: Vec<i32> = (1..ROUTE_WAITS_MAX).map(|_| world.ask_queues(c, "T", "c1")).collect();
    let beyond = world.ask_queues(c, "U", "c1");
    assert_eq!(world.answer(c, beyond).expect("at once").text(), "{}");
    assert_eq!(asked(&mut world), [TopicName::from("T")]);
    world.tell_route("T", queues(&[("broker-a", 2)]));
    for opaque in waiting {
        assert_eq!(world.answer(c, opaque).expect("an answer").text(), "{}", "the group has no members");
    }
    let now = world.ask_queues(c, "U", "c1");
    assert!(world.answer(c, now).is_none(), "there is room again");
}

#[test]
fn a_mode_is_a_group_s_for_a_topic_and_durable() {
    let mut world = World::new();
    world.make_topic("T", 2);
    let c = world.connect();
    world.heartbeat(c, "c1", "g", "T");
    assert_eq!(world.set_mode(c, "g", "T", "POP", -1).code, 0);
    assert_eq!(world.queues(c, "c1"), told(&[("broker-a", -1), ("broker-b", -1)], "POP"));
    let all = world.call(c, RequestCode::GetAllMessageRequestMode, &[], b"");
    let expected =
        r#"{"messageRequestModeMap":{"T":{"g":{"consumerGroup":"g","mode":"POP","popShareQueueNum":-1,"topic":"T"}}}}"#;
    assert_eq!(all.text(), expected);
    let table = String::from_utf8(world.broker.view_table(Table::Groups).to_vec()).expect("text");
    assert!(table.contains(r#""messageRequestModeTable":{"g":{"T":{"mode":"POP","popShareQueueNum":-1}}}"#), "{table}");

    assert_eq!(world.set_mode(c, "g", "T", "PULL", 0).code, 0);
    assert!(world.queues(c, "c1").contains(r#""mode":"PULL""#));
    let refused = world.set_mode(c, "g", "%RETRY%g", "POP", 0);
    assert_eq!((refused.code, refused.remark.as_str()), (16, "retry topic is not allowed to set mode"));
    let refused = world.set_mode(c, "g", "U", "POP", 0);
    assert_eq!((refused.code, refused.remark.as_str()), (17, "topic[U] not exist"));
    // The group takes its modes with it.
    assert_eq!(world.call(c, RequestCode::DeleteSubscriptiongroup, &[("groupName", "g")], b"").code, 0);
    let all = world.call(c, RequestCode::GetAllMessageRequestMode, &[], b"");
    assert_eq!(all.text(), r#"{"messageRequestModeMap":{}}"#);
}

#[test]
fn a_mode_is_answered_when_it_is_on_the_disk() {
    let mut world = World::new();
    world.make_topic("T", 1);
    world.make_group("g");
    let c = world.connect();
    world.persists = false;
    let body = br#"{"consumerGroup":"g","mode":"POP","topic":"T"}"#;
    let opaque = world.ask(c, RequestCode::SetMessageRequestMode, &[], body);
    assert!(world.answer(c, opaque).is_none());
    world.persists = true;
    world.run();
    assert_eq!(world.answer(c, opaque).expect("an answer").code, 0);
}
