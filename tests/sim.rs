//! The log in the made-up world: `src/sim` says what is made up.
//!
//! Proves, for the seeds that are run: what was answered on its rung is there after a crash, exactly where the answer said; nothing that was
//! never appended is found; offsets have no gap; keys and times find what they must. Cannot prove: that a real disk is no worse than the made-up one,
//! and that the shells carry out what the machines ask.
//!
//! All cores run seeds. `SIM_SEEDS=5000 cargo test --test sim` runs more of them, `SIM_SEEDS=5000..9000` those, `SEED=17 cargo test --test sim` one
//! alone.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use ringmq::sim::{
    ConsumeCounts, ConsumeRule, ConsumeWorld, ControllerCounts, ControllerRule, ControllerWorld, Counts, DelayCounts,
    DelayRule, DelayWorld, LogWorld, PopCounts, PopRule, PopWorld, ReplicaCounts, ReplicaRule, ReplicaWorld, Rule,
    TimerCounts, TimerRule, TimerWorld, TransactionCounts, TransactionRule, TransactionWorld,
};

/// Seeds of each world.
const SEEDS: u64 = 2000;
const STEPS: u64 = 1000;

/// Steps of a seed in a world that is another with one thing more. A twentieth of them live as long as in that one; the others, an eighth of it, end
/// as often and meet what happens early.
fn steps_of(seed: u64, whole: u64) -> u64 {
    if seed.is_multiple_of(20) { whole } else { whole / 8 }
}

/// The seeds that the environment names, else the usual ones.
fn seeds() -> Range<u64> {
    let number = |text: &str| text.parse::<u64>().expect("a number");
    if let Ok(seed) = std::env::var("SEED") {
        // One seed alone is being looked at: what the machines say helps.
        drop(tracing_subscriber::fmt().with_test_writer().without_time().try_init());
        return number(&seed)..number(&seed) + 1;
    }
    let Ok(text) = std::env::var("SIM_SEEDS") else { return 0..SEEDS };
    match text.split_once("..") {
        Some((from, to)) => number(from)..number(to),
        None => 0..number(&text),
    }
}

/// Runs each seed, on all cores. What became of each, in their order; with `to_first` of those up to the lowest that fails.
fn outcomes<T: Send>(
    seeds: Range<u64>,
    to_first: bool,
    run: impl Fn(u64) -> Result<T, String> + Sync,
) -> Vec<(u64, Result<T, String>)> {
    let (next, end) = (AtomicU64::new(seeds.start), AtomicU64::new(seeds.end));
    let done = Mutex::new(Vec::new());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end.load(Ordering::Relaxed) {
                return;
            }
            let outcome = run(seed);
            if to_first && outcome.is_err() {
                end.fetch_min(seed + 1, Ordering::Relaxed);
            }
            done.lock().expect("no run panics").push((seed, outcome));
        }
    };
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().expect("no run panics");
    done.sort_by_key(|(seed, _)| *seed);
    done.retain(|(seed, _)| *seed < end.load(Ordering::Relaxed));
    done
}

/// What happened under all seeds, if nothing was found to be wrong under any.
fn all_sound<T: Send>(test: &str, seeds: Range<u64>, run: impl Fn(u64) -> Result<T, String> + Sync) -> Vec<T> {
    let (mut sound, mut wrong) = (Vec::new(), Vec::new());
    for (seed, outcome) in outcomes(seeds, false, run) {
        match outcome {
            Ok(counts) => sound.push(counts),
            Err(what) => {
                wrong.push(format!("seed {seed}: {what}\nagain with: SEED={seed} cargo test --test sim {test}"))
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {} seeds:\n{}", wrong.len(), wrong.len() + sound.len(), wrong.join("\n"));
    sound
}

/// The lowest seed under which something was found to be wrong, and what.
fn first_wrong<T: Send>(seeds: u64, run: impl Fn(u64) -> Result<T, String> + Sync) -> Option<(u64, String)> {
    let (seed, outcome) = outcomes(0..seeds, true, run).pop()?;
    outcome.err().map(|what| (seed, what))
}

/// Runs a world; if it panics, gives what was found to be wrong.
fn found_wrong(run: impl FnOnce()) -> Result<(), String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default()
    })
}

/// What happened to a log, or what was found to be wrong.
fn run_log_world(mut world: LogWorld, steps: u64) -> Result<Counts, String> {
    found_wrong(|| world.run(steps)).map(|()| world.counts)
}

fn run(seed: u64, rule: Rule, steps: u64) -> Result<Counts, String> {
    run_log_world(LogWorld::new(seed, rule), steps)
}

