//! Consumer offsets of one group in one topic.

use clap::Args;
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::reply::ExtValue;

use crate::output::Output;
use crate::topic::bound;
use crate::wire::{AdminError, Cluster, Master};

/// Whose offsets of what.
#[derive(Args)]
pub(crate) struct Arguments {
    /// The group.
    #[arg(short = 'g', long)]
    group: String,
    /// The topic.
    #[arg(short = 't', long)]
    topic: String,
}

/// And where to.
#[derive(Args)]
pub(crate) struct ResetArguments {
    #[command(flatten)]
    of: Arguments,
    /// earliest, latest, or the first message at or after a time in Unix milliseconds.
    #[arg(long, value_name = "WHERE")]
    to: String,
}

pub(crate) fn get(cluster: &mut Cluster, output: Output, arguments: &Arguments) -> Result<(), AdminError> {
    let mut rows = Vec::new();
    for (master, queue) in cluster.queues(&arguments.topic)? {
        let ext = [
            ("consumerGroup", ExtValue::Str(&arguments.group)),
            ("topic", ExtValue::Str(&arguments.topic)),
            ("queueId", ExtValue::I64(queue.into())),
            ("setZeroIfNotFound", ExtValue::Bool(false)),
        ];
        let answer = cluster.ask(&master.address, RequestCode::QueryConsumerOffset, &ext, &[])?;
        let offset = match answer.number("offset") {
            Some(offset) if answer.code == ResponseCode::Success.number() => offset.to_string(),
            _ => "-".to_owned(),
        };
        let max = bound(cluster, &master, RequestCode::GetMaxOffset, &arguments.topic, queue)?;
        rows.push(vec![master.name, queue.to_string(), offset, max.to_string()]);
    }
    output.table(&["BROKER", "QUEUE", "OFFSET", "MAX OFFSET"], &rows);
    Ok(())
}

pub(crate) fn reset(cluster: &mut Cluster, output: Output, arguments: &ResetArguments) -> Result<(), AdminError> {
    let of = &arguments.of;
    let queues = cluster.queues(&of.topic)?;
    refuse_online(cluster, &of.group, &queues)?;
    for (master, queue) in &queues {
        let offset = match arguments.to.as_str() {
            "earliest" => bound(cluster, master, RequestCode::GetMinOffset, &of.topic, *queue)?,
            "latest" => bound(cluster, master, RequestCode::GetMaxOffset, &of.topic, *queue)?,
            time => by_time(cluster, master, &of.topic, *queue, time)?,
        };
        let ext = [
            ("consumerGroup", ExtValue::Str(&of.group)),
            ("topic", ExtValue::Str(&of.topic)),
            ("queueId", ExtValue::I64((*queue).into())),
            ("commitOffset", ExtValue::I64(offset)),
        ];
        cluster.must(&master.address, "the offset", RequestCode::UpdateConsumerOffset, &ext, &[])?;
    }
    get(cluster, output, of)
}

fn by_time(cluster: &mut Cluster, master: &Master, topic: &str, queue: u32, time: &str) -> Result<i64, AdminError> {
    let time: i64 = time.parse().map_err(|_| {
        AdminError::Usage(format!("--to {time} is neither earliest, latest nor a time in Unix milliseconds"))
    })?;
    let ext = [
        ("topic", ExtValue::Str(topic)),
        ("queueId", ExtValue::I64(queue.into())),
        ("timestamp", ExtValue::I64(time)),
        ("boundaryType", ExtValue::Str("LOWER")),
    ];
    let answer = cluster.must(&master.address, "an offset by time", RequestCode::SearchOffsetByTimestamp, &ext, &[])?;
    Ok(answer.number("offset").unwrap_or(0))
}

/// Consumers commit every 5 s what they hold in memory: a reset under their feet would not last.
fn refuse_online(cluster: &mut Cluster, group: &str, queues: &[(Master, u32)]) -> Result<(), AdminError> {
    let mut masters: Vec<&Master> = queues.iter().map(|(master, _)| master).collect();
    masters.dedup();
    for master in masters {
        let ext = [("consumerGroup", ExtValue::Str(group))];
        let answer = cluster.ask(&master.address, RequestCode::GetConsumerListByGroup, &ext, &[])?;
        if answer.code == ResponseCode::Success.number() {
            return Err(AdminError::Online { group: group.to_owned() });
        }
    }
    Ok(())
}
