//! The tail file: the newest bytes of a shard's log in shared memory, so that they outlive the process.
//!
//! A file on tmpfs, mapped: one head page, then the ring. What lies in it survives `kill -9` and is gone after a restart of the
//! machine, which is what Apache's page cache promises. The file is allocated in full before it is mapped: a full tmpfs is an
//! error at the start, never a SIGBUS on an append.
//!
//! The head is 4096 bytes, little-endian; ring byte `i` is file byte `4096 + i`:
//!
//! | bytes     | field       | meaning                                                                    |
//! |-----------|-------------|----------------------------------------------------------------------------|
//! | 0..8      | magic       | `RQTAIL01`                                                                 |
//! | 8..12     | shard       | [`ShardId`]                                                                |
//! | 12..16    | path length | bytes of the store's path, at most [`PATH_BYTES_MAX`]                      |
//! | 16..32    | store id    | [`StoreId`]                                                                |
//! | 32..48    | boot id     | `/proc/sys/kernel/random/boot_id`                                          |
//! | 48..56    | device      | of the store's manifest                                                    |
//! | 56..64    | inode       | of the store's manifest: a store that was copied, or moved to another disk, has another |
//! | 64..72    | ring length | bytes                                                                      |
//! | 72..80    | appended    | end of the log, written after the ring's bytes with release ordering; [`NOTHING`] until the first time |
//! | 80..96    | run         | [`RunId`]: a backup put back in place over the store's own files has an earlier one |
//! | 96..      | path        | the store's folder as the last process found it, so that the tail of a store that is there no more can be named |
//!
//! While a process uses a tail it holds a lock on the file, which keeps other processes away from it. A tail that may hold the last
//! run and cannot be had is an error at the start: going on without it would lose what was acknowledged.
//!
//! A tail whose store is not where it was may be all that is left of what was acknowledged: nobody but an operator removes it. Its store
//! finds it wherever it was moved to: by the name of the file on the same disk, else by store, shard and run, see [`moved`].

#![expect(unsafe_code, reason = "mapping a file and an atomic inside the mapping have no safe form")]

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use memmap2::MmapMut;
use thiserror::Error;

use super::shelter::{self, Unfit};
use super::store::{self, FileIdentity, MANIFEST, Store, StoreId};
use super::table::{SECTOR_BYTES, sector_text, unsealed};
use crate::files;
use crate::log::TailMemory;
use crate::model::{LogOffset, ShardId, UnixMs};

const HEAD_BYTES: usize = 4096;
const MAGIC: &[u8; 8] = b"RQTAIL01";
const APPENDED_AT: usize = 72;
const RUN_AT: usize = 80;
const PATH_AT: usize = 96;

/// File in a shard's folder that says what is known of the last run, a line each, those below only if they are known:
///
/// | line | what it says |
/// |---|---|
/// | 32 hex digits | its [`RunId`] |
/// | `unflushed_max=` | the most bytes of the log that it can have written and not flushed |
/// | `end=` | where the log ended, all of it flushed, when it began, or when it ended in order |
/// | `tails=` | the folder in which its tail was; not after an end in order |
/// | `files=` | names with commas: files in `config` that were there when it began |
/// | `clock=` | its [`Moment`]: boot id, uptime and wall clock in ms |
/// | `crc32 ` | of the lines before, see [`table`](super::table); not in an older file |
///
/// It is written in place, and always as one sector with empty lines at its end: a power loss leaves the old or the new one, and no other length.
const RUN_FILE: &str = "run";
const NAME_PREFIX: &str = "ringmq-";
const NAME_SUFFIX: &str = ".tail";

/// Value of `appended` in a tail that nothing was ever published to.
const NOTHING: u64 = u64::MAX;

/// Longest path of a store that fits the head. `PATH_MAX` is longer, so a longer path is refused (and the heap is used).
pub(crate) const PATH_BYTES_MAX: usize = HEAD_BYTES - PATH_AT;

/// Why there is no tail in shared memory.
#[derive(Debug, Error)]
pub enum TailError {
    /// The file cannot be made, mapped or read.
    #[error("{source} at {path}")]
    Io {
        /// The tail file or its folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process has the tail, though the store's lock is ours: one that was killed and is not gone yet.
    #[error("{path} is in use by another process")]
    InUse {
        /// The tail file.
        path: PathBuf,
    },
    /// There is a tail, and it may hold what was acknowledged, but it cannot be read.
    #[error(
        "{path} may hold messages of the last run and cannot be read: {source}; make it readable for this user, or remove it to start without them"
    )]
    Unreadable {
        /// The tail file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// There is a tail where the last run had its own, and it is not that as it was left.
    #[error(
        "{path} should have the messages that the last run acknowledged and had not written, and {why}: nothing was changed; put it back as it was, or remove it to start without them"
    )]
    NotAsLeft {
        /// The tail file.
        path: PathBuf,
        /// What it is instead.
        why: &'static str,
    },
    /// The store's path does not fit the head.
    #[error("the store's path has {found} bytes, more than {PATH_BYTES_MAX}")]
    LongPath {
        /// Bytes of the path.
        found: usize,
    },
}

