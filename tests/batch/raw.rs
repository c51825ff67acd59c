//! Requests by hand: how topics whose batches are stored whole are made, what else is sent to them, and what is told of a batch.
use std::io;
use std::thread;
use std::time::Duration;

use harness::{Client, Facts, Frame, Record, code, tell_fact, wait_for};
use serde_json::Value;

const SEND_BACK: i32 = 36;
const SEARCH_OFFSET: i32 = 29;
const EARLIEST_TIME: i32 = 32;
const CONSUME_STATS: i32 = 208;
const TOPIC_STATS: i32 = 202;
/// Bits of `sysFlag`.
const NEED_UNWRAP: i32 = 64;
const INNER_BATCH: i32 = 128;

struct Script {
    client: Client,
    facts: Facts,
}

/// Runs the script against one broker and returns its facts.
pub(crate) fn run(broker: &str) -> io::Result<Facts> {
    let mut script = Script { client: Client::connect(broker)?, facts: Facts::new() };
    script.topics()?;
    script.sends()?;
    script.sizes()?;
    script.places()?;
    script.light_queues()?;
    Ok(script.facts)
}

/// The request that makes a topic of one queue.
pub(crate) fn topic_request(topic: &str, attributes: &str) -> Frame {
    Frame::request(code::UPDATE_AND_CREATE_TOPIC)
        .ext("topic", topic)
        .ext("defaultTopic", "TBW102")
        .ext("readQueueNums", 1)
        .ext("writeQueueNums", 1)
        .ext("perm", 6)
        .ext("topicFilterType", "SINGLE_TAG")
        .ext("topicSysFlag", 0)
        .ext("order", false)
        .ext("attributes", attributes)
}

/// A batch's body: body and properties of each message.
pub(crate) fn batch_body(messages: &[(&str, &str)]) -> Vec<u8> {
    let mut batch = Vec::new();
    for (body, properties) in messages {
        let size = u32::try_from(22 + body.len() + properties.len()).expect("small");
        batch.extend_from_slice(&size.to_be_bytes());
        batch.extend_from_slice(&[0; 12]);
        batch.extend_from_slice(&u32::try_from(body.len()).expect("small").to_be_bytes());
        batch.extend_from_slice(body.as_bytes());
        batch.extend_from_slice(&u16::try_from(properties.len()).expect("small").to_be_bytes());
        batch.extend_from_slice(properties.as_bytes());
    }
    batch
}

/// The request of a batch to the first queue.
pub(crate) fn batch_request(topic: &str, body: Vec<u8>, properties: &[(&str, &str)]) -> Frame {
    let mut request = Client::send_request(topic, 0, &body, properties).ext("m", true);
    request.code = code::SEND_BATCH_MESSAGE;
    request
}

/// All of a record but its times and places; its body, if that is text.
fn describe(record: &Record) -> String {
    let mut properties = record.properties.clone();
    properties.remove("__CRC32#");
    if let Some(id) = properties.get_mut("UNIQ_KEY").filter(|id| id.len() > 4) {
        "<id>".clone_into(id);
    }
    let Record { queue_offset, reconsume_times, flag, sys_flag, body, .. } = record;
    let is_text = body.iter().all(|byte| (32..127).contains(byte));
    let body = if is_text { String::from_utf8_lossy(body).into_owned() } else { format!("{} bytes", body.len()) };
    format!("{body} at {queue_offset} reconsumed {reconsume_times} flag {flag} sysFlag {sys_flag} {properties:?}")
}

