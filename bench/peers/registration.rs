//! Whether a broker is known to its name servers.
//!
//! Apache's broker prints `boot success` before its name servers have heard of it, so who asks them at once may be told
//! that there is no such cluster.
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// `GET_BROKER_CLUSTER_INFO`, with a JSON header and no body.
const REQUEST: &str = r#"{"code":106,"flag":0,"language":"JAVA","opaque":0,"version":479}"#;
/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// RocketMQ's own limit of a frame.
const FRAME_BYTES_MAX: u64 = 16 << 20;

/// Whether all of `name_servers` (`HOST:PORT`, `;` between) list a broker at `address`.
pub(crate) fn is_registered(name_servers: &str, address: &str) -> bool {
    let quoted = format!("\"{address}\"");
    name_servers.split(';').all(|name_server| cluster_info(name_server).is_ok_and(|info| info.contains(&quoted)))
}

/// Header and body of the answer, as text.
fn cluster_info(name_server: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(name_server)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let header_length = u32::try_from(REQUEST.len()).expect("a short text");
    // Length of what follows, then header type 0 (JSON) in the top byte of the header's length.
    let mut frame = (header_length + 4).to_be_bytes().to_vec();
    frame.extend_from_slice(&header_length.to_be_bytes());
    frame.extend_from_slice(REQUEST.as_bytes());
    stream.write_all(&frame)?;
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut answer = Vec::new();
    stream.take(u64::from(u32::from_be_bytes(length)).min(FRAME_BYTES_MAX)).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}
