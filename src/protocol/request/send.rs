//! Sends: 10 with full names, 310 with single letters, 320 with single letters and a batch for a body.

use super::{BadRequest, is_true, parse_number, queue_id};
use crate::code::RequestCode;
use crate::header::Header;
use crate::model::{QueueId, UnixMs};

/// A message, or a batch of them, to be stored. Also the form of a reply between clients (324, 325).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct SendRequest<'a> {
    pub producer_group: &'a str,
    /// Where to.
    pub topic: &'a str,
    /// The topic after whose example this one is created if it does not exist.
    pub default_topic: &'a str,
    /// Queues that it is created with.
    pub default_topic_queues: u32,
    /// Which queue; none: the broker chooses.
    pub queue_id: Option<QueueId>,
    /// Bits of [`crate::message::sys_flag`].
    pub sys_flag: i32,
    /// When the producer made the message.
    pub born_timestamp: UnixMs,
    /// The user's flag.
    pub flag: i32,
    /// Properties as text ([`crate::message::Properties`]); of a batch those that are its own.
    pub properties: &'a str,
    /// How often consumers have tried the message.
    pub reconsume_times: i32,
    /// Whether a topic that is created for it is a unit topic.
    pub unit_mode: bool,
    /// How often consumers may try it; none where not said.
    pub max_reconsume_times: Option<i32>,
    /// The body is a batch ([`crate::message::split_batch`]).
    pub batch: bool,
    /// The broker that the client means.
    pub broker_name: Option<&'a str>,
    /// The message's body, maybe compressed, or the batch.
    pub body: &'a [u8],
}

impl<'a> SendRequest<'a> {
    /// Reads 10, 310, 320, 324 or 325, each field once: a send is the hottest request.
    ///
    /// # Errors
    /// [`BadRequest`].
    // Inlined, so that the request is made where it is kept: 200 bytes copied out of two results cost a send 20 ns.
    #[inline(always)]
    pub fn parse(header: &'a Header<'_>, body: &'a [u8]) -> Result<SendRequest<'a>, BadRequest> {
        let mut texts = Texts::default();
        let full_names =
            [RequestCode::SendMessage.number(), RequestCode::SendReplyMessage.number()].contains(&header.code);
        for (name, value) in header.ext.iter() {
            let letter = if full_names { letter_of(name) } else { single_letter(name) };
            texts.take(letter, value);
        }
        let batch = header.code == RequestCode::SendBatchMessage.number() || texts.batch.is_some_and(is_true);
        let required = |text: Option<&'a str>, field| text.ok_or(BadRequest::Missing { field });
        Ok(SendRequest {
            producer_group: required(texts.producer_group, "producerGroup")?,
            topic: required(texts.topic, "topic")?,
            default_topic: texts.default_topic.unwrap_or_default(),
            default_topic_queues: texts.default_topic_queues.and_then(|text| text.parse().ok()).unwrap_or(0),
            queue_id: queue_id(required(texts.queue_id, "queueId")?, "queueId")?,
            sys_flag: optional(texts.sys_flag, "sysFlag")?.unwrap_or(0),
            born_timestamp: UnixMs(optional(texts.born_timestamp, "bornTimestamp")?.unwrap_or(0)),
            flag: optional(texts.flag, "flag")?.unwrap_or(0),
            properties: texts.properties.unwrap_or_default(),
            reconsume_times: texts.reconsume_times.and_then(|text| text.parse().ok()).unwrap_or(0),
            unit_mode: texts.unit_mode.is_some_and(is_true),
            max_reconsume_times: texts.max_reconsume_times.and_then(|text| text.parse().ok()),
            batch,
            broker_name: texts.broker_name.filter(|name| !name.is_empty()),
            body,
        })
    }
}

fn optional<T: std::str::FromStr>(text: Option<&str>, field: &'static str) -> Result<Option<T>, BadRequest> {
    text.map(|text| parse_number(text, field)).transpose()
}

#[derive(Default)]
struct Texts<'a> {
    producer_group: Option<&'a str>,
    topic: Option<&'a str>,
    default_topic: Option<&'a str>,
    default_topic_queues: Option<&'a str>,
    queue_id: Option<&'a str>,
    sys_flag: Option<&'a str>,
    born_timestamp: Option<&'a str>,
    flag: Option<&'a str>,
    properties: Option<&'a str>,
    reconsume_times: Option<&'a str>,
    unit_mode: Option<&'a str>,
    max_reconsume_times: Option<&'a str>,
    batch: Option<&'a str>,
    broker_name: Option<&'a str>,
}

