//! Small files that are replaced whole, and the folders they lie in: what the shells share. All of it blocks.
//!
//! After a crash such a file has its old or its new content, and what was said to be done is there after a power loss, the names of the folders
//! above included.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// Ending of a file that is to replace another and may be a crash's left-over.
pub(crate) const UNFINISHED: &str = ".new";

/// The file's bytes; none if it does not exist.
///
/// # Errors
/// Whatever the file system says, other than that it is missing.
#[expect(clippy::disallowed_methods, reason = "a shell's: files are read here")]
pub(crate) fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Makes what a file says durable: the process that wrote it may have been killed before it did.
///
/// # Errors
/// Whatever the file system says.
#[expect(clippy::disallowed_methods, reason = "a shell's: files are flushed here")]
pub(crate) fn flush(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Writes beside, flushes, renames, flushes the folder. Who may read the file stays as it was.
///
/// # Errors
/// Whatever the file system says, also that the folder is missing; the old file is then still whole.
pub(crate) fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    write_unfinished(path, &[content])?;
    finish(path)?;
    flush_folder(folder_of(path))
}

/// [`replace`] of a file whose folder may not be there yet.
///
/// # Errors
/// As of [`make_folder`] and [`replace`].
pub(crate) fn make(path: &Path, content: &[u8]) -> io::Result<()> {
    make_folder(folder_of(path))?;
    replace(path, content)
}

/// The first step of [`replace`]: the new content, in pieces, beside the old one and flushed.
///
/// # Errors
/// Whatever the file system says.
#[expect(clippy::disallowed_methods, reason = "a shell's: files are written here")]
pub(crate) fn write_unfinished(path: &Path, pieces: &[&[u8]]) -> io::Result<()> {
    let mut file = File::create(unfinished(path))?;
    if let Ok(old) = fs::metadata(path) {
        file.set_permissions(old.permissions())?;
    }
    for piece in pieces {
        file.write_all(piece)?;
    }
    file.sync_all()
}

/// The second step: the new content has the name. It is durable when the folder is flushed.
///
/// # Errors
/// Whatever the file system says.
pub(crate) fn finish(path: &Path) -> io::Result<()> {
    fs::rename(unfinished(path), path)
}

/// The name of the file that is to take the place of this one.
pub(crate) fn unfinished(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(UNFINISHED);
    PathBuf::from(name)
}

fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Makes the names in `folder` durable: creations, renames and removals are on disk when this returns.
///
/// # Errors
/// What the kernel says.
#[expect(clippy::disallowed_methods, reason = "a shell's: directories are flushed here")]
pub(crate) fn flush_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Makes a folder, and those above it that are missing. Its name is durable when this returns, also if it was there: the process that made it
/// may have been killed before it flushed the name.
///
/// # Errors
/// What the kernel says.
#[expect(clippy::disallowed_methods, reason = "a shell's: folders are made here")]
pub(crate) fn make_folder(path: &Path) -> io::Result<()> {
    if path.parent().is_none() {
        return Ok(());
    }
    let above = folder_of(path);
    if !path.is_dir() {
        make_folder(above)?;
        fs::create_dir_all(path)?;
    }
    match flush_folder(above) {
        // Who may not read the folder above has its names flushed with the whole file system.
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(rustix::fs::syncfs(File::open(path)?)?),
        flushed => flushed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_file_is_replaced_whole_in_a_folder_that_is_made_and_keeps_its_readers() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("some/where/file");
        assert_eq!(read(&path).expect("there is none"), None);
        assert!(replace(&path, b"one").is_err(), "a folder is not made by the way");
        make(&path, b"one").expect("made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).expect("ours");
        replace(&path, b"another").expect("replaced");
        assert_eq!(read(&path).expect("readable").as_deref(), Some(&b"another"[..]));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o640);
        assert_eq!(
            fs::read_dir(folder.path().join("some/where")).expect("a folder").count(),
            1,
            "nothing is left beside"
        );
    }
}
