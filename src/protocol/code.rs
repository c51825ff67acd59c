//! RocketMQ's numbers: what a request asks for, how an answer ends, and which language a peer is written in.
//!
//! The table of request codes is also the source of `COMPAT.md`; a test keeps the two equal. Sources: RocketMQ 5.3.3
//! `RequestCode`, `ResponseCode`, `RemotingSysResponseCode`, `LanguageCode`.

/// How much of the world works without this request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// Basic produce and consume with stock Java clients.
    T0,
    /// Full messaging.
    T1,
    /// Administration and operations.
    T2,
    /// High availability, controller, and what is rarely seen.
    T3,
}

/// Who answers a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub enum Endpoint {
    /// A broker; a slave may have less to say than a master.
    Broker(OnSlave),
    NameServer,
    /// A client: the broker asks over the connection that the client opened.
    Client,
    Controller,
}

/// What a slave does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnSlave {
    /// It answers as a master does.
    Answers,
    /// It says that it is busy, so that the client takes another broker, or comes again: its master may be back by then.
    Busy,
    /// It says that only a master changes this.
    Refuses,
    /// It says that it is a slave (11, `SLAVE_NOT_AVAILABLE`).
    Unavailable,
}

/// What a request names and access control protects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// The cluster as a whole: nothing in particular is named.
    Cluster,
    /// Each topic that is named. A group's retry topic stands for the group.
    Topic,
    /// Each consumer group that is named.
    Group,
}

/// What is done to a resource. Source: RocketMQ `org.apache.rocketmq.common.action.Action`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Send to it.
    Pub,
    /// Consume from it, or as it.
    Sub,
    /// Make it, or change its settings: RocketMQ's requests do not tell the two apart.
    Create,
    /// Change its state.
    Update,
    /// Remove it.
    Delete,
    /// Look at it.
    Get,
    /// Be told which there are.
    List,
}

/// A right that a request needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Need {
    pub resource: Resource,
    /// One of these is enough.
    pub(crate) any_of: &'static [Action],
}

/// What a request costs at most, for quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cost {
    /// It looks at what it names.
    Cheap,
    /// It grows with a table, or with the queues of a topic.
    Scan,
    /// Its answer may have the size of a table, or of the largest message.
    Large,
}

/// How far ringmq is with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Answered as RocketMQ answers it.
    Works,
    /// Answered, with the gap that the note names.
    Partly,
    /// Answered with [`ResponseCode::RequestCodeNotSupported`]; for a client's request: never sent.
    NotYet,
}

/// What a row of the table may say beside its columns: [`Row::sets`].
enum RowMark {
    Sets,
}

/// A code that this side does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown code {0}")]
pub struct UnknownCode(pub i32);

/// What is known of a request before it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// RocketMQ's name of the code.
    pub name: &'static str,
    /// How much of the world works without it.
    pub(crate) tier: Tier,
    /// Who answers it.
    pub endpoint: Endpoint,
    /// How far ringmq is with it.
    pub status: Status,
    /// What it costs.
    pub cost: Cost,
    /// Whether it changes what operators set, and says no more of that than any: who asked for it is said in the log, and a broker has only so many of
    /// them under way. Those that commit, register and elect as clients and brokers do are none; settings and roles say more of themselves.
    pub sets: bool,
    /// All the rights that it needs. Source: RocketMQ `DefaultAuthorizationContextBuilder` and the annotations of request headers; where
    /// those say nothing (25, 26, 28, 43, 200 and others), what they say of the same kind of request.
    pub(crate) needs: &'static [Need],
    /// What is missing, or who is asked; often empty.
    pub note: &'static str,
}

macro_rules! request_codes {
    ($($variant:ident = $code:literal, $name:literal, $tier:ident, $endpoint:ident $(($on_slave:ident))?, $status:ident, $cost:ident $($sets:ident)?,
       [$($resource:ident: $($action:ident)|+),*], $note:literal;)*) => {
        /// What a request asks for.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum RequestCode {
            $(#[doc = concat!("`", $name, "`.")] $variant = $code,)*
        }

        impl RequestCode {
            /// Every request code, by number.
            pub const ALL: &'static [RequestCode] = &[$(RequestCode::$variant),*];

            /// What is known of it.
            #[must_use]
            pub const fn row(self) -> &'static Row {
                match self {
                    $(RequestCode::$variant => const { &Row {
                        name: $name,
                        tier: Tier::$tier,
                        endpoint: Endpoint::$endpoint $((OnSlave::$on_slave))?,
                        status: Status::$status,
                        cost: Cost::$cost,
                        sets: !(&[$(RowMark::$sets)?] as &[RowMark]).is_empty(),
                        needs: &[$(Need { resource: Resource::$resource, any_of: &[$(Action::$action),+] }),*],
                        note: $note,
                    } },)*
                }
            }
        }

        impl TryFrom<i32> for RequestCode {
            type Error = UnknownCode;

            fn try_from(code: i32) -> Result<Self, UnknownCode> {
                match code {
                    $($code => Ok(RequestCode::$variant),)*
                    unknown => Err(UnknownCode(unknown)),
                }
            }
        }
    };
}

