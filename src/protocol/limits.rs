//! The bounds of ringmq by name, and the assertions that relate them; those that one place alone knows stand there.

mod controller;
mod replication;

pub use controller::*;
pub use replication::*;

/// Block size of the disk: every offset, length and buffer of direct I/O is a multiple of it.
///
/// The logical block size that the kernel reports is not trusted: it can name the wrong disk, and 4096 is a multiple of every
/// size in use.
pub const DISK_BLOCK_BYTES: usize = 4096;

/// Longest frame that is accepted or sent, its length field included. Source: RocketMQ `NettyDecoder`, 16 MiB.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Longest message body by default. Source: RocketMQ `MessageStoreConfig.maxMessageSize`.
pub(crate) const MESSAGE_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Longest header of a send that is kept as a template. One of a stock client has 350 to 500 bytes, properties of the user's included.
pub(crate) const SEND_TEMPLATE_BYTES_MAX: usize = 1024;

/// Sets of templates of a shard: the length of a header says which set it belongs to.
pub const SEND_TEMPLATE_SETS: usize = 64;

/// Templates of a set. With its mask, texts and properties one takes four times its header at most: 1 MiB a shard in all.
pub const SEND_TEMPLATE_WAYS: usize = 4;

const _: () = assert!(SEND_TEMPLATE_SETS * SEND_TEMPLATE_WAYS * SEND_TEMPLATE_BYTES_MAX * 4 <= 1024 * 1024);

/// Messages that may wait for the control plane. A shard sends a handful a second; a burst of topic creations fits.
pub const CONTROL_MAILBOX_MAX: usize = 1024;

/// Changes of topics and groups that are under way on a shard: told to the control plane, and not on the disk or not registered yet. Each is a few
/// milliseconds on its way, and each step of one looks at all.
pub const CHANGES_UNDER_WAY_MAX: usize = CONTROL_MAILBOX_MAX;

/// Messages that may wait for one shard.
pub const SHARD_MAILBOX_MAX: usize = 256;

/// Shards of one node. More than any machine has cores; bounds the table of ports and mailboxes.
pub const SHARDS_MAX: u16 = 512;

/// Smallest tail of a shard: two records of the default largest size, and room to write while one is read.
pub const TAIL_BYTES_MIN: usize = 8 * 1024 * 1024;

/// Characters of a value that somebody sent or wrote which a remark or a line of the log repeats.
pub(crate) const SHOWN_CHARS_MAX: usize = 100;

/// Broker names that a name server knows.
pub const ROUTE_BROKERS_MAX: usize = 16_384;

/// Brokers of one name beside its master, of whatever ids: a route tells all of them, some 50 B each.
pub const ROUTE_REPLICAS_MAX: usize = 256;

/// Of these, those that one host may register.
pub const ROUTE_REPLICAS_PER_HOST_MAX: usize = 32;

/// Topics that a name server knows.
pub const ROUTE_TOPICS_MAX: usize = 1_000_000;

/// Topics that a name server knows, each counted once for each broker that has it; some 100 B each.
pub const ROUTE_ENTRIES_MAX: usize = 4_000_000;

/// Brokers that one connection may register: one is usual, a container of brokers has a few.
pub const ROUTE_BROKERS_PER_CONNECTION_MAX: usize = 64;

/// Topics of brokers that one connection may add.
pub const ROUTE_ENTRIES_PER_CONNECTION_MAX: usize = 500_000;

/// Connections that are remembered to stand for one broker: a broker that comes back before its old connection is known to be gone has two.
pub const ROUTE_REGISTRANTS_MAX: usize = 8;

/// The longest that a broker may ask to be silent, whatever it asks. Stock brokers ask for 10 s or 120 s.
pub const ROUTE_LEASE_MS_MAX: u64 = 600_000;

/// Longest name of a cluster, a broker, a topic, and longest address, in a registration.
pub const ROUTE_NAME_BYTES_MAX: usize = 512;

/// Entries of a name server's key-value configuration.
pub const KV_ENTRIES_MAX: usize = 100_000;

/// Longest namespace, and longest key, of a name server's key-value configuration.
pub const KV_KEY_BYTES_MAX: usize = 1024;

/// Longest value of it. The order of a topic is some 20 B a broker.
pub const KV_VALUE_BYTES_MAX: usize = 64 * 1024;

/// Bytes of all of it: its file is written anew with each change, on the thread that answers.
pub const KV_BYTES_MAX: usize = 8 * 1024 * 1024;

const _: () = assert!(TOPICS_MAX <= ROUTE_ENTRIES_PER_CONNECTION_MAX, "a shard may register all that it has");
const _: () = assert!(ROUTE_ENTRIES_PER_CONNECTION_MAX * 4 <= ROUTE_ENTRIES_MAX, "a stranger leaves room for others");
const _: () = assert!(RETRY_TOPIC_NAME_BYTES_MAX <= ROUTE_NAME_BYTES_MAX, "every topic can be registered");
const _: () = assert!(KV_VALUE_BYTES_MAX + 2 * KV_KEY_BYTES_MAX < KV_BYTES_MAX, "the largest entry fits");

/// Connections that a name server keeps open at most; fewer if the process may not have so many files open.
pub const NAMESRV_CONNECTIONS_MAX: usize = 20_000;

/// Bytes that a name server holds of frames that are not whole yet, over all connections.
pub const NAMESRV_PARTIAL_BYTES_MAX: usize = 256 * 1024 * 1024;

const _: () = assert!(MESSAGE_BODY_BYTES_MAX < FRAME_BYTES_MAX, "the largest message must fit a frame");

/// Files that a shard keeps open: segments and index files in use. The one used longest ago is closed first.
pub const OPEN_FILES_MAX: usize = 64;

/// One read of a file by recovery or of a table; larger ones are cut.
pub const READ_CHUNK_BYTES: usize = 1024 * 1024;

/// One write of zeroes into a segment that is made in advance: about 0.3 ms of a common disk, which a commit may have to wait.
pub const ZERO_WRITE_BYTES: usize = 256 * 1024;

/// Registered I/O memory of a shard: the largest commit, four block reads, recovery's reads and one piece of a segment in advance,
/// with as much again for the fragments that a buddy allocator leaves.
pub const IO_MEMORY_BYTES: usize = 16 * 1024 * 1024;

/// Registered I/O memory of a shard at least; glommio takes no less.
pub const IO_MEMORY_BYTES_MIN: usize = 64 * 1024;

