//! The disk's share of the pump: commits, background work, fetches of old data, tables.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeSet, VecDeque};
use std::path::Path;
use std::rc::Rc;

use super::aside::damaged_path;
use super::pump::Shard;
use crate::disk::DiskError;
use crate::limits::{FETCHES_MAX, FETCHES_WAITING_MAX};
use crate::log::{BlockId, Commit, DiskUsage, FileName, Flush, IoError, Work};
use crate::said::BY_STRANGERS;

/// EIO: what the kernel says when it has no better number, and what the log is told of a short write.
const EIO: i32 = 5;

/// What the log is told of a failed operation.
pub(super) fn io_error(error: &DiskError) -> IoError {
    if error.is_no_space() {
        IoError::NoSpace
    } else if error.has_not_begun() {
        IoError::NotBegun { errno: error.source.raw_os_error().unwrap_or(EIO) }
    } else {
        IoError::Failed { errno: error.source.raw_os_error().unwrap_or(EIO) }
    }
}

/// Blocks of old data that are wanted, each once, and how many reads are under way.
#[derive(Debug, Default)]
pub(super) struct Fetches {
    waiting: RefCell<VecDeque<BlockId>>,
    /// What nobody waits for yet, read when nothing else is wanted.
    ahead: RefCell<VecDeque<BlockId>>,
    /// In one of them, or under way.
    known: RefCell<BTreeSet<BlockId>>,
    running: Cell<usize>,
}

impl Fetches {
    /// Notes a block that somebody waits for.
    pub(super) fn want(&self, block: BlockId) {
        let is_known = !self.known.borrow_mut().insert(block);
        let mut ahead = self.ahead.borrow_mut();
        if is_known {
            let Some(place) = ahead.iter().position(|waiting| *waiting == block) else { return };
            ahead.remove(place);
        }
        self.waiting.borrow_mut().push_back(block);
    }

    /// Notes a block that will be wanted; it is forgotten if there is too much to do.
    pub(super) fn want_ahead(&self, block: BlockId) {
        let mut ahead = self.ahead.borrow_mut();
        if ahead.len() < FETCHES_WAITING_MAX && self.known.borrow_mut().insert(block) {
            ahead.push_back(block);
        }
    }

    fn begin(&self) -> Option<BlockId> {
        if self.running.get() >= FETCHES_MAX {
            return None;
        }
        let block = self.waiting.borrow_mut().pop_front().or_else(|| self.ahead.borrow_mut().pop_front())?;
        self.running.set(self.running.get() + 1);
        Some(block)
    }

    /// Whether no read is under way; what waits is forgotten.
    pub(super) fn is_quiet(&self) -> bool {
        for block in self.waiting.borrow_mut().drain(..).chain(self.ahead.borrow_mut().drain(..)) {
            self.known.borrow_mut().remove(&block);
        }
        self.running.get() == 0
    }

    fn end(&self, block: BlockId) {
        self.known.borrow_mut().remove(&block);
        self.running.set(self.running.get() - 1);
    }
}

impl Shard {
    /// Writes what has gathered while the last write was under way, for ever. It never waits for a timer.
    pub(super) async fn commit_loop(self: Rc<Self>) {
        loop {
            match self.ask(|broker, _| broker.poll_commit()) {
                None => self.commit_wanted.wait().await,
                Some(commit) => {
                    let Some(written) = self.write(self.write_commit(&commit)).await else {
                        self.until_open().await;
                        continue;
                    };
                    let written = written.map_err(|error| io_error(&error));
                    self.act("commit", |broker, now, out| broker.handle_io(now, commit.id, written, out));
                }
            }
        }
    }

    async fn write_commit(&self, commit: &Commit) -> Result<(), DiskError> {
        let path = commit.segment.to_path();
        let path = Path::new(&path);
        let fill = |block: &mut [u8]| self.look(|broker| broker.fill_commit(commit, block));
        match commit.flush {
            Flush::None => self.disk.write(path, commit.at, commit.len, fill).await,
            Flush::Own => self.disk.write_durably(path, commit.at, commit.len, fill).await,
            Flush::File => {
                self.disk.write(path, commit.at, commit.len, fill).await?;
                self.disk.flush(path).await
            }
        }
    }

