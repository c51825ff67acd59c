//! A store whose node does not run: what a start would say of it, found out by the same code and without changing a byte.
//!
//! For `ringmq store`, which is no executor: everything here blocks.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::links::epochs_path;
use super::open::logs_files;
use super::start::StartError;
use super::tables::read_tables;
use super::work::io_error;
use crate::disk::folder::list_files;
use crate::disk::tail::FoundTail;
use crate::disk::{DiskError, LastRun, Store, TailFile, TailKey, store, table};
use crate::files;
use crate::limits::TAIL_BYTES_MIN;
use crate::log::{FileName, FoundStore, HeapTail, Log, LogSettings, Recovery, RecoveryError, Step, TailMemory as _};
use crate::model::{LogOffset, ShardId};
use crate::replication::EpochTable;

/// Where tails are, if the last run has not said where: it is an older one.
const TAILS: &str = "/dev/shm";

/// A claimed store, to be looked at.
#[derive(Debug)]
pub(crate) struct Offline {
    store: Store,
    tails: Option<PathBuf>,
    segment_bytes: Option<u64>,
}

/// One shard of it.
#[derive(Debug)]
pub(crate) struct ShardLook {
    pub(crate) folder: PathBuf,
    /// Size of its segments: as it was given, or else that of the largest file.
    pub(crate) segment_bytes: u64,
    /// From where on a start would write into the log: what only the tail has, and zeros over what a crash has left. Or why it would not open it.
    pub(crate) log: Result<LogOffset, StartError>,
    /// Why a start would not take tables.
    pub(crate) tables: Vec<StartError>,
    /// Where its tail would be.
    pub(crate) tails: PathBuf,
    /// Its tail of the last run, if there is one.
    pub(crate) tail: Option<TailLook>,
    /// Where that was, if it is gone though the machine was not started since.
    pub(crate) tail_gone_from: Option<PathBuf>,
}

/// The newest bytes of a log, in shared memory.
#[derive(Debug)]
pub(crate) struct TailLook {
    /// The file.
    pub(crate) path: PathBuf,
    /// Where the log ended.
    pub(crate) appended: LogOffset,
    ring: Vec<u8>,
}

impl TailLook {
    /// The first offset of which there can be something in it.
    #[must_use]
    pub(crate) fn low(&self) -> LogOffset {
        LogOffset(self.appended.0.saturating_sub(self.ring.len() as u64))
    }

    /// What lies at `at`, at most `len` bytes and not beyond the end. Below what the last run has appended it may be something else.
    #[must_use]
    pub(crate) fn bytes(&self, at: LogOffset, len: usize) -> Vec<u8> {
        let there = usize::try_from(self.appended.0.saturating_sub(at.0)).unwrap_or(usize::MAX);
        let from = usize::try_from(at.0 % self.ring.len() as u64).unwrap_or(0);
        let (front, back) = self.ring.split_at(from);
        back.iter().chain(front).copied().take(len.min(there).min(self.ring.len())).collect()
    }
}

impl Offline {
    /// Claims the store at `root`. Nothing in it is changed, but for its `lock`. `tails`: if they are elsewhere than the last run has said;
    /// `segment_bytes`: if the size of segments is not that of the largest one.
    ///
    /// # Errors
    /// Why a start would not take it, as a sentence.
    pub(crate) fn claim(root: &Path, tails: Option<PathBuf>, segment_bytes: Option<u64>) -> Result<Offline, String> {
        let store = Store::look(root).map_err(|error| error.to_string())?;
        Ok(Offline { store, tails, segment_bytes })
    }

    /// Keeps nodes from a store that is read from, for as long as the file lives. A part of a store has no lock.
    ///
    /// # Errors
    /// Who uses it, as a sentence.
    pub(crate) fn lock(folder: &Path) -> Result<Option<File>, String> {
        let path = folder.join("lock");
        if !path.exists() {
            return Ok(None);
        }
        let lock = OpenOptions::new().read(true).write(true).open(&path);
        let lock = lock.map_err(|error| format!("{}: {error}", path.display()))?;
        store::wait_for(&lock, folder, &path).map_err(|error| error.to_string())?;
        Ok(Some(lock))
    }

