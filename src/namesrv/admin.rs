//! What operators ask: permissions of a broker, the name server's own settings.

use super::{Answer, Answered, NameServer};
use crate::config::properties;
use crate::protocol::code::ResponseCode;
use crate::protocol::header::Header;
use crate::protocol::request::BrokerNameRequest;

/// Keys that no request may change. Source: RocketMQ `NamesrvConfig.configBlackList`, and `rocketmqHome`.
const NOT_BY_REQUEST: &[&str] = &["configBlackList", "configStorePath", "kvConfigPath", "rocketmqHome"];

impl NameServer {
    /// 205: producers leave a broker, so that it can be drained and stopped.
    pub(super) fn wipe_write_permission(&mut self, header: &Header<'_>) -> Answered {
        let count = self.table.wipe_write_permission(BrokerNameRequest::parse(header)?.broker_name);
        Ok(Answer::fields(vec![("wipeTopicCount", count.to_string())]))
    }

    /// 327: and come back.
    pub(super) fn add_write_permission(&mut self, header: &Header<'_>) -> Answered {
        let count = self.table.add_write_permission(BrokerNameRequest::parse(header)?.broker_name);
        Ok(Answer::fields(vec![("addTopicCount", count.to_string())]))
    }

    /// 319: the settings in force.
    pub(super) fn print_config(&self) -> Answer {
        Answer::body(self.config.print().into_bytes())
    }

    /// 318: changes settings until the next start; the file stays the operator's. All of them or none.
    pub(super) fn update_config(&mut self, body: &[u8]) -> Answer {
        let text = String::from_utf8_lossy(body);
        let entries = match properties::parse("request", &text) {
            Ok(entries) => entries,
            Err(error) => return Answer::error(ResponseCode::SystemError, error.to_string()),
        };
        if entries.iter().any(|entry| NOT_BY_REQUEST.contains(&entry.key.as_str())) {
            return Answer::error(ResponseCode::NoPermission, "Can not update config in black list.");
        }
        let mut changed = self.config.clone();
        for entry in &entries {
            if let Err(why) = changed.change(&entry.key, &entry.value) {
                return Answer::error(ResponseCode::SystemError, why);
            }
        }
        self.table.delete_absent_topics(changed.delete_topic_with_registration);
        self.config = changed;
        Answer::success()
    }
}