/// Entries of each of an executor's rings. Measured: thousands of connections lose a quarter of their rate at 128.
pub const RING_DEPTH: usize = 1024;

/// Threads of a shard that wait for the file system in its stead: one for a table that is flushed, one for the names of segments.
pub const BLOCKING_THREADS: usize = 2;

/// Period of the timer that keeps an executor from sleeping on runnable tasks.
pub const KEEP_ALIVE_MS: u64 = 10;

/// How late that timer comes before it is a stall.
pub const STALL_MS: u64 = 20;

/// Shares of the task queue that connections and commits run in.
pub const SHARES_REQUEST: usize = 1000;

/// Shares of the task queue for what no client waits for right now.
pub const SHARES_BACKGROUND: usize = 100;
/// Replies that may wait in one connection's outbox before its frames are left unread. One reply may stand on top of it, so
/// a reader that never reads costs at most this and one frame.
pub const OUTBOX_BYTES_HIGH: usize = 1024 * 1024;

/// Replies that may wait in all outboxes of a shard together, and in those of a name server. Beyond it pulls, and what else may have a large
/// answer, are answered with flow control: many readers that never read must not take the memory of those that do. One answer may stand on top
/// of it.
pub const OUTBOX_TOTAL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Who does not take [`UNREAD_STEP_BYTES`] of what waits for it in so long is closed while there is too much for all, beginning with those for whom
/// most waits, until half of [`OUTBOX_TOTAL_BYTES_MAX`] is free.
pub const UNREAD_STALL_MS: u64 = 5_000;

/// See [`UNREAD_STALL_MS`]: a reader of 100 kbit/s. Who takes a byte now and then would keep the answers of others away for ever.
pub const UNREAD_STEP_BYTES: usize = 64 * 1024;

/// The largest answer of a name server that is given while too many others are not read: the route of a topic that some dozens of brokers have.
pub const NAMESRV_SMALL_ANSWER_BYTES: usize = 16 * 1024;

/// What may wait in all outboxes of a shard when a client is called or told something that it has not asked for. One such call may stand on top of
/// it: a message to be consumed at once.
pub const OUTBOX_NOTICE_BYTES_MAX: usize = OUTBOX_TOTAL_BYTES_MAX / 4;

/// Members that are told of changes of their groups (40) before the next tick: some 130 bytes each. The rest is told then.
pub const NOTICES_PER_TICK: usize = 1_024;

/// See [`NOTICES_PER_TICK`]: so many of one group, then it is another's turn.
pub const NOTICES_PER_TURN: usize = 256;

/// Topics, and topics read by a group, that are counted one by one on a shard; at most 1.6 KiB each. One more takes the place of the one that
/// has rested longest, if that is [`STATS_IDLE_MS`]; else it is part of the broker's sums only.
pub const STATS_MAX: usize = 20_000;

/// See [`STATS_MAX`].
pub const STATS_IDLE_MS: u64 = 600_000;

/// Longest text of one change of settings online.
pub const SETTINGS_BYTES_MAX: usize = 64 * 1024;

/// Changes of settings that tools wait for on one shard.
pub const SETTINGS_CHANGES_MAX: usize = 16;

/// Turns of a shard whose messages are followed to the disk, the slaves and the readers. Beyond it those that are known to be there are
/// forgotten, and turns that are not are joined by two.
pub const STAGE_MARKS_MAX: usize = 1024;

/// Replies of sends that may wait for their flush, their topic's persistence or its registration.
pub const ACKS_MAX: usize = 256 * 1024;

/// Pulls of a shard that may be held for new messages; about 300 B each.
pub const HOLDS_MAX: usize = 100_000;

/// Pulls of one connection that may be held: a consumer holds one a message queue.
pub const HOLDS_PER_CONNECTION_MAX: usize = 16 * 1024;

/// Held pulls that run again or are answered in one turn of a shard; the others have theirs in later turns. A pull costs a few microseconds.
pub const HOLDS_PER_TURN: usize = 128;

/// Bytes of records and of queue entries that they look at in one turn; one pull may go beyond.
pub const HOLD_BYTES_PER_TURN: usize = 512 * 1024;

/// Longest time a pull is held, whatever the client asks. Stock clients ask for 15 s and 20 s.
pub const HOLD_MS_MAX: u64 = 60_000;

/// Requests that may wait for blocks of the disk.
pub const PARKED_MAX: usize = 16 * 1024;

/// Longest request that is kept while a block is read; longer ones are refused, since only small requests read.
pub const PARKED_REQUEST_BYTES_MAX: usize = 64 * 1024;

/// How often one request may wait for a block before it is answered with what is known.
pub const PARKED_ROUNDS_MAX: u32 = 64;

/// The same for a search by key, which reads a directory and a bucket of each run of the index: 8,192 runs, 500 million keys.
pub const SEARCH_ROUNDS_MAX: u32 = 16 * 1024;

/// Topics of a shard.
pub const TOPICS_MAX: usize = 200_000;

/// Consumer group settings of a shard, those created by heartbeats included.
pub const GROUPS_MAX: usize = 100_000;

/// Producer and consumer groups that one connection may be a member of.
pub const GROUPS_PER_CONNECTION_MAX: usize = 4_096;

/// Longest client id. Stock clients make them of address, instance and unit, some 100 B.
pub const CLIENT_ID_BYTES_MAX: usize = 1024;

/// What a membership weighs beside its names: places in tables by group and by connection.
pub const MEMBER_BYTES: usize = 256;

/// What a subscription weighs beside its texts.
pub const SUBSCRIPTION_BYTES: usize = 256;

/// What a tag weighs beside its text, in the set of tags, in that of codes and in the filter.
pub const TAG_BYTES: usize = 48;

/// What the groups and subscriptions of one connection may weigh.
pub const CLIENT_BYTES_PER_CONNECTION_MAX: usize = 5 * 1024 * 1024;

/// What the groups and subscriptions of all clients of a shard may weigh.
pub const CLIENT_BYTES_MAX: usize = 128 * 1024 * 1024;

const _: () = assert!(
    2 * GROUPS_PER_CONNECTION_MAX * (MEMBER_BYTES + GROUP_NAME_BYTES_MAX + 128) <= CLIENT_BYTES_PER_CONNECTION_MAX,
    "a client with an ordinary id may be a member of as many groups as it may"
);
const _: () = assert!(CLIENT_BYTES_PER_CONNECTION_MAX * 16 <= CLIENT_BYTES_MAX, "one client leaves room for others");

