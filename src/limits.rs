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
