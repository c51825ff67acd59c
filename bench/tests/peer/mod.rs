//! A broker small enough to be read: answers sends after a plan, keeps messages in memory, serves pulls. The faults are its purpose.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use ringmq_bench::load::scan::{Frame, HeadScanner, split_frame};

/// What the peer does to the `n`-th send it gets, counted from 0 over all connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Answers nobody for a while.
    Stall(Duration),
    /// Refuses it with a code.
    Refuse(i32),
    /// Ends every connection.
    Die,
    /// Says that it is stored, and forgets it.
    Lose,
    /// Stores it twice.
    Double,
    /// Stores it with one bit changed.
    Damage,
    /// Stores it after the next one of its queue.
    Delay,
    /// Ends the connection without an answer, and without storing it.
    Hang,
}

/// Where it listens. Its threads end with the test's process.
pub(crate) struct Peer {
    pub(crate) address: SocketAddr,
    state: Arc<Mutex<State>>,
}

struct State {
    faults: BTreeMap<u64, Fault>,
    sends: u64,
    is_dead: bool,
    hangs_up: bool,
    late: Option<Vec<u8>>,
    queues: BTreeMap<i64, Vec<Vec<u8>>>,
}

impl Peer {
    pub(crate) fn start(faults: &[(u64, Fault)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("it is bound");
        let faults = faults.iter().copied().collect();
        let state = Arc::new(Mutex::new(State {
            faults,
            sends: 0,
            is_dead: false,
            hangs_up: false,
            late: None,
            queues: BTreeMap::new(),
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&shared);
                thread::spawn(move || drop(converse(stream, &state)));
            }
        });
        Self { address, state }
    }

    /// Sends so far.
    pub(crate) fn sends(&self) -> u64 {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).sends
    }
}

/// A pull without messages yet: opaque, queue, offset.
type Held = (i32, i64, usize);

fn converse(mut stream: TcpStream, state: &Mutex<State>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut received, mut part, mut held): (Vec<u8>, _, Vec<Held>) = (Vec::new(), vec![0; 65_536], Vec::new());
    loop {
        // One that holds pulls looks after them between reads.
        stream.set_read_timeout((!held.is_empty()).then_some(Duration::from_millis(2)))?;
        match stream.read(&mut part) {
            Ok(0) => return Ok(()),
            Ok(bytes) => received.extend_from_slice(&part[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
        let mut out = Vec::new();
        let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some((frame, frame_len)) = split_frame(&received).expect("the generator writes frames") {
            handle(&mut state, &frame, &mut held, &mut out);
            received.drain(..frame_len);
        }
        if state.is_dead || std::mem::take(&mut state.hangs_up) {
            return Ok(());
        }
        held.retain(|(opaque, queue, offset)| !serve_pull(&state, *opaque, *queue, *offset, &mut out));
        drop(state);
        stream.write_all(&out)?;
    }
}

fn handle(state: &mut State, frame: &Frame<'_>, held: &mut Vec<Held>, out: &mut Vec<u8>) {
    let head = HeadScanner::default().head(frame).expect("a header");
    let header: serde_json::Value = serde_json::from_slice(frame.header).expect("a JSON header");
    let field = |name: &str| -> i64 {
        header["extFields"][name]
            .as_str()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(|| panic!("no {name} in {header}"))
    };
    match head.code {
        310 => {
            let number = state.sends;
            state.sends += 1;
            let fault = state.faults.get(&number).copied();
            let copies = match fault {
                Some(Fault::Stall(time)) => {
                    // With the state locked, so that no connection gets an answer.
                    thread::sleep(time);
                    1
                }
                Some(Fault::Refuse(code)) => return reply(out, code, head.opaque, "{}", "not today", &[]),
                Some(Fault::Die) => {
                    state.is_dead = true;
                    return;
                }
                Some(Fault::Hang) => {
                    state.hangs_up = true;
                    return;
                }
                Some(Fault::Lose) => 0,
                Some(Fault::Double) => 2,
                Some(Fault::Delay) => 0,
                Some(Fault::Damage) | None => 1,
            };
            let queue = state.queues.entry(field("e")).or_default();
            let mut body = frame.body.to_vec();
            if fault == Some(Fault::Damage) {
                body[100] ^= 1;
            }
            queue.extend(std::iter::repeat_n(body.clone(), copies));
            if fault == Some(Fault::Delay) {
                state.late = Some(body);
            } else if let Some(late) = state.late.take() {
                queue.push(late);
            }
            if head.flag == 2 {
                return;
            }
            reply(out, 0, head.opaque, r#"{"msgId":"00","queueId":"0","queueOffset":"0"}"#, "", &[]);
        }
        30 => {
            let end = state.queues.get(&field("queueId")).map_or(0, Vec::len);
            reply(out, 0, head.opaque, &format!(r#"{{"offset":"{end}"}}"#), "", &[]);
        }
        11 => {
            let offset = usize::try_from(field("queueOffset")).expect("not negative");
            held.push((head.opaque, field("queueId"), offset));
        }
        17 | 34 => reply(out, 0, head.opaque, "{}", "", &[]),
        code => reply(out, 3, head.opaque, "{}", &format!("request {code} is unknown here"), &[]),
    }
}

fn serve_pull(state: &State, opaque: i32, queue: i64, offset: usize, out: &mut Vec<u8>) -> bool {
    let messages = state.queues.get(&queue).and_then(|queue| queue.get(offset..)).unwrap_or_default();
    if messages.is_empty() {
        return false;
    }
    let batch = &messages[..messages.len().min(32)];
    let records: Vec<u8> = batch.iter().flat_map(|body| record(body)).collect();
    let next = offset + batch.len();
    let fields =
        format!(r#"{{"suggestWhichBrokerId":"0","nextBeginOffset":"{next}","minOffset":"0","maxOffset":"{next}"}}"#);
    reply(out, 0, opaque, &fields, "FOUND", &records);
    true
}

/// A stored message, IPv4 addresses, no properties.
fn record(body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0u8; 84];
    bytes.extend_from_slice(&u32::try_from(body.len()).expect("short").to_be_bytes());
    bytes.extend_from_slice(body);
    bytes.extend_from_slice(b"\x01T\x00\x00");
    let size = u32::try_from(bytes.len()).expect("short");
    bytes[..4].copy_from_slice(&size.to_be_bytes());
    bytes
}

fn reply(out: &mut Vec<u8>, code: i32, opaque: i32, fields: &str, remark: &str, body: &[u8]) {
    let header = format!(
        r#"{{"code":{code},"extFields":{fields},"flag":1,"language":"JAVA","opaque":{opaque},"remark":"{remark}","version":479}}"#
    );
    out.extend_from_slice(&u32::try_from(4 + header.len() + body.len()).expect("short").to_be_bytes());
    out.extend_from_slice(&u32::try_from(header.len()).expect("short").to_be_bytes());
    out.extend_from_slice(header.as_bytes());
    out.extend_from_slice(body);
}
