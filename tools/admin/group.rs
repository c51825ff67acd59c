//! Consumer groups, and how far they have read.

use std::collections::BTreeSet;

use clap::Args;
use ringmq_protocol::body::{GroupTable, SubscriptionGroupConfig};
use ringmq_protocol::code::RequestCode;
use ringmq_protocol::json::{self, Key, Object, Value};
use ringmq_protocol::reply::ExtValue;

use crate::output::Output;
use crate::wire::{AdminError, Cluster};

/// A consumer group.
#[derive(Args)]
pub(crate) struct GroupName {
    /// The group.
    #[arg(short = 'g', long)]
    pub(crate) group: String,
    /// Accepted as mqadmin has it: groups are on all brokers of all clusters.
    #[arg(short = 'c', long, hide = true)]
    cluster: Option<String>,
}

/// What `group progress` is told.
#[derive(Args)]
pub(crate) struct ProgressArguments {
    /// The group.
    #[arg(short = 'g', long)]
    group: String,
    /// Only this topic.
    #[arg(short = 't', long)]
    topic: Option<String>,
}

const JSON_VALUES_MAX: usize = 1_000_000;

pub(crate) fn list(cluster: &mut Cluster, output: Output) -> Result<(), AdminError> {
    let mut groups = BTreeSet::new();
    for master in cluster.masters(None)? {
        let answer =
            cluster.must(&master.address, "its groups", RequestCode::GetAllSubscriptiongroupConfig, &[], &[])?;
        let table = GroupTable::decode(&answer.body)
            .map_err(|error| AdminError::Protocol { address: master.address, reason: error.to_string() })?;
        groups.extend(table.groups.keys().map(ToString::to_string));
    }
    let rows: Vec<Vec<String>> = groups.into_iter().map(|group| vec![group]).collect();
    output.table(&["GROUP"], &rows);
    Ok(())
}

pub(crate) fn create(cluster: &mut Cluster, output: Output, group: &str) -> Result<(), AdminError> {
    let body = SubscriptionGroupConfig::new(group).encode();
    for master in cluster.masters(None)? {
        cluster.must(&master.address, "the group", RequestCode::UpdateAndCreateSubscriptiongroup, &[], &body)?;
    }
    output.done(&format!("group {group} exists on every broker"));
    Ok(())
}

pub(crate) fn delete(cluster: &mut Cluster, output: Output, group: &str) -> Result<(), AdminError> {
    let ext = [("groupName", ExtValue::Str(group)), ("cleanOffset", ExtValue::Bool(true))];
    for master in cluster.masters(None)? {
        cluster.must(&master.address, "to delete the group", RequestCode::DeleteSubscriptiongroup, &ext, &[])?;
    }
    output.done(&format!("group {group} and its offsets are deleted"));
    Ok(())
}

pub(crate) fn progress(cluster: &mut Cluster, output: Output, arguments: &ProgressArguments) -> Result<(), AdminError> {
    let mut rows = Vec::new();
    let mut behind: i64 = 0;
    for master in cluster.masters(None)? {
        let mut ext = vec![("consumerGroup", ExtValue::Str(&arguments.group))];
        ext.extend(arguments.topic.as_deref().map(|topic| ("topic", ExtValue::Str(topic))));
        let answer = cluster.must(&master.address, "the group's progress", RequestCode::GetConsumeStats, &ext, &[])?;
        let malformed = |reason: String| AdminError::Protocol { address: master.address.clone(), reason };
        let body = json::parse(&answer.body, JSON_VALUES_MAX).map_err(|error| malformed(error.to_string()))?;
        let Value::Object(body) = body else { return Err(malformed("the progress is no object".to_owned())) };
        let Some(Value::Object(offsets)) = body.get("offsetTable") else { continue };
        for (queue, value) in &offsets.0 {
            let (Key::Object(queue), Value::Object(value)) = (queue, value) else { continue };
            let (broker_offset, consumer_offset) = (number(value, "brokerOffset"), number(value, "consumerOffset"));
            let lag = broker_offset.saturating_sub(consumer_offset);
            behind = behind.saturating_add(lag);
            rows.push(vec![
                text(queue, "topic"),
                text(queue, "brokerName"),
                number(queue, "queueId").to_string(),
                consumer_offset.to_string(),
                broker_offset.to_string(),
                lag.to_string(),
            ]);
        }
    }
    rows.sort();
    output.table(&["TOPIC", "BROKER", "QUEUE", "OFFSET", "MAX OFFSET", "BEHIND"], &rows);
    if !output.json {
        output.done(&format!("{behind} messages behind in all"));
    }
    Ok(())
}

fn number(object: &Object<'_>, name: &str) -> i64 {
    match object.get(name) {
        Some(Value::Integer(number)) => *number,
        _ => 0,
    }
}

fn text(object: &Object<'_>, name: &str) -> String {
    match object.get(name) {
        Some(Value::Text(text)) => text.to_string(),
        _ => String::new(),
    }
}
