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

mod left;
mod mend;
mod proof;
mod reigns;

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::{Buf as _, BytesMut};

pub(crate) use left::{Left, SlaveError, Surplus};

use self::proof::Proof;
use super::epoch::{EpochEntry, EpochTable};
use super::epoch_file::EpochFile;
use super::mend::{MendLink, Mender};
use super::rate::Rate;
use super::settings::ReplicaSettings;
use super::status::MasterStatus;
use crate::limits::{
    HA_BODY_BYTES_MAX, HA_FAREWELL_MS, HA_HOPELESS_RETRY_MS, HA_PENDING_BYTES_MAX, HA_RETRY_MS_MAX, HA_RETRY_MS_MIN,
};
use crate::log::{BeginError, BlockId, Log, ReplicaError};
use crate::model::{BrokerId, Epoch, LinkId, LogId, LogOffset, MasterLog, MonoNs, ReignId, UnixMs};
use crate::protocol::ha::epoch::{Handshake, HandshakeReply, REPLY_BYTES_MAX, handshake_reply_bytes};
use crate::protocol::ha::mend::PIECE_BYTES_MAX;
use crate::protocol::ha::{LogVerdict, SlaveMessage, Statement, StreamKind, Transfer};

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

    /// What a master is told of this log, with the verdict that it is followed.
    fn statement(&self, epochs: &EpochTable, can_be_asked: bool) -> Statement {
        let newest = self.appended.0.checked_sub(1).and_then(|newest| epochs.at(LogOffset(newest)));
        let unknown = EpochEntry { epoch: Epoch(0), start: LogOffset(0), id: ReignId::default() };
        Statement {
            verdict: LogVerdict::Follows,
            log: if self.is_empty() { LogId::default() } else { epochs.log() },
            start: self.start,
            end: self.appended,
            last: newest.filter(|_| !self.is_empty()).map_or(unknown, |(entry, _)| entry),
            point: self.appended,
            can_be_asked,
        }
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
    /// What follows from the answer is to be stated.
    Stating,
    /// The master was told why it is left, and is to close the connection.
    Declined,
    /// Transfers come.
    Following,
}

/// What is to be said to the master.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DueToMaster {
    Handshake,
    Statement(Statement),
    /// What it is asked for, or what it asks for.
    Mend,
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
    /// Where a master with this log was found last, and whether that is tried now instead of who is said to be the master.
    proven: Option<SocketAddr>,
    goes_back: bool,
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
    /// Reigns that begin in what is pending, and where: each is taken over when its first record has come, and is sound.
    reigns: VecDeque<(LogOffset, EpochEntry)>,
    /// What shows that a log without a name is the master's.
    proof: Proof,
    /// What the master is told of this log; `None` if it has not asked. Why it is left, if it is.
    statement: Option<Statement>,
    declined: Option<SlaveError>,
    /// Why the last connection that was left was.
    left: Option<(Option<SocketAddr>, SlaveError)>,
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
    /// Whether the master acknowledges only what it keeps over a loss of power.
    master_is_durable: bool,
    /// Up to where this log may hold what a master has acknowledged to a producer; `None` if that is not known, and all of it may. Only a slave
    /// that has heard its masters itself knows: what a file says would be older than what was acknowledged last.
    acknowledged: Option<LogOffset>,
    /// Its role and its master's reign were given to it by somebody who has compared the logs: what he leaves out is given up.
    is_ordered: bool,
    /// Where something came last that could not be stored, and how often since something could.
    stuck: Option<(LogOffset, u32)>,
    /// An operator gives up what the master has not, from here on.
    gives_up: Option<LogOffset>,
    rate: Rate,
    /// What is asked over the connection, and of whom.
    mend: MendLink,
    mender: Mender,
}

