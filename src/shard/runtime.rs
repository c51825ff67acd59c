//! Makes a shard's executor: one thread, pinned, with every work-around that glommio 0.9 needs.
//!
//! | what glommio 0.9 does | what is done here |
//! |---|---|
//! | sleeps with runnable tasks | a timer that is always armed ([`Watch::keep_alive`]), and a thread that interrupts it ([`super::watchdog`]) |
//! | looks for completions every 100 ms while a task is runnable | preempt timer of 1 ms |
//! | pins its blocking thread to the executor's own processor | the blocking pool is unbound |
//! | fails to make rings while the kernel still frees those of a former process | tried again for two seconds |
//! | panics when it may not use io_uring | asked before ([`crate::disk::uring::probe`]) |
//! | lets other executors live on when one has panicked | the process aborts ([`abort_on_panic`]) |
//! | stalls 10 to 80 ms in its first sleep (membarrier) | one short sleep before anything else |

use std::cell::Cell;
use std::io::{self, Write as _};
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use glommio::{Latency, LocalExecutor, LocalExecutorBuilder, Placement, PoolPlacement, Shares, TaskQueueHandle};

use super::watch::Watch;
use super::watchdog::{Pulse, Watched};
use super::{cpus, memlock};
use crate::disk::uring::UringError;
use crate::limits::{BLOCKING_THREADS, RING_DEPTH, SHARES_BACKGROUND, SHARES_REQUEST};

thread_local! {
    static IS_EXECUTOR: Cell<bool> = const { Cell::new(false) };
}

/// How an executor is made.
#[derive(Clone, Debug)]
pub struct ExecutorPlan {
    /// Name of the thread.
    pub name: String,
    /// The processor it is pinned to.
    pub cpu: usize,
    /// Registered I/O memory, bytes.
    pub(crate) io_memory: usize,
    /// How often completions are looked for while tasks are runnable. Production: 1 ms.
    pub preempt: Duration,
}

impl Runtime {
    /// Starts a task in `queue`. It runs until it ends by itself or the executor does.
    pub fn spawn(&self, queue: TaskQueueHandle, task: impl Future<Output = ()> + 'static) {
        glommio::spawn_local_into(task, queue).expect("the queues live as long as the executor").detach();
    }
}

impl ExecutorPlan {
    /// The plan of one of `shards` shards of this process.
    #[must_use]
    pub fn of_shard(shard: u16, shards: u16) -> ExecutorPlan {
        ExecutorPlan {
            name: format!("shard-{shard}"),
            cpu: cpus::cpu_of_shard(&cpus::allowed_cpus(), shard),
            io_memory: memlock::io_memory(memlock::limit_of_process(), shards),
            preempt: Duration::from_millis(1),
        }
    }
}

/// Why there is no executor.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum RuntimeError {
    /// io_uring cannot be used at all.
    #[error(transparent)]
    Uring(#[from] UringError),
    /// The thread cannot be made.
    #[error("cannot start the thread {name}: {source}")]
    Thread {
        name: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// glommio did not make the executor, for two seconds.
    #[error(
        "cannot make the executor {name}: {reason}; if memory cannot be locked, set `LimitMEMLOCK=infinity` (systemd) or `ulimit -l unlimited`"
    )]
    Executor { name: String, reason: String },
    /// The limit of open files is too low for the logs and a few clients.
    #[error(
        "the limit of open files is {found}, at least {needed} are needed; set `LimitNOFILE=1048576` (systemd), `--ulimit nofile=1048576` (Docker) or `ulimit -Hn`"
    )]
    OpenFiles { found: usize, needed: usize },
    /// The limit of locked memory is below what glommio takes at all.
    #[error(
        "the limit of locked memory is {found} bytes, at least {needed} are needed; set `LimitMEMLOCK=infinity` (systemd), `--ulimit memlock=-1` (Docker) or `ulimit -l unlimited`"
    )]
    Memlock { found: u64, needed: u64 },
}

/// The task queues of a shard. What is not named here runs in the request queue's peer, glommio's default queue.
#[derive(Clone, Copy, Debug)]
pub struct TaskQueues {
    /// Connections, commits, the control mailbox.
    pub request: TaskQueueHandle,
    /// Segments in advance, index writes, reads of old data, tables.
    pub background: TaskQueueHandle,
}

/// What a task on the executor gets: its queues and its watch, which is already running.
#[derive(Clone)]
pub struct Runtime {
    /// Where tasks go.
    pub queues: TaskQueues,
    /// Clock and stall detector.
    pub watch: Rc<Watch>,
}

