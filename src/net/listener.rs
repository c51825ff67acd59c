//! The two ports of a shard, and the loop that accepts.
//!
//! RocketMQ clients with the VIP channel connect to the port minus two; both lead to the same place.
//!
//! glommio 0.9 binds with SO_REUSEPORT always, so that a second broker on a taken port would *succeed* and steal half of the
//! connections. An ordinary bind is tried first, which fails as it should. But it also fails while connections of the last process
//! on this port linger in the kernel, for a minute after a stop with clients: glommio does not set SO_REUSEADDR on its listeners,
//! and without it on both sides an old connection counts as a user of the port. So a refusal is held against the kernel's own list
//! of listeners. And dropping an `accept()` that is under way leaks the accepted socket, so the loop is a task of its own that
//! nothing selects over or cancels.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use glommio::net::TcpListener;
use thiserror::Error;

use super::{Net, Service};
use crate::limits::ACCEPT_WAIT_MS;

/// How far the VIP port lies below the main one. Source: RocketMQ `MixAll.brokerVIPChannel`.
const VIP_BELOW: u16 = 2;

/// Tries to find two free ports when the configuration leaves the choice to the kernel.
const FREE_PORT_TRIES: u32 = 64;

/// A port cannot be had. One sentence that says what to do.
#[derive(Debug, Error)]
pub enum ListenError {
    /// Taken, or not permitted.
    #[error("cannot listen on {address}: {source}; stop what uses the port or choose another listenPort{}", vip_note(*is_vip))]
    Bind {
        /// Address and port.
        address: SocketAddr,
        /// Whether it is the VIP port.
        is_vip: bool,
        /// What the kernel said.
        source: io::Error,
    },
    /// The port has no room below it for the VIP port.
    #[error("listenPort={port} leaves no room for the VIP port, which is 2 below; choose a port from 3 on")]
    NoRoom {
        /// The port.
        port: u16,
    },
}

fn vip_note(is_vip: bool) -> &'static str {
    if is_vip { " (this is the VIP port: listenPort - 2)" } else { "" }
}

/// The two listening sockets of a shard.
#[derive(Debug)]
pub struct Listeners {
    main: TcpListener,
    vip: TcpListener,
    port: u16,
}

impl Listeners {
    /// Takes `port` and the port two below it; with port 0 any free pair.
    ///
    /// # Errors
    /// [`ListenError`], naming the port.
    pub fn bind(address: IpAddr, port: u16) -> Result<Listeners, ListenError> {
        if port != 0 {
            return Listeners::bind_pair(address, port);
        }
        let mut tried = 0;
        loop {
            tried += 1;
            let free = check_free(address, 0, false).and_then(|port| Listeners::bind_pair(address, port));
            if free.is_ok() || tried == FREE_PORT_TRIES {
                return free;
            }
        }
    }

    fn bind_pair(address: IpAddr, port: u16) -> Result<Listeners, ListenError> {
        let vip = port.checked_sub(VIP_BELOW).filter(|vip| *vip > 0).ok_or(ListenError::NoRoom { port })?;
        Ok(Listeners { main: listen(address, port, false)?, vip: listen(address, vip, true)?, port })
    }

    /// The main port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Accepts on both ports, for ever, in two tasks of the caller's queue. After [`Net::close_all`] what comes is closed at once.
    pub fn accept_into<S: Service>(self, net: &Rc<Net<S>>) {
        for listener in [self.main, self.vip] {
            let net = net.clone();
            glommio::spawn_local(async move { accept(&listener, &net).await }).detach();
        }
    }
}

fn listen(address: IpAddr, port: u16, is_vip: bool) -> Result<TcpListener, ListenError> {
    check_free(address, port, is_vip)?;
    let address = SocketAddr::new(address, port);
    TcpListener::bind(address).map_err(|error| ListenError::Bind { address, is_vip, source: error.into() })
}

/// Binds as an ordinary program would, which fails on a taken port, and lets go again. Returns the port.
#[expect(clippy::disallowed_methods, reason = "net is a shell: the one bind that tells a taken port")]
fn check_free(address: IpAddr, port: u16, is_vip: bool) -> Result<u16, ListenError> {
    let address = SocketAddr::new(address, port);
    let bound = std::net::TcpListener::bind(address).and_then(|listener| listener.local_addr());
    match bound {
        Ok(found) => Ok(found.port()),
        Err(source) if source.kind() == io::ErrorKind::AddrInUse && !has_listener(port) => Ok(port),
        Err(source) => Err(ListenError::Bind { address, is_vip, source }),
    }
}

/// Whether somebody listens on `port`, at whatever address. If the kernel does not tell, somebody does.
#[expect(clippy::disallowed_methods, reason = "net is a shell: the kernel's list of listeners is a file")]
fn has_listener(port: u16) -> bool {
    match std::fs::read_to_string("/proc/net/tcp") {
        // Without IPv6 in the kernel there is no second list.
        Ok(v4) => {
            has_listener_in(&v4, port)
                || has_listener_in(&std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default(), port)
        }
        Err(_) => true,
    }
}

/// Looks for `port` in a list of the form of `/proc/net/tcp`: the second field is the local `ADDRESS:PORT` in hexadecimal digits,
/// the fourth the state, 0A for a listener.
fn has_listener_in(list: &str, port: u16) -> bool {
    let ending = format!(":{port:04X}");
    list.lines().any(|line| {
        let mut fields = line.split_whitespace().skip(1);
        fields.next().is_some_and(|local| local.ends_with(&ending)) && fields.nth(1) == Some("0A")
    })
}

async fn accept<S: Service>(listener: &TcpListener, net: &Rc<Net<S>>) {
    loop {
        match listener.accept().await {
            Ok(stream) => net.add(stream),
            Err(error) => {
                // Out of descriptors, or the peer gave up: both come back at once, so asking again at once would spin.
                tracing::warn!(%error, "a connection could not be accepted");
                glommio::timer::sleep(Duration::from_millis(ACCEPT_WAIT_MS)).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_listener_is_told_from_an_old_connection() {
        let list = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
                    \x20  0: 0100007F:2A9F 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 1 1 0 100 0 0 10 0\n\
                    \x20  1: 0100007F:2694 0100007F:C001 06 00000000:00000000 03:00000E94 00000000  0 0 0 3 0\n";
        assert!(has_listener_in(list, 10_911));
        assert!(!has_listener_in(list, 9876), "a connection in TIME_WAIT");
        assert!(!has_listener_in(list, 2), "no such port");
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        assert!(has_listener(listener.local_addr().expect("it has one").port()));
    }
}
