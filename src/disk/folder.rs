//! A shard's folder: direct writes and reads of its files, and what happens to their names.
//!
//! Paths are relative to the folder; how they look is `log`'s knowledge. Every offset and length is a multiple of 4096
//! ([`DISK_BLOCK_BYTES`]): glommio's own alignment is taken from the wrong device on some machines.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use glommio::GlommioError;
use glommio::io::{DmaBuffer, DmaFile, OpenOptions};
use glommio::sync::Semaphore;
use thiserror::Error;

use super::table::{self, TableError};
use super::{blocking, device, store};
use crate::files;
use crate::limits::{
    DISK_BLOCK_BYTES, KEPT_OF_A_PLACE_MAX, OPEN_FILES_MAX, OPEN_RETRY_MS, READ_CHUNK_BYTES, REFUSED_SAID_MS,
    ZERO_WRITE_BYTES,
};
use crate::model::UnixMs;

/// An operation on a file failed.
#[derive(Debug, Error)]
#[error("cannot {operation} {path}: {source}")]
pub struct DiskError {
    /// What was tried, as a verb.
    pub(crate) operation: &'static str,
    /// The file.
    pub path: PathBuf,
    /// What the kernel said.
    pub source: io::Error,
}

impl DiskError {
    pub(super) fn new(operation: &'static str, path: &Path, source: io::Error) -> DiskError {
        DiskError { operation, path: path.to_owned(), source }
    }

    /// Whether the disk or the quota is full: the only failure that freeing space can end.
    #[must_use]
    pub(crate) fn is_no_space(&self) -> bool {
        matches!(self.source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
    }

    /// Whether the process (`EMFILE`) or the system (`ENFILE`) has as many files open as it may.
    fn is_out_of_descriptors(&self) -> bool {
        let errno = self.source.raw_os_error();
        [rustix::io::Errno::MFILE, rustix::io::Errno::NFILE].iter().any(|known| errno == Some(known.raw_os_error()))
    }

    /// Whether nothing has happened, because the file could not even be opened, and a human or time may change that.
    #[must_use]
    pub(crate) fn has_not_begun(&self) -> bool {
        let errno = self.source.raw_os_error();
        let may_change =
            [rustix::io::Errno::ACCESS, rustix::io::Errno::PERM, rustix::io::Errno::ROFS, rustix::io::Errno::NOMEM];
        self.operation == "open" && may_change.iter().any(|known| errno == Some(known.raw_os_error()))
    }
}

/// glommio's error with the kernel's number kept: its own conversion loses it.
pub(super) fn failed(operation: &'static str, path: &Path, error: &GlommioError<()>) -> DiskError {
    let source = match error.raw_os_error() {
        Some(number) => io::Error::from_raw_os_error(number),
        None => io::Error::other(error.to_string()),
    };
    DiskError::new(operation, path, source)
}

/// A file found in the folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileOnDisk {
    /// Relative to the shard's folder.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

/// How full the file system of the folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Usage {
    /// Size of the file system.
    pub(crate) total_bytes: u64,
    /// What an ordinary user may still write.
    pub(crate) free_bytes: u64,
}

struct OpenFile {
    file: Rc<DmaFile>,
    /// The same file, opened so that each write is durable when it returns.
    durable: Option<Rc<DmaFile>>,
    used: u64,
}

/// The files of one shard, on its executor.
pub struct Disk {
    folder: PathBuf,
    /// Open files by relative path, at most [`OPEN_FILES_MAX`]; the one used longest ago goes first.
    open: RefCell<BTreeMap<PathBuf, OpenFile>>,
    uses: Cell<u64>,
    /// Held while a file is opened or its name changes: glommio looks at the path again after opening and panics if it is gone.
    names: Semaphore,
    /// Held while a file is replaced: two at once of the same file would write into one.
    replaces: Semaphore,
    commits: RunningCommits,
}

impl Disk {
    /// Takes the folder on this executor: primes glommio for its device and checks that blocks come back.
    ///
    /// # Errors
    /// [`DiskError`] if the folder does not take direct I/O.
    pub async fn open(folder: &Path) -> Result<Disk, DiskError> {
        device::prepare_device(folder).await?;
        Ok(Disk {
            folder: folder.to_owned(),
            open: RefCell::new(BTreeMap::new()),
            uses: Cell::new(0),
            names: Semaphore::new(1),
            replaces: Semaphore::new(1),
            commits: RunningCommits::default(),
        })
    }