/// Checks once, before any executor, that this process may use io_uring and may lock enough memory.
///
/// # Errors
/// [`RuntimeError`] with what to do.
pub fn check() -> Result<(), RuntimeError> {
    crate::disk::uring::probe()?;
    let limits = crate::disk::store::read_text(std::path::Path::new("/proc/self/limits")).unwrap_or_default();
    // glommio looks at the limit itself, whether or not the process is exempt from it.
    match memlock::parse_limit(&limits) {
        Some(found) if found < memlock::MEMLOCK_BYTES_MIN => {
            Err(RuntimeError::Memlock { found, needed: memlock::MEMLOCK_BYTES_MIN })
        }
        _ => Ok(()),
    }
}

/// Aborts the process when a shard's thread panics, after one sentence: a shard that is gone must not look alive because its
/// siblings are. Other threads keep the hook there was.
pub fn abort_on_panic() {
    let other = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if IS_EXECUTOR.get() {
            let thread = std::thread::current();
            let name = thread.name().unwrap_or("shard");
            // Nothing can be done about a closed stderr.
            drop(writeln!(io::stderr(), "ringmq: {name} has a bug and the process aborts: {panic}"));
            std::process::abort();
        }
        other(panic);
    }));
}

/// Raises the limit of open files to what is allowed, since each connection is one. Returns the limit.
pub fn raise_open_files() -> u64 {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let found = getrlimit(Resource::Nofile);
    let mut raised = found;
    raised.current = raised.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// Starts the executor on a thread of its own and runs `main` on it to its end. If the executor cannot be made, `failed` is told.
///
/// # Errors
/// [`RuntimeError::Thread`] if there is no thread.
pub fn spawn<T, F, M>(
    plan: ExecutorPlan,
    main: M,
    failed: impl FnOnce(RuntimeError) + Send + 'static,
) -> Result<JoinHandle<Option<T>>, RuntimeError>
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
    M: FnOnce(Runtime) -> F + Send + 'static,
{
    let name = plan.name.clone();
    let thread = std::thread::Builder::new().name(name.clone()).spawn(move || {
        // From here on: an executor can sleep on its very first task.
        let watched = Watched::this_thread();
        match make_executor(&plan) {
            Ok(executor) => Some(run(&executor, &plan.name, watched.pulse(), main)),
            Err(error) => {
                failed(error);
                None
            }
        }
    });
    thread.map_err(|source| RuntimeError::Thread { name, source })
}

fn run<T, F: Future<Output = T> + 'static>(
    executor: &LocalExecutor,
    name: &str,
    pulse: Arc<Pulse>,
    main: impl FnOnce(Runtime) -> F,
) -> T {
    IS_EXECUTOR.set(true);
    let done = executor.run(async {
        glommio::timer::sleep(Duration::from_millis(1)).await;
        let watch = Rc::new(Watch::new(name, pulse));
        let keep_alive = {
            let watch = watch.clone();
            glommio::spawn_local(async move { watch.keep_alive().await })
        };
        let queue =
            |shares, name| glommio::executor().create_task_queue(Shares::Static(shares), Latency::NotImportant, name);
        let request = queue(SHARES_REQUEST, "request");
        let background = queue(SHARES_BACKGROUND, "background");
        let done = main(Runtime { queues: TaskQueues { request, background }, watch }).await;
        keep_alive.cancel().await;
        done
    });
    IS_EXECUTOR.set(false);
    done
}

/// Makes the executor, trying again for two seconds: the kernel frees the locked memory of a process that just ended in its own time.
#[expect(
    clippy::disallowed_methods,
    reason = "no executor runs on this thread yet, so nothing is blocked by its sleep"
)]
fn make_executor(plan: &ExecutorPlan) -> Result<LocalExecutor, RuntimeError> {
    const TRIES: u32 = 20;
    let mut tried = 0;
    loop {
        let made = LocalExecutorBuilder::new(Placement::Fixed(plan.cpu))
            .name(&plan.name)
            .io_memory(plan.io_memory)
            .ring_depth(RING_DEPTH)
            .preempt_timer(plan.preempt)
            .blocking_thread_pool_placement(PoolPlacement::Unbound(BLOCKING_THREADS))
            .make();
        tried += 1;
        match made {
            Ok(executor) => return Ok(executor),
            Err(error) if tried >= TRIES => {
                return Err(RuntimeError::Executor { name: plan.name.clone(), reason: error.to_string() });
            }
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
