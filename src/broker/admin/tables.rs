//! What replicas ask of one another, and what operators ask of both: 43, 45, 402 and 907.

use super::super::{Asked, Broker, Handled, Output, Refusal};
use crate::model::UnixMs;
use crate::protocol::body::{ConsumerOffsets, DataVersion, HaMaster, HaRuntimeInfo, HaSlave, OffsetTable};
use crate::protocol::code::ResponseCode;
use crate::protocol::reply::{ExtValue, Reply};
use crate::protocol::request::{TABLE_VERSION, TableRequest};
use crate::replication::{MasterStatus, SlaveStatus};

impl Broker {
    /// GET_ALL_CONSUMER_OFFSET 43.
    pub(in crate::broker) fn all_offsets(
        &mut self,
        asked: &Asked,
        request: TableRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        if request.kept_only {
            // Said twice, so that a master knows that this is not all that a replica has.
            let kept = self.offsets.tell_kept();
            let table = ConsumerOffsets { offsets: kept.clone(), kept, ..ConsumerOffsets::default() };
            self.reply(asked, &Reply::body(&table.encode()), out);
            return Ok(Handled::Done);
        }
        // The count of changes begins anew with each start.
        let version = format!("{}/{}", self.offsets.changes(), self.started.unix);
        let table = |broker: &Broker| ConsumerOffsets { kept: OffsetTable::new(), ..broker.offsets.table() }.encode();
        self.reply_table(asked, request, &version, None, table, out);
        Ok(Handled::Done)
    }

    /// Answers with a table, or says that the asker has its newest version.
    pub(super) fn reply_table(
        &self,
        asked: &Asked,
        request: TableRequest<'_>,
        version: &str,
        total: Option<(&'static str, ExtValue<'_>)>,
        encode: impl FnOnce(&Broker) -> Vec<u8>,
        out: &mut Output,
    ) {
        let body = if request.unless_version == Some(version) { Vec::new() } else { encode(self) };
        let mut ext: Vec<(&str, ExtValue<'_>)> = total.into_iter().collect();
        if request.unless_version.is_some() {
            ext.push((TABLE_VERSION, ExtValue::Str(version)));
        }
        self.reply(asked, &Reply { code: ResponseCode::Success, remark: None, ext: &ext, body: &body }, out);
    }

    /// GET_ALL_DELAY_OFFSET 45.
    pub(in crate::broker) fn all_delay_offsets(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        self.reply(asked, &Reply::body(&self.delays.encode()), out);
        Ok(Handled::Done)
    }

    /// GET_ALL_MESSAGE_REQUEST_MODE 402: no group here consumes by pop, which is the default. Java's slave asks.
    pub(in crate::broker) fn all_request_modes(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        self.reply(asked, &Reply::body(br#"{"messageRequestModeMap":{}}"#), out);
        Ok(Handled::Done)
    }

    /// GET_BROKER_HA_STATUS 907.
    pub(in crate::broker) fn ha_status(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        let status = self.view_replicas();
        let log_end = self.log.appended().0;
        let info = if status.role.is_master() {
            HaRuntimeInfo::Master {
                log_end,
                in_sync_count: u64::try_from(status.in_sync_count.saturating_sub(1)).unwrap_or(u64::MAX),
                slaves: status.slaves.iter().map(slave_info).collect(),
            }
        } else {
            HaRuntimeInfo::Slave(master_info(status.master.as_ref(), log_end))
        };
        self.reply(asked, &Reply::body(&info.encode()), out);
        Ok(Handled::Done)
    }
}

/// A table's version as one word.
pub(super) fn version_text(version: DataVersion) -> String {
    format!("{}/{}/{}", version.counter, version.timestamp, version.state_version)
}

fn slave_info(slave: &SlaveStatus) -> HaSlave {
    HaSlave {
        address: slave.address.to_string(),
        acked: slave.acked.0,
        behind_bytes: slave.behind_bytes,
        bytes_per_second: slave.bytes_per_second,
        sent: slave.sent.0,
        in_sync: slave.in_sync,
    }
}

fn master_info(master: Option<&MasterStatus>, log_end: u64) -> HaMaster {
    let time = |time: UnixMs| u64::try_from(time.0).unwrap_or(0);
    match master {
        None => HaMaster { log_end, ..HaMaster::default() },
        Some(master) => HaMaster {
            address: Some(master.address.to_string()),
            is_activated: master.is_connected,
            log_end,
            last_read: time(master.last_read),
            last_write: time(master.last_write),
            bytes_per_second: master.bytes_per_second,
            master_flushed: master.confirm.map_or(0, |confirm| confirm.0),
        },
    }
}
