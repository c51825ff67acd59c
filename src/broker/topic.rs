//! Topics of a shard: their settings, who may create them and how, and the log's handles of their queues.
//!
//! State of the shard, durable: every change is written at once. A topic exists here because a tool created it, because
//! RocketMQ has it from the start, or because a producer sent to it and [`auto_created`] allows it.

use std::collections::BTreeMap;

use slab::Slab;

use super::Refusal;
use super::ack::Ticket;
use super::settings::BrokerSettings;
use super::snapshot::names_between;
use super::unwritten::Unwritten;
use crate::limits::{CONFIG_BYTES_MAX, TOPIC_QUEUES_MAX, TOPICS_MAX};
use crate::log::{Log, QueueIndex};
use crate::model::{FastMap, QueueId, TopicName, UnixMs};
pub(crate) use crate::protocol::body::perm;
use crate::protocol::body::{DataVersion, TableChange, TopicConfig, TopicTable};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{
    CHECK_MAX_TOPIC, HALF_TOPIC, OP_TOPIC, SCHEDULE_TOPIC, WHEEL_TOPIC, is_revive_topic, revive_topic,
};

/// The topic from whose settings producers create topics.
pub(crate) const CREATE_TOPIC_KEY: &str = "TBW102";

/// Name and one value of an attribute: the topic's batches are stored whole. Source: RocketMQ `TopicAttributes`, `CQType`.
pub(super) const QUEUE_TYPE: &str = "queue.type";
pub(super) const BATCH_QUEUES: &str = "BatchCQ";

/// Whether it has that attribute.
pub(super) fn has_inner_batches(config: &TopicConfig) -> bool {
    config.attributes.get(QUEUE_TYPE).is_some_and(|kind| kind == BATCH_QUEUES)
}

const SELF_TEST_TOPIC: &str = "SELF_TEST_TOPIC";
const OFFSET_MOVED_TOPIC: &str = "OFFSET_MOVED_EVENT";

/// Topics to which no client may send. Source: `TopicValidator.isNotAllowedSendTopic`.
/// And that of timer messages, where Apache takes what no broker can deliver.
const REFUSED_TOPICS: [&str; 7] =
    [SCHEDULE_TOPIC, WHEEL_TOPIC, HALF_TOPIC, OP_TOPIC, CHECK_MAX_TOPIC, SELF_TEST_TOPIC, OFFSET_MOVED_TOPIC];

/// Whether no client may send to this topic. Apache lets clients send to its revive topics, and believes what it finds there.
pub(crate) fn refuses_sends(name: &str) -> bool {
    REFUSED_TOPICS.contains(&name) || is_revive_topic(name)
}

/// One topic on this shard.
#[derive(Debug)]
pub(crate) struct Topic {
    /// Its name, shared with whoever keeps it.
    pub(crate) name: TopicName,
    /// Its settings.
    pub(crate) config: TopicConfig,
    /// Whether clients' sends are refused: RocketMQ's internal topics.
    pub(crate) refuses_sends: bool,
    /// Whether a batch is stored as one record, and takes as many offsets as it has messages.
    pub(super) has_inner_batches: bool,
    /// Replies that tell of this topic wait behind this until the topic is persisted and registered.
    pub(crate) ticket: Option<Ticket>,
    /// The log's handles by queue id, as far as they were asked for.
    queues: Vec<Option<QueueIndex>>,
}

impl Topic {
    /// The log's handle of a queue. `queue` was checked against [`Topic::queue_count`].
    pub(crate) fn queue(&mut self, log: &mut Log, queue: QueueId) -> QueueIndex {
        let at = queue.0 as usize;
        if let Some(Some(index)) = self.queues.get(at) {
            return *index;
        }
        let index = log.queue(self.name.as_str(), queue);
        if at >= self.queues.len() {
            self.queues.resize(at + 1, None);
        }
        if let Some(place) = self.queues.get_mut(at) {
            *place = Some(index);
        }
        index
    }

    /// Queues that exist for somebody: the larger of those to write and those to read.
    #[must_use]
    pub(crate) fn queue_count(&self) -> u32 {
        self.config.write_queues.max(self.config.read_queues)
    }

    /// The queue id if the topic has such a queue.
    ///
    /// # Errors
    /// 29.
    pub(crate) fn check_queue(&self, queue: QueueId) -> Result<QueueId, Refusal> {
        if queue.0 < self.queue_count() {
            return Ok(queue);
        }
        let remark =
            format!("request queueId[{queue}] is illegal: topic {} has {} queues", self.name, self.queue_count());
        Err(Refusal::new(ResponseCode::InvalidParameter, remark))
    }
}

