//! `ringmq store`: the files of a store whose node does not run, looked through and mended.
//!
//! | file | what it is |
//! |---|---|
//! | [`segment`] | the log's files, record by record, and the stretches in which nothing is sound |
//! | [`mend`] | what can be done about them |
//! | [`printer`] | a table for people, JSON for programs |
//!
//! Whether a start takes the store is asked of what a start asks ([`crate::shard::offline`]); only then it is looked further. Everything here blocks.

mod mend;
mod printer;
mod segment;

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

use crate::model::LogOffset;
use crate::shard::StartError;
use crate::shard::offline::{Offline, ShardLook};
use printer::{Printer, StateRow};
use segment::{DamagedStretch, look_through};

/// What is to be done with which store, and how it is told.
#[derive(Args, Debug)]
pub struct StoreArguments {
    /// Print JSON instead of tables.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: StoreCommand,
}

#[derive(Debug, Subcommand)]
enum StoreCommand {
    /// Look through the log of each shard.
    Check(CheckArguments),
    /// Mend what is damaged in it, from a replica's store or by a cut.
    Repair(RepairArguments),
}

#[derive(Args, Debug)]
struct CheckArguments {
    #[command(flatten)]
    store: WhichStore,
}

#[derive(Args, Debug)]
struct WhichStore {
    /// The store's folder: storePathRootDir.
    folder: PathBuf,
    /// Bytes of a segment: mappedFileSizeCommitLog. Default: those of the largest one.
    #[arg(long, value_name = "BYTES")]
    segment_size: Option<u64>,
    /// Folder of the tails: tailPath. Default: that of the last run.
    #[arg(long, value_name = "FOLDER")]
    tails: Option<PathBuf>,
}

#[derive(Args, Debug)]
struct RepairArguments {
    #[command(flatten)]
    store: WhichStore,
    /// Take what is damaged or missing from the store of a replica: its folder, of a node that does not run, or a copy.
    #[arg(long, value_name = "FOLDER", conflicts_with = "cut")]
    from: Option<PathBuf>,
    /// Let the log end where a start refuses it. What lies behind is moved aside, not destroyed, what only the tail has included.
    #[arg(long)]
    cut: bool,
    /// Do it; without, it is only said what would be done.
    #[arg(long)]
    yes: bool,
}

/// Why a store is not sound, or is not mended. Each says what to do.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// The store cannot be claimed.
    #[error("{0}")]
    NotClaimed(String),
    /// A file or folder cannot be used.
    #[error("{path}: {source}")]
    Io {
        /// The file or folder, as it was given.
        path: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// What a start would say, one sentence a shard and table.
    #[error("a start refuses the store: {0}")]
    Refused(String),
    /// There is damage that a start does not meet.
    #[error(
        "a start takes the store, and consumers are not given what is damaged; `ringmq store repair --from` mends it from a replica's"
    )]
    Damaged,
    /// It is not said how it is to be mended.
    #[error(
        "{folder} is damaged ({refusal}): say --from FOLDER to take the bytes from a replica's store, or --cut to let the log end where a start refuses it"
    )]
    NoMeans {
        /// The shard's.
        folder: String,
        /// What a start says.
        refusal: String,
    },
    /// The replica's store is another's.
    #[error("{other} is not the same log: config/epochs says `{theirs}` there and `{own}` in {folder}")]
    OtherLog {
        /// The replica's shard.
        other: String,
        /// The first line of its epochs.
        theirs: String,
        /// The same of the shard that is to be mended.
        own: String,
        /// That shard.
        folder: String,
    },
    /// The replica's log goes on otherwise before that.
    #[error(
        "{path} is no help for byte {from} to {to}: up to {same_until} the two logs are the same, and what lies behind is of another master's reign"
    )]
    OtherBranch {
        /// The replica's segment.
        path: String,
        /// The first byte that is wanted.
        from: u64,
        /// The end of what is wanted.
        to: u64,
        /// Where the two part.
        same_until: LogOffset,
    },
    /// The replica has nothing sound there either.
    #[error("{path} has no sound records for byte {from} to {to}")]
    NotSoundThere {
        /// The replica's segment.
        path: String,
        /// First byte in it.
        from: u64,
        /// Behind the last.
        to: u64,
    },
    /// It is not the log's end that a start refuses.
    #[error("a cut does not help: {0}")]
    NoCut(String),
    /// A cut would take the last file that knows where emptied queues go on.
    #[error(
        "the log's beginning is gone and only its checkpoint knows where its queues go on, which a cut takes away: mend it with --from"
    )]
    EndsInCheckpoint,
    /// What only the tail has cannot be written into the log.
    #[error(transparent)]
    Start(#[from] StartError),
}

impl StoreArguments {
    /// Does what they say, and prints it to stdout.
    ///
    /// # Errors
    /// [`RepairError`], also if all was looked at and the store is not sound.
    pub fn run(&self) -> Result<(), RepairError> {
        let printer = Printer { json: self.json };
        match &self.command {
            StoreCommand::Check(arguments) => check(printer, arguments),
            StoreCommand::Repair(arguments) => repair(printer, arguments),
        }
    }
}

