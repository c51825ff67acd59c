//! One sending connection.

use std::rc::Rc;

use crate::load::clock::{now_ns, unix_ms};
use crate::load::connection::{Connection, Pending, ReadBuffer, Waiting};
use crate::load::error::LoadError;
use crate::load::frame::{SendPatch, SendTemplate};
use crate::load::record::Stamp;
use crate::load::scan::remark;
use crate::load::schedule::Due;
use crate::load::tally::{Tally, Verdict};

/// Sends on one connection, to all queues in turn, and matches the replies.
#[derive(Debug)]
pub struct Producer {
    /// The socket; the loop flushes it.
    pub connection: Connection,
    templates: Rc<[SendTemplate]>,
    next_queue: usize,
    run_id: u64,
    pending: Pending,
    /// Messages gathered since the last flush: when they were due.
    gathered: Vec<u64>,
}

impl Producer {
    /// Starts with queue `first_queue`, so that connections do not all begin with the same one. `templates` has one entry a queue.
    pub fn new(connection: Connection, templates: Rc<[SendTemplate]>, first_queue: usize, run_id: u64) -> Self {
        let next_queue = first_queue % templates.len();
        Self { connection, templates, next_queue, run_id, pending: Pending::default(), gathered: Vec::new() }
    }

    /// Gathers one message for the next flush.
    pub fn send(&mut self, due: Due, born_ms: u64) {
        let opaque = self.pending.insert(Waiting { intended_ns: due.intended_ns, sequence: due.sequence });
        let stamp = Stamp { intended_ns: due.intended_ns, sequence: due.sequence, run_id: self.run_id };
        self.templates[self.next_queue].write(self.connection.out(), &SendPatch { opaque, born_ms, stamp });
        self.next_queue = if self.next_queue + 1 == self.templates.len() { 0 } else { self.next_queue + 1 };
        self.gathered.push(due.intended_ns);
    }

    /// Gathers messages until `in_flight` wait for a reply; they are due now. Counts `sequence` up.
    pub fn fill(&mut self, in_flight: usize, sequence: &mut u64) {
        if self.pending.len() >= in_flight {
            return;
        }
        let (intended_ns, born_ms) = (now_ns(), unix_ms());
        while self.pending.len() < in_flight {
            self.send(Due { sequence: *sequence, intended_ns }, born_ms);
            *sequence += 1;
        }
        // In a closed loop a message is due when it is sent: there is no delay to speak of.
        self.gathered.clear();
    }

    /// Writes what was gathered and counts how late it was.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn flush(&mut self, tally: &mut Tally) -> Result<(), LoadError> {
        self.connection.flush()?;
        if self.connection.is_flushed() && !self.gathered.is_empty() {
            let now = now_ns();
            for intended_ns in self.gathered.drain(..) {
                tally.left(intended_ns, now);
            }
        }
        Ok(())
    }

    /// Reads replies; calls `on_stored(sequence)` for each message that the broker holds.
    ///
    /// # Errors
    /// When the connection ended, broke, or brings what is no frame.
    pub fn receive(
        &mut self,
        buffer: &mut ReadBuffer,
        tally: &mut Tally,
        mut on_stored: impl FnMut(u64),
    ) -> Result<(), LoadError> {
        let pending = &mut self.pending;
        self.connection.receive(buffer, |now, head, frame| {
            if !head.is_reply() {
                return Ok(());
            }
            let Some(waiting) = pending.take(head.opaque) else { return Ok(()) };
            let verdict = Verdict::of_code(head.code);
            tally.reply(waiting.intended_ns, now, verdict);
            match verdict {
                Verdict::Failed(code) => tally.remark(code, || remark(frame)),
                _ => on_stored(waiting.sequence),
            }
            Ok(())
        })
    }

    /// Requests without a reply.
    pub fn pending(&self) -> &Pending {
        &self.pending
    }
}
