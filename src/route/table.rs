//! Who registered with this name server, and which queues of which topic they have.
//!
//! A machine without clock or socket. The name server calls [`RouteTable::register`] and the look-ups for requests,
//! [`RouteTable::disconnected`] when a broker's connection closes and [`RouteTable::expire`] on a timer. Its state is of one
//! name server; name servers do not talk to each other. Rules: RocketMQ 5.3 `RouteInfoManager`.
//!
//! Invariants: every topic has a queue entry, every queue entry's broker has an address, every address of a broker has a liveness entry. One
//! without its address there was displaced.
//!
//! Anybody can register anything, so a broker is gone only when it says so itself, when nobody is connected any more who has registered it, or when
//! it is silent. Itself: one of the connections that have registered it, or another one of their hosts, since a broker that connects again may
//! say goodbye before its old connection is known to be gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use thiserror::Error;

use crate::limits::{
    ROUTE_BROKERS_MAX, ROUTE_BROKERS_PER_CONNECTION_MAX, ROUTE_ENTRIES_MAX, ROUTE_ENTRIES_PER_CONNECTION_MAX,
    ROUTE_LEASE_MS_MAX, ROUTE_NAME_BYTES_MAX, ROUTE_REGISTRANTS_MAX, ROUTE_REPLICAS_MAX, ROUTE_REPLICAS_PER_HOST_MAX,
    ROUTE_TOPICS_MAX,
};
use crate::model::{BrokerId, ConnectionId, MonoNs};
use crate::protocol::body::{DataVersion, perm};
use crate::protocol::reply::shown;
use crate::said::BY_STRANGERS;

/// One broker's queues of one topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TopicQueues {
    /// Queues that consumers read.
    pub(crate) read: u32,
    /// Queues that producers write.
    pub(crate) write: u32,
    /// Sum of 4 (read), 2 (write), 1 (inherit).
    pub(crate) perm: u32,
    /// Bit 0: unit topic, bit 1: has unit subscribers.
    pub(crate) sys_flag: i32,
}

/// What a broker says of itself (request code 103).
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    pub(crate) cluster: String,
    /// The name it shares with its slaves.
    pub(crate) broker_name: String,
    /// Its number under that name; 0 is the master.
    pub(crate) broker_id: BrokerId,
    /// `ip:port` for clients.
    pub(crate) address: String,
    /// `ip:port` for slaves.
    pub(crate) ha_address: String,
    /// Its zone, if it has one.
    pub(crate) zone: Option<String>,
    /// How long it may be silent, ms. `None`: 120 s.
    pub(crate) expires_after_ms: Option<u64>,
    /// Whether a slave may stand in for the master; absent from brokers before 5.0.
    pub(crate) acting_master: Option<bool>,
    /// Of `topics`.
    pub(crate) version: DataVersion,
    /// Whether it says that `topics` are the changed ones; others do not say.
    pub(crate) changes_only: bool,
    /// All its topics or the changed ones.
    pub(crate) topics: Vec<(String, TopicQueues)>,
}

impl Registration {
    fn names_are_short(&self) -> bool {
        let zone = self.zone.as_deref().unwrap_or_default();
        let names = [self.cluster.as_str(), &self.broker_name, &self.address, &self.ha_address, zone];
        let topics = self.topics.iter().map(|(topic, _)| topic.as_str());
        names.into_iter().chain(topics).all(|name| name.len() <= ROUTE_NAME_BYTES_MAX)
    }
}

/// Why a registration was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum RegisterError {
    /// A broker that is not known yet must tell all its topics first; one alone is a change without its base.
    #[error("a broker that is not registered yet told one topic only")]
    OnlyOneTopic,
    /// A bound of this name server.
    #[error(
        "the name server is full: {ROUTE_BROKERS_MAX} brokers, {ROUTE_TOPICS_MAX} topics, {ROUTE_ENTRIES_MAX} topics of brokers"
    )]
    Full,
    /// Bounds of one connection, so that one stranger does not fill the tables.
    #[error(
        "one connection may register {ROUTE_BROKERS_PER_CONNECTION_MAX} brokers and {ROUTE_ENTRIES_PER_CONNECTION_MAX} topics of brokers"
    )]
    FullConnection,
    /// A bound of one name, so that no route is larger than clients read in one piece.
    #[error(
        "a brokerName may have {ROUTE_REPLICAS_MAX} brokers beside its master, and {ROUTE_REPLICAS_PER_HOST_MAX} of one host"
    )]
    FullName,
    /// A name or an address is longer than any broker's.
    #[error("a name or an address has more than {ROUTE_NAME_BYTES_MAX} bytes")]
    LongName,
}