impl<'a> Texts<'a> {
    fn take(&mut self, letter: u8, value: &'a str) {
        let place = match letter {
            b'a' => &mut self.producer_group,
            b'b' => &mut self.topic,
            b'c' => &mut self.default_topic,
            b'd' => &mut self.default_topic_queues,
            b'e' => &mut self.queue_id,
            b'f' => &mut self.sys_flag,
            b'g' => &mut self.born_timestamp,
            b'h' => &mut self.flag,
            b'i' => &mut self.properties,
            b'j' => &mut self.reconsume_times,
            b'k' => &mut self.unit_mode,
            b'l' => &mut self.max_reconsume_times,
            b'm' => &mut self.batch,
            b'n' => &mut self.broker_name,
            _ => return,
        };
        *place = Some(value);
    }
}

/// Whether a send reads the field of this name.
pub(super) fn is_read(name: &str, has_full_names: bool) -> bool {
    (if has_full_names { letter_of(name) } else { single_letter(name) }) != 0
}

fn single_letter(name: &str) -> u8 {
    match name.as_bytes() {
        [letter] => *letter,
        // The only long name that means something here: old proxies add it to the letters.
        b"bname" => b'n',
        _ => 0,
    }
}

fn letter_of(name: &str) -> u8 {
    match name {
        "producerGroup" => b'a',
        "topic" => b'b',
        "defaultTopic" => b'c',
        "defaultTopicQueueNums" => b'd',
        "queueId" => b'e',
        "sysFlag" => b'f',
        "bornTimestamp" => b'g',
        "flag" => b'h',
        "properties" => b'i',
        "reconsumeTimes" => b'j',
        "unitMode" => b'k',
        "maxReconsumeTimes" => b'l',
        "batch" => b'm',
        "bname" => b'n',
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::request::header_of;

    fn expected() -> SendRequest<'static> {
        SendRequest {
            producer_group: "P",
            topic: "T",
            default_topic: "TBW102",
            default_topic_queues: 4,
            queue_id: Some(QueueId(3)),
            sys_flag: 0,
            born_timestamp: UnixMs(1_700_000_000_000),
            flag: 7,
            properties: "TAGS\u{1}A\u{2}",
            reconsume_times: 0,
            unit_mode: false,
            max_reconsume_times: Some(0),
            batch: false,
            broker_name: Some("broker-a"),
            body: b"hello",
        }
    }

    #[test]
    fn names_and_letters_say_the_same() {
        let names = r#"{"code":10,"extFields":{"producerGroup":"P","topic":"T","defaultTopic":"TBW102","defaultTopicQueueNums":"4","queueId":"3","sysFlag":"0","bornTimestamp":"1700000000000","flag":"7","properties":"TAGS\u0001A\u0002","reconsumeTimes":"0","unitMode":"false","maxReconsumeTimes":"0","batch":"false","bname":"broker-a"},"flag":0,"language":"GO","opaque":1,"version":317}"#;
        let letters = r#"{"code":310,"extFields":{"a":"P","b":"T","c":"TBW102","d":"4","e":"3","f":"0","g":"1700000000000","h":"7","i":"TAGS\u0001A\u0002","j":"0","k":"false","l":"0","m":"false","n":"broker-a"},"flag":0,"language":"JAVA","opaque":1,"version":479}"#;
        for text in [names, letters] {
            assert_eq!(SendRequest::parse(&header_of(text), b"hello"), Ok(expected()));
        }
        let batch = letters.replace("310", "320");
        assert_eq!(
            SendRequest::parse(&header_of(&batch), b"hello"),
            Ok(SendRequest { batch: true, ..expected() }),
            "320 is a batch whatever its letter says"
        );
    }

    #[test]
    fn a_send_without_its_needs_is_refused() {
        let check = |ext: &str, expected: Result<Option<QueueId>, BadRequest>| {
            let text = format!(r#"{{"code":310,"extFields":{ext}}}"#);
            assert_eq!(SendRequest::parse(&header_of(&text), b"").map(|send| send.queue_id), expected, "{ext}");
        };
        check(r#"{"a":"P","b":"T","e":"-1"}"#, Ok(None));
        check(r#"{"a":"P","b":"T"}"#, Err(BadRequest::Missing { field: "queueId" }));
        check(r#"{"a":"P","e":"0"}"#, Err(BadRequest::Missing { field: "topic" }));
        check(r#"{"a":"P","b":"T","e":"x"}"#, Err(BadRequest::Number { field: "queueId" }));
        check(r#"{"a":"P","b":"T","e":"0","f":"4294967296"}"#, Err(BadRequest::Range { field: "sysFlag" }));
    }
}
