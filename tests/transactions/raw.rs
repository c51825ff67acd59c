//! Requests by hand: half messages that no client sends, ends of transactions that go wrong, and checks answered late, never, or not at once.
//!
//! The body of each message names its case, so that where it ends up can be told case by case.
use std::collections::BTreeMap;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use harness::{Client, Facts, Frame, Receipt, Record, code, log_offset_of, read_until_still, tell_fact};

const TOPIC: &str = "RAW";
/// Where what was checked goes.
const CHECKED: &str = "RAW_CHECKED";
const HALF: &str = "RMQ_SYS_TRANS_HALF_TOPIC";
const OP: &str = "RMQ_SYS_TRANS_OP_HALF_TOPIC";
const GIVEN_UP: &str = "TRANS_CHECK_MAX_TIME_TOPIC";
/// The group whose positions say how far the broker has looked.
const POSITIONS: &str = "CID_RMQ_SYS_TRANS";
/// A group none of whose producers is connected.
const GROUP: &str = "RAW_P";
const END: i32 = 37;
const CHECK: i32 = 39;
const RESUME: i32 = 323;
const PREPARED: i32 = 4;
const COMMIT: i32 = 8;
const ROLLBACK: i32 = 12;
/// Longer than all checks of a message take together.
const STILL: Duration = Duration::from_secs(7);

struct Script {
    client: Client,
    facts: Facts,
    /// The broker's id of each half message that was sent, and its case.
    places: BTreeMap<i64, String>,
}

/// A half message that was stored.
struct Half {
    unique: String,
    receipt: Receipt,
}

/// Runs the script against one broker and returns its facts.
pub(crate) fn run(broker: &str) -> io::Result<Facts> {
    let mut script = Script { client: Client::connect(broker)?, facts: Facts::new(), places: BTreeMap::new() };
    for topic in [TOPIC, CHECKED] {
        script.client.create_topic(topic, 1)?;
    }
    script.topics()?;
    script.halves()?;
    script.ends()?;
    script.checks(broker)?;
    script.immunity(broker)?;
    script.arrivals()?;
    script.resumes(broker)?;
    Ok(script.facts)
}

/// A half message of `group` with more properties, the last of a name counts.
fn half_request(topic: &str, case: &str, group: &str, more: &[(&str, &str)]) -> Frame {
    let unique = unique_of(case);
    let own =
        [("TRAN_MSG", "true"), ("PGROUP", group), ("UNIQ_KEY", &unique), ("TAGS", "a"), ("KEYS", "k"), ("own", "x")];
    let mut properties: Vec<(&str, &str)> =
        own.into_iter().filter(|(name, _)| more.iter().all(|(other, _)| name != other)).collect();
    properties.extend(more.iter().filter(|(_, value)| !value.is_empty()));
    Client::send_request(topic, 0, case.as_bytes(), &properties).ext("a", group).ext("f", PREPARED)
}

fn unique_of(case: &str) -> String {
    format!("U-{}", case.replace(' ', "-"))
}

fn end_request(half: &Half, group: &str, how: i32) -> Frame {
    Frame::request(END)
        .ext("topic", TOPIC)
        .ext("producerGroup", group)
        .ext("tranStateTableOffset", half.receipt.queue_offset)
        .ext("commitLogOffset", log_offset_of(&half.receipt.msg_id).expect("an id of the broker"))
        .ext("commitOrRollback", how)
        .ext("fromTransactionCheck", false)
        .ext("msgId", &half.unique)
        .ext("transactionId", &half.unique)
}

impl Script {
    fn tell(&mut self, scenario: &str, fact: String) {
        tell_fact(&mut self.facts, scenario, fact);
    }

