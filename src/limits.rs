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

const _: () = assert!(MESSAGE_BODY_BYTES_MAX < FRAME_BYTES_MAX, "the largest message must fit a frame");

/// Replies that may wait in one connection's outbox before its frames are left unread. One reply may stand on top of it, so
/// a reader that never reads costs at most this and one frame.
pub const OUTBOX_BYTES_HIGH: usize = 1024 * 1024;

/// Replies that may wait in all outboxes of a shard together. Beyond it pulls are answered with flow control: many readers
/// that never read must not take the memory of those that do.
pub const OUTBOX_TOTAL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Replies of sends that may wait for their flush, their topic's persistence or its registration.
pub const ACKS_MAX: usize = 256 * 1024;

/// Pulls of a shard that may be held for new messages; about 300 B each.
pub const HOLDS_MAX: usize = 100_000;

/// Pulls of one connection that may be held: a consumer holds one a message queue.
pub const HOLDS_PER_CONNECTION_MAX: usize = 16 * 1024;

/// Longest time a pull is held, whatever the client asks. Stock clients ask for 15 s and 20 s.
pub const HOLD_MS_MAX: u64 = 60_000;

/// Requests that may wait for blocks of the disk.
pub const PARKED_MAX: usize = 16 * 1024;

/// Longest request that is kept while a block is read; longer ones are refused, since only small requests read.
pub const PARKED_REQUEST_BYTES_MAX: usize = 64 * 1024;

/// How often one request may wait for a block before it is answered with what is known.
pub const PARKED_ROUNDS_MAX: u32 = 64;

/// Topics of a shard.
pub const TOPICS_MAX: usize = 200_000;

/// Message queues of one topic on one shard.
pub const QUEUES_PER_TOPIC_MAX: u32 = 65_536;

/// Consumer group settings of a shard, those created by heartbeats included.
pub const GROUPS_MAX: usize = 100_000;

/// Producer and consumer groups that one connection may be a member of.
pub const GROUPS_PER_CONNECTION_MAX: usize = 4_096;

/// Topics that one consumer group may subscribe to.
pub const SUBSCRIPTIONS_PER_GROUP_MAX: usize = 4_096;

/// Longest subscription expression.
pub const EXPRESSION_BYTES_MAX: usize = 64 * 1024;

/// Consumer offsets of a shard: one a group, topic and queue.
pub const OFFSETS_MAX: usize = 2_000_000;

/// Queue locks of a shard.
pub const QUEUE_LOCKS_MAX: usize = 500_000;

/// Calls to clients that may be waiting for their answer.
pub const CLIENT_CALLS_MAX: usize = 4_096;

/// Most messages and bytes of one pull's answer. Source: RocketMQ `maxTransferCountOnMessageInMemory`,
/// `maxTransferBytesOnMessageInMemory`.
pub const PULL_MESSAGES_MAX: u32 = 32;
/// See [`PULL_MESSAGES_MAX`].
pub const PULL_BYTES_MAX: usize = 256 * 1024;

/// Entries of a consume queue that one pull examines. Source: RocketMQ `maxFilterMessageSize` 16000 B of 20 B entries.
pub const PULL_ENTRIES_MAX: u32 = 800;

/// Longest properties of a message: their length field has 16 bits and a sign. Source: RocketMQ `MessageDecoder`.
pub const PROPERTIES_BYTES_MAX: usize = 32_767;

/// Longest topic name that clients may create; retry and dead letter topics may have [`RETRY_TOPIC_BYTES_MAX`].
/// Source: RocketMQ `TopicValidator`.
pub const TOPIC_BYTES_MAX: usize = 127;
/// See [`TOPIC_BYTES_MAX`].
pub const RETRY_TOPIC_BYTES_MAX: usize = 255;
/// Longest group name. Source: RocketMQ `TopicValidator`.
pub const GROUP_BYTES_MAX: usize = 120;

const _: () = assert!(HOLDS_PER_CONNECTION_MAX < HOLDS_MAX, "one connection must not take every hold");
const _: () = assert!(PULL_BYTES_MAX < OUTBOX_BYTES_HIGH, "a pull's answer must fit an outbox that is not full");
const _: () = assert!(
    PULL_BYTES_MAX + MESSAGE_BODY_BYTES_MAX + PROPERTIES_BYTES_MAX + 4096 < FRAME_BYTES_MAX,
    "a pull answer, with a first message of any size, must fit a frame"
);
