//! Replies that wait until what they promise is true: flushed, replicated, persisted, registered.
//!
//! The one place that knows when a request is answered that stored something or changed a table: [`Broker::answer`] answers at once or
//! lets the reply wait, [`Broker::release_acks`] lets go what has come true, [`Broker::expire_acks`] what takes too long.
//!
//! State of the shard. A reply is encoded once, when its request is handled, and waits as bytes. Replies that wait for a flush or for
//! slaves stand in the order of the log, so each progress of either releases a prefix. A reply that follows from a new topic waits behind the
//! topic's [`Gate`] first: a client that is told of a topic must find it after a crash and at the name server.

use std::collections::{BTreeMap, VecDeque};

use bytes::BytesMut;

use super::outbox::Outbox;
use super::persist::Table;
use super::settings::BrokerSettings;
use super::{Asked, Broker, Output};
use crate::limits::{ACKS_MAX, CHANGES_UNDER_WAY_MAX, REPLICA_WAITS_MAX};
use crate::model::{ConnectionId, LogOffset, MonoNs};
use crate::protocol::code::ResponseCode;
use crate::protocol::frame::split;
use crate::protocol::header::Header;
use crate::protocol::reply::{ExtValue, Reply, encode_reply};
use crate::said::BY_STRANGERS;

/// How long a reply waits for a change of topics or groups to be persisted and registered: a tenth less than clients wait for it.
pub(crate) const GATE_WAIT_MS: u64 = 2_700;

/// A change of a table whose consequences replies wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Ticket(pub(crate) u64);

/// A reply that waits.
#[derive(Debug)]
pub(crate) struct Waiting {
    /// The log must be safe up to here, as its flush setting and its role promise; zero if the reply promises nothing of the log.
    pub(crate) at: LogOffset,
    /// When its request came.
    pub(crate) since: MonoNs,
    /// When it is answered although the flush is missing.
    pub(crate) deadline: MonoNs,
    pub(crate) connection: ConnectionId,
    pub(crate) in_vain: InVain,
    /// The whole encoded frame.
    pub(crate) frame: BytesMut,
}

/// What becomes of an answer that has waited in vain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InVain {
    /// Its asker understands "stored, but not as safe as promised".
    TellsLess,
    /// It leaves as it is: nobody relies on it after a crash.
    Stays,
    /// What was asked for is a change of a table. One that is not on the disk is not done.
    Refused,
}

/// What must happen before the replies of one change are released.
#[derive(Debug)]
struct Gate {
    /// The tables that hold the change and their generations; each goes once it is on the disk.
    generations: Vec<(Table, u64)>,
    registered: bool,
    /// The log has a removal for it, which is to be on the disk, whatever its flush setting promises: without it the topic would come back.
    removal: bool,
    deadline: MonoNs,
    waiting: Vec<Waiting>,
}

/// The waiting replies of a shard.
#[derive(Debug, Default)]
pub(crate) struct Acks {
    /// Ascending by `at`.
    flush: VecDeque<Waiting>,
    gates: BTreeMap<Ticket, Gate>,
    gated: usize,
    waits_for_removals: bool,
    last_ticket: u64,
}

impl Acks {
    /// A life begins at `now`: answers to a former life's tickets, which are still on their way, must not be taken for answers to its own. No
    /// life takes as many tickets as it has nanoseconds.
    pub(super) fn begin_tickets(&mut self, now: MonoNs) {
        self.last_ticket = now.0;
    }

    /// Makes a ticket whose replies wait until `generation` is persisted (if one is named) and, if `register`, the name servers
    /// know the change.
    pub(crate) fn make_gate(&mut self, now: MonoNs, generation: Option<(Table, u64)>, register: bool) -> Ticket {
        self.last_ticket += 1;
        let ticket = Ticket(self.last_ticket);
        let deadline = now.plus_ms(GATE_WAIT_MS);
        let generations = generation.into_iter().collect();
        self.gates
            .insert(ticket, Gate { generations, registered: !register, removal: false, deadline, waiting: Vec::new() });
        ticket
    }

