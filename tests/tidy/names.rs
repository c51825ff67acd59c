//! What is defined: functions that nobody calls, and types that share a name.

use std::collections::{BTreeMap, BTreeSet};

use super::source::{Source, Word, begins, item_end};

/// Types of one name, and why it is right for all of them.
const SHARED_NAMES: [(&str, &str); 1] = [(
    "TransferHeader",
    "the same part of two protocols for slaves; always named with its module, `classic` or `epoch`",
)];

/// Words that once had up to six meanings each: each has one, types and variants counted together, and so it stays.
const ONE_MEANING: [&str; 4] = ["Asked", "Commit", "End", "InFlight"];

/// Variants that may have one of these words: where, and why.
const WORDS_OF_OTHERS: [(&str, &str, &str); 2] = [
    ("src/protocol/request/transaction.rs", "Commit", "RocketMQ's word for the end of a transaction"),
    ("bench/report/picture/svg.rs", "End", "SVG's word for the end of a text"),
];

/// Functions and constants that other files may name, and that nothing but their own definition, or nothing but unit tests, does name.
pub(crate) fn uncalled(sources: &[Source]) -> Vec<String> {
    let mut called = BTreeSet::new();
    let mut tested = BTreeSet::new();
    for source in sources {
        let mut is_import = false;
        for (index, word) in source.words.iter().enumerate() {
            is_import = word.text == "use" || (is_import && word.text != ";");
            if is_import {
                continue;
            }
            if index == 0 || !["fn", "const"].contains(&source.words[index - 1].text.as_str()) {
                let set = if word.in_test { &mut tested } else { &mut called };
                set.insert(word.text.as_str());
            }
        }
    }
    let mut problems = Vec::new();
    for source in sources {
        for name in callable(&source.words) {
            let is_tested = tested.contains(name.text.as_str());
            if called.contains(name.text.as_str()) || (is_tested && source.path.contains("tests/")) {
                continue;
            }
            let (path, line, name) = (&source.path, name.line, &name.text);
            let advice = if is_tested {
                "only unit tests call it: what they look at is to be what the program looks at"
            } else {
                "nobody calls it: delete it"
            };
            problems.push(format!("{path}:{line}: {name}: {advice}"));
        }
    }
    problems
}

/// The names behind `pub fn`, `pub(crate) const` and so on.
fn callable(words: &[Word]) -> Vec<&Word> {
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate() {
        if word.text != "pub" || word.in_test {
            continue;
        }
        let mut rest = words[index + 1..].iter();
        if words.get(index + 1).is_some_and(|next| next.text == "(") {
            rest.find(|word| word.text == ")");
        }
        let mut rest = rest.skip_while(|word| ["async", "unsafe"].contains(&word.text.as_str())).peekable();
        let is_constant = rest.next_if(|word| word.text == "const").is_some();
        let is_function = rest.next_if(|word| word.text == "fn").is_some();
        if is_constant || is_function {
            found.extend(rest.next());
        }
    }
    found
}

/// Types at the top level of the files of `src/` that have the name of another.
pub(crate) fn shared_type_names(sources: &[Source]) -> Vec<String> {
    shared(sources, &SHARED_NAMES)
}

fn shared(sources: &[Source], allowed: &[(&str, &str)]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.folder().is_some()) {
        let mut depth = 0_usize;
        for pair in source.words.windows(2) {
            match pair[0].text.as_str() {
                "{" => depth += 1,
                "}" => depth -= 1,
                "struct" | "enum" | "trait" | "union" | "type" if depth == 0 && !pair[0].in_test => {
                    places.entry(&pair[1].text).or_default().push(format!("{}:{}", source.path, pair[1].line));
                }
                _ => {}
            }
        }
    }
    let is_allowed = |name: &str| allowed.iter().any(|(known, _)| *known == name);
    let mut problems = Vec::new();
    for (name, places) in &places {
        if places.len() > 1 && !is_allowed(name) {
            problems.push(format!("{}: `{name}` has two meanings: give each its own word", places.join(", ")));
        }
    }
    for (name, _) in allowed {
        if places.get(name).is_none_or(|places| places.len() < 2) {
            problems.push(format!("tests/tidy/names.rs: `{name}` is shared no more: take it out of the list"));
        }
    }
    problems
}

/// Types and variants of `src/` and `bench/` that take one of [`ONE_MEANING`] for something else.
pub(crate) fn overused_words(sources: &[Source]) -> Vec<String> {
    let mut places: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let is_looked_at = |source: &&Source| source.folder().is_some() || source.path.starts_with("bench/");
    for source in sources.iter().filter(is_looked_at) {
        for word in types_and_variants(&source.words) {
            let text = word.text.as_str();
            let is_excused = WORDS_OF_OTHERS.iter().any(|(path, own, _)| source.path == *path && text == *own);
            if ONE_MEANING.contains(&text) && !is_excused {
                places.entry(text).or_default().push(format!("{}:{}", source.path, word.line));
            }
        }
    }
    let of_many = places.iter().filter(|(_, places)| places.len() > 1);
    of_many.map(|(word, places)| format!("{}: `{word}` has two meanings", places.join(", "))).collect()
}

