//! The files of a store whose node does not run: looked through, and mended.
//!
//! Layouts: the table of files in ARCHITECTURE.md, and `record` for what a segment holds. A segment is `commitlog/` and the log offset of its first
//! byte in 20 digits; all have the same size.

#![allow(clippy::disallowed_methods, reason = "this tool works on files")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use ringmq_protocol::model::LogOffset;
use ringmq_protocol::record::{Check, MAGIC_FILLER, RecordView, claims_place, is_filler, peek_size};

use crate::output::Output;
use crate::wire::AdminError;

/// Bytes that are read at once; more if a record is longer.
const WINDOW_BYTES: usize = 4 * 1024 * 1024;
/// Bytes that show whether something claims its place.
const CLAIM_BYTES: usize = 36;
/// Files that speak of the log's end, and would call a cut damage.
const SPEAK_OF_THE_END: [&str; 2] = ["checkpoint", "run"];

#[derive(Args)]
pub(crate) struct CheckArguments {
    /// The store's folder: storePathRootDir.
    folder: PathBuf,
}

#[derive(Args)]
pub(crate) struct RepairArguments {
    /// The store's folder: storePathRootDir.
    folder: PathBuf,
    /// Take what is damaged from the store of a replica: its folder, of a node that does not run, or a copy.
    #[arg(long, value_name = "FOLDER", conflicts_with = "cut")]
    from: Option<PathBuf>,
    /// Let the log end at its first damage. What lies behind is moved aside, not destroyed.
    #[arg(long)]
    cut: bool,
    /// Do it; without, it is only said what would be done.
    #[arg(long)]
    yes: bool,
}

/// A stretch of a segment in which there is no sound record.
#[derive(Debug, PartialEq, Eq)]
struct Damage {
    segment: u64,
    /// Bytes in the file.
    from: u64,
    to: u64,
}

/// What was found in one shard.
#[derive(Debug, Default)]
struct Found {
    records: u64,
    start: u64,
    end: u64,
    damages: Vec<Damage>,
}

/// Says what is wrong with the log of each shard.
pub(crate) fn check(output: Output, arguments: &CheckArguments) -> Result<(), AdminError> {
    let _lock = claim(&arguments.folder)?;
    let (mut rows, mut is_sound) = (Vec::new(), true);
    for shard in shards(&arguments.folder)? {
        let found = look_through(&shard)?;
        let name = shard.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let sum = format!("{} messages from {} to {}", found.records, found.start, found.end);
        rows.push(vec![name.clone(), String::new(), String::new(), String::new(), sum]);
        for Damage { segment, from, to } in &found.damages {
            is_sound = false;
            let (file, bytes) = (format!("commitlog/{segment:020}"), (to - from).to_string());
            rows.push(vec![name.clone(), file, from.to_string(), bytes, "damaged; sound records follow".to_owned()]);
        }
    }
    output.table(&["SHARD", "FILE", "BYTE", "BYTES", "STATE"], &rows);
    if is_sound {
        return Ok(());
    }
    let sentence = "the store is damaged, unless its node was ended by a power loss and these are the last bytes it wrote; see `store repair`";
    Err(AdminError::Usage(sentence.to_owned()))
}

/// Mends what can be mended, or lets the log end before it.
pub(crate) fn repair(output: Output, arguments: &RepairArguments) -> Result<(), AdminError> {
    let _lock = claim(&arguments.folder)?;
    let _other = arguments.from.as_deref().map(claim).transpose()?;
    let mut lacks_yes = false;
    for shard in shards(&arguments.folder)? {
        let found = look_through(&shard)?;
        if found.damages.is_empty() {
            continue;
        }
        let does = match (&arguments.from, arguments.cut) {
            (Some(other), _) => {
                let other = other.join(shard.file_name().unwrap_or_default());
                mend(&shard, &other, &found, arguments.yes)?
            }
            (None, true) => cut(&shard, &found, arguments.yes)?,
            (None, false) => {
                let sentence = format!(
                    "{} is damaged: say --from FOLDER to take the bytes from a replica's store, or --cut to let the log end there",
                    shard.display()
                );
                return Err(AdminError::Usage(sentence));
            }
        };
        for line in does {
            output.done(&if arguments.yes { line } else { format!("would: {line}") });
        }
        lacks_yes |= !arguments.yes;
    }
    if lacks_yes {
        output.done("nothing was changed; say --yes to do it");
    }
    Ok(())
}

