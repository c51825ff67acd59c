//! What black-box tests stand on: a ringmq process, and a RocketMQ client written by hand.
//!
//! - [`Node`]: the built binary as a child process with free ports and a store of its own; start, kill, restart.
//! - [`NameServer`]: `ringmq namesrv` alone, likewise.
//! - [`Controllers`]: several `ringmq controller` that agree.
//! - [`Pair`]: a name server, a master and a slave; [`Relay`]: a network between them that fails; [`World`]: a pair under load.
//! - [`Client`]: one blocking connection; any request as a [`Frame`], and shorthands for the common ones.
//! - [`Record`]: messages as pulls return them.
//! - [`Audit`] and [`Load`]: a book of all that was sent, against what the broker has; producers that fill both.
//! - [`Neighbour`]: a client that must not notice what others do to the server.
//! - [`Facts`]: what clients tell of a broker, compared with what they tell of Apache's.
//! - [`expect_row`], [`expect_passed`]: what tools print and stock clients report.
//! - [`SmallDisk`]: file systems to run full. [`TailFolder`]: tails that go with the power.
//! - [`Seed`]: randomness that a failure tells how to have again.
//!
//! None of it uses ringmq's own protocol code on purpose: a mistake made on both sides would not show. Failures of the
//! network and of the broker are `io::Result`s, so that a test that kills brokers can go on; what only a broken test or
//! machine can cause panics.
//!
//! ```ignore
//! use harness::{Client, Node, NodeOptions};
//!
//! let mut node = Node::start(&NodeOptions::default());
//! let mut client = Client::connect(&node.broker(0)).expect("it listens");
//! client.create_topic("T", 4).expect("it answers");
//! let receipt = client.send("T", 0, b"body").expect("it answers");
//! node.kill();
//! node.restart();
//! let mut client = Client::connect(&node.broker(0)).expect("it listens");
//! let pulled = client.pull("G", "T", 0, receipt.queue_offset, 32).expect("it answers");
//! assert_eq!(pulled.records[0].body, b"body");
//! ```
#![allow(clippy::disallowed_methods, reason = "tests have clocks, files, threads and sockets")]
#![allow(missing_docs, reason = "fields and codes have the names that RocketMQ gives them")]

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

mod audit;
mod clerk;
mod client;
mod controllers;
mod facts;
mod fastjson;
mod frame;
mod load;
mod mount;
mod name_server;
mod neighbour;
mod node;
mod pair;
mod record;
mod relay;
mod said;
mod seed;
mod tails;
mod world;

pub use audit::{Audit, Place, Queue, Sent, body_of, log_offset_of, view};
pub use clerk::Clerk;
pub use client::{Client, Pulled, Receipt, code};
pub use controllers::Controllers;
pub use facts::{
    APACHE, ClientRun, Facts, KnownDifference, check_apache, check_facts, prefix_of, read_until_still, tell_fact,
    tell_facts,
};
pub use frame::Frame;
pub use load::Load;
pub use mount::SmallDisk;
pub use name_server::NameServer;
pub use neighbour::{Neighbour, open_files_max, own_kb, resident_kb, resident_mb_max};
pub use node::{Node, NodeOptions, folder_bytes, wait_for};
pub use pair::{Pair, PairOptions};
pub use record::Record;
pub use relay::Relay;
pub use said::{expect, expect_passed, expect_row};
pub use seed::{Random, Seed, rounds};
pub use tails::{TailFolder, small_log};
pub use world::{World, pause, probe, resume, wait_for_answer};

/// A program of this workspace as it was built with the test that runs. Cargo builds those of the test's own package.
///
/// # Panics
/// If a test binary does not lie in `target/PROFILE/deps/`, where cargo puts them.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("a test has a binary");
    let folder = test.parent().and_then(Path::parent).expect("cargo has built it");
    folder.join(name)
}

/// Copies a folder as an operator does, with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    let copied = Command::new("cp").arg("-r").args([from, to]).status()?;
    if copied.success() { Ok(()) } else { Err(io::Error::other(format!("cp: {copied}"))) }
}

/// Says a line of the test's own. It is shown with `--nocapture` alone, and when the test has failed.
pub fn say(line: &str) {
    writeln!(io::stderr(), "{line}").expect("stderr is open");
}
