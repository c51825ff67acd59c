//! Tables of the rules, and random registrations against a plain model.

use proptest::prelude::*;

use super::*;

const T0: MonoNs = MonoNs(1_000_000_000);

fn queues(n: u32) -> TopicQueues {
    TopicQueues { read: n, write: n, perm: 6, sys_flag: 0 }
}

fn registration(name: &str, id: u64, address: &str, counter: i64, topics: &[&str]) -> Registration {
    Registration {
        cluster: "C".to_owned(),
        broker_name: name.to_owned(),
        broker_id: BrokerId(id),
        address: address.to_owned(),
        ha_address: format!("{address}-ha"),
        zone: None,
        expires_after_ms: None,
        acting_master: Some(false),
        version: DataVersion { counter, ..DataVersion::default() },
        changes_only: false,
        topics: topics.iter().map(|topic| ((*topic).to_owned(), queues(4))).collect(),
    }
}

fn table_with(registrations: &[Registration]) -> RouteTable {
    let mut table = RouteTable::default();
    for (index, r) in registrations.iter().enumerate() {
        let connection = u64::try_from(index).expect("few");
        table.register(T0, peer(connection), r.clone()).expect("the registration is accepted");
    }
    table
}

/// A connection from a host of its own.
fn peer(connection: u64) -> Peer {
    peer_at(connection, connection)
}

fn peer_at(connection: u64, host: u64) -> Peer {
    Peer::new(ConnectionId(connection), IpAddr::from(u128::from(host).to_be_bytes()))
}