/// Takes damaged stretches from another store of the same log. Its bytes must be sound records that fill the stretch.
fn mend(shard: &Path, other: &Path, found: &Found, is_real: bool) -> Result<Vec<String>, AdminError> {
    let (own, theirs) = (log_line(shard)?, log_line(other)?);
    if own != theirs {
        return Err(AdminError::Usage(format!(
            "{} is not the same log: config/epochs says `{theirs}` there and `{own}` in {}",
            other.display(),
            shard.display()
        )));
    }
    let mut does = Vec::new();
    let aside = aside(shard);
    for Damage { segment, from, to } in &found.damages {
        let name = format!("commitlog/{segment:020}");
        let mut source = Segment::open(&other.join(&name), *segment)?;
        let mut at = *from;
        while at < *to {
            match source.step(at)? {
                Place::Record(size) => at += size,
                Place::Filler if *to == source.len => at = *to,
                Place::Filler | Place::Unsound => break,
            }
        }
        if at != *to {
            let path = other.join(&name);
            return Err(AdminError::Usage(format!("{} has no sound records for byte {from} to {to}", path.display())));
        }
        let path = shard.join(&name);
        does.push(format!("take byte {from} to {to} of {name} from {}", other.display()));
        if is_real {
            let len = usize::try_from(to - from).map_err(|_| AdminError::Usage("too long".to_owned()))?;
            let bytes = source.bytes(*from, len).map_err(io_of(&other.join(&name)))?.to_vec();
            let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io_of(&path))?;
            let mut old = vec![0; len];
            file.read_exact_at(&mut old, *from).map_err(io_of(&path))?;
            let kept = aside.join(format!("{segment:020}-{from}"));
            fs::create_dir_all(&aside).and_then(|()| fs::write(&kept, &old)).map_err(io_of(&kept))?;
            file.write_all_at(&bytes, *from).and_then(|()| file.sync_all()).map_err(io_of(&path))?;
        }
    }
    Ok(does)
}

