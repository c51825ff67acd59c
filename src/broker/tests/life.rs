//! From one life to the next: which orders count, who is answered when a life ends, what a promoted slave goes on with.

use super::delay::levels;
use super::*;
use crate::broker::OFFSETS_WRITE_MS;
use crate::letter::MasterTables;
use crate::limits::{BROKER_ID_MAX, EPOCH_JUMP_MAX, EPOCH_MAX, ORDERED_EPOCH_MAX};
use crate::model::{Epoch, QueueId, QueueOffset};
use crate::protocol::body::{DelayOffsets, TableChange, TablePlace};
use crate::protocol::message::SCHEDULE_TOPIC;
use crate::protocol::request::GIVEN_BACK;

impl World {
    fn order(&mut self, role: Role, broker_id: u64, epoch: u32) -> Option<Life> {
        self.lives.clear();
        self.tell(ToShard::Role { role, broker_id: BrokerId(broker_id), epoch: Epoch(epoch) });
        assert!(self.lives.len() < 2);
        self.lives.pop()
    }

    fn told_life(&self) -> Option<(Role, BrokerId)> {
        let mut lives = self.controls.iter().rev();
        lives.find_map(|letter| match letter {
            ToControl::LifeBegan { role, broker_id, .. } => Some((*role, *broker_id)),
            _ => None,
        })
    }
}

#[test]
fn an_order_counts_once_and_only_if_its_reign_is_the_newest() {
    let mut world = World::living(life(Role::Slave), settings(), FlushPolicy::Sync, false);
    assert_eq!(world.told_life(), Some((Role::Slave, BrokerId(1))));
    assert_eq!(world.order(Role::Slave, 1, 4), None, "it is one: another reign needs no other life");
    assert_eq!(world.order(Role::SyncMaster, 1, 4), None, "the reign has a master");
    assert_eq!(world.order(Role::SyncMaster, 1, 3), None);
    assert_eq!(world.order(Role::SyncMaster, 1, 1 << 31), None, "no epoch of the protocol");
    let master = Life { role: Role::SyncMaster, epoch: Some(Epoch(7)), ..life(Role::Slave) };
    assert_eq!(world.order(Role::SyncMaster, 1, 7), Some(master));
    assert_eq!(world.order(Role::SyncMaster, 1, 7), None, "it was heard");
    assert_eq!(world.order(Role::SyncMaster, 1, 6), None);
    // The shell has not begun the next life yet, and hears of another.
    assert_eq!(world.order(Role::Slave, 0, 8), None, "a slave is no master");
    let slave = Life { role: Role::Slave, epoch: Some(Epoch(8)), ..master };
    assert_eq!(world.order(Role::Slave, 1, 8), Some(slave));

    world.live_again(master, DelayOffsets::default());
    assert_eq!(world.told_life(), Some((Role::SyncMaster, BrokerId(0))));
    assert_eq!(world.order(Role::Slave, 1, 7), None, "its own reign");
    assert_eq!(world.order(Role::Slave, 1, 8), Some(slave));
}

#[test]
fn an_answer_to_a_former_life_is_none_to_this_one() {
    let mut world = World::new();
    world.registers = false;
    let create = |world: &mut World, name: &str| {
        let c = world.connect();
        let ext = [("topic", name), ("readQueueNums", "1"), ("writeQueueNums", "1"), ("perm", "6")];
        let opaque = world.ask(c, RequestCode::UpdateAndCreateTopic, &ext, b"");
        world.run();
        let Some(ToControl::TopicsChanged { ticket, .. }) = world.controls.last() else { panic!("it is told") };
        (c, opaque, *ticket)
    };
    let (_, _, of_former) = create(&mut world, "T");
    world.wait_ms(1);
    world.live_again(life(Role::AsyncMaster), DelayOffsets::default());
    let (c, opaque, ticket) = create(&mut world, "U");
    for ticket in of_former - 1..of_former + 10 {
        world.tell(ToShard::Registered { ticket });
    }
    assert!(world.answer(c, opaque).is_none(), "the name servers do not know it");
    world.tell(ToShard::Registered { ticket });
    assert_eq!(world.answer(c, opaque).map(|answer| answer.code), Some(0));
}

