//! What an operator can have done about a log that is damaged. Everything is said before it is done, and nothing is destroyed: what is taken out
//! of the log is kept in `shard-N/aside-SECONDS`.

#![expect(clippy::disallowed_methods, reason = "a shell's: files are read and written here, and named by the clock")]

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use super::segment::{CLAIM_BYTES, Content, DamagedStretch, Findings, SegmentFile, segments};
use super::{RepairError, io_of, text_of};
use crate::files;
use crate::log::{FileName, RecoveryError};
use crate::model::LogOffset;
use crate::protocol::record::{Check, RecordView, claims_place, peek_size};
use crate::shard::StartError;
use crate::shard::offline::{LogLineage, ShardLook};

/// Files that speak of the log's end, and would call a cut damage.
const SPEAK_OF_THE_END: [&str; 2] = ["checkpoint", "run"];

/// Takes damaged stretches and missing segments from another store of the same log, if its bytes are sound.
pub(super) fn from_replica(
    look: &ShardLook,
    other: &Path,
    found: &Findings,
    is_real: bool,
) -> Result<Vec<String>, RepairError> {
    let same_until = same_until(&look.folder, other)?;
    let mut does = Vec::new();
    let mut damages = found.damages.clone();
    match &look.log {
        Err(StartError::Recovery {
            source: RecoveryError::MissingSegment { file: FileName::Segment(start) }, ..
        }) => {
            // Those at the log's beginning and end, which nothing else shows; where there is none, all that the replica has begun.
            let missing = if segments(&look.folder)?.is_empty() {
                begun_segments(other)?
            } else {
                let to = look.segment_bytes;
                let step = usize::try_from(to).unwrap_or(usize::MAX);
                (start.0..found.start.max(start.0 + 1)).step_by(step).map(|segment| (segment, to)).collect()
            };
            let known: Vec<u64> = damages.iter().map(|damage| damage.segment).collect();
            let missing = missing.into_iter().filter(|(segment, _)| !known.contains(segment));
            damages.extend(missing.map(|(segment, to)| DamagedStretch { segment, from: 0, to, is_missing: true }));
        }
        Err(StartError::Recovery { source: RecoveryError::WrongSize { file, found, expected }, .. })
            if found < expected =>
        {
            does.push(extend(look, &look.folder.join(file.to_string()), *expected, is_real)?);
        }
        _ => {}
    }
    let aside = aside(&look.folder);
    for damage in damages {
        let DamagedStretch { segment, from, to, is_missing } = damage;
        let name = format!("commitlog/{segment:020}");
        let theirs = other.join(&name);
        if segment + to > same_until.0 {
            return Err(RepairError::OtherBranch { path: text_of(&theirs), from, to, same_until });
        }
        let mut source = SegmentFile::open(&theirs, segment, if is_missing { to } else { look.segment_bytes })?;
        let is_sound = if is_missing { source.claims(0) } else { is_sound(&mut source, from, to) };
        if !is_sound {
            return Err(RepairError::NotSoundThere { path: text_of(&theirs), from, to });
        }
        does.push(format!("take byte {from} to {to} of {name} from {}", other.display()));
        if is_real {
            take(&look.folder.join(&name), &mut source, &damage, &aside)?;
        }
    }
    Ok(does)
}

/// Starts and sizes of the segments that hold something.
fn begun_segments(shard: &Path) -> Result<Vec<(u64, u64)>, RepairError> {
    let mut begun = Vec::new();
    for (start, path) in segments(shard)? {
        let bytes = fs::metadata(&path).map_err(io_of(&path))?.len();
        if SegmentFile::open(&path, start, bytes)?.claims(0) {
            begun.push((start, bytes));
        }
    }
    Ok(begun)
}

fn is_sound(source: &mut SegmentFile, from: u64, to: u64) -> bool {
    let mut at = from;
    while at < to {
        match source.step(at) {
            Content::Record(size) => at += size,
            Content::Filler if to == source.len => at = to,
            Content::Filler | Content::Unsound => return false,
        }
    }
    at == to
}

/// Copies a stretch, and keeps what it replaces.
fn take(path: &Path, source: &mut SegmentFile, damage: &DamagedStretch, aside: &Path) -> Result<(), RepairError> {
    let DamagedStretch { segment, from, to, is_missing } = *damage;
    let file = OpenOptions::new().read(true).write(true).create(is_missing).truncate(false).open(path);
    let file = file.map_err(io_of(path))?;
    if is_missing {
        file.set_len(to).map_err(io_of(path))?;
    } else {
        let mut old = vec![0; usize::try_from(to - from).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut old, from).map_err(io_of(path))?;
        let kept = aside.join(format!("{segment:020}-{from}"));
        fs::create_dir_all(aside).and_then(|()| fs::write(&kept, &old)).map_err(io_of(&kept))?;
        flush(&kept)?;
    }
    let mut at = from;
    while at < to {
        let len = usize::try_from(to - at).unwrap_or(usize::MAX).min(1 << 20);
        file.write_all_at(source.bytes(at, len), at).map_err(io_of(path))?;
        at += len as u64;
    }
    flush(path)
}

