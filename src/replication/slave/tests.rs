//! A slave that is told numbers instead of having a log, and hears streams in pieces.

use super::*;
use crate::limits::{EPOCH_JUMP_MAX, EPOCH_MAX};
use crate::log::{HeapTail, LogSettings};
use crate::model::{Now, QueueId, QueueOffset};
use crate::protocol::ha::{Lineage, TransferReign, epoch, identity};
use crate::protocol::record::{Marks, Place, RecordDraft, Sized};
use crate::replication::epoch::EpochError;

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

/// Begins to connect if it is time for that.
fn connect(slave: &mut Slave, now: MonoNs, own: &OwnLog) -> Option<SocketAddr> {
    let address = slave.due_to_connect(now, own)?;
    slave.state = LinkState::Connecting;
    Some(address)
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
    assert!(connect(&mut slave, at(0), own).is_some());
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
    assert_eq!(connect(&mut slave, at(0), &own), None, "no master is known");
    assert_eq!(slave.master_found(at(0), Some(address(1))), None);
    let (mut now, mut waits) = (0, Vec::new());
    assert_eq!(connect(&mut slave, at(now), &own), Some(address(1)));
    for _ in 0..8 {
        assert_eq!(connect(&mut slave, at(now), &own), None, "one at a time");
        slave.link_failed(at(now));
        let since = now;
        while connect(&mut slave, at(now), &own).is_none() {
            now += 100;
        }
        waits.push(now - since);
    }
    assert_eq!(waits, [100, 200, 400, 800, 1000, 1000, 1000, 1000]);
    slave.link_failed(at(now));
    assert_eq!(connect(&mut slave, at(now), &own), None);
    slave.master_found(at(now), Some(address(2)));
    assert_eq!(connect(&mut slave, at(now), &own), Some(address(2)));
}

#[test]
fn a_master_that_moves_is_left_wherever_the_connection_is() {
    let (mut slave, mut log) = (Slave::new(BrokerId(1), ReplicaSettings::default()), empty_log());
    slave.master_found(at(0), Some(address(1)));
    assert_eq!(slave.poll_connect(at(0), &mut log, &file(&[])), Some(address(1)));
    assert_eq!(slave.master_found(at(0), Some(address(2))), None, "it is being connected to");
    assert!(!slave.link_up(at(0), LINK, address(1), &log), "and not wanted any more");
    assert_eq!(slave.poll_connect(at(100), &mut log, &file(&[])), Some(address(2)));
    assert!(slave.link_up(at(100), LinkId(2), address(2), &log));
    assert_eq!(slave.master_found(at(100), None), Some(LinkId(2)));
    assert_eq!(slave.poll_connect(at(10_000), &mut log, &file(&[])), None);
    assert!(!slave.link_down(at(100), LinkId(2)), "it was left already");
}

#[test]
fn it_connects_when_all_of_its_log_is_promised() {
    let mut slave = Slave::new(BrokerId(1), ReplicaSettings::default());
    slave.master_found(at(0), Some(address(1)));
    assert_eq!(connect(&mut slave, at(0), &own(0, 100, 60)), None);
    assert!(connect(&mut slave, at(1), &own(0, 100, 100)).is_some());
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
    identity::encode_lineage(
        LogOffset(end),
        Lineage { log: LogId(7), is_durable, can_be_asked: false },
        &[REIGN],
        &mut reply,
    );
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
        assert!(slave.poll_connect(at(0), &mut log, &file(&[])).is_some());
        assert!(slave.link_up(at(0), LINK, address(1), &log));
        slave.output(at(0), LINK, &mut log, &mut BytesMut::new());
        let left = slave.receive(at(0), LINK, &header(7, 0), &mut log, &mut epochs).expect_err("it is classic");
        assert_eq!((left.link, left.why), (Some(LINK), SlaveError::Classic));
        assert_eq!(slave.stream, expected);
    }
}

/// A log with a segment.
fn ready_log() -> Log {
    let (mut log, now) = (empty_log(), Now::default());
    while let Some(io) = log.poll_background(now) {
        log.handle_io(io.id, Ok(()));
    }
    log
}

/// A record as a master stores it at `at`, as number `number` of its queue.
fn record(at: u64, number: u64, body: &[u8]) -> Vec<u8> {
    let host = SocketAddr::from(([10, 0, 0, 9], 10911));
    let draft = RecordDraft {
        topic: "T",
        queue_id: QueueId(0),
        flag: 0,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        born_host: host,
        store_host: host,
        store_timestamp: 1_700_000_000_000,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body,
        properties: b"",
        marks: Marks::of(b""),
    };
    let sized = Sized::new(&draft, true).expect("small");
    let mut bytes = vec![0; sized.size() as usize];
    sized.encode(Place { log_offset: LogOffset(at), queue_offset: QueueOffset(number) }, &mut bytes);
    bytes
}

