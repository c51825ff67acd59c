//! How far the clock of another machine is from ours: exchanges of times, of which the fastest counts.
//!
//! A message is stamped with the monotonic clock of the machine that sends it. Who receives it on another machine asks there:
//!
//! | step | bytes                                                        |
//! |------|--------------------------------------------------------------|
//! | ask  | 8: our time when we ask, for nobody but us                   |
//! | tell | 24: the same 8, their time when it came, their time when told |
//!
//! With `t0` and `t3` ours and `t1` and `t2` theirs, their clock is ahead by `((t1 - t0) + (t2 - t3)) / 2`, wrong by at most half of what the
//! exchange took on the way, `((t3 - t0) - (t2 - t1)) / 2`: the whole way may lie on one side. As NTP does it (RFC 5905, section 8).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::load::clock::now_ns;

const EXCHANGES: usize = 500;
const TIMEOUT: Duration = Duration::from_secs(5);
/// More at once is no measurement but an attack.
const ASKERS_MAX: usize = 64;

/// Their clock by ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Skew {
    /// Ns that their clock is ahead of ours.
    pub ahead_ns: i64,
    /// Ns by which that may be wrong, to either side.
    pub error_ns: u64,
}

impl Skew {
    /// Of one exchange; `None` if its times contradict each other.
    fn of(t0: u64, t1: u64, t2: u64, t3: u64) -> Option<Self> {
        let way = t3.checked_sub(t0)?.checked_sub(t2.checked_sub(t1)?)?;
        let ahead = (i128::from(t1) - i128::from(t0) + i128::from(t2) - i128::from(t3)) / 2;
        Some(Self { ahead_ns: i64::try_from(ahead).ok()?, error_ns: way.div_ceil(2) })
    }

    /// A time of theirs on our clock.
    pub fn to_ours(self, their_ns: u64) -> u64 {
        their_ns.saturating_add_signed(self.ahead_ns.saturating_neg())
    }

    /// With the bound that also holds for what lies between two measurements: clocks drift.
    #[must_use]
    pub fn until(self, later: Self) -> Self {
        let drift = self.ahead_ns.abs_diff(later.ahead_ns);
        Self { ahead_ns: self.ahead_ns, error_ns: self.error_ns.max(later.error_ns) + drift }
    }
}

/// Asks the clock at `address`.
///
/// # Errors
/// When nothing answers there, or no clock.
pub fn measure(address: SocketAddr) -> io::Result<Skew> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut best: Option<Skew> = None;
    for _ in 0..EXCHANGES {
        let t0 = now_ns();
        stream.write_all(&t0.to_be_bytes())?;
        let mut told = [0u8; 24];
        stream.read_exact(&mut told)?;
        let t3 = now_ns();
        let time = |at: usize| u64::from_be_bytes(*told[at..].first_chunk().expect("24 bytes"));
        let skew = Skew::of(t0, time(8), time(16), t3).filter(|_| time(0) == t0);
        let skew = skew.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "what answers there is no clock"))?;
        if best.is_none_or(|best| skew.error_ns < best.error_ns) {
            best = Some(skew);
        }
    }
    Ok(best.expect("there was an exchange"))
}

/// Tells the time to all who ask, for ever.
///
/// # Errors
/// When the socket breaks.
pub fn tell(listener: &TcpListener) -> io::Result<()> {
    let askers = std::sync::Arc::new(());
    loop {
        let (stream, _) = listener.accept()?;
        if std::sync::Arc::strong_count(&askers) > ASKERS_MAX {
            continue;
        }
        let asker = std::sync::Arc::clone(&askers);
        thread::spawn(move || {
            // Who goes away has asked enough.
            let _ = tell_one(stream);
            drop(asker);
        });
    }
}

fn tell_one(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    loop {
        let mut asked = [0u8; 8];
        stream.read_exact(&mut asked)?;
        let came = now_ns();
        let mut told = [0u8; 24];
        told[..8].copy_from_slice(&asked);
        told[8..16].copy_from_slice(&came.to_be_bytes());
        told[16..].copy_from_slice(&now_ns().to_be_bytes());
        stream.write_all(&told)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exchange_bounds_the_difference() {
        // They are 1000 ahead; 30 there, 10 back, 5 in between.
        let skew = Skew::of(100, 1130, 1135, 145).expect("times that fit");
        assert_eq!(skew, Skew { ahead_ns: 1010, error_ns: 20 });
        assert_eq!(skew.to_ours(2010), 1000);
        let behind = Skew::of(1130, 130, 131, 1151).expect("times that fit");
        assert_eq!((behind.ahead_ns, behind.to_ours(0)), (-1010, 1010));
        assert_eq!(Skew::of(100, 50, 90, 110), None, "they say that it took them longer than us");
        let later = Skew { ahead_ns: 1040, error_ns: 25 };
        assert_eq!(skew.until(later), Skew { ahead_ns: 1010, error_ns: 55 });
    }

    #[test]
    fn one_machine_is_not_ahead_of_itself() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || tell(&listener));
        let skew = measure(address).expect("it answers");
        assert!(skew.ahead_ns.unsigned_abs() <= skew.error_ns, "{skew:?}");
    }
}
