//! `ringmq namesrv` as a child process: a name server alone.
use std::fs;
use std::process::Command;
use std::time::Duration;

use ringmq_peers::{PortBlock, Process};
use tempfile::TempDir;

use crate::client::Client;

const START_TIMEOUT: Duration = Duration::from_secs(30);

/// A running name server; killed when dropped.
#[derive(Debug)]
pub struct NameServer {
    process: Option<Process>,
    ports: PortBlock,
    folder: TempDir,
}

impl NameServer {
    /// Starts one on a free port and waits until it answers; panics with its log when it does not. `more` is further
    /// lines of its configuration.
    pub fn start(more: &[(&str, &str)]) -> Self {
        let ports = PortBlock::reserve(1);
        let folder = TempDir::with_prefix("ringmq-namesrv-").expect("the temporary folder is writable");
        let mut lines = vec![
            format!("listenPort={}", ports.listen()),
            // Its one file, which must not lie where other tests find it.
            format!("kvConfigPath={}", folder.path().join("kvConfig.json").display()),
        ];
        lines.extend(more.iter().map(|(key, value)| format!("{key}={value}")));
        let config = folder.path().join("namesrv.properties");
        fs::write(&config, lines.join("\n")).expect("the temporary folder is writable");
        let mut name_server = Self { process: None, ports, folder };
        name_server.spawn();
        name_server
    }

    fn spawn(&mut self) {
        let folder = self.folder.path();
        let mut command = Command::new(crate::program("ringmq"));
        command.arg("namesrv").arg("-c").arg(folder.join("namesrv.properties")).current_dir(folder);
        let log = folder.join("output.log");
        let mut process = Process::start("ringmq namesrv", command, &log).unwrap_or_else(|error| panic!("{error}"));
        let address = self.address();
        let answers = |_: &str| Client::connect(&address).and_then(|mut client| client.route("NONE")).is_ok();
        process.wait_until(START_TIMEOUT, answers).unwrap_or_else(|error| panic!("{error}"));
        self.process = Some(process);
    }

    /// Kills it (SIGKILL) and waits for its end.
    pub fn kill(&mut self) {
        self.process.take().expect("the name server is running").kill();
    }

    /// Starts it again on its port, killed before or now: it knows nobody then.
    pub fn restart(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill();
        }
        self.spawn();
    }

    /// `HOST:PORT`.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports.listen())
    }

    /// Its process, for its id and its log.
    pub fn process(&self) -> &Process {
        self.process.as_ref().expect("the name server is running")
    }
}
