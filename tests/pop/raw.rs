//! Requests by hand: who has which queues, what a pop is answered, and what becomes of messages that are not acknowledged, or late.
//!
//! Each part has topics and groups of its own, so that all run side by side: most of them wait.
use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, Facts, Frame, Record, code, tell_fact, wait_for};
use serde_json::{Value, json};

const QUERY_ASSIGNMENT: i32 = 400;
const SET_MODE: i32 = 401;
const ALL_MODES: i32 = 402;
const POP: i32 = 200_050;
const PEEK: i32 = 200_052;
const NOTIFICATION: i32 = 200_054;
const POLLING_INFO: i32 = 200_055;
pub(crate) const ACK: i32 = 200_051;
const CHANGE_INVISIBLE: i32 = 200_053;
const BATCH_ACK: i32 = 200_151;

/// Longest wait for a message that comes again: Apache takes some seconds more than its time.
const AGAIN: Duration = Duration::from_secs(40);
/// For how long messages are a consumer's that are to come again.
const SHORT_MS: i64 = 1_500;
const LONG_MS: i64 = 120_000;

type Part = fn(&mut Script) -> io::Result<()>;

struct Script {
    client: Client,
    broker: String,
    facts: Facts,
}

/// Runs the script against one broker and returns its facts.
pub(crate) fn run(broker: &str) -> io::Result<Facts> {
    let parts: [Part; 8] = [
        Script::assignments,
        Script::pops,
        Script::filters,
        Script::acks,
        Script::tries,
        Script::changes,
        Script::looks,
        Script::in_order,
    ];
    thread::scope(|scope| {
        let run = |part: Part| {
            move || {
                let client = Client::connect(broker)?;
                let mut script = Script { client, broker: broker.to_owned(), facts: Facts::new() };
                part(&mut script)?;
                Ok::<Facts, io::Error>(script.facts)
            }
        };
        let running: Vec<_> = parts.map(|part| scope.spawn(run(part))).into_iter().collect();
        let mut facts = Facts::new();
        for part in running {
            facts.extend(part.join().expect("it runs")?);
        }
        Ok(facts)
    })
}

/// A pop's answer.
struct Popped {
    response: Frame,
    records: Vec<Record>,
}

/// What differs from run to run.
fn timeless(text: &str) -> String {
    let mut told = String::new();
    let mut digits = String::new();
    for letter in text.chars().chain(['\0']) {
        if letter.is_ascii_digit() {
            digits.push(letter);
            continue;
        }
        told.push_str(if digits.len() == 13 { "<time>" } else { &digits });
        digits.clear();
        told.push(letter);
    }
    told.trim_end_matches('\0').to_owned()
}

/// A handle without its times, and without the revive queue, which is the broker's own.
fn handle_told(handle: &str) -> String {
    let fields: Vec<&str> = handle.split(' ').collect();
    let told = fields.iter().enumerate().map(|(at, field)| match at {
        1 => "<time>",
        3 => "<revive>",
        5 => "<broker>",
        _ => field,
    });
    told.collect::<Vec<_>>().join(" ")
}

/// An answer's fields, without the revive queue. Those of a failure say nothing where Apache writes them: they are zeros.
fn ext_told(response: &Frame) -> BTreeMap<&str, String> {
    let is_told = |name: &str, value: &str| {
        name != "reviveQid" && (response.code == code::SUCCESS || !["", "0", "false"].contains(&value))
    };
    let told = response.ext.iter().filter(|(name, value)| is_told(name, value));
    told.map(|(name, value)| (name.as_str(), timeless(value))).collect()
}

fn describe(record: &Record) -> String {
    let mut properties = record.properties.clone();
    properties.remove("__CRC32#");
    for (name, value) in &mut properties {
        *value = match name.as_str() {
            "POP_CK" => handle_told(value),
            "UNIQ_KEY" => "<id>".to_owned(),
            _ => timeless(value),
        };
    }
    let Record { topic, queue_id, queue_offset, reconsume_times, flag, sys_flag, .. } = record;
    let body = String::from_utf8_lossy(&record.body);
    format!(
        "{body}: topic {topic} queue {queue_id} at {queue_offset} reconsumed {reconsume_times} flag {flag} sysFlag {sys_flag} {properties:?}"
    )
}

