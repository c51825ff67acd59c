//! Topics: where their queues are, and how they get there.

use clap::Args;
use ringmq_protocol::body::TopicList;
use ringmq_protocol::code::RequestCode;
use ringmq_protocol::placement::Placement;
use ringmq_protocol::reply::ExtValue;

use crate::output::Output;
use crate::wire::{AdminError, Cluster, Master};

/// What `topic create` is told. `-r` and `-w` are mqadmin's: so many on each broker.
#[derive(Args)]
pub(crate) struct CreateArguments {
    /// The topic.
    #[arg(short = 't', long)]
    topic: String,
    /// Queues in all, spread evenly (8), or said exactly (broker-a-0=3,broker-a-1=1).
    #[arg(long, value_name = "PLACEMENT", conflicts_with_all = ["read_queues", "write_queues", "broker"])]
    queues: Option<String>,
    /// Readable queues on each broker.
    #[arg(short = 'r', long, value_name = "COUNT")]
    read_queues: Option<u32>,
    /// Writable queues on each broker.
    #[arg(short = 'w', long, value_name = "COUNT")]
    write_queues: Option<u32>,
    /// Only this cluster; needed if there are several.
    #[arg(short = 'c', long)]
    cluster: Option<String>,
    /// Only the broker of this address or name.
    #[arg(short = 'b', long)]
    broker: Option<String>,
    /// Sum of 4 (readable) and 2 (writable).
    #[arg(short = 'p', long, default_value_t = 6)]
    perm: u8,
}

/// What `topic delete` is told.
#[derive(Args)]
pub(crate) struct DeleteArguments {
    /// The topic.
    #[arg(short = 't', long)]
    topic: String,
    /// Only in this cluster.
    #[arg(short = 'c', long)]
    cluster: Option<String>,
}

/// One broker's part of a topic to be.
struct Share {
    master: Master,
    read: u32,
    write: u32,
}

/// Without `--queues`, `-r` and `-w`: eight on each broker, as mqadmin has it.
const QUEUES_EACH: u32 = 8;

pub(crate) fn list(cluster: &mut Cluster, output: Output, of: Option<&str>) -> Result<(), AdminError> {
    let (address, answer) = match of {
        Some(name) => cluster.ask_name_server(RequestCode::GetTopicsByCluster, &[("cluster", ExtValue::Str(name))])?,
        None => cluster.ask_name_server(RequestCode::GetAllTopicListFromNameserver, &[])?,
    };
    let list =
        TopicList::decode(&answer.body).map_err(|error| AdminError::Protocol { address, reason: error.to_string() })?;
    let rows: Vec<Vec<String>> = list.topics.iter().map(|topic| vec![topic.to_string()]).collect();
    output.table(&["TOPIC"], &rows);
    Ok(())
}

pub(crate) fn create(cluster: &mut Cluster, output: Output, arguments: &CreateArguments) -> Result<(), AdminError> {
    for share in shares(cluster, arguments)? {
        let ext = [
            ("topic", ExtValue::Str(&arguments.topic)),
            ("defaultTopic", ExtValue::Str("TBW102")),
            ("readQueueNums", ExtValue::I64(share.read.into())),
            ("writeQueueNums", ExtValue::I64(share.write.into())),
            ("perm", ExtValue::I64(arguments.perm.into())),
            ("topicFilterType", ExtValue::Str("SINGLE_TAG")),
            ("topicSysFlag", ExtValue::I64(0)),
            ("order", ExtValue::Bool(false)),
        ];
        cluster.must(&share.master.address, "the topic", RequestCode::UpdateAndCreateTopic, &ext, &[])?;
    }
    route(cluster, output, &arguments.topic)
}

fn shares(cluster: &mut Cluster, arguments: &CreateArguments) -> Result<Vec<Share>, AdminError> {
    let masters = cluster.masters(arguments.cluster.as_deref())?;
    if let Some(placement) = &arguments.queues {
        let names: Vec<String> = masters.iter().map(|master| master.name.clone()).collect();
        let placed = Placement::parse(placement)?.over(&names)?;
        let share = |(name, queues): (String, u32)| {
            let master = masters.iter().find(|master| master.name == name)?.clone();
            Some(Share { master, read: queues, write: queues })
        };
        return Ok(placed.into_iter().filter_map(share).collect());
    }
    let read = arguments.read_queues.or(arguments.write_queues).unwrap_or(QUEUES_EACH);
    let write = arguments.write_queues.or(arguments.read_queues).unwrap_or(QUEUES_EACH);
    let wanted = |master: &Master| {
        arguments.broker.as_ref().is_none_or(|broker| *broker == master.address || *broker == master.name)
    };
    let shares: Vec<Share> = masters.into_iter().filter(wanted).map(|master| Share { master, read, write }).collect();
    match (&arguments.broker, shares.is_empty()) {
        (Some(broker), true) => Err(AdminError::NoBroker { address: broker.clone() }),
        _ => Ok(shares),
    }
}

