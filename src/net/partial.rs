//! Unfinished frames: what they hold, who may read on, and who goes when there is no room.
//!
//! A frame must be whole before it is handled, so its front is memory that a stranger fills for the price of a connection. Every connection may
//! hold [`PARTIAL_FREE_BYTES`], which all small requests fit in; what is beyond comes from a budget, and one address has a share of
//! it. With the budget used up, frames that have stood still go, the oldest first, and one connection reads on beyond it until its frame is
//! whole. A frame that comes on by [`PARTIAL_STEP_BYTES`] each [`PARTIAL_STALL_MS`] never goes, so honest large frames always end.
//!
//! A frame stands still only while its socket is read and has nothing: one that is not read for reasons of ours has no clock.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::limits::{PARTIAL_FREE_BYTES, PARTIAL_STALL_MS, PARTIAL_STEP_BYTES};
use crate::model::{ConnectionId, FastMap, MonoNs};

/// Bytes of unfinished frames beyond what each connection may hold anyway.
#[derive(Clone, Copy, Debug)]
pub(crate) struct PartialBudget {
    pub(crate) total: usize,
    /// Of those from one address.
    pub(crate) address: usize,
}

/// The unfinished frames of a server's connections.
#[derive(Debug)]
pub(crate) struct Partials {
    budget: PartialBudget,
    held: BTreeMap<ConnectionId, Held>,
    /// What the budgets are charged with.
    by_address: FastMap<Address, usize>,
    charged: usize,
    addresses_over: usize,
    bytes: usize,
    /// The one connection that may go beyond the budgets.
    overdraft: Option<ConnectionId>,
    /// Since when frames stand still.
    clocks: BTreeSet<(MonoNs, ConnectionId)>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    address: Address,
    bytes: usize,
    clock: Option<MonoNs>,
    /// Bytes when the clock was started.
    clocked_bytes: usize,
}

/// Whom an address belongs to: a whole IPv4 address, or the half of an IPv6 address that names a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Address(u128);

impl Address {
    fn of(ip: IpAddr) -> Address {
        match ip.to_canonical() {
            IpAddr::V4(v4) => Address(u128::from(v4.to_bits())),
            IpAddr::V6(v6) => Address(v6.to_bits() >> 64 << 64),
        }
    }
}

fn charge_of(bytes: usize) -> usize {
    bytes.saturating_sub(PARTIAL_FREE_BYTES)
}

impl Partials {
    /// Nothing is held yet.
    pub(crate) fn new(budget: PartialBudget) -> Partials {
        Partials {
            budget,
            held: BTreeMap::new(),
            by_address: FastMap::default(),
            charged: 0,
            addresses_over: 0,
            bytes: 0,
            overdraft: None,
            clocks: BTreeSet::new(),
        }
    }

    /// All bytes that are held.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether some budget is used up.
    pub(crate) fn is_over(&self) -> bool {
        self.charged > self.budget.total || self.addresses_over > 0
    }

    fn is_over_for(&self, address: Address) -> bool {
        let of_address = || self.by_address.get(&address).copied().unwrap_or_default();
        self.charged > self.budget.total || (self.addresses_over > 0 && of_address() > self.budget.address)
    }

    /// How many bytes a connection that holds `bytes` may read now; 0: none, until others let go.
    pub(crate) fn room(&mut self, id: ConnectionId, ip: IpAddr, bytes: usize) -> usize {
        if !self.is_over() || !self.is_over_for(Address::of(ip)) || self.overdraft == Some(id) {
            return usize::MAX;
        }
        if bytes < PARTIAL_FREE_BYTES {
            return PARTIAL_FREE_BYTES - bytes;
        }
        if self.overdraft.is_some() {
            return 0;
        }
        self.overdraft = Some(id);
        usize::MAX
    }