    /// Where its files are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Every file below the folder, in the order of the names.
    ///
    /// # Errors
    /// [`DiskError`] if a directory cannot be read.
    pub async fn list(&self) -> Result<Vec<FileOnDisk>, DiskError> {
        let folder = self.folder.clone();
        let found = blocking::run(move || list_files(&folder));
        found.await.map_err(|source| DiskError::new("list", &self.folder, source))
    }

    /// When a file in one of these folders was last changed; `None` if there is none.
    ///
    /// # Errors
    /// [`DiskError`] if a directory cannot be read.
    pub(crate) async fn newest_change(&self, folders: &'static [&'static str]) -> Result<Option<UnixMs>, DiskError> {
        let root = self.folder.clone();
        let found = blocking::run(move || {
            let mut newest = None;
            for folder in folders {
                for entry in std::fs::read_dir(root.join(folder))? {
                    newest = newest.max(Some(entry?.metadata()?.modified()?));
                }
            }
            Ok(newest)
        });
        let newest = found.await.map_err(|source| DiskError::new("list", &self.folder, source))?;
        let since = newest.and_then(|newest| newest.duration_since(UNIX_EPOCH).ok());
        Ok(since.and_then(|since| i64::try_from(since.as_millis()).ok()).map(UnixMs))
    }

    /// Writes `len` bytes at `at`; `fill` puts them into the aligned buffer. A commit: background writes step aside for it.
    ///
    /// # Errors
    /// [`DiskError`]; whether the bytes are on disk is then unknown, so the caller must not try again.
    ///
    /// # Panics
    /// If `at` or `len` is no multiple of 4096.
    pub async fn write(&self, path: &Path, at: u64, len: usize, fill: impl FnOnce(&mut [u8])) -> Result<(), DiskError> {
        let file = self.file(path).await?;
        self.commit(&file, path, at, len, fill).await
    }

    /// [`Disk::write`], and the bytes are on stable storage when it returns; bytes that were only written before need not be.
    ///
    /// One request (`O_DSYNC`) and not a write followed by `fdatasync`: between the two the executor would do whatever else there is to do.
    ///
    /// # Errors
    /// [`DiskError`], as with [`Disk::write`].
    ///
    /// # Panics
    /// If `at` or `len` is no multiple of 4096.
    pub async fn write_durably(
        &self,
        path: &Path,
        at: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), DiskError> {
        let file = self.durable(path).await?;
        self.commit(&file, path, at, len, fill).await
    }

    async fn commit(
        &self,
        file: &DmaFile,
        path: &Path,
        at: u64,
        len: usize,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<(), DiskError> {
        let mut buffer = file.alloc_dma_buffer(len);
        fill(buffer.as_bytes_mut());
        let _commit = self.commits.begin();
        write_whole(file, path, Rc::new(buffer), at).await
    }

    /// Flushes the file's data to stable storage.
    ///
    /// # Errors
    /// [`DiskError`]; the state of the data is then unknown and a second flush proves nothing.
    pub async fn flush(&self, path: &Path) -> Result<(), DiskError> {
        let file = self.file(path).await?;
        let _commit = self.commits.begin();
        file.fdatasync().await.map_err(|error| failed("flush", path, &error))
    }

    /// Reads up to `len` bytes at `at`; fewer only at the end of the file.
    ///
    /// # Errors
    /// [`DiskError`].
    ///
    /// # Panics
    /// If `at` or `len` is no multiple of 4096.
    pub async fn read(&self, path: &Path, at: u64, len: usize) -> Result<Bytes, DiskError> {
        assert!(is_aligned(at) && is_aligned(len as u64), "an unaligned read: {len} bytes at {at}");
        let file = self.file(path).await?;
        let mut bytes = BytesMut::with_capacity(len);
        while bytes.len() < len {
            let chunk = (len - bytes.len()).min(READ_CHUNK_BYTES);
            let from = at + bytes.len() as u64;
            let read = file.read_at_aligned(from, chunk).await.map_err(|error| failed("read", path, &error))?;
            bytes.extend_from_slice(&read);
            if read.len() < chunk {
                break;
            }
        }
        Ok(bytes.freeze())
    }

    /// Writes zeroes over a part of a file of `size` bytes: a piece of a segment in advance. For the background task queue.
    ///
    /// A missing file is made, and allocated in full first, so that a full disk shows at once; with a `len` of 0 that is all. Zeroes help
    /// where each commit is flushed: the first write into an allocated extent costs a journal commit with each flush, which doubles
    /// the cost of a commit. One chunk is in flight at a time, and it waits for the commit that runs. It does not wait for *no*
    /// commit to run: under load one always does, and the next segment would never be ready. Nothing is flushed; [`Disk::rename`]
    /// does that.
    ///
    /// # Errors
    /// [`DiskError`], [`DiskError::is_no_space`] among them; a file that could not be allocated is removed.
    ///
    /// # Panics
    /// If `at`, `len` or `size` is no multiple of 4096.
    pub async fn prepare(&self, path: &Path, at: u64, len: u64, size: u64) -> Result<(), DiskError> {
        assert!(is_aligned(at) && is_aligned(len) && is_aligned(size), "{len} zeroes at {at} of {size}");
        let file = match self.file(path).await {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => self.make(path, size).await?,
            other => other?,
        };
        if len == 0 {
            return Ok(());
        }
        let chunk = usize::try_from(len).unwrap_or(usize::MAX).min(ZERO_WRITE_BYTES);
        let zeroes = Rc::new(zeroes(&file, chunk));
        let (mut from, end) = (at, at + len);
        while from < end {
            self.commits.current_ended().await;
            let left = end - from;
            let piece = if left < chunk as u64 {
                Rc::new(self::zeroes(&file, usize::try_from(left).expect("less than a chunk")))
            } else {
                zeroes.clone()
            };
            let written = piece.len() as u64;
            write_whole(&file, path, piece, from).await?;
            from += written;
        }
        Ok(())
    }

    /// Makes a file, allocated in full if `size` is not 0.
    async fn make(&self, path: &Path, size: u64) -> Result<Rc<DmaFile>, DiskError> {
        let mut options = OpenOptions::new();
        let file = self.open_file(path, options.read(true).write(true).create(true).truncate(true)).await?;
        if size > 0
            && let Err(error) = file.pre_allocate(size, false).await
        {
            drop(file);
            // What is reported is that there is no room; a file left over is allocated again by the next attempt.
            drop(self.remove(path).await);
            return Err(failed("allocate", path, &error));
        }
        self.remember(path, file.clone());
        Ok(file)
    }

    /// Writes `data` at `at` of a file that is made if it is missing; with `flush`, bytes and name are durable when it returns.
    /// For the background task queue.
    ///
    /// # Errors
    /// [`DiskError`].
    ///
    /// # Panics
    /// If `at` or the length of `data` is no multiple of 4096.
    pub(crate) async fn write_background(
        &self,
        path: &Path,
        at: u64,
        data: &[u8],
        flush: bool,
    ) -> Result<(), DiskError> {
        let (file, is_new) = match self.file(path).await {
            Err(error) if error.source.kind() == io::ErrorKind::NotFound => (self.make(path, 0).await?, true),
            other => (other?, false),
        };
        self.write_between_commits(&file, path, at, data).await?;
        if flush {
            file.fdatasync().await.map_err(|error| failed("flush", path, &error))?;
        }
        if flush || is_new { self.flush_names(path).await } else { Ok(()) }
    }

    /// Writes over a part of a file that is damaged, durably, when what it holds, `before`, is kept in the file `aside`; nothing is kept if that is empty.
    ///
    /// # Errors
    /// [`DiskError`]; whether the part is old, new or a mixture is then unknown.
    ///
    /// # Panics
    /// If `at` or the length of `data` is no multiple of 4096.
    pub(crate) async fn mend(
        &self,
        path: &Path,
        at: u64,
        data: &[u8],
        aside: &Path,
        before: Bytes,
    ) -> Result<(), DiskError> {
        let kept = self.folder.join(aside);
        let keep = blocking::run(move || if before.is_empty() { Ok(()) } else { keep_aside(&kept, &before) });
        keep.await.map_err(|source| DiskError::new("keep what is damaged in", aside, source))?;
        let file = self.file(path).await?;
        self.write_between_commits(&file, path, at, data).await?;
        file.fdatasync().await.map_err(|error| failed("flush", path, &error))
    }

    /// Writes in pieces, each when the commit under way has ended.
    async fn write_between_commits(&self, file: &DmaFile, path: &Path, at: u64, data: &[u8]) -> Result<(), DiskError> {
        let mut from = at;
        for piece in data.chunks(ZERO_WRITE_BYTES) {
            self.commits.current_ended().await;
            let mut buffer = file.alloc_dma_buffer(piece.len());
            buffer.as_bytes_mut().copy_from_slice(piece);
            write_whole(file, path, Rc::new(buffer), from).await?;
            from += piece.len() as u64;
        }
        Ok(())
    }

    /// Flushes a file and renames it, durably. An open file stays open under its new name.
    ///
    /// # Errors
    /// [`DiskError`].
    pub async fn rename(&self, from: &Path, to: &Path) -> Result<(), DiskError> {
        self.file(from).await?.fdatasync().await.map_err(|error| failed("flush", from, &error))?;
        let _names = self.names_held().await;
        let (old, new) = (self.folder.join(from), self.folder.join(to));
        let moved = blocking::run(move || {
            std::fs::rename(&old, &new)?;
            flush_parents(&[&old, &new])
        });
        moved.await.map_err(|source| DiskError::new("rename", from, source))?;
        let mut open = self.open.borrow_mut();
        open.remove(to);
        if let Some(file) = open.remove(from) {
            open.insert(to.to_owned(), file);
        }
        Ok(())
    }

    /// Removes a file, durably. It is no error if it is gone already.
    ///
    /// # Errors
    /// [`DiskError`].
    pub(crate) async fn remove(&self, path: &Path) -> Result<(), DiskError> {
        let _names = self.names_held().await;
        self.open.borrow_mut().remove(path);
        let full = self.folder.join(path);
        let removed = blocking::run(move || match std::fs::remove_file(&full) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => flush_parents(&[&full]),
        });
        removed.await.map_err(|source| DiskError::new("remove", path, source))
    }

    /// Replaces a small file as a whole: after a crash it has its old or its new content.
    ///
    /// # Errors
    /// [`DiskError`]; the old content is then still there.
    pub async fn replace(&self, path: &Path, bytes: Bytes) -> Result<(), DiskError> {
        self.replace_by(path, move |target| files::write_unfinished(target, &[&bytes]), |_| {}).await
    }

    /// [`Disk::replace`] of a table, with its CRC; the former one is kept beside it. See [`table`].
    ///
    /// # Errors
    /// [`DiskError`]; the old content is then still there.
    pub(crate) async fn replace_table(&self, path: &Path, bytes: Bytes) -> Result<(), DiskError> {
        self.replace_by(path, move |target| table::write_unfinished(target, &bytes), table::keep_former).await
    }

    /// Puts a note, a text with its CRC, in the place of a small file. `text` is asked for while nobody else replaces a file of the shard, so that it can
    /// go by what is there. `in_place`: it is written over, if it fits, and not flushed, so that a loss of power may leave the note before. See [`table`].
    ///
    /// # Errors
    /// [`DiskError`], that of `text` included; the old note is then still there.
    pub(crate) async fn renew_note(
        &self,
        path: &Path,
        in_place: bool,
        text: impl FnOnce() -> Result<String, DiskError> + Send + 'static,
    ) -> Result<(), DiskError> {
        let _replaces = self.replaces.acquire_permit(1).await.expect("the semaphore is never closed");
        let full = self.folder.join(path);
        // Nobody opens a note but as here.
        let renewed = blocking::run(move || Ok(text().map(|text| table::renew(&full, &text, in_place))));
        let failed = |source| DiskError::new("replace", path, source);
        renewed.await.map_err(failed)??.map_err(failed)
    }

    async fn replace_by(
        &self,
        path: &Path,
        write: impl FnOnce(&Path) -> io::Result<()> + Send + 'static,
        before: fn(&Path),
    ) -> Result<(), DiskError> {
        let _replaces = self.replaces.acquire_permit(1).await.expect("the semaphore is never closed");
        let failed = |source| DiskError::new("replace", path, source);
        let full = self.folder.join(path);
        let target = full.clone();
        blocking::run(move || write(&target)).await.map_err(failed)?;
        {
            // Only the change of names is done under the lock: a table takes a flush, and a commit that begins a segment opens a file.
            let _names = self.names_held().await;
            self.open.borrow_mut().remove(path);
            let target = full.clone();
            let finished = blocking::run(move || {
                before(&target);
                files::finish(&target)
            });
            finished.await.map_err(failed)?;
        }
        blocking::run(move || flush_parents(&[&full])).await.map_err(failed)
    }

    /// Writes a small file anew in place, if it fits the block that the file has: for a disk without a free one. A power loss meanwhile may
    /// leave a mixture.
    ///
    /// # Errors
    /// [`DiskError`].
    pub(crate) async fn overwrite(&self, path: &Path, bytes: Bytes) -> Result<(), DiskError> {
        let full = self.folder.join(path);
        let written = blocking::run(move || store::overwrite_file(&full, &bytes));
        written.await.map_err(|source| DiskError::new("write", path, source))
    }

    /// Reads a table, if it is as it was written; `None` if there is none. `must_exist`: there was one. See [`table`].
    ///
    /// # Errors
    /// [`TableError`].
    pub(crate) async fn read_table(&self, path: &Path, must_exist: bool) -> Result<Option<Vec<u8>>, TableError> {
        let full = self.folder.join(path);
        let read = blocking::run(move || Ok(table::read(&full, must_exist)));
        read.await.map_err(|source| DiskError::new("read", path, source))?
    }

    /// Sets the length of a file, durably.
    ///
    /// # Errors
    /// [`DiskError`].
    pub async fn truncate(&self, path: &Path, bytes: u64) -> Result<(), DiskError> {
        let full = self.folder.join(path);
        let cut = blocking::run(move || {
            let file = std::fs::OpenOptions::new().write(true).open(&full)?;
            file.set_len(bytes)?;
            file.sync_all()
        });
        cut.await.map_err(|source| DiskError::new("truncate", path, source))
    }

    /// How full the file system is.
    ///
    /// # Errors
    /// [`DiskError`].
    pub(crate) async fn usage(&self) -> Result<Usage, DiskError> {
        let folder = self.folder.clone();
        let found = blocking::run(move || Ok(rustix::fs::statvfs(&folder)?)).await;
        let found = found.map_err(|source| DiskError::new("measure", &self.folder, source))?;
        // As `df` and RocketMQ count: blocks that are free but kept for others are not part of the disk.
        let used = found.f_blocks.saturating_sub(found.f_bfree);
        Ok(Usage {
            total_bytes: used.saturating_add(found.f_bavail).saturating_mul(found.f_frsize),
            free_bytes: found.f_bavail.saturating_mul(found.f_frsize),
        })
    }

    pub(crate) async fn close(&self) {
        let files = std::mem::take(&mut *self.open.borrow_mut());
        for open in files.into_values() {
            // A read may still hold the file; dropping it closes it as well.
            if let Ok(file) = Rc::try_unwrap(open.file) {
                drop(file.close().await);
            }
        }
    }

    async fn file(&self, path: &Path) -> Result<Rc<DmaFile>, DiskError> {
        if let Some(open) = self.open.borrow_mut().get_mut(path) {
            open.used = self.next_use();
            return Ok(open.file.clone());
        }
        let mut options = OpenOptions::new();
        let file = self.open_file(path, options.read(true).write(true)).await?;
        self.remember(path, file.clone());
        Ok(file)
    }

    /// [`Disk::file`], through which each write is durable.
    async fn durable(&self, path: &Path) -> Result<Rc<DmaFile>, DiskError> {
        self.file(path).await?;
        if let Some(durable) = self.open.borrow().get(path).and_then(|open| open.durable.clone()) {
            return Ok(durable);
        }
        let flags = i32::try_from(rustix::fs::OFlags::DSYNC.bits()).expect("flags fit an int");
        let mut options = OpenOptions::new();
        let durable = self.open_file(path, options.read(true).write(true).custom_flags(flags)).await?;
        if let Some(open) = self.open.borrow_mut().get_mut(path) {
            open.durable = Some(durable.clone());
        }
        Ok(durable)
    }

    /// Opens a file. Where there is no free descriptor, in the process or in the system, it waits until there is one: nothing was written, so
    /// nothing is lost, and an error here would stop the shard for what others have open.
    async fn open_file(&self, path: &Path, options: &OpenOptions) -> Result<Rc<DmaFile>, DiskError> {
        let full = self.folder.join(path);
        let mut tries = 0_u64;
        loop {
            let opened = {
                let _names = self.names_held().await;
                options.dma_open(&full).await.map(Rc::new).map_err(|error| failed("open", path, &error))
            };
            match opened {
                Err(error) if error.is_out_of_descriptors() => {
                    if tries.is_multiple_of(REFUSED_SAID_MS / OPEN_RETRY_MS) {
                        tracing::error!(%error, "the log waits for a free descriptor; close connections or raise the limit of open files");
                    }
                    tries += 1;
                    self.forget_oldest();
                    glommio::timer::sleep(Duration::from_millis(OPEN_RETRY_MS)).await;
                }
                opened => return opened,
            }
        }
    }

    /// Closes the file that was used longest ago, as soon as nobody uses it.
    fn forget_oldest(&self) {
        let mut open = self.open.borrow_mut();
        let oldest = open.iter().min_by_key(|(_, file)| file.used).map(|(path, _)| path.clone());
        oldest.and_then(|path| open.remove(&path));
    }

    fn remember(&self, path: &Path, file: Rc<DmaFile>) {
        if self.open.borrow().len() >= OPEN_FILES_MAX {
            self.forget_oldest();
        }
        let mut open = self.open.borrow_mut();
        open.insert(path.to_owned(), OpenFile { file, durable: None, used: self.next_use() });
    }

    fn next_use(&self) -> u64 {
        let next = self.uses.get() + 1;
        self.uses.set(next);
        next
    }

    async fn names_held(&self) -> glommio::sync::Permit<'_> {
        self.names.acquire_permit(1).await.expect("the semaphore of names is never closed")
    }

    async fn flush_names(&self, path: &Path) -> Result<(), DiskError> {
        let full = self.folder.join(path);
        let flushed = blocking::run(move || flush_parents(&[&full])).await;
        flushed.map_err(|source| DiskError::new("flush the folder of", path, source))
    }
}