    /// Lets the replies behind this ticket wait until this generation is persisted as well.
    pub(super) fn wait_for_table(&mut self, ticket: Ticket, table: Table, generation: u64) {
        if let Some(gate) = self.gates.get_mut(&ticket) {
            gate.generations.push((table, generation));
        }
    }

    /// Lets the replies behind this ticket wait until all removals are on the disk as well.
    pub(super) fn wait_for_removals(&mut self, ticket: Ticket) {
        if let Some(gate) = self.gates.get_mut(&ticket) {
            gate.removal = true;
            self.waits_for_removals = true;
        }
    }

    /// Whether somebody waits for that.
    pub(super) fn waits_for_removals(&self) -> bool {
        self.waits_for_removals
    }

    /// All removals are on the disk.
    pub(super) fn removals_flushed(&mut self) {
        self.waits_for_removals = false;
        self.gates.values_mut().for_each(|gate| gate.removal = false);
        self.open_ready();
    }

    /// Whether replies behind this ticket still wait.
    #[must_use]
    pub(crate) fn is_closed(&self, ticket: Ticket) -> bool {
        self.gates.contains_key(&ticket)
    }

    /// Whether no more changes may be under way: whoever wants no answer waits for none.
    #[must_use]
    pub(super) fn is_full_of_changes(&self) -> bool {
        self.gates.len() >= CHANGES_UNDER_WAY_MAX
    }

