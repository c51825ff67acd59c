//! Members without a network between them: one alone, three that agree, and what nobody can have said. `sim/controller.rs` does the rest.

use std::convert::Infallible;

use super::*;
use crate::sim::Random;

/// A disk that keeps all.
#[derive(Default)]
struct Kept {
    log: Vec<u8>,
    snapshot: Option<Vec<u8>>,
}

impl MemberDisk for Kept {
    type Error = Infallible;

    fn append(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.log.extend_from_slice(bytes);
        Ok(())
    }

    fn replace_log(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.log = bytes.to_vec();
        Ok(())
    }

    fn replace_snapshot(&mut self, bytes: &[u8]) -> Result<(), Infallible> {
        self.snapshot = Some(bytes.to_vec());
        Ok(())
    }
}

fn owner(member: u64) -> Owner {
    Owner { group: "g".to_owned(), member }
}

fn settings(member: u64, count: u64) -> MemberSettings {
    MemberSettings { log_entries_max: 10, ..MemberSettings::new(owner(member), (1..=count).collect(), member) }
}

fn members(count: u64) -> Vec<(ControllerMember, Kept)> {
    (1..=count)
        .map(|number| {
            let (member, log) = ControllerMember::open(settings(number, count), None, None).expect("a new one");
            (member, Kept { log, snapshot: None })
        })
        .collect()
}

fn command(id: u64) -> Decree {
    let text = |text: &str| text.to_owned();
    Decree::ApplyBrokerId {
        cluster: text("c"),
        broker_name: format!("broker-{id}"),
        broker_id: 1,
        address: text("h:1"),
        check_code: text("h:1;1"),
    }
}

/// Turns a member, and gives what it says.
fn turn((member, disk): &mut (ControllerMember, Kept)) -> Turned {
    let Ok(turned) = member.turn(disk);
    turned
}

#[test]
fn a_lone_member_leads_decides_and_comes_back_with_what_it_decided() {
    let mut alone = members(1);
    while !alone[0].0.leads() {
        alone[0].0.tick();
        turn(&mut alone[0]);
    }
    for id in 0..35 {
        let ticket = alone[0].0.propose(&command(id)).expect("it leads");
        let decided = turn(&mut alone[0]).decided;
        assert!(matches!(&decided[..], [(found, Some(_))] if *found == ticket), "{decided:?}");
    }
    let (member, disk) = &alone[0];
    assert!(disk.snapshot.is_some(), "its log was made shorter");
    let (mut again, log) =
        ControllerMember::open(settings(1, 1), Some(&disk.log), disk.snapshot.as_deref()).expect("sound");
    let mut copy = Kept { log, snapshot: disk.snapshot.clone() };
    while !again.leads() {
        again.tick();
        let Ok(_) = again.turn(&mut copy);
    }
    assert_eq!(again.groups(), member.groups());
}

#[test]
fn a_member_that_does_not_lead_proposes_nothing() {
    let mut three = members(3);
    assert_eq!(three[0].0.propose(&command(1)), None);
    assert_eq!((three[0].0.leader(), three[0].0.leads()), (None, false));
    turn(&mut three[0]);
}

#[test]
fn a_command_that_is_too_long_is_not_proposed_and_ends_nobody() {
    let mut one = members(1);
    for _ in 0..100 {
        one[0].0.tick();
        turn(&mut one[0]);
    }
    assert!(one[0].0.leads());
    let ids = (0..2_000).collect();
    let long =
        Decree::Clean { broker_name: "b".to_owned(), broker_ids: Some(ids), also_living: true, living: [].into() };
    assert_eq!(one[0].0.propose(&long), None);
    assert!(one[0].0.propose(&command(1)).is_some());
}

/// What others say is changed on its way: at worst it is dropped, or the members stop agreeing, but none of them ends.
#[test]
fn nothing_that_is_said_ends_a_member() {
    for seed in 0..200 {
        let mut random = Random::new(seed);
        let mut three = members(3);
        let mut flying: Vec<(u64, Vec<u8>)> = Vec::new();
        let (mut dropped, mut taken) = (0, 0);
        for step in 0..300 {
            for (to, bytes) in std::mem::take(&mut flying) {
                let mut message = message::decode(&bytes).expect("one of ours");
                if step > 40 && random.below(10) == 0 {
                    forge(&mut message, &mut random);
                }
                let bytes = message::encode(&message).expect("of its kind");
                let seat = &mut three[usize::try_from(to - 1).expect("few")];
                match seat.0.receive(&bytes) {
                    Ok(()) => taken += 1,
                    Err(_) => dropped += 1,
                }
                flying.extend(turn(seat).messages);
            }
            for seat in &mut three {
                seat.0.tick();
                if random.below(4) == 0 {
                    seat.0.propose(&command(step));
                }
                flying.extend(turn(seat).messages);
            }
        }
        assert!(taken > 100 && dropped > 0, "seed {seed}: {taken} taken, {dropped} dropped");
    }
}

fn forge(message: &mut Message, random: &mut Random) {
    let value = match random.below(4) {
        0 => u64::MAX,
        1 => 0,
        2 => random.below(60),
        _ => 1 << 40,
    };
    match random.below(9) {
        0 => message.term = value,
        1 => message.index = value,
        2 => message.log_term = value,
        3 => message.commit = value,
        4 => message.from = 1 + value % 3,
        5 => message.reject_hint = value,
        6 => message.reject = !message.reject,
        7 => message.commit_term = value,
        _ => {
            for entry in message.mut_entries().iter_mut() {
                (entry.index, entry.term) = (value, value);
            }
        }
    }
}
