//! The controller: who is the master of each group of replicas, decided once by all controllers together. Pure; `control::controller` has the sockets.
//!
//! | file | what it is |
//! |---|---|
//! | [`groups`] | the decisions: groups, and what a command makes of them |
//! | [`command`] | what controllers agree about |
//! | [`member`] | agreement, by raft |
//! | [`store`] | a controller's two files |
//! | [`message`] | what controllers tell each other, as bytes |
//! | [`live`] | which brokers live |
//!
//! A request that changes nothing is answered at once, from the groups of the leader. Of one that may change something a command is made, with what
//! the leader knows of who lives; its answer is what the command does when it is applied, and it is given when a majority has the command on disk.
//! All that is not the leader's to say is refused by the others with 2007, after which brokers and tools ask for the leader (1005).
//!
//! Codes and answers: RocketMQ 5.3.3 `ControllerRequestProcessor`.

mod bytes;
mod command;
mod groups;
mod live;
mod member;
mod message;
mod store;

pub(crate) use command::{Candidate, Decree};
pub(crate) use groups::{ReplicaGroups, RoleChange};
pub(crate) use member::{ControllerMember, MemberDisk, MemberSettings, Turned};
pub(crate) use store::{Owner, PromiseError};

use std::collections::{BTreeMap, BTreeSet};

use tracing::{info, warn};

use crate::config::{ControllerConfig, properties};
use crate::model::{ConnectionId, MonoNs, Now};
use crate::namesrv::{Answer, Peer};
use crate::protocol::body::decode_broker_names;
use crate::protocol::code::{RequestCode, ResponseCode};
use crate::protocol::header::Header;
use crate::protocol::reply::shown;
use crate::protocol::request::{
    AgreeRequest, AlterSyncStateSetRequest, ApplyBrokerIdRequest, BadRequest, CleanBrokerDataRequest,
    ElectMasterRequest, RegisterToControllerRequest, ReplicaGroupRequest, SignOfLifeRequest,
};
use crate::said::{BY_STRANGERS, say_change};

/// What a request comes to.
#[derive(Debug)]
pub(crate) enum ControllerAnswer {
    /// This.
    Answered(Answer),
    /// Whatever [`Acts::answers`] has under this ticket.
    Waits(u64),
}

/// What the shell is to do after a turn.
#[derive(Debug, Default)]
pub(crate) struct Acts {
    /// For other controllers, by their number.
    pub(crate) messages: Vec<(u64, Vec<u8>)>,
    /// By ticket.
    pub(crate) answers: Vec<(u64, Answer)>,
    /// Brokers that are to hear of another master: their addresses, and what.
    pub(crate) changes: Vec<(Vec<String>, RoleChange)>,
}

/// One controller.
pub(crate) struct Controller {
    config: ControllerConfig,
    member: ControllerMember,
    living: Living,
    /// Since when it leads, in which term.
    leads: Option<(MonoNs, u64)>,
    /// When it is looked for masters that are gone.
    next_scan: MonoNs,
    /// Elections of its own that are not decided: ticket and group.
    elections: BTreeMap<u64, String>,
}

use live::Living;

type ControllerAnswered = Result<ControllerAnswer, Answer>;

impl Controller {
    /// A controller around a member that was opened with these settings.
    pub(crate) fn new(now: Now, config: ControllerConfig, member: ControllerMember) -> Controller {
        Controller {
            config,
            member,
            living: Living::default(),
            leads: None,
            next_scan: now.mono,
            elections: BTreeMap::new(),
        }
    }

