//! Sends a message: the first thing to try on a new node.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::exchange::Response;
use ringmq_protocol::message::{property, set_property};
use ringmq_protocol::reply::ExtValue;
use serde_json::Value;

use crate::output::{Column, Output};
use crate::time;
use crate::wire::{AdminError, Cluster, Master};

/// What `send` is told.
#[derive(Args)]
#[command(group = ArgGroup::new("what").required(true))]
pub(crate) struct SendArguments {
    /// The topic; created if the brokers allow it.
    #[arg(short = 't', long)]
    topic: String,
    /// The message.
    #[arg(short = 'b', long, short_alias = 'p', group = "what")]
    body: Option<String>,
    /// The message is what is in this file; `-` is standard input.
    #[arg(long, group = "what")]
    file: Option<PathBuf>,
    /// Its tag.
    #[arg(long)]
    tag: Option<String>,
    /// A key to find it by; may be given several times.
    #[arg(short = 'k', long = "key", value_name = "KEY")]
    keys: Vec<String>,
    /// A property of it; may be given several times.
    #[arg(long = "property", value_name = "NAME=VALUE")]
    properties: Vec<String>,
    /// Deliver it so much later (10s, 5m, 2h), as a timer message.
    #[arg(long, value_name = "LENGTH", conflicts_with_all = ["delay_level", "at"])]
    delay: Option<String>,
    /// Deliver it then, as a timer message: a time as `offset reset` takes it.
    #[arg(long, value_name = "TIME", conflicts_with = "delay_level", allow_hyphen_values = true)]
    at: Option<String>,
    /// Deliver it after the time of this delay level, 1 to 18 (1 s to 2 h).
    #[arg(long, value_name = "LEVEL", value_parser = clap::value_parser!(u32).range(1..=18))]
    delay_level: Option<u32>,
    /// How many times, over the topic's queues in turn.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

pub(crate) const SENT: [Column<'static>; 5] = [
    ("BROKER", "broker"),
    ("QUEUE", "queue"),
    ("OFFSET", "offset"),
    ("STATUS", "status"),
    ("MESSAGE ID", "message_id"),
];

const CREATE_TOPIC_KEY: &str = "TBW102";

/// What is sent each time.
struct Message<'a> {
    topic: &'a str,
    properties: String,
    body: Vec<u8>,
}

pub(crate) fn send(cluster: &mut Cluster, output: Output, arguments: &SendArguments) -> Result<(), AdminError> {
    let message = Message {
        topic: &arguments.topic,
        properties: properties(arguments, time::now_ms())?,
        body: match (&arguments.file, &arguments.body) {
            (Some(file), _) => read(file)?,
            (None, body) => body.clone().unwrap_or_default().into_bytes(),
        },
    };
    let (mut queues, mut is_new) = match cluster.writable_queues(&arguments.topic) {
        // As a producer does: an unknown topic is sent to where new ones are made.
        Err(AdminError::NoTopic { .. }) => {
            let mut first: Vec<(Master, u32)> = cluster.writable_queues(CREATE_TOPIC_KEY)?;
            first.retain(|(_, queue)| *queue == 0);
            (first, true)
        }
        found => (found?, false),
    };
    let mut rows: Vec<Vec<Value>> = Vec::new();
    // Not the first queue each time that somebody sends one.
    let mut turn = usize::try_from(time::now_ms()).unwrap_or_default() % queues.len().max(1);
    let turns = turn + queues.len();
    while rows.len() < usize::try_from(arguments.count).unwrap_or(usize::MAX) {
        // Every broker has made the topic by now: its other queues are to have their turn.
        if is_new && turn == turns {
            is_new = false;
            let found = cluster.writable_queues(&arguments.topic).unwrap_or_default();
            queues = if found.is_empty() { queues } else { found };
        }
        let Some((master, queue)) = queues.get(turn % queues.len().max(1)).cloned() else {
            return Err(AdminError::NotWritable { topic: arguments.topic.clone() });
        };
        turn += 1;
        let answer = send_to(cluster, &message, &master, queue)?;
        let status = ResponseCode::try_from(answer.code).map_or("?", ResponseCode::name);
        rows.push(vec![
            master.name.into(),
            answer.number("queueId").into(),
            answer.number("queueOffset").into(),
            status.into(),
            answer.field("msgId").into(),
        ]);
    }
    output.values(&SENT, &rows);
    Ok(())
}

/// The properties of the message, as text.
fn properties(arguments: &SendArguments, now: i64) -> Result<String, AdminError> {
    let mut text = Vec::new();
    let usage = AdminError::Usage;
    let mut set = |name: &str, value: &str| {
        let is_text = |text: &str| !text.is_empty() && !text.contains(['\u{1}', '\u{2}']);
        if !is_text(name) || !is_text(value) {
            return Err(usage(format!("{name:?}={value:?} is no property: both sides are text")));
        }
        set_property(&mut text, name, value);
        Ok(())
    };
    for pair in &arguments.properties {
        match pair.split_once('=') {
            Some((name, value)) => set(name, value)?,
            None => return Err(usage(format!("--property {pair}: write NAME=VALUE"))),
        }
    }
    if let Some(tag) = &arguments.tag {
        set(property::TAGS, tag)?;
    }
    if let Some(key) = arguments.keys.iter().find(|key| key.contains(' ')) {
        return Err(usage(format!("--key {key:?}: a key has no spaces; give --key for each of several")));
    }
    if !arguments.keys.is_empty() {
        set(property::KEYS, &arguments.keys.join(" "))?;
    }
    if let Some(level) = arguments.delay_level {
        set(property::DELAY, &level.to_string())?;
    }
    let deliver = match (&arguments.delay, &arguments.at) {
        (Some(delay), _) => {
            let Some(due) = time::parse_length(delay).and_then(|length| now.checked_add(length)) else {
                return Err(usage(format!("--delay {delay}: write 10s, 5m, 2h or 1d")));
            };
            Some(due)
        }
        (None, Some(at)) => match time::parse(at, now) {
            Some(due) => Some(due),
            None => return Err(usage(format!("--at {at} is no time: write {}", time::FORMS))),
        },
        (None, None) => None,
    };
    if let Some(deliver) = deliver {
        set(property::TIMER_DELIVER_MS, &deliver.to_string())?;
    }
    Ok(String::from_utf8_lossy(&text).into_owned())
}

