//! One socket: bytes gathered for one write, whole frames out of what was read, and the requests that wait for a reply.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

use crate::load::clock::now_ns;
use crate::load::error::LoadError;
use crate::load::frame::OPAQUE_MIN;
use crate::load::scan::{FRAME_BYTES_MAX, Frame, Head, HeadScanner, split_frame};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// What one read may bring; grows when a frame is longer.
const READ_BYTES: usize = 512 * 1024;

/// Room for one read, shared by all connections.
#[derive(Debug)]
pub struct ReadBuffer(Vec<u8>);

impl Default for ReadBuffer {
    fn default() -> Self {
        Self(vec![0; READ_BYTES])
    }
}

/// A connected, nonblocking socket.
#[derive(Debug)]
pub struct Connection {
    stream: TcpStream,
    target: SocketAddr,
    scanner: HeadScanner,
    /// Requests not yet written; from `written` on.
    out: Vec<u8>,
    written: usize,
    /// The start of a frame whose rest has not arrived.
    partial: Vec<u8>,
}

impl Connection {
    /// Connects and waits for it.
    ///
    /// # Errors
    /// [`LoadError::Connect`].
    pub fn open(target: SocketAddr) -> Result<std::net::TcpStream, LoadError> {
        let stream = std::net::TcpStream::connect_timeout(&target, CONNECT_TIMEOUT);
        let stream = stream.and_then(|stream| stream.set_nodelay(true).map(|()| stream));
        stream.map_err(|source| LoadError::Connect { target, source })
    }

