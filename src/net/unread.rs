//! Answers that sockets do not take: for whom they wait, since when, and who goes when there are too many.
//!
//! An answer waits in memory until its asker reads it, so it is memory that a stranger fills for the price of a request. There is one budget for all
//! of a server's connections, [`OUTBOX_TOTAL_BYTES_MAX`]. Beyond it large answers are refused, and those that have not taken
//! [`UNREAD_STEP_BYTES`] in [`UNREAD_STALL_MS`] go, the largest first, until half of the budget is free.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use bytes::{Buf as _, BytesMut};

use crate::limits::{OUTBOX_TOTAL_BYTES_MAX, UNREAD_STALL_MS, UNREAD_STEP_BYTES};
use crate::model::{ConnectionId, MonoNs};

/// The connections of a server whose sockets take nothing more for now.
#[derive(Debug, Default)]
pub(crate) struct Unread {
    waiting: BTreeMap<ConnectionId, Untaken>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug)]
struct Untaken {
    bytes: usize,
    /// Since when it stands still.
    since: MonoNs,
    /// What its socket has taken since.
    taken: usize,
}

impl Unread {
    /// A socket takes no more: `bytes` wait for it, and it has taken `taken` since this was last called for it.
    pub(crate) fn waits(&mut self, id: ConnectionId, bytes: usize, taken: usize, now: MonoNs) {
        let waiting = self.waiting.entry(id).or_insert(Untaken { bytes: 0, since: now, taken: 0 });
        self.bytes = self.bytes - waiting.bytes + bytes;
        waiting.bytes = bytes;
        waiting.taken += taken;
        if waiting.taken >= UNREAD_STEP_BYTES {
            (waiting.since, waiting.taken) = (now, 0);
        }
    }

    /// Nothing waits for a connection any more, or it is gone.
    pub(crate) fn remove(&mut self, id: ConnectionId) {
        if let Some(waiting) = self.waiting.remove(&id) {
            self.bytes -= waiting.bytes;
        }
    }

    /// Whether what waits for these connections is more than the budget.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes > OUTBOX_TOTAL_BYTES_MAX
    }

    /// All that waits for these connections.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// While more than the budget waits in all (`total`: here, and on the way here): the connections that have stood still for too long and what
    /// waits for each, the largest first, as many as it takes. They no longer count; they are to be closed.
    pub(crate) fn drop_stalled(&mut self, now: MonoNs, total: usize) -> Vec<(ConnectionId, usize)> {
        if total <= OUTBOX_TOTAL_BYTES_MAX {
            return Vec::new();
        }
        let mut excess = total - OUTBOX_TOTAL_BYTES_MAX / 2;
        let mut stalled: Vec<(ConnectionId, usize)> = self
            .waiting
            .iter()
            .filter(|(_, waiting)| now.ms_since(waiting.since) >= UNREAD_STALL_MS)
            .map(|(id, waiting)| (*id, waiting.bytes))
            .collect();
        stalled.sort_unstable_by_key(|(_, bytes)| Reverse(*bytes));
        let mut count = 0;
        for (id, bytes) in &stalled {
            if excess == 0 {
                break;
            }
            self.remove(*id);
            excess = excess.saturating_sub(*bytes);
            count += 1;
        }
        stalled.truncate(count);
        stalled
    }
}

/// Bytes on their way to one socket. What was sent is let go of, so that no more is held than twice what waits.
#[derive(Debug, Default)]
pub(crate) struct Unsent {
    bytes: BytesMut,
    /// How many there were when the buffer was made.
    whole: usize,
}

/// A smaller buffer is not worth a copy.
const WORTH_BYTES: usize = 16 * 1024;

impl Unsent {
    pub(crate) fn new(bytes: BytesMut) -> Unsent {
        Unsent { whole: bytes.len(), bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The socket has taken so many.
    pub(crate) fn sent(&mut self, count: usize) {
        self.bytes.advance(count);
        if self.bytes.is_empty() {
            *self = Unsent::default();
        } else if self.whole > WORTH_BYTES && self.bytes.len() < self.whole / 2 {
            *self = Unsent::new(BytesMut::from(self.bytes()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: usize = OUTBOX_TOTAL_BYTES_MAX / 8;
    const STALLED: MonoNs = MonoNs(UNREAD_STALL_MS * 1_000_000);

    fn ids(dropped: &[(ConnectionId, usize)]) -> Vec<u64> {
        dropped.iter().map(|(id, _)| id.0).collect()
    }

    #[test]
    fn who_stands_still_goes_the_largest_first_until_half_is_free() {
        let mut unread = Unread::default();
        for id in 0..8 {
            unread.waits(ConnectionId(id), LARGE, 0, MonoNs(0));
        }
        assert!(!unread.is_full());
        assert_eq!(unread.drop_stalled(STALLED, unread.bytes()), []);
        unread.waits(ConnectionId(8), LARGE / 2, 0, MonoNs(0));
        unread.waits(ConnectionId(9), LARGE * 2, 0, MonoNs(1_000_000));
        assert!(unread.is_full());
        assert_eq!(ids(&unread.drop_stalled(MonoNs(STALLED.0 - 1), unread.bytes())), [0; 0], "not for long enough");
        let dropped = unread.drop_stalled(STALLED, unread.bytes());
        assert_eq!((dropped.len(), dropped.iter().all(|(_, bytes)| *bytes == LARGE)), (7, true), "{dropped:?}");
        assert_eq!(unread.bytes(), LARGE + LARGE / 2 + LARGE * 2);
        assert!(unread.drop_stalled(STALLED, unread.bytes()).is_empty());
    }

    /// Who takes a byte now and then would hold the budget for ever.
    #[test]
    fn only_who_takes_a_step_has_not_stood_still() {
        let (mut unread, slow, trickling) = (Unread::default(), ConnectionId(1), ConnectionId(2));
        for ms in [0, 2_000, 4_000, 6_000] {
            let now = MonoNs(ms * 1_000_000);
            unread.waits(slow, OUTBOX_TOTAL_BYTES_MAX, UNREAD_STEP_BYTES / 2, now);
            unread.waits(trickling, LARGE, 1, now);
        }
        assert_eq!(ids(&unread.drop_stalled(MonoNs(6_000_000_000), unread.bytes())), [trickling.0]);
    }

    #[test]
    fn what_was_sent_is_not_held() {
        let mut unsent = Unsent::new(BytesMut::from(&vec![7; 100 * WORTH_BYTES][..]));
        let mut left = 100 * WORTH_BYTES;
        while left > 0 {
            unsent.sent(1024);
            left -= 1024;
            assert_eq!(unsent.bytes().len(), left);
            assert!(unsent.whole <= WORTH_BYTES.max(2 * left + 1), "{} are held for {left}", unsent.whole);
        }
    }
}
