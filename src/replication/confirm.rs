//! How far the log is safe, from what each replica has acknowledged.

use crate::model::LogOffset;

/// The end of what at least `count` of the slaves have acknowledged; `None` if there are fewer than `count` slaves.
///
/// With `count` 0 nobody is asked: the end is as far as any offset goes.
#[must_use]
pub(super) fn acknowledged_by(acks: impl Iterator<Item = LogOffset> + Clone, count: usize) -> Option<LogOffset> {
    if count == 0 {
        return Some(LogOffset(u64::MAX));
    }
    // Asked for each message, of a handful of slaves: looking twice is cheaper than a sorted copy.
    let has_enough = |end: &LogOffset| acks.clone().filter(|ack| ack >= end).count() >= count;
    acks.clone().filter(has_enough).max()
}

/// The end of what all of the in-sync set hold, the master among them. It never goes back: consumers have seen it.
#[must_use]
pub(super) fn confirm(before: LogOffset, promised: LogOffset, acks: impl Iterator<Item = LogOffset>) -> LogOffset {
    before.max(acks.fold(promised, LogOffset::min))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nth_best_acknowledgement_counts() {
        let check = |acks: &[u64], count, expected: Option<u64>| {
            let found = acknowledged_by(acks.iter().map(|ack| LogOffset(*ack)), count);
            assert_eq!(found, expected.map(LogOffset), "{acks:?} {count}");
        };
        check(&[], 0, Some(u64::MAX));
        check(&[7], 0, Some(u64::MAX));
        check(&[], 1, None);
        check(&[7], 1, Some(7));
        check(&[3, 9, 5], 1, Some(9));
        check(&[3, 9, 5], 2, Some(5));
        check(&[3, 9, 5], 3, Some(3));
        check(&[3, 9, 5], 4, None);
    }

    #[test]
    fn confirm_is_the_least_of_all_and_never_goes_back() {
        let check = |before, promised, acks: &[u64], expected| {
            let found = confirm(LogOffset(before), LogOffset(promised), acks.iter().map(|ack| LogOffset(*ack)));
            assert_eq!(found, LogOffset(expected), "{before} {promised} {acks:?}");
        };
        check(0, 10, &[], 10);
        check(0, 10, &[8], 8);
        check(0, 10, &[8, 5, 12], 5);
        check(9, 10, &[8], 9);
    }
}
