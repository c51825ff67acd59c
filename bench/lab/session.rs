//! An experiment under way: the file of results, saved after every run, and one measured run.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Deserialize;

use crate::lab::cluster::{Cluster, Cpu, Setup};
use crate::lab::cores::{self, GENERATOR};
use crate::lab::error::LabError;
use crate::lab::lag;
use crate::lab::processes::Watch;
use crate::lab::results::{CoreUse, Experiment, FORMAT, Finding, Machine, Point, Results, Run};
use crate::lab::say;
use crate::lab::site::{Request, Site, SubjectArgs};
use crate::lab::truth::{now_text, time_of_day, today};
use crate::load::report::Report;
use crate::load::run::{Ending, Halt, Outcome, produce, ratio};
use crate::load::settings::{LoadArgs, Place, Settings};
use crate::load::view::View;

/// How often memory and descriptors are looked at.
const SAMPLE: Duration = Duration::from_secs(1);
/// How often an experiment that interferes looks whether it is time.
const TICK: Duration = Duration::from_millis(5);
/// Beyond this share of a processor, the figure is the generator's.
const SATURATED: f64 = 0.9;
/// A rate counts as reached from this share on.
pub const REACHED: f64 = 0.99;

/// What is kept. Names are those of the command line, in a scenario without the dashes.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct RecordArgs {
    /// What it is about, one line, for headings
    #[arg(long)]
    pub title: Option<String>,
    /// Where the results go: a folder, or a file that ends in .json [default: results/DATE-MACHINE]
    #[arg(long, value_name = "DIR|FILE.json")]
    pub out: Option<PathBuf>,
}

/// What an experiment does while a load runs, called every few milliseconds.
pub type During<'a> = dyn FnMut(&mut Site, &mut Watch) -> Result<Next, LabError> + 'a;

/// Whether a load goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Until its time is over.
    GoOn,
    /// What it was to last for has happened: it ends, and is whole.
    Enough,
}

/// For a load that nothing interferes with.
///
/// # Errors
/// None.
pub fn leave_alone(_: &mut Site, _: &mut Watch) -> Result<Next, LabError> {
    Ok(Next::GoOn)
}

/// An experiment under way.
#[derive(Debug)]
pub struct Session {
    /// What there is so far.
    pub results: Results,
    /// Where it is kept.
    pub path: PathBuf,
    /// Set by Ctrl-C.
    pub stop: Arc<AtomicBool>,
    /// How clusters are brought up.
    pub setup: Setup,
    /// Subjects as asked for.
    pub requests: Vec<Request>,
    /// What people see while a load runs.
    pub view: fn(Duration, &str) -> View,
    args: SubjectArgs,
    /// Runs that are expected, and how long those that were took.
    planned: usize,
    begun: Instant,
}

/// How a run went, for the experiment that ordered it.
#[derive(Debug)]
pub struct Ran {
    /// The load's own account.
    pub outcome: Outcome,
    /// Its figures are in the last of [`Results::runs`].
    pub index: usize,
}

/// A load that began.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) outcome: Outcome,
    settings: Settings,
    watch: Watch,
    /// What the experiment failed to do meanwhile; the load was stopped then.
    failed: Option<LabError>,
}

/// What is measured in one run.
#[derive(Debug)]
pub struct Order<'a> {
    /// Index into [`Results::subjects`].
    pub subject: usize,
    /// From 1.
    pub round: usize,
    /// In a sweep: what changes.
    pub point: Option<Point>,
    /// What is sent.
    pub load: &'a LoadArgs,
}

