//! Masters and slaves: what is sent, what is acknowledged, who is in sync. Machines without clock or socket.
//!
//! State of the shard. A [`Master`] knows of each slave how far it was sent to and how far it has acknowledged; the bytes themselves
//! stay in the log, so a slow slave costs a few numbers. A [`Slave`] follows one master: it connects, takes transfers in order, hands whole
//! records to its log and acknowledges what its own flush setting promises. Both are plain values: they are given bytes, the log and the
//! epochs, and do what follows. `broker/replica.rs` joins them to the replies that wait; `shard/links.rs` carries the bytes.
//!
//! ```text
//! append ─▶ Log::stream ─▶ Master ══transfer══▶ Slave ─▶ Log::append_replicated ─▶ its own commit
//!                            ▲                    │
//!   replies, confirm ◀── acknowledged ◀══report═══┘  promised
//! ```
//!
//! Two streams are spoken on the same port. The classic one is RocketMQ's, for Java peers. Between ringmq nodes the stream carries epochs:
//! each start of a master begins one, and a slave whose log has left its master's is found by them ([`EpochTable::consistent_point`]). On it each of the
//! two asks the other for what is damaged in its own log (`mend`).

mod confirm;
mod epoch;
mod epoch_file;
mod in_sync;
mod master;
mod mend;
mod quiet;
mod rate;
mod settings;
mod slave;
mod status;

pub(crate) use epoch::{EpochTable, FreshIds};
pub(crate) use epoch_file::EpochFile;
pub(crate) use master::{HaRefused, Master};
pub(crate) use quiet::Quiet;
pub(crate) use settings::ReplicaSettings;
pub use slave::Slave;
pub(crate) use slave::{Left, SlaveError, Surplus};
pub(crate) use status::{MasterStatus, RefusedSlave, ReplicaStatus, SlaveStatus};