impl Script {
    /// What is in light queues, and what is left of one that is deleted.
    fn light_queues(&mut self) -> io::Result<()> {
        const NAMES: [&str; 2] = ["%LMQ%raw", "%LMQ%other"];
        self.client.expect_success("a topic", topic_request("LIGHT", ""))?;
        let both = NAMES.join(",");
        for (case, names) in [("a first", NAMES[0]), ("a second", &both), ("after the deletion", &both)] {
            if case == "after the deletion" {
                let deleted = self.client.call(Frame::request(code::DELETE_TOPIC_IN_BROKER).ext("topic", NAMES[0]))?;
                self.tell("light", format!("deleted: code {}", deleted.code));
                thread::sleep(Duration::from_millis(300));
                let end = self.client.max_offset(NAMES[0], 0)?;
                self.tell("light", format!("deleted: ends at {end}"));
            }
            let properties = [("UNIQ_KEY", case), ("INNER_MULTI_DISPATCH", names), ("INNER_MULTI_QUEUE_OFFSET", "7,7")];
            let sent = self.client.call(Client::send_request("LIGHT", 0, case.as_bytes(), &properties))?;
            self.tell("light", format!("{case}: code {}", sent.code));
            thread::sleep(Duration::from_millis(300));
            for name in NAMES {
                let pulled = self.client.pull("G", name, 0, 0, 32)?;
                let (next, min, max) = (pulled.next_begin_offset, pulled.min_offset, pulled.max_offset);
                self.tell("light", format!("{case}: {name} code {} next {next} min {min} max {max}", pulled.code));
                for record in &pulled.records {
                    self.tell("light", format!("{case}: {name} {}", describe(record)));
                }
            }
        }
        // One that is sent to itself.
        let direct = Client::send_request(NAMES[0], 0, b"direct", &[("UNIQ_KEY", "direct")]);
        let sent = self.client.call(direct)?;
        self.tell("light", format!("sent to itself: code {}", sent.code));
        thread::sleep(Duration::from_millis(300));
        let pulled = self.client.pull("G", NAMES[0], 0, 1, 32)?;
        for record in &pulled.records {
            self.tell("light", format!("sent to itself: {} {}", record.topic, describe(record)));
        }
        Ok(())
    }

    fn tell(&mut self, scenario: &str, fact: String) {
        tell_fact(&mut self.facts, scenario, fact);
    }

    fn make_topic(&mut self, topic: &str) -> io::Result<()> {
        self.client.expect_success("a topic", topic_request(topic, "+queue.type=BatchCQ")).map(drop)
    }

    fn topics(&mut self) -> io::Result<()> {
        for (case, topic, attributes) in [
            ("BatchCQ", "MADE", "+queue.type=BatchCQ"),
            ("BatchCQ again", "MADE", "+queue.type=BatchCQ"),
            ("SimpleCQ of a BatchCQ", "MADE", "+queue.type=SimpleCQ"),
            ("no longer", "MADE", "-queue.type"),
            ("nothing said", "MADE", ""),
            ("SimpleCQ", "MADE_SIMPLE", "+queue.type=SimpleCQ"),
            ("BatchCQ of a SimpleCQ", "MADE_SIMPLE", "+queue.type=BatchCQ"),
            ("of none", "MADE_NOT", "+queue.type=batchcq"),
        ] {
            let response = self.client.call(topic_request(topic, attributes))?;
            self.tell("topics", format!("{case}: code {}", response.code));
            let config = self.client.call(Frame::request(code::GET_TOPIC_CONFIG).ext("topic", topic))?;
            let attributes = if config.code == 0 { config.json()?["attributes"].take() } else { Value::Null };
            self.tell("topics", format!("{case}: then {} {attributes}", config.code));
        }
        Ok(())
    }

    /// Sends, tells the answer, and what a pull finds from the first offset on when the queue ends there.
    fn send(&mut self, case: &str, request: Frame) -> io::Result<Frame> {
        const SCENARIO: &str = "sends";
        let topic = request.ext["b"].clone();
        let response = self.client.call(request)?;
        let told = |name: &str| response.ext.get(name).map_or("-", String::as_str);
        let ids = response.ext.get("msgId").map_or(0, |ids| ids.split(',').count());
        let places = [told("queueId"), told("queueOffset"), told("transactionId"), told("batchUniqId")]
            .map(|text| if text.len() > 8 { "<id>".to_owned() } else { text.to_owned() });
        let places = if response.code == code::SUCCESS { places.join(" ") } else { String::new() };
        self.tell(SCENARIO, format!("{case}: code {} {places} ids {ids}", response.code));
        // Apache's index is a moment behind.
        thread::sleep(Duration::from_millis(100));
        let end = self.client.max_offset(&topic, 0)?;
        self.tell(SCENARIO, format!("{case}: the queue ends at {end}"));
        Ok(response)
    }

    /// Tells what a pull finds from `from` on.
    fn tell_pull(&mut self, case: &str, topic: &str, from: i64) -> io::Result<Vec<Record>> {
        let pulled = self.client.pull("G", topic, 0, from, 32)?;
        let (next, min, max) = (pulled.next_begin_offset, pulled.min_offset, pulled.max_offset);
        self.tell("pulls", format!("{case}: code {} next {next} min {min} max {max}", pulled.code));
        for record in &pulled.records {
            self.tell("pulls", format!("{case}: {}", describe(record)));
        }
        Ok(pulled.records)
    }

