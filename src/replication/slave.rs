//! The slave's side of replication: which master it follows, what it takes from it, what it reports.
//!
//! Who calls what: [`Slave::master_found`] when the control plane knows the master; [`Slave::poll`] some times a second, which asks for
//! connections; [`Slave::link_up`] and [`Slave::link_down`] for how that went; [`Slave::greeted`], [`Slave::transfer`] and
//! [`Slave::body`] for what the master says; then what is [`Slave::pending`] is given to the log and [`Slave::taken`] says how much of it
//! was; [`Slave::due`] is what is to be said to the master.
//!
//! Nothing is stored that the log has not verified, and nothing is reported that the slave's own flush setting does not promise. What was
//! received and not stored when a connection ends is received again.

use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};
use thiserror::Error;

use super::epoch::{EpochEntry, EpochError, EpochTable};
use super::rate::Rate;
use super::settings::ReplicaSettings;
use super::status::MasterStatus;
use crate::limits::{HA_BODY_BYTES_MAX, HA_HOPELESS_RETRY_MS, HA_PENDING_BYTES_MAX, HA_RETRY_MS_MAX, HA_RETRY_MS_MIN};
use crate::log::{BeginError, ReplicaError};
use crate::model::{Epoch, LinkId, LogOffset, MonoNs, UnixMs};

/// Why a slave gives up a connection. One sentence for the log.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum SlaveError {
    /// The stream does not go on where the log ends.
    #[error("the master sends the log from {found} on, but this one goes on at {expected}")]
    OutOfPlace {
        /// Where the log ends, with what is pending.
        expected: LogOffset,
        /// What was sent.
        found: LogOffset,
    },
    /// A transfer is larger than anyone sends.
    #[error("a transfer of {bytes} bytes, {HA_BODY_BYTES_MAX} at most: these are not a master's bytes")]
    TooLarge {
        /// Its bytes.
        bytes: usize,
    },
    /// What the master says is not the protocol.
    #[error("what it says is not RocketMQ's replication protocol")]
    Garbage,
    /// It has not been heard of for too long; or not been listened to, while the log took nothing.
    #[error("nothing was read from the master for {silent_ms} ms")]
    Silent {
        /// For how long.
        silent_ms: u64,
    },
    /// The master speaks the classic stream.
    #[error("the master speaks the classic stream")]
    Classic,
    /// The two logs have nothing in common.
    #[error(
        "this log, {start} to {end}, shares no epoch with the master's: it belongs to another broker; give this slave an empty store to copy the master"
    )]
    Foreign {
        /// Where this log begins.
        start: LogOffset,
        /// Where it ends.
        end: LogOffset,
    },
    /// The logs part before this one begins.
    #[error(
        "this log begins at {start} and leaves the master's at {point}: give this slave an empty store to copy the master"
    )]
    Hopeless {
        /// Where this log begins.
        start: LogOffset,
        /// Up to where both are the same.
        point: LogOffset,
    },
    /// This log has bytes that the master's has not; it is to be cut.
    #[error("this log ends at {end}, but is the master's only up to {point}: the rest is cut off")]
    Diverged {
        /// Where this log ends.
        end: LogOffset,
        /// Up to where both are the same.
        point: LogOffset,
    },
    /// What was sent is no record of this log.
    #[error("what it sends cannot be stored: {0}")]
    Record(ReplicaError),
    /// The log cannot begin where the master's stream does.
    #[error("the log cannot begin where the master's does: {0}")]
    Begin(#[from] BeginError),
    /// An epoch does not follow the last one.
    #[error("the master's epochs are not in order: {0}")]
    Epochs(#[from] EpochError),
}

/// What the shell is asked to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlaveAct {
    /// Connect to the master; then [`Slave::link_up`] or [`Slave::link_down`].
    Connect {
        /// Its replication port.
        address: SocketAddr,
    },
    /// Close the connection.
    Close {
        /// Which.
        link: LinkId,
        /// Why.
        why: SlaveError,
    },
}

/// What is to be said to the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// The handshake; then [`Slave::said_handshake`].
    Handshake,
    /// The end of the log, in the form of the stream; then [`Slave::reported`].
    Report(LogOffset),
    /// Nothing now.
    Nothing,
}

