//! What else runs on the processors while a load does: a share of a figure may be the machine's, or the generator's.
//!
//! `/proc/stat` says how busy each processor was; `/proc/PID/task/TID/stat` says what each thread used and where it last ran. Once a second the
//! difference of each thread goes to the processor on which it is then: a thread that moves within a second is counted where it ended. Workers
//! of the kernel are told apart, since they do on one processor what was asked for on another: `iou-wrk` for io_uring, `kworker` for
//! completions of direct and durable writes.

use std::collections::BTreeMap;
use std::fs;

use crate::lab::processes::Watched;
use crate::lab::results::{CoreUse, CoreUser, UserKind};
use crate::load::clock::{SECOND_NS, now_ns};
use crate::load::run::ratio;

/// The name of the thread that puts the load on.
pub(crate) const GENERATOR: &str = "generator";
/// What others may use of a processor on which generator or brokers run before it is said.
const FOREIGN_MAX: f64 = 0.05;
/// What the kernel's workers may use of the generator's processor before it is said.
const WORKERS_MAX: f64 = 0.02;
/// What a hypervisor may take of a processor before it is said.
const STOLEN_MAX: f64 = 0.02;
/// Who used less of a processor is left out of the results.
const SHARE_MIN: f64 = 0.002;
/// Most names that are kept of a processor.
const USERS_MAX: usize = 12;
/// `PF_KTHREAD` of the kernel's `include/linux/sched.h`, in field 9 of a thread's `stat`.
const KERNEL_THREAD: u64 = 0x0020_0000;

/// A thread, for as long as it lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct ThreadId {
    id: u32,
    /// In ticks since the machine's start: ids come again.
    started: u64,
}

/// What a thread's `stat` says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Thread {
    id: ThreadId,
    name: String,
    is_kernel: bool,
    ticks: u64,
    cpu: usize,
}

/// Ticks of one processor since the machine's start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ticks {
    idle: u64,
    interrupts: u64,
    stolen: u64,
    all: u64,
}

/// Looks at processors while a load runs.
#[derive(Debug)]
pub(crate) struct Cores {
    /// By processor, when it began and now.
    ticks: BTreeMap<usize, (Ticks, Ticks)>,
    /// Of all threads at the last look.
    last: BTreeMap<ThreadId, u64>,
    /// Ticks by processor, kind and name.
    used: BTreeMap<(usize, UserKey), u64>,
    looked_ns: u64,
}

type UserKey = (u8, String);

/// In the order of [`UserKind`]'s variants.
const KINDS: [UserKind; 6] = [
    UserKind::Generator,
    UserKind::Tool,
    UserKind::Broker,
    UserKind::KernelWorker,
    UserKind::Kernel,
    UserKind::Foreign,
];

impl Cores {
    /// Begins now.
    pub(crate) fn begin() -> Self {
        let now = processors(&fs::read_to_string("/proc/stat").unwrap_or_default());
        let ticks = now.into_iter().map(|(cpu, ticks)| (cpu, (ticks, ticks))).collect();
        let mut cores = Self { ticks, last: BTreeMap::new(), used: BTreeMap::new(), looked_ns: now_ns() };
        for_each_thread(|_, thread| {
            cores.last.insert(thread.id, thread.ticks);
        });
        cores
    }

    /// Looks once more; `brokers` are the processes of the subject. Twice within a moment costs more than it tells, and is left out.
    pub(crate) fn look(&mut self, brokers: &[&Watched]) {
        let now = now_ns();
        if now.saturating_sub(self.looked_ns) < SECOND_NS / 20 {
            return;
        }
        self.looked_ns = now;
        for (cpu, ticks) in processors(&fs::read_to_string("/proc/stat").unwrap_or_default()) {
            self.ticks.entry(cpu).or_insert((ticks, ticks)).1 = ticks;
        }
        let mut seen = BTreeMap::new();
        let (last, used) = (&self.last, &mut self.used);
        for_each_thread(|process, thread| {
            // One that was not there before has used all that it has used since.
            let ticks = thread.ticks.saturating_sub(last.get(&thread.id).copied().unwrap_or(0));
            seen.insert(thread.id, thread.ticks);
            if ticks > 0 {
                let (kind, name) = user(process, &thread, brokers);
                *used.entry((thread.cpu, (kind as u8, name))).or_default() += ticks;
            }
        });
        self.last = seen;
    }

