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
    let rows: Vec<Vec<String>> = known(cluster)?.into_iter().map(|group| vec![group]).collect();
    output.table(&["GROUP"], &rows);
    Ok(())
}

/// The groups that any master knows.
fn known(cluster: &mut Cluster) -> Result<BTreeSet<String>, AdminError> {
    let mut groups = BTreeSet::new();
    for master in cluster.masters(None)? {
        let answer =
            cluster.must(&master.address, "its groups", RequestCode::GetAllSubscriptiongroupConfig, &[], &[])?;
        let table = GroupTable::decode(&answer.body)
            .map_err(|error| AdminError::Protocol { address: master.address, reason: error.to_string() })?;
        groups.extend(table.groups.keys().map(ToString::to_string));
    }
    Ok(groups)
}

/// Brokers answer for a group that nobody knows as for one that has not read yet.
pub(crate) fn check_known(cluster: &mut Cluster, group: &str) -> Result<(), AdminError> {
    if known(cluster)?.contains(group) { Ok(()) } else { Err(AdminError::NoGroup { group: group.to_owned() }) }
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
    let is_known = known(cluster)?.contains(group);
    // Also of a group that no broker lists: offsets of it may be there.
    for master in cluster.masters(None)? {
        cluster.must(&master.address, "to delete the group", RequestCode::DeleteSubscriptiongroup, &ext, &[])?;
    }
    if !is_known {
        return Err(AdminError::NoGroupDeleted { group: group.to_owned() });
    }
    output.done(&format!("group {group} and its offsets are deleted"));
    Ok(())
}

pub(crate) fn progress(cluster: &mut Cluster, output: Output, arguments: &ProgressArguments) -> Result<(), AdminError> {
    if let Some(topic) = &arguments.topic {
        cluster.route(topic)?;
    }
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
    if rows.is_empty() {
        check_known(cluster, &arguments.group)?;
    }
    rows.sort();
    output.table(&["TOPIC", "BROKER", "QUEUE", "OFFSET", "MAX OFFSET", "BEHIND"], &rows);
    if rows.is_empty() {
        output.note(&format!("group {} has no offsets: it has not read yet", arguments.group));
    } else {
        output.note(&format!("{behind} messages behind in all"));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, success};

    #[test]
    fn a_group_that_nobody_knows_is_named_and_one_that_has_not_read_is_not() {
        let (mut cluster, seen) = fake::cluster(|code, _| match code {
            RequestCode::GetAllSubscriptiongroupConfig => {
                success(r#"{"subscriptionGroupTable":{"G":{"groupName":"G"}}}"#)
            }
            RequestCode::GetConsumeStats => success(r#"{"consumeTps":0.0,"offsetTable":{}}"#),
            RequestCode::DeleteSubscriptiongroup => success(""),
            _ => None,
        });
        let output = Output { json: true };
        let of = |group: &str, topic: Option<&str>| ProgressArguments {
            group: group.to_owned(),
            topic: topic.map(str::to_owned),
        };
        assert!(matches!(progress(&mut cluster, output, &of("nope", None)), Err(AdminError::NoGroup { .. })));
        assert!(matches!(progress(&mut cluster, output, &of("G", Some("nope"))), Err(AdminError::NoTopic { .. })));
        progress(&mut cluster, output, &of("G", Some("T"))).expect("it is there");
        assert!(matches!(delete(&mut cluster, output, "nope"), Err(AdminError::NoGroupDeleted { .. })));
        let deleted = "DeleteSubscriptiongroup cleanOffset=true groupName=nope".to_owned();
        assert!(seen.lock().expect("nobody panics").contains(&deleted), "offsets of it may have been there");
        delete(&mut cluster, output, "G").expect("it was there");
    }
}
