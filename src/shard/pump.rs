//! The pump: calls the broker with what came, and carries out what it asks.
//!
//! All input of a shard passes through [`Shard::act`], one call at a time: the broker never sees two things at once, and the order of
//! its calls is the order of events, as in the simulator. Nothing here decides; nothing here awaits inside a borrow.

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::time::Duration;

use bytes::BytesMut;

use super::descriptors::Descriptors;
use super::event::Event;
use super::runtime::Runtime;
use super::work::Fetches;
use crate::broker::life::Life;
use crate::broker::{Broker, Effect, Output};
use crate::control::mailbox::{ControlSender, ShardReceiver};
use crate::disk::Disk;
use crate::letter::{StopReason, ToControl, ToShard};
use crate::limits::{COUNTERS_MS, PARTIAL_LOOK_MS, TICK_MS};
use crate::log::DiskUsage;
use crate::metrics::Snapshot;
use crate::model::{ConnectionId, MonoNs, Now, ShardId};
use crate::net::{Links, Net, OpenListeners, ReplicaListener, ReplicaPort, Service};
use crate::protocol::frame::{CloseReason, RawFrame};

/// One shard at work.
pub(super) struct Shard {
    pub(super) id: ShardId,
    pub(super) runtime: Runtime,
    pub(super) disk: Disk,
    core: RefCell<Core>,
    net: OnceCell<Weak<Net<Shard>>>,
    links: OnceCell<Weak<Links<Shard>>>,
    /// Where slaves connect, while this is a master.
    replica_port: Cell<Option<ReplicaPort>>,
    /// The time of the turn that is being handled: one look at the clock for all of its frames.
    turn_now: Cell<Option<Now>>,
    pub(super) commit_wanted: Event,
    pub(super) background_wanted: Event,
    pub(super) snapshot_wanted: Event,
    pub(super) fetches: Fetches,
    /// The deadline that the clock sleeps for, and how it is told of an earlier one.
    armed: Cell<MonoNs>,
    clock_wanted: Event,
    /// How full the disk was when it was last asked.
    pub(super) usage: Cell<DiskUsage>,
    control: ControlSender,
    /// What the control plane is to be told, in order; it waits here while the mailbox is full. All but a few of its own are for somebody who waits, and of
    /// those there are so many at most: changes of topics and groups (`CHANGES_UNDER_WAY_MAX`) and of settings, replies to pass on, routes to ask for.
    letters: RefCell<VecDeque<ToControl>>,
    letters_wanted: Event,
    ending: RefCell<Option<Ending>>,
    end_wanted: Event,
    /// Writes that are under way, and whether more may begin.
    writes: Cell<usize>,
    is_between_lives: Cell<bool>,
    has_life: Cell<bool>,
    /// The last [`ToShard::MasterFound`] and [`ToShard::Settings`], which the control plane does not repeat.
    master: RefCell<Option<ToShard>>,
    settings: RefCell<Option<ToShard>>,
    is_stopping: Cell<bool>,
}

struct Core {
    broker: Broker,
    out: Output,
}

/// Why a shard no longer goes on as it does.
#[derive(Debug)]
pub(super) enum Ending {
    /// It stops for good.
    Stop(StopReason),
    /// Another life follows in place, for which the log is opened anew.
    Life(Life),
}

impl Shard {
    pub(super) fn new(id: ShardId, runtime: Runtime, disk: Disk, broker: Broker, control: ControlSender) -> Rc<Shard> {
        Rc::new(Shard {
            id,
            runtime,
            disk,
            core: RefCell::new(Core { broker, out: Output::default() }),
            net: OnceCell::new(),
            links: OnceCell::new(),
            replica_port: Cell::default(),
            turn_now: Cell::new(None),
            commit_wanted: Event::default(),
            background_wanted: Event::default(),
            snapshot_wanted: Event::default(),
            fetches: Fetches::default(),
            armed: Cell::new(MonoNs(0)),
            clock_wanted: Event::default(),
            usage: Cell::new(DiskUsage { used_bytes: 0, total_bytes: 0 }),
            control,
            letters: RefCell::default(),
            letters_wanted: Event::default(),
            ending: RefCell::default(),
            end_wanted: Event::default(),
            writes: Cell::new(0),
            is_between_lives: Cell::new(false),
            has_life: Cell::new(true),
            master: RefCell::default(),
            settings: RefCell::default(),
            is_stopping: Cell::new(false),
        })
    }

