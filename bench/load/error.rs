//! What can go wrong, one sentence each.

use std::io;
use std::net::SocketAddr;

use crate::load::record::BadRecord;
use crate::load::scan::WireError;

/// Why a run did not start, or did not end as planned.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// Nothing answers there.
    #[error("cannot connect to {target}: {source}")]
    Connect {
        /// The broker.
        target: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// A request of the preparation failed.
    #[error("{target} does not answer the {request} request: {source}")]
    Prepare {
        /// The broker.
        target: SocketAddr,
        /// Which request.
        request: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
    /// A request of the preparation was refused.
    #[error("{target} refuses the {request} request with code {code}: {remark}")]
    Refused {
        /// The broker.
        target: SocketAddr,
        /// Which request.
        request: &'static str,
        /// Response code.
        code: i32,
        /// What the broker says.
        remark: String,
    },
    /// The reply to a request of the preparation lacks a field.
    #[error("{target} answers the {request} request without {field}")]
    FieldMissing {
        /// The broker.
        target: SocketAddr,
        /// Which request.
        request: &'static str,
        /// Which field.
        field: &'static str,
    },
    /// The broker closed a connection.
    #[error("{target} closed a connection in mid-run")]
    Closed {
        /// The broker.
        target: SocketAddr,
    },
    /// A connection broke.
    #[error("a connection to {target} broke in mid-run: {source}")]
    Broken {
        /// The broker.
        target: SocketAddr,
        /// What the kernel says.
        source: io::Error,
    },
    /// The broker sent what is no frame.
    #[error("{target} sends {source}")]
    Wire {
        /// The broker.
        target: SocketAddr,
        /// What is wrong with it.
        source: WireError,
    },
    /// The broker sent what is no record.
    #[error("{target}: {source}")]
    Record {
        /// The broker.
        target: SocketAddr,
        /// What is wrong with it.
        source: BadRecord,
    },
    /// The kernel refuses epoll, a timer or an affinity.
    #[error("cannot {action}: {source}")]
    System {
        /// What was tried.
        action: &'static str,
        /// What the kernel says.
        source: io::Error,
    },
}
