//! What Apache's mqadmin 5.3.3 prints of a broker, and what the broker asks its clients for it: ringmq beside Apache RocketMQ 5.3.3, line by line.
//!
//! The consumers are written by hand ([`member`]), so that what they say of themselves is the same before both; `client_calls.rs` has Java's. One of
//! them never answers. What cannot be the same (addresses, times, ids, rates) is masked; a difference that is meant stands in
//! [`KNOWN_DIFFERENCES`] with its reason, any other is a failure, and so is an entry that no longer holds. This cannot show what a tool does
//! with several brokers.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]
#[path = "mqadmin_facts/member.rs"]
mod member;

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::thread;

use harness::{Client, Frame, Node, NodeOptions, code, wait_for};
use member::{Manner, Member};
use ringmq_peers::{Apache, BrokerOptions};

const TOPIC: &str = "FACTS";
const GROUP: &str = "FACTS_G";
const SILENT_GROUP: &str = "FACTS_SILENT_G";
const CLIENT: &str = "127.0.0.1@member";
const SILENT_CLIENT: &str = "127.0.0.1@silent";
const UPDATE_BROKER_CONFIG: i32 = 25;
/// Messages in queue 0, and how many of them the group has consumed.
const SENT: i64 = 10;
const CONSUMED: i64 = 4;
const VIEW_BROKER_STATS_DATA: i32 = 315;

/// Beginning of the command, beginning of the line, and why ringmq differs there.
const KNOWN_DIFFERENCES: [(&str, &str, &str); 43] = [
    ("statsAll", "FACTS FACTS 10 ", "Apache lists a topic's name as if it were a group"),
    ("statsAll", "FACTS FACTS_SILENT_G 10 ", "the same: its list has a group's name where this group stands"),
    (
        "brokerStatus",
        "commitLogDirCapacity ",
        "what the process can use; Apache counts what the file system keeps for root too",
    ),
    ("brokerStatus", "commitLogDiskRatio_", "there is one folder"),
    ("brokerStatus", "getTransferedTps ", "the exporter asks for the old spelling"),
    ("brokerStatus", "remainHowManyDataToCommit ", "the exporter needs it, whatever the store is"),
    ("brokerStatus", "remainTransientStoreBufferNumbs ", "there is no such store"),
    ("brokerStatus", "damagedMessages ", "damage, which RocketMQ does not count"),
    ("brokerStatus", "sendHeadersByTemplate ", "RocketMQ has one way to read them"),
    ("brokerStatus", "sendHeadersInFull ", "RocketMQ has one way to read them"),
    ("brokerStatus", "timerMessagesRecalled ", "RocketMQ does not count them"),
    ("brokerStatus", "popsWithoutRoom ", "RocketMQ does not count them"),
    ("brokerStatus", "memoryOfQueues ", "what tables cost, which RocketMQ does not say"),
    ("brokerStatus", "memoryOfIndex ", "what tables cost, which RocketMQ does not say"),
    ("brokerStatus", "memoryOfTopics ", "what tables cost, which RocketMQ does not say"),
    ("brokerStatus", "memoryOfGroups ", "what tables cost, which RocketMQ does not say"),
    ("brokerStatus", "memoryOfOffsets ", "what tables cost, which RocketMQ does not say"),
    ("brokerStatus", "memoryOfClients ", "what tables cost, which RocketMQ does not say"),
    ("brokerStatus", "damagedMessagesPassed ", "the same"),
    ("brokerStatus", "damagedMessagesMended ", "the same"),
    ("brokerStatus", "damagedMessagesLost ", "the same"),
    ("brokerStatus", "unreadableBlocks ", "the same"),
    ("brokerStatus", "failedReads ", "the same"),
    ("brokerStatus", "indexBlocksRebuilt ", "the same"),
    ("brokerStatus", "scrub", "how far the scrub is, which RocketMQ has not"),
    ("brokerStatus", "stage", "latency by stage, which RocketMQ does not measure"),
    ("brokerStatus", "EndTransactionThreadPoolQueueCapacity", "there are no thread pools"),
    ("brokerStatus", "ackThreadPoolQueueCapacity ", "the same"),
    ("brokerStatus", "litePullThreadPoolQueueCapacity ", "the same"),
    ("brokerStatus", "pullThreadPoolQueueCapacity ", "the same"),
    ("brokerStatus", "queryThreadPoolQueueCapacity ", "the same"),
    ("brokerStatus", "sendThreadPoolQueueCapacity ", "the same"),
    (
        "consumerProgress",
        "FACTS broker-a 0 10 4 6 ",
        "what is pulled and not committed is not kept: its row says 0 in flight",
    ),
    ("consumerProgress", "Consume Inflight Total", "the same"),
    (
        "consumerStatus -g FACTS_SILENT_G",
        "Caused by: ",
        "the answer comes before the tool gives up, and says who does not answer",
    ),
    ("queryMsgById -t FACTS -i FIRST_ID -g FACTS_SILENT_G", "", "the same"),
    ("updateBrokerConfig -b BROKER -k noSuchSetting", "", "what would change nothing is refused: Apache takes it"),
    ("updateBrokerConfig -b BROKER -k maxMessageSize -v much", "", "the same"),
    (
        "updateBrokerConfig -b BROKER -k messageDelayLevel",
        "",
        "what needs a new start is refused: Apache takes it and goes on as before",
    ),
    ("updateBrokerConfig -b BROKER -k rocketmqHome", "Caused by: ", "the same code in other words"),
    (
        "getBrokerConfig",
        "cleanFileForciblyEnable ",
        "a full disk refuses sends and removes nothing, unless it is asked to",
    ),
    (
        "topicRoute -t FACTS",
        "\"enableActingMaster\":",
        "a slave may serve locks while its master is away; Apache's does where a setting says so",
    ),
    ("getBrokerConfig", "syncFlushTimeout ", "what a send can wait for in turn must end before its client gives up"),
];

