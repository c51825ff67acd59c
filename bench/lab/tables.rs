//! Large tables that change all the time: topics, groups and committed offsets, of which some are new, other or gone each second.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::lab::error::LabError;
use crate::lab::probe::{ProbeError, small_message};
use crate::lab::say;
use crate::load::frame::{HeaderKind, OPAQUE_MIN, SEND_MESSAGE_V2, UPDATE_AND_CREATE_TOPIC, request};
use crate::load::prelude::topic_creation;
use crate::load::scan::{HeadScanner, remark, split_frame};

/// Offsets of each group: in the queues of one topic, which all groups read.
const OFFSETS_PER_GROUP: u64 = 20;
const READ_TOPIC: &str = "bench-table-read";
/// Messages of each of its queues: an offset cannot lie beyond them.
const MESSAGES: u64 = 64;
/// Queues of the other topics.
const QUEUES: u64 = 8;
/// Requests without an answer while the tables are filled.
const WINDOW: usize = 512;
const TIMEOUT: Duration = Duration::from_secs(30);
/// Changes come so often, some at a time.
const PERIOD: Duration = Duration::from_millis(1);
/// Commits a second while it is measured; and of topics and groups, new or gone.
const COMMITS_PER_S: u64 = 10_000;
const CREATIONS_PER_S: u64 = 20;

const UPDATE_CONSUMER_OFFSET: i32 = 15;
const UPDATE_AND_CREATE_GROUP: i32 = 200;
const DELETE_TOPIC: i32 = 215;

/// What the runs of before have committed.
static RUNS: AtomicU64 = AtomicU64::new(0);

/// One request of those that fill or change tables.
struct Asks {
    code: i32,
    frame: Vec<u8>,
}

fn topic(number: u64) -> String {
    format!("bench-table-{number:06}")
}

fn group(number: u64) -> String {
    format!("bench-group-{number:06}")
}

fn create_topic(name: &str, queues: u64) -> Asks {
    Asks { code: UPDATE_AND_CREATE_TOPIC, frame: topic_creation(HeaderKind::Json, name, &queues.to_string()) }
}

fn delete_topic(name: &str) -> Asks {
    let code = DELETE_TOPIC;
    Asks { code, frame: request(HeaderKind::Json, code, OPAQUE_MIN, &[("topic", name)], b"") }
}

