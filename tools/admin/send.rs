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
    let (mut queues, mut is_new) = match cluster.writable_queues(&arguments.topic) {
        // As a producer does: an unknown topic is sent to where new ones are made.
        Err(AdminError::NoTopic { .. }) => {
            let mut first: Vec<(Master, u32)> = cluster.writable_queues(CREATE_TOPIC_KEY)?;
            first.retain(|(_, queue)| *queue == 0);
            (first, true)
        }
        found => (found?, false),
    };
    let mut rows = Vec::new();
    let mut turn = 0;
    while rows.len() < usize::try_from(arguments.count).unwrap_or(usize::MAX) {
        // Every broker has made the topic by now: its other queues are to have their turn.
        if is_new && turn == queues.len() {
            is_new = false;
            let found = cluster.writable_queues(&arguments.topic).unwrap_or_default();
            queues = if found.is_empty() { queues } else { found };
        }
        let Some((master, queue)) = queues.get(turn % queues.len().max(1)).cloned() else {
            return Err(AdminError::NotWritable { topic: arguments.topic.clone() });
        };
        turn += 1;
        let answer = send_to(cluster, arguments, &master, queue)?;
        let status = ResponseCode::try_from(answer.code).map_or("?", ResponseCode::name);
        let field = |name: &str| answer.field(name).unwrap_or_default().to_owned();
        rows.push(vec![master.name, field("queueId"), field("queueOffset"), status.to_owned(), field("msgId")]);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, success};

    #[test]
    fn messages_to_a_new_topic_go_to_all_of_its_queues() {
        let (mut cluster, seen) = fake::cluster(|code, _| match code {
            RequestCode::SendMessageV2 => success(""),
            _ => None,
        });
        let arguments = SendArguments { topic: "new".to_owned(), body: "x".to_owned(), tag: None, count: 5 };
        send(&mut cluster, Output { json: true }, &arguments).expect("it is sent");
        let seen = seen.lock().expect("nobody panics");
        let field = |request: &str| request.split(' ').find_map(|field| field.strip_prefix("e=")).map(str::to_owned);
        let queues: Vec<String> = seen.iter().filter_map(|request| field(request)).collect();
        assert_eq!(queues, ["0", "1", "0", "1", "0"]);
    }
}
