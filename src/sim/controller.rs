//! Controllers in the made-up world: they crash amid a write, their disks tear the last of it, and the network loses, doubles and delays what they say,
//! in one direction if need be.
//!
//! What is checked, at each step: whoever has applied as much has the same groups; one controller leads in a term; one broker is the master of a
//! group in an epoch, as it was answered; and in the end, when all is well again, that everybody has all that was answered.

use std::collections::{BTreeMap, BTreeSet};

use super::random::Random;
use crate::controller::{Candidate, ControllerMember, Decree, MemberDisk, MemberSettings, Owner, ReplicaGroups};
use crate::protocol::code::ResponseCode;

/// Whether the world keeps its own rules. All but the first are there to see that the checks would notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControllerRule {
    /// It does.
    Sound,
    /// A disk says that it has what it may lose.
    LieAboutWrites,
}

/// What has happened, to see that a run was worth something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub struct ControllerCounts {
    pub proposed: u64,
    pub answered: u64,
    pub elected: u64,
    pub unknown: u64,
    pub crashes: u64,
    pub torn: u64,
    pub partitions: u64,
    pub lost: u64,
    pub snapshots: u64,
    pub terms: u64,
}

const GROUPS: [&str; 2] = ["broker-a", "broker-b"];
const IDS: u64 = 4;
/// Steps after which all agree, when all is well.
const SETTLED_WITHIN: u64 = 1_000;

/// A disk of two files.
#[derive(Debug, Default)]
struct SimFiles {
    log: Option<Vec<u8>>,
    snapshot: Option<Vec<u8>>,
    /// Where the log ends that is there after a crash.
    durable: usize,
    lies: bool,
    /// How many calls from now the end comes.
    ends_in: Option<u64>,
    random: u64,
    torn: u64,
    snapshots: u64,
}

struct DiskEnded;

impl SimFiles {
    fn comes_the_end(&mut self) -> bool {
        let Some(left) = &mut self.ends_in else { return false };
        *left = left.saturating_sub(1);
        *left == 0
    }

    fn draw(&mut self) -> u64 {
        let mut random = Random::new(self.random);
        self.random = random.bits();
        self.random >> 8
    }
}

impl MemberDisk for SimFiles {
    type Error = DiskEnded;

    fn append(&mut self, bytes: &[u8]) -> Result<(), DiskEnded> {
        let ends = self.comes_the_end();
        let (kept, draw) = (self.draw(), self.draw());
        let log = self.log.get_or_insert_default();
        if ends {
            // Some of it is there, maybe with zeros for a part.
            let kept = usize::try_from(kept).expect("64 bits") % bytes.len();
            log.extend_from_slice(&bytes[..kept]);
            if draw.is_multiple_of(2) {
                log.resize(log.len() + bytes.len() - kept, 0);
            }
            self.torn += 1;
            return Err(DiskEnded);
        }
        log.extend_from_slice(bytes);
        if !self.lies {
            self.durable = log.len();
        }
        Ok(())
    }

    fn replace_log(&mut self, bytes: &[u8]) -> Result<(), DiskEnded> {
        let ends = self.comes_the_end();
        if !ends || self.draw().is_multiple_of(2) {
            self.durable = bytes.len();
            self.log = Some(bytes.to_vec());
        }
        if ends { Err(DiskEnded) } else { Ok(()) }
    }

    fn replace_snapshot(&mut self, bytes: &[u8]) -> Result<(), DiskEnded> {
        let ends = self.comes_the_end();
        if !ends || self.draw().is_multiple_of(2) {
            self.snapshot = Some(bytes.to_vec());
            self.snapshots += 1;
        }
        if ends { Err(DiskEnded) } else { Ok(()) }
    }
}

struct MemberSeat {
    /// None while it is down.
    member: Option<ControllerMember>,
    disk: SimFiles,
    /// What was asked of it, by ticket.
    asked: BTreeMap<u64, Decree>,
    /// How far its groups were compared with those of others.
    seen: u64,
}

struct Flying {
    from: u64,
    to: u64,
    bytes: Vec<u8>,
    due: u64,
}

