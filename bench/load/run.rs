//! The loop: one thread that sleeps until a message is due or bytes arrive, and then does all there is to do.

use std::collections::VecDeque;
use std::io;
use std::num::NonZeroU64;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mio::{Events, Poll, Token};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::load::clock::{SECOND_NS, Timer, cpu_time_ns, nanos, now_ns, unix_ms};
use crate::load::connection::{Connection, ReadBuffer, Waiting};
use crate::load::consumer::{Books, Consumer, Post, Queue, Selection, queues};
use crate::load::error::LoadError;
use crate::load::frame::{Packer, SendShape, SendTemplate};
use crate::load::popper::Popper;
use crate::load::prelude::{create_topics, open_consumer, open_popper};
use crate::load::producer::{Kit, Producer};
use crate::load::schedule::{OpenSchedule, Window};
use crate::load::series::{Histograms, Second};
use crate::load::settings::{Filter, Pace, Sending, Settings};
use crate::load::tally::Tally;
use crate::load::view::View;

/// Seconds between heartbeats; stock clients take 30.
const HEARTBEAT_SECONDS: u64 = 30;
/// How often what is broken is tried again, if it may be.
const REPAIR_NS: u64 = SECOND_NS / 10;
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
    /// When the load began, ns of [`now_ns`].
    pub start_ns: u64,
    /// How long it lasted in all, ns.
    pub wall_ns: u64,
    /// Over which [`Tally::sent`] came about, ns.
    pub elapsed_ns: u64,
    /// Of one processor, over the whole run: near 1, the generator was the bottleneck.
    pub generator_cpu: f64,
    /// How often the bound on outstanding requests held messages back.
    pub held_back: u64,
    /// Connections that broke and were made again.
    pub reconnects: u64,
}

impl Outcome {
    /// A point for each second that is over.
    pub fn seconds(&self) -> &[Second] {
        self.tally.seconds()
    }

    /// All latencies, to be kept.
    pub fn histograms(&self) -> Histograms {
        Histograms::of(&self.tally, self.books.is_some())
    }
}

/// What ends a load before its time; looked at once a second at least, and whenever bytes arrive.
#[derive(Debug, Clone, Copy)]
pub struct Halt<'a> {
    /// At once, and the run was cut short.
    pub interrupt: &'a AtomicBool,
    /// Nothing is sent any more, what was sent is waited for, and the run is whole: it was to last until something happened.
    pub enough: &'a AtomicBool,
}

/// Prepares the topics, connects, sends, drains. `halt` ends it early; `view` shows how it goes on.
///
/// # Errors
/// When the load could not begin; a fault during the load is in [`Outcome::ending`].
pub fn produce(settings: &Settings, halt: Halt<'_>, view: &mut View) -> Result<Outcome, LoadError> {
    if let Some(cpu) = settings.cpu {
        pin(cpu).map_err(|source| LoadError::System { action: "stay on the processor asked for", source })?;
    }
    for target in &settings.targets {
        create_topics(settings, *target)?;
    }
    if !settings.think.is_zero() {
        // A sleep of microseconds is not rounded up to the 50 of a usual thread.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1))
            .map_err(|error| LoadError::System { action: "sleep for microseconds", source: error.into() })?;
    }
    let mut load = Load::connect(settings)?;
    let cpu_start_ns = cpu_time_ns();
    let ending = match load.run(halt, view) {
        Ok(ending) => ending,
        Err(error) => Ending::Failed(error),
    };
    view.end();
    let now = now_ns();
    let waiting = load.producers.iter().flat_map(|producer| producer.pending().iter()).chain(load.orphans);
    for waiting in waiting {
        load.tally.given_up(waiting, now, load.kit.batch);
    }
    let wall_ns = now.saturating_sub(load.start_ns).max(1);
    Ok(Outcome {
        ending,
        start_ns: load.start_ns,
        wall_ns,
        elapsed_ns: load.tally.elapsed_ns(now),
        generator_cpu: ratio(cpu_time_ns() - cpu_start_ns, wall_ns),
        held_back: load.schedule.as_ref().map_or(0, OpenSchedule::held_back),
        reconnects: load.reconnects,
        books: (!settings.sources.is_empty()).then_some(load.books),
        tally: load.tally,
    })
}

