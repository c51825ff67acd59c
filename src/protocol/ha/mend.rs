//! What ringmq nodes ask of one another on the stream that carries epochs: bytes of their one log that are damaged here, and may be whole there.
//!
//! Either end asks, when both have said that they can be asked ([`super::identity`]), and asks nothing more before it has its answer:
//!
//! | bytes | field  | meaning                                       |
//! |-------|--------|-----------------------------------------------|
//! | 0..4  | state  | `i32`, 0x524D0003                             |
//! | 4..8  | `len`  | `i32`, 1 to [`MEND_PIECE_BYTES`]              |
//! | 8..16 | `from` | `i64`, log offset of the first byte           |
//!
//! The answer:
//!
//! | bytes | field  | meaning                                                                              |
//! |-------|--------|--------------------------------------------------------------------------------------|
//! | 0..4  | state  | `i32`, 0x524D0004                                                                    |
//! | 4..8  | size   | `i32`, [`MEND_PIECE_BYTES`] at most; 0: they are not there, or cannot be read now     |
//! | 8..16 | `from` | `i64`, what was asked for                                                            |
//! | then  | body   | the log's bytes as they are on that disk: whether they are sound is for the asker to see |

use bytes::BufMut;

use super::{Cursor, HaError, body_bytes, offset};
use crate::limits::MEND_PIECE_BYTES;
use crate::model::LogOffset;

/// Apache's states end at 4.
const STATE_ASK: i32 = 0x524D_0003;
const STATE_PIECE: i32 = 0x524D_0004;

/// Bytes of an ask, and of an answer before its body.
pub(super) const MEND_HEAD_BYTES: usize = 16;
/// Bytes of the longest answer.
pub const PIECE_BYTES_MAX: usize = MEND_HEAD_BYTES + MEND_PIECE_BYTES;

/// Bytes that are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Log offset of the first one.
    pub from: LogOffset,
    /// How many: 1 to [`MEND_PIECE_BYTES`].
    pub len: usize,
}

/// An ask, or an answer to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MendMessage<'a> {
    /// The other end asks.
    Ask(Ask),
    /// It answers.
    Piece {
        /// What was asked for.
        from: LogOffset,
        /// The bytes from there on; none if it has none to give.
        bytes: &'a [u8],
    },
}

impl MendMessage<'_> {
    /// Puts the message.
    ///
    /// # Panics
    /// If it asks for nothing, or is beyond its bound.
    pub fn encode(&self, out: &mut impl BufMut) {
        let (state, len, from, body) = match *self {
            MendMessage::Ask(Ask { from, len }) => {
                assert!(len > 0, "nothing is asked for at {from}");
                (STATE_ASK, len, from, &[][..])
            }
            MendMessage::Piece { from, bytes } => (STATE_PIECE, bytes.len(), from, bytes),
        };
        assert!(len <= MEND_PIECE_BYTES, "{len} bytes from {from}, {MEND_PIECE_BYTES} at most");
        out.put_i32(state);
        out.put_i32(i32::try_from(len).expect("the bound is far below 2^31"));
        out.put_u64(from.0);
        out.put_slice(body);
    }

    /// Bytes of the message that begins so, as far as is known; `None` if it is another one, or its first four bytes are not there.
    ///
    /// # Errors
    /// `Negative`, `TooLong`.
    pub fn size(front: &[u8]) -> Result<Option<usize>, HaError> {
        let mut at = Cursor::new(front);
        let body = match at.i32() {
            Ok(STATE_ASK) => 0,
            // The body counts as soon as its length is there.
            Ok(STATE_PIECE) => at.i32().map_or(Ok(0), |size| body_bytes(size, MEND_PIECE_BYTES))?,
            _ => return Ok(None),
        };
        Ok(Some(MEND_HEAD_BYTES.saturating_add(body)))
    }

    /// The message at the front of `bytes`; `None` if more must come.
    ///
    /// # Errors
    /// `BadState`, `Negative`, `TooLong`, and `Empty` for an ask for nothing.
    pub fn decode(bytes: &[u8]) -> Result<Option<MendMessage<'_>>, HaError> {
        let mut at = Cursor::new(bytes);
        let Ok(state) = at.i32() else { return Ok(None) };
        let (Ok(len), Ok(from)) = (at.i32(), at.i64()) else { return Ok(None) };
        let (len, from) = (body_bytes(len, MEND_PIECE_BYTES)?, offset("log offset", from)?);
        match state {
            STATE_ASK if len == 0 => Err(HaError::Empty),
            STATE_ASK => Ok(Some(MendMessage::Ask(Ask { from, len }))),
            STATE_PIECE => Ok(at.take(len).ok().map(|bytes| MendMessage::Piece { from, bytes })),
            found => Err(HaError::BadState { expected: STATE_ASK, found }),
        }
    }
}
