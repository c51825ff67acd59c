//! Replication connections of the made-up world: bytes in order, late, in any pieces, until they are cut; now and then one is damaged.

use std::collections::VecDeque;

use super::random::Random;
use crate::model::LinkId;

/// Bytes that a direction holds at most, as a socket's buffers would.
pub(super) const WIRE_BYTES_MAX: usize = 48 * 1024;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WireEnd {
    pub(super) node: usize,
    /// Which of its lives.
    pub(super) life: u64,
    /// Its name of the connection.
    pub(super) link: LinkId,
}

/// One way of a connection.
#[derive(Debug)]
pub(super) struct Way {
    /// Who receives; `None` when that end is closed.
    pub(super) to: Option<WireEnd>,
    pub(super) bytes: VecDeque<u8>,
    /// Nothing more will be put in: the receiver sees the end behind the bytes.
    pub(super) is_ended: bool,
}

#[derive(Debug)]
pub(super) struct SimWire {
    /// To the slave, to the master.
    pub(super) ways: [Way; 2],
}

impl SimWire {
    pub(super) fn new(slave: WireEnd, master: WireEnd) -> SimWire {
        let way = |to| Way { to: Some(to), bytes: VecDeque::new(), is_ended: false };
        SimWire { ways: [way(slave), way(master)] }
    }

    /// The end that receives by the other way.
    pub(super) fn sender(&self, way: usize) -> Option<WireEnd> {
        self.ways[1 - way].to
    }

    pub(super) fn is_gone(&self) -> bool {
        self.ways.iter().all(|way| way.to.is_none())
    }

    /// One end closes: what it was to receive is lost, and what it has sent may be.
    pub(super) fn close(&mut self, end: WireEnd, random: &mut Random) {
        for index in 0..2 {
            if self.ways[index].to == Some(end) {
                self.ways[index].to = None;
                self.ways[index].bytes.clear();
                let other = &mut self.ways[1 - index];
                other.is_ended = true;
                other.lose_some(random);
            }
        }
    }

    /// The network cuts the connection: of what is under way, the front may still arrive.
    pub(super) fn cut(&mut self, random: &mut Random) {
        for way in &mut self.ways {
            way.is_ended = true;
            way.lose_some(random);
        }
    }

    /// One byte under way to the slave changes.
    pub(super) fn damage(&mut self, random: &mut Random) -> bool {
        let way = &mut self.ways[0];
        if way.bytes.is_empty() {
            return false;
        }
        let at = random.index(way.bytes.len());
        let bit = 1 << random.below(8);
        way.bytes[at] ^= bit;
        true
    }
}

impl Way {
    fn lose_some(&mut self, random: &mut Random) {
        let kept = random.index(self.bytes.len() + 1);
        self.bytes.truncate(kept);
    }

    /// Takes some of what is under way.
    pub(super) fn take(&mut self, random: &mut Random) -> Vec<u8> {
        let most = if random.percent(50) { self.bytes.len() } else { 1 + random.index(self.bytes.len().max(1)) };
        self.bytes.drain(..most.min(self.bytes.len())).collect()
    }
}