    /// A connection holds so many bytes now. Whether others that had no room are to try again.
    pub(crate) fn set(&mut self, id: ConnectionId, ip: IpAddr, bytes: usize, now: MonoNs) -> bool {
        let known = self.held.get(&id).copied();
        let before = known.map_or(0, |held| held.bytes);
        if bytes == 0 {
            return before > 0 && self.remove(id);
        }
        let address = known.map_or_else(|| Address::of(ip), |held| held.address);
        let was_over = self.is_over_for(address);
        let mut held = known.unwrap_or(Held { address, bytes, clock: None, clocked_bytes: 0 });
        held.bytes = bytes;
        // A frame has ended, or has come on.
        let has_moved = bytes < before || bytes >= held.clocked_bytes + PARTIAL_STEP_BYTES;
        if let Some(clock) = held.clock.filter(|_| has_moved) {
            self.clocks.remove(&(clock, id));
            self.clocks.insert((now, id));
            (held.clock, held.clocked_bytes) = (Some(now), bytes);
        }
        self.held.insert(id, held);
        self.bytes = self.bytes - before + bytes;
        self.charge(address, charge_of(before), charge_of(bytes));
        self.ends_overdraft(id, bytes < before) || (was_over && !self.is_over_for(address))
    }

    fn charge(&mut self, address: Address, before: usize, after: usize) {
        self.charged = self.charged - before + after;
        let of_address = self.by_address.entry(address).or_default();
        let was_over = *of_address > self.budget.address;
        *of_address = *of_address - before + after;
        let is_over = *of_address > self.budget.address;
        if *of_address == 0 {
            self.by_address.remove(&address);
        }
        self.addresses_over = self.addresses_over + usize::from(is_over) - usize::from(was_over);
    }

    fn ends_overdraft(&mut self, id: ConnectionId, is_whole: bool) -> bool {
        let ends = is_whole && self.overdraft == Some(id);
        if ends {
            self.overdraft = None;
        }
        ends
    }

    /// A connection's socket was read and has nothing: if its frame is not whole, it stands still from now on.
    pub(crate) fn awaits(&mut self, id: ConnectionId, now: MonoNs) {
        if let Some(held) = self.held.get_mut(&id)
            && held.clock.is_none()
        {
            (held.clock, held.clocked_bytes) = (Some(now), held.bytes);
            self.clocks.insert((now, id));
        }
    }

    /// A connection is not read, for reasons of ours.
    pub(crate) fn pauses(&mut self, id: ConnectionId) {
        if let Some(clock) = self.held.get_mut(&id).and_then(|held| held.clock.take()) {
            self.clocks.remove(&(clock, id));
        }
    }

    /// A connection is gone, with what it held. Whether others that had no room are to try again.
    pub(crate) fn remove(&mut self, id: ConnectionId) -> bool {
        let Some(held) = self.held.remove(&id) else { return self.ends_overdraft(id, true) };
        let was_over = self.is_over_for(held.address);
        if let Some(clock) = held.clock {
            self.clocks.remove(&(clock, id));
        }
        self.bytes -= held.bytes;
        self.charge(held.address, charge_of(held.bytes), 0);
        self.ends_overdraft(id, true) || (was_over && !self.is_over_for(held.address))
    }

