//! The blocking pool, made safe to use.
//!
//! glommio 0.9 runs blocking closures on a pool of one thread. A panic in such a closure ends that thread: the await hangs for
//! ever, and the next blocking operation panics the executor. So no closure may unwind into the pool.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs `work` on the shard's blocking thread and waits for it.
///
/// # Errors
/// What `work` returns; a panic in it becomes an error with the panic's message.
pub async fn run<T, F>(work: F) -> io::Result<T>
where
    T: Send + 'static,
    F: FnOnce() -> io::Result<T> + Send + 'static,
{
    glommio::executor()
        .spawn_blocking(move || {
            catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
                let text = panic.downcast_ref::<&str>().copied().map(str::to_owned);
                let text = text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default();
                Err(io::Error::other(format!("a blocking operation panicked: {text}")))
            })
        })
        .await
}
