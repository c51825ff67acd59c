//! A disk of memory that keeps only what it must.
//!
//! What a process writes it can read back at once. What was not flushed when the power goes is decided sector by sector: each of 512 bytes
//! holds what was last flushed, or anything that was written to it since, independently of all others and of the order of writes; or garbage, but
//! for the bytes with which both begin. A file that was made and not flushed may be gone, or have any size it had. Renames, removals and
//! replacements are durable when they are done. One that was interrupted may be seen and is not durable: a power loss takes it back until the names
//! of its folder are flushed.
//!
//! At rest bytes may change, and blocks may not be read.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use bytes::Bytes;

use super::random::Random;
use crate::log::{Commit, FileName, Flush, FoundFile, IoError, Step, Work};

const SECTOR: usize = 512;
const BLOCK: u64 = 4096;

/// Copies of a disk share what neither has written to since.
#[derive(Clone, Debug, Default)]
struct File {
    /// Which file it is, whatever its name.
    id: u64,
    /// What the process sees.
    seen: Rc<Vec<u8>>,
    stable: Rc<Vec<u8>>,
    /// All that was written to a sector since.
    dirty: BTreeMap<usize, Vec<[u8; SECTOR]>>,
}

/// A change of names that can be seen, and that a power loss may take back.
#[derive(Clone, Debug)]
enum Unsure {
    Made(FileName),
    Renamed { from: FileName, to: FileName },
    Removed { name: FileName, file: Option<File> },
    Replaced { name: FileName, old: Option<File> },
}

/// Halves the log offset in each reference of branches that are here whole; their checksums are right.
fn forge_branches(data: &mut [u8]) {
    let heads: Vec<usize> = (0..data.len()).filter(|&at| data[at..].starts_with(b"RQBR")).collect();
    for at in heads {
        let Some(count) = data.get(at + 16..at + 20).map(|four| u32::from_be_bytes(four.try_into().expect("four")))
        else {
            continue;
        };
        let Some(branch) = data.get_mut(at..at + 24 + 24 * count as usize) else { continue };
        for reference in branch[24..].chunks_exact_mut(24) {
            let last_log = u64::from_be_bytes(reference[8..16].try_into().expect("eight"));
            reference[8..16].copy_from_slice(&(last_log / 2).to_be_bytes());
        }
        let crc = crc32fast::hash(&branch[8..]);
        branch[4..8].copy_from_slice(&crc.to_be_bytes());
    }
}

/// The disk of one shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk {
    files: BTreeMap<FileName, File>,
    next_id: u64,
    /// In their order.
    unsure: Vec<Unsure>,
    /// Blocks that cannot be read.
    unreadable: BTreeSet<(FileName, u64)>,
    /// Bytes that the files may have together.
    pub(crate) capacity: u64,
    /// Whether flushes are forgotten: to see that the tests would notice.
    pub(crate) is_lying: bool,
    /// Whether a sector that is written again may come to be garbage from its first byte on: nothing could be promised then.
    pub(crate) is_coarse: bool,
    /// Whether no change of names is made durable when it is done.
    pub(crate) forgets_names: bool,
    /// Whether branches of the index, when they are written, come to say that what they lead to lies further in front.
    pub(crate) forges_branches: bool,
    /// Whether each change of names that may be seen and lost is.
    pub(crate) takes_all_names: bool,
}

impl File {
    fn new(id: u64, size: usize) -> File {
        File { id, seen: Rc::new(vec![0; size]), ..File::default() }
    }

    /// With `torn`, each sector may be left out, or come to be garbage.
    fn write(&mut self, at: usize, data: &[u8], mut torn: Option<&mut Random>, is_coarse: bool) {
        let seen = Rc::make_mut(&mut self.seen);
        if seen.len() < at + data.len() {
            seen.resize(at + data.len(), 0);
        }
        for (nth, bytes) in data.chunks_exact(SECTOR).enumerate() {
            let from = at + nth * SECTOR;
            let mut version: [u8; SECTOR] = bytes.try_into().expect("a whole sector");
            match torn.as_deref_mut().map(|random| (random.below(20), random)) {
                Some((0..8, _)) => continue,
                Some((8, random)) => garble(&mut version, &seen[from..from + SECTOR], random, is_coarse),
                _ => {}
            }
            seen[from..from + SECTOR].copy_from_slice(&version);
            self.dirty.entry(from / SECTOR).or_default().push(version);
        }
    }

    fn flush(&mut self) {
        self.flush_range(0, self.seen.len());
    }

