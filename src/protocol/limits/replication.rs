//! Bounds of what replicas are to one another.

use super::{ACKS_MAX, FETCHES_MAX, PARTIAL_BYTES_KEPT, RECORD_BYTES_MAX, STREAM_BLOCK_BYTES, STREAM_BLOCKS_MAX};

/// Bytes that a slave is sent beyond what it has acknowledged. At 1,000,000 messages of 400 B a second, 4 ms of distance keep 1.6 MB in
/// flight; the rest is for a slave that flushes each batch, and for its pauses.
pub const HA_WINDOW_BYTES: u64 = 32 * 1024 * 1024;

/// Bytes that are made for one slave at once, but for one header.
pub const HA_SEND_BYTES: usize = 256 * 1024;

/// Memory that one slave costs its master at most, in each shard: what is made for it, an unfinished message and the numbers kept of it. What it is
/// sent beyond that is the kernel's (`net.ipv4.tcp_wmem`), and what it has not acknowledged is kept nowhere but in the log.
pub const HA_SLAVE_MEMORY_MAX: u64 = HA_SEND_BYTES as u64 + 192 * 1024;

/// Memory at most for all slaves of a shard together that are sent what has left its tail: the blocks that are kept, and those that are being
/// read, which exist twice for a moment, as the disk gives them and as they are kept.
pub const HA_BEHIND_MEMORY_MAX: u64 = (STREAM_BLOCKS_MAX + 2 * FETCHES_MAX) as u64 * STREAM_BLOCK_BYTES;

/// Slaves of one shard.
pub const HA_SLAVES_MAX: usize = 16;

/// Connections to a shard's replication port that have not said what they want; one more closes the oldest.
pub const HA_STRANGERS_MAX: usize = 64;

/// Replication connections of a shard, whatever they are; one more is closed at once.
pub const HA_LINKS_MAX: usize = 128;

/// How long a connection to the replication port may take to say what it wants. A classic slave that ends at 4 GiB sharp is told from one
/// that speaks of epochs by its second report, which comes within `haSendHeartbeatInterval`.
pub const HA_OPENING_MS: u64 = 15_000;

/// Longest body of one transfer. Source: RocketMQ `DefaultHAClient`, whose read buffer has 4 MiB.
pub const HA_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes that a slave has received and not stored, beyond which it reads no more: the largest record, and a transfer.
pub const HA_PENDING_BYTES_MAX: usize = RECORD_BYTES_MAX + 1024 * 1024;

/// Wait before a slave connects again, at first; it doubles with each failure.
pub const HA_RETRY_MS_MIN: u64 = 100;

/// Wait before a slave connects again, at most: until it does, a synchronous master that has come back has nobody to wait for.
pub const HA_RETRY_MS_MAX: u64 = 1_000;

/// Wait before a slave connects again to a master that it cannot follow: only a human helps. Source: RocketMQ `DefaultHAClient` waits so long
/// each time.
pub const HA_HOPELESS_RETRY_MS: u64 = 5_000;

/// How long a connection stays that a slave has given up, for its master to hear why.
pub const HA_FAREWELL_MS: u64 = 1_000;

/// A slave whose log does not fit, and that has not said so again for this long, is gone: it holds back no master, and is not listed.
pub const HA_REFUSED_KEPT_MS: u64 = 30_000;

/// How often a lasting trouble between replicas is said in the log.
pub const HA_REMIND_MS: u64 = 60_000;

/// A slave that has followed its master for so long has no trouble with it: the next one is news.
pub const HA_SETTLED_MS: u64 = 10_000;

/// How long a slave waits for a connection to come about.
pub const HA_CONNECT_MS: u64 = 5_000;

/// How long a slave is left without news of the confirm offset, if there are any.
pub const HA_CONFIRM_MS: u64 = 100;

/// Replies of sends that may wait for slaves. One more, and the oldest is answered `FLUSH_SLAVE_TIMEOUT`: its message is stored, and others
/// must not wait for a slow slave.
pub const REPLICA_WAITS_MAX: usize = ACKS_MAX / 2;

