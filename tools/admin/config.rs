//! Settings of brokers, as their nodes have them.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use ringmq_protocol::code::RequestCode;
use serde_json::Value;

use crate::output::{Column, Output};
use crate::wire::{AdminError, Cluster, Master};

#[derive(Subcommand)]
pub(crate) enum ConfigCommand {
    /// The settings in force, of every master or one broker.
    Get(GetArguments),
    /// Change a setting of every master or one broker, as far as it may change while it runs.
    Set(SetArguments),
}

/// Whose settings.
#[derive(Args)]
struct Whose {
    /// Only the broker of this address or name.
    #[arg(short = 'b', long)]
    broker: Option<String>,
    /// Only this cluster.
    #[arg(short = 'c', long)]
    cluster: Option<String>,
}

/// What `config get` is told.
#[derive(Args)]
pub(crate) struct GetArguments {
    /// Only these keys.
    keys: Vec<String>,
    #[command(flatten)]
    whose: Whose,
}

/// What `config set` is told.
#[derive(Args)]
pub(crate) struct SetArguments {
    /// The key, as the configuration has it.
    #[arg(required_unless_present = "key_option")]
    key: Option<String>,
    /// Its new value.
    #[arg(required_unless_present = "value_option", allow_hyphen_values = true)]
    value: Option<String>,
    /// The key, as `mqadmin` takes it.
    #[arg(short = 'k', long = "key", id = "key_option", value_name = "KEY", conflicts_with_all = ["key", "value"], requires = "value_option")]
    key_option: Option<String>,
    /// The value, as `mqadmin` takes it.
    #[arg(
        short = 'v',
        long = "value",
        id = "value_option",
        value_name = "VALUE",
        requires = "key_option",
        allow_hyphen_values = true
    )]
    value_option: Option<String>,
    #[command(flatten)]
    whose: Whose,
}

pub(crate) const GET: [Column<'static>; 3] = [("BROKER", "broker"), ("KEY", "key"), ("VALUE", "value")];
pub(crate) const SET: [Column<'static>; 5] =
    [("BROKER", "broker"), ("KEY", "key"), ("WAS", "was"), ("VALUE", "value"), ("REMARK", "remark")];

pub(crate) fn config(cluster: &mut Cluster, output: Output, command: &ConfigCommand) -> Result<(), AdminError> {
    match command {
        ConfigCommand::Get(arguments) => get(cluster, output, arguments),
        ConfigCommand::Set(arguments) => set(cluster, output, arguments),
    }
}

/// The brokers that are meant; a slave is one if it is named.
fn brokers(cluster: &mut Cluster, whose: &Whose) -> Result<Vec<Master>, AdminError> {
    let Some(wanted) = &whose.broker else { return cluster.masters(whose.cluster.as_deref()) };
    let info = cluster.info_of(whose.cluster.as_deref())?;
    let all = info.brokers.values().flat_map(|broker| {
        broker.addresses.iter().map(|(id, address)| (id.0, broker.broker_name.to_string(), address.clone()))
    });
    let mut found: Vec<Master> = all
        .filter(|(id, name, address)| address == wanted || (*id == 0 && name == wanted))
        .map(|(_, name, address)| Master { name, address })
        .collect();
    found.truncate(1);
    if found.is_empty() { Err(AdminError::NoBroker { address: wanted.clone() }) } else { Ok(found) }
}

fn settings(cluster: &mut Cluster, broker: &Master) -> Result<BTreeMap<String, String>, AdminError> {
    let answer = cluster.must(&broker.address, "its configuration", RequestCode::GetBrokerConfig, &[], &[])?;
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    let pairs = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    Ok(pairs.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned())).collect())
}

fn get(cluster: &mut Cluster, output: Output, arguments: &GetArguments) -> Result<(), AdminError> {
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for broker in brokers(cluster, &arguments.whose)? {
        let settings = settings(cluster, &broker)?;
        if let Some(unknown) = arguments.keys.iter().find(|key| !settings.contains_key(*key)) {
            return Err(AdminError::NoSetting { name: broker.name, key: unknown.clone() });
        }
        let is_wanted = |key: &String| arguments.keys.is_empty() || arguments.keys.contains(key);
        for (key, value) in settings.into_iter().filter(|(key, _)| is_wanted(key)) {
            rows.push(vec![broker.name.as_str().into(), key.into(), value.into()]);
        }
    }
    output.values(&GET, &rows);
    Ok(())
}

fn set(cluster: &mut Cluster, output: Output, arguments: &SetArguments) -> Result<(), AdminError> {
    let either =
        |one: &Option<String>, other: &Option<String>| one.clone().or_else(|| other.clone()).unwrap_or_default();
    let (key, value) =
        (either(&arguments.key, &arguments.key_option), either(&arguments.value, &arguments.value_option));
    let (key, value) = (key.trim(), value.trim());
    if key.is_empty() || format!("{key}{value}").contains(['\n', '\r']) {
        return Err(AdminError::Usage("a key and its value are each one line".to_owned()));
    }
    // A change is one of all shards of a node: what was is asked first.
    let mut found = Vec::new();
    for broker in brokers(cluster, &arguments.whose)? {
        match settings(cluster, &broker)?.remove(key) {
            Some(was) => found.push((broker, was)),
            None => return Err(AdminError::NoSetting { name: broker.name, key: key.to_owned() }),
        }
    }
    let mut rows: Vec<Vec<Value>> = Vec::new();
    for (broker, was) in found {
        let text = format!("{key}={value}\n");
        let answer =
            cluster.must(&broker.address, "the setting", RequestCode::UpdateBrokerConfig, &[], text.as_bytes())?;
        // Whether a file keeps it, for one.
        let remark = (!answer.remark.is_empty()).then_some(answer.remark);
        // What it says, not what it was told.
        let is = settings(cluster, &broker)?.remove(key);
        rows.push(vec![broker.name.into(), key.into(), was.into(), is.into(), remark.into()]);
    }
    output.values(&SET, &rows);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake::{self, success};

    #[test]
    fn a_setting_is_changed_if_there_is_one() {
        let (mut cluster, seen) = fake::cluster(|code, _| match code {
            RequestCode::GetBrokerConfig => success("a=1\nb=x=y\n"),
            RequestCode::UpdateBrokerConfig => success(""),
            _ => None,
        });
        let output = Output { json: true };
        let whose = |broker: Option<&str>| Whose { broker: broker.map(str::to_owned), cluster: None };
        let broker = Master { name: "broker-a".to_owned(), ..cluster.masters(None).expect("one")[0].clone() };
        assert_eq!(settings(&mut cluster, &broker).expect("it answers")["b"], "x=y");
        let of = |keys: &[&str]| GetArguments {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            whose: whose(None),
        };
        get(&mut cluster, output, &of(&["a"])).expect("it is there");
        assert!(matches!(get(&mut cluster, output, &of(&["nope"])), Err(AdminError::NoSetting { .. })));
        let changed = |key: &str, broker| SetArguments {
            key: Some(key.to_owned()),
            value: Some("2".to_owned()),
            key_option: None,
            value_option: None,
            whose: whose(broker),
        };
        set(&mut cluster, output, &changed("a", Some("broker-a"))).expect("it is changed");
        assert!(matches!(set(&mut cluster, output, &changed("nope", None)), Err(AdminError::NoSetting { .. })));
        assert!(matches!(set(&mut cluster, output, &changed("a", Some("z"))), Err(AdminError::NoBroker { .. })));
        let changes =
            seen.lock().expect("nobody panics").iter().filter(|request| request.starts_with("UpdateBroker")).count();
        assert_eq!(changes, 1);
    }
}
