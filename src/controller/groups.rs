//! The decisions: groups of replicas, and what each command makes of them. A group is a brokerName; its replicas have numbers from 1 on.
//!
//! State of all controllers: every one applies the same commands in the same order and comes to the same groups and the same answers. What lives is
//! not known here: commands bring it. Invariants of a group ([`ReplicaGroups::check_invariants`]): epochs never go back; the master is a replica and
//! in sync; who is in sync is a replica. Answers, codes and remarks: RocketMQ 5.3.3 `ReplicasInfoManager` and `DefaultElectPolicy`, but for what
//! these lose: see ARCHITECTURE.md.

use std::collections::{BTreeMap, BTreeSet};

use super::bytes::{ByteReader, Malformed, Put as _};
use super::command::{Candidate, Decree};
use crate::limits::{CONTROLLER_GROUPS_MAX, CONTROLLER_REPLICAS_MAX, EPOCH_JUMP_MAX};
use crate::model::{BrokerId, BrokerName};
use crate::namesrv::Answer;
use crate::protocol::body::{self, BrokerMemberGroup, ReplicaInfo, ReplicasInfo, SyncStateSet};
use crate::protocol::code::ResponseCode;

/// All groups, by brokerName.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ReplicaGroups {
    groups: BTreeMap<String, Group>,
}

/// One group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Group {
    cluster: String,
    /// The number that the next newcomer is told.
    next_id: u64,
    replicas: BTreeMap<u64, GroupReplica>,
    master: Option<u64>,
    /// Counts masters, and losses of one without another; 0: there was none yet.
    master_epoch: i32,
    in_sync: BTreeSet<u64>,
    set_epoch: i32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct GroupReplica {
    address: String,
    check_code: String,
}

/// A group has another master: its living replicas are to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoleChange {
    pub(crate) broker_name: String,
    pub(crate) master_id: u64,
    pub(crate) master_address: String,
    pub(crate) master_epoch: i32,
    pub(crate) in_sync: SyncStateSet,
    /// Number and address of each replica.
    pub(crate) replicas: Vec<(u64, String)>,
}

/// What became of a command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Decided {
    pub(crate) answer: Answer,
    pub(crate) change: Option<RoleChange>,
}

impl From<Answer> for Decided {
    fn from(answer: Answer) -> Decided {
        Decided { answer, change: None }
    }
}

/// Refusals come first, so that a function reads as a list of them.
type Refusable = Result<Decided, Answer>;

fn refuse<T>(code: ResponseCode, remark: impl Into<String>) -> Result<T, Answer> {
    Err(Answer::error(code, remark))
}

impl ReplicaGroups {
    /// Applies one command. What is refused changes nothing.
    pub(super) fn apply(&mut self, command: &Decree) -> Decided {
        let decided = match command {
            Decree::ApplyBrokerId { cluster, broker_name, broker_id, address, check_code } => {
                self.apply_broker_id(cluster, broker_name, *broker_id, address, check_code)
            }
            Decree::Register { broker_name, broker_id, address, living } => {
                self.register(broker_name, *broker_id, address, living)
            }
            Decree::AlterSyncSet { broker_name, master_id, master_epoch, in_sync, set_epoch, living } => {
                let asked = SyncStateSet { broker_ids: in_sync.clone(), epoch: *set_epoch };
                self.alter_sync_set(broker_name, *master_id, *master_epoch, asked, living)
            }
            Decree::Elect { broker_name, broker_id, designate, unclean, candidates } => {
                self.elect(broker_name, *broker_id, *designate, *unclean, candidates)
            }
            Decree::Clean { broker_name, broker_ids, also_living, living } => {
                self.clean(broker_name, broker_ids.as_ref(), *also_living, living)
            }
        };
        decided.unwrap_or_else(Decided::from)
    }