/// Longest settings of one topic or group, as a table holds them: names, attributes, waits and subscriptions.
pub const CONFIG_BYTES_MAX: usize = 16 * 1024;

/// Topics that one consumer group may subscribe to.
pub const SUBSCRIPTIONS_PER_GROUP_MAX: usize = 4_096;

/// Longest subscription expression.
pub const EXPRESSION_BYTES_MAX: usize = 64 * 1024;

/// Deepest nesting of an SQL92 expression, as it is written and as a tree: reading and evaluating it call themselves. RocketMQ is stopped by its
/// stack, at some thousands.
pub const FILTER_DEPTH_MAX: usize = 256;

/// Operands and operators of an SQL92 expression: each costs some nanoseconds a message, and 16 B.
pub const FILTER_TERMS_MAX: usize = 8 * 1024;

/// Properties that an SQL92 expression may name; for each a place in the message is noted on the stack.
pub const FILTER_PROPERTIES_MAX: usize = 256;

/// Bytes of values that one evaluation of an SQL92 expression reads, a value again with each operator; beyond, the message does not match, as
/// with any expression that has no result. A value has 32 KiB at most, so an expression without 16 operators on such values never gets there.
pub const FILTER_READ_BYTES_MAX: usize = 512 * 1024;

/// Bytes of records that one pull passes over because their properties do not match; the first may be longer.
pub const FILTER_SCAN_BYTES_MAX: usize = 512 * 1024;

/// Operands and operators that one pull evaluates, over all records: an expression with more than 80 is evaluated for fewer than
/// [`PULL_ENTRIES_MAX`] of them.
pub const FILTER_STEPS_PER_PULL: usize = 64 * 1024;

/// What a compiled SQL92 expression weighs for each byte of its text, at most: a term of 16 B, and places in tables.
pub const FILTER_BYTES_PER_BYTE: usize = 20;

/// Text of the expressions that pulls have brought with them and whose compiled form is kept for the next ones.
pub const FILTER_KEPT_BYTES_MAX: usize = 1024 * 1024;

const _: () = assert!(FILTER_TERMS_MAX * 8 <= FILTER_STEPS_PER_PULL, "any pull looks at some messages");
const _: () = assert!(EXPRESSION_BYTES_MAX <= FILTER_KEPT_BYTES_MAX, "any expression may be kept");
const _: () =
    assert!(PROPERTIES_BYTES_MAX * 8 < FILTER_READ_BYTES_MAX, "few operators on any value are within the bound");

/// Consumer offsets of a shard: one a group, topic and queue.
pub const OFFSETS_MAX: usize = 2_000_000;

/// Topics that groups may not read (353), of all groups of a shard together.
pub const FORBIDDEN_MAX: usize = 10_000;

/// Topics of which it was said how groups get their messages (401), of all groups of a shard together.
pub const GROUP_MODES_MAX: usize = 10_000;

const _: () = assert!(
    GROUP_MODES_MAX * (2 * (TOPIC_NAME_BYTES_MAX + GROUP_NAME_BYTES_MAX) + 80) < FRAME_BYTES_MAX,
    "all of them can be told (402)",
);

/// Consumer offsets that one request compares, copies or tells (208, 308, 314): some tens of milliseconds' work.
pub const OFFSETS_PER_REQUEST_MAX: usize = 65_536;

/// Groups, and queues of topics that they consume, in one answer about all groups (317): some 200 B each.
pub const CONSUME_STATS_MAX: usize = 16_384;

/// Entries of a queue that one request is told (321), as many as a pull examines.
pub const QUEUE_ENTRIES_MAX: usize = PULL_ENTRIES_MAX as usize;

/// Topics without settings whose messages one request removes (316): each is a record in the log.
pub const TOPICS_CLEANED_MAX: usize = 64;

/// Committed offsets in one append to the file of changes: half a millisecond's work where two million are known, since each is looked for, and then
/// others have their turn.
pub const OFFSETS_PER_APPEND_MAX: usize = 128;

/// Bytes of changes that may be appended without a flush; the names of what has changed are in memory until it.
pub const CHANGES_UNFLUSHED_BYTES_MAX: u64 = 1024 * 1024;

/// Topics, groups, or topics of which groups had offsets, that are gone and still in the store, as where the disk is full: beyond, none is removed.
/// What has changed and is there waits by its name as well, and is bounded as the tables are.
pub const REMOVED_UNWRITTEN_MAX: usize = 65_536;

const _: () = assert!(REMOVED_UNWRITTEN_MAX <= TOPICS_MAX, "what is gone takes no more than what may be there");

/// Entries of a table that are written to its file in one piece, with what one entry can have more.
pub const SNAPSHOT_PART_ENTRIES: usize = 512;

/// After so many bytes of a table's file it is flushed, so that the last flush, behind which other files wait, is a short one.
pub const SNAPSHOT_FLUSH_BYTES: u64 = 1024 * 1024;

/// Tables below this are written whenever they have changed.
pub const SNAPSHOT_SMALL_BYTES: u64 = 256 * 1024;

/// Bytes of the newest changes of its tables that a master keeps for its slaves. One that is further behind is told the tables anew.
pub const TABLE_CHANGES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of changes in one answer to a slave; one append may go beyond.
pub const TABLE_CHANGES_PER_ANSWER_BYTES: usize = 256 * 1024;

/// Commits that a slave gives back to its master at once.
pub const GIVEN_BACK_MAX: usize = 1_024;

/// Whole tables (21, 43, 201) that are put together at once on a shard; who asks beyond is told to be busy. A table's text has some 20 MB at most of
/// each that was asked for.
pub const WHOLE_TABLES_MAX: usize = 8;

/// Parts of them, of [`SNAPSHOT_PART_ENTRIES`], that are put together in one turn.
pub const WHOLE_TABLE_PARTS_PER_TURN: usize = 2;

/// Queue locks of a shard.
pub const QUEUE_LOCKS_MAX: usize = 500_000;

/// Locks, and connections of members, that are looked at in one tick to find what is over.
pub const EXPIRIES_PER_TICK: usize = 1_000;

/// Messages that jobs put again in one turn, so that those who ask need not wait long for theirs.
pub const JOB_MESSAGES_PER_TURN: usize = 32;

