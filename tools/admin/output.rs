//! Tables for people, JSON for programs.

use std::io::Write as _;

use serde_json::{Map, Value};

/// A table's heading, and its key in JSON.
pub(crate) type Column<'a> = (&'a str, &'a str);

/// How results are printed.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Rows of values, those that are not known null: `-` in a table.
    pub(crate) fn values(self, columns: &[Column], rows: &[Vec<Value>]) {
        if self.json {
            let object = |row: &Vec<Value>| {
                let members = columns.iter().zip(row).map(|((_, key), value)| ((*key).to_owned(), value.clone()));
                Value::Object(members.collect::<Map<_, _>>())
            };
            line(&Value::Array(rows.iter().map(object).collect()).to_string());
            return;
        }
        let headings = columns.iter().map(|(heading, _)| (*heading).to_owned()).collect();
        let cells = rows.iter().map(|row| row.iter().take(columns.len()).map(cell_text).collect());
        let lines: Vec<Vec<String>> = std::iter::once(headings).chain(cells).collect();
        let width = |column: usize| {
            let cells = lines.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..columns.len()).map(width).collect();
        for row in &lines {
            let padded = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            line(padded.collect::<Vec<_>>().join("  ").trim_end());
        }
    }

    /// What a table's reader must know and a program does not need.
    pub(crate) fn note(self, sentence: &str) {
        if !self.json {
            line(sentence);
        }
    }

    /// One sentence of what was done; as JSON its facts, with `"done": true`.
    pub(crate) fn done(self, sentence: &str, facts: &Map<String, Value>) {
        if self.json { self.facts(true, facts) } else { line(sentence) }
    }

    /// What would be done; as JSON its facts, with `"done": false`.
    pub(crate) fn plan(self, sentences: &[String], facts: &Map<String, Value>) {
        if self.json {
            return self.facts(false, facts);
        }
        sentences.iter().for_each(|sentence| line(sentence));
        line("nothing is done yet; --yes does it");
    }

    fn facts(self, is_done: bool, facts: &Map<String, Value>) {
        let done = [("done".to_owned(), Value::Bool(is_done))];
        self.object(&done.into_iter().chain(facts.clone()).collect());
    }

    /// An object, on a line of its own.
    pub(crate) fn object(self, members: &Map<String, Value>) {
        line(&Value::Object(members.clone()).to_string());
    }

    /// What a person or a program should hear of beside the result.
    pub(crate) fn warn(self, sentence: &str) {
        // With stderr closed there is nobody to tell.
        drop(writeln!(std::io::stderr(), "ringmq-admin: {}", harmless(sentence)));
    }

    /// Why nothing came of it: a sentence, or with `--json` an object, on standard error.
    pub(crate) fn error(self, sentence: &str, kind: &str, code: Option<i32>) {
        if !self.json {
            return self.warn(sentence);
        }
        let object = serde_json::json!({"error": sentence, "kind": kind, "code": code});
        drop(writeln!(std::io::stderr(), "{object}"));
    }

    /// A line for people.
    pub(crate) fn text(self, text: &str) {
        line(text);
    }
}

fn cell_text(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        value => value.to_string(),
    }
}

/// Whoever closed stdout, `head` for one, has read enough.
fn line(text: &str) {
    drop(writeln!(std::io::stdout(), "{}", harmless(text)));
}

/// What brokers and producers wrote is no order to the terminal, and no second line.
fn harmless(text: &str) -> String {
    let text = text.trim_end();
    if !text.contains(char::is_control) {
        return text.to_owned();
    }
    text.chars().map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_one_line_without_orders_to_the_terminal() {
        assert_eq!(harmless("a b \u{e4}\n"), "a b \u{e4}");
        assert_eq!(harmless("a\n\u{1b}[31mb"), "a\\n\\u{1b}[31mb");
    }
}
