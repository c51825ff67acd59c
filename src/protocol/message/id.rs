//! The two ids of a message, both as hexadecimal digits: where the broker stored it, and what the client calls it.
//!
//! | id         | bytes before they are written as digits                                                            |
//! |------------|----------------------------------------------------------------------------------------------------|
//! | offset id  | address 4 or 16, port i32, log offset i64                                                           |
//! | unique key | address 4 or 16, process u16, loader i32, ms since the month began i32, counter u16                 |
//!
//! 16 or 28 bytes, so 32 or 56 digits, upper case. Clients dial the address of an offset id to view its message, and
//! transactional producers take the log offset from it. Source: RocketMQ `MessageDecoder`, `MessageClientIDSetter`.

use std::net::{IpAddr, SocketAddr};

use crate::cursor::{Cursor, Ended};
use crate::model::{LogOffset, UnixMs};

/// Most digits of an id.
const DIGITS_MAX: usize = 56;

/// An id as text, without an allocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdText {
    digits: [u8; DIGITS_MAX],
    count: usize,
}

impl IdText {
    fn new() -> IdText {
        IdText { digits: [b'0'; DIGITS_MAX], count: 0 }
    }

    /// The digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let digits = self.digits.get(..self.count).expect("no more digits than there is room for");
        std::str::from_utf8(digits).expect("hexadecimal digits are ASCII")
    }

    fn push(&mut self, bytes: &[u8]) {
        let places = self.digits.get_mut(self.count..).unwrap_or_default();
        for (place, byte) in places.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
            *place = [digit(byte >> 4), digit(byte & 15)];
        }
        self.count = self.count.saturating_add(bytes.len().saturating_mul(2)).min(DIGITS_MAX);
    }

    fn push_address(&mut self, address: IpAddr) {
        match address {
            IpAddr::V4(address) => self.push(&address.octets()),
            IpAddr::V6(address) => self.push(&address.octets()),
        }
    }
}

/// The digit of four bits, without a table, so that many are made together.
#[inline]
fn digit(value: u8) -> u8 {
    let letters = u8::from(value > 9).wrapping_mul(b'A'.wrapping_sub(b'9').wrapping_sub(1));
    value.wrapping_add(b'0').wrapping_add(letters)
}

/// Where a message is stored: the broker's address and the place in its commit log. RocketMQ: offsetMsgId.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MessageId {
    /// The broker's own address, which clients dial.
    pub store_host: SocketAddr,
    /// First byte of the record.
    pub log_offset: LogOffset,
}

/// Why a text is not a message id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MessageIdError {
    /// Neither 32 nor 56 characters.
    #[error("a message id has 32 or 56 digits, not {found}")]
    Length {
        /// Bytes of the text.
        found: usize,
    },
    /// A character that is no hexadecimal digit.
    #[error("a message id has hexadecimal digits only")]
    Digit,
    /// Port or offset out of range.
    #[error("port or offset of the message id is out of range")]
    OutOfRange,
}

impl From<Ended> for MessageIdError {
    fn from(_: Ended) -> Self {
        MessageIdError::OutOfRange
    }
}

impl MessageId {
    /// The id as digits.
    #[must_use]
    pub fn encode(&self) -> IdText {
        let mut text = IdText::new();
        text.push_address(self.store_host.ip());
        text.push(&u32::from(self.store_host.port()).to_be_bytes());
        text.push(&self.log_offset.0.to_be_bytes());
        text
    }

    /// Reads digits of either case.
    ///
    /// # Errors
    /// [`MessageIdError`].
    pub fn decode(text: &str) -> Result<MessageId, MessageIdError> {
        let address_bytes = match text.len() {
            32 => 4,
            56 => 16,
            found => return Err(MessageIdError::Length { found }),
        };
        let mut bytes = [0_u8; DIGITS_MAX / 2];
        let (pairs, _) = text.as_bytes().as_chunks::<2>();
        for (place, [high, low]) in bytes.iter_mut().zip(pairs) {
            let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *place = digit(*high).zip(digit(*low)).map(|(high, low)| (high << 4) | low).ok_or(MessageIdError::Digit)?;
        }
        let mut input = Cursor::new(&bytes);
        let address = input.take(address_bytes)?;
        let address = match (<[u8; 4]>::try_from(address), <[u8; 16]>::try_from(address)) {
            (Ok(octets), _) => IpAddr::from(octets),
            (_, Ok(octets)) => IpAddr::from(octets),
            _ => return Err(MessageIdError::OutOfRange),
        };
        let port = u16::try_from(input.i32()?).map_err(|_| MessageIdError::OutOfRange)?;
        let log_offset = u64::try_from(input.i64()?).map_err(|_| MessageIdError::OutOfRange)?;
        Ok(MessageId { store_host: SocketAddr::new(address, port), log_offset: LogOffset(log_offset) })
    }
}

