//! The end of a transaction, and a half message that is to be checked again.

use super::{BadRequest, HeaderFields};
use crate::header::Header;
use crate::message::{MessageId, sys_flag};
use crate::model::{LogOffset, QueueOffset};

/// How a transaction ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransactionEnd {
    /// Its producer does not know yet.
    Unknown,
    /// The message is for consumers.
    Commit,
    /// Nobody is to see it.
    Rollback,
}

/// 37: a producer says how a transaction ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndTransactionRequest<'a> {
    /// `producerGroup`, that of the half message; empty if it is not said.
    pub group: &'a str,
    /// Where the half message lies in its queue (`tranStateTableOffset`); none if no queue has such an offset.
    pub queue_offset: Option<QueueOffset>,
    /// First byte of its record (`commitLogOffset`); none if no log has such an offset.
    pub log_offset: Option<LogOffset>,
    /// `commitOrRollback`.
    pub end: TransactionEnd,
    /// Whether the broker has asked for it (`fromTransactionCheck`).
    pub is_asked: bool,
    /// `transactionId`: the half message's unique key, as stock clients have it.
    pub transaction_id: Option<&'a str>,
    /// `msgId`, likewise.
    pub message_id: Option<&'a str>,
}

impl<'a> EndTransactionRequest<'a> {
    /// Reads 37.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let end = match fields.number::<i32>("commitOrRollback")? {
            0 => TransactionEnd::Unknown,
            sys_flag::TRANSACTION_COMMIT => TransactionEnd::Commit,
            sys_flag::TRANSACTION_ROLLBACK => TransactionEnd::Rollback,
            _ => return Err(BadRequest::Range { field: "commitOrRollback" }),
        };
        let (queue_offset, log_offset): (i64, i64) =
            (fields.number("tranStateTableOffset")?, fields.number("commitLogOffset")?);
        Ok(EndTransactionRequest {
            group: fields.optional_text("producerGroup").unwrap_or_default(),
            queue_offset: u64::try_from(queue_offset).ok().map(QueueOffset),
            log_offset: u64::try_from(log_offset).ok().map(LogOffset),
            end,
            is_asked: fields.boolean("fromTransactionCheck", false),
            transaction_id: fields.optional_text("transactionId"),
            message_id: fields.optional_text("msgId"),
        })
    }
}

/// 323: a half message that was given up is to be checked again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResumeCheckRequest {
    /// First byte of its record, from the id (`msgId`); none if that is no id.
    pub log_offset: Option<LogOffset>,
}

impl ResumeCheckRequest {
    /// Reads 323.
    #[must_use]
    pub fn parse(header: &Header<'_>) -> Self {
        let id = HeaderFields(header).optional_text("msgId").and_then(|text| MessageId::decode(text).ok());
        ResumeCheckRequest { log_offset: id.map(|id| id.log_offset) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    const WHOLE: [(&str, &str); 7] = [
        ("producerGroup", "P"),
        ("tranStateTableOffset", "3"),
        ("commitLogOffset", "512"),
        ("commitOrRollback", "8"),
        ("fromTransactionCheck", "true"),
        ("msgId", "x"),
        ("topic", "T"),
    ];

    fn with(changes: &[(&str, Option<&str>)]) -> String {
        let mut fields: Vec<(&str, &str)> = WHOLE.to_vec();
        for (name, value) in changes {
            fields.retain(|(other, _)| other != name);
            fields.extend(value.map(|value| (*name, value)));
        }
        let fields: Vec<String> = fields.iter().map(|(name, value)| format!(r#""{name}":"{value}""#)).collect();
        format!(r#"{{"extFields":{{{}}}}}"#, fields.join(","))
    }

    #[test]
    fn an_end_is_read_with_and_without_what_is_optional() {
        let text = with(&[]);
        let header = header_of(&text);
        let mut expected = EndTransactionRequest {
            group: "P",
            queue_offset: Some(QueueOffset(3)),
            log_offset: Some(LogOffset(512)),
            end: TransactionEnd::Commit,
            is_asked: true,
            transaction_id: None,
            message_id: Some("x"),
        };
        assert_eq!(EndTransactionRequest::parse(&header).as_ref(), Ok(&expected));
        let text = with(&[("fromTransactionCheck", None), ("topic", None), ("commitOrRollback", Some("12"))]);
        let header = header_of(&text);
        (expected.end, expected.is_asked) = (TransactionEnd::Rollback, false);
        assert_eq!(EndTransactionRequest::parse(&header).as_ref(), Ok(&expected));
    }

    #[test]
    fn odd_ends_are_refused_or_name_no_place() {
        let check = |changes: &[(&str, Option<&str>)], error: BadRequest| {
            let text = with(changes);
            assert_eq!(EndTransactionRequest::parse(&header_of(&text)), Err(error), "{changes:?}");
        };
        for field in ["tranStateTableOffset", "commitLogOffset", "commitOrRollback"] {
            check(&[(field, None)], BadRequest::Missing { field });
        }
        for field in ["tranStateTableOffset", "commitLogOffset", "commitOrRollback"] {
            for value in ["", "x", "1.5", "-"] {
                check(&[(field, Some(value))], BadRequest::Number { field });
            }
            check(&[(field, Some("9223372036854775808"))], BadRequest::Range { field });
        }
        for end in ["4", "1", "-8", "7"] {
            check(&[("commitOrRollback", Some(end))], BadRequest::Range { field: "commitOrRollback" });
        }
        let text = with(&[
            ("producerGroup", None),
            ("msgId", None),
            ("commitLogOffset", Some("-1")),
            ("tranStateTableOffset", Some("-9223372036854775808")),
        ]);
        let header = header_of(&text);
        let request = EndTransactionRequest::parse(&header).unwrap();
        assert_eq!((request.group, request.log_offset, request.queue_offset), ("", None, None));
    }

    #[test]
    fn a_message_to_be_checked_again_is_named_by_its_id() {
        let check = |text: &str, expected: Option<u64>| {
            let header = header_of(text);
            assert_eq!(ResumeCheckRequest::parse(&header).log_offset, expected.map(LogOffset), "{text}");
        };
        check(r#"{"extFields":{"msgId":"7F00000100002A9F0000000000000200"}}"#, Some(512));
        check(r#"{"extFields":{"msgId":"7F00000100002A9F000000000000020"}}"#, None);
        check(r#"{"extFields":{"msgId":"7F00000100002A9FFFFFFFFFFFFFFFFF"}}"#, None);
        check(r#"{"extFields":{"msgId":""}}"#, None);
        check("{}", None);
    }
}
