//! Replies of one client to a request of another: 324 and 325, pushed with 326.
//!
//! The requester is a producer, found by its client id. If it is not connected to this shard, the reply goes to the siblings by letter, and
//! whichever has the client pushes it: RocketMQ's clients send a reply to any broker of the cluster. Where no shard of the node has it, the
//! reply fails, as at RocketMQ's broker. The reply is stored in `CLUSTER_REPLY_TOPIC` as well, first, so that nothing of it is kept while the
//! requester is waited for; its sender is answered when the requester has taken it, or not.
//!
//! State of the shard, in memory only: the replies that siblings were asked to push. Each ends with their words or at its deadline. Source:
//! RocketMQ `ReplyMessageProcessor`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::ack::Promise;
use super::call::{Callee, REPLY_WAIT_MS};
use super::{Asked, Broker, Effect, Handled, Output, Refusal};
use crate::letter::{PassedBy, ReplyMessage, ReplyOutcome, ToControl};
use crate::limits::{PROPERTIES_BYTES_MAX, REPLIES_PASSED_BYTES_MAX, REPLIES_PASSED_MAX};
use crate::model::{ClientId, ConnectionId, GroupName, LogOffset, MonoNs, Now, QueueId};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{IdText, MessageId, Properties, append_property, property};
use crate::protocol::record::{Marks, RecordDraft};
use crate::protocol::reply::{ExtValue, Reply, encode_reply};
use crate::protocol::request::SendRequest;

/// Longest names and numbers of a push, beside its properties.
const NAMES_BYTES_MAX: usize = 4_096;

/// Who is told what has become of a reply message.
#[derive(Debug)]
pub(super) enum Replier {
    /// The client that sent it here.
    Client(Box<Sender>),
    /// The sibling that it was sent to.
    Sibling(PassedBy),
}

impl Replier {
    pub(super) fn asker(&self) -> Option<ConnectionId> {
        match self {
            Replier::Client(sender) => Some(sender.asked.connection),
            Replier::Sibling(_) => None,
        }
    }
}

/// The sender of a reply message, and where that was stored.
#[derive(Debug)]
pub(super) struct Sender {
    asked: Asked,
    /// To whom.
    requester: ClientId,
    queue_id: QueueId,
    stored: Option<StoredReply>,
}

#[derive(Debug)]
struct StoredReply {
    message_id: IdText,
    queue_offset: u64,
    end: LogOffset,
}

/// A reply message that siblings were asked to push.
#[derive(Debug)]
struct PassedReply {
    sender: Box<Sender>,
    /// Siblings that have said that they do not have the client.
    without: usize,
    bytes: usize,
    deadline: MonoNs,
}

/// The reply messages of a shard that are at its siblings. Deadlines rise with tickets, since all have the same time.
#[derive(Debug, Default)]
pub(super) struct PassedReplies {
    by_ticket: BTreeMap<u64, PassedReply>,
    next_ticket: u64,
    bytes: usize,
}

impl PassedReplies {
    fn insert(&mut self, now: MonoNs, sender: Box<Sender>, bytes: usize) -> Result<u64, Box<Sender>> {
        if self.by_ticket.len() >= REPLIES_PASSED_MAX || self.bytes + bytes > REPLIES_PASSED_BYTES_MAX {
            return Err(sender);
        }
        // Answers to a former life's tickets are not taken for answers to these: no life takes as many as it has nanoseconds.
        self.next_ticket = self.next_ticket.max(now.0) + 1;
        self.bytes += bytes;
        let deadline = now.plus_ms(REPLY_WAIT_MS);
        self.by_ticket.insert(self.next_ticket, PassedReply { sender, without: 0, bytes, deadline });
        Ok(self.next_ticket)
    }

    fn remove(&mut self, ticket: u64) -> Option<Box<Sender>> {
        let passed = self.by_ticket.remove(&ticket)?;
        self.bytes -= passed.bytes;
        Some(passed.sender)
    }

    /// When the next one is late.
    pub(super) fn next_deadline(&self) -> Option<MonoNs> {
        self.by_ticket.first_key_value().map(|(_, passed)| passed.deadline)
    }
}

