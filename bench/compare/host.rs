//! The machine and the sources behind a number.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::{Deserialize, Serialize};

/// What a reader needs to judge a number or to make it again.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Host {
    /// Commit of the sources; `-dirty` if they were changed since.
    pub(crate) commit: String,
    /// Kernel release.
    pub(crate) kernel: String,
    /// Processor model and how many of them this process may use.
    pub(crate) cpu: String,
    /// Main memory, MB.
    pub(crate) memory_mb: u64,
    /// Device and file system of the stores.
    pub(crate) disk: String,
    /// First line of `java -version`.
    pub(crate) java: String,
    /// 1, 5 and 15 minutes, before the case began: other work on the machine shows here.
    pub(crate) load_average: String,
}

impl Host {
    /// Looks around; what cannot be found out is said to be unknown.
    pub(crate) fn inspect(store_dir: &Path) -> Self {
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        Self {
            commit: output("git", &["describe", "--always", "--dirty", "--abbrev=10"]),
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: format!("{cpus} x {}", after_colon(&read("/proc/cpuinfo"), "model name")),
            memory_mb: after_colon(&read("/proc/meminfo"), "MemTotal")
                .split_whitespace()
                .next()
                .and_then(|kib| kib.parse::<u64>().ok())
                .map_or(0, |kib| kib / 1024),
            disk: disk(store_dir),
            java: output("java", &["-version"]),
            load_average: read("/proc/loadavg").split_whitespace().take(3).collect::<Vec<_>>().join(" "),
        }
    }

    /// For the name of a results folder: `amd-epyc-2`.
    pub(crate) fn slug(&self) -> String {
        let (count, model) = self.cpu.split_once(" x ").unwrap_or(("0", "unknown"));
        let words: Vec<String> = model.split_whitespace().take(2).map(str::to_lowercase).collect();
        let name: String =
            words.join("-").chars().filter(|letter| letter.is_ascii_alphanumeric() || *letter == '-').collect();
        format!("{name}-{count}")
    }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

fn after_colon(text: &str, key: &str) -> String {
    let line = text.lines().find(|line| line.starts_with(key)).and_then(|line| line.split_once(':'));
    line.map_or_else(|| "unknown".to_owned(), |(_, value)| value.trim().to_owned())
}

/// The first line that a program says; Java says its version on stderr.
fn output(program: &str, arguments: &[&str]) -> String {
    let Ok(output) = Command::new(program).args(arguments).output() else { return "unknown".to_owned() };
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    String::from_utf8_lossy(&text).lines().next().unwrap_or("unknown").to_owned()
}

/// The mount that holds `path`: device, file system, options.
fn disk(path: &Path) -> String {
    let mounts = read("/proc/self/mounts");
    let fields = mounts.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let holding = fields.filter(|fields| fields.get(1).is_some_and(|mount| path.starts_with(mount)));
    let longest = holding.max_by_key(|fields| fields.get(1).map_or(0, |mount| mount.len()));
    longest.map_or_else(|| "unknown".to_owned(), |fields| format!("{} {} ({})", fields[0], fields[2], fields[3]))
}

/// Today as `YYYY-MM-DD`, UTC.
pub(crate) fn today() -> String {
    let days = ringmq_bench::load::clock::unix_ms() / 86_400_000;
    let (year, month, day) = civil_date(days);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Year, month and day of the `days`-th day after 1970-01-01.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let is_leap = |year: u64| (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let (mut year, mut rest) = (1970, days);
    while rest >= 365 + u64::from(is_leap(year)) {
        rest -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let months = [31, 28 + u64::from(is_leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 1;
    for length in months {
        if rest < length {
            break;
        }
        rest -= length;
        month += 1;
    }
    (year, month, rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_become_dates() {
        let check = |days, expected| assert_eq!(civil_date(days), expected);
        check(0, (1970, 1, 1));
        check(11_016, (2000, 2, 29));
        check(11_017, (2000, 3, 1));
        check(19_722, (2023, 12, 31));
        check(20_000, (2024, 10, 4));
    }
}