/// A pop that wants the first messages for a new group.
pub(crate) fn pop_request(
    group: &str,
    topic: &str,
    queue: i32,
    messages: i32,
    invisible_ms: i64,
    poll_ms: i64,
) -> Frame {
    Frame::request(POP)
        .ext("consumerGroup", group)
        .ext("topic", topic)
        .ext("queueId", queue)
        .ext("maxMsgNums", messages)
        .ext("invisibleTime", invisible_ms)
        .ext("pollTime", poll_ms)
        .ext("bornTime", 0)
        .ext("initMode", 0)
        .ext("order", false)
}

/// An acknowledgement of a message, or another request that names it so.
pub(crate) fn ack_request(code: i32, group: &str, record: &Record) -> Frame {
    let handle = &record.properties["POP_CK"];
    let fields: Vec<&str> = handle.split(' ').collect();
    let topic = if fields[4] == "1" && !record.topic.starts_with("%RETRY%") {
        format!("%RETRY%{group}_{}", record.topic)
    } else {
        record.topic.clone()
    };
    Frame::request(code)
        .ext("consumerGroup", group)
        .ext("topic", topic)
        .ext("queueId", fields[6])
        .ext("offset", fields[7])
        .ext("extraInfo", handle)
}

/// The messages of a pop's answer, as stock clients have them: who popped from its topic makes the handle of what the answer says.
pub(crate) fn records_of(response: &Frame) -> io::Result<Vec<Record>> {
    let mut records = if response.code == code::SUCCESS { Record::decode_all(&response.body)? } else { Vec::new() };
    let ext = |name: &str| response.ext.get(name).map_or("", String::as_str);
    for record in records.iter_mut().filter(|record| !record.properties.contains_key("POP_CK")) {
        let (queue, offset) = (record.queue_id, record.queue_offset);
        let begins = format!("0 {queue} ");
        let start = ext("startOffsetInfo").split(';').find_map(|part| part.strip_prefix(&begins)).unwrap_or_default();
        let (popped, invisible, revive) = (ext("popTime"), ext("invisibleTime"), ext("reviveQid"));
        let handle = format!("{start} {popped} {invisible} {revive} 0 broker-a {queue} {offset}");
        record.properties.insert("POP_CK".to_owned(), handle);
    }
    Ok(records)
}

impl Script {
    fn tell(&mut self, scenario: &str, fact: String) {
        tell_fact(&mut self.facts, scenario, fact);
    }

    fn send(&mut self, topic: &str, queue: i32, body: &str, properties: &[(&str, &str)]) -> io::Result<()> {
        let receipt = self.client.send_with(topic, queue, body.as_bytes(), properties)?;
        // Apache's broker has it in its queue a moment later.
        wait_for("the message in its queue", || {
            (self.client.max_offset(topic, queue).ok()? > receipt.queue_offset).then_some(())
        });
        Ok(())
    }

    fn pop(&mut self, request: Frame) -> io::Result<Popped> {
        let response = self.client.call(request)?;
        let records = records_of(&response)?;
        Ok(Popped { response, records })
    }

    /// Pops, tells the answer, and returns the messages.
    fn tell_pop(&mut self, scenario: &str, case: &str, request: Frame) -> io::Result<Vec<Record>> {
        let Popped { response, records } = self.pop(request)?;
        let ext = ext_told(&response);
        // The first line, up to the client's address.
        let remark = response.remark.as_deref().and_then(|remark| remark.lines().next());
        let remark = remark.map(|remark| remark.split(" consumer:").next().unwrap_or_default().trim_end());
        self.tell(scenario, format!("{case}: code {} remark {remark:?} {ext:?}", response.code));
        for record in &records {
            self.tell(scenario, format!("{case}: {}", describe(record)));
        }
        Ok(records)
    }

    /// Pops until something comes, and tells what.
    fn tell_again(&mut self, scenario: &str, case: &str, request: &Frame) -> io::Result<Record> {
        let begun = Instant::now();
        while begun.elapsed() < AGAIN {
            let Popped { response, mut records } = self.pop(request.clone())?;
            if let Some(record) = records.pop() {
                let told = |name: &str| response.ext.get(name).cloned().unwrap_or_default();
                let (starts, offsets) = (told("startOffsetInfo"), told("msgOffsetInfo"));
                self.tell(scenario, format!("{case}: {} starts {starts} offsets {offsets}", describe(&record)));
                return Ok(record);
            }
        }
        Err(io::Error::other(format!("{scenario}: {case}: nothing has come again")))
    }

