//! Consumer offsets of one group in one topic.

use std::collections::BTreeMap;

use clap::Args;
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::reply::ExtValue;
use serde_json::{Value, json};

use crate::consent::{Consent, Plan};
use crate::group::{check_known, online};
use crate::output::{Column, Output};
use crate::time;
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
    /// earliest, latest, or the first message stored then or later.
    #[arg(long, short = 's', value_name = "WHERE", help = where_help(), allow_hyphen_values = true)]
    to: String,
    #[command(flatten)]
    consent: Consent,
}

fn where_help() -> String {
    format!("earliest, latest, or a time, whose first message it is then: {}", time::FORMS)
}

pub(crate) const GET: [Column<'static>; 4] =
    [("BROKER", "broker"), ("QUEUE", "queue"), ("OFFSET", "offset"), ("MAX OFFSET", "max_offset")];

pub(crate) fn get(cluster: &mut Cluster, output: Output, arguments: &Arguments) -> Result<(), AdminError> {
    let mut rows: Vec<Vec<Value>> = Vec::new();
    let mut has_read = false;
    for (master, queue) in cluster.queues(&arguments.topic)? {
        let offset = committed(cluster, &master, arguments, queue)?;
        has_read |= offset.is_some();
        let max = bound(cluster, &master, RequestCode::GetMaxOffset, &arguments.topic, queue)?;
        rows.push(vec![master.name.into(), queue.into(), offset.into(), max.into()]);
    }
    if !has_read {
        check_known(cluster, &arguments.group)?;
    }
    output.values(&GET, &rows);
    Ok(())
}

/// Where a group stands in a queue; `None` if it has committed nothing.
fn committed(cluster: &mut Cluster, master: &Master, of: &Arguments, queue: u32) -> Result<Option<i64>, AdminError> {
    let ext = [
        ("consumerGroup", ExtValue::Str(&of.group)),
        ("topic", ExtValue::Str(&of.topic)),
        ("queueId", ExtValue::I64(queue.into())),
        ("setZeroIfNotFound", ExtValue::Bool(false)),
    ];
    let answer = cluster.ask(&master.address, RequestCode::QueryConsumerOffset, &ext, &[])?;
    match ResponseCode::try_from(answer.code) {
        Ok(ResponseCode::Success) => Ok(answer.number("offset")),
        Ok(ResponseCode::QueryNotFound) => Ok(None),
        _ => Err(AdminError::refused(master.address.clone(), "the offset of the group", answer)),
    }
}

/// What brokers take for a time: the next message to come.
const LATEST_MS: i64 = -1;

/// Where a group is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Earliest,
    Latest,
    /// The first message that was stored then or later, Unix ms.
    Time(i64),
}

impl Target {
    /// # Errors
    /// [`AdminError::Usage`].
    pub(crate) fn parse(text: &str) -> Result<Target, AdminError> {
        match text {
            "earliest" => Ok(Target::Earliest),
            "latest" => Ok(Target::Latest),
            text => time::parse(text, time::now_ms()).map(Target::Time).ok_or_else(|| {
                AdminError::Usage(format!("{text:?} is neither earliest, latest nor a time: write {}", time::FORMS))
            }),
        }
    }

    fn timestamp_ms(self) -> i64 {
        match self {
            Target::Earliest => 0,
            Target::Latest => LATEST_MS,
            Target::Time(time) => time,
        }
    }

    fn text(self) -> String {
        match self {
            Target::Earliest => "the earliest message".to_owned(),
            Target::Latest => "the next message to come".to_owned(),
            Target::Time(time) => format!("the first message stored at {} or later", time::text(time)),
        }
    }

    /// That place in a queue.
    pub(crate) fn offset(
        self,
        cluster: &mut Cluster,
        master: &Master,
        topic: &str,
        queue: u32,
    ) -> Result<i64, AdminError> {
        match self {
            Target::Earliest => bound(cluster, master, RequestCode::GetMinOffset, topic, queue),
            Target::Latest => bound(cluster, master, RequestCode::GetMaxOffset, topic, queue),
            Target::Time(time) => by_time(cluster, master, topic, queue, time),
        }
    }
}

pub(crate) fn reset(cluster: &mut Cluster, output: Output, arguments: &ResetArguments) -> Result<(), AdminError> {
    let of = &arguments.of;
    let target = Target::parse(&arguments.to)?;
    check_known(cluster, &of.group)?;
    let plan = plan_of_reset(cluster, of, target)?;
    if !arguments.consent.is_given(output, &plan)? {
        return Ok(());
    }
    let mut queues: BTreeMap<Master, Vec<u32>> = BTreeMap::new();
    for (master, queue) in cluster.queues(&of.topic)? {
        queues.entry(master).or_default().push(queue);
    }
    let mut left = Vec::new();
    for (master, queues) in queues {
        if !reset_at_broker(cluster, &master, of, target)? {
            refuse_online(cluster, &of.group, &master)?;
            left.push((master, queues));
        }
    }
    for (master, queues) in left {
        for queue in queues {
            commit(cluster, &master, of, target, queue)?;
        }
    }
    output.done(&format!("group {} goes on at {}", of.group, target.text()), &plan.facts);
    Ok(())
}

