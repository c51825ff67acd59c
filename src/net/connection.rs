//! One task a connection: writes what waits, then reads, then handles, in turns.
//!
//! A turn is one poll of the task. It has no await in it, so that all connections can share one scratch buffer and no borrow
//! crosses an await. The task sleeps on its socket; [`Net::wake`] wakes it when something was put into its outbox.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::task::{Context, Poll};

use glommio::TaskQueueHandle;
use glommio::net::TcpStream;

use super::Service;
use super::backlog::{Backlog, Halt};
use super::partial::{PartialBudget, Partials};
use super::sleeper::Sleeper;
use super::transport::{self, SocketEnd, Transport};
use super::unread::{Unread, Unsent};
use crate::limits::{
    CONNECTION_IDLE_MS, CONNECTIONS_MAX, FRAME_WAIT_MS, FRAMES_PER_TURN_MAX, OUTBOX_BYTES_HIGH, OUTBOX_BYTES_MAX,
    PARTIAL_ADDRESS_BYTES_MAX, PARTIAL_BYTES_MAX, SCRATCH_BYTES, STARVED_PER_TURN,
};
use crate::model::{ConnectionId, MonoNs};
use crate::protocol::frame::{CloseReason, FrameError};
use crate::said::BY_STRANGERS;

/// Why a connection ended. Only what the peer did wrong is worth a line in the log, each kind from a place of its own: they are counted by place.
#[derive(Debug, thiserror::Error)]
enum ConnectionEnd {
    #[error("{0}")]
    Socket(#[from] SocketEnd),
    #[error("{0}")]
    BadFrame(FrameError),
    #[error("{0}")]
    ByService(CloseReason),
    #[error("silent for {} s", CONNECTION_IDLE_MS / 1000)]
    Idle,
    #[error("a frame was not complete after {} s", FRAME_WAIT_MS / 1000)]
    SlowFrame,
    #[error("its frame stood still while there was no room for those of others")]
    Stalled,
    #[error("it does not read: {0} bytes wait for it")]
    NotReading(usize),
    #[error("the shard stops")]
    Stop,
}

/// What the rest of the shard sees of a connection.
#[derive(Debug, Default)]
struct ConnectionHandle {
    sleeper: Sleeper,
    /// When bytes last came or went.
    active: Cell<MonoNs>,
    /// Since when the front of the backlog is an unfinished frame that may be read on.
    frame_since: Cell<Option<MonoNs>>,
    /// Whether it is in [`Net::paused`].
    is_paused: Cell<bool>,
    /// Whether it is in [`Net::starved`].
    is_starved: Cell<bool>,
    /// Set by whoever wants the connection gone; the task obeys in its next turn.
    condemned: Cell<Option<Sentence>>,
}

#[derive(Clone, Copy, Debug)]
enum Sentence {
    Idle,
    SlowFrame,
    Stalled,
    NotReading(usize),
    Stop,
}

/// The connections of one shard.
pub struct Net<S> {
    service: Rc<S>,
    queue: TaskQueueHandle,
    connections: RefCell<BTreeMap<ConnectionId, Rc<ConnectionHandle>>>,
    connections_max: usize,
    next_id: Cell<u64>,
    scratch: RefCell<Box<[u8]>>,
    partials: RefCell<Partials>,
    unread: RefCell<Unread>,
    /// Connections that were closed because their frames stood still.
    stalled: Cell<u64>,
    /// Connections that are not read because the service refuses.
    paused: RefCell<Vec<ConnectionId>>,
    /// Connections that are not read because there is no room for their unfinished frames, in the order in which they try again.
    starved: RefCell<VecDeque<ConnectionId>>,
    is_closing: Cell<bool>,
}

impl<S: Service> Net<S> {
    /// No connections yet, and never more than `connections_max`. Their tasks will run in `queue`.
    #[must_use]
    pub fn new(service: Rc<S>, queue: TaskQueueHandle, connections_max: usize) -> Rc<Net<S>> {
        Rc::new(Net {
            service,
            queue,
            connections: RefCell::default(),
            connections_max: connections_max.min(CONNECTIONS_MAX),
            next_id: Cell::new(1),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            partials: RefCell::new(Partials::new(PartialBudget {
                total: PARTIAL_BYTES_MAX,
                address: PARTIAL_ADDRESS_BYTES_MAX,
            })),
            unread: RefCell::default(),
            stalled: Cell::new(0),
            paused: RefCell::default(),
            starved: RefCell::default(),
            is_closing: Cell::new(false),
        })
    }

