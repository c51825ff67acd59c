//! Messages by id, by key and by time. Nobody's offsets move.

use clap::{Args, Subcommand};
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::message::MessageId;
use ringmq_protocol::reply::ExtValue;

use crate::consume::{FOUND, PullOf, pull};
use crate::offset::Target;
use crate::output::Output;
use crate::record::{is_from, messages, messages_with, print, print_whole};
use crate::time;
use crate::topic::bound;
use crate::wire::{AdminError, Cluster, Master};

#[derive(Subcommand)]
pub(crate) enum MessageCommand {
    /// One message by its id: the broker's, or with -t the client's own (UNIQ_KEY).
    Get(GetArguments),
    /// The messages of a topic with a key.
    Find(FindArguments),
    /// What lies in a topic's queues from a place or a time on.
    Peek(PeekArguments),
}

/// What `message get` is told.
#[derive(Args)]
pub(crate) struct GetArguments {
    /// The id, as `send` and consumers show it.
    #[arg(short = 'i', long)]
    id: String,
    /// The topic, if the id is the client's.
    #[arg(short = 't', long)]
    topic: Option<String>,
}

/// What `message find` is told.
#[derive(Args)]
pub(crate) struct FindArguments {
    /// The topic.
    #[arg(short = 't', long)]
    topic: String,
    /// The key.
    #[arg(short = 'k', long)]
    key: String,
    /// Stored then or later: a time as `offset reset` takes it.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    since: Option<String>,
    /// Stored then or before.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// At most so many of each broker, the newest.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    count: u32,
}

/// What `message peek` is told.
#[derive(Args)]
pub(crate) struct PeekArguments {
    /// The topic.
    #[arg(short = 't', long)]
    topic: String,
    /// Only this broker.
    #[arg(short = 'b', long)]
    broker: Option<String>,
    /// Only this queue.
    #[arg(short = 'i', long, value_name = "NUMBER")]
    queue: Option<u32>,
    /// Where to begin: earliest, an offset written @120, or a time as `offset reset` takes it.
    #[arg(long, value_name = "WHERE", default_value = "earliest", allow_hyphen_values = true)]
    from: String,
    /// End with what was stored then.
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    until: Option<String>,
    /// At most so many of each queue.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
}

/// Whoever only looks.
const PEEKS_AS: &str = "ringmq-admin";

pub(crate) fn message(cluster: &mut Cluster, output: Output, command: &MessageCommand) -> Result<(), AdminError> {
    match command {
        MessageCommand::Get(arguments) => get(cluster, output, arguments),
        MessageCommand::Find(arguments) => find(cluster, output, arguments),
        MessageCommand::Peek(arguments) => peek(cluster, output, arguments),
    }
}

fn get(cluster: &mut Cluster, output: Output, arguments: &GetArguments) -> Result<(), AdminError> {
    let id = arguments.id.as_str();
    let found = match &arguments.topic {
        Some(topic) => {
            let asked = Query { topic, key: id, is_unique: true, count: 1, since: 0, until: i64::MAX };
            query(cluster, output, &asked, print_whole)?
        }
        None => by_place(cluster, output, id)?,
    };
    if found == 0 { Err(AdminError::NoMessage { what: format!("with the id {id}") }) } else { Ok(()) }
}

/// An id that a broker gave says where the message lies.
fn by_place(cluster: &mut Cluster, output: Output, id: &str) -> Result<usize, AdminError> {
    let place = MessageId::decode(id).map_err(|error| AdminError::Usage(format!("--id {id}: {error}")))?;
    let address = place.store_host.to_string();
    let info = cluster.info()?;
    let broker = info.brokers.values().find(|broker| broker.addresses.values().any(|known| *known == address));
    let Some(broker) = broker.map(|broker| broker.broker_name.to_string()) else {
        return Err(AdminError::Usage(format!(
            "--id {id} names the broker at {address}, and none is registered there; if it is a client's own id, give its topic with -t"
        )));
    };
    let offset = i64::try_from(place.log_offset.0).unwrap_or(i64::MAX);
    let ext = [("offset", ExtValue::I64(offset))];
    let answer = cluster.ask(&address, RequestCode::ViewMessageById, &ext, &[])?;
    if !answer.is_success() {
        return Err(AdminError::refused(address, "the message", answer));
    }
    Ok(messages(&answer.body).map(|message| print_whole(output, &broker, &message)).count())
}