    /// 1013. The same broker, known by its code, may ask as often as it likes.
    fn apply_broker_id(&mut self, cluster: &str, name: &str, id: u64, address: &str, code: &str) -> Refusable {
        let is_known = self.groups.contains_key(name);
        if !is_known && id != FIRST_ID {
            return refuse(
                ResponseCode::ControllerBrokerIdInvalid,
                format!("broker set {name} is not registered, and its first broker has the id {FIRST_ID}, not {id}"),
            );
        }
        if !is_known && self.groups.len() >= CONTROLLER_GROUPS_MAX {
            let remark = format!("a controller keeps {CONTROLLER_GROUPS_MAX} broker sets; clean one that is gone");
            return refuse(ResponseCode::SystemError, remark);
        }
        let new = || Group { cluster: cluster.to_owned(), next_id: FIRST_ID, ..Group::default() };
        let group = self.groups.entry(name.to_owned()).or_insert_with(new);
        match group.replicas.get(&id) {
            Some(replica) if replica.check_code != code => {
                return refuse(
                    ResponseCode::ControllerBrokerIdInvalid,
                    format!("broker id {id} of {name} belongs to another broker"),
                );
            }
            None if group.replicas.len() >= CONTROLLER_REPLICAS_MAX => {
                let remark = format!("a broker set has {CONTROLLER_REPLICAS_MAX} replicas; clean one that is gone");
                return refuse(ResponseCode::SystemError, remark);
            }
            None if id >= u64::MAX / 2 => {
                return refuse(ResponseCode::ControllerBrokerIdInvalid, format!("broker id {id} is out of range"));
            }
            Some(_) => {}
            None => {
                let replica = GroupReplica { address: address.to_owned(), check_code: code.to_owned() };
                group.replicas.insert(id, replica);
                group.next_id = group.next_id.max(id.saturating_add(1));
            }
        }
        let fields = vec![("clusterName", cluster.to_owned()), ("brokerName", name.to_owned())];
        Ok(Answer::fields(fields).into())
    }

    /// 1003.
    fn register(&mut self, name: &str, id: u64, address: &str, living: &BTreeSet<u64>) -> Refusable {
        let code = ResponseCode::ControllerBrokerNeedToBeRegistered;
        let Some(group) = self.groups.get_mut(name) else {
            return refuse(code, format!("broker set {name} is not registered"));
        };
        let Some(replica) = group.replicas.get_mut(&id) else {
            return refuse(code, format!("broker id {id} of {name} is not registered"));
        };
        if replica.address != address {
            address.clone_into(&mut replica.address);
        }
        let mut answer = Answer::body(group.sync_set().encode());
        answer.ext = vec![("clusterName", group.cluster.clone()), ("brokerName", name.to_owned())];
        // A master that registers was away: it asks for a reign, and does not go on in the one it had.
        if group.master.is_some_and(|master| master != id && living.contains(&master)) {
            answer.ext.extend(group.master_fields());
        }
        Ok(answer.into())
    }

    /// 1001.
    fn alter_sync_set(
        &mut self,
        name: &str,
        master_id: u64,
        master_epoch: i32,
        asked: SyncStateSet,
        living: &BTreeSet<u64>,
    ) -> Refusable {
        let failed = ResponseCode::ControllerAlterSyncStateSetFailed;
        let Some(group) = self.groups.get_mut(name) else {
            return refuse(failed, format!("broker set {name} is not known"));
        };
        if group.in_sync == asked.broker_ids {
            return refuse(failed, "the set is as it was");
        }
        if group.master != Some(master_id) {
            let remark = format!("broker {master_id} is not the master of {name}, {} is", shown(group.master));
            return refuse(ResponseCode::ControllerInvalidMaster, remark);
        }
        if group.master_epoch != master_epoch {
            let remark = format!("the master's epoch is {}, not {master_epoch}", group.master_epoch);
            return refuse(ResponseCode::ControllerFencedMasterEpoch, remark);
        }
        if group.set_epoch != asked.epoch {
            let remark = format!("the set's epoch is {}, not {}", group.set_epoch, asked.epoch);
            return refuse(ResponseCode::ControllerFencedSyncStateSetEpoch, remark);
        }
        for id in &asked.broker_ids {
            if !group.replicas.contains_key(id) {
                let remark = format!("broker id {id} of {name} is not registered");
                return refuse(ResponseCode::ControllerInvalidReplicas, remark);
            }
            if !living.contains(id) {
                let remark = format!("broker {id} of {name} does not live");
                return refuse(ResponseCode::ControllerBrokerNotAlive, remark);
            }
        }
        if !asked.broker_ids.contains(&master_id) {
            return refuse(failed, format!("the master {master_id} is not in the set"));
        }
        group.set_epoch = next(group.set_epoch, failed)?;
        group.in_sync = asked.broker_ids;
        let mut answer = Answer::fields(vec![("newSyncStateSetEpoch", group.set_epoch.to_string())]);
        answer.body = group.sync_set().encode();
        Ok(answer.into())
    }