#[test]
fn a_life_that_ends_answers_everybody() {
    let mut settings = settings();
    settings.replica.in_sync_replicas = 2;
    let mut world = World::living(life(Role::SyncMaster), settings, FlushPolicy::Sync, false);
    world.make_topic("T", 1);
    world.follow(LinkId(1));
    let c = world.connect();
    let held = world.ask_pull(c, "T", 0, "*", 10_000);
    let sent = world.ask_send(c, "T", 0, "", "x");
    world.commits = false;
    let unwritten = world.ask_send(c, "T", 0, "", "y");
    world.run();
    assert!([held, sent, unwritten].iter().all(|opaque| world.answer(c, *opaque).is_none()));
    assert!(world.order(Role::Slave, 1, 2).is_some());
    world.broker.handle_end(world.now, &mut world.out);
    world.collect();
    let codes = [held, sent, unwritten].map(|opaque| world.answer(c, opaque).map(|answer| answer.code));
    assert_eq!(codes, [Some(19), Some(12), Some(12)], "nothing found; stored, and no slave has it");
    assert_eq!((world.broker.view_waiting(), world.broker.holds.len()), (0, 0));
}

#[test]
fn a_promoted_slave_goes_on_where_its_master_stood() {
    let mut world = World::living(life(Role::Slave), settings(), FlushPolicy::Sync, false);
    world.tell_topics(&["T"], 7);
    let delayed = "DELAY\u{1}1\u{2}REAL_TOPIC\u{1}T\u{2}REAL_QID\u{1}0\u{2}";
    for _ in 0..2 {
        world.append_scheduled(delayed);
    }
    // The master has delivered the first one, and its consumers have read what did not come here.
    let told = DelayOffsets { offsets: levels(&[(1, 1)]), ..DelayOffsets::default() };
    let part = TableChange::DelayOffsets(told);
    world.tell_parts(vec![MasterTables::Part { behind: TablePlace::Delays, until: None, part }]);
    world.tell_offsets(&[(0, 10)]);
    world.advance(5_000);
    let c = world.connect();
    assert_eq!(world.bodies(c, "T").len(), 0, "a slave delivers nothing");

    let master = world.order(Role::AsyncMaster, 1, 2).expect("another life");
    let file = world.delay_file();
    world.live_again(master, file);
    assert_eq!(world.broker.offsets.get("g", "T", QueueId(0)), Some(QueueOffset(0)), "nobody misses what comes there");
    let c = world.connect();
    world.advance(100);
    assert_eq!(world.bodies(c, "T"), ["x"], "the second one, which is long due");
    assert_eq!(world.send(c, "T", 0, "", "y").code, 0);
}

#[test]
fn sends_are_refused_for_long_while_lowered_offsets_find_no_room() {
    let mut world = World::living(life(Role::Slave), settings(), FlushPolicy::Sync, false);
    world.tell_topics(&["T"], 7);
    world.tell_offsets(&[(0, 10)]);
    let master = world.order(Role::AsyncMaster, 1, 2).expect("another life");
    world.persists = false;
    world.live_again(master, DelayOffsets::default());
    assert!(!world.broker.poll_input(&world.out), "they are on their way: requests wait");
    assert!(world.unwritten.take().is_some(), "they are written first");
    world.broker.handle_appended(world.now, Err(IoError::NoSpace), &mut world.out);
    assert!(world.broker.poll_input(&world.out));
    let c = world.connect();
    let refused = world.send(c, "T", 0, "", "x");
    assert_eq!(refused.code, 14, "a client goes to another broker by this code: {}", refused.remark);
    assert!(refused.remark.contains("cannot be written"), "{}", refused.remark);
    world.persists = true;
    world.wait_ms(OFFSETS_WRITE_MS);
    assert_eq!(world.send(c, "T", 0, "", "y").code, 0);
}

