//! The machine and the sources behind a number.

use std::path::Path;

use ringmq_bench::lab::results::Machine;
use ringmq_bench::lab::truth::{commit, slug};
use serde::{Deserialize, Serialize};

/// What a reader needs to judge a number or to make it again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Host {
    /// Commit of the sources; `-dirty` if they were changed since.
    pub(crate) commit: String,
    /// Kernel release.
    pub(crate) kernel: String,
    /// Processor model and how many of them this process may use.
    pub(crate) cpu: String,
    /// Main memory, MB.
    pub(crate) memory_mb: u64,
    /// Device and file system of the stores.
    pub(crate) disk: String,
    /// First line of `java -version`.
    pub(crate) java: String,
    /// 1, 5 and 15 minutes, before the case began: other work on the machine shows here.
    pub(crate) load_average: String,
}

impl Host {
    /// Looks around; what cannot be found out is said to be unknown.
    pub(crate) fn inspect(store_dir: &Path) -> Self {
        let machine = Machine::inspect(store_dir, String::new());
        Self {
            commit: commit().unwrap_or_else(|| "unknown".to_owned()),
            kernel: machine.kernel,
            cpu: machine.cpu,
            memory_mb: machine.memory_mb,
            disk: machine.disk,
            java: machine.java,
            load_average: machine.load_average,
        }
    }

    /// For the name of a results folder: `amd-epyc-2`.
    pub(crate) fn slug(&self) -> String {
        slug(&self.cpu)
    }
}
