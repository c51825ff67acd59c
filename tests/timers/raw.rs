//! Requests by hand: times that are none, and recalls that go wrong.
//!
//! The body of each message names its case, so that where it ends up can be told case by case.
use std::io;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use harness::{Client, Facts, Frame, Record, code, log_offset_of, read_until_still, tell_fact};

const TOPIC: &str = "TIMED";
const OTHER: &str = "TIMED_TOO";
const WHEEL: &str = "rmq_sys_wheel_timer";
const RECALL: i32 = 370;
const DAYS_3_MS: i64 = 3 * 86_400_000;
/// Longer than what waits here, and a step of the broker.
const STILL: Duration = Duration::from_secs(4);

struct Script {
    client: Client,
    facts: Facts,
}

/// Runs the script against one broker and returns its facts.
pub(crate) fn run(broker: &str) -> io::Result<Facts> {
    let mut script = Script { client: Client::connect(broker)?, facts: Facts::new() };
    script.client.create_topic(TOPIC, 1)?;
    script.client.create_topic(OTHER, 1)?;
    script.times()?;
    script.recalls()?;
    let topics = [TOPIC.to_owned(), OTHER.to_owned()];
    for records in read_until_still(&mut script.client, &topics, STILL) {
        let mut lines: Vec<String> = records.iter().map(describe).collect();
        lines.sort();
        lines.into_iter().for_each(|line| script.tell("arrived", line));
    }
    Ok(script.facts)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is after 1970");
    i64::try_from(since.as_millis()).expect("it is not far after")
}

/// All of a record but its times.
fn describe(record: &Record) -> String {
    let mut properties = record.properties.clone();
    properties.remove("__CRC32#");
    for (name, value) in &mut properties {
        let is_time = value.len() == 13 && value.bytes().all(|digit| digit.is_ascii_digit());
        if is_time
            || name == "TIMER_ENQUEUE_MS"
            || name == "__transactionId__"
            || (name == "UNIQ_KEY" && value.len() > 4)
        {
            "*".clone_into(value);
        }
    }
    let Record { topic, queue_id, reconsume_times, flag, sys_flag, .. } = record;
    let body = String::from_utf8_lossy(&record.body);
    format!(
        "{body}: topic {topic} queue {queue_id} reconsumed {reconsume_times} flag {flag} sysFlag {sys_flag} {properties:?}"
    )
}

impl Script {
    fn tell(&mut self, scenario: &str, fact: String) {
        tell_fact(&mut self.facts, scenario, fact);
    }

    /// Sends a message, tells how that is answered and what lies at the place of the answer. Its handle, if it has one.
    fn send(&mut self, topic: &str, case: &str, properties: &[(&str, &str)]) -> io::Result<Option<String>> {
        let response = self.client.call(Client::send_request(topic, 0, case.as_bytes(), properties))?;
        let handle = response.ext.get("recallHandle").cloned();
        self.tell("times", format!("{case}: code {} handle {}", response.code, handle.is_some()));
        if response.code == code::SUCCESS {
            let offset = log_offset_of(&Client::receipt(&response)?.msg_id)?;
            let found = self.client.expect_success("view", Frame::request(33).ext("offset", offset))?;
            let record = Record::decode_all(&found.body)?.remove(0);
            self.tell("times", format!("stored: {}", describe(&record)));
        }
        Ok(handle)
    }

