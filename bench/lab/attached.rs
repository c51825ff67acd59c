//! Child processes that end with their parent, whatever ends it.
//!
//! A value that kills its process when dropped is not enough: a release build aborts on a panic, and nobody's destructor runs after SIGKILL.
//! So `ringmq-bench` and `ringmq-cluster` start servers through themselves, as `ringmq-bench attached --parent PID --cpu N -- PROGRAM ...`: that asks the
//! kernel for a SIGKILL when the parent is gone, leaves the terminal's process group (a Ctrl-C is for `ringmq-bench`, which then ends the brokers in its own
//! time), stays on its processor, and becomes the program.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use clap::Args;
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal, setpgid};

use crate::load::run::pin;

/// Of the hidden command `attached`.
#[derive(Debug, Clone, Args)]
pub struct AttachedArgs {
    /// Process to end with
    #[arg(long)]
    parent: i32,
    /// Processor to stay on
    #[arg(long)]
    cpu: Option<usize>,
    /// What to become
    #[arg(last = true, required = true)]
    program: Vec<OsString>,
}

/// The words before a program and its arguments that attach it to this process. Start it from the thread that lives as long as this process
/// does: the kernel watches the thread, not the process. The program of this process has a command `attached`.
///
/// # Errors
/// When this process cannot find its own file.
pub fn words(cpu: Option<usize>) -> io::Result<Vec<OsString>> {
    let mut words: Vec<OsString> = vec![std::env::current_exe()?.into(), "attached".into()];
    words.extend(["--parent".into(), getpid().as_raw_nonzero().to_string().into()]);
    if let Some(cpu) = cpu {
        words.extend(["--cpu".into(), cpu.to_string().into()]);
    }
    words.push("--".into());
    Ok(words)
}

/// A command that runs `program` attached to this process; its arguments are added as to any other.
///
/// # Errors
/// As [`words`].
pub(crate) fn command(program: &Path, cpu: Option<usize>) -> io::Result<Command> {
    let mut words = words(cpu)?.into_iter();
    let mut command = Command::new(words.next().expect("a program at least"));
    command.args(words).arg(program);
    Ok(command)
}

/// Becomes the program. Returns only with an error: a sentence.
pub fn become_attached(args: &AttachedArgs) -> String {
    match prepare(args) {
        Ok(mut command) => {
            let name = command.get_program().to_string_lossy().into_owned();
            format!("cannot run {name}: {}", command.exec())
        }
        Err(sentence) => sentence,
    }
}

fn prepare(args: &AttachedArgs) -> Result<Command, String> {
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| format!("cannot be told when the parent ends: {error}"))?;
    // It may have ended before the kernel was asked.
    if getppid().map(|parent| parent.as_raw_nonzero().get()) != Some(args.parent) {
        return Err(format!("process {} is not the parent, or has ended", args.parent));
    }
    setpgid(None, None).map_err(|error| format!("cannot leave the terminal's process group: {error}"))?;
    if let Some(cpu) = args.cpu {
        pin(cpu).map_err(|error| format!("cannot stay on processor {cpu}: {error}"))?;
    }
    let [program, arguments @ ..] = args.program.as_slice() else {
        return Err("there is no program to run".to_owned());
    };
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}
