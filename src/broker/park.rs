//! Requests that wait for a block of the disk, as bytes: when the block is there they run again from their beginning.
//!
//! Running a request twice is simpler than keeping its state, and costs little beside a read of the disk. Several requests that
//! wait for one block fetch it once.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Asked, Broker, Effect, Output, Refusal};
use crate::limits::{PARKED_MAX, PARKED_REQUEST_BYTES_MAX};
use crate::log::BlockId;
use crate::model::ConnectionId;
use crate::protocol::code::ResponseCode;
use crate::protocol::frame::{Encoding, RawFrame};

/// A request that waits.
#[derive(Debug)]
pub(super) struct ParkedRequest {
    pub(super) connection: ConnectionId,
    pub(super) encoding: Encoding,
    pub(super) header: Bytes,
    body: Bytes,
    size: usize,
    /// How often it has waited, this time included.
    pub(super) rounds: u32,
}

impl ParkedRequest {
    pub(super) fn frame(&self) -> RawFrame<'_> {
        RawFrame { encoding: self.encoding, header: &self.header, body: &self.body, size: self.size }
    }
}

/// The requests of a shard that wait for blocks.
#[derive(Debug, Default)]
pub(super) struct Parked {
    by_block: BTreeMap<BlockId, Vec<ParkedRequest>>,
    count: usize,
}

impl Parked {
    /// Those that waited for this block, in the order in which they came.
    pub(super) fn take(&mut self, block: BlockId) -> Vec<ParkedRequest> {
        let taken = self.by_block.remove(&block).unwrap_or_default();
        self.count -= taken.len();
        taken
    }

    /// A connection is gone. The blocks that it waited for are still on their way, so their entries stay.
    pub(super) fn drop_connection(&mut self, connection: ConnectionId) {
        for waiting in self.by_block.values_mut() {
            waiting.retain(|request| request.connection != connection);
        }
        self.count = self.by_block.values().map(Vec::len).sum();
    }
}

impl Broker {
    /// Lets a request wait for `block`, as it may `rounds_max` times.
    pub(super) fn park(
        &mut self,
        asked: &Asked,
        frame: &RawFrame<'_>,
        block: BlockId,
        rounds_max: u32,
        out: &mut Output,
    ) -> Result<(), Refusal> {
        self.counters.cold_count += 1;
        if asked.rounds >= rounds_max {
            let remark = "the request needs more old blocks at once than the cache holds: ask for less";
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        }
        if frame.size > PARKED_REQUEST_BYTES_MAX {
            return Err(Refusal::new(ResponseCode::SystemError, "the request is too long to wait for the disk"));
        }
        if self.parked.count >= PARKED_MAX {
            return Err(Refusal::new(ResponseCode::FlowControl, "too many requests wait for the disk"));
        }
        let is_first = !self.parked.by_block.contains_key(&block);
        self.parked.count += 1;
        self.parked.by_block.entry(block).or_default().push(ParkedRequest {
            connection: asked.connection,
            encoding: frame.encoding,
            header: Bytes::copy_from_slice(frame.header),
            body: Bytes::copy_from_slice(frame.body),
            size: frame.size,
            rounds: asked.rounds + 1,
        });
        if is_first {
            out.effects.push(Effect::Fetch(block));
        }
        Ok(())
    }
}
