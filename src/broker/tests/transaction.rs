//! Transactions: nobody sees a half message, each ends once, and producers are asked about those that do not.

use super::*;
use crate::config::TransactionConfig;
use crate::limits::{JOB_MESSAGES_PER_TURN, TRANSACTION_UNNOTED_MAX};
use crate::log::Log;
use crate::model::QueueId;
use crate::protocol::body::DelayOffsets;
use crate::protocol::message::{CHECK_MAX_TOPIC, HALF_TOPIC, MessageId, OP_TOPIC, TRANSACTION_GROUP, ended};

const END: RequestCode = RequestCode::EndTransaction;
const COMMIT: &str = "8";
const ROLLBACK: &str = "12";

/// A half message that was stored, as its producer knows it.
struct Half {
    queue_offset: String,
    log_offset: String,
}

impl World {
    fn half(&mut self, c: ConnectionId, body: &str, more: &str) -> Half {
        let properties = format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}pg\u{2}UNIQ_KEY\u{1}U{body}\u{2}{more}");
        let born = self.now.unix.0.to_string();
        let mut ext = send_ext("T", "0", &properties);
        ext.retain(|(name, _)| *name != "g");
        ext.push(("g", &born));
        let sent = self.call(c, RequestCode::SendMessageV2, &ext, body.as_bytes());
        assert_eq!((sent.code, sent.number("queueId")), (0, 0), "{sent:?}");
        assert_eq!(sent.ext["transactionId"], format!("U{body}"));
        let place = MessageId::decode(&sent.ext["msgId"]).unwrap().log_offset;
        Half { queue_offset: sent.ext["queueOffset"].clone(), log_offset: place.to_string() }
    }

    fn end_ext<'a>(half: &'a Half, how: &'a str) -> [(&'a str, &'a str); 5] {
        [
            ("producerGroup", "pg"),
            ("tranStateTableOffset", &half.queue_offset),
            ("commitLogOffset", &half.log_offset),
            ("commitOrRollback", how),
            ("msgId", "x"),
        ]
    }

    fn end_half(&mut self, c: ConnectionId, half: &Half, how: &str) -> (i32, String) {
        let answer = self.call(c, END, &World::end_ext(half, how), b"");
        (answer.code, answer.remark)
    }

    /// What producers were asked since this was asked last: the message's body, its tries, and where it waits.
    fn checks(&mut self, c: ConnectionId) -> Vec<(String, String, Half)> {
        let frames = std::mem::take(self.received.entry(c).or_default());
        let is_check = |frame: &Received| frame.flag == 2 && frame.code == RequestCode::CheckTransactionState.number();
        let (checks, rest): (Vec<Received>, _) = frames.into_iter().partition(is_check);
        self.received.insert(c, rest);
        let read = |check: Received| {
            let record = check.records().remove(0);
            let half = Half {
                queue_offset: check.ext["tranStateTableOffset"].clone(),
                log_offset: check.ext["commitLogOffset"].clone(),
            };
            (record.body, record.properties["TRANSACTION_CHECK_TIMES"].clone(), half)
        };
        checks.into_iter().map(read).collect()
    }

    fn asked(&mut self, c: ConnectionId) -> Vec<(String, String)> {
        self.checks(c).into_iter().map(|(body, times, _)| (body, times)).collect()
    }

    /// Half offsets that are noted as ended, in the order of the notes.
    fn noted(&mut self, c: ConnectionId) -> Vec<u64> {
        self.pull(c, OP_TOPIC, 0, "d")
            .records()
            .iter()
            .flat_map(|note| ended(note.body.as_bytes()).collect::<Vec<_>>())
            .collect()
    }

    /// How far the checker has come: half messages, notes.
    fn places(&self) -> [Option<u64>; 2] {
        [HALF_TOPIC, OP_TOPIC]
            .map(|topic| self.broker.offsets.get(TRANSACTION_GROUP, topic, QueueId(0)).map(|offset| offset.0))
    }

    fn end_of_halves(&self) -> u64 {
        self.broker.end_of(HALF_TOPIC, QueueId(0)).0
    }

    /// The next life over the same log, as after a kill a moment ago.
    fn die_and_live(&mut self) {
        self.live_again(life(Role::AsyncMaster), DelayOffsets::default());
        self.advance(1);
    }
}

