//! Work beside the commit path: segments made in advance, index writes, retention, checkpoints; and the removal of topics.

use std::collections::VecDeque;

use super::commit_log::{AppendError, Log};
use super::file::{FileName, Io, IoError, IoId, Work};
use super::settings::LogSettings;
use crate::limits::{DISK_BLOCK_BYTES, INDEX_WRITE_BYTES_MIN, NO_SPACE_RETRY_MS, SPARES_MAX, TRIM_QUEUES_PER_TICK};
use crate::model::{LogOffset, MonoNs, Now, QueueId, QueueOffset, UnixMs};
use crate::protocol::record::{Marks, RecordDraft, Sized};

/// Topic of the records that say that a topic was removed; the body is its name. Such a record is in no queue.
///
/// The removal is a record so that it is as durable as what it removes, and comes in order with it: a replay that passes it empties the
/// topic's queues, and messages sent to a topic of the same name later begin at 0.
pub(super) const REMOVAL_TOPIC: &str = "RINGMQ_SYS_REMOVED_TOPIC";

/// How full the disk of the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DiskUsage {
    /// Bytes in use.
    pub(crate) used_bytes: u64,
    /// Bytes in all; 0 if not known.
    pub(crate) total_bytes: u64,
}

/// Segments for whose end one checkpoint is made.
const EXPIRED_AT_ONCE: usize = 64;

impl DiskUsage {
    fn percent(self) -> u64 {
        self.used_bytes.saturating_mul(100).checked_div(self.total_bytes).unwrap_or(0)
    }
}

/// What is under way beside the commit path, and what waits.
#[derive(Debug, Default)]
pub(super) struct Background {
    pub(super) in_flight: Option<(IoId, Work)>,
    /// Renames and removals, in order: a later one must not reach the disk before an earlier one.
    pub(super) retired: VecDeque<Work>,
    /// Set while the disk is full: when to ask again.
    retry_at: Option<MonoNs>,
    /// Segments whose time is over go at any hour, until none is left.
    is_called: bool,
    /// Why the last segment that was asked for was not made, which was said. A smaller file may have room all the same.
    lacks_segment: Option<IoError>,
}

impl Background {
    pub(super) fn is_disk_full(&self) -> bool {
        self.retry_at.is_some()
    }

    /// The file into which zeros are being written.
    pub(super) fn preparing(&self) -> Option<FileName> {
        match self.in_flight {
            Some((_, Work::Prepare { file, .. })) => Some(file),
            _ => None,
        }
    }
}

impl Log {
    /// The next piece of background work, if there is any; one at a time. Call it when the last one is done, after appends, and on each tick.
    pub fn poll_background(&mut self, now: Now) -> Option<Io> {
        self.now = now;
        if self.background.in_flight.is_some() || self.failure().is_some() {
            return None;
        }
        if self.keys.is_full() {
            self.keys.seal(|run, last| self.index.push(run, last));
        }
        let work = self.next_work(now)?;
        let id = self.next_io_id();
        self.background.in_flight = Some((id, work.clone()));
        Some(Io { id, work })
    }

    fn next_work(&mut self, now: Now) -> Option<Work> {
        // What gives space back comes first, a full disk or not.
        if let Some(work) = self.background.retired.pop_front() {
            return Some(work);
        }
        if self.background.retry_at.is_some_and(|at| now.mono < at) {
            return None;
        }
        let is_all = self.checkpointer.wants_index(self.index.flushed());
        if let Some(write) = self.index.poll_write(INDEX_WRITE_BYTES_MIN, is_all) {
            return Some(Work::Write { file: write.file, at: write.at, data: write.data, flush: write.flush });
        }
        let checkpoint = self.poll_checkpoint();
        let is_over = self.checkpointer.is_stopping && self.written == self.appended();
        if checkpoint.is_some() || is_over {
            return checkpoint;
        }
        self.segments.poll_prepare(self.appended()).or_else(|| self.next_mend_write())
    }