/// Where a registered slave finds its master.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MasterAddresses {
    /// `ip:port` for requests.
    pub(crate) address: Option<String>,
    /// `ip:port` for replication.
    pub(crate) ha_address: Option<String>,
}

/// All replicas under one brokerName.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BrokerReplicas {
    pub(crate) cluster: String,
    /// `ip:port` by broker id; never empty.
    pub(crate) addresses: BTreeMap<u64, String>,
    /// Its zone, if it has one.
    pub(crate) zone: Option<String>,
    /// Whether a slave may stand in for the master.
    pub(crate) acting_master: bool,
}

impl BrokerReplicas {
    /// As clients are told: while the master is gone, the first slave is listed under its number, if brokers of this name want that, for
    /// clients ask nobody else for queue locks. Its queues cannot be written then, so no producer takes it for a master. Source:
    /// `RouteInfoManager.pickupTopicRouteData` with `supportActingMaster`.
    fn in_masters_place(&self, topic: &str, queues: TopicQueues) -> BrokerReplicas {
        let mut told = self.clone();
        let is_read_only = queues.perm & perm::WRITE == 0;
        let is_headless = !told.addresses.contains_key(&MASTER);
        if self.acting_master
            && is_headless
            && is_read_only
            && !topic.starts_with(MEMBER_TOPICS)
            && let Some((_, address)) = told.addresses.pop_first()
        {
            told.addresses.insert(MASTER, address);
        }
        told
    }
}

/// The queues of one topic, and the brokers that have them. Both sorted by brokerName, and for each other complete.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TopicRoute {
    /// Queues by brokerName.
    pub(crate) queues: Vec<(String, TopicQueues)>,
    /// Addresses by brokerName.
    pub(crate) brokers: Vec<(String, BrokerReplicas)>,
}

/// Who asks: a connection, and the host at its other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    pub(crate) connection: ConnectionId,
    ip: IpAddr,
}

impl Peer {
    /// A connection from `ip`.
    #[must_use]
    pub fn new(connection: ConnectionId, ip: IpAddr) -> Peer {
        Peer { connection, ip: ip.to_canonical() }
    }

    /// Its host.
    #[must_use]
    pub(crate) fn ip(self) -> IpAddr {
        self.ip
    }
}

/// A live address of a broker.
#[derive(Clone, Debug)]
struct Live {
    /// Who has registered it and is connected, the newest last, at most [`ROUTE_REGISTRANTS_MAX`]: it is gone when none is left. A stranger that
    /// claims a broker's address does not take it along when it goes.
    peers: Vec<Peer>,
    heard: MonoNs,
    expires_after_ms: u64,
    version: DataVersion,
    ha_address: String,
    cluster: String,
    /// The number under which it has registered.
    id: u64,
    /// Another address has taken its place since: what it told of its topics may be another's by now.
    is_displaced: bool,
}

/// A broker may be silent this long unless it said otherwise. Source: `DEFAULT_BROKER_CHANNEL_EXPIRED_TIME`.
const EXPIRES_AFTER_MS: u64 = 120_000;
const MASTER: u64 = BrokerId::MASTER.0;
/// Brokers use these to find one another: they need the true numbers.
const MEMBER_TOPICS: &str = "rmq_sys_SYNC_BROKER_MEMBER_";

/// A brokerName and one of its addresses. Not the cluster, which is told anew with each registration: whoever tells another one would have the address
/// registered twice, and end it for both.
type AddressKey = (String, String);

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct RouteTable {
    topics: BTreeMap<String, BTreeMap<String, TopicQueues>>,
    brokers: BTreeMap<String, BrokerReplicas>,
    live: BTreeMap<AddressKey, Live>,
    registrants: BTreeMap<ConnectionId, Registrant>,
    /// Queues entries of all topics.
    entries: usize,
    delete_absent_topics: bool,
}

