//! Decides when a change of a shard's topics counts as known, and makes siblings follow an automatic creation. Pure.
//!
//! The control plane's loop calls [`Announcer::handle_shard`] for what shards say, [`Announcer::handle_link`] for what the links to name
//! servers report, and [`Announcer::tick`] when [`Announcer::deadline`] has passed; it carries out the [`Command`]s in order.
//! State of the node.
//!
//! A change is known when every name server that answers has taken it, or half a second after it came: a producer waits for that, whose client
//! gives up after 3 s and would send the message again. A name server that was waited for in vain (it hangs, or a firewall swallows what it says)
//! is not waited for again until it registers something.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::NodeConfig;
use crate::letter::{
    CONTROL_TICKET_MIN, OffsetCommit, PassedBy, ReplyMessage, ReplyOutcome, SettingsRefused, StopReason, ToControl,
    ToShard,
};
use crate::model::{BrokerId, MasterLog, MonoNs, Role, ShardId, TopicName};
use crate::protocol::body::{DataVersion, TopicConfig};
use crate::protocol::code::ResponseCode;

/// A change of topics is answered after this at the latest.
const KNOWN_WITHIN_MS: u64 = 500;
/// At the start nobody waits for an answer yet.
const READY_WITHIN_MS: u64 = 3_000;
/// A change of settings is answered after this at the latest: a tenth before a client that waits 3 s gives up.
const SETTINGS_WITHIN_MS: u64 = 2_700;

/// What the loop does next.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    /// Put this into the shard's mailbox.
    Tell(ShardId, ToShard),
    /// The shard's table changed: its links register it now.
    Register(ShardId),
    /// The shard is gone: its links say goodbye.
    Unregister(ShardId),
    /// The shard is a slave from now on, or a master, which follows nobody.
    Live(ShardId, Role),
    /// A slave's master is there now, or elsewhere, or gone.
    Follow(ShardId, Option<MasterAddress>),
    /// This slave begins or ceases to follow a master.
    Follows(ShardId, Option<MasterLog>),
    /// A slave's commits go to its master.
    GiveBack(ShardId, Vec<OffsetCommit>),
    /// A name server is to be asked for a topic's route, which the shard is told.
    AskRoute(ShardId, TopicName),
    /// Settings are to be changed: then [`Announcer::settings_changed`], or the origin is told why not.
    ChangeSettings {
        /// Who was asked.
        origin: ShardId,
        ticket: u64,
        /// Where the tool is.
        by: IpAddr,
        /// Properties.
        text: String,
    },
    /// Every shard listens and is known, or was waited for long enough. Once.
    Ready,
    /// Every shard has stopped. Once.
    AllStopped,
}

/// Where a name server says that a slave's master is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MasterAddress {
    /// `host:port` for clients.
    pub(crate) address: String,
    /// `host:port` for slaves.
    pub(crate) ha_address: String,
}

/// What a link tells about one shard at one name server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkReport {
    /// The name server has the shard's topics up to this generation.
    Registered {
        /// The shard's, see [`ShardView::generation`].
        generation: u64,
        /// Of a slave: its master, if this name server knows one.
        master: Option<MasterAddress>,
    },
    /// The name server cannot be reached or refused; nobody waits for it until it registers again.
    Down,
}

/// What is registered for one shard.
#[derive(Clone, Debug, Default)]
pub(crate) struct ShardView {
    /// Every topic of the shard, with the generation in which it last changed.
    pub(crate) topics: BTreeMap<TopicName, (TopicConfig, u64)>,
    /// The shard's topic table version.
    pub(crate) version: DataVersion,
    /// Raised by every change that name servers must learn; 0 until the whole table was told.
    pub(crate) generation: u64,
    /// How name servers know it, as it has said itself: 0 of a master.
    pub(crate) broker_id: BrokerId,
    /// Whether nothing may be written to it.
    pub(crate) holds_back: bool,
    listens: bool,
    stopped: Option<StopReason>,
    links: Vec<NameServerLink>,
    /// Of a slave: the master that it was told to follow.
    master: Option<MasterAddress>,
}

impl ShardView {
    /// Every topic is registered with another permission. In which generation.
    fn change_all(&mut self, version: DataVersion) -> u64 {
        self.version = version;
        self.generation = self.generation.saturating_add(1);
        let generation = self.generation;
        self.topics.values_mut().for_each(|(_, changed)| *changed = generation);
        generation
    }
}