    /// Takes a request. Every code gets an answer, an unknown one too.
    pub(crate) fn handle(&mut self, now: Now, from: Peer, header: &Header<'_>, body: &[u8]) -> ControllerAnswer {
        let not_supported = || {
            let remark = format!(" request type {} not supported", header.code);
            ControllerAnswer::Answered(Answer::error(ResponseCode::RequestCodeNotSupported, remark))
        };
        let Ok(code) = RequestCode::try_from(header.code) else { return not_supported() };
        let asked = match code {
            RequestCode::ControllerAgree => self.agree(from, header, body),
            RequestCode::BrokerHeartbeat => self.sign_of_life(now, from, header),
            RequestCode::ControllerGetMetadataInfo => Ok(ControllerAnswer::Answered(self.metadata())),
            RequestCode::GetControllerConfig => {
                Ok(ControllerAnswer::Answered(Answer::body(self.config.print().into_bytes())))
            }
            RequestCode::UpdateControllerConfig => Ok(ControllerAnswer::Answered(self.change_config(body))),
            RequestCode::ControllerAlterSyncStateSet => self.alter_sync_set(now, header, body),
            RequestCode::ControllerElectMaster => self.elect(now, from, header),
            RequestCode::ControllerRegisterBroker => self.register(now, header),
            RequestCode::ControllerGetReplicaInfo => {
                self.of_leader(|groups| Ok(groups.replica_info(ReplicaGroupRequest::parse(header)?.broker_name)))
            }
            RequestCode::ControllerGetSyncStateData => {
                let lives = |name: &str, id: u64| self.living.lives(now.mono, name, id);
                self.of_leader(|groups| {
                    Ok(groups.sync_state_data(&decode_broker_names(body).map_err(BadRequest::from)?, lives))
                })
            }
            RequestCode::ControllerGetNextBrokerId => self.of_leader(|groups| {
                let request = ReplicaGroupRequest::parse(header)?;
                Ok(groups.next_broker_id(request.cluster, request.broker_name))
            }),
            RequestCode::ControllerApplyBrokerId => self.apply_broker_id(header),
            RequestCode::CleanBrokerData => self.clean(now, header),
            _ => return not_supported(),
        };
        let sets = code.row().sets;
        let is_designated = header.ext.get("designateElect") == Some("true");
        match (code, &asked) {
            (_, Ok(ControllerAnswer::Answered(answer))) if sets && answer.code == ResponseCode::Success => {
                say_change("the controller", code, from.ip(), header, body);
            }
            (RequestCode::ControllerElectMaster, Ok(_)) if is_designated => said_by_tool(code, from, header),
            (_, Ok(ControllerAnswer::Waits(_))) if sets => said_by_tool(code, from, header),
            _ => {}
        }
        asked.unwrap_or_else(ControllerAnswer::Answered)
    }

    /// A connection is closed.
    pub(crate) fn disconnected(&mut self, now: Now, connection: ConnectionId) -> usize {
        let gone = self.living.disconnected(connection);
        if gone > 0 {
            self.next_scan = now.mono;
        }
        gone
    }

    /// Time goes on by `CONTROLLER_TICK_MS`.
    pub(crate) fn tick(&mut self, now: Now) {
        self.member.tick();
        if self.leads.is_some() && now.mono >= self.next_scan {
            self.next_scan = now.mono.plus_ms(self.config.scan_interval_ms);
            let groups = self.member.groups();
            self.living
                .keep(|name, id| groups.get(name).is_some_and(|group| group.replica_ids().any(|known| known == id)));
            self.elect_where_nobody_leads(now);
        }
    }

    /// Does what is to be done, and says what the shell is to do.
    ///
    /// # Errors
    /// The disk's: the controller must end.
    pub(crate) fn turn<D: MemberDisk>(&mut self, now: Now, disk: &mut D) -> Result<Acts, D::Error> {
        let Turned { messages, decided, .. } = self.member.turn(disk)?;
        let mut acts = Acts { messages, ..Acts::default() };
        for (ticket, decided) in decided {
            let own = self.elections.remove(&ticket);
            let Some(decided) = decided else {
                acts.answers.push((ticket, not_leader()));
                continue;
            };
            if let Some(name) = own {
                let Answer { code, remark, .. } = &decided.answer;
                if *code != ResponseCode::Success && *code != ResponseCode::ControllerMasterStillExist {
                    warn!(broker = %shown(&name), "no master was elected: {}", remark.as_deref().unwrap_or_default());
                }
            }
            if let Some(change) = decided.change {
                info!(broker = %shown(&change.broker_name), master = change.master_id, epoch = change.master_epoch, "a master was elected");
                if self.config.notify {
                    let lives = |(id, _): &&(u64, String)| self.living.lives(now.mono, &change.broker_name, *id);
                    let addresses = change.replicas.iter().filter(lives).map(|(_, address)| address.clone()).collect();
                    acts.changes.push((addresses, change));
                }
            }
            acts.answers.push((ticket, decided.answer));
        }
        let term = self.member.term();
        if !self.member.leads() {
            if self.leads.take().is_some() {
                info!(term, "this controller leads no more");
                self.elections.clear();
            }
        } else if self.leads.is_none_or(|(_, known)| known != term) {
            info!(term, "this controller leads");
            self.leads = Some((now.mono, term));
            self.next_scan = now.mono;
        }
        Ok(acts)
    }