fn asked(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(body, times)| ((*body).to_owned(), (*times).to_owned())).collect()
}

/// A producer of group `pg`, connected, and topic `T`.
fn world() -> (World, ConnectionId) {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.heartbeat(c, "cid", "g", "T");
    (world, c)
}

#[test]
fn a_half_message_is_seen_when_it_is_committed_and_not_before() {
    let (mut world, c) = world();
    let half = world.half(c, "x", "TAGS\u{1}A\u{2}own\u{1}1\u{2}DELAY\u{1}3\u{2}");
    let opaque = world.ask_pull(c, "T", 0, "A", 10_000);
    world.run();
    assert!(world.answer(c, opaque).is_none() && world.bodies(c, "T").is_empty());
    assert_eq!(world.end_half(c, &half, COMMIT), (0, String::new()));
    let seen = world.answer(c, opaque).expect("the reader who waits is woken").records()[0].clone();
    let expected = [
        ("TRAN_MSG", "true"),
        ("PGROUP", "pg"),
        ("UNIQ_KEY", "Ux"),
        ("TAGS", "A"),
        ("own", "1"),
        ("CLUSTER", "DefaultCluster"),
        ("MSG_REGION", "DefaultRegion"),
        ("TRACE_ON", "true"),
        ("__transactionId__", "Ux"),
        ("REAL_TOPIC", "T"),
        ("REAL_QID", "0"),
    ];
    let mut properties = seen.properties.clone();
    properties.remove("__CRC32#");
    assert_eq!(properties, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    assert_eq!((seen.topic.as_str(), seen.body.as_str(), seen.queue_offset), ("T", "x", 0));
    assert_eq!(world.noted(c), [0]);
    let (code, remark) = world.end_half(c, &half, COMMIT);
    assert_eq!((code, remark.contains("ended already")), (1, true), "{remark}");
    world.advance(60_000);
    assert_eq!((world.bodies(c, "T"), world.asked(c)), (vec!["x".to_owned()], vec![]), "once, and nobody is asked");
    assert_eq!(world.places(), [Some(1), Some(1)]);
    assert_eq!(world.broker.next_transaction_time(), None, "what has ended costs nothing");
}

#[test]
fn what_is_rolled_back_is_never_seen_and_its_answer_promises_the_note() {
    let (mut world, c) = world();
    let half = world.half(c, "x", "");
    world.commits = false;
    let opaque = world.ask(c, END, &World::end_ext(&half, ROLLBACK), b"");
    world.run();
    assert!(world.answer(c, opaque).is_none(), "the note is not on the disk");
    world.commits = true;
    world.run();
    assert_eq!(world.answer(c, opaque).map(|answer| answer.code), Some(0));
    assert_eq!(world.noted(c), [0]);
    world.die_and_live();
    let c = world.connect();
    world.heartbeat(c, "cid", "g", "T");
    assert_eq!(world.end_half(c, &half, COMMIT).0, 1, "the first word stands, in another life as well");
    world.advance(60_000);
    assert!(world.bodies(c, "T").is_empty() && world.asked(c).is_empty());
}

#[test]
fn ends_of_one_turn_share_a_note_behind_their_messages() {
    let (mut world, c) = world();
    let halves: Vec<Half> = (0..40).map(|n| world.half(c, &n.to_string(), "")).collect();
    for half in &halves {
        world.ask_raw(c, END.number(), true, &World::end_ext(half, COMMIT), b"");
    }
    world.run();
    let notes = world.pull(c, OP_TOPIC, 0, "*").records();
    assert_eq!((notes.len(), notes[0].body.matches(',').count()), (1, 40));
    assert_eq!(world.bodies(c, "T").len(), 40);
    let last = world.pull(c, "T", 32, "*").records().pop().unwrap();
    assert!(
        last.log_offset < notes[0].log_offset,
        "a kill between the two leaves a message without a note, not the other way"
    );
}

#[test]
fn ends_that_go_wrong_are_answered_as_apache_does_and_change_nothing() {
    let (mut world, c) = world();
    let plain = world.send(c, "T", 0, "PGROUP\u{1}pg\u{2}", "plain");
    let half = world.half(c, "x", "");
    let mut check = |changes: &[(&str, &str)], code: i32, remark: &str| {
        let mut ext = World::end_ext(&half, COMMIT).to_vec();
        for (name, value) in changes {
            ext.retain(|(other, _)| other != name);
            ext.push((name, value));
        }
        let answer = world.call(c, END, &ext, b"");
        assert_eq!((answer.code, answer.remark.as_str()), (code, remark), "{changes:?}");
    };
    let missing = "Find prepared transaction message failed";
    check(&[("producerGroup", "other")], 1, "The producer group wrong");
    check(&[("producerGroup", "")], 1, "The producer group wrong");
    check(&[("tranStateTableOffset", "1")], 1, "The transaction state table offset wrong");
    check(&[("tranStateTableOffset", "-1")], 1, "The transaction state table offset wrong");
    for offset in ["-1", "1", "99999999"] {
        check(&[("commitLogOffset", offset)], 1, missing);
    }
    let of_plain = MessageId::decode(&plain.ext["msgId"]).unwrap().log_offset.to_string();
    check(&[("commitLogOffset", &of_plain)], 1, missing);
    check(&[("transactionId", "of another")], 1, missing);
    check(&[("commitOrRollback", "4")], 29, "the field `commitOrRollback` is out of range");
    for is_asked in ["true", "false"] {
        let mut ext = World::end_ext(&half, "0").to_vec();
        ext.push(("fromTransactionCheck", is_asked));
        let opaque = world.ask(c, END, &ext, b"");
        world.run();
        assert!(world.answer(c, opaque).is_none(), "what is not known yet has no answer");
    }
    assert_eq!((world.bodies(c, "T"), world.noted(c)), (vec!["plain".to_owned()], vec![]));
    assert_eq!(world.end_half(c, &half, COMMIT).0, 0);
}

#[test]
fn a_producer_is_asked_once_an_interval_and_what_it_says_counts() {
    let (mut world, c) = world();
    world.half(c, "x", "");
    world.half(c, "y", "");
    world.advance(29_000);
    assert!(world.checks(c).is_empty());
    world.half(c, "young", "");
    world.advance(2_000);
    let mut checks = world.checks(c);
    let (body, times, half) = checks.remove(0);
    assert_eq!(
        (body.as_str(), times.as_str(), half.queue_offset.as_str()),
        ("x", "1", "3"),
        "at the place where it waits now"
    );
    assert_eq!(checks.len(), 1, "one that is too young is for later");
    let mut ext = World::end_ext(&half, COMMIT).to_vec();
    ext.push(("fromTransactionCheck", "true"));
    world.ask_raw(c, END.number(), true, &ext, b"");
    world.run();
    assert_eq!(world.bodies(c, "T"), ["x"]);
    world.advance(27_000);
    assert!(world.checks(c).is_empty(), "not before the next pass");
    world.advance(3_000);
    assert_eq!(world.asked(c), asked(&[("young", "1"), ("y", "2")]));
    assert_eq!(world.places(), [Some(5), Some(1)]);
}

#[test]
fn producers_of_a_group_take_turns_and_those_that_do_not_read_are_left_out() {
    let (mut world, first) = world();
    let second = world.connect();
    world.heartbeat(second, "cid2", "g", "T");
    for n in 0..4 {
        world.half(first, &n.to_string(), "");
    }
    world.advance(31_000);
    assert_eq!((world.checks(first).len(), world.checks(second).len()), (2, 2));
    world.out.outbox.note_unsent(first, crate::limits::OUTBOX_BYTES_HIGH + 1);
    world.advance(30_000);
    assert_eq!((world.checks(first).len(), world.checks(second).len()), (0, 4));
    world.out.outbox.note_unsent(second, crate::limits::OUTBOX_NOTICE_BYTES_MAX);
    world.advance(30_000);
    assert_eq!((world.checks(first).len(), world.checks(second).len()), (0, 0));
    world.out.outbox.note_unsent(second, 0);
    world.out.outbox.note_unsent(first, 0);
    world.heartbeat(first, "cid", "g", "T");
    world.advance(1_000);
    let times: Vec<String> =
        world.asked(first).into_iter().chain(world.asked(second)).map(|(_, times)| times).collect();
    assert_eq!(times, ["3", "3", "3", "3"], "where nobody can be told, no try is counted");
}

#[test]
fn what_nobody_answers_for_is_given_up_and_asked_about_again_when_an_operator_wants_it() {
    let settings = BrokerSettings {
        transactions: TransactionConfig { checks_max: 2, check_interval_ms: 1_000, timeout_ms: 500, is_refused: false },
        ..settings()
    };
    let mut world = World::with(settings, FlushPolicy::Sync, false);
    world.make_topic("T", 1);
    let c = world.connect();
    world.heartbeat(c, "cid", "g", "T");
    world.half(c, "x", "");
    world.advance(5_000);
    assert_eq!(world.asked(c), asked(&[("x", "1"), ("x", "2")]));
    let given_up = world.pull(c, CHECK_MAX_TOPIC, 0, "*").records();
    assert_eq!((given_up.len(), given_up[0].properties["TRANSACTION_CHECK_TIMES"].as_str()), (1, "2"));
    assert_eq!(world.places()[0], Some(world.end_of_halves()));
    assert_eq!(world.broker.next_transaction_time(), None);
    let resume =
        |world: &mut World, id: &str| world.call(c, RequestCode::ResumeCheckHalfMessage, &[("msgId", id)], b"").code;
    assert_eq!(resume(&mut world, "x"), 1);
    let address = world.broker.settings.address;
    let id_of = |at| MessageId { store_host: address, log_offset: LogOffset(at) }.encode();
    assert_eq!(resume(&mut world, id_of(given_up[0].log_offset + 1).as_str()), 1);
    assert_eq!(resume(&mut world, id_of(given_up[0].log_offset).as_str()), 0);
    world.advance(5_000);
    assert_eq!(world.asked(c), asked(&[("x", "1"), ("x", "2")]));
    assert_eq!(world.pull(c, CHECK_MAX_TOPIC, 0, "*").records().len(), 2);
    assert!(world.bodies(c, "T").is_empty());
}

#[test]
fn a_message_older_than_its_log_is_given_up_unasked() {
    let (mut world, c) = world();
    let born = (world.now.unix.0 - 73 * 3_600_000).to_string();
    let properties = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}pg\u{2}UNIQ_KEY\u{1}U\u{2}";
    let mut ext = send_ext("T", "0", properties);
    ext.retain(|(name, _)| *name != "g");
    ext.push(("g", &born));
    assert_eq!(world.call(c, RequestCode::SendMessageV2, &ext, b"old").code, 0);
    world.advance(31_000);
    assert!(world.checks(c).is_empty());
    assert_eq!(world.pull(c, CHECK_MAX_TOPIC, 0, "*").records()[0].body, "old");
}

