//! A scenario: a TOML file that says which experiment, on what, under which load, and what is asked of its figures; or several of them. Its
//! names are those of the command line.

use std::fs;
use std::path::Path;

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer, ValueDeserializer};

use crate::lab::audit::AuditArgs;
use crate::lab::catch_up::CatchUpArgs;
use crate::lab::cli::Experiment;
use crate::lab::compare::CompareArgs;
use crate::lab::failover::FailoverArgs;
use crate::lab::goal::GoalArgs;
use crate::lab::lag::LagArgs;
use crate::lab::produce::ProduceArgs;
use crate::lab::restart::RestartArgs;
use crate::lab::soak::SoakArgs;
use crate::lab::sweep::SweepArgs;

/// Why a file is no scenario.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum ScenarioError {
    #[error("{path}: {source}")]
    File {
        path: String,
        /// What the system says.
        source: std::io::Error,
    },
    /// Not TOML, or with a name or value that is none.
    #[error("{path}:{line}: {reason}")]
    Content {
        path: String,
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
}

/// Names of experiments, as `experiment = "compare"` has them.
const EXPERIMENTS: &str = "produce, compare, sweep, failover, restart, catch-up, lag, soak or audit, or cases: each [[case]] is one of these with a name";

/// An experiment and what is asked of it.
pub struct Case {
    /// The name of its file of results, without `.json`; none in a scenario of one experiment.
    pub name: Option<String>,
    /// What is done.
    pub experiment: Box<dyn Experiment>,
    /// Figures that it is made for.
    pub goals: Vec<GoalArgs>,
}

/// What a file asks for.
pub enum Scenario {
    /// One experiment.
    One(Case),
    /// Several, one after the other, each with a name of its own.
    Cases(Vec<Case>),
}

/// Reads a scenario.
///
/// # Errors
/// When it cannot be read, or a name or value in it is none: with its line.
pub fn read(path: &Path) -> Result<Scenario, ScenarioError> {
    let shown = path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| ScenarioError::File { path: shown.clone(), source })?;
    parse(&shown, &text)
}

/// The scenario in a text; `path` is for errors.
///
/// # Errors
/// As [`read`].
pub fn parse(path: &str, text: &str) -> Result<Scenario, ScenarioError> {
    scenario(text).map_err(|wrong| ScenarioError::Content {
        path: path.to_owned(),
        line: text.get(..wrong.at).unwrap_or(text).matches('\n').count() + 1,
        reason: wrong.reason,
    })
}

/// What is wrong, and at which byte.
struct Wrong {
    at: usize,
    reason: String,
}

impl Wrong {
    fn new(at: usize, reason: impl Into<String>) -> Self {
        Self { at, reason: reason.into() }
    }
}

impl From<toml::de::Error> for Wrong {
    fn from(error: toml::de::Error) -> Self {
        Self::new(error.span().map_or(0, |span| span.start), short(error.message()))
    }
}

fn scenario(text: &str) -> Result<Scenario, Wrong> {
    let mut table = DeTable::parse(text)?;
    let (at, kind) = text_of(&mut table, "experiment", EXPERIMENTS)?;
    if kind != "cases" {
        return case(table, None, at, &kind).map(Scenario::One);
    }
    let cases = table.get_mut().remove("case").ok_or_else(|| Wrong::new(at, "there is no [[case]]"))?;
    if let Some(other) = table.get_ref().keys().next() {
        return Err(Wrong::new(
            other.span().start,
            format!("unknown field `{}`: all is in a [[case]]", other.get_ref()),
        ));
    }
    let cases_at = cases.span().start;
    let DeValue::Array(cases) = cases.into_inner() else { return Err(Wrong::new(cases_at, "[[case]] is a table")) };
    let mut all: Vec<Case> = Vec::new();
    for one in cases {
        let span = one.span();
        let DeValue::Table(table) = one.into_inner() else { return Err(Wrong::new(span.start, "[[case]] is a table")) };
        let mut table = Spanned::new(span, table);
        let (name_at, name) = text_of(&mut table, "name", "letters, digits and - for its file of results")?;
        let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
        if name.is_empty() || !name.chars().all(is_name) || all.iter().any(|case| case.name.as_ref() == Some(&name)) {
            return Err(Wrong::new(name_at, format!("'{name}' is no name of its own, of letters, digits and -")));
        }
        let (at, kind) = text_of(&mut table, "experiment", EXPERIMENTS)?;
        all.push(case(table, Some(name), at, &kind)?);
    }
    Ok(Scenario::Cases(all))
}

