//! The door: every event that the shell brings, every wish that it asks for. The contract stands in [`super`].

use std::net::SocketAddr;

use bytes::Bytes;

use super::ack::Ticket;

use super::persist::{AppendEnd, Table};
use super::statistics::Statistics;
use super::{Broker, Effect, OFFSETS_WRITE_MS, Output, topic};
use crate::letter::ToShard;
use crate::limits::EFFECTS_MAX;
use crate::log::{BlockId, Commit, DiskUsage, Io, IoError, IoId, Log};
use crate::metrics::{Counters, Stage, StageLatency};
use crate::model::{ConnectionId, MonoNs, Now};
use crate::protocol::frame::{CloseReason, RawFrame};
use crate::protocol::header::Header;

/// Events: what has happened.
impl Broker {
    /// The life of this shard begins: topics and groups that RocketMQ has from the start are there, and the control plane is told of all topics.
    pub fn handle_start(&mut self, now: Now, out: &mut Output) {
        self.started = now;
        self.acks.begin_tickets(now.mono);
        self.settings_changes.begin_tickets(now.mono);
        self.config_version.timestamp = now.unix;
        self.statistics = Statistics::new(now.mono);
        for config in topic::initial_topics(&self.settings) {
            if self.topics.get(config.name.as_str()).is_none() {
                let _ = self.topics.put(now.unix, config);
                self.persistence.change(Table::Topics);
            }
        }
        if self.groups.add_initial() {
            self.persistence.change(Table::Groups);
        }
        self.lower_offsets();
        self.start_delays();
        self.start_transactions(now);
        self.start_pops();
        self.tell_life(out);
        if !self.is_slave() {
            // The table may not have been written when the last process was killed, or be lost; or the last master did not live to tell.
            self.adopt_missing_topics(now);
        }
        self.tell_all_topics(now, out);
        self.write_changes(out);
    }

    /// A client's connection was accepted.
    pub fn handle_connected(&mut self, _now: Now, connection: ConnectionId, peer: SocketAddr) {
        self.clients.connect(connection, peer);
    }

    /// A client's connection is gone: its holds and memberships go with it, and calls to it have failed.
    pub(crate) fn handle_disconnected(&mut self, _now: Now, connection: ConnectionId, out: &mut Output) {
        self.holds.drop_connection(connection);
        self.pops.drop_connection(connection);
        self.parked.drop_connection(connection);
        out.outbox.forget(connection);
        for group in self.clients.disconnect(connection) {
            self.notify_group(&group, out);
        }
        self.end_calls_of(connection, out);
    }

    /// A whole frame has come. What follows for others (holds that wake, replies whose promise is met) waits for the turn's end.
    ///
    /// # Errors
    /// [`CloseReason`]: the connection is to be closed.
    pub fn handle_frame(
        &mut self,
        now: Now,
        connection: ConnectionId,
        frame: &RawFrame<'_>,
        out: &mut Output,
    ) -> Result<(), CloseReason> {
        if self.answer_like(now, connection, frame, out) {
            return Ok(());
        }
        let header = Header::decode(frame.encoding, frame.header).map_err(|_| CloseReason::BadHeader)?;
        if header.is_response() {
            self.take_answer(connection, &header, frame.body, out);
            return Ok(());
        }
        self.answer_request(now, connection, frame, &header, 0, out);
        Ok(())
    }

    /// All frames of a turn were handled.
    pub fn handle_turn_end(&mut self, now: Now, out: &mut Output) {
        self.progress(now, out);
    }

    /// A [`Broker::poll_commit`] or [`Broker::poll_background`] was carried out, or has failed.
    pub fn handle_io(&mut self, now: Now, id: IoId, result: Result<(), IoError>, out: &mut Output) {
        self.log.handle_io(id, result);
        self.progress(now, out);
    }

    /// A block that an [`Effect::Fetch`] or [`Effect::Prefetch`] asked for: what waited for it runs again.
    pub(crate) fn handle_block(&mut self, now: Now, block: BlockId, data: Result<Bytes, IoError>, out: &mut Output) {
        let was_mending = self.log.is_mending();
        self.log.supply(block, data);
        self.unblock_replicas(block);
        self.delays.jobs.block_has_come(block);
        self.delays.timers.block_has_come(block);
        self.transactions.block_has_come(block);
        self.pops.block_has_come(block);
        for parked in self.parked.take(block) {
            let Ok(header) = Header::decode(parked.encoding, &parked.header) else { continue };
            let frame = parked.frame();
            self.answer_request(now, parked.connection, &frame, &header, parked.rounds, out);
        }
        if was_mending {
            self.mend(now, out);
        }
        if self.is_slave() {
            // It may have been what a comparison with the master waited for.
            self.progress(now, out);
        }
        self.ask_ahead(out);
    }

