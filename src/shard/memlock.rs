//! How much memory an executor may register for I/O under the limit of locked memory.
//!
//! The kernel charges registered memory once a ring, and an executor has three; the rings come on top. Over the limit,
//! registering fails (reads then cost twice the time) or making the ring does. Source: measured with glommio 0.9, 8 MiB limit.

use std::path::Path;

use crate::limits::{IO_MEMORY_BYTES, IO_MEMORY_BYTES_MIN};

/// Rings of an executor: each is charged for the registered memory.
const RINGS: u64 = 3;

/// What the rings themselves are charged, with room to spare.
const RING_BYTES: u64 = 256 * 1024;

/// Below this glommio refuses to start.
pub(crate) const MEMLOCK_BYTES_MIN: u64 = 512 * 1024;

/// Registered memory of each of `shards` executors under a limit of `memlock` bytes; `None` is no limit.
#[must_use]
pub(crate) fn io_memory(memlock: Option<u64>, shards: u16) -> usize {
    let Some(memlock) = memlock else { return IO_MEMORY_BYTES };
    let share = memlock / u64::from(shards.max(1));
    let fits = share.saturating_sub(RING_BYTES) / RINGS;
    usize::try_from(fits).unwrap_or(usize::MAX).clamp(IO_MEMORY_BYTES_MIN, IO_MEMORY_BYTES)
}

/// The soft limit in the text of `/proc/self/limits`; `None` is no limit or an unreadable text.
#[must_use]
pub(crate) fn parse_limit(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max locked memory"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Whether the text of `/proc/self/status` shows CAP_IPC_LOCK (bit 14), which lifts the limit.
#[must_use]
pub(crate) fn is_exempt(status: &str) -> bool {
    const CAP_IPC_LOCK: u64 = 1 << 14;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = effective.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    effective.is_some_and(|bits| bits & CAP_IPC_LOCK != 0)
}

/// The limit that holds for this process, `None` if there is none.
#[must_use]
pub(crate) fn limit_of_process() -> Option<u64> {
    let read = |path: &str| crate::disk::store::read_text(Path::new(path)).unwrap_or_default();
    if is_exempt(&read("/proc/self/status")) { None } else { parse_limit(&read("/proc/self/limits")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIB: u64 = 1024;
    const MIB: u64 = 1024 * KIB;

    #[test]
    fn registered_memory_fits_the_limit() {
        let check = |memlock, shards, expected: u64| {
            assert_eq!(io_memory(memlock, shards) as u64, expected, "{memlock:?} {shards}")
        };
        check(None, 64, IO_MEMORY_BYTES as u64);
        check(Some(1024 * MIB), 1, IO_MEMORY_BYTES as u64);
        check(Some(8 * MIB), 1, (8 * MIB - 256 * KIB) / 3);
        check(Some(8 * MIB), 4, (2 * MIB - 256 * KIB) / 3);
        check(Some(8 * MIB), 8, 256 * KIB);
        check(Some(8 * MIB), 64, 64 * KIB);
        check(Some(0), 0, 64 * KIB);
    }

    #[test]
    fn limits_as_the_kernel_writes_them() {
        let check = |line: &str, expected| {
            assert_eq!(parse_limit(&format!("Limit  Soft\n{line}\nMax x 1 1\n")), expected, "{line}")
        };
        check("Max locked memory         8388608              8388608              bytes", Some(8 * MIB));
        check("Max locked memory         unlimited            unlimited            bytes", None);
        check("Max file locks            1                    1                    locks", None);
    }

    #[test]
    fn a_capability_lifts_the_limit() {
        let check = |status: &str, expected| assert_eq!(is_exempt(status), expected, "{status}");
        check("Name:\tx\nCapEff:\t000001ffffffffff\n", true);
        check("CapEff:\t0000000000004000\n", true);
        check("CapEff:\t00000000a80425fb\n", false);
        check("", false);
    }
}