/// One run of a shard over its store: random, made when recovery is done and everything older is in the segments.
///
/// Device and inode tell a copy of a store from the store. They do not tell a backup that was written back *into* the files of the store:
/// its log is a shorter one, and the tail's newer bytes must not be put behind it.
pub(crate) type RunId = [u8; 16];

/// What a shard's folder says of the last run over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LastRun {
    /// Its name; zeroes before the first.
    pub(crate) run: RunId,
    /// Most bytes of the log that it can have written and not flushed, if that is known.
    pub(crate) unflushed_max: Option<u64>,
    /// Where the log ended when it began or ended in order, all of it flushed, if that is known.
    pub(crate) end: Option<LogOffset>,
    /// The folder in which its tail was, if it had one and the path is not too long.
    pub(crate) tails: Option<PathBuf>,
    /// Names of the files in `config` that were there when it began.
    pub(crate) files: Vec<String>,
    /// When it began, if that is known.
    pub(crate) began: Option<Moment>,
}

/// A moment, by the time since the machine was started and by the wall clock: what of it a step of the wall clock changes can be told later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Moment {
    /// This start of the machine.
    pub(crate) boot: [u8; 16],
    /// Ms since then, sleep included.
    pub(crate) uptime_ms: u64,
    /// The wall clock.
    pub(crate) unix: UnixMs,
}

impl Moment {
    /// Now, by a wall clock that says `unix`.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub(crate) fn now(unix: UnixMs) -> io::Result<Moment> {
        let boot = boot_id()?;
        let text = store::read_text(Path::new("/proc/uptime"))?;
        let uptime_ms = parse_uptime_ms(&text).ok_or_else(|| io::Error::other("the kernel's uptime is malformed"))?;
        Ok(Moment { boot, uptime_ms, unix })
    }

    /// What the wall clock should say at `later`; `None` if the machine was started anew since.
    #[must_use]
    pub(crate) fn expected_at(&self, later: &Moment) -> Option<UnixMs> {
        let passed = later.uptime_ms.checked_sub(self.uptime_ms).filter(|_| self.boot == later.boot)?;
        Some(UnixMs(self.unix.0.saturating_add_unsigned(passed)))
    }
}

/// This start of the machine.
fn boot_id() -> io::Result<[u8; 16]> {
    let text = store::read_text(Path::new("/proc/sys/kernel/random/boot_id"))?;
    store::parse_hex(&text).ok_or_else(|| io::Error::other("the kernel's boot id is malformed"))
}

/// Seconds with a point and two digits, then something else.
fn parse_uptime_ms(text: &str) -> Option<u64> {
    let (seconds, hundredths) = text.split_whitespace().next()?.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * 1000 + hundredths.parse::<u64>().ok()? * 10)
}

impl LastRun {
    /// The folder in which its tail was left, if it did not end in order and the machine was not started since.
    fn left_tail(&self, key: &TailKey) -> Option<&Path> {
        self.tails.as_deref().filter(|_| self.began.is_some_and(|began| began.boot == key.boot))
    }

    /// Where its tail is to be looked for: where that run had it, if it is there, else in `tails`.
    pub(crate) fn tails_or<'a>(&'a self, tails: &'a Path, key: &TailKey) -> &'a Path {
        self.left_tail(key).filter(|left| TailFile::is_there(left, key)).unwrap_or(tails)
    }

    /// The folder in which its tail was left, if the file is gone from there: with it goes what that run acknowledged and had not written.
    pub(crate) fn tail_is_gone(&self, key: &TailKey) -> Option<&Path> {
        self.left_tail(key).filter(|left| !TailFile::is_there(left, key))
    }

    /// Forgets where its tail was, durably: what that had is in the log, or was given up. Blocks.
    ///
    /// # Errors
    /// [`RunError`].
    pub(crate) fn forget_tail(shard_folder: &Path) -> Result<(), RunError> {
        let last = LastRun { tails: None, ..Self::read(shard_folder)? };
        let path = shard_folder.join(RUN_FILE);
        last.write(&path).map_err(|source| RunError::Unreadable { path, source })
    }

