//! Consumer groups: ask and delete. Listing (201) takes a [`super::TableRequest`]; creating one (200) has its settings in the body.

use super::{BadRequest, HeaderFields};
use crate::header::Header;

/// 352: a group's settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupRequest<'a> {
    /// `group`.
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
    fn groups_are_named_by_two_fields() {
        let header = header_of(r#"{"extFields":{"group":"A","groupName":"B","cleanOffset":"true"}}"#);
        assert_eq!(GroupRequest::parse(&header), Ok(GroupRequest { group: "A" }));
        assert_eq!(DeleteGroupRequest::parse(&header), Ok(DeleteGroupRequest { group: "B", clean_offset: true }));
        assert_eq!(DeleteGroupRequest::parse(&header_of("{}")), Err(BadRequest::Missing { field: "groupName" }));
    }
}
