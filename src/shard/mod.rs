//! One pinned executor a core, alone with its queues.

pub mod cpus;
mod event;
pub mod memlock;
pub mod runtime;
pub mod watch;
