//! The loop: one thread that sleeps until a message is due or bytes arrive, and then does all there is to do.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mio::{Events, Poll, Token};

use crate::load::clock::{SECOND_NS, Timer, cpu_time_ns, now_ns, unix_ms};
use crate::load::connection::{Connection, ReadBuffer};
use crate::load::consumer::{Books, Consumer};
use crate::load::error::LoadError;
use crate::load::frame::SendTemplate;
use crate::load::prelude::{create_topic, open_consumer};
use crate::load::producer::Producer;
use crate::load::report::live_line;
use crate::load::schedule::{OpenSchedule, Window};
use crate::load::settings::{Pace, Settings};
use crate::load::tally::Tally;

/// Seconds between heartbeats of the consumers; stock clients take 30.
const HEARTBEAT_SECONDS: u64 = 30;
const TIMER: Token = Token(usize::MAX - 1);
const EVENTS_MAX: usize = 1024;

/// How a run came to its end.
#[derive(Debug)]
pub enum Ending {
    /// After its duration, with all replies that came while it drained.
    Finished,
    /// By Ctrl-C or SIGTERM.
    Interrupted,
    /// By a fault.
    Failed(LoadError),
}

/// What a run measured, whole or not.
#[derive(Debug)]
pub struct Outcome {
    /// Why it ended.
    pub ending: Ending,
    /// Counts and latencies.
    pub tally: Tally,
    /// What arrived, if anything was pulled.
    pub books: Option<Books>,
    /// Over which [`Tally::sent`] came about, ns.
    pub elapsed_ns: u64,
    /// Of one processor, over the whole run: near 1, the generator was the bottleneck.
    pub generator_cpu: f64,
    /// How often the bound on outstanding requests held messages back.
    pub held_back: u64,
}

/// Prepares the topic, connects, sends, drains. `stop` ends it early.
///
/// # Errors
/// When the load could not begin; a fault during the load is in [`Outcome::ending`].
pub fn produce(settings: &Settings, stop: &Arc<AtomicBool>) -> Result<Outcome, LoadError> {
    for target in &settings.targets {
        create_topic(settings, *target)?;
    }
    let mut load = Load::connect(settings)?;
    let cpu_start_ns = cpu_time_ns();
    let ending = match load.run(stop) {
        Ok(ending) => ending,
        Err(error) => Ending::Failed(error),
    };
    let now = now_ns();
    for producer in &load.producers {
        for waiting in producer.pending().iter() {
            load.tally.given_up(waiting.intended_ns, now);
        }
    }
    let wall_ns = now.saturating_sub(load.start_ns).max(1);
    Ok(Outcome {
        ending,
        elapsed_ns: load.tally.elapsed_ns(now),
        generator_cpu: ratio(cpu_time_ns() - cpu_start_ns, wall_ns),
        held_back: load.schedule.as_ref().map_or(0, OpenSchedule::held_back),
        books: (!settings.sources.is_empty()).then_some(load.books),
        tally: load.tally,
    })
}

/// `part / whole`, for people.
#[expect(clippy::cast_precision_loss, reason = "a ratio for people needs no 53 bits")]
pub fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

struct Load {
    poll: Poll,
    timer: Timer,
    buffer: ReadBuffer,
    pace: Pace,
    /// In open loop.
    schedule: Option<OpenSchedule>,
    /// Number of the next message, in closed loop.
    sequence: u64,
    producers: Vec<Producer>,
    /// Producers with messages gathered by [`Self::send_due`].
    touched: Vec<usize>,
    consumers: Vec<Consumer>,
    books: Books,
    tally: Tally,
    start_ns: u64,
    window: Window,
    /// Replies and messages are waited for until then.
    drain_end_ns: u64,
}

impl Load {
    fn connect(settings: &Settings) -> Result<Self, LoadError> {
        let system = |action| move |source: io::Error| LoadError::System { action, source };
        let poll = Poll::new().map_err(system("create an epoll set"))?;
        let timer = Timer::new(poll.registry(), TIMER).map_err(system("create a timer"))?;
        let run_id = (unix_ms() << 20) | u64::from(std::process::id());
        let templates: Rc<[SendTemplate]> = (0..settings.queues)
            .map(|queue| SendTemplate::new(settings.header, &settings.topic, queue, settings.sizes[0].bytes, run_id))
            .collect();
        let mut producers = Vec::with_capacity(settings.connections);
        for (index, target) in (0..settings.connections).zip(settings.targets.iter().cycle()) {
            let connection = Connection::watch(Connection::open(*target)?, *target, poll.registry(), Token(index))?;
            producers.push(Producer::new(connection, Rc::clone(&templates), index / settings.targets.len(), run_id));
        }
        let mut consumers = Vec::new();
        for source in settings.sources.iter().filter_map(|replicas| replicas.first()) {
            let (stream, offsets) = open_consumer(settings, *source)?;
            let token = Token(producers.len() + consumers.len());
            let connection = Connection::watch(stream, *source, poll.registry(), token)?;
            consumers.push(Consumer::new(connection, settings.header, &settings.topic, offsets));
        }
        let nanos = |duration: std::time::Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let start_ns = now_ns();
        let window_start = start_ns + nanos(settings.warmup);
        let window = Window { start_ns: window_start, end_ns: window_start + nanos(settings.duration) };
        let schedule = match settings.pace {
            Pace::Closed { .. } => None,
            Pace::Open { rate_per_s, outstanding_max, .. } => {
                Some(OpenSchedule::new(start_ns, window.end_ns, rate_per_s, outstanding_max))
            }
        };
        Ok(Self {
            poll,
            timer,
            buffer: ReadBuffer::default(),
            pace: settings.pace,
            schedule,
            sequence: 0,
            producers,
            touched: Vec::new(),
            consumers,
            books: Books::new(run_id),
            tally: Tally::new(window),
            start_ns,
            window,
            drain_end_ns: window.end_ns + nanos(settings.drain),
        })
    }

