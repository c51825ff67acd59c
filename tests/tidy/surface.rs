//! What a library shows beyond those who use it: an item that no other package names, and that no shown signature needs, is `pub(crate)`.

use std::collections::BTreeSet;

use super::source::{Source, Word, begins, item_end};

/// One `pub` of a library.
struct Shown<'s> {
    path: &'s str,
    line: usize,
    name: &'s str,
    /// Of a field, a method and an associated constant: the type.
    owner: Option<&'s str>,
    is_type: bool,
    /// A field without a name: it is shown as its type is.
    is_positional: bool,
    signature: Vec<&'s str>,
}

/// Items of the library below `folder` that are `pub` for nobody. `is_user`: whether a file's words are those of another package.
pub(crate) fn shown_to_nobody(
    sources: &[Source],
    is_own: fn(&str) -> bool,
    is_user: fn(&Source) -> bool,
) -> Vec<String> {
    let users = sources.iter().filter(|source| !is_own(&source.path) && is_user(source));
    let outside: BTreeSet<&str> = users.flat_map(|source| source.words.iter().map(|word| word.text.as_str())).collect();
    let mut library = Library::default();
    for source in sources.iter().filter(|source| is_own(&source.path)) {
        library.scan(source);
    }
    let Library { shown, associated, defined, mut needed } = library;
    needed.extend(&outside);
    let users = sources.iter().filter(|source| !is_own(&source.path) && is_user(source));
    let filled: BTreeSet<&str> = users.flat_map(filled_types).collect();
    let outside = Outside { words: outside, filled, defined };
    loop {
        let before = needed.len();
        let types: BTreeSet<&str> =
            shown.iter().filter(|item| item.is_type && needed.contains(item.name)).map(|item| item.name).collect();
        for item in shown.iter().filter(|item| is_kept(item, &types, &outside)) {
            needed.extend(&item.signature);
        }
        for (owner, words) in &associated {
            if types.contains(owner) {
                needed.extend(words);
            }
        }
        if needed.len() == before {
            let idle = shown.iter().filter(|item| !is_kept(item, &types, &outside));
            return idle.map(complaint).collect();
        }
    }
}

/// What other packages name, and the types that there are.
struct Outside<'s> {
    words: BTreeSet<&'s str>,
    /// Types that others fill up from a value, which needs all of their fields.
    filled: BTreeSet<&'s str>,
    defined: BTreeSet<&'s str>,
}

fn is_kept(item: &Shown<'_>, types: &BTreeSet<&str>, outside: &Outside<'_>) -> bool {
    match item.owner {
        Some(owner) if outside.defined.contains(owner) && !types.contains(owner) => false,
        Some(owner) => item.is_positional || outside.filled.contains(owner) || outside.words.contains(item.name),
        None if item.is_type => types.contains(item.name),
        None => outside.words.contains(item.name),
    }
}

/// The types behind `..Type::` in a file.
fn filled_types(source: &Source) -> impl Iterator<Item = &str> {
    let of = |four: &'_ [Word]| four[0].text == "." && four[1].text == "." && four[3].text == "::";
    source.words.windows(4).filter(move |four| of(four)).map(|four| four[2].text.as_str())
}

fn complaint(item: &Shown<'_>) -> String {
    let Shown { path, line, name, .. } = item;
    format!("{path}:{line}: {name}: no other package names it: pub(crate)")
}

#[derive(Default)]
struct Library<'s> {
    shown: Vec<Shown<'s>>,
    /// What implementations of traits show beside: their associated types, by type.
    associated: Vec<(&'s str, Vec<&'s str>)>,
    /// Every type. One that a macro makes up is not here, and counts as shown.
    defined: BTreeSet<&'s str>,
    /// Words of macros: what they make up may be shown.
    needed: BTreeSet<&'s str>,
}

impl<'s> Library<'s> {
    /// Finds every bare `pub` of a file.
    fn scan(&mut self, source: &'s Source) {
        let words = &source.words;
        // Whose braces these are, by depth; `None`: nobody's.
        let mut owners: Vec<Option<&str>> = Vec::new();
        let mut next_owner = None;
        let mut index = 0;
        while index < words.len() {
            let is_first = index == 0 || ["{", "}", ";", "]"].contains(&words[index - 1].text.as_str());
            match words[index].text.as_str() {
                "macro_rules" => {
                    let end = item_end(words, index);
                    self.needed.extend(words[index..end].iter().map(|word| word.text.as_str()));
                    index = end;
                    continue;
                }
                "impl" if is_first => {
                    let head = &words[index..index + until(&words[index..], &["{"])];
                    let (owner, is_foreign) = implemented(head);
                    if is_foreign {
                        let end = item_end(words, index + head.len());
                        self.associated.push((owner, associated_types(&words[index + head.len()..end])));
                    }
                    next_owner = Some(owner);
                    index += head.len();
                    continue;
                }
                "struct" | "enum" | "union" => {
                    next_owner = words.get(index + 1).map(|word| word.text.as_str());
                    self.defined.extend(next_owner);
                }
                "{" | "(" => owners.push(next_owner.take()),
                "}" | ")" => drop(owners.pop()),
                ";" => next_owner = None,
                "pub" if !begins(&words[index + 1..], &["("]) => {
                    let owner = owners.last().copied().flatten();
                    self.shown.extend(items(source, index, owner));
                }
                _ => {}
            }
            index += 1;
        }
    }
}

