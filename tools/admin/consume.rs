//! Reads a topic as a group, going where the route leads: to a master, or to its slave while the master is gone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use clap::Args;
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::exchange::Response;
use ringmq_protocol::reply::ExtValue;

use crate::offset::Target;
use crate::output::Output;
use crate::record::{is_from, messages, print};
use crate::topic::bound;
use crate::wire::{AdminError, Cluster, Master};

/// What `consume` is told.
#[derive(Args)]
pub(crate) struct ConsumeArguments {
    /// The topic.
    #[arg(short = 't', long)]
    topic: String,
    /// The group, whose offsets are kept by the brokers.
    #[arg(short = 'g', long, default_value = "ringmq-admin")]
    group: String,
    /// Where to begin: earliest, latest or a time. Default: where the group stands, or at the beginning.
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    from: Option<String>,
    /// Commit what was read, so that the group goes on behind it. Without this the group stays where it is.
    #[arg(long)]
    commit: bool,
    /// End after so many messages. Default: read on until Ctrl-C.
    #[arg(long)]
    count: Option<u64>,
}

/// Between two looks at queues that had nothing new.
const LOOK_EVERY: Duration = Duration::from_millis(200);
pub(crate) const MESSAGES_MAX: u64 = 32;
/// `PullSysFlag`: the request brings its subscription.
const FLAG_SUBSCRIPTION: i64 = 4;
pub(crate) const FOUND: i32 = 0;

/// A queue by its broker's name and number: its master and its slave have the same messages.
type Queue = (String, u32);

/// What is known of the queues so far.
#[derive(Default)]
struct Reading {
    next: BTreeMap<Queue, i64>,
    /// Brokers that could not be read the last time.
    failing: BTreeSet<String>,
    /// Where the queues are could not be asked the last time.
    is_lost: bool,
}

