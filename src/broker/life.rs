//! A life of a shard: what it is, from [`Broker::handle_start`] on, and how another one comes to follow.
//!
//! A role is no setting. The first life of a process is as the configuration has it ([`Life::first`]); each later one was asked for, by the
//! control plane ([`ToShard::Role`](crate::letter::ToShard::Role)) or by a slave whose log has left its master's. The broker asks its shell with
//! [`Effect::BeginLife`]; the shell lets the old life end ([`Broker::handle_end`]), opens the log as after a crash, and makes the next broker
//! from it. So a role never changes while a request, a write or a stream is under way.
//!
//! Who gives roles numbers the reigns: an order counts if its epoch is beyond all that this shard has heard of, in orders or in its log. An
//! older one comes too late and changes nothing.

use super::persist::Table;
use super::{Broker, Effect, Output};
use crate::config::NodeConfig;
use crate::letter::ToControl;
use crate::limits::{BROKER_ID_MAX, EPOCH_JUMP_MAX, EPOCH_MAX, ORDERED_EPOCH_MAX};
use crate::log::Log;
use crate::model::{BrokerId, Epoch, LogOffset, MonoNs, Now, QueueId, QueueOffset, Role};
use crate::said::BY_STRANGERS;

/// What a shard is, until its next life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Life {
    /// Its part in replication.
    pub role: Role,
    /// Its number among the replicas of its brokerName, by which a slave is known. A master is known as 0, whatever this is.
    pub broker_id: BrokerId,
    /// The reign it lives in: of a master its own. `None` if nobody numbers reigns; a master's is then the next one after those in its log.
    pub epoch: Option<Epoch>,
    /// Its log is to begin with no more than this.
    pub end_max: Option<LogOffset>,
}

/// Consumer offsets that were brought down at the start of a life, and are not on the disk yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct LoweredOffsets {
    /// Of their table.
    generation: u64,
    /// They found no room.
    pub(super) has_failed: bool,
}

impl Life {
    /// The first one of a process.
    #[must_use]
    pub fn first(config: &NodeConfig) -> Life {
        Life { role: config.role, broker_id: config.broker_id, epoch: None, end_max: None }
    }

    /// The brokerId under which clients and name servers know it.
    #[must_use]
    pub(crate) fn known_as(&self) -> BrokerId {
        if self.role.is_master() { BrokerId::MASTER } else { self.broker_id }
    }
}

impl Broker {
    /// The control plane says what this shard is from now on, in the reign `epoch`.
    pub(super) fn take_role(&mut self, now: Now, (role, broker_id, epoch): (Role, BrokerId, Epoch), out: &mut Output) {
        let current = self.next_life.unwrap_or(self.life);
        if role == Role::Slave && current == (Life { role, broker_id, ..self.life }) {
            // It stays what it is, and hears of its new master by itself.
            self.life.epoch = self.life.epoch.max(Some(epoch));
            self.replica.note_order();
            return;
        }
        // A slave whose log is about to be cut is one still.
        let end_max = current.end_max.filter(|_| role == Role::Slave && self.is_slave());
        let life = Life { role, broker_id, epoch: Some(epoch), end_max };
        if current == life {
            return;
        }
        if let Some(why) = self.why_not(&life) {
            tracing::warn!(target: BY_STRANGERS, shard = %self.settings.shard, %role, %epoch, "an order to become {role} changes nothing: {why}");
            return;
        }
        // Its end is said when it has come (`shard::life`).
        tracing::debug!(shard = %self.settings.shard, from = %self.life.role, to = %role, %epoch, "the role is to change");
        if self.is_slave() && role.is_master() && self.adopt_missing_topics(now) {
            // The last act of a slave: what its master did not live to tell is taken from the log.
            self.tell_all_topics(now, out);
            self.write_changes(out);
        }
        self.next_life = Some(life);
        out.effects.push(Effect::BeginLife(life));
    }

    /// The newest reign that this shard has heard of, in an order or in its log.
    pub(super) fn newest_order(&self) -> Option<Epoch> {
        let heard = [self.life.epoch, self.next_life.and_then(|next| next.epoch), self.newest_epoch()];
        heard.into_iter().flatten().max()
    }

