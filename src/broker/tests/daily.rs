//! What tools ask now and then: who may read what, where groups stand, what a queue holds, what is to go.

use super::*;
use crate::limits::{CONSUME_STATS_MAX, FORBIDDEN_MAX, OFFSETS_PER_REQUEST_MAX, TOPICS_CLEANED_MAX};
use crate::model::{GroupName, QueueId, QueueOffset};

/// A topic `T` with two queues, five messages in the first, and a group `g` that is online and stands at 3.
fn world() -> (World, ConnectionId) {
    let mut world = World::new();
    world.make_topic("T", 2);
    let c = world.connect();
    world.heartbeat(c, "c@1", "g", "T");
    for _ in 0..5 {
        world.send(c, "T", 0, "TAGS\u{1}a", "x");
    }
    assert_eq!(world.stand("g", 0, 3), 0);
    (world, c)
}

impl World {
    fn stand(&mut self, group: &str, queue: u32, offset: u64) -> i32 {
        let c = self.connect();
        let (queue, offset) = (queue.to_string(), offset.to_string());
        let ext = [("consumerGroup", group), ("topic", "T"), ("queueId", &queue), ("commitOffset", &offset)];
        self.call(c, RequestCode::UpdateConsumerOffset, &ext, b"").code
    }

    pub(super) fn ask_tool(&mut self, code: RequestCode, ext: &[(&str, &str)]) -> Received {
        let c = self.connect();
        self.call(c, code, ext, b"")
    }

    fn forbid(&mut self, group: &str, topic: &str, readable: &str) -> Received {
        let ext = [("group", group), ("topic", topic), ("readable", readable)];
        self.ask_tool(RequestCode::UpdateAndGetGroupForbidden, &ext)
    }

    /// A pull by the group's subscription.
    fn pull_as(&mut self, c: ConnectionId, group: &str, from: &str, hold_ms: &str) -> i32 {
        let ext = [
            ("consumerGroup", group),
            ("topic", "T"),
            ("queueId", "0"),
            ("queueOffset", from),
            ("maxMsgNums", "32"),
            ("sysFlag", "2"),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", hold_ms),
            ("subVersion", "0"),
        ];
        let opaque = self.ask(c, RequestCode::PullMessage, &ext, b"");
        self.run();
        opaque
    }
}

