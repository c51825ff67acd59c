//! The master's side of replication: what each slave was sent, what it has acknowledged, and what it is sent next.
//!
//! Who calls what: [`Master::connected`] when a connection is accepted, [`Master::greet`] and [`Master::report`] for what it says,
//! [`Master::next`] whenever bytes can be sent, followed by what was done about it ([`Master::sent`], [`Master::sent_heartbeat`],
//! [`Master::greeted`], [`Master::blocked`]); [`Master::tick`] some times a second; [`Master::disconnected`] at its end.
//!
//! A slave that does not acknowledge is sent no more than [`HA_WINDOW_BYTES`]; nothing is kept for it but numbers.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use thiserror::Error;

use super::confirm;
use super::in_sync::InSyncSet;
use super::rate::Rate;
use super::settings::ReplicaSettings;
use super::status::SlaveStatus;
use crate::limits::{HA_CONFIRM_MS, HA_OPENING_MS, HA_SLAVES_MAX, HA_STRANGERS_MAX, HA_WINDOW_BYTES};
use crate::log::BlockId;
use crate::model::{BrokerId, LinkId, LogOffset, MonoNs, Role};

/// Why a replication connection is closed. One sentence for the log.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HaRefused {
    /// What it asks for was never appended.
    #[error(
        "it asks for the log from {asked} on, which ends at {end}: it has followed another master, or this one has lost its tail"
    )]
    Beyond {
        /// Its first report.
        asked: LogOffset,
        /// The log's end.
        end: LogOffset,
    },
    /// What it asks for is not there any more.
    #[error(
        "it asks for the log from {asked} on, which begins at {start}: the slave must begin anew with an empty store"
    )]
    Removed {
        /// Its first report.
        asked: LogOffset,
        /// The log's start.
        start: LogOffset,
    },
    /// It acknowledges what it was never sent.
    #[error("it acknowledges {acked}, but was sent the log only up to {sent}")]
    AckBeyond {
        /// Its report.
        acked: LogOffset,
        /// What it was sent.
        sent: LogOffset,
    },
    /// What it says is no message of a slave.
    #[error("what it says is not RocketMQ's replication protocol")]
    Garbage,
    /// It says nothing.
    #[error("it did not say from where it wants the log within {} s", HA_OPENING_MS / 1000)]
    NoReport,
    /// It has not been heard of for too long.
    #[error("silent for {silent_ms} ms")]
    Silent {
        /// For how long.
        silent_ms: u64,
    },
    /// The disk could not give what it is to be sent.
    #[error("the log from {at} on cannot be read from the disk")]
    Unreadable {
        /// From where.
        at: LogOffset,
    },
    /// There are enough slaves.
    #[error("there are {HA_SLAVES_MAX} slaves already")]
    TooManySlaves,
    /// There are too many connections that have not said what they want.
    #[error("more than {HA_STRANGERS_MAX} connections have not said what they want, and this is the oldest")]
    TooManyStrangers,
    /// The same slave has connected again.
    #[error("the slave with brokerId {id} has connected again")]
    Replaced {
        /// Its brokerId.
        id: BrokerId,
    },
}

/// How a slave has opened its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opening {
    /// RocketMQ's classic stream.
    Classic,
    /// The stream that carries epochs.
    Epoch {
        /// The slave's brokerId.
        id: BrokerId,
        /// An empty slave wants the newest segment only.
        from_last_segment: bool,
    },
}

/// Where the log begins and ends now.
#[derive(Clone, Copy, Debug)]
pub struct LogEnds {
    /// First offset.
    pub start: LogOffset,
    /// Start of the newest segment.
    pub last_segment: LogOffset,
    /// End.
    pub appended: LogOffset,
    /// End of what is confirmed.
    pub confirm: LogOffset,
}