    fn describe(&self, record: &Record) -> String {
        let mut properties = record.properties.clone();
        properties.remove("__CRC32#");
        if let Some(unique) = properties.get_mut("UNIQ_KEY").filter(|unique| !unique.starts_with("U-")) {
            "*".clone_into(unique);
        }
        if let Some(id) = properties.get_mut("__transactionId__").filter(|id| !id.starts_with("U-")) {
            "*".clone_into(id);
        }
        if let Some(offset) = properties.get_mut("TRAN_PREPARED_QUEUE_OFFSET") {
            "*".clone_into(offset);
        }
        let Record { topic, queue_id, reconsume_times, flag, sys_flag, prepared_transaction_offset: prepared, .. } =
            record;
        let prepared = match prepared {
            0 => "0".to_owned(),
            offset => self.places.get(offset).map_or("<elsewhere>".to_owned(), |case| format!("<place of {case}>")),
        };
        let body = String::from_utf8_lossy(&record.body);
        format!(
            "{body}: topic {topic} queue {queue_id} reconsumed {reconsume_times} flag {flag} sysFlag {sys_flag} prepared {prepared} {properties:?}"
        )
    }

    fn topics(&mut self) -> io::Result<()> {
        for topic in [HALF, OP] {
            let config = self.client.call(Frame::request(code::GET_TOPIC_CONFIG).ext("topic", topic))?.json()?;
            let [read, write, perm] = ["readQueueNums", "writeQueueNums", "perm"].map(|name| config[name].clone());
            self.tell("topics", format!("{topic}: {read} and {write} queues, permission {perm}"));
            let sent = self.client.call(Client::send_request(topic, 0, b"forged", &[]))?;
            self.tell("topics", format!("sent to {topic}: code {}", sent.code));
        }
        let group = self.client.call(Frame::request(352).ext("group", POSITIONS))?;
        self.tell("topics", format!("group {POSITIONS}: code {}", group.code));
        Ok(())
    }

    /// Sends a message, tells how that is answered, and what lies at the place of the answer.
    fn send(&mut self, scenario: &str, case: &str, request: Frame) -> io::Result<Option<Half>> {
        let response = self.client.call(request)?;
        self.tell(scenario, format!("{case}: code {}", response.code));
        if response.code != code::SUCCESS {
            return Ok(None);
        }
        let receipt = Client::receipt(&response)?;
        let offset = log_offset_of(&receipt.msg_id)?;
        self.places.insert(offset, case.to_owned());
        let found = self.client.expect_success("view", Frame::request(33).ext("offset", offset))?;
        let record = Record::decode_all(&found.body)?.remove(0);
        let at = self.describe(&record);
        let id = response
            .ext
            .get("transactionId")
            .map_or("none".to_owned(), |id| if id.starts_with("U-") { id.clone() } else { "*".to_owned() });
        let is_its = record.queue_offset == receipt.queue_offset;
        self.tell(
            scenario,
            format!(
                "transaction {id}, queue {} of the answer, its offset that of the record {is_its}: {at}",
                receipt.queue_id
            ),
        );
        Ok(Some(Half { unique: unique_of(case), receipt }))
    }