    /// What came of it.
    pub(crate) fn found(&self) -> Vec<CoreUse> {
        let one = |(cpu, (before, now)): (&usize, &(Ticks, Ticks))| {
            let all = (now.all - before.all).max(1);
            let share = |ticks: u64| (ratio(ticks, all) * 1000.0).round() / 1000.0;
            let of_it = self.used.range((*cpu, (0, String::new()))..(*cpu + 1, (0, String::new())));
            let seen: u64 = of_it.clone().map(|(_, ticks)| *ticks).sum();
            let busy = all.saturating_sub(now.idle - before.idle);
            let (interrupts, stolen) = (now.interrupts - before.interrupts, now.stolen - before.stolen);
            let mut users: Vec<CoreUser> = of_it
                .map(|((_, (kind, name)), ticks)| CoreUser {
                    name: name.clone(),
                    kind: KINDS[usize::from(*kind)],
                    share: share(*ticks),
                })
                .filter(|user| user.share >= SHARE_MIN)
                .collect();
            users.sort_by(|one, other| other.share.total_cmp(&one.share));
            users.truncate(USERS_MAX);
            CoreUse {
                cpu: *cpu,
                busy: share(busy),
                interrupts: share(interrupts),
                stolen: share(stolen),
                unseen: share(busy.saturating_sub(seen + interrupts + stolen)),
                users,
            }
        };
        self.ticks.iter().map(one).collect()
    }
}

/// Why figures are the machine's, a sentence each; none if it was left to generator and brokers.
pub(crate) fn remarks(cores: &[CoreUse]) -> Vec<String> {
    let mut remarks = Vec::new();
    for core in cores {
        let share = |kinds: &[UserKind]| -> f64 {
            core.users.iter().filter(|user| kinds.contains(&user.kind)).map(|user| user.share).sum()
        };
        let named = |kinds: &[UserKind]| {
            let of_kind = core.users.iter().filter(|user| kinds.contains(&user.kind));
            of_kind.take(3).map(|user| format!("{} {}", user.name, percent(user.share))).collect::<Vec<_>>().join(", ")
        };
        let is_used = share(&[UserKind::Generator, UserKind::Broker]) > 0.0;
        let has_generator = share(&[UserKind::Generator]) > 0.0;
        let foreign = share(&[UserKind::Foreign, UserKind::Tool]) + core.unseen;
        if is_used && foreign > FOREIGN_MAX {
            let names = named(&[UserKind::Foreign, UserKind::Tool]);
            let names = if names.is_empty() { "threads too short to be seen".to_owned() } else { names };
            remarks.push(format!(
                "others used {} of processor {} ({names}), so the figure is the machine's",
                percent(foreign),
                core.cpu
            ));
        }
        let workers = share(&[UserKind::KernelWorker]);
        if has_generator && workers > WORKERS_MAX {
            remarks.push(format!(
                "the kernel's workers used {} of the generator's processor {} ({}): generator and brokers wait for each other there",
                percent(workers),
                core.cpu,
                named(&[UserKind::KernelWorker])
            ));
        }
        if core.stolen > STOLEN_MAX {
            remarks.push(format!(
                "the hypervisor gave {} of processor {} to others, so the figure is the machine's",
                percent(core.stolen),
                core.cpu
            ));
        }
    }
    remarks
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// Kind and name of a thread.
fn user(process: u32, thread: &Thread, brokers: &[&Watched]) -> (UserKind, String) {
    let broker = brokers.iter().find(|broker| broker.id == process).map(|broker| broker.name.as_str());
    if thread.name.starts_with("iou-wrk") {
        // Its own name is a number that says nothing: whose it is does.
        return (UserKind::KernelWorker, format!("iou-wrk of {}", broker.unwrap_or("another program")));
    }
    if thread.is_kernel {
        let kind = if thread.name.starts_with("kworker") { UserKind::KernelWorker } else { UserKind::Kernel };
        return (kind, thread.name.clone());
    }
    match broker {
        Some(broker) => (UserKind::Broker, broker.to_owned()),
        None if process != std::process::id() => (UserKind::Foreign, thread.name.clone()),
        None if thread.name == GENERATOR => (UserKind::Generator, GENERATOR.to_owned()),
        None => (UserKind::Tool, "ringmq-bench".to_owned()),
    }
}

/// Every thread of this machine, with its process. Those that end meanwhile are left out.
fn for_each_thread(mut each: impl FnMut(u32, Thread)) {
    let ids = |path: &str| {
        let entries = fs::read_dir(path).into_iter().flatten().flatten();
        entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
    };
    for process in ids("/proc") {
        for id in ids(&format!("/proc/{process}/task")) {
            let stat = fs::read_to_string(format!("/proc/{process}/task/{id}/stat"));
            if let Some(thread) = stat.ok().and_then(|stat| thread(id, &stat)) {
                each(process, thread);
            }
        }
    }
}

/// Of a thread's `stat`, whose second field is a name that may hold anything, in parentheses. Fields are counted from 1 in proc(5): 9 flags,
/// 14 and 15 user and system time, 22 start, 39 processor.
fn thread(id: u32, stat: &str) -> Option<Thread> {
    let (head, rest) = stat.rsplit_once(')')?;
    let (_, name) = head.split_once('(')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Thread {
        id: ThreadId { id, started: number(22)? },
        name: name.to_owned(),
        is_kernel: number(9)? & KERNEL_THREAD != 0,
        ticks: number(14)? + number(15)?,
        cpu: usize::try_from(number(39)?).ok()?,
    })
}

