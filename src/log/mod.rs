//! What is on disk, and what it means after a crash.
