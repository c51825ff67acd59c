//! What a broker says of its own state (28): a map of texts that tools take apart by position.
//!
//! The exporter needs every key and drops the whole broker if one is missing; so [`RuntimeInfo::new`] starts with all of them.
//! Source: RocketMQ `AdminBrokerProcessor.prepareRuntimeInfo`, rocketmq-exporter `BrokerRuntimeStats`.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::route::key_values;

/// Counts of messages by the time that storing one took; the classes are [`PUT_TIME_CLASSES`].
pub(crate) const PUT_TIME_CLASSES: [&str; 13] = [
    "<=0ms",
    "0~10ms",
    "10~50ms",
    "50~100ms",
    "100~200ms",
    "200~500ms",
    "500ms~1s",
    "1~2s",
    "2~3s",
    "3~4s",
    "4~5s",
    "5~10s",
    "10s~",
];

/// Keys whose value is a number, and 0 for a broker that has nothing to say of them.
const NUMBERS: [&str; 40] = [
    "EndTransactionQueueSize",
    "EndTransactionThreadPoolQueueCapacity",
    "ackThreadPoolQueueCapacity",
    "ackThreadPoolQueueHeadWaitTimeMills",
    "ackThreadPoolQueueSize",
    "bootTimestamp",
    "commitLogMaxOffset",
    "commitLogMinOffset",
    "dispatchBehindBytes",
    "dispatchMaxBuffer",
    "earliestMessageTimeStamp",
    "getMessageEntireTimeMax",
    "litePullThreadPoolQueueCapacity",
    "litePullThreadPoolQueueHeadWaitTimeMills",
    "litePullThreadPoolQueueSize",
    "msgGetTotalTodayMorning",
    "msgGetTotalTodayNow",
    "msgGetTotalYesterdayMorning",
    "msgPutTotalTodayMorning",
    "msgPutTotalTodayNow",
    "msgPutTotalYesterdayMorning",
    "pageCacheLockTimeMills",
    "pullThreadPoolQueueCapacity",
    "pullThreadPoolQueueHeadWaitTimeMills",
    "pullThreadPoolQueueSize",
    "putMessageEntireTimeMax",
    "putMessageFailedTimes",
    "putMessageSizeTotal",
    "putMessageTimesTotal",
    "queryThreadPoolQueueCapacity",
    "queryThreadPoolQueueHeadWaitTimeMills",
    "queryThreadPoolQueueSize",
    "remainTransientStoreBufferNumbs",
    "sendThreadPoolQueueCapacity",
    "sendThreadPoolQueueHeadWaitTimeMills",
    "sendThreadPoolQueueSize",
    "startAcceptSendRequestTimeStamp",
    "timerCongestNum",
    "timerOffsetBehind",
    "timerReadBehind",
];

/// Keys with another form, and what they say of an idle broker.
const TEXTS: [(&str, &str); 20] = [
    ("brokerActive", "true"),
    ("brokerVersion", "479"),
    ("brokerVersionDesc", "V5_3_3"),
    ("commitLogDirCapacity", "Total : 0 B, Free : 0 B."),
    ("commitLogDiskRatio", "0.0"),
    ("consumeQueueDiskRatio", "0.0"),
    ("getFoundTps", "0.0 0.0 0.0"),
    ("getMissTps", "0.0 0.0 0.0"),
    ("getTotalTps", "0.0 0.0 0.0"),
    ("getTransferredTps", "0.0 0.0 0.0"),
    ("putLatency99", "0.00"),
    ("putLatency999", "0.00"),
    ("putMessageAverageSize", "0.0"),
    ("putMessageDistributeTime", "null"),
    ("putTps", "0.0 0.0 0.0"),
    ("remainHowManyDataToCommit", "0 B"),
    ("remainHowManyDataToFlush", "0 B"),
    ("runtime", "[ 0 days, 0 hours, 0 minutes, 0 seconds ]"),
    ("timerDequeueTps", "0.0"),
    ("timerEnqueueTps", "0.0"),
];

/// Keys of ringmq's own, one a stage of a message's way: `count p50 p99 p99.9 max` of the last one to two minutes, the times in microseconds,
/// or `0 - - - -` if nothing passed it.
pub const STAGE_KEYS: [&str; 5] = [
    "stageSocketToAppend",
    "stageAppendToDurable",
    "stageDurableToReplicated",
    "stageSocketToReply",
    "stageAppendToPulled",
];

/// The map of 28.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuntimeInfo {
    values: BTreeMap<Cow<'static, str>, String>,
}