/// Bytes of records that jobs put again in one turn; one record may go beyond.
pub const JOB_BYTES_PER_TURN: usize = 64 * 1024;

/// Messages that jobs have put again and that are not as safe yet as was promised. Beyond, jobs wait.
pub const JOB_UNPROMISED_MAX: usize = 16 * 1024;

/// How long a job waits that found no room to store in, or a message that it could not read. Each further try to read the same one waits
/// twice as long as the one before.
pub const JOB_RETRY_MS: u64 = 100;

/// The longest that a job waits before it tries again to read a message.
pub const JOB_READ_WAIT_MS_MAX: u64 = 30_000;

/// How long a job that waits for a time of day goes without a look at the clock, which may have been set.
pub const JOB_CLOCK_MS: u64 = 1_000;

/// Timer messages of a shard, the next ones to come, of which it is kept where they are: some 10 MiB. Of the others the index on the disk knows.
pub const TIMER_WINDOW_MAX: usize = 256 * 1024;

/// Timer messages in a row of which it is kept when the first of those comes that are not in the window.
pub const TIMER_ZONE_MESSAGES: u64 = 512;

/// Such zones of a shard, 4 MiB of them: for 134 million messages from the oldest that waits on. Where there are more, each has more messages.
pub const TIMER_ZONES_MAX: usize = 256 * 1024;

/// Longest step of `timerPrecisionMs`.
pub const TIMER_PRECISION_MS_MAX: u64 = 60_000;

/// Entries of the index that are looked at for timer messages in one turn.
pub const TIMER_ENTRIES_PER_TURN: usize = 512;

/// How often the clock may be set back before the first of these times has come again. Beyond, what was delivered between the last two may come twice.
pub const TIMER_STEPS_MAX: usize = 8;

/// Bytes of the names of messages that were recalled and are due within the same step of `timerPrecisionMs`: some 200,000 of them. Recalls beyond
/// have no effect, which is said.
pub const TIMER_RECALLS_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The same names, which may be short, in a table, and where the message lies that recalls: 96 bytes each. One that is recalled twice counts once.
pub const TIMER_RECALLS_MAX: usize = 256 * 1024;

const _: () = assert!(
    TIMER_RECALLS_MAX * 96 + TIMER_RECALLS_BYTES_MAX <= 40 * 1024 * 1024,
    "recalls of one time have their share of a shard's memory"
);

/// Pieces of 4096 half messages in each of which something has ended that was not passed yet: 512 bytes each and 40 for the map, 18 MiB in all, for
/// 134 million half messages that wait. What has ended beyond is asked about once more.
pub const TRANSACTION_ENDED_PIECES_MAX: usize = 32 * 1024;

/// Half messages that ended while a copy of theirs was on its way back to the checker; some 100 bytes each.
pub const TRANSACTION_LATE_MAX: usize = 16 * 1024;

/// Notes of ended transactions whose place in their queue is known one by one; of more, only that of the last.
pub const TRANSACTION_NOTES_MAX: usize = 4 * 1024;

/// Transactions that have ended and whose end is not noted in the log yet. It is at the end of the turn, unless the log takes nothing.
pub const TRANSACTION_UNNOTED_MAX: usize = 16 * 1024;

/// Bytes of the body of a note (`transactionOpMsgMaxSize`); one offset may go beyond.
pub const TRANSACTION_NOTE_BYTES_MAX: usize = 4096;

/// Notes that are read in one turn when a life begins.
pub const TRANSACTION_NOTES_PER_TURN: usize = 32;

/// Half messages in a row that have ended and are passed in one step, 64 at a time.
pub const TRANSACTION_RUN_MAX: u64 = 64 * 1024;

/// Half messages that were passed and whose copies are not on the disk, or not with the replicas: as many entries, of one message or a run.
pub const TRANSACTION_PASSED_MAX: usize = 16 * 1024;

/// Producers of a group that are tried before one is asked that does not read. Source: RocketMQ `GET_AVAILABLE_CHANNEL_RETRY_COUNT`.
pub const TRANSACTION_PRODUCERS_TRIED_MAX: usize = 3;

/// Bytes that properties of a half message may grow by when it is put back: its tries, and where it lay at first.
pub const TRANSACTION_PROPERTIES_GROWTH: usize = 96;

/// Messages of one pop, as RocketMQ's broker has it.
pub const POP_MESSAGES_MAX: u32 = 32;

/// Queues of a topic that may be popped from without naming one: each pop looks at all of them. More than any topic has on one shard.
pub const POP_QUEUES_MAX: u32 = 1_024;

/// Longest time for which a message is its consumer's: a week. RocketMQ's clients ask for minutes, its proxy for 12 hours at most.
pub const POP_INVISIBLE_MS_MAX: u64 = 7 * 24 * 3_600_000;

/// Pops of one queue whose messages are in flight.
pub const POP_FLIGHTS_MAX: usize = 128 * 1024;

/// Bytes of one of them in tables that are half full: its names and places, and the offsets of its messages.
pub const POP_FLIGHT_MEMORY: usize = 416 + POP_MESSAGES_MAX as usize * 8;

/// The same of one group: a group that never acknowledges gets no more messages, and leaves room for others.
pub const POP_FLIGHTS_PER_GROUP_MAX: usize = POP_FLIGHTS_MAX / 8;

/// A group has one more only while what the shard has left is more than so many times what it has. So however many groups never acknowledge,
/// another one finds room: of eight of them each has 10,922.
pub const POP_FREE_PER_FLIGHT: usize = 4;

/// Groups that wait until they may have more in flight, each as often as topics of which it waits to pop.
pub const POP_ROOM_WAITS_MAX: usize = 16 * 1024;

/// Pops whose notes are not as safe yet as was promised. Beyond, nothing is popped.
pub const POP_UNPROMISED_MAX: usize = 64 * 1024;

/// Notes of popped messages that the log has not taken yet. A few at most, unless it takes nothing for long.
pub const POP_UNNOTED_MAX: usize = 1_024;

/// Notes of popped messages that a start reads beside four for each pop in flight: beyond, the oldest in flight is noted anew.
pub const POP_NOTES_MAX: u64 = 64 * 1024;

/// Notes that are read in one turn when a life begins.
pub const POP_NOTES_PER_TURN: usize = 64;

/// Pops in flight whose messages wait for a block of the disk when their time has come; others wait until these have come.
pub const POP_COLD_MAX: usize = 64;

