//! What tools ask to be thrown away: 306, 316, 329.
//!
//! RocketMQ's broker looks for such things at some hours; these requests are for those who do not want to wait.

use std::collections::BTreeSet;

use super::super::{Asked, Broker, Handled, Output, Refusal};
use crate::limits::TOPICS_CLEANED_MAX;
use crate::model::TopicName;
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{is_light, is_system_topic};
use crate::protocol::reply::Reply;

impl Broker {
    /// CLEAN_EXPIRED_CONSUMEQUEUE 306. Index files whose messages are gone go with the next ticks, and queues forget their front then, whoever asks.
    pub(in crate::broker) fn clean_queues(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        self.reply(asked, &Reply::new(ResponseCode::Success), out);
        Ok(Handled::Done)
    }

    /// CLEAN_UNUSED_TOPIC 316: empties the queues of topics that have messages and no settings, as a store has whose `topics.json` is older than its
    /// log.
    pub(in crate::broker) fn clean_topics(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        let queues = self.log.filled_queues().map(|(topic, _)| topic);
        let is_unused = |topic: &&TopicName| {
            let name = topic.as_str();
            self.topics.get(name).is_none() && !is_system_topic(name) && !is_light(name)
        };
        let unused: BTreeSet<TopicName> = queues.filter(is_unused).cloned().collect();
        for topic in unused.iter().take(TOPICS_CLEANED_MAX) {
            tracing::warn!(%topic, "an operator removes the messages of a topic that is not there");
            self.log.remove_topic(topic.as_str());
        }
        if unused.len() > TOPICS_CLEANED_MAX {
            let left = unused.len() - TOPICS_CLEANED_MAX;
            let remark = format!("{TOPICS_CLEANED_MAX} unused topics were removed, {left} are left: ask again");
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        }
        let ticket = self.gate_of_removals(asked.now);
        self.write_changes(out);
        self.confirm_change(asked, self.log.appended(), ticket, out);
        Ok(Handled::Done)
    }

    /// DELETE_EXPIRED_COMMITLOG 329: what is older than `fileReservedTime` goes from the next tick on, and not only at `deleteWhen`.
    pub(in crate::broker) fn delete_expired(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        self.log.delete_expired();
        self.reply(asked, &Reply::new(ResponseCode::Success), out);
        Ok(Handled::Done)
    }
}
