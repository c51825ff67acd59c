//! Messages by key and by id, and the one that a consumer hands back.

use super::{BadRequest, HeaderFields};
use crate::header::Header;
use crate::model::{LogOffset, UnixMs};

/// 12: messages of a topic by key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct QueryMessageRequest<'a> {
    pub topic: &'a str,
    /// The key, or the unique key.
    pub key: &'a str,
    /// Most messages wanted (`maxNum`).
    pub messages_max: u32,
    /// Not stored before (`beginTimestamp`).
    pub begin: UnixMs,
    /// Not stored after (`endTimestamp`).
    pub end: UnixMs,
    /// `key` is a unique key: RocketMQ then looks at 32 messages whatever `messages_max` says.
    pub unique: bool,
}

impl<'a> QueryMessageRequest<'a> {
    /// Reads 12.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let messages_max: i32 = fields.number("maxNum")?;
        Ok(QueryMessageRequest {
            topic: fields.text("topic")?,
            key: fields.text("key")?,
            messages_max: u32::try_from(messages_max).unwrap_or(0),
            begin: UnixMs(fields.number("beginTimestamp")?),
            end: UnixMs(fields.number("endTimestamp")?),
            unique: fields.boolean("_UNIQUE_KEY_QUERY", false),
        })
    }
}

/// 33: the message at a place in the commit log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewMessageRequest<'a> {
    /// First byte of the record. Anyone can say any number: there may be no record.
    pub log_offset: LogOffset,
    /// The topic, said by 5.x clients.
    pub topic: Option<&'a str>,
}

impl<'a> ViewMessageRequest<'a> {
    /// Reads 33.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(ViewMessageRequest { log_offset: log_offset(fields)?, topic: fields.optional_text("topic") })
    }
}

fn log_offset(fields: HeaderFields<'_>) -> Result<LogOffset, BadRequest> {
    let offset: i64 = fields.number("offset")?;
    u64::try_from(offset).map(LogOffset).map_err(|_| BadRequest::Range { field: "offset" })
}

/// 36: a consumer could not process a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SendBackRequest<'a> {
    /// First byte of the message's record.
    pub log_offset: LogOffset,
    /// The consumer's group (`group`).
    pub group: &'a str,
    /// 0: the broker chooses; above: that level; below: to the dead letters.
    pub delay_level: i32,
    /// The message's id, for traces.
    pub(crate) origin_message_id: Option<&'a str>,
    pub(crate) origin_topic: Option<&'a str>,
    /// Whether the retry topic is a unit topic.
    pub unit_mode: bool,
    /// How often it may be tried, if the consumer says so. Heeded from version 121 (3.4.9) on.
    pub max_reconsume_times: Option<i32>,
}

impl<'a> SendBackRequest<'a> {
    /// Reads 36.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(SendBackRequest {
            log_offset: log_offset(fields)?,
            group: fields.text("group")?,
            delay_level: fields.number("delayLevel")?,
            origin_message_id: fields.optional_text("originMsgId"),
            origin_topic: fields.optional_text("originTopic"),
            unit_mode: fields.boolean("unitMode", false),
            max_reconsume_times: fields.optional_number("maxReconsumeTimes"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    #[test]
    fn queries_are_read() {
        let text = r#"{"extFields":{"topic":"T","key":"k","maxNum":"-1","beginTimestamp":"0","endTimestamp":"9223372036854775807","_UNIQUE_KEY_QUERY":"true","offset":"7","group":"G","delayLevel":"-1","originMsgId":"","maxReconsumeTimes":"16"}}"#;
        let header = header_of(text);
        let query = QueryMessageRequest {
            topic: "T",
            key: "k",
            messages_max: 0,
            begin: UnixMs(0),
            end: UnixMs(i64::MAX),
            unique: true,
        };
        assert_eq!(QueryMessageRequest::parse(&header), Ok(query));
        let view = ViewMessageRequest { log_offset: LogOffset(7), topic: Some("T") };
        assert_eq!(ViewMessageRequest::parse(&header), Ok(view));
        let back = SendBackRequest {
            log_offset: LogOffset(7),
            group: "G",
            delay_level: -1,
            origin_message_id: None,
            origin_topic: None,
            unit_mode: false,
            max_reconsume_times: Some(16),
        };
        assert_eq!(SendBackRequest::parse(&header), Ok(back));
        let negative = header_of(r#"{"extFields":{"offset":"-7"}}"#);
        assert_eq!(ViewMessageRequest::parse(&negative), Err(BadRequest::Range { field: "offset" }));
    }
}
