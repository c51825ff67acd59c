//! Topics made, changed, deleted and listed by tools: 17, 18, 215, 21, 351, 305.

use std::collections::BTreeMap;

use super::super::topic::Topic;
use super::super::{Asked, Broker, Effect, Handled, Output, Refusal};
use super::tables::version_text;
use crate::letter::ToControl;
use crate::limits::TOPIC_ATTRIBUTES_MAX;
use crate::protocol::body::{TopicConfigList, TopicList};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{check_topic, is_system_topic};
use crate::protocol::reply::{ExtValue, Reply};
use crate::protocol::request::{AttributeChange, CreateTopicRequest, TableRequest};

/// Attributes of topics that RocketMQ knows, and whether they may be changed later. Source: `TopicAttributes`.
const ATTRIBUTES: [(&str, bool); 4] =
    [("queue.type", false), ("cleanup.policy", false), ("message.type", true), ("reserve.time", true)];

impl Broker {
    /// UPDATE_AND_CREATE_TOPIC 17.
    pub(in crate::broker) fn update_topic(
        &mut self,
        asked: &Asked,
        request: &CreateTopicRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let mut config = request.config.clone();
        check_changeable(config.name.as_str())?;
        let known = self.topics.get(config.name.as_str()).map(|topic| &topic.config.attributes);
        config.attributes = changed_attributes(known, &request.attributes)?;
        let ticket = self.create_topics(asked.now, vec![config], false, out)?;
        self.reply_behind(asked, ticket, &Reply::new(ResponseCode::Success), out);
        Ok(Handled::Done)
    }

    /// UPDATE_AND_CREATE_TOPIC_LIST 18: all or none.
    pub(in crate::broker) fn update_topics(
        &mut self,
        asked: &Asked,
        list: &TopicConfigList,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        for config in &list.topics {
            check_changeable(config.name.as_str())?;
        }
        let ticket = self.create_topics(asked.now, list.topics.clone(), false, out)?;
        self.reply_behind(asked, ticket, &Reply::new(ResponseCode::Success), out);
        Ok(Handled::Done)
    }

    /// DELETE_TOPIC_IN_BROKER 215. Queues, offsets, locks and holds go with the topic.
    pub(in crate::broker) fn delete_topic(
        &mut self,
        asked: &Asked,
        name: &str,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        check_changeable(name)?;
        // RocketMQ deletes what is not there with success: tools delete on every broker of a cluster.
        if self.topics.get(name).is_none() {
            self.reply(asked, &Reply::new(ResponseCode::Success), out);
            return Ok(Handled::Done);
        }
        self.forget_topic(asked.now, name);
        self.log.remove_topic(name);
        let generation = self.persistence.change(super::super::Table::Topics);
        let gate = Some((super::super::Table::Topics, generation));
        let ticket = self.acks.make_gate(asked.now.mono, gate, true);
        out.effects.push(Effect::Control(ToControl::TopicDeleted {
            shard: self.settings.shard,
            ticket: ticket.0,
            topic: name.to_owned(),
            version: self.topics.version,
        }));
        self.write_tables(out);
        self.reply_behind(asked, Some(ticket), &Reply::new(ResponseCode::Success), out);
        Ok(Handled::Done)
    }

    /// GET_ALL_TOPIC_CONFIG 21: all of them in one answer, which is what clients that page accept as the last page.
    pub(in crate::broker) fn all_topics(
        &mut self,
        asked: &Asked,
        request: TableRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let version = version_text(self.topics.version);
        let total = i64::try_from(self.topics.len()).unwrap_or(i64::MAX);
        let total = ("totalTopicNum", ExtValue::I64(total));
        self.reply_table(asked, request, &version, Some(total), |broker| broker.topic_table().encode(), out);
        Ok(Handled::Done)
    }

    /// GET_TOPIC_CONFIG 351.
    pub(in crate::broker) fn one_topic(
        &mut self,
        asked: &Asked,
        name: &str,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let body = self.known_topic(name)?.config.encode();
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

fn check_changeable(name: &str) -> Result<(), Refusal> {
    check_topic(name)?;
    if is_system_topic(name) {
        let remark = format!("The topic[{name}] is conflict with system topic.");
        return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
    }
    Ok(())
}

/// Attributes after the changes; a new topic (`known` is `None`) can only be given some.
fn changed_attributes(
    known: Option<&BTreeMap<String, String>>,
    changes: &[AttributeChange<'_>],
) -> Result<BTreeMap<String, String>, Refusal> {
    let refuse = |remark: String| Refusal::new(ResponseCode::SystemError, remark);
    let mut attributes = known.cloned().unwrap_or_default();
    for change in changes {
        let (name, value) = match change {
            AttributeChange::Set(name, value) => (*name, Some(*value)),
            AttributeChange::Remove(name) => (*name, None),
        };
        let Some((_, is_mutable)) = ATTRIBUTES.iter().find(|(known, _)| *known == name) else {
            return Err(refuse(format!("unsupported key: {name}")));
        };
        match (known, value) {
            (None, None) => {
                return Err(refuse(format!("only add attribute is supported while creating topic. key: {name}")));
            }
            (Some(_), _) if !is_mutable => {
                return Err(refuse(format!("attempt to update an unchangeable attribute. key: {name}")));
            }
            (_, Some(value)) => {
                attributes.insert(name.to_owned(), value.to_owned());
            }
            (Some(_), None) => {
                attributes.remove(name);
            }
        }
        if attributes.len() > TOPIC_ATTRIBUTES_MAX {
            return Err(refuse("too many attributes".to_owned()));
        }
    }
    Ok(attributes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_change_as_rocketmq_allows() {
        let known: BTreeMap<String, String> = [("message.type".to_owned(), "FIFO".to_owned())].into();
        let check = |known: Option<&BTreeMap<String, String>>,
                     change: AttributeChange<'_>,
                     expected: Option<&[(&str, &str)]>| {
            let found = changed_attributes(known, std::slice::from_ref(&change)).ok();
            let expected =
                expected.map(|pairs| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect());
            assert_eq!(found, expected, "{change:?}");
        };
        check(None, AttributeChange::Set("message.type", "FIFO"), Some(&[("message.type", "FIFO")]));
        check(None, AttributeChange::Remove("message.type"), None);
        check(None, AttributeChange::Set("nonsense", "1"), None);
        check(Some(&known), AttributeChange::Set("message.type", "NORMAL"), Some(&[("message.type", "NORMAL")]));
        check(Some(&known), AttributeChange::Remove("message.type"), Some(&[]));
        check(Some(&known), AttributeChange::Set("queue.type", "BatchCQ"), None);
    }
}