/// A slave that was answered by a master of the log 7 whose reigns these are.
fn answered(log: &mut Log, epochs: &mut EpochFile, reigns: &[EpochEntry]) -> (Slave, Result<(), Box<Left>>) {
    let mut slave = Slave::new(BrokerId(1), ReplicaSettings::default());
    slave.master_found(at(0), Some(address(1)));
    assert!(slave.poll_connect(at(0), log, epochs).is_some() && slave.link_up(at(0), LINK, address(1), log));
    let mut buffer = BytesMut::new();
    slave.output(at(0), LINK, log, &mut buffer);
    buffer.clear();
    let lineage = Lineage { log: LogId(7), is_durable: false, can_be_asked: false };
    identity::encode_lineage(LogOffset(4000), lineage, reigns, &mut buffer);
    let result = slave.receive(at(0), LINK, &buffer, log, epochs);
    slave.output(at(0), LINK, log, &mut buffer);
    slave.output(at(0), LINK, log, &mut buffer);
    (slave, result)
}

fn reign(epoch: u32, start: u64) -> EpochEntry {
    EpochEntry { epoch: Epoch(epoch), start: LogOffset(start), id: ReignId(u64::from(epoch)) }
}

fn transfer_of(reign: EpochEntry, offset: u64, body: &[u8]) -> Vec<u8> {
    let (epoch, start) = (reign.epoch, reign.start);
    let of = Some(TransferReign { epoch, start, confirm: LogOffset(0) });
    let mut bytes = BytesMut::new();
    Transfer { offset: LogOffset(offset), body_bytes: body.len(), reign: of }.encode(&mut bytes);
    bytes.extend_from_slice(body);
    bytes.to_vec()
}

#[test]
fn a_reign_is_written_when_its_first_record_is_sound_and_before_that_is_stored() {
    let (mut log, mut epochs) = (ready_log(), EpochFile::new(EpochTable::default()));
    let first = record(0, 0, b"of the first reign");
    let second_at = first.len() as u64;
    let reigns = [reign(2, 0), reign(4, second_at)];
    let (mut slave, result) = answered(&mut log, &mut epochs, &reigns);
    assert_eq!(result, Ok(()));
    let stream =
        [transfer_of(reigns[0], 0, &first), transfer_of(reigns[1], second_at, &record(second_at, 1, b"x"))].concat();
    let (most, rest) = stream.split_at(stream.len() - 1);
    let (front, middle) = most.split_at(epoch::HEADER_BYTES + 20);
    slave.receive(at(0), LINK, front, &mut log, &mut epochs).expect("in order");
    assert!(epochs.poll_write(at(0)).is_none(), "the first record is not whole");
    slave.receive(at(0), LINK, middle, &mut log, &mut epochs).expect("in order");
    assert!(slave.is_following() && !slave.wants_input(LINK, &epochs), "the epoch is to be written first");
    assert_eq!(log.appended(), LogOffset(0));
    let (generation, _) = epochs.poll_write(at(0)).expect("it is new");
    epochs.handle_written(at(0), generation, true);
    slave.store(at(0), &mut log, &mut epochs).expect("sound");
    assert_eq!(log.appended(), LogOffset(second_at));
    assert!(epochs.poll_write(at(0)).is_none() && slave.wants_input(LINK, &epochs), "the second one is not whole");
    slave.receive(at(0), LINK, rest, &mut log, &mut epochs).expect("in order");
    let (generation, text) = epochs.poll_write(at(0)).expect("it is new");
    assert!(text.ends_with(&format!("\n4 {second_at} 0000000000000004\n")), "{text}");
    epochs.handle_written(at(0), generation, true);
    slave.store(at(0), &mut log, &mut epochs).expect("sound");
    assert!(log.appended() > LogOffset(second_at));
}

#[test]
fn a_reign_that_only_a_header_tells_of_is_not_written() {
    let (mut log, mut epochs) = (ready_log(), EpochFile::new(EpochTable::default()));
    let (mut slave, _) = answered(&mut log, &mut epochs, &[reign(2, 0)]);
    let unsound = transfer_of(reign(2, 0), 0, &[7; 100]);
    let left = slave.receive(at(0), LINK, &unsound, &mut log, &mut epochs).expect_err("no record");
    assert!(matches!(left.why, SlaveError::Record(_)), "{}", left.why);
    assert!(epochs.poll_write(at(0)).is_none() && epochs.table().last().is_none());
    // Nor one that the master has not told of.
    let (mut slave, _) = answered(&mut log, &mut epochs, &[reign(2, 0)]);
    let untold = transfer_of(reign(3, 0), 0, &record(0, 0, b"x"));
    assert!(slave.receive(at(0), LINK, &untold, &mut log, &mut epochs).is_err());
    assert!(epochs.poll_write(at(0)).is_none());
}

