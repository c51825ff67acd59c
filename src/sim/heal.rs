//! The end of a run of [`ReplicaWorld`](super::ReplicaWorld): all is well again, and what was promised has to come true.

use std::collections::{BTreeMap, BTreeSet};

use super::node::SimNode;
use super::replica_world::{QUEUES, ReplicaWorld, TOPIC};
use crate::model::{LogOffset, QueueId};
use crate::protocol::message::SCHEDULE_TOPIC;

impl ReplicaWorld {
    /// All is well again: every slave catches up with a master that has everything it has promised.
    pub(super) fn heal(&mut self) {
        self.mend_unless_left();
        self.wake_paused();
        for index in 0..self.nodes.len() {
            if !self.nodes[index].is_up() {
                self.start(index);
            }
        }
        self.check_owed();
        for round in 0..40_000 {
            self.pass(20);
            if round % 100 == 0 {
                self.introduce_producer();
            }
            for index in 0..self.nodes.len() {
                self.nodes[index].tick(self.now);
                self.nodes[index].settle(self.now, &mut self.random);
                self.nodes[index].meet_deadline(self.now);
            }
            for wire in 0..self.wires.len() {
                for way in 0..2 {
                    self.fill(wire, way);
                    self.carry(wire, way);
                }
            }
            self.answer_asks(true);
            for index in self.others() {
                self.give_up(index);
            }
            self.begin_lives();
            self.collect();
            self.end_transactions();
            self.check_step();
            self.note_mended();
            // No divisor of a time between two checks.
            let looks = !self.has_jobs() || round % 23 == 0;
            if looks && self.is_whole() && !self.has_rot() && self.is_delivered() && self.are_jobs_over() {
                for index in self.others() {
                    self.compare(index, u64::MAX);
                }
                let mut held = BTreeMap::new();
                for message in std::mem::take(&mut self.book) {
                    let is_held = self.holds(self.master, &message);
                    assert!(!self.is_gentle || is_held, "{message:?} was acknowledged and is lost");
                    held.extend(is_held.then_some((message.number, message.log_offset)));
                }
                self.check_light_queues(&held);
                return;
            }
        }
        let ends: Vec<LogOffset> =
            self.nodes.iter().map(|node| node.broker.as_ref().expect("it runs").view_log().appended()).collect();
        assert!(!self.has_rot(), "what rotted on one replica is not mended from another");
        assert!(!self.is_whole(), "of what waits in the log something was never delivered");
        panic!("the slaves do not catch up: the logs end at {ends:?}");
    }

    /// Whether each delayed message that the master's log holds was delivered.
    fn is_delivered(&mut self) -> bool {
        if self.delayed.is_empty() {
            return true;
        }
        let master = &mut self.nodes[self.master];
        let mut read = |topic: &str, queues: u32| -> BTreeSet<u64> {
            let all = (0..queues).flat_map(|queue| master.read_queue(&mut self.now, topic, QueueId(queue)));
            all.map(|message| message.number).collect()
        };
        let (waited, copies) = (read(SCHEDULE_TOPIC, 4), read(TOPIC, QUEUES));
        self.counts.delayed = waited.len() as u64;
        waited.is_subset(&copies)
    }

    fn is_whole(&self) -> bool {
        let end = |node: &SimNode| node.broker.as_ref().map(|broker| broker.view_log().appended());
        let is_same = self.nodes.iter().all(|node| end(node) == end(&self.nodes[self.master]));
        let status = self.nodes[self.master].broker.as_ref().expect("it runs").view_replicas();
        let is_acked = status.slaves.len() + 1 == self.nodes.len()
            && status.slaves.iter().all(|slave| Some(slave.acked) == end(&self.nodes[self.master]));
        is_same && is_acked
    }
}
