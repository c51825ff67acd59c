//! What an experiment is made on: clusters that it brings up, and brokers that are there.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use clap::Args;
use serde::{Deserialize, Deserializer};

use crate::lab::cluster::{Cluster, ClusterError, Cpu, Member, Setup};
use crate::lab::error::LabError;
use crate::lab::probe::{self, Replicas};
use crate::lab::processes::{Watched, listener};
use crate::lab::results::Subject;
use crate::lab::spec::{Software, Spec};
use crate::lab::truth::{broker_facts, commit, memory_mb, software_of};
use crate::load::settings::{LoadArgs, Place, parse_duration, resolve};

/// A JVM compiles its hot paths while it runs: so long a closed loop comes before its first run.
const JAVA_SETTLE: Duration = Duration::from_secs(15);
const OWN_SETTLE: Duration = Duration::from_secs(3);
/// Heap that an Apache broker gets if the machine has it, MiB.
const HEAP_MB_MAX: u64 = 3072;
const HEAP_MB_MIN: u64 = 512;

/// Which brokers. Names are those of the command line, in a scenario without the dashes.
#[derive(Debug, Clone, Default, Args, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
pub struct SubjectArgs {
    /// Bring up a cluster: ringmq:MODE, ringmq@NAME:MODE (see --ringmq), apache:MODE or apache@VERSION:MODE, with properties of its brokers
    /// behind commas, or echo: a sink that answers and stores nothing. Modes: all, 2m-noslave, 2m-2s-async, 2m-2s-sync, 1m-1s-async,
    /// 1m-1s-sync; of one with slaves, round-trip=4ms behind a comma puts them so far away
    #[arg(long, value_name = "SOFTWARE:MODE[,KEY=VALUE]")]
    pub up: Vec<String>,
    /// Use brokers that are there: masters of one cluster, with commas between
    #[arg(long, value_name = "HOST:PORT[,HOST:PORT]")]
    pub target: Vec<String>,
    /// Use the brokers that a name server knows: those that have the topic, or else all
    #[arg(short = 'n', long, value_name = "HOST:PORT[;HOST:PORT]")]
    pub namesrv: Vec<String>,
    /// Allow brokers that are not on this machine
    #[arg(long)]
    pub allow_remote: bool,
    /// ringmq's binary [default: beside this one]; NAME=FILE is that of ringmq@NAME, so that two builds can be compared
    #[arg(long, value_name = "[NAME=]FILE")]
    pub ringmq: Vec<String>,
    /// Folder for the stores of clusters that are brought up: put it on the disk in question [default: the system's temporary folder]
    #[arg(long, value_name = "DIR")]
    pub store: Option<PathBuf>,
    /// Keep those stores
    #[arg(long)]
    pub keep_store: bool,
    /// Processor of masters that are brought up, or any [default: ringmq of one shard 0, others any]
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "cpu")]
    pub masters_cpu: Option<Cpu>,
    /// Processor of slaves that are brought up, or any [default: ringmq of one shard the last, others any]
    #[arg(long, value_name = "N")]
    #[serde(deserialize_with = "cpu")]
    pub slaves_cpu: Option<Cpu>,
    /// Leave the generator's processor to the scheduler [default: the last, or --cpu]
    #[arg(long)]
    pub generator_anywhere: bool,
    /// Heap of Apache's brokers, MiB [default: 3072, less if all of them would take more than half of the memory]
    #[arg(long, value_name = "MIB")]
    pub apache_heap: Option<u32>,
    /// Closed loop before the first run on each subject, not measured [default: 15s where a JVM runs, else 3s]
    #[arg(long, value_parser = parse_duration)]
    #[serde(deserialize_with = "settle")]
    pub settle: Option<Duration>,
}

/// `masters-cpu = 0` and `masters-cpu = "any"`.
fn cpu<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Cpu>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(usize),
        Text(String),
    }
    match Either::deserialize(from)? {
        Either::Number(number) => Ok(Some(Cpu::Only(number))),
        Either::Text(text) => text.parse().map(Some).map_err(serde::de::Error::custom),
    }
}

fn settle<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    crate::load::settings::duration(from).map(Some)
}

/// Binaries of ringmq.
#[derive(Debug, Clone)]
pub struct Builds {
    plain: PathBuf,
    named: BTreeMap<String, PathBuf>,
}

impl Builds {
    /// Of texts `FILE` and `NAME=FILE`; `beside` is what is taken without a `FILE`. What comes later wins.
    pub fn read(texts: &[String], beside: PathBuf) -> Self {
        let mut builds = Self { plain: beside, named: BTreeMap::new() };
        for text in texts {
            match text.split_once('=') {
                Some((name, file)) if !name.contains('/') => drop(builds.named.insert(name.to_owned(), file.into())),
                _ => builds.plain = text.into(),
            }
        }
        builds
    }

