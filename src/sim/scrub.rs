//! The scrub: what is harmed where nobody reads is found within one pass, nothing else is, and it is forgotten when it was mended.

use std::collections::BTreeSet;

use super::check::heads_of_index;
use super::damage::{Harm, harm};
use super::disk::SimDisk;
use super::world::{LogWorld, Rule};
use crate::log::{FileName, LogSettings};
use crate::model::LogOffset;

/// Ticks within which two passes must be over.
const TICKS_MAX: usize = 4_000;

impl LogWorld {
    /// Brings what is wanted ahead of need, which the scrub lives by.
    pub(super) fn bring_ahead(&mut self) {
        for block in self.log().prefetch() {
            self.bring(block);
        }
    }

    /// Lets the scrub come to its end twice, so that one whole pass lies between now and then.
    fn scrub_all(&mut self) {
        let hasty = LogSettings { scrub_interval_ms: 1_000, ..self.settings };
        self.log().change_settings(&hasty);
        for _ in 0..2 {
            let before = self.log().scrub().last_end;
            let mut ticks = 0;
            while self.log().scrub().last_end == before {
                assert!(ticks < TICKS_MAX, "the scrub does not come to its end: {:?}", self.log().scrub());
                ticks += 1;
                self.pass(50);
                self.tick();
                self.bring_ahead();
            }
        }
        let settings = self.settings;
        self.log().change_settings(&settings);
    }

    /// A message is harmed in a segment that is closed.
    pub(super) fn check_scrub(&mut self) {
        let Some((_, message)) = self.pick_live() else { return };
        let size = self.settings.segment_bytes;
        let segment_end = LogOffset((message.log_offset.0 / size + 1) * size);
        let is_sealed = self.log().flushed() >= segment_end && !self.log().is_in_tail(LogOffset(segment_end.0 - 1));
        if !is_sealed {
            return;
        }
        self.is_healthy = true;
        self.late.clear();
        let kind = self.pick_harm();
        let at = message.log_offset.plus(self.random.below(message.end.0 - message.log_offset.0));
        let before = self.disk.clone();
        if let Some(harmed) = harm(&mut self.disk, kind, at, size, &mut self.random) {
            self.rotten = self.model.records(&harmed.range).into_iter().map(|(begin, _)| begin).collect();
            let failed_before = self.log().damage().reads_failed;
            self.scrub_harmed(before);
            let found = self.log().damage();
            let is_there = self.log().start() <= message.log_offset;
            let is_found =
                if kind == Harm::Unreadable { found.reads_failed > failed_before } else { found.records > 0 };
            assert!(is_found || !is_there, "the scrub has not found {kind:?} at {at}");
            self.counts.scrubbed_harms += u64::from(is_found);
            match kind {
                Harm::Unreadable => self.disk.set_readable(harmed.file, harmed.at, true),
                _ => drop(self.disk.change_at_rest(harmed.file, harmed.at, &harmed.before)),
            }
        }
        self.rotten = BTreeSet::new();
        self.scrub_all();
        assert_eq!(self.log().damage().records, 0, "all is as it was, and the scrub says that it is not");
        self.is_healthy = false;
    }

    /// With the twin, what is read is what was there before.
    fn scrub_harmed(&mut self, before: SimDisk) {
        if self.rule == Rule::ScrubWhatWas {
            let harmed = std::mem::replace(&mut self.disk, before);
            self.scrub_all();
            self.disk = harmed;
        } else {
            self.scrub_all();
        }
    }

    /// A byte of an index file is harmed: the scrub has what needs it built again, before anybody reads it; not what only a branch leads to.
    pub(super) fn check_scrub_of_index(&mut self) {
        let file = FileName::Index(u32::try_from(self.random.below(8)).expect("small"));
        let Ok(bytes) = self.disk.read(file, 0, 1 << 20) else { return };
        self.is_healthy = true;
        self.late.clear();
        // In the head of a block, if there is one.
        let heads = heads_of_index(&bytes);
        let at = match heads.len() {
            0 => self.random.index(bytes.len()),
            count => heads[self.random.index(count)] + self.random.index(24),
        } as u64;
        self.disk.rot(file, at, 1_u8 << self.random.below(8));
        let before = self.log().damage().index_blocks_rebuilt;
        self.scrub_all();
        self.counts.scrubbed_index_blocks += self.log().damage().index_blocks_rebuilt - before;
        assert_eq!(self.log().damage().records, 0, "the index is harmed, and the scrub says that the log is");
        self.is_healthy = false;
    }
}
