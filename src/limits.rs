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
