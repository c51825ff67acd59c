//! What broker processes use, as `/proc` says it.

use std::fs;
use std::net::SocketAddr;

use crate::lab::cores::Cores;
use crate::lab::results::{CoreUse, ProcessUse, Second};
use crate::load::clock::{SECOND_NS, now_ns};
use crate::load::run::ratio;

/// A process that is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Watched {
    /// `broker-a master`.
    pub name: String,
    pub id: u32,
}

/// What all of them used at one moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at_ns: u64,
    resident_mb: f64,
    descriptors: u64,
}

/// Looks at processes while a load runs.
#[derive(Debug)]
pub struct Watch {
    begun_ns: u64,
    /// With processor time used before.
    processes: Vec<(Watched, Option<u64>)>,
    samples: Vec<Sample>,
    cores: Cores,
}

impl Watch {
    /// Begins now.
    pub fn begin(processes: Vec<Watched>) -> Self {
        let with_time = |process: Watched| {
            let time = cpu_ns(process.id);
            (process, time)
        };
        Self {
            begun_ns: now_ns(),
            processes: processes.into_iter().map(with_time).collect(),
            samples: Vec::new(),
            cores: Cores::begin(),
        }
    }

    /// Looks once more. Once a second is enough.
    pub fn sample(&mut self) {
        let ids = self.processes.iter().map(|(process, _)| process.id);
        let (mut resident_mb, mut descriptors) = (0.0, 0);
        for id in ids {
            resident_mb += resident_mb_of(id).unwrap_or(0.0);
            descriptors += descriptors_of(id).unwrap_or(0);
        }
        resident_mb = (resident_mb * 10.0).round() / 10.0;
        self.samples.push(Sample { at_ns: now_ns(), resident_mb, descriptors });
        let brokers: Vec<&Watched> = self.processes.iter().map(|(process, _)| process).collect();
        self.cores.look(&brokers);
    }

    /// Who used the processors of this machine until the last sample.
    pub fn cores(&self) -> Vec<CoreUse> {
        self.cores.found()
    }

    /// Another process has taken the place of one that was killed.
    pub fn replace(&mut self, processes: Vec<Watched>) {
        for new in processes {
            if let Some((known, before)) = self.processes.iter_mut().find(|(known, _)| known.name == new.name)
                && known.id != new.id
            {
                // What the killed one used before cannot be asked any more.
                (*known, *before) = (new, Some(0));
            }
        }
    }

    /// Ends now: what each process used. One that has ended is left out.
    pub fn end(&self) -> Vec<ProcessUse> {
        let wall_ns = now_ns().saturating_sub(self.begun_ns).max(1);
        let used = |(process, before): &(Watched, Option<u64>)| {
            let cpu_ns = cpu_ns(process.id)?.saturating_sub((*before)?);
            Some(ProcessUse {
                name: process.name.clone(),
                cpu: (ratio(cpu_ns, wall_ns) * 1000.0).round() / 1000.0,
                resident_mb: resident_mb_of(process.id)?,
                descriptors: descriptors_of(process.id)?,
            })
        };
        self.processes.iter().filter_map(used).collect()
    }

    /// Writes what was seen into the seconds of a load that began at `start_ns` of the monotonic clock: the last sample before its end.
    pub fn fill(&self, seconds: &mut [Second], start_ns: u64) {
        for second in seconds {
            let end_ns = start_ns + second.at * SECOND_NS;
            let seen = self.samples.iter().rev().find(|sample| sample.at_ns <= end_ns).or(self.samples.first());
            if let Some(sample) = seen {
                (second.resident_mb, second.descriptors) = (sample.resident_mb, sample.descriptors);
            }
        }
    }
}

/// Processor time used so far, user and system; none if there is no such process.
fn cpu_ns(id: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let ticks = stat_ticks(&stat)?;
    Some(ticks * SECOND_NS / rustix::param::clock_ticks_per_second())
}

/// Fields 14 and 15 of `/proc/PID/stat`, whose second is a name that may hold anything, in parentheses.
fn stat_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

/// Resident memory now, MB.
fn resident_mb_of(id: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some((ratio(kib, 1024) * 10.0).round() / 10.0)
}

fn descriptors_of(id: u32) -> Option<u64> {
    u64::try_from(fs::read_dir(format!("/proc/{id}/fd")).ok()?.count()).ok()
}

/// The process on this machine that listens at `address`, as far as this one may see it.
pub fn listener(address: SocketAddr) -> Option<u32> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|path| fs::read_to_string(path).unwrap_or_default());
    let inode = tables.iter().find_map(|table| listening_inode(table, address.port()))?;
    let wanted = format!("socket:[{inode}]");
    let ids = fs::read_dir("/proc").ok()?.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    ids.into_iter().find(|id| {
        let descriptors = fs::read_dir(format!("/proc/{id}/fd")).into_iter().flatten().flatten();
        let mut links = descriptors.filter_map(|entry| fs::read_link(entry.path()).ok());
        links.any(|link| link.as_os_str() == wanted.as_str())
    })
}

/// The inode of the socket that listens on `port`.
fn listening_inode(table: &str, port: u16) -> Option<&str> {
    /// `TCP_LISTEN`.
    const LISTEN: &str = "0A";
    table.lines().skip(1).find_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (_, own) = fields.get(1)?.rsplit_once(':')?;
        let is_it = u16::from_str_radix(own, 16) == Ok(port) && fields.get(3) == Some(&LISTEN);
        is_it.then(|| fields.get(9).copied())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processor_time_is_read_behind_any_name() {
        let rest = "S 1 1 1 0 -1 4194560 9 0 0 0 120 30 0 0 20 0 5 0 100 1 2";
        assert_eq!(stat_ticks(&format!("12 (a) b (c) {rest}")), Some(150));
        assert_eq!(stat_ticks("12 (a"), None);
    }

    #[test]
    fn a_listener_is_found_by_its_port() {
        let listener_socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener_socket.local_addr().expect("it is bound");
        assert_eq!(listener(address), Some(std::process::id()));
        drop(listener_socket);
        assert_eq!(listener(address), None);
    }

    #[test]
    fn seconds_get_the_last_sample_before_their_end() {
        let sample = |at_ns, descriptors| Sample { at_ns, resident_mb: 1.5, descriptors };
        let watch = Watch {
            begun_ns: 0,
            processes: Vec::new(),
            cores: Cores::begin(),
            samples: vec![sample(100, 1), sample(100 + SECOND_NS, 2), sample(200 + 2 * SECOND_NS, 3)],
        };
        let mut seconds: Vec<Second> = (1..=3).map(|at| Second { at, ..Second::default() }).collect();
        watch.fill(&mut seconds, 100);
        assert_eq!(seconds.iter().map(|second| second.descriptors).collect::<Vec<_>>(), [2, 2, 3]);
        assert_eq!(seconds[0].resident_mb, 1.5);
    }

    #[test]
    fn this_process_uses_something() {
        let mut watch = Watch::begin(vec![Watched { name: "own".to_owned(), id: std::process::id() }]);
        watch.sample();
        let used = watch.end();
        assert!(used.len() == 1 && used[0].resident_mb > 1.0 && used[0].descriptors >= 3, "{used:?}");
    }
}
