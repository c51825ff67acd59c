//! Sends: checks in RocketMQ's order, one append, and a reply that says what was promised.
//!
//! The hottest path of a broker. A message costs one look-up of its topic, one pass over its properties and one copy into the
//! log's tail; nothing is allocated for it. Source of order and codes: RocketMQ `SendMessageProcessor`,
//! `AbstractSendMessageProcessor.msgCheck`.

use std::fmt::Write as _;
use std::net::SocketAddr;

use super::ack::{Promise, Ticket};
use super::topic;
use super::{Asked, Broker, Handled, Output, Refusal};
use crate::limits::PROPERTIES_BYTES_MAX;
use crate::log::{Appended, QueueIndex};
use crate::model::{LogOffset, QueueId};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{
    BatchedMessage, LIGHT_QUEUE, MessageId, Properties, UniqueKey, append_property, check_topic, dlq_topic,
    group_of_retry_topic, is_retry_topic, property, set_property, split_batch, sys_flag, text_pairs,
};
use crate::protocol::record::{KeysToIndex, Marks, RecordDraft};
use crate::protocol::reply::{ExtValue, Reply, SendReplyFields, encode_send_reply, shown};
use crate::protocol::request::SendRequest;
use crate::said::BY_STRANGERS;

/// A client from this version on says how often its messages are tried: 3.4.9.
const VERSION_WITH_MAX_RECONSUME: i32 = 121;

/// Bytes of the record's CRC property, for which the properties must leave room.
pub(super) const CRC_PROPERTY_BYTES: usize = 20;

/// Room that the properties which the broker adds take, roughly: names, cluster, region.
pub(super) const OWN_PROPERTIES_BYTES: usize = 96;

/// Where a message goes once all checks are passed.
pub(super) struct Destination {
    pub(super) queue: QueueIndex,
    pub(super) queue_id: QueueId,
    /// The name, if it is not the request's: a dead letter topic.
    renamed: Option<String>,
    /// What the topic adds to `sysFlag`.
    topic_flag: i32,
    ticket: Option<Ticket>,
}

/// What one pass over the properties of a message finds.
#[derive(Default)]
struct PropertyScan<'a> {
    marks: Marks<'a>,
    is_wait_off: bool,
    is_transaction: bool,
    /// The delay level, if it is no number.
    bad_delay: Option<&'a str>,
    /// A property that the broker sets or removes is there already.
    needs_rebuild: bool,
}

impl<'a> PropertyScan<'a> {
    fn of(properties: &'a str) -> PropertyScan<'a> {
        let mut scan = PropertyScan::default();
        for (name, value) in text_pairs(properties) {
            match name {
                property::KEYS => scan.marks.keys.keys = Some(value),
                property::TAGS => scan.marks.tag = Some(value),
                property::UNIQUE_KEY => scan.marks.keys.unique = Some(value),
                property::WAIT => scan.is_wait_off = value.eq_ignore_ascii_case("false"),
                property::TRANSACTION_PREPARED => scan.is_transaction = value.eq_ignore_ascii_case("true"),
                property::DELAY => {
                    let level = value.parse();
                    scan.bad_delay = level.is_err().then_some(value);
                    scan.marks.delay_level = level.unwrap_or_default();
                }
                property::INNER_COUNT => scan.marks.inner_count = Some(value.parse().unwrap_or_default()),
                property::TIMER_DELAY_SEC | property::TIMER_DELAY_MS | property::TIMER_DELIVER_MS => {
                    scan.marks.is_timer = true;
                }
                property::TIMER_OUT_MS => scan.marks.timer_out_ms = Some(value.parse().unwrap_or_default()),
                property::TIMER_DEL_UNIQKEY => scan.marks.is_recall = true,
                property::LIGHT_QUEUES => scan.marks.wants_light = true,
                name if is_ours(name) => scan.needs_rebuild = true,
                _ => {}
            }
        }
        scan
    }

    /// Refuses a delay level that is no number. RocketMQ's broker fails over it, with this code.
    fn check_delay(&self) -> Result<(), Refusal> {
        if let Some(value) = self.bad_delay {
            let remark = format!("the delay level DELAY={} is no number", shown(value));
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        }
        Ok(())
    }

    /// Refuses a half message that asks for a time. Apache forgets where it belongs when the time has come.
    fn check_no_timer(&self) -> Result<(), Refusal> {
        if self.marks.is_timer {
            return Err(Refusal::new(
                ResponseCode::MessageIllegal,
                "a transactional message cannot be a timer message (TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS)",
            ));
        }
        Ok(())
    }

    /// Refuses the count of an inner batch on what says that it is none. Source: `HookUtils.checkInnerBatch`.
    fn check_no_count(&self, sys_flag: i32) -> Result<(), Refusal> {
        if self.marks.inner_count.is_some() && sys_flag & sys_flag::INNER_BATCH == 0 {
            return Err(Refusal::new(
                ResponseCode::MessageIllegal,
                "the message says how many it holds (INNER_NUM) and is no inner batch",
            ));
        }
        Ok(())
    }

    /// Refuses what a batch may not have. Source: `CommitLog.asyncPutMessages`, which delivers timer messages of a batch at once.
    fn check_no_delay(&self) -> Result<(), Refusal> {
        self.check_delay()?;
        if self.marks.delay_level > 0 {
            return Err(Refusal::new(
                ResponseCode::MessageIllegal,
                "the messages of a batch cannot be delayed (DELAY)",
            ));
        }
        if self.marks.is_timer {
            return Err(Refusal::new(
                ResponseCode::MessageIllegal,
                "the messages of a batch cannot be timer messages (TIMER_DELAY_SEC, TIMER_DELAY_MS, TIMER_DELIVER_MS)",
            ));
        }
        Ok(())
    }
}

/// Properties that the broker sets itself or takes away.
fn is_ours(name: &str) -> bool {
    matches!(
        name,
        property::CLUSTER
            | property::MSG_REGION
            | property::TRACE_ON
            | property::POP_CK
            | property::CRC32
            | property::LIGHT_OFFSETS
    )
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
        let scan = PropertyScan::of(request.properties);
        self.check_can_store(!scan.is_wait_off)?;
        scan.check_delay()?;
        let ticket = self.ensure_topic(asked, request, out)?;
        let mut destination = self.destination(request, ticket)?;
        let queue = destination.queue;
        let sent = self.send_to(asked, request, &scan, &mut destination, out);
        if sent.is_err() {
            self.log.give_back_queue(queue);
        }
        sent
    }

