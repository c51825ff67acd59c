//! The built `ringmq-bench` against a peer with known faults: what the peer did must be in the figures. Bounds are lower bounds only, since
//! a busy machine adds delay and never takes any away. What it cannot show is speed.
#![allow(clippy::disallowed_methods, reason = "a test of a tool that lives among files, sockets and threads")]

mod peer;

use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use peer::{Fault, Peer};
use serde_json::Value;

struct Run {
    json: PathBuf,
    child: Child,
}

impl Run {
    fn start(name: &str, target: &str, arguments: &str) -> Self {
        let json = std::env::temp_dir().join(format!("ringmq-bench-test-{}-{name}.json", std::process::id()));
        let child = Command::new(env!("CARGO_BIN_EXE_ringmq-bench"))
            .args(["produce", "--topic", "T", "--target", target, "--json"])
            .arg(&json)
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was just built");
        Self { json, child }
    }

    /// Exit code, stdout and stderr, and the JSON if there is any.
    fn finish(self) -> (Option<i32>, String, Value) {
        let Output { status, stdout, stderr } = self.child.wait_with_output().expect("it ends");
        let said = format!("{}\n{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        let text = std::fs::read_to_string(&self.json).unwrap_or_default();
        // Not there if nothing was measured.
        let _ = std::fs::remove_file(&self.json);
        (status.code(), said, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

fn run(name: &str, peer: &Peer, arguments: &str) -> (Option<i32>, String, Value) {
    Run::start(name, &peer.address.to_string(), arguments).finish()
}

fn number(report: &Value, path: &str) -> f64 {
    report.pointer(path).and_then(Value::as_f64).unwrap_or_else(|| panic!("no {path} in {report:#}"))
}

#[test]
fn a_second_of_silence_is_in_the_open_loop_figures() {
    let peer = Peer::start(&[(2000, Fault::Stall(Duration::from_secs(1)))]);
    let arguments = "--connections 2 --rate 2000 --warmup 0s --duration 3s";
    let (code, said, report) = run("stall", &peer, arguments);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((number(&report, "/sent"), number(&report, "/failed")), (6000.0, 0.0), "{said}");
    // 2000 of the 6000 were due in that second and waited for what was left of it.
    for (percentile, least_ms) in [("p90", 600.0), ("p99", 960.0), ("p99_9", 990.0), ("p99_99", 995.0), ("max", 995.0)]
    {
        let found = number(&report, &format!("/latency_us/{percentile}"));
        assert!(found >= least_ms * 1000.0, "{percentile} is {found} µs\n{said}");
    }
    assert_eq!(report["mode"], "open");
    assert_eq!(report["complete"], true);
    assert!(number(&report, "/rate_per_s") <= 2000.1, "{said}");
}

#[test]
fn a_closed_loop_keeps_its_requests_in_flight_and_counts_refusals_by_code() {
    let peer = Peer::start(&[
        (10, Fault::Refuse(2)),
        (20, Fault::Refuse(2)),
        (30, Fault::Refuse(16)),
        (31, Fault::Refuse(10)),
    ]);
    let (code, said, report) = run("refuse", &peer, "--connections 3 --in-flight 5 --warmup 0s --duration 1s");
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(report["mode"], "closed");
    assert_eq!(number(&report, "/failed"), 3.0);
    assert_eq!(report["failed_by_code"]["2"]["count"], 2);
    assert_eq!(report["failed_by_code"]["16"]["remark"], "not today");
    assert_eq!(number(&report, "/flush_disk_timeout"), 1.0);
    assert!(said.contains("2 messages refused with code 2: not today"), "{said}");
    assert!(number(&report, "/sent") > 100.0, "{said}");
}

#[test]
fn what_was_measured_before_a_broker_died_is_kept_and_marked() {
    let peer = Peer::start(&[(500, Fault::Die)]);
    let (code, said, report) = run("die", &peer, "--connections 2 --rate 1000 --warmup 0s --duration 60s");
    assert_eq!(code, Some(1), "{said}");
    assert_eq!(report["complete"], false);
    assert!(said.contains("cut short") && said.contains(&peer.address.to_string()), "{said}");
    let (sent, unanswered) = (number(&report, "/sent"), number(&report, "/unanswered"));
    assert!((1.0..=500.0).contains(&sent) && unanswered >= 1.0, "{sent} sent, {unanswered} unanswered\n{said}");
}

#[test]
fn messages_come_back_and_the_books_show_what_did_not() {
    let peer = Peer::start(&[(7, Fault::Lose), (8, Fault::Double), (100, Fault::Stall(Duration::from_millis(300)))]);
    let arguments = "--connections 2 --rate 500 --warmup 0s --duration 1s --drain 1s --queues 3 --end-to-end";
    let (code, said, report) = run("pull", &peer, arguments);
    assert_eq!(code, Some(1), "a message is missing: {said}");
    assert_eq!(number(&report, "/consumed/received"), 499.0, "{said}");
    assert_eq!((number(&report, "/consumed/duplicates"), number(&report, "/consumed/missing")), (1.0, 1.0), "{said}");
    assert!(number(&report, "/end_to_end_us/max") >= 300_000.0, "the stall hits the consumers too: {said}");
    assert!(number(&report, "/end_to_end_us/p50") > 0.0, "{said}");
}

#[test]
fn an_audit_finds_what_is_damaged_and_what_came_too_late() {
    let peer = Peer::start(&[(50, Fault::Damage), (90, Fault::Delay)]);
    let arguments = "--connections 1 --rate 1000 --warmup 0s --duration 1s --drain 1s --queues 1 --end-to-end --audit";
    let (code, said, report) = run("audit", &peer, arguments);
    assert_eq!(code, Some(1), "{said}");
    let consumed = ["received", "duplicates", "missing", "corrupt", "out_of_order"]
        .map(|field| number(&report, &format!("/consumed/{field}")));
    assert_eq!(consumed, [999.0, 0.0, 1.0, 1.0, 1.0], "{said}");
    assert!(said.contains("1 messages arrived with another content than was sent"), "{said}");
}

#[test]
fn a_load_that_may_reconnect_sends_again_what_got_no_reply() {
    let peer = Peer::start(&[(100, Fault::Hang), (200, Fault::Hang)]);
    let arguments =
        "--connections 2 --rate 500 --warmup 0s --duration 1s --drain 5s --queues 2 --end-to-end --reconnect";
    let (code, said, report) = run("reconnect", &peer, arguments);
    assert_eq!(code, Some(0), "{said}");
    assert_eq!((number(&report, "/sent"), number(&report, "/reconnects")), (500.0, 2.0), "{said}");
    assert!(number(&report, "/resent") >= 2.0 && number(&report, "/consumed/missing") == 0.0, "{said}");
    assert!(said.contains("2 connections broke and were made again"), "{said}");
}

#[test]
fn messages_that_want_no_reply_are_counted_when_they_arrive() {
    let peer = Peer::start(&[(7, Fault::Lose)]);
    let arguments = "--connections 2 --rate 500 --warmup 0s --duration 1s --drain 1s --end-to-end --send oneway";
    let (code, said, report) = run("oneway", &peer, arguments);
    assert_eq!(code, Some(1), "one is missing: {said}");
    assert_eq!((number(&report, "/sent"), number(&report, "/consumed/missing")), (500.0, 1.0), "{said}");
}

#[test]
fn a_sender_that_waits_has_one_request_outstanding() {
    let peer = Peer::start(&[(100, Fault::Stall(Duration::from_millis(500)))]);
    let (code, said, report) =
        run("sync", &peer, "--connections 2 --rate 1000 --warmup 0s --duration 1s --send sync --json-unused");
    assert_eq!((code, report), (Some(2), Value::Null), "a typing error is refused: {said}");
    let (code, said, report) = run("sync", &peer, "--connections 2 --rate 1000 --warmup 0s --duration 1s --send sync");
    assert_eq!((code, number(&report, "/sent")), (Some(0), 1000.0), "{said}");
    // Two were on their way when it stalled; all others waited here, and their wait counts only from the intended moment.
    assert!(
        number(&report, "/latency_us/p90") > 300_000.0 && number(&report, "/from_send_us/p99") < 300_000.0,
        "{said}"
    );
}

#[test]
fn an_unreachable_target_is_one_sentence() {
    let closed =
        std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let (code, said, report) = Run::start("closed", &closed.to_string(), "--rate 1 --duration 1s").finish();
    assert_eq!((code, &report), (Some(1), &Value::Null), "{said}");
    assert!(said.contains(&format!("cannot connect to {closed}")), "{said}");
}

#[test]
fn an_interrupt_prints_what_was_measured() {
    let peer = Peer::start(&[]);
    let run =
        Run::start("interrupt", &peer.address.to_string(), "--connections 1 --rate 1000 --warmup 0s --duration 600s");
    let pid = i32::try_from(run.child.id()).expect("a process id");
    let begun = Instant::now();
    // Until it sends, and so has its handler in place.
    while peer.sends() < 50 {
        assert!(begun.elapsed() < Duration::from_secs(60), "no load in a minute");
        std::thread::sleep(Duration::from_millis(5));
    }
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).expect("not zero"), rustix::process::Signal::INT)
        .expect("it runs");
    let (code, said, report) = run.finish();
    assert_eq!(code, Some(130), "{said}");
    assert_eq!(report["ended"], "interrupted");
    assert!(number(&report, "/sent") >= 1.0 && said.contains("p99.99"), "{said}");
}