/// The client's own id of a message. The broker makes one for messages that came without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UniqueKey {
    /// Address of whoever makes the key.
    pub address: IpAddr,
    /// Its process, as far as 16 bits go.
    pub process: u16,
    /// Tells makers within one process apart: of Java its class loader's hash, here the shard.
    pub loader: u32,
    /// When. What is kept are the milliseconds since the month began, in UTC.
    pub now: UnixMs,
    /// Counts the keys of this maker.
    pub counter: u16,
}

impl UniqueKey {
    /// The key as digits.
    #[must_use]
    pub fn encode(&self) -> IdText {
        let mut text = IdText::new();
        text.push_address(self.address);
        text.push(&self.process.to_be_bytes());
        text.push(&self.loader.to_be_bytes());
        text.push(&month_ms(self.now).to_be_bytes());
        text.push(&self.counter.to_be_bytes());
        text
    }
}

/// Milliseconds since the first instant of the month, UTC: at most 31 days.
fn month_ms(now: UnixMs) -> u32 {
    const DAY_MS: i64 = 86_400_000;
    let day = now.0.div_euclid(DAY_MS);
    let of_month = i64::from(day_of_month(day).saturating_sub(1));
    let ms = of_month.saturating_mul(DAY_MS).saturating_add(now.0.rem_euclid(DAY_MS));
    u32::try_from(ms).expect("a month has less than 2^32 ms")
}

/// Day of the month, from 1, of a day counted from 1970-01-01 in the Gregorian calendar.
///
/// Years are counted from March, so that the leap day is the last of its year; 153 days are five months of 31, 30, 31, 30, 31.
#[expect(clippy::arithmetic_side_effects, reason = "every term is bounded by the remainder before it")]
fn day_of_month(day: i64) -> u32 {
    let of_era = day.saturating_add(719_468).rem_euclid(146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    u32::try_from(of_year - (153 * month + 2) / 5 + 1).expect("a day of a month is 1 to 31")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn message_ids_look_as_java_s() {
        let check = |host: &str, offset: u64, expected: &str| {
            let id = MessageId { store_host: host.parse().expect("an address"), log_offset: LogOffset(offset) };
            assert_eq!(id.encode().as_str(), expected);
            assert_eq!(MessageId::decode(expected), Ok(id));
            assert_eq!(MessageId::decode(&expected.to_lowercase()), Ok(id));
        };
        check("127.0.0.1:10911", 0, "7F00000100002A9F0000000000000000");
        check("192.168.1.10:10911", 0x1234_5678_9ABC, "C0A8010A00002A9F0000123456789ABC");
        check("[::1]:10911", 256, "0000000000000000000000000000000100002A9F0000000000000100");
    }

    #[test]
    fn what_is_no_message_id_is_refused() {
        let check = |text: &str, expected: MessageIdError| assert_eq!(MessageId::decode(text), Err(expected), "{text}");
        check("", MessageIdError::Length { found: 0 });
        check("7F00000100002A9F000000000000000G", MessageIdError::Digit);
        check("7F00000100002A9F00000000000000\u{e4}", MessageIdError::Digit);
        check("7F000001FFFFFFFF0000000000000000", MessageIdError::OutOfRange);
        check("7F00000100002A9FFFFFFFFFFFFFFFFF", MessageIdError::OutOfRange);
    }

    #[test]
    fn a_unique_key_counts_from_the_first_of_the_month() {
        let check = |now: i64, expected: u32| assert_eq!(month_ms(UnixMs(now)), expected, "{now}");
        check(0, 0);
        check(-1, 31 * 86_400_000 - 1);
        check(1_709_251_199_999, 29 * 86_400_000 - 1); // the last of February 2024
        check(1_709_251_200_000, 0);
        let key = UniqueKey {
            address: IpAddr::from([10, 0, 0, 1]),
            process: 7,
            loader: 0x1840_3C4B,
            now: UnixMs(1_709_251_200_001),
            counter: 2,
        };
        assert_eq!(key.encode().as_str(), "0A000001000718403C4B000000010002");
    }

    proptest! {
        #[test]
        fn any_text_is_an_id_or_refused(text in "\\PC{0,60}") {
            if let Ok(id) = MessageId::decode(&text) {
                let digits = id.encode();
                prop_assert_eq!(digits.as_str(), text.to_uppercase());
            }
        }
    }
}
