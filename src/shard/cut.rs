//! Cuts the log of a slave where it leaves its master's.
//!
//! A log in use cannot be cut: the broker has answered reads from it, writes of it are under way, and its queues have grown. So all that is under
//! way comes to its end, the connections are closed, and recovery opens the log anew with its new end, as after a crash. Clients come back in
//! a moment.

use std::rc::Rc;

use super::open;
use super::pump::Shard;
use super::start::{ShardSettings, StartError};
use super::stop::{close_all, wait};
use crate::broker::{Broker, Tables};
use crate::limits::{STOP_SETTLE_MS, TAIL_BYTES_MIN};
use crate::log::{HeapTail, Log};
use crate::model::LogOffset;

/// Cuts the log at `at` and goes on.
///
/// # Errors
/// [`StartError`] if it does not become quiet or cannot be opened again: the shard must stop.
pub(super) async fn cut(
    shard: &Rc<Shard>,
    settings: &ShardSettings,
    port: u16,
    at: LogOffset,
) -> Result<(), StartError> {
    shard.refuse_all();
    wait(shard, STOP_SETTLE_MS, || shard.is_quiet()).await;
    if !shard.is_quiet() {
        return Err(StartError::Busy { shard: shard.id, at });
    }
    close_all(shard).await;
    // The old log gives its tail back before the new one takes it. What stands in for it has no file and is asked for nothing.
    let nothing = Log::create(settings.log, Box::new(HeapTail::new(TAIL_BYTES_MIN)));
    shard.replace_broker(Broker::new(settings.broker.clone(), nothing, Tables::default()), false);
    let opened = open::open_broker(settings, port, &shard.disk, &shard.runtime, Some(at)).await?;
    tracing::info!(shard = %shard.id, %at, "the log is opened anew and cut");
    shard.replace_broker(opened.broker, true);
    Ok(())
}
