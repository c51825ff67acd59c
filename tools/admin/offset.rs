//! Consumer offsets of one group in one topic.

use std::collections::BTreeMap;

use clap::Args;
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::reply::ExtValue;

use crate::group::check_known;
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
    let mut has_read = false;
    for (master, queue) in cluster.queues(&arguments.topic)? {
        let ext = [
            ("consumerGroup", ExtValue::Str(&arguments.group)),
            ("topic", ExtValue::Str(&arguments.topic)),
            ("queueId", ExtValue::I64(queue.into())),
            ("setZeroIfNotFound", ExtValue::Bool(false)),
        ];
        let answer = cluster.ask(&master.address, RequestCode::QueryConsumerOffset, &ext, &[])?;
        let offset = match answer.number("offset") {
            Some(offset) if answer.is_success() => {
                has_read = true;
                offset.to_string()
            }
            _ => "-".to_owned(),
        };
        let max = bound(cluster, &master, RequestCode::GetMaxOffset, &arguments.topic, queue)?;
        rows.push(vec![master.name, queue.to_string(), offset, max.to_string()]);
    }
    if !has_read {
        check_known(cluster, &arguments.group)?;
    }
    output.table(&["BROKER", "QUEUE", "OFFSET", "MAX OFFSET"], &rows);
    Ok(())
}

/// What brokers take for a time: the next message to come.
const LATEST_MS: i64 = -1;

/// Where a group is to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Earliest,
    Latest,
    /// The first message that was stored then or later.
    Time(i64),
}

impl Target {
    fn parse(text: &str) -> Result<Target, AdminError> {
        match text {
            "earliest" => Ok(Target::Earliest),
            "latest" => Ok(Target::Latest),
            time => time.parse().ok().filter(|time| *time >= 0).map(Target::Time).ok_or_else(|| {
                AdminError::Usage(format!("--to {time} is neither earliest, latest nor a time in Unix milliseconds"))
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
}

pub(crate) fn reset(cluster: &mut Cluster, output: Output, arguments: &ResetArguments) -> Result<(), AdminError> {
    let of = &arguments.of;
    let target = Target::parse(&arguments.to)?;
    check_known(cluster, &of.group)?;
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
    get(cluster, output, of)
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
    let offset = match target {
        Target::Earliest => bound(cluster, master, RequestCode::GetMinOffset, &of.topic, queue)?,
        Target::Latest => bound(cluster, master, RequestCode::GetMaxOffset, &of.topic, queue)?,
        Target::Time(time) => by_time(cluster, master, &of.topic, queue, time)?,
    };
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
    Ok(answer.number("offset").unwrap_or(0))
}

/// Consumers commit every 5 s what they hold in memory: a commit under their feet would not last.
fn refuse_online(cluster: &mut Cluster, group: &str, master: &Master) -> Result<(), AdminError> {
    let ext = [("consumerGroup", ExtValue::Str(group))];
    let answer = cluster.ask(&master.address, RequestCode::GetConsumerListByGroup, &ext, &[])?;
    if answer.is_success() {
        return Err(AdminError::Online { group: group.to_owned(), address: master.address.clone() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, Answer, refusal, success};

    const OUTPUT: Output = Output { json: true };

    fn moved(group: &str, to: &str) -> ResetArguments {
        let of = Arguments { group: group.to_owned(), topic: "T".to_owned() };
        ResetArguments { of, to: to.to_owned() }
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
            RequestCode::GetMaxOffset => offset("9"),
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
        for wrong in ["-1", "now", ""] {
            assert!(matches!(Target::parse(wrong), Err(AdminError::Usage(_))), "{wrong}");
        }
    }
}
