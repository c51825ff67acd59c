//! The brokers there are, and how their replicas stand.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ringmq_protocol::body::{HaMaster, HaRuntimeInfo, HaSlave};
use ringmq_protocol::code::RequestCode;

use crate::output::Output;
use crate::wire::{AdminError, Cluster};

/// One row a replica: what it is, how far its log goes, and how far a slave is behind its master.
pub(crate) fn list(cluster: &mut Cluster, output: Output) -> Result<(), AdminError> {
    let info = cluster.info()?;
    let mut rows = Vec::new();
    for broker in info.brokers.values() {
        let mut standings = Vec::new();
        for (id, address) in &broker.addresses {
            standings.push((id, address, standing(cluster, address)));
        }
        let master_end = standings.iter().find_map(|(_, _, standing)| match standing {
            Ok(HaRuntimeInfo::Master { log_end, .. }) => Some(*log_end),
            _ => None,
        });
        for (id, address, standing) in standings {
            let mut row = vec![broker.cluster.clone(), broker.broker_name.to_string(), id.to_string(), address.clone()];
            row.extend(standing_cells(standing, master_end));
            rows.push(row);
        }
    }
    output.table(&["CLUSTER", "BROKER", "ID", "ADDRESS", "ROLE", "LOG END", "BEHIND", "REPLICAS"], &rows);
    Ok(())
}

fn standing(cluster: &mut Cluster, address: &str) -> Result<HaRuntimeInfo, AdminError> {
    let answer = cluster.must(address, "its replication", RequestCode::GetBrokerHaStatus, &[], &[])?;
    HaRuntimeInfo::decode(&answer.body)
        .map_err(|error| AdminError::Protocol { address: address.to_owned(), reason: error.to_string() })
}

/// Role, end of the log, bytes behind, replicas. A broker that does not answer, or is too old to, is listed all the same.
fn standing_cells(standing: Result<HaRuntimeInfo, AdminError>, master_end: Option<u64>) -> [String; 4] {
    match standing {
        Ok(HaRuntimeInfo::Master { log_end, in_sync_count, slaves, refused, damaged, .. }) => {
            let strangers = refused.iter().map(|slave| format!("{} refused: {}", slave.address, slave.why));
            let each: Vec<String> = slaves.iter().map(slave_text).chain(strangers).collect();
            let replicas = format!("{} in sync of {}", in_sync_count.saturating_add(1), slaves.len().saturating_add(1));
            let replicas = if each.is_empty() { replicas } else { format!("{replicas}: {}", each.join(", ")) };
            ["master".to_owned(), log_end.to_string(), "0".to_owned(), with_damage(replicas, damaged)]
        }
        Ok(HaRuntimeInfo::Slave(master)) => {
            let log_end = master.log_end;
            let behind = master_end.map_or_else(|| "?".to_owned(), |end| end.saturating_sub(log_end).to_string());
            ["slave".to_owned(), log_end.to_string(), behind, with_damage(master_text(&master), master.damaged)]
        }
        Err(error) => ["?".to_owned(), "?".to_owned(), "?".to_owned(), error.to_string()],
    }
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
