//! Timer messages: what is put off and until when, when they are delivered, what survives.

use super::*;
use crate::broker::timer::WindowBounds;
use crate::letter::MasterTables;
use crate::limits::JOB_MESSAGES_PER_TURN;
use crate::model::QueueOffset;
use crate::protocol::body::{DelayOffsets, TableChange, TablePlace, TimerPlaces, TimerStep};
use crate::protocol::message::{BatchedMessage, MessageId, RecallHandle, WHEEL_TOPIC, append_batched};

const SMALL: WindowBounds = WindowBounds { window_max: 16, zone_messages: 8, zones_max: 8 };

impl World {
    fn put(&mut self, connection: ConnectionId, delay_ms: i64, body: &str) -> Received {
        self.send(connection, "T", 0, &format!("UNIQ_KEY\u{1}{body}\u{2}TIMER_DELAY_MS\u{1}{delay_ms}\u{2}"), body)
    }

    /// What is there, in its order.
    fn numbers(&mut self, connection: ConnectionId) -> Vec<u64> {
        self.bodies(connection, "T").iter().map(|body| body.parse().unwrap()).collect()
    }
}

fn world_with_topic() -> (World, ConnectionId) {
    let mut world = World::new();
    world.make_topic("T", 2);
    let c = world.connect();
    (world, c)
}