    fn run(&mut self, stop: &AtomicBool) -> Result<Ending, LoadError> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut seconds = 0;
        for index in 0..self.consumers.len() {
            self.consumers[index].retry();
            self.consumers[index].connection.flush()?;
        }
        for index in 0..self.producers.len() {
            self.refill(index, self.start_ns)?;
        }
        loop {
            self.send_due()?;
            let now = now_ns();
            while now >= self.start_ns + (seconds + 1) * SECOND_NS {
                seconds += 1;
                self.end_second(seconds)?;
            }
            if stop.load(Ordering::Relaxed) {
                return Ok(Ending::Interrupted);
            }
            if now >= self.window.end_ns && (self.is_drained() || now >= self.drain_end_ns) {
                return Ok(Ending::Finished);
            }
            self.sleep(&mut events, now, self.start_ns + (seconds + 1) * SECOND_NS)?;
            for event in &events {
                if event.token() != TIMER {
                    self.serve(event.token().0)?;
                }
            }
        }
    }

    /// Waits for bytes or for the next moment at which something is due.
    fn sleep(&mut self, events: &mut Events, now: u64, tick_ns: u64) -> Result<(), LoadError> {
        let wake_ns = self.schedule.as_ref().and_then(OpenSchedule::wake_ns).unwrap_or(u64::MAX).min(tick_ns);
        let wake_ns = wake_ns.min(if now < self.window.end_ns { self.window.end_ns } else { self.drain_end_ns });
        self.timer.arm(wake_ns, now).map_err(|source| LoadError::System { action: "arm the timer", source })?;
        match self.poll.poll(events, None) {
            // A signal; the loop looks at `stop`.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                events.clear();
                Ok(())
            }
            Err(source) => Err(LoadError::System { action: "wait for events", source }),
            Ok(()) => Ok(()),
        }
    }

    /// Open loop: gathers all messages that are due, then writes once a connection.
    fn send_due(&mut self) -> Result<(), LoadError> {
        let Some(schedule) = &mut self.schedule else { return Ok(()) };
        let (now, born_ms) = (now_ns(), unix_ms());
        let mut outstanding: usize = self.producers.iter().map(|producer| producer.pending().len()).sum();
        while let Some(due) = schedule.take(now, outstanding) {
            let index = usize::try_from(due.sequence).expect("64-bit machine") % self.producers.len();
            self.producers[index].send(due, born_ms);
            if !self.touched.contains(&index) {
                self.touched.push(index);
            }
            outstanding += 1;
        }
        for index in self.touched.drain(..) {
            self.producers[index].flush(&mut self.tally)?;
        }
        Ok(())
    }

    fn serve(&mut self, index: usize) -> Result<(), LoadError> {
        if let Some(producer) = self.producers.get_mut(index) {
            let (books, is_pulled) = (&mut self.books, !self.consumers.is_empty());
            producer.receive(&mut self.buffer, &mut self.tally, |sequence| {
                if is_pulled {
                    books.stored(sequence);
                }
            })?;
            return self.refill(index, now_ns());
        }
        let Some(consumer) = self.consumers.get_mut(index - self.producers.len()) else { return Ok(()) };
        consumer.receive(&mut self.buffer, &mut self.books, &mut self.tally)?;
        consumer.connection.flush()
    }

    /// Closed loop: replaces what was answered. Both loops: writes what the kernel did not take earlier.
    fn refill(&mut self, index: usize, now: u64) -> Result<(), LoadError> {
        let producer = &mut self.producers[index];
        if let Pace::Closed { in_flight } = self.pace
            && now < self.window.end_ns
        {
            producer.fill(in_flight, &mut self.sequence);
        }
        producer.flush(&mut self.tally)
    }

    fn end_second(&mut self, seconds: u64) -> Result<(), LoadError> {
        let is_warm = self.start_ns + seconds * SECOND_NS > self.window.start_ns;
        live_line(seconds, is_warm, &mut self.tally);
        for consumer in &mut self.consumers {
            consumer.retry();
            if seconds.is_multiple_of(HEARTBEAT_SECONDS) {
                consumer.heartbeat();
            }
            consumer.connection.flush()?;
        }
        Ok(())
    }

    fn is_drained(&self) -> bool {
        let has_replies = self.producers.iter().all(|producer| producer.pending().is_empty());
        has_replies && (self.consumers.is_empty() || self.books.missing() == 0)
    }
}
