//! Offsets: what a group has read, and what a queue holds.

use super::{BadRequest, HeaderFields, is_true, parse_number, queue_id};
use crate::header::Header;
use crate::model::{QueueId, QueueOffset, UnixMs};

/// 14: where a group stands in a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ConsumerOffsetRequest<'a> {
    /// `consumerGroup`.
    pub group: &'a str,
    pub topic: &'a str,
    pub queue_id: QueueId,
    /// `false`: a group that is new is told so, whatever the queue holds.
    pub zero_if_not_found: bool,
}

impl<'a> ConsumerOffsetRequest<'a> {
    /// Reads 14.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(ConsumerOffsetRequest {
            group: fields.text("consumerGroup")?,
            topic: fields.text("topic")?,
            queue_id: fields.required_queue_id("queueId")?,
            zero_if_not_found: fields.boolean("setZeroIfNotFound", true),
        })
    }
}

/// 15: a group has read up to here.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct CommitOffsetRequest<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    pub queue_id: QueueId,
    /// Next offset that the group reads; none if -1. The Go client commits that for a queue that it has no offset of
    /// yet: the answer is success, and what is stored stays. Other negative ones are no offset.
    pub offset: Option<QueueOffset>,
    /// [`GIVEN_BACK`].
    pub is_given_back: bool,
}

/// A field of ours in 15: a slave gives back to its master what was committed there. Others do not know it, and take it as any commit.
pub const GIVEN_BACK: &str = "givenBack";

impl<'a> CommitOffsetRequest<'a> {
    /// Reads 15.
    ///
    /// # Errors
    /// [`BadRequest`].
    // Inlined for the same reason as a send.
    #[inline(always)]
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        // One pass over the fields: consumers send one of these a queue every five seconds.
        let (mut group, mut topic, mut queue, mut offset) = (None, None, None, None);
        let mut is_given_back = false;
        for (name, value) in header.ext.iter() {
            match name {
                "consumerGroup" => group = Some(value),
                "topic" => topic = Some(value),
                "queueId" => queue = Some(value),
                "commitOffset" => offset = Some(value),
                GIVEN_BACK => is_given_back = is_true(value),
                _ => {}
            }
        }
        let required = |text: Option<&'a str>, field| text.ok_or(BadRequest::Missing { field });
        let offset: i64 = parse_number(required(offset, "commitOffset")?, "commitOffset")?;
        if offset < -1 {
            return Err(BadRequest::Range { field: "commitOffset" });
        }
        Ok(CommitOffsetRequest {
            group: required(group, "consumerGroup")?,
            topic: required(topic, "topic")?,
            queue_id: queue_id(required(queue, "queueId")?, "queueId")?
                .ok_or(BadRequest::Range { field: "queueId" })?,
            offset: u64::try_from(offset).ok().map(QueueOffset),
            is_given_back,
        })
    }
}

/// A field of ours in 43: only offsets that were committed on a slave, without those that it copied from its master. Others do not know it
/// and tell all.
pub const KEPT_ONLY: &str = "keptOnly";

/// A field of ours in the answer to a request with [`KEPT_ONLY`]: the log that the replica has, 32 hexadecimal digits, or `unknown`.
pub const REPLICA_LOG: &str = "replicaLog";

/// 43: the offsets of all groups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableRequest {
    /// [`KEPT_ONLY`].
    pub kept_only: bool,
}

impl TableRequest {
    /// Reads 43.
    #[must_use]
    pub fn parse(header: &Header<'_>) -> Self {
        TableRequest { kept_only: HeaderFields(header).boolean(KEPT_ONLY, false) }
    }
}

/// 30, 31, 32: the newest or oldest offset of a queue, or the time of its oldest message.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct QueueRequest<'a> {
    pub topic: &'a str,
    /// The queue; none if negative.
    pub queue_id: Option<QueueId>,
    /// 30 only: count what consumers may see, not what is written.
    pub committed: bool,
}

impl<'a> QueueRequest<'a> {
    /// Reads 30, 31 or 32.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(QueueRequest {
            topic: fields.text("topic")?,
            queue_id: fields.queue_id("queueId")?,
            committed: fields.boolean("committed", true),
        })
    }
}

/// Which message counts when several have the time that is looked for, or none has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Boundary {
    /// The first at or after the time; the queue's end if there is none.
    #[default]
    Lower,
    /// The last at or before the time; the queue's first if there is none.
    Upper,
}

/// 29: the offset of a time.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct SearchOffsetRequest<'a> {
    pub topic: &'a str,
    /// The queue; none if negative.
    pub queue_id: Option<QueueId>,
    /// The store time that is looked for.
    pub timestamp: UnixMs,
    /// Which message counts.
    pub boundary: Boundary,
}

impl<'a> SearchOffsetRequest<'a> {
    /// Reads 29.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let upper = fields.optional_text("boundaryType").is_some_and(|name| name.eq_ignore_ascii_case("upper"));
        Ok(SearchOffsetRequest {
            topic: fields.text("topic")?,
            queue_id: fields.queue_id("queueId")?,
            timestamp: UnixMs(fields.number("timestamp")?),
            boundary: if upper { Boundary::Upper } else { Boundary::Lower },
        })
    }
}

/// What clients say for no offset.
const NO_OFFSET: i64 = -1;