#[derive(Clone, Debug, Default)]
struct NameServerLink {
    registered: u64,
    down: bool,
    /// Something was answered without it: nobody waits for it until it registers again.
    late: bool,
    master: Option<MasterAddress>,
}

/// A change that someone waits for.
#[derive(Clone, Debug)]
struct PendingChange {
    origin: ShardId,
    ticket: u64,
    /// Siblings that have not created the topic yet, by the ticket they were given.
    ensuring: BTreeMap<u64, ShardId>,
    /// Generations that name servers must have.
    needed: Vec<(ShardId, u64)>,
    deadline: MonoNs,
    /// Of settings; then `ensuring` are shards that do not go by them yet.
    settings: Option<Settings>,
}

/// What is said of settings that have changed, beside success.
#[derive(Clone, Copy, Debug)]
struct Settings {
    remark: Option<&'static str>,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Announcer {
    shards: BTreeMap<ShardId, ShardView>,
    /// `brokerPermission`, by which every topic is registered.
    permission: u8,
    pending: Vec<PendingChange>,
    next_ticket: u64,
    ready: bool,
    ready_deadline: Option<MonoNs>,
    all_stopped: bool,
}

impl Announcer {
    /// For `shards` shards, each of which has a link to each of `name_servers` name servers; `permission` is `brokerPermission`.
    #[must_use]
    pub(crate) fn new(shards: u16, name_servers: usize, permission: u8) -> Announcer {
        let view = || ShardView { links: vec![NameServerLink::default(); name_servers], ..ShardView::default() };
        Announcer {
            shards: (0..shards).map(|shard| (ShardId(shard), view())).collect(),
            permission,
            pending: Vec::new(),
            next_ticket: CONTROL_TICKET_MIN,
            ready: false,
            ready_deadline: None,
            all_stopped: false,
        }
    }

    /// What is to be registered for `shard`.
    #[must_use]
    pub(crate) fn shard(&self, shard: ShardId) -> Option<&ShardView> {
        self.shards.get(&shard)
    }

    /// `brokerPermission`.
    #[must_use]
    pub(crate) fn permission(&self) -> u8 {
        self.permission
    }

    /// Why each stopped shard stopped by itself.
    pub(crate) fn failures(&self) -> impl Iterator<Item = (ShardId, &str)> {
        self.shards.iter().filter_map(|(shard, view)| match &view.stopped {
            Some(StopReason::Failed(why)) => Some((*shard, why.as_str())),
            _ => None,
        })
    }

    /// Shards that still run.
    pub(crate) fn running(&self) -> impl Iterator<Item = ShardId> {
        self.shards.iter().filter(|(_, view)| view.stopped.is_none()).map(|(shard, _)| *shard)
    }

    /// When [`Announcer::tick`] has something to do.
    #[must_use]
    pub(crate) fn deadline(&self) -> Option<MonoNs> {
        let waiting = if self.ready { None } else { self.ready_deadline };
        self.pending.iter().map(|pending| pending.deadline).chain(waiting).min()
    }

