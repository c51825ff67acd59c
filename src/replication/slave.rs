//! The slave's side of replication: which master it follows, what it takes from it, what it reports.
//!
//! Who calls what: [`Slave::master_found`] when the control plane knows the master; [`Slave::poll_connect`] and [`Slave::check_silence`] some
//! times a second; [`Slave::link_up`], [`Slave::link_failed`] and [`Slave::link_down`] for how a connection went; [`Slave::receive`] for what
//! the master says, which takes the stream apart and gives the log whole records, and [`Slave::store`] whenever the log may take more;
//! [`Slave::output`] for what is to be said to the master.
//!
//! Nothing is stored that the log has not verified, and nothing is reported that the slave's own flush setting does not promise. What was
//! received and not stored when a connection ends is received again. A connection costs an unfinished message, of at most
//! [`REPLY_BYTES_MAX`], and what the log has not taken, at most [`HA_PENDING_BYTES_MAX`] and one read.

use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};
use thiserror::Error;

use super::epoch::{EpochEntry, EpochError, EpochTable};
use super::epoch_file::EpochFile;
use super::rate::Rate;
use super::settings::ReplicaSettings;
use super::status::MasterStatus;
use crate::limits::{HA_BODY_BYTES_MAX, HA_HOPELESS_RETRY_MS, HA_PENDING_BYTES_MAX, HA_RETRY_MS_MAX, HA_RETRY_MS_MIN};
use crate::log::{BeginError, Log, ReplicaError};
use crate::model::{BrokerId, Epoch, LinkId, LogOffset, MonoNs, UnixMs};
use crate::protocol::ha::epoch::{Handshake, HandshakeReply, REPLY_BYTES_MAX, handshake_reply_bytes};
use crate::protocol::ha::{SlaveMessage, StreamKind, Transfer};

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

/// A connection that the slave has given up, and is to be closed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    pub(crate) link: LinkId,
    /// Why.
    pub why: SlaveError,
    /// Where the log is to be cut: two connections in a row have said that it leaves the master's there.
    pub(crate) cut: Option<LogOffset>,
}

/// What the log of a slave is like now.
#[derive(Clone, Copy, Debug)]
struct OwnLog {
    start: LogOffset,
    appended: LogOffset,
    /// End of what the flush setting promises.
    promised: LogOffset,
}

impl OwnLog {
    fn of(log: &Log) -> OwnLog {
        OwnLog { start: log.start(), appended: log.appended(), promised: log.promised() }
    }

    /// Whether it holds nothing that could differ from a master's: then it begins wherever the master's stream does.
    fn is_empty(&self) -> bool {
        self.appended == self.start
    }

