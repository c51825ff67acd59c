//! What a master keeps of the newest changes of its tables for its slaves, and tells them: RINGMQ_TABLE_CHANGES 720003.
//!
//! The lines are those of the store's `changes-N`, kept from the first time that a slave asks. A slave that is further behind than they reach is told
//! the tables anew, in parts. See `letter::tables` for what a slave makes of it.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Asked, Broker, Handled, Output, Refusal};
use crate::limits::{SNAPSHOT_PART_ENTRIES, TABLE_CHANGES_BYTES_MAX, TABLE_CHANGES_PER_ANSWER_BYTES};
use crate::model::MasterLog;
use crate::protocol::body::{TableChange, TablePlace};
use crate::protocol::reply::{ExtValue, Reply};
use crate::protocol::request::{CHANGES_NEXT, CHANGES_SET_BACK, CHANGES_UNTIL, MASTER_REIGN, TableChangesRequest};

/// The newest changes, as lines.
#[derive(Debug, Default)]
pub(super) struct Trail {
    /// Whether a slave has asked in this life.
    is_asked: bool,
    /// The number of the first of `lines`: how many were there before.
    first: u64,
    lines: VecDeque<Bytes>,
    bytes: usize,
}

impl Trail {
    /// The lines of one append.
    pub(super) fn push(&mut self, lines: &[u8]) {
        if !self.is_asked || lines.is_empty() {
            return;
        }
        self.bytes += lines.len();
        self.lines.push_back(Bytes::copy_from_slice(lines));
        while self.bytes > TABLE_CHANGES_BYTES_MAX
            && let Some(oldest) = self.lines.pop_front()
        {
            self.bytes -= oldest.len();
            self.first += 1;
        }
    }

    fn end(&self) -> u64 {
        self.first.saturating_add(self.lines.len() as u64)
    }

    /// The lines since there were so many, as many as one answer has, and how many there are with them. `None` if that is not known.
    fn since(&self, number: u64) -> Option<(Vec<u8>, u64)> {
        if !self.is_asked || number > self.end() {
            return None;
        }
        let from = usize::try_from(number.checked_sub(self.first)?).ok()?;
        let (mut bytes, mut until) = (Vec::new(), number);
        for lines in self.lines.range(from..) {
            if !bytes.is_empty() && bytes.len() + lines.len() > TABLE_CHANGES_PER_ANSWER_BYTES {
                break;
            }
            bytes.extend_from_slice(lines);
            until += 1;
        }
        Some((bytes, until))
    }
}

impl Broker {
    /// RINGMQ_TABLE_CHANGES 720003.
    pub(super) fn table_changes(
        &mut self,
        asked: &Asked,
        request: &TableChangesRequest,
        out: &mut Output,
    ) -> Result<Handled, Refusal> {
        let reign = self.own_reign().and_then(MasterLog::text);
        let reign = reign.as_deref().map(|reign| (MASTER_REIGN, ExtValue::Str(reign)));
        if let Some(behind) = &request.behind {
            let (part, next) = self.table_part(behind);
            let next = next.or_else(|| behind.next_table()).map(|next| next.to_string());
            let mut body = Vec::new();
            part.encode(&mut body);
            let next = next.as_deref().map(|next| (CHANGES_NEXT, ExtValue::Str(next)));
            let ext: Vec<_> = reign.into_iter().chain(next).collect();
            self.reply(asked, &Reply { ext: &ext, ..Reply::body(&body) }, out);
            return Ok(Handled::Done);
        }
        let mut ext: Vec<_> = reign.into_iter().collect();
        match request.since.and_then(|since| self.trail.since(since)) {
            Some((body, until)) => {
                let until = until.to_string();
                ext.push((CHANGES_UNTIL, ExtValue::Str(&until)));
                self.reply(asked, &Reply { ext: &ext, ..Reply::body(&body) }, out);
            }
            None => {
                self.trail.is_asked = true;
                let (until, set_back) = (self.trail.end().to_string(), self.offsets.written_set_back().to_string());
                ext.extend([(CHANGES_UNTIL, ExtValue::Str(&until)), (CHANGES_SET_BACK, ExtValue::Str(&set_back))]);
                self.reply(asked, &Reply::fields(&ext), out);
            }
        }
        Ok(Handled::Done)
    }

    /// What comes behind a place in a table, and from where on there is more of it.
    fn table_part(&self, behind: &TablePlace) -> (TableChange, Option<TablePlace>) {
        match behind {
            TablePlace::Topics(name) => {
                let (part, next) = self.topics.part(name.as_ref(), SNAPSHOT_PART_ENTRIES);
                (TableChange::Topics(part, Vec::new()), next.map(|name| TablePlace::Topics(Some(name))))
            }
            TablePlace::Groups(name) => {
                let (part, next) = self.groups.part(name.as_ref(), SNAPSHOT_PART_ENTRIES);
                (TableChange::Groups(part, Vec::new()), next.map(|name| TablePlace::Groups(Some(name))))
            }
            TablePlace::Offsets(pair) => {
                let (part, next) = self.offsets.part(pair.as_ref(), SNAPSHOT_PART_ENTRIES);
                (TableChange::ConsumerOffsets(part, Vec::new()), next.map(|pair| TablePlace::Offsets(Some(pair))))
            }
            TablePlace::Delays => (TableChange::DelayOffsets(self.delays.form()), None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_further_behind_than_the_lines_reach_is_told_anew() {
        let mut trail = Trail::default();
        trail.push(b"before anybody asked\n");
        assert_eq!(trail.since(0), None);
        trail.is_asked = true;
        assert_eq!(trail.since(0), Some((Vec::new(), 0)));
        let line = vec![b'x'; TABLE_CHANGES_PER_ANSWER_BYTES / 2];
        for _ in 0..3 {
            trail.push(&line);
        }
        let (bytes, until) = trail.since(0).expect("they are all there");
        assert_eq!((bytes.len(), until), (2 * line.len(), 2), "one answer is bounded");
        assert_eq!(trail.since(2).map(|(bytes, until)| (bytes.len(), until)), Some((line.len(), 3)));
        assert_eq!((trail.since(3), trail.since(4)), (Some((Vec::new(), 3)), None));
        while trail.first == 0 {
            trail.push(&line);
        }
        assert_eq!((trail.since(0), trail.since(trail.first).is_some()), (None, true));
        assert!(trail.bytes <= TABLE_CHANGES_BYTES_MAX);
    }
}
