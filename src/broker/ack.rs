//! Replies that wait until what they promise is true: flushed, replicated, persisted, registered.
//!
//! State of the shard. A reply is encoded once, when its request is handled, and waits as bytes. Replies that wait for a flush or for
//! slaves stand in the order of the log, so each progress of either releases a prefix. A reply that follows from a new topic waits behind the
//! topic's [`Gate`] first: a client that is told of a topic must find it after a crash and at the name server.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;

use super::persist::Table;
use crate::limits::ACKS_MAX;
use crate::model::{ConnectionId, LogOffset, MonoNs};

/// How long a reply waits for a change of topics or groups to be persisted and registered.
pub const GATE_WAIT_MS: u64 = 3_000;

/// A change of a table whose consequences replies wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// A reply that waits.
#[derive(Debug)]
pub struct Waiting {
    /// The log must be safe up to here, as its flush setting and its role promise; zero if the reply promises nothing of the log.
    pub at: LogOffset,
    /// When its request came.
    pub since: MonoNs,
    /// When it is answered although the flush is missing.
    pub deadline: MonoNs,
    /// To whom.
    pub connection: ConnectionId,
    /// The whole encoded frame.
    pub frame: BytesMut,
}

/// What must happen before the replies of one change are released.
#[derive(Debug)]
struct Gate {
    /// The table that holds the change and its generation; `None` once it is on the disk, or if nothing is to be written.
    generation: Option<(Table, u64)>,
    registered: bool,
    deadline: MonoNs,
    waiting: Vec<Waiting>,
}

/// The waiting replies of a shard.
#[derive(Debug, Default)]
pub struct Acks {
    /// Ascending by `at`.
    flush: VecDeque<Waiting>,
    gates: BTreeMap<Ticket, Gate>,
    gated: usize,
    last_ticket: u64,
}