    /// Ends a run in order, when all of its log lies in the segments and is flushed, up to `end`: `run` says so and that no tail is to be missed, durably;
    /// then its tail in `tails` goes. A crash in between leaves a tail that a start takes, and that has nothing which the log lacks. Blocks.
    ///
    /// # Errors
    /// [`RunError`], before anything is removed.
    pub(crate) fn finish(shard_folder: &Path, tails: &Path, key: &TailKey, end: LogOffset) -> Result<(), RunError> {
        let last = LastRun { tails: None, end: Some(end), ..Self::read(shard_folder)? };
        let path = shard_folder.join(RUN_FILE);
        last.write(&path).map_err(|source| RunError::Unreadable { path, source })?;
        let tail = tails.join(key.file_name());
        if let Err(source) = fs::remove_file(&tail)
            && source.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %tail.display(), %source, "the tail of a run that ended in order stays; the next start takes it");
        }
        Ok(())
    }

    /// Reads it from the shard's folder.
    ///
    /// # Errors
    /// [`RunError`].
    pub(crate) fn read(shard_folder: &Path) -> Result<LastRun, RunError> {
        let path = shard_folder.join(RUN_FILE);
        match store::read_text(&path) {
            Ok(text) => Self::parse(&text).ok_or(RunError::Malformed { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(LastRun::default()),
            // Bytes that are no text.
            Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(RunError::Malformed { path }),
            Err(source) => Err(RunError::Unreadable { path, source }),
        }
    }

    /// Where the tail is, by a file that may be damaged elsewhere.
    pub(crate) fn guess_tails(shard_folder: &Path) -> Option<PathBuf> {
        let bytes = files::read(&shard_folder.join(RUN_FILE)).ok()??;
        let text = String::from_utf8_lossy(&bytes);
        text.lines().find_map(|line| line.strip_prefix("tails=")).map(PathBuf::from)
    }

    /// Whether a file was there when it began.
    #[must_use]
    pub(crate) fn must_exist(&self, path: &Path) -> bool {
        self.files.iter().any(|name| path.ends_with(name))
    }

    /// Forgets how much can be unflushed, and where the log ended, durably: before a log is cut, which leaves more when it does not come to its end. Blocks.
    ///
    /// # Errors
    /// [`RunError`].
    pub(crate) fn forget_unflushed(shard_folder: &Path) -> Result<(), RunError> {
        let last = LastRun { unflushed_max: None, end: None, ..Self::read(shard_folder)? };
        let path = shard_folder.join(RUN_FILE);
        last.write(&path).map_err(|source| RunError::Unreadable { path, source })
    }

    fn write(&self, path: &Path) -> io::Result<()> {
        let mut text = sector_text(&self.encode());
        if text.len() > SECTOR_BYTES {
            text = sector_text(&LastRun { tails: None, ..self.clone() }.encode());
        }
        let is_one_sector = fs::metadata(path).is_ok_and(|found| found.len() == SECTOR_BYTES as u64);
        match if is_one_sector { Ok(()) } else { files::replace(path, text.as_bytes()) } {
            // A node must start on a full disk, to be read and to make room.
            Err(error) if !matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
                Err(error)
            }
            _ => store::overwrite_file(path, text.as_bytes()),
        }
    }

    fn parse(text: &str) -> Option<LastRun> {
        let text = std::str::from_utf8(unsealed(text.as_bytes()).ok()?).ok()?;
        let mut lines = text.lines();
        let mut last = LastRun { run: store::parse_hex(lines.next()?)?, ..LastRun::default() };
        for line in lines {
            match line.split_once('=')? {
                ("unflushed_max", bytes) => last.unflushed_max = Some(bytes.parse().ok()?),
                ("end", offset) => last.end = Some(LogOffset(offset.parse().ok()?)),
                ("tails", folder) => last.tails = Some(PathBuf::from(folder)),
                ("files", names) => last.files = names.split(',').map(str::to_owned).collect(),
                ("clock", moment) => {
                    let mut fields = moment.split(',');
                    let boot = store::parse_hex(fields.next()?)?;
                    let (uptime_ms, unix) = (fields.next()?.parse().ok()?, UnixMs(fields.next()?.parse().ok()?));
                    last.began = Some(Moment { boot, uptime_ms, unix });
                    // In an older file something may follow that a longer one has left.
                    break;
                }
                _ => return None,
            }
        }
        Some(last)
    }

    fn encode(&self) -> String {
        let mut text = format!("{}\n", StoreId(self.run));
        if let Some(bytes) = self.unflushed_max {
            text.push_str(&format!("unflushed_max={bytes}\n"));
        }
        if let Some(end) = self.end {
            text.push_str(&format!("end={end}\n"));
        }
        // Not one whose name would look like another line.
        if let Some(folder) = self.tails.as_ref().and_then(|folder| folder.to_str()).filter(|name| !name.contains('\n'))
        {
            text.push_str(&format!("tails={folder}\n"));
        }
        if !self.files.is_empty() {
            text.push_str(&format!("files={}\n", self.files.join(",")));
        }
        if let Some(Moment { boot, uptime_ms, unix }) = self.began {
            text.push_str(&format!("clock={},{uptime_ms},{unix}\n", StoreId(boot)));
        }
        text
    }
}