/// What the log of a slave is like now.
#[derive(Clone, Copy, Debug)]
pub struct OwnLog {
    /// First offset.
    pub start: LogOffset,
    /// End.
    pub appended: LogOffset,
    /// End of what the flush setting promises.
    pub promised: LogOffset,
}

impl OwnLog {
    /// Whether it holds nothing that could differ from a master's: then it begins wherever the master's stream does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.appended == self.start
    }

    /// Where a stream is asked for.
    fn position(&self) -> LogOffset {
        if self.is_empty() { LogOffset(0) } else { self.appended }
    }
}

/// Which of the two streams a connection carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamKind {
    /// RocketMQ's classic one.
    Classic,
    /// The one with epochs.
    Epoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No master is known, or the next try is not due.
    Waiting { until: MonoNs },
    /// The shell connects.
    Connecting,
    /// Connected.
    Open { link: LinkId, phase: Phase },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// The handshake is to be said.
    Greeting,
    /// It was said; the answer is awaited.
    Greeted,
    /// Transfers come.
    Following,
}

/// One shard that follows a master. State of the shard.
#[derive(Debug)]
pub struct Slave {
    settings: ReplicaSettings,
    master: Option<SocketAddr>,
    state: State,
    /// The stream of the connection, or of the next one.
    stream: StreamKind,
    retry_ms: u64,
    /// Contiguous bytes of the log that were received and not stored.
    pending: BytesMut,
    /// Where they begin: what lies before was given to the log.
    stored: LogOffset,
    /// Where the log is to begin before anything is stored.
    begins: Option<LogOffset>,
    /// Whether anything was sent over this connection.
    has_begun: bool,
    /// What the master has said of its reigns over this connection.
    master_epochs: EpochTable,
    /// Whether the last connection looked like one to a master that speaks the classic stream only.
    is_thought_classic: bool,
    /// Where the logs part, as the last master said that said they do.
    parted: Option<LogOffset>,
    /// What is still to come of the transfer under way.
    body_left: usize,
    /// End of what was received or announced.
    next: LogOffset,
    reported: Option<LogOffset>,
    last_read: MonoNs,
    last_write: MonoNs,
    master_confirm: Option<LogOffset>,
    rate: Rate,
}

impl Slave {
    /// A slave that knows no master yet.
    #[must_use]
    pub fn new(settings: ReplicaSettings) -> Slave {
        Slave {
            settings,
            master: None,
            state: State::Waiting { until: MonoNs(0) },
            stream: StreamKind::Epoch,
            retry_ms: HA_RETRY_MS_MIN,
            pending: BytesMut::new(),
            stored: LogOffset(0),
            begins: None,
            has_begun: false,
            master_epochs: EpochTable::default(),
            is_thought_classic: false,
            parted: None,
            body_left: 0,
            next: LogOffset(0),
            reported: None,
            last_read: MonoNs(0),
            last_write: MonoNs(0),
            master_confirm: None,
            rate: Rate::new(MonoNs(0), LogOffset(0)),
        }
    }

    /// The master's replication port became known, or changed, or is not known any more.
    pub fn master_found(&mut self, now: MonoNs, address: Option<SocketAddr>) -> Option<SlaveAct> {
        if self.master == address {
            return None;
        }
        self.master = address;
        (self.retry_ms, self.stream) = (HA_RETRY_MS_MIN, StreamKind::Epoch);
        match self.state {
            State::Waiting { .. } => {
                self.state = State::Waiting { until: now };
                None
            }
            State::Connecting => None,
            State::Open { link, .. } => Some(SlaveAct::Close { link, why: SlaveError::Silent { silent_ms: 0 } }),
        }
    }

    /// The master that is followed or tried.
    #[must_use]
    pub fn master(&self) -> Option<SocketAddr> {
        self.master
    }

    /// Time passes: a connection is asked for when its time has come and everything in the log is promised, so that the first report, from
    /// which the stream goes on, is no more than the truth. A master that is silent for too long is left.
    pub fn poll(&mut self, now: MonoNs, log: &OwnLog) -> Option<SlaveAct> {
        self.rate.measure(now, self.next);
        match self.state {
            State::Waiting { until } if until <= now && log.promised == log.appended => {
                let address = self.master?;
                self.state = State::Connecting;
                Some(SlaveAct::Connect { address })
            }
            State::Open { link, .. } => {
                let silent_ms = now.ms_since(self.last_read);
                let is_silent = silent_ms >= self.settings.silence_ms_max;
                is_silent.then_some(SlaveAct::Close { link, why: SlaveError::Silent { silent_ms } })
            }
            _ => None,
        }
    }

