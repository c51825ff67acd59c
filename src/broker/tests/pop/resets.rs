//! Groups that are set back, and topics that go, while messages of theirs are in flight.

use super::*;

#[test]
fn who_is_set_back_pops_again_and_a_restart_does_not_undo_it() {
    let (mut world, c) = World::with_pops();
    world.make_group("g");
    for body in ["a", "b"] {
        world.send(c, "T", 0, "", body);
    }
    assert_eq!(world.popped_bodies(c), ["a", "b"]);
    let commit = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "1")];
    assert_eq!(world.call(c, RequestCode::UpdateConsumerOffset, &commit, b"").code, 0);
    let file = world.offset_file();
    world.live_with(file);
    let c = world.connect();
    assert_eq!(world.popped_bodies(c), ["b"], "its flight of before is another");
    let reset =
        [("topic", "T"), ("group", "g"), ("timestamp", "0"), ("isForce", "true"), ("offset", "0"), ("queueId", "0")];
    let answer = world.call(c, RequestCode::InvokeBrokerToResetOffset, &reset, b"");
    assert_eq!(answer.code, 0, "{answer:?}");
    world.advance(1);
    assert_eq!(world.popped_bodies(c), ["a", "b"]);
}

#[test]
fn a_reset_does_not_bring_back_what_was_acknowledged_however_old_the_table_on_the_disk_is() {
    let (mut world, c) = World::with_pops();
    world.make_group("g");
    for body in ["a", "b", "c"] {
        world.send(c, "T", 0, "", body);
    }
    let ext = with(&pop_ext("-1", "0", "10000"), "maxMsgNums", "1");
    let table = {
        let first = Popped::all(&world.call(c, RequestCode::PopMessage, &ext, b"")).remove(0);
        assert_eq!(world.ack(c, &first).code, 0);
        world.offset_file()
    };
    let second = Popped::all(&world.call(c, RequestCode::PopMessage, &ext, b"")).remove(0);
    assert_eq!(world.ack(c, &second).code, 0);
    let reset = [("topic", "T"), ("group", "g"), ("timestamp", "-1"), ("isForce", "true")];
    let answer = world.call(c, RequestCode::InvokeBrokerToResetOffset, &reset, b"");
    assert_eq!(answer.code, 0, "{answer:?}");
    for _ in 0..2 {
        world.live_with(table.clone());
        let c = world.connect();
        assert!(world.popped_bodies(c).is_empty(), "one was acknowledged, and the other passed over");
        world.send(c, "T", 0, "", "new");
        let new = world.pop(c);
        assert_eq!(new.iter().map(|message| message.body.as_str()).collect::<Vec<_>>(), ["new"]);
        assert_eq!(world.ack(c, &new[0]).code, 0);
    }
}

/// Which notes a start reads is what the disk says, not what is known by then.
#[test]
fn a_reset_holds_until_the_disk_says_that_older_notes_are_of_no_use() {
    let (mut world, c) = World::with_pops();
    let groups: Vec<String> = (0..80).map(|number| format!("g{number}")).collect();
    world.send(c, "T", 0, "", "x");
    for group in groups.iter() {
        world.make_group(group);
        let ext = with(&pop_ext("-1", "0", "10000"), "consumerGroup", group);
        let message = Popped::all(&world.call(c, RequestCode::PopMessage, &ext, b"")).remove(0);
        let ext = World::popped_ext(&message);
        let ext: Vec<(&str, &str)> = ext.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let ext = with(&ext, "consumerGroup", group);
        assert_eq!(world.call(c, RequestCode::AckMessage, &ext, b"").code, 0);
    }
    // All is over, and queues of which no note is of use are looked through.
    world.wait_ms(1);
    world.wait_ms(1);
    let reset = [("topic", "T"), ("group", "g0"), ("timestamp", "0"), ("isForce", "true")];
    assert_eq!(world.call(c, RequestCode::InvokeBrokerToResetOffset, &reset, b"").code, 0);
    // The reset is on the disk, and the place from which notes are of use is not.
    let mut file = world.offset_file();
    file.offsets.retain(|(_, group), _| group.as_str() != REVIVE_GROUP);
    world.live_with(file);
    let c = world.connect();
    for (group, found) in [("g0", 1), ("g1", 0)] {
        let ext = with(&pop_ext("-1", "0", "10000"), "consumerGroup", group);
        assert_eq!(world.call(c, RequestCode::PopMessage, &ext, b"").records().len(), found, "{group}");
    }
}

#[test]
fn a_deleted_topic_takes_a_flight_whose_first_note_is_of_no_use_any_more() {
    let (mut world, c) = World::with_pops();
    world.make_group("g");
    world.send(c, "T", 0, "", "old");
    assert_eq!(world.popped_bodies(c), ["old"]);
    let queue = (GroupName::from("g"), TopicName::from("T"), QueueId(0));
    world.broker.forget_popped_queue(&queue);
    let mut before = world.offset_file();
    before.offsets.retain(|(_, group), _| group.as_str() != "g");
    assert_eq!(world.call(c, RequestCode::DeleteTopicInBroker, &[("topic", "T")], b"").code, 0);
    world.make_topic("T", 1);
    world.send(c, "T", 0, "", "new");
    world.live_with(before);
    let c = world.connect();
    assert_eq!(world.popped_bodies(c), ["new"]);
    world.advance(INVISIBLE_MS);
    assert_eq!(world.popped_bodies(c), ["new"], "once: nothing of before is in flight");
}

