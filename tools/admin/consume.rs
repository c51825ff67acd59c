//! Reads a topic as a group, going where the route leads: to a master, or to its slave while the master is gone.

use std::collections::BTreeMap;
use std::time::Duration;

use clap::Args;
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::record::Check;
use ringmq_protocol::record::RecordView;
use ringmq_protocol::reply::ExtValue;

use crate::output::Output;
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
    /// End after so many messages. Default: read on until Ctrl-C.
    #[arg(long)]
    count: Option<u64>,
}

/// Between two looks at queues that had nothing new.
const LOOK_EVERY: Duration = Duration::from_millis(200);
const MESSAGES_MAX: i64 = 32;
/// `PullSysFlag`: the request brings its subscription.
const FLAG_SUBSCRIPTION: i64 = 4;
const FOUND: i32 = 0;

/// A queue by its broker's name and number: its master and its slave have the same messages.
type Queue = (String, u32);

pub(crate) fn consume(cluster: &mut Cluster, output: Output, arguments: &ConsumeArguments) -> Result<(), AdminError> {
    let mut next: BTreeMap<Queue, i64> = BTreeMap::new();
    let mut left = arguments.count.unwrap_or(u64::MAX);
    cluster.queues(&arguments.topic)?;
    while left > 0 {
        let before = left;
        // Whoever is gone now comes back, or its slave is in the next route.
        for (broker, queue) in cluster.queues(&arguments.topic).unwrap_or_default() {
            let found = read(cluster, output, arguments, (&broker, queue), left, &mut next).unwrap_or(0);
            left = left.saturating_sub(found);
        }
        if left == before {
            wait();
        }
    }
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "a tool with one thread may block it")]
fn wait() {
    std::thread::sleep(LOOK_EVERY);
}

/// Prints what is new in a queue, `messages_max` of it, and commits it; how many messages that was.
fn read(
    cluster: &mut Cluster,
    output: Output,
    arguments: &ConsumeArguments,
    (broker, queue): (&Master, u32),
    messages_max: u64,
    next: &mut BTreeMap<Queue, i64>,
) -> Result<u64, AdminError> {
    if messages_max == 0 {
        return Ok(0);
    }
    let key = (broker.name.clone(), queue);
    let (topic, group) =
        (("topic", ExtValue::Str(&arguments.topic)), ("consumerGroup", ExtValue::Str(&arguments.group)));
    let queue_id = ("queueId", ExtValue::I64(queue.into()));
    let from = match next.get(&key) {
        Some(from) => *from,
        None => {
            let answer =
                cluster.ask(&broker.address, RequestCode::QueryConsumerOffset, &[topic, group, queue_id], &[])?;
            answer.number("offset").unwrap_or(0)
        }
    };
    let pull = [
        topic,
        group,
        queue_id,
        ("queueOffset", ExtValue::I64(from)),
        ("maxMsgNums", ExtValue::I64(i64::try_from(messages_max).unwrap_or(MESSAGES_MAX).min(MESSAGES_MAX))),
        ("sysFlag", ExtValue::I64(FLAG_SUBSCRIPTION)),
        ("commitOffset", ExtValue::I64(0)),
        ("suspendTimeoutMillis", ExtValue::I64(0)),
        ("subscription", ExtValue::Str("*")),
        ("subVersion", ExtValue::I64(0)),
        ("expressionType", ExtValue::Str("TAG")),
    ];
    let answer = cluster.ask(&broker.address, RequestCode::PullMessage, &pull, &[])?;
    let after = answer.number("nextBeginOffset").unwrap_or(from);
    if answer.code != FOUND {
        // The group was reset, or what it was to read is deleted.
        let is_moved = answer.code == ResponseCode::PullOffsetMoved.number();
        next.insert(key, if is_moved { after } else { from });
        return Ok(0);
    }
    let (mut count, mut rest) = (0, &answer.body[..]);
    while let Ok(record) = RecordView::decode(rest, None, Check::Shape) {
        let body = String::from_utf8_lossy(record.body);
        let offset = record.queue_offset;
        output.done(&format!("{} {queue} {offset} from {}: {body}", broker.name, broker.address));
        count += 1;
        let size = usize::try_from(record.size).unwrap_or(usize::MAX);
        rest = rest.get(size..).unwrap_or_default();
    }
    next.insert(key, after);
    let commit = [topic, group, queue_id, ("commitOffset", ExtValue::I64(after))];
    cluster.must(&broker.address, "an offset", RequestCode::UpdateConsumerOffset, &commit, &[])?;
    Ok(count)
}
