//! Small files that say what cannot be derived: a shard's tables, its epochs and its `run`. Each says whether it is as it was written.
//!
//! A table is JSON as RocketMQ has it, with one field more, its last: `"crc32":"0a1b2c3d"`, the CRC-32 of all bytes before the comma in front of
//! it. A text, which ends with a line, has it as one more, `crc32 0a1b2c3d`, of all bytes before that line. So content and proof are one file
//! and replaced as one.
//! A file without it is taken as it is: it is an older one, RocketMQ's, or an operator has edited it and taken the field out to say so.
//!
//! As with RocketMQ, the file that was replaced last is kept beside the new one, with `.bak` at its name.

use std::fs;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use thiserror::Error;

use super::folder::{DiskError, flush_parents};
use crate::files;

/// What a disk writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;

/// Why a file is not taken. Each says what to do.
#[derive(Debug, Error)]
pub enum TableError {
    /// The disk does not give it.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// It is not as it was written.
    #[error(
        "{path} is damaged, or was edited: its crc32 is not that of its content; nothing was changed; {restore}, or, if it is as you want it, remove its {field}{changes}"
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// What can be put in its place.
        restore: String,
        /// Where its crc32 stands.
        field: &'static str,
        /// What else is taken.
        changes: &'static str,
    },
    /// It was there when the last run began, or its former version is.
    #[error(
        "{path} is missing: nothing was changed; {restore}, or make it with {empty} to begin without what it said{changes}"
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// What can be put in its place.
        restore: String,
        /// What stands for nothing.
        empty: &'static str,
        /// What else is taken.
        changes: &'static str,
    },
}

/// Reads a table or text, without its line with a CRC; `None` if there is none. `must_exist`: it is known to have been there. Blocks.
///
/// # Errors
/// [`TableError`].
pub(crate) fn read(path: &Path, must_exist: bool) -> Result<Option<Vec<u8>>, TableError> {
    let is_json = path.extension().is_some_and(|extension| extension == "json");
    match files::read(path) {
        Ok(Some(mut bytes)) => {
            let Ok(len) = unsealed(&bytes).map(<[u8]>::len) else {
                let field = if is_json { "last field `crc32`" } else { "line `crc32`" };
                let (path, restore, changes) = (path.to_owned(), restore(path), beside(path));
                return Err(TableError::Changed { path, restore, field, changes });
            };
            bytes.truncate(len);
            Ok(Some(bytes))
        }
        Ok(None) if must_exist || former(path).exists() => {
            let empty = if is_json { "`{}` in it" } else { "nothing in it" };
            let (path, restore, changes) = (path.to_owned(), restore(path), beside(path));
            Err(TableError::Missing { path, restore, empty, changes })
        }
        Ok(None) => Ok(None),
        Err(source) => Err(DiskError { operation: "read", path: path.to_owned(), source }.into()),
    }
}

/// Whether changes lie beside the table: they count, whatever is put in its place.
fn beside(path: &Path) -> &'static str {
    let is_table = path.extension().is_some_and(|extension| extension == "json");
    let entries = path.parent().and_then(|folder| fs::read_dir(folder).ok()).into_iter().flatten().flatten();
    let has_changes = entries.into_iter().any(|entry| entry.file_name().as_encoded_bytes().starts_with(b"changes-"));
    if is_table && has_changes {
        "; the files `changes-NUMBER` beside it say what has changed since it was written, and are taken over it: make them, and `changes`, empty if they are not to count"
    } else {
        ""
    }
}

/// What an operator can put in the place of a file.
fn restore(path: &Path) -> String {
    let former = former(path);
    let is_sound = files::read(&former)
        .is_ok_and(|bytes| bytes.is_some_and(|bytes| !bytes.is_empty() && unsealed(&bytes).is_ok()));
    if is_sound {
        format!("copy {} to it, which is sound and the one before it", former.display())
    } else {
        "restore it from a backup or from a slave".to_owned()
    }
}

/// Whether a table that was read has its CRC: one without is an older version's, or an operator's.
pub(crate) fn is_sealed(table: &[u8]) -> bool {
    let sealed = table.trim_ascii_end().strip_suffix(JSON_END.as_bytes());
    sealed
        .and_then(|sealed| sealed.get(..sealed.len().checked_sub(DIGITS)?))
        .is_some_and(|sealed| sealed.ends_with(JSON_BEGIN.as_bytes()))
}

