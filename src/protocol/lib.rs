//! Frames to typed commands of RocketMQ remoting, and typed replies to frames.
//!
//! On the data path this folder stands between `net` and `broker`: [`frame::split`] finds a whole frame in what a socket gave,
//! [`header::Header::decode`] reads its header without a tree, [`request`] turns header and body into one typed request, and
//! [`reply`] writes the answer. Whatever arrives here is untrusted: every decoder takes any bytes and gives a value or a typed
//! error, and allocates nothing before a length is compared with its bound in [`crate::limits`].
//!
//! There is no state here, neither of a shard nor of a connection.
#![cfg_attr(not(test), warn(clippy::indexing_slicing, clippy::arithmetic_side_effects))]

pub mod limits;
pub mod model;

pub mod code;
pub mod exchange;
pub mod frame;
pub mod header;
pub mod reply;

pub mod json;
pub mod message;

pub mod body;
pub mod request;

pub mod ha;
pub mod record;

pub mod placement;

pub mod cursor;

#[cfg(test)]
mod golden;
