//! Delayed messages: where they wait, when they are delivered, what survives.

use super::*;
use crate::broker::delay::Delays;
use crate::broker::persist::Table;
use crate::limits::{JOB_MESSAGES_PER_TURN, JOB_READ_WAIT_MS_MAX, JOB_RETRY_MS};
use crate::model::{QueueId, QueueOffset};
use crate::protocol::body::{DelayOffsets, LevelOffsets};
use crate::protocol::message::{BatchedMessage, MessageId, SCHEDULE_TOPIC, append_batched};
use crate::protocol::record::{Marks, RecordDraft};

impl World {
    /// Lets time pass as the shell does: a deadline is met when it has come, ticks come ten times a second.
    pub(super) fn advance(&mut self, ms: u64) {
        let end = self.now.mono.plus_ms(ms);
        let mut tick = self.now.mono.plus_ms(100);
        loop {
            let deadline = self.broker.poll_timeout().map_or(tick, |at| at.max(self.now.mono)).min(tick);
            if deadline > end {
                break;
            }
            self.set_time(deadline);
            if deadline == tick {
                tick = tick.plus_ms(100);
                self.broker.handle_tick(self.now, DISK, &mut self.out);
            } else {
                self.broker.handle_deadline(self.now, &mut self.out);
            }
            self.run();
        }
        self.set_time(end);
    }

    pub(super) fn set_time(&mut self, mono: MonoNs) {
        let passed_ms = mono.ms_since(self.now.mono);
        self.now.mono = mono;
        self.now.unix.0 += i64::try_from(passed_ms).unwrap();
    }

    pub(super) fn bodies(&mut self, connection: ConnectionId, topic: &str) -> Vec<String> {
        let mut bodies = Vec::new();
        loop {
            let from = i64::try_from(bodies.len()).unwrap();
            let records = self.pull(connection, topic, from, "*").records();
            if records.is_empty() {
                return bodies;
            }
            bodies.extend(records.into_iter().map(|record| record.body));
        }
    }

    /// The file of the delay offsets as it would be written now.
    pub(super) fn delay_file(&self) -> DelayOffsets {
        DelayOffsets::decode(&self.broker.view_table(Table::DelayOffsets)).unwrap()
    }

    /// The next life of the broker over the same log.
    pub(super) fn live_again(&mut self, life: Life, file: DelayOffsets) {
        let nothing = Log::create(log_settings(FlushPolicy::Sync), Box::new(HeapTail::new(64 * 1024)));
        let before = std::mem::replace(&mut self.broker, Broker::new(life, settings(), nothing, Tables::default()));
        let (topics, offsets) = (Some(before.topic_table()), Some(before.offsets.table()));
        let stored = StoredTables { topics, offsets, delay_offsets: Some(file), ..StoredTables::default() };
        let tables = Tables { stored, ..Tables::default() };
        self.broker = Broker::new(life, settings(), before.log, tables);
        self.out = Output::default();
        self.unwritten = None;
        self.broker.handle_start(self.now, &mut self.out);
        self.run();
    }

    /// Appends a record to the log past the broker, as a master of another kind may have.
    pub(super) fn append_scheduled(&mut self, properties: &str) {
        let draft = RecordDraft {
            topic: SCHEDULE_TOPIC,
            queue_id: QueueId(0),
            body: b"x",
            properties: properties.as_bytes(),
            marks: Marks::of(properties.as_bytes()),
            ..self.broker.draft(self.now)
        };
        let queue = self.broker.log.queue(SCHEDULE_TOPIC, QueueId(0));
        self.broker.log.append(queue, &draft).unwrap();
        self.run();
    }
}

pub(super) fn levels(pairs: &[(i32, u64)]) -> LevelOffsets {
    pairs.iter().map(|&(level, offset)| (level, QueueOffset(offset))).collect()
}

