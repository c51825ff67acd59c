//! Reigns that a master's bytes lead into: each is written down when its first record has come and is sound, and before that is stored.
//!
//! So no byte lies in a reign that nobody knows, and nobody writes down a reign that only a header tells of.

use super::super::epoch::{EpochEntry, EpochError, EpochTable};
use super::super::epoch_file::EpochFile;
use super::{Slave, SlaveError};
use crate::log::{Log, ReplicaError};
use crate::model::LogOffset;

impl Slave {
    /// Bytes of a reign are announced, so many from `offset` on. `known` are those of the log.
    pub(super) fn note_reign(
        &mut self,
        known: &EpochTable,
        offset: LogOffset,
        bytes: usize,
        entry: EpochEntry,
    ) -> Result<(), SlaveError> {
        let end = offset.plus(bytes as u64);
        let compared = self.proof.awaited().unwrap_or(LogOffset(0));
        // What is only compared lies in reigns that the log knows.
        let newest = self.reigns.back().map(|(_, entry)| *entry).or(known.last());
        if newest == Some(entry) || end <= compared {
            return Ok(());
        }
        if let Some(last) = newest
            && (entry.epoch <= last.epoch || entry.start <= last.start)
        {
            let (epoch, start) = (entry.epoch, entry.start);
            return Err(EpochError::OutOfOrder { epoch, start, last: last.epoch, last_start: last.start }.into());
        }
        self.reigns.push_back((offset.max(compared), entry));
        Ok(())
    }

    /// Takes over the reign of what is to be stored next. How much of what is pending may be stored now: no more than one reign has; `None` if
    /// the reign is to be written first, or more of it has to come.
    pub(super) fn take_reigns(&mut self, log: &mut Log, epochs: &mut EpochFile) -> Result<Option<usize>, SlaveError> {
        while let Some((at, entry)) = self.reigns.front().copied() {
            if at > self.stored {
                let bytes = usize::try_from(at.since(self.stored)).unwrap_or(usize::MAX);
                return Ok(Some(bytes.min(self.pending.len())));
            }
            match log.check_next(self.stored, &self.pending) {
                Ok(true) => {}
                Ok(false) | Err(ReplicaError::Append(_)) => return Ok(None),
                Err(error) => return Err(SlaveError::Record(error)),
            }
            self.reigns.pop_front();
            epochs.adopt(entry)?;
            if !epochs.is_current() {
                return Ok(None);
            }
        }
        Ok(Some(self.pending.len()))
    }
}
