//! What recovery refuses, and what it must not take; the simulator does the rest.

use super::*;
use crate::log::commit_log::tests::draft;
use crate::log::{DiskUsage, HeapTail, ends};
use crate::model::Now;
use crate::protocol::record::{Marks, Place, RecordDraft, Sized};
use crate::sim::SimDisk;

const HEADER_BYTES: usize = 24;
const SEGMENT_LEN: usize = 64 * 1024;
const SEGMENT: u64 = SEGMENT_LEN as u64;

fn settings() -> LogSettings {
    LogSettings {
        segment_bytes: SEGMENT,
        index_file_bytes: 64 * 1024,
        queue_block_entries: 8,
        key_run_entries: 16,
        cache_bytes: 1024 * 1024,
        ..LogSettings::default()
    }
}

fn recover(disk: &mut SimDisk) -> Result<Box<Log>, RecoveryError> {
    recover_to(disk, None)
}

fn recover_to(disk: &mut SimDisk, end_max: Option<LogOffset>) -> Result<Box<Log>, RecoveryError> {
    let tail = Box::new(HeapTail::new(64 * 1024));
    let mut recovery = Recovery::new(
        settings(),
        FoundStore { files: disk.list(), tail, tail_appended: None, end_max, unflushed_max: None },
    )?;
    loop {
        let answer = match recovery.step() {
            Step::Done(log) => return Ok(log),
            Step::Refused(error) => return Err(error),
            step => disk.recover(step),
        };
        recovery.supply(answer);
    }
}

/// What is refused, and that nothing was written or removed before.
fn refusal(disk: &SimDisk) -> RecoveryError {
    let tail = Box::new(HeapTail::new(64 * 1024));
    let found = FoundStore { files: disk.list(), tail, tail_appended: None, end_max: None, unflushed_max: None };
    let mut recovery = Recovery::new(settings(), found).expect("the files fit");
    loop {
        match recovery.step() {
            Step::Refused(error) => return error,
            Step::Read { file, at, len } => recovery.supply(disk.read(file, at, len).map(Bytes::from)),
            Step::Done(_) => panic!("nothing was refused"),
            Step::Write { file, .. } | Step::Flush { file } | Step::Remove { file } => panic!("{file} was touched"),
        }
    }
}

/// Stops the log in order: with a checkpoint at its end.
fn stop(mut log: Box<Log>, disk: &mut SimDisk) {
    log.begin_stop();
    while !log.is_settled() {
        turn(&mut log, disk);
    }
}

fn turn(log: &mut Log, disk: &mut SimDisk) {
    log.tick(Now::default(), DiskUsage { used_bytes: 0, total_bytes: 1 });
    if let Some(commit) = log.poll_commit() {
        let mut data = vec![0; commit.len];
        log.copy_tail(commit.from, &mut data);
        disk.write(commit.segment, commit.at, &data, None).expect("room");
        log.handle_io(commit.id, Ok(()));
    }
    if let Some(io) = log.poll_background(Now::default()) {
        log.handle_io(io.id, disk.work(&io.work, None));
    }
}

fn record(at: LogOffset, queue_offset: u64) -> Vec<u8> {
    record_of(&[1; 1000], at, queue_offset)
}

fn record_of(body: &[u8], at: LogOffset, queue_offset: u64) -> Vec<u8> {
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
        body,
        properties: b"",
        marks: Marks::default(),
    };
    let sized = Sized::new(&draft, true).expect("small");
    let mut out = vec![0; sized.size() as usize];
    sized.encode(Place { log_offset: at, queue_offset: QueueOffset(queue_offset) }, &mut out);
    out
}

/// Two segments: the first full, with its filler, the second with one record.
fn store() -> (SimDisk, Vec<u8>) {
    store_of(&[1; 1000])
}

/// Two stores of bodies of one length have their records at the same places.
fn store_of(body: &[u8]) -> (SimDisk, Vec<u8>) {
    let mut disk = SimDisk::default();
    disk.capacity = 1 << 30;
    let mut first = Vec::new();
    let mut count = 0;
    loop {
        let next = record_of(body, LogOffset(first.len() as u64), count);
        if first.len() + next.len() + FILLER_BYTES > SEGMENT_LEN {
            break;
        }
        first.extend(next);
        count += 1;
    }
    let remaining = u32::try_from(SEGMENT).expect("small") - u32::try_from(first.len()).expect("small");
    first.extend(crate::protocol::record::encode_filler(LogOffset(first.len() as u64), remaining));
    first.resize(SEGMENT_LEN, 0);
    let mut second = record_of(body, LogOffset(SEGMENT), count);
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
    let found =
        Recovery::new(settings(), FoundStore { files, tail, tail_appended: None, end_max: None, unflushed_max: None });
    assert_eq!(found.err(), Some(RecoveryError::ForeignFile { path }));
}

