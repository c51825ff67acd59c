//! The tables of a shard and their files: read at a start, appended to and written anew while the shard serves, whole at its end.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;

use super::pump::Shard;
use super::start::StartError;
use super::work::io_error;
use crate::broker::Broker;
use crate::broker::persist::{Append, FoundChanges, Table};
use crate::broker::snapshot::SnapshotWork;
use crate::disk::folder::{FileOnDisk, list_files};
use crate::disk::{Disk, DiskError, blocking};
use crate::files;
use crate::protocol::body::{
    BodyError, ConsumerOffsets, DelayOffsets, GroupTable, StoredTables, TopicTable, decode_changes,
};

/// Folder of the tables, below the shard's.
pub(super) const FOLDER: &str = "config";

/// What the names of files of changes begin with; a number follows.
const CHANGES: &str = "changes-";

/// The path of a table below the shard's folder.
pub(super) fn table_path(table: Table) -> PathBuf {
    Path::new(FOLDER).join(table.file_name())
}

fn changes_path(number: u64) -> PathBuf {
    Path::new(FOLDER).join(format!("{CHANGES}{number}"))
}

/// Numbers of the files of changes of a shard, in order. Blocks.
fn list_changes(folder: &Path) -> Result<Vec<u64>, DiskError> {
    let failed = |source| DiskError { operation: "list", path: folder.join(FOLDER), source };
    let files = list_files(&folder.join(FOLDER)).map_err(failed)?;
    let number = |file: FileOnDisk| file.path.to_str()?.strip_prefix(CHANGES)?.parse().ok();
    let mut numbers: Vec<u64> = files.into_iter().filter_map(number).collect();
    numbers.sort_unstable();
    Ok(numbers)
}

/// Takes the changes of a shard over its tables, and says what there is of them. Blocks.
///
/// # Errors
/// [`StartError::Changes`] if a file is not what was written.
pub(super) fn take_changes(folder: &Path, stored: &mut StoredTables) -> Result<FoundChanges, StartError> {
    let mut found = FoundChanges { next: 1, ..FoundChanges::default() };
    for number in list_changes(folder)? {
        let path = folder.join(changes_path(number));
        let failed = |source| DiskError { operation: "read", path: path.clone(), source };
        let file = files::read(&path).map_err(failed)?.unwrap_or_default();
        // What is found is built upon, and nobody writes it again.
        files::flush(&path).map_err(failed)?;
        let changes = decode_changes(&file).map_err(|reason| StartError::Changes { path: path.clone(), reason })?;
        changes.into_iter().for_each(|change| stored.apply(change));
        found.next = number.saturating_add(1);
        found.bytes = found.bytes.saturating_add(file.len() as u64);
    }
    Ok(found)
}

/// The tables of a former life of this process.
#[derive(Debug)]
pub(super) struct ToldTables {
    pub(super) tables: [(Table, Bytes); Table::COUNT],
    /// Whether all of them are in their files; else these are older, as where the disk is full.
    is_written: bool,
}

/// Where the tables are found.
#[derive(Clone, Copy, Debug)]
pub(super) enum FoundTables<'a> {
    /// The process begins.
    InFiles,
    /// A former life has told them.
    Told(&'a ToldTables),
}

impl FoundTables<'_> {
    /// The tables, and what there is of changes.
    ///
    /// # Errors
    /// [`StartError::Table`] if a file is not what was written.
    /// `must_exist`: which files are known to have been there.
    pub(super) async fn read(
        self,
        disk: &Disk,
        must_exist: impl Fn(&Path) -> bool,
    ) -> Result<(StoredTables, FoundChanges), StartError> {
        let mut stored = StoredTables {
            topics: self.table(disk, Table::Topics, &must_exist, TopicTable::decode).await?,
            groups: self.table(disk, Table::Groups, &must_exist, GroupTable::decode).await?,
            offsets: self.table(disk, Table::ConsumerOffsets, &must_exist, ConsumerOffsets::decode).await?,
            delay_offsets: self.table(disk, Table::DelayOffsets, &must_exist, DelayOffsets::decode).await?,
        };
        let folder = disk.folder().to_owned();
        let changes = match self {
            FoundTables::InFiles => {
                let taken = blocking::run(move || Ok(take_changes(&folder, &mut stored).map(|found| (stored, found))));
                let failed =
                    |source| DiskError { operation: "read changes in", path: disk.folder().to_owned(), source };
                return taken.await.map_err(failed)?;
            }
            // They have what the files say, which are of no more use than to be told from the next.
            FoundTables::Told(told) => {
                let numbers = blocking::run(move || Ok(list_changes(&folder))).await;
                let failed = |source| DiskError { operation: "list", path: disk.folder().to_owned(), source };
                let next = numbers.map_err(failed)??.last().map_or(1, |last| last + 1);
                FoundChanges { next, bytes: 0, is_behind: !told.is_written }
            }
        };
        Ok((stored, changes))
    }

    async fn table<T>(
        self,
        disk: &Disk,
        table: Table,
        must_exist: impl Fn(&Path) -> bool,
        decode: impl FnOnce(&[u8]) -> Result<T, BodyError>,
    ) -> Result<Option<T>, StartError> {
        let path = table_path(table);
        let bytes = match self {
            FoundTables::InFiles => disk.read_table(&path, must_exist(&path)).await?.map(Bytes::from),
            FoundTables::Told(told) => told.tables.iter().find(|(of, _)| *of == table).map(|(_, bytes)| bytes.clone()),
        };
        let Some(bytes) = bytes else { return Ok(None) };
        let decoded = decode(&bytes).map_err(|error| StartError::BadTable {
            path: disk.folder().join(path),
            reason: error.to_string(),
            empty: "`{}`",
        });
        decoded.map(Some)
    }
}

