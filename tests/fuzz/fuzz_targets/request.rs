//! Every typed request, from any header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_protocol::frame::Encoding;
use ringmq_protocol::header::Header;
use ringmq_protocol::request::{
    BrokerHeartbeatRequest, BrokerIdentity, BrokerNameRequest, BrokerStatsRequest, CommitOffsetRequest,
    ConsumeStatsRequest, ConsumerOffsetRequest, CreateTopicRequest, DeleteGroupRequest, GroupPageRequest, KvRequest,
    PullRequest, QueryMessageRequest, QueueRequest, RegisterBrokerRequest, ResetOffsetRequest, RouteRequest,
    SearchOffsetRequest, SendBackRequest, SendRequest, TopicPageRequest, UnregisterClientRequest, ViewMessageRequest,
};

fuzz_target!(|input: (bool, &[u8], &[u8])| {
    let (binary, header, body) = input;
    let encoding = if binary { Encoding::Binary } else { Encoding::Json };
    let Ok(header) = Header::decode(encoding, header) else { return };
    let _ = SendRequest::parse(&header, body);
    let _ = PullRequest::parse(&header);
    let _ = (ConsumerOffsetRequest::parse(&header), CommitOffsetRequest::parse(&header));
    let _ = (QueueRequest::parse(&header), SearchOffsetRequest::parse(&header), ResetOffsetRequest::parse(&header));
    let _ = (QueryMessageRequest::parse(&header), ViewMessageRequest::parse(&header), SendBackRequest::parse(&header));
    let _ = (CreateTopicRequest::parse(&header), TopicPageRequest::parse(&header), GroupPageRequest::parse(&header));
    let _ = (DeleteGroupRequest::parse(&header), UnregisterClientRequest::parse(&header));
    let _ = (ConsumeStatsRequest::parse(&header), BrokerStatsRequest::parse(&header), RouteRequest::parse(&header));
    let _ = (RegisterBrokerRequest::parse(&header, body), BrokerIdentity::parse_with_version(&header, body));
    let _ = (BrokerHeartbeatRequest::parse(&header), BrokerNameRequest::parse(&header), KvRequest::parse_put(&header));
});
