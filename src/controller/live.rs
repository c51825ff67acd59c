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
        let candidate = |broker_id: u64| match self.signs.get(&(name.to_owned(), broker_id)) {
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
