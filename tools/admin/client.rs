//! Who is connected to the brokers.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::reply::ExtValue;
use serde_json::Value;

use crate::group::known;
use crate::output::{Column, Output};
use crate::wire::{AdminError, Cluster, Master};

/// What `client list` is told.
#[derive(Args)]
pub(crate) struct ListArguments {
    /// Only this group of producers or consumers.
    #[arg(short = 'g', long)]
    group: Option<String>,
    /// Only this cluster.
    #[arg(short = 'c', long)]
    cluster: Option<String>,
}

pub(crate) const LIST: [Column<'static>; 7] = [
    ("KIND", "kind"),
    ("GROUP", "group"),
    ("CLIENT", "client"),
    ("ADDRESS", "address"),
    ("LANGUAGE", "language"),
    ("VERSION", "version"),
    ("BROKERS", "brokers"),
];

/// A client in a group: what it is, its group, its id.
type Member = (&'static str, String, String);

/// What is known of a client, and the brokers that it is connected to.
#[derive(Default)]
struct Connected {
    host: Value,
    language: Value,
    version: Value,
    brokers: BTreeSet<String>,
}

pub(crate) fn list(cluster: &mut Cluster, output: Output, arguments: &ListArguments) -> Result<(), AdminError> {
    let masters = cluster.masters(arguments.cluster.as_deref())?;
    let is_wanted = |group: &str| arguments.group.as_deref().is_none_or(|wanted| wanted == group);
    let mut clients: BTreeMap<Member, Connected> = BTreeMap::new();
    for master in &masters {
        for group in known(cluster, std::slice::from_ref(master))?.into_iter().filter(|group| is_wanted(group)) {
            for client in consumers(cluster, master, &group)? {
                note(&mut clients, master, ("consumer", &group), &client, "clientAddr");
            }
        }
        for (group, producers) in producers(cluster, master)?.into_iter().filter(|(group, _)| is_wanted(group)) {
            for client in producers.as_array().into_iter().flatten() {
                note(&mut clients, master, ("producer", &group), client, "remoteIP");
            }
        }
    }
    let rows: Vec<Vec<Value>> = clients.into_iter().map(row).collect();
    output.values(&LIST, &rows);
    Ok(())
}

fn row(((kind, group, id), client): (Member, Connected)) -> Vec<Value> {
    let brokers: Vec<String> = client.brokers.into_iter().collect();
    vec![kind.into(), group.into(), id.into(), client.host, client.language, client.version, brokers.join(";").into()]
}

fn note(
    clients: &mut BTreeMap<Member, Connected>,
    master: &Master,
    (kind, group): (&'static str, &str),
    client: &Value,
    address_key: &str,
) {
    let member = |name: &str| client.get(name).cloned().unwrap_or_default();
    let Some(id) = client.get("clientId").and_then(Value::as_str) else { return };
    let known = clients.entry((kind, group.to_owned(), id.to_owned())).or_default();
    // Its port is another one at each broker.
    let address = member(address_key);
    let host =
        address.as_str().map(|text| text.rsplit_once(':').map_or(text, |(host, _)| host).trim_start_matches('/'));
    (known.host, known.language, known.version) = (host.into(), member("language"), member("version"));
    known.brokers.insert(master.name.clone());
}

/// The members of a group at a broker, as 203 has them.
fn consumers(cluster: &mut Cluster, master: &Master, group: &str) -> Result<Vec<Value>, AdminError> {
    let ext = [("consumerGroup", ExtValue::Str(group))];
    let answer = cluster.ask(&master.address, RequestCode::GetConsumerConnectionList, &ext, &[])?;
    match ResponseCode::try_from(answer.code) {
        Ok(ResponseCode::Success) => {
            let body = json(master, &answer.body)?;
            Ok(body.get("connectionSet").and_then(Value::as_array).cloned().unwrap_or_default())
        }
        Ok(ResponseCode::ConsumerNotOnline) => Ok(Vec::new()),
        _ => Err(AdminError::refused(master.address.clone(), "the members of a group", answer)),
    }
}

/// All producers of a broker by group, as 328 has them.
fn producers(cluster: &mut Cluster, master: &Master) -> Result<Vec<(String, Value)>, AdminError> {
    let answer = cluster.must(&master.address, "its producers", RequestCode::GetAllProducerInfo, &[], &[])?;
    let body = json(master, &answer.body)?;
    let groups = body.get("data").and_then(Value::as_object).into_iter().flatten();
    Ok(groups.map(|(group, producers)| (group.clone(), producers.clone())).collect())
}

fn json(master: &Master, body: &[u8]) -> Result<Value, AdminError> {
    serde_json::from_slice(body)
        .map_err(|error| AdminError::Protocol { address: master.address.clone(), reason: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_at_two_brokers_is_one() {
        let mut clients = BTreeMap::new();
        for (name, port) in [("a", 1), ("b", 2)] {
            let master = Master { name: name.to_owned(), address: String::new() };
            let client = serde_json::json!({"clientId": "c", "clientAddr": format!("1.2.3.4:{port}"), "language": "JAVA", "version": 479});
            note(&mut clients, &master, ("consumer", "G"), &client, "clientAddr");
        }
        let rows: Vec<Vec<Value>> = clients.into_iter().map(row).collect();
        assert_eq!(serde_json::json!(rows), serde_json::json!([["consumer", "G", "c", "1.2.3.4", "JAVA", 479, "a;b"]]));
    }
}