    /// Checks that a pop gets nothing.
    fn tell_nothing(&mut self, scenario: &str, case: &str, request: Frame) -> io::Result<()> {
        let popped = self.pop(request)?;
        self.tell(scenario, format!("{case}: {} messages", popped.records.len()));
        Ok(())
    }

    fn tell_code(&mut self, scenario: &str, case: &str, request: Frame) -> io::Result<Frame> {
        let response = self.client.call(request)?;
        self.tell(scenario, format!("{case}: code {} {:?}", response.code, ext_told(&response)));
        Ok(response)
    }

    fn set_mode(&mut self, group: &str, topic: &str, mode: &str, shares: i32) -> io::Result<Frame> {
        let body = json!({"consumerGroup": group, "topic": topic, "mode": mode, "popShareQueueNum": shares});
        self.client.call(Frame::request(SET_MODE).body(body.to_string()))
    }

    /// Which queues a consumer has.
    fn assigned(&mut self, group: &str, topic: &str, client: &str, strategy: &str, model: &str) -> io::Result<String> {
        let body = json!({
            "topic": topic, "consumerGroup": group, "clientId": client, "strategyName": strategy, "messageModel": model,
        });
        let response = self.client.call(Frame::request(QUERY_ASSIGNMENT).body(body.to_string()))?;
        if response.code != code::SUCCESS {
            return Ok(format!("code {}", response.code));
        }
        let body: Value = serde_json::from_slice(&response.body)?;
        let Some(assignments) = body["messageQueueAssignments"].as_array() else {
            return Ok(format!("nothing: {body}"));
        };
        let mut queues: Vec<String> = assignments
            .iter()
            .map(|one| {
                let queue = &one["messageQueue"];
                let (broker, id, topic) = (&queue["brokerName"], &queue["queueId"], &queue["topic"]);
                format!("{topic} of {broker}: {id} by {}", one["mode"])
            })
            .collect();
        queues.sort();
        Ok(format!("{queues:?}"))
    }

    fn assignments(&mut self) -> io::Result<()> {
        const SCENARIO: &str = "assignments";
        const TOPIC: &str = "DEALT";
        const GROUP: &str = "G_DEALT";
        let clients = ["c1", "c2", "c3", "c4"];
        self.client.create_topic(TOPIC, 6)?;
        let mut connections = Vec::new();
        for client in clients {
            let mut connection = Client::connect(&self.broker)?;
            connection.heartbeat(client, GROUP, TOPIC)?;
            connections.push(connection);
        }
        for (group, topic, client, strategy, model) in [
            (GROUP, TOPIC, "c1", "AVG", "CLUSTERING"),
            (GROUP, TOPIC, "c4", "AVG", "CLUSTERING"),
            (GROUP, TOPIC, "c2", "AVG_BY_CIRCLE", "CLUSTERING"),
            (GROUP, TOPIC, "c2", "MACHINE_ROOM", "CLUSTERING"),
            (GROUP, TOPIC, "c9", "AVG", "CLUSTERING"),
            (GROUP, TOPIC, "c1", "AVG", "BROADCASTING"),
            ("G_NOBODY", TOPIC, "c1", "AVG", "CLUSTERING"),
            (GROUP, "NOT_THERE", "c1", "AVG", "CLUSTERING"),
            (GROUP, "%RETRY%G_DEALT", "c1", "AVG", "CLUSTERING"),
        ] {
            let found = self.assigned(group, topic, client, strategy, model)?;
            self.tell(SCENARIO, format!("{group} {topic} {client} {strategy} {model}: {found}"));
        }
        for (case, group, topic) in [
            ("of a retry topic", GROUP, "%RETRY%G_DEALT"),
            ("of a topic that is not there", GROUP, "NOT_THERE"),
            ("of a group that is new", "G_NEW", TOPIC),
        ] {
            let response = self.set_mode(group, topic, "POP", 1)?;
            self.tell(SCENARIO, format!("a mode {case}: code {} {:?}", response.code, response.remark));
        }
        for shares in [-1, 0, 1, 2, 3, 9] {
            self.set_mode(GROUP, TOPIC, "POP", shares)?;
            for client in clients.into_iter().chain(["c9"]) {
                let found = self.assigned(GROUP, TOPIC, client, "AVG", "CLUSTERING")?;
                self.tell(SCENARIO, format!("{client} shares {shares}: {found}"));
            }
        }
        self.client.create_topic("DEALT_FEW", 2)?;
        self.set_mode(GROUP, "DEALT_FEW", "POP", 1)?;
        for client in clients.into_iter().chain(["c9"]) {
            let found = self.assigned(GROUP, "DEALT_FEW", client, "AVG", "CLUSTERING")?;
            self.tell(SCENARIO, format!("{client} of few: {found}"));
        }
        let all: Value = serde_json::from_slice(&self.client.expect_success("modes", Frame::request(ALL_MODES))?.body)?;
        for topic in [TOPIC, "DEALT_FEW"] {
            self.tell(SCENARIO, format!("modes of {topic}: {}", all["messageRequestModeMap"][topic]));
        }
        self.set_mode(GROUP, TOPIC, "PULL", 0)?;
        let found = self.assigned(GROUP, TOPIC, "c1", "AVG", "CLUSTERING")?;
        self.tell(SCENARIO, format!("by pull again: {found}"));
        Ok(())
    }

