//! A process is killed, or stands still, while messages are sent and pulled: how long nobody was served, and what became of the messages.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Deserializer};

use crate::lab::cli::Experiment;
use crate::lab::compare::check_rounds;
use crate::lab::error::LabError;
use crate::lab::processes::Watch;
use crate::lab::results::{self, Failover};
use crate::lab::say;
use crate::lab::session::{Next, Order, Ran, RecordArgs, Session};
use crate::lab::site::{Request, Site, SubjectArgs};
use crate::load::clock::{nanos, now_ns};
use crate::load::run::ratio;
use crate::load::settings::{LoadArgs, parse_duration};
use crate::load::tally::Gaps;

/// What was under way when a broker was killed still arrives within this, ns. Shorter stretches are no gaps either.
const UNDER_WAY_NS: u64 = 10_000_000;

/// Of `ringmq-bench failover`.
#[derive(Debug, Clone, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FailoverArgs {
    /// Of several subjects each is measured alone.
    #[command(flatten)]
    #[serde(default)]
    pub subjects: SubjectArgs,
    /// Messages are pulled back and audited, and connections made again, whatever it says of that.
    #[command(flatten)]
    #[serde(default)]
    pub load: LoadArgs,
    /// What is kept.
    #[command(flatten)]
    #[serde(default)]
    pub record: RecordArgs,
    /// Kill (SIGKILL) this broker of a cluster that was brought up: broker-a, or broker-a:slave
    #[arg(long, value_name = "BROKER")]
    #[serde(default)]
    pub kill: Option<String>,
    /// Stop (SIGSTOP) this broker of a cluster that was brought up, for the time that --for says
    #[arg(long, value_name = "BROKER", requires = "lasting")]
    #[serde(default)]
    pub stop: Option<String>,
    /// Kill this process of brokers that were there, or stop it if --for says for how long
    #[arg(long, value_name = "ID")]
    #[serde(default)]
    pub pid: Option<u32>,
    /// How long what is stopped stands still
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_duration)]
    #[serde(rename = "for", default, deserialize_with = "duration")]
    pub lasting: Option<Duration>,
    /// When, since the load began, warm-up included [default: in the middle of what is measured]
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(default, deserialize_with = "duration")]
    pub at: Option<Duration>,
    /// Start what was killed again, so long after
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    #[serde(default, deserialize_with = "duration")]
    pub restart_after: Option<Duration>,
    /// Runs on each subject, each on a cluster of its own
    #[arg(long, default_value_t = default_rounds())]
    #[serde(default = "default_rounds")]
    pub rounds: usize,
}

fn default_rounds() -> usize {
    1
}

fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    crate::load::settings::duration(from).map(Some)
}

/// Who is hit, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Fault {
    Kill(String),
    Stop(String, Duration),
    KillProcess(Pid),
    StopProcess(Pid, Duration),
}

/// What has happened so far in a run.
#[derive(Debug, Default)]
struct Course {
    begun_ns: Option<u64>,
    /// When it was hit.
    fault_ns: Option<u64>,
    is_over: bool,
}

/// A foreign process that stands still goes on when this is dropped, whatever ends the run.
#[derive(Debug, Default)]
struct Stopped(Option<Pid>);

impl Drop for Stopped {
    fn drop(&mut self) {
        if let Some(pid) = self.0.take() {
            // It may have been killed meanwhile.
            let _ended = kill_process(pid, Signal::CONT);
        }
    }
}

impl FailoverArgs {
    fn load(&self) -> LoadArgs {
        LoadArgs { end_to_end: true, audit: true, reconnect: true, ..self.load.clone() }
    }

    fn at(&self) -> Duration {
        self.at.unwrap_or(self.load.warmup + self.load.duration / 2)
    }

