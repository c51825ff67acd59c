//! Before the load: the topic on every target, and for the consumers a first heartbeat and the end of each queue. One request after another
//! on a blocking socket; none of it is measured.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::load::connection::Connection;
use crate::load::consumer::heartbeat;
use crate::load::error::LoadError;
use crate::load::frame::{GET_MAX_OFFSET, UPDATE_AND_CREATE_TOPIC, request};
use crate::load::scan::{Head, HeadScanner, field_number, remark, split_frame};
use crate::load::settings::Settings;

/// Apache's broker writes its topic file and registers with its name server before it answers.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Creates the topic at `target`, or gives it the number of queues wanted.
///
/// # Errors
/// When the broker is not there, does not answer, or refuses.
pub fn create_topic(settings: &Settings, target: SocketAddr) -> Result<(), LoadError> {
    let mut stream = Connection::open(target)?;
    let queues = settings.queues.to_string();
    let fields = [
        ("topic", settings.topic.as_str()),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", &queues),
        ("writeQueueNums", &queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    let frame = request(settings.header, UPDATE_AND_CREATE_TOPIC, 1, &fields, &[]);
    ask(&mut stream, target, "topic creation", &frame, None)?;
    Ok(())
}

/// A connection for a consumer at `target`, its group made known, and the offset at which the load will begin in each queue.
///
/// # Errors
/// When the broker is not there, does not answer, or refuses.
pub fn open_consumer(settings: &Settings, target: SocketAddr) -> Result<(TcpStream, Vec<i64>), LoadError> {
    let mut stream = Connection::open(target)?;
    ask(&mut stream, target, "heartbeat", &heartbeat(settings.header, &settings.topic), None)?;
    let mut offsets = Vec::new();
    for queue in 0..settings.queues {
        let fields = [("topic", settings.topic.as_str()), ("queueId", &queue.to_string())];
        let frame = request(settings.header, GET_MAX_OFFSET, 1, &fields, &[]);
        let offset = ask(&mut stream, target, "max offset", &frame, Some("offset"))?;
        offsets.push(offset.ok_or(LoadError::FieldMissing { target, request: "max offset", field: "offset" })?);
    }
    Ok((stream, offsets))
}

/// Sends one request, waits for its reply, and returns the number in `field`.
fn ask(
    stream: &mut TcpStream,
    target: SocketAddr,
    request: &'static str,
    frame: &[u8],
    field: Option<&str>,
) -> Result<Option<i64>, LoadError> {
    let failed = |source| LoadError::Prepare { target, request, source };
    stream.set_read_timeout(Some(REPLY_TIMEOUT)).map_err(failed)?;
    stream.write_all(frame).map_err(failed)?;
    let mut received = Vec::new();
    let mut part = [0u8; 4096];
    loop {
        while let Some((frame, frame_len)) =
            split_frame(&received).map_err(|source| LoadError::Wire { target, source })?
        {
            let head: Head =
                HeadScanner::default().head(&frame).map_err(|source| LoadError::Wire { target, source })?;
            if head.is_reply() {
                if head.code != 0 {
                    return Err(LoadError::Refused { target, request, code: head.code, remark: remark(&frame) });
                }
                return Ok(field.and_then(|field| field_number(&frame, field)));
            }
            // A notice of the broker's own.
            received.drain(..frame_len);
        }
        let bytes = stream.read(&mut part).map_err(failed)?;
        if bytes == 0 {
            return Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")));
        }
        received.extend_from_slice(part.get(..bytes).unwrap_or_default());
    }
}
