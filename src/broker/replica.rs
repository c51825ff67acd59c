//! Replication as the broker sees it: the streams' bytes to the machines of [`crate::replication`], and what follows for log and replies.
//!
//! State of the shard. The shell says [`Broker::ha_connected`], [`Broker::ha_failed`], [`Broker::ha_received`] and
//! [`Broker::ha_disconnected`]; it asks [`Broker::ha_output`] for what a connection is to be sent, as soon as its socket takes more, and
//! wakes those that [`Broker::ha_ready`] names after each event. A master has connections to slaves, a slave one to its master.
//!
//! A connection costs its peer's numbers and an unfinished message: a master keeps a part of a report, with the room of a short read
//! ([`PARTIAL_BYTES_KEPT`]); a slave at most [`FRONT_BYTES_MAX`] bytes, and what its log has not taken yet
//! ([`crate::limits::HA_PENDING_BYTES_MAX`]).

use std::net::SocketAddr;

use bytes::{Buf as _, Bytes, BytesMut};

use super::{Broker, Effect, Output};
use crate::limits::{EPOCHS_MAX, HA_SEND_BYTES, NO_SPACE_RETRY_MS, PARTIAL_BYTES_KEPT};
use crate::log::{BeginError, BlockId, IoError, Log, ReplicaError, Stream};
use crate::model::{LinkId, LogOffset, MonoNs, Now, UnixMs};
use crate::protocol::ha::{HaError, classic, epoch};
use crate::replication::master::{HaRefused, LogEnds, Master, Next, Opening};
use crate::replication::slave::{Due, OwnLog, Slave, SlaveAct, SlaveError, StreamKind};
use crate::replication::{EpochEntry, EpochTable, ReplicaStatus};

/// Longest message that is kept until it is whole: a master's answer to the handshake, with all its epochs.
pub const FRONT_BYTES_MAX: usize = 64 + 12 * EPOCHS_MAX;

/// The part of a broker in replication.
pub(super) struct Replica {
    role: Part,
    /// The reigns of this log's masters.
    epochs: EpochTable,
    epoch_file: EpochFile,
    /// Unfinished messages, by connection.
    pub(super) fronts: Vec<(LinkId, BytesMut)>,
    /// The time of the last tick, on both clocks.
    clock: Now,
}

enum Part {
    Master(Master),
    Slave(Box<Slave>),
}

/// What the file of the epochs holds, in generations of the table. At most one write is under way.
#[derive(Clone, Copy, Debug, Default)]
struct EpochFile {
    wanted: u64,
    written: u64,
    is_writing: bool,
    /// Set when the last write has failed: when it is tried again.
    retry_at: Option<MonoNs>,
}

impl EpochFile {
    fn is_current(self) -> bool {
        self.wanted == self.written
    }
}

/// How far the replies that wait for slaves may go.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReplicasHave {
    /// As many slaves as are needed have acknowledged all below.
    pub(super) acked: LogOffset,
    /// It makes sense to wait for more.
    pub(super) is_waitable: bool,
}

impl Replica {
    pub(super) fn new(settings: &crate::replication::ReplicaSettings, epochs: EpochTable) -> Replica {
        let role = if settings.role.is_master() {
            Part::Master(Master::new(settings.clone()))
        } else {
            Part::Slave(Box::new(Slave::new(settings.clone())))
        };
        Replica { role, epochs, epoch_file: EpochFile::default(), fronts: Vec::new(), clock: Now::default() }
    }

    fn master(&mut self) -> Option<&mut Master> {
        match &mut self.role {
            Part::Master(master) => Some(master),
            Part::Slave(_) => None,
        }
    }

    fn slave(&mut self) -> Option<&mut Slave> {
        match &mut self.role {
            Part::Master(_) => None,
            Part::Slave(slave) => Some(slave),
        }
    }

    fn take_front(&mut self, link: LinkId) -> BytesMut {
        let front = self.fronts.iter_mut().find(|(id, _)| *id == link);
        front.map(|(_, bytes)| std::mem::take(bytes)).unwrap_or_default()
    }