fn add(sum: &mut Counts, one: &Counts) {
    sum.appends += one.appends;
    sum.batches += one.batches;
    sum.batches_entered += one.batches_entered;
    sum.light += one.light;
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
    sum.branches_harmed += one.branches_harmed;
    sum.scrubbed_harms += one.scrubbed_harms;
    sum.scrubbed_index_blocks += one.scrubbed_index_blocks;
    sum.clock_changes += one.clock_changes;
    sum.settings_changed += one.settings_changed;
    sum.segments_retired += one.segments_retired;
    sum.late_reads += one.late_reads;
    sum.late_reads_of_recycled += one.late_reads_of_recycled;
    sum.progress_seen += one.progress_seen;
    sum.unreadable_blocks += one.unreadable_blocks;
}

#[test]
fn nothing_promised_is_lost_and_nothing_is_invented() {
    let all = all_sound("nothing_promised", seeds(), |seed| run(seed, Rule::Sound, STEPS));
    let mut sum = Counts::default();
    all.iter().for_each(|counts| add(&mut sum, counts));
    eprintln!("{} seeds: {sum:#?}", all.len());
    if all.len() as u64 >= SEEDS {
        check_that_it_was_worth_it(&sum);
    }
}

fn run_batches(seed: u64, rule: Rule, steps: u64) -> Result<Counts, String> {
    run_log_world(LogWorld::with_batches(seed, rule), steps)
}

/// The same where some records hold several messages: they keep their offsets, and are read whole, from wherever a reader begins.
#[test]
fn a_record_of_several_messages_is_read_whole_or_not_at_all() {
    let all = all_sound("a_record_of_several", seeds(), |seed| run_batches(seed, Rule::Sound, steps_of(seed, STEPS)));
    let mut sum = Counts::default();
    all.iter().for_each(|counts| add(&mut sum, counts));
    eprintln!("{} seeds: {sum:#?}", all.len());
    if all.len() as u64 >= SEEDS {
        check_often(&[
            ("records of several messages", sum.batches, 5_000),
            ("reads that begin within one", sum.batches_entered, 500),
            ("kills", sum.kills, 100),
            ("power losses", sum.power_losses, 100),
            ("messages found to be rotten", sum.rotten_messages, 20),
            ("blocks of the index built again", sum.index_blocks_rebuilt, 20),
        ]);
    }
    let (seed, noticed) = first_wrong(20, |seed| run_batches(seed, Rule::HideBatches, STEPS)).expect("it is noticed");
    let is_expected = ["the next offset", "the end of"].iter().any(|message| noticed.contains(message));
    assert!(is_expected, "seed {seed}: {noticed}");
}

fn run_light(seed: u64, rule: Rule, steps: u64) -> Result<Counts, String> {
    run_log_world(LogWorld::with_light(seed, rule), steps)
}

/// The same where some are in light queues as well as in their own: each of their queues has them, whatever is lost, cut, retained or built again, and a
/// light queue goes with its own removal alone.
#[test]
fn a_record_is_in_each_of_its_queues() {
    let all = all_sound("a_record_is_in_each", seeds(), |seed| run_light(seed, Rule::Sound, steps_of(seed, STEPS)));
    let mut sum = Counts::default();
    all.iter().for_each(|counts| add(&mut sum, counts));
    eprintln!("{} seeds: {sum:#?}", all.len());
    if all.len() as u64 >= SEEDS {
        check_often(&[
            ("entries of light queues", sum.light, 5_000),
            ("kills", sum.kills, 50),
            ("power losses", sum.power_losses, 50),
            ("removals", sum.removals, 50),
            ("cuts", sum.cuts, 5),
            ("segments retired", sum.segments_retired, 20),
            ("messages found to be rotten", sum.rotten_messages, 5),
            ("blocks of the index built again", sum.index_blocks_rebuilt, 10),
        ]);
    }
    let (seed, noticed) = first_wrong(20, |seed| run_light(seed, Rule::HideLight, STEPS)).expect("it is noticed");
    let is_expected = ["the end of", "is not known any more", "it has a message"].iter().any(|it| noticed.contains(it));
    assert!(is_expected, "seed {seed}: {noticed}");
}

/// Recalls whose time was over counted as done with once they were safe, and not before: a clock that was set back in between went unnoticed, and with the
/// end of the log a timer message was lost.
#[test]
fn what_is_sent_after_recalls_and_a_step_back_of_the_clock_is_delivered() {
    run_timers(52_739, TimerRule::Sound).expect("all are delivered");
}

/// A segment that was closed before the first tick of a life went by the stamps of its records, which a wrong clock had made: when the clock was set
/// right they looked three days old, and retention took what was stored seconds ago.
#[test]
fn what_is_stored_before_the_first_tick_under_a_wrong_clock_is_not_old() {
    run(12_263, Rule::Sound, STEPS).expect("nothing is lost");
}

