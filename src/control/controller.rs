//! A controller's shell: its thread, its two files, its sockets, its links to the other controllers, and what it tells brokers.
//!
//! tokio, one thread, which is the controller's own: a flush of its files holds up nobody else. Requests that come while one is written are
//! agreed about together with the next. After an error of its disk it ends, and others decide; see `controller/member.rs`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, sleep};
use tracing::{debug, error, info, warn};

use super::clock::Clock;
use super::plane::{Outcome, ending_signals, wait_for};
use super::server::{Answering, Server, SocketService};
use super::wire::{Wire, WireError};
use crate::config::ControllerConfig;
use crate::controller::{
    Acts, Controller, ControllerAnswer, ControllerMember, MemberDisk, MemberSettings, Owner, PromiseError, RoleChange,
};
use crate::files;
use crate::limits::{CONTROLLER_PEER_QUEUE_MAX, CONTROLLER_TICK_MS};
use crate::model::{ConnectionId, Now};
use crate::namesrv::{Answer, Peer};
use crate::protocol::code::RequestCode;
use crate::protocol::header::Header;
use crate::protocol::reply::{ExtValue, shown};
use crate::protocol::request::AGREE_GROUP;

/// Between two attempts to reach another controller.
const RECONNECT: Duration = Duration::from_millis(200);
/// A message must be taken by the other controller's socket within this.
const MESSAGE_LEAVES: Duration = Duration::from_secs(2);
/// A broker must have taken what it is told of another master within this.
const BROKER_HEARS: Duration = Duration::from_secs(3);
/// Brokers that are told at a time.
const TOLD_AT_ONCE: usize = 64;

/// Why a controller cannot start. One sentence each.
#[derive(Debug, thiserror::Error)]
pub enum ControllerError {
    /// The port is taken, or the address is not of this machine.
    #[error(
        "the controller cannot listen on {address}: {source}; stop who uses the port, or change controllerDLegerPeers and bindAddress"
    )]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
    },
    /// A file or folder cannot be used.
    #[error("the controller cannot use {}: {source}; change its permissions, or controllerStorePath", .path.display())]
    NotUsable {
        /// The file or folder.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// Another process has the folder.
    #[error("another controller uses {}; stop it, or change controllerStorePath", .0.display())]
    Claimed(PathBuf),
    /// What is in the files cannot be believed.
    #[error("{}: {sentence}", .folder.display())]
    Refused {
        /// Where they are.
        folder: PathBuf,
        /// What is wrong, and what to do.
        sentence: String,
    },
    /// The thread's runtime or its signal handlers cannot be made.
    #[error("the controller cannot start: {0}")]
    Runtime(#[from] io::Error),
}

/// A controller whose socket is bound and whose files are read.
pub struct ControllerProcess {
    listener: std::net::TcpListener,
    files: Files,
    member: ControllerMember,
    config: ControllerConfig,
    connections_max: usize,
}

impl ControllerProcess {
    /// Binds the socket and opens the files, or makes them.
    ///
    /// # Errors
    /// [`ControllerError`].
    #[expect(clippy::disallowed_methods, reason = "a shell: before its thread there is no tokio to bind with")]
    pub fn open(config: ControllerConfig, connections_max: usize) -> Result<ControllerProcess, ControllerError> {
        let address = SocketAddr::new(config.bind_ip, config.port());
        let listen = |source| ControllerError::Listen { address, source };
        let listener = std::net::TcpListener::bind(address).map_err(listen)?;
        listener.set_nonblocking(true).map_err(listen)?;
        let owner = Owner { group: config.group.clone(), member: config.this().member() };
        let mut files = Files::claim(&config.store_path)?;
        let [log, snapshot] = files.read()?;
        let peers = config.peers.iter().map(crate::config::ControllerPeer::member).collect();
        // Controllers that are started together must not stand for election together.
        let seed = Clock::start().now().unix.0.cast_unsigned().rotate_left(32) ^ owner.member;
        let settings = MemberSettings::new(owner, peers, seed);
        let opened = ControllerMember::open(settings, log.as_deref(), snapshot.as_deref());
        let refused = |error: PromiseError| ControllerError::Refused {
            folder: config.store_path.clone(),
            sentence: error.to_string(),
        };
        let (member, log) = opened.map_err(refused)?;
        let path = config.store_path.join(LOG);
        files.replace_log(&log).map_err(not_usable(&path))?;
        Ok(ControllerProcess { listener, files, member, config, connections_max })
    }

    /// Runs it until a signal.
    ///
    /// # Errors
    /// If the thread's runtime cannot be made.
    pub fn run(self) -> Result<Outcome, ControllerError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async {
            let signals = ending_signals()?;
            let running = self.serve()?;
            tokio::select! {
                () = wait_for(signals) => {
                    info!("stopping");
                    Ok(Outcome::Stopped)
                }
                outcome = running.go_on() => Ok(outcome),
            }
        })
    }

    /// Runs it on a thread of its own, as long as the process lives.
    ///
    /// # Errors
    /// If the thread cannot be made.
    pub fn run_beside(self) -> Result<(), ControllerError> {
        let work = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return error!(%error, "the controller cannot start"),
            };
            LocalSet::new().block_on(&runtime, async {
                match self.serve() {
                    Ok(running) => drop(running.go_on().await),
                    Err(error) => error!("{error}"),
                }
            });
        };
        std::thread::Builder::new().name("ringmq-controller".to_owned()).spawn(work)?;
        Ok(())
    }

    fn serve(self) -> Result<ControllerLoop, ControllerError> {
        let ControllerProcess { listener, files, member, config, connections_max } = self;
        let clock = Clock::start();
        let group: Rc<str> = Rc::from(config.group.as_str());
        let own = config.this().member();
        let mut peers = BTreeMap::new();
        for peer in config.peers.iter().filter(|peer| peer.member() != own) {
            let (sender, receiver) = mpsc::channel(CONTROLLER_PEER_QUEUE_MAX);
            let link = Link { address: peer.address.clone(), group: Rc::clone(&group), messages: receiver };
            tokio::task::spawn_local(link.run());
            peers.insert(peer.member(), sender);
        }
        let wake = Rc::new(Notify::new());
        let controller = Controller::new(clock.now(), config, member);
        let at_work = AtWork { controller, waiting: BTreeMap::new(), wake: Rc::clone(&wake) };
        let at_work = Rc::new(RefCell::new(at_work));
        let server = Server::new(Rc::clone(&at_work), clock, connections_max);
        tokio::task::spawn_local(server.serve(TcpListener::from_std(listener)?));
        Ok(ControllerLoop { at_work, files, peers, wake, clock, told: Rc::new(Semaphore::new(TOLD_AT_ONCE)) })
    }
}

