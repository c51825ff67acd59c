//! Pops: whose a message is and for how long, what comes again, what survives.

mod resets;

use super::*;
use crate::broker::persist::Table;
use crate::broker::store::NotStored;
use crate::limits::{HOLDS_PER_CONNECTION_MAX, POP_NOTES_MAX, POP_QUEUES_MAX};
use crate::log::AppendError;
use crate::model::{GroupName, QueueId, QueueOffset, TopicName};
use crate::protocol::body::{ConsumeStats, ConsumerOffsets};
use crate::protocol::message::{REVIVE_GROUP, revive_topic};

/// How long messages are their consumer's here.
const INVISIBLE_MS: u64 = 10_000;

const RETRY: &str = "%RETRY%g_T";

/// With `enableRetryTopicV2`.
const SECOND_RETRY: &str = "%RETRY%g+T";

/// A message as its consumer has it.
#[derive(Clone, Debug)]
struct Popped {
    body: String,
    /// In the topic that was asked for, or in its retry topic.
    topic: String,
    offset: u64,
    handle: String,
    tries: i32,
    properties: BTreeMap<String, String>,
}

impl Popped {
    /// What stock clients make of an answer. Source: RocketMQ `MQClientAPIImpl.processPopResponse`.
    fn all(answer: &Received) -> Vec<Popped> {
        let pairs = |name: &str| -> BTreeMap<String, String> {
            let text = answer.ext.get(name).map(String::as_str).unwrap_or_default();
            let items = text.split(';').filter(|item| !item.is_empty()).map(|item| {
                let parts: Vec<&str> = item.split(' ').collect();
                assert_eq!(parts.len(), 3, "{item}");
                (format!("{}@{}", parts[0], parts[1]), parts[2].to_owned())
            });
            let all: Vec<_> = items.collect();
            let map: BTreeMap<_, _> = all.iter().cloned().collect();
            assert_eq!(map.len(), all.len(), "a queue is named twice: {text}");
            map
        };
        let (starts, offsets) = (pairs("startOffsetInfo"), pairs("msgOffsetInfo"));
        let popped = answer.records().into_iter().map(|record| {
            let handle = record.properties.get("POP_CK").cloned().unwrap_or_else(|| {
                let key = "0@0".to_owned();
                let known = offsets[&key].split(',').any(|offset| offset == record.queue_offset.to_string());
                assert!(known, "{} is not among {:?}", record.queue_offset, offsets);
                let [popped, invisible, revive] =
                    ["popTime", "invisibleTime", "reviveQid"].map(|name| answer.number(name));
                format!("{} {popped} {invisible} {revive} 0 broker-a 0 {}", starts[&key], record.queue_offset)
            });
            let topic = match handle.split(' ').nth(4) {
                Some("1") => RETRY.to_owned(),
                Some("2") => SECOND_RETRY.to_owned(),
                _ => record.topic,
            };
            Popped {
                body: record.body,
                topic,
                offset: record.queue_offset,
                handle,
                tries: record.reconsume_times,
                properties: record.properties,
            }
        });
        popped.collect()
    }
}

fn pop_ext<'a>(queue: &'a str, poll_ms: &'a str, invisible_ms: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![
        ("consumerGroup", "g"),
        ("topic", "T"),
        ("queueId", queue),
        ("maxMsgNums", "32"),
        ("invisibleTime", invisible_ms),
        ("pollTime", poll_ms),
        ("bornTime", "0"),
        ("initMode", "0"),
        ("expType", "TAG"),
        ("exp", "*"),
        ("order", "false"),
    ]
}

fn with<'a>(ext: &[(&'a str, &'a str)], name: &str, value: &'a str) -> Vec<(&'a str, &'a str)> {
    ext.iter().map(|field| if field.0 == name { (field.0, value) } else { *field }).collect()
}

impl World {
    /// A topic with one queue, and a client.
    fn with_pops() -> (World, ConnectionId) {
        let mut world = World::new();
        world.make_topic("T", 1);
        let c = world.connect();
        (world, c)
    }

    fn pop_answer(&mut self, c: ConnectionId) -> Received {
        let invisible = INVISIBLE_MS.to_string();
        self.call(c, RequestCode::PopMessage, &pop_ext("-1", "0", &invisible), b"")
    }

    fn pop(&mut self, c: ConnectionId) -> Vec<Popped> {
        let answer = self.pop_answer(c);
        assert!(matches!(answer.code, 0 | 210), "{answer:?}");
        assert_eq!(answer.code == 0, !answer.body.is_empty(), "clients take an answer without messages for a failure");
        Popped::all(&answer)
    }

    fn popped_bodies(&mut self, c: ConnectionId) -> Vec<String> {
        self.pop(c).into_iter().map(|message| message.body).collect()
    }

    fn ask_pop(&mut self, c: ConnectionId, poll_ms: u64) -> i32 {
        let (poll, invisible) = (poll_ms.to_string(), INVISIBLE_MS.to_string());
        self.ask(c, RequestCode::PopMessage, &pop_ext("-1", &poll, &invisible), b"")
    }

    fn popped_ext(message: &Popped) -> Vec<(&'static str, String)> {
        vec![
            ("consumerGroup", "g".to_owned()),
            ("topic", message.topic.clone()),
            ("queueId", "0".to_owned()),
            ("offset", message.offset.to_string()),
            ("extraInfo", message.handle.clone()),
        ]
    }

    fn ack(&mut self, c: ConnectionId, message: &Popped) -> Received {
        let ext = World::popped_ext(message);
        let ext: Vec<(&str, &str)> = ext.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.call(c, RequestCode::AckMessage, &ext, b"")
    }

    fn change(&mut self, c: ConnectionId, message: &Popped, invisible_ms: u64) -> Received {
        let mut ext = World::popped_ext(message);
        ext.push(("invisibleTime", invisible_ms.to_string()));
        let ext: Vec<(&str, &str)> = ext.iter().map(|(name, value)| (*name, value.as_str())).collect();
        self.call(c, RequestCode::ChangeMessageInvisibletime, &ext, b"")
    }

