//! Before the load: the topics on every target, and for the consumers a first heartbeat and the end of each queue. One request after another
//! on a blocking socket; none of it is measured.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::load::connection::Connection;
use crate::load::consumer::{Post, heartbeat, topic_name};
use crate::load::error::LoadError;
use crate::load::frame::{
    GET_BROKER_CONFIG, GET_MAX_OFFSET, GET_TOPIC_STATS, HeaderKind, OPAQUE_MIN, UPDATE_AND_CREATE_TOPIC,
    UPDATE_CONSUMER_OFFSET, request,
};
use crate::load::scan::{Frame, Head, HeadScanner, field_number, remark, split_frame};
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
    Asking { stream: &mut stream, target, request: "heartbeat" }.ask(&heartbeat(post), None, 1)?;
    let offsets = queue_offsets(&mut stream, target, post, GET_MAX_OFFSET)?;
    Ok((stream, offsets))
}

/// A connection for one that pops, and the name of its broker. The first of its group there begins at the end of each queue.
///
/// # Errors
/// When the broker is not there, does not answer, or refuses.
pub fn open_popper(post: &Post, is_first: bool) -> Result<(TcpStream, String), LoadError> {
    let target = post.replicas[0];
    let (mut stream, ends) = open_consumer(post)?;
    if is_first {
        let group = post.group_name();
        for queues in post.queues.iter().zip(ends).collect::<Vec<_>>().chunks(PIPELINE) {
            let mut frames = Vec::new();
            for (opaque, (queue, end)) in (OPAQUE_MIN..).zip(queues) {
                let (queue_id, end) = (queue.id.to_string(), end.to_string());
                let fields = [
                    ("consumerGroup", group.as_str()),
                    ("topic", &*queue.topic),
                    ("queueId", &queue_id),
                    ("commitOffset", &end),
                ];
                frames.extend(request(post.header, UPDATE_CONSUMER_OFFSET, opaque, &fields, &[]));
            }
            Asking { stream: &mut stream, target, request: "offset" }.ask(&frames, None, queues.len())?;
        }
    }
    let (request_name, field) = ("broker configuration", "brokerName");
    let frame = request(post.header, GET_BROKER_CONFIG, OPAQUE_MIN, &[], &[]);
    let mut name = None;
    Asking { stream: &mut stream, target, request: request_name }.each(&frame, 1, |_, frame| {
        let text = String::from_utf8_lossy(frame.body);
        let mut lines = text.lines().filter_map(|line| line.split_once('='));
        name = lines.find(|(key, _)| key.trim() == field).map(|(_, value)| value.trim().to_owned());
        Ok(())
    })?;
    let name = name.ok_or(LoadError::FieldMissing { target, request: request_name, field })?;
    Ok((stream, name))
}

/// How many queues a topic has at `target`.
///
/// # Errors
/// When the broker is not there, does not answer, or has no such topic.
pub fn queue_count(target: SocketAddr, topic: &str, header: HeaderKind) -> Result<u32, LoadError> {
    let mut stream = Connection::open(target)?;
    let frame = request(header, GET_TOPIC_STATS, OPAQUE_MIN, &[("topic", topic)], &[]);
    let mut count = 0;
    Asking { stream: &mut stream, target, request: "queues of the topic" }.each(&frame, 1, |_, frame| {
        count = queues_named(frame.body);
        Ok(())
    })?;
    Ok(count)
}

/// Behind the highest queue of which a broker tells. The map from queues is no JSON: fastjson writes objects as keys.
fn queues_named(body: &[u8]) -> u32 {
    let text = String::from_utf8_lossy(body);
    let numbers = text.split("\"queueId\":").skip(1).filter_map(|rest| {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        rest[..digits].parse::<u32>().ok()
    });
    numbers.max().map_or(0, |highest| highest.saturating_add(1))
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
    /// The numbers in `field` of the `replies`, in the order of the requests.
    fn ask(self, frames: &[u8], field: Option<&'static str>, replies: usize) -> Result<Vec<i64>, LoadError> {
        let (target, request) = (self.target, self.request);
        let mut found = vec![0; replies];
        self.each(frames, replies, |place, frame| {
            if let (Some(field), Some(place)) = (field, found.get_mut(place)) {
                let missing = LoadError::FieldMissing { target, request, field };
                *place = field_number(frame, field).ok_or(missing)?;
            }
            Ok(())
        })?;
        Ok(if field.is_some() { found } else { Vec::new() })
    }

    /// Sends requests whose opaques count from [`OPAQUE_MIN`], and gives each reply with the place of its request, in whatever order they come.
    fn each(
        self,
        frames: &[u8],
        replies: usize,
        mut take: impl FnMut(usize, &Frame<'_>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let Self { stream, target, request } = self;
        let failed = |source| LoadError::Prepare { target, request, source };
        let wire = |source| LoadError::Wire { target, source };
        stream.set_read_timeout(Some(REPLY_TIMEOUT)).map_err(failed)?;
        stream.write_all(frames).map_err(failed)?;
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
                    if let Some(place) = place {
                        take(place, &frame)?;
                    }
                    left -= 1;
                    if left == 0 {
                        return Ok(());
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_are_counted_in_what_fastjson_writes() {
        let body = br#"{"offsetTable":{{"brokerName":"b","queueId":0,"topic":"T"}:{"maxOffset":1},{"brokerName":"b","queueId":3,"topic":"T"}:{"maxOffset":9}}}"#;
        assert_eq!((queues_named(body), queues_named(b"{}")), (4, 0));
    }
}
