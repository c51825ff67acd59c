//! The file of results: what every experiment writes, and what pictures, gates and people read.
//!
//! One file is one experiment: [`Results`] says how it came about ([`Machine`], [`Subject`]), holds every [`Run`] with its histograms, nothing
//! averaged away, and ends with what follows from them ([`Finding`]). All figures of latency are microseconds; histograms hold nanoseconds.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::lab::goal::Measure;
use crate::load::report::Report;
pub use crate::load::series::{Damaged, Histograms, Packed, Second};

/// Version of the file's layout; readers refuse others.
pub const FORMAT: u32 = 1;

/// An experiment and what came of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Results {
    pub format: u32,
    pub experiment: Experiment,
    /// What it is about, one line, for headings.
    pub title: String,
    /// The command line that made it.
    pub command: String,
    /// When it began, RFC 3339, UTC.
    pub started: String,
    /// Whether it went to its end; if not, the runs are those that came before.
    pub complete: bool,
    /// Why it ended, one sentence.
    pub ended: String,
    /// Where it was measured.
    pub machine: Machine,
    /// What was measured.
    pub subjects: Vec<Subject>,
    /// In the order in which they happened.
    pub runs: Vec<Run>,
    /// What follows from the runs.
    pub findings: Vec<Finding>,
    /// What a scenario asked for. Files of before have nothing of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub goals: Vec<Goal>,
    /// Why the figures, or some of them, are no headline: a debug build, a saturated generator. A sentence each.
    pub warnings: Vec<String>,
}

/// The kinds of experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Experiment {
    /// One load on one subject.
    Produce,
    /// The same load on several subjects in turn.
    Compare,
    /// One subject (or several) under a load of which one setting changes from run to run.
    Sweep,
    /// A process is killed or stopped under load.
    Failover,
    /// One load for long.
    Soak,
    /// Every message accounted for.
    Audit,
    /// A broker is started, on nothing or on what a killed one left.
    Restart,
    /// A slave that begins empty beside a master with a long log.
    #[serde(rename = "catch-up")]
    CatchUp,
    /// How much later messages are at slaves than at their masters.
    Lag,
}

/// The machine of the generator, and of the brokers that were started here.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Machine {
    /// `ringmq-bench` version and commit; a debug build says so.
    pub generator: String,
    /// Kernel release.
    pub kernel: String,
    /// Processor model and how many of them this process may use.
    pub cpu: String,
    /// Frequency governor of the first processor.
    pub governor: String,
    /// Main memory, MB.
    pub memory_mb: u64,
    /// Device, file system and options of the stores.
    pub disk: String,
    /// The device's write cache: `write back`, `write through` or unknown.
    pub disk_cache: String,
    /// Processors to which its interrupts come. Files of before have nothing of it.
    #[serde(default)]
    pub disk_interrupts: String,
    /// Open files and locked memory, soft and hard.
    pub limits: String,
    /// First line of `java -version`.
    pub java: String,
    /// 1, 5 and 15 minutes before the experiment: other work on the machine shows here.
    pub load_average: String,
    /// Processors of the generator and of the brokers.
    pub placement: String,
}

/// A cluster, in one mode.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Subject {
    /// As asked for: `ringmq:2m-2s-sync`, `127.0.0.1:10911`.
    pub name: String,
    /// `ringmq 0.1.0 (commit)`, `Apache RocketMQ 5.3.3`, as the brokers say.
    pub software: String,
    /// How its processes were started: flags and configuration that matter; empty if they were there.
    pub how: Vec<String>,
    /// As read from the brokers themselves.
    pub brokers: Vec<BrokerFacts>,
}

/// What a broker says of itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BrokerFacts {
    /// `broker-a`.
    pub name: String,
    /// 0 for a master.
    pub broker_id: u64,
    /// HOST:PORT.
    pub address: String,
    /// `brokerVersionDesc`.
    pub version: String,
    /// Of its configuration: flush, role, replicas.
    pub settings: BTreeMap<String, String>,
}

