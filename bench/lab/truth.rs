//! What a reader needs to judge a figure or to make it again: the machine, and the brokers as they describe themselves. What cannot be found
//! out is said to be unknown.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use jiff::Timestamp;
use rustix::process::{Resource, getrlimit};

use crate::lab::cluster::Member;
use crate::lab::probe;
use crate::lab::results::{BrokerFacts, Machine};

/// Settings of a broker that decide what a reply of success means, and what it costs. ringmq and Apache have not all of them.
const TELLING: [&str; 23] = [
    "allAckInSyncStateSet",
    "brokerRole",
    "enableControllerMode",
    "flushCommitLogTimed",
    "flushDiskType",
    "flushIntervalCommitLog",
    "haHousekeepingInterval",
    "inSyncReplicas",
    "mappedFileSizeCommitLog",
    "maxMessageSize",
    "messageIndexEnable",
    "minInSyncReplicas",
    "osPageCacheBusyTimeOutMills",
    "sendMessageThreadPoolNums",
    "shards",
    "slaveTimeout",
    "syncFlushTimeout",
    "tailSize",
    "totalReplicas",
    "transientStorePoolEnable",
    "useReentrantLockWhenPutMessage",
    "waitTimeMillsInSendQueue",
    "warmMapedFileEnable",
];

impl Machine {
    /// Looks around. `store` is the folder whose disk matters.
    pub fn inspect(store: &Path, placement: String) -> Self {
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let mount = Mount::of(store, &read("/proc/self/mounts"));
        Self {
            generator: generator(),
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: format!("{cpus} x {}", after_colon(&read("/proc/cpuinfo"), "model name")),
            governor: read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            memory_mb: memory_mb(),
            disk_cache: mount.as_ref().map_or_else(unknown, |mount| write_cache(&mount.device)),
            disk_interrupts: mount.as_ref().map_or_else(unknown, |mount| disk_interrupts(&mount.device)),
            disk: mount.map_or_else(unknown, |mount| mount.text),
            limits: limits(),
            java: output("java", &["-version"]),
            load_average: read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" "),
            placement,
        }
    }

    /// For the name of a results folder: `amd-epyc-2`.
    pub fn slug(&self) -> String {
        slug(&self.cpu)
    }
}

/// Of a processor as [`Machine::cpu`] has it: `amd-epyc-2`.
pub fn slug(cpu: &str) -> String {
    let (count, model) = cpu.split_once(" x ").unwrap_or(("0", "unknown"));
    let words: Vec<String> = model.split_whitespace().take(2).map(str::to_lowercase).collect();
    let name: String =
        words.join("-").chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect();
    format!("{name}-{count}")
}

/// Main memory, MB; 0 if that is unknown.
pub fn memory_mb() -> u64 {
    let total = after_colon(&read("/proc/meminfo"), "MemTotal");
    total.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).map_or(0, |kib| kib / 1024)
}

/// The commit of the sources around this program's file, `-dirty` if they were changed since; none outside of a work tree.
pub fn commit() -> Option<String> {
    let own = std::env::current_exe().ok()?;
    let output = Command::new("git")
        .arg("-C")
        .arg(own.parent()?)
        .args(["describe", "--always", "--dirty", "--abbrev=10"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

/// This program: version, commit, and whether it is a debug build.
fn generator() -> String {
    let commit = commit().map(|commit| format!(" ({commit})")).unwrap_or_default();
    let debug = if cfg!(debug_assertions) { " (debug build)" } else { "" };
    format!("ringmq-bench {}{commit}{debug}", env!("CARGO_PKG_VERSION"))
}

fn unknown() -> String {
    "unknown".to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| unknown(), |text| text.trim().to_owned())
}

fn after_colon(text: &str, key: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(key)).and_then(|line| line.split_once(':'));
    line.map_or_else(unknown, |(_, value)| value.trim().to_owned())
}

/// The first line that a program says; Java says its version on stderr.
fn output(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return unknown() };
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").to_owned()
}

/// A mounted file system.
#[derive(Debug, PartialEq, Eq)]
struct Mount {
    device: String,
    /// Device, file system, options.
    text: String,
}

impl Mount {
    /// The one that holds `path`, of lines as `/proc/self/mounts` has them.
    fn of(path: &Path, mounts: &str) -> Option<Self> {
        let fields = mounts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let holding = fields.filter(|fields| fields.len() >= 4 && path.starts_with(fields[1]));
        let longest = holding.max_by_key(|fields| fields[1].len())?;
        let text = format!("{} {} ({})", longest[0], longest[2], longest[3]);
        Some(Self { device: longest[0].to_owned(), text })
    }
}

/// The disk that `device` is, or is a part of, as `/sys/block` names it.
fn disk(device: &str) -> Option<String> {
    let name = device.strip_prefix("/dev/")?;
    let disks = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let names = disks.filter_map(|entry| entry.file_name().into_string().ok());
    names.filter(|disk| name.starts_with(disk.as_str())).max_by_key(String::len)
}

/// `write back` or `write through`.
fn write_cache(device: &str) -> String {
    disk(device).map_or_else(unknown, |disk| read(&format!("/sys/block/{disk}/queue/write_cache")))
}

/// To which processors the disk's interrupts came since the machine's start: what ends a write is done there, by the kernel's workers if the
/// write was durable, and waits for whoever runs there.
fn disk_interrupts(device: &str) -> String {
    let driver = disk(device).and_then(|disk| fs::read_link(format!("/sys/block/{disk}/device")).ok());
    let driver = driver.and_then(|path| Some(path.file_name()?.to_str()?.to_owned()));
    driver.map_or_else(unknown, |driver| interrupted(&driver, &read("/proc/interrupts")))
}

