//! Damage of what is stable, tried on a copy of the disk between two lives: it is refused, healed, or lies where a power loss may tear.

use bytes::Bytes;

use super::tail::{Remains, SimTail, Slot};
use super::world::LogWorld;
use crate::log::{FileName, FoundStore, HeapTail, Recovery, Step, TailMemory};
use crate::model::LogOffset;

/// First bytes of a record of which one that has changed may say another size: then it is not known how far the record would go.
const SIZE_BYTES: u64 = 4;

impl LogWorld {
    /// Lets bits rot in what was promised to survive, and starts a process on a copy. It must not take the place for the end of the log, unless
    /// what lies behind may be what a power loss has left.
    pub(super) fn try_damage(&mut self, remains: Option<&Remains>, start: LogOffset, promised: LogOffset) {
        let end = self.model.last_end(promised);
        if end <= start || !self.random.percent(40) {
            return;
        }
        let back = self.random.pick(&[4_096, 64 * 1024, 1 << 20]).min(end.0 - start.0);
        let at = LogOffset(end.0 - 1 - self.random.below(back));
        let size = self.settings.segment_bytes;
        let segment = LogOffset(at.0 / size * size);
        let Some(damaged) = self.model.at(at).cloned().filter(|one| at.0 - one.log_offset.0 >= SIZE_BYTES) else {
            return;
        };
        let mut disk = self.disk.clone();
        let mask = 1_u8 << self.random.below(8);
        if !disk.rot(FileName::Segment(segment), at.0 - segment.0, mask) {
            return;
        }
        let (tail, tail_appended): (Box<dyn TailMemory>, _) = match remains {
            Some(Remains { ring, appended }) => {
                let remains = Remains { ring: ring.clone(), appended: *appended };
                (Box::new(SimTail::new(remains, Slot::default(), true)), *appended)
            }
            None => (Box::new(HeapTail::new(self.ring_bytes)), None),
        };
        let unflushed_max = self.known_unflushed_max();
        let found = FoundStore { files: disk.list(), tail, tail_appended, end_max: None, unflushed_max };
        let mut recovery = Recovery::new(self.settings, found).expect("the files fit one another");
        let mut is_touched = false;
        let found_end = loop {
            let step = recovery.step();
            if let Step::Write { file: FileName::Segment(_), .. } | Step::Remove { file: FileName::Segment(_) } = step {
                is_touched = true;
            }
            let answer = match step {
                Step::Done(log) => break log.appended(),
                Step::Refused(error) => {
                    assert!(!is_touched, "damage at {at} was refused ({error}) after the log was written to");
                    self.counts.damages_refused += 1;
                    return;
                }
                Step::Read { file, at, len } => disk.read(file, at, len).map(Bytes::from),
                step => match disk.recover(step) {
                    // A rebuilt index may want more room than there is.
                    Err(_) => return,
                    done => done,
                },
            };
            recovery.supply(answer);
        };
        if found_end >= end {
            self.counts.damages_healed += 1;
            return;
        }
        self.counts.damages_at_the_end += 1;
        let unflushed = self.settings.unflushed_bytes_max();
        let reach = LogOffset(damaged.end.0 + unflushed);
        let last = self.model.last_begin(end).expect("there is a message");
        assert!(
            remains.is_none() && (last < reach || unflushed_max.is_none()) && found_end == damaged.log_offset,
            "damage at {at} was taken for the end of the log: it goes to {found_end}, and {end} was promised"
        );
    }
}
