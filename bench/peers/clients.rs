//! The stock clients: programs under `tests/stock` that run scenarios and check themselves.
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::process::{Process, StartError};
use crate::stock::{self, Missing, cached, step, tool};

/// Version of PyPI `rocketmq`, whose wheel holds the C++ client.
const PYTHON_PACKAGE: &str = "rocketmq==0.4.4";
/// Python programs that are tried, in this order.
const PYTHONS: [&str; 2] = ["python3.11", "python3"];

/// What one scenario came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Its name.
    pub scenario: String,
    /// Whether all its checks held.
    pub passed: bool,
    /// How long it took.
    pub took_ms: u64,
    /// What did not hold.
    pub error: Option<String>,
    /// What it saw, in its own words and order, without what differs from run to run: lines `= SCENARIO FACT` of its output.
    pub facts: Vec<String>,
}

/// A stock client, built and ready to run scenarios.
#[derive(Debug, Clone)]
pub struct StockClient {
    name: &'static str,
    program: PathBuf,
    arguments: Vec<String>,
    environment: Vec<(&'static str, String)>,
}

impl StockClient {
    /// The Java client 5.3.3, with JSON headers as by default.
    ///
    /// # Errors
    /// [`Missing`] when the JDK or Maven is not installed, or Maven reaches no repository.
    pub fn java_5() -> Result<Self, Missing> {
        Self::java(
            "Java 5.3.3",
            &stock::jars("apache-5.3.3", include_str!("maven/apache-5.3.3.xml"))?,
            "java-5.3.3",
            &[],
        )
    }

    /// The Java client 5.3.3 with binary (`ROCKETMQ`) headers.
    ///
    /// # Errors
    /// As [`StockClient::java_5`].
    pub fn java_5_binary() -> Result<Self, Missing> {
        let jars = stock::jars("apache-5.3.3", include_str!("maven/apache-5.3.3.xml"))?;
        Self::java("Java 5.3.3 binary", &jars, "java-5.3.3", &["-Drocketmq.serialize.type=ROCKETMQ"])
    }

    /// The Java client 4.9.8.
    ///
    /// # Errors
    /// As [`StockClient::java_5`].
    pub fn java_4() -> Result<Self, Missing> {
        Self::java(
            "Java 4.9.8",
            &stock::jars("client-4.9.8", include_str!("maven/client-4.9.8.xml"))?,
            "java-4.9.8",
            &[],
        )
    }