/// Of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq and steal of each processor.
fn processors(stat: &str) -> Vec<(usize, Ticks)> {
    let line = |line: &str| {
        let (name, rest) = line.split_once(' ')?;
        let cpu = name.strip_prefix("cpu")?.parse().ok()?;
        let fields: Vec<u64> = rest.split_whitespace().map_while(|field| field.parse().ok()).take(8).collect();
        let [user, nice, system, idle, waiting, irq, softirq, stolen] = fields.try_into().ok()?;
        let all = user + nice + system + idle + waiting + irq + softirq + stolen;
        Some((cpu, Ticks { idle: idle + waiting, interrupts: irq + softirq, stolen, all }))
    };
    stat.lines().filter_map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(name: &str, flags: u64, ticks: u64, cpu: usize) -> String {
        let zeros = |count: usize| vec!["0"; count].join(" ");
        format!("7 ({name}) S 2 {} {flags} {} {ticks} 1 {} 99 {} {cpu} 0 0", zeros(4), zeros(4), zeros(6), zeros(16))
    }

    #[test]
    fn a_thread_is_read_behind_any_name() {
        let found = thread(7, &stat("kworker/1:1H-a) b (c", KERNEL_THREAD | 1, 41, 3)).expect("a thread");
        assert_eq!(found.id, ThreadId { id: 7, started: 99 });
        assert_eq!(
            (found.name.as_str(), found.is_kernel, found.ticks, found.cpu),
            ("kworker/1:1H-a) b (c", true, 42, 3)
        );
        assert_eq!(thread(7, "7 (a"), None);
    }

    #[test]
    fn users_are_told_apart() {
        let broker = Watched { name: "broker-a master".to_owned(), id: 70 };
        let check = |process: u32, name: &str, flags: u64, expected: (UserKind, &str)| {
            let thread = thread(1, &stat(name, flags, 1, 0)).expect("a thread");
            assert_eq!(user(process, &thread, &[&broker]), (expected.0, expected.1.to_owned()), "{name}");
        };
        let own = std::process::id();
        check(own, GENERATOR, 0, (UserKind::Generator, GENERATOR));
        check(own, "main", 0, (UserKind::Tool, "ringmq-bench"));
        check(70, "shard-0", 0, (UserKind::Broker, "broker-a master"));
        check(70, "iou-wrk-71", 0, (UserKind::KernelWorker, "iou-wrk of broker-a master"));
        check(2, "kworker/1:1H-kblockd", KERNEL_THREAD, (UserKind::KernelWorker, "kworker/1:1H-kblockd"));
        check(3, "ksoftirqd/0", KERNEL_THREAD, (UserKind::Kernel, "ksoftirqd/0"));
        check(4, GENERATOR, 0, (UserKind::Foreign, GENERATOR));
    }

    #[test]
    fn a_processor_that_others_used_is_said() {
        let user = |name: &str, kind, share| CoreUser { name: name.to_owned(), kind, share };
        let core =
            |users: Vec<CoreUser>| CoreUse { cpu: 1, busy: 1.0, interrupts: 0.0, stolen: 0.0, unseen: 0.0, users };
        let generator = user(GENERATOR, UserKind::Generator, 0.4);
        assert_eq!(
            remarks(&[core(vec![generator.clone(), user("cat", UserKind::Foreign, 0.05)])]),
            Vec::<String>::new()
        );
        let found = remarks(&[core(vec![
            generator,
            user("rustc", UserKind::Foreign, 0.3),
            user("kworker/1:1", UserKind::KernelWorker, 0.1),
        ])]);
        assert_eq!(found.len(), 2);
        assert!(found[0].starts_with("others used 30 % of processor 1 (rustc 30 %), so the figure is the machine's"));
        assert!(
            found[1].starts_with("the kernel's workers used 10 % of the generator's processor 1 (kworker/1:1 10 %)")
        );
        // Where nothing of ours runs, others may.
        assert!(remarks(&[core(vec![user("rustc", UserKind::Foreign, 0.9)])]).is_empty());
    }

    #[test]
    fn this_machine_has_processors_and_this_test_a_thread() {
        let mut cores = Cores::begin();
        cores.looked_ns = 0;
        let until = now_ns() + SECOND_NS / 5;
        while now_ns() < until {
            std::hint::spin_loop();
        }
        cores.look(&[]);
        let found = cores.found();
        assert!(!found.is_empty());
        let own = |core: &CoreUse| core.users.iter().any(|user| user.kind == UserKind::Tool);
        assert!(found.iter().any(own), "{found:?}");
    }
}
