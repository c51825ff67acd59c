//! Topics: create, change, delete, ask.

use super::{BadRequest, HeaderFields};
use crate::body::{TopicConfig, TopicFilterType};
use crate::header::Header;
use crate::limits::TOPIC_QUEUES_MAX;

/// A wish to set or remove one attribute of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeChange<'a> {
    /// `+key=value`.
    Set(&'a str, &'a str),
    /// `-key`.
    Remove(&'a str),
}

/// 17: create a topic, or change it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateTopicRequest<'a> {
    /// Its settings, without attributes.
    pub config: TopicConfig,
    /// The topic after whose example it is made.
    pub default_topic: Option<&'a str>,
    /// What is to become of its attributes.
    pub attributes: Vec<AttributeChange<'a>>,
    /// Change it even if its kind of message changes.
    pub force: bool,
}

impl<'a> CreateTopicRequest<'a> {
    /// Reads 17. The name is not checked yet ([`crate::message::check_topic`]).
    ///
    /// # Errors
    /// [`BadRequest`]; also for more queues than [`TOPIC_QUEUES_MAX`] and attributes that say neither `+` nor `-`.
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let mut config = TopicConfig::new(fields.text("topic")?, 0);
        config.read_queues = queues(fields, "readQueueNums")?;
        config.write_queues = queues(fields, "writeQueueNums")?;
        config.perm = fields.number("perm")?;
        config.filter_type =
            fields.optional_text("topicFilterType").map_or_else(TopicFilterType::default, TopicFilterType::from_name);
        config.sys_flag = fields.optional_number("topicSysFlag").unwrap_or(0);
        config.order = fields.boolean("order", false);
        let attributes = fields.optional_text("attributes").unwrap_or_default();
        let attributes = attributes.split(',').map(str::trim).filter(|change| !change.is_empty()).map(attribute);
        Ok(CreateTopicRequest {
            config,
            default_topic: fields.optional_text("defaultTopic"),
            attributes: attributes.collect::<Result<_, _>>()?,
            force: fields.boolean("force", false),
        })
    }
}

fn queues(fields: HeaderFields<'_>, field: &'static str) -> Result<u32, BadRequest> {
    let found = fields.number(field)?;
    if found > TOPIC_QUEUES_MAX { Err(BadRequest::Range { field }) } else { Ok(found) }
}

fn attribute(text: &str) -> Result<AttributeChange<'_>, BadRequest> {
    let set = text.strip_prefix('+').and_then(|pair| pair.split_once('='));
    let set = set.map(|(key, value)| AttributeChange::Set(key.trim(), value.trim()));
    let remove = || text.strip_prefix('-').map(|key| AttributeChange::Remove(key.trim()));
    set.or_else(remove).ok_or(BadRequest::Missing { field: "attributes" })
}

/// A request that names a topic and nothing else: 202, 215, 216, 217, 300, 351.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct TopicRequest<'a> {
    pub topic: &'a str,
    /// 216 only: in which cluster.
    pub cluster: Option<&'a str>,
}

impl<'a> TopicRequest<'a> {
    /// Reads any of them.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(TopicRequest { topic: fields.text("topic")?, cluster: fields.optional_text("clusterName") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    #[test]
    fn a_topic_is_created_as_asked() {
        let text = r#"{"code":17,"extFields":{"topic":"T","defaultTopic":"TBW102","readQueueNums":"8","writeQueueNums":"4","perm":"6","topicFilterType":"SINGLE_TAG","topicSysFlag":"0","order":"false","attributes":"+message.type=FIFO, -reserve.time"}}"#;
        let mut config = TopicConfig::new("T", 8);
        config.write_queues = 4;
        let expected = CreateTopicRequest {
            config,
            default_topic: Some("TBW102"),
            attributes: vec![AttributeChange::Set("message.type", "FIFO"), AttributeChange::Remove("reserve.time")],
            force: false,
        };
        assert_eq!(CreateTopicRequest::parse(&header_of(text)), Ok(expected));
        let check = |from: &str, to: &str, expected: BadRequest| {
            let text = text.replace(from, to);
            assert_eq!(CreateTopicRequest::parse(&header_of(&text)), Err(expected), "{to}");
        };
        check(r#""8""#, r#""65537""#, BadRequest::Range { field: "readQueueNums" });
        check(r#""4""#, r#""-1""#, BadRequest::Range { field: "writeQueueNums" });
        check("+message", "message", BadRequest::Missing { field: "attributes" });
    }
}
