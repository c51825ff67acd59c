//! Facts that stock clients and scripts tell of a broker, one file a client in `tests/stock/facts`: Apache's, which ringmq must give as well.
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use ringmq_peers::{Apache, BrokerOptions, Missing, StockClient, workspace_dir};

use crate::{Client, Record, expect_passed, say, wait_for};

/// Facts by scenario.
pub type Facts = BTreeMap<String, Vec<String>>;

/// Adds a fact, and says it where that was asked for.
pub fn tell_fact(facts: &mut Facts, scenario: &str, fact: String) {
    if std::env::var_os("RINGMQ_SAY_REMARKS").is_some() {
        eprintln!("{scenario} {fact}");
    }
    facts.entry(scenario.to_owned()).or_default().push(fact);
}

/// The records of each topic's first queue once no more have come for `still`. A topic that is not there has none.
pub fn read_until_still(client: &mut Client, topics: &[String], still: Duration) -> Vec<Vec<Record>> {
    let mut read = || -> Vec<Vec<Record>> {
        topics.iter().map(|topic| client.read_queue(topic, 0, 0).unwrap_or_default()).collect()
    };
    let (mut records, mut since) = (read(), Instant::now());
    wait_for("quiet", || {
        let now = read();
        if now != records {
            (records, since) = (now, Instant::now());
        }
        (since.elapsed() > still).then_some(())
    });
    records
}

/// Where ringmq differs on purpose: facts file, what the line holds, and why.
pub type KnownDifference = (&'static str, &'static str, &'static str);

/// Which facts file, the client, and the scenarios that it runs.
pub type ClientRun = (&'static str, Result<StockClient, Missing>, &'static [&'static str]);

/// Checks Apache's own broker with these settings beside small ones: `check` gets the addresses of its name server and of itself. Where Apache cannot
/// be had that is said, and nothing is checked.
pub fn check_apache(settings: &[(&str, &str)], check: impl FnOnce(&str, &str)) {
    let apache = match Apache::locate() {
        Ok(apache) => apache,
        Err(missing) => return say(&format!("skipped: {missing}")),
    };
    let name_server = apache.start_name_server().expect("it starts");
    let mut options = BrokerOptions::small(&name_server.address());
    options.more.extend(settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())));
    let broker = apache.start_broker(&options).expect("it starts");
    check(&name_server.address(), &broker.address());
}

/// What the names of a client's topics and groups begin with.
pub fn prefix_of(client: &str) -> String {
    client.chars().filter(char::is_ascii_alphanumeric).collect()
}

/// Tells facts of a broker, by stock clients and by a script of requests that none of them sends, all at once: they mostly wait. What cannot be had is
/// said and left out. The script begins while `clients` are still being looked for: what it asks of the broker as a whole is then its own doing.
pub fn tell_facts(
    name_server: &str,
    clients: impl FnOnce() -> Vec<ClientRun>,
    timeout: Duration,
    (script, run): (&'static str, impl FnOnce() -> io::Result<Facts> + Send),
) -> Vec<(&'static str, Facts)> {
    let facts_of = |client: &StockClient, scenarios: &[&str]| {
        let outcomes = client.run(name_server, &prefix_of(client.name()), scenarios, timeout).expect("the client runs");
        expect_passed(client.name(), &outcomes);
        outcomes.into_iter().map(|outcome| (outcome.scenario, outcome.facts)).collect::<Facts>()
    };
    let facts_of = &facts_of;
    thread::scope(|scope| {
        let raw = scope.spawn(|| run().expect("the broker answers"));
        let clients: Vec<_> = clients()
            .into_iter()
            .filter_map(|(name, client, scenarios)| match client {
                Ok(client) => Some(scope.spawn(move || (name, facts_of(&client, scenarios)))),
                Err(missing) => {
                    say(&format!("skipped: {missing}"));
                    None
                }
            })
            .collect();
        let mut found: Vec<_> = clients.into_iter().map(|client| client.join().expect("all passed")).collect();
        found.push((script, raw.join().expect("the script runs")));
        found
    })
}

/// The broker whose facts are those of the files.
pub const APACHE: &str = "Apache";

/// Fails if a broker does not give the facts of the files. `RINGMQ_WRITE_FACTS=1` writes them anew from what Apache does.
pub fn check_facts(broker: &str, found: &[(&str, Facts)], known: &[KnownDifference]) {
    let is_written = broker == APACHE && std::env::var_os("RINGMQ_WRITE_FACTS").is_some();
    for (name, facts) in found {
        if is_written {
            write_facts(name, facts);
        }
        compare_facts(broker, name, facts, known);
    }
}

fn file_of(name: &str) -> PathBuf {
    workspace_dir().join(format!("tests/stock/facts/{name}.txt"))
}

/// The facts that a broker must give: `SCENARIO FACT` a line.
fn expected(name: &str) -> Facts {
    let text = fs::read_to_string(file_of(name)).unwrap_or_else(|error| panic!("{}: {error}", file_of(name).display()));
    let mut facts = Facts::new();
    for line in text.lines() {
        let (scenario, fact) = line.split_once(' ').expect("a scenario and a fact a line");
        facts.entry(scenario.to_owned()).or_default().push(fact.to_owned());
    }
    facts
}

/// Writes a file from what a broker does.
fn write_facts(name: &str, facts: &Facts) {
    let lines = facts.iter().flat_map(|(scenario, facts)| facts.iter().map(move |fact| format!("{scenario} {fact}\n")));
    fs::write(file_of(name), lines.collect::<String>()).expect("the folder is there");
}

/// Fails with each fact that is missing, and each that is not expected.
fn compare_facts(broker: &str, name: &str, found: &Facts, known: &[KnownDifference]) {
    let expected = expected(name);
    let known: Vec<&str> = known.iter().filter(|(file, _, _)| *file == name).map(|(_, part, _)| *part).collect();
    let lines = |facts: &Facts, others: &Facts, sign: &str| {
        let unmatched = facts.iter().flat_map(|(scenario, facts)| {
            let theirs = others.get(scenario).map_or(&[][..], Vec::as_slice);
            facts.iter().filter(|fact| !theirs.contains(fact)).map(move |fact| format!("{sign} {scenario} {fact}"))
        });
        unmatched.collect::<Vec<_>>()
    };
    let mut differences = lines(&expected, found, "-");
    differences.extend(lines(found, &expected, "+"));
    differences.sort_by(|a, b| a[2..].cmp(&b[2..]));
    for part in &known {
        let met = differences.iter().any(|line| line.contains(part));
        assert!(met, "{broker}: `{part}` of {name} no longer differs: take it out of KNOWN_DIFFERENCES");
    }
    differences.retain(|line| !known.iter().any(|part| line.contains(part)));
    assert!(differences.is_empty(), "{broker} differs from {name}:\n{}", differences.join("\n"));
    if known.is_empty() {
        assert_eq!(&expected, found, "{broker}: the same facts as {name} in another order, or more than once");
    }
}
