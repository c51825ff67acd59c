//! A TCP relay that makes a distance: every byte arrives so much later, in both directions.
//!
//! It delays, it does not narrow: bytes leave as they came, each piece its own time after it arrived, so a window that is too small for the
//! distance shows and bandwidth does not.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of one piece.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces under way in one direction of one connection.
const PIECES_MAX: usize = 4096;

type Piece = (Instant, Vec<u8>);

/// Listens on a free port of loopback and passes on what comes to another address, later. Ends when dropped; connections that it
/// carries end with their peers.
#[derive(Debug)]
pub struct Relay {
    address: SocketAddr,
    is_over: Arc<AtomicBool>,
}

impl Relay {
    /// Begins to listen. Each byte takes `delay`, in each direction.
    ///
    /// # Errors
    /// When there is no free port.
    pub fn start(to: SocketAddr, delay: Duration) -> io::Result<Relay> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let is_over = Arc::new(AtomicBool::new(false));
        let ended = is_over.clone();
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                // A target that is not there is what the near end is to see.
                let Ok(far) = TcpStream::connect(to) else { continue };
                drop(join(&near, &far, delay));
            }
        });
        Ok(Relay { address, is_over })
    }

    /// Where to connect to.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        // Wakes the listener, which then sees that it is over.
        drop(TcpStream::connect(self.address));
    }
}

fn join(near: &TcpStream, far: &TcpStream, delay: Duration) -> io::Result<()> {
    for (from, to) in [(near, far), (far, near)] {
        from.set_nodelay(true)?;
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        let (pieces, due) = sync_channel(PIECES_MAX);
        thread::spawn(move || take(from, delay, &pieces));
        thread::spawn(move || give(to, &due));
    }
    Ok(())
}

fn take(mut from: TcpStream, delay: Duration, pieces: &SyncSender<Piece>) {
    let mut buffer = vec![0; PIECE_BYTES];
    while let Ok(count @ 1..) = from.read(&mut buffer) {
        let piece = buffer.get(..count).expect("a read fills no more than its buffer").to_vec();
        if pieces.send((Instant::now() + delay, piece)).is_err() {
            break;
        }
    }
}

fn give(mut to: TcpStream, due: &Receiver<Piece>) {
    for (at, piece) in due {
        thread::sleep(at.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    // The end travels like a byte: what came before it is delivered.
    drop(to.shutdown(Shutdown::Both));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_arrive_whole_and_not_before_their_time() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port");
        let relay = Relay::start(listener.local_addr().expect("bound"), Duration::from_millis(30)).expect("a port");
        let mut near = TcpStream::connect(relay.address()).expect("it listens");
        let (mut far, _) = listener.accept().expect("it connects");
        let sent: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[0]).collect();
        let begun = Instant::now();
        let expected = sent.clone();
        let writer = thread::spawn(move || near.write_all(&sent).map(|()| near));
        let mut received = vec![0; expected.len()];
        far.read_exact(&mut received).expect("all of it");
        assert!(begun.elapsed() >= Duration::from_millis(30));
        assert!(received == expected, "other bytes");
        far.write_all(b"back").expect("it reads");
        drop(far);
        let mut back = Vec::new();
        writer.join().expect("it ends").expect("all was taken").read_to_end(&mut back).expect("its end arrives");
        assert_eq!(back, b"back");
    }
}
