//! One typed request a code: header and body in, checked numbers and borrowed names out.
//!
//! Each type has `parse`, which takes the decoded header (and the body where the request has one) and borrows from them. A
//! field that the request makes no sense without is an error when it is absent or no number; an optional one that cannot be
//! read counts as absent, as in RocketMQ. Requests without any field (28, 106, 204-type lists without a key) have no type.

mod client;
mod group;
mod namesrv;
mod offset;
mod pull;
mod query;
mod send;
mod stats;
mod topic;

pub use client::{ConnectionsRequest, ConsumerListRequest, RelayRequest, UnregisterClientRequest};
pub use group::{DeleteGroupRequest, GroupPageRequest, GroupRequest};
pub use namesrv::{
    BrokerHeartbeatRequest, BrokerIdentity, BrokerNameRequest, KvRequest, NamespaceRequest, RegisterBrokerRequest,
    RouteRequest,
};
pub use offset::{
    Boundary, CommitOffsetRequest, ConsumerOffsetRequest, KEPT_ONLY, QueueRequest, ResetOffsetRequest,
    SearchOffsetRequest, TABLE_VERSION, TableRequest, UNLESS_VERSION,
};
pub use pull::{PullRequest, PullSysFlag};
pub use query::{QueryMessageRequest, SendBackRequest, ViewMessageRequest};
pub use send::SendRequest;
pub use stats::{BrokerStatsRequest, ConsumeStatsRequest, TopicGroupRequest};
pub use topic::{AttributeChange, CreateTopicRequest, TopicPageRequest, TopicRequest};

use std::str::FromStr;

use super::body::BodyError;
use super::code::ResponseCode;
use super::header::Header;
use crate::model::QueueId;

/// Why a request cannot be served as it is. Its text is the remark of the reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// A field that the request makes no sense without is absent.
    #[error("the field `{field}` is missing")]
    Missing {
        /// The field's name on the wire.
        field: &'static str,
    },
    /// A field is not a number, or one that is out of range.
    #[error("the field `{field}` is not a number in range")]
    Number {
        /// The field's name on the wire.
        field: &'static str,
    },
    /// The body cannot be read.
    #[error("the body cannot be read: {0}")]
    Body(#[from] BodyError),
    /// The body's checksum does not match.
    #[error("crc32 not match: the header says {said}, the body has {found}")]
    Checksum {
        /// CRC-32 of the header.
        said: u32,
        /// CRC-32 of the body as it came, without its top bit.
        found: u32,
    },
}

impl BadRequest {
    /// The code of the reply. Not one that producers take to another broker: the request would be as bad there.
    #[must_use]
    pub fn code(&self) -> ResponseCode {
        match self {
            BadRequest::Missing { .. } | BadRequest::Number { .. } => ResponseCode::InvalidParameter,
            BadRequest::Body(_) | BadRequest::Checksum { .. } => ResponseCode::SystemError,
        }
    }
}

/// Reads one request's fields from its header.
#[derive(Clone, Copy)]
struct Fields<'h>(&'h Header<'h>);

impl<'h> Fields<'h> {
    fn text(self, field: &'static str) -> Result<&'h str, BadRequest> {
        self.0.ext.get(field).ok_or(BadRequest::Missing { field })
    }

    fn optional_text(self, field: &'static str) -> Option<&'h str> {
        self.0.ext.get(field).filter(|text| !text.is_empty())
    }

    fn number<T: FromStr>(self, field: &'static str) -> Result<T, BadRequest> {
        parse_number(self.text(field)?, field)
    }

    fn optional_number<T: FromStr>(self, field: &str) -> Option<T> {
        self.0.ext.number(field)
    }

    fn boolean(self, field: &str, default: bool) -> bool {
        self.0.ext.get(field).map_or(default, is_true)
    }

    /// A queue's number; negative is none: what that means depends on the request.
    fn queue_id(self, field: &'static str) -> Result<Option<QueueId>, BadRequest> {
        queue_id(self.text(field)?, field)
    }

    fn required_queue_id(self, field: &'static str) -> Result<QueueId, BadRequest> {
        self.queue_id(field)?.ok_or(BadRequest::Number { field })
    }
}

fn parse_number<T: FromStr>(text: &str, field: &'static str) -> Result<T, BadRequest> {
    text.trim().parse().map_err(|_| BadRequest::Number { field })
}

fn queue_id(text: &str, field: &'static str) -> Result<Option<QueueId>, BadRequest> {
    let number: i32 = parse_number(text, field)?;
    Ok(u32::try_from(number).ok().map(QueueId))
}

/// Java's `Boolean.parseBoolean`.
fn is_true(text: &str) -> bool {
    text.eq_ignore_ascii_case("true")
}

/// A header as it comes from a JSON frame, for tests of requests.
#[cfg(test)]
fn header_of(text: &str) -> Header<'_> {
    Header::decode(super::frame::Encoding::Json, text.as_bytes()).expect("a header")
}
