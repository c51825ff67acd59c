//! One pinned executor a core, alone with its queues.
//!
//! A shard is one thread. On it live one [`crate::broker::Broker`] with its log, one [`crate::disk::Disk`], one [`crate::net::Net`], and the
//! tasks that carry between them (the [`pump`](mod@pump)). [`start`] makes the thread; everything else is said through the two mailboxes.
//!
//! | task | queue | what it does |
//! |---|---|---|
//! | a connection | request | reads, handles frames, writes |
//! | a replication connection | request | sends the log to a slave, or takes it from the master |
//! | commit loop | request | [`crate::broker::Broker::poll_commit`], write, flush, release the replies |
//! | clock | request | deadlines and ticks |
//! | mailbox | request | what the control plane says, and what it is told |
//! | background loop | background | segments in advance, index, checkpoints, removal |
//! | fetches | background | reads of old data, a few at a time |
//! | tables | background | topics, groups and consumer offsets to their files |

mod aside;
pub mod cpus;
pub mod descriptors;
mod event;
mod life;
mod links;
pub(crate) mod memlock;
pub(crate) mod offline;
mod open;
mod pump;
pub mod runtime;
mod start;
mod stop;
mod tables;
pub mod watch;
mod watchdog;
mod work;

pub(crate) use start::StartError;
pub use start::{ShardHandle, ShardSettings, start};
