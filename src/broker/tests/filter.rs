//! SQL92 filters in pulls: who is given what, held pulls, and what a filter that matches nothing costs.

use super::*;
use crate::limits::FILTER_SCAN_BYTES_MAX;

fn filtering() -> World {
    let settings = BrokerSettings { filters_properties: true, ..settings() };
    let mut world = World::with(settings, FlushPolicy::Sync, false);
    world.make_topic("T", 1);
    world
}

impl World {
    fn ask_filtered(&mut self, connection: ConnectionId, from: i64, expression: &str, hold_ms: u64) -> i32 {
        let (from, hold) = (from.to_string(), hold_ms.to_string());
        let ext = [
            ("consumerGroup", "g"),
            ("topic", "T"),
            ("queueId", "0"),
            ("queueOffset", &from),
            ("maxMsgNums", "32"),
            ("sysFlag", if hold_ms > 0 { "6" } else { "4" }),
            ("commitOffset", "0"),
            ("suspendTimeoutMillis", &hold),
            ("subscription", expression),
            ("expressionType", "SQL92"),
            ("subVersion", "0"),
        ];
        self.ask(connection, RequestCode::LitePullMessage, &ext, b"")
    }

    fn filtered(&mut self, connection: ConnectionId, from: i64, expression: &str) -> Received {
        let opaque = self.ask_filtered(connection, from, expression, 0);
        self.run();
        self.answer(connection, opaque).expect("an answer to a pull")
    }
}

fn bodies(answer: &Received) -> Vec<String> {
    answer.records().into_iter().map(|record| record.body).collect()
}

#[test]
fn a_pull_has_what_its_expression_wants() {
    let mut world = filtering();
    let c = world.connect();
    for number in 0..5 {
        world.send(c, "T", 0, &format!("n\u{1}{number}\u{2}TAGS\u{1}A"), &number.to_string());
    }
    let answer = world.filtered(c, 0, "n >= 3 OR n = 0");
    assert_eq!((answer.code, bodies(&answer)), (0, vec!["0".to_owned(), "3".to_owned(), "4".to_owned()]));
    assert_eq!(answer.number("nextBeginOffset"), 5);
    let answer = world.filtered(c, 1, "TAGS = 'B'");
    assert_eq!((answer.code, answer.number("nextBeginOffset")), (20, 5));
}

#[test]
fn a_held_pull_waits_for_a_message_that_matches() {
    let mut world = filtering();
    let (c, p) = (world.connect(), world.connect());
    let opaque = world.ask_filtered(c, 0, "n > 5", 15_000);
    for number in [1, 2, 3] {
        world.send(p, "T", 0, &format!("n\u{1}{number}"), "x");
    }
    assert!(world.answer(c, opaque).is_none(), "none of them matches");
    world.send(p, "T", 0, "n\u{1}6", "y");
    let answer = world.answer(c, opaque).expect("woken by the append");
    assert_eq!((answer.code, bodies(&answer), answer.number("nextBeginOffset")), (0, vec!["y".to_owned()], 4));

    let opaque = world.ask_filtered(c, 4, "n > 6", 15_000);
    world.send(p, "T", 0, "n\u{1}6", "y");
    world.wait_ms(15_000);
    let answer = world.answer(c, opaque).unwrap();
    assert_eq!((answer.code, answer.number("nextBeginOffset")), (20, 5), "it goes on behind what was looked at");
}

#[test]
fn a_filter_that_matches_nothing_looks_at_so_much_a_pull() {
    let mut world = filtering();
    let c = world.connect();
    let body = "x".repeat(4_000);
    let count = 4 * FILTER_SCAN_BYTES_MAX / body.len();
    for _ in 0..count {
        world.send(c, "T", 0, "n\u{1}1", &body);
    }
    let (mut at, mut pulls) = (0, 0);
    while at < i64::try_from(count).unwrap() {
        let answer = world.filtered(c, at, "n = 2");
        assert_eq!(answer.code, 20);
        let passed = usize::try_from(answer.number("nextBeginOffset") - at).unwrap();
        assert!(passed > 0 && (passed - 1) * body.len() <= FILTER_SCAN_BYTES_MAX, "{passed} messages in one pull");
        at = answer.number("nextBeginOffset");
        pulls += 1;
    }
    assert!(pulls >= 3, "{pulls}");
}

#[test]
fn a_long_expression_looks_at_few_messages_a_pull() {
    let mut world = filtering();
    let c = world.connect();
    for _ in 0..200 {
        world.send(c, "T", 0, "n\u{1}1", "x");
    }
    let long = vec!["n = 2"; 1_000].join(" OR ");
    let answer = world.filtered(c, 0, &long);
    assert_eq!(answer.code, 20);
    let passed = answer.number("nextBeginOffset");
    assert!((1..=32).contains(&passed), "{passed}");
}
