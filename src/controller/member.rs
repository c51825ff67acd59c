//! One member of the controllers: agreement by raft, as a machine without clock, disk or network.
//!
//! The shell calls [`ControllerMember::tick`] each [`CONTROLLER_TICK_MS`](crate::limits::CONTROLLER_TICK_MS), [`ControllerMember::receive`] with
//! what other members sent and [`ControllerMember::propose`] with what is to be agreed about, and after any of them [`ControllerMember::turn`], which
//! writes to the [`MemberDisk`] and returns what is to be sent and what was decided.
//! Nothing is said to another member before what it rests on is on the disk. After an error of the disk the member is of no use: what is on the
//! disk is not known.
//!
//! raft-rs draws its election time-outs from the thread's random source; they are replaced by those of the seed after each step, before one is used.

use std::collections::BTreeMap;

use raft::eraftpb::{ConfState, Entry, HardState, Message, MessageType, Snapshot};
use raft::{Config, GetEntriesContext, RaftState, RawNode, SnapshotStatus, StateRole, Storage, StorageError};

use super::bytes::Malformed;
use super::command::Decree;
use super::groups::{Decided, ReplicaGroups};
use super::message;
use super::store::{self, Owner, PromiseError, Recovered};
use crate::limits::{
    CONTROLLER_COMMAND_BYTES_MAX, CONTROLLER_ELECTION_TICKS, CONTROLLER_LOG_ENTRIES_KEPT, CONTROLLER_LOG_ENTRIES_MAX,
    CONTROLLER_PENDING_MAX, CONTROLLER_SNAPSHOT_BYTES_MAX, CONTROLLER_TERM_JUMP_MAX,
};

/// Bytes of entries in one message.
const MESSAGE_BYTES_MAX: u64 = 256 * 1024;

/// Where a member keeps what it promised. Each call returns when it is durable, and is all or nothing but for the last bytes of an append.
pub(crate) trait MemberDisk {
    /// What went wrong.
    type Error;

