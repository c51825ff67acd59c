//! A controller's two files, as bytes: what was promised to the others must be there after any crash.
//!
//! `log` is appended to, frame by frame, and each is on the disk before a message about it leaves; it is replaced whole when it is made shorter.
//! `snapshot` is replaced whole. A frame of either:
//!
//! | bytes   | field    | meaning                                                      |
//! |---------|----------|--------------------------------------------------------------|
//! | 0..4    | checksum | CRC-32 of all behind it                                      |
//! | 4..8    | size     | bytes behind the number                                      |
//! | 8..16   | number   | of the frame in its file, from 0 on                          |
//! | 16..    | items    | each a kind of one byte and its fields                       |
//!
//! Items of the log: whose it is (group and number of the controller; in frame 0 alone), where it begins (index and term before its first entry; in
//! frame 0), a promise (term, vote, commit), an entry (term, index, data), which takes the place of all from its index on. The snapshot is one frame
//! with whose it is, and where it stands (index, term, data).
//!
//! What a crash leaves of the last frame is cut: nobody was told of it. Everything else that is unsound is damage, and refused.

use raft::eraftpb::{Entry, HardState};

use super::bytes::{ByteReader, Malformed, Put as _};
use super::message;
use crate::limits::FRAME_BYTES_MAX;

const OWNER: u8 = 1;
const BEGIN: u8 = 2;
const PROMISE: u8 = 3;
const ENTRY: u8 = 4;
const STATE: u8 = 5;

const HEAD_BYTES: usize = 16;

/// How far a frame's number may lie behind the last sound one, to be taken for a frame that was written later.
const NUMBER_JUMP_MAX: u64 = 1 << 24;

/// Whose files these are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// `controllerDLegerGroup`.
    pub(crate) group: String,
    /// The controller's number among its peers.
    pub(crate) member: u64,
}

/// Why files are not taken. One sentence each, behind the file's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PromiseError {
    /// A frame that is not the last one is unsound.
    #[error(
        "log is damaged at byte {at}: what was promised to other controllers is behind it; take the file from a backup of this moment, or move the folder away and start this controller with an id that the others do not know"
    )]
    Damaged {
        /// First byte of the frame.
        at: usize,
    },
    /// The first frame of the log, or the snapshot, is unsound.
    #[error(
        "{file} is damaged or of another version; take it from a backup of this moment, or move the folder away and start this controller with an id that the others do not know"
    )]
    Unreadable {
        /// `log` or `snapshot`.
        file: &'static str,
    },
    /// One file is there without the other, or they do not go together.
    #[error(
        "log does not go with snapshot: entries behind {snapshot} are missing before {log}; take both files from one moment"
    )]
    Gap {
        /// Where the snapshot stands.
        snapshot: u64,
        /// Where the log begins.
        log: u64,
    },
    /// There is a snapshot and no log.
    #[error("log is missing, and with it the votes of this controller; take both files from one moment")]
    LogMissing,
    /// They are another controller's.
    #[error("{file} belongs to controller n{} of group {}, not to n{} of {}; set controllerDLegerSelfId, controllerDLegerGroup or controllerStorePath right", .found.member.saturating_sub(1), .found.group, .expected.member.saturating_sub(1), .expected.group)]
    Foreign {
        /// `log` or `snapshot`.
        file: &'static str,
        /// Whose it is.
        found: Owner,
        /// Who opens it.
        expected: Owner,
    },
}

/// What a controller had when it was last seen.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Recovered {
    /// Index, term and bytes of the groups that the log goes on from.
    pub(super) state: Option<(u64, u64, Vec<u8>)>,
    /// Index and term before the first entry.
    pub(super) begin: (u64, u64),
    pub(super) entries: Vec<Entry>,
    pub(super) promise: HardState,
}

fn frame(number: u64, items: &[u8]) -> Vec<u8> {
    let mut rest = Vec::with_capacity(items.len() + HEAD_BYTES);
    rest.count(items.len());
    rest.u64(number);
    rest.extend_from_slice(items);
    let mut out = Vec::with_capacity(rest.len() + 4);
    out.u32(crc32fast::hash(&rest));
    out.extend_from_slice(&rest);
    out
}

/// The frame at the front: its number, its items and its size.
fn take_frame(bytes: &[u8]) -> Result<(u64, &[u8], usize), Malformed> {
    let mut input = ByteReader::new(bytes);
    let (checksum, size) = (input.u32()?, input.u32()? as usize);
    if size > 2 * FRAME_BYTES_MAX {
        return Err(Malformed);
    }
    let number = input.u64()?;
    let items = input.take(size)?;
    let all = HEAD_BYTES + size;
    let rest = bytes.get(4..all).ok_or(Malformed)?;
    if crc32fast::hash(rest) == checksum { Ok((number, items, all)) } else { Err(Malformed) }
}

fn put_owner(owner: &Owner, out: &mut Vec<u8>) {
    out.u8(OWNER);
    out.text(&owner.group);
    out.u64(owner.member);
}

fn put_promise(promise: &HardState, out: &mut Vec<u8>) {
    out.u8(PROMISE);
    out.u64(promise.term);
    out.u64(promise.vote);
    out.u64(promise.commit);
}