    /// The handle that a client has after a change.
    fn changed(message: &Popped, answer: &Received) -> Popped {
        let (popped, invisible) = (answer.number("popTime"), answer.number("invisibleTime"));
        let flag = if message.topic == RETRY { "1" } else { "0" };
        let offset = message.offset;
        Popped { handle: format!("{offset} {popped} {invisible} 0 {flag} broker-a 0 {offset}"), ..message.clone() }
    }

    fn group_offset(&self, group: &str, topic: &str) -> Option<u64> {
        self.broker.offsets.get(group, topic, QueueId(0)).map(|offset| offset.0)
    }

    /// The file of the consumer offsets as it would be written now.
    fn offset_file(&self) -> ConsumerOffsets {
        ConsumerOffsets::decode(&self.broker.view_table(Table::ConsumerOffsets)).unwrap()
    }

    /// The next life over the same log, with a file of offsets that may be older.
    fn live_with(&mut self, offsets: ConsumerOffsets) {
        let nothing = Log::create(log_settings(FlushPolicy::Sync), Box::new(HeapTail::new(64 * 1024)));
        let life = self.broker.life;
        let before = std::mem::replace(&mut self.broker, Broker::new(life, settings(), nothing, Tables::default()));
        let (topics, groups) = (Some(before.topic_table()), Some(before.groups.table().clone()));
        let stored = StoredTables { topics, groups, offsets: Some(offsets), ..StoredTables::default() };
        self.broker = Broker::new(life, settings(), before.log, Tables { stored, ..Tables::default() });
        self.out = Output::default();
        self.unwritten = None;
        self.broker.handle_start(self.now, &mut self.out);
        self.run();
        self.advance(0);
    }

    fn notes(&self) -> u64 {
        let topic = revive_topic("DefaultCluster");
        self.broker.end_of(&topic, QueueId(0)).0
    }
}

#[test]
fn consume_stats_tell_what_is_in_flight() {
    let (mut world, c) = World::with_pops();
    for body in ["0", "1", "2", "3"] {
        world.send(c, "T", 0, "", body);
    }
    let stands = |world: &mut World| {
        let stats = world.call(c, RequestCode::GetConsumeStats, &[("consumerGroup", "g"), ("topic", "T")], b"");
        let stats = ConsumeStats::decode(&stats.body).expect("ours");
        let queue = stats.offsets.values().next().expect("one queue");
        (queue.consumer_offset, queue.pull_offset, queue.broker_offset)
    };
    let popped = world.pop(c);
    assert_eq!((popped.len(), stands(&mut world)), (4, (0, 4, 4)), "all are in flight");
    world.send(c, "T", 0, "", "4");
    assert_eq!(world.ack(c, &popped[0]).code, 0);
    assert_eq!(world.ack(c, &popped[2]).code, 0);
    assert_eq!(stands(&mut world), (1, 4, 5), "the second is not finished");
    // One of them is kept for longer, under a handle of its own; the other one's time is over.
    assert_eq!(world.change(c, &popped[3], 3 * INVISIBLE_MS).code, 0);
    world.advance(INVISIBLE_MS);
    assert_eq!(stands(&mut world), (3, 4, 5));
    world.advance(2 * INVISIBLE_MS + 1);
    assert_eq!(stands(&mut world), (4, 4, 5), "what was not acknowledged is another queue's");
}

#[test]
fn a_popped_message_is_its_consumers_until_its_time_is_over() {
    let (mut world, c) = World::with_pops();
    world.send(c, "T", 0, "TAGS\u{1}A\u{2}KEYS\u{1}k\u{2}", "x");
    let first = world.pop(c);
    assert_eq!((first.len(), first[0].body.as_str(), first[0].tries), (1, "x", 0));
    let popped_at = world.now.unix.0;
    world.advance(INVISIBLE_MS - 1);
    assert!(world.pop(c).is_empty(), "it is in flight");
    let other = world.connect();
    let opaque = world.ask_pop(other, 5_000);
    assert!(world.answer(other, opaque).is_none(), "it waits");
    world.advance(1);
    let answer = world.answer(other, opaque).expect("who waits gets it at the very time");
    let again = Popped::all(&answer);
    assert_eq!((again[0].body.as_str(), again[0].topic.as_str(), again[0].tries), ("x", RETRY, 1));
    assert_eq!(answer.records()[0].topic, "T", "as the topic that was asked for");
    assert_eq!(again[0].properties["1ST_POP_TIME"], popped_at.to_string());
    assert_eq!((again[0].properties["TAGS"].as_str(), again[0].properties["KEYS"].as_str()), ("A", "k"));
    assert_eq!(world.ack(other, &again[0]).code, 0);
    // The first consumer comes too late, as with RocketMQ.
    assert_eq!(world.ack(c, &first[0]).code, 0);
    world.advance(3 * INVISIBLE_MS);
    assert!(world.pop(c).is_empty(), "it was acknowledged");
}

#[test]
fn what_fails_again_and_again_counts_its_tries() {
    let (mut world, c) = World::with_pops();
    world.send(c, "T", 0, "", "x");
    let popped_at = world.now.unix.0.to_string();
    for tries in 0..5 {
        let messages = world.pop(c);
        assert_eq!((messages.len(), messages[0].tries), (1, tries));
        let first = messages[0].properties.get("1ST_POP_TIME");
        assert_eq!(first, (tries > 0).then_some(&popped_at), "that of the first pop");
        world.advance(INVISIBLE_MS);
    }
}

