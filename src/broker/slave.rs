//! A slave beside its log: its master's tables, what it refuses, and the commits that it gives back.
//!
//! A slave's tables are its master's. Consumers commit to it only while their route has no master; these commits are kept, told to a master
//! that starts (43 with `keptOnly`), and given back to one that has returned without asking (15). Source of codes and remarks: RocketMQ
//! `SendMessageProcessor.rejectRequest`, `SlaveSynchronize`, and of 4.9 and 5.0 `AdminBrokerProcessor.validateSlave`: later ones accept what the
//! next table of the master undoes.

use std::collections::{BTreeMap, BTreeSet};

use super::persist::Table;
use super::store::busy;
use super::{Broker, Effect, Output, Refusal};
use crate::letter::{KeptOffsets, Metadata, ToControl};
use crate::log::QueueIndex;
use crate::model::{LogOffset, Now, Role, TopicName};
use crate::protocol::body;
use crate::protocol::code::{OnSlave, RequestCode, ResponseCode};

impl Broker {
    pub(super) fn is_slave(&self) -> bool {
        !self.life.role.is_master()
    }

    /// Whether a message that is damaged here may be whole elsewhere: then nobody is told to go on without it. A node that never had a replica
    /// has nobody to wait for.
    pub(super) fn may_have_replica(&self) -> bool {
        // What such a master has acknowledged was at a slave; and whoever gives roles has others to give them to.
        let was_promised = self.life.role == Role::SyncMaster && self.settings.replica.in_sync_replicas > 1;
        let were_in_sync = !self.replica.epochs.table().in_sync().is_empty();
        self.is_slave() || self.knows_slaves || were_in_sync || was_promised || self.life.epoch.is_some()
    }

    /// Whether this broker answers a request that slaves treat so. A master answers all.
    pub(super) fn check_role(&self, code: RequestCode, on_slave: OnSlave) -> Result<(), Refusal> {
        if !self.is_slave() {
            return Ok(());
        }
        match on_slave {
            OnSlave::Answers => Ok(()),
            OnSlave::Busy => Err(busy()),
            OnSlave::Refuses => {
                let remark = match code {
                    RequestCode::InvokeBrokerToResetOffset => "Can not reset offset in slave broker",
                    _ => {
                        "Can't modify topic or subscription group from slave broker, please execute it from master broker."
                    }
                };
                Err(Refusal::new(ResponseCode::SystemError, remark))
            }
            OnSlave::Unavailable => {
                Err(Refusal::new(ResponseCode::SlaveNotAvailable, "this broker is a slave, ask its master"))
            }
        }
    }

    /// Takes over what has changed of the master's tables.
    pub(super) fn take_metadata(&mut self, now: Now, metadata: Metadata, out: &mut Output) {
        if !self.is_slave() {
            return;
        }
        if let Some(topics) = metadata.topics {
            self.take_topics(now, topics, out);
        }
        if let Some(groups) = metadata.groups
            && self.groups.replace(groups)
        {
            self.persistence.change(Table::Groups);
        }
        if let Some(told) = metadata.delay_offsets
            && self.delays.follow(told, self.log.flushed())
        {
            self.persistence.change(Table::DelayOffsets);
        }
        if let Some(offsets) = metadata.offsets {
            let commits = self.offsets.replace(&offsets);
            if !commits.is_empty() {
                out.effects.push(Effect::Control(ToControl::GiveBack { shard: self.settings.shard, commits }));
            }
        }
        self.write_changes(out);
    }

    fn take_topics(&mut self, now: Now, table: body::TopicTable, out: &mut Output) {
        let wanted: BTreeSet<&TopicName> = table.topics.keys().collect();
        let known = self.topics.sorted().into_iter().map(|topic| topic.name.clone());
        let gone: Vec<TopicName> = known.filter(|name| !wanted.contains(name)).collect();
        let is_same = |(name, config): (&TopicName, &body::TopicConfig)| {
            self.topics.get(name.as_str()).is_some_and(|topic| topic.config == *config)
        };
        if gone.is_empty() && table.topics.iter().all(is_same) && self.topics.version == table.version {
            return;
        }
        for name in gone {
            self.forget_topic(now, name.as_str());
        }
        for config in table.topics.into_values() {
            let name = config.name.clone();
            if let Err(refusal) = self.topics.put(now.unix, config) {
                tracing::warn!(topic = %name, why = %refusal.remark, "a topic of the master was not created here");
            }
        }
        self.topics.version = table.version;
        // What this table lacks is looked for again when its master is lost.
        self.adopted_until = LogOffset(0);
        self.persistence.change(Table::Topics);
        self.tell_all_topics(now, out);
    }

