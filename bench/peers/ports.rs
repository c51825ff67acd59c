//! Free TCP ports for brokers, which take several at fixed distances.
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

/// Ports between two shards' listening ports, and the size of a block.
const STRIDE: u16 = 10;
/// Below the kernel's ephemeral ports, so that no outgoing connection takes one of ours.
const FIRST_PORT: u16 = 12_000;
const LAST_PORT: u16 = 32_000;
/// Positions in a block: VIP (listen - 2), listen, HA (listen + 1), and the port that marks the block as taken.
const VIP: u16 = 0;
const LISTEN: u16 = 2;
const HA: u16 = 3;
const GUARD: u16 = 7;

/// A run of free ports for a broker of `count` shards: shard `i` listens on `listen() + 10 * i`, and the ports at -2
/// (VIP) and +1 (HA) of each are free too.
///
/// The block is held by a listener on a port that no broker uses, so other processes that choose their ports here keep
/// away from it until this value is dropped.
#[derive(Debug)]
pub struct PortBlock {
    first: u16,
    _guards: Vec<TcpListener>,
}

impl PortBlock {
    /// Finds a block for `count` shards.
    ///
    /// # Panics
    /// When no block is free in 12,000..32,000: something is very wrong with the machine.
    #[must_use]
    pub fn reserve(count: u16) -> Self {
        static NEXT: AtomicU16 = AtomicU16::new(0);
        let blocks = (LAST_PORT - FIRST_PORT) / STRIDE;
        // Processes begin at different places, so that they seldom meet at all.
        let start = u16::try_from(std::process::id() % u32::from(blocks)).expect("a remainder of a u16");
        for _ in 0..blocks {
            let turn = NEXT.fetch_add(count, Ordering::Relaxed);
            let first = FIRST_PORT + (start.wrapping_mul(7).wrapping_add(turn) % (blocks - count)) * STRIDE;
            if let Some(guards) = take(first, count) {
                return Self { first, _guards: guards };
            }
        }
        panic!("no {count} free port blocks in {FIRST_PORT}..{LAST_PORT}");
    }

    /// The port of the first shard, or of the only server.
    #[must_use]
    pub fn listen(&self) -> u16 {
        self.first + LISTEN
    }
}

/// Takes the guards of `count` blocks if every port that a broker would use in them is free.
fn take(first: u16, count: u16) -> Option<Vec<TcpListener>> {
    let mut guards = Vec::new();
    for block in 0..count {
        let base = first + block * STRIDE;
        guards.push(bind(base + GUARD)?);
        for port in [base + VIP, base + LISTEN, base + HA] {
            drop(bind(port)?);
        }
    }
    Some(guards)
}

/// Binds the wildcard address: Apache listens there, and a port taken on loopback alone would clash with it as well.
fn bind(port: u16) -> Option<TcpListener> {
    TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_never_overlap_while_held() {
        let held: Vec<PortBlock> = (0..20).map(|_| PortBlock::reserve(2)).collect();
        let mut listens: Vec<u16> = held.iter().flat_map(|block| [block.listen(), block.listen() + STRIDE]).collect();
        listens.sort_unstable();
        listens.dedup();
        assert_eq!(listens.len(), 40);
        assert!(take(held[0].first, 1).is_none(), "a held block must not be given out again");
    }
}
