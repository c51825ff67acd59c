//! `ringmq-bench report` and `ringmq-bench gate`: what is made of which files, and the sentence when it cannot be.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;

use crate::lab::gate::{GateError, Passage, gate};
use crate::lab::results::{Damaged, Results, ResultsError};
use crate::load::cli::{complain, note};
use crate::report::export;
use crate::report::html::page;
use crate::report::name::{Names, slug};
use crate::report::picture::pictures;
use crate::report::picture::png::{PngError, png};
use crate::report::readme::{self, Album, ReadmeError};

/// As typed.
#[derive(Debug, Clone, Args)]
pub struct ReportArgs {
    /// Files of results, as --json writes them
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Write one page with everything here; without any other option it is report.html beside the first file
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
    /// Write the pictures here as SVG
    #[arg(long, value_name = "FOLDER")]
    pub svg: Option<PathBuf>,
    /// Write the pictures here as PNG
    #[arg(long, value_name = "FOLDER")]
    pub png: Option<PathBuf>,
    /// Write latencies by percentile here (HdrHistogram's text, milliseconds), all rounds together
    #[arg(long, value_name = "FOLDER")]
    pub hgrm: Option<PathBuf>,
    /// Write histograms here (HdrHistogram's interval log), a run an interval
    #[arg(long, value_name = "FOLDER")]
    pub hlog: Option<PathBuf>,
    /// Write runs and seconds here as tables
    #[arg(long, value_name = "FOLDER")]
    pub csv: Option<PathBuf>,
    /// Replace what this document has between its marks by a table and pictures; those are written beside the first file unless --svg says where
    #[arg(long, value_name = "FILE")]
    pub readme: Option<PathBuf>,
}

/// As typed.
#[derive(Debug, Clone, Args)]
pub struct GateArgs {
    /// What is to be no worse
    #[arg(value_name = "NEW.json")]
    pub new: PathBuf,
    /// What it is compared with, measured by the same scenario on the same machine
    #[arg(long, value_name = "OLD.json")]
    pub baseline: PathBuf,
    /// How much lower a rate may be, and how much higher p99.9
    #[arg(long, value_name = "PERCENT", value_parser = parse_percent, default_value = "5%")]
    pub worse: f64,
}

/// `5%` or `5` as a share.
fn parse_percent(text: &str) -> Result<f64, String> {
    let number = text.trim().trim_end_matches('%').trim_end();
    match number.parse::<f64>() {
        Ok(percent) if (0.0..=1000.0).contains(&percent) => Ok(percent / 100.0),
        _ => Err("a share in percent from 0 to 1000, such as 5%".to_owned()),
    }
}

impl ReportArgs {
    /// Does it, from the command line to the exit code.
    pub fn run(&self) -> ExitCode {
        match report(self) {
            Ok(made) => {
                made.remarks.iter().chain(&made.summary()).for_each(|line| note(line));
                ExitCode::SUCCESS
            }
            Err(error) => complain(&error, 1),
        }
    }
}

