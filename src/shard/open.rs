//! From a claimed store to a broker: disk, tail, recovery, tables.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;

use super::links::epochs_path;
use super::runtime::Runtime;
use super::start::{ShardSettings, StartError};
use super::tables::{self, FoundTables, change_files_path, make_tables, table_path};
use super::work::io_error;
use crate::broker::life::Life;
use crate::broker::persist::Table;
use crate::broker::{Broker, Tables};
use crate::disk::folder::FileOnDisk;
use crate::disk::table::sealed_text;
use crate::disk::{
    Disk, DiskError, LastRun, Moment, RunError, RunStarter, TailError, TailFile, TailKey, blocking, store,
};
use crate::log::{FOLDERS, FileName, FoundFile, FoundStore, HeapTail, Log, Recovery, RecoveryError, Step, TailMemory};
use crate::model::LogOffset;
use crate::replication::{EpochTable, FreshIds};

/// What a process writes as long as it runs, below the shard's folder.
const WRITTEN_WHILE_IT_RUNS: [&str; 3] = ["commitlog", "index", tables::FOLDER];

/// How long a killed process may keep its tail: the kernel gives the files of its rings back one by one.
const KILLED_WAIT: Duration = Duration::from_secs(5);
const KILLED_PERIOD: Duration = Duration::from_millis(10);

/// What a shard serves with.
pub(super) struct Opened {
    pub(super) disk: Disk,
    pub(super) broker: Broker,
    pub(super) tail_survives_kill: bool,
}

/// A broker over the store's log.
pub(super) struct OpenedBroker {
    pub(super) broker: Broker,
    tail_survives_kill: bool,
}

/// Opens the shard's part of the store. `port` is the one listened on.
pub(super) async fn open(settings: &ShardSettings, port: u16, runtime: &Runtime) -> Result<Opened, StartError> {
    let store = settings.store.root();
    let claim = |source| DiskError { operation: "claim for what is written", path: store.to_owned(), source };
    settings.store.claim_for_writes().map_err(claim)?;
    let disk = Disk::open(&settings.store.shard_folder(settings.shard)).await.map_err(StartError::Device)?;
    let OpenedBroker { broker, tail_survives_kill } =
        open_broker(settings, port, &disk, runtime, settings.life, FoundTables::InFiles).await?;
    Ok(Opened { disk, broker, tail_survives_kill })
}

/// Opens the log and the tables, for one life.
pub(super) async fn open_broker(
    settings: &ShardSettings,
    port: u16,
    disk: &Disk,
    runtime: &Runtime,
    life: Life,
    found: FoundTables<'_>,
) -> Result<OpenedBroker, StartError> {
    let folder = settings.store.shard_folder(settings.shard);
    let began = runtime.watch.now().mono;
    if life.end_max.is_some() {
        let run_folder = folder.clone();
        let forgotten = blocking::run(move || Ok(LastRun::forget_unflushed(&run_folder))).await;
        forgotten.map_err(|source| DiskError { operation: "prepare a cut in", path: folder.clone(), source })??;
    }
    // Before anything is written. A former life of this process knows the time itself.
    let newest =
        if matches!(found, FoundTables::InFiles) { disk.newest_change(&WRITTEN_WHILE_IT_RUNS).await? } else { None };
    let mut opened = open_log(settings, disk, life.end_max).await?;
    if let Some(path) = opened.tail_to_replace {
        // Everything in the old ring is in the segments now, and flushed.
        drop(opened.log);
        LastRun::forget_tail(&folder)?;
        fs::remove_file(&path).map_err(|source| DiskError { operation: "remove", path, source })?;
        opened = open_log(settings, disk, life.end_max).await?;
    }
    let OpenedLog { mut log, tail_survives_kill, run_starter, last_run, .. } = opened;
    let took_ms = runtime.watch.now().mono.ms_since(began);
    tracing::info!(shard = %settings.shard, start = %log.start(), end = %log.appended(), took_ms, "the log is open");
    let epochs = open_epochs(settings, life, disk, &log, last_run.must_exist(&epochs_path())).await?;
    let (stored, changes) = found.read(disk, &last_run).await?;
    let tables = Tables { stored, changes, epochs };
    // An empty log may yet begin elsewhere, as a master's does.
    let end = Some(log.appended()).filter(|end| log.start() < *end).unwrap_or_default();
    let unflushed_max = settings.broker.log.unflushed_bytes_max();
    let now = runtime.watch.now();
    let mut run_began = Moment::now(now.unix).map_err(|source| RunError::NoBoot { source })?;
    match (last_run.began.and_then(|before| before.expected_at(&run_began)), newest) {
        (Some(expected), _) => run_began.unix = log.expect_time(now, expected),
        (None, Some(newest)) => log.expect_time_after_boot(now, newest),
        (None, None) => run_began.unix = log.expect_time(now, run_began.unix),
    }
    let mut broker_settings = settings.broker.clone();
    broker_settings.address.set_port(port);
    let broker = Broker::new(life, broker_settings, log, tables);
    make_tables(disk, &broker).await?;
    let files: Vec<PathBuf> =
        Table::ALL.map(table_path).into_iter().chain([epochs_path(), change_files_path()]).collect();
    let started = blocking::run(move || run_starter.start(end, unflushed_max, &files, run_began)).await;
    started.map_err(|source| DiskError { operation: "begin a run in", path: folder, source })?;
    Ok(OpenedBroker { broker, tail_survives_kill })
}