    fn java(name: &'static str, jars: &Path, classes: &str, flags: &[&str]) -> Result<Self, Missing> {
        let dir = compiled("java", jars, classes)?;
        let mut arguments: Vec<String> =
            ["-Xms64m", "-Xmx384m", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Dfile.encoding=UTF-8"]
                .map(str::to_owned)
                .to_vec();
        arguments.extend(flags.iter().map(|&flag| flag.to_owned()));
        arguments.push("-cp".to_owned());
        arguments.push(format!("{}:{}", dir.display(), jars.join("*").display()));
        arguments.push("StockClient".to_owned());
        Ok(Self { name, program: PathBuf::from("java"), arguments, environment: Vec::new() })
    }

    /// The Go client 2.1.2.
    ///
    /// # Errors
    /// [`Missing`] when Go is not installed or its module proxy cannot be reached.
    pub fn go() -> Result<Self, Missing> {
        let mut recipe_files = sources("go", "go")?;
        recipe_files.extend(sources("go", "mod")?);
        let dir = cached("go", &texts(&recipe_files), |dir| {
            tool("go", "version", "install Go (Debian: apt-get install golang)")?;
            let mut build = Command::new("go");
            build.arg("build").arg("-o").arg(dir.join("stock")).arg(".");
            build.current_dir(stock::workspace_dir().join("tests/stock/go"));
            step("the Go client 2.1.2", &mut build, "Go must reach its module proxy")
        })?;
        Ok(Self { name: "Go 2.1.2", program: dir.join("stock"), arguments: Vec::new(), environment: Vec::new() })
    }

    /// The C++ client inside PyPI `rocketmq` 0.4.4.
    ///
    /// # Errors
    /// [`Missing`] when Python or its `venv` is not installed or no package index can be reached.
    pub fn python() -> Result<Self, Missing> {
        let dir = cached("python", PYTHON_PACKAGE, |dir| {
            let remedy = "install Python 3 with venv (Debian: apt-get install python3-venv)";
            let python = PYTHONS
                .into_iter()
                .find(|python| tool(python, "--version", remedy).is_ok())
                .map_or_else(|| tool("python3", "--version", remedy).map(|()| "python3"), Ok)?;
            step("a Python virtual environment", Command::new(python).args(["-m", "venv"]).arg(dir), remedy)?;
            let mut pip = Command::new(dir.join("bin/python"));
            pip.args(["-m", "pip", "install", "--quiet", PYTHON_PACKAGE]);
            step(PYTHON_PACKAGE, &mut pip, "pip must reach a package index")
        })?;
        let script = stock::workspace_dir().join("tests/stock/python/stock.py");
        let arguments = vec![script.display().to_string()];
        Ok(Self { name: "Python 0.4.4", program: dir.join("bin/python"), arguments, environment: Vec::new() })
    }

    /// What it is, for messages.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The same under another name.
    #[must_use]
    pub fn named(self, name: &'static str) -> Self {
        Self { name, ..self }
    }

    /// The same with an environment variable.
    #[must_use]
    pub fn with_environment(mut self, name: &'static str, value: String) -> Self {
        self.environment.push((name, value));
        self
    }

    /// A Java client that runs up to `scenarios` at once, and looks for new topics and queues twice a second instead of every 20 s. A group's retry
    /// topic comes to be with its first consumer, which reads it after the next look only.
    #[must_use]
    pub fn hastened(mut self, scenarios: usize) -> Self {
        self.arguments.extend(["--hasten".to_owned(), "--parallel".to_owned(), scenarios.to_string()]);
        self
    }

    /// Runs scenarios against the cluster behind a name server and waits for their end. Topics and groups begin with
    /// `prefix`. A scenario that gave no result (the client crashed or was too slow) counts as failed.
    ///
    /// # Errors
    /// [`StartError`] when the client does not run, or its folder cannot be made.
    pub fn run(
        &self,
        name_server: &str,
        prefix: &str,
        scenarios: &[&str],
        timeout: Duration,
    ) -> Result<Vec<Outcome>, StartError> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let io_error = |source| StartError::Io { name: self.name.to_owned(), source };
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let home = std::env::temp_dir().join(format!("ringmq-client-{}-{count}", std::process::id()));
        fs::create_dir_all(&home).map_err(io_error)?;
        let mut command = Command::new(&self.program);
        // The clients keep logs and broadcast offsets in the home folder.
        command.env("HOME", &home).env("JAVA_TOOL_OPTIONS", format!("-Duser.home={}", home.display()));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(&home).args(&self.arguments);
        command.args(["--namesrv", name_server, "--prefix", prefix]).args(scenarios);
        let mut process = Process::start(self.name, command, &home.join("output.log"))?;
        let ended = process.wait_for_end(timeout).is_some();
        process.kill();
        let log = process.log_text();
        let mut outcomes: Vec<Outcome> = log.lines().filter_map(outcome).collect();
        for outcome in &mut outcomes {
            outcome.facts = facts(&log, &outcome.scenario);
        }
        for &scenario in scenarios {
            if !outcomes.iter().any(|outcome| outcome.scenario == scenario) {
                let why = if ended { "it gave no result" } else { "it was not over in time" };
                let error = Some(format!("{why}; the log ends:\n{}", process.log_tail()));
                let facts = facts(&log, scenario);
                outcomes.push(Outcome { scenario: scenario.to_owned(), passed: false, took_ms: 0, error, facts });
            }
        }
        // What a scenario has to say though it passed.
        log.lines().filter(|line| line.starts_with("# ")).for_each(|line| eprintln!("{}: {line}", self.name));
        if outcomes.iter().any(|outcome| !outcome.passed) {
            eprintln!("--- {} wrote:\n{log}\n---", self.name);
        }
        // Left behind at worst: the system's temporary folder is emptied by the system.
        drop(fs::remove_dir_all(&home));
        Ok(outcomes)
    }
}

/// Classes of `tests/stock/mqadmin`, for [`crate::Mqadmin`].
pub(crate) fn mqadmin_classes(jars: &Path) -> Result<PathBuf, Missing> {
    compiled("mqadmin", jars, "mqadmin-5.3.3")
}

/// Classes of `tests/stock/filter`, for [`crate::Apache::filter`].
pub(crate) fn filter_classes(jars: &Path) -> Result<PathBuf, Missing> {
    compiled("filter", jars, "filter-5.3.3")
}

/// The Java sources of `tests/stock/FOLDER`, compiled into `target/stock/CLASSES`.
fn compiled(folder: &str, jars: &Path, classes: &str) -> Result<PathBuf, Missing> {
    tool("javac", "-version", "install a JDK 17 (Debian: apt-get install openjdk-17-jdk-headless)")?;
    let sources = sources(folder, "java")?;
    cached(classes, &texts(&sources), |dir| {
        let mut compiler = Command::new("javac");
        compiler.args(["-nowarn", "-encoding", "UTF-8", "-cp"]).arg(jars.join("*")).arg("-d").arg(dir).args(&sources);
        step(classes, &mut compiler, &format!("tests/stock/{folder} does not compile"))
    })
}

/// A result line: `{"scenario":"send-sync","ok":true,"ms":12}`, with `"error"` when it failed.
fn outcome(line: &str) -> Option<Outcome> {
    if !line.starts_with('{') {
        return None;
    }
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    Some(Outcome {
        scenario: value["scenario"].as_str()?.to_owned(),
        passed: value["ok"].as_bool()?,
        took_ms: value["ms"].as_u64()?,
        error: value["error"].as_str().map(str::to_owned),
        facts: Vec::new(),
    })
}

/// What one scenario says that it saw, in its order.
fn facts(log: &str, scenario: &str) -> Vec<String> {
    let of_scenario =
        |line: &str| line.strip_prefix("= ")?.strip_prefix(scenario)?.strip_prefix(' ').map(str::to_owned);
    log.lines().filter_map(of_scenario).collect()
}

/// The files of `tests/stock/FOLDER` with this extension, sorted.
fn sources(folder: &str, extension: &str) -> Result<Vec<PathBuf>, Missing> {
    let path = stock::workspace_dir().join("tests/stock").join(folder);
    let missing = |error: std::io::Error| Missing { what: path.display().to_string(), remedy: error.to_string() };
    let mut files = Vec::new();
    for entry in fs::read_dir(&path).map_err(missing)? {
        let file = entry.map_err(missing)?.path();
        if file.extension().is_some_and(|own| own == extension) {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// All their texts: the recipe of what is built from them.
fn texts(files: &[PathBuf]) -> String {
    files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_told_from_other_output() {
        let failed = r#"{"ms":7,"ok":false,"scenario":"pull","error":"no \"x\""}"#;
        let error = Some("no \"x\"".to_owned());
        let expected = Outcome { scenario: "pull".to_owned(), passed: false, took_ms: 7, error, facts: Vec::new() };
        assert_eq!(outcome(failed), Some(expected));
        assert_eq!(outcome("12:00 INFO {\"scenario\":\"pull\",\"ok\":true,\"ms\":7}"), None);
        assert_eq!(outcome("{not json"), None);
    }

    #[test]
    fn facts_are_of_one_scenario() {
        let log = "= retry first one\n= retry-later other\nretry no fact\n= retry second\n";
        assert_eq!(facts(log, "retry"), ["first one", "second"]);
        assert_eq!(facts(log, "retry-later"), ["other"]);
    }
}
