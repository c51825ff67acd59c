//! Messages by id and by key: 33 and 12.
//!
//! Source: RocketMQ `QueryMessageProcessor`.

use bytes::BytesMut;

use super::{Asked, Broker, Handled, Output, Refusal};
use crate::limits::{QUERY_BYTES_MAX, QUERY_MESSAGES_MAX};
use crate::log::{Found, KeysToIndex, RecordRead, RecordView};
use crate::log::record::Check;
use crate::model::{LogOffset, UnixMs};
use crate::protocol::code::ResponseCode;
use crate::protocol::reply::{ExtValue, Reply};

/// What QUERY_MESSAGE asks for.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyQuery<'a> {
    pub(super) topic: &'a str,
    pub(super) key: &'a str,
    pub(super) max: i32,
    pub(super) begin: i64,
    pub(super) end: i64,
    pub(super) is_unique: bool,
}

impl Broker {
    /// VIEW_MESSAGE_BY_ID 33: the record at a log offset that came out of a message id.
    pub(super) fn view_message(&mut self, asked: &Asked, offset: i64, out: &mut Output) -> Result<Handled, Refusal> {
        let missing = || Refusal::new(ResponseCode::SystemError, format!("can not find message by the offset, {offset}"));
        let at = u64::try_from(offset).map(LogOffset).map_err(|_| missing())?;
        let mut record = std::mem::take(&mut self.scratch.records);
        record.clear();
        let read = self.log.record(at, &mut record);
        if let RecordRead::Found { .. } = read {
            self.reply(asked, &Reply::body(&record), out);
        }
        self.scratch.records = record;
        match read {
            RecordRead::Found { .. } => Ok(Handled::Done),
            RecordRead::Cold(block) => Ok(Handled::Cold(block)),
            RecordRead::Missing => Err(missing()),
        }
    }

    /// QUERY_MESSAGE 12: records with a key, newest first. The index knows hashes, so each record's own keys decide.
    pub(super) fn query_message(
        &mut self,
        asked: &Asked,
        query: &KeyQuery<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let asked_max = if query.is_unique { QUERY_MESSAGES_MAX } else { usize::try_from(query.max).unwrap_or(0) };
        let max = asked_max.clamp(1, QUERY_MESSAGES_MAX);
        let (begin, end) = (UnixMs(query.begin), UnixMs(query.end));
        let places = match self.log.find_keys(query.topic, query.key, max, begin, end) {
            Found::Ready(places) => places,
            Found::Cold(block) => return Ok(Handled::Cold(block)),
        };
        let mut records = BytesMut::new();
        for at in places {
            let start = records.len();
            match self.log.record(at, &mut records) {
                RecordRead::Found { .. } => {}
                RecordRead::Missing => continue,
                RecordRead::Cold(block) => return Ok(Handled::Cold(block)),
            }
            let is_it = records.get(start..).is_some_and(|record| has_key(record, at, query));
            if !is_it || records.len() > QUERY_BYTES_MAX {
                records.truncate(start);
            }
        }
        if records.is_empty() {
            return Err(Refusal::new(ResponseCode::QueryNotFound, "can not find message, maybe time range not correct"));
        }
        let end = i64::try_from(self.log.confirm().0).unwrap_or(i64::MAX);
        let ext = [
            ("indexLastUpdateTimestamp", ExtValue::I64(asked.now.unix.0)),
            ("indexLastUpdatePhyoffset", ExtValue::I64(end)),
        ];
        let reply = Reply { code: ResponseCode::Success, remark: None, ext: &ext, body: &records };
        self.reply(asked, &reply, out);
        Ok(Handled::Done)
    }
}

fn has_key(record: &[u8], at: LogOffset, query: &KeyQuery<'_>) -> bool {
    let Ok(view) = RecordView::decode(record, Some(at), Check::Shape) else { return false };
    view.topic == query.topic && KeysToIndex::of(view.properties).iter().any(|key| key == query.key)
}
