//! A file system in memory that does what disks are allowed to do, and what they do all the same.
//!
//! It keeps two views: what processes see, and what is durable. A file's bytes become durable by `fsync` or by a write that asks for it, a
//! name by `fsync` of its folder, as POSIX has it and no more. When the power is lost, what was not durable is gone or not, sector by sector as
//! the seed decides; names go in the order in which they were made. Calls can be made to fail, and bytes to change.
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString, c_int};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, SystemTime};

use fuser::consts::FUSE_ASYNC_DIO;
use fuser::{
    BackgroundSession, FUSE_ROOT_ID, FileAttr, FileType, Filesystem, KernelConfig, MountOption, ReplyAttr, ReplyCreate,
    ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow,
};
use rustix::io::Errno;
use tempfile::TempDir;

use harness::Random;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: usize = 512;
/// The kernel keeps nothing: each call comes here.
const TTL: Duration = Duration::ZERO;
const OPEN_DIRECT_IO: u32 = 1;
const O_SYNC_BITS: i32 = 0o4_010_000;
const TOTAL_BLOCKS: u64 = 1 << 20;
const BLOCK_BYTES: u32 = 4096;

/// A kind of call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    Read,
    Write,
    /// After it, what was written before is not durable and never will be, though it is seen: as Linux's file systems have it.
    Flush,
}

#[derive(Debug)]
struct Fault {
    call: Call,
    /// Part of the path.
    path: String,
    left: u32,
    errno: Errno,
}

#[derive(Debug)]
enum Change {
    /// A durable one is in `durable` already. It stands here so that those before it do not come after it.
    Write {
        at: usize,
        data: Vec<u8>,
        is_durable: bool,
    },
    Size(usize),
}