    /// The append that an [`Effect::Append`] asked for has ended.
    pub fn handle_appended(&mut self, now: Now, result: Result<(), IoError>, out: &mut Output) {
        if let Err(error) = &result {
            tracing::warn!(%error, "changes of topics, groups or positions were not written; it is tried again");
        }
        let appended = self.persistence.end_append(result.is_ok());
        self.settle_changes(appended);
        self.note_lowered(result.is_ok());
        if appended == AppendEnd::Flushed {
            for (table, generation) in self.persistence.take_written() {
                self.acks.persisted(table, generation);
                if table == Table::DelayOffsets {
                    self.delays.written();
                }
            }
            self.release_acks(now.mono, &mut out.outbox);
        }
        self.write_changes(out);
    }

    /// The control plane says something.
    pub fn handle_control(&mut self, now: Now, letter: ToShard, out: &mut Output) {
        match letter {
            ToShard::Registered { ticket } => {
                self.acks.registered(Ticket(ticket));
                self.release_acks(now.mono, &mut out.outbox);
            }
            ToShard::EnsureTopic { ticket, config } => self.ensure_topic_of_sibling(now, ticket, config, out),
            ToShard::MasterFound { ha_address, .. } => self.master_found(now, ha_address, out),
            ToShard::MasterTables(told) => self.take_master_tables(now, *told, out),
            ToShard::GivenBack { commits } => self.offsets.given_back(&commits),
            ToShard::TakeOffsets(kept) => self.take_offsets(now, *kept, out),
            ToShard::ReplicasFound { broker_ids } => self.replica.ask(broker_ids),
            ToShard::Settings { ticket, generation, config } => {
                self.take_settings(now, ticket, generation, &config, out);
            }
            ToShard::PushReply { from, message } => self.push_of_sibling(now, from, &message, out),
            ToShard::ReplyPassed { ticket, asked, outcome } => self.reply_passed(ticket, asked, outcome, out),
            ToShard::RouteTold { topic, route } => self.route_told(now, &topic, route, out),
            ToShard::SettingsAnswer { ticket, result } => self.settings_answered(ticket, result, out),
            ToShard::Role { role, broker_id, epoch } => self.take_role(now, (role, broker_id, epoch), out),
            ToShard::Stop => {}
        }
    }

    /// [`crate::limits::TICK_MS`] have passed, and this is how full the store's disk is.
    pub(crate) fn handle_tick(&mut self, now: Now, disk: DiskUsage, out: &mut Output) {
        self.disk = disk;
        self.log.tick(now, disk);
        self.rates.sample(now.mono.0 / 1_000_000, self.counters);
        self.mornings.tick(now.unix, &self.counters);
        self.stages.tick(now.mono);
        self.locks.expire(now.mono);
        for group in self.clients.expire(now.mono) {
            self.notify_group(&group, out);
        }
        self.go_on_with_notices(out);
        if now.mono.ms_since(self.last_offsets_write) >= OFFSETS_WRITE_MS {
            self.last_offsets_write = now.mono;
            self.adopt_topics(now, out);
            self.persistence.retry_failed();
            self.hold_undelivered();
            if self.offsets.take_dirty() {
                self.persistence.change(Table::ConsumerOffsets);
            }
        }
        self.note_delay_offsets(now);
        self.commit_transaction_places();
        self.commit_pop_place();
        self.write_changes(out);
        self.tick_replica(now, out);
        self.knows_slaves |= self.is_followed();
        self.handle_deadline(now, out);
    }

    /// The time that [`Broker::poll_timeout`] named has come.
    pub(crate) fn handle_deadline(&mut self, now: Now, out: &mut Output) {
        self.expire_gates(now.mono, &mut out.outbox);
        self.release_acks(now.mono, &mut out.outbox);
        self.expire_acks(now.mono, &mut out.outbox);
        self.expire_holds(now.mono, out);
        self.expire_pops(now, now.mono, out);
        self.expire_settings(now.mono, out);
        self.expire_calls(now, out);
        self.expire_replies(now, out);
        self.tell_whole_tables(out);
        self.run_delays(now, out);
        self.run_timers(now, out);
        self.run_transactions(now, out);
        self.run_pops(now, out);
        self.progress(now, out);
    }

    /// The shard is to stop in order: nothing comes in any more, and [`Log::is_settled`] will say when all of the log is on the disk.
    pub(crate) fn handle_stop(&mut self, _now: Now) {
        self.is_stopping = true;
        self.commit_transaction_places();
        self.commit_pop_place_at_stop();
        self.log.begin_stop();
    }

