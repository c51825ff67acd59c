//! From a request's code to what handles it: the one place that knows every code.

use super::query::{End, Position};
use super::request::{Fields, PullRequest, SendRequest};
use super::retry::SendBack;
use super::view::KeyQuery;
use super::{Asked, Broker, Handled, Output, Refusal};
use crate::log::Boundary;
use crate::protocol::body::{SubscriptionGroupConfig, TopicConfig, TopicFilterType};
use crate::protocol::code::{RequestCode, ResponseCode};
use crate::protocol::header::Header;

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
        let fields = Fields(&header.ext);
        match code {
            Code::SendMessage | Code::SendMessageV2 | Code::SendBatchMessage => {
                let request = SendRequest::parse(code, header, body)?;
                self.send(asked, &request, out)
            }
            Code::PullMessage | Code::LitePullMessage => {
                let request = PullRequest::parse(header)?;
                self.pull(asked, &request, out)
            }
            Code::HeartBeat => self.heartbeat(asked, header.language, body, out),
            Code::UnregisterClient => {
                self.unregister(asked, fields.optional("producerGroup"), fields.optional("consumerGroup"), out)
            }
            Code::GetConsumerListByGroup => self.consumer_list(asked, fields.text("consumerGroup")?, out),
            Code::ConsumerSendMsgBack => self.send_back(asked, &send_back_of(fields)?, out),
            Code::QueryConsumerOffset => {
                let zero = fields.optional("setZeroIfNotFound").is_none_or(|value| !value.eq_ignore_ascii_case("false"));
                self.query_offset(asked, &position_of(fields)?, zero, out)
            }
            Code::UpdateConsumerOffset => {
                self.update_offset(asked, &position_of(fields)?, fields.number("commitOffset")?, out)
            }
            Code::SearchOffsetByTimestamp => {
                let is_upper = fields.optional("boundaryType").is_some_and(|side| side.eq_ignore_ascii_case("upper"));
                let boundary = if is_upper { Boundary::Upper } else { Boundary::Lower };
                let wanted = (fields.number("timestamp")?, boundary);
                self.search_offset(asked, fields.text("topic")?, fields.number("queueId")?, wanted, out)
            }
            Code::GetMaxOffset => self.queue_end(asked, fields.text("topic")?, fields.number("queueId")?, End::Max, out),
            Code::GetMinOffset => self.queue_end(asked, fields.text("topic")?, fields.number("queueId")?, End::Min, out),
            Code::GetEarliestMsgStoretime => {
                self.earliest_time(asked, fields.text("topic")?, fields.number("queueId")?, out)
            }
            Code::LockBatchMq => self.lock_queues(asked, body, out),
            Code::UnlockBatchMq => self.unlock_queues(asked, body, out),
            Code::ViewMessageById => self.view_message(asked, fields.number("offset")?, out),
            Code::QueryMessage => self.query_message(asked, &key_query_of(fields)?, out),
            Code::UpdateAndCreateTopic => {
                let attributes = fields.optional("attributes").unwrap_or_default();
                self.update_topic(asked, topic_of(fields)?, attributes, out)
            }
            Code::UpdateAndCreateTopicList => self.update_topics(asked, body, out),
            Code::DeleteTopicInBroker => self.delete_topic(asked, fields.text("topic")?, out),
            Code::GetAllTopicConfig => self.all_topics(asked, out),
            Code::GetTopicConfig => self.one_topic(asked, fields.text("topic")?, out),
            Code::GetSystemTopicListFromBroker => self.system_topics(asked, out),
            Code::UpdateAndCreateSubscriptiongroup => {
                let config = SubscriptionGroupConfig::decode(body).map_err(|error| bad_body(&error))?;
                self.update_groups(asked, vec![config], out)
            }
            Code::UpdateAndCreateSubscriptiongroupList => {
                let configs = SubscriptionGroupConfig::decode_list(body).map_err(|error| bad_body(&error))?;
                self.update_groups(asked, configs, out)
            }
            Code::DeleteSubscriptiongroup => {
                self.delete_group(asked, fields.text("groupName")?, fields.is_true("cleanOffset"), out)
            }
            Code::GetAllSubscriptiongroupConfig => self.all_groups(asked, out),
            Code::GetSubscriptiongroupConfig => self.one_group(asked, fields.text("group")?, out),
            Code::GetTopicStatsInfo => self.topic_stats(asked, fields.text("topic")?, out),
            Code::GetConsumeStats => {
                let listed = fields.optional("topicList").unwrap_or_default().split(';');
                let topics: Vec<&str> =
                    fields.optional("topic").into_iter().chain(listed).filter(|topic| !topic.is_empty()).collect();
                self.consume_stats(asked, fields.text("consumerGroup")?, &topics, out)
            }
            Code::GetConsumerConnectionList => self.consumer_connections(asked, fields.text("consumerGroup")?, out),
            Code::GetProducerConnectionList => self.producer_connections(asked, fields.text("producerGroup")?, out),
            Code::GetAllProducerInfo => self.all_producers(asked, out),
            Code::QueryTopicConsumeByWho => self.groups_of_topic(asked, fields.text("topic")?, out),
            Code::GetBrokerRuntimeInfo => self.runtime_info(asked, out),
            Code::GetBrokerConfig => self.broker_config(asked, out),
            Code::EndTransaction
            | Code::CheckClientConfig
            | Code::UpdateBrokerConfig
            | Code::GetAllConsumerOffset
            | Code::GetAllDelayOffset
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
            | Code::ViewBrokerStatsData
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
            | Code::GetAllMessageRequestMode
            | Code::UpdateAndCreateStaticTopic
            | Code::AddBroker
            | Code::RemoveBroker
            | Code::NotifyMinBrokerIdChange
            | Code::ExchangeBrokerHaInfo
            | Code::GetBrokerHaStatus
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

fn bad_body(error: &crate::protocol::body::BodyError) -> Refusal {
    Refusal::new(ResponseCode::SystemError, error.to_string())
}

fn position_of(fields: Fields<'_>) -> Result<Position<'_>, Refusal> {
    Ok(Position {
        group: fields.text("consumerGroup")?,
        topic: fields.text("topic")?,
        queue_id: fields.number("queueId")?,
    })
}

fn send_back_of(fields: Fields<'_>) -> Result<SendBack<'_>, Refusal> {
    Ok(SendBack {
        offset: fields.number("offset")?,
        group: fields.text("group")?,
        delay_level: fields.number_or("delayLevel", 0)?,
        max_reconsume_times: fields.optional("maxReconsumeTimes").and_then(|value| value.parse().ok()),
    })
}

fn key_query_of(fields: Fields<'_>) -> Result<KeyQuery<'_>, Refusal> {
    Ok(KeyQuery {
        topic: fields.text("topic")?,
        key: fields.text("key")?,
        max: fields.number_or("maxNum", 32)?,
        begin: fields.number_or("beginTimestamp", 0)?,
        end: fields.number_or("endTimestamp", i64::MAX)?,
        is_unique: fields.is_true("_UNIQUE_KEY_QUERY"),
    })
}

fn topic_of(fields: Fields<'_>) -> Result<TopicConfig, Refusal> {
    let mut config = TopicConfig::new(fields.text("topic")?, 0);
    config.read_queues = fields.number("readQueueNums")?;
    config.write_queues = fields.number("writeQueueNums")?;
    config.perm = fields.number("perm")?;
    config.sys_flag = fields.number_or("topicSysFlag", 0)?;
    config.order = fields.is_true("order");
    config.filter_type = TopicFilterType::from_name(fields.optional("topicFilterType").unwrap_or_default());
    Ok(config)
}