#[derive(Debug, Default)]
struct Bytes {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// What was done to `seen` and not to `durable`, in order.
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Node {
    File(Bytes),
    Folder(BTreeMap<OsString, u64>),
}

/// A name that was made or removed, or both at once, and is not durable.
#[derive(Debug)]
struct Renaming {
    from: Option<(u64, OsString)>,
    to: Option<(u64, OsString, u64)>,
}

#[derive(Debug)]
struct State {
    nodes: BTreeMap<u64, Node>,
    /// Names that are durable, by folder.
    durable: BTreeMap<u64, BTreeMap<OsString, u64>>,
    renamings: Vec<Renaming>,
    faults: Vec<Fault>,
    /// Blocks that cannot be read until they are written: the file, and which of its blocks.
    bad: BTreeSet<(u64, usize)>,
    next: u64,
    /// The power is off: whatever is asked fails.
    is_off: bool,
    /// Part of the path of files whose writes stay on their way, and those that do.
    holds: Option<String>,
    held: Vec<HeldWrite>,
}

/// A write that the disk was given and does not do yet.
#[derive(Debug)]
struct HeldWrite {
    ino: u64,
    at: usize,
    data: Vec<u8>,
    is_durable: bool,
    reply: ReplyWrite,
}

/// A disk that lies; unmounted when dropped. Declare it before what uses it.
pub(crate) struct LyingDisk {
    folder: TempDir,
    state: Arc<Mutex<State>>,
    session: Option<BackgroundSession>,
}

impl LyingDisk {
    /// Mounts an empty one; `None` with a line where that cannot be done.
    pub(crate) fn mount() -> Option<Self> {
        let folder = TempDir::with_prefix("ringmq-lying-").expect("the temporary folder is writable");
        let state = State {
            nodes: [(FUSE_ROOT_ID, Node::Folder(BTreeMap::new()))].into(),
            durable: BTreeMap::new(),
            renamings: Vec::new(),
            faults: Vec::new(),
            bad: BTreeSet::new(),
            next: FUSE_ROOT_ID + 1,
            is_off: false,
            holds: None,
            held: Vec::new(),
        };
        let state = Arc::new(Mutex::new(state));
        let options = [MountOption::FSName("lying".to_owned()), MountOption::NoAtime];
        match fuser::spawn_mount2(Served(state.clone()), folder.path(), &options) {
            Ok(session) => Some(Self { folder, state, session: Some(session) }),
            Err(error) => {
                writeln!(io::stderr(), "skipped: a file system of one's own needs /dev/fuse and root: {error}")
                    .expect("stderr is open");
                None
            }
        }
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    /// The next `count` calls of this kind to files whose path has `path` in it fail.
    pub(crate) fn fail(&self, call: Call, path: &str, count: u32, errno: Errno) {
        self.state().faults.push(Fault { call, path: path.to_owned(), left: count, errno });
    }

    /// Whether all calls that were to fail have.
    pub(crate) fn has_failed(&self) -> bool {
        self.state().faults.iter().all(|fault| fault.left == 0)
    }

    /// Changes one bit of each byte that `wanted` finds in a file whose path has `path` in it: seen and durable are no longer what was written. How many.
    pub(crate) fn flip(&self, path: &str, wanted: &[u8]) -> usize {
        let mut state = self.state();
        let inodes: Vec<u64> = state.nodes.keys().copied().collect();
        let named = inodes.into_iter().filter(|ino| state.path_of(*ino).display().to_string().contains(path));
        let mut flipped = 0;
        for ino in named.collect::<Vec<u64>>() {
            let Ok(bytes) = state.file(ino) else { continue };
            let Some(at) = bytes.seen.windows(wanted.len()).position(|found| found == wanted) else { continue };
            for view in [&mut bytes.seen, &mut bytes.durable] {
                if let Some(byte) = view.get_mut(at) {
                    *byte ^= 0x04;
                }
            }
            flipped += 1;
        }
        flipped
    }

    /// From now on writes to files whose path has `path` in it stay on their way.
    pub(crate) fn hold_writes(&self, path: &str) {
        self.state().holds = Some(path.to_owned());
    }

    /// How many writes are on their way.
    pub(crate) fn held(&self) -> usize {
        self.state().held.len()
    }

    /// They come to the disk, whoever gave them.
    pub(crate) fn let_go(&self) {
        let mut state = self.state();
        state.holds = None;
        for HeldWrite { ino, at, data, is_durable, reply } in std::mem::take(&mut state.held) {
            state.write(ino, at, &data, is_durable, reply);
        }
    }

    /// What lies in the block in which `wanted` begins, in a file whose path has `path` in it, is gone, and cannot be read until it is written. Whether
    /// there is one.
    pub(crate) fn lose_block(&self, path: &str, wanted: &[u8]) -> bool {
        let mut state = self.state();
        let inodes: Vec<u64> = state.nodes.keys().copied().collect();
        for ino in inodes {
            if !state.path_of(ino).display().to_string().contains(path) {
                continue;
            }
            let Ok(bytes) = state.file(ino) else { continue };
            let Some(at) = bytes.seen.windows(wanted.len()).position(|found| found == wanted) else { continue };
            let block = at / BLOCK_BYTES as usize;
            let range = block * BLOCK_BYTES as usize..(block + 1) * BLOCK_BYTES as usize;
            for view in [&mut bytes.seen, &mut bytes.durable] {
                view.get_mut(range.clone()).into_iter().for_each(|bytes| bytes.fill(0xEE));
            }
            state.bad.insert((ino, block));
            return true;
        }
        false
    }

    /// How many blocks cannot be read.
    pub(crate) fn bad_blocks(&self) -> usize {
        self.state().bad.len()
    }

    /// The power goes. Nothing is read or written until it is back.
    pub(crate) fn lose_power(&self, random: &mut Random) {
        let mut state = self.state();
        state.lose(random);
        state.is_off = true;
    }

    /// The power is back.
    pub(crate) fn restore_power(&self) {
        self.state().is_off = false;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no call panics")
    }
}

impl Drop for LyingDisk {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            // The rings of a process that has ended hold files for a moment more: at once it would be busy, and waited for without an end.
            let unmounted = Command::new("umount").arg("--lazy").arg(self.folder.path()).status();
            assert!(unmounted.is_ok_and(|status| status.success()) || std::thread::panicking(), "not unmounted");
            session.join();
        }
    }
}