impl Default for RuntimeInfo {
    fn default() -> Self {
        RuntimeInfo::new()
    }
}

impl RuntimeInfo {
    /// Every key that tools need, as an idle broker has it.
    #[must_use]
    pub fn new() -> RuntimeInfo {
        let numbers = NUMBERS.iter().map(|key| (Cow::Borrowed(*key), "0".to_owned()));
        let texts = TEXTS.iter().map(|(key, value)| (Cow::Borrowed(*key), (*value).to_owned()));
        RuntimeInfo { values: numbers.chain(texts).collect() }
    }

    /// Says something. Keys that Java has not are taken too: tools ignore them.
    pub fn set(&mut self, key: impl Into<Cow<'static, str>>, value: impl ToString) {
        self.values.insert(key.into(), value.to_string());
    }

    /// The map.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        key_values(self.values.iter().map(|(key, value)| (key.as_ref(), value.as_str())))
    }
}

/// Three rates, of the last 10 s, 60 s and 600 s: `1.5 2.0 0.0`.
#[must_use]
pub fn rate_text(rates: [f64; 3]) -> String {
    let [short, middle, long] = rates.map(|rate| if rate.is_finite() { rate } else { 0.0 });
    format!("{short:?} {middle:?} {long:?}")
}

/// A number of bytes for people: `512 B`, `12.3 KiB`.
#[must_use]
pub fn byte_text(bytes: u64) -> String {
    let units = [("TiB", 40_u32), ("GiB", 30), ("MiB", 20), ("KiB", 10)];
    for (unit, shift) in units {
        // Tenths are computed in integers: a double would round 1 KiB - 1 B up to a unit that it has not reached.
        let tenths = u128::from(bytes).saturating_mul(10) >> shift;
        if tenths >= 10 {
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{bytes} B")
}

/// The total and free space of a disk, as the exporter takes it apart.
#[must_use]
pub fn capacity_text(total_bytes: u64, free_bytes: u64) -> String {
    format!("Total : {}, Free : {}.", byte_text(total_bytes), byte_text(free_bytes))
}

/// How long a broker runs.
#[must_use]
pub fn uptime_text(uptime_ms: u64) -> String {
    let seconds = uptime_ms / 1000;
    let (days, hours) = (seconds / 86_400, seconds / 3_600 % 24);
    format!("[ {days} days, {hours} hours, {} minutes, {} seconds ]", seconds / 60 % 60, seconds % 60)
}

/// Messages by the time that storing one took, in the order of [`PUT_TIME_CLASSES`].
#[must_use]
pub fn put_time_text(counts: [u64; PUT_TIME_CLASSES.len()]) -> String {
    let mut text = String::new();
    for (class, count) in PUT_TIME_CLASSES.iter().zip(counts) {
        write!(text, "[{class}]:{count} ").expect("a String takes it");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_have_the_form_that_tools_take_apart() {
        let check = |found: String, expected: &str| assert_eq!(found, expected);
        check(byte_text(0), "0 B");
        check(byte_text(1023), "1023 B");
        check(byte_text(1024), "1.0 KiB");
        check(byte_text(12_595), "12.2 KiB");
        check(byte_text(1_000_204_886_016), "931.5 GiB");
        check(byte_text(u64::MAX), "16777215.9 TiB");
        check(capacity_text(1 << 30, 512), "Total : 1.0 GiB, Free : 512 B.");
        check(uptime_text(93_784_000), "[ 1 days, 2 hours, 3 minutes, 4 seconds ]");
        check(rate_text([1.5, 0.0, f64::NAN]), "1.5 0.0 0.0");
        let mut counts = [0; PUT_TIME_CLASSES.len()];
        counts[1] = 5;
        check(
            put_time_text(counts),
            "[<=0ms]:0 [0~10ms]:5 [10~50ms]:0 [50~100ms]:0 [100~200ms]:0 [200~500ms]:0 [500ms~1s]:0 [1~2s]:0 [2~3s]:0 [3~4s]:0 [4~5s]:0 [5~10s]:0 [10s~]:0 ",
        );
    }

    #[test]
    fn an_idle_broker_says_everything() {
        let mut info = RuntimeInfo::new();
        assert_eq!(info.values.len(), NUMBERS.len() + TEXTS.len(), "no key twice");
        info.set("bootTimestamp", 1_700_000_000_000_i64);
        let text = String::from_utf8(info.encode()).expect("JSON is text");
        assert!(text.starts_with(r#"{"table":{"EndTransactionQueueSize":"0","#), "{text}");
        assert!(text.contains(r#""bootTimestamp":"1700000000000""#), "{text}");
    }
}
