//! A master that is told numbers, and slaves that say what they please.

use super::*;
use crate::log::{FileName, HeapTail, LogSettings};
use crate::model::LogId;
use crate::protocol::ha::MendMessage;

const A: LinkId = LinkId(1);
const B: LinkId = LinkId(2);

fn at(ms: u64) -> MonoNs {
    MonoNs(0).plus_ms(ms)
}

fn ends(start: u64, last_segment: u64, appended: u64) -> LogEnds {
    let appended = LogOffset(appended);
    LogEnds { start: LogOffset(start), last_segment: LogOffset(last_segment), appended, confirm: appended }
}

fn peer() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 4000))
}

fn master(in_sync_replicas: u32) -> Master {
    Master::new(Role::AsyncMaster, ReplicaSettings { in_sync_replicas, ..ReplicaSettings::default() })
}

fn handshake(id: u64, from_last_segment: bool) -> epoch::Handshake {
    epoch::Handshake { from_last_segment, knows_identities: false, is_learner: false, broker_id: BrokerId(id) }
}

fn empty_log() -> Log {
    Log::create(LogSettings::default(), Box::new(HeapTail::new(64 * 1024)))
}

fn link(master: &mut Master, id: LinkId) -> &mut SlaveLink {
    master.links.get_mut(&id).expect("it is there")
}

fn due(master: &Master, now: MonoNs, id: LinkId, ends: &LogEnds) -> DueToSlave {
    master.links.get(&id).expect("it is there").due(now, &master.settings, ends)
}

fn sent_to(master: &mut Master, now: MonoNs, id: LinkId, bytes: usize, ends: &LogEnds) {
    if link(master, id).note_sent(now, bytes, ends) {
        master.in_sync.note_sent_all(now, id, ends.appended);
    }
}

fn follow(master: &mut Master, id: LinkId, offset: u64, ends: LogEnds) -> Result<(), HaRefused> {
    master.link_up(at(0), id, peer());
    master.report(at(0), id, LogOffset(offset), ends)
}

#[test]
fn a_stream_begins_where_the_slave_ends() {
    let check = |opening: Option<bool>, offset, expected: Result<u64, HaRefused>| {
        let (mut master, ends) = (master(1), ends(100, 200, 300));
        master.link_up(at(0), A, peer());
        if let Some(from_last_segment) = opening {
            assert_eq!(master.greet(at(0), A, handshake(1, from_last_segment)), Ok(None));
            assert_eq!(due(&master, at(0), A, &ends), DueToSlave::Greeting);
            let mut answer = BytesMut::new();
            assert_eq!(master.output(at(0), A, &mut empty_log(), &EpochTable::default(), &mut answer), Ok(None));
            assert_eq!(answer.len(), epoch::REPLY_BYTES);
        }
        let begun = master
            .report(at(0), A, LogOffset(offset), ends)
            .map(|()| master.slaves(ends.appended).next().expect("it follows").sent.0);
        assert_eq!(begun, expected, "{opening:?} {offset}");
    };
    check(None, 0, Ok(200));
    check(None, 150, Ok(150));
    check(None, 300, Ok(300));
    check(None, 301, Err(HaRefused::Beyond { asked: LogOffset(301), end: LogOffset(300) }));
    check(None, 99, Err(HaRefused::Removed { asked: LogOffset(99), start: LogOffset(100) }));
    check(Some(false), 0, Ok(100));
    check(Some(true), 0, Ok(200));
    check(Some(false), 250, Ok(250));
}

#[test]
fn what_is_sent_follows_the_acknowledgements() {
    let mut master = master(2);
    let far = LogOffset(3 * HA_WINDOW_BYTES);
    let ends = LogEnds { appended: far, ..ends(0, 0, 0) };
    follow(&mut master, A, 0, ends).expect("it may");
    let mut sent = 0_u64;
    while let DueToSlave::Transfer { from, bytes_max } = due(&master, at(0), A, &ends) {
        assert_eq!(from, LogOffset(sent));
        sent += bytes_max as u64;
        sent_to(&mut master, at(0), A, bytes_max, &ends);
    }
    assert_eq!(sent, HA_WINDOW_BYTES, "a slave that acknowledges nothing gets one window");
    master.report(at(0), A, LogOffset(1000), ends).expect("it was sent so much");
    assert_eq!(due(&master, at(0), A, &ends), DueToSlave::Transfer { from: LogOffset(sent), bytes_max: 1000 });
    assert_eq!(
        master.report(at(0), A, LogOffset(sent + 1), ends),
        Err(HaRefused::AckBeyond { acked: LogOffset(sent + 1), sent: LogOffset(sent) })
    );
}