#[test]
fn a_delayed_message_waits_in_the_queue_of_its_level_and_comes_when_it_is_due() {
    let mut world = World::new();
    world.make_topic("T", 2);
    let c = world.connect();
    let properties = "UNIQ_KEY\u{1}U\u{2}TAGS\u{1}A\u{2}DELAY\u{1}1\u{2}WAIT\u{1}true\u{2}own\u{1}1\u{2}";
    let sent = world.send(c, "T", 0, properties, "x");
    assert_eq!((sent.code, sent.number("queueId"), sent.number("queueOffset")), (0, 0, 0));
    let place = MessageId::decode(&sent.ext["msgId"]).unwrap().log_offset.to_string();
    let waiting = world.call(c, RequestCode::ViewMessageById, &[("offset", &place)], b"").records()[0].clone();
    assert_eq!(waiting.topic, SCHEDULE_TOPIC);
    world.advance(999);
    assert!(world.pull(c, "T", 0, "A").records().is_empty(), "not before its time");
    let opaque = world.ask_pull(c, "T", 0, "A", 10_000);
    world.advance(1);
    let arrived = world.answer(c, opaque).expect("the reader who waits is woken at the very time").records()[0].clone();
    assert_eq!((arrived.topic.as_str(), arrived.body.as_str(), arrived.queue_offset), ("T", "x", 0));
    let expected = [
        ("UNIQ_KEY", "U"),
        ("TAGS", "A"),
        ("DELAY", "1"),
        ("WAIT", "true"),
        ("own", "1"),
        ("REAL_TOPIC", "T"),
        ("REAL_QID", "0"),
        ("CLUSTER", "DefaultCluster"),
        ("MSG_REGION", "DefaultRegion"),
        ("TRACE_ON", "true"),
    ];
    let mut properties = arrived.properties.clone();
    properties.remove("__CRC32#");
    assert_eq!(properties, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_ne!(arrived.log_offset, waiting.log_offset);
    world.advance(60_000);
    assert_eq!(world.bodies(c, "T"), ["x"], "once");
    let info = world.call(c, RequestCode::GetBrokerRuntimeInfo, &[], b"");
    assert!(info.text().contains(r#""scheduleMessageOffset_1":"1,1""#), "{}", info.text());
}

#[test]
fn levels_are_rocketmq_s() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let mut check = |level: &str, waits_ms: u64, kept: &str| {
        let before = world.bodies(c, "T").len();
        let sent = world.send(c, "T", 0, &format!("DELAY\u{1}{level}\u{2}TIMER_DELAY_SEC\u{1}9\u{2}"), level);
        assert_eq!(sent.code, 0, "{level} {sent:?}");
        world.advance(waits_ms - 1);
        assert_eq!(world.bodies(c, "T").len(), before, "{level} is early");
        world.advance(1);
        let records = world.pull(c, "T", i64::try_from(before).unwrap(), "*").records();
        assert_eq!(records.len(), 1, "{level} is late");
        for record in records {
            assert_eq!(record.properties["DELAY"], kept);
            assert!(!record.properties.contains_key("TIMER_DELAY_SEC"), "a level goes before a timer");
        }
    };
    check("1", 1_000, "1");
    check("2", 5_000, "2");
    check("14", 600_000, "14");
    check("18", 7_200_000, "18");
    check("99", 7_200_000, "18");
}

#[test]
fn what_is_not_delayed_keeps_its_level_and_what_is_no_level_is_refused() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    for (level, code) in [("0", 0), ("-1", 0), ("soon", 1), ("99999999999", 1), ("1.5", 1)] {
        let sent = world.send(c, "T", 0, &format!("DELAY\u{1}{level}\u{2}"), level);
        assert_eq!(sent.code, code, "{level} {sent:?}");
    }
    let records = world.pull(c, "T", 0, "*").records();
    let kept: Vec<&str> = records.iter().map(|record| record.properties["DELAY"].as_str()).collect();
    assert_eq!(kept, ["0", "-1"]);
    assert!(records.iter().all(|record| !record.properties.contains_key("REAL_TOPIC")));
}

#[test]
fn a_batch_is_not_delayed() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let mut check = |outer: &str, inner: &[u8], code: i32| {
        let mut body = Vec::new();
        append_batched(&BatchedMessage { flag: 0, body: b"x", properties: inner }, &mut body);
        let mut ext = send_ext("T", "0", outer);
        ext[11].1 = "true";
        let answer = world.call(c, RequestCode::SendBatchMessage, &ext, &body);
        assert_eq!(answer.code, code, "{answer:?}");
    };
    check("", b"", 0);
    check("DELAY\u{1}1\u{2}", b"", 13);
    check("", b"DELAY\x011\x02", 13);
    check("", b"DELAY\x01soon\x02", 1);
    check("DELAY\u{1}0\u{2}", b"", 0);
}

