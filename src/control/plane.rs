//! The control plane's loop: from sockets bound to the last goodbye.
//!
//! Order at the start: the name server's socket is bound before any shard runs; a shard listens and tells its topics; its links
//! register; when all are known the caller's `ready` runs and prints where everything is. Order at the stop: shards are told,
//! they flush and end; then name servers are told; then the process ends, within 5 s whatever hangs.

use std::cell::RefCell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{debug, error, info, warn};

use super::announce::{Announcer, Command};
use super::clock::Clock;
use super::configuration::{Changed, Configuration};
use super::follow::{Followed, Follower};
use super::mailbox::{ControlReceiver, ShardSender};
use super::registrar::{Identity, Pace, Registrar, Wanted};
use super::restore::{self, FoundReplicas};
use super::route::{RouteAsker, RouteQuestion};
use super::server::{Server, expire_silent};
use crate::config::NamesrvConfig;
use crate::files;
use crate::letter::{OffsetCommit, StopReason, ToControl, ToShard, ToldRoute};
use crate::limits::{CONTROL_MAILBOX_MAX, ROUTE_ASKS_MAX};
use crate::model::{MonoNs, Role, ShardId, TopicName};
use crate::namesrv::{KvConfig, NameServer};
use crate::protocol::reply::shown;
use crate::said::BY_STRANGERS;

/// Shards have this long to flush and end after a signal.
const SHARDS_STOP_WITHIN: Duration = Duration::from_secs(4);
/// And name servers to hear of it.
const GOODBYES_WITHIN: Duration = Duration::from_millis(700);

/// Why the control plane cannot start. One sentence each.
#[derive(Debug, thiserror::Error)]
pub enum PlaneError {
    /// The port is taken, or the address is not of this machine.
    #[error("the name server cannot listen on {address}: {source}; stop who uses the port, or change {key}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// What the kernel said.
        source: io::Error,
        /// The setting that decides the port.
        key: &'static str,
    },
    /// The file of the key-value configuration cannot be used.
    #[error("the name server cannot use {path}: {reason}; repair or remove the file, or change kvConfigPath")]
    KvFile {
        /// The file.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The thread's runtime or its signal handlers cannot be made.
    #[error("the control plane cannot start: {0}")]
    Runtime(#[from] io::Error),
}

/// A name server to run.
pub struct NameServerPlan {
    /// Its settings.
    pub config: NamesrvConfig,
    /// The key of its port, for error messages.
    pub port_key: &'static str,
    /// How many connections it may have.
    pub connections_max: usize,
}

/// One shard as the control plane knows it.
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Seat {
    /// How it registers.
    pub identity: Identity,
    pub mailbox: ShardSender,
}

/// Everything of a node beside its shards' threads.
pub struct NodePlan {
    /// The shards, numbered from 0.
    pub seats: Vec<Seat>,
    /// What they say.
    pub mailbox: ControlReceiver,
    /// `host:port` of every name server to register with.
    pub name_servers: Vec<String>,
    /// How often and how patiently.
    pub pace: Pace,
    /// The settings in force.
    pub configuration: Configuration,
}

/// What `ready` is told.
#[derive(Clone, Copy, Debug)]
pub struct Ready {
    /// Whether all shards' tails survive `kill -9`.
    pub tails_survive_kill: bool,
}

/// How the process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A signal asked for it, and all was in order.
    Stopped,
    /// A shard failed; the log says why.
    Failed,
}

/// The runtime of the control plane, with its name server's socket bound: what must work before shards are started.
pub struct Plane {
    runtime: tokio::runtime::Runtime,
    clock: Clock,
    server: Option<Bound>,
    signals: Vec<Signal>,
}

