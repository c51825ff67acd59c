//! One stored message: RocketMQ's own record bytes, the same in the log, in answers to consumers and on the replication stream.
//!
//! All numbers are big-endian. `B` and `S` are 4 for an IPv4 host and 16 for IPv6; `T` is 1 in a V1 record and 2 in a V2 record.
//!
//! | # | bytes      | field                         | meaning                                                                   |
//! |---|------------|-------------------------------|---------------------------------------------------------------------------|
//! | 1 | 4          | `size`                        | of the whole record, these 4 bytes included                               |
//! | 2 | 4          | magic                         | [`MAGIC_V1`], or [`MAGIC_V2`] if the topic is longer than 127 bytes       |
//! | 3 | 4          | body CRC                      | CRC-32 of the body without its highest bit                                |
//! | 4 | 4          | `queue_id`                    |                                                                           |
//! | 5 | 4          | `flag`                        | the producer's own                                                        |
//! | 6 | 8          | `queue_offset`                | position in the message queue                                             |
//! | 7 | 8          | `log_offset`                  | position of byte 0 of this record in the log                              |
//! | 8 | 4          | `sys_flag`                    | bit 4: IPv6 born host; bit 5: IPv6 store host; bits 2-3: transaction type |
//! | 9 | 8          | `born_timestamp`              | Unix ms, the producer's clock                                             |
//! |10 | `B` + 4    | `born_host`                   | address and port                                                          |
//! |11 | 8          | `store_timestamp`             | Unix ms, the broker's clock                                               |
//! |12 | `S` + 4    | `store_host`                  | address and port                                                          |
//! |13 | 4          | `reconsume_times`             |                                                                           |
//! |14 | 8          | `prepared_transaction_offset` | of the half message, else 0                                               |
//! |15 | 4 + body   | body                          | length, bytes                                                             |
//! |16 | `T` + topic| topic                         | length, UTF-8                                                             |
//! |17 | 2 + props  | properties                    | length (at most 32767), then `name 0x01 value 0x02` pairs                 |
//!
//! The last property is `__CRC32#` (20 bytes: name, 0x01, ten decimal digits with the lowest first, 0x02): CRC-32, without its highest
//! bit, of the record without these 20 bytes. The body CRC covers neither topic nor properties nor offsets, so a torn record
//! could not be told without it.
//!
//! What cannot hold a record at the end of a segment holds a filler: see [`encode_filler`].
//!
//! Source: Apache RocketMQ 5.3 `MessageExtEncoder`, `MessageDecoder`, `CommitLog`.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "an encoder writes into a buffer that it has measured, and `check_lengths` comes before any field is read"
)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use thiserror::Error;

use crate::limits::{PROPERTIES_BYTES_MAX, RECORD_BYTES_MAX};
use crate::message::sys_flag;
use crate::model::{LogOffset, QueueId, QueueOffset};

/// Second field of a record whose topic length has one byte.
pub const MAGIC_V1: u32 = 0xDAA3_20A7;
/// Second field of a record whose topic length has two bytes.
pub const MAGIC_V2: u32 = 0xDAA3_20AB;
/// Second field of the filler at the end of a segment.
pub const MAGIC_FILLER: u32 = 0xCBD4_3194;

/// Bytes of the `__CRC32#` property.
pub const CRC_PROPERTY_BYTES: usize = 20;
/// Bytes of a filler that carry meaning: remaining `u32`, magic `u32`, own log offset `u64`, CRC-32 of these 16 bytes `u32`.
pub const FILLER_BYTES: usize = 20;
/// Size of a record without body, topic and properties, with IPv4 hosts and a V1 topic: nothing smaller is a record.
pub const RECORD_BYTES_MIN: usize = 91;

const CRC_PROPERTY_NAME: &[u8; 9] = b"__CRC32#\x01";
const PROPERTY_SEPARATOR: u8 = 2;
const NAME_SEPARATOR: u8 = 1;
const SYS_FLAG_BORN_IPV6: i32 = 16;
const SYS_FLAG_STORE_IPV6: i32 = 32;
const TOPIC_V1_BYTES_MAX: usize = 127;
const TOPIC_V2_BYTES_MAX: usize = 32_767;

/// The keys of a message under which it can be found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeysToIndex<'a> {
    /// The client's id of the message, property `UNIQ_KEY`.
    pub unique: Option<&'a str>,
    /// Property `KEYS`: keys with spaces between them.
    pub keys: Option<&'a str>,
}

impl<'a> KeysToIndex<'a> {
    /// Reads both from a properties string.
    #[must_use]
    pub fn of(properties: &'a [u8]) -> KeysToIndex<'a> {
        let mut found = KeysToIndex::default();
        for (name, value) in pairs(properties) {
            match name {
                b"UNIQ_KEY" => found.unique = std::str::from_utf8(value).ok(),
                b"KEYS" => found.keys = std::str::from_utf8(value).ok(),
                _ => {}
            }
        }
        found
    }

    /// Each key once: the unique one first, then each word of `keys`.
    pub fn iter(&self) -> impl Iterator<Item = &'a str> {
        let words = self.keys.unwrap_or("").split(' ').filter(|word| !word.is_empty());
        self.unique.into_iter().chain(words)
    }
}

