//! Child processes that end with their parent, whatever ends it.
//!
//! A value that kills its process when dropped is not enough: a release build aborts on a panic, and nobody's destructor runs after SIGKILL.
//! So `ringmq-bench` starts brokers through itself, as `ringmq-bench attached --parent PID --cpu N -- PROGRAM ...`: that asks the kernel for
//! a SIGKILL when the parent is gone, leaves the terminal's process group (a Ctrl-C is for `ringmq-bench`, which then ends the brokers in
//! its own time), stays on its processor, and becomes the program.

use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use clap::Args;
use rustix::process::{Signal, getpid, getppid, set_parent_process_death_signal, setpgid};
use rustix::thread::{CpuSet, sched_setaffinity};

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
/// does: the kernel watches the thread, not the process.
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
        pin(cpu)?;
    }
    let [program, arguments @ ..] = args.program.as_slice() else {
        return Err("there is no program to run".to_owned());
    };
    let mut command = Command::new(program);
    command.args(arguments);
    Ok(command)
}

/// Keeps the calling thread, and what it starts from now on, on one processor.
///
/// # Errors
/// A sentence, when there is no such processor.
pub fn pin(cpu: usize) -> Result<(), String> {
    if cpu >= CpuSet::MAX_CPU {
        return Err(format!("cannot stay on processor {cpu}: there is none of that number"));
    }
    let mut only = CpuSet::new();
    only.set(cpu);
    sched_setaffinity(None, &only).map_err(|error| format!("cannot stay on processor {cpu}: {error}"))
}
