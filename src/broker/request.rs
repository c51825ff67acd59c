//! The two hottest requests as types, and the fields of all others. Only names of fields are here; what they mean is decided by
//! who handles them.

use std::str::FromStr;

use super::Refusal;
use crate::protocol::code::{RequestCode, ResponseCode};
use crate::protocol::header::{Ext, Header};

/// A send, of one message or of a batch: 10, 310 and 320.
#[derive(Clone, Debug, Default)]
pub(super) struct SendRequest<'a> {
    pub(super) topic: &'a str,
    pub(super) default_topic: &'a str,
    pub(super) default_topic_queues: i32,
    pub(super) queue_id: i32,
    pub(super) sys_flag: i32,
    pub(super) born_timestamp: i64,
    pub(super) flag: i32,
    pub(super) properties: &'a str,
    pub(super) reconsume_times: i32,
    pub(super) max_reconsume_times: Option<i32>,
    pub(super) unit_mode: bool,
    pub(super) is_batch: bool,
    pub(super) body: &'a [u8],
}

impl<'a> SendRequest<'a> {
    /// Reads the fields in one pass: the second version names them by letters.
    pub(super) fn parse(code: RequestCode, header: &'a Header<'_>, body: &'a [u8]) -> Result<SendRequest<'a>, Refusal> {
        let mut send = SendRequest { body, is_batch: code == RequestCode::SendBatchMessage, ..SendRequest::default() };
        let mut has_queue = false;
        for (name, value) in header.ext.iter() {
            let long = if code == RequestCode::SendMessage { name } else { long_name(name) };
            match long {
                "topic" => send.topic = value,
                "defaultTopic" => send.default_topic = value,
                "defaultTopicQueueNums" => send.default_topic_queues = number(long, value)?,
                "queueId" => {
                    send.queue_id = number(long, value)?;
                    has_queue = true;
                }
                "sysFlag" => send.sys_flag = number(long, value)?,
                "bornTimestamp" => send.born_timestamp = number(long, value)?,
                "flag" => send.flag = number(long, value)?,
                "properties" => send.properties = value,
                "reconsumeTimes" => send.reconsume_times = number(long, value)?,
                "maxReconsumeTimes" => send.max_reconsume_times = value.parse().ok(),
                "unitMode" => send.unit_mode = value.eq_ignore_ascii_case("true"),
                "batch" => send.is_batch |= value.eq_ignore_ascii_case("true"),
                _ => {}
            }
        }
        if send.topic.is_empty() {
            return Err(missing("topic"));
        }
        if !has_queue {
            return Err(missing("queueId"));
        }
        Ok(send)
    }
}

/// Source: RocketMQ `SendMessageRequestHeaderV2`.
fn long_name(letter: &str) -> &str {
    match letter {
        "b" => "topic",
        "c" => "defaultTopic",
        "d" => "defaultTopicQueueNums",
        "e" => "queueId",
        "f" => "sysFlag",
        "g" => "bornTimestamp",
        "h" => "flag",
        "i" => "properties",
        "j" => "reconsumeTimes",
        "k" => "unitMode",
        "l" => "maxReconsumeTimes",
        "m" => "batch",
        _ => "",
    }
}

/// Bits of a pull's `sysFlag`. Source: RocketMQ `PullSysFlag`.
const PULL_COMMIT_OFFSET: i32 = 1;
const PULL_SUSPEND: i32 = 2;
const PULL_SUBSCRIPTION: i32 = 4;

/// A pull: 11 and 361.
#[derive(Clone, Debug)]
pub(super) struct PullRequest<'a> {
    pub(super) consumer_group: &'a str,
    pub(super) topic: &'a str,
    pub(super) queue_id: i32,
    pub(super) queue_offset: i64,
    pub(super) max_msg_nums: i32,
    sys_flag: i32,
    pub(super) commit_offset: i64,
    pub(super) suspend_timeout_millis: i64,
    pub(super) subscription: Option<&'a str>,
    pub(super) sub_version: i64,
    pub(super) expression_type: Option<&'a str>,
}

impl<'a> PullRequest<'a> {
    pub(super) fn parse(header: &'a Header<'_>) -> Result<PullRequest<'a>, Refusal> {
        let fields = Fields(&header.ext);
        Ok(PullRequest {
            consumer_group: fields.text("consumerGroup")?,
            topic: fields.text("topic")?,
            queue_id: fields.number("queueId")?,
            queue_offset: fields.number("queueOffset")?,
            max_msg_nums: fields.number("maxMsgNums")?,
            sys_flag: fields.number_or("sysFlag", 0)?,
            commit_offset: fields.number_or("commitOffset", -1)?,
            suspend_timeout_millis: fields.number_or("suspendTimeoutMillis", 0)?,
            subscription: fields.optional("subscription"),
            sub_version: fields.number_or("subVersion", 0)?,
            expression_type: fields.optional("expressionType"),
        })
    }

    pub(super) fn commits_offset(&self) -> bool {
        self.sys_flag & PULL_COMMIT_OFFSET != 0
    }

    pub(super) fn suspends(&self) -> bool {
        self.sys_flag & PULL_SUSPEND != 0
    }

    pub(super) fn brings_subscription(&self) -> bool {
        self.sys_flag & PULL_SUBSCRIPTION != 0
    }
}

/// The fields of a request, each checked when it is read.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Ext<'a>);

impl<'a> Fields<'a> {
    pub(super) fn optional(self, name: &str) -> Option<&'a str> {
        self.0.get(name)
    }

    pub(super) fn text(self, name: &'static str) -> Result<&'a str, Refusal> {
        self.0.get(name).filter(|text| !text.is_empty()).ok_or_else(|| missing(name))
    }

    pub(super) fn number<T: FromStr>(self, name: &'static str) -> Result<T, Refusal> {
        self.0.get(name).ok_or_else(|| missing(name)).and_then(|value| number(name, value))
    }

    pub(super) fn number_or<T: FromStr>(self, name: &'static str, default: T) -> Result<T, Refusal> {
        self.0.get(name).map_or(Ok(default), |value| number(name, value))
    }

    pub(super) fn is_true(self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

fn number<T: FromStr>(name: &str, value: &str) -> Result<T, Refusal> {
    value.trim().parse().map_err(|_| Refusal::new(ResponseCode::SystemError, format!("`{name}` is not a number: {value:.32}")))
}

fn missing(name: &str) -> Refusal {
    Refusal::new(ResponseCode::SystemError, format!("`{name}` is missing"))
}