#[test]
fn a_turn_delivers_so_much_and_the_rest_has_its_own() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let count = 3 * JOB_MESSAGES_PER_TURN;
    for number in 0..count {
        world.send(c, "T", 0, &format!("DELAY\u{1}{}\u{2}", 1 + number % 2), &number.to_string());
    }
    world.set_time(world.now.mono.plus_ms(5_000));
    world.broker.handle_deadline(world.now, &mut world.out);
    world.run();
    let first = world.bodies(c, "T");
    assert_eq!(first.len(), JOB_MESSAGES_PER_TURN);
    let of_level_2 = first.iter().filter(|body| body.parse::<usize>().unwrap() % 2 == 1).count();
    assert!(of_level_2 > JOB_MESSAGES_PER_TURN / 3, "levels take turns: {of_level_2}");
    assert!(world.broker.poll_timeout().is_some_and(|at| at <= world.now.mono), "and the next turn is wanted at once");
    world.advance(0);
    let mut all: Vec<usize> = world.bodies(c, "T").iter().map(|body| body.parse().unwrap()).collect();
    let in_order = |parity: usize| all.iter().filter(|n| **n % 2 == parity).is_sorted();
    assert!(in_order(0) && in_order(1), "each level in the order of its queue");
    all.sort_unstable();
    assert_eq!(all, (0..count).collect::<Vec<_>>());
}

#[test]
fn what_waits_costs_nothing_until_it_is_due() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.send(c, "T", 0, "DELAY\u{1}18\u{2}", "x");
    world.advance(0);
    let first = world.broker.poll_timeout().expect("a deadline");
    assert_eq!(first.ms_since(world.now.mono), 1_000, "only the clock is looked at, which may have been set");
    // The clock is set forward.
    world.now.unix.0 += 7_200_000;
    world.advance(1_000);
    assert_eq!(world.bodies(c, "T"), ["x"]);
    // It is set back: what would wait for longer than its delay is due.
    world.send(c, "T", 0, "DELAY\u{1}1\u{2}", "y");
    world.now.unix.0 -= 3_600_000;
    world.advance(0);
    assert_eq!(world.bodies(c, "T"), ["x", "y"]);
}

#[test]
fn old_messages_are_brought_from_the_disk() {
    let mut world = World::new();
    world.make_topic("T", 1);
    world.make_topic("Other", 1);
    let c = world.connect();
    for number in 0..40 {
        world.send(c, "T", 0, "DELAY\u{1}1\u{2}", &number.to_string());
    }
    for _ in 0..60 {
        world.send(c, "Other", 0, "", &"y".repeat(4_000));
    }
    world.fetches.clear();
    world.advance(1_000);
    assert!(!world.fetches.is_empty(), "neither ring nor memory holds them");
    assert_eq!(world.bodies(c, "T"), (0..40).map(|n| n.to_string()).collect::<Vec<_>>());
}

#[test]
fn nothing_is_left_out_while_there_is_no_room() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    for number in 0..10 {
        world.send(c, "T", 0, "DELAY\u{1}1\u{2}", &format!("{number} {}", "x".repeat(4_000)));
    }
    world.commits = false;
    for _ in 0..10 {
        world.ask_send(c, "T", 0, "WAIT\u{1}false\u{2}", &"y".repeat(4_000));
    }
    world.advance(1_500);
    let next = world.broker.poll_timeout().expect("it is tried again");
    assert!(next.ms_since(world.now.mono) <= JOB_RETRY_MS);
    world.commits = true;
    world.run();
    world.advance(JOB_RETRY_MS);
    let numbers: Vec<String> = world.bodies(c, "T").iter().filter(|body| !body.starts_with('y')).cloned().collect();
    let numbers: Vec<&str> = numbers.iter().map(|body| &body[..1]).collect();
    assert_eq!(numbers, ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
}

