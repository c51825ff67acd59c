//! Before the load: the topics on every target, and for the consumers a first heartbeat and the end of each queue. One request after another
//! on a blocking socket; none of it is measured.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::load::connection::Connection;
use crate::load::consumer::{Post, group_name, heartbeat, topic_name};
use crate::load::error::LoadError;
use crate::load::frame::{GET_MAX_OFFSET, HeaderKind, OPAQUE_MIN, UPDATE_AND_CREATE_TOPIC, request};
use crate::load::scan::{Head, HeadScanner, field_number, remark, split_frame};
use crate::load::settings::Settings;

/// Apache's broker writes its topic file and registers with its name server before it answers.
const REPLY_TIMEOUT: Duration = Duration::from_secs(10);

/// Requests sent before the first reply is read, when there are many.
const PIPELINE: usize = 500;

/// Every broker has it, with 1,024 queues, and refuses to create it: the topic of Apache's own tools.
const SYSTEM_TOPIC: &str = "BenchmarkTest";

/// Creates the load's topics at `target`, or gives them the number of queues wanted.
///
/// # Errors
/// When the broker is not there, does not answer, or refuses.
pub fn create_topics(settings: &Settings, target: SocketAddr) -> Result<(), LoadError> {
    let mut stream = Connection::open(target)?;
    let queues = settings.queues.to_string();
    for number in 0..settings.topics {
        let topic = topic_name(&settings.topic, number);
        if topic == SYSTEM_TOPIC {
            continue;
        }
        let frame = topic_creation(settings.header, &topic, &queues);
        Asking { stream: &mut stream, target, request: "topic creation" }.ask(&frame, None, 1)?;
    }
    Ok(())
}

/// The request that makes a topic with so many queues, or gives it them.
pub(crate) fn topic_creation(header: HeaderKind, topic: &str, queues: &str) -> Vec<u8> {
    let fields = [
        ("topic", topic),
        ("defaultTopic", "TBW102"),
        ("readQueueNums", queues),
        ("writeQueueNums", queues),
        ("perm", "6"),
        ("topicFilterType", "SINGLE_TAG"),
        ("topicSysFlag", "0"),
        ("order", "false"),
    ];
    request(header, UPDATE_AND_CREATE_TOPIC, OPAQUE_MIN, &fields, &[])
}

/// A connection for a consumer at the first of its post's replicas, its group made known, and the offset at which the load will begin in each
/// queue.
///
/// # Errors
/// When the broker is not there, does not answer, or refuses.
pub fn open_consumer(post: &Post) -> Result<(TcpStream, Vec<i64>), LoadError> {
    let target = post.replicas[0];
    let mut stream = Connection::open(target)?;
    let beat = heartbeat(post.header, &group_name(post.group), &post.queues);
    Asking { stream: &mut stream, target, request: "heartbeat" }.ask(&beat, None, 1)?;
    let offsets = queue_offsets(&mut stream, target, post, GET_MAX_OFFSET)?;
    Ok((stream, offsets))
}

/// What each queue answers to `code`: [`GET_MAX_OFFSET`] or [`GET_MIN_OFFSET`](crate::load::frame::GET_MIN_OFFSET).
///
/// # Errors
/// When the broker does not answer, or refuses.
pub fn queue_offsets(
    stream: &mut TcpStream,
    target: SocketAddr,
    post: &Post,
    code: i32,
) -> Result<Vec<i64>, LoadError> {
    let mut offsets = Vec::with_capacity(post.queues.len());
    for queues in post.queues.chunks(PIPELINE) {
        let mut frames = Vec::new();
        for (opaque, queue) in (OPAQUE_MIN..).zip(queues) {
            let fields = [("topic", &*queue.topic), ("queueId", &queue.id.to_string())];
            frames.extend_from_slice(&request(post.header, code, opaque, &fields, &[]));
        }
        let asking = Asking { stream, target, request: "queue offset" };
        offsets.extend(asking.ask(&frames, Some("offset"), queues.len())?);
    }
    Ok(offsets)
}

/// Requests on a blocking connection.
struct Asking<'a> {
    stream: &'a mut TcpStream,
    target: SocketAddr,
    /// For errors.
    request: &'static str,
}

impl Asking<'_> {
    /// Sends requests whose opaques count from [`OPAQUE_MIN`], waits for their `replies` in whatever order, and returns the numbers in
    /// `field` in the order of the requests.
    fn ask(self, frames: &[u8], field: Option<&'static str>, replies: usize) -> Result<Vec<i64>, LoadError> {
        let Self { stream, target, request } = self;
        let failed = |source| LoadError::Prepare { target, request, source };
        let wire = |source| LoadError::Wire { target, source };
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).map_err(failed)?;
        stream.write_all(frames).map_err(failed)?;
        let mut found = vec![0; replies];
        let (mut left, mut received, mut part) = (replies, Vec::new(), [0u8; 65_536]);
        loop {
            let mut parsed = 0;
            while let Some((frame, frame_len)) = split_frame(&received[parsed..]).map_err(wire)? {
                let head: Head = HeadScanner::default().head(&frame).map_err(wire)?;
                // Anything else is a notice of the broker's own.
                if head.is_reply() {
                    if head.code != 0 {
                        return Err(LoadError::Refused { target, request, code: head.code, remark: remark(&frame) });
                    }
                    let place = head.opaque.checked_sub(OPAQUE_MIN).and_then(|place| usize::try_from(place).ok());
                    if let (Some(field), Some(place)) = (field, place.and_then(|place| found.get_mut(place))) {
                        let missing = LoadError::FieldMissing { target, request, field };
                        *place = field_number(&frame, field).ok_or(missing)?;
                    }
                    left -= 1;
                    if left == 0 {
                        return Ok(if field.is_some() { found } else { Vec::new() });
                    }
                }
                parsed += frame_len;
            }
            received.drain(..parsed);
            let bytes = stream.read(&mut part).map_err(failed)?;
            if bytes == 0 {
                return Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, "it closed the connection")));
            }
            received.extend_from_slice(part.get(..bytes).unwrap_or_default());
        }
    }
}
