//! How a slave comes by its master's tables: all of them in parts at first, then what has changed, so that neither side ever does more than a moment's
//! work for it.
//!
//! ```text
//! slave's control plane                          master (RINGMQ_TABLE_CHANGES 720003)
//!   (nothing known)               ──────▶   changes are kept from now on; they are at 7, offsets were set back last by 3/ab..
//!   behind=topics                 ──────▶   512 topics; next=topics NAME
//!   behind=topics NAME ...        ──────▶   ... the last delay offsets, and no next
//!   since=7                       ──────▶   the lines of `changes-N` since then; they are at 9
//!   since=9                       ──────▶   none
//!   since=9, long after           ──────▶   too many since then: as at first
//! ```
//!
//! Parts are taken while the tables change: what one missed is in the changes since 7, and what it has already is said again, which changes nothing.

use std::collections::BTreeMap;

use crate::limits::SNAPSHOT_PART_ENTRIES;
use crate::protocol::body::{
    ConsumerOffsets, GroupTable, SetBack, TableChange, TablePlace, TopicTable, decode_changes,
};
use crate::protocol::request::{CHANGES_BEHIND, CHANGES_NEXT, CHANGES_SET_BACK, CHANGES_SINCE, CHANGES_UNTIL};

/// From time to time the shard is told that the master still answers.
const FOLLOWED_EVERY: u32 = 20;

/// Of the tables of a slave's master.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "one a letter, taken apart where it comes")]
pub enum MasterTables {
    /// All that one of them has in a range.
    Part {
        /// The range begins behind this.
        behind: TablePlace,
        /// And ends with this; `None`: with its table.
        until: Option<TablePlace>,
        /// What is there.
        part: TableChange,
    },
    /// All parts were told. As of the first one, this change made offsets less last.
    Whole(Option<SetBack>),
    /// What has changed, in order.
    Changes(Vec<TableChange>),
    /// Nothing has for a while, and the master is there.
    Followed,
}

/// What follows from an answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct TableAnswer {
    /// For the shard, in order.
    pub(crate) letters: Vec<MasterTables>,
    /// Whether the next request is to follow at once.
    pub(crate) goes_on: bool,
}

/// Asks one master for its tables. A plain value: whoever has the connection sends [`TableFollower::request`] and gives the answer to
/// [`TableFollower::answered`].
#[derive(Debug, Default)]
pub(crate) struct TableFollower {
    /// What is known: all changes before this one.
    since: Option<u64>,
    /// All is being told, from here on, and then what has changed since.
    telling: Option<(TablePlace, u64, Option<SetBack>)>,
    unchanged: u32,
}

impl TableFollower {
    /// Fields of the next request.
    #[must_use]
    pub(crate) fn request(&self) -> Vec<(&'static str, String)> {
        match (&self.telling, self.since) {
            (Some((behind, ..)), _) => vec![(CHANGES_BEHIND, behind.to_string())],
            (None, Some(since)) => vec![(CHANGES_SINCE, since.to_string())],
            (None, None) => Vec::new(),
        }
    }

    /// An answer, by its fields and its body.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn answered<'a>(
        &mut self,
        field: impl Fn(&str) -> Option<&'a str>,
        body: &[u8],
    ) -> Result<TableAnswer, String> {
        // No crash has cut what came in one frame.
        let (changes, _) = decode_changes(body, body.len() as u64).map_err(|error| error.to_string())?;
        if let Some((behind, at, set_back)) = self.telling.take() {
            let Ok([part]) = <[TableChange; 1]>::try_from(changes) else {
                return Err(format!("the part behind {behind} is not one line"));
            };
            let next = field(CHANGES_NEXT).and_then(TablePlace::parse);
            let until = next.clone().filter(|next| next.is_in_table_of(&behind));
            if until.as_ref() == Some(&behind) {
                return Err(format!("the part behind {behind} does not end"));
            }
            let next = next.or_else(|| behind.next_table());
            let mut letters = vec![MasterTables::Part { behind, until, part }];
            match next {
                Some(next) => self.telling = Some((next, at, set_back)),
                None => {
                    self.since = Some(at);
                    letters.push(MasterTables::Whole(set_back));
                }
            }
            return Ok(TableAnswer { letters, goes_on: true });
        }
        let until = field(CHANGES_UNTIL).and_then(|text| text.parse().ok());
        let until: u64 = until.ok_or("it does not say how many changes there are")?;
        if let Some(set_back) = field(CHANGES_SET_BACK) {
            self.telling = Some((TablePlace::FIRST, until, SetBack::parse(set_back)));
            return Ok(TableAnswer { letters: Vec::new(), goes_on: true });
        }
        let is_new = self.since != Some(until);
        self.since = Some(until);
        self.unchanged = if is_new { 0 } else { self.unchanged.wrapping_add(1) };
        let letters = if is_new {
            vec![MasterTables::Changes(changes)]
        } else if self.unchanged.is_multiple_of(FOLLOWED_EVERY) {
            vec![MasterTables::Followed]
        } else {
            Vec::new()
        };
        Ok(TableAnswer { letters, goes_on: is_new })
    }
}

