//! A master and its slaves in the made-up world: a producer, connections that are cut and damaged, nodes that end, start again, and change
//! their roles ([`super::reign`]).
//!
//! What is checked: a message that was acknowledged is held by as many replicas as its role promises, at that moment and after every end that
//! their flush settings survive; the log of a slave that follows is the master's, byte for byte; what consumers see is held by all in the
//! in-sync set; epochs rise; and when all is well again, every slave catches up.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use bytes::BytesMut;

use super::client;
use super::light::Light;
use super::node::{Asks, NodeEnd, SimNode, address_of, life_of, replica_settings, small_flush};
use super::random::Random;
use super::replica_jobs::{TimerSender, TransactionSender, check_of, is_beside};
use super::rot::Rot;
use super::wire::{SimWire, WIRE_BYTES_MAX, WireEnd};
use crate::broker::life::Life;
use crate::letter::ToShard;
use crate::log::{LogSettings, RecordRead};
use crate::model::{ConnectionId, Epoch, LinkId, LogOffset, MonoNs, Now, QueueId, QueueOffset, Role, UnixMs};
use crate::protocol::code::RequestCode;
use crate::protocol::frame::{self, Encoding};
use crate::protocol::header::Header;
use crate::protocol::message::{DelayLevels, MessageId};
use crate::protocol::record::Check;
use crate::protocol::record::RecordView;
use crate::protocol::reply::{ExtValue, encode_request};
use crate::protocol::request::{DECIDE_FROM, DECIDE_TO};

/// Where all messages go.
pub(super) const TOPIC: &str = "BenchmarkTest";
pub(super) const QUEUES: u32 = 4;
const LEVELS: &str = "0s 1s 2s 5s";
pub(super) const LEVELS_COUNT: i32 = 4;

/// The producer's connection; a new one for each life of the master.
const PRODUCER: u64 = 7;

/// Whether the world keeps its own rules. All but the first are there to see that the checks would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaRule {
    /// It does.
    Sound,
    /// The master acknowledges without asking its slaves.
    WaitForNobody,
    /// What a slave reports is made up on the way: all that it was sent.
    InventReports,
    /// A slave becomes the master, whatever it holds.
    PromoteAnyone,
    /// A slave becomes the master, and goes on in the reign of the one before it.
    KeepEpoch,
    /// All logs and all reigns have the same identity.
    ForgetIdentity,
    /// A slave cuts off whatever its master has not, acknowledged or not.
    CutUnasked,
    /// A node is told that a write was done which has failed.
    HideFailures,
    /// A master that starts takes all delayed messages for delivered.
    ForgetDelayed,
    /// Somebody wipes the master's store as well as those of its slaves.
    WipeEverything,
    /// What rots is not mended.
    RotForEver,
    /// No link is woken when its broker has something for it.
    WakeNobody,
    /// A node that mends what rots writes bytes of another place.
    MendWithAnything,
    /// A node is not told that it is the medium when a block cannot be read.
    HideBadBlocks,
    /// Brokers do not heed what a message says of light queues.
    ForgetLight,
    /// A master that starts takes all timer messages for delivered.
    ForgetTimers,
    /// A master that starts takes all half messages for looked at.
    ForgetHalves,
}

/// What has happened, to see that a run was worth something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ReplicaCounts {
    pub sent: u64,
    pub acknowledged: u64,
    pub stored_only: u64,
    pub master_ends: u64,
    pub slave_ends: u64,
    pub cuts: u64,
    pub damages: u64,
    pub truncations: u64,
    pub connects: u64,
    pub bytes_compared: u64,
    pub masters_lost: u64,
    pub promotions: u64,
    pub demotions: u64,
    pub masters_paused: u64,
    pub stores_replaced: u64,
    pub given_up: u64,
    pub disks_failed: u64,
    pub stores_swapped: u64,
    pub delayed: u64,
    pub rots: u64,
    pub rots_seen: u64,
    pub rots_mended: u64,
    pub blocks_unreadable: u64,
    pub blocks_rewritten: u64,
    pub light: u64,
    pub timers: u64,
    pub timers_taken_over: u64,
    pub transactions: u64,
    pub transactions_taken_over: u64,
    pub transactions_asked: u64,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Acknowledged {
    pub(super) number: u64,
    pub(super) log_offset: LogOffset,
    body_len: usize,
}