pub(crate) fn delete(cluster: &mut Cluster, output: Output, arguments: &DeleteArguments) -> Result<(), AdminError> {
    let topic = ("topic", ExtValue::Str(&arguments.topic));
    let masters = cluster.masters(arguments.cluster.as_deref())?;
    let is_known = match cluster.route(&arguments.topic) {
        Ok(route) => route
            .brokers
            .iter()
            .map(|broker| broker.broker_name.to_string())
            .any(|name| masters.iter().any(|master| master.name == name)),
        Err(AdminError::NoTopic { .. }) => false,
        Err(error) => return Err(error),
    };
    // Also of a topic without a route: what brokers have of it that do not show it goes too.
    for master in masters {
        cluster.must(&master.address, "to delete the topic", RequestCode::DeleteTopicInBroker, &[topic], &[])?;
    }
    let mut ext = vec![topic];
    ext.extend(arguments.cluster.as_deref().map(|name| ("clusterName", ExtValue::Str(name))));
    cluster.tell_name_servers("to delete the topic", RequestCode::DeleteTopicInNamesrv, &ext)?;
    if !is_known {
        return Err(AdminError::NothingDeleted { topic: arguments.topic.clone() });
    }
    output.done(&format!("topic {} is deleted", arguments.topic));
    Ok(())
}

pub(crate) fn route(cluster: &mut Cluster, output: Output, topic: &str) -> Result<(), AdminError> {
    let route = cluster.route(topic)?;
    let mut rows = Vec::new();
    for data in &route.queues {
        let broker = route.brokers.iter().find(|broker| broker.broker_name == data.broker_name);
        let addresses = broker.map(|broker| broker.addresses.values().cloned().collect::<Vec<_>>().join(";"));
        rows.push(vec![
            data.broker_name.to_string(),
            data.read_queues.to_string(),
            data.write_queues.to_string(),
            permission(data.perm),
            addresses.unwrap_or_default(),
        ]);
    }
    output.table(&["BROKER", "READ", "WRITE", "PERM", "ADDRESS"], &rows);
    Ok(())
}

fn permission(perm: u32) -> String {
    [(4, 'R'), (2, 'W')].iter().map(|(bit, letter)| if perm & bit == 0 { '-' } else { *letter }).collect()
}

pub(crate) fn status(cluster: &mut Cluster, output: Output, topic: &str) -> Result<(), AdminError> {
    let mut rows = Vec::new();
    for (master, queue) in cluster.queues(topic)? {
        let min = bound(cluster, &master, RequestCode::GetMinOffset, topic, queue)?;
        let max = bound(cluster, &master, RequestCode::GetMaxOffset, topic, queue)?;
        let count = max.saturating_sub(min);
        rows.push(vec![master.name, queue.to_string(), min.to_string(), max.to_string(), count.to_string()]);
    }
    output.table(&["BROKER", "QUEUE", "MIN OFFSET", "MAX OFFSET", "MESSAGES"], &rows);
    Ok(())
}

/// The first or the next offset of a queue.
pub(crate) fn bound(
    cluster: &mut Cluster,
    master: &Master,
    code: RequestCode,
    topic: &str,
    queue: u32,
) -> Result<i64, AdminError> {
    let ext = [("topic", ExtValue::Str(topic)), ("queueId", ExtValue::I64(queue.into()))];
    let answer = cluster.must(&master.address, "an offset", code, &ext, &[])?;
    answer.number("offset").ok_or_else(|| AdminError::Protocol {
        address: master.address.clone(),
        reason: "the answer has no offset".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, success};

    #[test]
    fn a_topic_that_was_not_there_is_not_deleted() {
        let (mut cluster, _) = fake::cluster(|code, _| match code {
            RequestCode::DeleteTopicInBroker | RequestCode::DeleteTopicInNamesrv => success(""),
            _ => None,
        });
        let of = |topic: &str| DeleteArguments { topic: topic.to_owned(), cluster: None };
        let output = Output { json: true };
        assert!(matches!(delete(&mut cluster, output, &of("nope")), Err(AdminError::NothingDeleted { .. })));
        delete(&mut cluster, output, &of("T")).expect("it was there");
    }
}
