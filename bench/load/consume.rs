//! Pulling without sending: what is stored already, as fast as it comes (a backlog), or what others send, as they send it.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::{Events, Poll, Token};
use serde::{Deserialize, Serialize};

use crate::load::clock::{SECOND_NS, Timer, nanos, now_ns};
use crate::load::connection::{Connection, ReadBuffer};
use crate::load::consumer::{Books, Consumer, Post, Queue};
use crate::load::error::LoadError;
use crate::load::frame::{GET_MIN_OFFSET, HeaderKind};
use crate::load::prelude::{open_consumer, queue_offsets};
use crate::load::report::Percentiles;
use crate::load::run::ratio;
use crate::load::schedule::Window;
use crate::load::skew::{self, Skew};
use crate::load::tally::Tally;
use crate::load::view::View;

const TIMER: Token = Token(usize::MAX - 1);
const EVENTS_MAX: usize = 1024;

/// What is pulled.
#[derive(Debug, Clone)]
pub struct ConsumeSettings {
    /// Brokers, each with its replicas.
    pub sources: Vec<Vec<SocketAddr>>,
    /// The queues of each of `sources`.
    pub queues: Vec<Rc<[Queue]>>,
    /// Groups that pull all messages each.
    pub groups: usize,
    /// Whether to pull what is sent from now on; else what is stored by now.
    pub is_live: bool,
    /// Longest time.
    pub duration: Duration,
    /// The clock of those who send, if they are on another machine.
    pub clock: Option<SocketAddr>,
    /// How request headers are written.
    pub header: HeaderKind,
}

/// What came.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ConsumeReport {
    /// `backlog` or `live`.
    pub mode: String,
    /// Whether all of a backlog came, or the whole time was measured.
    pub complete: bool,
    /// Why it ended, one sentence.
    pub ended: String,
    /// Messages, by all groups.
    pub messages: u64,
    /// Bytes of their bodies.
    pub bytes: u64,
    /// Seconds.
    pub elapsed_s: f64,
    /// Messages a second.
    pub rate_per_s: f64,
    /// Body bytes a second, in units of 1,000,000.
    pub megabytes_per_s: f64,
    /// Live: from the moment a message was due until a consumer had it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_to_end_us: Option<Percentiles>,
    /// How far the clock of those who sent is from ours, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clock: Option<Skew>,
    pub pulls_refused: u64,
    /// What the broker said to the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_refusal: Option<String>,
}

/// Pulls until the backlog is there, or until the time is over.
///
/// # Errors
/// When it could not begin; a fault in between is in [`ConsumeReport::ended`].
pub fn consume(settings: &ConsumeSettings, stop: &AtomicBool, view: &mut View) -> Result<ConsumeReport, LoadError> {
    let ask = |address: SocketAddr| {
        let failed = |source| LoadError::Prepare { target: address, request: "clock", source };
        skew::measure(address).map_err(failed)
    };
    let before = settings.clock.map(ask).transpose()?;
    let mut pulling = Pulling::connect(settings, before)?;
    let result = pulling.run(stop, view);
    view.end();
    let elapsed_ns = now_ns().saturating_sub(pulling.start_ns).max(1);
    let clock = match (before, settings.clock) {
        // One that is gone by now leaves the bound of the beginning, which says nothing of drift.
        (Some(before), Some(address)) => Some(ask(address).map_or(before, |after| before.until(after))),
        _ => None,
    };
    let (messages, bytes) = pulling.books.pulled();
    let (pulls_refused, first_refusal) = pulling.books.refusals();
    let per_second = |count: u64| ratio(count, elapsed_ns) * 1e9;
    let (complete, ended) = match result {
        Ok(End::Drained) if messages == 0 => (false, "nothing is stored in these queues".to_owned()),
        Ok(End::Drained) => (true, "the backlog is there".to_owned()),
        Ok(End::TimeOver) if settings.is_live => (true, "finished".to_owned()),
        Ok(End::TimeOver) => (false, "the time was over before the backlog".to_owned()),
        Ok(End::Interrupted) => (false, "interrupted".to_owned()),
        Err(error) => (false, error.to_string()),
    };
    Ok(ConsumeReport {
        mode: if settings.is_live { "live" } else { "backlog" }.to_owned(),
        complete,
        ended,
        messages,
        bytes,
        elapsed_s: ratio(elapsed_ns, SECOND_NS),
        rate_per_s: (per_second(messages) * 10.0).round() / 10.0,
        megabytes_per_s: (per_second(bytes) / 1e5).round() / 10.0,
        end_to_end_us: settings.is_live.then(|| Percentiles::of(pulling.tally.end_to_end())),
        clock,
        pulls_refused,
        first_refusal: first_refusal.map(str::to_owned),
    })
}