/// The properties from which something is derived, found in one pass. Of two with one name the last one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Marks<'a> {
    /// Keys to find the message by.
    pub keys: KeysToIndex<'a>,
    /// Property `TAGS`: what consumers filter by.
    pub tag: Option<&'a str>,
    /// Property `DELAY`; 0 without one, and if it is no number.
    pub delay_level: i32,
    /// Property `INNER_NUM`: messages of an inner batch; 0 if it is no number.
    pub inner_count: Option<u32>,
    /// One of the properties `TIMER_DELAY_SEC`, `TIMER_DELAY_MS`, `TIMER_DELIVER_MS` is there.
    pub is_timer: bool,
    /// Property `TIMER_OUT_MS`; 0 if it is no number.
    pub timer_out_ms: Option<i64>,
    /// Property `TIMER_DEL_UNIQKEY` is there.
    pub is_recall: bool,
    /// Property `INNER_MULTI_DISPATCH` is there: it is meant for light queues as well.
    pub wants_light: bool,
    /// Property `INNER_MULTI_QUEUE_OFFSET` is there: it was stored in them.
    pub is_in_light: bool,
}

impl<'a> Marks<'a> {
    /// Reads them from a properties string.
    #[must_use]
    pub fn of(properties: &'a [u8]) -> Marks<'a> {
        let mut marks = Marks::default();
        for (name, value) in pairs(properties) {
            let text = || std::str::from_utf8(value).ok();
            match name {
                b"UNIQ_KEY" => marks.keys.unique = text(),
                b"KEYS" => marks.keys.keys = text(),
                b"TAGS" => marks.tag = text(),
                b"DELAY" => marks.delay_level = text().and_then(|text| text.parse().ok()).unwrap_or_default(),
                b"INNER_NUM" => {
                    marks.inner_count = Some(text().and_then(|text| text.parse().ok()).unwrap_or_default());
                }
                b"TIMER_DELAY_SEC" | b"TIMER_DELAY_MS" | b"TIMER_DELIVER_MS" => marks.is_timer = true,
                b"TIMER_OUT_MS" => {
                    marks.timer_out_ms = Some(text().and_then(|text| text.parse().ok()).unwrap_or_default());
                }
                b"TIMER_DEL_UNIQKEY" => marks.is_recall = true,
                b"INNER_MULTI_DISPATCH" => marks.wants_light = true,
                b"INNER_MULTI_QUEUE_OFFSET" => marks.is_in_light = true,
                _ => {}
            }
        }
        marks
    }
}

/// A message to be stored. What the log itself decides (offsets, sizes, CRCs, the address bits of `sys_flag`) is not in it.
#[derive(Clone, Copy, Debug)]
pub struct RecordDraft<'a> {
    /// Topic, at most 32767 bytes of UTF-8 (what is allowed is the broker's matter).
    pub topic: &'a str,
    /// Queue within the topic.
    pub queue_id: QueueId,
    /// The producer's own flag.
    pub flag: i32,
    /// Compression, transaction type and so on; the two IPv6 bits are set here from the hosts.
    pub sys_flag: i32,
    /// Unix ms, from the producer.
    pub born_timestamp: i64,
    /// The producer's address.
    pub born_host: SocketAddr,
    /// The address under which this broker can be dialled: clients find it in the message id.
    pub store_host: SocketAddr,
    /// Unix ms, now.
    pub store_timestamp: i64,
    /// How often it was handed out before.
    pub reconsume_times: i32,
    /// Log offset of the half message, else 0.
    pub prepared_transaction_offset: i64,
    /// The body as it came.
    pub body: &'a [u8],
    /// Final properties, without the CRC property.
    pub properties: &'a [u8],
    /// What was found in `properties` for the indexes: [`Marks::of`] them, or the same from a pass that was made anyway.
    pub marks: Marks<'a>,
}

/// Why a draft can never be stored.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum DraftError {
    /// Properties, with the CRC property, beyond what 15 bits can say.
    #[error("properties of {bytes} bytes, {max} is the most")]
    PropertiesTooLong {
        /// As they would be stored.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// The whole record is too large.
    #[error("record of {bytes} bytes, {max} is the most")]
    RecordTooLong {
        /// As it would be stored.
        bytes: usize,
        /// The bound.
        max: usize,
    },
}

/// A draft with its sizes worked out and checked, ready to be written.
#[derive(Clone, Copy, Debug)]
pub struct Sized<'a> {
    draft: RecordDraft<'a>,
    size: u32,
    properties_size: u16,
    separator: bool,
    crc: bool,
}

/// Where a record is stored: what the encoder cannot know from the draft.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Position in the log.
    pub log_offset: LogOffset,
    /// Position in the queue.
    pub queue_offset: QueueOffset,
}