/// What a slave is to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// The answer to its handshake; then [`Master::greeted`].
    Greeting,
    /// The log from here on, so many bytes at most; then [`Master::sent`] or [`Master::blocked`].
    Send {
        /// First byte.
        from: LogOffset,
        /// Most bytes.
        bytes_max: usize,
    },
    /// An empty transfer; then [`Master::sent_heartbeat`].
    Heartbeat {
        /// Where it stands.
        at: LogOffset,
    },
    /// Nothing now.
    Nothing,
}

#[derive(Debug)]
struct Link {
    peer: SocketAddr,
    opening: Option<Opening>,
    phase: Phase,
    acked: LogOffset,
    /// The confirm offset that it was told last.
    told: LogOffset,
    last_read: MonoNs,
    last_write: MonoNs,
    rate: Rate,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    /// It has said nothing that opens a stream.
    Stranger,
    /// Its handshake waits for an answer.
    Greeting,
    /// It was answered, and its first report is awaited.
    Greeted,
    /// It follows.
    Following {
        /// Next byte to send.
        next: LogOffset,
        /// Where it began.
        begun: LogOffset,
        /// What it was sent up to here can only go on with this block.
        blocked: Option<BlockId>,
    },
}

/// The slaves of one shard. State of the shard.
#[derive(Debug)]
pub struct Master {
    settings: ReplicaSettings,
    links: BTreeMap<LinkId, Link>,
    in_sync: InSyncSet,
    confirm: LogOffset,
}

impl Master {
    /// A master without slaves.
    #[must_use]
    pub fn new(settings: ReplicaSettings) -> Master {
        let in_sync = InSyncSet::new(settings.catch_up_within_ms);
        Master { settings, links: BTreeMap::new(), in_sync, confirm: LogOffset(0) }
    }

    /// A connection was accepted. Returns one that is to be closed instead, if there are too many that have said nothing.
    pub fn connected(&mut self, now: MonoNs, id: LinkId, peer: SocketAddr) -> Option<LinkId> {
        let rate = Rate::new(now, LogOffset(0));
        let (phase, acked, told) = (Phase::Stranger, LogOffset(0), LogOffset(0));
        self.links.insert(id, Link { peer, opening: None, phase, acked, told, last_read: now, last_write: now, rate });
        let mut strangers = self.links.iter().filter(|(_, link)| link.is_stranger());
        let oldest = strangers.next().map(|(id, _)| *id);
        if strangers.count() >= HA_STRANGERS_MAX { oldest } else { None }
    }

    /// A connection has ended. Returns whether it was a slave in sync.
    pub fn disconnected(&mut self, id: LinkId) -> bool {
        self.links.remove(&id);
        self.in_sync.remove(id)
    }

    /// How a connection has opened its stream, if it has.
    #[must_use]
    pub fn opening(&self, id: LinkId) -> Option<Opening> {
        self.links.get(&id)?.opening
    }

    /// A slave opens the stream that carries epochs. Returns an older connection of the same slave, which is to be closed.
    ///
    /// # Errors
    /// [`HaRefused`]: the connection is to be closed.
    pub fn greet(&mut self, now: MonoNs, id: LinkId, opening: Opening) -> Result<Option<LinkId>, HaRefused> {
        self.check_room()?;
        let Opening::Epoch { id: broker, .. } = opening else { return Err(HaRefused::Garbage) };
        let older =
            self.links.iter().find(|(other, link)| **other != id && link.is_of(broker)).map(|(other, _)| *other);
        let link = self.links.get_mut(&id).ok_or(HaRefused::Garbage)?;
        if link.opening.is_some() {
            return Err(HaRefused::Garbage);
        }
        (link.opening, link.phase, link.last_read) = (Some(opening), Phase::Greeting, now);
        Ok(older)
    }

    fn check_room(&self) -> Result<(), HaRefused> {
        let slaves = self.links.values().filter(|link| !link.is_stranger()).count();
        if slaves >= HA_SLAVES_MAX { Err(HaRefused::TooManySlaves) } else { Ok(()) }
    }

