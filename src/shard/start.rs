//! Starts a shard: from its settings to a thread that serves, or to a sentence why not.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use thiserror::Error;

use super::descriptors::Descriptors;
use super::pump::{Ending, Shard};
use super::runtime::{self, ExecutorPlan, Runtime, RuntimeError};
use super::{life, open, stop};
use crate::broker::life::Life;
use crate::broker::settings::BrokerSettings;
use crate::control::mailbox::{ControlSender, ShardReceiver};
use crate::disk::{DiskError, RunError, Store, TableError, TailError};
use crate::letter::{StopReason, ToControl};
use crate::log::RecoveryError;
use crate::model::{LogOffset, ShardId};
use crate::net::{ListenError, Listeners};
use crate::protocol::body::ChangesError;

/// What one shard is started with.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ShardSettings {
    /// Which shard of the store.
    pub shard: ShardId,
    /// The claimed store; every shard of the node shares the claim.
    pub store: Arc<Store>,
    /// Address to listen on.
    pub bind_ip: IpAddr,
    /// Main port; the VIP port lies two below. 0: any free pair, of which [`ShardReady`] tells.
    pub port: u16,
    /// Port for replicas. 0: any free one.
    pub ha_port: u16,
    /// How many connections it may have.
    pub descriptors: Descriptors,
    /// Folder of the tail file, a tmpfs. Key: `tailPath`.
    pub tail_folder: PathBuf,
    /// Bytes of the tail ring: a power of two. Key: `tailSize`.
    pub tail_bytes: usize,
    /// What the shard is when the process starts.
    pub life: Life,
    /// The broker's settings. The port of its address is replaced by the one really listened on.
    pub broker: BrokerSettings,
}

/// A shard that serves.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ShardReady {
    pub shard: ShardId,
    /// Where it listens; the VIP port is two below.
    pub address: SocketAddr,
    /// The log as it was found: everything between start and end is there.
    pub log: (LogOffset, LogOffset),
    /// Whether ASYNC_FLUSH survives `kill -9`; if not, it replies after the write.
    pub(crate) tail_survives_kill: bool,
}

/// Why a shard does not start. One sentence that says what to do.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum StartError {
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A port is taken.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The folder cannot be used for direct I/O.
    #[error("the store cannot be used: {0}; it needs a file system with direct I/O that this user may write")]
    Device(DiskError),
    /// The disk does not do what is asked of it.
    #[error("the store cannot be used: {0}; look at the disk, and at who may read and write the file")]
    Disk(#[from] DiskError),
    /// The last run's tail cannot be had.
    #[error(transparent)]
    Tail(#[from] TailError),
    /// The log cannot be opened safely.
    #[error("the log of {folder} is not opened: {source}")]
    Recovery { folder: PathBuf, source: RecoveryError },
    /// It is not known what the last run was.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A table is damaged or missing.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A table is as it was written, or edited, and says nothing that is understood.
    #[error(
        "{path} cannot be read: {reason}; nothing was changed; restore it from a backup or from {path}.bak, the one before it, if that is there, or have {empty} in it to begin without what it said"
    )]
    BadTable {
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
        /// What stands for nothing.
        empty: &'static str,
    },
    /// A file of changes is not what was written.
    #[error(
        "{path}: {reason}; restore it from a backup; or, if only its end is lost, make the file `changes` beside it empty to go on without that; or make both empty to go on without all that it says of topics, groups and positions"
    )]
    Changes {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: ChangesError,
    },
    /// A file of changes is not there any more.
    #[error(
        "{path} is missing, and with it what had changed of topics, groups and positions: nothing was changed; restore it from a backup, or make it and the file `changes` beside it empty to begin without what it said"
    )]
    ChangesGone {
        /// The file.
        path: PathBuf,
    },
    /// The log is to be opened anew, and what is under way does not end.
    #[error("the log of shard {shard} is to be opened anew, but a write does not end; start the node again")]
    Busy { shard: ShardId },
    /// The log has failed while it was brought to its end.
    #[error("shard {shard} is to begin another life, but its log has failed: {reason}")]
    Failed { shard: ShardId, reason: String },
    /// The shard's thread ended before it was ready.
    #[error("shard {shard} ended while it started")]
    Ended { shard: ShardId },
}