    /// Where a stream is asked for.
    fn position(&self) -> LogOffset {
        if self.is_empty() { LogOffset(0) } else { self.appended }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkState {
    /// No master is known, or the next try is not due.
    Waiting {
        until: MonoNs,
    },
    Connecting,
    Open {
        link: LinkId,
        phase: StreamPhase,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamPhase {
    /// The handshake is to be said.
    Greeting,
    /// It was said; the answer is awaited.
    Greeted,
    Following,
}

/// What is to be said to the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DueToMaster {
    Handshake,
    /// The end of the log, in the form of the stream.
    Report(LogOffset),
    Nothing,
}

/// One shard that follows a master. State of the shard.
#[derive(Debug)]
pub struct Slave {
    /// How its master is to know it.
    broker_id: BrokerId,
    settings: ReplicaSettings,
    master: Option<SocketAddr>,
    state: LinkState,
    /// The stream of the connection, or of the next one.
    stream: StreamKind,
    retry_ms: u64,
    /// The front of a message that is not whole.
    front: BytesMut,
    /// Contiguous bytes of the log that were received and not stored.
    pending: BytesMut,
    /// Where they begin: what lies before was given to the log.
    stored: LogOffset,
    /// Where the log, which is empty, is to begin before anything is stored.
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
    pub fn new(broker_id: BrokerId, settings: ReplicaSettings) -> Slave {
        Slave {
            broker_id,
            settings,
            master: None,
            state: LinkState::Waiting { until: MonoNs(0) },
            stream: StreamKind::Epoch,
            retry_ms: HA_RETRY_MS_MIN,
            front: BytesMut::new(),
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

    /// The master's replication port became known, or changed, or is not known any more. Returns the connection to the old one, to be closed.
    pub(crate) fn master_found(&mut self, now: MonoNs, address: Option<SocketAddr>) -> Option<LinkId> {
        if self.master == address {
            return None;
        }
        self.master = address;
        (self.retry_ms, self.stream) = (HA_RETRY_MS_MIN, StreamKind::Epoch);
        let link = self.link();
        match self.state {
            LinkState::Waiting { .. } => self.state = LinkState::Waiting { until: now },
            // It is closed when it is there.
            LinkState::Connecting => {}
            LinkState::Open { .. } => self.wait(now, None),
        }
        link
    }

    /// Time passes: where to connect to, when the time has come and everything in the log is promised, so that the first report, from which
    /// the stream goes on, is no more than the truth. Then [`Slave::link_up`] or [`Slave::link_failed`].
    pub(crate) fn poll_connect(&mut self, now: MonoNs, log: &Log) -> Option<SocketAddr> {
        self.rate.measure(now, self.next);
        self.connect_when_due(now, &OwnLog::of(log))
    }

    fn connect_when_due(&mut self, now: MonoNs, own: &OwnLog) -> Option<SocketAddr> {
        match self.state {
            LinkState::Waiting { until } if until <= now && own.promised == own.appended => {
                let address = self.master?;
                self.state = LinkState::Connecting;
                Some(address)
            }
            _ => None,
        }
    }

    /// Time passes: a master that is silent for too long is left.
    ///
    /// # Errors
    /// [`Left`], which is then to be closed.
    pub(crate) fn check_silence(&mut self, now: MonoNs) -> Result<(), Left> {
        let silent_ms = now.ms_since(self.last_read);
        if self.link().is_some() && silent_ms >= self.settings.silence_ms_max {
            return Err(self.leave(now, SlaveError::Silent { silent_ms }));
        }
        Ok(())
    }

    /// The connection is there. The log goes on at its end. Returns whether it is wanted: the master may have moved meanwhile.
    pub(crate) fn link_up(&mut self, now: MonoNs, link: LinkId, peer: SocketAddr, log: &Log) -> bool {
        if self.master != Some(peer) {
            self.wait(now, None);
            return false;
        }
        self.open(now, link, &OwnLog::of(log));
        true
    }

    fn open(&mut self, now: MonoNs, link: LinkId, own: &OwnLog) {
        let phase = if self.stream == StreamKind::Epoch { StreamPhase::Greeting } else { StreamPhase::Following };
        self.state = LinkState::Open { link, phase };
        (self.last_read, self.last_write) = (now, now);
        (self.next, self.stored, self.body_left) = (own.position(), own.position(), 0);
        (self.reported, self.begins, self.has_begun) = (None, None, false);
        self.rate = Rate::new(now, self.next);
        self.front.clear();
        self.pending.clear();
    }

    /// The connection did not come about.
    pub(crate) fn link_failed(&mut self, now: MonoNs) {
        self.wait(now, None);
    }

    /// A connection is gone. Returns whether it was that to the master.
    pub(crate) fn link_down(&mut self, now: MonoNs, link: LinkId) -> bool {
        let is_masters = self.link() == Some(link);
        if is_masters {
            self.wait(now, None);
        }
        is_masters
    }

    /// Gives the connection up.
    fn leave(&mut self, now: MonoNs, why: SlaveError) -> Left {
        let link = self.link().expect("what is left was open");
        self.wait(now, Some(&why));
        // Only if two connections in a row say so: nothing proves that what one says was not damaged on its way.
        let cut = match why {
            SlaveError::Diverged { point, .. } if self.parted.replace(point) == Some(point) => Some(point),
            _ => None,
        };
        Left { link, why, cut }
    }

    /// There is no connection. The next one is tried after a while, the longer the more often it fails.
    fn wait(&mut self, now: MonoNs, why: Option<&SlaveError>) {
        // The master's word counts while it is there: without it, what this replica holds is all there is.
        (self.front, self.pending, self.master_confirm) = (BytesMut::new(), BytesMut::new(), None);
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
        self.state = LinkState::Waiting { until: now.plus_ms(wait_ms) };
    }

    fn link(&self) -> Option<LinkId> {
        match self.state {
            LinkState::Open { link, .. } => Some(link),
            _ => None,
        }
    }

    /// Whether the master is there: its stream runs.
    #[must_use]
    pub(crate) fn is_following(&self) -> bool {
        matches!(self.state, LinkState::Open { phase: StreamPhase::Following, .. })
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
    pub(crate) fn master_confirm(&self) -> Option<LogOffset> {
        self.master_confirm
    }
}

/// What the master says.
impl Slave {
    /// Bytes have come over a connection: the stream is taken apart, and the log gets what it takes. Those of a connection that was left are
    /// nobody's.
    ///
    /// # Errors
    /// [`Left`], which is then to be closed.
    pub(crate) fn receive(
        &mut self,
        now: MonoNs,
        link: LinkId,
        bytes: &[u8],
        log: &mut Log,
        epochs: &mut EpochFile,
    ) -> Result<(), Left> {
        if self.link() != Some(link) {
            return Ok(());
        }
        self.take_apart(now, bytes, &OwnLog::of(log), epochs).map_err(|why| self.leave(now, why))?;
        self.store(now, log, epochs)
    }

    /// Gives the log what was received: whole records, as many as it takes.
    ///
    /// # Errors
    /// [`Left`], which is then to be closed.
    pub fn store(&mut self, now: MonoNs, log: &mut Log, epochs: &EpochFile) -> Result<(), Left> {
        // The bytes of an epoch are stored when the epoch is.
        if self.link().is_none() || !epochs.is_current() {
            return Ok(());
        }
        self.store_pending(log).map_err(|why| self.leave(now, why))
    }

    /// Whether a connection is to be read: not while the log does not take what is there.
    #[must_use]
    pub(crate) fn wants_input(&self, link: LinkId, epochs: &EpochFile) -> bool {
        self.link() == Some(link) && self.pending.len() < HA_PENDING_BYTES_MAX && epochs.is_current()
    }

    fn take_apart(
        &mut self,
        now: MonoNs,
        mut bytes: &[u8],
        own: &OwnLog,
        epochs: &mut EpochFile,
    ) -> Result<(), SlaveError> {
        loop {
            self.take_body(now, &mut bytes);
            if self.body_left > 0 || !self.take_front(&mut bytes)? {
                return Ok(());
            }
            let front = std::mem::take(&mut self.front);
            let is_known = if self.is_following() {
                self.take_transfer(now, own, epochs, &front)?
            } else {
                self.take_reply(now, own, epochs, &front)?
            };
            assert!(is_known, "a message of {} bytes was whole and is not any more", front.len());
            self.keep_room(front);
        }
    }

    /// The room of a header serves for the next one; that of an answer with all epochs does not stay.
    fn keep_room(&mut self, mut front: BytesMut) {
        if self.is_following() && front.len() <= self.stream.header_bytes() {
            front.clear();
            self.front = front;
        }
    }

    /// Takes of `bytes` what the message that comes next lacks. Returns whether it is whole.
    fn take_front(&mut self, bytes: &mut &[u8]) -> Result<bool, SlaveError> {
        loop {
            let wanted = match self.is_following() {
                true => self.stream.header_bytes(),
                // Its length is known, or that it is none, when its first bytes are there.
                false => handshake_reply_bytes(&self.front).map_err(|_| SlaveError::Classic)?,
            };
            assert!(wanted <= REPLY_BYTES_MAX, "a message of {wanted} bytes, {REPLY_BYTES_MAX} at most");
            let missing = wanted.saturating_sub(self.front.len());
            if missing == 0 || bytes.is_empty() {
                return Ok(missing == 0);
            }
            let (taken, later) = bytes.split_at(missing.min(bytes.len()));
            self.front.extend_from_slice(taken);
            *bytes = later;
        }
    }

    /// Takes bytes of the transfer under way: as many as belong to it.
    fn take_body(&mut self, now: MonoNs, bytes: &mut &[u8]) {
        if self.body_left == 0 {
            return;
        }
        let (taken, later) = bytes.split_at(bytes.len().min(self.body_left));
        self.pending.extend_from_slice(taken);
        self.body_left -= taken.len();
        self.last_read = now;
        *bytes = later;
    }

    fn take_reply(
        &mut self,
        now: MonoNs,
        own: &OwnLog,
        epochs: &mut EpochFile,
        front: &[u8],
    ) -> Result<bool, SlaveError> {
        let Some(reply) = HandshakeReply::decode(front).map_err(|_| SlaveError::Garbage)? else { return Ok(false) };
        let entries = reply.epochs.into_iter().map(|(epoch, start)| EpochEntry { epoch, start });
        self.compare(now, own, epochs, EpochTable::new(entries.collect())?, reply.end)?;
        Ok(true)
    }

    /// The master has answered the handshake with its epochs. What the own log, `epochs`, knows is cut to what both have in common.
    fn compare(
        &mut self,
        now: MonoNs,
        own: &OwnLog,
        epochs: &mut EpochFile,
        master: EpochTable,
        master_end: LogOffset,
    ) -> Result<(), SlaveError> {
        let LinkState::Open { link, phase: StreamPhase::Greeted } = self.state else { return Err(SlaveError::Garbage) };
        self.last_read = now;
        if own.is_empty() {
            epochs.clear();
        } else {
            let (start, end) = (own.start, own.appended);
            let point = epochs.table().consistent_point(end, &master, master_end);
            let point = point.ok_or(SlaveError::Foreign { start, end })?;
            if point < start {
                return Err(SlaveError::Hopeless { start, point });
            }
            if point < end {
                return Err(SlaveError::Diverged { end, point });
            }
            epochs.truncate(end);
        }
        (self.parted, self.is_thought_classic, self.master_epochs) = (None, false, master);
        self.state = LinkState::Open { link, phase: StreamPhase::Following };
        Ok(())
    }

    fn take_transfer(
        &mut self,
        now: MonoNs,
        own: &OwnLog,
        epochs: &mut EpochFile,
        front: &[u8],
    ) -> Result<bool, SlaveError> {
        let header = Transfer::decode(self.stream, front).map_err(|_| SlaveError::Garbage)?;
        let Some(Transfer { offset, body_bytes, reign }) = header else { return Ok(false) };
        self.begin_transfer(now, own, offset, body_bytes, reign.map(|reign| reign.confirm))?;
        if let Some(reign) = reign.filter(|_| body_bytes > 0) {
            let entry = EpochEntry { epoch: reign.epoch, start: reign.start };
            let is_unnumbered = (entry.epoch, entry.start) == (Epoch(0), LogOffset(0));
            if !is_unnumbered && !self.master_epochs.entries().contains(&entry) {
                return Err(SlaveError::Garbage);
            }
            epochs.adopt(entry)?;
        }
        Ok(true)
    }

    /// A transfer is announced: `bytes` of the log from `offset` on follow. `confirm` is the master's, if the stream says so.
    fn begin_transfer(
        &mut self,
        now: MonoNs,
        own: &OwnLog,
        offset: LogOffset,
        bytes: usize,
        confirm: Option<LogOffset>,
    ) -> Result<(), SlaveError> {
        assert!(self.body_left == 0, "a transfer begins {} bytes before the end of another", self.body_left);
        self.last_read = now;
        self.master_confirm = confirm;
        if bytes > HA_BODY_BYTES_MAX {
            return Err(SlaveError::TooLarge { bytes });
        }
        let begins = own.is_empty() && !self.has_begun;
        if begins && bytes > 0 {
            (self.next, self.stored, self.begins, self.has_begun) = (offset, offset, Some(offset), true);
        } else if !begins && offset != self.next {
            return Err(SlaveError::OutOfPlace { expected: self.next, found: offset });
        }
        (self.body_left, self.retry_ms) = (bytes, HA_RETRY_MS_MIN);
        self.next = self.next.plus(bytes as u64);
        Ok(())
    }

    fn store_pending(&mut self, log: &mut Log) -> Result<(), SlaveError> {
        if let Some(at) = self.begins {
            match log.begin_at(at) {
                Ok(()) => self.begins = None,
                Err(BeginError::Busy) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        while !self.pending.is_empty() {
            // Behind a filler `stored` is not the log's end, which is that of the segment already.
            match log.append_replicated(self.stored, &self.pending) {
                Ok(0) => return Ok(()),
                Ok(bytes) => self.note_stored(bytes),
                // The tail is full, or a segment is being made: the next progress tries again.
                Err(ReplicaError::Append(_)) => return Ok(()),
                Err(error) => return Err(SlaveError::Record(error)),
            }
        }
        Ok(())
    }

    fn note_stored(&mut self, bytes: usize) {
        self.pending.advance(bytes);
        self.stored = self.stored.plus(bytes as u64);
        assert!(self.stored <= self.next, "stored up to {}, and only received up to {}", self.stored, self.next);
    }
}

/// What the master is told.
impl Slave {
    /// The connection, if there is something to say.
    #[must_use]
    pub(crate) fn poll_output(&self, now: MonoNs, log: &Log) -> Option<LinkId> {
        self.link().filter(|_| self.due(now, &OwnLog::of(log)) != DueToMaster::Nothing)
    }

    /// Appends what is to be said over a connection now: a handshake or one report.
    pub fn output(&mut self, now: MonoNs, link: LinkId, log: &Log, buffer: &mut BytesMut) {
        if self.link() == Some(link) {
            self.say(now, link, self.due(now, &OwnLog::of(log)), buffer);
        }
    }

    fn say(&mut self, now: MonoNs, link: LinkId, due: DueToMaster, buffer: &mut BytesMut) {
        match due {
            DueToMaster::Nothing => return,
            DueToMaster::Handshake => {
                let broker_id = self.broker_id;
                Handshake { from_last_segment: false, is_learner: false, broker_id }.encode(buffer);
                self.state = LinkState::Open { link, phase: StreamPhase::Greeted };
            }
            DueToMaster::Report(end) => {
                SlaveMessage::encode_report(self.stream, end, buffer);
                self.reported = Some(end);
            }
        }
        self.last_write = now;
    }

    fn due(&self, now: MonoNs, own: &OwnLog) -> DueToMaster {
        let LinkState::Open { phase, .. } = self.state else { return DueToMaster::Nothing };
        match phase {
            StreamPhase::Greeting => DueToMaster::Handshake,
            StreamPhase::Greeted => DueToMaster::Nothing,
            StreamPhase::Following => {
                let is_due = now.ms_since(self.last_write) >= self.settings.heartbeat_ms;
                // The first report says where to go on; nothing has been received then, and all of the log was promised when the connection was
                // asked for. No report goes beyond what was received, as the log does when it has a filler without all of its padding.
                let offset = if self.reported.is_none() { own.position() } else { own.promised.min(self.stored) };
                if is_due || self.reported != Some(offset) { DueToMaster::Report(offset) } else { DueToMaster::Nothing }
            }
        }
    }
}

#[cfg(test)]
mod tests;