    fn pops(&mut self) -> io::Result<()> {
        const SCENARIO: &str = "pops";
        const TOPIC: &str = "POPPED";
        const GROUP: &str = "G_POPPED";
        self.client.create_topic(TOPIC, 2)?;
        let pop = |queue, messages| pop_request(GROUP, TOPIC, queue, messages, LONG_MS, 0);
        self.tell_pop(SCENARIO, "nothing there", pop(0, 2))?;
        for body in ["m0", "m1", "m2", "m3"] {
            self.send(TOPIC, 0, body, &[("TAGS", "a"), ("KEYS", body)])?;
        }
        self.send(TOPIC, 1, "of the other queue", &[])?;
        self.tell_pop(SCENARIO, "two", pop(0, 2))?;
        self.tell_pop(SCENARIO, "one", pop(0, 1))?;
        self.tell_pop(SCENARIO, "the rest", pop(0, 32))?;
        self.tell_pop(SCENARIO, "no more", pop(0, 32))?;
        self.tell_pop(SCENARIO, "of all queues", pop(-1, 32))?;
        self.tell_pop(SCENARIO, "no messages wanted", pop(-1, 0))?;
        self.tell_pop(SCENARIO, "33 messages", pop(-1, 33))?;
        self.tell_pop(SCENARIO, "a queue that is not there", pop(2, 1).ext("x", 1))?;
        self.tell_pop(SCENARIO, "a topic that is not there", pop(0, 1).ext("topic", "NOT_THERE"))?;
        self.tell_pop(SCENARIO, "made long ago", pop(0, 1).ext("bornTime", 1_600_000_000_000_i64))?;
        self.tell_pop(SCENARIO, "an expression that is none", pop(0, 1).ext("expType", "SQL92").ext("exp", "a ="))?;
        let held = Instant::now();
        self.tell_pop(SCENARIO, "held for a while", pop(0, 1).ext("pollTime", 1_500))?;
        assert!(held.elapsed() >= Duration::from_millis(1_000), "it was not held: {:?}", held.elapsed());
        let mut other = Client::connect(&self.broker)?;
        let waiting = other.start(pop(0, 1).ext("pollTime", 20_000))?;
        thread::sleep(Duration::from_millis(500));
        self.send(TOPIC, 0, "awaited", &[])?;
        let woken = other.finish(waiting)?;
        let bodies: Vec<String> = Record::decode_all(&woken.body)?.iter().map(describe).collect();
        self.tell(SCENARIO, format!("woken: code {} {bodies:?}", woken.code));
        // A group that begins where nothing is to come any more but what comes from now on.
        let last = pop(0, 32).ext("consumerGroup", "G_POPPED_LAST").ext("initMode", 1);
        let found = self.pop(last)?;
        let bodies: Vec<String> =
            found.records.iter().map(|record| String::from_utf8_lossy(&record.body).into()).collect();
        self.tell(SCENARIO, format!("a new group that begins at the end: {bodies:?}"));
        // It may follow when what was popped is on the disk.
        for (queue, end) in [(0, 5), (1, 1)] {
            wait_for("the group's offset", || {
                (self.client.consumer_offset(GROUP, TOPIC, queue).ok()? == Some(end)).then_some(())
            });
        }
        Ok(())
    }

