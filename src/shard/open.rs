//! From a claimed store to a broker: disk, tail, recovery, tables.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::runtime::Runtime;
use super::start::{ShardSettings, StartError};
use super::work::io_error;
use crate::broker::persist::Table;
use crate::broker::{Broker, Tables};
use crate::disk::{Disk, DiskError, RunStarter, TailFile, TailKey, blocking, tail};
use crate::log::{FOLDERS, FileName, FoundFile, FoundStore, HeapTail, Log, Recovery, RecoveryError, Step, TailMemory};
use crate::model::LogOffset;
use crate::protocol::body::{BodyError, ConsumerOffsets, GroupTable, TopicTable};

/// Folder of the tables, below the shard's.
const TABLES_FOLDER: &str = "config";

/// What a shard serves with.
pub(super) struct Opened {
    pub(super) disk: Disk,
    pub(super) broker: Broker,
    pub(super) bind_ip: IpAddr,
    pub(super) tail_found: Option<LogOffset>,
    pub(super) tail_survives_kill: bool,
}

/// Opens the shard's part of the store. `port` is the one listened on.
pub(super) async fn open(settings: ShardSettings, port: u16, runtime: &Runtime) -> Result<Opened, StartError> {
    let folder = settings.store.shard_folder(settings.shard);
    let disk = Disk::open(&folder).await?;
    let files = found_files(&disk).await?;
    let (memory, tail_found, run_starter) = open_tail(&settings);
    let tail_survives_kill = memory.survives_kill();
    let found = FoundStore { files, tail: memory, tail_appended: tail_found };
    let refused = |source| StartError::Recovery { folder: folder.clone(), source };
    let began = runtime.watch.now().mono;
    let recovery = Recovery::new(settings.log, found).map_err(refused)?;
    let log = recover(recovery, &disk).await.map_err(refused)?;
    let started = blocking::run(move || run_starter.start()).await;
    started.map_err(|source| DiskError { operation: "begin a run in", path: folder.clone(), source })?;
    let took_ms = runtime.watch.now().mono.ms_since(began);
    tracing::info!(shard = %settings.shard, start = %log.start(), end = %log.appended(), took_ms, "the log is open");
    let tables = Tables {
        topics: read_table(&disk, Table::Topics, TopicTable::decode).await?,
        groups: read_table(&disk, Table::Groups, GroupTable::decode).await?,
        offsets: read_table(&disk, Table::ConsumerOffsets, ConsumerOffsets::decode).await?,
    };
    let mut broker_settings = settings.broker;
    broker_settings.address.set_port(port);
    let broker = Broker::new(broker_settings, log, tables);
    Ok(Opened { disk, broker, bind_ip: settings.bind_ip, tail_found, tail_survives_kill })
}

/// The path of a table below the shard's folder.
pub(super) fn table_path(table: Table) -> PathBuf {
    Path::new(TABLES_FOLDER).join(table.file_name())
}

/// The files that are the log's: those in its folders, and the checkpoint.
async fn found_files(disk: &Disk) -> Result<Vec<FoundFile>, StartError> {
    let checkpoint = FileName::Checkpoint.to_path();
    let files = disk.list().await?.into_iter().filter_map(|file| {
        let path = file.path.to_str()?.to_owned();
        let is_logs = FOLDERS.iter().any(|folder| Path::new(&path).starts_with(folder)) || path == checkpoint;
        // What a crash left of a replacement: never a file of its own.
        let is_unfinished = path.ends_with(crate::disk::store::UNFINISHED);
        (is_logs && !is_unfinished).then_some(FoundFile { path, size_bytes: file.bytes })
    });
    Ok(files.collect())
}

/// The tail in shared memory, or on the heap where there is none; the log says so then.
fn open_tail(settings: &ShardSettings) -> (Box<dyn TailMemory>, Option<LogOffset>, RunStarter) {
    tail::remove_left_over(&settings.tail_folder);
    let folder = settings.store.shard_folder(settings.shard);
    let opened = TailKey::new(&settings.store, settings.shard, settings.tail_bytes)
        .map_err(|error| error.to_string())
        .and_then(|key| TailFile::open(&settings.tail_folder, &key).map_err(|error| error.to_string()))
        .and_then(|tail| Ok((tail.run_starter(&folder).map_err(|error| error.to_string())?, tail)));
    match opened {
        Ok((starter, tail)) => {
            let found = tail.found();
            (Box::new(tail), found, starter)
        }
        Err(error) => {
            tracing::warn!(
                shard = %settings.shard,
                "no tail in shared memory ({error}): ASYNC_FLUSH replies after the write to the disk; set tailPath to a tmpfs with {} bytes free",
                settings.tail_bytes
            );
            (Box::new(HeapTail::new(settings.tail_bytes)), None, RunStarter::without_tail(&folder))
        }
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

async fn read_table<T>(
    disk: &Disk,
    table: Table,
    decode: impl FnOnce(&[u8]) -> Result<T, BodyError>,
) -> Result<Option<T>, StartError> {
    let path = table_path(table);
    let Some(bytes) = disk.read_table(&path).await? else { return Ok(None) };
    let decoded =
        decode(&bytes).map_err(|error| StartError::Table { path: disk.folder().join(path), reason: error.to_string() });
    decoded.map(Some)
}