    fn keep_front(&mut self, link: LinkId, rest: BytesMut) {
        match self.fronts.iter_mut().find(|(id, _)| *id == link) {
            Some((_, bytes)) => *bytes = rest,
            None => self.fronts.push((link, rest)),
        }
    }

    fn drop_front(&mut self, link: LinkId) {
        self.fronts.retain(|(id, _)| *id != link);
    }
}

fn ends_of(log: &Log) -> LogEnds {
    LogEnds {
        start: log.start(),
        last_segment: log.last_segment_start(),
        appended: log.appended(),
        confirm: log.confirm(),
    }
}

impl Broker {
    fn ends(&self) -> LogEnds {
        ends_of(&self.log)
    }

    fn own_log(&self) -> OwnLog {
        OwnLog { start: self.log.start(), appended: self.log.appended(), promised: self.log.promised() }
    }

    /// A slave has connected, or the connection to the master is there.
    pub fn ha_connected(&mut self, now: Now, link: LinkId, peer: SocketAddr, out: &mut Output) {
        let own = self.own_log();
        match &mut self.replica.role {
            Part::Master(master) => {
                if let Some(oldest) = master.connected(now.mono, link, peer) {
                    self.ha_refuse(oldest, &HaRefused::TooManyStrangers, out);
                }
            }
            Part::Slave(slave) if slave.master() != Some(peer) => {
                // The master has moved while it was being connected to.
                slave.link_down(now.mono, None);
                out.effects.push(Effect::HaClose(link));
            }
            Part::Slave(slave) => {
                tracing::info!(master = %peer, at = %own.appended, "connected to the master");
                slave.link_up(now.mono, link, &own);
            }
        }
    }

    /// The connection to the master did not come about.
    pub fn ha_failed(&mut self, now: Now, address: SocketAddr, why: &str) {
        if let Some(slave) = self.replica.slave() {
            tracing::warn!(master = %address, "no connection to the master: {why}");
            slave.link_down(now.mono, None);
        }
    }

    /// A replication connection is gone.
    pub fn ha_disconnected(&mut self, now: Now, link: LinkId, out: &mut Output) {
        self.replica.drop_front(link);
        match &mut self.replica.role {
            Part::Master(master) => {
                if master.disconnected(link) {
                    tracing::warn!("a slave in sync is gone");
                }
            }
            Part::Slave(slave) if slave.link() == Some(link) => {
                tracing::warn!("the connection to the master is gone");
                slave.link_down(now.mono, None);
            }
            Part::Slave(_) => {}
        }
        self.progress(now, out);
    }

    /// Closes a connection for what the peer did.
    fn ha_refuse(&mut self, link: LinkId, why: &HaRefused, out: &mut Output) {
        let peer = self.replica.master().and_then(|master| master.peer(link));
        if let Some(peer) = peer {
            tracing::warn!(%peer, "replication connection closed: {why}");
        }
        out.effects.push(Effect::HaClose(link));
    }

    /// Leaves the master: the next connection begins where the log ends.
    fn ha_leave(&mut self, now: MonoNs, link: LinkId, why: SlaveError, out: &mut Output) {
        let Some(slave) = self.replica.slave() else { return };
        match why {
            SlaveError::Classic => tracing::info!("the master speaks the classic stream"),
            _ => tracing::warn!("the master is left: {why}"),
        }
        slave.link_down(now, Some(&why));
        let cut = match why {
            SlaveError::Diverged { point, .. } if slave.is_parted(point) => Some(point),
            _ => None,
        };
        self.replica.drop_front(link);
        out.effects.push(Effect::HaClose(link));
        out.effects.extend(cut.map(Effect::Truncate));
    }