impl Plane {
    /// Binds the name server's socket, if there is to be one, and takes over the signals that ask for an end.
    ///
    /// # Errors
    /// [`PlaneError`].
    pub fn start(name_server: Option<NameServerPlan>) -> Result<Plane, PlaneError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let clock = Clock::start();
        let (server, signals) = runtime.block_on(async {
            let server = match name_server {
                Some(plan) => Some(bind(plan, clock).await?),
                None => None,
            };
            Ok::<_, PlaneError>((server, ending_signals()?))
        })?;
        Ok(Plane { runtime, clock, server, signals })
    }

    /// Runs a name server alone, until a signal.
    #[must_use]
    pub fn run_name_server(self) -> Outcome {
        let Plane { runtime, clock, server, signals } = self;
        LocalSet::new().block_on(&runtime, async {
            serve(server, clock);
            wait_for(signals).await;
            info!("stopping");
            Outcome::Stopped
        })
    }

    /// The replicas of these masters, and what they kept of consumers' commits while the masters were away, by the order of `identities`. To be
    /// given to the shards before they listen. Takes a few ms, or 2.5 s at most where somebody does not answer.
    #[must_use]
    pub fn find_replicas(&self, identities: &[Identity], name_servers: &[String]) -> Vec<FoundReplicas> {
        LocalSet::new().block_on(&self.runtime, restore::find_replicas(identities, name_servers))
    }

    /// Runs a node until a signal, or until a shard has failed: the others are stopped in order then, so that whoever supervises the
    /// process sees it.
    #[must_use]
    pub fn run_node(self, plan: NodePlan, ready: impl FnOnce(Ready)) -> Outcome {
        let Plane { runtime, clock, server, signals } = self;
        LocalSet::new().block_on(&runtime, async move {
            serve(server, clock);
            Node::new(plan, clock).run(signals, ready).await
        })
    }
}

type Bound = (Server<NameServer>, Rc<RefCell<NameServer>>, TcpListener);

/// Lets the name server answer, if there is one.
fn serve(bound: Option<Bound>, clock: Clock) {
    if let Some((server, machine, listener)) = bound {
        tokio::task::spawn_local(expire_silent(machine, clock));
        tokio::task::spawn_local(server.serve(listener));
    }
}

async fn bind(plan: NameServerPlan, clock: Clock) -> Result<Bound, PlaneError> {
    let path = &plan.config.kv_config_path;
    let refused = |reason: String| PlaneError::KvFile { path: path.display().to_string(), reason };
    let kv = match files::read(path).map_err(|error| refused(error.to_string()))? {
        Some(file) => KvConfig::decode(&file).map_err(|error| refused(error.to_string()))?,
        None => KvConfig::default(),
    };
    let address = SocketAddr::new(plan.config.bind_ip, plan.config.listen_port);
    let listener = TcpListener::bind(address).await.map_err(|source| PlaneError::Listen {
        address,
        source,
        key: plan.port_key,
    })?;
    let machine = Rc::new(RefCell::new(NameServer::new(clock.now(), plan.config, kv)));
    Ok((Server::new(Rc::clone(&machine), clock, plan.connections_max), machine, listener))
}

/// SIGTERM, SIGINT, and SIGHUP, which a terminal sends when it closes: RocketMQ's broker stops in order then as well. Whoever was told to live on
/// without its terminal (`nohup`) ignores it already, and does so further.
pub(super) fn ending_signals() -> io::Result<Vec<Signal>> {
    let mut kinds = vec![SignalKind::terminate(), SignalKind::interrupt()];
    if !ignores_hangup() {
        kinds.push(SignalKind::hangup());
    }
    kinds.into_iter().map(signal).collect()
}

/// Whether the process was started with SIGHUP ignored, as the kernel says: the mask of ignored signals in hexadecimal, SIGHUP the lowest bit.
#[expect(clippy::disallowed_methods, reason = "the control plane is a shell, and asks once")]
fn ignores_hangup() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & 1 != 0)
}