/// The type of an `impl`, and whether a trait is implemented.
fn implemented(head: &[Word]) -> (&str, bool) {
    let mut depth = 0_i32;
    let (mut name, mut is_foreign) = ("", false);
    for (index, word) in head.iter().enumerate().skip(1) {
        match word.text.as_str() {
            "<" => depth += 1,
            ">" if head[index - 1].text != "-" => depth -= 1,
            "for" if depth == 0 => (name, is_foreign) = ("", true),
            "where" if depth == 0 => break,
            text if depth == 0 && text.starts_with(|c: char| c.is_alphabetic()) => name = text,
            _ => {}
        }
    }
    (name, is_foreign)
}

fn associated_types(words: &[Word]) -> Vec<&str> {
    let starts = (0..words.len()).filter(|&index| words[index].text == "type");
    starts.flat_map(|at| words[at..at + until(&words[at..], &[";"])].iter().map(|word| word.text.as_str())).collect()
}

/// What the `pub` at `at` shows: one item, or the names of a `use`.
fn items<'s>(source: &'s Source, at: usize, owner: Option<&'s str>) -> Vec<Shown<'s>> {
    let words = &source.words[at + 1..];
    let texts = |range: &'s [Word]| range.iter().map(|word| word.text.as_str()).collect::<Vec<_>>();
    let item = |word: &'s Word, owner, signature| Shown {
        path: &source.path,
        line: source.words[at].line,
        name: &word.text,
        owner,
        is_type: false,
        is_positional: false,
        signature,
    };
    let skipped = words.iter().take_while(|word| ["async", "unsafe", "const"].contains(&word.text.as_str())).count();
    match words[skipped].text.as_str() {
        "fn" => vec![item(&words[skipped + 1], owner, texts(&words[..until(words, &["{", ";"])]))],
        kind @ ("struct" | "enum" | "trait" | "union" | "type") => {
            let end = match kind {
                "struct" | "union" => until(words, &["{", "(", ";"]),
                "type" => until(words, &[";"]),
                _ => item_end(words, 0),
            };
            vec![Shown { is_type: true, ..item(&words[1], owner, texts(&words[..end])) }]
        }
        "mod" => vec![item(&words[1], owner, Vec::new())],
        "static" => vec![item(&words[1], owner, texts(&words[..until(words, &["="])]))],
        "use" => {
            let names = &words[..until(words, &[";"])];
            let last = |index: &usize| names.get(index + 1).is_none_or(|next| [",", "}"].contains(&next.text.as_str()));
            let is_name = |index: &usize| names[*index].text.starts_with(|c: char| c.is_alphabetic());
            (0..names.len()).filter(last).filter(is_name).map(|index| item(&names[index], None, Vec::new())).collect()
        }
        _ if skipped > 0 => vec![item(&words[skipped], owner, texts(&words[..until(words, &["="])]))],
        _ if begins(&words[1..], &[":"]) => vec![item(&words[0], owner, texts(&words[..until(words, &[",", "}"])]))],
        _ => {
            let signature = texts(&words[..until(words, &[",", ")"])]);
            vec![Shown { is_positional: true, ..item(&words[0], owner, signature) }]
        }
    }
}

/// Where the first of `ends` stands outside of brackets.
fn until(words: &[Word], ends: &[&str]) -> usize {
    let mut depth = 0_i32;
    for (index, word) in words.iter().enumerate() {
        let text = word.text.as_str();
        if depth == 0 && ends.contains(&text) {
            return index;
        }
        match text {
            "(" | "[" | "{" | "<" => depth += 1,
            ">" if words[index - 1].text == "-" => {}
            ")" | "]" | "}" | ">" => depth -= 1,
            _ => {}
        }
    }
    words.len()
}

#[test]
fn what_is_shown_to_nobody_is_told() {
    let library = Source::new(
        "src/a.rs",
        "pub mod b; pub use c::{D, E as F}; pub const G: u8 = 0;
         pub struct H { pub i: J<K, u8>, pub l: u8 } pub struct J<T, U>(pub T, pub U); pub struct K; pub struct M { pub i: u8 }
         impl<T: Fn() -> u8> H { pub fn n(&self) -> O { self.p() } pub fn p(&self) {} pub(crate) fn q() {} }
         impl Iterator for H { type Item = R; } pub struct R; pub enum O { S(T) } pub struct T; pub trait X { fn v(); }
         pub struct Y { pub z: u8 }",
    );
    let user = Source::new("tests/a.rs", "use ringmq::{b, F, H}; fn w(h: H) { h.i; h.n(); Y { ..Y::of(h) }; }");
    let problems = shown_to_nobody(&[library, user], |path| path.starts_with("src/"), |_| true);
    let names: Vec<&str> = problems.iter().filter_map(|problem| problem.split(": ").nth(1)).collect();
    assert_eq!(names, ["D", "G", "l", "M", "i", "p", "X"]);
}
