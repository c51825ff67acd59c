//! Sends: checks in RocketMQ's order, one append, and a reply that says what was promised.
//!
//! The hottest path of a broker. A message costs one look-up of its topic, one pass over its properties and one copy into the
//! log's tail; nothing is allocated for it. Source of order and codes: RocketMQ `SendMessageProcessor`,
//! `AbstractSendMessageProcessor.msgCheck`.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::net::SocketAddr;

use super::ack::Ticket;
use super::outbox::Outbox;
use super::topic;
use super::{Asked, Broker, Handled, Output, Refusal};
use crate::limits::{PROPERTIES_BYTES_MAX, REPLICA_WAITS_MAX};
use crate::log::{AppendError, Appended, QueueIndex};
use crate::metrics::Amount;
use crate::model::{LogOffset, MonoNs, Now, QueueId};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{
    BatchedMessage, MessageId, Properties, UniqueKey, append_property, check_topic, dlq_topic, group_of_retry_topic,
    is_retry_topic, property, split_batch, sys_flag, tag_code,
};
use crate::protocol::record::{KeysToIndex, RecordDraft};
use crate::protocol::reply::{ExtValue, Reply, SendReplyFields, encode_send_reply};
use crate::protocol::request::SendRequest;

/// A client from this version on says how often its messages are tried: 3.4.9.
const VERSION_WITH_MAX_RECONSUME: i32 = 121;

/// Bytes of the record's CRC property, for which the properties must leave room.
const CRC_PROPERTY_BYTES: usize = 20;

/// Room that the properties which the broker adds take, roughly: names, cluster, region.
const OWN_PROPERTIES_BYTES: usize = 96;

/// Where a message goes once all checks are passed.
struct Destination {
    queue: QueueIndex,
    queue_id: QueueId,
    /// The name, if it is not the request's: a dead letter topic.
    renamed: Option<String>,
    ticket: Option<Ticket>,
}

/// What one pass over the properties of a message finds.
#[derive(Default)]
struct Scan<'a> {
    keys: Option<&'a str>,
    tags: Option<&'a str>,
    unique: Option<&'a str>,
    is_wait_off: bool,
    is_transaction: bool,
    is_delayed: bool,
    is_timer: bool,
    /// A property that the broker sets or removes is there already.
    needs_rebuild: bool,
}

impl<'a> Scan<'a> {
    fn of(properties: &'a str) -> Scan<'a> {
        let mut scan = Scan::default();
        for (name, value) in Properties::new(properties.as_bytes()).iter() {
            match name {
                property::KEYS => scan.keys = Some(value),
                property::TAGS => scan.tags = Some(value),
                property::UNIQUE_KEY => scan.unique = Some(value),
                property::WAIT => scan.is_wait_off = value.eq_ignore_ascii_case("false"),
                property::TRANSACTION_PREPARED => scan.is_transaction = value.eq_ignore_ascii_case("true"),
                property::DELAY => scan.is_delayed = value.parse::<i64>().is_ok_and(|level| level > 0),
                property::TIMER_DELAY_SEC | property::TIMER_DELAY_MS | property::TIMER_DELIVER_MS => {
                    scan.is_timer = true;
                }
                name if is_ours(name) => scan.needs_rebuild = true,
                _ => {}
            }
        }
        scan
    }
}

/// Properties that the broker sets itself or takes away.
fn is_ours(name: &str) -> bool {
    matches!(name, property::CLUSTER | property::MSG_REGION | property::TRACE_ON | property::POP_CK | property::CRC32)
}

impl Broker {
    /// SEND_MESSAGE 10, SEND_MESSAGE_V2 310, SEND_BATCH_MESSAGE 320.
    pub(super) fn send(
        &mut self,
        asked: &Asked,
        request: &SendRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let result = self.try_send(asked, request, out);
        if let Err(refusal) = &result {
            self.counters.put_failed_count += 1;
            // Clients take region and trace switch from whatever a send is answered with.
            let ext = [
                (property::MSG_REGION, ExtValue::Str(&self.settings.region)),
                (property::TRACE_ON, ExtValue::Bool(self.settings.trace_on)),
            ];
            let reply = Reply { code: refusal.code, remark: Some(&refusal.remark), ext: &ext, body: &[] };
            self.reply(asked, &reply, out);
        }
        Ok(Handled::Done)
    }