impl<'a> Sized<'a> {
    /// Works out the sizes. `crc` says whether the record ends in the CRC property.
    ///
    /// # Errors
    /// [`DraftError`] if the properties or the record exceed what the layout or [`RECORD_BYTES_MAX`] allow.
    pub fn new(draft: &RecordDraft<'a>, crc: bool) -> Result<Sized<'a>, DraftError> {
        let separator = crc && draft.properties.last().is_some_and(|&last| last != PROPERTY_SEPARATOR);
        let reserved = if crc { CRC_PROPERTY_BYTES } else { 0 } + usize::from(separator);
        let properties = draft.properties.len().saturating_add(reserved);
        let properties_size = u16::try_from(properties).ok().filter(|&size| usize::from(size) <= PROPERTIES_BYTES_MAX);
        let Some(properties_size) = properties_size else {
            return Err(DraftError::PropertiesTooLong { bytes: properties, max: PROPERTIES_BYTES_MAX });
        };
        let hosts = host_bytes_extra(draft.born_host) + host_bytes_extra(draft.store_host);
        let topic_length_extra = usize::from(draft.topic.len() > TOPIC_V1_BYTES_MAX);
        let bytes = (RECORD_BYTES_MIN + hosts + topic_length_extra + properties)
            .saturating_add(draft.topic.len())
            .saturating_add(draft.body.len());
        match u32::try_from(bytes) {
            Ok(size) if bytes <= RECORD_BYTES_MAX && draft.topic.len() <= i16::MAX as usize => {
                Ok(Sized { draft: *draft, size, properties_size, separator, crc })
            }
            _ => Err(DraftError::RecordTooLong { bytes, max: RECORD_BYTES_MAX }),
        }
    }

    /// Bytes of the whole record.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// As the draft has it.
    #[must_use]
    pub fn store_timestamp(&self) -> i64 {
        self.draft.store_timestamp
    }

    /// Writes the record into `out`, which has exactly [`Self::size`] bytes.
    ///
    /// # Panics
    /// If `out` has another length.
    pub fn encode(&self, place: Place, out: &mut [u8]) {
        assert_eq!(out.len(), self.size as usize, "the encoder was given a place of another size");
        let draft = &self.draft;
        let v2 = draft.topic.len() > TOPIC_V1_BYTES_MAX;
        let mut sys_flag = draft.sys_flag & !(SYS_FLAG_BORN_IPV6 | SYS_FLAG_STORE_IPV6);
        if draft.born_host.is_ipv6() {
            sys_flag |= SYS_FLAG_BORN_IPV6;
        }
        if draft.store_host.is_ipv6() {
            sys_flag |= SYS_FLAG_STORE_IPV6;
        }
        let mut at = RecordWriter { out };
        at.put(&self.size.to_be_bytes());
        at.put(&if v2 { MAGIC_V2 } else { MAGIC_V1 }.to_be_bytes());
        at.put(&crc31(draft.body).to_be_bytes());
        at.put(&draft.queue_id.0.to_be_bytes());
        at.put(&draft.flag.to_be_bytes());
        at.put(&place.queue_offset.0.to_be_bytes());
        at.put(&place.log_offset.0.to_be_bytes());
        at.put(&sys_flag.to_be_bytes());
        at.put(&draft.born_timestamp.to_be_bytes());
        at.put_host(draft.born_host);
        at.put(&draft.store_timestamp.to_be_bytes());
        at.put_host(draft.store_host);
        at.put(&draft.reconsume_times.to_be_bytes());
        at.put(&draft.prepared_transaction_offset.to_be_bytes());
        at.put(&u32::try_from(draft.body.len()).expect("the record's size fits u32").to_be_bytes());
        at.put(draft.body);
        let topic_len = u16::try_from(draft.topic.len()).expect("checked by `new`").to_be_bytes();
        at.put(if v2 { &topic_len } else { &topic_len[1..] });
        at.put(draft.topic.as_bytes());
        at.put(&self.properties_size.to_be_bytes());
        at.put(draft.properties);
        if self.separator {
            at.put(&[PROPERTY_SEPARATOR]);
        }
        let rest = at.out.len();
        assert_eq!(rest, if self.crc { CRC_PROPERTY_BYTES } else { 0 }, "the sizes of `new` add up");
        if self.crc {
            let covered = out.len() - CRC_PROPERTY_BYTES;
            let (record, property) = out.split_at_mut(covered);
            property.copy_from_slice(&crc_property(crc31(record)));
        }
    }
}

/// Extra bytes of a host beyond an IPv4 one.
fn host_bytes_extra(host: SocketAddr) -> usize {
    if host.is_ipv6() { 12 } else { 0 }
}

/// CRC-32 without its highest bit, as Java code stores it in an `int`.
fn crc31(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes) & 0x7FFF_FFFF
}

/// The 20 bytes of the CRC property: the digits of `crc` with the lowest first.
fn crc_property(mut crc: u32) -> [u8; CRC_PROPERTY_BYTES] {
    let mut property = [b'0'; CRC_PROPERTY_BYTES];
    property[..CRC_PROPERTY_NAME.len()].copy_from_slice(CRC_PROPERTY_NAME);
    for digit in &mut property[CRC_PROPERTY_NAME.len()..CRC_PROPERTY_BYTES - 1] {
        *digit = b'0' + u8::try_from(crc % 10).expect("a digit");
        crc /= 10;
    }
    property[CRC_PROPERTY_BYTES - 1] = PROPERTY_SEPARATOR;
    property
}

/// Puts fields one after another; the lengths were added up before.
struct RecordWriter<'a> {
    out: &'a mut [u8],
}

impl RecordWriter<'_> {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        let (here, rest) = std::mem::take(&mut self.out).split_at_mut(bytes.len());
        here.copy_from_slice(bytes);
        self.out = rest;
    }

    fn put_host(&mut self, host: SocketAddr) {
        match host.ip() {
            IpAddr::V4(ip) => self.put(&ip.octets()),
            IpAddr::V6(ip) => self.put(&ip.octets()),
        }
        self.put(&u32::from(host.port()).to_be_bytes());
    }
}