/// Each of these happened at least so often.
fn check_often(events: &[(&str, u64, u64)]) {
    for (what, count, at_least) in events {
        assert!(count >= at_least, "{what}: only {count}");
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
        ("branches of the index harmed", sum.branches_harmed),
        ("harms that the scrub has found", sum.scrubbed_harms),
        ("blocks of the index that the scrub had built again", sum.scrubbed_index_blocks),
        ("changes of the clock that stay", sum.clock_changes),
        ("lives with other settings", sum.settings_changed),
        ("segments that retention took", sum.segments_retired),
        ("reads that took their time", sum.late_reads),
        ("reads that a recycled file overtook", sum.late_reads_of_recycled),
        ("logs that went on when nothing was wrong", sum.progress_seen),
        ("blocks that could not be read", sum.unreadable_blocks),
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
    for (rule, messages) in [
        (Rule::AcknowledgeBeforeFlush, &["was promised"][..]),
        (Rule::ForgetFlushes, &[""][..]),
        (Rule::ForgeRecord, &["the end of", "would come back"][..]),
        (Rule::LoseAllCopies, &["where its emptied queues go on is not known"][..]),
        (Rule::AcceptAnyClock, &["retention took what is not old"][..]),
        (Rule::MoveOnError, &["a reader was moved"][..]),
        (Rule::RotUnseen, &["nobody has damaged it", "is not there"][..]),
        (Rule::BelieveAnyEnd, &["was taken for the end of the log"][..]),
        (Rule::LeaveWhatIsCut, &["would come back"][..]),
        (Rule::ForgetReach, &[""][..]),
        (Rule::ConfuseReach, &[""][..]),
        (Rule::GarbleWhatStays, &[""][..]),
        (Rule::ReadZeros, &["was taken for the end of the log"][..]),
        (Rule::ForgetNames, &[""][..]),
        (Rule::TrustNames, &[""][..]),
        (Rule::KeepForLess, &["retention took what is not old"][..]),
        (Rule::ForgetRenames, &["the log does not"][..]),
        (Rule::ScrubWhatWas, &["the scrub has not found"][..]),
        (Rule::ForgeBranches, &[""][..]),
    ] {
        let noticed = first_wrong(400, |seed| run(seed, rule, STEPS));
        let (seed, noticed) = noticed.unwrap_or_else(|| panic!("{rule:?} was not noticed"));
        eprintln!("{rule:?} is noticed by seed {seed}: {noticed}");
        let is_expected = messages.iter().any(|message| noticed.contains(message));
        assert!(is_expected, "{rule:?} was noticed by seed {seed} as: {noticed}");
    }
}

const REPLICA_STEPS: u64 = 4000;

/// What happened to a master and its slaves, or what was found to be wrong.
fn run_replica_world(mut world: ReplicaWorld, steps: u64) -> Result<ReplicaCounts, String> {
    found_wrong(|| world.run(steps)).map(|()| world.counts)
}

fn run_mishaps(seed: u64, rule: ReplicaRule, steps: u64) -> Result<ReplicaCounts, String> {
    run_replica_world(ReplicaWorld::with_mishaps(seed, rule), steps)
}

fn run_replicas(seed: u64, rule: ReplicaRule, steps: u64) -> Result<ReplicaCounts, String> {
    run_replica_world(ReplicaWorld::new(seed, rule), steps)
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
    sum.disks_failed += one.disks_failed;
    sum.stores_swapped += one.stores_swapped;
    sum.delayed += one.delayed;
}

#[test]
fn replicas_hold_what_was_acknowledged() {
    let all = all_sound("replicas_hold", seeds(), |seed| run_replicas(seed, ReplicaRule::Sound, REPLICA_STEPS));
    let mut sum = ReplicaCounts::default();
    all.iter().for_each(|counts| add_replicas(&mut sum, counts));
    eprintln!("{} seeds: {sum:#?}", all.len());
    if (all.len() as u64) < SEEDS {
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
        ("nodes whose disk has failed", sum.disks_failed),
        ("stores that were swapped", sum.stores_swapped),
        ("delayed messages", sum.delayed),
    ] {
        assert!(count > 5, "{what}: only {count}");
    }
}

/// The world of `replicas_hold_what_was_acknowledged` with one thing more.
#[test]
fn what_was_acknowledged_outlives_mishaps_with_the_stores_of_slaves() {
    let run = |seed| run_mishaps(seed, ReplicaRule::Sound, steps_of(seed, REPLICA_STEPS));
    let all = all_sound("outlives_mishaps", seeds(), run);
    let (replaced, acknowledged) = all.iter().fold((0, 0), |(replaced, acknowledged), counts| {
        (replaced + counts.stores_replaced, acknowledged + counts.acknowledged)
    });
    eprintln!("{} seeds: {replaced} stores were wiped or replaced, {acknowledged} messages acknowledged", all.len());
    let is_few = (all.len() as u64) < SEEDS;
    assert!(is_few || (replaced > 50 && acknowledged > 1_000), "{replaced}, {acknowledged}");
}

/// The same world once more, with disks that rot.
#[test]
fn what_rots_on_one_replica_stays_there() {
    let run = |seed, rule, steps| run_replica_world(ReplicaWorld::with_rot(seed, rule), steps);
    let all = all_sound("stays_there", seeds(), |seed| run(seed, ReplicaRule::Sound, steps_of(seed, REPLICA_STEPS)));
    let (rots, seen) = all.iter().fold((0, 0), |(rots, seen), counts| (rots + counts.rots, seen + counts.rots_seen));
    eprintln!("{} seeds: something rotted {rots} times, which was seen {seen} times", all.len());
    let is_few = (all.len() as u64) < SEEDS;
    assert!(is_few || (rots > 500 && seen > 10), "{rots}, {seen}");
    let (seed, what) =
        first_wrong(100, |seed| run(seed, ReplicaRule::RotForEver, REPLICA_STEPS)).expect("it is noticed");
    eprintln!("RotForEver is noticed by seed {seed}: {what}");
}

/// The same where nobody mends what rots but the nodes themselves, each from another replica, while all goes on.
#[test]
fn what_rots_on_one_replica_is_mended_from_another() {
    let run = |seed, rule, steps| run_replica_world(ReplicaWorld::with_mending(seed, rule), steps);
    let all = all_sound("is_mended", seeds(), |seed| run(seed, ReplicaRule::Sound, steps_of(seed, 2 * REPLICA_STEPS)));
    let sum = |count: fn(&ReplicaCounts) -> u64| all.iter().map(count).sum::<u64>();
    let (rots, mended) = (sum(|counts| counts.rots), sum(|counts| counts.rots_mended));
    eprintln!("{} seeds: something rotted {rots} times, and was mended {mended} times", all.len());
    let is_few = (all.len() as u64) < SEEDS;
    assert!(is_few || (rots > 50 && mended > 20), "{rots}, {mended}");
    let (blocks, rewritten) = (sum(|counts| counts.blocks_unreadable), sum(|counts| counts.blocks_rewritten));
    eprintln!("{blocks} times it was a block that could not be read, and {rewritten} were written anew");
    assert!(is_few || (blocks > 20 && rewritten > 10), "{blocks}, {rewritten}");
    for rule in [ReplicaRule::MendWithAnything, ReplicaRule::HideBadBlocks] {
        let (seed, what) = first_wrong(100, |seed| run(seed, rule, 2 * REPLICA_STEPS)).expect("it is noticed");
        eprintln!("{rule:?} is noticed by seed {seed}: {what}");
    }
}

/// The same world once more, whose messages ask for times.
#[test]
fn a_promoted_slave_delivers_the_timer_messages_of_its_master() {
    let run = |seed, rule, steps| run_replica_world(ReplicaWorld::with_timers(seed, rule), steps);
    let sound = |seed| run(seed, ReplicaRule::Sound, steps_of(seed, REPLICA_STEPS));
    let all = all_sound("timer_messages_of_its_master", seeds(), sound);
    let sum = |count: fn(&ReplicaCounts) -> u64| all.iter().map(count).sum::<u64>();
    let (timers, taken, promotions) = (sum(|it| it.timers), sum(|it| it.timers_taken_over), sum(|it| it.promotions));
    eprintln!("{} seeds: {timers} timer messages, {taken} of former masters, {promotions} promotions", all.len());
    let is_few = (all.len() as u64) < SEEDS;
    assert!(is_few || (timers > 5_000 && taken > 50 && promotions > 20), "{timers}, {taken}, {promotions}");
    let (seed, what) =
        first_wrong(40, |seed| run(seed, ReplicaRule::ForgetTimers, REPLICA_STEPS)).expect("it is noticed");
    assert!(what.contains("never delivered"), "seed {seed}: {what}");
}

/// The same world once more, whose messages are of transactions.
#[test]
fn a_promoted_slave_ends_the_transactions_of_its_master() {
    let run = |seed, rule, steps| run_replica_world(ReplicaWorld::with_transactions(seed, rule), steps);
    let sound = |seed| run(seed, ReplicaRule::Sound, steps_of(seed, REPLICA_STEPS));
    let all = all_sound("transactions_of_its_master", seeds(), sound);
    let sum = |count: fn(&ReplicaCounts) -> u64| all.iter().map(count).sum::<u64>();
    let (ended, taken) = (sum(|it| it.transactions), sum(|it| it.transactions_taken_over));
    let (asked, promotions) = (sum(|it| it.transactions_asked), sum(|it| it.promotions));
    eprintln!(
        "{} seeds: {ended} commits, {taken} of former masters, {asked} asked about, {promotions} promotions",
        all.len()
    );
    let is_few = (all.len() as u64) < SEEDS;
    let is_enough = ended > 5_000 && taken > 50 && asked > 5_000 && promotions > 20;
    assert!(is_few || is_enough, "{ended}, {taken}, {asked}, {promotions}");
    let (seed, what) =
        first_wrong(40, |seed| run(seed, ReplicaRule::ForgetHalves, REPLICA_STEPS)).expect("it is noticed");
    assert!(what.contains("never delivered"), "seed {seed}: {what}");
}

/// The same world once more, whose messages are in light queues as well.
#[test]
fn light_queues_are_the_same_on_every_replica() {
    let all_seeds = seeds();
    let seeds = all_seeds.start..all_seeds.end.min(all_seeds.start + SEEDS / 20);
    let run = |seed, rule| run_replica_world(ReplicaWorld::with_light(seed, rule), REPLICA_STEPS);
    let all = all_sound("light_queues", seeds, |seed| run(seed, ReplicaRule::Sound));
    let found: u64 = all.iter().map(|counts| counts.light).sum();
    eprintln!("{} seeds: {found} messages were found in light queues", all.len());
    let is_few = (all.len() as u64) < SEEDS / 20;
    assert!(is_few || found > 1_000, "{found}");
    let (seed, what) = first_wrong(20, |seed| run(seed, ReplicaRule::ForgetLight)).expect("it is noticed");
    assert!(what.contains("were acknowledged, and are not in"), "seed {seed}: {what}");
}

#[test]
fn a_mishap_with_all_stores_is_noticed() {
    let noticed = first_wrong(100, |seed| run_mishaps(seed, ReplicaRule::WipeEverything, REPLICA_STEPS));
    let (seed, what) = noticed.expect("it is noticed");
    eprintln!("WipeEverything is noticed by seed {seed}: {what}");
    assert!(what.contains("acknowledged"), "by seed {seed} as: {what}");
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
        let noticed = first_wrong(100, |seed| match run_replicas(seed, rule, REPLICA_STEPS) {
            Err(what) if is_promise(&what) => Err(what),
            _ => Ok(()),
        });
        let (seed, what) = noticed.unwrap_or_else(|| panic!("{rule:?} was not noticed"));
        eprintln!("{rule:?} is noticed by seed {seed}: {what}");
    }
}

