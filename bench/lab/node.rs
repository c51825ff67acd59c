//! One server process: how it is started, and that it runs. All servers of `ringmq-bench` and of `ringmq-cluster` are started here.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use ringmq_peers::{Apache, Broker, BrokerOptions, NameServer, Process};
use rustix::process::{Pid, Signal, kill_process};

use crate::lab::attached;

/// `ringmq VERB -c CONFIG`, which ends with this process and does not hear its terminal.
///
/// # Errors
/// When this process cannot find its own file.
pub fn ringmq(program: &Path, verb: &str, config: &Path, cpu: Option<usize>) -> io::Result<Command> {
    let mut command = attached::command(program, cpu)?;
    command.arg(verb).arg("-c").arg(config);
    Ok(command)
}

/// `ringmq-echo` on an address, likewise. It chooses its processor itself, and has one always.
fn echo(program: &Path, listen: SocketAddr, cpu: Option<usize>) -> io::Result<Command> {
    let mut command = attached::command(program, None)?;
    command.arg("--listen").arg(listen.to_string()).arg("--cpu").arg(cpu.unwrap_or(0).to_string());
    Ok(command)
}

/// Sends a signal to process `id`, which may have ended by itself a moment ago: whoever waits for it sees that.
pub fn signal(id: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(id).ok().and_then(Pid::from_raw) {
        let _ended = kill_process(pid, signal);
    }
}

/// How a server is started.
#[derive(Debug)]
pub(crate) enum Recipe {
    /// A node of this project.
    Ringmq { program: PathBuf, verb: &'static str, config: PathBuf, cpu: Option<usize> },
    /// The bare echo.
    Echo { program: PathBuf, listen: SocketAddr, cpu: Option<usize>, log: PathBuf },
    /// A broker of Apache's.
    Apache { apache: Apache, options: Box<BrokerOptions> },
    /// Not started again.
    Once,
}

#[derive(Debug)]
pub(crate) enum Running {
    Own(Process),
    Broker(Box<Broker>),
    NameServer(Box<NameServer>),
}

impl Running {
    pub(crate) fn process(&self) -> &Process {
        match self {
            Self::Own(process) => process,
            Self::Broker(broker) => broker.process(),
            Self::NameServer(server) => server.process(),
        }
    }
}

/// A server of a cluster.
#[derive(Debug)]
pub(crate) struct Node {
    /// `broker-a master`, `name server`.
    pub(crate) name: String,
    recipe: Recipe,
    /// None when it was killed.
    running: Option<Running>,
}

impl Node {
    /// Starts a server.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn start(name: &str, recipe: Recipe) -> Result<Self, String> {
        let mut node = Self { name: name.to_owned(), recipe, running: None };
        node.start_again()?;
        Ok(node)
    }

    /// One that runs already and is not started twice.
    pub(crate) fn once(name: &str, running: Running) -> Self {
        Self { name: name.to_owned(), recipe: Recipe::Once, running: Some(running) }
    }

    /// Starts it on what it left.
    ///
    /// # Errors
    /// A sentence.
    pub(crate) fn start_again(&mut self) -> Result<(), String> {
        let own = |command: io::Result<Command>, log: &Path| {
            let command = command.map_err(|error| error.to_string())?;
            Process::start(&self.name, command, log).map(Running::Own).map_err(|error| error.to_string())
        };
        self.running = Some(match &self.recipe {
            Recipe::Ringmq { program, verb, config, cpu } => {
                own(ringmq(program, verb, config, *cpu), &config.with_extension("log"))?
            }
            Recipe::Echo { program, listen, cpu, log } => own(echo(program, *listen, *cpu), log)?,
            Recipe::Apache { apache, options } => {
                Running::Broker(Box::new(apache.start_broker(options).map_err(|error| one_sentence(&error))?))
            }
            Recipe::Once => return Err(format!("{} is not started twice", self.name)),
        });
        Ok(())
    }

    /// Kills it (SIGKILL), as a crash would, and waits for its end.
    pub(crate) fn kill(&mut self) {
        self.running = None;
    }

    /// Its process, while it runs.
    pub(crate) fn id(&self) -> Option<u32> {
        self.running.as_ref().map(|running| running.process().id())
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, which: Signal) {
        if let Some(id) = self.id() {
            signal(id, which);
        }
    }

    /// Whether others ask it for brokers, and nobody sends to it.
    pub(crate) fn is_name_server(&self) -> bool {
        self.name == NAME_SERVER
    }

    /// How it ended by itself, if it did, and what it said last. Not of Apache's.
    pub(crate) fn end(&mut self) -> Option<String> {
        let Some(Running::Own(process)) = &mut self.running else { return None };
        let status = process.wait_for_end(Duration::ZERO)?;
        Some(format!("{} ended with {status}: {}", self.name, last_line(&process.log_text())))
    }

    /// Removes what it has stored in `folder`, if it stores anything.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn wipe(&self, folder: &Path) -> io::Result<()> {
        match fs::remove_dir_all(store(folder, &self.name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            wiped => wiped,
        }
    }
}

/// What a cluster's name server is called.
pub(crate) const NAME_SERVER: &str = "name server";

/// `broker-a master`.
pub(crate) fn node_name(broker: &str, id: u64) -> String {
    format!("{broker} {}", if id == 0 { "master" } else { "slave" })
}

/// Where the node of that name keeps its store, in the folder of its cluster.
pub(crate) fn store(folder: &Path, name: &str) -> PathBuf {
    folder.join(name.replace(' ', "-"))
}

/// What a process said last.
fn last_line(log: &str) -> String {
    log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing").trim().to_owned()
}

/// The first line of an error and the last of the log that follows it.
pub(crate) fn one_sentence(error: &impl std::fmt::Display) -> String {
    let text = error.to_string();
    match text.split_once('\n') {
        None => text,
        Some((first, rest)) => format!("{} {}", first.trim(), last_line(rest)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_with_a_log_becomes_one_sentence() {
        let check = |text: &str, expected: &str| assert_eq!(one_sentence(&text), expected);
        check("x is missing: get it", "x is missing: get it");
        check("x ended; its log ends:\nfirst\nthe reason\n\n", "x ended; its log ends: the reason");
    }
}
