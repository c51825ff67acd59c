//! One message to one server: the first thing that a client can see of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ringmq_bench::load::frame::{HeaderKind, OPAQUE_MIN, Packer, SendPatch, SendShape, SendTemplate, request};
use ringmq_bench::load::record::Stamp;
use ringmq_bench::load::scan::{HeadScanner, remark, split_frame};
use ringmq_bench::load::settings::SizeShare;

use crate::Failure;

/// A server that starts may accept and not answer yet.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Created by the send itself, through `TBW102`.
const TOPIC: &str = "ringmq_bench_probe";
/// Request code: what a broker says of itself.
const GET_BROKER_RUNTIME_INFO: i32 = 28;

/// Stores one message at `address`, as its settings promise.
pub(crate) fn store_one(address: SocketAddr) -> Result<(), Failure> {
    let mut frame = Vec::new();
    let run_id = u64::from(std::process::id());
    let shape = SendShape { header: HeaderKind::Json, batch: 1, keys: false, tags: 0, is_oneway: false, run_id };
    let stamp = Stamp { intended_ns: 0, sequence: 0, run_id, sender: 0 };
    let patch = SendPatch { opaque: OPAQUE_MIN, born_ms: ringmq_bench::load::clock::unix_ms(), stamp };
    let packer = Packer::new(shape, &[SizeShare { bytes: 64, share: 1 }], false);
    packer.write(&mut frame, &SendTemplate::new(&shape, TOPIC, 0), &patch);
    ask(address, &frame).map(drop)
}

/// End of the log of the broker at `address`.
pub(crate) fn log_end(address: SocketAddr) -> Result<u64, Failure> {
    let body = ask(address, &request(HeaderKind::Json, GET_BROKER_RUNTIME_INFO, OPAQUE_MIN, &[], b""))?;
    let info: serde_json::Value = serde_json::from_slice(&body)?;
    let end = info.pointer("/table/commitLogMaxOffset").and_then(serde_json::Value::as_str);
    Ok(end.ok_or("the broker does not say where its log ends")?.parse()?)
}

/// The body of the answer to one request, if that is a success.
fn ask(address: SocketAddr, request: &[u8]) -> Result<Vec<u8>, Failure> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request)?;
    let mut received = Vec::new();
    let mut part = [0u8; 4096];
    loop {
        if let Some((frame, _)) = split_frame(&received)? {
            let head = HeadScanner::default().head(&frame)?;
            return match head.code {
                0 => Ok(frame.body.to_vec()),
                code => Err(format!("the first request is refused with code {code}: {}", remark(&frame)).into()),
            };
        }
        let bytes = stream.read(&mut part)?;
        if bytes == 0 {
            return Err("the server closed the connection".into());
        }
        received.extend_from_slice(&part[..bytes]);
    }
}
