//! What recovery refuses, and what it must not take; the simulator does the rest.

use super::*;
use crate::log::HeapTail;
use crate::log::record::{KeysToIndex, Place, RecordDraft, Sized};
use crate::sim::SimDisk;

const SEGMENT_LEN: usize = 64 * 1024;
const SEGMENT: u64 = SEGMENT_LEN as u64;

fn settings() -> LogSettings {
    LogSettings {
        segment_bytes: SEGMENT,
        index_file_bytes: 64 * 1024,
        key_run_entries: 16,
        cache_bytes: 1024 * 1024,
        ..LogSettings::default()
    }
}

fn recover(disk: &mut SimDisk) -> Result<Box<Log>, RecoveryError> {
    let tail = Box::new(HeapTail::new(64 * 1024));
    let mut recovery =
        Recovery::new(settings(), FoundStore { files: disk.list(), tail, tail_appended: None, end_max: None })?;
    loop {
        let answer = match recovery.step() {
            Step::Done(log) => return Ok(log),
            Step::Refused(error) => return Err(error),
            Step::Read { file, at, len } => disk.read(file, at, len).map(Bytes::from),
            Step::Write { file, at, data } => disk.write(file, at, &data, None).map(|()| Bytes::new()),
            Step::Flush { .. } | Step::Remove { .. } => Ok(Bytes::new()),
        };
        recovery.supply(answer);
    }
}

fn record(at: LogOffset, queue_offset: u64) -> Vec<u8> {
    let host = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
    let draft = RecordDraft {
        topic: "T",
        queue_id: QueueId(0),
        flag: 0,
        sys_flag: 0,
        born_timestamp: 0,
        born_host: host,
        store_host: host,
        store_timestamp: 0,
        reconsume_times: 0,
        prepared_transaction_offset: 0,
        body: &[1; 1000],
        properties: b"",
        tag_code: 0,
        keys: KeysToIndex::default(),
    };
    let sized = Sized::new(&draft, true).expect("small");
    let mut out = vec![0; sized.size() as usize];
    sized.encode(Place { log_offset: at, queue_offset: QueueOffset(queue_offset) }, &mut out);
    out
}

/// Two segments: the first full, with its filler, the second with one record.
fn store() -> (SimDisk, Vec<u8>) {
    let mut disk = SimDisk::default();
    disk.capacity = 1 << 30;
    let mut first = Vec::new();
    let mut count = 0;
    loop {
        let next = record(LogOffset(first.len() as u64), count);
        if first.len() + next.len() + FILLER_BYTES > SEGMENT_LEN {
            break;
        }
        first.extend(next);
        count += 1;
    }
    let remaining = u32::try_from(SEGMENT).expect("small") - u32::try_from(first.len()).expect("small");
    first.extend(super::super::record::encode_filler(LogOffset(first.len() as u64), remaining));
    first.resize(SEGMENT_LEN, 0);
    let mut second = record(LogOffset(SEGMENT), count);
    second.resize(SEGMENT_LEN, 0);
    disk.write(FileName::Segment(LogOffset(0)), 0, &first, None).expect("room");
    disk.write(FileName::Segment(LogOffset(SEGMENT)), 0, &second, None).expect("room");
    (disk, first)
}

#[test]
fn a_sound_store_is_read_to_its_end() {
    let (mut disk, _) = store();
    let log = recover(&mut disk).expect("sound");
    let end = LogOffset(SEGMENT).plus(record(LogOffset(SEGMENT), 0).len() as u64);
    assert_eq!((log.start(), log.appended(), log.flushed()), (LogOffset(0), end, end));
}

#[test]
fn damage_before_the_end_is_refused_and_not_cut_off() {
    let (mut disk, mut first) = store();
    first[3000] ^= 1;
    disk.write(FileName::Segment(LogOffset(0)), 0, &first, None).expect("room");
    let found = recover(&mut disk).err().expect("refused");
    let at = 2 * record(LogOffset(0), 0).len() as u64;
    let file = FileName::Segment(LogOffset(0));
    assert_eq!(found, RecoveryError::Damaged { file, at, known_end: LogOffset(SEGMENT) });
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let segment = |start: u64| FileName::Segment(LogOffset(start * SEGMENT));
    let (disk, _) = store();
    let mut foreign = disk.clone();
    foreign.write(segment(7), 0, &[0; 512], None).expect("room");
    let expected = RecoveryError::WrongSize { file: segment(7), found: 512, expected: SEGMENT };
    assert_eq!(recover(&mut foreign).err(), Some(expected));
    let mut hole = disk.clone();
    hole.write(segment(3), 0, &[0; SEGMENT_LEN], None).expect("room");
    assert_eq!(recover(&mut hole).err(), Some(RecoveryError::MissingSegment { file: segment(2) }));
    let mut cut = disk;
    cut.remove(segment(1));
    assert_eq!(recover(&mut cut).err(), Some(RecoveryError::MissingSegment { file: segment(1) }));
    let path = "commitlog/notes.txt".to_owned();
    let files = vec![FoundFile { path: path.clone(), size_bytes: 5 }];
    let tail = Box::new(HeapTail::new(64 * 1024));
    let found = Recovery::new(settings(), FoundStore { files, tail, tail_appended: None, end_max: None });
    assert_eq!(found.err(), Some(RecoveryError::ForeignFile { path }));
}

#[test]
fn an_old_record_of_a_recycled_segment_is_not_taken() {
    let (mut disk, _) = store();
    // Where the log ends, a sound record of another place.
    let one = record(LogOffset(SEGMENT), 0).len();
    let count = SEGMENT / one as u64;
    let mut second = record(LogOffset(SEGMENT), count);
    second.extend(record(LogOffset(12_345), count + 1));
    second.resize(SEGMENT_LEN, 0);
    disk.write(FileName::Segment(LogOffset(SEGMENT)), 0, &second, None).expect("room");
    let log = recover(&mut disk).expect("sound");
    assert_eq!(log.appended(), LogOffset(SEGMENT).plus(one as u64));
}

#[test]
fn what_an_unflushed_write_left_behind_the_end_is_cleared() {
    let (mut disk, _) = store();
    let one = record(LogOffset(SEGMENT), 0).len();
    let count = SEGMENT / one as u64;
    let segment = FileName::Segment(LogOffset(SEGMENT));
    // The record after the end is lost, the one after that has survived.
    let mut second = record(LogOffset(SEGMENT), count);
    second.resize(2 * one, 0);
    second.extend(record(LogOffset(SEGMENT).plus(2 * one as u64), count + 2));
    second.resize(SEGMENT_LEN, 0);
    disk.write(segment, 0, &second, None).expect("room");
    let end = LogOffset(SEGMENT).plus(one as u64);
    assert_eq!(recover(&mut disk).expect("sound").appended(), end);
    let left = disk.read(segment, 0, SEGMENT_LEN).expect("there");
    assert!(left[one..].iter().all(|byte| *byte == 0), "nothing lies behind the end");
    assert!(left[..one] == second[..one], "the log itself stays");
}