#[test]
fn the_last_act_of_a_slave_is_to_take_topics_that_its_master_did_not_live_to_tell() {
    let mut world = World::living(life(Role::Slave), settings(), FlushPolicy::Sync, false);
    let draft =
        crate::protocol::record::RecordDraft { topic: "New", queue_id: QueueId(2), ..world.broker.draft(world.now) };
    let queue = world.broker.log.queue("New", QueueId(2));
    world.broker.log.append(queue, &draft).unwrap();
    assert!(world.broker.topics.get("New").is_none());
    assert!(world.order(Role::AsyncMaster, 1, 2).is_some());
    assert_eq!(world.broker.topics.get("New").map(|topic| topic.config.write_queues), Some(3));
    assert!(world.broker.topics.get(SCHEDULE_TOPIC).is_some());
}

/// A consumer that went on from there would miss the messages that come there.
#[test]
fn an_offset_beyond_its_queue_comes_down_to_the_end_wherever_it_comes_from() {
    let committed = |world: &World| world.broker.offsets.get("g", "T", QueueId(0));
    let mut master = World::new();
    master.make_topic("T", 1);
    let c = master.connect();
    for _ in 0..3 {
        master.send(c, "T", 0, "", "x");
    }
    master.commit_at("0", "1000");
    assert_eq!(committed(&master), Some(QueueOffset(3)), "a consumer's commit");
    master.commit_at("0", "2");
    assert_eq!(committed(&master), Some(QueueOffset(2)));
    let ext =
        [("consumerGroup", "g"), ("topic", "T"), ("queueId", "0"), ("commitOffset", "1000"), (GIVEN_BACK, "true")];
    assert_eq!(master.call(c, RequestCode::UpdateConsumerOffset, &ext, b"").code, 0);
    assert_eq!(committed(&master), Some(QueueOffset(3)), "given back");
    let told = master.broker.offsets.table();
    assert_eq!(master.call(c, RequestCode::UpdateConsumerOffset, &ext, b"").code, 0);
    let again = master.broker.offsets.table();
    assert_eq!(again.offsets, told.offsets);
    assert_ne!(
        again.set_back, told.set_back,
        "a slave that has 1000 is to take 3, and not to give it again when there is a fourth"
    );
    for (next, expected) in [
        // Its master may have more, and its table is that one's.
        (life(Role::Slave), 10),
        (Life { end_max: Some(LogOffset(0)), ..life(Role::Slave) }, 0),
        (Life { epoch: Some(Epoch(3)), ..life(Role::AsyncMaster) }, 0),
        (life(Role::AsyncMaster), 0),
    ] {
        let mut world = World::living(life(Role::Slave), settings(), FlushPolicy::Sync, false);
        world.tell_topics(&["T"], 7);
        world.tell_offsets(&[(0, 10)]);
        assert_eq!(committed(&world), Some(QueueOffset(10)));
        world.live_again(next, DelayOffsets::default());
        assert_eq!(committed(&world), Some(QueueOffset(expected)), "at the start of {next:?}");
    }
}

/// Whoever can connect can order a role: a number that slaves do not believe, or behind which there is none, would end the group.
#[test]
fn a_reign_is_ordered_no_further_on_than_slaves_believe() {
    let mut world = World::new();
    let newest = 7;
    world.broker.life.epoch = Some(Epoch(newest));
    let why_not = |world: &World, broker_id: u64, epoch: u32| {
        world.broker.why_not_ordered((Role::Slave, BrokerId(broker_id), Epoch(epoch)))
    };
    assert_eq!(why_not(&world, 1, newest + EPOCH_JUMP_MAX), None);
    assert!(why_not(&world, 1, newest).is_some_and(|why| why.contains("newer reign")));
    for epoch in [newest + EPOCH_JUMP_MAX + 1, ORDERED_EPOCH_MAX, EPOCH_MAX, u32::MAX] {
        assert!(why_not(&world, 1, epoch).is_some_and(|why| why.contains("believe")), "{epoch}");
    }
    assert!(why_not(&world, BROKER_ID_MAX + 1, newest + 1).is_some_and(|why| why.contains("brokerId")));
    assert_eq!(why_not(&world, BROKER_ID_MAX, newest + 1), None);
    world.broker.life.epoch = Some(Epoch(ORDERED_EPOCH_MAX - 1));
    assert_eq!(why_not(&world, 1, ORDERED_EPOCH_MAX), None);
    assert!(why_not(&world, 1, ORDERED_EPOCH_MAX + 1).is_some(), "the starts of a master need numbers too");
}
