//! Replication connections: raw bytes both ways, to slaves and to a master.
//!
//! As in [`super::connection`], a turn is one poll of the task, with no await in it; all links read into one scratch buffer. What is to be
//! written is made when the socket takes it, into one send buffer a link: a peer that reads slowly costs no more than that.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::{Buf as _, BytesMut};
use glommio::TaskQueueHandle;
use glommio::net::TcpStream;

use super::Host;
use super::sleeper::Sleeper;
use super::transport::{self, SocketEnd, Transport};
use crate::limits::{HA_CONNECT_MS, HA_LINKS_MAX, SCRATCH_BYTES};
use crate::model::LinkId;

/// What the links of a shard talk to. No call may block; each may wake or close links.
pub(crate) trait LinkService: Host {
    /// A slave has connected, or the connection that [`Links::connect`] was asked for is there.
    fn link_up(self: &Rc<Self>, link: LinkId, peer: SocketAddr);

    /// The connection that [`Links::connect`] was asked for did not come about.
    fn link_failed(self: &Rc<Self>, address: SocketAddr, why: &str);

    /// Bytes have come.
    fn link_bytes(self: &Rc<Self>, link: LinkId, bytes: &[u8]);

    /// Appends what is to be sent now to an empty buffer, within the bound of a send buffer.
    fn fill_link(self: &Rc<Self>, link: LinkId, out: &mut BytesMut);

    /// Whether the link is to be read. When that becomes true again, the service calls [`Links::resume_input`].
    fn poll_link_input(&self, link: LinkId) -> bool;

    /// A link has ended.
    fn link_down(self: &Rc<Self>, link: LinkId);
}

/// Writes of one turn before others get theirs.
const WRITES_PER_TURN: usize = 4;

/// Why a link ended. What the peer did wrong, the service has said already.
#[derive(Debug, thiserror::Error)]
enum LinkEnd {
    #[error("{0}")]
    Socket(#[from] SocketEnd),
    #[error("closed here")]
    Closed,
}

/// What the rest of the shard sees of a link.
#[derive(Debug, Default)]
struct LinkHandle {
    sleeper: Sleeper,
    /// Its own turn, or a socket that takes no more: what there is to send is seen without a wake.
    is_busy: Cell<bool>,
    /// It was not read, because the service refused.
    is_paused: Cell<bool>,
    is_condemned: Cell<bool>,
}

/// The replication connections of one shard.
pub(crate) struct Links<S> {
    service: Rc<S>,
    queue: TaskQueueHandle,
    links: RefCell<BTreeMap<LinkId, Rc<LinkHandle>>>,
    links_max: usize,
    next_id: Cell<u64>,
    scratch: RefCell<Box<[u8]>>,
    is_closing: Cell<bool>,
    /// How often all were closed: what was asked for before is nobody's.
    closings: Cell<u64>,
}

impl<S: LinkService> Links<S> {
    /// No links yet, and never more than `links_max`. Their tasks will run in `queue`.
    #[must_use]
    pub(crate) fn new(service: Rc<S>, queue: TaskQueueHandle, links_max: usize) -> Rc<Links<S>> {
        Rc::new(Links {
            service,
            queue,
            links: RefCell::default(),
            links_max: links_max.min(HA_LINKS_MAX),
            next_id: Cell::new(1),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            is_closing: Cell::new(false),
            closings: Cell::new(0),
        })
    }

    /// How many links there are.
    #[must_use]
    pub(crate) fn count(&self) -> usize {
        self.links.borrow().len()
    }

    /// Wakes a link because there is something to send, unless it will see that by itself.
    pub(crate) fn wake(&self, link: LinkId) {
        if let Some(handle) = self.links.borrow().get(&link)
            && !handle.is_busy.get()
        {
            handle.sleeper.wake();
        }
    }

    /// Reads on at the links that were not read and are to be read again.
    pub(crate) fn resume_input(&self, reads: impl Fn(LinkId) -> bool) {
        for (link, handle) in &*self.links.borrow() {
            if handle.is_paused.get() && reads(*link) {
                handle.is_paused.set(false);
                handle.sleeper.wake();
            }
        }
    }

    /// Closes a link, without what waits for it.
    pub(crate) fn close(&self, link: LinkId) {
        if let Some(handle) = self.links.borrow().get(&link) {
            handle.is_condemned.set(true);
            handle.sleeper.wake();
        }
    }