/// Figures of `brokerStatus` that time, size of a record, or the machine decide.
const FIGURES_MASKED: [&str; 17] = [
    "bootTimestamp",
    "commitLogDiskRatio",
    "commitLogMaxOffset",
    "consumeQueueDiskRatio",
    "earliestMessageTimeStamp",
    "getFoundTps",
    "getMessageEntireTimeMax",
    "getMissTps",
    "getTotalTps",
    "getTransferredTps",
    "putLatency99",
    "putLatency999",
    "putMessageAverageSize",
    "putMessageDistributeTime",
    "putMessageEntireTimeMax",
    "putMessageSizeTotal",
    "timerReadBehind",
];
/// The same of `getBrokerConfig`: what this test gives to one of them.
const SETTINGS_MASKED: [&str; 8] = [
    "bindAddress",
    "brokerIP2",
    "enabledAppendPropCRC",
    "haListenPort",
    "listenPort",
    "mappedFileSizeCommitLog",
    "messageDelayLevel",
    "storePathRootDir",
];

/// Lines of each command, in order.
type Facts = Vec<(String, Vec<String>)>;

#[test]
fn mqadmin_says_of_ringmq_what_it_says_of_apache() -> io::Result<()> {
    let apache = match Apache::locate() {
        Ok(apache) => apache,
        Err(missing) => return writeln!(io::stderr(), "skipped: {missing}"),
    };
    let name_server = apache.start_name_server().expect("it starts");
    let broker = apache.start_broker(&BrokerOptions::small(&name_server.address())).expect("it starts");
    let node = Node::start(&NodeOptions::default());
    let (theirs, ours) = thread::scope(|scope| {
        let theirs = scope.spawn(|| facts(&apache, &name_server.address(), &broker.address()));
        let ours = facts(&apache, &node.name_server(), &node.broker(0));
        (theirs.join().expect("the script runs"), ours)
    });
    compare(&theirs?, &ours?);
    Ok(())
}

