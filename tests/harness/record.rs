//! Messages as pulls and queries return them: V1 and V2 records, back to back.
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::frame::{Cursor, invalid};

const MAGIC_V1: i32 = -626_843_481;
const MAGIC_V2: i32 = -626_843_477;
/// `sysFlag` bits.
const BORN_HOST_V6: i32 = 1 << 4;
const STORE_HOST_V6: i32 = 1 << 5;

/// One stored message, all fields of the record but the redundant lengths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub body_crc: i32,
    pub queue_id: i32,
    pub flag: i32,
    pub queue_offset: i64,
    pub log_offset: i64,
    pub sys_flag: i32,
    pub born_timestamp_ms: i64,
    pub born_host: SocketAddr,
    pub store_timestamp_ms: i64,
    pub store_host: SocketAddr,
    pub reconsume_times: i32,
    pub prepared_transaction_offset: i64,
    pub body: Vec<u8>,
    pub topic: String,
    pub properties: BTreeMap<String, String>,
}

impl Record {
    /// Decodes a body of whole records; anything left over or inconsistent is an error.
    pub fn decode_all(bytes: &[u8]) -> io::Result<Vec<Self>> {
        let mut cursor = Cursor { bytes };
        let mut records = Vec::new();
        while !cursor.bytes.is_empty() {
            let before = cursor.bytes.len();
            let size = usize::try_from(cursor.number(4)?).map_err(|_| invalid("record size"))?;
            records.push(Self::decode(&mut cursor)?);
            let used = before - cursor.bytes.len();
            if used != size {
                return Err(invalid(format!("a record says {size} bytes and has {used}")));
            }
        }
        Ok(records)
    }

    fn decode(cursor: &mut Cursor<'_>) -> io::Result<Self> {
        let magic = cursor.signed_int()?;
        let topic_length_bytes = match magic {
            MAGIC_V1 => 1,
            MAGIC_V2 => 2,
            other => return Err(invalid(format!("record magic {other:#x}"))),
        };
        let body_crc = cursor.signed_int()?;
        let queue_id = cursor.signed_int()?;
        let flag = cursor.signed_int()?;
        let queue_offset = cursor.signed_long()?;
        let log_offset = cursor.signed_long()?;
        let sys_flag = cursor.signed_int()?;
        let born_timestamp_ms = cursor.signed_long()?;
        let born_host = host(cursor, sys_flag & BORN_HOST_V6 != 0)?;
        let store_timestamp_ms = cursor.signed_long()?;
        let store_host = host(cursor, sys_flag & STORE_HOST_V6 != 0)?;
        let reconsume_times = cursor.signed_int()?;
        let prepared_transaction_offset = cursor.signed_long()?;
        let body_length = usize::try_from(cursor.number(4)?).map_err(|_| invalid("body length"))?;
        let body = cursor.take(body_length)?.to_vec();
        let topic = cursor.text(topic_length_bytes)?;
        let properties = properties_from(&cursor.text(2)?)?;
        Ok(Self {
            body_crc,
            queue_id,
            flag,
            queue_offset,
            log_offset,
            sys_flag,
            born_timestamp_ms,
            born_host,
            store_timestamp_ms,
            store_host,
            reconsume_times,
            prepared_transaction_offset,
            body,
            topic,
            properties,
        })
    }
}

fn host(cursor: &mut Cursor<'_>, v6: bool) -> io::Result<SocketAddr> {
    let ip = if v6 {
        let bytes: [u8; 16] = cursor.take(16)?.try_into().expect("sixteen bytes");
        IpAddr::V6(Ipv6Addr::from(bytes))
    } else {
        let bytes: [u8; 4] = cursor.take(4)?.try_into().expect("four bytes");
        IpAddr::V4(Ipv4Addr::from(bytes))
    };
    let port = u16::try_from(cursor.signed_int()?).map_err(|_| invalid("port"))?;
    Ok(SocketAddr::new(ip, port))
}

/// `name 0x01 value 0x02 name 0x01 value 0x02 ...`
fn properties_from(text: &str) -> io::Result<BTreeMap<String, String>> {
    let pairs = text.split('\u{2}').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('\u{1}').ok_or_else(|| invalid(format!("property {pair:?}")))?;
            Ok((name.to_owned(), value.to_owned()))
        })
        .collect()
}

/// The text form of properties.
pub(crate) fn properties_to_text(properties: &[(&str, &str)]) -> String {
    properties.iter().map(|(name, value)| format!("{name}\u{1}{value}\u{2}")).collect()
}
