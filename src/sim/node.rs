//! One shard as a whole broker in the made-up world: its disk, its ring, what it has asked for and not got yet.

use std::collections::{BTreeSet, VecDeque};
use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};

use super::disk::SimDisk;
use super::random::Random;
use super::tables::TableFiles;
use super::tail::{Remains, SimTail, Slot};
use crate::broker::life::Life;
use crate::broker::persist::Append;
use crate::broker::settings::BrokerSettings;
use crate::broker::{Broker, Effect, Output, Tables};
use crate::config::{NodeConfig, NodeKind};
use crate::letter::{ToControl, ToShard};
use crate::log::{
    BlockId, Commit, DiskUsage, FileName, FlushPolicy, FoundStore, Io, IoError, Log, LogSettings, Read, ReadLimits,
    Recovery, Step, Stream, Work,
};
use crate::model::{
    BrokerId, ConnectionId, Epoch, LinkId, LogId, LogOffset, Now, QueueId, QueueOffset, ReignId, Role, ShardId,
};
use crate::protocol::body::StoredTables;
use crate::protocol::record::{Check, RecordView};
use crate::replication::{EpochTable, FreshIds, ReplicaSettings};

/// A message that was read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) stored: i64,
    /// Of the log, to have an order.
    pub(super) log_offset: u64,
}

/// What a node asks of the world.
#[derive(Debug)]
pub(super) enum Asks {
    Connect(SocketAddr),
    Close(LinkId),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NodeEnd {
    /// Killed; the ring stays.
    Kill,
    /// Killed, and the ring is gone.
    KillAndLoseTail,
    /// The power goes, and the ring with it.
    Power,
    /// The node itself begins another life in place, with so much of its log at most.
    NextLife(Option<LogOffset>),
}

impl NodeEnd {
    /// An end from outside.
    pub(super) fn pick(random: &mut Random) -> NodeEnd {
        random.pick(&[NodeEnd::Kill, NodeEnd::Kill, NodeEnd::KillAndLoseTail, NodeEnd::Power])
    }
}

/// A node that can be ended and started again.
pub(super) struct SimNode {
    pub(super) settings: BrokerSettings,
    ring_bytes: usize,
    pub(super) disk: SimDisk,
    slot: Slot,
    pub(super) broker: Option<Box<Broker>>,
    pub(super) out: Output,
    commit: Option<(Commit, Vec<u8>)>,
    io: Option<Io>,
    fetches: VecDeque<BlockId>,
    /// The file of the epochs, and a new one under way.
    epochs: String,
    epochs_under_way: Option<(u64, Bytes)>,
    /// The tables' files, and an append under way.
    tables: TableFiles,
    append: Option<Append>,
    /// Whether the last start found the delay offsets ahead of the log.
    pub(super) distrusted_delay_file: bool,
    pub(super) asks: VecDeque<Asks>,
    /// The life that it has asked for.
    pub(super) next_life: Option<Life>,
    /// Which life it is in, counted.
    pub(super) life: u64,
    pub(super) next_link: u64,
    /// The replication links whose turn comes: a link sends when it was woken, and until it has no more.
    pub(super) awake: BTreeSet<LinkId>,
    /// To see that the checks would notice: no link is woken when the broker names it.
    pub(super) wakes_nobody: bool,
    /// What was promised when it ended last, if its end keeps that.
    kept: LogOffset,
    /// All logs and reigns that it begins have the same identity: to see that the checks would notice.
    pub(super) forgets_identity: bool,
    /// It knows no identities, as before store format 2.
    pub(super) is_older: bool,
    /// As a slave it cuts off whatever its master has not: to see that the checks would notice.
    pub(super) cuts_unasked: bool,
    /// A copy of its store: disk, epochs and tables.
    copy: Option<(SimDisk, String, TableFiles)>,
    /// The newest epoch it has reigned in.
    pub(super) reign: u32,
    /// To see that the checks would notice: it reigns on in the epoch of the master before it.
    pub(super) keeps_epoch: bool,
    /// Of so many commits, and pieces of background work, one fails; 0: none does.
    pub(super) one_fails_in: u64,
    /// To see that the checks would notice: it is told that what has failed was done.
    pub(super) hides_failures: bool,
    /// To see that the checks would notice: what it mends it takes from anywhere in the file, as if it had looked at no place.
    pub(super) mends_with_anything: bool,
    /// The same: what cannot be read fails like what has no memory.
    pub(super) hides_bad_blocks: bool,
}

/// Where node `index` is reached.
pub(super) fn address_of(index: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, 1], u16::try_from(10_912 + index * 10).expect("few nodes")))
}

