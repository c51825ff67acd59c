//! How fast brokers go, and where messages spend their time.

use std::collections::BTreeMap;

use ringmq_protocol::body::{STAGE_KEYS, decode_key_values};
use ringmq_protocol::code::RequestCode;
use serde_json::Value;

use crate::output::{Column, Output};
use crate::wire::{AdminError, Cluster};

/// What each of [`STAGE_KEYS`] is called.
const STAGES: [&str; STAGE_KEYS.len()] =
    ["socket to append", "append to durable", "durable to replicated", "socket to reply", "append to pulled"];

pub(crate) const COLUMNS: [Column<'static>; 11] = [
    ("BROKER", "broker"),
    ("ID", "id"),
    ("PUT/S", "put_per_s"),
    ("GOT/S", "got_per_s"),
    ("STAGE", "stage"),
    ("COUNT", "count"),
    ("P50 US", "p50_us"),
    ("P99 US", "p99_us"),
    ("P99.9 US", "p999_us"),
    ("MAX US", "max_us"),
    ("ERROR", "error"),
];
/// A stage's numbers, as 28 has them.
const NUMBERS: usize = 5;

/// What a broker says of itself, or why it does not.
type Runtime = Result<BTreeMap<String, String>, AdminError>;

/// One row a replica and stage; a broker that does not measure stages, or does not answer, has one row.
pub(crate) fn stats(cluster: &mut Cluster, output: Output, of: Option<&str>) -> Result<(), AdminError> {
    let info = cluster.info_of(of)?;
    let mut rows = Vec::new();
    for broker in info.brokers.values().filter(|broker| of.is_none_or(|of| broker.cluster == of)) {
        for (id, address) in &broker.addresses {
            let runtime = runtime(cluster, address);
            rows.extend(stage_rows(&broker.broker_name.to_string(), id.0, &runtime));
        }
    }
    // Most often there is none to tell of. Programs find it all the same.
    let has_error = output.json || rows.iter().any(|row| row.last().is_some_and(|error| !error.is_null()));
    let columns = if has_error { &COLUMNS[..] } else { &COLUMNS[..COLUMNS.len() - 1] };
    output.values(columns, &rows);
    output.note("PUT/S, GOT/S: the last 10 seconds. Stages: the last one to two minutes, times in microseconds. -: not measured.");
    Ok(())
}

fn runtime(cluster: &mut Cluster, address: &str) -> Runtime {
    let answer = cluster.must(address, "its state", RequestCode::GetBrokerRuntimeInfo, &[], &[])?;
    decode_key_values(&answer.body)
        .map_err(|error| AdminError::Protocol { address: address.to_owned(), reason: error.to_string() })
}

fn stage_rows(broker: &str, id: u64, runtime: &Runtime) -> Vec<Vec<Value>> {
    let row = |rates: [Value; 2], stage: Value, numbers: [Value; NUMBERS], error: Value| {
        [&[broker.into(), id.into()][..], &rates, &[stage], &numbers, &[error]].concat()
    };
    let nothing = [const { Value::Null }; NUMBERS];
    let table = match runtime {
        Ok(table) => table,
        Err(error) => return vec![row([Value::Null, Value::Null], Value::Null, nothing, error.to_string().into())],
    };
    let rates = ["putTps", "getTransferredTps"].map(|key| rate(table, key));
    let stages = STAGES.into_iter().zip(STAGE_KEYS).filter_map(|(stage, key)| {
        let numbers = table.get(key)?;
        Some(row(rates.clone(), stage.into(), stage_numbers(numbers), Value::Null))
    });
    let stages: Vec<_> = stages.collect();
    if stages.is_empty() { vec![row(rates.clone(), Value::Null, nothing, Value::Null)] } else { stages }
}

/// The first of three rates, to a tenth.
fn rate(table: &BTreeMap<String, String>, key: &str) -> Value {
    let shortest = table.get(key).and_then(|rates| rates.split(' ').next());
    shortest.and_then(|rate| rate.parse::<f64>().ok()).map_or(Value::Null, |rate| ((rate * 10.0).round() / 10.0).into())
}

/// Of a stage that nothing passed the times are not known, also where a broker says 0.
fn stage_numbers(text: &str) -> [Value; NUMBERS] {
    let mut numbers = [const { Value::Null }; NUMBERS];
    for (place, word) in numbers.iter_mut().zip(text.split(' ')) {
        *place = word.parse::<u64>().map_or(Value::Null, Value::from);
    }
    if let [count, times @ ..] = &mut numbers
        && count.as_u64() == Some(0)
    {
        times.fill(Value::Null);
    }
    numbers
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_broker_has_a_row_a_stage_and_one_that_measures_none_has_one() {
        let mut table: BTreeMap<String, String> = [("putTps", "12.34 1.0 0.0"), ("getTransferredTps", "5.0 0.0 0.0")]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .into();
        let rows = |table: &BTreeMap<String, String>| json!(stage_rows("b", 0, &Ok(table.clone())));
        assert_eq!(rows(&table), json!([["b", 0, 12.3, 5.0, null, null, null, null, null, null, null]]));
        table.insert("stageSocketToReply".to_owned(), "9 100 200 300 400".to_owned());
        assert_eq!(rows(&table), json!([["b", 0, 12.3, 5.0, "socket to reply", 9, 100, 200, 300, 400, null]]));
        for nothing in ["0 0 0 0 0", "0 - - - -"] {
            table.insert("stageSocketToReply".to_owned(), nothing.to_owned());
            assert_eq!(rows(&table), json!([["b", 0, 12.3, 5.0, "socket to reply", 0, null, null, null, null, null]]));
        }
    }

    #[test]
    fn a_broker_that_does_not_answer_has_a_row_with_the_reason() {
        let rows = stage_rows("b", 1, &Err(AdminError::NoMaster));
        assert_eq!(rows.len(), 1);
        assert_eq!(rows[0].len(), COLUMNS.len());
        assert_eq!(rows[0][10], AdminError::NoMaster.to_string());
    }
}
