//! Masters: whom a reply waits for, what it says when they do not come, what consumers see, who is no slave.

use bytes::Buf as _;

use super::*;
use crate::limits::{HA_BODY_BYTES_MAX, HA_SEND_BYTES};
use crate::protocol::ha::{classic, epoch};

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);

fn master(in_sync_replicas: u32, min_in_sync_replicas: u32) -> World {
    let replica = ReplicaSettings { in_sync_replicas, min_in_sync_replicas, ..ReplicaSettings::default() };
    let settings = BrokerSettings { replica, ..settings() };
    let mut world = World::living(life(Role::SyncMaster), settings, FlushPolicy::Sync, false);
    world.make_topic("T", 1);
    world
}

impl World {
    pub(super) fn end(&self) -> LogOffset {
        self.broker.view_log().appended()
    }

    /// Bytes of a slave.
    fn hear(&mut self, link: LinkId, bytes: &[u8]) {
        self.broker.handle_link_bytes(self.now, link, bytes, &mut self.out);
        self.run();
    }

    fn report(&mut self, link: LinkId, end: LogOffset) {
        let mut bytes = BytesMut::new();
        classic::encode_report(end, &mut bytes);
        self.hear(link, &bytes);
    }

    /// A slave that has everything connects.
    pub(super) fn follow(&mut self, link: LinkId) {
        self.broker.handle_link_up(self.now, link, SocketAddr::from(([10, 0, 0, 2], 4000)), &mut self.out);
        self.report(link, self.end());
    }

    /// What a slave is sent, until there is no more: headers and bodies as they are.
    fn take(&mut self, link: LinkId) -> BytesMut {
        let mut sent = BytesMut::new();
        loop {
            let mut buffer = BytesMut::new();
            self.broker.fill_link(self.now, link, &mut buffer, &mut self.out);
            if buffer.is_empty() {
                return sent;
            }
            sent.extend_from_slice(&buffer);
        }
    }
}

#[test]
fn a_reply_waits_for_its_slave_and_its_flush_in_either_order() {
    for slave_first in [true, false] {
        let mut world = master(2, 1);
        world.follow(A);
        let c = world.connect();
        world.commits = false;
        let opaque = world.ask_send(c, "T", 0, "", "x");
        world.run();
        let sent = world.take(A);
        let body = sent.get(classic::HEADER_BYTES..).unwrap();
        assert!(!body.is_empty(), "it is sent before it is flushed");
        let step = |world: &mut World, of_slave: bool| {
            if of_slave {
                world.report(A, world.end());
            } else {
                world.commits = true;
                world.run();
            }
        };
        step(&mut world, slave_first);
        assert!(world.answer(c, opaque).is_none(), "one of two, slave first: {slave_first}");
        step(&mut world, !slave_first);
        assert_eq!(world.answer(c, opaque).map(|answer| answer.code), Some(0));
    }
}

#[test]
fn without_its_slaves_a_message_is_stored_and_said_to_be_alone() {
    let mut world = master(2, 1);
    let c = world.connect();
    let answer = world.send(c, "T", 0, "", "alone");
    assert_eq!((answer.code, answer.number("queueOffset")), (11, 0), "{answer:?}");
    world.follow(A);
    let opaque = world.ask_send(c, "T", 0, "", "left alone");
    world.run();
    assert!(world.answer(c, opaque).is_none());
    // The slave goes: who waits for it is told at once.
    world.broker.handle_link_down(world.now, A, &mut world.out);
    world.run();
    assert_eq!(world.answer(c, opaque).map(|answer| answer.code), Some(11));
}

#[test]
fn a_silent_slave_is_waited_for_until_just_before_the_client_gives_up() {
    let mut world = master(2, 1);
    world.follow(A);
    let c = world.connect();
    let opaque = world.ask_send(c, "T", 0, "", "x");
    let hasty = world.ask_send(c, "T", 0, "WAIT\u{1}false", "y");
    world.run();
    assert_eq!(world.answer(c, hasty).map(|answer| answer.code), Some(0), "it waits for nobody");
    world.wait_ms(2_699);
    assert!(world.answer(c, opaque).is_none());
    world.wait_ms(1);
    assert_eq!(world.answer(c, opaque).map(|answer| answer.code), Some(12));
}