    /// A slave reports the end of its log: from there it wants to go on, at first; later that is what it acknowledges. A first report on a
    /// connection without a handshake opens the classic stream.
    ///
    /// # Errors
    /// [`HaRefused`]: the connection is to be closed.
    pub fn report(&mut self, now: MonoNs, id: LinkId, offset: LogOffset, ends: LogEnds) -> Result<(), HaRefused> {
        if self.links.get(&id).is_some_and(Link::is_stranger) {
            self.check_room()?;
        }
        let link = self.links.get_mut(&id).ok_or(HaRefused::Garbage)?;
        link.last_read = now;
        match link.phase {
            Phase::Following { next, .. } => {
                if offset > next {
                    return Err(HaRefused::AckBeyond { acked: offset, sent: next });
                }
                link.acked = link.acked.max(offset);
                let acked = link.acked;
                self.in_sync.acknowledge(now, id, acked, ends.appended, ends.confirm);
            }
            Phase::Stranger | Phase::Greeted => {
                let opening = *link.opening.get_or_insert(Opening::Classic);
                let begin = begin_of(opening, offset, ends)?;
                link.phase = Phase::Following { next: begin, begun: begin, blocked: None };
                link.acked = offset;
                link.rate = Rate::new(now, offset);
                self.in_sync.add(id, offset);
                self.in_sync.acknowledge(now, id, offset, ends.appended, ends.confirm);
            }
            Phase::Greeting => return Err(HaRefused::Garbage),
        }
        Ok(())
    }

    /// What a slave is to be sent now.
    #[must_use]
    pub fn next(&self, now: MonoNs, id: LinkId, ends: &LogEnds) -> Next {
        let Some(link) = self.links.get(&id) else { return Next::Nothing };
        match link.phase {
            Phase::Greeting => Next::Greeting,
            Phase::Stranger | Phase::Greeted => Next::Nothing,
            Phase::Following { next, begun, blocked } => {
                let unacknowledged = next.since(begun.max(link.acked));
                let room = HA_WINDOW_BYTES.saturating_sub(unacknowledged);
                let bytes_max = self.settings.batch_bytes_max.min(usize::try_from(room).unwrap_or(usize::MAX));
                if next < ends.appended && bytes_max > 0 && blocked.is_none() {
                    return Next::Send { from: next, bytes_max };
                }
                // What the last transfer brought was confirmed after it: readers of the slave must not wait for the next one.
                let has_news = link.broker_id().is_some() && link.told < ends.confirm;
                let within_ms = if has_news { HA_CONFIRM_MS } else { self.settings.heartbeat_ms };
                if now.ms_since(link.last_write) >= within_ms { Next::Heartbeat { at: next } } else { Next::Nothing }
            }
        }
    }

    /// The slaves that are to be sent something now.
    pub fn ready(&self, now: MonoNs, ends: LogEnds) -> impl Iterator<Item = LinkId> {
        self.links.keys().copied().filter(move |id| self.next(now, *id, &ends) != Next::Nothing)
    }

    /// Whether there is any connection.
    #[must_use]
    pub fn is_alone(&self) -> bool {
        self.links.is_empty()
    }

    /// The other end of a connection.
    #[must_use]
    pub fn peer(&self, id: LinkId) -> Option<SocketAddr> {
        self.links.get(&id).map(|link| link.peer)
    }

    /// The handshake of a slave was answered.
    pub fn greeted(&mut self, now: MonoNs, id: LinkId) {
        if let Some(link) = self.links.get_mut(&id) {
            (link.phase, link.last_write) = (Phase::Greeted, now);
        }
    }

    /// A slave was sent so many bytes more.
    pub fn sent(&mut self, now: MonoNs, id: LinkId, bytes: usize, ends: &LogEnds) {
        let appended = ends.appended;
        let Some(link) = self.links.get_mut(&id) else { return };
        let Phase::Following { next, .. } = &mut link.phase else { return };
        *next = next.plus(bytes as u64);
        assert!(*next <= appended, "a slave was sent {next}, but the log ends at {appended}");
        (link.last_write, link.told) = (now, ends.confirm);
        if *next == appended {
            self.in_sync.note_sent_all(now, id, appended);
        }
    }

