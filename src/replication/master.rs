//! The master's side of replication: what each slave was sent, what it has acknowledged, and what it is sent next.
//!
//! Who calls what: [`Master::link_up`] when a connection is accepted and [`Master::link_down`] at its end; [`Master::receive`] for what it says;
//! [`Master::output`] for what it is to be sent, whenever its socket takes more and [`Master::poll_output`] names it; [`Master::unblock`] when a
//! block of the disk is there; [`Master::tick`] and [`Master::mend`] some times a second. A connection that is refused is to be closed.
//!
//! A slave that does not acknowledge is sent no more than [`HA_WINDOW_BYTES`]; nothing is kept for it but numbers and a part of a message, with
//! the room of a short read ([`PARTIAL_BYTES_KEPT`]).

mod mend;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::{Buf as _, BufMut as _, BytesMut};
use thiserror::Error;

use super::confirm;
use super::epoch::{EpochEntry, EpochTable, Holders};
use super::in_sync::InSyncSet;
use super::mend::{MendLink, Mender};
use super::rate::Rate;
use super::settings::ReplicaSettings;
use super::status::{RefusedSlave, SlaveStatus, UnfitSlave};
use crate::limits::{
    HA_CONFIRM_MS, HA_OPENING_MS, HA_REFUSED_KEPT_MS, HA_SEND_BYTES, HA_SLAVES_MAX, HA_STRANGERS_MAX, HA_WINDOW_BYTES,
    PARTIAL_BYTES_KEPT,
};
use crate::log::{BlockId, Log, Stream};
use crate::model::{BrokerId, Epoch, LinkId, LogOffset, MonoNs, ReignId, Role};
use crate::protocol::ha::{
    Lineage, LogVerdict, SLAVE_MESSAGE_BYTES_MAX, SLAVE_STATEMENT_BYTES, SlaveMessage, Statement, StreamKind, Transfer,
    TransferReign, epoch, identity,
};
use crate::said::BY_STRANGERS;

/// Why a replication connection is closed. One sentence for the log.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(crate) enum HaRefused {
    /// What it asks for was never appended.
    #[error(
        "it asks for the log from {asked} on, which ends at {end}: it has followed another master, or this one has lost its tail"
    )]
    Beyond {
        /// Its first report.
        asked: LogOffset,
        end: LogOffset,
    },
    /// What it asks for is not there any more.
    #[error(
        "it asks for the log from {asked} on, which begins at {start}: the slave must begin anew with an empty store"
    )]
    Removed {
        /// Its first report.
        asked: LogOffset,
        start: LogOffset,
    },
    /// It acknowledges what it was never sent.
    #[error("it acknowledges {acked}, but was sent the log only up to {sent}")]
    AckBeyond {
        acked: LogOffset,
        /// What it was sent.
        sent: LogOffset,
    },
    /// What it says is no message of a slave.
    #[error("what it says is not RocketMQ's replication protocol")]
    Garbage,
    #[error("it did not say from where it wants the log within {} s", HA_OPENING_MS / 1000)]
    NoReport,
    /// It has not been heard of for too long.
    #[error("silent for {silent_ms} ms")]
    Silent { silent_ms: u64 },
    /// The disk could not give what it is to be sent.
    #[error("the log from {at} on cannot be read from the disk")]
    Unreadable { at: LogOffset },
    /// There are enough slaves.
    #[error("there are {HA_SLAVES_MAX} slaves already")]
    TooManySlaves,
    /// There are too many connections that have not said what they want.
    #[error("more than {HA_STRANGERS_MAX} connections have not said what they want, and this is the oldest")]
    TooManyStrangers,
    /// The slave's log and this one do not go together, as one of the two has found.
    #[error("{0}")]
    Unfit(UnfitSlave),
    /// The same slave has connected again.
    #[error("the slave with brokerId {id} has connected again")]
    Replaced { id: BrokerId },
}

impl HaRefused {
    /// The same for all refusals of a kind.
    #[must_use]
    pub(crate) fn kind(&self) -> std::mem::Discriminant<HaRefused> {
        std::mem::discriminant(self)
    }
}

/// How a slave has opened its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Opening {
    /// RocketMQ's classic stream.
    Classic,
    /// The stream that carries epochs.
    Epoch {
        id: BrokerId,
        /// An empty slave wants the newest segment only.
        from_last_segment: bool,
        /// It is told of identities, and says which log it has before anything is sent.
        knows_identities: bool,
    },
}