#[test]
fn a_block_of_the_disk_is_waited_for() {
    let mut master = master(1);
    let all = ends(0, 0, 500);
    follow(&mut master, A, 100, all).expect("it may");
    let block = BlockId { file: FileName::Segment(LogOffset(0)), at: 0, len: 4096 };
    link(&mut master, A).block(block);
    assert_eq!(due(&master, at(0), A, &all), DueToSlave::Nothing);
    master.unblock(BlockId { at: 4096, ..block });
    assert_eq!(due(&master, at(0), A, &all), DueToSlave::Nothing);
    master.unblock(block);
    assert!(matches!(due(&master, at(0), A, &all), DueToSlave::Transfer { .. }));
}

#[test]
fn silence_is_ended_by_heartbeats_or_ends_the_connection() {
    let mut master = master(1);
    let all = ends(0, 0, 500);
    follow(&mut master, A, 500, all).expect("it may");
    master.link_up(at(0), B, peer());
    assert_eq!(due(&master, at(4_999), A, &all), DueToSlave::Nothing);
    assert_eq!(due(&master, at(5_000), A, &all), DueToSlave::Heartbeat { at: all.appended });
    sent_to(&mut master, at(5_000), A, 0, &all);
    assert_eq!(due(&master, at(9_999), A, &all), DueToSlave::Nothing);
    assert!(master.tick(at(HA_OPENING_MS - 1), all.appended).is_empty());
    assert_eq!(master.tick(at(HA_OPENING_MS), all.appended), [(B, HaRefused::NoReport)]);
    master.link_down(B);
    master.report(at(10_000), A, all.appended, all).expect("it may");
    assert!(master.tick(at(29_999), all.appended).is_empty());
    assert_eq!(master.tick(at(30_000), all.appended), [(A, HaRefused::Silent { silent_ms: 20_000 })]);
}

#[test]
fn replies_wait_for_as_many_slaves_as_are_asked_for() {
    let mut master = master(3);
    let all = ends(0, 0, 500);
    assert_eq!((master.acknowledged(), master.has_slaves()), (None, false));
    follow(&mut master, A, 500, all).expect("it may");
    assert_eq!((master.acknowledged(), master.has_slaves()), (None, false));
    follow(&mut master, B, 400, all).expect("it may");
    assert_eq!((master.acknowledged(), master.has_slaves()), (Some(LogOffset(400)), false), "B is behind");
    assert_eq!((master.in_sync_count(), master.confirm(all.appended)), (2, LogOffset(500)));
    sent_to(&mut master, at(0), B, 100, &all);
    master.report(at(1), B, all.appended, all).expect("it may");
    assert_eq!((master.acknowledged(), master.has_slaves()), (Some(all.appended), true));
    assert_eq!(master.in_sync_count(), 3);
    let longer = ends(0, 0, 600);
    sent_to(&mut master, at(2), A, 100, &longer);
    master.report(at(3), A, longer.appended, longer).expect("it may");
    assert_eq!((master.acknowledged(), master.confirm(longer.appended)), (Some(LogOffset(500)), LogOffset(500)));
    assert!(master.link_down(B), "it was in sync");
    assert_eq!((master.acknowledged(), master.has_slaves()), (None, false));
    assert_eq!(master.confirm(longer.appended), longer.appended, "consumers go on");
}

/// A slave that says this of its log, over a new connection. It is refused.
fn decline(master: &mut Master, now: MonoNs, id: LinkId, broker: u64, said: Statement, log: &Log) {
    let epochs = EpochTable::of_log(LogId(7));
    master.link_up(now, id, peer());
    let handshake = epoch::Handshake { knows_identities: true, ..handshake(broker, false) };
    assert_eq!(master.greet(now, id, handshake), Ok(None));
    assert_eq!(master.output(now, id, &mut empty_log(), &epochs, &mut BytesMut::new()), Ok(None));
    let mut bytes = BytesMut::new();
    said.encode(&mut bytes);
    let refused = master.receive(now, id, &bytes, log, &epochs);
    assert!(matches!(refused, Err(HaRefused::Unfit(_))), "{refused:?}");
    master.link_down(id);
}

fn said(verdict: LogVerdict, log: u128, end: u64) -> Statement {
    let last = EpochEntry { epoch: Epoch(1), start: LogOffset(0), id: ReignId(1) };
    Statement {
        verdict,
        log: LogId(log),
        start: LogOffset(0),
        end: LogOffset(end),
        last,
        point: LogOffset(0),
        can_be_asked: false,
    }
}