    fn fault(&self) -> Result<Fault, LabError> {
        let refuse = |reason: &str| Err(LabError::Option(reason.to_owned()));
        let process = |id: u32| i32::try_from(id).ok().and_then(Pid::from_raw);
        let fault = match (&self.kill, &self.stop, self.pid, self.lasting) {
            (Some(broker), None, None, None) => Fault::Kill(broker.clone()),
            (None, Some(broker), None, Some(time)) => Fault::Stop(broker.clone(), time),
            (None, None, Some(id), time) => match (process(id), time) {
                (Some(pid), None) => Fault::KillProcess(pid),
                (Some(pid), Some(time)) => Fault::StopProcess(pid, time),
                (None, _) => return refuse("--pid takes the id of a process"),
            },
            (None, Some(_), None, None) => return refuse("--stop needs --for, the time to stand still"),
            (None, None, None, _) => {
                return refuse("say what is to fail: --kill BROKER, --stop BROKER --for 10s, or --pid ID");
            }
            _ => return refuse("--kill, --stop and --pid exclude each other, and --for goes with --stop or --pid"),
        };
        if self.restart_after.is_some() && !matches!(fault, Fault::Kill(_)) {
            return refuse("--restart-after goes with --kill");
        }
        if self.at() >= self.load.warmup + self.load.duration {
            return refuse("--at is after the end of the load; it counts from its begin, warm-up included");
        }
        Ok(fault)
    }
}

impl Experiment for FailoverArgs {
    fn begin(&self, name: &str, stop: &Arc<AtomicBool>) -> Result<Session, LabError> {
        let fault = self.fault()?;
        check_rounds(self.rounds)?;
        let requests = self.subjects.requests()?;
        let is_ours = |request: &Request| matches!(request, Request::Up(_));
        match fault {
            Fault::Kill(_) | Fault::Stop(..) if !requests.iter().all(is_ours) => {
                return Err(LabError::Option(
                    "--kill and --stop name brokers of clusters that are brought up; of those that were there, name a process with --pid"
                        .to_owned(),
                ));
            }
            Fault::KillProcess(_) | Fault::StopProcess(..) if requests.len() != 1 || is_ours(&requests[0]) => {
                return Err(LabError::Option("--pid goes with one --target or -n".to_owned()));
            }
            Fault::KillProcess(_) if self.rounds != 1 => {
                return Err(LabError::Option("a process is killed once: --rounds 1".to_owned()));
            }
            _ => {}
        }
        let mut session =
            Session::begin(results::Experiment::Failover, name, &self.subjects, &self.record, &[self.load()], stop)?;
        // Nobody waits for another, so a replica that stands still is to be found out as it always is.
        session.setup.is_paused_at_times = false;
        Ok(session)
    }

    fn run(&self, session: &mut Session) -> Result<bool, LabError> {
        let (fault, load) = (self.fault()?, self.load());
        session.plan(self.rounds * session.requests.len());
        for round in 1..=self.rounds {
            for subject in 0..session.requests.len() {
                let mut site = session.open(subject, &load.topic)?;
                let name = self.fault_text(&fault, &mut site)?;
                session.settle(&mut site, &load)?;
                let order = Order { subject, round, point: None, load: &load };
                self.one(session, &mut site, &fault, &name, &order)?;
            }
        }
        let is_good = |failover: &Failover| failover.lost == 0 && failover.first_success_s.is_some();
        Ok(session.results.runs.iter().filter_map(|run| run.failover.as_ref()).all(is_good))
    }

    fn name(&self) -> &'static str {
        "failover"
    }

    fn places(&mut self) -> (&mut SubjectArgs, &mut RecordArgs) {
        (&mut self.subjects, &mut self.record)
    }
}

impl FailoverArgs {
    /// `SIGKILL of broker-a master`; refuses a broker that is not there before anything is measured.
    fn fault_text(&self, fault: &Fault, site: &mut Site) -> Result<String, LabError> {
        let mut full_name = |broker: &String| match &mut site.cluster {
            Some(cluster) => cluster.full_name(broker).map_err(LabError::from),
            None => Ok(broker.clone()),
        };
        let again = self.restart_after.map_or_else(String::new, |after| format!(", started again {after:?} later"));
        Ok(match fault {
            Fault::Kill(broker) => format!("SIGKILL of {}{again}", full_name(broker)?),
            Fault::Stop(broker, time) => format!("SIGSTOP of {} for {time:?}", full_name(broker)?),
            Fault::KillProcess(pid) => format!("SIGKILL of process {}", pid.as_raw_nonzero()),
            Fault::StopProcess(pid, time) => format!("SIGSTOP of process {} for {time:?}", pid.as_raw_nonzero()),
        })
    }

