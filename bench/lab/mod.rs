//! Experiments on clusters, made of loads: what is run, on what, and what remains.
//!
//! In reading order: [`results`] is the file that every experiment writes; [`rounds`], [`figure`] and [`statistics`] are what can be asked of
//! it, [`verdict`] what follows from it, and [`gate`] whether it is worse than it was.

pub mod figure;
pub mod gate;
pub mod results;
pub mod rounds;
pub mod statistics;
pub mod verdict;