/// Writes a buffer whole. The kernel may write less than asked: the rest is tried once, then it is an error.
async fn write_whole(file: &DmaFile, path: &Path, buffer: Rc<DmaBuffer>, at: u64) -> Result<(), DiskError> {
    let len = buffer.len();
    assert!(is_aligned(at) && is_aligned(len as u64), "an unaligned write: {len} bytes at {at}");
    let write = |buffer, at| file.write_rc_at(buffer, at);
    let written = write(buffer.clone(), at).await.map_err(|error| failed("write", path, &error))?;
    if written == len {
        return Ok(());
    }
    let whole = written - written % DISK_BLOCK_BYTES;
    let mut rest = file.alloc_dma_buffer(len - whole);
    rest.as_bytes_mut().copy_from_slice(buffer.as_bytes().get(whole..).expect("less was written than asked"));
    let rest_len = rest.len();
    let written = write(Rc::new(rest), at + whole as u64).await.map_err(|error| failed("write", path, &error))?;
    if written == rest_len {
        return Ok(());
    }
    Err(DiskError::new(
        "write",
        path,
        io::Error::other(format!("{written} of {rest_len} bytes were written, twice short")),
    ))
}

/// Keeps what is to be written over, beside what was kept of the same place before: a block with two damaged records is mended twice. What came first is
/// worth most.
fn keep_aside(path: &Path, before: &[u8]) -> io::Result<()> {
    for number in 1..=KEPT_OF_A_PLACE_MAX {
        let name = if number == 1 { path.to_owned() } else { path.with_extension(number.to_string()) };
        match files::read(&name)? {
            None => return files::make(&name, before),
            Some(found) if found == before => return Ok(()),
            Some(_) => {}
        }
    }
    Ok(())
}

