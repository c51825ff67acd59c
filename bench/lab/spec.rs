//! A cluster as asked for: `ringmq:2m-2s-sync`, `ringmq@before:all`, `apache@5.2.0:1m-1s-async,flushDiskType=SYNC_FLUSH`, `echo`.

use std::str::FromStr;
use std::time::Duration;

use crate::load::settings::parse_duration;

/// What runs in a cluster that is brought up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Software {
    /// A node of this project.
    Ringmq {
        /// Which binary, of those that `--ringmq` names; without a name the one beside this program, or the one that `--ringmq` gives instead.
        build: Option<String>,
    },
    /// From Maven.
    Apache {
        /// `5.3.3` unless stated.
        version: String,
    },
    /// `ringmq-echo` beside this program: answers, and stores nothing.
    Echo,
}

/// When a reply of success comes, as to slaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replication {
    /// `ASYNC_MASTER`: before the slave has the message.
    Async,
    /// `SYNC_MASTER` with `inSyncReplicas=2`: after. Apache's default of 1 would wait for nobody.
    Sync,
}

/// Brokers and their roles.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mode {
    /// As on the command line.
    pub name: &'static str,
    /// Masters: broker-a, broker-b.
    pub masters: u16,
    /// Each master has a slave, and how that is written to; or none has.
    pub replication: Option<Replication>,
}

impl Mode {
    /// Whether it is one broker and nothing else: then the name server can live in its process.
    pub fn is_single(&self) -> bool {
        self.masters == 1 && self.replication.is_none()
    }
}

/// The folders of `conf/` and of Apache's distribution, a single broker, and pairs of one master and one slave.
pub const MODES: [Mode; 6] = [
    Mode { name: "all", masters: 1, replication: None },
    Mode { name: "2m-noslave", masters: 2, replication: None },
    Mode { name: "2m-2s-async", masters: 2, replication: Some(Replication::Async) },
    Mode { name: "2m-2s-sync", masters: 2, replication: Some(Replication::Sync) },
    Mode { name: "1m-1s-async", masters: 1, replication: Some(Replication::Async) },
    Mode { name: "1m-1s-sync", masters: 1, replication: Some(Replication::Sync) },
];

/// A cluster as asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spec {
    /// As typed.
    pub text: String,
    /// What runs.
    pub software: Software,
    /// Brokers and their roles.
    pub mode: Mode,
    /// Lines of every broker's configuration; they win over those of the mode.
    pub properties: Vec<(String, String)>,
    /// Between master and slave, there and back, made by a relay; without one they are neighbours.
    pub round_trip: Option<Duration>,
}

/// Why a text is no cluster.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("--up {text}: {reason}")]
pub struct SpecError {
    /// As typed.
    text: String,
    /// What is wrong with it, and what is right.
    reason: String,
}

/// Of the relay between master and slave, and no property of a broker: `ringmq:1m-1s-sync,round-trip=4ms`.
const ROUND_TRIP: &str = "round-trip";

/// What `ringmq-bench` chooses itself: ports, folders, names and roles.
const CHOSEN: [&str; 10] = [
    "listenPort",
    "haListenPort",
    "namesrvListenPort",
    "namesrvAddr",
    "storePathRootDir",
    "brokerName",
    "brokerId",
    "brokerRole",
    "bindAddress",
    "brokerIP1",
];

impl FromStr for Spec {
    type Err = SpecError;

    fn from_str(text: &str) -> Result<Self, SpecError> {
        let refuse = |reason: String| SpecError { text: text.to_owned(), reason };
        if text.split([':', ',']).next() == Some("echo") {
            if text != "echo" {
                return Err(refuse("the echo has no modes and no properties: --up echo".to_owned()));
            }
            return Ok(Self {
                text: text.to_owned(),
                software: Software::Echo,
                mode: MODES[0],
                properties: Vec::new(),
                round_trip: None,
            });
        }
        let mut parts = text.split(',');
        let head = parts.next().unwrap_or_default();
        let (software, mode) = head.split_once(':').ok_or_else(|| {
            refuse("it takes SOFTWARE:MODE, such as ringmq:2m-2s-sync or apache:all, or echo".to_owned())
        })?;
        let software = match software.split_once('@') {
            None if software == "ringmq" => Software::Ringmq { build: None },
            None if software == "apache" => Software::Apache { version: "5.3.3".to_owned() },
            Some(("apache", version)) => Software::Apache { version: version.to_owned() },
            Some(("ringmq", build)) => Software::Ringmq { build: Some(build.to_owned()) },
            _ => {
                return Err(refuse(format!(
                    "there is no software {software}; it takes ringmq, ringmq@NAME, apache or apache@VERSION, or echo alone"
                )));
            }
        };
        let known = MODES.map(|mode| mode.name).join(", ");
        let mode = *MODES
            .iter()
            .find(|known| known.name == mode)
            .ok_or_else(|| refuse(format!("there is no mode {mode}; the modes are {known}")))?;
        let (mut properties, mut round_trip) = (Vec::new(), None);
        for part in parts {
            let (key, value) =
                part.split_once('=').ok_or_else(|| refuse(format!("{part} is no property: it takes KEY=VALUE")))?;
            let (key, value) = (key.trim(), value.trim());
            if CHOSEN.contains(&key) {
                return Err(refuse(format!("{key} is chosen by ringmq-bench; leave it out")));
            }
            if key == ROUND_TRIP {
                round_trip = Some(parse_duration(value).map_err(|reason| refuse(format!("{key}: {reason}")))?);
            } else {
                properties.push((key.to_owned(), value.to_owned()));
            }
        }
        let spec = Self { text: text.to_owned(), software, mode, properties, round_trip };
        if !matches!(spec.property("shards").map(str::parse::<u16>), None | Some(Ok(1..=64))) {
            return Err(refuse("shards is a number from 1 to 64".to_owned()));
        }
        if spec.round_trip.is_some() && !spec.can_be_apart() {
            return Err(refuse(format!("{ROUND_TRIP} needs a mode with slaves, and shards=1")));
        }
        Ok(spec)
    }
}

