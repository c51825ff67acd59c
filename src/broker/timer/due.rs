//! The timer messages that wait, by the time at which they come.
//!
//! Millions may wait, so only the next ones are in memory, the *window*. The others are found in the index of their queue, which has the time of
//! each beside its place: it is read once from the oldest that waits on when a life begins, and again when the window has become small. Of so
//! many messages in a row, a *zone*, it is kept when the first of those comes that are not in the window, so that only those zones are read that
//! have something for it.

use std::collections::{BTreeSet, VecDeque};

use super::progress::TimerKey;
use crate::limits::{TIMER_WINDOW_MAX, TIMER_ZONE_MESSAGES, TIMER_ZONES_MAX};
use crate::model::QueueOffset;

/// How much is in memory. The simulator makes it small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowBounds {
    /// Messages of the window, at least 8.
    pub(crate) window_max: usize,
    /// Messages of a zone, as long as there are few zones.
    pub(crate) zone_messages: u64,
    /// Zones, at least 2.
    pub(crate) zones_max: usize,
}

impl Default for WindowBounds {
    fn default() -> WindowBounds {
        WindowBounds { window_max: TIMER_WINDOW_MAX, zone_messages: TIMER_ZONE_MESSAGES, zones_max: TIMER_ZONES_MAX }
    }
}

#[derive(Clone, Copy, Debug)]
struct Zone {
    /// None that is not in the window has a lower code. `i64::MAX`: there is none.
    least: i64,
    /// Messages of the window, and those that were taken from it and not closed yet.
    open: u32,
}

/// The index is read from here on.
#[derive(Clone, Copy, Debug)]
struct IndexScan {
    at: QueueOffset,
    end: QueueOffset,
    /// Whether the zone is read in which `at` lies.
    is_inside: bool,
    /// Whether not all found room.
    has_overflowed: bool,
}

/// What waits.
#[derive(Debug)]
pub(super) struct DueIndex {
    bounds: WindowBounds,
    zones: VecDeque<Zone>,
    /// The number of the first zone: zone `n` begins with message `n * zone_messages` of the queue.
    first: u64,
    zone_messages: u64,
    /// Where the queue ends.
    end: QueueOffset,
    window: BTreeSet<TimerKey>,
    /// All that waits and comes before this is in the window.
    complete: TimerKey,
    /// What is found and comes before this goes into the window.
    reach: TimerKey,
    /// None outside of the window has a lower code.
    rest: i64,
    scan: Option<IndexScan>,
    /// How far beyond the next message outside of the window the next scan reaches.
    span: i64,
}

impl DueIndex {
    /// Of a queue whose messages from `from` to `end` may wait.
    pub(super) fn new(bounds: WindowBounds, from: QueueOffset, end: QueueOffset) -> DueIndex {
        let zone_messages = bounds.zone_messages;
        let is_read = from < end;
        let mut index = DueIndex {
            bounds,
            zones: VecDeque::new(),
            first: from.0 / zone_messages,
            zone_messages,
            end,
            window: BTreeSet::new(),
            complete: if is_read { TimerKey::MIN } else { TimerKey::MAX },
            reach: TimerKey::MAX,
            rest: i64::MAX,
            scan: None,
            span: i64::MAX,
        };
        if is_read {
            index.scan = Some(IndexScan { at: from, end, is_inside: false, has_overflowed: false });
            index.make_zone(QueueOffset(end.0 - 1));
            index.zones.iter_mut().for_each(|zone| zone.least = i64::MIN);
            index.rest = i64::MIN;
        }
        index
    }

    /// All before this offset of the queue are closed.
    pub(super) fn floor(&self) -> QueueOffset {
        QueueOffset(self.first * self.zone_messages).min(self.end)
    }

    /// The next message that comes, if that is known.
    pub(super) fn first(&self) -> Option<TimerKey> {
        self.window.first().copied().filter(|first| *first < self.complete)
    }

    /// A message waits.
    pub(super) fn put(&mut self, key: TimerKey) {
        self.make_zone(key.at);
        self.end = self.end.max(key.at.plus(1));
        if key >= self.reach {
            return self.leave_out(&key);
        }
        if self.window.insert(key) {
            self.zone_mut(key.at).open += 1;
        }
        if self.window.len() > self.bounds.window_max {
            self.shrink();
        }
    }

    /// The message is dealt with, but not for good.
    pub(super) fn take(&mut self, key: &TimerKey) {
        let was_there = self.window.remove(key);
        assert!(was_there, "{key:?} was taken, and is not in the window");
    }

    /// A message that was taken is dealt with for good.
    pub(super) fn close(&mut self, key: &TimerKey) {
        self.zone_mut(key.at).open -= 1;
        self.trim();
    }

