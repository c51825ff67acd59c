//! The commands that only load or only listen: `consume` and `clock`.

use std::fs;
use std::io::{self, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::load::consume::{ConsumeReport, ConsumeSettings, consume};
use crate::load::consumer::{Queue, queues, topic_name};
use crate::load::error::LoadError;
use crate::load::frame::HeaderKind;
use crate::load::prelude::queue_count;
use crate::load::settings::{TargetArgs, parse_duration, resolve};
use crate::load::skew;
use crate::load::view::{Tool, View};

/// How to show what happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A bar on a terminal, a line a second elsewhere, a table at the end
    People,
    /// The lines of Apache's own tools, one every 10 s, for scripts that read them
    Rocketmq,
}

/// Arguments of `consume`.
#[derive(Debug, Args)]
pub struct ConsumeArgs {
    /// Brokers to pull from
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT", required = true)]
    target: Vec<String>,
    /// Topic; of several topics the first part of their names
    #[arg(short = 't', long, default_value = "RingmqBench")]
    topic: String,
    /// Topics: TOPIC, TOPIC-1, TOPIC-2 ...
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    topics: u32,
    /// Queues of each topic on each target. Default: as many as the target says
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    queues: Option<u32>,
    /// Groups that pull all messages each
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    groups: u8,
    /// Pull what is sent from now on, and measure how long it took to get here; without it, all that is stored by now, as fast as it comes
    #[arg(long)]
    live: bool,
    /// The clock of the machine that sends (ringmq-bench clock), if it is another than this one
    #[arg(long, value_name = "HOST:PORT", requires = "live")]
    clock: Option<String>,
    /// Longest time, such as 30s or 10m
    #[arg(long, value_parser = parse_duration, default_value = "60s")]
    duration: Duration,
    /// Use RocketMQ's binary request headers instead of JSON ones
    #[arg(long)]
    binary_header: bool,
    /// Write the figures here
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// How to show what happens
    #[arg(long, value_enum, default_value_t = Format::People)]
    format: Format,
    /// Allow targets that are not on this machine
    #[arg(long)]
    allow_remote: bool,
}

/// Arguments of `clock`.
#[derive(Debug, Args)]
pub struct ClockArgs {
    /// Where to tell the time
    #[arg(long, value_name = "HOST:PORT")]
    listen: String,
}

impl ConsumeArgs {
    /// Pulls, and prints what came. 0 when all came, 1 when not, 2 for what makes no sense, 130 after Ctrl-C.
    pub fn run(&self, stop: &Arc<AtomicBool>) -> ExitCode {
        let targets =
            TargetArgs { target: self.target.clone(), allow_remote: self.allow_remote, ..TargetArgs::default() };
        let clock = self.clock.as_ref().map(|clock| resolve(clock, self.allow_remote)).transpose();
        let (targets, clock) = match (targets.resolve(), clock) {
            (Ok(place), Ok(clock)) => (place.targets, clock),
            (Err(error), _) | (_, Err(error)) => return complain(&error, 2),
        };
        let header = if self.binary_header { HeaderKind::Binary } else { HeaderKind::Json };
        let of_target = |target: &SocketAddr| self.queues_at(*target, header);
        let of_targets = match targets.iter().map(of_target).collect::<Result<Vec<_>, _>>() {
            Ok(queues) => queues,
            Err(error) => return complain(&error, 1),
        };
        if of_targets.iter().all(|queues| queues.is_empty()) {
            return complain(&format!("topic {} has no queues at these targets", self.topic), 1);
        }
        let settings = ConsumeSettings {
            sources: targets.into_iter().map(|target| vec![target]).collect(),
            queues: of_targets,
            groups: usize::from(self.groups),
            is_live: self.live,
            duration: self.duration,
            clock,
            header,
        };
        let mut view = match self.format {
            Format::People => View::for_stderr(self.duration, "consume"),
            Format::Rocketmq => View::rocketmq(Tool::Consumer),
        };
        let report = match consume(&settings, stop, &mut view) {
            Ok(report) => report,
            Err(error) => return complain(&error, 1),
        };
        if let Err(error) = report.print(&mut io::stdout().lock()) {
            return complain(&error, 1);
        }
        if let Some(path) = &self.json
            && let Err(error) = write_json(path, &report)
        {
            return complain(&error, 1);
        }
        if let Some(refusal) = &report.first_refusal {
            note(&format!("{} pulls were refused, the first with {refusal}", report.pulls_refused));
        }
        if report.complete && report.first_refusal.is_none() {
            return ExitCode::SUCCESS;
        }
        if !report.complete && report.messages == 0 {
            note(&report.ended);
        } else if !report.complete {
            note(&format!("cut short after {:.1} s: {}", report.elapsed_s, report.ended));
        }
        ExitCode::from(if report.ended == "interrupted" { 130 } else { 1 })
    }
}

impl ConsumeArgs {
    /// The queues of the load at a target, topic by topic.
    fn queues_at(&self, target: SocketAddr, header: HeaderKind) -> Result<Rc<[Queue]>, LoadError> {
        if let Some(count) = self.queues {
            return Ok(queues(&self.topic, self.topics, count));
        }
        let mut all = Vec::new();
        for number in 0..self.topics {
            let topic: Rc<str> = Rc::from(topic_name(&self.topic, number));
            let count = queue_count(target, &topic, header)?;
            all.extend((0..count).map(|id| Queue { topic: Rc::clone(&topic), id }));
        }
        Ok(all.into())
    }
}

impl ClockArgs {
    /// Tells the time until it is ended.
    pub fn run(&self) -> ExitCode {
        let listener = match TcpListener::bind(&self.listen) {
            Ok(listener) => listener,
            Err(error) => return complain(&format!("cannot listen on {}: {error}", self.listen), 1),
        };
        note(&format!("the clock of this machine is told on {}; end it with Ctrl-C", self.listen));
        match skew::tell(&listener) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => complain(&format!("the clock stops: {error}"), 1),
        }
    }
}

impl ConsumeReport {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "rate {:.0} /s   {:.1} MB/s   messages {}   ({}, {:.1} s)",
            self.rate_per_s, self.megabytes_per_s, self.messages, self.mode, self.elapsed_s
        )?;
        if let Some(found) = self.end_to_end_us {
            writeln!(
                out,
                "end to end    p50 {:.1}   p90 {:.1}   p99 {:.1}   p99.9 {:.1}   max {:.1} microseconds",
                found.p50, found.p90, found.p99, found.p99_9, found.max
            )?;
        }
        if let Some(clock) = self.clock {
            let micros = |nanoseconds: f64| nanoseconds / 1000.0;
            #[expect(clippy::cast_precision_loss, reason = "for people")]
            let (ahead, error) = (micros(clock.ahead_ns as f64), micros(clock.error_ns as f64));
            writeln!(
                out,
                "the other clock is ahead by {ahead:.1} microseconds; each latency may be wrong by {error:.1}"
            )?;
        }
        Ok(())
    }
}

/// Writes figures where a machine will read them.
///
/// # Errors
/// A sentence.
pub fn write_json(path: &Path, figures: &impl Serialize) -> Result<(), String> {
    let mut text = serde_json::to_string_pretty(figures).expect("plain data has a JSON form");
    text.push('\n');
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// One sentence on stderr.
pub fn note(sentence: &str) {
    // With stderr closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "ringmq-bench: {sentence}");
}

/// One sentence on stderr, and the exit code that goes with it.
pub fn complain(error: &(impl std::fmt::Display + ?Sized), code: u8) -> ExitCode {
    note(&error.to_string());
    ExitCode::from(code)
}
