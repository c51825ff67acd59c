//! Light queues in the world of a master and its slaves: some messages name them, and in the end each replica has in each of them what was acknowledged for
//! it, once, in the order of the log, and nothing else.

use std::collections::{BTreeMap, BTreeSet};

use super::random::Random;
use super::replica_world::{ReplicaRule, ReplicaWorld};
use crate::limits::LIGHT_QUEUES_MAX;
use crate::model::{LogOffset, QueueOffset};
use crate::protocol::message::LIGHT_QUEUE;

const NAMES: [&str; 3] = ["%LMQ%a", "%LMQ%b", "%LMQ%c"];

/// What was sent to light queues.
pub(super) struct Light {
    /// Draws of their own, so that all others stay as they are.
    random: Random,
    /// The light queues that a message names, by its number.
    sent: BTreeMap<u64, Vec<&'static str>>,
}

impl ReplicaWorld {
    /// The same where messages name light queues.
    #[must_use]
    pub fn with_light(seed: u64, rule: ReplicaRule) -> ReplicaWorld {
        let mut world = ReplicaWorld::new(seed, rule);
        for node in &mut world.nodes {
            node.settings.light.is_enabled = rule != ReplicaRule::ForgetLight;
            node.settings.light.queues_max = LIGHT_QUEUES_MAX;
            node.settings.log.has_light = node.settings.light.is_enabled;
        }
        world.light = Some(Light { random: Random::new(seed ^ 0x11_67), sent: BTreeMap::new() });
        world
    }

    /// The property by which a message is in light queues as well, if it is.
    pub(super) fn name_light_queues(&mut self, number: u64) -> String {
        let Some(Light { random, sent }) = &mut self.light else { return String::new() };
        let names: Vec<&str> = NAMES.into_iter().filter(|_| random.percent(25)).collect();
        if names.is_empty() {
            return String::new();
        }
        let property = format!("INNER_MULTI_DISPATCH\u{1}{}\u{2}", names.join(","));
        sent.insert(number, names);
        property
    }

    /// All is well again, and `acknowledged` are the numbers of those that the master has, each with its place in the log.
    pub(super) fn check_light_queues(&mut self, acknowledged: &BTreeMap<u64, LogOffset>) {
        let Some(Light { sent, .. }) = &self.light else { return };
        let of = |name: &str| -> BTreeSet<u64> {
            sent.iter().filter(|(_, names)| names.contains(&name)).map(|(number, _)| *number).collect()
        };
        for name in NAMES {
            let (sent, mut of_master, mut end_of_master) = (of(name), None, None);
            for index in std::iter::once(self.master).chain(self.others()) {
                let found = self.nodes[index].read_queue(&mut self.now, name, LIGHT_QUEUE);
                assert!(
                    found.is_sorted_by(|before, after| before.log_offset < after.log_offset),
                    "{name} of node {index} is not in the order of the log: {found:?}"
                );
                let numbers: BTreeSet<u64> = found.iter().map(|message| message.number).collect();
                assert!(numbers.is_subset(&sent), "{name} of node {index} has what was not sent to it: {found:?}");
                let log = self.nodes[index].broker.as_ref().expect("it runs").view_log();
                let queue = log.find_queue(name, LIGHT_QUEUE);
                // One that is waited for may be there, and of which there is nothing.
                let end = queue.map_or(QueueOffset(0), |queue| log.bounds(queue).appended_max);
                assert_eq!(
                    *end_of_master.get_or_insert(end),
                    end,
                    "{name} of node {index} does not end where its master's does"
                );
                // What a slave's consumers see may come later.
                let confirm = log.confirm();
                let seen = acknowledged.iter().filter(|(_, at)| **at < confirm).map(|(number, _)| number);
                let lost: Vec<&u64> = seen.filter(|it| sent.contains(it) && !numbers.contains(it)).collect();
                assert!(lost.is_empty(), "{lost:?} were acknowledged, and are not in {name} of node {index}");
                let all: Vec<u64> = found.iter().map(|message| message.log_offset).collect();
                self.counts.light += all.len() as u64;
                let first = of_master.get_or_insert_with(|| all.clone());
                assert!(
                    first.starts_with(&all),
                    "{name} of node {index} is not that of its master: {all:?}, {first:?}"
                );
            }
        }
    }
}
