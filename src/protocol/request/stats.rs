//! Statistics of topics and groups. 28 has no fields; 202 and 300 name a topic ([`super::TopicRequest`]).

use super::{BadRequest, HeaderFields};
use crate::header::Header;

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

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
