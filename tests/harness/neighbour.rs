//! A well-behaved client beside the trouble, and the server's memory: what must not change when others misbehave.
use std::fs;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::client::Client;

/// RocketMQ's clients wait this long for a send (`sendMsgTimeout`).
const TIMEOUT: Duration = Duration::from_secs(3);
const PACE: Duration = Duration::from_millis(4);

/// A client in a thread of its own: sends to a broker and asks a name server for the route, again and again on the same
/// connections. The topic `neighbour` must exist.
#[derive(Debug)]
pub struct Neighbour {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<io::Result<Vec<Duration>>>>,
}

/// How the neighbour fared.
#[derive(Debug, Clone, Copy)]
pub struct Latencies {
    pub count: usize,
    pub p50: Duration,
    pub p99: Duration,
    pub max: Duration,
}

impl Neighbour {
    /// Moves in.
    pub fn start(broker: &str, name_server: &str) -> io::Result<Self> {
        let (mut sends, mut routes) = (Client::connect(broker)?, Client::connect(name_server)?);
        sends.set_timeout(TIMEOUT)?;
        routes.set_timeout(TIMEOUT)?;
        let ends = Arc::new(AtomicBool::new(false));
        let ending = ends.clone();
        let thread = thread::spawn(move || {
            let mut latencies = Vec::new();
            while !ending.load(Ordering::Relaxed) {
                let begin = Instant::now();
                let receipt = sends.send("neighbour", 0, b"a message like any other")?;
                latencies.push(begin.elapsed());
                assert_eq!(receipt.code, 0, "stored, but {receipt:?}");
                assert!(routes.route("neighbour")?.is_some(), "the route is gone");
                thread::sleep(PACE);
            }
            Ok(latencies)
        });
        Ok(Self { ends, thread: Some(thread) })
    }

    /// Moves out. The error is the first request that failed or took longer than three seconds.
    pub fn end(mut self) -> io::Result<Latencies> {
        self.ends.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("ended once");
        let mut latencies = thread.join().map_err(|_| io::Error::other("the neighbour panicked"))??;
        latencies.sort_unstable();
        let at = |percent: usize| latencies.get(latencies.len() * percent / 100).copied().unwrap_or_default();
        let max = latencies.last().copied().unwrap_or_default();
        Ok(Latencies { count: latencies.len(), p50: at(50), p99: at(99), max })
    }
}

impl Drop for Neighbour {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // Its own failure is of no interest when the test has failed already.
            drop(thread.join());
        }
    }
}

/// The most memory that a process ever had resident, shared memory included, in MiB (`VmHWM`).
pub fn resident_mb_max(process_id: u32) -> io::Result<u64> {
    Ok(status_kb(process_id, "VmHWM:")? >> 10)
}

/// The memory that a process has resident now, shared memory included, in KiB (`VmRSS`).
pub fn resident_kb(process_id: u32) -> io::Result<u64> {
    status_kb(process_id, "VmRSS:")
}

/// The memory that a process has to itself now, in KiB (`RssAnon`): no files, no shared memory.
pub fn own_kb(process_id: u32) -> io::Result<u64> {
    status_kb(process_id, "RssAnon:")
}

fn status_kb(process_id: u32, field: &str) -> io::Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process_id}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kilobytes = line.and_then(|text| text.trim().strip_suffix("kB")).and_then(|text| text.trim().parse().ok());
    kilobytes.ok_or_else(|| io::Error::other(format!("no {field} in {status}")))
}

/// Files that a process may have open, as its soft limit says.
pub fn open_files_max(process_id: u32) -> io::Result<usize> {
    let limits = fs::read_to_string(format!("/proc/{process_id}/limits"))?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let soft = line.and_then(|text| text.split_whitespace().next()).and_then(|text| text.parse().ok());
    soft.ok_or_else(|| io::Error::other(format!("no limit of open files in {limits}")))
}