/// A record as it lies in the log; borrows from the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct RecordView<'a> {
    /// The whole record.
    pub bytes: &'a [u8],
    /// How many these are.
    pub size: u32,
    /// Queue within the topic.
    pub queue_id: QueueId,
    /// The producer's own flag.
    pub flag: i32,
    /// Position in the queue.
    pub queue_offset: QueueOffset,
    /// Position of byte 0 in the log.
    pub log_offset: LogOffset,
    /// See the table of the module.
    pub sys_flag: i32,
    /// Unix ms.
    pub born_timestamp: i64,
    /// The producer's address.
    pub born_host: SocketAddr,
    /// Unix ms.
    pub store_timestamp: i64,
    /// The broker's address.
    pub store_host: SocketAddr,
    /// How often it was handed out before.
    pub reconsume_times: i32,
    /// Log offset of the half message, else 0.
    pub prepared_transaction_offset: i64,
    /// Body as stored.
    pub body: &'a [u8],
    pub topic: &'a str,
    /// Properties as stored, the CRC property included.
    pub properties: &'a [u8],
}

/// Why bytes are not a record.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RecordError {
    /// Fewer bytes than the record has (or than any record has).
    #[error("{have} bytes of a record of {need}")]
    Short {
        /// Bytes that are there.
        have: usize,
        /// Bytes that are needed, at least.
        need: usize,
    },
    /// A size that no record has.
    #[error("a record cannot have {size} bytes")]
    BadSize {
        /// The first field.
        size: u32,
    },
    /// Neither of the two magics.
    #[error("magic {found:#010x} is not a record's")]
    BadMagic {
        /// The second field.
        found: u32,
    },
    /// The record was written for another place: a recycled segment, or a copy.
    #[error("the record belongs at {found}, not at {expected}")]
    Elsewhere {
        /// Where it was read.
        expected: LogOffset,
        /// What it says.
        found: LogOffset,
    },
    /// Lengths inside do not add up to the size.
    #[error("lengths inside a record of {size} bytes do not add up")]
    BadLengths {
        /// The first field.
        size: u32,
    },
    /// The topic is not UTF-8.
    #[error("the topic is not UTF-8")]
    BadTopic,
    /// The body is not what was written.
    #[error("body CRC {found:#010x}, {stored:#010x} was stored")]
    BodyCrc {
        /// Of the bytes.
        found: u32,
        /// Third field.
        stored: u32,
    },
    /// The record is not what was written.
    #[error("CRC property does not match the record")]
    RecordCrc,
    /// The record should end in a CRC property and does not.
    #[error("the CRC property is missing")]
    NoCrc,
}

/// How much is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    /// Shape only: for bytes that were checked before.
    Shape,
    /// Both CRCs; the CRC property only if there is one.
    Crc,
    /// Both CRCs; the CRC property must be there.
    CrcRequired,
    /// One CRC: that of the CRC property if there is one, since it covers the body as well, else the body's.
    Once,
}

/// Of the field `log_offset`, in both versions.
const LOG_OFFSET_AT: usize = 28;

/// Where the record at the beginning of `bytes` says that it lies; for a record that was checked before. `None` if there is none.
#[must_use]
pub fn log_offset_of(bytes: &[u8]) -> Option<LogOffset> {
    let field = bytes.get(LOG_OFFSET_AT..)?.first_chunk()?;
    Some(LogOffset(u64::from_be_bytes(*field)))
}

/// Of the lowest byte of the field `sys_flag`, in both versions.
const SYS_FLAG_LOW_AT: usize = 39;

/// Whether the record at the beginning of `bytes` says that its body is a batch; for a record that was checked before.
#[inline]
#[must_use]
pub fn is_inner_batch(bytes: &[u8]) -> bool {
    bytes.get(SYS_FLAG_LOW_AT).is_some_and(|low| i32::from(*low) & sys_flag::INNER_BATCH != 0)
}