#[test]
fn a_broken_rule_of_a_role_or_a_disk_is_noticed() {
    for (rule, messages) in [
        (ReplicaRule::PromoteAnyone, ["was acknowledged", "consumers have seen"]),
        (ReplicaRule::KeepEpoch, ["differs from its master", "do not catch up"]),
        (ReplicaRule::ForgetDelayed, ["were never delivered", "was never delivered"]),
        (ReplicaRule::HideFailures, ["differs from its master", "do not catch up"]),
        (ReplicaRule::WakeNobody, ["do not catch up", "do not catch up"]),
    ] {
        let noticed = first_wrong(100, |seed| run_replicas(seed, rule, REPLICA_STEPS));
        let (seed, what) = noticed.unwrap_or_else(|| panic!("{rule:?} was not noticed"));
        eprintln!("{rule:?} is noticed by seed {seed}: {what}");
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
        let noticed = first_wrong(200, |seed| match run_replicas(seed, rule, 5 * REPLICA_STEPS) {
            Err(what) if is_loss(&what) => Err(what),
            _ => Ok(()),
        });
        let (seed, what) = noticed.unwrap_or_else(|| panic!("{rule:?} was not noticed"));
        eprintln!("{rule:?} is noticed by seed {seed}: {what}");
    }
}

const DELAY_STEPS: u64 = 3000;

