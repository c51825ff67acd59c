//! What lies between two lives of a made-up log: what the next process finds, what of its settings is another, and how it comes through.

use bytes::Bytes;

use super::random::Random;
use super::tail::{Remains, SimTail};
use super::world::{FAILED, LogWorld, ProcessEnd, Rule, branch_references};
use crate::log::{FileName, FlushPolicy, FoundStore, IoError, Log, Recovery, RecoveryError, Step};
use crate::model::{LogOffset, UnixMs};
use crate::protocol::record::find_claim;

impl LogWorld {
    /// Starts a process, again and again if it does not come through, and compares what it finds.
    ///
    /// With `end_max` the log is cut there; a start that did not come through may be followed by one that does not cut.
    pub(super) fn restart(&mut self, remains: Option<Remains>, promised: LogOffset, end_max: Option<LogOffset>) {
        let (mut remains, mut promised, mut end_max) = (remains, promised, end_max);
        let start_max = self.start_seen;
        if self.random.percent(30) {
            self.change_settings(remains.is_some());
        }
        // A cut that does not come to its end leaves more unflushed than the last process did.
        let is_cut = end_max.is_some();
        promised = promised.min(end_max.unwrap_or(promised));
        let log = loop {
            match self.recover(remains.take(), end_max, is_cut) {
                Ok(log) => break log,
                Err(ProcessEnd::Power) => {
                    self.disk.lose_power(&mut self.random);
                    self.set_clock_right();
                    self.slot.take();
                    promised = promised.min(self.promised);
                }
                Err(_) if self.survives_kill => remains = self.slot.take(),
                Err(_) => promised = promised.min(self.promised),
            }
            self.counts.interrupted_recoveries += 1;
            end_max = end_max.filter(|_| self.random.percent(70));
        };
        let end = log.appended();
        assert!(end_max.is_none_or(|max| end <= max), "the log was to be cut at {end_max:?} and goes to {end}");
        self.counts.cuts +=
            u64::from(end_max.is_some_and(|max| self.model.last_end(max) < self.model.last_end(LogOffset(u64::MAX))));
        self.log = Some(log);
        if end_max.is_some() {
            self.check_behind(end);
        }
        self.begin_run(start_max);
        let promised = self.model.last_end(promised);
        assert!(end >= promised, "{promised} was promised, and the log goes to {end}");
        self.promised = end;
        self.model.truncate(end);
        self.check_all();
    }

    /// What a shell notes when a process has come through, and what it tells it of the time.
    fn begin_run(&mut self, start_max: LogOffset) {
        self.read_failed_at = None;
        self.late.clear();
        self.start_seen = self.log().start();
        assert!(self.start_seen <= start_max, "a start has taken what lies before {}", self.start_seen);
        self.unflushed_of_last = self.settings.unflushed_bytes_max();
        let now = self.now;
        let expected = self
            .run_began
            .map_or(now.unix, |(mono, unix)| UnixMs(unix.0 + i64::try_from(now.mono.ms_since(mono)).expect("small")));
        self.run_began = Some((now.mono, self.log().expect_time(now, expected)));
        self.started_at = now.mono;
    }

    /// A machine that starts has its clock from elsewhere, and nothing is known of the one before.
    pub(super) fn set_clock_right(&mut self) {
        self.now.unix = self.true_time();
        self.run_began = None;
    }

    /// An operator has other settings for the next life. The size of a segment and of an index file belong to the store, and a ring that is found
    /// is used as it is.
    fn change_settings(&mut self, has_ring: bool) {
        let (random, settings) = (&mut self.random, &mut self.settings);
        settings.flush = pick_flush(random);
        settings.prepare_bytes = random.pick(&[4, 16, 64]) * 1024;
        settings.queue_block_entries = random.pick(&[1, 5, 16]);
        settings.branch_references = branch_references(settings.queue_block_entries as u64);
        settings.key_run_entries = random.pick(&[40, 150]);
        settings.checkpoint_bytes = random.pick(&[32, 100, 400]) * 1024;
        if !has_ring {
            self.ring_bytes = random.pick(&[64, 128]) * 1024;
            self.survives_kill = random.percent(80);
        }
        self.counts.settings_changed += 1;
    }