    /// All that there are.
    pub fn all(&self) -> impl Iterator<Item = &Path> {
        self.named.values().chain([&self.plain]).map(PathBuf::as_path)
    }

    /// The one without a name.
    pub fn plain(&self) -> &Path {
        &self.plain
    }

    /// The one of that name, if it was given.
    pub fn find(&self, build: Option<&str>) -> Option<&Path> {
        match build {
            None => Some(&self.plain),
            Some(name) => self.named.get(name).map(PathBuf::as_path),
        }
    }
}

/// One subject as asked for, checked.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub enum Request {
    /// To be brought up.
    Up(Spec),
    /// There.
    Targets {
        /// As typed.
        text: String,
        masters: Vec<SocketAddr>,
    },
    /// There, and a name server knows them.
    NameServers {
        /// As typed.
        text: String,
        /// The first that answers is believed.
        servers: Vec<SocketAddr>,
    },
}

impl SubjectArgs {
    /// The one subject of an `experiment` that has one.
    ///
    /// # Errors
    /// As with [`Self::requests`], and when there are more.
    pub fn request(&self, experiment: &'static str) -> Result<Request, LabError> {
        let mut requests = self.requests()?;
        match (requests.pop(), requests.len()) {
            (Some(request), 0) => Ok(request),
            (found, others) => {
                let found = others + usize::from(found.is_some());
                Err(LabError::Subjects { experiment, wanted: "one subject", found })
            }
        }
    }

    /// All subjects: clusters to bring up first, then targets, then those of name servers.
    ///
    /// # Errors
    /// When there is none, or one makes no sense, or is on another machine though that was not allowed.
    pub fn requests(&self) -> Result<Vec<Request>, LabError> {
        let mut requests = Vec::new();
        for text in &self.up {
            requests.push(Request::Up(text.parse()?));
        }
        let all = |text: &str, separators: &[char]| -> Result<Vec<SocketAddr>, LabError> {
            Ok(text.split(separators).map(|one| resolve(one.trim(), self.allow_remote)).collect::<Result<_, _>>()?)
        };
        for text in &self.target {
            requests.push(Request::Targets { text: text.clone(), masters: all(text, &[','])? });
        }
        for text in &self.namesrv {
            requests.push(Request::NameServers { text: text.clone(), servers: all(text, &[';', ','])? });
        }
        if requests.is_empty() {
            return Err(LabError::NoSubject);
        }
        Ok(requests)
    }

    /// How clusters are brought up, for these subjects.
    ///
    /// # Errors
    /// When this program cannot find its own file, a folder is none, or a build has no binary.
    pub fn setup(&self, requests: &[Request]) -> Result<Setup, LabError> {
        let beside = |name: &str| std::env::current_exe().map(|own| own.with_file_name(name));
        let system = |action: &'static str| move |source| LabError::System { action, source };
        let ringmq = Builds::read(&self.ringmq, beside("ringmq").map_err(system("find the program itself"))?);
        for request in requests {
            if let Request::Up(Spec { software: Software::Ringmq { build: Some(build) }, text, .. }) = request
                && ringmq.find(Some(build)).is_none()
            {
                return Err(LabError::Option(format!("{text} needs its binary: --ringmq {build}=FILE")));
            }
        }
        let store = std::path::absolute(self.store.clone().unwrap_or_else(std::env::temp_dir));
        let apache = requests.iter().filter_map(|request| match request {
            Request::Up(spec) if spec.is_java() => Some(u64::from(spec.brokers())),
            _ => None,
        });
        let share = memory_mb() / 2 / apache.sum::<u64>().max(1);
        let heap_mb = u32::try_from(share.clamp(HEAP_MB_MIN, HEAP_MB_MAX)).expect("a small number");
        Ok(Setup {
            ringmq,
            echo: beside("ringmq-echo").map_err(system("find the program itself"))?,
            store: store.map_err(system("find the folder of the stores"))?,
            is_kept: self.keep_store,
            masters_cpu: self.masters_cpu,
            slaves_cpu: self.slaves_cpu,
            heap_mb: self.apache_heap.unwrap_or(heap_mb),
            is_paused_at_times: requests.len() > 1,
            round_trip: None,
        })
    }
}

impl Request {
    /// As typed.
    pub fn text(&self) -> &str {
        match self {
            Self::Up(spec) => &spec.text,
            Self::Targets { text, .. } | Self::NameServers { text, .. } => text,
        }
    }

