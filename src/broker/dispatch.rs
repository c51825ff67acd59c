//! From a request to what handles it, and back to its answer.

use super::{Asked, Broker, Handled, Output, Refusal};
use crate::limits::{PARKED_ROUNDS_MAX, SEARCH_ROUNDS_MAX};
use crate::model::{ConnectionId, Now};
use crate::protocol::code::{Cost, Endpoint, RequestCode, ResponseCode};
use crate::protocol::frame::RawFrame;
use crate::protocol::header::Header;
use crate::protocol::reply::{ExtValue, Reply, encode_reply};
use crate::protocol::request::{BadRequest, Request, TemplateSend};
use crate::said::say_change;

impl Broker {
    /// A request of a client, or one that was parked and comes again.
    pub(super) fn answer_request(
        &mut self,
        now: Now,
        connection: ConnectionId,
        frame: &RawFrame<'_>,
        header: &Header<'_>,
        rounds: u32,
        out: &mut Output,
    ) {
        let asked = Asked {
            now,
            connection,
            encoding: frame.encoding,
            opaque: header.opaque,
            is_oneway: header.is_oneway(),
            language: header.language,
            version: header.version,
            rounds,
        };
        let result = self.dispatch(&asked, header, frame, out);
        self.conclude(&asked, frame, result, out);
    }

    /// A send whose header is like one that is known, and so needs not be read in full. Returns whether it is one.
    pub(super) fn answer_like(
        &mut self,
        now: Now,
        connection: ConnectionId,
        frame: &RawFrame<'_>,
        out: &mut Output,
    ) -> bool {
        // Taken, since what the request says lies in them.
        let mut templates = std::mem::take(&mut self.templates);
        let like = templates.read(frame);
        let is_like = like.is_some();
        if let Some(send) = like {
            debug_assert!(says_the_same(frame, &send), "a template's send is not what its header says");
            self.counters.templated_count += 1;
            let asked = Asked {
                now,
                connection,
                encoding: frame.encoding,
                opaque: send.opaque,
                is_oneway: send.is_oneway,
                language: send.language,
                version: send.version,
                rounds: 0,
            };
            let result =
                self.admit(send.code, &send.request, out).and_then(|()| self.perform(&asked, &send.request, out));
            self.conclude(&asked, frame, result, out);
        }
        self.templates = templates;
        is_like
    }

    /// Parks what waits for a block, and answers what was refused.
    fn conclude(&mut self, asked: &Asked, frame: &RawFrame<'_>, result: Result<Handled, Refusal>, out: &mut Output) {
        let result = match result {
            Ok(Handled::Cold(block)) => self.park(asked, frame, block, PARKED_ROUNDS_MAX, out),
            Ok(Handled::Searching(block)) => self.park(asked, frame, block, SEARCH_ROUNDS_MAX, out),
            Ok(Handled::Done) => Ok(()),
            Err(refusal) => Err(refusal),
        };
        if let Err(refusal) = result {
            self.refuse(asked, &refusal, out);
        }
    }

    pub(super) fn refuse(&self, asked: &Asked, refusal: &Refusal, out: &mut Output) {
        let ext = refusal.forbidden_type.map(|kind| [("forbiddenType", ExtValue::I64(i64::from(kind)))]);
        let ext = ext.as_ref().map_or(&[][..], |fields| &fields[..]);
        let reply = Reply { code: refusal.code, remark: Some(&refusal.remark), ext, body: &[] };
        self.reply(asked, &reply, out);
    }

    pub(super) fn reply(&self, asked: &Asked, reply: &Reply<'_>, out: &mut Output) {
        if !asked.is_oneway {
            encode_reply(asked.encoding, asked.opaque, reply, out.outbox.buffer(asked.connection));
        }
    }