    /// The connection is there. The log goes on at its end.
    pub fn link_up(&mut self, now: MonoNs, link: LinkId, log: &OwnLog) {
        let phase = if self.stream == StreamKind::Epoch { Phase::Greeting } else { Phase::Following };
        self.state = State::Open { link, phase };
        (self.last_read, self.last_write) = (now, now);
        (self.next, self.stored, self.body_left) = (log.position(), log.position(), 0);
        (self.reported, self.begins, self.has_begun) = (None, None, false);
        self.rate = Rate::new(now, self.next);
        self.pending.clear();
    }

    /// The connection is gone or did not come about. The next one is tried after a while, the longer the more often it fails.
    pub fn link_down(&mut self, now: MonoNs, why: Option<&SlaveError>) {
        // The master's word counts while it is there: without it, what this replica holds is all there is.
        (self.pending, self.master_confirm) = (BytesMut::new(), None);
        let wait_ms = match why {
            // The same master is there, and only spoken to in another way; heard twice, since a byte may have been damaged on its way.
            Some(SlaveError::Classic) => {
                self.stream = if self.is_thought_classic { StreamKind::Classic } else { StreamKind::Epoch };
                self.is_thought_classic = !self.is_thought_classic;
                0
            }
            // The same is to be heard once more, to know that it was not damaged on the way.
            Some(SlaveError::Record(ReplicaError::Unproven { .. }) | SlaveError::Diverged { .. }) => 0,
            Some(SlaveError::Foreign { .. } | SlaveError::Hopeless { .. }) => HA_HOPELESS_RETRY_MS,
            _ => {
                self.stream = StreamKind::Epoch;
                let wait_ms = self.retry_ms;
                self.retry_ms = (wait_ms * 2).min(HA_RETRY_MS_MAX);
                wait_ms
            }
        };
        self.state = State::Waiting { until: now.plus_ms(wait_ms) };
    }

    /// The connection, if there is one.
    #[must_use]
    pub fn link(&self) -> Option<LinkId> {
        match self.state {
            State::Open { link, .. } => Some(link),
            _ => None,
        }
    }

    /// Which stream the connection carries.
    #[must_use]
    pub fn stream(&self) -> StreamKind {
        self.stream
    }

    /// Whether transfers are awaited, as opposed to the answer to the handshake.
    #[must_use]
    pub fn is_following(&self) -> bool {
        matches!(self.state, State::Open { phase: Phase::Following, .. })
    }

    /// What is known of the master. `unix` tells the time of day of a moment of the other clock.
    pub fn status(&self, unix: impl Fn(MonoNs) -> UnixMs) -> Option<MasterStatus> {
        let told = |at: MonoNs| if at == MonoNs(0) { UnixMs(0) } else { unix(at) };
        Some(MasterStatus {
            address: self.master?,
            is_connected: self.is_following(),
            last_read: told(self.last_read),
            last_write: told(self.last_write),
            bytes_per_second: self.rate.bytes_per_second(),
            confirm: self.master_confirm,
        })
    }

    /// What the master confirms, if its stream says so.
    #[must_use]
    pub fn master_confirm(&self) -> Option<LogOffset> {
        self.master_confirm
    }

    /// The master has answered the handshake with its epochs. `own` is cut to what both have in common.
    ///
    /// # Errors
    /// [`SlaveError`]: the connection is to be closed; [`SlaveError::Diverged`]: and the log to be cut.
    pub fn greeted(
        &mut self,
        now: MonoNs,
        log: &OwnLog,
        own: &mut EpochTable,
        master: EpochTable,
        master_end: LogOffset,
    ) -> Result<(), SlaveError> {
        let State::Open { link, phase: Phase::Greeted } = self.state else { return Err(SlaveError::Garbage) };
        self.last_read = now;
        if log.is_empty() {
            *own = EpochTable::default();
        } else {
            let (start, end) = (log.start, log.appended);
            let point = own.consistent_point(end, &master, master_end).ok_or(SlaveError::Foreign { start, end })?;
            if point < start {
                return Err(SlaveError::Hopeless { start, point });
            }
            if point < end {
                return Err(SlaveError::Diverged { end, point });
            }
            own.truncate(end);
        }
        (self.parted, self.is_thought_classic, self.master_epochs) = (None, false, master);
        self.state = State::Open { link, phase: Phase::Following };
        Ok(())
    }

