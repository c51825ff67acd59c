//! Pulls: 11, and 361 of lite pull consumers.

use super::{BadRequest, parse_number, queue_id};
use crate::code::RequestCode;
use crate::header::Header;
use crate::model::{QueueId, QueueOffset};

/// Bits that say what a pull wants besides messages. Source: RocketMQ `PullSysFlag`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PullSysFlag(pub i32);

impl PullSysFlag {
    /// `commit_offset` is to be stored.
    #[must_use]
    pub fn commits_offset(self) -> bool {
        self.0 & 1 != 0
    }

    /// The broker may hold the pull until there is a message.
    #[must_use]
    pub fn may_suspend(self) -> bool {
        self.0 & 2 != 0
    }

    /// `subscription` is there and counts, not the heartbeat's.
    #[must_use]
    pub fn has_subscription(self) -> bool {
        self.0 & 4 != 0
    }
}

/// A consumer's wish for messages of one queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct PullRequest<'a> {
    /// The consumer's group.
    pub group: &'a str,
    pub topic: &'a str,
    /// The queue; none if negative, which the reply calls an invalid parameter.
    pub queue_id: Option<QueueId>,
    /// First offset wanted; none if negative, which is below every queue's least offset.
    pub queue_offset: Option<QueueOffset>,
    /// Most messages wanted.
    pub messages_max: u32,
    /// What is wanted besides.
    pub sys_flag: PullSysFlag,
    /// The group's offset in the queue, to be stored; none if negative.
    pub commit_offset: Option<QueueOffset>,
    /// How long the broker may hold the pull, ms.
    pub suspend_ms: u64,
    /// The expression that messages must match, where the flag says so.
    pub subscription: Option<&'a str>,
    /// Version of the subscription that the client has.
    pub subscription_version: i64,
    /// Language of the expression; none is TAG.
    pub expression_type: Option<&'a str>,
    /// Most bytes wanted; RocketMQ's broker does not heed it.
    pub bytes_max: Option<u32>,
    /// 361 instead of 11.
    pub lite: bool,
}

impl<'a> PullRequest<'a> {
    /// Reads 11 or 361, each field once.
    ///
    /// # Errors
    /// [`BadRequest`].
    // Inlined for the same reason as a send.
    #[inline(always)]
    pub fn parse(header: &'a Header<'_>) -> Result<PullRequest<'a>, BadRequest> {
        let mut pull = PullRequest {
            group: "",
            topic: "",
            queue_id: None,
            queue_offset: None,
            messages_max: 0,
            sys_flag: PullSysFlag::default(),
            commit_offset: None,
            suspend_ms: 0,
            subscription: None,
            subscription_version: 0,
            expression_type: None,
            bytes_max: None,
            lite: header.code == RequestCode::LitePullMessage.number(),
        };
        let (mut queue_seen, mut offset_seen) = (false, false);
        for (name, value) in header.ext.iter() {
            match name {
                "consumerGroup" => pull.group = value,
                "topic" => pull.topic = value,
                "queueId" => {
                    pull.queue_id = queue_id(value, "queueId")?;
                    queue_seen = true;
                }
                "queueOffset" => {
                    pull.queue_offset = offset(value, "queueOffset")?;
                    offset_seen = true;
                }
                "maxMsgNums" => pull.messages_max = non_negative(value, "maxMsgNums")?,
                "sysFlag" => pull.sys_flag = PullSysFlag(parse_number(value, "sysFlag")?),
                "commitOffset" => pull.commit_offset = offset(value, "commitOffset")?,
                "suspendTimeoutMillis" => {
                    let ms: i64 = parse_number(value, "suspendTimeoutMillis")?;
                    pull.suspend_ms = u64::try_from(ms).unwrap_or(0);
                }
                "subscription" => pull.subscription = Some(value),
                "subVersion" => pull.subscription_version = parse_number(value, "subVersion")?,
                "expressionType" => pull.expression_type = Some(value).filter(|value| !value.is_empty()),
                "maxMsgBytes" => pull.bytes_max = value.parse().ok(),
                _ => {}
            }
        }
        let required = [
            (!pull.group.is_empty(), "consumerGroup"),
            (!pull.topic.is_empty(), "topic"),
            (queue_seen, "queueId"),
            (offset_seen, "queueOffset"),
        ];
        match required.iter().find(|(seen, _)| !seen) {
            Some((_, field)) => Err(BadRequest::Missing { field }),
            None => Ok(pull),
        }
    }
}

fn offset(text: &str, field: &'static str) -> Result<Option<QueueOffset>, BadRequest> {
    let number: i64 = parse_number(text, field)?;
    Ok(u64::try_from(number).ok().map(QueueOffset))
}

fn non_negative(text: &str, field: &'static str) -> Result<u32, BadRequest> {
    let number: i32 = parse_number(text, field)?;
    Ok(u32::try_from(number).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    #[test]
    fn a_pull_is_read() {
        let text = r#"{"code":11,"extFields":{"queueId":"1","maxMsgNums":"32","sysFlag":"3","suspendTimeoutMillis":"15000","commitOffset":"-1","topic":"T","queueOffset":"9","expressionType":"TAG","subVersion":"1700000000000","consumerGroup":"G","maxMsgBytes":"2147483647"}}"#;
        let expected = PullRequest {
            group: "G",
            topic: "T",
            queue_id: Some(QueueId(1)),
            queue_offset: Some(QueueOffset(9)),
            messages_max: 32,
            sys_flag: PullSysFlag(3),
            commit_offset: None,
            suspend_ms: 15_000,
            subscription: None,
            subscription_version: 1_700_000_000_000,
            expression_type: Some("TAG"),
            bytes_max: Some(2_147_483_647),
            lite: false,
        };
        assert_eq!(PullRequest::parse(&header_of(text)), Ok(expected));
        let flags = PullSysFlag(3);
        assert!(flags.commits_offset() && flags.may_suspend() && !flags.has_subscription());
    }

    #[test]
    fn a_pull_without_its_needs_is_refused() {
        let check = |ext: &str, expected: BadRequest| {
            let text = format!(r#"{{"code":361,"extFields":{ext}}}"#);
            assert_eq!(PullRequest::parse(&header_of(&text)), Err(expected), "{ext}");
        };
        check("{}", BadRequest::Missing { field: "consumerGroup" });
        check(r#"{"consumerGroup":"G","topic":"T","queueOffset":"0"}"#, BadRequest::Missing { field: "queueId" });
        check(r#"{"consumerGroup":"G","topic":"T","queueId":"0"}"#, BadRequest::Missing { field: "queueOffset" });
        check(r#"{"queueId":"4294967296"}"#, BadRequest::Range { field: "queueId" });
    }
}