impl<'a> RecordView<'a> {
    /// Reads the record at the beginning of `bytes`, which may go on beyond it. `expected` is where it lies, if that is to be checked.
    ///
    /// # Errors
    /// [`RecordError`]: the bytes are not a whole, sound record for that place.
    pub fn decode(bytes: &'a [u8], expected: Option<LogOffset>, check: Check) -> Result<RecordView<'a>, RecordError> {
        let size = peek_size(bytes)?;
        let need = size as usize;
        let record = bytes.get(..need).ok_or(RecordError::Short { have: bytes.len(), need })?;
        let lengths = RecordError::BadLengths { size };
        let mut at = RecordReader { rest: record.get(4..).ok_or(lengths)? };
        let magic = at.u32().ok_or(lengths)?;
        let body_crc = at.u32().ok_or(lengths)?;
        let view = at.fields(size, magic == MAGIC_V2).ok_or(lengths)?;
        let (view, topic) = view;
        if let Some(expected) = expected
            && view.log_offset != expected
        {
            return Err(RecordError::Elsewhere { expected, found: view.log_offset });
        }
        if !at.rest.is_empty() {
            return Err(lengths);
        }
        let topic = std::str::from_utf8(topic).map_err(|_| RecordError::BadTopic)?;
        let is_body_covered = check == Check::Once && view.has_crc();
        if check != Check::Shape && !is_body_covered {
            let found = crc31(view.body);
            if found != body_crc {
                return Err(RecordError::BodyCrc { found, stored: body_crc });
            }
        }
        if check != Check::Shape {
            check_record_crc(record, view.has_crc(), check)?;
        }
        Ok(RecordView { bytes: record, topic, ..view })
    }

    /// Whether the record ends in a CRC property. RocketMQ's own brokers make records without one unless they are told otherwise.
    #[must_use]
    pub fn has_crc(&self) -> bool {
        let at = self.properties.len().checked_sub(CRC_PROPERTY_BYTES);
        at.and_then(|at| self.properties.get(at..)).is_some_and(|last| last.starts_with(CRC_PROPERTY_NAME))
    }

    /// Whether the record once ended in the CRC property, and does not any more: most of its name is there. Such a record is damaged, though
    /// nothing covers the rest of it.
    #[must_use]
    pub fn has_lost_crc(&self) -> bool {
        let at = self.properties.len().checked_sub(CRC_PROPERTY_BYTES);
        let name = at.and_then(|at| self.properties.get(at..)).unwrap_or_default().iter().zip(CRC_PROPERTY_NAME);
        !self.has_crc() && name.filter(|(found, own)| found == own).count() * 2 > CRC_PROPERTY_NAME.len()
    }

    /// Whether the record belongs into its consume queue: half messages that were stored as such and rollbacks do not.
    #[must_use]
    pub fn is_queued(&self) -> bool {
        is_queued(self.sys_flag)
    }
}

/// See [`RecordView::is_queued`]. Transaction types: 0 none, 4 prepared, 8 commit, 12 rollback.
pub fn is_queued(sys_flag: i32) -> bool {
    !matches!(sys_flag & 12, 4 | 12)
}

/// Size of the record that begins here, if its first two fields are those of a record.
///
/// # Errors
/// `Short`, `BadMagic` or `BadSize`.
pub fn peek_size(bytes: &[u8]) -> Result<u32, RecordError> {
    let mut at = RecordReader { rest: bytes };
    let (Some(size), Some(magic)) = (at.u32(), at.u32()) else {
        return Err(RecordError::Short { have: bytes.len(), need: RECORD_BYTES_MIN });
    };
    if magic != MAGIC_V1 && magic != MAGIC_V2 {
        return Err(RecordError::BadMagic { found: magic });
    }
    if !(RECORD_BYTES_MIN..=RECORD_BYTES_MAX).contains(&(size as usize)) {
        return Err(RecordError::BadSize { size });
    }
    Ok(size)
}

/// So many bytes of a record hold its fields up to the store timestamp, behind an IPv6 born host.
pub const HEAD_BYTES: usize = 76;

/// Queue offset of the record that begins here and lies at `at`, if that says that its body is a batch.
pub fn peek_batch_base(bytes: &[u8], at: LogOffset) -> Option<QueueOffset> {
    peek_size(bytes).ok().filter(|_| claims_place(bytes, at) && is_inner_batch(bytes))?;
    let field = bytes.get(20..)?.first_chunk()?;
    Some(QueueOffset(u64::from_be_bytes(*field)))
}

/// Store timestamp of the record that begins here and lies at `at`; `None` if it does not.
pub fn peek_store_time(bytes: &[u8], at: LogOffset) -> Option<i64> {
    peek_size(bytes).ok().filter(|_| claims_place(bytes, at))?;
    let mut rest = RecordReader { rest: bytes.get(36..)? };
    let sys_flag = rest.i32()?;
    rest.i64()?;
    rest.host(sys_flag & SYS_FLAG_BORN_IPV6 != 0)?;
    rest.i64()
}

fn check_record_crc(record: &[u8], has_crc: bool, check: Check) -> Result<(), RecordError> {
    if has_crc {
        let covered = record.len().saturating_sub(CRC_PROPERTY_BYTES);
        let (body, property) = record.split_at(covered);
        return if property == crc_property(crc31(body)) { Ok(()) } else { Err(RecordError::RecordCrc) };
    }
    if check == Check::CrcRequired { Err(RecordError::NoCrc) } else { Ok(()) }
}

/// Whether the lengths inside the first `bytes` of a record add up to its size, as far as they can be seen: a damaged length is noticed
/// before all the bytes that it asks for are waited for.
///
/// # Errors
/// `BadLengths`.
pub fn check_lengths(bytes: &[u8], size: u32) -> Result<(), RecordError> {
    let number = |at: usize, len: usize| {
        let field = bytes.get(at..at.checked_add(len)?)?;
        Some(field.iter().fold(0_usize, |number, &byte| (number << 8) | usize::from(byte)))
    };
    let (Some(magic), Some(sys_flag)) = (number(4, 4), number(36, 4)) else { return Ok(()) };
    let extra = |bit: usize| if sys_flag & bit == 0 { 0 } else { 12 };
    let topic_field = if magic == MAGIC_V2 as usize { 2 } else { 1 };
    let mut at = 84 + extra(16) + extra(32);
    for (field, fields_after) in [(4, topic_field + 2), (topic_field, 2), (2, 0)] {
        let Some(len) = number(at, field) else { return Ok(()) };
        at = at.saturating_add(field).saturating_add(len);
        if at.saturating_add(fields_after) > size as usize {
            return Err(RecordError::BadLengths { size });
        }
    }
    if at == size as usize { Ok(()) } else { Err(RecordError::BadLengths { size }) }
}

/// Bytes that a record at `at` has if its end was torn off and its beginning was not: its size, if its first fields claim this place and the
/// length of its body fits; else those that tell no more than that. What follows may be anything.
#[must_use]
pub fn peek_torn(bytes: &[u8], at: LogOffset) -> u32 {
    const HEAD_BYTES: u32 = 128;
    let Ok(size) = peek_size(bytes) else { return HEAD_BYTES };
    let extra = |bit: u8| if bytes.get(39).is_some_and(|flags| flags & bit != 0) { 12 } else { 0 };
    let body_at = 84 + extra(16) + extra(32);
    let body = bytes.get(body_at..body_at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes);
    let rest = (size as usize).checked_sub(body_at + 4 + body as usize);
    let is_fitting = rest.is_some_and(|rest| rest <= 2 + TOPIC_V2_BYTES_MAX + 2 + PROPERTIES_BYTES_MAX);
    if is_fitting && claims_place(bytes, at) { size } else { HEAD_BYTES }
}

/// Cursor over received bytes that checks what is left.
struct RecordReader<'a> {
    rest: &'a [u8],
}

