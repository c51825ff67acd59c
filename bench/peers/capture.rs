//! Writes `tests/golden`: frames of stock clients and of Apache's servers, taken on the wire.
//!
//! `cargo run -p ringmq-peers --bin capture` brings up Apache RocketMQ 5.3.3 behind a tap, runs the stock clients
//! through it and keeps a few frames of each kind. Rewriting the folder gives a diff that a person reads.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "a tool that starts processes and writes files; no part of the broker"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::error::Error;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use ringmq_peers::{Apache, BrokerOptions, PortBlock, StockClient, Tap, TappedFrame, workspace_dir};
use serde_json::Value;

/// Frames kept of one kind: the first, and one whose header has other fields.
const VARIANTS_MAX: usize = 2;
/// Commands of mqadmin, on a topic and a group that the Java client's run leaves behind.
const MQADMIN: [&str; 14] = [
    "updateTopic -c DefaultCluster -t golden -r 4 -w 4",
    "updateSubGroup -c DefaultCluster -g golden_group",
    "clusterList",
    "topicList",
    "topicList -c",
    "topicRoute -t golden",
    "topicStatus -t java-5_3_3_send-sync",
    "topicClusterList -t golden",
    "brokerStatus -c DefaultCluster",
    "consumerProgress -g G_java-5_3_3_push-resume",
    "consumerProgress",
    "consumerConnection -g G_java-5_3_3_push-resume",
    "producerConnection -g P_java-5_3_3_send-sync -t golden",
    "deleteTopic -c DefaultCluster -t golden",
];
/// Longest wait for one client.
const TIMEOUT: Duration = Duration::from_secs(180);

/// The head of `tests/golden/README.md`; one line a folder follows.
const README: &str = "# Frames of stock software\n\n\
    Each file is one whole frame as it was on the wire, length field included, written by\n\
    `cargo run -p ringmq-peers --bin capture` (Apache RocketMQ 5.3.3, loopback).\n\n\
    Names: `request-CODE.bin`, `response-CODE-RESULT.bin` (CODE is that of the request it answers), `-b` for a second\n\
    form of the same. `from-server-CODE.bin` is a request that a server sent to its client. `-binary` marks headers in\n\
    the ROCKETMQ form.\n\n| folder | who sent the requests | command |\n|---|---|---|\n";

fn main() -> Result<(), Box<dyn Error>> {
    let apache = Apache::locate()?;
    let name_server = apache.start_name_server()?;
    // Three ports of five digits each: the tap replaces an address with one of the same length.
    let taps = [PortBlock::reserve(1), PortBlock::reserve(1), PortBlock::reserve(1)];
    let [for_broker, for_clients, to_broker] = taps.each_ref().map(PortBlock::listen);
    let registration = Tap::start(for_broker, &name_server.address(), &[])?;
    let broker = apache.start_broker(&BrokerOptions::small(&format!("127.0.0.1:{for_broker}")))?;
    let rewrite = [(broker.address(), format!("127.0.0.1:{to_broker}"))];

    let golden = workspace_dir().join("tests/golden");
    let mut readme = README.to_owned();
    let java = [
        "send-sync",
        "send-oneway",
        "send-batch",
        "push-tags",
        "push-orderly",
        "push-resume",
        "pull",
        "lite-pull",
        "view-message",
        "query-message",
        "offsets",
    ];
    let short = ["send-sync", "push-tags", "push-resume", "pull"];
    let go = ["send-sync", "send-batch", "push-tags", "send-ordered"];
    let python = ["send-sync", "push-tags", "push-orderly"];
    let clients: [(&str, StockClient, &[&str]); 5] = [
        ("java-5.3.3", StockClient::java_5()?, &java),
        ("java-5.3.3-binary", StockClient::java_5_binary()?, &short),
        ("java-4.9.8", StockClient::java_4()?, &java),
        ("go-2.1.2", StockClient::go()?, &go),
        ("python-0.4.4", StockClient::python()?, &python),
    ];
    // One tap for all: a port cannot be listened on twice, and the frames before a client's start are the others'.
    let names = Tap::start(for_clients, &name_server.address(), &rewrite)?;
    let messages = Tap::start(to_broker, &broker.address(), &rewrite)?;
    for (folder, client, scenarios) in clients {
        let (names_before, messages_before) = (names.frames().len(), messages.frames().len());
        let prefix = folder.replace('.', "_");
        let outcomes = client.run(&format!("127.0.0.1:{for_clients}"), &prefix, scenarios, TIMEOUT)?;
        for outcome in outcomes.iter().filter(|outcome| !outcome.passed) {
            eprintln!("{folder} {}: {}", outcome.scenario, outcome.error.as_deref().unwrap_or_default());
        }
        let frames = joined(names.frames().split_off(names_before), messages.frames().split_off(messages_before));
        let count = save(&golden, folder, &frames)?;
        eprintln!("{folder}: {count} files from {} frames", frames.len());
        writeln!(readme, "| `{folder}` | {} | `{}` |", client.name(), scenarios.join(" "))?;
    }
    let before = (names.frames().len(), messages.frames().len());
    for command in MQADMIN {
        let mut arguments: Vec<&str> = command.split(' ').collect();
        let address = format!("127.0.0.1:{for_clients}");
        arguments.extend(["-n", &address]);
        apache.mqadmin(&arguments)?;
    }
    let frames = joined(names.frames().split_off(before.0), messages.frames().split_off(before.1));
    save(&golden, "mqadmin-5.3.3", &frames)?;
    writeln!(readme, "| `mqadmin-5.3.3` | mqadmin 5.3.3 | `{}` |", MQADMIN.join("`, `"))?;
    save(&golden, "broker-5.3.3", &registration.frames())?;
    writeln!(
        readme,
        "| `broker-5.3.3` | Apache broker 5.3.3, to its name server | its start, and topics made since |"
    )?;
    fs::write(golden.join("README.md"), readme)?;
    Ok(())
}

