//! Topics: where their queues are, and how they get there.

use std::collections::BTreeSet;

use clap::{ArgGroup, Args};
use ringmq_protocol::body::{QueueData, TopicList, TopicRouteData};
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::message::{is_dlq_topic, is_retry_topic, is_system_topic};
use ringmq_protocol::placement::Placement;
use ringmq_protocol::reply::ExtValue;
use serde_json::{Value, json};

use crate::consent::{Consent, Plan};
use crate::group::online;
use crate::output::{Column, Output};
use crate::wire::{AdminError, Cluster, Master};

/// What `topic list` is told.
#[derive(Args)]
#[command(group = ArgGroup::new("which"))]
pub(crate) struct ListArguments {
    /// Only this cluster.
    #[arg(short = 'c', long)]
    cluster: Option<String>,
    /// Also those of retries and dead letters, and the brokers' own.
    #[arg(long, group = "which")]
    all: bool,
    /// Only the brokers' own.
    #[arg(long, group = "which")]
    system: bool,
}

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
    #[arg(short = 'p', long, default_value_t = 6, value_parser = clap::value_parser!(u8).range(0..8))]
    perm: u8,
    #[command(flatten)]
    consent: Consent,
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
    #[command(flatten)]
    consent: Consent,
}

/// One broker's part of a topic to be.
struct Share {
    master: Master,
    read: u32,
    write: u32,
}

/// Without `--queues`, `-r` and `-w`: eight on each broker, as mqadmin has it.
const QUEUES_EACH: u32 = 8;