impl<'a> RecordReader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (here, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(here)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (here, rest) = self.rest.split_first_chunk::<N>()?;
        self.rest = rest;
        Some(*here)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_be_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_be_bytes)
    }

    fn i64(&mut self) -> Option<i64> {
        self.array().map(i64::from_be_bytes)
    }

    fn host(&mut self, ipv6: bool) -> Option<SocketAddr> {
        let ip = if ipv6 {
            IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))
        };
        Some(SocketAddr::new(ip, u16::try_from(self.u32()?).ok()?))
    }

    /// Fields 4 to 17; the topic's bytes apart, since they are not known to be text yet.
    fn fields(&mut self, size: u32, v2: bool) -> Option<(RecordView<'a>, &'a [u8])> {
        let queue_id = QueueId(self.u32()?);
        let flag = self.i32()?;
        let queue_offset = QueueOffset(self.u64()?);
        let log_offset = LogOffset(self.u64()?);
        let sys_flag = self.i32()?;
        let born_timestamp = self.i64()?;
        let born_host = self.host(sys_flag & SYS_FLAG_BORN_IPV6 != 0)?;
        let store_timestamp = self.i64()?;
        let store_host = self.host(sys_flag & SYS_FLAG_STORE_IPV6 != 0)?;
        let reconsume_times = self.i32()?;
        let prepared_transaction_offset = self.i64()?;
        let body_len = usize::try_from(self.u32()?).ok()?;
        let body = self.take(body_len)?;
        let topic_len =
            if v2 { usize::from(u16::from_be_bytes(self.array()?)) } else { usize::from(self.array::<1>()?[0]) };
        let topic = self.take(topic_len)?;
        let properties_len = usize::from(u16::from_be_bytes(self.array()?));
        let properties = self.take(properties_len)?;
        let view = RecordView {
            bytes: &[],
            size,
            queue_id,
            flag,
            queue_offset,
            log_offset,
            sys_flag,
            born_timestamp,
            born_host,
            store_timestamp,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            topic: "",
            properties,
        };
        Some((view, topic))
    }
}

/// Name and value of each property. Pairs without a name separator or with an empty side are skipped, as RocketMQ's own parser does.
pub fn pairs(properties: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    properties.split(|&byte| byte == PROPERTY_SEPARATOR).filter_map(|pair| {
        let middle = pair.iter().position(|&byte| byte == NAME_SEPARATOR)?;
        let (name, value) = (pair.get(..middle)?, pair.get(middle.checked_add(1)?..)?);
        (!name.is_empty() && !value.is_empty()).then_some((name, value))
    })
}

