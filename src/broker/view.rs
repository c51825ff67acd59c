//! Messages by id and by key: 33 and 12.
//!
//! Source: RocketMQ `QueryMessageProcessor`.

use bytes::BytesMut;

use super::{Asked, Broker, Handled, Output, Refusal};
use crate::limits::{QUERY_BYTES_MAX, QUERY_MESSAGES_MAX};
use crate::log::{KeySearch, RecordRead};
use crate::model::LogOffset;
use crate::protocol::code::ResponseCode;
use crate::protocol::record::Check;
use crate::protocol::record::{KeysToIndex, RecordView};
use crate::protocol::reply::{ExtValue, Reply};
use crate::protocol::request::QueryMessageRequest;

/// Messages that a query by unique key looks at, whatever it asks for. Source: RocketMQ `defaultQueryMaxNum`.
const UNIQUE_QUERY_MESSAGES: usize = 32;

impl Broker {
    /// VIEW_MESSAGE_BY_ID 33: the record at a log offset that came out of a message id.
    pub(super) fn message_at(&mut self, asked: &Asked, at: LogOffset, out: &mut Output) -> Result<Handled, Refusal> {
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
            RecordRead::Failed => Err(Refusal::unreadable()),
            RecordRead::Missing => {
                Err(Refusal::new(ResponseCode::SystemError, format!("can not find message by the offset, {at}")))
            }
        }
    }

    /// QUERY_MESSAGE 12: records with a key, newest first. The index knows hashes, so each record's own keys decide.
    pub(super) fn query_message(
        &mut self,
        asked: &Asked,
        query: &QueryMessageRequest<'_>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let wanted = if query.unique { UNIQUE_QUERY_MESSAGES } else { query.messages_max as usize };
        let max = wanted.clamp(1, QUERY_MESSAGES_MAX);
        let places = match self.log.find_keys(query.topic, query.key, max, query.begin, query.end) {
            KeySearch::Ready(places) => places,
            KeySearch::Cold(block) => return Ok(Handled::Searching(block)),
        };
        let mut records = BytesMut::new();
        for at in &places {
            let (at, start) = (*at, records.len());
            match self.log.record(at, &mut records) {
                RecordRead::Found { .. } => {}
                RecordRead::Missing => continue,
                RecordRead::Cold(block) => {
                    self.log.keep_found(query.topic, query.key, max, (query.begin, query.end), places);
                    return Ok(Handled::Searching(block));
                }
                RecordRead::Failed => return Err(Refusal::unreadable()),
            }
            let is_it = records.get(start..).is_some_and(|record| has_key(record, at, query));
            if !is_it || records.len() > QUERY_BYTES_MAX {
                records.truncate(start);
            }
        }
        if records.is_empty() {
            return Err(Refusal::new(
                ResponseCode::QueryNotFound,
                "can not find message, maybe time range not correct",
            ));
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

fn has_key(record: &[u8], at: LogOffset, query: &QueryMessageRequest<'_>) -> bool {
    let Ok(view) = RecordView::decode(record, Some(at), Check::Shape) else { return false };
    view.topic == query.topic && KeysToIndex::of(view.properties).iter().any(|key| key == query.key)
}
