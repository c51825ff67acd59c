//! Requests by hand, the same for both brokers: what is filtered, and what is refused how.
use std::io;
use std::time::Duration;

use serde_json::{Value, json};

use harness::{Client, Frame, code, wait_for};

const TOPIC: &str = "FILTERED";
const UPDATE_BROKER_CONFIG: i32 = 25;
const CHECK_CLIENT_CONFIG: i32 = 46;
const LITE_PULL: i32 = 361;
/// `sysFlag` of a pull: the subscription is in the request; hold it; as a lite pull consumer does.
const SUBSCRIPTION: i32 = 4;
const SUSPEND: i32 = 2;

/// What one broker answers, a line a case.
struct Script {
    client: Client,
    producer: Client,
    facts: Vec<String>,
    version: i64,
}

/// Runs the script against one broker and returns its facts.
pub(crate) fn run(broker: &str) -> io::Result<Vec<String>> {
    let (client, producer) = (Client::connect(broker)?, Client::connect(broker)?);
    let mut script = Script { client, producer, facts: Vec::new(), version: 1 };
    script.client.create_topic(TOPIC, 1)?;
    script.send_some()?;
    script.checks()?;
    script.inline()?;
    script.heartbeats("KNOWN")?;
    script.held()?;
    script.retries("RETRIED")?;
    script.set("filterSupportRetry=true")?;
    script.retries("RETRIED_BY_ORIGIN")?;
    script.set("enablePropertyFilter=false")?;
    script.checks()?;
    script.inline()?;
    script.heartbeats("DISABLED")?;
    Ok(script.facts)
}

/// What the brokers differ in: pulls that bring a wrong expression, or one of a language that is empty.
pub(crate) fn run_wrong(broker: &str) -> io::Result<Vec<String>> {
    let (client, producer) = (Client::connect(broker)?, Client::connect(broker)?);
    let mut script = Script { client, producer, facts: Vec::new(), version: 1 };
    script.set("enablePropertyFilter=true")?;
    script.pull_inline(code::PULL_MESSAGE, TOPIC, "a =", "SQL92", 0)?;
    script.pull_inline(code::PULL_MESSAGE, TOPIC, "a", "CLASS", 0)?;
    script.pull_inline(code::PULL_MESSAGE, TOPIC, "A || B", "", 0)?;
    Ok(script.facts)
}

fn subscription(topic: &str, expression: &Value, kind: &Value, version: i64) -> Value {
    json!({
        "classFilterMode": false, "topic": topic, "subString": expression, "tagsSet": [], "codeSet": [],
        "subVersion": version, "expressionType": kind,
    })
}

/// Code, and the broker's words where a client shows them to people.
fn answer(response: &Frame) -> String {
    let remark = response.remark.as_deref().unwrap_or_default();
    match response.code {
        1 | 27 => format!("code {} {remark}", response.code),
        other => format!("code {other}"),
    }
}

/// Bodies and where to go on.
fn pulled(response: &Frame) -> io::Result<String> {
    if ![0, 19, 20, 21].contains(&response.code) {
        return Ok(answer(response));
    }
    let pulled = Client::pulled(response)?;
    let bodies: Vec<_> =
        pulled.records.iter().map(|record| String::from_utf8_lossy(&record.body).into_owned()).collect();
    Ok(format!("code {} next {} {}", pulled.code, pulled.next_begin_offset, bodies.join(",")))
}

impl Script {
    fn tell(&mut self, fact: String) {
        self.facts.push(fact);
    }

    /// Changes a setting while the broker runs.
    fn set(&mut self, setting: &'static str) -> io::Result<()> {
        self.client.expect_success(setting, Frame::request(UPDATE_BROKER_CONFIG).body(setting)).map(drop)?;
        self.tell(format!("with {setting}"));
        Ok(())
    }