/// Where the log begins and ends now.
#[derive(Clone, Copy, Debug)]
struct LogEnds {
    start: LogOffset,
    /// Start of the newest segment.
    last_segment: LogOffset,
    appended: LogOffset,
    confirm: LogOffset,
}

impl LogEnds {
    fn of(log: &Log) -> LogEnds {
        LogEnds {
            start: log.start(),
            last_segment: log.last_segment_start(),
            appended: log.appended(),
            confirm: log.confirm(),
        }
    }
}

/// What a slave is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DueToSlave {
    /// The answer to its handshake.
    Greeting,
    /// The log from here on, so many bytes at most.
    Transfer {
        from: LogOffset,
        bytes_max: usize,
    },
    /// An empty transfer.
    Heartbeat {
        at: LogOffset,
    },
    /// What it is asked for, or what it asks for.
    Mend,
    Nothing,
}

#[derive(Debug)]
struct SlaveLink {
    peer: SocketAddr,
    opening: Option<Opening>,
    phase: SlavePhase,
    /// The front of a message that is not whole.
    front: BytesMut,
    acked: LogOffset,
    /// The confirm offset that it was told last.
    told: LogOffset,
    last_read: MonoNs,
    last_write: MonoNs,
    rate: Rate,
    mend: MendLink,
}

#[derive(Clone, Copy, Debug)]
enum SlavePhase {
    /// It has said nothing that opens a stream.
    Stranger,
    /// Its handshake waits for an answer.
    Greeting,
    /// It was answered, and its statement is awaited.
    Named,
    /// It was answered, and its first report is awaited.
    Greeted,
    Following {
        /// Next byte to send.
        next: LogOffset,
        begun: LogOffset,
        /// What it was sent up to here can only go on with this block.
        blocked: Option<BlockId>,
    },
}

/// The slaves of one shard. State of the shard.
#[derive(Debug)]
pub(crate) struct Master {
    role: Role,
    settings: ReplicaSettings,
    links: BTreeMap<LinkId, SlaveLink>,
    in_sync: InSyncSet,
    confirm: LogOffset,
    /// Slaves that are to say how far they are before this reign's first byte is stored, and since when they are waited for.
    asked: BTreeSet<BrokerId>,
    asked_since: Option<MonoNs>,
    /// This log was being copied from another replica's, which may have more.
    is_copy: bool,
    /// Slaves that have said that they have what this log has lost, until they follow or somebody decides; and when they said it last, or this reign
    /// began. At most [`HA_SLAVES_MAX`].
    ahead: BTreeMap<BrokerId, Option<MonoNs>>,
    /// Slaves that do not follow, and why, by brokerId: at most [`HA_SLAVES_MAX`].
    refused: BTreeMap<BrokerId, RefusedSlave>,
    mender: Mender,
    /// All who are known to have, or to have had, a part of this log.
    holders: Holders,
    /// Somebody else gives the roles, who knows of replicas that this master may never hear of.
    obeys: bool,
}

impl Master {
    /// A master without slaves.
    #[must_use]
    pub(crate) fn new(role: Role, settings: ReplicaSettings) -> Master {
        let in_sync = InSyncSet::new(settings.catch_up_within_ms);
        Master {
            role,
            settings,
            links: BTreeMap::new(),
            in_sync,
            confirm: LogOffset(0),
            asked: BTreeSet::new(),
            asked_since: None,
            is_copy: false,
            ahead: BTreeMap::new(),
            refused: BTreeMap::new(),
            mender: Mender::default(),
            holders: Holders::default(),
            obeys: false,
        }
    }

    /// This log was being copied when its last life ended, and somebody has to decide.
    pub(crate) fn note_copy(&mut self) {
        self.is_copy = true;
    }

    /// These slaves had what this log has lost when its last life ended, and nobody has decided.
    pub(crate) fn note_ahead(&mut self, slaves: &BTreeSet<BrokerId>) {
        slaves.iter().for_each(|slave| self.holders.note(Some(*slave)));
        self.ahead.extend(slaves.iter().take(HA_SLAVES_MAX).map(|slave| (*slave, None)));
    }

    /// Who has said that he has what this log has lost, if that matters.
    #[must_use]
    pub(crate) fn ahead(&self) -> BTreeSet<BrokerId> {
        if self.settings.goes_on_behind { BTreeSet::new() } else { self.ahead.keys().copied().collect() }
    }

