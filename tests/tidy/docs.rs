//! What documentation has to say.

use std::collections::BTreeSet;
use std::path::Path;

/// Words that add nothing to a name.
const SILENT: [&str; 11] = ["the", "a", "an", "its", "of", "this", "is", "in", "and", "which", "what"];

/// Where a comment is a text of its own: `--help` shows it.
const HELP: [&str; 3] = ["tools/", "bench/cluster/main.rs", "bench/lab/cli.rs"];

/// A comment of so many words is looked at: a longer one has a reason to say the name.
const WORDS_MAX: usize = 5;

/// Comments of one line that say nothing which is not in the line below them.
pub(crate) fn silent_docs(path: &str, text: &str) -> Vec<String> {
    if HELP.iter().any(|prefix| path.starts_with(prefix)) {
        return Vec::new();
    }
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    let mut problems = Vec::new();
    for (index, line) in lines.iter().enumerate() {
        let Some(said) = line.strip_prefix("///") else { continue };
        let is_doc = |index: Option<usize>| index.and_then(|at| lines.get(at)).is_some_and(|l| l.starts_with("///"));
        if is_doc(index.checked_sub(1)) || is_doc(Some(index + 1)) || said.split_whitespace().count() > WORDS_MAX {
            continue;
        }
        let Some(item) = lines[index + 1..].iter().find(|line| !line.starts_with("#[")) else { continue };
        // The wire's own name for a field is no repetition of its type's.
        let owner = text.lines().take(index).filter(|line| begins_type(line) && !said.contains('`')).last();
        let known: BTreeSet<String> = parts(item).into_iter().chain(parts(owner.unwrap_or_default())).collect();
        // A link leads to where more is said.
        let says_more = said.contains('[')
            || parts(said).into_iter().any(|word| !SILENT.contains(&word.as_str()) && !known.contains(&word));
        if !says_more {
            problems.push(format!("{path}:{}: `{line}` says what the name says: say more, or nothing", index + 1));
        }
    }
    problems
}

/// Whether a line begins what a type has.
fn begins_type(line: &str) -> bool {
    ["impl", "pub", "struct", "enum"].iter().any(|word| line.starts_with(word)) && line.ends_with('{')
}

/// The words of names, small and in the singular.
fn parts(text: &str) -> BTreeSet<String> {
    let mut words = vec![String::new()];
    let mut was_small = false;
    for c in text.chars() {
        if !c.is_alphanumeric() || (c.is_uppercase() && was_small) {
            words.push(String::new());
        }
        was_small = c.is_lowercase();
        if c.is_alphanumeric() {
            words.last_mut().expect("one at least").extend(c.to_lowercase());
        }
    }
    let singular = |word: String| if word.len() > 3 { word.trim_end_matches('s').to_owned() } else { word };
    words.into_iter().filter(|word| !word.is_empty()).map(singular).collect()
}

/// The files that a section of ARCHITECTURE.md names, of which it may name ten: those of a send are to be read in one go.
pub(crate) fn walk_is_short(architecture: &str, root: &Path) -> Vec<String> {
    const FILES_MAX: usize = 10;
    let Some((_, walk)) = architecture.split_once("\n## The files of a send") else {
        return vec!["src/ARCHITECTURE.md: where are the files of a send?".into()];
    };
    let walk = walk.split("\n## ").next().unwrap_or(walk);
    let quoted = walk.split('`').skip(1).step_by(2);
    let files: BTreeSet<&str> = quoted.filter(|name| name.ends_with(".rs")).collect();
    let mut problems: Vec<String> = files
        .iter()
        .filter(|name| !root.join("src").join(name).is_file())
        .map(|name| format!("src/ARCHITECTURE.md: there is no src/{name}"))
        .collect();
    if files.is_empty() || files.len() > FILES_MAX {
        problems.push(format!("src/ARCHITECTURE.md: {} files of a send, at most {FILES_MAX}", files.len()));
    }
    problems
}

/// Tests and scenarios of stock clients that the features of COMPAT.md name, `FILE::NAME`, and that `tests/FILE.rs` has not.
pub(crate) fn unknown_tests(compat: &str, test_of: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let Some((_, features)) = compat.split_once("\n# Features") else {
        return vec!["src/protocol/COMPAT.md: where are the features?".into()];
    };
    let names: BTreeSet<&str> = features.split('`').skip(1).step_by(2).collect();
    let named = names.iter().filter_map(|name| name.split_once("::")).filter(|(file, _)| *file != "FILE");
    named
        .filter(|(file, name)| {
            let text = test_of(file).unwrap_or_default();
            !text.contains(&format!("\"{name}\"")) && !text.contains(&format!("fn {name}("))
        })
        .map(|(file, name)| format!("src/protocol/COMPAT.md: there is no {name} in tests/{file}.rs"))
        .collect()
}

#[test]
fn a_test_that_is_not_there_is_told() {
    let test_of =
        |file: &str| (file == "clients").then(|| "const GO: [&str; 1] = [\"pull\"];\nfn on_ringmq() {".to_owned());
    let told =
        |named: &str| unknown_tests(&format!("# Requests\n\n# Features\n\n| {named} | `DELAY` |"), test_of).len();
    assert_eq!(told("`clients::pull`, `clients::on_ringmq`, `FILE::SCENARIO`"), 0);
    assert_eq!(told("`clients::push`, `others::pull`"), 2);
    assert_eq!(unknown_tests("# Requests", test_of).len(), 1);
}

#[test]
fn a_comment_that_repeats_a_name_is_told() {
    let told = |text: &str| silent_docs("src/a.rs", text).len();
    assert_eq!(told("/// The topic.\npub topic: TopicName,"), 1);
    assert_eq!(told("/// Its queues.\n#[serde(default)]\nread_queue_nums: u32,"), 1);
    assert_eq!(told("/// Which.\nfile: FileName,"), 1);
    assert_eq!(told("/// `queueId`.\nqueue_id: QueueId,"), 1);
    assert_eq!(told("/// [`QUEUE_ID`].\nqueue_id: QueueId,"), 0);
    assert_eq!(told("/// Unix ms.\nstored: u64,"), 0);
    assert_eq!(told("/// The topic\n/// of the group.\ntopic: TopicName,"), 0);
    assert_eq!(told("/// The topic of its retries.\ntopic: TopicName,"), 0);
    assert_eq!(told("impl TopicStats {\n    /// The stats.\n    pub fn encode(&self) -> Vec<u8> {"), 1);
    assert_eq!(told("impl TopicStats {\n    /// As JSON.\n    pub fn encode(&self) -> Vec<u8> {"), 0);
    assert!(silent_docs("tools/a.rs", "/// The topic.\ntopic: String,").is_empty());
}

#[test]
fn a_walk_that_grows_is_told() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let walk = |names: &[&str]| {
        let rows: String = names.iter().map(|name| format!("| `{name}` | what `it` is |\n")).collect();
        walk_is_short(&format!("# a\n\n## The files of a send: ten\n\n{rows}\n## Next\n\n`no.rs`\n"), root).len()
    };
    assert_eq!(walk(&["main.rs", "lib.rs"]), 0);
    assert_eq!(walk(&["main.rs", "gone.rs"]), 1);
    assert_eq!(walk(&[]), 1);
    let eleven: Vec<String> = (0..11).map(|number| format!("{number}.rs")).collect();
    assert_eq!(walk(&eleven.iter().map(String::as_str).collect::<Vec<_>>()), 12);
}
