//! One table a kind of server: each setting's key, default, unit, meaning, and how its text becomes a field.
//!
//! The same rows parse a file, print the configuration in force and render the commented files of `conf/`, so that the three
//! cannot disagree.

use std::fmt::Write as _;

use super::properties::{self, Property};
use super::{ConfigError, Fault, NotNeeded, known};

/// One setting of a configuration `C`.
///
/// A new setting of the broker touches three files: its row and field here in `config` (`node.rs`, or `replication.rs`), its field and where
/// that comes from in `broker/settings.rs`, and whoever goes by it. A row within `online(...)` may change while the node runs: then who
/// goes by it must ask the broker's settings each time, and keep no copy.
pub struct Setting<C> {
    /// RocketMQ's name of it, or ours where RocketMQ has none.
    pub key: &'static str,
    /// As it would be written; empty if it is found at the start.
    pub default: &'static str,
    /// What it does, with its unit, in one or two sentences.
    pub(crate) doc: &'static str,
    /// Whether it may change while the node runs.
    pub(crate) is_online: bool,
    pub(super) set: fn(&mut C, &str) -> Result<(), String>,
    pub(super) get: fn(&C) -> String,
}

/// A row whose setting may change while the node runs.
pub(super) const fn online<C>(mut row: Setting<C>) -> Setting<C> {
    row.is_online = true;
    row
}

/// One row of a table: a field read by its type's [`SettingValue`](super::value::SettingValue), a number within bounds or brought
/// into them, or functions of its own.
macro_rules! setting {
    ($key:literal, $default:literal, $($field:ident).+, $doc:literal) => {
        $crate::config::table::setting!(@read $key, $default, $($field).+, $doc, $crate::config::value::SettingValue::read)
    };
    ($key:literal, $default:literal, $($field:ident).+ in $min:tt..=$max:expr, $unit:literal, $doc:literal) => {
        $crate::config::table::setting!(@read $key, $default, $($field).+, $doc, |v| {
            $crate::config::value::within(v, $min, $max, $unit)
        })
    };
    ($key:literal, $default:literal, $($field:ident).+ brought_into $min:tt..=$max:expr, $unit:literal, $doc:literal) => {
        $crate::config::table::setting!(@read $key, $default, $($field).+, $doc, |v| {
            $crate::config::value::brought_within(v, $min, $max, $unit)
        })
    };
    // A field, and what its text becomes by `$read`.
    (@read $key:literal, $default:literal, $($field:ident).+, $doc:literal, $read:expr) => {
        $crate::config::table::setting!(
            $key,
            $default,
            $doc,
            |c, v| {
                c.$($field).+ = $read(v)?;
                Ok(())
            },
            |c| c.$($field).+.to_string()
        )
    };
    ($key:literal, $default:literal, $doc:literal, $set:expr, $get:expr) => {
        $crate::config::table::Setting {
            key: $key,
            default: $default,
            doc: $doc,
            is_online: false,
            set: $set,
            get: $get,
        }
    };
}
pub(super) use setting;

/// What a file said, before the fields are compared with one another.
pub(super) struct Draft<C> {
    pub(super) config: C,
    pub(super) entries: Vec<Property>,
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
        } else if let Some(promise) = known::PROMISES.iter().find(|promise| promise.key == key) {
            if !promise.is_kept(value) {
                let advice = promise.advice;
                return Err(fault(Fault::NotSupported { key: key.clone(), value: value.clone(), advice }));
            }
            not_needed.push(NotNeeded { line: entry.line, key: key.clone(), missing: None });
        } else if elsewhere.contains(&key.as_str()) || known::NOT_NEEDED.contains(&key.as_str()) {
            not_needed.push(NotNeeded { line: entry.line, key: key.clone(), missing: known::missing(key) });
        } else {
            return Err(fault(unknown(tables, elsewhere, key)));
        }
    }
    Ok(Draft { config, entries, file: file.to_owned(), not_needed })
}

/// Changes settings of `config`, which is in force, to what `text` says. Returns the settings that it names and that may change.
///
/// # Errors
/// The first setting that is unknown, cannot have this value, or cannot change now; a text without any.
pub(super) fn change<C>(
    config: &mut C,
    tables: &[&[Setting<C>]],
    elsewhere: &[&str],
    text: &str,
) -> Result<Vec<Property>, ConfigError> {
    let rows = || tables.iter().flat_map(|table| table.iter());
    let mut changes = Vec::new();
    for entry in properties::parse(REQUEST, text)? {
        let fault = |fault| Err(ConfigError::new(REQUEST, Some(entry.line), fault));
        let (key, value) = (entry.key.clone(), entry.value.clone());
        let promise = known::PROMISES.iter().find(|promise| promise.key == key);
        match rows().find(|row| row.key == key) {
            Some(row) if row.is_online => {
                if let Err(expected) = (row.set)(config, &value) {
                    return fault(Fault::BadValue { key, value, expected });
                }
                changes.push(entry);
            }
            // A tool may send all that it was told, with one setting changed.
            Some(row) if (row.get)(config) == value => {}
            Some(_) => return fault(Fault::Fixed { key }),
            None if known::FIXED.contains(&key.as_str()) || elsewhere.contains(&key.as_str()) => {
                return fault(Fault::Fixed { key });
            }
            None => match promise {
                Some(promise) if promise.is_kept(&value) => return fault(Fault::DoesNothing { key }),
                Some(promise) => return fault(Fault::NotSupported { key, value, advice: promise.advice }),
                None if known::NOT_NEEDED.contains(&key.as_str()) => return fault(Fault::DoesNothing { key }),
                None => return fault(unknown(tables, elsewhere, &key)),
            },
        }
    }
    if changes.is_empty() { Err(ConfigError::new(REQUEST, None, Fault::Nothing)) } else { Ok(changes) }
}

/// What a text of changes is called.
pub(super) const REQUEST: &str = "request";

fn unknown<C>(tables: &[&[Setting<C>]], elsewhere: &[&str], key: &str) -> Fault {
    let own = tables.iter().flat_map(|table| table.iter()).map(|row| row.key);
    let candidates = own.chain(elsewhere.iter().copied()).chain(known::NOT_NEEDED.iter().copied());
    Fault::UnknownKey { key: key.to_owned(), nearest: nearest(key, candidates).map(str::to_owned) }
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
        let online = if row.is_online { " Can change online." } else { "" };
        for line in wrapped(&format!("{}{online}", row.doc)) {
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
