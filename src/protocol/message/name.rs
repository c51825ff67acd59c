//! Which names topics and groups may have, and which of them are the system's. Source: RocketMQ 5.x `TopicValidator`,
//! `MixAll`, `KeyBuilder`.

use crate::limits::{GROUP_NAME_BYTES_MAX, RETRY_TOPIC_NAME_BYTES_MAX, TOPIC_NAME_BYTES_MAX};

/// What the name of a group's retry topic begins with.
pub(crate) const RETRY_PREFIX: &str = "%RETRY%";

/// What the name of a group's dead letter topic begins with.
pub(crate) const DLQ_PREFIX: &str = "%DLQ%";

const SYSTEM_TOPIC_PREFIX: &str = "rmq_sys_";

const SYSTEM_TOPICS: [&str; 10] = [
    "TBW102",
    super::SCHEDULE_TOPIC,
    "BenchmarkTest",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRACE_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
    "CHECKPOINT_TOPIC",
];

/// Why a name is refused. Its text goes to the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Empty, or spaces only.
    #[error("The specified name is blank.")]
    Blank,
    /// A character that names may not have.
    #[error("The specified name contains illegal characters, allowing only ^[%|a-zA-Z0-9_-]+$")]
    IllegalCharacter,
    /// Longer than names of its kind may be.
    #[error("The specified name is longer than name max length {max}.")]
    TooLong {
        /// The longest that is allowed, in bytes.
        max: usize,
    },
}

fn check(name: &str, max: usize) -> Result<(), NameError> {
    if name.trim().is_empty() {
        return Err(NameError::Blank);
    }
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'%' | b'|' | b'_' | b'-');
    if !name.bytes().all(legal) {
        return Err(NameError::IllegalCharacter);
    }
    if name.len() > max { Err(NameError::TooLong { max }) } else { Ok(()) }
}

/// Whether a topic may have this name.
///
/// # Errors
/// [`NameError`].
pub fn check_topic(name: &str) -> Result<(), NameError> {
    let wraps_group = is_retry_topic(name) || is_dlq_topic(name);
    check(name, if wraps_group { RETRY_TOPIC_NAME_BYTES_MAX } else { TOPIC_NAME_BYTES_MAX })
}

const _: () = assert!(
    RETRY_PREFIX.len() + GROUP_NAME_BYTES_MAX <= RETRY_TOPIC_NAME_BYTES_MAX
        && DLQ_PREFIX.len() + GROUP_NAME_BYTES_MAX <= RETRY_TOPIC_NAME_BYTES_MAX,
    "every group has a retry and a dead letter topic"
);

/// Whether a consumer group may have this name.
///
/// # Errors
/// [`NameError`].
pub fn check_group(name: &str) -> Result<(), NameError> {
    check(name, GROUP_NAME_BYTES_MAX)
}

/// Whether messages of this topic are put up for another try.
#[must_use]
pub fn is_retry_topic(name: &str) -> bool {
    name.starts_with(RETRY_PREFIX)
}

/// Whether messages of this topic were given up.
#[must_use]
pub fn is_dlq_topic(name: &str) -> bool {
    name.starts_with(DLQ_PREFIX)
}

/// The topic in which a group's messages are tried again.
#[must_use]
pub fn retry_topic(group: &str) -> String {
    format!("{RETRY_PREFIX}{group}")
}

/// The topic to which a group's messages are given up.
#[must_use]
pub fn dlq_topic(group: &str) -> String {
    format!("{DLQ_PREFIX}{group}")
}

/// The group whose retry topic this is.
#[must_use]
pub fn group_of_retry_topic(name: &str) -> Option<&str> {
    name.strip_prefix(RETRY_PREFIX)
}

/// Whether the topic is the system's: it can be neither created, changed nor deleted by requests.
///
/// The topics named like the cluster and like the broker are the system's too, but known to the broker only.
#[must_use]
pub fn is_system_topic(name: &str) -> bool {
    SYSTEM_TOPICS.contains(&name) || name.starts_with(SYSTEM_TOPIC_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_rocketmq_does() {
        let check = |name: &str, expected: Result<(), NameError>| assert_eq!(check_topic(name), expected, "{name}");
        check("TopicTest", Ok(()));
        check("ns%a|b_c-1", Ok(()));
        check("", Err(NameError::Blank));
        check("  ", Err(NameError::Blank));
        check("a b", Err(NameError::IllegalCharacter));
        check("a/b", Err(NameError::IllegalCharacter));
        check("\u{e4}", Err(NameError::IllegalCharacter));
        check(&"t".repeat(127), Ok(()));
        check(&"t".repeat(128), Err(NameError::TooLong { max: 127 }));
        check(&retry_topic(&"g".repeat(255)), Ok(()));
        check(&retry_topic(&"g".repeat(256)), Err(NameError::TooLong { max: 262 }));
        assert_eq!(check_group(&"g".repeat(255)), Ok(()));
        assert_eq!(check_group(&"g".repeat(256)), Err(NameError::TooLong { max: 255 }));
        assert_eq!(group_of_retry_topic("%RETRY%g"), Some("g"));
        assert!(is_system_topic("rmq_sys_wheel_timer") && is_system_topic("TBW102") && !is_system_topic("T"));
    }
}