    /// A master may be lost a moment after it made a topic: its messages are here, its settings are not. They are guessed from the log, so
    /// that consumers can read on; the master's own replace them when it returns.
    pub(super) fn adopt_topics(&mut self, now: Now, out: &mut Output) {
        if !self.is_slave() || self.log.appended() == self.adopted_until || self.follows_master() {
            return;
        }
        if self.adopt_missing_topics(now) {
            self.tell_all_topics(now, out);
            self.write_changes(out);
        }
    }

    /// Makes the topics that the log has messages of and the table does not know. Whether there are any.
    pub(super) fn adopt_missing_topics(&mut self, now: Now) -> bool {
        self.adopted_until = self.log.appended();
        let mut missing: BTreeMap<TopicName, u32> = BTreeMap::new();
        for (topic, queue) in self.log.filled_queues().filter(|(topic, _)| self.topics.get(topic.as_str()).is_none()) {
            let count = missing.entry(topic.clone()).or_default();
            *count = queue.0.saturating_add(1).max(*count);
        }
        if missing.is_empty() {
            return false;
        }
        for (name, queues) in missing {
            tracing::warn!(topic = %name, queues, "the table of topics lacks one that has messages; its queues are taken from the log");
            if let Err(refusal) = self.topics.put(now.unix, body::TopicConfig::new(name.as_str(), queues)) {
                tracing::warn!(topic = %name, why = %refusal.remark, "and it was not created");
            }
        }
        self.persistence.change(Table::Topics);
        true
    }

    /// Tells the control plane of all topics.
    pub(super) fn tell_all_topics(&mut self, now: Now, out: &mut Output) {
        let ticket = self.acks.make_gate(now.mono, None, true);
        let topics = self.topics.sorted().into_iter().map(|topic| topic.config.clone()).collect();
        out.effects.push(Effect::Control(ToControl::TopicsChanged {
            shard: self.settings.shard,
            ticket: ticket.0,
            topics,
            version: self.topics.version,
            spread: false,
            full: true,
        }));
    }

    /// Removes a topic from the table, and its offsets, locks and holds with it; its messages stay in the log.
    pub(super) fn forget_topic(&mut self, now: Now, name: &str) {
        self.topics.remove(now.unix, name);
        let queues: Vec<QueueIndex> = self.log.queues_of(name).map(|(_, queue)| queue).collect();
        for queue in queues {
            self.holds.end_queue(queue);
        }
        self.offsets.remove_topic(name);
        self.locks.remove_topic(name);
        self.statistics.forget_topic(name);
    }

    /// A master that starts takes what a replica kept for it. Java's replica tells all that it has, ours what was committed there.
    pub(super) fn take_offsets(&mut self, now: Now, kept: KeptOffsets, out: &mut Output) {
        let KeptOffsets { log, offsets: mut told } = kept;
        if self.is_slave() {
            return;
        }
        let own = self.replica.epochs.table().log();
        if let Some(other) = log.filter(|log| *log != own) {
            if !told.offsets.is_empty() {
                tracing::warn!(broker = %self.settings.name, %other, %own, "offsets that were committed at a replica of another log are not taken");
            }
            return;
        }
        // A group may have come to be there while this master was away. Java's replica does not say so, and may tell of deleted groups.
        for (_, group) in told.kept.keys() {
            if let Err(refusal) = self.group_config(now, group.as_str(), out) {
                tracing::warn!(%group, why = %refusal.remark, "a group that consumed at a replica is not created here");
            }
        }
        told.offsets.retain(|(_, group), _| self.groups.get(group.as_str()).is_some());
        for ((topic, _), queues) in &mut told.offsets {
            queues.iter_mut().for_each(|(queue, offset)| *offset = self.end_of(topic.as_str(), *queue).min(*offset));
        }
        let moved = self.offsets.take_further(&told.offsets);
        if moved > 0 {
            tracing::info!(broker = %self.settings.name, moved, "took offsets that consumers committed on a replica while this master was away");
        }
    }
}