/// The world of one group of controllers.
pub struct ControllerWorld {
    random: Random,
    seats: Vec<MemberSeat>,
    flying: Vec<Flying>,
    /// From, to: nothing comes through.
    blocked: BTreeSet<(u64, u64)>,
    loss_percent: u64,
    step: u64,
    /// Nobody asks for anything any more.
    is_quiet: bool,
    rule: ControllerRule,
    /// The groups by how much is applied.
    states: BTreeMap<u64, Vec<u8>>,
    leaders: BTreeMap<u64, u64>,
    /// By group and epoch: who was said to be the master.
    masters: BTreeMap<(String, i32), u64>,
    /// Group, number and code of brokers that were told that they have it.
    promised: BTreeSet<(String, u64, String)>,
    answered_index: u64,
    /// What has happened.
    pub counts: ControllerCounts,
}

impl ControllerWorld {
    /// A world of three to five controllers.
    #[must_use]
    pub fn new(seed: u64, rule: ControllerRule) -> ControllerWorld {
        let mut random = Random::new(seed);
        let count = random.pick(&[3, 3, 5, 4]);
        let mut world = ControllerWorld {
            loss_percent: random.pick(&[0, 2, 10, 30]),
            random,
            seats: Vec::new(),
            flying: Vec::new(),
            blocked: BTreeSet::new(),
            step: 0,
            is_quiet: false,
            rule,
            states: BTreeMap::new(),
            leaders: BTreeMap::new(),
            masters: BTreeMap::new(),
            promised: BTreeSet::new(),
            answered_index: 0,
            counts: ControllerCounts::default(),
        };
        for _ in 0..count {
            let lies = rule == ControllerRule::LieAboutWrites;
            let disk = SimFiles { lies, random: world.random.bits(), ..SimFiles::default() };
            world.seats.push(MemberSeat { member: None, disk, asked: BTreeMap::new(), seen: 0 });
        }
        world
    }