    pub(super) fn handle_background(&mut self, id: IoId, result: Result<(), IoError>) {
        let (expected, work) = self.background.in_flight.take().expect("a result belongs to something under way");
        assert_eq!(id, expected, "a result belongs to what is under way");
        // It says nothing of the disk's space, and a failure harms nobody further.
        if let Work::Mend { file, at, data, .. } = work {
            return self.mend_written(file, at, data.len(), result);
        }
        match result {
            Ok(()) => {
                // Removing is possible on a full disk, so it does not say that the disk has space again.
                if !matches!(work, Work::Remove { .. }) {
                    self.background.retry_at = None;
                }
                if matches!(work, Work::Prepare { .. }) {
                    let at = self.appended();
                    match self.background.lacks_segment.take() {
                        Some(IoError::NoSpace) => tracing::info!(%at, "the disk has room again"),
                        Some(_) => tracing::info!(%at, "segments can be made again"),
                        None => {}
                    }
                }
                self.done(work);
            }
            Err(error @ (IoError::NoSpace | IoError::NotBegun { .. })) => self.try_again(work, error),
            Err(error) => {
                let (file, what) = match work {
                    Work::Prepare { file, .. } => (file, "preparing"),
                    Work::Rename { from, .. } => (from, "renaming"),
                    Work::Remove { file } => (file, "removing"),
                    Work::Write { file, .. } => (file, "writing"),
                    Work::Replace { file, .. } => (file, "replacing"),
                    Work::Mend { .. } => unreachable!("its result is taken above"),
                };
                self.fail(file, what, error);
            }
        }
    }

    fn done(&mut self, work: Work) {
        match work {
            Work::Prepare { file, at, len, .. } => self.segments.prepared(file, at, len),
            Work::Rename { from: FileName::Spare(number), to: FileName::Segment(start) } => {
                self.segments.placed(number, start);
            }
            Work::Rename { to: FileName::Spare(number), .. } => self.segments.recycled(number),
            Work::Rename { from, to } => unreachable!("{from} is never renamed to {to}"),
            Work::Remove { .. } => {}
            Work::Write { .. } => self.index.wrote(),
            Work::Mend { .. } => unreachable!("its result is taken before"),
            Work::Replace { file: FileName::Ends(copy), .. } => self.checkpointer.kept_ends(copy),
            Work::Replace { .. } => self.checkpointed(),
        }
    }

    /// Nothing was written: the same is asked again later.
    fn try_again(&mut self, work: Work, error: IoError) {
        self.background.retry_at = Some(self.now.mono.plus_ms(NO_SPACE_RETRY_MS));
        match work {
            Work::Write { .. } => self.index.write_failed(),
            Work::Mend { .. } => unreachable!("its result is taken before"),
            Work::Replace { file: FileName::Ends(_), .. } if !self.checkpointer.is_keeping_ends() => {
                self.background.retired.push_front(work);
            }
            Work::Replace { .. } => self.checkpoint_failed(),
            // Renames and removals need next to nothing; what they wait for is asked again, in order.
            Work::Rename { .. } | Work::Remove { .. } => self.background.retired.push_front(work),
            // A master says so to whoever sends; a slave could only stand still.
            Work::Prepare { .. } => {
                let (at, said) = (self.appended(), self.background.lacks_segment.replace(error));
                match error {
                    _ if said == Some(error) => {}
                    IoError::NoSpace => {
                        tracing::warn!(%at, "the disk is full: there is no room for the next segment; free space, it is tried again every second");
                    }
                    _ => {
                        tracing::warn!(%at, %error, "the next segment cannot be made; let this user write there, it is tried again every second");
                    }
                }
            }
        }
    }

    /// Takes of other settings what may change while the log is in use: what may be thrown away, and when, and how often it is read through.
    pub(crate) fn change_settings(&mut self, changed: &LogSettings) {
        // All of them are named, so that a new one is decided about.
        let LogSettings {
            retention,
            scrub_interval_ms,
            segment_bytes: _,
            flush: _,
            has_record_crc: _,
            commit_bytes_max: _,
            prepare_bytes: _,
            cache_bytes: _,
            queue_block_entries: _,
            branch_references: _,
            key_run_entries: _,
            index_file_bytes: _,
            checkpoint_bytes: _,
            delay_levels: _,
            has_light: _,
        } = *changed;
        if scrub_interval_ms != self.settings.scrub_interval_ms {
            self.scrub.begin_pace();
        }
        self.settings = LogSettings { retention, scrub_interval_ms, ..self.settings };
    }