#[test]
fn nobody_uses_up_the_numbers_of_reigns() {
    let check = |known: Option<u32>, told: &[u32], refused: bool| {
        let (mut log, mut epochs) = (ready_log(), EpochFile::new(EpochTable::default()));
        let mut reigns = Vec::new();
        if let Some(known) = known {
            let bytes = record(0, 0, b"x");
            assert_eq!(log.append_replicated(LogOffset(0), &bytes), Ok(bytes.len()));
            reigns.push(reign(known, 0));
            epochs = EpochFile::new(EpochTable::new(LogId(7), reigns.clone()).expect("one"));
        }
        reigns.extend(told.iter().zip(1000..).map(|(epoch, start)| reign(*epoch, start)));
        let (mut slave, end) = (Slave::new(BrokerId(1), ReplicaSettings::default()), log.appended().0);
        slave.open(at(0), LINK, &own(0, end, end));
        slave.say(at(0), LINK, DueToMaster::Handshake, &mut BytesMut::new());
        let mut buffer = BytesMut::new();
        let lineage = Lineage { log: LogId(7), is_durable: false, can_be_asked: false };
        identity::encode_lineage(LogOffset(4000), lineage, &reigns, &mut buffer);
        let result = slave.receive(at(0), LINK, &buffer, &mut log, &mut epochs);
        let is_refused =
            result.is_err_and(|left| matches!(left.why, SlaveError::Epochs(EpochError::Implausible { .. })));
        assert_eq!(is_refused, refused, "{known:?} {told:?}");
    };
    check(Some(3), &[4, 900], false);
    check(Some(3), &[4, i32::MAX.unsigned_abs()], true);
    check(Some(3), &[3 + EPOCH_JUMP_MAX], false);
    check(Some(3), &[4 + EPOCH_JUMP_MAX], true);
    check(Some(3), &[1 << 20, 1 << 21, 3 << 20], false);
    check(None, &[500_000_000], false);
    check(None, &[EPOCH_MAX], false);
    check(None, &[EPOCH_MAX + 1], true);
}

/// A log of one epoch without names, that ends with `bodies`.
fn old_log(bodies: &[&[u8]]) -> (Log, EpochFile) {
    let mut log = ready_log();
    for (number, body) in (0..).zip(bodies) {
        let at = log.appended();
        let bytes = record(at.0, number, body);
        assert_eq!(log.append_replicated(at, &bytes), Ok(bytes.len()));
    }
    while let Some(commit) = log.poll_commit() {
        log.handle_io(commit.id, Ok(()));
    }
    (log, file(&[(1, 0)]))
}

/// Names prove nothing here: all logs were made before there were any.
#[test]
fn a_log_without_a_name_is_compared_byte_for_byte() {
    let nameless = EpochEntry { epoch: Epoch(1), start: LogOffset(0), id: ReignId::default() };
    let bodies: [&[u8]; 3] = [b"one", b"two", b"three"];
    for (theirs, is_same) in [(b"three", true), (b"THREE", false)] {
        let (mut log, mut epochs) = old_log(&bodies);
        let end = log.appended();
        let master: Vec<u8> = bodies[..2]
            .iter()
            .copied()
            .chain([&theirs[..], b"four"])
            .zip(0..)
            .fold(Vec::new(), |all, (body, number)| [&all[..], &record(all.len() as u64, number, body)].concat());
        let (mut slave, result) = answered(&mut log, &mut epochs, &[nameless, reign(2, end.0)]);
        assert_eq!(result, Ok(()));
        assert!(!slave.is_following() && slave.followed().is_none(), "not before it is proven");
        assert_eq!(slave.reported, Some(LogOffset(1)), "from the first record on, of which one byte is left out");
        let end_index = usize::try_from(end.0).expect("small");
        let stream = [
            transfer_of(nameless, 1, &master[1..end_index]),
            transfer_of(reign(2, end.0), end.0, &master[end_index..]),
        ]
        .concat();
        let received = slave.receive(at(0), LINK, &stream, &mut log, &mut epochs);
        assert_eq!(log.appended(), end, "nothing is stored yet");
        if is_same {
            assert_eq!((received, slave.is_following()), (Ok(()), true));
            for written in ["log 00000000000000000000000000000007\n1 0 unknown\n", "2 "] {
                let (generation, text) = epochs.poll_write(at(0)).expect("the name, then the reign");
                assert!(text.contains(written), "{text}");
                epochs.handle_written(at(0), generation, true);
                slave.store(at(0), &mut log, &mut epochs).expect("sound");
            }
            assert_eq!(log.appended(), LogOffset(master.len() as u64));
        } else {
            let left = received.expect_err("another log").why;
            assert!(matches!(left, SlaveError::Unlike { .. }), "{left}");
            assert!(epochs.poll_write(at(0)).is_none() && !epochs.table().log().is_known());
            let mut said = BytesMut::new();
            slave.output(at(0), LINK, &mut log, &mut said);
            let said = Statement::decode(&said).expect("a statement").expect("whole");
            assert_eq!(said.verdict, LogVerdict::Stranger, "the master hears of it");
            let (_, surplus) = left.surplus().expect("it can be given up");
            assert_eq!(surplus, end);
        }
    }
}
