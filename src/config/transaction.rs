//! When a shard asks producers how their transactions end: the keys.

use super::node::NodeConfig;
use super::table::{Setting, online, setting};

/// Settings of transactions.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TransactionConfig {
    /// `rejectTransactionMessage`: half messages are refused.
    pub(crate) is_refused: bool,
    /// `transactionTimeOut`, ms: a half message that is younger is not asked about.
    pub(crate) timeout_ms: u64,
    /// `transactionCheckMax`: how often its producers are asked.
    pub(crate) checks_max: u32,
    /// `transactionCheckInterval`, ms, from one look at half messages to the next.
    pub(crate) check_interval_ms: u64,
}

pub(super) const TABLE: &[Setting<NodeConfig>] = &[
    online(setting!(
        "rejectTransactionMessage",
        "false",
        transactions.is_refused,
        "Whether transactional messages are refused (16). Transactions that have begun still end."
    )),
    online(setting!("transactionTimeOut", "6000", transactions.timeout_ms in 0..=604_800_000, "of ms ",
        "Milliseconds from when a producer made a transactional message until it is asked what became of its transaction, unless the message \
         says a time of its own (CHECK_IMMUNITY_TIME_IN_SECONDS).")),
    online(setting!("transactionCheckInterval", "30000", transactions.check_interval_ms in 100..=86_400_000, "of ms ",
        "Milliseconds from one look for transactions that have not ended to the next. A producer is asked no more often about one.")),
    online(setting!("transactionCheckMax", "15", transactions.checks_max in 0..=100_000, "",
        "How often producers are asked about a transaction. Then its message goes to TRANS_CHECK_MAX_TIME_TOPIC, and to no consumer.")),
];
