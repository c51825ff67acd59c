//! How a shard deals out queues among consumers that ask it (400): the keys.

use super::node::NodeConfig;
use super::table::{Setting, online, setting};
use super::value::within;
use crate::protocol::body::{GroupMode, RequestMode};

/// Settings of consumers whose queues their broker deals out.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct AssignmentConfig {
    /// `defaultMessageRequestMode` and `defaultPopShareQueueNum`: how a group gets the messages of a topic where nothing was said (401).
    pub(crate) default_mode: GroupMode,
    /// `serverLoadBalancerEnable`: queues are dealt out; else each consumer is told all.
    pub(crate) deals_out: bool,
}

pub(super) const TABLE: &[Setting<NodeConfig>] = &[
    online(setting!(
        "defaultMessageRequestMode",
        "PULL",
        "How consumers that ask their broker for their queues (clientRebalance=false) get messages, unless mqadmin setConsumeMode says otherwise: \
         PULL, or POP, where the broker hands them out.",
        |c, v| {
            c.assignment.default_mode.mode = RequestMode::parse(v).ok_or("PULL or POP")?;
            Ok(())
        },
        |c| c.assignment.default_mode.mode.text().to_owned()
    )),
    online(setting!(
        "defaultPopShareQueueNum",
        "-1",
        "Of these consumers in POP mode, how many that come behind one in the order of their names share their queues with it; -1 or 0: all have all.",
        |c, v| {
            c.assignment.default_mode.pop_share_queues = within(v, -1, i32::MAX, "")?;
            Ok(())
        },
        |c| c.assignment.default_mode.pop_share_queues.to_string()
    )),
    online(setting!(
        "serverLoadBalancerEnable",
        "true",
        assignment.deals_out,
        "Whether the broker deals out queues among consumers that ask it; false tells each of them all queues."
    )),
];
