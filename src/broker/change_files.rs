//! Which files of changes a shard has: the store's `config/changes`, by which one that is gone is missed.
//!
//! ```text
//! first 3
//! next 5
//! ```
//!
//! Files 3 and 4 must be there. It is written when a file has been made, before anybody is told that what is in it is written; and before files are
//! removed. So a crash leaves files beyond both ends, and never fewer: one more behind them, and before them those that were on their way out.

/// Files of changes `first..next`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChangeFiles {
    /// The number of the oldest one that counts.
    pub(crate) first: u64,
    /// One more than that of the newest one.
    pub(crate) next: u64,
}

impl ChangeFiles {
    /// All that were found, in order of their numbers.
    pub(crate) fn of(numbers: &[u64]) -> ChangeFiles {
        let next = numbers.last().map_or(1, |last| last.saturating_add(1));
        ChangeFiles { first: numbers.first().copied().unwrap_or(next), next }
    }

    /// With one that was made.
    #[must_use]
    pub(crate) fn with(self, number: u64) -> ChangeFiles {
        let next = number.saturating_add(1);
        if self.first >= self.next {
            return ChangeFiles { first: number, next };
        }
        ChangeFiles { first: self.first, next: self.next.max(next) }
    }

    /// Without those before this number.
    #[must_use]
    pub(crate) fn from(self, number: u64) -> ChangeFiles {
        ChangeFiles { first: number.min(self.next).max(self.first), next: self.next }
    }

    /// The file's text.
    pub(crate) fn encode(self) -> String {
        format!("first {}\nnext {}\n", self.first, self.next)
    }

    /// Reads the text; an empty one is an operator's, to take what is there.
    pub(crate) fn decode(text: &[u8]) -> Option<ChangeFiles> {
        let mut lines = std::str::from_utf8(text).ok()?.lines();
        let first = lines.next()?.strip_prefix("first ")?.parse().ok()?;
        let next = lines.next()?.strip_prefix("next ")?.parse().ok()?;
        (first <= next).then_some(ChangeFiles { first, next })
    }

    /// Which of the files that were found count, all in order of their numbers.
    ///
    /// # Errors
    /// The number of one that is missing.
    pub(crate) fn check(self, found: &[u64]) -> Result<Vec<u64>, u64> {
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

    #[test]
    fn one_that_is_gone_is_missed_wherever_it_was() {
        let files = ChangeFiles { first: 3, next: 6 };
        assert_eq!(files.check(&[3, 4, 5]), Ok(vec![3, 4, 5]));
        assert_eq!(files.check(&[1, 2, 3, 4, 5]), Ok(vec![3, 4, 5]), "they were on their way out");
        assert_eq!(files.check(&[3, 4, 5, 6]), Ok(vec![3, 4, 5, 6]), "it was made a moment ago");
        assert_eq!(files.check(&[4, 5]), Err(3));
        assert_eq!(files.check(&[3, 5]), Err(4));
        assert_eq!(files.check(&[3, 4]), Err(5));
        assert_eq!(files.check(&[3, 4, 5, 7]), Err(6));
        assert_eq!(files.check(&[]), Err(3));
        let none = ChangeFiles { first: 6, next: 6 };
        assert_eq!((none.check(&[]), none.check(&[6])), (Ok(vec![]), Ok(vec![6])));
    }

    #[test]
    fn it_follows_what_is_made_and_removed() {
        let files = ChangeFiles::of(&[]);
        assert_eq!(files, ChangeFiles { first: 1, next: 1 });
        let files = files.with(1).with(1).with(2);
        assert_eq!(files, ChangeFiles { first: 1, next: 3 });
        assert_eq!(files.from(2), ChangeFiles { first: 2, next: 3 });
        let none = files.from(u64::MAX);
        assert_eq!((none, none.with(3)), (ChangeFiles { first: 3, next: 3 }, ChangeFiles { first: 3, next: 4 }));
        assert_eq!(ChangeFiles::of(&[2, 3]), ChangeFiles { first: 2, next: 4 });
        assert_eq!(ChangeFiles::decode(files.encode().as_bytes()), Some(files));
        assert_eq!(ChangeFiles::decode(b"first 4\nnext 3\n"), None);
    }
}
