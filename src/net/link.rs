//! Replication connections: raw bytes both ways, to slaves and to a master.
//!
//! As in [`super::connection`], a turn is one poll of the task, with no await in it; all links read into one scratch buffer. What is to be
//! written is made when the socket takes it, into one send buffer a link: a peer that reads slowly costs no more than that.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use futures_lite::io::{AsyncRead as _, AsyncWrite as _};
use glommio::TaskQueueHandle;
use glommio::net::TcpStream;

use super::sleeper::Sleeper;
use crate::limits::{HA_CONNECT_MS, HA_LINKS_MAX, SCRATCH_BYTES};
use crate::model::LinkId;
use crate::shard::watch::Watch;

/// What the links of a shard talk to. No call may block; each may wake or close links.
pub trait LinkService: 'static {
    /// A slave has connected, or the connection that [`Links::connect`] was asked for is there.
    fn link_up(self: &Rc<Self>, link: LinkId, peer: SocketAddr);

    /// The connection that [`Links::connect`] was asked for did not come about.
    fn link_failed(self: &Rc<Self>, address: SocketAddr, why: &str);

    /// Bytes have come.
    fn link_received(self: &Rc<Self>, link: LinkId, bytes: &[u8]);

    /// Appends what is to be sent now to an empty buffer, within the bound of a send buffer.
    fn link_output(self: &Rc<Self>, link: LinkId, out: &mut BytesMut);

    /// Whether the link is to be read. When that becomes true again, the service calls [`Links::resume_input`].
    fn link_reads(&self, link: LinkId) -> bool;

    /// A link has ended.
    fn link_down(self: &Rc<Self>, link: LinkId);
}

/// Writes of one turn before others get theirs.
const WRITES_PER_TURN: usize = 4;

/// Why a link ended. What the peer did wrong, the service has said already.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("closed by the peer")]
    Peer,
    #[error("{0}")]
    Socket(std::io::Error),
    #[error("closed here")]
    Closed,
}

/// What the rest of the shard sees of a link.
#[derive(Debug, Default)]
struct Handle {
    sleeper: Sleeper,
    /// Its own turn, or a socket that takes no more: what there is to send is seen without a wake.
    is_busy: Cell<bool>,
    /// It was not read, because the service refused.
    is_paused: Cell<bool>,
    is_condemned: Cell<bool>,
}

/// The replication connections of one shard.
pub struct Links<S> {
    service: Rc<S>,
    watch: Rc<Watch>,
    queue: TaskQueueHandle,
    links: RefCell<BTreeMap<LinkId, Rc<Handle>>>,
    next_id: Cell<u64>,
    scratch: RefCell<Box<[u8]>>,
    is_closing: Cell<bool>,
}