    /// From here on lies what is still to be delivered: it does not go for its age.
    pub(crate) fn hold(&mut self, from: Option<LogOffset>) {
        self.held_from = from;
    }

    /// Retention and the cadence of checkpoints. `disk` is the disk of the store. Call it some times a second; it does a bounded piece of work.
    pub(crate) fn tick(&mut self, now: Now, disk: DiskUsage) {
        self.now = now;
        if self.failure().is_some() {
            return;
        }
        let percent = disk.percent();
        let time = self.clock.time(now, self.settings.retention.clock_accepted);
        self.time_stamp = Some(self.clock.stamp(now));
        let retention = self.settings.retention;
        self.is_disk_refused = percent >= u64::from(retention.used_percent_refused);
        // Best effort: it is tried again before the next append in any case.
        let _ = self.append_removals();
        if self.background.retired.is_empty() {
            self.retire_one(time, percent);
        }
        self.queues.trim_some(TRIM_QUEUES_PER_TICK, self.start());
        self.queues.count_some(TRIM_QUEUES_PER_TICK);
        self.keys.trim(self.start());
        self.damage.trim(self.start());
        self.replicated.blocks.tick();
        self.tick_scrub();
        self.begin_checkpoint_if_due();
    }

    /// Lets segments whose time is over go from the next tick on, whatever the hour.
    pub(crate) fn delete_expired(&mut self) {
        self.background.is_called = true;
    }

    /// Takes at most one file out of the log or the index.
    fn retire_one(&mut self, now: UnixMs, percent: u64) {
        let retention = self.settings.retention;
        let is_tight = percent >= u64::from(retention.used_percent_max);
        let is_forced = retention.used_percent_forced.is_some_and(|max| percent >= u64::from(max));
        let Some(oldest) = self.segments.oldest().copied() else { return };
        let is_held = self.is_held(oldest.start.plus(self.segments.size()));
        let is_expired = self.is_expired(0, now) && !is_held;
        let is_wholly_flushed = oldest.start.plus(self.segments.size()) <= self.flushed;
        let is_hour = self.background.is_called || retention.delete_hours & (1 << hour_of(now)) != 0;
        self.background.is_called &= is_expired;
        if is_wholly_flushed && (is_forced || (is_expired && (is_hour || is_tight))) {
            let is_needed = oldest.start.plus(self.segments.size()) > self.checkpointer.start_max();
            if is_needed {
                // A start would read it, and would not know without it where its queues go on: first a checkpoint that does without, and
                // ends that say so, for all segments that are to go.
                let wanted = self.expired_until(now, is_forced);
                self.checkpointer.want_start(wanted);
            } else if let Some(work) = self.segments.retire(!is_tight) {
                if is_held {
                    tracing::error!(
                        segment = %oldest.start,
                        "the disk is full: messages go that wait for their time and were not delivered"
                    );
                }
                self.caches.log.forget(FileName::Segment(oldest.start));
                self.replicated.blocks.forget(FileName::Segment(oldest.start));
                self.background.retired.push_back(work);
                return;
            }
        }
        if let Some(file) = self.index.retire(self.start()) {
            self.caches.index.forget(file);
            self.background.retired.push_back(Work::Remove { file });
            return;
        }
        let keep = if is_tight { 0 } else { SPARES_MAX };
        if self.segments.has_next()
            && let Some(work) = self.segments.drop_spare(keep)
        {
            self.background.retired.push_back(work);
        }
    }

    /// Whether the time of the `nth` segment is over. An empty one behind the writer has no times; it is as old as what follows.
    fn is_expired(&self, nth: usize, now: UnixMs) -> bool {
        let age_ms = self.segments.written_last(nth).map_or(i64::MAX, |last| now.0.saturating_sub(last));
        age_ms > i64::from(self.settings.retention.reserved_hours) * 3_600_000
    }