    /// Before anything is stored, these slaves are to say how far they are: they were in sync with this log's last master, or are registered as
    /// this one's.
    pub(crate) fn ask(&mut self, slaves: BTreeSet<BrokerId>) {
        slaves.iter().for_each(|slave| self.holders.note(Some(*slave)));
        self.asked.extend(slaves.into_iter().take(HA_SLAVES_MAX));
    }

    /// Whether nothing is to be stored yet, when the reign began at `begun`: slaves may have what this log has lost, as after a loss of power, of
    /// the whole store, or when a backup was put in its place; or one of them has said so, and somebody has to decide.
    #[must_use]
    pub(crate) fn holds_back(&self, begun: LogOffset, log: &Log) -> bool {
        let is_behind = !self.settings.goes_on_behind && (self.is_copy || !self.ahead.is_empty());
        log.appended() == begun && (!self.asked.is_empty() || is_behind)
    }

    /// The slaves in sync that say which log they have.
    #[must_use]
    pub(crate) fn in_sync_slaves(&self) -> BTreeSet<BrokerId> {
        let named = self.links.iter().filter(|(id, link)| link.knows_identities() && self.in_sync.contains(**id));
        named.filter_map(|(_, link)| link.broker_id()).collect()
    }

    /// A connection was accepted. Returns one that is to be closed instead, if there are too many that have said nothing.
    pub(crate) fn link_up(&mut self, now: MonoNs, id: LinkId, peer: SocketAddr) -> Option<LinkId> {
        let link = SlaveLink {
            peer,
            opening: None,
            phase: SlavePhase::Stranger,
            front: BytesMut::new(),
            acked: LogOffset(0),
            told: LogOffset(0),
            last_read: now,
            last_write: now,
            rate: Rate::new(now, LogOffset(0)),
            mend: MendLink::default(),
        };
        self.links.insert(id, link);
        let mut strangers = self.links.iter().filter(|(_, link)| link.is_stranger());
        let oldest = strangers.next().map(|(id, _)| *id);
        if strangers.count() >= HA_STRANGERS_MAX { oldest } else { None }
    }

    /// A connection has ended. Returns whether it was a slave in sync.
    pub(crate) fn link_down(&mut self, id: LinkId) -> bool {
        self.links.remove(&id);
        self.in_sync.remove(id)
    }

    /// The other end of a connection.
    #[must_use]
    pub(crate) fn peer(&self, id: LinkId) -> Option<SocketAddr> {
        self.links.get(&id).map(|link| link.peer)
    }

    /// A block was read: slaves that wait for it go on.
    pub(crate) fn unblock(&mut self, block: BlockId) {
        for link in self.links.values_mut() {
            if let SlavePhase::Following { blocked, .. } = &mut link.phase
                && *blocked == Some(block)
            {
                *blocked = None;
            }
            link.mend.unblock(block);
        }
    }

    /// Time passes. Returns the connections that are to be closed, and why.
    pub(crate) fn tick(&mut self, now: MonoNs, appended: LogOffset) -> Vec<(LinkId, HaRefused)> {
        for slave in self.in_sync.shrink(now, appended) {
            let within_ms = self.settings.catch_up_within_ms;
            if let Some(link) = self.links.get(&slave) {
                let behind_bytes = appended.0.saturating_sub(link.acked.0);
                tracing::warn!(target: BY_STRANGERS, peer = %link.peer, behind_bytes, within_ms, "a slave is behind for too long and not in sync any more");
            }
        }
        self.wait_for_asked(now);
        self.refused.retain(|_, slave| now.ms_since(slave.said_at) < HA_REFUSED_KEPT_MS);
        // Who follows for a while has given up what he had, or has lost it. Who is gone has it still, and may come back.
        let following: BTreeSet<BrokerId> =
            self.links.values().filter(|link| link.is_following()).filter_map(SlaveLink::broker_id).collect();
        self.ahead.retain(|broker, said_at| {
            let silent_ms = now.ms_since(*said_at.get_or_insert(now));
            !following.contains(broker) || silent_ms < HA_REFUSED_KEPT_MS
        });
        let mut closed = Vec::new();
        for (id, link) in &mut self.links {
            link.rate.measure(now, link.acked);
            let silent_ms = now.ms_since(link.last_read);
            if matches!(link.phase, SlavePhase::Following { .. }) {
                if silent_ms >= self.settings.silence_ms_max {
                    closed.push((*id, HaRefused::Silent { silent_ms }));
                }
            } else if silent_ms >= HA_OPENING_MS {
                closed.push((*id, HaRefused::NoReport));
            }
        }
        closed
    }