    /// How many connections there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.connections.borrow().len()
    }

    /// Bytes of unfinished frames in memory.
    #[must_use]
    pub fn partial_bytes(&self) -> usize {
        self.partials.borrow().bytes()
    }

    /// How many connections were closed because their frames stood still while there was no room, since the start.
    #[must_use]
    pub(crate) fn stalled(&self) -> u64 {
        self.stalled.get()
    }

    /// Wakes a connection because something waits for it.
    pub fn wake(&self, connection: ConnectionId) {
        if let Some(handle) = self.connections.borrow().get(&connection) {
            handle.sleeper.wake();
        }
    }

    /// Reads on at the connections that were not read because the service refused.
    pub fn resume_input(&self) {
        if self.paused.borrow().is_empty() {
            return;
        }
        for connection in std::mem::take(&mut *self.paused.borrow_mut()) {
            if let Some(handle) = self.connections.borrow().get(&connection) {
                handle.is_paused.set(false);
                handle.sleeper.wake();
            }
        }
    }

    /// Lets connections that had no room for their frames try again; not all at once, since most find none if many wait.
    fn feed(&self) {
        for _ in 0..STARVED_PER_TURN {
            let Some(connection) = self.starved.borrow_mut().pop_front() else { return };
            if let Some(handle) = self.connections.borrow().get(&connection) {
                handle.is_starved.set(false);
                handle.sleeper.wake();
            }
        }
    }

    /// Condemns connections that were silent for too long, whose frame does not come to its end, or that do not read. Call it once a second.
    pub(crate) fn sweep(&self) {
        let now = self.service.now();
        for handle in self.connections.borrow().values() {
            let is_slow = handle.frame_since.get().is_some_and(|since| now.ms_since(since) >= FRAME_WAIT_MS);
            let is_idle = now.ms_since(handle.active.get()) >= CONNECTION_IDLE_MS;
            if is_slow || is_idle {
                handle.condemned.set(Some(if is_slow { Sentence::SlowFrame } else { Sentence::Idle }));
                handle.sleeper.wake();
            }
        }
        let dropped = self.unread.borrow_mut().drop_stalled(now, self.service.waiting_bytes());
        for (id, bytes) in dropped {
            if let Some(handle) = self.connections.borrow().get(&id) {
                handle.condemned.set(Some(Sentence::NotReading(bytes)));
                handle.sleeper.wake();
            }
        }
    }

    /// Makes room for unfinished frames, if there is none, by those that stand still. Call it each
    /// [`PARTIAL_LOOK_MS`](crate::limits::PARTIAL_LOOK_MS).
    pub(crate) fn relieve(&self) {
        let dropped = self.partials.borrow_mut().drop_stalled(self.service.now());
        for id in &dropped {
            if let Some(handle) = self.connections.borrow().get(id) {
                handle.condemned.set(Some(Sentence::Stalled));
                handle.sleeper.wake();
            }
        }
        self.stalled.set(self.stalled.get() + dropped.len() as u64);
        self.feed();
    }

    /// From now on a new connection is closed at once.
    pub(crate) fn refuse_new(&self) {
        self.is_closing.set(true);
    }

    /// Takes new connections again.
    pub(crate) fn accept_again(&self) {
        self.is_closing.set(false);
    }

    /// Closes every connection, now and in future, after what waits for it was offered to its socket once.
    pub fn close_all(&self) {
        self.is_closing.set(true);
        for handle in self.connections.borrow().values() {
            handle.condemned.set(Some(Sentence::Stop));
            handle.sleeper.wake();
        }
    }

