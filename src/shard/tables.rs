//! The tables of a shard and their files: read at a start, appended to and written anew while the shard serves, whole at its end.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::Bytes;

use super::pump::Shard;
use super::start::StartError;
use super::work::io_error;
use crate::broker::Broker;
use crate::broker::change_files::ChangeFiles;
use crate::broker::persist::{Append, FoundChanges, Table};
use crate::broker::snapshot::SnapshotWork;
use crate::disk::folder::{FileOnDisk, list_files};
use crate::disk::{Disk, DiskError, LastRun, blocking, table};
use crate::files;
use crate::protocol::body::{ConsumerOffsets, DelayOffsets, GroupTable, StoredTables, TopicTable, decode_changes};

/// Folder of the tables, below the shard's.
pub(super) const FOLDER: &str = "config";

/// What the names of files of changes begin with; a number follows.
const CHANGES: &str = "changes-";

/// The path of the file that says which of them there are, below the shard's folder.
pub(super) fn change_files_path() -> PathBuf {
    Path::new(FOLDER).join("changes")
}

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

/// Takes the changes of a shard over its tables, and says what there is of them, and how much of each file was taken. Blocks.
///
/// # Errors
/// [`StartError::Changes`] if a file is not what was written, [`StartError::ChangesGone`] if one is missing.
fn take_changes(
    folder: &Path,
    last_run: &LastRun,
    stored: &mut StoredTables,
) -> Result<(FoundChanges, ChangeFiles), StartError> {
    let numbers = list_changes(folder)?;
    let noted = read_change_files(folder, last_run)?;
    if noted.is_none() && !numbers.is_empty() {
        tracing::warn!(folder = %folder.join(FOLDER).display(), "it is not noted which files `changes-NUMBER` there are and how long they were, as by an older version or after an operator has emptied the note: they are taken as they are, and what may have been lost of their ends is not missed");
    }
    let mut files = noted.unwrap_or_else(|| ChangeFiles::of(&numbers));
    let gone = |number| StartError::ChangesGone { path: folder.join(changes_path(number)) };
    let mut found = FoundChanges { next: files.next, ..FoundChanges::default() };
    for number in files.check(&numbers).map_err(gone)? {
        let path = folder.join(changes_path(number));
        let failed = |source| DiskError { operation: "read", path: path.clone(), source };
        let file = files::read(&path).map_err(failed)?.unwrap_or_default();
        // What is found is built upon, and nobody writes it again.
        files::flush(&path).map_err(failed)?;
        let decoded = decode_changes(&file, files.flushed(number));
        let (changes, sound) = decoded.map_err(|reason| StartError::Changes { path: path.clone(), reason })?;
        if sound < file.len() {
            tracing::warn!(path = %path.display(), from = sound, to = file.len(), "the end of a file of changes is left out: it is not whole, as of a process that was killed while it wrote; nobody was told that it is written. If nothing was killed, restore the file from a backup");
        }
        changes.into_iter().for_each(|change| stored.apply(change));
        found.next = found.next.max(number.saturating_add(1));
        found.bytes = found.bytes.saturating_add(file.len() as u64);
        files = files.with(number, sound as u64);
    }
    Ok((found, files))
}

/// Which files of changes there are, if that is known: an older version, or an operator, leaves it to what is found. Blocks.
fn read_change_files(folder: &Path, last_run: &LastRun) -> Result<Option<ChangeFiles>, StartError> {
    let path = change_files_path();
    let text = table::read(&folder.join(&path), last_run.must_exist(&path))?.filter(|text| !text.is_empty());
    let unknown = || StartError::BadTable {
        path: folder.join(&path),
        reason: "it does not say which files `changes-NUMBER` there are".to_owned(),
        empty: "nothing",
    };
    text.map(|text| ChangeFiles::decode(&text).ok_or_else(unknown)).transpose()
}

/// Says which files of changes there are from now on, durably; `in_place`: only how much of them is flushed, as of [`Disk::renew_note`].
async fn note_change_files(
    disk: &Disk,
    in_place: bool,
    change: impl FnOnce(ChangeFiles) -> ChangeFiles + Send + 'static,
) -> Result<(), DiskError> {
    let folder = disk.folder().to_owned();
    let text = move || known_change_files(&folder).map(|known| change(known).encode());
    disk.renew_note(&change_files_path(), in_place, text).await
}

/// What the file says that this process has written, or what there is. Blocks.
fn known_change_files(folder: &Path) -> Result<ChangeFiles, DiskError> {
    match read_change_files(folder, &LastRun::default()) {
        // One may have been made that it does not know yet; those before were on their way out.
        Ok(Some(files)) => {
            let next = files.next;
            let newer = list_changes(folder)?.into_iter().filter(|number| *number >= next);
            Ok(newer.fold(files, |files, number| files.with(number, 0)))
        }
        _ => Ok(ChangeFiles::of(&list_changes(folder)?)),
    }
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
    /// The tables, and what there is of changes. `last_run` knows which files were there.
    ///
    /// # Errors
    /// [`StartError`] if a file is not what was written.
    pub(super) async fn read(
        self,
        disk: &Disk,
        last_run: &LastRun,
    ) -> Result<(StoredTables, FoundChanges), StartError> {
        let (folder, last_run) = (disk.folder().to_owned(), last_run.clone());
        let failed = |source| DiskError { operation: "read the tables in", path: disk.folder().to_owned(), source };
        match self {
            FoundTables::InFiles => {
                let read = blocking::run(move || Ok(read_tables(&folder, &last_run))).await.map_err(failed)?;
                let ReadTables { stored, found, files } =
                    read.map_err(|wrong| wrong.into_iter().next().expect("something is wrong"))?;
                if found.bytes > 0 {
                    // Clients are told what was taken.
                    note_found(disk, files).await?;
                }
                Ok((stored, found))
            }
            // They have what the files say, which are of no more use than to be told from the next.
            FoundTables::Told(told) => {
                let mut stored = StoredTables::default();
                for (table, bytes) in &told.tables {
                    put(&mut stored, disk.folder(), *table, bytes)?;
                }
                let known = blocking::run(move || Ok(known_change_files(&folder))).await.map_err(failed)??;
                let next = known.next;
                Ok((stored, FoundChanges { next, bytes: 0, is_behind: !told.is_written }))
            }
        }
    }
}