    /// Appends to the log.
    fn append(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
    /// Puts this in the place of all that the log holds.
    fn replace_log(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
    /// Puts this in the place of the snapshot, if there is one.
    fn replace_snapshot(&mut self, bytes: &[u8]) -> Result<(), Self::Error>;
}

/// What became of a turn.
#[derive(Debug, Default)]
pub(crate) struct Turned {
    /// For other members, by their number.
    pub(crate) messages: Vec<(u64, Vec<u8>)>,
    /// By the ticket of [`ControllerMember::propose`]: what was decided. `None`: this member leads no more, and whether it is decided is not known.
    pub(crate) decided: Vec<(u64, Option<Decided>)>,
    /// Members that are sent a snapshot.
    snapshots_to: Vec<u64>,
}

/// See the module.
pub(crate) struct ControllerMember {
    owner: Owner,
    peers: Vec<u64>,
    node: RawNode<Book>,
    /// As far as the log is applied.
    groups: ReplicaGroups,
    applied: u64,
    applied_term: u64,
    next_frame: u64,
    log_entries_max: usize,
    /// By index of the entry: its term and the ticket.
    pending: BTreeMap<u64, (u64, u64)>,
    next_ticket: u64,
    /// Draws of election time-outs: SplitMix64.
    random: u64,
    drawn_for: (u64, StateRole),
    timeout: usize,
}

/// How a member is made.
#[derive(Clone, Debug)]
pub(crate) struct MemberSettings {
    /// Whose files.
    pub(crate) owner: Owner,
    /// Numbers of all members, its own among them.
    pub(crate) peers: Vec<u64>,
    /// Of its election time-outs.
    pub(crate) seed: u64,
    /// [`CONTROLLER_LOG_ENTRIES_MAX`], or less in tests.
    pub(crate) log_entries_max: usize,
}

impl MemberSettings {
    /// As a process runs it.
    pub(crate) fn new(owner: Owner, peers: Vec<u64>, seed: u64) -> MemberSettings {
        MemberSettings { owner, peers, seed, log_entries_max: CONTROLLER_LOG_ENTRIES_MAX }
    }
}

impl ControllerMember {
    /// A member with what its files hold: `log` and `snapshot`; neither of them is there of a new one. Returns the log that the shell is to put in the
    /// place of the old one before anything else: without what a crash left at its end, or left to be done.
    ///
    /// # Errors
    /// [`PromiseError`].
    pub(crate) fn open(
        settings: MemberSettings,
        log: Option<&[u8]>,
        snapshot: Option<&[u8]>,
    ) -> Result<(ControllerMember, Vec<u8>), PromiseError> {
        let MemberSettings { owner, peers, seed, log_entries_max } = settings;
        let recovered = store::recover(&owner, log, snapshot)?.unwrap_or_default();
        let Recovered { state, begin, entries, promise } = recovered;
        let log = store::whole_log(&owner, begin, &promise, &entries);
        let unreadable = |Malformed| PromiseError::Unreadable { file: "snapshot" };
        let groups = match &state {
            Some((_, _, bytes)) => ReplicaGroups::decode(bytes).map_err(unreadable)?,
            None => ReplicaGroups::default(),
        };
        let (index, term) = state.as_ref().map_or((0, 0), |(index, term, _)| (*index, *term));
        let voters = peers.clone();
        let book = Book {
            entries,
            begin,
            promise,
            snapshot: state.map(|(index, term, bytes)| message::snapshot(index, term, voters.clone(), bytes)),
            voters,
        };
        let config = Config {
            id: owner.member,
            election_tick: CONTROLLER_ELECTION_TICKS,
            heartbeat_tick: 1,
            applied: index,
            max_size_per_msg: MESSAGE_BYTES_MAX,
            max_inflight_msgs: 64,
            check_quorum: true,
            pre_vote: true,
            max_uncommitted_size: (CONTROLLER_PENDING_MAX * CONTROLLER_COMMAND_BYTES_MAX) as u64,
            ..Config::default()
        };
        let logger = slog::Logger::root(slog::Discard, slog::o!());
        let node =
            RawNode::new(&config, book, &logger).expect("the settings are of raft's kind, and the book is whole");
        let mut member = ControllerMember {
            owner,
            peers,
            node,
            groups,
            applied: index,
            applied_term: term,
            next_frame: 1,
            log_entries_max,
            pending: BTreeMap::new(),
            next_ticket: 0,
            random: seed,
            drawn_for: (u64::MAX, StateRole::Follower),
            timeout: 0,
        };
        member.draw();
        Ok((member, log))
    }

    /// Time goes on by one tick.
    pub(crate) fn tick(&mut self) {
        self.node.tick();
        self.draw();
    }

    /// Takes a message. What another member of these cannot have said is dropped, and said so.
    ///
    /// # Errors
    /// Why it is dropped.
    pub(crate) fn receive(&mut self, bytes: &[u8]) -> Result<(), &'static str> {
        let message = message::decode(bytes).map_err(|Malformed| "it is no message of a controller")?;
        self.check(&message)?;
        // What raft itself refuses (an old term, nobody it knows) is no news.
        drop(self.node.step(message));
        self.draw();
        Ok(())
    }

    /// Whether a member of these may have said this. raft takes for granted that it did, and ends the process where that cannot be.
    fn check(&self, message: &Message) -> Result<(), &'static str> {
        let raft = &self.node.raft;
        let (me, last) = (self.owner.member, raft.raft_log.last_index());
        if message.to != me || message.from == me || !self.peers.contains(&message.from) {
            return Err("it is not from one of these controllers to this one");
        }
        if message.term == 0 || message.term > raft.term.saturating_add(CONTROLLER_TERM_JUMP_MAX) {
            return Err("its term is implausible");
        }
        let is_ours = message.term == raft.term && raft.state == StateRole::Leader;
        match message.msg_type {
            MessageType::MsgAppend => {
                // raft takes term 0 for that of any entry that is not there.
                if (message.index == 0) != (message.log_term == 0) {
                    return Err("it goes on from an entry without a term");
                }
                let (mut index, mut term) = (message.index, message.log_term);
                for entry in message.get_entries() {
                    let follows = entry.index == index.saturating_add(1)
                        && entry.term >= term.max(1)
                        && entry.term <= message.term;
                    if !follows || entry.data.len() > CONTROLLER_COMMAND_BYTES_MAX {
                        return Err("its entries do not follow one another");
                    }
                    (index, term) = (entry.index, entry.term);
                    let is_agreed = entry.index <= raft.raft_log.committed && entry.index > self.node.store().begin.0;
                    // A leader of before may have said what was never agreed; raft does not take it.
                    if is_agreed
                        && message.term >= raft.term
                        && raft.raft_log.term(entry.index).ok() != Some(entry.term)
                    {
                        return Err("it contradicts what was agreed");
                    }
                }
            }
            MessageType::MsgHeartbeat if message.commit > last => {
                return Err("it knows more of this log than there is");
            }
            MessageType::MsgSnapshot => {
                let snapshot = message.get_snapshot();
                let metadata = snapshot.get_metadata();
                let mut voters = metadata.get_conf_state().voters.clone();
                voters.sort_unstable();
                if voters != self.node.store().voters
                    || metadata.index == 0
                    || metadata.term == 0
                    || metadata.term > message.term
                {
                    return Err("its snapshot is of other controllers");
                }
                if snapshot.data.len() > CONTROLLER_SNAPSHOT_BYTES_MAX || ReplicaGroups::decode(&snapshot.data).is_err()
                {
                    return Err("its snapshot cannot be read");
                }
            }
            MessageType::MsgAppendResponse if is_ours && (message.index > last || message.reject_hint > last) => {
                return Err("it knows entries that there are not");
            }
            _ => {}
        }
        Ok(())
    }