/// What happened to delayed messages under a seed, or what was found to be wrong.
fn run_delays(seed: u64, rule: DelayRule) -> Result<DelayCounts, String> {
    let mut world = DelayWorld::new(seed, rule);
    found_wrong(|| world.run(DELAY_STEPS)).map(|()| world.counts)
}

#[test]
fn delayed_messages_come_in_their_time_whatever_ends_in_between() {
    let all = all_sound("delayed_messages", seeds(), |seed| run_delays(seed, DelayRule::Sound));
    let mut sum = DelayCounts::default();
    for one in &all {
        sum.sent += one.sent;
        sum.acknowledged += one.acknowledged;
        sum.ends += one.ends;
        sum.power_losses += one.power_losses;
        sum.delivered += one.delivered;
        sum.doubled += one.doubled;
        sum.distrusted += one.distrusted;
    }
    eprintln!("{} seeds: {sum:#?}", all.len());
    if all.len() as u64 >= SEEDS {
        check_often(&[
            ("acknowledged sends", sum.acknowledged, 10_000),
            ("ends", sum.ends, 500),
            ("power losses", sum.power_losses, 100),
            ("delivered messages", sum.delivered, 10_000),
            ("messages delivered twice", sum.doubled, 20),
            ("files ahead of the log", sum.distrusted, 5),
        ]);
        assert!(sum.doubled * 3 < sum.delivered, "{} of {} twice: more than was in flight", sum.doubled, sum.delivered);
    }
}