    fn try_send(&mut self, asked: &Asked, request: &SendRequest<'_>, out: &mut Output) -> Result<Handled, Refusal> {
        self.check_can_store()?;
        let scan = Scan::of(request.properties);
        let is_retry = is_retry_topic(request.topic);
        refuse_what_is_not_built(&scan, is_retry)?;
        let ticket = self.ensure_topic(asked, request, out)?;
        let mut destination = self.destination(request, ticket)?;
        let mut reconsume_times = request.reconsume_times;
        if is_retry {
            reconsume_times = self.retry_or_dead_letter(asked, request, &mut destination, out)?;
        }
        if request.batch {
            return self.send_batch(asked, request, &scan, &destination, out);
        }
        self.check_body(request.body)?;
        self.send_one(asked, request, &scan, &destination, reconsume_times, out)
    }

    /// Refuses before anything is done if nothing can be stored now.
    pub(super) fn check_can_store(&self) -> Result<(), Refusal> {
        if let Some(failure) = self.log.failure() {
            return Err(Refusal::new(
                ResponseCode::ServiceNotAvailable,
                format!("service not available now: {failure}"),
            ));
        }
        if self.acks.is_full() {
            return Err(busy());
        }
        if self.lacks_replicas() {
            return Err(Refusal::new(ResponseCode::SystemError, "in-sync replicas not enough"));
        }
        Ok(())
    }

    fn check_body(&self, body: &[u8]) -> Result<(), Refusal> {
        if body.is_empty() {
            return Err(Refusal::new(ResponseCode::MessageIllegal, "the message is illegal: it has no body"));
        }
        let max = self.settings.message_body_bytes_max;
        if body.len() > max {
            let remark = format!("the message is illegal: body of {} bytes, maxMessageSize is {max}", body.len());
            return Err(Refusal::new(ResponseCode::MessageIllegal, remark));
        }
        Ok(())
    }

    /// Makes sure that the topic exists. Returns what replies that tell of it wait for.
    fn ensure_topic(
        &mut self,
        asked: &Asked,
        request: &SendRequest<'_>,
        out: &mut Output,
    ) -> Result<Option<Ticket>, Refusal> {
        let name = request.topic;
        if let Some(topic) = self.topics.get_mut(name) {
            if topic.refuses_sends {
                return Err(refuses_sends(name));
            }
            if self.settings.permission & topic::perm::WRITE == 0 && topic.config.order {
                let remark = format!("the broker[{}] sending message is forbidden", self.settings.name);
                return Err(Refusal::new(ResponseCode::NoPermission, remark));
            }
            topic.ticket = topic.ticket.filter(|ticket| self.acks.is_closed(*ticket));
            return Ok(topic.ticket);
        }
        check_topic(name)?;
        if topic::REFUSED_TOPICS.contains(&name) {
            return Err(refuses_sends(name));
        }
        let (config, spread) = if is_retry_topic(name) {
            (topic::plain_config(name, 1, topic::perm::READ | topic::perm::WRITE), false)
        } else {
            let queues = request.default_topic_queues;
            let default = request.default_topic;
            let made = topic::auto_created(&self.topics, &self.settings, name, default, queues, request.unit_mode)?;
            (made, true)
        };
        self.create_topics(asked.now, vec![config], spread, out)
    }

    fn destination(&mut self, request: &SendRequest<'_>, ticket: Option<Ticket>) -> Result<Destination, Refusal> {
        let missing = || {
            let remark = format!("topic[{}] not exist, apply first please!", request.topic);
            Refusal::new(ResponseCode::TopicNotExist, remark)
        };
        let round_robin = self.next_queue;
        let topic = self.topics.get_mut(request.topic).ok_or_else(missing)?;
        let queue_id = match request.queue_id {
            Some(queue_id) => topic.check_queue(queue_id)?,
            None => {
                self.next_queue = round_robin.wrapping_add(1);
                QueueId(round_robin % topic.config.write_queues.max(1))
            }
        };
        Ok(Destination { queue: topic.queue(&mut self.log, queue_id), queue_id, renamed: None, ticket })
    }