    fn filters(&mut self) -> io::Result<()> {
        const SCENARIO: &str = "filters";
        const TOPIC: &str = "SIFTED";
        const GROUP: &str = "G_SIFTED";
        self.client.create_topic(TOPIC, 1)?;
        for (body, tag) in [("m0", "a"), ("m1", "b"), ("m2", "a"), ("m3", "c"), ("m4", "b")] {
            self.send(TOPIC, 0, body, &[("TAGS", tag)])?;
        }
        let pop = |expression: &str| {
            pop_request(GROUP, TOPIC, 0, 32, SHORT_MS, 0).ext("expType", "TAG").ext("exp", expression)
        };
        let records = self.tell_pop(SCENARIO, "a", pop("a"))?;
        for record in &records {
            self.tell_code(SCENARIO, "acknowledged", ack_request(ACK, GROUP, record))?;
        }
        self.tell_pop(SCENARIO, "b, behind", pop("b"))?;
        self.send(TOPIC, 0, "m5", &[("TAGS", "b")])?;
        self.tell_pop(SCENARIO, "b", pop("b"))?;
        self.tell_again(SCENARIO, "b again", &pop("b").ext("pollTime", 2_000))?;
        Ok(())
    }

    fn acks(&mut self) -> io::Result<()> {
        const SCENARIO: &str = "acks";
        const TOPIC: &str = "ACKED";
        const GROUP: &str = "G_ACKED";
        self.client.create_topic(TOPIC, 1)?;
        for number in 0..8 {
            self.send(TOPIC, 0, &format!("m{number}"), &[])?;
        }
        let records = self.pop(pop_request(GROUP, TOPIC, 0, 4, LONG_MS, 0))?.records;
        let ack = |record: &Record| ack_request(ACK, GROUP, record);
        self.tell_code(SCENARIO, "one", ack(&records[0]))?;
        self.tell_code(SCENARIO, "the same again", ack(&records[0]))?;
        self.tell_code(SCENARIO, "a topic that is not there", ack(&records[1]).ext("topic", "NOT_THERE"))?;
        self.tell_code(SCENARIO, "a queue that is not there", ack(&records[1]).ext("queueId", 1))?;
        self.tell_code(SCENARIO, "no queue", ack(&records[1]).ext("queueId", -1))?;
        self.tell_code(SCENARIO, "beyond the end", ack(&records[1]).ext("offset", 9))?;
        self.tell_code(SCENARIO, "before the beginning", ack(&records[1]).ext("offset", -1))?;
        self.tell_code(SCENARIO, "no handle", ack(&records[1]).ext("extraInfo", "x"))?;
        self.tell_code(SCENARIO, "of another group", ack(&records[1]).ext("consumerGroup", "G_OTHER"))?;
        self.tell_code(SCENARIO, "not popped yet", ack(&records[1]).ext("offset", 6))?;
        let entry = |record: &Record, bits: &str| {
            let handle: Vec<&str> = record.properties["POP_CK"].split(' ').collect();
            let number = |at: usize| handle[at].parse::<i64>().expect("a number");
            json!({"c": GROUP, "t": TOPIC, "r": "0", "so": number(0), "q": 0, "rq": number(3), "pt": number(1),
                "it": number(2), "b": bits})
        };
        let batch = |entries: Vec<Value>| {
            Frame::request(BATCH_ACK).body(json!({"brokerName": "broker-a", "acks": entries}).to_string())
        };
        // Bits 1 and 2.
        self.tell_code(SCENARIO, "two at once", batch(vec![entry(&records[0], "Bg==")]))?;
        self.tell_code(SCENARIO, "none", batch(Vec::new()))?;
        let mut elsewhere = entry(&records[0], "Bg==");
        elsewhere["t"] = json!("NOT_THERE");
        self.tell_code(SCENARIO, "two at once of a topic that is not there", batch(vec![elsewhere]))?;
        // What is left comes again, and nothing else.
        let short = pop_request(GROUP, TOPIC, 0, 4, SHORT_MS, 0);
        let left = self.pop(short.clone())?.records;
        for record in left.iter().filter(|record| record.body != b"m5") {
            self.tell_code(SCENARIO, "in time", ack(record))?;
        }
        let again = self.tell_again(
            SCENARIO,
            "not acknowledged",
            &short.clone().ext("invisibleTime", LONG_MS).ext("pollTime", 2_000),
        )?;
        let late = left.iter().find(|record| record.body == b"m5").expect("it was popped");
        self.tell_code(SCENARIO, "too late", ack(late))?;
        self.tell_code(SCENARIO, "when it came again", ack(&again))?;
        self.tell_nothing(SCENARIO, "in the end", short.ext("pollTime", 6_000))?;
        let offset = self.client.consumer_offset(GROUP, TOPIC, 0)?;
        self.tell(SCENARIO, format!("offset {offset:?}"));
        let offset = self.client.consumer_offset(GROUP, &format!("%RETRY%{GROUP}_{TOPIC}"), 0)?;
        self.tell(SCENARIO, format!("offset of what is tried again: {offset:?}"));
        Ok(())
    }

