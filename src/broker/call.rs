//! Calls to clients: what this broker asks a client over the connection that the client opened, and who waits for the answer.
//!
//! State of the shard, in memory only. A call is found by the opaque that the client echoes, by its deadline, and by the client's connection
//! when that closes. It always ends: with an answer, at its deadline, or with the connection. What comes later, from another connection, or
//! with an opaque that nobody waits for, is passed over. Source: RocketMQ `Broker2Client`, `NettyRemotingAbstract`.

use std::collections::{BTreeMap, BTreeSet};

use super::reply_message::Replier;
use super::{Asked, Broker, Output, Refusal};
use crate::letter::ReplyOutcome;
use crate::limits::{CLIENT_CALLS_MAX, CLIENT_CALLS_PER_ASKER_MAX, GATHERED_BYTES_MAX};
use crate::model::{ClientId, ConnectionId, GroupName, MonoNs, Now};
use crate::protocol::body::{client_offsets, decode_client_offsets};
use crate::protocol::code::{RequestCode, ResponseCode};
use crate::protocol::frame::Encoding;
use crate::protocol::header::Header;
use crate::protocol::reply::{ExtValue, Reply, encode_request};

/// How long a client has to consume a message that it is handed (309): its listener takes what it takes. Source: RocketMQ
/// `Broker2Client.callClient`, which gives all calls this much.
const CONSUME_WAIT_MS: u64 = 10_000;

/// How long clients have to say something of themselves. Tools give up after 5 s; a second less lets them see RocketMQ's code for a client that
/// does not answer, and who of a group did.
const TELL_WAIT_MS: u64 = 4_000;

/// How long a client has to take a reply message (326). Source: RocketMQ `Broker2Client.callClient`.
pub(super) const REPLY_WAIT_MS: u64 = 10_000;

#[derive(Clone, Debug)]
pub(super) struct Callee {
    pub(super) connection: ConnectionId,
    pub(super) group: GroupName,
    pub(super) client: ClientId,
}

/// What becomes of the answer to a call.
#[derive(Debug)]
enum Purpose {
    /// The asker gets it as it is.
    Relay(Asked),
    /// It is one of several that the asker gets together.
    Gather(GatherId),
    /// It says whether the client has taken a reply message.
    Reply(Replier),
}

/// Why a call has ended without an answer.
#[derive(Clone, Copy, Debug)]
enum NoAnswer {
    Late,
    Closed,
}

/// Which gathering; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct GatherId(u64);

/// A call that waits for its answer.
#[derive(Debug)]
struct Call {
    callee: Callee,
    /// None: a sibling.
    asker: Option<ConnectionId>,
    deadline: MonoNs,
    purpose: Purpose,
}

/// Answers of several clients to one asker.
#[derive(Debug)]
struct Gather {
    asked: Asked,
    /// Calls that are still to be answered.
    waiting: usize,
    bytes: usize,
    /// By client: its answer's body.
    answers: BTreeMap<ClientId, Vec<u8>>,
}

/// The calls of a shard.
#[derive(Debug, Default)]
pub(super) struct Calls {
    by_opaque: BTreeMap<i32, Call>,
    by_connection: BTreeSet<(ConnectionId, i32)>,
    by_deadline: BTreeSet<(MonoNs, i32)>,
    /// How many wait of each asker that has some.
    by_asker: BTreeMap<ConnectionId, usize>,
    gathers: BTreeMap<GatherId, Gather>,
    next_gather: u64,
    /// Bytes of the answers in `gathers`.
    gathered_bytes: usize,
}

impl Calls {
    fn insert(&mut self, opaque: i32, call: Call) {
        self.by_connection.insert((call.callee.connection, opaque));
        self.by_deadline.insert((call.deadline, opaque));
        if let Some(asker) = call.asker {
            *self.by_asker.entry(asker).or_default() += 1;
        }
        let before = self.by_opaque.insert(opaque, call);
        assert!(before.is_none(), "opaque {opaque} is that of a call that waits");
    }