    /// Looks at all shards.
    ///
    /// # Errors
    /// If a folder cannot be read.
    pub(crate) fn look(&self) -> io::Result<Vec<ShardLook>> {
        (0..self.store.shards()).map(|shard| self.look_at(ShardId(shard))).collect()
    }

    fn look_at(&self, shard: ShardId) -> io::Result<ShardLook> {
        let folder = self.store.shard_folder(shard);
        let segment_bytes = match self.segment_bytes {
            Some(bytes) => bytes,
            None => largest_segment(&folder)?.unwrap_or(LogSettings::default().segment_bytes),
        };
        let tails =
            self.tails.clone().or_else(|| LastRun::guess_tails(&folder)).unwrap_or_else(|| PathBuf::from(TAILS));
        let (log, tables) = (Ok(LogOffset::default()), Vec::new());
        let mut look = ShardLook { folder, segment_bytes, log, tables, tails, tail: None, tail_gone_from: None };
        look.log = self.look_at_log(shard, &mut look);
        Ok(look)
    }

    fn look_at_log(&self, shard: ShardId, look: &mut ShardLook) -> Result<LogOffset, StartError> {
        // Where its file is damaged, the tail that is there is the best guess.
        let read = LastRun::read(&look.folder);
        let last = read.as_ref().cloned().unwrap_or_default();
        look.tables = wrong_tables(&look.folder, &last);
        let key = TailKey::new(&self.store, shard, TAIL_BYTES_MIN, last.run)?;
        let found = TailFile::look(&look.tails, &key, &last, read.is_err())?;
        look.tail = found.map(|FoundTail { path, appended, ring }| TailLook { path, appended, ring });
        look.tail_gone_from = last.tail_is_gone(&key).filter(|_| look.tail.is_none()).map(Path::to_owned);
        read?;
        let end = look.tail.as_ref().map(|tail| tail.appended);
        open(&look.folder, look.segment_bytes, look.tail.as_ref(), end, &last, false)
    }
}

impl ShardLook {
    /// Writes into the segments what the tail has up to `end`, where a record ends, as a start does with a sound one. The tail is then to be
    /// moved away.
    ///
    /// # Errors
    /// Why a start would refuse it.
    pub(crate) fn take_tail(&self, end: LogOffset) -> Result<(), StartError> {
        let last = LastRun::read(&self.folder).unwrap_or_default();
        open(&self.folder, self.segment_bytes, self.tail.as_ref(), Some(end), &last, true).map(|_| ())
    }

    /// There is no tail of the last run any more, and nobody is to miss it.
    ///
    /// # Errors
    /// If that cannot be noted.
    pub(crate) fn forget_tail(&self) -> Result<(), StartError> {
        Ok(LastRun::forget_tail(&self.folder)?)
    }
}

/// Opens the log, with what the tail has up to `end`. Returns from where on it has written, or would have.
fn open(
    folder: &Path,
    segment_bytes: u64,
    tail: Option<&TailLook>,
    end: Option<LogOffset>,
    last: &LastRun,
    is_real: bool,
) -> Result<LogOffset, StartError> {
    let failed = |source| DiskError { operation: "list", path: folder.to_owned(), source };
    let files = logs_files(list_files(folder).map_err(failed)?);
    let mut memory = HeapTail::new(tail.map_or(TAIL_BYTES_MIN, |tail| tail.ring.len()));
    if let Some(tail) = tail {
        memory.ring_mut().copy_from_slice(&tail.ring);
    }
    let mut settings = LogSettings { segment_bytes, ..LogSettings::default() };
    settings.cache_bytes = settings.cache_bytes.max(memory.len());
    let tail_appended = tail.and(end);
    let unflushed_max = last.unflushed_max;
    let found = FoundStore { files, tail: Box::new(memory), tail_appended, end_max: None, unflushed_max };
    let refused = |source| StartError::Recovery { folder: folder.to_owned(), source };
    let mut recovery = Recovery::new(settings, found).map_err(refused)?;
    recovery.expect_end(last.end.unwrap_or_default());
    let (log, written_from) = recover(recovery, folder, is_real).map_err(refused)?;
    Ok(written_from.unwrap_or(log.appended()))
}