/// The files that are the log's: those in its folders, and the checkpoint.
pub(super) fn logs_files(files: Vec<FileOnDisk>) -> Vec<FoundFile> {
    let files = files.into_iter().filter_map(|file| {
        let path = file.path.to_str()?.to_owned();
        let is_logs =
            FOLDERS.iter().any(|folder| Path::new(&path).starts_with(folder)) || FileName::parse(&path).is_some();
        // What a crash left of a replacement: never a file of its own.
        let is_unfinished = path.ends_with(crate::files::UNFINISHED);
        (is_logs && !is_unfinished).then_some(FoundFile { path, size_bytes: file.bytes })
    });
    files.collect()
}

/// A log that is recovered, and what became of its tail.
pub(super) struct OpenedLog {
    pub(super) log: Log,
    tail_survives_kill: bool,
    run_starter: RunStarter,
    last_run: LastRun,
    /// The file of a tail that was taken though it is not where `tailPath` says now, or not as long as `tailSize`.
    tail_to_replace: Option<PathBuf>,
}

pub(super) async fn open_log(
    settings: &ShardSettings,
    disk: &Disk,
    end_max: Option<LogOffset>,
) -> Result<OpenedLog, StartError> {
    let files = logs_files(disk.list().await?);
    let folder = settings.store.shard_folder(settings.shard);
    let last_run = LastRun::read(&folder)?;
    let mut log_settings = settings.broker.log;
    let mut tail_to_replace = None;
    let key = TailKey::new(&settings.store, settings.shard, settings.tail_bytes, last_run.run)?;
    if let Some(tails) = last_run.tail_is_gone(&key).filter(|_| !TailFile::is_there(&settings.tail_folder, &key)) {
        tracing::error!(
            shard = %settings.shard, tails = %tails.display(),
            "the tail of the last run is not there, though the machine has not been started since: what that run acknowledged and had not written is lost"
        );
    }
    let (memory, tail_found, run_starter): (Box<dyn TailMemory>, _, _) =
        match open_tail(settings, &key, &last_run).await? {
            Some(mut tail) => {
                tail.go_without_run(&last_run);
                let starter = tail.run_starter(&folder);
                let starter =
                    starter.map_err(|source| DiskError { operation: "open", path: tail.path().to_owned(), source })?;
                if tail.len() != settings.tail_bytes || tail.path().parent() != Some(&settings.tail_folder) {
                    tail_to_replace = Some(tail.path().to_owned());
                    log_settings.cache_bytes = log_settings.cache_bytes.max(tail.len());
                }
                let found = tail.found();
                (Box::new(tail), found, starter)
            }
            None => (Box::new(HeapTail::new(settings.tail_bytes)), None, RunStarter::without_tail(&folder)),
        };
    let tail_survives_kill = memory.survives_kill();
    let unflushed_max = last_run.unflushed_max;
    let found = FoundStore { files, tail: memory, tail_appended: tail_found, end_max, unflushed_max };
    let refused = |source| StartError::Recovery { folder: folder.clone(), source };
    let mut recovery = Recovery::new(log_settings, found).map_err(refused)?;
    recovery.expect_end(last_run.end.unwrap_or_default());
    let log = recover(recovery, disk).await.map_err(refused)?;
    Ok(OpenedLog { log, tail_survives_kill, run_starter, last_run, tail_to_replace })
}