impl<S: LinkService> Links<S> {
    /// No links yet. Their tasks will run in `queue`.
    #[must_use]
    pub fn new(service: Rc<S>, watch: Rc<Watch>, queue: TaskQueueHandle) -> Rc<Links<S>> {
        Rc::new(Links {
            service,
            watch,
            queue,
            links: RefCell::default(),
            next_id: Cell::new(1),
            scratch: RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice()),
            is_closing: Cell::new(false),
        })
    }

    /// How many links there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.links.borrow().len()
    }

    /// Wakes a link because there is something to send, unless it will see that by itself.
    pub fn wake(&self, link: LinkId) {
        if let Some(handle) = self.links.borrow().get(&link)
            && !handle.is_busy.get()
        {
            handle.sleeper.wake();
        }
    }

    /// Reads on at the links that were not read and are to be read again.
    pub fn resume_input(&self, reads: impl Fn(LinkId) -> bool) {
        for (link, handle) in &*self.links.borrow() {
            if handle.is_paused.get() && reads(*link) {
                handle.is_paused.set(false);
                handle.sleeper.wake();
            }
        }
    }

    /// Closes a link, without what waits for it.
    pub fn close(&self, link: LinkId) {
        if let Some(handle) = self.links.borrow().get(&link) {
            handle.is_condemned.set(true);
            handle.sleeper.wake();
        }
    }

    /// Closes every link, now and in future.
    pub fn close_all(&self) {
        self.is_closing.set(true);
        for handle in self.links.borrow().values() {
            handle.is_condemned.set(true);
            handle.sleeper.wake();
        }
    }

    /// Takes new links again, after [`Links::close_all`].
    pub fn accept_again(&self) {
        self.is_closing.set(false);
    }

    /// Connects to a peer; the service hears how it went.
    pub fn connect(self: &Rc<Self>, address: SocketAddr) {
        let links = self.clone();
        // A task of its own that nothing cancels: a connect that is dropped half way would leave its socket behind.
        let task = async move {
            match TcpStream::connect_timeout(address, Duration::from_millis(HA_CONNECT_MS)).await {
                Ok(stream) => links.add(stream),
                Err(error) => links.service.link_failed(address, &error.to_string()),
            }
        };
        glommio::spawn_local_into(task, self.queue).expect("the queue lives as long as the executor").detach();
    }

    /// Takes a connected socket.
    pub fn add(self: &Rc<Self>, stream: TcpStream) {
        // Those beyond the bound have not said anything either; the service closes the oldest of those that say nothing.
        if self.is_closing.get() || self.count() >= HA_LINKS_MAX {
            return;
        }
        // A peer that is gone already has no address; its socket is closed by dropping it.
        let Ok(peer) = stream.peer_addr() else { return };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "TCP_NODELAY could not be set");
        }
        let id = LinkId(self.next_id.get());
        self.next_id.set(id.0 + 1);
        let handle = Rc::new(Handle::default());
        self.links.borrow_mut().insert(id, handle.clone());
        self.service.link_up(id, peer);
        let link = Link { links: self.clone(), id, handle, stream, out: BytesMut::new() };
        let task = glommio::spawn_local_into(link.run(peer), self.queue);
        task.expect("the queue lives as long as the executor").detach();
    }
}

struct Link<S> {
    links: Rc<Links<S>>,
    id: LinkId,
    handle: Rc<Handle>,
    stream: TcpStream,
    /// Made, not accepted by the socket yet.
    out: BytesMut,
}

impl<S: LinkService> Link<S> {
    async fn run(mut self, peer: SocketAddr) {
        let links = self.links.clone();
        let end = loop {
            let turn = poll_fn(|context| links.watch.turn("replication", || self.turn(context))).await;
            match turn {
                Ok(()) => glommio::yield_if_needed().await,
                Err(end) => break end,
            }
        };
        tracing::debug!(%peer, link = %self.id, "replication connection ended: {end}");
        links.links.borrow_mut().remove(&self.id);
        links.service.link_down(self.id);
        // Without it the peer hears of the end only when the reactor next runs: an armed poll holds the socket open.
        drop(self.stream.shutdown(Shutdown::Both).await);
    }

    /// One turn. `Ready(Ok)`: there is more to do at once; `Pending`: the socket or a wake will say.
    fn turn(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        self.handle.sleeper.keep(context);
        self.handle.is_busy.set(true);
        if self.handle.is_condemned.get() {
            return Poll::Ready(Err(End::Closed));
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
                    return Poll::Ready(Err(End::Closed));
                }
                self.handle.is_busy.set(!self.out.is_empty());
                Poll::Pending
            }
            (_, read) => read,
        }
    }

    /// Offers what there is to the socket. `Pending`: there is no more, or the socket takes no more.
    fn write(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        for _ in 0..WRITES_PER_TURN {
            if self.out.is_empty() {
                self.out.clear();
                self.links.service.link_output(self.id, &mut self.out);
                if self.out.is_empty() {
                    return Poll::Pending;
                }
            }
            match Pin::new(&mut self.stream).poll_write(context, &self.out) {
                Poll::Ready(Ok(written)) => self.out.advance(written),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(End::Socket(error))),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(Ok(()))
    }

    fn read(&mut self, context: &mut Context<'_>) -> Poll<Result<(), End>> {
        if !self.links.service.link_reads(self.id) {
            self.handle.is_paused.set(true);
            return Poll::Pending;
        }
        let links = self.links.clone();
        let mut scratch = links.scratch.borrow_mut();
        match Pin::new(&mut self.stream).poll_read(context, &mut scratch) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(End::Peer)),
            Poll::Ready(Ok(count)) => {
                let received = scratch.get(..count).expect("a read fills no more than its buffer");
                links.service.link_received(self.id, received);
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(End::Socket(error))),
            Poll::Pending => Poll::Pending,
        }
    }
}