#[test]
fn a_position_waits_for_the_promise_of_what_was_stored() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.send(c, "T", 0, "DELAY\u{1}1\u{2}", "x");
    world.commits = false;
    world.advance(2_000);
    assert_eq!(world.delay_file().offsets, levels(&[(1, 0)]), "the copy is not flushed");
    world.commits = true;
    world.run();
    let file = world.delay_file();
    assert_eq!(file.offsets, levels(&[(1, 1)]));
    assert!(file.log_offset <= world.broker.log.flushed() && file.log_offset > LogOffset(0));
    assert_eq!(file.version.counter, 1);
    assert!(world.unwritten.is_none() && file.safe.is_empty(), "written at once");
    world.advance(100);
    assert_eq!(world.delay_file().safe, levels(&[(1, 1)]), "flushed: it holds whatever becomes of the tail");
}

#[test]
fn the_next_life_goes_on_where_the_file_says() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let at_first = world.delay_file();
    for number in 0..3 {
        world.send(c, "T", 0, "DELAY\u{1}1\u{2}", &number.to_string());
        world.advance(600);
    }
    assert_eq!(world.bodies(c, "T"), ["0", "1"]);
    let file = world.delay_file();
    assert_eq!(file.offsets, levels(&[(1, 2)]));
    world.live_again(life(Role::AsyncMaster), file);
    let c = world.connect();
    world.advance(5_000);
    assert_eq!(world.bodies(c, "T"), ["0", "1", "2"], "what waited is not forgotten, and nothing comes twice");
    world.live_again(life(Role::AsyncMaster), at_first);
    let c = world.connect();
    world.advance(5_000);
    assert_eq!(world.bodies(c, "T"), ["0", "1", "2", "0", "1", "2"], "an old file: twice rather than never");
}

#[test]
fn a_file_that_is_ahead_of_the_log_is_not_believed() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    for number in 0..3 {
        world.send(c, "T", 0, "DELAY\u{1}1\u{2}", &number.to_string());
    }
    let appended = world.broker.log.appended();
    let file = |log_offset: LogOffset| DelayOffsets {
        offsets: levels(&[(1, 2)]),
        log_offset,
        safe: levels(&[(1, 1)]),
        ..DelayOffsets::default()
    };
    world.live_again(life(Role::AsyncMaster), file(appended.plus(1)));
    let c = world.connect();
    world.advance(2_000);
    assert_eq!(world.bodies(c, "T"), ["1", "2"]);
    let appended = world.broker.log.appended();
    world.live_again(life(Role::AsyncMaster), file(appended));
    let c = world.connect();
    world.advance(2_000);
    assert_eq!(world.bodies(c, "T"), ["1", "2", "2"]);
    // Positions outside the queue: its ends.
    world.live_again(life(Role::AsyncMaster), DelayOffsets { offsets: levels(&[(1, 99)]), ..DelayOffsets::default() });
    let c = world.connect();
    world.send(c, "T", 0, "DELAY\u{1}1\u{2}", "3");
    world.advance(2_000);
    assert_eq!(world.bodies(c, "T"), ["1", "2", "2", "3"]);
}

#[test]
fn a_position_of_a_queue_that_the_log_does_not_know_leaves_nothing_out() {
    let mut world = World::new();
    let file = DelayOffsets { offsets: levels(&[(1, 99)]), ..DelayOffsets::default() };
    world.live_again(life(Role::AsyncMaster), file);
    world.make_topic("T", 1);
    let c = world.connect();
    world.send(c, "T", 0, "DELAY\u{1}1\u{2}", "first");
    world.advance(2_000);
    assert_eq!(world.bodies(c, "T"), ["first"]);
    assert_eq!(world.delay_file().offsets, levels(&[(1, 1)]));
}

