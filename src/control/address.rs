//! Which of this machine's addresses clients are told, where the configuration does not say.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs as _, UdpSocket};

/// The address from which `name_server` (`host:port`) is reached: whoever finds that name server most likely finds us there.
/// Without one, the address of the default route. Nothing is sent.
///
/// # Errors
/// If the name cannot be resolved or there is no route.
pub fn advertised(name_server: Option<&str>) -> io::Result<IpAddr> {
    // 192.0.2.1 is reserved for documentation (RFC 5737): it takes the default route and is never reached.
    let default = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 9));
    let target = match name_server {
        Some(name) => name.to_socket_addrs()?.next().unwrap_or(default),
        None => default,
    };
    let local: IpAddr =
        if target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(local, 0))?;
    socket.connect(target)?;
    Ok(socket.local_addr()?.ip().to_canonical())
}
