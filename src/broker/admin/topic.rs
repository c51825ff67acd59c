//! Topics made, changed, deleted and listed by tools: 17, 18, 215, 21, 351, 305.

use super::super::ack::Ticket;
use super::super::store::NotStored;
use super::super::topic::{BATCH_QUEUES, Topic, has_inner_batches, perm, plain_config};
use super::super::{Asked, Broker, Effect, Handled, Output, Refusal, Table};
use super::attributes;
use crate::letter::ToControl;
use crate::model::{LogOffset, Now};
use crate::protocol::body::{TablePlace, TopicConfig, TopicConfigList, TopicList};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{LIGHT_QUEUE, PopOrigin, check_topic, is_dlq_topic, is_retry_topic, is_system_topic};
use crate::protocol::reply::Reply;
use crate::protocol::request::CreateTopicRequest;

impl Broker {
    /// UPDATE_AND_CREATE_TOPIC 17.
    pub(in crate::broker) fn update_topic(
        &mut self,
        asked: &Asked,
        request: &CreateTopicRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let mut config = request.config.clone();
        self.check_makeable(config.name.as_str())?;
        let known = self.topics.get(config.name.as_str()).map(|topic| &topic.config.attributes);
        config.attributes = attributes::of_topic(known, &request.attributes)?;
        check_batches(&config)?;
        let ticket = self.create_topics(asked.now, vec![config], false, out)?;
        self.confirm_change(asked, LogOffset(0), ticket, out);
        Ok(Handled::Done)
    }

    /// UPDATE_AND_CREATE_TOPIC_LIST 18: all or none.
    pub(in crate::broker) fn update_topics(
        &mut self,
        asked: &Asked,
        list: &TopicConfigList,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let mut configs = list.topics.clone();
        for config in &mut configs {
            self.check_makeable(config.name.as_str())?;
            let known = self.topics.get(config.name.as_str()).map(|topic| &topic.config.attributes);
            config.attributes = attributes::of_topic(known, &attributes::changes(&config.attributes)?)?;
            check_batches(config)?;
        }
        let ticket = self.create_topics(asked.now, configs, false, out)?;
        self.confirm_change(asked, LogOffset(0), ticket, out);
        Ok(Handled::Done)
    }

    /// RocketMQ says success to a topic with the name of a light queue, and makes none.
    fn check_makeable(&self, name: &str) -> Result<(), Refusal> {
        if self.is_light(name) && self.topics.get(name).is_none() {
            let remark = format!("[{name}] is the name of a light queue, which no topic stands for");
            return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
        }
        check_changeable(name)
    }

    /// DELETE_TOPIC_IN_BROKER 215. Queues, offsets, locks and holds go with the topic.
    pub(in crate::broker) fn delete_topic(
        &mut self,
        asked: &Asked,
        name: &str,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let is_topic = self.topics.get(name).is_some();
        let is_light_queue = !is_topic && self.is_light(name) && self.log.find_queue(name, LIGHT_QUEUE).is_some();
        if !is_light_queue {
            check_changeable(name)?;
        }
        // RocketMQ deletes what is not there with success: tools delete on every broker of a cluster.
        if !is_topic && !is_light_queue {
            let ticket = self.gate_of_removals(asked.now);
            self.write_changes(out);
            self.confirm_change(asked, LogOffset(0), ticket, out);
            return Ok(Handled::Done);
        }
        if self.holds_back() {
            return Err(NotStored::HeldBack.into());
        }
        if !is_topic {
            // No table has it, and no route.
            self.forget_topic(asked.now, name);
            self.log.remove_topic(name);
            self.log.flush_soon();
            let ticket = self.gate_of_removals(asked.now);
            self.write_changes(out);
            self.confirm_change(asked, self.log.appended(), ticket, out);
            return Ok(Handled::Done);
        }
        self.check_unwritten()?;
        // What groups popped and did not acknowledge would come back in a topic of the same name.
        let retries = self.offsets.groups_of(name).flat_map(|group| {
            [PopOrigin::Retry, PopOrigin::SecondRetry].map(|origin| origin.topic(group.as_str(), name))
        });
        let retries: Vec<String> = retries.filter(|retry| self.topics.get(retry).is_some()).collect();
        for retry in retries {
            self.remove_topic(asked.now, &retry, out);
        }
        let ticket = self.remove_topic(asked.now, name, out);
        self.write_changes(out);
        self.confirm_change(asked, self.log.appended(), Some(ticket), out);
        Ok(Handled::Done)
    }

