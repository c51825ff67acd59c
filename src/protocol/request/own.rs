//! ringmq's own requests. What an operator decides where replicas cannot go on by themselves is asked twice: without a range it is answered with
//! what would be done and the range that it is about, and with that range it is done, if the range is still the same. What part a shard is to play.
//! And what a slave asks its master for: its tables, by what has changed.

use super::{BadRequest, HeaderFields};
use crate::body::TablePlace;
use crate::header::Header;
use crate::model::{BrokerId, Epoch, LogOffset, Role};

/// Field of request and answer: the first byte of what is decided about.
pub const DECIDE_FROM: &str = "from";
/// Field of request and answer: the end of it.
pub const DECIDE_TO: &str = "to";

/// RINGMQ_DECIDE_REPLICA 720001: a slave gives up what its master has not, and follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DecideRequest {
    /// What is given up; `None` asks what would be.
    pub range: Option<(LogOffset, LogOffset)>,
}

impl DecideRequest {
    /// Reads 720001.
    ///
    /// # Errors
    /// If one end of the range is missing, or is no number.
    pub fn parse(header: &Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        if fields.optional_text(DECIDE_FROM).is_none() {
            return Ok(DecideRequest { range: None });
        }
        let (from, to) = (fields.number(DECIDE_FROM)?, fields.number(DECIDE_TO)?);
        Ok(DecideRequest { range: Some((LogOffset(from), LogOffset(to))) })
    }
}

/// Field of 720002 and of its answer: a role, as `brokerRole` has it.
pub const ROLE: &str = "brokerRole";
/// Field of 720002 and of its answer: the shard's number among its replicas.
pub const ROLE_BROKER_ID: &str = "brokerId";
/// Field of 720002: the reign; of its answer: the newest one that the shard knows.
pub const ROLE_EPOCH: &str = "epoch";
/// Field of the answer: the shard's brokerName.
pub const ROLE_NAME: &str = "brokerName";
/// Field of the answer: which log it is.
pub const ROLE_LOG: &str = "log";
/// Field of the answer: where the log begins.
pub const ROLE_START: &str = "start";
/// Field of the answer: where the log ends.
pub const ROLE_END: &str = "end";
/// Field of the answer: whether it is a master that refuses sends, since replicas may have what it has not.
pub const ROLE_HOLDS_BACK: &str = "holdsBack";
/// Field of the answer: whether it is a slave that follows its master.
pub const ROLE_FOLLOWS: &str = "follows";

/// RINGMQ_ORDER_ROLE 720002: what a shard is, or is to be from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrderRoleRequest {
    /// Role, number among the replicas, and reign; `None` asks what it is.
    pub order: Option<(Role, BrokerId, Epoch)>,
}

impl OrderRoleRequest {
    /// Reads 720002.
    ///
    /// # Errors
    /// If a field of an order is missing, or is not what it must be.
    pub fn parse(header: &Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let Some(role) = fields.optional_text(ROLE) else { return Ok(OrderRoleRequest { order: None }) };
        let roles = [Role::AsyncMaster, Role::SyncMaster, Role::Slave];
        let role = roles
            .into_iter()
            .find(|known| known.to_string() == role)
            .ok_or(BadRequest::Text { field: ROLE, wanted: "a role" })?;
        let (id, epoch): (u64, u32) = (fields.number(ROLE_BROKER_ID)?, fields.number(ROLE_EPOCH)?);
        Ok(OrderRoleRequest { order: Some((role, BrokerId(id), Epoch(epoch))) })
    }
}

/// Field of the answer to 720003: the log and the reign of the master that answers, by which its slaves know it.
pub const MASTER_REIGN: &str = "masterReign";
/// Field of 720003: how many changes of its tables the slave knows, as [`CHANGES_UNTIL`] told it.
pub const CHANGES_SINCE: &str = "since";
/// Field of 720003: the part of the tables behind this place is wanted.
pub const CHANGES_BEHIND: &str = "behind";
/// Field of the answer: with what it tells, so many changes are known.
pub const CHANGES_UNTIL: &str = "until";
/// Field of the answer, if what has changed since is not known and all parts are to be asked for: the change before [`CHANGES_UNTIL`] that made
/// offsets less last.
pub const CHANGES_SET_BACK: &str = "lastSetBack";
/// Field of the answer: the place behind which the next part is; absent behind the last one.
pub const CHANGES_NEXT: &str = "next";

/// RINGMQ_TABLE_CHANGES 720003: what has changed of a master's tables, or a part of them. The body of the answer is lines as of `changes-N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TableChangesRequest {
    /// [`CHANGES_SINCE`].
    pub since: Option<u64>,
    /// [`CHANGES_BEHIND`].
    pub behind: Option<TablePlace>,
}

impl TableChangesRequest {
    /// Reads 720003.
    ///
    /// # Errors
    /// If a field is not what it must be.
    pub fn parse(header: &Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let place = |text: &str| {
            TablePlace::parse(text).ok_or(BadRequest::Text { field: CHANGES_BEHIND, wanted: "a place in the tables" })
        };
        let behind = fields.optional_text(CHANGES_BEHIND).map(place).transpose()?;
        Ok(TableChangesRequest { since: fields.number_if_any(CHANGES_SINCE)?, behind })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    #[test]
    fn changes_are_asked_for_by_what_is_a_place_or_not_at_all() {
        let check = |fields: &str, expected: Result<Option<u64>, BadRequest>| {
            let text = format!(r#"{{"code":720003,"extFields":{{{fields}}}}}"#);
            let found = TableChangesRequest::parse(&header_of(&text)).map(|found| found.since);
            assert_eq!(found, expected, "{fields}");
        };
        check("", Ok(None));
        check(r#""since":"7""#, Ok(Some(7)));
        check(r#""since":"-1""#, Err(BadRequest::Range { field: CHANGES_SINCE }));
        check(r#""since":"x""#, Err(BadRequest::Number { field: CHANGES_SINCE }));
        check(r#""behind":"x""#, Err(BadRequest::Text { field: CHANGES_BEHIND, wanted: "a place in the tables" }));
    }
}