    /// Slaves that were asked how far they are do not hold up a master for ever.
    fn wait_for_asked(&mut self, now: MonoNs) {
        if self.asked.is_empty() {
            return;
        }
        let wait_ms = self.settings.ask_ms;
        let broker_ids = self.asked.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        if self.asked_since.is_none() {
            tracing::info!(broker_ids, wait_ms, "sends are refused until slaves have said how far they are");
        }
        if now.ms_since(*self.asked_since.get_or_insert(now)) >= wait_ms {
            tracing::warn!(
                broker_ids,
                wait_ms,
                "slaves do not say how far they are, and this master goes on without them; one that has more will not follow (haMaxTimeWaitInSyncSlaves)"
            );
            self.asked.clear();
        }
    }

    /// The end of what as many slaves have acknowledged as a reply of success needs; `None` if so many do not follow.
    #[must_use]
    pub(crate) fn acknowledged(&self) -> Option<LogOffset> {
        let following = self.links.values().filter(|link| link.is_following());
        confirm::acknowledged_by(following.map(|link| link.acked), self.slaves_needed())
    }

    /// Whether a reply can wait for its slaves: so many are in sync or about to be.
    #[must_use]
    pub(crate) fn has_slaves(&self) -> bool {
        self.in_sync.bounds().count() >= self.slaves_needed()
    }

    /// Goes by other settings from now on; only those may differ that are asked for each time.
    pub(crate) fn change_settings(&mut self, settings: ReplicaSettings) {
        self.settings = settings;
    }

    /// Whether replies wait for slaves at all.
    #[must_use]
    pub(crate) fn is_waited_for(&self) -> bool {
        self.role == Role::SyncMaster && self.slaves_needed() > 0
    }

    /// Whether as many replicas are in sync as `minInSyncReplicas` demands before anything is stored.
    #[must_use]
    pub(crate) fn is_enough_in_sync(&self) -> bool {
        let min = usize::try_from(self.settings.min_in_sync_replicas).unwrap_or(usize::MAX);
        self.role != Role::SyncMaster || self.in_sync_count() >= min
    }

    fn slaves_needed(&self) -> usize {
        usize::try_from(self.settings.in_sync_replicas).unwrap_or(usize::MAX).saturating_sub(1)
    }

    /// The end of what all of the in-sync set hold, when the flush setting promises what lies before `promised`. It never goes back.
    pub(crate) fn confirm(&mut self, promised: LogOffset) -> LogOffset {
        let before = self.confirm;
        self.confirm = confirm::confirm(before, promised, self.in_sync.bounds());
        assert!(before <= self.confirm, "the confirm offset went back from {before} to {}", self.confirm);
        self.confirm
    }

    /// Replicas in sync, the master among them.
    #[must_use]
    pub(crate) fn in_sync_count(&self) -> usize {
        self.in_sync.count()
    }

    /// The slaves that do not follow, and why.
    pub(crate) fn refused(&self) -> impl Iterator<Item = RefusedSlave> {
        self.refused.values().copied()
    }

    /// What is known of each slave that follows, when the log ends at `appended`.
    pub(crate) fn slaves(&self, appended: LogOffset) -> impl Iterator<Item = SlaveStatus> {
        self.links.iter().filter_map(move |(id, link)| {
            let SlavePhase::Following { next, .. } = link.phase else { return None };
            Some(SlaveStatus {
                address: link.peer,
                acked: link.acked,
                sent: next,
                behind_bytes: appended.0.saturating_sub(link.acked.0),
                bytes_per_second: link.rate.bytes_per_second(),
                in_sync: self.in_sync.contains(*id),
            })
        })
    }
}

impl Master {
    /// Bytes have come over a connection. Returns an older connection of the same slave, which is to be closed, and why.
    ///
    /// # Errors
    /// [`HaRefused`]: the connection is to be closed.
    pub(crate) fn receive(
        &mut self,
        now: MonoNs,
        id: LinkId,
        bytes: &[u8],
        log: &Log,
        epochs: &EpochTable,
    ) -> Result<Option<(LinkId, HaRefused)>, HaRefused> {
        let link = self.links.get_mut(&id).ok_or(HaRefused::Garbage)?;
        let mut front = std::mem::take(&mut link.front);
        front.extend_from_slice(bytes);
        let older = self.take_messages(now, id, &mut front, LogEnds::of(log), epochs)?;
        assert!(front.len() < SLAVE_MESSAGE_BYTES_MAX, "{} bytes of a slave are no message yet", front.len());
        if let Some(link) = self.links.get_mut(&id) {
            // Of a long read nothing is kept but the unfinished message at its end.
            link.front = if bytes.len() > PARTIAL_BYTES_KEPT { BytesMut::from(&front[..]) } else { front };
        }
        Ok(older)
    }