request_codes! {
    SendMessage = 10, "SEND_MESSAGE", T0, Broker(Busy), Works, Cheap, [Topic: Pub], "a transactional message that asks for a time is refused (13); Apache loses it";
    PullMessage = 11, "PULL_MESSAGE", T0, Broker(Answers), Works, Cheap, [Topic: Sub, Group: Sub],
        "a wrong SQL92 expression in the request is refused (23); Apache delivers everything";
    QueryMessage = 12, "QUERY_MESSAGE", T1, Broker(Answers), Works, Scan, [Topic: Sub | Get], "";
    QueryConsumerOffset = 14, "QUERY_CONSUMER_OFFSET", T0, Broker(Answers), Works, Cheap, [Topic: Sub | Get, Group: Sub | Get], "";
    UpdateConsumerOffset = 15, "UPDATE_CONSUMER_OFFSET", T0, Broker(Answers), Works, Cheap, [Topic: Sub | Update, Group: Sub | Update], "beyond a queue's end it is stored as the end, and answered as any other";
    UpdateAndCreateTopic = 17, "UPDATE_AND_CREATE_TOPIC", T2, Broker(Refuses), Works, Cheap Sets, [Topic: Create], "";
    UpdateAndCreateTopicList = 18, "UPDATE_AND_CREATE_TOPIC_LIST", T2, Broker(Refuses), Works, Scan Sets, [Topic: Create], "";
    GetAllTopicConfig = 21, "GET_ALL_TOPIC_CONFIG", T2, Broker(Answers), Works, Large, [Topic: List], "";
    UpdateBrokerConfig = 25, "UPDATE_BROKER_CONFIG", T2, Broker(Answers), Works, Cheap, [Cluster: Update],
        "of what may change online (conf/ says what), on all shards of the node; anything else is refused";
    GetBrokerConfig = 26, "GET_BROKER_CONFIG", T2, Broker(Answers), Works, Cheap, [Cluster: Get], "";
    GetBrokerRuntimeInfo = 28, "GET_BROKER_RUNTIME_INFO", T2, Broker(Answers), Partly, Cheap, [Cluster: Get],
        "days begin at midnight UTC, and with the process; thread pool keys are 0; put latencies are of the last one to two minutes \
         (0.00 and null: nothing was put); stages are `count p50 p99 p99.9 max`, in us";
    SearchOffsetByTimestamp = 29, "SEARCH_OFFSET_BY_TIMESTAMP", T1, Broker(Answers), Works, Cheap, [Topic: Get],
        "behind the last batch of queue.type BatchCQ it is the end; Apache says that batch";
    GetMaxOffset = 30, "GET_MAX_OFFSET", T0, Broker(Answers), Works, Cheap, [Topic: Get], "";
    GetMinOffset = 31, "GET_MIN_OFFSET", T1, Broker(Answers), Works, Cheap, [Topic: Get], "";
    GetEarliestMsgStoretime = 32, "GET_EARLIEST_MSG_STORETIME", T2, Broker(Answers), Works, Cheap, [Topic: Get], "";
    ViewMessageById = 33, "VIEW_MESSAGE_BY_ID", T1, Broker(Answers), Works, Large, [Topic: Get], "";
    HeartBeat = 34, "HEART_BEAT", T0, Broker(Answers), Works, Cheap, [Group: Sub, Topic: Sub], "";
    UnregisterClient = 35, "UNREGISTER_CLIENT", T0, Broker(Answers), Works, Cheap, [Group: Sub], "";
    ConsumerSendMsgBack = 36, "CONSUMER_SEND_MSG_BACK", T0, Broker(Busy), Works, Cheap, [Group: Sub], "";
    EndTransaction = 37, "END_TRANSACTION", T1, Broker(Unavailable), Works, Cheap, [Topic: Pub],
        "a second end is refused (1) while it is known, where RocketMQ stores a second copy; a message that was put back keeps its flag and tries; \
         immunity counts as no check; a delay beside a transaction counts for nothing; a transaction's id that is another message's is refused (1)";
    GetConsumerListByGroup = 38, "GET_CONSUMER_LIST_BY_GROUP", T0, Broker(Answers), Works, Cheap, [Group: Sub | Get], "";
    CheckTransactionState = 39, "CHECK_TRANSACTION_STATE", T1, Client, Works, Cheap, [], "sent to producers";
    NotifyConsumerIdsChanged = 40, "NOTIFY_CONSUMER_IDS_CHANGED", T0, Client, Works, Cheap, [], "sent to consumers";
    LockBatchMq = 41, "LOCK_BATCH_MQ", T1, Broker(Answers), Works, Cheap, [Group: Sub, Topic: Sub], "";
    UnlockBatchMq = 42, "UNLOCK_BATCH_MQ", T1, Broker(Answers), Works, Cheap, [Group: Sub, Topic: Sub], "";
    GetAllConsumerOffset = 43, "GET_ALL_CONSUMER_OFFSET", T3, Broker(Answers), Works, Large, [Cluster: Get], "";
    GetAllDelayOffset = 45, "GET_ALL_DELAY_OFFSET", T3, Broker(Answers), Works, Large, [Cluster: Get],
        "a delayOffset.json that cannot be read stops the start, and its .bak is not taken by itself";
    CheckClientConfig = 46, "CHECK_CLIENT_CONFIG", T1, Broker(Answers), Works, Cheap, [Group: Sub, Topic: Sub],
        "what is wrong with an expression is said in words of its own; one nested more than 256 deep is refused";
    UpdateAndCreateAclConfig = 50, "UPDATE_AND_CREATE_ACL_CONFIG", T3, Broker(Answers), NotYet, Cheap, [Cluster: Update], "ACL 1.0, removed in RocketMQ 5.3.1";
    DeleteAclConfig = 51, "DELETE_ACL_CONFIG", T3, Broker(Answers), NotYet, Cheap, [Cluster: Update], "ACL 1.0, removed in RocketMQ 5.3.1";
    GetBrokerClusterAclInfo = 52, "GET_BROKER_CLUSTER_ACL_INFO", T3, Broker(Answers), NotYet, Cheap, [Cluster: Get], "ACL 1.0, removed in RocketMQ 5.3.1";
    UpdateGlobalWhiteAddrsConfig = 53, "UPDATE_GLOBAL_WHITE_ADDRS_CONFIG", T3, Broker(Answers), NotYet, Cheap, [Cluster: Update],
        "ACL 1.0, removed in RocketMQ 5.3.1";
    GetBrokerClusterAclConfig = 54, "GET_BROKER_CLUSTER_ACL_CONFIG", T3, Broker(Answers), NotYet, Cheap, [Cluster: Get], "ACL 1.0, removed in RocketMQ 5.3.1";
    GetTimerCheckPoint = 60, "GET_TIMER_CHECK_POINT", T3, Broker(Answers), NotYet, Cheap, [Cluster: Get], "";
    GetTimerMetrics = 61, "GET_TIMER_METRICS", T3, Broker(Answers), NotYet, Cheap, [Cluster: Get], "";
    PutKvConfig = 100, "PUT_KV_CONFIG", T2, NameServer, Works, Cheap Sets, [Cluster: Update], "";
    GetKvConfig = 101, "GET_KV_CONFIG", T2, NameServer, Works, Cheap, [Cluster: Get], "";
    DeleteKvConfig = 102, "DELETE_KV_CONFIG", T2, NameServer, Works, Cheap Sets, [Cluster: Update], "";
    RegisterBroker = 103, "REGISTER_BROKER", T1, NameServer, Works, Cheap, [Cluster: Update], "";
    UnregisterBroker = 104, "UNREGISTER_BROKER", T1, NameServer, Works, Cheap, [Cluster: Update], "";
    GetRouteinfoByTopic = 105, "GET_ROUTEINFO_BY_TOPIC", T0, NameServer, Works, Cheap, [Topic: Pub | Sub | Get], "";
    GetBrokerClusterInfo = 106, "GET_BROKER_CLUSTER_INFO", T2, NameServer, Works, Large, [Cluster: Get], "";
    UpdateAndCreateSubscriptiongroup = 200, "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP", T2, Broker(Refuses), Works, Cheap Sets, [Group: Create], "";
    GetAllSubscriptiongroupConfig = 201, "GET_ALL_SUBSCRIPTIONGROUP_CONFIG", T2, Broker(Answers), Works, Large, [Group: List], "";
    GetTopicStatsInfo = 202, "GET_TOPIC_STATS_INFO", T2, Broker(Answers), Works, Scan, [Topic: Get], "";
    GetConsumerConnectionList = 203, "GET_CONSUMER_CONNECTION_LIST", T2, Broker(Answers), Works, Cheap, [Group: Get], "";
    GetProducerConnectionList = 204, "GET_PRODUCER_CONNECTION_LIST", T2, Broker(Answers), Works, Cheap, [Cluster: Get], "";
    WipeWritePermOfBroker = 205, "WIPE_WRITE_PERM_OF_BROKER", T2, NameServer, Works, Cheap Sets, [Cluster: Update], "";
    GetAllTopicListFromNameserver = 206, "GET_ALL_TOPIC_LIST_FROM_NAMESERVER", T2, NameServer, Works, Large, [Topic: List], "";
    DeleteSubscriptiongroup = 207, "DELETE_SUBSCRIPTIONGROUP", T2, Broker(Refuses), Works, Scan Sets, [Group: Delete], "";
    GetConsumeStats = 208, "GET_CONSUME_STATS", T2, Broker(Answers), Partly, Scan, [Group: Get, Topic: Get],
        "pullOffset is where the next pop begins; of groups that pull, the consumer offset";
    DeleteTopicInBroker = 215, "DELETE_TOPIC_IN_BROKER", T2, Broker(Refuses), Works, Scan Sets, [Topic: Delete], "";
    DeleteTopicInNamesrv = 216, "DELETE_TOPIC_IN_NAMESRV", T2, NameServer, Works, Cheap Sets, [Cluster: Update], "";
    RegisterTopicInNamesrv = 217, "REGISTER_TOPIC_IN_NAMESRV", T2, NameServer, Works, Cheap, [Cluster: Update], "";
    GetKvlistByNamespace = 219, "GET_KVLIST_BY_NAMESPACE", T2, NameServer, Works, Large, [Cluster: Get], "";
    ResetConsumerClientOffset = 220, "RESET_CONSUMER_CLIENT_OFFSET", T2, Client, Works, Cheap, [], "sent to consumers";
    GetConsumerStatusFromClient = 221, "GET_CONSUMER_STATUS_FROM_CLIENT", T2, Client, Works, Cheap, [], "sent to consumers";
    InvokeBrokerToResetOffset = 222, "INVOKE_BROKER_TO_RESET_OFFSET", T2, Broker(Refuses), Works, Scan Sets, [Topic: Update, Group: Update],
        "what a group has in flight of pops from there on ends when the disk has the new offset, within some two seconds: it is popped again, and an \
         acknowledgement of what was popped before is refused (208), where RocketMQ gives it both ways; what stands before it stays in flight";
    InvokeBrokerToGetConsumerStatus = 223, "INVOKE_BROKER_TO_GET_CONSUMER_STATUS", T2, Broker(Answers), Works, Cheap, [Topic: Get, Group: Get], "";
    GetTopicsByCluster = 224, "GET_TOPICS_BY_CLUSTER", T2, NameServer, Works, Large, [Topic: List], "";
    UpdateAndCreateSubscriptiongroupList = 225, "UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST", T2, Broker(Refuses), Works, Scan Sets, [Group: Create], "";
    QueryTopicConsumeByWho = 300, "QUERY_TOPIC_CONSUME_BY_WHO", T2, Broker(Answers), Works, Scan, [Topic: Get], "";
    QueryConsumeTimeSpan = 303, "QUERY_CONSUME_TIME_SPAN", T2, Broker(Answers), Works, Scan, [Topic: Get, Group: Get], "the texts beside the times are UTC";
    GetSystemTopicListFromNs = 304, "GET_SYSTEM_TOPIC_LIST_FROM_NS", T2, NameServer, Works, Large, [Topic: List], "";
    GetSystemTopicListFromBroker = 305, "GET_SYSTEM_TOPIC_LIST_FROM_BROKER", T2, Broker(Answers), Works, Scan, [Topic: List], "";
    CleanExpiredConsumequeue = 306, "CLEAN_EXPIRED_CONSUMEQUEUE", T2, Broker(Answers), Works, Scan, [Cluster: Update],
        "index files of what is gone go by themselves, one a tick: there is nothing left to do";
    GetConsumerRunningInfo = 307, "GET_CONSUMER_RUNNING_INFO", T2, Broker(Answers), Works, Cheap, [Group: Get], "relayed to the client that is asked about";
    QueryCorrectionOffset = 308, "QUERY_CORRECTION_OFFSET", T3, Broker(Answers), Works, Scan, [Topic: Get, Group: Get],
        "groups that are left out keep their offsets, which Apache deletes";
    ConsumeMessageDirectly = 309, "CONSUME_MESSAGE_DIRECTLY", T2, Broker(Answers), Works, Cheap, [Topic: Sub, Group: Sub],
        "relayed to the client that is asked";
    SendMessageV2 = 310, "SEND_MESSAGE_V2", T0, Broker(Busy), Works, Cheap, [Topic: Pub], "a transactional message that asks for a time is refused (13); Apache loses it";
    GetUnitTopicList = 311, "GET_UNIT_TOPIC_LIST", T2, NameServer, Works, Large, [Topic: List], "";
    GetHasUnitSubTopicList = 312, "GET_HAS_UNIT_SUB_TOPIC_LIST", T2, NameServer, Works, Large, [Topic: List], "";
    GetHasUnitSubUnunitTopicList = 313, "GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST", T2, NameServer, Works, Large, [Topic: List], "";
    CloneGroupOffset = 314, "CLONE_GROUP_OFFSET", T2, Broker(Refuses), Works, Scan Sets, [Topic: Update, Group: Update],
        "without a topic in all topics of the group; Apache clones none then";
    ViewBrokerStatsData = 315, "VIEW_BROKER_STATS_DATA", T2, Broker(Answers), Partly, Cheap, [Cluster: Get],
        "of topics, groups and the broker: put, got, sent back; none by queue, none of latency, none of SCHEDULE_CONSUMER";
    CleanUnusedTopic = 316, "CLEAN_UNUSED_TOPIC", T2, Broker(Refuses), Works, Scan Sets, [Cluster: Update], "at most 64 topics at once";
    GetBrokerConsumeStats = 317, "GET_BROKER_CONSUME_STATS", T2, Broker(Answers), Works, Large, [Cluster: Get],
        "of at most 16384 groups and queues, else refused; pullOffset as in 208";
    UpdateNamesrvConfig = 318, "UPDATE_NAMESRV_CONFIG", T2, NameServer, Partly, Cheap Sets, [Cluster: Update], "until the next start; files are not written";
    GetNamesrvConfig = 319, "GET_NAMESRV_CONFIG", T2, NameServer, Works, Cheap, [Cluster: Get], "";
    SendBatchMessage = 320, "SEND_BATCH_MESSAGE", T1, Broker(Busy), Works, Cheap, [Topic: Pub],
        "to a topic of queue.type BatchCQ it is stored as one record, of 32,767 messages at most; a body that is no batch is refused (13), and one that is \
         meant for light queues";
    QueryConsumeQueue = 321, "QUERY_CONSUME_QUEUE", T2, Broker(Answers), Works, Scan, [Topic: Get, Group: Get], "at most 800 entries";
    QueryDataVersion = 322, "QUERY_DATA_VERSION", T1, NameServer, Works, Cheap, [Cluster: Get], "";
    ResumeCheckHalfMessage = 323, "RESUME_CHECK_HALF_MESSAGE", T2, Broker(Refuses), Works, Cheap Sets, [Topic: Update], "of half messages and those that were given up alone";
    SendReplyMessage = 324, "SEND_REPLY_MESSAGE", T1, Broker(Answers), Works, Cheap, [Topic: Pub],
        "the requester may be connected to any shard of the node";
    SendReplyMessageV2 = 325, "SEND_REPLY_MESSAGE_V2", T1, Broker(Answers), Works, Cheap, [Topic: Pub],
        "the requester may be connected to any shard of the node";
    PushReplyMessageToClient = 326, "PUSH_REPLY_MESSAGE_TO_CLIENT", T1, Client, Works, Cheap, [], "sent to producers";
    AddWritePermOfBroker = 327, "ADD_WRITE_PERM_OF_BROKER", T2, NameServer, Works, Cheap Sets, [Cluster: Update], "";
    GetAllProducerInfo = 328, "GET_ALL_PRODUCER_INFO", T2, Broker(Answers), Works, Large, [Cluster: Get], "";
    DeleteExpiredCommitlog = 329, "DELETE_EXPIRED_COMMITLOG", T2, Broker(Answers), Works, Scan Sets, [Cluster: Update], "";
    QueryTopicsByConsumer = 343, "QUERY_TOPICS_BY_CONSUMER", T2, Broker(Answers), Works, Scan, [Group: Get], "";
    QuerySubscriptionByConsumer = 345, "QUERY_SUBSCRIPTION_BY_CONSUMER", T2, Broker(Answers), Works, Cheap, [Topic: Get, Group: Get], "";
    GetTopicConfig = 351, "GET_TOPIC_CONFIG", T2, Broker(Answers), Works, Cheap, [Topic: Get], "";
    GetSubscriptiongroupConfig = 352, "GET_SUBSCRIPTIONGROUP_CONFIG", T2, Broker(Answers), Works, Cheap, [Group: Get], "";
    UpdateAndGetGroupForbidden = 353, "UPDATE_AND_GET_GROUP_FORBIDDEN", T2, Broker(Answers), Works, Cheap Sets, [Topic: Update, Group: Update],
        "a slave is only asked; allowing one topic leaves the others as they are, where Apache allows all";
    CheckRocksdbCqWriteProgress = 354, "CHECK_ROCKSDB_CQ_WRITE_PROGRESS", T3, Broker(Answers), NotYet, Scan, [Topic: Get], "";
    ExportRocksdbConfigToJson = 355, "EXPORT_ROCKSDB_CONFIG_TO_JSON", T3, Broker(Answers), NotYet, Scan, [Cluster: Get], "";
    LitePullMessage = 361, "LITE_PULL_MESSAGE", T1, Broker(Answers), Works, Cheap, [Topic: Sub, Group: Sub],
        "a wrong SQL92 expression in the request is refused (23); Apache delivers everything";
    RecallMessage = 370, "RECALL_MESSAGE", T1, Broker(Unavailable), Works, Cheap, [Topic: Pub],
        "a handle that no broker gave out recalls what waits for the step of timerPrecisionMs in which its time lies";
    QueryAssignment = 400, "QUERY_ASSIGNMENT", T1, Broker(Answers), Works, Scan, [Group: Sub, Topic: Sub], "";
    SetMessageRequestMode = 401, "SET_MESSAGE_REQUEST_MODE", T1, Broker(Refuses), Works, Cheap Sets, [Topic: Update, Group: Update], "";
    GetAllMessageRequestMode = 402, "GET_ALL_MESSAGE_REQUEST_MODE", T3, Broker(Answers), Works, Large, [Cluster: Get], "";
    UpdateAndCreateStaticTopic = 513, "UPDATE_AND_CREATE_STATIC_TOPIC", T3, Broker(Refuses), NotYet, Cheap, [Topic: Create],
        "a queue that is spread over brokers would need each of them to know the others' offsets: not built";
    GetBrokerMemberGroup = 901, "GET_BROKER_MEMBER_GROUP", T3, NameServer, Works, Cheap, [Cluster: Get], "";
    AddBroker = 902, "ADD_BROKER", T3, Broker(Answers), NotYet, Cheap, [Cluster: Update], "of broker containers; Apache's broker answers 3 as well";
    RemoveBroker = 903, "REMOVE_BROKER", T3, Broker(Answers), NotYet, Cheap, [Cluster: Update], "of broker containers; Apache's broker answers 3 as well";
    BrokerHeartbeat = 904, "BROKER_HEARTBEAT", T1, NameServer, Works, Cheap, [Cluster: Update],
        "a controller answers it as well, and a broker that it does not know with 2010";
    NotifyMinBrokerIdChange = 905, "NOTIFY_MIN_BROKER_ID_CHANGE", T3, Broker(Answers), NotYet, Cheap, [Cluster: Update],
        "of name servers to brokers that stand in for a master; no ringmq broker does";
    ExchangeBrokerHaInfo = 906, "EXCHANGE_BROKER_HA_INFO", T3, Broker(Answers), NotYet, Cheap, [Cluster: Update],
        "between brokers that stand in for a master; no ringmq broker does";
    GetBrokerHaStatus = 907, "GET_BROKER_HA_STATUS", T3, Broker(Answers), Works, Cheap, [Cluster: Get], "";
    ResetMasterFlushOffset = 908, "RESET_MASTER_FLUSH_OFFSET", T3, Broker(Answers), NotYet, Cheap, [Cluster: Update],
        "what a slave has is compared with its master byte for byte, and not told by hand";
    ControllerAlterSyncStateSet = 1001, "CONTROLLER_ALTER_SYNC_STATE_SET", T3, Controller, Works, Cheap, [Cluster: Update], "";
    ControllerElectMaster = 1002, "CONTROLLER_ELECT_MASTER", T3, Controller, Works, Cheap, [Cluster: Update], "";
    ControllerRegisterBroker = 1003, "CONTROLLER_REGISTER_BROKER", T3, Controller, Works, Cheap, [Cluster: Update], "";
    ControllerGetReplicaInfo = 1004, "CONTROLLER_GET_REPLICA_INFO", T3, Controller, Works, Cheap, [Cluster: Get], "";
    ControllerGetMetadataInfo = 1005, "CONTROLLER_GET_METADATA_INFO", T3, Controller, Works, Cheap, [Cluster: Get], "";
    ControllerGetSyncStateData = 1006, "CONTROLLER_GET_SYNC_STATE_DATA", T3, Controller, Works, Cheap, [Cluster: Get], "";
    GetBrokerEpochCache = 1007, "GET_BROKER_EPOCH_CACHE", T3, Broker(Answers), NotYet, Cheap, [Cluster: Get], "";
    NotifyBrokerRoleChanged = 1008, "NOTIFY_BROKER_ROLE_CHANGED", T3, Broker(Answers), NotYet, Cheap, [Cluster: Update], "";
    UpdateControllerConfig = 1009, "UPDATE_CONTROLLER_CONFIG", T3, Controller, Works, Cheap Sets, [Cluster: Update], "";
    GetControllerConfig = 1010, "GET_CONTROLLER_CONFIG", T3, Controller, Works, Cheap, [Cluster: Get], "";
    CleanBrokerData = 1011, "CLEAN_BROKER_DATA", T3, Controller, Works, Cheap Sets, [Cluster: Update], "";
    ControllerGetNextBrokerId = 1012, "CONTROLLER_GET_NEXT_BROKER_ID", T3, Controller, Works, Cheap, [Cluster: Get], "";
    ControllerApplyBrokerId = 1013, "CONTROLLER_APPLY_BROKER_ID", T3, Controller, Works, Cheap, [Cluster: Update], "";
    UpdateColdDataFlowCtrConfig = 2001, "UPDATE_COLD_DATA_FLOW_CTR_CONFIG", T3, Broker(Answers), NotYet, Cheap, [Cluster: Update], "";
    RemoveColdDataFlowCtrConfig = 2002, "REMOVE_COLD_DATA_FLOW_CTR_CONFIG", T3, Broker(Answers), NotYet, Cheap, [Cluster: Update], "";
    GetColdDataFlowCtrInfo = 2003, "GET_COLD_DATA_FLOW_CTR_INFO", T3, Broker(Answers), NotYet, Cheap, [Cluster: Get], "";
    SetCommitlogReadMode = 2004, "SET_COMMITLOG_READ_MODE", T3, Broker(Answers), NotYet, Cheap, [Cluster: Update], "";
    AuthCreateUser = 3001, "AUTH_CREATE_USER", T2, Broker(Answers), NotYet, Cheap, [Cluster: Update], "";
    AuthUpdateUser = 3002, "AUTH_UPDATE_USER", T2, Broker(Answers), NotYet, Cheap, [Cluster: Update], "";
    AuthDeleteUser = 3003, "AUTH_DELETE_USER", T2, Broker(Answers), NotYet, Cheap, [Cluster: Update], "";
    AuthGetUser = 3004, "AUTH_GET_USER", T2, Broker(Answers), NotYet, Cheap, [Cluster: Get], "";
    AuthListUser = 3005, "AUTH_LIST_USER", T2, Broker(Answers), NotYet, Large, [Cluster: Get], "";
    AuthCreateAcl = 3006, "AUTH_CREATE_ACL", T2, Broker(Answers), NotYet, Cheap, [Cluster: Update], "";
    AuthUpdateAcl = 3007, "AUTH_UPDATE_ACL", T2, Broker(Answers), NotYet, Cheap, [Cluster: Update], "";
    AuthDeleteAcl = 3008, "AUTH_DELETE_ACL", T2, Broker(Answers), NotYet, Cheap, [Cluster: Update], "";
    AuthGetAcl = 3009, "AUTH_GET_ACL", T2, Broker(Answers), NotYet, Cheap, [Cluster: Get], "";
    AuthListAcl = 3010, "AUTH_LIST_ACL", T2, Broker(Answers), NotYet, Large, [Cluster: Get], "";
    PopMessage = 200050, "POP_MESSAGE", T1, Broker(Busy), Partly, Cheap, [Topic: Sub, Group: Sub],
        "of a topic with more than 1,024 queues on the shard one queue must be named; one of queue.type BatchCQ is refused (29): stock clients do not \
         take apart what they pop; a shard has 131,072 pops in flight, one for each queue that one takes from, a group 16,384 of them, and less than a \
         quarter of what is left to all: who has as much waits, and is answered 210, and so is who pops in order when messages of 16,384 queues are \
         out; both are counted (popsWithoutRoom); retry topics have either name (enableRetryTopicV2), and an answer has messages of one of them \
         only; a light queue (%LMQ%NAME) is not there (17)";
    AckMessage = 200051, "ACK_MESSAGE", T1, Broker(Busy), Works, Cheap, [Topic: Sub, Group: Sub],
        "of a message that was never popped, as far as the log knows after a power loss, it is refused (208), where RocketMQ says success; what is not \
         noted as safely as promised is answered as a send is (10, 12)";
    PeekMessage = 200052, "PEEK_MESSAGE", T3, Broker(Busy), Works, Scan, [Topic: Sub, Group: Sub], "";
    ChangeMessageInvisibletime = 200053, "CHANGE_MESSAGE_INVISIBLETIME", T1, Broker(Busy), Works, Cheap, [Topic: Sub, Group: Sub],
        "of a message that is not in flight any more it is refused (208), where RocketMQ hands it out a second time; 10 and 12 as of 200051";
    Notification = 200054, "NOTIFICATION", T1, Broker(Busy), Works, Scan, [Topic: Sub, Group: Sub],
        "a group that has as much in flight as it may waits until a pop would be given something";
    PollingInfo = 200055, "POLLING_INFO", T2, Broker(Answers), Works, Scan, [Topic: Get, Group: Get], "";
    PopRollback = 200056, "POP_ROLLBACK", T3, Broker(Refuses), NotYet, Scan, [Cluster: Update], "";
    BatchAckMessage = 200151, "BATCH_ACK_MESSAGE", T1, Broker(Busy), Works, Cheap, [Topic: Sub, Group: Sub],
        "1,024 entries at most; what was never popped is passed over, and not told, as with RocketMQ: there is one answer for all; what is not noted as \
         safely as promised is answered as a send is (10, 12)";
    DecideReplica = 720001, "RINGMQ_DECIDE_REPLICA", T3, Broker(Answers), Works, Cheap, [Cluster: Update], "of `ringmq-admin replica`; Apache has none";
    OrderRole = 720002, "RINGMQ_ORDER_ROLE", T3, Broker(Answers), Works, Cheap, [Cluster: Update], "of `ringmq-admin replica`; Apache has none";
    TableChanges = 720003, "RINGMQ_TABLE_CHANGES", T3, Broker(Unavailable), Works, Cheap, [Cluster: Get], "of our slaves; Apache has none";
    ControllerAgree = 720004, "RINGMQ_CONTROLLER_AGREE", T3, Controller, Works, Cheap, [Cluster: Update], "between controllers; Apache's agree in other ways";
}

