//! Messages as a pull returns them: stored records back to back, and the stamp that every body of ours begins with.
//!
//! | bytes of a record  | field                                                              |
//! |--------------------|--------------------------------------------------------------------|
//! | 0..4               | size of the whole record                                           |
//! | 4..8               | magic                                                              |
//! | 12..16, 20..28     | queue, and the offset in it                                        |
//! | 36..40             | `sysFlag`: bit 4, born host is IPv6; bit 5, store host is IPv6     |
//! | 48.. (8 or 20)     | born host; then 8 B store time; then store host, 8 or 20           |
//! | after store host   | 4 B reconsume times, 8 B prepared offset, 4 B body length, body    |
//! | after the body     | 1 B topic length, topic, 2 B length of the properties, properties  |
//!
//! Source: Apache RocketMQ 5 `MessageDecoder`; the rest of a record is of no interest here and is skipped by its size.

/// Bytes of a [`Stamp`]; the smallest body.
pub const STAMP_BYTES: usize = 32;
/// Where the checksum is.
const CRC_AT: usize = 28;

/// What a body begins with, big-endian, and a CRC-32 of the rest of the body after it, which [`seal`] sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// When the message was meant to leave, ns on the clock of the process that sent it.
    pub intended_ns: u64,
    /// Number of the message in its run, from 0.
    pub sequence: u64,
    /// Which run sent it: a topic may hold messages of earlier ones.
    pub run_id: u64,
    /// Which connection of the run: its messages are in order in each queue.
    pub sender: u32,
}

impl Stamp {
    /// Writes into the first [`STAMP_BYTES`] of `body`, without a checksum.
    pub fn write(&self, body: &mut [u8]) {
        body[0..8].copy_from_slice(&self.intended_ns.to_be_bytes());
        body[8..16].copy_from_slice(&self.sequence.to_be_bytes());
        body[16..24].copy_from_slice(&self.run_id.to_be_bytes());
        body[24..28].copy_from_slice(&self.sender.to_be_bytes());
        body[CRC_AT..STAMP_BYTES].copy_from_slice(&[0; 4]);
    }

    /// `None` when `body` is too short to hold one.
    pub fn read(body: &[u8]) -> Option<Self> {
        let stamp = body.get(..STAMP_BYTES)?;
        Some(Self {
            intended_ns: be_u64(stamp, 0)?,
            sequence: be_u64(stamp, 8)?,
            run_id: be_u64(stamp, 16)?,
            sender: be_u32(stamp, 24)?,
        })
    }
}

/// Writes the checksum of a stamped body.
pub fn seal(body: &mut [u8]) {
    let crc = checksum(body);
    body[CRC_AT..STAMP_BYTES].copy_from_slice(&crc.to_be_bytes());
}

/// Whether a body is what [`seal`] sealed.
pub fn is_intact(body: &[u8]) -> bool {
    body.len() >= STAMP_BYTES && be_u32(body, CRC_AT) == Some(checksum(body))
}

fn checksum(body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&body[..CRC_AT]);
    crc.update(&body[STAMP_BYTES..]);
    crc.finalize()
}

/// What is of interest in a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Record<'a> {
    pub queue_id: u32,
    pub queue_offset: u64,
    pub body: &'a [u8],
    /// NAME 0x01 VALUE 0x02 NAME and so on; empty if they do not decode.
    properties: &'a [u8],
}

impl<'a> Record<'a> {
    /// The value of a property.
    pub fn property(&self, name: &str) -> Option<&'a str> {
        let value = self
            .properties
            .split(|byte| *byte == 2)
            .find_map(|property| property.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(&[1])));
        std::str::from_utf8(value?).ok()
    }
}

/// The records in the body of a reply.
#[derive(Debug, Clone)]
pub struct Records<'a> {
    rest: &'a [u8],
}

/// A reply's body that is not whole records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a pulled record with {left} B left of its reply does not decode")]
pub struct BadRecord {
    /// Bytes of the reply from the start of that record.
    pub left: usize,
}

/// Walks the records in `reply_body`.
pub fn records(reply_body: &[u8]) -> Records<'_> {
    Records { rest: reply_body }
}

/// Walks the bodies of the records in `reply_body`.
pub fn bodies(reply_body: &[u8]) -> impl Iterator<Item = Result<&[u8], BadRecord>> {
    records(reply_body).map(|record| record.map(|record| record.body))
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, BadRecord>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let left = self.rest.len();
        match split_record(self.rest) {
            Some((record, rest)) => {
                self.rest = rest;
                Some(Ok(record))
            }
            None => {
                self.rest = &[];
                Some(Err(BadRecord { left }))
            }
        }
    }
}