    /// 720004: nobody waits for an answer.
    fn agree(&mut self, from: Peer, header: &Header<'_>, body: &[u8]) -> ControllerAnswered {
        let group = AgreeRequest::parse(header)?.group;
        let why = if group == self.config.group {
            self.member.receive(body).err()
        } else {
            Some("it is of another group of controllers")
        };
        match why {
            None => Ok(ControllerAnswer::Answered(Answer::success())),
            Some(why) => {
                warn!(target: BY_STRANGERS, from = %from.ip(), "a controller's message was dropped: {why}");
                Err(Answer::error(ResponseCode::ControllerInvalidRequest, why))
            }
        }
    }

    /// 904.
    fn sign_of_life(&mut self, now: Now, from: Peer, header: &Header<'_>) -> ControllerAnswered {
        let request = SignOfLifeRequest::parse(header)?;
        let Some(id) = request.broker_id else {
            return Err(Answer::error(ResponseCode::ControllerInvalidRequest, "a heartbeat without a brokerId"));
        };
        if !self.is_known(request.broker_name, id) {
            let remark = format!("broker id {id} of {} is not registered", request.broker_name);
            return Err(Answer::error(ResponseCode::ControllerBrokerNeedToBeRegistered, remark));
        }
        self.living.heard(now.mono, from.connection, id, &request);
        Ok(ControllerAnswer::Answered(Answer::success()))
    }

    /// 1005: who leads, as far as this controller knows. Without a leader the fields of it are left out.
    fn metadata(&self) -> Answer {
        let peer = |member: u64| self.config.peers.iter().find(|peer| peer.member() == member);
        let leader = self.member.leader().and_then(peer);
        let peers: Vec<String> =
            self.config.peers.iter().map(|peer| format!("{}:{};", peer.id(), peer.address)).collect();
        let mut fields = vec![
            ("group", self.config.group.clone()),
            ("isLeader", self.member.leads().to_string()),
            ("peers", peers.concat()),
        ];
        if let Some(leader) = leader {
            fields.push(("controllerLeaderId", leader.id()));
            fields.push(("controllerLeaderAddress", leader.address.clone()));
        }
        Answer::fields(fields)
    }

    /// 1009: changes settings until the next start; the file stays the operator's. All of them or none.
    fn change_config(&mut self, body: &[u8]) -> Answer {
        let text = String::from_utf8_lossy(body);
        let changed = properties::parse("request", &text).map_err(|error| error.to_string()).and_then(|entries| {
            let mut changed = self.config.clone();
            entries.iter().try_for_each(|entry| changed.change(&entry.key, &entry.value)).map(|()| changed)
        });
        match changed {
            Ok(changed) => {
                self.config = changed;
                Answer::success()
            }
            Err(why) => Answer::error(ResponseCode::SystemError, why),
        }
    }

    /// 1001.
    fn alter_sync_set(&mut self, now: Now, header: &Header<'_>, body: &[u8]) -> ControllerAnswered {
        let request = AlterSyncStateSetRequest::parse(header, body)?;
        let command = Decree::AlterSyncSet {
            broker_name: request.broker_name.to_owned(),
            master_id: request.master_broker_id,
            master_epoch: request.master_epoch,
            in_sync: request.set.broker_ids,
            set_epoch: request.set.epoch,
            living: self.living(now, request.broker_name),
        };
        self.propose(&command)
    }

    /// 1002.
    fn elect(&mut self, now: Now, from: Peer, header: &Header<'_>) -> ControllerAnswered {
        let request = ElectMasterRequest::parse(header)?;
        // A tool designates somebody; a broker asks for itself.
        let asker = request.broker_id.filter(|id| !request.designate && self.is_known(request.broker_name, *id));
        if let Some(id) = asker {
            self.living.asked(now.mono, from.connection, request.broker_name, id);
        }
        let command = Decree::Elect {
            broker_name: request.broker_name.to_owned(),
            broker_id: request.broker_id,
            designate: request.designate,
            unclean: self.config.unclean,
            candidates: self.candidates(now, request.broker_name),
        };
        self.propose(&command)
    }

