//! A scenario: a TOML file that says which experiment, on what, under which load. Its names are those of the command line.

use std::fs;
use std::path::Path;

use serde::de::DeserializeOwned;
use toml::de::{DeTable, DeValue, Deserializer};

use crate::lab::audit::AuditArgs;
use crate::lab::cli::Experiment;
use crate::lab::compare::CompareArgs;
use crate::lab::failover::FailoverArgs;
use crate::lab::produce::ProduceArgs;
use crate::lab::soak::SoakArgs;
use crate::lab::sweep::SweepArgs;

/// Why a file is no scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// Not readable.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not TOML, or with a name or value that is none.
    #[error("{path}:{line}: {reason}")]
    Content {
        /// Which.
        path: String,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Names of experiments, as `experiment = "compare"` has them.
const EXPERIMENTS: &str = "produce, compare, sweep, failover, soak or audit";

/// Reads a scenario.
///
/// # Errors
/// When it cannot be read, or a name or value in it is none: with its line.
pub fn read(path: &Path) -> Result<Box<dyn Experiment>, ScenarioError> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| ScenarioError::File { path: shown.clone(), source })?;
    parse(&shown, &text)
}

/// The scenario in a text; `path` is for errors.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &str, text: &str) -> Result<Box<dyn Experiment>, ScenarioError> {
    let content = |at: usize, reason: &str| ScenarioError::Content {
        path: path.to_owned(),
        line: text.get(..at).unwrap_or(text).matches('\n').count() + 1,
        reason: reason.to_owned(),
    };
    let of_toml = |error: &toml::de::Error| content(error.span().map_or(0, |span| span.start), &short(error.message()));
    let mut table = DeTable::parse(text).map_err(|error| of_toml(&error))?;
    let Some(kind) = table.get_mut().remove("experiment") else {
        return Err(content(0, &format!("experiment = \"...\" is missing; it takes {EXPERIMENTS}")));
    };
    let at = kind.span().start;
    let DeValue::String(kind) = kind.into_inner() else {
        return Err(content(at, &format!("experiment is a text; it takes {EXPERIMENTS}")));
    };
    fn args<T: DeserializeOwned + Experiment + 'static>(
        table: toml::Spanned<DeTable<'_>>,
    ) -> Result<Box<dyn Experiment>, toml::de::Error> {
        T::deserialize(Deserializer::from(table)).map(|args| Box::new(args) as Box<dyn Experiment>)
    }
    match kind.as_ref() {
        "produce" => args::<ProduceArgs>(table),
        "compare" => args::<CompareArgs>(table),
        "sweep" => args::<SweepArgs>(table),
        "failover" => args::<FailoverArgs>(table),
        "soak" => args::<SoakArgs>(table),
        "audit" => args::<AuditArgs>(table),
        other => return Err(content(at, &format!("there is no experiment {other}; it takes {EXPERIMENTS}"))),
    }
    .map_err(|error| of_toml(&error))
}

/// One sentence: without the list of all that would have been right, which has no end.
fn short(message: &str) -> String {
    let line = message.lines().collect::<Vec<_>>().join(" ");
    line.split(", expected one of").next().unwrap_or_default().trim().to_owned()
}