impl Bytes {
    fn write(&mut self, at: usize, data: &[u8], is_durable: bool) {
        put(&mut self.seen, at, data);
        if is_durable {
            put(&mut self.durable, at, data);
        }
        if !is_durable || !self.pending.is_empty() {
            self.pending.push(Change::Write { at, data: data.to_vec(), is_durable });
        }
    }

    fn resize(&mut self, size: usize) {
        self.seen.resize(size, 0);
        self.pending.push(Change::Size(size));
    }

    fn flush(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { at, data, .. } => put(&mut self.durable, at, &data),
                Change::Size(size) => self.durable.resize(size, 0),
            }
        }
    }

    /// Some of what is pending has reached the disk, and the rest never will.
    fn lose(&mut self, random: &mut Random) {
        for change in self.pending.drain(..) {
            match change {
                Change::Size(size) if random.below(2) == 0 => self.durable.resize(size, 0),
                Change::Size(_) => {}
                Change::Write { at, data, is_durable: true } => put(&mut self.durable, at, &data),
                Change::Write { at, data, is_durable: false } => {
                    let mut from = 0;
                    while from < data.len() {
                        let to = (from + SECTOR_BYTES - (at + from) % SECTOR_BYTES).min(data.len());
                        if random.below(2) == 0 && at + to <= self.durable.len() {
                            self.durable[at + from..at + to].copy_from_slice(&data[from..to]);
                        }
                        from = to;
                    }
                }
            }
        }
        self.seen = self.durable.clone();
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, data: &[u8]) {
    let end = at + data.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(data);
}

impl State {
    fn folder(&mut self, ino: u64) -> Result<&mut BTreeMap<OsString, u64>, Errno> {
        match self.nodes.get_mut(&ino) {
            Some(Node::Folder(names)) => Ok(names),
            Some(Node::File(_)) => Err(Errno::NOTDIR),
            None => Err(Errno::NOENT),
        }
    }

    fn file(&mut self, ino: u64) -> Result<&mut Bytes, Errno> {
        match self.nodes.get_mut(&ino) {
            Some(Node::File(bytes)) => Ok(bytes),
            Some(Node::Folder(_)) => Err(Errno::ISDIR),
            None => Err(Errno::NOENT),
        }
    }

    /// The file of a call, unless the call is to fail.
    fn file_for(&mut self, call: Call, ino: u64) -> Result<&mut Bytes, Errno> {
        self.check(call, ino)?;
        self.file(ino)
    }

    fn make(&mut self, parent: u64, name: &OsStr, node: Node) -> Result<u64, Errno> {
        let ino = self.next;
        let names = self.folder(parent)?;
        if names.contains_key(name) {
            return Err(Errno::EXIST);
        }
        names.insert(name.to_owned(), ino);
        self.next += 1;
        self.nodes.insert(ino, node);
        self.renamings.push(Renaming { from: None, to: Some((parent, name.to_owned(), ino)) });
        Ok(ino)
    }

    fn remove(&mut self, parent: u64, name: &OsStr) -> Result<(), Errno> {
        self.folder(parent)?.remove(name).ok_or(Errno::NOENT)?;
        self.renamings.push(Renaming { from: Some((parent, name.to_owned())), to: None });
        Ok(())
    }

    fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Result<(), Errno> {
        let ino = self.folder(from.0)?.remove(from.1).ok_or(Errno::NOENT)?;
        self.folder(to.0)?.insert(to.1.to_owned(), ino);
        let (from, to) = ((from.0, from.1.to_owned()), (to.0, to.1.to_owned(), ino));
        self.renamings.push(Renaming { from: Some(from), to: Some(to) });
        Ok(())
    }