    /// Asks the members to agree about a command. Its ticket comes back from a later [`ControllerMember::turn`]; `None`: this member does not lead,
    /// has as many as it may, or the command is longer than any that a request makes.
    pub(crate) fn propose(&mut self, command: &Decree) -> Option<u64> {
        if !self.leads() || self.pending.len() >= CONTROLLER_PENDING_MAX {
            return None;
        }
        let data = command.encode();
        if data.len() > CONTROLLER_COMMAND_BYTES_MAX {
            return None;
        }
        self.node.propose(Vec::new(), data).ok()?;
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        let raft = &self.node.raft;
        self.pending.insert(raft.raft_log.last_index(), (raft.term, ticket));
        Some(ticket)
    }

    /// Whether this member leads, and has applied all that was agreed before it did.
    pub(crate) fn leads(&self) -> bool {
        self.node.raft.state == StateRole::Leader && self.applied_term == self.node.raft.term
    }

    /// Whom this member takes for the leader, if anybody.
    pub(crate) fn leader(&self) -> Option<u64> {
        Some(self.node.raft.leader_id).filter(|id| *id != raft::INVALID_ID)
    }

    /// The number of the leader's reign.
    pub(crate) fn term(&self) -> u64 {
        self.node.raft.term
    }

    /// The groups, as far as this member knows.
    pub(crate) fn groups(&self) -> &ReplicaGroups {
        &self.groups
    }

    /// The last entry that is applied.
    pub(crate) fn applied(&self) -> u64 {
        self.applied
    }

