//! A small file that is replaced whole, so that a crash leaves the old or the new one: the name server's key-value configuration, the node's
//! settings.

use std::ffi::OsString;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The file's bytes; none if it does not exist.
///
/// # Errors
/// Whatever the file system says, other than that it is missing.
#[expect(clippy::disallowed_methods, reason = "the control plane is a shell, and reads this once at the start")]
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes beside, flushes, renames, flushes the folder. The folder is created if it is missing; who may read the file stays as it was.
///
/// # Errors
/// Whatever the file system says; the old file is then still whole.
#[expect(clippy::disallowed_methods, reason = "the control plane is a shell; a few kilobytes, a few times a day")]
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        _ => PathBuf::from("."),
    };
    std::fs::create_dir_all(&folder)?;
    let mut beside = OsString::from(path);
    beside.push(".new");
    let mut file = std::fs::File::create(&beside)?;
    if let Ok(old) = std::fs::metadata(path) {
        file.set_permissions(old.permissions())?;
    }
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&beside, path)?;
    std::fs::File::open(&folder)?.sync_all()
}