impl SimNode {
    /// Node `index` of its brokerName, not started.
    pub(super) fn new(index: usize, replica: ReplicaSettings, log_settings: LogSettings, ring_bytes: usize) -> SimNode {
        let settings = BrokerSettings {
            trace_on: false,
            message_body_bytes_max: 16 * 1024,
            replica,
            log: log_settings,
            ..BrokerSettings::of(&NodeConfig::defaults(NodeKind::Broker), ShardId(0), 1, address_of(index))
        };
        let disk = SimDisk::with_capacity(200 * log_settings.segment_bytes);
        SimNode {
            settings,
            ring_bytes,
            disk,
            slot: Slot::default(),
            broker: None,
            out: Output::default(),
            commit: None,
            io: None,
            fetches: VecDeque::new(),
            epochs: String::new(),
            epochs_under_way: None,
            tables: TableFiles::default(),
            append: None,
            distrusted_delay_file: false,
            asks: VecDeque::new(),
            next_life: None,
            life: 0,
            next_link: 1,
            awake: BTreeSet::new(),
            wakes_nobody: false,
            kept: LogOffset(0),
            forgets_identity: false,
            is_older: false,
            cuts_unasked: false,
            copy: None,
            reign: 0,
            keeps_epoch: false,
            one_fails_in: 0,
            hides_failures: false,
            mends_with_anything: false,
            hides_bad_blocks: false,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.broker.is_some()
    }

    /// What this node promises to hold, now or when it is up again.
    pub(super) fn held(&self) -> LogOffset {
        self.broker.as_ref().map_or(self.kept, |broker| broker.view_log().promised())
    }

    /// Ends it. `is_covered`: its flush setting promises to survive such an end.
    pub(super) fn end(&mut self, end: NodeEnd, random: &mut Random) {
        let held = self.held();
        self.broker = None;
        self.life += 1;
        self.out = Output::default();
        if let Some((commit, data)) = self.commit.take() {
            let torn = if random.percent(50) { Some(&mut *random) } else { None };
            let _ = self.disk.write(commit.segment, commit.at, &data, torn);
        }
        if let Some(io) = self.io.take() {
            let _ = self.disk.work(&io.work, Some(&mut *random));
        }
        // A file is replaced by a rename: it is the old one or the new one.
        if let Some((_, text)) = self.epochs_under_way.take()
            && random.percent(50)
        {
            self.epochs = String::from_utf8(text.to_vec()).expect("it is text");
        }
        self.tables.end(self.append.take().as_ref(), end == NodeEnd::Power, random);
        self.fetches.clear();
        self.asks.clear();
        self.awake.clear();
        self.next_life = None;
        self.kept = match end {
            NodeEnd::NextLife(end_max) => end_max.map_or(held, |at| held.min(at)),
            _ if self.survives(end) => held,
            _ => LogOffset(0),
        };
        match end {
            NodeEnd::Kill | NodeEnd::NextLife(_) => {}
            NodeEnd::KillAndLoseTail => drop(self.slot.take()),
            NodeEnd::Power => {
                self.slot.take();
                self.disk.lose_power(random);
            }
        }
    }

    /// Whether its disk has failed it, so that it does nothing any more.
    pub(super) fn has_failed(&self) -> bool {
        self.broker.as_ref().is_some_and(|broker| broker.view_log().failure().is_some())
    }

    /// It reads all that is sealed again and again.
    pub(super) fn scrub_often(&mut self) {
        self.settings.log.scrub_interval_ms = 300;
    }

    /// Size of a segment of its log.
    pub(super) fn segment_bytes(&self) -> u64 {
        self.settings.log.segment_bytes
    }

    /// Whether what was promised is on its disk.
    pub(super) fn is_sync(&self) -> bool {
        self.settings.log.flush == FlushPolicy::Sync
    }

    /// Whether what is promised survives such an end.
    pub(super) fn survives(&self, end: NodeEnd) -> bool {
        matches!(end, NodeEnd::Kill | NodeEnd::NextLife(_)) || self.settings.log.flush == FlushPolicy::Sync
    }

    /// Whether it runs and takes transfers from a master.
    pub(super) fn follows(&self) -> bool {
        let status = self.broker.as_ref().and_then(|broker| broker.view_replicas().master);
        status.is_some_and(|master| master.is_connected)
    }

    /// Where its log begins and ends, what it kept over its last end, and its flush setting.
    pub(super) fn describe(&self) -> String {
        let log = self.broker.as_ref().map(|broker| (broker.view_log().start(), broker.view_log().appended()));
        format!("log {log:?}, kept {}, {:?}", self.kept, self.settings.log.flush)
    }

    /// The epochs in its file.
    pub(super) fn epochs(&self) -> EpochTable {
        EpochTable::decode(&self.epochs).expect("the file is whole")
    }

    /// Somebody copies its store, without what only the tail has.
    pub(super) fn copy_store(&mut self) {
        assert!(!self.is_up(), "a store is not copied while it is written to");
        self.copy = Some((self.disk.clone(), self.epochs.clone(), self.tables.clone()));
    }

    pub(super) fn has_copy(&self) -> bool {
        self.copy.is_some()
    }

    /// The copy takes the store's place; what the tail has is not of it.
    pub(super) fn restore_store(&mut self) {
        self.wipe();
        (self.disk, self.epochs, self.tables) = self.copy.clone().expect("there is a copy");
    }

    /// Somebody puts the disk of each into the other.
    pub(super) fn swap_stores(&mut self, other: &mut SimNode) {
        assert!(!self.is_up() && !other.is_up(), "a store is not taken from a node that runs");
        std::mem::swap(&mut self.disk, &mut other.disk);
        std::mem::swap(&mut self.epochs, &mut other.epochs);
        std::mem::swap(&mut self.tables, &mut other.tables);
        std::mem::swap(&mut self.kept, &mut other.kept);
        for node in [self, other] {
            node.slot.take();
            node.reign = 0;
        }
    }

    /// Somebody gives it a copy of another's store, without what only the tail has.
    pub(super) fn copy_from(&mut self, other: &SimNode) {
        self.wipe();
        (self.disk, self.epochs, self.tables) = (other.disk.clone(), other.epochs.clone(), other.tables.clone());
    }

    /// Somebody gives it an empty store.
    pub(super) fn wipe(&mut self) {
        assert!(!self.is_up(), "a store is not taken from a node that runs");
        self.disk = SimDisk::with_capacity(self.disk.capacity);
        self.epochs.clear();
        self.tables = TableFiles::default();
        self.slot.take();
        (self.kept, self.reign) = (LogOffset(0), 0);
    }

    /// Brings what is under way to its end before another life: all of the log is written, whoever waits is answered.
    pub(super) fn bring_to_end(&mut self, now: Now, random: &mut Random) {
        self.act(now, |broker, _| broker.handle_stop(now));
        // A disk that takes too long is not waited for.
        for _ in 0..self.disk_turns(random) {
            self.settle(now, random);
        }
        self.act(now, |broker, out| broker.handle_end(now, out));
    }

    fn disk_turns(&self, random: &mut Random) -> u64 {
        if random.percent(80) { 20 } else { random.below(3) }
    }

    /// Starts it: recovery to its end, tables, the master's reign.
    pub(super) fn start(&mut self, now: Now, life: Life) {
        assert!(!self.is_up(), "it runs already");
        // One that was ordered to follow does not ask.
        let ordered = Life { epoch: Some(Epoch(0)), ..life };
        let life = if self.cuts_unasked && !life.role.is_master() { ordered } else { life };
        let log = self.recover(life.end_max);
        let mut epochs = self.epochs();
        if life.role.is_master() && !(self.keeps_epoch && epochs.last().is_some()) {
            let number = match (self.is_older, self.forgets_identity) {
                (true, _) => 0,
                (_, true) => 1,
                _ => (life.broker_id.0 << 32) + self.life + 1,
            };
            let fresh = FreshIds { log: LogId(number.into()), reign: ReignId(number) };
            let epoch = life.epoch.unwrap_or_else(|| epochs.next_epoch().expect("few have started"));
            let reign = epochs.begin(epoch, log.appended(), &fresh);
            assert!(reign.epoch.0 > self.reign, "epoch {} after {}", reign.epoch, self.reign);
            self.reign = reign.epoch.0;
            self.epochs = epochs.encode();
        }
        let (stored, changes) = self.tables.read();
        let told = stored.delay_offsets.as_ref();
        self.distrusted_delay_file = told.is_some_and(|table| table.log_offset > log.appended());
        let tables = Tables { stored, changes, epochs };
        let mut broker = Box::new(Broker::new(life, self.settings.clone(), *log, tables));
        broker.handle_start(now, &mut self.out);
        self.broker = Some(broker);
        self.run_effects(now);
    }

    fn recover(&mut self, end_max: Option<LogOffset>) -> Box<Log> {
        self.disk.flush_names();
        let remains = self.slot.take();
        let Remains { ring, appended } =
            remains.unwrap_or_else(|| Remains { ring: vec![0; self.ring_bytes], appended: None });
        let tail = SimTail::new(Remains { ring, appended }, self.slot.clone(), true);
        let found = FoundStore {
            files: self.disk.list(),
            tail: Box::new(tail),
            tail_appended: appended,
            end_max,
            unflushed_max: None,
        };
        let mut recovery = match Recovery::new(self.settings.log, found) {
            Ok(recovery) => recovery,
            Err(error) => panic!("refused: {error}"),
        };
        loop {
            let answer = match recovery.step() {
                Step::Done(log) => return log,
                Step::Refused(error) => panic!("refused: {error}"),
                step => self.disk.recover(step),
            };
            recovery.supply(answer);
        }
    }

    /// The connection of the client of this life, in worlds that have one.
    pub(super) fn client(&self) -> ConnectionId {
        ConnectionId(1 + self.life)
    }

    /// Whether it runs and reads requests.
    pub(super) fn takes_input(&self) -> bool {
        self.broker.as_ref().is_some_and(|broker| broker.poll_input(&self.out))
    }

    /// All that was said at once is handled.
    pub(super) fn end_turn(&mut self, now: Now) {
        self.act(now, |broker, out| broker.handle_turn_end(now, out));
    }

    /// Calls the broker with an event, then looks at what it asks.
    pub(super) fn act<T>(&mut self, now: Now, event: impl FnOnce(&mut Broker, &mut Output) -> T) -> T {
        let result = event(self.broker.as_mut().expect("it runs"), &mut self.out);
        self.run_effects(now);
        self.broker.as_ref().expect("it runs").view_log().check_invariants();
        if !self.wakes_nobody {
            self.awake.extend(self.broker.as_ref().expect("it runs").poll_links(now));
        }
        result
    }

    pub(super) fn run_effects(&mut self, now: Now) {
        while !self.out.effects.is_empty() {
            for effect in std::mem::take(&mut self.out.effects) {
                let broker = self.broker.as_mut().expect("it runs");
                match effect {
                    Effect::Fetch(block) | Effect::Prefetch(block) => self.fetches.push_back(block),
                    Effect::Append(append) => {
                        assert!(self.append.is_none(), "one append is under way");
                        self.append = Some(append);
                    }
                    Effect::Control(ToControl::TopicsChanged { ticket, .. }) => {
                        broker.handle_control(now, ToShard::Registered { ticket }, &mut self.out);
                    }
                    Effect::Control(_) => {}
                    Effect::LinkConnect(address) => self.asks.push_back(Asks::Connect(address)),
                    Effect::LinkClose(link) => self.asks.push_back(Asks::Close(link)),
                    Effect::WriteEpochs { generation, text } => {
                        assert!(self.epochs_under_way.is_none(), "one write of the epochs is under way");
                        self.epochs_under_way = Some((generation, text));
                    }
                    Effect::BeginLife(life) => self.next_life = Some(life),
                }
            }
        }
    }

    /// One piece of what the shell does beside: a commit, background work, a read, a file.
    pub(super) fn work(&mut self, now: Now, random: &mut Random) {
        match random.below(6) {
            0 => self.begin_commit(),
            1 => self.end_commit(now, Some(random)),
            2 => self.background(now, Some(random)),
            3 => self.fetch(now, random),
            4 => self.write_tables(now, random),
            _ => self.write_epochs(now, random),
        }
    }

    /// Everything that is to be done now.
    pub(super) fn settle(&mut self, now: Now, random: &mut Random) {
        for _ in 0..4 {
            self.begin_commit();
            self.end_commit(now, None);
            self.background(now, None);
            self.fetch(now, random);
            self.write_epochs(now, random);
            self.write_tables(now, random);
        }
    }

    fn begin_commit(&mut self) {
        let broker = self.broker.as_mut().expect("it runs");
        if self.commit.is_none()
            && let Some(commit) = broker.poll_commit()
        {
            let mut data = vec![0xEE; commit.len];
            broker.fill_commit(&commit, &mut data);
            self.commit = Some((commit, data));
        }
    }

    /// Whether what is done now fails: with what it then leaves half done.
    fn fault<'a>(&self, random: Option<&'a mut Random>) -> Option<&'a mut Random> {
        let random = random?;
        let fails = self.one_fails_in > 0 && random.below(self.one_fails_in) == 0;
        fails.then_some(random)
    }

    fn end_commit(&mut self, now: Now, random: Option<&mut Random>) {
        let Some((commit, data)) = self.commit.take() else { return };
        let fault = self.fault(random);
        let fails = fault.is_some();
        let mut result = self.disk.write(commit.segment, commit.at, &data, fault);
        if fails {
            result = if self.hides_failures { Ok(()) } else { Err(IoError::Failed { errno: 5 }) };
        } else if result.is_ok() {
            self.disk.flush_commit(&commit);
        }
        self.act(now, |broker, out| broker.handle_io(now, commit.id, result, out));
    }

    fn background(&mut self, now: Now, random: Option<&mut Random>) {
        match self.io.take() {
            None => self.io = self.broker.as_mut().expect("it runs").poll_background(now),
            Some(mut io) => {
                if let Work::Mend { file, at, data, .. } = &mut io.work
                    && self.mends_with_anything
                {
                    let elsewhere = if *at == 0 { self.segment_bytes() / 2 } else { 0 };
                    let other = self.disk.read(*file, elsewhere, data.len());
                    *data = other.unwrap_or_else(|_| vec![0; data.len()]).into();
                }
                let fault = self.fault(random).filter(|_| !self.hides_failures);
                let fails = fault.is_some();
                let done = self.disk.work(&io.work, fault);
                let done = if fails { Err(IoError::Failed { errno: 5 }) } else { done };
                self.act(now, |broker, out| broker.handle_io(now, io.id, done, out));
            }
        }
    }

    fn fetch(&mut self, now: Now, random: &mut Random) {
        let Some(block) = self.fetches.pop_front() else { return };
        let data = if random.percent(1) { Err(IoError::Failed { errno: 5 }) } else { self.read(block) };
        self.act(now, |broker, out| broker.handle_block(now, block, data, out));
    }

    /// Brings a block to those who look at the log.
    pub(super) fn supply(&mut self, block: BlockId) {
        let data = self.read(block);
        self.broker.as_mut().expect("it runs").view_reader().supply(block, data);
    }

    fn read(&self, block: BlockId) -> Result<Bytes, IoError> {
        let read = self.disk.read(block.file, block.at, block.len as usize).map(Bytes::from);
        read.map_err(|error| if self.hides_bad_blocks { IoError::Failed { errno: 12 } } else { error })
    }

    fn write_epochs(&mut self, now: Now, random: &mut Random) {
        let Some((generation, text)) = self.epochs_under_way.take() else { return };
        let result = if random.percent(10) { Err(IoError::NoSpace) } else { Ok(()) };
        if result.is_ok() {
            self.epochs = String::from_utf8(text.to_vec()).expect("it is text");
        }
        self.act(now, |broker, out| broker.handle_epochs_written(now, generation, result, out));
    }

    /// The append under way, or a step of a snapshot.
    fn write_tables(&mut self, now: Now, random: &mut Random) {
        if let Some(append) = self.append.take() {
            let result = if random.percent(3) { Err(IoError::NoSpace) } else { Ok(()) };
            match result {
                Ok(()) => self.tables.append(&append),
                Err(_) => self.tables.fail(&append, random),
            }
            self.act(now, |broker, out| broker.handle_appended(now, result, out));
        } else if let Some(work) = self.broker.as_mut().expect("it runs").poll_snapshot(now) {
            self.tables.work(&work);
            self.act(now, |broker, _| broker.handle_snapshot(now, &work, Ok(())));
        }
    }

    /// What a start would find in the tables' files.
    pub(super) fn tables(&self) -> StoredTables {
        self.tables.read().0
    }

    /// Makes something else of the tables' files, between two lives.
    pub(super) fn change_tables(&mut self, change: impl FnOnce(&mut StoredTables)) {
        let mut tables = self.tables();
        change(&mut tables);
        self.tables = TableFiles::of(&tables);
    }

    pub(super) fn tick(&mut self, now: Now) {
        self.tick_with(now, DiskUsage { used_bytes: self.disk.used(), total_bytes: self.disk.capacity });
    }

    /// A tick, with a disk that others have filled so far.
    pub(super) fn tick_with(&mut self, now: Now, disk: DiskUsage) {
        self.act(now, |broker, out| broker.handle_tick(now, disk, out));
    }

    /// All messages of a queue, in their order, by their numbers.
    pub(super) fn read_queue(&mut self, now: &mut Now, topic: &str, queue_id: QueueId) -> Vec<Found> {
        let mut all = Vec::new();
        self.read_records(now, topic, queue_id, |view| {
            let number = view.body.first_chunk().map(|number| u64::from_be_bytes(*number));
            let (stored, log_offset) = (view.store_timestamp, view.log_offset.0);
            all.push(Found { number: number.expect("a number"), stored, log_offset });
        });
        all
    }

    /// Looks at all records of a queue, in their order. What cannot be read rests meanwhile.
    pub(super) fn read_records(
        &mut self,
        now: &mut Now,
        topic: &str,
        queue_id: QueueId,
        mut look: impl FnMut(&RecordView<'_>),
    ) {
        let log = self.broker.as_mut().expect("it runs").view_reader();
        let Some(queue) = log.find_queue(topic, queue_id) else { return };
        let mut at = log.bounds(queue).min;
        let limits = ReadLimits { messages_max: 1, bytes_max: 0, entries_max: 1 };
        for _ in 0..1_000_000 {
            let mut out = BytesMut::new();
            let log = self.broker.as_mut().expect("it runs").view_reader();
            match log.read(queue, at, &limits, &|_| true, &mut out) {
                Read::Found { next, .. } => {
                    look(&RecordView::decode(&out, None, Check::CrcRequired).expect("a sound record"));
                    at = next;
                }
                Read::NoMatch { .. } => return,
                Read::Cold(block) => self.supply(block),
                Read::Failed => {
                    now.mono = now.mono.plus_ms(30_000);
                    self.tick(*now);
                }
                Read::Damaged { at, .. } => panic!("{topic} {queue_id}: {at} is damaged"),
                Read::Removed { next } => at = next.max(QueueOffset(at.0 + 1)),
            }
        }
        panic!("{topic} {queue_id} has no end");
    }

    /// Something is due.
    pub(super) fn meet_deadline(&mut self, now: Now) {
        let deadline = self.broker.as_ref().and_then(|broker| broker.poll_timeout());
        if deadline.is_some_and(|deadline| deadline <= now.mono) {
            self.act(now, |broker, out| broker.handle_deadline(now, out));
        }
    }

    /// The log's bytes from `from` to `to`, wherever they lie.
    pub(super) fn bytes(&mut self, from: LogOffset, to: LogOffset) -> Vec<u8> {
        let mut out = BytesMut::new();
        let mut at = from;
        for _ in 0..10_000 {
            if at >= to {
                return out.to_vec();
            }
            let most = usize::try_from(to.since(at)).expect("a made-up log is small");
            let log = self.broker.as_mut().expect("it runs").view_reader();
            match log.stream(at, most, &mut out) {
                Stream::Bytes(bytes) => at = at.plus(bytes as u64),
                Stream::Cold(block) => self.supply(block),
                // A read that failed is asked for again.
                Stream::Failed(_) => {}
                other => panic!("{at} of {from}..{to}: {other:?}"),
            }
        }
        panic!("{at} of {from}..{to} stays cold");
    }

    /// The same as they are on the disk now, whatever was read of them before; behind it what the tail has.
    pub(super) fn stored_bytes(&mut self, from: LogOffset, to: LogOffset) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = from;
        let low = to.min(self.broker.as_ref().expect("it runs").view_log().tail_low());
        while at < low {
            let start = LogOffset(at.0 / self.segment_bytes() * self.segment_bytes());
            let end = low.min(start.plus(self.segment_bytes()));
            let len = usize::try_from(end.since(at)).expect("a made-up log is small");
            let bytes = self.disk.read(FileName::Segment(start), at.since(start), len).expect("it is there");
            assert_eq!(bytes.len(), len, "the segment at {start} is as long as it is used");
            out.extend_from_slice(&bytes);
            at = end;
        }
        out.extend_from_slice(&self.bytes(at.max(from), to));
        out
    }
}

