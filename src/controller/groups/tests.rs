//! Each command once, by what brokers must get; and any commands in any order, by what must hold.

use super::*;
use proptest::prelude::*;

const NAME: &str = "broker-a";

fn candidate(broker_id: u64, epoch: i32, log_end: i64) -> Candidate {
    Candidate { broker_id, epoch, log_end, priority: i32::MAX }
}

fn apply_id(broker_id: u64, check_code: &str) -> Decree {
    Decree::ApplyBrokerId {
        cluster: "c".to_owned(),
        broker_name: NAME.to_owned(),
        broker_id,
        address: format!("10.0.0.{broker_id}:10911"),
        check_code: check_code.to_owned(),
    }
}

fn elect(broker_id: Option<u64>, designate: bool, candidates: &[Candidate]) -> Decree {
    let (broker_name, candidates) = (NAME.to_owned(), candidates.to_vec());
    Decree::Elect { broker_name, broker_id, designate, unclean: false, candidates }
}

fn alter(master_id: u64, epochs: (i32, i32), in_sync: &[u64], living: &[u64]) -> Decree {
    Decree::AlterSyncSet {
        broker_name: NAME.to_owned(),
        master_id,
        master_epoch: epochs.0,
        in_sync: in_sync.iter().copied().collect(),
        set_epoch: epochs.1,
        living: living.iter().copied().collect(),
    }
}

fn clean(ids: Option<&[u64]>, also_living: bool, living: &[u64]) -> Decree {
    Decree::Clean {
        broker_name: NAME.to_owned(),
        broker_ids: ids.map(|ids| ids.iter().copied().collect()),
        also_living,
        living: living.iter().copied().collect(),
    }
}

/// Applies a command, looks after the invariants, and says how it ended.
fn code(groups: &mut ReplicaGroups, command: &Decree) -> i32 {
    let before = groups.clone();
    let decided = groups.apply(command);
    groups.check_invariants(&before);
    if decided.answer.code != ResponseCode::Success && !matches!(command, Decree::Elect { broker_id: None, .. }) {
        assert_eq!(*groups, before, "what is refused changes nothing: {command:?}");
    }
    decided.answer.code.number()
}

/// Three replicas; the first is the master, the second is in sync.
fn three() -> ReplicaGroups {
    let mut groups = ReplicaGroups::default();
    for id in 1..=3 {
        assert_eq!(code(&mut groups, &apply_id(id, &format!("h:1;{id}"))), 0);
    }
    assert_eq!(code(&mut groups, &elect(Some(1), false, &[candidate(1, -1, 0)])), 0);
    assert_eq!(code(&mut groups, &alter(1, (1, 1), &[1, 2], &[1, 2])), 0);
    groups
}

#[test]
fn a_number_belongs_to_who_has_its_code() {
    let mut groups = ReplicaGroups::default();
    assert_eq!(code(&mut groups, &apply_id(2, "h:1;2")), 2014, "a group begins with number 1");
    assert_eq!(code(&mut groups, &apply_id(1, "h:1;1")), 0);
    assert_eq!(code(&mut groups, &apply_id(1, "h:1;1")), 0, "who asks again has it");
    assert_eq!(code(&mut groups, &apply_id(1, "h:1;9")), 2014);
    let next = |groups: &ReplicaGroups| groups.next_broker_id(None, NAME).ext[2].1.clone();
    assert_eq!(next(&groups), "2");
    assert_eq!(code(&mut groups, &apply_id(7, "h:1;7")), 0);
    assert_eq!(next(&groups), "8");
}

#[test]
fn the_first_who_asks_is_the_master_and_later_ones_were_in_sync() {
    let mut groups = three();
    let all = [candidate(1, 1, 50), candidate(2, 1, 40), candidate(3, 1, 90)];
    assert_eq!(code(&mut groups, &elect(Some(3), false, &all)), 2011, "the master lives");
    assert_eq!(code(&mut groups, &elect(None, false, &all[1..])), 0);
    let group = groups.get(NAME).expect("there");
    assert_eq!((group.master(), group.epochs()), (Some(2), (2, 3)), "3 has more, and was not in sync");
    assert_eq!(code(&mut groups, &elect(None, false, &all[2..])), 2004);
    let group = groups.get(NAME).expect("there");
    assert_eq!((group.master(), group.epochs()), (None, (3, 3)), "replicas hear that there is none");
    assert_eq!(code(&mut groups, &elect(Some(3), false, &all[2..])), 2012);
    assert_eq!(code(&mut groups, &elect(Some(3), false, &all)), 0, "2 was in sync, and is back");
    assert_eq!(groups.get(NAME).and_then(Group::master), Some(2));
    let mut unclean = elect(None, false, &all[2..]);
    let Decree::Elect { unclean: allowed, .. } = &mut unclean else { unreachable!("it is one") };
    *allowed = true;
    assert_eq!(code(&mut groups, &unclean), 0);
    assert_eq!(groups.get(NAME).and_then(Group::master), Some(3), "the operator allowed it");
}

