//! Consumer groups: ask and delete. Creating one (200) has its settings in the body.

use super::{BadRequest, HeaderFields, is_true};
use crate::header::Header;

/// 352: a group's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct GroupRequest<'a> {
    pub group: &'a str,
}

impl<'a> GroupRequest<'a> {
    /// Reads 343 or 352.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        Ok(GroupRequest { group: HeaderFields(header).text("group")? })
    }
}

/// 303, 345: a group and a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct GroupTopicRequest<'a> {
    pub group: &'a str,
    pub topic: &'a str,
}

impl<'a> GroupTopicRequest<'a> {
    /// Reads 303 or 345.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(GroupTopicRequest { group: fields.text("group")?, topic: fields.text("topic")? })
    }
}

/// 353: whether a group may read a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ForbiddenRequest<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    /// What is to be from now on; `None`: only asked.
    pub readable: Option<bool>,
}

impl<'a> ForbiddenRequest<'a> {
    /// Reads 353.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(ForbiddenRequest {
            group: fields.text("group")?,
            topic: fields.text("topic")?,
            readable: fields.optional_text("readable").map(is_true),
        })
    }
}

/// 207: delete a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteGroupRequest<'a> {
    /// `groupName`.
    pub group: &'a str,
    /// Delete its offsets too.
    pub clean_offset: bool,
}

impl<'a> DeleteGroupRequest<'a> {
    /// Reads 207.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        // RocketMQ's own headers have had both spellings.
        let clean_offset = fields.boolean("cleanOffset", false) || fields.boolean("removeOffset", false);
        Ok(DeleteGroupRequest { group: fields.text("groupName")?, clean_offset })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    #[test]
    fn what_a_group_may_not_is_asked_or_said() {
        let check = |text: &str, expected: Option<bool>| {
            let header = header_of(text);
            let expected = ForbiddenRequest { group: "G", topic: "T", readable: expected };
            assert_eq!(ForbiddenRequest::parse(&header), Ok(expected), "{text}");
        };
        check(r#"{"extFields":{"group":"G","topic":"T"}}"#, None);
        check(r#"{"extFields":{"group":"G","topic":"T","readable":""}}"#, None);
        check(r#"{"extFields":{"group":"G","topic":"T","readable":"true"}}"#, Some(true));
        check(r#"{"extFields":{"group":"G","topic":"T","readable":"no"}}"#, Some(false));
        let header = header_of(r#"{"extFields":{"group":"G"}}"#);
        assert_eq!(ForbiddenRequest::parse(&header), Err(BadRequest::Missing { field: "topic" }));
        assert_eq!(GroupTopicRequest::parse(&header), Err(BadRequest::Missing { field: "topic" }));
    }

    #[test]
    fn groups_are_named_by_two_fields() {
        let header = header_of(r#"{"extFields":{"group":"A","groupName":"B","cleanOffset":"true"}}"#);
        assert_eq!(GroupRequest::parse(&header), Ok(GroupRequest { group: "A" }));
        assert_eq!(DeleteGroupRequest::parse(&header), Ok(DeleteGroupRequest { group: "B", clean_offset: true }));
        assert_eq!(DeleteGroupRequest::parse(&header_of("{}")), Err(BadRequest::Missing { field: "groupName" }));
    }
}