#[test]
fn a_timer_message_waits_in_the_wheel_and_comes_when_it_is_due() {
    let (mut world, c) = world_with_topic();
    let now = world.now.unix.0;
    let properties = "UNIQ_KEY\u{1}U\u{2}TAGS\u{1}A\u{2}TIMER_DELAY_SEC\u{1}2\u{2}own\u{1}1\u{2}";
    let sent = world.send(c, "T", 1, properties, "x");
    assert_eq!((sent.code, sent.number("queueId"), sent.number("queueOffset")), (0, 1, 0));
    let place = MessageId::decode(&sent.ext["msgId"]).unwrap().log_offset.to_string();
    let waiting = world.call(c, RequestCode::ViewMessageById, &[("offset", &place)], b"").records()[0].clone();
    assert_eq!(waiting.topic, WHEEL_TOPIC);
    let waits = |name: &str| waiting.properties[name].clone();
    assert_eq!(
        (waits("TIMER_OUT_MS"), waits("REAL_TOPIC"), waits("REAL_QID")),
        ((now + 1_000).to_string(), "T".into(), "1".into())
    );
    let set = waiting.properties.keys().cloned().collect::<Vec<_>>();
    world.advance(1_999);
    let ext = [("topic", "T"), ("queueId", "1")];
    assert_eq!(world.call(c, RequestCode::GetMaxOffset, &ext, b"").number("offset"), 0, "not before its time");
    world.advance(1);
    assert_eq!(world.call(c, RequestCode::GetMaxOffset, &ext, b"").number("offset"), 1);
    let ext =
        [("topic", "T"), ("key", "U"), ("maxNum", "8"), ("beginTimestamp", "0"), ("endTimestamp", "9999999999999")];
    let arrived = world.call(c, RequestCode::QueryMessage, &ext, b"").records()[0].clone();
    let mut properties = arrived.properties.clone();
    let mut expected = set.clone();
    expected.extend(["TIMER_ENQUEUE_MS".to_owned(), "TIMER_DEQUEUE_MS".to_owned()]);
    expected.sort();
    assert_eq!(properties.keys().cloned().collect::<Vec<_>>(), expected);
    assert_eq!(properties.remove("TIMER_ENQUEUE_MS"), Some(now.to_string()));
    assert_eq!(properties.remove("TIMER_DEQUEUE_MS"), Some((now + 2_000).to_string()));
    assert_eq!((properties["own"].as_str(), properties["TAGS"].as_str(), arrived.queue_offset), ("1", "A", 0));
    world.advance(60_000);
    let info = world.call(c, RequestCode::GetBrokerRuntimeInfo, &[], b"");
    assert!(info.text().contains(r#""timerReadBehind":"0""#), "{}", info.text());
}

#[test]
fn the_time_is_the_next_multiple_of_the_precision_and_never_before_what_was_asked_for() {
    let check = |precision_ms: u64, delay_ms: i64, expected_ms: u64| {
        let mut world = World::with_timers(|settings| settings.timers.precision_ms = precision_ms);
        world.make_topic("T", 1);
        let c = world.connect();
        assert_eq!(world.put(c, delay_ms, "1").code, 0);
        if expected_ms > 0 {
            world.advance(expected_ms - 1);
            assert!(world.bodies(c, "T").is_empty(), "{precision_ms} {delay_ms}: early");
            world.advance(1);
        }
        assert_eq!(world.numbers(c), [1], "{precision_ms} {delay_ms}: late");
    };
    // The world begins at a whole second.
    check(1_000, 1_000, 1_000);
    check(1_000, 1_001, 2_000);
    check(1_000, 1, 1_000);
    check(1_000, 0, 0);
    check(1_000, -5_000, 0);
    check(100, 1_001, 1_100);
    check(1, 1_001, 1_001);
    check(1, 1, 1);
    check(7, 13_000, 13_000 + (7 - 1_700_000_013_000_u64 % 7));
}

#[test]
fn with_shorter_steps_than_before_nothing_comes_early() {
    let mut world = World::with_timers(|settings| settings.timers.precision_ms = 60_000);
    world.make_topic("T", 1);
    let c = world.connect();
    let asked = [5_000, 70_000, 9_000, 61_500, 121_000];
    let begun = world.now.unix.0;
    for (number, delay) in asked.iter().enumerate() {
        let properties = match number % 2 {
            0 => format!("TIMER_DELAY_MS\u{1}{delay}\u{2}TIMER_ENQUEUE_MS\u{1}5\u{2}"),
            _ => format!("TIMER_DELIVER_MS\u{1}{}\u{2}", begun + delay),
        };
        assert_eq!(world.send(c, "T", 0, &properties, &number.to_string()).code, 0);
    }
    let file = world.delay_file();
    world.live_again(life(Role::AsyncMaster), file);
    let mut c = world.connect();
    for second in 1..=130 {
        world.advance(999);
        world.advance(1);
        let mut found = world.numbers(c);
        found.sort_unstable();
        let due = |number: &u64| asked[usize::try_from(*number).unwrap()] <= second * 1_000;
        assert_eq!(found, (0..5).filter(due).collect::<Vec<u64>>(), "after {second} s");
        if second == 65 {
            let file = world.delay_file();
            world.live_again(life(Role::AsyncMaster), file);
            c = world.connect();
        }
    }
}

#[test]
fn what_cannot_wait_is_refused_with_rocketmq_s_codes() {
    let (mut world, c) = world_with_topic();
    let now = world.now.unix.0;
    let mut check = |properties: &str, code: i32| {
        let sent = world.send(c, "T", 0, properties, "1");
        assert_eq!(sent.code, code, "{properties} {sent:?}");
    };
    let day = 86_400_000;
    check(&format!("TIMER_DELIVER_MS\u{1}{}\u{2}", now + 3 * day), 0);
    check(&format!("TIMER_DELIVER_MS\u{1}{}\u{2}", now + 3 * day + 1), 13);
    check("TIMER_DELAY_SEC\u{1}259201\u{2}", 13);
    check("TIMER_DELAY_MS\u{1}soon\u{2}", 13);
    check("TIMER_DELAY_SEC\u{1}\u{2}", 0);
    check("TIMER_DELIVER_MS\u{1}5\u{2}TIMER_DEL_UNIQKEY\u{1}T+U\u{2}", 13);
    check("TIMER_DELIVER_MS\u{1}5\u{2}", 0);
    check("TIMER_DELAY_SEC\u{1}5\u{2}TRAN_MSG\u{1}true\u{2}", 13);
    check("TIMER_DELAY_SEC\u{1}5\u{2}TIMER_OUT_MS\u{1}5\u{2}", 0);
    assert_eq!(
        world.bodies(c, "T").len(),
        3,
        "without a time, with one that has come, and with one that was waited for"
    );
    assert_eq!(world.send(c, WHEEL_TOPIC, 0, "", "1").code, 16);
    let mut body = Vec::new();
    append_batched(&BatchedMessage { flag: 0, body: b"x", properties: b"TIMER_DELAY_SEC\x015\x02" }, &mut body);
    let mut ext = send_ext("T", "0", "");
    ext[11].1 = "true";
    assert_eq!(world.call(c, RequestCode::SendBatchMessage, &ext, &body).code, 13);
    let long = format!("TIMER_DELAY_SEC\u{1}5\u{2}long\u{1}{}\u{2}", "x".repeat(32_500));
    assert_eq!(world.send(c, "T", 0, &long, "1").code, 13, "it could not be delivered");
    let mut world = World::with_timers(|settings| settings.timers.is_enabled = false);
    world.make_topic("T", 1);
    let c = world.connect();
    assert_eq!(world.put(c, 5_000, "1").code, 1);
    assert_eq!(world.put(c, 0, "1").code, 1, "whether its time has come or not");
}

#[test]
fn messages_come_in_the_order_of_their_times_and_a_turn_delivers_so_many() {
    let (mut world, c) = world_with_topic();
    let count = 3 * JOB_MESSAGES_PER_TURN as u64;
    for number in (0..count).rev() {
        assert_eq!(world.put(c, 1_000 + 1_000 * (number / 10).cast_signed(), &number.to_string()).code, 0);
    }
    world.set_time(world.now.mono.plus_ms(20_000));
    world.broker.handle_deadline(world.now, &mut world.out);
    world.run();
    assert_eq!(world.numbers(c).len(), JOB_MESSAGES_PER_TURN);
    assert!(world.broker.poll_timeout().is_some_and(|at| at <= world.now.mono), "the next turn is wanted at once");
    world.advance(0);
    let expected: Vec<u64> =
        (0..count.div_ceil(10)).flat_map(|ten| (ten * 10..count.min(ten * 10 + 10)).rev()).collect();
    assert_eq!(world.numbers(c), expected, "by time, and of one time in the order in which they came");
}

#[test]
fn what_waits_costs_nothing_and_the_clock_is_followed() {
    let (mut world, c) = world_with_topic();
    world.put(c, 7_200_000, "1");
    world.advance(0);
    let first = world.broker.poll_timeout().expect("a deadline");
    assert_eq!(first.ms_since(world.now.mono), 1_000, "only the clock is looked at, which may have been set");
    world.now.unix.0 += 7_200_000;
    world.advance(1_000);
    assert_eq!(world.numbers(c), [1]);
    // It is set back: what is put now comes at its time by that clock, before and after a restart.
    world.now.unix.0 -= 3_600_000;
    world.put(c, 5_000, "2");
    world.put(c, 2_000, "3");
    world.advance(3_000);
    assert_eq!(world.numbers(c), [1, 3]);
    let file = world.delay_file();
    assert_eq!(file.timers.steps.len(), 2, "what comes after the step has a place of its own");
    world.live_again(life(Role::AsyncMaster), file);
    let c = world.connect();
    world.advance(2_900);
    assert_eq!(world.numbers(c), [1, 3, 2]);
    world.put(c, 3_600_000, "4");
    world.advance(3_601_000);
    assert_eq!(world.numbers(c), [1, 3, 2, 4]);
    assert_eq!(world.delay_file().timers.steps.len(), 1);
}

#[test]
fn few_are_in_memory_however_many_wait() {
    let mut world = World::with_timers(|settings| settings.timer_window = SMALL);
    world.make_topic("T", 1);
    world.make_topic("Other", 1);
    let c = world.connect();
    let count: u64 = 500;
    let time = |number: u64| 1 + (number * 7_919) % 97;
    for number in 0..count {
        world.put(c, 1_000 * time(number).cast_signed(), &number.to_string());
    }
    for _ in 0..60 {
        world.send(c, "Other", 0, "", &"y".repeat(4_000));
    }
    world.fetches.clear();
    world.advance(50_000);
    let mut expected: Vec<u64> = (0..count).collect();
    expected.sort_by_key(|number| time(*number));
    let half = world.numbers(c);
    assert_eq!(half, expected.iter().copied().filter(|number| time(*number) <= 50).collect::<Vec<_>>());
    assert!(!world.fetches.is_empty(), "the index and the log are on the disk");
    // A restart finds the rest, from the file's floor on.
    let file = world.delay_file();
    world.live_again(life(Role::AsyncMaster), file);
    let c = world.connect();
    world.advance(50_000);
    assert_eq!(world.numbers(c), expected);
}

#[test]
fn the_next_life_goes_on_where_the_file_says_and_a_burst_of_what_is_overdue_is_delivered_in_turns() {
    let (mut world, c) = world_with_topic();
    let at_first = world.delay_file();
    assert_eq!(at_first.timers, TimerPlaces::default());
    for number in 0..100 {
        world.put(c, 1_000 * (1 + number), &number.to_string());
    }
    world.advance(3_000);
    assert_eq!(world.numbers(c), [0, 1, 2]);
    let file = world.delay_file();
    world.now.unix.0 += 10 * 3_600_000;
    world.live_again(life(Role::AsyncMaster), file);
    world.broker.handle_deadline(world.now, &mut world.out);
    world.run();
    let c = world.connect();
    assert_eq!(world.numbers(c).len(), 3 + JOB_MESSAGES_PER_TURN);
    world.advance(1_000);
    assert_eq!(world.numbers(c), (0..100).collect::<Vec<_>>(), "hours later, in their order, and nothing twice");
    world.live_again(life(Role::AsyncMaster), at_first);
    let c = world.connect();
    world.advance(1_000);
    assert_eq!(world.numbers(c).len(), 200, "an old file: twice rather than never");
}

#[test]
fn what_was_put_after_the_file_was_written_is_not_left_out() {
    let (mut world, c) = world_with_topic();
    world.put(c, 9_000, "1");
    world.now.unix.0 += 3_600_000;
    world.advance(1_000);
    let file = world.delay_file();
    world.now.unix.0 -= 3_600_000;
    world.put(c, 2_000, "2");
    // A kill before the next one is written: the file says that all is delivered up to a time that is ahead.
    world.live_again(life(Role::AsyncMaster), file);
    let c = world.connect();
    world.advance(3_000);
    assert_eq!(world.numbers(c), [1, 2]);
}

#[test]
fn a_place_waits_for_the_promise_of_what_was_stored() {
    let (mut world, c) = world_with_topic();
    world.put(c, 1_000, "1");
    world.commits = false;
    world.advance(2_000);
    assert_eq!(world.delay_file().timers, TimerPlaces::default(), "the copy is not flushed");
    world.commits = true;
    world.run();
    let file = world.delay_file();
    let [TimerStep { from, code, .. }] = file.timers.steps[..] else { panic!("{file:?}") };
    assert_eq!((from, code), (LogOffset(0), 2 * 1_700_000_000_000 + 1));
    assert!(file.log_offset <= world.broker.log.flushed() && file.log_offset > LogOffset(0));
    assert!(world.unwritten.is_none(), "written at once");
    world.advance(100);
    let file = world.delay_file();
    assert_eq!(file.safe_timers.steps, file.timers.steps, "flushed: it holds whatever becomes of the tail");
}

#[test]
fn a_message_for_a_queue_that_its_topic_has_no_more_waits_there_as_with_rocketmq() {
    let (mut world, c) = world_with_topic();
    assert_eq!(world.send(c, "T", 1, "TIMER_DELAY_MS\u{1}2000\u{2}", "1").code, 0);
    world.make_topic("T", 1);
    world.advance(2_000);
    world.make_topic("T", 2);
    let ext = [("topic", "T"), ("queueId", "1")];
    assert_eq!(world.call(c, RequestCode::GetMaxOffset, &ext, b"").number("offset"), 1);
}

#[test]
fn a_slave_delivers_nothing_and_as_master_goes_on_where_its_master_was() {
    let (mut world, c) = world_with_topic();
    for number in 0..3 {
        world.put(c, 1_000 * (1 + number), &number.to_string());
    }
    world.advance(1_000);
    let file = world.delay_file();
    world.live_again(life(Role::Slave), file.clone());
    assert_eq!(world.delay_file().timers, file.timers, "a slave knows what its master told");
    world.advance(5_000);
    let file = world.delay_file();
    world.live_again(life(Role::AsyncMaster), file);
    let c = world.connect();
    world.advance(1_000);
    assert_eq!(world.numbers(c), [0, 1, 2]);
}

#[test]
fn a_file_that_is_ahead_of_the_log_is_not_believed() {
    let (mut world, c) = world_with_topic();
    for number in 0..3 {
        world.put(c, 1_000, &number.to_string());
    }
    world.advance(1_000);
    let mut file = world.delay_file();
    file.log_offset = LogOffset(1 << 40);
    file.safe_timers = TimerPlaces::default();
    world.live_again(life(Role::AsyncMaster), file);
    let c = world.connect();
    world.advance(1_000);
    assert_eq!(world.numbers(c), [0, 1, 2, 0, 1, 2]);
}

fn recall(world: &mut World, connection: ConnectionId, topic: &str, handle: &str) -> Received {
    let ext = [("topic", topic), ("recallHandle", handle), ("producerGroup", "pg")];
    world.call(connection, RequestCode::RecallMessage, &ext, b"")
}

fn world_with_recalls() -> (World, ConnectionId) {
    let mut world = World::with_timers(|settings| settings.timers.takes_recalls = true);
    world.make_topic("T", 1);
    world.make_topic("U", 1);
    let c = world.connect();
    (world, c)
}

#[test]
fn a_message_that_was_recalled_does_not_come_and_one_of_another_topic_does() {
    let (mut world, c) = world_with_recalls();
    let properties = "UNIQ_KEY\u{1}K\u{2}TIMER_DELAY_SEC\u{1}5\u{2}";
    let sent = world.send(c, "T", 0, properties, "1");
    let expected = RecallHandle::encode("T", world.broker.settings.name.as_str(), world.now.unix.0 + 4_000, "K");
    assert_eq!(sent.ext["recallHandle"], expected);
    assert_eq!(world.send(c, "U", 0, properties, "2").code, 0);
    let other = world.put(c, 5_000, "3");
    assert_eq!(world.put(c, 5_000, "4").code, 0);
    assert!(!world.put(c, 0, "5").ext.contains_key("recallHandle"), "it does not wait");
    let answer = recall(&mut world, c, "T", &sent.ext["recallHandle"]);
    assert_eq!(
        (answer.code, answer.ext["msgId"].as_str(), answer.ext["MSG_REGION"].as_str()),
        (0, "K", "DefaultRegion")
    );
    world.advance(3_999);
    assert_eq!(recall(&mut world, c, "T", &other.ext["recallHandle"]).code, 0, "early enough");
    world.advance(1);
    assert_eq!(recall(&mut world, c, "T", &other.ext["recallHandle"]).code, 0, "twice is once");
    world.advance(1);
    let late = recall(&mut world, c, "T", &other.ext["recallHandle"]);
    assert_eq!((late.code, late.remark.as_str()), (604, "recall failed, timestamp invalid"));
    world.advance(2_000);
    assert_eq!(
        (world.bodies(c, "T"), world.bodies(c, "U")),
        (vec!["5".to_owned(), "4".to_owned()], vec!["2".to_owned()])
    );
    let info = world.call(c, RequestCode::GetBrokerRuntimeInfo, &[], b"");
    assert!(info.text().contains(r#""timerMessagesRecalled":"2""#), "{}", info.text());
    let file = world.delay_file();
    world.live_again(life(Role::AsyncMaster), file);
    world.advance(5_000);
    let c = world.connect();
    assert_eq!(world.bodies(c, "T").len(), 2, "nor after a restart");
}

/// RocketMQ brings the time of a handle down to its step, as that of a message.
#[test]
fn a_handle_that_somebody_made_names_any_time_of_the_step() {
    let (mut world, c) = world_with_recalls();
    let (start, broker) = (world.now.unix.0, world.broker.settings.name.clone());
    for (key, at) in [("A", 5_400), ("B", 6_000), ("C", 6_001)] {
        let properties = format!("UNIQ_KEY\u{1}{key}\u{2}TIMER_DELIVER_MS\u{1}{}\u{2}", start + at);
        assert_eq!(world.send(c, "T", 0, &properties, key).code, 0);
        let made_up = RecallHandle::encode("T", broker.as_str(), start + at - 1, key);
        assert_eq!(recall(&mut world, c, "T", &made_up).code, 0);
    }
    world.advance(10_000);
    assert_eq!(world.bodies(c, "T"), Vec::<String>::new());
}

#[test]
fn a_recall_holds_over_a_restart_amid_those_of_its_time() {
    let (mut world, c) = world_with_recalls();
    let count = 2 * JOB_MESSAGES_PER_TURN;
    let handles: Vec<String> =
        (0..count).map(|number| world.put(c, 5_000, &number.to_string()).ext["recallHandle"].clone()).collect();
    assert_eq!(recall(&mut world, c, "T", &handles[count - 1]).code, 0);
    world.set_time(world.now.mono.plus_ms(5_000));
    world.broker.handle_deadline(world.now, &mut world.out);
    world.run();
    let file = world.delay_file();
    assert!(!file.timers.steps.is_empty() && world.numbers(c).len() < count - 1);
    world.live_again(life(Role::AsyncMaster), file);
    let c = world.connect();
    world.advance(1_000);
    assert_eq!(world.numbers(c), (0..count as u64 - 1).collect::<Vec<_>>());
}

#[test]
fn what_cannot_be_recalled_is_refused_as_by_rocketmq() {
    let (mut world, c) = world_with_recalls();
    let name = world.broker.settings.name.as_str().to_owned();
    let at = world.now.unix.0 + 5_000;
    let check = |world: &mut World, topic: &str, handle: &str, code: i32, remark: &str| {
        let answer = recall(world, c, topic, handle);
        assert_eq!((answer.code, answer.remark.as_str()), (code, remark), "{topic} {handle}");
        assert_eq!(answer.ext["MSG_REGION"], "DefaultRegion");
    };
    let handle = |topic: &str, broker: &str, at: i64| RecallHandle::encode(topic, broker, at, "K");
    check(&mut world, "No", &handle("No", &name, at), 17, "recall failed, the topic[No] not exist");
    check(&mut world, "T", "?", 604, "recall handle is invalid");
    check(&mut world, "T", "", 604, "recall handle is invalid");
    check(&mut world, "T", &handle("U", &name, at), 604, "recall failed, topic not match");
    check(&mut world, "T", &handle("T", "other", at), 604, "recall failed, broker service not available");
    check(&mut world, "T", &handle("T", &name, at - 5_001), 604, "recall failed, timestamp invalid");
    check(&mut world, "T", &handle("T", &name, at + 3 * 86_400_000 - 5_001), 604, "recall failed, timestamp invalid");
    let odd = RecallHandle::encode("T", &name, at, "K\u{2}TAGS\u{1}A");
    check(&mut world, "T", &odd, 1, "recall failed, execute error");
    assert_eq!(recall(&mut world, c, "T", &handle("T", &name, at)).code, 0, "whether there is such a message or not");
    world.broker.settings.permission = 4;
    assert_eq!(recall(&mut world, c, "T", &handle("T", &name, at)).code, 0);
    world.broker.settings.timers.recalls_unwritable = false;
    check(&mut world, "T", &handle("T", &name, at), 14, "recall failed, broker service not available");
    world.broker.settings.timers.recalls_unwritable = true;
    world.broker.settings.timers.is_enabled = false;
    check(&mut world, "T", &handle("T", &name, at), 1, "recall failed, execute error");
    world.broker.settings.timers.takes_recalls = false;
    check(&mut world, "T", &handle("T", &name, at), 16, "recall failed, operation is forbidden");
}

#[test]
fn what_takes_the_place_of_lost_messages_is_not_taken_for_them() {
    let (mut world, c) = world_with_topic();
    world.put(c, 1_000, "1");
    world.now.unix.0 += 3_600_000;
    world.advance(1_000);
    let mut file = world.delay_file();
    // Written when the log had more than it has after the power was lost.
    file.timers.end = file.timers.end.plus(1_000_000);
    world.persists = false;
    world.live_again(life(Role::AsyncMaster), file);
    let c = world.connect();
    assert_eq!(world.put(c, 1_000, "2").code, 2, "nothing is stored that the file might speak of");
    world.persists = true;
    world.run();
    assert!(world.delay_file().timers.end <= world.broker.log.appended());
    assert_eq!(world.put(c, 1_000, "2").code, 0);
}

/// Retention goes by the age of messages; what waits for its time is not old before that has come.
#[test]
fn retention_leaves_what_waits_for_its_time() {
    const HOUR_MS: u64 = 3_600_000;
    let mut world = World::with_timers(|settings| settings.timers.delay_max_sec = 1_000 * 3_600);
    world.make_topic("T", 1);
    let c = world.connect();
    let hours = |hours: u64| i64::try_from(hours * HOUR_MS).unwrap();
    assert_eq!(world.put(c, hours(200), "7").code, 0);
    world.make_topic("other", 1);
    let body = "x".repeat(4_000);
    // Three segments.
    let fill = |world: &mut World| (0..800).for_each(|_| assert_eq!(world.send(c, "other", 0, "", &body).code, 0));
    fill(&mut world);
    let pass_hours = |world: &mut World, hours: u64| {
        for _ in 0..hours {
            world.set_time(world.now.mono.plus_ms(HOUR_MS - 3_000));
            world.advance(3_000);
        }
    };
    pass_hours(&mut world, 120);
    assert_eq!(world.broker.log.start(), LogOffset(0), "the first segment is five days old, and holds what waits");
    pass_hours(&mut world, 80);
    assert_eq!(world.numbers(c), [7], "it has come");
    fill(&mut world);
    pass_hours(&mut world, 120);
    assert!(world.broker.log.start() > LogOffset(0), "nothing waits there any more");
}

/// As long as messages of its time may come, what recalls counts as not done with; retention does not wait for that.
/// A slave's log may lack the copies of what its master has delivered; when it is made a master, it is to deliver that itself.
#[test]
fn retention_on_a_slave_leaves_what_is_not_known_to_be_delivered_here() {
    const HOUR_MS: u64 = 3_600_000;
    let hour = i64::try_from(HOUR_MS).unwrap();
    for is_level in [false, true] {
        let mut world = World::with_timers(|settings| settings.timers.delay_max_sec = 1_000 * 3_600);
        world.make_topic("T", 1);
        let c = world.connect();
        match is_level {
            true => assert_eq!(world.send(c, "T", 0, "DELAY\u{1}18\u{2}", "7").code, 0),
            false => assert_eq!(world.put(c, 2 * hour, "7").code, 0),
        }
        world.make_topic("other", 1);
        let body = "x".repeat(4_000);
        (0..800).for_each(|_| assert_eq!(world.send(c, "other", 0, "", &body).code, 0));
        let before = world.delay_file();
        // What its master would tell.
        let mut told = before.clone();
        told.log_offset = world.broker.log.appended().plus(1);
        match is_level {
            true => drop(told.offsets.insert(18, QueueOffset(1))),
            false => {
                let step = TimerStep { from: LogOffset(0), code: i64::MAX, at: LogOffset(0) };
                told.timers = TimerPlaces { end: told.log_offset, floor: QueueOffset(1), steps: vec![step] };
            }
        }
        world.live_again(life(Role::Slave), before);
        let pass_days = |world: &mut World, days: u64| {
            for _ in 0..24 * days {
                world.set_time(world.now.mono.plus_ms(HOUR_MS - 3_000));
                world.advance(3_000);
            }
        };
        pass_days(&mut world, 5);
        assert_eq!(world.broker.log.start(), LogOffset(0), "level {is_level}: its master has not delivered it");
        let tell = |world: &mut World, told: &DelayOffsets| {
            let part = TableChange::DelayOffsets(told.clone());
            world.tell_parts(vec![MasterTables::Part { behind: TablePlace::Delays, until: None, part }]);
        };
        tell(&mut world, &told);
        pass_days(&mut world, 2);
        assert_eq!(world.broker.log.start(), LogOffset(0), "level {is_level}: the copy is not here");
        told.log_offset = world.broker.log.flushed();
        tell(&mut world, &told);
        pass_days(&mut world, 2);
        assert!(world.broker.log.start() > LogOffset(0), "level {is_level}: nothing waits there any more");
    }
}

#[test]
fn what_recalls_keeps_no_log() {
    let mut world = World::with_timers(|settings| settings.timers.takes_recalls = true);
    world.make_topic("T", 1);
    let c = world.connect();
    let handle = world.put(c, 5_000, "1").ext["recallHandle"].clone();
    assert!(matches!(world.broker.oldest_timer(), Ok(Some(_))), "it waits");
    assert_eq!(recall(&mut world, c, "T", &handle).code, 0);
    world.advance(10_000);
    assert_eq!(world.numbers(c), Vec::<u64>::new());
    assert!(matches!(world.broker.oldest_timer(), Ok(None)), "nothing waits");
}
