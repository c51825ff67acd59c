//! Which processor each shard is pinned to: those this process may use, not those the machine has.
//!
//! glommio's own set is the machine's online processors; in a container with a cpuset, pinning to one of the others fails.

use std::path::Path;

/// The processors in a list as the kernel writes it, such as `0-3,8,10-11`; `None` if it is not such a list or is empty.
#[must_use]
pub(crate) fn parse_cpu_list(text: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in text.trim().split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
        // A kernel has at most 8192 processors: a larger list is not one.
        if first > last || last - first > 8192 {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus).filter(|cpus| !cpus.is_empty())
}

/// The processors this process may use, from `Cpus_allowed_list`; processor 0 alone if the kernel does not tell.
#[must_use]
pub(crate) fn allowed_cpus() -> Vec<usize> {
    let status = crate::disk::store::read_text(Path::new("/proc/self/status")).unwrap_or_default();
    let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    list.and_then(parse_cpu_list).unwrap_or_else(|| vec![0])
}

/// The processor of shard `shard`: with more shards than processors, several share one.
#[must_use]
pub(crate) fn cpu_of_shard(cpus: &[usize], shard: u16) -> usize {
    cpus.get(usize::from(shard) % cpus.len().max(1)).copied().unwrap_or(0)
}

/// How many shards a new store has by default: the processors this process may use at once, its quota included.
#[must_use]
pub fn shards_default() -> u16 {
    let parallel = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    u16::try_from(parallel).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_processors() {
        let check =
            |text: &str, expected: Option<&[usize]>| assert_eq!(parse_cpu_list(text).as_deref(), expected, "{text}");
        check("0", Some(&[0]));
        check("0-3", Some(&[0, 1, 2, 3]));
        check("\t0-1,4,6-7\n", Some(&[0, 1, 4, 6, 7]));
        check("3,1,1-2", Some(&[1, 2, 3]));
        check("", None);
        check("3-1", None);
        check("a", None);
        check("0-", None);
        check("0-99999999", None);
    }

    #[test]
    fn more_shards_than_processors_share_them() {
        let check = |cpus: &[usize], shard, expected| assert_eq!(cpu_of_shard(cpus, shard), expected);
        check(&[2, 5], 0, 2);
        check(&[2, 5], 1, 5);
        check(&[2, 5], 2, 2);
        check(&[], 7, 0);
    }

    #[test]
    fn this_process_may_use_a_processor() {
        assert!(!allowed_cpus().is_empty());
        assert!(shards_default() > 0);
    }
}