    /// Starts every task of the shard.
    pub(super) fn serve(
        self: Rc<Self>,
        listeners: OpenListeners,
        replicas: Option<ReplicaListener>,
        mailbox: ShardReceiver,
        descriptors: Descriptors,
    ) {
        let queues = self.runtime.queues;
        let net = Net::new(self.clone(), queues.request, descriptors.clients);
        assert!(self.net.set(Rc::downgrade(&net)).is_ok(), "a shard serves once");
        let links = Links::new(self.clone(), queues.request, descriptors.links);
        assert!(self.links.set(Rc::downgrade(&links)).is_ok(), "a shard serves once");
        self.act("start", |broker, now, out| broker.handle_start(now, out));
        let spawn = |queue, task: std::pin::Pin<Box<dyn Future<Output = ()>>>| self.runtime.spawn(queue, task);
        spawn(queues.request, Box::pin(self.clone().commit_loop()));
        spawn(queues.request, Box::pin(self.clone().clock(net.clone(), links.clone())));
        spawn(queues.request, Box::pin(self.clone().read_mailbox(mailbox)));
        spawn(queues.request, Box::pin(self.clone().write_letters()));
        spawn(queues.background, Box::pin(self.clone().background_loop()));
        spawn(queues.background, Box::pin(self.clone().snapshot_loop()));
        listeners.accept_into(&net);
        self.open_replica_port(replicas);
    }

    /// Lets slaves connect, if this life has any.
    fn open_replica_port(&self, replicas: Option<ReplicaListener>) {
        self.with_links(|links| self.replica_port.set(replicas.map(|replicas| replicas.accept_into(links))));
    }

    /// Slaves are refused from now on.
    pub(super) fn close_replica_port(&self) {
        if let Some(port) = self.replica_port.take() {
            port.close();
        }
    }

    /// Calls the broker with one event, then carries out what it asks.
    pub(super) fn act<T>(
        self: &Rc<Self>,
        name: &'static str,
        event: impl FnOnce(&mut Broker, Now, &mut Output) -> T,
    ) -> T {
        self.runtime.watch.turn(name, || {
            let mut core = self.core.borrow_mut();
            let Core { broker, out } = &mut *core;
            let result = event(broker, self.runtime.watch.now(), out);
            self.carry_out(&mut core);
            result
        })
    }

    pub(super) fn look<T>(&self, look: impl FnOnce(&Broker) -> T) -> T {
        look(&self.core.borrow().broker)
    }

    /// Asks the broker for something that has no effects.
    pub(super) fn ask<T>(&self, ask: impl FnOnce(&mut Broker, Now) -> T) -> T {
        let now = self.runtime.watch.now();
        ask(&mut self.core.borrow_mut().broker, now)
    }

    fn carry_out(self: &Rc<Self>, core: &mut Core) {
        for effect in core.out.effects.drain(..) {
            match effect {
                Effect::Fetch(block) => self.fetches.want(block),
                Effect::Prefetch(block) => self.fetches.want_ahead(block),
                Effect::Append(append) => self.spawn_append(append),
                Effect::Control(letter) => self.tell_control(letter),
                Effect::LinkConnect(address) => self.with_links(|links| links.connect(address)),
                Effect::LinkClose(link) => self.with_links(|links| links.close(link)),
                Effect::WriteEpochs { generation, text } => self.spawn_epochs(generation, text),
                Effect::BeginLife(life) => self.want_life(life),
            }
        }
        self.start_fetches();
        if let Some(net) = self.net() {
            while let Some(connection) = core.out.outbox.next_touched() {
                net.wake(connection);
            }
            if self.reads(core) {
                net.resume_input();
            }
        }
        let now = self.runtime.watch.now();
        self.with_links(|links| {
            core.broker.poll_links(now).for_each(|link| links.wake(link));
            links.resume_input(|link| core.broker.poll_link_input(link));
        });
        self.commit_wanted.set();
        self.background_wanted.set();
        self.snapshot_wanted.set();
        if core.broker.poll_timeout().is_some_and(|deadline| deadline < self.armed.get()) {
            self.clock_wanted.set();
        }
        if let Some(failure) = core.broker.view_log().failure() {
            self.want_stop(StopReason::Failed(failure.to_string()));
        }
    }

    fn reads(&self, core: &Core) -> bool {
        !self.is_stopping.get() && core.broker.poll_input(&core.out)
    }

    pub(super) fn net(&self) -> Option<Rc<Net<Shard>>> {
        self.net.get().and_then(Weak::upgrade)
    }