#[test]
fn a_slave_believes_its_master_as_far_as_its_own_log_has_come() {
    let told = |at: u64, log_offset: u64, safe: u64| DelayOffsets {
        offsets: levels(&[(1, at)]),
        log_offset: LogOffset(log_offset),
        safe: levels(&[(1, safe)]),
        ..DelayOffsets::default()
    };
    let mut delays = Delays::default();
    let table = |delays: &Delays| delays.form();
    assert!(delays.follow(told(5, 1_000, 4), LogOffset(0)));
    assert!(!delays.follow(told(5, 1_000, 5), LogOffset(0)), "nothing new");
    // What the master calls safe, its own log holds; ours may be shorter still.
    assert_eq!(
        (table(&delays).at(LogOffset(999)), table(&delays).at(LogOffset(1_000))),
        (&levels(&[]), &levels(&[(1, 5)]))
    );
    assert!(delays.follow(told(7, 2_000, 6), LogOffset(500)));
    assert_eq!(table(&delays).safe, levels(&[]), "the log has not come as far as the first table");
    assert!(delays.follow(told(9, 3_000, 8), LogOffset(1_500)));
    assert_eq!(table(&delays).safe, levels(&[(1, 5)]), "it has come as far as the first");
    assert!(delays.follow(told(9, 3_000, 8), LogOffset(2_500)), "nothing new, and it has come as far as the second");
    assert_eq!(table(&delays).safe, levels(&[(1, 7)]));
    assert!(!delays.follow(told(9, 3_000, 8), LogOffset(2_500)));
    // A slave that is always behind its master's last table passes over one now and then, and still goes on.
    for number in 10..200 {
        assert!(delays.follow(told(number, number * 1_000, 0), LogOffset((number * 1_000_u64).saturating_sub(20_500))));
    }
    let DelayOffsets { safe, .. } = table(&delays);
    assert!(safe[&1] >= QueueOffset(150) && safe[&1] <= QueueOffset(199 - 20), "{safe:?}");
    // A Java master does not say where its log ended: it is believed.
    assert!(delays.follow(DelayOffsets { offsets: levels(&[(1, 11)]), ..DelayOffsets::default() }, LogOffset(2_500)));
    assert_eq!(table(&delays).at(LogOffset(0)), &levels(&[(1, 11)]));
}

#[test]
fn what_can_never_be_delivered_holds_nothing_up() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.send(c, "T", 0, "DELAY\u{1}1\u{2}", "first");
    for properties in [
        "DELAY\u{1}1\u{2}",
        "DELAY\u{1}1\u{2}REAL_TOPIC\u{1}T\u{2}",
        "DELAY\u{1}1\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}-1\u{2}",
        "DELAY\u{1}1\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}4000000000\u{2}",
        "DELAY\u{1}1\u{2}REAL_TOPIC\u{1}RMQ_SYS_TRANS_HALF_TOPIC\u{2}REAL_QID\u{1}0\u{2}",
    ] {
        world.append_scheduled(properties);
    }
    // A level that is no number has no due time: it is due at once, behind what came before.
    world.append_scheduled("DELAY\u{1}soon\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}0\u{2}");
    world.send(c, "T", 0, "DELAY\u{1}1\u{2}", "last");
    world.advance(1_100);
    assert_eq!(world.bodies(c, "T"), ["first", "x", "last"]);
    assert_eq!(world.delay_file().offsets, levels(&[(1, 8)]));
    // Of a topic that is gone it is stored all the same, as RocketMQ has it: who makes the topic again finds it.
    world.send(c, "T", 0, "DELAY\u{1}1\u{2}", "late");
    assert_eq!(world.call(c, RequestCode::DeleteTopicInBroker, &[("topic", "T")], b"").code, 0);
    world.advance(1_100);
    world.make_topic("T", 1);
    assert_eq!(world.bodies(c, "T"), ["late"]);
}