    /// Bytes have come over a replication connection.
    pub fn ha_received(&mut self, now: Now, link: LinkId, bytes: &[u8], out: &mut Output) {
        match &self.replica.role {
            Part::Master(_) => {
                if let Err(why) = self.slave_says(now.mono, link, bytes, out) {
                    self.replica.drop_front(link);
                    self.ha_refuse(link, &why, out);
                }
            }
            Part::Slave(slave) if slave.link() == Some(link) => {
                let heard = self.master_says(now.mono, link, bytes, out).and_then(|()| self.take_in());
                if let Err(why) = heard {
                    self.ha_leave(now.mono, link, why, out);
                }
            }
            // Its end is on its way.
            Part::Slave(_) => {}
        }
        self.progress(now, out);
    }

    /// Whether a replication connection is to be read.
    #[must_use]
    pub fn ha_reads(&self, link: LinkId) -> bool {
        match &self.replica.role {
            Part::Master(_) => true,
            Part::Slave(slave) => slave.link() == Some(link) && slave.reads() && self.replica.epoch_file.is_current(),
        }
    }

    /// The replication connections that have something to send.
    pub fn ha_ready(&self, now: Now) -> impl Iterator<Item = LinkId> {
        let (master, slave) = match &self.replica.role {
            Part::Master(master) => (Some(master), None),
            Part::Slave(slave) => (None, Some(slave)),
        };
        let of_master = master.into_iter().flat_map(move |master| master.ready(now.mono, self.ends()));
        of_master.chain(slave.and_then(move |slave| {
            let link = slave.link()?;
            (slave.due(now.mono, &self.own_log()) != Due::Nothing).then_some(link)
        }))
    }

    /// Appends what a replication connection is to be sent now to an empty buffer, [`HA_SEND_BYTES`] and one header at most, and lets it
    /// grow no further.
    pub fn ha_output(&mut self, now: Now, link: LinkId, buffer: &mut BytesMut, out: &mut Output) {
        match &self.replica.role {
            Part::Master(_) => self.output_of_master(now.mono, link, buffer, out),
            Part::Slave(slave) if slave.link() == Some(link) => self.output_of_slave(now.mono, buffer),
            Part::Slave(_) => {}
        }
    }

    /// Time passes.
    pub(super) fn tick_replica(&mut self, now: Now, out: &mut Output) {
        self.replica.clock = now;
        let (ends, own) = (self.ends(), self.own_log());
        match &mut self.replica.role {
            Part::Master(master) => {
                for (link, why) in master.tick(now.mono, ends) {
                    self.ha_refuse(link, &why, out);
                }
            }
            Part::Slave(slave) => match slave.poll(now.mono, &own) {
                Some(SlaveAct::Connect { address }) => out.effects.push(Effect::HaConnect(address)),
                Some(SlaveAct::Close { link, why }) => self.ha_leave(now.mono, link, why, out),
                None => {}
            },
        }
        self.write_epochs(now.mono, out);
    }

    /// The control plane says where the master's replication port is.
    pub(super) fn master_found(&mut self, now: Now, address: Option<SocketAddr>, out: &mut Output) {
        let Some(slave) = self.replica.slave() else { return };
        if let Some(SlaveAct::Close { link, .. }) = slave.master_found(now.mono, address) {
            slave.link_down(now.mono, None);
            self.replica.drop_front(link);
            out.effects.push(Effect::HaClose(link));
        }
        self.tick_replica(now, out);
    }

    /// Takes what the master has sent, and bounds what consumers see.
    pub(super) fn progress_replica(&mut self, now: Now, out: &mut Output) {
        if let Err(why) = self.take_in()
            && let Some(link) = self.replica.slave().and_then(|slave| slave.link())
        {
            self.ha_leave(now.mono, link, why, out);
        }
        let promised = self.log.promised();
        let bound = match &mut self.replica.role {
            Part::Master(master) => master.is_waited_for().then(|| master.confirm(promised)),
            Part::Slave(slave) => slave.master_confirm(),
        };
        // Consumers have seen what was confirmed: it does not go back.
        let confirm = self.log.confirm();
        self.log.set_confirm_max(bound.map(|bound| bound.max(confirm)));
    }