    /// Does something with the replication connections, while the shard serves.
    pub(super) fn with_links(&self, work: impl FnOnce(&Rc<Links<Shard>>)) {
        if let Some(links) = self.links.get().and_then(Weak::upgrade) {
            work(&links);
        }
    }

    /// From now on no frame is read and no connection accepted.
    pub(super) fn refuse_input(&self) {
        self.is_stopping.set(true);
        if let Some(net) = self.net() {
            net.refuse_new();
        }
    }

    /// Asks for the shard's end; the first reason counts.
    pub(super) fn want_stop(&self, reason: StopReason) {
        let ending = &mut *self.ending.borrow_mut();
        if !matches!(ending, Some(Ending::Stop(_))) {
            *ending = Some(Ending::Stop(reason));
        }
        self.end_wanted.set();
    }

    /// Asks for another life; the last one counts, unless the shard is to stop.
    fn want_life(&self, life: Life) {
        let ending = &mut *self.ending.borrow_mut();
        if !matches!(ending, Some(Ending::Stop(_))) {
            *ending = Some(Ending::Life(life));
        }
        self.end_wanted.set();
    }

    /// Waits until somebody wants the end of this life.
    pub(super) async fn end_wanted(&self) -> Ending {
        loop {
            self.end_wanted.wait().await;
            if let Some(ending) = self.ending.borrow_mut().take() {
                return ending;
            }
        }
    }

    /// From now on no frame is read and no write begins, until [`Shard::begin_life`] says so.
    pub(super) fn refuse_all(&self) {
        self.refuse_input();
        self.is_between_lives.set(true);
    }

    /// Whether nothing of this log is under way any more.
    pub(super) fn is_quiet(&self) -> bool {
        self.writes.get() == 0 && self.fetches.is_quiet()
    }

