//! What can go wrong, one sentence each.

use std::io;
use std::net::SocketAddr;

use crate::load::record::BadRecord;
use crate::load::scan::WireError;

/// Why a run did not start, or did not end as planned.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum LoadError {
    #[error("cannot connect to {target}: {source}")]
    Connect {
        target: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// A request of the preparation failed.
    #[error("{target} does not answer the {request} request: {source}")]
    Prepare {
        target: SocketAddr,
        request: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// A request of the preparation was refused.
    #[error("{target} refuses the {request} request with code {code}: {remark}")]
    Refused {
        target: SocketAddr,
        request: &'static str,
        code: i32,
        /// What the broker says.
        remark: String,
    },
    /// The reply to a request of the preparation lacks a field.
    #[error("{target} answers the {request} request without {field}")]
    FieldMissing { target: SocketAddr, request: &'static str, field: &'static str },
    /// The broker closed a connection.
    #[error("{target} closed a connection in mid-run")]
    Closed { target: SocketAddr },
    #[error("a connection to {target} broke in mid-run: {source}")]
    Broken {
        target: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// The broker sent what is no frame.
    #[error("{target} sends {source}")]
    Wire {
        target: SocketAddr,
        /// What is wrong with it.
        source: WireError,
    },
    /// The broker sent what is no record.
    #[error("{target}: {source}")]
    Record {
        target: SocketAddr,
        /// What is wrong with it.
        source: BadRecord,
    },
    /// The kernel refuses epoll, a timer or an affinity.
    #[error("cannot {action}: {source}")]
    System {
        action: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
}
