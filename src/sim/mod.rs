//! The made-up world for tests: clock, disk, faults, seed.
//!
//! [`LogWorld`] runs the real [`crate::log`] machines over a `SimDisk` that is nastier than a real one, with a load, crashes and failures
//! that all come from one seed, and compares what it finds with a model that only remembers what was answered. The same seed
//! gives the same run. [`ReplicaWorld`] does so with whole brokers, a master and its slaves, joined by connections that are cut and damaged,
//! [`DelayWorld`] with one that delivers delayed messages, [`TransactionWorld`] with one whose producers begin transactions and end them, or do not,
//! [`TimerWorld`] with one that delivers timer messages and has them recalled, [`PopWorld`] with one whose consumer pops. [`ControllerWorld`] runs
//! controllers that agree over a network that loses what it likes.

mod check;
mod client;
mod consume;
mod controller;
mod damage;
mod delay;
mod disk;
mod heal;
mod late;
mod life;
mod light;
mod model;
mod node;
mod pop;
mod pop_order;
mod random;
mod reign;
mod replica_jobs;
mod replica_world;
mod retention;
mod rot;
mod scrub;
mod tables;
mod tail;
mod timer;
mod transaction;
mod wire;
mod world;

pub use consume::{ConsumeCounts, ConsumeRule, ConsumeWorld};
pub use controller::{ControllerCounts, ControllerRule, ControllerWorld};
pub use delay::{DelayCounts, DelayRule, DelayWorld};
#[cfg(test)]
pub(crate) use disk::SimDisk;
pub use pop::{PopCounts, PopRule, PopWorld};
pub use random::Random;
pub use replica_world::{ReplicaCounts, ReplicaRule, ReplicaWorld};
#[cfg(test)]
pub(crate) use tables::TableFiles;
#[cfg(test)]
pub(crate) use tail::{Remains, SimTail, Slot};
pub use timer::{TimerCounts, TimerRule, TimerWorld};
pub use transaction::{TransactionCounts, TransactionRule, TransactionWorld};
pub use world::{Counts, LogWorld, Rule};

use crate::model::{Now, UnixMs};

/// Both clocks go on by so much.
fn later(now: Now, ms: u64) -> Now {
    let unix = UnixMs(now.unix.0 + i64::try_from(ms).expect("small"));
    Now { unix, mono: now.mono.plus_ms(ms) }
}