/// RocketMQ's broker takes the epoch that it is told for the one in which it goes on to write, and cuts its own record of it there: a master that was
/// away and had its old epoch again could be followed by nobody.
#[test]
fn a_master_that_comes_back_begins_a_reign() {
    let mut groups = three();
    let register = Decree::Register {
        broker_name: NAME.to_owned(),
        broker_id: 1,
        address: "h:2".to_owned(),
        living: [1, 2].into(),
    };
    let told = groups.apply(&register).answer;
    assert!(told.ext.iter().all(|(field, _)| *field != "masterBrokerId"), "{told:?}: it is to ask");
    assert_eq!(code(&mut groups, &elect(Some(1), false, &[candidate(1, 1, 50)])), 0);
    let group = groups.get(NAME).expect("there");
    assert_eq!((group.master(), group.epochs(), group.is_in_sync(2)), (Some(1), (2, 3), false));
    // The others hear who leads when they register.
    let register =
        Decree::Register { broker_id: 2, broker_name: NAME.to_owned(), address: "h:3".to_owned(), living: [1].into() };
    let told = groups.apply(&register).answer;
    assert!(told.ext.contains(&("masterBrokerId", "1".to_owned())), "{told:?}");
}

#[test]
fn who_is_designated_is_the_master_or_nobody() {
    let mut groups = three();
    let all = [candidate(1, 1, 50), candidate(2, 1, 40), candidate(3, 1, 90)];
    assert_eq!(code(&mut groups, &elect(Some(3), true, &all)), 2012, "it was not in sync");
    assert_eq!(code(&mut groups, &elect(Some(1), true, &all)), 2011);
    assert_eq!(code(&mut groups, &elect(Some(2), true, &all)), 0);
    assert_eq!(groups.get(NAME).and_then(Group::master), Some(2));
}

#[test]
fn of_those_in_sync_the_newest_reign_then_the_longest_log_then_the_priority_decides() {
    let check = |candidates: &[Candidate], expected: u64| assert_eq!(best(candidates, None, None), Some(expected));
    check(&[candidate(1, 2, 10), candidate(2, 1, 90)], 1);
    check(&[candidate(1, 2, 10), candidate(2, 2, 11)], 2);
    check(&[candidate(1, 2, 10), Candidate { priority: 5, ..candidate(2, 2, 10) }], 2);
    check(&[candidate(2, 2, 10), candidate(1, 2, 10)], 1);
    check(&[candidate(1, -1, -1), candidate(2, 0, 0)], 2);
}

#[test]
fn a_set_is_changed_by_its_master_in_its_epochs_alone() {
    let mut groups = three();
    let all = [1, 2, 3];
    let mut check = |command: &Decree, expected: i32| assert_eq!(code(&mut groups, command), expected, "{command:?}");
    check(&alter(1, (1, 2), &[1, 2], &all), 2013);
    check(&alter(2, (1, 2), &[1], &all), 2002);
    check(&alter(1, (2, 2), &[1], &all), 2000);
    check(&alter(1, (1, 1), &[1], &all), 2001);
    check(&alter(1, (1, 2), &[1, 9], &all), 2003);
    check(&alter(1, (1, 2), &[1, 3], &[1, 2]), 2006);
    check(&alter(1, (1, 2), &[2], &all), 2013);
    check(&alter(1, (1, 2), &[1, 2, 3], &all), 0);
    check(&alter(1, (1, 3), &[1], &all), 0);
}