#[test]
fn copies_wait_until_enough_replicas_are_in_sync() {
    let mut settings = settings();
    settings.replica = ReplicaSettings { in_sync_replicas: 2, min_in_sync_replicas: 2, ..settings.replica };
    let mut world = World::living(life(Role::SyncMaster), settings, FlushPolicy::Sync, false);
    world.make_topic("T", 1);
    let c = world.connect();
    assert_eq!(world.send(c, "T", 0, "", "x").code, 1, "no slave is in sync");
    world.append_scheduled("DELAY\u{1}1\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}0\u{2}");
    let queue = world.broker.log.find_queue(SCHEDULE_TOPIC, QueueId(0)).unwrap();
    let file = world.delay_file();
    let appended = world.broker.log.appended();
    world.broker.start_delays();
    world.advance(5_000);
    assert_eq!(world.broker.log.appended(), appended, "nothing was stored");
    assert_eq!(world.broker.log.bounds(queue).appended_max, QueueOffset(1));
    assert_eq!(world.delay_file().offsets.get(&1), Some(&QueueOffset(0)), "and the position stays, {file:?}");
}

#[test]
fn a_message_that_cannot_be_read_is_waited_for_and_holds_only_its_own_level() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    // More than one block of the index, and then more than the ring holds.
    for number in 0..20 {
        world.send(c, "T", 0, "DELAY\u{1}2\u{2}", &number.to_string());
    }
    world.make_topic("OTHER", 1);
    for _ in 0..100 {
        world.send(c, "OTHER", 0, "", &"x".repeat(1_000));
    }
    world.reads = false;
    world.fetches.clear();
    world.send(c, "T", 0, "DELAY\u{1}1\u{2}", "of another level");
    world.advance(600_000);
    assert_eq!(world.bodies(c, "T"), ["of another level"]);
    assert_eq!(world.delay_file().offsets, levels(&[(1, 1), (2, 0)]), "the position stays");
    assert!(
        (20..60).contains(&world.fetches.len()),
        "tried again and again, but not all the time: {}",
        world.fetches.len()
    );
    let tries = |world: &mut World| {
        let info: serde_json::Value =
            serde_json::from_slice(&world.call(c, RequestCode::GetBrokerRuntimeInfo, &[], b"").body).unwrap();
        let blocked = info["table"]["scheduleMessageUnreadable_2"].as_str()?.split_once(',')?;
        Some((blocked.0.to_owned(), blocked.1.parse::<u32>().unwrap()))
    };
    assert!(tries(&mut world).is_some_and(|(at, tries)| at == "0" && tries > 20));
    world.reads = true;
    world.advance(JOB_READ_WAIT_MS_MAX);
    let expected: Vec<String> =
        std::iter::once("of another level".to_owned()).chain((0..20).map(|number| number.to_string())).collect();
    assert_eq!(world.bodies(c, "T"), expected);
    assert_eq!(tries(&mut world), None);
}

#[test]
fn a_message_whose_copy_would_be_too_long_is_refused_at_once() {
    let settings = BrokerSettings { message_body_bytes_max: 64 * 1024, ..settings() };
    let mut world = World::with(settings, FlushPolicy::Sync, false);
    let long = "T".repeat(127);
    world.make_topic(&long, 1);
    let c = world.connect();
    // Half of the tail is the longest record; the topic's name in the copy is longer than that of the queue where it waits.
    let most = (0..34 * 1024).rev().find(|bytes| world.send(c, &long, 0, "", &"x".repeat(*bytes)).code == 0).unwrap();
    let (mut stored, mut refused) = (0, 0);
    for bytes in most - 200..most {
        match world.send(c, &long, 0, "DELAY\u{1}1\u{2}", &"y".repeat(bytes)).code {
            0 => stored += 1,
            code => {
                assert_eq!(code, 13);
                refused += 1;
            }
        }
    }
    assert!(stored > 0 && refused > 0, "{stored} stored, {refused} refused of at most {most}");
    world.advance(10_000);
    assert_eq!(world.delay_file().offsets, levels(&[(1, stored)]), "what was stored comes");
}

#[test]
fn a_level_that_is_no_number_is_refused_by_its_value() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let refused = world.send(c, "T", 0, "DELAY\u{1}soon\u{2}", "x");
    assert_eq!(refused.code, 1);
    assert_eq!(refused.remark, "the delay level DELAY=soon is no number");
}