fn create_group(name: &str, tries: u64) -> Asks {
    let body = format!(r#"{{"groupName":"{name}","retryMaxTimes":{tries}}}"#);
    let code = UPDATE_AND_CREATE_GROUP;
    Asks { code, frame: request(HeaderKind::Json, code, OPAQUE_MIN, &[], body.as_bytes()) }
}

/// Message `number` of those that all groups read.
fn send(number: u64) -> Asks {
    let queue = u32::try_from(number % OFFSETS_PER_GROUP).unwrap_or_default();
    Asks { code: SEND_MESSAGE_V2, frame: small_message(READ_TOPIC, queue, number) }
}

/// Commit `number` of a table.
fn commit(number: u64, groups: u64, offset: u64) -> Asks {
    let group = group(number / OFFSETS_PER_GROUP % groups);
    let (queue, offset) = ((number % OFFSETS_PER_GROUP).to_string(), (offset % MESSAGES).to_string());
    let fields = [
        ("consumerGroup", group.as_str()),
        ("topic", READ_TOPIC),
        ("queueId", queue.as_str()),
        ("commitOffset", offset.as_str()),
    ];
    let code = UPDATE_CONSUMER_OFFSET;
    Asks { code, frame: request(HeaderKind::Json, code, OPAQUE_MIN, &fields, b"") }
}

/// A connection on which many requests wait for their answers.
struct Pipe {
    address: SocketAddr,
    stream: TcpStream,
    received: Vec<u8>,
    /// Codes of the requests without an answer.
    open: VecDeque<i32>,
}

impl Pipe {
    fn connect(address: SocketAddr) -> Result<Pipe, ProbeError> {
        let silent = |source| ProbeError::Silent { address, source };
        let stream = TcpStream::connect_timeout(&address, TIMEOUT).map_err(silent)?;
        stream.set_nodelay(true).map_err(silent)?;
        stream.set_read_timeout(Some(TIMEOUT)).map_err(silent)?;
        Ok(Pipe { address, stream, received: Vec::new(), open: VecDeque::new() })
    }

    /// Sends these, and takes answers while there are more than [`WINDOW`] without.
    fn send(&mut self, asks: &[Asks]) -> Result<(), ProbeError> {
        let bytes: Vec<u8> = asks.iter().flat_map(|ask| ask.frame.iter().copied()).collect();
        self.open.extend(asks.iter().map(|ask| ask.code));
        self.stream.write_all(&bytes).map_err(|source| ProbeError::Silent { address: self.address, source })?;
        self.settle(WINDOW)
    }

    /// Takes answers until so many are left.
    fn settle(&mut self, left: usize) -> Result<(), ProbeError> {
        let address = self.address;
        let silent = |source| ProbeError::Silent { address, source };
        let wire = |source| ProbeError::Wire { address, source };
        let mut part = [0u8; 65_536];
        while self.open.len() > left {
            let mut taken = 0;
            while let Some((frame, len)) = split_frame(&self.received[taken..]).map_err(wire)? {
                let code = HeadScanner::default().head(&frame).map_err(wire)?.code;
                let request = self.open.pop_front().unwrap_or_default();
                if code != 0 {
                    return Err(ProbeError::Refused { address, request, code, remark: remark(&frame) });
                }
                taken += len;
            }
            self.received.drain(..taken);
            if self.open.len() <= left {
                break;
            }
            let bytes = self.stream.read(&mut part).map_err(silent)?;
            if bytes == 0 {
                return Err(silent(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")));
            }
            self.received.extend_from_slice(&part[..bytes]);
        }
        Ok(())
    }
}

/// Gives a broker so many committed offsets, and a twentieth of it topics and groups.
///
/// # Errors
/// When it is silent or refuses; or Ctrl-C.
pub(super) fn fill(address: SocketAddr, offsets: u64, stop: &AtomicBool) -> Result<(), LabError> {
    let groups = groups_of(offsets);
    let mut pipe = Pipe::connect(address).map_err(LabError::Silent)?;
    let mut put = |all: u64, what: &str, ask: &dyn Fn(u64) -> Asks| -> Result<(), LabError> {
        say(&format!("{address} gets {all} {what}"));
        for from in (0..all).step_by(WINDOW / 2) {
            if stop.load(Ordering::Relaxed) {
                return Err(LabError::Interrupted);
            }
            let asks: Vec<Asks> = (from..all.min(from + WINDOW as u64 / 2)).map(ask).collect();
            pipe.send(&asks).map_err(LabError::Silent)?;
        }
        pipe.settle(0).map_err(LabError::Silent)
    };
    put(1, "topic that all groups read", &|_| create_topic(READ_TOPIC, OFFSETS_PER_GROUP))?;
    put(OFFSETS_PER_GROUP * MESSAGES, "messages", &send)?;
    put(groups, "topics", &|number| create_topic(&topic(number), QUEUES))?;
    put(groups, "groups", &|number| create_group(&group(number), 16))?;
    put(offsets, "committed offsets", &|number| commit(number, groups, 0))
}

/// A little less than a twentieth: a broker has some of its own, and more come while it is measured.
fn groups_of(offsets: u64) -> u64 {
    (offsets / OFFSETS_PER_GROUP * 99 / 100).max(1)
}

/// Changes the tables while `act` lasts. What that returns, and how many changes were answered a second.
///
/// # Errors
/// When the broker refuses a change or is silent, or as of `act`.
pub(super) fn changing<T>(
    address: SocketAddr,
    offsets: u64,
    act: impl FnOnce() -> Result<T, LabError>,
) -> Result<(T, f64), LabError> {
    let (ends, changes) = (AtomicBool::new(false), AtomicU64::new(0));
    let begun = Instant::now();
    thread::scope(|scope| {
        let changer = scope.spawn(|| change(address, offsets, &ends, &changes));
        let done = act();
        let seconds = begun.elapsed().as_secs_f64();
        ends.store(true, Ordering::Relaxed);
        changer.join().map_err(|_| LabError::NoSubject)?.map_err(LabError::Silent)?;
        #[expect(clippy::cast_precision_loss, reason = "a rate, far below 2^53")]
        let rate = changes.load(Ordering::Relaxed) as f64 / seconds;
        done.map(|done| (done, rate))
    })
}

/// Commits all over the table; topics come and go, groups change.
fn change(address: SocketAddr, offsets: u64, ends: &AtomicBool, changes: &AtomicU64) -> Result<(), ProbeError> {
    let groups = groups_of(offsets);
    let mut pipe = Pipe::connect(address)?;
    // Of each run its own, so that a commit is a change.
    let from = RUNS.fetch_add(7, Ordering::Relaxed) + 1;
    let begun = Instant::now();
    let (mut commits, mut creations) = (0_u64, 0_u64);
    while !ends.load(Ordering::Relaxed) {
        let due = |rate: u64| u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX) / 1000 * rate / 1000;
        let mut asks = Vec::new();
        while commits < due(COMMITS_PER_S) {
            // A prime step reaches all of them, far apart one after the other.
            let number = commits.wrapping_mul(7_919) % offsets;
            asks.push(commit(number, groups, from + commits / offsets));
            commits += 1;
        }
        while creations < due(CREATIONS_PER_S) {
            let name = format!("bench-passing-{}", creations / 4);
            asks.push(match creations % 4 {
                0 => create_topic(&name, QUEUES),
                1 => create_group(&group(creations % groups), 1 + creations % 15),
                2 => create_group(&name, 16),
                _ => delete_topic(&name),
            });
            creations += 1;
        }
        pipe.send(&asks)?;
        pipe.settle(WINDOW / 2)?;
        changes.fetch_add(asks.len() as u64, Ordering::Relaxed);
        thread::sleep(PERIOD);
    }
    pipe.settle(0)
}