    fn times(&mut self) -> io::Result<()> {
        let now = now_ms();
        let text = |ms: i64| ms.to_string();
        let (soon, past) = (text(now + 1_500), text(now - 1_500));
        let (nearly, beyond) = (text(now + DAYS_3_MS - 60_000), text(now + DAYS_3_MS + 60_000));
        for (case, properties) in [
            ("soon", &[("TIMER_DELIVER_MS", soon.as_str()), ("TAGS", "a")][..]),
            ("past", &[("TIMER_DELIVER_MS", &past)]),
            ("nearly three days", &[("TIMER_DELIVER_MS", &nearly)]),
            ("beyond three days", &[("TIMER_DELIVER_MS", &beyond)]),
            ("no delay", &[("TIMER_DELAY_SEC", "0")]),
            ("less than none", &[("TIMER_DELAY_MS", "-1")]),
            ("no number", &[("TIMER_DELAY_SEC", "x")]),
            ("half a second", &[("TIMER_DELAY_SEC", "0.5")]),
            ("with a space", &[("TIMER_DELAY_MS", " 5")]),
            ("with a sign", &[("TIMER_DELAY_MS", "+5")]),
            ("more than a number", &[("TIMER_DELAY_MS", "9223372036854775808")]),
            ("bad seconds first", &[("TIMER_DELAY_SEC", "x"), ("TIMER_DELAY_MS", "5")]),
            ("milliseconds before a moment", &[("TIMER_DELAY_MS", "5"), ("TIMER_DELIVER_MS", &beyond)]),
            ("beside no level", &[("DELAY", "0"), ("TIMER_DELAY_MS", "5")]),
            ("waited before", &[("TIMER_DELAY_MS", "5"), ("TIMER_OUT_MS", "7")]),
            ("with a real topic", &[("TIMER_DELAY_MS", "5"), ("REAL_TOPIC", "FORGED"), ("REAL_QID", "9")]),
            ("recalls what is past", &[("TIMER_DELIVER_MS", &past), ("TIMER_DEL_UNIQKEY", "x")]),
            ("recalls without a time", &[("TIMER_DEL_UNIQKEY", "x")]),
            ("of a transaction", &[("TIMER_DELAY_MS", "5"), ("TRAN_MSG", "true"), ("PGROUP", "G")]),
        ] {
            self.send(TOPIC, case, properties)?;
        }
        self.send(WHEEL, "to the wheel", &[("TIMER_OUT_MS", "1"), ("REAL_TOPIC", TOPIC), ("REAL_QID", "0")])?;
        Ok(())
    }

    fn recall(&mut self, case: &str, request: Frame) -> io::Result<()> {
        let response = self.client.call(request)?;
        let id = response.ext.get("msgId").cloned();
        // Beside success Apache says that none was set.
        let remark = response.remark.filter(|_| response.code != code::SUCCESS);
        self.tell("recalls", format!("{case}: code {} id {id:?} {remark:?}", response.code));
        Ok(())
    }

    fn recalls(&mut self) -> io::Result<()> {
        let later = (now_ms() + 3_000).to_string();
        let timed = [("TIMER_DELIVER_MS", later.as_str()), ("UNIQ_KEY", "KEY1")];
        let handle = self.send(TOPIC, "to be recalled", &timed)?.unwrap_or_default();
        let other = self.send(OTHER, "not to be recalled", &timed)?.unwrap_or_default();
        self.send(TOPIC, "recalled by hand", &[timed[0], ("UNIQ_KEY", "KEY2")])?;
        self.send(TOPIC, "recalls by hand", &[timed[0], ("TIMER_DEL_UNIQKEY", "TIMED+KEY2")])?;
        let request = |topic: &str, handle: &str| {
            Frame::request(RECALL).ext("producerGroup", "G").ext("topic", topic).ext("recallHandle", handle)
        };
        self.recall("of another topic", request(TOPIC, &other))?;
        self.recall("a topic that is not there", request("TIMED_NOT", &handle))?;
        self.recall("no handle", request(TOPIC, "x"))?;
        self.recall("an empty handle", request(TOPIC, ""))?;
        self.recall("half a handle", request(TOPIC, &handle[..handle.len() / 2]))?;
        self.recall("an older handle", request(TOPIC, "djEgVElNRUQgYiAxIEs="))?;
        self.recall("sound", request(TOPIC, &handle))?;
        self.recall("sound again", request(TOPIC, &handle))?;
        self.recall("without a group", request(TOPIC, &handle).without("producerGroup"))?;
        self.recall("without a padding", request(TOPIC, handle.trim_end_matches('=')))
    }
}