#[test]
fn immunity_is_kept_without_counting_and_ends_with_the_transaction() {
    let (mut world, c) = world();
    let immune = "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}600\u{2}";
    let half = world.half(c, "committed", immune);
    world.half(c, "asked", immune);
    world.advance(100_000);
    world.heartbeat(c, "cid", "g", "T");
    assert!(world.checks(c).is_empty() && world.end_of_halves() > 2, "both were put back");
    assert_eq!(world.end_half(c, &half, COMMIT).0, 0, "by the place at which its producer knows it");
    for _ in 0..6 {
        world.advance(80_000);
        world.heartbeat(c, "cid", "g", "T");
    }
    assert!(world.checks(c).is_empty());
    world.advance(45_000);
    assert_eq!(world.asked(c), asked(&[("asked", "1")]));
    assert_eq!(world.bodies(c, "T"), ["committed"]);
}

#[test]
fn an_end_that_comes_after_its_own_time_is_refused_unless_it_was_asked_for() {
    let (mut world, c) = world();
    let half = world.half(c, "x", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}7\u{2}");
    world.advance(7_001);
    assert_eq!(world.end_half(c, &half, COMMIT).0, 604);
    assert_eq!(world.end_half(c, &half, ROLLBACK).0, 604);
    let mut ext = World::end_ext(&half, COMMIT).to_vec();
    ext.push(("fromTransactionCheck", "true"));
    assert_eq!(world.call(c, END, &ext, b"").code, 0);
    let half = world.half(c, "y", "CHECK_IMMUNITY_TIME_IN_SECONDS\u{1}1\u{2}");
    world.advance(6_000);
    assert_eq!(world.end_half(c, &half, COMMIT).0, 0, "no sooner than transactionTimeOut");
}