    /// Takes an accepted socket.
    pub fn add(self: &Rc<Self>, stream: TcpStream) {
        if self.is_closing.get() {
            return;
        }
        if self.count() >= self.connections_max {
            let limit = self.connections_max;
            tracing::warn!(target: BY_STRANGERS, limit, "a connection was closed: the shard has as many as it may");
            return;
        }
        let Some(transport) = Transport::new(stream) else { return };
        let id = ConnectionId(self.next_id.get());
        self.next_id.set(id.0 + 1);
        let handle = Rc::new(ConnectionHandle::default());
        handle.active.set(self.service.now());
        self.connections.borrow_mut().insert(id, handle.clone());
        self.service.connected(id, transport.peer());
        let connection = Connection {
            net: self.clone(),
            id,
            handle,
            transport,
            out: Unsent::default(),
            backlog: Backlog::default(),
            is_unread: false,
            is_choked: false,
        };
        transport::spawn(self.queue, connection.run());
    }

    fn remove(&self, id: ConnectionId) {
        self.connections.borrow_mut().remove(&id);
        self.unread.borrow_mut().remove(id);
        let has_freed = self.partials.borrow_mut().remove(id);
        if has_freed {
            self.feed();
        }
        self.service.disconnected(id);
    }
}

struct Connection<S> {
    net: Rc<Net<S>>,
    id: ConnectionId,
    handle: Rc<ConnectionHandle>,
    transport: Transport,
    /// Taken from the outbox, not accepted by the socket yet.
    out: Unsent,
    backlog: Backlog,
    /// It is among [`Net::unread`].
    is_unread: bool,
    /// Its peer does not read: its socket wakes it, so that whatever else happens in the shard need not. There may be thousands.
    is_choked: bool,
}

impl<S: Service> Connection<S> {
    async fn run(mut self) {
        let peer = self.transport.peer();
        tracing::debug!(%peer, connection = %self.id, "connected");
        let net = self.net.clone();
        let end = transport::run(&*net.service, "connection", |context| self.turn(context)).await;
        match &end {
            ConnectionEnd::BadFrame(_) => tracing::warn!(target: BY_STRANGERS, %peer, "connection closed: {end}"),
            ConnectionEnd::ByService(_) => tracing::warn!(target: BY_STRANGERS, %peer, "connection closed: {end}"),
            ConnectionEnd::SlowFrame => tracing::warn!(target: BY_STRANGERS, %peer, "connection closed: {end}"),
            ConnectionEnd::Stalled => tracing::warn!(target: BY_STRANGERS, %peer, "connection closed: {end}"),
            ConnectionEnd::NotReading(_) => tracing::warn!(target: BY_STRANGERS, %peer, "connection closed: {end}"),
            ConnectionEnd::Socket(_) | ConnectionEnd::Idle | ConnectionEnd::Stop => {
                tracing::debug!(%peer, "connection closed: {end}");
            }
        }
        net.remove(self.id);
        self.transport.close().await;
    }

