//! Which brokers live, as one controller hears it. Brokers tell every controller, so that the next leader knows as well.
//!
//! State of this process, kept nowhere. A broker lives while its last sign of life is younger than the silence that it asked for, and its connection
//! is open. A master that this controller has never heard of is taken to live for [`CONTROLLER_BROKER_TIMEOUT_MS`] after the controller began to
//! lead: it may have told others.

use std::collections::BTreeMap;

use super::command::Candidate;
use super::groups::Group;
use crate::limits::{CONTROLLER_BROKER_TIMEOUT_MS, CONTROLLER_BROKER_TIMEOUTS_MS};
use crate::model::{ConnectionId, MonoNs};
use crate::protocol::request::SignOfLifeRequest;

/// Signs of life by broker. Only brokers of the groups are in it, so that it has their bounds.
#[derive(Debug, Default)]
pub(super) struct Living {
    signs: BTreeMap<(String, u64), Sign>,
}

#[derive(Debug)]
struct Sign {
    heard: MonoNs,
    timeout_ms: u64,
    /// None: it was closed, and nothing was heard since.
    connection: Option<ConnectionId>,
    epoch: i32,
    log_end: i64,
    priority: i32,
}

impl Sign {
    fn lives(&self, now: MonoNs) -> bool {
        self.connection.is_some() && now.ms_since(self.heard) <= self.timeout_ms
    }
}

impl Living {
    /// Notes a sign of life of a broker that is known.
    pub(super) fn heard(&mut self, now: MonoNs, from: ConnectionId, id: u64, said: &SignOfLifeRequest<'_>) {
        let [min, max] = CONTROLLER_BROKER_TIMEOUTS_MS;
        let sign = Sign {
            heard: now,
            timeout_ms: said.timeout_ms.unwrap_or(CONTROLLER_BROKER_TIMEOUT_MS).clamp(min, max),
            connection: Some(from),
            epoch: said.epoch,
            log_end: said.log_end,
            priority: said.priority,
        };
        self.signs.insert((said.broker_name.to_owned(), id), sign);
    }

    /// A known broker asks for a master: it lives, though its first heartbeat may be on its way still.
    pub(super) fn asked(&mut self, now: MonoNs, from: ConnectionId, name: &str, id: u64) {
        if !self.lives(now, name, id) {
            let sign = Sign {
                heard: now,
                timeout_ms: CONTROLLER_BROKER_TIMEOUT_MS,
                connection: Some(from),
                epoch: -1,
                log_end: -1,
                priority: i32::MAX,
            };
            self.signs.insert((name.to_owned(), id), sign);
        }
    }

    /// A connection is closed; how many brokers went with it.
    pub(super) fn disconnected(&mut self, connection: ConnectionId) -> usize {
        let of = self.signs.values_mut().filter(|sign| sign.connection == Some(connection));
        of.map(|sign| sign.connection = None).count()
    }

    /// Whether anything was heard of it that counts still.
    pub(super) fn lives(&self, now: MonoNs, name: &str, id: u64) -> bool {
        self.signs.get(&(name.to_owned(), id)).is_some_and(|sign| sign.lives(now))
    }

    /// The replicas of a group that live. `leads_since`: since when this controller decides.
    pub(super) fn candidates(&self, now: MonoNs, name: &str, group: &Group, leads_since: MonoNs) -> Vec<Candidate> {
        let may_live_unheard = now.ms_since(leads_since) <= CONTROLLER_BROKER_TIMEOUT_MS;
        // What was heard before this controller led says nothing of those who tell the new leader as well.
        let heard = |broker_id| self.signs.get(&(name.to_owned(), broker_id));
        let is_of_now = |sign: &&Sign| sign.lives(now) || !may_live_unheard || sign.heard > leads_since;
        let candidate = |broker_id: u64| match heard(broker_id).filter(is_of_now) {
            Some(sign) => sign.lives(now).then_some(Candidate {
                broker_id,
                epoch: sign.epoch,
                log_end: sign.log_end,
                priority: sign.priority,
            }),
            None => (may_live_unheard && group.master() == Some(broker_id)).then_some(Candidate {
                broker_id,
                epoch: -1,
                log_end: -1,
                priority: i32::MAX,
            }),
        };
        group.replica_ids().filter_map(candidate).collect()
    }

    /// Forgets whoever is in no group any more.
    pub(super) fn keep(&mut self, is_known: impl Fn(&str, u64) -> bool) {
        self.signs.retain(|(name, id), _| is_known(name, *id));
    }
}

#[cfg(test)]
mod tests {
    use super::super::groups::ReplicaGroups;
    use super::*;
    use crate::controller::{Candidate, Decree};

    const NAME: &str = "broker-a";

    fn at(ms: u64) -> MonoNs {
        MonoNs(0).plus_ms(ms)
    }

    /// Brokers tell all controllers, but not the new leader first: a blip that closes their connections elects a leader as well.
    #[test]
    fn a_new_leader_deposes_no_master_for_what_it_heard_before() {
        let mut groups = ReplicaGroups::default();
        let text = str::to_owned;
        for broker_id in [1, 2] {
            let (address, check_code) = (text("h:1"), format!("h:1;{broker_id}"));
            let (cluster, broker_name) = (text("c"), text(NAME));
            groups.apply(&Decree::ApplyBrokerId { cluster, broker_name, broker_id, address, check_code });
        }
        let asks = Candidate { broker_id: 1, epoch: -1, log_end: 0, priority: 0 };
        let (broker_id, candidates) = (Some(1), vec![asks]);
        groups.apply(&Decree::Elect {
            broker_name: text(NAME),
            broker_id,
            designate: false,
            unclean: false,
            candidates,
        });
        let group = groups.get(NAME).expect("there");
        let mut living = Living::default();
        living.asked(at(1_000), ConnectionId(7), NAME, 1);
        living.asked(at(1_000), ConnectionId(8), NAME, 2);
        let candidates = |living: &Living, now: u64| -> Vec<u64> {
            let all = living.candidates(at(now), NAME, group, at(2_000));
            all.into_iter().map(|candidate| candidate.broker_id).collect()
        };
        assert_eq!(candidates(&living, 2_100), [1, 2]);
        for connection in [7, 8] {
            living.disconnected(ConnectionId(connection));
        }
        assert_eq!(candidates(&living, 2_100), [1], "the master alone is given the time to be heard");
        assert_eq!(candidates(&living, 2_001 + CONTROLLER_BROKER_TIMEOUT_MS), [0_u64; 0]);
        living.asked(at(2_500), ConnectionId(9), NAME, 1);
        assert_eq!(candidates(&living, 2_600), [1]);
        living.disconnected(ConnectionId(9));
        assert_eq!(candidates(&living, 2_600), [0_u64; 0], "it was heard of since, and is gone");
    }
}
