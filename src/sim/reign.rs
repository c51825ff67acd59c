//! Changes of roles in the made-up world of replicas: who becomes the master, and what becomes of the one before.
//!
//! The world is the controller: it numbers the reigns, there is one master at a time, and it lets only such a slave follow it that holds what was
//! acknowledged and what consumers have seen. The first is so of the one with the newest log among so many that one of them must have each
//! message, the second of those in sync.

use super::node::NodeEnd;
use super::replica_world::{ReplicaRule, ReplicaWorld};
use crate::letter::ToShard;
use crate::model::{BrokerId, Epoch, LogOffset, Role};

/// What becomes of the master that was.
#[derive(Clone, Copy, Debug)]
enum Before {
    /// It ends, or has ended.
    Ends,
    /// It becomes a slave before another becomes the master.
    IsDemoted,
    /// It stands still, and hears later that it is a slave.
    IsPaused,
}

impl ReplicaWorld {
    /// Another node becomes the master, if one may; or the one that was hears of it.
    pub(super) fn change_roles(&mut self) {
        if self.reign.is_none() {
            return;
        }
        if self.paused.is_some() {
            return self.wake_paused();
        }
        self.note_in_sync();
        let Some(next) = self.candidate() else { return };
        let is_up = self.nodes[self.master].is_up();
        let before = match self.random.below(5) {
            0..2 if is_up => Before::IsDemoted,
            2..4 if is_up => Before::IsPaused,
            _ => Before::Ends,
        };
        let former = self.master;
        self.reign = self.reign.map(|reign| reign + 1);
        match before {
            Before::Ends if is_up => self.end(former, NodeEnd::Kill),
            Before::Ends => {}
            Before::IsDemoted => self.demote(former),
            Before::IsPaused => {
                self.counts.masters_paused += 1;
                self.paused = Some(former);
            }
        }
        self.promote(next);
    }

    /// A former master that stood still goes on, and is told first what it is now.
    pub(super) fn wake_paused(&mut self) {
        if let Some(former) = self.paused.take() {
            self.demote(former);
        }
    }

    fn demote(&mut self, index: usize) {
        self.counts.demotions += 1;
        self.order(index, Role::Slave);
    }

    fn promote(&mut self, index: usize) {
        self.counts.promotions += 1;
        self.nodes[index].keeps_epoch = self.rule == ReplicaRule::KeepEpoch;
        self.master = index;
        self.order(index, Role::SyncMaster);
        self.nodes[index].keeps_epoch = false;
        for other in self.others() {
            if self.runs(other) {
                self.tell_master(other);
            }
        }
    }

    fn order(&mut self, index: usize, role: Role) {
        let epoch = Epoch(self.reign.expect("reigns are numbered where roles change"));
        let letter = ToShard::Role { role, broker_id: BrokerId(index as u64 + 1), epoch };
        let now = self.now;
        self.nodes[index].act(now, |broker, out| broker.handle_control(now, letter, out));
        assert!(self.nodes[index].next_life.is_some(), "node {index} does not become {role} in reign {epoch}");
        self.begin_lives();
    }

    /// Looks who is in sync, if the master is there to say so.
    pub(super) fn note_in_sync(&mut self) {
        if let Some(master) = &self.nodes[self.master].broker {
            let status = master.view_replicas();
            let is_in_sync = |address| status.slaves.iter().any(|slave| slave.in_sync && slave.address == address);
            self.in_sync = (0..self.nodes.len()).filter(|index| is_in_sync(super::node::address_of(*index))).collect();
        }
    }

    /// Who may be the next master.
    fn candidate(&mut self) -> Option<usize> {
        let asked: Vec<usize> = self.others().into_iter().filter(|index| self.runs(*index)).collect();
        if asked.is_empty() {
            return None;
        }
        if self.rule == ReplicaRule::PromoteAnyone {
            return Some(self.random.pick(&asked));
        }
        // Of all slaves, one less than `replicas` have each message that was acknowledged.
        let holders = usize::try_from(self.replicas - 1).expect("few");
        let is_enough = asked.len() + holders > self.others().len();
        let best = asked.into_iter().max_by_key(|index| self.newest(*index))?;
        (is_enough && self.in_sync.contains(&best)).then_some(best)
    }

    /// How new a log is.
    fn newest(&self, index: usize) -> (Option<Epoch>, LogOffset) {
        let log = self.nodes[index].broker.as_ref().expect("it runs").view_log();
        (self.nodes[index].epochs().last().map(|entry| entry.epoch), log.appended())
    }
}
