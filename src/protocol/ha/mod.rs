//! The two replication streams on the wire.
pub mod classic;
pub mod epoch;
use thiserror::Error;
/// Bytes that are no message of a replication stream.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum HaError {
    /// A field has a value that it cannot have.
    #[error("a {what} of {value}")]
    BadField {
        /// Which.
        what: &'static str,
        /// What it holds.
        value: i64,
    },
}