/// Up to where two shards have the same log, by the reigns of its masters.
fn same_until(own: &Path, other: &Path) -> Result<LogOffset, RepairError> {
    let read = |shard| LogLineage::read(shard).map_err(RepairError::NotClaimed);
    let (ours, theirs) = (read(own)?, read(other)?);
    ours.same_until(&theirs).ok_or_else(|| RepairError::OtherLog {
        other: text_of(other),
        theirs: theirs.name().to_owned(),
        own: ours.name().to_owned(),
        folder: text_of(own),
    })
}

/// Lets the log end where a start refuses it; what a start takes is not cut.
pub(super) fn cut(look: &ShardLook, found: &Findings, is_real: bool) -> Result<Vec<String>, RepairError> {
    let refusal = match &look.log {
        Ok(_) => return Ok(Vec::new()),
        Err(StartError::Run(_)) => return without_run(look, is_real),
        Err(StartError::Recovery { source, .. }) => source,
        Err(other) => return Err(RepairError::NoCut(other.to_string())),
    };
    match refusal {
        RecoveryError::Damaged { file: FileName::Segment(start), at, .. } => end_at(look, found, start.0, *at, is_real),
        RecoveryError::MissingSegment { file: FileName::Segment(start) }
            if segments(&look.folder)?.iter().any(|(there, _)| *there < start.0) =>
        {
            end_at(look, found, start.0, 0, is_real)
        }
        RecoveryError::WrongSize { file, found, expected } if found < expected => {
            Ok(vec![extend(look, &look.folder.join(file.to_string()), *expected, is_real)?])
        }
        RecoveryError::DamagedTail { at, known_end } => {
            let first = format!(
                "write what only the tail has up to {at} into the log of {}, and go on without what it has from there to {known_end}",
                look.folder.display()
            );
            let mut does = vec![first];
            does.extend(write_tail(look, *at, &aside(&look.folder), is_real)?);
            Ok(does)
        }
        other => Err(RepairError::NoCut(other.to_string())),
    }
}

/// A shard whose `run` is damaged: what its tail has goes into the log, since a start would not take it any more.
fn without_run(look: &ShardLook, is_real: bool) -> Result<Vec<String>, RepairError> {
    let (aside, run) = (aside(&look.folder), look.folder.join("run"));
    let mut does = Vec::new();
    if let Some(tail) = &look.tail {
        does.push(format!(
            "write what only the tail has, up to {}, into the log of {}",
            tail.appended,
            look.folder.display()
        ));
        does.extend(write_tail(look, tail.appended, &aside, is_real)?);
    } else {
        does.push(no_tail(look));
    }
    does.push(format!("move {} to {}", run.display(), aside.display()));
    if is_real {
        fs::create_dir_all(&aside).and_then(|()| fs::rename(&run, aside.join("run"))).map_err(io_of(&run))?;
        flush(&aside)?;
        flush(&look.folder)?;
    }
    Ok(does)
}

/// Gives a segment that was cut short its size; what it lacks is zeros then, and damage like any other.
fn extend(look: &ShardLook, path: &Path, bytes: u64, is_real: bool) -> Result<String, RepairError> {
    if is_real {
        let file = OpenOptions::new().write(true).open(path).map_err(io_of(path))?;
        file.set_len(bytes).and_then(|()| file.sync_all()).map_err(io_of(path))?;
    }
    let folder = look.folder.display();
    Ok(format!("make {} {bytes} bytes long again, with zeros at its end; then look at {folder} anew", path.display()))
}

/// Lets the log end at byte `at` of a segment, which is made if it is missing.
fn end_at(
    look: &ShardLook,
    found: &Findings,
    segment: u64,
    at: u64,
    is_real: bool,
) -> Result<Vec<String>, RepairError> {
    let shard = &look.folder;
    if found.start > 0 && !shard.join("queues-0").exists() && !shard.join("queues-1").exists() {
        return Err(RepairError::EndsInCheckpoint);
    }
    let aside = aside(shard);
    let records = tail_records(look, found.end.max(segment + at));
    let end = look.tail.as_ref().map_or(0, |tail| tail.appended.0).max(found.end);
    let kept_in = aside.display();
    let mut does = vec![format!(
        "end the log of {} at {} of {end}; what lies behind is kept in {kept_in}",
        shard.display(),
        segment + at
    )];
    if !records.is_empty() {
        does.push(format!("keep in the segments there the {} messages that only the tail has", records.len()));
    }
    does.push(move_tail(look, &aside, false)?.unwrap_or_else(|| no_tail(look)));
    let path = shard.join(format!("commitlog/{segment:020}"));
    let later = segments(shard)?.into_iter().filter(|(start, _)| *start > segment).map(|(_, path)| path);
    let speak = SPEAK_OF_THE_END.iter().map(|name| shard.join(name)).filter(|path| path.exists());
    let moved: Vec<PathBuf> = later.chain(speak).collect();
    does.extend(moved.iter().map(|path| format!("move {} aside", path.display())));
    if !is_real {
        return Ok(does);
    }
    fs::create_dir_all(&aside).map_err(io_of(&aside))?;
    if path.exists() {
        let kept = aside.join(format!("{segment:020}"));
        fs::copy(&path, &kept).map_err(io_of(&kept))?;
        flush(&kept)?;
    }
    for path in &moved {
        let kept = aside.join(path.file_name().unwrap_or_default());
        fs::rename(path, &kept).map_err(io_of(path))?;
    }
    keep_records(look.segment_bytes, &records, &aside)?;
    move_tail(look, &aside, true)?;
    for folder in [shard.join("commitlog"), shard.clone()] {
        flush(&folder)?;
    }
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(io_of(&path))?;
    // A file with a hole there reads as zeros, and keeps its size.
    file.set_len(at).and_then(|()| file.set_len(look.segment_bytes)).map_err(io_of(&path))?;
    flush(&path)?;
    Ok(does)
}