#[test]
fn the_next_life_goes_on_with_what_has_not_ended() {
    let (mut world, c) = world();
    let halves: Vec<Half> = (0..5).map(|n| world.half(c, &n.to_string(), "")).collect();
    for (half, how) in [(&halves[1], COMMIT), (&halves[3], ROLLBACK)] {
        assert_eq!(world.end_half(c, half, how).0, 0);
    }
    world.die_and_live();
    let c = world.connect();
    world.heartbeat(c, "cid", "g", "T");
    assert_eq!(world.end_half(c, &halves[4], COMMIT).0, 0, "a half message of the last life");
    world.advance(31_000);
    assert_eq!(world.asked(c), asked(&[("0", "1"), ("2", "1")]));
    assert_eq!(world.bodies(c, "T"), ["1", "4"]);
    world.die_and_live();
    let c = world.connect();
    world.heartbeat(c, "cid", "g", "T");
    world.advance(31_000);
    assert_eq!(world.asked(c), asked(&[("0", "2"), ("2", "2")]), "each once, from where it was put back");
}

#[test]
fn a_half_message_is_passed_when_its_copy_is_on_the_disk() {
    let mut world = World::with(settings(), FlushPolicy::Async { flush_ms: 3_600_000, flush_bytes: 1 << 20 }, true);
    world.make_topic("T", 1);
    let c = world.connect();
    world.heartbeat(c, "cid", "g", "T");
    world.half(c, "x", "");
    world.commits = false;
    world.advance(31_000);
    assert_eq!((world.asked(c), world.places()[0]), (asked(&[("x", "1")]), None), "a power loss may take the copy");
    world.commits = true;
}

