//! One frame off the front of what a socket gave.
//!
//! | bytes           | field                                                                     |
//! |-----------------|---------------------------------------------------------------------------|
//! | 0..4            | length of what follows: 4 + header + body                                  |
//! | 4               | how the header is written: 0 JSON, 1 binary                                |
//! | 5..8            | length of the header                                                      |
//! | 8..8+header     | header                                                                    |
//! | 8+header..      | body                                                                      |
//!
//! Big-endian. There is no magic and no checksum. Source: RocketMQ `NettyDecoder`, `RemotingCommand.decode`.

use crate::limits::FRAME_BYTES_MAX;

/// Bytes before the header: both length fields and the encoding byte.
pub(crate) const PREFIX_BYTES: usize = 8;

/// How a frame's header is written. The body does not depend on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// JSON text: the default of every stock client.
    #[default]
    Json,
    /// RocketMQ's own binary form, type 1 ("ROCKETMQ").
    Binary,
}

impl Encoding {
    pub(crate) fn to_byte(self) -> u8 {
        match self {
            Encoding::Json => 0,
            Encoding::Binary => 1,
        }
    }

    fn from_byte(byte: u8) -> Result<Encoding, FrameError> {
        match byte {
            0 => Ok(Encoding::Json),
            1 => Ok(Encoding::Binary),
            found => Err(FrameError::UnknownEncoding { found }),
        }
    }
}

/// A whole frame, still where it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawFrame<'a> {
    /// How `header` is written.
    pub encoding: Encoding,
    /// The header's bytes, undecoded.
    pub header: &'a [u8],
    /// The body's bytes, maybe none.
    pub body: &'a [u8],
    /// Bytes of the whole frame, its length field included: what the caller takes off its buffer.
    pub size: usize,
}

/// Why a connection is closed although its bytes are frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CloseReason {
    /// The header cannot be decoded, so there is no opaque to answer.
    #[error("its header cannot be read")]
    BadHeader,
}

/// Why bytes cannot be a frame. The connection has lost its place and must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what each is")]
pub enum FrameError {
    /// The frame is longer than [`FRAME_BYTES_MAX`].
    #[error("frame of {size} bytes is longer than {FRAME_BYTES_MAX}")]
    TooLong {
        /// Bytes of the whole frame as its length field says, that field included.
        size: u64,
    },
    /// The length does not even cover the field that says how long the header is.
    #[error("frame length {length} is shorter than the 4 bytes before the header")]
    TooShort { length: u32 },
    /// The header would end behind the frame.
    #[error("header of {header} bytes does not fit a frame length of {length}")]
    HeaderBeyondFrame {
        /// The header's length field.
        header: u32,
        /// The frame's length field.
        length: u32,
    },
    /// Neither JSON nor binary.
    #[error("unknown header encoding {found}")]
    UnknownEncoding { found: u8 },
}

/// The first frame of `received`, or `None` if more bytes are needed.
///
/// Every part of the prefix is checked as soon as it is there, so that a frame that can never be accepted is refused before
/// its bytes are waited for.
///
/// # Errors
/// [`FrameError`]: the connection must be closed.
pub fn split(received: &[u8]) -> Result<Option<RawFrame<'_>>, FrameError> {
    let Some((length, rest)) = received.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = u32::from_be_bytes(*length);
    let size = u64::from(length).saturating_add(4);
    let size =
        usize::try_from(size).ok().filter(|size| *size <= FRAME_BYTES_MAX).ok_or(FrameError::TooLong { size })?;
    if length < 4 {
        return Err(FrameError::TooShort { length });
    }
    let Some(([encoding, high, middle, low], rest)) = rest.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let encoding = Encoding::from_byte(*encoding)?;
    let header = u32::from_be_bytes([0, *high, *middle, *low]);
    let beyond = FrameError::HeaderBeyondFrame { header, length };
    let content = size.checked_sub(PREFIX_BYTES).ok_or(beyond)?;
    let header_bytes = usize::try_from(header).ok().filter(|bytes| *bytes <= content).ok_or(beyond)?;
    let Some(content) = rest.get(..content) else {
        return Ok(None);
    };
    let (header, body) = content.split_at_checked(header_bytes).ok_or(beyond)?;
    Ok(Some(RawFrame { encoding, header, body, size }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(length: u32, encoding: u8, header: u32, content: &[u8]) -> Vec<u8> {
        let mut bytes = length.to_be_bytes().to_vec();
        bytes.extend_from_slice(&((u32::from(encoding) << 24) | header).to_be_bytes());
        bytes.extend_from_slice(content);
        bytes
    }

    #[test]
    fn a_frame_is_found_only_when_its_last_byte_is_there() {
        let whole = frame(4 + 5, 1, 2, b"hhbbb");
        for end in 0..whole.len() {
            assert_eq!(split(&whole[..end]), Ok(None), "{end} bytes");
        }
        let mut received = whole.clone();
        received.extend_from_slice(b"next");
        let expected = RawFrame { encoding: Encoding::Binary, header: b"hh", body: b"bbb", size: whole.len() };
        assert_eq!(split(&received), Ok(Some(expected)));
    }

    #[test]
    fn a_frame_may_have_neither_header_nor_body() {
        let expected = RawFrame { encoding: Encoding::Json, header: b"", body: b"", size: 8 };
        assert_eq!(split(&frame(4, 0, 0, b"")), Ok(Some(expected)));
    }

    #[test]
    fn impossible_prefixes_are_refused_at_once() {
        let longest = u32::try_from(FRAME_BYTES_MAX - 4).expect("fits");
        let check = |received: &[u8], expected: Result<Option<RawFrame<'_>>, FrameError>| {
            assert_eq!(split(received), expected, "{received:?}");
        };
        for length in 0..4 {
            check(&frame(length, 0, 0, b""), Err(FrameError::TooShort { length }));
        }
        check(&longest.to_be_bytes(), Ok(None));
        check(&(longest + 1).to_be_bytes(), Err(FrameError::TooLong { size: u64::from(longest) + 5 }));
        check(&(1_u32 << 31).to_be_bytes(), Err(FrameError::TooLong { size: (1 << 31) + 4 }));
        check(&u32::MAX.to_be_bytes(), Err(FrameError::TooLong { size: (1 << 32) + 3 }));
        check(&frame(4, 2, 0, b""), Err(FrameError::UnknownEncoding { found: 2 }));
        check(&frame(8, 0, 5, b""), Err(FrameError::HeaderBeyondFrame { header: 5, length: 8 }));
        check(b"GET / HTTP/1.1\r\n", Err(FrameError::TooLong { size: 0x4745_5420 + 4 }));
    }
}
