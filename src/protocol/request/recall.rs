//! A timer message is to be recalled.

use super::{BadRequest, HeaderFields};
use crate::header::Header;

/// 370: a producer recalls a timer message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecallRequest<'a> {
    /// The topic that the message is for.
    pub topic: &'a str,
    /// What the send of the message was answered with (`recallHandle`).
    pub handle: &'a str,
    /// `producerGroup`.
    pub group: Option<&'a str>,
}

impl<'a> RecallRequest<'a> {
    /// Reads 370.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(RecallRequest {
            topic: fields.text("topic")?,
            handle: fields.text("recallHandle")?,
            group: fields.optional_text("producerGroup"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    #[test]
    fn topic_and_handle_are_needed() {
        let check = |text: &str, expected: Result<RecallRequest<'_>, BadRequest>| {
            assert_eq!(RecallRequest::parse(&header_of(text)), expected, "{text}");
        };
        check(
            r#"{"extFields":{"topic":"T","recallHandle":""}}"#,
            Ok(RecallRequest { topic: "T", handle: "", group: None }),
        );
        let text = r#"{"extFields":{"topic":"T","recallHandle":"H","producerGroup":"P"}}"#;
        check(text, Ok(RecallRequest { topic: "T", handle: "H", group: Some("P") }));
        check(r#"{"extFields":{"recallHandle":"H"}}"#, Err(BadRequest::Missing { field: "topic" }));
        check(r#"{"extFields":{"topic":"T"}}"#, Err(BadRequest::Missing { field: "recallHandle" }));
    }
}
