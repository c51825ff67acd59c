//! What groups want, and what they may not: 343, 345, 353.

use super::super::{Asked, Broker, Handled, Output, Refusal, Table};
use crate::model::LogOffset;
use crate::protocol::body::{TopicList, group_forbidden, subscription_of_group};
use crate::protocol::code::{OnSlave, RequestCode};
use crate::protocol::message::check_topic;
use crate::protocol::reply::Reply;
use crate::protocol::request::{ForbiddenRequest, GroupTopicRequest};

impl Broker {
    /// QUERY_TOPICS_BY_CONSUMER 343: topics of which the group has offsets here.
    pub(in crate::broker) fn topics_of_group(
        &mut self,
        asked: &Asked,
        group: &str,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let topics = self.offsets.topics_of(group).cloned().collect();
        let list = TopicList { topics, broker_address: Some(self.settings.address.to_string()) };
        self.reply(asked, &Reply::body(&list.encode()), out);
        Ok(Handled::Done)
    }

    /// QUERY_SUBSCRIPTION_BY_CONSUMER 345. A group that is not online, or does not want the topic, has none.
    pub(in crate::broker) fn subscription_of_group(
        &mut self,
        asked: &Asked,
        request: GroupTopicRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let GroupTopicRequest { group, topic } = request;
        let subscription = self.clients.subscription(group, topic);
        self.reply(asked, &Reply::body(&subscription_of_group(group, topic, subscription)), out);
        Ok(Handled::Done)
    }

    /// UPDATE_AND_GET_GROUP_FORBIDDEN 353. A group that is forbidden to read a topic comes to be, as by a pull.
    pub(in crate::broker) fn group_forbidden(
        &mut self,
        asked: &Asked,
        request: ForbiddenRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let ForbiddenRequest { group, topic, readable } = request;
        let mut ticket = None;
        if let Some(readable) = readable {
            self.check_role(RequestCode::UpdateAndGetGroupForbidden, OnSlave::Refuses)?;
            check_topic(topic)?;
            let name = self.group_config(asked.now, group, out)?.name.clone();
            if self.groups.set_forbidden(asked.now, &name, topic, !readable)? {
                let generation = self.persistence.change(Table::Groups);
                ticket = Some(self.acks.make_gate(asked.now.mono, Some((Table::Groups, generation)), false));
                self.write_changes(out);
            }
        }
        let body = group_forbidden(group, topic, !self.groups.is_forbidden(group, topic));
        self.confirm_change_by(asked, LogOffset(0), ticket, &Reply::body(&body), out);
        Ok(Handled::Done)
    }
}