impl RequestCode {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }
}

macro_rules! response_codes {
    ($($variant:ident = $code:literal, $name:literal;)*) => {
        /// How an answer ends. Its meaning depends on the request: 10, 11 and 12 are successes of a send.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum ResponseCode {
            $(#[doc = concat!("`", $name, "`.")] $variant = $code,)*
        }

        impl ResponseCode {
            /// RocketMQ's name of the code.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(ResponseCode::$variant => $name,)* }
            }
        }

        impl TryFrom<i32> for ResponseCode {
            type Error = UnknownCode;

            fn try_from(code: i32) -> Result<Self, UnknownCode> {
                match code {
                    $($code => Ok(ResponseCode::$variant),)*
                    unknown => Err(UnknownCode(unknown)),
                }
            }
        }
    };
}

response_codes! {
    Success = 0, "SUCCESS";
    SystemError = 1, "SYSTEM_ERROR";
    SystemBusy = 2, "SYSTEM_BUSY";
    RequestCodeNotSupported = 3, "REQUEST_CODE_NOT_SUPPORTED";
    TransactionFailed = 4, "TRANSACTION_FAILED";
    FlushDiskTimeout = 10, "FLUSH_DISK_TIMEOUT";
    SlaveNotAvailable = 11, "SLAVE_NOT_AVAILABLE";
    FlushSlaveTimeout = 12, "FLUSH_SLAVE_TIMEOUT";
    MessageIllegal = 13, "MESSAGE_ILLEGAL";
    ServiceNotAvailable = 14, "SERVICE_NOT_AVAILABLE";
    VersionNotSupported = 15, "VERSION_NOT_SUPPORTED";
    NoPermission = 16, "NO_PERMISSION";
    TopicNotExist = 17, "TOPIC_NOT_EXIST";
    TopicExistAlready = 18, "TOPIC_EXIST_ALREADY";
    PullNotFound = 19, "PULL_NOT_FOUND";
    PullRetryImmediately = 20, "PULL_RETRY_IMMEDIATELY";
    PullOffsetMoved = 21, "PULL_OFFSET_MOVED";
    QueryNotFound = 22, "QUERY_NOT_FOUND";
    SubscriptionParseFailed = 23, "SUBSCRIPTION_PARSE_FAILED";
    SubscriptionNotExist = 24, "SUBSCRIPTION_NOT_EXIST";
    SubscriptionNotLatest = 25, "SUBSCRIPTION_NOT_LATEST";
    SubscriptionGroupNotExist = 26, "SUBSCRIPTION_GROUP_NOT_EXIST";
    FilterDataNotExist = 27, "FILTER_DATA_NOT_EXIST";
    FilterDataNotLatest = 28, "FILTER_DATA_NOT_LATEST";
    InvalidParameter = 29, "INVALID_PARAMETER";
    TransactionShouldCommit = 200, "TRANSACTION_SHOULD_COMMIT";
    TransactionShouldRollback = 201, "TRANSACTION_SHOULD_ROLLBACK";
    TransactionStateUnknow = 202, "TRANSACTION_STATE_UNKNOW";
    TransactionStateGroupWrong = 203, "TRANSACTION_STATE_GROUP_WRONG";
    NoBuyerId = 204, "NO_BUYER_ID";
    NotInCurrentUnit = 205, "NOT_IN_CURRENT_UNIT";
    ConsumerNotOnline = 206, "CONSUMER_NOT_ONLINE";
    ConsumeMsgTimeout = 207, "CONSUME_MSG_TIMEOUT";
    NoMessage = 208, "NO_MESSAGE";
    PollingFull = 209, "POLLING_FULL";
    PollingTimeout = 210, "POLLING_TIMEOUT";
    BrokerNotExist = 211, "BROKER_NOT_EXIST";
    BrokerDispatchNotComplete = 212, "BROKER_DISPATCH_NOT_COMPLETE";
    BroadcastConsumption = 213, "BROADCAST_CONSUMPTION";
    FlowControl = 215, "FLOW_CONTROL";
    NotLeaderForQueue = 501, "NOT_LEADER_FOR_QUEUE";
    IllegalOperation = 604, "ILLEGAL_OPERATION";
    GoAway = 1500, "GO_AWAY";
    ControllerFencedMasterEpoch = 2000, "CONTROLLER_FENCED_MASTER_EPOCH";
    ControllerFencedSyncStateSetEpoch = 2001, "CONTROLLER_FENCED_SYNC_STATE_SET_EPOCH";
    ControllerInvalidMaster = 2002, "CONTROLLER_INVALID_MASTER";
    ControllerInvalidReplicas = 2003, "CONTROLLER_INVALID_REPLICAS";
    ControllerMasterNotAvailable = 2004, "CONTROLLER_MASTER_NOT_AVAILABLE";
    ControllerInvalidRequest = 2005, "CONTROLLER_INVALID_REQUEST";
    ControllerBrokerNotAlive = 2006, "CONTROLLER_BROKER_NOT_ALIVE";
    ControllerNotLeader = 2007, "CONTROLLER_NOT_LEADER";
    ControllerBrokerMetadataNotExist = 2008, "CONTROLLER_BROKER_METADATA_NOT_EXIST";
    ControllerInvalidCleanBrokerMetadata = 2009, "CONTROLLER_INVALID_CLEAN_BROKER_METADATA";
    ControllerBrokerNeedToBeRegistered = 2010, "CONTROLLER_BROKER_NEED_TO_BE_REGISTERED";
    ControllerMasterStillExist = 2011, "CONTROLLER_MASTER_STILL_EXIST";
    ControllerElectMasterFailed = 2012, "CONTROLLER_ELECT_MASTER_FAILED";
    ControllerAlterSyncStateSetFailed = 2013, "CONTROLLER_ALTER_SYNC_STATE_SET_FAILED";
    ControllerBrokerIdInvalid = 2014, "CONTROLLER_BROKER_ID_INVALID";
    ControllerJraftInternalError = 2015, "CONTROLLER_JRAFT_INTERNAL_ERROR";
    ControllerBrokerLiveInfoNotExists = 2016, "CONTROLLER_BROKER_LIVE_INFO_NOT_EXISTS";
    UserNotExist = 3001, "USER_NOT_EXIST";
    PolicyNotExist = 3002, "POLICY_NOT_EXIST";
    RpcUnknown = -1000, "RPC_UNKNOWN";
    RpcAddrIsNull = -1002, "RPC_ADDR_IS_NULL";
    RpcSendToChannelFailed = -1004, "RPC_SEND_TO_CHANNEL_FAILED";
    RpcTimeOut = -1006, "RPC_TIME_OUT";
}

