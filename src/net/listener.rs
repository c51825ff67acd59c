//! The ports of a shard, and the loop that accepts.
//!
//! RocketMQ clients with the VIP channel connect to the port minus two; both lead to the same place. Slaves connect to a port of their own.
//!
//! The sockets are made by the standard library and then given to glommio. glommio 0.9 itself binds with SO_REUSEPORT and without
//! SO_REUSEADDR: a second broker on a taken port would *succeed* and steal half of the connections, while a start after `kill -9`
//! would fail for as long as the kernel keeps the dead process's connections. The standard library does both the other way round.
//!
//! And dropping an `accept()` of glommio that is under way leaks the accepted socket, so the loop is a task of its own that nothing
//! selects over or cancels.

#![expect(unsafe_code, reason = "glommio takes a listening socket by its descriptor only")]

use std::cell::Cell;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{FromRawFd as _, IntoRawFd as _, OwnedFd};
use std::rc::Rc;
use std::time::Duration;

use glommio::net::{TcpListener, TcpStream};
use rustix::net::{AddressFamily, Shutdown, SocketFlags, SocketType};
use thiserror::Error;

use super::{LinkService, Links, Net, Service};
use crate::limits::{ACCEPT_QUEUE_MAX, ACCEPT_WAIT_MS};
use crate::said::BY_STRANGERS;

/// How far the VIP port lies below the main one. Source: RocketMQ `MixAll.brokerVIPChannel`.
const VIP_BELOW: u16 = 2;

/// Tries to get the two ports, [`ACCEPT_WAIT_MS`] apart.
const BIND_TRIES: u32 = 20;

/// A port cannot be had. One sentence that says what to do.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum ListenError {
    /// Taken, or not permitted.
    #[error("cannot listen on {address}: {source}; stop what uses the port or choose another {}", port_use.key())]
    Bind {
        address: SocketAddr,
        /// What the port is for.
        port_use: PortUse,
        /// What the kernel said.
        source: io::Error,
    },
    /// The port has no room below it for the VIP port.
    #[error("listenPort={port} leaves no room for the VIP port, which is 2 below; choose a port from 3 on")]
    NoRoom { port: u16 },
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortUse {
    /// Clients.
    Main,
    /// Clients with the VIP channel.
    Vip,
    /// Slaves.
    Replicas,
}

impl PortUse {
    /// The key that moves it.
    fn key(self) -> &'static str {
        match self {
            PortUse::Main => "listenPort",
            PortUse::Vip => "listenPort (this is the VIP port: listenPort - 2)",
            PortUse::Replicas => "haListenPort (this is the replication port, which slaves connect to)",
        }
    }
}

/// The two ports of a shard: taken, and closed to clients until the shard serves. Whoever can connect is served; a port that is open while the log
/// is still read looks like a broker to those who only try to connect.
#[derive(Debug)]
pub struct Listeners {
    main: Taken,
    vip: Taken,
    port: u16,
}

/// A socket that is bound and does not listen.
#[derive(Debug)]
struct Taken {
    socket: OwnedFd,
    address: SocketAddr,
    port_use: PortUse,
}

/// The two ports of a shard, open to clients.
#[derive(Debug)]
pub struct OpenListeners {
    main: TcpListener,
    vip: TcpListener,
}

impl Listeners {
    /// Takes `port` and the port two below it; with port 0 any free pair.
    ///
    /// A port in use is tried again for a second: the kernel lets go of a killed process's io_uring, and of the sockets in it, in its own time.
    ///
    /// # Errors
    /// [`ListenError`], naming the port.
    pub async fn bind(address: IpAddr, port: u16) -> Result<Listeners, ListenError> {
        until_free(|| Listeners::bind_pair(address, if port == 0 { free_port(address)? } else { port })).await
    }

    fn bind_pair(address: IpAddr, port: u16) -> Result<Listeners, ListenError> {
        let vip = port.checked_sub(VIP_BELOW).filter(|vip| *vip > 0).ok_or(ListenError::NoRoom { port })?;
        let main = Taken::bind(SocketAddr::new(address, port), PortUse::Main)?;
        let vip = Taken::bind(SocketAddr::new(address, vip), PortUse::Vip)?;
        Ok(Listeners { main, vip, port })
    }

    /// The main port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Opens both ports. To be called on the executor.
    ///
    /// # Errors
    /// [`ListenError`], naming the port: another process has opened it since it was taken.
    pub fn open(self) -> Result<OpenListeners, ListenError> {
        Ok(OpenListeners { main: self.main.listen()?, vip: self.vip.listen()? })
    }
}