    /// What follows from any event: replies whose promise is met leave, holds of queues that have grown run.
    pub(super) fn progress(&mut self, now: Now, out: &mut Output) {
        self.stages.end_turn(now.mono);
        self.statistics.settle(now.mono);
        self.promise_transactions(now);
        self.promise_pops(now);
        self.progress_replica(now, out);
        self.stages.note_progress(now.mono, self.log.flushed(), self.replicated());
        self.release_acks(now.mono, &mut out.outbox);
        self.promise_delays(now, out);
        self.wake_readers(now.mono, out);
        self.wake_pops(now, out);
        self.ask_ahead(out);
    }

    /// Asks for the blocks that the log's readers will need next.
    pub(super) fn ask_ahead(&mut self, out: &mut Output) {
        out.effects.extend(self.log.prefetch().into_iter().map(Effect::Prefetch));
    }
}

/// Wishes: what is to be done next.
impl Broker {
    /// Whether clients' frames are to be read. False while the log's tail, the waiting replies or the effects are nearly full, the next segment
    /// is still being made, or offsets that were brought down to the log's end are not on the disk: reading resumes with progress. Stock clients
    /// ask again at once when they are told to be busy, and give up at the third time.
    #[must_use]
    pub(crate) fn poll_input(&self, out: &Output) -> bool {
        let is_held = self.acks.is_full() || self.log.is_tail_nearly_full() || self.log.awaits_segment();
        let is_ready = out.effects.len() < EFFECTS_MAX && self.lowered_offsets.is_none_or(|lowered| lowered.has_failed);
        is_ready && (self.log.failure().is_some() || !is_held)
    }

    /// The next write of the log, if there is one; [`Broker::fill_commit`] has its bytes, [`Broker::handle_io`] wants to know how it went. One at a
    /// time.
    pub fn poll_commit(&mut self) -> Option<Commit> {
        self.log.poll_commit()
    }

    /// The next piece of work beside the log, if there is any; then [`Broker::handle_io`]. One at a time.
    pub fn poll_background(&mut self, now: Now) -> Option<Io> {
        self.log.poll_background(now)
    }

    /// When [`Broker::handle_deadline`] is to be called at the latest.
    #[must_use]
    pub(crate) fn poll_timeout(&self) -> Option<MonoNs> {
        let acks = self.next_ack_deadline().into_iter();
        let holds = self.holds.next_deadline();
        let turns = (self.holds.has_turns() || self.whole_tables.is_waiting()).then_some(MonoNs(0));
        let calls = self.calls.next_deadline().into_iter().chain(self.passed_replies.next_deadline());
        let puts = self.next_delay_time().into_iter().chain(self.next_timer_time()).chain(self.next_transaction_time());
        let pops = self.pops.next_hold_time().into_iter().chain(self.next_pop_time());
        acks.chain(holds).chain(pops).chain(turns).chain(calls).chain(puts).min()
    }
}

/// Bytes and looks: nothing changes by them.
impl Broker {
    /// Fills `block` with the bytes of `commit`, and zeros beyond the log's end.
    pub(crate) fn fill_commit(&self, commit: &Commit, block: &mut [u8]) {
        self.log.copy_tail(commit.from, block);
    }

    /// Where the log begins and ends, and whether it has failed.
    #[must_use]
    pub(crate) fn view_log(&self) -> &Log {
        &self.log
    }

    /// How many answers wait for something.
    #[must_use]
    pub(crate) fn view_waiting(&self) -> usize {
        self.acks.len()
    }

    /// The log as a reader has it, for the simulator's oracles: they look at what consumers would see, and bring the blocks that they need themselves.
    pub(crate) fn view_reader(&mut self) -> &mut Log {
        &mut self.log
    }

    /// Counters since the start.
    #[must_use]
    pub(crate) fn view_counters(&self) -> Counters {
        self.counters
    }

    /// How long messages took from one stage to the next, in the order of [`Stage::ALL`].
    #[must_use]
    pub(crate) fn view_stages(&self) -> [StageLatency; Stage::COUNT] {
        self.stages.latencies()
    }

    /// A table as its file has it.
    #[must_use]
    pub(crate) fn view_table(&self, table: Table) -> Bytes {
        match table {
            Table::Topics => self.topic_table().encode().into(),
            Table::Groups => self.groups.table().encode().into(),
            Table::ConsumerOffsets => self.offsets.table().encode().into(),
            Table::DelayOffsets => self.delays.form().encode().into(),
        }
    }

    /// All tables as bytes, for an orderly stop: the shell writes them last of all.
    #[must_use]
    pub(crate) fn view_tables(&self) -> [(Table, Bytes); Table::COUNT] {
        Table::ALL.map(|table| (table, self.view_table(table)))
    }
}