    fn checks(&mut self) -> io::Result<()> {
        let deep = format!("{}a = 1{}", "(".repeat(100), ")".repeat(100));
        let long = vec!["colour = 'red'"; 700].join(" OR ");
        let expressions = [
            "a = 1",
            "a > 'x'",
            "a",
            "a =",
            "",
            "*",
            "a = NULL",
            "5",
            "a LIKE 'x'",
            "a + 1 > 2",
            "0.0 < a",
            "a = 1 b",
            &deep,
            &long,
            "a BETWEEN 5 AND 1",
            "NOT",
            "a IN ()",
            "1 / 0 = a",
            "a = 99999999999999999999",
        ];
        for expression in expressions {
            self.check_one(&json!(expression), &json!("SQL92"))?;
        }
        self.check_one(&Value::Null, &json!("SQL92"))?;
        for kind in [json!("TAG"), json!(""), Value::Null, json!("CLASS"), json!("sql92")] {
            self.check_one(&json!("a ="), &kind)?;
        }
        let empty = self.client.call(Frame::request(CHECK_CLIENT_CONFIG))?;
        self.tell(format!("check of nothing: {}", answer(&empty)));
        let bare = self.client.call(Frame::request(CHECK_CLIENT_CONFIG).body("{}"))?;
        self.tell(format!("check of no subscription: {}", answer(&bare)));
        Ok(())
    }

    fn check_one(&mut self, expression: &Value, kind: &Value) -> io::Result<()> {
        let wanted = subscription(TOPIC, expression, kind, 1);
        let body = json!({ "clientId": "raw@1", "group": "CHECKED", "subscriptionData": wanted });
        let response = self.client.call(Frame::request(CHECK_CLIENT_CONFIG).body(body.to_string()))?;
        let shown: String = expression.to_string().chars().take(60).collect();
        self.tell(format!("check {kind} {shown}: {}", answer(&response)));
        Ok(())
    }

    fn send_some(&mut self) -> io::Result<()> {
        let messages: [(&str, &[(&str, &str)]); 6] = [
            ("m0", &[("a", "1"), ("TAGS", "A")]),
            ("m1", &[("a", "2"), ("colour", "red")]),
            ("m2", &[("a", "x")]),
            ("m3", &[]),
            ("m4", &[("a", "3"), ("TAGS", "B"), ("KEYS", "k1 k2")]),
            ("m5", &[("a", "2.5"), ("colour", "it's")]),
        ];
        for (body, properties) in messages {
            self.producer.send_with(TOPIC, 0, body.as_bytes(), properties)?;
        }
        Ok(())
    }

    fn pull_inline(&mut self, request: i32, topic: &str, expression: &str, kind: &str, offset: i64) -> io::Result<()> {
        let mut frame = Client::pull_request("INLINE", topic, 0, offset, 32)
            .ext("subscription", expression)
            .ext("expressionType", kind);
        frame.code = request;
        let response = self.client.call(frame)?;
        let shown: String = expression.chars().take(60).collect();
        let fact = pulled(&response)?;
        self.tell(format!("pull {request} {kind} <{shown}> from {offset}: {fact}"));
        Ok(())
    }

    fn inline(&mut self) -> io::Result<()> {
        let expressions = [
            "a = 1",
            "a > 1",
            "a > 1.0",
            "TAGS = 'A'",
            "TAGS IS NULL",
            "a IS NULL OR colour = 'red'",
            "KEYS CONTAINS 'k2'",
            "FALSE",
            "TRUE",
            "NULL",
            "colour = 'it''s'",
            "MSG_REGION = 'DefaultRegion'",
            "TRACE_ON = TRUE",
            "CLUSTER IS NOT NULL",
        ];
        for expression in expressions {
            self.pull_inline(code::PULL_MESSAGE, TOPIC, expression, "SQL92", 0)?;
        }
        self.pull_inline(LITE_PULL, TOPIC, "a > 1", "SQL92", 0)?;
        self.pull_inline(code::PULL_MESSAGE, TOPIC, "a = 1", "SQL92", 1)?;
        self.pull_inline(code::PULL_MESSAGE, TOPIC, "a = 1", "SQL92", 6)?;
        self.pull_inline(code::PULL_MESSAGE, TOPIC, "", "SQL92", 0)?;
        self.pull_inline(code::PULL_MESSAGE, TOPIC, "A || B", "TAG", 0)?;
        Ok(())
    }

    fn beat(&mut self, group: &str, subscriptions: &[Value]) -> io::Result<()> {
        let body = json!({
            "clientID": "raw@1",
            "producerDataSet": [],
            "consumerDataSet": [{
                "groupName": group, "consumeType": "CONSUME_PASSIVELY", "messageModel": "CLUSTERING",
                "consumeFromWhere": "CONSUME_FROM_FIRST_OFFSET", "unitMode": false, "subscriptionDataSet": subscriptions,
            }],
        });
        self.client.expect_success("heartbeat", Frame::request(code::HEART_BEAT).body(body.to_string())).map(drop)
    }

