//! Settings that change while the node runs: 25, and what the control plane makes of it.
//!
//! The shard that is asked passes the text on; the control plane checks it, keeps it in the file and tells every shard. Source:
//! RocketMQ `AdminBrokerProcessor.updateBrokerConfig`.

use std::collections::BTreeMap;

use super::{Asked, Broker, Effect, Handled, Output, Refusal};
use crate::config::{Fault, NodeConfig};
use crate::letter::{SettingsRefused, ToControl};
use crate::limits::{SETTINGS_BYTES_MAX, SETTINGS_CHANGES_MAX};
use crate::model::{MonoNs, Now};
use crate::protocol::code::ResponseCode;
use crate::protocol::reply::Reply;

/// How long a tool waits for the control plane, which waits 3 s for shards and name servers. Stock tools give up after 5 s.
const ANSWER_MS: u64 = 4_000;

/// Changes of settings: those that tools wait for, and the one in force.
#[derive(Debug, Default)]
pub(super) struct SettingsChanges {
    waiting: BTreeMap<u64, Asked>,
    last_ticket: u64,
    generation: u64,
}

impl SettingsChanges {
    /// A life begins: as [`Acks::begin_tickets`](super::ack::Acks::begin_tickets).
    pub(super) fn begin_tickets(&mut self, now: MonoNs) {
        self.last_ticket = now.0;
    }
}

impl Broker {
    /// UPDATE_BROKER_CONFIG 25: answered when every shard of the node goes by it and the file has it.
    pub(super) fn change_settings(&mut self, asked: &Asked, body: &[u8], out: &mut Output) -> Result<Handled, Refusal> {
        let invalid = |remark: String| Refusal::new(ResponseCode::InvalidParameter, remark);
        if body.len() > SETTINGS_BYTES_MAX {
            return Err(invalid(format!("settings of {} bytes, at most {SETTINGS_BYTES_MAX} are taken", body.len())));
        }
        let text = std::str::from_utf8(body).map_err(|_| invalid("the settings are no UTF-8 text".to_owned()))?;
        if text.trim().is_empty() {
            return Err(invalid(Fault::Nothing.to_string()));
        }
        let changes = &mut self.settings_changes;
        if changes.waiting.len() >= SETTINGS_CHANGES_MAX {
            return Err(Refusal::new(ResponseCode::SystemBusy, "other changes of settings are under way; try again"));
        }
        changes.last_ticket += 1;
        let ticket = changes.last_ticket;
        changes.waiting.insert(ticket, *asked);
        let (shard, by, text) = (self.settings.shard, self.peer(asked.connection).ip(), text.to_owned());
        out.effects.push(Effect::Control(ToControl::ChangeSettings { shard, ticket, by, text }));
        Ok(Handled::Done)
    }

    /// The node's configuration has changed.
    pub(super) fn take_settings(
        &mut self,
        now: Now,
        ticket: u64,
        generation: u64,
        config: &NodeConfig,
        out: &mut Output,
    ) {
        let mut topics = None;
        if generation > self.settings_changes.generation {
            self.settings_changes.generation = generation;
            let changed = self.settings.changed(config);
            if changed.permission != self.settings.permission {
                self.topics.version = self.topics.version.next(now.unix);
                self.persistence.change(super::Table::Topics);
                self.write_changes(out);
                topics = Some(self.topics.version);
            }
            self.log.change_settings(&changed.log);
            self.replica.change_settings(&changed.replica);
            self.config_version = self.config_version.next(now.unix);
            self.settings = changed;
        }
        let shard = self.settings.shard;
        out.effects.push(Effect::Control(ToControl::SettingsTaken { shard, ticket, topics }));
        self.progress(now, out);
    }

    /// The control plane has answered.
    pub(super) fn settings_answered(
        &mut self,
        ticket: u64,
        result: Result<Option<&'static str>, SettingsRefused>,
        out: &mut Output,
    ) {
        let Some(asked) = self.settings_changes.waiting.remove(&ticket) else { return };
        if !self.clients.is_connected(asked.connection) {
            return;
        }
        match result {
            Ok(remark) => self.reply(&asked, &Reply { remark, ..Reply::new(ResponseCode::Success) }, out),
            Err(SettingsRefused { code, remark }) => self.refuse(&asked, &Refusal::new(code, remark), out),
        }
    }

    /// Answers tools that have waited long enough.
    pub(super) fn expire_settings(&mut self, now: MonoNs, out: &mut Output) {
        while let Some((&ticket, asked)) = self.settings_changes.waiting.first_key_value()
            && now.ms_since(asked.now.mono) >= ANSWER_MS
        {
            let remark =
                format!("no answer from the control plane within {ANSWER_MS} ms; look again with getBrokerConfig");
            let refused = SettingsRefused { code: ResponseCode::SystemError, remark };
            self.settings_answered(ticket, Err(refused), out);
        }
    }
}
