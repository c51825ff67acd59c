//! What connections and links do with a socket, once: take it over, read, write, end it, and run the turns of its task.
//!
//! Nothing else in `net` reads from or writes to a connected socket, so what encrypts its bytes has one place to stand.

use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::io::{AsyncRead as _, AsyncWrite as _};
use glommio::TaskQueueHandle;
use glommio::net::TcpStream;

use super::Host;

/// Why a socket gives or takes no more.
#[derive(Debug, thiserror::Error)]
pub(super) enum SocketEnd {
    #[error("closed by the peer")]
    Peer,
    #[error("{0}")]
    Failed(io::Error),
}

/// The address of a peer as it is. Whoever listens on `::` sees IPv4 as IPv6 (`::ffff:10.0.0.1`); stored with a message like that, it is 16 bytes
/// long and marked, and C++ and Python consumers cannot read such a record.
fn unmapped(peer: SocketAddr) -> SocketAddr {
    SocketAddr::new(peer.ip().to_canonical(), peer.port())
}

/// A connected socket and its peer.
pub(super) struct Transport {
    stream: TcpStream,
    peer: SocketAddr,
}

impl Transport {
    /// Takes over a connected socket. `None` if its peer is gone already, who has no address then: the socket is closed by dropping it.
    pub(super) fn new(stream: TcpStream) -> Option<Transport> {
        let peer = unmapped(stream.peer_addr().ok()?);
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "TCP_NODELAY could not be set");
        }
        Some(Transport { stream, peer })
    }

    /// Connects. To be awaited to its end: a connect that is dropped half way would leave its socket behind.
    ///
    /// # Errors
    /// One sentence of the kernel, or that nobody answered within `wait_ms`.
    pub(super) async fn connect(address: SocketAddr, wait_ms: u64) -> Result<TcpStream, String> {
        let connected = TcpStream::connect_timeout(address, Duration::from_millis(wait_ms)).await;
        connected.map_err(|error| error.to_string())
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Offers bytes to the socket once; how many of them it has taken.
    pub(super) fn poll_write(&mut self, context: &mut Context<'_>, out: &[u8]) -> Poll<Result<usize, SocketEnd>> {
        Pin::new(&mut self.stream).poll_write(context, out).map_err(SocketEnd::Failed)
    }

    /// Reads once into `scratch`, and gives what came; never nothing.
    pub(super) fn poll_read<'a>(
        &mut self,
        context: &mut Context<'_>,
        scratch: &'a mut [u8],
    ) -> Poll<Result<&'a [u8], SocketEnd>> {
        match Pin::new(&mut self.stream).poll_read(context, scratch) {
            Poll::Ready(Ok(0)) => Poll::Ready(Err(SocketEnd::Peer)),
            Poll::Ready(Ok(count)) => {
                Poll::Ready(Ok(scratch.get(..count).expect("a read fills no more than its buffer")))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(SocketEnd::Failed(error))),
            Poll::Pending => Poll::Pending,
        }
    }

    /// Closes the socket. Without it the peer hears of the end only when the reactor next runs: an armed poll holds the socket open.
    pub(super) async fn close(self) {
        drop(self.stream.shutdown(Shutdown::Both).await);
    }
}

/// Starts the task of a socket in `queue`.
pub(super) fn spawn(queue: TaskQueueHandle, task: impl Future<Output = ()> + 'static) {
    glommio::spawn_local_into(task, queue).expect("the queue lives as long as the executor").detach();
}

/// Does turn after turn until one says why there are no more. A turn that is `Ready(Ok)` has more to do at once; one that is `Pending` is done
/// again when the socket or a wake says so.
pub(super) async fn run<E>(
    host: &impl Host,
    name: &'static str,
    mut turn: impl FnMut(&mut Context<'_>) -> Poll<Result<(), E>>,
) -> E {
    loop {
        match poll_fn(|context| host.turn(name, || turn(context))).await {
            Ok(()) => glommio::yield_if_needed().await,
            Err(end) => return end,
        }
    }
}
