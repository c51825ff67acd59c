//! How far groups have read.
//!
//! Brokers tell of the topics that a group has committed offsets of at them. Where it has none, the other brokers' topics are asked for by name: a queue
//! that nobody reads is what an operator looks for. Of a broker whose master is gone the slave is asked.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use ringmq_protocol::body::{ConsumeStats, MessageQueue, OffsetStats};
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::reply::ExtValue;
use serde_json::Value;

use crate::group::{is_own, known, online};
use crate::output::{Column, Output};
use crate::topic::bound;
use crate::wire::{AdminError, Cluster, Master};

/// What `group progress` is told.
#[derive(Args)]
pub(crate) struct ProgressArguments {
    /// The group.
    #[arg(short = 'g', long, required_unless_present = "all")]
    group: Option<String>,
    /// Only this topic.
    #[arg(short = 't', long)]
    topic: Option<String>,
    /// Every group in a row, those that are behind most first.
    #[arg(long, conflicts_with = "group")]
    all: bool,
}

pub(crate) const PROGRESS: [Column<'static>; 7] = [
    ("TOPIC", "topic"),
    ("BROKER", "broker"),
    ("QUEUE", "queue"),
    ("OFFSET", "offset"),
    ("MAX OFFSET", "max_offset"),
    ("BEHIND", "behind"),
    ("IN FLIGHT", "in_flight"),
];
pub(crate) const ALL: [Column<'static>; 4] =
    [("GROUP", "group"), ("BEHIND", "behind"), ("IN FLIGHT", "in_flight"), ("MEMBERS", "members")];

/// Where a group stands in a queue.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Standing {
    topic: String,
    broker: String,
    queue: u32,
    /// `None` if it has committed none.
    offset: Option<i64>,
    max: i64,
    /// Messages that it has not finished.
    behind: i64,
    /// Of these, those that consumers have and have not finished.
    in_flight: i64,
}

/// Whom to ask, and what could not be asked.
struct Brokers {
    readers: Vec<Master>,
    /// Brokers that do not answer, with the reason.
    silent: BTreeMap<String, String>,
}

pub(crate) fn progress(cluster: &mut Cluster, output: Output, arguments: &ProgressArguments) -> Result<(), AdminError> {
    if let Some(topic) = &arguments.topic {
        cluster.route(topic)?;
    }
    let (readers, slaves) = cluster.readers()?;
    let mut brokers = Brokers { readers, silent: BTreeMap::new() };
    let groups = known_where_asked(cluster, &mut brokers)?;
    match &arguments.group {
        Some(group) => one(cluster, output, &mut brokers, (group, &groups), arguments.topic.as_deref())?,
        None => all(cluster, output, &mut brokers, &groups, arguments.topic.as_deref())?,
    }
    if !slaves.is_empty() {
        output.note(&format!("the master of {} is gone: these numbers are of its slave", slaves.join(", ")));
    }
    let silent: Vec<String> = brokers.silent.into_iter().map(|(name, reason)| format!("{name} ({reason})")).collect();
    if silent.is_empty() { Ok(()) } else { Err(AdminError::Incomplete { missing: silent.join(", ") }) }
}

/// The groups that there are, at the brokers that answer; the others are not asked again.
fn known_where_asked(cluster: &mut Cluster, brokers: &mut Brokers) -> Result<BTreeSet<String>, AdminError> {
    let mut groups = BTreeSet::new();
    let mut left = Vec::new();
    for reader in std::mem::take(&mut brokers.readers) {
        match known(cluster, std::slice::from_ref(&reader)) {
            Ok(found) => {
                groups.extend(found);
                left.push(reader);
            }
            Err(error @ AdminError::Io { .. }) => {
                brokers.silent.insert(reader.name, error.to_string());
            }
            Err(error) => return Err(error),
        }
    }
    brokers.readers = left;
    Ok(groups)
}

fn one(
    cluster: &mut Cluster,
    output: Output,
    brokers: &mut Brokers,
    (group, groups): (&String, &BTreeSet<String>),
    topic: Option<&str>,
) -> Result<(), AdminError> {
    if !groups.contains(group) && brokers.silent.is_empty() {
        return Err(AdminError::NoGroup { group: group.clone() });
    }
    let standings = standings(cluster, brokers, group, topic)?;
    let row = |standing: &Standing| {
        vec![
            standing.topic.as_str().into(),
            standing.broker.as_str().into(),
            standing.queue.into(),
            standing.offset.into(),
            standing.max.into(),
            standing.behind.into(),
            standing.in_flight.into(),
        ]
    };
    output.values(&PROGRESS, &standings.iter().map(row).collect::<Vec<Vec<Value>>>());
    let behind: i64 = standings.iter().map(|standing| standing.behind).sum();
    match (standings.is_empty(), brokers.silent.is_empty()) {
        (true, true) => output.note(&format!("group {group} has no offsets: it has not read yet")),
        (false, true) => output.note(&format!("{behind} messages behind in all")),
        // What is missing is said as an error.
        (_, false) => {}
    }
    Ok(())
}

