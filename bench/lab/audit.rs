//! Every message is numbered and checksummed: what was acknowledged must arrive, whole, and in the order of its queue.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use clap::Args;
use serde::Deserialize;

use crate::lab::cli::Experiment;
use crate::lab::error::LabError;
use crate::lab::results;
use crate::lab::session::{Order, RecordArgs, Session, leave_alone};
use crate::lab::site::SubjectArgs;
use crate::load::report::Report;
use crate::load::settings::LoadArgs;

/// Of `ringmq-bench audit`.
#[derive(Debug, Clone, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct AuditArgs {
    /// One subject.
    #[command(flatten)]
    #[serde(default)]
    pub subjects: SubjectArgs,
    /// Messages are pulled back and audited, whatever it says of that.
    #[command(flatten)]
    #[serde(default)]
    pub load: LoadArgs,
    /// What is kept.
    #[command(flatten)]
    #[serde(default)]
    pub record: RecordArgs,
}

impl AuditArgs {
    fn load(&self) -> LoadArgs {
        LoadArgs { end_to_end: true, audit: true, ..self.load.clone() }
    }
}

impl Experiment for AuditArgs {
    fn begin(&self, name: &str, stop: &Arc<AtomicBool>) -> Result<Session, LabError> {
        self.subjects.request("audit")?;
        Session::begin(results::Experiment::Audit, name, &self.subjects, &self.record, &[self.load()], stop)
    }

    fn run(&self, session: &mut Session) -> Result<bool, LabError> {
        let load = self.load();
        let mut site = session.open(0, &load.topic)?;
        session.plan(1);
        let order = Order { subject: 0, round: 1, point: None, load: &load };
        let ran = session.measure(&mut site, &order, &mut leave_alone)?;
        let report = &session.results.runs[ran.index].report;
        let (is_kept, text) = verdict(report);
        let is_good = is_kept && report.complaints().is_empty();
        session.find(text);
        session.check_ending(&mut site, &ran.outcome)?;
        Ok(is_good)
    }

    fn name(&self) -> &'static str {
        "audit"
    }

    fn places(&mut self) -> (&mut SubjectArgs, &mut RecordArgs) {
        (&mut self.subjects, &mut self.record)
    }
}

/// Whether the promises were kept, and a sentence that says so.
fn verdict(report: &Report) -> (bool, String) {
    let Some(consumed) = &report.consumed else { return (false, "nothing was pulled back".to_owned()) };
    // Who sends once more what has no reply may well be late with it.
    let is_ordered = consumed.out_of_order == 0 || report.resent > 0;
    let unacknowledged = report.popped.as_ref().map_or(0, |popped| popped.unacknowledged);
    let is_kept =
        consumed.missing == 0 && consumed.corrupt == 0 && consumed.unwanted == 0 && is_ordered && unacknowledged == 0;
    let twice = match consumed.duplicates {
        0 => String::new(),
        count => format!("; {count} arrived more than once, which at-least-once allows"),
    };
    let text = if is_kept && consumed.out_of_order == 0 {
        format!(
            "kept: {} messages arrived, every acknowledged one among them, whole and in order{twice}",
            consumed.received
        )
    } else {
        format!(
            "{}: of {} messages that arrived {} were corrupt, {} not to be seen and {} after a later one of their queue; {} acknowledged ones never arrived{twice}",
            if is_kept { "kept, but for the order of what was sent once more" } else { "broken" },
            consumed.received,
            consumed.corrupt,
            consumed.unwanted,
            consumed.out_of_order,
            consumed.missing
        )
    };
    (is_kept, text)
}