impl GateArgs {
    /// Does it, from the command line to the exit code: 1 when the new results are worse or no ground for a verdict.
    pub fn run(&self) -> ExitCode {
        let passage = match pass(self) {
            Ok(passage) => passage,
            Err(error) => return complain(&error, 1),
        };
        // With stdout closed, the exit code still tells.
        let _ = write!(io::stdout().lock(), "{passage}");
        passage.remarks.iter().for_each(|remark| note(remark));
        passage.unknown.iter().for_each(|what| note(&format!("{what} is not in the baseline")));
        passage.objections().iter().for_each(|objection| note(objection));
        if passage.is_open() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// Compares two files.
///
/// # Errors
/// When one of them cannot be read or is no ground for a verdict.
pub fn pass(args: &GateArgs) -> Result<Passage, ReportError> {
    let (baseline, new) = (load(&args.baseline)?, load(&args.new)?);
    let [before, now] = [&args.baseline, &args.new].map(|path| path.display().to_string());
    Ok(gate((&before, &baseline), (&now, &new), args.worse)?)
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum ReportError {
    /// A file that cannot be read as results.
    #[error(transparent)]
    Results(#[from] ResultsError),
    #[error("{path} has no runs ({ended}): there is nothing to report; measure again")]
    NoRuns { path: String, ended: String },
    /// A histogram in it.
    #[error("{path} is damaged: {source}; measure again, or take it from a backup")]
    Damaged { path: String, source: Damaged },
    /// A place that takes no files.
    #[error("cannot write {path}: {source}")]
    Write {
        path: String,
        /// What the system says.
        source: io::Error,
    },
    /// No ground for a verdict.
    #[error(transparent)]
    Gate(#[from] GateError),
    #[error(transparent)]
    Png(#[from] PngError),
    #[error(transparent)]
    Readme(#[from] ReadmeError),
}

/// What was made.
#[derive(Debug, Default)]
pub struct Made {
    /// Files, in the order in which they were written.
    pub written: Vec<PathBuf>,
    /// What a reader should know of the files that were read.
    pub remarks: Vec<String>,
}

/// Makes what `args` say. All files are read before the first is written.
///
/// # Errors
/// The first file that cannot be read or written; what was written before stays.
pub fn report(args: &ReportArgs) -> Result<Made, ReportError> {
    let mut made = Made::default();
    let mut names = Names::default();
    let mut all = Vec::new();
    for path in &args.files {
        let results = load(path)?;
        if !results.complete {
            let (path, ended) = (path.display(), &results.ended);
            made.remarks
                .push(format!("{path} is incomplete ({ended}); the report covers what was measured and says so"));
        }
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        all.push(Source { path: path.clone(), stem: names.unique(&stem), results });
    }
    if let Some(document) = &args.readme {
        // Found wanting before anything is written.
        readme::check(document)?;
    }
    let others = [&args.svg, &args.png, &args.hgrm, &args.hlog, &args.csv, &args.readme];
    let html = match (&args.html, others.iter().all(|other| other.is_none())) {
        (None, true) => Some(args.files[0].with_file_name("report.html")),
        (html, _) => html.clone(),
    };
    if let Some(path) = html {
        made.write(&path, write_page(&all)?.as_bytes())?;
    }
    draw(args, &all, &mut made)?;
    for source in &all {
        export_one(args, source, &mut made)?;
    }
    Ok(made)
}

/// A file of results that was read.
struct Source {
    path: PathBuf,
    /// What files made of it begin with.
    stem: String,
    results: Results,
}

impl Source {
    fn damaged(&self, source: Damaged) -> ReportError {
        ReportError::Damaged { path: self.path.display().to_string(), source }
    }
}

/// Reads results that can be reported.
///
/// # Errors
/// When it is no file of results, or one without runs.
pub fn load(path: &Path) -> Result<Results, ReportError> {
    let results = Results::load(path)?;
    if results.runs.is_empty() {
        return Err(ReportError::NoRuns { path: path.display().to_string(), ended: results.ended });
    }
    Ok(results)
}

impl Made {
    /// A line a folder: `wrote report.html`, `wrote 12 files to svg`.
    pub fn summary(&self) -> Vec<String> {
        let mut folders: Vec<(&Path, Vec<&PathBuf>)> = Vec::new();
        for path in &self.written {
            let folder = path.parent().unwrap_or(Path::new(""));
            match folders.iter_mut().find(|(other, _)| *other == folder) {
                Some((_, paths)) => paths.push(path),
                None => folders.push((folder, vec![path])),
            }
        }
        let line = |(folder, paths): &(&Path, Vec<&PathBuf>)| match paths.as_slice() {
            [path] => format!("wrote {}", path.display()),
            paths if folder.as_os_str().is_empty() => format!("wrote {} files", paths.len()),
            paths => format!("wrote {} files to {}", paths.len(), folder.display()),
        };
        folders.iter().map(line).collect()
    }

    /// Writes a file and the folder that it lies in.
    fn write(&mut self, path: &Path, bytes: &[u8]) -> Result<(), ReportError> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        folder
            .map_or(Ok(()), fs::create_dir_all)
            .and_then(|()| fs::write(path, bytes))
            .map_err(|source| ReportError::Write { path: path.display().to_string(), source })?;
        self.written.push(path.to_owned());
        Ok(())
    }
}

fn write_page(all: &[Source]) -> Result<String, ReportError> {
    let named: Vec<_> = all
        .iter()
        .map(|source| {
            let name = source.path.file_name().map(|name| name.to_string_lossy().into_owned());
            (name.unwrap_or_default(), source.results.clone())
        })
        .collect();
    page(&named).map_err(|(index, error)| all[index].damaged(error))
}

/// Pictures as files, and the document that shows them.
fn draw(args: &ReportArgs, all: &[Source], made: &mut Made) -> Result<(), ReportError> {
    let beside = args.files[0].parent().map(Path::to_owned).unwrap_or_default();
    let svg = args.svg.clone().or_else(|| args.readme.is_some().then_some(beside));
    if svg.is_none() && args.png.is_none() {
        return Ok(());
    }
    let mut albums = Vec::new();
    for source in all {
        let mut shown = None;
        for picture in pictures(&source.results).map_err(|error| source.damaged(error))? {
            let stem = format!("{}-{}", source.stem, picture.stem);
            if let Some(folder) = &svg {
                let path = folder.join(format!("{stem}.svg"));
                let is_wanted = args.svg.is_some() || shown.is_none();
                if is_wanted {
                    made.write(&path, picture.wide.file(&picture.title, true).as_bytes())?;
                }
                shown.get_or_insert((path, picture.title.clone()));
            }
            if let Some(folder) = &args.png {
                made.write(&folder.join(format!("{stem}.png")), &png(&picture.wide, &picture.title)?)?;
            }
        }
        albums.push(Album { results: &source.results, file: &source.path, picture: shown });
    }
    if let Some(document) = &args.readme {
        let text = readme::replaced(document, &albums)?;
        readme::write(document, &text)?;
        made.written.push(document.clone());
    }
    Ok(())
}

fn export_one(args: &ReportArgs, source: &Source, made: &mut Made) -> Result<(), ReportError> {
    let mut all = Vec::new();
    if let Some(folder) = &args.hgrm {
        all.push((folder, export::hgrm::files(&source.results).map_err(|error| source.damaged(error))?));
    }
    if let Some(folder) = &args.hlog {
        all.push((folder, export::hlog::files(&source.results).map_err(|error| source.damaged(error))?));
    }
    if let Some(folder) = &args.csv {
        all.push((folder, export::csv::files(&source.results)));
    }
    for (folder, files) in all {
        for (name, text) in files {
            made.write(&folder.join(format!("{}-{name}", slug(&source.stem))), text.as_bytes())?;
        }
    }
    Ok(())
}