/// One load on one subject.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Run {
    /// Index into [`Results::subjects`].
    pub subject: usize,
    /// From 1: how often this load ran on this subject.
    pub round: usize,
    /// In a sweep: what changes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<Point>,
    /// The figures.
    pub report: Report,
    /// A point a second, warm-up included.
    pub seconds: Vec<Second>,
    /// Measured messages only.
    pub histograms: Histograms,
    /// Broker processes on this machine, during the run.
    pub processes: Vec<ProcessUse>,
    /// Who used the processors of this machine during the run. Files of before have nothing of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cores: Vec<CoreUse>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failover: Option<Failover>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restart: Option<Restart>,
    /// Of a slave that caught up during the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub catch_up: Option<CatchUp>,
}

/// One processor during a run, warm-up included. All shares are of this one processor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoreUse {
    /// Its number.
    pub cpu: usize,
    /// Not idle.
    pub busy: f64,
    /// Interrupts, hard and soft.
    pub interrupts: f64,
    /// Taken by the hypervisor for others.
    pub stolen: f64,
    /// Busy, and in no thread that was seen: threads that came and went between two looks.
    pub unseen: f64,
    /// Threads by name, the busiest first; those that hardly ran are left out.
    pub users: Vec<CoreUser>,
}

/// Threads of one name on one processor, by where each of them last ran when it was looked at.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CoreUser {
    /// `broker-a master`, `generator`, `kworker/1:1H-kblockd`, `rustc`.
    pub name: String,
    /// What kind of thread.
    pub kind: UserKind,
    /// Share of the processor.
    pub share: f64,
}

/// Who runs on a processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum UserKind {
    /// The thread that puts the load on.
    Generator,
    /// The other threads of this program: what is shown, what is sampled.
    Tool,
    /// A process of the subject.
    Broker,
    /// `iou-wrk` of any process and `kworker`: they do what others asked the kernel for.
    KernelWorker,
    /// Other threads of the kernel.
    Kernel,
    /// All else.
    Foreign,
}

/// What a start took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    /// What the log held, bytes; 0 for an empty folder.
    pub log_bytes: u64,
    /// From the start of the process to the first message stored, s.
    pub seconds: f64,
}

/// How fast a slave took what it did not have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CatchUp {
    /// Bytes that it took, of those that its master had when it was started.
    pub bytes: u64,
    /// From the first of them that was seen to the last, s.
    pub seconds: f64,
}

impl CatchUp {
    /// Megabytes a second.
    pub fn mb_per_s(&self) -> f64 {
        crate::load::run::ratio(self.bytes, 1_000_000) / self.seconds
    }
}

/// Where a sweep stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// What changes: `rate`, `size`, `queues`, `connections`, `round-trip`.
    pub name: String,
    /// Its value, in `unit`.
    pub value: f64,
    /// `messages/s`, `B`, `ms` or empty.
    pub unit: String,
}

/// What a broker's process used while a run lasted.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ProcessUse {
    /// `broker-a master`, `name server`.
    pub name: String,
    /// Of one processor.
    pub cpu: f64,
    /// At its end, MB.
    pub resident_mb: f64,
    /// At its end.
    pub descriptors: u64,
}

/// What a loss cost.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Failover {
    /// `SIGKILL broker-a master`.
    pub fault: String,
    /// When, seconds since the load began.
    pub at_s: f64,
    /// From the fault to the first message answered as stored; none if there was none.
    pub first_success_s: Option<f64>,
    /// Longest time without a message answered as stored.
    pub longest_gap_s: f64,
    /// From the fault to the first message of a consumer.
    pub first_received_s: Option<f64>,
    /// Messages acknowledged and not received.
    pub lost: u64,
    /// Messages received more than once.
    pub duplicated: u64,
    /// Messages received after a later one of the same queue.
    pub out_of_order: u64,
}

