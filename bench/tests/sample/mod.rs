//! Results that nobody measured: real histograms, and figures that are theirs.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "tests take what they need of it")]

use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use ringmq_bench::lab::results::{
    BrokerFacts, Experiment, FORMAT, Failover, Histograms, Machine, Packed, Point, ProcessUse, Results, Run, Second,
    Subject,
};
use ringmq_bench::load::frame::HeaderKind;
use ringmq_bench::load::report::{Percentiles, Report, SettingsReport};
use ringmq_bench::load::settings::{Arrivals, PulledFrom, Sending, SizeShare};
use ringmq_bench::load::tally::latency_histogram;

pub struct Sample {
    pub results: Results,
}

impl Sample {
    pub fn of(experiment: Experiment, subjects: &[&str]) -> Self {
        let results = Results {
            format: FORMAT,
            experiment,
            title: "asynchronous against synchronous double write".to_owned(),
            command: "ringmq-bench compare --up ringmq:2m-2s-async --up ringmq:2m-2s-sync".to_owned(),
            started: "2026-11-23T10:00:00Z".to_owned(),
            complete: true,
            ended: "finished".to_owned(),
            machine: Machine {
                generator: "ringmq-bench 0.1.0 (ec8ffb2)".to_owned(),
                kernel: "Linux 6.1.0".to_owned(),
                cpu: "Example CPU, 2 of 2 processors".to_owned(),
                governor: "performance".to_owned(),
                memory_mb: 7_900,
                disk: "/dev/vda, ext4, relatime".to_owned(),
                disk_cache: "write through".to_owned(),
                disk_interrupts: "processor 1".to_owned(),
                limits: "nofile 1048576/1048576".to_owned(),
                java: "openjdk 17.0.13".to_owned(),
                load_average: "0.10 0.20 0.30".to_owned(),
                placement: "generator on 1, brokers on all".to_owned(),
            },
            subjects: subjects.iter().map(|name| subject(name)).collect(),
            runs: Vec::new(),
            findings: Vec::new(),
            goals: Vec::new(),
            warnings: Vec::new(),
        };
        Self { results }
    }

    pub fn compare(subjects: &[&str]) -> Self {
        Self::of(Experiment::Compare, subjects)
    }

    pub fn sweep(subjects: &[&str]) -> Self {
        Self::of(Experiment::Sweep, subjects)
    }

    /// A closed loop; latencies are p50, p99 and p99.9, µs.
    pub fn closed(&mut self, subject: usize, rate: f64, latency: [f64; 3]) -> &mut Run {
        self.push(subject, None, None, rate, latency)
    }

    pub fn open(&mut self, subject: usize, rate: u32, latency: [f64; 3]) -> &mut Run {
        self.push(subject, None, Some(rate), f64::from(rate), latency)
    }

    pub fn open_reached(&mut self, subject: usize, rate: u32, reached: f64, latency: [f64; 3]) -> &mut Run {
        self.push(subject, None, Some(rate), reached, latency)
    }

    pub fn step(&mut self, subject: usize, rate: u32, reached: f64, latency: [f64; 3]) -> &mut Run {
        let point = Point { name: "rate".to_owned(), value: f64::from(rate), unit: "messages/s".to_owned() };
        self.push(subject, Some(point), Some(rate), reached, latency)
    }

    pub fn push(
        &mut self,
        subject: usize,
        point: Option<Point>,
        asked: Option<u32>,
        rate: f64,
        [p50, p99, p99_9]: [f64; 3],
    ) -> &mut Run {
        let settings = settings(asked);
        let is_same =
            |run: &&Run| run.subject == subject && run.point == point && run.report.settings.rate == settings.rate;
        let round = 1 + self.results.runs.iter().filter(is_same).count();
        let reply = histogram([p50, p99, p99_9]);
        let from_send = histogram([p50, p50 * 1.9, p50 * 2.4]);
        let report = Report {
            rate_per_s: rate,
            sent: 100_000,
            failed: 0,
            latency_us: Percentiles { p50, p99, p99_9, ..Percentiles::of(&reply) },
            from_send_us: Some(Percentiles::of(&from_send)),
            end_to_end_us: None,
            lag_us: None,
            send_delay_us: None,
            transactions: None,
            popped: None,
            mode: if asked.is_some() { "open" } else { "closed" }.to_owned(),
            complete: true,
            ended: "finished".to_owned(),
            elapsed_s: 100_000.0 / rate,
            unanswered: 0,
            resent: 0,
            reconnects: 0,
            failed_by_code: BTreeMap::new(),
            flush_disk_timeout: 0,
            slave_not_available: 0,
            flush_slave_timeout: 0,
            consumed: None,
            held_back: 0,
            generator_cpu: 0.31,
            settings,
        };
        self.results.runs.push(Run {
            subject,
            round,
            point,
            report,
            seconds: seconds(rate, [p50, p99, p99_9]),
            histograms: Histograms { reply: Packed::of(&reply), from_send: Packed::of(&from_send), end_to_end: None },
            processes: vec![
                ProcessUse { name: "broker-a master".to_owned(), cpu: 0.62, resident_mb: 412.0, descriptors: 88 },
                ProcessUse { name: "broker-a slave".to_owned(), cpu: 0.21, resident_mb: 301.5, descriptors: 61 },
            ],
            cores: Vec::new(),
            failover: None,
            restart: None,
            catch_up: None,
        });
        self.results.runs.last_mut().expect("just pushed")
    }

