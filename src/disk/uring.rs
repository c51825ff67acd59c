//! Whether this process may use io_uring at all, asked before any executor is made; and what is let go with the last request of its rings.
//!
//! glommio's own answer to a refused ring is a panic; an operator needs the sentence that says which switch to turn.

#![expect(unsafe_code, reason = "the system calls that make a ring and give it files are declared unsafe")]

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;

use rustix::io::Errno;
use rustix::io_uring::IoringRegisterOp;
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

/// Gives a file to all rings of this process. A ring, and what it was given, is let go when the last of its requests has come to its end, which
/// after `kill -9` may be long after the process is gone: what was claimed by a lock on the file stays claimed as long.
///
/// # Errors
/// What the kernel says. A ring that has the file already is none.
pub(crate) fn hold(file: &File) -> io::Result<()> {
    let files = [file.as_raw_fd()];
    for entry in std::fs::read_dir("/proc/self/fd")?.flatten() {
        let is_ring = std::fs::read_link(entry.path()).is_ok_and(|target| target == Path::new("anon_inode:[io_uring]"));
        let Some(ring) = entry.file_name().to_str().and_then(|name| name.parse().ok()).filter(|_| is_ring) else {
            continue;
        };
        // SAFETY: rings live as long as their executors, which live as long as the process; were it another file by now, or closed, the call would
        // fail. The kernel copies the array of one descriptor before it returns.
        let held = unsafe {
            let ring = BorrowedFd::borrow_raw(ring);
            rustix::io_uring::io_uring_register(ring, IoringRegisterOp::RegisterFiles, files.as_ptr().cast(), 1)
        };
        match held {
            Ok(_) | Err(Errno::BUSY) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(())
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