/// Why it is not known what the last run of a shard was. Each says what to do.
#[derive(Debug, Error)]
pub enum RunError {
    /// Lines or CRC of `run` are not what was written.
    #[error(
        "{path} is damaged: nothing was changed; `ringmq store repair --cut` takes it away when it has put what the tail in shared memory has into the log, which a start without this file would not take"
    )]
    Malformed {
        /// The file.
        path: PathBuf,
    },
    /// The disk does not give its file, or does not take it.
    #[error("{path} cannot be used: {source}; make it readable and writable for this user")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel does not tell which start of the machine this is.
    #[error("/proc/sys/kernel/random/boot_id or /proc/uptime: {source}; ringmq needs /proc")]
    NoBoot {
        /// What the kernel said.
        source: io::Error,
    },
}

/// Whose tail it is and how long: everything in the head but the offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TailKey {
    /// The store's random name.
    pub(crate) store: StoreId,
    /// Which file the store's manifest is.
    pub(crate) manifest: FileIdentity,
    /// This start of the machine.
    pub(crate) boot: [u8; 16],
    /// The shard within the store.
    pub(crate) shard: ShardId,
    pub(crate) root: PathBuf,
    /// Bytes of the ring, a multiple of 4096.
    pub(crate) ring_bytes: usize,
    /// The last run that the shard's folder knows of; zeroes before the first.
    pub(crate) run: RunId,
}

impl TailKey {
    /// The key of a shard of a claimed store, whose last run was `run`.
    ///
    /// # Errors
    /// [`RunError`].
    pub(crate) fn new(store: &Store, shard: ShardId, ring_bytes: usize, run: RunId) -> Result<TailKey, RunError> {
        let boot = boot_id().map_err(|source| RunError::NoBoot { source })?;
        let (id, manifest) = (store.id(), store.manifest_identity());
        Ok(TailKey { store: id, manifest, boot, shard, root: store.root().to_owned(), ring_bytes, run })
    }

    /// Whether tails in `folder` outlive this process, and there is room for those of all shards. The first shard that asks has the answer
    /// for all, before any of them makes its own; and the log says then what others have left there.
    ///
    /// # Errors
    /// [`Unfit`].
    pub(crate) fn check_shelter(store: &Store, folder: &Path, ring_bytes: usize) -> Result<(), Unfit> {
        let prefix = format!("{NAME_PREFIX}{}-", store.id());
        let tail_bytes = (HEAD_BYTES + ring_bytes) as u64;
        store.shelter(|| {
            name_left_over(folder);
            shelter::check(folder, &prefix, store.shards(), tail_bytes)
        })
    }

    /// Whether `other` is the same tail, be it of another length: `tailSize` may have changed since. Or of another place: two stores with one id do
    /// not run side by side, and what one run has appended is the log of each that goes on from it.
    fn is_same_tail(&self, other: &TailKey) -> bool {
        (self.store, self.shard, self.boot, self.run) == (other.store, other.shard, other.boot, other.run)
    }

    /// Says in the `head` of this tail where its store is now.
    fn move_to(&self, head: &mut [u8]) {
        let mut new = self.encode();
        new[APPENDED_AT..RUN_AT].copy_from_slice(&head[APPENDED_AT..RUN_AT]);
        head.copy_from_slice(&new);
    }

    fn file_name(&self) -> String {
        let FileIdentity { device, inode } = self.manifest;
        format!("{NAME_PREFIX}{}-{device:x}-{inode:x}-{}{NAME_SUFFIX}", self.store, self.shard)
    }

    fn encode(&self) -> Vec<u8> {
        let path = self.root.as_os_str().as_bytes();
        let mut head = Vec::with_capacity(HEAD_BYTES);
        head.extend_from_slice(MAGIC);
        head.extend_from_slice(&u32::from(self.shard.0).to_le_bytes());
        head.extend_from_slice(&u32::try_from(path.len()).expect("checked against PATH_BYTES_MAX").to_le_bytes());
        head.extend_from_slice(&self.store.0);
        head.extend_from_slice(&self.boot);
        head.extend_from_slice(&self.manifest.device.to_le_bytes());
        head.extend_from_slice(&self.manifest.inode.to_le_bytes());
        head.extend_from_slice(&(self.ring_bytes as u64).to_le_bytes());
        head.extend_from_slice(&NOTHING.to_le_bytes());
        head.extend_from_slice(&self.run);
        head.extend_from_slice(path);
        head.resize(HEAD_BYTES, 0);
        head
    }
}