    /// Takes a shard's message.
    pub(crate) fn handle_shard(&mut self, now: MonoNs, message: ToControl) -> Vec<Command> {
        let mut commands = Vec::new();
        match message {
            ToControl::Listening { shard, .. } => {
                if let Some(view) = self.shards.get_mut(&shard) {
                    view.listens = true;
                    self.registers(shard, &mut commands);
                }
            }
            // The topics follow, and with them it is registered.
            ToControl::LifeBegan { shard, role, broker_id } => {
                if let Some(view) = self.shards.get_mut(&shard) {
                    view.broker_id = broker_id;
                    view.holds_back = false;
                    commands.push(Command::Live(shard, role));
                }
            }
            ToControl::TopicsChanged { shard, ticket, topics, version, spread, full } => {
                self.changed(now, shard, ticket, &topics, version, full, spread, &mut commands);
            }
            ToControl::TopicDeleted { shard, ticket, topic, version } => {
                let Some(view) = self.shards.get_mut(&shard) else { return commands };
                view.topics.remove(topic.as_str());
                view.version = version;
                view.generation = view.generation.saturating_add(1);
                let needed = vec![(shard, view.generation)];
                self.wait(now, shard, ticket, BTreeMap::new(), needed, None);
                self.registers(shard, &mut commands);
            }
            ToControl::Stopped { shard, why } => self.stopped(shard, why, &mut commands),
            ToControl::GiveBack { shard, commits } => commands.push(Command::GiveBack(shard, commits)),
            ToControl::HoldsBack { shard, holds_back, version } => {
                let Some(view) = self.shards.get_mut(&shard) else { return commands };
                view.holds_back = holds_back;
                view.change_all(version);
                self.registers(shard, &mut commands);
            }
            ToControl::Follows { shard, master } => commands.push(Command::Follows(shard, master)),
            ToControl::ChangeSettings { shard: origin, ticket, by, text } => {
                commands.push(Command::ChangeSettings { origin, ticket, by, text });
            }
            ToControl::SettingsTaken { shard, ticket, topics } => {
                self.settings_taken(shard, ticket, topics, &mut commands)
            }
            ToControl::PassReply { shard: origin, ticket, message } => {
                self.pass_reply(origin, ticket, &message, &mut commands)
            }
            ToControl::ReplyPushed { to: PassedBy { origin, ticket, asked }, outcome, .. } => {
                commands.push(Command::Tell(origin, ToShard::ReplyPassed { ticket, asked, outcome }));
            }
            ToControl::AskRoute { shard, topic } => commands.push(Command::AskRoute(shard, topic)),
            ToControl::Measured { .. } => {}
        }
        self.settle(now, &mut commands);
        commands
    }

    /// The node's configuration is another now: every shard is told, and the origin when all of them go by it.
    pub(crate) fn settings_changed(
        &mut self,
        now: MonoNs,
        (origin, ticket): (ShardId, u64),
        (generation, config): (u64, &Arc<NodeConfig>),
        remark: Option<&'static str>,
    ) -> Vec<Command> {
        let mut commands = Vec::new();
        self.permission = config.broker_permission;
        let running: Vec<ShardId> = self.running().collect();
        let mut ensuring = BTreeMap::new();
        for shard in running {
            let ticket = self.take_ticket();
            ensuring.insert(ticket, shard);
            let config = Arc::clone(config);
            commands.push(Command::Tell(shard, ToShard::Settings { ticket, generation, config }));
        }
        self.wait(now, origin, ticket, ensuring, Vec::new(), Some(Settings { remark }));
        commands
    }

    fn settings_taken(
        &mut self,
        shard: ShardId,
        ticket: u64,
        topics: Option<DataVersion>,
        commands: &mut Vec<Command>,
    ) {
        let Some(view) = self.shards.get_mut(&shard) else { return };
        let mut needed = None;
        if let Some(version) = topics {
            needed = Some((shard, view.change_all(version)));
        }
        if let Some(pending) = self.pending.iter_mut().find(|pending| pending.ensuring.contains_key(&ticket)) {
            pending.ensuring.remove(&ticket);
            pending.needed.extend(needed);
        }
        if needed.is_some() {
            self.registers(shard, commands);
        }
    }

    /// Takes a link's report; `link` counts the name servers from 0.
    pub(crate) fn handle_link(&mut self, now: MonoNs, shard: ShardId, link: usize, report: LinkReport) -> Vec<Command> {
        let mut commands = Vec::new();
        if let Some(view) = self.shards.get_mut(&shard)
            && let Some(link) = view.links.get_mut(link)
        {
            match report {
                LinkReport::Registered { generation, master } => {
                    let is_news = link.master != master;
                    *link = NameServerLink { registered: generation, down: false, late: false, master: master.clone() };
                    if is_news && let Some(master) = view.follow(master) {
                        commands.push(Command::Follow(shard, master));
                    }
                }
                // What it said last stays: a name server that is gone says nothing about the master.
                LinkReport::Down => link.down = true,
            }
        }
        self.settle(now, &mut commands);
        commands
    }