/// The controller as its sockets see it.
struct AtWork {
    controller: Controller,
    /// Who waits, by ticket.
    waiting: BTreeMap<u64, oneshot::Sender<Answer>>,
    wake: Rc<Notify>,
}

impl SocketService for AtWork {
    type Read = std::convert::Infallible;

    const NAME: &'static str = "controller";

    fn handle(&mut self, now: Now, from: Peer, header: &Header<'_>, body: &[u8]) -> Answering {
        let asked = self.controller.handle(now, from, header, body);
        self.wake.notify_one();
        match asked {
            ControllerAnswer::Answered(answer) => Answering::Now(answer),
            ControllerAnswer::Waits(ticket) => {
                let (sender, receiver) = oneshot::channel();
                self.waiting.insert(ticket, sender);
                Answering::Later(receiver)
            }
        }
    }

    fn is_read_apart(_: i32) -> bool {
        false
    }

    fn read(_: &Header<'_>, _: &[u8]) -> Result<Self::Read, Answer> {
        unreachable!("nothing is read apart")
    }

    fn handle_read(&mut self, _: Now, _: Peer, read: Self::Read) -> Answer {
        match read {}
    }

    fn disconnected(&mut self, now: Now, connection: ConnectionId) -> usize {
        self.controller.disconnected(now, connection)
    }
}

struct ControllerLoop {
    at_work: Rc<RefCell<AtWork>>,
    files: Files,
    peers: BTreeMap<u64, mpsc::Sender<Vec<u8>>>,
    wake: Rc<Notify>,
    clock: Clock,
    told: Rc<Semaphore>,
}

impl ControllerLoop {
    /// Turns, until the disk fails.
    async fn go_on(mut self) -> Outcome {
        let mut ticks = interval(Duration::from_millis(CONTROLLER_TICK_MS));
        // After a pause the others have waited as well: a burst of ticks would only make this one stand for election.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => self.at_work.borrow_mut().controller.tick(self.clock.now()),
                () = self.wake.notified() => {}
            }
            let turned = self.at_work.borrow_mut().controller.turn(self.clock.now(), &mut self.files);
            match turned {
                Ok(acts) => self.carry_out(acts),
                Err(error) => {
                    error!(
                        "the controller ends, for what its disk holds is not known: {error}; look at the disk before it is started again"
                    );
                    return Outcome::Failed;
                }
            }
        }
    }

    fn carry_out(&mut self, acts: Acts) {
        for (to, message) in acts.messages {
            if let Some(peer) = self.peers.get(&to) {
                // A full queue is a network that loses messages: they are told again.
                drop(peer.try_send(message));
            }
        }
        for (ticket, answer) in acts.answers {
            if let Some(waiting) = self.at_work.borrow_mut().waiting.remove(&ticket) {
                // Whoever has gone does not hear it.
                drop(waiting.send(answer));
            }
        }
        for (addresses, change) in acts.changes {
            let change = Rc::new(change);
            for address in addresses {
                let (change, told) = (Rc::clone(&change), Rc::clone(&self.told));
                tokio::task::spawn_local(async move {
                    let Ok(_turn) = told.acquire().await else { return };
                    match tell(&address, &change).await {
                        Ok(()) => debug!(broker = %shown(&address), "told of another master"),
                        Err(error) => {
                            warn!(broker = %shown(&address), "not told of another master, it will ask: {error}");
                        }
                    }
                });
            }
        }
    }
}

