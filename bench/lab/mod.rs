//! Experiments on clusters, made of loads: what is run, on what, and what remains.
//!
//! In reading order: [`results`] is the file that every experiment writes. [`spec`] reads what cluster is asked for, [`cluster`] brings it up,
//! process by process ([`node`]; [`attached`] ends them with this one), [`site`] is a cluster that was brought up or was there; [`probe`] asks brokers and name
//! servers, [`processes`], [`cores`] and [`truth`] say what else a reader must know. [`session`] makes one measured run; [`produce`], [`compare`],
//! [`sweep`], [`failover`], [`restart`], [`catch_up`], [`lag`], [`soak`] and [`audit`] are the experiments made of such runs; [`scenario`] reads
//! them from a file; [`cli`], [`table`] and [`document`] are what people see. [`rounds`], [`figure`] and [`statistics`] are what can be asked of
//! results, [`verdict`] what follows from them, [`goal`] whether they are as promised, and [`gate`] whether they are worse than they were.

use std::io::{self, Write as _};

pub mod attached;
pub mod audit;
pub mod catch_up;
pub mod cli;
pub mod cluster;
pub mod compare;
pub mod cores;
pub mod document;
pub mod error;
pub mod failover;
pub mod figure;
mod fill;
pub mod gate;
pub mod goal;
pub mod lag;
pub mod node;
pub mod probe;
pub mod processes;
pub mod produce;
pub mod restart;
pub mod results;
pub mod rounds;
pub mod scenario;
pub mod session;
pub mod site;
pub mod soak;
pub mod spec;
pub mod statistics;
pub mod sweep;
pub mod table;
mod tables;
pub mod truth;
pub mod verdict;

/// A line of progress, on stderr.
pub fn say(line: &str) {
    // With stderr closed there is nobody to tell.
    let _ = writeln!(io::stderr(), "ringmq-bench: {line}");
}