    fn begin_gather(&mut self, asked: &Asked, count: usize) -> GatherId {
        let id = GatherId(self.next_gather);
        self.next_gather += 1;
        self.gathers.insert(id, Gather { asked: *asked, waiting: count, bytes: 0, answers: BTreeMap::new() });
        id
    }

    /// The call that a client answers with this opaque; it has ended with that.
    fn answered(&mut self, connection: ConnectionId, opaque: i32) -> Option<Call> {
        self.by_opaque.get(&opaque).filter(|call| call.callee.connection == connection)?;
        self.remove(opaque)
    }

    /// A call whose time is over; it has ended with that.
    fn pop_late(&mut self, now: MonoNs) -> Option<Call> {
        let (deadline, opaque) = *self.by_deadline.first()?;
        if deadline > now { None } else { self.remove(opaque) }
    }

    /// A call to a client whose connection is gone; it has ended with that.
    fn pop_of_connection(&mut self, connection: ConnectionId) -> Option<Call> {
        let (_, opaque) = *self.by_connection.range((connection, i32::MIN)..=(connection, i32::MAX)).next()?;
        self.remove(opaque)
    }

    /// When the next call is late.
    pub(super) fn next_deadline(&self) -> Option<MonoNs> {
        self.by_deadline.first().map(|(deadline, _)| *deadline)
    }

    /// One call of a gathering has ended. Returns the gathering if it was the last.
    ///
    /// # Errors
    /// The gathering, which ends with that: its answers do not fit.
    fn gathered(&mut self, id: GatherId, client: ClientId, body: Option<&[u8]>) -> Result<Option<Gather>, Gather> {
        let Some(gather) = self.gathers.get_mut(&id) else { return Ok(None) };
        gather.waiting -= 1;
        let is_last = gather.waiting == 0;
        if let Some(body) = body {
            if self.gathered_bytes + body.len() > GATHERED_BYTES_MAX {
                return self.end_gather(id).map_or(Ok(None), Err);
            }
            gather.bytes += body.len();
            self.gathered_bytes += body.len();
            // Of a client that is there twice, the last answer counts.
            if let Some(first) = gather.answers.insert(client, body.to_vec()) {
                gather.bytes -= first.len();
                self.gathered_bytes -= first.len();
            }
        }
        Ok(if is_last { self.end_gather(id) } else { None })
    }

    fn end_gather(&mut self, id: GatherId) -> Option<Gather> {
        let gather = self.gathers.remove(&id)?;
        self.gathered_bytes -= gather.bytes;
        Some(gather)
    }

    fn remove(&mut self, opaque: i32) -> Option<Call> {
        let call = self.by_opaque.remove(&opaque)?;
        self.by_connection.remove(&(call.callee.connection, opaque));
        self.by_deadline.remove(&(call.deadline, opaque));
        if let Some(asker) = call.asker
            && let Some(count) = self.by_asker.get_mut(&asker)
        {
            *count -= 1;
            if *count == 0 {
                self.by_asker.remove(&asker);
            }
        }
        Some(call)
    }
}

/// Whether there is room for what clients have not asked for.
pub(super) fn check_notice_room(out: &Output) -> Result<(), Refusal> {
    if out.outbox.has_room_for_notices() {
        return Ok(());
    }
    Err(Refusal::new(ResponseCode::FlowControl, "clients do not read what they are sent: no more is sent unasked"))
}