#[test]
fn a_file_of_positions_that_is_believed_too_much_is_noticed() {
    let noticed = first_wrong(100, |seed| run_delays(seed, DelayRule::BelieveTheFile));
    let (seed, noticed) = noticed.expect("positions ahead of the log leave messages out");
    eprintln!("{:?} is noticed by seed {seed}: {noticed}", DelayRule::BelieveTheFile);
    assert!(noticed.contains("was never delivered"), "noticed as: {noticed}");
    let lost: Vec<DelayCounts> =
        (0..30).map(|seed| run_delays(seed, DelayRule::LoseTheFile).expect("nothing is left out")).collect();
    let doubled = |of: &[DelayCounts]| of.iter().map(|one| one.doubled).sum::<u64>();
    let kept: Vec<DelayCounts> =
        (0..30).map(|seed| run_delays(seed, DelayRule::Sound).expect("nothing is left out")).collect();
    assert!(
        doubled(&lost) > 3 * doubled(&kept),
        "without a file much comes twice: {} and {}",
        doubled(&lost),
        doubled(&kept)
    );
}

const CONSUME_STEPS: u64 = 3000;

/// What a group had to go through under a seed, or what was found to be wrong.
fn run_group(seed: u64, rule: ConsumeRule) -> Result<ConsumeCounts, String> {
    let mut world = ConsumeWorld::new(seed, rule);
    found_wrong(|| world.run(CONSUME_STEPS)).map(|()| world.counts)
}

#[test]
fn a_group_is_given_each_message_whatever_ends_in_between() {
    let all = all_sound("a_group_is_given", seeds(), |seed| run_group(seed, ConsumeRule::Sound));
    let mut sum = ConsumeCounts::default();
    for one in &all {
        sum.sent += one.sent;
        sum.acknowledged += one.acknowledged;
        sum.ends += one.ends;
        sum.power_losses += one.power_losses;
        sum.consumer_ends += one.consumer_ends;
        sum.received += one.received;
        sum.doubled += one.doubled;
        sum.commits += one.commits;
        sum.resumed += one.resumed;
        sum.lowered += one.lowered;
        sum.disks_failed += one.disks_failed;
        sum.topics_changed += one.topics_changed;
        sum.topics_looked_at += one.topics_looked_at;
    }
    eprintln!("{} seeds: {sum:#?}", all.len());
    if all.len() as u64 >= SEEDS {
        for (what, count) in [
            ("acknowledged sends", sum.acknowledged),
            ("ends", sum.ends),
            ("power losses", sum.power_losses),
            ("ends of the consumer", sum.consumer_ends),
            ("messages given", sum.received),
            ("messages given twice", sum.doubled),
            ("commits", sum.commits),
            ("positions that were asked for", sum.resumed),
            ("offsets beyond the log's end", sum.lowered),
            ("disks that have failed", sum.disks_failed),
            ("changes of topics", sum.topics_changed),
            ("topics looked at after a start", sum.topics_looked_at),
        ] {
            assert!(count > 100, "{what}: only {count}");
        }
    }
}

#[test]
fn a_group_that_is_moved_is_noticed() {
    for (rule, message) in [
        (ConsumeRule::AheadFile, "and has committed"),
        (ConsumeRule::LoseFile, "and the file had"),
        (ConsumeRule::CommitUnread, "was never given"),
        (ConsumeRule::OldTopics, "is not as it was left"),
    ] {
        let noticed = first_wrong(100, |seed| run_group(seed, rule));
        let (seed, noticed) = noticed.unwrap_or_else(|| panic!("{rule:?} was not noticed"));
        eprintln!("{rule:?} is noticed by seed {seed}: {noticed}");
        assert!(noticed.contains(message), "{rule:?} was noticed by seed {seed} as: {noticed}");
    }
}

const TRANSACTION_STEPS: u64 = 1200;

/// What happened to transactions under a seed, or what was found to be wrong.
fn run_transactions(seed: u64, rule: TransactionRule) -> Result<TransactionCounts, String> {
    let mut world = TransactionWorld::new(seed, rule);
    found_wrong(|| world.run(TRANSACTION_STEPS)).map(|()| world.counts)
}

#[test]
fn transactions_end_as_their_producers_say_whatever_ends_in_between() {
    let all = all_sound("transactions_end", seeds(), |seed| run_transactions(seed, TransactionRule::Sound));
    let mut sum = TransactionCounts::default();
    for one in &all {
        sum.halves += one.halves;
        sum.ended += one.ended;
        sum.asked += one.asked;
        sum.ends += one.ends;
        sum.power_losses += one.power_losses;
        sum.seen += one.seen;
        sum.doubled += one.doubled;
    }
    eprintln!("{} seeds: {sum:#?}", all.len());
    if all.len() as u64 >= SEEDS {
        check_often(&[
            ("half messages", sum.halves, 10_000),
            ("ends of transactions", sum.ended, 10_000),
            ("questions", sum.asked, 10_000),
            ("ends of the node", sum.ends, 500),
            ("power losses", sum.power_losses, 100),
            ("messages seen", sum.seen, 10_000),
        ]);
        assert!(sum.doubled < sum.seen, "{} of {} twice: more than was said twice", sum.doubled, sum.seen);
    }
}

