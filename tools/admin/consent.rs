//! What loses something is said first, and done when somebody agrees.
//!
//! On a terminal it is asked for; elsewhere, and with `--json`, `--yes` is the only agreement. `--dry-run` says what would be done and ends.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use clap::Args;
use serde_json::{Map, Value};

use crate::output::Output;
use crate::wire::AdminError;

/// Whether a command may do what loses something.
#[derive(Args, Clone, Copy, Default)]
pub(crate) struct Consent {
    /// Do it without a question.
    #[arg(short = 'y', long)]
    pub(crate) yes: bool,
    /// Only say what would be done.
    #[arg(long, conflicts_with = "yes")]
    pub(crate) dry_run: bool,
}

/// What a command is about to do, in sentences and as facts of the same.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) lines: Vec<String>,
    pub(crate) facts: Map<String, Value>,
}

impl Consent {
    /// Whether `plan` is to be carried out. False after `--dry-run`, which has printed it.
    ///
    /// # Errors
    /// Without agreement: [`AdminError::NotAgreed`], and [`AdminError::NeedsYes`] where nobody can be asked.
    pub(crate) fn is_given(self, output: Output, plan: &Plan) -> Result<bool, AdminError> {
        if self.dry_run {
            output.plan(&plan.lines, &plan.facts);
            return Ok(false);
        }
        if self.yes {
            return Ok(true);
        }
        let mut terminal = io::stderr();
        if output.json || !io::stdin().is_terminal() || !terminal.is_terminal() {
            return Err(AdminError::NeedsYes { what: plan.lines.join("; ") });
        }
        // Standard output is for the result.
        let asked = plan.lines.iter().try_for_each(|line| writeln!(terminal, "{line}"));
        let asked = asked.and_then(|()| write!(terminal, "Do it? [y/N] ")).and_then(|()| terminal.flush());
        let mut answer = String::new();
        let answered = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
        match answer.trim().to_lowercase().as_str() {
            "y" | "yes" if answered.is_ok() => Ok(true),
            _ => Err(AdminError::NotAgreed),
        }
    }
}
