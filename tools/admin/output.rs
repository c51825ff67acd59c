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
    /// Rows under headings; as JSON a list of objects with the headings in lower case as keys.
    pub(crate) fn table(self, headings: &[&str], rows: &[Vec<String>]) {
        let keys: Vec<String> = headings.iter().map(|heading| key(heading)).collect();
        let columns: Vec<Column> = headings.iter().copied().zip(keys.iter().map(String::as_str)).collect();
        let rows: Vec<Vec<Value>> = rows.iter().map(|row| row.iter().map(|cell| cell_value(cell)).collect()).collect();
        self.values(&columns, &rows);
    }

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

    /// One sentence of success; as JSON `{"done": sentence}`.
    pub(crate) fn done(self, sentence: &str) {
        if self.json { line(&serde_json::json!({ "done": sentence }).to_string()) } else { line(sentence) }
    }
}

fn key(heading: &str) -> String {
    heading.to_lowercase().replace(' ', "_")
}

fn cell_value(cell: &str) -> Value {
    cell.parse::<i64>().map_or_else(|_| Value::String(cell.to_owned()), Value::from)
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
    drop(writeln!(std::io::stdout(), "{text}"));
}
