//! What a message is made of besides its body: properties, flags, ids, batches, names, and Java's hash.

mod batch;
mod delay;
mod id;
mod light;
mod name;
mod pop;
mod properties;
mod recall;
mod timer;
mod transaction;

pub use batch::{BatchedMessage, append_batched, split_batch};
pub use delay::{DelayLevels, SCHEDULE_TOPIC, queue_of_level};
pub use id::{IdText, MessageId, UniqueKey};
pub use light::{LIGHT_QUEUE, allows_light, awaited_light, is_light, light_places, light_queues, may_await_light};
pub use name::{
    NameError, check_group, check_topic, dlq_topic, group_of_retry_topic, is_dlq_topic, is_retry_topic,
    is_system_topic, retry_topic,
};
pub use pop::{
    GivenHandle, ORDER_REVIVE_QUEUE, PopHandle, PopNote, PopOrigin, PopPlace, PopTime, REVIVE_GROUP, is_revive_topic,
    pop_retry_topic, revive_topic,
};
pub use properties::{Properties, append_property, keys, set_property, text_pairs, without_property};
pub use recall::RecallHandle;
pub use timer::{WHEEL_TOPIC, WheelCode, recall_key};
pub use transaction::{CHECK_MAX_TOPIC, HALF_TOPIC, OP_TAG, OP_TOPIC, TRANSACTION_GROUP, append_ended, ended};

/// Names of properties that the broker reads or writes. Source: RocketMQ `MessageConst`.
pub mod property {
    /// Keys to find a message by, separated by spaces.
    pub const KEYS: &str = "KEYS";
    /// The message's one tag.
    pub const TAGS: &str = "TAGS";
    /// `false`: the producer does not wait for flush and replicas.
    pub const WAIT: &str = "WAIT";
    /// Delay level, 1..=18.
    pub const DELAY: &str = "DELAY";
    /// Topic of a message before it was put up for another try.
    pub const RETRY_TOPIC: &str = "RETRY_TOPIC";
    /// Topic that a delayed or half message is meant for.
    pub const REAL_TOPIC: &str = "REAL_TOPIC";
    /// Queue that a delayed or half message is meant for.
    pub const REAL_QUEUE_ID: &str = "REAL_QID";
    /// `true`: a half message.
    pub const TRANSACTION_PREPARED: &str = "TRAN_MSG";
    /// The group of a half message's producer, which is asked how the transaction ends.
    pub const PRODUCER_GROUP: &str = "PGROUP";
    /// The unique key of a half message, as the transaction's id.
    pub const TRANSACTION_ID: &str = "__transactionId__";
    /// How often a half message's producers were asked.
    pub const TRANSACTION_CHECK_TIMES: &str = "TRANSACTION_CHECK_TIMES";
    /// Seconds before which the producers of a half message are not asked.
    pub const CHECK_IMMUNITY_SEC: &str = "CHECK_IMMUNITY_TIME_IN_SECONDS";
    /// Where a half message that was put back lay at first.
    pub const PREPARED_QUEUE_OFFSET: &str = "TRAN_PREPARED_QUEUE_OFFSET";
    /// The client's own id of the message.
    pub const UNIQUE_KEY: &str = "UNIQ_KEY";
    /// Id of the first message of a chain of tries.
    pub const ORIGIN_MESSAGE_ID: &str = "ORIGIN_MESSAGE_ID";
    /// Region of the broker, for traces.
    pub const MSG_REGION: &str = "MSG_REGION";
    /// Whether clients trace.
    pub const TRACE_ON: &str = "TRACE_ON";
    /// Name of the cluster that stored the message; request and reply need it.
    pub const CLUSTER: &str = "CLUSTER";
    /// Client that waits for a reply; with it whoever replies names the requester.
    pub const REPLY_TO_CLIENT: &str = "REPLY_TO_CLIENT";
    /// When the broker pushed a reply, Unix ms.
    pub const PUSH_REPLY_TIME: &str = "PUSH_REPLY_TIME";
    /// Receipt handle of a popped message.
    pub const POP_CK: &str = "POP_CK";
    /// When a message that is tried again was popped at first, Unix ms.
    pub const FIRST_POP_TIME: &str = "1ST_POP_TIME";
    /// CRC-32 of the record; always the last property.
    pub const CRC32: &str = "__CRC32#";
    /// Arbitrary delay, in seconds.
    pub const TIMER_DELAY_SEC: &str = "TIMER_DELAY_SEC";
    /// Arbitrary delay, in milliseconds.
    pub const TIMER_DELAY_MS: &str = "TIMER_DELAY_MS";
    /// Arbitrary delay, as the time of delivery, Unix ms.
    pub const TIMER_DELIVER_MS: &str = "TIMER_DELIVER_MS";
    /// Of a timer message: the time of delivery in whole steps of `timerPrecisionMs`, Unix ms. It comes at the end of that step.
    pub const TIMER_OUT_MS: &str = "TIMER_OUT_MS";
    /// When a timer message that was delivered began to wait, Unix ms.
    pub const TIMER_ENQUEUE_MS: &str = "TIMER_ENQUEUE_MS";
    /// When it was delivered, Unix ms.
    pub const TIMER_DEQUEUE_MS: &str = "TIMER_DEQUEUE_MS";
    /// The message recalls a timer message: `topic+UNIQ_KEY` of that one.
    pub const TIMER_DEL_UNIQKEY: &str = "TIMER_DEL_UNIQKEY";
    /// When a message was made, Unix ms, where a broker made it for a client.
    pub const BORN_TIMESTAMP: &str = "BORN_TIMESTAMP";
    /// Messages of an inner batch.
    pub const INNER_COUNT: &str = "INNER_NUM";
    /// Light queues that the message is to be in, commas between.
    pub const LIGHT_QUEUES: &str = "INNER_MULTI_DISPATCH";
    /// Its offset in each of them.
    pub const LIGHT_OFFSETS: &str = "INNER_MULTI_QUEUE_OFFSET";
    /// Queue offset of the first message of an inner batch.
    pub const INNER_BASE: &str = "INNER_BASE";
}

