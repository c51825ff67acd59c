//! Pulls: what they answer, how they are held and woken, and what old data costs.

use super::*;
use crate::limits::{HOLDS_PER_CONNECTION_MAX, OUTBOX_BYTES_HIGH};

fn longs(answer: &Received) -> (i64, i64, i64) {
    assert_eq!(answer.number("suggestWhichBrokerId"), 0);
    (answer.number("nextBeginOffset"), answer.number("minOffset"), answer.number("maxOffset"))
}

#[test]
fn every_outcome_carries_the_four_numbers() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let check = |world: &mut World, from: i64, tags: &str, code: i32, expected: (i64, i64, i64)| {
        let answer = world.pull(c, "T", from, tags);
        assert_eq!((answer.code, longs(&answer)), (code, expected), "{from} {tags} {answer:?}");
    };
    check(&mut world, 0, "*", 19, (0, 0, 0));
    check(&mut world, 5, "*", 21, (0, 0, 0));
    for n in 0..3 {
        world.send(c, "T", 0, "TAGS\u{1}A", &n.to_string());
    }
    check(&mut world, 0, "*", 0, (3, 0, 3));
    check(&mut world, 1, "A || B", 0, (3, 0, 3));
    check(&mut world, 0, "B", 20, (3, 0, 3));
    check(&mut world, 3, "*", 19, (3, 0, 3));
    check(&mut world, 4, "*", 21, (3, 0, 3));
    check(&mut world, -1, "*", 21, (0, 0, 3));
    check(&mut world, i64::MAX, "*", 21, (3, 0, 3));
}

#[test]
fn what_is_stored_but_not_yet_visible_has_not_moved() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    world.commits = false;
    world.ask_send(c, "T", 0, "", "x");
    let answer = world.pull(c, "T", 1, "*");
    assert_eq!((answer.code, longs(&answer)), (19, (1, 0, 0)));
}

#[test]
fn a_held_pull_wakes_on_the_append_itself() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let (c, p) = (world.connect(), world.connect());
    let opaque = world.ask_pull(c, "T", 0, "*", 15_000);
    world.run();
    assert!(world.answer(c, opaque).is_none());
    world.send(p, "T", 0, "", "x");
    let answer = world.answer(c, opaque).expect("woken without a tick");
    assert_eq!((answer.code, answer.records()[0].body.as_str()), (0, "x"));
    assert!(world.broker.holds.is_empty());
}

#[test]
fn a_message_is_seen_only_when_its_promise_is_met() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let (c, p) = (world.connect(), world.connect());
    let opaque = world.ask_pull(c, "T", 0, "*", 15_000);
    world.commits = false;
    world.ask_send(p, "T", 0, "", "x");
    world.run();
    assert!(world.answer(c, opaque).is_none(), "not flushed: a consumer must not see it");
    world.commits = true;
    world.run();
    assert_eq!(world.answer(c, opaque).unwrap().code, 0);
}

#[test]
fn other_tags_do_not_wake_and_are_not_scanned_again() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let (c, p) = (world.connect(), world.connect());
    let opaque = world.ask_pull(c, "T", 0, "B", 15_000);
    for _ in 0..3 {
        world.send(p, "T", 0, "TAGS\u{1}A", "x");
    }
    assert!(world.answer(c, opaque).is_none());
    world.send(p, "T", 0, "TAGS\u{1}B", "y");
    let answer = world.answer(c, opaque).unwrap();
    assert_eq!((answer.code, longs(&answer).0, answer.records().len()), (0, 4, 1));

    let opaque = world.ask_pull(c, "T", 4, "B", 15_000);
    world.send(p, "T", 0, "TAGS\u{1}A", "x");
    world.wait_ms(15_000);
    let answer = world.answer(c, opaque).unwrap();
    assert_eq!((answer.code, longs(&answer).0), (20, 5), "the client goes on behind what was looked at");
}