/// Fails with each line that only one of them has.
fn compare(apache: &Facts, ours: &Facts) {
    let mut differences = Vec::new();
    for ((command, theirs), (_, own)) in apache.iter().zip(ours) {
        let only = |lines: &[String], others: &[String], sign: &str| {
            let is_shared = |line: &String| others.iter().any(|other| word(other) == word(line));
            // Of settings only those that both have.
            let only = lines
                .iter()
                .filter(|line| !others.contains(line) && (!command.starts_with("getBrokerConfig") || is_shared(line)));
            only.map(|line| (command.clone(), line.clone(), sign.to_owned())).collect::<Vec<_>>()
        };
        differences.extend(only(theirs, own, "-"));
        differences.extend(only(own, theirs, "+"));
    }
    let is_known = |(command, line, _): &(String, String, String)| {
        KNOWN_DIFFERENCES.iter().any(|(of, part, _)| command.starts_with(of) && line.starts_with(part))
    };
    let mut problems = String::new();
    for (of, part, _) in KNOWN_DIFFERENCES {
        if !differences.iter().any(|(command, line, _)| command.starts_with(of) && line.starts_with(part)) {
            writeln!(problems, "`{part}` of {of} no longer differs: take it out of KNOWN_DIFFERENCES")
                .expect("a string takes all");
        }
    }
    differences.retain(|difference| !is_known(difference));
    for (command, line, sign) in &differences {
        writeln!(problems, "{command}: {sign} {line}").expect("a string takes all");
    }
    assert!(problems.is_empty(), "- Apache, + ringmq:\n{problems}");
}

/// Makes a topic and two groups with a member each, and runs the commands.
fn facts(apache: &Apache, name_server: &str, broker: &str) -> io::Result<Facts> {
    // It takes a while to come up.
    let mut mqadmin = apache.start_mqadmin(name_server).unwrap_or_else(|missing| panic!("{missing}"));
    let mut operator = Client::connect(broker)?;
    operator.create_topic(TOPIC, 2)?;
    let member = Member::start(broker, CLIENT, GROUP, TOPIC, Manner::Answers)?;
    let silent = Member::start(broker, SILENT_CLIENT, SILENT_GROUP, TOPIC, Manner::Silent)?;
    let mut first_id = String::new();
    for number in 0..SENT {
        let receipt =
            operator.send_with(TOPIC, 0, format!("body {number}").as_bytes(), &[("TAGS", "a"), ("KEYS", "k")])?;
        if number == 0 {
            first_id = receipt.msg_id;
        }
    }
    operator.send_with(TOPIC, 1, b"late", &[("DELAY", "18")])?;
    operator.send_with("RMQ_SYS_TRACE_TOPIC", 0, trace_of("TRACED").as_bytes(), &[("KEYS", "TRACED")])?;
    wait_for("dispatch", || operator.max_offset(TOPIC, 0).ok().filter(|offset| *offset == SENT));
    operator.pull(GROUP, TOPIC, 0, 0, 32)?;
    operator.commit_offset(GROUP, TOPIC, 0, CONSUMED)?;
    operator.commit_offset(GROUP, TOPIC, 1, 0)?;
    let mut facts = Facts::new();
    let masks = [(broker, "BROKER"), (name_server, "NAME_SERVER"), (first_id.as_str(), "FIRST_ID")];
    for (needed, batch) in commands(broker, &first_id) {
        if needed == Needs::Minutes {
            wait_for_minutes(&mut operator);
        }
        for (command, output) in batch.iter().zip(mqadmin.run(&batch)) {
            facts.push((masked(command, &masks), lines_of(command, &output, &masks)));
            if std::env::var_os("RINGMQ_SAY_OUTPUT").is_some() {
                eprintln!("==== {broker} {command}\n{output}");
            }
        }
        for (name, member) in [("member", &member), ("silent", &silent)] {
            let asked = member.take_asked();
            facts.push((
                format!("asked of {name}"),
                asked.iter().map(|line| normal("", &masked(line, &masks))).collect(),
            ));
        }
        let mut offset = |queue| operator.consumer_offset(GROUP, TOPIC, queue);
        let offsets = [offset(0)?, offset(1)?];
        facts.push(("offsets".to_owned(), vec![format!("{offsets:?}")]));
    }
    Ok(facts)
}