/// Entries of one batch of acknowledgements. Stock clients and the proxy send a handful.
pub(crate) const POP_BATCH_ACKS_MAX: usize = 1_024;

/// Queues of a shard, each as often as groups pop from it in order, of which messages are out: 32 of them each, some 1.5 KiB.
pub const POP_IN_ORDER_MAX: usize = 16 * 1024;

const _: () =
    assert!(POP_IN_ORDER_MAX * 1_536 <= 32 * 1024 * 1024, "what is out in order has its share of a shard's memory");

const _: () = assert!(
    POP_FLIGHTS_MAX * POP_FLIGHT_MEMORY <= 84 * 1024 * 1024 && POP_FLIGHTS_PER_GROUP_MAX * 2 <= POP_FLIGHTS_MAX,
    "what is never acknowledged costs 84 MiB a shard, 52 MiB where each pop has one message, and one group leaves room for others"
);
const _: () = assert!(POP_BATCH_ACKS_MAX * 10 < JSON_NODES_MAX, "a whole batch can be read");

/// Calls to clients of a shard that may wait for their answer.
pub const CLIENT_CALLS_MAX: usize = 4_096;

/// Of these, those that one connection may have asked for.
pub const CLIENT_CALLS_PER_ASKER_MAX: usize = CLIENT_CALLS_MAX / 4;

/// Reply messages (324) of a shard whose requesters its siblings are asked for, until these answer.
pub const REPLIES_PASSED_MAX: usize = 256;

/// What these may weigh; the letters carry them. Beyond either bound a reply fails, as if its requester did not answer.
pub const REPLIES_PASSED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Topics of whose routes a shard knows what name servers have said, for consumers whose queues it deals out (400). Beyond that all are forgotten, and
/// asked about again.
pub const TOLD_ROUTES_MAX: usize = 512;

/// Brokers of a route that is known so: 20 MiB for all routes of a shard. A route with more is not taken.
pub const TOLD_BROKERS_MAX: usize = 1_024;

/// Consumers of a shard that wait for a name server to tell a route. Others are answered by what was told last.
pub const ROUTE_WAITS_MAX: usize = 256;

/// Routes that a node's control plane is asked for and has not asked name servers about yet. Beyond that nothing is known of a route.
pub const ROUTE_ASKS_MAX: usize = 1_024;

/// Queues that one consumer is given (400). More are not dealt out.
pub const ASSIGNED_QUEUES_MAX: usize = 32_768;

const _: () = assert!(
    ASSIGNED_QUEUES_MAX * (TOPIC_NAME_BYTES_MAX + GROUP_NAME_BYTES_MAX + 96) < FRAME_BYTES_MAX,
    "an answer with all of them fits a frame",
);

/// Bytes of answers of clients that a shard keeps until the others have answered too (223); one such answer is about 100 B a queue.
pub const GATHERED_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Longest name of a client that is called: it goes back with the call.
pub const CALLED_CLIENT_BYTES_MAX: usize = 4 * 1024;

/// Most messages and bytes of one pull's answer. Source: RocketMQ `maxTransferCountOnMessageInMemory`,
/// `maxTransferBytesOnMessageInMemory`.
pub const PULL_MESSAGES_MAX: u32 = 32;
/// See [`PULL_MESSAGES_MAX`].
pub const PULL_BYTES_MAX: usize = 256 * 1024;

/// Entries of a consume queue that one pull examines. Source: RocketMQ `maxFilterMessageSize` 16000 B of 20 B entries.
pub const PULL_ENTRIES_MAX: u32 = 800;

/// Longest properties of a message: their length field has 16 bits and a sign. Source: RocketMQ `MessageDecoder`.
pub const PROPERTIES_BYTES_MAX: usize = 32_767;

const _: () = assert!(HOLDS_PER_CONNECTION_MAX < HOLDS_MAX, "one connection must not take every hold");
const _: () = assert!(PULL_BYTES_MAX <= HOLD_BYTES_PER_TURN, "a turn has room for the answer to a held pull");
const _: () = assert!(PULL_BYTES_MAX < OUTBOX_BYTES_HIGH, "a pull's answer must fit an outbox that is not full");
const _: () = assert!(
    PULL_BYTES_MAX + MESSAGE_BODY_BYTES_MAX + PROPERTIES_BYTES_MAX + 4096 < FRAME_BYTES_MAX,
    "a pull answer, with a first message of any size, must fit a frame"
);

/// Most extension fields of a request or reply. RocketMQ's own requests have up to about 25.
pub(crate) const EXT_FIELDS_MAX: usize = 128;

/// Deepest nesting of what an unknown key of a header may hold; it is skipped, but on the stack.
pub(crate) const HEADER_DEPTH_MAX: usize = 32;

/// Deepest nesting of a JSON body. RocketMQ's own bodies have up to 6 levels.
pub(crate) const JSON_DEPTH_MAX: usize = 64;

/// Most values in a JSON body of a client. Bounds a tree to about 12 MB; a heartbeat has a few dozen.
pub const JSON_NODES_MAX: usize = 100_000;

/// Most values in the JSON of a table: a registration of 100,000 topics has a million. Bounds a tree to about 200 MB, and
/// only brokers and the store's own files come with tables.
pub(crate) const JSON_TABLE_NODES_MAX: usize = 1_500_000;

/// Fewest bytes of one topic in such a table, and its values.
const TOPIC_ENTRY_BYTES_MIN: usize = 150;
/// See [`TOPIC_ENTRY_BYTES_MIN`].
const TOPIC_ENTRY_NODES: usize = 9;

const _: () = assert!(
    FRAME_BYTES_MAX / TOPIC_ENTRY_BYTES_MIN * TOPIC_ENTRY_NODES <= JSON_TABLE_NODES_MAX,
    "what fits a frame of a registration can be read"
);

/// Longest inflated body of a broker's registration.
pub(crate) const REGISTER_BODY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Most topics of one broker's registration.
pub(crate) const REGISTER_TOPICS_MAX: usize = 500_000;

/// Most messages of one batch.
pub const BATCH_MESSAGES_MAX: usize = 65_536;

/// Most messages of a batch that is stored as one record. RocketMQ's brokers read their number as a Java `short`.
pub const INNER_BATCH_MESSAGES_MAX: usize = 32_767;
const _: () = assert!(INNER_BATCH_MESSAGES_MAX <= BATCH_MESSAGES_MAX, "what is stored whole came as a batch");