    /// Whether this is a slave whose master is there: its stream runs.
    pub(super) fn follows_master(&self) -> bool {
        matches!(&self.replica.role, Part::Slave(slave) if slave.is_following())
    }

    /// Whether replies wait for slaves.
    pub(super) fn waits_for_slaves(&self) -> bool {
        matches!(&self.replica.role, Part::Master(master) if master.is_waited_for())
    }

    /// How far slaves are with what replies wait for.
    pub(super) fn replicas_have(&self) -> ReplicasHave {
        match &self.replica.role {
            Part::Master(master) if master.is_waited_for() => {
                let acked = master.acknowledged().unwrap_or(LogOffset(0));
                ReplicasHave { acked, is_waitable: master.has_slaves() }
            }
            _ => ReplicasHave { acked: LogOffset(u64::MAX), is_waitable: true },
        }
    }

    /// Whether fewer replicas are in sync than `minInSyncReplicas` demands.
    pub(super) fn lacks_replicas(&self) -> bool {
        match &self.replica.role {
            Part::Master(master) => !master.is_enough_in_sync(),
            Part::Slave(_) => false,
        }
    }

    /// A block was read: slaves that wait for it go on.
    pub(super) fn unblock_replicas(&mut self, block: BlockId) {
        if let Some(master) = self.replica.master() {
            master.unblock(block);
        }
    }

    /// Who replicates what, for those who ask.
    #[must_use]
    pub fn replica_status(&self) -> ReplicaStatus {
        let role = self.settings.replica.role;
        let (appended, confirm, clock) = (self.log.appended(), self.log.confirm(), self.replica.clock);
        let unix = |at: MonoNs| {
            let ago_ms = i64::try_from(clock.mono.ms_since(at)).unwrap_or(i64::MAX);
            UnixMs(clock.unix.0.saturating_sub(ago_ms))
        };
        let (slaves, master, in_sync_count) = match &self.replica.role {
            Part::Master(master) => (master.slaves(appended).collect(), None, master.in_sync_count()),
            Part::Slave(slave) => (Vec::new(), slave.status(unix), 0),
        };
        ReplicaStatus { role, slaves, master, in_sync_count, confirm }
    }

    /// The write of a generation of the epochs has ended.
    pub fn handle_epochs_written(&mut self, now: Now, generation: u64, result: Result<(), IoError>, out: &mut Output) {
        let file = &mut self.replica.epoch_file;
        file.is_writing = false;
        match result {
            Ok(()) => {
                (file.written, file.retry_at) = (generation, None);
                self.write_epochs(now.mono, out);
            }
            Err(error) => {
                // A disk may be full for long: it is said once.
                if file.retry_at.replace(now.mono.plus_ms(NO_SPACE_RETRY_MS)).is_none() {
                    tracing::warn!(%error, "the epochs were not written; until they are nothing of the new epoch is stored");
                }
            }
        }
        self.progress(now, out);
    }

    fn write_epochs(&mut self, now: MonoNs, out: &mut Output) {
        let file = &mut self.replica.epoch_file;
        if !file.is_current() && !file.is_writing && file.retry_at.is_none_or(|at| at <= now) {
            file.is_writing = true;
            let text = Bytes::from(self.replica.epochs.encode());
            out.effects.push(Effect::WriteEpochs { generation: file.wanted, text });
        }
    }
}