fn zeroes(file: &DmaFile, len: usize) -> DmaBuffer {
    let mut buffer = file.alloc_dma_buffer(len);
    buffer.as_bytes_mut().fill(0);
    buffer
}

fn is_aligned(bytes: u64) -> bool {
    bytes.is_multiple_of(DISK_BLOCK_BYTES as u64)
}

pub(super) fn flush_parents(paths: &[&Path]) -> io::Result<()> {
    let mut flushed = None;
    for folder in paths.iter().filter_map(|path| path.parent()) {
        if flushed != Some(folder) {
            files::flush_folder(folder)?;
        }
        flushed = Some(folder);
    }
    Ok(())
}

/// Every file below a folder, in the order of the names. Blocks.
///
/// # Errors
/// What the kernel says.
pub(crate) fn list_files(folder: &Path) -> io::Result<Vec<FileOnDisk>> {
    let mut found = Vec::new();
    walk(folder, Path::new(""), &mut found)?;
    found.sort();
    Ok(found)
}

fn walk(root: &Path, below: &Path, found: &mut Vec<FileOnDisk>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(below))? {
        let entry = entry?;
        let path = below.join(entry.file_name());
        let meta = match entry.metadata() {
            // Renamed or removed since its name was read, as what replaces a table is.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            meta => meta?,
        };
        if meta.is_dir() {
            walk(root, &path, found)?;
        } else {
            found.push(FileOnDisk { path, bytes: meta.len() });
        }
    }
    Ok(())
}

