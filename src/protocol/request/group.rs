//! Consumer groups: ask and delete. Creating one (200) has its settings in the body.

use super::topic::page_version;
use super::{BadRequest, Fields};
use crate::body::DataVersion;
use crate::header::Header;

/// 352: a group's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRequest<'a> {
    /// The group.
    pub group: &'a str,
}

impl<'a> GroupRequest<'a> {
    /// Reads 343 or 352.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        Ok(GroupRequest { group: Fields(header).text("group")? })
    }
}

/// 207: delete a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteGroupRequest<'a> {
    /// The group.
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
        let fields = Fields(header);
        // RocketMQ's own headers have had both spellings.
        let clean_offset = fields.boolean("cleanOffset", false) || fields.boolean("removeOffset", false);
        Ok(DeleteGroupRequest { group: fields.text("groupName")?, clean_offset })
    }
}

/// 201: groups from a place of the table on. Old clients say nothing, and get all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPageRequest {
    /// First group, counted from 0.
    pub first: usize,
    /// Most groups; none is all.
    pub count_max: Option<usize>,
    /// Version of the table that the client has pages of.
    pub version: Option<DataVersion>,
}

impl GroupPageRequest {
    /// Reads 201.
    #[must_use]
    pub fn parse(header: &Header<'_>) -> Self {
        let fields = Fields(header);
        GroupPageRequest {
            first: fields.optional_number("groupSeq").unwrap_or(0),
            count_max: fields.optional_number("maxGroupNum"),
            version: page_version(fields),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    #[test]
    fn groups_are_named_by_two_fields() {
        let header = header_of(r#"{"extFields":{"group":"A","groupName":"B","cleanOffset":"true","groupSeq":"7"}}"#);
        assert_eq!(GroupRequest::parse(&header), Ok(GroupRequest { group: "A" }));
        assert_eq!(DeleteGroupRequest::parse(&header), Ok(DeleteGroupRequest { group: "B", clean_offset: true }));
        assert_eq!(GroupPageRequest::parse(&header), GroupPageRequest { first: 7, count_max: None, version: None });
        assert_eq!(DeleteGroupRequest::parse(&header_of("{}")), Err(BadRequest::Missing { field: "groupName" }));
    }
}