    fn one(
        &self,
        session: &mut Session,
        site: &mut Site,
        fault: &Fault,
        name: &str,
        order: &Order<'_>,
    ) -> Result<(), LabError> {
        let mut course = Course::default();
        let mut stopped = Stopped::default();
        let ran = session.measure(site, order, &mut |site, watch| {
            self.advance(fault, name, &mut course, &mut stopped, site, watch).map(|()| Next::GoOn)
        })?;
        drop(stopped);
        if let Some(fault_ns) = course.fault_ns {
            let found = failover(name, fault_ns, &ran);
            let below = ran.outcome.tally.below_promise().iter().sum();
            let text = format!("{}, round {}: {}", site.name, order.round, sentence(&found, below));
            session.find(text);
            session.add(&ran, |run| run.failover = Some(found))?;
        }
        session.check_ending(site, &ran.outcome)
    }

    /// Does what is due by now.
    fn advance(
        &self,
        fault: &Fault,
        name: &str,
        course: &mut Course,
        stopped: &mut Stopped,
        site: &mut Site,
        watch: &mut Watch,
    ) -> Result<(), LabError> {
        let now = now_ns();
        let begun_ns = *course.begun_ns.get_or_insert(now);
        let Some(fault_ns) = course.fault_ns else {
            if now - begun_ns >= nanos(self.at()) {
                say(name);
                course.fault_ns = Some(now_ns());
                hit(fault, site, stopped)?;
            }
            return Ok(());
        };
        let is_due = |time: Duration| !course.is_over && now - fault_ns >= nanos(time);
        match (fault, self.restart_after) {
            (Fault::Kill(broker), Some(after)) if is_due(after) => {
                course.is_over = true;
                if let Some(cluster) = &mut site.cluster {
                    cluster.restart(broker)?;
                }
                watch.replace(site.watched());
            }
            (Fault::Stop(broker, time), _) if is_due(*time) => {
                course.is_over = true;
                if let Some(cluster) = &mut site.cluster {
                    cluster.signal(broker, Signal::CONT)?;
                }
            }
            (Fault::StopProcess(_, time), _) if is_due(*time) => {
                course.is_over = true;
                drop(std::mem::take(stopped));
            }
            _ => {}
        }
        Ok(())
    }
}

fn hit(fault: &Fault, site: &mut Site, stopped: &mut Stopped) -> Result<(), LabError> {
    let refused = |pid: Pid| {
        move |error| LabError::Option(format!("process {} cannot be signalled: {error}", pid.as_raw_nonzero()))
    };
    match (fault, &mut site.cluster) {
        (Fault::Kill(broker), Some(cluster)) => cluster.kill(broker)?,
        (Fault::Stop(broker, _), Some(cluster)) => cluster.signal(broker, Signal::STOP)?,
        (Fault::KillProcess(pid), _) => kill_process(*pid, Signal::KILL).map_err(refused(*pid))?,
        (Fault::StopProcess(pid, _), _) => {
            kill_process(*pid, Signal::STOP).map_err(refused(*pid))?;
            stopped.0 = Some(*pid);
        }
        (Fault::Kill(_) | Fault::Stop(..), None) => {}
    }
    Ok(())
}

/// What a fault at `fault_ns` cost.
fn failover(name: &str, fault_ns: u64, ran: &Ran) -> Failover {
    let (tally, books) = (&ran.outcome.tally, ran.outcome.books.as_ref());
    let count = |of: fn(&crate::load::consumer::Books) -> u64| books.map_or(0, of);
    Failover {
        fault: name.to_owned(),
        at_s: seconds(fault_ns.saturating_sub(ran.outcome.start_ns)),
        first_success_s: first_after(tally.stored_gaps(), fault_ns).map(seconds),
        longest_gap_s: seconds(longest_after(tally.stored_gaps(), fault_ns, now_ns())),
        first_received_s: first_after(tally.received_gaps(), fault_ns).map(seconds),
        lost: count(crate::load::consumer::Books::missing),
        duplicated: count(crate::load::consumer::Books::duplicates),
        out_of_order: count(crate::load::consumer::Books::out_of_order),
    }
}

/// Milliseconds are enough.
fn seconds(nanoseconds: u64) -> f64 {
    ratio(nanoseconds / 1_000_000, 1000)
}

/// From the fault to the first event that it did not merely fail to hold back; none if there was none. 0 if events went on.
fn first_after(gaps: &Gaps, fault_ns: u64) -> Option<u64> {
    if gaps.last_ns()? <= fault_ns + UNDER_WAY_NS {
        return None;
    }
    let over = gaps.all().iter().find(|gap| gap.start_ns <= fault_ns + UNDER_WAY_NS && fault_ns < gap.end_ns);
    Some(over.map_or(0, |gap| gap.end_ns - fault_ns))
}