/// Counts the commits that run, and wakes the one background writer when the current one ends.
#[derive(Default)]
struct RunningCommits {
    running: Cell<u32>,
    ended: Cell<u64>,
    waiter: RefCell<Option<Waker>>,
}

impl RunningCommits {
    fn begin(&self) -> RunningCommit<'_> {
        self.running.set(self.running.get() + 1);
        RunningCommit(self)
    }

    /// Returns when the commit that runs now has ended, at once if there is none.
    async fn current_ended(&self) {
        if self.running.get() == 0 {
            return;
        }
        let ended = self.ended.get();
        poll_fn(|context| {
            if self.ended.get() != ended {
                return Poll::Ready(());
            }
            *self.waiter.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

struct RunningCommit<'a>(&'a RunningCommits);

impl Drop for RunningCommit<'_> {
    fn drop(&mut self) {
        self.0.running.set(self.0.running.get() - 1);
        self.0.ended.set(self.0.ended.get() + 1);
        if let Some(waiter) = self.0.waiter.borrow_mut().take() {
            waiter.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on_executor<F: Future<Output = ()> + 'static>(test: impl FnOnce(PathBuf) -> F) {
        // Beside this test's binary, not in /tmp: direct I/O is to be tested on a real file system.
        let binary = std::env::current_exe().expect("this test's binary");
        let folder = tempfile::tempdir_in(binary.parent().expect("its folder")).expect("a temp folder");
        let executor = glommio::LocalExecutorBuilder::default().io_memory(1 << 20).make().expect("an executor");
        executor.run(test(folder.path().to_owned()));
    }

    #[test]
    fn a_prepared_file_is_written_read_and_renamed() {
        on_executor(|folder| async move {
            let disk = Disk::open(&folder).await.expect("a disk");
            let (spare, segment) = (Path::new("spare"), Path::new("segment"));
            let bytes = ZERO_WRITE_BYTES as u64 + 3 * 4096;
            disk.prepare(spare, 0, bytes, bytes).await.expect("prepared");
            disk.write(spare, 8192, 4096, |block| block.fill(7)).await.expect("written");
            disk.flush(spare).await.expect("flushed");
            disk.rename(spare, segment).await.expect("renamed");
            let read = disk.read(segment, 4096, 12288).await.expect("read");
            assert!(read[..4096].iter().all(|byte| *byte == 0));
            assert!(read[4096..8192].iter().all(|byte| *byte == 7));
            assert!(read[8192..].iter().all(|byte| *byte == 0));
            assert_eq!(disk.read(segment, bytes - 4096, 8192).await.expect("the end").len(), 4096);
            let listed = disk.list().await.expect("listed");
            assert!(listed.contains(&FileOnDisk { path: segment.to_owned(), bytes }), "{listed:?}");
            disk.remove(segment).await.expect("removed");
            disk.remove(segment).await.expect("gone already");
            assert_eq!(disk.read(segment, 0, 4096).await.expect_err("gone").source.kind(), io::ErrorKind::NotFound);
            disk.close().await;
        });
    }

    #[test]
    fn a_durable_write_goes_through_a_synchronous_handle() {
        use std::os::fd::{AsRawFd as _, BorrowedFd};
        on_executor(|folder| async move {
            let disk = Disk::open(&folder).await.expect("a disk");
            let path = Path::new("segment");
            disk.prepare(path, 0, 8192, 8192).await.expect("prepared");
            for at in [0, 4096] {
                disk.write_durably(path, at, 4096, |block| block.fill(5)).await.expect("written");
            }
            let flags = |file: Rc<DmaFile>| {
                // SAFETY: the file is open as long as `file` is.
                #[expect(unsafe_code, reason = "glommio's file lends its descriptor as a number only")]
                let descriptor = unsafe { BorrowedFd::borrow_raw(file.as_raw_fd()) };
                rustix::fs::fcntl_getfl(descriptor).expect("its flags")
            };
            let durable = disk.durable(path).await.expect("it was opened");
            assert!(flags(durable).contains(rustix::fs::OFlags::DSYNC));
            assert!(!flags(disk.file(path).await.expect("open")).contains(rustix::fs::OFlags::DSYNC));
            assert!(disk.read(path, 0, 8192).await.expect("read").iter().all(|byte| *byte == 5));
        });
    }

    #[test]
    fn a_file_too_large_for_the_disk_is_an_error_and_leaves_nothing() {
        on_executor(|folder| async move {
            let disk = Disk::open(&folder).await.expect("a disk");
            let error = disk.prepare(Path::new("spare"), 0, 4096, 1 << 45).await.expect_err("no such disk");
            assert!(error.is_no_space() || error.source.kind() == io::ErrorKind::FileTooLarge, "{error}");
            assert!(!folder.join("spare").exists());
        });
    }

    #[test]
    fn an_index_file_grows_by_its_writes() {
        on_executor(|folder| async move {
            let disk = Disk::open(&folder).await.expect("a disk");
            let index = Path::new("index");
            for (at, byte) in [(0, 1), (8192, 2)] {
                disk.write_background(index, at, &[byte; 8192], true).await.expect("written");
            }
            let read = disk.read(index, 4096, 8192).await.expect("read");
            assert_eq!((read[0], read[4096]), (1, 2));
        });
    }

    #[test]
    fn a_table_is_replaced_whole() {
        on_executor(|folder| async move {
            let disk = Disk::open(&folder).await.expect("a disk");
            let table = Path::new("topics.json");
            assert_eq!(disk.read_table(table, false).await.expect("no table"), None);
            for text in ["one\n", "another\n"] {
                disk.replace_table(table, Bytes::from_static(text.as_bytes())).await.expect("replaced");
                assert_eq!(disk.read_table(table, true).await.expect("a table").as_deref(), Some(text.as_bytes()));
            }
            assert_eq!(disk.list().await.expect("listed").len(), 3, "the table, its former version and the prime file");
            assert!(disk.usage().await.expect("usage").total_bytes > 0);
        });
    }

    #[test]
    fn more_files_than_may_be_open_are_still_readable() {
        on_executor(|folder| async move {
            let disk = Disk::open(&folder).await.expect("a disk");
            for number in 0..OPEN_FILES_MAX + 5 {
                let name = PathBuf::from(number.to_string());
                disk.prepare(&name, 0, 4096, 4096).await.expect("prepared");
                assert!(disk.open.borrow().len() <= OPEN_FILES_MAX);
            }
            assert_eq!(disk.read(Path::new("0"), 0, 4096).await.expect("read").len(), 4096);
        });
    }

    #[test]
    fn background_writes_wait_for_the_commit_that_runs_only() {
        futures_lite::future::block_on(async {
            let commits = RunningCommits::default();
            commits.current_ended().await;
            let first = commits.begin();
            let mut waiting = Box::pin(commits.current_ended());
            assert!(futures_lite::future::poll_once(&mut waiting).await.is_none());
            let _second = commits.begin();
            drop(first);
            assert!(
                futures_lite::future::poll_once(&mut waiting).await.is_some(),
                "a later commit does not hold it up"
            );
        });
    }
}