fn split_record(records: &[u8]) -> Option<(Record<'_>, &[u8])> {
    let size = usize::try_from(be_u32(records, 0)?).ok()?;
    let record = records.get(..size)?;
    let sys_flag = be_u32(record, 36)?;
    let born_host = if sys_flag & 16 == 0 { 8 } else { 20 };
    let store_host = if sys_flag & 32 == 0 { 8 } else { 20 };
    let length_at = 48 + born_host + 8 + store_host + 12;
    let body_len = usize::try_from(be_u32(record, length_at)?).ok()?;
    let (body, behind) = record.get(length_at + 4..)?.split_at_checked(body_len)?;
    let properties = properties(behind).unwrap_or_default();
    let (queue_id, queue_offset) = (be_u32(record, 12)?, be_u64(record, 20)?);
    Some((Record { queue_id, queue_offset, body, properties }, records.get(size..)?))
}

/// Behind the topic, whose length is a byte, and their own length of two.
fn properties(behind_body: &[u8]) -> Option<&[u8]> {
    let (topic_len, rest) = behind_body.split_first()?;
    let rest = rest.get(usize::from(*topic_len)..)?;
    rest.get(2..)?.get(..usize::from(u16::from_be_bytes(*rest.first_chunk()?)))
}

fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn be_u64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(sys_flag: u32, body: &[u8]) -> Vec<u8> {
        let hosts = [if sys_flag & 16 == 0 { 8 } else { 20 }, if sys_flag & 32 == 0 { 8 } else { 20 }];
        let mut bytes = vec![0u8; 36];
        bytes.extend_from_slice(&sys_flag.to_be_bytes());
        bytes.extend_from_slice(&[1; 8]); // born
        bytes.extend(std::iter::repeat_n(2, hosts[0]));
        bytes.extend_from_slice(&[3; 8]); // stored
        bytes.extend(std::iter::repeat_n(4, hosts[1]));
        bytes.extend_from_slice(&[5; 12]); // reconsume times, prepared offset
        bytes.extend_from_slice(&u32::try_from(body.len()).expect("short").to_be_bytes());
        bytes.extend_from_slice(body);
        bytes.extend_from_slice(b"\x01T\x00\x00");
        let size = u32::try_from(bytes.len()).expect("short");
        bytes[0..4].copy_from_slice(&size.to_be_bytes());
        bytes
    }

    #[test]
    fn records_of_all_address_kinds_are_walked() {
        let mut reply = Vec::new();
        for sys_flag in [0, 16, 32, 48] {
            reply.extend(record(sys_flag, format!("body {sys_flag}").as_bytes()));
        }
        let found: Vec<_> = bodies(&reply).map(|body| body.expect("whole")).collect();
        assert_eq!(found, [b"body 0".as_slice(), b"body 16", b"body 32", b"body 48"]);
    }

    #[test]
    fn a_record_says_where_it_lies_and_what_it_is_marked_with() {
        let mut bytes = record(0, b"hello");
        bytes.truncate(bytes.len() - 2);
        bytes.extend_from_slice(b"\x00\x0cA\x01b c\x02POP\x01x\x02");
        let size = u32::try_from(bytes.len()).expect("short");
        bytes[..4].copy_from_slice(&size.to_be_bytes());
        bytes[12..16].copy_from_slice(&7u32.to_be_bytes());
        bytes[20..28].copy_from_slice(&(1u64 << 40).to_be_bytes());
        let found = records(&bytes).next().expect("one").expect("whole");
        assert_eq!((found.queue_id, found.queue_offset, found.body), (7, 1 << 40, b"hello".as_slice()));
        assert_eq!((found.property("A"), found.property("POP"), found.property("PO")), (Some("b c"), Some("x"), None));
    }

    #[test]
    fn a_cut_or_lying_record_is_an_error_and_ends_the_walk() {
        let whole = record(0, b"hello");
        for cut in 1..whole.len() {
            let found: Vec<_> = bodies(&whole[..cut]).collect();
            assert_eq!(found, [Err(BadRecord { left: cut })]);
        }
        let mut lying = whole;
        lying[84..88].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(bodies(&lying).next().expect("one item").is_err());
        assert!(bodies(&[0; 200]).next().expect("one item").is_err(), "a size of zero must not loop");
    }

    #[test]
    fn a_stamp_survives_and_a_short_body_has_none() {
        let stamp = Stamp { intended_ns: 1, sequence: u64::MAX, run_id: 3, sender: 4 };
        let mut body = [0u8; 40];
        stamp.write(&mut body);
        assert_eq!(Stamp::read(&body), Some(stamp));
        assert_eq!(Stamp::read(&body[..STAMP_BYTES - 1]), None);
    }
}