    /// A consumer that could not send a message back sends it anew: too many tries end in the dead letter topic. Returns
    /// how often it was tried. Source: `SendMessageProcessor.handleRetryAndDLQ`.
    fn retry_or_dead_letter(
        &mut self,
        asked: &Asked,
        request: &SendRequest<'_>,
        destination: &mut Destination,
        out: &mut Output,
    ) -> Result<i32, Refusal> {
        let group = group_of_retry_topic(request.topic).unwrap_or_default();
        let config = self.group_config(asked.now, group, out)?;
        let mut times_max = config.retry_max_times;
        if asked.version >= VERSION_WITH_MAX_RECONSUME
            && let Some(max) = request.max_reconsume_times
        {
            times_max = max;
        }
        let is_orderly = self.locks.is_orderly(asked.now.mono, group);
        if request.reconsume_times > times_max || is_orderly {
            let name = dlq_topic(group);
            destination.ticket = self.ensure_plain_topic(asked.now, &name, 1, out)?;
            destination.queue_id = QueueId(0);
            destination.queue = self.log.queue(&name, QueueId(0));
            destination.renamed = Some(name);
        }
        Ok(request.reconsume_times)
    }

    fn send_one(
        &mut self,
        asked: &Asked,
        request: &SendRequest<'_>,
        scan: &Scan<'_>,
        destination: &Destination,
        reconsume_times: i32,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let made = if scan.unique.is_none() { Some(self.make_unique_key(asked)) } else { None };
        let unique = scan.unique.or(made.as_ref().map(|key| key.as_str()));
        let mut properties = std::mem::take(&mut self.scratch.properties);
        properties.clear();
        self.store_properties(request.properties, scan, made.as_ref().map(|key| key.as_str()), &mut properties);
        let result = check_properties(&properties).and_then(|()| {
            let draft = RecordDraft {
                topic: destination.renamed.as_deref().unwrap_or(request.topic),
                queue_id: destination.queue_id,
                flag: request.flag,
                sys_flag: request.sys_flag & !sys_flag::TRANSACTION_MASK,
                born_timestamp: request.born_timestamp.0,
                born_host: self.peer(asked.connection),
                store_host: self.settings.address,
                store_timestamp: asked.now.unix.0,
                reconsume_times,
                prepared_transaction_offset: 0,
                body: request.body,
                properties: &properties,
                tag_code: tag_code(scan.tags),
                keys: KeysToIndex { unique, keys: scan.keys },
            };
            self.append(asked.now, destination.queue, &draft)
        });
        self.scratch.properties = properties;
        let appended = result?;
        let id = MessageId { store_host: self.settings.address, log_offset: appended.log_offset }.encode();
        let stored = Stored {
            message_id: id.as_str(),
            queue_id: destination.queue_id,
            first: appended,
            end: appended.end,
            unique,
            waits: !scan.is_wait_off,
        };
        self.answer_send(asked, &stored, destination.ticket, out);
        Ok(Handled::Done)
    }

    /// Stores each message of a batch as one of its own, all or none.
    fn send_batch(
        &mut self,
        asked: &Asked,
        request: &SendRequest<'_>,
        scan: &Scan<'_>,
        destination: &Destination,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        if destination.renamed.is_some() || is_retry_topic(request.topic) {
            return Err(Refusal::new(ResponseCode::MessageIllegal, "batch request does not support retry group"));
        }
        self.check_body(request.body)?;
        let messages = split_batch(request.body)
            .collect::<Result<Vec<BatchedMessage<'_>>, _>>()
            .map_err(|error| Refusal::new(ResponseCode::MessageIllegal, error.to_string()))?;
        let born_host = self.peer(asked.connection);
        let mut scans = Vec::with_capacity(messages.len());
        for message in &messages {
            let text = std::str::from_utf8(message.properties).map_err(|_| {
                Refusal::new(ResponseCode::MessageIllegal, "properties of a message of the batch are no text")
            })?;
            let inner = Scan::of(text);
            refuse_what_is_not_built(&inner, false)?;
            let mut stored = Vec::with_capacity(text.len() + OWN_PROPERTIES_BYTES);
            self.store_properties(text, &inner, None, &mut stored);
            check_properties(&stored)?;
            scans.push((inner, stored));
        }
        let mut drafts = Vec::with_capacity(messages.len());
        for (message, (inner, stored)) in messages.iter().zip(&scans) {
            drafts.push(RecordDraft {
                topic: request.topic,
                queue_id: destination.queue_id,
                flag: message.flag,
                sys_flag: request.sys_flag & !sys_flag::TRANSACTION_MASK,
                born_timestamp: request.born_timestamp.0,
                born_host,
                store_host: self.settings.address,
                store_timestamp: asked.now.unix.0,
                reconsume_times: request.reconsume_times,
                prepared_transaction_offset: 0,
                body: message.body,
                properties: stored,
                tag_code: tag_code(inner.tags),
                keys: KeysToIndex { unique: inner.unique, keys: inner.keys },
            });
        }
        let appended = self.log.append_batch(destination.queue, &drafts).map_err(append_refusal)?;
        let (Some(first), Some(last)) = (appended.first(), appended.last()) else {
            return Err(Refusal::new(ResponseCode::MessageIllegal, "batch is empty"));
        };
        let mut ids = String::with_capacity(appended.len() * 33);
        self.note_put(asked.now, destination.queue, request.topic, &appended);
        for one in &appended {
            if !ids.is_empty() {
                ids.push(',');
            }
            let id = MessageId { store_host: self.settings.address, log_offset: one.log_offset }.encode();
            let _ = ids.write_str(id.as_str());
        }
        let stored = Stored {
            message_id: &ids,
            queue_id: destination.queue_id,
            first: *first,
            end: last.end,
            unique: None,
            waits: !scan.is_wait_off,
        };
        self.answer_send(asked, &stored, destination.ticket, out);
        Ok(Handled::Done)
    }