/// Most light queues (`%LMQ%NAME`) that one message is in: so many entries of the index it makes, and queues if they are new.
pub const LIGHT_QUEUES_PER_MESSAGE_MAX: usize = 256;

/// Most light queues of a shard, whatever `maxLmqConsumeQueueNum` says; they live as long as the store. A record that names more than a log has, as one
/// of a Java master may, is in none further.
pub const LIGHT_QUEUES_MAX: u64 = 100_000;
const _: () = assert!(
    LIGHT_QUEUES_MAX * QUEUE_MEMORY as u64 <= 64 * 1024 * 1024,
    "who makes light queues of any names takes a bounded amount of memory"
);

/// Delay levels of `messageDelayLevel`; RocketMQ has 18.
pub(crate) const DELAY_LEVELS_MAX: usize = 64;

/// Longest topic name. Source: RocketMQ `TopicValidator`.
pub const TOPIC_NAME_BYTES_MAX: usize = 127;

/// Longest name of a consumer group. Source: RocketMQ `Validators.CHARACTER_MAX_LENGTH`, which clients and broker go by.
pub const GROUP_NAME_BYTES_MAX: usize = 255;

/// Longest name of a retry or dead letter topic: a group's behind `%RETRY%`. RocketMQ's broker makes these without a look at their length.
pub(crate) const RETRY_TOPIC_NAME_BYTES_MAX: usize = GROUP_NAME_BYTES_MAX + 7;

/// Most queues of a topic on one broker, for reading or writing. Bounds what one request can make this shard allocate.
pub const TOPIC_QUEUES_MAX: u32 = 65_536;

// --- log ---

/// Largest record. A message as large as a frame, with topic and properties, must fit no segment and no tail: it is refused.
pub const RECORD_BYTES_MAX: usize = FRAME_BYTES_MAX;

/// How long a full disk is left alone before it is asked again: by the log, and for the epochs of its masters.
pub const NO_SPACE_RETRY_MS: u64 = 1000;

/// Most that one commit writes: what a group of waiting producers shares, and the most that is unwritten work of one direct write.
pub const COMMIT_BYTES_MAX: usize = 1024 * 1024;

/// Under ASYNC_FLUSH, a flush is due when so many bytes were written since the last one.
pub const UNFLUSHED_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Most that a process can have written and not flushed, whatever its settings: how far behind the end of the log its last writes may have left
/// something.
pub const UNFLUSHED_REACH_BYTES_MAX: u64 = UNFLUSHED_BYTES_MAX + COMMIT_BYTES_MAX as u64;

/// Behind that, recovery looks so far for records without a gap.
pub const PROBE_BYTES: u64 = 2 * 1024 * 1024;

/// Then, to the end of the segment, it looks at [`COLD_BLOCK_BYTES`] in each of so many.
pub const PROBE_STRIDE_BYTES: u64 = 8 * 1024 * 1024;

/// Unit of cold reads, of the log and of the index files alike.
pub const COLD_BLOCK_BYTES: u64 = 128 * 1024;

/// The part of the cache of cold blocks that is for the index, beside that for the log.
pub const INDEX_CACHE_PART: usize = 8;

/// Readers of old messages for whom it is kept what the index says of the next messages ...
pub const KEPT_READS_MAX: usize = 8_192;

/// ... so many of them, at 24 bytes each.
pub const KEPT_ENTRIES_MAX: usize = 96;

/// Blocks of the log of which it is remembered that a part was read: where another part is wanted soon, the whole is.
pub const TOUCHED_BLOCKS_MAX: usize = 256;

/// Unit of the reads for a replica that is far behind: large enough for a device's full rate with one or two under way.
pub const STREAM_BLOCK_BYTES: u64 = 1024 * 1024;

/// Blocks for replicas that are kept, of all streams together: two a stream for four slaves that are far behind at once.
pub const STREAM_BLOCKS_MAX: usize = 8;

/// Blocks that a reader may ask for ahead of need.
pub const PREFETCH_BLOCKS_MAX: usize = 16;

/// Effects of a turn beyond which its further frames are left unread until the shell has carried them out. A frame asks for a handful.
pub const EFFECTS_MAX: usize = 1024;

/// Zeros that are written at once.
pub const PREPARE_CHUNK_BYTES: u64 = 1024 * 1024;

/// Spare segments kept for recycling, beyond the one that already lies in place ahead of the writer.
pub const SPARES_MAX: usize = 1;

/// Entries of all queues together that are not yet in an index block; beyond it blocks are closed early. 24 bytes each.
pub const UNSEALED_ENTRIES_MAX: usize = 1024 * 1024;

/// Index bytes that wait to be written; beyond it appends wait.
pub const INDEX_PENDING_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Index bytes that are worth a write.
pub const INDEX_WRITE_BYTES_MIN: usize = 64 * 1024;

/// Bytes of a checkpoint that are made in one go, so that making one stalls no send.
pub const CHECKPOINT_SLICE_BYTES: usize = 64 * 1024;

/// A step of the wall clock that is not held: more than what clocks drift between two looks, less than what retention counts in.
pub const CLOCK_STEP_MS_MAX: i64 = 10 * 60_000;

/// How long retention waits for a wall clock to be set right that is far ahead of the newest file when the machine was started anew. What time it is
/// then, nothing on the machine can tell; clocks that are wrong after a start are set from the network within minutes.
pub const CLOCK_BOOT_HOLD_MS: u64 = 3_600_000;

/// How far from the wall clock the time may be at which an operator has said that it is right.
pub const CLOCK_ACCEPTED_MS_MAX: i64 = 3_600_000;

/// Queues whose front is trimmed by one tick of retention.
pub const TRIM_QUEUES_PER_TICK: usize = 1024;

/// Searches, by key and by time each, that wait for a block; the oldest begins anew beyond it.
pub const LOOKUPS_MAX: usize = 64;

/// How long such a search is remembered that nobody comes back for.
pub const LOOKUP_MS_MAX: u64 = 10_000;

/// Blocks that could not be read and are read in smaller pieces, or rest, until they are tried again.
pub const FAILED_BLOCKS_MAX: usize = 64;

/// Rest of a block that could not be read before it is tried again, at first; it doubles with each failure.
pub const FAILED_REST_MS_MIN: u64 = 100;

/// The same, at most.
pub const FAILED_REST_MS_MAX: u64 = 30_000;

/// Bytes that the scrub reads at once: what is checked in one turn.
pub const SCRUB_BLOCK_BYTES: u64 = 256 * 1024;

