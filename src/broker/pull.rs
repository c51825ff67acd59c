//! Pulls: checks in RocketMQ's order, one read, and an answer that always says where to go on.
//!
//! A pull that finds its queue at its end is held (`hold`) and runs once more when the queue grows or its time is over; a
//! pull of old data waits for a block of the disk and runs again from its beginning. Answers 0, 19, 20 and 21 carry the same
//! four numbers, because clients read them unasked. Source: RocketMQ `PullMessageProcessor`, `DefaultMessageStore.getMessage`,
//! `PullRequestHoldService`.

use std::cell::Cell;
use std::sync::Arc;

use bytes::BytesMut;

use super::client::ConsumerGroup;
use super::dispatch::readers_behind;
use super::filter::{MessageFilter, TagFilter};
use super::hold::{HoldId, Turn};
use super::light::check_light_queue;
use super::{Asked, Broker, Handled, Output, Refusal, UNREADABLE, topic};
use crate::limits::{HOLD_BYTES_PER_TURN, HOLD_MS_MAX, HOLDS_PER_TURN, PULL_BYTES_MAX, PULL_MESSAGES_MAX};
use crate::log::{BlockId, QueueBounds, QueueIndex, Read, ReadLimits};
use crate::metrics::Amount;
use crate::model::{GroupName, MonoNs, QueueId, QueueOffset, TopicName};
use crate::protocol::body::DataVersion;
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{LIGHT_QUEUE, is_retry_topic};
use crate::protocol::record::{Check, RecordView, java_hash, log_offset_of};
use crate::protocol::reply::{ExtValue, Reply, encode_reply};
use crate::protocol::request::PullRequest;
use crate::said::BY_STRANGERS;

/// How long a slave holds a pull while its master is there.
const HOLD_ON_SLAVE_MS: u64 = 1_000;

/// For code 1, after which a stock consumer asks again in 3 s.
const NO_ROOM_TO_WAIT: &str = "too many pulls wait for messages on this broker: ask again later";

/// A pull whose checks are passed.
#[derive(Clone, Debug)]
pub(super) struct Pull {
    asked: Asked,
    pub(super) topic: TopicName,
    group: GroupName,
    /// `None`: a light queue that was not there when it was asked for.
    queue: Option<QueueIndex>,
    from: Option<QueueOffset>,
    /// Messages up to here were seen not to match, while the pull was held.
    scanned: Option<QueueOffset>,
    messages_max: usize,
    filter: Arc<MessageFilter>,
    topic_sys_flag: i32,
    group_sys_flag: i32,
    /// The group's `brokerId`.
    reader_asks: i64,
    /// The group's `whichBrokerWhenConsumeSlowly`.
    slow_reader_asks: i64,
    /// The version of the groups' table by which it was allowed.
    allowed_by: DataVersion,
}

/// What a held pull waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum HeldFor {
    /// This queue to grow.
    Queue(QueueIndex),
    /// A light queue to grow, which need not be there yet, by the hash of its name: who waits for one makes none. Another one of the same hash wakes it
    /// for nothing.
    Light(i32),
}

impl HeldFor {
    fn light(name: &TopicName) -> HeldFor {
        HeldFor::Light(java_hash(0, name.as_str()))
    }
}

/// How a pull ends, or does not yet.
enum PullOutcome {
    Found {
        next: QueueOffset,
        messages: usize,
    },
    /// 19: the queue's end. Only this may be held.
    AtEnd {
        next: QueueOffset,
        status: &'static str,
    },
    /// 20.
    NoMatch {
        next: QueueOffset,
        status: &'static str,
    },
    /// 21.
    Moved {
        next: QueueOffset,
        status: &'static str,
    },
    Cold(BlockId),
    /// 1: it cannot be read now. The reader stays where it is, and asks again after its client's pause for errors.
    Unreadable {
        what: &'static str,
    },
}

/// RocketMQ's name of the one language of expressions besides tags.
pub(super) const SQL92: &str = "SQL92";

/// An entry of a consume queue. Source: RocketMQ `ConsumeQueue.CQ_STORE_UNIT_SIZE`.
const ENTRY_BYTES: usize = 20;