/// What a head says: whose tail, and how far its log went.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TailHead {
    key: TailKey,
    appended: Option<LogOffset>,
}

impl TailHead {
    /// Whether a file of `file_bytes` holds a ring that can be used, as long as the head says.
    fn is_whole(&self, file_bytes: u64) -> bool {
        let ring = self.key.ring_bytes;
        ring.is_power_of_two() && ring >= HEAD_BYTES && file_bytes == (HEAD_BYTES + ring) as u64
    }

    fn decode(bytes: &[u8]) -> Option<TailHead> {
        if bytes.get(..8)? != MAGIC {
            return None;
        }
        let number = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let small = |at: usize| bytes.get(at..at + 4)?.try_into().ok().map(u32::from_le_bytes);
        let id = |at: usize| bytes.get(at..at + 16)?.try_into().ok();
        let path_end = PATH_AT.checked_add(usize::try_from(small(12)?).ok()?)?;
        let path = std::ffi::OsStr::from_bytes(bytes.get(PATH_AT..path_end)?);
        let key = TailKey {
            store: StoreId(id(16)?),
            manifest: FileIdentity { device: number(48)?, inode: number(56)? },
            boot: id(32)?,
            shard: ShardId(u16::try_from(small(8)?).ok()?),
            root: PathBuf::from(path),
            ring_bytes: usize::try_from(number(64)?).ok()?,
            run: id(RUN_AT)?,
        };
        let appended = Some(number(APPENDED_AT)?).filter(|value| *value != NOTHING).map(LogOffset);
        Some(TailHead { key, appended })
    }
}

/// What lies in the place of a tail.
enum WhoseTail {
    /// The last run's.
    Own(TailHead),
    /// It has what another run over this store has appended, and the segments may lack.
    OfAnotherRun(RunId),
    /// The last run has left one, and this is not it.
    NotAsLeft(&'static str),
    /// Nobody's, or nothing is in it that the segments lack.
    Nothing,
    /// Of nobody who is known.
    Foreign,
}

impl WhoseTail {
    /// What a file of `bytes` with this head is to the shard of `key`, whose last run was `last`.
    fn judge(head: Option<TailHead>, bytes: u64, key: &TailKey, last: &LastRun) -> WhoseTail {
        let has_left = last.left_tail(key).is_some();
        let unlike = |why| if has_left { WhoseTail::NotAsLeft(why) } else { WhoseTail::Foreign };
        let Some(head) = head else {
            return if bytes == 0 && !has_left { WhoseTail::Nothing } else { unlike("is none") };
        };
        let any_run = TailKey { run: head.key.run, ..key.clone() };
        if !any_run.is_same_tail(&head.key) {
            return unlike("is that of another store or shard");
        }
        if !head.is_whole(bytes) {
            return unlike("was cut off");
        }
        // All before this was in the segments when the last run began.
        let is_behind = head.appended.is_none_or(|appended| last.end.is_some_and(|end| appended < end));
        match (head.key.run == key.run, is_behind) {
            (true, true) if head.appended.is_some() => unlike("ends before that run began"),
            (true, _) => WhoseTail::Own(head),
            (false, true) => WhoseTail::Nothing,
            (false, false) => WhoseTail::OfAnotherRun(head.key.run),
        }
    }
}

/// What a tail has that nobody uses.
#[derive(Debug)]
pub(crate) struct FoundTail {
    pub(crate) path: PathBuf,
    /// End of the log.
    pub(crate) appended: LogOffset,
    pub(crate) ring: Vec<u8>,
}

/// The tail ring of one shard in shared memory.
#[derive(Debug)]
pub(crate) struct TailFile {
    map: MmapMut,
    /// Holds the lock; the mapping does not need it.
    file: File,
    path: PathBuf,
    found: Option<LogOffset>,
    survives_kill: bool,
    /// Whether a run goes by it; if that is noted, and none does, the file goes with this.
    has_run: Option<Arc<AtomicBool>>,
}

/// A start that fails, on a full disk for one, leaves no shared memory that is never used.
impl Drop for TailFile {
    fn drop(&mut self) {
        if self.has_run.as_ref().is_some_and(|has_run| !has_run.load(Ordering::Acquire))
            && let Err(error) = fs::remove_file(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "the tail of a start that failed stays; the next start takes it");
        }
    }
}