    fn sends(&mut self) -> io::Result<()> {
        self.make_topic("SENT")?;
        self.client.create_topic("SENT_SIMPLE", 1)?;
        self.tell_pull("an empty queue", "SENT", 0)?;
        let two = || batch_body(&[("one", "KEYS\u{1}k1\u{2}TAGS\u{1}a\u{2}"), ("two", "KEYS\u{1}k2\u{2}")]);
        let id = ("UNIQ_KEY", "U1");
        self.send("a batch", batch_request("SENT", two(), &[id]))?;
        self.send("with tag and keys", batch_request("SENT", two(), &[id, ("TAGS", "a"), ("KEYS", "k1 k2")]))?;
        self.send("that says its number", batch_request("SENT", two(), &[id, ("INNER_NUM", "7")]))?;
        self.send("that says its base", batch_request("SENT", two(), &[id, ("INNER_BASE", "77")]))?;
        self.tell_pull("batches", "SENT", 0)?;
        self.tell_pull("from within the last", "SENT", 7)?;
        self.send("a delayed batch", batch_request("SENT", two(), &[id, ("DELAY", "1")]))?;
        self.send("to a simple topic", batch_request("SENT_SIMPLE", two(), &[id]))?;
        // What is a batch already.
        let whole = |topic: &str, number: &str| {
            Client::send_request(topic, 0, &two(), &[id, ("INNER_NUM", number)]).ext("f", NEED_UNWRAP | INNER_BATCH)
        };
        self.send("whole", whole("SENT", "2"))?;
        self.send("whole to a simple topic", whole("SENT_SIMPLE", "2"))?;
        self.tell_pull("whole", "SENT", 8)?;
        let number = [id, ("INNER_NUM", "2")];
        self.send("a number of none", Client::send_request("SENT_SIMPLE", 0, b"x", &number))?;
        self.send("a number of none in a batch", batch_request("SENT_SIMPLE", two(), &number))?;
        let response = self.send("to a retry topic", batch_request("%RETRY%G_SENT", two(), &[id]))?;
        assert_ne!(response.code, code::SUCCESS, "a batch that is to be tried again");
        self.make_topic("SENT_PLAIN")?;
        self.send("one message", Client::send_request("SENT_PLAIN", 0, b"plain", &[("TAGS", "a")]))?;
        self.send("a batch behind it", batch_request("SENT_PLAIN", two(), &[id]))?;
        self.send("a batch without an id", batch_request("SENT_PLAIN", two(), &[]))?;
        self.send("another batch", batch_request("SENT_PLAIN", two(), &[id]))?;
        for from in [0, 1, 3, 5] {
            self.tell_pull(&format!("plain from {from}"), "SENT_PLAIN", from)?;
        }
        self.make_topic("SENT_FALSE")?;
        self.send("whole, and less than it says", whole("SENT_FALSE", "3"))?;
        self.send("whole, and without a number", whole("SENT_FALSE", "2").ext("i", "UNIQ_KEY\u{1}U1\u{2}"))?;
        self.send("half a batch", batch_request("SENT_FALSE", two()[..30].to_vec(), &[id]))?;
        Ok(())
    }

    /// How many messages one answer holds.
    fn sizes(&mut self) -> io::Result<()> {
        self.make_topic("SIZES")?;
        for messages in [3, 100, 40, 1] {
            let bodies: Vec<String> = (0..messages).map(|number| format!("body {number}")).collect();
            let batch: Vec<(&str, &str)> = bodies.iter().map(|body| (body.as_str(), "")).collect();
            let request = batch_request("SIZES", batch_body(&batch), &[("UNIQ_KEY", "U")]);
            self.client.expect_success("a batch", request)?;
        }
        wait_for("all of them", || (self.client.max_offset("SIZES", 0).ok()? == 144).then_some(()));
        for (from, max) in
            [(0, 1), (0, 3), (0, 32), (0, 102), (0, 103), (3, 1), (50, 32), (103, 32), (103, 40), (143, 32)]
        {
            let pulled = self.client.pull("G", "SIZES", 0, from, max)?;
            let found: Vec<i64> = pulled.records.iter().map(|record| record.queue_offset).collect();
            self.tell(
                "sizes",
                format!("{max} from {from}: code {} next {} {found:?}", pulled.code, pulled.next_begin_offset),
            );
        }
        Ok(())
    }

