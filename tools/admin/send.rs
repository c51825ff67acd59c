//! Sends a message: the first thing to try on a new node.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::exchange::Response;
use ringmq_protocol::reply::ExtValue;

use crate::output::Output;
use crate::wire::{AdminError, Cluster, Master};

/// What `send` is told.
#[derive(Args)]
pub(crate) struct SendArguments {
    /// The topic; created if the brokers allow it.
    #[arg(short = 't', long)]
    topic: String,
    /// The message.
    #[arg(short = 'b', long, alias = "body", short_alias = 'p')]
    body: String,
    /// Its tag.
    #[arg(long)]
    tag: Option<String>,
    /// How many times, over the topic's queues in turn.
    #[arg(long, default_value_t = 1)]
    count: u32,
}

const CREATE_TOPIC_KEY: &str = "TBW102";

pub(crate) fn send(cluster: &mut Cluster, output: Output, arguments: &SendArguments) -> Result<(), AdminError> {
    let queues = match cluster.writable_queues(&arguments.topic) {
        // As a producer does: an unknown topic is sent to where new ones are made.
        Err(AdminError::NoTopic { .. }) => {
            let mut first: Vec<(Master, u32)> = cluster.writable_queues(CREATE_TOPIC_KEY)?;
            first.retain(|(_, queue)| *queue == 0);
            first
        }
        found => found?,
    };
    if queues.is_empty() {
        return Err(AdminError::NotWritable { topic: arguments.topic.clone() });
    }
    let mut rows = Vec::new();
    for (master, queue) in queues.iter().cycle().take(usize::try_from(arguments.count).unwrap_or(usize::MAX)) {
        let answer = send_to(cluster, arguments, master, *queue)?;
        let status = ResponseCode::try_from(answer.code).map_or("?", ResponseCode::name);
        let field = |name: &str| answer.field(name).unwrap_or_default().to_owned();
        rows.push(vec![master.name.clone(), field("queueId"), field("queueOffset"), status.to_owned(), field("msgId")]);
    }
    output.table(&["BROKER", "QUEUE", "OFFSET", "STATUS", "MESSAGE ID"], &rows);
    Ok(())
}

fn send_to(
    cluster: &mut Cluster,
    arguments: &SendArguments,
    master: &Master,
    queue: u32,
) -> Result<Response, AdminError> {
    let properties = arguments.tag.as_ref().map(|tag| format!("TAGS\u{1}{tag}\u{2}")).unwrap_or_default();
    let ext = [
        ("a", ExtValue::Str("ringmq-admin")),
        ("b", ExtValue::Str(&arguments.topic)),
        ("c", ExtValue::Str(CREATE_TOPIC_KEY)),
        ("d", ExtValue::I64(4)),
        ("e", ExtValue::I64(queue.into())),
        ("f", ExtValue::I64(0)),
        ("g", ExtValue::I64(now_ms())),
        ("h", ExtValue::I64(0)),
        ("i", ExtValue::Str(&properties)),
        ("j", ExtValue::I64(0)),
        ("k", ExtValue::Bool(false)),
        ("m", ExtValue::Bool(false)),
    ];
    let answer = cluster.ask(&master.address, RequestCode::SendMessageV2, &ext, arguments.body.as_bytes())?;
    // 10, 11 and 12: stored, but not on the rung that was asked for. The row says which.
    if matches!(answer.code, 0 | 10 | 11 | 12) {
        return Ok(answer);
    }
    Err(AdminError::refused(master.address.clone(), "the message", answer))
}

#[expect(clippy::disallowed_methods, reason = "a message says when it was born, and this is a tool")]
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