#[test]
fn a_reset_gives_a_group_room() {
    let (mut world, c) = World::with_pops();
    world.make_group("g");
    for body in ["a", "b"] {
        world.send(c, "T", 0, "", body);
    }
    let first = world.pop(c);
    assert_eq!(first.len(), 2);
    world.broker.flood_flights("g");
    world.send(c, "T", 0, "", "c");
    assert_eq!(world.pop_answer(c).code, 210);
    let held = world.ask_pop(c, 8_000);
    let reset =
        [("topic", "T"), ("group", "g"), ("timestamp", "0"), ("isForce", "true"), ("offset", "1"), ("queueId", "0")];
    assert_eq!(world.call(c, RequestCode::InvokeBrokerToResetOffset, &reset, b"").code, 0);
    for _ in 0..3 {
        world.wait_ms(1_000);
    }
    for _ in 0..1_000 {
        world.advance(0);
    }
    let answer = world.answer(c, held).expect("what comes again is in flight no longer");
    let bodies: Vec<String> = Popped::all(&answer).into_iter().map(|message| message.body).collect();
    assert_eq!(bodies, ["b", "c"]);
    assert_eq!(world.ack(c, &first[0]).code, 0, "it stands before the place");
    for message in Popped::all(&answer) {
        assert_eq!(world.ack(c, &message).code, 0);
    }
    assert_eq!(world.ack(c, &first[1]).code, 0, "it was popped again, and acknowledged");
    let file = world.offset_file();
    world.live_with(file);
    let c = world.connect();
    world.advance(INVISIBLE_MS);
    assert!(world.pop(c).is_empty(), "nothing is in flight, here and after a restart");
}

/// A slave's table of offsets may be older than its log when it becomes the master.
#[test]
fn what_a_reset_gave_back_is_popped_again_however_old_the_table_is() {
    let (mut world, c) = World::with_pops();
    world.make_group("g");
    for body in ["a", "b", "c"] {
        world.send(c, "T", 0, "", body);
    }
    assert_eq!(world.popped_bodies(c), ["a", "b", "c"]);
    let older = world.offset_file();
    assert_eq!(world.group_offset("g", "T"), Some(3));
    let reset =
        [("topic", "T"), ("group", "g"), ("timestamp", "0"), ("isForce", "true"), ("offset", "1"), ("queueId", "0")];
    assert_eq!(world.call(c, RequestCode::InvokeBrokerToResetOffset, &reset, b"").code, 0);
    for _ in 0..3 {
        world.wait_ms(1_000);
        world.advance(0);
    }
    world.live_with(older.clone());
    let c = world.connect();
    assert_eq!(world.popped_bodies(c), ["b", "c"]);
    world.live_with(older);
    let c = world.connect();
    assert!(world.pop(c).is_empty(), "where it went on since is known");
    world.advance(INVISIBLE_MS);
    let mut again = world.popped_bodies(c);
    again.sort_unstable();
    assert_eq!(again, ["a", "b", "c"], "what stood before the place was in flight all along");
}

#[test]
fn a_deleted_topic_leaves_nothing_in_flight() {
    let (mut world, c) = World::with_pops();
    let before = world.offset_file();
    for _ in 0..3 {
        world.send(c, "T", 0, "", "x");
    }
    assert_eq!(world.pop(c).len(), 3);
    let held = world.ask_pop(c, 10_000);
    assert_eq!(world.call(c, RequestCode::DeleteTopicInBroker, &[("topic", "T")], b"").code, 0);
    world.advance(0);
    assert_eq!(world.answer(c, held).map(|answer| answer.code), Some(17));
    world.make_topic("T", 1);
    world.send(c, "T", 0, "", "new");
    for _ in 0..2 {
        assert_eq!(world.popped_bodies(c), ["new"]);
        world.live_with(before.clone());
        let c = world.connect();
        // A pop was not noted as committed: it is in flight.
        world.advance(INVISIBLE_MS);
        let again = world.pop(c);
        assert_eq!(again.iter().map(|message| message.body.as_str()).collect::<Vec<_>>(), ["new"]);
        let reset = [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "0")];
        for message in &again {
            world.ack(c, message);
        }
        world.call(c, RequestCode::UpdateConsumerOffset, &reset, b"");
        world.advance(1);
    }
}

/// What was popped and comes again lies in a topic of its own, from which a later topic of the same name would have been given it.
#[test]
fn what_is_tried_again_of_a_topic_goes_with_it() {
    let (mut world, c) = World::with_pops();
    world.send(c, "T", 0, "", "old");
    assert_eq!(world.popped_bodies(c), ["old"]);
    world.advance(INVISIBLE_MS + 2_000);
    let config = |world: &mut World| world.call(c, RequestCode::GetTopicConfig, &[("topic", RETRY)], b"").code;
    assert_eq!(config(&mut world), 0, "it comes again");
    assert_eq!(world.call(c, RequestCode::DeleteTopicInBroker, &[("topic", "T")], b"").code, 0);
    assert_eq!(config(&mut world), 17);
    world.make_topic("T", 1);
    world.send(c, "T", 0, "", "new");
    assert_eq!(world.popped_bodies(c), ["new"]);
}
