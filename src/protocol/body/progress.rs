//! How far groups have come, and what they want, as tools ask for it: 303, 308, 317, 321, 345, 353.

use std::collections::BTreeMap;

use super::{ConsumeStats, MessageQueue, SubscriptionData};
use crate::json::{JsonForm, Writer};
use crate::model::{GroupName, LogOffset, QueueId, QueueOffset, UnixMs};

/// How old what a group is to consume of one queue is. RocketMQ: `QueueTimeSpan`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct TimeSpan {
    pub queue: MessageQueue,
    /// When its oldest message was stored; -1 if there is none.
    pub oldest: UnixMs,
    /// The same of its newest one.
    pub newest: UnixMs,
    /// The same of the last one that the group has consumed; of the oldest one if it has consumed none.
    pub consumed: UnixMs,
    /// How long the next one that it is to consume has waited, ms; 0 if there is none.
    pub delay_ms: i64,
}

/// The reply to 303. RocketMQ writes each time as a text too, of its own time zone; here it is UTC.
#[must_use]
pub fn time_spans(spans: &[TimeSpan]) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Fastjson);
    writer.object(|writer| {
        writer.key("consumeTimeSpanSet").array(|writer| {
            for span in spans {
                writer.object(|writer| {
                    writer.key("consumeTimeStamp").integer(span.consumed.0);
                    writer.key("consumeTimeStampStr").text(&time_text(span.consumed));
                    writer.key("delayTime").integer(span.delay_ms);
                    writer.key("maxTimeStamp").integer(span.newest.0);
                    writer.key("maxTimeStampStr").text(&time_text(span.newest));
                    writer.key("messageQueue").object(|writer| span.queue.write(writer));
                    writer.key("minTimeStamp").integer(span.oldest.0);
                    writer.key("minTimeStampStr").text(&time_text(span.oldest));
                });
            }
        });
    });
    writer.finish()
}

/// `YYYY-MM-DD hh:mm:ss,mmm`. RocketMQ: `UtilAll.timeMillisToHumanString2`.
#[expect(clippy::arithmetic_side_effects, reason = "parts of an era, none below 0 and none above 146,097")]
fn time_text(time: UnixMs) -> String {
    const DAY_MS: i64 = 86_400_000;
    let (day, ms) = (time.0.div_euclid(DAY_MS), time.0.rem_euclid(DAY_MS));
    // Years that begin in March, so that the day of a leap year is its last; eras of 400 years have 146,097 days.
    let from_march = day.saturating_add(719_468);
    let (era, of_era) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era.saturating_mul(400).saturating_add(year_of_era + i64::from(month <= 2));
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02},{:03}", ms % 1_000)
}

/// The reply to 308: of each queue the least offset of all groups, or `Long.MAX_VALUE` where the group that asks is below it.
#[must_use]
pub fn correction_offsets(offsets: &BTreeMap<QueueId, i64>) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Fastjson);
    writer.object(|writer| {
        writer.key("correctionOffsets").object(|writer| {
            for (queue, offset) in offsets {
                writer.integer_key(u64::from(queue.0)).integer(*offset);
            }
        });
    });
    writer.finish()
}

/// The reply to 345: what a group that is online wants of a topic.
#[must_use]
pub fn subscription_of_group(group: &str, topic: &str, subscription: Option<&SubscriptionData>) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Fastjson);
    writer.object(|writer| {
        writer.key("group").text(group);
        if let Some(subscription) = subscription {
            subscription.write(writer.key("subscriptionData"));
        }
        writer.key("topic").text(topic);
    });
    writer.finish()
}

/// The reply to 353. RocketMQ: `GroupForbidden`.
#[must_use]
pub fn group_forbidden(group: &str, topic: &str, is_readable: bool) -> Vec<u8> {
    let mut writer = Writer::new(JsonForm::Fastjson);
    writer.object(|writer| {
        writer.key("group").text(group).key("readable").boolean(is_readable);
        writer.key("topic").text(topic);
    });
    writer.finish()
}

/// The reply to 317: where all groups stand. RocketMQ: `ConsumeStatsList`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct AllConsumeStats {
    /// Of each group, for each of its topics.
    pub groups: BTreeMap<GroupName, Vec<ConsumeStats>>,
    /// The broker's address.
    pub address: String,
}

impl AllConsumeStats {
    /// JSON as Fastjson writes it: the answer to 317.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Fastjson);
        let stands = self.groups.values().flatten().flat_map(|stats| stats.offsets.values());
        let (total, inflight) = stands.fold((0_i64, 0_i64), |(total, inflight), stands| {
            let behind = stands.broker_offset.saturating_sub(stands.consumer_offset);
            let pulled = stands.pull_offset.saturating_sub(stands.consumer_offset);
            (total.saturating_add(behind), inflight.saturating_add(pulled))
        });
        writer.object(|writer| {
            writer.key("brokerAddr").text(&self.address);
            writer.key("consumeStatsList").array(|writer| {
                for (group, topics) in &self.groups {
                    writer.object(|writer| {
                        let list = writer.key(group.as_str());
                        list.array(|writer| topics.iter().for_each(|stats| stats.write(writer)));
                    });
                }
            });
            writer.key("totalDiff").integer(total).key("totalInflightDiff").integer(inflight);
        });
        writer.finish()
    }
}

