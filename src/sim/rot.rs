//! A replica's disk rots while all go on, and is mended: meanwhile no other replica takes over what is damaged, and nobody cuts or loses anything
//! for it. What a start does with damage is [`super::damage`]'s: here it is mended before its node ends.

use super::damage::{Harm, Harmed, harm};
use super::random::Random;
use super::replica_world::{ReplicaRule, ReplicaWorld};
use super::world::DISK_BLOCK;
use crate::model::LogOffset;

/// What rots on the disks of replicas: one thing at a time, from draws of its own.
pub(super) struct Rot {
    random: Random,
    /// Which node's disk is harmed, and what is to be put back.
    harmed: Option<(usize, Harm, Harmed)>,
}

impl ReplicaWorld {
    /// The same where bits rot, writes turn out to be lost or misdirected, and blocks cannot be read, on one of the disks at a time. A delayed message
    /// that is proven to be damaged is left out, so there is none.
    #[must_use]
    pub fn with_rot(seed: u64, rule: ReplicaRule) -> ReplicaWorld {
        let mut world = ReplicaWorld::new(seed, rule);
        world.rot = Some(Rot { random: Random::new(seed ^ 0x0E07), harmed: None });
        world.has_delays = false;
        world.replaces_stores = false;
        world.is_gentle = true;
        world
    }

    /// Now and then something rots, and is mended a while later.
    pub(super) fn rot_somewhere(&mut self) {
        let Some(rot) = &mut self.rot else { return };
        if !rot.random.percent(2) {
            return;
        }
        if rot.harmed.is_some() {
            self.mend();
            return;
        }
        let index = rot.random.index(self.nodes.len());
        let node = &mut self.nodes[index];
        let Some(broker) = node.broker.as_ref() else { return };
        let log = broker.view_log();
        // The last block is written again, and what the ring has is read from there.
        let (start, end) = (log.start().0, log.written().0 / DISK_BLOCK * DISK_BLOCK);
        if start >= end {
            return;
        }
        let at = LogOffset(start + rot.random.below(end - start));
        if log.is_in_tail(at) {
            return;
        }
        let kind = match self.rule {
            ReplicaRule::RotForEver => Harm::Bit,
            _ => rot.random.pick(&[Harm::Bit, Harm::Bit, Harm::Lost, Harm::Misdirected, Harm::Unreadable]),
        };
        let segment_bytes = node.segment_bytes();
        let Some(harmed) = harm(&mut node.disk, kind, at, segment_bytes, &mut rot.random) else { return };
        rot.harmed = Some((index, kind, harmed));
        self.counts.rots += 1;
    }

    /// What is harmed is as it was.
    pub(super) fn mend(&mut self) {
        let Some((index, kind, harmed)) = self.rot.as_mut().and_then(|rot| rot.harmed.take()) else { return };
        let node = &mut self.nodes[index];
        if let Some(broker) = &node.broker {
            let damage = broker.view_log().damage();
            self.counts.rots_seen += u64::from(damage.records > 0 || damage.reads_failed > 0);
        }
        match kind {
            _ if self.rule == ReplicaRule::RotForEver => {}
            Harm::Unreadable => node.disk.set_readable(harmed.file, harmed.at, true),
            _ => drop(node.disk.change_at_rest(harmed.file, harmed.at, &harmed.before)),
        }
    }

    /// Whether what a node has on its disk is not what it wrote.
    pub(super) fn is_rotten(&self, index: usize) -> bool {
        self.rot.as_ref().and_then(|rot| rot.harmed.as_ref()).is_some_and(|(node, ..)| *node == index)
    }
}
