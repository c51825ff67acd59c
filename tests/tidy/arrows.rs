//! Which folder of `src/` may name which.

use super::source::{Source, begins};

/// Known to all: they are a crate of their own, which knows none of these folders.
const BASE: [&str; 3] = ["limits", "model", "protocol"];

/// Each folder with those it may name: arrows point down. A row with `tests` is for unit tests alone, beside what the folder may.
const ALLOWED: [(&str, &[&str]); 22] = [
    ("main", &["broker", "config", "control", "disk", "letter", "repair", "said", "shard"]),
    ("repair", &["files", "log", "shard"]),
    ("shard", &["broker", "control", "disk", "files", "letter", "log", "metrics", "net", "replication", "said"]),
    ("sim", &["broker", "config", "controller", "letter", "log", "replication"]),
    ("control", &["config", "controller", "files", "letter", "namesrv", "net", "said"]), // half frames are weighed as on a shard
    ("broker", &["config", "letter", "log", "metrics", "replication", "said"]),
    ("controller", &["config", "namesrv", "said"]), // its answers are of one kind with the name server's
    ("namesrv", &["config", "route", "said"]),
    ("replication", &["log", "said"]),
    ("disk", &["files", "log"]), // the tail file is one of the log's rungs
    ("letter", &["config", "metrics"]),
    ("log", &[]),
    ("controller tests", &["sim"]), // its draws
    ("log tests", &["sim"]),        // its disk, which loses what was not flushed
    ("broker tests", &["sim"]),     // the same of the tables' files
    ("net", &["said"]),
    ("route", &["said"]),
    ("metrics", &[]),
    ("config", &["replication"]),
    ("files", &[]),
    ("said", &[]),
    ("lib", &[]),
];

/// What is named against the table, and what the table allows although nobody names it.
pub(crate) fn wrong_arrows(sources: &[Source]) -> Vec<String> {
    check(sources, &ALLOWED)
}

fn check(sources: &[Source], allowed: &[(&str, &[&str])]) -> Vec<String> {
    let row = |name: &str| allowed.iter().find(|(from, _)| *from == name).map_or(&[][..], |(_, to)| to);
    let mut problems = Vec::new();
    let mut used = Vec::new();
    for source in sources {
        let Some(folder) = source.folder().filter(|folder| *folder != "protocol") else { continue };
        if !allowed.iter().any(|(from, _)| *from == folder) {
            problems.push(format!("{}: give `{folder}` a row in tests/tidy/arrows.rs", source.path));
        }
        for arrow in arrows(source) {
            let own = folder == arrow.to || BASE.contains(&arrow.to.as_str());
            let tests = format!("{folder} tests");
            let from = match () {
                () if row(folder).contains(&arrow.to.as_str()) => folder,
                () if arrow.in_test && row(&tests).contains(&arrow.to.as_str()) => &tests,
                () if own => continue,
                () => {
                    let (path, line, to) = (&source.path, arrow.line, &arrow.to);
                    problems.push(format!("{path}:{line}: `{folder}` names `{to}`: arrows point down; pass a value"));
                    continue;
                }
            };
            used.push((from.to_owned(), arrow.to));
        }
    }
    for (from, to) in allowed.iter().flat_map(|(from, to)| to.iter().map(move |to| (*from, *to))) {
        if !used.iter().any(|(user, used)| user == from && used == to) {
            problems.push(format!("tests/tidy/arrows.rs: `{from}` does not name `{to}`: take it out of the table"));
        }
    }
    problems
}

struct Arrow {
    to: String,
    line: usize,
    in_test: bool,
}

/// Every folder that is named behind the crate's root: `crate::x`, `crate::{x, y::z}`, `ringmq::x`, and enough `super`.
fn arrows(source: &Source) -> Vec<Arrow> {
    let words = &source.words;
    let depth = depth(&source.path);
    let mut found = Vec::new();
    for index in 0..words.len() {
        let supers = words[index..].chunks(2).take_while(|pair| begins(pair, &["super", "::"])).count();
        let is_inner = index > 0 && words[index - 1].text == "::";
        let behind = match words[index].text.as_str() {
            "crate" | "ringmq" if begins(&words[index + 1..], &["::"]) => index + 2,
            "super" if !is_inner && supers > 0 && supers >= depth + usize::from(words[index].in_test) => {
                index + 2 * supers
            }
            _ => continue,
        };
        for at in heads(source, behind) {
            let word = &words[at];
            // A type at the root, and `use super::*` there, are no folder.
            if word.text.starts_with(|c: char| c.is_ascii_lowercase()) {
                found.push(Arrow { to: word.text.clone(), line: word.line, in_test: word.in_test });
            }
        }
    }
    found
}

/// How many `super` lead from a file to the crate's root.
fn depth(path: &str) -> usize {
    let module = path.trim_start_matches("src/").trim_end_matches(".rs").trim_end_matches("/mod");
    module.split('/').count()
}

/// The first names of what stands at `from`: one, or those of a list in braces.
fn heads(source: &Source, from: usize) -> Vec<usize> {
    let words = &source.words;
    if !begins(&words[from..], &["{"]) {
        return vec![from];
    }
    let mut depth = 0_usize;
    let mut heads = Vec::new();
    for at in from..words.len() {
        match words[at].text.as_str() {
            "{" => depth += 1,
            "}" => depth -= 1,
            _ if depth == 1 && matches!(words[at - 1].text.as_str(), "{" | ",") => heads.push(at),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

#[test]
fn an_arrow_up_and_an_unused_row_are_told() {
    let table: [(&str, &[&str]); 5] =
        [("net", &[]), ("log", &[]), ("log tests", &["sim"]), ("shard", &["net", "log"]), ("sim", &[])];
    let check = |sources: &[(&str, &str)]| {
        let sources: Vec<Source> = sources.iter().map(|(path, text)| Source::new(path, text)).collect();
        let problems = super::arrows::check(&sources, &table);
        problems.iter().filter(|problem| problem.starts_with("src/")).cloned().collect::<Vec<_>>()
    };
    assert!(check(&[("src/shard/pump.rs", "use crate::{net::Net, log::{Log, Tail}, limits};")]).is_empty());
    assert!(check(&[("src/log/a.rs", "#[cfg(test)]\nmod tests { use crate::sim::Disk; }")]).is_empty());
    assert!(check(&[("src/log/a/b.rs", "use super::super::net; // log::a::net\n use crate::log::Log;")]).is_empty());
    assert_eq!(check(&[("src/net/link.rs", "fn f() { crate::shard::g() }")]).len(), 1);
    assert_eq!(check(&[("src/net/link.rs", "use super::super::shard::g;")]).len(), 1);
    assert_eq!(check(&[("src/net/link.rs", "use crate::{model::Id, shard::{net, log}};")]).len(), 1);
    assert_eq!(check(&[("src/log/a.rs", "use crate::sim::Disk;")]).len(), 1);
    assert_eq!(check(&[("src/new/a.rs", "")]).len(), 1);
    assert_eq!(super::arrows::check(&[], &table).len(), 3);
}