impl TailFile {
    /// Opens the tail of `key` in `folder`, or makes a new one. [`TailFile::found`] then says whether bytes of the last run are in it.
    ///
    /// A tail with content keeps the length that it has. One of another run is not taken: it stays, under another name. A file that is no tail of this
    /// store and shard, or of an earlier start of the machine, is written anew if `last` has left none; the log says so.
    ///
    /// # Errors
    /// [`TailError`]. After [`TailError::Io`] and [`TailError::LongPath`] nothing is lost by using memory that does not survive; the
    /// others say that bytes of the last run may be in a tail that cannot be had now.
    pub(crate) fn open(folder: &Path, key: &TailKey, last: &LastRun) -> Result<TailFile, TailError> {
        let path_bytes = key.root.as_os_str().len();
        if path_bytes > PATH_BYTES_MAX {
            return Err(TailError::LongPath { found: path_bytes });
        }
        let path = folder.join(key.file_name());
        let io = |source| TailError::Io { path: path.clone(), source };
        if let Some(moved) = moved(folder, key) {
            fs::rename(&moved, &path).map_err(|source| TailError::Unreadable { path: moved.clone(), source })?;
            tracing::info!(path = %path.display(), was = %moved.display(), "the tail of a store that was moved");
        }
        let is_there = path.exists();
        let failed = |source| if is_there { TailError::Unreadable { path: path.clone(), source } } else { io(source) };
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        file.try_lock().map_err(|error| match error {
            fs::TryLockError::WouldBlock => TailError::InUse { path: path.clone() },
            fs::TryLockError::Error(source) => failed(source),
        })?;
        let bytes_found = file.metadata().map_err(failed)?.len();
        let head = read_head(&mut file).map_err(failed)?;
        // That none is there was said before.
        let found = if is_there { WhoseTail::judge(head, bytes_found, key, last) } else { WhoseTail::Nothing };
        let taken = match found {
            WhoseTail::Own(head) => head.appended.map(|appended| (appended, head.key.ring_bytes)),
            WhoseTail::OfAnotherRun(run) => {
                let aside = path.with_extension(format!("of-{}", StoreId(run)));
                fs::rename(&path, &aside).map_err(failed)?;
                tracing::warn!(path = %aside.display(), "the tail of another run of this store, which was restored or lost its file `run`, is not taken: it has what that run acknowledged last; if that is not missed, remove it");
                return Self::open(folder, key, last);
            }
            WhoseTail::NotAsLeft(why) => return Err(TailError::NotAsLeft { path, why }),
            WhoseTail::Nothing => None,
            WhoseTail::Foreign => {
                tracing::warn!(path = %path.display(), "a file in the place of the tail, which is none of this store and start of the machine, is written anew");
                None
            }
        };
        let (found, ring_bytes) = taken.unzip();
        if found.is_none() {
            file.set_len(0).map_err(io)?;
        }
        let bytes_wanted = (HEAD_BYTES + ring_bytes.unwrap_or(key.ring_bytes)) as u64;
        rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, bytes_wanted).map_err(|errno| {
            if found.is_some() {
                return failed(errno.into());
            }
            // A file that could not be allocated in full must not stay behind and keep the tmpfs full.
            drop(fs::remove_file(&path));
            io(errno.into())
        })?;
        // SAFETY: the file is locked by this process, has just been allocated to the full length that is mapped, and nobody
        // truncates it: other ringmq processes lock a tail before they touch it. The mapping keeps its own reference to it.
        let mut map = unsafe { MmapMut::map_mut(&file) }.map_err(failed)?;
        let head = map.get_mut(..HEAD_BYTES).expect("the mapping holds the head");
        match ring_bytes {
            None => head.copy_from_slice(&key.encode()),
            Some(ring_bytes) => TailKey { ring_bytes, ..key.clone() }.move_to(head),
        }
        Ok(TailFile { map, file, path, found, survives_kill: true, has_run: None })
    }

    /// What a tail has that [`TailFile::open`] would take, which stays as it is; `None` if that would begin a new one. `is_any_run`: also of
    /// another run.
    ///
    /// # Errors
    /// [`TailError::Unreadable`], [`TailError::NotAsLeft`].
    pub(crate) fn look(
        folder: &Path,
        key: &TailKey,
        last: &LastRun,
        is_any_run: bool,
    ) -> Result<Option<FoundTail>, TailError> {
        let path = moved(folder, key).unwrap_or_else(|| folder.join(key.file_name()));
        let failed = |source| TailError::Unreadable { path: path.clone(), source };
        let mut file = match OpenOptions::new().read(true).open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed)?,
        };
        let bytes = file.metadata().map_err(failed)?.len();
        let head = read_head(&mut file).map_err(failed)?;
        let run = head.as_ref().filter(|_| is_any_run).map_or(key.run, |head| head.key.run);
        let head = match WhoseTail::judge(head, bytes, &TailKey { run, ..key.clone() }, last) {
            WhoseTail::Own(head) => head,
            WhoseTail::NotAsLeft(why) => return Err(TailError::NotAsLeft { path, why }),
            WhoseTail::OfAnotherRun(_) | WhoseTail::Nothing | WhoseTail::Foreign => return Ok(None),
        };
        let TailHead { key, appended: Some(appended) } = head else { return Ok(None) };
        let mut ring = vec![0; key.ring_bytes];
        file.read_exact_at(&mut ring, HEAD_BYTES as u64).map_err(failed)?;
        Ok(Some(FoundTail { path, appended, ring }))
    }

    /// Whether there is a file for this tail.
    #[must_use]
    pub(crate) fn is_there(folder: &Path, key: &TailKey) -> bool {
        folder.join(key.file_name()).exists() || moved(folder, key).is_some()
    }

    /// The end of the log as the last run published it; `None` if this tail is new.
    #[must_use]
    pub(crate) fn found(&self) -> Option<LogOffset> {
        self.found
    }

    /// What begins a new run once recovery is done; it stays valid when the tail itself has gone into the log.
    ///
    /// # Errors
    /// If no second descriptor of the file can be had.
    pub(crate) fn run_starter(&self, shard_folder: &Path) -> io::Result<RunStarter> {
        let tails = self.path.parent().map(Path::to_owned);
        let (tail, run_file) = (Some(self.file.try_clone()?), shard_folder.join(RUN_FILE));
        Ok(RunStarter { tail, tails, run_file, has_run: self.has_run.clone() })
    }

    /// If the tail is new, and `last` misses none, its file stays only if a run begins.
    pub(crate) fn go_without_run(&mut self, last: &LastRun) {
        if self.found.is_none() && last.tails.is_none() {
            self.has_run = Some(Arc::default());
        }
    }

    /// Promises nothing of this run's bytes: the folder is not what it takes. Those of the last run are taken all the same.
    pub(crate) fn distrust(&mut self) {
        self.survives_kill = false;
    }

    /// Where the file lies.
    #[must_use]
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }
}