fn put_entries(entries: &[Entry], out: &mut Vec<u8>) {
    for entry in entries {
        out.u8(ENTRY);
        message::put_entry(entry, out);
    }
}

/// One more frame of the log.
pub(super) fn log_frame(number: u64, promise: &HardState, entries: &[Entry]) -> Vec<u8> {
    let mut items = Vec::new();
    put_promise(promise, &mut items);
    put_entries(entries, &mut items);
    frame(number, &items)
}

/// A log of its own, of one frame.
pub(super) fn whole_log(owner: &Owner, begin: (u64, u64), promise: &HardState, entries: &[Entry]) -> Vec<u8> {
    let mut items = Vec::new();
    put_owner(owner, &mut items);
    items.u8(BEGIN);
    items.u64(begin.0);
    items.u64(begin.1);
    put_promise(promise, &mut items);
    put_entries(entries, &mut items);
    frame(0, &items)
}

/// The snapshot's file.
pub(super) fn snapshot_file(owner: &Owner, index: u64, term: u64, state: &[u8]) -> Vec<u8> {
    let mut items = Vec::new();
    put_owner(owner, &mut items);
    items.u8(STATE);
    items.u64(index);
    items.u64(term);
    items.sized(state);
    frame(0, &items)
}

/// What the two files say; none of them: a new controller.
pub(super) fn recover(
    owner: &Owner,
    log: Option<&[u8]>,
    snapshot: Option<&[u8]>,
) -> Result<Option<Recovered>, PromiseError> {
    let state = snapshot.map(|bytes| read_snapshot(owner, bytes)).transpose()?;
    let mut recovered = match log {
        Some(log) => read_log(owner, log)?,
        None if state.is_some() => return Err(PromiseError::LogMissing),
        None => return Ok(None),
    };
    let (index, term) = state.as_ref().map_or((0, 0), |(index, term, _)| (*index, *term));
    if recovered.begin.0 > index {
        return Err(PromiseError::Gap { snapshot: index, log: recovered.begin.0 });
    }
    let at = usize::try_from(index.saturating_sub(recovered.begin.0)).unwrap_or(usize::MAX);
    let known = if at == 0 { Some(recovered.begin.1) } else { recovered.entries.get(at - 1).map(|entry| entry.term) };
    if known != Some(term) {
        // The snapshot came from another controller, and the log was to be replaced when the end came.
        (recovered.entries, recovered.begin) = (Vec::new(), (index, term));
    }
    let last = recovered.begin.0 + recovered.entries.len() as u64;
    let promise = &mut recovered.promise;
    promise.commit = promise.commit.min(last).max(index);
    promise.term = promise.term.max(term);
    recovered.state = state;
    Ok(Some(recovered))
}

fn read_snapshot(owner: &Owner, bytes: &[u8]) -> Result<(u64, u64, Vec<u8>), PromiseError> {
    let file = "snapshot";
    let unreadable = |Malformed| PromiseError::Unreadable { file };
    let (_, items, size) = take_frame(bytes).map_err(unreadable)?;
    let mut input = ByteReader::new(items);
    let found = (|| {
        let owner = take_owner(&mut input)?;
        let is_state = input.u8()? == STATE && size == bytes.len();
        let state = (input.u64()?, input.u64()?, input.sized()?.to_vec());
        if is_state { input.end((owner, state)) } else { Err(Malformed) }
    })();
    let (found, state) = found.map_err(unreadable)?;
    is_ours(owner, found, file)?;
    Ok(state)
}

fn take_owner(input: &mut ByteReader<'_>) -> Result<Owner, Malformed> {
    if input.u8()? != OWNER {
        return Err(Malformed);
    }
    Ok(Owner { group: input.text()?, member: input.u64()? })
}

fn is_ours(expected: &Owner, found: Owner, file: &'static str) -> Result<(), PromiseError> {
    if *expected == found { Ok(()) } else { Err(PromiseError::Foreign { file, found, expected: expected.clone() }) }
}

fn read_log(owner: &Owner, log: &[u8]) -> Result<Recovered, PromiseError> {
    let mut recovered = Recovered::default();
    let (mut at, mut number) = (0, 0);
    loop {
        let rest = log.get(at..).unwrap_or_default();
        match take_frame(rest) {
            Ok((found, items, size)) if found == number => {
                let is_first = number == 0;
                let mut input = ByteReader::new(items);
                if is_first {
                    let owner_found = take_owner(&mut input).map_err(|_| PromiseError::Unreadable { file: "log" })?;
                    is_ours(owner, owner_found, "log")?;
                }
                take_items(&mut input, &mut recovered).map_err(|Malformed| PromiseError::Damaged { at })?;
                at += size;
                number += 1;
            }
            // The first frame is written beside, and gets its name when it is whole.
            _ if number == 0 => return Err(PromiseError::Unreadable { file: "log" }),
            _ if rest.is_empty() || !has_frame_behind(rest, number) => return Ok(recovered),
            _ => return Err(PromiseError::Damaged { at }),
        }
    }
}