/// A shard's thread.
#[derive(Debug)]
pub struct ShardHandle {
    shard: ShardId,
    ready: mpsc::Receiver<Result<ShardReady, StartError>>,
    thread: JoinHandle<Option<StopReason>>,
}

/// Starts a shard's thread. Call [`runtime::check`], [`Descriptors::of_process`] and [`runtime::abort_on_panic`] once before.
///
/// It says [`ToControl::Listening`] when it serves and [`ToControl::Stopped`] as its last word. [`crate::letter::ToShard::Stop`], or the
/// end of the mailbox, stops it.
///
/// # Errors
/// If the thread cannot be made; everything else comes from [`ShardHandle::wait_ready`].
pub fn start(
    settings: ShardSettings,
    control: ControlSender,
    mailbox: ShardReceiver,
) -> Result<ShardHandle, StartError> {
    let (tell_ready, ready) = mpsc::sync_channel(1);
    let shard = settings.shard;
    let plan = ExecutorPlan::of_shard(shard.0, settings.store.shards());
    let failed = tell_ready.clone();
    let thread = runtime::spawn(
        plan,
        move |runtime| run(settings, runtime, control, mailbox, tell_ready),
        move |error| {
            // Nobody waits any more if the node is already stopping.
            drop(failed.send(Err(StartError::Runtime(error))));
        },
    )?;
    Ok(ShardHandle { shard, ready, thread })
}

impl ShardHandle {
    /// Waits until the shard serves. Blocks: recovery may take seconds.
    ///
    /// # Errors
    /// [`StartError`] with what to do.
    pub fn wait_ready(&self) -> Result<ShardReady, StartError> {
        self.ready.recv().unwrap_or(Err(StartError::Ended { shard: self.shard }))
    }

    /// Waits for the shard's end. Blocks.
    ///
    /// # Errors
    /// If the thread panicked, which aborts the process unless it is a test.
    pub fn join(self) -> io::Result<StopReason> {
        match self.thread.join() {
            Ok(Some(reason)) => Ok(reason),
            Ok(None) => Ok(StopReason::Failed(format!("shard {} has no executor", self.shard))),
            Err(_) => Err(io::Error::other(format!("the thread of shard {} panicked", self.shard))),
        }
    }
}

async fn run(
    settings: ShardSettings,
    runtime: Runtime,
    control: ControlSender,
    mailbox: ShardReceiver,
    tell_ready: mpsc::SyncSender<Result<ShardReady, StartError>>,
) -> StopReason {
    let id = settings.shard;
    let listeners = match Listeners::bind(settings.bind_ip, settings.port).await {
        Ok(listeners) => listeners,
        Err(error) => return give_up(&tell_ready, error.into()),
    };
    let replicas = match life::listen_for_replicas(&settings, &settings.life).await {
        Ok(replicas) => replicas,
        Err(error) => return give_up(&tell_ready, error.into()),
    };
    let port = listeners.port();
    let opened = match open::open(&settings, port, &runtime).await {
        Ok(opened) => opened,
        Err(error) => return give_up(&tell_ready, error),
    };
    let listeners = match listeners.open() {
        Ok(listeners) => listeners,
        Err(error) => return give_up(&tell_ready, error.into()),
    };
    let address = SocketAddr::new(settings.bind_ip, port);
    let ready = ShardReady {
        shard: id,
        address,
        log: (opened.broker.view_log().start(), opened.broker.view_log().appended()),
        tail_survives_kill: opened.tail_survives_kill,
    };
    let shard = Shard::new(id, runtime, opened.disk, opened.broker, control);
    shard.tell_control(ToControl::Listening { shard: id, address, tail_survives_kill: ready.tail_survives_kill });
    Rc::clone(&shard).serve(listeners, replicas, mailbox, settings.descriptors);
    drop(tell_ready.send(Ok(ready)));
    loop {
        let reason = match shard.end_wanted().await {
            Ending::Stop(reason) => reason,
            Ending::Life(life) => match life::begin(&shard, &settings, port, life).await {
                Ok(()) => continue,
                Err(error) => StopReason::Failed(error.to_string()),
            },
        };
        return stop::stop(&shard, &settings, reason).await;
    }
}

fn give_up(tell_ready: &mpsc::SyncSender<Result<ShardReady, StartError>>, error: StartError) -> StopReason {
    let sentence = error.to_string();
    drop(tell_ready.send(Err(error)));
    StopReason::Failed(sentence)
}