pub(crate) const LIST: [Column<'static>; 2] = [("TOPIC", "topic"), ("KIND", "kind")];
pub(crate) const ROUTE: [Column<'static>; 5] =
    [("BROKER", "broker"), ("READ", "read"), ("WRITE", "write"), ("PERM", "perm"), ("ADDRESS", "address")];
pub(crate) const STATUS: [Column<'static>; 5] = [
    ("BROKER", "broker"),
    ("QUEUE", "queue"),
    ("MIN OFFSET", "min_offset"),
    ("MAX OFFSET", "max_offset"),
    ("MESSAGES", "messages"),
];

/// Whose a topic is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    User,
    Retry,
    DeadLetter,
    System,
}

impl Kind {
    /// `own` are names of clusters and brokers, each of which is a topic.
    fn of(topic: &str, own: &BTreeSet<String>) -> Kind {
        let is_reply = || topic.strip_suffix(REPLY_SUFFIX).is_some_and(|cluster| own.contains(cluster));
        match topic {
            _ if is_system_topic(topic) || own.contains(topic) || is_reply() => Kind::System,
            _ if is_retry_topic(topic) => Kind::Retry,
            _ if is_dlq_topic(topic) => Kind::DeadLetter,
            _ => Kind::User,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Kind::User => "user",
            Kind::Retry => "retry",
            Kind::DeadLetter => "dead-letter",
            Kind::System => "system",
        }
    }
}

/// Of the topic in which a cluster's answers to requests lie.
const REPLY_SUFFIX: &str = "_REPLY_TOPIC";

pub(crate) fn list(cluster: &mut Cluster, output: Output, arguments: &ListArguments) -> Result<(), AdminError> {
    let info = cluster.info_of(arguments.cluster.as_deref())?;
    let own = info.clusters.keys().cloned().chain(info.brokers.keys().map(ToString::to_string)).collect();
    let (address, answer) = match &arguments.cluster {
        Some(name) => cluster.ask_name_server(RequestCode::GetTopicsByCluster, &[("cluster", ExtValue::Str(name))])?,
        None => cluster.ask_name_server(RequestCode::GetAllTopicListFromNameserver, &[])?,
    };
    if !answer.is_success() {
        return Err(AdminError::refused(address, "a list of topics", answer));
    }
    let list =
        TopicList::decode(&answer.body).map_err(|error| AdminError::Protocol { address, reason: error.to_string() })?;
    let is_shown = |kind: Kind| arguments.all || (kind == Kind::System) == arguments.system && kind != Kind::Retry;
    let topics: Vec<(&str, Kind)> =
        list.topics.iter().map(|topic| (topic.as_str(), Kind::of(topic.as_str(), &own))).collect();
    let shown = topics.iter().filter(|(_, kind)| is_shown(*kind));
    let rows: Vec<Vec<Value>> = shown.map(|(topic, kind)| vec![(*topic).into(), kind.text().into()]).collect();
    output.values(&LIST, &rows);
    let left_out = topics.len() - rows.len();
    if left_out > 0 {
        output.note(&format!("{left_out} more with --all"));
    }
    Ok(())
}

pub(crate) fn create(cluster: &mut Cluster, output: Output, arguments: &CreateArguments) -> Result<(), AdminError> {
    let topic = arguments.topic.as_str();
    if is_system_topic(topic) {
        return Err(AdminError::System { kind: "topic", name: topic.to_owned() });
    }
    let known = match cluster.route(topic) {
        Ok(route) => route,
        Err(AdminError::NoTopic { .. }) => TopicRouteData::default(),
        Err(error) => return Err(error),
    };
    let shares = shares(cluster, arguments)?;
    let losses = losses(&known, &shares, arguments);
    let plan = plan_of_create(&shares, arguments, &losses);
    let may_go_on = if losses.is_empty() && !arguments.consent.dry_run {
        true
    } else {
        arguments.consent.is_given(output, &plan)?
    };
    if !may_go_on {
        return Ok(());
    }
    for share in shares {
        let ext = [
            ("topic", ExtValue::Str(topic)),
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
    route(cluster, output, topic)
}

/// What a topic that is there has less of afterwards, broker by broker.
fn losses(known: &TopicRouteData, shares: &[Share], arguments: &CreateArguments) -> Vec<String> {
    let mut losses = Vec::new();
    for data in &known.queues {
        let broker = data.broker_name.as_str();
        let Some(share) = shares.iter().find(|share| share.master.name == broker) else {
            if arguments.queues.is_some() {
                losses.push(format!(
                    "{broker} keeps its {} queues, which --queues {} does not count",
                    data.write_queues,
                    arguments.queues.as_deref().unwrap_or_default()
                ));
            }
            continue;
        };
        losses.extend(losses_of_broker(data, share, arguments.perm));
    }
    losses
}

fn losses_of_broker(data: &QueueData, share: &Share, perm: u8) -> Vec<String> {
    let broker = &share.master.name;
    let mut losses = Vec::new();
    if share.read < data.read_queues {
        losses.push(format!(
            "{broker}: {} readable queues become {}; what is in the others, and was not read, is not read any more",
            data.read_queues, share.read
        ));
    }
    if share.write < data.write_queues {
        losses.push(format!("{broker}: {} writable queues become {}", data.write_queues, share.write));
    }
    if data.perm & !u32::from(perm) != 0 {
        losses.push(format!("{broker}: permission {} becomes {}", permission(data.perm), permission(perm.into())));
    }
    losses
}

fn plan_of_create(shares: &[Share], arguments: &CreateArguments, losses: &[String]) -> Plan {
    let perm = permission(arguments.perm.into());
    let fact =
        |share: &Share| json!({"broker": share.master.name, "read": share.read, "write": share.write, "perm": perm});
    let mut plan = Plan::default();
    let part = |Share { master, read, write }: &Share| {
        format!("{} with {read} readable and {write} writable queues", master.name)
    };
    let parts: Vec<String> = shares.iter().map(part).collect();
    plan.lines.push(format!("topic {}, {perm}, is on {}", arguments.topic, parts.join(", ")));
    plan.lines.extend(losses.iter().cloned());
    plan.facts.insert("topic".to_owned(), arguments.topic.as_str().into());
    plan.facts.insert("brokers".to_owned(), shares.iter().map(fact).collect());
    plan
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
    let topic = arguments.topic.as_str();
    if is_system_topic(topic) {
        return Err(AdminError::System { kind: "topic", name: topic.to_owned() });
    }
    let masters = cluster.masters(arguments.cluster.as_deref())?;
    let of_cluster = |name: &str| masters.iter().any(|master| master.name == name);
    let brokers: Vec<Master> = match cluster.route(topic) {
        Ok(route) => {
            let names = route.queues.iter().map(|data| data.broker_name.as_str()).filter(|name| of_cluster(name));
            names.filter_map(|name| masters.iter().find(|master| master.name == name).cloned()).collect()
        }
        Err(AdminError::NoTopic { .. }) => Vec::new(),
        Err(error) => return Err(error),
    };
    // With --yes also of a topic without a route: what brokers have of it that do not show it goes too.
    if brokers.is_empty() && !arguments.consent.yes {
        return Err(AdminError::NoTopic { topic: topic.to_owned() });
    }
    let plan = plan_of_delete(cluster, topic, &brokers)?;
    if !arguments.consent.is_given(output, &plan)? {
        return Ok(());
    }
    let name = ("topic", ExtValue::Str(topic));
    for master in masters {
        cluster.must(&master.address, "to delete the topic", RequestCode::DeleteTopicInBroker, &[name], &[])?;
    }
    let mut ext = vec![name];
    ext.extend(arguments.cluster.as_deref().map(|name| ("clusterName", ExtValue::Str(name))));
    cluster.tell_name_servers("to delete the topic", RequestCode::DeleteTopicInNamesrv, &ext)?;
    if brokers.is_empty() {
        return Err(AdminError::NothingDeleted { topic: topic.to_owned() });
    }
    output.done(&format!("topic {topic} is deleted"), &plan.facts);
    Ok(())
}

/// What goes with a topic, and who reads it now.
fn plan_of_delete(cluster: &mut Cluster, topic: &str, brokers: &[Master]) -> Result<Plan, AdminError> {
    let (mut messages, mut queues) = (0_i64, 0_u32);
    let mut groups = BTreeSet::new();
    for (master, queue) in if brokers.is_empty() { Vec::new() } else { cluster.queues(topic)? } {
        if !brokers.contains(&master) {
            continue;
        }
        let min = bound(cluster, &master, RequestCode::GetMinOffset, topic, queue)?;
        let max = bound(cluster, &master, RequestCode::GetMaxOffset, topic, queue)?;
        messages = messages.saturating_add(max.saturating_sub(min));
        queues = queues.saturating_add(1);
    }
    for master in brokers {
        groups.extend(readers(cluster, master, topic)?);
    }
    let names: Vec<&str> = brokers.iter().map(|master| master.name.as_str()).collect();
    let mut plan = Plan::default();
    plan.lines.push(format!(
        "topic {topic} is deleted with its {messages} messages in {queues} queues on {}",
        names.join(", ")
    ));
    for group in &groups {
        plan.lines.push(format!("group {group}, which has consumers online, reads it"));
    }
    plan.facts.insert("topic".to_owned(), topic.into());
    plan.facts.insert("brokers".to_owned(), names.into());
    plan.facts.insert("messages".to_owned(), messages.into());
    plan.facts.insert("groups_online".to_owned(), groups.into_iter().collect::<Vec<_>>().into());
    Ok(plan)
}

/// The groups that have offsets of a topic and members now.
fn readers(cluster: &mut Cluster, master: &Master, topic: &str) -> Result<Vec<String>, AdminError> {
    let ext = [("topic", ExtValue::Str(topic))];
    let answer = cluster.ask(&master.address, RequestCode::QueryTopicConsumeByWho, &ext, &[])?;
    if answer.code == ResponseCode::RequestCodeNotSupported.number() {
        return Ok(Vec::new());
    }
    if !answer.is_success() {
        return Err(AdminError::refused(master.address.clone(), "the groups of the topic", answer));
    }
    let list = serde_json::from_slice::<Value>(&answer.body)
        .map_err(|error| AdminError::Protocol { address: master.address.clone(), reason: error.to_string() })?;
    let groups = list.get("groupList").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let mut found = Vec::new();
    for group in groups {
        if !online(cluster, master, group)?.is_empty() {
            found.push(group.to_owned());
        }
    }
    Ok(found)
}

pub(crate) fn route(cluster: &mut Cluster, output: Output, topic: &str) -> Result<(), AdminError> {
    let route = cluster.route(topic)?;
    let mut rows = Vec::new();
    for data in &route.queues {
        let broker = route.brokers.iter().find(|broker| broker.broker_name == data.broker_name);
        let addresses = broker.map(|broker| broker.addresses.values().cloned().collect::<Vec<_>>().join(";"));
        rows.push(vec![
            data.broker_name.as_str().into(),
            data.read_queues.into(),
            data.write_queues.into(),
            permission(data.perm).into(),
            addresses.into(),
        ]);
    }
    output.values(&ROUTE, &rows);
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
        rows.push(vec![master.name.into(), queue.into(), min.into(), max.into(), max.saturating_sub(min).into()]);
    }
    output.values(&STATUS, &rows);
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

    const OUTPUT: Output = Output { json: true };
    const YES: Consent = Consent { yes: true, dry_run: false };
    const DRY_RUN: Consent = Consent { yes: false, dry_run: true };
    const NOBODY: Consent = Consent { yes: false, dry_run: false };

    fn broker(code: RequestCode) -> Option<fake::Answer> {
        match code {
            RequestCode::DeleteTopicInBroker
            | RequestCode::DeleteTopicInNamesrv
            | RequestCode::UpdateAndCreateTopic => success(""),
            RequestCode::GetMinOffset | RequestCode::GetMaxOffset => {
                Some((ResponseCode::Success, Some(("offset", "4")), String::new()))
            }
            RequestCode::QueryTopicConsumeByWho => success(r#"{"groupList":["G","H"]}"#),
            RequestCode::GetConsumerListByGroup => fake::refusal(ResponseCode::SystemError),
            _ => None,
        }
    }

    #[test]
    fn a_topic_that_was_not_there_is_not_deleted() {
        let (mut cluster, seen) = fake::cluster(|code, _| broker(code));
        let of = |topic: &str, consent| DeleteArguments { topic: topic.to_owned(), cluster: None, consent };
        let deleted =
            || seen.lock().expect("nobody panics").iter().filter(|request| request.starts_with("Delete")).count();
        assert!(matches!(delete(&mut cluster, OUTPUT, &of("nope", NOBODY)), Err(AdminError::NoTopic { .. })));
        assert!(matches!(delete(&mut cluster, OUTPUT, &of("nope", DRY_RUN)), Err(AdminError::NoTopic { .. })));
        assert!(matches!(delete(&mut cluster, OUTPUT, &of("rmq_sys_x", YES)), Err(AdminError::System { .. })));
        assert_eq!(deleted(), 0);
        assert!(matches!(delete(&mut cluster, OUTPUT, &of("nope", YES)), Err(AdminError::NothingDeleted { .. })));
        assert_eq!(deleted(), 2);
        assert!(matches!(delete(&mut cluster, OUTPUT, &of("T", NOBODY)), Err(AdminError::NeedsYes { .. })));
        delete(&mut cluster, OUTPUT, &of("T", DRY_RUN)).expect("it says what would be done");
        assert_eq!(deleted(), 2);
        delete(&mut cluster, OUTPUT, &of("T", YES)).expect("it was there");
        assert_eq!(deleted(), 4);
    }

    #[test]
    fn who_reads_a_topic_is_said_before_it_is_deleted() {
        let (mut cluster, _) = fake::cluster(|code, header| match code {
            RequestCode::GetConsumerListByGroup if header.ext.get("consumerGroup") == Some("H") => {
                success(r#"{"consumerIdList":["c"]}"#)
            }
            code => broker(code),
        });
        let masters = cluster.masters(None).expect("one");
        let plan = plan_of_delete(&mut cluster, "T", &masters).expect("it answers");
        assert_eq!(plan.lines.len(), 2, "{plan:?}");
        assert_eq!(
            Value::Object(plan.facts),
            json!({"topic": "T", "brokers": ["broker-a"], "messages": 0, "groups_online": ["H"]})
        );
    }

    #[test]
    fn a_topic_loses_queues_only_if_somebody_agrees() {
        let (mut cluster, seen) = fake::cluster(|code, _| broker(code));
        let of = |queues: &str, perm, consent| CreateArguments {
            topic: "T".to_owned(),
            queues: Some(queues.to_owned()),
            read_queues: None,
            write_queues: None,
            cluster: None,
            broker: None,
            perm,
            consent,
        };
        let made =
            || seen.lock().expect("nobody panics").iter().filter(|request| request.starts_with("Update")).count();
        for smaller in [of("1", 6, NOBODY), of("2", 4, NOBODY)] {
            let refused = create(&mut cluster, OUTPUT, &smaller);
            assert!(matches!(refused, Err(AdminError::NeedsYes { .. })), "{refused:?}");
        }
        create(&mut cluster, OUTPUT, &of("3", 6, DRY_RUN)).expect("it says what would be done");
        assert_eq!(made(), 0);
        create(&mut cluster, OUTPUT, &of("1", 6, YES)).expect("it is agreed to");
        create(&mut cluster, OUTPUT, &of("3", 6, NOBODY)).expect("nothing is lost");
        assert_eq!(made(), 2);
    }

    #[test]
    fn whose_a_topic_is() {
        let own = ["C", "broker-a"].map(str::to_owned).into();
        for (topic, kind) in [
            ("orders", Kind::User),
            ("X_REPLY_TOPIC", Kind::User),
            ("C_REPLY_TOPIC", Kind::System),
            ("C", Kind::System),
            ("TBW102", Kind::System),
            ("rmq_sys_REVIVE_LOG_C", Kind::System),
            ("%RETRY%g", Kind::Retry),
            ("%DLQ%g", Kind::DeadLetter),
        ] {
            assert_eq!(Kind::of(topic, &own), kind, "{topic}");
        }
    }
}