impl ResponseCode {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }
}

macro_rules! languages {
    ($($variant:ident = $code:literal, $name:literal;)*) => {
        /// What a peer is written in. It decides the form of one body only (reset of offsets, code 220).
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Language {
            $(#[doc = concat!("`", $name, "`.")] $variant = $code,)*
        }

        impl Language {
            /// RocketMQ's name of the language.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Language::$variant => $name,)* }
            }

            /// The language of this name; `Other` if unknown, for it never decides whether a request is served.
            #[must_use]
            pub fn from_name(name: &str) -> Language {
                match name { $($name => Language::$variant,)* _ => Language::Other }
            }

            /// The language of this number; `Other` if unknown.
            #[must_use]
            pub fn from_number(number: i64) -> Language {
                match number { $($code => Language::$variant,)* _ => Language::Other }
            }
        }
    };
}

languages! {
    Java = 0, "JAVA";
    Cpp = 1, "CPP";
    Dotnet = 2, "DOTNET";
    Python = 3, "PYTHON";
    Delphi = 4, "DELPHI";
    Erlang = 5, "ERLANG";
    Ruby = 6, "RUBY";
    Other = 7, "OTHER";
    Http = 8, "HTTP";
    Go = 9, "GO";
    Php = 10, "PHP";
    Oms = 11, "OMS";
    Rust = 12, "RUST";
    NodeJs = 13, "NODE_JS";
}

