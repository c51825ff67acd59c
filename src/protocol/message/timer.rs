//! Timer messages: where they wait for a time of their own, and what the index says of them.
//!
//! Such a message lies in queue 0 of [`WHEEL_TOPIC`] with the property `TIMER_OUT_MS`. It comes when the step of `timerPrecisionMs` ends that begins
//! then, so never before the time that was asked for. A message that recalls another waits there as well, for the same time; it has the property
//! `TIMER_DEL_UNIQKEY`. Source: RocketMQ 5.3.3 `HookUtils.transformTimerMessage`, `TimerMessageStore`.

use crate::record::Marks;

/// The topic in which timer messages wait. No client sends to it.
pub const WHEEL_TOPIC: &str = "rmq_sys_wheel_timer";

/// What the index says of a message of [`WHEEL_TOPIC`]: twice its `TIMER_OUT_MS`, and one more unless it recalls another. So codes rise with time,
/// and what recalls comes before what it may recall.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct WheelCode(pub i64);

impl WheelCode {
    /// Of a message that waits for `out_ms`; for no longer than some 70 million years.
    #[must_use]
    pub fn new(out_ms: i64, is_recall: bool) -> WheelCode {
        WheelCode((out_ms.clamp(i64::MIN >> 2, i64::MAX >> 2) << 1) | i64::from(!is_recall))
    }

    /// Of a record with these marks. One that does not say its time has waited long enough.
    #[must_use]
    pub fn of(marks: &Marks<'_>) -> WheelCode {
        WheelCode::new(marks.timer_out_ms.unwrap_or_default(), marks.is_recall)
    }

    /// `TIMER_OUT_MS`.
    #[must_use]
    pub fn out_ms(self) -> i64 {
        self.0 >> 1
    }

    /// Whether it recalls another message.
    #[must_use]
    pub fn is_recall(self) -> bool {
        self.0 & 1 == 0
    }
}

/// How a message names the one that it recalls. A unique key alone may be that of another topic's message as well. Source:
/// `TimerMessageStore.buildDeleteKey`.
#[must_use]
pub fn recall_key(topic: &str, unique: &str) -> String {
    format!("{topic}+{unique}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_rise_with_time_and_a_recall_comes_first() {
        let order =
            [WheelCode::new(-5, false), WheelCode::new(7, true), WheelCode::new(7, false), WheelCode::new(8, true)];
        assert!(order.is_sorted());
        assert_eq!(order.map(WheelCode::out_ms), [-5, 7, 7, 8]);
        assert_eq!(order.map(WheelCode::is_recall), [false, true, false, true]);
        assert_eq!(WheelCode::new(i64::MAX, false).out_ms(), i64::MAX >> 2);
        assert_eq!(WheelCode::of(&Marks::default()), WheelCode::new(0, false));
    }
}
