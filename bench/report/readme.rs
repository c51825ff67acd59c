//! A table and a picture in another document, made from the files: what a README says is then what was measured.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::lab::figure::{Figure, latency, thousands};
use crate::lab::results::{Experiment, Results};
use crate::lab::rounds::Rounds;
use crate::report::html::{verdict, warnings};
use crate::report::picture::loads;

/// Before what is replaced.
pub const BEGIN: &str = "<!-- ringmq-bench: begin -->";
/// After it.
pub const END: &str = "<!-- ringmq-bench: end -->";

/// Why a document was not changed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum ReadmeError {
    /// Not readable or not writable.
    #[error("{path}: {source}")]
    File {
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// No place for the table.
    #[error("{path} was left as it is: it needs the line {BEGIN} once, and the line {END} once after it")]
    Marks { path: String },
}

/// Results with the picture that stands for them.
#[derive(Debug)]
pub struct Album<'a> {
    /// What is shown.
    pub results: &'a Results,
    /// Where they lie.
    pub file: &'a Path,
    /// Where the picture lies, and what it shows.
    pub picture: Option<(PathBuf, String)>,
}

/// The document before the marks' content, and after it; the marks belong to neither.
fn split(path: &Path) -> Result<(String, String), ReadmeError> {
    let name = || path.display().to_string();
    let text = fs::read_to_string(path).map_err(|source| ReadmeError::File { path: name(), source })?;
    let marks = || ReadmeError::Marks { path: name() };
    if text.matches(BEGIN).count() != 1 || text.matches(END).count() != 1 {
        return Err(marks());
    }
    let (before, rest) = text.split_once(BEGIN).ok_or_else(marks)?;
    let (_, after) = rest.split_once(END).ok_or_else(marks)?;
    Ok((before.to_owned(), after.to_owned()))
}

/// Whether the document has a place for the table.
///
/// # Errors
/// When it cannot be read or lacks its marks.
pub fn check(path: &Path) -> Result<(), ReadmeError> {
    split(path).map(drop)
}

/// The document with what is between its marks made from `albums`.
///
/// # Errors
/// When it cannot be read or lacks its marks.
pub fn replaced(path: &Path, albums: &[Album<'_>]) -> Result<String, ReadmeError> {
    let (before, after) = split(path)?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let blocks: Vec<_> = albums.iter().map(|album| block(folder, album)).collect();
    Ok(format!("{before}{BEGIN}\n{}{END}{after}", blocks.join("\n")))
}

/// Writes it: whole, or not at all.
///
/// # Errors
/// When the disk is full or the folder takes no files; the document is then as it was.
pub fn write(path: &Path, text: &str) -> Result<(), ReadmeError> {
    let partial = path.with_extension("md.partial");
    fs::write(&partial, text).and_then(|()| fs::rename(&partial, path)).map_err(|source| {
        // Half a file helps nobody; that it cannot be removed changes nothing.
        let _ = fs::remove_file(&partial);
        ReadmeError::File { path: path.display().to_string(), source }
    })
}

/// Verdict, table, picture, and where it all comes from.
fn block(folder: &Path, album: &Album<'_>) -> String {
    let results = album.results;
    let mut text = format!("**{}**\n\n", plain(&results.title));
    for finding in verdict(results) {
        text.push_str(&format!("- {}\n", plain(&finding.text)));
    }
    text.push('\n');
    text.push_str(&table(results));
    if let Some((picture, title)) = &album.picture {
        text.push_str(&format!("\n![{}]({})\n", plain(title), link(folder, picture)));
    }
    let warnings = warnings(results);
    if !warnings.is_empty() {
        text.push('\n');
        for warning in &warnings {
            text.push_str(&format!("> - {}\n", plain(warning)));
        }
    }
    let machine = &results.machine;
    text.push_str(&format!(
        "\nMedians of the rounds, lowest and highest in brackets. Measured {} by `{}` ({}) on {}, {}; all runs are in [{}]({}).\n",
        plain(&results.started),
        results.command.replace('`', "'"),
        plain(&machine.generator),
        plain(&machine.cpu),
        plain(&machine.kernel),
        plain(&album.file.file_name().unwrap_or_default().to_string_lossy()),
        link(folder, album.file)
    ));
    text
}

/// A row for each subject and load, or in a sweep for each point.
fn table(results: &Results) -> String {
    let columns = [Figure::Rate, Figure::P50, Figure::P99, Figure::P99_9, Figure::Max];
    let all = Rounds::of(results);
    let loads = loads(&all);
    let has_loads = loads.len() > 1;
    let mut text =
        format!("| subject |{} messages/s | p50 | p99 | p99.9 | max |\n", if has_loads { " load |" } else { "" });
    text.push_str(&format!("|---|{}{}\n", if has_loads { "---|" } else { "" }, "---:|".repeat(columns.len())));
    for load in &loads {
        for rounds in all.iter().filter(|rounds| rounds.load == **load) {
            let name = plain(&results.subjects[rounds.subject].name);
            text.push_str(&format!("| {name} |"));
            if has_loads {
                let load = match &load.point {
                    Some(point) if results.experiment == Experiment::Sweep => {
                        format!("{} {}", point.name, point.written())
                    }
                    _ => load.brief(),
                };
                text.push_str(&format!(" {} |", plain(&load)));
            }
            for figure in columns {
                let mut values = rounds.values(figure);
                values.sort_by(f64::total_cmp);
                let written = |value: f64| if figure == Figure::Rate { thousands(value) } else { latency(value) };
                text.push_str(&format!(" {}", written(rounds.median(figure))));
                if values.len() > 1 {
                    text.push_str(&format!(" ({} \u{2013} {})", written(values[0]), written(values[values.len() - 1])));
                }
                text.push_str(" |");
            }
            text.push('\n');
        }
    }
    text
}

/// Text that Markdown takes for text, in a cell of a table too.
fn plain(text: &str) -> String {
    let mut plain = String::new();
    for letter in text.chars() {
        match letter {
            '<' => plain.push_str("&lt;"),
            '\n' | '\r' => plain.push(' '),
            '|' | '*' | '_' | '`' | '[' | ']' | '\\' => plain.extend(['\\', letter]),
            _ => plain.push(letter),
        }
    }
    plain
}

/// The way from a folder to a file, as a link has it; the file itself where there is none.
fn link(folder: &Path, file: &Path) -> String {
    let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // An empty folder is this one.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let (from, to) = (normal(&absolute(folder)), normal(&absolute(file)));
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n("..".to_owned(), from.len() - shared);
    let way: Vec<String> = up.chain(to[shared..].iter().cloned()).collect();
    way.join("/").replace(' ', "%20").replace('(', "%28").replace(')', "%29")
}

/// Its folders by name, `.` and `..` carried out.
fn normal(path: &Path) -> Vec<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(part) => parts.push(part.to_string_lossy().into_owned()),
            Component::ParentDir => drop(parts.pop()),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_the_document_to_the_file() {
        for (folder, file, expected) in [
            ("/a/b", "/a/b/c/d.svg", "c/d.svg"),
            ("/a/b/c", "/a/d e.svg", "../../d%20e.svg"),
            ("", "bench/x.svg", "bench/x.svg"),
            ("./doc/..", "./bench/x.svg", "bench/x.svg"),
        ] {
            assert_eq!(link(Path::new(folder), Path::new(file)), expected);
        }
    }

    #[test]
    fn names_are_no_markup() {
        assert_eq!(plain("a|b <i>*c*\nd"), "a\\|b &lt;i>\\*c\\* d");
    }
}