/// Bits of a record's `sysFlag`. Source: RocketMQ `MessageSysFlag`.
pub mod sys_flag {
    /// The message's topic takes several tags a message. Nobody matches them otherwise for that.
    pub(crate) const MULTI_TAGS: i32 = 1 << 1;
    /// Mask of the two bits that say a message's part in a transaction.
    pub const TRANSACTION_MASK: i32 = 3 << 2;
    /// A half message.
    pub const TRANSACTION_PREPARED: i32 = 1 << 2;
    /// A message whose transaction was committed.
    pub const TRANSACTION_COMMIT: i32 = 2 << 2;
    /// A half message whose transaction was rolled back.
    pub(crate) const TRANSACTION_ROLLBACK: i32 = 3 << 2;
    /// The producer's address has 16 bytes.
    pub const BORN_HOST_V6: i32 = 1 << 4;
    /// The broker's address has 16 bytes.
    pub const STORE_HOST_V6: i32 = 1 << 5;
    /// The body is a batch, which consumers take apart.
    pub const NEED_UNWRAP: i32 = 1 << 6;
    /// The body is a batch.
    pub const INNER_BATCH: i32 = 1 << 7;
}

/// Java's `String.hashCode`: over UTF-16 units, wrapping.
#[must_use]
pub fn java_hash(text: &str) -> i32 {
    let step = |hash: i32, unit: u16| hash.wrapping_mul(31).wrapping_add(i32::from(unit));
    if text.is_ascii() { text.bytes().map(u16::from).fold(0, step) } else { text.encode_utf16().fold(0, step) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_hashes_are_java_s() {
        let check = |text: &str, expected: i32| assert_eq!(java_hash(text), expected, "{text}");
        check("", 0);
        check("A", 65);
        check("TagA", 2_598_919);
        check("polygenelubricants", i32::MIN);
        check("\u{e4}", 228);
        check("\u{1F600}", 1_772_899);
    }
}