/// The world of one brokerName.
pub struct ReplicaWorld {
    pub(super) random: Random,
    pub(super) now: Now,
    pub(super) nodes: Vec<SimNode>,
    /// The one that is the master, or is to be when it is up again.
    pub(super) master: usize,
    /// A former master that does nothing, and has not heard that it is none any more.
    pub(super) paused: Option<usize>,
    /// The number of the newest reign, if they are numbered: then roles change.
    pub(super) reign: Option<u32>,
    /// Whether some messages are delayed, and those that were acknowledged.
    pub(super) has_delays: bool,
    pub(super) delayed: BTreeSet<u64>,
    /// Who was in sync when the master was seen last.
    pub(super) in_sync: Vec<usize>,
    /// How far consumers have read each queue, where roles change.
    seen: BTreeMap<QueueId, QueueOffset>,
    pub(super) wires: Vec<SimWire>,
    sync: bool,
    pub(super) replicas: u32,
    /// Only ends that the flush settings survive.
    pub(super) is_gentle: bool,
    pub(super) rule: ReplicaRule,
    next_number: u64,
    /// Sends without an answer, by opaque.
    waiting: BTreeMap<i32, (u64, usize)>,
    pub(super) book: Vec<Acknowledged>,
    /// Whether the master's store is wiped, or replaced by an older one, between two lives.
    pub(super) replaces_stores: bool,
    /// Whether stores were swapped: then no other is lost.
    has_swapped: bool,
    /// What was acknowledged before that: the slaves alone have it.
    owed: Vec<Acknowledged>,
    /// What becomes of the stores of slaves, where something does: draws of their own, so that the others stay as they are.
    mishaps: Option<Random>,
    /// What becomes of bytes at rest, where something does.
    pub(super) rot: Option<Rot>,
    /// What is sent to light queues, where something is.
    pub(super) light: Option<Light>,
    /// Which messages ask for a time, where some do.
    pub(super) timers: Option<TimerSender>,
    /// Where some messages are of transactions.
    pub(super) transactions: Option<TransactionSender>,
    /// What has happened.
    pub counts: ReplicaCounts,
}

impl ReplicaWorld {
    /// A world whose every choice comes from `seed`.
    #[must_use]
    pub fn new(seed: u64, rule: ReplicaRule) -> ReplicaWorld {
        let mut random = Random::new(seed ^ 0x5EED);
        // Logs that begin alike and have no names are told apart by their bytes. A draw of its own: the others stay as they are.
        let is_older = rule == ReplicaRule::Sound && Random::new(seed ^ 0x01D).percent(30);
        let slaves = 1 + random.index(2);
        let sync = rule != ReplicaRule::Sound || random.percent(75);
        let replicas = if slaves == 2 && random.percent(40) { 3 } else { 2 };
        let segment_bytes = random.pick(&[64, 128, 256]) * 1024;
        let ring_bytes = random.pick(&[64, 128]) * 1024;
        let one_fails_in = if rule == ReplicaRule::HideFailures { 50 } else { random.pick(&[0, 200, 2000]) };
        let mut nodes = Vec::new();
        for index in 0..=slaves {
            let log_settings = pick_log_settings(segment_bytes, &mut random);
            let in_force = if rule == ReplicaRule::WaitForNobody { 1 } else { replicas };
            let settings = replica_settings(sync, in_force, &mut random);
            let mut node = SimNode::new(index, settings, log_settings, ring_bytes);
            node.forgets_identity = rule == ReplicaRule::ForgetIdentity;
            node.is_older = is_older;
            node.cuts_unasked = rule == ReplicaRule::CutUnasked;
            node.hides_failures = rule == ReplicaRule::HideFailures;
            node.wakes_nobody = rule == ReplicaRule::WakeNobody;
            node.one_fails_in = one_fails_in;
            nodes.push(node);
        }
        let is_gentle = rule != ReplicaRule::Sound || random.percent(70);
        let changes_roles = match rule {
            // Nothing is promised of a log that its flush setting does not keep, or that nobody waits for.
            ReplicaRule::Sound => sync && is_gentle && random.percent(70),
            ReplicaRule::PromoteAnyone | ReplicaRule::KeepEpoch => true,
            ReplicaRule::ForgetDelayed | ReplicaRule::ForgetTimers | ReplicaRule::ForgetHalves => true,
            ReplicaRule::WaitForNobody | ReplicaRule::InventReports | ReplicaRule::HideFailures => false,
            ReplicaRule::ForgetIdentity | ReplicaRule::CutUnasked | ReplicaRule::WipeEverything => false,
            ReplicaRule::RotForEver | ReplicaRule::WakeNobody | ReplicaRule::MendWithAnything => false,
            ReplicaRule::HideBadBlocks | ReplicaRule::ForgetLight => false,
        };
        let replaces_stores = match rule {
            ReplicaRule::Sound => sync && is_gentle && !changes_roles && random.percent(70),
            rule => matches!(rule, ReplicaRule::ForgetIdentity | ReplicaRule::CutUnasked),
        };
        let has_delays = rule == ReplicaRule::ForgetDelayed || (rule == ReplicaRule::Sound && random.percent(50));
        ReplicaWorld {
            is_gentle,
            random,
            master: 0,
            paused: None,
            reign: changes_roles.then_some(0),
            has_delays,
            delayed: BTreeSet::new(),
            in_sync: Vec::new(),
            seen: BTreeMap::new(),
            now: Now { unix: UnixMs(1_700_000_000_000), mono: MonoNs(1_000_000_000) },
            nodes,
            wires: Vec::new(),
            sync,
            replicas,
            rule,
            next_number: 0,
            waiting: BTreeMap::new(),
            book: Vec::new(),
            replaces_stores,
            has_swapped: false,
            owed: Vec::new(),
            mishaps: None,
            rot: None,
            light: None,
            timers: None,
            transactions: None,
            counts: ReplicaCounts::default(),
        }
    }

