//! `ringmq-admin store` is `ringmq store`: what a start would say of a store, the broker's own program knows.

use std::env;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;

use crate::output::Output;
use crate::wire::AdminError;

#[derive(Args)]
pub(crate) struct StoreArguments {
    /// Those of `ringmq store`, its --help among them.
    #[arg(value_name = "ARGUMENTS", trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Lets the `ringmq` beside this program, or else on the PATH, take the place of this process: terminal, signals and exit code are its own.
/// Returns only if there is none.
pub(crate) fn store(output: Output, arguments: &StoreArguments) -> AdminError {
    let folder = env::current_exe().ok().and_then(|own| own.parent().map(Path::to_owned)).unwrap_or_default();
    let beside = Some(folder.join("ringmq")).filter(|program| program.is_file());
    let program = beside.unwrap_or_else(|| PathBuf::from("ringmq"));
    let mut command = Command::new(&program);
    command.arg("store").args(output.json.then_some("--json")).args(&arguments.arguments);
    let source = command.exec();
    match source.kind() {
        io::ErrorKind::NotFound => AdminError::NoRingmq { folder: folder.display().to_string() },
        _ => AdminError::NotStarted { program: program.display().to_string(), source },
    }
}