    fn take_messages(
        &mut self,
        now: MonoNs,
        id: LinkId,
        front: &mut BytesMut,
        ends: LogEnds,
        epochs: &EpochTable,
    ) -> Result<Option<(LinkId, HaRefused)>, HaRefused> {
        let mut older = None;
        loop {
            let stream = self.links.get(&id).and_then(SlaveLink::stream);
            let message = SlaveMessage::decode(stream, front).map_err(|_| HaRefused::Garbage)?;
            let Some((message, size)) = message else {
                // Nothing else is as long as an answer, and only what was asked for is gathered.
                let is_awaited = self.links.get(&id).is_some_and(|link| link.mend.is_awaiting());
                return if front.len() > SLAVE_STATEMENT_BYTES && !is_awaited {
                    Err(HaRefused::Garbage)
                } else {
                    Ok(older)
                };
            };
            match message {
                // It opens a stream, which nothing does twice.
                SlaveMessage::Handshake(handshake) => older = self.greet(now, id, handshake)?,
                SlaveMessage::Statement(statement) => self.hear(now, id, statement, ends, epochs)?,
                SlaveMessage::Report(offset) => self.report(now, id, offset, ends)?,
                SlaveMessage::Mend(message) => {
                    let link = self.links.get_mut(&id).filter(|link| link.is_following()).ok_or(HaRefused::Garbage)?;
                    link.last_read = now;
                    if let Some((from, bytes)) = link.mend.hear(message).map_err(|_| HaRefused::Garbage)? {
                        self.mender.note_answer(id, from, bytes);
                    }
                }
            }
            front.advance(size);
        }
    }

    /// A slave opens the stream that carries epochs. Returns an older connection of the same slave, and why it is to be closed.
    fn greet(
        &mut self,
        now: MonoNs,
        id: LinkId,
        said: epoch::Handshake,
    ) -> Result<Option<(LinkId, HaRefused)>, HaRefused> {
        self.check_room()?;
        let broker = said.broker_id;
        let mut others = self.links.iter().filter(|(other, link)| **other != id && link.broker_id() == Some(broker));
        let older = others.next().map(|(other, _)| (*other, HaRefused::Replaced { id: broker }));
        let link = self.links.get_mut(&id).ok_or(HaRefused::Garbage)?;
        assert!(link.is_stranger(), "the stream {:?} is opened again", link.opening);
        link.opening = Some(Opening::Epoch {
            id: broker,
            from_last_segment: said.from_last_segment,
            knows_identities: said.knows_identities,
        });
        (link.phase, link.last_read) = (SlavePhase::Greeting, now);
        Ok(older)
    }