    /// The same where the stores of slaves are wiped, or others are put in their place by mistake, between their lives. Their master keeps what it has,
    /// and so what was acknowledged is there at the end, and with every slave again.
    #[must_use]
    pub fn with_mishaps(seed: u64, rule: ReplicaRule) -> ReplicaWorld {
        let world = ReplicaWorld::new(seed, rule);
        let mishaps = Some(Random::new(seed ^ 0xB17));
        ReplicaWorld { mishaps, reign: None, replaces_stores: false, is_gentle: true, ..world }
    }

    /// The same where no store is lost, and each role is taken over by another where promises allow it.
    pub(super) fn with_roles(seed: u64, rule: ReplicaRule) -> ReplicaWorld {
        let world = ReplicaWorld::new(seed, rule);
        let reign = (world.sync && world.is_gentle).then_some(0);
        ReplicaWorld { reign, replaces_stores: false, ..world }
    }

    /// Runs so many steps; then either the master is lost for good, or all is well again.
    ///
    /// # Panics
    /// When something is not as it must be.
    pub fn run(&mut self, steps: u64) {
        for index in 0..self.nodes.len() {
            self.start(index);
        }
        for step in 0..steps {
            if step == steps / 2 {
                // From now on logs get names, each when a master starts.
                self.nodes.iter_mut().for_each(|node| node.is_older = false);
            }
            self.step();
            self.check_step();
            if step % 64 == 0 {
                self.check_copies(32 * 1024);
            }
        }
        let is_on_slaves = !self.has_swapped && self.mishaps.is_none() && !self.is_left_to_nodes();
        if self.sync && self.is_gentle && is_on_slaves && !self.has_jobs() && self.random.percent(50) {
            self.lose_master();
        } else {
            self.heal();
        }
    }

    fn step(&mut self) {
        let elapsed_ms = if self.random.percent(1) { self.random.below(3_000) } else { self.random.below(4) };
        self.pass(elapsed_ms);
        match self.random.below(1000) {
            0..160 => self.send_some(),
            160..460 => self.work_somewhere(),
            460..700 => self.carry_somewhere(),
            700..900 => self.fill_somewhere(),
            900..950 => self.tick_somewhere(),
            950..975 => self.answer_asks(true),
            975..978 => self.cut_somewhere(),
            978..981 => self.damage_somewhere(),
            981..984 => self.end_somewhere(),
            984..992 => self.change_roles(),
            992..994 => self.decide_somewhere(),
            _ => self.start_somewhere(),
        }
        self.step_jobs();
        self.rot_somewhere();
        self.answer_asks(false);
        self.begin_lives();
        self.end_failed();
        self.collect();
    }