/// Takes a text that must be there out of a table.
fn text_of(table: &mut Spanned<DeTable<'_>>, key: &str, takes: &str) -> Result<(usize, String), Wrong> {
    let start = table.span().start;
    let Some(value) = table.get_mut().remove(key) else {
        return Err(Wrong::new(start, format!("{key} = \"...\" is missing; it takes {takes}")));
    };
    let at = value.span().start;
    match value.into_inner() {
        DeValue::String(text) => Ok((at, text.into_owned())),
        _ => Err(Wrong::new(at, format!("{key} is a text; it takes {takes}"))),
    }
}

fn case(mut table: Spanned<DeTable<'_>>, name: Option<String>, at: usize, kind: &str) -> Result<Case, Wrong> {
    fn args<T: DeserializeOwned + Experiment + 'static>(
        table: Spanned<DeTable<'_>>,
    ) -> Result<Box<dyn Experiment>, toml::de::Error> {
        T::deserialize(Deserializer::from(table)).map(|args| Box::new(args) as Box<dyn Experiment>)
    }
    let goals = match table.get_mut().remove("goals") {
        None => Vec::new(),
        Some(goals) => Vec::<GoalArgs>::deserialize(ValueDeserializer::from(goals))?,
    };
    let experiment = match kind {
        "produce" => args::<ProduceArgs>(table),
        "compare" => args::<CompareArgs>(table),
        "sweep" => args::<SweepArgs>(table),
        "failover" => args::<FailoverArgs>(table),
        "restart" => args::<RestartArgs>(table),
        "catch-up" => args::<CatchUpArgs>(table),
        "lag" => args::<LagArgs>(table),
        "soak" => args::<SoakArgs>(table),
        "audit" => args::<AuditArgs>(table),
        other => return Err(Wrong::new(at, format!("there is no experiment {other}; it takes {EXPERIMENTS}"))),
    }?;
    Ok(Case { name, experiment, goals })
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
                text.starts_with("# ") && text.contains(&format!("ringmq-bench run bench/scenarios/{name}")),
                "{name} is not explained"
            );
            let cases = match parse(&name, &text).unwrap_or_else(|error| panic!("{error}")) {
                Scenario::One(case) => vec![case],
                Scenario::Cases(cases) => cases,
            };
            for mut case in cases {
                // All that can be checked without a broker holds.
                let stop = std::sync::Arc::default();
                let out = std::env::temp_dir().join(format!("ringmq-bench-scenario-{}.json", std::process::id()));
                case.experiment.places().1.out = Some(out.clone());
                let session = case.experiment.begin("x", &stop).unwrap_or_else(|error| panic!("{name}: {error}"));
                assert!(!out.exists(), "nothing was measured");
                for goal in &case.goals {
                    goal.check(&session.requests).unwrap_or_else(|error| panic!("{name}: {error}"));
                }
                found.push(case.experiment.name());
            }
        }
        found.sort_unstable();
        found.dedup();
        assert_eq!(found, ["audit", "catch-up", "compare", "failover", "lag", "produce", "restart", "soak", "sweep"]);
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
        refused("experiment = \"cases\"", "x.toml:1: there is no [[case]]");
        refused("experiment = \"cases\"\nrounds = 1\n[[case]]\nname = \"a\"", "x.toml:2: unknown field `rounds`");
        refused("experiment = \"cases\"\n[[case]]\nname = \"a/b\"", "x.toml:3: 'a/b' is no name");
        refused(
            "experiment = \"cases\"\n[[case]]\nname = \"a\"\nexperiment = \"race\"",
            "x.toml:4: there is no experiment",
        );
        let twice = "[[case]]\nname = \"a\"\nexperiment = \"lag\"\n";
        refused(&format!("experiment = \"cases\"\n{twice}{twice}"), "x.toml:6: 'a' is no name of its own");
        refused("experiment = \"lag\"\n[[goals]]\nfigure = \"p51\"", "x.toml:3: unknown variant `p51`");
    }
}