    pub(crate) fn tick(&mut self, now: MonoNs) -> Vec<Command> {
        let mut commands = Vec::new();
        self.settle(now, &mut commands);
        commands
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one message, taken apart once")]
    fn changed(
        &mut self,
        now: MonoNs,
        shard: ShardId,
        ticket: u64,
        topics: &[TopicConfig],
        version: DataVersion,
        full: bool,
        spread: bool,
        commands: &mut Vec<Command>,
    ) {
        let Some(view) = self.shards.get_mut(&shard) else { return };
        view.generation = view.generation.saturating_add(1);
        view.version = version;
        let before = if full { std::mem::take(&mut view.topics) } else { BTreeMap::new() };
        for config in topics {
            // What is told again as it was has not changed: name servers are not to hear of it.
            let same = before.get(&config.name).filter(|(known, _)| known == config);
            let changed_in = same.map_or(view.generation, |(_, changed_in)| *changed_in);
            view.topics.insert(config.name.clone(), (config.clone(), changed_in));
        }
        let needed = (shard, view.generation);
        let asked = ticket >= CONTROL_TICKET_MIN;
        let waiter = self.pending.iter_mut().find(|pending| pending.ensuring.contains_key(&ticket));
        if let Some(pending) = waiter.filter(|_| asked) {
            pending.ensuring.remove(&ticket);
            pending.needed.push(needed);
            commands.push(Command::Tell(shard, ToShard::Registered { ticket }));
        } else {
            let ensuring = if spread { self.ensure_on_siblings(shard, topics, commands) } else { BTreeMap::new() };
            self.wait(now, shard, ticket, ensuring, vec![needed], None);
        }
        self.registers(shard, commands);
    }

    fn ensure_on_siblings(
        &mut self,
        origin: ShardId,
        topics: &[TopicConfig],
        commands: &mut Vec<Command>,
    ) -> BTreeMap<u64, ShardId> {
        let siblings: Vec<ShardId> = self.running().filter(|shard| *shard != origin).collect();
        let mut ensuring = BTreeMap::new();
        for shard in siblings {
            for config in topics {
                let ticket = self.take_ticket();
                ensuring.insert(ticket, shard);
                commands.push(Command::Tell(shard, ToShard::EnsureTopic { ticket, config: config.clone() }));
            }
        }
        ensuring
    }

    /// Asks all siblings for the client that a reply message is for; without any there is none.
    fn pass_reply(&self, origin: ShardId, ticket: u64, message: &Arc<ReplyMessage>, commands: &mut Vec<Command>) {
        let siblings: Vec<ShardId> = self.running().filter(|shard| *shard != origin).collect();
        let asked = siblings.len();
        if asked == 0 {
            let outcome = ReplyOutcome::NotConnected;
            commands.push(Command::Tell(origin, ToShard::ReplyPassed { ticket, asked, outcome }));
        }
        for shard in siblings {
            let from = PassedBy { origin, ticket, asked };
            commands.push(Command::Tell(shard, ToShard::PushReply { from, message: Arc::clone(message) }));
        }
    }

    fn take_ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket = self.next_ticket.checked_add(1).unwrap_or(CONTROL_TICKET_MIN);
        ticket
    }

    fn wait(
        &mut self,
        now: MonoNs,
        origin: ShardId,
        ticket: u64,
        ensuring: BTreeMap<u64, ShardId>,
        needed: Vec<(ShardId, u64)>,
        settings: Option<Settings>,
    ) {
        let deadline = now.plus_ms(if settings.is_some() { SETTINGS_WITHIN_MS } else { KNOWN_WITHIN_MS });
        self.pending.push(PendingChange { origin, ticket, ensuring, needed, deadline, settings });
    }

    /// A shard registers once it both listens and has told its whole table: a route must not lead to a closed port.
    fn registers(&self, shard: ShardId, commands: &mut Vec<Command>) {
        if self.shards.get(&shard).is_some_and(ShardView::is_registered) {
            commands.push(Command::Register(shard));
        }
    }

    fn stopped(&mut self, shard: ShardId, why: StopReason, commands: &mut Vec<Command>) {
        let Some(view) = self.shards.get_mut(&shard) else { return };
        view.stopped = Some(why);
        for pending in &mut self.pending {
            pending.ensuring.retain(|_, sibling| *sibling != shard);
        }
        self.pending.retain(|pending| pending.origin != shard);
        commands.push(Command::Unregister(shard));
    }

