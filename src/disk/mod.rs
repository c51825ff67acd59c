//! Direct I/O behind one small surface; aligned buffers; the only folder that may need `unsafe`.
//!
//! The shell's hands: it opens, writes, flushes, renames what [`crate::log`] asks for and decides nothing. Three kinds of work
//! are kept apart, because they must not wait for one another:
//!
//! | kind | runs on | examples |
//! |---|---|---|
//! | commits and block reads | io_uring, on the shard's thread | [`Disk::write`], [`Disk::read`], [`Disk::flush`] |
//! | work of many milliseconds | io_uring, in the background task queue, in small pieces | [`Disk::prepare`] |
//! | what io_uring or glommio cannot do | the blocking pool, through [`blocking::run`] | rename, remove, replace, directory flush |
//!
//! State: of the node ([`store::Store`]: one process holds it) and of a shard ([`Disk`], [`tail::TailFile`]).

mod append;
pub mod blocking;
pub(crate) mod device;
pub mod folder;
mod shelter;
pub mod store;
pub(crate) mod table;
pub(crate) mod tail;
pub(crate) mod uring;

pub use folder::Disk;
pub(crate) use folder::DiskError;
pub use store::Store;
pub(crate) use table::TableError;
pub(crate) use tail::{LastRun, Moment, RunError, RunStarter, TailError, TailFile, TailKey};
