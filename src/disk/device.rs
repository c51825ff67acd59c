//! Makes glommio see the disk as it is, and checks that it does.
//!
//! glommio 0.9 asks, on the first open of a thread on a device, whether the device can be polled: it reads 512 bytes through a
//! polling ring. If that first file is empty or only preallocated, the file system answers without touching the device, and
//! glommio concludes "polled". From then on every read of that device fails with EOPNOTSUPP and the reactor spins. Therefore each
//! executor first opens a file that is *written and flushed*, and then proves on a fresh preallocated file, as segments are,
//! that a block comes back.

use std::fs;
use std::io;
use std::path::Path;

use glommio::io::{DmaFile, OpenOptions};

use super::folder::{DiskError, failed};
use crate::files;
use crate::limits::DISK_BLOCK_BYTES;

const PRIME: &str = "prime";
const CHECK: &str = "check";

/// Primes this executor for the device that `folder` lies on, then checks it. First thing in each executor, before any other open.
///
/// # Errors
/// [`DiskError`] if the folder does not take direct I/O, or gives back other bytes than were written.
pub(crate) async fn prepare_device(folder: &Path) -> Result<(), DiskError> {
    prime(folder).await?;
    match check(folder).await {
        Err(error) if error.is_no_space() => {
            tracing::warn!(%error, "no room to check that blocks come back: the disk is full");
            // What was allocated would keep it full.
            drop(fs::remove_file(folder.join(CHECK)));
            Ok(())
        }
        checked => checked,
    }
}

/// Opens a written and flushed block, so that glommio's probe meets the device. Blocks: only for the start of an executor.
///
/// The block of the last start will do: a node must start on a full disk, to be read and to make room.
#[expect(clippy::disallowed_methods, reason = "disk is a shell: the file is looked at before any executor serves")]
async fn prime(folder: &Path) -> Result<(), DiskError> {
    let path = folder.join(PRIME);
    if fs::read(&path).ok().as_deref() != Some(&pattern()[..]) {
        files::replace(&path, &pattern()).map_err(|source| DiskError::new("write", &path, source))?;
    }
    let file = DmaFile::open(&path).await.map_err(|error| failed("open", &path, &error))?;
    file.close().await.map_err(|error| failed("close", &path, &error))?;
    Ok(())
}

/// Writes one block in the middle of a preallocated file and reads it back.
async fn check(folder: &Path) -> Result<(), DiskError> {
    let path = folder.join(CHECK);
    let fail = |what, error: &glommio::GlommioError<()>| failed(what, &path, error);
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create(true).truncate(true);
    let file = options.dma_open(&path).await.map_err(|error| fail("create", &error))?;
    let (at, bytes) = (DISK_BLOCK_BYTES as u64, 4 * DISK_BLOCK_BYTES as u64);
    file.pre_allocate(bytes, false).await.map_err(|error| fail("allocate", &error))?;
    let mut block = file.alloc_dma_buffer(DISK_BLOCK_BYTES);
    block.as_bytes_mut().copy_from_slice(&pattern());
    let written = file.write_at(block, at).await.map_err(|error| fail("write", &error))?;
    file.fdatasync().await.map_err(|error| fail("flush", &error))?;
    let read = file.read_at_aligned(at, DISK_BLOCK_BYTES).await.map_err(|error| fail("read back", &error))?;
    let same = written == DISK_BLOCK_BYTES && *read == pattern()[..];
    drop(read);
    file.close().await.map_err(|error| fail("close", &error))?;
    fs::remove_file(&path).map_err(|source| DiskError::new("remove", &path, source))?;
    if same {
        Ok(())
    } else {
        Err(DiskError::new("read back", &path, io::Error::other("the block read differs from the block written")))
    }
}

fn pattern() -> Vec<u8> {
    (0..DISK_BLOCK_BYTES).map(|at| u8::try_from(at % 251).expect("below 251")).collect()
}