/// The longest time in which the scrub may be told to read everything once: a year.
pub const SCRUB_INTERVAL_MS_MAX: u64 = 366 * 24 * 3_600_000;

/// How long the scrub waits for a block before it asks again.
pub const SCRUB_PATIENCE_MS: u64 = 10_000;

/// Blocks of queues that are looked at in a tick for whom an unsound place of the index belongs to.
pub const SCRUB_SWEEP_PER_TICK: usize = 16 * 1024;

/// Records and index blocks that were read once and were not what was written: they are read once more.
pub const SUSPECTS_MAX: usize = 64;

/// Damaged records of a log that are remembered one by one.
pub const DAMAGED_MAX: usize = 4_096;

/// Disk blocks of a log that cannot be read and are remembered one by one.
pub const UNREADABLE_MAX: usize = 1_024;

/// Blocks of the index that are built again from the log at once.
pub const REBUILDS_MAX: usize = 16;

/// Blocks of the index that were built again and to which no reference in memory leads; 200 B each. Of more, those that were built
/// longest ago are built once more when they are read.
pub const MOVED_BLOCKS_MAX: usize = 4_096;

/// Bytes of the log that one turn looks through to build a block of the index again.
pub const REBUILD_BYTES_PER_TURN: u64 = 1024 * 1024;

const _: () = assert!(COMMIT_BYTES_MAX.is_multiple_of(DISK_BLOCK_BYTES), "commits are whole blocks");
const _: () = assert!(COLD_BLOCK_BYTES.is_multiple_of(DISK_BLOCK_BYTES as u64), "cold reads are whole blocks");
const _: () = assert!(REBUILDS_MAX < MOVED_BLOCKS_MAX, "what was built again is there when its reader is back");
const _: () = assert!(KEPT_READS_MAX * KEPT_ENTRIES_MAX * 24 <= 20 * 1024 * 1024, "less than the cache of cold blocks");
const _: () = assert!(SCRUB_BLOCK_BYTES.is_multiple_of(DISK_BLOCK_BYTES as u64), "and those of the scrub");
const _: () = assert!(STREAM_BLOCK_BYTES.is_multiple_of(DISK_BLOCK_BYTES as u64), "so are those for replicas");

// --- net ---

/// Buffer that all connections of a shard read into, one after the other.
pub const SCRATCH_BYTES: usize = 256 * 1024;

/// Connections of a shard at most; fewer if the process may not have so many files open. One more is closed at once.
pub const CONNECTIONS_MAX: usize = 50_000;

/// Bytes of an unfinished frame that every connection may hold: nearly all requests are smaller, so they need nothing of the budget.
pub const PARTIAL_FREE_BYTES: usize = 4096;

/// Bytes of unfinished frames, beyond those, that all connections of a shard hold together. With these used up, frames that stand still go,
/// and only one connection is read on beyond it, until its frame is whole: so one of them always comes to an end.
pub const PARTIAL_BYTES_MAX: usize = 64 * 1024 * 1024;

/// The part of it that connections from one address hold together; of IPv6, from one network of 64 bits.
pub const PARTIAL_ADDRESS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// An unfinished frame that has not come on by so many bytes ...
pub const PARTIAL_STEP_BYTES: usize = 64 * 1024;

/// ... for so long stands still. A third of the time that stock clients wait for an answer: whoever waits for room is served in time.
pub const PARTIAL_STALL_MS: u64 = 1_000;

/// How often frames that stand still are looked for while there is no room.
pub const PARTIAL_LOOK_MS: u64 = 100;

/// Connections without room for their frames that try again at once.
pub const STARVED_PER_TURN: usize = 256;

/// Room for an unfinished frame that a connection keeps when the frame is done.
pub const PARTIAL_BYTES_KEPT: usize = 16 * 1024;

/// Frames of one connection that are handled before others get their turn.
pub const FRAMES_PER_TURN_MAX: usize = 512;

/// How long a frame may take from its first byte to its last.
pub const FRAME_WAIT_MS: u64 = 60_000;

/// How long a connection may be silent in both directions. Source: RocketMQ `serverChannelMaxIdleTimeSeconds`.
pub const CONNECTION_IDLE_MS: u64 = 120_000;

/// Bytes waiting for one connection beyond which it is closed: it has long ceased to be read, but what was asked before still answers.
pub const OUTBOX_BYTES_MAX: usize = 48 * 1024 * 1024;

/// Open files and sockets of a process that belong to no shard: standard streams, signals, the event loop, files that are being replaced.
pub const DESCRIPTORS_OF_PROCESS: usize = 64;

/// Open files of a shard that no client can take: each file of the log twice (written, and written durably), rings, listening sockets, the
/// tail, tables on their way to the disk, connections to name servers.
pub const DESCRIPTORS_OF_SHARD: usize = 2 * OPEN_FILES_MAX + 64;

/// Clients that a shard has room for at least; with fewer open files allowed, a node does not start.
pub const CLIENTS_PER_SHARD_MIN: usize = 32;

/// How often it is said that descriptors are missing, as long as they are.
pub const REFUSED_SAID_MS: u64 = 10_000;

/// Lines of one kind that strangers can cause and that are said in [`SAID_PERIOD_MS`]; the others are counted. Some 100 B/s for each kind.
pub const SAID_LINES_MAX: u32 = 5;

/// See [`SAID_LINES_MAX`].
pub const SAID_PERIOD_MS: u64 = 10_000;

/// How long an open waits that found no free descriptor, in the process or in the system, until it tries again.
pub const OPEN_RETRY_MS: u64 = 50;

/// Connections that wait to be accepted. The kernel's own bound (`net.core.somaxconn`) may be lower.
pub const ACCEPT_QUEUE_MAX: i32 = 4096;

/// How long the accept loop waits when the process has no more file descriptors.
pub const ACCEPT_WAIT_MS: u64 = 50;

const _: () =
    assert!(OUTBOX_BYTES_MAX > OUTBOX_BYTES_HIGH + FRAME_BYTES_MAX, "one more answer fits before the connection goes");
const _: () = assert!(PARTIAL_ADDRESS_BYTES_MAX >= FRAME_BYTES_MAX + SCRATCH_BYTES, "the largest frame fits");
const _: () = assert!(2 * PARTIAL_ADDRESS_BYTES_MAX <= PARTIAL_BYTES_MAX, "one address leaves as much to others");
const _: () =
    assert!(PARTIAL_STALL_MS + 2 * PARTIAL_LOOK_MS < 3_000, "who waits for room gets it before stock clients give up");