impl Session {
    /// Checks the subjects and that results can be kept; brings nothing up yet. `name` is that of the file, without `.json`.
    ///
    /// # Errors
    /// The first thing that makes no sense, or a folder that cannot be written to.
    pub fn begin(
        experiment: Experiment,
        name: &str,
        subjects: &SubjectArgs,
        record: &RecordArgs,
        loads: &[LoadArgs],
        stop: &Arc<AtomicBool>,
    ) -> Result<Self, LabError> {
        let requests = subjects.requests()?;
        let setup = subjects.setup(&requests)?;
        for request in &requests {
            // Where it will be is not known; whether the load makes sense there is.
            let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
            for load in loads {
                let targets = vec![nowhere; request.masters()];
                let lag_sources = if load.lag { vec![vec![nowhere]; targets.len()] } else { Vec::new() };
                Settings::check(load, &Place { targets, lag_sources, ..Place::default() })?;
                if load.end_to_end && !request.is_broker() {
                    let reason =
                        format!("{} stores nothing that could be pulled: leave --end-to-end out", request.text());
                    return Err(LabError::Option(reason));
                }
            }
        }
        let cpu = loads.first().and_then(|load| generator_cpu(subjects, load));
        let machine = Machine::inspect(&setup.store, placement(subjects, cpu));
        let path = result_path(record.out.as_deref(), name, &machine)?;
        let mut title = record.title.clone().unwrap_or_default();
        if title.is_empty() {
            title = requests.iter().map(Request::text).collect::<Vec<_>>().join(" against ");
        }
        let mut warnings = Vec::new();
        if cfg!(debug_assertions) {
            warnings
                .push("ringmq-bench is a debug build: these figures are no headline; build with --release".to_owned());
        }
        let results = Results {
            format: FORMAT,
            experiment,
            title,
            command: command(&setup),
            started: now_text(),
            complete: false,
            ended: "under way".to_owned(),
            machine,
            subjects: Vec::new(),
            runs: Vec::new(),
            findings: Vec::new(),
            goals: Vec::new(),
            warnings,
        };
        let session = Self {
            results,
            path,
            stop: Arc::clone(stop),
            setup,
            requests,
            view: View::for_stderr,
            args: subjects.clone(),
            planned: 0,
            begun: Instant::now(),
        };
        check_writable(&session.path)?;
        Ok(session)
    }