/// The names of types, and of the variants of enums.
fn types_and_variants(words: &[Word]) -> Vec<&Word> {
    let mut found = Vec::new();
    for (index, word) in words.iter().enumerate().filter(|(_, word)| !word.in_test) {
        if !["struct", "enum", "trait", "union"].contains(&word.text.as_str()) {
            continue;
        }
        found.extend(words.get(index + 1));
        if word.text != "enum" {
            continue;
        }
        let mut depth = 0_usize;
        let mut begins_variant = false;
        for word in &words[index + 1..] {
            match word.text.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" if depth == 1 => break,
                "}" | ")" | "]" => depth -= 1,
                _ => {}
            }
            // Behind an attribute comes what it belongs to.
            let is_boundary = depth == 1 && ["{", ",", "]"].contains(&word.text.as_str());
            if begins_variant && depth == 1 && word.text.chars().all(char::is_alphanumeric) {
                found.push(word);
            }
            begins_variant = is_boundary || (begins_variant && word.text == "#");
        }
    }
    found
}

/// What of the broker its callers may name has one of the prefixes of its contract, in `broker/mod.rs`, and nothing else of it has.
pub(crate) fn other_doors(sources: &[Source]) -> Vec<String> {
    const FAMILIES: [&str; 4] = ["handle_", "poll_", "fill_", "view_"];
    let mut problems = Vec::new();
    for source in sources.iter().filter(|source| source.path.starts_with("src/broker/")) {
        for index in 0..source.words.len() {
            if !begins(&source.words[index..], &["impl", "Broker", "{"]) {
                continue;
            }
            let end = item_end(&source.words, index);
            for word in callable(&source.words[index..end]).into_iter().filter(|word| word.text != "new") {
                let is_of_door = FAMILIES.iter().any(|family| word.text.starts_with(family));
                let problem = match (is_shown(&source.words, word), is_of_door) {
                    (true, false) => format!("whoever calls the broker calls {}*", FAMILIES.join("*, ")),
                    (false, true) => "named as what the shell calls, and the shell does not".to_owned(),
                    _ => continue,
                };
                problems.push(format!("{}:{}: {}: {problem}", source.path, word.line, word.text));
            }
        }
    }
    problems
}

/// Whether a function is `pub` or `pub(crate)`.
fn is_shown(words: &[Word], name: &Word) -> bool {
    let place = words.iter().position(|word| std::ptr::eq(word, name)).expect("one of them");
    let before = &words[..place];
    let since = before.iter().rposition(|word| word.text == "pub").expect("it is callable");
    !begins(&words[since..], &["pub", "(", "super"]) && !begins(&words[since..], &["pub", "(", "in"])
}

#[test]
fn a_function_without_a_caller_is_told() {
    let library = Source::new(
        "src/a.rs",
        "pub fn called() {} pub(crate) const fn dead() {} pub const UNUSED: u8 = 0; fn private() {} pub fn tested() {}
         #[cfg(test)] mod tests { fn t() { tested(); } }",
    );
    let user =
        Source::new("tests/b.rs", "use a::dead; pub fn helper() {} fn main() { called(); /* dead() */ \"dead()\"; }");
    let problems = uncalled(&[library, user]);
    assert_eq!(problems.len(), 4, "{problems:?}");
    let told = |what: &str| problems.iter().any(|problem| problem.contains(what));
    assert!(
        told("dead: nobody") && told("UNUSED: nobody") && told("tested: only unit tests") && told("helper: nobody"),
        "{problems:?}"
    );
}

#[test]
fn a_type_name_with_two_meanings_is_told() {
    let sources = |second: &str| [Source::new("src/a.rs", "struct Commit;"), Source::new("src/b/c.rs", second)];
    assert_eq!(shared(&sources("pub(crate) enum Commit {}"), &[]).len(), 1);
    assert_eq!(shared(&sources("pub(crate) enum Commit {}"), &[("Commit", "one word of the wire")]).len(), 0);
    assert_eq!(shared(&sources("enum Write {}"), &[]).len(), 0);
    assert_eq!(shared(&sources("impl T for U { type Commit = u8; }"), &[]).len(), 0);
    assert_eq!(shared(&sources("#[cfg(test)] mod tests { struct Commit; }"), &[]).len(), 0);
    assert_eq!(shared(&sources("enum Write {}"), &[("Commit", "one word of the wire")]).len(), 1);
}

#[test]
fn a_word_of_the_list_with_two_meanings_is_told() {
    let told = |first: &str, second: &str| {
        overused_words(&[Source::new("src/a.rs", first), Source::new("bench/b/c.rs", second)]).len()
    };
    assert_eq!(told("struct Commit;", "enum A { B, Commit }"), 1);
    assert_eq!(told("enum A { Commit { at: u64 } }", "enum A { #[error(\"x\")] Commit(u8), D }"), 1);
    assert_eq!(told("enum A { B { End: u8 }, C(End) }", "struct End;"), 0, "a field and a use are no definitions");
    assert_eq!(told("struct Commit;", "enum A { Committed }"), 0);
}

#[test]
fn another_door_of_the_broker_is_told() {
    let told = |text: &str| other_doors(&[Source::new("src/broker/a.rs", text)]).len();
    assert_eq!(
        told("impl Broker { pub(crate) fn handle_tick() {} pub fn poll_io() {} pub(super) fn other() {} fn own() {} }"),
        0
    );
    assert_eq!(told("impl Broker { pub(crate) fn log_mut(&mut self) -> &mut Log { &mut self.log } }"), 1);
    assert_eq!(told("impl Acks { pub(crate) fn anything() {} }"), 0);
}

#[test]
fn a_door_without_its_name_and_a_name_without_a_door_are_told() {
    let text = "impl Broker { pub(crate) fn handle_a() {} pub(crate) fn b() {} pub(super) fn view_c() {} pub(super) fn d() {} }";
    let problems = other_doors(&[Source::new("src/broker/a.rs", text)]);
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].contains(" b: whoever") && problems[1].contains("view_c: named"), "{problems:?}");
}
