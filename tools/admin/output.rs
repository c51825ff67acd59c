//! Tables for people, JSON for programs.

use std::io::Write as _;

use serde_json::{Map, Value};

/// How results are printed.
#[derive(Clone, Copy)]
pub(crate) struct Output {
    pub(crate) json: bool,
}

impl Output {
    /// Rows under headings; as JSON a list of objects with the headings in lower case as keys.
    pub(crate) fn table(self, headings: &[&str], rows: &[Vec<String>]) {
        if self.json {
            let object = |row: &Vec<String>| {
                let members = headings.iter().zip(row).map(|(heading, cell)| (key(heading), cell_value(cell)));
                Value::Object(members.collect::<Map<_, _>>())
            };
            line(&Value::Array(rows.iter().map(object).collect()).to_string());
            return;
        }
        let width = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
            cells.chain(headings.get(column).map(|heading| heading.len())).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..headings.len()).map(width).collect();
        let text = |cells: &[String]| {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            padded.collect::<Vec<_>>().join("  ").trim_end().to_owned()
        };
        line(&text(&headings.iter().map(|heading| (*heading).to_owned()).collect::<Vec<_>>()));
        for row in rows {
            line(&text(row));
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

/// Whoever closed stdout, `head` for one, has read enough.
fn line(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}
