//! The deployment modes with stock clients: masters alone, masters with slaves that copy later, masters that wait for their slaves.
//!
//! In each a master is killed (SIGKILL) while groups consume, and brought back. The clients themselves check that all messages come, in
//! order where they asked for that, and count what comes twice ([`ringmq_peers::StockClient`], `tests/stock`). This cannot show what is lost
//! with a machine for good: `replication.rs` does.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]
mod harness;

use std::fs;
use std::io::{self, Write as _};

use std::thread;
use std::time::Duration;

use harness::{Client, NameServer, Node, NodeOptions, wait_for};
use ringmq_peers::{Missing, StockClient};
use tempfile::TempDir;

/// Longest run of one client's scenarios.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A deployment mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    NoSlave,
    Async,
    Sync,
}

/// Two masters, with a slave each unless the mode has none, under two name servers.
struct Cluster {
    name_servers: [NameServer; 2],
    masters: [Node; 2],
    slaves: Vec<Node>,
}

impl Cluster {
    fn start(mode: Mode) -> Cluster {
        let name_servers = [NameServer::start(&[]), NameServer::start(&[])];
        let both = format!("{};{}", name_servers[0].address(), name_servers[1].address());
        let node = |broker_name, role: &str, id: &str| {
            let small = ("mappedFileSizeCommitLog", "16777216".to_owned());
            let more = vec![("brokerRole", role.to_owned()), ("brokerId", id.to_owned()), small];
            Node::start(&NodeOptions { broker_name, name_servers: Some(both.clone()), more, ..NodeOptions::default() })
        };
        let role = if mode == Mode::Sync { "SYNC_MASTER" } else { "ASYNC_MASTER" };
        let names = ["broker-a", "broker-b"];
        let masters = names.map(|name| node(name, role, "0"));
        let slaves: Vec<Node> = match mode {
            Mode::NoSlave => Vec::new(),
            Mode::Async | Mode::Sync => names.map(|name| node(name, "SLAVE", "1")).into(),
        };
        let cluster = Cluster { name_servers, masters, slaves };
        cluster.wait_until_followed();
        cluster
    }

    /// What clients are given. Either knows all; the first may be gone.
    fn name_server(&self) -> String {
        self.name_servers[0].address()
    }

    /// Waits until each slave's stream runs.
    fn wait_until_followed(&self) {
        for master in self.masters.iter().take(self.slaves.len()) {
            wait_for("slave that follows its master", || (log_end(master)?.1 > 0).then_some(()));
        }
    }

    /// Waits until the slave of the first master has all that the master has.
    fn wait_caught_up(&self) {
        if let Some(slave) = self.slaves.first() {
            wait_for("slave that has caught up", || (log_end(slave)?.0 == log_end(&self.masters[0])?.0).then_some(()));
        }
    }

    /// Waits until the name servers know the first master, or know that it is gone.
    fn wait_registered(&self, is_there: bool) {
        let address = self.masters[0].broker(0);
        for name_server in &self.name_servers {
            wait_for("route that shows the master or not", || {
                let found = route_addresses(&name_server.address(), "BenchmarkTest").contains(&address);
                (found == is_there).then_some(())
            });
        }
    }
}

/// End of a node's log, and how many replicas are in sync with it as their master.
fn log_end(node: &Node) -> Option<(i64, i64)> {
    let status = Client::connect(&node.broker(0)).ok()?.ha_status().ok()?;
    let of_slave = || status["haClientRuntimeInfo"]["maxOffset"].as_i64();
    let end = if status["master"] == true { status["masterCommitLogMaxOffset"].as_i64() } else { of_slave() };
    Some((end?, status["inSyncSlaveNums"].as_i64()?))
}

fn route_addresses(name_server: &str, topic: &str) -> Vec<String> {
    let route = Client::connect(name_server).and_then(|mut client| client.route(topic)).ok().flatten();
    let brokers = route.as_ref().and_then(|route| route["brokerDatas"].as_array()).into_iter().flatten();
    let addresses = brokers.filter_map(|broker| broker["brokerAddrs"].as_object()).flat_map(|by_id| by_id.values());
    addresses.filter_map(|address| address.as_str().map(str::to_owned)).collect()
}

/// Runs scenarios in which the first master is killed and brought back.
fn lose_a_master(client: Result<StockClient, Missing>, mode: Mode, scenarios: &[&str]) {
    let client = match client {
        Ok(client) => client,
        Err(missing) => {
            writeln!(io::stderr(), "skipped: {missing}").expect("standard error is open");
            return;
        }
    };
    let mut cluster = Cluster::start(mode);
    let steps = TempDir::with_prefix("ringmq-steps-").expect("the temporary folder is writable");
    let client = client.with_environment("RINGMQ_STEPS", steps.path().display().to_string());
    let name_server = cluster.name_server();
    let outcomes = thread::scope(|scope| {
        let running = scope.spawn(|| client.run(&name_server, "lost", scenarios, TIMEOUT).expect("the client runs"));
        let reached = |step: &str| {
            let all = || scenarios.iter().all(|scenario| steps.path().join(format!("lost_{scenario}.{step}")).exists());
            while !running.is_finished() && !all() {
                thread::sleep(Duration::from_millis(20));
            }
            all()
        };
        let done = |step: &str| fs::write(steps.path().join(step), "").expect("the temporary folder is writable");
        if reached("sent") {
            cluster.wait_caught_up();
            cluster.masters[0].kill();
            cluster.wait_registered(false);
            done("killed");
        }
        if reached("read") {
            cluster.masters[0].restart();
            cluster.wait_registered(true);
            cluster.wait_until_followed();
            done("returned");
        }
        running.join().expect("it does not panic")
    });
    let failed: Vec<String> = outcomes
        .iter()
        .filter(|outcome| !outcome.passed)
        .map(|outcome| format!("{}: {}", outcome.scenario, outcome.error.as_deref().unwrap_or_default()))
        .collect();
    assert!(failed.is_empty(), "{} of {} failed:\n{}", failed.len(), client.name(), failed.join("\n"));
}

const WITH_SLAVE: [&str; 2] = ["lost-master-slave", "lost-master-slave-orderly"];

#[test]
fn java_5_reads_on_from_an_asynchronous_slave() {
    lose_a_master(StockClient::java_5(), Mode::Async, &WITH_SLAVE);
}

#[test]
fn java_5_reads_on_from_a_synchronous_slave() {
    lose_a_master(StockClient::java_5(), Mode::Sync, &WITH_SLAVE);
}

#[test]
fn java_4_reads_on_from_an_asynchronous_slave() {
    lose_a_master(StockClient::java_4(), Mode::Async, &WITH_SLAVE);
}

#[test]
fn java_4_reads_on_from_a_synchronous_slave() {
    lose_a_master(StockClient::java_4(), Mode::Sync, &WITH_SLAVE);
}

#[test]
fn java_5_waits_for_a_master_without_slave() {
    lose_a_master(StockClient::java_5(), Mode::NoSlave, &["lost-master-alone"]);
}

#[test]
fn java_4_waits_for_a_master_without_slave() {
    lose_a_master(StockClient::java_4(), Mode::NoSlave, &["lost-master-alone"]);
}