/// The master's half: what slaves say and what they are sent.
impl Broker {
    fn slave_says(&mut self, now: MonoNs, link: LinkId, bytes: &[u8], out: &mut Output) -> Result<(), HaRefused> {
        let ends = self.ends();
        let mut front = self.replica.take_front(link);
        front.extend_from_slice(bytes);
        let Part::Master(master) = &mut self.replica.role else { return Ok(()) };
        loop {
            let report = match master.opening(link) {
                Some(Opening::Classic) => report_of(&front)?,
                Some(Opening::Epoch { .. }) => {
                    let ack = epoch::Ack::decode(&front).map_err(|_| HaRefused::Garbage)?;
                    ack.map(|ack| (ack.end, epoch::ACK_BYTES))
                }
                None => match opening_of(&front).map_err(|_| HaRefused::Garbage)? {
                    Seen::TooLittle => None,
                    Seen::Classic => report_of(&front)?,
                    Seen::Epoch(handshake) => {
                        front.advance(epoch::HANDSHAKE_BYTES);
                        let (id, from_last_segment) = (handshake.broker_id, handshake.from_last_segment);
                        let older = master.greet(now, link, Opening::Epoch { id, from_last_segment })?;
                        if let Some(older) = older {
                            tracing::warn!("{}", HaRefused::Replaced { id });
                            out.effects.push(Effect::HaClose(older));
                        }
                        continue;
                    }
                },
            };
            let Some((offset, size)) = report else { break };
            front.advance(size);
            master.report(now, link, offset, ends)?;
        }
        if front.len() >= FRONT_BYTES_MAX {
            return Err(HaRefused::Garbage);
        }
        // Of a long read nothing is kept but the unfinished report at its end.
        let front = if bytes.len() > PARTIAL_BYTES_KEPT { BytesMut::from(&front[..]) } else { front };
        self.replica.keep_front(link, front);
        Ok(())
    }

    fn output_of_master(&mut self, now: MonoNs, link: LinkId, buffer: &mut BytesMut, out: &mut Output) {
        let Part::Master(master) = &mut self.replica.role else { return };
        let (epochs, log) = (&self.replica.epochs, &mut self.log);
        while buffer.len() < HA_SEND_BYTES {
            let ends = ends_of(log);
            match master.next(now, link, &ends) {
                Next::Nothing => return,
                Next::Greeting => {
                    let entries = epochs.entries().iter().map(|entry| (entry.epoch, entry.start));
                    let epoch = epochs.last().map_or_else(Default::default, |entry| entry.epoch);
                    epoch::encode_handshake_reply(ends.appended, epoch, entries, buffer);
                    master.greeted(now, link);
                }
                Next::Heartbeat { at } => {
                    let head = Head::of(master.opening(link), epochs, at, ends.confirm);
                    head.encode(at, 0, buffer);
                    master.sent_heartbeat(now, link, &ends);
                }
                Next::Send { from, bytes_max } => {
                    // At once, and as a whole: a buffer that grows as it is filled has twice the room.
                    buffer.reserve((HA_SEND_BYTES + epoch::HEADER_BYTES).saturating_sub(buffer.len()));
                    let head = Head::of(master.opening(link), epochs, from, ends.confirm);
                    // The batch may be set to more than is to be made at once.
                    let bytes_max = head.bytes_max(from, bytes_max).min(HA_SEND_BYTES - buffer.len());
                    let place = buffer.len();
                    head.encode(from, 0, buffer);
                    let body = buffer.len();
                    match log.stream(from, bytes_max, buffer) {
                        Stream::Bytes(bytes) if bytes > 0 => {
                            assert_eq!(buffer.len() - body, bytes, "a stream appends what it says");
                            head.rewrite(from, bytes, place, buffer);
                            master.sent(now, link, bytes, &ends);
                        }
                        stream => {
                            buffer.truncate(place);
                            match stream {
                                Stream::Cold(block) => {
                                    master.blocked(link, block);
                                    out.effects.push(Effect::Fetch(block));
                                }
                                // What it is to be sent was removed, by retention, while it was too slow.
                                Stream::Removed => {
                                    let why = HaRefused::Removed { asked: from, start: log.start() };
                                    self.ha_refuse(link, &why, out);
                                }
                                Stream::Failed(_) => self.ha_refuse(link, &HaRefused::Unreadable { at: from }, out),
                                Stream::Bytes(_) | Stream::End | Stream::Beyond => {}
                            }
                            return;
                        }
                    }
                }
            }
        }
    }
}