fn all(
    cluster: &mut Cluster,
    output: Output,
    brokers: &mut Brokers,
    groups: &BTreeSet<String>,
    topic: Option<&str>,
) -> Result<(), AdminError> {
    let mut found = Vec::new();
    for group in groups.iter().filter(|group| !is_own(group)) {
        let standings = standings(cluster, brokers, group, topic)?;
        let sum = |of: fn(&Standing) -> i64| standings.iter().map(of).fold(0_i64, i64::saturating_add);
        // Of a group that has read nothing nobody knows which topics it is to read.
        let behind = (!standings.is_empty()).then(|| sum(|standing| standing.behind));
        let in_flight = sum(|standing| standing.in_flight);
        let mut members = BTreeSet::new();
        for reader in &brokers.readers {
            members.extend(online(cluster, reader, group)?);
        }
        // A group that has nothing to do with the topic is not asked for.
        if topic.is_none() || !standings.is_empty() {
            found.push((behind, group.as_str(), in_flight, members.len()));
        }
    }
    found.sort_by(|a, b| (b.0, a.1).cmp(&(a.0, b.1)));
    let row = |(behind, group, in_flight, members): &(Option<i64>, &str, i64, usize)| {
        vec![(*group).into(), (*behind).into(), (*in_flight).into(), (*members).into()]
    };
    output.values(&ALL, &found.iter().map(row).collect::<Vec<Vec<Value>>>());
    Ok(())
}

/// Queue by queue, in the order of topics and brokers.
fn standings(
    cluster: &mut Cluster,
    brokers: &mut Brokers,
    group: &str,
    topic: Option<&str>,
) -> Result<Vec<Standing>, AdminError> {
    let mut stats: BTreeMap<MessageQueue, (Master, OffsetStats)> = BTreeMap::new();
    for reader in brokers.readers.clone() {
        if let Some(found) = ask(cluster, brokers, &reader, group, topic)? {
            stats.extend(found.into_iter().map(|(queue, stands)| (queue, (reader.clone(), stands))));
        }
    }
    // Where it has not committed yet, a broker tells only of what it is asked for.
    let topics: BTreeSet<String> = stats.keys().map(|queue| queue.topic.to_string()).collect();
    for topic in topics.iter().filter(|_| topic.is_none()) {
        let Ok(route) = cluster.route(topic) else { continue };
        let of_topic = |queue: &MessageQueue| queue.topic.as_str() == topic;
        let told: BTreeSet<String> =
            stats.keys().filter(|queue| of_topic(queue)).map(|queue| queue.broker_name.to_string()).collect();
        for reader in brokers.readers.clone() {
            let has_queues = route.queues.iter().any(|data| data.broker_name.as_str() == reader.name);
            if has_queues
                && !told.contains(&reader.name)
                && let Some(found) = ask(cluster, brokers, &reader, group, Some(topic))?
            {
                stats.extend(found.into_iter().map(|(queue, stands)| (queue, (reader.clone(), stands))));
            }
        }
    }
    let mut standings = Vec::new();
    for (queue, (reader, stands)) in stats {
        standings.push(standing(cluster, &reader, group, &queue, stands)?);
    }
    standings.sort();
    Ok(standings)
}

