//! Apache RocketMQ and the stock clients, brought up beside ringmq for tests and comparisons.
//!
//! Nothing is expected to be installed but the tools themselves (JDK 17, Maven, Go, Python 3.11). What runs on them is
//! fetched once and kept in `target/stock/`, one folder each:
//!
//! | folder            | what                                                     | made by                          |
//! |-------------------|----------------------------------------------------------|----------------------------------|
//! | `apache-5.3.3`    | jars of name server, broker, mqadmin and Java client; so too of other versions | `mvn dependency:copy-dependencies` |
//! | `client-4.9.8`    | jars of the Java client 4.9.8                            | the same                         |
//! | `java-5.3.3` `java-4.9.8` | classes of `tests/stock/java`, compiled against each | `javac`                        |
//! | `mqadmin-5.3.3` `filter-5.3.3` | classes of `tests/stock/mqadmin` and `tests/stock/filter` | `javac`            |
//! | `go`              | binary of `tests/stock/go`                               | `go build`                       |
//! | `python`          | virtual environment with PyPI `rocketmq`                 | `python3 -m venv`, `pip`         |
//!
//! A tool that is not there is no failure: [`Missing`] says in one line what to install, and the caller skips.
//!
//! ```no_run
//! use ringmq_peers::{Apache, BrokerOptions};
//! let apache = Apache::locate()?;
//! let name_server = apache.start_name_server()?;
//! let broker = apache.start_broker(&BrokerOptions::small(&name_server.address()))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Both processes end when their values are dropped.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "starts processes and reads files and clocks: it is the world around ringmq, not ringmq"
)]

mod apache;
mod clients;
mod filter;
mod mqadmin;
mod ports;
mod process;
mod registration;
mod relay;
mod stock;
mod tails;
mod tap;

pub use apache::{Apache, Broker, BrokerOptions, Flush, NameServer, Role};
pub use clients::{Outcome, StockClient};
pub use filter::FilterCase;
pub use mqadmin::Mqadmin;
pub use ports::PortBlock;
pub use process::{Process, StartError};
pub use relay::Relay;
pub use stock::{Missing, stock_dir, workspace_dir};
pub use tails::remove_tails_below;
pub use tap::{Tap, TappedFrame};