    /// One turn. `Ready(Ok)`: there is more to do at once; `Pending`: the socket or a wake will say.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionEnd>> {
        self.handle.sleeper.keep(context);
        let written = self.write(context);
        if let Err(end) = written {
            return Poll::Ready(Err(end));
        }
        if let Some(sentence) = self.handle.condemned.get() {
            return Poll::Ready(Err(match sentence {
                Sentence::Idle => ConnectionEnd::Idle,
                Sentence::SlowFrame => ConnectionEnd::SlowFrame,
                Sentence::Stalled => ConnectionEnd::Stalled,
                Sentence::NotReading(bytes) => ConnectionEnd::NotReading(bytes),
                Sentence::Stop => ConnectionEnd::Stop,
            }));
        }
        match self.room() {
            0 => Poll::Pending,
            room => self.read(context, room),
        }
    }

    /// Offers what waits to the socket.
    fn write(&mut self, context: &mut Context<'_>) -> Result<(), ConnectionEnd> {
        let mut taken = 0;
        loop {
            if self.out.bytes().is_empty() {
                self.out = Unsent::new(self.net.service.take_output(self.id));
                if self.out.bytes().is_empty() {
                    if std::mem::take(&mut self.is_unread) {
                        self.net.unread.borrow_mut().remove(self.id);
                    }
                    self.is_choked = false;
                    return Ok(());
                }
            }
            match self.transport.poll_write(context, self.out.bytes()) {
                Poll::Ready(written) => {
                    let count = written?;
                    self.out.sent(count);
                    taken += count;
                }
                Poll::Pending => break,
            }
            self.handle.active.set(self.net.service.now());
            self.net.service.note_unsent(self.id, self.out.bytes().len());
        }
        let waiting = self.net.service.note_unsent(self.id, self.out.bytes().len());
        self.net.unread.borrow_mut().waits(self.id, waiting, taken, self.net.service.now());
        self.is_unread = true;
        self.is_choked = waiting > OUTBOX_BYTES_HIGH;
        if waiting > OUTBOX_BYTES_MAX { Err(ConnectionEnd::NotReading(waiting)) } else { Ok(()) }
    }

    /// How much of this connection may be read. If nothing, its frame's clock stands still, and it is noted who will wake it.
    fn room(&mut self) -> usize {
        let (net, handle, held) = (&self.net, &self.handle, self.backlog.len());
        let accepts = net.service.accepts_input(self.id);
        let room = match accepts {
            // What is whole need not wait for room: it makes some.
            true if held > 0 && self.backlog.has_work() => usize::MAX,
            true => net.partials.borrow_mut().room(self.id, self.transport.peer().ip(), held),
            false => 0,
        };
        if room > 0 {
            return room;
        }
        handle.frame_since.set(None);
        net.partials.borrow_mut().pauses(self.id);
        if accepts {
            if !handle.is_starved.replace(true) {
                net.starved.borrow_mut().push_back(self.id);
            }
        } else if !self.is_choked && !handle.is_paused.replace(true) {
            net.paused.borrow_mut().push(self.id);
        }
        0
    }

    fn read(&mut self, context: &mut Context<'_>, room: usize) -> Poll<Result<(), ConnectionEnd>> {
        if self.backlog.has_work() {
            return Poll::Ready(self.handle_frames(&[]));
        }
        let net = self.net.clone();
        let mut scratch = net.scratch.borrow_mut();
        let room = room.min(scratch.len());
        match self.transport.poll_read(context, scratch.get_mut(..room).unwrap_or_default()) {
            Poll::Ready(Ok(received)) => Poll::Ready(self.handle_frames(received)),
            Poll::Ready(Err(end)) => Poll::Ready(Err(end.into())),
            Poll::Pending => {
                if self.backlog.len() > 0 {
                    let now = net.service.now();
                    self.handle.frame_since.set(self.handle.frame_since.get().or(Some(now)));
                    net.partials.borrow_mut().awaits(self.id, now);
                }
                Poll::Pending
            }
        }
    }

    fn handle_frames(&mut self, received: &[u8]) -> Result<(), ConnectionEnd> {
        let before = self.backlog.len();
        let (service, id) = (&self.net.service, self.id);
        let mut handled = 0;
        let result = self.backlog.handle(received, |frame| {
            service.frame(id, frame).map_err(Halt::Failed)?;
            handled += 1;
            if handled >= FRAMES_PER_TURN_MAX || !service.accepts_input(id) { Err(Halt::Enough) } else { Ok(()) }
        });
        service.turn_ended();
        let now = self.net.service.now();
        self.handle.active.set(now);
        let after = self.backlog.len();
        if before > 0 || after > 0 {
            let has_freed = self.net.partials.borrow_mut().set(id, self.transport.peer().ip(), after, now);
            if has_freed {
                self.net.feed();
            }
        }
        if handled > 0 || after == 0 {
            self.handle.frame_since.set((after > 0).then_some(now));
        } else if self.handle.frame_since.get().is_none() {
            self.handle.frame_since.set(Some(now));
        }
        match result {
            Ok(()) | Err(Halt::Enough) => Ok(()),
            Err(Halt::BadFrame(error)) => Err(ConnectionEnd::BadFrame(error)),
            Err(Halt::Failed(reason)) => Err(ConnectionEnd::ByService(reason)),
        }
    }
}
