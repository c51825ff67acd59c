//! What a broker is asked, as one value: header and body in, checked numbers and borrowed names out.
//!
//! [`Request::decode`] is the one way from bytes to a request of a broker, and the one list of the codes that ringmq's broker answers. What
//! comes with the request (names, properties, the message) is borrowed from header and body. Each variant's type has `parse`, which does it.
//! A field that the request makes no sense without is an error when it is absent or no number; an optional one that cannot be read counts as
//! absent, as in RocketMQ. The types of what name servers are asked stand beside them.

mod client;
mod controller;
mod group;
mod namesrv;
mod offset;
mod own;
mod pop;
mod pull;
mod query;
mod recall;
mod send;
mod stats;
mod template;
mod topic;
mod transaction;

pub(crate) use client::{ConnectionsRequest, ConsumerListRequest};
pub use client::{ConsumeDirectlyRequest, ConsumerStatusRequest, RunningInfoRequest, UnregisterClientRequest};
pub use controller::{
    AGREE_GROUP, AgreeRequest, AlterSyncStateSetRequest, ApplyBrokerIdRequest, CleanBrokerDataRequest,
    ElectMasterRequest, RegisterToControllerRequest, ReplicaGroupRequest, SignOfLifeRequest,
};
pub(crate) use group::GroupRequest;
pub use group::{DeleteGroupRequest, ForbiddenRequest, GroupTopicRequest};
pub use namesrv::{
    BrokerHeartbeatRequest, BrokerIdentity, BrokerNameRequest, CHANGES_ONLY, KvRequest, NamespaceRequest,
    RegisterBrokerRequest, RouteRequest,
};
pub use offset::{
    Boundary, CloneOffsetsRequest, CommitOffsetRequest, ConsumerOffsetRequest, CorrectionRequest, GIVEN_BACK,
    KEPT_ONLY, QueueRequest, REPLICA_LOG, ResetOffsetRequest, SearchOffsetRequest, TableRequest,
};
pub use own::{
    CHANGES_BEHIND, CHANGES_NEXT, CHANGES_SET_BACK, CHANGES_SINCE, CHANGES_UNTIL, DECIDE_FROM, DECIDE_TO,
    DecideRequest, MASTER_REIGN, OrderRoleRequest, ROLE, ROLE_BROKER_ID, ROLE_END, ROLE_EPOCH, ROLE_FOLLOWS,
    ROLE_HOLDS_BACK, ROLE_LOG, ROLE_NAME, ROLE_START, TableChangesRequest,
};
pub use pop::{AckRequest, ChangeInvisibleRequest, PopFrom, PopRequest};
pub use pull::PullRequest;
pub(crate) use query::ViewMessageRequest;
pub use query::{QueryMessageRequest, SendBackRequest};
pub use recall::RecallRequest;
pub use send::SendRequest;
pub use stats::{AllConsumeStatsRequest, BrokerStatsRequest, ConsumeStatsRequest, QueueEntriesRequest};
pub use template::{SendTemplate, TemplateSend};
pub use topic::{AttributeChange, CreateTopicRequest, TopicRequest};
pub use transaction::{EndTransactionRequest, ResumeCheckRequest, TransactionEnd};

use std::str::FromStr;

use super::body::{
    AckedMessages, AssignmentRequest, BodyError, ClientConfig, HeartbeatData, LockRequest, ModeRequest,
    SubscriptionGroupConfig, TopicConfigList,
};
use super::code::{RequestCode, ResponseCode, UnknownCode};
use super::header::Header;
use crate::model::QueueId;

