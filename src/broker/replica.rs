//! Replication as the broker sees it: its role, the file of the epochs, and what follows from both for replies and consumers.
//!
//! State of the shard. The shell says [`Broker::handle_link_up`], [`Broker::handle_link_failed`], [`Broker::handle_link_bytes`] and
//! [`Broker::handle_link_down`]; it asks [`Broker::fill_link`] for what a link is to be sent, as soon as its socket takes more, and wakes those
//! that [`Broker::poll_links`] names after each event. A master has links to slaves, a slave one to its master.

mod said;

use std::collections::BTreeSet;
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use self::said::{GONE, LEFT, Said, UNREACHABLE};
use super::life::Life;
use super::{Broker, Effect, Output};
use crate::letter::ToControl;
use crate::log::{BlockId, IoError};
use crate::model::{BrokerId, Epoch, LinkId, LogOffset, MasterLog, MonoNs, Now, UnixMs};
use crate::replication::{
    EpochFile, EpochTable, HaRefused, Left, Master, ReplicaSettings, ReplicaStatus, Slave, SlaveError, Surplus,
};
use crate::said::BY_STRANGERS;

/// The part of a broker in replication.
pub(super) struct Replica {
    role: Part,
    /// The reigns of this log's masters.
    pub(super) epochs: EpochFile,
    /// The time of the last tick, on both clocks.
    clock: Now,
    /// Whom the control plane believes this slave to follow; `None` if it was told nothing yet.
    told: Option<Option<MasterLog>>,
    said: Said,
}

enum Part {
    Master(Box<Master>),
    Slave(Box<Slave>),
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
    pub(super) fn new(life: &Life, settings: &ReplicaSettings, epochs: EpochTable) -> Replica {
        let role = if life.role.is_master() {
            // Whoever gives the roles has asked already.
            let in_sync = if life.epoch.is_none() { epochs.in_sync().clone() } else { BTreeSet::new() };
            let mut master = Master::new(life.role, settings.clone());
            master.remember_holders(epochs.holders());
            master.ask(in_sync);
            if epochs.is_copy() {
                master.note_copy();
            }
            if life.epoch.is_none() {
                master.note_ahead(epochs.ahead());
            } else {
                master.obey();
            }
            Part::Master(Box::new(master))
        } else {
            let mut slave = Slave::new(life.broker_id, settings.clone());
            if life.epoch.is_some() {
                slave.obey();
            }
            slave.remember(epochs.followed());
            Part::Slave(Box::new(slave))
        };
        Replica { role, epochs: EpochFile::new(epochs), clock: Now::default(), told: None, said: Said::new(life) }
    }

    /// These are registered as replicas of this master: they may have what its log has not.
    pub(super) fn ask(&mut self, slaves: BTreeSet<BrokerId>) {
        if let Part::Master(master) = &mut self.role {
            master.ask(slaves);
        }
    }

    /// The role that this shard has already was ordered.
    pub(super) fn note_order(&mut self) {
        if let Part::Slave(slave) = &mut self.role {
            slave.obey();
        }
    }

    /// What may change while it runs is a master's.
    pub(super) fn change_settings(&mut self, settings: &ReplicaSettings) {
        if let Part::Master(master) = &mut self.role {
            master.change_settings(settings.clone());
        }
    }
}

impl Broker {
    /// A slave has connected, or the link to the master is there.
    pub(crate) fn handle_link_up(&mut self, now: Now, link: LinkId, peer: SocketAddr, out: &mut Output) {
        match &mut self.replica.role {
            Part::Master(master) => {
                if let Some(oldest) = master.link_up(now.mono, link, peer) {
                    self.refuse_link(now.mono, oldest, &HaRefused::TooManyStrangers, out);
                }
            }
            Part::Slave(slave) => {
                if slave.link_up(now.mono, link, peer, &self.log) {
                    tracing::debug!(master = %peer, at = %self.log.appended(), "connected to the master");
                } else {
                    out.effects.push(Effect::LinkClose(link));
                }
            }
        }
    }

    /// The link to the master did not come about.
    pub(crate) fn handle_link_failed(&mut self, now: Now, address: SocketAddr, why: &str, _out: &mut Output) {
        if let Part::Slave(slave) = &mut self.replica.role {
            slave.link_failed(now.mono);
            if self.replica.said.is_trouble_due(now.mono, UNREACHABLE, None) {
                tracing::warn!(master = %address, "no connection to the master: {why}; it is tried again and again");
            }
        }
    }

