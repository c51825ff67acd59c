//! One table a kind of server: each setting's key, default, unit, meaning, and how its text becomes a field.
//!
//! The same rows parse a file, print the configuration in force and render the commented files of `conf/`, so that the three
//! cannot disagree.

use std::fmt::Write as _;

use super::properties::{self, Entry};
use super::{ConfigError, Fault, NotNeeded, known};

/// One setting of a configuration `C`.
pub struct Setting<C> {
    /// RocketMQ's name of it, or ours where RocketMQ has none.
    pub key: &'static str,
    /// As it would be written; empty if it is found at the start.
    pub default: &'static str,
    /// What it does, with its unit, in one or two sentences.
    pub doc: &'static str,
    pub(super) set: fn(&mut C, &str) -> Result<(), String>,
    pub(super) get: fn(&C) -> String,
}

/// One row of a table: a field read by its type's [`Value`](super::value::Value), a number within bounds, or functions of its own.
macro_rules! setting {
    ($key:literal, $default:literal, $($field:ident).+, $doc:literal) => {
        $crate::config::table::setting!(
            $key,
            $default,
            $doc,
            |c, v| {
                c.$($field).+ = $crate::config::value::Value::read(v)?;
                Ok(())
            },
            |c| c.$($field).+.to_string()
        )
    };
    ($key:literal, $default:literal, $($field:ident).+ in $min:tt..=$max:expr, $unit:literal, $doc:literal) => {
        $crate::config::table::setting!(
            $key,
            $default,
            $doc,
            |c, v| {
                c.$($field).+ = $crate::config::value::within(v, $min, $max, $unit)?;
                Ok(())
            },
            |c| c.$($field).+.to_string()
        )
    };
    ($key:literal, $default:literal, $doc:literal, $set:expr, $get:expr) => {
        $crate::config::table::Setting { key: $key, default: $default, doc: $doc, set: $set, get: $get }
    };
}
pub(super) use setting;

/// What a file said, before the fields are compared with one another.
pub(super) struct Draft<C> {
    pub(super) config: C,
    pub(super) entries: Vec<Entry>,
    pub(super) file: String,
    pub(super) not_needed: Vec<NotNeeded>,
}

impl<C> Draft<C> {
    /// The line at which `key` is set.
    pub(super) fn line(&self, key: &str) -> Option<usize> {
        self.entries.iter().find(|entry| entry.key == key).map(|entry| entry.line)
    }

    /// A fault at the first of `keys` that the file sets.
    pub(super) fn contradiction(&self, keys: &[&str], sentence: String) -> ConfigError {
        let line = keys.iter().find_map(|key| self.line(key));
        ConfigError::new(&self.file, line, Fault::Contradiction(sentence))
    }
}

/// Fills `config` with defaults, then with the file's values. Keys of `elsewhere` belong to another kind of server: accepted.
pub(super) fn read<C>(
    mut config: C,
    tables: &[&[Setting<C>]],
    elsewhere: &[&str],
    file: &str,
    text: &str,
) -> Result<Draft<C>, ConfigError> {
    let rows = || tables.iter().flat_map(|table| table.iter());
    for row in rows() {
        (row.set)(&mut config, row.default).expect("every default is a value of its own setting");
    }
    let entries = properties::parse(file, text)?;
    let mut not_needed = Vec::new();
    for entry in &entries {
        let fault = |fault| ConfigError::new(file, Some(entry.line), fault);
        let (key, value) = (&entry.key, &entry.value);
        if let Some(row) = rows().find(|row| row.key == key) {
            (row.set)(&mut config, value)
                .map_err(|expected| fault(Fault::BadValue { key: key.clone(), value: value.clone(), expected }))?;
        } else if let Some((_, advice)) = known::PROMISES.iter().find(|(name, _)| name == key) {
            if !value.eq_ignore_ascii_case("false") {
                return Err(fault(Fault::NotSupported { key: key.clone(), value: value.clone(), advice }));
            }
            not_needed.push(NotNeeded { line: entry.line, key: key.clone() });
        } else if elsewhere.contains(&key.as_str()) || known::NOT_NEEDED.contains(&key.as_str()) {
            not_needed.push(NotNeeded { line: entry.line, key: key.clone() });
        } else {
            let candidates = rows().map(|row| row.key).chain(elsewhere.iter().copied());
            let nearest = nearest(key, candidates.chain(known::NOT_NEEDED.iter().copied()));
            return Err(fault(Fault::UnknownKey { key: key.clone(), nearest: nearest.map(str::to_owned) }));
        }
    }
    Ok(Draft { config, entries, file: file.to_owned(), not_needed })
}

/// The configuration in force as properties text, one line a setting.
pub(super) fn print<C>(config: &C, tables: &[&[Setting<C>]]) -> String {
    let mut text = String::new();
    for row in tables.iter().flat_map(|table| table.iter()) {
        writeln!(text, "{}={}", row.key, (row.get)(config)).expect("writing to a String cannot fail");
    }
    text
}

/// A commented file: `header`, then every setting with its meaning; those of `chosen` with that value, the others commented out
/// with their default.
#[must_use]
pub fn render<C>(header: &str, chosen: &[(&str, &str)], tables: &[&[Setting<C>]]) -> String {
    let mut text = String::new();
    for line in header.lines() {
        writeln!(text, "# {line}").expect("writing to a String cannot fail");
    }
    for row in tables.iter().flat_map(|table| table.iter()) {
        text.push('\n');
        for line in wrapped(row.doc) {
            writeln!(text, "# {line}").expect("writing to a String cannot fail");
        }
        let written = match chosen.iter().find(|(key, _)| *key == row.key) {
            Some((key, value)) => writeln!(text, "{key}={value}"),
            None => writeln!(text, "#{}={}", row.key, row.default),
        };
        written.expect("writing to a String cannot fail");
    }
    text
}

/// Words of `doc` in lines of at most 100 letters.
fn wrapped(doc: &str) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in doc.split_whitespace() {
        let line = lines.last_mut().expect("there is always a line");
        if !line.is_empty() && line.len().saturating_add(word.len()) > 99 {
            lines.push(word.to_owned());
        } else {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// The candidate with the fewest changed letters, if they are few enough to be a slip.
fn nearest<'a>(key: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let slips_max = (key.len() / 4).clamp(1, 4);
    candidates
        .map(|candidate| (slips(key, candidate), candidate))
        .filter(|(slips, _)| *slips <= slips_max)
        .min_by_key(|(slips, _)| *slips)
        .map(|(_, candidate)| candidate)
}

/// Levenshtein distance, upper and lower case alike.
fn slips(a: &str, b: &str) -> usize {
    let (a, b) = (a.to_ascii_lowercase(), b.to_ascii_lowercase());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i.saturating_add(1);
        for (cell, to) in row.iter_mut().skip(1).zip(b.bytes()) {
            let changed = diagonal.saturating_add(usize::from(from != to));
            diagonal = *cell;
            left = changed.min(diagonal.saturating_add(1)).min(left.saturating_add(1));
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i.saturating_add(1);
        }
    }
    row.last().copied().unwrap_or(a.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_counted_as_levenshtein_does() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "", 3), ("kitten", "sitting", 3), ("brokername", "brokerName", 0), ("ab", "ba", 2)]
        {
            assert_eq!(slips(a, b), expected, "{a} {b}");
            assert_eq!(slips(b, a), expected, "{b} {a}");
        }
    }
}