    /// Whether something before `end` is still to be delivered.
    fn is_held(&self, end: LogOffset) -> bool {
        self.held_from.is_some_and(|from| from < end)
    }

    /// Where the log begins when all segments are gone whose time is over; the oldest one counts in any case.
    fn expired_until(&self, now: UnixMs, is_forced: bool) -> LogOffset {
        let size = self.segments.size();
        let ends = self.segments.iter().map(|segment| segment.start.plus(size)).enumerate();
        let expired = ends.take_while(|&(nth, end)| {
            let is_over = || nth < EXPIRED_AT_ONCE && self.is_expired(nth, now) && !self.is_held(end);
            end <= self.flushed && (nth == 0 || (!is_forced && is_over()))
        });
        expired.last().map_or(self.start(), |(_, end)| end)
    }

    /// The clock should say `expected` now, by what an earlier process on this machine has seen of it, or by what it says itself. What the next
    /// process is to be told of this moment.
    pub(crate) fn expect_time(&mut self, now: Now, expected: UnixMs) -> UnixMs {
        self.clock.resume(now, expected);
        self.clock.time(now, self.settings.retention.clock_accepted);
        let stamp = self.clock.stamp(now);
        self.time_stamp = Some(stamp);
        stamp
    }

    /// The machine was started anew since `newest`, the time of the newest file that the last process has left.
    pub(crate) fn expect_time_after_boot(&mut self, now: Now, newest: UnixMs) {
        self.clock.resume_after_boot(now, newest);
        self.clock.time(now, self.settings.retention.clock_accepted);
        self.time_stamp = Some(self.clock.stamp(now));
    }

    /// Empties all queues of a topic: a topic of the same name that is created later begins at 0. It survives a crash on the rung that
    /// appends have.
    pub(crate) fn remove_topic(&mut self, topic: &str) {
        self.empty_topic(topic, self.appended());
        self.removals.push_back(topic.to_owned());
        // If there is no room now, it goes in before anything else.
        let _ = self.append_removals();
    }

    /// Whether all topics that were removed here are so on the disk.
    pub(crate) fn has_flushed_removals(&self) -> bool {
        self.removals.is_empty() && self.removed_until <= self.flushed
    }

    /// What is appended now is to be flushed soon, also where nobody else waits for it.
    pub(crate) fn flush_soon(&mut self) {
        self.flush_wanted = self.appended();
    }

    /// Empties the queues of a topic of all that lies below `at`.
    pub(super) fn empty_topic(&mut self, topic: &str, at: LogOffset) {
        let removed = self.queues.remove_topic(topic, at);
        self.forget_reads(&removed);
    }

    /// Writes removals that wait. Nothing may be appended before them: it could belong to a topic of the same name.
    pub(super) fn append_removals(&mut self) -> Result<(), AppendError> {
        while let Some(topic) = self.removals.front() {
            let body = topic.clone();
            let nowhere = std::net::SocketAddr::from(([0, 0, 0, 0], 0));
            let draft = RecordDraft {
                topic: REMOVAL_TOPIC,
                queue_id: QueueId(0),
                flag: 0,
                sys_flag: 0,
                born_timestamp: self.now.unix.0,
                born_host: nowhere,
                store_host: nowhere,
                store_timestamp: self.now.unix.0,
                reconsume_times: 0,
                prepared_transaction_offset: 0,
                body: body.as_bytes(),
                properties: b"",
                marks: Marks::default(),
            };
            let record = Sized::new(&draft, self.settings.has_record_crc).expect("a topic's name is short");
            self.make_room(record.size())?;
            self.put(&record, QueueOffset(0));
            self.removed_until = self.appended();
            self.advance_confirm();
            self.removals.pop_front();
        }
        Ok(())
    }
}

/// Hour of the day, UTC: the core knows no time zone.
fn hour_of(now: UnixMs) -> i64 {
    now.0.div_euclid(3_600_000).rem_euclid(24)
}

const _: () = assert!(INDEX_WRITE_BYTES_MIN >= DISK_BLOCK_BYTES, "an index write is worth a disk block");
