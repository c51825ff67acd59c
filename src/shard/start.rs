//! Starts a shard: from its settings to a thread that serves, or to a sentence why not.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;

use thiserror::Error;

use super::pump::Shard;
use super::runtime::{self, ExecutorPlan, Runtime, RuntimeError};
use super::{open, stop};
use super::open::Opened;
use crate::broker::settings::BrokerSettings;
use crate::control::message::{ControlSender, ShardReceiver, StopReason, ToControl, ToShard};
use crate::disk::{DiskError, Store, TailError};
use crate::log::{LogSettings, RecoveryError};
use crate::model::{LogOffset, ShardId};
use crate::net::{ListenError, Listeners, ReplicaListener};

/// What one shard is started with.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    /// Which shard of the store.
    pub shard: ShardId,
    /// The claimed store; every shard of the node shares the claim.
    pub store: Arc<Store>,
    /// Address to listen on.
    pub bind_ip: IpAddr,
    /// Main port; the VIP port lies two below. 0: any free pair, of which [`Ready`] tells.
    pub port: u16,
    /// Port for replicas. 0: any free one.
    pub ha_port: u16,
    /// Folder of the tail file, a tmpfs. Key: `tailPath`.
    pub tail_folder: PathBuf,
    /// Bytes of the tail ring: a power of two. Key: `tailSize`.
    pub tail_bytes: usize,
    /// The log's settings.
    pub log: LogSettings,
    /// The broker's settings. The port of its address is replaced by the one really listened on.
    pub broker: BrokerSettings,
}

/// A shard that serves.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Which shard.
    pub shard: ShardId,
    /// Where it listens; the VIP port is two below.
    pub address: SocketAddr,
    /// The log as it was found: everything between start and end is there.
    pub log: (LogOffset, LogOffset),
    /// Bytes of the log's end that came from the tail, at most: what the dead process had not written.
    pub tail_found: Option<LogOffset>,
    /// Whether ASYNC_FLUSH survives `kill -9`; if not, it replies after the write.
    pub tail_survives_kill: bool,
}