#[test]
fn a_group_that_is_forbidden_a_topic_reads_it_no_more() {
    let (mut world, c) = world();
    let pull = |world: &mut World, from: &str| {
        let opaque = world.pull_as(c, "g", from, "0");
        world.answer(c, opaque).expect("at once")
    };
    assert_eq!(pull(&mut world, "0").code, 0);
    assert_eq!(world.forbid("g", "T", "").text(), r#"{"group":"g","readable":true,"topic":"T"}"#);
    let held = world.pull_as(c, "g", "5", "15000");
    assert_eq!(world.forbid("g", "T", "false").text(), r#"{"group":"g","readable":false,"topic":"T"}"#);
    let refused = pull(&mut world, "0");
    assert_eq!((refused.code, refused.number("forbiddenType")), (16, 5), "{}", refused.remark);
    assert_eq!(refused.remark, "the consumer group[g] is forbidden for topic[T]");
    // What was held before gets nothing either.
    world.send(c, "T", 0, "TAGS\u{1}a", "late");
    assert_eq!(world.answer(c, held).map(|answer| answer.code), Some(19));
    // What else is forbidden stays so when this is allowed again.
    world.forbid("g", "U", "false");
    assert_eq!(world.forbid("g", "T", "true").text(), r#"{"group":"g","readable":true,"topic":"T"}"#);
    assert!(world.broker.groups.is_forbidden("g", "U"));
    assert_eq!(pull(&mut world, "0").code, 0);
    assert_eq!(world.forbid("g", "bad name", "false").code, 29);
    // One that nobody knew comes to be, as by a pull; who is only asked about does not.
    world.forbid("other", "T", "");
    assert!(world.broker.groups.get("other").is_none());
    world.forbid("other", "T", "false");
    assert!(world.broker.groups.get("other").is_some());
    assert_eq!(world.ask_tool(RequestCode::DeleteSubscriptiongroup, &[("groupName", "other")]).code, 0);
    assert!(!world.broker.groups.is_forbidden("other", "T"), "it goes with its group");
}

#[test]
fn what_is_forbidden_is_written_with_its_group_and_bounded() {
    let (mut world, _) = world();
    let _ = world.broker.groups.take_changes();
    let g = GroupName::from("g");
    for n in 0..FORBIDDEN_MAX {
        assert!(world.broker.groups.set_forbidden(world.now, &g, &format!("T{n}"), true).expect("there is room"));
    }
    assert_eq!(world.forbid("g", "ONE_MORE", "false").code, 1);
    assert_eq!(world.forbid("g", "T0", "false").code, 0, "that is known");
    let mut stored = StoredTables::default();
    stored.apply(world.broker.groups.take_changes());
    let mut groups = stored.groups.expect("a group has changed");
    assert_eq!(groups.forbidden[&g].len(), FORBIDDEN_MAX);
    assert_eq!(groups.forbidden[&g]["T7"], 4);
    // Java's own mask may have more in it.
    groups.forbidden.insert(g.clone(), [("T".to_owned(), 6), ("U".to_owned(), -1)].into());
    world.broker.groups.load(groups);
    assert!(world.broker.groups.is_forbidden("g", "T") && !world.broker.groups.is_forbidden("g", "U"));
    assert_eq!(world.forbid("g", "T", "true").code, 0);
    assert_eq!(world.broker.groups.table().forbidden[&g], [("T".to_owned(), 2)].into());
}

#[test]
fn a_held_pull_ends_without_messages_when_its_group_may_consume_no_more() {
    let (mut world, c) = world();
    for (setting, expected) in [("\"consumeEnable\":false", 19), ("\"retryMaxTimes\":3", 0)] {
        let held = world.pull_as(c, "g", "5", "15000");
        let body = format!(r#"{{"groupName":"g",{setting}}}"#);
        assert_eq!(world.call(c, RequestCode::UpdateAndCreateSubscriptiongroup, &[], body.as_bytes()).code, 0);
        world.send(c, "T", 0, "TAGS\u{1}a", "late");
        assert_eq!(world.answer(c, held).map(|answer| answer.code), Some(expected), "{setting}");
        world.make_group("g");
    }
}

#[test]
fn a_group_is_told_what_it_reads_and_wants() {
    let (mut world, _) = world();
    let topics = world.ask_tool(RequestCode::QueryTopicsByConsumer, &[("group", "g")]);
    assert_eq!(topics.text(), r#"{"brokerAddr":"127.0.0.1:10911","topicList":["T"]}"#);
    let topics = world.ask_tool(RequestCode::QueryTopicsByConsumer, &[("group", "nobody")]);
    assert_eq!(topics.text(), r#"{"brokerAddr":"127.0.0.1:10911","topicList":[]}"#);
    let wants = |world: &mut World, group: &str, topic: &str| {
        let ext = [("group", group), ("topic", topic)];
        world.ask_tool(RequestCode::QuerySubscriptionByConsumer, &ext).text().to_owned()
    };
    assert!(wants(&mut world, "g", "T").contains(r#""subscriptionData":{"classFilterMode":false"#));
    assert_eq!(wants(&mut world, "g", "U"), r#"{"group":"g","topic":"U"}"#);
    assert_eq!(wants(&mut world, "nobody", "T"), r#"{"group":"nobody","topic":"T"}"#);
}

#[test]
fn spans_say_how_long_messages_wait() {
    let (mut world, _) = world();
    world.wait_ms(7_000);
    let span = |world: &mut World, group: &str| {
        let answer = world.ask_tool(RequestCode::QueryConsumeTimeSpan, &[("group", group), ("topic", "T")]);
        assert_eq!(answer.code, 0);
        answer.text().to_owned()
    };
    let text = "2023-11-14 22:13:20,000";
    let of = |queue: u32, time: i64, text: &str, delay: i64| {
        format!(
            r#"{{"consumeTimeStamp":{time},"consumeTimeStampStr":"{text}","delayTime":{delay},"maxTimeStamp":{time},"maxTimeStampStr":"{text}","messageQueue":{{"brokerName":"broker-a","queueId":{queue},"topic":"T"}},"minTimeStamp":{time},"minTimeStampStr":"{text}"}}"#
        )
    };
    let empty = of(1, -1, "1969-12-31 23:59:59,999", 0);
    let expected =
        |delay: i64| format!(r#"{{"consumeTimeSpanSet":[{},{empty}]}}"#, of(0, 1_700_000_000_000, text, delay));
    assert_eq!(span(&mut world, "g"), expected(7_000));
    assert_eq!(span(&mut world, "nobody"), expected(7_000), "it would begin with the oldest");
    world.stand("g", 0, 5);
    assert_eq!(span(&mut world, "g"), expected(0), "nothing waits");
    let missing = world.ask_tool(RequestCode::QueryConsumeTimeSpan, &[("group", "g"), ("topic", "NONE")]);
    assert_eq!((missing.code, missing.remark.as_str()), (17, "topic[NONE] not exist"));
}

#[test]
fn corrections_are_the_least_of_all_groups() {
    let (mut world, c) = world();
    world.heartbeat(c, "c@1", "h", "T");
    world.stand("h", 0, 2);
    world.stand("h", 1, 0);
    let ask = |world: &mut World, group: &str, left_out: &str| {
        let ext = [("topic", "T"), ("compareGroup", group), ("filterGroups", left_out)];
        world.ask_tool(RequestCode::QueryCorrectionOffset, &ext).text().to_owned()
    };
    assert_eq!(ask(&mut world, "g", ""), r#"{"correctionOffsets":{0:2,1:0}}"#);
    assert_eq!(ask(&mut world, "h", "h"), r#"{"correctionOffsets":{0:9223372036854775807}}"#);
    assert_eq!(ask(&mut world, "nobody", "g,h"), r#"{"correctionOffsets":{}}"#);
    assert_eq!(world.broker.offsets.get("h", "T", QueueId(0)), Some(QueueOffset(2)), "a question changes nothing");
}

#[test]
fn a_group_is_cloned_as_it_stands() {
    let (mut world, _) = world();
    let clone = |world: &mut World, from: &str, to: &str, topic: &str| {
        let ext = [("srcGroup", from), ("destGroup", to), ("topic", topic), ("offline", "false")];
        world.ask_tool(RequestCode::CloneGroupOffset, &ext).code
    };
    let stands = |world: &World, group: &str, topic: &str| {
        world.broker.offsets.get(group, topic, QueueId(0)).map(|offset| offset.0)
    };
    assert_eq!(clone(&mut world, "g", "b", "T"), 0);
    assert_eq!((stands(&world, "b", "T"), stands(&world, "g", "T")), (Some(3), Some(3)));
    assert_eq!(clone(&mut world, "nobody", "b", "T"), 0);
    assert_eq!(stands(&world, "b", "T"), Some(3), "nobody stands nowhere");
    // An online group is no longer at what it has unsubscribed from, unless the tool says that it counts.
    world.make_topic("U", 1);
    world.broker.offsets.commit("g", "U", QueueId(0), QueueOffset(0));
    assert_eq!(clone(&mut world, "g", "d", ""), 0);
    assert_eq!((stands(&world, "d", "T"), stands(&world, "d", "U")), (Some(3), None));
    let ext = [("srcGroup", "g"), ("destGroup", "e"), ("topic", "U"), ("offline", "true")];
    assert_eq!(world.ask_tool(RequestCode::CloneGroupOffset, &ext).code, 0);
    assert_eq!(stands(&world, "e", "U"), Some(0));
}

#[test]
fn all_groups_stand_in_one_answer_or_none() {
    let (mut world, _) = world();
    let ask =
        |world: &mut World, ordered: &str| world.ask_tool(RequestCode::GetBrokerConsumeStats, &[("isOrder", ordered)]);
    let all = ask(&mut world, "false");
    let queue = |queue: u32, of_broker: i64, of_group: i64, time: i64| {
        format!(
            r#"{{"brokerName":"broker-a","queueId":{queue},"topic":"T"}}:{{"brokerOffset":{of_broker},"consumerOffset":{of_group},"lastTimestamp":{time},"pullOffset":{of_group}}}"#
        )
    };
    let stats = format!(
        r#"{{"g":[{{"consumeTps":0.0,"offsetTable":{{{},{}}}}}]}}"#,
        queue(0, 5, 3, 1_700_000_000_000),
        queue(1, 0, 0, 0)
    );
    assert!(all.text().contains(&stats) && all.text().contains(r#"{"TOOLS_CONSUMER":[]}"#), "{}", all.text());
    assert!(all.text().ends_with(r#""totalDiff":2,"totalInflightDiff":0}"#), "{}", all.text());
    assert!(ask(&mut world, "true").text().contains(r#"{"g":[]}"#), "the topic is not ordered");
    assert_eq!(world.ask_tool(RequestCode::GetBrokerConsumeStats, &[]).code, 29);
    world.make_topic("BIG", u32::try_from(CONSUME_STATS_MAX).unwrap());
    world.broker.offsets.commit("h", "BIG", QueueId(0), QueueOffset(0));
    world.make_group("h");
    assert_eq!(ask(&mut world, "false").code, 1);
    // What the group reads, beyond what one answer may cost.
    let of_group = |world: &mut World| world.ask_tool(RequestCode::GetConsumeStats, &[("consumerGroup", "h")]).code;
    assert_eq!(of_group(&mut world), 0);
    world.make_topic("BIGGER", u32::try_from(OFFSETS_PER_REQUEST_MAX - CONSUME_STATS_MAX + 1).unwrap());
    world.broker.offsets.commit("h", "BIGGER", QueueId(0), QueueOffset(0));
    assert_eq!(of_group(&mut world), 1);
}

#[test]
fn entries_of_a_queue_are_told() {
    let (mut world, _) = world();
    let ask = |world: &mut World, queue: &str, index: &str, count: &str, group: Option<&str>| {
        let mut ext = vec![("topic", "T"), ("queueId", queue), ("index", index), ("count", count)];
        ext.extend(group.map(|group| ("consumerGroup", group)));
        world.ask_tool(RequestCode::QueryConsumeQueue, &ext)
    };
    let two = ask(&mut world, "0", "3", "2", None);
    let code = u64::from(b'a');
    assert!(
        two.text().starts_with(r#"{"maxQueueIndex":5,"minQueueIndex":0,"queueData":[{"eval":false,"physicOffset":"#)
    );
    assert_eq!(two.text().matches(&format!(r#""tagsCode":{code}}}"#)).count(), 2, "{}", two.text());
    assert!(ask(&mut world, "0", "3", "2147483647", Some("g")).text().contains(r#""filterData":"null""#));
    let nobody = ask(&mut world, "0", "0", "1", Some("nobody"));
    assert!(
        nobody.text().contains(r#""filterData":"nobody@T is not online!""#)
            && nobody.text().matches("eval").count() == 1
    );
    assert!(ask(&mut world, "0", "0", "-1", None).text().contains(r#""queueData":[]"#));
    for (queue, index) in [("0", "5"), ("0", "-1")] {
        let none = ask(&mut world, queue, index, "1", None);
        assert_eq!((none.code, none.text()), (0, ""), "{queue} {index}");
        assert_eq!(none.remark, format!("Index {index} of {queue}@T is not exist!"));
    }
    for queue in ["1", "2", "-1"] {
        assert_eq!(ask(&mut world, queue, "0", "1", None).code, 1, "{queue}");
    }
}

#[test]
fn messages_of_topics_that_are_not_there_are_removed_some_at_once() {
    let (mut world, c) = world();
    let count = TOPICS_CLEANED_MAX + 1;
    for n in 0..count {
        let queue = world.broker.log.queue(&format!("LOST{n}"), QueueId(0));
        let draft = crate::protocol::record::RecordDraft {
            topic: &format!("LOST{n}"),
            queue_id: QueueId(0),
            flag: 0,
            sys_flag: 0,
            born_timestamp: 0,
            born_host: SocketAddr::from(([127, 0, 0, 1], 1)),
            store_host: SocketAddr::from(([127, 0, 0, 1], 1)),
            store_timestamp: 0,
            reconsume_times: 0,
            prepared_transaction_offset: 0,
            body: b"x",
            properties: b"",
            marks: crate::protocol::record::Marks::default(),
        };
        world.broker.log.append(queue, &draft).expect("there is room");
    }
    world.run();
    let lost = |world: &World| world.broker.log.filled_queues().filter(|(t, _)| t.as_str().starts_with("LOST")).count();
    assert_eq!(lost(&world), count);
    let first = world.ask_tool(RequestCode::CleanUnusedTopic, &[]);
    assert_eq!((first.code, first.remark.as_str()), (1, "64 unused topics were removed, 1 are left: ask again"));
    assert_eq!(world.ask_tool(RequestCode::CleanUnusedTopic, &[]).code, 0);
    assert_eq!(lost(&world), 0);
    let kept = world.pull(c, "T", 0, "*");
    assert_eq!(kept.records().len(), 5, "topics that are there keep theirs");
    assert_eq!(world.ask_tool(RequestCode::CleanExpiredConsumequeue, &[]).code, 0);
}

#[test]
fn what_is_expired_goes_at_once_when_it_is_asked_for() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let body = "x".repeat(4_000);
    while world.broker.log.appended() < LogOffset(2 * 1024 * 1024 + 1) {
        assert_eq!(world.send(c, "T", 0, "", &body).code, 0);
    }
    // 73 hours, to an hour at which nothing is deleted by itself.
    world.wait_ms(73 * 3_600_000);
    let retention = crate::log::Retention { delete_hours: 0, ..LogSettings::default().retention };
    world.broker.log.change_settings(&LogSettings { retention, ..LogSettings::default() });
    for _ in 0..50 {
        world.wait_ms(1_000);
    }
    assert_eq!(world.broker.log.start(), LogOffset(0), "it waits for its hour");
    assert_eq!(world.ask_tool(RequestCode::DeleteExpiredCommitlog, &[]).code, 0);
    for _ in 0..50 {
        world.wait_ms(1_000);
    }
    assert_eq!(world.broker.log.start(), LogOffset(2 * 1024 * 1024));
    assert_eq!(world.pull(c, "T", 0, "*").code, 21);
}

#[test]
fn a_slave_changes_nothing_of_its_master_s() {
    let mut world = World::living(life(Role::Slave), settings(), FlushPolicy::Sync, false);
    assert_eq!(world.forbid("g", "T", "").code, 0);
    assert_eq!(world.forbid("g", "T", "false").code, 1);
    let ext = [("srcGroup", "g"), ("destGroup", "b"), ("topic", "T")];
    assert_eq!(world.ask_tool(RequestCode::CloneGroupOffset, &ext).code, 1);
    assert_eq!(world.ask_tool(RequestCode::CleanUnusedTopic, &[]).code, 1);
    assert!(world.broker.groups.table().forbidden.is_empty());
}

#[test]
fn a_group_reads_from_the_broker_that_its_settings_name_if_slaves_are_read() {
    for (slave_read, has_slave, expected) in [(true, true, 3), (true, false, 0), (false, true, 0)] {
        let replica = ReplicaSettings { slave_read, ..ReplicaSettings::default() };
        let settings = BrokerSettings { replica, ..settings() };
        let mut world = World::living(life(Role::AsyncMaster), settings, FlushPolicy::Sync, false);
        world.make_topic("T", 1);
        let c = world.connect();
        world.send(c, "T", 0, "", "x");
        if has_slave {
            world.follow(LinkId(1));
        }
        let body = br#"{"groupName":"g","brokerId":3,"whichBrokerWhenConsumeSlowly":2}"#;
        assert_eq!(world.call(c, RequestCode::UpdateAndCreateSubscriptiongroup, &[], body).code, 0);
        let found = world.pull(c, "T", 0, "*");
        assert_eq!((found.code, found.number("suggestWhichBrokerId")), (0, expected), "{slave_read} {has_slave}");
    }
}

#[test]
fn settings_of_a_group_that_forbid_or_silence_have_effect() {
    let (mut world, c) = world();
    let set = |world: &mut World, settings: &str| {
        let body = format!(r#"{{"groupName":"g",{settings}}}"#);
        assert_eq!(world.call(c, RequestCode::UpdateAndCreateSubscriptiongroup, &[], body.as_bytes()).code, 0);
    };
    let join = |world: &mut World, client: &str, model: &str| {
        let other = world.connect();
        world.notices(c);
        let body = heartbeat_body(client, "g", "T", model, 1);
        assert_eq!(world.call(other, RequestCode::HeartBeat, &[], body.as_bytes()).code, 0);
        let told = world.notices(c);
        world.disconnect(other);
        told
    };
    assert_eq!(join(&mut world, "c@2", "CLUSTERING"), 1);
    set(&mut world, r#""notifyConsumerIdsChangedEnable":false"#);
    assert_eq!(join(&mut world, "c@2", "CLUSTERING"), 0, "nobody is told of a new member");
    let forbidden = |world: &mut World| {
        let opaque = world.pull_as(c, "g", "0", "0");
        let answer = world.answer(c, opaque).expect("at once");
        if answer.code == 0 { (0, 0) } else { (answer.code, answer.number("forbiddenType")) }
    };
    assert_eq!(forbidden(&mut world), (0, 0));
    set(&mut world, r#""consumeEnable":false"#);
    assert_eq!(forbidden(&mut world), (16, 2));
    set(&mut world, r#""consumeBroadcastEnable":false"#);
    assert_eq!(forbidden(&mut world), (0, 0), "it shares its messages");
    let body = heartbeat_body("c@1", "g", "T", "BROADCASTING", 2);
    assert_eq!(world.call(c, RequestCode::HeartBeat, &[], body.as_bytes()).code, 0);
    assert_eq!(forbidden(&mut world), (16, 4));
    set(&mut world, r#""consumeBroadcastEnable":true"#);
    assert_eq!(forbidden(&mut world), (0, 0));
}

#[test]
fn one_request_compares_or_copies_no_more_offsets_than_it_may() {
    let (mut world, _) = world();
    for n in 0..=u32::try_from(crate::limits::OFFSETS_PER_REQUEST_MAX).unwrap() {
        world.broker.offsets.commit("FULL", "T", QueueId(n), QueueOffset(0));
    }
    let clone = [("srcGroup", "FULL"), ("destGroup", "b"), ("topic", "T"), ("offline", "true")];
    let compare = [("topic", "T"), ("compareGroup", "g")];
    for (code, ext) in [(RequestCode::CloneGroupOffset, &clone[..]), (RequestCode::QueryCorrectionOffset, &compare)] {
        let refused = world.ask_tool(code, ext);
        assert_eq!((refused.code, refused.remark.is_empty()), (1, false), "{code:?}");
    }
    assert!(world.broker.offsets.of_topic("b", "T").is_none());
    let left_out = [("topic", "T"), ("compareGroup", "g"), ("filterGroups", "FULL")];
    assert_eq!(
        world.ask_tool(RequestCode::QueryCorrectionOffset, &left_out).code,
        0,
        "what does not count is not looked at"
    );
}