    fn pull_known(&mut self, what: &str, group: &str, topic: &str, version: i64) -> io::Result<()> {
        let frame = Client::pull_request(group, topic, 0, 0, 32).ext("sysFlag", 0).ext("subVersion", version);
        let response = self.client.call(frame)?;
        let fact = pulled(&response)?;
        self.tell(format!("{what}: {fact}"));
        Ok(())
    }

    fn heartbeats(&mut self, group: &str) -> io::Result<()> {
        self.pull_known("before any heartbeat", group, TOPIC, 1)?;
        let cases = [
            ("an expression", json!("a = 1"), json!("SQL92")),
            ("another", json!("a = 2"), json!("SQL92")),
            ("a wrong one", json!("a ="), json!("SQL92")),
            ("tags after it", json!("*"), json!("TAG")),
            ("an unknown language", json!("a = 1"), json!("CLASS")),
            ("an empty one", json!(""), json!("SQL92")),
            ("a right one again", json!("colour = 'red'"), json!("SQL92")),
        ];
        for (what, expression, kind) in cases {
            self.version += 1;
            let version = self.version;
            self.beat(group, &[subscription(TOPIC, &expression, &kind, version)])?;
            self.pull_known(what, group, TOPIC, version)?;
        }
        let version = self.version;
        self.pull_known("a newer version than is known", group, TOPIC, version + 1)?;
        self.beat(group, &[subscription(TOPIC, &json!("a = 1"), &json!("SQL92"), version - 1)])?;
        self.pull_known("an older version is not taken", group, TOPIC, version)?;
        self.beat(group, &[subscription("OTHER", &json!("*"), &json!("TAG"), version)])?;
        self.pull_known("no subscription to this topic", group, TOPIC, version)?;
        let mut class = subscription(TOPIC, &json!("org.example.Filter"), &json!("TAG"), version + 1);
        class["classFilterMode"] = json!(true);
        self.beat(group, &[class])?;
        self.pull_known("a class filter", group, TOPIC, version + 1)
    }

    fn held(&mut self) -> io::Result<()> {
        let frame = Client::long_pull_request("HELD", TOPIC, 0, 6, Duration::from_secs(20))
            .ext("sysFlag", SUBSCRIPTION | SUSPEND)
            .ext("subscription", "a > 10")
            .ext("expressionType", "SQL92");
        let opaque = self.client.start(frame.clone())?;
        self.producer.send_with(TOPIC, 0, b"m6", &[("a", "7")])?;
        self.producer.send_with(TOPIC, 0, b"m7", &[])?;
        self.producer.send_with(TOPIC, 0, b"m8", &[("a", "11")])?;
        let mut response = self.client.finish(opaque)?;
        // It may have come behind the first of them, and then it is not held but told to go on.
        while response.code == code::PULL_RETRY_IMMEDIATELY {
            let next = response.ext_number("nextBeginOffset")?;
            response = self.client.call(frame.clone().ext("queueOffset", next))?;
        }
        let fact = pulled(&response)?;
        self.tell(format!("held until one matches: {fact}"));
        Ok(())
    }

    /// A retry topic, subscribed to by an expression; `filterSupportRetry` decides by the origin's.
    fn retries(&mut self, group: &str) -> io::Result<()> {
        let topic = &format!("%RETRY%{group}");
        let kind = json!("SQL92");
        let wanted = [subscription(TOPIC, &json!("a > 5"), &kind, 1), subscription(topic, &json!("a < 3"), &kind, 1)];
        self.beat(group, &wanted)?;
        for (body, properties) in [
            ("r0", [("a", "1"), ("RETRY_TOPIC", TOPIC)]),
            ("r1", [("a", "9"), ("RETRY_TOPIC", TOPIC)]),
            ("r2", [("a", "1"), ("RETRY_TOPIC", "ELSEWHERE")]),
            ("r3", [("a", "9"), ("RETRY_TOPIC", "ELSEWHERE")]),
        ] {
            self.producer.send_with(topic, 0, body.as_bytes(), &properties)?;
        }
        // Apache answers a send before consumers see the message.
        wait_for("dispatch", || self.client.max_offset(topic, 0).ok().filter(|offset| *offset >= 4));
        self.pull_known("a retry topic", group, topic, 1)
    }
}