/// Whether a sound frame of a later number is somewhere in these bytes, the first of which begin an unsound one.
fn has_frame_behind(bytes: &[u8], number: u64) -> bool {
    let is_later = |at: usize| {
        let rest = bytes.get(at..).unwrap_or_default();
        let plausible = |found: u64| found > number && found < number.saturating_add(NUMBER_JUMP_MAX);
        let mut head = ByteReader::new(rest.get(8..).unwrap_or_default());
        head.u64().is_ok_and(plausible) && take_frame(rest).is_ok()
    };
    (1..bytes.len()).any(is_later)
}

fn take_items(input: &mut ByteReader<'_>, into: &mut Recovered) -> Result<(), Malformed> {
    while !input.is_empty() {
        match input.u8()? {
            BEGIN => into.begin = (input.u64()?, input.u64()?),
            PROMISE => {
                into.promise =
                    HardState { term: input.u64()?, vote: input.u64()?, commit: input.u64()?, ..HardState::default() };
            }
            ENTRY => {
                let entry = message::take_entry(input)?;
                let place = entry.index.checked_sub(into.begin.0).and_then(|place| place.checked_sub(1));
                let place = usize::try_from(place.ok_or(Malformed)?).map_err(|_| Malformed)?;
                if place > into.entries.len() {
                    return Err(Malformed);
                }
                into.entries.truncate(place);
                into.entries.push(entry);
            }
            _ => return Err(Malformed),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner { group: "g".to_owned(), member: 1 }
    }

    fn entry(term: u64, index: u64) -> Entry {
        Entry { term, index, data: vec![7; 10].into(), ..Entry::default() }
    }

    fn promise(term: u64, commit: u64) -> HardState {
        HardState { term, vote: 1, commit, ..HardState::default() }
    }

    fn log() -> (Vec<u8>, Vec<usize>) {
        let mut log = whole_log(&owner(), (0, 0), &promise(0, 0), &[]);
        let mut ends = vec![log.len()];
        for (number, entries) in [(1, vec![entry(1, 1), entry(1, 2)]), (2, vec![entry(1, 3)]), (3, vec![entry(2, 3)])] {
            log.extend(log_frame(number, &promise(2, 2), &entries));
            ends.push(log.len());
        }
        (log, ends)
    }

    fn terms(recovered: &Recovered) -> Vec<u64> {
        recovered.entries.iter().map(|entry| entry.term).collect()
    }

    #[test]
    fn a_later_entry_takes_the_place_of_those_from_its_index_on() {
        let (log, _) = log();
        let recovered = recover(&owner(), Some(&log), None).expect("sound").expect("there");
        assert_eq!(terms(&recovered), [1, 1, 2]);
        assert_eq!(recovered.promise.commit, 2);
    }

    #[test]
    fn a_torn_end_is_cut_and_damage_is_refused_by_its_place() {
        let (log, ends) = log();
        for end in ends[2]..ends[3] {
            let recovered = recover(&owner(), Some(&log[..end]), None).expect("a torn end").expect("there");
            assert_eq!(terms(&recovered), [1, 1, 1], "cut at {end}");
        }
        for at in ends[1]..ends[2] {
            let mut rotten = log.clone();
            rotten[at] ^= 1;
            let found = recover(&owner(), Some(&rotten), None);
            assert_eq!(found, Err(PromiseError::Damaged { at: ends[1] }), "byte {at}");
        }
        let mut rotten = log;
        rotten[3] ^= 1;
        assert_eq!(recover(&owner(), Some(&rotten), None), Err(PromiseError::Unreadable { file: "log" }));
    }

    #[test]
    fn files_of_another_controller_or_of_two_moments_are_refused() {
        let (log, _) = log();
        let other = Owner { member: 2, ..owner() };
        assert!(matches!(recover(&other, Some(&log), None), Err(PromiseError::Foreign { file: "log", .. })));
        let snapshot = snapshot_file(&owner(), 2, 1, b"state");
        assert_eq!(recover(&owner(), None, Some(&snapshot)), Err(PromiseError::LogMissing));
        assert_eq!(recover(&owner(), None, None), Ok(None));
        let late = whole_log(&owner(), (9, 1), &promise(2, 9), &[]);
        assert_eq!(recover(&owner(), Some(&late), Some(&snapshot)), Err(PromiseError::Gap { snapshot: 2, log: 9 }));
        let mut rotten = snapshot.clone();
        *rotten.last_mut().expect("it has bytes") ^= 1;
        assert_eq!(recover(&owner(), Some(&log), Some(&rotten)), Err(PromiseError::Unreadable { file: "snapshot" }));
        let recovered = recover(&owner(), Some(&log), Some(&snapshot)).expect("sound").expect("there");
        assert_eq!((terms(&recovered), recovered.begin), (vec![1, 1, 2], (0, 0)));
        // A snapshot that came from another controller just before the end.
        let newer = snapshot_file(&owner(), 7, 3, b"state");
        let recovered = recover(&owner(), Some(&log), Some(&newer)).expect("sound").expect("there");
        assert_eq!((terms(&recovered), recovered.begin, recovered.promise.commit), (vec![], (7, 3), 7));
    }
}
