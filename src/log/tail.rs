//! The newest bytes of the log, in one ring keyed by log offset.
//!
//! Appending is a copy into the ring; commits, live consumers and replicas read from it. Byte `offset` of the log lies at
//! `offset % len`. The ring holds `[low, appended)`, where `low` is the larger of `appended - len` and the offset at which
//! this process took the log over.

use crate::limits::DISK_BLOCK_BYTES;
use crate::model::LogOffset;

/// The memory of the ring. The shell's lies in a file on tmpfs, so that it survives the process; tests use [`HeapTail`].
pub trait TailMemory {
    /// Bytes of the ring: a power of two, and whole disk blocks.
    fn len(&self) -> usize;
    /// Whether the ring has no bytes; it never does.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// The whole ring.
    fn ring(&self) -> &[u8];
    /// The whole ring.
    fn ring_mut(&mut self) -> &mut [u8];
    /// Notes the end of what is valid, where the next process finds it. Called after the bytes are in place.
    fn publish(&mut self, appended: LogOffset);
    /// Whether the ring outlives a killed process: only then may ASYNC_FLUSH promise on the append alone.
    fn survives_kill(&self) -> bool;
}

/// A ring on the heap, gone with the process.
#[derive(Debug)]
pub struct HeapTail {
    ring: Box<[u8]>,
}

impl HeapTail {
    /// A ring of `len` bytes.
    ///
    /// # Panics
    /// If `len` is not a power of two or not whole disk blocks.
    #[must_use]
    pub fn new(len: usize) -> HeapTail {
        check_len(len);
        HeapTail { ring: vec![0; len].into_boxed_slice() }
    }
}

fn check_len(len: usize) {
    assert!(len.is_power_of_two() && len >= DISK_BLOCK_BYTES, "a tail ring of {len} bytes");
}

impl TailMemory for HeapTail {
    fn len(&self) -> usize {
        self.ring.len()
    }

    fn ring(&self) -> &[u8] {
        &self.ring
    }

    fn ring_mut(&mut self) -> &mut [u8] {
        &mut self.ring
    }

    fn publish(&mut self, _appended: LogOffset) {}

    fn survives_kill(&self) -> bool {
        false
    }
}

/// The ring with its two ends.
pub(super) struct Tail {
    memory: Box<dyn TailMemory>,
    len: usize,
    mask: usize,
    /// First offset that was put into the ring by, or verified by, this process.
    first: LogOffset,
    appended: LogOffset,
    /// Where a record is made that would wrap around the ring's end.
    scratch: Vec<u8>,
}

impl Tail {
    /// A ring that is valid from `first`, which is a block's start, to `appended`.
    ///
    /// # Panics
    /// If the memory's length is unfit or the range is longer than it.
    pub(super) fn new(memory: Box<dyn TailMemory>, first: LogOffset, appended: LogOffset) -> Tail {
        let len = memory.len();
        check_len(len);
        assert_eq!(memory.ring().len(), len, "the ring has the length it says");
        assert!(appended.since(first) <= len as u64, "the ring cannot hold {first}..{appended}");
        Tail { memory, len, mask: len - 1, first, appended, scratch: Vec::new() }
    }

    pub(super) fn len(&self) -> u64 {
        self.len as u64
    }

    pub(super) fn appended(&self) -> LogOffset {
        self.appended
    }

    pub(super) fn survives_kill(&self) -> bool {
        self.memory.survives_kill()
    }

    /// First offset that can be read here.
    pub(super) fn low(&self) -> LogOffset {
        self.first.max(LogOffset(self.appended.0.saturating_sub(self.len as u64)))
    }

    #[expect(clippy::cast_possible_truncation, reason = "masked by the ring's length")]
    fn position(&self, offset: LogOffset) -> usize {
        offset.0 as usize & self.mask
    }

