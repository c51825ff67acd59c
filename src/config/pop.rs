//! Messages that are popped: the keys.

use super::node::NodeConfig;
use super::table::{Setting, online, setting};

/// Settings of pops.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct PopConfig {
    /// `popFromRetryProbability`, percent: so many pops look at what is tried again before all else.
    pub(crate) retry_first_percent: u32,
    /// `enableRetryTopicV2`: what is not acknowledged is tried again in `%RETRY%GROUP+TOPIC`; else in `%RETRY%GROUP_TOPIC`.
    pub(crate) second_retry_names: bool,
    /// `retrieveMessageFromPopRetryTopicV1`: then what is in the other one is popped as well.
    pub(crate) pops_first_retry_names: bool,
    /// `popResponseReturnActualRetryTopic`: what is tried again is told under its retry topic's name.
    pub(crate) tells_retry_topic: bool,
    /// `initPopOffsetByCheckMsgInMem`: a new group has a young queue from its first message on.
    pub(crate) begins_young: bool,
}

pub(super) const TABLE: &[Setting<NodeConfig>] = &[
    online(setting!("popFromRetryProbability", "20", pops.retry_first_percent in 0..=100, "of percent ",
        "Percent of pops that look at what their group did not acknowledge before they look at its topic, so that a topic that is never empty does \
         not keep that waiting.")),
    online(setting!(
        "enableRetryTopicV2",
        "false",
        pops.second_retry_names,
        "Whether messages that were popped and not acknowledged come again from a topic %RETRY%GROUP+TOPIC, as RocketMQ 5 can; else from \
         %RETRY%GROUP_TOPIC. What is in the former when this becomes false waits until it is true."
    )),
    online(setting!(
        "retrieveMessageFromPopRetryTopicV1",
        "true",
        pops.pops_first_retry_names,
        "Whether with enableRetryTopicV2=true what waits in %RETRY%GROUP_TOPIC is popped as well."
    )),
    online(setting!(
        "popResponseReturnActualRetryTopic",
        "false",
        pops.tells_retry_topic,
        "Whether messages that come again are told under the name of their retry topic; else under the one that was asked for."
    )),
    online(setting!(
        "initPopOffsetByCheckMsgInMem",
        "true",
        pops.begins_young,
        "Whether a group that is new and pops from the end of a queue has it from its first message, as long as no more was stored since than \
         accessMessageInMemoryMaxRatio says; else it begins with the last one."
    )),
];