    /// Does all that there is to do.
    ///
    /// # Errors
    /// The disk's: the member must not be used any more.
    pub(crate) fn turn<D: MemberDisk>(&mut self, disk: &mut D) -> Result<Turned, D::Error> {
        let mut turned = Turned::default();
        while self.node.has_ready() {
            let mut ready = self.node.ready();
            let mut messages = ready.take_messages();
            messages.extend(ready.take_persisted_messages());
            let promise = ready.hs().cloned();
            if ready.snapshot().get_metadata().index > 0 {
                self.take_snapshot(ready.snapshot(), promise.as_ref(), disk)?;
            }
            let entries = ready.take_entries();
            let old = &self.node.store().promise;
            let is_new = promise.as_ref().is_some_and(|new| (new.term, new.vote) != (old.term, old.vote));
            let promise = promise.unwrap_or_else(|| old.clone());
            if is_new || !entries.is_empty() {
                let frame = store::log_frame(self.next_frame, &promise, &entries);
                disk.append(&frame)?;
                self.next_frame += 1;
            }
            let book = self.node.mut_store();
            book.promise = promise;
            book.append(entries);
            send(messages, &mut turned);
            let decided = ready.take_committed_entries();
            self.apply(&decided, &mut turned);
            let mut light = self.node.advance(ready);
            if let Some(commit) = light.commit_index() {
                self.node.mut_store().promise.commit = commit;
            }
            send(light.take_messages(), &mut turned);
            self.apply(&light.take_committed_entries(), &mut turned);
            self.node.advance_apply();
            // A snapshot is one message. Whether it was lost is seen by what is said next: raft would wait for it for ever.
            for to in std::mem::take(&mut turned.snapshots_to) {
                self.node.report_snapshot(to, SnapshotStatus::Finish);
            }
            self.draw();
        }
        if self.node.raft.state != StateRole::Leader {
            let lost = std::mem::take(&mut self.pending);
            turned.decided.extend(lost.into_values().map(|(_, ticket)| (ticket, None)));
        }
        self.shorten(disk)?;
        Ok(turned)
    }

    fn apply(&mut self, entries: &[Entry], turned: &mut Turned) {
        for entry in entries {
            assert_eq!(entry.index, self.applied + 1, "entries are applied one after another");
            (self.applied, self.applied_term) = (entry.index, entry.term);
            // A new leader's first entry says nothing. What cannot be read was refused by everybody alike.
            let command = if entry.data.is_empty() { None } else { Decree::decode(&entry.data).ok() };
            let decided = command.map(|command| {
                let before = cfg!(debug_assertions).then(|| self.groups.clone());
                let decided = self.groups.apply(&command);
                if let Some(before) = before {
                    self.groups.check_invariants(&before);
                }
                decided
            });
            if let Some((term, ticket)) = self.pending.remove(&entry.index) {
                turned.decided.push((ticket, decided.filter(|_| term == entry.term)));
            }
        }
    }

    /// The leader's groups take the place of all that this member has.
    fn take_snapshot<D: MemberDisk>(
        &mut self,
        snapshot: &Snapshot,
        promise: Option<&HardState>,
        disk: &mut D,
    ) -> Result<(), D::Error> {
        let (index, term) = (snapshot.get_metadata().index, snapshot.get_metadata().term);
        self.groups = ReplicaGroups::decode(&snapshot.data).expect("it was read before it was taken");
        (self.applied, self.applied_term) = (index, term);
        let promise = promise.cloned().unwrap_or_else(|| self.node.store().promise.clone());
        disk.replace_snapshot(&store::snapshot_file(&self.owner, index, term, &snapshot.data))?;
        disk.replace_log(&store::whole_log(&self.owner, (index, term), &promise, &[]))?;
        self.next_frame = 1;
        let book = self.node.mut_store();
        (book.begin, book.entries, book.promise) = ((index, term), Vec::new(), promise);
        book.snapshot = Some(snapshot.clone());
        Ok(())
    }

    /// Takes a snapshot, if the log has grown so much.
    fn shorten<D: MemberDisk>(&mut self, disk: &mut D) -> Result<(), D::Error> {
        let book = self.node.store();
        let taken = book.snapshot.as_ref().map_or(0, |snapshot| snapshot.get_metadata().index);
        if self.applied.saturating_sub(taken) < self.log_entries_max as u64 {
            return Ok(());
        }
        let state = self.groups.encode();
        disk.replace_snapshot(&store::snapshot_file(&self.owner, self.applied, self.applied_term, &state))?;
        let kept = CONTROLLER_LOG_ENTRIES_KEPT.min(self.log_entries_max / 2) as u64;
        let snapshot = message::snapshot(self.applied, self.applied_term, book.voters.clone(), state);
        let begin = self.applied.saturating_sub(kept);
        let book = self.node.mut_store();
        book.snapshot = Some(snapshot);
        book.forget_before(begin);
        let log = store::whole_log(&self.owner, book.begin, &book.promise, &book.entries);
        disk.replace_log(&log)?;
        self.next_frame = 1;
        Ok(())
    }

