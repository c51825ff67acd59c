//! Consumer groups made, changed, deleted and listed by tools: 200, 225, 201, 207, 352; and how they get messages: 401.

use super::super::group::check_is_clients;
use super::super::{Asked, Broker, Handled, Output, Refusal, Table};
use super::attributes;
use crate::model::LogOffset;
use crate::protocol::body::{ModeRequest, RequestMode, SubscriptionGroupConfig, TablePlace};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{check_group, is_retry_topic};
use crate::protocol::reply::Reply;
use crate::protocol::request::DeleteGroupRequest;

impl Broker {
    /// UPDATE_AND_CREATE_SUBSCRIPTIONGROUP 200, and 225 with several: all or none.
    pub(in crate::broker) fn update_groups(
        &mut self,
        asked: &Asked,
        configs: &[SubscriptionGroupConfig],
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        self.groups.check_room(configs)?;
        let mut changed = configs.to_vec();
        for config in &mut changed {
            check_group(config.name.as_str())?;
            let known = self.groups.get(config.name.as_str()).map(|group| &group.attributes);
            config.attributes = attributes::of_group(known, &attributes::changes(&config.attributes)?)?;
        }
        // They are no larger than they came: an attribute loses its sign.
        for config in changed {
            self.groups.put_checked(asked.now, config);
        }
        self.answer_group_change(asked, false, out);
        Ok(Handled::Done)
    }

    /// DELETE_SUBSCRIPTIONGROUP 207.
    pub(in crate::broker) fn delete_group(
        &mut self,
        asked: &Asked,
        request: &DeleteGroupRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        self.check_unwritten()?;
        if request.clean_offset {
            check_is_clients(request.group)?;
        }
        self.groups.remove(asked.now, request.group);
        self.forget_pops_of_group(request.group);
        for topic in self.offsets.topics_of(request.group) {
            self.statistics.forget_reader(topic.as_str(), request.group);
        }
        if request.clean_offset {
            self.offsets.remove_group(request.group);
        }
        self.answer_group_change(asked, request.clean_offset, out);
        Ok(Handled::Done)
    }

    /// SET_MESSAGE_REQUEST_MODE 401. Source: RocketMQ `QueryAssignmentProcessor`.
    pub(in crate::broker) fn set_request_mode(
        &mut self,
        asked: &Asked,
        request: &ModeRequest,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        if is_retry_topic(request.topic.as_str()) {
            return Err(Refusal::new(ResponseCode::NoPermission, "retry topic is not allowed to set mode"));
        }
        if self.is_light_queue(request.topic.as_str()) && request.mode.mode == RequestMode::Pop {
            let remark = format!("[{}] is a light queue: those are not popped", request.topic);
            return Err(Refusal::new(ResponseCode::InvalidParameter, remark));
        }
        let Some(topic) = self.queues_of(request.topic.as_str()).map(|_| request.topic.clone()) else {
            let remark = format!("topic[{}] not exist", request.topic);
            return Err(Refusal::new(ResponseCode::TopicNotExist, remark));
        };
        let group = match self.group_config(asked.now, request.group.as_str(), out) {
            Ok(config) => config.name.clone(),
            Err(refusal) if refusal.code == ResponseCode::SubscriptionGroupNotExist => {
                return Err(Refusal::new(refusal.code, "subscription group does not exist"));
            }
            Err(refusal) => return Err(refusal),
        };
        self.groups.set_mode(asked.now, &group, &topic, request.mode)?;
        self.answer_group_change(asked, false, out);
        Ok(Handled::Done)
    }

    fn answer_group_change(&mut self, asked: &Asked, removes_offsets: bool, out: &mut Output) {
        let generation = self.persistence.change(Table::Groups);
        let ticket = self.acks.make_gate(asked.now.mono, Some((Table::Groups, generation)), false);
        if removes_offsets {
            self.wait_for_offsets(ticket);
        }
        self.write_changes(out);
        self.confirm_change(asked, LogOffset(0), Some(ticket), out);
    }

    /// GET_ALL_SUBSCRIPTIONGROUP_CONFIG 201.
    pub(in crate::broker) fn all_groups(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        self.tell_whole_table(asked, TablePlace::Groups(None), Some(("totalGroupNum", self.groups.all().len())), out)
    }

    /// GET_SUBSCRIPTIONGROUP_CONFIG 352.
    pub(in crate::broker) fn one_group(
        &mut self,
        asked: &Asked,
        group: &str,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let body = self.group_config(asked.now, group, out)?.encode();
        self.reply(asked, &Reply::body(&body), out);
        Ok(Handled::Done)
    }
}