#[test]
fn too_few_in_sync_refuse_before_anything_is_stored() {
    let mut world = master(2, 2);
    let c = world.connect();
    let before = world.end();
    let answer = world.send(c, "T", 0, "", "x");
    assert_eq!((answer.code, answer.remark.as_str()), (1, "in-sync replicas not enough"));
    assert_eq!(world.end(), before);
    world.follow(A);
    let opaque = world.ask_send(c, "T", 0, "", "x");
    world.run();
    world.take(A);
    world.report(A, world.end());
    assert_eq!(world.answer(c, opaque).map(|answer| answer.code), Some(0));
}

#[test]
fn consumers_see_what_all_in_sync_hold() {
    let mut world = master(2, 1);
    world.follow(A);
    world.follow(B);
    let c = world.connect();
    let before = world.end();
    let opaque = world.ask_send(c, "T", 0, "", "x");
    world.run();
    world.take(A);
    world.take(B);
    world.report(A, world.end());
    assert_eq!(world.answer(c, opaque).map(|answer| answer.code), Some(0), "one slave is enough for the producer");
    assert_eq!(world.broker.view_log().confirm(), before, "but B, which is in sync, does not have it");
    let status = world.broker.view_replicas();
    assert_eq!((status.in_sync_count, status.slaves.len()), (3, 2));
    world.broker.handle_link_down(world.now, B, &mut world.out);
    world.run();
    assert_eq!(world.broker.view_log().confirm(), world.end());
}

#[test]
fn the_two_streams_are_told_apart_by_their_first_bytes() {
    const AT_4_GIB: u64 = 1 << 32;
    let check = |said: &[&[u8]], closed: bool, expected: &str| {
        let mut world = master(2, 1);
        world.broker.handle_link_up(world.now, A, SocketAddr::from(([10, 0, 0, 2], 4000)), &mut world.out);
        said.iter().for_each(|bytes| world.hear(A, bytes));
        assert_eq!(world.closed == [A], closed, "{said:?}");
        let sent = world.take(A);
        let kind = match sent.get(..4) {
            None => "nothing",
            Some([0, 0, 0, 1]) if sent.len() >= epoch::REPLY_BYTES => "greeting",
            Some(_) => "transfer",
        };
        assert_eq!(kind, expected, "{said:?}");
    };
    let handshake = [&[0, 0, 0, 1, 0, 0, 0, 0][..], &7_u64.to_be_bytes()].concat();
    check(&[&handshake], false, "greeting");
    check(&[&handshake[..5], &handshake[5..]], false, "greeting");
    check(&[&handshake[..8]], false, "nothing");
    check(&[&0_u64.to_be_bytes()], false, "nothing");
    check(&[&(AT_4_GIB + 4096).to_be_bytes()], true, "nothing");
    // A classic slave that ends at 4 GiB sharp is known by its second report; here it is beyond the end.
    check(&[&AT_4_GIB.to_be_bytes()], false, "nothing");
    check(&[&AT_4_GIB.to_be_bytes(), &AT_4_GIB.to_be_bytes()], true, "nothing");
    check(&[b"GET / HTTP/1.1"], true, "nothing");
    check(&[&(-1_i64).to_be_bytes()], true, "nothing");
}

/// The largest transfer that may be set is larger than what is made for a slave at once.
#[test]
fn what_is_made_for_a_slave_fits_its_buffer_whatever_the_batch() {
    let replica = ReplicaSettings { batch_bytes_max: HA_BODY_BYTES_MAX, ..ReplicaSettings::default() };
    let mut world = World::with(BrokerSettings { replica, ..settings() }, FlushPolicy::Sync, false);
    world.make_topic("T", 1);
    let c = world.connect();
    let body = "x".repeat(4000);
    while world.end().0 < 3 * HA_SEND_BYTES as u64 {
        world.send(c, "T", 0, "", &body);
    }
    world.broker.handle_link_up(world.now, A, SocketAddr::from(([10, 0, 0, 2], 4000)), &mut world.out);
    world.report(A, LogOffset(0));
    // One buffer for all that is sent, as a connection has it.
    let (mut buffer, mut sent) = (BytesMut::new(), 0);
    while sent < world.end().0 {
        world.broker.fill_link(world.now, A, &mut buffer, &mut world.out);
        // What lies on the disk is there at the next try.
        world.run();
        sent += buffer.len() as u64;
        let bound = HA_SEND_BYTES + epoch::HEADER_BYTES;
        assert!(buffer.len() <= bound && buffer.capacity() <= bound, "{} of {}", buffer.len(), buffer.capacity());
        buffer.advance(buffer.len());
        buffer.clear();
    }
}