/// What one connection has brought.
#[derive(Debug, Default)]
struct Registrant {
    addresses: BTreeSet<AddressKey>,
    /// Entries that its registrations have added, whether or not they are there still.
    entries: usize,
}

impl RouteTable {
    /// Whether topics that a master's registration no longer has leave the routes. RocketMQ: `deleteTopicWithBrokerRegistration`.
    pub(crate) fn delete_absent_topics(&mut self, delete: bool) {
        self.delete_absent_topics = delete;
    }

    /// Takes a registration; its answer tells a slave where its master is.
    ///
    /// An older claim to a broker id that another address holds with a higher state version is ignored, not refused: the loser
    /// of an election must not take the routes back.
    ///
    /// # Errors
    /// [`RegisterError`]; nothing has changed then.
    pub(crate) fn register(
        &mut self,
        now: MonoNs,
        from: Peer,
        registration: Registration,
    ) -> Result<MasterAddresses, RegisterError> {
        let r = registration;
        if !r.names_are_short() {
            return Err(RegisterError::LongName);
        }
        let id = r.broker_id.0;
        let key = (r.broker_name.clone(), r.address.clone());
        let known = self.brokers.get(&r.broker_name);
        let holder = known.and_then(|broker| broker.addresses.get(&id));
        if let Some(other) = holder.filter(|address| **address != r.address) {
            let held = self.live.get(&(r.broker_name.clone(), other.clone()));
            if held.is_some_and(|live| live.version.state_version > r.version.state_version) {
                tracing::warn!(target: BY_STRANGERS, broker = %shown(&r.broker_name), %id, holder = %shown(other), by = %shown(&r.address), "an address claims the place of a living broker, whose stateVersion is higher, and does not get it");
                // Under another number it may be there, by its own registration.
                let _stays = self.unregister(from, &r.broker_name, &r.address);
                return Ok(MasterAddresses::default());
            }
        }
        if holder.is_none() && r.topics.len() == 1 {
            return Err(RegisterError::OnlyOneTopic);
        }
        self.check_room(from, &key, &r)?;
        let first = holder.is_none();
        if let Some(other) = holder.filter(|address| **address != r.address)
            && self.live.contains_key(&(r.broker_name.clone(), other.clone()))
        {
            tracing::warn!(target: BY_STRANGERS, broker = %shown(&r.broker_name), %id, displaced = %shown(other), by = %shown(&r.address), "another address claims the place of a living broker");
        }
        let broker = self.claim(&r);
        let prime_slave = id != MASTER && r.acting_master.is_some() && broker.addresses.keys().next() == Some(&id);
        let read_only = prime_slave && broker.acting_master;
        if id == MASTER || prime_slave {
            let known = self.live.get(&key);
            let changed = first || known.is_none_or(|live| live.is_displaced || live.version != r.version);
            let before = self.entries;
            self.take_topics(&r, changed, read_only);
            self.registrants.entry(from.connection).or_default().entries += self.entries.saturating_sub(before);
        }
        let live = Live {
            peers: self.peers_of(from, &key),
            heard: now,
            expires_after_ms: r.expires_after_ms.unwrap_or(EXPIRES_AFTER_MS).min(ROUTE_LEASE_MS_MAX),
            version: r.version,
            ha_address: r.ha_address,
            cluster: r.cluster,
            id,
            is_displaced: false,
        };
        self.live.insert(key, live);
        Ok(if id == MASTER { MasterAddresses::default() } else { self.master_of(&r.broker_name) })
    }

