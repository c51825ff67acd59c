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
        let master = standings.iter().find_map(|(_, _, standing)| match standing {
            Ok(HaRuntimeInfo::Master { log_end, log, .. }) => Some(MasterLog { end: *log_end, id: log.clone() }),
            _ => None,
        });
        for (id, address, standing) in standings {
            let mut row = vec![broker.cluster.clone(), broker.broker_name.to_string(), id.to_string(), address.clone()];
            row.extend(standing_cells(standing, master.as_ref()));
            rows.push(row);
        }
    }
    output.table(&["CLUSTER", "BROKER", "ID", "ADDRESS", "ROLE", "LOG END", "BEHIND", "REPLICAS"], &rows);
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
fn standing_cells(standing: Result<HaRuntimeInfo, AdminError>, of_master: Option<&MasterLog>) -> [String; 4] {
    match standing {
        Ok(HaRuntimeInfo::Master { log_end, in_sync_count, slaves, refused, ahead, damaged, .. }) => {
            let strangers = refused.iter().map(|slave| format!("{} refused: {}", slave.address, slave.why));
            let each: Vec<String> = slaves.iter().map(slave_text).chain(strangers).collect();
            let replicas = format!("{} in sync of {}", in_sync_count.saturating_add(1), slaves.len().saturating_add(1));
            let replicas = if each.is_empty() { replicas } else { format!("{replicas}: {}", each.join(", ")) };
            let waits = ahead.map(|ids| {
                format!(
                    "takes no messages until it is decided what becomes of what brokerId {ids} has and it has not; "
                )
            });
            let replicas = waits.unwrap_or_default() + &replicas;
            ["master".to_owned(), log_end.to_string(), "0".to_owned(), with_damage(replicas, damaged)]
        }
        Ok(HaRuntimeInfo::Slave(master)) => {
            let log_end = master.log_end;
            let behind = behind(&master, of_master);
            ["slave".to_owned(), log_end.to_string(), behind, with_damage(master_text(&master), master.damaged)]
        }
        Err(error) => ["?".to_owned(), "?".to_owned(), "?".to_owned(), error.to_string()],
    }
}

/// Bytes that a slave lacks of its master's log; `-` where no number is true, because it has another log, or something that its master has not.
fn behind(slave: &HaMaster, of_master: Option<&MasterLog>) -> String {
    let Some(master) = of_master else { return "?".to_owned() };
    let is_other = slave.log.as_ref().zip(master.id.as_ref()).is_some_and(|(own, its)| own != its);
    // Java's slaves say neither whether they follow nor which log they have.
    let has_more = slave.log.is_some() && slave.log_end > master.end;
    if !slave.is_activated && (slave.refusal.is_some() || is_other || has_more) {
        return "-".to_owned();
    }
    master.end.saturating_sub(slave.log_end).to_string()
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
        let check = |is_activated, refusal, log, log_end, expected: &str| {
            let slave = HaMaster { is_activated, refusal, log, log_end, ..HaMaster::default() };
            let master = MasterLog { end: 100, id: text("a") };
            assert_eq!(behind(&slave, Some(&master)), expected, "{slave:?}");
        };
        check(true, None, text("a"), 90, "10");
        // What the master has appended since it was asked.
        check(true, None, text("a"), 120, "0");
        check(true, text("of before"), text("a"), 100, "0");
        check(false, None, text("a"), 90, "10");
        check(false, text("the master has lost what both had"), text("a"), 120, "-");
        check(false, text("its log is another"), text("b"), 50, "-");
        check(false, None, text("b"), 100, "-");
        check(false, None, text("a"), 101, "-");
        check(false, None, None, 90, "10");
        check(false, None, None, 120, "0");
        assert_eq!(behind(&HaMaster::default(), None), "?");
    }
}