/// Waits for the first of them.
pub(super) async fn wait_for(mut signals: Vec<Signal>) {
    std::future::poll_fn(|context| {
        if signals.iter_mut().any(|signal| signal.poll_recv(context).is_ready()) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
    .await;
}

async fn until(clock: Clock, deadline: Option<MonoNs>) {
    match deadline {
        Some(deadline) => {
            let wait_ms = deadline.ms_since(clock.now().mono).saturating_add(1);
            tokio::time::sleep(Duration::from_millis(wait_ms)).await;
        }
        None => std::future::pending().await,
    }
}

/// What leads to the [`Follower`] of a shard.
struct Follows {
    said: watch::Sender<Followed>,
    commits: mpsc::Sender<Vec<OffsetCommit>>,
}

struct Node {
    clock: Clock,
    announcer: Rc<RefCell<Announcer>>,
    configuration: Configuration,
    mailboxes: Vec<ShardSender>,
    wanted: Vec<watch::Sender<Wanted>>,
    /// By shard.
    follows: Vec<Follows>,
    route_questions: mpsc::Sender<RouteQuestion>,
    links: JoinSet<()>,
    from_shards: ControlReceiver,
    from_links: mpsc::Receiver<(ShardId, usize, super::announce::LinkReport)>,
    tails_survive_kill: bool,
    is_ready: bool,
    all_stopped: bool,
}

impl Node {
    fn new(plan: NodePlan, clock: Clock) -> Node {
        let shards = u16::try_from(plan.seats.len()).expect("SHARDS_MAX fits");
        let announcer =
            Rc::new(RefCell::new(Announcer::new(shards, plan.name_servers.len(), plan.configuration.permission())));
        let (reports, from_links) = mpsc::channel(CONTROL_MAILBOX_MAX);
        let (route_questions, asked) = mpsc::channel(ROUTE_ASKS_MAX);
        tokio::task::spawn_local(RouteAsker::new(plan.name_servers.clone(), asked).run());
        let mut node = Node {
            clock,
            announcer: Rc::clone(&announcer),
            configuration: plan.configuration,
            mailboxes: Vec::new(),
            wanted: Vec::new(),
            follows: Vec::new(),
            route_questions,
            links: JoinSet::new(),
            from_shards: plan.mailbox,
            from_links,
            tails_survive_kill: true,
            is_ready: false,
            all_stopped: false,
        };
        for seat in plan.seats {
            let (wanted, receiver) = watch::channel(Wanted::Nothing);
            let identity = Rc::new(seat.identity);
            for (index, name_server) in plan.name_servers.iter().enumerate() {
                let link = Registrar {
                    identity: Rc::clone(&identity),
                    index,
                    name_server: name_server.clone(),
                    announcer: Rc::clone(&announcer),
                    wanted: receiver.clone(),
                    reports: reports.clone(),
                    pace: plan.pace,
                };
                node.links.spawn_local(link.run());
            }
            node.follow(&identity, seat.mailbox.clone());
            node.mailboxes.push(seat.mailbox);
            node.wanted.push(wanted);
        }
        node
    }

    /// Starts what follows the master of a shard, while that is a slave.
    fn follow(&mut self, identity: &Identity, mailbox: ShardSender) {
        let (said, master) = watch::channel(Followed::default());
        let (give, commits) = mpsc::channel(1);
        let ha_master = identity.ha_master.clone();
        let follower = Follower { shard: identity.shard, mailbox, ha_master, master, proven: None, commits };
        tokio::task::spawn_local(follower.run());
        self.follows.push(Follows { said, commits: give });
    }

    async fn run(mut self, signals: Vec<Signal>, ready: impl FnOnce(Ready)) -> Outcome {
        let mut ready = Some(ready);
        let mut signalled = std::pin::pin!(wait_for(signals));
        let mut stop_deadline: Option<Instant> = None;
        while !self.all_stopped {
            let deadline = self.announcer.borrow().deadline();
            tokio::select! {
                message = self.from_shards.recv() => match message {
                    Some(message) => {
                        let has_failed = matches!(&message, ToControl::Stopped { why: StopReason::Failed(_), .. });
                        self.hear(message);
                        if has_failed && stop_deadline.is_none() {
                            self.stop_shards();
                            stop_deadline = Instant::now().checked_add(SHARDS_STOP_WITHIN);
                        }
                    }
                    None => break,
                },
                // Without name servers there is no link, and this branch rests.
                Some((shard, link, report)) = self.from_links.recv() => {
                    let commands = self.announcer.borrow_mut().handle_link(self.now(), shard, link, report);
                    self.carry_out(commands);
                }
                () = until(self.clock, deadline) => {
                    let commands = self.announcer.borrow_mut().tick(self.now());
                    self.carry_out(commands);
                }
                () = &mut signalled, if stop_deadline.is_none() => {
                    info!("stopping");
                    self.stop_shards();
                    stop_deadline = Instant::now().checked_add(SHARDS_STOP_WITHIN);
                }
                () = sleep_until(stop_deadline.unwrap_or_else(Instant::now)), if stop_deadline.is_some() => {
                    warn!("shards did not stop within 4 s; what was acknowledged is safe, the process ends");
                    break;
                }
            }
            if self.is_ready
                && let Some(ready) = ready.take()
            {
                ready(Ready { tails_survive_kill: self.tails_survive_kill });
            }
        }
        self.say_goodbye().await;
        let failed = self.announcer.borrow().failures().next().is_some();
        if failed || stop_deadline.is_none() {
            return Outcome::Failed;
        }
        info!("stopped");
        Outcome::Stopped
    }

    fn now(&self) -> MonoNs {
        self.clock.now().mono
    }

    fn hear(&mut self, message: ToControl) {
        match &message {
            ToControl::Listening { shard, address, tail_survives_kill } => {
                self.tails_survive_kill &= *tail_survives_kill;
                info!(%shard, %address, tail_survives_kill, "listening");
            }
            ToControl::Stopped { shard, why: StopReason::Failed(why) } => {
                error!(%shard, "{why}");
            }
            ToControl::Measured { shard, snapshot } => debug!(%shard, ?snapshot, "measured"),
            _ => {}
        }
        let commands = self.announcer.borrow_mut().handle_shard(self.now(), message);
        self.carry_out(commands);
    }

    fn carry_out(&mut self, commands: Vec<Command>) {
        for command in commands {
            match command {
                Command::Tell(shard, message) => self.tell(shard, message),
                Command::Register(shard) => {
                    let generation = self.announcer.borrow().shard(shard).map_or(0, |view| view.generation);
                    self.want(shard, Wanted::Generation(generation));
                }
                Command::Unregister(shard) => self.want(shard, Wanted::Goodbye),
                Command::Live(shard, role) => self.say(shard, |said| said.is_slave = role == Role::Slave),
                Command::Follow(shard, master) => self.say(shard, |said| said.master = master),
                Command::Follows(shard, log) => self.say(shard, |said| said.log = log),
                Command::GiveBack(shard, commits) => {
                    // While some are on their way the shard's next look at the master's offsets finds what is left.
                    if let Some(follows) = self.follows.get(usize::from(shard.0)) {
                        drop(follows.commits.try_send(commits));
                    }
                }
                Command::AskRoute(shard, topic) => self.ask_route(shard, topic),
                Command::ChangeSettings { origin, ticket, by, text } => self.change_settings(origin, ticket, by, &text),
                Command::Ready => self.is_ready = true,
                Command::AllStopped => self.all_stopped = true,
            }
        }
    }

    /// Says to a shard's follower what has changed.
    fn say(&self, shard: ShardId, change: impl FnOnce(&mut Followed)) {
        if let Some(follows) = self.follows.get(usize::from(shard.0)) {
            follows.said.send_modify(change);
        }
    }

    fn ask_route(&self, shard: ShardId, topic: TopicName) {
        let Some(mailbox) = self.mailboxes.get(usize::from(shard.0)) else { return };
        let question = RouteQuestion { mailbox: mailbox.clone(), topic, asked: Instant::now() };
        if let Err(TrySendError::Full(RouteQuestion { topic, .. })) = self.route_questions.try_send(question) {
            self.tell(shard, ToShard::RouteTold { topic, route: ToldRoute::Unknown });
        }
    }

    fn change_settings(&mut self, origin: ShardId, ticket: u64, by: IpAddr, text: &str) {
        match self.configuration.change(text) {
            Ok(Changed { config, generation, remark }) => {
                info!(target: BY_STRANGERS, %origin, %by, generation, changes = %shown(text.trim_end()), "settings changed");
                let now = self.now();
                let change = (generation, &config);
                let commands = self.announcer.borrow_mut().settings_changed(now, (origin, ticket), change, remark);
                self.carry_out(commands);
            }
            Err(refused) => {
                warn!(target: BY_STRANGERS, %origin, %by, remark = refused.remark, "settings were not changed");
                self.tell(origin, ToShard::SettingsAnswer { ticket, result: Err(refused) });
            }
        }
    }

    fn want(&self, shard: ShardId, wanted: Wanted) {
        if let Some(sender) = self.wanted.get(usize::from(shard.0)) {
            sender.send_replace(wanted);
        }
    }

    fn tell(&self, shard: ShardId, message: ToShard) {
        let Some(mailbox) = self.mailboxes.get(usize::from(shard.0)) else { return };
        match mailbox.try_send(message) {
            // A closed mailbox: the shard ended, and its last word is on its way.
            Ok(()) | Err(TrySendError::Closed(_)) => {}
            Err(TrySendError::Full(message)) => {
                let mailbox = mailbox.clone();
                tokio::task::spawn_local(async move { drop(mailbox.send(message).await) });
            }
        }
    }

    fn stop_shards(&self) {
        let running: Vec<ShardId> = self.announcer.borrow().running().collect();
        for shard in running {
            self.tell(shard, ToShard::Stop);
        }
    }

    async fn say_goodbye(&mut self) {
        for wanted in &self.wanted {
            wanted.send_replace(Wanted::Goodbye);
        }
        // Reports have no reader any more; closing lets links that wait to report go on.
        self.from_links.close();
        let all = async { while self.links.join_next().await.is_some() {} };
        if timeout(GOODBYES_WITHIN, all).await.is_err() {
            warn!("not every name server heard the goodbye; they drop this node when its connections close");
        }
    }
}