    /// A slave was sent an empty transfer.
    pub fn sent_heartbeat(&mut self, now: MonoNs, id: LinkId, ends: &LogEnds) {
        if let Some(link) = self.links.get_mut(&id) {
            (link.last_write, link.told) = (now, ends.confirm);
        }
    }

    /// What a slave is to be sent has to be read from the disk first.
    pub fn blocked(&mut self, id: LinkId, block: BlockId) {
        if let Some(Link { phase: Phase::Following { blocked, .. }, .. }) = self.links.get_mut(&id) {
            *blocked = Some(block);
        }
    }

    /// A block was read: slaves that wait for it go on.
    pub fn unblock(&mut self, block: BlockId) {
        for link in self.links.values_mut() {
            if let Phase::Following { blocked, .. } = &mut link.phase
                && *blocked == Some(block)
            {
                *blocked = None;
            }
        }
    }

    /// Time passes. Returns the connections that are to be closed, and why.
    pub fn tick(&mut self, now: MonoNs, ends: LogEnds) -> Vec<(LinkId, HaRefused)> {
        for slave in self.in_sync.shrink(now, ends.appended) {
            let within_ms = self.settings.catch_up_within_ms;
            if let Some(link) = self.links.get(&slave) {
                let behind_bytes = ends.appended.0.saturating_sub(link.acked.0);
                tracing::warn!(peer = %link.peer, behind_bytes, within_ms, "a slave is behind for too long and not in sync any more");
            }
        }
        let mut closed = Vec::new();
        for (id, link) in &mut self.links {
            link.rate.measure(now, link.acked);
            let silent_ms = now.ms_since(link.last_read);
            if matches!(link.phase, Phase::Following { .. }) {
                if silent_ms >= self.settings.silence_ms_max {
                    closed.push((*id, HaRefused::Silent { silent_ms }));
                }
            } else if silent_ms >= HA_OPENING_MS {
                closed.push((*id, HaRefused::NoReport));
            }
        }
        closed
    }

    /// The end of what as many slaves have acknowledged as a reply of success needs; `None` if so many do not follow.
    #[must_use]
    pub fn acknowledged(&self) -> Option<LogOffset> {
        let following = self.links.values().filter(|link| link.is_following());
        confirm::acknowledged_by(following.map(|link| link.acked), self.slaves_needed())
    }

    /// Whether a reply can wait for its slaves: so many are in sync or about to be.
    #[must_use]
    pub fn has_slaves(&self) -> bool {
        self.in_sync.bounds().count() >= self.slaves_needed()
    }

