//! One task a connection: writes what waits, then reads, then handles, in turns.
//!
//! A turn is one poll of the task. It has no await in it, so that all connections can share one scratch buffer and no borrow
//! crosses an await. The task sleeps on its socket; [`Net::wake`] wakes it when something was put into its outbox.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use glommio::TaskQueueHandle;
use glommio::net::TcpStream;

use super::Service;
use super::backlog::{Backlog, Halt};
use super::sleeper::Sleeper;
use super::transport::{self, SocketEnd, Transport};
use crate::limits::{
    CONNECTION_IDLE_MS, CONNECTIONS_MAX, FRAME_WAIT_MS, FRAMES_PER_TURN_MAX, OUTBOX_BYTES_MAX, PARTIAL_BYTES_MAX,
    SCRATCH_BYTES,
};
use crate::model::{ConnectionId, MonoNs};
use crate::protocol::frame::{CloseReason, FrameError};

/// Why a connection ended. Only what the peer did wrong is worth a line in the log.
#[derive(Debug, thiserror::Error)]
enum ConnectionEnd {
    #[error("{0}")]
    Socket(#[from] SocketEnd),
    #[error("{0}")]
    BadFrame(FrameError),
    #[error("{0}")]
    Asked(CloseReason),
    #[error("silent for {} s", CONNECTION_IDLE_MS / 1000)]
    Idle,
    #[error("a frame was not complete after {} s", FRAME_WAIT_MS / 1000)]
    SlowFrame,
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
    /// Set by whoever wants the connection gone; the task obeys in its next turn.
    condemned: Cell<Option<Sentence>>,
}

#[derive(Clone, Copy, Debug)]
enum Sentence {
    Idle,
    SlowFrame,
    Stop,
}

/// The connections of one shard.
pub struct Net<S> {
    service: Rc<S>,
    queue: TaskQueueHandle,
    connections: RefCell<BTreeMap<ConnectionId, Rc<ConnectionHandle>>>,
    next_id: Cell<u64>,
    scratch: RefCell<Box<[u8]>>,
    partial_bytes: Cell<usize>,
    /// The one connection that may go beyond [`PARTIAL_BYTES_MAX`].
    overdraft: Cell<Option<ConnectionId>>,
    /// Connections that are not read because the service or the budget refuses.
    paused: RefCell<Vec<ConnectionId>>,
    is_closing: Cell<bool>,
}

impl<S: Service> Net<S> {
    /// No connections yet. Their tasks will run in `queue`.
    #[must_use]
    pub fn new(service: Rc<S>, queue: TaskQueueHandle) -> Rc<Net<S>> {
        Rc::new(Net {
            service,
            queue,
            connections: RefCell::default(),
            next_id: Cell::new(1),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            partial_bytes: Cell::new(0),
            overdraft: Cell::new(None),
            paused: RefCell::default(),
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
        self.partial_bytes.get()
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

    /// Condemns connections that were silent for too long or whose frame does not come to its end. Call it once a second.
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
        if self.is_closing.get() || self.count() >= CONNECTIONS_MAX {
            if !self.is_closing.get() {
                tracing::warn!(limit = CONNECTIONS_MAX, "a connection was closed: the shard has as many as it may");
            }
            return;
        }
        let Some(transport) = Transport::new(stream) else { return };
        let id = ConnectionId(self.next_id.get());
        self.next_id.set(id.0 + 1);
        let handle = Rc::new(ConnectionHandle::default());
        handle.active.set(self.service.now());
        self.connections.borrow_mut().insert(id, handle.clone());
        self.service.connected(id, transport.peer());
        let connection =
            Connection { net: self.clone(), id, handle, transport, out: BytesMut::new(), backlog: Backlog::default() };
        transport::spawn(self.queue, connection.run());
    }

    fn remove(&self, id: ConnectionId, backlog: usize) {
        self.connections.borrow_mut().remove(&id);
        self.note_partial(id, backlog, 0);
        self.service.disconnected(id);
    }

    fn note_partial(&self, id: ConnectionId, before: usize, after: usize) {
        let was_over = self.partial_bytes.get() > PARTIAL_BYTES_MAX;
        self.partial_bytes.set(self.partial_bytes.get() - before + after);
        let ends_overdraft = after < before && self.overdraft.get() == Some(id);
        if ends_overdraft {
            self.overdraft.set(None);
        }
        if ends_overdraft || (was_over && self.partial_bytes.get() <= PARTIAL_BYTES_MAX) {
            self.resume_input();
        }
    }

    /// Whether a connection that holds `backlog` bytes may read on.
    fn may_grow(&self, id: ConnectionId, backlog: usize) -> bool {
        if backlog == 0 || self.partial_bytes.get() <= PARTIAL_BYTES_MAX {
            return true;
        }
        if self.overdraft.get().is_none() {
            self.overdraft.set(Some(id));
        }
        self.overdraft.get() == Some(id)
    }
}

struct Connection<S> {
    net: Rc<Net<S>>,
    id: ConnectionId,
    handle: Rc<ConnectionHandle>,
    transport: Transport,
    /// Taken from the outbox, not accepted by the socket yet.
    out: BytesMut,
    backlog: Backlog,
}

impl<S: Service> Connection<S> {
    async fn run(mut self) {
        let peer = self.transport.peer();
        tracing::debug!(%peer, connection = %self.id, "connected");
        let net = self.net.clone();
        let end = transport::run(&*net.service, "connection", |context| self.turn(context)).await;
        match &end {
            ConnectionEnd::BadFrame(_)
            | ConnectionEnd::Asked(_)
            | ConnectionEnd::SlowFrame
            | ConnectionEnd::NotReading(_) => {
                tracing::warn!(%peer, "connection closed: {end}");
            }
            _ => tracing::debug!(%peer, "connection closed: {end}"),
        }
        net.remove(self.id, self.backlog.len());
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
                Sentence::Stop => ConnectionEnd::Stop,
            }));
        }
        if !self.may_read() {
            return Poll::Pending;
        }
        self.read(context)
    }

    /// Offers what waits to the socket.
    fn write(&mut self, context: &mut Context<'_>) -> Result<(), ConnectionEnd> {
        loop {
            if self.out.is_empty() {
                self.out = self.net.service.take_output(self.id);
                if self.out.is_empty() {
                    return Ok(());
                }
            }
            match self.transport.poll_write(context, &mut self.out) {
                Poll::Ready(written) => written?,
                Poll::Pending => break,
            }
            self.handle.active.set(self.net.service.now());
            self.net.service.note_unsent(self.id, self.out.len());
        }
        let waiting = self.net.service.note_unsent(self.id, self.out.len());
        if waiting > OUTBOX_BYTES_MAX { Err(ConnectionEnd::NotReading(waiting)) } else { Ok(()) }
    }

    /// Whether this connection's frames may be read. If not, it is noted as paused, and its frame's clock stands still.
    fn may_read(&mut self) -> bool {
        let may = self.net.service.accepts_input(self.id) && self.net.may_grow(self.id, self.backlog.len());
        if !may {
            self.handle.frame_since.set(None);
            if !self.handle.is_paused.replace(true) {
                self.net.paused.borrow_mut().push(self.id);
            }
        }
        may
    }

    fn read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), ConnectionEnd>> {
        if self.backlog.has_work() {
            return Poll::Ready(self.handle_frames(&[]));
        }
        let net = self.net.clone();
        let mut scratch = net.scratch.borrow_mut();
        match self.transport.poll_read(context, &mut scratch) {
            Poll::Ready(Ok(received)) => Poll::Ready(self.handle_frames(received)),
            Poll::Ready(Err(end)) => Poll::Ready(Err(end.into())),
            Poll::Pending => {
                if self.backlog.len() > 0 && self.handle.frame_since.get().is_none() {
                    self.handle.frame_since.set(Some(net.service.now()));
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
        self.net.note_partial(id, before, after);
        if handled > 0 || after == 0 {
            self.handle.frame_since.set((after > 0).then_some(now));
        } else if self.handle.frame_since.get().is_none() {
            self.handle.frame_since.set(Some(now));
        }
        match result {
            Ok(()) | Err(Halt::Enough) => Ok(()),
            Err(Halt::BadFrame(error)) => Err(ConnectionEnd::BadFrame(error)),
            Err(Halt::Failed(reason)) => Err(ConnectionEnd::Asked(reason)),
        }
    }
}