    /// Whether what is sent there is stored, as far as that is known before.
    pub fn is_broker(&self) -> bool {
        match self {
            Self::Up(spec) => spec.is_broker(),
            Self::Targets { .. } | Self::NameServers { .. } => true,
        }
    }

    /// How many masters it will have, as far as that is known before.
    pub fn masters(&self) -> usize {
        match self {
            Self::Up(spec) => usize::from(spec.mode.masters * spec.shards()),
            Self::Targets { masters, .. } => masters.len(),
            Self::NameServers { .. } => 1,
        }
    }
}

/// A subject that answers.
#[derive(Debug)]
pub struct Site {
    /// As typed.
    pub name: String,
    /// Where a load goes.
    pub place: Place,
    /// Its brokers, masters first.
    pub members: Vec<Member>,
    /// If it was brought up here.
    pub cluster: Option<Cluster>,
    /// What runs there.
    pub software: String,
    /// How long it wants a load before its first run.
    pub settle: Duration,
    /// Processes of brokers that were there, on this machine.
    found: Vec<Watched>,
}

impl Site {
    /// Brings it up, or looks where it is. `topic` decides which brokers of a name server take part.
    ///
    /// # Errors
    /// When it does not come up, or a name server does not answer, or knows no broker.
    pub fn open(
        request: &Request,
        setup: &Setup,
        args: &SubjectArgs,
        topic: &str,
        stop: &AtomicBool,
    ) -> Result<Self, LabError> {
        let mut site = match request {
            Request::Up(spec) => {
                let cluster = Cluster::start(spec, setup, stop)?;
                let software = match &spec.software {
                    Software::Ringmq { build: None } => with_commit(of_program(setup.ringmq.plain(), "ringmq")),
                    // Of which commit it is, its name says, or nobody.
                    Software::Ringmq { build: Some(build) } => {
                        let version = setup.ringmq.find(Some(build)).map(|program| of_program(program, "ringmq"));
                        format!("{}, the build {build}", version.unwrap_or_default())
                    }
                    Software::Echo => with_commit(of_program(&setup.echo, "ringmq-echo")),
                    Software::Apache { version } => format!("Apache RocketMQ {version}"),
                };
                let members = cluster.members.clone();
                Self::of(spec.text.clone(), members, software, Some(cluster))
            }
            Request::Targets { text, masters } => {
                let members =
                    masters.iter().map(|address| Member { broker: address.to_string(), id: 0, address: *address });
                Self::of(text.clone(), members.collect(), String::new(), None)
            }
            Request::NameServers { text, servers } => {
                let members = look_up(text, servers, topic, args.allow_remote)?;
                Self::of(text.clone(), members, String::new(), None)
            }
        };
        if site.cluster.is_none() {
            site.software = software_of(&broker_facts(&site.members));
            let local = site.members.iter().filter(|member| member.address.ip().is_loopback());
            let watched =
                |member: &Member| Some(Watched { name: member.address.to_string(), id: listener(member.address)? });
            site.found = local.filter_map(watched).collect();
        }
        site.settle = args.settle.unwrap_or(if site.software.starts_with("ringmq") { OWN_SETTLE } else { JAVA_SETTLE });
        Ok(site)
    }

    fn of(name: String, members: Vec<Member>, software: String, cluster: Option<Cluster>) -> Self {
        let masters = members.iter().filter(|member| member.id == 0);
        let targets: Vec<SocketAddr> = masters.clone().map(|master| master.address).collect();
        let replicas = |master: &Member| {
            let of_it = members.iter().filter(|member| member.broker == master.broker);
            of_it.map(|member| member.address).collect::<Vec<_>>()
        };
        let place = Place { targets, sources: masters.map(replicas).collect(), lag_sources: Vec::new() };
        Self { name, place, members, cluster, software, settle: OWN_SETTLE, found: Vec::new() }
    }

    /// What is kept of it.
    pub fn subject(&self) -> Subject {
        Subject {
            name: self.name.clone(),
            software: self.software.clone(),
            how: self.cluster.as_ref().map_or_else(Vec::new, |cluster| cluster.how.clone()),
            brokers: broker_facts(&self.members),
        }
    }

    /// Where a load goes and is pulled from. One that asks for slaves gets the first of each master: instead of the master, or beside it in a
    /// group of its own.
    ///
    /// # Errors
    /// When it asks for slaves and a master has none.
    pub fn place_of(&self, load: &LoadArgs) -> Result<Place, LabError> {
        let mut place = self.place.clone();
        if !load.lag && !load.from_slaves {
            return Ok(place);
        }
        for replicas in &mut place.sources {
            let Some(slave) = replicas.get(1).copied() else {
                return Err(LabError::Option(format!(
                    "--lag and --from-slaves need a slave for each master, and {} has none",
                    self.name
                )));
            };
            if load.lag {
                replicas.truncate(1);
                place.lag_sources.push(vec![slave]);
            } else {
                *replicas = vec![slave];
            }
        }
        Ok(place)
    }

