//! A relay between a slave and its master that can cut connections and damage what passes.
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// What a relay does to the bytes that pass from the master to the slave.
#[derive(Debug, Default)]
struct Orders {
    /// Bytes that may still pass before all connections are cut; 0 is no limit.
    cut_after: AtomicU64,
    /// Bytes that may still pass before one of them is damaged; 0 is none.
    damage_after: AtomicU64,
    is_ended: AtomicBool,
    cuts: AtomicU64,
    damages: AtomicU64,
    /// Accepted connections.
    connections: AtomicU64,
    open: Mutex<Vec<TcpStream>>,
}

/// A running relay. It ends when it is dropped.
#[derive(Debug)]
pub struct Relay {
    address: String,
    orders: Arc<Orders>,
}

impl Relay {
    /// Listens on a free port and connects whoever comes to `target`, whether or not it is there now.
    pub fn start(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound").to_string();
        let orders = Arc::new(Orders::default());
        let shared = Arc::clone(&orders);
        thread::spawn(move || {
            for slave in listener.incoming().flatten() {
                if shared.is_ended.load(Ordering::Relaxed) {
                    return;
                }
                // Without a master the slave sees its connection end.
                let Ok(master) = TcpStream::connect(&target) else { continue };
                shared.connections.fetch_add(1, Ordering::Relaxed);
                shared.join(slave, master);
            }
        });
        Self { address, orders }
    }

    /// `HOST:PORT` that the slave takes for its master's.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Cuts all connections when so many more bytes have passed to the slave, in the middle of whatever they are.
    pub fn cut_after(&self, bytes: u64) {
        self.orders.cut_after.store(bytes.max(1), Ordering::Relaxed);
    }

    /// Flips a bit when so many more bytes have passed to the slave.
    pub fn damage_after(&self, bytes: u64) {
        self.orders.damage_after.store(bytes.max(1), Ordering::Relaxed);
    }

    /// How many cuts and damages there were, and how many connections.
    pub fn counts(&self) -> (u64, u64, u64) {
        let count = |number: &AtomicU64| number.load(Ordering::Relaxed);
        (count(&self.orders.cuts), count(&self.orders.damages), count(&self.orders.connections))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.orders.is_ended.store(true, Ordering::Relaxed);
        self.orders.cut();
        // Wakes the accept loop, which sees the end then.
        drop(TcpStream::connect(&self.address));
    }
}

impl Orders {
    fn join(self: &Arc<Self>, slave: TcpStream, master: TcpStream) {
        let clones = [slave.try_clone(), master.try_clone()].into_iter().flatten();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).extend(clones);
        let (Ok(mut from_slave), Ok(mut to_master)) = (slave.try_clone(), master.try_clone()) else { return };
        thread::spawn(move || {
            drop(std::io::copy(&mut from_slave, &mut to_master));
            drop(to_master.shutdown(Shutdown::Both));
        });
        let orders = Arc::clone(self);
        let (mut from_master, mut to_slave) = (master, slave);
        thread::spawn(move || {
            let mut buffer = vec![0; 16 << 10];
            while let Ok(count @ 1..) = from_master.read(&mut buffer) {
                let passed = orders.pass(&mut buffer[..count]);
                if to_slave.write_all(&buffer[..passed]).is_err() || passed < count {
                    break;
                }
            }
            drop(to_slave.shutdown(Shutdown::Both));
            drop(from_master.shutdown(Shutdown::Both));
        });
    }

    /// Carries out what was ordered. Returns how many of the bytes may pass.
    fn pass(&self, bytes: &mut [u8]) -> usize {
        let length = u64::try_from(bytes.len()).expect("a buffer is small");
        let due = |order: &AtomicU64| {
            let left = order.load(Ordering::Relaxed);
            let is_due = left > 0 && left <= length;
            order.store(if is_due { 0 } else { left.saturating_sub(length) }, Ordering::Relaxed);
            is_due.then(|| usize::try_from(left - 1).expect("below a buffer's length"))
        };
        if let Some(at) = due(&self.damage_after) {
            bytes[at] ^= 0x10;
            self.damages.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(at) = due(&self.cut_after) {
            self.cuts.fetch_add(1, Ordering::Relaxed);
            self.cut();
            return at;
        }
        bytes.len()
    }

    fn cut(&self) {
        for stream in self.open.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            drop(stream.shutdown(Shutdown::Both));
        }
    }
}