/// Bytes of a log without a name that are looked through at once for a record, from which on they are compared with the master's.
pub const PROOF_BYTES: u64 = 64 * 1024;

/// How far the number of a reign may lie beyond the last one that is known. Each start of a master and each election takes the next one.
pub const EPOCH_JUMP_MAX: u32 = 1 << 20;

/// Largest number of a reign: as far below 2^31, the end of what the wire carries, as one step may go.
pub const EPOCH_MAX: u32 = i32::MAX.unsigned_abs() - EPOCH_JUMP_MAX;

/// Largest number of a reign that somebody may order: a master's own starts need some beyond it.
pub const ORDERED_EPOCH_MAX: u32 = EPOCH_MAX - EPOCH_JUMP_MAX;

/// Largest brokerId: those of RocketMQ's controllers count from 1, and a replica tells its own as 63 bits.
pub const BROKER_ID_MAX: u64 = (1 << 31) - 1;

/// Epochs of one log that are remembered: one a start of a master. Beyond it the oldest is forgotten.
pub const EPOCHS_MAX: usize = 4_096;

/// Bytes of the log that one replica asks of another at once, to mend what is damaged: read from its disk and sent in one turn.
pub const MEND_PIECE_BYTES: usize = 64 * 1024;

/// The same while it is not known how long the record is that is asked for.
pub const MEND_FIRST_BYTES: usize = 4 * 1024;

/// Bytes of the log that are mended at once, where so much is damaged: to the end of the record that lies there.
pub const MEND_STRETCH_BYTES: u64 = 1024 * 1024;

/// Bytes in front of a disk block that cannot be read which are searched for the record that it is part of.
pub const MEND_SEARCH_BYTES_MAX: u64 = 2 * RECORD_BYTES_MAX as u64;

/// Bytes that a shard reads, fetches and writes to mend what is damaged, in a second: each byte of a damaged stretch is read three times, fetched and
/// written, so that a segment of 1 GiB takes three minutes. One stretch is mended at a time.
pub const MEND_BYTES_PER_SECOND: u64 = 32 * 1024 * 1024;

/// So far a mend may be ahead of that.
pub const MEND_BURST_MS: u64 = 100;

/// How long a replica is waited for that was asked, for one piece.
pub const MEND_ANSWER_MS: u64 = 10_000;

/// The same, for all pieces of what is mended at once, however they come.
pub const MEND_ONE_MS: u64 = 30_000;

/// How long one that took longer is not asked.
pub const MEND_SLOW_REST_MS: u64 = 60_000;

/// How often a replica's bytes are unsound before they count as damaged there as well: once it may have been the way.
pub const MEND_UNSOUND_MAX: u32 = 2;

/// States of disk blocks that are kept aside of one place that is mended again and again: the first ones.
pub const KEPT_OF_A_PLACE_MAX: u32 = 8;

/// Rest of what could not be mended before it is tried again, at first; it doubles with each failure, and ends when a replica comes.
pub const MEND_REST_MS_MIN: u64 = 1_000;

/// The same, at most.
pub const MEND_REST_MS_MAX: u64 = 300_000;

const _: () = assert!(MEND_STRETCH_BYTES * 5 < MEND_BYTES_PER_SECOND, "a stretch does not take all of a second");
const _: () = assert!(MEND_ANSWER_MS < MEND_ONE_MS, "all takes longer than a piece of it");
const _: () = assert!(HA_LINKS_MAX > HA_SLAVES_MAX + HA_STRANGERS_MAX, "strangers leave room for slaves");
const _: () = assert!(
    (HA_SEND_BYTES + 2 * PARTIAL_BYTES_KEPT + 8192 + 2 * MEND_PIECE_BYTES) as u64 <= HA_SLAVE_MEMORY_MAX,
    "a send buffer, an unfinished message with the room it came in, and a few numbers"
);
const _: () =
    assert!(HA_SEND_BYTES as u64 * 4 <= HA_WINDOW_BYTES, "the window does not limit a connection that is read");