    fn halves(&mut self) -> io::Result<()> {
        let variants: [(&str, &[(&str, &str)]); 12] = [
            ("plain", &[]),
            ("without group", &[("PGROUP", "")]),
            ("upper case", &[("TRAN_MSG", "TRUE")]),
            ("with level 1", &[("DELAY", "1")]),
            ("with level 0", &[("DELAY", "0")]),
            ("with a real topic", &[("REAL_TOPIC", "OTHER"), ("REAL_QID", "77")]),
            ("waits for nobody", &[("WAIT", "false")]),
            ("without its own id", &[("UNIQ_KEY", "")]),
            ("checked before", &[("TRANSACTION_CHECK_TIMES", "1")]),
            ("of transaction Y", &[("__transactionId__", "Y")]),
            ("without tag", &[("TAGS", ""), ("KEYS", "")]),
            ("immune", &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "3600")]),
        ];
        for (case, more) in variants {
            self.send("half", case, half_request(TOPIC, case, GROUP, more))?;
        }
        let without_flag = half_request(TOPIC, "sysFlag 0", GROUP, &[]).ext("f", 0);
        self.send("half", "sysFlag 0", without_flag)?;
        let binary = half_request(TOPIC, "binary", GROUP, &[]).binary();
        self.send("half", "binary", binary)?;
        let created = half_request("RAW_CREATED", "created", GROUP, &[]);
        self.send("half", "created", created)?;
        let empty = half_request(TOPIC, "empty", GROUP, &[]).body("");
        self.send("half", "empty", empty)?;
        let beyond = half_request(TOPIC, "beyond", GROUP, &[]).ext("e", 7);
        self.send("half", "beyond", beyond)?;
        let not_said = Client::send_request(TOPIC, 0, b"flag alone", &[]).ext("f", PREPARED);
        self.send("half", "flag alone", not_said)?;
        let first = Frame::request(code::SEND_MESSAGE)
            .ext("producerGroup", GROUP)
            .ext("topic", TOPIC)
            .ext("defaultTopic", "TBW102")
            .ext("defaultTopicQueueNums", 4)
            .ext("queueId", 0)
            .ext("sysFlag", PREPARED)
            .ext("bornTimestamp", 1_700_000_000_000_i64)
            .ext("flag", 7)
            .ext("properties", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}RAW_P\u{2}UNIQ_KEY\u{1}U-first\u{2}")
            .body("first form");
        self.send("half", "first form", first)?;
        let mut retry = |case: &str, times: i32, more: &[(&str, &str)]| {
            let request = half_request("%RETRY%RAW_RETRY", case, GROUP, more).ext("j", times).ext("l", 16);
            self.send("half", case, request)
        };
        retry("retried with level 3", 1, &[("DELAY", "3")])?;
        retry("retried", 1, &[])?;
        retry("to a retry topic", 0, &[])?;
        let inner = batch("in a batch", "TRAN_MSG\u{1}true\u{2}PGROUP\u{1}RAW_P\u{2}");
        for (case, flag) in [("in a batch", 0), ("a batch", PREPARED)] {
            let request = Client::send_request(TOPIC, 0, &inner, &[]).ext("m", true).ext("f", flag);
            self.send("half", case, Frame { code: code::SEND_BATCH_MESSAGE, ..request })?;
        }
        Ok(())
    }

    fn half(&mut self, case: &str) -> io::Result<Half> {
        let response = self.client.call(half_request(TOPIC, case, GROUP, &[]).ext("h", 5))?;
        let receipt = Client::receipt(&response)?;
        let place = log_offset_of(&receipt.msg_id)?;
        self.places.insert(place, case.to_owned());
        Ok(Half { unique: unique_of(case), receipt })
    }

    /// Ends a transaction with what `change` makes of the request, and tells how that is answered.
    fn end(&mut self, case: &str, half: &Half, change: impl Fn(Frame) -> Frame) -> io::Result<()> {
        let response = self.client.call(change(end_request(half, GROUP, COMMIT)))?;
        // Apache's other remarks are those of its Java exceptions, and of a success that forgot it.
        let remark =
            response.remark.filter(|remark| response.code == code::SYSTEM_ERROR && !remark.contains("Exception"));
        self.tell("end", format!("{case}: code {} remark {remark:?} {:?}", response.code, response.ext));
        Ok(())
    }

    fn ends(&mut self) -> io::Result<()> {
        let committed = self.half("committed")?;
        self.end("committed", &committed, |request| request)?;
        let case = "rolled back";
        let half = self.half(case)?;
        self.end(case, &half, |request| request.ext("commitOrRollback", ROLLBACK))?;
        let case = "committed oneway";
        let half = self.half(case)?;
        self.client.start(end_request(&half, GROUP, COMMIT).oneway())?;
        let case = "committed in binary";
        let half = self.half(case)?;
        self.end(case, &half, Frame::binary)?;
        let case = "committed from a check";
        let half = self.half(case)?;
        self.end(case, &half, |request| request.ext("fromTransactionCheck", true))?;
        let case = "committed without the optional";
        let half = self.half(case)?;
        self.end(case, &half, |request| {
            request.without("topic").without("fromTransactionCheck").without("transactionId")
        })?;
        let case = "committed for another topic";
        let half = self.half(case)?;
        self.end(case, &half, |request| request.ext("topic", "OTHER").ext("msgId", "x"))?;
        let case = "refused";
        let half = self.half(case)?;
        self.end("of another group", &half, |request| request.ext("producerGroup", "OTHER"))?;
        self.end("of another queue offset", &half, |request| request.ext("tranStateTableOffset", 1_000_000))?;
        self.end("beyond the log", &half, |request| request.ext("commitLogOffset", 1_i64 << 40))?;
        self.end("within a record", &half, |request| {
            let at = request.ext["commitLogOffset"].parse::<i64>().expect("a number") + 1;
            request.ext("commitLogOffset", at)
        })?;
        self.end("before the log", &half, |request| request.ext("commitLogOffset", -1))?;
        self.end("neither", &half, |request| request.ext("commitOrRollback", 5))?;
        for name in ["producerGroup", "tranStateTableOffset", "commitLogOffset", "commitOrRollback", "msgId"] {
            self.end(&format!("without {name}"), &half, |request| request.without(name))?;
        }
        let plain = self.client.send_with(TOPIC, 0, b"no half message", &[("PGROUP", GROUP)])?;
        let plain = Half { unique: "U-none".to_owned(), receipt: plain };
        self.end("not a half message", &plain, |request| request)?;
        self.unanswered(&half)?;
        let too_late =
            self.client.call(half_request(TOPIC, "too late", GROUP, &[("CHECK_IMMUNITY_TIME_IN_SECONDS", "1")]))?;
        let too_late = Half { unique: unique_of("too late"), receipt: Client::receipt(&too_late)? };
        thread::sleep(Duration::from_millis(1_500));
        self.end("too late", &too_late, |request| request)?;
        self.end("too late to roll back", &too_late, |request| request.ext("commitOrRollback", ROLLBACK))?;
        self.end("too late, from a check", &too_late, |request| {
            request.ext("commitOrRollback", ROLLBACK).ext("fromTransactionCheck", true)
        })
    }

    /// What says nothing yet gets no answer.
    fn unanswered(&mut self, half: &Half) -> io::Result<()> {
        for from_check in [false, true] {
            let request = end_request(half, GROUP, 0).ext("fromTransactionCheck", from_check);
            self.client.start(request)?;
        }
        thread::sleep(Duration::from_millis(500));
        self.client.call(Frame::request(code::GET_MAX_OFFSET).ext("topic", TOPIC).ext("queueId", 0))?;
        let answers = self.client.unclaimed().len();
        self.tell("end", format!("unknown, twice: {answers} answers"));
        Ok(())
    }

    /// A producer that answers its checks in turn.
    fn checks(&mut self, broker: &str) -> io::Result<()> {
        let mut producer = producer(broker, "RAW_CHECKED_P")?;
        let cases = ["checked and committed", "checked and rolled back", "checked twice", "never answered"];
        for case in cases {
            let response = self.client.call(half_request(CHECKED, case, "RAW_CHECKED_P", &[]))?;
            let receipt = Client::receipt(&response)?;
            self.places.insert(log_offset_of(&receipt.msg_id)?, case.to_owned());
        }
        let mut facts = BTreeMap::new();
        let mut rounds: BTreeMap<String, u32> = BTreeMap::new();
        let begun = Instant::now();
        while begun.elapsed() < STILL {
            let Some(check) = next_check(&mut producer)? else { continue };
            let record = Record::decode_all(&check.body)?.remove(0);
            let case = String::from_utf8_lossy(&record.body).into_owned();
            let round = rounds.entry(case.clone()).or_default();
            *round += 1;
            let fact = format!(
                "{} oneway {} {}",
                self.describe(&record),
                check.flag & 2 != 0,
                self.described_check(&check, &record)?
            );
            facts.insert((case.clone(), *round), fact);
            let how = match (case.as_str(), *round) {
                ("checked and committed", _) | ("checked twice", 2..) => COMMIT,
                ("checked and rolled back", _) => ROLLBACK,
                ("checked twice", _) => 0,
                _ => continue,
            };
            self.answer_check(&mut producer, &check, "RAW_CHECKED_P", how)?;
        }
        for ((case, round), fact) in facts {
            self.tell("check", format!("{round}. of {case}: {fact}"));
        }
        Ok(())
    }

    fn answer_check(&mut self, producer: &mut Client, check: &Frame, group: &str, how: i32) -> io::Result<()> {
        let at = check.ext_number("commitLogOffset")?;
        let record = Record::decode_all(&check.body)?.remove(0);
        self.places.insert(at, format!("the copy of {}", String::from_utf8_lossy(&record.body)));
        let answer = Frame::request(END)
            .ext("topic", &record.topic)
            .ext("producerGroup", group)
            .ext("tranStateTableOffset", check.ext_number("tranStateTableOffset")?)
            .ext("commitLogOffset", at)
            .ext("commitOrRollback", how)
            .ext("fromTransactionCheck", true)
            .ext("msgId", &check.ext["msgId"])
            .ext("transactionId", &check.ext["transactionId"]);
        producer.start(answer.oneway()).map(drop)
    }

    /// What a check says beside the message, and whether that is true of what is stored.
    fn described_check(&mut self, check: &Frame, record: &Record) -> io::Result<String> {
        let offset = check.ext_number("commitLogOffset")?;
        let stored = self.client.expect_success("view", Frame::request(33).ext("offset", offset))?;
        let stored = Record::decode_all(&stored.body)?.remove(0);
        let text = |name: &str| check.ext.get(name).map_or("none", String::as_str);
        let is_its_id = check.ext.get("offsetMsgId").is_some_and(|id| log_offset_of(id).ok() == Some(offset));
        Ok(format!(
            "names {:?} topic {} msgId {} transactionId {} its place {} {} {is_its_id}, stored as {}, the record's place {} {} born {}",
            check.ext.keys().collect::<Vec<_>>(),
            text("topic"),
            text("msgId"),
            text("transactionId"),
            check.ext_number("tranStateTableOffset")? == stored.queue_offset,
            stored.log_offset == offset,
            self.describe(&stored),
            record.queue_offset == stored.queue_offset,
            record.log_offset == stored.log_offset,
            record.born_timestamp_ms == stored.born_timestamp_ms,
        ))
    }

    /// Messages that are not to be checked before a time of their own.
    fn immunity(&mut self, broker: &str) -> io::Result<()> {
        let mut producer = producer(broker, "RAW_IMMUNE_P")?;
        let more = [("CHECK_IMMUNITY_TIME_IN_SECONDS", "4")];
        let mut sent = BTreeMap::new();
        for case in ["immune and checked", "immune and committed"] {
            let response = self.client.call(half_request(CHECKED, case, "RAW_IMMUNE_P", &more))?;
            let receipt = Client::receipt(&response)?;
            self.places.insert(log_offset_of(&receipt.msg_id)?, case.to_owned());
            sent.insert(case, Half { unique: unique_of(case), receipt });
        }
        let begun = Instant::now();
        let half = sent.remove("immune and committed").expect("it was sent");
        let committed = self.client.call(end_request(&half, "RAW_IMMUNE_P", COMMIT))?;
        self.tell("immune", format!("committed: code {}", committed.code));
        let mut first = None;
        while begun.elapsed() < STILL + Duration::from_secs(2) {
            let Some(check) = next_check(&mut producer)? else { continue };
            let record = Record::decode_all(&check.body)?.remove(0);
            first.get_or_insert(begun.elapsed());
            let described = self.describe(&record);
            self.tell("immune", format!("checked: {described}"));
            self.answer_check(&mut producer, &check, "RAW_IMMUNE_P", COMMIT)?;
        }
        self.tell("immune", format!("not before its time: {:?}", first.map(|first| first > Duration::from_secs(4))));
        Ok(())
    }

    /// Where everything is once all checks are over.
    fn arrivals(&mut self) -> io::Result<()> {
        let topics = [TOPIC, CHECKED, "RAW_CREATED", "%RETRY%RAW_RETRY", GIVEN_UP].map(str::to_owned);
        for (topic, records) in topics.iter().zip(read_until_still(&mut self.client, &topics, STILL)) {
            let config = self.client.call(Frame::request(code::GET_TOPIC_CONFIG).ext("topic", topic))?;
            let mut facts = Vec::new();
            if config.code == code::SUCCESS && !topic.starts_with("%RETRY%") {
                let config = config.json()?;
                let [read, write, perm] = ["readQueueNums", "writeQueueNums", "perm"].map(|name| config[name].clone());
                facts.push(format!("{topic}: {read} and {write} queues, permission {perm}"));
            }
            // Whether it was asked about before it was rolled back is chance.
            let told = records.iter().filter(|record| record.body != b"too late");
            let mut arrived: Vec<String> = told.map(|record| self.describe(record)).collect();
            arrived.sort();
            facts.into_iter().chain(arrived).for_each(|fact| self.tell("arrived", fact));
        }
        let mut shapes: Vec<String> = Vec::new();
        for mut record in self.client.read_queue(OP, 0, 0)? {
            let body = String::from_utf8_lossy(&record.body).into_owned();
            let is_list =
                body.ends_with(',') && body.split(',').all(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
            record.body = format!("a list of offsets {is_list}").into_bytes();
            shapes.push(self.describe(&record));
        }
        shapes.sort();
        shapes.dedup();
        shapes.into_iter().for_each(|shape| self.tell("ended", shape));
        for topic in [HALF, OP] {
            let end = self.client.max_offset(topic, 0)?;
            let at = self.client.consumer_offset(POSITIONS, topic, 0)?;
            self.tell("ended", format!("{topic}: has moved {} to the end {}", at > Some(0), at >= Some(end - 1)));
        }
        Ok(())
    }

    /// What was given up is checked again when an operator asks for it.
    fn resumes(&mut self, broker: &str) -> io::Result<()> {
        let mut producer = producer(broker, "RAW_CHECKED_P")?;
        let given_up = self.client.read_queue(GIVEN_UP, 0, 0)?;
        let record = given_up.iter().find(|record| record.body == b"never answered").expect("it was given up");
        let place = u64::try_from(record.log_offset).expect("a place");
        let id = format!("7F000001{:08X}{place:016X}", record.store_host.port());
        let resumed = self.client.call(Frame::request(RESUME).ext("topic", CHECKED).ext("msgId", &id))?;
        self.tell("resume", format!("code {}", resumed.code));
        let begun = Instant::now();
        let mut times = 0;
        while begun.elapsed() < STILL && times < 2 {
            let Some(check) = next_check(&mut producer)? else { continue };
            times += 1;
            let record = Record::decode_all(&check.body)?.remove(0);
            let described = self.describe(&record);
            self.tell("resume", format!("{times}. check: {described}"));
            if times == 2 {
                self.answer_check(&mut producer, &check, "RAW_CHECKED_P", ROLLBACK)?;
            }
        }
        let bad = |id: &str| Frame::request(RESUME).ext("topic", CHECKED).ext("msgId", id);
        for (case, request) in [
            ("no id", bad("").without("msgId")),
            ("not an id", bad("x")),
            ("beyond the log", bad("7F00000100002A9F0000010000000000")),
        ] {
            let answer = self.client.call(request)?;
            self.tell("resume", format!("{case}: code {}", answer.code));
        }
        Ok(())
    }
}