/// The longest stretch without an event that ended after the fault; up to the end of the run if there was none after it.
fn longest_after(gaps: &Gaps, fault_ns: u64, end_ns: u64) -> u64 {
    if first_after(gaps, fault_ns).is_none() {
        return end_ns.saturating_sub(gaps.last_ns().unwrap_or(fault_ns));
    }
    let after = gaps.all().iter().filter(|gap| gap.end_ns > fault_ns);
    after.map(|gap| gap.end_ns - gap.start_ns).max().unwrap_or(0)
}

/// `below` messages were stored, but with less than the broker's settings promise.
fn sentence(failover: &Failover, below: u64) -> String {
    let after = |value: Option<f64>| match value {
        None => "never again".to_owned(),
        Some(0.0) => "without a gap at that moment".to_owned(),
        Some(value) => format!("again after {value:.3} s"),
    };
    let longest = if failover.longest_gap_s > 0.0 {
        format!("from then on the longest time without a message stored was {:.3} s", failover.longest_gap_s)
    } else {
        "from then on messages were stored at least every 10 ms".to_owned()
    };
    let below = match below {
        0 => String::new(),
        count => format!("; {count} were stored with less than was promised (codes 10 to 12)"),
    };
    format!(
        "{}: messages stored {}, received {}; {longest}; {} acknowledged messages lost, {} duplicated, {} out of order{below}",
        failover.fault,
        after(failover.first_success_s),
        after(failover.first_received_s),
        failover.lost,
        failover.duplicated,
        failover.out_of_order
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::schedule::Window;
    use crate::load::tally::{Tally, Verdict};

    const MS: u64 = 1_000_000;

    /// Replies at these moments, ms.
    fn stored(at_ms: &[u64]) -> Gaps {
        let mut tally = Tally::new(Window { start_ns: 0, end_ns: u64::MAX });
        for at in at_ms {
            let waiting = crate::load::connection::Waiting { intended_ns: 0, sent_ns: 0, sequence: 0, half_ns: None };
            tally.reply(waiting, at * MS, Verdict::Stored, 1);
        }
        tally.stored_gaps().clone()
    }

    #[test]
    fn what_was_under_way_is_no_success() {
        // Hit at 1000; what was sent before is answered until 1005.
        let gaps = stored(&[990, 998, 1003, 1005, 1500, 1505, 1700]);
        assert_eq!(first_after(&gaps, 1000 * MS), Some(500 * MS));
        assert_eq!(longest_after(&gaps, 1000 * MS, 9000 * MS), 495 * MS);
        // Others went on.
        assert_eq!(first_after(&stored(&[998, 1003, 1008, 1013, 1018]), 1000 * MS), Some(0));
        // Nobody ever answered again.
        assert_eq!(first_after(&stored(&[998, 1003]), 1000 * MS), None);
        assert_eq!(longest_after(&stored(&[998, 1003]), 1000 * MS, 9000 * MS), 7997 * MS);
        assert_eq!(first_after(&stored(&[]), 1000 * MS), None);
    }

    #[test]
    fn faults_are_checked_before_anything_starts() {
        let args = FailoverArgs {
            subjects: SubjectArgs::default(),
            load: LoadArgs::default(),
            record: RecordArgs::default(),
            kill: Some("broker-a".to_owned()),
            stop: None,
            pid: None,
            lasting: None,
            at: None,
            restart_after: None,
            rounds: 1,
        };
        assert_eq!(args.fault().expect("a fault"), Fault::Kill("broker-a".to_owned()));
        assert_eq!(args.at(), Duration::from_secs(7), "2 s of warm-up, and half of 10 s");
        let refused = |args: FailoverArgs, expected: &str| {
            let error = args.fault().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        };
        refused(FailoverArgs { kill: None, ..args.clone() }, "say what is to fail");
        refused(FailoverArgs { pid: Some(1), ..args.clone() }, "exclude each other");
        refused(FailoverArgs { at: Some(Duration::from_secs(12)), ..args.clone() }, "after the end");
        refused(FailoverArgs { kill: None, stop: Some("b".to_owned()), ..args.clone() }, "needs --for");
        let pid = FailoverArgs { kill: None, pid: Some(7), restart_after: Some(Duration::ZERO), ..args };
        refused(pid, "goes with --kill");
    }
}