impl TailMemory for TailFile {
    fn len(&self) -> usize {
        self.map.len() - HEAD_BYTES
    }

    fn ring(&self) -> &[u8] {
        self.map.get(HEAD_BYTES..).expect("the mapping holds the head")
    }

    fn ring_mut(&mut self) -> &mut [u8] {
        self.map.get_mut(HEAD_BYTES..).expect("the mapping holds the head")
    }

    /// Release ordering keeps the compiler and the processor from moving the bytes behind the offset; a killed process's stores
    /// are in the page already, so the next process sees an offset only with its bytes.
    fn publish(&mut self, appended: LogOffset) {
        let cell = self.map.as_mut_ptr().wrapping_add(APPENDED_AT).cast::<u64>();
        // SAFETY: the mapping is page-aligned and at least a page long, so the cell is in bounds and aligned to 8; `&mut self`
        // rules out any other reference into the mapping while this one lives.
        let cell = unsafe { AtomicU64::from_ptr(cell) };
        cell.store(appended.0.to_le(), Ordering::Release);
    }

    fn survives_kill(&self) -> bool {
        self.survives_kill
    }
}

/// Begins a new run of a shard whose log is recovered.
#[derive(Debug)]
pub(crate) struct RunStarter {
    /// `None` for a run without shared memory: an older tail must not be taken after it either.
    tail: Option<File>,
    tails: Option<PathBuf>,
    run_file: PathBuf,
    has_run: Option<Arc<AtomicBool>>,
}

impl RunStarter {
    /// For a run whose tail is not in shared memory.
    #[must_use]
    pub(crate) fn without_tail(shard_folder: &Path) -> RunStarter {
        RunStarter { tail: None, tails: None, run_file: shard_folder.join(RUN_FILE), has_run: None }
    }