#[test]
fn a_hold_ends_at_its_deadline_with_19_and_is_not_held_again() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let opaque = world.ask_pull(c, "T", 0, "*", 15_000);
    world.wait_ms(14_999);
    assert!(world.answer(c, opaque).is_none());
    world.wait_ms(1);
    let answer = world.answer(c, opaque).unwrap();
    assert_eq!((answer.code, longs(&answer)), (19, (0, 0, 0)));
    assert!(world.broker.holds.is_empty());
}

#[test]
fn a_closed_connection_leaves_no_hold_and_gets_no_answer() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let (c, p) = (world.connect(), world.connect());
    world.ask_pull(c, "T", 0, "*", 15_000);
    world.commits = false;
    world.ask_send(c, "T", 0, "", "x");
    world.disconnect(c);
    assert!(world.broker.holds.is_empty());
    world.commits = true;
    world.send(p, "T", 0, "", "y");
    assert!(world.received.get(&c).is_none_or(Vec::is_empty));
}

#[test]
fn a_reader_that_never_reads_gets_empty_answers() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let (c, p) = (world.connect(), world.connect());
    let opaque = world.ask_pull(c, "T", 0, "*", 15_000);
    world.out.outbox.note_unsent(c, OUTBOX_BYTES_HIGH + 1);
    world.send(p, "T", 0, "", "x");
    let answer = world.answer(c, opaque).unwrap();
    assert_eq!((answer.code, answer.body.len()), (19, 0));
}

#[test]
fn checks_have_rocketmq_s_order_and_codes() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let base = [
        ("consumerGroup", "g"),
        ("topic", "T"),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
        ("sysFlag", "0"),
        ("suspendTimeoutMillis", "0"),
        ("subscription", "*"),
        ("subVersion", "0"),
        ("expressionType", "TAG"),
    ];
    let with = |changes: &[(&'static str, &'static str)]| {
        let mut ext = base.to_vec();
        for (name, value) in changes {
            ext.iter_mut().filter(|(other, _)| other == name).for_each(|field| field.1 = value);
        }
        ext
    };
    let check = |world: &mut World, changes: &[(&'static str, &'static str)], code: i32| {
        let answer = world.call(c, RequestCode::PullMessage, &with(changes), b"");
        assert_eq!(answer.code, code, "{changes:?} {answer:?}");
    };
    check(&mut world, &[], 24); // no heartbeat yet
    world.heartbeat(c, "cid", "g", "T");
    check(&mut world, &[], 19);
    check(&mut world, &[("subVersion", "1")], 19);
    check(&mut world, &[("subVersion", "2")], 25);
    check(&mut world, &[("topic", "Missing")], 17);
    check(&mut world, &[("queueId", "1")], 29);
    check(&mut world, &[("queueId", "-1")], 29);
    check(&mut world, &[("sysFlag", "4"), ("subscription", "||")], 23);
    check(&mut world, &[("sysFlag", "4"), ("expressionType", "SQL92"), ("subscription", "a > 1")], 1);
    world.make_topic("U", 1);
    check(&mut world, &[("topic", "U")], 24); // another topic than the group subscribes to
}

#[test]
fn a_pull_commits_the_group_s_offset_once() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    for _ in 0..7 {
        world.send(c, "T", 0, "", "x");
    }
    let ext = [
        ("consumerGroup", "g"),
        ("topic", "T"),
        ("queueId", "0"),
        ("queueOffset", "0"),
        ("maxMsgNums", "32"),
        ("sysFlag", "5"),
        ("commitOffset", "7"),
        ("subscription", "*"),
    ];
    world.call(c, RequestCode::PullMessage, &ext, b"");
    let ask = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0")];
    assert_eq!(world.call(c, RequestCode::QueryConsumerOffset, &ask, b"").number("offset"), 7);
}

