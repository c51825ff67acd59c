//! The body of a batch: many messages of one topic and queue in one request.
//!
//! | field | bytes | field      | bytes                |
//! |-------|-------|------------|----------------------|
//! | size  | i32   | flag       | i32                  |
//! | magic | i32   | body       | i32 length, bytes    |
//! | crc   | i32   | properties | i16 length, bytes    |
//!
//! `size` counts itself; magic and crc are 0 and not looked at. Source: RocketMQ `MessageDecoder.encodeMessage`.

use crate::cursor::{Cursor, Ended};
use crate::limits::BATCH_MESSAGES_MAX;

/// One message of a batch, still where it was received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchedMessage<'a> {
    /// The user's flag.
    pub flag: i32,
    /// The message's body.
    pub body: &'a [u8],
    /// Its own properties, as text ([`super::Properties`]).
    pub properties: &'a [u8],
}

/// Why a body is not a batch. Nothing of it may be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// A length is negative or leads behind the end.
    #[error("message {index} of the batch does not fit its body")]
    Ended {
        /// Which message, from 0.
        index: usize,
    },
    /// A message's size is not the sum of its parts.
    #[error("message {index} of the batch says it has {size} bytes, its parts have {found}")]
    Size {
        /// Which message, from 0.
        index: usize,
        /// What its size field says.
        size: i32,
        /// What its parts have.
        found: usize,
    },
    /// More messages than [`BATCH_MESSAGES_MAX`].
    #[error("batch has more than {BATCH_MESSAGES_MAX} messages")]
    TooMany,
    /// No message at all.
    #[error("batch is empty")]
    Empty,
}

/// The messages of a batch, in their order. The iterator ends after the first error.
///
/// Walk it once to its end before storing anything: an error in the last message refuses the whole batch.
pub fn split_batch(body: &[u8]) -> impl Iterator<Item = Result<BatchedMessage<'_>, BatchError>> {
    let mut input = Cursor::new(body);
    let mut index = 0_usize;
    let mut failed = false;
    std::iter::from_fn(move || {
        if failed || (input.is_empty() && index > 0) {
            return None;
        }
        let next = if input.is_empty() {
            Err(BatchError::Empty)
        } else if index >= BATCH_MESSAGES_MAX {
            Err(BatchError::TooMany)
        } else {
            message(&mut input, index)
        };
        failed = next.is_err();
        index = index.saturating_add(1);
        Some(next)
    })
}

fn message<'a>(input: &mut Cursor<'a>, index: usize) -> Result<BatchedMessage<'a>, BatchError> {
    let ended = |_: Ended| BatchError::Ended { index };
    let before = input.left();
    let size = input.i32().map_err(ended)?;
    let (_magic, _crc) = (input.i32().map_err(ended)?, input.i32().map_err(ended)?);
    let flag = input.i32().map_err(ended)?;
    let body = input.sized().map_err(ended)?;
    let properties_bytes = usize::try_from(input.i16().map_err(ended)?).map_err(|_| BatchError::Ended { index })?;
    let properties = input.take(properties_bytes).map_err(ended)?;
    let found = before.saturating_sub(input.left());
    if usize::try_from(size) != Ok(found) {
        return Err(BatchError::Size { index, size, found });
    }
    Ok(BatchedMessage { flag, body, properties })
}

/// Appends one message to a batch's body.
///
/// # Panics
/// If body or properties exceed their length fields: whoever makes a batch bounds its messages.
pub fn append_batched(message: &BatchedMessage<'_>, out: &mut Vec<u8>) {
    let body_bytes = i32::try_from(message.body.len()).expect("a body of a batch is bounded by its maker");
    let properties_bytes = i16::try_from(message.properties.len()).expect("properties are bounded by their maker");
    let size = body_bytes.checked_add(i32::from(properties_bytes)).and_then(|sum| sum.checked_add(22));
    out.extend_from_slice(&size.expect("a message of a batch fits a frame").to_be_bytes());
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&message.flag.to_be_bytes());
    out.extend_from_slice(&body_bytes.to_be_bytes());
    out.extend_from_slice(message.body);
    out.extend_from_slice(&properties_bytes.to_be_bytes());
    out.extend_from_slice(message.properties);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_batch_that_lies_is_refused() {
        let mut good = Vec::new();
        append_batched(&BatchedMessage { flag: 7, body: b"body", properties: b"a\x01b\x02" }, &mut good);
        let check = |edit: &dyn Fn(&mut Vec<u8>), expected: BatchError| {
            let mut body = good.clone();
            edit(&mut body);
            assert_eq!(split_batch(&body).last(), Some(Err(expected)));
        };
        check(&Vec::clear, BatchError::Empty);
        check(&|body| body.truncate(10), BatchError::Ended { index: 0 });
        check(&|body| body.push(0), BatchError::Ended { index: 1 });
        check(&|body| body[3] += 1, BatchError::Size { index: 0, size: 31, found: 30 });
        check(&|body| body[0] = 0x80, BatchError::Size { index: 0, size: i32::MIN + 30, found: 30 });
        check(&|body| body[16] = 0x80, BatchError::Ended { index: 0 });
        check(&|body| body[24] = 0x80, BatchError::Ended { index: 0 });
    }

    proptest! {
        #[test]
        fn batches_survive(messages in prop::collection::vec((any::<i32>(), any::<Vec<u8>>(), any::<Vec<u8>>()), 1..6)) {
            let messages: Vec<_> = messages
                .iter()
                .map(|(flag, body, properties)| BatchedMessage { flag: *flag, body, properties })
                .collect();
            let mut body = Vec::new();
            messages.iter().for_each(|message| append_batched(message, &mut body));
            prop_assert_eq!(split_batch(&body).collect::<Result<Vec<_>, _>>(), Ok(messages));
        }
    }
}