    /// A slave says which log it has, and what it makes of this one. It is believed when it refuses, and looked at when it follows.
    fn hear(
        &mut self,
        now: MonoNs,
        id: LinkId,
        said: Statement,
        ends: LogEnds,
        epochs: &EpochTable,
    ) -> Result<(), HaRefused> {
        let link = self.links.get_mut(&id).ok_or(HaRefused::Garbage)?;
        let (Some(broker), SlavePhase::Named | SlavePhase::Following { .. }) = (link.broker_id(), link.phase) else {
            return Err(HaRefused::Garbage);
        };
        link.last_read = now;
        self.asked.remove(&broker);
        let said = if epochs.is_front_of(ends.appended, &said) { said } else { said.of_a_stranger() };
        // One without a name is compared with this log while it follows.
        let is_named = said.is_empty() || said.log == epochs.log();
        link.mend.note_able(said.can_be_asked && is_named && said.verdict == LogVerdict::Follows);
        if said.verdict == LogVerdict::Follows {
            link.phase = SlavePhase::Greeted;
            // One that could not store what it was sent at a place is well when it is beyond it.
            // And one that had more, and now has less, has lost it: what it had may still be somewhere.
            let is_stuck = |refused: &RefusedSlave| {
                let before = refused.refusal.said;
                match before.verdict {
                    LogVerdict::Damaged => said.end <= before.point,
                    LogVerdict::Ahead => said.end < before.end,
                    // Its log has no name: its bytes said it, and are looked at again.
                    LogVerdict::Stranger => !said.is_empty() && !said.log.is_known() && said.end <= before.end,
                    _ => false,
                }
            };
            let is_stuck = self.refused.get(&broker).map(is_stuck);
            if is_stuck != Some(true) {
                self.refused.remove(&broker);
            }
            // Nothing may be left of what it said: then it has all that this log has.
            if is_stuck == Some(false) || is_stuck.is_none() && !said.is_empty() && said.end == ends.appended {
                self.ahead.remove(&broker);
            }
            return Ok(());
        }
        let has_more = match said.verdict {
            LogVerdict::Ahead => true,
            LogVerdict::Stranger => ends.start == ends.appended,
            _ => false,
        };
        if has_more && (self.ahead.len() < HA_SLAVES_MAX || self.ahead.contains_key(&broker)) {
            self.ahead.insert(broker, Some(now));
        }
        let refusal = UnfitSlave { broker, own: epochs.log(), own_end: ends.appended, said };
        let address = link.peer;
        if self.refused.len() >= HA_SLAVES_MAX && !self.refused.contains_key(&broker) {
            self.refused.pop_first();
        }
        self.refused.insert(broker, RefusedSlave { address, refusal, said_at: now });
        self.holders.note(Some(broker));
        Err(HaRefused::Unfit(refusal))
    }

    fn check_room(&self) -> Result<(), HaRefused> {
        let slaves = self.links.values().filter(|link| !link.is_stranger()).count();
        if slaves >= HA_SLAVES_MAX { Err(HaRefused::TooManySlaves) } else { Ok(()) }
    }

    /// A slave reports the end of its log: from there it wants to go on, at first; later that is what it acknowledges. A first report on a
    /// connection without a handshake opens the classic stream.
    fn report(&mut self, now: MonoNs, id: LinkId, offset: LogOffset, ends: LogEnds) -> Result<(), HaRefused> {
        if self.links.get(&id).is_some_and(SlaveLink::is_stranger) {
            self.check_room()?;
        }
        let link = self.links.get_mut(&id).ok_or(HaRefused::Garbage)?;
        link.last_read = now;
        match link.phase {
            SlavePhase::Following { next, .. } => {
                if offset > next {
                    return Err(HaRefused::AckBeyond { acked: offset, sent: next });
                }
                link.acked = link.acked.max(offset);
                let acked = link.acked;
                assert!(acked <= next, "a slave has acknowledged {acked}, but was sent the log only up to {next}");
                self.in_sync.acknowledge(now, id, acked, ends.appended, ends.confirm);
                if !self.refused.is_empty()
                    && let Some(broker) = link.broker_id()
                    && self.refused.get(&broker).is_some_and(|refused| acked > refused.refusal.said.point)
                {
                    self.refused.remove(&broker);
                    self.ahead.remove(&broker);
                }
            }
            SlavePhase::Stranger | SlavePhase::Greeted => {
                let opening = *link.opening.get_or_insert(Opening::Classic);
                let broker = link.broker_id().filter(|_| link.knows_identities());
                let begin = begin_of(opening, offset, ends)?;
                link.phase = SlavePhase::Following { next: begin, begun: begin, blocked: None };
                link.acked = offset;
                link.rate = Rate::new(now, offset);
                self.in_sync.add(id, offset);
                self.in_sync.acknowledge(now, id, offset, ends.appended, ends.confirm);
                self.holders.note(broker);
            }
            SlavePhase::Greeting | SlavePhase::Named => return Err(HaRefused::Garbage),
        }
        Ok(())
    }
}

/// What slaves are sent.
impl Master {
    /// The slaves that are to be sent something now.
    pub(crate) fn poll_output(&self, now: MonoNs, log: &Log) -> impl Iterator<Item = LinkId> {
        let ends = LogEnds::of(log);
        self.links
            .iter()
            .filter(move |(_, link)| link.due(now, &self.settings, &ends) != DueToSlave::Nothing)
            .map(|(id, _)| *id)
    }