    /// Appends one message and counts it.
    pub(super) fn append(&mut self, now: Now, queue: QueueIndex, draft: &RecordDraft<'_>) -> Result<Appended, Refusal> {
        let appended = self.log.append(queue, draft).map_err(append_refusal)?;
        self.note_put(now, queue, draft.topic, std::slice::from_ref(&appended));
        Ok(appended)
    }

    /// Counts what one request has appended to a queue of `topic`.
    fn note_put(&mut self, now: Now, queue: QueueIndex, topic: &str, appended: &[Appended]) {
        let (Some(first), Some(last)) = (appended.first(), appended.last()) else { return };
        let messages = appended.len() as u64;
        let bytes = appended.iter().map(|one| u64::from(one.size)).sum();
        self.counters.put_count += messages;
        self.counters.put_bytes += bytes;
        self.statistics.note_put(now.mono, queue, topic, Amount { messages, bytes, calls: 1 });
        let count = u32::try_from(messages).unwrap_or(u32::MAX);
        self.stages.note_append(now.mono, first.log_offset, last.end, count);
    }

    /// Answers at once if the promise is met, else when it is.
    fn answer_send(&mut self, asked: &Asked, stored: &Stored<'_>, ticket: Option<Ticket>, out: &mut Output) {
        if asked.is_oneway {
            return;
        }
        let fields = SendReplyFields {
            code: ResponseCode::Success,
            message_id: stored.message_id,
            queue_id: stored.queue_id.0,
            queue_offset: stored.first.queue_offset.0,
            transaction_id: stored.unique,
            region: &self.settings.region,
            trace: self.settings.trace_on,
            remark: None,
        };
        let at = if stored.waits { stored.end } else { LogOffset(0) };
        if ticket.is_none() && at <= self.log.promised().min(self.replicas_have().acked) {
            self.stages.note_answer();
            return encode_send_reply(asked.encoding, asked.opaque, &fields, out.outbox.buffer(asked.connection));
        }
        let frame = &mut self.scratch.frames;
        encode_send_reply(asked.encoding, asked.opaque, &fields, frame);
        let frame = frame.split();
        self.wait(asked, at, ticket, frame);
    }

    /// The properties as they are stored: the client's, without what is ours to say, then ours.
    fn store_properties(&self, text: &str, scan: &Scan<'_>, made_unique: Option<&str>, out: &mut Vec<u8>) {
        if scan.needs_rebuild {
            for (name, value) in Properties::new(text.as_bytes()).iter().filter(|(name, _)| !is_ours(name)) {
                append_property(out, name, value);
            }
        } else {
            out.extend_from_slice(text.as_bytes());
        }
        if let Some(unique) = made_unique {
            append_property(out, property::UNIQUE_KEY, unique);
        }
        append_property(out, property::CLUSTER, &self.settings.cluster);
        append_property(out, property::MSG_REGION, &self.settings.region);
        append_property(out, property::TRACE_ON, if self.settings.trace_on { "true" } else { "false" });
    }

