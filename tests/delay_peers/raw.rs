//! Requests by hand: levels that no client lets pass, sends back that go wrong, and sends to retry topics as clients fall back to them.
//!
//! The body of each message names its case, so that where it ends up can be told case by case.
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use harness::{Client, Facts, Frame, Record, code, log_offset_of, read_until_still, tell_fact};

const TOPIC: &str = "RAW";
const GROUP: &str = "RAW_G";
/// A group that has all to itself, for locks.
const ORDERLY: &str = "RAW_ORDERLY";
/// Longer than the longest level.
const STILL: Duration = Duration::from_secs(6);
const SEND_BACK: i32 = 36;
const LOCK: i32 = 41;
const UNLOCK: i32 = 42;
const ALL_DELAY_OFFSETS: i32 = 45;
const CREATE_GROUP: i32 = 200;
/// Before it a broker does not look for `maxReconsumeTimes` in the request.
const VERSION_3_4_8: i32 = 115;

struct Script {
    client: Client,
    facts: Facts,
    /// The broker's id of each message that was sent, and its case.
    places: BTreeMap<String, String>,
}

/// Runs the script against one broker and returns its facts.
pub(crate) fn run(broker: &str) -> io::Result<Facts> {
    let mut script = Script { client: Client::connect(broker)?, facts: Facts::new(), places: BTreeMap::new() };
    script.client.create_topic(TOPIC, 1)?;
    script.client.heartbeat("raw@1", GROUP, TOPIC)?;
    script.client.heartbeat("raw@2", ORDERLY, TOPIC)?;
    script.levels()?;
    script.scheduled_topic()?;
    script.sends_back()?;
    script.sends_to_retry_topics()?;
    script.arrivals()?;
    Ok(script.facts)
}

impl Script {
    fn tell(&mut self, scenario: &str, fact: String) {
        tell_fact(&mut self.facts, scenario, fact);
    }

    /// Tells the code of an answer; its words are the broker's own.
    fn tell_code(&mut self, scenario: &str, case: &str, response: &Frame) {
        if std::env::var_os("RINGMQ_SAY_REMARKS").is_some() {
            eprintln!("remark of {case}: {:?}", response.remark);
        }
        self.tell(scenario, format!("{case}: code {}", response.code));
    }

    fn describe(&self, record: &Record) -> String {
        let mut properties = record.properties.clone();
        properties.remove("__CRC32#");
        for (name, value) in &mut properties {
            if name == "UNIQ_KEY" {
                "*".clone_into(value);
            } else if let Some(case) = self.places.get(value) {
                *value = format!("<place of {case}>");
            }
        }
        let Record { topic, queue_id, reconsume_times, flag, sys_flag, .. } = record;
        let body = String::from_utf8_lossy(&record.body);
        format!(
            "{body}: topic {topic} queue {queue_id} reconsumed {reconsume_times} flag {flag} sysFlag {sys_flag} {properties:?}"
        )
    }

    /// Sends a message and tells how that is answered, and what lies at the place of the answer.
    fn send(&mut self, scenario: &str, case: &str, request: Frame) -> io::Result<()> {
        let response = self.client.call(request)?;
        self.tell_code(scenario, case, &response);
        if response.code == code::SUCCESS {
            let receipt = Client::receipt(&response)?;
            let offset = log_offset_of(&receipt.msg_id)?;
            let found = self.client.expect_success("view", Frame::request(33).ext("offset", offset))?;
            let record = Record::decode_all(&found.body)?.remove(0);
            let at = self.describe(&record);
            self.tell(scenario, format!("queue {} of the answer: {at}", receipt.queue_id));
            self.places.insert(receipt.msg_id, case.to_owned());
        }
        Ok(())
    }