/// A slave that follows over a new connection, with a log of this length.
fn follow_again(master: &mut Master, now: MonoNs, id: LinkId, broker: u64, end: u64, log: &Log) {
    let epochs = EpochTable::of_log(LogId(7));
    master.link_up(now, id, peer());
    let handshake = epoch::Handshake { knows_identities: true, ..handshake(broker, false) };
    assert_eq!(master.greet(now, id, handshake), Ok(None));
    assert_eq!(master.output(now, id, &mut empty_log(), &epochs, &mut BytesMut::new()), Ok(None));
    let mut bytes = BytesMut::new();
    said(LogVerdict::Follows, 7, end).encode(&mut bytes);
    assert_eq!(master.receive(now, id, &bytes, log, &epochs), Ok(None));
    assert_eq!(master.report(now, id, LogOffset(end), ends(0, 0, end)), Ok(()));
}

#[test]
fn who_has_more_holds_a_master_back_until_it_follows_or_somebody_decides() {
    let log = empty_log();
    for said in [said(LogVerdict::Stranger, 8, 300), said(LogVerdict::Ahead, 7, 300)] {
        let (mut master, broker) = (master(1), 1);
        assert!(!master.holds_back(LogOffset(0), &log));
        decline(&mut master, at(1000), A, broker, said, &log);
        assert!(master.holds_back(LogOffset(0), &log), "{said:?}");
        // It comes again.
        decline(&mut master, at(6000), B, broker, said, &log);
        master.tick(at(6000 + HA_REFUSED_KEPT_MS - 1), LogOffset(0));
        assert!(master.holds_back(LogOffset(0), &log), "{said:?}");
        assert_eq!(master.refused().count(), 1);
        // It is gone, and what it has is not.
        master.tick(at(6000 + HA_REFUSED_KEPT_MS), LogOffset(0));
        assert_eq!(master.refused().count(), 0);
        master.tick(at(6000 + 100 * HA_REFUSED_KEPT_MS), LogOffset(0));
        assert!(master.holds_back(LogOffset(0), &log), "{said:?}");
        // Nor does a start of the master change that.
        let ahead = master.ahead();
        assert_eq!(ahead, BTreeSet::from([BrokerId(broker)]));
        let mut next = self::master(1);
        next.note_ahead(&ahead);
        next.tick(at(0), LogOffset(0));
        next.tick(at(100 * HA_REFUSED_KEPT_MS), LogOffset(0));
        assert!(next.holds_back(LogOffset(0), &log), "{said:?}");
        // It has given up all that it had: that is believed when it has not changed its mind for a while.
        for master in [&mut master, &mut next] {
            let now = 200 * HA_REFUSED_KEPT_MS;
            follow_again(master, at(now), A, broker, 0, &log);
            master.tick(at(now + 1), LogOffset(0));
            assert!(!master.holds_back(LogOffset(0), &log), "{said:?}");
        }
    }
    let mut master = master(1);
    decline(&mut master, at(0), A, 1, said(LogVerdict::Ahead, 7, 300), &log);
    follow_again(&mut master, at(1), B, 1, 0, &log);
    master.tick(at(HA_REFUSED_KEPT_MS - 1), LogOffset(0));
    assert!(master.holds_back(LogOffset(0), &log), "it may have lost it itself a moment ago");
    master.tick(at(HA_REFUSED_KEPT_MS), LogOffset(0));
    assert!(!master.holds_back(LogOffset(0), &log));
    // What was stored has parted the two already; and a stranger's log says nothing of one that is not empty.
    master.link_down(B);
    decline(&mut master, at(1000), A, 1, said(LogVerdict::Ahead, 7, 300), &log);
    assert!(!master.holds_back(LogOffset(90), &log));
    // Who wants that goes on.
    master.change_settings(ReplicaSettings { goes_on_behind: true, ..ReplicaSettings::default() });
    assert!(!master.holds_back(LogOffset(0), &log));
}

#[test]
fn slaves_that_are_asked_are_waited_for_as_long_as_is_said() {
    for ask_ms in [0, 3_000, 60_000] {
        let settings = ReplicaSettings { ask_ms, ..ReplicaSettings::default() };
        let (mut master, log) = (Master::new(Role::AsyncMaster, settings), empty_log());
        master.ask(BTreeSet::from([BrokerId(1), BrokerId(2)]));
        assert!(master.holds_back(LogOffset(0), &log));
        master.tick(at(500), LogOffset(0));
        if ask_ms > 0 {
            master.tick(at(500 + ask_ms - 1), LogOffset(0));
            assert!(master.holds_back(LogOffset(0), &log), "{ask_ms}");
            master.tick(at(500 + ask_ms), LogOffset(0));
        }
        assert!(!master.holds_back(LogOffset(0), &log), "{ask_ms}");
    }
    // Those who have said it are not waited for.
    let (mut master, log) = (master(1), empty_log());
    master.ask(BTreeSet::from([BrokerId(1)]));
    decline(&mut master, at(0), A, 1, said(LogVerdict::Damaged, 7, 300), &log);
    assert!(!master.holds_back(LogOffset(0), &log));
}