const _: () = assert!(PARTIAL_LOOK_MS.is_multiple_of(TICK_MS), "the shard looks at its ticks");

// --- shard ---

/// Period of a shard's ticks: retention, expiry, the flush that ASYNC_FLUSH owes. Divides a second.
pub const TICK_MS: u64 = 100;

/// How often a shard tells its counters. A multiple of [`TICK_MS`].
pub const COUNTERS_MS: u64 = 60_000;

/// Reads of old data under way at once: enough to keep a disk busy, few enough to leave it to the commits.
pub const FETCHES_MAX: usize = 4;

/// Blocks that wait to be read, beyond which none is read ahead.
pub const FETCHES_WAITING_MAX: usize = 64;

/// How long a stopping shard writes, flushes and makes its checkpoint.
pub const STOP_SETTLE_MS: u64 = 3000;

/// How long a stopping shard waits for what is under way, for its connections to end, and then for its last letter to be taken.
pub const STOP_CLOSE_MS: u64 = 300;

const _: () = assert!(1000 % TICK_MS == 0, "ticks divide a second");
const _: () = assert!(STOP_SETTLE_MS + 3 * STOP_CLOSE_MS < 4500, "a stop ends within five seconds");
/// Messages that one query by key returns. Source: RocketMQ `maxMsgsNumBatch` 64.
pub const QUERY_MESSAGES_MAX: usize = 64;

/// Bytes of records that one query by key returns.
pub const QUERY_BYTES_MAX: usize = 8 * 1024 * 1024;

const _: () = assert!(QUERY_BYTES_MAX + 4096 < FRAME_BYTES_MAX, "the answer to a query must fit a frame");

/// Attributes of one topic.
pub const TOPIC_ATTRIBUTES_MAX: usize = 64;

// --- memory ---
//
// What each thing costs a shard at most, with its names at their usual length (some 30 bytes) and the room that its tables keep. A test holds a process
// to it, and `brokerStatus` (28) shows what comes of it, as `memoryOf...`. Beside it a shard has its tail (`tailSize`), its caches, and what the
// bounds above allow of buffers and waits.

/// A message queue, without the references to its blocks in the index.
pub const QUEUE_MEMORY: usize = 512;

/// The newest entry of a queue, as long as it is in no block: [`UNSEALED_ENTRIES_MAX`] of them at most.
pub const UNSEALED_ENTRY_MEMORY: usize = 48;

/// A reference to a block or branch of the index. A queue has fewer than [`BRANCH_REFERENCES`] of each height, and the height of its tree grows with the
/// logarithm of its length: see [`index_memory`].
pub const INDEX_REFERENCE_MEMORY: usize = 64;

/// Messages of a queue in one block of the index.
pub const QUEUE_BLOCK_ENTRIES: usize = 400;

/// References to blocks of a queue in one branch of the index. Twice as many would save one read in five to who begins to read amid old messages, and cost
/// half as much memory more.
pub const BRANCH_REFERENCES: usize = 16;

/// Longest branch that is read.
pub const BRANCH_BYTES_MAX: usize = 24 + 24 * 1024;

const _: () = assert!(24 + 24 * BRANCH_REFERENCES <= BRANCH_BYTES_MAX, "what is written is read");
const _: () = assert!(BRANCH_BYTES_MAX as u64 <= COLD_BLOCK_BYTES, "in one read, or two where it lies across them");
const _: () = assert!(BRANCH_REFERENCES > 1, "or each branch would be closed into the next one, for ever");

/// A topic, its queues apart: here, in the log and in what name servers are told.
pub const TOPIC_MEMORY: usize = 2_048;

/// A consumer group, its clients and offsets apart.
pub const GROUP_MEMORY: usize = 1_024;

/// A consumer offset; it costs so much where a group has one queue of a topic, and a tenth where it has many.
pub const OFFSET_MEMORY: usize = 640;

/// A connection of a client, with the room that it keeps for its frames; what its groups and subscriptions weigh is bounded by
/// [`CLIENT_BYTES_PER_CONNECTION_MAX`].
pub const CONNECTION_MEMORY: usize = PARTIAL_BYTES_KEPT + 24 * 1024;

const TB: usize = 1_000_000_000_000;

/// What the index references of a log cost at most, by its bytes, those of its messages, and how many queues are written side by side: a block has
/// [`QUEUE_BLOCK_ENTRIES`] messages, and fewer where [`UNSEALED_ENTRIES_MAX`] would be passed.
const fn index_memory(log_bytes: usize, record_bytes: usize, busy_queues: usize) -> usize {
    let early = quotient(UNSEALED_ENTRIES_MAX, busy_queues);
    let entries = if early < QUEUE_BLOCK_ENTRIES { early } else { QUEUE_BLOCK_ENTRIES };
    let mut blocks = quotient(quotient(log_bytes, record_bytes), busy_queues.saturating_mul(entries));
    let mut references = 0;
    while blocks > 0 {
        // A height has fewer than a branch; there are no more than were made.
        let of_height = if blocks < BRANCH_REFERENCES { blocks } else { BRANCH_REFERENCES - 1 };
        references = of_height.saturating_add(references);
        blocks = quotient(blocks, BRANCH_REFERENCES);
    }
    references.saturating_mul(INDEX_REFERENCE_MEMORY).saturating_mul(busy_queues)
}

const fn quotient(number: usize, divisor: usize) -> usize {
    number.checked_div(divisor).expect("not zero")
}

const _: () = assert!(index_memory(TB, 1024, 8) <= 40_000, "a TB of few queues: 40 KB");
const _: () = assert!(index_memory(TB, 1024, 2_600) <= 8_000_000, "a TB of 2,600 busy queues: 8 MB");
const _: () = assert!(index_memory(TB, 1024, 100_000) <= 260_000_000, "a TB of 100,000: 260 MB");
const _: () = assert!(index_memory(10 * TB, 1024, 100_000) <= 320_000_000, "10 TB of 100,000: 320 MB");
const _: () = assert!(
    TOPICS_MAX * TOPIC_MEMORY + GROUPS_MAX * GROUP_MEMORY + OFFSETS_MAX * OFFSET_MEMORY <= 2_000_000_000,
    "all tables at their bounds fit 2 GB"
);