    fn tries(&mut self) -> io::Result<()> {
        const SCENARIO: &str = "tries";
        const TOPIC: &str = "TRIED";
        const GROUP: &str = "G_TRIED";
        self.client.create_topic(TOPIC, 1)?;
        let group = json!({"groupName": GROUP, "retryMaxTimes": 2, "consumeEnable": true});
        self.client.expect_success("a group", Frame::request(200).body(group.to_string()))?;
        self.send(TOPIC, 0, "with a tag", &[("TAGS", "a"), ("KEYS", "k"), ("own", "text")])?;
        let short = pop_request(GROUP, TOPIC, -1, 1, SHORT_MS, 2_000);
        self.tell_again(SCENARIO, "first", &short)?;
        for nth in ["second", "third", "fourth"] {
            self.tell_again(SCENARIO, nth, &short)?;
        }
        // Beyond the group's tries it comes all the same.
        let last = self.tell_again(SCENARIO, "fifth", &short.clone().ext("invisibleTime", LONG_MS))?;
        self.tell_code(SCENARIO, "acknowledged", ack_request(ACK, GROUP, &last))?;
        self.send(TOPIC, 0, "without a tag", &[("own", "text")])?;
        self.tell_again(SCENARIO, "first", &short)?;
        let last = self.tell_again(SCENARIO, "second", &short.clone().ext("invisibleTime", LONG_MS))?;
        self.tell_code(SCENARIO, "acknowledged", ack_request(ACK, GROUP, &last))?;
        self.tell_nothing(SCENARIO, "in the end", short.ext("pollTime", 5_000))?;
        for topic in [format!("%RETRY%{GROUP}_{TOPIC}"), format!("%DLQ%{GROUP}")] {
            let found = self.client.call(Frame::request(code::GET_TOPIC_CONFIG).ext("topic", &topic))?;
            let config: Value = serde_json::from_slice(&found.body).unwrap_or_default();
            let queues = (&config["readQueueNums"], &config["writeQueueNums"], &config["perm"]);
            self.tell(SCENARIO, format!("{topic}: code {} {queues:?}", found.code));
        }
        Ok(())
    }

    fn changes(&mut self) -> io::Result<()> {
        const SCENARIO: &str = "changes";
        const TOPIC: &str = "CHANGED";
        const GROUP: &str = "G_CHANGED";
        self.client.create_topic(TOPIC, 1)?;
        self.send(TOPIC, 0, "sooner", &[])?;
        let long = pop_request(GROUP, TOPIC, 0, 1, LONG_MS, 2_000);
        let change = |record: &Record, ms: i64| ack_request(CHANGE_INVISIBLE, GROUP, record).ext("invisibleTime", ms);
        let record = self.tell_again(SCENARIO, "popped", &long)?;
        for (case, request) in [
            ("a topic that is not there", change(&record, 1).ext("topic", "NOT_THERE")),
            ("a queue that is not there", change(&record, 1).ext("queueId", 1)),
            ("at the end", change(&record, 1).ext("offset", 1)),
            ("no handle", change(&record, 1).ext("extraInfo", "x")),
        ] {
            self.tell_code(SCENARIO, case, request)?;
        }
        self.tell_code(SCENARIO, "sooner", change(&record, SHORT_MS))?;
        let again = self.tell_again(SCENARIO, "sooner", &long)?;
        self.tell_code(SCENARIO, "acknowledged", ack_request(ACK, GROUP, &again))?;
        self.send(TOPIC, 0, "later", &[])?;
        let short = long.clone().ext("invisibleTime", 2_000);
        let record = self.tell_again(SCENARIO, "popped for later", &short)?;
        let changed = self.tell_code(SCENARIO, "later", change(&record, 30_000))?;
        self.tell_nothing(SCENARIO, "not yet", short.clone().ext("pollTime", 8_000))?;
        // The new handle: its own offset first, and the new times.
        let mut renewed = record.clone();
        let offset = record.queue_offset;
        let (popped, invisible, revive) =
            (&changed.ext["popTime"], &changed.ext["invisibleTime"], &changed.ext["reviveQid"]);
        let handle = format!("{offset} {popped} {invisible} {revive} 0 broker-a 0 {offset}");
        renewed.properties.insert("POP_CK".to_owned(), handle);
        self.tell_code(SCENARIO, "later still", change(&renewed, 20_000))?;
        self.tell_code(SCENARIO, "by the first handle", change(&record, 20_000))?;
        Ok(())
    }

