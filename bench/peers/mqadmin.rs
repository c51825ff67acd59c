//! Apache's mqadmin 5.3.3: many commands in one JVM, since to start one costs far more than a command.
use std::io::Write as _;
use std::process::{ChildStdin, Command};
use std::time::Duration;

use crate::apache::{Apache, Home, java};
use crate::clients;
use crate::process::{Process, StartError};
use crate::stock::Missing;

/// The line that `tests/stock/mqadmin` writes after each command's output.
const DONE: &str = "=== done\n";
/// The first command waits for its JVM as well, on a machine that tests share.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(120);

/// A running mqadmin; ends when dropped.
#[derive(Debug)]
pub struct Mqadmin {
    process: Process,
    input: ChildStdin,
    name_server: String,
    done: usize,
    _home: Home,
}

impl Apache {
    /// Starts mqadmin for the cluster of `name_server`, and does not wait until it is up: the first command does.
    ///
    /// # Errors
    /// [`Missing`] when the JDK's compiler is not there or Java does not run.
    pub fn start_mqadmin(&self, name_server: &str) -> Result<Mqadmin, Missing> {
        let classes = clients::mqadmin_classes(self.jars())?;
        let failed = |error: StartError| Missing { what: "mqadmin".to_owned(), remedy: error.to_string() };
        let home = Home::create("mqadmin").map_err(failed)?;
        let class_path = format!("{}:{}", classes.display(), self.jars().join("*").display());
        let flags = ["-XX:TieredStopAtLevel=1".to_owned(), "-Xmx256m".to_owned()];
        let command = java(Command::new("java"), "ManyCommands", &flags, &home, &class_path);
        let log = home.path().join("output.log");
        let (process, input) = Process::start_with_input("mqadmin", command, &log).map_err(failed)?;
        Ok(Mqadmin { process, input, name_server: name_server.to_owned(), done: 0, _home: home })
    }
}

impl Mqadmin {
    /// Runs commands one after another and returns the output of each, standard error included. Words of a command are
    /// separated by spaces; `-n` and the name server are added.
    ///
    /// # Panics
    /// When the JVM ends, as mqadmin ends it on an argument that it does not know, or a command takes two minutes.
    pub fn run(&mut self, commands: &[String]) -> Vec<String> {
        commands.iter().map(|command| self.run_one(command)).collect()
    }

    fn run_one(&mut self, command: &str) -> String {
        writeln!(self.input, "{command} -n {}", self.name_server)
            .and_then(|()| self.input.flush())
            .unwrap_or_else(|error| panic!("mqadmin ended before {command}: {error}\n{}", self.process.log_tail()));
        let done = self.done;
        self.process
            .wait_until(COMMAND_TIMEOUT, |log| log.matches(DONE).count() > done)
            .unwrap_or_else(|error| panic!("{command}: {error}"));
        self.done += 1;
        let log = self.process.log_text();
        without_logback(log.split(DONE).nth(done).unwrap_or_default())
    }
}

/// What the logging library says about itself (`|-INFO in ...`) is no command's output.
fn without_logback(output: &str) -> String {
    output.lines().filter(|line| !line.contains("|-")).map(|line| format!("{line}\n")).collect()
}