/// One entry of a consume queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueEntry {
    /// Where the record lies.
    pub log_offset: LogOffset,
    /// Its bytes.
    pub size: u32,
    /// Java's hash of its tag.
    pub tag_code: i64,
}

/// The reply to 321. RocketMQ: `QueryConsumeQueueResponseBody`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct QueueEntries<'a> {
    /// First offset of the queue.
    pub min: QueueOffset,
    /// Its end.
    pub max: QueueOffset,
    /// The group that is named, with the topic, and its subscription if it is online.
    pub asker: Option<(&'a str, &'a str, Option<&'a SubscriptionData>)>,
    pub entries: Vec<QueueEntry>,
}

impl QueueEntries<'_> {
    /// The entries. No filter data is kept beside a subscription, which RocketMQ writes as the text `null`.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut writer = Writer::new(JsonForm::Fastjson);
        writer.object(|writer| {
            match self.asker {
                Some((_, _, Some(_))) => {
                    writer.key("filterData").text("null");
                }
                Some((group, topic, None)) => {
                    writer.key("filterData").text(&format!("{group}@{topic} is not online!"));
                }
                None => {}
            }
            writer.key("maxQueueIndex").unsigned(self.max.0).key("minQueueIndex").unsigned(self.min.0);
            writer.key("queueData").array(|writer| {
                for entry in &self.entries {
                    writer.object(|writer| {
                        writer.key("eval").boolean(false).key("physicOffset").unsigned(entry.log_offset.0);
                        writer.key("physicSize").unsigned(u64::from(entry.size));
                        writer.key("tagsCode").integer(entry.tag_code);
                    });
                }
            });
            if let Some((_, _, Some(subscription))) = self.asker {
                subscription.write(writer.key("subscriptionData"));
            }
        });
        writer.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::OffsetStats;
    use crate::model::{BrokerName, TopicName};

    fn check(found: Vec<u8>, expected: &str) {
        assert_eq!(String::from_utf8(found).as_deref(), Ok(expected));
    }

    fn queue() -> MessageQueue {
        MessageQueue { topic: TopicName::from("T"), broker_name: BrokerName::from("b"), queue_id: QueueId(0) }
    }

    #[test]
    fn times_are_told_as_texts_too() {
        let check = |time: i64, expected: &str| assert_eq!(time_text(UnixMs(time)), expected, "{time}");
        check(-1, "1969-12-31 23:59:59,999");
        check(0, "1970-01-01 00:00:00,000");
        check(951_782_400_000, "2000-02-29 00:00:00,000");
        check(1_700_000_000_123, "2023-11-14 22:13:20,123");
        check(4_107_542_399_999, "2100-02-28 23:59:59,999");
        for odd in [i64::MIN, i64::MAX] {
            assert!(time_text(UnixMs(odd)).len() > 20, "a record may say any time");
        }
        let (oldest, newest) = (UnixMs(0), UnixMs(1));
        let span = TimeSpan { queue: queue(), oldest, newest, consumed: oldest, delay_ms: 7 };
        let text = "1970-01-01 00:00:00,00";
        super::tests::check(
            time_spans(&[span]),
            &format!(
                r#"{{"consumeTimeSpanSet":[{{"consumeTimeStamp":0,"consumeTimeStampStr":"{text}0","delayTime":7,"maxTimeStamp":1,"maxTimeStampStr":"{text}1","messageQueue":{{"brokerName":"b","queueId":0,"topic":"T"}},"minTimeStamp":0,"minTimeStampStr":"{text}0"}}]}}"#
            ),
        );
    }

    #[test]
    fn answers_to_tools_look_as_java_s() {
        let offsets = [(QueueId(0), 3), (QueueId(1), i64::MAX)].into();
        check(correction_offsets(&offsets), r#"{"correctionOffsets":{0:3,1:9223372036854775807}}"#);
        check(subscription_of_group("G", "T", None), r#"{"group":"G","topic":"T"}"#);
        check(group_forbidden("G", "T", false), r#"{"group":"G","readable":false,"topic":"T"}"#);
        let entry = QueueEntry { log_offset: LogOffset(9), size: 7, tag_code: -1 };
        let (min, max) = (QueueOffset(0), QueueOffset(1));
        check(
            QueueEntries { min, max, asker: Some(("G", "T", None)), entries: vec![entry] }.encode(),
            r#"{"filterData":"G@T is not online!","maxQueueIndex":1,"minQueueIndex":0,"queueData":[{"eval":false,"physicOffset":9,"physicSize":7,"tagsCode":-1}]}"#,
        );
        let stands = OffsetStats { broker_offset: 9, consumer_offset: 4, pull_offset: 4, last_timestamp: UnixMs(0) };
        let stats = ConsumeStats { offsets: [(queue(), stands)].into(), consume_tps: 0.0 };
        let all =
            AllConsumeStats { groups: [("G".into(), vec![stats]), ("H".into(), vec![])].into(), address: "a:1".into() };
        check(
            all.encode(),
            r#"{"brokerAddr":"a:1","consumeStatsList":[{"G":[{"consumeTps":0.0,"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:{"brokerOffset":9,"consumerOffset":4,"lastTimestamp":0,"pullOffset":4}}}]},{"H":[]}],"totalDiff":5,"totalInflightDiff":0}"#,
        );
    }
}