    fn looks(&mut self) -> io::Result<()> {
        const SCENARIO: &str = "looks";
        const TOPIC: &str = "SEEN";
        const GROUP: &str = "G_SEEN";
        self.client.create_topic(TOPIC, 2)?;
        let ask = |code: i32, queue: i32| {
            Frame::request(code).ext("consumerGroup", GROUP).ext("topic", TOPIC).ext("queueId", queue)
        };
        let peek = |queue: i32, messages: i32| ask(PEEK, queue).ext("maxMsgNums", messages);
        let notify = |queue: i32, poll_ms: i64| ask(NOTIFICATION, queue).ext("pollTime", poll_ms).ext("bornTime", 0);
        let tell_peek = |script: &mut Script, case: &str, request: Frame| -> io::Result<()> {
            let response = script.client.call(request)?;
            let mut ext = ext_told(&response);
            // Zeros of a pop's answer.
            ext.retain(|name, _| *name == "restNum");
            let records = if response.code == code::SUCCESS { Record::decode_all(&response.body)? } else { Vec::new() };
            let records: Vec<String> = records.iter().map(describe).collect();
            let remark = response.remark.as_deref().and_then(|remark| remark.lines().next());
            let remark = remark.map(|remark| remark.split(" consumer:").next().unwrap_or_default().trim_end());
            script.tell(SCENARIO, format!("peek {case}: code {} {remark:?} {ext:?} {records:?}", response.code));
            Ok(())
        };
        tell_peek(self, "at nothing", peek(0, 8))?;
        self.tell_code(SCENARIO, "word of nothing", notify(0, 0))?;
        self.tell_code(SCENARIO, "nobody waits", ask(POLLING_INFO, 0))?;
        for body in ["m0", "m1", "m2"] {
            self.send(TOPIC, 0, body, &[("TAGS", "a")])?;
        }
        tell_peek(self, "at two", peek(0, 2))?;
        tell_peek(self, "at all", peek(-1, 32))?;
        tell_peek(self, "at a queue that is not there", peek(2, 1))?;
        tell_peek(self, "at a topic that is not there", peek(0, 1).ext("topic", "NOT_THERE"))?;
        self.tell_code(SCENARIO, "word of some", notify(0, 0))?;
        self.tell_code(SCENARIO, "word of the other queue", notify(1, 0))?;
        self.tell_code(SCENARIO, "word of any queue", notify(-1, 0))?;
        self.tell_code(SCENARIO, "word of a topic that is not there", notify(0, 0).ext("topic", "NOT_THERE"))?;
        self.tell_pop(SCENARIO, "all but one", pop_request(GROUP, TOPIC, 0, 2, LONG_MS, 0))?;
        tell_peek(self, "behind what was popped", peek(0, 8))?;
        self.tell_pop(SCENARIO, "the last", pop_request(GROUP, TOPIC, 0, 2, LONG_MS, 0))?;
        tell_peek(self, "at the end", peek(0, 8))?;
        self.tell_code(SCENARIO, "word of the end", notify(0, 0))?;
        self.tell_code(SCENARIO, "word of the end, for a while", notify(0, 1_000))?;
        let mut other = Client::connect(&self.broker)?;
        let waiting = other.start(notify(-1, 20_000))?;
        thread::sleep(Duration::from_millis(500));
        self.send(TOPIC, 1, "awaited", &[])?;
        let word = other.finish(waiting)?;
        self.tell(SCENARIO, format!("word that was awaited: code {} {:?}", word.code, ext_told(&word)));
        let waiting = other.start(pop_request(GROUP, TOPIC, 0, 1, LONG_MS, 20_000))?;
        thread::sleep(Duration::from_millis(500));
        self.tell_code(SCENARIO, "one waits", ask(POLLING_INFO, 0))?;
        self.tell_code(SCENARIO, "of the other queue", ask(POLLING_INFO, 1))?;
        self.tell_code(SCENARIO, "of all queues", ask(POLLING_INFO, -1))?;
        self.tell_code(SCENARIO, "of another group", ask(POLLING_INFO, 0).ext("consumerGroup", "G_OTHER"))?;
        self.send(TOPIC, 0, "awaited", &[])?;
        let popped = other.finish(waiting)?;
        self.tell(SCENARIO, format!("it came: code {}", popped.code));
        self.tell_code(SCENARIO, "nobody waits any more", ask(POLLING_INFO, 0))?;
        Ok(())
    }