    /// Behind a cut there is nothing on the disk that could come back when the log has grown up to it.
    fn check_behind(&mut self, end: LogOffset) {
        let size = self.settings.segment_bytes;
        let segments = self.log().last_segment_start().0 / size..;
        for start in segments.map(|nth| LogOffset(nth * size)) {
            let whole = usize::try_from(size).expect("small");
            let Ok(bytes) = self.disk.read(FileName::Segment(start), 0, whole) else { break };
            let from = usize::try_from(end.0.saturating_sub(start.0)).expect("small");
            let claim = find_claim(&bytes[from..], start.plus(from as u64)).map(|found| from + found);
            assert!(claim.is_none(), "behind the cut at {end}, byte {claim:?} of {start} would come back");
        }
    }

    fn recover(
        &mut self,
        remains: Option<Remains>,
        end_max: Option<LogOffset>,
        is_cut: bool,
    ) -> Result<Box<Log>, ProcessEnd> {
        if !matches!(self.rule, Rule::TrustNames | Rule::ForgetNames) {
            self.disk.flush_names();
        }
        let unflushed_max = self.known_unflushed_max().filter(|_| !is_cut);
        let (ring, tail_appended) = match remains {
            Some(Remains { ring, appended }) => (ring, appended),
            None => self.foreign_ring(),
        };
        let tail = SimTail::new(Remains { ring, appended: tail_appended }, self.slot.clone(), self.survives_kill);
        let found = FoundStore { files: self.disk.list(), tail: Box::new(tail), tail_appended, end_max, unflushed_max };
        let mut recovery = match Recovery::new(self.settings, found) {
            Ok(recovery) => recovery,
            Err(error) => panic!("refused: {error}"),
        };
        let dies = self.random.percent(20);
        loop {
            let step = recovery.step();
            let interrupted = dies && self.random.percent(15);
            let answer = match step {
                Step::Done(log) => return Ok(log),
                Step::Refused(RecoveryError::Disk { error: FAILED, .. }) => return Err(ProcessEnd::Kill),
                Step::Refused(error) => panic!("refused: {error}"),
                Step::Read { .. } if self.random.below(500) == 0 => Err(FAILED),
                Step::Read { file, at, len } => self.disk.read(file, at, len).map(Bytes::from),
                Step::Write { file, at, data } => {
                    self.counts.stale_cleared += u64::from(data.iter().all(|byte| *byte == 0));
                    let torn = if interrupted { Some(&mut self.random) } else { None };
                    let is_cut = end_max.is_some() && data.len() > 4096 && data.iter().all(|byte| *byte == 0);
                    if self.rule == Rule::LeaveWhatIsCut && is_cut && matches!(file, FileName::Segment(_)) {
                        recovery.supply(Ok(Bytes::new()));
                        continue;
                    }
                    self.disk.write(file, at, &data, torn).map(|()| Bytes::new())
                }
                Step::Flush { file } => {
                    if !interrupted {
                        self.disk.flush(file);
                    }
                    Ok(Bytes::new())
                }
                Step::Remove { file } => {
                    self.disk.remove(file);
                    Ok(Bytes::new())
                }
            };
            if interrupted {
                return Err(self.random.pick(&[ProcessEnd::Kill, ProcessEnd::Power]));
            }
            // A full disk, for the index files of a store that is rebuilt: the operator makes room.
            if answer == Err(IoError::NoSpace) {
                self.disk.capacity *= 2;
                return Err(ProcessEnd::Kill);
            }
            recovery.supply(answer);
        }
    }

    /// What a start knows of the last process that came through; it need not be known.
    pub(super) fn known_unflushed_max(&mut self) -> Option<u64> {
        match self.rule {
            Rule::BelieveAnyEnd => Some(u64::MAX / 2),
            Rule::ForgetReach => Some(0),
            Rule::ConfuseReach => Some(self.settings.unflushed_bytes_max()),
            _ => self.random.percent(70).then_some(self.unflushed_of_last),
        }
    }

    /// A ring that was just made, or one that belongs to something else: its head is looked at before it is taken for this store's.
    fn foreign_ring(&mut self) -> (Vec<u8>, Option<LogOffset>) {
        let bytes = if self.random.percent(50) { [0; 8] } else { self.random.bits().to_le_bytes() };
        (bytes.repeat(self.ring_bytes / 8), None)
    }
}

pub(super) fn pick_flush(random: &mut Random) -> FlushPolicy {
    if random.percent(50) {
        FlushPolicy::Sync
    } else {
        FlushPolicy::Async { flush_bytes: random.pick(&[16, 64, 1024]) * 1024, flush_ms: random.pick(&[10, 500]) }
    }
}