    /// Appends what a slave is to be sent now to an empty buffer, [`HA_SEND_BYTES`] and one header at most, and lets it grow no further.
    /// Returns a block of the disk without which it cannot go on; then [`Master::unblock`].
    ///
    /// # Errors
    /// [`HaRefused`]: the connection is to be closed.
    pub(crate) fn output(
        &mut self,
        now: MonoNs,
        id: LinkId,
        log: &mut Log,
        epochs: &EpochTable,
        buffer: &mut BytesMut,
    ) -> Result<Option<BlockId>, HaRefused> {
        let Some(link) = self.links.get_mut(&id) else { return Ok(None) };
        while buffer.len() < HA_SEND_BYTES {
            let ends = LogEnds::of(log);
            match link.due(now, &self.settings, &ends) {
                DueToSlave::Nothing => break,
                // An answer is made apart from the transfers, whose bound has no room for it.
                DueToSlave::Mend if !buffer.is_empty() => break,
                DueToSlave::Mend => {
                    link.last_write = now;
                    if let Some(block) = link.mend.say(log, buffer) {
                        return Ok(Some(block));
                    }
                    break;
                }
                DueToSlave::Greeting if link.knows_identities() => {
                    let is_durable = log.is_promise_durable();
                    let lineage = Lineage { log: epochs.log(), is_durable, can_be_asked: true };
                    identity::encode_lineage(ends.appended, lineage, epochs.entries(), buffer);
                    (link.phase, link.last_write) = (SlavePhase::Named, now);
                }
                DueToSlave::Greeting => {
                    let entries = epochs.entries().iter().map(|entry| (entry.epoch, entry.start));
                    let epoch = epochs.last().map_or(Epoch(0), |entry| entry.epoch);
                    epoch::encode_handshake_reply(ends.appended, epoch, entries, buffer);
                    (link.phase, link.last_write) = (SlavePhase::Greeted, now);
                }
                DueToSlave::Heartbeat { at } => {
                    link.header(at, epochs, &ends).0.encode(buffer);
                    link.note_sent(now, 0, &ends);
                }
                DueToSlave::Transfer { from, bytes_max } => {
                    // At once, and as a whole: a buffer that grows as it is filled has twice the room.
                    buffer.reserve((HA_SEND_BYTES + epoch::HEADER_BYTES).saturating_sub(buffer.len()));
                    // The batch may be set to more than is to be made at once.
                    let bytes_max = bytes_max.min(HA_SEND_BYTES - buffer.len());
                    match link.transfer(from, bytes_max, log, epochs, buffer, &ends) {
                        Stream::Bytes(bytes) => {
                            if link.note_sent(now, bytes, &ends) {
                                self.in_sync.note_sent_all(now, id, ends.appended);
                            }
                        }
                        Stream::Cold(block) => {
                            link.block(block);
                            return Ok(Some(block));
                        }
                        // What it is to be sent was removed, by retention, while it was too slow.
                        Stream::Removed => return Err(HaRefused::Removed { asked: from, start: log.start() }),
                        Stream::Failed(_) => return Err(HaRefused::Unreadable { at: from }),
                        end @ (Stream::CaughtUp | Stream::Beyond) => {
                            panic!("{from} is {end:?}, but the log goes to {}", ends.appended)
                        }
                    }
                }
            }
        }
        Ok(None)
    }
}

/// Where a slave's stream begins.
fn begin_of(opening: Opening, offset: LogOffset, ends: LogEnds) -> Result<LogOffset, HaRefused> {
    let begin = match opening {
        _ if offset > LogOffset(0) => offset,
        // Source: RocketMQ `DefaultHAConnection`: an empty slave gets the last file, not the whole log.
        Opening::Classic | Opening::Epoch { from_last_segment: true, .. } => ends.last_segment,
        Opening::Epoch { .. } => ends.start,
    };
    if begin > ends.appended {
        return Err(HaRefused::Beyond { asked: begin, end: ends.appended });
    }
    if begin < ends.start {
        return Err(HaRefused::Removed { asked: begin, start: ends.start });
    }
    Ok(begin)
}

impl SlaveLink {
    fn is_stranger(&self) -> bool {
        self.opening.is_none()
    }

    fn is_following(&self) -> bool {
        matches!(self.phase, SlavePhase::Following { .. })
    }

    fn stream(&self) -> Option<StreamKind> {
        Some(match self.opening? {
            Opening::Classic => StreamKind::Classic,
            Opening::Epoch { .. } => StreamKind::Epoch,
        })
    }

    fn broker_id(&self) -> Option<BrokerId> {
        match self.opening {
            Some(Opening::Epoch { id, .. }) => Some(id),
            _ => None,
        }
    }