/// A classic slave's report at the front of what it has said, and its bytes.
fn report_of(front: &[u8]) -> Result<Option<(LogOffset, usize)>, HaRefused> {
    let report = classic::decode_report(front).map_err(|_| HaRefused::Garbage)?;
    Ok(report.map(|offset| (offset, classic::REPORT_BYTES)))
}

/// What opens a stream.
enum Seen {
    TooLittle,
    Classic,
    Epoch(epoch::Handshake),
}

/// Tells the two streams apart by their first bytes.
///
/// A classic slave begins with the end of its log, 8 bytes. One that knows epochs begins with a handshake of 16 bytes: state 1 in 4 bytes, two
/// flags of 2 bytes, its brokerId in 8. As an offset, the first half of a handshake is 4 GiB and at most 65,537 bytes more: four offsets
/// in all. A classic slave may end there (4 GiB sharp is where a segment begins), so these four are told apart by the 8 bytes that follow: a
/// brokerId is small, and the second report of a slave, which comes within `haSendHeartbeatInterval`, is 4 GiB or more.
fn opening_of(front: &[u8]) -> Result<Seen, HaError> {
    let Some(offset) = classic::decode_report(front)? else { return Ok(Seen::TooLittle) };
    if !epoch::Handshake::may_begin_with(offset) {
        return Ok(Seen::Classic);
    }
    match epoch::Handshake::decode(front) {
        Ok(None) => Ok(Seen::TooLittle),
        Ok(Some(handshake)) if handshake.broker_id.0 < u64::from(u32::MAX) => Ok(Seen::Epoch(handshake)),
        Ok(Some(_)) => Ok(Seen::Classic),
        Err(error) => Err(error),
    }
}

/// The header of a transfer, in the form of its stream.
#[derive(Clone, Copy)]
enum Head {
    Classic,
    Epoch { entry: EpochEntry, ends: Option<LogOffset>, confirm: LogOffset },
}

impl Head {
    fn of(opening: Option<Opening>, epochs: &EpochTable, from: LogOffset, confirm: LogOffset) -> Head {
        match opening {
            Some(Opening::Epoch { .. }) => {
                let unnumbered = EpochEntry { epoch: Default::default(), start: LogOffset(0) };
                let (entry, ends) = epochs.at(from).unwrap_or((unnumbered, None));
                Head::Epoch { entry, ends, confirm }
            }
            _ => Head::Classic,
        }
    }

    /// A batch never spans two epochs.
    fn bytes_max(self, from: LogOffset, bytes_max: usize) -> usize {
        match self {
            Head::Epoch { ends: Some(end), .. } => {
                bytes_max.min(usize::try_from(end.since(from)).unwrap_or(usize::MAX))
            }
            _ => bytes_max,
        }
    }

    fn encode(self, offset: LogOffset, body_bytes: usize, buffer: &mut BytesMut) {
        match self {
            Head::Classic => classic::TransferHeader { offset, body_bytes }.encode(buffer),
            Head::Epoch { entry, confirm, .. } => {
                let (epoch, epoch_start) = (entry.epoch, entry.start);
                epoch::TransferHeader { body_bytes, offset, epoch, epoch_start, confirm }.encode(buffer);
            }
        }
    }

    /// Puts the true number of bytes into a header that stands at `place`.
    fn rewrite(self, offset: LogOffset, body_bytes: usize, place: usize, buffer: &mut BytesMut) {
        let mut header = BytesMut::with_capacity(64);
        self.encode(offset, body_bytes, &mut header);
        let end = place + header.len();
        buffer.get_mut(place..end).expect("the header was put there").copy_from_slice(&header);
    }
}

