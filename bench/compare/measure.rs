//! Carries out a case: servers up, everyone measured in turn, one running at a time.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use ringmq_bench::lab::probe;
use ringmq_bench::load::report::Report;
use rustix::process::{Pid, Signal, kill_process};

use crate::case::{Case, Goal, Load, Method, PulledFrom, TEN_THOUSAND, Value};
use crate::contender::{Contender, Kind, Stable};
use crate::record::{CaseRecord, FigureRecord, GoalRecord, RowRecord, RunRecord};
use crate::{Failure, say};

/// A Java broker compiles its hot paths while it runs: this long a closed loop comes before its first measurement.
const JAVA_WARMUP: Duration = Duration::from_secs(15);
const OWN_WARMUP: Duration = Duration::from_secs(3);
const WARMUP_LOAD: &[&str] = &["--connections", "8", "--in-flight", "32"];
/// Of all loads but the one that fills a log.
const BODY_BYTES: usize = 256;
/// What a log holds before its server is killed.
const FILL_BYTES: u64 = 5_000_000_000;
const FILL_BODY_BYTES: usize = 4096;
/// How long producers are measured before a slave catches up: about as long as it takes.
const CALM_LOAD: Duration = Duration::from_secs(15);
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(120);
/// How long a load runs before its server is killed.
const BEFORE_KILL: Duration = Duration::from_millis(1500);

/// How to measure.
#[derive(Debug)]
pub(crate) struct Plan {
    /// How servers are started.
    pub(crate) stable: Stable,
    /// Binary of the load generator.
    pub(crate) bench: PathBuf,
    /// Who takes part.
    pub(crate) kinds: Vec<Kind>,
    /// Measurements of each load on each server.
    pub(crate) rounds: usize,
    /// Of each measurement.
    pub(crate) duration: Duration,
    /// Before each measurement.
    pub(crate) warmup: Duration,
    /// Processor of the generator; the scheduler's choice if `None`.
    pub(crate) generator_cpu: Option<usize>,
    /// Where stores live while measured.
    pub(crate) store_dir: PathBuf,
}

impl Plan {
    /// Runs `case` and adds rows and settings to `record`.
    pub(crate) fn run(&self, case: Case, record: &mut CaseRecord) -> Result<(), Failure> {
        let dir = self.store_dir.join(case.name());
        let outcome = match case.method() {
            Method::Loads(loads) => self.run_loads(case, &loads, &dir, record),
            Method::Start => self.run_starts(case, &dir, record),
            Method::Restart => self.run_restarts(case, &dir, record),
            Method::CatchUp => self.run_catch_ups(case, &dir, record),
        };
        // Gone as well if the case failed: a store may hold gigabytes.
        if self.store_dir.exists() {
            fs::remove_dir_all(&self.store_dir)?;
        }
        outcome
    }