    /// Whether the bounds leave room for a registration.
    fn check_room(&self, from: Peer, key: &AddressKey, r: &Registration) -> Result<(), RegisterError> {
        let is_known = |topic: &str| self.topics.get(topic).is_some_and(|by| by.contains_key(&r.broker_name));
        let (mut new_topics, mut new_entries) = (0_usize, 0_usize);
        for (topic, _) in &r.topics {
            new_topics += usize::from(!self.topics.contains_key(topic));
            new_entries += usize::from(!is_known(topic));
        }
        let is_full = |now: usize, new: usize, max: usize| new > 0 && now.saturating_add(new) > max;
        if is_full(self.brokers.len(), usize::from(!self.brokers.contains_key(&r.broker_name)), ROUTE_BROKERS_MAX)
            || is_full(self.topics.len(), new_topics, ROUTE_TOPICS_MAX)
            || is_full(self.entries, new_entries, ROUTE_ENTRIES_MAX)
        {
            return Err(RegisterError::Full);
        }
        self.check_replicas(from, r)?;
        let registrant = self.registrants.get(&from.connection);
        let (addresses, entries) = registrant.map_or((0, 0), |known| (known.addresses.len(), known.entries));
        let new_address = usize::from(!registrant.is_some_and(|known| known.addresses.contains(key)));
        if is_full(addresses, new_address, ROUTE_BROKERS_PER_CONNECTION_MAX)
            || is_full(entries, new_entries, ROUTE_ENTRIES_PER_CONNECTION_MAX)
        {
            return Err(RegisterError::FullConnection);
        }
        Ok(())
    }

    /// Whether one more broker may have this name. Its master always may, whoever the others are.
    fn check_replicas(&self, from: Peer, r: &Registration) -> Result<(), RegisterError> {
        let Some(known) = self.brokers.get(&r.broker_name).map(|broker| &broker.addresses) else { return Ok(()) };
        // One that is known may have another number now.
        let is_new = !known.contains_key(&r.broker_id.0) && known.values().all(|address| *address != r.address);
        if r.broker_id.0 == MASTER || !is_new || known.len() < ROUTE_REPLICAS_PER_HOST_MAX {
            return Ok(());
        }
        let is_of_host = |address: &&String| {
            let live = self.live.get(&(r.broker_name.clone(), (*address).clone()));
            live.is_some_and(|live| live.peers.iter().any(|peer| peer.ip == from.ip))
        };
        let of_host = known.values().filter(is_of_host).count();
        let is_full = known.len() >= ROUTE_REPLICAS_MAX || of_host >= ROUTE_REPLICAS_PER_HOST_MAX;
        if is_full { Err(RegisterError::FullName) } else { Ok(()) }
    }

    /// Who stands for an address once `from` does. If they are too many, the oldest goes of the host that has most: no stranger takes the place of
    /// the broker's own connection.
    fn peers_of(&mut self, from: Peer, key: &AddressKey) -> Vec<Peer> {
        let mut peers = self.live.get(key).map(|live| live.peers.clone()).unwrap_or_default();
        if let Some(other) = peers.last().filter(|_| peers.iter().all(|known| known.ip != from.ip)) {
            tracing::warn!(target: BY_STRANGERS, broker = %shown(&key.0), address = %shown(&key.1), by = %from.ip, registered_by = %other.ip, "a living broker is registered from another host as well: it has two, or somebody claims its place");
        }
        peers.retain(|known| known.connection != from.connection);
        let of_host = |ip: IpAddr| peers.iter().filter(|known| known.ip == ip).count();
        let spare = (0..peers.len()).rev().max_by_key(|index| peers.get(*index).map(|known| of_host(known.ip)));
        if let Some(spare) = spare.filter(|_| peers.len() >= ROUTE_REGISTRANTS_MAX) {
            self.stands_no_more(peers.remove(spare), key);
        }
        peers.push(from);
        self.registrants.entry(from.connection).or_default().addresses.insert(key.clone());
        peers
    }

    fn stands_no_more(&mut self, peer: Peer, key: &AddressKey) {
        if let Some(registrant) = self.registrants.get_mut(&peer.connection) {
            registrant.addresses.remove(key);
        }
    }

    fn forget_live(&mut self, key: &AddressKey) {
        let Some(live) = self.live.remove(key) else { return };
        for peer in live.peers {
            self.stands_no_more(peer, key);
        }
    }

    /// A broker has no queues of these topics any more.
    fn forget_queues(&mut self, broker_name: &str, is_gone: impl Fn(&str) -> bool) {
        let entries = &mut self.entries;
        self.topics.retain(|topic, by_broker| {
            if is_gone(topic) {
                *entries -= usize::from(by_broker.remove(broker_name).is_some());
            }
            !by_broker.is_empty()
        });
    }