    fn levels(&mut self) -> io::Result<()> {
        for level in ["1", "6", "7", "2147483647", "0", "-1", "01", "+1", "2147483648", "x", "1.5", " 1", ""] {
            let case = format!("level <{level}>");
            let request = Client::send_request(TOPIC, 0, case.as_bytes(), &[("DELAY", level), ("TAGS", "a")]);
            self.send("level", &case, request)?;
        }
        let first = Frame::request(code::SEND_MESSAGE)
            .ext("producerGroup", "P")
            .ext("topic", TOPIC)
            .ext("defaultTopic", "TBW102")
            .ext("defaultTopicQueueNums", 4)
            .ext("queueId", 0)
            .ext("sysFlag", 0)
            .ext("bornTimestamp", 1_700_000_000_000_i64)
            .ext("flag", 7)
            .ext("properties", "DELAY\u{1}1\u{2}WAIT\u{1}false")
            .body("in the first form");
        self.send("level", "in the first form", first)?;
        let properties =
            [("DELAY", "1"), ("TIMER_DELAY_SEC", "60"), ("TIMER_DELIVER_MS", "1"), ("TIMER_DELAY_MS", "5")];
        let both = Client::send_request(TOPIC, 0, b"with a timer", &properties);
        self.send("level", "with a timer", both)?;
        let forged = [("DELAY", "1"), ("REAL_TOPIC", "OTHER"), ("REAL_QID", "77")];
        self.send("level", "with a real topic", Client::send_request(TOPIC, 0, b"with a real topic", &forged))?;
        let inner = Client::send_request(TOPIC, 0, &batch("in a batch", "DELAY\u{1}1"), &[]).ext("m", true);
        let inner = Frame { code: code::SEND_BATCH_MESSAGE, ..inner };
        self.send("level", "in a batch", inner)?;
        let whole =
            Client::send_request(TOPIC, 0, &batch("of a batch", "TAGS\u{1}a"), &[("DELAY", "1")]).ext("m", true);
        let whole = Frame { code: code::SEND_BATCH_MESSAGE, ..whole };
        self.send("level", "of a batch", whole)
    }

    fn scheduled_topic(&mut self) -> io::Result<()> {
        let topic = "SCHEDULE_TOPIC_XXXX";
        for case in [
            ("pull", Client::pull_request("ANY", topic, 0, 0, 32)),
            ("config", Frame::request(351).ext("topic", topic)),
        ] {
            let response = self.client.call(case.1)?;
            self.tell_code("scheduled", case.0, &response);
        }
        let offsets = self.client.call(Frame::request(ALL_DELAY_OFFSETS))?;
        self.tell_code("scheduled", "all delay offsets", &offsets);
        let names: Vec<String> = offsets.json()?.as_object().into_iter().flat_map(|map| map.keys().cloned()).collect();
        self.tell("scheduled", format!("all delay offsets: {names:?}"));
        let runtime = self.client.call(Frame::request(28))?.json()?;
        let levels = runtime["table"].as_object().into_iter().flat_map(|table| table.keys());
        let mut levels: Vec<String> =
            levels.filter(|name| name.starts_with("scheduleMessageOffset")).cloned().collect();
        levels.sort();
        self.tell("scheduled", format!("runtime: {levels:?}"));
        Ok(())
    }

    /// Sends a message and sends it back, with what `change` makes of that request.
    fn send_back(&mut self, case: &str, change: impl Fn(Frame) -> Frame) -> io::Result<()> {
        let sent = self.client.send_with(TOPIC, 0, case.as_bytes(), &[("TAGS", "a"), ("own", "x")])?;
        self.places.insert(sent.msg_id.clone(), case.to_owned());
        let request = Frame::request(SEND_BACK)
            .ext("offset", log_offset_of(&sent.msg_id)?)
            .ext("group", GROUP)
            .ext("delayLevel", 0)
            .ext("originMsgId", &sent.msg_id)
            .ext("originTopic", TOPIC)
            .ext("unitMode", false)
            .ext("maxReconsumeTimes", 3);
        let response = self.client.call(change(request))?;
        self.tell_code("send-back", case, &response);
        Ok(())
    }