/// The first step of a replacement: content and CRC beside the old file, flushed. Blocks.
pub(super) fn write_unfinished(path: &Path, content: &[u8]) -> io::Result<()> {
    let (content, seal) = sealed(content);
    files::write_unfinished(path, &[content, seal.as_bytes()])
}

/// Gives the file that is about to be replaced its second name. A file system without such names keeps no former version.
pub(super) fn keep_former(path: &Path) {
    if path.exists() {
        let former = former(path);
        drop(fs::remove_file(&former));
        drop(fs::hard_link(path, &former));
    }
}

fn former(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".bak");
    PathBuf::from(name)
}

/// A text with its CRC.
pub(crate) fn sealed_text(text: &str) -> String {
    let (content, seal) = sealed(text.as_bytes());
    debug_assert_eq!(content.len(), text.len(), "a text is no JSON");
    format!("{text}{seal}")
}

/// The same with empty lines at its end, up to a sector if it fits one.
pub(super) fn sector_text(text: &str) -> String {
    let text = sealed_text(text);
    format!("{text:\n<SECTOR_BYTES$}")
}

/// Puts a text with its CRC in the place of a file that may be there, durably. `in_place`: if that is one sector, and fits it, it is written over and
/// not flushed, so that a loss of power leaves the one before or this one. Blocks.
pub(super) fn renew(path: &Path, text: &str, in_place: bool) -> io::Result<()> {
    let text = sector_text(text);
    let is_sector = |bytes: u64| bytes == SECTOR_BYTES as u64;
    if in_place && is_sector(text.len() as u64) {
        let file = fs::OpenOptions::new().write(true).open(path)?;
        if is_sector(file.metadata()?.len()) {
            return file.write_all_at(text.as_bytes(), 0);
        }
    }
    files::write_unfinished(path, &[text.as_bytes()])?;
    keep_former(path);
    files::finish(path)?;
    flush_parents(&[path])
}

/// What of the content is written, and what behind it.
fn sealed(content: &[u8]) -> (&[u8], String) {
    match content.strip_suffix(b"}") {
        Some(open) => {
            let seal = seal(crc32fast::hash(open));
            let comma = usize::from(open.ends_with(b"{"));
            (open, seal.split_at(comma).1.to_owned())
        }
        None => (content, format!("{TEXT_BEGIN}{:08x}\n", crc32fast::hash(content))),
    }
}

/// What ends a table with fields, from its last field on, when `crc` is that of all bytes before.
pub(super) fn seal(crc: u32) -> String {
    format!(",{JSON_BEGIN}{crc:08x}{JSON_END}")
}

const JSON_BEGIN: &str = "\"crc32\":\"";
const JSON_END: &str = "\"}";
const TEXT_BEGIN: &str = "crc32 ";
const DIGITS: usize = 8;

/// The content is not that of the CRC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotAsWritten;