impl Slave {
    /// A slave that knows no master yet.
    #[must_use]
    pub fn new(broker_id: BrokerId, settings: ReplicaSettings) -> Slave {
        Slave {
            broker_id,
            settings,
            master: None,
            proven: None,
            goes_back: false,
            state: LinkState::Waiting { until: MonoNs(0) },
            stream: StreamKind::Epoch,
            retry_ms: HA_RETRY_MS_MIN,
            front: BytesMut::new(),
            pending: BytesMut::new(),
            stored: LogOffset(0),
            begins: None,
            has_begun: false,
            master_epochs: EpochTable::default(),
            reigns: VecDeque::new(),
            proof: Proof::default(),
            statement: None,
            declined: None,
            left: None,
            is_thought_classic: false,
            parted: None,
            body_left: 0,
            next: LogOffset(0),
            reported: None,
            last_read: MonoNs(0),
            last_write: MonoNs(0),
            master_confirm: None,
            master_is_durable: false,
            acknowledged: None,
            stuck: None,
            is_ordered: false,
            gives_up: None,
            rate: Rate::new(MonoNs(0), LogOffset(0)),
            mend: MendLink::default(),
            mender: Mender::default(),
        }
    }

    /// Where the master was found whom it followed before this life began.
    pub(crate) fn remember(&mut self, followed: Option<SocketAddr>) {
        self.proven = followed;
    }

    /// Where a master with this log was found last.
    #[must_use]
    pub(crate) fn proven(&self) -> Option<SocketAddr> {
        self.proven
    }

    /// The role was given by somebody who numbers the reigns, and knows who holds what.
    pub(crate) fn obey(&mut self) {
        self.is_ordered = true;
    }