/// A whole table in parts, as a shard takes it, a moment's work each.
pub(crate) fn parts_of_topics(table: TopicTable) -> Vec<MasterTables> {
    let version = table.version;
    let parts = chunks(table.topics, |_| 1, |name| TablePlace::Topics(Some(name)));
    in_order(TablePlace::FIRST, parts, |topics| TableChange::Topics(TopicTable { version, topics }, Vec::new()))
}

/// See [`parts_of_topics`].
pub(crate) fn parts_of_groups(table: GroupTable) -> Vec<MasterTables> {
    let GroupTable { version, groups, mut forbidden, mut modes } = table;
    let parts = chunks(groups, |_| 1, |name| TablePlace::Groups(Some(name)));
    in_order(TablePlace::Groups(None), parts, |groups: BTreeMap<_, _>| {
        let forbidden = groups.keys().filter_map(|name| forbidden.remove_entry(name)).collect();
        let modes = groups.keys().filter_map(|name| modes.remove_entry(name)).collect();
        TableChange::Groups(GroupTable { version, groups, forbidden, modes }, Vec::new())
    })
}

/// See [`parts_of_topics`].
pub(crate) fn parts_of_offsets(table: ConsumerOffsets) -> Vec<MasterTables> {
    let (version, set_back) = (table.version, table.set_back);
    let by_group: BTreeMap<_, _> =
        table.offsets.into_iter().map(|((topic, group), queues)| ((group, topic), queues)).collect();
    let parts = chunks(by_group, BTreeMap::len, |pair| TablePlace::Offsets(Some(pair)));
    let mut letters = in_order(TablePlace::Offsets(None), parts, |offsets| {
        let offsets = offsets.into_iter().map(|((group, topic), queues)| ((topic, group), queues)).collect();
        let part = ConsumerOffsets { version, offsets, set_back, ..ConsumerOffsets::default() };
        TableChange::ConsumerOffsets(part, Vec::new())
    });
    letters.push(MasterTables::Whole(set_back));
    letters
}

/// Entries some at a time, each time with the place behind them. `weigh` says for how many an entry counts.
fn chunks<K: Ord + Clone, V>(
    entries: BTreeMap<K, V>,
    weigh: impl Fn(&V) -> usize,
    place: impl Fn(K) -> TablePlace,
) -> Vec<(BTreeMap<K, V>, TablePlace)> {
    let (mut chunks, mut chunk, mut weight) = (Vec::new(), BTreeMap::new(), 0_usize);
    for (key, value) in entries {
        weight += weigh(&value);
        let end = (weight >= SNAPSHOT_PART_ENTRIES).then(|| place(key.clone()));
        chunk.insert(key, value);
        if let Some(end) = end {
            chunks.push((std::mem::take(&mut chunk), end));
            weight = 0;
        }
    }
    if let Some(last) = chunk.last_key_value().map(|(key, _)| place(key.clone())) {
        chunks.push((chunk, last));
    }
    chunks
}

/// Letters for parts that follow one another; the last one goes to the end of the table, as does the only one of an empty table.
fn in_order<E: Default>(
    first: TablePlace,
    parts: Vec<(E, TablePlace)>,
    mut change: impl FnMut(E) -> TableChange,
) -> Vec<MasterTables> {
    let (mut letters, mut behind, count) = (Vec::new(), first, parts.len());
    if parts.is_empty() {
        return vec![MasterTables::Part { behind, until: None, part: change(E::default()) }];
    }
    for (at, (entries, end)) in parts.into_iter().enumerate() {
        let until = (at + 1 < count).then(|| end.clone());
        letters.push(MasterTables::Part { behind, until, part: change(entries) });
        behind = end;
    }
    letters
}