    /// A link is gone.
    pub(crate) fn handle_link_down(&mut self, now: Now, link: LinkId, out: &mut Output) {
        match &mut self.replica.role {
            Part::Master(master) => {
                if master.link_down(link) {
                    tracing::warn!(target: BY_STRANGERS, "a slave in sync is gone");
                }
            }
            Part::Slave(slave) => {
                // One that was left has closed it, and was said to be left.
                if slave.link_down(now.mono, link) && self.replica.said.is_trouble_due(now.mono, GONE, None) {
                    tracing::warn!("the connection to the master is gone");
                }
            }
        }
        self.progress(now, out);
    }

    /// Bytes have come over a link.
    pub(crate) fn handle_link_bytes(&mut self, now: Now, link: LinkId, bytes: &[u8], out: &mut Output) {
        let Replica { role, epochs, .. } = &mut self.replica;
        match role {
            Part::Master(master) => match master.receive(now.mono, link, bytes, &self.log, epochs.table()) {
                Ok(None) => {}
                Ok(Some((older, why))) => self.refuse_link(now.mono, older, &why, out),
                Err(why) => self.refuse_link(now.mono, link, &why, out),
            },
            // What is stored now was heard before the order for the next life.
            Part::Slave(_) if self.next_life.is_some() => {}
            Part::Slave(slave) => {
                let received = slave.receive(now.mono, link, bytes, &mut self.log, epochs);
                out.effects.extend(slave.poll_block().map(Effect::Fetch));
                self.leave_master(now.mono, received, out);
            }
        }
        let has_answer = match &self.replica.role {
            Part::Master(master) => master.has_answer(),
            Part::Slave(slave) => slave.has_answer(),
        };
        if has_answer {
            self.mend(now, out);
        }
        self.progress(now, out);
    }

    /// Goes on with what is damaged in the log, if a replica can be asked.
    pub(super) fn mend(&mut self, now: Now, out: &mut Output) {
        if !self.log.has_to_mend() || self.next_life.is_some() {
            return;
        }
        match &mut self.replica.role {
            Part::Master(master) => master.mend(now.mono, &mut self.log),
            Part::Slave(slave) => slave.mend(now.mono, &mut self.log),
        }
        self.ask_ahead(out);
    }

    /// Whether a link is to be read.
    #[must_use]
    pub(crate) fn poll_link_input(&self, link: LinkId) -> bool {
        match &self.replica.role {
            Part::Master(_) => true,
            Part::Slave(slave) => !self.is_ending() && slave.wants_input(link, &self.replica.epochs),
        }
    }

    /// The links that have something to send.
    pub(crate) fn poll_links(&self, now: Now) -> impl Iterator<Item = LinkId> {
        let (master, slave) = match &self.replica.role {
            Part::Master(master) => (Some(master), None),
            Part::Slave(slave) => (None, Some(slave)),
        };
        let of_master = master.into_iter().flat_map(move |master| master.poll_output(now.mono, &self.log));
        of_master.chain(slave.and_then(move |slave| slave.poll_output(now.mono, &self.log)))
    }

    /// Appends what a link is to be sent now to an empty buffer, [`crate::limits::HA_SEND_BYTES`] and one header at most, and lets it grow no
    /// further.
    pub(crate) fn fill_link(&mut self, now: Now, link: LinkId, buffer: &mut BytesMut, out: &mut Output) {
        match &mut self.replica.role {
            Part::Master(master) => {
                match master.output(now.mono, link, &mut self.log, self.replica.epochs.table(), buffer) {
                    Ok(block) => out.effects.extend(block.map(Effect::Fetch)),
                    Err(why) => self.refuse_link(now.mono, link, &why, out),
                }
            }
            Part::Slave(slave) => {
                let block = slave.output(now.mono, link, &mut self.log, buffer);
                out.effects.extend(block.map(Effect::Fetch));
            }
        }
        self.ask_ahead(out);
    }

    /// Closes the link to a master that was left: the next one begins where the log ends.
    fn leave_master(&mut self, now: MonoNs, result: Result<(), Box<Left>>, out: &mut Output) {
        let Err(left) = result else { return };
        let Left { link, master, why, cut } = *left;
        match why {
            SlaveError::Classic => tracing::debug!("the master speaks the classic stream"),
            _ if !self.replica.said.is_trouble_due(now, LEFT, Some(why.kind())) => {}
            _ => tracing::warn!(?master, "the master is left: {why}"),
        }
        out.effects.extend(link.map(Effect::LinkClose));
        // Who gives this shard another role decides what becomes of its log.
        if let Some(at) = cut.filter(|_| !self.is_ending()) {
            let life = Life { end_max: Some(at), ..self.life };
            self.next_life = Some(life);
            out.effects.push(Effect::BeginLife(life));
        }
    }