    /// Puts the address under its id, and only there.
    fn claim(&mut self, r: &Registration) -> BrokerReplicas {
        let broker = self.brokers.entry(r.broker_name.clone()).or_insert_with(|| BrokerReplicas {
            cluster: r.cluster.clone(),
            addresses: BTreeMap::new(),
            zone: None,
            acting_master: false,
        });
        broker.cluster.clone_from(&r.cluster);
        broker.acting_master = r.acting_master.unwrap_or(false);
        broker.zone.clone_from(&r.zone);
        broker.addresses.retain(|_, address| *address != r.address);
        let displaced = broker.addresses.insert(r.broker_id.0, r.address.clone());
        if let Some(live) = displaced.and_then(|address| self.live.get_mut(&(r.broker_name.clone(), address))) {
            live.is_displaced = true;
        }
        // Under the number that it had before, this address may have displaced another.
        give_back(&self.live, &r.broker_name, broker);
        let broker = broker.clone();
        self.bound_displaced(&r.broker_name);
        broker
    }

    /// So many displaced addresses of one name are remembered. If they are too many, one goes of the host that has most.
    fn bound_displaced(&mut self, broker_name: &str) {
        let Some(broker) = self.brokers.get(broker_name) else { return };
        let displaced: Vec<(&AddressKey, Option<IpAddr>)> = displaced_of(&self.live, broker_name, broker)
            .map(|(key, live)| (key, live.peers.last().map(|peer| peer.ip)))
            .collect();
        if displaced.len() <= ROUTE_REGISTRANTS_MAX {
            return;
        }
        let of_host = |ip: Option<IpAddr>| displaced.iter().filter(|(_, other)| *other == ip).count();
        let spare = displaced.iter().max_by_key(|(_, ip)| of_host(*ip)).map(|(key, _)| (*key).clone());
        if let Some(spare) = spare {
            self.forget_live(&spare);
        }
    }

    fn take_topics(&mut self, r: &Registration, changed: bool, read_only: bool) {
        if self.delete_absent_topics && !r.changes_only {
            let told: BTreeSet<&str> = r.topics.iter().map(|(topic, _)| topic.as_str()).collect();
            self.forget_queues(&r.broker_name, |topic| !told.contains(topic));
        }
        for (topic, queues) in &r.topics {
            let by_broker = self.topics.entry(topic.clone()).or_default();
            // Without a new version only what is missing is added: write permission that an operator wiped stays wiped.
            if changed || !by_broker.contains_key(&r.broker_name) {
                let mut queues = *queues;
                if read_only {
                    queues.perm &= !perm::WRITE;
                }
                self.entries += usize::from(by_broker.insert(r.broker_name.clone(), queues).is_none());
            }
        }
    }

    fn master_of(&self, broker_name: &str) -> MasterAddresses {
        let Some(broker) = self.brokers.get(broker_name) else { return MasterAddresses::default() };
        let Some(address) = broker.addresses.get(&MASTER) else { return MasterAddresses::default() };
        let live = self.live.get(&(broker_name.to_owned(), address.clone()));
        match live {
            Some(live) => MasterAddresses { address: Some(address.clone()), ha_address: Some(live.ha_address.clone()) },
            None => MasterAddresses::default(),
        }
    }

    /// A broker says goodbye: what was registered by this connection or from its host ends. The broker is gone unless others stand for it.
    ///
    /// # Errors
    /// One of those others, if nothing was the asker's.
    pub(crate) fn unregister(&mut self, from: Peer, broker_name: &str, address: &str) -> Result<(), IpAddr> {
        let key = (broker_name.to_owned(), address.to_owned());
        let Some(live) = self.live.get_mut(&key) else { return Ok(()) };
        let is_own = |known: &Peer| known.connection == from.connection || known.ip == from.ip;
        let own: Vec<Peer> = live.peers.extract_if(.., |known| is_own(known)).collect();
        let other = live.peers.last().map(|other| other.ip);
        let is_refused = own.is_empty();
        for peer in own {
            self.stands_no_more(peer, &key);
        }
        match other {
            Some(other) if is_refused => Err(other),
            Some(_) => Ok(()),
            None => {
                self.forget(&key);
                Ok(())
            }
        }
    }