    fn knows_identities(&self) -> bool {
        matches!(self.opening, Some(Opening::Epoch { knows_identities: true, .. }))
    }

    /// What it is to be sent now.
    fn due(&self, now: MonoNs, settings: &ReplicaSettings, ends: &LogEnds) -> DueToSlave {
        match self.phase {
            SlavePhase::Greeting => DueToSlave::Greeting,
            SlavePhase::Stranger | SlavePhase::Named | SlavePhase::Greeted => DueToSlave::Nothing,
            SlavePhase::Following { .. } if self.mend.is_due() => DueToSlave::Mend,
            SlavePhase::Following { next, begun, blocked } => {
                let unacknowledged = next.since(begun.max(self.acked));
                let room = HA_WINDOW_BYTES.saturating_sub(unacknowledged);
                let bytes_max = settings.batch_bytes_max.min(usize::try_from(room).unwrap_or(usize::MAX));
                if next < ends.appended && bytes_max > 0 && blocked.is_none() {
                    return DueToSlave::Transfer { from: next, bytes_max };
                }
                // What the last transfer brought was confirmed after it: readers of the slave must not wait for the next one.
                let has_news = self.broker_id().is_some() && self.told < ends.confirm;
                let within_ms = if has_news { HA_CONFIRM_MS } else { settings.heartbeat_ms };
                if now.ms_since(self.last_write) >= within_ms {
                    DueToSlave::Heartbeat { at: next }
                } else {
                    DueToSlave::Nothing
                }
            }
        }
    }

    /// The header of an empty transfer at `from`, and the end of the epoch there, if another one follows.
    fn header(&self, from: LogOffset, epochs: &EpochTable, ends: &LogEnds) -> (Transfer, Option<LogOffset>) {
        let of_epoch = self.stream().filter(|stream| *stream == StreamKind::Epoch).map(|_| {
            let unnumbered = EpochEntry { epoch: Epoch(0), start: LogOffset(0), id: ReignId::default() };
            // What was begun before the oldest reign that is remembered has no number, and ends where that one begins.
            epochs.at(from).unwrap_or((unnumbered, epochs.entries().first().map(|oldest| oldest.start)))
        });
        let reign =
            of_epoch.map(|(EpochEntry { epoch, start, .. }, _)| TransferReign { epoch, start, confirm: ends.confirm });
        (Transfer { offset: from, body_bytes: 0, reign }, of_epoch.and_then(|(_, end)| end))
    }

    /// Appends one transfer of the log from `from` on, with at most `bytes_max` bytes; nothing at all if the log has none to give.
    fn transfer(
        &self,
        from: LogOffset,
        bytes_max: usize,
        log: &mut Log,
        epochs: &EpochTable,
        buffer: &mut BytesMut,
        ends: &LogEnds,
    ) -> Stream {
        let (header, epoch_end) = self.header(from, epochs, ends);
        // A transfer never spans two epochs.
        let in_epoch = epoch_end.map_or(usize::MAX, |end| usize::try_from(end.since(from)).unwrap_or(usize::MAX));
        let place = buffer.len();
        buffer.put_bytes(0, header.header_bytes());
        let body = buffer.len();
        let stream = log.stream(from, bytes_max.min(in_epoch), buffer);
        if let Stream::Bytes(bytes) = stream {
            assert_eq!(buffer.len() - body, bytes, "a stream appends what it says");
            assert!(bytes > 0, "the log gives nothing from {from} on, and goes to {}", ends.appended);
            Transfer { body_bytes: bytes, ..header }.encode(&mut &mut buffer[place..body]);
        } else {
            buffer.truncate(place);
        }
        stream
    }

    /// It was sent so many bytes more, and the confirm offset. Returns whether that is all of the log.
    fn note_sent(&mut self, now: MonoNs, bytes: usize, ends: &LogEnds) -> bool {
        let appended = ends.appended;
        let SlavePhase::Following { next, .. } = &mut self.phase else { return false };
        *next = next.plus(bytes as u64);
        assert!(*next <= appended, "a slave was sent {next}, but the log ends at {appended}");
        (self.last_write, self.told) = (now, ends.confirm);
        *next == appended
    }

    /// What it is to be sent has to be read from the disk first.
    fn block(&mut self, block: BlockId) {
        if let SlavePhase::Following { blocked, .. } = &mut self.phase {
            *blocked = Some(block);
        }
    }
}

#[cfg(test)]
mod tests;