    /// The logs part at `point`, the master has said. Returns whether the log is to be cut there: only if two connections in a row say so,
    /// since nothing proves that what one says was not damaged on its way.
    pub fn is_parted(&mut self, point: LogOffset) -> bool {
        self.parted.replace(point) == Some(point)
    }

    /// Takes over the epoch of a transfer. Returns whether it is new, and therefore to be stored before its bytes are.
    ///
    /// # Errors
    /// [`SlaveError`] if it is none that this master has told of, or does not follow the last one.
    pub fn adopt_epoch(&self, own: &mut EpochTable, entry: EpochEntry) -> Result<bool, SlaveError> {
        let is_unnumbered = (entry.epoch, entry.start) == (Epoch(0), LogOffset(0));
        if !is_unnumbered && !self.master_epochs.entries().contains(&entry) {
            return Err(SlaveError::Garbage);
        }
        let is_new = own.last() != Some(entry);
        own.push(entry)?;
        Ok(is_new)
    }

    /// A transfer is announced: `bytes` of the log from `offset` on follow. `confirm` is the master's, if the stream says so.
    ///
    /// # Errors
    /// [`SlaveError`]: the connection is to be closed.
    pub fn transfer(
        &mut self,
        now: MonoNs,
        log: &OwnLog,
        offset: LogOffset,
        bytes: usize,
        confirm: Option<LogOffset>,
    ) -> Result<(), SlaveError> {
        if !self.is_following() || self.body_left > 0 {
            return Err(SlaveError::Garbage);
        }
        self.last_read = now;
        self.master_confirm = confirm;
        if bytes > HA_BODY_BYTES_MAX {
            return Err(SlaveError::TooLarge { bytes });
        }
        let begins = log.is_empty() && !self.has_begun;
        if begins && bytes > 0 {
            (self.next, self.stored, self.begins, self.has_begun) = (offset, offset, Some(offset), true);
        } else if !begins && offset != self.next {
            return Err(SlaveError::OutOfPlace { expected: self.next, found: offset });
        }
        (self.body_left, self.retry_ms) = (bytes, HA_RETRY_MS_MIN);
        self.next = self.next.plus(bytes as u64);
        Ok(())
    }

    /// Where the log, which is empty, is to begin before anything is stored; then [`Slave::begun`].
    #[must_use]
    pub fn begins(&self) -> Option<LogOffset> {
        self.begins
    }

    /// The log begins where it is to begin.
    pub fn begun(&mut self) {
        self.begins = None;
    }

    /// How many bytes of the log are to come before the next header.
    #[must_use]
    pub fn body_left(&self) -> usize {
        self.body_left
    }

    /// Takes bytes of the transfer under way: as many as belong to it. Returns how many.
    pub fn body(&mut self, now: MonoNs, received: &[u8]) -> usize {
        let (taken, _) = received.split_at(received.len().min(self.body_left));
        self.pending.extend_from_slice(taken);
        self.body_left -= taken.len();
        self.last_read = now;
        taken.len()
    }

    /// What was received and is to be given to the log, and where it lies there. Behind a filler that is not the log's end, which is that
    /// of the segment already.
    #[must_use]
    pub fn pending(&self) -> (LogOffset, &[u8]) {
        (self.stored, &self.pending)
    }

    /// The log has taken so many of the pending bytes.
    pub fn taken(&mut self, bytes: usize) {
        self.pending.advance(bytes);
        self.stored = self.stored.plus(bytes as u64);
    }

