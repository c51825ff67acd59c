//! Tails in a folder of a test's own, so that it can take them away as a loss of power does.
use std::fs;
use std::path::Path;

use tempfile::TempDir;

/// Where a node's tails lie: on tmpfs where there is one, as by default.
#[derive(Debug)]
pub struct TailFolder(TempDir);

impl TailFolder {
    /// An empty one.
    pub fn create() -> Self {
        let folder = TempDir::with_prefix_in("ringmq-tails-", "/dev/shm");
        Self(folder.or_else(|_| TempDir::with_prefix("ringmq-tails-")).expect("a folder"))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// The line of a configuration that puts tails there.
    pub fn setting(&self) -> (&'static str, String) {
        ("tailPath", self.path().display().to_string())
    }

    /// Removes all tails. Nobody may use them.
    pub fn lose(&self) {
        for entry in fs::read_dir(self.path()).expect("the folder is ours") {
            fs::remove_file(entry.expect("an entry").path()).expect("the file is ours");
        }
    }
}

/// Segments of 2 MiB, the smallest that hold two messages of the largest size, and the smallest tail: so that a test sees many rolls.
pub fn small_log() -> Vec<(&'static str, String)> {
    let small = [("mappedFileSizeCommitLog", "2097152"), ("maxMessageSize", "1048576"), ("tailSize", "8388608")];
    small.map(|(key, value)| (key, value.to_owned())).to_vec()
}
