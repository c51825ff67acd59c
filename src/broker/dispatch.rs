//! From a request's code to what handles it: the one place that knows every code.

use super::query::End;
use super::{Asked, Broker, Handled, Output, Refusal};
use crate::protocol::body::SubscriptionGroupConfig;
use crate::protocol::code::{RequestCode, ResponseCode};
use crate::protocol::header::Header;
use crate::protocol::request::{
    BrokerStatsRequest, CommitOffsetRequest, ConnectionsRequest, ConsumeStatsRequest, ConsumerListRequest,
    ConsumerOffsetRequest, CreateTopicRequest, DeleteGroupRequest, GroupRequest, PullRequest, QueryMessageRequest,
    QueueRequest, SearchOffsetRequest, SendBackRequest, SendRequest, TableRequest, TopicRequest,
    UnregisterClientRequest, ViewMessageRequest,
};

impl Broker {
    /// Handles one request.
    #[expect(clippy::too_many_lines, reason = "one arm a request code, exhaustive on purpose")]
    pub(super) fn dispatch(
        &mut self,
        asked: &Asked,
        header: &Header<'_>,
        body: &[u8],
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        use RequestCode as Code;
        let Ok(code) = RequestCode::try_from(header.code) else { return Err(not_supported(header.code)) };
        self.check_role(code)?;
        match code {
            Code::SendMessage | Code::SendMessageV2 | Code::SendBatchMessage => {
                let request = SendRequest::parse(header, body)?;
                self.send(asked, &request, out)
            }
            Code::PullMessage | Code::LitePullMessage => {
                let request = PullRequest::parse(header)?;
                self.pull(asked, &request, out)
            }
            Code::HeartBeat => self.heartbeat(asked, header.language, body, out),
            Code::UnregisterClient => self.unregister(asked, &UnregisterClientRequest::parse(header)?, out),
            Code::GetConsumerListByGroup => self.consumer_list(asked, ConsumerListRequest::parse(header)?.group, out),
            Code::ConsumerSendMsgBack => self.send_back(asked, &SendBackRequest::parse(header)?, out),
            Code::QueryConsumerOffset => self.query_offset(asked, &ConsumerOffsetRequest::parse(header)?, out),
            Code::UpdateConsumerOffset => self.update_offset(asked, &CommitOffsetRequest::parse(header)?, out),
            Code::SearchOffsetByTimestamp => self.search_offset(asked, &SearchOffsetRequest::parse(header)?, out),
            Code::GetMaxOffset => self.queue_end(asked, &QueueRequest::parse(header)?, End::Max, out),
            Code::GetMinOffset => self.queue_end(asked, &QueueRequest::parse(header)?, End::Min, out),
            Code::GetEarliestMsgStoretime => self.earliest_time(asked, &QueueRequest::parse(header)?, out),
            Code::LockBatchMq => self.lock_queues(asked, body, out),
            Code::UnlockBatchMq => self.unlock_queues(asked, body, out),
            Code::ViewMessageById => self.view_message(asked, ViewMessageRequest::parse(header)?.log_offset, out),
            Code::QueryMessage => self.query_message(asked, &QueryMessageRequest::parse(header)?, out),
            Code::UpdateAndCreateTopic => self.update_topic(asked, CreateTopicRequest::parse(header)?, out),
            Code::UpdateAndCreateTopicList => self.update_topics(asked, body, out),
            Code::DeleteTopicInBroker => self.delete_topic(asked, TopicRequest::parse(header)?.topic, out),
            Code::GetAllTopicConfig => self.all_topics(asked, TableRequest::parse(header), out),
            Code::GetTopicConfig => self.one_topic(asked, TopicRequest::parse(header)?.topic, out),
            Code::GetSystemTopicListFromBroker => self.system_topics(asked, out),
            Code::UpdateAndCreateSubscriptiongroup => {
                let config = SubscriptionGroupConfig::decode(body)?;
                self.update_groups(asked, vec![config], out)
            }
            Code::UpdateAndCreateSubscriptiongroupList => {
                let configs = SubscriptionGroupConfig::decode_list(body)?;
                self.update_groups(asked, configs, out)
            }
            Code::DeleteSubscriptiongroup => self.delete_group(asked, &DeleteGroupRequest::parse(header)?, out),
            Code::GetAllSubscriptiongroupConfig => self.all_groups(asked, TableRequest::parse(header), out),
            Code::GetSubscriptiongroupConfig => self.one_group(asked, GroupRequest::parse(header)?.group, out),
            Code::GetTopicStatsInfo => self.topic_stats(asked, TopicRequest::parse(header)?.topic, out),
            Code::GetConsumeStats => self.consume_stats(asked, &ConsumeStatsRequest::parse(header)?, out),
            Code::ViewBrokerStatsData => self.view_statistics(asked, &BrokerStatsRequest::parse(header)?, out),
            Code::GetConsumerConnectionList => {
                self.consumer_connections(asked, ConnectionsRequest::parse_consumer(header)?.group, out)
            }
            Code::GetProducerConnectionList => {
                self.producer_connections(asked, ConnectionsRequest::parse_producer(header)?.group, out)
            }
            Code::GetAllProducerInfo => self.all_producers(asked, out),
            Code::QueryTopicConsumeByWho => self.groups_of_topic(asked, TopicRequest::parse(header)?.topic, out),
            Code::GetBrokerRuntimeInfo => self.runtime_info(asked, out),
            Code::UpdateBrokerConfig => self.change_settings(asked, body, out),
            Code::GetBrokerConfig => self.broker_config(asked, out),
            Code::GetAllConsumerOffset => self.all_offsets(asked, TableRequest::parse(header), out),
            Code::GetAllDelayOffset => self.all_delay_offsets(asked, out),
            Code::GetAllMessageRequestMode => self.all_request_modes(asked, out),
            Code::GetBrokerHaStatus => self.ha_status(asked, out),
            Code::EndTransaction
            | Code::CheckClientConfig
            | Code::UpdateAndCreateAclConfig
            | Code::DeleteAclConfig
            | Code::GetBrokerClusterAclInfo
            | Code::UpdateGlobalWhiteAddrsConfig
            | Code::GetBrokerClusterAclConfig
            | Code::GetTimerCheckPoint
            | Code::GetTimerMetrics
            | Code::InvokeBrokerToResetOffset
            | Code::InvokeBrokerToGetConsumerStatus
            | Code::QueryConsumeTimeSpan
            | Code::CleanExpiredConsumequeue
            | Code::GetConsumerRunningInfo
            | Code::QueryCorrectionOffset
            | Code::ConsumeMessageDirectly
            | Code::CloneGroupOffset
            | Code::CleanUnusedTopic
            | Code::GetBrokerConsumeStats
            | Code::QueryConsumeQueue
            | Code::ResumeCheckHalfMessage
            | Code::SendReplyMessage
            | Code::SendReplyMessageV2
            | Code::DeleteExpiredCommitlog
            | Code::QueryTopicsByConsumer
            | Code::QuerySubscriptionByConsumer
            | Code::UpdateAndGetGroupForbidden
            | Code::CheckRocksdbCqWriteProgress
            | Code::ExportRocksdbConfigToJson
            | Code::RecallMessage
            | Code::QueryAssignment
            | Code::SetMessageRequestMode
            | Code::UpdateAndCreateStaticTopic
            | Code::AddBroker
            | Code::RemoveBroker
            | Code::NotifyMinBrokerIdChange
            | Code::ExchangeBrokerHaInfo
            | Code::ResetMasterFlushOffset
            | Code::GetBrokerEpochCache
            | Code::NotifyBrokerRoleChanged
            | Code::UpdateColdDataFlowCtrConfig
            | Code::RemoveColdDataFlowCtrConfig
            | Code::GetColdDataFlowCtrInfo
            | Code::SetCommitlogReadMode
            | Code::AuthCreateUser
            | Code::AuthUpdateUser
            | Code::AuthDeleteUser
            | Code::AuthGetUser
            | Code::AuthListUser
            | Code::AuthCreateAcl
            | Code::AuthUpdateAcl
            | Code::AuthDeleteAcl
            | Code::AuthGetAcl
            | Code::AuthListAcl
            | Code::PopMessage
            | Code::AckMessage
            | Code::PeekMessage
            | Code::ChangeMessageInvisibletime
            | Code::Notification
            | Code::PollingInfo
            | Code::PopRollback
            | Code::BatchAckMessage => Err(not_supported(header.code)),
            // What name servers, controllers and clients answer.
            Code::CheckTransactionState
            | Code::NotifyConsumerIdsChanged
            | Code::PutKvConfig
            | Code::GetKvConfig
            | Code::DeleteKvConfig
            | Code::RegisterBroker
            | Code::UnregisterBroker
            | Code::GetRouteinfoByTopic
            | Code::GetBrokerClusterInfo
            | Code::WipeWritePermOfBroker
            | Code::GetAllTopicListFromNameserver
            | Code::DeleteTopicInNamesrv
            | Code::RegisterTopicInNamesrv
            | Code::GetKvlistByNamespace
            | Code::ResetConsumerClientOffset
            | Code::GetConsumerStatusFromClient
            | Code::GetTopicsByCluster
            | Code::GetSystemTopicListFromNs
            | Code::GetUnitTopicList
            | Code::GetHasUnitSubTopicList
            | Code::GetHasUnitSubUnunitTopicList
            | Code::UpdateNamesrvConfig
            | Code::GetNamesrvConfig
            | Code::QueryDataVersion
            | Code::PushReplyMessageToClient
            | Code::AddWritePermOfBroker
            | Code::GetBrokerMemberGroup
            | Code::BrokerHeartbeat
            | Code::ControllerAlterSyncStateSet
            | Code::ControllerElectMaster
            | Code::ControllerRegisterBroker
            | Code::ControllerGetReplicaInfo
            | Code::ControllerGetMetadataInfo
            | Code::ControllerGetSyncStateData
            | Code::UpdateControllerConfig
            | Code::GetControllerConfig
            | Code::CleanBrokerData
            | Code::ControllerGetNextBrokerId
            | Code::ControllerApplyBrokerId => Err(not_supported(header.code)),
        }
    }
}

fn not_supported(code: i32) -> Refusal {
    Refusal::new(ResponseCode::RequestCodeNotSupported, format!(" request type {code} not supported"))
}