    fn send_to(
        &mut self,
        asked: &Asked,
        request: &SendRequest<'_>,
        scan: &PropertyScan<'_>,
        destination: &mut Destination,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let mut reconsume_times = request.reconsume_times;
        if is_retry_topic(request.topic) {
            reconsume_times = self.retry_or_dead_letter(asked, request, destination, out)?;
        }
        if request.batch {
            return self.send_batch(asked, request, scan, destination, out);
        }
        self.check_body(request.body)?;
        scan.check_no_count(request.sys_flag)?;
        if scan.marks.wants_light {
            self.check_light(request.topic, request.sys_flag, request.properties)?;
        }
        self.send_one(asked, request, scan, destination, reconsume_times, out)
    }

    pub(super) fn check_body(&self, body: &[u8]) -> Result<(), Refusal> {
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
    pub(super) fn ensure_topic(
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
        if self.is_light(name) {
            return Ok(None);
        }
        check_topic(name)?;
        if topic::refuses_sends(name) {
            return Err(refuses_sends(name));
        }
        let is_retry = is_retry_topic(name);
        let (default, queues) = (request.default_topic, request.default_topic_queues);
        let flags_of = if is_retry { topic::subscribers_flag } else { topic::producers_flag };
        let flags = flags_of(request.unit_mode);
        let config = match topic::auto_created(&self.topics, &self.settings, name, default, queues, flags) {
            Ok(config) => config,
            // A consumer that could not send a message back finds a place for it on any broker.
            Err(_) if is_retry => {
                let mut config = topic::plain_config(name, 1, topic::perm::READ | topic::perm::WRITE);
                config.sys_flag = flags;
                config
            }
            Err(refusal) => return Err(refusal),
        };
        let queues = config.write_queues;
        // A group's members are known to each shard by themselves, and make its retry topic there.
        let ticket = self.create_topics(asked.now, vec![config], !is_retry, out)?;
        if !is_retry {
            let (broker, by) = (&self.settings.name, self.peer(asked.connection).ip());
            tracing::info!(target: BY_STRANGERS, %broker, %by, topic = name, queues, "a topic is made, as a producer sent to it");
        }
        Ok(ticket)
    }

    pub(super) fn destination(
        &mut self,
        request: &SendRequest<'_>,
        ticket: Option<Ticket>,
    ) -> Result<Destination, Refusal> {
        let missing = || {
            let remark = format!("topic[{}] not exist, apply first please!", request.topic);
            Refusal::new(ResponseCode::TopicNotExist, remark)
        };
        if self.is_light(request.topic) && self.topics.get(request.topic).is_none() {
            let queue = self.light_queue(request.topic, request.queue_id)?;
            return Ok(Destination { queue, queue_id: LIGHT_QUEUE, renamed: None, topic_flag: 0, ticket });
        }
        let round_robin = self.next_queue;
        let topic = self.topics.get_mut(request.topic).ok_or_else(missing)?;
        let queue_id = match request.queue_id {
            Some(queue_id) => topic.check_queue(queue_id)?,
            None => {
                self.next_queue = round_robin.wrapping_add(1);
                QueueId(round_robin % topic.config.write_queues.max(1))
            }
        };
        let topic_flag = topic.config.tags_flag();
        Ok(Destination { queue: topic.queue(&mut self.log, queue_id), queue_id, renamed: None, topic_flag, ticket })
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
            destination.ticket = self.ensure_plain_topic(asked.now, &name, 1, 0, out)?;
            destination.queue_id = QueueId(0);
            destination.queue = self.log.queue(&name, QueueId(0));
            destination.topic_flag = self.topics.get(&name).map_or(0, |topic| topic.config.tags_flag());
            let (broker, by, tries) = (&self.settings.name, self.peer(asked.connection).ip(), request.reconsume_times);
            tracing::info!(target: BY_STRANGERS, %broker, %by, group, tries, "a message is given up, and goes to the dead letters");
            destination.renamed = Some(name);
        }
        Ok(request.reconsume_times)
    }

