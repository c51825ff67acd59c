//! How fast brokers go, and where messages spend their time.

use std::collections::BTreeMap;

use ringmq_protocol::body::{STAGE_KEYS, decode_key_values};
use ringmq_protocol::code::RequestCode;

use crate::output::Output;
use crate::wire::{AdminError, Cluster};

/// What each of [`STAGE_KEYS`] is called.
const STAGES: [&str; STAGE_KEYS.len()] =
    ["socket to append", "append to durable", "durable to replicated", "socket to reply", "append to pulled"];

/// One row a replica and stage; a broker that does not measure stages has one row.
pub(crate) fn stats(cluster: &mut Cluster, output: Output) -> Result<(), AdminError> {
    let info = cluster.info()?;
    let mut rows = Vec::new();
    for broker in info.brokers.values() {
        for (id, address) in &broker.addresses {
            let head = [broker.broker_name.to_string(), id.to_string()];
            match runtime(cluster, address) {
                Ok(table) => rows.extend(stage_rows(&table).into_iter().map(|row| [&head[..], &row[..]].concat())),
                // It is listed all the same.
                Err(error) => {
                    rows.push([&head[..], &cells(["?", "?", &error.to_string(), "", "", "", "", ""])].concat())
                }
            }
        }
    }
    let headings = ["BROKER", "ID", "PUT/S", "GOT/S", "STAGE", "COUNT", "P50 US", "P99 US", "P99.9 US", "MAX US"];
    output.table(&headings, &rows);
    Ok(())
}

fn runtime(cluster: &mut Cluster, address: &str) -> Result<BTreeMap<String, String>, AdminError> {
    let answer = cluster.must(address, "its state", RequestCode::GetBrokerRuntimeInfo, &[], &[])?;
    decode_key_values(&answer.body)
        .map_err(|error| AdminError::Protocol { address: address.to_owned(), reason: error.to_string() })
}

/// The rates of the last ten seconds, and each stage of the last one to two minutes.
fn stage_rows(table: &BTreeMap<String, String>) -> Vec<[String; 8]> {
    let rate = |key: &str| {
        let shortest = table.get(key).and_then(|rates| rates.split(' ').next());
        shortest.and_then(|rate| rate.parse().ok()).map_or_else(|| "?".to_owned(), |rate: f64| format!("{rate:.1}"))
    };
    let (put, got) = (rate("putTps"), rate("getTransferredTps"));
    let row = |stage: &str, numbers: &str| {
        let mut row = cells([&put, &got, stage, "", "", "", "", ""]);
        row.iter_mut().skip(3).zip(numbers.split(' ')).for_each(|(cell, number)| number.clone_into(cell));
        row
    };
    let stages = STAGES.into_iter().zip(STAGE_KEYS).filter_map(|(stage, key)| Some(row(stage, table.get(key)?)));
    let stages: Vec<_> = stages.collect();
    if stages.is_empty() { vec![row("not measured", "")] } else { stages }
}

fn cells(cells: [&str; 8]) -> [String; 8] {
    cells.map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broker_has_a_row_a_stage_and_one_that_measures_none_has_one() {
        let mut table: BTreeMap<String, String> = [("putTps", "12.34 1.0 0.0"), ("getTransferredTps", "5.0 0.0 0.0")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        assert_eq!(stage_rows(&table), [["12.3", "5.0", "not measured", "", "", "", "", ""].map(str::to_owned)]);
        table.insert("stageSocketToReply".to_owned(), "9 100 200 300 400".to_owned());
        let expected = ["12.3", "5.0", "socket to reply", "9", "100", "200", "300", "400"].map(str::to_owned);
        assert_eq!(stage_rows(&table), [expected]);
    }
}