    fn kinds_for(&self, case: Case) -> impl Iterator<Item = Kind> + '_ {
        case.kinds().iter().copied().filter(|kind| self.kinds.contains(kind))
    }

    fn run_loads(&self, case: Case, loads: &[Load], dir: &Path, record: &mut CaseRecord) -> Result<(), Failure> {
        let mut contenders = Vec::new();
        for kind in self.kinds_for(case) {
            say(&format!("{}: starting {} and warming it up", case.name(), kind.name()));
            let contender = Contender::start(&self.stable, kind, case.flush(), &dir.join(kind.slug()))?;
            let warmup = if kind.is_apache() { JAVA_WARMUP } else { OWN_WARMUP };
            self.load(&contender, WARMUP_LOAD, BODY_BYTES, warmup, dir)?;
            contender.pause()?;
            record.settings.insert(kind, contender.settings.clone());
            contenders.push(contender);
        }
        let mut runs: Vec<Vec<RunRecord>> = loads.iter().map(|_| Vec::new()).collect();
        for round in 1..=self.rounds {
            for (load, runs) in loads.iter().zip(&mut runs) {
                for contender in &contenders {
                    contender.go_on()?;
                    // What the last one left for the disk is not this one's business.
                    rustix::fs::sync();
                    let report = self.load_from(contender, load, dir)?;
                    let run =
                        RunRecord { contender: contender.kind, round, resident_mb: contender.resident_mb()?, report };
                    contender.pause()?;
                    say_run(case, load.name, &run);
                    runs.push(run);
                }
            }
        }
        for (load, runs) in loads.iter().zip(runs) {
            record.rows.push(row_of(case, load, runs));
        }
        Ok(())
    }

    fn run_starts(&self, case: Case, dir: &Path, record: &mut CaseRecord) -> Result<(), Failure> {
        let mut seconds: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
        for round in 1..=self.rounds {
            for kind in self.kinds_for(case) {
                let dir = dir.join(format!("{}-{round}", kind.slug()));
                let contender = Contender::start(&self.stable, kind, case.flush(), &dir)?;
                say(&format!("{}: {} in {:.3} s", case.name(), kind.name(), contender.start.as_secs_f64()));
                seconds.entry(kind).or_default().push(contender.start.as_secs_f64());
                record.settings.insert(kind, contender.settings.clone());
            }
        }
        record.rows.push(seconds_row(case, "empty folder", seconds));
        Ok(())
    }

    fn run_restarts(&self, case: Case, dir: &Path, record: &mut CaseRecord) -> Result<(), Failure> {
        for kind in self.kinds_for(case) {
            let dir = dir.join(kind.slug());
            let mut contender = Contender::start(&self.stable, kind, case.flush(), &dir)?;
            self.fill(case, &contender, &dir)?;
            self.kill_under_load(&mut contender, &dir)?;
            record.settings.insert(kind, contender.settings.clone());
        }
        let mut seconds: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
        for _ in 0..self.rounds {
            for kind in self.kinds_for(case) {
                let dir = dir.join(kind.slug());
                let mut contender = Contender::start(&self.stable, kind, case.flush(), &dir)?;
                say(&format!("{}: {} in {:.3} s", case.name(), kind.name(), contender.start.as_secs_f64()));
                seconds.entry(kind).or_default().push(contender.start.as_secs_f64());
                self.kill_under_load(&mut contender, &dir)?;
            }
        }
        record.rows.push(seconds_row(case, "5 GB, after kill -9 under load", seconds));
        Ok(())
    }

    /// Sends until the log holds [`FILL_BYTES`].
    fn fill(&self, case: Case, contender: &Contender, dir: &Path) -> Result<(), Failure> {
        let mut filled = 0;
        while filled < FILL_BYTES {
            let report = self.load(contender, WARMUP_LOAD, FILL_BODY_BYTES, Duration::from_secs(10), dir)?;
            if report.sent == 0 {
                return Err(format!("{} stores nothing: {}", contender.kind.name(), report.ended).into());
            }
            filled += report.sent * u64::try_from(FILL_BODY_BYTES)?;
            say(&format!("{}: {} holds {:.1} GB", case.name(), contender.kind.name(), filled as f64 / 1e9));
        }
        Ok(())
    }

    fn run_catch_ups(&self, case: Case, dir: &Path, record: &mut CaseRecord) -> Result<(), Failure> {
        let [mut speed, mut alone, mut beside] = [const { Vec::new() }; 3];
        let kind = case.kinds()[0];
        let mut contender = Contender::start(&self.stable, kind, case.flush(), dir)?;
        contender.lose_slave(dir)?;
        self.fill(case, &contender, dir)?;
        record.settings.insert(kind, contender.settings.clone());
        let slave = contender.slave_address().ok_or("it has no slave")?;
        for round in 1..=self.rounds {
            rustix::fs::sync();
            let calm = self.load(&contender, TEN_THOUSAND, BODY_BYTES, CALM_LOAD, dir)?;
            let json = dir.join("beside.json");
            let load = self.start_load(&contender, TEN_THOUSAND, BODY_BYTES, CATCH_UP_TIMEOUT, &json)?;
            std::thread::sleep(self.warmup);
            let wanted = probe::log_end(contender.address)?;
            contender.start_slave()?;
            let (bytes, seconds) = catch_up(slave, wanted)?;
            // They are measured for as long as they had a slave beside them that catches up.
            let producers = i32::try_from(load.id()).ok().and_then(Pid::from_raw).ok_or("a process id out of range")?;
            kill_process(producers, Signal::INT)?;
            let report = Self::report_of(&contender, load, &json)?;
            contender.lose_slave(dir)?;
            speed.push(bytes / seconds / 1e6);
            alone.push(calm.latency_us.p99_9);
            beside.push(report.latency_us.p99_9);
            say(&format!(
                "{}, round {round}: {:.0} MB in {seconds:.1} s, {:.0} MB/s; p99.9 {:.0} µs beside it, {:.0} µs alone",
                case.name(),
                bytes / 1e6,
                bytes / seconds / 1e6,
                report.latency_us.p99_9,
                calm.latency_us.p99_9
            ));
        }
        let times = |(beside, alone): (&f64, &f64)| beside / alone;
        let times = beside.iter().zip(&alone).map(times).collect();
        let figure =
            |label, samples, goals: &[Goal]| FigureRecord::new(case, label, BTreeMap::from([(kind, samples)]), goals);
        let figures = vec![
            figure("MB/s", speed, &[Goal::Min(500.0)]),
            figure("producers' p99.9 µs alone", alone, &[]),
            figure("producers' p99.9 µs beside it", beside, &[]),
            figure("beside it, times alone", times, &[Goal::Max(2.0)]),
        ];
        let arguments = TEN_THOUSAND.join(" ");
        record.rows.push(RowRecord { load: "5 GB, 10,000/s".to_owned(), arguments, figures, runs: Vec::new() });
        Ok(())
    }

    fn kill_under_load(&self, contender: &mut Contender, dir: &Path) -> Result<(), Failure> {
        let mut load =
            self.start_load(contender, WARMUP_LOAD, BODY_BYTES, Duration::from_secs(30), &dir.join("cut.json"))?;
        std::thread::sleep(BEFORE_KILL);
        contender.kill();
        // It loses its broker and says so: that is what we wanted.
        load.wait()?;
        Ok(())
    }

    /// One measurement of a case's load.
    fn load_from(&self, contender: &Contender, load: &Load, dir: &Path) -> Result<Report, Failure> {
        let slave = contender.slave_address().map(|slave| slave.to_string());
        let mut arguments = load.arguments.to_vec();
        match (load.pulled_from, &slave) {
            (PulledFrom::Slave, Some(slave)) => arguments.extend(["--consume-from", slave]),
            (PulledFrom::Both, Some(slave)) => arguments.extend(["--lag-at", slave]),
            (PulledFrom::Master, _) | (_, None) => {}
        }
        self.load(contender, &arguments, BODY_BYTES, self.duration, dir)
    }

    /// One measurement. What failed in it is in its report, and is said.
    fn load(
        &self,
        contender: &Contender,
        arguments: &[&str],
        body_bytes: usize,
        duration: Duration,
        dir: &Path,
    ) -> Result<Report, Failure> {
        let json = dir.join("report.json");
        if json.exists() {
            fs::remove_file(&json)?;
        }
        let load = self.start_load(contender, arguments, body_bytes, duration, &json)?;
        Self::report_of(contender, load, &json)
    }

    fn report_of(contender: &Contender, load: Child, json: &Path) -> Result<Report, Failure> {
        let output = load.wait_with_output()?;
        let text = fs::read_to_string(json).map_err(|_| {
            let said = String::from_utf8_lossy(&output.stderr);
            format!(
                "no figures from {}: {}",
                contender.kind.name(),
                said.lines().last().unwrap_or("ringmq-bench said nothing")
            )
        })?;
        let report: Report = serde_json::from_str(&text)?;
        for complaint in report.complaints() {
            say(&format!("  {}: {complaint}", contender.kind.name()));
        }
        Ok(report)
    }

    fn start_load(
        &self,
        contender: &Contender,
        arguments: &[&str],
        body_bytes: usize,
        duration: Duration,
        json: &Path,
    ) -> Result<Child, Failure> {
        let mut command = Command::new(&self.bench);
        command.args([
            "produce",
            "--topic",
            "ringmq_bench",
            "--queues",
            "8",
            "--target",
            &contender.address.to_string(),
        ]);
        command.args(arguments).args(["--size", &body_bytes.to_string()]);
        command.args(["--duration", &format!("{}ms", duration.as_millis())]);
        command.args(["--warmup", &format!("{}ms", self.warmup.as_millis())]).arg("--json").arg(json);
        if let Some(cpu) = self.generator_cpu {
            command.args(["--cpu", &cpu.to_string()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.spawn().map_err(|error| format!("cannot run {}: {error}", self.bench.display()).into())
    }
}

/// Waits until a slave that was just started has its master's log up to `wanted`. The bytes it took and the seconds, from the first of them
/// that were seen.
fn catch_up(slave: SocketAddr, wanted: u64) -> Result<(f64, f64), Failure> {
    let started = Instant::now();
    let mut first = None;
    loop {
        // It does not answer before it listens.
        let end = probe::log_end(slave).unwrap_or(0);
        if end > 0 {
            let (begun, at) = *first.get_or_insert((Instant::now(), end));
            if end >= wanted {
                return Ok(((end - at) as f64, begun.elapsed().as_secs_f64()));
            }
        }
        if started.elapsed() > CATCH_UP_TIMEOUT {
            return Err(format!("the slave is at {end} of {wanted} after {CATCH_UP_TIMEOUT:?}").into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn say_run(case: Case, load: &str, run: &RunRecord) {
    let report = &run.report;
    say(&format!(
        "{} {load}, round {}: {:<13} {:>9.0}/s  p50 {:>8.0}  p99.9 {:>8.0} µs  {:>6.0} MB  generator {:.2}",
        case.name(),
        run.round,
        run.contender.name(),
        report.rate_per_s,
        report.latency_us.p50,
        report.latency_us.p99_9,
        run.resident_mb,
        report.generator_cpu,
    ));
}

fn row_of(case: Case, load: &Load, runs: Vec<RunRecord>) -> RowRecord {
    let figures = load.figures.iter().map(|figure| {
        let mut samples: BTreeMap<Kind, Vec<f64>> = BTreeMap::new();
        for run in &runs {
            let sample = match figure.value {
                Value::Report(value) => value(&run.report),
                Value::EndToEnd(value) => run.report.end_to_end_us.as_ref().map_or(f64::NAN, value),
                Value::Lag(value) => run.report.lag_us.as_ref().map_or(f64::NAN, value),
                Value::ResidentMb => run.resident_mb,
            };
            samples.entry(run.contender).or_default().push(sample);
        }
        FigureRecord::new(case, figure.label, samples, &figure.goals)
    });
    RowRecord { load: load.name.to_owned(), arguments: load.arguments.join(" "), figures: figures.collect(), runs }
}

fn seconds_row(case: Case, load: &str, seconds: BTreeMap<Kind, Vec<f64>>) -> RowRecord {
    let figure = FigureRecord::new(case, "seconds to the first stored message", seconds, &[case.seconds_goal()]);
    RowRecord { load: load.to_owned(), arguments: String::new(), figures: vec![figure], runs: Vec::new() }
}

impl FigureRecord {
    fn new(case: Case, label: &str, samples: BTreeMap<Kind, Vec<f64>>, goals: &[Goal]) -> Self {
        let ours = case.kinds()[0];
        let mut figure = Self { label: label.to_owned(), samples, goals: Vec::new() };
        figure.goals = goals
            .iter()
            .map(|goal| GoalRecord { text: goal.text(), is_met: goal.is_met(ours, |kind| figure.median(kind)) })
            .collect();
        figure
    }
}
