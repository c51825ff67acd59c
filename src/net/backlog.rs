//! What was received of a connection and not handled yet: mostly nothing, else the front of a frame, or frames that had to wait.

use bytes::{Buf as _, BytesMut};

use crate::limits::PARTIAL_BYTES_KEPT;
use crate::protocol::frame::{self, FrameError, RawFrame};

/// Why handling stopped before all frames were handled.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Halt<E> {
    /// The handler wants no more for now.
    Enough,
    /// The bytes are no frame.
    BadFrame(FrameError),
    Failed(E),
}

/// The bytes of one connection that wait. An idle connection has none and costs no memory.
#[derive(Debug, Default)]
pub(super) struct Backlog {
    bytes: BytesMut,
}

impl Backlog {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether the front of the backlog is a whole frame (or cannot become one), so that there is something to do without reading.
    pub(super) fn has_work(&self) -> bool {
        !matches!(frame::split(&self.bytes), Ok(None))
    }

    /// Hands each whole frame of the backlog and then of `received` to `handle`; keeps what is left.
    ///
    /// Only what completes the unfinished frame is copied to it: the frames behind it are handled where they were received.
    pub(super) fn handle<E>(
        &mut self,
        received: &[u8],
        mut handle: impl FnMut(&RawFrame<'_>) -> Result<(), Halt<E>>,
    ) -> Result<(), Halt<E>> {
        let mut received = received;
        let halted = self.handle_all(&mut received, &mut handle);
        // Behind a bad frame nothing can be found; behind an orderly halt everything is kept.
        if matches!(halted, Ok(()) | Err(Halt::Enough)) {
            self.bytes.extend_from_slice(received);
        }
        if self.bytes.is_empty() && self.bytes.capacity() > PARTIAL_BYTES_KEPT {
            self.bytes = BytesMut::new();
        }
        halted
    }

    fn handle_all<E>(
        &mut self,
        received: &mut &[u8],
        handle: &mut impl FnMut(&RawFrame<'_>) -> Result<(), Halt<E>>,
    ) -> Result<(), Halt<E>> {
        while !self.bytes.is_empty() {
            match frame::split(&self.bytes).map_err(Halt::BadFrame)? {
                Some(frame) => {
                    let (size, handled) = (frame.size, handle(&frame));
                    self.bytes.advance(size);
                    handled?;
                }
                None if received.is_empty() => return Ok(()),
                None => {
                    let (now, later) = received.split_at(missing(&self.bytes).min(received.len()));
                    self.bytes.extend_from_slice(now);
                    *received = later;
                }
            }
        }
        while let Some(frame) = frame::split(received).map_err(Halt::BadFrame)? {
            let handled = handle(&frame);
            *received = received.get(frame.size..).unwrap_or_default();
            handled?;
        }
        Ok(())
    }
}

/// How many bytes the unfinished frame at the front still lacks; of its length field, if that is not there yet.
fn missing(front: &[u8]) -> usize {
    match front.first_chunk::<4>() {
        None => 4 - front.len(),
        Some(length) => {
            let whole = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX).saturating_add(4);
            whole.saturating_sub(front.len()).max(1)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frame_of(body: &[u8]) -> Vec<u8> {
        let mut bytes = u32::try_from(4 + body.len()).expect("small").to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0, 0, 0, 0]);
        bytes.extend_from_slice(body);
        bytes
    }

    proptest! {
        #[test]
        fn frames_come_whole_and_in_order_however_they_are_cut(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..20),
            cuts in prop::collection::vec(1_usize..30, 1..40),
            enough_after in 1_usize..5,
        ) {
            let stream: Vec<u8> = bodies.iter().flat_map(|body| frame_of(body)).collect();
            let (mut backlog, mut seen, mut rest, mut turn) = (Backlog::default(), Vec::new(), &stream[..], 0);
            while !rest.is_empty() || backlog.has_work() {
                let (now, later) = rest.split_at(cuts[turn % cuts.len()].min(rest.len()));
                (rest, turn) = (later, turn + 1);
                let mut count = 0;
                let halted = backlog.handle::<()>(now, |frame| {
                    seen.push(frame.body.to_vec());
                    count += 1;
                    if count == enough_after { Err(Halt::Enough) } else { Ok(()) }
                });
                prop_assert!(matches!(halted, Ok(()) | Err(Halt::Enough)));
            }
            prop_assert_eq!(seen, bodies);
            prop_assert_eq!(backlog.len(), 0);
        }
    }

    #[test]
    fn bytes_that_are_no_frame_are_refused_before_they_are_kept() {
        for front in [&[0, 0, 0, 0][..], &[0x80, 0, 0, 0], &[1, 0, 0, 1], &[0xFF, 0xFF, 0xFF, 0xFF]] {
            let mut backlog = Backlog::default();
            let halted = backlog.handle::<()>(front, |_| Ok(()));
            assert!(matches!(halted, Err(Halt::BadFrame(_))), "{front:?}: {halted:?}");
            assert_eq!(backlog.len(), 0);
        }
    }

    #[test]
    fn a_large_frame_leaves_no_memory_behind() {
        let mut backlog = Backlog::default();
        let bytes = frame_of(&vec![1; 10 * PARTIAL_BYTES_KEPT]);
        for piece in bytes.chunks(1000) {
            backlog.handle::<()>(piece, |_| Ok(())).expect("a frame");
        }
        assert_eq!(backlog.bytes.capacity(), 0);
    }
}
