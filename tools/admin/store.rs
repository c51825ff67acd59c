//! The files of a store whose node does not run: looked through, and mended. Whether a start takes them is asked of what a start asks.

#![allow(clippy::disallowed_methods, reason = "this tool works on files")]

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use ringmq::shard::offline::{Offline, ShardLook};

use crate::mend;
use crate::output::Output;
use crate::segment::{Damage, look_through};
use crate::wire::AdminError;

#[derive(Args)]
pub(crate) struct CheckArguments {
    #[command(flatten)]
    store: StoreArguments,
}

#[derive(Args)]
struct StoreArguments {
    /// The store's folder: storePathRootDir.
    folder: PathBuf,
    /// Bytes of a segment: mappedFileSizeCommitLog. Default: those of the largest one.
    #[arg(long, value_name = "BYTES")]
    segment_size: Option<u64>,
    /// Folder of the tails: tailPath. Default: that of the last run.
    #[arg(long, value_name = "FOLDER")]
    tails: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct RepairArguments {
    #[command(flatten)]
    store: StoreArguments,
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

/// Says what is wrong with the log of each shard, and whether a start would take it.
pub(crate) fn check(output: Output, arguments: &CheckArguments) -> Result<(), AdminError> {
    let (_store, shards) = look(&arguments.store)?;
    let (mut rows, mut refusals, mut is_damaged) = (Vec::new(), Vec::new(), false);
    for shard in shards {
        let found = look_through(&shard.folder, shard.segment_bytes)?;
        let name = shard.folder.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let mut sum = format!("{} messages from {} to {}", found.records, found.start, found.end);
        if let Some(tail) = shard.tail.as_ref().filter(|tail| tail.appended.0 > found.end) {
            sum.push_str(&format!("; the tail goes on to {}", tail.appended));
        }
        rows.push(vec![name.clone(), String::new(), String::new(), String::new(), sum]);
        for damage in found.damages {
            let Damage { segment, from, to, is_missing } = damage;
            let state = match is_mended_by_a_start(&shard, &damage) {
                true => "mended by a start, from the tail",
                false if is_missing => "missing",
                false => "damaged; sound records follow",
            };
            is_damaged |= !is_mended_by_a_start(&shard, &damage);
            let (file, bytes) = (format!("commitlog/{segment:020}"), (to - from).to_string());
            rows.push(vec![name.clone(), file, from.to_string(), bytes, state.to_owned()]);
        }
        refusals.extend(shard.log.as_ref().err().into_iter().chain(&shard.tables).map(ToString::to_string));
    }
    output.table(&["SHARD", "FILE", "BYTE", "BYTES", "STATE"], &rows);
    if !refusals.is_empty() {
        return Err(AdminError::Usage(format!("a start refuses the store: {}", refusals.join("; "))));
    }
    if is_damaged {
        let sentence = "a start takes the store, and consumers are not given what is damaged; `store repair --from` mends it from a replica's";
        return Err(AdminError::Usage(sentence.to_owned()));
    }
    Ok(())
}

/// Mends what can be mended, or lets the log end before it.
pub(crate) fn repair(output: Output, arguments: &RepairArguments) -> Result<(), AdminError> {
    let (_store, shards) = look(&arguments.store)?;
    let _other = arguments.from.as_deref().map(claim).transpose()?;
    let mut did = false;
    for shard in shards {
        let mut found = look_through(&shard.folder, shard.segment_bytes)?;
        found.damages.retain(|damage| !is_mended_by_a_start(&shard, damage));
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
                let sentence = format!(
                    "{} is damaged ({refusal}): say --from FOLDER to take the bytes from a replica's store, or --cut to let the log end where a start refuses it",
                    shard.folder.display()
                );
                return Err(AdminError::Usage(sentence));
            }
        };
        did |= !does.is_empty();
        for line in does {
            output.done(&if arguments.yes { line } else { format!("would: {line}") });
        }
    }
    match (did, arguments.yes) {
        (false, _) => output.done("there is nothing to do: `store check` says what there is"),
        (true, false) => output.done("nothing was changed; say --yes to do it"),
        (true, true) => output.done("done; `store check` says whether a start takes it now"),
    }
    Ok(())
}

/// Makes sure that no node uses a store that is read from, for as long as the file lives. A part of one has no lock.
fn claim(folder: &Path) -> Result<Option<File>, AdminError> {
    let path = folder.join("lock");
    if !path.exists() {
        return Ok(None);
    }
    let lock = OpenOptions::new().read(true).write(true).open(&path).map_err(io_of(&path))?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(_) => Err(AdminError::Usage(format!("a node uses {}: stop it first", folder.display()))),
    }
}

fn look(arguments: &StoreArguments) -> Result<(Offline, Vec<ShardLook>), AdminError> {
    let store = Offline::claim(&arguments.folder, arguments.tails.clone(), arguments.segment_size)
        .map_err(AdminError::Usage)?;
    let shards = store.look().map_err(io_of(&arguments.folder))?;
    Ok((store, shards))
}

/// Whether a start writes there what the tail has.
fn is_mended_by_a_start(shard: &ShardLook, damage: &Damage) -> bool {
    shard.log.as_ref().is_ok_and(|log| damage.segment + damage.from >= log.written_from.0)
}

pub(crate) fn io_of(path: &Path) -> impl FnOnce(io::Error) -> AdminError {
    let path = path.display().to_string();
    move |error| AdminError::Usage(format!("{path}: {error}"))
}