/// A producer is told where the copy lies that was put back for it, and may answer before that is as safe as it is to be.
#[test]
fn an_answer_counts_before_the_copy_that_it_names_is_on_the_disk() {
    let (mut world, c) = world();
    world.half(c, "x", "");
    world.commits = false;
    world.advance(60_000);
    let (_, _, copy) = world.checks(c).remove(0);
    let opaque = world.ask(c, END, &World::end_ext(&copy, COMMIT), b"");
    assert!(world.answer(c, opaque).is_none(), "it waits for the disk, and is not refused");
    world.commits = true;
    world.run();
    assert_eq!(world.answer(c, opaque).map(|answer| answer.code), Some(0));
    assert_eq!(world.bodies(c, "T"), ["x"]);
}

#[test]
fn a_slave_asks_nobody_and_ends_nothing() {
    let mut world = World::living(life(Role::AsyncMaster), settings(), FlushPolicy::Sync, false);
    world.make_topic("T", 1);
    let c = world.connect();
    world.heartbeat(c, "cid", "g", "T");
    let half = world.half(c, "x", "");
    let nothing = Log::create(log_settings(FlushPolicy::Sync), Box::new(HeapTail::new(64 * 1024)));
    let before =
        std::mem::replace(&mut world.broker, Broker::new(life(Role::Slave), settings(), nothing, Tables::default()));
    world.broker = Broker::new(life(Role::Slave), settings(), before.log, Tables::default());
    world.out = Output::default();
    world.broker.handle_start(world.now, &mut world.out);
    world.out.effects.clear();
    assert_eq!(world.broker.next_transaction_time(), None);
    let c = world.connect();
    let opaque = world.ask(c, END, &World::end_ext(&half, COMMIT), b"");
    assert_eq!(world.answer(c, opaque).map(|answer| answer.code), Some(11));
}

#[test]
fn a_cold_half_message_is_read_from_the_disk() {
    let (mut world, c) = world();
    let half = world.half(c, "cold", "");
    world.half(c, "asked", "");
    for _ in 0..100 {
        world.send(c, "T", 0, "", &"x".repeat(1_000));
    }
    world.fetches.clear();
    assert_eq!(world.end_half(c, &half, COMMIT).0, 0);
    assert!(!world.fetches.is_empty());
    world.advance(31_000);
    assert_eq!(world.asked(c), asked(&[("asked", "1")]));
}