    /// Whether no run gave a reason to complain.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.results.runs.iter().all(|run| run.report.complaints().is_empty())
    }

    /// Says how many runs there will be, for what is shown of the remaining time.
    pub fn plan(&mut self, runs: usize) {
        self.planned = runs;
        self.begun = Instant::now();
    }

    /// Whether Ctrl-C came.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Opens subject `index`, and keeps what it says of itself the first time.
    ///
    /// # Errors
    /// As [`Site::open`]; or Ctrl-C.
    pub fn open(&mut self, index: usize, topic: &str) -> Result<Site, LabError> {
        let request = self.requests[index].clone();
        if matches!(request, Request::Up(_)) {
            say(&format!("starting {}", request.text()));
        }
        let site = Site::open(&request, &self.setup, &self.args, topic, &self.stop)?;
        if self.is_stopped() {
            return Err(LabError::Interrupted);
        }
        if self.results.subjects.len() == index {
            self.results.subjects.push(site.subject());
        }
        Ok(site)
    }

    /// Loads a subject before its first run, in closed loop; of it nothing is kept.
    ///
    /// # Errors
    /// When the load does not begin, or the subject is lost.
    pub fn settle(&mut self, site: &mut Site, load: &LoadArgs) -> Result<(), LabError> {
        if site.settle.is_zero() {
            return Ok(());
        }
        say(&format!("warming {} up for {:?}", site.name, site.settle));
        let load = LoadArgs {
            topic: load.topic.clone(),
            queues: load.queues,
            size: load.size.clone(),
            binary_header: load.binary_header,
            cpu: load.cpu,
            connections: site.place.targets.len().max(8),
            in_flight: Some(32),
            duration: site.settle,
            warmup: Duration::ZERO,
            ..LoadArgs::default()
        };
        let loaded = self.load(site, &load, "warm-up", &mut leave_alone)?;
        self.check_ending(site, &loaded.outcome)
    }

    /// One measured run. Its figures are saved before this returns.
    ///
    /// # Errors
    /// When the load does not begin, or what `during` does fails, or the file cannot be written. A load that is cut short is no error here:
    /// see [`Self::check_ending`].
    pub fn measure(&mut self, site: &mut Site, order: &Order<'_>, during: &mut During<'_>) -> Result<Ran, LabError> {
        // What the last one left for the disk is not this one's business.
        rustix::fs::sync();
        let label = self.label(site, order);
        say(&label);
        let Loaded { outcome, settings, watch, failed } = self.load(site, order.load, &label, during)?;
        let report = Report::of(&settings, &outcome);
        if report.sent == 0 && matches!(outcome.ending, Ending::Interrupted) {
            return Err(failed.unwrap_or(LabError::Interrupted));
        }
        self.warn(&site.name, order, &report, &watch.cores());
        let mut seconds = outcome.seconds().to_vec();
        watch.fill(&mut seconds, outcome.start_ns);
        self.results.runs.push(Run {
            subject: order.subject,
            round: order.round,
            point: order.point.clone(),
            report,
            seconds,
            histograms: outcome.histograms(),
            processes: watch.end(),
            cores: watch.cores(),
            failover: None,
            restart: None,
            catch_up: None,
        });
        self.results.save(&self.path)?;
        match failed {
            Some(error) => Err(error),
            None => Ok(Ran { outcome, index: self.results.runs.len() - 1 }),
        }
    }

    /// Adds what an experiment found to a run, and saves it.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&mut self, ran: &Ran, found: impl FnOnce(&mut Run)) -> Result<(), LabError> {
        found(&mut self.results.runs[ran.index]);
        Ok(self.results.save(&self.path)?)
    }

    /// Adds a sentence that follows from the runs.
    pub fn find(&mut self, text: String) {
        self.results.findings.push(Finding { text, ratios: Vec::new() });
    }

    /// The error that ends an experiment after a run that was cut short.
    ///
    /// # Errors
    /// When it was.
    pub fn check_ending(&self, site: &mut Site, outcome: &Outcome) -> Result<(), LabError> {
        match &outcome.ending {
            Ending::Finished => Ok(()),
            Ending::Interrupted => Err(LabError::Interrupted),
            Ending::Failed(error) => {
                let ended = site.cluster.as_mut().and_then(Cluster::first_end);
                let reason = ended.map_or_else(|| error.to_string(), |ended| format!("{error}; {ended}"));
                Err(LabError::CutShort { subject: site.name.clone(), reason })
            }
        }
    }

    /// `run 3 of 12: ringmq:all, rate 5000, round 2, about 2 min left`.
    fn label(&self, site: &Site, order: &Order<'_>) -> String {
        let done = self.results.runs.len();
        let mut text = format!("run {} of {}: {}", done + 1, self.planned.max(done + 1), site.name);
        if let Some(point) = &order.point {
            text.push_str(&format!(", {} {}", point.name, written(point)));
        }
        text.push_str(&format!(", round {}", order.round));
        let left = self.planned.saturating_sub(done);
        let each = match u32::try_from(done) {
            Ok(done @ 1..) => self.begun.elapsed() / done,
            _ => order.load.warmup + order.load.duration,
        };
        let seconds = each.as_secs_f64() * f64::from(u32::try_from(left).unwrap_or(u32::MAX));
        text.push_str(&format!(", about {} left", people_time(seconds)));
        text
    }

    /// Runs a load on a thread of its own while this one watches the processes and interferes.
    pub(super) fn load(
        &self,
        site: &mut Site,
        load: &LoadArgs,
        label: &str,
        during: &mut During<'_>,
    ) -> Result<Loaded, LabError> {
        let load = LoadArgs { cpu: generator_cpu(&self.args, load), ..load.clone() };
        let place = site.place_of(&load)?;
        let settings = Settings::check(&load, &place)?;
        if !settings.pulled_from.is_usual() {
            lag::prepare(&settings, &self.stop)?;
        }
        let enough = AtomicBool::new(false);
        let mut watch = Watch::begin(site.watched());
        let mut failed = None;
        let outcome = thread::scope(|scope| {
            let (over, is_over) = channel();
            let (settings, stop, view) = (&settings, &self.stop, self.view);
            let halt = Halt { interrupt: stop, enough: &enough };
            let generator = thread::Builder::new().name(GENERATOR.to_owned()).spawn_scoped(scope, move || {
                let outcome = produce(settings, halt, &mut view(settings.warmup + settings.duration, label));
                // The other end waits for this and for nothing else.
                let _ = over.send(());
                outcome
            });
            let generator = generator.map_err(|source| LabError::System { action: "start a thread", source })?;
            let mut sampled = Instant::now();
            while is_over.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                if sampled.elapsed() >= SAMPLE {
                    watch.sample();
                    sampled += SAMPLE;
                }
                if failed.is_some() || enough.load(Ordering::Relaxed) {
                    continue;
                }
                match during(site, &mut watch) {
                    Ok(Next::GoOn) => {}
                    Ok(Next::Enough) => enough.store(true, Ordering::Relaxed),
                    Err(error) => {
                        failed = Some(error);
                        stop.store(true, Ordering::Relaxed);
                    }
                }
            }
            Ok::<_, LabError>(generator.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
        })?;
        watch.sample();
        let outcome = outcome.map_err(|source| LabError::load(&site.name, source))?;
        Ok(Loaded { outcome, settings, watch, failed })
    }

    /// What a reader of the figures of this run must know.
    fn warn(&mut self, subject: &str, order: &Order<'_>, report: &Report, cores: &[CoreUse]) {
        let mut warnings = Vec::new();
        let point = order.point.as_ref().map_or_else(String::new, |point| format!(" {}", written(point)));
        let which = format!("{subject}{point}, round {}", order.round);
        if report.generator_cpu > SATURATED {
            warnings.push(format!(
                "{which}: the generator used {:.0} % of its processor, so the figure is the generator's",
                report.generator_cpu * 100.0
            ));
        }
        if let Some(rate) = report.settings.rate
            && report.complete
            && report.rate_per_s < REACHED * ratio(rate, 1)
        {
            warnings.push(format!("{which}: {rate} messages/s were asked for and {:.0} reached", report.rate_per_s));
        }
        warnings.extend(cores::remarks(cores).into_iter().map(|text| format!("{which}: {text}")));
        warnings.extend(report.complaints().into_iter().map(|text| format!("{which}: {text}")));
        for warning in warnings {
            say(&warning);
            self.results.warnings.push(warning);
        }
    }

    /// The end of the file: whole, or why not. Without a run there is none; whether there is one is the answer.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn finish(&mut self, ended: Result<(), &LabError>) -> Result<bool, LabError> {
        self.results.complete = ended.is_ok();
        self.results.ended = ended.map_or_else(ToString::to_string, |()| "finished".to_owned());
        let is_kept = !self.results.runs.is_empty();
        if is_kept {
            self.results.save(&self.path)?;
        }
        Ok(is_kept)
    }
}