/// Which log a shard has: the first line of its epochs, which names it.
fn log_line(shard: &Path) -> Result<String, AdminError> {
    let path = shard.join("config/epochs");
    let text = fs::read_to_string(&path).map_err(io_of(&path))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// Lets the log end at its first damage.
fn cut(shard: &Path, found: &Found, is_real: bool) -> Result<Vec<String>, AdminError> {
    let Some(first) = found.damages.first() else { return Ok(Vec::new()) };
    if found.start > 0 && !shard.join("queues-0").exists() && !shard.join("queues-1").exists() {
        let sentence = "the log's beginning is gone and only its checkpoint knows where its queues go on, which a cut takes away: mend it with --from";
        return Err(AdminError::Usage(sentence.to_owned()));
    }
    let aside = aside(shard);
    let path = shard.join(format!("commitlog/{:020}", first.segment));
    let mut does = vec![format!(
        "end the log of {} at {} of {}; what lies behind is kept in {}",
        shard.display(),
        first.segment + first.from,
        found.end,
        aside.display()
    )];
    let later: Vec<PathBuf> =
        segments(shard)?.into_iter().filter(|(start, _)| *start > first.segment).map(|(_, path)| path).collect();
    let speak = SPEAK_OF_THE_END.iter().map(|name| shard.join(name)).filter(|path| path.exists());
    let moved: Vec<PathBuf> = later.into_iter().chain(speak).collect();
    does.extend(moved.iter().map(|path| format!("move {} aside", path.display())));
    if !is_real {
        return Ok(does);
    }
    fs::create_dir_all(&aside).map_err(io_of(&aside))?;
    let kept = aside.join(format!("{:020}", first.segment));
    fs::copy(&path, &kept).and_then(|_| File::open(&kept)?.sync_all()).map_err(io_of(&kept))?;
    for path in &moved {
        fs::rename(path, aside.join(path.file_name().unwrap_or_default())).map_err(io_of(path))?;
    }
    for folder in [shard.to_owned(), shard.join("commitlog"), aside.clone()] {
        File::open(&folder).and_then(|folder| folder.sync_all()).map_err(io_of(&folder))?;
    }
    let file = OpenOptions::new().write(true).open(&path).map_err(io_of(&path))?;
    let len = file.metadata().map_err(io_of(&path))?.len();
    // A file with a hole there reads as zeros, and keeps its size.
    file.set_len(first.from).and_then(|()| file.set_len(len)).and_then(|()| file.sync_all()).map_err(io_of(&path))?;
    Ok(does)
}

/// Walks through the records of a shard.
fn look_through(shard: &Path) -> Result<Found, AdminError> {
    let segments = segments(shard)?;
    let mut found = Found { start: segments.first().map_or(0, |(start, _)| *start), ..Found::default() };
    for (nth, (start, path)) in segments.iter().enumerate() {
        let mut segment = Segment::open(path, *start)?;
        let follows = match segments.get(nth + 1) {
            Some((next, path)) => Segment::open(path, *next)?.claims(0)?,
            None => false,
        };
        let mut at = 0;
        while at < segment.len {
            match segment.step(at)? {
                Place::Record(size) => {
                    at += size;
                    found.records += 1;
                    found.end = start + at;
                }
                Place::Filler => break,
                Place::Unsound => match segment.next_sound(at + 1)? {
                    Some(next) => {
                        found.damages.push(Damage { segment: *start, from: at, to: next });
                        at = next;
                    }
                    None if follows => {
                        found.damages.push(Damage { segment: *start, from: at, to: segment.len });
                        break;
                    }
                    None => return Ok(found),
                },
            }
        }
    }
    Ok(found)
}

/// What lies at a place.
enum Place {
    Record(u64),
    Filler,
    Unsound,
}

/// One file of the log, read through a window.
struct Segment {
    file: File,
    path: PathBuf,
    start: u64,
    len: u64,
    window: Vec<u8>,
    window_at: u64,
}

impl Segment {
    fn open(path: &Path, start: u64) -> Result<Segment, AdminError> {
        let file = File::open(path).map_err(io_of(path))?;
        let len = file.metadata().map_err(io_of(path))?.len();
        Ok(Segment { file, path: path.to_owned(), start, len, window: Vec::new(), window_at: 0 })
    }

    /// Up to `len` bytes at `at`; fewer at the end of the file. What the disk cannot read is zeros.
    fn bytes(&mut self, at: u64, len: usize) -> io::Result<&[u8]> {
        let len = len.min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
        let is_there = at >= self.window_at && at + len as u64 <= self.window_at + self.window.len() as u64;
        if !is_there {
            let wanted = len.max(WINDOW_BYTES).min(usize::try_from(self.len.saturating_sub(at)).unwrap_or(usize::MAX));
            self.window.clear();
            self.window.resize(wanted, 0);
            self.window_at = at;
            if self.file.read_exact_at(&mut self.window, at).is_err() {
                for (nth, piece) in self.window.chunks_mut(4096).enumerate() {
                    if self.file.read_exact_at(piece, at + 4096 * nth as u64).is_err() {
                        piece.fill(0);
                    }
                }
            }
        }
        let from = usize::try_from(at - self.window_at).unwrap_or(usize::MAX);
        Ok(self.window.get(from..from + len).unwrap_or_default())
    }

    fn step(&mut self, at: u64) -> Result<Place, AdminError> {
        let (place, room) = (LogOffset(self.start + at), self.len - at);
        let path = self.path.clone();
        let head = self.bytes(at, CLAIM_BYTES).map_err(io_of(&path))?;
        let remaining = head.first_chunk().map(|four| u64::from(u32::from_be_bytes(*four)));
        let is_closed = head.get(4..8) == Some(&MAGIC_FILLER.to_be_bytes()) && remaining == Some(room);
        if is_closed || is_filler(head, place, room) {
            return Ok(Place::Filler);
        }
        let Ok(size) = peek_size(head) else { return Ok(Place::Unsound) };
        if u64::from(size) > room {
            return Ok(Place::Unsound);
        }
        let record = self.bytes(at, size as usize).map_err(io_of(&path))?;
        let is_sound = RecordView::decode(record, Some(place), Check::Crc).is_ok();
        Ok(if is_sound { Place::Record(u64::from(size)) } else { Place::Unsound })
    }

    fn claims(&mut self, at: u64) -> Result<bool, AdminError> {
        let (place, path) = (LogOffset(self.start + at), self.path.clone());
        Ok(claims_place(self.bytes(at, CLAIM_BYTES).map_err(io_of(&path))?, place))
    }

    /// The next place from `at` on at which something sound lies.
    fn next_sound(&mut self, mut at: u64) -> Result<Option<u64>, AdminError> {
        while at + (CLAIM_BYTES as u64) < self.len {
            if self.claims(at)? && !matches!(self.step(at)?, Place::Unsound) {
                return Ok(Some(at));
            }
            at += 1;
        }
        Ok(None)
    }
}

/// Starts and paths of the segments of a shard, in order.
fn segments(shard: &Path) -> Result<Vec<(u64, PathBuf)>, AdminError> {
    let folder = shard.join("commitlog");
    let mut segments = Vec::new();
    for entry in fs::read_dir(&folder).map_err(io_of(&folder))? {
        let path = entry.map_err(io_of(&folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(start) = Some(name).filter(|name| name.len() == 20).and_then(|name| name.parse().ok()) {
            segments.push((start, path));
        }
    }
    segments.sort();
    Ok(segments)
}

/// The folders of the shards.
fn shards(folder: &Path) -> Result<Vec<PathBuf>, AdminError> {
    let shards: Vec<PathBuf> =
        (0..).map(|shard: u16| folder.join(format!("shard-{shard}"))).take_while(|path| path.exists()).collect();
    if shards.is_empty() {
        return Err(AdminError::Usage(format!("{} is no store: it has no folder shard-0", folder.display())));
    }
    Ok(shards)
}

/// Makes sure that no node uses the store, for as long as the file lives.
fn claim(folder: &Path) -> Result<File, AdminError> {
    let path = folder.join("lock");
    let lock = OpenOptions::new().read(true).write(true).open(&path).map_err(io_of(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(_) => Err(AdminError::Usage(format!("a node uses {}: stop it first", folder.display()))),
    }
}

fn aside(shard: &Path) -> PathBuf {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    shard.join(format!("aside-{seconds}"))
}

fn io_of(path: &Path) -> impl FnOnce(io::Error) -> AdminError {
    let path = path.display().to_string();
    move |error| AdminError::Usage(format!("{path}: {error}"))
}
