//! The brokers there are, and how their replicas stand.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringmq_protocol::body::{HaMaster, HaRuntimeInfo, HaSlave};
use ringmq_protocol::code::RequestCode;
use serde_json::Value;

use crate::output::{Column, Output};
use crate::wire::{AdminError, Cluster};

pub(crate) const LIST: [Column<'static>; 8] = [
    ("CLUSTER", "cluster"),
    ("BROKER", "broker"),
    ("ID", "id"),
    ("ADDRESS", "address"),
    ("ROLE", "role"),
    ("LOG END", "log_end"),
    ("BEHIND", "behind"),
    ("REPLICAS", "replicas"),
];

/// One row a replica: what it is, how far its log goes, and how far a slave is behind its master.
pub(crate) fn list(cluster: &mut Cluster, output: Output, of: Option<&str>) -> Result<(), AdminError> {
    let info = cluster.info_of(of)?;
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for broker in info.brokers.values().filter(|broker| of.is_none_or(|of| broker.cluster == of)) {
        let mut standings = Vec::new();
        for (id, address) in &broker.addresses {
            standings.push((id, address, standing(cluster, address)));
        }
        let master = standings.iter().find_map(|(_, _, standing)| match standing {
            Ok(HaRuntimeInfo::Master { log_end, log, .. }) => Some(MasterLog { end: *log_end, id: log.clone() }),
            _ => None,
        });
        for (id, address, standing) in standings {
            let mut row: Vec<Value> = vec![
                broker.cluster.as_str().into(),
                broker.broker_name.as_str().into(),
                id.0.into(),
                address.as_str().into(),
            ];
            row.extend(standing_cells(standing, master.as_ref()));
            rows.push(row);
        }
    }
    output.values(&LIST, &rows);
    Ok(())
}

/// The log of a broker's master.
struct MasterLog {
    end: u64,
    /// Which one, as far as it is known.
    id: Option<String>,
}

fn standing(cluster: &mut Cluster, address: &str) -> Result<HaRuntimeInfo, AdminError> {
    let answer = cluster.must(address, "its replication", RequestCode::GetBrokerHaStatus, &[], &[])?;
    HaRuntimeInfo::decode(&answer.body)
        .map_err(|error| AdminError::Protocol { address: address.to_owned(), reason: error.to_string() })
}

/// Role, end of the log, bytes behind, replicas. A broker that does not answer, or is too old to, is listed all the same.
fn standing_cells(standing: Result<HaRuntimeInfo, AdminError>, of_master: Option<&MasterLog>) -> [Value; 4] {
    match standing {
        Ok(HaRuntimeInfo::Master { log_end, in_sync_count, slaves, refused, ahead, damaged, .. }) => {
            let strangers = refused.iter().map(|slave| format!("{} refused: {}", slave.address, slave.why));
            let each: Vec<String> = slaves.iter().map(slave_text).chain(strangers).collect();
            let count = format!("{} in sync of {}", in_sync_count.saturating_add(1), slaves.len().saturating_add(1));
            let replicas =
                if each.is_empty() { "no slaves".to_owned() } else { format!("{count}: {}", each.join(", ")) };
            let waits = ahead.map(|ids| {
                format!(
                    "takes no messages until it is decided what becomes of what brokerId {ids} has and it has not; "
                )
            });
            let replicas = waits.unwrap_or_default() + &replicas;
            ["master".into(), log_end.into(), 0.into(), with_damage(replicas, damaged).into()]
        }
        Ok(HaRuntimeInfo::Slave(master)) => {
            let log_end = master.log_end;
            let behind = behind(&master, of_master);
            ["slave".into(), log_end.into(), behind.into(), with_damage(master_text(&master), master.damaged).into()]
        }
        Err(error) => [Value::Null, Value::Null, Value::Null, error.to_string().into()],
    }
}

/// Bytes that a slave lacks of its master's log. `None` where no number is true: nobody knows its master's log, it has another one, or something that
/// its master has not.
fn behind(slave: &HaMaster, of_master: Option<&MasterLog>) -> Option<u64> {
    let master = of_master?;
    let is_other = slave.log.as_ref().zip(master.id.as_ref()).is_some_and(|(own, its)| own != its);
    // Java's slaves say neither whether they follow nor which log they have.
    let has_more = slave.log.is_some() && slave.log_end > master.end;
    if !slave.is_activated && (slave.refusal.is_some() || is_other || has_more) {
        return None;
    }
    Some(master.end.saturating_sub(slave.log_end))
}

/// What is to be said of a replica, and of its log if that is damaged.
fn with_damage(text: String, damaged: u64) -> String {
    if damaged == 0 { text } else { format!("{text}; {damaged} damaged messages") }
}

/// Whom a slave follows. A Java slave does not say whether its stream runs; when it last read does.
#[expect(clippy::disallowed_methods, reason = "how long ago is told, and this is a tool")]
fn master_text(master: &HaMaster) -> String {
    let Some(address) = &master.address else { return "no master".to_owned() };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if let Some(refusal) = master.refusal.as_ref().filter(|_| !master.is_activated) {
        return format!("does not follow {address}: {refusal}");
    }
    match Duration::from_millis(master.last_read) {
        _ if master.is_activated => format!("follows {address}"),
        Duration::ZERO => format!("not connected to {address}"),
        last => format!("heard of {address} {} s ago", now.saturating_sub(last).as_secs()),
    }
}

fn slave_text(slave: &HaSlave) -> String {
    let state = if slave.in_sync { "in sync" } else { "behind" };
    format!("{} {state}, lacks {} bytes", slave.address, slave.behind_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slave_that_does_not_follow_is_not_said_to_lack_nothing() {
        let text = |text: &str| Some(text.to_owned());
        let check = |is_activated, refusal, log, log_end, expected: Option<u64>| {
            let slave = HaMaster { is_activated, refusal, log, log_end, ..HaMaster::default() };
            let master = MasterLog { end: 100, id: text("a") };
            assert_eq!(behind(&slave, Some(&master)), expected, "{slave:?}");
        };
        check(true, None, text("a"), 90, Some(10));
        // What the master has appended since it was asked.
        check(true, None, text("a"), 120, Some(0));
        check(true, text("of before"), text("a"), 100, Some(0));
        check(false, None, text("a"), 90, Some(10));
        check(false, text("the master has lost what both had"), text("a"), 120, None);
        check(false, text("its log is another"), text("b"), 50, None);
        check(false, None, text("b"), 100, None);
        check(false, None, text("a"), 101, None);
        check(false, None, None, 90, Some(10));
        check(false, None, None, 120, Some(0));
        assert_eq!(behind(&HaMaster::default(), None), None);
    }
}
