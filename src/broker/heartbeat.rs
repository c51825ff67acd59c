//! What clients say of themselves, and what is said to them of each other: 34, 35, 38, 46 and the notice 40.
//!
//! Source: RocketMQ `ClientManageProcessor`, `ConsumerManager`, `DefaultConsumerIdsChangeListener`.

use super::client::{Member, NotKept};
use super::filter::SqlFilter;
use super::topic::subscribers_flag;
use super::{Asked, Broker, Handled, Output, Refusal};
use crate::limits::CLIENT_ID_BYTES_MAX;
use crate::model::ClientId;
use crate::protocol::body::{ClientConfig, ConsumerData, ExpressionType, HeartbeatData, TopicConfig, consumer_list};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::retry_topic;
use crate::protocol::reply::{ExtValue, Reply};
use crate::protocol::request::UnregisterClientRequest;

impl From<NotKept> for Refusal {
    fn from(not_kept: NotKept) -> Refusal {
        Refusal::new(ResponseCode::SystemError, not_kept.to_string())
    }
}

/// A client id is kept with each group and each lock, and told in every list of members.
pub(super) fn check_client(client: &ClientId) -> Result<(), Refusal> {
    let bytes = client.as_str().len();
    if bytes <= CLIENT_ID_BYTES_MAX {
        return Ok(());
    }
    let remark = format!("a client id of {bytes} bytes: at most {CLIENT_ID_BYTES_MAX} are taken");
    Err(Refusal::new(ResponseCode::InvalidParameter, remark))
}

impl Broker {
    /// HEART_BEAT 34. The answer waits until the retry topics of new groups can be found: consumers look them up at once.
    ///
    /// What can be taken of it is, the groups of a client being apart from each other. If something could not, the answer says what: RocketMQ
    /// says success, and the consumer hears of it by silence. A client goes on after an error, and says all of it with its next heartbeat.
    pub(super) fn heartbeat(
        &mut self,
        asked: &Asked,
        beat: &HeartbeatData,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        check_client(&beat.client_id)?;
        let member = Member {
            client: beat.client_id.clone(),
            language: asked.language,
            version: asked.version,
            seen: asked.now.mono,
            seen_unix_ms: asked.now.unix.0,
        };
        let mut retry_topics = Vec::new();
        let mut wants_subscriptions = false;
        let mut refusal = None;
        for data in &beat.consumers {
            let retry_queues = match self.group_config(asked.now, data.group.as_str(), out) {
                Ok(group) => group.retry_queues,
                Err(refused) => {
                    refusal = Some(refused);
                    continue;
                }
            };
            retry_topics.extend(self.missing_retry_topic(data, retry_queues));
            let registered = self.clients.register_consumer(
                asked.connection,
                data,
                member.clone(),
                beat.fingerprint,
                beat.without_subscriptions,
            );
            wants_subscriptions |= registered.wants_subscriptions;
            if registered.is_changed {
                self.notify_group(&data.group, out);
            }
            refusal = registered.not_kept.map(Refusal::from).or(refusal);
        }
        for group in &beat.producers {
            if let Err(not_kept) = self.clients.register_producer(asked.connection, group.clone(), member.clone()) {
                refusal = Some(not_kept.into());
            }
        }
        let ticket = match self.create_topics(asked.now, retry_topics, false, out)? {
            Some(ticket) => Some(ticket),
            None => self.retry_topic_ticket(beat),
        };
        if let Some(refusal) = refusal {
            return Err(refusal);
        }
        // Clients of the first version are told that subscriptions changed, which they do not read.
        let is_first_version = beat.fingerprint == 0;
        let ext = [
            ("IS_SUB_CHANGE", ExtValue::Bool(wants_subscriptions || is_first_version)),
            ("IS_SUPPORT_HEART_BEAT_V2", ExtValue::Bool(true)),
        ];
        self.reply_behind(asked, ticket, &Reply::fields(&ext), out);
        Ok(Handled::Done)
    }

    fn missing_retry_topic(&self, data: &ConsumerData, queues: u32) -> Option<TopicConfig> {
        let name = retry_topic(data.group.as_str());
        if queues == 0 || self.topics.get(&name).is_some() {
            return None;
        }
        let mut config = TopicConfig::new(&name, queues);
        config.sys_flag = subscribers_flag(data.unit_mode);
        config.order = data
            .subscriptions
            .iter()
            .any(|wanted| self.topics.get(wanted.topic.as_str()).is_some_and(|topic| topic.config.order));
        Some(config)
    }

    /// Another member's heartbeat may have created the retry topic a moment ago: this answer waits for it as well.
    fn retry_topic_ticket(&self, beat: &HeartbeatData) -> Option<super::ack::Ticket> {
        let newest = beat.consumers.iter().filter_map(|data| {
            let topic = self.topics.get(&retry_topic(data.group.as_str()))?;
            topic.ticket.filter(|ticket| self.acks.is_closed(*ticket))
        });
        newest.max()
    }

    /// CHECK_CLIENT_CONFIG 46: a consumer asks before it starts, so that a wrong expression ends it there.
    pub(super) fn check_subscription(
        &self,
        asked: &Asked,
        config: &ClientConfig,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        if let Some(wanted) = &config.subscription
            && wanted.expression_type != ExpressionType::Tag
        {
            let kind = wanted.expression_type.name();
            self.check_expression_type(kind)?;
            let unparsed = |remark: String| Refusal::new(ResponseCode::SubscriptionParseFailed, remark);
            if wanted.expression_type != ExpressionType::Sql92 {
                return Err(unparsed(format!("{kind} is no language of expressions here: TAG and SQL92 are")));
            }
            SqlFilter::compile(&wanted.expression).map_err(|error| unparsed(error.to_string()))?;
        }
        self.reply(asked, &Reply::new(ResponseCode::Success), out);
        Ok(Handled::Done)
    }

    /// UNREGISTER_CLIENT 35.
    pub(super) fn unregister(
        &mut self,
        asked: &Asked,
        request: &UnregisterClientRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let (producer, consumer) = (request.producer_group, request.consumer_group);
        if let Some(group) = self.clients.unregister(asked.connection, producer, consumer) {
            self.notify_group(&group, out);
        }
        self.reply(asked, &Reply::new(ResponseCode::Success), out);
        Ok(Handled::Done)
    }

    /// GET_CONSUMER_LIST_BY_GROUP 38. An empty list is an error: a client that finds itself missing drops all its queues.
    pub(super) fn consumer_list(&mut self, asked: &Asked, group: &str, out: &mut Output) -> Result<Handled, Refusal> {
        let Some(online) = self.clients.consumer_group(group) else {
            return Err(Refusal::new(ResponseCode::SystemError, format!("no consumer for this group, {group}")));
        };
        let ids = online.client_ids();
        let body = consumer_list(ids.iter().map(|id| id.as_str()));
        self.reply(asked, &Reply::body(&body), out);
        Ok(Handled::Done)
    }
}
