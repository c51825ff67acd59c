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

/// Files that a shard keeps open: segments and index files in use. The one used longest ago is closed first.
pub const OPEN_FILES_MAX: usize = 64;

/// One read of a file by recovery or of a table; larger ones are cut.
pub const READ_CHUNK_BYTES: usize = 1024 * 1024;

/// One write of zeroes into a segment that is made in advance: about 0.3 ms of a common disk, which a commit may have to wait.
pub const PREPARE_CHUNK_BYTES: usize = 256 * 1024;

/// Registered I/O memory of a shard: the largest commit, four block reads, recovery's reads and one piece of a segment in advance,
/// with as much again for the fragments that a buddy allocator leaves.
pub const IO_MEMORY_BYTES: usize = 16 * 1024 * 1024;

/// Registered I/O memory of a shard at least; glommio takes no less.
pub const IO_MEMORY_BYTES_MIN: usize = 64 * 1024;

/// Entries of each of an executor's rings. Measured: thousands of connections lose a quarter of their rate at 128.
pub const RING_DEPTH: usize = 1024;

/// Period of the timer that keeps an executor from sleeping on runnable tasks.
pub const KEEP_ALIVE_MS: u64 = 10;

/// How late that timer comes before it is a stall.
pub const STALL_MS: u64 = 20;

/// Shares of the task queue that connections and commits run in.
pub const SHARES_REQUEST: usize = 1000;

/// Shares of the task queue for what no client waits for right now.
pub const SHARES_BACKGROUND: usize = 100;