#[test]
fn old_messages_are_fetched_once_for_all_who_wait() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let (c, d) = (world.connect(), world.connect());
    for n in 0..300 {
        world.send(c, "T", 0, "", &format!("{n:0>1000}"));
    }
    world.fetches.clear();
    let first = world.ask_pull(c, "T", 0, "*", 0);
    let second = world.ask_pull(d, "T", 0, "*", 0);
    assert!(world.answer(c, first).is_none(), "the ring holds 64 KiB, this is older");
    world.run();
    let (first, second) = (world.answer(c, first).unwrap(), world.answer(d, second).unwrap());
    assert_eq!((first.code, second.code), (0, 0));
    assert_eq!(first.records()[0].queue_offset, 0);
    let block = world.fetches[0];
    assert_eq!(world.fetches.iter().filter(|other| **other == block).count(), 1);
    // From there a reader comes to the end, without a gap.
    let mut next = 0;
    while next < 300 {
        let answer = world.pull(c, "T", next, "*");
        assert_eq!(answer.code, 0, "{answer:?}");
        for record in answer.records() {
            assert_eq!(record.queue_offset, u64::try_from(next).unwrap());
            next += 1;
        }
    }
}

/// With 19 a consumer asks again at once, and without end.
#[test]
fn a_pull_without_room_to_wait_is_to_come_again_later() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let (c, d) = (world.connect(), world.connect());
    let ask = |world: &mut World, connection| {
        let opaque = world.ask_pull(connection, "T", 0, "*", 15_000);
        world.run();
        world.answer(connection, opaque).map(|answer| answer.code)
    };
    for _ in 0..HOLDS_PER_CONNECTION_MAX {
        assert_eq!(ask(&mut world, c), None);
    }
    assert_eq!((ask(&mut world, c), ask(&mut world, d)), (Some(1), None));
}

#[test]
fn a_disk_that_fails_is_an_answer_not_a_wait() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    for n in 0..300 {
        world.send(c, "T", 0, "", &format!("{n:0>1000}"));
    }
    world.reads = false;
    let opaque = world.ask_pull(c, "T", 0, "*", 0);
    world.run();
    // A stock consumer stays where it is for code 1, and asks again after 3 s; with 20 or 21 and another offset it would move on.
    let answer = world.answer(c, opaque).expect("an answer, not a wait");
    assert_eq!((answer.code, answer.ext.get("nextBeginOffset")), (1, None), "{answer:?}");
    assert!(world.fetches.len() > 1, "smaller pieces were tried");
    world.reads = true;
    world.advance(3_000);
    let opaque = world.ask_pull(c, "T", 0, "*", 0);
    world.run();
    let answer = world.answer(c, opaque).expect("an answer");
    assert_eq!((answer.code, answer.records()[0].queue_offset), (0, 0));
}

#[test]
fn a_damaged_message_is_left_out_only_where_no_replica_was_ever_known() {
    for has_replica in [false, true] {
        let mut world = World::new();
        world.make_topic("T", 1);
        let c = world.connect();
        for n in 0..300 {
            world.send(c, "T", 0, "", &format!("{n:0>1000}"));
        }
        if has_replica {
            let link = LinkId(1);
            world.follow(link);
            world.advance(1_000);
            world.broker.handle_link_down(world.now, link, &mut world.out);
            world.run();
        }
        world.damage(&format!("{:0>1000}", 1));
        let pull = |world: &mut World, from| {
            let answer = world.pull(c, "T", from, "*");
            (answer.code, answer.ext.get("nextBeginOffset").cloned())
        };
        assert_eq!(pull(&mut world, 0), (0, Some("1".to_owned())), "up to it");
        for _ in 0..2 {
            let expected = if has_replica { (1, None) } else { (20, Some("2".to_owned())) };
            assert_eq!(pull(&mut world, 1), expected, "has a replica: {has_replica}");
        }
        assert_eq!(pull(&mut world, 2).0, 0, "behind it");
        assert_eq!(world.broker.counters.damaged_passed_count, if has_replica { 0 } else { 2 });
    }
}