/// `part / whole`, for people.
#[expect(clippy::cast_precision_loss, reason = "a ratio for people needs no 53 bits")]
pub fn ratio(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

/// Keeps the calling thread, and what it starts from now on, on one processor.
///
/// # Errors
/// When there is no such processor.
pub fn pin(cpu: usize) -> io::Result<()> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "there is none of that number"));
    }
    let mut only = CpuSet::new();
    only.set(cpu);
    Ok(sched_setaffinity(None, &only)?)
}

/// What a request costs beside what it needs.
#[derive(Debug, Clone, Copy)]
struct Cost {
    work_ns: u64,
    think: Duration,
}

impl Cost {
    /// Spends the processor's part of one request.
    fn work(self) {
        if self.work_ns == 0 {
            return;
        }
        let end_ns = now_ns() + self.work_ns;
        while now_ns() < end_ns {
            std::hint::spin_loop();
        }
    }

    /// Lets the time of `requests` pass at once: a sleep each would be all wake-ups.
    fn think(self, requests: u32) {
        if !self.think.is_zero() && requests > 0 {
            std::thread::sleep(self.think * requests);
        }
    }
}

struct Load {
    poll: Poll,
    timer: Timer,
    buffer: ReadBuffer,
    pace: Pace,
    send: Sending,
    write_each: bool,
    cost: Cost,
    /// In open loop.
    schedule: Option<OpenSchedule>,
    /// Number of the next message, in closed loop.
    sequence: u64,
    kit: Rc<Kit>,
    producers: Vec<Producer>,
    /// The producer that is the next to send, in open loop.
    next: usize,
    /// Producers with requests gathered by [`Self::send_due`].
    touched: Vec<usize>,
    /// Requests whose connection broke or stayed silent; they are the next to be sent.
    orphans: VecDeque<Waiting>,
    consumers: Vec<Consumer>,
    poppers: Vec<Popper>,
    /// Whether anything is pulled or popped back.
    is_pulled: bool,
    books: Books,
    tally: Tally,
    /// Whether what breaks is made again.
    reconnect: bool,
    reconnects: u64,
    repair_ns: u64,
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
        let queues = queues(&settings.topic, settings.topics, settings.queues);
        let kit = Rc::new(kit(settings, &queues, run_id));
        let mut producers = Vec::with_capacity(settings.connections);
        for (index, target) in (0..settings.connections).zip(settings.targets.iter().cycle()) {
            let connection = Connection::watch(Connection::open(*target)?, *target, poll.registry(), Token(index))?;
            let sender = u32::try_from(index).expect("connections are at most 20,000");
            let mut producer = Producer::new(connection, Rc::clone(&kit), index / settings.targets.len(), sender);
            producer.heartbeat();
            producers.push(producer);
        }
        let (consumers, poppers) = connect_consumers(settings, &queues, &poll, producers.len())?;
        let start_ns = now_ns();
        let window_start = start_ns + nanos(settings.warmup);
        let window = Window { start_ns: window_start, end_ns: window_start + nanos(settings.duration) };
        let schedule = match settings.pace {
            Pace::Closed { .. } => None,
            Pace::Open { rate_per_s, arrivals, outstanding_max } => {
                let whole = Window { start_ns, end_ns: window.end_ns };
                // One that waits for each reply has one request outstanding a connection.
                let is_sync = settings.send == Sending::Sync;
                let outstanding_max = if is_sync { settings.connections } else { outstanding_max };
                Some(OpenSchedule::new(whole, rate_per_s, arrivals, settings.batch, outstanding_max))
            }
        };
        Ok(Self {
            poll,
            timer,
            buffer: ReadBuffer::default(),
            pace: settings.pace,
            send: settings.send,
            write_each: settings.write_each,
            cost: Cost { work_ns: nanos(settings.work), think: settings.think },
            schedule,
            sequence: 0,
            kit,
            producers,
            next: 0,
            touched: Vec::new(),
            orphans: VecDeque::new(),
            consumers,
            poppers,
            is_pulled: !settings.sources.is_empty(),
            books: books(settings, run_id),
            tally: Tally::new(window),
            reconnect: settings.reconnect,
            reconnects: 0,
            repair_ns: start_ns + REPAIR_NS,
            start_ns,
            window,
            drain_end_ns: window.end_ns + nanos(settings.drain),
        })
    }

    fn run(&mut self, halt: Halt<'_>, view: &mut View) -> Result<Ending, LoadError> {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut seconds = 0;
        for consumer in &mut self.consumers {
            consumer.retry();
            consumer.flush()?;
        }
        for popper in &mut self.poppers {
            popper.pop();
            popper.flush()?;
        }
        for index in 0..self.producers.len() {
            self.refill(index, self.start_ns)?;
        }
        loop {
            self.send_due()?;
            let now = now_ns();
            while now >= self.start_ns + (seconds + 1) * SECOND_NS {
                seconds += 1;
                self.end_second(seconds, view)?;
            }
            if halt.interrupt.load(Ordering::Relaxed) {
                return Ok(Ending::Interrupted);
            }
            if now < self.window.end_ns && halt.enough.load(Ordering::Relaxed) {
                self.end_window(now);
            }
            if now >= self.window.end_ns && (self.is_drained() || now >= self.drain_end_ns) {
                return Ok(Ending::Finished);
            }
            if self.reconnect && now >= self.repair_ns {
                self.repair_ns = now + REPAIR_NS;
                self.repair(now)?;
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
        let due_ns = self.schedule.as_ref().and_then(OpenSchedule::wake_ns).filter(|_| self.can_send());
        let wake_ns = due_ns.unwrap_or(u64::MAX).min(tick_ns);
        let wake_ns = wake_ns.min(if now < self.window.end_ns { self.window.end_ns } else { self.drain_end_ns });
        let wake_ns = if self.reconnect { wake_ns.min(self.repair_ns) } else { wake_ns };
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

    /// Whether any connection is there to send on.
    fn can_send(&self) -> bool {
        !self.reconnect || self.producers.iter().any(Producer::is_up)
    }

    /// The next producer in turn that may send.
    fn next_producer(&mut self) -> Option<usize> {
        for _ in 0..self.producers.len() {
            let index = self.next;
            self.next = if index + 1 == self.producers.len() { 0 } else { index + 1 };
            let producer = &self.producers[index];
            if producer.is_up() && (self.send != Sending::Sync || producer.is_idle()) {
                return Some(index);
            }
        }
        None
    }

    /// Open loop: gathers all requests that are due, then writes once a connection. What was sent in vain goes first.
    fn send_due(&mut self) -> Result<(), LoadError> {
        if self.schedule.is_none() {
            return Ok(());
        }
        let (now, born_ms) = (now_ns(), unix_ms());
        let mut outstanding: usize = self.producers.iter().map(|producer| producer.pending().len()).sum();
        while self.can_send() {
            let is_again = !self.orphans.is_empty();
            let request = match self.orphans.front() {
                Some(orphan) => Some((orphan.sequence, orphan.intended_ns)),
                None => {
                    let due = self.schedule.as_mut().and_then(|schedule| schedule.take(now, outstanding));
                    due.map(|due| (due.sequence, due.intended_ns))
                }
            };
            let Some((sequence, intended_ns)) = request else { break };
            let Some(index) = self.next_producer() else { break };
            if is_again {
                self.orphans.pop_front();
                self.tally.resent(self.kit.batch);
            }
            self.cost.work();
            self.cost.think(1);
            self.producers[index].send(sequence, intended_ns, now, born_ms);
            if self.write_each {
                let sent = self.flush(index);
                self.settle(index, sent)?;
            } else if !self.touched.contains(&index) {
                self.touched.push(index);
            }
            outstanding += 1;
        }
        while let Some(index) = self.touched.pop() {
            let sent = self.flush(index);
            self.settle(index, sent)?;
        }
        Ok(())
    }

    fn serve(&mut self, index: usize) -> Result<(), LoadError> {
        if index < self.producers.len() {
            let served = self.serve_producer(index);
            return self.settle(index, served);
        }
        if let Some(popper) = self.poppers.get_mut(index - self.producers.len()) {
            popper.receive(&mut self.buffer, &mut self.books, &mut self.tally)?;
            popper.flush()?;
            return self.refill_all();
        }
        let Some(consumer) = self.consumers.get_mut(index - self.producers.len()) else { return Ok(()) };
        let served = consumer.receive(&mut self.buffer, &mut self.books, &mut self.tally);
        let served = served.and_then(|()| consumer.flush());
        self.settle(index, served)
    }

    /// Replaces what was acknowledged, on another connection first each time.
    fn refill_all(&mut self) -> Result<(), LoadError> {
        if matches!(self.pace, Pace::Closed { .. }) {
            let count = self.producers.len();
            self.next = (self.next + 1) % count;
            for place in self.next..self.next + count {
                self.refill(place % count, now_ns())?;
            }
        }
        Ok(())
    }

    /// Of a closed loop whose messages are popped: requests that may leave until all that it keeps is under way or not acknowledged yet.
    fn room(&self, in_flight: usize) -> usize {
        if self.poppers.is_empty() {
            return in_flight;
        }
        let outstanding: usize = self.producers.iter().map(|producer| producer.pending().len()).sum();
        let stored = usize::try_from(self.books.backlog() / self.kit.batch).unwrap_or(usize::MAX);
        (in_flight * self.producers.len()).saturating_sub(outstanding.saturating_add(stored))
    }

    fn serve_producer(&mut self, index: usize) -> Result<(), LoadError> {
        let (books, is_pulled, batch) = (&mut self.books, self.is_pulled, self.kit.batch);
        self.producers[index].receive(&mut self.buffer, &mut self.tally, |first| {
            if is_pulled {
                books.stored(first, batch);
            }
        })?;
        self.refill(index, now_ns())
    }

    /// Closed loop: replaces what was answered. Both loops: writes what the kernel did not take earlier.
    fn refill(&mut self, index: usize, now: u64) -> Result<(), LoadError> {
        let producer = &self.producers[index];
        if let Pace::Closed { in_flight } = self.pace
            && now < self.window.end_ns
            && producer.is_up()
            && producer.pending().len() < in_flight
        {
            let (mut now, born_ms) = (now_ns(), unix_ms());
            let wanted = (in_flight - producer.pending().len()).min(self.room(in_flight));
            self.cost.think(u32::try_from(wanted).unwrap_or(u32::MAX));
            for _ in 0..wanted {
                self.cost.work();
                if self.write_each {
                    // Those before it have been written by now.
                    now = now_ns();
                }
                let producer = &mut self.producers[index];
                if let Some(orphan) = self.orphans.pop_front() {
                    self.tally.resent(self.kit.batch);
                    producer.send(orphan.sequence, orphan.intended_ns, now, born_ms);
                } else {
                    producer.send(self.sequence, now, now, born_ms);
                    self.sequence += self.kit.batch;
                }
                if self.write_each {
                    self.flush(index)?;
                }
            }
        }
        self.flush(index)
    }

    fn flush(&mut self, index: usize) -> Result<(), LoadError> {
        let (books, is_pulled, batch) = (&mut self.books, self.is_pulled, self.kit.batch);
        self.producers[index].flush(&mut self.tally, |first| {
            if is_pulled {
                books.stored(first, batch);
            }
        })
    }

    /// What becomes of a connection that broke: of a load that may reconnect, it is made again; of any other, it is the end.
    fn settle(&mut self, index: usize, result: Result<(), LoadError>) -> Result<(), LoadError> {
        let Err(error) = result else { return Ok(()) };
        let is_broken =
            matches!(error, LoadError::Closed { .. } | LoadError::Broken { .. } | LoadError::Connect { .. });
        if !self.reconnect || !is_broken {
            return Err(error);
        }
        // One that was never made is not lost.
        self.reconnects += u64::from(!matches!(error, LoadError::Connect { .. }));
        match self.producers.get_mut(index) {
            Some(producer) => producer.lose(&mut self.orphans),
            None => self.consumers[index - self.producers.len()].lose(),
        }
        Ok(())
    }

    /// Connects what is not connected, and takes back what stayed without a reply for too long.
    fn repair(&mut self, now: u64) -> Result<(), LoadError> {
        for (index, producer) in self.producers.iter_mut().enumerate() {
            producer.reconnect(self.poll.registry(), Token(index));
            producer.expire(now, &mut self.orphans);
        }
        let first = self.producers.len();
        for (index, consumer) in self.consumers.iter_mut().enumerate() {
            consumer.reconnect(self.poll.registry(), Token(first + index));
        }
        // In a closed loop, one that lost its requests without a reply sends the next.
        for index in 0..self.producers.len() {
            let refilled = self.refill(index, now);
            self.settle(index, refilled)?;
        }
        Ok(())
    }

    fn end_second(&mut self, seconds: u64, view: &mut View) -> Result<(), LoadError> {
        let is_warmup = self.start_ns + seconds * SECOND_NS <= self.window.start_ns;
        let requests: usize = self.producers.iter().map(|producer| producer.pending().len()).sum();
        let outstanding = (requests + self.orphans.len()) as u64 * self.kit.batch;
        let second = self.tally.end_second(seconds, is_warmup, outstanding, self.books.backlog());
        view.second(&second, self.tally.failed());
        if seconds.is_multiple_of(HEARTBEAT_SECONDS) {
            for index in 0..self.producers.len() {
                self.producers[index].heartbeat();
                let flushed = self.flush(index);
                self.settle(index, flushed)?;
            }
        }
        for popper in &mut self.poppers {
            popper.retry();
            if seconds.is_multiple_of(HEARTBEAT_SECONDS) {
                popper.heartbeat();
            }
            popper.flush()?;
        }
        for index in 0..self.consumers.len() {
            let consumer = &mut self.consumers[index];
            consumer.retry();
            if seconds.is_multiple_of(HEARTBEAT_SECONDS) {
                consumer.heartbeat();
            }
            let flushed = consumer.flush();
            self.settle(self.producers.len() + index, flushed)?;
        }
        Ok(())
    }

    /// What was due by now is all there is.
    fn end_window(&mut self, now: u64) {
        self.drain_end_ns = now + (self.drain_end_ns - self.window.end_ns);
        self.window.end_ns = now;
        self.tally.end_window(now);
        if let Some(schedule) = &mut self.schedule {
            schedule.end(now);
        }
    }

    fn is_drained(&self) -> bool {
        let has_replies = self.orphans.is_empty() && self.producers.iter().all(Producer::is_idle);
        has_replies && (!self.is_pulled || self.books.is_even())
    }
}

/// Those who pull, or those who pop; their tokens count from `first` on.
fn connect_consumers(
    settings: &Settings,
    queues: &Rc<[Queue]>,
    poll: &Poll,
    first: usize,
) -> Result<(Vec<Consumer>, Vec<Popper>), LoadError> {
    let (mut consumers, mut poppers) = (Vec::new(), Vec::new());
    let groups = (0..settings.groups).flat_map(|group| settings.sources.iter().map(move |source| (group, source)));
    // The lag is that of a second group, on the slaves.
    let lagging = settings.lag_sources.iter().map(|source| (1, source));
    for (opened, (group, source)) in groups.chain(lagging).enumerate() {
        let number = opened % settings.sources.len();
        let post = Post {
            group,
            source: number,
            replicas: source.clone(),
            queues: Rc::clone(queues),
            header: settings.header,
            filter: settings.filter,
            pops: settings.pop > 0,
        };
        for place in 0..settings.pop {
            let (stream, broker) = open_popper(&post, place == 0)?;
            let token = Token(first + poppers.len());
            let connection = Connection::watch(stream, post.replicas[0], poll.registry(), token)?;
            poppers.push(Popper::new(connection, post.clone(), broker));
        }
        if settings.pop > 0 {
            continue;
        }
        let (stream, offsets) = open_consumer(&post)?;
        let token = Token(first + consumers.len());
        let connection = Connection::watch(stream, post.replicas[0], poll.registry(), token)?;
        consumers.push(Consumer::new(connection, post, offsets));
    }
    Ok((consumers, poppers))
}

fn books(settings: &Settings, run_id: u64) -> Books {
    let is_lag = !settings.lag_sources.is_empty();
    // The lag is that of a second group.
    let groups = if is_lag { 2 } else { settings.groups };
    let selection = Selection {
        transactions: settings.transactions,
        one_in: settings.filter.map_or(1, |_| u64::from(settings.tags)),
    };
    let books = Books::new(run_id, groups, settings.audit, is_lag).deliver_after(settings.delay()).select(selection);
    if settings.pop > 0 { books.popped() } else { books }
}

fn kit(settings: &Settings, queues: &[Queue], run_id: u64) -> Kit {
    let is_oneway = settings.send == Sending::Oneway;
    let shape = SendShape {
        header: settings.header,
        batch: settings.batch,
        keys: settings.keys,
        tags: settings.tags,
        is_placed: settings.filter == Some(Filter::Sql),
        deliver_after_ms: u64::try_from(settings.deliver_after.as_millis()).expect("a time for people"),
        delay_level: settings.delay_level,
        is_half: settings.transactions.is_some(),
        is_oneway,
        run_id,
    };
    Kit {
        packer: Packer::new(shape, &settings.sizes, settings.audit),
        templates: queues.iter().map(|queue| SendTemplate::new(&shape, &queue.topic, queue.id)).collect(),
        run_id,
        batch: settings.batch as u64,
        header: settings.header,
        transactions: settings.transactions,
        is_oneway,
        is_open: matches!(settings.pace, Pace::Open { .. }),
    }
}