    /// Begins to connect; [`Self::is_up`] tells when it is done.
    ///
    /// # Errors
    /// [`LoadError::Connect`], at once if nothing listens there on this machine.
    pub fn begin(target: SocketAddr, registry: &Registry, token: Token) -> Result<Self, LoadError> {
        let begun = TcpStream::connect(target).and_then(|mut stream| {
            stream.set_nodelay(true)?;
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        let stream = begun.map_err(|source| LoadError::Connect { target, source })?;
        Ok(Self::of(stream, target))
    }

    /// Whether a connection that was begun is made.
    ///
    /// # Errors
    /// [`LoadError::Connect`] when it was refused.
    pub fn is_up(&self) -> Result<bool, LoadError> {
        let target = self.target;
        let failed = |source| LoadError::Connect { target, source };
        if let Some(source) = self.stream.take_error().map_err(failed)? {
            return Err(failed(source));
        }
        match self.stream.peer_addr() {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
            Err(source) => Err(failed(source)),
        }
    }

    /// Hands a connected socket to the loop.
    ///
    /// # Errors
    /// When the kernel refuses to watch it.
    pub fn watch(
        stream: std::net::TcpStream,
        target: SocketAddr,
        registry: &Registry,
        token: Token,
    ) -> Result<Self, LoadError> {
        let watched = stream.set_nonblocking(true).and_then(|()| {
            let mut stream = TcpStream::from_std(stream);
            registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
            Ok(stream)
        });
        let stream = watched.map_err(|source| LoadError::System { action: "watch a socket", source })?;
        Ok(Self::of(stream, target))
    }

    fn of(stream: TcpStream, target: SocketAddr) -> Self {
        Self { stream, target, scanner: HeadScanner::default(), out: Vec::new(), written: 0, partial: Vec::new() }
    }

    /// The broker.
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// Where requests are gathered until [`Self::flush`].
    pub fn out(&mut self) -> &mut Vec<u8> {
        &mut self.out
    }

    /// Writes what was gathered, as far as the kernel takes it; the rest goes when the socket is writable again.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn flush(&mut self) -> Result<(), LoadError> {
        while self.written < self.out.len() {
            match self.stream.write(&self.out[self.written..]) {
                Ok(bytes) => self.written += bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(LoadError::Broken { target: self.target, source }),
            }
        }
        if self.written == self.out.len() {
            self.out.clear();
            self.written = 0;
        } else if self.written > READ_BYTES && self.written > self.out.len() / 2 {
            // Less than what was written is moved, however much waits.
            self.out.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }

    /// Whether all that was gathered is with the kernel.
    pub fn is_flushed(&self) -> bool {
        self.out.is_empty()
    }

    /// Reads all there is and calls `on_frame(time of the read, head, frame)` for each whole frame. A short read means that there is no more:
    /// whatever arrives later raises a new event.
    ///
    /// # Errors
    /// When the connection ended or broke, when it brings what is no frame, or from `on_frame`.
    pub fn receive(
        &mut self,
        buffer: &mut ReadBuffer,
        mut on_frame: impl FnMut(u64, Head, &Frame<'_>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let target = self.target;
        let room = &mut buffer.0;
        let mut filled = self.partial.len();
        if room.len() < filled + READ_BYTES / 2 {
            room.resize((2 * filled).clamp(READ_BYTES, FRAME_BYTES_MAX + READ_BYTES), 0);
        }
        room[..filled].copy_from_slice(&self.partial);
        self.partial.clear();
        loop {
            let bytes = match self.stream.read(&mut room[filled..]) {
                Ok(0) => return Err(LoadError::Closed { target }),
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(LoadError::Broken { target, source }),
            };
            let now = now_ns();
            let is_drained = filled + bytes < room.len();
            filled += bytes;
            let mut parsed = 0;
            while let Some((frame, frame_len)) =
                split_frame(&room[parsed..filled]).map_err(|source| LoadError::Wire { target, source })?
            {
                let head = self.scanner.head(&frame).map_err(|source| LoadError::Wire { target, source })?;
                on_frame(now, head, &frame)?;
                parsed += frame_len;
            }
            room.copy_within(parsed..filled, 0);
            filled -= parsed;
            if is_drained {
                break;
            }
            if filled == room.len() {
                room.resize((2 * filled).min(FRAME_BYTES_MAX + READ_BYTES), 0);
            }
        }
        self.partial.extend_from_slice(&room[..filled]);
        Ok(())
    }
}

/// Bits of an opaque that say which slot; the bits above count how often the slot was used, so that a late double reply is recognised.
const SLOT_BITS: u32 = 20;
const USES_MAX: i32 = 1024;
/// Most requests that may wait on one connection.
pub const PENDING_MAX: usize = 1 << SLOT_BITS;

const _: () =
    assert!(OPAQUE_MIN as i64 + (USES_MAX as i64 * PENDING_MAX as i64) <= i32::MAX as i64, "opaques are positive");

/// Requests without a reply yet, found by their opaque in one step.
#[derive(Debug, Default)]
pub struct Pending {
    slots: Vec<Slot>,
    free: Vec<usize>,
}

#[derive(Debug, Clone, Copy)]
struct Slot {
    opaque: i32,
    waiting: Option<Waiting>,
}

/// A request without a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// When it was meant to leave, ns.
    pub intended_ns: u64,
    /// When it was handed to the socket, ns.
    pub sent_ns: u64,
    /// Number of its first message in the run.
    pub sequence: u64,
    /// Of the end of a transaction: when its half message was answered, ns.
    pub half_ns: Option<u64>,
}

impl Pending {
    /// Requests without a reply.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether every request has its reply.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Keeps a request and names it; the caller keeps to [`PENDING_MAX`].
    pub fn insert(&mut self, waiting: Waiting) -> i32 {
        if let Some(index) = self.free.pop() {
            let slot = &mut self.slots[index];
            slot.waiting = Some(waiting);
            return slot.opaque;
        }
        assert!(self.slots.len() < PENDING_MAX, "{PENDING_MAX} requests wait on one connection");
        let index = i32::try_from(self.slots.len()).expect("below PENDING_MAX");
        let opaque = OPAQUE_MIN + index;
        self.slots.push(Slot { opaque, waiting: Some(waiting) });
        opaque
    }

    /// The request that a reply answers; `None` if none waits under that name.
    pub fn take(&mut self, opaque: i32) -> Option<Waiting> {
        let number = usize::try_from(opaque.checked_sub(OPAQUE_MIN)?).ok()?;
        let index = number & (PENDING_MAX - 1);
        let slot = self.slots.get_mut(index)?;
        if slot.opaque != opaque {
            return None;
        }
        let waiting = slot.waiting.take()?;
        let step = 1i32 << SLOT_BITS;
        let used_up = slot.opaque - OPAQUE_MIN >= step * (USES_MAX - 1);
        slot.opaque = if used_up { slot.opaque - step * (USES_MAX - 1) } else { slot.opaque + step };
        self.free.push(index);
        Some(waiting)
    }

    /// Takes all that were sent before `sent_before_ns`; a reply to one of them is not recognised any more.
    pub fn take_older(&mut self, sent_before_ns: u64) -> Vec<Waiting> {
        let old = |slot: &Slot| slot.waiting.is_some_and(|waiting| waiting.sent_ns < sent_before_ns);
        let opaques: Vec<i32> = self.slots.iter().filter(|slot| old(slot)).map(|slot| slot.opaque).collect();
        opaques.into_iter().filter_map(|opaque| self.take(opaque)).collect()
    }

    /// All that still wait.
    pub fn iter(&self) -> impl Iterator<Item = Waiting> + '_ {
        self.slots.iter().filter_map(|slot| slot.waiting)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_finds_its_request_once() {
        let mut pending = Pending::default();
        let waiting =
            |sequence| Waiting { intended_ns: 10 * sequence, sent_ns: 10 * sequence, sequence, half_ns: None };
        let opaques: Vec<i32> = (0..5).map(|sequence| pending.insert(waiting(sequence))).collect();
        assert_eq!(pending.take(opaques[3]), Some(waiting(3)));
        assert_eq!(pending.take(opaques[3]), None, "a double reply");
        let again = pending.insert(waiting(9));
        assert_ne!(again, opaques[3], "a slot changes its name from use to use");
        assert_eq!(pending.take(opaques[3]), None, "a late double reply");
        assert_eq!(pending.take(again), Some(waiting(9)));
        for unknown in [0, -1, i32::MIN, i32::MAX, OPAQUE_MIN + 77] {
            assert_eq!(pending.take(unknown), None);
        }
        assert_eq!(pending.len(), 4);
    }

    #[test]
    fn what_waits_too_long_is_taken_back() {
        let mut pending = Pending::default();
        let opaques: Vec<i32> = (0..4)
            .map(|n| pending.insert(Waiting { intended_ns: 0, sent_ns: n * 10, sequence: n, half_ns: None }))
            .collect();
        let taken: Vec<u64> = pending.take_older(20).iter().map(|waiting| waiting.sequence).collect();
        assert_eq!((taken, pending.len()), (vec![0, 1], 2));
        assert_eq!(pending.take(opaques[0]), None, "its reply comes too late");
        assert!(pending.take(opaques[3]).is_some());
    }

    #[test]
    fn opaques_keep_ten_digits_for_ever() {
        let mut pending = Pending::default();
        for sequence in 0..3 * 1024 {
            let opaque = pending.insert(Waiting { intended_ns: 0, sent_ns: 0, sequence, half_ns: None });
            assert!(opaque >= OPAQUE_MIN, "{opaque}");
            assert!(pending.take(opaque).is_some());
        }
    }
}