/// What brokers are asked for.
struct Query<'a> {
    topic: &'a str,
    key: &'a str,
    is_unique: bool,
    count: u32,
    since: i64,
    until: i64,
}

fn find(cluster: &mut Cluster, output: Output, arguments: &FindArguments) -> Result<(), AdminError> {
    let now = time::now_ms();
    let at = |option: &str, text: &Option<String>, default| match text {
        Some(text) => time::parse(text, now)
            .ok_or_else(|| AdminError::Usage(format!("{option} {text} is no time: write {}", time::FORMS))),
        None => Ok(default),
    };
    let asked = Query {
        topic: &arguments.topic,
        key: &arguments.key,
        is_unique: false,
        count: arguments.count,
        since: at("--since", &arguments.since, 0)?,
        until: at("--until", &arguments.until, i64::MAX)?,
    };
    let found = query(cluster, output, &asked, print_line)?;
    if found == 0 {
        let what = format!("of topic {} with the key {}", arguments.topic, arguments.key);
        return Err(AdminError::NoMessage { what });
    }
    Ok(())
}

fn print_line(output: Output, broker: &str, record: &ringmq_protocol::record::RecordView<'_>) {
    print(output, broker, &record.store_host.to_string(), record);
}

/// Asks every broker of the topic; how many messages were shown.
fn query(
    cluster: &mut Cluster,
    output: Output,
    asked: &Query<'_>,
    show: fn(Output, &str, &ringmq_protocol::record::RecordView<'_>),
) -> Result<usize, AdminError> {
    let ext = [
        ("topic", ExtValue::Str(asked.topic)),
        ("key", ExtValue::Str(asked.key)),
        ("maxNum", ExtValue::I64(asked.count.into())),
        ("beginTimestamp", ExtValue::I64(asked.since)),
        ("endTimestamp", ExtValue::I64(asked.until)),
        ("_UNIQUE_KEY_QUERY", ExtValue::Bool(asked.is_unique)),
    ];
    let mut brokers: Vec<Master> = cluster.queues(asked.topic)?.into_iter().map(|(broker, _)| broker).collect();
    brokers.dedup();
    let mut count = 0;
    for broker in brokers {
        let answer = cluster.ask(&broker.address, RequestCode::QueryMessage, &ext, &[])?;
        if answer.code == ResponseCode::QueryNotFound.number() {
            continue;
        }
        if !answer.is_success() {
            return Err(AdminError::refused(broker.address, "messages by key", answer));
        }
        let found = messages_with(&answer.body, asked.key);
        found.iter().for_each(|message| show(output, &broker.name, message));
        count += found.len();
    }
    Ok(count)
}

fn peek(cluster: &mut Cluster, output: Output, arguments: &PeekArguments) -> Result<(), AdminError> {
    let begin = match arguments.from.strip_prefix('@') {
        Some(offset) => Err(offset
            .parse::<i64>()
            .ok()
            .filter(|offset| *offset >= 0)
            .ok_or_else(|| AdminError::Usage(format!("--from {}: behind @ stands an offset", arguments.from)))?),
        None => Ok(Target::parse(&arguments.from)?),
    };
    let until = match &arguments.until {
        Some(text) => time::parse(text, time::now_ms())
            .ok_or_else(|| AdminError::Usage(format!("--until {text} is no time: write {}", time::FORMS)))?,
        None => i64::MAX,
    };
    let mut queues = cluster.queues(&arguments.topic)?;
    queues.retain(|(broker, queue)| {
        arguments.broker.as_ref().is_none_or(|name| *name == broker.name || *name == broker.address)
            && arguments.queue.is_none_or(|number| number == *queue)
    });
    if queues.is_empty() {
        return Err(AdminError::Usage(format!(
            "topic {} has no such queue; `topic route -t {}` shows those it has",
            arguments.topic, arguments.topic
        )));
    }
    let mut count = 0;
    for (broker, queue) in queues {
        let from = match begin {
            Ok(target) => target.offset(cluster, &broker, &arguments.topic, queue)?,
            Err(offset) => offset.max(bound(cluster, &broker, RequestCode::GetMinOffset, &arguments.topic, queue)?),
        };
        let of = PullOf { topic: &arguments.topic, group: PEEKS_AS, queue };
        count += peek_queue(cluster, output, &broker, of, from, (arguments.count, until))?;
    }
    if count == 0 {
        output.note("there is nothing");
    }
    Ok(())
}

/// Shows at most `count` messages from an offset on that were stored by `until`; how many there were.
fn peek_queue(
    cluster: &mut Cluster,
    output: Output,
    broker: &Master,
    of: PullOf<'_>,
    mut from: i64,
    (count, until): (u64, i64),
) -> Result<u64, AdminError> {
    let mut shown = 0;
    while shown < count {
        let answer = pull(cluster, broker, of, from, count - shown)?;
        let after = answer.number("nextBeginOffset").unwrap_or(from);
        if answer.code != FOUND || after <= from {
            break;
        }
        for message in messages(&answer.body).filter(|message| is_from(message, from)) {
            if message.store_timestamp > until || shown == count {
                return Ok(shown);
            }
            print(output, &broker.name, &broker.address, &message);
            shown += 1;
        }
        from = after;
    }
    Ok(shown)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, refusal};

    const OUTPUT: Output = Output { json: true };

    #[test]
    fn an_id_leads_to_its_broker_only_if_that_is_one() {
        let (mut cluster, seen) = fake::cluster(|code, _| match code {
            RequestCode::ViewMessageById => refusal(ResponseCode::SystemError),
            _ => None,
        });
        let of = |id: &str| GetArguments { id: id.to_owned(), topic: None };
        let stranger = get(&mut cluster, OUTPUT, &of("0A0000010000 2A9F0000000000000000".replace(' ', "").as_str()));
        assert!(matches!(stranger, Err(AdminError::Usage(_))), "{stranger:?}");
        assert!(matches!(get(&mut cluster, OUTPUT, &of("x")), Err(AdminError::Usage(_))));
        let address: std::net::SocketAddr = cluster.masters(None).expect("one")[0].address.parse().expect("an address");
        let place = MessageId { store_host: address, log_offset: ringmq_protocol::model::LogOffset(77) };
        let refused = get(&mut cluster, OUTPUT, &of(place.encode().as_str()));
        assert!(matches!(refused, Err(AdminError::Refused { .. })), "{refused:?}");
        assert!(seen.lock().expect("nobody panics").contains(&"ViewMessageById offset=77".to_owned()));
    }

    #[test]
    fn a_key_that_no_broker_knows_is_told() {
        let (mut cluster, seen) = fake::cluster(|code, _| match code {
            RequestCode::QueryMessage => refusal(ResponseCode::QueryNotFound),
            _ => None,
        });
        let arguments = FindArguments {
            topic: "T".to_owned(),
            key: "k".to_owned(),
            since: Some("1970-01-01T00:00:01".to_owned()),
            until: None,
            count: 5,
        };
        let found = find(&mut cluster, OUTPUT, &arguments);
        assert!(matches!(found, Err(AdminError::NoMessage { .. })), "{found:?}");
        let seen = seen.lock().expect("nobody panics");
        let asked = seen.iter().filter(|request| request.starts_with("QueryMessage")).collect::<Vec<_>>();
        assert_eq!(asked.len(), 1, "a broker with two queues is asked once");
        assert!(asked[0].contains("beginTimestamp=1000 ") && asked[0].contains("maxNum=5"), "{asked:?}");
    }
}
