//! From one life of a shard to the next, without a restart: a change of role, or a log that is cut where it leaves its master's.
//!
//! A log in use changes neither its end nor its master: the broker has answered reads from it, writes of it are under way, and its queues have
//! grown. So all that is under way comes to its end, the connections are closed, and recovery opens the log anew, as after a crash. Clients come
//! back in a moment. What [`crate::broker::life`] calls a life begins with a broker of its own.

use std::rc::Rc;

use super::aside;
use super::open;
use super::pump::Shard;
use super::start::{ShardSettings, StartError};
use super::stop::{close_connections, settle, wait};
use super::tables::{FoundTables, write_tables};
use crate::broker::life::Life;
use crate::broker::{Broker, Tables};
use crate::letter::StopReason;
use crate::limits::{STOP_CLOSE_MS, STOP_SETTLE_MS, TAIL_BYTES_MIN};
use crate::log::{HeapTail, Log};
use crate::model::{LogOffset, Role};
use crate::net::{ListenError, ReplicaListener};

/// The port that a life needs beside that for clients: only a master has slaves.
///
/// # Errors
/// [`ListenError`] if it is taken.
pub(super) async fn listen_for_replicas(
    settings: &ShardSettings,
    life: &Life,
) -> Result<Option<ReplicaListener>, ListenError> {
    if !life.role.is_master() {
        return Ok(None);
    }
    ReplicaListener::bind(settings.bind_ip, settings.ha_port).await.map(Some)
}

/// Ends the life that is, and begins `life`.
///
/// # Errors
/// [`StartError`] if the old one does not become quiet, or the new one cannot begin: the shard must stop.
pub(super) async fn begin(
    shard: &Rc<Shard>,
    settings: &ShardSettings,
    port: u16,
    life: Life,
) -> Result<(), StartError> {
    shard.refuse_input();
    let before = shard.look(|broker| broker.view_replicas().role);
    let is_cut = life.end_max.is_some();
    if !is_cut {
        end(shard).await?;
    }
    shard.refuse_all();
    wait(shard, STOP_SETTLE_MS, || shard.is_quiet()).await;
    if !shard.is_quiet() {
        return Err(StartError::Busy { shard: shard.id });
    }
    let tables = write_tables(shard).await;
    close_connections(shard).await;
    shard.close_replica_port();
    let replicas = listen_for_replicas(settings, &life).await?;
    // The old log gives its tail back before the new one takes it. What stands in for it has no file and is asked for nothing.
    let nothing = Log::create(settings.broker.log, Box::new(HeapTail::new(TAIL_BYTES_MIN)));
    shard.end_life(Broker::new(life, settings.broker.clone(), nothing, Tables::default()));
    if let Some(at) = life.end_max {
        aside::keep(settings, &shard.disk, &shard.runtime, at).await?;
    }
    let found = FoundTables::Told(&tables);
    let opened = open::open_broker(settings, port, &shard.disk, &shard.runtime, life, found).await?;
    let end = Log::appended(opened.broker.view_log());
    shard.begin_life(opened.broker, replicas);
    say(shard, before, &life, end);
    Ok(())
}

/// What the shard is now: one line.
fn say(shard: &Rc<Shard>, was: Role, life: &Life, end: LogOffset) {
    let (shard, role, broker_id) = (shard.id, life.role, life.known_as());
    let epoch = life.epoch.map(|epoch| epoch.0);
    match (was.is_master(), role.is_master(), life.end_max) {
        (false, true, _) => {
            tracing::info!(%shard, %was, %role, %broker_id, epoch, %end, "promoted: this shard is a master now");
        }
        (true, false, _) => {
            tracing::info!(%shard, %was, %role, %broker_id, epoch, %end, "demoted: this shard is a slave now");
        }
        (_, _, Some(at)) => tracing::info!(%shard, %role, %at, "the log is opened anew and cut"),
        _ => tracing::info!(%shard, %was, %role, %broker_id, epoch, %end, "another life of the shard has begun"),
    }
}

/// Brings the old life to its end: all of its log is written and flushed, and whoever waits is answered.
async fn end(shard: &Rc<Shard>) -> Result<(), StartError> {
    if let StopReason::Failed(reason) = settle(shard).await {
        return Err(StartError::Failed { shard: shard.id, reason });
    }
    // The slaves of a master are there still: what is on its way to them is acknowledged in a moment, or never.
    wait(shard, STOP_CLOSE_MS, || shard.look(Broker::view_waiting) == 0).await;
    shard.act("end", |broker, now, out| broker.handle_end(now, out));
    Ok(())
}
