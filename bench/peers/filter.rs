//! Apache's SQL92 filter, without a broker around it.
use std::fs::{self, File};
use std::process::Command;

use crate::apache::{Apache, Home, java};
use crate::clients;
use crate::process::StartError;
use crate::stock::Missing;

/// An expression, and the properties texts for which it is to be evaluated.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct FilterCase {
    pub expression: String,
    /// Properties as records hold them.
    pub properties: Vec<String>,
}

impl Apache {
    /// What Apache's filter says of each case: a letter for each of its properties texts (`t`, `f`, `n` for null, `e` for an error, `o` for what
    /// is no boolean), or a lone `r` when the expression is refused.
    ///
    /// # Errors
    /// [`Missing`] when the JDK's compiler is not there, or Java does not run to the end.
    pub fn filter(&self, cases: &[FilterCase]) -> Result<Vec<String>, Missing> {
        let classes = clients::filter_classes(self.jars())?;
        let failed = |error: String| Missing { what: "Apache's filter".to_owned(), remedy: error };
        let home = Home::create("filter").map_err(|error: StartError| failed(error.to_string()))?;
        let input = home.path().join("cases");
        let text: String = cases.iter().map(line).collect();
        fs::write(&input, text).map_err(|error| failed(error.to_string()))?;
        let class_path = format!("{}:{}", classes.display(), self.jars().join("*").display());
        let mut command = java(Command::new("java"), "Filtering", &["-Xmx512m".to_owned()], &home, &class_path);
        let file = File::open(&input).map_err(|error| failed(error.to_string()))?;
        let output = command.stdin(file).output().map_err(|error| failed(error.to_string()))?;
        let said = String::from_utf8_lossy(&output.stdout);
        if !output.status.success() {
            return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
        }
        Ok(said.lines().map(str::to_owned).collect())
    }
}

fn line(case: &FilterCase) -> String {
    let hexadecimal = |text: &str| text.bytes().map(|byte| format!("{byte:02x}")).collect::<String>();
    let words = std::iter::once(&case.expression).chain(&case.properties).map(|text| hexadecimal(text));
    words.collect::<Vec<_>>().join(" ") + "\n"
}
