//! The mailboxes between shards and the control plane: bounded, one pair a shard. What goes through them is [`crate::letter`].

use tokio::sync::mpsc;

use crate::letter::{ToControl, ToShard};
use crate::limits::{CONTROL_MAILBOX_MAX, SHARD_MAILBOX_MAX};

/// The shards' end of the mailbox that leads to the control plane; all shards share one.
pub type ControlSender = mpsc::Sender<ToControl>;
/// The control plane's end of it.
pub type ControlReceiver = mpsc::Receiver<ToControl>;
/// The control plane's end of the mailbox that leads to one shard.
pub type ShardSender = mpsc::Sender<ToShard>;
/// The shard's end of it.
pub type ShardReceiver = mpsc::Receiver<ToShard>;

/// The mailbox from all shards to the control plane.
#[must_use]
pub fn control_mailbox() -> (ControlSender, ControlReceiver) {
    mpsc::channel(CONTROL_MAILBOX_MAX)
}

/// The mailbox from the control plane to one shard.
#[must_use]
pub fn shard_mailbox() -> (ShardSender, ShardReceiver) {
    mpsc::channel(SHARD_MAILBOX_MAX)
}
