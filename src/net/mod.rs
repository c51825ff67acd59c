//! Bytes of sockets to whole frames and back.
//!
//! State of the shard. [`Net`] keeps its connections; what a frame means is the [`Service`]'s matter. Nothing here awaits while it
//! holds a borrow, and nothing is read that cannot be handled: full means that the socket stays unread, which the peer's TCP feels.
//!
//! ```text
//! socket ─recv─▶ scratch (one a shard) ─split─▶ Service::frame ─▶ outbox ─▶ one send a connection and turn ─▶ socket
//!                   └─ unfinished rest ─▶ Backlog (of the connection)
//! ```

mod backlog;
pub mod connection;
pub(crate) mod link;
pub mod listener;
pub(crate) mod partial;
mod sleeper;
mod transport;
pub(crate) mod unread;

pub use connection::Net;
pub(crate) use link::{LinkService, Links};
pub use listener::Listeners;
pub(crate) use listener::{ListenError, OpenListeners, ReplicaListener, ReplicaPort};

use std::net::SocketAddr;
use std::rc::Rc;

use bytes::BytesMut;

use crate::model::{ConnectionId, MonoNs};
use crate::protocol::frame::{CloseReason, RawFrame};

/// The shard on which the tasks of sockets run.
pub trait Host: 'static {
    /// Looks at its clock.
    fn now(&self) -> MonoNs;

    /// Does one turn of a task under its name, and sees how long that holds the thread.
    fn turn<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> T;
}

/// What the connections of a shard talk to. No call may block or call back into [`Net`] other than to wake connections.
pub trait Service: Host {
    /// A connection begins.
    fn connected(&self, connection: ConnectionId, peer: SocketAddr);

    /// A connection has ended; nothing can be sent to it any more.
    fn disconnected(self: &Rc<Self>, connection: ConnectionId);

    /// Handles one whole frame.
    ///
    /// # Errors
    /// Why the connection must be closed.
    fn frame(&self, connection: ConnectionId, frame: &RawFrame<'_>) -> Result<(), CloseReason>;

    /// All frames of this connection's turn are handled: what they caused can be carried out at once.
    fn turn_ended(self: &Rc<Self>);

    /// Whether frames of this connection may be read and handled now. When that becomes true again, the service wakes the connection or
    /// [`Net::resume_input`]s them all.
    fn accepts_input(&self, connection: ConnectionId) -> bool;

    /// Takes what waits for a connection.
    fn take_output(&self, connection: ConnectionId) -> BytesMut;

    /// Says how many of the bytes taken the socket has not accepted. Returns how many bytes wait in all.
    fn note_unsent(&self, connection: ConnectionId, bytes: usize) -> usize;

    /// Bytes of answers that wait for all connections, whether or not they were taken.
    fn waiting_bytes(&self) -> usize;
}