/// The tables as a start reads them.
pub(super) struct ReadTables {
    stored: StoredTables,
    found: FoundChanges,
    /// The files of changes, and how much of each was taken.
    files: ChangeFiles,
}

/// Reads the tables of a shard, as their files and the changes after them say. Blocks.
///
/// # Errors
/// All for which a start would not take them.
pub(super) fn read_tables(folder: &Path, last_run: &LastRun) -> Result<ReadTables, Vec<StartError>> {
    let (mut stored, mut wrong, mut unsealed) = (StoredTables::default(), Vec::new(), Vec::new());
    for table in Table::ALL {
        let path = table_path(table);
        match table::read(&folder.join(&path), last_run.must_exist(&path)) {
            Ok(Some(bytes)) => {
                unsealed.extend((!table::is_sealed(&bytes)).then_some(table.file_name()));
                wrong.extend(put(&mut stored, folder, table, &bytes).err());
            }
            Ok(None) => {}
            Err(error) => wrong.push(error.into()),
        }
    }
    match take_changes(folder, last_run, &mut stored) {
        Ok((found, files)) if wrong.is_empty() => {
            if found.bytes > 0 && !unsealed.is_empty() {
                tracing::warn!(folder = %folder.display(), tables = unsealed.join(","), "the tables have no crc32, as after an edit, and changes of before are taken over them: to begin with them as they are, stop the node in order before they are edited");
            }
            return Ok(ReadTables { stored, found, files });
        }
        taken => wrong.extend(taken.err()),
    }
    Err(wrong)
}

/// Takes what the file of a table says, or what was told of it.
fn put(stored: &mut StoredTables, folder: &Path, table: Table, bytes: &[u8]) -> Result<(), StartError> {
    let taken = match table {
        Table::Topics => TopicTable::decode(bytes).map(|table| stored.topics = Some(table)),
        Table::Groups => GroupTable::decode(bytes).map(|table| stored.groups = Some(table)),
        Table::ConsumerOffsets => ConsumerOffsets::decode(bytes).map(|table| stored.offsets = Some(table)),
        Table::DelayOffsets => DelayOffsets::decode(bytes).map(|table| stored.delay_offsets = Some(table)),
    };
    taken.map_err(|error| StartError::BadTable {
        path: folder.join(table_path(table)),
        reason: if bytes.trim_ascii().is_empty() { "it is empty".to_owned() } else { error.to_string() },
        empty: "`{}`",
    })
}

/// Makes the tables that are not there, so that the next start can tell that one is missing.
pub(super) async fn make_tables(disk: &Disk, broker: &Broker) -> Result<(), StartError> {
    let is_missing = |table: &Table| !disk.folder().join(table_path(*table)).exists();
    for table in Table::ALL.into_iter().filter(is_missing) {
        match disk.replace_table(&table_path(table), broker.view_table(table)).await {
            // A node must start on a full disk, to be read and to make room.
            Err(error) if error.is_no_space() => tracing::warn!(%error, "a table is not made yet"),
            made => made?,
        }
    }
    if !disk.folder().join(change_files_path()).exists() {
        unless_full(note_change_files(disk, false, |files| files).await)?;
    }
    Ok(())
}

/// Notes how much was taken of the files of changes.
async fn note_found(disk: &Disk, files: ChangeFiles) -> Result<(), DiskError> {
    let has_note = disk.folder().join(change_files_path()).exists();
    unless_full(note_change_files(disk, has_note, |_| files).await)
}

/// A node must start on a full disk, to be read and to make room.
fn unless_full(noted: Result<(), DiskError>) -> Result<(), DiskError> {
    match noted {
        Err(error) if error.is_no_space() => {
            tracing::warn!(%error, "it is not noted yet which changes there are");
            Ok(())
        }
        noted => noted,
    }
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
    note_change_files(disk, false, move |files| files.from(before)).await?;
    let folder = disk.folder().to_owned();
    let numbers = blocking::run(move || Ok(list_changes(&folder))).await;
    let failed = |source| DiskError { operation: "list", path: disk.folder().to_owned(), source };
    for number in numbers.map_err(failed)??.into_iter().filter(|number| *number < before) {
        disk.remove(&changes_path(number)).await?;
    }
    Ok(())
}

/// Appends changes; it is noted that a file begins with them, and that they are flushed.
async fn append_changes(disk: &Disk, append: Append) -> Result<(), DiskError> {
    let Append { number, at, bytes, flush } = append;
    let flushed = if flush { at.saturating_add(bytes.len() as u64) } else { 0 };
    disk.append(&changes_path(number), at, bytes, flush).await?;
    if at > 0 && !flush {
        return Ok(());
    }
    note_change_files(disk, at > 0, move |files| files.with(number, flushed)).await
}

impl Shard {
    /// Appends changes.
    pub(super) fn spawn_append(self: &Rc<Self>, append: Append) {
        let shard = self.clone();
        self.runtime.spawn(self.runtime.queues.background, async move {
            let Some(appended) = shard.write(append_changes(&shard.disk, append)).await else { return };
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
