//! What shows that a log without a name is the master's: its last records, compared byte for byte.
//!
//! Logs had no name before store format 2, and a log that was copied from an Apache master has none. Their epochs begin alike and prove
//! nothing. So such a slave asks for the stream a little before its end, from the beginning of a record on, and compares what comes with what it
//! has; only then is it a slave of that master, takes its log's name, and stores what follows.

use bytes::Buf as _;

use super::super::epoch_file::EpochFile;
use super::{Slave, SlaveError};
use crate::log::{BlockId, Compared, FoundRecord, Log};
use crate::model::LogOffset;

/// How far the proof of one connection has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Proof {
    /// A record is looked for before this.
    below: Option<LogOffset>,
    /// It begins here, and the comparison with it.
    begins: Option<LogOffset>,
    /// The comparison ends here; `None` if there is none.
    ends: Option<LogOffset>,
    /// The own log is being read: what for, and whether it was asked for.
    block: Option<(BlockId, bool)>,
}

impl Proof {
    /// A connection is there, and the log ends at `end`. Where the stream is to begin, if the log has to be compared.
    pub(super) fn begin(&mut self, end: LogOffset) -> Option<LogOffset> {
        self.ends = self.begins.map(|_| end);
        self.begins
    }

    /// Where the stream begins, if the log has to be compared.
    pub(super) fn begins(&self) -> Option<LogOffset> {
        self.begins
    }

    /// Up to where the log is still to be compared, if it is.
    pub(super) fn awaited(&self) -> Option<LogOffset> {
        self.ends
    }

    pub(super) fn is_awaited(&self) -> bool {
        self.ends.is_some()
    }

    fn wait_for(&mut self, block: BlockId) {
        self.block = Some((block, false));
    }
}

impl Slave {
    /// Looks for a record near the end of the log, one step at a time. Whether it is found.
    pub(super) fn find_proof(&mut self, log: &mut Log) -> bool {
        if self.proof.begins.is_none() && self.proof.block.is_none() {
            let below = self.proof.below.unwrap_or(log.appended());
            match log.find_record(below) {
                // To ask for byte 0 is to say that one has nothing.
                FoundRecord::At(at) => self.proof.begins = Some(at.max(LogOffset(1))),
                FoundRecord::Before(below) => self.proof.below = Some(below),
                FoundRecord::Cold(block) => self.proof.wait_for(block),
                // The next try is as good as any.
                FoundRecord::Failed => {}
            }
        }
        self.proof.begins.is_some()
    }

    /// Compares what has come with the log, where that is to be done. Whether the master's log is this one.
    pub(super) fn prove(&mut self, log: &mut Log, epochs: &mut EpochFile) -> Result<bool, SlaveError> {
        while let Some(end) = self.proof.ends {
            let left = usize::try_from(end.since(self.stored)).unwrap_or(usize::MAX);
            let theirs = &self.pending[..left.min(self.pending.len())];
            if theirs.is_empty() || self.proof.block.is_some() {
                return Ok(false);
            }
            match log.compare(self.stored, theirs) {
                Compared::Same(bytes) => {
                    self.pending.advance(bytes);
                    self.stored = self.stored.plus(bytes as u64);
                }
                Compared::Differs(at) => {
                    let (start, end) = (log.start(), log.appended());
                    let is_given_up = self.gives_up == Some(start);
                    let unlike = SlaveError::Unlike { at, start, end };
                    return Err(if is_given_up { SlaveError::Diverged { end, point: start } } else { unlike });
                }
                Compared::Cold(block) => self.proof.wait_for(block),
                Compared::Failed => return Err(SlaveError::Unreadable { at: self.stored }),
            }
            if self.stored == end {
                self.proof.ends = None;
                self.proven = self.target();
                epochs.name(self.master_epochs.log());
            }
        }
        if self.is_streaming() {
            self.parted = None;
        }
        Ok(true)
    }

    /// A block of the own log that is to be fetched; then [`Slave::unblock`]. Once.
    pub(crate) fn poll_block(&mut self) -> Option<BlockId> {
        let (block, is_asked) = self.proof.block.as_mut()?;
        (!std::mem::replace(is_asked, true)).then_some(*block)
    }

    /// A block was read, or could not be.
    pub(crate) fn unblock(&mut self, block: BlockId) {
        self.proof.block = self.proof.block.filter(|(waited, _)| *waited != block);
        self.mend.unblock(block);
    }
}