/// Answers what a recovery asks; what it writes is left out unless it `is_real`. Returns where it has written first into the log.
fn recover(
    mut recovery: Recovery,
    folder: &Path,
    is_real: bool,
) -> Result<(Box<Log>, Option<LogOffset>), RecoveryError> {
    let mut written_from: Option<LogOffset> = None;
    loop {
        let (path, done) = match recovery.step() {
            Step::Done(log) => return Ok((log, written_from)),
            Step::Refused(error) => return Err(error),
            Step::Read { file, at, len } => {
                let path = folder.join(file.to_path());
                let read = read(&path, at, len);
                (path, read)
            }
            Step::Write { file, at, data } => {
                if let FileName::Segment(start) = file {
                    let place = start.plus(at);
                    written_from = Some(written_from.map_or(place, |first| first.min(place)));
                }
                let path = folder.join(file.to_path());
                let written = if is_real { write(&path, at, &data) } else { Ok(()) };
                (path, written.map(|()| Bytes::new()))
            }
            Step::Flush { file } => {
                let path = folder.join(file.to_path());
                let flushed = if is_real { flush(&path) } else { Ok(()) };
                (path, flushed.map(|()| Bytes::new()))
            }
            Step::Remove { file } => {
                let path = folder.join(file.to_path());
                let removed = if is_real { fs::remove_file(&path) } else { Ok(()) };
                (path, removed.map(|()| Bytes::new()))
            }
        };
        recovery.supply(done.map_err(|source| io_error(&DiskError { operation: "use", path, source })));
    }
}

/// Fewer bytes at the end of the file.
#[expect(clippy::disallowed_methods, reason = "a shell, which `ringmq store` uses")]
fn read(path: &Path, at: u64, len: usize) -> io::Result<Bytes> {
    let file = File::open(path)?;
    let there = file.metadata()?.len().saturating_sub(at);
    let mut bytes = vec![0; len.min(usize::try_from(there).unwrap_or(usize::MAX))];
    file.read_exact_at(&mut bytes, at)?;
    Ok(bytes.into())
}

fn write(path: &Path, at: u64, data: &[u8]) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).open(path)?.write_all_at(data, at)
}

#[expect(clippy::disallowed_methods, reason = "a shell, which `ringmq store` uses")]
fn flush(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    path.parent().map_or(Ok(()), files::flush_folder)
}

/// The size of the largest file of the log: all segments have one size, but for those that were cut short.
fn largest_segment(folder: &Path) -> io::Result<Option<u64>> {
    let files = list_files(&folder.join("commitlog"))?;
    Ok(files.into_iter().map(|file| file.bytes).filter(|bytes| *bytes > 0).max())
}

/// Which log a shard has, and the reigns of its masters.
pub(crate) struct LogLineage {
    text: String,
    table: EpochTable,
}

impl LogLineage {
    /// Reads what the shard in this folder says.
    ///
    /// # Errors
    /// Why it cannot be read, as a sentence.
    pub(crate) fn read(shard: &Path) -> Result<LogLineage, String> {
        let path = shard.join(epochs_path());
        let bytes = table::read(&path, true).map_err(|error| error.to_string())?.unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let table = EpochTable::decode(&text).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(LogLineage { text, table })
    }

    /// The line that names the log.
    pub(crate) fn name(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }

    /// Up to where the two are the same log; `None` if nothing is known to be the same.
    pub(crate) fn same_until(&self, other: &LogLineage) -> Option<LogOffset> {
        let end = LogOffset(u64::MAX);
        let point = self.table.consistent_point(end, &other.table, end);
        // Of logs without names and reigns nothing more is known.
        point.or_else(|| (self.table == other.table && self.name() == other.name()).then_some(end))
    }
}

/// What is wrong with the tables, by what reads them at a start, and with the epochs.
fn wrong_tables(folder: &Path, last: &LastRun) -> Vec<StartError> {
    let mut wrong = read_tables(folder, last).err().unwrap_or_default();
    let (path, must_exist) = (folder.join(epochs_path()), last.must_exist(&epochs_path()));
    let decode = |bytes: &[u8]| {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        EpochTable::decode(text).map(drop).map_err(|error| error.to_string())
    };
    match table::read(&path, must_exist) {
        Err(error) => wrong.push(error.into()),
        Ok(None) => {}
        Ok(Some(bytes)) => {
            wrong.extend(decode(&bytes).err().map(|reason| StartError::BadTable { path, reason, empty: "nothing" }));
        }
    }
    wrong
}