/// Frames of both taps as one list. Each counts its connections for itself, so one side's numbers are moved far away:
/// opaques are told apart by connection.
fn joined(names: Vec<TappedFrame>, messages: Vec<TappedFrame>) -> Vec<TappedFrame> {
    let moved = messages.into_iter().map(|frame| TappedFrame { connection: frame.connection + 1_000_000, ..frame });
    names.into_iter().chain(moved).collect()
}

/// Writes the first frames of each kind into a fresh folder and returns how many.
fn save(golden: &Path, folder: &str, frames: &[TappedFrame]) -> Result<usize, Box<dyn Error>> {
    let dir = golden.join(folder);
    if dir.exists() {
        fs::remove_dir_all(&dir)?;
    }
    fs::create_dir_all(&dir)?;
    let mut requests: BTreeMap<(usize, bool, i64), i64> = BTreeMap::new();
    let mut shapes: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut count = 0;
    for frame in frames {
        let Some(header) = Header::read(&frame.bytes) else { return Err("a frame without a header".into()) };
        let kind = if header.is_response {
            // A response answers a request that went the other way.
            let Some(code) = requests.get(&(frame.connection, !frame.from_client, header.opaque)) else { continue };
            let from = if frame.from_client { "client-response" } else { "response" };
            format!("{from}-{code}-{}", header.code)
        } else {
            requests.insert((frame.connection, frame.from_client, header.opaque), header.code);
            format!("{}-{}", if frame.from_client { "request" } else { "from-server" }, header.code)
        };
        let kind = if header.binary { format!("{kind}-binary") } else { kind };
        let known = shapes.entry(kind.clone()).or_default();
        if known.len() < VARIANTS_MAX && known.insert(header.shape) {
            let variant = if known.len() == 1 { String::new() } else { "-b".to_owned() };
            fs::write(dir.join(format!("{kind}{variant}.bin")), &frame.bytes)?;
            count += 1;
        }
    }
    Ok(count)
}

/// What naming a file needs of a header.
struct Header {
    binary: bool,
    code: i64,
    opaque: i64,
    is_response: bool,
    /// Frames of one kind and shape are alike.
    shape: String,
}

impl Header {
    fn read(frame: &[u8]) -> Option<Self> {
        let length = number(frame.get(5..8)?);
        let end = usize::try_from(length).ok()?.checked_add(8)?;
        let (header, body) = (frame.get(8..end)?, frame.get(end..)?);
        if frame.get(4) == Some(&1) {
            // code 2, language 1, version 2, opaque 4, flag 4
            let shape = format!("binary, body {}", !body.is_empty());
            let is_response = number(header.get(9..13)?) & 1 == 1;
            let (code, opaque) = (number(header.get(0..2)?), number(header.get(5..9)?));
            return Some(Self { binary: true, code, opaque, is_response, shape });
        }
        let value: Value = serde_json::from_slice(header).ok()?;
        let fields: Vec<&String> = value["extFields"].as_object().into_iter().flatten().map(|(name, _)| name).collect();
        Some(Self {
            binary: false,
            code: value["code"].as_i64()?,
            opaque: value["opaque"].as_i64()?,
            is_response: value["flag"].as_i64()? & 1 == 1,
            shape: format!("{fields:?}, body {}", !body.is_empty()),
        })
    }
}

fn number(bytes: &[u8]) -> i64 {
    bytes.iter().fold(0, |number, &byte| (number << 8) | i64::from(byte))
}
