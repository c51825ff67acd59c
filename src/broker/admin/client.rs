//! What tools ask of clients, through the broker that they are connected to: 307, 309 and 223.
//!
//! Source: RocketMQ `AdminBrokerProcessor.callConsumer`, `Broker2Client.getConsumeStatus`.

use std::collections::BTreeMap;

use bytes::BytesMut;

use super::super::call::Callee;
use super::super::client::Member;
use super::super::{Asked, Broker, Handled, Output, Refusal};
use crate::limits::CALLED_CLIENT_BYTES_MAX;
use crate::log::RecordRead;
use crate::model::{ConnectionId, GroupName};
use crate::protocol::body::client_offsets;
use crate::protocol::code::{RequestCode, ResponseCode};
use crate::protocol::message::MessageId;
use crate::protocol::reply::{ExtValue, Reply};
use crate::protocol::request::{ConsumeDirectlyRequest, ConsumerStatusRequest, RunningInfoRequest};

/// From this version on clients answer 307 and 309: `V3_1_8_SNAPSHOT`.
const VERSION_WITH_RELAY: i32 = 62;

/// From this version on clients answer 221 and heed 220: `V3_0_7_SNAPSHOT`.
pub(super) const VERSION_WITH_STATUS: i32 = 28;

impl Broker {
    /// GET_CONSUMER_RUNNING_INFO 307.
    pub(in crate::broker) fn running_info(
        &mut self,
        asked: &Asked,
        request: &RunningInfoRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let callee = self.callee(request.group, request.client_id)?;
        let mut ext =
            vec![("consumerGroup", ExtValue::Str(request.group)), ("clientId", ExtValue::Str(request.client_id))];
        // Whatever it says, it is a word to the client; no longer one than its name may be.
        if request.jstack.is_some_and(|word| word.len() > CALLED_CLIENT_BYTES_MAX) {
            return Err(Refusal::new(ResponseCode::InvalidParameter, "jstackEnable is neither true nor false"));
        }
        ext.extend(request.jstack.map(|word| ("jstackEnable", ExtValue::Str(word))));
        self.relay(asked, callee, RequestCode::GetConsumerRunningInfo, (&ext, &[]), out)?;
        Ok(Handled::Done)
    }

    /// CONSUME_MESSAGE_DIRECTLY 309: the broker puts the message's record into the call.
    pub(in crate::broker) fn consume_directly(
        &mut self,
        asked: &Asked,
        request: &ConsumeDirectlyRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let callee = self.callee(request.group, request.client_id)?;
        let id = MessageId::decode(request.message_id)
            .map_err(|error| Refusal::new(ResponseCode::InvalidParameter, error.to_string()))?;
        let mut record = std::mem::take(&mut self.scratch.records);
        record.clear();
        let result = match self.log.record(id.log_offset, &mut record) {
            RecordRead::Found { .. } => self.send_record(asked, request, callee, &record, out),
            RecordRead::Cold(block) => Ok(Handled::Cold(block)),
            RecordRead::Failed => Err(Refusal::unreadable()),
            RecordRead::Missing => {
                let remark = format!("can not find message by the offset, {}", id.log_offset);
                Err(Refusal::new(ResponseCode::SystemError, remark))
            }
        };
        self.scratch.records = record;
        result
    }

    fn send_record(
        &mut self,
        asked: &Asked,
        request: &ConsumeDirectlyRequest<'_>,
        callee: Callee,
        record: &BytesMut,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let broker = self.settings.name.clone();
        let mut ext = vec![
            ("consumerGroup", ExtValue::Str(request.group)),
            ("clientId", ExtValue::Str(request.client_id)),
            ("msgId", ExtValue::Str(request.message_id)),
            ("brokerName", ExtValue::Str(broker.as_str())),
        ];
        if let Some((name, topic)) = request.topic.and_then(|name| Some((name, self.topics.get(name)?))) {
            ext.push(("topic", ExtValue::Str(name)));
            ext.push(("topicSysFlag", ExtValue::I64(i64::from(topic.config.sys_flag))));
        }
        if let Some(group) = self.groups.get(request.group) {
            ext.push(("groupSysFlag", ExtValue::I64(i64::from(group.sys_flag))));
        }
        self.relay(asked, callee, RequestCode::ConsumeMessageDirectly, (&ext, record), out)?;
        Ok(Handled::Done)
    }

    /// INVOKE_BROKER_TO_GET_CONSUMER_STATUS 223: each client of the group is asked (221), or the one that is named. Those that give no answer
    /// are not in the reply.
    pub(in crate::broker) fn consumer_status(
        &mut self,
        asked: &Asked,
        request: &ConsumerStatusRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        if self.topics.get(request.topic).is_none() {
            let remark = format!("Topic {} does not exist", request.topic);
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        }
        let Some(online) = self.clients.consumer_group(request.group) else {
            let remark = format!("No Any Consumer online in the consumer group: [{}]", request.group);
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        };
        let is_wanted = |member: &Member| request.client_id.is_none_or(|id| id == member.client.as_str());
        let mut callees = Vec::new();
        for (connection, member) in online.clients().filter(|(_, member)| is_wanted(member)) {
            check_version(member, VERSION_WITH_STATUS, "V3_0_7_SNAPSHOT")?;
            callees.push(callee(request.group, connection, member)?);
        }
        if callees.is_empty() {
            self.reply(asked, &Reply::body(&client_offsets(&BTreeMap::new())), out);
            return Ok(Handled::Done);
        }
        let ext = [("topic", ExtValue::Str(request.topic)), ("group", ExtValue::Str(request.group))];
        self.gather_offsets(asked, callees, &ext, out)?;
        Ok(Handled::Done)
    }

    /// The member of a group that is to be called.
    fn callee(&self, group: &str, client: &str) -> Result<Callee, Refusal> {
        let online = self.clients.consumer_group(group);
        let found = online.and_then(|online| online.clients().find(|(_, member)| member.client.as_str() == client));
        let Some((connection, member)) = found else {
            return Err(Refusal::new(
                ResponseCode::SystemError,
                format!("The Consumer <{group}> <{client}> not online"),
            ));
        };
        check_version(member, VERSION_WITH_RELAY, "V3_1_8_SNAPSHOT")?;
        callee(group, connection, member)
    }
}

/// Refuses to call a client that would not understand. It would answer nothing, or close the connection.
pub(super) fn check_version(member: &Member, least: i32, name: &str) -> Result<(), Refusal> {
    if member.version >= least {
        return Ok(());
    }
    let remark = format!(
        "The Consumer <{}> has version {}, which is too low for this: {name} or newer is needed",
        member.client, member.version
    );
    Err(Refusal::new(ResponseCode::SystemError, remark))
}

fn callee(group: &str, connection: ConnectionId, member: &Member) -> Result<Callee, Refusal> {
    // Both names go into the call, beside a message that may be as long as a frame allows.
    if group.len().max(member.client.as_str().len()) > CALLED_CLIENT_BYTES_MAX {
        return Err(Refusal::new(
            ResponseCode::SystemError,
            "the name of the group or the client is too long for a call",
        ));
    }
    Ok(Callee { connection, group: GroupName::from(group), client: member.client.clone() })
}
