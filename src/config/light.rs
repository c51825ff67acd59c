//! Light queues: the keys.

use super::ConfigError;
use super::node::NodeConfig;
use super::table::{Draft, Setting, setting};
use crate::limits::LIGHT_QUEUES_MAX;

/// Settings of light queues.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct LightConfig {
    /// `enableLmq`: there are any.
    pub(crate) is_enabled: bool,
    /// `enableMultiDispatch`: a message may be in several queues, without which there are none.
    pub(crate) is_in_several: bool,
    /// `maxLmqConsumeQueueNum`: how many a shard may have.
    pub(crate) queues_max: u64,
}

pub(super) const TABLE: &[Setting<NodeConfig>] = &[
    setting!(
        "enableLmq",
        "false",
        light.is_enabled,
        "Whether a message is put into the light queues (%LMQ%NAME) that its property INNER_MULTI_DISPATCH names, and those can be pulled. \
         enableMultiDispatch must say the same."
    ),
    setting!(
        "enableMultiDispatch",
        "false",
        light.is_in_several,
        "Whether a message may be in several queues: as enableLmq."
    ),
    setting!("maxLmqConsumeQueueNum", "20000", light.queues_max in 1..=LIGHT_QUEUES_MAX, "of queues ",
        "Light queues of a shard at most. A message that would make more is refused (1)."),
];

/// One without the other would do nothing.
pub(super) fn check(draft: &Draft<NodeConfig>) -> Result<(), ConfigError> {
    let light = draft.config.light;
    if light.is_enabled == light.is_in_several {
        return Ok(());
    }
    let sentence = format!(
        "enableLmq={} and enableMultiDispatch={} contradict each other: set both or none",
        light.is_enabled, light.is_in_several
    );
    Err(draft.contradiction(&["enableLmq", "enableMultiDispatch"], sentence))
}
