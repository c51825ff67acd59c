//! Many at once: each turn of a shard does a bounded amount of work, the rest follows in later turns, and one crowd does not hold up others.

use super::*;
use crate::limits::{HOLD_BYTES_PER_TURN, HOLDS_PER_CONNECTION_MAX, HOLDS_PER_TURN, OUTBOX_BYTES_HIGH};

/// Held pulls of one queue, spread over connections.
fn crowd(world: &mut World, topic: &str, tags: &str, count: usize) -> Vec<(ConnectionId, i32)> {
    let per_connection = HOLDS_PER_CONNECTION_MAX / 4;
    let mut asked = Vec::new();
    let mut connection = world.connect();
    for number in 0..count {
        if number % per_connection == 0 {
            connection = world.connect();
        }
        asked.push((connection, world.ask_pull(connection, topic, 0, tags, 15_000)));
    }
    world.run();
    asked
}

/// One turn as the shell makes it when the broker says that its time has come. Returns how many frames it sent.
fn turn(world: &mut World) -> usize {
    let before: usize = world.received.values().map(Vec::len).sum();
    world.broker.handle_deadline(world.now, &mut world.out);
    world.collect();
    world.received.values().map(Vec::len).sum::<usize>() - before
}

fn is_due(world: &World) -> bool {
    world.broker.poll_timeout().is_some_and(|time| time <= world.now.mono)
}

#[test]
fn a_crowd_of_held_pulls_wakes_in_many_turns_and_others_between() {
    let mut world = World::new();
    world.make_topic("CROWD", 1);
    world.make_topic("ALONE", 1);
    let (p, lone) = (world.connect(), world.connect());
    let asked = crowd(&mut world, "CROWD", "*", 20_000);
    let alone = world.ask_pull(lone, "ALONE", 0, "*", 15_000);
    world.ask_send(p, "CROWD", 0, "", "x");
    world.run_log();
    world.collect();
    let before: usize = world.received.values().map(Vec::len).sum();
    world.broker.handle_turn_end(world.now, &mut world.out);
    world.collect();
    assert!(world.received.values().map(Vec::len).sum::<usize>() - before <= HOLDS_PER_TURN);
    world.ask_send(p, "ALONE", 0, "", "y");
    world.run_log();
    world.collect();
    assert_eq!(world.answer(lone, alone).expect("it does not wait for the crowd").records()[0].body, "y");
    let mut turns = 0;
    while is_due(&world) {
        let sent = turn(&mut world);
        assert!(sent <= HOLDS_PER_TURN, "{sent} answers in one turn");
        turns += 1;
        assert!(turns <= 20_000 / HOLDS_PER_TURN + 10, "turns that bring nothing on");
    }
    for (connection, opaque) in asked {
        assert_eq!(world.answer(connection, opaque).expect("each is answered").code, 0);
    }
    assert!(world.broker.holds.is_empty());
}

#[test]
fn holds_that_nothing_matches_stay_and_cost_a_bounded_turn() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let p = world.connect();
    let asked = crowd(&mut world, "T", "B", 1_000);
    world.send(p, "T", 0, "TAGS\u{1}A", "x");
    let mut turns = 0;
    while is_due(&world) {
        assert_eq!(turn(&mut world), 0);
        turns += 1;
        assert!(turns < 20, "a hold that stays has one turn an append");
    }
    assert_eq!(world.broker.holds.len(), 1_000);
    world.send(p, "T", 0, "TAGS\u{1}B", "y");
    while is_due(&world) {
        turn(&mut world);
    }
    for (connection, opaque) in asked {
        let answer = world.answer(connection, opaque).unwrap();
        assert_eq!((answer.code, answer.records().len(), answer.records()[0].body.as_str()), (0, 1, "y"));
    }
}

#[test]
fn large_answers_are_fewer_in_one_turn() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let p = world.connect();
    let asked: Vec<(ConnectionId, i32)> = (0..500)
        .map(|_| {
            let connection = world.connect();
            (connection, world.ask_pull(connection, "T", 0, "*", 15_000))
        })
        .collect();
    let large = "x".repeat(4096);
    for _ in 0..4 {
        world.ask_send(p, "T", 0, "", &large);
    }
    world.run_log();
    world.broker.handle_turn_end(world.now, &mut world.out);
    world.collect();
    let mut answered = 0;
    while is_due(&world) {
        let sent = turn(&mut world);
        assert!(sent <= HOLD_BYTES_PER_TURN / (4 * 4096) + 1, "{sent} answers of 16 KiB in one turn");
        answered += sent;
    }
    assert!(answered > 400, "most of them in later turns");
    for (connection, opaque) in asked {
        assert_eq!(world.answer(connection, opaque).unwrap().records().len(), 4);
    }
}

#[test]
fn holds_whose_time_is_over_are_answered_in_many_turns() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let asked = crowd(&mut world, "T", "*", 5_000);
    world.now.mono = world.now.mono.plus_ms(15_000);
    while is_due(&world) {
        assert!(turn(&mut world) <= HOLDS_PER_TURN);
    }
    for (connection, opaque) in asked {
        assert_eq!(world.answer(connection, opaque).unwrap().code, 19);
    }
}

#[test]
fn the_holds_of_a_removed_topic_end_in_many_turns() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let asked = crowd(&mut world, "T", "*", 5_000);
    let c = world.connect();
    world.ask(c, RequestCode::DeleteTopicInBroker, &[("topic", "T")], b"");
    world.run_effects();
    while is_due(&world) {
        assert!(turn(&mut world) <= HOLDS_PER_TURN + 1, "the answer to the removal, and holds");
    }
    for (connection, opaque) in asked {
        assert_eq!(world.answer(connection, opaque).unwrap().code, 17);
    }
}

#[test]
fn a_full_outbox_wakes_holds_with_nothing() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let (c, p) = (world.connect(), world.connect());
    let opaque = world.ask_pull(c, "T", 0, "*", 15_000);
    // Many others do not read, each within its own bound.
    for id in 1_000..1_070 {
        world.out.outbox.note_unsent(ConnectionId(id), OUTBOX_BYTES_HIGH);
    }
    assert!(world.out.outbox.is_full());
    world.send(p, "T", 0, "", "x");
    let answer = world.answer(c, opaque).unwrap();
    assert_eq!((answer.code, answer.body.len()), (19, 0), "it asks again, and is told to wait");
}