    /// Gives folder and tail a new run, the folder first: a crash in between leaves a tail that is not taken, and nothing in it is missing
    /// in the segments at that time. `end`: where the log ends, all of it flushed; `unflushed_max`: most bytes that this run will have written
    /// and not flushed; `files`: paths below the shard's folder, of which those that are there must be there at the next start. Blocks.
    ///
    /// # Errors
    /// What the kernel says.
    pub(crate) fn start(self, end: LogOffset, unflushed_max: u64, files: &[PathBuf], began: Moment) -> io::Result<()> {
        let run = store::random_id()?;
        let folder = self.run_file.parent().unwrap_or(Path::new("."));
        let there = files.iter().filter(|path| folder.join(path).exists());
        let names = there.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        let (unflushed_max, files, began) = (Some(unflushed_max), names.collect(), Some(began));
        let last = LastRun { run, unflushed_max, end: Some(end), tails: self.tails, files, began };
        let written = last.write(&self.run_file);
        // Of another error it is not known what is in the file.
        let has_begun = !written.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::StorageFull);
        if let Some(has_run) = &self.has_run {
            has_run.store(has_begun, Ordering::Release);
        }
        written?;
        self.tail.map_or(Ok(()), |tail| tail.write_all_at(&run, RUN_AT as u64))
    }
}

fn read_head(file: &mut File) -> io::Result<Option<TailHead>> {
    let mut head = Vec::with_capacity(HEAD_BYTES);
    file.take(HEAD_BYTES as u64).read_to_end(&mut head)?;
    Ok(TailHead::decode(&head))
}

/// The tail of `key` under the name of another manifest, if there is none under its own: its store was moved to another disk, or copied, and is not
/// seen where it was. A copy of before the tail's oldest byte is refused by recovery, as any log with a gap.
fn moved(folder: &Path, key: &TailKey) -> Option<PathBuf> {
    if folder.join(key.file_name()).exists() {
        return None;
    }
    let of_store = format!("{NAME_PREFIX}{}-", key.store);
    let is_its = |(path, head): &(PathBuf, TailHead)| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| name.starts_with(&of_store)) && head.appended.is_some() && key.is_same_tail(&head.key)
    };
    // An older copy ends before it.
    let its = strays(folder).filter(|stray| is_its(stray) && is_unused(&stray.0));
    its.max_by_key(|(_, head)| head.appended).map(|(path, _)| path)
}

/// Names the tails in `folder` whose store is not where it was, and removes those that have nothing: a start that failed has left them.
///
/// A store that is not seen is not gone: its disk may not be mounted now, or only elsewhere. A tail that cannot be read or is locked is left alone: it
/// may belong to another user or to a running node.
fn name_left_over(folder: &Path) {
    let left_over = strays(folder).filter(|(path, head)| sees_disk(&head.key) && is_unused(path));
    let (with, without): (Vec<_>, Vec<_>) = left_over.partition(|(_, head)| head.appended.is_some());
    for (path, _) in without {
        if fs::remove_file(&path).is_ok() {
            tracing::info!(path = %path.display(), "removed the tail of a store that is gone, which had nothing");
        }
    }
    let Some((path, head)) = with.first() else { return };
    let bytes: u64 = with.iter().filter_map(|(path, _)| Some(fs::metadata(path).ok()?.len())).sum();
    tracing::warn!(
        tails = with.len(), mib = bytes >> 20, first = %path.display(), store = %head.key.root.display(),
        "tails of stores that are not where they were stay in shared memory: a store that was moved takes its own when it is started; of one that was removed for good, remove it"
    );
}

/// Tails in `folder` whose store is not where it was: its path is missing, or holds another manifest.
fn strays(folder: &Path) -> impl Iterator<Item = (PathBuf, TailHead)> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.filter_map(|entry| {
        let path = entry.path();
        let name = path.file_name()?.to_str()?;
        let is_tail = name.starts_with(NAME_PREFIX) && name.ends_with(NAME_SUFFIX);
        let head = read_head(&mut OpenOptions::new().read(true).open(&path).ok().filter(|_| is_tail)?).ok()??;
        (!has_store(&head.key)).then_some((path, head))
    })
}

/// Whether no process has the tail. To be asked last, of what is not in its place: the lock is taken for a moment, and kept a tail from its own
/// store's next process.
fn is_unused(path: &Path) -> bool {
    OpenOptions::new().read(true).open(path).is_ok_and(|file| file.try_lock().is_ok())
}

/// Whether the disk on which the store of `key` lies is where it was: what there is of the store's path ends on it.
fn sees_disk(key: &TailKey) -> bool {
    let found = key.root.ancestors().find_map(|folder| FileIdentity::of(folder).ok());
    found.is_some_and(|found| found.device == key.manifest.device)
}

/// Whether the store of `key` is still where it was.
fn has_store(key: &TailKey) -> bool {
    let manifest = key.root.join(MANIFEST);
    let is_same_file = FileIdentity::of(&manifest).is_ok_and(|identity| identity == key.manifest);
    // A store made anew in the place of a removed one may get its inode.
    let is_same_store = store::read_text(&manifest).is_ok_and(|text| text.contains(&format!("id={}\n", key.store)));
    is_same_file && is_same_store
}

#[cfg(test)]
mod tests;