impl Language {
    /// The number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    /// What begins the part of the page that is written by hand.
    const BY_HAND: &str = "\n# Features";

    /// What `COMPAT.md` must begin with.
    fn compat_page() -> String {
        let mut page = String::from(
            "# Requests of RocketMQ 5.3.3 and what ringmq does with each\n\n\
             Made from the table in `code.rs`; a test holds the two equal. A request that is `not yet` there, or unknown,\n\
             is answered with code 3 (`REQUEST_CODE_NOT_SUPPORTED`), a oneway one is dropped. Tier 0 is basic produce and\n\
             consume, 1 full messaging, 2 administration, 3 high availability and the rare. A slave answers (`yes`), says that\n\
             it is busy (2), refuses (1; RocketMQ 5.1 and later accept there what the next table of the master undoes), or is not\n\
             available (11). `needs` are the rights that access control will ask for,\n\
             `cost` what quotas will count.\n\n\
             Replicas speak Apache's two streams as they are. Which log a broker has is told among ringmq nodes only: a shard whose\n\
             log was begun by a ringmq master does not follow an Apache master, which cannot say whose bytes it has; a shard with an\n\
             empty store, or with a log that it has from one, does. Bytes that are damaged on a disk are asked for among ringmq nodes\n\
             only as well. To an Apache slave nothing has changed.\n\n\
             A controller of ringmq leads brokers of Apache 5.3.3 (1001 to 1013, 904, and 1008, which it sends). ringmq's brokers take their roles from\n\
             no controller yet, and refuse `enableControllerMode=true`.\n\n\
             Of a group's settings `consumeFromMinEnable`, `consumeMessageOrderly`, `groupRetryPolicy` and `consumeTimeoutMinute` are kept and\n\
             told, and change nothing, as with Apache's broker: proxies go by them, and `mqadmin updateSubGroup` sends the first each time.\n\
             So does a topic's `message.type`: that a message is of its topic's type is looked at by proxies, here as there.\n\n\
             Light queues (`enableLmq` with `enableMultiDispatch`) are filled, sent to, pulled, held for, locked (41), dealt out (400),\n\
             looked at by tools (202, 208, 303, 321, 351), reset (222) and deleted (215) as with Apache, also on slaves and with Java peers.\n\
             They differ in this: a message that names no light queue, one twice, or more than 256 is refused (13), where Apache's broker\n\
             stops putting anything into its consume queues; so are batches and dead letters that name some, which Apache puts into none, or\n\
             into all; a topic `%LMQ%NAME` is refused (29), where Apache says success and makes none; they\n\
             are not popped (17), nor is that mode taken for them (401 answers 29); offsets are committed and reset where one was written (else 17); a group\n\
             `%LMQ%NAME` is made as any other, or by its first commit; their offsets are in `consumerOffset.json`; half messages are in none\n\
             before they are committed; names have 127 bytes at most, where Apache takes about 250; `maxLmqConsumeQueueNum`, which Apache reads and does not\n\
             heed, holds: a message that would need more is refused (1), also one that waits for its time or its commit, whose queues have their places\n\
             from when it is taken, here, on slaves and over starts, and are always there when it comes; who only pulls makes none; and the place of\n\
             one that was deleted counts until a start that finds nothing of it.\n\n\
             | code | name | tier | asked of | slave | status | cost | needs | note |\n\
             |---|---|---|---|---|---|---|---|---|\n",
        );
        for code in RequestCode::ALL {
            let row = code.row();
            let (number, name, note, tier) = (code.number(), row.name, row.note, row.tier as u8);
            let (endpoint, slave) = match row.endpoint {
                Endpoint::Broker(OnSlave::Answers) => ("broker", "yes"),
                Endpoint::Broker(OnSlave::Busy) => ("broker", "busy"),
                Endpoint::Broker(OnSlave::Refuses) => ("broker", "refuses"),
                Endpoint::Broker(OnSlave::Unavailable) => ("broker", "not available"),
                Endpoint::NameServer => ("name server", ""),
                Endpoint::Client => ("client", ""),
                Endpoint::Controller => ("controller", ""),
            };
            let status = match row.status {
                Status::Works => "works",
                Status::Partly => "partly",
                Status::NotYet => "not yet",
            };
            let cost = format!("{:?}", row.cost).to_lowercase();
            let needs: Vec<String> = row.needs.iter().map(need_text).collect();
            let needs = needs.join(", ");
            writeln!(
                page,
                "| {number} | {name} | {tier} | {endpoint} | {slave} | {status} | {cost} | {needs} | {note} |"
            )
            .expect("a String takes it");
        }
        page
    }