/// What a file says: a table with its CRC, which is a field as others are, a text up to it. What follows is what an older, longer text has left.
pub(super) fn unsealed(bytes: &[u8]) -> Result<&[u8], NotAsWritten> {
    let trimmed = bytes.trim_ascii_end();
    let sealed = trimmed.strip_suffix(JSON_END.as_bytes()).and_then(|sealed| {
        let (sealed, crc) = sealed.split_at_checked(sealed.len().checked_sub(DIGITS)?)?;
        let content = sealed.strip_suffix(JSON_BEGIN.as_bytes())?;
        Some((bytes, content.strip_suffix(b",").unwrap_or(content), crc))
    });
    let sealed = sealed.or_else(|| {
        let lines = bytes.split_inclusive(|byte| *byte == b'\n');
        let mut at = 0;
        for line in lines {
            if let Some(crc) = line.strip_prefix(TEXT_BEGIN.as_bytes()) {
                let content = bytes.get(..at)?;
                return Some((content, content, crc.trim_ascii_end()));
            }
            at += line.len();
        }
        None
    });
    let Some((whole, content, crc)) = sealed else {
        // The end of the line before it may be what has changed.
        let is_text = !trimmed.ends_with(b"}");
        let has_crc = bytes.windows(TEXT_BEGIN.len()).any(|some| some == TEXT_BEGIN.as_bytes());
        return if is_text && has_crc { Err(NotAsWritten) } else { Ok(bytes) };
    };
    let is_sound = crc == format!("{:08x}", crc32fast::hash(content)).as_bytes();
    if is_sound { Ok(whole) } else { Err(NotAsWritten) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(content: &[u8]) -> Vec<u8> {
        let (content, seal) = sealed(content);
        [content, seal.as_bytes()].concat()
    }

    #[test]
    fn a_changed_bit_is_noticed_unless_it_makes_the_proof_no_proof() {
        for content in [r#"{"dataVersion":{"counter":3},"offsetTable":{"T@g":{0:801,1:7}}}"#, "{}", "log a\n1 0 b\n"] {
            let bytes = whole(content.as_bytes());
            let read = unsealed(&bytes).expect("sound");
            assert!(read == content.as_bytes() || read == bytes, "{content}");
            let (seal_at, mut noticed) = (sealed(content.as_bytes()).0.len(), 0);
            for (at, bit) in (0..bytes.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
                let mut bad = bytes.clone();
                bad[at] ^= 1 << bit;
                match unsealed(&bad) {
                    Err(NotAsWritten) => noticed += 1,
                    Ok(_) => assert!(at >= seal_at, "bit {bit} of byte {at} of {content}"),
                }
            }
            assert!(noticed >= 8 * seal_at);
        }
        assert_eq!(whole(b"{}"), br#"{"crc32":"15d54739"}"#);
        assert_eq!(unsealed(b"{\"a\":1}\n"), Ok(&b"{\"a\":1}\n"[..]));
        assert_eq!(unsealed(&[&whole(b"a=1\n")[..], b"left over"].concat()), Ok(&b"a=1\n"[..]));
        assert_eq!(unsealed(b""), Ok(&b""[..]));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes files")]
    fn a_note_is_one_sector_that_is_written_over_where_it_fits() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("changes");
        let check = |text: &str, in_place: bool, len: usize, has_former: bool| {
            renew(&path, text, in_place).expect("written");
            assert_eq!(read(&path, true).expect("sound").as_deref(), Some(text.as_bytes()));
            assert_eq!((fs::read(&path).expect("bytes").len(), former(&path).exists()), (len, has_former));
        };
        check("first 1\nnext 1\n", false, SECTOR_BYTES, false);
        check("first 1\nnext 2\nflushed 1 50\n", true, SECTOR_BYTES, false);
        check("first 1\nnext 3\n", true, SECTOR_BYTES, false);
        check(&"flushed 1 50\n".repeat(50), true, 665, true);
        check("first 1\nnext 3\n", true, SECTOR_BYTES, true);
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a test makes files")]
    fn what_is_missing_or_changed_is_named_with_what_fits_in_its_place() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("topics.json");
        let replace = |content: &[u8]| {
            write_unfinished(&path, content).expect("written");
            keep_former(&path);
            files::finish(&path).expect("in place");
        };
        assert_eq!(read(&path, false).expect("there is none"), None);
        let missing = read(&path, true).expect_err("it was there").to_string();
        assert!(missing.contains("topics.json is missing") && missing.contains("from a backup"), "{missing}");
        replace(b"{\"a\":1}");
        replace(b"{\"a\":2}");
        assert_eq!(read(&path, true).expect("sound"), Some(whole(b"{\"a\":2}")));
        fs::write(&path, fs::read_to_string(&path).expect("text").replace(":2", ":3")).expect("written");
        let changed = read(&path, true).expect_err("changed").to_string();
        assert!(changed.contains("topics.json.bak to it") && changed.contains("last field `crc32`"), "{changed}");
        fs::write(former(&path), fs::read(&path).expect("bytes")).expect("written");
        let changed = read(&path, true).expect_err("changed").to_string();
        assert!(changed.contains("from a backup"), "the former one is damaged as well: {changed}");
        fs::write(&path, "{\"a\":3}").expect("written");
        assert_eq!(read(&path, true).expect("edited on purpose").as_deref(), Some(&b"{\"a\":3}"[..]));
        fs::remove_file(&path).expect("removed");
        assert!(matches!(read(&path, false), Err(TableError::Missing { .. })), "its former version is there");
    }
}
