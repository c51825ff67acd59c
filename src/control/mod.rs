//! The control plane thread: signals, the name server's sockets, registration with name servers.
//!
//! | file | what it is |
//! |---|---|
//! | [`mailbox`] | how letters go between shards and control plane |
//! | [`announce`] | pure: when a change of topics is known, and who must follow it |
//! | [`registrar`] | a connection a shard and name server |
//! | [`follow`] | a slave's link to its master: topics, groups, offsets |
//! | [`restore`] | what a master that starts asks its replicas |
//! | [`wire`] | a connection to somebody who speaks the protocol |
//! | [`route`] | what name servers say of topics that consumers ask about |
//! | [`server`] | the sockets of the name server and of the controller |
//! | [`controller`] | the controller's thread, files and links to other controllers |
//! | [`configuration`] | the node's settings, and what changes of them online |
//! | [`plane`] | the thread's loop, from start to exit |
//! | [`address`] | which of this machine's addresses clients are told |
//!
//! tokio, one thread, no task crosses it. The data plane never waits for it: mailboxes are bounded, and a shard's reply that
//! needs the name servers has a deadline.

pub mod address;
pub(crate) mod announce;
pub mod clock;
pub mod configuration;
pub mod controller;
mod follow;
pub mod mailbox;
pub mod plane;
pub mod registrar;
mod restore;
mod route;
pub mod server;
mod wire;