/// What a batch of commands waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Needs {
    Nothing,
    /// The broker's sums of the last minute: they are made of samples that are taken each 10 s, two at least.
    Minutes,
}

/// Waits until the sums of the last minute have what was sent and pulled.
fn wait_for_minutes(operator: &mut Client) {
    let mut has_all = |name: &str, key: &str| {
        let request = Frame::request(VIEW_BROKER_STATS_DATA).ext("statsName", name).ext("statsKey", key);
        let answer = operator.call(request).ok().filter(|answer| answer.code == code::SUCCESS)?;
        (answer.json().ok()?["statsMinute"]["sum"].as_i64()? == SENT).then_some(())
    };
    wait_for("sum of what was sent", || has_all("TOPIC_PUT_NUMS", TOPIC));
    wait_for("sum of what was pulled", || has_all("GROUP_GET_NUMS", &format!("{TOPIC}@{GROUP}")));
}

/// Batches of commands, for after each it is told what the members were asked, and where the group stands.
fn commands(broker: &str, first_id: &str) -> Vec<(Needs, Vec<String>)> {
    let sums = [
        format!("statsAll -t {TOPIC}"),
        format!("statsAll -a -t {TOPIC}"),
        "statsAll -t NO_SUCH_TOPIC".to_owned(),
        format!("brokerStatus -b {broker}"),
        "brokerStatus -c DefaultCluster".to_owned(),
        format!("consumerProgress -g {GROUP}"),
    ];
    let looks = [
        format!("consumerStatus -g {GROUP}"),
        format!("consumerStatus -g {GROUP} -s"),
        format!("consumerStatus -g {GROUP} -i {CLIENT}"),
        format!("consumerStatus -g {GROUP} -i {CLIENT} -s"),
        format!("consumerStatus -g {GROUP} -i nobody@1"),
        "consumerStatus -g NO_SUCH_GROUP".to_owned(),
        format!("queryMsgById -t {TOPIC} -i {first_id} -g {GROUP} -d {CLIENT}"),
        format!("queryMsgById -t {TOPIC} -i {first_id} -g {GROUP} -d nobody@1"),
        format!("queryMsgById -t {TOPIC} -i {first_id} -g NO_SUCH_GROUP -d {CLIENT}"),
        format!("getBrokerConfig -b {broker}"),
    ];
    let silent = [
        format!("consumerStatus -g {SILENT_GROUP} -i {SILENT_CLIENT}"),
        format!("queryMsgById -t {TOPIC} -i {first_id} -g {SILENT_GROUP} -d {SILENT_CLIENT}"),
    ];
    let resets = vec![
        format!("resetOffsetByTime -g {GROUP} -t {TOPIC} -s 0"),
        format!("resetOffsetByTime -g {GROUP} -t {TOPIC} -s now"),
        format!("resetOffsetByTime -g {GROUP} -t {TOPIC} -s 1700000000000 -f false"),
        format!("resetOffsetByTime -g {GROUP} -t NO_SUCH_TOPIC -s 0"),
        format!("resetOffsetByTime -g NO_SUCH_GROUP -t {TOPIC} -s 0"),
        format!("skipAccumulatedMessage -g {GROUP} -t {TOPIC}"),
    ];
    let one_queue = [("0", "3"), ("0", "99"), ("7", "0"), ("1", "0")].map(|(queue, offset)| {
        format!("resetOffsetByTime -g {GROUP} -t {TOPIC} -s 0 -b {broker} -q {queue} -o {offset}")
    });
    let change = |pair: &str| {
        format!(
            "updateBrokerConfig -b {broker} -k {} -v {}",
            pair.split_once('=').expect("=").0,
            pair.split_once('=').expect("=").1
        )
    };
    let changes = [
        "maxMessageSize=1048576",
        "autoCreateTopicEnable=false",
        "brokerPermission=4",
        "brokerPermission=6",
        "useServerSideResetOffset=false",
    ];
    let refused = ["noSuchSetting=1", "maxMessageSize=much", "messageDelayLevel=1s", "rocketmqHome=/tmp"];
    let of_all = [
        "updateBrokerConfig -c DefaultCluster -k traceOn -v false".to_owned(),
        format!("getBrokerConfig -b {broker}"),
        "getBrokerConfig -c DefaultCluster".to_owned(),
    ];
    let changes = changes.iter().chain(&refused).map(|pair| change(pair)).chain(of_all);
    vec![
        (Needs::Nothing, looks.to_vec()),
        // The patience that this takes passes while the minutes are summed up.
        (Needs::Nothing, silent.to_vec()),
        (Needs::Minutes, sums.to_vec()),
        (Needs::Nothing, resets.clone()),
        (Needs::Nothing, one_queue.to_vec()),
        (Needs::Nothing, changes.collect()),
        (Needs::Nothing, resets),
        (Needs::Nothing, daily(broker)),
    ]
}