/// What a broker says of a group. `None` if it does not answer, which is noted.
fn ask(
    cluster: &mut Cluster,
    brokers: &mut Brokers,
    reader: &Master,
    group: &str,
    topic: Option<&str>,
) -> Result<Option<BTreeMap<MessageQueue, OffsetStats>>, AdminError> {
    let mut ext = vec![("consumerGroup", ExtValue::Str(group))];
    ext.extend(topic.map(|topic| ("topic", ExtValue::Str(topic))));
    match cluster.must(&reader.address, "the group's progress", RequestCode::GetConsumeStats, &ext, &[]) {
        Ok(answer) => {
            let stats = ConsumeStats::decode(&answer.body)
                .map_err(|error| AdminError::Protocol { address: reader.address.clone(), reason: error.to_string() })?;
            Ok(Some(stats.offsets))
        }
        Err(error @ AdminError::Io { .. }) => {
            brokers.silent.insert(reader.name.clone(), error.to_string());
            brokers.readers.retain(|other| other.name != reader.name);
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Brokers say 0 of a queue in which a group has committed nothing.
fn standing(
    cluster: &mut Cluster,
    reader: &Master,
    group: &str,
    queue: &MessageQueue,
    stands: OffsetStats,
) -> Result<Standing, AdminError> {
    let (topic, number) = (queue.topic.as_str(), queue.queue_id.0);
    let max = stands.broker_offset;
    let mut offset = Some(stands.consumer_offset);
    let mut from = stands.consumer_offset;
    if from == 0 {
        let ext = [
            ("consumerGroup", ExtValue::Str(group)),
            ("topic", ExtValue::Str(topic)),
            ("queueId", ExtValue::I64(number.into())),
            ("setZeroIfNotFound", ExtValue::Bool(false)),
        ];
        let answer = cluster.ask(&reader.address, RequestCode::QueryConsumerOffset, &ext, &[])?;
        if answer.code == ResponseCode::QueryNotFound.number() {
            offset = None;
            from = bound(cluster, reader, RequestCode::GetMinOffset, topic, number)?;
        }
    }
    Ok(Standing {
        topic: topic.to_owned(),
        broker: queue.broker_name.to_string(),
        queue: number,
        offset,
        max,
        behind: max.saturating_sub(from).max(0),
        in_flight: stands.pull_offset.saturating_sub(stands.consumer_offset).max(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Answer, refusal, success};

    const OUTPUT: Output = Output { json: true };

    fn of(group: &str, topic: Option<&str>) -> ProgressArguments {
        ProgressArguments { group: Some(group.to_owned()), topic: topic.map(str::to_owned), all: false }
    }

    fn groups(code: RequestCode) -> Option<Answer> {
        match code {
            RequestCode::GetAllSubscriptiongroupConfig => {
                success(r#"{"subscriptionGroupTable":{"G":{"groupName":"G"}}}"#)
            }
            _ => None,
        }
    }

    #[test]
    fn a_group_that_nobody_knows_is_named_and_one_that_has_not_read_is_not() {
        let (mut cluster, _) = fake::cluster(|code, _| match code {
            RequestCode::GetConsumeStats => success(r#"{"consumeTps":0.0,"offsetTable":{}}"#),
            code => groups(code),
        });
        let found = progress(&mut cluster, OUTPUT, &of("nope", None));
        assert!(matches!(found, Err(AdminError::NoGroup { .. })), "{found:?}");
        let found = progress(&mut cluster, OUTPUT, &of("G", Some("nope")));
        assert!(matches!(found, Err(AdminError::NoTopic { .. })), "{found:?}");
        progress(&mut cluster, OUTPUT, &of("G", Some("T"))).expect("it is there");
    }

    #[test]
    fn a_queue_without_an_offset_is_behind_by_what_is_in_it_and_flights_are_told() {
        let (mut cluster, _) = fake::cluster(|code, header| match code {
            RequestCode::GetConsumeStats => success(
                r#"{"consumeTps":0.0,"offsetTable":{
                {"brokerName":"broker-a","queueId":0,"topic":"T"}:{"brokerOffset":9,"consumerOffset":5,"lastTimestamp":0,"pullOffset":7},
                {"brokerName":"broker-a","queueId":1,"topic":"T"}:{"brokerOffset":9,"consumerOffset":0,"lastTimestamp":0,"pullOffset":0}}}"#,
            ),
            RequestCode::QueryConsumerOffset => {
                assert_eq!(header.ext.get("queueId"), Some("1"), "of the other one it is known");
                refusal(ResponseCode::QueryNotFound)
            }
            RequestCode::GetMinOffset => Some((ResponseCode::Success, Some(("offset", "2")), String::new())),
            code => groups(code),
        });
        let (readers, _) = cluster.readers().expect("there is one");
        let mut brokers = Brokers { readers, silent: BTreeMap::new() };
        let found = standings(&mut cluster, &mut brokers, "G", None).expect("it answers");
        let numbers: Vec<_> = found.iter().map(|s| (s.queue, s.offset, s.max, s.behind, s.in_flight)).collect();
        assert_eq!(numbers, [(0, Some(5), 9, 4, 2), (1, None, 9, 7, 0)]);
    }

    #[test]
    fn a_broker_that_does_not_answer_is_missed() {
        let (mut cluster, _) = fake::cluster(|code, _| match code {
            RequestCode::GetBrokerClusterInfo => success(
                r#"{"brokerAddrTable":{"broker-z":{"brokerAddrs":{"0":"127.0.0.1:1"},"brokerName":"broker-z","cluster":"C"}},"clusterAddrTable":{"C":["broker-z"]}}"#,
            ),
            _ => None,
        });
        let found = progress(&mut cluster, OUTPUT, &of("G", None));
        assert!(matches!(&found, Err(AdminError::Incomplete { missing }) if missing.contains("broker-z")), "{found:?}");
    }
}