    /// An address is gone. The broker's entry goes only if it still is at this address: a successor may have taken its id.
    fn forget(&mut self, key: &AddressKey) {
        self.forget_live(key);
        let (broker_name, address) = key;
        let Some(broker) = self.brokers.get_mut(broker_name) else { return };
        broker.addresses.retain(|_, known| known != address);
        give_back(&self.live, broker_name, broker);
        let orphaned = broker.addresses.is_empty();
        let read_only = broker.acting_master && !broker.addresses.contains_key(&MASTER);
        if orphaned {
            self.brokers.remove(broker_name);
            self.forget_queues(broker_name, |_| true);
        } else if read_only {
            self.for_each_queues_of(broker_name, |queues| queues.perm &= !perm::WRITE);
        }
    }

    /// A connection closed: whoever was registered through it, and through no other that is open, is gone; how many that are.
    pub(crate) fn disconnected(&mut self, connection: ConnectionId) -> usize {
        let Some(registrant) = self.registrants.remove(&connection) else { return 0 };
        let mut gone = 0;
        for key in registrant.addresses {
            let Some(live) = self.live.get_mut(&key) else { continue };
            live.peers.retain(|known| known.connection != connection);
            if live.peers.is_empty() {
                self.forget(&key);
                gone += 1;
            }
        }
        gone
    }

    /// Drops brokers that were silent too long; their number.
    pub(crate) fn expire(&mut self, now: MonoNs) -> usize {
        let found = self.live.iter().filter(|(_, live)| now.ms_since(live.heard) > live.expires_after_ms);
        let keys: Vec<AddressKey> = found.map(|(key, _)| key.clone()).collect();
        for key in &keys {
            self.forget(key);
        }
        keys.len()
    }

    /// A sign of life without topics.
    pub(crate) fn heard_from(&mut self, now: MonoNs, broker_name: &str, address: &str) {
        if let Some(live) = self.live.get_mut(&(broker_name.to_owned(), address.to_owned())) {
            live.heard = now;
        }
    }

    /// The version of the topics that this broker registered last from this address, in this cluster, if they are the broker's still.
    #[must_use]
    pub(crate) fn version_of(&self, cluster: &str, broker_name: &str, address: &str) -> Option<DataVersion> {
        let live = self.live.get(&(broker_name.to_owned(), address.to_owned()));
        live.filter(|live| live.cluster == cluster && !live.is_displaced).map(|live| live.version)
    }

    /// The route of `topic`; `None` if no live broker has it. With `zone`, brokers of other zones are left out unless their
    /// master is gone and its slaves must be read.
    #[must_use]
    pub(crate) fn route(&self, topic: &str, zone: Option<&str>) -> Option<TopicRoute> {
        let mut route = TopicRoute::default();
        for (name, queues) in self.topics.get(topic)? {
            let Some(broker) = self.brokers.get(name) else { continue };
            let near = match zone {
                None => true,
                Some(zone) => broker.zone.as_deref() == Some(zone) || !broker.addresses.contains_key(&MASTER),
            };
            if near {
                route.queues.push((name.clone(), *queues));
                route.brokers.push((name.clone(), broker.in_masters_place(topic, *queues)));
            }
        }
        if route.brokers.is_empty() { None } else { Some(route) }
    }

    /// Removes a topic, or its queues in one cluster.
    pub(crate) fn delete_topic(&mut self, topic: &str, cluster: Option<&str>) {
        let Some(by_broker) = self.topics.get_mut(topic) else { return };
        let (brokers, before) = (&self.brokers, by_broker.len());
        by_broker.retain(|name, _| {
            cluster.is_some_and(|cluster| brokers.get(name).is_some_and(|broker| broker.cluster != cluster))
        });
        self.entries -= before - by_broker.len();
        if by_broker.is_empty() {
            self.topics.remove(topic);
        }
    }

