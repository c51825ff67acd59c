//! What is on disk, and what it means after a crash.
//!
//! [`Log`] is the commit log of one shard with all that is derived from it, as a machine without clock, file or thread: it says what to
//! write and read, a shell does it and says how it went. [`Recovery`] makes one from the files that are found.

mod background;
mod branch;
mod cache;
mod checkpoint;
mod clock;
mod commit_log;
mod consume_queue;
mod crowd;
mod damage;
mod derive;
mod ends;
mod file;
mod index_file;
mod key_index;
mod mend;
mod proof;
mod read;
mod recovery;
mod remembered;
mod replicated;
mod scrub;
mod segment;
mod settings;
mod stream;
mod tail;
mod walk;

pub(crate) use background::DiskUsage;
pub use commit_log::Log;
pub(crate) use commit_log::{AppendError, Appended, QueueBounds};
pub(crate) use consume_queue::QueueIndex;
pub(crate) use file::{BlockId, Commit, FOLDERS, FileName, IoError, IoId, Work};
pub use file::{Flush, Io};
#[cfg(test)]
pub(crate) use mend::tests::World as MendWorld;
pub(crate) use mend::{Piece, PieceTaken, PieceWanted};
pub(crate) use proof::{Compared, FoundRecord};
pub use read::Read;
pub(crate) use read::{Coded, KeySearch, ReadLimits, RecordRead, Search, StoreTime};
pub(crate) use recovery::{FoundFile, FoundStore, Recovery, RecoveryError, Step};
pub(crate) use replicated::{BeginError, ReplicaError};
pub(crate) use settings::Retention;
pub use settings::{FlushPolicy, LogSettings};
pub use stream::Stream;
pub use tail::HeapTail;
pub(crate) use tail::TailMemory;