/// Java's `String.hashCode` of `text` after what `seed` is the hash of: `java_hash(java_hash(0, a), b)` is the hash of `a + b`.
#[must_use]
pub fn java_hash(seed: i32, text: &str) -> i32 {
    if text.is_ascii() {
        let mut hash = seed;
        let mut fours = text.as_bytes().chunks_exact(4);
        // Four bytes a step: the chain of multiplications is the cost here.
        for four in &mut fours {
            let [a, b, c, d] = [i32::from(four[0]), i32::from(four[1]), i32::from(four[2]), i32::from(four[3])];
            hash = hash.wrapping_mul(31 * 31 * 31 * 31).wrapping_add(a * (31 * 31 * 31) + b * (31 * 31) + c * 31 + d);
        }
        return fours.remainder().iter().fold(hash, |hash, &byte| hash.wrapping_mul(31).wrapping_add(i32::from(byte)));
    }
    text.encode_utf16().fold(seed, |hash, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

/// The filler that closes a segment at `at`, `remaining` bytes before the segment's end.
///
/// | bytes  | field       | meaning                                                              |
/// |--------|-------------|----------------------------------------------------------------------|
/// | 0..4   | `remaining` | bytes to the segment's end, these included                           |
/// | 4..8   | magic       | [`MAGIC_FILLER`]                                                     |
/// | 8..16  | log offset  | its own place                                                        |
/// | 16..20 | CRC-32      | of bytes 0..16                                                       |
///
/// RocketMQ leaves everything after the magic undefined. Ours proves its place: a recycled segment holds old fillers, and an old one
/// at the very place where the log ends would otherwise be taken for the end of the segment.
#[must_use]
pub fn encode_filler(at: LogOffset, remaining: u32) -> [u8; FILLER_BYTES] {
    let mut filler = [0; FILLER_BYTES];
    filler[..4].copy_from_slice(&remaining.to_be_bytes());
    filler[4..8].copy_from_slice(&MAGIC_FILLER.to_be_bytes());
    filler[8..16].copy_from_slice(&at.0.to_be_bytes());
    let crc = crc32fast::hash(&filler[..16]);
    filler[16..].copy_from_slice(&crc.to_be_bytes());
    filler
}

/// Whether `bytes` begin with the filler that closes a segment at `at`, `remaining` bytes before its end; with its beginning, if more does
/// not fit.
#[must_use]
pub fn is_filler(bytes: &[u8], at: LogOffset, remaining: u64) -> bool {
    let Ok(remaining) = u32::try_from(remaining) else { return false };
    bytes.starts_with(&encode_filler(at, remaining)[..FILLER_BYTES.min(remaining as usize)])
}

/// Whether `bytes` look like something that was written for the place `at`: a record or a filler that names it.
///
/// Recovery uses it to find what an unflushed write left behind the end of the log. It need not be whole.
#[must_use]
pub fn claims_place(bytes: &[u8], at: LogOffset) -> bool {
    let number = |range: std::ops::Range<usize>| {
        bytes.get(range).and_then(|eight| eight.try_into().ok()).map(u64::from_be_bytes) == Some(at.0)
    };
    match bytes.get(4..8).and_then(|four| four.try_into().ok()).map(u32::from_be_bytes) {
        Some(MAGIC_V1 | MAGIC_V2) => number(28..36),
        Some(MAGIC_FILLER) => number(8..16),
        _ => false,
    }
}

/// Where in `bytes`, which lie at `at`, something begins that was written for its place, as [`claims_place`] says.
#[must_use]
pub fn find_claim(bytes: &[u8], at: LogOffset) -> Option<usize> {
    const FIRST: [u8; 2] = [MAGIC_V1.to_be_bytes()[0], MAGIC_FILLER.to_be_bytes()[0]];
    const { assert!(MAGIC_V2.to_be_bytes()[0] == FIRST[0]) };
    let mut from = 0_usize;
    loop {
        let magics = bytes.get(from.saturating_add(4)..)?;
        from = from.saturating_add(magics.iter().position(|byte| FIRST.contains(byte))?);
        if claims_place(bytes.get(from..)?, at.plus(from as u64)) {
            return Some(from);
        }
        from = from.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draft<'a>(topic: &'a str, body: &'a [u8], properties: &'a [u8]) -> RecordDraft<'a> {
        RecordDraft {
            topic,
            queue_id: QueueId(3),
            flag: 7,
            sys_flag: 0,
            born_timestamp: 1_700_000_000_001,
            born_host: SocketAddr::from(([127, 0, 0, 1], 5000)),
            store_host: SocketAddr::from(([10, 0, 0, 9], 10911)),
            store_timestamp: 1_700_000_000_002,
            reconsume_times: 1,
            prepared_transaction_offset: 0,
            body,
            properties,
            marks: Marks::default(),
        }
    }

    fn encode(draft: &RecordDraft<'_>, crc: bool) -> Vec<u8> {
        let sized = Sized::new(draft, crc).expect("fits");
        let mut out = vec![0xEE; sized.size() as usize];
        sized.encode(Place { log_offset: LogOffset(4096), queue_offset: QueueOffset(5) }, &mut out);
        out
    }

    #[test]
    fn fields_lie_where_the_table_says() {
        let bytes = encode(&draft("T", b"hello", b"TAGS\x01A\x02"), false);
        assert_eq!(bytes.len(), 91 + 1 + 5 + 7);
        assert_eq!(bytes[..4], 104u32.to_be_bytes());
        assert_eq!(bytes[4..8], MAGIC_V1.to_be_bytes());
        assert_eq!(bytes[8..12], (crc32fast::hash(b"hello") & 0x7FFF_FFFF).to_be_bytes());
        assert_eq!(bytes[20..28], 5u64.to_be_bytes());
        assert_eq!(bytes[28..36], 4096u64.to_be_bytes());
        assert_eq!(bytes[48..56], [127, 0, 0, 1, 0, 0, 0x13, 0x88]);
        assert_eq!(bytes[84..88], 5u32.to_be_bytes());
        assert_eq!(&bytes[88..93], b"hello");
        assert_eq!(&bytes[93..95], b"\x01T");
        assert_eq!(&bytes[95..], b"\x00\x07TAGS\x01A\x02");
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let long = "x".repeat(128);
        let ipv6 = SocketAddr::from((Ipv6Addr::LOCALHOST, 1));
        for (topic, body, properties) in [
            ("T", &b"hello"[..], &b"TAGS\x01A\x02"[..]),
            ("T", b"", b""),
            (&long, b"b", b"KEYS\x01a b"),
            (&long[..127], &[9; 5000], b"UNIQ_KEY\x01u\x02KEYS\x01k\x02"),
        ] {
            for crc in [false, true] {
                for hosts in 0..4 {
                    let mut draft = draft(topic, body, properties);
                    if hosts & 1 == 1 {
                        draft.born_host = ipv6;
                    }
                    if hosts & 2 == 2 {
                        draft.store_host = ipv6;
                    }
                    let bytes = encode(&draft, crc);
                    let check = if crc { Check::CrcRequired } else { Check::Crc };
                    let view = RecordView::decode(&bytes, Some(LogOffset(4096)), check).expect("sound");
                    assert_eq!(
                        (view.topic, view.body, view.queue_offset, view.size as usize, view.flag, view.reconsume_times),
                        (topic, body, QueueOffset(5), bytes.len(), 7, 1)
                    );
                    assert_eq!((view.born_host, view.store_host), (draft.born_host, draft.store_host));
                    assert!(view.properties.starts_with(properties));
                }
            }
        }
    }

    #[test]
    fn crc_property_is_twenty_bytes_with_the_lowest_digit_first() {
        assert_eq!(&crc_property(1_234_567), b"__CRC32#\x017654321000\x02");
        let bytes = encode(&draft("T", b"hello", b"TAGS\x01A"), true);
        let covered = bytes.len() - CRC_PROPERTY_BYTES;
        assert_eq!(bytes[covered - 1], 2, "a separator is put before the CRC property");
        assert_eq!(bytes[covered..], crc_property(crc31(&bytes[..covered])));
    }

    #[test]
    fn any_changed_bit_is_noticed() {
        let bytes = encode(&draft("Topic", b"hello", b"TAGS\x01A\x02"), true);
        for bit in 0..bytes.len() * 8 {
            let mut torn = bytes.clone();
            torn[bit / 8] ^= 1 << (bit % 8);
            let found = RecordView::decode(&torn, Some(LogOffset(4096)), Check::CrcRequired);
            assert!(found.is_err(), "bit {bit} changed and the record was taken");
        }
    }

    #[test]
    fn short_and_foreign_bytes_are_refused() {
        let bytes = encode(&draft("T", b"hello", b""), true);
        for len in 0..bytes.len() {
            assert!(matches!(RecordView::decode(&bytes[..len], None, Check::Crc), Err(RecordError::Short { .. })));
        }
        assert_eq!(
            RecordView::decode(&bytes, Some(LogOffset(8192)), Check::Crc),
            Err(RecordError::Elsewhere { expected: LogOffset(8192), found: LogOffset(4096) })
        );
        let mut huge = bytes.clone();
        huge[..4].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(RecordView::decode(&huge, None, Check::Crc), Err(RecordError::BadSize { size: u32::MAX }));
    }

    #[test]
    fn too_long_properties_are_refused() {
        let properties = vec![b'p'; PROPERTIES_BYTES_MAX - CRC_PROPERTY_BYTES];
        assert!(Sized::new(&draft("T", b"", &properties), false).is_ok());
        assert!(matches!(Sized::new(&draft("T", b"", &properties), true), Err(DraftError::PropertiesTooLong { .. })));
    }

    #[test]
    fn java_hash_is_javas() {
        for (text, expected) in [
            ("", 0),
            ("a", 97),
            ("TagA", 2_598_919),
            ("hello world", 1_794_106_052),
            ("日本", 835_047),
            ("\u{1F600}", 1_772_899),
        ] {
            assert_eq!(java_hash(0, text), expected, "{text}");
        }
        assert_eq!(java_hash(java_hash(0, "topic#"), "key-1234567"), java_hash(0, "topic#key-1234567"));
    }

    #[test]
    fn a_bit_of_the_crc_s_name_does_not_make_a_record_without_one() {
        let mut record = encode(&draft("T", b"hello", b""), true);
        let at = record.len() - CRC_PROPERTY_BYTES + 3;
        record[at] ^= 4;
        let view = RecordView::decode(&record, None, Check::Crc).unwrap();
        assert!(view.has_lost_crc() && !view.has_crc());
        let plain = encode(&draft("T", b"hello", b"TAGS\x01a tag of some length\x02"), false);
        assert!(!RecordView::decode(&plain, None, Check::Crc).unwrap().has_lost_crc());
    }

    #[test]
    fn a_torn_record_is_as_long_as_its_first_fields_say_together() {
        let record = encode(&draft("T", &[1; 1000], b""), true);
        let at = RecordView::decode(&record, None, Check::Crc).unwrap().log_offset;
        assert_eq!(peek_torn(&record[..200], at), u32::try_from(record.len()).unwrap());
        assert_eq!(peek_torn(&record[..200], at.plus(1)), 128, "another place");
        let mut long = record.clone();
        long[1] ^= 1;
        assert_eq!(peek_torn(&long, at), 128, "its body does not fill it");
        let mut other = record;
        other[84] ^= 1;
        assert_eq!(peek_torn(&other, at), 128, "its body does not fit");
        assert_eq!(peek_torn(&[0; 200], at), 128);
    }

    #[test]
    fn fillers_and_records_claim_their_own_place_only() {
        let filler = encode_filler(LogOffset(100), 156);
        assert!(is_filler(&filler, LogOffset(100), 156) && claims_place(&filler, LogOffset(100)));
        assert!(!is_filler(&filler, LogOffset(1124), 156) && !claims_place(&filler, LogOffset(1124)));
        let record = encode(&draft("T", b"hello", b""), true);
        assert!(claims_place(&record, LogOffset(4096)) && !claims_place(&record, LogOffset(0)));
        // Bytes that only look like a magic lie before it.
        let mut bytes = [0xDA, 0xCB, 0xDA, 0xA3, 0x20, 0xA7, 0xDA].to_vec();
        bytes.extend_from_slice(&record);
        assert_eq!(find_claim(&bytes, LogOffset(4089)), Some(7));
        assert_eq!(find_claim(&bytes, LogOffset(4090)), None);
    }

    proptest::proptest! {
        #[test]
        fn decoder_survives_any_bytes(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400), size in 80u32..400) {
            let mut bytes = bytes;
            if bytes.len() > 8 {
                bytes[..4].copy_from_slice(&size.to_be_bytes());
                bytes[4..8].copy_from_slice(&MAGIC_V1.to_be_bytes());
            }
            let _ = RecordView::decode(&bytes, None, Check::Shape);
            let _ = pairs(&bytes).count();
        }
    }
}
