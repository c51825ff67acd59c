//! The load path: sends to any RocketMQ-compatible broker and measures what its clients would see.
//!
//! One thread, one epoll loop, frames copied from templates, replies scanned by hand: the generator must cost less than the broker that it
//! measures. Latency counts from the moment a message was *meant* to leave, so a stalled broker, or a late generator, cannot hide.
//!
//! In reading order: [`settings`] checks the command line; [`schedule`] says when a message is due; [`frame`] writes requests and [`scan`]
//! reads replies; [`record`] reads pulled messages; [`transaction`] ends what
//! was only prepared; [`tally`] counts and times; [`connection`], [`producer`] and [`consumer`] are the two
//! sides of the load, and [`popper`] another consumer; [`prelude`] prepares the topics; [`run`] is the loop; [`view`] shows it; [`consume`]
//! only pulls, and [`skew`] is how it knows the time of those who send elsewhere; [`series`] and [`report`] are what
//! remains. [`cli`] has the commands that only load or only listen.

pub mod cli;
pub mod clock;
pub mod connection;
pub mod consume;
pub mod consumer;
pub mod error;
pub mod frame;
pub mod popper;
pub mod prelude;
pub mod producer;
pub mod record;
pub mod report;
pub mod run;
pub mod scan;
pub mod schedule;
pub mod series;
pub mod settings;
pub mod skew;
pub mod tally;
pub mod transaction;
pub mod view;