/// Tells one broker who the master is (1008).
async fn tell(address: &str, change: &RoleChange) -> Result<(), WireError> {
    let (master, epoch) = (change.master_id.to_string(), change.master_epoch.to_string());
    let set_epoch = change.in_sync.epoch.to_string();
    let ext = [
        ("masterBrokerId", ExtValue::Str(&master)),
        ("masterAddress", ExtValue::Str(&change.master_address)),
        ("masterEpoch", ExtValue::Str(&epoch)),
        ("syncStateSetEpoch", ExtValue::Str(&set_epoch)),
    ];
    let mut wire = Wire::connect(address).await?;
    wire.ask(RequestCode::NotifyBrokerRoleChanged, &ext, &change.in_sync.encode(), BROKER_HEARS).await?;
    Ok(())
}

/// What leads to one other controller.
struct Link {
    address: String,
    group: Rc<str>,
    messages: mpsc::Receiver<Vec<u8>>,
}

impl Link {
    /// Sends what comes, over a connection that is made when something does: followers have nothing to tell one another for hours.
    async fn run(mut self) {
        let mut open: Option<Wire> = None;
        let mut is_out_of_reach = false;
        loop {
            let message = match &mut open {
                None => self.messages.recv().await,
                Some(wire) => tokio::select! {
                    message = self.messages.recv() => message,
                    why = wire.wait_closed() => {
                        debug!(controller = %self.address, "the connection ended: {why}");
                        open = None;
                        continue;
                    }
                },
            };
            let Some(message) = message else { return };
            match self.send(&mut open, &message).await {
                Ok(()) if is_out_of_reach => {
                    info!(controller = %self.address, "another controller is back");
                    is_out_of_reach = false;
                }
                Ok(()) => {}
                Err(why) => {
                    if !is_out_of_reach {
                        warn!(controller = %self.address, "another controller is out of reach: {why}");
                    }
                    (open, is_out_of_reach) = (None, true);
                    sleep(RECONNECT).await;
                    // What waited meanwhile is old: raft says it again.
                    while self.messages.try_recv().is_ok() {}
                }
            }
        }
    }

    async fn send(&self, open: &mut Option<Wire>, message: &[u8]) -> Result<(), WireError> {
        if open.is_none() {
            *open = Some(Wire::connect(&self.address).await?);
        }
        let Some(wire) = open else { return Ok(()) };
        let ext = [(AGREE_GROUP, ExtValue::Str(&self.group))];
        wire.tell(RequestCode::ControllerAgree, &ext, message, MESSAGE_LEAVES).await
    }
}

/// `log`, `snapshot` and `lock` in the controller's folder.
struct Files {
    folder: PathBuf,
    log: Option<File>,
    /// Holds the lock; read by nobody.
    _lock: File,
}

const LOG: &str = "log";
const SNAPSHOT: &str = "snapshot";

impl Files {
    fn claim(folder: &Path) -> Result<Files, ControllerError> {
        files::make_folder(folder).map_err(not_usable(folder))?;
        let path = folder.join("lock");
        let lock = File::options().read(true).write(true).create(true).truncate(false).open(&path);
        let lock = lock.map_err(not_usable(&path))?;
        match lock.try_lock() {
            Ok(()) => Ok(Files { folder: folder.to_owned(), log: None, _lock: lock }),
            Err(std::fs::TryLockError::WouldBlock) => Err(ControllerError::Claimed(folder.to_owned())),
            Err(std::fs::TryLockError::Error(source)) => Err(ControllerError::NotUsable { path, source }),
        }
    }

    /// What the files hold: the log and the snapshot.
    fn read(&self) -> Result<[Option<Vec<u8>>; 2], ControllerError> {
        let read = |name: &str| {
            let path = self.folder.join(name);
            files::read(&path).map_err(not_usable(&path))
        };
        Ok([read(LOG)?, read(SNAPSHOT)?])
    }

    fn open_log(&mut self) -> io::Result<()> {
        self.log = Some(File::options().append(true).open(self.folder.join(LOG))?);
        Ok(())
    }
}

fn not_usable(path: &Path) -> impl FnOnce(io::Error) -> ControllerError {
    let path = path.to_owned();
    move |source| ControllerError::NotUsable { path, source }
}

impl MemberDisk for Files {
    type Error = io::Error;

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let log = self.log.as_mut().ok_or(io::ErrorKind::NotFound)?;
        log.write_all(bytes)?;
        log.sync_data()
    }

    fn replace_log(&mut self, bytes: &[u8]) -> io::Result<()> {
        files::replace(&self.folder.join(LOG), bytes)?;
        self.open_log()
    }

    fn replace_snapshot(&mut self, bytes: &[u8]) -> io::Result<()> {
        files::replace(&self.folder.join(SNAPSHOT), bytes)
    }
}