    fn send_one(
        &mut self,
        asked: &Asked,
        request: &SendRequest<'_>,
        scan: &PropertyScan<'_>,
        destination: &Destination,
        reconsume_times: i32,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let is_half = scan.is_transaction && !is_retried(scan, reconsume_times) && destination.renamed.is_none();
        if is_half {
            self.check_takes_transactions()?;
            scan.check_no_timer()?;
        }
        let made = if scan.marks.keys.unique.is_none() { Some(self.make_unique_key(asked)) } else { None };
        let unique = scan.marks.keys.unique.or(made.as_ref().map(|key| key.as_str()));
        let mut properties = std::mem::take(&mut self.scratch.properties);
        properties.clear();
        self.store_properties(request.properties, scan, made.as_ref().map(|key| key.as_str()), &mut properties);
        let mut marks = Marks { keys: KeysToIndex { unique, keys: scan.marks.keys.keys }, ..scan.marks };
        if destination.renamed.is_some() {
            // What is given up is not put off. Source: `SendMessageProcessor.handleRetryAndDLQ`.
            marks.delay_level = -1;
            set_property(&mut properties, property::DELAY, "-1");
        }
        let mut recall_handle = None;
        let result = check_properties(&properties).and_then(|()| {
            let draft = RecordDraft {
                topic: destination.renamed.as_deref().unwrap_or(request.topic),
                queue_id: destination.queue_id,
                flag: request.flag,
                sys_flag: request.sys_flag & !sys_flag::TRANSACTION_MASK | destination.topic_flag,
                born_timestamp: request.born_timestamp.0,
                born_host: self.peer(asked.connection),
                reconsume_times,
                body: request.body,
                properties: &properties,
                marks,
                ..self.draft(asked.now)
            };
            if is_half {
                return self.store_half(asked.now, &draft);
            }
            let Some(out_ms) = self.timer_out_ms(asked.now, &marks, &properties)? else {
                return Ok(self.store_or_put_off(asked.now, destination.queue, &draft)?);
            };
            recall_handle = self.recall_handle(&draft, out_ms);
            Ok(self.put_timer(asked.now, out_ms, &draft)?)
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
            recall_handle: recall_handle.as_deref(),
            batch_id: None,
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
        scan: &PropertyScan<'_>,
        destination: &Destination,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        if destination.renamed.is_some() || is_retry_topic(request.topic) {
            return Err(Refusal::new(ResponseCode::MessageIllegal, "batch request does not support retry group"));
        }
        scan.check_no_delay()?;
        self.check_no_light(scan)?;
        if request.sys_flag & sys_flag::TRANSACTION_MASK != 0 {
            return Err(Refusal::new(ResponseCode::MessageIllegal, "the messages of a batch cannot be transactional"));
        }
        self.check_body(request.body)?;
        let messages = split_batch(request.body)
            .collect::<Result<Vec<BatchedMessage<'_>>, _>>()
            .map_err(|error| Refusal::new(ResponseCode::MessageIllegal, error.to_string()))?;
        let is_stored_whole = self.topics.get(request.topic).is_some_and(|topic| topic.has_inner_batches);
        if is_stored_whole && let Some(batch_id) = scan.marks.keys.unique {
            return self.send_inner_batch(asked, request, (scan, batch_id), &messages, destination, out);
        }
        scan.check_no_count(request.sys_flag)?;
        let born_host = self.peer(asked.connection);
        let mut scans = Vec::with_capacity(messages.len());
        for message in &messages {
            let (text, inner) = scan_batched(message)?;
            self.check_no_light(&inner)?;
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
                sys_flag: request.sys_flag & !sys_flag::TRANSACTION_MASK | destination.topic_flag,
                born_timestamp: request.born_timestamp.0,
                born_host,
                reconsume_times: request.reconsume_times,
                body: message.body,
                properties: stored,
                marks: inner.marks,
                ..self.draft(asked.now)
            });
        }
        let appended = self.store_all(asked.now, destination.queue, &drafts)?;
        let (Some(first), Some(last)) = (appended.first(), appended.last()) else {
            return Err(Refusal::new(ResponseCode::MessageIllegal, "batch is empty"));
        };
        let mut ids = String::with_capacity(appended.len() * 33);
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
            unique: scan.marks.keys.unique,
            recall_handle: None,
            batch_id: None,
            waits: !scan.is_wait_off,
        };
        self.answer_send(asked, &stored, destination.ticket, out);
        Ok(Handled::Done)
    }

    /// Stores a batch as one record, as it came. Source: `SendMessageProcessor.sendBatchMessage`.
    fn send_inner_batch(
        &mut self,
        asked: &Asked,
        request: &SendRequest<'_>,
        (scan, batch_id): (&PropertyScan<'_>, &str),
        messages: &[BatchedMessage<'_>],
        destination: &Destination,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        for message in messages {
            scan_batched(message)?;
        }
        let mut properties = Vec::with_capacity(request.properties.len() + OWN_PROPERTIES_BYTES);
        self.store_properties(request.properties, scan, None, &mut properties);
        set_property(&mut properties, property::INNER_COUNT, &messages.len().to_string());
        check_properties(&properties)?;
        let draft = RecordDraft {
            topic: request.topic,
            queue_id: destination.queue_id,
            flag: request.flag,
            sys_flag: request.sys_flag | sys_flag::NEED_UNWRAP | sys_flag::INNER_BATCH | destination.topic_flag,
            born_timestamp: request.born_timestamp.0,
            born_host: self.peer(asked.connection),
            reconsume_times: request.reconsume_times,
            body: request.body,
            properties: &properties,
            marks: Marks::of(&properties),
            ..self.draft(asked.now)
        };
        let appended = self.store(asked.now, destination.queue, &draft)?;
        let id = MessageId { store_host: self.settings.address, log_offset: appended.log_offset }.encode();
        let stored = Stored {
            message_id: id.as_str(),
            queue_id: destination.queue_id,
            first: appended,
            end: appended.end,
            unique: Some(batch_id),
            recall_handle: None,
            batch_id: Some(batch_id),
            waits: !scan.is_wait_off,
        };
        self.answer_send(asked, &stored, destination.ticket, out);
        Ok(Handled::Done)
    }

    fn answer_send(&mut self, asked: &Asked, stored: &Stored<'_>, ticket: Option<Ticket>, out: &mut Output) {
        self.answer(asked, Promise::sent(stored.end, stored.waits, ticket), out, |settings, frame| {
            let fields = SendReplyFields {
                code: ResponseCode::Success,
                message_id: stored.message_id,
                queue_id: stored.queue_id.0,
                queue_offset: stored.first.queue_offset.0,
                transaction_id: stored.unique,
                recall_handle: stored.recall_handle,
                batch_id: stored.batch_id,
                region: &settings.region,
                trace: settings.trace_on,
                remark: None,
            };
            encode_send_reply(asked.encoding, asked.opaque, &fields, frame);
        });
    }

    /// Refuses a batch, or a message of one, that is meant for light queues: RocketMQ's broker takes it, and puts it into none.
    fn check_no_light(&self, scan: &PropertyScan<'_>) -> Result<(), Refusal> {
        if scan.marks.wants_light && self.settings.light.is_enabled {
            return Err(Refusal::new(
                ResponseCode::MessageIllegal,
                "a batch cannot be put into light queues (INNER_MULTI_DISPATCH)",
            ));
        }
        Ok(())
    }

    /// The properties as they are stored: the client's, without what is ours to say, then ours.
    fn store_properties(&self, text: &str, scan: &PropertyScan<'_>, made_unique: Option<&str>, out: &mut Vec<u8>) {
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
    recall_handle: Option<&'a str>,
    batch_id: Option<&'a str>,
    waits: bool,
}

/// The properties of a message of a batch, and what they say.
fn scan_batched<'a>(message: &BatchedMessage<'a>) -> Result<(&'a str, PropertyScan<'a>), Refusal> {
    let text = std::str::from_utf8(message.properties)
        .map_err(|_| Refusal::new(ResponseCode::MessageIllegal, "properties of a message of the batch are no text"))?;
    let scan = PropertyScan::of(text);
    scan.check_no_delay()?;
    Ok((text, scan))
}

/// Whether a consumer sends anew what was a half message once. Clients before 4.6.1 leave its mark. Source: `SendMessageProcessor.sendMessage`.
fn is_retried(scan: &PropertyScan<'_>, reconsume_times: i32) -> bool {
    reconsume_times > 0 && scan.marks.delay_level > 0
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