#[test]
fn a_checker_that_forgets_is_noticed() {
    let noticed = first_wrong(100, |seed| run_transactions(seed, TransactionRule::ForgetHalves));
    let (seed, noticed) = noticed.expect("half messages that are passed over are lost");
    eprintln!("{:?} is noticed by seed {seed}: {noticed}", TransactionRule::ForgetHalves);
    assert!(noticed.contains("and lost"), "noticed as: {noticed}");
    let asked =
        |rule| -> u64 { (0..10).map(|seed| run_transactions(seed, rule).expect("nothing is lost").asked_again).sum() };
    let (forgotten, kept) = (asked(TransactionRule::ForgetNotes), asked(TransactionRule::Sound));
    assert!(forgotten > kept, "without notes producers are asked about what has ended: {forgotten} and {kept}");
}

#[test]
fn a_producer_that_says_both_is_noticed() {
    let noticed = first_wrong(100, |seed| run_transactions(seed, TransactionRule::SayBoth));
    let (seed, noticed) = noticed.expect("what is rolled back when it is asked about is not seen");
    eprintln!("{:?} is noticed by seed {seed}: {noticed}", TransactionRule::SayBoth);
    assert!(noticed.contains("and lost"), "noticed as: {noticed}");
}

const TIMER_STEPS: u64 = 400;

/// What happened to timer messages under a seed, or what was found to be wrong.
fn run_timers(seed: u64, rule: TimerRule) -> Result<TimerCounts, String> {
    let mut world = TimerWorld::new(seed, rule);
    found_wrong(|| world.run(TIMER_STEPS)).map(|()| world.counts)
}

#[test]
fn timer_messages_come_in_their_time_whatever_ends_in_between() {
    let all = all_sound("timer_messages", seeds(), |seed| run_timers(seed, TimerRule::Sound));
    let mut sum = TimerCounts::default();
    for one in &all {
        sum.sent += one.sent;
        sum.acknowledged += one.acknowledged;
        sum.recalls += one.recalls;
        sum.recalled += one.recalled;
        sum.ends += one.ends;
        sum.power_losses += one.power_losses;
        sum.clock_steps += one.clock_steps;
        sum.delivered += one.delivered;
        sum.doubled += one.doubled;
        sum.distrusted += one.distrusted;
        sum.segments_retired += one.segments_retired;
    }
    eprintln!("{} seeds: {sum:#?}", all.len());
    if all.len() as u64 >= SEEDS {
        check_often(&[
            ("acknowledged sends", sum.acknowledged, 10_000),
            ("segments that went", sum.segments_retired, 100),
            ("acknowledged recalls", sum.recalled, 1_000),
            ("ends", sum.ends, 300),
            ("power losses", sum.power_losses, 60),
            ("steps of the clock", sum.clock_steps, 200),
            ("delivered messages", sum.delivered, 10_000),
            ("messages delivered twice", sum.doubled, 20),
            ("files ahead of the log", sum.distrusted, 3),
        ]);
        assert!(sum.doubled * 3 < sum.delivered, "{} of {} twice: more than was in flight", sum.doubled, sum.delivered);
    }
}

#[test]
fn places_of_timers_that_say_too_much_and_recalls_that_nobody_made_are_noticed() {
    for (rule, what) in [
        (TimerRule::BelieveTheFile, "were never delivered"),
        (TimerRule::ForgetTheEnd, "were never delivered"),
        (TimerRule::ForgetRecalls, "were never delivered"),
        (TimerRule::TakeHeld, "were never delivered"),
    ] {
        let noticed = first_wrong(200, |seed| run_timers(seed, rule));
        let (seed, noticed) = noticed.unwrap_or_else(|| panic!("{rule:?} was not noticed"));
        eprintln!("{rule:?} is noticed by seed {seed}: {noticed}");
        assert!(noticed.contains(what), "noticed as: {noticed}");
    }
    let doubled =
        |rule| -> u64 { (0..10).map(|seed| run_timers(seed, rule).expect("nothing is left out").doubled).sum() };
    let (lost, kept) = (doubled(TimerRule::LoseTheFile), doubled(TimerRule::Sound));
    assert!(lost > 4 * kept, "without a file much comes twice: {lost} and {kept}");
}

const POP_STEPS: u64 = 500;

/// What happened to popped messages under a seed, or what was found to be wrong.
fn run_pops(seed: u64, rule: PopRule) -> Result<PopCounts, String> {
    let mut world = PopWorld::new(seed, rule);
    found_wrong(|| world.run(POP_STEPS)).map(|()| world.counts)
}

