//! `ringmq-echo`: what ringmq's own runtime can do on this machine with nothing behind the socket.
//!
//! One glommio executor on one processor, made and watched like that of a ringmq shard, answers every send with a ready-made success reply of
//! the size that brokers give. It parses no more than the frame length, the code and the opaque, stores nothing, and answers with one write
//! a read. Its throughput is the ceiling and its latency the floor for any broker on the same runtime; both belong beside a broker's figures.

use std::error::Error;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use futures_lite::{AsyncReadExt, AsyncWriteExt};
use glommio::net::{TcpListener, TcpStream};
use ringmq::shard::runtime::{self, ExecutorPlan};
use ringmq_bench::load::frame::{SEND_MESSAGE_V2, UPDATE_AND_CREATE_TOPIC};
use ringmq_bench::load::scan::{HeadScanner, WireError, split_frame};

/// What one read may bring.
const READ_BYTES: usize = 256 * 1024;
/// A bare echo of RocketMQ send requests, for comparison.
#[derive(Debug, Parser)]
#[command(name = "ringmq-echo", version)]
struct Arguments {
    /// Where to listen; port 0 takes a free one and prints it
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Processor to stay on
    #[arg(long, default_value_t = 0)]
    cpu: usize,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // With stderr closed there is nobody to tell.
            let _ = writeln!(io::stderr(), "ringmq-echo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    runtime::check()?;
    let (listen, cpu) = (arguments.listen, arguments.cpu);
    let mut plan = ExecutorPlan::of_shard(0, 1);
    (plan.name, plan.cpu) = ("echo".to_owned(), cpu);
    let failed = |error| {
        // With stderr closed there is nobody to tell.
        let _ = writeln!(io::stderr(), "ringmq-echo: {error}");
    };
    let accepting = move |_| async move { accept(listen).await.map_err(|error| error.to_string()) };
    let ended = runtime::spawn(plan, accepting, failed)?.join();
    match ended.map_err(|_| "the executor has a bug and is gone")? {
        Some(result) => Ok(result?),
        None => Err("there is no executor to answer on".into()),
    }
}

async fn accept(listen: SocketAddr) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(listen).map_err(|error| format!("cannot listen on {listen}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {address}")?;
    stdout.flush()?;
    let replies = Rc::new(Replies::new(address));
    loop {
        let stream = listener.accept().await.map_err(|error| format!("cannot accept: {error}"))?;
        let replies = Rc::clone(&replies);
        glommio::spawn_local(async move {
            // A client that goes away, or sends what is no frame, loses its connection and nothing else.
            let _ = converse(stream, &replies).await;
        })
        .detach();
    }
}

/// Reads, answers all whole frames with one write, and reads on.
async fn converse(mut stream: TcpStream, replies: &Replies) -> Result<(), Box<dyn Error>> {
    stream.set_nodelay(true).map_err(|error| error.to_string())?;
    let mut scanner = HeadScanner::default();
    let mut room = vec![0; READ_BYTES];
    let mut filled = 0;
    let mut out = Vec::new();
    loop {
        let bytes = stream.read(&mut room[filled..]).await?;
        if bytes == 0 {
            return Ok(());
        }
        filled += bytes;
        let parsed = answer(&room[..filled], &mut scanner, replies, &mut out)?;
        room.copy_within(parsed..filled, 0);
        filled -= parsed;
        if filled == room.len() {
            room.resize(2 * filled, 0);
        }
        if !out.is_empty() {
            stream.write_all(&out).await?;
            out.clear();
        }
        glommio::yield_if_needed().await;
    }
}

/// Appends a reply for each whole frame in `received` and returns how many bytes they took.
fn answer(
    received: &[u8],
    scanner: &mut HeadScanner,
    replies: &Replies,
    out: &mut Vec<u8>,
) -> Result<usize, WireError> {
    let mut parsed = 0;
    while let Some((frame, frame_len)) = split_frame(received.get(parsed..).unwrap_or_default())? {
        let head = scanner.head(&frame)?;
        let reply = match head.code {
            SEND_MESSAGE_V2 => &replies.stored,
            UPDATE_AND_CREATE_TOPIC => &replies.done,
            _ => &replies.unknown,
        };
        reply.write(out, head.opaque);
        parsed += frame_len;
    }
    Ok(parsed)
}

/// The three replies that there are.
struct Replies {
    stored: ReplyTemplate,
    done: ReplyTemplate,
    unknown: ReplyTemplate,
}

impl Replies {
    fn new(address: SocketAddr) -> Self {
        let message_id = format!("7F000001{:08X}{:016X}", address.port(), 0x1234_5678);
        let stored = format!(
            "\"extFields\":{{\"queueId\":\"3\",\"transactionId\":\"{message_id}\",\"MSG_REGION\":\"DefaultRegion\",\
             \"msgId\":\"{message_id}\",\"queueOffset\":\"1234567\",\"TRACE_ON\":\"true\"}},"
        );
        Self {
            stored: ReplyTemplate::new(0, &stored, ""),
            done: ReplyTemplate::new(0, "", ""),
            unknown: ReplyTemplate::new(
                3,
                "",
                "\"remark\":\"an echo stores nothing: it takes sends and topic creations only\",",
            ),
        }
    }
}

/// A reply ready but for its opaque, which is a decimal number of any length.
struct ReplyTemplate {
    before: Vec<u8>,
    after: Vec<u8>,
}

impl ReplyTemplate {
    fn new(code: i32, fields: &str, remark: &str) -> Self {
        Self {
            before: format!("{{\"code\":{code},{fields}\"flag\":1,\"language\":\"JAVA\",\"opaque\":").into_bytes(),
            after: format!(",{remark}\"serializeTypeCurrentRPC\":\"JSON\",\"version\":479}}").into_bytes(),
        }
    }