    pub(super) fn tick_replica(&mut self, now: Now, out: &mut Output) {
        self.replica.clock = now;
        match &mut self.replica.role {
            Part::Master(master) => {
                for (link, why) in master.tick(now.mono, self.log.appended()) {
                    self.refuse_link(now.mono, link, &why, out);
                }
                self.note_in_sync();
                self.say_held_back(now.mono);
                self.tell_held_back(now, out);
            }
            Part::Slave(slave) => {
                let address = slave.poll_connect(now.mono, &mut self.log, &self.replica.epochs);
                out.effects.extend(address.map(Effect::LinkConnect));
                out.effects.extend(slave.poll_block().map(Effect::Fetch));
                let heard = slave.check_silence(now.mono);
                self.leave_master(now.mono, heard, out);
                self.replica.said.settle(now.mono);
            }
        }
        self.mend(now, out);
        self.write_epochs(now.mono, out);
    }

    /// The control plane says where the master's replication port is.
    pub(super) fn master_found(&mut self, now: Now, address: Option<SocketAddr>, out: &mut Output) {
        if let Part::Slave(slave) = &mut self.replica.role {
            if let Some((followed, named)) = slave.proven().zip(address).filter(|(followed, named)| followed != named) {
                tracing::warn!(target: BY_STRANGERS, %followed, %named, "another is named as the master than the one that was followed last: it has moved, or somebody claims its place; only a master with this log is followed");
            }
            out.effects.extend(slave.master_found(now.mono, address).map(Effect::LinkClose));
            self.tick_replica(now, out);
        }
    }

    /// Stores what the master has sent, and bounds what consumers see.
    pub(super) fn progress_replica(&mut self, now: Now, out: &mut Output) {
        let Replica { role, epochs, .. } = &mut self.replica;
        let (bound, stored) = match role {
            Part::Master(master) => (master.is_waited_for().then(|| master.confirm(self.log.promised())), Ok(())),
            // The log is being written to its end, and grows no more.
            Part::Slave(slave) if self.next_life.is_some() => (slave.master_confirm(), Ok(())),
            Part::Slave(slave) => {
                let stored = slave.store(now.mono, &mut self.log, epochs);
                out.effects.extend(slave.poll_block().map(Effect::Fetch));
                (slave.master_confirm(), stored)
            }
        };
        self.leave_master(now.mono, stored, out);
        // What was stored may have brought the log to the next reign of its master, of which nothing is stored before the file has it.
        self.write_epochs(now.mono, out);
        self.tell_followed(now, out);
        // Consumers have seen what was confirmed: it does not go back.
        let confirm = self.log.confirm();
        self.log.set_confirm_max(bound.map(|bound| bound.max(confirm)));
        assert!(confirm <= self.log.confirm(), "the confirm offset went back from {confirm} to {}", self.log.confirm());
    }

    /// The newest reign that the log has heard of.
    pub(super) fn newest_epoch(&self) -> Option<Epoch> {
        self.replica.epochs.table().last().map(|entry| entry.epoch)
    }

    /// What this slave's master has not, if that keeps the slave from following.
    #[must_use]
    pub(crate) fn view_surplus(&self) -> Option<Surplus> {
        match &self.replica.role {
            Part::Master(_) => None,
            Part::Slave(slave) => slave.surplus(),
        }
    }

    /// An operator gives it up, from this offset on.
    pub(super) fn give_up(&mut self, from: LogOffset) {
        if let Part::Slave(slave) = &mut self.replica.role {
            slave.give_up(from);
        }
    }

    /// Tells the control plane from whom tables may be taken. What a master had no time to tell is taken from the log as soon as it is gone.
    fn tell_followed(&mut self, now: Now, out: &mut Output) {
        let Part::Slave(slave) = &self.replica.role else { return };
        let master = slave.followed();
        if self.replica.told == Some(master) {
            return;
        }
        self.replica.told = Some(master);
        let address = slave.proven();
        self.replica.said.followed_since = master.map(|_| now.mono);
        if master.is_some() {
            self.replica.epochs.note_followed(address);
            self.replica.epochs.note_ahead(BTreeSet::new());
            if std::mem::take(&mut self.replica.said.is_trouble_said) {
                tracing::info!(target: BY_STRANGERS, master = ?address, at = %self.log.appended(), "the master is followed");
            }
        }
        out.effects.push(Effect::Control(ToControl::Follows { shard: self.settings.shard, master }));
        self.adopt_topics(now, out);
    }

