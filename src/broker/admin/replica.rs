//! What replicas ask of one another, and what operators ask of both: 43, 45, 402 and 907.

use super::super::{Asked, Broker, Handled, Output, Refusal};
use crate::model::UnixMs;
use crate::protocol::body::{ConsumerOffsets, HaMaster, HaRuntimeInfo, HaSlave};
use crate::protocol::reply::Reply;
use crate::protocol::request::AllOffsetsRequest;
use crate::replication::{MasterStatus, SlaveStatus};

impl Broker {
    /// GET_ALL_CONSUMER_OFFSET 43.
    pub(in crate::broker) fn all_offsets(
        &mut self,
        asked: &Asked,
        request: AllOffsetsRequest,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let table = if request.kept_only {
            ConsumerOffsets { offsets: self.offsets.kept_table(), ..ConsumerOffsets::default() }
        } else {
            ConsumerOffsets { kept: Default::default(), ..self.offsets.table() }
        };
        self.reply(asked, &Reply::body(&table.encode()), out);
        Ok(Handled::Done)
    }

    /// GET_ALL_DELAY_OFFSET 45.
    pub(in crate::broker) fn all_delay_offsets(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        self.reply(asked, &Reply::body(&self.delay_offsets), out);
        Ok(Handled::Done)
    }

    /// GET_ALL_MESSAGE_REQUEST_MODE 402: no group here consumes by pop, which is the default. Java's slave asks.
    pub(in crate::broker) fn all_request_modes(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        self.reply(asked, &Reply::body(br#"{"messageRequestModeMap":{}}"#), out);
        Ok(Handled::Done)
    }

    /// GET_BROKER_HA_STATUS 907.
    pub(in crate::broker) fn ha_status(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        let status = self.replica_status();
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
            log_end,
            last_read: time(master.last_read),
            last_write: time(master.last_write),
            bytes_per_second: master.bytes_per_second,
            master_flushed: master.confirm.map_or(0, |confirm| confirm.0),
        },
    }
}
