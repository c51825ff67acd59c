//! Experiments on clusters, made of loads: what is run, on what, and what remains.
//!
//! In reading order: [`results`] is the file that every experiment writes.

pub mod results;