    /// Removes a topic that is there. What is to be waited for until it is gone from tables, log and name servers.
    fn remove_topic(&mut self, now: Now, name: &str, out: &mut Output) -> Ticket {
        self.forget_topic(now, name);
        self.log.remove_topic(name);
        self.forget_pops_of(now, name);
        let generation = self.persistence.change(Table::Topics);
        let ticket = self.acks.make_gate(now.mono, Some((Table::Topics, generation)), true);
        self.acks.wait_for_removals(ticket);
        self.wait_for_offsets(ticket);
        self.log.flush_soon();
        out.effects.push(Effect::Control(ToControl::TopicDeleted {
            shard: self.settings.shard,
            ticket: ticket.0,
            topic: name.to_owned(),
            version: self.topics.version,
        }));
        ticket
    }

    /// GET_ALL_TOPIC_CONFIG 21: all of them in one answer, which is what clients that page accept as the last page.
    pub(in crate::broker) fn all_topics(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        self.tell_whole_table(asked, TablePlace::FIRST, Some(("totalTopicNum", self.topics.len())), out)
    }

    /// What an answer waits for that says that a topic is gone: one that was removed a moment ago may not be so on the disk yet.
    pub(super) fn gate_of_removals(&mut self, now: Now) -> Option<Ticket> {
        let generation = self.persistence.generation(Table::Topics);
        let is_written = self.persistence.flushed(Table::Topics) >= generation;
        if is_written && self.log.has_flushed_removals() && self.unwritten_offsets().is_none() {
            return None;
        }
        let ticket = self.acks.make_gate(now.mono, (!is_written).then_some((Table::Topics, generation)), false);
        self.acks.wait_for_removals(ticket);
        self.wait_for_offsets(ticket);
        self.log.flush_soon();
        Some(ticket)
    }

    /// Lets the answer behind this ticket wait until what was removed of the offsets is on the disk too: a start would have them again, and a group
    /// would pass over the first messages of a topic that was made anew.
    pub(super) fn wait_for_offsets(&mut self, ticket: Ticket) {
        if let Some(generation) = self.unwritten_offsets() {
            self.acks.wait_for_table(ticket, Table::ConsumerOffsets, generation);
        }
    }

    /// The generation that holds all changes of offsets so far, if it is not on the disk.
    fn unwritten_offsets(&mut self) -> Option<u64> {
        if self.offsets.take_dirty() {
            self.persistence.change(Table::ConsumerOffsets);
        }
        let generation = self.persistence.generation(Table::ConsumerOffsets);
        (self.persistence.flushed(Table::ConsumerOffsets) < generation).then_some(generation)
    }

    /// GET_TOPIC_CONFIG 351.
    pub(in crate::broker) fn one_topic(
        &mut self,
        asked: &Asked,
        name: &str,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let body = if self.is_light_queue(name) {
            plain_config(name, 1, perm::READ | perm::WRITE).encode()
        } else {
            self.known_topic(name)?.config.encode()
        };
        self.reply(asked, &Reply::body(&body), out);
        Ok(Handled::Done)
    }

    /// GET_SYSTEM_TOPIC_LIST_FROM_BROKER 305.
    pub(in crate::broker) fn system_topics(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        let (cluster, broker) = (self.settings.cluster.as_str(), self.settings.name.as_str());
        let is_system = |name: &str| is_system_topic(name) || name == cluster || name == broker;
        let topics = self.topics.sorted().into_iter().filter(|topic| is_system(topic.name.as_str()));
        let list = TopicList { topics: topics.map(|topic| topic.name.clone()).collect(), broker_address: None };
        self.reply(asked, &Reply::body(&list.encode()), out);
        Ok(Handled::Done)
    }

    pub(super) fn known_topic(&self, name: &str) -> Result<&Topic, Refusal> {
        self.topics
            .get(name)
            .ok_or_else(|| Refusal::new(ResponseCode::TopicNotExist, format!("No topic in this broker. topic: {name}")))
    }
}

/// Refuses batches where single messages are put again: who pops of a topic gets what its retry topic has, and could not send back one of a batch.
fn check_batches(config: &TopicConfig) -> Result<(), Refusal> {
    let name = config.name.as_str();
    if has_inner_batches(config) && (is_retry_topic(name) || is_dlq_topic(name)) {
        let remark = format!(
            "the topic[{name}] is for messages that come again, one by one: queue.type {BATCH_QUEUES} is not for it"
        );
        return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
    }
    Ok(())
}

fn check_changeable(name: &str) -> Result<(), Refusal> {
    check_topic(name)?;
    if is_system_topic(name) {
        let remark = format!("The topic[{name}] is conflict with system topic.");
        return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
    }
    Ok(())
}
