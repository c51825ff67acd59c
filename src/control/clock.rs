//! The control plane's clock: what it hands to the pure machines.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use crate::model::{MonoNs, Now, UnixMs};

/// Reads both clocks; its monotonic zero is when it was made.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    zero: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the control plane is a shell: this is where its time comes from")]
    pub fn start() -> Clock {
        Clock { zero: Instant::now() }
    }

    /// What time it is.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "the control plane is a shell: this is where its time comes from")]
    pub fn now(&self) -> Now {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now {
            unix: UnixMs(i64::try_from(unix.as_millis()).unwrap_or(i64::MAX)),
            mono: MonoNs(u64::try_from(self.zero.elapsed().as_nanos()).unwrap_or(u64::MAX)),
        }
    }
}
