//! The log in the made-up world: `src/sim` says what is made up.
//!
//! Proves, for the seeds that are run: what was answered on its rung is there after a crash, exactly where the answer said; nothing that was
//! never appended is found; offsets have no gap; keys and times find what they must. Cannot prove: that a real disk is no worse than the made-up one,
//! and that the shells carry out what the machines ask.
//!
//! `SIM_SEEDS=5000 cargo test --test sim` runs more seeds, `SEED=17 cargo test --test sim` one alone.

use std::panic::{AssertUnwindSafe, catch_unwind};

use ringmq::sim::{
    Counts, DelayCounts, DelayRule, DelayWorld, LogWorld, ReplicaCounts, ReplicaRule, ReplicaWorld, Rule,
};

const SEEDS: u64 = 300;
const STEPS: u64 = 1000;

fn from_env(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect("a number"))
}

/// Runs a world; if it panics, gives what was found to be wrong.
fn found_wrong(run: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// What happened under a seed, or what was found to be wrong.
fn run(seed: u64, rule: Rule, steps: u64) -> Result<Counts, String> {
    let mut world = LogWorld::new(seed, rule);
    found_wrong(|| world.run(steps)).map(|()| world.counts)
}

fn add(sum: &mut Counts, one: &Counts) {
    sum.appends += one.appends;
    sum.kills += one.kills;

    sum.power_losses += one.power_losses;
    sum.interrupted_recoveries += one.interrupted_recoveries;
    sum.torn_ends += one.torn_ends;
    sum.taken_from_ring += one.taken_from_ring;
    sum.stale_cleared += one.stale_cleared;
    sum.segments_placed += one.segments_placed;
    sum.segments_recycled += one.segments_recycled;
    sum.checkpoints += one.checkpoints;
    sum.disk_full += one.disk_full;
    sum.tail_full += one.tail_full;
    sum.failures += one.failures;
    sum.removals += one.removals;
    sum.cold_blocks += one.cold_blocks;
    sum.messages_read += one.messages_read;
    sum.keys_found += one.keys_found;
    sum.clean_stops += one.clean_stops;
    sum.checkpoints_lost += one.checkpoints_lost;
    sum.clock_steps += one.clock_steps;
    sum.checkpoints_lost_late += one.checkpoints_lost_late;
    sum.cuts += one.cuts;
    sum.foreign_segments += one.foreign_segments;
    sum.damages_refused += one.damages_refused;
    sum.damages_healed += one.damages_healed;
    sum.damages_at_the_end += one.damages_at_the_end;
    sum.rotten_messages += one.rotten_messages;
    sum.index_blocks_rebuilt += one.index_blocks_rebuilt;
}

#[test]
fn nothing_promised_is_lost_and_nothing_is_invented() {
    let seeds = match from_env("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_env("SIM_SEEDS").unwrap_or(SEEDS),
    };
    let count = seeds.end - seeds.start;
    let mut sum = Counts::default();
    for seed in seeds {
        match run(seed, Rule::Sound, STEPS) {
            Ok(counts) => add(&mut sum, &counts),
            Err(what) => panic!("seed {seed}: {what}\nagain with: SEED={seed} cargo test --test sim nothing_promised"),
        }
    }
    eprintln!("{count} seeds: {sum:#?}");
    if count >= SEEDS {
        check_that_it_was_worth_it(&sum);
    }
}

/// The checks saw real state: each kind of event happened, and not just once.
fn check_that_it_was_worth_it(sum: &Counts) {
    for (what, count) in [
        ("appends", sum.appends),
        ("kills", sum.kills),
        ("power losses", sum.power_losses),
        ("interrupted recoveries", sum.interrupted_recoveries),
        ("torn ends", sum.torn_ends),
        ("ends taken from the ring", sum.taken_from_ring),
        ("stale blocks cleared", sum.stale_cleared),
        ("segments placed", sum.segments_placed),
        ("segments recycled", sum.segments_recycled),
        ("checkpoints", sum.checkpoints),
        ("sends refused by a full disk", sum.disk_full),
        ("sends refused by a full tail", sum.tail_full),
        ("failed disks", sum.failures),
        ("removed topics", sum.removals),
        ("cold blocks", sum.cold_blocks),
        ("messages read", sum.messages_read),
        ("keys found", sum.keys_found),
        ("clean stops", sum.clean_stops),
        ("lost checkpoints", sum.checkpoints_lost),
        ("checkpoints lost after retention", sum.checkpoints_lost_late),
        ("steps of the clock", sum.clock_steps),
        ("cuts", sum.cuts),
        ("segments of other stores refused", sum.foreign_segments),
        ("damages refused", sum.damages_refused),
        ("damages healed, or behind what is read", sum.damages_healed),
        ("damages where a power loss may tear", sum.damages_at_the_end),
        ("messages found to be rotten", sum.rotten_messages),
        ("blocks of the index built again", sum.index_blocks_rebuilt),
    ] {
        assert!(count > 20, "{what}: only {count}");
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    assert_eq!(run(7, Rule::Sound, STEPS), run(7, Rule::Sound, STEPS));
}

#[test]
fn a_broken_rule_is_noticed() {
    for (rule, message) in [
        (Rule::AcknowledgeBeforeFlush, "was promised"),
        (Rule::ForgetFlushes, ""),
        (Rule::ForgeRecord, "the end of"),
        (Rule::LoseAllCopies, "where its emptied queues go on is not known"),
        (Rule::AcceptAnyClock, "retention took what is not old"),
        (Rule::MoveOnError, "a reader was moved"),
        (Rule::RotUnseen, "nobody has damaged it"),
        (Rule::BelieveAnyEnd, "was taken for the end of the log"),
        (Rule::LeaveWhatIsCut, "would come back"),
    ] {
        let noticed = (0..40).find_map(|seed| run(seed, rule, STEPS).err());
        let noticed = noticed.unwrap_or_else(|| panic!("{rule:?} was not noticed"));
        assert!(noticed.contains(message), "{rule:?} was noticed as: {noticed}");
    }
}

/// Seeds of the replicated world; each is a run of [`REPLICA_STEPS`].
const REPLICA_SEEDS: u64 = 60;
const REPLICA_STEPS: u64 = 4000;

/// What happened to a master and its slaves under a seed, or what was found to be wrong.
fn run_replicas(seed: u64, rule: ReplicaRule, steps: u64) -> Result<ReplicaCounts, String> {
    let mut world = ReplicaWorld::new(seed, rule);
    found_wrong(|| world.run(steps)).map(|()| world.counts)
}

fn add_replicas(sum: &mut ReplicaCounts, one: &ReplicaCounts) {
    sum.sent += one.sent;
    sum.acknowledged += one.acknowledged;
    sum.stored_only += one.stored_only;
    sum.master_ends += one.master_ends;
    sum.slave_ends += one.slave_ends;
    sum.cuts += one.cuts;
    sum.damages += one.damages;
    sum.truncations += one.truncations;
    sum.connects += one.connects;
    sum.bytes_compared += one.bytes_compared;
    sum.masters_lost += one.masters_lost;
    sum.stores_replaced += one.stores_replaced;
    sum.given_up += one.given_up;
    sum.promotions += one.promotions;
    sum.demotions += one.demotions;
    sum.masters_paused += one.masters_paused;
}

#[test]
fn replicas_hold_what_was_acknowledged() {
    let seeds = match from_env("SEED") {
        Some(seed) => {
            // One seed alone is being looked at: what the machines say helps.
            drop(tracing_subscriber::fmt().with_test_writer().without_time().try_init());
            seed..seed + 1
        }
        None => 0..from_env("SIM_SEEDS").unwrap_or(REPLICA_SEEDS),
    };
    let count = seeds.end - seeds.start;
    let mut sum = ReplicaCounts::default();
    for seed in seeds {
        match run_replicas(seed, ReplicaRule::Sound, REPLICA_STEPS) {
            Ok(counts) => add_replicas(&mut sum, &counts),
            Err(what) => panic!("seed {seed}: {what}\nagain with: SEED={seed} cargo test --test sim replicas_hold"),
        }
    }
    eprintln!("{count} seeds: {sum:#?}");
    if count < REPLICA_SEEDS {
        return;
    }
    for (what, count) in [
        ("acknowledged", sum.acknowledged),
        ("stored, and not replicated in time", sum.stored_only),
        ("ends of the master", sum.master_ends),
        ("ends of slaves", sum.slave_ends),
        ("cut connections", sum.cuts),
        ("damaged bytes", sum.damages),
        ("connections", sum.connects),
        ("bytes compared", sum.bytes_compared),
        ("masters lost for good", sum.masters_lost),
        ("stores wiped or replaced", sum.stores_replaced),
        ("logs given up by the operator", sum.given_up),
        ("promotions", sum.promotions),
        ("demotions", sum.demotions),
        ("masters that stood still while another took their place", sum.masters_paused),
    ] {
        assert!(count > 5, "{what}: only {count}");
    }
}

#[test]
fn replicas_of_the_same_seed_run_the_same() {
    assert_eq!(run_replicas(7, ReplicaRule::Sound, REPLICA_STEPS), run_replicas(7, ReplicaRule::Sound, REPLICA_STEPS));
}

#[test]
fn a_broken_rule_of_acknowledgement_is_noticed() {
    for rule in [ReplicaRule::WaitForNobody, ReplicaRule::InventReports] {
        // A made-up report does other harm as well: what counts is that the lost promise is seen.
        let is_promise = |what: &String| what.contains("was acknowledged") || what.contains("was promised");
        let noticed = (0..100).find_map(|seed| {
            let what = run_replicas(seed, rule, REPLICA_STEPS).err().filter(is_promise)?;
            Some((seed, what))
        });
        let (seed, what) = noticed.unwrap_or_else(|| panic!("{rule:?} was not noticed"));
        eprintln!("{rule:?} is noticed by seed {seed}: {what}");
    }
}

#[test]
fn a_broken_rule_of_promotion_is_noticed() {
    for (rule, messages) in [
        (ReplicaRule::PromoteAnyone, ["was acknowledged", "consumers have seen"]),
        (ReplicaRule::KeepEpoch, ["differs from its master", "do not catch up"]),
    ] {
        let noticed = (0..100).find_map(|seed| {
            let what = run_replicas(seed, rule, REPLICA_STEPS).err()?;
            Some((seed, what))
        });
        let (seed, what) = noticed.unwrap_or_else(|| panic!("{rule:?} was not noticed"));
        assert!(messages.iter().any(|message| what.contains(message)), "{rule:?} is noticed by seed {seed} as: {what}");
    }
}

/// A wiped master's log is taken for the slave's; a slave cuts off what its master, restored from a copy, has lost. The second takes a life
/// for the copy, one with acknowledged messages, and one for what comes of it.
#[test]
fn a_broken_rule_of_whose_bytes_these_are_is_noticed() {
    for rule in [ReplicaRule::ForgetIdentity, ReplicaRule::CutUnasked] {
        // Slaves that never follow again are a consequence as well: what counts is that the loss is seen.
        let is_loss = |what: &String| what.contains("was acknowledged") || what.contains("differs from its master");
        let noticed = (0..200).find_map(|seed| {
            let what = run_replicas(seed, rule, 5 * REPLICA_STEPS).err().filter(is_loss)?;
            Some((seed, what))
        });
        let (seed, what) = noticed.unwrap_or_else(|| panic!("{rule:?} was not noticed"));
        eprintln!("{rule:?} is noticed by seed {seed}: {what}");
    }
}

/// Seeds of the world of delayed messages; each is a run of [`DELAY_STEPS`].
const DELAY_SEEDS: u64 = 100;
const DELAY_STEPS: u64 = 3000;

/// What happened to delayed messages under a seed, or what was found to be wrong.
fn run_delays(seed: u64, rule: DelayRule) -> Result<DelayCounts, String> {
    let mut world = DelayWorld::new(seed, rule);
    found_wrong(|| world.run(DELAY_STEPS)).map(|()| world.counts)
}

#[test]
fn delayed_messages_come_in_their_time_whatever_ends_in_between() {
    let seeds = match from_env("SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..from_env("SIM_SEEDS").unwrap_or(DELAY_SEEDS),
    };
    let count = seeds.end - seeds.start;
    let mut sum = DelayCounts::default();
    for seed in seeds {
        match run_delays(seed, DelayRule::Sound) {
            Ok(one) => {
                sum.sent += one.sent;
                sum.acknowledged += one.acknowledged;
                sum.ends += one.ends;
                sum.power_losses += one.power_losses;
                sum.delivered += one.delivered;
                sum.doubled += one.doubled;
                sum.distrusted += one.distrusted;
            }
            Err(what) => panic!("seed {seed}: {what}\nagain with: SEED={seed} cargo test --test sim delayed_messages"),
        }
    }
    eprintln!("{count} seeds: {sum:#?}");
    if count >= DELAY_SEEDS {
        for (what, count, at_least) in [
            ("acknowledged sends", sum.acknowledged, 10_000),
            ("ends", sum.ends, 500),
            ("power losses", sum.power_losses, 100),
            ("delivered messages", sum.delivered, 10_000),
            ("messages delivered twice", sum.doubled, 20),
            ("files ahead of the log", sum.distrusted, 5),
        ] {
            assert!(count >= at_least, "{what}: only {count}");
        }
        assert!(sum.doubled * 3 < sum.delivered, "{} of {} twice: more than was in flight", sum.doubled, sum.delivered);
    }
}

#[test]
fn a_file_of_positions_that_is_believed_too_much_is_noticed() {
    let noticed = (0..DELAY_SEEDS).find_map(|seed| run_delays(seed, DelayRule::BelieveTheFile).err());
    let noticed = noticed.expect("positions ahead of the log leave messages out");
    assert!(noticed.contains("was never delivered"), "noticed as: {noticed}");
    let lost: Vec<DelayCounts> =
        (0..10).map(|seed| run_delays(seed, DelayRule::LoseTheFile).expect("nothing is left out")).collect();
    let doubled = |of: &[DelayCounts]| of.iter().map(|one| one.doubled).sum::<u64>();
    let kept: Vec<DelayCounts> =
        (0..10).map(|seed| run_delays(seed, DelayRule::Sound).expect("nothing is left out")).collect();
    assert!(
        doubled(&lost) > 4 * doubled(&kept),
        "without a file much comes twice: {} and {}",
        doubled(&lost),
        doubled(&kept)
    );
}
