//! Files that grow at their end, and files that are written in pieces before they take another's place.
//!
//! Through the page cache and on the blocking thread: small writes now and then, which nobody reads again before the next start.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use bytes::Bytes;

use super::folder::{Disk, DiskError, flush_parents};
use super::{blocking, table};
use crate::files;

impl Disk {
    /// Writes `bytes` at `at`, which is the file's end; 0: it is made, or made anew, and its name is durable. With `flush`, all of it is.
    ///
    /// # Errors
    /// [`DiskError`]; what stands at and behind `at` is then unknown.
    pub(crate) async fn append(&self, path: &Path, at: u64, bytes: Bytes, flush: bool) -> Result<(), DiskError> {
        let full = self.folder().join(path);
        let written = blocking::run(move || append(&full, at, &bytes, flush));
        written.await.map_err(|source| DiskError::new("append to", path, source))
    }

    /// The same of the file that is to take the place of `path`.
    ///
    /// # Errors
    /// [`DiskError`]; `path` is as it was.
    pub(crate) async fn append_unfinished(
        &self,
        path: &Path,
        at: u64,
        bytes: Bytes,
        flush: bool,
    ) -> Result<(), DiskError> {
        self.append(&files::unfinished(path), at, bytes, flush).await
    }

    /// Ends the table that was written for it but for its last brace, and puts it in the place of `path`, durably. `at` and `crc` are of what was
    /// written; see [`table`]. The former one is kept beside it.
    ///
    /// # Errors
    /// [`DiskError`]; `path` is then the old file or the new one.
    pub(crate) async fn finish_table(&self, path: &Path, at: u64, crc: u32) -> Result<(), DiskError> {
        let full = self.folder().join(path);
        let finished = blocking::run(move || {
            let file = OpenOptions::new().write(true).open(files::unfinished(&full))?;
            file.write_all_at(table::seal(crc).as_bytes(), at)?;
            file.sync_all()?;
            table::keep_former(&full);
            files::finish(&full)?;
            flush_parents(&[&full])
        });
        finished.await.map_err(|source| DiskError::new("replace", path, source))
    }
}

fn append(path: &Path, at: u64, bytes: &[u8], flush: bool) -> io::Result<()> {
    let is_new = at == 0;
    let file = OpenOptions::new().write(true).create(is_new).truncate(is_new).open(path)?;
    file.write_all_at(bytes, at)?;
    if flush {
        file.sync_data()?;
    }
    if is_new { flush_parents(&[path]) } else { Ok(()) }
}