/// The topics of a shard.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    topics: Slab<Topic>,
    by_name: FastMap<TopicName, usize>,
    /// The same in order, for those who go through all of them, some at a time.
    in_order: BTreeMap<TopicName, usize>,
    /// Changes with every change of a topic.
    pub(crate) version: DataVersion,
    /// Those that are new, other or gone.
    pub(super) changed: Unwritten<TopicName>,
}

impl Topics {
    /// A topic by name.
    #[must_use]
    pub(crate) fn get(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name).and_then(|slot| self.topics.get(*slot))
    }

    /// A topic by name.
    pub(crate) fn get_mut(&mut self, name: &str) -> Option<&mut Topic> {
        self.by_name.get(name).and_then(|slot| self.topics.get_mut(*slot))
    }

    /// Whether all of these may be put: all or none are.
    ///
    /// # Errors
    /// 1 if the shard would have too many topics, 29 if one of these has too many queues.
    pub(crate) fn check_room(&self, configs: &[TopicConfig]) -> Result<(), Refusal> {
        let mut new = 0_usize;
        for config in configs {
            if config.write_queues.max(config.read_queues) > TOPIC_QUEUES_MAX {
                let remark = format!("topic {} would have more than {TOPIC_QUEUES_MAX} queues", config.name);
                return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
            }
            if config.encode().len() > CONFIG_BYTES_MAX {
                let remark = format!("the settings of topic {} have more than {CONFIG_BYTES_MAX} bytes", config.name);
                return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
            }
            new += usize::from(!self.by_name.contains_key(&config.name));
        }
        if new > 0 && self.topics.len().saturating_add(new) > TOPICS_MAX {
            return Err(Refusal::new(
                ResponseCode::SystemError,
                format!("this broker has {} topics, and may have {TOPICS_MAX}: no more", self.topics.len()),
            ));
        }
        Ok(())
    }

    /// Creates a topic or changes its settings.
    ///
    /// # Errors
    /// As of [`Topics::check_room`].
    pub(crate) fn put(&mut self, now: UnixMs, config: TopicConfig) -> Result<&mut Topic, Refusal> {
        self.check_room(std::slice::from_ref(&config))?;
        Ok(self.put_checked(now, config))
    }

    /// The same with what [`Topics::check_room`] has allowed.
    pub(super) fn put_checked(&mut self, now: UnixMs, config: TopicConfig) -> &mut Topic {
        let known = self.by_name.get(&config.name).copied();
        self.touch(now);
        let slot = match known {
            Some(slot) => slot,
            None => {
                let name = config.name.clone();
                let refuses_sends = refuses_sends(name.as_str());
                let topic = Topic {
                    name: name.clone(),
                    config: config.clone(),
                    refuses_sends,
                    has_inner_batches: false,
                    ticket: None,
                    queues: Vec::new(),
                };
                let slot = self.topics.insert(topic);
                self.by_name.insert(name.clone(), slot);
                self.in_order.insert(name, slot);
                slot
            }
        };
        let topic = self.topics.get_mut(slot).expect("the name leads to a topic");
        topic.has_inner_batches = has_inner_batches(&config);
        topic.config = config;
        self.changed.insert(topic.name.clone());
        topic
    }

    pub(crate) fn remove(&mut self, now: UnixMs, name: &str) -> Option<Topic> {
        let slot = self.by_name.remove(name)?;
        self.in_order.remove(name);
        self.touch(now);
        let topic = self.topics.try_remove(slot)?;
        self.changed.insert(topic.name.clone());
        Some(topic)
    }

    /// What was loaded is in the store.
    pub(super) fn settle(&mut self) {
        self.changed = Unwritten::default();
    }

    /// What has changed and is to be written.
    pub(super) fn take_changes(&mut self) -> TableChange {
        let mut table = TopicTable { version: self.version, ..TopicTable::default() };
        let mut removed = Vec::new();
        for name in self.changed.take(usize::MAX) {
            match self.get(name.as_str()) {
                Some(topic) => drop(table.topics.insert(name, topic.config.clone())),
                None => removed.push(name),
            }
        }
        TableChange::Topics(table, removed)
    }

    /// Some topics behind that of this name, and the last one's name if there are more. One that comes or goes meanwhile may be among them or not.
    pub(super) fn part(&self, behind: Option<&TopicName>, most: usize) -> (TopicTable, Option<TopicName>) {
        let mut table = TopicTable { version: self.version, ..TopicTable::default() };
        for topic in self.between(behind, None).take(most) {
            table.topics.insert(topic.name.clone(), topic.config.clone());
        }
        let last = table.topics.last_key_value().map(|(name, _)| name.clone());
        (table, last.filter(|last| self.between(Some(last), None).next().is_some()))
    }

    /// Topics behind one name up to another, by name.
    pub(super) fn between(
        &self,
        behind: Option<&TopicName>,
        until: Option<&TopicName>,
    ) -> impl Iterator<Item = &Topic> {
        self.in_order.range::<TopicName, _>(names_between(behind, until)).filter_map(|(_, slot)| self.topics.get(*slot))
    }

    /// All topics by name.
    #[must_use]
    pub(crate) fn sorted(&self) -> Vec<&Topic> {
        self.between(None, None).collect()
    }

    /// How many topics there are.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }

    fn touch(&mut self, now: UnixMs) {
        self.version = self.version.next(now);
    }
}