    /// Forgets the first zones, as far as none of their messages waits.
    fn trim(&mut self) {
        while let Some(zone) = self.zones.front()
            && zone.least == i64::MAX
            && zone.open == 0
            && (self.first + 1) * self.zone_messages <= self.end.0
            && self.scan.is_none_or(|scan| !scan.is_inside || scan.at.0 / self.zone_messages != self.first)
        {
            self.zones.pop_front();
            self.first += 1;
        }
    }

    /// Whether the index is to be read.
    pub(super) fn wants_scan(&self) -> bool {
        self.scan.is_some() || (self.rest < i64::MAX && self.window.len() <= self.bounds.window_max / 4)
    }

    /// The entry of the index that is to be read next; [`Self::scanned`] says what it is. `None` if the window is as full as it can be.
    pub(super) fn next_to_scan(&mut self) -> Option<QueueOffset> {
        if !self.wants_scan() {
            return None;
        }
        if self.scan.is_none() {
            self.reach = TimerKey::first_of(self.rest.saturating_add(self.span)).max(self.complete);
            let at = QueueOffset(self.first * self.zone_messages);
            self.scan = Some(IndexScan { at, end: self.end, is_inside: false, has_overflowed: false });
        }
        let mut scan = self.scan.take()?;
        scan.at = scan.at.max(QueueOffset(self.first * self.zone_messages));
        while scan.at < scan.end {
            let zone = scan.at.0 / self.zone_messages;
            let (least, reach) = (self.zone_mut(scan.at).least, self.reach);
            // Of those with one code the ones that lie further on come later.
            let is_beyond = least > reach.code.0 || (least == reach.code.0 && scan.at >= reach.at);
            if scan.is_inside || !is_beyond {
                if !scan.is_inside {
                    // All of it is read, with what has come since to its end.
                    self.zone_mut(scan.at).least = i64::MAX;
                    scan.is_inside = true;
                    scan.end = scan.end.max(self.end.min(QueueOffset((zone + 1) * self.zone_messages)));
                }
                self.scan = Some(scan);
                return Some(scan.at);
            }
            scan.at = QueueOffset((zone + 1) * self.zone_messages);
        }
        self.end_scan(scan);
        None
    }

    /// The entry that was to be read is of this message, or of one that does not wait.
    pub(super) fn scanned(&mut self, key: Option<TimerKey>) {
        let scan = self.scan.as_mut().expect("what is scanned was asked for");
        scan.at = scan.at.plus(1);
        scan.is_inside = !scan.at.0.is_multiple_of(self.zone_messages);
        if let Some(key) = key {
            self.put(key);
        }
    }

    fn end_scan(&mut self, scan: IndexScan) {
        self.rest = self.zones.iter().map(|zone| zone.least).min().unwrap_or(i64::MAX);
        if self.rest == i64::MAX {
            self.reach = TimerKey::MAX;
        }
        self.complete = self.reach;
        let first = self.window.first().map_or(self.rest, |first| first.code.0);
        if scan.has_overflowed {
            self.span = self.reach.code.0.saturating_sub(first).max(1);
        } else if self.window.len() <= self.bounds.window_max / 4 {
            self.span = self.span.saturating_mul(2);
        }
        self.trim();
    }

    /// Leaves the last ones out, so that there is room for a while.
    fn shrink(&mut self) {
        while self.window.len() > self.bounds.window_max / 4 * 3
            && let Some(key) = self.window.pop_last()
        {
            self.zone_mut(key.at).open -= 1;
            self.leave_out(&key);
            self.reach = key;
        }
        self.complete = self.complete.min(self.reach);
        if let Some(scan) = &mut self.scan {
            scan.has_overflowed = true;
        }
    }

    fn leave_out(&mut self, key: &TimerKey) {
        let zone = self.zone_mut(key.at);
        zone.least = zone.least.min(key.code.0);
        self.rest = self.rest.min(key.code.0);
    }

    fn zone_mut(&mut self, at: QueueOffset) -> &mut Zone {
        let nth = (at.0 / self.zone_messages).checked_sub(self.first).and_then(|nth| usize::try_from(nth).ok());
        let first = self.first;
        nth.and_then(|nth| self.zones.get_mut(nth))
            .unwrap_or_else(|| panic!("message {at} is in no zone from {first} on"))
    }

    /// Makes zones up to that of a message.
    fn make_zone(&mut self, at: QueueOffset) {
        while self.first + self.zones.len() as u64 <= at.0 / self.zone_messages {
            if self.zones.len() >= self.bounds.zones_max {
                self.merge_zones();
            } else {
                self.zones.push_back(Zone { least: i64::MAX, open: 0 });
            }
        }
    }