#[test]
fn strangers_and_twins_make_room() {
    let mut master = master(1);
    let id = |number: usize| LinkId(number as u64);
    for number in 0..HA_STRANGERS_MAX {
        assert_eq!(master.link_up(at(0), id(number), peer()), None);
    }
    assert_eq!(master.link_up(at(0), id(HA_STRANGERS_MAX), peer()), Some(id(0)));
    assert_eq!(master.greet(at(0), id(1), handshake(7, false)), Ok(None));
    assert_eq!(
        master.greet(at(0), id(2), handshake(7, false)),
        Ok(Some((id(1), HaRefused::Replaced { id: BrokerId(7) })))
    );
    for number in 3..=HA_SLAVES_MAX {
        assert_eq!(master.report(at(0), id(number), LogOffset(0), ends(0, 0, 0)), Ok(()));
    }
    let late = master.report(at(0), id(HA_SLAVES_MAX + 1), LogOffset(0), ends(0, 0, 0));
    assert_eq!(late, Err(HaRefused::TooManySlaves));
}
#[test]
fn no_answer_is_gathered_that_was_not_asked_for() {
    let (log, epochs) = (empty_log(), EpochTable::of_log(LogId(7)));
    let piece = |len: usize| {
        let mut bytes = BytesMut::new();
        MendMessage::Piece { from: LogOffset(0), bytes: &[0; 1000][..len] }.encode(&mut bytes);
        bytes
    };
    for bytes in [&piece(10)[..], &piece(1000)[..100], &piece(1000)] {
        let mut master = master(1);
        follow_again(&mut master, at(0), A, 1, 0, &log);
        assert_eq!(master.receive(at(1), A, bytes, &log, &epochs), Err(HaRefused::Garbage), "{} bytes", bytes.len());
    }
}

#[test]
fn reports_come_in_any_pieces_and_a_long_read_leaves_no_room_behind() {
    let (mut master, log) = (master(2), empty_log());
    master.link_up(at(0), A, peer());
    let mut reports = BytesMut::new();
    while reports.len() < 4 * PARTIAL_BYTES_KEPT {
        SlaveMessage::encode_report(StreamKind::Classic, LogOffset(0), &mut reports);
    }
    // The last one is not whole.
    let (most, rest) = reports.split_at(reports.len() - 5);
    assert_eq!(master.receive(at(1), A, most, &log, &EpochTable::default()), Ok(None));
    let front = &mut link(&mut master, A).front;
    assert!(front.len() == 3 && !front.try_reclaim(PARTIAL_BYTES_KEPT), "the room of the read is kept");
    assert_eq!(master.receive(at(1), A, rest, &log, &EpochTable::default()), Ok(None), "the rest of it follows");
    assert_eq!(master.receive(at(1), A, &1_u64.to_be_bytes()[..7], &log, &EpochTable::default()), Ok(None));
    let (acked, sent) = (LogOffset(1), LogOffset(0));
    assert_eq!(master.receive(at(1), A, &[1], &log, &EpochTable::default()), Err(HaRefused::AckBeyond { acked, sent }));
}

#[test]
fn what_was_begun_before_the_oldest_reign_that_is_remembered_is_told_apart_from_it() {
    let entry =
        |epoch: u32, start: u64| EpochEntry { epoch: Epoch(epoch), start: LogOffset(start), id: ReignId(epoch.into()) };
    let table = EpochTable::new(LogId(7), vec![entry(5, 500), entry(6, 900)]).expect("in order");
    let (mut master, log) = (master(1), empty_log());
    follow_again(&mut master, at(0), A, 1, 0, &log);
    let link = master.links.get(&A).expect("it follows");
    let end_at = |from: u64| link.header(LogOffset(from), &table, &ends(1_000, 1_000, 1_000)).1;
    assert_eq!(
        [end_at(0), end_at(499), end_at(500), end_at(900)],
        [Some(LogOffset(500)), Some(LogOffset(500)), Some(LogOffset(900)), None]
    );
}