/// 222: a group shall go to another place.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ResetOffsetRequest<'a> {
    pub group: &'a str,
    pub topic: &'a str,
    /// One queue, or none for all of them.
    pub queue_id: Option<QueueId>,
    /// Where to, if said as an offset. One that no queue has is refused and does not let the time decide.
    pub offset: Option<i64>,
    /// Where to, if said as a time; -1 is the newest message.
    pub timestamp: UnixMs,
    /// Also forward, not only back.
    pub force: bool,
}

impl<'a> ResetOffsetRequest<'a> {
    /// Reads 222.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(ResetOffsetRequest {
            group: fields.text("group")?,
            topic: fields.text("topic")?,
            queue_id: fields.optional_number::<i32>("queueId").and_then(|id| u32::try_from(id).ok()).map(QueueId),
            offset: fields.optional_number::<i64>("offset").filter(|at| *at != NO_OFFSET),
            timestamp: UnixMs(fields.number("timestamp")?),
            force: fields.optional_text("isForce").is_some_and(is_true),
        })
    }
}

/// 308: of each queue the least offset of all groups.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct CorrectionRequest<'a> {
    pub topic: &'a str,
    /// The group that asks: `compareGroup`.
    pub group: &'a str,
    /// Groups that do not count: `filterGroups`, separated by commas.
    pub left_out: Vec<&'a str>,
}

impl<'a> CorrectionRequest<'a> {
    /// Reads 308.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        let left_out = fields.optional_text("filterGroups").unwrap_or_default().split(',');
        Ok(CorrectionRequest {
            topic: fields.text("topic")?,
            group: fields.text("compareGroup")?,
            left_out: left_out.filter(|group| !group.is_empty()).collect(),
        })
    }
}

/// 314: a group is to go on where another one stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CloneOffsetsRequest<'a> {
    /// `srcGroup`.
    pub from: &'a str,
    /// `destGroup`.
    pub to: &'a str,
    /// In this topic; in all of the first group if absent or blank.
    pub topic: Option<&'a str>,
    /// `offline`: also in a topic that the first group, which is online, no longer subscribes to.
    pub is_offline: bool,
}

impl<'a> CloneOffsetsRequest<'a> {
    /// Reads 314.
    ///
    /// # Errors
    /// [`BadRequest`].
    pub fn parse(header: &'a Header<'_>) -> Result<Self, BadRequest> {
        let fields = HeaderFields(header);
        Ok(CloneOffsetsRequest {
            from: fields.text("srcGroup")?,
            to: fields.text("destGroup")?,
            topic: fields.optional_text("topic").filter(|topic| !topic.trim().is_empty()),
            is_offline: fields.boolean("offline", false),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    #[test]
    fn offsets_are_read() {
        let text = r#"{"extFields":{"consumerGroup":"G","group":"G","topic":"T","queueId":"2","commitOffset":"5","timestamp":"-1","boundaryType":"upper","setZeroIfNotFound":"False","isForce":"TRUE","offset":"-1"}}"#;
        let header = header_of(text);
        let (group, topic, queue_id) = ("G", "T", QueueId(2));
        let query = ConsumerOffsetRequest { group, topic, queue_id, zero_if_not_found: false };
        assert_eq!(ConsumerOffsetRequest::parse(&header), Ok(query));
        let commit = CommitOffsetRequest { group, topic, queue_id, offset: Some(QueueOffset(5)), is_given_back: false };
        assert_eq!(CommitOffsetRequest::parse(&header), Ok(commit));
        let queue_id = Some(queue_id);
        assert_eq!(QueueRequest::parse(&header), Ok(QueueRequest { topic, queue_id, committed: true }));
        let search = SearchOffsetRequest { topic, queue_id, timestamp: UnixMs(-1), boundary: Boundary::Upper };
        assert_eq!(SearchOffsetRequest::parse(&header), Ok(search));
        let reset = ResetOffsetRequest { group, topic, queue_id, offset: None, timestamp: UnixMs(-1), force: true };
        assert_eq!(ResetOffsetRequest::parse(&header), Ok(reset));
    }

    #[test]
    fn corrections_and_clones_are_read() {
        let header = header_of(r#"{"extFields":{"topic":" ","compareGroup":"G","filterGroups":",A,,B"}}"#);
        let correction = CorrectionRequest { topic: " ", group: "G", left_out: vec!["A", "B"] };
        assert_eq!(CorrectionRequest::parse(&header), Ok(correction));
        assert_eq!(CloneOffsetsRequest::parse(&header), Err(BadRequest::Missing { field: "srcGroup" }));
        let header = header_of(r#"{"extFields":{"srcGroup":"A","destGroup":"B","topic":" ","offline":"TRUE"}}"#);
        let clone = CloneOffsetsRequest { from: "A", to: "B", topic: None, is_offline: true };
        assert_eq!(CloneOffsetsRequest::parse(&header), Ok(clone));
        assert_eq!(CorrectionRequest::parse(&header), Err(BadRequest::Missing { field: "compareGroup" }));
    }

    #[test]
    fn a_negative_commit_says_nothing() {
        let text = r#"{"extFields":{"consumerGroup":"G","topic":"T","queueId":"2","commitOffset":"-1"}}"#;
        let header = header_of(text);
        assert_eq!(CommitOffsetRequest::parse(&header).map(|commit| commit.offset), Ok(None));
    }
}
