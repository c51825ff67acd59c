//! A disk of memory that keeps only what it must.
//!
//! What a process writes it can read back at once. What was not flushed when the power goes is decided sector by sector: each of 512 bytes
//! holds what was last flushed, or anything that was written to it since, independently of all others and of the order of writes. A file that was
//! made and not flushed may be gone, or have any size it had. Renames, removals and replacements are durable when they are done.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::random::Random;
use crate::log::{Commit, FileName, Flush, FoundFile, IoError, Step, Work};

const SECTOR: usize = 512;

#[derive(Clone, Debug, Default)]
struct File {
    /// What the process sees.
    seen: Vec<u8>,
    stable: Vec<u8>,
    /// All that was written to a sector since.
    dirty: BTreeMap<usize, Vec<[u8; SECTOR]>>,
}

/// The disk of one shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct SimDisk {
    files: BTreeMap<FileName, File>,
    /// Files whose names a power loss may take.
    unsure: Vec<FileName>,
    /// Bytes that the files may have together.
    pub(crate) capacity: u64,
    /// Whether flushes are forgotten: to see that the tests would notice.
    pub(crate) is_lying: bool,
}

impl File {
    fn write(&mut self, at: usize, data: &[u8], mut skip: impl FnMut() -> bool) {
        if self.seen.len() < at + data.len() {
            self.seen.resize(at + data.len(), 0);
        }
        for (nth, bytes) in data.chunks_exact(SECTOR).enumerate() {
            if skip() {
                continue;
            }
            let from = at + nth * SECTOR;
            self.seen[from..from + SECTOR].copy_from_slice(bytes);
            let version = bytes.try_into().expect("a whole sector");
            self.dirty.entry(from / SECTOR).or_default().push(version);
        }
    }

    fn flush(&mut self) {
        self.flush_range(0, self.seen.len());
    }

    /// Makes a part durable, and with it the length of the file.
    fn flush_range(&mut self, at: usize, len: usize) {
        self.stable.resize(self.seen.len(), 0);
        let (first, end) = (at / SECTOR, (at + len).div_ceil(SECTOR));
        self.dirty.retain(|&sector, _| {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            if !(first..end).contains(&sector) {
                return true;
            }
            self.stable[range.clone()].copy_from_slice(&self.seen[range]);
            false
        });
    }

    fn lose_power(&mut self, random: &mut Random) {
        if random.percent(50) {
            self.stable.resize(self.seen.len(), 0);
        }
        for (sector, versions) in std::mem::take(&mut self.dirty) {
            let range = sector * SECTOR..(sector + 1) * SECTOR;
            if range.end <= self.stable.len() && random.percent(60) {
                self.stable[range].copy_from_slice(&random.pick(&versions));
            }
        }
        self.seen = self.stable.clone();
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
        let from = position(at).min(file.seen.len());
        Ok(file.seen[from..(from + len).min(file.seen.len())].to_vec())
    }

    /// Writes to a file that is there, or to a new one. With `torn`, each sector may be left out.
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
            self.unsure.push(name);
        }
        let file = self.files.entry(name).or_default();
        match torn {
            Some(random) => file.write(position(at), data, || random.percent(40)),
            None => file.write(position(at), data, || false),
        }
        Ok(())
    }

    /// Makes a file's bytes and its name durable.
    pub(crate) fn flush(&mut self, name: FileName) {
        if self.is_lying {
            return;
        }
        self.unsure.retain(|unsure| *unsure != name);
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
            Work::Rename { from, to } => {
                if torn.is_none_or(|random| random.percent(50)) {
                    self.flush(*from);
                    let file = self.files.remove(from).expect("what is renamed is there");
                    assert!(self.files.insert(*to, file).is_none(), "{to} was there already");
                }
                Ok(())
            }
            Work::Remove { file } => {
                if torn.is_none_or(|random| random.percent(50)) {
                    self.remove(*file);
                }
                Ok(())
            }
            Work::Replace { file, data } => {
                if self.used() + data.len() as u64 > self.capacity {
                    return Err(IoError::NoSpace);
                }
                if torn.is_none_or(|random| random.percent(50)) {
                    let stable = data.to_vec();
                    self.files.insert(*file, File { seen: stable.clone(), stable, dirty: BTreeMap::new() });
                }
                Ok(())
            }
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
            let seen = vec![0; position(size)];
            self.files.insert(name, File { seen, ..File::default() });
            self.unsure.push(name);
        }
        self.write(name, at, &vec![0; position(len)], torn)
    }

    /// Bits of a file change on the disk, at rest. False if there is no such byte.
    pub(crate) fn rot(&mut self, name: FileName, at: u64, mask: u8) -> bool {
        let Some(file) = self.files.get_mut(&name) else { return false };
        for bytes in [&mut file.seen, &mut file.stable] {
            if let Some(byte) = bytes.get_mut(position(at)) {
                *byte ^= mask;
            }
        }
        file.seen.len() > position(at)
    }

    /// Removes a file.
    pub(crate) fn remove(&mut self, name: FileName) {
        self.files.remove(&name);
    }

    /// The power goes and comes back.
    pub(crate) fn lose_power(&mut self, random: &mut Random) {
        for name in std::mem::take(&mut self.unsure) {
            if random.percent(50) {
                self.files.remove(&name);
            }
        }
        for file in self.files.values_mut() {
            file.lose_power(random);
        }
    }
}

fn position(at: u64) -> usize {
    usize::try_from(at).expect("a made-up disk is small")
}