impl Broker {
    /// Calls a client, whose answer goes to the asker as it is.
    pub(super) fn relay(
        &mut self,
        asked: &Asked,
        callee: Callee,
        code: RequestCode,
        (ext, body): (&[(&str, ExtValue<'_>)], &[u8]),
        out: &mut Output,
    ) -> Result<(), Refusal> {
        self.check_callable(Some(asked.connection), std::slice::from_ref(&callee), out)?;
        let wait_ms = if code == RequestCode::ConsumeMessageDirectly { CONSUME_WAIT_MS } else { TELL_WAIT_MS };
        let deadline = asked.now.mono.plus_ms(wait_ms);
        self.call(
            code,
            (ext, body),
            Call { callee, asker: Some(asked.connection), deadline, purpose: Purpose::Relay(*asked) },
            out,
        );
        Ok(())
    }

    /// Asks each of these clients where it stands (221), and tells the asker when all have answered, or their time is over.
    pub(super) fn gather_offsets(
        &mut self,
        asked: &Asked,
        callees: Vec<Callee>,
        ext: &[(&str, ExtValue<'_>)],
        out: &mut Output,
    ) -> Result<(), Refusal> {
        self.check_callable(Some(asked.connection), &callees, out)?;
        let gather = self.calls.begin_gather(asked, callees.len());
        let deadline = asked.now.mono.plus_ms(TELL_WAIT_MS);
        for callee in callees {
            let call = Call { callee, asker: Some(asked.connection), deadline, purpose: Purpose::Gather(gather) };
            self.call(RequestCode::GetConsumerStatusFromClient, (ext, &[]), call, out);
        }
        Ok(())
    }

    /// Whether these clients can be called now. A client that does not read is not sent more, and those that do not read together take no more
    /// than a part of what may wait to be sent: consumers need the rest.
    fn check_callable(&self, asker: Option<ConnectionId>, callees: &[Callee], out: &Output) -> Result<(), Refusal> {
        if self.calls.by_opaque.len() + callees.len() > CLIENT_CALLS_MAX {
            return Err(Refusal::new(ResponseCode::FlowControl, "too many calls wait for answers of clients"));
        }
        let of_asker = asker.and_then(|asker| self.calls.by_asker.get(&asker)).copied().unwrap_or_default();
        if of_asker + callees.len() > CLIENT_CALLS_PER_ASKER_MAX {
            let remark = format!("{of_asker} calls that you asked for wait for answers of clients: no more");
            return Err(Refusal::new(ResponseCode::FlowControl, remark));
        }
        check_notice_room(out)?;
        match callees.iter().find(|callee| out.outbox.is_over(callee.connection)) {
            Some(Callee { group, client, .. }) => {
                let remark = format!("invoke consumer <{group}> <{client}> failed: it does not read what it is sent");
                Err(Refusal::new(ResponseCode::SystemError, remark))
            }
            None => Ok(()),
        }
    }

    /// Pushes a reply message to the client that made the request (326).
    ///
    /// # Errors
    /// The client cannot be called now.
    pub(super) fn push_reply(
        &mut self,
        now: Now,
        callee: Callee,
        (ext, body): (&[(&str, ExtValue<'_>)], &[u8]),
        replier: Replier,
        out: &mut Output,
    ) -> Result<(), Replier> {
        let asker = replier.asker();
        if self.check_callable(asker, std::slice::from_ref(&callee), out).is_err() {
            return Err(replier);
        }
        let deadline = now.mono.plus_ms(REPLY_WAIT_MS);
        let call = Call { callee, asker, deadline, purpose: Purpose::Reply(replier) };
        self.call(RequestCode::PushReplyMessageToClient, (ext, body), call, out);
        Ok(())
    }

    fn call(&mut self, code: RequestCode, (ext, body): (&[(&str, ExtValue<'_>)], &[u8]), call: Call, out: &mut Output) {
        // Notices use the same numbers and wait for nothing.
        self.next_opaque = self.next_opaque.wrapping_add(1);
        while self.calls.by_opaque.contains_key(&self.next_opaque) {
            self.next_opaque = self.next_opaque.wrapping_add(1);
        }
        let opaque = self.next_opaque;
        let buffer = out.outbox.buffer(call.callee.connection);
        encode_request(Encoding::Json, code.number(), opaque, false, ext, body, buffer);
        self.calls.insert(opaque, call);
    }

    /// A client answers. What nobody waits for (any more) is passed over.
    pub(super) fn take_answer(&mut self, connection: ConnectionId, header: &Header<'_>, body: &[u8], out: &mut Output) {
        let Some(call) = self.calls.answered(connection, header.opaque) else { return };
        match call.purpose {
            Purpose::Relay(asked) => {
                let ext: Vec<_> = header.ext.iter().map(|(name, value)| (name, ExtValue::Str(value))).collect();
                let code = ResponseCode::try_from(header.code).unwrap_or(ResponseCode::SystemError);
                self.answer_asker(&asked, &Reply { code, remark: header.remark(), ext: &ext, body }, out);
            }
            Purpose::Gather(gather) => {
                let body = Some(body).filter(|body| header.code == ResponseCode::Success.number() && !body.is_empty());
                self.add_gathered(gather, call.callee.client, body, out);
            }
            Purpose::Reply(replier) => {
                let is_taken = header.code == ResponseCode::Success.number();
                let outcome = if is_taken { ReplyOutcome::Taken } else { ReplyOutcome::Failed };
                self.end_reply(replier, outcome, out);
            }
        }
    }

    /// Ends the calls whose time is over.
    pub(super) fn expire_calls(&mut self, now: Now, out: &mut Output) {
        while let Some(call) = self.calls.pop_late(now.mono) {
            self.end_call(call, NoAnswer::Late, out);
        }
    }

    /// Ends the calls to a client whose connection is gone.
    pub(super) fn end_calls_of(&mut self, connection: ConnectionId, out: &mut Output) {
        while let Some(call) = self.calls.pop_of_connection(connection) {
            self.end_call(call, NoAnswer::Closed, out);
        }
    }

    fn end_call(&mut self, call: Call, why: NoAnswer, out: &mut Output) {
        let Callee { group, client, .. } = call.callee;
        match call.purpose {
            Purpose::Relay(asked) => {
                let (code, remark) = match why {
                    NoAnswer::Late => (
                        ResponseCode::ConsumeMsgTimeout,
                        format!("consumer <{group}> <{client}> Timeout: it does not answer"),
                    ),
                    NoAnswer::Closed => (
                        ResponseCode::SystemError,
                        format!("invoke consumer <{group}> <{client}> failed: its connection was closed"),
                    ),
                };
                self.answer_asker(&asked, &Reply::error(code, &remark), out);
            }
            Purpose::Gather(gather) => self.add_gathered(gather, client, None, out),
            Purpose::Reply(replier) => self.end_reply(replier, ReplyOutcome::Failed, out),
        }
    }

    fn add_gathered(&mut self, id: GatherId, client: ClientId, body: Option<&[u8]>, out: &mut Output) {
        match self.calls.gathered(id, client, body) {
            Ok(None) => {}
            Ok(Some(gather)) => {
                // A client whose answer cannot be read counts as one that gave none.
                let read = |(client, body): (ClientId, Vec<u8>)| Some((client, decode_client_offsets(&body).ok()?));
                let table = gather.answers.into_iter().filter_map(read).collect();
                self.answer_asker(&gather.asked, &Reply::body(&client_offsets(&table)), out);
            }
            Err(gather) => {
                let remark = "the answers of the clients are longer than the broker keeps: ask for one of them";
                self.answer_asker(&gather.asked, &Reply::error(ResponseCode::SystemError, remark), out);
            }
        }
    }

    /// Answers whoever asked for a call, if it is still there, with no more than it reads: it may have asked for thousands.
    fn answer_asker(&self, asked: &Asked, reply: &Reply<'_>, out: &mut Output) {
        if !self.clients.is_connected(asked.connection) {
            return;
        }
        if out.outbox.is_over(asked.connection) {
            let remark = "the answer was dropped: too many wait to be read on this connection";
            return self.reply(asked, &Reply::error(ResponseCode::SystemBusy, remark), out);
        }
        self.reply(asked, reply, out);
    }
}