    fn dispatch(
        &mut self,
        asked: &Asked,
        header: &Header<'_>,
        frame: &RawFrame<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let code = RequestCode::try_from(header.code).map_err(BadRequest::from)?;
        // Borrowed where it was decoded: a request is some 200 bytes, and a send is not to copy them from step to step.
        match &Request::decode(code, header, frame.body) {
            Ok(request) => {
                self.admit(code, request, out)?;
                if let Request::Send(send) = request {
                    self.counters.untemplated_count += 1;
                    self.templates.learn(frame, header, send);
                }
                let handled = self.perform(asked, request, out)?;
                if matches!(handled, Handled::Done) && request.sets(code) {
                    say_change(self.settings.name.as_str(), code, self.peer(asked.connection).ip(), header, frame.body);
                }
                Ok(handled)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a request may have an effect: the one place that each passes, read and before anything has changed. What asks this of all
    /// requests alike belongs here and reads the code's row of the table: access control (its needs), quotas (its cost), statistics by code,
    /// tracing. What waits for a block of the log comes again, with [`Asked::rounds`].
    fn admit(&self, code: RequestCode, request: &Request<'_>, out: &Output) -> Result<(), Refusal> {
        let row = code.row();
        if row.cost != Cost::Cheap && out.outbox.is_full() {
            return Err(readers_behind());
        }
        match row.endpoint {
            Endpoint::Broker(on_slave) => {
                self.check_role(code, on_slave)?;
                if request.sets(code) { self.check_changes() } else { Ok(()) }
            }
            // A request to somebody else has no type, and was not decoded.
            Endpoint::NameServer | Endpoint::Client | Endpoint::Controller => Ok(()),
        }
    }

    #[expect(clippy::too_many_lines, reason = "a line for each request")]
    fn perform(&mut self, asked: &Asked, request: &Request<'_>, out: &mut Output) -> Result<Handled, Refusal> {
        match request {
            Request::Send(request) => self.send(asked, request, out),
            Request::SendReply(request) => self.send_reply(asked, request, out),
            Request::Pull(request) => self.pull(asked, request, out),
            Request::QueryMessage(request) => self.query_message(asked, request, out),
            Request::QueryOffset(request) => self.query_offset(asked, request, out),
            Request::CommitOffset(request) => self.update_offset(asked, request, out),
            Request::UpdateTopic(request) => self.update_topic(asked, request, out),
            Request::UpdateTopics(list) => self.update_topics(asked, list, out),
            Request::AllTopics => self.all_topics(asked, out),
            Request::ChangeSettings(text) => self.change_settings(asked, text, out),
            Request::BrokerConfig => self.broker_config(asked, out),
            Request::RuntimeInfo => self.runtime_info(asked, out),
            Request::SearchOffset(request) => self.search_offset(asked, request, out),
            Request::MaxOffset(request) => self.max_offset(asked, request, out),
            Request::MinOffset(request) => self.min_offset(asked, request, out),
            Request::EarliestTime(request) => self.earliest_time(asked, request, out),
            Request::ViewMessage(request) => self.message_at(asked, request.log_offset, out),
            Request::HeartBeat(beat) => self.heartbeat(asked, beat, out),
            Request::UnregisterClient(request) => self.unregister(asked, request, out),
            Request::SendBack(request) => self.send_back(asked, request, out),
            Request::EndTransaction(request) => self.end_transaction(asked, request, out),
            Request::Recall(request) => self.recall_message(asked, request, out),
            Request::ConsumerList(request) => self.consumer_list(asked, request.group, out),
            Request::LockQueues(request) => self.lock_queues(asked, request, out),
            Request::UnlockQueues(request) => self.unlock_queues(asked, request, out),
            Request::CheckClient(config) => self.check_subscription(asked, config, out),
            Request::AllOffsets(request) => self.all_offsets(asked, *request, out),
            Request::AllDelayOffsets => self.all_delay_offsets(asked, out),
            Request::UpdateGroups(configs) => self.update_groups(asked, configs, out),
            Request::AllGroups => self.all_groups(asked, out),
            Request::TopicStats(request) => self.topic_stats(asked, request.topic, out),
            Request::ConsumerConnections(request) => self.consumer_connections(asked, request.group, out),
            Request::ProducerConnections(request) => self.producer_connections(asked, request.group, out),
            Request::DeleteGroup(request) => self.delete_group(asked, request, out),
            Request::ConsumeStats(request) => self.consume_stats(asked, request, out),
            Request::DeleteTopic(request) => self.delete_topic(asked, request.topic, out),
            Request::ResetOffsets(request) => self.reset_offsets(asked, request, out),
            Request::ConsumerStatus(request) => self.consumer_status(asked, request, out),
            Request::GroupsOfTopic(request) => self.groups_of_topic(asked, request.topic, out),
            Request::SystemTopics => self.system_topics(asked, out),
            Request::RunningInfo(request) => self.running_info(asked, request, out),
            Request::ConsumeDirectly(request) => self.consume_directly(asked, request, out),
            Request::BrokerStats(request) => self.statistic(asked, request, out),
            Request::TimeSpans(request) => self.time_spans(asked, *request, out),
            Request::CleanQueues => self.clean_queues(asked, out),
            Request::Corrections(request) => self.corrections(asked, request, out),
            Request::CloneOffsets(request) => self.clone_offsets(asked, *request, out),
            Request::CleanTopics => self.clean_topics(asked, out),
            Request::AllConsumeStats(request) => self.all_consume_stats(asked, *request, out),
            Request::QueueEntries(request) => self.queue_entries(asked, *request, out),
            Request::DeleteExpired => self.delete_expired(asked, out),
            Request::TopicsOfGroup(request) => self.topics_of_group(asked, request.group, out),
            Request::SubscriptionOfGroup(request) => self.subscription_of_group(asked, *request, out),
            Request::Forbidden(request) => self.group_forbidden(asked, *request, out),
            Request::ResumeCheck(request) => self.resume_check(asked, request, out),
            Request::AllProducers => self.all_producers(asked, out),
            Request::TopicConfig(request) => self.one_topic(asked, request.topic, out),
            Request::GroupConfig(request) => self.one_group(asked, request.group, out),
            Request::QueryAssignment(request) => self.query_assignment(asked, request, out),
            Request::SetMode(request) => self.set_request_mode(asked, request, out),
            Request::AllRequestModes => self.all_request_modes(asked, out),
            Request::Pop(request) => self.pop(asked, request, out),
            Request::Ack(request) => self.ack_popped(asked, request, out),
            Request::Peek(request) => self.peek(asked, request, out),
            Request::Notification(request) => self.notify_of_messages(asked, request, out),
            Request::PollingInfo(request) => self.polling_info(asked, request, out),
            Request::AckAll(acks) => self.ack_all_popped(asked, acks, out),
            Request::ChangeInvisible(request) => self.change_invisible(asked, request, out),
            Request::HaStatus => self.ha_status(asked, out),
            Request::Decide(request) => self.decide_replica(asked, *request, out),
            Request::OrderRole(request) => self.order_role(asked, *request, out),
            Request::TableChanges(request) => self.table_changes(asked, request, out),
        }
    }
}

/// Whether the full reading of a header finds what a template has found.
fn says_the_same(frame: &RawFrame<'_>, send: &TemplateSend<'_>) -> bool {
    Header::decode(frame.encoding, frame.header).is_ok_and(|header| {
        Request::decode(send.code, &header, frame.body).is_ok_and(|request| request == send.request)
            && (header.code, header.opaque) == (send.code.number(), send.opaque)
            && (header.language, header.version) == (send.language, send.version)
            && header.is_oneway() == send.is_oneway
            && !header.is_response()
    })
}

/// Many readers that do not read must not take the memory of those that do.
pub(super) fn readers_behind() -> Refusal {
    Refusal::new(ResponseCode::FlowControl, "readers are behind: the broker holds too many answers")
}
