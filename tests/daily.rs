//! What applications use beside sending and consuming, and orderly consumers that come, go and die: stock Java clients 5.3.3 and 4.9.8.
//!
//! The scenarios are in `tests/stock/java/Daily.java`. They pass on Apache RocketMQ 5.3.3 as well:
//! `RINGMQ_REFERENCE=1 cargo test --test daily apache` shows it. This cannot show what a whole process leaves behind that is killed.

use std::io::{self, Write as _};
use std::time::Duration;

use harness::{Node, NodeOptions, expect_passed};
use ringmq_peers::{Apache, BrokerOptions, Flush, Missing, StockClient};

/// A lock expires after a minute, and nothing shortens that.
const TIMEOUT: Duration = Duration::from_secs(300);

const SCENARIOS: [&str; 5] = ["orderly-handover", "namespace", "trace", "namespace-v2", "compressions"];

/// Writes past the test's captured output: what is not tested must be seen.
fn skipped(why: &str) {
    writeln!(io::stderr(), "skipped: {why}").expect("standard error is open");
}

fn check(client: &StockClient, name_server: &str) {
    let prefix: String = client.name().chars().filter(char::is_ascii_alphanumeric).collect();
    let outcomes = client.run(name_server, &prefix, &SCENARIOS, TIMEOUT).expect("the client runs");
    expect_passed(client.name(), &outcomes);
}

fn on_ringmq(client: Result<StockClient, Missing>, shards: u16) {
    match client {
        Ok(client) => {
            let node = Node::start(&NodeOptions { shards, flush: Flush::Async, ..NodeOptions::default() });
            check(&client, &node.name_server());
        }
        Err(missing) => skipped(&missing.to_string()),
    }
}

#[test]
fn java_5_on_one_shard() {
    on_ringmq(StockClient::java_5(), 1);
}

#[test]
fn java_4_on_two_shards() {
    on_ringmq(StockClient::java_4(), 2);
}

/// The scenarios themselves: what fails here is wrong in the scenario, or not worth imitating.
#[test]
fn apache_reference() {
    if std::env::var_os("RINGMQ_REFERENCE").is_none() {
        skipped("the scenarios on Apache itself: RINGMQ_REFERENCE=1 runs them, for changes of the scenarios");
        return;
    }
    let apache = match Apache::locate() {
        Ok(apache) => apache,
        Err(missing) => return skipped(&missing.to_string()),
    };
    for client in [StockClient::java_5(), StockClient::java_4()] {
        let Ok(client) = client else { continue };
        let name_server = apache.start_name_server().expect("it starts");
        let _broker = apache.start_broker(&BrokerOptions::small(&name_server.address())).expect("it starts");
        check(&client, &name_server.address());
    }
}