    /// Makes a part durable, and with it the length of the file.
    fn flush_range(&mut self, at: usize, len: usize) {
        if self.dirty.is_empty() && self.stable.len() == self.seen.len() {
            return;
        }
        let (first, end) = (at / SECTOR, (at + len).div_ceil(SECTOR));
        let stable = Rc::make_mut(&mut self.stable);
        stable.resize(self.seen.len(), 0);
        let mut rest = self.dirty.split_off(&first);
        let mut behind = rest.split_off(&end);
        for sector in rest.into_keys() {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            stable[range.clone()].copy_from_slice(&self.seen[range]);
        }
        self.dirty.append(&mut behind);
    }

    fn lose_power(&mut self, random: &mut Random, is_coarse: bool) {
        if random.percent(50) && self.stable.len() != self.seen.len() {
            Rc::make_mut(&mut self.stable).resize(self.seen.len(), 0);
        }
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            if range.end <= self.stable.len() && random.percent(60) {
                let stable = &mut Rc::make_mut(&mut self.stable)[range];
                let mut version = random.pick(&versions);
                if random.percent(5) {
                    garble(&mut version, stable, random, is_coarse);
                }
                stable.copy_from_slice(&version);
            }
        }
        self.seen = self.stable.clone();
    }
}

/// A sector that was being written when the power went. What is written again with more behind it is not lost.
fn garble(version: &mut [u8; SECTOR], old: &[u8], random: &mut Random, is_coarse: bool) {
    let same = version.iter().zip(old).take_while(|(new, old)| !is_coarse && new == old).count();
    for byte in &mut version[same..] {
        *byte = random.bits().to_le_bytes()[0];
    }
}

/// Names are flushed folder by folder.
fn is_same_folder(one: FileName, other: FileName) -> bool {
    let folder = |name| match name {
        FileName::Segment(_) | FileName::Spare(_) => 0,
        FileName::Index(_) => 1,
        FileName::Checkpoint | FileName::Ends(_) => 2,
    };
    folder(one) == folder(other)
}

impl Unsure {
    fn name(&self) -> FileName {
        match self {
            Unsure::Made(name) | Unsure::Removed { name, .. } | Unsure::Replaced { name, .. } => *name,
            Unsure::Renamed { from, .. } => *from,
        }
    }
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub(crate) fn with_capacity(capacity: u64) -> SimDisk {
        SimDisk { capacity, ..SimDisk::default() }
    }

    /// Bytes of all files.
    #[must_use]
    pub(crate) fn used(&self) -> u64 {
        self.files.values().map(|file| file.seen.len() as u64).sum()
    }

    /// What a shell lists for recovery.
    #[must_use]
    pub(crate) fn list(&self) -> Vec<FoundFile> {
        let found =
            |(name, file): (&FileName, &File)| FoundFile { path: name.to_path(), size_bytes: file.seen.len() as u64 };
        self.files.iter().map(found).collect()
    }

    /// The bytes there; fewer at the end of the file.
    ///
    /// # Errors
    /// `ENOENT`.
    pub(crate) fn read(&self, name: FileName, at: u64, len: usize) -> Result<Vec<u8>, IoError> {
        let file = self.files.get(&name).ok_or(IoError::Failed { errno: 2 })?;
        let (from, end) = (position(at).min(file.seen.len()), (position(at) + len).min(file.seen.len()));
        let blocks = (name, at / BLOCK * BLOCK)..(name, end as u64);
        if blocks.start < blocks.end && self.unreadable.range(blocks).next().is_some() {
            return Err(IoError::Failed { errno: 5 });
        }
        Ok(file.seen[from..end].to_vec())
    }

    /// Opens a file: it is the same one whatever becomes of its name.
    pub(crate) fn open(&self, name: FileName) -> Option<u64> {
        self.files.get(&name).map(|file| file.id)
    }

    /// What a file that was opened by `id` holds now; `None` if it has no name any more.
    pub(crate) fn read_open(&self, id: u64, at: u64, len: usize) -> Option<(FileName, Vec<u8>)> {
        let name = self.files.iter().find(|(_, file)| file.id == id).map(|(name, _)| *name)?;
        self.read(name, at, len).ok().map(|bytes| (name, bytes))
    }