    /// Does the log's background work, one piece at a time, for ever.
    pub(super) async fn background_loop(self: Rc<Self>) {
        loop {
            match self.ask(|broker, now| broker.poll_background(now)) {
                None => self.background_wanted.wait().await,
                Some(io) => {
                    let Some(done) = self.write(self.do_work(io.work)).await else {
                        self.until_open().await;
                        continue;
                    };
                    let done = done.map_err(|error| io_error(&error));
                    self.act("background", |broker, now, out| broker.handle_io(now, io.id, done, out));
                    glommio::yield_if_needed().await;
                }
            }
        }
    }

    async fn do_work(&self, work: Work) -> Result<(), DiskError> {
        if let Work::Remove { file: file @ FileName::Segment(_) }
        | Work::Rename { from: file @ FileName::Segment(_), .. } = &work
        {
            tracing::info!(%file, "retention takes a segment");
        }
        match work {
            Work::Prepare { file, at, len, size } => self.disk.prepare(Path::new(&file.to_path()), at, len, size).await,
            Work::Rename { from, to } => self.disk.rename(Path::new(&from.to_path()), Path::new(&to.to_path())).await,
            Work::Remove { file } => self.disk.remove(Path::new(&file.to_path())).await,
            Work::Write { file, at, data, flush } => {
                self.disk.write_background(Path::new(&file.to_path()), at, &data, flush).await
            }
            Work::Mend { file, at, data, before } => {
                let path = file.to_path();
                self.disk.mend(Path::new(&path), at, &data, &damaged_path(file, at), before).await
            }
            Work::Replace { file, data } => self.disk.replace(Path::new(&file.to_path()), data).await,
        }
    }

    /// Starts as many reads of old data as may run.
    pub(super) fn start_fetches(self: &Rc<Self>) {
        while let Some(block) = self.fetches.begin() {
            let shard = self.clone();
            self.runtime.spawn(self.runtime.queues.background, async move {
                let path = block.file.to_path();
                let read = shard.disk.read(Path::new(&path), block.at, usize::try_from(block.len).unwrap_or(0)).await;
                shard.fetches.end(block);
                let data = read.map_err(|error| {
                    tracing::warn!(target: BY_STRANGERS, %error, "old data could not be read");
                    io_error(&error)
                });
                shard.act("block", |broker, now, out| broker.handle_block(now, block, data, out));
            });
        }
    }

    /// Asks how full the disk is; the next tick knows.
    pub(super) fn spawn_measure(self: &Rc<Self>) {
        let shard = self.clone();
        self.runtime.spawn(self.runtime.queues.background, async move {
            if let Ok(usage) = shard.disk.usage().await {
                let used_bytes = usage.total_bytes.saturating_sub(usage.free_bytes);
                shard.usage.set(DiskUsage { used_bytes, total_bytes: usage.total_bytes });
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::FileName;
    use crate::model::LogOffset;

    #[test]
    fn who_waits_for_a_block_goes_before_those_that_are_read_ahead() {
        let block = |at| BlockId { file: FileName::Segment(LogOffset(0)), at, len: 4096 };
        let fetches = Fetches::default();
        for at in [0, 1, 2, 3] {
            fetches.want_ahead(block(at));
        }
        fetches.want(block(9));
        fetches.want(block(2));
        fetches.want(block(9));
        let order: Vec<u64> = std::iter::from_fn(|| fetches.begin()).map(|block| block.at).collect();
        assert_eq!(order, [9, 2, 0, 1], "as many as are read at once");
        fetches.end(block(9));
        fetches.want(block(9));
        fetches.end(block(2));
        assert_eq!(fetches.begin().map(|block| block.at), Some(9), "again");
        for at in 100..100 + 2 * FETCHES_WAITING_MAX as u64 {
            fetches.want_ahead(block(at));
        }
        assert_eq!(fetches.ahead.borrow().len(), FETCHES_WAITING_MAX);
        assert_eq!(fetches.known.borrow().len(), FETCHES_WAITING_MAX + 3);
        assert!(!fetches.is_quiet(), "some are under way");
        assert_eq!(fetches.known.borrow().len(), 3);
    }
}