    /// Makes the names of a folder durable.
    fn flush_names(&mut self, folder: u64) {
        let touches = |renaming: &Renaming| {
            renaming.from.as_ref().is_some_and(|(parent, _)| *parent == folder)
                || renaming.to.as_ref().is_some_and(|(parent, _, _)| *parent == folder)
        };
        let (now, later) = std::mem::take(&mut self.renamings).into_iter().partition(touches);
        self.renamings = later;
        self.apply(now);
    }

    fn apply(&mut self, renamings: Vec<Renaming>) {
        for Renaming { from, to } in renamings {
            if let Some((parent, name)) = from {
                self.durable.entry(parent).or_default().remove(&name);
            }
            if let Some((parent, name, ino)) = to {
                self.durable.entry(parent).or_default().insert(name, ino);
            }
        }
    }

    fn lose(&mut self, random: &mut Random) {
        let kept = random.below(self.renamings.len() + 1);
        let kept = self.renamings.drain(..kept).collect();
        self.apply(kept);
        self.renamings.clear();
        for (ino, node) in &mut self.nodes {
            match node {
                Node::File(bytes) => bytes.lose(random),
                Node::Folder(names) => *names = self.durable.get(ino).cloned().unwrap_or_default(),
            }
        }
        self.faults.clear();
    }

    fn path_of(&self, ino: u64) -> PathBuf {
        let named = self.nodes.iter().find_map(|(parent, node)| match node {
            Node::Folder(names) => names.iter().find(|(_, named)| **named == ino).map(|(name, _)| (*parent, name)),
            Node::File(_) => None,
        });
        named.map(|(parent, name)| self.path_of(parent).join(name)).unwrap_or_default()
    }

    fn write(&mut self, ino: u64, at: usize, data: &[u8], is_durable: bool, reply: ReplyWrite) {
        // A bad sector has another in its place when it is written.
        let whole = at.div_ceil(BLOCK_BYTES as usize)..(at + data.len()) / BLOCK_BYTES as usize;
        self.bad.retain(|(file, block)| *file != ino || !whole.contains(block));
        match self.file_for(Call::Write, ino) {
            Ok(bytes) => {
                bytes.write(at, data, is_durable);
                reply.written(u32::try_from(data.len()).expect("the kernel writes less than 4 GiB"));
            }
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn holds(&self, ino: u64) -> bool {
        self.holds.as_ref().is_some_and(|path| self.path_of(ino).display().to_string().contains(path))
    }

    /// Whether this call is to fail.
    fn check(&mut self, call: Call, ino: u64) -> Result<(), Errno> {
        self.check_power()?;
        if self.faults.iter().all(|fault| fault.left == 0 || fault.call != call) {
            return Ok(());
        }
        let path = self.path_of(ino).display().to_string();
        let fault =
            self.faults.iter_mut().find(|fault| fault.left > 0 && fault.call == call && path.contains(&fault.path));
        let Some(fault) = fault else { return Ok(()) };
        fault.left -= 1;
        Err(fault.errno)
    }

    fn check_power(&self) -> Result<(), Errno> {
        if self.is_off { Err(Errno::IO) } else { Ok(()) }
    }

    fn attributes(&self, ino: u64) -> Result<FileAttr, Errno> {
        let (kind, size, perm) = match self.nodes.get(&ino).ok_or(Errno::NOENT)? {
            Node::File(bytes) => (FileType::RegularFile, bytes.seen.len() as u64, 0o644),
            Node::Folder(_) => (FileType::Directory, 0, 0o755),
        };
        let time = SystemTime::UNIX_EPOCH;
        Ok(FileAttr {
            ino,
            size,
            blocks: size.div_ceil(512),
            atime: time,
            mtime: time,
            ctime: time,
            crtime: time,
            kind,
            perm,
            nlink: 1,
            uid: 0,
            gid: 0,
            rdev: 0,
            blksize: BLOCK_BYTES,
            flags: 0,
        })
    }
}

/// The kernel's calls.
struct Served(Arc<Mutex<State>>);

impl Served {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("no call panics")
    }
}

fn place(at: i64) -> usize {
    usize::try_from(at).expect("the kernel asks for places in the file")
}

fn answer(done: Result<(), Errno>, reply: ReplyEmpty) {
    match done {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno.raw_os_error()),
    }
}