    fn next_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Writes to a file that is there, or to a new one. With `torn`, each sector may be left out, or come to be garbage.
    ///
    /// # Errors
    /// `NoSpace`, when the file has to grow.
    pub(crate) fn write(
        &mut self,
        name: FileName,
        at: u64,
        data: &[u8],
        torn: Option<&mut Random>,
    ) -> Result<(), IoError> {
        let size = self.files.get(&name).map_or(0, |file| file.seen.len());
        let growth = (position(at) + data.len()).saturating_sub(size) as u64;
        if growth > 0 && self.used() + growth > self.capacity {
            return Err(IoError::NoSpace);
        }
        if !self.files.contains_key(&name) {
            let id = self.next_id();
            self.files.insert(name, File::new(id, 0));
            self.unsure.push(Unsure::Made(name));
        }
        let mut data = Cow::Borrowed(data);
        if self.forges_branches && matches!(name, FileName::Index(_)) {
            forge_branches(data.to_mut());
        }
        self.files.get_mut(&name).expect("made above").write(position(at), &data, torn, self.is_coarse);
        Ok(())
    }

    /// Makes a file's bytes and its name durable.
    pub(crate) fn flush(&mut self, name: FileName) {
        if self.is_lying {
            return;
        }
        self.unsure.retain(|unsure| !matches!(unsure, Unsure::Made(made) if *made == name));
        if let Some(file) = self.files.get_mut(&name) {
            file.flush();
        }
    }

    /// Makes durable what a commit that was written is to make durable.
    pub(crate) fn flush_commit(&mut self, commit: &Commit) {
        match commit.flush {
            Flush::None => {}
            Flush::File => self.flush(commit.segment),
            Flush::Own if self.is_lying => {}
            Flush::Own => {
                let file = self.files.get_mut(&commit.segment).expect("a commit was written");
                file.flush_range(position(commit.at), commit.len);
            }
        }
    }

    /// Carries out a step of a recovery, and what it is to be supplied with.
    ///
    /// # Errors
    /// As with [`SimDisk::read`] and [`SimDisk::write`].
    ///
    /// # Panics
    /// On an end of the recovery: that is no step.
    pub(crate) fn recover(&mut self, step: Step) -> Result<Bytes, IoError> {
        match step {
            Step::Read { file, at, len } => self.read(file, at, len).map(Bytes::from),
            Step::Write { file, at, data } => self.write(file, at, &data, None).map(|()| Bytes::new()),
            Step::Flush { file } => {
                self.flush(file);
                Ok(Bytes::new())
            }
            Step::Remove { file } => {
                self.remove(file);
                Ok(Bytes::new())
            }
            Step::Done(_) | Step::Refused(_) => panic!("the recovery has ended"),
        }
    }

    /// Carries background work out. With `torn`, a write is left half done and a name may or may not change.
    ///
    /// # Errors
    /// `NoSpace`.
    pub(crate) fn work(&mut self, work: &Work, torn: Option<&mut Random>) -> Result<(), IoError> {
        match work {
            Work::Prepare { file, at, len, size } => self.prepare(*file, *at, *len, *size, torn),
            Work::Write { file, at, data, flush } => {
                let is_whole = torn.is_none();
                self.write(*file, *at, data, torn)?;
                if *flush && is_whole {
                    self.flush(*file);
                }
                Ok(())
            }
            Work::Mend { file, at, data, before } => {
                self.mend(*file, *at, data, before, torn);
                Ok(())
            }
            Work::Replace { data, .. } if self.used() + data.len() as u64 > self.capacity => Err(IoError::NoSpace),
            names => {
                let is_whole = torn.is_none();
                let is_done = is_whole && !self.forgets_names;
                if torn.is_none_or(|random| self.takes_all_names || random.percent(50)) {
                    let change = self.change_names(names);
                    if is_done {
                        self.flush_names_beside(change.name());
                    } else {
                        self.unsure.push(change);
                    }
                }
                Ok(())
            }
        }
    }

    fn change_names(&mut self, work: &Work) -> Unsure {
        match work {
            Work::Rename { from, to } => {
                self.flush(*from);
                let file = self.files.remove(from).expect("what is renamed is there");
                assert!(self.files.insert(*to, file).is_none(), "{to} was there already");
                Unsure::Renamed { from: *from, to: *to }
            }
            Work::Remove { file: name } => Unsure::Removed { name: *name, file: self.files.remove(name) },
            Work::Replace { file: name, data } => {
                let bytes = Rc::new(data.to_vec());
                let file = File { id: self.next_id(), seen: bytes.clone(), stable: bytes, ..File::default() };
                Unsure::Replaced { name: *name, old: self.files.insert(*name, file) }
            }
            Work::Prepare { .. } | Work::Write { .. } | Work::Mend { .. } => unreachable!("that changes no names"),
        }
    }