/// The last processor, unless another was named or none is wanted.
fn generator_cpu(args: &SubjectArgs, load: &LoadArgs) -> Option<usize> {
    let last = thread::available_parallelism().map_or(1, usize::from) - 1;
    if args.generator_anywhere { None } else { Some(load.cpu.unwrap_or(last)) }
}

fn placement(args: &SubjectArgs, generator: Option<usize>) -> String {
    let generator = generator.map_or("any processor".to_owned(), |cpu| format!("processor {cpu}"));
    let of = |cpu: Option<Cpu>| cpu.map_or_else(|| "as its subject says".to_owned(), |cpu| cpu.to_string());
    format!("generator on {generator}; masters: {}; slaves: {}", of(args.masters_cpu), of(args.slaves_cpu))
}

/// The command line, without the folders of this machine.
fn command(setup: &Setup) -> String {
    let words = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
    // The system's own temporary folder is no secret of this machine.
    let is_named = setup.store != std::env::temp_dir();
    let words = if is_named { words.replace(&setup.store.display().to_string(), "STORE") } else { words };
    let words = setup.ringmq.all().fold(words, |words, file| words.replace(&file.display().to_string(), "FILE"));
    format!("ringmq-bench {words}")
}

/// Tries a file beside the one of results, which may hold those of another day until there is something to put in their place.
fn check_writable(path: &Path) -> Result<(), LabError> {
    let probe = path.with_extension("json.partial");
    fs::write(&probe, "{}\n")
        .and_then(|()| fs::remove_file(&probe))
        .map_err(|source| LabError::Folder { path: probe.display().to_string(), source })
}

/// Where the file goes; its folder is made. Unless a place was named, the file has the time in its name, and none is overwritten.
fn result_path(out: Option<&Path>, name: &str, machine: &Machine) -> Result<PathBuf, LabError> {
    let path = match out {
        Some(file) if file.extension().is_some_and(|ending| ending == "json") => file.to_owned(),
        Some(folder) => folder.join(format!("{name}.json")),
        None => {
            let folder = Path::new("results").join(format!("{}-{}", today(), machine.slug()));
            folder.join(format!("{name}-{}.json", time_of_day()))
        }
    };
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(|source| LabError::Folder { path: folder.display().to_string(), source })?;
    }
    Ok(path)
}

/// `5000 messages/s`, `2 ms`, `64`.
pub fn written(point: &Point) -> String {
    format!("{} {}", point.value, point.unit).trim().to_owned()
}

/// `45 s`, `12 min`, `3.5 h`.
fn people_time(seconds: f64) -> String {
    match seconds {
        ..120.0 => format!("{seconds:.0} s"),
        120.0..7200.0 => format!("{:.0} min", seconds / 60.0),
        _ => format!("{:.1} h", seconds / 3600.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_for_people() {
        assert_eq!([59.6, 150.0, 12_600.0].map(people_time), ["60 s", "2 min", "3.5 h"]);
    }

    #[test]
    fn results_go_to_a_file_or_into_a_folder() {
        let machine = Machine { cpu: "2 x AMD EPYC".to_owned(), ..Machine::default() };
        let path =
            |out: Option<&str>| result_path(out.map(Path::new), "compare", &machine).expect("a folder that is there");
        assert_eq!(path(Some("x.json")), Path::new("x.json"));
        assert_eq!(path(Some(".")), Path::new("./compare.json"));
    }
}