    /// 1002. The first master of a group is who asks first; later ones were in sync, unless the operator allows others.
    fn elect(
        &mut self,
        name: &str,
        asked: Option<u64>,
        designate: bool,
        unclean: bool,
        candidates: &[Candidate],
    ) -> Refusable {
        let Some(group) = self.groups.get_mut(name) else {
            let code = ResponseCode::ControllerBrokerNeedToBeRegistered;
            return refuse(code, format!("broker set {name} is not registered"));
        };
        let candidates: Vec<Candidate> =
            candidates.iter().copied().filter(|candidate| group.replicas.contains_key(&candidate.broker_id)).collect();
        let lives = |id: u64| candidates.iter().any(|candidate| candidate.broker_id == id);
        let wanted = asked.filter(|_| designate);
        let elected = if group.master_epoch == 0 {
            asked.filter(|id| lives(*id))
        } else {
            let in_sync: Vec<Candidate> =
                candidates.iter().copied().filter(|candidate| group.in_sync.contains(&candidate.broker_id)).collect();
            best(&in_sync, group.master, wanted).or_else(|| best(&candidates, group.master, wanted).filter(|_| unclean))
        };
        match elected {
            // The master itself asks when it has started again: what it wrote since has to be told from what others wrote in the same epoch.
            Some(id) if group.master == Some(id) && (designate || asked != Some(id)) => {
                let remark = format!("the master {id} of {name} lives");
                let mut answer = Answer::error(ResponseCode::ControllerMasterStillExist, remark);
                answer.ext = group.master_fields();
                answer.body = body::elected(None, &group.in_sync);
                Err(answer)
            }
            Some(id) => {
                // Whoever is new to the controller, or was cleaned, may have a log with reigns in it.
                let known = candidates.iter().map(|candidate| candidate.epoch);
                let plausible = |epoch: &i32| *epoch >= 0 && epoch.abs_diff(group.master_epoch) <= EPOCH_JUMP_MAX;
                let last = known.filter(plausible).max().unwrap_or(0).max(group.master_epoch);
                let failed = ResponseCode::ControllerElectMasterFailed;
                (group.master_epoch, group.set_epoch) = (next(last, failed)?, next(group.set_epoch, failed)?);
                group.master = Some(id);
                group.in_sync = BTreeSet::from([id]);
                let mut answer = Answer::body(body::elected(Some(&group.members(name)), &group.in_sync));
                answer.ext = group.master_fields();
                Ok(Decided { answer, change: Some(group.role_change(name, id)) })
            }
            None if asked.is_none() => {
                if group.master.is_some() {
                    // Replicas hear of it, and ask: each of them may be the one.
                    group.master_epoch = next(group.master_epoch, ResponseCode::ControllerElectMasterFailed)?;
                    group.master = None;
                }
                let remark = format!("the master of {name} is gone, and nobody who was in sync lives");
                refuse(ResponseCode::ControllerMasterNotAvailable, remark)
            }
            None => {
                let remark = format!("nobody of {name} can be elected: who was in sync does not live");
                refuse(ResponseCode::ControllerElectMasterFailed, remark)
            }
        }
    }

    /// 1011. As long as others are there, somebody stays who was in sync: else nobody could be elected again.
    fn clean(
        &mut self,
        name: &str,
        ids: Option<&BTreeSet<u64>>,
        also_living: bool,
        living: &BTreeSet<u64>,
    ) -> Refusable {
        let code = ResponseCode::ControllerInvalidCleanBrokerMetadata;
        let Some(group) = self.groups.get_mut(name) else {
            return refuse(code, format!("broker set {name} is not known"));
        };
        if !also_living {
            let replicas = group.replicas.keys().copied().collect();
            if let Some(id) = ids.unwrap_or(&replicas).intersection(living).next() {
                return refuse(code, format!("broker {id} of {name} lives"));
            }
        }
        let Some(ids) = ids else {
            self.groups.remove(name);
            return Ok(Answer::success().into());
        };
        let stays = |id: &&u64| !ids.contains(id);
        let left = group.replicas.keys().filter(stays).count();
        if left > 0 && !group.in_sync.is_empty() && !group.in_sync.iter().any(|id| stays(&id)) {
            let remark = format!("nobody of {name} who was in sync would be left; clean the others first, or all");
            return refuse(code, remark);
        }
        let (master_epoch, set_epoch) = (next(group.master_epoch, code)?, next(group.set_epoch, code)?);
        if group.master.is_some_and(|master| ids.contains(&master)) {
            (group.master, group.master_epoch) = (None, master_epoch);
        }
        group.replicas.retain(|id, _| !ids.contains(id));
        let before = group.in_sync.len();
        group.in_sync.retain(|id| !ids.contains(id));
        if group.in_sync.len() != before {
            group.set_epoch = set_epoch;
        }
        if left == 0 {
            self.groups.remove(name);
        }
        Ok(Answer::success().into())
    }