#[test]
fn an_acknowledgement_takes_one_message_and_a_batch_many() {
    let (mut world, c) = World::with_pops();
    for n in 0..12 {
        world.send(c, "T", 0, "", &n.to_string());
    }
    let messages = world.pop(c);
    assert_eq!(messages.len(), 12);
    assert_eq!(world.ack(c, &messages[1]).code, 0);
    assert_eq!(world.ack(c, &messages[1]).code, 0, "again");
    let fields: Vec<&str> = messages[0].handle.split(' ').collect();
    // Bits 0, 3 and 9.
    let entry = |topic: &str, retry: &str, queue: &str| {
        format!(
            r#"{{"b":"CQI=","c":"g","it":{INVISIBLE_MS},"pt":{},"q":{queue},"r":"{retry}","rq":0,"so":{},"t":"{topic}"}}"#,
            fields[1], fields[0]
        )
    };
    let acks = [
        entry("T", "0", "0"),
        entry("Missing", "0", "0"),
        entry("T", "1", "0"),
        entry("T", "0", "7"),
        entry("T", "2", "0"),
    ];
    let body = format!(r#"{{"acks":[{}],"brokerName":"broker-a"}}"#, acks.join(","));
    assert_eq!(world.call(c, RequestCode::BatchAckMessage, &[], body.as_bytes()).code, 0);
    assert_eq!(world.call(c, RequestCode::BatchAckMessage, &[], b"").code, 208);
    assert_eq!(world.call(c, RequestCode::BatchAckMessage, &[], b"{}").code, 208);
    let never = body.replace(fields[1], "5");
    assert_eq!(world.call(c, RequestCode::BatchAckMessage, &[], never.as_bytes()).code, 0, "as Apache answers");
    world.advance(INVISIBLE_MS);
    let mut rest = world.popped_bodies(c);
    rest.extend(world.popped_bodies(c));
    assert_eq!(rest, ["2", "4", "5", "6", "7", "8", "10", "11"]);
}

#[test]
fn a_change_of_the_time_is_another_flight() {
    let (mut world, c) = World::with_pops();
    for body in ["a", "b"] {
        world.send(c, "T", 0, "", body);
    }
    let messages = world.pop(c);
    let (a, b) = (&messages[0], &messages[1]);
    world.advance(1_000);
    let longer = world.change(c, a, 60_000);
    assert_eq!((longer.code, longer.number("invisibleTime"), longer.number("popTime")), (0, 60_000, world.now.unix.0));
    let shorter = world.change(c, b, 500);
    assert_eq!(shorter.code, 0);
    assert_eq!(world.change(c, b, 500).code, 208, "the old handle is of no use");
    assert_eq!(world.ack(c, b).code, 0, "and takes nothing");
    world.advance(499);
    assert!(world.pop(c).is_empty());
    world.advance(1);
    let again = world.pop(c);
    assert_eq!((again.len(), again[0].body.as_str(), again[0].tries), (1, "b", 1));
    assert_eq!(world.ack(c, &again[0]).code, 0);
    world.advance(50_000);
    assert!(world.pop(c).is_empty(), "a is its consumer's still");
    let kept = World::changed(a, &longer);
    assert_eq!(world.ack(c, &kept).code, 0);
    world.advance(100_000);
    assert!(world.pop(c).is_empty());
    assert_eq!(world.broker.poll_timeout(), None, "nothing is in flight, and nothing waits");
}

#[test]
fn a_time_that_is_changed_twice_within_a_millisecond_has_two_names() {
    let (mut world, c) = World::with_pops();
    world.send(c, "T", 0, "", "x");
    let mut message = world.pop(c).remove(0);
    for _ in 0..3 {
        let answer = world.change(c, &message, 1_000);
        assert_eq!(answer.code, 0, "{answer:?}");
        message = World::changed(&message, &answer);
    }
    assert_eq!(world.ack(c, &message).code, 0);
    world.advance(60_000);
    assert!(world.pop(c).is_empty());
}

#[test]
fn checks_have_rocketmq_s_order_and_codes() {
    let (mut world, c) = World::with_pops();
    world.send(c, "T", 0, "", "x");
    let message = world.pop(c).remove(0);
    let born = (world.now.unix.0 - 1_000).to_string();
    let base = pop_ext("-1", "0", "1000");
    let check = |world: &mut World, name: &str, value: &str, code: i32| {
        let answer = world.call(c, RequestCode::PopMessage, &with(&base, name, value), b"");
        assert_eq!(answer.code, code, "{name}={value} {answer:?}");
    };
    check(&mut world, "bornTime", &born, 210);
    check(&mut world, "maxMsgNums", "33", 29);
    check(&mut world, "topic", "Missing", 17);
    check(&mut world, "topic", &revive_topic("DefaultCluster"), 16);
    check(&mut world, "consumerGroup", REVIVE_GROUP, 16);
    check(&mut world, "queueId", "1", 29);
    check(&mut world, "queueId", "0", 210);
    check(&mut world, "exp", "||", 23);
    check(&mut world, "expType", "SQL", 23);
    check(&mut world, "consumerGroup", "a b", 26);
    check(&mut world, "consumerGroup", &"g".repeat(254), 29);
    check(&mut world, "invisibleTime", "x", 29);
    world.make_topic("Wide", POP_QUEUES_MAX + 1);
    check(&mut world, "topic", "Wide", 29);
    let wide = with(&with(&base, "topic", "Wide"), "queueId", "1024");
    assert_eq!(world.call(c, RequestCode::PopMessage, &wide, b"").code, 210, "one that is named");
    let late = world.call(c, RequestCode::PopMessage, &with(&base, "bornTime", &born), b"");
    for name in ["popTime", "invisibleTime", "reviveQid", "restNum"] {
        assert_eq!(late.number(name), 0, "stock clients read it whatever the code");
    }
    let check = |world: &mut World, name: &str, value: &str, codes: (i32, i32)| {
        let mut ext = World::popped_ext(&message);
        ext.push(("invisibleTime", "1000".to_owned()));
        ext.iter_mut().filter(|field| field.0 == name).for_each(|field| field.1 = value.to_owned());
        let ext: Vec<(&str, &str)> = ext.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let ack = world.call(c, RequestCode::AckMessage, &ext, b"");
        let change = world.call(c, RequestCode::ChangeMessageInvisibletime, &ext, b"");
        assert_eq!((ack.code, change.code), codes, "{name}={value} {ack:?} {change:?}");
    };
    check(&mut world, "topic", "Missing", (17, 17));
    check(&mut world, "queueId", "1", (13, 13));
    check(&mut world, "queueId", "-1", (13, 13));
    check(&mut world, "offset", "-1", (208, 208));
    check(&mut world, "offset", "2", (208, 208));
    check(&mut world, "offset", "1", (208, 208)); // nobody has popped it
    check(&mut world, "extraInfo", "x", (1, 1));
    check(&mut world, "consumerGroup", "h", (208, 208));
    check(&mut world, "extraInfo", "0 1 1000 0 0 b 0 0", (0, 208));
}

#[test]
fn a_pop_waits_for_messages_and_for_its_time() {
    let (mut world, c) = World::with_pops();
    let waiting = world.ask_pop(c, 1_000);
    world.advance(999);
    assert!(world.answer(c, waiting).is_none());
    world.advance(1);
    let answer = world.answer(c, waiting).expect("its time is over");
    assert_eq!((answer.code, answer.remark.as_str(), answer.number("restNum")), (210, "NO_MESSAGE_IN_QUEUE", 0));
    assert!(answer.number("popTime") > 0 && answer.ext["startOffsetInfo"].is_empty());
    let (d, p) = (world.connect(), world.connect());
    let (first, second) = (world.ask_pop(c, 1_000), world.ask_pop(d, 1_000));
    world.send(p, "T", 0, "", "x");
    let answers = [world.answer(c, first), world.answer(d, second)];
    let found: Vec<usize> = answers.iter().flatten().map(|answer| answer.records().len()).collect();
    assert_eq!(found, [1], "one of them gets it, the other waits on");
    world.advance(1_000);
    let rest = [world.answer(c, first), world.answer(d, second)];
    assert_eq!(rest.iter().flatten().map(|answer| answer.code).collect::<Vec<_>>(), [210]);
    for _ in 0..HOLDS_PER_CONNECTION_MAX {
        world.ask_pop(c, 1_000);
    }
    let opaque = world.ask_pop(c, 1_000);
    assert_eq!(world.answer(c, opaque).map(|answer| answer.code), Some(209));
    world.disconnect(c);
    assert!(world.broker.pops.next_hold_time().is_none() || world.broker.poll_timeout().is_some());
    world.send(p, "T", 0, "", "y");
    assert_eq!(world.popped_bodies(d), ["y"], "nobody else waits");
}

#[test]
fn a_pop_takes_what_it_wants_from_all_queues() {
    let mut world = World::new();
    world.make_topic("T", 3);
    let c = world.connect();
    for n in 0..30 {
        let tag = if n % 2 == 0 { "A" } else { "B" };
        world.send(c, "T", n % 3, &format!("TAGS\u{1}{tag}\u{2}"), &n.to_string());
    }
    let ext = with(&pop_ext("-1", "0", "1000"), "exp", "A");
    let mut found = Vec::new();
    for max in ["4", "7", "32", "32"] {
        let answer = world.call(c, RequestCode::PopMessage, &with(&ext, "maxMsgNums", max), b"");
        let records = answer.records();
        assert!(records.len() <= max.parse().unwrap());
        found.extend(records.into_iter().map(|record| record.body.parse::<i32>().unwrap()));
    }
    found.sort_unstable();
    assert_eq!(found, (0..30).filter(|n| n % 2 == 0).collect::<Vec<_>>());
    // What did not match is passed over for good.
    let answer = world.call(c, RequestCode::PopMessage, &pop_ext("-1", "0", "1000"), b"");
    assert_eq!((answer.code, answer.number("restNum")), (210, 0));
    world.advance(1_000);
    assert_eq!(world.group_offset("g", "T"), Some(10));
}

#[test]
fn a_new_group_begins_where_it_asks_to() {
    let (mut world, c) = World::with_pops();
    for n in 0..5 {
        world.send(c, "T", 0, "", &n.to_string());
    }
    let mut check = |group: &str, mode: &str, expected: &[&str]| {
        let ext = with(&with(&pop_ext("-1", "0", "1000"), "initMode", mode), "consumerGroup", group);
        let records = world.call(c, RequestCode::PopMessage, &ext, b"").records();
        assert_eq!(records.iter().map(|record| record.body.as_str()).collect::<Vec<_>>(), expected, "{mode}");
    };
    check("first", "0", &["0", "1", "2", "3", "4"]);
    // The queue is young, as RocketMQ reckons.
    check("last", "1", &["0", "1", "2", "3", "4"]);
    world.broker.settings.young_bytes_max = 0;
    for n in 0..300 {
        world.send(c, "T", 0, "", &format!("{n:0>1000}"));
    }
    let ext = with(&with(&pop_ext("-1", "0", "1000"), "initMode", "1"), "consumerGroup", "older");
    let records = world.call(c, RequestCode::PopMessage, &ext, b"").records();
    assert_eq!(records.iter().map(|record| record.queue_offset).collect::<Vec<_>>(), [304], "the last one");
}

#[test]
fn old_messages_come_from_the_disk_and_are_given_again_from_there() {
    let (mut world, c) = World::with_pops();
    for n in 0..300 {
        world.send(c, "T", 0, "", &format!("{n:0>1000}"));
    }
    let mut popped = 0;
    while popped < 300 {
        let messages = world.pop(c);
        for message in &messages {
            assert_eq!(message.offset, popped);
            popped += 1;
        }
    }
    world.fetches.clear();
    world.advance(INVISIBLE_MS);
    world.advance(1_000);
    assert!(!world.fetches.is_empty(), "the ring holds 64 KiB, this is older");
    let mut again = Vec::new();
    while again.len() < 300 {
        let messages = world.pop(c);
        assert!(!messages.is_empty(), "{} of 300", again.len());
        again.extend(messages.iter().map(|message| message.body.trim_start_matches('0').to_owned()));
    }
    again.sort_unstable();
    again.dedup();
    assert_eq!(again.len(), 300, "each once");
    assert!(world.pop(c).is_empty());
}

#[test]
fn a_disk_that_fails_delays_what_lies_there_and_nothing_else() {
    let (mut world, c) = World::with_pops();
    world.send(c, "T", 0, "", "old");
    let old = world.pop(c);
    assert_eq!(old.len(), 1);
    for n in 0..300 {
        world.send(c, "T", 0, "", &format!("{n:0>1000}"));
    }
    world.send(c, "T", 0, "", "new");
    world.broker.offsets.commit("g", "T", QueueId(0), QueueOffset(301));
    world.advance(1);
    assert_eq!(world.popped_bodies(c), ["new"]);
    world.reads = false;
    world.advance(INVISIBLE_MS);
    assert_eq!(world.popped_bodies(c), ["new"], "in the ring");
    world.advance(60_000);
    world.reads = true;
    world.advance(31_000);
    let mut again = world.popped_bodies(c);
    again.sort_unstable();
    assert_eq!(again, ["new", "old"]);
}

#[test]
fn a_life_goes_on_where_the_last_one_stood() {
    let (mut world, c) = World::with_pops();
    let before = world.offset_file();
    for body in ["acked", "open", "changed", "rest"] {
        world.send(c, "T", 0, "", body);
    }
    let ext = with(&pop_ext("-1", "0", "10000"), "maxMsgNums", "3");
    let answer = world.call(c, RequestCode::PopMessage, &ext, b"");
    let messages = Popped::all(&answer);
    assert_eq!(world.ack(c, &messages[0]).code, 0);
    let changed = world.change(c, &messages[2], 60_000);
    let kept = World::changed(&messages[2], &changed);
    // Killed before the offsets were written: the notes tell it all.
    world.live_with(before);
    let c = world.connect();
    assert_eq!(world.popped_bodies(c), ["rest"]);
    world.advance(INVISIBLE_MS - 1);
    assert!(world.pop(c).is_empty());
    world.advance(1);
    let mut again = world.popped_bodies(c);
    again.sort_unstable();
    assert_eq!(again, ["open", "rest"], "at the time that was said before");
    assert_eq!(world.ack(c, &kept).code, 0);
    // And once more, with the offsets of now: what was put up for another try is in flight no longer.
    let file = world.offset_file();
    world.live_with(file);
    let c = world.connect();
    world.advance(INVISIBLE_MS);
    let mut again = world.popped_bodies(c);
    again.sort_unstable();
    assert_eq!(again, ["open", "rest"]);
    for message in world.pop(c) {
        world.ack(c, &message);
    }
    world.advance(120_000);
    assert!(world.popped_bodies(c).len() <= 2);
}

#[test]
fn notes_that_are_of_no_use_are_not_read_again() {
    let (mut world, c) = World::with_pops();
    for round in 0..20 {
        world.send(c, "T", 0, "", "x");
        let message = world.pop(c).remove(0);
        assert_eq!(world.ack(c, &message).code, 0);
        world.wait_ms(1_000);
        assert_eq!(world.group_offset("g", "T"), Some(round + 1));
    }
    world.wait_ms(1_000);
    world.wait_ms(1_000);
    let notes = world.notes();
    assert_eq!((notes, world.group_offset(REVIVE_GROUP, &revive_topic("DefaultCluster"))), (40, Some(notes)));
    world.wait_ms(1_000);
    let message_of_now = world.pop(c);
    assert!(message_of_now.is_empty());
    assert_eq!(world.broker.poll_timeout(), None, "nothing is in flight");
}

#[test]
fn a_note_of_long_ago_is_put_behind_all_others() {
    let (mut world, c) = World::with_pops();
    for body in ["long", "short"] {
        world.send(c, "T", 0, "", body);
    }
    let ext = with(&pop_ext("-1", "0", "600000"), "maxMsgNums", "1");
    let long = Popped::all(&world.call(c, RequestCode::PopMessage, &ext, b"")).remove(0);
    let mut short = world.pop(c).remove(0);
    let mut renamed = 0;
    while world.notes() < POP_NOTES_MAX + 200 {
        for _ in 0..100 {
            let opaque = {
                let mut ext = World::popped_ext(&short);
                ext.push(("invisibleTime", "600000".to_owned()));
                let ext: Vec<(&str, &str)> = ext.iter().map(|(name, value)| (*name, value.as_str())).collect();
                world.ask(c, RequestCode::ChangeMessageInvisibletime, &ext, b"")
            };
            world.broker.handle_turn_end(world.now, &mut world.out);
            world.run();
            let answer = world.answer(c, opaque).expect("an answer");
            assert_eq!(answer.code, 0, "{answer:?}");
            short = World::changed(&short, &answer);
            renamed += 1;
        }
    }
    world.wait_ms(1_000);
    world.wait_ms(1_000);
    world.wait_ms(1_000);
    let done = world.group_offset(REVIVE_GROUP, &revive_topic("DefaultCluster")).expect("a place");
    assert!(done > POP_NOTES_MAX - 1_000, "{done} of {} after {renamed} changes", world.notes());
    let file = world.offset_file();
    world.live_with(file);
    let c = world.connect();
    assert!(world.pop(c).is_empty(), "both are in flight still");
    assert_eq!(world.ack(c, &long).code, 0, "under its old name");
    world.advance(700_000);
    assert_eq!(world.popped_bodies(c), ["short"]);
}

#[test]
fn retry_topics_have_either_name_of_rocketmq() {
    let (mut world, c) = World::with_pops();
    world.send(c, "T", 0, "", "first");
    assert_eq!(world.popped_bodies(c), ["first"]);
    world.advance(INVISIBLE_MS);
    world.broker.settings.pops.second_retry_names = true;
    world.send(c, "T", 0, "", "second");
    let ext = with(&pop_ext("-1", "0", "10000"), "maxMsgNums", "1");
    world.broker.settings.pops.retry_first_percent = 0;
    assert_eq!(Popped::all(&world.call(c, RequestCode::PopMessage, &ext, b""))[0].body, "second");
    let held = world.ask(c, RequestCode::Notification, &look_ext("-1", "0"), b"");
    assert_eq!(
        world.answer(c, held).map(|answer| answer.ext["hasMsg"].clone()).as_deref(),
        Some("true"),
        "the first is"
    );
    let first = world.pop(c);
    assert_eq!(first.iter().map(|message| message.topic.as_str()).collect::<Vec<_>>(), [RETRY]);
    assert_eq!(world.ack(c, &first[0]).code, 0);
    assert!(world.pop(c).is_empty());
    let held = world.ask_pop(c, 2 * INVISIBLE_MS);
    world.advance(INVISIBLE_MS);
    let again = Popped::all(&world.answer(c, held).expect("its time is over"));
    assert_eq!((again[0].topic.as_str(), again[0].tries), (SECOND_RETRY, 1));
    assert_eq!(world.change(c, &again[0], 20_000).code, 0);
    assert_eq!(world.ack(c, &again[0]).code, 0, "it has another name since");
    world.advance(20_001);
    let again = world.pop(c);
    assert_eq!((again[0].topic.as_str(), again[0].tries), (SECOND_RETRY, 2), "it stays in its topic");
    let bits = format!(
        r#"{{"brokerName":"broker-a","acks":[{{"c":"g","t":"T","r":"2","so":{},"q":0,"rq":0,"pt":{},"it":10000,"b":"AQ==","bn":"broker-a"}}]}}"#,
        again[0].offset,
        again[0].handle.split(' ').nth(1).expect("when")
    );
    assert_eq!(world.call(c, RequestCode::BatchAckMessage, &[], bits.as_bytes()).code, 0);
    world.advance(20_000);
    assert!(world.pop(c).is_empty(), "all are acknowledged");
}

#[test]
fn what_comes_again_is_popped_as_the_settings_say() {
    let (mut world, c) = World::with_pops();
    world.send(c, "T", 0, "", "again");
    assert_eq!(world.pop(c).len(), 1);
    world.advance(INVISIBLE_MS);
    world.send(c, "T", 0, "", "new");
    let one = with(&pop_ext("-1", "0", "100"), "maxMsgNums", "1");
    for percent in [100, 0] {
        world.broker.settings.pops.retry_first_percent = percent;
        for _ in 0..7 {
            let body = &world.call(c, RequestCode::PopMessage, &one, b"").records()[0].body;
            assert_eq!(body == "again", percent == 100, "{percent}");
            world.advance(100);
            if percent == 0 {
                world.send(c, "T", 0, "", "new");
            }
        }
    }
    world.broker.settings.pops.retry_first_percent = 100;
    world.broker.settings.pops.tells_retry_topic = true;
    let told = world.call(c, RequestCode::PopMessage, &one, b"").records();
    assert_eq!((told[0].topic.as_str(), told[0].properties.contains_key("POP_CK")), (RETRY, false));
    world.broker.settings.pops.second_retry_names = true;
    world.broker.settings.pops.pops_first_retry_names = false;
    world.advance(INVISIBLE_MS);
    for message in world.pop(c) {
        assert_ne!(message.topic, RETRY, "{message:?}");
    }
}

#[test]
fn who_finds_no_room_in_order_is_told() {
    let (mut world, c) = World::with_pops();
    world.send(c, "T", 0, "", "x");
    let now = world.now.unix;
    world.broker.flood_in_order(now);
    let ext = with(&pop_ext("-1", "0", "100"), "order", "true");
    assert_eq!(world.call(c, RequestCode::PopMessage, &ext, b"").code, 210);
    let info = world.call(c, RequestCode::GetBrokerRuntimeInfo, &[], b"");
    assert!(info.text().contains(r#""popsWithoutRoom":"1""#), "{}", info.text());
    world.advance(1_000);
    assert_eq!(world.call(c, RequestCode::PopMessage, &ext, b"").records().len(), 1, "some are nobody's now");
}

#[test]
fn a_log_that_takes_nothing_hands_out_nothing_and_loses_nothing() {
    let (mut world, c) = World::with_pops();
    for _ in 0..3 {
        world.send(c, "T", 0, "", &"x".repeat(3_000));
    }
    let ext = with(&pop_ext("-1", "0", "10000"), "maxMsgNums", "1");
    let message = Popped::all(&world.call(c, RequestCode::PopMessage, &ext, b"")).remove(0);
    world.commits = false;
    let full = (0..1_000).find_map(|_| world.broker.store_for_test(world.now));
    assert_eq!(full, Some(NotStored::Append(AppendError::TailFull)));
    assert_eq!(world.pop_answer(c).code, 2, "busy");
    world.advance(INVISIBLE_MS);
    let opaque = {
        let ext = World::popped_ext(&message);
        let ext: Vec<(&str, &str)> = ext.iter().map(|(name, value)| (*name, value.as_str())).collect();
        world.ask(c, RequestCode::AckMessage, &ext, b"")
    };
    assert_eq!(world.answer(c, opaque).map(|answer| answer.code), Some(2), "it is not acknowledged");
    world.commits = true;
    world.run();
    world.advance(1_000);
    let mut bodies = 0;
    for _ in 0..10 {
        bodies += world.pop(c).iter().filter(|message| message.tries == 1).count();
    }
    assert_eq!(bodies, 1, "its time was over meanwhile");
}

#[test]
fn no_client_sends_to_the_notes() {
    let (mut world, c) = World::with_pops();
    for topic in [revive_topic("DefaultCluster"), revive_topic("Other")] {
        assert_eq!(world.send(c, &topic, 0, "", "x").code, 16);
    }
    assert_eq!(world.notes(), 0);
}

#[test]
fn a_slave_does_not_pop() {
    let mut world =
        World::living(Life { role: Role::Slave, ..life(Role::AsyncMaster) }, settings(), FlushPolicy::Sync, false);
    let c = world.connect();
    assert_eq!(world.pop_answer(c).code, 2);
}

impl Broker {
    /// Fills the log a little, or says why it takes nothing.
    fn store_for_test(&mut self, now: Now) -> Option<NotStored> {
        let topic = revive_topic("DefaultCluster");
        let queue = self.log.queue(&topic, QueueId(7));
        let body = [0; 16];
        let draft = crate::protocol::record::RecordDraft {
            topic: &topic,
            queue_id: QueueId(7),
            body: &body,
            ..self.draft(now)
        };
        self.store(now, queue, &draft).err()
    }
}

fn look_ext<'a>(queue: &'a str, poll_ms: &'a str) -> Vec<(&'a str, &'a str)> {
    let of_group = [("consumerGroup", "g"), ("topic", "T"), ("queueId", queue)];
    [&of_group[..], &[("maxMsgNums", "32"), ("pollTime", poll_ms), ("bornTime", "0")]].concat()
}

#[test]
fn who_only_looks_takes_nothing() {
    let (mut world, c) = World::with_pops();
    let peek = |world: &mut World| {
        let answer = world.call(c, RequestCode::PeekMessage, &look_ext("-1", "0"), b"");
        let bodies: Vec<String> = answer.records().into_iter().map(|record| record.body).collect();
        (answer.code, answer.number("restNum"), bodies.join(" "))
    };
    assert_eq!(peek(&mut world), (19, 0, String::new()));
    for body in ["a", "b"] {
        world.send(c, "T", 0, "", body);
    }
    for _ in 0..2 {
        assert_eq!(peek(&mut world), (0, 2, "a b".to_owned()));
    }
    let popped = world.pop(c);
    assert_eq!(popped.len(), 2, "they were there still");
    assert_eq!(peek(&mut world), (19, 0, String::new()));
    world.ack(c, &popped[0]);
    world.advance(INVISIBLE_MS);
    assert_eq!(peek(&mut world), (0, 1, "b".to_owned()), "what is tried again");
    assert_eq!(world.popped_bodies(c), ["b"]);
}

#[test]
fn word_comes_when_there_is_something_to_pop_and_at_its_time() {
    let (mut world, c) = World::with_pops();
    let word = |answer: &Received| (answer.code, answer.ext["hasMsg"].clone(), answer.ext["pollingFull"].clone());
    let (yes, no) = ((0, "true".to_owned(), "false".to_owned()), (0, "false".to_owned(), "false".to_owned()));
    assert_eq!(word(&world.call(c, RequestCode::Notification, &look_ext("0", "0"), b"")), no);
    let late = world.ask(c, RequestCode::Notification, &look_ext("-1", "1000"), b"");
    world.advance(999);
    assert!(world.answer(c, late).is_none());
    world.advance(1);
    assert_eq!(word(&world.answer(c, late).expect("an answer")), no);
    let held = world.ask(c, RequestCode::Notification, &look_ext("0", "10000"), b"");
    let pop = world.ask_pop(c, 10_000);
    assert!(world.answer(c, held).is_none());
    let waiting = world.call(c, RequestCode::PollingInfo, &look_ext("-1", "0"), b"");
    assert_eq!(waiting.number("pollingNum"), 1, "who waits for word does not pop");
    assert_eq!(world.call(c, RequestCode::PollingInfo, &look_ext("0", "0"), b"").number("pollingNum"), 0);
    world.send(c, "T", 0, "", "a");
    assert_eq!(word(&world.answer(c, held).expect("an answer")), yes, "whoever pops it");
    assert_eq!(Popped::all(&world.answer(c, pop).expect("an answer")).len(), 1);
    assert_eq!(world.call(c, RequestCode::PollingInfo, &look_ext("-1", "0"), b"").number("pollingNum"), 0);
    let connections: Vec<ConnectionId> = (0..=1).map(|_| world.connect()).collect();
    for _ in 0..HOLDS_PER_CONNECTION_MAX {
        world.ask(connections[0], RequestCode::Notification, &look_ext("0", "10000"), b"");
    }
    let full = world.call(connections[0], RequestCode::Notification, &look_ext("0", "10000"), b"");
    assert_eq!(word(&full), (0, "false".to_owned(), "true".to_owned()));
}

#[test]
fn who_has_too_much_in_flight_is_told_and_goes_on_when_some_of_it_is_acknowledged() {
    let (mut world, c) = World::with_pops();
    world.make_group("h");
    world.send(c, "T", 0, "", "a");
    let first = world.pop(c).remove(0);
    world.broker.flood_flights("g");
    world.send(c, "T", 0, "", "b");
    let answer = world.pop_answer(c);
    assert_eq!((answer.code, answer.number("restNum")), (210, 1), "as Apache at its limit: {answer:?}");
    let word = world.ask(c, RequestCode::Notification, &look_ext("-1", "10000"), b"");
    let held = world.ask_pop(c, 10_000);
    world.send(c, "T", 0, "", "c");
    assert!(world.answer(c, word).is_none(), "a pop would find nothing");
    assert!(world.answer(c, held).is_none());
    let info = world.call(c, RequestCode::GetBrokerRuntimeInfo, &[], b"");
    assert!(info.text().contains(r#""popsWithoutRoom":"2""#), "{}", info.text());
    let ext = with(&pop_ext("-1", "0", "10000"), "consumerGroup", "h");
    assert_eq!(world.call(c, RequestCode::PopMessage, &ext, b"").records().len(), 3, "another group has room");
    assert_eq!(world.ack(c, &first).code, 0);
    assert_eq!(world.answer(c, word).map(|answer| answer.ext["hasMsg"].clone()).as_deref(), Some("true"));
    let answer = world.answer(c, held).expect("there is room for one");
    let bodies: Vec<String> = Popped::all(&answer).into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, ["b", "c"]);
}

#[test]
fn in_order_the_next_come_when_those_before_are_acknowledged() {
    let (mut world, c) = World::with_pops();
    for body in ["a", "b", "c", "d"] {
        world.send(c, "T", 0, "", body);
    }
    let invisible = INVISIBLE_MS.to_string();
    let pop = |world: &mut World, c: ConnectionId, attempt: &str| {
        let ext = with(&with(&pop_ext("-1", "0", &invisible), "order", "true"), "maxMsgNums", "2");
        let ext = [&ext[..], &[("attemptId", attempt)]].concat();
        let answer = world.call(c, RequestCode::PopMessage, &ext, b"");
        let counts = answer.ext["orderCountInfo"].clone();
        assert_eq!(answer.number("reviveQid"), 999);
        let popped = if answer.code == 0 { Popped::all(&answer) } else { Vec::new() };
        let bodies: String = popped.iter().map(|message| message.body.as_str()).collect();
        (popped, bodies, counts)
    };
    let nothing = |(_, bodies, counts): (Vec<Popped>, String, String)| bodies.is_empty() && counts.is_empty();
    let (first, bodies, counts) = pop(&mut world, c, "x");
    assert_eq!((bodies.as_str(), counts.as_str()), ("ab", "0 0 0"));
    assert!(nothing(pop(&mut world, c, "")) && nothing(pop(&mut world, c, "y")));
    assert_eq!(pop(&mut world, c, "x").1, "ab", "the answer may have been lost");
    let (first_again, ..) = pop(&mut world, c, "x");
    assert_eq!(world.ack(c, &first[1]).code, 0);
    assert_eq!(world.ack(c, &first_again[1]).code, 0);
    assert!(nothing(pop(&mut world, c, "")), "the one before it is not acknowledged");
    let held = {
        let ext = with(&with(&pop_ext("-1", "60000", &invisible), "order", "true"), "maxMsgNums", "2");
        world.ask(c, RequestCode::PopMessage, &ext, b"")
    };
    assert!(world.answer(c, held).is_none());
    assert_eq!(world.ack(c, &first_again[0]).code, 0);
    world.advance(0);
    let second = Popped::all(&world.answer(c, held).expect("it is its turn"));
    assert_eq!(second.iter().map(|message| message.body.as_str()).collect::<String>(), "cd");
    assert_eq!(world.ack(c, &first[0]).code, 0, "it is over");
    let unknown = Popped { offset: 9, ..second[0].clone() };
    assert_eq!(world.ack(c, &unknown).code, 208);
    // One of them for longer: the queue waits for it.
    let changed = world.change(c, &second[1], 2 * INVISIBLE_MS);
    assert_eq!((changed.code, changed.number("reviveQid")), (0, 999));
    assert_eq!(changed.number("invisibleTime"), i64::try_from(2 * INVISIBLE_MS).expect("small"));
    world.advance(INVISIBLE_MS);
    assert!(nothing(pop(&mut world, c, "")));
    let held = {
        let ext = with(&with(&pop_ext("0", "60000", &invisible), "order", "true"), "maxMsgNums", "2");
        world.ask(c, RequestCode::PopMessage, &ext, b"")
    };
    world.advance(INVISIBLE_MS);
    let answer = world.answer(c, held).expect("their time is over");
    assert_eq!(answer.ext["orderCountInfo"], "0 qo0%2 1;0 qo0%3 1;0 0 1");
    let again = Popped::all(&answer);
    assert_eq!(world.ack(c, &again[0]).code, 0);
    world.advance(1_000);
    // Another life knows of no consumer, and of what was acknowledged.
    let offsets = world.offset_file();
    world.live_with(offsets);
    let c = world.connect();
    let (rest, bodies, counts) = pop(&mut world, c, "");
    assert_eq!((bodies.as_str(), counts.as_str()), ("d", "0 0 0"));
    assert_eq!(world.ack(c, &rest[0]).code, 0);
    assert!(nothing(pop(&mut world, c, "")));
}

#[test]
fn a_group_that_was_not_written_in_time_loses_nothing_and_a_deleted_one_its_messages() {
    let (mut world, c) = World::with_pops();
    world.send(c, "T", 0, "", "x");
    assert_eq!(world.popped_bodies(c), ["x"]);
    world.broker.groups.remove(world.now, "g");
    world.advance(INVISIBLE_MS);
    let again = world.pop(c);
    assert_eq!(again.len(), 1, "its table was lost, not the message");
    let delete = [("groupName", "g")];
    assert_eq!(world.call(c, RequestCode::DeleteSubscriptiongroup, &delete, b"").code, 0);
    world.advance(INVISIBLE_MS);
    assert_eq!(world.popped_bodies(c), ["x"], "whoever consumes makes the group again, and it has what it had");
    world.broker.settings.auto_create_group = false;
    assert_eq!(world.call(c, RequestCode::DeleteSubscriptiongroup, &delete, b"").code, 0);
    world.advance(INVISIBLE_MS);
    world.make_group("g");
    assert_eq!(world.pop(c).len(), 0, "it was deleted for good");
    // It is another one that has its name now.
    world.send(c, "T", 0, "", "y");
    assert_eq!(world.popped_bodies(c), ["y"]);
    world.advance(INVISIBLE_MS);
    assert_eq!(world.popped_bodies(c), ["y"]);
}

#[test]
fn nobody_moves_where_the_broker_itself_goes_on() {
    let (mut world, c) = World::with_pops();
    world.send(c, "T", 0, "", "x");
    assert_eq!(world.popped_bodies(c), ["x"]);
    for group in [REVIVE_GROUP, "CID_RMQ_SYS_TRANS"] {
        world.make_group(group);
        let ext = [("consumerGroup", group), ("topic", "T"), ("queueId", "0"), ("commitOffset", "1")];
        let refused = world.call(c, RequestCode::UpdateConsumerOffset, &ext, b"");
        assert_eq!(
            (refused.code, refused.remark.as_str()),
            (16, &*format!("the offsets of {group} are the broker's own"))
        );
        let ext = [("group", group), ("topic", "T"), ("timestamp", "-1"), ("isForce", "true")];
        assert_eq!(world.call(c, RequestCode::InvokeBrokerToResetOffset, &ext, b"").code, 16);
    }
}

/// How far the jobs have come could no longer be written: what they stored would come twice.
#[test]
fn what_becomes_due_during_an_orderly_stop_is_the_next_life_s() {
    let mut timers = World::with_timers(|_| ());
    timers.make_topic("T", 1);
    let c = timers.connect();
    for properties in ["DELAY\u{1}1\u{2}", "TIMER_DELAY_MS\u{1}2000\u{2}"] {
        assert_eq!(timers.send(c, "T", 0, properties, "x").code, 0);
    }
    let (mut pops, c) = World::with_pops();
    pops.make_group("g");
    pops.send(c, "T", 0, "", "x");
    assert_eq!(pops.pop(c).len(), 1);
    for mut world in [timers, pops] {
        world.run();
        world.broker.handle_stop(world.now);
        let appended = world.broker.log.appended();
        world.advance(120_000);
        assert_eq!(world.broker.log.appended(), appended);
        assert!(world.broker.log.is_settled());
    }
}