enum End {
    Drained,
    TimeOver,
    Interrupted,
}

struct Pulling {
    poll: Poll,
    timer: Timer,
    buffer: ReadBuffer,
    consumers: Vec<Consumer>,
    /// Where each consumer's queues end, if that is where to stop.
    ends: Option<Vec<Vec<i64>>>,
    books: Books,
    tally: Tally,
    start_ns: u64,
    end_ns: u64,
}

impl Pulling {
    fn connect(settings: &ConsumeSettings, clock: Option<Skew>) -> Result<Self, LoadError> {
        let system = |action| move |source: io::Error| LoadError::System { action, source };
        let poll = Poll::new().map_err(system("create an epoll set"))?;
        let timer = Timer::new(poll.registry(), TIMER).map_err(system("create a timer"))?;
        let (mut consumers, mut ends) = (Vec::new(), Vec::new());
        for group in 0..settings.groups {
            for (source, replicas) in settings.sources.iter().enumerate() {
                let (queues, header) = (Rc::clone(&settings.queues[source]), settings.header);
                let post =
                    Post { group, source, replicas: replicas.clone(), queues, header, filter: None, pops: false };
                let (mut stream, end) = open_consumer(&post)?;
                let target = post.replicas[0];
                let begin = if settings.is_live {
                    end.clone()
                } else {
                    queue_offsets(&mut stream, target, &post, GET_MIN_OFFSET)?
                };
                let token = Token(consumers.len());
                let connection = Connection::watch(stream, target, poll.registry(), token)?;
                consumers.push(Consumer::new(connection, post, begin));
                ends.push(end);
            }
        }
        let start_ns = now_ns();
        let end_ns = start_ns.saturating_add(nanos(settings.duration));
        // What was due before the beginning is no message of this time.
        let window = Window { start_ns, end_ns };
        Ok(Self {
            poll,
            timer,
            buffer: ReadBuffer::default(),
            consumers,
            ends: (!settings.is_live).then_some(ends),
            books: Books::of_others(settings.groups, clock),
            tally: Tally::new(window),
            start_ns,
            end_ns,
        })
    }

    fn run(&mut self, stop: &AtomicBool, view: &mut View) -> Result<End, LoadError> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut seconds = 0;
        loop {
            // At the start all queues, later those whose pull was refused.
            for consumer in &mut self.consumers {
                consumer.retry();
                consumer.flush()?;
            }
            let tick_ns = self.start_ns + (seconds + 1) * SECOND_NS;
            while now_ns() < tick_ns.min(self.end_ns) {
                if stop.load(Ordering::Relaxed) {
                    return Ok(End::Interrupted);
                }
                if self.is_drained() {
                    return Ok(End::Drained);
                }
                self.step(&mut events, tick_ns.min(self.end_ns))?;
            }
            if now_ns() >= self.end_ns {
                return Ok(End::TimeOver);
            }
            seconds += 1;
            let second = self.tally.end_second(seconds, false, 0, 0);
            view.second(&second, self.books.refusals().0);
            if seconds.is_multiple_of(30) {
                self.consumers.iter_mut().for_each(Consumer::heartbeat);
            }
        }
    }

    fn step(&mut self, events: &mut Events, wake_ns: u64) -> Result<(), LoadError> {
        let armed = self.timer.arm(wake_ns, now_ns());
        armed.map_err(|source| LoadError::System { action: "arm the timer", source })?;
        match self.poll.poll(events, None) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            Err(source) => return Err(LoadError::System { action: "wait for events", source }),
            Ok(()) => {}
        }
        for event in &*events {
            if let Some(consumer) = self.consumers.get_mut(event.token().0) {
                consumer.receive(&mut self.buffer, &mut self.books, &mut self.tally)?;
                consumer.flush()?;
            }
        }
        Ok(())
    }

    fn is_drained(&self) -> bool {
        let Some(ends) = &self.ends else { return false };
        self.consumers.iter().zip(ends).all(|(consumer, ends)| consumer.is_past(ends))
    }
}