    /// Closes every link, now and in future.
    pub(crate) fn close_all(&self) {
        self.is_closing.set(true);
        self.closings.set(self.closings.get() + 1);
        for handle in self.links.borrow().values() {
            handle.is_condemned.set(true);
            handle.sleeper.wake();
        }
    }

    /// Takes new links again, after [`Links::close_all`].
    pub(crate) fn accept_again(&self) {
        self.is_closing.set(false);
    }

    /// Connects to a peer; the service hears how it went.
    pub(crate) fn connect(self: &Rc<Self>, address: SocketAddr) {
        let (links, closings) = (self.clone(), self.closings.get());
        // A task of its own that nothing cancels.
        transport::spawn(self.queue, async move {
            match Transport::connect(address, HA_CONNECT_MS).await {
                _ if links.closings.get() != closings => {}
                Ok(stream) => links.add(stream),
                Err(why) => links.service.link_failed(address, &why),
            }
        });
    }

    /// Takes a connected socket.
    pub(crate) fn add(self: &Rc<Self>, stream: TcpStream) {
        // Those beyond the bound have not said anything either; the service closes the oldest of those that say nothing.
        if self.is_closing.get() || self.count() >= self.links_max {
            return;
        }
        let Some(transport) = Transport::new(stream) else { return };
        let id = LinkId(self.next_id.get());
        self.next_id.set(id.0 + 1);
        let handle = Rc::new(LinkHandle::default());
        self.links.borrow_mut().insert(id, handle.clone());
        self.service.link_up(id, transport.peer());
        let link = OpenLink { links: self.clone(), id, handle, transport, out: BytesMut::new() };
        transport::spawn(self.queue, link.run());
    }
}

struct OpenLink<S> {
    links: Rc<Links<S>>,
    id: LinkId,
    handle: Rc<LinkHandle>,
    transport: Transport,
    /// Made, not accepted by the socket yet.
    out: BytesMut,
}

impl<S: LinkService> OpenLink<S> {
    async fn run(mut self) {
        let peer = self.transport.peer();
        let links = self.links.clone();
        let end = transport::run(&*links.service, "replication", |context| self.turn(context)).await;
        tracing::debug!(%peer, link = %self.id, "replication connection ended: {end}");
        links.links.borrow_mut().remove(&self.id);
        links.service.link_down(self.id);
        self.transport.close().await;
    }

    /// One turn. `Ready(Ok)`: there is more to do at once; `Pending`: the socket or a wake will say.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        self.handle.sleeper.keep(context);
        self.handle.is_busy.set(true);
        if self.handle.is_condemned.get() {
            return Poll::Ready(Err(LinkEnd::Closed));
        }
        let written = self.write(context);
        let read = match &written {
            Poll::Ready(Err(_)) => Poll::Pending,
            _ => self.read(context),
        };
        match (written, read) {
            (Poll::Ready(Err(end)), _) => Poll::Ready(Err(end)),
            (Poll::Ready(Ok(())), Poll::Pending) => Poll::Ready(Ok(())),
            (Poll::Pending, Poll::Pending) => {
                // What came while this turn ran was not woken for.
                if self.handle.is_condemned.get() {
                    return Poll::Ready(Err(LinkEnd::Closed));
                }
                self.handle.is_busy.set(!self.out.is_empty());
                Poll::Pending
            }
            (_, read) => read,
        }
    }

    /// Offers what there is to the socket. `Pending`: there is no more, or the socket takes no more.
    fn write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        for _ in 0..WRITES_PER_TURN {
            if self.out.is_empty() {
                self.out.clear();
                self.links.service.fill_link(self.id, &mut self.out);
                if self.out.is_empty() {
                    return Poll::Pending;
                }
            }
            match self.transport.poll_write(context, &self.out) {
                Poll::Ready(written) => self.out.advance(written?),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), LinkEnd>> {
        if !self.links.service.poll_link_input(self.id) {
            self.handle.is_paused.set(true);
            return Poll::Pending;
        }
        let links = self.links.clone();
        let mut scratch = links.scratch.borrow_mut();
        match self.transport.poll_read(context, &mut scratch) {
            Poll::Ready(Ok(received)) => {
                links.service.link_bytes(self.id, received);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(end)) => Poll::Ready(Err(end.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}