    /// Lets `encode` fill the next `size` bytes, without publishing them. The caller has checked that there is room.
    pub(super) fn fill(&mut self, size: usize, encode: impl FnOnce(&mut [u8])) {
        let start = self.position(self.appended);
        match self.memory.ring_mut().get_mut(start..start + size) {
            Some(place) => encode(place),
            None => {
                self.scratch.resize(size, 0);
                let mut scratch = std::mem::take(&mut self.scratch);
                encode(&mut scratch);
                self.write(self.appended, &scratch);
                self.scratch = scratch;
                // A rare giant must not keep its memory for ever.
                self.scratch.truncate(64 * 1024);
                self.scratch.shrink_to(64 * 1024);
            }
        }
    }

    /// Puts bytes at `at`, around the end of the ring if need be.
    pub(super) fn write(&mut self, at: LogOffset, bytes: &[u8]) {
        assert!(bytes.len() <= self.len, "{} bytes do not fit the ring", bytes.len());
        let start = self.position(at);
        let until_end = bytes.len().min(self.len - start);
        let (before, after) = bytes.split_at(until_end);
        let ring = self.memory.ring_mut();
        ring[start..start + before.len()].copy_from_slice(before);
        ring[..after.len()].copy_from_slice(after);
    }

    /// Makes everything up to `appended` part of the log.
    pub(super) fn publish(&mut self, appended: LogOffset) {
        assert!(appended >= self.appended, "the log's end went back from {} to {appended}", self.appended);
        self.appended = appended;
        self.memory.publish(appended);
    }

    /// Forgets everything; the log goes on at `at`, a block's start. What is published says nothing until something was appended there: the
    /// segment for it need not lie in place yet, and a start must not miss what never was.
    pub(super) fn restart(&mut self, at: LogOffset) {
        (self.first, self.appended) = (at, at);
        self.memory.publish(LogOffset(0));
    }

    /// The bytes of `from..from + len`, in two parts because of the ring's end.
    ///
    /// # Panics
    /// If they are not all in the ring.
    pub(super) fn read(&self, from: LogOffset, len: usize) -> (&[u8], &[u8]) {
        assert!(from >= self.low(), "{from} is no longer in the ring, {} is", self.low());
        assert!(self.appended.since(from) >= len as u64, "{from} + {len} is beyond the end {}", self.appended);
        raw(self.memory.ring(), from, len)
    }

    /// Fills `out` with the log from `from` on, and with zeros beyond the log's end.
    pub(super) fn copy(&self, from: LogOffset, out: &mut [u8]) {
        let held = usize::try_from(self.appended.since(from)).unwrap_or(usize::MAX).min(out.len());
        let (before, after) = self.read(from, held);
        let (filled, padding) = out.split_at_mut(held);
        let (first, second) = filled.split_at_mut(before.len());
        first.copy_from_slice(before);
        second.copy_from_slice(after);
        padding.fill(0);
    }
}

/// The two parts of `from..from + len` in a ring, whatever they mean: for recovery, which does not trust them yet.
pub(super) fn raw(ring: &[u8], from: LogOffset, len: usize) -> (&[u8], &[u8]) {
    assert!(len <= ring.len(), "{len} bytes do not fit the ring");
    let start = usize::try_from(from.0 % ring.len() as u64).expect("below the ring's length");
    let until_end = len.min(ring.len() - start);
    (&ring[start..start + until_end], &ring[..len - until_end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_wrap_around_the_end_and_the_rest_is_zeros() {
        let mut tail = Tail::new(Box::new(HeapTail::new(4096)), LogOffset(0), LogOffset(0));
        tail.fill(4000, |out| out.fill(1));
        tail.publish(LogOffset(4000));
        tail.fill(200, |out| out.fill(2));
        assert_eq!(tail.appended(), LogOffset(4000), "not part of the log before it is published");
        tail.publish(LogOffset(4200));
        assert_eq!(tail.low(), LogOffset(104));
        assert_eq!(tail.read(LogOffset(4000), 200), (&[2; 96][..], &[2; 104][..]));
        let mut out = [9; 300];
        tail.copy(LogOffset(4000), &mut out);
        assert_eq!((&out[..200], &out[200..]), (&[2; 200][..], &[0; 100][..]));
    }
}