    /// Whether replies wait for slaves at all.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.settings.role == Role::SyncMaster && self.slaves_needed() > 0
    }

    /// Whether as many replicas are in sync as `minInSyncReplicas` demands before anything is stored.
    #[must_use]
    pub fn is_enough_in_sync(&self) -> bool {
        let min = usize::try_from(self.settings.min_in_sync_replicas).unwrap_or(usize::MAX);
        self.settings.role != Role::SyncMaster || self.in_sync_count() >= min
    }

    fn slaves_needed(&self) -> usize {
        usize::try_from(self.settings.in_sync_replicas).unwrap_or(usize::MAX).saturating_sub(1)
    }

    /// The end of what all of the in-sync set hold, when the flush setting promises what lies before `promised`. It never goes back.
    pub fn confirm(&mut self, promised: LogOffset) -> LogOffset {
        self.confirm = confirm::confirm(self.confirm, promised, self.in_sync.bounds());
        self.confirm
    }

    /// Replicas in sync, the master among them.
    #[must_use]
    pub fn in_sync_count(&self) -> usize {
        self.in_sync.count()
    }

    /// What is known of each slave that follows, when the log ends at `appended`.
    pub fn slaves(&self, appended: LogOffset) -> impl Iterator<Item = SlaveStatus> {
        self.links.iter().filter_map(move |(id, link)| {
            let Phase::Following { next, .. } = link.phase else { return None };
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

impl Link {
    fn is_stranger(&self) -> bool {
        self.opening.is_none()
    }

    fn is_following(&self) -> bool {
        matches!(self.phase, Phase::Following { .. })
    }

    fn broker_id(&self) -> Option<BrokerId> {
        match self.opening {
            Some(Opening::Epoch { id, .. }) => Some(id),
            _ => None,
        }
    }

    fn is_of(&self, id: BrokerId) -> bool {
        self.broker_id() == Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::FileName;

    const A: LinkId = LinkId(1);
    const B: LinkId = LinkId(2);

    fn at(ms: u64) -> MonoNs {
        MonoNs(0).plus_ms(ms)
    }

    fn ends(start: u64, last_segment: u64, appended: u64) -> LogEnds {
        let appended = LogOffset(appended);
        LogEnds { start: LogOffset(start), last_segment: LogOffset(last_segment), appended, confirm: appended }
    }

    fn peer() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 4000))
    }

    fn master(in_sync_replicas: u32) -> Master {
        Master::new(ReplicaSettings { in_sync_replicas, ..ReplicaSettings::default() })
    }

    fn follow(master: &mut Master, id: LinkId, offset: u64, ends: LogEnds) -> Result<(), HaRefused> {
        master.connected(at(0), id, peer());
        master.report(at(0), id, LogOffset(offset), ends)
    }

    #[test]
    fn a_stream_begins_where_the_slave_ends() {
        let check = |opening: Option<bool>, offset, expected: Result<u64, HaRefused>| {
            let (mut master, ends) = (master(1), ends(100, 200, 300));
            master.connected(at(0), A, peer());
            if let Some(from_last_segment) = opening {
                let opening = Opening::Epoch { id: BrokerId(1), from_last_segment };
                assert_eq!(master.greet(at(0), A, opening), Ok(None));
                assert_eq!(master.next(at(0), A, &ends), Next::Greeting);
                master.greeted(at(0), A);
            }
            let begun = master
                .report(at(0), A, LogOffset(offset), ends)
                .map(|()| master.slaves(ends.appended).next().expect("it follows").sent.0);
            assert_eq!(begun, expected, "{opening:?} {offset}");
        };
        check(None, 0, Ok(200));
        check(None, 150, Ok(150));
        check(None, 300, Ok(300));
        check(None, 301, Err(HaRefused::Beyond { asked: LogOffset(301), end: LogOffset(300) }));
        check(None, 99, Err(HaRefused::Removed { asked: LogOffset(99), start: LogOffset(100) }));
        check(Some(false), 0, Ok(100));
        check(Some(true), 0, Ok(200));
        check(Some(false), 250, Ok(250));
    }

    #[test]
    fn what_is_sent_follows_the_acknowledgements() {
        let mut master = master(2);
        let far = LogOffset(3 * HA_WINDOW_BYTES);
        let ends = LogEnds { appended: far, ..ends(0, 0, 0) };
        follow(&mut master, A, 0, ends).expect("it may");
        let mut sent = 0_u64;
        while let Next::Send { from, bytes_max } = master.next(at(0), A, &ends) {
            assert_eq!(from, LogOffset(sent));
            sent += bytes_max as u64;
            master.sent(at(0), A, bytes_max, &ends);
        }
        assert_eq!(sent, HA_WINDOW_BYTES, "a slave that acknowledges nothing gets one window");
        master.report(at(0), A, LogOffset(1000), ends).expect("it was sent so much");
        assert_eq!(master.next(at(0), A, &ends), Next::Send { from: LogOffset(sent), bytes_max: 1000 });
        assert_eq!(
            master.report(at(0), A, LogOffset(sent + 1), ends),
            Err(HaRefused::AckBeyond { acked: LogOffset(sent + 1), sent: LogOffset(sent) })
        );
    }

    #[test]
    fn a_block_of_the_disk_is_waited_for() {
        let mut master = master(1);
        let all = ends(0, 0, 500);
        follow(&mut master, A, 100, all).expect("it may");
        let block = BlockId { file: FileName::Segment(LogOffset(0)), at: 0, len: 4096 };
        master.blocked(A, block);
        assert_eq!(master.next(at(0), A, &all), Next::Nothing);
        master.unblock(BlockId { at: 4096, ..block });
        assert_eq!(master.next(at(0), A, &all), Next::Nothing);
        master.unblock(block);
        assert!(matches!(master.next(at(0), A, &all), Next::Send { .. }));
    }

    #[test]
    fn silence_is_ended_by_heartbeats_or_ends_the_connection() {
        let mut master = master(1);
        let all = ends(0, 0, 500);
        follow(&mut master, A, 500, all).expect("it may");
        master.connected(at(0), B, peer());
        assert_eq!(master.next(at(4_999), A, &all), Next::Nothing);
        assert_eq!(master.next(at(5_000), A, &all), Next::Heartbeat { at: all.appended });
        master.sent_heartbeat(at(5_000), A, &all);
        assert_eq!(master.next(at(9_999), A, &all), Next::Nothing);
        assert!(master.tick(at(HA_OPENING_MS - 1), all).is_empty());
        assert_eq!(master.tick(at(HA_OPENING_MS), all), [(B, HaRefused::NoReport)]);
        master.disconnected(B);
        master.report(at(10_000), A, all.appended, all).expect("it may");
        assert!(master.tick(at(29_999), all).is_empty());
        assert_eq!(master.tick(at(30_000), all), [(A, HaRefused::Silent { silent_ms: 20_000 })]);
    }

    #[test]
    fn replies_wait_for_as_many_slaves_as_are_asked_for() {
        let mut master = master(3);
        let all = ends(0, 0, 500);
        assert_eq!((master.acknowledged(), master.has_slaves()), (None, false));
        follow(&mut master, A, 500, all).expect("it may");
        assert_eq!((master.acknowledged(), master.has_slaves()), (None, false));
        follow(&mut master, B, 400, all).expect("it may");
        assert_eq!((master.acknowledged(), master.has_slaves()), (Some(LogOffset(400)), false), "B is behind");
        assert_eq!((master.in_sync_count(), master.confirm(all.appended)), (2, LogOffset(500)));
        master.sent(at(0), B, 100, &all);
        master.report(at(1), B, all.appended, all).expect("it may");
        assert_eq!((master.acknowledged(), master.has_slaves()), (Some(all.appended), true));
        assert_eq!(master.in_sync_count(), 3);
        let longer = ends(0, 0, 600);
        master.sent(at(2), A, 100, &longer);
        master.report(at(3), A, longer.appended, longer).expect("it may");
        assert_eq!((master.acknowledged(), master.confirm(longer.appended)), (Some(LogOffset(500)), LogOffset(500)));
        assert!(master.disconnected(B), "it was in sync");
        assert_eq!((master.acknowledged(), master.has_slaves()), (None, false));
        assert_eq!(master.confirm(longer.appended), longer.appended, "consumers go on");
    }

    #[test]
    fn strangers_and_twins_make_room() {
        let mut master = master(1);
        let id = |number: usize| LinkId(number as u64);
        for number in 0..HA_STRANGERS_MAX {
            assert_eq!(master.connected(at(0), id(number), peer()), None);
        }
        assert_eq!(master.connected(at(0), id(HA_STRANGERS_MAX), peer()), Some(id(0)));
        let opening = Opening::Epoch { id: BrokerId(7), from_last_segment: false };
        assert_eq!(master.greet(at(0), id(1), opening), Ok(None));
        assert_eq!(master.greet(at(0), id(1), opening), Err(HaRefused::Garbage));
        assert_eq!(master.greet(at(0), id(2), opening), Ok(Some(id(1))));
        for number in 3..=HA_SLAVES_MAX {
            assert_eq!(master.report(at(0), id(number), LogOffset(0), ends(0, 0, 0)), Ok(()));
        }
        let late = master.report(at(0), id(HA_SLAVES_MAX + 1), LogOffset(0), ends(0, 0, 0));
        assert_eq!(late, Err(HaRefused::TooManySlaves));
    }
}
