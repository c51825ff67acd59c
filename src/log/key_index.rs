//! Where the messages with a key lie: the newest entries in memory, older ones in runs in the index files.
//!
//! A run is written once and found by two reads: a directory by the key's hash, then the entries of one bucket.
//!
//! | bytes            | field       | meaning                                                              |
//! |------------------|-------------|----------------------------------------------------------------------|
//! | 0..4             | magic       | [`RUN_MAGIC`]                                                        |
//! | 4..8             | `count`     | entries                                                              |
//! | 8..16            | `begin`     | Unix ms, the earliest store time in it                               |
//! | 16..16 + 4*4097  | directory   | entry number at which each bucket begins; the last one is `count`    |
//! | then 16 each     | entry       | hash `u32`, log offset `u64`, whole seconds since `begin` `u32`      |
//!
//! A hash is RocketMQ's: of `topic#key`, without its sign, 0 for the one value that has no positive twin. Equal hashes are no proof, so
//! whoever looks up checks the keys of what is found. Source: Apache RocketMQ 5 `IndexFile`, whose file format is not used.

use std::collections::VecDeque;

use crate::model::{LogOffset, UnixMs};
use crate::protocol::record::{KeysToIndex, java_hash};

pub(super) const RUN_MAGIC: u32 = u32::from_be_bytes(*b"RQKR");
const BUCKETS: usize = 4096;
/// Hashes have 31 bits and there are 2^12 buckets: the highest twelve name the bucket.
const BUCKET_SHIFT: u32 = 31 - 12;
const HEADER_BYTES: usize = 16;
const DIRECTORY_BYTES: usize = 4 * (BUCKETS + 1);
const ENTRIES_AT: u64 = (HEADER_BYTES + DIRECTORY_BYTES) as u64;
pub(super) const RUN_ENTRY_BYTES: usize = 16;

/// One key of one message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KeyEntry {
    pub(super) hash: u32,
    pub(super) log_offset: LogOffset,
    pub(super) time: UnixMs,
}

/// A run in the index files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) at: u64,
    pub(super) count: u32,
    pub(super) begin: UnixMs,
    pub(super) end: UnixMs,
    pub(super) last_log: LogOffset,
}

/// The hash under which `topic#key` is kept; `seed` is the Java hash of `topic#`.
#[must_use]
pub(super) fn key_hash(seed: i32, key: &str) -> u32 {
    u32::try_from(java_hash(seed, key).checked_abs().unwrap_or(0)).expect("not negative")
}

/// All keys of a log.
#[derive(Debug)]
pub(super) struct KeyIndex {
    /// In order of log offsets.
    pub(super) active: Vec<KeyEntry>,
    run_entries: usize,
    /// Oldest first.
    pub(super) runs: VecDeque<Run>,
    /// Everything below is in here already: a replay leaves it out.
    pub(super) as_of: LogOffset,
}

impl KeyIndex {
    pub(super) fn new(run_entries: usize) -> KeyIndex {
        KeyIndex { active: Vec::new(), run_entries, runs: VecDeque::new(), as_of: LogOffset(0) }
    }

    #[inline]
    pub(super) fn push(&mut self, seed: i32, keys: &KeysToIndex<'_>, log_offset: LogOffset, time: UnixMs) {
        for key in keys.iter() {
            self.active.push(KeyEntry { hash: key_hash(seed, key), log_offset, time });
        }
    }

    /// Whether enough has gathered for a run.
    pub(super) fn is_full(&self) -> bool {
        self.active.len() >= self.run_entries
    }

    /// Closes a run at once if background work does not keep up: runs have a largest size.
    #[inline]
    pub(super) fn seal_overflow(&mut self, store: impl FnOnce(&[u8], LogOffset) -> u64) {
        if self.active.len() >= 2 * self.run_entries {
            self.seal(store);
        }
    }

    /// Closes the entries in memory into a run, which `store` puts into the index files and says where. Two passes over the entries,
    /// no comparison sort: it happens between sends.
    pub(super) fn seal(&mut self, store: impl FnOnce(&[u8], LogOffset) -> u64) {
        let Some(last) = self.active.last() else { return };
        let last_log = last.log_offset;
        let begin = self.active.iter().map(|entry| entry.time).min().expect("not empty");
        let end = self.active.iter().map(|entry| entry.time).max().expect("not empty");
        let count = u32::try_from(self.active.len()).expect("a run is small");
        let mut starts = vec![0u32; BUCKETS + 1];
        for entry in &self.active {
            starts[bucket(entry.hash) + 1] += 1;
        }
        for index in 1..starts.len() {
            starts[index] += starts[index - 1];
        }
        let mut run = Vec::with_capacity(HEADER_BYTES + DIRECTORY_BYTES + self.active.len() * RUN_ENTRY_BYTES);
        run.extend_from_slice(&RUN_MAGIC.to_be_bytes());
        run.extend_from_slice(&count.to_be_bytes());
        run.extend_from_slice(&begin.0.to_be_bytes());
        run.extend(starts.iter().flat_map(|start| start.to_be_bytes()));
        let entries_at = run.len();
        run.resize(entries_at + self.active.len() * RUN_ENTRY_BYTES, 0);
        for entry in &self.active {
            let slot = &mut starts[bucket(entry.hash)];
            let at = entries_at + *slot as usize * RUN_ENTRY_BYTES;
            *slot += 1;
            let seconds = u32::try_from((entry.time.0 - begin.0) / 1000).unwrap_or(u32::MAX);
            run[at..at + 4].copy_from_slice(&entry.hash.to_be_bytes());
            run[at + 4..at + 12].copy_from_slice(&entry.log_offset.0.to_be_bytes());
            run[at + 12..at + 16].copy_from_slice(&seconds.to_be_bytes());
        }
        let at = store(&run, last_log);
        self.runs.push_back(Run { at, count, begin, end, last_log });
        self.active.clear();
    }