/// Of lines as `/proc/interrupts` has them, whose last words are `virtio1-req.0` or `nvme0q1`: `processor 1`; with several, how they share.
fn interrupted(driver: &str, interrupts: &str) -> String {
    let cpus = interrupts.lines().next().unwrap_or_default().split_whitespace().count();
    let mut counts = vec![0u64; cpus];
    for line in interrupts.lines().skip(1) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words.last().and_then(|name| name.strip_prefix(driver));
        if name.is_some_and(|rest| !rest.starts_with(|letter: char| letter.is_ascii_digit())) {
            let numbers = words.iter().skip(1).map_while(|word| word.parse::<u64>().ok());
            counts.iter_mut().zip(numbers).for_each(|(count, number)| *count += number);
        }
    }
    let all: u64 = counts.iter().sum();
    let shares = counts.iter().enumerate().filter(|(_, count)| **count * 20 > all);
    let texts: Vec<String> = shares
        .map(|(cpu, count)| match (count * 100).checked_div(all) {
            Some(100) | None => format!("processor {cpu}"),
            Some(percent) => format!("processor {cpu} {percent} %"),
        })
        .collect();
    if texts.is_empty() { unknown() } else { texts.join(", ") }
}

fn limits() -> String {
    let text = |value: Option<u64>| value.map_or_else(|| "unlimited".to_owned(), |value| value.to_string());
    let both = |resource| {
        let limit = getrlimit(resource);
        format!("{} soft, {} hard", text(limit.current), text(limit.maximum))
    };
    format!("open files {}; locked bytes {}", both(Resource::Nofile), both(Resource::Memlock))
}

/// What each broker says of itself. One that does not answer is listed without settings.
pub fn broker_facts(members: &[Member]) -> Vec<BrokerFacts> {
    let facts = |member: &Member| {
        let version = probe::runtime_info(member.address).ok().and_then(|mut info| info.remove("brokerVersionDesc"));
        let config = probe::config(member.address).unwrap_or_default();
        let settings = config.into_iter().filter(|(key, _)| TELLING.contains(&key.as_str())).collect();
        BrokerFacts {
            name: member.broker.clone(),
            broker_id: member.id,
            address: member.address.to_string(),
            version: version.unwrap_or_else(unknown),
            settings,
        }
    };
    members.iter().map(facts).collect()
}

/// What runs there, as far as brokers that were there before tell: only ringmq has shards.
pub fn software_of(brokers: &[BrokerFacts]) -> String {
    let versions: BTreeMap<&str, bool> =
        brokers.iter().map(|broker| (broker.version.as_str(), broker.settings.contains_key("shards"))).collect();
    let text = |(version, is_ringmq): (&str, bool)| {
        if is_ringmq { format!("ringmq, which speaks {version}") } else { format!("RocketMQ {version}") }
    };
    versions.into_iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Now as RFC 3339, UTC, to the second.
pub fn now_text() -> String {
    Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// Today as `YYYY-MM-DD`, UTC.
pub fn today() -> String {
    Timestamp::now().strftime("%Y-%m-%d").to_string()
}

/// Now as `HHMMSS`, UTC.
pub fn time_of_day() -> String {
    Timestamp::now().strftime("%H%M%S").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_mount_holds_a_path() {
        let mounts = "/dev/vda1 / ext4 rw 0 0\n/dev/nvme0n1p2 /data xfs rw,noatime 0 0\nnone";
        let of = |path| Mount::of(Path::new(path), mounts).expect("a mount");
        assert_eq!(of("/data/x").text, "/dev/nvme0n1p2 xfs (rw,noatime)");
        assert_eq!(of("/database").device, "/dev/vda1");
    }

    #[test]
    fn this_machine_is_described() {
        let machine = Machine::inspect(&std::env::temp_dir(), "generator anywhere".to_owned());
        assert!(machine.generator.starts_with("ringmq-bench ") && machine.memory_mb > 0, "{machine:?}");
        assert!(machine.limits.contains("open files") && !machine.kernel.is_empty(), "{machine:?}");
        assert_eq!(slug("2 x AMD EPYC (Milan) 7J13"), "amd-epyc-2");
    }

    #[test]
    fn interrupts_of_a_disk_are_those_of_its_driver() {
        let table = "      CPU0 CPU1\n 36: 0 2238240 PCI-MSIX-0000:00:02.0 1-edge virtio1-req.0\n\
                     37: 7 0 PCI-MSIX-0000:00:03.0 0-edge virtio11-req.0\n 38: 30 70 PCI-MSI 1-edge nvme0q1\nNMI: 0 0 Non-maskable";
        let check = |driver: &str, expected: &str| assert_eq!(interrupted(driver, table), expected, "{driver}");
        check("virtio1", "processor 1");
        check("virtio11", "processor 0");
        check("nvme0", "processor 0 30 %, processor 1 70 %");
        check("sda", "unknown");
    }

    #[test]
    fn software_is_told_by_what_brokers_say() {
        let facts = |version: &str, keys: &[&str]| BrokerFacts {
            name: "broker-a".to_owned(),
            broker_id: 0,
            address: "127.0.0.1:1".to_owned(),
            version: version.to_owned(),
            settings: keys.iter().map(|key| ((*key).to_owned(), "1".to_owned())).collect(),
        };
        assert_eq!(software_of(&[facts("V5_3_3", &["shards"])]), "ringmq, which speaks V5_3_3");
        assert_eq!(software_of(&[facts("V5_3_3", &[]), facts("V5_3_3", &[])]), "RocketMQ V5_3_3");
    }
}
