//! Whether this process may use io_uring at all, asked before any executor is made.
//!
//! glommio's own answer to a refused ring is a panic; an operator needs the sentence that says which switch to turn.

#![expect(unsafe_code, reason = "the system call that makes a ring is declared unsafe")]

use std::io;
use std::path::Path;

use rustix::io::Errno;
use thiserror::Error;

/// Why no ring can be made. Each message is one sentence that says what to do.
#[derive(Debug, Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum UringError {
    /// Switched off for the machine.
    #[error(
        "io_uring is switched off: kernel.io_uring_disabled is {value}; run `sysctl -w kernel.io_uring_disabled=0`"
    )]
    Disabled { value: String },
    /// Refused to this process.
    #[error(
        "io_uring is not permitted to this process, most likely by a container's seccomp profile; allow io_uring_setup, io_uring_enter and io_uring_register there (Docker: --security-opt seccomp=unconfined or a profile of your own)"
    )]
    NotPermitted,
    /// The kernel does not have it.
    #[error("this kernel has no io_uring; ringmq needs Linux 5.8 or newer, built with CONFIG_IO_URING")]
    Missing,
    /// Locked memory is exhausted.
    #[error(
        "the limit of locked memory is too small for io_uring; set `LimitMEMLOCK=infinity` (systemd), `--ulimit memlock=-1` (Docker) or `ulimit -l unlimited`"
    )]
    Memlock,
    #[error("io_uring cannot be used: {0}; ringmq needs Linux 5.8 or newer")]
    Other(io::Error),
}

/// Makes a small ring and lets it go again.
///
/// # Errors
/// [`UringError`] with what to do.
pub(crate) fn probe() -> Result<(), UringError> {
    let mut params = rustix::io_uring::io_uring_params::default();
    // SAFETY: the only requirement is that `wq_fd` is an open descriptor if ATTACH_WQ is set, and no flag is set.
    let made = unsafe { rustix::io_uring::io_uring_setup(8, &mut params) };
    let switch = super::store::read_text(Path::new("/proc/sys/kernel/io_uring_disabled")).unwrap_or_default();
    match made {
        Ok(_ring) => Ok(()),
        Err(errno) => Err(explain(errno, switch.trim())),
    }
}

fn explain(errno: Errno, switch: &str) -> UringError {
    match errno {
        Errno::PERM | Errno::ACCESS if !matches!(switch, "" | "0") => UringError::Disabled { value: switch.to_owned() },
        Errno::PERM | Errno::ACCESS => UringError::NotPermitted,
        Errno::NOSYS => UringError::Missing,
        Errno::NOMEM => UringError::Memlock,
        other => UringError::Other(other.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        let check = |errno, switch: &str, expected: &str| {
            let text = explain(errno, switch).to_string();
            assert!(text.contains(expected), "{text}");
        };
        check(Errno::PERM, "2", "sysctl -w kernel.io_uring_disabled=0");
        check(Errno::PERM, "1", "kernel.io_uring_disabled is 1");
        check(Errno::PERM, "0", "seccomp");
        check(Errno::PERM, "", "seccomp");
        check(Errno::NOSYS, "0", "5.8 or newer, built with CONFIG_IO_URING");
        check(Errno::NOMEM, "0", "LimitMEMLOCK=infinity");
        check(Errno::INVAL, "0", "5.8 or newer");
    }
}