impl Broker {
    /// SEND_REPLY_MESSAGE 324, SEND_REPLY_MESSAGE_V2 325.
    pub(super) fn send_reply(
        &mut self,
        asked: &Asked,
        request: &SendRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        self.check_body(request.body)?;
        // A slave makes no topics; it has those of its master.
        if self.is_slave() && self.topics.get(request.topic).is_none() {
            let remark = format!("topic[{}] not exist, apply first please!", request.topic);
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        }
        let ticket = self.ensure_topic(asked, request, out)?;
        let destination = self.destination(request, ticket)?;
        let properties = Properties::new(request.properties.as_bytes());
        let requester = properties.get(property::REPLY_TO_CLIENT);
        let stored = self.settings.stores_replies.then(|| self.store_reply(asked, request, &destination)).flatten();
        if stored.is_none() {
            self.log.give_back_queue(destination.queue);
        }
        let sender = Box::new(Sender {
            asked: *asked,
            requester: ClientId::from(requester.unwrap_or_default()),
            queue_id: destination.queue_id,
            stored,
        });
        if requester.is_none() {
            let remark = format!("reply message properties[{}] is null", property::REPLY_TO_CLIENT);
            self.answer_replier(&sender, Some(&remark), out);
            return Ok(Handled::Done);
        }
        let ext = self.push_fields(asked, request);
        let bytes: usize = ext.iter().map(|(_, text)| text.len()).sum();
        if bytes > PROPERTIES_BYTES_MAX + NAMES_BYTES_MAX {
            self.end_reply(Replier::Client(sender), ReplyOutcome::Failed, out);
            return Ok(Handled::Done);
        }
        let client = sender.requester.clone();
        match self.push_here(asked.now, &client, (&ext, request.body), Replier::Client(sender), out) {
            Ok(()) => {}
            Err((Replier::Client(sender), ReplyOutcome::NotConnected)) => {
                let message = ReplyMessage { client, ext, body: Bytes::copy_from_slice(request.body) };
                self.pass_reply(asked.now, sender, bytes, message, out);
            }
            Err((replier, outcome)) => self.end_reply(replier, outcome, out),
        }
        Ok(Handled::Done)
    }

    /// Stores the reply as it came. That it cannot be stored does not keep it from its requester.
    fn store_reply(
        &mut self,
        asked: &Asked,
        request: &SendRequest<'_>,
        destination: &super::send::Destination,
    ) -> Option<StoredReply> {
        if self.is_slave() || self.check_can_store(true).is_err() || request.properties.len() > PROPERTIES_BYTES_MAX {
            return None;
        }
        let properties = request.properties.as_bytes();
        let draft = RecordDraft {
            topic: request.topic,
            queue_id: destination.queue_id,
            flag: request.flag,
            sys_flag: request.sys_flag,
            born_timestamp: request.born_timestamp.0,
            born_host: self.peer(asked.connection),
            reconsume_times: request.reconsume_times,
            body: request.body,
            properties,
            marks: Marks::of(properties),
            ..self.draft(asked.now)
        };
        let appended = self.store_or_put_off(asked.now, destination.queue, &draft).ok()?;
        let message_id = MessageId { store_host: self.settings.address, log_offset: appended.log_offset }.encode();
        Some(StoredReply { message_id, queue_offset: appended.queue_offset.0, end: appended.end })
    }

    fn push_fields(&self, asked: &Asked, request: &SendRequest<'_>) -> Vec<(&'static str, String)> {
        let mut properties = request.properties.as_bytes().to_vec();
        append_property(&mut properties, property::PUSH_REPLY_TIME, &asked.now.unix.0.to_string());
        let queue_id = request.queue_id.map_or(-1, |queue| i64::from(queue.0));
        vec![
            ("producerGroup", request.producer_group.to_owned()),
            ("topic", request.topic.to_owned()),
            ("defaultTopic", request.default_topic.to_owned()),
            ("defaultTopicQueueNums", request.default_topic_queues.to_string()),
            ("queueId", queue_id.to_string()),
            ("sysFlag", request.sys_flag.to_string()),
            ("bornTimestamp", request.born_timestamp.0.to_string()),
            ("flag", request.flag.to_string()),
            ("properties", String::from_utf8(properties).expect("text with text behind it")),
            ("reconsumeTimes", request.reconsume_times.to_string()),
            ("unitMode", request.unit_mode.to_string()),
            ("bornHost", self.peer(asked.connection).to_string()),
            ("storeHost", self.settings.address.to_string()),
            ("storeTimestamp", asked.now.unix.0.to_string()),
        ]
    }