/// `broker:perm@id=address,...` of each entry, the shape in which the tables below are written.
fn shown(table: &RouteTable, topic: &str) -> String {
    let Some(route) = table.route(topic, None) else { return "none".to_owned() };
    let one = |((name, queues), (_, broker)): (&(String, TopicQueues), &(String, BrokerReplicas))| {
        let addresses: Vec<_> = broker.addresses.iter().map(|(id, address)| format!("{id}={address}")).collect();
        format!("{name}:{}@{}", queues.perm, addresses.join(","))
    };
    route.queues.iter().zip(&route.brokers).map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn routes_list_all_brokers_of_a_topic_in_order() {
    let table = table_with(&[
        registration("b", 0, "h:2", 1, &["T", "U"]),
        registration("a", 0, "h:1", 1, &["T", "V"]),
        registration("a", 1, "h:3", 1, &["T", "W"]),
    ]);
    assert_eq!(shown(&table, "T"), "a:6@0=h:1,1=h:3 b:6@0=h:2");
    assert_eq!(shown(&table, "U"), "b:6@0=h:2");
    assert_eq!(shown(&table, "W"), "none", "a slave's own topics are not taken");
    assert_eq!(shown(&table, "X"), "none");
    assert_eq!(table.topics_of_cluster("C"), ["T", "U", "V"]);
}

#[test]
fn a_slave_is_told_its_master() {
    let mut table = table_with(&[registration("a", 0, "h:1", 1, &["T", "U"])]);
    let answer = table.register(T0, peer(9), registration("a", 1, "h:2", 1, &["T", "U"]));
    let expected = MasterAddresses { address: Some("h:1".to_owned()), ha_address: Some("h:1-ha".to_owned()) };
    assert_eq!(answer, Ok(expected));
}

/// `address` under `id`, of a broker whose slaves stand in for the master.
fn acting(id: u64, address: &str, counter: i64) -> Registration {
    Registration { acting_master: Some(true), ..registration("a", id, address, counter, &["T", "U"]) }
}

#[test]
fn a_slave_keeps_the_route_while_its_master_is_gone() {
    let mut table = table_with(&[acting(0, "h:1", 1), acting(1, "h:2", 1), acting(2, "h:3", 1)]);
    assert_eq!(shown(&table, "T"), "a:6@0=h:1,1=h:2,2=h:3");
    table.disconnected(ConnectionId(0));
    assert_eq!(shown(&table, "T"), "a:4@0=h:2,2=h:3", "read only, and locks are asked of the first slave");
    assert_eq!(table.brokers()["a"].addresses.keys().copied().collect::<Vec<_>>(), [1, 2], "operators see what is");
    table.register(T0, peer(7), acting(1, "h:2", 1)).expect("a sign of life");
    assert_eq!(shown(&table, "T"), "a:4@0=h:2,2=h:3");
    table.register(T0, peer(8), acting(0, "h:1", 1)).expect("the master returns, with the version that it had");
    assert_eq!(shown(&table, "T"), "a:6@0=h:1,1=h:2,2=h:3");
    table.disconnected(ConnectionId(8));
    table.disconnected(ConnectionId(7));
    table.disconnected(ConnectionId(2));
    assert_eq!(shown(&table, "T"), "a:4@0=h:2", "its first connection is open still");
    table.disconnected(ConnectionId(1));
    assert_eq!(shown(&table, "T"), "none");
}

#[test]
fn a_slave_alone_brings_the_route_back_after_a_restart_of_the_name_server() {
    let mut table = table_with(&[acting(1, "h:2", 1)]);
    assert_eq!(shown(&table, "T"), "a:4@0=h:2");
    let answer = table.register(T0, peer(5), acting(0, "h:1", 1)).expect("the master returns");
    assert_eq!(answer, MasterAddresses::default());
    assert_eq!(shown(&table, "T"), "a:6@0=h:1,1=h:2");
    let found = table.register(T0, peer(0), acting(1, "h:2", 1)).expect("and its slave is told of it");
    assert_eq!(found.address.as_deref(), Some("h:1"));
}

#[test]
fn a_slave_that_does_not_stand_in_is_told_as_it_is() {
    let mut table =
        table_with(&[registration("a", 0, "h:1", 1, &["T", "U"]), registration("a", 1, "h:2", 1, &["T", "U"])]);
    table.disconnected(ConnectionId(0));
    assert_eq!(shown(&table, "T"), "a:6@1=h:2");
}

#[test]
fn an_unknown_broker_with_one_topic_is_refused() {
    let mut table = RouteTable::default();
    let one = registration("a", 0, "h:1", 1, &["T"]);
    assert_eq!(table.register(T0, peer(1), one.clone()), Err(RegisterError::OnlyOneTopic));
    assert!(table.brokers().is_empty(), "a refused registration leaves nothing");
    table.register(T0, peer(1), registration("a", 0, "h:1", 1, &["U", "V"])).expect("two topics");
    let change = Registration { version: DataVersion { counter: 2, ..one.version }, ..one };
    table.register(T0, peer(1), change).expect("a known broker tells a change");
    assert_eq!(shown(&table, "T"), "a:6@0=h:1");
}

#[test]
fn an_address_has_one_id_and_an_id_one_address() {
    let mut table =
        table_with(&[registration("a", 0, "h:1", 1, &["T", "U"]), registration("a", 1, "h:2", 1, &["T", "U"])]);
    table.unregister(peer(0), "a", "h:1").expect("its own");
    assert_eq!(shown(&table, "T"), "a:6@1=h:2");
    table.register(T0, peer(7), registration("a", 0, "h:2", 2, &["T", "U"])).expect("promoted");
    assert_eq!(shown(&table, "T"), "a:6@0=h:2");
    table.register(T0, peer(8), registration("a", 0, "h:9", 3, &["T", "U"])).expect("moved");
    assert_eq!(shown(&table, "T"), "a:6@0=h:9");
    table.disconnected(ConnectionId(7));
    assert_eq!(shown(&table, "T"), "a:6@0=h:9", "the displaced address has nothing left to take away");
}

#[test]
fn an_older_state_version_does_not_take_an_id() {
    let mut newer = registration("a", 0, "h:1", 1, &["T", "U"]);
    newer.version.state_version = 5;
    let mut table = table_with(&[newer]);
    let answer = table.register(T0, peer(2), registration("a", 0, "h:2", 9, &["T", "U"]));
    assert_eq!(answer, Ok(MasterAddresses::default()));
    assert_eq!(shown(&table, "T"), "a:6@0=h:1");
}

#[test]
fn silence_closing_and_goodbye_remove_a_broker() {
    let brokers = [registration("a", 0, "h:1", 1, &["T", "U"]), registration("b", 0, "h:2", 1, &["T", "U"])];
    let mut table = table_with(&brokers);
    table.heard_from(T0.plus_ms(100_000), "b", "h:2");
    assert_eq!(table.expire(T0.plus_ms(120_000)), 0, "120 s are still allowed");
    assert_eq!(table.expire(T0.plus_ms(120_001)), 1);
    assert_eq!(shown(&table, "T"), "b:6@0=h:2");
    assert_eq!(table.disconnected(ConnectionId(1)), 1);
    assert_eq!(shown(&table, "T"), "none");

    let mut table = table_with(&brokers);
    table.register(T0, peer(50), brokers[0].clone()).expect("registered again on a new connection");
    assert_eq!(table.disconnected(ConnectionId(0)), 0, "the old connection is nobody's any more");
    table.unregister(peer(50), "a", "h:1").expect("its own");
    assert_eq!(shown(&table, "T"), "b:6@0=h:2");

    let short = Registration { expires_after_ms: Some(500), ..brokers[0].clone() };
    let mut table = table_with(&[short]);
    assert_eq!(table.expire(T0.plus_ms(501)), 1);
}

#[test]
fn wiped_permission_returns_with_a_new_version_only() {
    let r = registration("a", 0, "h:1", 1, &["T", "U"]);
    let mut table = table_with(std::slice::from_ref(&r));
    assert_eq!(table.wipe_write_permission("a"), 2);
    assert_eq!(shown(&table, "T"), "a:4@0=h:1");
    table.register(T0, peer(0), r.clone()).expect("same version");
    assert_eq!(shown(&table, "T"), "a:4@0=h:1");
    assert_eq!(table.add_write_permission("a"), 2);
    assert_eq!(shown(&table, "T"), "a:6@0=h:1");
    table.wipe_write_permission("a");
    let newer = Registration { version: DataVersion { counter: 2, ..r.version }, ..r };
    table.register(T0, peer(0), newer).expect("new version");
    assert_eq!(shown(&table, "T"), "a:6@0=h:1");
    assert_eq!(table.wipe_write_permission("nobody"), 0);
}

#[test]
fn topics_leave_by_cluster_or_with_a_registration() {
    let r = registration("a", 0, "h:1", 1, &["T", "U"]);
    let other = Registration { cluster: "D".to_owned(), ..registration("b", 0, "h:2", 1, &["T", "U"]) };
    let mut table = table_with(&[r.clone(), other]);
    table.delete_topic("T", Some("C"));
    assert_eq!(shown(&table, "T"), "b:6@0=h:2");
    table.delete_topic("T", None);
    assert_eq!(shown(&table, "T"), "none");
    table.delete_absent_topics(true);
    let without = Registration {
        version: DataVersion { counter: 2, ..r.version },
        topics: vec![("V".to_owned(), queues(1))],
        ..r
    };
    table.register(T0, peer(0), without).expect("known");
    assert_eq!(shown(&table, "U"), "b:6@0=h:2");
    table.add_topic("N", &[("a".to_owned(), queues(2)), ("nobody".to_owned(), queues(2))]);
    assert_eq!(shown(&table, "N"), "none");
    table.add_topic("N", &[("a".to_owned(), queues(2))]);
    assert_eq!(shown(&table, "N"), "a:6@0=h:1");
}

#[test]
fn a_zone_keeps_its_own_and_those_without_a_master() {
    let near = Registration { zone: Some("z".to_owned()), ..registration("a", 0, "h:1", 1, &["T", "U"]) };
    let far = Registration { zone: Some("y".to_owned()), ..registration("b", 0, "h:2", 1, &["T", "U"]) };
    let headless = registration("c", 0, "h:3", 1, &["T", "U"]);
    let slave = registration("c", 1, "h:4", 1, &["T", "U"]);
    let mut table = table_with(&[near, far, headless, slave]);
    table.unregister(peer(2), "c", "h:3").expect("its own");
    let names = |zone| table.route("T", zone).map(|r| r.brokers.into_iter().map(|(name, _)| name).collect::<Vec<_>>());
    assert_eq!(names(Some("z")), Some(vec!["a".to_owned(), "c".to_owned()]));
    assert_eq!(names(Some("x")), Some(vec!["c".to_owned()]));
    assert_eq!(names(None).map(|n| n.len()), Some(3));
}

#[test]
fn a_strangers_end_takes_no_broker_along_that_another_connection_stands_for() {
    let mut table = table_with(&[registration("a", 0, "h:1", 1, &["T", "U"])]);
    table.register(T0, peer(66), registration("a", 0, "h:1", 2, &["T", "U"])).expect("a forged claim");
    assert_eq!(table.disconnected(ConnectionId(66)), 0);
    assert_eq!(shown(&table, "T"), "a:6@0=h:1", "the broker's own connection is open");
    assert_eq!(table.disconnected(ConnectionId(0)), 1);
    assert_eq!(shown(&table, "T"), "none");
    assert!(table.registrants.is_empty() && table.live.is_empty() && table.entries == 0);
}

#[test]
fn a_stranger_unregisters_only_what_it_has_registered() {
    let broker = || registration("a", 0, "h:1", 1, &["T", "U"]);
    let mut table = table_with(&[broker()]);
    let host_of_the_broker = IpAddr::from(0_u128.to_be_bytes());
    assert_eq!(table.unregister(peer(66), "a", "h:1"), Err(host_of_the_broker));
    table.register(T0, peer(66), broker()).expect("a forged claim");
    assert_eq!(table.unregister(peer(66), "a", "h:1"), Ok(()), "its claim is gone");
    assert_eq!(table.unregister(peer(66), "a", "h:1"), Err(host_of_the_broker));
    assert_eq!(shown(&table, "T"), "a:6@0=h:1");
    // The broker has connected again, before its first connection is known to be gone.
    table.unregister(peer_at(1, 0), "a", "h:1").expect("the same host");
    assert_eq!(shown(&table, "T"), "none");
    assert_eq!(table.unregister(peer(66), "a", "h:1"), Ok(()), "nobody is left to be asked");
    assert!(table.live.is_empty() && table.entries == 0);
}

/// Whatever it says of the address: another cluster, another name.
#[test]
fn a_strangers_claims_of_an_address_take_no_broker_along_and_leave_nothing() {
    let broker = || registration("a", 0, "h:1", 1, &["T", "U"]);
    let mut table = table_with(&[broker()]);
    let moved = Registration { cluster: "D".to_owned(), ..broker() };
    table.register(T0, peer(66), moved).expect("another cluster");
    assert_eq!(table.disconnected(ConnectionId(66)), 0);
    assert_eq!(shown(&table, "T"), "a:6@0=h:1");
    for name in ["b", "c"] {
        table.register(T0, peer(66), registration(name, 0, "h:1", 1, &["T", "U"])).expect("another name");
    }
    assert_eq!(table.disconnected(ConnectionId(66)), 2);
    assert_eq!(shown(&table, "T"), "a:6@0=h:1");
    table.register(T0, peer(66), registration("b", 0, "h:1", 1, &["T", "U"])).expect("another name");
    assert_eq!(table.disconnected(ConnectionId(0)), 1, "a broker whose address has another name as well");
    assert_eq!(shown(&table, "T"), "b:6@0=h:1");
    assert_eq!(table.disconnected(ConnectionId(66)), 1);
    assert!(table.brokers.is_empty() && table.live.is_empty() && table.entries == 0);
}

#[test]
fn an_older_claim_of_a_number_forgets_no_other_broker() {
    let newer = |name: &str, address: &str| {
        let mut r = registration(name, 0, address, 1, &["T", "U"]);
        r.version.state_version = 5;
        r
    };
    let mut table = table_with(&[newer("a", "h:1"), newer("b", "h:2")]);
    table.register(T0, peer(66), registration("a", 0, "h:2", 1, &["T", "U"])).expect("ignored");
    assert_eq!(table.disconnected(ConnectionId(1)), 1, "it is live still");
    assert_eq!(shown(&table, "T"), "a:6@0=h:1");
}

#[test]
fn a_place_that_was_taken_comes_back_when_who_took_it_goes() {
    let broker = || registration("a", 0, "h:1", 1, &["T", "U"]);
    let mut table = table_with(&[broker()]);
    for _ in 0..2 {
        let mut other = registration("a", 0, "x:1", 1, &["T", "U"]);
        other.topics[0].1.perm = 2;
        table.register(T0, peer(66), other).expect("taken, as a broker does that has moved");
        assert_eq!(shown(&table, "T"), "a:2@0=x:1");
        assert_eq!(table.version_of("C", "a", "h:1"), None, "it is to tell its topics again");
        assert_eq!(table.disconnected(ConnectionId(66)), 1);
        assert_eq!(shown(&table, "T"), "a:2@0=h:1");
        table.register(T0, peer(0), broker()).expect("with the version that it had");
        assert_eq!(shown(&table, "T"), "a:6@0=h:1");
        assert_eq!(table.version_of("C", "a", "h:1"), Some(broker().version));
    }
    // Two strangers with one address, under the broker's number and under another.
    table.register(T0, peer(66), registration("a", 0, "x:1", 1, &["T", "U"])).expect("taken");
    table.register(T0, peer(67), registration("a", 1, "x:1", 1, &["T", "U"])).expect("under another number");
    assert_eq!(shown(&table, "T"), "a:6@0=h:1,1=x:1");
    table.disconnected(ConnectionId(66));
    assert_eq!(table.disconnected(ConnectionId(67)), 1);
    assert_eq!(shown(&table, "T"), "a:6@0=h:1");
    // Many of one host do not push it out of those that are remembered.
    for n in 0..2 * ROUTE_REGISTRANTS_MAX as u64 {
        let other = registration("a", 0, &format!("x:{}", n + 1), 1, &["T", "U"]);
        table.register(T0, peer_at(100 + n, 66), other).expect("taken");
        assert!(table.live.len() <= ROUTE_REGISTRANTS_MAX + 1, "{} are remembered", table.live.len());
    }
    for n in 0..2 * ROUTE_REGISTRANTS_MAX as u64 {
        table.disconnected(ConnectionId(100 + n));
    }
    assert_eq!(shown(&table, "T"), "a:6@0=h:1");
    table.register(T0, peer(66), registration("a", 0, "x:1", 1, &["T", "U"])).expect("taken");
    assert_eq!(table.disconnected(ConnectionId(0)), 1);
    assert_eq!(shown(&table, "T"), "a:6@0=x:1", "who has moved has nothing left behind");
    assert_eq!(table.disconnected(ConnectionId(66)), 1);
    assert!(table.brokers.is_empty() && table.live.is_empty() && table.entries == 0);
}

#[test]
fn a_host_does_not_take_the_places_of_others_who_stand_for_a_broker() {
    let broker = || registration("a", 0, "h:1", 1, &["T", "U"]);
    let mut table = table_with(&[broker()]);
    let strangers = 100..100 + 2 * ROUTE_REGISTRANTS_MAX as u64;
    for connection in strangers.clone() {
        table.register(T0, peer_at(connection, 66), broker()).expect("forged");
        assert!(table.live.values().all(|live| live.peers.len() <= ROUTE_REGISTRANTS_MAX));
    }
    for connection in strangers {
        assert_eq!(table.disconnected(ConnectionId(connection)), 0);
    }
    assert_eq!(table.disconnected(ConnectionId(0)), 1);
    assert!(table.registrants.values().all(|registrant| registrant.addresses.is_empty()));
}

#[test]
fn leases_are_plausible() {
    let for_ever =
        Registration { expires_after_ms: Some(1_000_000_000_000_000), ..registration("a", 0, "h:1", 1, &["T", "U"]) };
    let mut table = table_with(&[for_ever]);
    assert_eq!(table.expire(T0.plus_ms(ROUTE_LEASE_MS_MAX)), 0);
    assert_eq!(table.expire(T0.plus_ms(ROUTE_LEASE_MS_MAX + 1)), 1);
}

#[test]
fn one_connection_fills_neither_table_and_leaves_nothing() {
    let mut table = RouteTable::default();
    for n in 0..ROUTE_BROKERS_PER_CONNECTION_MAX {
        let r = registration(&format!("s{n}"), 0, &format!("s:{n}"), 1, &["T", "U"]);
        table.register(T0, peer(66), r).expect("within the bound");
    }
    let more = registration("more", 0, "s:more", 1, &["T", "U"]);
    assert_eq!(table.register(T0, peer(66), more.clone()), Err(RegisterError::FullConnection));
    let again = registration("s0", 0, "s:0", 2, &["T", "U"]);
    table.register(T0, peer(66), again).expect("one that it has registered already");
    table.register(T0, peer(1), more).expect("another connection");
    assert_eq!(table.disconnected(ConnectionId(66)), ROUTE_BROKERS_PER_CONNECTION_MAX);
    assert_eq!((table.entries, table.brokers.len(), shown(&table, "T").as_str()), (2, 1, "more:6@0=s:more"));

    let topics: Vec<(String, TopicQueues)> =
        (0..=ROUTE_ENTRIES_PER_CONNECTION_MAX).map(|n| (format!("T{n}"), queues(1))).collect();
    let r = registration("a", 0, "h:1", 1, &[]);
    let too_many = Registration { topics: topics.clone(), ..r.clone() };
    assert_eq!(table.register(T0, peer(3), too_many), Err(RegisterError::FullConnection));
    let fits = Registration { topics: topics[1..].to_vec(), ..r };
    table.register(T0, peer(3), fits.clone()).expect("at the bound");
    table.register(T0, peer(3), fits).expect("again, with nothing new");
}

/// Strangers who fill a name keep neither its master nor, from one host alone, its slaves away.
#[test]
fn a_name_has_so_many_brokers_and_no_more() {
    let of = |id: usize| registration("a", id as u64, &format!("h:{id}"), 1, &["T", "U"]);
    let stranger = |host: usize| peer_at(100 + host as u64, 100 + host as u64);
    let mut table = RouteTable::default();
    let mut full = None;
    for id in 1..=ROUTE_REPLICAS_MAX + 1 {
        let host = (id - 1) / ROUTE_REPLICAS_PER_HOST_MAX;
        full = table.register(T0, stranger(host), of(id)).err();
        assert_eq!(full.is_some(), id > ROUTE_REPLICAS_MAX, "{id}");
    }
    assert_eq!(full, Some(RegisterError::FullName));
    table.register(T0, peer(1), of(0)).expect("the master");
    table.register(T0, stranger(0), of(7)).expect("one that is registered already");
    let moved = registration("a", 900, "h:8", 1, &["T", "U"]);
    table.register(T0, stranger(0), moved).expect("the same under another number");
    let mut table = table_with(&[of(0)]);
    for id in 1..=ROUTE_REPLICAS_PER_HOST_MAX {
        table.register(T0, stranger(1), of(id)).expect("within the bound");
    }
    assert_eq!(table.register(T0, stranger(1), of(99)), Err(RegisterError::FullName));
    table.register(T0, stranger(2), of(99)).expect("another host");
}

#[test]
fn long_names_are_refused() {
    let long = "x".repeat(ROUTE_NAME_BYTES_MAX + 1);
    let mut table = RouteTable::default();
    for r in [
        registration(&long, 0, "h:1", 1, &["T", "U"]),
        registration("a", 0, &long, 1, &["T", "U"]),
        registration("a", 0, "h:1", 1, &["T", &long]),
    ] {
        assert_eq!(table.register(T0, peer(1), r), Err(RegisterError::LongName));
    }
    assert!(table.brokers().is_empty());
}

#[derive(Clone, Debug)]
enum Event {
    Register { broker: u8, connection: u8, topics: Vec<u8> },
    Unregister { broker: u8, connection: u8 },
    Disconnect { connection: u8 },
    Wait { ms: u64 },
}

fn event() -> impl Strategy<Value = Event> {
    let topics = proptest::collection::btree_set(0..6_u8, 2..5).prop_map(|set| set.into_iter().collect());
    prop_oneof![
        4 => (0..4_u8, 0..4_u8, topics).prop_map(|(broker, connection, topics)| Event::Register { broker, connection, topics }),
        1 => (0..4_u8, 0..4_u8).prop_map(|(broker, connection)| Event::Unregister { broker, connection }),
        1 => (0..4_u8).prop_map(|connection| Event::Disconnect { connection }),
        2 => (1..70_000_u64).prop_map(|ms| Event::Wait { ms }),
    ]
}

/// What the model remembers of one broker: everything it ever told since it last came, and who heard it when.
#[derive(Clone, Debug)]
struct ModelBroker {
    connections: BTreeSet<u8>,
    heard: MonoNs,
    topics: BTreeSet<u8>,
}

fn of_two_hosts(connection: u8) -> Peer {
    peer_at(connection.into(), u64::from(connection % 2))
}

proptest! {
    #[test]
    fn routes_equal_a_plain_model(events in proptest::collection::vec(event(), 1..60)) {
        let mut table = RouteTable::default();
        let mut model: BTreeMap<u8, ModelBroker> = BTreeMap::new();
        let mut now = T0;
        for (step, event) in events.into_iter().enumerate() {
            match event {
                Event::Register { broker, connection, topics } => {
                    let names: Vec<String> = topics.iter().map(|t| format!("T{t}")).collect();
                    let names: Vec<&str> = names.iter().map(String::as_str).collect();
                    let counter = i64::try_from(step).expect("few steps");
                    let r = registration(&format!("b{broker}"), 0, &format!("h:{broker}"), counter, &names);
                    table.register(now, of_two_hosts(connection), r).expect("two topics or more");
                    let known = model.entry(broker).or_insert(ModelBroker { connections: BTreeSet::new(), heard: now, topics: BTreeSet::new() });
                    known.connections.insert(connection);
                    known.heard = now;
                    known.topics.extend(topics);
                }
                Event::Unregister { broker, connection } => {
                    let found = table.unregister(of_two_hosts(connection), &format!("b{broker}"), &format!("h:{broker}"));
                    let Some(known) = model.get_mut(&broker) else { continue };
                    let before = known.connections.len();
                    known.connections.retain(|other| other % 2 != connection % 2);
                    prop_assert_eq!(found.is_err(), known.connections.len() == before);
                    model.retain(|_, known| !known.connections.is_empty());
                }
                Event::Disconnect { connection } => {
                    table.disconnected(ConnectionId(connection.into()));
                    model.retain(|_, known| !known.connections.remove(&connection) || !known.connections.is_empty());
                }
                Event::Wait { ms } => {
                    now = now.plus_ms(ms);
                    table.expire(now);
                    model.retain(|_, known| now.ms_since(known.heard) <= 120_000);
                }
            }
            for topic in 0..6_u8 {
                let expected: Vec<String> =
                    model.iter().filter(|(_, known)| known.topics.contains(&topic)).map(|(b, _)| format!("b{b}")).collect();
                let found = table.route(&format!("T{topic}"), None).unwrap_or_default();
                let found: Vec<String> = found.brokers.into_iter().map(|(name, _)| name).collect();
                prop_assert_eq!(found, expected);
            }
        }
    }
}