/// A connection that is a producer of a group.
fn producer(broker: &str, group: &str) -> io::Result<Client> {
    let mut client = Client::connect(broker)?;
    let body = json!({ "clientID": group, "producerDataSet": [{"groupName": group}], "consumerDataSet": [] });
    client.expect_success("heartbeat", Frame::request(code::HEART_BEAT).body(body.to_string()))?;
    Ok(client)
}

/// The next check of a producer, if one comes soon. The broker is asked something meanwhile, whose answer ends the wait.
fn next_check(producer: &mut Client) -> io::Result<Option<Frame>> {
    if producer.from_server.is_empty() {
        thread::sleep(Duration::from_millis(50));
        producer.call(Frame::request(code::GET_MAX_OFFSET).ext("topic", TOPIC).ext("queueId", 0))?;
    }
    let place = producer.from_server.iter().position(|frame| frame.code == CHECK);
    Ok(place.map(|place| producer.from_server.remove(place)))
}

/// A batch of one: size, magic 0, CRC 0, flag, body, properties.
fn batch(text: &str, properties: &str) -> Vec<u8> {
    let length = |count: usize| u32::try_from(count).expect("short").to_be_bytes();
    let mut bytes = length(4 + 4 + 4 + 4 + 4 + text.len() + 2 + properties.len()).to_vec();
    bytes.extend_from_slice(&[0; 12]);
    bytes.extend_from_slice(&length(text.len()));
    bytes.extend_from_slice(text.as_bytes());
    bytes.extend_from_slice(&u16::try_from(properties.len()).expect("short").to_be_bytes());
    bytes.extend_from_slice(properties.as_bytes());
    bytes
}
