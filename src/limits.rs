//! Every bound of ringmq by name, and the assertions that relate them.

/// Block size of the disk: every offset, length and buffer of direct I/O is a multiple of it.
///
/// The logical block size that the kernel reports is not trusted: it can name the wrong disk, and 4096 is a multiple of every
/// size in use.
pub const DISK_BLOCK_BYTES: usize = 4096;

/// Longest frame that is accepted or sent, its length field included. Source: RocketMQ `NettyDecoder`, 16 MiB.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest message body by default. Source: RocketMQ `MessageStoreConfig.maxMessageSize`.
pub const MESSAGE_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Messages that may wait for the control plane. A shard sends a handful a second; a burst of topic creations fits.
pub const CONTROL_MAILBOX_MAX: usize = 1024;

/// Messages that may wait for one shard.
pub const SHARD_MAILBOX_MAX: usize = 256;

/// Shards of one node. More than any machine has cores; bounds the table of ports and mailboxes.
pub const SHARDS_MAX: u16 = 512;

/// Smallest tail of a shard: two records of the default largest size, and room to write while one is read.
pub const TAIL_BYTES_MIN: u64 = 8 * 1024 * 1024;

/// Broker names that a name server knows.
pub const ROUTE_BROKERS_MAX: usize = 16_384;

/// Topics that a name server knows.
pub const ROUTE_TOPICS_MAX: usize = 1_000_000;

/// Entries of a name server's key-value configuration.
pub const KV_ENTRIES_MAX: usize = 100_000;

/// Connections that a name server keeps open.
pub const NAMESRV_CONNECTIONS_MAX: usize = 20_000;

/// Bytes that a name server holds of frames that are not whole yet, over all connections.
pub const NAMESRV_PARTIAL_BYTES_MAX: usize = 256 * 1024 * 1024;

const _: () = assert!(MESSAGE_BODY_BYTES_MAX < FRAME_BYTES_MAX, "the largest message must fit a frame");

/// Most extension fields of a request or reply. RocketMQ's own requests have up to about 25.
pub const EXT_FIELDS_MAX: usize = 128;

/// Deepest nesting of what an unknown key of a header may hold; it is skipped, but on the stack.
pub const HEADER_DEPTH_MAX: usize = 32;

/// Deepest nesting of a JSON body. RocketMQ's own bodies have up to 6 levels.
pub const JSON_DEPTH_MAX: usize = 64;

/// Most values in a JSON body of a client. Bounds a tree to about 12 MB; a heartbeat has a few dozen.
pub const JSON_NODES_MAX: usize = 100_000;

/// Most values in the JSON of a table: a registration of 100,000 topics has a million. Bounds a tree to about 200 MB, and
/// only brokers and the store's own files come with tables.
pub const JSON_TABLE_NODES_MAX: usize = 1_500_000;

/// Longest inflated body of a broker's registration.
pub const REGISTER_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most topics of one broker's registration.
pub const REGISTER_TOPICS_MAX: usize = 500_000;

/// Longest properties text of a record. Source: its length field has 16 bits, signed.
pub const PROPERTIES_BYTES_MAX: usize = 32_767;

/// Most messages of one batch.
pub const BATCH_MESSAGES_MAX: usize = 65_536;

/// Longest topic name. Source: RocketMQ `TopicValidator`.
pub const TOPIC_NAME_BYTES_MAX: usize = 127;

/// Longest name of a retry or dead letter topic, which wraps a group's name. Source: RocketMQ `TopicValidator`.
pub const RETRY_TOPIC_NAME_BYTES_MAX: usize = 255;

/// Longest name of a consumer group. Source: RocketMQ `TopicValidator`.
pub const GROUP_NAME_BYTES_MAX: usize = 120;

/// Most queues of a topic on one broker, for reading or writing. Bounds what one request can make this shard allocate.
pub const TOPIC_QUEUES_MAX: u32 = 65_536;