/// Which node's reign that is, if it has a name.
pub(super) fn master_of_reign(reign: ReignId) -> Option<BrokerId> {
    let broker_id = reign.0 >> 32;
    (broker_id > 0).then_some(BrokerId(broker_id))
}

/// Settings of replication in the made-up world: RocketMQ's times, and batches that are small.
pub(super) fn replica_settings(sync: bool, replicas: u32, random: &mut Random) -> ReplicaSettings {
    ReplicaSettings {
        in_sync_replicas: if sync { replicas } else { 1 },
        batch_bytes_max: random.pick(&[512, 4096, 32 * 1024]),
        ..ReplicaSettings::default()
    }
}

/// Settings of a log that is small enough to fill its bounds in a moment.
pub(super) fn small_log(flush: FlushPolicy, random: &mut Random) -> LogSettings {
    LogSettings {
        segment_bytes: random.pick(&[64, 256]) * 1024,
        flush,
        commit_bytes_max: random.pick(&[8, 1024]) * 1024,
        prepare_bytes: 64 * 1024,
        cache_bytes: 640 * 1024,
        queue_block_entries: random.pick(&[4, 16]),
        branch_references: 3,
        key_run_entries: 100,
        index_file_bytes: 64 * 1024,
        checkpoint_bytes: 100 * 1024,
        ..LogSettings::default()
    }
}

/// Whether each commit is flushed, as so many of a hundred nodes have it, or after how long.
pub(super) fn small_flush(sync_percent: u64, flush_ms: &[u64], random: &mut Random) -> FlushPolicy {
    if random.percent(sync_percent) {
        return FlushPolicy::Sync;
    }
    FlushPolicy::Async { flush_bytes: 64 * 1024, flush_ms: random.pick(flush_ms) }
}

/// A life of node `index` in this role, in the reign `epoch` if reigns are numbered.
pub(super) fn life_of(index: usize, role: Role, epoch: Option<Epoch>) -> Life {
    Life { role, broker_id: BrokerId(index as u64 + 1), epoch, end_max: None }
}
