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

// --- log ---

/// Longest properties string of a record: its length has 15 bits. Source: RocketMQ `CommitLog`.
pub const PROPERTIES_BYTES_MAX: usize = 32_767;

/// Largest record. A message as large as a frame, with topic and properties, must fit no segment and no tail: it is refused.
pub const RECORD_BYTES_MAX: usize = FRAME_BYTES_MAX;

/// Most that one commit writes: what a group of waiting producers shares, and the most that is unwritten work of one direct write.
pub const COMMIT_BYTES_MAX: usize = 1024 * 1024;

/// Under ASYNC_FLUSH, a flush is due when so many bytes were written since the last one.
pub const UNFLUSHED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// How far behind the end of the log an unflushed write of a dead process can have left something: recovery looks there.
pub const STALE_WINDOW_BYTES: u64 = UNFLUSHED_BYTES_MAX + 2 * COMMIT_BYTES_MAX as u64;

/// Unit of cold reads, of the log and of the index files alike.
pub const COLD_BLOCK_BYTES: u64 = 128 * 1024;

/// Blocks that a reader may ask for ahead of need.
pub const PREFETCH_BLOCKS_MAX: usize = 16;

/// Zeros that are written at once.
pub const PREPARE_CHUNK_BYTES: u64 = 1024 * 1024;

/// Spare segments kept for recycling, beyond the one that already lies in place ahead of the writer.
pub const SPARES_MAX: usize = 1;

/// Entries of all queues together that are not yet in an index block; beyond it blocks are closed early. 24 bytes each.
pub const UNSEALED_ENTRIES_MAX: usize = 1024 * 1024;

/// Index bytes that wait to be written; beyond it appends wait.
pub const INDEX_PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Index bytes that are worth a write.
pub const INDEX_WRITE_BYTES_MIN: usize = 64 * 1024;

/// Bytes of a checkpoint that are made in one go, so that making one stalls no send.
pub const CHECKPOINT_SLICE_BYTES: usize = 64 * 1024;

/// Queues whose front is trimmed by one tick of retention.
pub const TRIM_QUEUES_PER_TICK: usize = 1024;

/// Searches, by key and by time each, that wait for a block; the oldest begins anew beyond it.
pub const LOOKUPS_MAX: usize = 64;

/// Blocks that could not be read and wait to be reported to their reader.
pub const FAILED_BLOCKS_MAX: usize = 64;

const _: () = assert!(COMMIT_BYTES_MAX.is_multiple_of(DISK_BLOCK_BYTES), "commits are whole blocks");
const _: () = assert!(COLD_BLOCK_BYTES.is_multiple_of(DISK_BLOCK_BYTES as u64), "cold reads are whole blocks");
