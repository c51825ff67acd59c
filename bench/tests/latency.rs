//! The built `ringmq-bench` against brokers whose latency is known: one that stands still for a second, and one that answers after delays of
//! a given distribution. What it says must be that.
#![allow(clippy::disallowed_methods, reason = "a test of a tool that lives among files, sockets and threads")]

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use ringmq_bench::load::report::{Percentiles, Report};
use ringmq_bench::load::scan::{HeadScanner, split_frame};
use ringmq_peers::Process;
use rustix::process::{Pid, Signal, kill_process};

/// A load that runs, and ends with the test.
struct Load {
    child: Child,
    json: PathBuf,
}

impl Load {
    fn start(name: &str, target: SocketAddr, arguments: &str) -> Self {
        let json = std::env::temp_dir().join(format!("ringmq-bench-latency-{}-{name}.json", std::process::id()));
        let child = Command::new(env!("CARGO_BIN_EXE_ringmq-bench"))
            .args(["produce", "--topic", "T", "--target", &target.to_string(), "--json"])
            .arg(&json)
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary was just built");
        Self { child, json }
    }

    /// Returns when a whole second of the load is over.
    fn wait_for_a_second(&mut self) {
        let stderr = self.child.stderr.take().expect("it is piped");
        let mut lines = BufReader::new(stderr).lines();
        let is_second = |line: &str| line.contains(" replies ");
        lines.find(|line| line.as_deref().is_ok_and(is_second)).expect("a line a second").expect("UTF-8");
        // The rest is read as well, so that it can be written.
        thread::spawn(move || lines.count());
    }

    fn finish(mut self) -> Report {
        let status = self.child.wait().expect("it ends");
        assert!(status.success(), "{status}");
        let text = std::fs::read_to_string(&self.json).expect("a report");
        std::fs::remove_file(&self.json).expect("it is there");
        serde_json::from_str(&text).expect("a report")
    }
}

#[test]
fn a_second_in_which_the_broker_is_stopped_shows_in_the_tail() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq-echo"));
    command.args(["--cpu", "0", "--listen", "127.0.0.1:0"]);
    let log = std::env::temp_dir().join(format!("ringmq-bench-latency-{}-echo.log", std::process::id()));
    let broker = Process::start("ringmq-echo", command, &log).expect("it starts");
    let begun = Instant::now();
    let address: SocketAddr = loop {
        let said = broker.log_text();
        if let Some(address) = said.lines().find_map(|line| line.strip_prefix("listening on ")) {
            break address.parse().expect("an address");
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "nothing listens in a minute");
        thread::sleep(Duration::from_millis(5));
    };
    let mut load = Load::start("stopped", address, "--connections 4 --rate 1000 --warmup 0s --duration 5s");
    load.wait_for_a_second();
    let pid = i32::try_from(broker.id()).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, Signal::STOP).expect("it runs");
    thread::sleep(Duration::from_secs(1));
    kill_process(pid, Signal::CONT).expect("it is there");
    let report = load.finish();
    std::fs::remove_file(&log).expect("it is there");
    // A fifth of all messages was due in that second; a tool that waits for replies would have seen one slow message a connection.
    assert_eq!((report.sent, report.failed), (5000, 0));
    let Percentiles { p50, p90, p99, p99_9, .. } = report.latency_us;
    assert!(p99_9 > 980_000.0 && p99 > 900_000.0 && p90 > 400_000.0 && p50 < p90, "{:?}", report.latency_us);
}

/// Delays of `count` messages, log-normal about a median of 50 ms, in an order that looks random.
fn delays(count: usize) -> Vec<Duration> {
    let mut delays: Vec<Duration> = (0..count)
        .map(|rank| {
            let deviation = normal_quantile((rank as f64 + 0.5) / count as f64);
            Duration::from_secs_f64(0.050 * (0.6 * deviation).exp())
        })
        .collect();
    let mut state = 88_172_645_463_325_252u64;
    for index in (1..count).rev() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        delays.swap(index, usize::try_from(state % (index as u64 + 1)).expect("an index"));
    }
    delays
}

/// By bisection of the integral (Abramowitz and Stegun 26.2.17, error below 1e-7).
fn normal_quantile(share: f64) -> f64 {
    let below = |x: f64| {
        let t = 1.0 / (1.0 + 0.231_641_9 * x.abs());
        let series = [0.319_381_530, -0.356_563_782, 1.781_477_937, -1.821_255_978, 1.330_274_429];
        let sum = series.iter().rev().fold(0.0, |sum, factor| (sum + factor) * t);
        let tail = (-x * x / 2.0).exp() / (2.0 * std::f64::consts::PI).sqrt() * sum;
        if x < 0.0 { tail } else { 1.0 - tail }
    };
    let (mut low, mut high) = (-6.0, 6.0);
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if below(middle) < share { low = middle } else { high = middle }
    }
    (low + high) / 2.0
}