    fn in_order(&mut self) -> io::Result<()> {
        const SCENARIO: &str = "in-order";
        const TOPIC: &str = "ORDERED";
        const GROUP: &str = "G_ORDERED";
        self.client.create_topic(TOPIC, 1)?;
        for number in 0..6 {
            self.send(TOPIC, 0, &format!("m{number}"), &[])?;
        }
        let pop = |messages: i32, ms: i64| pop_request(GROUP, TOPIC, 0, messages, ms, 0).ext("order", true);
        let ack = |record: &Record| ack_request(ACK, GROUP, record);
        let first = self.tell_pop(SCENARIO, "two", pop(2, LONG_MS))?;
        self.tell_pop(SCENARIO, "not yet", pop(2, LONG_MS))?;
        self.tell_code(SCENARIO, "the second", ack(&first[1]))?;
        self.tell_pop(SCENARIO, "not yet either", pop(2, LONG_MS))?;
        self.tell_code(SCENARIO, "one that is not out", ack(&first[1]).ext("offset", 3))?;
        let mut other = Client::connect(&self.broker)?;
        let waiting = other.start(pop(2, SHORT_MS).ext("pollTime", 20_000).ext("attemptId", "x"))?;
        thread::sleep(Duration::from_millis(500));
        self.tell_code(SCENARIO, "the first", ack(&first[0]))?;
        let answer = other.finish(waiting)?;
        let woken: Vec<String> = records_of(&answer)?.iter().map(describe).collect();
        self.tell(SCENARIO, format!("it is its turn: {:?} {woken:?}", answer.ext.get("orderCountInfo")));
        self.tell_pop(SCENARIO, "the same attempt", pop(2, SHORT_MS).ext("attemptId", "x"))?;
        self.tell_pop(SCENARIO, "another attempt", pop(2, SHORT_MS).ext("attemptId", "y"))?;
        let waiting = other.start(pop(2, LONG_MS).ext("pollTime", 20_000))?;
        let answer = other.finish(waiting)?;
        let again = records_of(&answer)?;
        let woken: Vec<String> = again.iter().map(describe).collect();
        self.tell(SCENARIO, format!("their time is over: {:?} {woken:?}", answer.ext.get("orderCountInfo")));
        self.tell_code(SCENARIO, "the later one", ack(&again[1]))?;
        let change = ack_request(CHANGE_INVISIBLE, GROUP, &again[0]).ext("invisibleTime", 1_000);
        let changed = self.client.call(change)?;
        self.tell(SCENARIO, format!("changed: code {} reviveQid {:?}", changed.code, changed.ext.get("reviveQid")));
        self.tell_pop(SCENARIO, "not yet again", pop(3, LONG_MS))?;
        thread::sleep(Duration::from_millis(1_500));
        let last = self.tell_pop(SCENARIO, "changed, and what is behind it", pop(3, LONG_MS))?;
        for record in &last {
            self.tell_code(SCENARIO, "in turn", ack(record))?;
        }
        self.tell_code(SCENARIO, "once more", ack(&last[0]))?;
        let last = self.tell_pop(SCENARIO, "the last", pop(3, LONG_MS))?;
        self.tell_code(SCENARIO, "the last", ack(&last[0]))?;
        let offset = self.client.consumer_offset(GROUP, TOPIC, 0)?;
        self.tell(SCENARIO, format!("offset {offset:?}"));
        Ok(())
    }
}
