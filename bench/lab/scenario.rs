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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scenarios_that_ship_are_good_and_explained() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).expect("the folder is there") {
            let path = entry.expect("an entry").path();
            let text = fs::read_to_string(&path).expect("a text");
            let name = path.file_name().expect("a name").to_string_lossy().into_owned();
            assert!(
                text.starts_with("# ") && text.contains(&format!("bench/scenarios/{name}\n")),
                "{name} is not explained"
            );
            let experiment = parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
            // All that can be checked without a broker holds.
            let stop = std::sync::Arc::default();
            let out = std::env::temp_dir().join(format!("ringmq-bench-scenario-{}-{name}.json", std::process::id()));
            let mut experiment = experiment;
            experiment.set_out(out.clone());
            experiment.begin("x", &stop).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(!out.exists(), "nothing was measured");
            found.push(experiment.name());
        }
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, ["audit", "compare", "failover", "produce", "soak", "sweep"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_file_and_line() {
        let refused = |text: &str, expected: &str| {
            let error = parse("x.toml", text).err().unwrap_or_else(|| panic!("it is taken:\n{text}")).to_string();
            assert!(error.starts_with(expected), "{text}\n  says: {error}\n  wanted: {expected}");
            assert_eq!(error.lines().count(), 1, "{error}");
        };
        refused("rounds = 1", "x.toml:1: experiment = \"...\" is missing");
        refused("\nexperiment = \"race\"", "x.toml:2: there is no experiment race");
        refused("experiment = 1", "x.toml:1: experiment is a text");
        refused("experiment = \"compare\"\n\nruonds = 3", "x.toml:3: unknown field `ruonds`");
        refused("experiment = \"compare\"\n[load]\nrate = 1\nsise = 3", "x.toml:4: unknown field `sise`");
        refused("experiment = \"compare\"\n[load]\nduration = \"10\"", "x.toml:3: a duration has a unit");
        refused(
            "experiment = \"compare\"\n[subjects]\nmasters-cpu = \"all\"",
            "x.toml:3: it takes a processor's number",
        );
        refused("experiment = \"sweep\"", "x.toml:1: missing field `vary`");
        refused("experiment = \"compare\"\n[load\n", "x.toml:2: ");
    }
}