#[expect(clippy::disallowed_methods, reason = "a tool, which reads what it is told to")]
fn read(file: &Path) -> Result<Vec<u8>, AdminError> {
    let mut body = Vec::new();
    let read = match file.to_str() {
        Some("-") => io::stdin().lock().read_to_end(&mut body),
        _ => std::fs::File::open(file).and_then(|mut file| file.read_to_end(&mut body)),
    };
    read.map_err(|source| AdminError::File { file: file.to_owned(), source })?;
    Ok(body)
}

fn send_to(cluster: &mut Cluster, message: &Message, master: &Master, queue: u32) -> Result<Response, AdminError> {
    let ext = [
        ("a", ExtValue::Str("ringmq-admin")),
        ("b", ExtValue::Str(message.topic)),
        ("c", ExtValue::Str(CREATE_TOPIC_KEY)),
        ("d", ExtValue::I64(4)),
        ("e", ExtValue::I64(queue.into())),
        ("f", ExtValue::I64(0)),
        ("g", ExtValue::I64(time::now_ms())),
        ("h", ExtValue::I64(0)),
        ("i", ExtValue::Str(&message.properties)),
        ("j", ExtValue::I64(0)),
        ("k", ExtValue::Bool(false)),
        ("m", ExtValue::Bool(false)),
    ];
    let answer = cluster.ask(&master.address, RequestCode::SendMessageV2, &ext, &message.body)?;
    // 10, 11 and 12: stored, but not on the rung that was asked for. The row says which.
    if matches!(answer.code, 0 | 10 | 11 | 12) {
        return Ok(answer);
    }
    Err(AdminError::refused(master.address.clone(), "the message", answer))
}

#[cfg(test)]
mod tests {
    use ringmq_protocol::message::Properties;

    use super::*;
    use crate::fake::{self, success};

    fn to(topic: &str) -> SendArguments {
        SendArguments {
            topic: topic.to_owned(),
            body: Some("x".to_owned()),
            file: None,
            tag: None,
            keys: Vec::new(),
            properties: Vec::new(),
            delay: None,
            at: None,
            delay_level: None,
            count: 1,
        }
    }

    #[test]
    fn messages_to_a_new_topic_go_to_all_of_its_queues() {
        let (mut cluster, seen) = fake::cluster(|code, _| match code {
            RequestCode::SendMessageV2 => success(""),
            _ => None,
        });
        let arguments = SendArguments { count: 5, ..to("new") };
        send(&mut cluster, Output { json: true }, &arguments).expect("it is sent");
        let seen = seen.lock().expect("nobody panics");
        let field = |request: &str| request.split(' ').find_map(|field| field.strip_prefix("e=")).map(str::to_owned);
        let queues: Vec<String> = seen.iter().filter_map(|request| field(request)).collect();
        assert_eq!(queues, ["0", "1", "0", "1", "0"]);
    }

    #[test]
    fn a_message_has_the_properties_that_it_is_given() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let arguments = SendArguments {
            tag: Some("red".to_owned()),
            keys: texts(&["k1", "k2"]),
            properties: texts(&["a=b=c"]),
            delay: Some("10s".to_owned()),
            ..to("T")
        };
        let text = properties(&arguments, 1000).expect("all are properties");
        let found: Vec<_> = Properties::new(text.as_bytes()).iter().collect();
        assert_eq!(found, [("a", "b=c"), ("TAGS", "red"), ("KEYS", "k1 k2"), ("TIMER_DELIVER_MS", "11000")]);
        let timed = SendArguments { delay_level: Some(3), ..to("T") };
        assert_eq!(properties(&timed, 0).expect("a level"), "DELAY\u{1}3\u{2}");
        for wrong in [
            SendArguments { properties: texts(&["a"]), ..to("T") },
            SendArguments { properties: texts(&["=b"]), ..to("T") },
            SendArguments { properties: texts(&["a=\u{2}"]), ..to("T") },
            SendArguments { keys: texts(&["a b"]), ..to("T") },
            SendArguments { delay: Some("soon".to_owned()), ..to("T") },
            SendArguments { at: Some("soon".to_owned()), ..to("T") },
        ] {
            assert!(matches!(properties(&wrong, 0), Err(AdminError::Usage(_))));
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let arguments = SendArguments { body: None, file: Some("/nowhere/x".into()), ..to("T") };
        let (mut cluster, _) = fake::cluster(|_, _| None);
        let refused = send(&mut cluster, Output { json: true }, &arguments);
        assert!(matches!(refused, Err(AdminError::File { .. })), "{refused:?}");
    }
}