pub(crate) fn consume(cluster: &mut Cluster, output: Output, arguments: &ConsumeArguments) -> Result<(), AdminError> {
    let from = arguments.from.as_deref().map(Target::parse).transpose()?;
    let mut reading = Reading::default();
    let mut left = arguments.count.unwrap_or(u64::MAX);
    cluster.queues(&arguments.topic)?;
    while left > 0 {
        let before = left;
        // Whoever is gone now comes back, or its slave is in the next route.
        let queues = cluster.queues(&arguments.topic);
        match &queues {
            Ok(_) => reading.is_lost = false,
            Err(error) if !reading.is_lost => {
                reading.is_lost = true;
                output.warn(&error.to_string());
            }
            Err(_) => {}
        }
        for (broker, queue) in queues.unwrap_or_default() {
            if left == 0 {
                break;
            }
            match read(cluster, output, arguments, from, (&broker, queue), left, &mut reading.next) {
                Ok(found) => {
                    left = left.saturating_sub(found);
                    reading.failing.remove(&broker.address);
                }
                // Said once: it may come back. What is wrong with the group or the topic stays so.
                Err(error @ (AdminError::Io { .. } | AdminError::Unread { .. })) if !error.is_lasting() => {
                    if reading.failing.insert(broker.address.clone()) {
                        output.warn(&error.to_string());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        if left == before {
            wait();
        }
    }
    if !arguments.commit {
        output.note(&format!("group {} is where it was: --commit lets it go on behind what was read", arguments.group));
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a tool with one thread may block it")]
fn wait() {
    std::thread::sleep(LOOK_EVERY);
}

/// Prints what is new in a queue, `messages_max` of it, and commits it if that is wanted; how many messages that was.
fn read(
    cluster: &mut Cluster,
    output: Output,
    arguments: &ConsumeArguments,
    target: Option<Target>,
    (broker, queue): (&Master, u32),
    messages_max: u64,
    next: &mut BTreeMap<Queue, i64>,
) -> Result<u64, AdminError> {
    let key = (broker.name.clone(), queue);
    let (topic, group) =
        (("topic", ExtValue::Str(&arguments.topic)), ("consumerGroup", ExtValue::Str(&arguments.group)));
    let queue_id = ("queueId", ExtValue::I64(queue.into()));
    let from = match (next.get(&key), target) {
        (Some(from), _) => *from,
        (None, Some(target)) => target.offset(cluster, broker, &arguments.topic, queue)?,
        (None, None) => {
            let answer =
                cluster.ask(&broker.address, RequestCode::QueryConsumerOffset, &[topic, group, queue_id], &[])?;
            match answer.number("offset") {
                Some(offset) if answer.is_success() => offset,
                _ => bound(cluster, broker, RequestCode::GetMinOffset, &arguments.topic, queue)?,
            }
        }
    };
    let of = PullOf { topic: &arguments.topic, group: &arguments.group, queue };
    let answer = pull(cluster, broker, of, from, messages_max)?;
    let after = answer.number("nextBeginOffset").unwrap_or(from);
    if answer.code != FOUND {
        // The group was reset, or what it was to read is deleted.
        let is_moved = answer.code == ResponseCode::PullOffsetMoved.number();
        next.insert(key, if is_moved { after } else { from });
        return Ok(0);
    }
    let mut count = 0;
    // A batch is shown to its end, since the group goes on behind it.
    for message in messages(&answer.body).filter(|message| is_from(message, from)) {
        print(output, &broker.name, &broker.address, &message);
        count += 1;
    }
    next.insert(key, after);
    if arguments.commit {
        let commit = [topic, group, queue_id, ("commitOffset", ExtValue::I64(after))];
        cluster.must(&broker.address, "an offset", RequestCode::UpdateConsumerOffset, &commit, &[])?;
    }
    Ok(count)
}

/// Of which queue, and for whom.
#[derive(Clone, Copy)]
pub(crate) struct PullOf<'a> {
    pub(crate) topic: &'a str,
    pub(crate) group: &'a str,
    pub(crate) queue: u32,
}

/// What is in a queue from an offset on, and moves no group. Code 0 found something; nothing new and an offset that moved are answers as well.
///
/// # Errors
/// [`AdminError::Unread`], if the broker refuses.
pub(crate) fn pull(
    cluster: &mut Cluster,
    broker: &Master,
    of: PullOf<'_>,
    from: i64,
    messages_max: u64,
) -> Result<Response, AdminError> {
    let count = i64::try_from(messages_max.min(MESSAGES_MAX)).unwrap_or_default();
    let ext = [
        ("topic", ExtValue::Str(of.topic)),
        ("consumerGroup", ExtValue::Str(of.group)),
        ("queueId", ExtValue::I64(of.queue.into())),
        ("queueOffset", ExtValue::I64(from)),
        ("maxMsgNums", ExtValue::I64(count)),
        ("sysFlag", ExtValue::I64(FLAG_SUBSCRIPTION)),
        ("commitOffset", ExtValue::I64(0)),
        ("suspendTimeoutMillis", ExtValue::I64(0)),
        ("subscription", ExtValue::Str("*")),
        ("subVersion", ExtValue::I64(0)),
        ("expressionType", ExtValue::Str("TAG")),
    ];
    let answer = cluster.ask(&broker.address, RequestCode::PullMessage, &ext, &[])?;
    match ResponseCode::try_from(answer.code) {
        Ok(
            ResponseCode::Success
            | ResponseCode::PullNotFound
            | ResponseCode::PullRetryImmediately
            | ResponseCode::PullOffsetMoved,
        ) => Ok(answer),
        _ => Err(AdminError::Unread { address: broker.address.clone(), code: answer.code, remark: answer.remark }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn what_is_wrong_with_the_group_is_not_waited_for() {
        let (mut cluster, _seen) = fake::cluster(|code, _| match code {
            RequestCode::QueryConsumerOffset => Some((ResponseCode::Success, Some(("offset", "3")), String::new())),
            RequestCode::PullMessage => Some((ResponseCode::SubscriptionGroupNotExist, None, String::new())),
            _ => None,
        });
        let arguments = ConsumeArguments {
            topic: "T".to_owned(),
            group: "bad group".to_owned(),
            from: None,
            commit: false,
            count: Some(1),
        };
        let ended = consume(&mut cluster, Output { json: true }, &arguments);
        assert!(matches!(ended, Err(AdminError::Unread { code: 26, .. })), "{ended:?}");
    }

    #[test]
    fn a_group_moves_only_if_that_is_wanted() {
        for commit in [false, true] {
            let (mut cluster, seen) = fake::cluster(|code, _| match code {
                RequestCode::QueryConsumerOffset => Some((ResponseCode::Success, Some(("offset", "3")), String::new())),
                RequestCode::PullMessage => {
                    Some((ResponseCode::Success, Some(("nextBeginOffset", "9")), String::new()))
                }
                RequestCode::UpdateConsumerOffset => fake::success(""),
                _ => None,
            });
            let arguments =
                ConsumeArguments { topic: "T".to_owned(), group: "G".to_owned(), from: None, commit, count: Some(1) };
            let broker = cluster.masters(None).expect("one").remove(0);
            let output = Output { json: true };
            read(&mut cluster, output, &arguments, None, (&broker, 0), 1, &mut BTreeMap::new()).expect("it answers");
            let seen = seen.lock().expect("nobody panics");
            assert_eq!(seen.iter().any(|request| request.starts_with("UpdateConsumerOffset")), commit, "{seen:?}");
            assert!(seen.iter().any(|request| request.contains("queueOffset=3")), "{seen:?}");
        }
    }
}