#[test]
fn what_lives_or_is_needed_is_not_cleaned() {
    let mut groups = three();
    assert_eq!(code(&mut groups, &clean(None, false, &[1])), 2009, "its master lives");
    assert_eq!(code(&mut groups, &clean(Some(&[3]), false, &[3])), 2009, "it lives");
    assert_eq!(code(&mut groups, &clean(Some(&[1, 2]), true, &[])), 2009, "nobody in sync would be left");
    assert_eq!(code(&mut groups, &clean(Some(&[3]), false, &[1])), 0);
    assert_eq!(code(&mut groups, &clean(Some(&[1]), true, &[1])), 0);
    let group = groups.get(NAME).expect("there");
    assert_eq!((group.master(), group.epochs()), (None, (2, 3)));
    assert_eq!(code(&mut groups, &apply_id(4, "h:1;4")), 0, "numbers are not given twice");
    assert_eq!(code(&mut groups, &clean(None, false, &[])), 0);
    assert_eq!(code(&mut groups, &clean(None, false, &[])), 2009);
    assert_eq!(groups.replica_info(NAME).code.number(), 2008);
}

#[test]
fn a_group_that_comes_back_goes_on_behind_the_reigns_of_its_logs() {
    let mut groups = ReplicaGroups::default();
    assert_eq!(code(&mut groups, &apply_id(1, "h:1;1")), 0);
    assert_eq!(code(&mut groups, &elect(Some(1), false, &[candidate(1, 41, 10)])), 0);
    assert_eq!(groups.get(NAME).map(Group::epochs), Some((42, 1)));
    let mut forged = ReplicaGroups::default();
    assert_eq!(code(&mut forged, &apply_id(1, "h:1;1")), 0);
    assert_eq!(code(&mut forged, &elect(Some(1), false, &[candidate(1, i32::MAX, 10)])), 0);
    assert_eq!(forged.get(NAME).map(Group::epochs), Some((1, 1)), "nobody uses the numbers up");
}

#[test]
fn a_group_has_bounds() {
    let mut groups = three();
    for id in 4..=CONTROLLER_REPLICAS_MAX as u64 {
        assert_eq!(code(&mut groups, &apply_id(id, &format!("h:1;{id}"))), 0);
    }
    assert_eq!(code(&mut groups, &apply_id(99, "h:1;99")), 1);
}

fn some_command() -> impl Strategy<Value = Decree> {
    let id = 1_u64..5;
    let ids = proptest::collection::btree_set(1_u64..5, 0..4);
    let epochs = (0_i32..6, 0_i32..6);
    let candidates = proptest::collection::vec((1_u64..5, -1_i32..4, -1_i64..4), 0..4).prop_map(|all| {
        all.into_iter().map(|(broker_id, epoch, log_end)| candidate(broker_id, epoch, log_end)).collect::<Vec<_>>()
    });
    prop_oneof![
        (id.clone(), 0_u8..3).prop_map(|(id, code)| apply_id(id, &format!("h:1;{code}"))),
        (id.clone(), ids.clone()).prop_map(|(broker_id, living)| Decree::Register {
            broker_name: NAME.to_owned(),
            broker_id,
            address: "h:9".to_owned(),
            living,
        }),
        (id.clone(), epochs, ids.clone(), ids.clone()).prop_map(|(master_id, epochs, in_sync, living)| {
            Decree::AlterSyncSet {
                broker_name: NAME.to_owned(),
                master_id,
                master_epoch: epochs.0,
                in_sync,
                set_epoch: epochs.1,
                living,
            }
        }),
        (proptest::option::of(id), any::<bool>(), any::<bool>(), candidates).prop_map(
            |(broker_id, designate, unclean, candidates)| Decree::Elect {
                broker_name: NAME.to_owned(),
                broker_id,
                designate,
                unclean,
                candidates,
            }
        ),
        (proptest::option::of(ids.clone()), any::<bool>(), ids).prop_map(|(broker_ids, also_living, living)| {
            Decree::Clean { broker_name: NAME.to_owned(), broker_ids, also_living, living }
        }),
    ]
}

proptest! {
    #[test]
    fn any_commands_keep_what_must_hold(commands in proptest::collection::vec(some_command(), 1..60)) {
        let mut groups = ReplicaGroups::default();
        for command in &commands {
            prop_assert_eq!(&Decree::decode(&command.encode()), &Ok(command.clone()));
            code(&mut groups, command);
            let encoded = groups.encode();
            prop_assert_eq!(&ReplicaGroups::decode(&encoded), &Ok(groups.clone()));
            prop_assert!(ReplicaGroups::decode(&encoded[..encoded.len() - 1]).is_err());
        }
    }

    #[test]
    fn no_bytes_make_a_reader_fail_otherwise_than_by_saying_so(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
        let _ = (ReplicaGroups::decode(&bytes).is_ok(), Decree::decode(&bytes).is_ok());
    }
}