/// The slave's half: what the master says, and what it is told.
impl Broker {
    fn master_says(&mut self, now: MonoNs, link: LinkId, bytes: &[u8], out: &mut Output) -> Result<(), SlaveError> {
        let mut received = bytes;
        let mut front = self.replica.take_front(link);
        loop {
            let own = self.own_log();
            let Part::Slave(slave) = &mut self.replica.role else { return Ok(()) };
            if slave.body_left() > 0 {
                // The front is part of a header only, so it is empty here.
                let taken = slave.body(now, received);
                received = received.get(taken..).unwrap_or_default();
                if slave.body_left() > 0 {
                    break;
                }
            }
            let wanted = match (slave.is_following(), slave.stream()) {
                (false, _) => epoch::handshake_reply_bytes(&front).map_err(|_| SlaveError::Classic)?,
                (true, StreamKind::Classic) => classic::HEADER_BYTES,
                (true, StreamKind::Epoch) => epoch::HEADER_BYTES,
            };
            let missing = wanted.saturating_sub(front.len());
            let (now_in, later) = received.split_at(missing.min(received.len()));
            front.extend_from_slice(now_in);
            received = later;
            if !slave.is_following() {
                // Its length is known, or that it is none, when its first bytes are there.
                let whole = epoch::handshake_reply_bytes(&front).map_err(|_| SlaveError::Classic)?;
                if whole > front.len() && !received.is_empty() {
                    continue;
                }
            }
            if front.len() < wanted {
                break;
            }
            let garbage = |_: HaError| SlaveError::Garbage;
            if !slave.is_following() {
                let Some(reply) = epoch::HandshakeReply::decode(&front).map_err(garbage)? else { break };
                let entries = reply.epochs.into_iter().map(|(epoch, start)| EpochEntry { epoch, start });
                let master_epochs = EpochTable::new(entries.collect())?;
                slave.greeted(now, &own, &mut self.replica.epochs, master_epochs, reply.end)?;
            } else if slave.stream() == StreamKind::Classic {
                let Some(header) = classic::TransferHeader::decode(&front).map_err(garbage)? else { break };
                slave.transfer(now, &own, header.offset, header.body_bytes, None)?;
            } else {
                let Some(header) = epoch::TransferHeader::decode(&front).map_err(garbage)? else { break };
                slave.transfer(now, &own, header.offset, header.body_bytes, Some(header.confirm))?;
                let entry = EpochEntry { epoch: header.epoch, start: header.epoch_start };
                if header.body_bytes > 0 && slave.adopt_epoch(&mut self.replica.epochs, entry)? {
                    self.replica.epoch_file.wanted += 1;
                    self.write_epochs(now, out);
                }
            }
            front.clear();
        }
        self.replica.keep_front(link, front);
        Ok(())
    }

    /// Gives the log what the master has sent: whole records, as many as it takes.
    fn take_in(&mut self) -> Result<(), SlaveError> {
        let Part::Slave(slave) = &mut self.replica.role else { return Ok(()) };
        // The bytes of an epoch are stored when the epoch is.
        if !self.replica.epoch_file.is_current() {
            return Ok(());
        }
        if let Some(at) = slave.begins() {
            match self.log.begin_at(at) {
                Ok(()) => slave.begun(),
                Err(BeginError::Busy) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        loop {
            let (at, bytes) = slave.pending();
            if bytes.is_empty() {
                return Ok(());
            }
            match self.log.append_replicated(at, bytes) {
                Ok(0) => return Ok(()),
                Ok(bytes) => slave.taken(bytes),
                // The tail is full, or a segment is being made: the next progress tries again.
                Err(ReplicaError::Append(_)) => return Ok(()),
                Err(error) => return Err(SlaveError::Record(error)),
            }
        }
    }

    fn output_of_slave(&mut self, now: MonoNs, buffer: &mut BytesMut) {
        let own = self.own_log();
        let Part::Slave(slave) = &mut self.replica.role else { return };
        match slave.due(now, &own) {
            Due::Nothing => {}
            Due::Handshake => {
                let broker_id = self.settings.replica.broker_id;
                epoch::Handshake { from_last_segment: false, is_learner: false, broker_id }.encode(buffer);
                slave.said_handshake(now);
            }
            Due::Report(end) => {
                match slave.stream() {
                    StreamKind::Classic => classic::encode_report(end, buffer),
                    StreamKind::Epoch => epoch::Ack { end }.encode(buffer),
                }
                slave.reported(now, end);
            }
        }
    }
}