    /// Pushes a reply message to a client of this shard.
    fn push_here(
        &mut self,
        now: Now,
        client: &ClientId,
        (ext, body): (&[(&'static str, String)], &[u8]),
        replier: Replier,
        out: &mut Output,
    ) -> Result<(), (Replier, ReplyOutcome)> {
        let Some(connection) = self.clients.producer(client.as_str()) else {
            return Err((replier, ReplyOutcome::NotConnected));
        };
        let callee = Callee { connection, group: GroupName::from(""), client: client.clone() };
        let fields: Vec<_> = ext.iter().map(|(name, text)| (*name, ExtValue::Str(text))).collect();
        self.push_reply(now, callee, (&fields, body), replier, out).map_err(|replier| (replier, ReplyOutcome::Failed))
    }

    /// Asks the siblings, one of which may have the client.
    fn pass_reply(&mut self, now: Now, sender: Box<Sender>, ext_bytes: usize, message: ReplyMessage, out: &mut Output) {
        let bytes = ext_bytes + message.body.len();
        match self.passed_replies.insert(now.mono, sender, bytes) {
            Ok(ticket) => {
                let message = Arc::new(message);
                out.effects.push(Effect::Control(ToControl::PassReply { shard: self.settings.shard, ticket, message }));
            }
            Err(sender) => self.end_reply(Replier::Client(sender), ReplyOutcome::Failed, out),
        }
    }

    /// A sibling has a reply message for a client that may be here.
    pub(super) fn push_of_sibling(&mut self, now: Now, from: PassedBy, message: &ReplyMessage, out: &mut Output) {
        let replier = Replier::Sibling(from);
        let pushed = self.push_here(now, &message.client, (&message.ext, &message.body), replier, out);
        if let Err((replier, outcome)) = pushed {
            self.end_reply(replier, outcome, out);
        }
    }

    /// A sibling says what has become of a reply message that was passed on. The client may be connected to several shards, or to none.
    pub(super) fn reply_passed(&mut self, ticket: u64, asked: usize, outcome: ReplyOutcome, out: &mut Output) {
        let Some(passed) = self.passed_replies.by_ticket.get_mut(&ticket) else { return };
        if outcome == ReplyOutcome::NotConnected {
            passed.without += 1;
            if passed.without < asked {
                return;
            }
        }
        if let Some(sender) = self.passed_replies.remove(ticket) {
            self.end_reply(Replier::Client(sender), outcome, out);
        }
    }

    /// Ends the reply messages of which siblings have said nothing in time.
    pub(super) fn expire_replies(&mut self, now: Now, out: &mut Output) {
        while let Some((&ticket, passed)) = self.passed_replies.by_ticket.first_key_value() {
            if passed.deadline > now.mono {
                return;
            }
            if let Some(sender) = self.passed_replies.remove(ticket) {
                self.end_reply(Replier::Client(sender), ReplyOutcome::Failed, out);
            }
        }
    }

    /// Tells whoever waits what has become of a reply message.
    pub(super) fn end_reply(&mut self, replier: Replier, outcome: ReplyOutcome, out: &mut Output) {
        let sender = match replier {
            Replier::Client(sender) => sender,
            Replier::Sibling(to) => {
                let shard = self.settings.shard;
                return out.effects.push(Effect::Control(ToControl::ReplyPushed { shard, to, outcome }));
            }
        };
        let client = &sender.requester;
        let remark = match outcome {
            ReplyOutcome::Taken => None,
            ReplyOutcome::Failed => Some(format!("push reply message to {client}fail.")),
            ReplyOutcome::NotConnected => Some(format!("push reply message fail, channel of <{client}> not found.")),
        };
        self.answer_replier(&sender, remark.as_deref(), out);
    }

    /// Answers the sender of a reply message, if it is still there, once what was stored is as safe as any message.
    fn answer_replier(&mut self, sender: &Sender, failure: Option<&str>, out: &mut Output) {
        let asked = &sender.asked;
        if !self.clients.is_connected(asked.connection) {
            return;
        }
        let stored = sender.stored.as_ref();
        let at = stored.map_or(LogOffset(0), |stored| stored.end);
        let promise = Promise::stored(at, true);
        self.answer(asked, promise, out, |settings, frame| {
            let queue_offset = stored.map_or(0, |stored| i64::try_from(stored.queue_offset).unwrap_or(i64::MAX));
            let ext = [
                ("msgId", ExtValue::Str(stored.map_or("0", |stored| stored.message_id.as_str()))),
                ("queueId", ExtValue::I64(i64::from(sender.queue_id.0))),
                ("queueOffset", ExtValue::I64(queue_offset)),
                (property::MSG_REGION, ExtValue::Str(&settings.region)),
                (property::TRACE_ON, ExtValue::Bool(settings.trace_on)),
            ];
            let code = if failure.is_some() { ResponseCode::SystemError } else { ResponseCode::Success };
            encode_reply(asked.encoding, asked.opaque, &Reply { code, remark: failure, ext: &ext, body: &[] }, frame);
        });
    }
}