    /// Kills a broker in the last run.
    pub fn kill(&mut self, at_s: f64) {
        let run = self.results.runs.last_mut().expect("a run");
        for second in &mut run.seconds {
            #[expect(clippy::cast_precision_loss, reason = "a few seconds")]
            let since = second.at as f64 - at_s;
            if (0.0..4.0).contains(&since) {
                *second = Second { at: second.at, outstanding: 40_000, ..Second::default() };
            } else if (4.0..6.0).contains(&since) {
                second.max_us = 4_000_000.0;
                second.p99_9_us = 3_900_000.0;
                second.p99_us = 3_500_000.0;
                second.p50_us = 900_000.0;
            }
        }
        run.failover = Some(Failover {
            fault: "SIGKILL broker-a master".to_owned(),
            at_s,
            first_success_s: Some(4.2),
            longest_gap_s: 4.2,
            first_received_s: Some(4.4),
            lost: 0,
            duplicated: 12,
            out_of_order: 3,
        });
    }
}

/// 100,000 latencies whose percentiles are near those given, µs; between them they grow evenly, decade by decade.
pub fn histogram([p50, p99, p99_9]: [f64; 3]) -> Histogram<u64> {
    const ALL: f64 = 100_000.0;
    const STEPS: u32 = 400;
    let ladder = [(0.0, p50 * 0.6), (0.301, p50), (2.0, p99), (3.0, p99_9), (5.0, p99_9 * 3.0)];
    let mut histogram = latency_histogram();
    for step in 0..STEPS {
        let decade = |step: u32| 5.0 * f64::from(step) / f64::from(STEPS);
        let slower = |step: u32| if step == STEPS { 0.0 } else { (ALL * 10f64.powf(-decade(step))).round() };
        let x = decade(step + 1);
        let above = ladder.iter().position(|(decade, _)| *decade >= x).unwrap_or(ladder.len() - 1).max(1);
        let ((x0, y0), (x1, y1)) = (ladder[above - 1], ladder[above]);
        let micros = (y0.ln() + (y1.ln() - y0.ln()) * (x - x0) / (x1 - x0)).exp();
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a latency and a count")]
        histogram.saturating_record_n((micros * 1000.0) as u64, (slower(step) - slower(step + 1)) as u64);
    }
    histogram
}

fn seconds(rate: f64, [p50, p99, p99_9]: [f64; 3]) -> Vec<Second> {
    (1..=22u32)
        .map(|at| {
            let swing = 1.0 + 0.1 * f64::from(at % 5);
            Second {
                at: u64::from(at),
                is_warmup: at <= 2,
                #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a rate")]
                replies: rate as u64,
                p50_us: p50 * swing,
                p99_us: p99 * swing,
                p99_9_us: p99_9 * swing,
                max_us: p99_9 * 3.0 * swing,
                resident_mb: 700.0,
                descriptors: 150,
                ..Second::default()
            }
        })
        .collect()
}

fn settings(asked: Option<u32>) -> SettingsReport {
    SettingsReport {
        targets: vec!["127.0.0.1:10911".to_owned()],
        topic: "BenchmarkTest".to_owned(),
        topics: 1,
        queues: 8,
        connections: 8,
        in_flight: asked.is_none().then_some(32),
        rate: asked.map(u64::from),
        arrivals: asked.map(|_| Arrivals::Constant),
        send: Some(Sending::Async),
        sizes: vec![SizeShare { bytes: 256, share: 1 }],
        batch: 1,
        deliver_after_s: 0.0,
        delay_level: 0,
        transactions: false,
        roll_back: 0,
        write_each: false,
        work_us: 0.0,
        think_us: 0.0,
        keys: false,
        tags: 0,
        duration_s: 20.0,
        warmup_s: 2.0,
        end_to_end: false,
        pulled_from: PulledFrom::Masters,
        pop: 0,
        filter: None,
        groups: 0,
        header: HeaderKind::Json,
        cpu: Some(1),
        generator: "ringmq-bench 0.1.0".to_owned(),
    }
}

fn subject(name: &str) -> Subject {
    let role = if name.contains("async") { "ASYNC_MASTER" } else { "SYNC_MASTER" };
    let settings = [("brokerRole", role), ("flushDiskType", "ASYNC_FLUSH"), ("inSyncReplicas", "1")];
    Subject {
        name: name.to_owned(),
        software: "ringmq 0.1.0 (ec8ffb2)".to_owned(),
        how: vec!["ringmq broker -c broker-a.properties".to_owned(), format!("brokerRole={role}")],
        brokers: vec![BrokerFacts {
            name: "broker-a".to_owned(),
            broker_id: 0,
            address: "127.0.0.1:10911".to_owned(),
            version: "V5_3_3".to_owned(),
            settings: settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into(),
        }],
    }
}
