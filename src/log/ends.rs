//! Where queues go on, and how far the log may have lost its beginning: what cannot be derived from the log once its oldest segments are gone.
//!
//! Two files hold the same, each on its own. They are written before retention takes a segment, so that they know of every queue that had a
//! message in it; a checkpoint says as much, but it is derived otherwise, and large. A log that begins behind 0 is refused without any of
//! the three: its emptied queues would begin at 0 again, and their readers would skip.
//!
//! | bytes   | field       | meaning                                                                                     |
//! |---------|-------------|---------------------------------------------------------------------------------------------|
//! | 0..8    | magic       | `RINGMQQE`                                                                                  |
//! | 8..12   | version     | 1                                                                                           |
//! | 12..16  | CRC-32      | of `length` bytes from 24 on                                                                |
//! | 16..24  | length      |                                                                                             |
//! | 24..32  | `as_of`     | all queues below this log offset are in here                                                |
//! | 32..40  | `start_max` | the log may begin as far on as here: what lies before may have been taken by retention      |
//! | then    | queues      | each: topic length `u16`, topic, queue id `u32`, next queue offset `u64`                    |
//! | then    | zeros       | to a whole disk block                                                                       |
//!
//! Numbers are big-endian.

use super::consume_queue::{ConsumeQueues, Queue};
use crate::limits::DISK_BLOCK_BYTES;
use crate::model::{LogOffset, QueueId, QueueOffset};

const MAGIC: &[u8; 8] = b"RINGMQQE";
const VERSION: u32 = 1;
const HEADER_BYTES: usize = 24;
const BODY_AT: usize = HEADER_BYTES + 16;

/// How many files hold it.
pub(super) const COPIES: u8 = 2;

/// The ends as a file says them.
#[derive(Debug)]
pub(super) struct QueueEnds {
    pub(super) start_max: LogOffset,
    /// No entry, and the offset at which each goes on.
    pub(super) queues: ConsumeQueues,
}

/// Begins a file; [`put`] each queue, then [`finish`].
pub(super) fn begin() -> Vec<u8> {
    vec![0; BODY_AT]
}

pub(super) fn put(out: &mut Vec<u8>, queue: &Queue) {
    let topic = queue.topic.as_str().as_bytes();
    out.extend_from_slice(&u16::try_from(topic.len()).expect("a topic is short").to_be_bytes());
    out.extend_from_slice(topic);
    out.extend_from_slice(&queue.queue_id.0.to_be_bytes());
    out.extend_from_slice(&queue.next().0.to_be_bytes());
}

pub(super) fn finish(mut out: Vec<u8>, as_of: LogOffset, start_max: LogOffset) -> Vec<u8> {
    out[HEADER_BYTES..BODY_AT].copy_from_slice(&[as_of.0.to_be_bytes(), start_max.0.to_be_bytes()].concat());
    let length = (out.len() - HEADER_BYTES) as u64;
    let crc = crc32fast::hash(&out[HEADER_BYTES..]);
    let header = [&MAGIC[..], &VERSION.to_be_bytes(), &crc.to_be_bytes(), &length.to_be_bytes()].concat();
    out[..HEADER_BYTES].copy_from_slice(&header);
    out.resize(out.len().next_multiple_of(DISK_BLOCK_BYTES), 0);
    out
}

/// The first disk block of a sound file, made to say that the log may begin at `start_max` at most; the rest of the file stays as it is.
pub(super) fn with_start_max(file: &[u8], start_max: LogOffset) -> Option<Vec<u8>> {
    let mut file = file.to_vec();
    file.get_mut(BODY_AT - 8..BODY_AT)?.copy_from_slice(&start_max.0.to_be_bytes());
    let length = u64::from_be_bytes(file.get(16..HEADER_BYTES)?.try_into().ok()?);
    let end = HEADER_BYTES.checked_add(usize::try_from(length).ok()?)?;
    let crc = crc32fast::hash(file.get(HEADER_BYTES..end)?);
    file.get_mut(12..16)?.copy_from_slice(&crc.to_be_bytes());
    file.truncate(DISK_BLOCK_BYTES);
    Some(file)
}

/// What a file says; `None` if it is damaged or of another version.
pub(super) fn decode(bytes: &[u8]) -> Option<QueueEnds> {
    let (header, body) = bytes.split_at_checked(HEADER_BYTES)?;
    let number = |at: usize| Some(u64::from_be_bytes(header.get(at..at + 8)?.try_into().ok()?));
    let small = |at: usize| Some(u32::from_be_bytes(header.get(at..at + 4)?.try_into().ok()?));
    let body = body.get(..usize::try_from(number(16)?).ok()?)?;
    if !header.starts_with(MAGIC) || small(8)? != VERSION || small(12)? != crc32fast::hash(body) {
        return None;
    }
    let (_as_of, body) = body.split_first_chunk::<8>()?;
    let (start_max, mut rest) = body.split_first_chunk::<8>()?;
    let mut queues = ConsumeQueues::default();
    while let Some((len, after)) = rest.split_first_chunk::<2>() {
        let (topic, after) = after.split_at_checked(usize::from(u16::from_be_bytes(*len)))?;
        let (queue_id, after) = after.split_first_chunk::<4>()?;
        let (next, after) = after.split_first_chunk::<8>()?;
        let queue_id = QueueId(u32::from_be_bytes(*queue_id));
        let index = queues.find_or_create(std::str::from_utf8(topic).ok()?, queue_id);
        queues.get_mut(index).go_on_at(QueueOffset(u64::from_be_bytes(*next)));
        rest = after;
    }
    Some(QueueEnds { start_max: LogOffset(u64::from_be_bytes(*start_max)), queues })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_read_back_and_a_changed_bit_is_noticed() {
        let mut queues = ConsumeQueues::default();
        let index = queues.find_or_create("T", QueueId(3));
        queues.get_mut(index).go_on_at(QueueOffset(500));
        let mut out = begin();
        put(&mut out, queues.get(index));
        let bytes = finish(out, LogOffset(9), LogOffset(7));
        assert_eq!(bytes.len(), DISK_BLOCK_BYTES);
        let ends = decode(&bytes).expect("sound");
        let found = ends.queues.find("T", QueueId(3)).expect("known");
        assert_eq!((ends.start_max, ends.queues.get(found).next()), (LogOffset(7), QueueOffset(500)));
        for at in 0..BODY_AT + 15 {
            let mut bad = bytes.clone();
            bad[at] ^= 1;
            assert!(decode(&bad).is_none(), "byte {at}");
        }
        assert!(decode(&bytes[..30]).is_none() && decode(b"").is_none());
    }
}