    /// By what slaves know this master.
    pub(super) fn own_reign(&self) -> Option<MasterLog> {
        let epochs = self.replica.epochs.table();
        let is_master = matches!(self.replica.role, Part::Master(_));
        epochs.last().filter(|_| is_master).map(|last| MasterLog::Named { log: epochs.log(), reign: last.id })
    }

    /// Whether this is a slave whose master is there: its stream runs.
    pub(super) fn follows_master(&self) -> bool {
        matches!(&self.replica.role, Part::Slave(slave) if slave.is_following())
    }

    /// Whether this is a master that slaves follow.
    pub(super) fn is_followed(&self) -> bool {
        matches!(&self.replica.role, Part::Master(master) if master.slaves(self.log.appended()).next().is_some())
    }

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

    /// The end of what all replicas in sync have, if a slave is among them.
    pub(super) fn replicated(&self) -> Option<LogOffset> {
        match &self.replica.role {
            Part::Master(master) if master.in_sync_count() > 1 => Some(self.log.confirm()),
            _ => None,
        }
    }

    /// Who has this log is remembered for the next start; while nothing is stored yet, the last start's are waited for. So is who has more of it: a
    /// start of this master while that one is away decides nothing.
    fn note_in_sync(&mut self) {
        let held_back = self.holds_back();
        let Replica { role: Part::Master(master), epochs, .. } = &mut self.replica else { return };
        epochs.note_ahead(if held_back { master.ahead() } else { BTreeSet::new() });
        epochs.note_holders(master.holders());
        if !held_back {
            epochs.note_in_sync(master.in_sync_slaves());
            epochs.end_copy();
        }
    }

    /// Whether nothing at all is to be stored before slaves have said how far they are, or an operator has decided: what is stored would part the
    /// two logs.
    pub(super) fn holds_back(&self) -> bool {
        let begun = self.replica.epochs.table().last().map_or(LogOffset(0), |last| last.start);
        matches!(&self.replica.role, Part::Master(master) if master.holds_back(begun, &self.log))
    }

    /// Whether fewer replicas are in sync than `minInSyncReplicas` demands.
    pub(super) fn lacks_replicas(&self) -> bool {
        matches!(&self.replica.role, Part::Master(master) if !master.is_enough_in_sync())
    }

    /// A block was read: slaves that wait for it go on, and a slave that compares its log with its master's.
    pub(super) fn unblock_replicas(&mut self, block: BlockId) {
        match &mut self.replica.role {
            Part::Master(master) => master.unblock(block),
            Part::Slave(slave) => slave.unblock(block),
        }
    }

    /// Who replicates what, for those who ask.
    #[must_use]
    pub(crate) fn view_replicas(&self) -> ReplicaStatus {
        let role = self.life.role;
        let (appended, confirm, clock) = (self.log.appended(), self.log.confirm(), self.replica.clock);
        let unix = |at: MonoNs| {
            let ago_ms = i64::try_from(clock.mono.ms_since(at)).unwrap_or(i64::MAX);
            UnixMs(clock.unix.0.saturating_sub(ago_ms))
        };
        let log = self.replica.epochs.table().log();
        let nobody = ReplicaStatus {
            role,
            log,
            slaves: Vec::new(),
            refused: Vec::new(),
            ahead: BTreeSet::new(),
            master: None,
            in_sync_count: 0,
            confirm,
        };
        match &self.replica.role {
            Part::Master(master) => ReplicaStatus {
                slaves: master.slaves(appended).collect(),
                refused: master.refused().collect(),
                ahead: if self.holds_back() { master.ahead() } else { BTreeSet::new() },
                in_sync_count: master.in_sync_count(),
                ..nobody
            },
            Part::Slave(slave) => ReplicaStatus { master: slave.status(unix), ..nobody },
        }
    }

    /// The write of a generation of the epochs has ended.
    pub(crate) fn handle_epochs_written(
        &mut self,
        now: Now,
        generation: u64,
        result: Result<(), IoError>,
        out: &mut Output,
    ) {
        let is_new_trouble = self.replica.epochs.handle_written(now.mono, generation, result.is_ok());
        if let Some(error) = result.err().filter(|_| is_new_trouble) {
            tracing::warn!(%error, "the epochs were not written; until they are nothing of the new epoch is stored");
        }
        self.progress(now, out);
    }

    fn write_epochs(&mut self, now: MonoNs, out: &mut Output) {
        if let Some((generation, text)) = self.replica.epochs.poll_write(now) {
            out.effects.push(Effect::WriteEpochs { generation, text: Bytes::from(text) });
        }
    }
}