/// Sound records of the tail from `from` on, with their places.
fn tail_records(look: &ShardLook, from: u64) -> Vec<(u64, Vec<u8>)> {
    let Some(tail) = &look.tail else { return Vec::new() };
    let mut at = from.max(tail.low().0);
    let mut records = Vec::new();
    // In pieces: what is looked at one byte further on each time is copied once.
    let (mut window, mut window_at) = (Vec::new(), at);
    while at + (CLAIM_BYTES as u64) <= tail.appended.0 {
        if at + CLAIM_BYTES as u64 > window_at + window.len() as u64 {
            (window, window_at) = (tail.bytes(LogOffset(at), 1 << 20), at);
        }
        let head = usize::try_from(at - window_at).ok().and_then(|from| window.get(from..)).unwrap_or_default();
        let size = peek_size(head).ok().filter(|_| claims_place(head, LogOffset(at)));
        let record = size.map(|size| tail.bytes(LogOffset(at), size as usize));
        match record.filter(|record| RecordView::decode(record, Some(LogOffset(at)), Check::Crc).is_ok()) {
            Some(record) => {
                let size = record.len() as u64;
                records.push((at, record));
                at += size;
            }
            None => at += 1,
        }
    }
    records
}

/// Puts records at their places into the segments that are kept.
fn keep_records(segment_bytes: u64, records: &[(u64, Vec<u8>)], aside: &Path) -> Result<(), RepairError> {
    for segment in records.chunk_by(|a, b| a.0 / segment_bytes == b.0 / segment_bytes) {
        let Some((first, _)) = segment.first() else { continue };
        let start = first / segment_bytes * segment_bytes;
        let path = aside.join(format!("{start:020}"));
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&path).map_err(io_of(&path))?;
        file.set_len(segment_bytes).map_err(io_of(&path))?;
        for (at, record) in segment {
            file.write_all_at(record, at - start).map_err(io_of(&path))?;
        }
        flush(&path)?;
    }
    Ok(())
}

/// Writes what only the tail has up to `end` into the log, and moves its file aside.
fn write_tail(look: &ShardLook, end: LogOffset, aside: &Path, is_real: bool) -> Result<Option<String>, RepairError> {
    if is_real {
        look.take_tail(end)?;
    }
    move_tail(look, aside, is_real)
}

/// Moves the tail's file aside, which is on another file system.
fn move_tail(look: &ShardLook, aside: &Path, is_real: bool) -> Result<Option<String>, RepairError> {
    let Some(tail) = &look.tail else { return Ok(None) };
    let kept = aside.join("tail");
    if is_real {
        fs::create_dir_all(aside).and_then(|()| fs::copy(&tail.path, &kept)).map_err(io_of(&kept))?;
        flush(&kept)?;
        fs::remove_file(&tail.path).map_err(io_of(&tail.path))?;
        // Nobody is to miss it. A `run` that is damaged is taken away as well, and one that speaks of the end.
        if look.folder.join("run").exists() && !matches!(look.log, Err(StartError::Run(_))) {
            look.forget_tail()?;
        }
    }
    Ok(Some(format!("move the tail {} to {}", tail.path.display(), kept.display())))
}

/// What only a tail had would be lost, if there was one elsewhere.
fn no_tail(look: &ShardLook) -> String {
    let (folder, tails) = (look.folder.display(), look.tails.display());
    format!(
        "go on without a tail, since there is no tail of {folder} in {tails}; if tailPath is another folder, say --tails"
    )
}

/// Makes a file and its name durable.
fn flush(path: &Path) -> Result<(), RepairError> {
    let flushed = files::flush(path).and_then(|()| path.parent().map_or(Ok(()), files::flush_folder));
    flushed.map_err(io_of(path))
}

fn aside(shard: &Path) -> PathBuf {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    shard.join(format!("aside-{seconds}"))
}