    /// Runs so many steps, then lets all be well, and compares.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn run(&mut self, steps: u64) -> Result<(), String> {
        for number in self.numbers() {
            self.start(number)?;
        }
        for _ in 0..steps {
            self.disturb()?;
            self.go_on()?;
        }
        self.settle()
    }

    fn numbers(&self) -> Vec<u64> {
        (1..=self.seats.len() as u64).collect()
    }

    fn seat(&mut self, number: u64) -> &mut MemberSeat {
        &mut self.seats[usize::try_from(number - 1).expect("few")]
    }

    fn start(&mut self, number: u64) -> Result<(), String> {
        let settings = MemberSettings {
            owner: owner(number),
            peers: self.numbers(),
            seed: self.random.bits(),
            log_entries_max: 20,
        };
        let seat = self.seat(number);
        let opened = ControllerMember::open(settings, seat.disk.log.as_deref(), seat.disk.snapshot.as_deref());
        let (member, log) = opened.map_err(|error| format!("controller {number} does not open: {error}"))?;
        seat.asked.clear();
        seat.seen = 0;
        // The end may come even here.
        if seat.disk.replace_log(&log).is_ok() {
            seat.disk.ends_in = None;
            seat.member = Some(member);
        }
        Ok(())
    }

    fn crash(&mut self, number: u64) {
        let lies = self.rule == ControllerRule::LieAboutWrites;
        let seat = self.seat(number);
        seat.member = None;
        if lies && let Some(log) = &mut seat.disk.log {
            log.truncate(seat.disk.durable);
        }
        self.counts.crashes += 1;
    }

    /// Something goes wrong, or is mended.
    fn disturb(&mut self) -> Result<(), String> {
        let numbers = self.numbers();
        let one = self.random.pick(&numbers);
        match self.random.below(100) {
            0 if self.seat(one).member.is_some() => self.crash(one),
            1 => {
                let calls = 1 + self.random.below(4);
                self.seat(one).disk.ends_in = Some(calls);
            }
            2..=4 => {
                for number in numbers {
                    if self.seat(number).member.is_none() && self.random.percent(50) {
                        self.start(number)?;
                    }
                }
            }
            5 => {
                // One cannot be heard, or hears nobody, or both.
                let kind = self.random.below(3);
                for other in numbers.into_iter().filter(|other| *other != one) {
                    if kind != 0 {
                        self.blocked.insert((one, other));
                    }
                    if kind != 1 {
                        self.blocked.insert((other, one));
                    }
                }
                self.counts.partitions += 1;
            }
            6 | 7 => self.blocked.clear(),
            _ => {}
        }
        Ok(())
    }

    /// One step of everybody: time, messages, requests.
    fn go_on(&mut self) -> Result<(), String> {
        self.step += 1;
        for number in self.numbers() {
            // Clocks do not go alike.
            let ticks = self.random.pick(&[0, 1, 1, 1, 2]);
            if let Some(member) = &mut self.seat(number).member {
                for _ in 0..ticks {
                    member.tick();
                }
            }
        }
        let step = self.step;
        let (due, later): (Vec<Flying>, Vec<Flying>) =
            std::mem::take(&mut self.flying).into_iter().partition(|flying| flying.due <= step);
        self.flying = later;
        for Flying { from, to, bytes, .. } in due {
            if self.blocked.contains(&(from, to)) {
                continue;
            }
            if let Some(member) = &mut self.seat(to).member {
                member.receive(&bytes).map_err(|why| format!("step {step}: {to} drops what {from} says: {why}"))?;
            }
            self.turn(to)?;
        }
        if !self.is_quiet && self.random.percent(40) {
            self.ask();
        }
        for number in self.numbers() {
            self.turn(number)?;
        }
        Ok(())
    }

    fn turn(&mut self, number: u64) -> Result<(), String> {
        let step = self.step;
        let seat = self.seat(number);
        let Some(member) = &mut seat.member else { return Ok(()) };
        let before = (seat.disk.torn, seat.disk.snapshots);
        let turned = member.turn(&mut seat.disk);
        let applied = member.applied();
        let state = (seat.seen != applied).then(|| member.groups().encode());
        seat.seen = applied;
        let leads = (member.leader() == Some(number)).then(|| member.term());
        let after = (seat.disk.torn, seat.disk.snapshots);
        self.counts.torn += after.0 - before.0;
        self.counts.snapshots += after.1 - before.1;
        let Ok(turned) = turned else {
            self.crash(number);
            return Ok(());
        };
        if let Some(term) = leads {
            let known = *self.leaders.entry(term).or_insert(number);
            if known != number {
                return Err(format!("step {step}: {known} and {number} lead in term {term}"));
            }
            self.counts.terms = self.leaders.len() as u64;
        }
        if let Some(state) = state {
            let known = self.states.entry(applied).or_insert_with(|| state.clone());
            if *known != state {
                return Err(format!("step {step}: {number} has other groups than others had after entry {applied}"));
            }
        }
        for (to, bytes) in turned.messages {
            let copies = if self.random.percent(self.loss_percent) { self.random.below(2) * 2 } else { 1 };
            self.counts.lost += u64::from(copies == 0);
            for _ in 0..copies {
                let due = step + self.random.pick(&[0, 0, 1, 1, 2, 5]);
                self.flying.push(Flying { from: number, to, bytes: bytes.clone(), due });
            }
        }
        for (ticket, decided) in turned.decided {
            let command = self.seat(number).asked.remove(&ticket).ok_or("an answer to nothing")?;
            let Some(decided) = decided else {
                self.counts.unknown += 1;
                continue;
            };
            self.counts.answered += 1;
            self.answered_index = self.answered_index.max(applied);
            if decided.answer.code != ResponseCode::Success {
                continue;
            }
            if let Decree::ApplyBrokerId { broker_name, broker_id, check_code, .. } = command {
                self.promised.insert((broker_name, broker_id, check_code));
            }
            if let Some(change) = decided.change {
                self.counts.elected += 1;
                let key = (change.broker_name, change.master_epoch);
                let known = *self.masters.entry(key.clone()).or_insert(change.master_id);
                if known != change.master_id {
                    return Err(format!("step {step}: {known} and {} are masters in {key:?}", change.master_id));
                }
            }
        }
        Ok(())
    }

    /// A broker or a controller wants something of whoever leads, or believes that it does.
    fn ask(&mut self) {
        let leading: Vec<u64> = self
            .numbers()
            .into_iter()
            .filter(|number| self.seat(*number).member.as_ref().is_some_and(ControllerMember::leads))
            .collect();
        if leading.is_empty() {
            return;
        }
        let number = self.random.pick(&leading);
        let command = self.command(number);
        let seat = self.seat(number);
        let Some(member) = &mut seat.member else { return };
        if let Some(ticket) = member.propose(&command) {
            seat.asked.insert(ticket, command);
            self.counts.proposed += 1;
        }
    }

    fn command(&mut self, number: u64) -> Decree {
        let name = self.random.pick(&GROUPS);
        let broker_name = name.to_owned();
        let id = 1 + self.random.below(IDS);
        let some: BTreeSet<u64> = (1..=IDS).filter(|_| self.random.percent(70)).collect();
        match self.random.below(10) {
            0..=3 => {
                let code = format!("10.0.0.{}:1;{}", self.random.below(6), id);
                let address = code.split(';').next().unwrap_or_default().to_owned();
                Decree::ApplyBrokerId { cluster: "c".to_owned(), broker_name, broker_id: id, address, check_code: code }
            }
            4 => Decree::Register { broker_name, broker_id: id, address: format!("10.0.1.{id}:1"), living: some },
            5 | 6 => {
                let member = self.seat(number).member.as_ref();
                let known =
                    member.and_then(|member| member.groups().get(name).map(|group| (group.master(), group.epochs())));
                let (master, (master_epoch, set_epoch)) = known.unwrap_or_default();
                let master_id = master.unwrap_or(id);
                let in_sync = some.iter().copied().chain([master_id]).collect();
                Decree::AlterSyncSet {
                    broker_name,
                    master_id,
                    master_epoch,
                    in_sync,
                    set_epoch,
                    living: (1..=IDS).collect(),
                }
            }
            _ => {
                let candidate =
                    |broker_id: &u64| Candidate { broker_id: *broker_id, epoch: 0, log_end: 9, priority: 1 };
                let broker_id = if self.random.percent(50) { Some(id) } else { None };
                let designate = self.random.percent(20);
                let candidates = some.iter().map(candidate).collect();
                Decree::Elect { broker_name, broker_id, designate, unclean: false, candidates }
            }
        }
    }

    /// All is well: everybody comes to the same, and to all that was answered.
    fn settle(&mut self) -> Result<(), String> {
        self.blocked.clear();
        self.loss_percent = 0;
        self.is_quiet = true;
        for number in self.numbers() {
            self.seat(number).disk.ends_in = None;
            if self.seat(number).member.is_none() {
                self.start(number)?;
            }
        }
        let stands = |world: &ControllerWorld| -> Vec<u64> {
            let members = world.seats.iter().filter_map(|seat| seat.member.as_ref());
            members.map(ControllerMember::applied).collect()
        };
        let agree = |world: &ControllerWorld| {
            let (stands, mut members) = (stands(world), world.seats.iter().filter_map(|seat| seat.member.as_ref()));
            stands.windows(2).all(|pair| pair[0] == pair[1]) && members.any(ControllerMember::leads)
        };
        for _ in 0..SETTLED_WITHIN {
            if agree(self) {
                break;
            }
            self.go_on()?;
        }
        if !agree(self) {
            return Err(format!("controllers stand at {:?} though all is well", stands(self)));
        }
        let members: Vec<&ControllerMember> = self.seats.iter().filter_map(|seat| seat.member.as_ref()).collect();
        let newest = members.iter().map(|member| member.applied()).max().unwrap_or(0);
        if newest < self.answered_index {
            return Err(format!("entry {} was answered, and {newest} are left", self.answered_index));
        }
        let leader = members.iter().find(|member| member.leads()).ok_or("nobody leads after all is well")?;
        let groups: &ReplicaGroups = leader.groups();
        for (name, id, code) in &self.promised {
            if groups.get(name).and_then(|group| group.check_code(*id)) != Some(code) {
                return Err(format!("broker {id} of {name} has lost its number"));
            }
        }
        Ok(())
    }
}

fn owner(number: u64) -> Owner {
    Owner { group: "sim".to_owned(), member: number }
}