/// Where the group stands and where it goes, queue by queue.
fn plan_of_reset(cluster: &mut Cluster, of: &Arguments, target: Target) -> Result<Plan, AdminError> {
    let mut plan = Plan::default();
    plan.lines.push(format!("group {} goes in topic {} to {}", of.group, of.topic, target.text()));
    let mut queues = Vec::new();
    for (master, queue) in cluster.queues(&of.topic)? {
        let from = committed(cluster, &master, of, queue)?;
        let to = target.offset(cluster, &master, &of.topic, queue)?;
        let (name, number) = (master.name.as_str(), queue);
        plan.lines.push(match from {
            None => format!("{name} queue {number}: begins at {to}"),
            Some(from) if from < to => {
                format!("{name} queue {number}: {from} becomes {to}, {} messages are not read", to.saturating_sub(from))
            }
            Some(from) if from > to => {
                format!("{name} queue {number}: {from} becomes {to}, {} messages come again", from.saturating_sub(to))
            }
            Some(_) => format!("{name} queue {number}: stays at {to}"),
        });
        queues.push(json!({"broker": name, "queue": number, "offset": from, "new_offset": to}));
    }
    plan.facts.insert("group".to_owned(), of.group.as_str().into());
    plan.facts.insert("topic".to_owned(), of.topic.as_str().into());
    plan.facts.insert("queues".to_owned(), queues.into());
    Ok(plan)
}

/// Lets a broker move the group, whose consumers may be online: it holds the new offsets against what they commit, or tells them, as it is set to.
/// False if it cannot: it does not know the request (`RocketMQ` before 3.0.7, other brokers), or tells consumers and there is none.
fn reset_at_broker(cluster: &mut Cluster, master: &Master, of: &Arguments, target: Target) -> Result<bool, AdminError> {
    let ext = [
        ("topic", ExtValue::Str(&of.topic)),
        ("group", ExtValue::Str(&of.group)),
        ("timestamp", ExtValue::I64(target.timestamp_ms())),
        ("isForce", ExtValue::Bool(true)),
    ];
    let answer = cluster.ask(&master.address, RequestCode::InvokeBrokerToResetOffset, &ext, &[])?;
    match ResponseCode::try_from(answer.code) {
        Ok(ResponseCode::Success) => Ok(true),
        Ok(ResponseCode::RequestCodeNotSupported | ResponseCode::ConsumerNotOnline) => Ok(false),
        _ => Err(AdminError::refused(master.address.clone(), "to reset the offsets", answer)),
    }
}

/// Commits the new offset of a queue as a consumer would.
fn commit(
    cluster: &mut Cluster,
    master: &Master,
    of: &Arguments,
    target: Target,
    queue: u32,
) -> Result<(), AdminError> {
    let offset = target.offset(cluster, master, &of.topic, queue)?;
    let ext = [
        ("consumerGroup", ExtValue::Str(&of.group)),
        ("topic", ExtValue::Str(&of.topic)),
        ("queueId", ExtValue::I64(queue.into())),
        ("commitOffset", ExtValue::I64(offset)),
    ];
    cluster.must(&master.address, "the offset", RequestCode::UpdateConsumerOffset, &ext, &[])?;
    Ok(())
}

fn by_time(cluster: &mut Cluster, master: &Master, topic: &str, queue: u32, time: i64) -> Result<i64, AdminError> {
    let ext = [
        ("topic", ExtValue::Str(topic)),
        ("queueId", ExtValue::I64(queue.into())),
        ("timestamp", ExtValue::I64(time)),
        ("boundaryType", ExtValue::Str("LOWER")),
    ];
    let answer = cluster.must(&master.address, "an offset by time", RequestCode::SearchOffsetByTimestamp, &ext, &[])?;
    answer.number("offset").ok_or_else(|| AdminError::Protocol {
        address: master.address.clone(),
        reason: "the answer has no offset".to_owned(),
    })
}