    /// Puts the seed's time-out in the place of raft's own. One is drawn for each term and role.
    fn draw(&mut self) {
        let raft = &mut self.node.raft;
        let now = (raft.term, raft.state);
        if self.drawn_for != now {
            self.drawn_for = now;
            self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
            let mut mixed = self.random;
            mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            let drawn = usize::try_from((mixed ^ (mixed >> 31)) % CONTROLLER_ELECTION_TICKS as u64).expect("below ten");
            self.timeout = CONTROLLER_ELECTION_TICKS + drawn;
        }
        raft.set_randomized_election_timeout(self.timeout);
    }
}

fn send(messages: Vec<Message>, turned: &mut Turned) {
    let snapshots = messages.iter().filter(|message| message.msg_type == MessageType::MsgSnapshot);
    turned.snapshots_to.extend(snapshots.map(|message| message.to));
    turned.messages.extend(messages.iter().filter_map(|message| Some((message.to, message::encode(message)?))));
}

/// What raft asks for of the log. All of it is in memory: a few thousand entries.
struct Book {
    entries: Vec<Entry>,
    /// Index and term before the first entry.
    begin: (u64, u64),
    promise: HardState,
    snapshot: Option<Snapshot>,
    /// Sorted.
    voters: Vec<u64>,
}

impl Book {
    fn place(&self, index: u64) -> Option<usize> {
        usize::try_from(index.checked_sub(self.begin.0)?.checked_sub(1)?).ok()
    }

    fn append(&mut self, entries: Vec<Entry>) {
        let Some(first) = entries.first() else { return };
        let place = self.place(first.index).expect("what is agreed is not written again");
        assert!(place <= self.entries.len(), "entries follow one another");
        self.entries.truncate(place);
        self.entries.extend(entries);
    }

    fn forget_before(&mut self, index: u64) {
        if let Some(place) = self.place(index) {
            let term = self.entries[place].term;
            self.entries.drain(..=place);
            self.begin = (index, term);
        }
    }
}

impl Storage for Book {
    fn initial_state(&self) -> raft::Result<RaftState> {
        let conf_state = ConfState { voters: self.voters.clone(), ..ConfState::default() };
        Ok(RaftState { hard_state: self.promise.clone(), conf_state })
    }

    fn entries(
        &self,
        low: u64,
        high: u64,
        max_size: impl Into<Option<u64>>,
        _: GetEntriesContext,
    ) -> raft::Result<Vec<Entry>> {
        let from = self.place(low).ok_or(raft::Error::Store(StorageError::Compacted))?;
        let to = self.place(high).filter(|to| *to <= self.entries.len());
        let to = to.ok_or(raft::Error::Store(StorageError::Unavailable))?;
        let mut entries = self.entries[from..to].to_vec();
        if let Some(max) = max_size.into() {
            let mut bytes = 0;
            let fits = entries.iter().take_while(|entry| {
                bytes += entry.data.len() as u64 + 32;
                bytes <= max
            });
            entries.truncate(fits.count().max(1));
        }
        Ok(entries)
    }

    fn term(&self, index: u64) -> raft::Result<u64> {
        if index == self.begin.0 {
            return Ok(self.begin.1);
        }
        let place = self.place(index).ok_or(raft::Error::Store(StorageError::Compacted))?;
        self.entries.get(place).map(|entry| entry.term).ok_or(raft::Error::Store(StorageError::Unavailable))
    }

    fn first_index(&self) -> raft::Result<u64> {
        Ok(self.begin.0 + 1)
    }

    fn last_index(&self) -> raft::Result<u64> {
        Ok(self.begin.0 + self.entries.len() as u64)
    }

    fn snapshot(&self, request_index: u64, _: u64) -> raft::Result<Snapshot> {
        let found = self.snapshot.clone().filter(|snapshot| snapshot.get_metadata().index >= request_index);
        found.ok_or(raft::Error::Store(StorageError::SnapshotTemporarilyUnavailable))
    }
}

#[cfg(test)]
mod tests;
