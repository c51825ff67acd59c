//! What replicas ask of one another, and what operators ask of both: 43, 45, 402 and 907.

use super::super::{Asked, Broker, Handled, Output, Refusal};
use crate::model::UnixMs;
use crate::protocol::body::{
    ConsumerOffsets, HaMaster, HaRefusedSlave, HaRuntimeInfo, HaSlave, TablePlace, request_modes,
};
use crate::protocol::code::ResponseCode;
use crate::protocol::reply::{ExtValue, Reply};
use crate::protocol::request::{DECIDE_FROM, DECIDE_TO, DecideRequest, REPLICA_LOG, TableRequest};
use crate::replication::{MasterStatus, RefusedSlave, SlaveStatus};

impl Broker {
    /// GET_ALL_CONSUMER_OFFSET 43.
    pub(in crate::broker) fn all_offsets(
        &mut self,
        asked: &Asked,
        request: TableRequest,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        if request.kept_only {
            // Said twice, so that a master knows that this is not all that a replica has.
            let kept = self.offsets.tell_kept();
            let table = ConsumerOffsets { offsets: kept.clone(), kept, ..ConsumerOffsets::default() };
            let log = self.view_replicas().log.to_string();
            let ext = [(REPLICA_LOG, ExtValue::Str(log.as_str()))];
            self.reply(asked, &Reply { ext: &ext, ..Reply::body(&table.encode()) }, out);
            return Ok(Handled::Done);
        }
        self.tell_whole_table(asked, TablePlace::Offsets(None), None, out)
    }

    /// GET_ALL_DELAY_OFFSET 45.
    pub(in crate::broker) fn all_delay_offsets(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        self.reply(asked, &Reply::body(&self.delays.form().encode()), out);
        Ok(Handled::Done)
    }

    /// GET_ALL_MESSAGE_REQUEST_MODE 402. Java's slave asks.
    pub(in crate::broker) fn all_request_modes(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        self.reply(asked, &Reply::body(&request_modes(&self.groups.table().modes)), out);
        Ok(Handled::Done)
    }

    /// GET_BROKER_HA_STATUS 907.
    pub(in crate::broker) fn ha_status(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        let status = self.view_replicas();
        let (log_end, damaged) = (self.log.appended().0, self.log.damage().records);
        let log = status.log.is_known().then(|| status.log.to_string());
        let info = if status.role.is_master() {
            HaRuntimeInfo::Master {
                log_end,
                in_sync_count: u64::try_from(status.in_sync_count.saturating_sub(1)).unwrap_or(u64::MAX),
                slaves: status.slaves.iter().map(slave_info).collect(),
                refused: status.refused.iter().map(refused_info).collect(),
                ahead: status.ahead.iter().map(ToString::to_string).reduce(|ids, id| format!("{ids},{id}")),
                log,
                damaged,
            }
        } else {
            HaRuntimeInfo::Slave(HaMaster { log, damaged, ..master_info(status.master.as_ref(), log_end) })
        };
        self.reply(asked, &Reply::body(&info.encode()), out);
        Ok(Handled::Done)
    }

    /// RINGMQ_DECIDE_REPLICA 720001.
    pub(in crate::broker) fn decide_replica(
        &mut self,
        asked: &Asked,
        request: DecideRequest,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let nothing = || {
            Refusal::new(
                ResponseCode::SystemError,
                "this replica follows its master, or is one: there is nothing to decide",
            )
        };
        let surplus = self.view_surplus().ok_or_else(nothing)?;
        let (from, to) = (surplus.from, surplus.to);
        if request.range.is_some_and(|range| range != (from, to)) {
            let remark = format!("what the master has not is {from} to {to} by now, and not what was asked about");
            return Err(Refusal::new(ResponseCode::SystemError, remark));
        }
        let bytes = to.since(from);
        let text = format!(
            "{bytes} bytes, {from} to {to}, are copied to a folder below `aside` in the shard's folder, and cut off; the master is then followed. Why: {}",
            surplus.why
        );
        if request.range.is_some() {
            tracing::warn!(broker = %self.settings.name, %from, %to, "an operator gives up what the master has not");
            self.give_up(from);
        }
        let (from, to) = (i64::try_from(from.0).unwrap_or(i64::MAX), i64::try_from(to.0).unwrap_or(i64::MAX));
        let ext = [(DECIDE_FROM, ExtValue::I64(from)), (DECIDE_TO, ExtValue::I64(to))];
        self.reply(asked, &Reply { code: ResponseCode::Success, remark: None, ext: &ext, body: text.as_bytes() }, out);
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

fn refused_info(slave: &RefusedSlave) -> HaRefusedSlave {
    HaRefusedSlave { address: slave.address.to_string(), why: slave.refusal.to_string() }
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
            refusal: master.left.clone(),
            log: None,
            damaged: 0,
        },
    }
}
