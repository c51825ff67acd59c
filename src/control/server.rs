//! The sockets of the name server and of the controller: bytes to frames, frames to a [`SocketService`], replies back.
//!
//! A connection reads, answers, writes, in this order and alone, so whoever does not read its replies is not read from either.
//! What an attacker can hold is bounded: connections, bytes of unfinished frames and of unread replies over all connections, the time a
//! frame may take to arrive, and the time a reply may take to leave.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore, oneshot};
use tokio::time::{Instant, timeout_at};
use tracing::{debug, error, info, warn};

use super::clock::Clock;
use crate::files;
use crate::limits::{NAMESRV_CONNECTIONS_MAX, NAMESRV_PARTIAL_BYTES_MAX, NAMESRV_SMALL_ANSWER_BYTES, PARTIAL_LOOK_MS};
use crate::model::{ConnectionId, MonoNs, Now};
use crate::namesrv::{Answer, NameServer, NameServerEffect, Peer};
use crate::net::partial::{PartialBudget, Partials};
use crate::net::unread::{Unread, Unsent};
use crate::protocol::code::{Cost, RequestCode, ResponseCode};
use crate::protocol::frame::{self, FrameError, RawFrame};
use crate::protocol::header::{Header, HeaderError};
use crate::protocol::reply::encode_reply;
use crate::said::BY_STRANGERS;

/// A connection without a byte either way is closed after this. Source: RocketMQ `serverChannelMaxIdleTimeSeconds`.
const IDLE: Duration = Duration::from_secs(120);
/// A frame that has begun must be whole within this.
const FRAME_ARRIVES: Duration = Duration::from_secs(60);
/// A reply must be taken off our hands within this.
const REPLY_LEAVES: Duration = Duration::from_secs(30);
/// How often it is looked for replies that nobody reads.
const UNREAD_LOOK: Duration = Duration::from_secs(1);
/// Read at once from a socket.
const READ_BYTES: usize = 16 * 1024;
/// See [`Server::batch_bytes`].
const BATCH_BYTES: usize = 256 * 1024;
/// A frame from this size on is not read between the others: at 10 MB/s this one takes 6 ms.
const READ_APART_BYTES: usize = 64 * 1024;

