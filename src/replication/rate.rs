//! How fast an offset moves, second by second.

use crate::model::{LogOffset, MonoNs};

/// How long a rate is measured, at least.
const PERIOD_MS: u64 = 1_000;

/// The rate of an offset over the last second or so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rate {
    since: MonoNs,
    from: LogOffset,
    bytes_per_second: u64,
}

impl Rate {
    /// Nothing has moved yet.
    pub(super) fn new(now: MonoNs, at: LogOffset) -> Rate {
        Rate { since: now, from: at, bytes_per_second: 0 }
    }

    /// Where the offset is now. To be called some times a second.
    pub(super) fn measure(&mut self, now: MonoNs, at: LogOffset) {
        let elapsed_ms = now.ms_since(self.since);
        if elapsed_ms >= PERIOD_MS {
            let bytes = at.0.saturating_sub(self.from.0);
            let bytes_per_second = bytes.saturating_mul(1000) / elapsed_ms;
            *self = Rate { since: now, from: at, bytes_per_second };
        }
    }

    pub(super) fn bytes_per_second(self) -> u64 {
        self.bytes_per_second
    }
}