    /// Answers what is known by now, and tells once that all are ready or all have stopped.
    fn settle(&mut self, now: MonoNs, commands: &mut Vec<Command>) {
        let shards = &mut self.shards;
        self.pending.retain(|pending| {
            let known = pending.ensuring.is_empty()
                && pending
                    .needed
                    .iter()
                    .all(|(shard, generation)| shards.get(shard).is_none_or(|view| view.is_known(*generation)));
            let done = known || now >= pending.deadline;
            if done {
                commands.push(Command::Tell(pending.origin, pending.answer()));
                for (shard, generation) in &pending.needed {
                    if let Some(view) = shards.get_mut(shard) {
                        view.went_on_without(*generation);
                    }
                }
            }
            !done
        });
        if !self.ready && self.shards.values().all(|view| view.is_registered() || view.stopped.is_some()) {
            let deadline = *self.ready_deadline.get_or_insert(now.plus_ms(READY_WITHIN_MS));
            if now >= deadline || self.shards.values().all(|view| view.is_known(1)) {
                self.ready = true;
                self.shards.values_mut().for_each(|view| view.went_on_without(1));
                commands.push(Command::Ready);
            }
        }
        if !self.all_stopped && self.shards.values().all(|view| view.stopped.is_some()) {
            self.all_stopped = true;
            commands.push(Command::AllStopped);
        }
    }
}

impl PendingChange {
    /// What the origin is told when it is known, or was waited for long enough.
    fn answer(&self) -> ToShard {
        let ticket = self.ticket;
        match self.settings {
            None => ToShard::Registered { ticket },
            Some(Settings { remark }) if self.ensuring.is_empty() => {
                ToShard::SettingsAnswer { ticket, result: Ok(remark) }
            }
            Some(_) => {
                let late: Vec<String> = self.ensuring.values().map(ShardId::to_string).collect();
                let remark = format!(
                    "the file has the change, but these shards do not go by it after {SETTINGS_WITHIN_MS} ms: {}; look again with getBrokerConfig",
                    late.join(", ")
                );
                ToShard::SettingsAnswer {
                    ticket,
                    result: Err(SettingsRefused { code: ResponseCode::SystemError, remark }),
                }
            }
        }
    }
}

impl ShardView {
    /// Whether name servers are to know this shard.
    #[must_use]
    pub(crate) fn is_registered(&self) -> bool {
        self.listens && self.generation > 0 && self.stopped.is_none()
    }

    /// A name server's answer has changed to `said`: the master to follow from now on, if that is another than before.
    ///
    /// Name servers learn of a change one after the other. One that names a new master wins; one that names none any more does not, as
    /// long as another still names one: it may just have been started.
    fn follow(&mut self, said: Option<MasterAddress>) -> Option<Option<MasterAddress>> {
        let is_still_named = || self.links.iter().any(|link| link.master.is_some() && link.master == self.master);
        let next = match said {
            Some(master) => Some(master),
            None if is_still_named() => return None,
            None => self.links.iter().find_map(|link| link.master.clone()),
        };
        if next == self.master {
            return None;
        }
        self.master.clone_from(&next);
        Some(next)
    }

    /// A shard that does not listen yet has nobody who could know it, and nobody waits for that.
    fn is_known(&self, generation: u64) -> bool {
        let waits_for = |link: &NameServerLink| !link.down && !link.late && link.registered < generation;
        !self.is_registered() || !self.links.iter().any(waits_for)
    }

