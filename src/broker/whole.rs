//! Whole tables, as RocketMQ's slaves and tools ask for them (21, 43, 201): put together over several turns, so that nobody waits for one that is large.
//!
//! What changes while one is put together is in it or not, entry by entry; its version is that of the beginning, so that whoever goes by versions asks again.

use std::collections::VecDeque;

use super::dispatch::readers_behind;
use super::store::busy;
use super::{Asked, Broker, Handled, Output, Refusal};
use crate::limits::{WHOLE_TABLE_PARTS_PER_TURN, WHOLE_TABLES_MAX};
use crate::protocol::body::{ConsumerOffsets, TableFrame, TablePlace, TopicTable};
use crate::protocol::code::ResponseCode;
use crate::protocol::reply::{ExtValue, Reply};

/// Tables that are being put together, in the order of who asked.
#[derive(Debug, Default)]
pub(super) struct WholeTables {
    asked: VecDeque<WholeTable>,
}

#[derive(Debug)]
struct WholeTable {
    asked: Asked,
    /// How many entries there were when it was asked for, in a field of the answer.
    total: Option<(&'static str, usize)>,
    frame: TableFrame,
    /// What is there is in `bytes` up to here.
    behind: TablePlace,
    bytes: Vec<u8>,
}

impl WholeTables {
    /// Whether there is more to do at once.
    pub(super) fn is_waiting(&self) -> bool {
        !self.asked.is_empty()
    }
}

impl Broker {
    /// Answers with the table of `place`, in this turn if it is small.
    pub(super) fn tell_whole_table(
        &mut self,
        asked: &Asked,
        behind: TablePlace,
        total: Option<(&'static str, usize)>,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        if self.whole_tables.asked.len() >= WHOLE_TABLES_MAX {
            return Err(busy());
        }
        let frame = match &behind {
            TablePlace::Topics(_) => {
                TableFrame::of_topics(&TopicTable { version: self.topics.version, ..TopicTable::default() })
            }
            TablePlace::Groups(_) => TableFrame::of_groups(&self.groups.frame()),
            TablePlace::Offsets(_) | TablePlace::Delays => TableFrame::of_offsets(&ConsumerOffsets {
                set_back: Some(self.offsets.set_back()),
                ..Default::default()
            }),
        };
        let bytes = frame.head().to_vec();
        self.whole_tables.asked.push_back(WholeTable { asked: *asked, total, frame, behind, bytes });
        if self.whole_tables.asked.len() == 1 {
            self.tell_whole_tables(out);
        }
        Ok(Handled::Done)
    }

    /// Puts some parts more together.
    pub(super) fn tell_whole_tables(&mut self, out: &mut Output) {
        for _ in 0..WHOLE_TABLE_PARTS_PER_TURN {
            let Some(mut table) = self.whole_tables.asked.pop_front() else { return };
            if self.clients.peer(table.asked.connection).is_none() {
                continue;
            }
            let (entries, next) = self.written_part(&table.behind);
            if !entries.is_empty() && table.bytes.len() > table.frame.head().len() {
                table.bytes.push(b',');
            }
            table.bytes.extend_from_slice(&entries);
            match next {
                Some(next) => {
                    table.behind = next;
                    self.whole_tables.asked.push_front(table);
                }
                None => self.end_whole_table(table, out),
            }
        }
    }

    fn end_whole_table(&self, mut table: WholeTable, out: &mut Output) {
        if out.outbox.is_full() {
            return self.refuse(&table.asked, &readers_behind(), out);
        }
        table.bytes.extend_from_slice(table.frame.tail());
        let total = table.total.map(|(field, total)| (field, ExtValue::I64(i64::try_from(total).unwrap_or(i64::MAX))));
        let ext: Vec<_> = total.into_iter().collect();
        let reply = Reply { code: ResponseCode::Success, remark: None, ext: &ext, body: &table.bytes };
        self.reply(&table.asked, &reply, out);
    }
}