impl Taken {
    /// As the standard library binds, without listening.
    fn bind(address: SocketAddr, port_use: PortUse) -> Result<Taken, ListenError> {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let bound =
            rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).and_then(|socket| {
                rustix::net::sockopt::set_socket_reuseaddr(&socket, true)?;
                rustix::net::bind(&socket, &address)?;
                Ok(socket)
            });
        let socket = bound.map_err(|error| ListenError::Bind { address, port_use, source: error.into() })?;
        Ok(Taken { socket, address, port_use })
    }

    /// Opens the port. To be called on the executor.
    fn listen(self) -> Result<TcpListener, ListenError> {
        rustix::net::listen(&self.socket, ACCEPT_QUEUE_MAX).map_err(|error| self.refused(error.into()))?;
        // SAFETY: the descriptor is an open listening socket, and `into_raw_fd` has given up its only owner.
        Ok(unsafe { TcpListener::from_raw_fd(self.socket.into_raw_fd()) })
    }

    fn refused(&self, source: io::Error) -> ListenError {
        ListenError::Bind { address: self.address, port_use: self.port_use, source }
    }
}

impl OpenListeners {
    /// Accepts on both ports, for ever, in two tasks of the caller's queue. After [`Net::close_all`] what comes is closed at once.
    pub fn accept_into<S: Service>(self, net: &Rc<Net<S>>) {
        for listener in [self.main, self.vip] {
            let net = net.clone();
            glommio::spawn_local(async move { accept(&listener, |stream| net.add(stream), || false).await }).detach();
        }
    }
}

/// The listening socket for a shard's slaves.
#[derive(Debug)]
pub(crate) struct ReplicaListener {
    listener: TcpListener,
    /// The same socket, to end an accept that is under way.
    socket: OwnedFd,
}

/// A port on which slaves are accepted, until it is closed.
#[derive(Debug)]
pub(crate) struct ReplicaPort {
    socket: OwnedFd,
    is_closed: Rc<Cell<bool>>,
}

impl ReplicaPort {
    /// Closes the port: whoever connects is refused, and it can be taken again.
    pub(crate) fn close(self) {
        self.is_closed.set(true);
        // Its task waits in an accept, which must not be dropped. Linux ends it, and lets go of the port, when the socket is shut down.
        if let Err(error) = rustix::net::shutdown(&self.socket, Shutdown::Both) {
            tracing::error!(%error, "the port for replicas could not be closed");
        }
    }
}

impl ReplicaListener {
    /// Takes `port`; 0 is any free one. A port in use is tried again, as by [`Listeners::bind`].
    ///
    /// # Errors
    /// [`ListenError`], naming the port.
    pub(crate) async fn bind(address: IpAddr, port: u16) -> Result<ReplicaListener, ListenError> {
        until_free(|| {
            let taken = Taken::bind(SocketAddr::new(address, port), PortUse::Replicas)?;
            let socket = taken.socket.try_clone().map_err(|source| taken.refused(source))?;
            Ok(ReplicaListener { listener: taken.listen()?, socket })
        })
        .await
    }

    /// Accepts, until the port is closed, in a task of the caller's queue.
    #[must_use]
    pub(crate) fn accept_into<S: LinkService>(self, links: &Rc<Links<S>>) -> ReplicaPort {
        let (links, is_closed) = (links.clone(), Rc::new(Cell::new(false)));
        let port = ReplicaPort { socket: self.socket, is_closed: is_closed.clone() };
        let listener = self.listener;
        glommio::spawn_local(async move { accept(&listener, |stream| links.add(stream), || is_closed.get()).await })
            .detach();
        port
    }
}

/// Tries again for a while where a port is in use.
async fn until_free<T>(bind: impl Fn() -> Result<T, ListenError>) -> Result<T, ListenError> {
    let mut tried = 0;
    loop {
        tried += 1;
        match bind() {
            Err(ListenError::Bind { source, .. })
                if source.kind() == io::ErrorKind::AddrInUse && tried < BIND_TRIES =>
            {
                glommio::timer::sleep(Duration::from_millis(ACCEPT_WAIT_MS)).await;
            }
            bound => return bound,
        }
    }
}

/// A port that is free now; the kernel's choice.
#[expect(clippy::disallowed_methods, reason = "net is a shell: the kernel is asked for a free port here")]
fn free_port(address: IpAddr) -> Result<u16, ListenError> {
    let address = SocketAddr::new(address, 0);
    let port = std::net::TcpListener::bind(address).and_then(|listener| Ok(listener.local_addr()?.port()));
    port.map_err(|source| ListenError::Bind { address, port_use: PortUse::Main, source })
}

async fn accept(listener: &TcpListener, take: impl Fn(TcpStream), is_closed: impl Fn() -> bool) {
    let mut has_failed = false;
    loop {
        let accepted = listener.accept().await;
        if is_closed() {
            return;
        }
        match accepted {
            Ok(stream) => {
                if std::mem::take(&mut has_failed) {
                    tracing::info!(target: BY_STRANGERS, "connections are accepted again");
                }
                take(stream);
            }
            Err(error) => {
                // Out of descriptors, or the peer gave up: both come back at once, so asking again at once would spin.
                tracing::warn!(target: BY_STRANGERS, %error, "a connection could not be accepted; it is tried again");
                has_failed = true;
                glommio::timer::sleep(Duration::from_millis(ACCEPT_WAIT_MS)).await;
            }
        }
    }
}