    /// Whether no more replies may wait.
    #[must_use]
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= ACKS_MAX
    }

    /// Number of waiting replies.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.flush.len() + self.gated
    }

    /// Number of replies that wait for the log alone.
    #[must_use]
    pub(crate) fn flush_len(&self) -> usize {
        self.flush.len()
    }

    /// Whether no reply waits.
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lets a reply wait for its flush, behind `ticket` if that is still closed.
    pub(crate) fn push(&mut self, ticket: Option<Ticket>, reply: Waiting) {
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
    pub(crate) fn persisted(&mut self, table: Table, generation: u64) {
        for gate in self.gates.values_mut() {
            gate.generations.retain(|&(of, wanted)| of != table || wanted > generation);
        }
        self.open_ready();
    }

    /// The name servers know the change behind `ticket`.
    pub(crate) fn registered(&mut self, ticket: Ticket) {
        if let Some(gate) = self.gates.get_mut(&ticket) {
            gate.registered = true;
        }
        self.open_ready();
    }

    /// Opens gates whose time is over. Returns how many answers did not wait any longer, and of these the ones whose change is not on the disk:
    /// they wait for nothing more, and must not leave as they are.
    pub(crate) fn expire_gates(&mut self, now: MonoNs) -> (usize, Vec<Waiting>) {
        let late: Vec<Ticket> =
            self.gates.iter().filter(|(_, gate)| gate.deadline <= now).map(|(ticket, _)| *ticket).collect();
        let gated = self.gated;
        let mut unwritten = Vec::new();
        for ticket in late {
            if let Some(gate) = self.gates.get_mut(&ticket).filter(|gate| !gate.generations.is_empty() || gate.removal)
            {
                // A message says itself what its topic is: a master takes the topics that its table lacks from its log.
                let is_change = |reply: &Waiting| reply.in_vain == InVain::Refused;
                let (changes, rest): (Vec<_>, Vec<_>) =
                    std::mem::take(&mut gate.waiting).into_iter().partition(is_change);
                gate.waiting = rest;
                self.gated -= changes.len();
                unwritten.extend(changes);
            }
            self.open(ticket);
        }
        (gated - self.gated, unwritten)
    }

    /// The next reply that waits for no more than the log up to `flushed`.
    pub(crate) fn pop_flushed(&mut self, flushed: LogOffset) -> Option<Waiting> {
        if self.flush.front()?.at > flushed {
            return None;
        }
        let reply = self.flush.pop_front()?;
        if let Some(next) = self.flush.front() {
            assert!(reply.at <= next.at, "a reply of {} stands behind one of {}", next.at, reply.at);
        }
        Some(reply)
    }

    /// The next reply that has waited too long.
    pub(crate) fn pop_late(&mut self, now: MonoNs) -> Option<Waiting> {
        if self.flush.front()?.deadline > now { None } else { self.flush.pop_front() }
    }

    /// When the next reply or gate has waited long enough.
    #[must_use]
    pub(crate) fn next_deadline(&self) -> Option<MonoNs> {
        let flush = self.flush.front().map(|reply| reply.deadline);
        // Tickets are given in the order of time and all wait equally long.
        let gate = self.gates.values().next().map(|gate| gate.deadline);
        flush.into_iter().chain(gate).min()
    }

    fn open_ready(&mut self) {
        let ready = |gate: &Gate| gate.registered && gate.generations.is_empty() && !gate.removal;
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

/// What an answer says is true when it leaves.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promise {
    /// The log is safe up to here, as its flush setting and its role promise; zero promises nothing of the log.
    at: LogOffset,
    /// The change behind this is on the disk and known to the name servers.
    ticket: Option<Ticket>,
    in_vain: InVain,
}

impl Promise {
    /// What ends at `end` is stored as safely as is promised, and so it stays if that takes too long. Who does not wait (`WAIT=false`) is promised
    /// nothing.
    pub(super) fn stored(end: LogOffset, waits: bool) -> Promise {
        Promise { at: if waits { end } else { LogOffset(0) }, ticket: None, in_vain: InVain::Stays }
    }

    /// The same of what its asker relies on: it is told if that takes too long.
    pub(super) fn relied_on(end: LogOffset) -> Promise {
        Promise { in_vain: InVain::TellsLess, ..Promise::stored(end, true) }
    }

    /// The same of a message that was sent, whose answer tells less if it takes too long; its topic may be new.
    pub(super) fn sent(end: LogOffset, waits: bool, ticket: Option<Ticket>) -> Promise {
        Promise { ticket, in_vain: InVain::TellsLess, ..Promise::stored(end, waits) }
    }

    /// And a change, too, is on the disk and known.
    pub(super) fn behind(self, ticket: Option<Ticket>) -> Promise {
        Promise { ticket, ..self }
    }
}

/// When is a request answered? Here, whatever it stored and whoever asked.
impl Broker {
    /// End of what is as safe as flush setting and role promise: what this log promises, and as many slaves have as are asked for.
    pub(super) fn safe_end(&self) -> LogOffset {
        self.log.promised().min(self.replicas_have().acked)
    }

    /// End of what is on the disk, and with the replicas in sync: what a table may say of the log.
    pub(super) fn durable_end(&self) -> LogOffset {
        self.log.flushed().min(self.log.confirm())
    }

    /// End of what waits for nothing more: as safe as promised, or stored here while there is no slave to wait for.
    pub(super) fn settled_end(&self) -> LogOffset {
        if self.replicas_have().is_waitable { self.safe_end() } else { self.log.promised() }
    }

    /// Answers at once if the promise is met, else when it is; `encode` appends the frame.
    #[inline]
    pub(super) fn answer(
        &mut self,
        asked: &Asked,
        promise: Promise,
        out: &mut Output,
        encode: impl FnOnce(&BrokerSettings, &mut BytesMut),
    ) {
        if asked.is_oneway {
            return;
        }
        let Promise { at, ticket, .. } = promise;
        if ticket.is_none() && at <= self.safe_end() {
            if at > LogOffset(0) {
                self.stages.note_answer();
            }
            return encode(&self.settings, out.outbox.buffer(asked.connection));
        }
        encode(&self.settings, &mut self.scratch.frames);
        let frame = self.scratch.frames.split();
        self.wait(asked, promise, frame);
    }

    /// Answers once the change behind `ticket` is durable and known, at once if there is none.
    pub(super) fn reply_behind(&mut self, asked: &Asked, ticket: Option<Ticket>, reply: &Reply<'_>, out: &mut Output) {
        let promise = Promise::stored(LogOffset(0), false).behind(ticket);
        self.answer(asked, promise, out, |_, frame| encode_reply(asked.encoding, asked.opaque, reply, frame));
    }

    /// Says that a table was changed, once that is true: `ticket` stands for the change, and the log is safe up to `at` where the change is in
    /// the log as well.
    pub(super) fn confirm_change(&mut self, asked: &Asked, at: LogOffset, ticket: Option<Ticket>, out: &mut Output) {
        self.confirm_change_by(asked, at, ticket, &Reply::new(ResponseCode::Success), out);
    }

    /// The same with something to say beside.
    pub(super) fn confirm_change_by(
        &mut self,
        asked: &Asked,
        at: LogOffset,
        ticket: Option<Ticket>,
        reply: &Reply<'_>,
        out: &mut Output,
    ) {
        let promise = Promise { at, ticket, in_vain: InVain::Refused };
        self.answer(asked, promise, out, |_, frame| encode_reply(asked.encoding, asked.opaque, reply, frame));
    }

    fn wait(&mut self, asked: &Asked, Promise { at, ticket, in_vain }: Promise, frame: BytesMut) {
        let appended = self.log.appended();
        assert!(at <= appended, "an answer waits for {at}, and the log ends at {appended}");
        let since = asked.now.mono;
        let waits_for_slaves = at > LogOffset(0) && self.waits_for_slaves();
        // A client gives up after 3 s, which is RocketMQ's slaveTimeout as well: the answer leaves a tenth earlier, to be there in time.
        let slave_wait_ms = self.settings.replica.slave_wait_ms / 10 * 9;
        let flush_wait_ms = self.settings.flush_wait_ms;
        let deadline = since.plus_ms(if waits_for_slaves { slave_wait_ms.min(flush_wait_ms) } else { flush_wait_ms });
        self.acks.push(ticket, Waiting { at, since, deadline, connection: asked.connection, in_vain, frame });
    }

    /// Releases the answers whose promise is met, each connection's in order.
    ///
    /// Both ends of what is safe rise along the log, so one pass over its front is enough. Where there are not enough slaves, or too many
    /// answers wait for them, a message that is stored here is answered as such.
    pub(super) fn release_acks(&mut self, now: MonoNs, outbox: &mut Outbox) {
        if self.acks.waits_for_removals() && self.log.has_flushed_removals() {
            self.acks.removals_flushed();
        }
        let promised = self.log.promised();
        let replicas = self.replicas_have();
        // Those of one turn of a connection came at the same time: they are counted together.
        let (mut since, mut count) = (now, 0);
        while let Some(reply) = self.acks.pop_flushed(promised.min(replicas.acked)) {
            if reply.at > LogOffset(0) {
                if reply.since != since {
                    self.stages.note_replies(now, since, count);
                    (since, count) = (reply.since, 0);
                }
                count += 1;
            }
            if self.clients.is_connected(reply.connection) {
                outbox.buffer(reply.connection).extend_from_slice(&reply.frame);
            }
        }
        self.stages.note_replies(now, since, count);
        let (kept, code) = if replicas.is_waitable {
            (REPLICA_WAITS_MAX, ResponseCode::FlushSlaveTimeout)
        } else {
            (0, ResponseCode::SlaveNotAvailable)
        };
        while self.acks.flush_len() > kept
            && let Some(reply) = self.acks.pop_flushed(promised)
        {
            self.answer_instead(&reply, code, outbox);
        }
    }

    /// Lets answers go that have waited too long for topics to be written or registered.
    pub(super) fn expire_gates(&mut self, now: MonoNs, outbox: &mut Outbox) {
        let (late, unwritten) = self.acks.expire_gates(now);
        if late > 0 {
            let refused = unwritten.len();
            tracing::warn!(
                target: BY_STRANGERS,
                late,
                refused,
                "answers did not wait any longer for topics or groups to be written or registered"
            );
        }
        for reply in unwritten {
            self.refuse_change(&reply, outbox);
        }
    }

    /// Answers what was stored and whose flush or whose slaves take too long: stored, but not as promised. A log that has failed answers
    /// nothing any more.
    pub(super) fn expire_acks(&mut self, now: MonoNs, outbox: &mut Outbox) {
        if self.log.failure().is_some() {
            return;
        }
        let acked = self.replicas_have().acked;
        while let Some(late) = self.acks.pop_late(now) {
            // Where both are missing, the slaves' status is the worse news. Source: RocketMQ `CommitLog.handleDiskFlushAndHA`.
            let lacks_slaves = late.at > acked;
            let code = if lacks_slaves { ResponseCode::FlushSlaveTimeout } else { ResponseCode::FlushDiskTimeout };
            self.answer_instead(&late, code, outbox);
        }
    }

    /// When the next answer has waited long enough. A log that has failed answers nothing any more, however late it is.
    pub(super) fn next_ack_deadline(&self) -> Option<MonoNs> {
        if self.log.failure().is_none() { self.acks.next_deadline() } else { None }
    }

    /// Answers a request that was done, but not as promised. `code` says of a message what is missing.
    fn answer_instead(&self, reply: &Waiting, code: ResponseCode, outbox: &mut Outbox) {
        let is_kept = match reply.in_vain {
            InVain::TellsLess => false,
            InVain::Stays => true,
            // A change of a table is done when it is on the disk here; slaves follow the table.
            InVain::Refused if reply.at <= self.log.promised() => true,
            InVain::Refused => return self.refuse_change(reply, outbox),
        };
        if !self.clients.is_connected(reply.connection) {
            return;
        }
        if is_kept {
            return outbox.buffer(reply.connection).extend_from_slice(&reply.frame);
        }
        // The reply was encoded as a success; this is rare enough to read it again.
        let Ok(Some(frame)) = split(&reply.frame) else { return };
        let Ok(header) = Header::decode(frame.encoding, frame.header) else { return };
        let ext: Vec<(&str, ExtValue<'_>)> =
            header.ext.iter().map(|(name, value)| (name, ExtValue::Str(value))).collect();
        let answer = Reply { code, remark: None, ext: &ext, body: frame.body };
        encode_reply(frame.encoding, header.opaque, &answer, outbox.buffer(reply.connection));
    }

    /// Says of a change of a table that it is not on the disk.
    fn refuse_change(&self, reply: &Waiting, outbox: &mut Outbox) {
        if !self.clients.is_connected(reply.connection) {
            return;
        }
        let Ok(Some(frame)) = split(&reply.frame) else { return };
        let Ok(header) = Header::decode(frame.encoding, frame.header) else { return };
        let remark = "the change holds now and is not on the disk: it may be lost in a crash; look whether the disk is full, then ask for it again";
        let answer = Reply::error(ResponseCode::SystemError, remark);
        encode_reply(frame.encoding, header.opaque, &answer, outbox.buffer(reply.connection));
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
            in_vain: InVain::TellsLess,
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
        assert!(drain(&mut acks, 99).is_empty());
        assert_eq!(drain(&mut acks, 300), [1, 2, 3]);
        assert!(drain(&mut acks, 300).is_empty());
        assert_eq!(drain(&mut acks, 1000), [4, 5]);
        assert!(acks.is_empty());
    }

    #[test]
    fn a_gate_opens_when_persisted_and_registered() {
        let mut acks = Acks::default();
        let ticket = acks.make_gate(MonoNs(0), Some((Table::Topics, 7)), true);
        acks.push(Some(ticket), reply(100, 1));
        acks.push(None, reply(200, 2));
        assert!(drain(&mut acks, 150).is_empty());
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
        assert_eq!(acks.expire_gates(MonoNs(0).plus_ms(GATE_WAIT_MS - 1)).0, 0);
        let (late, unwritten) = acks.expire_gates(MonoNs(0).plus_ms(GATE_WAIT_MS));
        assert_eq!((late, unwritten.len()), (1, 0), "registered nowhere, and on the disk");
        assert!(acks.pop_late(MonoNs(0).plus_ms(FLUSH_WAIT_MS - 1)).is_none());
        assert_eq!(acks.pop_late(MonoNs(0).plus_ms(FLUSH_WAIT_MS)).map(|late| late.connection), Some(ConnectionId(1)));
    }
}
