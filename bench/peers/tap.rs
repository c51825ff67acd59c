//! A proxy between a client and a server that keeps every frame that passes.
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Frames above this are passed on and not kept.
const KEPT_BYTES_MAX: usize = 16 << 10;
/// RocketMQ's own limit of a frame.
const FRAME_BYTES_MAX: usize = 16 << 20;

/// One frame as it was on the wire, its length field included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TappedFrame {
    /// Connections are counted from 0.
    pub connection: usize,
    /// Sent by the side that connected.
    pub from_client: bool,
    /// All bytes.
    pub bytes: Vec<u8>,
}

/// Listens on a port and passes what arrives to a server, both ways, until the process ends.
///
/// Replies may hold the server's own address (routes do), and who asks would go there past the tap. `rewrite` replaces
/// such bytes with others of the same length on the way to the client; what is kept is what the server sent.
#[derive(Debug)]
pub struct Tap {
    frames: Arc<Mutex<Vec<TappedFrame>>>,
}

impl Tap {
    /// Listens on `127.0.0.1:port` for `server`.
    ///
    /// # Errors
    /// When the port is taken.
    ///
    /// # Panics
    /// When a replacement differs in length, which would break the frames.
    pub fn start(port: u16, server: &str, rewrite: &[(String, String)]) -> io::Result<Self> {
        assert!(rewrite.iter().all(|(from, to)| from.len() == to.len()), "lengths differ in {rewrite:?}");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        let frames = Arc::new(Mutex::new(Vec::new()));
        let (kept, server, rewrite) = (Arc::clone(&frames), server.to_owned(), rewrite.to_vec());
        thread::spawn(move || {
            for (connection, client) in listener.incoming().flatten().enumerate() {
                // A server that is gone shows as a closed connection, as it would without the tap.
                let Ok(server) = TcpStream::connect(&server) else { continue };
                drop(join(connection, &client, &server, &kept, &rewrite));
            }
        });
        Ok(Self { frames })
    }

    /// All frames so far, in the order in which they passed.
    #[must_use]
    pub fn frames(&self) -> Vec<TappedFrame> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Starts the two threads that carry one connection.
fn join(
    connection: usize,
    client: &TcpStream,
    server: &TcpStream,
    kept: &Arc<Mutex<Vec<TappedFrame>>>,
    rewrite: &[(String, String)],
) -> io::Result<()> {
    for from_client in [true, false] {
        let (from, to) = if from_client { (client, server) } else { (server, client) };
        let (mut from, mut to) = (from.try_clone()?, to.try_clone()?);
        to.set_nodelay(true)?;
        let kept = Arc::clone(kept);
        let rewrite = if from_client { Vec::new() } else { rewrite.to_vec() };
        thread::spawn(move || {
            while let Ok(bytes) = read_frame(&mut from) {
                let passed = replaced(&bytes, &rewrite);
                if bytes.len() <= KEPT_BYTES_MAX {
                    let frame = TappedFrame { connection, from_client, bytes };
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(frame);
                }
                if to.write_all(&passed).is_err() {
                    break;
                }
            }
            // The other side learns of the end; that it may know already is no matter.
            drop(to.shutdown(Shutdown::Both));
            drop(from.shutdown(Shutdown::Both));
        });
    }
    Ok(())
}

fn read_frame(from: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; 4];
    from.read_exact(&mut bytes)?;
    let length = bytes.iter().fold(0, |length, &byte| (length << 8) | usize::from(byte));
    if length > FRAME_BYTES_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    bytes.resize(4 + length, 0);
    from.read_exact(bytes.get_mut(4..).unwrap_or_default())?;
    Ok(bytes)
}

fn replaced(bytes: &[u8], rewrite: &[(String, String)]) -> Vec<u8> {
    let mut replaced = bytes.to_vec();
    for (from, to) in rewrite {
        let mut start = 0;
        while let Some(found) = replaced.get(start..).and_then(|rest| find(rest, from.as_bytes())) {
            for (position, byte) in to.bytes().enumerate() {
                if let Some(place) = replaced.get_mut(start + found + position) {
                    *place = byte;
                }
            }
            start += found + to.len();
        }
    }
    replaced
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::PortBlock;

    #[test]
    fn frames_pass_both_ways_and_are_kept_as_they_were() {
        let ports = PortBlock::reserve(1);
        let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = server.local_addr().expect("it is bound").to_string();
        let tap = Tap::start(ports.listen(), &address, &[("abc".to_owned(), "xyz".to_owned())]).expect("it listens");
        let mut client = TcpStream::connect(("127.0.0.1", ports.listen())).expect("it listens");
        let (mut accepted, _) = server.accept().expect("the tap connects");
        client.write_all(b"\0\0\0\x05abcde").expect("it is open");
        assert_eq!(read_frame(&mut accepted).expect("it arrives"), b"\0\0\0\x05abcde");
        accepted.write_all(b"\0\0\0\x07abc-abc").expect("it is open");
        assert_eq!(read_frame(&mut client).expect("it arrives"), b"\0\0\0\x07xyz-xyz");
        let kept: Vec<(bool, Vec<u8>)> =
            tap.frames().into_iter().map(|frame| (frame.from_client, frame.bytes)).collect();
        assert_eq!(kept, [(true, b"\0\0\0\x05abcde".to_vec()), (false, b"\0\0\0\x07abc-abc".to_vec())]);
    }
}
