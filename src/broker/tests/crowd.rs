//! Many at once: each turn of a shard does a bounded amount of work, the rest follows in later turns, and one crowd does not hold up others.

use super::*;
use crate::limits::{
    CLIENT_BYTES_MAX, CLIENT_BYTES_PER_CONNECTION_MAX, CLIENT_ID_BYTES_MAX, CONFIG_BYTES_MAX, EXPRESSION_BYTES_MAX,
    HOLD_BYTES_PER_TURN, HOLDS_PER_CONNECTION_MAX, HOLDS_PER_TURN, OUTBOX_BYTES_HIGH,
};

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

/// A heartbeat of a consumer of `group` with `topics` subscriptions, each with a long expression.
fn heavy_beat(group: &str, topics: usize) -> String {
    let expression = "e".repeat(EXPRESSION_BYTES_MAX);
    let subscriptions: Vec<String> = (0..topics)
        .map(|topic| {
            format!(
                r#"{{"topic":"T{topic}","subString":"{expression}","tagsSet":[],"codeSet":[],"subVersion":1,"expressionType":"TAG"}}"#
            )
        })
        .collect();
    format!(
        r#"{{"clientID":"c","consumerDataSet":[{{"groupName":"{group}","consumeType":"CONSUME_PASSIVELY","messageModel":"CLUSTERING","consumeFromWhere":"CONSUME_FROM_LAST_OFFSET","subscriptionDataSet":[{}],"unitMode":false}}],"producerDataSet":[]}}"#,
        subscriptions.join(",")
    )
}

#[test]
fn what_clients_say_is_bounded_by_connection_and_shard_and_freed_with_them() {
    let mut world = World::new();
    let mut connections = Vec::new();
    let mut refused = 0;
    let heaviest = CLIENT_BYTES_PER_CONNECTION_MAX / (EXPRESSION_BYTES_MAX + 1024);
    for number in 0..CLIENT_BYTES_MAX / CLIENT_BYTES_PER_CONNECTION_MAX + 4 {
        let c = world.connect();
        connections.push(c);
        let beat = heavy_beat(&format!("g{number}"), heaviest);
        refused += usize::from(world.call(c, RequestCode::HeartBeat, &[], beat.as_bytes()).code != 0);
        let more = heavy_beat(&format!("more{number}"), heaviest);
        let answer = world.call(c, RequestCode::HeartBeat, &[], more.as_bytes());
        assert_eq!(answer.code, 1, "one connection has its share: {}", answer.remark);
        assert!(world.broker.clients.bytes() <= CLIENT_BYTES_MAX);
    }
    assert!(refused > 0 && refused < 6, "{refused} refused by what all may have");
    // The same again weighs the same; what is smaller is taken, whoever is beside it.
    let before = world.broker.clients.bytes();
    let again = world.call(connections[0], RequestCode::HeartBeat, &[], heavy_beat("g0", heaviest).as_bytes());
    assert_eq!((again.code, world.broker.clients.bytes()), (0, before));
    assert_eq!(world.call(connections[0], RequestCode::HeartBeat, &[], heavy_beat("g0", 1).as_bytes()).code, 0);
    assert!(world.broker.clients.bytes() < before);
    for connection in connections {
        world.disconnect(connection);
    }
    assert_eq!(world.broker.clients.bytes(), 0);
}

#[test]
fn what_members_weigh_is_counted_through_leaving_and_expiry() {
    let mut world = World::new();
    let (a, b) = (world.connect(), world.connect());
    world.heartbeat(a, "a@1", "g", "T");
    let one = world.broker.clients.bytes();
    world.heartbeat(b, "b@1", "g", "T");
    world.heartbeat(b, "b@1", "g", "T");
    let both = world.broker.clients.bytes();
    assert!(one > 0 && both > one);
    let leave = [("clientID", "b@1"), ("producerGroup", "pg"), ("consumerGroup", "g")];
    world.call(b, RequestCode::UnregisterClient, &leave, b"");
    assert_eq!(world.broker.clients.bytes(), one);
    world.wait_ms(121_000);
    world.wait_ms(10_000);
    assert_eq!(world.broker.clients.bytes(), 0, "silent members are gone");
}

#[test]
fn names_and_settings_of_megabytes_are_refused() {
    let mut world = World::new();
    world.make_topic("T", 1);
    let c = world.connect();
    let long = "i".repeat(CLIENT_ID_BYTES_MAX + 1);
    let beat = heartbeat_body(&long, "g", "T", "CLUSTERING", 1);
    assert_eq!(world.call(c, RequestCode::HeartBeat, &[], beat.as_bytes()).code, 29);
    let lock = format!(
        r#"{{"clientId":"{long}","consumerGroup":"g","mqSet":[{{"brokerName":"broker-a","queueId":0,"topic":"T"}}]}}"#
    );
    assert_eq!(world.call(c, RequestCode::LockBatchMq, &[], lock.as_bytes()).code, 29);
    let group = format!(r#"{{"groupName":"g","attributes":{{"a":"{}"}}}}"#, "v".repeat(CONFIG_BYTES_MAX));
    assert_ne!(world.call(c, RequestCode::UpdateAndCreateSubscriptiongroup, &[], group.as_bytes()).code, 0);
}