/// A request to a broker.
#[derive(Clone, Debug, PartialEq)]
pub enum Request<'a> {
    /// 10, 310, 320: store a message, or a batch of them.
    Send(SendRequest<'a>),
    /// 11, 361: messages of one queue from an offset on.
    Pull(PullRequest<'a>),
    /// 12: messages by key.
    QueryMessage(QueryMessageRequest<'a>),
    /// 14: how far a group has come in a queue.
    QueryOffset(ConsumerOffsetRequest<'a>),
    /// 324, 325: a client replies to another's request.
    SendReply(SendRequest<'a>),
    /// 15: how far a group has come, said by a consumer.
    CommitOffset(CommitOffsetRequest<'a>),
    /// 17: make or change a topic.
    UpdateTopic(CreateTopicRequest<'a>),
    /// 18: make or change several.
    UpdateTopics(TopicConfigList),
    /// 21: all topics.
    AllTopics,
    /// 25: settings that are to change online, as properties.
    ChangeSettings(&'a [u8]),
    /// 26: the configuration in force.
    BrokerConfig,
    /// 28: counters, rates and places.
    RuntimeInfo,
    /// 29: the offset at a time.
    SearchOffset(SearchOffsetRequest<'a>),
    /// 30: the end of a queue.
    MaxOffset(QueueRequest<'a>),
    /// 31: the beginning of a queue.
    MinOffset(QueueRequest<'a>),
    /// 32: when the first message of a queue was stored.
    EarliestTime(QueueRequest<'a>),
    /// 33: the message at a place in the log.
    ViewMessage(ViewMessageRequest<'a>),
    /// 34: a client says that it lives, and which groups it is a member of.
    HeartBeat(HeartbeatData),
    /// 35: a client leaves its groups.
    UnregisterClient(UnregisterClientRequest<'a>),
    /// 36: a consumer could not process a message.
    SendBack(SendBackRequest<'a>),
    /// 37: a producer says how a transaction ends.
    EndTransaction(EndTransactionRequest<'a>),
    /// 38: the members of a group.
    ConsumerList(ConsumerListRequest<'a>),
    /// 41: a consumer wants queues for itself.
    LockQueues(LockRequest),
    /// 42: and gives them back.
    UnlockQueues(LockRequest),
    /// 43: all consumer offsets.
    AllOffsets(TableRequest),
    /// 46: a client asks whether a subscription is one.
    CheckClient(ClientConfig),
    /// 45: how far each delay level has come.
    AllDelayOffsets,
    /// 200, 225: make or change groups.
    UpdateGroups(Vec<SubscriptionGroupConfig>),
    /// 201: all groups.
    AllGroups,
    /// 202: the bounds of a topic's queues.
    TopicStats(TopicRequest<'a>),
    /// 203: who consumes in a group, and what.
    ConsumerConnections(ConnectionsRequest<'a>),
    /// 204: who produces in a group.
    ProducerConnections(ConnectionsRequest<'a>),
    /// 207: delete a group.
    DeleteGroup(DeleteGroupRequest<'a>),
    /// 208: how far a group is behind.
    ConsumeStats(ConsumeStatsRequest<'a>),
    /// 215: delete a topic.
    DeleteTopic(TopicRequest<'a>),
    /// 222: where a group is to go on in a topic.
    ResetOffsets(ResetOffsetRequest<'a>),
    /// 223: where the clients of a group stand.
    ConsumerStatus(ConsumerStatusRequest<'a>),
    /// 300: the groups that consume a topic.
    GroupsOfTopic(TopicRequest<'a>),
    /// 303: how old what a group is to consume is.
    TimeSpans(GroupTopicRequest<'a>),
    /// 305: topics that are RocketMQ's own.
    SystemTopics,
    /// 306: index files of what is gone are to go now.
    CleanQueues,
    /// 307: what a client says of itself.
    RunningInfo(RunningInfoRequest<'a>),
    /// 308: of each queue the least offset of all groups.
    Corrections(CorrectionRequest<'a>),
    /// 309: a client is to consume a message now.
    ConsumeDirectly(ConsumeDirectlyRequest<'a>),
    /// 314: a group is to go on where another one stands.
    CloneOffsets(CloneOffsetsRequest<'a>),
    /// 315: a counter over time.
    BrokerStats(BrokerStatsRequest<'a>),
    /// 316: messages of topics that are not there are to go.
    CleanTopics,
    /// 317: where all groups stand.
    AllConsumeStats(AllConsumeStatsRequest),
    /// 321: entries of a consume queue.
    QueueEntries(QueueEntriesRequest<'a>),
    /// 323: a half message that was given up is to be checked again.
    ResumeCheck(ResumeCheckRequest),
    /// 328: all producers.
    AllProducers,
    /// 329: what is older than it need be is to go now.
    DeleteExpired,
    /// 343: the topics that a group consumes.
    TopicsOfGroup(GroupRequest<'a>),
    /// 345: what a group wants of a topic.
    SubscriptionOfGroup(GroupTopicRequest<'a>),
    /// 351: a topic's settings.
    TopicConfig(TopicRequest<'a>),
    /// 352: a group's settings.
    GroupConfig(GroupRequest<'a>),
    /// 353: whether a group may read a topic.
    Forbidden(ForbiddenRequest<'a>),
    /// 370: a producer recalls a timer message.
    Recall(RecallRequest<'a>),
    /// 400: a consumer asks which queues it has.
    QueryAssignment(AssignmentRequest),
    /// 401: how a group is to get the messages of a topic.
    SetMode(ModeRequest),
    /// 402: how groups get messages.
    AllRequestModes,
    /// 907: replicas, or the master.
    HaStatus,
    /// 200050: messages of a topic, for a while.
    Pop(PopRequest<'a>),
    /// 200051: one was consumed.
    Ack(AckRequest<'a>),
    /// 200052: what a pop would find.
    Peek(PopRequest<'a>),
    /// 200054: whether it would find something.
    Notification(PopRequest<'a>),
    /// 200055: how many pops wait.
    PollingInfo(PopRequest<'a>),
    /// 200151: many were.
    AckAll(Vec<AckedMessages>),
    /// 200053: one is kept for another while.
    ChangeInvisible(ChangeInvisibleRequest<'a>),
    /// 720001: a slave gives up what its master has not.
    Decide(DecideRequest),
    /// 720002: what a shard is, or is to be.
    OrderRole(OrderRoleRequest),
    /// 720003: a slave asks for its master's tables.
    TableChanges(TableChangesRequest),
}

impl<'a> Request<'a> {
    /// Whether it changes what operators set, as [`Row::sets`](crate::code::Row::sets) says of its code: a 353 may only ask.
    #[must_use]
    pub fn sets(&self, code: RequestCode) -> bool {
        code.row().sets && !matches!(self, Request::Forbidden(ForbiddenRequest { readable: None, .. }))
    }

    /// Reads a request. Nothing is allocated for the codes that each message brings (10, 310, 320, 11, 361, 15).
    ///
    /// # Errors
    /// [`BadRequest`]; [`BadRequest::NotSupported`] for a code that a broker does not answer, or not yet.
    pub fn decode(code: RequestCode, header: &'a Header<'_>, body: &'a [u8]) -> Result<Request<'a>, BadRequest> {
        use RequestCode as Code;
        // Asked before all others: the numbers are sparse, so that the match below is a search.
        if let Code::SendMessageV2 | Code::SendMessage | Code::SendBatchMessage = code {
            return SendRequest::parse(header, body).map(Request::Send);
        }
        if let Code::PullMessage | Code::LitePullMessage = code {
            return PullRequest::parse(header).map(Request::Pull);
        }
        if let Code::UpdateConsumerOffset = code {
            return CommitOffsetRequest::parse(header).map(Request::CommitOffset);
        }
        Ok(match code {
            Code::QueryMessage => Request::QueryMessage(QueryMessageRequest::parse(header)?),
            Code::QueryConsumerOffset => Request::QueryOffset(ConsumerOffsetRequest::parse(header)?),
            Code::UpdateAndCreateTopic => Request::UpdateTopic(CreateTopicRequest::parse(header)?),
            Code::UpdateAndCreateTopicList => Request::UpdateTopics(TopicConfigList::decode(body)?),
            Code::GetAllTopicConfig => Request::AllTopics,
            Code::UpdateBrokerConfig => Request::ChangeSettings(body),
            Code::GetBrokerConfig => Request::BrokerConfig,
            Code::GetBrokerRuntimeInfo => Request::RuntimeInfo,
            Code::SearchOffsetByTimestamp => Request::SearchOffset(SearchOffsetRequest::parse(header)?),
            Code::GetMaxOffset => Request::MaxOffset(QueueRequest::parse(header)?),
            Code::GetMinOffset => Request::MinOffset(QueueRequest::parse(header)?),
            Code::GetEarliestMsgStoretime => Request::EarliestTime(QueueRequest::parse(header)?),
            Code::ViewMessageById => Request::ViewMessage(ViewMessageRequest::parse(header)?),
            Code::HeartBeat => Request::HeartBeat(HeartbeatData::decode(body)?),
            Code::UnregisterClient => Request::UnregisterClient(UnregisterClientRequest::parse(header)?),
            Code::ConsumerSendMsgBack => Request::SendBack(SendBackRequest::parse(header)?),
            Code::EndTransaction => Request::EndTransaction(EndTransactionRequest::parse(header)?),
            Code::RecallMessage => Request::Recall(RecallRequest::parse(header)?),
            Code::GetConsumerListByGroup => Request::ConsumerList(ConsumerListRequest::parse(header)?),
            Code::SendReplyMessage | Code::SendReplyMessageV2 => Request::SendReply(SendRequest::parse(header, body)?),
            Code::CheckClientConfig => Request::CheckClient(ClientConfig::decode(body)?),
            Code::LockBatchMq => Request::LockQueues(LockRequest::decode(body)?),
            Code::UnlockBatchMq => Request::UnlockQueues(LockRequest::decode(body)?),
            Code::GetAllConsumerOffset => Request::AllOffsets(TableRequest::parse(header)),
            Code::GetAllDelayOffset => Request::AllDelayOffsets,
            Code::UpdateAndCreateSubscriptiongroup => {
                Request::UpdateGroups(vec![SubscriptionGroupConfig::decode(body)?])
            }
            Code::UpdateAndCreateSubscriptiongroupList => {
                Request::UpdateGroups(SubscriptionGroupConfig::decode_list(body)?)
            }
            Code::GetAllSubscriptiongroupConfig => Request::AllGroups,
            Code::QueryAssignment => Request::QueryAssignment(AssignmentRequest::decode(body)?),
            Code::SetMessageRequestMode => Request::SetMode(ModeRequest::decode(body)?),
            Code::PopMessage => Request::Pop(PopRequest::parse(header)?),
            Code::AckMessage => Request::Ack(AckRequest::parse(header)?),
            Code::BatchAckMessage => Request::AckAll(AckedMessages::decode(body)?),
            Code::PeekMessage => Request::Peek(PopRequest::parse_peek(header)?),
            Code::Notification => Request::Notification(PopRequest::parse_notification(header)?),
            Code::PollingInfo => Request::PollingInfo(PopRequest::parse_look(header)?),
            Code::ChangeMessageInvisibletime => Request::ChangeInvisible(ChangeInvisibleRequest::parse(header)?),
            _ => return Request::decode_of_tools(code, header),
        })
    }

    /// What tools ask about topics, groups and the broker.
    fn decode_of_tools(code: RequestCode, header: &'a Header<'_>) -> Result<Request<'a>, BadRequest> {
        use RequestCode as Code;
        Ok(match code {
            Code::GetTopicStatsInfo => Request::TopicStats(TopicRequest::parse(header)?),
            Code::GetConsumerConnectionList => {
                Request::ConsumerConnections(ConnectionsRequest::parse_consumer(header)?)
            }
            Code::GetProducerConnectionList => {
                Request::ProducerConnections(ConnectionsRequest::parse_producer(header)?)
            }
            Code::DeleteSubscriptiongroup => Request::DeleteGroup(DeleteGroupRequest::parse(header)?),
            Code::GetConsumeStats => Request::ConsumeStats(ConsumeStatsRequest::parse(header)?),
            Code::DeleteTopicInBroker => Request::DeleteTopic(TopicRequest::parse(header)?),
            Code::InvokeBrokerToResetOffset => Request::ResetOffsets(ResetOffsetRequest::parse(header)?),
            Code::InvokeBrokerToGetConsumerStatus => Request::ConsumerStatus(ConsumerStatusRequest::parse(header)?),
            Code::GetConsumerRunningInfo => Request::RunningInfo(RunningInfoRequest::parse(header)?),
            Code::ConsumeMessageDirectly => Request::ConsumeDirectly(ConsumeDirectlyRequest::parse(header)?),
            Code::QueryTopicConsumeByWho => Request::GroupsOfTopic(TopicRequest::parse(header)?),
            Code::GetSystemTopicListFromBroker => Request::SystemTopics,
            Code::ViewBrokerStatsData => Request::BrokerStats(BrokerStatsRequest::parse(header)?),
            Code::ResumeCheckHalfMessage => Request::ResumeCheck(ResumeCheckRequest::parse(header)),
            Code::GetAllProducerInfo => Request::AllProducers,
            Code::QueryConsumeTimeSpan => Request::TimeSpans(GroupTopicRequest::parse(header)?),
            Code::CleanExpiredConsumequeue => Request::CleanQueues,
            Code::QueryCorrectionOffset => Request::Corrections(CorrectionRequest::parse(header)?),
            Code::CloneGroupOffset => Request::CloneOffsets(CloneOffsetsRequest::parse(header)?),
            Code::CleanUnusedTopic => Request::CleanTopics,
            Code::GetBrokerConsumeStats => Request::AllConsumeStats(AllConsumeStatsRequest::parse(header)?),
            Code::QueryConsumeQueue => Request::QueueEntries(QueueEntriesRequest::parse(header)?),
            Code::DeleteExpiredCommitlog => Request::DeleteExpired,
            Code::QueryTopicsByConsumer => Request::TopicsOfGroup(GroupRequest::parse(header)?),
            Code::QuerySubscriptionByConsumer => Request::SubscriptionOfGroup(GroupTopicRequest::parse(header)?),
            Code::UpdateAndGetGroupForbidden => Request::Forbidden(ForbiddenRequest::parse(header)?),
            Code::GetTopicConfig => Request::TopicConfig(TopicRequest::parse(header)?),
            Code::GetSubscriptiongroupConfig => Request::GroupConfig(GroupRequest::parse(header)?),
            Code::GetAllMessageRequestMode => Request::AllRequestModes,
            Code::GetBrokerHaStatus => Request::HaStatus,
            Code::DecideReplica => Request::Decide(DecideRequest::parse(header)?),
            Code::OrderRole => Request::OrderRole(OrderRoleRequest::parse(header)?),
            Code::TableChanges => Request::TableChanges(TableChangesRequest::parse(header)?),
            // The table says why: not yet, or a request to somebody else. A test holds the two lists equal.
            _ => return Err(BadRequest::NotSupported { code: header.code }),
        })
    }
}

/// Why a request cannot be served as it is. Its text is the remark of the reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// A field that the request makes no sense without is absent.
    #[error("the field `{field}` is missing")]
    Missing {
        /// The field's name on the wire.
        field: &'static str,
    },
    /// A field is not a number.
    #[error("the field `{field}` is not a number")]
    Number {
        /// The field's name on the wire.
        field: &'static str,
    },
    /// A field is a number that it cannot be.
    #[error("the field `{field}` is out of range")]
    Range {
        /// The field's name on the wire.
        field: &'static str,
    },
    /// A field has a text that it cannot have.
    #[error("the field `{field}` is not {wanted}")]
    Text {
        /// The field's name on the wire.
        field: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// The body cannot be read.
    #[error("the body cannot be read: {0}")]
    Body(#[from] BodyError),
    /// Not a request to this side, or not one that it answers yet.
    #[error(" request type {code} not supported")]
    NotSupported {
        /// The number on the wire.
        code: i32,
    },
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
            BadRequest::Missing { .. }
            | BadRequest::Number { .. }
            | BadRequest::Range { .. }
            | BadRequest::Text { .. } => ResponseCode::InvalidParameter,
            BadRequest::Body(_) | BadRequest::Checksum { .. } => ResponseCode::SystemError,
            BadRequest::NotSupported { .. } => ResponseCode::RequestCodeNotSupported,
        }
    }
}

impl From<UnknownCode> for BadRequest {
    fn from(unknown: UnknownCode) -> BadRequest {
        BadRequest::NotSupported { code: unknown.0 }
    }
}

/// Reads one request's fields from its header.
#[derive(Clone, Copy)]
struct HeaderFields<'h>(&'h Header<'h>);

impl<'h> HeaderFields<'h> {
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

    /// A number, unless it is absent or empty; what is no number is refused.
    fn number_if_any<T: FromStr>(self, field: &'static str) -> Result<Option<T>, BadRequest> {
        self.optional_text(field).map(|text| parse_number(text, field)).transpose()
    }

    fn boolean(self, field: &str, default: bool) -> bool {
        self.0.ext.get(field).map_or(default, is_true)
    }

    /// A queue's number; negative is none: what that means depends on the request.
    fn queue_id(self, field: &'static str) -> Result<Option<QueueId>, BadRequest> {
        queue_id(self.text(field)?, field)
    }

    fn required_queue_id(self, field: &'static str) -> Result<QueueId, BadRequest> {
        self.queue_id(field)?.ok_or(BadRequest::Range { field })
    }
}

fn parse_number<T: FromStr>(text: &str, field: &'static str) -> Result<T, BadRequest> {
    let text = text.trim();
    text.parse().map_err(|_| if is_whole(text) { BadRequest::Range { field } } else { BadRequest::Number { field } })
}

/// Whether a text is a whole number, of whatever size.
fn is_whole(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::{Endpoint, Status};

    #[test]
    fn what_is_decoded_is_what_the_table_says_works() {
        let header = header_of("{}");
        for code in RequestCode::ALL {
            let row = code.row();
            let works = matches!(row.endpoint, Endpoint::Broker(_)) && row.status != Status::NotYet;
            let found = Request::decode(*code, &header, b"");
            assert_eq!(!matches!(found, Err(BadRequest::NotSupported { .. })), works, "{code:?}: {found:?}");
        }
    }
}