    /// Does a write of whatever kind; not once a life is at its end: what reaches the disk after that must be of the log that is opened anew.
    pub(super) async fn write<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        if self.is_between_lives.get() {
            return None;
        }
        self.writes.set(self.writes.get() + 1);
        let done = work.await;
        self.writes.set(self.writes.get() - 1);
        Some(done)
    }

    /// Waits while there is no life, which takes moments.
    pub(super) async fn until_open(&self) {
        while self.is_between_lives.get() {
            glommio::timer::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Puts a broker that knows nothing into the place of this one, which has nothing under way.
    pub(super) fn end_life(&self, stand_in: Broker) {
        *self.core.borrow_mut() = Core { broker: stand_in, out: Output::default() };
        self.has_life.set(false);
    }

    /// Whether the broker is the shard's own, and none that stands in for it.
    pub(super) fn has_life(&self) -> bool {
        self.has_life.get()
    }

    /// Begins another life of the shard.
    pub(super) fn begin_life(self: &Rc<Self>, broker: Broker, replicas: Option<ReplicaListener>) {
        *self.core.borrow_mut() = Core { broker, out: Output::default() };
        self.has_life.set(true);
        self.is_between_lives.set(false);
        self.is_stopping.set(false);
        if let Some(net) = self.net() {
            net.accept_again();
        }
        self.with_links(|links| links.accept_again());
        self.open_replica_port(replicas);
        self.act("start", |broker, now, out| broker.handle_start(now, out));
        let repeated = [self.settings.borrow().clone(), self.master.borrow().clone()];
        for letter in repeated.into_iter().flatten() {
            self.act("mailbox", |broker, now, out| broker.handle_control(now, letter, out));
        }
    }

    /// Tells the control plane, in the order of the calls.
    pub(super) fn tell_control(&self, letter: ToControl) {
        self.letters.borrow_mut().push_back(letter);
        self.letters_wanted.set();
    }

    /// Whether the control plane has been told everything.
    pub(super) fn letters_left(&self) -> bool {
        !self.letters.borrow().is_empty()
    }

    async fn write_letters(self: Rc<Self>) {
        loop {
            let letter = self.letters.borrow().front().cloned();
            match letter {
                // The data plane never waits for the control plane: only this task does.
                Some(letter) => {
                    if self.control.send(letter).await.is_err() {
                        self.want_stop(StopReason::Failed("the control plane has ended".into()));
                        self.letters.borrow_mut().clear();
                    }
                    self.letters.borrow_mut().pop_front();
                }
                None => self.letters_wanted.wait().await,
            }
        }
    }

    async fn read_mailbox(self: Rc<Self>, mut mailbox: ShardReceiver) {
        while let Some(event) = mailbox.recv().await {
            match &event {
                ToShard::Stop => self.want_stop(StopReason::Ordered),
                ToShard::MasterFound { .. } => *self.master.borrow_mut() = Some(event.clone()),
                ToShard::Settings { .. } => *self.settings.borrow_mut() = Some(event.clone()),
                _ => {}
            }
            self.until_open().await;
            self.act("mailbox", |broker, now, out| broker.handle_control(now, event, out));
        }
        self.want_stop(StopReason::Ordered);
    }

    fn tell_counters(&self, net: &Net<Shard>, links: &Links<Shard>) {
        let (counters, stages) = self.look(|broker| (broker.view_counters(), broker.view_stages()));
        let snapshot = Snapshot {
            counters,
            stages,
            stalls: self.runtime.watch.stalls(),
            connections: net.count(),
            replica_connections: links.count(),
            partial_bytes: net.partial_bytes(),
            stalled_frames: net.stalled(),
        };
        self.tell_control(ToControl::Measured { shard: self.id, snapshot: Box::new(snapshot) });
    }

    /// Ticks and deadlines, on one timer.
    async fn clock(self: Rc<Self>, net: Rc<Net<Shard>>, links: Rc<Links<Shard>>) {
        let watch = self.runtime.watch.clone();
        let (mut next_tick, mut ticks) = (watch.now().mono, 0_u64);
        loop {
            let deadline = self.look(Broker::poll_timeout).unwrap_or(next_tick).min(next_tick);
            self.armed.set(deadline);
            // A deadline that stays in the past must not make this loop spin.
            let wait = watch.until(deadline).max(Duration::from_micros(200));
            let timer = async { glommio::timer::sleep(wait).await };
            futures_lite::future::or(timer, self.clock_wanted.wait()).await;
            let now = watch.now().mono;
            let is_tick = now >= next_tick;
            if is_tick {
                next_tick = now.plus_ms(TICK_MS);
                ticks += 1;
                if ticks.is_multiple_of(PARTIAL_LOOK_MS / TICK_MS) {
                    net.relieve();
                }
                if ticks % (1000 / TICK_MS) == 1 {
                    net.sweep();
                    self.spawn_measure();
                }
                if ticks % (COUNTERS_MS / TICK_MS) == 0 && !self.letters_left() {
                    self.tell_counters(&net, &links);
                }
            } else if self.look(Broker::poll_timeout).is_none_or(|deadline| deadline > now) {
                continue;
            }
            let disk = self.usage.get();
            self.act("tick", |broker, now, out| match is_tick {
                true => broker.handle_tick(now, disk, out),
                false => broker.handle_deadline(now, out),
            });
        }
    }
}

impl Service for Shard {
    fn connected(&self, connection: ConnectionId, peer: SocketAddr) {
        self.ask(|broker, now| broker.handle_connected(now, connection, peer));
    }

    fn disconnected(self: &Rc<Self>, connection: ConnectionId) {
        self.act("disconnect", |broker, now, out| broker.handle_disconnected(now, connection, out));
    }

    fn frame(&self, connection: ConnectionId, frame: &RawFrame<'_>) -> Result<(), CloseReason> {
        let now = self.turn_now.get().unwrap_or_else(|| {
            let now = self.runtime.watch.now();
            self.turn_now.set(Some(now));
            now
        });
        let core = &mut *self.core.borrow_mut();
        core.broker.handle_frame(now, connection, frame, &mut core.out)
    }

    fn turn_ended(self: &Rc<Self>) {
        self.turn_now.set(None);
        self.act("progress", |broker, now, out| broker.handle_turn_end(now, out));
    }

    fn accepts_input(&self, connection: ConnectionId) -> bool {
        let core = self.core.borrow();
        // A full outbox is the broker's matter: it refuses pulls, and those who read go on.
        self.reads(&core) && !core.out.outbox.is_over(connection)
    }

    fn take_output(&self, connection: ConnectionId) -> BytesMut {
        let outbox = &mut self.core.borrow_mut().out.outbox;
        // Taking nothing would share the buffer that the next reply could have to itself.
        if outbox.pending_bytes(connection) == 0 { BytesMut::new() } else { outbox.take(connection) }
    }

    fn waiting_bytes(&self) -> usize {
        self.core.borrow().out.outbox.total_bytes()
    }

    fn note_unsent(&self, connection: ConnectionId, bytes: usize) -> usize {
        let outbox = &mut self.core.borrow_mut().out.outbox;
        let was_full = outbox.is_full();
        outbox.note_unsent(connection, bytes);
        if was_full
            && !outbox.is_full()
            && let Some(net) = self.net()
        {
            net.resume_input();
        }
        outbox.pending_bytes(connection)
    }
}