    /// While a budget is used up: the connections whose frames have stood still for too long, the oldest first, as many as it takes. They no
    /// longer count; they are to be closed, and others are to try again.
    pub(crate) fn drop_stalled(&mut self, now: MonoNs) -> Vec<ConnectionId> {
        let mut dropped = Vec::new();
        if !self.is_over() {
            return dropped;
        }
        let stalled: Vec<ConnectionId> = self
            .clocks
            .iter()
            .take_while(|(since, _)| now.ms_since(*since) >= PARTIAL_STALL_MS)
            .map(|(_, id)| *id)
            .collect();
        for id in stalled {
            let Some(held) = self.held.get(&id).copied() else { continue };
            if charge_of(held.bytes) > 0 && self.is_over_for(held.address) {
                self.remove(id);
                dropped.push(id);
            }
        }
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const MB: usize = 1024 * 1024;
    const BUDGET: PartialBudget = PartialBudget { total: 64 * MB, address: 32 * MB };

    fn id(number: u64) -> ConnectionId {
        ConnectionId(number)
    }

    fn ip(number: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, number))
    }

    fn ms(value: u64) -> MonoNs {
        MonoNs(0).plus_ms(value)
    }

    /// Connections from addresses of their own whose frames stop at 6 MiB.
    fn stopped(count: u8) -> Partials {
        let mut partials = Partials::new(BUDGET);
        for number in 0..count {
            let bytes = 6 * MB + PARTIAL_FREE_BYTES;
            assert!(partials.room(id(number.into()), ip(number), 0) > 0);
            partials.set(id(number.into()), ip(number), bytes, ms(number.into()));
            partials.awaits(id(number.into()), ms(number.into()));
        }
        partials
    }

    #[test]
    fn frames_that_stand_still_go_the_oldest_first_and_no_more_than_it_takes() {
        let mut partials = stopped(12);
        assert!(partials.is_over());
        assert!(partials.drop_stalled(ms(PARTIAL_STALL_MS - 1)).is_empty(), "they may come on yet");
        assert_eq!(partials.drop_stalled(ms(PARTIAL_STALL_MS)), [id(0)]);
        assert_eq!(partials.drop_stalled(ms(PARTIAL_STALL_MS + 20)), [id(1)]);
        assert!(!partials.is_over() && partials.drop_stalled(ms(100_000)).is_empty(), "there is room: nobody goes");
        assert_eq!(partials.bytes(), 10 * (6 * MB + PARTIAL_FREE_BYTES));
    }

    #[test]
    fn a_frame_that_comes_on_does_not_go_and_one_that_trickles_does() {
        let mut partials = stopped(11);
        for step in 1..=10 {
            let now = ms(step * 900);
            let bytes = 6 * MB + PARTIAL_FREE_BYTES + usize::try_from(step).unwrap() * PARTIAL_STEP_BYTES;
            partials.set(id(0), ip(0), bytes, now);
            partials.set(id(1), ip(1), 6 * MB + PARTIAL_FREE_BYTES + usize::try_from(step).unwrap(), now);
        }
        assert_eq!(partials.drop_stalled(ms(9_500)), [id(1)]);
    }

    #[test]
    fn small_frames_always_have_room_and_one_large_one_reads_on() {
        let mut partials = stopped(11);
        assert_eq!(partials.room(id(50), ip(50), 0), PARTIAL_FREE_BYTES);
        partials.set(id(50), ip(50), 1000, ms(0));
        assert_eq!(partials.room(id(50), ip(50), 1000), PARTIAL_FREE_BYTES - 1000);
        partials.set(id(50), ip(50), PARTIAL_FREE_BYTES, ms(0));
        partials.set(id(51), ip(51), PARTIAL_FREE_BYTES, ms(0));
        assert_eq!(partials.room(id(50), ip(50), PARTIAL_FREE_BYTES), usize::MAX, "the first reads on");
        assert_eq!(partials.room(id(51), ip(51), PARTIAL_FREE_BYTES), 0);
        assert!(!partials.set(id(50), ip(50), MB, ms(10)), "not whole yet");
        assert_eq!(partials.room(id(50), ip(50), MB), usize::MAX);
        assert!(partials.set(id(50), ip(50), 0, ms(20)), "whole: the next may try");
        assert_eq!(partials.room(id(51), ip(51), PARTIAL_FREE_BYTES), usize::MAX);
        assert!(partials.remove(id(51)), "gone: the next may try");
    }

    #[test]
    fn one_address_takes_no_more_than_its_share() {
        let mut partials = Partials::new(BUDGET);
        for number in 0..7 {
            partials.set(id(number), ip(1), 5 * MB, ms(0));
            partials.awaits(id(number), ms(0));
        }
        assert!(partials.is_over());
        assert_eq!(partials.room(id(100), ip(2), 10 * MB), usize::MAX, "others have theirs");
        assert_eq!(partials.room(id(0), ip(1), 5 * MB), usize::MAX, "one of them reads on");
        assert_eq!(partials.room(id(1), ip(1), 5 * MB), 0);
        assert_eq!(partials.drop_stalled(ms(PARTIAL_STALL_MS)), [id(0)]);
        assert_eq!(partials.room(id(1), ip(1), 5 * MB), usize::MAX);
        let network = |low| IpAddr::V6(std::net::Ipv6Addr::new(0x2001, 0xdb8, 0, 7, 0, 0, 0, low));
        assert_eq!(Address::of(network(1)), Address::of(network(2)), "a network of IPv6 is one address");
    }

    #[test]
    fn what_is_not_read_has_no_clock_and_nothing_is_left_behind() {
        let mut partials = stopped(11);
        partials.pauses(id(0));
        assert_eq!(partials.drop_stalled(ms(5_000)), [id(1)]);
        for number in 0..11 {
            partials.remove(id(number));
        }
        assert!(partials.held.is_empty() && partials.clocks.is_empty() && partials.by_address.is_empty());
        assert_eq!((partials.bytes, partials.charged, partials.addresses_over), (0, 0, 0));
    }
}
