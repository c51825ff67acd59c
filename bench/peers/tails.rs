//! What killed nodes of tests and benches leave in shared memory, which no node takes away.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// `tailPath` where no configuration says otherwise.
const FOLDER: &str = "/dev/shm";
/// Bytes in which a tail says where its store is.
const HEAD_BYTES: usize = 4096;

/// Removes tails that nobody uses, of stores below `folder` that are gone.
pub fn remove_tails_below(folder: &Path) {
    for path in fs::read_dir(FOLDER).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if is_left_over(&path, folder).unwrap_or(false) {
            // Another test may have been faster.
            drop(fs::remove_file(&path));
        }
    }
}

fn is_left_over(path: &Path, folder: &Path) -> Option<bool> {
    let name = path.file_name()?.to_str()?;
    if !name.starts_with("ringmq-") || !name.ends_with(".tail") {
        return None;
    }
    let file = File::open(path).ok()?;
    let mut head = [0; HEAD_BYTES];
    std::os::unix::fs::FileExt::read_exact_at(&file, &mut head, 0).ok()?;
    // The head ends with the path and zeros.
    let start = head.windows(folder.as_os_str().len()).position(|bytes| bytes == folder.as_os_str().as_bytes())?;
    let end = head.iter().rposition(|byte| *byte != 0)? + 1;
    let store = Path::new(std::ffi::OsStr::from_bytes(head.get(start..end)?));
    Some(!store.exists() && file.try_lock().is_ok())
}