/// Who answers what comes through the sockets.
pub(crate) trait SocketService: 'static {
    /// What a request becomes that takes long to read, on a thread of its own.
    type Read: Send + 'static;

    /// What it is, for the log and for clients.
    const NAME: &'static str;

    /// Answers one request. Every code gets an answer, an unknown one too.
    fn handle(&mut self, now: Now, from: Peer, header: &Header<'_>, body: &[u8]) -> Answering;

    /// Whether a large request of this code is read by [`SocketService::read`] first.
    fn is_read_apart(code: i32) -> bool;

    /// Reads such a request, without the state.
    fn read(header: &Header<'_>, body: &[u8]) -> Result<Self::Read, Answer>;

    /// Answers it.
    fn handle_read(&mut self, now: Now, from: Peer, read: Self::Read) -> Answer;

    /// A connection is closed; how many brokers went with it.
    fn disconnected(&mut self, now: Now, connection: ConnectionId) -> usize;
}

/// What a request comes to.
pub(crate) enum Answering {
    /// This.
    Now(Answer),
    /// Whatever comes here; nothing, if the service ends before.
    Later(oneshot::Receiver<Answer>),
}

impl SocketService for NameServer {
    type Read = crate::namesrv::Registration;

    const NAME: &'static str = "name server";

    fn handle(&mut self, now: Now, from: Peer, header: &Header<'_>, body: &[u8]) -> Answering {
        Answering::Now(NameServer::handle(self, now, from, header, body))
    }

    fn is_read_apart(code: i32) -> bool {
        code == RequestCode::RegisterBroker.number()
    }

    fn read(header: &Header<'_>, body: &[u8]) -> Result<Self::Read, Answer> {
        NameServer::read_registration(header, body)
    }

    fn handle_read(&mut self, now: Now, from: Peer, read: Self::Read) -> Answer {
        self.register_broker(now, from, read).unwrap_or_else(|refusal| refusal)
    }

    fn disconnected(&mut self, _: Now, connection: ConnectionId) -> usize {
        NameServer::disconnected(self, connection)
    }
}

/// Drops brokers that were silent too long, until the task is dropped.
pub(crate) async fn expire_silent(machine: Rc<RefCell<NameServer>>, clock: Clock) {
    loop {
        let wait = machine.borrow().scan_interval_ms();
        tokio::time::sleep(Duration::from_millis(wait)).await;
        let gone = machine.borrow_mut().tick(clock.now());
        if gone > 0 {
            warn!(target: BY_STRANGERS, brokers = gone, "silent brokers expired");
        }
    }
}

/// A service with its sockets' shared state.
pub(crate) struct Server<S> {
    machine: Rc<RefCell<S>>,
    clock: Clock,
    connections_max: usize,
    counts: Rc<ServerCounts>,
    holdings: Rc<RefCell<Holdings>>,
    /// One large frame at a time is in memory beyond the budget of unfinished ones.
    large_frames: Rc<Semaphore>,
    /// One large answer at a time is made: whoever asks for many leaves the thread to the others in between.
    large_answers: Rc<Semaphore>,
}

impl<S> Clone for Server<S> {
    fn clone(&self) -> Server<S> {
        Server {
            machine: Rc::clone(&self.machine),
            clock: self.clock,
            connections_max: self.connections_max,
            counts: Rc::clone(&self.counts),
            holdings: Rc::clone(&self.holdings),
            large_frames: Rc::clone(&self.large_frames),
            large_answers: Rc::clone(&self.large_answers),
        }
    }
}

#[derive(Default)]
struct ServerCounts {
    next_id: Cell<u64>,
    connections: Cell<usize>,
}

/// What all connections hold together, and how one of them hears that it has to go.
struct Holdings {
    partials: Partials,
    unread: Unread,
    ends: BTreeMap<ConnectionId, Rc<Dismissal>>,
}

/// Told to a connection by whoever wants it gone.
#[derive(Default)]
struct Dismissal {
    told: Notify,
    why: Cell<Option<Closed>>,
}

impl Dismissal {
    async fn wait(&self) -> Closed {
        self.told.notified().await;
        self.why.take().unwrap_or(Closed::Stalled)
    }
}

impl Holdings {
    fn end(&self, id: ConnectionId, why: Closed) {
        if let Some(end) = self.ends.get(&id) {
            end.why.set(Some(why));
            end.told.notify_one();
        }
    }

    /// Makes room for frames, if there is none, by those that stand still.
    fn relieve(&mut self, now: MonoNs) {
        for id in self.partials.drop_stalled(now) {
            self.end(id, Closed::Stalled);
        }
    }

    /// Makes room for replies, if there is none, by those that nobody reads.
    fn drop_unread(&mut self, now: MonoNs) {
        for (id, bytes) in self.unread.drop_stalled(now, self.unread.bytes()) {
            self.end(id, Closed::NotReading(bytes));
        }
    }
}

/// Why a connection ended, other than by its peer.
#[derive(Debug, thiserror::Error)]
enum Closed {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Frame(#[from] FrameError),
    #[error("{0}")]
    Header(#[from] HeaderError),
    #[error("nothing was sent for 120 s")]
    Idle,
    #[error("a frame did not arrive within 60 s")]
    FrameTooSlow,
    #[error("it took no reply within 30 s")]
    ReplyNotRead,
    #[error("it does not read: {0} bytes wait for it")]
    NotReading(usize),
    #[error("its registration could not be read")]
    NotRead,
    #[error("its frame stood still while there was no room for those of others")]
    Stalled,
}

impl<S: SocketService> Server<S> {
    /// A server around `machine` with at most `connections_max` connections.
    #[must_use]
    pub(crate) fn new(machine: Rc<RefCell<S>>, clock: Clock, connections_max: usize) -> Server<S> {
        let budget = PartialBudget { total: NAMESRV_PARTIAL_BYTES_MAX, address: NAMESRV_PARTIAL_BYTES_MAX / 2 };
        let holdings = Holdings { partials: Partials::new(budget), unread: Unread::default(), ends: BTreeMap::new() };
        Server {
            machine,
            clock,
            connections_max: connections_max.min(NAMESRV_CONNECTIONS_MAX),
            counts: Rc::default(),
            holdings: Rc::new(RefCell::new(holdings)),
            large_frames: Rc::new(Semaphore::new(1)),
            large_answers: Rc::new(Semaphore::new(1)),
        }
    }

    /// Accepts connections until the task is dropped; each is a local task of its own. Must run in a `LocalSet`.
    pub(crate) async fn serve(self, listener: TcpListener) {
        tokio::task::spawn_local(self.clone().drop_unread());
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => self.accepted(stream, peer),
                Err(error) => {
                    // Out of descriptors: what is open goes on, and a little later there may be one again.
                    warn!(target: BY_STRANGERS, %error, "the {} cannot accept a connection", S::NAME);
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn accepted(&self, stream: TcpStream, peer: SocketAddr) {
        let open = self.counts.connections.get();
        if open >= self.connections_max {
            warn!(target: BY_STRANGERS, %peer, open, "connection refused: the {} has as many as it may", S::NAME);
            return;
        }
        self.counts.connections.set(open.saturating_add(1));
        let id = ConnectionId(self.counts.next_id.get());
        self.counts.next_id.set(id.0.saturating_add(1));
        let server = self.clone();
        tokio::task::spawn_local(async move {
            if let Err(why) = server.converse(Peer::new(id, peer.ip()), stream).await {
                say(peer, &why);
            }
            server.counts.connections.set(server.counts.connections.get().saturating_sub(1));
            let gone = server.machine.borrow_mut().disconnected(server.clock.now(), id);
            if gone > 0 {
                info!(target: BY_STRANGERS, %peer, brokers = gone, at = S::NAME, "a broker's connection closed");
            }
        });
    }

    async fn drop_unread(self) {
        loop {
            tokio::time::sleep(UNREAD_LOOK).await;
            self.holdings.borrow_mut().drop_unread(self.clock.now().mono);
        }
    }

    async fn converse(&self, peer: Peer, stream: TcpStream) -> Result<(), Closed> {
        stream.set_nodelay(true)?;
        let mut received = Partial::new(&self.holdings, self.clock, peer);
        let mut replies = BytesMut::new();
        let mut frame_deadline: Option<Instant> = None;
        loop {
            let wait = frame_deadline.unwrap_or_else(|| later(IDLE));
            let late = if frame_deadline.is_some() { Closed::FrameTooSlow } else { Closed::Idle };
            tokio::select! {
                readable = timeout_at(wait, stream.readable()) => readable.map_err(|_| late)??,
                why = received.end.wait() => return Err(why),
            }
            if !received.has_room() {
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_millis(PARTIAL_LOOK_MS)) => {}
                    why = received.end.wait() => return Err(why),
                }
                // What waits for room does not come on, and it is not its fault.
                frame_deadline = frame_deadline.map(|_| later(FRAME_ARRIVES));
                continue;
            }
            received.bytes.reserve(READ_BYTES);
            match stream.try_read_buf(&mut received.bytes) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            let mut answered = false;
            while let Some(frame) = frame::split(&received.bytes)? {
                let size = frame.size;
                let header = Header::decode(frame.encoding, frame.header)?;
                if size < READ_APART_BYTES && !asks_for_much(&header) {
                    self.answer(received.peer, &frame, &header, &mut replies).await;
                    received.bytes.advance(size);
                } else {
                    let turns = if size < READ_APART_BYTES { &self.large_answers } else { &self.large_frames };
                    self.write(&received, &stream, &mut replies).await?;
                    let turn = turns.acquire().await;
                    self.answer_large(received.peer, received.bytes.split_to(size).freeze(), &mut replies).await?;
                    // The turn goes on once the sockets were looked at: tasks that are ready follow one another for long without that.
                    tokio::task::yield_now().await;
                    drop(turn);
                }
                answered = true;
                if replies.len() >= self.batch_bytes() {
                    self.write(&received, &stream, &mut replies).await?;
                }
            }
            received.count();
            self.write(&received, &stream, &mut replies).await?;
            frame_deadline = match (received.bytes.is_empty(), answered, frame_deadline) {
                (true, ..) => None,
                (false, false, Some(deadline)) => Some(deadline),
                (false, ..) => Some(later(FRAME_ARRIVES)),
            };
        }
    }

    async fn answer(&self, from: Peer, frame: &RawFrame<'_>, header: &Header<'_>, replies: &mut BytesMut) {
        if header.is_response() {
            return;
        }
        if asks_for_much(header) && self.holdings.borrow().unread.is_full() {
            // Not even made: the thread that makes it answers the others.
            return self.put_reply(&readers_behind(S::NAME), frame, header, replies);
        }
        let answering = self.machine.borrow_mut().handle(self.clock.now(), from, header, frame.body);
        let mut answer = match answering {
            Answering::Now(answer) => answer,
            Answering::Later(answer) => {
                answer.await.unwrap_or_else(|_| Answer::error(ResponseCode::SystemError, "the process ends"))
            }
        };
        if let Some(effect) = answer.effect.take() {
            let NameServerEffect::PersistKv { path, content } = *effect;
            if let Err(error) = files::make(&path, &content) {
                answer.fail(&format!("{} could not be written: {error}", path.display()));
            }
        }
        self.put_reply(&answer, frame, header, replies);
    }

    /// Answers a large frame, or one that asks for much. A registration of many topics takes a second to read: that is done apart, and the others are
    /// answered meanwhile.
    async fn answer_large(&self, from: Peer, bytes: Bytes, replies: &mut BytesMut) -> Result<(), Closed> {
        let Some(frame) = frame::split(&bytes)? else { return Ok(()) };
        let header = Header::decode(frame.encoding, frame.header)?;
        if header.is_response() || !S::is_read_apart(header.code) {
            self.answer(from, &frame, &header, replies).await;
            return Ok(());
        }
        let apart = bytes.clone();
        let read = tokio::task::spawn_blocking(move || {
            let frame = frame::split(&apart).ok()??;
            let header = Header::decode(frame.encoding, frame.header).ok()?;
            Some(S::read(&header, frame.body))
        });
        // A thread that ends without a result has met a bug: the connection goes, the name server stays.
        let read = read.await.ok().flatten().ok_or(Closed::NotRead)?;
        let answer = match read {
            Ok(read) => self.machine.borrow_mut().handle_read(self.clock.now(), from, read),
            Err(refusal) => refusal,
        };
        self.put_reply(&answer, &frame, &header, replies);
        Ok(())
    }

    /// While too much is not read, an answer that turns out to be large is not given either: what was asked has taken effect, and who asks again has it
    /// once there is room.
    fn put_reply(&self, answer: &Answer, frame: &RawFrame<'_>, header: &Header<'_>, replies: &mut BytesMut) {
        if header.is_oneway() {
            return;
        }
        let is_refused = answer.body.len() > NAMESRV_SMALL_ANSWER_BYTES && self.holdings.borrow().unread.is_full();
        let refusal = is_refused.then(|| readers_behind(S::NAME));
        let answer = refusal.as_ref().unwrap_or(answer);
        answer.with_reply(|reply| encode_reply(frame.encoding, header.opaque, reply, replies));
    }

    /// Replies gathered before they are written, while more requests lie in the buffer.
    fn batch_bytes(&self) -> usize {
        if self.holdings.borrow().unread.is_full() { NAMESRV_SMALL_ANSWER_BYTES } else { BATCH_BYTES }
    }

    /// Writes `replies`, and leaves no buffer: there may be thousands of idle connections.
    async fn write(&self, received: &Partial<'_>, stream: &TcpStream, replies: &mut BytesMut) -> Result<(), Closed> {
        let mut unsent = Unsent::new(std::mem::take(replies));
        let (mut taken, deadline) = (0, later(REPLY_LEAVES));
        while !unsent.bytes().is_empty() {
            match stream.try_write(unsent.bytes()) {
                Ok(0) => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                Ok(count) => {
                    unsent.sent(count);
                    taken += count;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let (now, waiting) = (self.clock.now().mono, unsent.bytes().len());
                    self.holdings.borrow_mut().unread.waits(
                        received.peer.connection,
                        waiting,
                        std::mem::take(&mut taken),
                        now,
                    );
                    tokio::select! {
                        writable = timeout_at(deadline, stream.writable()) => writable.map_err(|_| Closed::ReplyNotRead)??,
                        why = received.end.wait() => return Err(why),
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
        self.holdings.borrow_mut().unread.remove(received.peer.connection);
        Ok(())
    }
}

/// What the peer did wrong is worth a line in the log, each kind from a place of its own: they are counted by place.
fn say(peer: SocketAddr, why: &Closed) {
    match why {
        Closed::Frame(_) => warn!(target: BY_STRANGERS, %peer, "connection closed: {why}"),
        Closed::Header(_) => warn!(target: BY_STRANGERS, %peer, "connection closed: {why}"),
        Closed::FrameTooSlow => warn!(target: BY_STRANGERS, %peer, "connection closed: {why}"),
        Closed::ReplyNotRead | Closed::NotReading(_) => warn!(target: BY_STRANGERS, %peer, "connection closed: {why}"),
        Closed::Stalled => warn!(target: BY_STRANGERS, %peer, "connection closed: {why}"),
        Closed::NotRead => error!(target: BY_STRANGERS, %peer, "connection closed: {why}"),
        Closed::Io(_) | Closed::Idle => debug!(%peer, "connection closed: {why}"),
    }
}

/// Whether the answer may have the size of a table.
fn asks_for_much(header: &Header<'_>) -> bool {
    RequestCode::try_from(header.code).is_ok_and(|code| code.row().cost != Cost::Cheap)
}

/// Many readers that do not read must not take the memory of those that do.
fn readers_behind(name: &str) -> Answer {
    Answer::error(ResponseCode::FlowControl, format!("readers are behind: the {name} holds too many answers"))
}

fn later(wait: Duration) -> Instant {
    Instant::now().checked_add(wait).expect("minutes from now can be told")
}

/// Bytes of a frame that is not whole, counted against the budget of all connections.
struct Partial<'a> {
    holdings: &'a RefCell<Holdings>,
    clock: Clock,
    peer: Peer,
    bytes: BytesMut,
    end: Rc<Dismissal>,
}

impl Partial<'_> {
    fn new(holdings: &RefCell<Holdings>, clock: Clock, peer: Peer) -> Partial<'_> {
        let end = Rc::<Dismissal>::default();
        holdings.borrow_mut().ends.insert(peer.connection, Rc::clone(&end));
        Partial { holdings, clock, peer, bytes: BytesMut::new(), end }
    }

    /// Whether more may be read of this connection. If not, those that stand still may have to go, this one among them.
    fn has_room(&self) -> bool {
        let mut holdings = self.holdings.borrow_mut();
        if holdings.partials.room(self.peer.connection, self.peer.ip(), self.bytes.len()) > 0 {
            return true;
        }
        holdings.partials.pauses(self.peer.connection);
        holdings.relieve(self.clock.now().mono);
        false
    }

    /// Notes what is left after all whole frames were answered: from now on it stands still.
    fn count(&mut self) {
        if self.bytes.is_empty() {
            // An idle connection keeps no buffer: there may be thousands.
            self.bytes = BytesMut::new();
        }
        let now = self.clock.now().mono;
        let mut holdings = self.holdings.borrow_mut();
        holdings.partials.set(self.peer.connection, self.peer.ip(), self.bytes.len(), now);
        holdings.partials.awaits(self.peer.connection, now);
    }
}

impl Drop for Partial<'_> {
    fn drop(&mut self) {
        let mut holdings = self.holdings.borrow_mut();
        holdings.partials.remove(self.peer.connection);
        holdings.unread.remove(self.peer.connection);
        holdings.ends.remove(&self.peer.connection);
    }
}