/// Why a shard does not start. One sentence that says what to do.
#[derive(Debug, Error)]
pub enum StartError {
    /// No executor.
    #[error(transparent)]
    Runtime(#[from] RuntimeError),
    /// A port is taken.
    #[error(transparent)]
    Listen(#[from] ListenError),
    /// The folder cannot be used for direct I/O.
    #[error("the store cannot be used: {0}; it needs a file system with direct I/O that this user may write")]
    Disk(#[from] DiskError),
    /// The last run's tail cannot be had.
    #[error(transparent)]
    Tail(#[from] TailError),
    /// The log cannot be opened safely.
    #[error("the log of {folder} is not opened: {source}")]
    Recovery {
        /// The shard's folder.
        folder: PathBuf,
        /// Why.
        source: RecoveryError,
    },
    /// A table is damaged.
    #[error("{path} cannot be read: {reason}; restore it from a backup, or remove it to begin with an empty table")]
    Table {
        /// The table's file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The shard's thread ended before it was ready.
    #[error("shard {shard} ended while it started")]
    Ended {
        /// Which shard.
        shard: ShardId,
    },
}

/// A shard's thread.
#[derive(Debug)]
pub struct ShardHandle {
    shard: ShardId,
    ready: mpsc::Receiver<Result<Ready, StartError>>,
    thread: JoinHandle<Option<StopReason>>,
}

/// How a life of a shard has ended.
#[derive(Debug)]
pub(super) enum Ending {
    /// For good.
    Stop(StopReason),
    /// Its log is to be cut here, which a running log cannot be: the next life begins at once.
    Cut(LogOffset),
}

/// What a shard takes from one life to the next.
#[derive(Clone, Debug)]
pub(super) struct Carried {
    /// Read by one life at a time.
    pub(super) mailbox: Arc<tokio::sync::Mutex<ShardReceiver>>,
    /// The last [`ToShard::MasterFound`], which the control plane does not repeat.
    pub(super) master: Arc<Mutex<Option<ToShard>>>,
}

/// Starts a shard's thread. Call [`runtime::check`], [`runtime::raise_open_files`] and [`runtime::abort_on_panic`] once before.
///
/// It says [`ToControl::Listening`] when it serves and [`ToControl::Stopped`] as its last word. [`crate::control::message::ToShard::Stop`], or the
/// end of the mailbox, stops it. A slave whose log has left its master's gets a new executor, on which the log is opened anew and cut: whatever
/// of the old one was under way has ended with it.
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
    let carried = Carried { mailbox: Arc::new(tokio::sync::Mutex::new(mailbox)), master: Arc::default() };
    let name = format!("{}-lives", plan.name);
    let lives = std::thread::Builder::new().name(name.clone());
    let thread = lives.spawn(move || {
        let (mut tell_ready, mut end_max) = (Some(tell_ready), None);
        loop {
            let first = tell_ready.take();
            match live(&plan, settings.clone(), control.clone(), carried.clone(), first, end_max)? {
                Ending::Stop(reason) => return Some(reason),
                Ending::Cut(at) => end_max = Some(at),
            }
        }
    });
    let thread = thread.map_err(|source| RuntimeError::Thread { name, source })?;
    Ok(ShardHandle { shard, ready, thread })
}

/// One life, on an executor of its own. `tell_ready` is there in the first one. `None` if there was no executor.
fn live(
    plan: &ExecutorPlan,
    settings: ShardSettings,
    control: ControlSender,
    carried: Carried,
    tell_ready: Option<TellReady>,
    end_max: Option<LogOffset>,
) -> Option<Ending> {
    let failed = tell_ready.clone();
    let life = runtime::spawn(
        plan.clone(),
        move |runtime| run(settings, runtime, control, carried, tell_ready, end_max),
        move |error| drop(failed.map(|failed| failed.send(Err(StartError::Runtime(error))))),
    );
    match life.map(JoinHandle::join) {
        Ok(Ok(ending)) => ending,
        // A panic aborts the process, unless it is a test's.
        Ok(Err(panic)) => std::panic::resume_unwind(panic),
        Err(error) => Some(Ending::Stop(StopReason::Failed(error.to_string()))),
    }
}

impl ShardHandle {
    /// Waits until the shard serves. Blocks: recovery may take seconds.
    ///
    /// # Errors
    /// [`StartError`] with what to do.
    pub fn wait_ready(&self) -> Result<Ready, StartError> {
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

type TellReady = mpsc::SyncSender<Result<Ready, StartError>>;

async fn run(
    settings: ShardSettings,
    runtime: Runtime,
    control: ControlSender,
    carried: Carried,
    tell_ready: Option<TellReady>,
    end_max: Option<LogOffset>,
) -> Ending {
    let id = settings.shard;
    let (listeners, replicas, opened) = match prepare(settings, &runtime, end_max).await {
        Ok(prepared) => prepared,
        Err(error) => return give_up(id, tell_ready, &control, error).await,
    };
    let address = SocketAddr::new(opened.bind_ip, listeners.port());
    let ready = Ready {
        shard: id,
        address,
        log: (opened.broker.log().start(), opened.broker.log().appended()),
        tail_found: opened.tail_found,
        tail_survives_kill: opened.tail_survives_kill,
    };
    let shard = Shard::new(id, runtime, opened.disk, opened.broker, control);
    shard.tell_control(ToControl::Listening { shard: id, address, tail_survives_kill: ready.tail_survives_kill });
    Rc::clone(&shard).serve(listeners, replicas, carried);
    // Nobody waits any more if the node is already stopping.
    drop(tell_ready.map(|tell_ready| tell_ready.send(Ok(ready))));
    match shard.end_wanted().await {
        Ending::Stop(reason) => Ending::Stop(stop::stop(&shard, reason).await),
        Ending::Cut(at) => stop::cut(&shard, at).await,
    }
}

/// Takes the ports and opens the log.
async fn prepare(
    settings: ShardSettings,
    runtime: &Runtime,
    end_max: Option<LogOffset>,
) -> Result<(Listeners, Option<ReplicaListener>, Opened), StartError> {
    let listeners = Listeners::bind(settings.bind_ip, settings.port).await?;
    let replicas = if settings.broker.replica.role.is_master() {
        Some(ReplicaListener::bind(settings.bind_ip, settings.ha_port).await?)
    } else {
        None
    };
    let opened = open::open(settings, listeners.port(), runtime, end_max).await?;
    Ok((listeners, replicas, opened))
}

async fn give_up(shard: ShardId, tell_ready: Option<TellReady>, control: &ControlSender, error: StartError) -> Ending {
    let why = StopReason::Failed(error.to_string());
    match tell_ready {
        Some(tell_ready) => drop(tell_ready.send(Err(error))),
        // It has served before: the control plane waits for its last word.
        None => {
            tracing::error!(%shard, "the shard stops: {error}");
            drop(control.send(ToControl::Stopped { shard, why: why.clone() }).await);
        }
    }
    Ending::Stop(why)
}