    /// A node whose disk has failed ends, as its process would.
    fn end_failed(&mut self) {
        for index in 0..self.nodes.len() {
            if self.nodes[index].has_failed() && self.runs(index) {
                self.counts.disks_failed += 1;
                let end = self.pick_end(index);
                self.end(index, end);
            }
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        self.now = super::later(self.now, ms);
    }

    fn pick_up(&mut self) -> Option<usize> {
        let index = self.random.index(self.nodes.len());
        self.runs(index).then_some(index)
    }

    /// Whether a node is up, and does what comes.
    pub(super) fn runs(&self, index: usize) -> bool {
        self.nodes[index].is_up() && self.paused != Some(index)
    }

    fn work_somewhere(&mut self) {
        if let Some(index) = self.pick_up() {
            self.nodes[index].work(self.now, &mut self.random);
        }
    }

    fn tick_somewhere(&mut self) {
        if let Some(index) = self.pick_up() {
            self.nodes[index].tick(self.now);
            self.nodes[index].meet_deadline(self.now);
        }
    }

    pub(super) fn start(&mut self, index: usize) {
        let is_master = index == self.master;
        if is_master {
            self.reign = self.reign.map(|reign| reign + 1);
        }
        let role = match (is_master, self.sync) {
            (true, true) => Role::SyncMaster,
            (true, false) => Role::AsyncMaster,
            _ => Role::Slave,
        };
        self.start_life(index, life_of(index, role, self.reign.map(Epoch)));
    }

    pub(super) fn start_life(&mut self, index: usize, life: Life) {
        let now = self.now;
        if life.role.is_master() {
            self.forget_jobs(index);
        }
        self.nodes[index].start(now, life);
        if index == self.master {
            let (connection, peer) = (self.producer(), address_of(90));
            self.waiting.clear();
            self.nodes[index].act(now, |broker, _| broker.handle_connected(now, connection, peer));
            self.introduce_producer();
        } else {
            self.tell_master(index);
        }
    }

    /// Tells a node where the master is.
    pub(super) fn tell_master(&mut self, index: usize) {
        let now = self.now;
        let found = ToShard::MasterFound { ha_address: Some(address_of(self.master)), address: None };
        self.nodes[index].act(now, |broker, out| broker.handle_control(now, found, out));
    }

    pub(super) fn producer(&self) -> ConnectionId {
        ConnectionId(PRODUCER + self.nodes[self.master].life)
    }

    pub(super) fn start_somewhere(&mut self) {
        let index = self.random.index(self.nodes.len());
        if !self.nodes[index].is_up() {
            if index == self.master && self.replaces_stores && self.random.percent(30) {
                self.replace_store(index);
            }
            self.befall(index);
            self.start(index);
        }
    }

    /// Something happens to the store of a slave that is down.
    fn befall(&mut self, index: usize) {
        let wipes_all = self.rule == ReplicaRule::WipeEverything;
        let Some(random) = self.mishaps.as_mut().filter(|_| index != self.master || wipes_all) else { return };
        match random.below(12) {
            0 | 1 => self.nodes[index].wipe(),
            2 if self.nodes[index].has_copy() => self.nodes[index].restore_store(),
            3 => {
                // Of another node that is down, the master or a slave: two have one store.
                let down: Vec<usize> =
                    (0..self.nodes.len()).filter(|other| *other != index && !self.nodes[*other].is_up()).collect();
                if down.is_empty() {
                    return;
                }
                let other = random.pick(&down);
                let [node, other] = self.nodes.get_disjoint_mut([index, other]).expect("two nodes");
                node.copy_from(other);
            }
            4..=6 => return self.nodes[index].copy_store(),
            _ => return,
        }
        self.counts.stores_replaced += 1;
    }

    /// The store of a master that is down is wiped, or another is put in its place: an older copy of it, or a slave's.
    fn replace_store(&mut self, index: usize) {
        self.counts.stores_replaced += 1;
        // What a slave cuts unasked shows where its master's log is the same one, only older.
        let is_same_log = self.rule == ReplicaRule::CutUnasked;
        match if is_same_log { 2 } else { self.random.below(6) } {
            _ if self.has_swapped => self.swap_stores(index),
            0 | 1 => self.nodes[index].wipe(),
            2 if self.nodes[index].has_copy() => self.nodes[index].restore_store(),
            3 => self.copy_from_slave(index),
            4 => self.swap_stores(index),
            _ => self.nodes[index].copy_store(),
        }
        self.owed.append(&mut self.book);
    }

    /// Somebody rebuilds the master from a slave that is down.
    fn copy_from_slave(&mut self, index: usize) {
        let others = self.others();
        let slave = self.random.pick(&others);
        if !self.nodes[slave].is_up() {
            let [node, slave] = self.nodes.get_disjoint_mut([index, slave]).expect("two nodes");
            node.copy_from(slave);
        }
    }

    /// Somebody mistakes one disk for another. Nothing is on two of them less than before, if all that was promised was on them.
    fn swap_stores(&mut self, index: usize) {
        let others = self.others();
        let slave = self.random.pick(&others);
        if !self.nodes[index].is_sync() || !self.nodes[slave].is_sync() {
            return;
        }
        if self.nodes[slave].is_up() {
            self.end(slave, NodeEnd::Kill);
        }
        let [node, slave] = self.nodes.get_disjoint_mut([index, slave]).expect("two nodes");
        node.swap_stores(slave);
        self.has_swapped = true;
        self.counts.stores_swapped += 1;
    }

    /// What was acknowledged before a master's store was replaced is still on the slaves, which nobody has told to give it up.
    pub(super) fn check_owed(&mut self) {
        let wanted = usize::try_from(self.replicas - 1).expect("few");
        let asked = if self.has_swapped { (0..self.nodes.len()).collect() } else { self.others() };
        for message in std::mem::take(&mut self.owed) {
            let holders = asked.iter().filter(|index| self.holds(**index, &message)).count();
            let logs: Vec<String> = self.others().into_iter().map(|index| self.nodes[index].describe()).collect();
            assert!(
                holders >= wanted,
                "{message:?} was acknowledged; {holders} of {logs:?} have it instead of {wanted}"
            );
        }
    }

    /// An operator decides now and then, unless a slave may have what its master was robbed of.
    fn decide_somewhere(&mut self) {
        if let Some(index) = self.pick_up().filter(|_| !self.replaces_stores) {
            self.give_up(index);
        }
    }

    /// The operator decides for the master where a slave has what its master has not.
    pub(super) fn give_up(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        let Some(surplus) = node.broker.as_ref().and_then(|broker| broker.view_surplus()) else { return };
        self.counts.given_up += 1;
        let number = |offset: LogOffset| ExtValue::I64(i64::try_from(offset.0).expect("small"));
        let ext = [(DECIDE_FROM, number(surplus.from)), (DECIDE_TO, number(surplus.to))];
        let (mut bytes, now, operator) = (BytesMut::new(), self.now, ConnectionId(u64::MAX));
        encode_request(Encoding::Json, RequestCode::DecideReplica.number(), 1, false, &ext, &[], &mut bytes);
        node.act(now, |broker, out| {
            broker.handle_connected(now, operator, address_of(91));
            client::say(broker, now, operator, &bytes, out);
            broker.handle_disconnected(now, operator, out);
        });
    }

    fn end_somewhere(&mut self) {
        let Some(index) = self.pick_up() else { return };
        let end = self.pick_end(index);
        self.end(index, end);
    }

    fn pick_end(&mut self, index: usize) -> NodeEnd {
        let end = NodeEnd::pick(&mut self.random);
        if self.is_gentle && !self.nodes[index].survives(end) { NodeEnd::Kill } else { end }
    }

    pub(super) fn end(&mut self, index: usize, end: NodeEnd) {
        let life = self.nodes[index].life;
        if index == self.master {
            self.note_in_sync();
        }
        let is_rotten = self.is_rotten(index);
        if is_rotten && !self.is_left_to_nodes() {
            self.mend();
        }
        self.nodes[index].end(end, &mut self.random);
        if is_rotten {
            // What it was about to write is over as well.
            self.mend();
        }
        let count = if index == self.master { &mut self.counts.master_ends } else { &mut self.counts.slave_ends };
        *count += 1;
        for wire in &mut self.wires {
            for way in 0..2 {
                if let Some(to) = wire.ways[way].to.filter(|to| (to.node, to.life) == (index, life)) {
                    wire.close(to, &mut self.random);
                }
            }
        }
    }

    /// A node that has asked for another life gets it: with another role, or with less where its log has left its master's.
    pub(super) fn begin_lives(&mut self) {
        for index in 0..self.nodes.len() {
            let Some(life) = self.nodes[index].next_life else { continue };
            if life.end_max.is_none() {
                self.nodes[index].bring_to_end(self.now, &mut self.random);
                if index == self.master {
                    self.collect();
                }
            }
            self.end(index, NodeEnd::NextLife(life.end_max));
            self.start_life(index, life);
            if let Some(at) = life.end_max {
                self.counts.truncations += 1;
                let end = self.nodes[index].broker.as_ref().expect("it runs").view_log().appended();
                assert!(end <= at, "the log was cut at {at} and goes to {end}");
            }
        }
    }

    pub(super) fn answer_asks(&mut self, connects: bool) {
        for index in 0..self.nodes.len() {
            let Some(ask) = self.nodes[index].asks.pop_front() else { continue };
            match ask {
                Asks::Close(link) => self.close(index, link),
                Asks::Connect(_) if !connects || !self.runs(index) => self.nodes[index].asks.push_front(ask),
                Asks::Connect(address) => self.connect(index, address),
            }
        }
        self.wires.retain(|wire| !wire.is_gone());
    }

    fn connect(&mut self, index: usize, address: SocketAddr) {
        let now = self.now;
        // Only a master listens.
        if address != address_of(self.master) || !self.nodes[self.master].is_up() || self.random.percent(10) {
            let why = "connection refused";
            self.nodes[index].act(now, |broker, out| broker.handle_link_failed(now, address, why, out));
            return;
        }
        self.counts.connects += 1;
        let end = |node: &mut SimNode, number| {
            node.next_link += 1;
            WireEnd { node: number, life: node.life, link: LinkId(node.next_link) }
        };
        let (slave, master) = (end(&mut self.nodes[index], index), end(&mut self.nodes[self.master], self.master));
        self.wires.push(SimWire::new(slave, master));
        self.nodes[self.master].awake.insert(master.link);
        self.nodes[index].awake.insert(slave.link);
        self.nodes[self.master].act(now, |broker, out| broker.handle_link_up(now, master.link, address_of(index), out));
        self.nodes[index].act(now, |broker, out| broker.handle_link_up(now, slave.link, address, out));
    }

    /// A node closes its end of a connection.
    fn close(&mut self, index: usize, link: LinkId) {
        let (now, life) = (self.now, self.nodes[index].life);
        let end = WireEnd { node: index, life, link };
        let is_there = self.wires.iter().any(|wire| wire.ways.iter().any(|way| way.to == Some(end)));
        for wire in &mut self.wires {
            wire.close(end, &mut self.random);
        }
        if is_there {
            self.nodes[index].act(now, |broker, out| broker.handle_link_down(now, link, out));
        }
    }

    fn cut_somewhere(&mut self) {
        if !self.wires.is_empty() {
            let wire = self.random.index(self.wires.len());
            self.wires[wire].cut(&mut self.random);
            self.counts.cuts += 1;
        }
    }

    /// Damages transfers only: a record's CRC, its place and the order of messages tell. Nothing but TCP's sum covers what is said of epochs and
    /// what is reported.
    fn damage_somewhere(&mut self) {
        if self.wires.is_empty() {
            return;
        }
        let wire = self.random.index(self.wires.len());
        let Some(slave) = self.wires[wire].ways[0].to else { return };
        let node = &self.nodes[slave.node];
        let is_greeted = node.life == slave.life && node.follows();
        if is_greeted && self.wires[wire].damage(&mut self.random) {
            self.counts.damages += 1;
        }
    }

    /// Bytes arrive at one end of one connection, or its end does.
    fn carry_somewhere(&mut self) {
        if !self.wires.is_empty() {
            let (wire, way) = (self.random.index(self.wires.len()), self.random.index(2));
            self.carry(wire, way);
        }
    }

    pub(super) fn carry(&mut self, wire: usize, way: usize) {
        let now = self.now;
        let Some(to) = self.wires[wire].ways[way].to else { return };
        if self.nodes[to.node].life != to.life || !self.runs(to.node) {
            return;
        }
        let node = &mut self.nodes[to.node];
        if self.wires[wire].ways[way].bytes.is_empty() {
            if self.wires[wire].ways[way].is_ended {
                self.close(to.node, to.link);
            }
            return;
        }
        if !node.broker.as_ref().expect("it runs").poll_link_input(to.link) {
            return;
        }
        let bytes = self.wires[wire].ways[way].take(&mut self.random);
        // A turn that reads offers what there is to send, too.
        node.awake.insert(to.link);
        node.act(now, |broker, out| broker.handle_link_bytes(now, to.link, &bytes, out));
    }

    /// One end of one connection is asked for what it has to send.
    fn fill_somewhere(&mut self) {
        if !self.wires.is_empty() {
            let (wire, way) = (self.random.index(self.wires.len()), self.random.index(2));
            self.fill(wire, way);
        }
    }

    pub(super) fn fill(&mut self, wire: usize, way: usize) {
        let now = self.now;
        let Some(from) = self.wires[wire].sender(way) else { return };
        let runs = self.runs(from.node);
        let node = &mut self.nodes[from.node];
        let lane = &mut self.wires[wire].ways[way];
        let is_open = node.life == from.life && runs && !lane.is_ended;
        if !is_open || lane.bytes.len() > WIRE_BYTES_MAX || !node.awake.remove(&from.link) {
            return;
        }
        let mut buffer = BytesMut::new();
        node.act(now, |broker, out| broker.fill_link(now, from.link, &mut buffer, out));
        if !buffer.is_empty() {
            node.awake.insert(from.link);
        }
        if self.rule == ReplicaRule::InventReports && way == 1 {
            self.invent(wire, &mut buffer);
        }
        self.wires[wire].ways[way].bytes.extend(&buffer);
    }

    /// Replaces what a slave acknowledges by the end of what the master has.
    fn invent(&self, wire: usize, buffer: &mut BytesMut) {
        let is_following = self.wires[wire].ways[1].bytes.is_empty() && buffer.len() == 12;
        if let Some(master) = self.nodes[self.master].broker.as_ref().filter(|_| is_following) {
            let sent = master.view_replicas().slaves.iter().map(|slave| slave.sent.0).min();
            if let Some(sent) = sent {
                buffer[4..12].copy_from_slice(&sent.to_be_bytes());
            }
        }
    }

    fn send_some(&mut self) {
        if !self.runs(self.master) {
            return;
        }
        for _ in 0..self.random.below(6) {
            if !self.nodes[self.master].broker.as_ref().expect("it runs").poll_input(&self.nodes[self.master].out) {
                break;
            }
            let number = self.next_number;
            self.next_number += 1;
            let body_len = if self.random.percent(5) { self.random.index(8_000) } else { self.random.index(400) } + 8;
            let opaque = i32::try_from(number).expect("few messages");
            let queue = self.random.below(u64::from(QUEUES));
            let level = if self.has_delays && self.random.percent(10) { 1 + self.random.below(4) } else { 0 };
            let properties = if level > 0 {
                self.delayed.insert(number);
                format!("DELAY\u{1}{level}\u{2}")
            } else {
                self.name_light_queues(number) + &self.ask_for_job(number)
            };
            let bytes = client::send(opaque, TOPIC, queue, &properties, &body(number, body_len));
            let (now, connection) = (self.now, self.producer());
            self.waiting.insert(opaque, (number, body_len));
            self.counts.sent += 1;
            self.nodes[self.master].act(now, |broker, out| client::say(broker, now, connection, &bytes, out));
        }
        let now = self.now;
        self.nodes[self.master].act(now, |broker, out| broker.handle_turn_end(now, out));
    }

    /// Reads the answers that the producer has got.
    pub(super) fn collect(&mut self) {
        let connection = self.producer();
        let mut bytes = self.nodes[self.master].out.outbox.take(connection);
        let mut asked = Vec::new();
        while let Some(frame) = frame::split(&bytes).expect("a frame") {
            let header = Header::decode(frame.encoding, frame.header).expect("a header");
            let (opaque, code) = (header.opaque, header.code);
            let field = |name: &str| header.ext.get(name).unwrap_or_default().to_owned();
            let size = frame.size;
            if !header.is_response() || is_beside(opaque) {
                asked.extend(check_of(&header, frame.body));
                let _ = bytes.split_to(size);
                continue;
            }
            let (number, body_len) = self.waiting.remove(&opaque).expect("each send is answered once");
            match code {
                0 => {
                    let id = MessageId::decode(&field("msgId")).expect("a success has an id");
                    self.counts.acknowledged += 1;
                    self.note_acknowledged(Acknowledged { number, log_offset: id.log_offset, body_len });
                    let place = [field("queueOffset"), id.log_offset.to_string(), field("transactionId")];
                    self.note_half(number, place);
                }
                10..=12 => self.counts.stored_only += 1,
                _ => {}
            }
            let _ = bytes.split_to(size);
        }
        for (number, place) in asked {
            self.end_transaction(number, &place, true);
        }
    }

    /// As many replicas as the role promises hold what was acknowledged just now.
    fn note_acknowledged(&mut self, message: Acknowledged) {
        let end = message.log_offset.plus(message.body_len as u64);
        let holders = self.nodes.iter().filter(|node| node.held() > end).count();
        let wanted = if self.sync { self.replicas } else { 1 };
        assert!(
            !self.is_gentle || holders >= usize::try_from(wanted).expect("few"),
            "{message:?} was acknowledged, but {holders} replicas hold it instead of {wanted}"
        );
        self.book.push(message);
    }

    pub(super) fn check_step(&mut self) {
        let Some(master) = self.nodes[self.master].broker.as_ref() else { return };
        let status = master.view_replicas();
        for slave in status.slaves.iter().filter(|slave| self.sync && slave.in_sync) {
            let is_bounded = self.rule == ReplicaRule::WaitForNobody || status.confirm <= slave.acked;
            assert!(is_bounded, "{} is confirmed, and a slave in sync has {}", status.confirm, slave.acked);
        }
        if self.reign.is_some() {
            let log = master.view_log();
            for (queue_id, queue) in log.queues_of(TOPIC) {
                let bounds = log.bounds(queue);
                let seen = self.seen.insert(queue_id, bounds.max).unwrap_or_default();
                assert!(
                    seen <= bounds.max,
                    "consumers have seen queue {queue_id} up to {seen}, and now it ends at {}",
                    bounds.max
                );
            }
        }
    }

    /// The newest bytes of slaves that follow this life of the master are the master's.
    fn check_copies(&mut self, bytes_max: u64) {
        for index in self.others() {
            let (master_life, life) = (self.nodes[self.master].life, self.nodes[index].life);
            let is_joined = self.wires.iter().any(|wire| {
                let end =
                    |way: usize, node, life| wire.ways[way].to.is_some_and(|to| (to.node, to.life) == (node, life));
                end(0, index, life) && end(1, self.master, master_life)
            });
            let is_up = self.nodes[self.master].is_up() && self.runs(index);
            let is_sound = !self.is_rotten(index) && !self.is_rotten(self.master);
            if is_joined && is_up && is_sound && self.nodes[index].follows() {
                self.compare(index, bytes_max);
            }
        }
    }

    /// All but the master.
    pub(super) fn others(&self) -> Vec<usize> {
        (0..self.nodes.len()).filter(|index| *index != self.master).collect()
    }

    pub(super) fn compare(&mut self, index: usize, bytes_max: u64) {
        let range = |node: &SimNode| {
            let log = node.broker.as_ref().expect("it runs").view_log();
            (log.start(), log.appended())
        };
        let ((start, end), (own_start, own_end)) = (range(&self.nodes[self.master]), range(&self.nodes[index]));
        let end = end.min(own_end);
        let start = start.max(own_start).max(LogOffset(end.0.saturating_sub(bytes_max)));
        if start < end {
            let (mut theirs, mut ours) =
                (self.nodes[self.master].bytes(start, end), self.nodes[index].bytes(start, end));
            if theirs != ours && self.rot.is_some() {
                // A block was read while it was damaged, and nobody has looked at it since.
                theirs = self.nodes[self.master].stored_bytes(start, end);
                ours = self.nodes[index].stored_bytes(start, end);
            }
            let differs = theirs.iter().zip(&ours).position(|(a, b)| a != b);
            let epochs = [self.nodes[self.master].epochs(), self.nodes[index].epochs()];
            assert_eq!(
                differs, None,
                "slave {index} ends at {own_end} and differs from its master, which ends at {end}, behind {start}: {epochs:?}"
            );
            self.counts.bytes_compared += end.since(start);
        }
    }

    /// The master is lost for good: as many slaves as were promised have everything that was acknowledged.
    fn lose_master(&mut self) {
        self.counts.masters_lost += 1;
        self.mend();
        self.wake_paused();
        if self.nodes[self.master].is_up() {
            self.end(self.master, NodeEnd::Kill);
        }
        for index in self.others() {
            if !self.nodes[index].is_up() {
                self.start(index);
            }
        }
        // They hear of its end, and show all that they hold.
        for _ in 0..200 {
            for wire in 0..self.wires.len() {
                self.carry(wire, 0);
            }
            for index in self.others() {
                self.nodes[index].settle(self.now, &mut self.random);
            }
            self.answer_asks(false);
        }
        self.check_owed();
        let wanted = usize::try_from(self.replicas - 1).expect("few");
        for message in std::mem::take(&mut self.book) {
            let holders = self.others().into_iter().filter(|index| self.holds(*index, &message)).count();
            let logs: Vec<String> = self.others().into_iter().map(|index| self.nodes[index].describe()).collect();
            assert!(
                holders >= wanted,
                "{message:?} was acknowledged; {holders} of {logs:?} have it instead of {wanted}"
            );
        }
    }

    /// Somewhere in a message that was acknowledged.
    pub(super) fn pick_acknowledged(&mut self) -> Option<LogOffset> {
        let random = &mut self.rot.as_mut()?.random;
        let message = self.book.get(random.index(self.book.len().max(1)))?;
        Some(message.log_offset.plus(random.below(message.body_len as u64)))
    }

    pub(super) fn holds(&mut self, index: usize, message: &Acknowledged) -> bool {
        let log = self.nodes[index].broker.as_ref().expect("it runs").view_log();
        if message.log_offset < log.start() || message.log_offset >= log.appended() {
            return false;
        }
        let (mut out, mut misses) = (BytesMut::new(), 0);
        for _ in 0..100 {
            let node = &mut self.nodes[index];
            match node.broker.as_mut().expect("it runs").view_reader().record(message.log_offset, &mut out) {
                RecordRead::Cold(block) => node.supply(block),
                // A read that failed before is told once to whoever asks next, and so is a record that was damaged when it was read.
                RecordRead::Missing | RecordRead::Failed if misses < 3 => misses += 1,
                RecordRead::Missing | RecordRead::Failed => return false,
                RecordRead::Found { .. } => {
                    let view = RecordView::decode(&out, Some(message.log_offset), Check::CrcRequired);
                    return view.is_ok_and(|view| view.body == body(message.number, message.body_len));
                }
            }
        }
        panic!("{message:?} stays cold");
    }
}

/// The body of a message is known from its number, with which it begins.
fn body(number: u64, len: usize) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    body.extend(Random::new(number).bits().to_le_bytes().repeat(len.div_ceil(8)));
    body.truncate(len);
    body
}

/// Small bounds, so that they bind.
fn pick_log_settings(segment_bytes: u64, random: &mut Random) -> LogSettings {
    let flush = small_flush(50, &[10, 500], random);
    LogSettings {
        segment_bytes,
        flush,
        commit_bytes_max: random.pick(&[8, 32, 1024]) * 1024,
        prepare_bytes: 64 * 1024,
        cache_bytes: 640 * 1024,
        queue_block_entries: 16,
        branch_references: 2,
        key_run_entries: 100,
        index_file_bytes: 64 * 1024,
        checkpoint_bytes: 100 * 1024,
        delay_levels: DelayLevels::parse(LEVELS).expect("sound levels"),
        ..LogSettings::default()
    }
}