    /// 1004: who leads a group.
    pub(super) fn replica_info(&self, name: &str) -> Answer {
        let Some(group) = self.groups.get(name) else {
            let remark = format!("broker set {name} is not known");
            return Answer::error(ResponseCode::ControllerBrokerMetadataNotExist, remark);
        };
        let mut answer = Answer::body(group.sync_set().encode());
        answer.ext = group.master_fields();
        answer.ext.retain(|(field, _)| *field != SET_EPOCH);
        answer
    }

    /// 1012: a number that is free, unless somebody else asks for it first.
    pub(super) fn next_broker_id(&self, cluster: Option<&str>, name: &str) -> Answer {
        let next = self.groups.get(name).map_or(FIRST_ID, |group| group.next_id);
        Answer::fields(vec![
            ("clusterName", cluster.unwrap_or_default().to_owned()),
            ("brokerName", name.to_owned()),
            ("nextBrokerId", next.to_string()),
        ])
    }

    /// 1006: groups as tools show them. Unknown names are left out.
    pub(super) fn sync_state_data(&self, names: &[String], lives: impl Fn(&str, u64) -> bool) -> Answer {
        let known = names.iter().filter_map(|name| Some((name, self.groups.get(name)?)));
        let info = |name: &str, group: &Group| ReplicasInfo {
            master: group.master.and_then(|id| Some((id, group.replicas.get(&id)?.address.clone()))),
            master_epoch: group.master_epoch,
            set_epoch: group.set_epoch,
            replicas: group
                .replicas
                .iter()
                .map(|(id, replica)| ReplicaInfo {
                    broker_id: *id,
                    address: replica.address.clone(),
                    is_alive: lives(name, *id),
                    is_in_sync: group.in_sync.contains(id),
                })
                .collect(),
        };
        Answer::body(body::replicas_info(&known.map(|(name, group)| (name.clone(), info(name, group))).collect()))
    }

    /// Names of the groups, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.groups.keys().map(String::as_str)
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Group> {
        self.groups.get(name)
    }

    /// All groups, as a snapshot has them: a version, then each group.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.u32(STATE_VERSION);
        out.count(self.groups.len());
        for (name, group) in &self.groups {
            out.text(name);
            out.text(&group.cluster);
            out.u64(group.next_id);
            out.optional_id(group.master);
            out.i32(group.master_epoch);
            out.ids(&group.in_sync);
            out.i32(group.set_epoch);
            out.count(group.replicas.len());
            for (id, replica) in &group.replicas {
                out.u64(*id);
                out.text(&replica.address);
                out.text(&replica.check_code);
            }
        }
        out
    }

    /// Reads what [`ReplicaGroups::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<ReplicaGroups, Malformed> {
        let mut input = ByteReader::new(bytes);
        if input.u32()? != STATE_VERSION {
            return Err(Malformed);
        }
        let mut groups = BTreeMap::new();
        for _ in 0..input.count()? {
            let name = input.text()?;
            let mut group = Group {
                cluster: input.text()?,
                next_id: input.u64()?,
                master: input.optional_id()?,
                master_epoch: input.i32()?,
                in_sync: input.ids()?,
                set_epoch: input.i32()?,
                replicas: BTreeMap::new(),
            };
            for _ in 0..input.count()? {
                let id = input.u64()?;
                group.replicas.insert(id, GroupReplica { address: input.text()?, check_code: input.text()? });
            }
            groups.insert(name, group);
        }
        input.end(ReplicaGroups { groups })
    }

    /// What must hold of every group, and against what it was before.
    ///
    /// # Panics
    /// If it does not: a bug.
    pub(crate) fn check_invariants(&self, before: &ReplicaGroups) {
        for (name, group) in &self.groups {
            assert!(group.replicas.len() <= CONTROLLER_REPLICAS_MAX, "{name} has more replicas than it may");
            let mut named = group.in_sync.iter().chain(&group.master);
            assert!(
                named.all(|id| group.replicas.contains_key(id)),
                "{name} names somebody who is none of it: {group:?}"
            );
            assert!(
                group.master.is_none_or(|id| group.in_sync.contains(&id)),
                "{name}'s master is not in sync: {group:?}"
            );
            assert!(group.replicas.keys().all(|id| *id < group.next_id), "{name} gives a number twice: {group:?}");
            let Some(old) = before.groups.get(name) else { continue };
            let (epochs, old_epochs) = ((group.master_epoch, group.set_epoch), (old.master_epoch, old.set_epoch));
            assert!(epochs.0 >= old_epochs.0 && epochs.1 >= old_epochs.1, "{name}'s epochs go back: {old:?} {group:?}");
            assert!(group.master == old.master || epochs.0 > old_epochs.0, "{name}: two masters in one epoch");
            assert!(group.in_sync == old.in_sync || epochs.1 > old_epochs.1, "{name}: two sets in one epoch");
        }
    }
}