    /// Its processes on this machine.
    pub fn watched(&self) -> Vec<Watched> {
        let own = self.cluster.iter().flat_map(Cluster::processes).map(|(name, id)| Watched { name, id });
        own.chain(self.found.iter().cloned()).collect()
    }

    /// Keeps it from running, if it was brought up here.
    pub fn pause(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.pause();
        }
    }

    /// Lets it run again.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn resume(&mut self, stop: &AtomicBool) -> Result<(), ClusterError> {
        self.cluster.as_mut().map_or(Ok(()), |cluster| cluster.resume(stop))
    }
}

/// `ringmq 0.1.0`, of a program of this project called `name`.
fn of_program(program: &Path, name: &str) -> String {
    let output = std::process::Command::new(program).arg("--version").output();
    let version = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    if version.is_empty() { format!("{name} of an unknown version") } else { version }
}

/// `ringmq 0.1.0 (commit)`: a program beside this one is of the sources that are here.
fn with_commit(version: String) -> String {
    match commit() {
        Some(commit) => format!("{version} ({commit})"),
        None => version,
    }
}

/// Brokers of `topic`, or all if it is new. A master that is lost leaves its slaves, which are no targets.
fn look_up(text: &str, servers: &[SocketAddr], topic: &str, allow_remote: bool) -> Result<Vec<Member>, LabError> {
    let mut last = None;
    for server in servers {
        let found = probe::route(*server, topic)
            .and_then(|found| if found.is_empty() { probe::cluster(*server) } else { Ok(found) });
        match found {
            Ok(found) => return members_of(text, &found, allow_remote),
            Err(error) => last = Some(error),
        }
    }
    Err(last.map_or(LabError::NoSubject, LabError::Probe))
}

fn members_of(text: &str, found: &[Replicas], allow_remote: bool) -> Result<Vec<Member>, LabError> {
    let mut members = Vec::new();
    for replicas in found {
        for (id, address) in &replicas.addresses {
            members.push(Member { broker: replicas.name.clone(), id: *id, address: resolve(address, allow_remote)? });
        }
    }
    members.sort_by(|one, other| (one.id, &one.broker).cmp(&(other.id, &other.broker)));
    match members.first() {
        Some(first) if first.id == 0 => Ok(members),
        _ => Err(LabError::NoMaster { name_server: text.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn replicas(name: &str, addresses: &[(u64, &str)]) -> Replicas {
        let addresses = addresses.iter().map(|(id, address)| (*id, (*address).to_owned())).collect();
        Replicas { name: name.to_owned(), addresses }
    }

    #[test]
    fn masters_are_targets_and_slaves_their_replicas() {
        let found = [
            replicas("broker-b", &[(0, "127.0.0.1:20"), (1, "127.0.0.1:21")]),
            replicas("broker-a", &[(1, "127.0.0.1:11"), (0, "127.0.0.1:10")]),
        ];
        let members = members_of("ns", &found, false).expect("brokers");
        let site = Site::of("ns".to_owned(), members, String::new(), None);
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        assert_eq!(site.place.targets, ["127.0.0.1:10", "127.0.0.1:20"].map(address));
        assert_eq!(site.place.sources[1], ["127.0.0.1:20", "127.0.0.1:21"].map(address));
        assert!(matches!(members_of("ns", &[], false), Err(LabError::NoMaster { .. })));
        assert!(matches!(members_of("ns", &[replicas("a", &[(0, "192.0.2.1:1")])], false), Err(LabError::Settings(_))));
    }

    #[test]
    fn subjects_are_checked_before_anything_starts() {
        let args = |up: &[&str], target: &[&str]| SubjectArgs {
            up: up.iter().map(|text| (*text).to_owned()).collect(),
            target: target.iter().map(|text| (*text).to_owned()).collect(),
            ..SubjectArgs::default()
        };
        let requests = args(&["ringmq:2m-2s-sync,shards=2"], &["127.0.0.1:1,127.0.0.1:2"]).requests().expect("two");
        assert_eq!(requests.iter().map(Request::masters).collect::<Vec<_>>(), [4, 2]);
        for (wrong, expected) in [
            (args(&[], &[]), "--up"),
            (args(&["ringmq:x"], &[]), "there is no mode x"),
            (args(&[], &["192.0.2.1:1"]), "--allow-remote"),
            (args(&[], &["127.0.0.1"]), "is no address"),
        ] {
            let error = wrong.requests().expect_err(expected).to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