    pub(super) fn forget_all(&mut self) {
        *self = KeyIndex::new(self.run_entries);
    }

    /// Forgets what lies wholly below the log's start.
    pub(super) fn trim(&mut self, start: LogOffset) {
        let dead = self.runs.partition_point(|run| run.last_log < start);
        self.runs.drain(..dead);
    }
}

/// Bytes that a run has by its own header; `None` if too few of them are there.
pub(super) fn run_bytes(bytes: &[u8]) -> Option<usize> {
    let count = bytes.get(4..8)?.first_chunk().map(|four| u32::from_be_bytes(*four))?;
    Some(HEADER_BYTES + DIRECTORY_BYTES + count as usize * RUN_ENTRY_BYTES)
}

/// Whether the directory of a whole run leads to its entries: each lies in the bucket of its hash. What else is in an entry is not covered.
pub(super) fn is_plausible_run(run: &[u8]) -> bool {
    let Some((directory, entries)) = run.get(HEADER_BYTES..).and_then(|rest| rest.split_at_checked(DIRECTORY_BYTES))
    else {
        return false;
    };
    let (starts, _) = directory.as_chunks::<4>();
    let (entries, _) = entries.as_chunks::<RUN_ENTRY_BYTES>();
    let mut starts = starts.iter().map(|start| u32::from_be_bytes(*start) as usize);
    let mut from = starts.next();
    let is_sound = starts.enumerate().all(|(number, to)| {
        let of_bucket = entries.get(from.replace(to).unwrap_or(usize::MAX)..to);
        let hash = |entry: &[u8; RUN_ENTRY_BYTES]| entry.first_chunk().map(|four| u32::from_be_bytes(*four));
        of_bucket.is_some_and(|entries| entries.iter().filter_map(hash).all(|hash| bucket(hash) == number))
    });
    is_sound && from == Some(entries.len())
}

fn bucket(hash: u32) -> usize {
    (hash >> BUCKET_SHIFT) as usize
}

impl Run {
    /// Where the two directory numbers of the bucket of `hash` lie: 8 bytes.
    pub(super) fn directory_at(&self, hash: u32) -> u64 {
        self.at + (HEADER_BYTES + 4 * bucket(hash)) as u64
    }

    /// Where the entries of a bucket lie, and how many bytes they have; from its two directory numbers, which were read from a disk.
    pub(super) fn bucket_at(&self, directory: &[u8]) -> Option<(u64, usize)> {
        let (from, rest) = directory.split_first_chunk::<4>()?;
        let (to, _) = rest.split_first_chunk::<4>()?;
        let (from, to) = (u32::from_be_bytes(*from), u32::from_be_bytes(*to));
        let count = to.checked_sub(from).filter(|_| to <= self.count)?;
        let at = self.at + ENTRIES_AT + u64::from(from) * RUN_ENTRY_BYTES as u64;
        Some((at, count as usize * RUN_ENTRY_BYTES))
    }

    /// The entry in these 16 bytes.
    pub(super) fn entry(&self, bytes: &[u8]) -> Option<KeyEntry> {
        let (hash, rest) = bytes.split_first_chunk::<4>()?;
        let (log_offset, rest) = rest.split_first_chunk::<8>()?;
        let (seconds, _) = rest.split_first_chunk::<4>()?;
        let time = UnixMs(self.begin.0.saturating_add(i64::from(u32::from_be_bytes(*seconds)) * 1000));
        Some(KeyEntry { hash: u32::from_be_bytes(*hash), log_offset: LogOffset(u64::from_be_bytes(*log_offset)), time })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_hash_without_a_positive_twin_is_zero() {
        // "polygenelubricants" hashes to the smallest int.
        assert_eq!(java_hash(0, "polygenelubricants"), i32::MIN);
        assert_eq!(key_hash(0, "polygenelubricants"), 0);
        assert_eq!(key_hash(0, "a"), 97);
    }

    proptest! {
        #[test]
        fn a_run_holds_what_was_put_in(keys in proptest::collection::vec("[a-z]{1,3}", 1..300)) {
            let mut index = KeyIndex::new(10);
            for (number, key) in keys.iter().enumerate() {
                let time = UnixMs(1000 * number as i64 + 5);
                index.push(7, &KeysToIndex { unique: Some(key), keys: None }, LogOffset(number as u64), time);
            }
            let expected = index.active.clone();
            let mut bytes = Vec::new();
            index.seal(|run, _| { bytes = run.to_vec(); 0 });
            let run = index.runs[0];
            for entry in &expected {
                let at = usize::try_from(run.directory_at(entry.hash)).expect("small");
                let (from, len) = run.bucket_at(&bytes[at..at + 8]).expect("sound");
                let from = usize::try_from(from).expect("small");
                let bucket = &bytes[from..from + len];
                let found = bucket.chunks(RUN_ENTRY_BYTES).filter_map(|bytes| run.entry(bytes));
                prop_assert!(found.into_iter().any(|found| found == *entry), "{entry:?} is missing");
            }
        }
    }
}