impl Group {
    pub(crate) fn master(&self) -> Option<u64> {
        self.master
    }

    pub(super) fn is_in_sync(&self, id: u64) -> bool {
        self.in_sync.contains(&id)
    }

    pub(super) fn replica_ids(&self) -> impl Iterator<Item = u64> {
        self.replicas.keys().copied()
    }

    /// Of the master and of the set.
    pub(crate) fn epochs(&self) -> (i32, i32) {
        (self.master_epoch, self.set_epoch)
    }

    /// By which a replica is known.
    pub(crate) fn check_code(&self, id: u64) -> Option<&str> {
        self.replicas.get(&id).map(|replica| replica.check_code.as_str())
    }

    fn sync_set(&self) -> SyncStateSet {
        SyncStateSet { broker_ids: self.in_sync.clone(), epoch: self.set_epoch }
    }

    /// Who the master is, if there is one, and the epochs.
    fn master_fields(&self) -> Vec<(&'static str, String)> {
        let mut fields = vec![("masterEpoch", self.master_epoch.to_string()), (SET_EPOCH, self.set_epoch.to_string())];
        if let Some(master) = self.master
            && let Some(replica) = self.replicas.get(&master)
        {
            fields.push(("masterBrokerId", master.to_string()));
            fields.push(("masterAddress", replica.address.clone()));
        }
        fields
    }

    fn members(&self, name: &str) -> BrokerMemberGroup {
        BrokerMemberGroup {
            cluster: self.cluster.clone(),
            broker_name: BrokerName::from(name),
            addresses: self.replicas.iter().map(|(id, replica)| (BrokerId(*id), replica.address.clone())).collect(),
        }
    }

    fn role_change(&self, name: &str, master_id: u64) -> RoleChange {
        let address = |id: &u64| self.replicas.get(id).map(|replica| replica.address.clone()).unwrap_or_default();
        RoleChange {
            broker_name: name.to_owned(),
            master_id,
            master_address: address(&master_id),
            master_epoch: self.master_epoch,
            in_sync: self.sync_set(),
            replicas: self.replicas.iter().map(|(id, replica)| (*id, replica.address.clone())).collect(),
        }
    }
}

/// Number of the first replica of a group. Source: RocketMQ `MixAll.FIRST_BROKER_CONTROLLER_ID`.
const FIRST_ID: u64 = 1;

const STATE_VERSION: u32 = 1;

const SET_EPOCH: &str = "syncStateSetEpoch";

/// The epoch behind this one. The wire carries 31 bits.
fn next(epoch: i32, code: ResponseCode) -> Result<i32, Answer> {
    epoch.checked_add(1).ok_or_else(|| Answer::error(code, "the epochs of this broker set are used up"))
}

/// Who of these is to be the master: the present one as long as it is among them and nobody else is wanted; then who is wanted; else whose
/// log has the newest reign, then the most, then who has the lowest priority and number.
fn best(of: &[Candidate], master: Option<u64>, wanted: Option<u64>) -> Option<u64> {
    let is_there = |id: u64| of.iter().any(|candidate| candidate.broker_id == id);
    if let Some(master) = master.filter(|id| is_there(*id) && wanted.is_none_or(|wanted| wanted == *id)) {
        return Some(master);
    }
    if wanted.is_some() {
        return wanted.filter(|id| is_there(*id));
    }
    let rank = |candidate: &&Candidate| {
        let Candidate { broker_id, epoch, log_end, priority } = **candidate;
        (epoch, log_end, std::cmp::Reverse((priority, broker_id)))
    };
    of.iter().max_by_key(rank).map(|candidate| candidate.broker_id)
}

fn shown(id: Option<u64>) -> String {
    id.map_or_else(|| "nobody".to_owned(), |id| id.to_string())
}

#[cfg(test)]
mod tests;
