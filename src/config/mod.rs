//! RocketMQ properties to a checked configuration: the unit and default of each setting, refused once, at the start.
//!
//! The path of a file: [`properties::parse`] keeps the lines, [`table`] turns each value into a typed field (and renders the same
//! table as documented `conf/` text), [`NodeConfig::read`] and [`NamesrvConfig::read`] then check what must hold between fields.
//! Nothing is read from the disk or the environment here: text comes in, a configuration or one sentence goes out.

mod assignment;
mod controller;
mod known;
mod light;
mod namesrv;
mod node;
mod pop;
pub mod properties;
mod replication;
pub mod table;
mod timer;
mod transaction;
mod value;

use thiserror::Error;

use crate::protocol::reply::shown;

pub use controller::ControllerConfig;
pub(crate) use controller::ControllerPeer;
pub(crate) use light::LightConfig;
pub use namesrv::NamesrvConfig;
pub use node::{FlushDiskType, NodeConfig, NodeKind};
pub(crate) use pop::PopConfig;
pub use replication::Replication;
pub(crate) use timer::TimerConfig;
pub(crate) use transaction::TransactionConfig;

/// What is wrong with a configuration, and where. Displays as one sentence that says what to do.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{}: {fault}", place(.file, *.line))]
pub struct ConfigError {
    /// The file's name as given on the command line, or `command line`.
    pub file: String,
    /// From 1; `None` if the fault is in a default or in what the machine offers.
    pub line: Option<usize>,
    /// What is wrong.
    pub fault: Fault,
}

impl ConfigError {
    pub(crate) fn new(file: &str, line: Option<usize>, fault: Fault) -> Self {
        ConfigError { file: file.to_owned(), line, fault }
    }
}

fn place(file: &str, line: Option<usize>) -> String {
    match line {
        Some(line) => format!("{file} line {line}"),
        None => file.to_owned(),
    }
}

/// One way in which a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum Fault {
    /// Neither ours nor Apache's.
    #[error("unknown key {}{}", shown(.key), suggestion(.nearest.as_deref()))]
    UnknownKey {
        key: String,
        /// A known key that differs in few letters.
        nearest: Option<String>,
    },
    /// The same key with two values.
    #[error("{} is set here and at line {earlier}; keep one of them", shown(.key))]
    SetTwice {
        key: String,
        /// Line of the first.
        earlier: usize,
    },
    /// A `\u` without four hexadecimal digits.
    #[error("\\u must be followed by the four hexadecimal digits of a character")]
    BadEscape,
    /// The value cannot be read.
    #[error("{key}={} is not {expected}", shown(.value))]
    BadValue {
        key: String,
        value: String,
        /// What a value must be, with its unit and range.
        expected: String,
    },
    /// Apache has it, ringmq has not yet, and to ignore it would promise what is not kept.
    #[error("{key}={} is not supported by this version of ringmq: {advice}", shown(.value))]
    NotSupported {
        key: String,
        value: String,
        /// What to do instead.
        advice: &'static str,
    },
    /// A change online of what is decided at the start.
    #[error("{key} cannot change while the node runs; set it in the file and start the node again")]
    Fixed { key: String },
    /// A change online of what ringmq does not go by.
    #[error("{key} is a key of Apache's that does nothing here; nothing was changed")]
    DoesNothing { key: String },
    /// A change online without one.
    #[error("no setting is named; send lines of KEY=VALUE")]
    Nothing,
    /// Two settings, or a setting and the machine, cannot both hold.
    #[error("{0}")]
    Contradiction(String),
}

fn suggestion(nearest: Option<&str>) -> String {
    match nearest {
        Some(nearest) => format!("; did you mean {nearest}?"),
        None => "; leave it out, or see conf/ for the keys there are".to_owned(),
    }
}

/// A key of Apache's that was accepted and does nothing here; the caller logs it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct NotNeeded {
    /// Where it stands.
    pub line: usize,
    pub key: String,
    /// What it would set, if ringmq does not have that yet.
    pub missing: Option<&'static str>,
}
