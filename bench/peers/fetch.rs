//! Fetches and builds all that tests with stock software use, so that tests do not wait for it, and says what is missing.
//!
//! `cargo run -p ringmq-peers --bin fetch`. One line for each: `ready: ...`, or `skipped: ...` with what to do. Exits with 0
//! in both cases, as the tests do.
#![allow(clippy::print_stdout, reason = "a command line tool: its output is its purpose")]

use ringmq_peers::{Apache, Missing, StockClient};

fn main() {
    say("Apache RocketMQ 5.3.3", Apache::locate().map(drop));
    say("Java client 5.3.3", StockClient::java_5().map(drop));
    say("Java client 4.9.8", StockClient::java_4().map(drop));
    say("Go client 2.1.2", StockClient::go().map(drop));
    say("C++ client through Python 0.4.4", StockClient::python().map(drop));
}

fn say(what: &str, found: Result<(), Missing>) {
    match found {
        Ok(()) => println!("ready: {what}"),
        Err(missing) => println!("skipped: {what}: {missing}"),
    }
}