    fn need_text(need: &Need) -> String {
        let actions: Vec<String> = need.any_of.iter().map(|action| format!("{action:?}")).collect();
        format!("{:?} {}", need.resource, actions.join(" or ")).to_lowercase()
    }

    #[test]
    fn compat_page_says_what_the_table_says() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/COMPAT.md");
        let page = include_str!("COMPAT.md");
        let (made, by_hand) = page.split_at(page.find(BY_HAND).expect("the features are there"));
        if std::env::var_os("RINGMQ_REWRITE").is_some() {
            #[expect(clippy::disallowed_methods, reason = "the flag asks to rewrite the page")]
            std::fs::write(path, compat_page() + by_hand).expect("the source folder is writable");
        }
        assert!(
            made == compat_page(),
            "src/protocol/COMPAT.md differs from the table in code.rs; write it anew with \
             `RINGMQ_REWRITE=1 cargo test --lib compat_page` (run twice) and read the diff"
        );
    }

    #[test]
    fn what_may_create_delete_or_update_sets_or_is_known_not_to() {
        // By clients and brokers, or what says more of itself; 306 has nothing to do.
        let others = [15, 25, 103, 104, 217, 306, 904, 1001, 1002, 1003, 1012, 1013, 720_001, 720_002, 720_004];
        for code in RequestCode::ALL.iter().filter(|code| matches!(code.row().status, Status::Works | Status::Partly)) {
            let changing = |action: &Action| matches!(action, Action::Create | Action::Delete | Action::Update);
            let may = code.row().needs.iter().any(|need| need.any_of.iter().any(changing));
            assert_eq!(code.row().sets, may && !others.contains(&code.number()), "{code:?}");
        }
    }

    #[test]
    fn numbers_and_codes_are_one_to_one() {
        for code in RequestCode::ALL {
            assert_eq!(RequestCode::try_from(code.number()), Ok(*code));
        }
        assert!(RequestCode::ALL.windows(2).all(|pair| pair[0] < pair[1]), "the table is sorted by number");
        assert_eq!(RequestCode::try_from(3442), Err(UnknownCode(3442)), "what a binary header makes of 200050");
        assert_eq!(ResponseCode::try_from(-1006), Ok(ResponseCode::RpcTimeOut));
        assert_eq!(Language::from_name("NODE_JS"), Language::NodeJs);
        assert_eq!(Language::from_name("COBOL"), Language::Other);
        assert_eq!(Language::from_number(9), Language::Go);
    }
}