/// `disk` with a file of `other` in the place of its own.
fn swapped(disk: &SimDisk, other: &SimDisk, file: FileName) -> SimDisk {
    let mut swapped = disk.clone();
    let bytes = other.read(file, 0, SEGMENT_LEN).expect("there");
    swapped.write(file, 0, &bytes, None).expect("room");
    swapped
}

#[test]
fn a_segment_of_another_store_is_refused_before_anything_is_touched() {
    // A record that begins and ends in the first disk block, and one that goes on beyond.
    for len in [1000, 10_000] {
        let (mut disk, _) = store_of(&vec![1; len]);
        let (other, _) = store_of(&vec![2; len]);
        let log = recover(&mut disk).expect("sound");
        let end = log.appended();
        stop(log, &mut disk);
        for start in [0, SEGMENT] {
            let file = FileName::Segment(LogOffset(start));
            assert_eq!(refusal(&swapped(&disk, &other, file)), RecoveryError::ForeignSegment { file }, "{len} bytes");
        }
        assert_eq!(recover(&mut disk).expect("the right files are back").appended(), end);
    }
}

#[test]
fn without_its_index_files_a_store_still_knows_its_segments() {
    let (mut disk, _) = store();
    let (other, _) = store_of(&[2; 1000]);
    let log = recover(&mut disk).expect("sound");
    stop(log, &mut disk);
    assert!(disk.read(FileName::Index(0), 0, 1).is_ok(), "there is an index file");
    disk.remove(FileName::Index(0));
    let file = FileName::Segment(LogOffset(0));
    assert_eq!(refusal(&swapped(&disk, &other, file)), RecoveryError::ForeignSegment { file });
    recover(&mut disk).expect("the index is derived anew");
}

/// What version 2 said of [`store`], with nothing derived and both segments known.
fn checkpoint_of_version_2(end: LogOffset) -> Vec<u8> {
    let mut body = vec![0];
    let numbers = [SEGMENT, end.0, SEGMENT, settings().index_file_bytes, 0];
    body.extend(numbers.into_iter().flat_map(u64::to_be_bytes));
    body.extend(0_u32.to_be_bytes());
    body.extend(2_u32.to_be_bytes());
    for start in [0, SEGMENT] {
        body.extend([start, 0, 0, u64::MAX].into_iter().flat_map(u64::to_be_bytes));
    }
    body.push(0);
    body.extend(end.0.to_be_bytes());
    body.extend([0; 8]);
    let mut file = [b"RINGMQCP".as_slice(), &2_u32.to_be_bytes(), &crc32fast::hash(&body).to_be_bytes()].concat();
    file.extend((body.len() as u64).to_be_bytes());
    file.extend(body);
    file.resize(file.len().next_multiple_of(DISK_BLOCK_BYTES), 0);
    file
}

#[test]
fn a_checkpoint_without_fingerprints_is_read_and_the_next_one_has_them() {
    let (mut disk, _) = store();
    let (other, _) = store_of(&[2; 1000]);
    let end = recover(&mut disk).expect("sound").appended();
    disk.write(FileName::Checkpoint, 0, &checkpoint_of_version_2(end), None).expect("room");
    let log = recover(&mut disk).expect("sound");
    assert_eq!((log.checkpointer.replay_from(), log.appended()), (LogOffset(SEGMENT), end));
    stop(log, &mut disk);
    for start in [0, SEGMENT] {
        let file = FileName::Segment(LogOffset(start));
        assert_eq!(refusal(&swapped(&disk, &other, file)), RecoveryError::ForeignSegment { file });
    }
}

