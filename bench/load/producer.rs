//! One sending connection.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use mio::{Registry, Token};

use crate::load::clock::{SECOND_NS, now_ns};
use crate::load::connection::{Connection, Pending, ReadBuffer, Waiting};
use crate::load::error::LoadError;
use crate::load::frame::{HEART_BEAT, HeaderKind, OPAQUE_MIN, Packer, SEND_GROUP, SendPatch, SendTemplate, request};
use crate::load::record::Stamp;
use crate::load::scan::remark;
use crate::load::tally::{Tally, Verdict};
use crate::load::transaction::{Endings, Half};

/// How long a request may stay without a reply before a load that may reconnect sends it elsewhere: the stock clients' time-out.
const REPLY_TIMEOUT_NS: u64 = 3 * SECOND_NS;

/// What all producers of a run share.
#[derive(Debug)]
pub struct Kit {
    /// Writes requests.
    pub packer: Packer,
    /// One a topic and queue.
    pub templates: Vec<SendTemplate>,
    /// Keeps messages of different runs apart.
    pub run_id: u64,
    /// Messages of one request.
    pub batch: u64,
    /// How request headers are written.
    pub header: HeaderKind,
    /// How transactions end, if messages are such.
    pub transactions: Option<Endings>,
    /// Whether no replies come.
    pub is_oneway: bool,
    /// Whether requests are due at times of their own; in a closed loop a request is due when it is sent, and there is no delay to measure.
    pub is_open: bool,
}

/// Sends on one connection, to all queues in turn, and matches the replies.
#[derive(Debug)]
pub struct Producer {
    target: SocketAddr,
    /// `None` while it is broken and not yet made again.
    link: Option<Connection>,
    is_up: bool,
    kit: Rc<Kit>,
    next_queue: usize,
    sender: u32,
    pending: Pending,
    /// Requests gathered since the last flush.
    gathered: Vec<Waiting>,
}

impl Producer {
    /// Number `sender` of the run's producers, on a connection that is made. Starts with queue `first_queue`, so that connections do not all
    /// begin with the same one.
    pub fn new(connection: Connection, kit: Rc<Kit>, first_queue: usize, sender: u32) -> Self {
        let next_queue = first_queue % kit.templates.len();
        Self {
            target: connection.target(),
            link: Some(connection),
            is_up: true,
            kit,
            next_queue,
            sender,
            pending: Pending::default(),
            gathered: Vec::new(),
        }
    }