    /// The master's replication port became known, or changed, or is not known any more. Returns the connection to the old one, to be closed.
    pub(crate) fn master_found(&mut self, now: MonoNs, address: Option<SocketAddr>) -> Option<LinkId> {
        if self.master == address {
            return None;
        }
        (self.master, self.goes_back) = (address, false);
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
    pub(crate) fn poll_connect(&mut self, now: MonoNs, log: &mut Log, epochs: &EpochFile) -> Option<SocketAddr> {
        self.rate.measure(now, self.next);
        let own = OwnLog::of(log);
        let address = self.due_to_connect(now, &own)?;
        if !own.is_empty() && !epochs.table().log().is_known() && !self.find_proof(log) {
            return None;
        }
        self.state = LinkState::Connecting;
        Some(address)
    }

    fn due_to_connect(&self, now: MonoNs, own: &OwnLog) -> Option<SocketAddr> {
        match self.state {
            LinkState::Waiting { until } if until <= now && own.promised == own.appended => self.target(),
            _ => None,
        }
    }

    /// Time passes: a master that is silent for too long is left.
    ///
    /// # Errors
    /// [`Left`], which is then to be closed.
    pub(crate) fn check_silence(&mut self, now: MonoNs) -> Result<(), Box<Left>> {
        if matches!(self.state, LinkState::Open { phase: StreamPhase::Declined, .. })
            && now.ms_since(self.last_write) >= HA_FAREWELL_MS
            && let Some(why) = self.declined.take()
        {
            let (link, master) = (self.link(), self.target());
            self.wait(now, Some(&why));
            return Err(Box::new(Left { master, link, why, cut: None }));
        }
        let silent_ms = now.ms_since(self.last_read);
        if self.link().is_some() && silent_ms >= self.settings.silence_ms_max {
            return Err(self.leave(now, SlaveError::Silent { silent_ms }));
        }
        Ok(())
    }

    /// The connection is there. The log goes on at its end. Returns whether it is wanted: the master may have moved meanwhile.
    pub(crate) fn link_up(&mut self, now: MonoNs, link: LinkId, peer: SocketAddr, log: &Log) -> bool {
        if self.target() != Some(peer) {
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
        let begins = self.proof.begin(own.appended).unwrap_or(own.position());
        (self.next, self.stored, self.body_left) = (begins, begins, 0);
        (self.reported, self.begins, self.has_begun) = (None, None, false);
        self.reigns.clear();
        (self.statement, self.declined) = (None, None);
        self.mend = MendLink::default();
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
            let why = self.declined.take();
            self.wait(now, why.as_ref());
        }
        is_masters
    }

    /// Gives the connection up.
    fn leave(&mut self, now: MonoNs, why: SlaveError) -> Box<Left> {
        let link = self.link().expect("what is left was open");
        let master = self.target();
        self.left = Some((master, why.clone()));
        if let Some(statement) = self.statement.and_then(|statement| why.statement(statement, self.stored)) {
            // The master is told first, and closes.
            (self.statement, self.declined) = (Some(statement), Some(why.clone()));
            self.state = LinkState::Open { link, phase: StreamPhase::Stating };
            self.last_write = now;
            return Box::new(Left { master, link: None, why, cut: None });
        }
        self.wait(now, Some(&why));
        // Only if two connections in a row say so: nothing proves that what one says was not damaged on its way.
        let cut = match why {
            SlaveError::Diverged { point, .. } if self.parted.replace(point) == Some(point) => Some(point),
            _ => None,
        };
        Box::new(Left { master, link: Some(link), why, cut })
    }

    /// There is no connection. The next one is tried after a while, the longer the more often it fails.
    fn wait(&mut self, now: MonoNs, why: Option<&SlaveError>) {
        // The master's word counts while it is there: without it, what this replica holds is all there is.
        (self.front, self.pending, self.master_confirm) = (BytesMut::new(), BytesMut::new(), None);
        self.proof = Proof::default();
        let wait_ms = match why {
            // The same master is there, and only spoken to in another way; heard twice, since a byte may have been damaged on its way.
            Some(SlaveError::Classic) => {
                self.stream = if self.is_thought_classic { StreamKind::Classic } else { StreamKind::Epoch };
                self.is_thought_classic = !self.is_thought_classic;
                0
            }
            // The same is to be heard once more, to know that it was not damaged on the way.
            Some(SlaveError::Diverged { .. }) => 0,
            Some(SlaveError::Record(_)) => self.wait_for_record(),
            Some(
                SlaveError::Foreign { .. }
                | SlaveError::Unlike { .. }
                | SlaveError::Shorter { .. }
                | SlaveError::Nameless { .. }
                | SlaveError::Hopeless { .. },
            ) => {
                // Anybody may have been registered as the master, while the true one lives.
                self.goes_back = !self.goes_back && self.proven.is_some() && self.proven != self.master;
                self.lengthen_wait(HA_HOPELESS_RETRY_MS)
            }
            _ => {
                (self.stream, self.goes_back) = (StreamKind::Epoch, false);
                self.lengthen_wait(HA_RETRY_MS_MAX)
            }
        };
        self.state = LinkState::Waiting { until: now.plus_ms(wait_ms) };
    }

    /// Where the next connection goes.
    fn target(&self) -> Option<SocketAddr> {
        if self.goes_back { self.proven } else { self.master }
    }

    fn lengthen_wait(&mut self, max_ms: u64) -> u64 {
        let wait_ms = self.retry_ms.min(max_ms);
        self.retry_ms = (wait_ms * 2).min(max_ms);
        wait_ms
    }

    /// What comes for one place cannot be stored. What was damaged on its way is sound when it comes again at once; what is damaged at the
    /// master stays so until somebody has mended it.
    fn wait_for_record(&mut self) -> u64 {
        let (at, times) = self.stuck.filter(|(at, _)| *at == self.stored).unwrap_or((self.stored, 0));
        self.stuck = Some((at, times.saturating_add(1)));
        match times {
            0 => 0,
            times => (HA_RETRY_MS_MIN << times.min(16)).min(HA_HOPELESS_RETRY_MS),
        }
    }

    fn link(&self) -> Option<LinkId> {
        match self.state {
            LinkState::Open { link, .. } => Some(link),
            _ => None,
        }
    }

    /// Whether the connection only stands so that the master hears why it is left.
    fn is_leaving(&self) -> bool {
        self.declined.is_some()
    }

    /// Whether the master is there: its stream runs, and is this log's.
    #[must_use]
    pub(crate) fn is_following(&self) -> bool {
        self.is_streaming() && !self.proof.is_awaited()
    }

    fn is_streaming(&self) -> bool {
        matches!(self.state, LinkState::Open { phase: StreamPhase::Following, .. })
    }

    /// Which master this is, if it is there.
    #[must_use]
    pub(crate) fn followed(&self) -> Option<MasterLog> {
        let master = &self.master_epochs;
        let named = |last: EpochEntry| MasterLog::Named { log: master.log(), reign: last.id };
        let is_named = self.statement.is_some();
        self.is_following().then(|| master.last().filter(|_| is_named).map_or(MasterLog::Nameless, named))
    }

    /// What keeps this slave from following, if an operator can end that by giving up what the master has not: why, and from where up to where.
    #[must_use]
    pub(crate) fn surplus(&self) -> Option<Surplus> {
        let (_, why) = self.left.as_ref().filter(|_| !self.is_following())?;
        why.surplus().map(|(from, to)| Surplus { from, to, why: why.to_string() })
    }

    /// An operator gives it up: when a master has the log up to there again, and no further, it is cut.
    pub(crate) fn give_up(&mut self, from: LogOffset) {
        self.gives_up = Some(from);
        if let LinkState::Waiting { until } = &mut self.state {
            *until = MonoNs(0);
        }
    }

    /// What is known of the master. `unix` tells the time of day of a moment of the other clock.
    pub fn status(&self, unix: impl Fn(MonoNs) -> UnixMs) -> Option<MasterStatus> {
        let told = |at: MonoNs| if at == MonoNs(0) { UnixMs(0) } else { unix(at) };
        let left = self.left.as_ref().filter(|_| !self.is_following());
        Some(MasterStatus {
            address: left.and_then(|(address, _)| *address).or(self.target())?,
            is_connected: self.is_following(),
            last_read: told(self.last_read),
            last_write: told(self.last_write),
            bytes_per_second: self.rate.bytes_per_second(),
            confirm: self.master_confirm,
            left: left.map(|(_, why)| why.to_string()),
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
    ) -> Result<(), Box<Left>> {
        if self.link() != Some(link) || self.is_leaving() {
            return Ok(());
        }
        self.take_apart(now, bytes, &OwnLog::of(log), epochs).map_err(|why| self.leave(now, why))?;
        self.store(now, log, epochs)
    }

    /// Gives the log what was received: whole records, as many as it takes.
    ///
    /// # Errors
    /// [`Left`], which is then to be closed.
    pub fn store(&mut self, now: MonoNs, log: &mut Log, epochs: &mut EpochFile) -> Result<(), Box<Left>> {
        // The bytes of an epoch are stored when the epoch is.
        if self.link().is_none() || self.is_leaving() || !epochs.is_current() {
            return Ok(());
        }
        let stored = self.prove(log, epochs).and_then(|is_proven| {
            if is_proven && epochs.is_current() { self.store_pending(log, epochs) } else { Ok(()) }
        });
        stored.map_err(|why| self.leave(now, why))
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
            let is_known = if self.is_streaming() {
                self.take_mend(now, &front)? || self.take_transfer(now, own, epochs, &front)?
            } else {
                self.take_reply(now, own, epochs, &front)?
            };
            assert!(is_known, "a message of {} bytes was whole and is not any more", front.len());
            self.keep_room(front);
        }
    }

    /// The room of a header serves for the next one; that of an answer with all epochs does not stay.
    fn keep_room(&mut self, mut front: BytesMut) {
        if self.is_streaming() && front.len() <= self.stream.header_bytes() {
            front.clear();
            self.front = front;
        }
    }

    /// Takes of `bytes` what the message that comes next lacks. Returns whether it is whole.
    fn take_front(&mut self, bytes: &mut &[u8]) -> Result<bool, SlaveError> {
        loop {
            let wanted = match self.is_streaming() {
                true => self.stream.message_bytes(&self.front).map_err(|_| SlaveError::Garbage)?,
                // Its length is known, or that it is none, when its first bytes are there.
                false => handshake_reply_bytes(&self.front).map_err(|_| SlaveError::Classic)?,
            };
            let most = REPLY_BYTES_MAX.max(PIECE_BYTES_MAX);
            assert!(wanted <= most, "a message of {wanted} bytes, {most} at most");
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
        let master = EpochTable::new(reply.lineage.map_or(LogId::default(), |said| said.log), reply.epochs)?;
        // What has no name is compared with the master's log first.
        let is_named = own.is_empty() || epochs.table().log().is_known();
        let can_be_asked = is_named && master.log().is_known() && reply.lineage.is_some_and(|said| said.can_be_asked);
        self.mend.note_able(can_be_asked);
        self.statement = reply.lineage.map(|_| own.statement(epochs.table(), can_be_asked));
        self.master_is_durable = reply.lineage.is_some_and(|said| said.is_durable);
        self.compare(now, own, epochs, master, reply.end)?;
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
            master.check_plausible(None)?;
            epochs.clear(master.log());
        } else {
            let (start, end, ours) = (own.start, own.appended, epochs.table().log());
            if ours.is_known() && !master.log().is_known() {
                return Err(SlaveError::Nameless { ours });
            }
            master.check_plausible(epochs.table().last())?;
            let point = epochs.table().consistent_point(end, &master, master_end);
            let acknowledged = self.acknowledged.unwrap_or(end);
            // Without a byte in common all of it goes; its next life has an empty log, and follows anybody.
            let cut = point.unwrap_or(start).max(start);
            match point {
                Some(point) if point >= end => {}
                _ if self.gives_up == Some(cut) => return Err(SlaveError::Diverged { end, point: cut }),
                None => return Err(SlaveError::Foreign { ours, theirs: master.log(), start, end }),
                Some(point) if point < start => return Err(SlaveError::Hopeless { start, end, point }),
                Some(point) if point < acknowledged && !self.is_ordered => {
                    return Err(SlaveError::Ahead { end, point, acknowledged });
                }
                Some(point) => return Err(SlaveError::Diverged { end, point }),
            }
            epochs.truncate(end);
        }
        self.acknowledged.get_or_insert(own.appended);
        (self.is_thought_classic, self.master_epochs) = (false, master);
        let phase = if self.statement.is_some() { StreamPhase::Stating } else { StreamPhase::Following };
        self.state = LinkState::Open { link, phase };
        Ok(())
    }

    fn take_transfer(
        &mut self,
        now: MonoNs,
        own: &OwnLog,
        epochs: &EpochFile,
        front: &[u8],
    ) -> Result<bool, SlaveError> {
        let header = Transfer::decode(self.stream, front).map_err(|_| SlaveError::Garbage)?;
        let Some(Transfer { offset, body_bytes, reign }) = header else { return Ok(false) };
        self.begin_transfer(now, own, offset, body_bytes, reign.map(|reign| reign.confirm))?;
        self.acknowledged = self.acknowledged.max(self.master_confirm);
        if let Some(end) = self.proof.awaited().filter(|end| body_bytes == 0 && offset < *end && reign.is_none()) {
            return Err(SlaveError::Shorter { theirs: offset, end });
        }
        if let Some(reign) = reign.filter(|_| body_bytes > 0) {
            // A transfer names its epoch without its identity, which the answer to the handshake has told.
            let is_it = |entry: &&EpochEntry| (entry.epoch, entry.start) == (reign.epoch, reign.start);
            let known = self.master_epochs.entries().iter().find(is_it).copied();
            let unnumbered = EpochEntry { epoch: Epoch(0), start: LogOffset(0), id: ReignId::default() };
            let entry = known.or(Some(unnumbered).filter(|entry| is_it(&entry))).ok_or(SlaveError::Garbage)?;
            self.note_reign(epochs.table(), offset, body_bytes, entry)?;
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

    fn store_pending(&mut self, log: &mut Log, epochs: &mut EpochFile) -> Result<(), SlaveError> {
        if let Some(at) = self.begins {
            match log.begin_at(at) {
                Ok(()) => self.begins = None,
                Err(BeginError::Busy) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        while !self.pending.is_empty() {
            let Some(bytes_max) = self.take_reigns(log, epochs)? else { return Ok(()) };
            // Behind a filler `stored` is not the log's end, which is that of the segment already.
            match log.append_replicated(self.stored, &self.pending[..bytes_max]) {
                // The bytes of a reign end with a record.
                Ok(0) if bytes_max < self.pending.len() => return Err(SlaveError::Garbage),
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
        self.stuck = None;
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

    /// Appends what is to be said over a connection now: a handshake, one report, or what is asked or answered of the log. Returns a block of the disk
    /// without which that is not answered; then [`Slave::unblock`].
    pub fn output(&mut self, now: MonoNs, link: LinkId, log: &mut Log, buffer: &mut BytesMut) -> Option<BlockId> {
        if self.link() != Some(link) {
            return None;
        }
        match self.due(now, &OwnLog::of(log)) {
            DueToMaster::Mend => {
                self.last_write = now;
                self.mend.say(log, buffer)
            }
            due => {
                self.say(now, link, due, buffer);
                None
            }
        }
    }

    fn say(&mut self, now: MonoNs, link: LinkId, due: DueToMaster, buffer: &mut BytesMut) {
        match due {
            DueToMaster::Nothing | DueToMaster::Mend => return,
            DueToMaster::Handshake => {
                let broker_id = self.broker_id;
                let (from_last_segment, knows_identities, is_learner) = (false, true, false);
                Handshake { from_last_segment, knows_identities, is_learner, broker_id }.encode(buffer);
                self.state = LinkState::Open { link, phase: StreamPhase::Greeted };
            }
            DueToMaster::Statement(statement) => {
                statement.encode(buffer);
                let phase = if self.is_leaving() { StreamPhase::Declined } else { StreamPhase::Following };
                if !self.is_leaving() && !self.proof.is_awaited() {
                    self.proven = self.target();
                }
                self.state = LinkState::Open { link, phase };
            }
            DueToMaster::Report(end) => {
                SlaveMessage::encode_report(self.stream, end, buffer);
                self.reported = Some(end);
                // A master that acknowledges what it may lose may do so as soon as it hears this, and tell of it too late. One that keeps what it
                // acknowledges has it after a loss of power, or else has told of it.
                if !self.master_is_durable {
                    self.acknowledged = self.acknowledged.max(Some(end));
                }
            }
        }
        self.last_write = now;
    }

    fn due(&self, now: MonoNs, own: &OwnLog) -> DueToMaster {
        let LinkState::Open { phase, .. } = self.state else { return DueToMaster::Nothing };
        match phase {
            StreamPhase::Greeting => DueToMaster::Handshake,
            StreamPhase::Greeted | StreamPhase::Declined => DueToMaster::Nothing,
            StreamPhase::Stating => self.statement.map_or(DueToMaster::Nothing, DueToMaster::Statement),
            StreamPhase::Following if self.reported.is_some() && self.mend.is_due() => DueToMaster::Mend,
            StreamPhase::Following => {
                let is_due = now.ms_since(self.last_write) >= self.settings.heartbeat_ms;
                // The first report says where to go on; nothing has been received then, and all of the log was promised when the connection was
                // asked for. No report goes beyond what was received, as the log does when it has a filler without all of its padding.
                let first = self.proof.begins().unwrap_or(own.position());
                let offset = if self.reported.is_none() { first } else { own.promised.min(self.stored) };
                if is_due || self.reported != Some(offset) { DueToMaster::Report(offset) } else { DueToMaster::Nothing }
            }
        }
    }
}

#[cfg(test)]
mod tests;