impl Spec {
    /// The value of a property that was asked for; the last one counts.
    pub fn property(&self, key: &str) -> Option<&str> {
        self.properties.iter().rev().find(|(known, _)| known == key).map(|(_, value)| value.as_str())
    }

    /// Shards of each of its brokers; Apache's have one.
    pub fn shards(&self) -> u16 {
        match self.software {
            Software::Ringmq { .. } => self.property("shards").and_then(|count| count.parse().ok()).unwrap_or(1),
            Software::Apache { .. } | Software::Echo => 1,
        }
    }

    /// Whether a relay can stand between master and slave.
    pub fn can_be_apart(&self) -> bool {
        self.mode.replication.is_some() && self.shards() == 1
    }

    /// Processes that are brokers.
    pub fn brokers(&self) -> u16 {
        self.mode.masters * if self.mode.replication.is_some() { 2 } else { 1 }
    }

    /// Whether what it answered as stored can be pulled, lost or found again.
    pub fn is_broker(&self) -> bool {
        self.software != Software::Echo
    }

    /// Whether a JVM runs it: those compile while they run.
    pub fn is_java(&self) -> bool {
        matches!(self.software, Software::Apache { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clusters_read_as_they_are_typed() {
        let spec: Spec = "apache@5.2.0:2m-2s-sync,flushDiskType=SYNC_FLUSH, a = b".parse().expect("a cluster");
        assert_eq!(spec.software, Software::Apache { version: "5.2.0".to_owned() });
        assert_eq!((spec.mode.masters, spec.mode.replication, spec.brokers()), (2, Some(Replication::Sync), 4));
        assert_eq!((spec.property("flushDiskType"), spec.property("a")), (Some("SYNC_FLUSH"), Some("b")));
        let spec: Spec = "ringmq:all,shards=2".parse().expect("a cluster");
        assert_eq!((spec.shards(), spec.brokers(), spec.is_java()), (2, 1, false));
        let spec: Spec = "ringmq@before:1m-1s-sync,round-trip=4ms,a=b".parse().expect("a cluster");
        assert_eq!(spec.software, Software::Ringmq { build: Some("before".to_owned()) });
        assert_eq!((spec.round_trip, spec.properties.len()), (Some(Duration::from_millis(4)), 1));
        let spec: Spec = "echo".parse().expect("a cluster");
        assert_eq!((spec.software.clone(), spec.shards(), spec.brokers()), (Software::Echo, 1, 1));
    }

    #[test]
    fn what_is_none_is_refused_with_what_is_right() {
        let refused = |text: &str, expected: &str| {
            let error = text.parse::<Spec>().expect_err(text).to_string();
            assert!(error.contains(text) && error.contains(expected), "{text}\n  says: {error}\n  wanted: {expected}");
        };
        refused("ringmq", "SOFTWARE:MODE");
        refused("ringmq:3m", "there is no mode 3m; the modes are all, 2m-noslave");
        refused("kafka:all", "ringmq, ringmq@NAME, apache or apache@VERSION");
        refused("ringmq:all,flush", "KEY=VALUE");
        refused("ringmq:all,listenPort=1", "listenPort is chosen");
        refused("ringmq:all,shards=0", "1 to 64");
        refused("ringmq:all,round-trip=1ms", "needs a mode with slaves");
        refused("ringmq:1m-1s-sync,round-trip=1", "a duration has a unit");
        refused("echo:all", "no modes and no properties");
        refused("echo,shards=1", "no modes and no properties");
    }

    #[test]
    fn modes_of_two_are_those_of_conf() {
        let check = |mode: &str, text: &str, role: &str, replicas: Option<&str>| {
            let line = |key: &str| text.lines().find_map(|line| line.strip_prefix(key));
            assert_eq!(line("brokerRole="), Some(role), "{mode}");
            assert_eq!(line("inSyncReplicas="), replicas, "{mode}");
            assert_eq!((line("flushDiskType="), line("shards=")), (Some("ASYNC_FLUSH"), Some("1")), "{mode}");
        };
        let known = |name: &str| MODES.iter().find(|mode| mode.name == name).and_then(|mode| mode.replication);
        assert_eq!(known("2m-2s-sync"), Some(Replication::Sync));
        check("sync", include_str!("../../conf/2m-2s-sync/broker-a.properties"), "SYNC_MASTER", Some("2"));
        assert_eq!(known("2m-2s-async"), Some(Replication::Async));
        check("async", include_str!("../../conf/2m-2s-async/broker-a.properties"), "ASYNC_MASTER", None);
        assert_eq!(known("2m-noslave"), None);
        check("noslave", include_str!("../../conf/2m-noslave/broker-a.properties"), "ASYNC_MASTER", None);
    }
}