/// Says what is wrong with the log of each shard, and whether a start would take it.
fn check(printer: Printer, arguments: &CheckArguments) -> Result<(), RepairError> {
    let (_store, shards) = look(&arguments.store)?;
    let (mut rows, mut refusals, mut is_damaged) = (Vec::new(), Vec::new(), false);
    for shard in shards {
        let found = look_through(&shard.folder, shard.segment_bytes)?;
        let name = shard.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut state = format!("{} messages from {} to {}", found.records, found.start, found.end);
        if let Some(tail) = shard.tail.as_ref().filter(|tail| tail.appended.0 > found.end) {
            state.push_str(&format!("; the tail goes on to {}", tail.appended));
        }
        rows.push(StateRow { shard: name.clone(), stretch: None, state });
        if let Some(tails) = &shard.tail_gone_from {
            rows.push(StateRow { shard: name.clone(), stretch: None, state: gone_tail_text(tails) });
        }
        for stretch in found.damages {
            let is_mended = is_mended_by_a_start(&shard, &stretch);
            let state = match is_mended {
                true => "mended by a start, from the tail",
                false if stretch.is_missing => "missing",
                false => "damaged; sound records follow",
            };
            is_damaged |= !is_mended;
            rows.push(StateRow { shard: name.clone(), stretch: Some(stretch), state: state.to_owned() });
        }
        refusals.extend(shard.log.as_ref().err().into_iter().chain(&shard.tables).map(ToString::to_string));
    }
    printer.table(&rows);
    match () {
        () if !refusals.is_empty() => Err(RepairError::Refused(refusals.join("; "))),
        () if is_damaged => Err(RepairError::Damaged),
        () => Ok(()),
    }
}

/// What it means that the tail of the last run is not where it was. A start says so as well, and takes the store.
fn gone_tail_text(tails: &Path) -> String {
    format!(
        "the tail of the last run is gone from {}, though the machine has not been started since: what that run acknowledged and had not written is lost. Put it back before a start if it was moved (--tails FOLDER looks elsewhere); a replica may have what it had",
        tails.display()
    )
}

/// Mends what can be mended, or lets the log end before it.
fn repair(printer: Printer, arguments: &RepairArguments) -> Result<(), RepairError> {
    let (_store, shards) = look(&arguments.store)?;
    let _other = arguments.from.as_deref().map(claim).transpose()?;
    let mut did = false;
    for shard in shards {
        let mut found = look_through(&shard.folder, shard.segment_bytes)?;
        found.damages.retain(|stretch| !is_mended_by_a_start(&shard, stretch));
        if found.damages.is_empty() && shard.log.is_ok() {
            continue;
        }
        let does = match (&arguments.from, arguments.cut) {
            (Some(other), _) => {
                let other = other.join(shard.folder.file_name().unwrap_or_default());
                mend::from_replica(&shard, &other, &found, arguments.yes)?
            }
            (None, true) => mend::cut(&shard, &found, arguments.yes)?,
            (None, false) => {
                let refusal =
                    shard.log.as_ref().err().map_or_else(|| "a start takes it".to_owned(), ToString::to_string);
                return Err(RepairError::NoMeans { folder: text_of(&shard.folder), refusal });
            }
        };
        did |= !does.is_empty();
        for line in does {
            printer.done(&if arguments.yes { line } else { format!("would: {line}") });
        }
    }
    match (did, arguments.yes) {
        (false, _) => printer.done("there is nothing to do: `ringmq store check` says what there is"),
        (true, false) => printer.done("nothing was changed; say --yes to do it"),
        (true, true) => printer.done("done; `ringmq store check` says whether a start takes it now"),
    }
    Ok(())
}

/// Makes sure that no node uses a store that is read from, for as long as the file lives. A part of one has no lock.
fn claim(folder: &Path) -> Result<Option<File>, RepairError> {
    Offline::lock(folder).map_err(RepairError::NotClaimed)
}

fn look(of: &WhichStore) -> Result<(Offline, Vec<ShardLook>), RepairError> {
    let store = Offline::claim(&of.folder, of.tails.clone(), of.segment_size).map_err(RepairError::NotClaimed)?;
    let shards = store.look().map_err(io_of(&of.folder))?;
    Ok((store, shards))
}

/// Whether a start writes there what the tail has.
fn is_mended_by_a_start(shard: &ShardLook, stretch: &DamagedStretch) -> bool {
    shard.log.as_ref().is_ok_and(|written_from| stretch.segment + stretch.from >= written_from.0)
}

fn io_of(path: &Path) -> impl FnOnce(io::Error) -> RepairError {
    let path = text_of(path);
    move |source| RepairError::Io { path, source }
}

fn text_of(path: &Path) -> String {
    path.display().to_string()
}
