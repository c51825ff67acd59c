//! `ringmq-compare`: ringmq, Apache RocketMQ and a bare echo on one machine, in one run, in turn.
//!
//! Single runs on a shared machine differ by more than brokers do. So all servers of a case are up together, stopped but for the one being
//! measured, and measured A B C A B C; medians and their ratios go into the table, and every run into the JSON beside it. Cases run one by
//! one, so a long comparison can be made in pieces: the table is made anew from all that is in the folder.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "starts processes, reads files and clocks: it is the world around a broker, not a broker"
)]

mod case;
mod contender;
mod host;
mod measure;
mod record;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum as _};
use ringmq_bench::lab::truth::today;
use ringmq_peers::workspace_dir;

use crate::case::Case;
use crate::contender::{Kind, Stable};
use crate::host::Host;
use crate::measure::Plan;
use crate::record::{CaseRecord, save};

/// Whatever ends a comparison, as one sentence.
type Failure = Box<dyn std::error::Error>;

/// Compare ringmq with Apache RocketMQ 5.3.3 and with a bare echo of the same frames.
#[derive(Debug, Parser)]
struct Arguments {
    /// Cases to run, all by default
    #[arg(long = "case", value_enum)]
    cases: Vec<Case>,
    /// Who takes part, all by default
    #[arg(long, value_enum, value_delimiter = ',')]
    with: Vec<Kind>,
    /// Measurements of each load on each server
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=99))]
    rounds: u8,
    /// Seconds of each measurement
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Seconds of load before each measurement
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(0..=600))]
    warmup_seconds: u64,
    /// Processor of the load generator [default: the last; the echo has processor 0]
    #[arg(long)]
    generator_cpu: Option<usize>,
    /// Leave the generator's processor to the scheduler
    #[arg(long, conflicts_with = "generator_cpu")]
    generator_unpinned: bool,
    /// Line added to ringmq's configuration, KEY=VALUE
    #[arg(long = "set")]
    set: Vec<String>,
    /// ringmq's binary [default: beside this one]
    #[arg(long)]
    ringmq: Option<PathBuf>,
    /// Folder for the stores while they are measured: put it on the disk in question [default: the system's temporary folder]
    #[arg(long)]
    store: Option<PathBuf>,
    /// Folder for results [default: bench/results/DATE-MACHINE]
    #[arg(long)]
    out: Option<PathBuf>,
}

fn main() -> ExitCode {
    if cfg!(debug_assertions) {
        say("this is a debug build: its figures say nothing; build with --release");
    }
    match compare(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            say(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn compare(arguments: &Arguments) -> Result<(), Failure> {
    let plan = plan(arguments)?;
    for binary in [&plan.bench, &plan.stable.ringmq, &plan.stable.echo] {
        let is_needed = *binary != plan.stable.ringmq || !plan.kinds.iter().all(|kind| kind.is_apache());
        if is_needed && !binary.exists() {
            return Err(format!("{} is not there: cargo build --release builds it", binary.display()).into());
        }
    }
    let cases: Vec<Case> = if arguments.cases.is_empty() { Case::ALL.to_vec() } else { arguments.cases.clone() };
    for case in cases {
        let host = Host::inspect(&plan.store_dir);
        let default_out = || workspace_dir().join("bench/results").join(format!("{}-{}", today(), host.slug()));
        let out = arguments.out.clone().unwrap_or_else(default_out);
        let command = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
        let command = format!("ringmq-compare {command}");
        let mut record = CaseRecord { case, command, host, settings: BTreeMap::new(), rows: Vec::new() };
        plan.run(case, &mut record)?;
        record.forget_folder(&plan.store_dir);
        save(&out, &record)?;
        say(&format!("{}: written to {}", case.name(), out.display()));
    }
    Ok(())
}

fn plan(arguments: &Arguments) -> Result<Plan, Failure> {
    let own = std::env::current_exe()?;
    let beside = |name: &str| own.with_file_name(name);
    let last_cpu = std::thread::available_parallelism().map_or(1, usize::from) - 1;
    let generator_cpu = arguments.generator_cpu.unwrap_or(last_cpu);
    let store = arguments.store.clone().unwrap_or_else(std::env::temp_dir);
    Ok(Plan {
        stable: Stable {
            ringmq: arguments.ringmq.clone().unwrap_or_else(|| beside("ringmq")),
            ringmq_more: arguments.set.join("\n"),
            echo: beside("ringmq-echo"),
            echo_cpu: 0,
            slave_cpu: last_cpu,
        },
        bench: beside("ringmq-bench"),
        kinds: if arguments.with.is_empty() { Kind::value_variants().to_vec() } else { arguments.with.clone() },
        rounds: usize::from(arguments.rounds),
        duration: Duration::from_secs(arguments.seconds),
        warmup: Duration::from_secs(arguments.warmup_seconds),
        generator_cpu: (!arguments.generator_unpinned).then_some(generator_cpu),
        store_dir: std::path::absolute(store)?.join(format!("ringmq-compare-{}", std::process::id())),
    })
}

/// One line of progress.
fn say(line: &str) {
    // With stderr closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "{line}");
}
