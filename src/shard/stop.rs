//! The orderly end of a shard.
//!
//! In order: no new connection and no further frame; what was appended is written, flushed and answered; the log makes a checkpoint, so
//! that the next start has nothing to replay; the tables are written; the connections are closed. Each step has its time, all of them
//! together less than five seconds: what is not done by then is what recovery does after a `kill -9`. When all of the log is flushed, its tail goes.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::pump::Shard;
use super::start::ShardSettings;
use super::tables::write_tables;
use crate::disk::{LastRun, TailKey, blocking};
use crate::letter::{StopReason, ToControl};
use crate::limits::{STOP_CLOSE_MS, STOP_SETTLE_MS};
use crate::log::Log;
use crate::model::LogOffset;

/// Stops the shard. Returns the reason, for the process's exit code.
pub(super) async fn stop(shard: &Rc<Shard>, settings: &ShardSettings, reason: StopReason) -> StopReason {
    shard.refuse_input();
    let reason = match reason {
        StopReason::Ordered => settle(shard).await,
        failed @ StopReason::Failed(_) => failed,
    };
    if let StopReason::Failed(sentence) = &reason {
        tracing::error!(shard = %shard.id, "the shard stops: {sentence}");
    }
    // What is under way writes of the tables as they were: it comes first, or the files of changes stay what they are.
    shard.refuse_all();
    wait(shard, STOP_CLOSE_MS, || shard.is_quiet()).await;
    // A life that could not begin has no tables: those of the one before it are in their files.
    if shard.has_life() && shard.is_quiet() {
        write_tables(shard).await;
    }
    close_connections(shard).await;
    if reason == StopReason::Ordered && shard.has_life() && shard.is_quiet() {
        finish_run(shard, settings).await;
    }
    shard.tell_control(ToControl::Stopped { shard: shard.id, why: reason.clone() });
    wait(shard, STOP_CLOSE_MS, || !shard.letters_left()).await;
    shard.disk.close().await;
    reason
}

/// Lets the tail go, if the segments have all of the log, flushed: nothing is appended any more.
async fn finish_run(shard: &Rc<Shard>, settings: &ShardSettings) {
    let (start, flushed, appended) = shard.look(|broker| {
        let log = broker.view_log();
        (log.start(), log.flushed(), Log::appended(log))
    });
    if flushed < appended {
        tracing::info!(shard = %shard.id, "the tail stays: not all of the log is flushed, and the next start takes the rest from there");
        return;
    }
    // An empty log may yet begin elsewhere.
    let end = if start < appended { appended } else { LogOffset(0) };
    let (folder, tails) = (settings.store.shard_folder(settings.shard), settings.tail_folder.clone());
    let (store, id, tail_bytes) = (Arc::clone(&settings.store), settings.shard, settings.tail_bytes);
    let finished = blocking::run(move || {
        let ended = LastRun::read(&folder)
            .and_then(|last| TailKey::new(&store, id, tail_bytes, last.run))
            .and_then(|key| LastRun::finish(&folder, &tails, &key, end));
        Ok(ended)
    });
    if let Err(error) =
        finished.await.map_err(|error| error.to_string()).and_then(|ended| ended.map_err(|error| error.to_string()))
    {
        tracing::warn!(shard = %shard.id, "the tail stays in {}: {error}", settings.tail_folder.display());
    }
}

/// Closes the connections, of clients and of replicas.
pub(super) async fn close_connections(shard: &Rc<Shard>) {
    if let Some(net) = shard.net() {
        net.close_all();
        shard.with_links(|links| links.close_all());
        wait(shard, STOP_CLOSE_MS, || net.count() == 0).await;
    }
}

/// Writes and flushes what was appended and makes a checkpoint.
pub(super) async fn settle(shard: &Rc<Shard>) -> StopReason {
    shard.act("stop", |broker, now, _| broker.handle_stop(now));
    wait(shard, STOP_SETTLE_MS, || {
        shard.look(|broker| broker.view_log().is_settled() || broker.view_log().failure().is_some())
    })
    .await;
    match shard.look(|broker| broker.view_log().failure().map(ToString::to_string)) {
        Some(failure) => StopReason::Failed(failure),
        None => {
            let flushed = shard.look(|broker| broker.view_log().flushed());
            let appended = shard.look(|broker| Log::appended(broker.view_log()));
            if flushed < appended {
                tracing::warn!(shard = %shard.id, %flushed, %appended, "the end of the log was not flushed in time");
            }
            StopReason::Ordered
        }
    }
}

/// Waits for a condition that other tasks bring about, for a bounded time.
pub(super) async fn wait(shard: &Rc<Shard>, bound_ms: u64, is_true: impl Fn() -> bool) {
    let deadline = shard.runtime.watch.now().mono.plus_ms(bound_ms);
    while !is_true() && shard.runtime.watch.now().mono < deadline {
        shard.commit_wanted.set();
        shard.background_wanted.set();
        glommio::timer::sleep(Duration::from_millis(2)).await;
    }
}
