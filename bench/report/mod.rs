//! What becomes of files of results: a page, pictures, and files that other tools read.
//!
//! In reading order: [`picture`] draws, [`html`] makes one page of everything, [`export`] writes what HdrHistogram's viewers and tables read,
//! [`readme`] keeps a table and a picture of another document true, [`command`] is the command line around all of them.

pub mod command;
pub mod export;
pub mod html;
pub mod name;
pub mod picture;
pub mod readme;
