//! Which files of changes a shard has, and how much of each is on the disk: the store's `config/changes`, by which one that is gone or has lost its
//! end is missed.
//!
//! ```text
//! first 3
//! next 5
//! flushed 3 1893
//! flushed 4 210
//! ```
//!
//! Files 3 and 4 must be there, and have so many bytes at least. It is written when a file has been made or more of one was flushed, before anybody is
//! told that what is in it is written; and before files are removed. So a crash leaves files beyond both ends, and never fewer: one more behind them,
//! and before them those that were on their way out; and of each so many bytes and more, of which the last ones may be torn.
//!
//! What was flushed is noted without a flush of its own, which each change would wait for: a loss of power may leave the note before. Then a loss of
//! what was flushed since is not noticed; the disk that lost power has not lost it.

use std::collections::BTreeMap;

/// Files of changes `first..next`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ChangeFiles {
    /// The number of the oldest one that counts.
    pub(crate) first: u64,
    /// One more than that of the newest one.
    pub(crate) next: u64,
    /// Bytes of each that are on the disk; not of those of which it is not known, as in an older version's note.
    flushed: BTreeMap<u64, u64>,
}

impl ChangeFiles {
    /// All that were found, in order of their numbers.
    pub(crate) fn of(numbers: &[u64]) -> ChangeFiles {
        let next = numbers.last().map_or(1, |last| last.saturating_add(1));
        ChangeFiles { first: numbers.first().copied().unwrap_or(next), next, flushed: BTreeMap::new() }
    }

    /// With one that was made or has grown, of which so many bytes are on the disk.
    #[must_use]
    pub(crate) fn with(mut self, number: u64, flushed: u64) -> ChangeFiles {
        let next = number.saturating_add(1);
        if self.first >= self.next {
            (self.first, self.next) = (number, next);
        }
        self.next = self.next.max(next);
        if flushed > 0 {
            self.flushed.insert(number, flushed);
        }
        self
    }

    /// Without those before this number.
    #[must_use]
    pub(crate) fn from(mut self, number: u64) -> ChangeFiles {
        self.first = number.min(self.next).max(self.first);
        self.flushed = self.flushed.split_off(&self.first);
        self
    }

    /// How many bytes of a file must be there.
    pub(crate) fn flushed(&self, number: u64) -> u64 {
        self.flushed.get(&number).copied().unwrap_or_default()
    }

    /// The file's text.
    pub(crate) fn encode(&self) -> String {
        let mut text = format!("first {}\nnext {}\n", self.first, self.next);
        for (number, bytes) in &self.flushed {
            text.push_str(&format!("flushed {number} {bytes}\n"));
        }
        text
    }

    /// Reads the text; an empty one is an operator's, to take what is there.
    pub(crate) fn decode(text: &[u8]) -> Option<ChangeFiles> {
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        let first = lines.next()?.strip_prefix("first ")?.parse().ok()?;
        let next = lines.next()?.strip_prefix("next ")?.parse().ok()?;
        let mut flushed = BTreeMap::new();
        for line in lines {
            let (number, bytes) = line.strip_prefix("flushed ")?.split_once(' ')?;
            flushed.insert(number.parse().ok()?, bytes.parse().ok()?);
        }
        (first <= next).then_some(ChangeFiles { first, next, flushed })
    }

    /// Which of the files that were found count, all in order of their numbers.
    ///
    /// # Errors
    /// The number of one that is missing.
    pub(crate) fn check(&self, found: &[u64]) -> Result<Vec<u64>, u64> {
        let counting: Vec<u64> = found.iter().copied().filter(|number| *number >= self.first).collect();
        let end = counting.last().map_or(self.next, |last| self.next.max(last.saturating_add(1)));
        let mut expected = self.first;
        for number in &counting {
            if *number != expected {
                return Err(expected);
            }
            expected = expected.saturating_add(1);
        }
        if expected < end { Err(expected) } else { Ok(counting) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(first: u64, next: u64) -> ChangeFiles {
        ChangeFiles { first, next, flushed: BTreeMap::new() }
    }

    #[test]
    fn one_that_is_gone_is_missed_wherever_it_was() {
        let files = noted(3, 6);
        assert_eq!(files.check(&[3, 4, 5]), Ok(vec![3, 4, 5]));
        assert_eq!(files.check(&[1, 2, 3, 4, 5]), Ok(vec![3, 4, 5]), "they were on their way out");
        assert_eq!(files.check(&[3, 4, 5, 6]), Ok(vec![3, 4, 5, 6]), "it was made a moment ago");
        assert_eq!(files.check(&[4, 5]), Err(3));
        assert_eq!(files.check(&[3, 5]), Err(4));
        assert_eq!(files.check(&[3, 4]), Err(5));
        assert_eq!(files.check(&[3, 4, 5, 7]), Err(6));
        assert_eq!(files.check(&[]), Err(3));
        let none = noted(6, 6);
        assert_eq!((none.check(&[]), none.check(&[6])), (Ok(vec![]), Ok(vec![6])));
    }

    #[test]
    fn it_follows_what_is_made_grows_and_is_removed() {
        let files = ChangeFiles::of(&[]);
        assert_eq!(files, noted(1, 1));
        let files = files.with(1, 0).with(1, 70).with(2, 40).with(2, 60);
        assert_eq!((files.first, files.next), (1, 3));
        assert_eq!([1, 2, 3].map(|number| files.flushed(number)), [70, 60, 0]);
        assert_eq!(files.encode(), "first 1\nnext 3\nflushed 1 70\nflushed 2 60\n");
        assert_eq!(ChangeFiles::decode(files.encode().as_bytes()), Some(files.clone()));
        assert_eq!(files.clone().from(2), noted(2, 2).with(2, 60));
        let none = files.from(u64::MAX);
        assert_eq!((none.clone(), none.with(3, 0)), (noted(3, 3), noted(3, 4)));
        assert_eq!(ChangeFiles::of(&[2, 3]), noted(2, 4));
        assert_eq!(ChangeFiles::decode(b"first 1\nnext 3\n"), Some(noted(1, 3)), "an older version's");
        for wrong in ["first 4\nnext 3\n", "first 1\nnext 3\nflushed 2\n", "first 1\nnext 3\nlost 2 1\n"] {
            assert_eq!(ChangeFiles::decode(wrong.as_bytes()), None, "{wrong}");
        }
    }
}