/// What holds may cost in one turn of a shard.
pub(super) struct HoldBudget {
    holds: usize,
    bytes: usize,
}

impl HoldBudget {
    pub(super) fn of_turn() -> HoldBudget {
        HoldBudget { holds: HOLDS_PER_TURN, bytes: HOLD_BYTES_PER_TURN }
    }

    pub(super) fn is_left(&self) -> bool {
        self.holds > 0 && self.bytes > 0
    }

    pub(super) fn spend(&mut self, bytes: usize) {
        self.holds -= 1;
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

impl Broker {
    /// PULL_MESSAGE 11 and LITE_PULL_MESSAGE 361.
    pub(super) fn pull(
        &mut self,
        asked: &Asked,
        request: &PullRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        if self.settings.permission & topic::perm::READ == 0 {
            return Err(forbidden(1, format!("the broker[{}] pulling message is forbidden", self.settings.name)));
        }
        if out.outbox.is_full() {
            return Err(readers_behind());
        }
        let (group, group_sys_flag, reader_asks, slow_reader_asks) = {
            let group = self.group_config(asked.now, request.group, out)?;
            if !group.consume_enable {
                let remark = format!("subscription group no permission, {}", request.group);
                return Err(forbidden(2, remark));
            }
            (group.name.clone(), group.sys_flag, group.broker_id, group.which_broker_when_consume_slowly)
        };
        let (queue_id, queue, name, topic_sys_flag) = self.readable_queue(request)?;
        let filter = self.pull_filter(request)?;
        let reset = self.offsets.take_reset(request.group, request.topic, queue_id);
        if asked.rounds == 0
            && reset.is_none()
            && request.sys_flag.commits_offset()
            && let Some(offset) = request.commit_offset
            && queue.is_some()
        {
            self.commit(request.group, request.topic, queue_id, offset)?;
        }
        let messages_max = request.messages_max.clamp(1, PULL_MESSAGES_MAX);
        let pull = Pull {
            asked: *asked,
            topic: name,
            group,
            queue,
            from: request.queue_offset,
            scanned: request.queue_offset,
            messages_max: messages_max as usize,
            filter,
            topic_sys_flag,
            group_sys_flag,
            reader_asks,
            slow_reader_asks,
            allowed_by: self.groups.version(),
        };
        if let Some(next) = reset {
            self.answer_pull(asked.now.mono, &pull, &PullOutcome::Moved { next, status: "OFFSET_RESET" }, out);
            return Ok(Handled::Done);
        }
        let outcome = self.run_pull(&pull);
        if let PullOutcome::Cold(block) = outcome {
            return Ok(Handled::Cold(block));
        }
        let may_hold = request.sys_flag.may_suspend() && !asked.is_oneway;
        // A reader whose master is there is to go there, but its route may not have it yet: it waits a little, or it would ask without end.
        let hold_ms_max = if self.follows_master() { HOLD_ON_SLAVE_MS } else { HOLD_MS_MAX };
        let polling_ms_max = if self.settings.long_polling { HOLD_MS_MAX } else { self.settings.short_polling_ms };
        match hold_deadline(asked, request, hold_ms_max.min(polling_ms_max))
            .filter(|_| may_hold && matches!(outcome, PullOutcome::AtEnd { .. }))
        {
            Some(deadline) => {
                if let Err(pull) = self.holds.insert(self.held_for(&pull), asked.connection, deadline, pull) {
                    // Told that there is nothing it would ask again at once, and with it all others that find no room.
                    let outcome = PullOutcome::Unreadable { what: NO_ROOM_TO_WAIT };
                    self.answer_pull(asked.now.mono, &pull, &outcome, out);
                }
            }
            None => {
                self.answer_pull(asked.now.mono, &pull, &outcome, out);
            }
        }
        Ok(Handled::Done)
    }

    fn readable_queue(
        &mut self,
        request: &PullRequest<'_>,
    ) -> Result<(QueueId, Option<QueueIndex>, TopicName, i32), Refusal> {
        let name = request.topic;
        if self.is_light(name) && self.topics.get(name).is_none() {
            check_light_queue(name, request.queue_id)?;
            return Ok((LIGHT_QUEUE, self.log.find_queue(name, LIGHT_QUEUE), TopicName::from(name), 0));
        }
        let Some(topic) = self.topics.get_mut(name) else {
            let remark = format!("topic[{name}] not exist, apply first please!");
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        };
        if topic.config.perm & topic::perm::READ == 0 {
            return Err(forbidden(3, format!("the topic[{name}] pulling message is forbidden")));
        }
        let read_queues = topic.config.read_queues;
        let queue_id = request.queue_id.filter(|queue| queue.0 < read_queues).ok_or_else(|| {
            let queue = request.queue_id.map_or_else(|| "-1".to_owned(), |queue| queue.to_string());
            let remark =
                format!("queueId[{queue}] is illegal, topic:[{name}] topicConfig.readQueueNums:[{read_queues}]");
            Refusal::new(ResponseCode::InvalidParameter, remark)
        })?;
        let queue = topic.queue(&mut self.log, queue_id);
        Ok((queue_id, Some(queue), topic.name.clone(), topic.config.sys_flag))
    }

    /// The queue of a pull, if it is there by now.
    fn pulled_queue(&self, pull: &Pull) -> Option<QueueIndex> {
        pull.queue.or_else(|| self.log.find_queue(pull.topic.as_str(), LIGHT_QUEUE))
    }

    fn bounds_of(&self, pull: &Pull) -> QueueBounds {
        self.pulled_queue(pull).map(|queue| self.log.bounds(queue)).unwrap_or_default()
    }

    fn held_for(&self, pull: &Pull) -> HeldFor {
        pull.queue.map_or_else(|| HeldFor::light(&pull.topic), |queue| self.holds_of(queue))
    }

    /// By what the holds of a queue are known.
    pub(super) fn holds_of(&self, queue: QueueIndex) -> HeldFor {
        self.log.light_name(queue).map_or(HeldFor::Queue(queue), HeldFor::light)
    }

    /// The filter of the request itself if it brings one, else that of the group's heartbeat.
    fn pull_filter(&mut self, request: &PullRequest<'_>) -> Result<Arc<MessageFilter>, Refusal> {
        if request.sys_flag.has_subscription() {
            return self.own_filter(request);
        }
        let group_name = request.group;
        let Some(group) = self.clients.consumer_group(group_name) else {
            return Err(Refusal::new(ResponseCode::SubscriptionNotExist, "the consumer's group info not exist"));
        };
        if group.is_broadcast() && !self.groups.get(group_name).is_none_or(|config| config.consume_broadcast_enable) {
            return Err(forbidden(4, format!("the consumer group[{group_name}] can not consume by broadcast way")));
        }
        if self.groups.is_forbidden(group_name, request.topic) {
            let remark = format!("the consumer group[{group_name}] is forbidden for topic[{}]", request.topic);
            return Err(forbidden(5, remark));
        }
        let Some(subscription) = group.subscription(request.topic) else {
            let remark = format!("the consumer's subscription not exist: group {group_name}, topic {}", request.topic);
            return Err(Refusal::new(ResponseCode::SubscriptionNotExist, remark));
        };
        if subscription.data.version < request.subscription_version {
            return Err(Refusal::new(ResponseCode::SubscriptionNotLatest, "the consumer's subscription not latest"));
        }
        // RocketMQ keeps expressions apart from subscriptions, so that one may be older (28). Here they are one.
        let Some(filter) = &subscription.filter else {
            let remark = "The broker's consumer filter data is not exist!Your expression may be wrong!";
            return Err(Refusal::new(ResponseCode::FilterDataNotExist, remark));
        };
        let filter = Arc::clone(filter);
        self.check_expression_type(subscription.data.expression_type.name())?;
        Ok(self.filter_of_retries(request, filter))
    }

    /// The filter that a request brings with it.
    fn own_filter(&mut self, request: &PullRequest<'_>) -> Result<Arc<MessageFilter>, Refusal> {
        let kind = request.expression_type.unwrap_or("TAG");
        let expression = request.subscription.unwrap_or("*");
        if !expression.is_empty() {
            self.check_expression_type(kind)?;
        }
        // RocketMQ means to refuse a wrong expression as well, by an assertion that is off: it delivers everything.
        let filter = self.filter_of(kind, expression)?;
        Ok(self.filter_of_retries(request, filter))
    }

    /// What an expression of a request wants.
    ///
    /// # Errors
    /// 23.
    pub(super) fn filter_of(&mut self, kind: &str, expression: &str) -> Result<Arc<MessageFilter>, Refusal> {
        let unparsed =
            || Refusal::new(ResponseCode::SubscriptionParseFailed, "parse the consumer's subscription failed");
        if matches!(kind, "" | "TAG") {
            let tags = TagFilter::parse(expression).map_err(|_| unparsed())?;
            return Ok(Arc::new(MessageFilter::Tags(tags)));
        }
        if expression.is_empty() || kind != SQL92 {
            return Err(unparsed());
        }
        self.kept_filters.get(expression).map_err(|_| unparsed())
    }

    /// Under `filterSupportRetry` an expression for a retry topic gives way to what the group wants of the topics that its messages come from.
    fn filter_of_retries(&self, request: &PullRequest<'_>, filter: Arc<MessageFilter>) -> Arc<MessageFilter> {
        let is_of_retries = self.settings.filters_retries && is_retry_topic(request.topic);
        if !is_of_retries || !matches!(*filter, MessageFilter::Sql(_)) {
            return filter;
        }
        let Some(group) = self.clients.consumer_group(request.group) else {
            return Arc::new(MessageFilter::Origin(Vec::new()));
        };
        let by_expression = group.subscriptions().filter_map(|(topic, subscription)| {
            let filter = subscription.filter.as_ref().filter(|filter| matches!(***filter, MessageFilter::Sql(_)))?;
            Some((topic.clone(), Arc::clone(filter)))
        });
        Arc::new(MessageFilter::Origin(by_expression.collect()))
    }

    /// Whether subscriptions of this kind may filter here.
    pub(super) fn check_expression_type(&self, kind: &str) -> Result<(), Refusal> {
        if matches!(kind, "" | "TAG") || self.settings.filters_properties {
            return Ok(());
        }
        let remark = format!("The broker does not support consumer to filter message by {kind}");
        Err(Refusal::new(ResponseCode::SystemError, remark))
    }

    /// Looks the messages up and puts the records into the scratch buffer.
    fn run_pull(&mut self, pull: &Pull) -> PullOutcome {
        let bounds = self.bounds_of(pull);
        self.scratch.records.clear();
        let moved = |next, status| PullOutcome::Moved { next, status };
        let Some(from) = pull.scanned else {
            return moved(bounds.min, "OFFSET_TOO_SMALL");
        };
        // A slave that is behind its master, or began later, corrects nobody: what it lacks is at the master, and its readers would skip
        // messages or read them twice. Source: `DefaultMessageStore.nextOffsetCorrection`.
        if self.is_slave() && (from < bounds.min || from > bounds.appended_max) {
            return PullOutcome::AtEnd { next: from, status: "OFFSET_OVERFLOW_BADLY" };
        }
        if bounds.max.0 == 0 && bounds.appended_max.0 == 0 {
            let (next, status) = (QueueOffset(0), "NO_MESSAGE_IN_QUEUE");
            return if from.0 == 0 { PullOutcome::AtEnd { next, status } } else { moved(next, status) };
        }
        if from < bounds.min {
            return moved(bounds.min, "OFFSET_TOO_SMALL");
        }
        if from > bounds.appended_max {
            return moved(bounds.max, "OFFSET_OVERFLOW_BADLY");
        }
        if from >= bounds.max {
            // Beyond what consumers may see, but not beyond what is stored: it will be there, so nothing has moved.
            return PullOutcome::AtEnd { next: from, status: "OFFSET_OVERFLOW_ONE" };
        }
        let Some(queue) = self.pulled_queue(pull) else {
            return PullOutcome::AtEnd { next: from, status: "NO_MESSAGE_IN_QUEUE" };
        };
        let limits = ReadLimits {
            messages_max: pull.messages_max,
            bytes_max: PULL_BYTES_MAX,
            entries_max: pull.filter.entries_max(),
        };
        let wanted = |tag_code: i64| pull.filter.wants(tag_code);
        let passed_bytes = Cell::new(0);
        let matches = |record: &[u8]| {
            let is_wanted = pull.filter.matches(record);
            if !is_wanted {
                passed_bytes.set(passed_bytes.get() + record.len());
            }
            is_wanted
        };
        let records = &mut self.scratch.records;
        let read = self.log.read_matching(queue, from, &limits, &wanted, &matches, records);
        self.scratch.passed_bytes = passed_bytes.get();
        match read {
            Read::Found { next, messages } => PullOutcome::Found { next, messages },
            Read::NoMatch { next } => PullOutcome::NoMatch { next, status: "NO_MATCHED_MESSAGE" },
            // That it lies within what the bounds say only means that its block, or a branch of many, is not wholly gone.
            Read::Removed { .. } if self.is_slave() => {
                PullOutcome::AtEnd { next: from, status: "OFFSET_OVERFLOW_BADLY" }
            }
            Read::Removed { next } => PullOutcome::NoMatch { next, status: "MESSAGE_WAS_REMOVING" },
            // The master may have it, and it alone knows what nobody has.
            Read::Damaged { .. } if self.follows_master() => {
                PullOutcome::NoMatch { next: from, status: "MESSAGE_IS_DAMAGED" }
            }
            Read::Damaged { at, .. } if self.may_be_whole_elsewhere(at) => {
                PullOutcome::Unreadable { what: "the message is damaged on this broker's disk; a replica may have it" }
            }
            Read::Damaged { at, next } => {
                self.counters.damaged_passed_count += 1;
                tracing::warn!(
                    target: BY_STRANGERS,
                    topic = %pull.topic, group = %pull.group, log_offset = %at, %next,
                    "a reader goes on behind a message that is damaged on the disk, and of which no replica is known to be whole"
                );
                PullOutcome::NoMatch { next, status: "MESSAGE_WAS_REMOVING" }
            }
            Read::Failed => PullOutcome::Unreadable { what: UNREADABLE },
            Read::Cold(block) => PullOutcome::Cold(block),
        }
    }

    /// Returns how many bytes of records the answer has.
    fn answer_pull(&mut self, now: MonoNs, pull: &Pull, outcome: &PullOutcome, out: &mut Output) -> usize {
        let asked = &pull.asked;
        if let PullOutcome::Unreadable { what } = outcome {
            self.counters.get_miss_count += 1;
            if !asked.is_oneway {
                let reply = Reply::error(ResponseCode::SystemError, what);
                encode_reply(asked.encoding, asked.opaque, &reply, out.outbox.buffer(asked.connection));
            }
            return 0;
        }
        let records = std::mem::replace(&mut self.scratch.records, BytesMut::new());
        let (code, next, status, body): (_, _, _, &[u8]) = match outcome {
            PullOutcome::Found { next, messages } => {
                if let Some(queue) = self.pulled_queue(pull) {
                    self.note_got(now, (queue, &pull.topic, &pull.group), *messages as u64, &records);
                }
                (ResponseCode::Success, *next, "FOUND", &records)
            }
            PullOutcome::AtEnd { next, status } => (ResponseCode::PullNotFound, *next, *status, &[]),
            PullOutcome::NoMatch { next, status } => (ResponseCode::PullRetryImmediately, *next, *status, &[]),
            PullOutcome::Moved { next, status } => (ResponseCode::PullOffsetMoved, *next, *status, &[]),
            PullOutcome::Cold(_) | PullOutcome::Unreadable { .. } => {
                (ResponseCode::PullRetryImmediately, pull.from.unwrap_or_default(), "COLD", &[])
            }
        };
        if code != ResponseCode::Success {
            self.counters.get_miss_count += 1;
        }
        let (suggested, code) = self.suggestion(pull, code, &records);
        let bounds = self.bounds_of(pull);
        let number = |offset: QueueOffset| ExtValue::I64(i64::try_from(offset.0).unwrap_or(i64::MAX));
        let ext = [
            ("suggestWhichBrokerId", ExtValue::I64(suggested)),
            ("nextBeginOffset", number(next)),
            ("minOffset", number(bounds.min)),
            ("maxOffset", number(bounds.max)),
            ("topicSysFlag", ExtValue::I64(i64::from(pull.topic_sys_flag))),
            ("groupSysFlag", ExtValue::I64(i64::from(pull.group_sys_flag))),
        ];
        if !asked.is_oneway {
            let reply = Reply { code, remark: Some(status), ext: &ext, body };
            encode_reply(asked.encoding, asked.opaque, &reply, out.outbox.buffer(asked.connection));
        }
        let bytes = body.len();
        self.scratch.records = records;
        bytes
    }

    /// Counts what one answer holds.
    pub(super) fn note_got(
        &mut self,
        now: MonoNs,
        (queue, topic, group): (QueueIndex, &TopicName, &GroupName),
        messages: u64,
        records: &[u8],
    ) {
        let bytes = records.len() as u64;
        self.counters.get_found_count += 1;
        self.counters.get_count += messages;
        self.counters.get_bytes += bytes;
        let amount = Amount { messages, bytes, calls: 1 };
        if self.statistics.note_got(now, queue, topic, group, amount) {
            self.counters.user_get_count += messages;
        }
        if let Some(at) = log_offset_of(records) {
            self.stages.note_pulled(now, at);
        }
    }

    /// Which replica the reader is told to ask next, and with which code.
    ///
    /// Readers of what a master's tail no longer holds may be sent to a slave, if `slaveReadEnable` says so and one is connected; all others
    /// belong to the master, as long as there is one. Source: `PullMessageProcessor.composeResponseHeader`.
    fn suggestion(&self, pull: &Pull, code: ResponseCode, records: &[u8]) -> (i64, ResponseCode) {
        const MASTER: i64 = 0;
        let reads_old = self.settings.replica.slave_read
            && RecordView::decode(records, None, Check::Shape)
                .is_ok_and(|first| !self.log.is_in_tail(first.log_offset));
        if self.is_slave() {
            return match (self.follows_master(), reads_old) {
                (true, false) if code == ResponseCode::Success => (MASTER, code),
                (true, false) => (MASTER, ResponseCode::PullRetryImmediately),
                (true, true) | (false, _) => (i64::try_from(self.life.broker_id.0).unwrap_or(MASTER), code),
            };
        }
        if !self.settings.replica.slave_read || self.view_replicas().slaves.is_empty() {
            return (MASTER, code);
        }
        (if reads_old { pull.slow_reader_asks } else { pull.reader_asks }, code)
    }

    /// Lets holds and jobs know which queues have grown, and gives holds their turn, as many as one turn of the shard has room for.
    pub(super) fn wake_readers(&mut self, now: MonoNs, out: &mut Output) {
        for queue in self.log.queues_advanced() {
            self.delays.jobs.queue_has_grown(queue);
            self.delays.timers.queue_has_grown(queue);
            self.holds.queue_has_grown(self.holds_of(queue));
            self.pops.queue_has_grown(queue);
        }
        let mut budget = HoldBudget::of_turn();
        while budget.is_left()
            && let Some((id, why)) = self.holds.next_turn()
        {
            budget.spend(match why {
                Turn::Grown => self.wake(now, id, out),
                Turn::Hurried => self.holds.remove(id).map_or(0, |pull| self.answer_empty(now, &pull, out)),
                Turn::Ended => self.holds.remove(id).map_or(0, |pull| answer_ended(&pull, out)),
            });
        }
    }

    /// Runs one hold again. If nothing in what is new matches, it goes on waiting from there. Returns how many bytes it looked at.
    fn wake(&mut self, now: MonoNs, id: HoldId, out: &mut Output) -> usize {
        let Some(mut pull) = self.holds.get_mut(id).map(|held| held.clone()) else { return 0 };
        if out.outbox.is_over(pull.asked.connection) || out.outbox.is_full() || !self.is_still_allowed(&pull) {
            // Its next pull is not read, or refused, before the outbox has drained, which is what slows it down.
            self.holds.remove(id);
            return self.answer_empty(now, &pull, out);
        }
        match self.run_pull(&pull) {
            PullOutcome::AtEnd { .. } => 0,
            PullOutcome::NoMatch { next, .. } if self.bounds_of(&pull).max <= next => {
                let entries = next.0.saturating_sub(pull.scanned.unwrap_or_default().0);
                pull.scanned = Some(next);
                if let Some(held) = self.holds.get_mut(id) {
                    held.scanned = pull.scanned;
                }
                let entry_bytes = usize::try_from(entries).unwrap_or(usize::MAX).saturating_mul(ENTRY_BYTES);
                entry_bytes.saturating_add(self.scratch.passed_bytes)
            }
            // What was just appended is in the tail; if it is not, the client asks again and waits for the block then.
            PullOutcome::Cold(_) => {
                self.holds.remove(id);
                let next = pull.scanned.unwrap_or_default();
                self.answer_pull(now, &pull, &PullOutcome::NoMatch { next, status: "NO_MATCHED_MESSAGE" }, out)
            }
            outcome => {
                self.holds.remove(id);
                self.answer_pull(now, &pull, &outcome, out)
            }
        }
    }

    /// Whether a pull that was held may still be answered with messages. If not, its next one is told why.
    fn is_still_allowed(&self, pull: &Pull) -> bool {
        if self.groups.version() == pull.allowed_by {
            return true;
        }
        let (group, topic) = (pull.group.as_str(), pull.topic.as_str());
        let is_broadcast = || self.clients.consumer_group(group).is_some_and(ConsumerGroup::is_broadcast);
        self.groups.get(group).is_some_and(|config| {
            config.consume_enable
                && (config.consume_broadcast_enable || !is_broadcast())
                && !self.groups.is_forbidden(group, topic)
        })
    }

    /// Answers holds whose time is over, as many as one turn of the shard has room for. What was looked at and did not match need not be looked
    /// at again.
    pub(super) fn expire_holds(&mut self, now: MonoNs, out: &mut Output) {
        let mut budget = HoldBudget::of_turn();
        while budget.is_left()
            && let Some(pull) = self.holds.pop_due(now)
        {
            budget.spend(self.end_hold(now, &pull, out));
        }
    }

    /// Answers a pull that waits no longer. Returns how many bytes it looked at.
    pub(super) fn end_hold(&mut self, now: MonoNs, pull: &Pull, out: &mut Output) -> usize {
        let is_read =
            !out.outbox.is_over(pull.asked.connection) && !out.outbox.is_full() && self.is_still_allowed(pull);
        match is_read.then(|| self.run_pull(pull)) {
            None | Some(PullOutcome::AtEnd { .. } | PullOutcome::Cold(_)) => self.answer_empty(now, pull, out),
            Some(outcome) => self.answer_pull(now, pull, &outcome, out),
        }
    }

    fn answer_empty(&mut self, now: MonoNs, pull: &Pull, out: &mut Output) -> usize {
        let next = pull.scanned.unwrap_or_default();
        let outcome = if pull.scanned > pull.from {
            PullOutcome::NoMatch { next, status: "NO_MATCHED_MESSAGE" }
        } else {
            PullOutcome::AtEnd { next, status: "OFFSET_OVERFLOW_ONE" }
        };
        self.answer_pull(now, pull, &outcome, out)
    }
}

/// Answers a hold of a topic that was deleted.
fn answer_ended(pull: &Pull, out: &mut Output) -> usize {
    let remark = format!("topic[{}] not exist, apply first please!", pull.topic);
    let reply = Reply::error(ResponseCode::TopicNotExist, &remark);
    encode_reply(pull.asked.encoding, pull.asked.opaque, &reply, out.outbox.buffer(pull.asked.connection));
    0
}

fn hold_deadline(asked: &Asked, request: &PullRequest<'_>, hold_ms_max: u64) -> Option<MonoNs> {
    (request.suspend_ms > 0).then(|| asked.now.mono.plus_ms(request.suspend_ms.min(hold_ms_max)))
}

/// 16 with RocketMQ's number of the reason.
fn forbidden(kind: i32, remark: String) -> Refusal {
    let mut refusal = Refusal::new(ResponseCode::NoPermission, remark);
    refusal.forbidden_type = Some(kind);
    refusal
}
