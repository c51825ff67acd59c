//! Lines of the log that strangers can cause: the first few of a kind, then how many more there were.
//!
//! Whoever can connect can do what is worth a line, thousands of times a second, until the log fills the disk and hides what matters. Such lines have
//! the target [`BY_STRANGERS`], and whoever writes the log asks [`Lines::admit`] for each of them; [`Lines::left_out`] each [`SAID_PERIOD_MS`].
//! State of the process.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::limits::{SAID_LINES_MAX, SAID_PERIOD_MS};
use crate::model::MonoNs;
use crate::protocol::code::RequestCode;
use crate::protocol::header::Header;
use crate::protocol::reply::shown;

/// The target of all lines that somebody who can connect can cause as often as he likes. What an operator must not miss belongs to none of them.
pub const BY_STRANGERS: &str = "ringmq::by_strangers";

/// How often each kind of line was said. A kind is a place in the source, and of requests that change something their name, so there are no more than
/// those.
#[derive(Debug, Default)]
pub struct Lines {
    kinds: BTreeMap<(&'static str, String), Kind>,
}

#[derive(Debug)]
struct Kind {
    since: MonoNs,
    said: u32,
    left_out: u64,
    /// The first of those that were left out.
    example: String,
}

impl Lines {
    /// Whether a line is to be said. `text` is asked for its words if it is the first that is not.
    pub fn admit(&mut self, now: MonoNs, kind: (&'static str, String), text: impl FnOnce() -> String) -> bool {
        let new = || Kind { since: now, said: 0, left_out: 0, example: String::new() };
        let kind = self.kinds.entry(kind).or_insert_with(new);
        if kind.left_out == 0 && now.ms_since(kind.since) >= SAID_PERIOD_MS {
            *kind = new();
        }
        if kind.said < SAID_LINES_MAX {
            kind.said += 1;
            return true;
        }
        if kind.left_out == 0 {
            kind.example = shown(&text());
        }
        kind.left_out += 1;
        false
    }

    /// What was left out in periods that are over: how many lines of a kind, and the first of them. Each begins anew.
    pub fn left_out(&mut self, now: MonoNs) -> Vec<(u64, String)> {
        let mut told = Vec::new();
        for kind in self.kinds.values_mut() {
            if kind.left_out > 0 && now.ms_since(kind.since) >= SAID_PERIOD_MS {
                told.push((kind.left_out, std::mem::take(&mut kind.example)));
                (kind.since, kind.said, kind.left_out) = (now, 0, 0);
            }
        }
        told
    }
}

/// Fields of a request and bytes of its body of which a line of the log may tell.
const SHOWN_FIELDS: usize = 8;
const SHOWN_BYTES: usize = 1024;

/// Says that a request has changed what operators set at `place`. Anybody can change it: an operator is to see that somebody has, and who.
pub(crate) fn say_change(place: &str, code: RequestCode, by: IpAddr, header: &Header<'_>, body: &[u8]) {
    let fields = header.ext.iter().take(SHOWN_FIELDS).map(|(key, value)| format!("{}={}", shown(key), shown(value)));
    let text = shown(&String::from_utf8_lossy(body.get(..SHOWN_BYTES).unwrap_or(body)));
    let what: Vec<String> = fields.chain((!text.is_empty()).then_some(text)).collect();
    tracing::info!(target: BY_STRANGERS, at = place, %by, what = %what.join(" "), request = code.row().name, "changed by a tool: {}", code.row().name);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_lines_of_a_kind_are_said_and_the_others_counted() {
        let mut lines = Lines::default();
        let at = |ms: u64| MonoNs(ms * 1_000_000);
        let mut say = |ms: u64, kind: &'static str, count: u64| {
            (0..count).filter(|n| lines.admit(at(ms), (kind, String::new()), || format!("{kind} {n}"))).count()
        };
        let max = SAID_LINES_MAX as usize;
        assert_eq!(say(0, "a", 100), max);
        assert_eq!(say(1, "a", 100), 0);
        assert_eq!(say(1, "b", 2), 2, "another kind has lines of its own");
        assert_eq!(say(SAID_PERIOD_MS + 5, "a", 1), 0, "not before it was told what was left out");
        assert_eq!(say(SAID_PERIOD_MS + 5, "b", 100), max);
        let left_out = lines.left_out(at(SAID_PERIOD_MS + 6));
        assert_eq!(left_out, [(201 - u64::from(SAID_LINES_MAX), format!("a {SAID_LINES_MAX}"))]);
        assert_eq!(lines.left_out(at(2 * SAID_PERIOD_MS + 5)), [(100 - u64::from(SAID_LINES_MAX), format!("b {max}"))]);
        assert_eq!(lines.left_out(at(9 * SAID_PERIOD_MS)), []);
        assert!(lines.admit(at(9 * SAID_PERIOD_MS), ("a", "other".to_owned()), String::new));
    }

    #[test]
    fn each_request_that_changes_something_has_lines_of_its_own() {
        let mut lines = Lines::default();
        let mut admit = |request: &str| lines.admit(MonoNs(0), ("one place", request.to_owned()), String::new);
        assert_eq!((0..100).filter(|_| admit("UPDATE_AND_CREATE_TOPIC")).count(), SAID_LINES_MAX as usize);
        assert!(admit("DELETE_TOPIC_IN_BROKER"), "a deletion is told beside many changes");
    }
}
