//! A slave that is told numbers instead of having a log, and hears streams in pieces.

use super::*;
use crate::log::{HeapTail, LogSettings};
use crate::protocol::ha::{Lineage, TransferReign, epoch, identity};

const LINK: LinkId = LinkId(1);

fn at(ms: u64) -> MonoNs {
    MonoNs(0).plus_ms(ms)
}

fn own(start: u64, appended: u64, promised: u64) -> OwnLog {
    OwnLog { start: LogOffset(start), appended: LogOffset(appended), promised: LogOffset(promised) }
}

fn address(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn file(entries: &[(u32, u64)]) -> EpochFile {
    let entry = |&(epoch, start)| EpochEntry { epoch: Epoch(epoch), start: LogOffset(start), id: ReignId(0) };
    EpochFile::new(EpochTable::new(LogId(0), entries.iter().map(entry).collect()).expect("it rises"))
}

/// An empty log, which takes nothing before it has a segment.
fn empty_log() -> Log {
    Log::create(LogSettings::default(), Box::new(HeapTail::new(64 * 1024)))
}

/// A slave that follows over the classic stream and has reported.
fn following(own: &OwnLog) -> Slave {
    let mut slave = Slave::new(BrokerId(1), ReplicaSettings::default());
    slave.stream = StreamKind::Classic;
    slave.master = Some(address(1));
    assert!(slave.connect_when_due(at(0), own).is_some());
    slave.open(at(0), LINK, own);
    let due = slave.due(at(0), own);
    assert_eq!(due, DueToMaster::Report(own.position()));
    slave.say(at(0), LINK, due, &mut BytesMut::new());
    slave
}

fn header(offset: u64, body_bytes: usize) -> BytesMut {
    let mut bytes = BytesMut::new();
    Transfer { offset: LogOffset(offset), body_bytes, reign: None }.encode(&mut bytes);
    bytes
}

#[test]
fn it_tries_less_and_less_often_and_begins_anew_with_a_new_master() {
    let mut slave = Slave::new(BrokerId(1), ReplicaSettings::default());
    let own = own(0, 0, 0);
    assert_eq!(slave.connect_when_due(at(0), &own), None, "no master is known");
    assert_eq!(slave.master_found(at(0), Some(address(1))), None);
    let (mut now, mut waits) = (0, Vec::new());
    assert_eq!(slave.connect_when_due(at(now), &own), Some(address(1)));
    for _ in 0..8 {
        assert_eq!(slave.connect_when_due(at(now), &own), None, "one at a time");
        slave.link_failed(at(now));
        let since = now;
        while slave.connect_when_due(at(now), &own).is_none() {
            now += 100;
        }
        waits.push(now - since);
    }
    assert_eq!(waits, [100, 200, 400, 800, 1000, 1000, 1000, 1000]);
    slave.link_failed(at(now));
    assert_eq!(slave.connect_when_due(at(now), &own), None);
    slave.master_found(at(now), Some(address(2)));
    assert_eq!(slave.connect_when_due(at(now), &own), Some(address(2)));
}

#[test]
fn a_master_that_moves_is_left_wherever_the_connection_is() {
    let (mut slave, log) = (Slave::new(BrokerId(1), ReplicaSettings::default()), empty_log());
    slave.master_found(at(0), Some(address(1)));
    assert_eq!(slave.poll_connect(at(0), &log), Some(address(1)));
    assert_eq!(slave.master_found(at(0), Some(address(2))), None, "it is being connected to");
    assert!(!slave.link_up(at(0), LINK, address(1), &log), "and not wanted any more");
    assert_eq!(slave.poll_connect(at(100), &log), Some(address(2)));
    assert!(slave.link_up(at(100), LinkId(2), address(2), &log));
    assert_eq!(slave.master_found(at(100), None), Some(LinkId(2)));
    assert_eq!(slave.poll_connect(at(10_000), &log), None);
    assert!(!slave.link_down(at(100), LinkId(2)), "it was left already");
}

#[test]
fn it_connects_when_all_of_its_log_is_promised() {
    let mut slave = Slave::new(BrokerId(1), ReplicaSettings::default());
    slave.master_found(at(0), Some(address(1)));
    assert_eq!(slave.connect_when_due(at(0), &own(0, 100, 60)), None);
    assert!(slave.connect_when_due(at(1), &own(0, 100, 100)).is_some());
}

#[test]
fn transfers_are_taken_in_order_only() {
    let check = |own: OwnLog, offset: u64, expected: Result<Option<u64>, SlaveError>| {
        let mut slave = following(&own);
        let taken = slave.take_apart(at(1), &header(offset, 10), &own, &mut file(&[])).map(|()| slave.begins);
        assert_eq!(taken, expected.map(|begin| begin.map(LogOffset)), "{own:?} {offset}");
    };
    let out = |expected, found| Err(SlaveError::OutOfPlace { expected: LogOffset(expected), found: LogOffset(found) });
    check(own(0, 0, 0), 0, Ok(Some(0)));
    check(own(0, 0, 0), 4096, Ok(Some(4096)));
    // It began there with nothing, and begins anew.
    check(own(8192, 8192, 8192), 4096, Ok(Some(4096)));
    check(own(0, 100, 100), 100, Ok(None));
    check(own(0, 100, 100), 90, out(100, 90));
    check(own(0, 100, 100), 110, out(100, 110));
    let own = own(0, 100, 100);
    let mut slave = following(&own);
    let bytes = HA_BODY_BYTES_MAX + 1;
    assert_eq!(slave.begin_transfer(at(1), &own, LogOffset(100), bytes, None), Err(SlaveError::TooLarge { bytes }));
}

#[test]
fn bytes_wait_until_the_log_takes_them() {
    let (own, mut epochs) = (own(0, 100, 100), file(&[]));
    // Cut anywhere.
    for piece in 1..30 {
        let mut slave = following(&own);
        let stream = [&header(100, 10)[..], b"0123456789", &header(110, 1), b"a", &header(111, 0)].concat();
        for bytes in stream.chunks(piece) {
            slave.take_apart(at(1), bytes, &own, &mut epochs).expect("in order");
        }
        assert_eq!((slave.stored, &slave.pending[..]), (LogOffset(100), &b"0123456789a"[..]), "in {piece}");
        slave.note_stored(4);
        assert_eq!((slave.stored, &slave.pending[..]), (LogOffset(104), &b"456789a"[..]));
        // A new connection begins at the log's end again.
        assert!(slave.link_down(at(4), LINK));
        slave.open(at(5), LINK, &self::own(0, 104, 100));
        assert_eq!((slave.stored, slave.pending.len(), slave.body_left), (LogOffset(104), 0, 0));
    }
}

#[test]
fn it_reports_what_it_promises() {
    let mut slave = following(&own(0, 100, 100));
    let stream = [&header(100, 40)[..], &[0; 40]].concat();
    slave.take_apart(at(0), &stream, &own(0, 100, 100), &mut file(&[])).expect("in order");
    slave.note_stored(40);
    assert_eq!(slave.due(at(1), &own(0, 150, 150)), DueToMaster::Report(LogOffset(140)), "no more than was received");
    assert_eq!(slave.due(at(1), &own(0, 150, 100)), DueToMaster::Nothing, "appended is not yet promised");
    let due = slave.due(at(1), &own(0, 150, 120));
    assert_eq!(due, DueToMaster::Report(LogOffset(120)));
    slave.say(at(1), LINK, due, &mut BytesMut::new());
    assert_eq!(slave.due(at(5_000), &own(0, 150, 120)), DueToMaster::Nothing);
    assert_eq!(slave.due(at(5_001), &own(0, 150, 120)), DueToMaster::Report(LogOffset(120)));
    assert_eq!(slave.check_silence(at(19_999)), Ok(()));
    let left =
        Left { master: Some(address(1)), link: Some(LINK), why: SlaveError::Silent { silent_ms: 20_000 }, cut: None };
    assert_eq!(slave.check_silence(at(20_000)), Err(Box::new(left)));
    assert_eq!(slave.check_silence(at(40_000)), Ok(()), "it is left once");
}

#[test]
fn logs_that_have_parted_are_not_joined() {
    let check = |own: OwnLog, epochs: &[(u32, u64)], master: &[(u32, u64)], master_end, expected| {
        let mut slave = Slave::new(BrokerId(1), ReplicaSettings::default());
        slave.open(at(0), LINK, &own);
        let (mut said, mut reply) = (BytesMut::new(), BytesMut::new());
        slave.say(at(0), LINK, slave.due(at(0), &own), &mut said);
        assert!(Handshake::decode(&said).is_ok_and(|handshake| handshake.is_some()));
        let epochs_of_master = master.iter().map(|&(epoch, start)| (Epoch(epoch), LogOffset(start)));
        epoch::encode_handshake_reply(LogOffset(master_end), Epoch(9), epochs_of_master, &mut reply);
        let found = slave.take_apart(at(0), &reply, &own, &mut file(epochs));
        assert_eq!(found, expected, "{own:?}");
    };
    let (end, point, acknowledged) = (LogOffset(300), LogOffset(250), LogOffset(300));
    let ahead = Err(SlaveError::Ahead { end, point, acknowledged });
    check(own(0, 0, 0), &[], &[(4, 0)], 900, Ok(()));
    check(own(0, 300, 300), &[(1, 0)], &[(1, 0), (2, 300)], 900, Ok(()));
    check(own(0, 300, 300), &[(1, 0)], &[(1, 0), (2, 250)], 900, ahead.clone());
    check(own(0, 300, 300), &[(1, 0)], &[(1, 0)], 250, ahead);
    let start = LogOffset(280);
    check(own(280, 300, 300), &[(1, 0)], &[(1, 0)], 250, Err(SlaveError::Hopeless { start, end, point }));
    let (ours, theirs, start) = (LogId(0), LogId(0), LogOffset(0));
    let foreign = Err(SlaveError::Foreign { ours, theirs, start, end });
    check(own(0, 300, 300), &[(1, 0)], &[(1, 7)], 250, foreign);
}

/// Connects to a master of the log 7, which ends at `end` and has had one reign. What follows from the comparison.
fn greeted(slave: &mut Slave, own: &OwnLog, end: u64, is_durable: bool) -> Result<(), SlaveError> {
    slave.open(at(0), LINK, own);
    slave.say(at(0), LINK, slave.due(at(0), own), &mut BytesMut::new());
    let mut reply = BytesMut::new();
    identity::encode_lineage(LogOffset(end), Lineage { log: LogId(7), is_durable }, &[REIGN], &mut reply);
    let table = EpochTable::new(LogId(7), vec![REIGN]).expect("one entry");
    slave.take_apart(at(0), &reply, own, &mut EpochFile::new(table))
}

const REIGN: EpochEntry = EpochEntry { epoch: Epoch(1), start: LogOffset(0), id: ReignId(70) };

#[test]
fn only_what_no_master_can_have_acknowledged_is_cut() {
    let end = LogOffset(300);
    for (is_durable, lost_at, acknowledged) in [
        // Its report of 300 may have been all that a reply waited for.
        (false, 290, Some(300)),
        (false, 150, Some(300)),
        // What was acknowledged before the confirm offset of 200 was heard of is on the master's disk.
        (true, 290, None),
        (true, 200, None),
        (true, 199, Some(200)),
    ] {
        let (own, mut slave) = (own(0, 300, 300), Slave::new(BrokerId(1), ReplicaSettings::default()));
        let begins = OwnLog { appended: LogOffset(180), promised: LogOffset(180), ..own };
        assert_eq!(greeted(&mut slave, &begins, 300, is_durable), Ok(()));
        slave.say(at(0), LINK, slave.due(at(0), &begins), &mut BytesMut::new());
        let (mut stream, reign) =
            (BytesMut::new(), TransferReign { epoch: Epoch(1), start: LogOffset(0), confirm: LogOffset(200) });
        Transfer { offset: LogOffset(180), body_bytes: 120, reign: Some(reign) }.encode(&mut stream);
        stream.extend_from_slice(&[0; 120]);
        let table = EpochTable::new(LogId(7), vec![REIGN]).expect("one entry");
        slave.take_apart(at(0), &stream, &begins, &mut EpochFile::new(table)).expect("in order");
        slave.note_stored(120);
        for _ in 0..2 {
            slave.say(at(1), LINK, slave.due(at(1), &own), &mut BytesMut::new());
        }
        assert_eq!(slave.reported, Some(end));
        let expected = match acknowledged {
            Some(acknowledged) => {
                SlaveError::Ahead { end, point: LogOffset(lost_at), acknowledged: LogOffset(acknowledged) }
            }
            None => SlaveError::Diverged { end, point: LogOffset(lost_at) },
        };
        assert_eq!(greeted(&mut slave, &own, lost_at, is_durable), Err(expected), "{is_durable} {lost_at}");
    }
    // One that was away itself has not heard what was acknowledged meanwhile.
    let mut slave = Slave::new(BrokerId(1), ReplicaSettings::default());
    let ahead = SlaveError::Ahead { end, point: LogOffset(299), acknowledged: end };
    assert_eq!(greeted(&mut slave, &own(0, 300, 300), 299, true), Err(ahead));
    slave.obey();
    let diverged = SlaveError::Diverged { end, point: LogOffset(299) };
    assert_eq!(greeted(&mut slave, &own(0, 300, 300), 299, true), Err(diverged), "who gives the roles knows");
}

#[test]
fn a_record_that_cannot_be_stored_is_asked_for_less_and_less_often() {
    let mut slave = following(&own(0, 100, 100));
    let mut waits = Vec::new();
    for _ in 0..9 {
        let why = SlaveError::Record(ReplicaError::Unproven { at: LogOffset(100) });
        slave.open(at(0), LINK, &own(0, 100, 100));
        slave.leave(at(0), why);
        let LinkState::Waiting { until } = slave.state else { panic!("{:?}", slave.state) };
        waits.push(until.ms_since(at(0)));
    }
    assert_eq!(
        waits,
        [0, 200, 400, 800, 1600, 3200, 5000, 5000, 5000],
        "once at once: it may have been damaged on its way"
    );
    slave.pending.extend_from_slice(b"sound");
    slave.next = LogOffset(105);
    slave.note_stored(5);
    assert_eq!(slave.stuck, None, "the master was mended");
}

#[test]
fn a_log_is_cut_when_two_connections_say_where() {
    let mut slave = Slave::new(BrokerId(1), ReplicaSettings::default());
    let mut cuts = Vec::new();
    for point in [250, 240, 240] {
        slave.open(at(0), LINK, &own(0, 300, 300));
        let why = SlaveError::Diverged { end: LogOffset(300), point: LogOffset(point) };
        cuts.push(slave.leave(at(0), why).cut);
    }
    assert_eq!(cuts, [None, None, Some(LogOffset(240))]);
}

#[test]
fn a_classic_master_is_known_by_its_first_bytes_heard_twice() {
    let (mut slave, mut log, mut epochs) =
        (Slave::new(BrokerId(1), ReplicaSettings::default()), empty_log(), file(&[]));
    slave.master_found(at(0), Some(address(1)));
    for expected in [StreamKind::Epoch, StreamKind::Classic] {
        assert!(slave.poll_connect(at(0), &log).is_some());
        assert!(slave.link_up(at(0), LINK, address(1), &log));
        slave.output(at(0), LINK, &log, &mut BytesMut::new());
        let left = slave.receive(at(0), LINK, &header(7, 0), &mut log, &mut epochs).expect_err("it is classic");
        assert_eq!((left.link, left.why), (Some(LINK), SlaveError::Classic));
        assert_eq!(slave.stream, expected);
    }
}

#[test]
fn nothing_of_an_epoch_is_stored_before_the_epoch_is() {
    let (mut slave, mut log, mut epochs) =
        (Slave::new(BrokerId(1), ReplicaSettings::default()), empty_log(), file(&[]));
    slave.master_found(at(0), Some(address(1)));
    assert!(slave.poll_connect(at(0), &log).is_some() && slave.link_up(at(0), LINK, address(1), &log));
    let mut buffer = BytesMut::new();
    slave.output(at(0), LINK, &log, &mut buffer);
    buffer.clear();
    let (start, confirm) = (LogOffset(0), LogOffset(0));
    epoch::encode_handshake_reply(LogOffset(400), Epoch(2), [(Epoch(2), start)].into_iter(), &mut buffer);
    let transfer = |epoch| Transfer {
        offset: LogOffset(0),
        body_bytes: 100,
        reign: Some(TransferReign { epoch: Epoch(epoch), start, confirm }),
    };
    transfer(2).encode(&mut buffer);
    slave.receive(at(0), LINK, &buffer, &mut log, &mut epochs).expect("in order");
    assert!(slave.is_following() && !slave.wants_input(LINK, &epochs), "the epoch is to be written first");
    let (generation, _) = epochs.poll_write(at(0)).expect("it is new");
    epochs.handle_written(at(0), generation, true);
    assert!(slave.wants_input(LINK, &epochs) && !slave.wants_input(LinkId(9), &epochs));
    buffer.clear();
    buffer.extend_from_slice(&[0; 100]);
    transfer(3).encode(&mut buffer);
    // What follows is of an epoch that this master has not told of, and would not lie there either.
    assert!(slave.receive(at(0), LINK, &buffer, &mut log, &mut epochs).is_err());
    assert_eq!(slave.receive(at(0), LINK, b"late", &mut log, &mut epochs), Ok(()), "it was left");
}