/// Replies by the time at which they are due.
#[derive(Default)]
struct Due {
    replies: Mutex<BTreeMap<(Instant, usize), (i32, TcpStream)>>,
    changed: Condvar,
}

/// Answers the `n`-th send after the `n`-th of `delays`, and all else at once. Its threads end with the test's process.
fn start_delaying(delays: Vec<Duration>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = listener.local_addr().expect("it is bound");
    let (due, delays) = (Arc::new(Due::default()), Arc::new(Mutex::new((0usize, delays))));
    let replies = Arc::clone(&due);
    thread::spawn(move || answer(&replies));
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (due, delays) = (Arc::clone(&due), Arc::clone(&delays));
            thread::spawn(move || listen(stream, &due, &delays));
        }
    });
    address
}

fn listen(mut stream: TcpStream, due: &Due, delays: &Mutex<(usize, Vec<Duration>)>) {
    stream.set_nodelay(true).expect("a socket");
    let (mut received, mut part) = (Vec::new(), vec![0; 65_536]);
    while let Ok(bytes @ 1..) = stream.read(&mut part) {
        let now = Instant::now();
        received.extend_from_slice(&part[..bytes]);
        while let Some((frame, frame_len)) = split_frame(&received).expect("the generator writes frames") {
            let head = HeadScanner::default().head(&frame).expect("a header");
            received.drain(..frame_len);
            if head.code != 310 {
                stream.write_all(&reply(head.opaque)).expect("it listens");
                continue;
            }
            let mut delays = delays.lock().expect("no thread panics");
            let (number, delay) = (delays.0, delays.1[delays.0]);
            delays.0 += 1;
            drop(delays);
            let answer = (head.opaque, stream.try_clone().expect("a descriptor"));
            due.replies.lock().expect("no thread panics").insert((now + delay, number), answer);
            due.changed.notify_one();
        }
    }
}

fn answer(due: &Due) {
    let mut replies = due.replies.lock().expect("no thread panics");
    loop {
        let now = Instant::now();
        let next = replies.first_key_value().map(|((at, _), _)| *at);
        match next {
            Some(at) if at <= now => {
                let (_, (opaque, mut stream)) = replies.pop_first().expect("it is there");
                // The load may be over.
                let _ = stream.write_all(&reply(opaque));
            }
            Some(at) => replies = due.changed.wait_timeout(replies, at - now).expect("no thread panics").0,
            None => replies = due.changed.wait(replies).expect("no thread panics"),
        }
    }
}

fn reply(opaque: i32) -> Vec<u8> {
    let header = format!(r#"{{"code":0,"extFields":{{}},"flag":1,"language":"JAVA","opaque":{opaque},"version":479}}"#);
    let length = u32::try_from(header.len()).expect("short");
    [&(length + 4).to_be_bytes(), &length.to_be_bytes(), header.as_bytes()].concat()
}

/// What the load says by what was injected, at p50, p99 and p99.9.
fn measured_by_injected() -> [f64; 3] {
    let mut delays = delays(10_000);
    let address = start_delaying(delays.clone());
    let report = Load::start("known", address, "--connections 4 --rate 2000 --warmup 0s --duration 5s").finish();
    assert_eq!((report.sent, report.failed), (10_000, 0));
    delays.sort();
    let injected_us = |per_mille: usize| delays[per_mille * 10 - 1].as_secs_f64() * 1e6;
    let found = report.latency_us;
    [found.p50 / injected_us(500), found.p99 / injected_us(990), found.p99_9 / injected_us(999)]
}

#[test]
fn a_known_distribution_is_measured_to_two_per_cent() {
    // A busy machine adds delays of its own, to the broker as well, and takes none away: the best of a few tries is judged from above, each
    // from below.
    let mut tries = Vec::new();
    while tries.len() < 5 {
        let ratios = measured_by_injected();
        assert!(ratios.iter().all(|ratio| *ratio > 0.98), "measured by injected at p50, p99, p99.9: {ratios:?}");
        tries.push(ratios);
        if ratios.iter().all(|ratio| *ratio < 1.02) {
            return;
        }
    }
    panic!("measured by injected at p50, p99, p99.9, try by try: {tries:?}");
}
