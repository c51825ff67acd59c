//! Whether what lies in the folder of the tails outlives this process, and fits: looked at before it is promised.

use std::fs;
use std::path::Path;

use rustix::fs::statfs;
use thiserror::Error;

/// `f_type` of file systems that are memory. Source: statfs(2).
const TMPFS: u64 = 0x0102_1994;
const RAMFS: u64 = 0x8584_58f6;
/// Where a container has a shared memory of its own.
const DEFAULT_FOLDER: &str = "/dev/shm";

/// Why tails in a folder cannot be promised to survive.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// It cannot be looked at.
    #[error("{0}")]
    Unknown(String),
    /// A disk, or a network: the kernel would write each page of it, again and again.
    #[error("it is on a file system of type {file_system:#x}, which is no tmpfs")]
    NoMemory {
        /// As statfs(2) says.
        file_system: u64,
    },
    /// Some shards would have a tail and others none.
    #[error("it has {free_bytes} bytes free, and the tails of all shards need {needed_bytes} more")]
    NoRoom {
        free_bytes: u64,
        /// What is needed beside the tails that are there.
        needed_bytes: u64,
    },
    /// This process is the first one of a container, and the memory is the container's.
    #[error(
        "this process is the first of its container, whose {DEFAULT_FOLDER} ends with it; mount a tmpfs of the machine and set tailPath to it"
    )]
    EndsWithProcess,
}

/// Looks at `folder`, in which `tails` tails of `tail_bytes` each are wanted, of which the files with `prefix` are already there.
///
/// What cannot be told from here: whether somebody clears the folder, as systemd's `RemoveIPC` does when a user's last session ends.
pub(super) fn check(folder: &Path, prefix: &str, tails: u16, tail_bytes: u64) -> Result<(), Unfit> {
    let stat = statfs(folder).map_err(|error| Unfit::Unknown(std::io::Error::from(error).to_string()))?;
    let file_system = u64::try_from(stat.f_type).unwrap_or_default();
    if ![TMPFS, RAMFS].contains(&file_system) {
        return Err(Unfit::NoMemory { file_system });
    }
    if std::process::id() == 1 && folder == Path::new(DEFAULT_FOLDER) {
        return Err(Unfit::EndsWithProcess);
    }
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let ours = entries.filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix));
    let there: u64 = ours.filter_map(|entry| Some(entry.metadata().ok()?.len())).sum();
    let needed_bytes = (u64::from(tails) * tail_bytes).saturating_sub(there);
    let free_bytes = stat.f_bavail.saturating_mul(u64::try_from(stat.f_bsize).unwrap_or(4096));
    // A tmpfs without a limit says that it has no blocks at all.
    if stat.f_blocks > 0 && free_bytes < needed_bytes {
        return Err(Unfit::NoRoom { free_bytes, needed_bytes });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes a file")]
    fn only_memory_with_room_for_all_is_fit() {
        let Ok(memory) = tempfile::tempdir_in(DEFAULT_FOLDER) else { return };
        assert_eq!(check(memory.path(), "x-", 2, 4096), Ok(()));
        let huge = check(memory.path(), "x-", 2, 1 << 60);
        assert!(matches!(huge, Err(Unfit::NoRoom { needed_bytes, .. }) if needed_bytes == 2 << 60), "{huge:?}");
        fs::File::create(memory.path().join("x-1")).and_then(|file| file.set_len(1 << 60)).expect("a sparse file");
        let half = check(memory.path(), "x-", 2, 1 << 60);
        assert!(matches!(half, Err(Unfit::NoRoom { needed_bytes, .. }) if needed_bytes == 1 << 60), "{half:?}");
        assert!(matches!(check(&memory.path().join("gone"), "x-", 2, 1), Err(Unfit::Unknown(_))));
    }

    #[test]
    fn a_disk_is_not_memory() {
        let binary = std::env::current_exe().expect("this test's binary");
        let found = check(binary.parent().expect("its folder"), "x-", 1, 1);
        assert!(matches!(found, Err(Unfit::NoMemory { .. })), "{found:?}");
    }
}