/// The tail in shared memory; `None` where there can be none, and the log says so then.
async fn open_tail(settings: &ShardSettings, key: &TailKey, last: &LastRun) -> Result<Option<TailFile>, StartError> {
    let folder = last.tails_or(&settings.tail_folder, key);
    let unfit = TailKey::check_shelter(&settings.store, &settings.tail_folder, settings.tail_bytes).err();
    if let Some(unfit) = &unfit {
        tracing::warn!(
            shard = %settings.shard, folder = %settings.tail_folder.display(),
            "tails are not kept in memory that survives kill -9: {unfit}; ASYNC_FLUSH replies after the write to the disk"
        );
        if !TailFile::is_there(folder, key) {
            return Ok(None);
        }
    }
    let mut waited = Duration::ZERO;
    loop {
        let error = match TailFile::open(folder, key, last) {
            Ok(mut tail) => {
                if unfit.is_some() {
                    tail.distrust();
                }
                return Ok(Some(tail));
            }
            Err(error @ (TailError::Io { .. } | TailError::LongPath { .. })) => error,
            Err(TailError::InUse { .. }) if waited < KILLED_WAIT => {
                glommio::timer::sleep(KILLED_PERIOD).await;
                waited += KILLED_PERIOD;
                continue;
            }
            Err(error) => return Err(StartError::Tail(error)),
        };
        tracing::warn!(
            shard = %settings.shard,
            "no tail in shared memory ({error}): ASYNC_FLUSH replies after the write to the disk; set tailPath to a tmpfs with {} bytes free",
            settings.tail_bytes
        );
        return Ok(None);
    }
}

/// Does what recovery asks until there is a log.
async fn recover(mut recovery: Recovery, disk: &Disk) -> Result<Log, RecoveryError> {
    loop {
        let done = match recovery.step() {
            Step::Done(log) => return Ok(*log),
            Step::Refused(error) => return Err(error),
            Step::Read { file, at, len } => disk.read(Path::new(&file.to_path()), at, len).await,
            Step::Write { file, at, data } => {
                let written = disk.write_background(Path::new(&file.to_path()), at, &data, false).await;
                written.map(|()| Bytes::new())
            }
            Step::Flush { file } => disk.flush(Path::new(&file.to_path())).await.map(|()| Bytes::new()),
            Step::Remove { file } => disk.remove(Path::new(&file.to_path())).await.map(|()| Bytes::new()),
        };
        recovery.supply(done.map_err(|error| io_error(&error)));
    }
}

/// The reigns of this log's masters. A master begins its own, and has it on the disk before it appends anything.
async fn open_epochs(
    settings: &ShardSettings,
    life: Life,
    disk: &Disk,
    log: &Log,
    must_exist: bool,
) -> Result<EpochTable, StartError> {
    let path = epochs_path();
    // An empty one is an operator's: to begin without.
    let found = disk.read_table(&path, must_exist).await?.filter(|text| !text.is_empty());
    let damaged = |reason: String| StartError::BadTable { path: disk.folder().join(&path), reason, empty: "nothing" };
    let mut epochs = match found {
        Some(bytes) => {
            let text = std::str::from_utf8(&bytes).map_err(|error| damaged(error.to_string()))?;
            EpochTable::decode(text).map_err(|error| damaged(error.to_string()))?
        }
        None if log.appended() > LogOffset(0) => EpochTable::unnumbered(),
        None => EpochTable::default(),
    };
    if !life.role.is_master() && settings.life.role.is_master() && epochs.note_copy(true) {
        // Its configuration makes it a master again at its next start, with whatever it has by then.
        disk.replace(&path, Bytes::from(epochs.encode())).await?;
    }
    if life.role.is_master() {
        if life.epoch.is_some() {
            epochs.note_copy(false);
            epochs.note_ahead(BTreeSet::new());
        }
        let no_random = |source| DiskError { operation: "read random bytes for", path: path.clone(), source };
        let (name, id) = (store::random_id().map_err(no_random)?, store::random_id().map_err(no_random)?);
        let epoch = match life.epoch {
            Some(epoch) => epoch,
            None => epochs.next_epoch().map_err(|error| damaged(error.to_string()))?,
        };
        let reign = epochs.begin(epoch, log.appended(), &FreshIds::of(name, id));
        let text = epochs.encode();
        match disk.replace_table(&path, Bytes::from(text.clone())).await {
            // A node must start on a full disk, to be read and to make room.
            Err(error) if error.is_no_space() => disk.overwrite(&path, sealed_text(&text).into()).await?,
            replaced => replaced?,
        }
        tracing::info!(shard = %settings.shard, log = %epochs.log(), epoch = %reign.epoch, id = %reign.id, from = %reign.start, "a master's reign begins");
    }
    Ok(epochs)
}