    fn make_unique_key(&mut self, asked: &Asked) -> crate::protocol::message::IdText {
        self.unique_counter = self.unique_counter.wrapping_add(1);
        let address: SocketAddr = self.settings.address;
        UniqueKey {
            address: address.ip(),
            process: address.port(),
            loader: u32::from(self.settings.shard.0),
            now: asked.now.unix,
            counter: self.unique_counter,
        }
        .encode()
    }
}

/// What a reply says of what was stored.
struct Stored<'a> {
    message_id: &'a str,
    queue_id: QueueId,
    first: Appended,
    end: LogOffset,
    unique: Option<&'a str>,
    waits: bool,
}

/// A message that asks for what ringmq cannot do yet is refused: delivering it at once would be worse than an error.
fn refuse_what_is_not_built(scan: &Scan<'_>, is_retry: bool) -> Result<(), Refusal> {
    let refuse = |what: &'static str| Err(Refusal::new(ResponseCode::MessageIllegal, what));
    // A retry that was a half message once is an ordinary message now, and its delay is the broker's to choose.
    if is_retry {
        return Ok(());
    }
    if scan.is_transaction {
        return refuse("transactional messages (TRAN_MSG) are not supported yet");
    }
    if scan.is_delayed {
        return refuse("delayed messages (DELAY) are not supported yet");
    }
    if scan.is_timer {
        return refuse("timer messages (TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS) are not supported yet");
    }
    Ok(())
}

fn check_properties(properties: &[u8]) -> Result<(), Refusal> {
    if properties.len() + CRC_PROPERTY_BYTES > PROPERTIES_BYTES_MAX {
        let remark = format!("the properties are too long: {} bytes with the broker's own", properties.len());
        return Err(Refusal::new(ResponseCode::MessageIllegal, remark));
    }
    Ok(())
}

fn refuses_sends(topic: &str) -> Refusal {
    Refusal::new(ResponseCode::NoPermission, format!("Sending message to topic[{topic}] is forbidden."))
}

/// Flow control, as stock clients know it.
pub(super) fn busy() -> Refusal {
    Refusal::new(ResponseCode::SystemBusy, "[REJECTREQUEST]system busy, start flow control for a while")
}

fn append_refusal(error: AppendError) -> Refusal {
    match error {
        AppendError::TailFull => busy(),
        AppendError::NoSegment { disk_full: true } => Refusal::new(
            ResponseCode::ServiceNotAvailable,
            "service not available now: the disk is full; free space or shorten fileReservedTime, sends resume by themselves",
        ),
        // The next segment is on its way.
        AppendError::NoSegment { disk_full: false } => busy(),
        AppendError::Stopped => Refusal::new(
            ResponseCode::ServiceNotAvailable,
            "service not available now: the log has stopped after a disk failure",
        ),
        AppendError::TooLarge(error) => Refusal::new(ResponseCode::MessageIllegal, Cow::Owned(error.to_string())),
    }
}

impl Broker {
    /// Releases the replies whose promise is met, each connection's in order.
    ///
    /// What a reply promises is met when this log's flush setting promises it and as many slaves have acknowledged it as are asked for. Both
    /// rise along the log, so one pass over its front is enough. Where there are not enough slaves, or too many replies wait for them, a
    /// message that is stored here is answered as such.
    pub(super) fn release_acks(&mut self, now: MonoNs, outbox: &mut Outbox) {
        let promised = self.log.promised();
        let replicas = self.replicas_have();
        while let Some(reply) = self.acks.pop_flushed(promised.min(replicas.acked)) {
            if reply.at > LogOffset(0) {
                self.stages.note_reply(now, reply.since);
            }
            if self.clients.is_connected(reply.connection) {
                outbox.buffer(reply.connection).extend_from_slice(&reply.frame);
            }
        }
        let (kept, code) = if replicas.is_waitable {
            (REPLICA_WAITS_MAX, ResponseCode::FlushSlaveTimeout)
        } else {
            (0, ResponseCode::SlaveNotAvailable)
        };
        while self.acks.flush_len() > kept
            && let Some(reply) = self.acks.pop_flushed(promised)
        {
            self.answer_instead(&reply, code, outbox);
        }
    }
}
