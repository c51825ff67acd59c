//! Which messages a subscription wants: by the hash of their tag, or by an SQL92 expression over their properties.
//!
//! Tags are decided by a queue's index alone; an expression needs the record. What RocketMQ keeps beside its queues to know some of the
//! answer earlier (`enableConsumeQueueExt`, `enableCalcFilterBitMap`, Bloom filters) changes no outcome, and is not kept. Nor is
//! `consumerFilter.json`: a group's expressions come with its heartbeats, and until the first of these RocketMQ refuses its pulls as well (24).
//! Source: RocketMQ `ExpressionMessageFilter`, `ExpressionForRetryMessageFilter`, `ConsumerFilterManager`.

mod kept;
mod parse;
mod sql;
mod tag;
mod token;
mod value;

use std::sync::Arc;

pub(crate) use self::kept::KeptFilters;
pub(crate) use self::sql::FilterError;
pub use self::sql::SqlFilter;
pub(crate) use self::tag::TagFilter;
use crate::limits::{FILTER_STEPS_PER_PULL, PULL_ENTRIES_MAX};
use crate::model::TopicName;
use crate::protocol::message::{Properties, property};
use crate::protocol::record::{Check, RecordView};

/// What a subscription wants.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum MessageFilter {
    Tags(TagFilter),
    Sql(SqlFilter),
    /// Of a retry topic under `filterSupportRetry`: what the group wants of the topic from which a message came. Of other topics all is wanted.
    Origin(Vec<(TopicName, Arc<MessageFilter>)>),
}

impl MessageFilter {
    /// Whether a message with this tag code may be wanted.
    #[must_use]
    pub(crate) fn wants(&self, tag_code: i64) -> bool {
        match self {
            MessageFilter::Tags(tags) => tags.wants(tag_code),
            MessageFilter::Sql(_) | MessageFilter::Origin(_) => true,
        }
    }

    /// Whether a record whose tag code may be wanted is.
    #[must_use]
    pub(crate) fn matches(&self, record: &[u8]) -> bool {
        if let MessageFilter::Tags(_) = self {
            return true;
        }
        // What is no record is not this one's to judge.
        RecordView::decode(record, None, Check::Shape).is_ok_and(|view| self.matches_properties(view.properties))
    }

    fn matches_properties(&self, properties: &[u8]) -> bool {
        match self {
            MessageFilter::Tags(_) => true,
            MessageFilter::Sql(filter) => filter.matches(properties),
            MessageFilter::Origin(filters) => {
                let origin = Properties::new(properties).get(property::RETRY_TOPIC);
                let filter = filters.iter().find(|(topic, _)| Some(topic.as_str()) == origin);
                filter.is_none_or(|(_, filter)| filter.matches_properties(properties))
            }
        }
    }

    /// Messages that one pull may look at.
    #[must_use]
    pub(crate) fn entries_max(&self) -> usize {
        let most = PULL_ENTRIES_MAX as usize;
        let steps = match self {
            MessageFilter::Tags(_) => return most,
            MessageFilter::Sql(filter) => filter.steps(),
            MessageFilter::Origin(filters) => {
                let steps = filters.iter().map(|(_, filter)| FILTER_STEPS_PER_PULL / filter.entries_max());
                steps.max().unwrap_or(1)
            }
        };
        most.min(FILTER_STEPS_PER_PULL / steps)
    }
}