    fn write(&self, out: &mut Vec<u8>, opaque: i32) {
        let mut digits = [0u8; 11];
        let digits = decimal(&mut digits, opaque);
        let header_len =
            u32::try_from(self.before.len() + digits.len() + self.after.len()).expect("a few hundred bytes");
        out.extend_from_slice(&(header_len + 4).to_be_bytes());
        out.extend_from_slice(&header_len.to_be_bytes());
        out.extend_from_slice(&self.before);
        out.extend_from_slice(digits);
        out.extend_from_slice(&self.after);
    }
}

/// Writes `value` to the end of `field` and returns its digits.
fn decimal(field: &mut [u8; 11], value: i32) -> &[u8] {
    let mut rest = value.unsigned_abs();
    let mut at = field.len();
    loop {
        at -= 1;
        field[at] = b'0' + (rest % 10).to_le_bytes()[0];
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        at -= 1;
        field[at] = b'-';
    }
    &field[at..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmq_bench::load::frame::{HeaderKind, request};

    #[test]
    fn every_request_gets_a_reply_with_its_opaque() {
        let replies = Replies::new("127.0.0.1:10911".parse().expect("an address"));
        let mut received = Vec::new();
        let requests = [(310, 1_000_000_000, 0), (17, 0, 0), (11, i32::MAX, 3), (310, -1, 0), (310, i32::MIN, 0)];
        for (code, opaque, _) in requests {
            received.extend(request(HeaderKind::Json, code, opaque, &[("a", "b")], b"body"));
        }
        let whole = received.len();
        received.extend_from_slice(&[0, 0, 1]);
        let mut out = Vec::new();
        assert_eq!(answer(&received, &mut HeadScanner::default(), &replies, &mut out), Ok(whole));
        let mut at = 0;
        for (_, opaque, code) in requests {
            let (frame, frame_len) = split_frame(&out[at..]).expect("good").expect("whole");
            let tree: serde_json::Value = serde_json::from_slice(frame.header).expect("JSON");
            assert_eq!((tree["code"].as_i64(), tree["opaque"].as_i64()), (Some(code), Some(i64::from(opaque))));
            assert_eq!(tree["flag"], 1);
            at += frame_len;
        }
        assert_eq!(at, out.len());
    }
}