/// A figure of the first subject that a scenario asked for, and what was promised of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Goal {
    pub figure: Measure,
    /// Under which load.
    pub load: String,
    /// Median of the runs.
    pub value: f64,
    /// `≥ 3 × apache:all`; empty if nothing was promised.
    pub bound: String,
    /// None when nothing was promised, or what it is compared with was not measured.
    pub is_kept: Option<bool>,
}

/// A sentence that follows from the runs, and the figures behind it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Finding {
    /// For people.
    pub text: String,
    /// What the intervals are of: subject against subject, figure by figure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ratios: Vec<Ratio>,
}

/// A figure of one subject by that of another, with its interval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ratio {
    /// `rate`, `p50`, `p99`, `p99.9`.
    pub figure: String,
    /// Index into [`Results::subjects`].
    pub subject: usize,
    /// Index into [`Results::subjects`]: the base.
    pub base: usize,
    /// Median of the subject's runs.
    pub value: f64,
    /// Median of the base's runs.
    pub base_value: f64,
    /// `value / base_value`.
    pub ratio: f64,
    /// 95 % interval of the ratio, by bootstrap over the rounds.
    pub low: f64,
    /// 95 % interval of the ratio.
    pub high: f64,
}

/// Why a file is no file of results.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum ResultsError {
    /// Not readable or not writable.
    #[error("{path}: {source}")]
    File {
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    #[error("{path} is no file of ringmq-bench results: {reason}")]
    Content { path: String, reason: String },
    #[error(
        "{path} is of layout {found}, this ringmq-bench reads layout {FORMAT}; read it with the version that wrote it"
    )]
    Format { path: String, found: u32 },
}

impl Results {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is not there or not ours.
    pub fn load(path: &Path) -> Result<Self, ResultsError> {
        let name = path.display().to_string();
        let text = fs::read_to_string(path).map_err(|source| ResultsError::File { path: name.clone(), source })?;
        let content = |reason: String| ResultsError::Content { path: name.clone(), reason };
        let value: serde_json::Value = serde_json::from_str(&text).map_err(|error| content(error.to_string()))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64);
        let format = format.ok_or_else(|| content("it has no number named format".to_owned()))?;
        if format != u64::from(FORMAT) {
            return Err(ResultsError::Format { path: name, found: u32::try_from(format).unwrap_or(u32::MAX) });
        }
        let results: Self = serde_json::from_value(value).map_err(|error| content(error.to_string()))?;
        let ratios = results.findings.iter().flat_map(|finding| &finding.ratios);
        let subjects =
            results.runs.iter().map(|run| run.subject).chain(ratios.flat_map(|ratio| [ratio.subject, ratio.base]));
        match subjects.max().filter(|subject| *subject >= results.subjects.len()) {
            Some(subject) => Err(content(format!("it has no subject {subject}, which it speaks of"))),
            None => Ok(results),
        }
    }

    /// Whether generator or broker is a debug build, by their own word.
    pub fn is_debug(&self) -> bool {
        let generators = self.runs.iter().map(|run| &run.report.settings.generator);
        let brokers = self.subjects.iter().map(|subject| &subject.software);
        generators.chain(brokers).chain([&self.machine.generator]).any(|text| text.contains("debug build"))
    }

    /// Writes a file: whole, or not at all.
    ///
    /// # Errors
    /// When the disk is full or the folder is not there; what was there before is then still there.
    pub fn save(&self, path: &Path) -> Result<(), ResultsError> {
        let failed = |source| ResultsError::File { path: path.display().to_string(), source };
        let mut text = serde_json::to_string_pretty(self).expect("plain data has a JSON form");
        text.push('\n');
        let partial = path.with_extension("json.partial");
        fs::write(&partial, text).and_then(|()| fs::rename(&partial, path)).map_err(|source| {
            // Half a file helps nobody; that it cannot be removed changes nothing.
            let _ = fs::remove_file(&partial);
            failed(source)
        })
    }
}