    /// Whether the connection is to be read: not while the log does not take what is there.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.pending.len() < HA_PENDING_BYTES_MAX
    }

    /// What is to be said to the master now.
    #[must_use]
    pub fn due(&self, now: MonoNs, log: &OwnLog) -> Due {
        let State::Open { phase, .. } = self.state else { return Due::Nothing };
        match phase {
            Phase::Greeting => Due::Handshake,
            Phase::Greeted => Due::Nothing,
            Phase::Following => {
                let is_due = now.ms_since(self.last_write) >= self.settings.heartbeat_ms;
                // The first report says where to go on; nothing has been received then, and all of the log was promised when the connection was
                // asked for. No report goes beyond what was received, as the log does when it has a filler without all of its padding.
                let offset = if self.reported.is_none() { log.position() } else { log.promised.min(self.stored) };
                if is_due || self.reported != Some(offset) { Due::Report(offset) } else { Due::Nothing }
            }
        }
    }

    /// The handshake was said.
    pub fn said_handshake(&mut self, now: MonoNs) {
        if let State::Open { phase, .. } = &mut self.state {
            *phase = Phase::Greeted;
        }
        self.last_write = now;
    }

    /// A report was said.
    pub fn reported(&mut self, now: MonoNs, offset: LogOffset) {
        (self.reported, self.last_write) = (Some(offset), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LINK: LinkId = LinkId(1);

    fn at(ms: u64) -> MonoNs {
        MonoNs(0).plus_ms(ms)
    }

    fn log(start: u64, appended: u64, promised: u64) -> OwnLog {
        OwnLog { start: LogOffset(start), appended: LogOffset(appended), promised: LogOffset(promised) }
    }

    fn address(port: u16) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], port))
    }

    /// A slave that follows over the classic stream and has reported.
    fn following(own: &OwnLog) -> Slave {
        let mut slave = Slave::new(ReplicaSettings::default());
        slave.stream = StreamKind::Classic;
        slave.master = Some(address(1));
        assert!(slave.poll(at(0), own).is_some());
        slave.link_up(at(0), LINK, own);
        assert_eq!(slave.due(at(0), own), Due::Report(own.position()));
        slave.reported(at(0), own.position());
        slave
    }

    #[test]
    fn it_tries_less_and_less_often_and_begins_anew_with_a_new_master() {
        let mut slave = Slave::new(ReplicaSettings::default());
        let own = log(0, 0, 0);
        assert_eq!(slave.poll(at(0), &own), None, "no master is known");
        assert_eq!(slave.master_found(at(0), Some(address(1))), None);
        let (mut now, mut waits) = (0, Vec::new());
        assert_eq!(slave.poll(at(now), &own), Some(SlaveAct::Connect { address: address(1) }));
        for _ in 0..8 {
            assert_eq!(slave.poll(at(now), &own), None, "one at a time");
            slave.link_down(at(now), None);
            let since = now;
            while slave.poll(at(now), &own).is_none() {
                now += 100;
            }
            waits.push(now - since);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1000, 1000, 1000, 1000]);
        slave.link_down(at(now), None);
        assert_eq!(slave.poll(at(now), &own), None);
        slave.master_found(at(now), Some(address(2)));
        assert_eq!(slave.poll(at(now), &own), Some(SlaveAct::Connect { address: address(2) }));
    }

    #[test]
    fn it_connects_when_all_of_its_log_is_promised() {
        let mut slave = Slave::new(ReplicaSettings::default());
        slave.master_found(at(0), Some(address(1)));
        assert_eq!(slave.poll(at(0), &log(0, 100, 60)), None);
        assert!(slave.poll(at(1), &log(0, 100, 100)).is_some());
    }

    #[test]
    fn transfers_are_taken_in_order_only() {
        let check = |own: OwnLog, offset: u64, expected: Result<Option<u64>, SlaveError>| {
            let mut slave = following(&own);
            let taken = slave.transfer(at(1), &own, LogOffset(offset), 10, None).map(|()| slave.begins());
            assert_eq!(taken, expected.map(|begin| begin.map(LogOffset)), "{own:?} {offset}");
        };
        let out =
            |expected, found| Err(SlaveError::OutOfPlace { expected: LogOffset(expected), found: LogOffset(found) });
        check(log(0, 0, 0), 0, Ok(Some(0)));
        check(log(0, 0, 0), 4096, Ok(Some(4096)));
        // It began there with nothing, and begins anew.
        check(log(8192, 8192, 8192), 4096, Ok(Some(4096)));
        check(log(0, 100, 100), 100, Ok(None));
        check(log(0, 100, 100), 90, out(100, 90));
        check(log(0, 100, 100), 110, out(100, 110));
        let own = log(0, 100, 100);
        let mut slave = following(&own);
        let bytes = HA_BODY_BYTES_MAX + 1;
        assert_eq!(slave.transfer(at(1), &own, LogOffset(100), bytes, None), Err(SlaveError::TooLarge { bytes }));
    }

    #[test]
    fn bytes_wait_until_the_log_takes_them() {
        let own = log(0, 100, 100);
        let mut slave = following(&own);
        slave.transfer(at(1), &own, LogOffset(100), 10, None).expect("in order");
        assert_eq!(slave.body(at(1), b"0123456"), 7);
        assert_eq!(slave.body(at(2), b"789abc"), 3, "no more than was announced");
        assert_eq!(slave.pending(), (LogOffset(100), &b"0123456789"[..]));
        slave.taken(4);
        // The log has taken four bytes; the next transfer goes on behind all that was received.
        let own = log(0, 104, 100);
        assert_eq!(slave.transfer(at(3), &own, LogOffset(110), 1, None), Ok(()));
        assert_eq!(slave.body(at(3), b"a"), 1);
        assert_eq!(slave.pending(), (LogOffset(104), &b"456789a"[..]));
        // A new connection begins at the log's end again.
        slave.link_down(at(4), None);
        slave.link_up(at(5), LINK, &own);
        assert_eq!((slave.pending(), slave.body_left()), ((LogOffset(104), &b""[..]), 0));
    }

    #[test]
    fn it_reports_what_it_promises() {
        let own = log(0, 100, 100);
        let mut slave = following(&own);
        slave.transfer(at(0), &own, LogOffset(100), 40, None).expect("in order");
        slave.body(at(0), &[0; 40]);
        slave.taken(40);
        assert_eq!(slave.due(at(1), &log(0, 150, 150)), Due::Report(LogOffset(140)), "no more than was received");
        assert_eq!(slave.due(at(1), &log(0, 150, 100)), Due::Nothing, "appended is not yet promised");
        assert_eq!(slave.due(at(1), &log(0, 150, 120)), Due::Report(LogOffset(120)));
        slave.reported(at(1), LogOffset(120));
        assert_eq!(slave.due(at(5_000), &log(0, 150, 120)), Due::Nothing);
        assert_eq!(slave.due(at(5_001), &log(0, 150, 120)), Due::Report(LogOffset(120)));
        assert_eq!(slave.poll(at(19_999), &log(0, 150, 120)), None);
        let why = SlaveError::Silent { silent_ms: 20_000 };
        assert_eq!(slave.poll(at(20_000), &log(0, 150, 120)), Some(SlaveAct::Close { link: LINK, why }));
    }

    #[test]
    fn logs_that_have_parted_are_not_joined() {
        let table = |entries: &[(u32, u64)]| {
            let entry = |&(epoch, start)| EpochEntry { epoch: Epoch(epoch), start: LogOffset(start) };
            EpochTable::new(entries.iter().map(entry).collect()).expect("it rises")
        };
        let check = |own: OwnLog, epochs: &[(u32, u64)], master: &[(u32, u64)], master_end, expected| {
            let mut slave = Slave::new(ReplicaSettings::default());
            slave.link_up(at(0), LINK, &own);
            assert_eq!(slave.due(at(0), &own), Due::Handshake);
            slave.said_handshake(at(0));
            let mut epochs = table(epochs);
            let found = slave.greeted(at(0), &own, &mut epochs, table(master), LogOffset(master_end));
            assert_eq!(found, expected, "{own:?}");
        };
        let (end, point) = (LogOffset(300), LogOffset(250));
        check(log(0, 0, 0), &[], &[(4, 0)], 900, Ok(()));
        check(log(0, 300, 300), &[(1, 0)], &[(1, 0), (2, 300)], 900, Ok(()));
        check(log(0, 300, 300), &[(1, 0)], &[(1, 0), (2, 250)], 900, Err(SlaveError::Diverged { end, point }));
        check(log(0, 300, 300), &[(1, 0)], &[(1, 0)], 250, Err(SlaveError::Diverged { end, point }));
        let start = LogOffset(280);
        check(log(280, 300, 300), &[(1, 0)], &[(1, 0)], 250, Err(SlaveError::Hopeless { start, point }));
        let start = LogOffset(0);
        check(log(0, 300, 300), &[(1, 0)], &[(1, 7)], 250, Err(SlaveError::Foreign { start, end }));
    }
}