/// A checkpoint of [`store`] as version 6 had it: its references do not say how high they are.
fn checkpoint_of_version_6(mut file: Vec<u8>) -> Vec<u8> {
    // A queue's topic, number and offsets, then its references, each with its height last.
    let (count, mut at) = (HEADER_BYTES + 40, HEADER_BYTES + 44);
    assert_eq!(file[count - 40..count - 36], [1, 0, 1, b'T']);
    for _ in 0..u32::from_be_bytes(file[count..at].try_into().expect("four")) {
        assert_eq!(file.remove(at + 24), 0, "no branch");
        at += 24;
    }
    let length = usize::try_from(u64::from_be_bytes(file[16..24].try_into().expect("eight"))).expect("small");
    let length = length - (at - count - 4) / 24;
    let crc = crc32fast::hash(&file[HEADER_BYTES..HEADER_BYTES + length]);
    file[8..12].copy_from_slice(&6_u32.to_be_bytes());
    file[12..16].copy_from_slice(&crc.to_be_bytes());
    file[16..24].copy_from_slice(&(length as u64).to_be_bytes());
    file.resize(file.len().next_multiple_of(DISK_BLOCK_BYTES), 0);
    file
}

/// Where each message of the one queue lies.
fn places(log: &mut Log, disk: &SimDisk) -> Vec<LogOffset> {
    let queue = log.find_queue("T", QueueId(0)).expect("it has messages");
    let mut places = Vec::new();
    while (places.len() as u64) < log.bounds(queue).appended_max.0 {
        match log.place(queue, QueueOffset(places.len() as u64)) {
            Ok(place) => places.push(place.expect("it is there")),
            Err(block) => {
                log.supply(block, disk.read(block.file, block.at, block.len as usize).map(Bytes::from));
            }
        }
    }
    places
}

/// What it refers to stays, and is closed into branches with what comes.
#[test]
fn a_checkpoint_without_branches_is_read_and_the_next_one_has_them() {
    let (mut disk, _) = store();
    let mut log = recover(&mut disk).expect("sound");
    let before = places(&mut log, &disk);
    stop(log, &mut disk);
    let bytes = disk.list().iter().find(|file| file.path == "checkpoint").expect("there is one").size_bytes;
    let checkpoint = disk.read(FileName::Checkpoint, 0, usize::try_from(bytes).expect("small")).expect("there");
    disk.write(FileName::Checkpoint, 0, &checkpoint_of_version_6(checkpoint), None).expect("room");
    let mut log = recover(&mut disk).expect("sound");
    assert_eq!(log.checkpointer.replay_from(), log.appended(), "it was read");
    assert_eq!(places(&mut log, &disk), before);
    let queue = log.find_queue("T", QueueId(0)).expect("it has messages");
    for _ in 0..150 {
        while log.append(queue, &draft(&[1; 1000])).is_err() {
            turn(&mut log, &mut disk);
        }
    }
    stop(log, &mut disk);
    let mut log = recover(&mut disk).expect("sound");
    let heights: Vec<u8> = log.queues.get(queue).blocks.iter().map(|block| block.height).collect();
    assert_eq!(heights, [1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], "the first branch is of what was there and of what came");
    let after = places(&mut log, &disk);
    assert_eq!((after.len(), &after[..before.len()]), (before.len() + 150, &before[..]));
    assert_eq!(log.damage().index_blocks_rebuilt, 0);
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

/// The ends were kept for retention, which had not begun; then the log was cut, and grew another way. Retention must not go by them.
#[test]
fn ends_of_a_log_that_was_cut_let_nothing_go() {
    let (mut disk, _) = store();
    let mut queues = ConsumeQueues::default();
    let index = queues.find_or_create("T", QueueId(0));
    queues.get_mut(index).go_on_at(QueueOffset(64));
    let mut out = ends::begin();
    ends::put(&mut out, queues.get(index));
    let kept = ends::finish(out, LogOffset(SEGMENT + 1000), LogOffset(SEGMENT));
    for copy in 0..ends::COPIES {
        disk.write(FileName::Ends(copy), 0, &kept, None).expect("room");
    }
    let cut = LogOffset(5000);
    let log = recover_to(&mut disk, Some(cut)).expect("sound");
    assert!(log.appended() <= cut && log.checkpointer.start_max() == LogOffset(0));
    drop(log);
    for copy in 0..ends::COPIES {
        let found = ends::decode(&disk.read(FileName::Ends(copy), 0, kept.len()).expect("kept")).expect("sound");
        assert_eq!(found.start_max, LogOffset(0), "copy {copy} lets go what it does not know");
    }
}