#[test]
fn a_half_message_that_cannot_be_read_is_waited_for() {
    let (mut world, c) = world();
    world.half(c, "x", "");
    for _ in 0..100 {
        world.send(c, "T", 0, "", &"x".repeat(1_000));
    }
    world.reads = false;
    world.fetches.clear();
    world.advance(100_000);
    assert_eq!((world.checks(c).len(), world.places()[0]), (0, None));
    assert!((5..30).contains(&world.fetches.len()), "again and again, but not all the time: {}", world.fetches.len());
    world.reads = true;
    world.heartbeat(c, "cid", "g", "T");
    world.advance(31_000);
    assert_eq!(world.asked(c), asked(&[("x", "1")]));
}

#[test]
fn a_group_that_never_answers_costs_a_little_of_each_turn() {
    let (mut world, c) = world();
    for n in 0..200 {
        world.half(c, &n.to_string(), "");
    }
    let end = world.now.mono.plus_ms(40_000);
    let (mut before, mut most) = (world.end_of_halves(), 0);
    while world.now.mono < end {
        let deadline = world.broker.poll_timeout().map_or(end, |at| at.max(world.now.mono)).min(end);
        world.set_time(deadline);
        world.broker.handle_deadline(world.now, &mut world.out);
        world.run();
        most = most.max(world.end_of_halves() - before);
        before = world.end_of_halves();
        if deadline == world.now.mono && world.broker.poll_timeout().is_none_or(|at| at > end) {
            break;
        }
    }
    assert_eq!((world.checks(c).len(), most), (200, JOB_MESSAGES_PER_TURN as u64));
    let size = size_of_val(&world.broker.transactions);
    assert!(size < 512, "nothing is kept of what waits: {size}");
}

#[test]
fn ends_wait_for_a_log_that_takes_no_note() {
    let (mut world, c) = world();
    let halves: Vec<Half> = (0..3).map(|n| world.half(c, &n.to_string(), "")).collect();
    assert_eq!(world.end_half(c, &halves[0], COMMIT).0, 0);
    // The ring is full.
    world.commits = false;
    let big = "x".repeat(4_000);
    while world.broker.poll_input(&world.out) {
        world.ask_send(c, "T", 0, "", &big);
    }
    let room = loop {
        let opaque = world.ask_send(c, "T", 0, "", "x");
        if let Some(answer) = world.answer(c, opaque) {
            break answer.code;
        }
    };
    assert_eq!(room, 2);
    let opaque = world.ask(c, END, &World::end_ext(&halves[1], ROLLBACK), b"");
    assert_eq!(world.answer(c, opaque).map(|answer| answer.code), Some(2), "busy, and nothing has ended");
    world.commits = true;
    world.run();
    assert_eq!(world.end_half(c, &halves[1], COMMIT).0, 0);
    assert_eq!(world.noted(c), [0, 1]);
}

#[test]
fn what_is_not_noted_has_a_bound() {
    let (mut world, c) = world();
    let half = world.half(c, "x", "");
    world.broker.transactions.flood_unnoted(TRANSACTION_UNNOTED_MAX);
    assert_eq!(world.end_half(c, &half, COMMIT).0, 2);
}

#[test]
fn transactional_messages_can_be_refused() {
    let (mut world, c) = world();
    let half = world.half(c, "x", "");
    world.broker.settings.transactions.is_refused = true;
    let properties = "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}pg\u{2}";
    let refused = world.send(c, "T", 0, properties, "y");
    assert_eq!(
        (refused.code, refused.remark.as_str()),
        (16, "the broker[127.0.0.1] sending transaction message is forbidden")
    );
    assert_eq!(world.send(c, "T", 0, "TRAN_MSG\u{1}false\u{2}", "plain").code, 0);
    assert_eq!(world.end_half(c, &half, COMMIT).0, 0, "what has begun still ends");
    assert_eq!(world.bodies(c, "T"), ["plain", "x"]);
}

#[test]
fn a_half_message_that_could_not_be_stored_again_is_refused() {
    let (mut world, c) = world();
    let check = |world: &mut World, bytes: usize| {
        let properties =
            format!("TRAN_MSG\u{1}true\u{2}PGROUP\u{1}pg\u{2}UNIQ_KEY\u{1}U\u{2}long\u{1}{}\u{2}", "x".repeat(bytes));
        world.send(c, "T", 0, &properties, "y").code
    };
    assert_eq!(check(&mut world, 32_700), 13);
    assert_eq!(check(&mut world, 32_300), 0);
    world.advance(31_000);
    assert_eq!(world.checks(c).len(), 1);
}
