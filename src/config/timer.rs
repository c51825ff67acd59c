//! Messages that wait for a time of their own: the keys.

use super::node::NodeConfig;
use super::table::{Setting, online, setting};
use crate::limits::TIMER_PRECISION_MS_MAX;

/// Settings of timer messages.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct TimerConfig {
    /// `timerWheelEnable`: they are taken.
    pub(crate) is_enabled: bool,
    /// `timerPrecisionMs`: times of delivery are multiples of it.
    pub(crate) precision_ms: u64,
    /// `timerMaxDelaySec`.
    pub(crate) delay_max_sec: u64,
    /// `recallMessageEnable`.
    pub(crate) takes_recalls: bool,
    /// `allowRecallWhenBrokerNotWriteable`.
    pub(crate) recalls_unwritable: bool,
}

pub(super) const TABLE: &[Setting<NodeConfig>] = &[
    online(setting!(
        "timerWheelEnable",
        "true",
        timers.is_enabled,
        "Whether messages are taken that are to come at a time of their own (TIMER_DELIVER_MS, TIMER_DELAY_MS, TIMER_DELAY_SEC). Those that wait are \
         delivered in any case."
    )),
    setting!("timerPrecisionMs", "1000", timers.precision_ms in 1..=TIMER_PRECISION_MS_MAX, "of ms ",
        "A timer message comes at the first multiple of so many milliseconds that is not before its time."),
    online(setting!("timerMaxDelaySec", "259200", timers.delay_max_sec in 0..=2_147_483_647, "of s ",
        "Seconds that a timer message may wait at most. One that is to wait longer is refused (13).")),
    online(setting!(
        "recallMessageEnable",
        "false",
        timers.takes_recalls,
        "Whether timer messages can be recalled (370); else that is refused (16)."
    )),
    online(setting!(
        "allowRecallWhenBrokerNotWriteable",
        "true",
        timers.recalls_unwritable,
        "Whether timer messages can be recalled while brokerPermission takes no sends."
    )),
];