    fn sends_back(&mut self) -> io::Result<()> {
        self.send_back("back", |request| request)?;
        self.send_back("back at level 2", |request| request.ext("delayLevel", 2))?;
        self.send_back("back at level 7", |request| request.ext("delayLevel", 7))?;
        self.send_back("back at level -1", |request| request.ext("delayLevel", -1))?;
        self.send_back("back at level -5", |request| request.ext("delayLevel", -5))?;
        self.send_back("back at level x", |request| request.ext("delayLevel", "x"))?;
        self.send_back("back, 0 tries", |request| request.ext("maxReconsumeTimes", 0))?;
        self.send_back("back, -1 tries", |request| request.ext("maxReconsumeTimes", -1))?;
        self.send_back("back, 0 tries, old client", |request| {
            request.ext("maxReconsumeTimes", 0).version(VERSION_3_4_8)
        })?;
        self.send_back("back, tries not said", |request| request.without("maxReconsumeTimes"))?;
        self.send_back("back without offset", |request| request.without("offset"))?;
        self.send_back("back without group", |request| request.without("group"))?;
        self.send_back("back without level", |request| request.without("delayLevel"))?;
        self.send_back("back without the origin", |request| request.without("originMsgId").without("originTopic"))?;
        self.send_back("back from no group", |request| request.ext("group", "NO_SUCH_GROUP"))?;
        self.send_back("back from beyond the log", |request| request.ext("offset", 1_i64 << 40))?;
        self.send_back("back from before the log", |request| request.ext("offset", -1))?;
        self.send_back("back with a binary header", Frame::binary)?;
        for (group, settings) in
            [("RAW_NO_QUEUE", r#""retryQueueNums":0"#), ("RAW_NO_TRY", r#""retryQueueNums":1,"retryMaxTimes":0"#)]
        {
            let body = format!(r#"{{"groupName":"{group}","consumeEnable":true,{settings}}}"#);
            self.client.expect_success("create group", Frame::request(CREATE_GROUP).body(body))?;
            let case = format!("back to {group}");
            self.send_back(&case, |request| request.without("maxReconsumeTimes").ext("group", group))?;
        }
        Ok(())
    }

    /// What a client sends when it could not send back.
    fn sends_to_retry_topics(&mut self) -> io::Result<()> {
        let retry = |group: &str, case: &str, times: i32, max: i32| {
            let properties = [("RETRY_TOPIC", TOPIC), ("DELAY", "3"), ("TAGS", "a")];
            Client::send_request(&format!("%RETRY%{group}"), 0, case.as_bytes(), &properties)
                .ext("j", times)
                .ext("l", max)
        };
        self.send("retry-send", "second of 2 tries", retry(GROUP, "second of 2 tries", 2, 2))?;
        self.send("retry-send", "third of 2 tries", retry(GROUP, "third of 2 tries", 3, 2))?;
        self.send("retry-send", "from no group", retry("NO_SUCH_GROUP", "from no group", 1, 2))?;
        let queues = format!(r#"[{{"brokerName":"broker-a","queueId":0,"topic":"{TOPIC}"}}]"#);
        let lock = |code| {
            let body = format!(
                r#"{{"clientId":"raw@2","consumerGroup":"{ORDERLY}","mqSet":{queues},"onlyThisBroker":false}}"#
            );
            Frame::request(code).body(body)
        };
        self.client.expect_success("lock", lock(LOCK))?;
        self.send("retry-send", "while locked", retry(ORDERLY, "while locked", 1, 16))?;
        self.client.expect_success("unlock", lock(UNLOCK))?;
        self.send("retry-send", "when unlocked", retry(ORDERLY, "when unlocked", 1, 16))
    }

    /// Where everything is once all levels are over.
    fn arrivals(&mut self) -> io::Result<()> {
        let of_groups = [GROUP, ORDERLY, "RAW_NO_TRY", "RAW_NO_QUEUE"]
            .map(|group| ["%RETRY%", "%DLQ%"].map(|prefix| format!("{prefix}{group}")));
        let topics: Vec<String> = of_groups.into_iter().flatten().chain([TOPIC.to_owned()]).collect();
        for (topic, records) in topics.iter().zip(read_until_still(&mut self.client, &topics, STILL)) {
            let config = self.client.call(Frame::request(code::GET_TOPIC_CONFIG).ext("topic", topic))?;
            let mut facts = vec![format!("{topic}: config {}", config.code)];
            if config.code == code::SUCCESS {
                let config = config.json()?;
                let [read, write, perm] = ["readQueueNums", "writeQueueNums", "perm"].map(|name| config[name].clone());
                facts.push(format!("{topic}: {read} and {write} queues, permission {perm}"));
            }
            let mut arrived: Vec<String> = records.iter().map(|record| self.describe(record)).collect();
            arrived.sort();
            facts.into_iter().chain(arrived).for_each(|fact| self.tell("arrived", fact));
        }
        Ok(())
    }
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