/// What a producer traces of a message with this id. Source: RocketMQ `TraceDataEncoder`.
fn trace_of(id: &str) -> String {
    let fields = ["Pub", "1700000000000", "R", "P", TOPIC, id, "a", "k", "127.0.0.1:1", "6", "3", "0", "0", "true"];
    fields.join("\u{1}") + "\u{2}"
}

/// What is asked now and then, last: it makes groups, and throws away.
fn daily(broker: &str) -> Vec<String> {
    let settings = "-s false -m true -d true -o true -q 2 -r 5 -i 0 -w 1 -a false";
    vec![
        format!("resetOffsetByTime -g {GROUP} -t {TOPIC} -s 4102444800000"),
        format!("cloneGroupOffset -s {GROUP} -d FACTS_CLONE -t {TOPIC} -o true"),
        format!("cloneGroupOffset -s {GROUP} -d FACTS_CLONE -t NO_SUCH_TOPIC -o true"),
        format!("brokerConsumeStats -b {broker}"),
        "queryMsgTraceById -i TRACED".to_owned(),
        "queryMsgTraceById -i NEVER_TRACED".to_owned(),
        format!("queryCq -t {TOPIC} -q 0 -i 8 -c 3 -b {broker}"),
        format!("queryCq -t {TOPIC} -q 0 -i 8 -c 1 -b {broker} -g {GROUP}"),
        format!("queryCq -t {TOPIC} -q 0 -i 8 -c 1 -b {broker} -g NO_SUCH_GROUP"),
        format!("queryCq -t NO_SUCH_TOPIC -q 0 -i 0 -c 1 -b {broker}"),
        format!("updateSubGroup -b {broker} -g FACTS_SETTINGS {settings}"),
        "getConsumerConfig -g FACTS_SETTINGS".to_owned(),
        format!("updateOrderConf -t {TOPIC} -m put -v broker-a:2"),
        format!("updateOrderConf -t {TOPIC} -m get"),
        format!("topicRoute -t {TOPIC}"),
        format!("updateOrderConf -t {TOPIC} -m delete"),
        format!("updateOrderConf -t {TOPIC} -m get"),
        format!("cleanExpiredCQ -b {broker}"),
        format!("cleanUnusedTopic -b {broker}"),
        format!("deleteExpiredCommitLog -b {broker}"),
    ]
}