fn answer_entry(found: Result<FileAttr, Errno>, reply: ReplyEntry) {
    match found {
        Ok(attributes) => reply.entry(&TTL, &attributes, 0),
        Err(errno) => reply.error(errno.raw_os_error()),
    }
}

impl Filesystem for Served {
    /// As of other disks, a direct write that was given is on its way whatever becomes of who gave it.
    fn init(&mut self, _: &Request<'_>, config: &mut KernelConfig) -> Result<(), c_int> {
        config.add_capabilities(FUSE_ASYNC_DIO).map_err(|_| Errno::NOSYS.raw_os_error())
    }

    fn lookup(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEntry) {
        let mut state = self.state();
        let found = state.check_power().and_then(|()| state.folder(parent)?.get(name).copied().ok_or(Errno::NOENT));
        answer_entry(found.and_then(|ino| state.attributes(ino)), reply);
    }

    fn getattr(&mut self, _: &Request<'_>, ino: u64, _: Option<u64>, reply: ReplyAttr) {
        match self.state().attributes(ino) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn setattr(
        &mut self,
        _: &Request<'_>,
        ino: u64,
        _mode: Option<u32>,
        _uid: Option<u32>,
        _gid: Option<u32>,
        size: Option<u64>,
        _atime: Option<TimeOrNow>,
        _mtime: Option<TimeOrNow>,
        _ctime: Option<SystemTime>,
        _: Option<u64>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<u32>,
        reply: ReplyAttr,
    ) {
        let mut state = self.state();
        let resized = match size {
            Some(size) => state
                .file_for(Call::Write, ino)
                .map(|bytes| bytes.resize(usize::try_from(size).expect("a test's file"))),
            None => Ok(()),
        };
        match resized.and_then(|()| state.attributes(ino)) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn mkdir(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        let mut state = self.state();
        let made = state.check_power().and_then(|()| state.make(parent, name, Node::Folder(BTreeMap::new())));
        answer_entry(made.and_then(|ino| state.attributes(ino)), reply);
    }

    fn create(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        _mode: u32,
        _umask: u32,
        _flags: i32,
        reply: ReplyCreate,
    ) {
        let mut state = self.state();
        let made = state.check_power().and_then(|()| state.make(parent, name, Node::File(Bytes::default())));
        match made.and_then(|ino| state.attributes(ino)) {
            Ok(attributes) => reply.created(&TTL, &attributes, 0, 0, OPEN_DIRECT_IO),
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn unlink(&mut self, _: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        let mut state = self.state();
        answer(state.check_power().and_then(|()| state.remove(parent, name)), reply);
    }

    fn rmdir(&mut self, request: &Request<'_>, parent: u64, name: &OsStr, reply: ReplyEmpty) {
        self.unlink(request, parent, name, reply);
    }

    fn rename(
        &mut self,
        _: &Request<'_>,
        parent: u64,
        name: &OsStr,
        new_parent: u64,
        new_name: &OsStr,
        _flags: u32,
        reply: ReplyEmpty,
    ) {
        let mut state = self.state();
        answer(state.check_power().and_then(|()| state.rename((parent, name), (new_parent, new_name))), reply);
    }

    fn open(&mut self, _: &Request<'_>, _: u64, _: i32, reply: ReplyOpen) {
        match self.state().check_power() {
            Ok(()) => reply.opened(0, OPEN_DIRECT_IO),
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn read(
        &mut self,
        _: &Request<'_>,
        ino: u64,
        _: u64,
        offset: i64,
        size: u32,
        _flags: i32,
        _lock_owner: Option<u64>,
        reply: ReplyData,
    ) {
        let mut state = self.state();
        let blocks =
            place(offset) / BLOCK_BYTES as usize..(place(offset) + size as usize).div_ceil(BLOCK_BYTES as usize);
        if state.bad.range((ino, blocks.start)..(ino, blocks.end)).next().is_some() {
            return reply.error(Errno::IO.raw_os_error());
        }
        match state.file_for(Call::Read, ino) {
            Ok(Bytes { seen, .. }) => {
                let from = place(offset).min(seen.len());
                reply.data(&seen[from..(from + size as usize).min(seen.len())]);
            }
            Err(errno) => reply.error(errno.raw_os_error()),
        }
    }

    fn write(
        &mut self,
        _: &Request<'_>,
        ino: u64,
        _: u64,
        offset: i64,
        data: &[u8],
        _write_flags: u32,
        flags: i32,
        _lock_owner: Option<u64>,
        reply: ReplyWrite,
    ) {
        let mut state = self.state();
        let (at, is_durable) = (place(offset), flags & O_SYNC_BITS != 0);
        if state.holds(ino) {
            return state.held.push(HeldWrite { ino, at, data: data.to_vec(), is_durable, reply });
        }
        state.write(ino, at, data, is_durable, reply);
    }

    fn fallocate(&mut self, _: &Request<'_>, ino: u64, _: u64, at: i64, len: i64, _: i32, reply: ReplyEmpty) {
        let mut state = self.state();
        let done = state.file_for(Call::Write, ino).map(|bytes| {
            let end = place(at) + place(len);
            if end > bytes.seen.len() {
                bytes.resize(end);
            }
        });
        answer(done, reply);
    }

    fn fsync(&mut self, _: &Request<'_>, ino: u64, _: u64, _: bool, reply: ReplyEmpty) {
        let mut state = self.state();
        let checked = state.check(Call::Flush, ino);
        let flushed = state.file(ino).and_then(|bytes| {
            if checked.is_ok() {
                bytes.flush();
            } else {
                bytes.pending.clear();
            }
            checked
        });
        answer(flushed, reply);
    }

    fn flush(&mut self, _: &Request<'_>, _: u64, _: u64, _: u64, reply: ReplyEmpty) {
        reply.ok();
    }

    fn fsyncdir(&mut self, _: &Request<'_>, ino: u64, _: u64, _: bool, reply: ReplyEmpty) {
        let mut state = self.state();
        let checked = state.check(Call::Flush, ino);
        answer(checked.map(|()| state.flush_names(ino)), reply);
    }

    fn readdir(&mut self, _: &Request<'_>, ino: u64, _: u64, offset: i64, mut reply: ReplyDirectory) {
        let mut state = self.state();
        let names = match state.check_power().and_then(|()| state.folder(ino).cloned()) {
            Ok(names) => names,
            Err(errno) => return reply.error(errno.raw_os_error()),
        };
        let dots = [".", ".."].map(|name| (OsString::from(name), ino));
        for (index, (name, ino)) in dots.into_iter().chain(names).enumerate().skip(place(offset)) {
            let kind = match state.nodes.get(&ino) {
                Some(Node::File(_)) => FileType::RegularFile,
                _ => FileType::Directory,
            };
            if reply.add(ino, i64::try_from(index + 1).expect("few"), kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&mut self, _: &Request<'_>, _: u64, reply: ReplyStatfs) {
        reply.statfs(TOTAL_BLOCKS, TOTAL_BLOCKS / 2, TOTAL_BLOCKS / 2, 1 << 20, 1 << 19, BLOCK_BYTES, 255, BLOCK_BYTES);
    }
}