    /// Whether what is sent has a way to go.
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// Whether each request has its reply.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty() && self.gathered.is_empty()
    }

    /// Gathers one request for the next flush; it is handed to the socket at `now`.
    pub fn send(&mut self, sequence: u64, intended_ns: u64, now: u64, born_ms: u64) {
        let Some(link) = &mut self.link else { return };
        let waiting = Waiting { intended_ns, sent_ns: now, sequence, half_ns: None };
        let opaque = if self.kit.is_oneway { OPAQUE_MIN } else { self.pending.insert(waiting) };
        let stamp = Stamp { intended_ns, sequence, run_id: self.kit.run_id, sender: self.sender };
        let template = &self.kit.templates[self.next_queue];
        self.kit.packer.write(link.out(), template, &SendPatch { opaque, born_ms, stamp });
        self.next_queue = if self.next_queue + 1 == self.kit.templates.len() { 0 } else { self.next_queue + 1 };
        if self.kit.is_open {
            self.gathered.push(waiting);
        }
    }

    /// Writes what was gathered, counts how late it was, and calls `on_sent(sequence)` for requests that want no reply.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn flush(&mut self, tally: &mut Tally, mut on_sent: impl FnMut(u64)) -> Result<(), LoadError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        if !self.is_up {
            return Ok(());
        }
        link.flush()?;
        if link.is_flushed() && !self.gathered.is_empty() {
            let now = now_ns();
            for waiting in self.gathered.drain(..) {
                tally.left(waiting.intended_ns, now, self.kit.batch);
                if self.kit.is_oneway {
                    tally.left_for_good(waiting.intended_ns, now, self.kit.batch);
                    on_sent(waiting.sequence);
                }
            }
        }
        Ok(())
    }

    /// Reads replies; calls `on_stored(sequence)` for each request whose messages the broker holds.
    ///
    /// # Errors
    /// When the connection ended, broke, or brings what is no frame.
    pub fn receive(
        &mut self,
        buffer: &mut ReadBuffer,
        tally: &mut Tally,
        mut on_stored: impl FnMut(u64),
    ) -> Result<(), LoadError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        if !self.is_up {
            self.is_up = link.is_up()?;
            if !self.is_up {
                return Ok(());
            }
            self.heartbeat();
        }
        let Some(link) = &mut self.link else { return Ok(()) };
        let (pending, kit, target) = (&mut self.pending, &self.kit, self.target);
        // What transactions go on with; for the next flush.
        let mut ends = Vec::new();
        link.receive(buffer, |now, head, frame| {
            if !head.is_reply() {
                let answer = kit.transactions.and_then(|endings| endings.answer(kit.header, head, frame, kit.run_id));
                if let Some(answer) = answer {
                    tally.asked();
                    ends.extend_from_slice(&answer);
                }
                return Ok(());
            }
            let Some(waiting) = pending.take(head.opaque) else { return Ok(()) };
            let verdict = Verdict::of_code(head.code);
            if let Some(endings) = kit.transactions {
                match waiting.half_ns {
                    Some(half_ns) => tally.ended(waiting, half_ns, now, endings.commits(waiting.sequence)),
                    None if verdict == Verdict::Stored => {
                        let missing = LoadError::FieldMissing { target, request: "half message", field: "msgId" };
                        let half = Half::read(frame).ok_or(missing)?;
                        tally.prepared(waiting, now);
                        let opaque = pending.insert(Waiting { half_ns: Some(now), ..waiting });
                        ends.extend(endings.end(kit.header, opaque, &half, (kit.run_id, waiting.sequence)));
                        return Ok(());
                    }
                    // As stock clients have it, one that is not stored as promised is no transaction.
                    None => {}
                }
            }
            tally.reply(waiting, now, verdict, kit.batch);
            match verdict {
                Verdict::Failed(code) => tally.remark(code, || remark(frame)),
                _ => on_stored(waiting.sequence),
            }
            Ok(())
        })?;
        link.out().extend(ends);
        Ok(())
    }

    /// Makes the group of those who send known: brokers ask its members what became of transactions.
    pub fn heartbeat(&mut self) {
        let body = serde_json::json!({
            "clientID": format!("127.0.0.1@ringmq-bench#{}#{}", std::process::id(), self.sender),
            "consumerDataSet": [],
            "producerDataSet": [{ "groupName": SEND_GROUP }],
        });
        let frame = request(self.kit.header, HEART_BEAT, OPAQUE_MIN - 1, &[], body.to_string().as_bytes());
        if let Some(link) = self.link.as_mut().filter(|_| self.is_up && self.kit.transactions.is_some()) {
            link.out().extend_from_slice(&frame);
        }
    }

    /// Gives the connection up; what has no reply goes to `orphans`, to be sent again.
    pub fn lose(&mut self, orphans: &mut VecDeque<Waiting>) {
        self.link = None;
        self.is_up = false;
        orphans.extend(self.pending.take_older(u64::MAX));
        if self.kit.is_oneway {
            orphans.extend(self.gathered.iter().copied());
        }
        self.gathered.clear();
    }

    /// Begins to connect again if it has no connection.
    pub fn reconnect(&mut self, registry: &Registry, token: Token) {
        if self.link.is_none() {
            // One that fails at once is tried again like one that breaks.
            self.link = Connection::begin(self.target, registry, token).ok();
        }
    }

    /// Takes back what had no reply for the stock clients' time-out, to be sent again.
    pub fn expire(&mut self, now: u64, orphans: &mut VecDeque<Waiting>) {
        orphans.extend(self.pending.take_older(now.saturating_sub(REPLY_TIMEOUT_NS)));
    }

    /// Requests without a reply.
    pub fn pending(&self) -> &Pending {
        &self.pending
    }
}
