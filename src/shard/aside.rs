//! Puts aside what is about to be cut off: a copy of it, and of the epochs that tell whose bytes it was. And what is damaged, before it is mended.
//!
//! ```text
//! shard-N/aside/2026-11-29T09-50-12Z-from-81920/
//!   commitlog/00000000000000000000   the segments that hold it; holes where the log keeps what they had
//!   config/                          topics, groups, positions, and the epochs
//!   queues-0 queues-1
//! shard-N/aside/damaged-00000000000000081920   disk blocks that were mended, and where in the log they lie; zeros where they could not be read
//! ```
//!
//! Nothing here is read again, and nothing is removed: that is the operator's.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use super::open::open_log;
use super::runtime::Runtime;
use super::start::{ShardSettings, StartError};
use crate::disk::{Disk, DiskError, blocking};
use crate::files;
use crate::log::FileName;
use crate::model::{LogOffset, UnixMs};

/// Where disk blocks are kept that are to be mended: below the shard's folder.
pub(super) fn damaged_path(file: FileName, at: u64) -> PathBuf {
    let start = if let FileName::Segment(start) = file { start } else { LogOffset(0) };
    Path::new("aside").join(format!("damaged-{:020}", start.plus(at).0))
}

/// Copies what the log holds from `at` on, its tail included. Nobody else may have the log open.
///
/// # Errors
/// [`StartError`] if it cannot be copied: then nothing may be cut.
pub(super) async fn keep(
    settings: &ShardSettings,
    disk: &Disk,
    runtime: &Runtime,
    at: LogOffset,
) -> Result<(), StartError> {
    // Recovery brings what only the tail has into the segments.
    let log = open_log(settings, disk, None).await?.log;
    let (from, end) = (at.max(log.start()), log.appended());
    drop(log);
    if from >= end {
        return Ok(());
    }
    let folder = settings.store.shard_folder(settings.shard);
    let segment_bytes = settings.broker.log.segment_bytes;
    let (all, source) = (folder.join("aside"), folder.clone());
    let name = format!("{}-from-{from}", date_text(runtime.watch.now().unix));
    let copied = blocking::run(move || copy(&source, &name, from, end, segment_bytes)).await;
    let aside = copied.map_err(|source| DiskError { operation: "copy what is to be cut off to", path: all, source })?;
    let bytes = end.since(from);
    tracing::warn!(shard = %settings.shard, %from, %end, bytes, folder = %aside.display(), "what is cut off was copied; remove the folder when nobody needs it");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the shard's shell: files are copied here, on a thread of its own")]
fn copy(folder: &Path, name: &str, from: LogOffset, end: LogOffset, segment_bytes: u64) -> io::Result<PathBuf> {
    let all = folder.join("aside");
    // Within one second there may be a second one.
    let names = (2..).map(|number| format!("{name}-{number}"));
    let mut places = std::iter::once(name.to_owned()).chain(names).map(|name| all.join(name));
    let aside = places.find(|place| !place.exists()).expect("there is always a further number");
    let mut start = LogOffset(from.0 - from.0 % segment_bytes);
    while start < end {
        let name = FileName::Segment(start).to_path();
        let (source, copy) = (folder.join(&name), aside.join(&name));
        fs::create_dir_all(copy.parent().unwrap_or(&aside))?;
        let (mut source, mut copied) = (fs::File::open(source)?, fs::File::create_new(&copy)?);
        copied.set_len(source.metadata()?.len())?;
        let first = source.seek(SeekFrom::Start(from.max(start).since(start)))?;
        copied.seek(SeekFrom::Start(first))?;
        let bytes = end.since(start).min(segment_bytes).saturating_sub(first);
        io::copy(&mut source.take(bytes), &mut copied)?;
        copied.sync_all()?;
        files::flush_folder(copy.parent().unwrap_or(&aside))?;
        start = start.plus(segment_bytes);
    }
    // With the epochs: topics, groups and positions, and where queues go on. The next master's take their places.
    let config = aside.join("config");
    fs::create_dir_all(&config)?;
    let entries = fs::read_dir(folder.join("config"))?.collect::<io::Result<Vec<_>>>()?;
    let tables = entries.into_iter().map(|entry| Path::new("config").join(entry.file_name()));
    let ends = ["queues-0", "queues-1"].map(PathBuf::from);
    for path in tables.chain(ends).filter(|path| folder.join(path).is_file()) {
        let copy = aside.join(&path);
        fs::copy(folder.join(&path), &copy)?;
        fs::File::open(copy)?.sync_all()?;
    }
    for place in [config.as_path(), &aside, &all, folder] {
        files::flush_folder(place)?;
    }
    Ok(aside)
}

/// A moment as the name of a folder: `2026-11-29T09-50-12Z`.
fn date_text(at: UnixMs) -> String {
    let seconds = at.0.max(0) / 1000;
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Days since 0000-03-01, by eras of 400 years: a year that begins in March has its leap day at its end.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}-{minute:02}-{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_the_date() {
        let check = |seconds: i64, expected| assert_eq!(date_text(UnixMs(seconds * 1000 + 999)), expected);
        check(0, "1970-01-01T00-00-00Z");
        check(951_782_400, "2000-02-29T00-00-00Z");
        check(1_709_251_199, "2024-02-29T23-59-59Z");
        check(1_767_225_600, "2026-01-01T00-00-00Z");
    }
}