fn masked(text: &str, masks: &[(&str, &str)]) -> String {
    masks.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

/// The lines of an output, words separated by one space, without stack traces and addresses of documentation.
fn lines_of(command: &str, output: &str, masks: &[(&str, &str)]) -> Vec<String> {
    let is_said = |line: &&str| {
        let line = line.trim_start();
        !line.is_empty()
            && !["at ", "...", "See https:", "For more information"].iter().any(|begin| line.starts_with(begin))
    };
    let lines = output.lines().filter(is_said);
    lines.map(|line| normal(command, &masked(line, masks))).collect()
}

fn normal(command: &str, line: &str) -> String {
    let mut words: Vec<String> = line.split_whitespace().map(without_time).collect();
    if command.starts_with("statsAll") || command.starts_with("consumerProgress") {
        // A rate.
        for word in words.iter_mut().filter(|word| word.contains('.') && word.parse::<f64>().is_ok()) {
            "*".clone_into(word);
        }
    }
    if command.starts_with("queryCq") {
        // A record here has its checksum.
        words.retain(|word| {
            !["ConsumeQueueData{physicOffset=", "physicSize="].iter().any(|size| word.starts_with(size))
        });
    }
    let of_broker = if words.first().is_some_and(|word| word == "BROKER") { words.remove(0) } else { String::new() };
    let mask = |keys: &[&str]| words.first().is_some_and(|word| keys.contains(&word.as_str()));
    let is_masked = (command.starts_with("brokerStatus") && (mask(&FIGURES_MASKED) || mask(&["putTps", "runtime"])))
        || (command.starts_with("getBrokerConfig") && mask(&SETTINGS_MASKED));
    if is_masked {
        words.truncate(1);
    }
    if !of_broker.is_empty() {
        words.push(format!("({of_broker})"));
    }
    words.join(" ")
}

/// A word in which times are `#`: eleven digits in a row and more, dates, and times of the day.
fn without_time(word: &str) -> String {
    let is_time_of_day = word.len() == 8 && word.split(':').count() == 3;
    let is_date = word.len() == 10 && word.split('-').filter(|part| part.parse::<u32>().is_ok()).count() == 3;
    if is_time_of_day || is_date {
        return "#".to_owned();
    }
    let mut masked = String::new();
    let mut digits = String::new();
    for letter in word.chars().chain([' ']) {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        masked.push_str(if digits.len() > 10 { "#" } else { &digits });
        digits.clear();
        masked.push(letter);
    }
    masked.pop();
    masked
}

fn word(line: &str) -> &str {
    line.split(' ').next().unwrap_or_default()
}

/// The setting is online, and what a start makes is made by a start: RocketMQ makes the topic from which producers' topics are made when it
/// starts with the setting.
#[test]
fn producers_topics_that_are_allowed_online_need_what_a_start_makes() -> io::Result<()> {
    let codes = |broker: &str| -> io::Result<Vec<i32>> {
        let mut client = Client::connect(broker)?;
        let requests = [
            Frame::request(UPDATE_BROKER_CONFIG).body("autoCreateTopicEnable=true\n"),
            Frame::request(code::GET_TOPIC_CONFIG).ext("topic", "TBW102"),
            Client::send_request("NEW", 0, b"x", &[]),
        ];
        requests.into_iter().map(|request| Ok(client.call(request)?.code)).collect()
    };
    let node = Node::start(&NodeOptions { auto_create_topics: false, ..NodeOptions::default() });
    let expected = vec![code::SUCCESS, code::TOPIC_NOT_EXIST, code::TOPIC_NOT_EXIST];
    assert_eq!(codes(&node.broker(0))?, expected);
    let apache = match Apache::locate() {
        Ok(apache) => apache,
        Err(missing) => return writeln!(io::stderr(), "skipped: {missing}"),
    };
    let name_server = apache.start_name_server().expect("it starts");
    let mut options = BrokerOptions::small(&name_server.address());
    options.more.push(("autoCreateTopicEnable".to_owned(), "false".to_owned()));
    let broker = apache.start_broker(&options).expect("it starts");
    assert_eq!(codes(&broker.address())?, expected, "Apache");
    Ok(())
}