/// The flags of a topic whose producers run in unit mode, or do not. Source: RocketMQ `TopicSysFlag.buildSysFlag(unitMode, false)`.
#[must_use]
pub(crate) fn producers_flag(unit_mode: bool) -> i32 {
    i32::from(unit_mode)
}

/// The flags of a retry topic: whether its group runs in unit mode. Source: RocketMQ `TopicSysFlag.buildSysFlag(false, unitMode)`.
#[must_use]
pub(crate) fn subscribers_flag(unit_mode: bool) -> i32 {
    i32::from(unit_mode) << 1
}

/// The settings of a topic with this many queues and this permission.
#[must_use]
pub(crate) fn plain_config(name: &str, queues: u32, perm: u32) -> TopicConfig {
    let mut config = TopicConfig::new(name, queues);
    config.perm = perm;
    config
}

/// The topics that a RocketMQ broker has from the start. Source: `TopicConfigManager`.
#[must_use]
pub(crate) fn initial_topics(settings: &BrokerSettings) -> Vec<TopicConfig> {
    const RW: u32 = perm::READ | perm::WRITE;
    let named = |enabled: bool| if enabled { RW | perm::INHERIT } else { perm::INHERIT };
    let mut topics = vec![
        plain_config(SELF_TEST_TOPIC, 1, RW),
        plain_config("BenchmarkTest", 1024, RW),
        plain_config(&settings.cluster, 16, named(settings.cluster_topic)),
        plain_config(settings.name.as_str(), 1, named(settings.broker_topic)),
        plain_config(OFFSET_MOVED_TOPIC, 1, RW),
        plain_config(SCHEDULE_TOPIC, 18, RW),
        plain_config(&format!("{}_REPLY_TOPIC", settings.cluster), 1, RW),
        plain_config(&revive_topic(&settings.cluster), 8, RW),
        plain_config(&format!("rmq_sys_SYNC_BROKER_MEMBER_{}", settings.name), 1, perm::INHERIT),
        plain_config(HALF_TOPIC, 1, RW),
        plain_config(OP_TOPIC, 1, RW),
        plain_config(WHEEL_TOPIC, 1, RW),
    ];
    if settings.auto_create_topic {
        topics.push(plain_config(CREATE_TOPIC_KEY, settings.default_topic_queues, RW | perm::INHERIT));
    }
    if settings.trace_topic {
        topics.push(plain_config(&settings.trace_topic_name, 1, RW));
    }
    topics
}

/// The settings of a topic that a producer creates by sending to it: those of `default_topic`, with at most `queues` queues, and these flags.
///
/// # Errors
/// 17 if the default topic does not hand its settings on.
pub(crate) fn auto_created(
    topics: &Topics,
    settings: &BrokerSettings,
    name: &str,
    default_topic: &str,
    queues: u32,
    sys_flag: i32,
) -> Result<TopicConfig, Refusal> {
    let missing = || Refusal::new(ResponseCode::TopicNotExist, format!("topic[{name}] not exist, apply first please!"));
    let default = topics.get(default_topic).ok_or_else(missing)?;
    let inherited = default.config.perm;
    let is_switched_off = default_topic == CREATE_TOPIC_KEY && !settings.auto_create_topic;
    if inherited & perm::INHERIT == 0 || is_switched_off {
        return Err(missing());
    }
    let queues = queues.clamp(1, default.config.write_queues.max(1));
    let mut config = default.config.clone();
    config.name = TopicName::from(name);
    (config.read_queues, config.write_queues) = (queues, queues);
    config.perm = inherited & !perm::INHERIT;
    config.sys_flag = sys_flag;
    // What else it has are settings of its own.
    config.order = false;
    config.attributes.clear();
    Ok(config)
}