    /// Renames, removals and replacements in the folder of `name` are durable from now on.
    fn flush_names_beside(&mut self, name: FileName) {
        self.unsure.retain(|unsure| matches!(unsure, Unsure::Made(_)) || !is_same_folder(unsure.name(), name));
    }

    /// The same, in all folders: what a start does before it believes a name.
    pub(crate) fn flush_names(&mut self) {
        self.unsure.retain(|unsure| matches!(unsure, Unsure::Made(_)));
    }

    /// A sector that is written again is old or new: what lies beside the damage in it is in both.
    fn mend(&mut self, name: FileName, at: u64, data: &[u8], before: &[u8], mut torn: Option<&mut Random>) {
        assert!(before.is_empty() || data.len() == before.len(), "what is mended is as long as what was damaged");
        for (nth, sector) in data.chunks(SECTOR).enumerate() {
            if torn.as_deref_mut().is_none_or(|random| random.percent(60)) {
                let done = self.change_at_rest(name, at + (nth * SECTOR) as u64, sector);
                assert!(done.is_some(), "{name} is mended beyond its end");
            }
        }
        // Sectors that cannot be read have others in their place when they are written.
        if torn.is_none() {
            self.unreadable.retain(|(file, block)| *file != name || *block < at || *block >= at + data.len() as u64);
        }
    }

    fn prepare(
        &mut self,
        name: FileName,
        at: u64,
        len: u64,
        size: u64,
        torn: Option<&mut Random>,
    ) -> Result<(), IoError> {
        if !self.files.contains_key(&name) {
            if self.used() + size > self.capacity {
                return Err(IoError::NoSpace);
            }
            let id = self.next_id();
            self.files.insert(name, File::new(id, position(size)));
            self.unsure.push(Unsure::Made(name));
        }
        self.write(name, at, &vec![0; position(len)], torn)
    }

    /// Bits of a file change on the disk, at rest. False if there is no such byte.
    pub(crate) fn rot(&mut self, name: FileName, at: u64, mask: u8) -> bool {
        let byte = self.files.get(&name).and_then(|file| file.seen.get(position(at)).copied());
        byte.is_some_and(|byte| self.change_at_rest(name, at, &[byte ^ mask]).is_some())
    }

    /// Bytes of a file change on the disk, at rest: what was there before. `None` if it is shorter.
    pub(crate) fn change_at_rest(&mut self, name: FileName, at: u64, bytes: &[u8]) -> Option<Vec<u8>> {
        let file = self.files.get_mut(&name)?;
        let range = position(at)..position(at) + bytes.len();
        let before = file.seen.get(range.clone())?.to_vec();
        for side in [&mut file.seen, &mut file.stable] {
            if range.end <= side.len() {
                Rc::make_mut(side)[range.clone()].copy_from_slice(bytes);
            }
        }
        Some(before)
    }

    /// A block of a file cannot be read, or can be read again.
    pub(crate) fn set_readable(&mut self, name: FileName, block: u64, is_readable: bool) {
        match is_readable {
            true => self.unreadable.remove(&(name, block)),
            false => self.unreadable.insert((name, block)),
        };
    }

    /// Removes a file, durably.
    pub(crate) fn remove(&mut self, name: FileName) {
        self.files.remove(&name);
        self.flush_names_beside(name);
    }

    /// The power goes and comes back. Of changes of names the first may stay and the last may not, of files that were made any.
    pub(crate) fn lose_power(&mut self, random: &mut Random) {
        let kept = if self.takes_all_names { 0 } else { random.index(self.unsure.len() + 1) };
        for (nth, unsure) in std::mem::take(&mut self.unsure).into_iter().enumerate().rev() {
            match unsure {
                Unsure::Made(name) if random.percent(50) => drop(self.files.remove(&name)),
                Unsure::Renamed { from, to } if nth >= kept && !self.files.contains_key(&from) => {
                    if let Some(file) = self.files.remove(&to) {
                        self.files.insert(from, file);
                    }
                }
                Unsure::Removed { name, file: Some(file) } if nth >= kept && !self.files.contains_key(&name) => {
                    self.files.insert(name, file);
                }
                Unsure::Replaced { name, old: Some(old) } if nth >= kept => drop(self.files.insert(name, old)),
                Unsure::Replaced { name, old: None } if nth >= kept => drop(self.files.remove(&name)),
                _ => {}
            }
        }
        for file in self.files.values_mut() {
            file.lose_power(random, self.is_coarse);
        }
    }
}

fn position(at: u64) -> usize {
    usize::try_from(at).expect("a made-up disk is small")
}