/// Consumers commit every 5 s what they hold in memory: a commit under their feet would not last.
fn refuse_online(cluster: &mut Cluster, group: &str, master: &Master) -> Result<(), AdminError> {
    if online(cluster, master, group)?.is_empty() {
        return Ok(());
    }
    Err(AdminError::Online { group: group.to_owned(), address: master.address.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Answer, refusal, success};

    const OUTPUT: Output = Output { json: true };

    fn moved(group: &str, to: &str) -> ResetArguments {
        let of = Arguments { group: group.to_owned(), topic: "T".to_owned() };
        ResetArguments { of, to: to.to_owned(), consent: Consent { yes: true, dry_run: false } }
    }

    /// A broker with group G, which stands at 3 of 4 to 9.
    fn offsets(code: RequestCode) -> Option<Answer> {
        let offset = |offset| Some((ResponseCode::Success, Some(("offset", offset)), String::new()));
        match code {
            RequestCode::GetAllSubscriptiongroupConfig => {
                success(r#"{"subscriptionGroupTable":{"G":{"groupName":"G"}}}"#)
            }
            RequestCode::QueryConsumerOffset => offset("3"),
            RequestCode::GetMinOffset => offset("4"),
            RequestCode::GetMaxOffset | RequestCode::SearchOffsetByTimestamp => offset("9"),
            RequestCode::GetConsumerListByGroup => refusal(ResponseCode::SystemError),
            RequestCode::UpdateConsumerOffset => success(""),
            _ => None,
        }
    }

    #[test]
    fn a_broker_that_can_moves_a_group_whose_consumers_are_online() {
        let (mut cluster, seen) = fake::cluster(|code, _| match code {
            RequestCode::InvokeBrokerToResetOffset => success(""),
            code => offsets(code),
        });
        for to in ["latest", "earliest", "1795000000000"] {
            reset(&mut cluster, OUTPUT, &moved("G", to)).expect("it is moved");
        }
        let seen = seen.lock().expect("nobody panics");
        let asked: Vec<&String> = seen.iter().filter(|request| request.contains("ResetOffset")).collect();
        let expected = ["-1", "0", "1795000000000"]
            .map(|time| format!("InvokeBrokerToResetOffset group=G isForce=true timestamp={time} topic=T"));
        assert_eq!(asked, expected.iter().collect::<Vec<_>>());
        assert!(!seen.iter().any(|request| request.starts_with("UpdateConsumerOffset")), "{seen:?}");
    }

    #[test]
    fn where_no_broker_can_a_group_is_moved_by_commits_if_it_is_not_online() {
        let (mut cluster, seen) = fake::cluster(|code, _| offsets(code));
        reset(&mut cluster, OUTPUT, &moved("G", "earliest")).expect("it is moved");
        let seen = seen.lock().expect("nobody panics");
        for queue in 0..2 {
            let commit = format!("UpdateConsumerOffset commitOffset=4 consumerGroup=G queueId={queue} topic=T");
            assert!(seen.contains(&commit), "{seen:?}");
        }
        let (mut cluster, seen) = fake::cluster(|code, _| match code {
            RequestCode::GetConsumerListByGroup => success(r#"{"consumerIdList":["c"]}"#),
            code => offsets(code),
        });
        let refused = reset(&mut cluster, OUTPUT, &moved("G", "earliest"));
        assert!(matches!(refused, Err(AdminError::Online { .. })), "{refused:?}");
        let seen = seen.lock().expect("nobody panics");
        assert!(!seen.iter().any(|request| request.starts_with("UpdateConsumerOffset")), "{seen:?}");
    }

    #[test]
    fn a_group_that_nobody_knows_is_named() {
        let (mut cluster, _) = fake::cluster(|code, _| match code {
            RequestCode::QueryConsumerOffset => refusal(ResponseCode::QueryNotFound),
            code => offsets(code),
        });
        let of = |group: &str| Arguments { group: group.to_owned(), topic: "T".to_owned() };
        assert!(matches!(get(&mut cluster, OUTPUT, &of("nope")), Err(AdminError::NoGroup { .. })));
        assert!(matches!(reset(&mut cluster, OUTPUT, &moved("nope", "latest")), Err(AdminError::NoGroup { .. })));
        get(&mut cluster, OUTPUT, &of("G")).expect("it is there and has not read");
    }

    #[test]
    fn where_to_is_a_word_or_a_time() {
        assert_eq!(Target::parse("12").expect("a time"), Target::Time(12));
        assert_eq!(Target::parse("2026-11-30#12:00:00:000").expect("a time"), Target::Time(1_796_040_000_000));
        for wrong in ["-1", "soon", ""] {
            assert!(matches!(Target::parse(wrong), Err(AdminError::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn nothing_moves_before_somebody_has_seen_where_to() {
        let (mut cluster, seen) = fake::cluster(|code, _| offsets(code));
        let asked = |consent| ResetArguments { consent, ..moved("G", "latest") };
        let refused =
            reset(&mut cluster, OUTPUT, &asked(Consent::default())).expect_err("nobody was asked").to_string();
        assert!(refused.contains("broker-a queue 1: 3 becomes 9, 6 messages are not read"), "{refused}");
        reset(&mut cluster, OUTPUT, &asked(Consent { yes: false, dry_run: true })).expect("it says where to");
        let seen = seen.lock().expect("nobody panics");
        assert!(!seen.iter().any(|request| request.contains("Reset") || request.starts_with("Update")), "{seen:?}");
    }
}
