//! What goes out: encoded frames of each connection, until the shell takes them, one write a connection.
//!
//! State of the shard. The broker appends to [`Outbox::buffer`]; the shell asks [`Outbox::next_touched`] for a connection
//! and takes its bytes with [`Outbox::take`]. What was taken but not yet accepted by the socket still counts: the shell says
//! so with [`Outbox::note_unsent`], and a connection over its bound has no further frames read and its holds answered empty.

use bytes::BytesMut;

use crate::limits::{OUTBOX_BYTES_HIGH, OUTBOX_NOTICE_BYTES_MAX, OUTBOX_TOTAL_BYTES_MAX};
use crate::model::{ConnectionId, FastMap};

/// The frames that wait for the sockets of one shard.
#[derive(Debug, Default)]
pub struct Outbox {
    pending: FastMap<ConnectionId, Pending>,
    /// Connections with bytes to take, each named once.
    touched: Vec<ConnectionId>,
    /// All that waits, but for what was appended since to the buffer that was handed out last.
    counted_bytes: usize,
    last: Option<ConnectionId>,
}

#[derive(Debug, Default)]
struct Pending {
    bytes: BytesMut,
    /// Bytes of `bytes` that were counted.
    counted: usize,
    unsent: usize,
    touched: bool,
}

impl Outbox {
    /// An outbox without connections.
    #[must_use]
    pub fn new() -> Outbox {
        Outbox::default()
    }

    /// The buffer to which whole frames of `connection` are appended. It is marked as touched.
    pub fn buffer(&mut self, connection: ConnectionId) -> &mut BytesMut {
        self.count_last();
        self.last = Some(connection);
        let pending = self.pending.entry(connection).or_default();
        if !pending.touched {
            pending.touched = true;
            self.touched.push(connection);
        }
        &mut pending.bytes
    }

    /// The next connection that has bytes to take.
    pub fn next_touched(&mut self) -> Option<ConnectionId> {
        while let Some(connection) = self.touched.pop() {
            if let Some(pending) = self.pending.get_mut(&connection) {
                pending.touched = false;
                return Some(connection);
            }
        }
        None
    }

    /// Takes the frames that wait for `connection`. They no longer count until [`Outbox::note_unsent`] says so.
    pub fn take(&mut self, connection: ConnectionId) -> BytesMut {
        let Some(pending) = self.pending.get_mut(&connection) else { return BytesMut::new() };
        self.counted_bytes -= pending.counted;
        pending.counted = 0;
        pending.bytes.split()
    }

    /// Says how many taken bytes of `connection` its socket has not accepted yet.
    pub fn note_unsent(&mut self, connection: ConnectionId, bytes: usize) {
        if bytes == 0 && !self.pending.contains_key(&connection) {
            return;
        }
        let pending = self.pending.entry(connection).or_default();
        self.counted_bytes = self.counted_bytes - pending.unsent + bytes;
        pending.unsent = bytes;
    }

    /// Bytes that wait for `connection`, those taken but not accepted by its socket included.
    #[must_use]
    pub fn pending_bytes(&self, connection: ConnectionId) -> usize {
        self.pending.get(&connection).map_or(0, |pending| pending.bytes.len() + pending.unsent)
    }

    /// Whether `connection` has more waiting than it may: its frames are left unread, its holds are answered empty.
    #[must_use]
    pub fn is_over(&self, connection: ConnectionId) -> bool {
        self.pending_bytes(connection) > OUTBOX_BYTES_HIGH
    }

    /// Whether all connections together have more waiting than the shard allows.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.total_bytes() > OUTBOX_TOTAL_BYTES_MAX
    }

    /// Whether there is room for what was not asked for. Answers need the rest.
    #[must_use]
    pub(crate) fn has_room_for_notices(&self) -> bool {
        self.total_bytes() <= OUTBOX_NOTICE_BYTES_MAX
    }

    /// Forgets a connection that is gone, with what waited for it.
    pub fn forget(&mut self, connection: ConnectionId) {
        if let Some(pending) = self.pending.remove(&connection) {
            self.counted_bytes -= pending.counted + pending.unsent;
        }
    }

    /// Bytes that wait for all connections: one event may answer many of them, before the shell takes anything.
    #[must_use]
    pub(crate) fn total_bytes(&self) -> usize {
        let last = self.last.and_then(|last| self.pending.get(&last));
        self.counted_bytes + last.map_or(0, |pending| pending.bytes.len() - pending.counted)
    }

    /// Counts what was appended to the buffer that was handed out last.
    fn count_last(&mut self) {
        if let Some(pending) = self.last.take().and_then(|last| self.pending.get_mut(&last)) {
            self.counted_bytes += pending.bytes.len() - pending.counted;
            pending.counted = pending.bytes.len();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_connection_is_named_once_until_its_bytes_are_taken() {
        let mut outbox = Outbox::new();
        let (a, b) = (ConnectionId(1), ConnectionId(2));
        outbox.buffer(a).extend_from_slice(b"x");
        outbox.buffer(b).extend_from_slice(b"y");
        outbox.buffer(a).extend_from_slice(b"z");
        let mut seen = vec![outbox.next_touched(), outbox.next_touched()];
        seen.sort();
        assert_eq!(seen, [Some(a), Some(b)]);
        assert_eq!(outbox.next_touched(), None);
        assert_eq!(&outbox.take(a)[..], b"xz");
        assert_eq!(outbox.pending_bytes(a), 0);
    }

    #[test]
    fn a_reader_that_never_reads_is_seen_by_connection_and_in_total() {
        let mut outbox = Outbox::new();
        for id in 0..70 {
            let connection = ConnectionId(id);
            outbox.buffer(connection).extend_from_slice(&vec![0; OUTBOX_BYTES_HIGH + 1]);
            assert!(outbox.is_over(connection));
            let taken = outbox.take(connection);
            assert!(!outbox.is_over(connection));
            outbox.note_unsent(connection, taken.len());
            assert!(outbox.is_over(connection));
        }
        assert!(outbox.is_full());
        assert_eq!(outbox.total_bytes(), 70 * (OUTBOX_BYTES_HIGH + 1));
        for id in 0..70 {
            outbox.forget(ConnectionId(id));
        }
        assert_eq!((outbox.is_full(), outbox.total_bytes()), (false, 0));
    }

    /// A block that many requests waited for answers all of them at once.
    #[test]
    fn what_one_event_appends_for_many_is_counted_before_any_of_it_is_taken() {
        let mut outbox = Outbox::new();
        let enough = OUTBOX_TOTAL_BYTES_MAX / OUTBOX_BYTES_HIGH;
        for id in 0..=enough {
            assert!(!outbox.is_full(), "{id}");
            outbox.buffer(ConnectionId(id as u64)).extend_from_slice(&vec![0; OUTBOX_BYTES_HIGH]);
        }
        assert!(outbox.is_full());
        for id in 0..=enough {
            assert_eq!(outbox.take(ConnectionId(id as u64)).len(), OUTBOX_BYTES_HIGH);
        }
        assert_eq!(outbox.total_bytes(), 0);
    }
}
