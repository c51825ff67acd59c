//! The one cursor of all binary decoders: it checks what is left before each read, so that no decoder slices by itself.

/// The input ended before the value did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended;

/// Reads big-endian values off the front of a slice.
pub struct Cursor<'a> {
    rest: &'a [u8],
}

impl<'a> Cursor<'a> {
    /// At the beginning of `bytes`.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        Cursor { rest: bytes }
    }

    /// Whether all was read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes that were not read.
    #[must_use]
    pub fn left(&self) -> usize {
        self.rest.len()
    }

    /// The next bytes, as they are.
    ///
    /// # Errors
    /// [`Ended`], as of all that follow.
    pub fn take(&mut self, count: usize) -> Result<&'a [u8], Ended> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Ended)?;
        self.rest = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Ended> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Ended)?;
        self.rest = rest;
        Ok(*taken)
    }

    #[allow(missing_docs, clippy::missing_errors_doc, reason = "the name says it")]
    pub fn u8(&mut self) -> Result<u8, Ended> {
        self.array::<1>().map(|[byte]| byte)
    }

    #[allow(missing_docs, clippy::missing_errors_doc, reason = "the name says it")]
    pub fn i16(&mut self) -> Result<i16, Ended> {
        self.array().map(i16::from_be_bytes)
    }

    #[allow(missing_docs, clippy::missing_errors_doc, reason = "the name says it")]
    pub fn i64(&mut self) -> Result<i64, Ended> {
        self.array().map(i64::from_be_bytes)
    }

    #[allow(missing_docs, clippy::missing_errors_doc, reason = "the name says it")]
    pub fn i32(&mut self) -> Result<i32, Ended> {
        self.array().map(i32::from_be_bytes)
    }

    #[allow(missing_docs, clippy::missing_errors_doc, reason = "the name says it")]
    pub fn u64(&mut self) -> Result<u64, Ended> {
        self.array().map(u64::from_be_bytes)
    }

    #[allow(missing_docs, clippy::missing_errors_doc, reason = "the name says it")]
    pub fn u128(&mut self) -> Result<u128, Ended> {
        self.array().map(u128::from_be_bytes)
    }

    /// A length of `i32` and as many bytes. A negative length is treated as an input that ended.
    ///
    /// # Errors
    /// [`Ended`].
    pub fn sized(&mut self) -> Result<&'a [u8], Ended> {
        let length = usize::try_from(self.i32()?).map_err(|_| Ended)?;
        self.take(length)
    }
}
