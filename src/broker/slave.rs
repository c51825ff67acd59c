//! A slave beside its log: its master's tables, what it refuses, and the commits that it gives back.
//!
//! A slave's tables are its master's. Consumers commit to it only while their route has no master; these commits are kept, told to a master
//! that starts (43 with `keptOnly`), and given back to one that has returned without asking (15). Source of codes and remarks: RocketMQ
//! `SendMessageProcessor.rejectRequest`, `SlaveSynchronize`, and of 4.9 and 5.0 `AdminBrokerProcessor.validateSlave`: later ones accept what the
//! next table of the master undoes.

use std::collections::BTreeMap;

use super::persist::Table;
use super::pull::HeldFor;
use super::store::busy;
use super::{Broker, Effect, Output, Refusal};
use crate::letter::{KeptOffsets, MasterTables, OffsetCommit, ToControl};
use crate::limits::{GIVEN_BACK_MAX, TOPICS_CLEANED_MAX};
use crate::log::QueueIndex;
use crate::model::{GroupName, LogOffset, Now, Role, TopicName};
use crate::protocol::body::{self, TableChange, TablePlace};
use crate::protocol::code::{OnSlave, RequestCode, ResponseCode};
use crate::protocol::message::is_light;

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

    /// The same of the record at `at`, which is damaged here: it may have been looked for wherever it was.
    pub(super) fn may_be_whole_elsewhere(&self, at: LogOffset) -> bool {
        self.may_have_replica() && !self.log.is_lost(at)
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

    /// Takes over what the master's tables have, or what has changed of them.
    pub(super) fn take_master_tables(&mut self, now: Now, told: MasterTables, out: &mut Output) {
        if !self.is_slave() {
            return;
        }
        match told {
            MasterTables::Part { behind, until, part } => self.take_part(now, &behind, until.as_ref(), part, out),
            MasterTables::Changes(changes) => {
                changes.into_iter().for_each(|change| self.take_change(now, change, out));
            }
            MasterTables::Whole(set_back) => self.offsets.follow_set_back(set_back.unwrap_or_default()),
            MasterTables::Followed => self.give_back(self.offsets.to_give_back(GIVEN_BACK_MAX), out),
        }
        self.write_changes(out);
    }

    /// Takes over all that a table has in a range: what is there and was not told is gone.
    fn take_part(
        &mut self,
        now: Now,
        behind: &TablePlace,
        until: Option<&TablePlace>,
        part: TableChange,
        out: &mut Output,
    ) {
        match (behind, until, part) {
            (TablePlace::Topics(behind), until, TableChange::Topics(told, _)) => {
                let until = if let Some(TablePlace::Topics(until)) = until { until.as_ref() } else { None };
                let known = self.topics.between(behind.as_ref(), until).map(|topic| &topic.name);
                let gone = known.filter(|name| !told.topics.contains_key(*name)).cloned().collect();
                self.take_topics(now, told, gone, out);
            }
            (TablePlace::Groups(behind), until, TableChange::Groups(told, _)) => {
                let until = if let Some(TablePlace::Groups(until)) = until { until.as_ref() } else { None };
                let known = self.groups.between(behind.as_ref(), until);
                let gone: Vec<GroupName> = known.filter(|name| !told.groups.contains_key(*name)).cloned().collect();
                self.take_groups(told, &gone);
            }
            (TablePlace::Offsets(behind), until, TableChange::ConsumerOffsets(told, _)) => {
                let until = if let Some(TablePlace::Offsets(until)) = until { until.as_ref() } else { None };
                let commits = self.offsets.take_part(behind.as_ref(), until, &told);
                self.give_back(commits, out);
            }
            (TablePlace::Delays, _, change @ TableChange::DelayOffsets(_)) => self.take_change(now, change, out),
            (behind, _, _) => tracing::warn!(%behind, "the master told a part of another table than it was asked for"),
        }
    }

    fn take_change(&mut self, now: Now, change: TableChange, out: &mut Output) {
        match change {
            TableChange::Topics(changed, removed) => self.take_topics(now, changed, removed, out),
            TableChange::Groups(changed, removed) => self.take_groups(changed, &removed),
            TableChange::ConsumerOffsets(changed, removed) => self.offsets.take_changed(&changed, &removed),
            TableChange::DelayOffsets(told) => {
                // What is not confirmed may be cut off yet.
                let durable = self.durable_end();
                if self.delays.follow(told, durable) {
                    self.persistence.change(Table::DelayOffsets);
                }
            }
        }
    }

    fn take_groups(&mut self, told: body::GroupTable, removed: &[GroupName]) {
        if self.groups.take(told, removed) {
            self.persistence.change(Table::Groups);
        }
    }

    fn give_back(&self, commits: Vec<OffsetCommit>, out: &mut Output) {
        if !commits.is_empty() {
            out.effects.push(Effect::Control(ToControl::GiveBack { shard: self.settings.shard, commits }));
        }
    }

    fn take_topics(&mut self, now: Now, told: body::TopicTable, mut removed: Vec<TopicName>, out: &mut Output) {
        let mut changed = told.topics;
        changed.retain(|name, config| self.topics.get(name.as_str()).is_none_or(|topic| topic.config != *config));
        removed.retain(|name| self.topics.get(name.as_str()).is_some());
        if changed.is_empty() && removed.is_empty() && self.topics.version == told.version {
            return;
        }
        for name in &removed {
            self.forget_topic(now, name.as_str());
        }
        let changed: Vec<body::TopicConfig> = changed.into_values().collect();
        for config in changed.clone() {
            let name = config.name.clone();
            if let Err(refusal) = self.topics.put(now.unix, config) {
                tracing::warn!(topic = %name, why = %refusal.remark, "a topic of the master was not created here");
            }
        }
        self.topics.version = told.version;
        // What this table lacks is looked for again when its master is lost.
        self.adopted_until = LogOffset(0);
        self.persistence.change(Table::Topics);
        if removed.len() > TOPICS_CLEANED_MAX {
            return self.tell_all_topics(now, out);
        }
        let (shard, version) = (self.settings.shard, told.version);
        let known = changed.into_iter().filter(|config| self.topics.get(config.name.as_str()).is_some());
        let topics: Vec<body::TopicConfig> = known.collect();
        if !topics.is_empty() {
            let ticket = self.acks.make_gate(now.mono, None, true).0;
            let (spread, full) = (false, false);
            out.effects.push(Effect::Control(ToControl::TopicsChanged {
                shard,
                ticket,
                topics,
                version,
                spread,
                full,
            }));
        }
        for name in removed {
            let ticket = self.acks.make_gate(now.mono, None, true).0;
            let topic = name.as_str().to_owned();
            out.effects.push(Effect::Control(ToControl::TopicDeleted { shard, ticket, topic, version }));
        }
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
        for (topic, queue) in self.log.filled_queues() {
            // No topic stands for a light queue.
            if is_light(topic.as_str()) || self.topics.get(topic.as_str()).is_some() {
                continue;
            }
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
            match self.holds_of(queue) {
                // It may be sent to as before.
                light @ HeldFor::Light(_) => self.holds.hurry_queue(light),
                held => self.holds.end_queue(held),
            }
            self.pops.end_queue(queue);
        }
        self.offsets.remove_topic(name);
        self.locks.remove_topic(name);
        self.statistics.forget_topic(now.mono, name);
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
