//! Bounds of a controller.

use super::FRAME_BYTES_MAX;

/// Groups of replicas that a controller keeps. All of them are in one snapshot.
pub const CONTROLLER_GROUPS_MAX: usize = 1_024;

/// Replicas of one group that a controller keeps.
pub const CONTROLLER_REPLICAS_MAX: usize = 16;

/// Bytes of a name, an address or a check code that a controller keeps.
pub(crate) const CONTROLLER_TEXT_BYTES_MAX: usize = 255;

/// Bytes of a controller's snapshot, at most.
pub const CONTROLLER_SNAPSHOT_BYTES_MAX: usize = CONTROLLER_GROUPS_MAX
    * (3 * CONTROLLER_TEXT_BYTES_MAX + CONTROLLER_REPLICAS_MAX * (2 * CONTROLLER_TEXT_BYTES_MAX + 32));

const _: () = assert!(CONTROLLER_SNAPSHOT_BYTES_MAX + 64 * 1024 < FRAME_BYTES_MAX, "a snapshot is sent in one frame");

/// Requests that a controller has not agreed about yet. Beyond it new ones are answered that it is busy.
pub const CONTROLLER_PENDING_MAX: usize = 1_024;

/// Entries of a controller's log behind its snapshot, beyond which it takes the next one.
pub const CONTROLLER_LOG_ENTRIES_MAX: usize = 4_096;

/// Entries before a snapshot that stay in the log, for controllers that are a little behind.
pub const CONTROLLER_LOG_ENTRIES_KEPT: usize = 512;

/// Bytes of one command of a controller, at most: every candidate of a group, or a few texts.
pub const CONTROLLER_COMMAND_BYTES_MAX: usize = 8 * 1024;

const _: () = assert!(
    CONTROLLER_COMMAND_BYTES_MAX > 5 * CONTROLLER_TEXT_BYTES_MAX + CONTROLLER_REPLICAS_MAX * 64,
    "a command fits"
);
const _: () = assert!(CONTROLLER_LOG_ENTRIES_KEPT < CONTROLLER_LOG_ENTRIES_MAX, "a snapshot makes the log shorter");

/// How often a controller's clock ticks.
pub const CONTROLLER_TICK_MS: u64 = 100;

/// Ticks without a leader after which a controller stands for election, at least; at most twice as many.
pub const CONTROLLER_ELECTION_TICKS: usize = 10;

/// A broker that has not said otherwise counts as gone after so long. Source: RocketMQ `DEFAULT_BROKER_CHANNEL_EXPIRED_TIME`.
pub const CONTROLLER_BROKER_TIMEOUT_MS: u64 = 10_000;

/// The shortest and the longest silence that a broker may ask for.
pub const CONTROLLER_BROKER_TIMEOUTS_MS: [u64; 2] = [100, 600_000];

/// Messages for another controller that wait for its connection. What comes beyond is lost, as on a network, and told again.
pub const CONTROLLER_PEER_QUEUE_MAX: usize = 256;

/// How far a term may lie beyond the last one that is known: what is further on was made up.
pub const CONTROLLER_TERM_JUMP_MAX: u64 = 1 << 32;
