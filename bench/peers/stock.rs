//! What the peers run on: finds the tools, fetches jars and packages once, and says in one line what is missing.
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Mutex, PoisonError};

use crate::process::tail;

/// Something a peer needs is not on this machine. The text is one line: what, and how to get it.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{what} is missing: {remedy}")]
pub struct Missing {
    /// The tool or package.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl Missing {
    fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }

    fn from_io(path: &Path, error: &io::Error) -> Self {
        Self::new(path.display().to_string(), format!("{error}"))
    }
}

/// Root of ringmq's sources.
#[must_use]
pub fn workspace_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").components().fold(PathBuf::new(), |mut path, part| {
        if part == std::path::Component::ParentDir {
            path.pop();
        } else {
            path.push(part);
        }
        path
    })
}

/// Where fetched jars, packages and built clients are kept: `target/stock` of the workspace.
#[must_use]
pub fn stock_dir() -> PathBuf {
    workspace_dir().join("target/stock")
}

/// Runs `make` on the folder `target/stock/NAME` unless it is complete for `recipe`, and returns the folder.
///
/// `recipe` is all that decides the content (a pom, sources, versions). It is kept beside the folder once `make` has
/// succeeded, so an interrupted attempt is begun anew. Threads and processes that need the same folder wait for the first.
pub(crate) fn cached(
    name: &str,
    recipe: &str,
    make: impl FnOnce(&Path) -> Result<(), Missing>,
) -> Result<PathBuf, Missing> {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    let dir = stock_dir().join(name);
    let stamp = stock_dir().join(format!("{name}.recipe"));
    fs::create_dir_all(stock_dir()).map_err(|error| Missing::from_io(&stock_dir(), &error))?;
    let lock_path = stock_dir().join(format!("{name}.lock"));
    let lock = File::create(&lock_path).map_err(|error| Missing::from_io(&lock_path, &error))?;
    lock.lock().map_err(|error| Missing::from_io(&lock_path, &error))?;
    if fs::read_to_string(&stamp).is_ok_and(|done| done == recipe) && dir.is_dir() {
        return Ok(dir);
    }
    if dir.exists() {
        fs::remove_dir_all(&dir).map_err(|error| Missing::from_io(&dir, &error))?;
    }
    fs::create_dir_all(&dir).map_err(|error| Missing::from_io(&dir, &error))?;
    make(&dir)?;
    fs::write(&stamp, recipe).map_err(|error| Missing::from_io(&stamp, &error))?;
    Ok(dir)
}

/// Checks that `program` runs at all.
pub(crate) fn tool(program: &str, version_flag: &str, remedy: &str) -> Result<(), Missing> {
    match Command::new(program).arg(version_flag).output() {
        Ok(output) if output.status.success() => Ok(()),
        _ => Err(Missing::new(program, remedy)),
    }
}

/// Runs one step of a fetch or build; its failure becomes a [`Missing`] with what it said of the reason.
pub(crate) fn step(what: &str, command: &mut Command, remedy: &str) -> Result<(), Missing> {
    let output = command.output().map_err(|error| Missing::new(what, format!("{error}; {remedy}")))?;
    if output.status.success() {
        return Ok(());
    }
    let said = format!("{}\n{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    // The whole goes to standard error for whoever looks into it; the error stays one line.
    eprintln!("{}", tail(&said));
    Err(Missing::new(what, format!("{remedy} ({})", reason(&said))))
}

/// The line that says why: Maven's first error, or what was said last. Without the colours that Maven writes to files as well.
fn reason(said: &str) -> String {
    let plain = said.replace("\u{1b}[0m", "");
    let mut lines = plain.lines().map(str::trim).filter(|line| !line.is_empty());
    let first = lines.clone().find_map(|line| line.strip_prefix("[ERROR] "));
    first.or_else(|| lines.next_back()).unwrap_or("no output").to_owned()
}

/// Fetches the jars that `pom` names, and what they need, into `target/stock/NAME`.
pub(crate) fn jars(name: &str, pom: &str) -> Result<PathBuf, Missing> {
    tool("java", "-version", "install JDK 17 (Debian: apt-get install openjdk-17-jdk-headless)")?;
    cached(name, pom, |dir| {
        tool("mvn", "-version", "install Maven (Debian: apt-get install maven)")?;
        let pom_path = stock_dir().join(format!("{name}.pom.xml"));
        fs::write(&pom_path, pom).map_err(|error| Missing::from_io(&pom_path, &error))?;
        let mut maven = Command::new("mvn");
        maven.args(["-q", "-B", "-f"]).arg(&pom_path).arg("dependency:copy-dependencies");
        maven.arg(format!("-DoutputDirectory={}", dir.display()));
        step(&format!("the jars of {name}"), &mut maven, "Maven must reach a repository that has them")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_made_once_and_again_when_its_recipe_changes() {
        let name = format!("test-{}", std::process::id());
        let make = |dir: &Path| fs::write(dir.join("made"), "x").map_err(|error| Missing::from_io(dir, &error));
        let dir = cached(&name, "one", make).expect("it is made");
        assert!(dir.join("made").is_file());
        cached(&name, "one", |_| panic!("made twice")).expect("it is kept");
        cached(&name, "two", |_| Err(Missing::new("a thing", "get it"))).expect_err("its making fails");
        assert!(!dir.join("made").exists(), "a new recipe begins with an empty folder");
        cached(&name, "two", make).expect("a failed attempt is begun anew");
        fs::remove_dir_all(&dir).expect("the folder is ours");
        for end in ["recipe", "lock"] {
            fs::remove_file(stock_dir().join(format!("{name}.{end}"))).expect("the file is ours");
        }
    }

    #[test]
    fn the_reason_is_mavens_first_error_or_the_last_line() {
        let maven = "\u{1b}[0m\u{1b}[0m[ERROR] no such jar\n[ERROR] \n[ERROR] To see more, re-run Maven\n\u{1b}[0m\n";
        assert_eq!(reason(maven), "no such jar");
        assert_eq!(reason("first\nthe last\n\n"), "the last");
        assert_eq!(reason("\n"), "no output");
    }

    #[test]
    fn what_is_missing_is_said_in_one_line() {
        let missing = tool("no-such-program", "--version", "install it").expect_err("it is not there");
        assert_eq!(missing.to_string(), "no-such-program is missing: install it");
    }
}