    /// Why an order changes nothing.
    pub(super) fn why_not_ordered(&self, (role, broker_id, epoch): (Role, BrokerId, Epoch)) -> Option<&'static str> {
        self.why_not(&Life { role, broker_id, epoch: Some(epoch), end_max: None })
    }

    /// Why a shard does not begin such a life.
    fn why_not(&self, life: &Life) -> Option<&'static str> {
        if life.epoch <= self.newest_order() {
            return Some("a newer reign is known here");
        }
        // Slaves go as far, and whoever reigns next needs a number beyond.
        let newest = self.newest_order().map_or(EPOCH_MAX, |newest| newest.0.saturating_add(EPOCH_JUMP_MAX));
        if life.epoch.is_some_and(|epoch| epoch.0 > newest.min(ORDERED_EPOCH_MAX)) {
            return Some("its epoch is further beyond the newest reign that is known here than slaves believe");
        }
        if life.broker_id.0 > BROKER_ID_MAX {
            return Some("its brokerId is beyond 2147483647");
        }
        (life.role == Role::Slave && life.broker_id == BrokerId::MASTER)
            .then_some("a slave needs a brokerId of its own, from 1")
    }

    /// Whether this life is to end, for another one or for good: nothing more is taken from a master, and nobody but those who wait already gets
    /// anything stored. What becomes due meanwhile is the next life's: how far it had come could no longer be written.
    pub(super) fn is_ending(&self) -> bool {
        self.next_life.is_some() || self.is_stopping
    }

    /// The control plane is told what this shard is.
    pub(super) fn tell_life(&self, out: &mut Output) {
        let shard = self.settings.shard;
        out.effects.push(Effect::Control(ToControl::LifeBegan {
            shard,
            role: self.life.role,
            broker_id: self.life.known_as(),
        }));
    }

    /// A master's life begins, or a slave's whose log was cut: what a former master has told of consumers may speak of messages that did not come
    /// here. A consumer that went on from there would miss those that take their places.
    pub(super) fn lower_offsets(&mut self) {
        if self.is_slave() && self.life.end_max.is_none() {
            return;
        }
        let lowered = self.offsets.lower(|topic, queue| end_of(&self.log, topic, queue));
        if lowered > 0 {
            // Until that is on the disk nothing may be stored there: a start that finds the old file beside new messages would believe it.
            self.offsets.take_dirty();
            let generation = self.persistence.change(Table::ConsumerOffsets);
            self.lowered_offsets = Some(LoweredOffsets { generation, has_failed: false });
            tracing::warn!(shard = %self.settings.shard, lowered, "consumer offsets lay beyond the ends of their queues and were brought down to them");
        }
    }

    /// An append has ended. Whether the offsets are on the disk, or cannot be written: then clients are served, and nothing is stored.
    pub(super) fn note_lowered(&mut self, ok: bool) {
        let on_disk = self.persistence.flushed(Table::ConsumerOffsets);
        self.lowered_offsets = self.lowered_offsets.filter(|wanted| wanted.generation > on_disk);
        if let Some(lowered) = &mut self.lowered_offsets {
            lowered.has_failed |= !ok;
        }
    }

    /// Whether nothing may be stored before a table is on the disk.
    pub(super) fn awaits_tables(&self) -> bool {
        self.delays.holds_stores() || self.lowered_offsets.is_some()
    }

    /// Where a queue ends. Nothing was ever stored in one that is not known.
    pub(super) fn end_of(&self, topic: &str, queue: QueueId) -> QueueOffset {
        end_of(&self.log, topic, queue)
    }

    /// The life ends and another begins: the shell has read the last frame, and no more of the log becomes safe. Those who wait are answered: held
    /// pulls with nothing, messages that are stored here and not as safe as promised as such, for the next master may not have them.
    pub(crate) fn handle_end(&mut self, now: Now, out: &mut Output) {
        const EVERYTHING: MonoNs = MonoNs(u64::MAX);
        self.expire_gates(EVERYTHING, &mut out.outbox);
        self.release_acks(now.mono, &mut out.outbox);
        self.expire_acks(EVERYTHING, &mut out.outbox);
        while let Some(pull) = self.holds.pop_due(EVERYTHING) {
            self.end_hold(now.mono, &pull, out);
        }
        self.expire_pops(now, EVERYTHING, out);
    }
}

fn end_of(log: &Log, topic: &str, queue: QueueId) -> QueueOffset {
    log.find_queue(topic, queue).map_or(QueueOffset(0), |queue| log.bounds(queue).appended_max)
}
