//! A child process with its output in a file, which ends with its value.
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Lines of the log that an error shows.
const TAIL_LINES: usize = 30;
/// How often a log is looked at while a process starts.
const POLL: Duration = Duration::from_millis(10);

/// Why a process did not come up.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum StartError {
    /// The program or its files could not be used.
    #[error("{name}: {source}")]
    Io {
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// It ended before it was ready.
    #[error("{name} ended with {status} before it was ready; its log ends:\n{tail}")]
    Ended {
        name: String,
        /// Exit status or signal, in words.
        status: String,
        /// Last lines of its output.
        tail: String,
    },
    /// It still was not ready when the time was over; it has been killed.
    #[error("{name} was not ready after {seconds} s; its log ends:\n{tail}")]
    TimedOut {
        name: String,
        /// How long it had.
        seconds: u64,
        /// Last lines of its output.
        tail: String,
    },
}

/// A running child process. Dropping it kills it (SIGKILL) and waits for its end.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts `command` with standard output and error in the file `log`, and input empty.
    ///
    /// # Errors
    /// [`StartError::Io`] when the program is not found or the log cannot be written.
    pub fn start(name: &str, mut command: Command, log: &Path) -> Result<Self, StartError> {
        command.stdin(Stdio::null());
        Self::spawn(name, command, log)
    }

    /// The same with an input that the caller writes; it ends when the second value is dropped.
    pub(crate) fn start_with_input(
        name: &str,
        mut command: Command,
        log: &Path,
    ) -> Result<(Self, ChildStdin), StartError> {
        command.stdin(Stdio::piped());
        let mut process = Self::spawn(name, command, log)?;
        let input = process.child.stdin.take().expect("it was asked for above");
        Ok((process, input))
    }

    fn spawn(name: &str, mut command: Command, log: &Path) -> Result<Self, StartError> {
        let io_error = |source| StartError::Io { name: name.to_owned(), source };
        let output = File::create(log).map_err(io_error)?;
        let errors = output.try_clone().map_err(io_error)?;
        let child = command.stdout(output).stderr(errors).spawn().map_err(io_error)?;
        Ok(Self { name: name.to_owned(), child, log: log.to_owned() })
    }

    /// Waits until `ready` says yes to the log's text.
    ///
    /// # Errors
    /// [`StartError::Ended`] when the process ends first, [`StartError::TimedOut`] after `timeout`.
    pub fn wait_until(&mut self, timeout: Duration, ready: impl Fn(&str) -> bool) -> Result<(), StartError> {
        let deadline = Instant::now() + timeout;
        loop {
            let ended = self.child.try_wait().map_err(|source| StartError::Io { name: self.name.clone(), source })?;
            if ready(&self.log_text()) {
                return Ok(());
            }
            if let Some(status) = ended {
                return Err(StartError::Ended {
                    name: self.name.clone(),
                    status: status.to_string(),
                    tail: self.log_tail(),
                });
            }
            if Instant::now() >= deadline {
                let tail = self.log_tail();
                return Err(StartError::TimedOut { name: self.name.clone(), seconds: timeout.as_secs(), tail });
            }
            thread::sleep(POLL);
        }
    }

    /// Operating system's id of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// All it has written so far; empty when the log cannot be read.
    #[must_use]
    pub fn log_text(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines of what it has written.
    #[must_use]
    pub fn log_tail(&self) -> String {
        tail(&self.log_text())
    }

    /// Asks it to stop (SIGTERM).
    pub fn terminate(&self) {
        // The shell's own `kill`: the standard library only knows SIGKILL, and signalling needs no dependency here.
        let script = format!("kill -TERM {}", self.child.id());
        drop(Command::new("sh").args(["-c", &script]).stderr(Stdio::null()).status());
    }

    /// Waits until it has ended by itself; `None` when it still runs after `timeout`.
    pub fn wait_for_end(&mut self, timeout: Duration) -> Option<ExitStatus> {
        let deadline = Instant::now() + timeout;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            thread::sleep(POLL);
        }
    }

    /// Kills it now and waits for its end.
    pub fn kill(&mut self) {
        // Both fail only when it has ended already, which is what we want.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
        if thread::panicking() {
            eprintln!("--- {} wrote last:\n{}\n---", self.name, self.log_tail());
        }
    }
}

/// The last [`TAIL_LINES`] lines of `text`.
pub(crate) fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines.get(lines.len().saturating_sub(TAIL_LINES)..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, log: &Path) -> Process {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Process::start("shell", command, log).expect("sh exists")
    }

    fn log_file(name: &str) -> PathBuf {
        std::env::temp_dir().join(format!("ringmq-peers-{}-{name}", std::process::id()))
    }

    #[test]
    fn is_ready_when_the_log_says_so() {
        let log = log_file("ready");
        let mut process = shell("echo boot success; sleep 600", &log);
        process.wait_until(Duration::from_secs(20), |text| text.contains("boot success")).expect("it says so");
        drop(process);
        fs::remove_file(log).expect("the log is ours");
    }

    #[test]
    fn a_request_to_stop_is_heard() {
        let log = log_file("stopped");
        let mut process = shell("trap 'exit 7' TERM; echo up; while :; do sleep 0.05; done", &log);
        process.wait_until(Duration::from_secs(20), |text| text.contains("up")).expect("it says so");
        process.terminate();
        assert_eq!(process.wait_for_end(Duration::from_secs(20)).and_then(|status| status.code()), Some(7));
        fs::remove_file(log).expect("the log is ours");
    }

    #[test]
    fn an_early_end_shows_the_log() {
        let log = log_file("ended");
        let mut process = shell("echo no port; exit 3", &log);
        let error = process.wait_until(Duration::from_secs(20), |_| false).expect_err("it ends");
        assert!(error.to_string().contains("no port") && error.to_string().contains('3'), "{error}");
        fs::remove_file(log).expect("the log is ours");
    }
}
