//! Numbers and texts as a controller writes them: big-endian, lengths before what they count.

use std::collections::BTreeSet;

use crate::protocol::cursor::{Cursor, Ended};

/// The input ended before the value did, or is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

impl From<Ended> for Malformed {
    fn from(_: Ended) -> Malformed {
        Malformed
    }
}

/// Reads values off the front of a slice: what a [`Cursor`] knows, and what else a controller writes.
pub(super) struct ByteReader<'a>(Cursor<'a>);

impl<'a> ByteReader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> ByteReader<'a> {
        ByteReader(Cursor::new(bytes))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, count: usize) -> Result<&'a [u8], Malformed> {
        Ok(self.0.take(count)?)
    }

    pub(super) fn u8(&mut self) -> Result<u8, Malformed> {
        Ok(self.0.u8()?)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Malformed> {
        self.i32().map(i32::cast_unsigned)
    }

    pub(super) fn i32(&mut self) -> Result<i32, Malformed> {
        Ok(self.0.i32()?)
    }

    pub(super) fn u64(&mut self) -> Result<u64, Malformed> {
        Ok(self.0.u64()?)
    }

    pub(super) fn i64(&mut self) -> Result<i64, Malformed> {
        Ok(self.0.i64()?)
    }

    pub(super) fn boolean(&mut self) -> Result<bool, Malformed> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(Malformed),
        }
    }

    /// A length of 32 bits, of no more than what is left.
    pub(super) fn count(&mut self) -> Result<usize, Malformed> {
        let count = self.u32()? as usize;
        if count <= self.0.left() { Ok(count) } else { Err(Malformed) }
    }

    pub(super) fn sized(&mut self) -> Result<&'a [u8], Malformed> {
        let count = self.count()?;
        self.take(count)
    }

    pub(super) fn text(&mut self) -> Result<String, Malformed> {
        let text = std::str::from_utf8(self.sized()?).map_err(|_| Malformed)?;
        Ok(text.to_owned())
    }

    pub(super) fn ids(&mut self) -> Result<BTreeSet<u64>, Malformed> {
        let count = self.count()?;
        (0..count).map(|_| self.u64()).collect()
    }

    /// `None` as 0, else one more than the number.
    pub(super) fn optional_id(&mut self) -> Result<Option<u64>, Malformed> {
        Ok(self.u64()?.checked_sub(1))
    }

    /// Nothing may be left.
    pub(super) fn end<T>(&self, value: T) -> Result<T, Malformed> {
        if self.is_empty() { Ok(value) } else { Err(Malformed) }
    }
}

/// Appends values.
pub(super) trait Put {
    fn u8(&mut self, value: u8);
    fn u32(&mut self, value: u32);
    fn u64(&mut self, value: u64);
    fn sized(&mut self, bytes: &[u8]);

    fn i32(&mut self, value: i32) {
        self.u32(value.cast_unsigned());
    }

    fn i64(&mut self, value: i64) {
        self.u64(value.cast_unsigned());
    }

    fn boolean(&mut self, value: bool) {
        self.u8(u8::from(value));
    }

    fn count(&mut self, count: usize) {
        self.u32(u32::try_from(count).expect("bounds of a controller are far below"));
    }

    fn text(&mut self, text: &str) {
        self.sized(text.as_bytes());
    }

    fn ids(&mut self, ids: &BTreeSet<u64>) {
        self.count(ids.len());
        for id in ids {
            self.u64(*id);
        }
    }

    fn optional_id(&mut self, id: Option<u64>) {
        self.u64(id.map_or(0, |id| id.saturating_add(1)));
    }
}

impl Put for Vec<u8> {
    fn u8(&mut self, value: u8) {
        self.push(value);
    }

    fn u32(&mut self, value: u32) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn u64(&mut self, value: u64) {
        self.extend_from_slice(&value.to_be_bytes());
    }

    fn sized(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.extend_from_slice(bytes);
    }
}