    /// Two zones each become one.
    fn merge_zones(&mut self) {
        let mut merged: VecDeque<Zone> = VecDeque::with_capacity(self.zones.len() / 2 + 1);
        for (number, zone) in (self.first..).zip(&self.zones) {
            match merged.back_mut().filter(|_| !number.is_multiple_of(2)) {
                Some(half) => {
                    half.least = half.least.min(zone.least);
                    half.open += zone.open;
                }
                None => merged.push_back(*zone),
            }
        }
        self.zones = merged;
        self.first /= 2;
        self.zone_messages *= 2;
        if let Some(scan) = &mut self.scan {
            // The other half of its zone is read as well.
            scan.is_inside = scan.is_inside || !scan.at.0.is_multiple_of(self.zone_messages);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::model::LogOffset;
    use crate::protocol::message::WheelCode;
    use crate::sim::Random;

    const BOUNDS: WindowBounds = WindowBounds { window_max: 16, zone_messages: 4, zones_max: 8 };

    fn key(out_ms: i64, at: u64) -> TimerKey {
        TimerKey { code: WheelCode::new(out_ms, false), place: LogOffset(at * 10), at: QueueOffset(at) }
    }

    fn scan(index: &mut DueIndex, waiting: &BTreeMap<u64, TimerKey>, steps: usize) {
        for _ in 0..steps {
            let Some(at) = index.next_to_scan() else { return };
            index.scanned(waiting.get(&at.0).copied());
        }
    }

    /// Puts and takes at random, with a scan that is as far as it is, and compares with a plain list.
    fn compare(seed: u64, times: u64) {
        let mut random = Random::new(seed);
        let mut waiting: BTreeMap<u64, TimerKey> =
            (0..60).map(|at| (at, key(random.below(times).cast_signed(), at))).collect();
        let mut index = DueIndex::new(BOUNDS, QueueOffset(0), QueueOffset(60));
        let mut next = 60;
        for _ in 0..600 {
            match random.below(4) {
                0 => {
                    let key = key(random.below(times).cast_signed(), next);
                    waiting.insert(next, key);
                    index.put(key);
                    next += 1;
                }
                1 => {
                    let Some(first) = index.first() else { continue };
                    assert_eq!(waiting.values().min(), Some(&first), "seed {seed}");
                    index.take(&first);
                    index.close(&first);
                    waiting.remove(&first.at.0);
                }
                _ => scan(&mut index, &waiting, 7),
            }
            assert!(index.window.len() <= BOUNDS.window_max && index.zones.len() <= BOUNDS.zones_max);
            let oldest = waiting.keys().next().copied().unwrap_or(next);
            assert!(index.floor().0 <= oldest, "seed {seed}: {} is closed, and {oldest} waits", index.floor());
        }
        while !waiting.is_empty() {
            scan(&mut index, &waiting, 1_000);
            let first = index.first().unwrap_or_else(|| panic!("seed {seed}: {} are forgotten", waiting.len()));
            assert_eq!(waiting.values().min(), Some(&first), "seed {seed}");
            index.take(&first);
            index.close(&first);
            waiting.remove(&first.at.0);
        }
        scan(&mut index, &waiting, 1_000);
        assert_eq!((index.first(), index.wants_scan()), (None, false));
        assert!(index.floor().0 + index.zone_messages >= next, "seed {seed}: {} of {next} are closed", index.floor());
    }

    #[test]
    fn messages_come_in_the_order_of_their_times_however_few_are_in_memory() {
        for seed in 0..200 {
            compare(seed, 1_000_000);
            compare(seed, 3);
        }
    }

    #[test]
    fn nothing_is_read_while_all_are_in_memory_and_of_many_only_what_is_needed() {
        let mut index = DueIndex::new(BOUNDS, QueueOffset(7), QueueOffset(7));
        assert!(!index.wants_scan() && index.first().is_none());
        for at in 7..20_u64 {
            index.put(key(100 - at.cast_signed(), at));
        }
        assert_eq!((index.wants_scan(), index.first()), (false, Some(key(81, 19))));
        // All for one time: those in front are read, and no further.
        let waiting: BTreeMap<u64, TimerKey> = (0..32).map(|at| (at, key(5, at))).collect();
        let mut index = DueIndex::new(BOUNDS, QueueOffset(0), QueueOffset(32));
        scan(&mut index, &waiting, 32);
        scan(&mut index, &waiting, 1);
        for at in 0..8 {
            let first = index.first().expect("it waits");
            assert_eq!(first, key(5, at));
            index.take(&first);
            index.close(&first);
        }
        let mut read = 0;
        while let Some(at) = index.next_to_scan() {
            index.scanned(waiting.get(&at.0).copied().filter(|key| key.at.0 >= 8));
            read += 1;
        }
        assert!((1..=28).contains(&read), "{read} were read");
    }
}
