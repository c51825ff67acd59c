//! What the log asks of the disk: names of files, reads, writes and errors. The log decides; a shell carries out.

use std::fmt;

use bytes::Bytes;
use thiserror::Error;

use crate::model::LogOffset;

/// A file of one shard's store. Only the log knows how names look in a folder.
///
/// | file       | path below the shard's folder        |
/// |------------|--------------------------------------|
/// | segment    | `commitlog/` and its start, 20 digits |
/// | spare      | `commitlog/spare-` and its number    |
/// | index      | `index/` and its number, 10 digits   |
/// | checkpoint | `checkpoint`                         |
/// | ends       | `queues-` and the number of the copy |
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileName {
    /// Part of the commit log; the offset is that of its first byte.
    Segment(LogOffset),
    /// A segment in waiting: made in advance, or expired and kept for reuse.
    Spare(u32),
    /// Blocks of consume queues and key runs of all topics.
    Index(u32),
    /// From where the log must be read again at a start.
    Checkpoint,
    /// Where the queues go on: one of two copies, see `ends`.
    Ends(u8),
}

/// The folders that [`FileName`] uses, below the shard's folder. The shell makes them, and lists them for recovery.
pub(crate) const FOLDERS: [&str; 2] = ["commitlog", "index"];

impl FileName {
    /// The path below the shard's folder.
    #[must_use]
    pub(crate) fn to_path(self) -> String {
        match self {
            FileName::Segment(start) => format!("commitlog/{:020}", start.0),
            FileName::Spare(number) => format!("commitlog/spare-{number}"),
            FileName::Index(number) => format!("index/{number:010}"),
            FileName::Checkpoint => "checkpoint".to_owned(),
            FileName::Ends(copy) => format!("queues-{copy}"),
        }
    }

    /// The file that has this path; `None` for a name that this module does not make.
    #[must_use]
    pub fn parse(path: &str) -> Option<FileName> {
        let name = match path.split_once('/') {
            Some(("commitlog", name)) => match name.strip_prefix("spare-") {
                Some(number) => FileName::Spare(number.parse().ok()?),
                None => FileName::Segment(LogOffset(name.parse().ok()?)),
            },
            Some(("index", name)) => FileName::Index(name.parse().ok()?),
            _ => match path.strip_prefix("queues-") {
                Some(copy) => FileName::Ends(copy.parse().ok().filter(|copy| *copy < super::ends::COPIES)?),
                None => FileName::Checkpoint,
            },
        };
        // One name has one spelling: "+5", "007" and the like are not ours.
        (name.to_path() == path).then_some(name)
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_path())
    }
}

/// Why the disk did not do what was asked.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum IoError {
    /// The file system is full, or a quota is.
    #[error("no space left on the device")]
    NoSpace,
    /// The file could not be opened, so nothing was read or written: it can be tried again.
    #[error("not opened: {}", std::io::Error::from_raw_os_error(*errno))]
    NotBegun {
        /// The system's error number.
        errno: i32,
    },
    /// Anything else.
    #[error("{}", std::io::Error::from_raw_os_error(*errno))]
    Failed {
        /// The system's error number; `EIO` (5) where there is none, as for a short write.
        errno: i32,
    },
}

impl IoError {
    /// Whether it says that the medium does not give back what was written: `EIO`, and what Linux makes of a bad sector (`ENODATA`) and of a wrong
    /// checksum (`EILSEQ`). It may come of a cable or a controller as well.
    pub(super) fn is_of_medium(self) -> bool {
        matches!(self, IoError::Failed { errno: 5 | 61 | 84 })
    }
}

/// Names one request to the disk, so that its result finds its way back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IoId(pub(super) u64);

/// A piece of a file that a read needs: at most [`crate::limits::COLD_BLOCK_BYTES`], start and length in whole disk blocks.
///
/// Its bytes never change once it was asked for, so that a block can be shared by all who ask for the same one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockId {
    /// A segment or an index file.
    pub file: FileName,
    /// Byte in the file.
    pub at: u64,
    /// Bytes; the answer must have exactly these.
    pub len: u32,
}