    /// A change was answered: whoever has not taken it yet was waited for long enough.
    fn went_on_without(&mut self, generation: u64) {
        if self.is_registered() {
            self.links.iter_mut().for_each(|link| link.late |= link.registered < generation);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::NodeKind;

    const T0: MonoNs = MonoNs(0);
    const A: ShardId = ShardId(0);
    const B: ShardId = ShardId(1);

    fn listening(shard: ShardId) -> ToControl {
        let address = std::net::SocketAddr::from(([127, 0, 0, 1], 10911));
        ToControl::Listening { shard, address, tail_survives_kill: true }
    }

    fn changed(shard: ShardId, ticket: u64, topic: &str, spread: bool) -> ToControl {
        let topics = vec![TopicConfig::new(topic, 4)];
        ToControl::TopicsChanged { shard, ticket, topics, version: DataVersion::default(), spread, full: false }
    }

    fn shown(commands: &[Command]) -> Vec<String> {
        let show = |command: &Command| match command {
            Command::Tell(shard, ToShard::Registered { ticket }) => format!("{shard} registered {ticket:x}"),
            Command::Tell(shard, ToShard::EnsureTopic { ticket, config }) => {
                format!("{shard} ensure {} {ticket:x}", config.name)
            }
            Command::Tell(shard, other) => format!("{shard} {other:?}"),
            Command::Register(shard) => format!("register {shard}"),
            Command::Unregister(shard) => format!("unregister {shard}"),
            Command::ChangeSettings { origin, text, .. } => format!("{origin} changes {text}"),
            Command::Live(shard, role) => format!("{shard} is {role}"),
            Command::Follow(shard, master) => {
                format!("{shard} follows {}", master.as_ref().map_or("nobody", |master| &master.address))
            }
            Command::Follows(shard, master) => format!("{shard} has found {master:?}"),
            Command::AskRoute(shard, topic) => format!("{shard} asks for {topic}"),
            Command::GiveBack(shard, commits) => format!("{shard} gives back {}", commits.len()),
            Command::Ready => "ready".to_owned(),
            Command::AllStopped => "all stopped".to_owned(),
        };
        commands.iter().map(show).collect()
    }

    /// Two shards, both listening and known to both name servers.
    fn running() -> Announcer {
        let mut announcer = Announcer::new(2, 2, 6);
        for shard in [A, B] {
            announcer.handle_shard(T0, listening(shard));
            announcer.handle_shard(T0, changed(shard, 1, "TBW102", false));
            for link in 0..2 {
                announcer.handle_link(T0, shard, link, LinkReport::Registered { generation: 1, master: None });
            }
        }
        announcer
    }

    #[test]
    fn ready_when_all_listen_and_are_known() {
        let mut announcer = Announcer::new(2, 1, 6);
        assert_eq!(shown(&announcer.handle_shard(T0, listening(A))), Vec::<String>::new());
        let commands = announcer.handle_shard(T0, changed(A, 1, "T", false));
        assert_eq!(shown(&commands), ["register 0"]);
        announcer.handle_shard(T0, changed(B, 1, "T", false));
        announcer.handle_shard(T0, listening(B));
        let commands = announcer.handle_link(T0, A, 0, LinkReport::Registered { generation: 1, master: None });
        assert_eq!(shown(&commands), ["0 registered 1"]);
        let commands = announcer.handle_link(T0, B, 0, LinkReport::Registered { generation: 1, master: None });
        assert_eq!(shown(&commands), ["ready"]);
    }

    #[test]
    fn a_name_server_that_is_down_is_not_waited_for() {
        let mut announcer = running();
        announcer.handle_link(T0, A, 1, LinkReport::Down);
        announcer.handle_shard(T0, changed(A, 2, "T", false));
        let commands = announcer.handle_link(T0, A, 0, LinkReport::Registered { generation: 2, master: None });
        assert_eq!(shown(&commands), ["0 registered 2"]);
        announcer.handle_link(T0, A, 1, LinkReport::Registered { generation: 2, master: None });
        announcer.handle_shard(T0, changed(A, 3, "U", false));
        assert_eq!(
            shown(&announcer.handle_link(T0, A, 0, LinkReport::Registered { generation: 3, master: None })),
            Vec::<String>::new()
        );
        assert_eq!(announcer.deadline(), Some(T0.plus_ms(500)));
        assert_eq!(
            shown(&announcer.tick(T0.plus_ms(500))),
            ["0 registered 3"],
            "slow, not down: half a second at most"
        );
    }

    #[test]
    fn a_name_server_that_hangs_holds_one_change_up_and_no_more() {
        let mut announcer = running();
        announcer.handle_shard(T0, changed(A, 2, "T", false));
        announcer.handle_link(T0, A, 0, LinkReport::Registered { generation: 2, master: None });
        assert_eq!(shown(&announcer.tick(T0.plus_ms(500))), ["0 registered 2"]);
        announcer.handle_shard(T0, changed(A, 3, "U", false));
        let known = announcer.handle_link(T0, A, 0, LinkReport::Registered { generation: 3, master: None });
        assert_eq!(shown(&known), ["0 registered 3"], "the other one is not waited for again");
        // It is back, and counts again.
        announcer.handle_link(T0, A, 1, LinkReport::Registered { generation: 3, master: None });
        announcer.handle_shard(T0, changed(A, 4, "V", false));
        let nothing = announcer.handle_link(T0, A, 0, LinkReport::Registered { generation: 4, master: None });
        assert_eq!(shown(&nothing), Vec::<String>::new());
        let known = announcer.handle_link(T0, A, 1, LinkReport::Registered { generation: 4, master: None });
        assert_eq!(shown(&known), ["0 registered 4"]);
    }

    #[test]
    fn a_name_server_that_says_nothing_from_the_start_is_waited_for_once() {
        let mut announcer = Announcer::new(1, 2, 6);
        announcer.handle_shard(T0, listening(A));
        announcer.handle_shard(T0, changed(A, 1, "TBW102", false));
        announcer.handle_link(T0, A, 0, LinkReport::Registered { generation: 1, master: None });
        assert_eq!(shown(&announcer.tick(T0.plus_ms(500))), ["0 registered 1", "ready"]);
        announcer.handle_shard(T0, changed(A, 2, "T", false));
        let known = announcer.handle_link(T0, A, 0, LinkReport::Registered { generation: 2, master: None });
        assert_eq!(shown(&known), ["0 registered 2"]);
    }

    #[test]
    fn an_automatic_creation_is_known_when_the_siblings_have_it_too() {
        let mut announcer = running();
        let commands = announcer.handle_shard(T0, changed(A, 7, "T", true));
        assert_eq!(shown(&commands), ["1 ensure T 8000000000000000", "register 0"]);
        for link in 0..2 {
            announcer.handle_link(T0, A, link, LinkReport::Registered { generation: 2, master: None });
        }
        let commands = announcer.handle_shard(T0, changed(B, CONTROL_TICKET_MIN, "T", false));
        assert_eq!(shown(&commands), ["1 registered 8000000000000000", "register 1"]);
        announcer.handle_link(T0, B, 0, LinkReport::Registered { generation: 2, master: None });
        let commands = announcer.handle_link(T0, B, 1, LinkReport::Registered { generation: 2, master: None });
        assert_eq!(shown(&commands), ["0 registered 7"]);
    }

    #[test]
    fn a_sibling_that_stops_is_not_waited_for() {
        let mut announcer = running();
        announcer.handle_shard(T0, changed(A, 7, "T", true));
        for link in 0..2 {
            announcer.handle_link(T0, A, link, LinkReport::Registered { generation: 2, master: None });
        }
        let why = StopReason::Failed("write failed".to_owned());
        let commands = announcer.handle_shard(T0, ToControl::Stopped { shard: B, why });
        assert_eq!(shown(&commands), ["unregister 1", "0 registered 7"]);
        assert_eq!(announcer.failures().collect::<Vec<_>>(), [(B, "write failed")]);
        let commands = announcer.handle_shard(T0, ToControl::Stopped { shard: A, why: StopReason::Ordered });
        assert_eq!(shown(&commands), ["unregister 0", "all stopped"]);
    }

    #[test]
    fn settings_are_answered_when_every_shard_goes_by_them_and_name_servers_know_what_follows() {
        let mut announcer = running();
        let text = "brokerPermission=4".to_owned();
        let asked = announcer.handle_shard(
            T0,
            ToControl::ChangeSettings { shard: A, ticket: 9, by: IpAddr::from([127, 0, 0, 1]), text },
        );
        assert!(matches!(asked[..], [Command::ChangeSettings { origin: A, ticket: 9, .. }]), "{asked:?}");
        let (config, _) = NodeConfig::defaults(NodeKind::Broker).changed("brokerPermission=4").expect("it may change");
        let told = announcer.settings_changed(T0, (A, 9), (1, &Arc::new(config)), None);
        let tickets: Vec<(ShardId, u64)> = told
            .iter()
            .map(|command| match command {
                Command::Tell(shard, ToShard::Settings { ticket, generation: 1, .. }) => (*shard, *ticket),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(tickets.iter().map(|(shard, _)| *shard).collect::<Vec<_>>(), [A, B]);
        assert_eq!(announcer.permission(), 4);
        let version = Some(DataVersion { counter: 7, ..DataVersion::default() });
        for (shard, ticket) in tickets {
            let taken = ToControl::SettingsTaken { shard, ticket, topics: version };
            assert_eq!(shown(&announcer.handle_shard(T0, taken)), [format!("register {shard}")]);
        }
        let registered = LinkReport::Registered { generation: 2, master: None };
        for (shard, link) in [(A, 0), (A, 1), (B, 0)] {
            assert!(announcer.handle_link(T0, shard, link, registered.clone()).is_empty());
        }
        let answered = announcer.handle_link(T0, B, 1, registered);
        assert!(
            matches!(answered[..], [Command::Tell(A, ToShard::SettingsAnswer { ticket: 9, result: Ok(None) })]),
            "{answered:?}"
        );
    }

    #[test]
    fn settings_that_a_shard_does_not_take_are_no_success() {
        let mut announcer = running();
        let config = Arc::new(NodeConfig::defaults(NodeKind::Broker));
        let told = announcer.settings_changed(T0, (A, 9), (1, &config), None);
        let Some(Command::Tell(A, ToShard::Settings { ticket, .. })) = told.first() else { panic!("{told:?}") };
        announcer.handle_shard(T0, ToControl::SettingsTaken { shard: A, ticket: *ticket, topics: None });
        let answered = announcer.tick(T0.plus_ms(SETTINGS_WITHIN_MS));
        let [Command::Tell(A, ToShard::SettingsAnswer { ticket: 9, result: Err(refused) })] = &answered[..] else {
            panic!("{answered:?}")
        };
        assert_eq!(refused.code, ResponseCode::SystemError);
        assert!(refused.remark.ends_with("after 2700 ms: 1; look again with getBrokerConfig"), "{}", refused.remark);
    }

    #[test]
    fn a_master_that_holds_back_is_registered_anew_and_again_when_it_goes_on() {
        let mut announcer = running();
        let generation = announcer.shard(A).expect("it exists").generation;
        for (holds_back, counter) in [(true, 7), (false, 8)] {
            let version = DataVersion { counter, ..DataVersion::default() };
            let said = ToControl::HoldsBack { shard: A, holds_back, version };
            assert_eq!(shown(&announcer.handle_shard(T0, said)), ["register 0"]);
            let view = announcer.shard(A).expect("it exists");
            assert_eq!((view.holds_back, view.version.counter), (holds_back, counter));
            assert!(view.topics.values().all(|(_, changed)| *changed == view.generation && *changed > generation));
        }
    }

    #[test]
    fn a_deleted_topic_leaves_the_view() {
        let mut announcer = running();
        let deleted = ToControl::TopicDeleted {
            shard: A,
            ticket: 5,
            topic: "TBW102".to_owned(),
            version: DataVersion::default(),
        };
        assert_eq!(shown(&announcer.handle_shard(T0, deleted)), ["register 0"]);
        assert!(announcer.shard(A).expect("it exists").topics.is_empty());
    }

    #[test]
    fn a_slave_follows_the_newest_master_that_a_name_server_names() {
        let mut announcer = Announcer::new(1, 2, 6);
        let mut said = |link: usize, address: Option<&str>| {
            let master = address
                .map(|address| MasterAddress { address: address.to_owned(), ha_address: format!("{address}-ha") });
            shown(&announcer.handle_link(T0, A, link, LinkReport::Registered { generation: 1, master }))
        };
        let nothing = Vec::<String>::new();
        assert_eq!(said(0, None), nothing);
        assert_eq!(said(0, Some("m:1")), ["0 follows m:1"]);
        assert_eq!(said(0, Some("m:1")), nothing, "told once");
        assert_eq!(said(1, Some("m:1")), nothing);
        assert_eq!(said(1, Some("m:2")), ["0 follows m:2"], "it has moved");
        assert_eq!(said(0, Some("m:1")), nothing, "a name server that has not heard of it yet");
        assert_eq!(said(0, None), nothing, "a name server that was started again");
        assert_eq!(said(0, Some("m:2")), nothing);
        assert_eq!(said(1, None), nothing);
        assert_eq!(said(0, None), ["0 follows nobody"]);
        assert_eq!(said(1, Some("m:2")), ["0 follows m:2"]);
    }
}