    /// 1003.
    fn register(&mut self, now: Now, header: &Header<'_>) -> ControllerAnswered {
        let request = RegisterToControllerRequest::parse(header)?;
        let command = Decree::Register {
            broker_name: request.broker_name.to_owned(),
            broker_id: request.broker_id,
            address: request.address.to_owned(),
            living: self.living(now, request.broker_name),
        };
        self.propose(&command)
    }

    /// 1013.
    fn apply_broker_id(&mut self, header: &Header<'_>) -> ControllerAnswered {
        let request = ApplyBrokerIdRequest::parse(header)?;
        let command = Decree::ApplyBrokerId {
            cluster: request.cluster.to_owned(),
            broker_name: request.broker_name.to_owned(),
            broker_id: request.broker_id,
            address: request.address.to_owned(),
            check_code: request.check_code.to_owned(),
        };
        self.propose(&command)
    }

    /// 1011.
    fn clean(&mut self, now: Now, header: &Header<'_>) -> ControllerAnswered {
        let request = CleanBrokerDataRequest::parse(header)?;
        let living = self.living(now, request.broker_name);
        // A request may name any number; only those that there are can go.
        let group = self.member.groups().get(request.broker_name);
        let is_there = |id: &u64| group.is_some_and(|group| group.replica_ids().any(|known| known == *id));
        let command = Decree::Clean {
            broker_name: request.broker_name.to_owned(),
            broker_ids: request.broker_ids.map(|ids: BTreeSet<u64>| ids.into_iter().filter(is_there).collect()),
            also_living: request.also_living,
            living,
        };
        self.propose(&command)
    }

    fn propose(&mut self, command: &Decree) -> ControllerAnswered {
        if self.leads.is_none() {
            return Err(not_leader());
        }
        let busy = || Answer::error(ResponseCode::SystemBusy, "the controller has as many requests as it may");
        self.member.propose(command).map(ControllerAnswer::Waits).ok_or_else(busy)
    }

    /// What the leader's groups say.
    fn of_leader(&self, answer: impl FnOnce(&ReplicaGroups) -> Result<Answer, Answer>) -> ControllerAnswered {
        if self.leads.is_none() {
            Err(not_leader())
        } else {
            answer(self.member.groups()).map(ControllerAnswer::Answered)
        }
    }

    fn is_known(&self, name: &str, id: u64) -> bool {
        self.member.groups().get(name).is_some_and(|group| group.replica_ids().any(|known| known == id))
    }

    fn candidates(&self, now: Now, name: &str) -> Vec<Candidate> {
        let since = self.leads.map_or(now.mono, |(since, _)| since);
        let group = self.member.groups().get(name);
        group.map(|group| self.living.candidates(now.mono, name, group, since)).unwrap_or_default()
    }

    fn living(&self, now: Now, name: &str) -> BTreeSet<u64> {
        self.candidates(now, name).iter().map(|candidate| candidate.broker_id).collect()
    }

    /// Elects for each group whose master is gone while somebody of it lives, and for each without one in which somebody lives who was in sync.
    fn elect_where_nobody_leads(&mut self, now: Now) {
        let names: Vec<String> = self.member.groups().names().map(str::to_owned).collect();
        for name in names {
            if self.elections.values().any(|under_way| *under_way == name) {
                continue;
            }
            let candidates = self.candidates(now, &name);
            let Some(group) = self.member.groups().get(&name) else { continue };
            let lives = |id: u64| candidates.iter().any(|candidate| candidate.broker_id == id);
            let is_due = match group.master() {
                Some(master) => !lives(master) && !candidates.is_empty(),
                None => candidates.iter().any(|candidate| group.is_in_sync(candidate.broker_id)),
            };
            if is_due {
                let unclean = self.config.unclean;
                let broker_name = name.clone();
                let command = Decree::Elect { broker_name, broker_id: None, designate: false, unclean, candidates };
                if let Some(ticket) = self.member.propose(&command) {
                    self.elections.insert(ticket, name);
                }
            }
        }
    }
}

/// What a tool asks for, before it is decided.
fn said_by_tool(code: RequestCode, from: Peer, header: &Header<'_>) {
    let broker = shown(header.ext.get("brokerName").unwrap_or_default());
    info!(target: BY_STRANGERS, by = %from.ip(), %broker, "asked for by a tool: {}", code.row().name);
}

fn not_leader() -> Answer {
    Answer::error(ResponseCode::ControllerNotLeader, "this controller does not lead")
}
