//! Topic to brokers and queues: registration, data versions, expiry.
//!
//! [`table::RouteTable`] is the state of one name server: who registered, and which queues of which topic they have. It decides
//! nothing about codes or JSON (`namesrv` does) and has no clock.

pub mod table;

pub use table::Peer;
pub(crate) use table::{BrokerReplicas, Registration, RouteTable, TopicQueues};