    /// Adds queues of registered brokers to a topic (request code 217). Ignored as a whole if a broker is unknown.
    pub(crate) fn add_topic(&mut self, topic: &str, queues: &[(String, TopicQueues)]) {
        let known = queues.iter().all(|(name, _)| self.brokers.contains_key(name));
        let fits = (self.topics.contains_key(topic) || self.topics.len() < ROUTE_TOPICS_MAX)
            && self.entries.saturating_add(queues.len()) <= ROUTE_ENTRIES_MAX
            && topic.len() <= ROUTE_NAME_BYTES_MAX;
        if queues.is_empty() || !known || !fits {
            return;
        }
        let by_broker = self.topics.entry(topic.to_owned()).or_default();
        for (broker, queues) in queues {
            self.entries += usize::from(by_broker.insert(broker.clone(), *queues).is_none());
        }
    }

    /// Takes write permission from all topics of a broker, so that it can be drained; how many topics it has.
    pub(crate) fn wipe_write_permission(&mut self, broker_name: &str) -> usize {
        self.for_each_queues_of(broker_name, |queues| queues.perm &= !perm::WRITE)
    }

    /// Gives it back; how many topics it has.
    pub(crate) fn add_write_permission(&mut self, broker_name: &str) -> usize {
        self.for_each_queues_of(broker_name, |queues| queues.perm = perm::READ | perm::WRITE)
    }

    fn for_each_queues_of(&mut self, broker_name: &str, mut change: impl FnMut(&mut TopicQueues)) -> usize {
        let entries = self.topics.values_mut().filter_map(|by_broker| by_broker.get_mut(broker_name));
        let mut count: usize = 0;
        for queues in entries {
            change(queues);
            count = count.saturating_add(1);
        }
        count
    }

    /// Every broker by name.
    #[must_use]
    pub(crate) fn brokers(&self) -> &BTreeMap<String, BrokerReplicas> {
        &self.brokers
    }

    /// The brokerNames of each cluster.
    #[must_use]
    pub(crate) fn clusters(&self) -> BTreeMap<&str, Vec<&str>> {
        let mut clusters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for (name, broker) in &self.brokers {
            clusters.entry(&broker.cluster).or_default().push(name);
        }
        clusters
    }

    /// Names of the topics for whose queues `wanted` holds on some broker, sorted.
    pub(crate) fn topics_where(&self, wanted: impl Fn(&str, &TopicQueues) -> bool) -> Vec<&str> {
        let has =
            |by_broker: &BTreeMap<String, TopicQueues>| by_broker.iter().any(|(name, queues)| wanted(name, queues));
        self.topics.iter().filter(|(_, by_broker)| has(by_broker)).map(|(topic, _)| topic.as_str()).collect()
    }

    /// Names of the topics that a broker of `cluster` has, sorted.
    #[must_use]
    pub(crate) fn topics_of_cluster(&self, cluster: &str) -> Vec<&str> {
        self.topics_where(|name, _| self.brokers.get(name).is_some_and(|broker| broker.cluster == cluster))
    }
}

/// The live addresses of a broker that others have displaced.
fn displaced_of<'l>(
    live: &'l BTreeMap<AddressKey, Live>,
    broker_name: &'l str,
    broker: &'l BrokerReplicas,
) -> impl Iterator<Item = (&'l AddressKey, &'l Live)> {
    live.range((broker_name.to_owned(), String::new())..)
        .take_while(move |((name, _), _)| name == broker_name)
        .filter(|((_, address), live)| live.is_displaced && broker.addresses.get(&live.id) != Some(address))
}

/// Numbers that nobody has any more are theirs again who were displaced: a stranger's claim ends with the stranger.
fn give_back(live: &BTreeMap<AddressKey, Live>, broker_name: &str, broker: &mut BrokerReplicas) {
    let mut vacant: BTreeMap<u64, (MonoNs, String)> = BTreeMap::new();
    for ((_, address), live) in displaced_of(live, broker_name, broker) {
        let is_elsewhere = broker.addresses.values().any(|known| known == address);
        let is_newest = vacant.get(&live.id).is_none_or(|(heard, _)| *heard < live.heard);
        if is_newest && !is_elsewhere && !broker.addresses.contains_key(&live.id) {
            vacant.insert(live.id, (live.heard, address.clone()));
        }
    }
    broker.addresses.extend(vacant.into_iter().map(|(id, (_, address))| (id, address)));
}

#[cfg(test)]
mod tests;