/// One direct write of the commit log: fill an aligned buffer with [`super::Log::copy_tail`], write it, flush if asked, then say so at
/// the broker's door, which calls [`super::Log::handle_io`].
///
/// It is also asked for when only a flush is due; then it writes the last block once more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Commit {
    /// For `handle_io`.
    pub id: IoId,
    pub(crate) segment: FileName,
    /// Byte in the file, whole disk blocks.
    pub at: u64,
    /// The log offset that lies there: where to copy from.
    pub from: LogOffset,
    /// Bytes, whole disk blocks, never 0 and at most [`crate::limits::COMMIT_BYTES_MAX`].
    pub len: usize,
    /// What must be on stable storage before it counts.
    pub flush: Flush,
}

/// What a commit makes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// Nothing: it only has to be written.
    None,
    /// Its own bytes (`O_DSYNC`): all before them are durable.
    Own,
    /// The whole file (`fdatasync` after the write): it also holds bytes that were only written.
    File,
}

/// Work beside the commit path; one piece at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Io {
    /// For [`super::Log::handle_io`].
    pub id: IoId,
    /// What to do.
    pub work: Work,
}

/// A piece of background work. Offsets and lengths are whole disk blocks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub enum Work {
    /// Write zeros over `at..at + len` of a segment to be. If the file is not there, make it and allocate all of `size` first
    /// (`fallocate`), so that a full disk shows now; a failure of that removes the file again. No flush is needed. Without zeros to write
    /// the file is only made: what was never written reads as zeros.
    Prepare {
        /// A spare, or a segment that is already in place.
        file: FileName,
        /// Byte in the file.
        at: u64,
        /// Bytes of zeros, maybe none.
        len: u64,
        /// Size of the whole file.
        size: u64,
    },
    /// Flush `from` itself (`fsync`), rename it, flush the folder.
    Rename {
        /// Old name.
        from: FileName,
        /// New name, not in use.
        to: FileName,
    },
    /// Remove the file and flush the folder. A file that is not there is a success.
    Remove { file: FileName },
    /// Write an index file, which is made if it is not there; with `flush`, its bytes and its name are durable before the result.
    Write {
        file: FileName,
        /// Byte in the file.
        at: u64,
        data: Bytes,
        /// See above.
        flush: bool,
    },
    /// Write over disk blocks of a segment that hold what is damaged; `before` is what they hold, and is to be kept aside first, if it is not empty. `data` is
    /// durable before the result. A failure, of either, is no failure of the log.
    Mend {
        file: FileName,
        /// Byte in the file.
        at: u64,
        data: Bytes,
        /// As long as `data`, with zeros for what cannot be read; empty if nothing can.
        before: Bytes,
    },
    /// Put `data` in the place of the file, all or nothing: write beside it, flush, rename over it, flush the folder.
    Replace {
        file: FileName,
        /// The whole content, whole disk blocks.
        data: Bytes,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_one_path_and_each_path_one_file() {
        for (name, path) in [
            (FileName::Segment(LogOffset(1 << 30)), "commitlog/00000000001073741824"),
            (FileName::Segment(LogOffset(u64::MAX)), "commitlog/18446744073709551615"),
            (FileName::Spare(7), "commitlog/spare-7"),
            (FileName::Index(12), "index/0000000012"),
            (FileName::Checkpoint, "checkpoint"),
            (FileName::Ends(1), "queues-1"),
        ] {
            assert_eq!(name.to_path(), path);
            assert_eq!(FileName::parse(path), Some(name));
        }
        for foreign in [
            "queues-2",
            "queues-01",
            "commitlog/1073741824",
            "commitlog/spare-07",
            "commitlog/",
            "index/+000000001",
            "lock",
            "a/b",
            "",
        ] {
            assert_eq!(FileName::parse(foreign), None, "{foreign}");
        }
    }
}
