//! A replica's disk rots while all go on, and is mended: meanwhile no other replica takes over what is damaged, and nobody cuts or loses anything
//! for it. Somebody mends it from outside, or the node itself from another replica. What a start does with damage is [`super::damage`]'s: here it is
//! mended from outside before its node ends.

use super::damage::{Harm, Harmed, harm};
use super::node::SimNode;
use super::random::Random;
use super::replica_world::{ReplicaRule, ReplicaWorld};
use super::world::DISK_BLOCK;
use crate::model::LogOffset;
use crate::protocol::record::{FILLER_BYTES, MAGIC_FILLER};

/// More than a record of this world has.
const RECORD_MAX: u64 = 9_000;

/// What rots on the disks of replicas: one thing at a time, from draws of its own.
pub(super) struct Rot {
    pub(super) random: Random,
    /// Which node's disk is harmed, and what is to be put back.
    harmed: Option<(usize, Harm, Harmed)>,
    /// Nodes mend what rots themselves.
    is_left_to_nodes: bool,
}

impl ReplicaWorld {
    /// The same where bits rot, writes turn out to be lost or misdirected, and blocks cannot be read, on one of the disks at a time. A delayed message
    /// that is proven to be damaged is left out, so there is none.
    #[must_use]
    pub fn with_rot(seed: u64, rule: ReplicaRule) -> ReplicaWorld {
        let mut world = ReplicaWorld::new(seed, rule);
        world.rot = Some(Rot { random: Random::new(seed ^ 0x0E07), harmed: None, is_left_to_nodes: false });
        world.has_delays = false;
        world.replaces_stores = false;
        world.is_gentle = true;
        world
    }

    /// The same where nodes mend what rots themselves, and what cannot be read, of what is sealed: the scrub finds it.
    #[must_use]
    pub fn with_mending(seed: u64, rule: ReplicaRule) -> ReplicaWorld {
        let mut world = ReplicaWorld::with_rot(seed, rule);
        if let Some(rot) = &mut world.rot {
            rot.is_left_to_nodes = true;
        }
        for node in &mut world.nodes {
            // Only between logs that have a name it is known that they are one.
            node.is_older = false;
            node.scrub_often();
            node.mends_with_anything = rule == ReplicaRule::MendWithAnything;
            node.hides_bad_blocks = rule == ReplicaRule::HideBadBlocks;
        }
        world
    }

    /// Now and then something rots, and is mended a while later.
    pub(super) fn rot_somewhere(&mut self) {
        self.note_mended();
        let Some(rot) = &mut self.rot else { return };
        if rot.is_left_to_nodes {
            self.rot_a_message();
            return;
        }
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

    /// Something of a message rots that was acknowledged, that all replicas hold, and that lies where nobody writes any more.
    fn rot_a_message(&mut self) {
        let place = self.pick_acknowledged();
        let held = self.nodes.iter().map(SimNode::held).min().unwrap_or_default();
        let Some(rot) = &mut self.rot else { return };
        if rot.harmed.is_some() || !rot.random.percent(30) {
            return;
        }
        let index = rot.random.index(self.nodes.len());
        let node = &mut self.nodes[index];
        let (Some(broker), Some(at)) = (node.broker.as_ref(), place) else { return };
        let (log, segment_bytes) = (broker.view_log(), node.segment_bytes());
        let end = log.flushed().min(log.tail_low()).0 / segment_bytes * segment_bytes;
        // With what lies in the same block.
        if at < log.start() || at.0 >= end || at.plus(RECORD_MAX + DISK_BLOCK) > held {
            return;
        }
        let kind = match self.rule {
            ReplicaRule::HideBadBlocks => Harm::Unreadable,
            _ => rot.random.pick(&[Harm::Bit, Harm::Lost, Harm::Misdirected, Harm::Unreadable, Harm::Unreadable]),
        };
        let Some(mut harmed) = harm(&mut node.disk, kind, at, segment_bytes, &mut rot.random) else { return };
        // What lies behind a filler has no meaning.
        let (begin, end) =
            (at.0 / segment_bytes * segment_bytes + harmed.at, (at.0 / segment_bytes + 1) * segment_bytes);
        let is_filler = |(nth, bytes): (usize, &[u8])| {
            let room = u32::try_from(end - begin - nth as u64).expect("a small segment");
            bytes[..4] == room.to_be_bytes() && bytes[4..] == MAGIC_FILLER.to_be_bytes()
        };
        if let Some(filler) = harmed.before.windows(8).enumerate().position(is_filler) {
            harmed.before.truncate(filler + FILLER_BYTES);
        }
        self.counts.blocks_unreadable += u64::from(kind == Harm::Unreadable);
        rot.harmed = Some((index, kind, harmed));
        self.counts.rots += 1;
    }

    /// A node may have mended what was harmed, or have thrown it away. Nobody says that it is lost while another has it.
    pub(super) fn note_mended(&mut self) {
        let Some(rot) = self.rot.as_mut().filter(|rot| rot.is_left_to_nodes) else { return };
        for broker in self.nodes.iter().filter_map(|node| node.broker.as_ref()) {
            assert_eq!(broker.view_log().damage().lost, 0, "what rotted on one replica is said to be lost");
        }
        let Some((index, kind, harmed)) = &rot.harmed else { return };
        let disk = &mut self.nodes[*index].disk;
        let found = disk.read(harmed.file, harmed.at, harmed.before.len());
        let is_mended = found.as_ref().is_ok_and(|bytes| *bytes == harmed.before);
        let is_gone = disk.open(harmed.file).is_none() || (found.is_err() && *kind != Harm::Unreadable);
        if is_mended || is_gone {
            // Its name may come back, for another file.
            disk.set_readable(harmed.file, harmed.at, true);
            self.counts.rots_mended += u64::from(is_mended);
            self.counts.blocks_rewritten += u64::from(is_mended && *kind == Harm::Unreadable);
            rot.harmed = None;
        }
    }

    /// All is well again but for what rots, if nodes see to that themselves.
    pub(super) fn mend_unless_left(&mut self) {
        if !self.is_left_to_nodes() {
            self.mend();
        }
    }

    /// Whether nodes mend what rots themselves.
    pub(super) fn is_left_to_nodes(&self) -> bool {
        self.rot.as_ref().is_some_and(|rot| rot.is_left_to_nodes)
    }

    /// Whether something is not what it was.
    pub(super) fn has_rot(&self) -> bool {
        self.is_left_to_nodes() && self.rot.as_ref().is_some_and(|rot| rot.harmed.is_some())
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