    /// Where batches are found: by time, by key, by place; what is told of the queue; and that one of them cannot be sent back.
    #[expect(clippy::too_many_lines, reason = "one step of the script after the other")]
    fn places(&mut self) -> io::Result<()> {
        const SCENARIO: &str = "places";
        const TOPIC: &str = "PLACES";
        self.make_topic(TOPIC)?;
        for number in 0..3 {
            let request = batch_request(
                TOPIC,
                batch_body(&[("a", "KEYS\u{1}inner\u{2}UNIQ_KEY\u{1}INNER\u{2}"), ("b", ""), ("c", "")]),
                &[("UNIQ_KEY", &format!("OUTER{number}")), ("KEYS", "outer")],
            );
            self.client.expect_success("a batch", request)?;
            thread::sleep(Duration::from_millis(60));
        }
        let records = wait_for("all batches", || {
            let records = self.client.pull("G", TOPIC, 0, 0, 32).ok()?.records;
            (records.len() == 3).then_some(records)
        });
        let times: Vec<i64> = records.iter().map(|record| record.store_timestamp_ms).collect();
        let cases = [
            ("before the first", times[0] - 10),
            ("of the first", times[0]),
            ("behind the first", times[0] + 10),
            ("of the second", times[1]),
            ("behind the second", times[1] + 10),
            ("of the last", times[2]),
            ("behind the last", times[2] + 10),
        ];
        for boundary in ["LOWER", "UPPER"] {
            for (case, time) in cases {
                let request = Frame::request(SEARCH_OFFSET)
                    .ext("topic", TOPIC)
                    .ext("queueId", 0)
                    .ext("timestamp", time)
                    .ext("boundaryType", boundary);
                let found = self.client.expect_success("a search", request)?.ext_number("offset")?;
                self.tell(SCENARIO, format!("{boundary} {case}: {found}"));
            }
        }
        let earliest = Frame::request(EARLIEST_TIME).ext("topic", TOPIC).ext("queueId", 0);
        let found = self.client.expect_success("the earliest", earliest)?.ext_number("timestamp")?;
        self.tell(SCENARIO, format!("the earliest is that of the first: {}", found == times[0]));
        for key in ["outer", "inner", "OUTER1", "INNER"] {
            let request = Frame::request(code::QUERY_MESSAGE)
                .ext("topic", TOPIC)
                .ext("key", key)
                .ext("maxNum", 32)
                .ext("beginTimestamp", 0)
                .ext("endTimestamp", i64::MAX);
            let answer = self.client.call(request)?;
            let mut found: Vec<i64> = Vec::new();
            if answer.code == code::SUCCESS {
                found.extend(Record::decode_all(&answer.body)?.iter().map(|record| record.queue_offset));
            }
            found.sort_unstable();
            self.tell(SCENARIO, format!("by key {key}: code {} {found:?}", answer.code));
        }
        let place = records[1].log_offset;
        let viewed = self.client.expect_success("view", Frame::request(33).ext("offset", place))?;
        self.tell(SCENARIO, format!("by place: {}", describe(&Record::decode_all(&viewed.body)?[0])));
        let stats = self.client.expect_success("stats", Frame::request(TOPIC_STATS).ext("topic", TOPIC))?;
        let stats = stats.json()?;
        let ends: Vec<String> = stats["offsetTable"]
            .as_object()
            .into_iter()
            .flatten()
            .map(|(_, end)| format!("{} to {}", end["minOffset"], end["maxOffset"]))
            .collect();
        self.tell(SCENARIO, format!("the queue is told as {ends:?}"));
        self.client.heartbeat("a-client", "G_PLACES", TOPIC)?;
        self.client.commit_offset("G_PLACES", TOPIC, 0, 4)?;
        let stats =
            self.client.expect_success("stats", Frame::request(CONSUME_STATS).ext("consumerGroup", "G_PLACES"))?;
        let stats = stats.json()?;
        let progress: Vec<String> = stats["offsetTable"]
            .as_object()
            .into_iter()
            .flatten()
            .filter(|(queue, _)| queue.contains("\"PLACES\""))
            .map(|(_, at)| format!("{} of {}", at["consumerOffset"], at["brokerOffset"]))
            .collect();
        self.tell(SCENARIO, format!("the group is told as {progress:?}"));
        let back = Frame::request(SEND_BACK)
            .ext("offset", place)
            .ext("group", "G_PLACES")
            .ext("delayLevel", 0)
            .ext("originMsgId", "")
            .ext("originTopic", TOPIC)
            .ext("unitMode", false)
            .ext("maxReconsumeTimes", 16);
        let response = self.client.call(back)?;
        self.tell(SCENARIO, format!("sent back: code {} {:?}", response.code, response.remark));
        Ok(())
    }
}
