//! One message to one server: the first thing that a client can see of it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use ringmq_bench::frame::{HeaderKind, OPAQUE_MIN, SendPatch, SendTemplate};
use ringmq_bench::record::Stamp;
use ringmq_bench::scan::{HeadScanner, remark, split_frame};

use crate::Failure;

/// A server that starts may accept and not answer yet.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Created by the send itself, through `TBW102`.
const TOPIC: &str = "ringmq_bench_probe";

/// Stores one message at `address`.
pub(crate) fn store_one(address: SocketAddr) -> Result<(), Failure> {
    let mut stream = TcpStream::connect_timeout(&address, TIMEOUT)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut frame = Vec::new();
    let stamp = Stamp { intended_ns: 0, sequence: 0, run_id: 0 };
    let patch = SendPatch { opaque: OPAQUE_MIN, born_ms: ringmq_bench::clock::unix_ms(), stamp };
    SendTemplate::new(HeaderKind::Json, TOPIC, 0, 64, u64::from(std::process::id())).write(&mut frame, &patch);
    stream.write_all(&frame)?;
    let mut received = Vec::new();
    let mut part = [0u8; 4096];
    loop {
        if let Some((frame, _)) = split_frame(&received)? {
            let head = HeadScanner::default().head(&frame)?;
            return match head.code {
                0 => Ok(()),
                code => Err(format!("the first message is refused with code {code}: {}", remark(&frame)).into()),
            };
        }
        let bytes = stream.read(&mut part)?;
        if bytes == 0 {
            return Err("the server closed the connection".into());
        }
        received.extend_from_slice(&part[..bytes]);
    }
}
