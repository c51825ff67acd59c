//! Statistics of topics and groups. 28 has no fields; 202 and 300 name a topic ([`super::TopicRequest`]).

use super::{BadRequest, HeaderFields, is_true};
use crate::header::Header;
use crate::model::QueueId;

/// 208: where a group stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumeStatsRequest<'a> {
    /// `consumerGroup`.
    pub group: &'a str,
    /// In these topics; in all that it has offsets of, if empty.
    pub topics: Vec<&'a str>,
}

impl<'a> ConsumeStatsRequest<'a> {
    /// Reads 208.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let list = fields.optional_text("topicList").unwrap_or_default().split(';').filter(|topic| !topic.is_empty());
        let topics = fields.optional_text("topic").into_iter().chain(list).collect();
        Ok(ConsumeStatsRequest { group: fields.text("consumerGroup")?, topics })
    }
}

/// 315: one counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerStatsRequest<'a> {
    /// What is counted, e.g. `TOPIC_PUT_NUMS`.
    pub name: &'a str,
    /// Of what, e.g. a topic.
    pub key: &'a str,
}

impl<'a> BrokerStatsRequest<'a> {
    /// Reads 315. Exporters of 4.x may leave the key out.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(BrokerStatsRequest {
            name: fields.text("statsName")?,
            key: fields.optional_text("statsKey").unwrap_or_default(),
        })
    }
}

/// 317: where all groups stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AllConsumeStatsRequest {
    /// `isOrder`: of ordered topics only.
    pub ordered_only: bool,
}

impl AllConsumeStatsRequest {
    /// Reads 317. The field is required, as in RocketMQ.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &Header<'_>) -> Result<Self, BadRequest> {
        Ok(AllConsumeStatsRequest { ordered_only: is_true(HeaderFields(header).text("isOrder")?) })
    }
}

/// 321: entries of a consume queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct QueueEntriesRequest<'a> {
    pub topic: &'a str,
    /// The queue; none if negative.
    pub queue_id: Option<QueueId>,
    /// First entry: a queue offset, or a number that is none.
    pub index: i64,
    /// How many.
    pub count: i32,
    /// The group whose subscription is to be told.
    pub group: Option<&'a str>,
}

impl<'a> QueueEntriesRequest<'a> {
    /// Reads 321. Numbers that are absent are 0, as in RocketMQ.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let queue_id: i32 = fields.optional_number("queueId").unwrap_or_default();
        Ok(QueueEntriesRequest {
            topic: fields.text("topic")?,
            queue_id: u32::try_from(queue_id).ok().map(QueueId),
            index: fields.optional_number("index").unwrap_or_default(),
            count: fields.optional_number("count").unwrap_or_default(),
            group: header.ext.get("consumerGroup"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    #[test]
    fn entries_of_a_queue_are_asked_for_by_number() {
        let check = |ext: &str, queue_id: Option<u32>, index: i64, count: i32, group: Option<&str>| {
            let text = format!(r#"{{"extFields":{{"topic":"T"{ext}}}}}"#);
            let expected = QueueEntriesRequest { topic: "T", queue_id: queue_id.map(QueueId), index, count, group };
            assert_eq!(QueueEntriesRequest::parse(&header_of(&text)), Ok(expected), "{ext}");
        };
        check("", Some(0), 0, 0, None);
        check(r#","queueId":"-1","index":"-9223372036854775808","count":"x""#, None, i64::MIN, 0, None);
        check(r#","queueId":"3","index":"7","count":"2147483647","consumerGroup":"""#, Some(3), 7, i32::MAX, Some(""));
        let none = AllConsumeStatsRequest::parse(&header_of("{}"));
        assert_eq!(none, Err(BadRequest::Missing { field: "isOrder" }));
    }

    #[test]
    fn topics_of_a_group_come_one_or_many() {
        let check = |ext: &str, expected: &[&str]| {
            let text = format!(r#"{{"extFields":{{"consumerGroup":"G"{ext}}}}}"#);
            let header = header_of(&text);
            let found = ConsumeStatsRequest::parse(&header).map(|request| request.topics);
            assert_eq!(found.as_deref(), Ok(expected), "{ext}");
        };
        check("", &[]);
        check(r#","topic":"""#, &[]);
        check(r#","topic":"T""#, &["T"]);
        check(r#","topicList":"A;B;""#, &["A", "B"]);
    }
}