#[test]
fn popped_messages_come_again_until_they_are_acknowledged_whatever_ends_in_between() {
    let all = all_sound("popped_messages", seeds(), |seed| run_pops(seed, PopRule::Sound));
    let mut sum = PopCounts::default();
    for one in &all {
        sum.sent += one.sent;
        sum.popped += one.popped;
        sum.again += one.again;
        sum.acked += one.acked;
        sum.late += one.late;
        sum.changed += one.changed;
        sum.resets += one.resets;
        sum.clock_steps += one.clock_steps;
        sum.acked_in_order += one.acked_in_order;
        sum.ends += one.ends;
        sum.power_losses += one.power_losses;
    }
    eprintln!("{} seeds: {sum:#?}", all.len());
    if all.len() as u64 >= SEEDS {
        check_often(&[
            ("sends", sum.sent, 10_000),
            ("popped messages", sum.popped, 10_000),
            ("messages that came again", sum.again, 1_000),
            ("acknowledgements in time", sum.acked, 10_000),
            ("acknowledgements that were late", sum.late, 1_000),
            ("changes", sum.changed, 500),
            ("resets", sum.resets, 500),
            ("steps of the clock", sum.clock_steps, 300),
            ("acknowledgements in order", sum.acked_in_order, 10_000),
            ("ends", sum.ends, 1_000),
            ("power losses", sum.power_losses, 200),
        ]);
    }
}

#[test]
fn pops_that_are_forgotten_are_noticed() {
    for (rule, as_what) in [
        (PopRule::ForgetNotes, "came again"),
        (PopRule::ForgetOffsets, "came again"),
        (PopRule::KeepSome, "and lost"),
        (PopRule::AckLate, "was acknowledged, and came again"),
        (PopRule::ForgetResets, "came again"),
        (PopRule::HoldLongerInOrder, "somebody's"),
        (PopRule::ForgetClock, "came again"),
        (PopRule::HoldLonger, "came again"),
    ] {
        let noticed = first_wrong(SEEDS, |seed| run_pops(seed, rule));
        let (seed, noticed) = noticed.unwrap_or_else(|| panic!("{rule:?} is not noticed"));
        eprintln!("{rule:?} is noticed by seed {seed}: {noticed}");
        assert!(noticed.contains(as_what), "{rule:?} is noticed as: {noticed}");
    }
}

const CONTROLLER_STEPS: u64 = 600;
/// Seeds of the world of controllers.
const CONTROLLER_SEEDS: u64 = 400;

/// What happened to controllers under a seed, or what was found to be wrong.
fn run_controllers(seed: u64, rule: ControllerRule) -> Result<ControllerCounts, String> {
    let mut world = ControllerWorld::new(seed, rule);
    let mut outcome = Ok(());
    found_wrong(|| outcome = world.run(CONTROLLER_STEPS))?;
    outcome.map(|()| world.counts)
}

/// What a leader of before has said, and nobody agreed to, comes late: it is no controller that lies.
#[test]
fn a_controller_that_hears_old_news_does_not_take_its_fellow_for_a_liar() {
    run_controllers(51_079, ControllerRule::Sound).expect("all of them are honest");
}

#[test]
fn controllers_agree_and_lose_nothing_that_they_answered() {
    let asked = seeds();
    let seeds = if asked == (0..SEEDS) { 0..CONTROLLER_SEEDS } else { asked };
    let all = all_sound("controllers_agree", seeds, |seed| run_controllers(seed, ControllerRule::Sound));
    let mut sum = ControllerCounts::default();
    for one in &all {
        sum.proposed += one.proposed;
        sum.answered += one.answered;
        sum.elected += one.elected;
        sum.unknown += one.unknown;
        sum.crashes += one.crashes;
        sum.torn += one.torn;
        sum.partitions += one.partitions;
        sum.lost += one.lost;
        sum.snapshots += one.snapshots;
        sum.terms += one.terms;
    }
    eprintln!("{} seeds: {sum:#?}", all.len());
    if all.len() as u64 >= CONTROLLER_SEEDS {
        check_often(&[
            ("requests", sum.proposed, 10_000),
            ("answers", sum.answered, 10_000),
            ("masters elected", sum.elected, 500),
            ("requests whose end nobody knows", sum.unknown, 200),
            ("crashes", sum.crashes, 1_000),
            ("torn writes", sum.torn, 200),
            ("partitions", sum.partitions, 2_000),
            ("messages lost", sum.lost, 10_000),
            ("snapshots", sum.snapshots, 1_000),
            ("leaders", sum.terms, 500),
        ]);
    }
}

#[test]
fn controllers_whose_disks_lie_are_noticed() {
    let noticed = first_wrong(SEEDS, |seed| run_controllers(seed, ControllerRule::LieAboutWrites));
    let (seed, noticed) = noticed.expect("it is noticed");
    eprintln!("it is noticed by seed {seed}: {noticed}");
}