impl Acks {
    /// Makes a ticket whose replies wait until `generation` is persisted (if one is named) and, if `register`, the name servers
    /// know the change.
    pub fn make_gate(&mut self, now: MonoNs, generation: Option<(Table, u64)>, register: bool) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let deadline = now.plus_ms(GATE_WAIT_MS);
        self.gates.insert(ticket, Gate { generation, registered: !register, deadline, waiting: Vec::new() });
        ticket
    }

    /// Whether replies behind this ticket still wait.
    #[must_use]
    pub fn is_closed(&self, ticket: Ticket) -> bool {
        self.gates.contains_key(&ticket)
    }

    /// Whether no more replies may wait.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.len() >= ACKS_MAX
    }

    /// Number of waiting replies.
    #[must_use]
    pub fn len(&self) -> usize {
        self.flush.len() + self.gated
    }

    /// Number of replies that wait for the log alone.
    #[must_use]
    pub fn flush_len(&self) -> usize {
        self.flush.len()
    }

    /// Whether no reply waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets a reply wait for its flush, behind `ticket` if that is still closed.
    pub fn push(&mut self, ticket: Option<Ticket>, reply: Waiting) {
        if let Some(gate) = ticket.and_then(|ticket| self.gates.get_mut(&ticket)) {
            gate.waiting.push(reply);
            self.gated += 1;
            return;
        }
        match self.flush.back() {
            // Only replies that come from behind a gate are late.
            Some(last) if last.at > reply.at => {
                let place = self.flush.partition_point(|other| other.at <= reply.at);
                self.flush.insert(place, reply);
            }
            _ => self.flush.push_back(reply),
        }
    }

    /// A table's `generation`, and with it every earlier one, is on the disk.
    pub fn persisted(&mut self, table: Table, generation: u64) {
        for gate in self.gates.values_mut() {
            if gate.generation.is_some_and(|(of, wanted)| of == table && wanted <= generation) {
                gate.generation = None;
            }
        }
        self.open_ready();
    }

    /// The name servers know the change behind `ticket`.
    pub fn registered(&mut self, ticket: Ticket) {
        if let Some(gate) = self.gates.get_mut(&ticket) {
            gate.registered = true;
        }
        self.open_ready();
    }

    /// Opens gates whose time is over. Returns how many answers did not wait any longer.
    pub fn expire_gates(&mut self, now: MonoNs) -> usize {
        let late: Vec<Ticket> =
            self.gates.iter().filter(|(_, gate)| gate.deadline <= now).map(|(ticket, _)| *ticket).collect();
        let gated = self.gated;
        for ticket in late {
            self.open(ticket);
        }
        gated - self.gated
    }

    /// The next reply that waits for no more than the log up to `flushed`.
    pub fn pop_flushed(&mut self, flushed: LogOffset) -> Option<Waiting> {
        if self.flush.front()?.at > flushed { None } else { self.flush.pop_front() }
    }

    /// The next reply that has waited too long.
    pub fn pop_late(&mut self, now: MonoNs) -> Option<Waiting> {
        if self.flush.front()?.deadline > now { None } else { self.flush.pop_front() }
    }

    /// When the next reply or gate has waited long enough.
    #[must_use]
    pub fn next_deadline(&self) -> Option<MonoNs> {
        let flush = self.flush.front().map(|reply| reply.deadline);
        // Tickets are given in the order of time and all wait equally long.
        let gate = self.gates.values().next().map(|gate| gate.deadline);
        flush.into_iter().chain(gate).min()
    }

    fn open_ready(&mut self) {
        let ready = |gate: &Gate| gate.registered && gate.generation.is_none();
        let open: Vec<Ticket> = self.gates.iter().filter(|(_, gate)| ready(gate)).map(|(ticket, _)| *ticket).collect();
        for ticket in open {
            self.open(ticket);
        }
    }

    fn open(&mut self, ticket: Ticket) {
        let Some(gate) = self.gates.remove(&ticket) else { return };
        self.gated -= gate.waiting.len();
        for reply in gate.waiting {
            self.push(None, reply);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLUSH_WAIT_MS: u64 = 5_000;

    fn reply(at: u64, connection: u64) -> Waiting {
        Waiting {
            at: LogOffset(at),
            since: MonoNs(0),
            deadline: MonoNs(0).plus_ms(FLUSH_WAIT_MS),
            connection: ConnectionId(connection),
            frame: BytesMut::new(),
        }
    }

    fn drain(acks: &mut Acks, flushed: u64) -> Vec<u64> {
        std::iter::from_fn(|| acks.pop_flushed(LogOffset(flushed))).map(|reply| reply.connection.0).collect()
    }

    #[test]
    fn a_flush_releases_a_prefix_in_order() {
        let mut acks = Acks::default();
        for n in 1..=5 {
            acks.push(None, reply(n * 100, n));
        }
        assert_eq!(drain(&mut acks, 99), []);
        assert_eq!(drain(&mut acks, 300), [1, 2, 3]);
        assert_eq!(drain(&mut acks, 300), []);
        assert_eq!(drain(&mut acks, 1000), [4, 5]);
        assert!(acks.is_empty());
    }

    #[test]
    fn a_gate_opens_when_persisted_and_registered() {
        let mut acks = Acks::default();
        let ticket = acks.make_gate(MonoNs(0), Some((Table::Topics, 7)), true);
        acks.push(Some(ticket), reply(100, 1));
        acks.push(None, reply(200, 2));
        assert_eq!(drain(&mut acks, 150), []);
        acks.registered(ticket);
        acks.persisted(Table::Topics, 6);
        acks.persisted(Table::Groups, 7);
        assert!(acks.is_closed(ticket));
        acks.persisted(Table::Topics, 7);
        assert!(!acks.is_closed(ticket));
        // The late reply takes its place before the one that waits for a later flush.
        assert_eq!(drain(&mut acks, 150), [1]);
        assert_eq!(drain(&mut acks, 200), [2]);
    }

    #[test]
    fn waits_end() {
        let mut acks = Acks::default();
        let ticket = acks.make_gate(MonoNs(0), None, true);
        acks.push(Some(ticket), reply(100, 1));
        assert_eq!(acks.next_deadline(), Some(MonoNs(0).plus_ms(GATE_WAIT_MS)));
        assert_eq!(acks.expire_gates(MonoNs(0).plus_ms(GATE_WAIT_MS - 1)), 0);
        assert_eq!(acks.expire_gates(MonoNs(0).plus_ms(GATE_WAIT_MS)), 1);
        assert!(acks.pop_late(MonoNs(0).plus_ms(FLUSH_WAIT_MS - 1)).is_none());
        assert_eq!(acks.pop_late(MonoNs(0).plus_ms(FLUSH_WAIT_MS)).map(|late| late.connection), Some(ConnectionId(1)));
    }
}
