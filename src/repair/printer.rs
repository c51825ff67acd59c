//! What a check has found as a table for people, or as JSON for programs.

use std::io::Write as _;

use super::segment::DamagedStretch;
use crate::protocol::json::{JsonForm, Writer};

/// How results are printed.
#[derive(Clone, Copy)]
pub(super) struct Printer {
    pub(super) json: bool,
}

/// What is said of a shard, or of a stretch of its log.
pub(super) struct StateRow {
    pub(super) shard: String,
    pub(super) stretch: Option<DamagedStretch>,
    pub(super) state: String,
}

impl StateRow {
    /// A cell a column of [`HEADINGS`].
    fn cells(&self) -> [String; 5] {
        let [file, byte, bytes] = self.stretch.map_or_else(Default::default, |stretch| {
            let DamagedStretch { segment, from, to, .. } = stretch;
            [format!("commitlog/{segment:020}"), from.to_string(), (to - from).to_string()]
        });
        [self.shard.clone(), file, byte, bytes, self.state.clone()]
    }

    /// An object with the columns' names in lower case, in the order of the alphabet.
    fn write(&self, out: &mut Writer) {
        let [shard, file, byte, bytes, state] = self.cells();
        out.object(|out| {
            for (key, cell) in [("byte", byte), ("bytes", bytes), ("file", file), ("shard", shard), ("state", state)] {
                match cell.parse() {
                    Ok(number) => out.key(key).integer(number),
                    Err(_) if cell.is_empty() => out.key(key).null(),
                    Err(_) => out.key(key).text(&cell),
                };
            }
        });
    }
}

const HEADINGS: [&str; 5] = ["SHARD", "FILE", "BYTE", "BYTES", "STATE"];

impl Printer {
    /// Rows under headings; as JSON a list of objects.
    pub(super) fn table(self, rows: &[StateRow]) {
        if self.json {
            line(&json(|out| {
                out.array(|out| rows.iter().for_each(|row| row.write(out)));
            }));
            return;
        }
        let lines: Vec<[String; 5]> =
            std::iter::once(HEADINGS.map(str::to_owned)).chain(rows.iter().map(StateRow::cells)).collect();
        let widths: [usize; 5] = std::array::from_fn(|column| {
            lines.iter().map(|cells| cells[column].chars().count()).max().unwrap_or_default()
        });
        for cells in &lines {
            let padded: Vec<String> = cells.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            line(padded.join("  ").trim_end());
        }
    }

    /// One sentence of what is, was or would be done; as JSON `{"done": sentence}`.
    pub(super) fn done(self, sentence: &str) {
        if self.json {
            line(&json(|out| {
                out.object(|out| {
                    out.key("done").text(sentence);
                });
            }));
        } else {
            line(sentence);
        }
    }
}

fn json(fill: impl FnOnce(&mut Writer)) -> String {
    let mut out = Writer::new(JsonForm::Fastjson);
    fill(&mut out);
    String::from_utf8_lossy(&out.finish()).into_owned()
}

/// Whoever closed stdout, `head` for one, has read enough.
fn line(text: &str) {
    drop(writeln!(std::io::stdout(), "{text}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_is_an_object_with_its_numbers_as_numbers() {
        let check = |stretch, expected: &str| {
            let row = StateRow { shard: "shard-0".to_owned(), stretch, state: "as \"said\"".to_owned() };
            assert_eq!(json(|out| row.write(out)), expected);
        };
        let stretch = DamagedStretch { segment: 4096, from: 7, to: 9, is_missing: false };
        check(
            Some(stretch),
            r#"{"byte":7,"bytes":2,"file":"commitlog/00000000000000004096","shard":"shard-0","state":"as \"said\""}"#,
        );
        check(None, r#"{"byte":null,"bytes":null,"file":null,"shard":"shard-0","state":"as \"said\""}"#);
    }
}
