//! `ringmq controller` as child processes: several that agree.
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use ringmq_peers::{PortBlock, Process};
use tempfile::TempDir;

use crate::client::Client;
use crate::frame::Frame;
use crate::node::wait_for;

const START_TIMEOUT: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(5);

const GET_METADATA: i32 = 1005;

/// Running controllers, with one folder each; killed when dropped.
#[derive(Debug)]
pub struct Controllers {
    processes: Vec<Option<Process>>,
    ports: Vec<PortBlock>,
    folder: TempDir,
}

impl Controllers {
    /// Starts so many on free ports and waits until they answer. `more` is further lines of each one's configuration.
    pub fn start(count: usize, more: &[(&str, &str)]) -> Self {
        let ports: Vec<PortBlock> = (0..count).map(|_| PortBlock::reserve(1)).collect();
        let folder = TempDir::with_prefix("ringmq-controllers-").expect("the temporary folder is writable");
        let peers: Vec<String> =
            ports.iter().enumerate().map(|(index, ports)| format!("n{index}-127.0.0.1:{}", ports.listen())).collect();
        let mut controllers = Self { processes: (0..count).map(|_| None).collect(), ports, folder };
        for index in 0..count {
            let mut lines = vec![
                "controllerDLegerGroup=test".to_owned(),
                format!("controllerDLegerPeers={}", peers.join(";")),
                format!("controllerDLegerSelfId=n{index}"),
                "bindAddress=127.0.0.1".to_owned(),
                format!("controllerStorePath={}", controllers.store(index).display()),
            ];
            lines.extend(more.iter().map(|(key, value)| format!("{key}={value}")));
            fs::write(controllers.config(index), lines.join("\n")).expect("the temporary folder is writable");
            controllers.restart(index);
        }
        controllers
    }

    /// The configuration of one.
    pub fn config(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("n{index}.properties"))
    }

    /// The folder of one's promises.
    pub fn store(&self, index: usize) -> PathBuf {
        self.folder.path().join(format!("n{index}"))
    }

    /// `HOST:PORT` of one.
    pub fn address(&self, index: usize) -> String {
        format!("127.0.0.1:{}", self.ports[index].listen())
    }

    /// All of them, `;` between.
    pub fn addresses(&self) -> String {
        let addresses: Vec<String> = (0..self.ports.len()).map(|index| self.address(index)).collect();
        addresses.join(";")
    }

    /// Kills one (SIGKILL) and waits for its end.
    pub fn kill(&mut self, index: usize) {
        self.processes[index].take().expect("the controller is running").kill();
    }

    /// Starts one, again or for the first time.
    pub fn restart(&mut self, index: usize) {
        let mut command = Command::new(crate::program("ringmq"));
        command.arg("controller").arg("-c").arg(self.config(index)).current_dir(self.folder.path());
        let log = self.folder.path().join(format!("n{index}.log"));
        let mut process = Process::start("ringmq controller", command, &log).unwrap_or_else(|error| panic!("{error}"));
        let address = self.address(index);
        let answers = |_: &str| Client::connect(&address).is_ok();
        process.wait_until(START_TIMEOUT, answers).unwrap_or_else(|error| panic!("{error}"));
        self.processes[index] = Some(process);
    }

    /// What one has logged.
    pub fn log(&self, index: usize) -> String {
        self.processes[index].as_ref().map(Process::log_text).unwrap_or_default()
    }

    /// Asks one.
    pub fn ask(&self, index: usize, request: Frame) -> io::Result<Frame> {
        let mut client = Client::connect(&self.address(index))?;
        client.set_timeout(TIMEOUT)?;
        client.call(request)
    }

    /// Which of the running ones leads; waits until one says that it does.
    pub fn leader(&self) -> usize {
        wait_for("a controller that leads", || {
            (0..self.ports.len()).filter(|index| self.processes[*index].is_some()).find(|index| {
                let found = self.ask(*index, Frame::request(GET_METADATA));
                found.is_ok_and(|found| found.ext.get("isLeader").map(String::as_str) == Some("true"))
            })
        })
    }

    /// Asks whoever leads.
    pub fn ask_leader(&self, request: &Frame) -> Frame {
        wait_for("an answer of the leader", || {
            self.ask(self.leader(), request.clone()).ok().filter(|found| found.code != 2007)
        })
    }
}
