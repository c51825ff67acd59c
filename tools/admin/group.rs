//! Consumer groups: which there are, and who is a member.

use std::collections::BTreeSet;

use clap::Args;
use ringmq_protocol::body::{GroupTable, SubscriptionGroupConfig};
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::reply::ExtValue;
use serde_json::Value;

use crate::consent::{Consent, Plan};
use crate::output::{Column, Output};
use crate::wire::{AdminError, Cluster, Master};

/// A consumer group.
#[derive(Args)]
pub(crate) struct GroupName {
    /// The group.
    #[arg(short = 'g', long)]
    group: String,
    /// Only on the brokers of this cluster.
    #[arg(short = 'c', long)]
    cluster: Option<String>,
}

/// What `group list` is told.
#[derive(Args)]
pub(crate) struct ListArguments {
    /// Also the brokers' own groups.
    #[arg(short = 'a', long)]
    all: bool,
    /// Only this cluster.
    #[arg(short = 'c', long)]
    cluster: Option<String>,
}

/// What `group delete` is told.
#[derive(Args)]
pub(crate) struct DeleteArguments {
    #[command(flatten)]
    of: GroupName,
    #[command(flatten)]
    consent: Consent,
}

pub(crate) const LIST: [Column<'static>; 1] = [("GROUP", "group")];

/// Of the groups in which brokers keep what is theirs.
const OWN_PREFIX: &str = "CID_RMQ_SYS_";

/// The others that brokers make at each start. Source: `RocketMQ`'s `MixAll`.
const OWN: [&str; 9] = [
    "TOOLS_CONSUMER",
    "FILTERSRV_CONSUMER",
    "SCHEDULE_CONSUMER",
    "SELF_TEST_C_GROUP",
    "__MONITOR_CONSUMER",
    "CID_ONS-HTTP-PROXY",
    "CID_ONSAPI_OWNER",
    "CID_ONSAPI_PERMISSION",
    "CID_ONSAPI_PULL",
];

/// Whether a group is the brokers' own.
pub(crate) fn is_own(group: &str) -> bool {
    group.starts_with(OWN_PREFIX) || OWN.contains(&group)
}

pub(crate) fn list(cluster: &mut Cluster, output: Output, arguments: &ListArguments) -> Result<(), AdminError> {
    let masters = cluster.masters(arguments.cluster.as_deref())?;
    let shown = known(cluster, &masters)?.into_iter().filter(|group| arguments.all || !is_own(group));
    let rows: Vec<Vec<Value>> = shown.map(|group| vec![group.into()]).collect();
    output.values(&LIST, &rows);
    Ok(())
}

/// The groups that any of these brokers knows.
pub(crate) fn known(cluster: &mut Cluster, brokers: &[Master]) -> Result<BTreeSet<String>, AdminError> {
    let mut groups = BTreeSet::new();
    for broker in brokers {
        let answer =
            cluster.must(&broker.address, "its groups", RequestCode::GetAllSubscriptiongroupConfig, &[], &[])?;
        let table = GroupTable::decode(&answer.body)
            .map_err(|error| AdminError::Protocol { address: broker.address.clone(), reason: error.to_string() })?;
        groups.extend(table.groups.keys().map(ToString::to_string));
    }
    Ok(groups)
}

/// Brokers answer for a group that nobody knows as for one that has not read yet.
pub(crate) fn check_known(cluster: &mut Cluster, group: &str) -> Result<(), AdminError> {
    let masters = cluster.masters(None)?;
    match known(cluster, &masters)?.contains(group) {
        true => Ok(()),
        false => Err(AdminError::NoGroup { group: group.to_owned() }),
    }
}

/// The ids of a group's members that are connected to a broker.
pub(crate) fn online(cluster: &mut Cluster, broker: &Master, group: &str) -> Result<Vec<String>, AdminError> {
    let ext = [("consumerGroup", ExtValue::Str(group))];
    let answer = cluster.ask(&broker.address, RequestCode::GetConsumerListByGroup, &ext, &[])?;
    // Brokers have no other answer for nobody.
    if answer.code == ResponseCode::SystemError.number() {
        return Ok(Vec::new());
    }
    if !answer.is_success() {
        return Err(AdminError::refused(broker.address.clone(), "the members of the group", answer));
    }
    let list = serde_json::from_slice::<Value>(&answer.body)
        .map_err(|error| AdminError::Protocol { address: broker.address.clone(), reason: error.to_string() })?;
    let ids = list.get("consumerIdList").and_then(Value::as_array).into_iter().flatten();
    Ok(ids.filter_map(Value::as_str).map(str::to_owned).collect())
}

pub(crate) fn create(cluster: &mut Cluster, output: Output, of: &GroupName) -> Result<(), AdminError> {
    let body = SubscriptionGroupConfig::new(&of.group).encode();
    let masters = cluster.masters(of.cluster.as_deref())?;
    for master in &masters {
        cluster.must(&master.address, "the group", RequestCode::UpdateAndCreateSubscriptiongroup, &[], &body)?;
    }
    let names = names(&masters);
    let sentence = format!("group {} exists on {}", of.group, names.join(", "));
    output.done(&sentence, &facts(&of.group, &names));
    Ok(())
}

pub(crate) fn delete(cluster: &mut Cluster, output: Output, arguments: &DeleteArguments) -> Result<(), AdminError> {
    let group = arguments.of.group.as_str();
    if is_own(group) {
        return Err(AdminError::System { kind: "group", name: group.to_owned() });
    }
    let masters = cluster.masters(arguments.of.cluster.as_deref())?;
    let is_known = known(cluster, &masters)?.contains(group);
    if !is_known && !arguments.consent.yes {
        return Err(AdminError::NoGroup { group: group.to_owned() });
    }
    let plan = plan_of_delete(cluster, group, &masters)?;
    if !arguments.consent.is_given(output, &plan)? {
        return Ok(());
    }
    let ext = [("groupName", ExtValue::Str(group)), ("cleanOffset", ExtValue::Bool(true))];
    // With --yes also of a group that no broker lists: offsets of it may be there.
    for master in &masters {
        cluster.must(&master.address, "to delete the group", RequestCode::DeleteSubscriptiongroup, &ext, &[])?;
    }
    if !is_known {
        return Err(AdminError::NoGroupDeleted { group: group.to_owned() });
    }
    output.done(&format!("group {group} and its offsets are deleted"), &plan.facts);
    Ok(())
}

fn plan_of_delete(cluster: &mut Cluster, group: &str, masters: &[Master]) -> Result<Plan, AdminError> {
    let mut members = BTreeSet::new();
    for master in masters {
        members.extend(online(cluster, master, group)?);
    }
    let names = names(masters);
    let mut plan = Plan { facts: facts(group, &names), ..Plan::default() };
    plan.lines.push(format!("group {group} is deleted with its offsets on {}", names.join(", ")));
    plan.lines
        .extend(members.iter().map(|member| format!("its member {member} is online, and reads on as a new group")));
    plan.facts.insert("members".to_owned(), members.into_iter().collect::<Vec<_>>().into());
    Ok(plan)
}

fn names(brokers: &[Master]) -> Vec<String> {
    brokers.iter().map(|broker| broker.name.clone()).collect()
}

fn facts(group: &str, brokers: &[String]) -> serde_json::Map<String, Value> {
    [("group".to_owned(), group.into()), ("brokers".to_owned(), brokers.to_vec().into())].into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, success};

    #[test]
    fn a_group_is_deleted_where_it_is_and_somebody_agrees() {
        let (mut cluster, seen) = fake::cluster(|code, _| match code {
            RequestCode::GetAllSubscriptiongroupConfig => {
                success(r#"{"subscriptionGroupTable":{"G":{"groupName":"G"}}}"#)
            }
            RequestCode::GetConsumerListByGroup => success(r#"{"consumerIdList":["c"]}"#),
            RequestCode::DeleteSubscriptiongroup => success(""),
            _ => None,
        });
        let output = Output { json: true };
        let of = |group: &str, yes| DeleteArguments {
            of: GroupName { group: group.to_owned(), cluster: None },
            consent: Consent { yes, dry_run: false },
        };
        assert!(matches!(delete(&mut cluster, output, &of("nope", false)), Err(AdminError::NoGroup { .. })));
        assert!(matches!(delete(&mut cluster, output, &of("CID_RMQ_SYS_X", true)), Err(AdminError::System { .. })));
        let refused = delete(&mut cluster, output, &of("G", false)).expect_err("nobody was asked").to_string();
        assert!(refused.contains("member c is online"), "{refused}");
        assert!(!seen.lock().expect("nobody panics").iter().any(|request| request.starts_with("Delete")));
        assert!(matches!(delete(&mut cluster, output, &of("nope", true)), Err(AdminError::NoGroupDeleted { .. })));
        let deleted = "DeleteSubscriptiongroup cleanOffset=true groupName=nope".to_owned();
        assert!(seen.lock().expect("nobody panics").contains(&deleted), "offsets of it may have been there");
        delete(&mut cluster, output, &of("G", true)).expect("it was there");
    }
}