/// Makes the tables that are not there, so that the next start can tell that one is missing.
pub(super) async fn make_tables(disk: &Disk, broker: &Broker) -> Result<(), StartError> {
    for (table, bytes) in broker.view_tables() {
        let path = table_path(table);
        if disk.folder().join(&path).exists() {
            continue;
        }
        match disk.replace_table(&path, bytes).await {
            // A node must start on a full disk, to be read and to make room.
            Err(error) if error.is_no_space() => tracing::warn!(%error, "a table is not made yet"),
            made => made?,
        }
    }
    Ok(())
}

/// Writes the tables whole, after which no changes are needed, and returns them.
pub(super) async fn write_tables(shard: &Rc<Shard>) -> ToldTables {
    let tables = shard.look(Broker::view_tables);
    let mut is_written = true;
    // A failed log says nothing about the tables: they are in files of their own.
    for (table, bytes) in &tables {
        if let Err(error) = shard.disk.replace_table(&table_path(*table), bytes.clone()).await {
            tracing::error!(%error, "a table was not written at the stop");
            is_written = false;
        }
    }
    if is_written && let Err(error) = remove_changes(&shard.disk, u64::MAX).await {
        tracing::warn!(%error, "changes that the tables' files have were not removed; they are read once more");
    }
    ToldTables { tables, is_written }
}

/// Removes the files of changes before this number, the oldest first: those that are left say nothing that is older than what was removed.
async fn remove_changes(disk: &Disk, before: u64) -> Result<(), DiskError> {
    let folder = disk.folder().to_owned();
    let numbers = blocking::run(move || Ok(list_changes(&folder))).await;
    let failed = |source| DiskError { operation: "list", path: disk.folder().to_owned(), source };
    for number in numbers.map_err(failed)??.into_iter().filter(|number| *number < before) {
        disk.remove(&changes_path(number)).await?;
    }
    Ok(())
}

impl Shard {
    /// Appends changes.
    pub(super) fn spawn_append(self: &Rc<Self>, append: Append) {
        let shard = self.clone();
        self.runtime.spawn(self.runtime.queues.background, async move {
            let Append { number, at, bytes, flush } = append;
            let path = changes_path(number);
            let Some(appended) = shard.write(shard.disk.append(&path, at, bytes, flush)).await else { return };
            let appended = appended.map_err(|error| io_error(&error));
            shard.act("changes", |broker, now, out| broker.handle_appended(now, appended, out));
        });
    }

    /// Writes the tables' own files anew when that is due, a step at a time, for ever.
    pub(super) async fn snapshot_loop(self: Rc<Self>) {
        loop {
            match self.ask(|broker, now| broker.poll_snapshot(now)) {
                None => self.snapshot_wanted.wait().await,
                Some(work) => {
                    let Some(done) = self.write(self.do_snapshot(work.clone())).await else {
                        self.until_open().await;
                        continue;
                    };
                    let done = done.map_err(|error| io_error(&error));
                    self.act("snapshot", |broker, now, _| broker.handle_snapshot(now, &work, done));
                    glommio::yield_if_needed().await;
                }
            }
        }
    }

    async fn do_snapshot(&self, work: SnapshotWork) -> Result<(), DiskError> {
        match work {
            SnapshotWork::Write { table, at, bytes, flush } => {
                self.disk.append_unfinished(&table_path(table), at, bytes, flush).await
            }
            SnapshotWork::Finish { table, at, crc } => self.disk.finish_table(&table_path(table), at, crc).await,
            SnapshotWork::Forget(before) => remove_changes(&self.disk, before).await,
        }
    }
}
