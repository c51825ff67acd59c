//! Messages of agreement as bytes. raft's own coding (protobuf 2) is not used for what comes from a network: it can be made to overflow the stack.
//!
//! All numbers are big-endian: a kind of one byte; `to`, `from`, `term`, `log_term`, `index`, `commit`, `commit_term`, `reject_hint` of 64 bits
//! each; `reject`; a priority of 64 bits; a context; entries, each a term, an index and data; and with a snapshot an index, a term, who votes, and data.

use raft::eraftpb::{ConfState, Entry, Message, MessageType, Snapshot, SnapshotMetadata};

use super::bytes::{ByteReader, Malformed, Put as _};

/// Kinds that go from one controller to another, by their number.
const KINDS: [MessageType; 9] = [
    MessageType::MsgAppend,
    MessageType::MsgAppendResponse,
    MessageType::MsgRequestVote,
    MessageType::MsgRequestVoteResponse,
    MessageType::MsgSnapshot,
    MessageType::MsgHeartbeat,
    MessageType::MsgHeartbeatResponse,
    MessageType::MsgRequestPreVote,
    MessageType::MsgRequestPreVoteResponse,
];

/// A message as bytes; none of a kind that no other controller is sent.
pub(super) fn encode(message: &Message) -> Option<Vec<u8>> {
    let kind = KINDS.iter().position(|kind| *kind == message.msg_type)?;
    let mut out = Vec::with_capacity(128);
    out.u8(u8::try_from(kind).expect("there are nine"));
    for number in [
        message.to,
        message.from,
        message.term,
        message.log_term,
        message.index,
        message.commit,
        message.commit_term,
        message.reject_hint,
    ] {
        out.u64(number);
    }
    out.boolean(message.reject);
    out.i64(message.priority);
    out.sized(&message.context);
    out.count(message.get_entries().len());
    for entry in message.get_entries() {
        put_entry(entry, &mut out);
    }
    if message.msg_type == MessageType::MsgSnapshot {
        let snapshot = message.get_snapshot();
        let metadata = snapshot.get_metadata();
        out.u64(metadata.index);
        out.u64(metadata.term);
        out.ids(&metadata.get_conf_state().voters.iter().copied().collect());
        out.sized(&snapshot.data);
    }
    Some(out)
}

/// Reads what [`encode`] wrote.
pub(super) fn decode(bytes: &[u8]) -> Result<Message, Malformed> {
    let mut input = ByteReader::new(bytes);
    let kind = KINDS.get(usize::from(input.u8()?)).copied().ok_or(Malformed)?;
    let mut message = Message { msg_type: kind, ..Message::default() };
    message.to = input.u64()?;
    message.from = input.u64()?;
    message.term = input.u64()?;
    message.log_term = input.u64()?;
    message.index = input.u64()?;
    message.commit = input.u64()?;
    message.commit_term = input.u64()?;
    message.reject_hint = input.u64()?;
    message.reject = input.boolean()?;
    message.priority = input.i64()?;
    message.context = input.sized()?.to_vec().into();
    let count = input.count()?;
    let entries: Vec<Entry> = (0..count).map(|_| take_entry(&mut input)).collect::<Result<_, _>>()?;
    message.set_entries(entries.into());
    if kind == MessageType::MsgSnapshot {
        let (index, term, voters) = (input.u64()?, input.u64()?, input.ids()?);
        message.set_snapshot(snapshot(index, term, voters.into_iter().collect(), input.sized()?.to_vec()));
    }
    input.end(message)
}

pub(super) fn put_entry(entry: &Entry, out: &mut Vec<u8>) {
    out.u64(entry.term);
    out.u64(entry.index);
    out.sized(&entry.data);
}

pub(super) fn take_entry(input: &mut ByteReader<'_>) -> Result<Entry, Malformed> {
    let mut entry = Entry { term: input.u64()?, index: input.u64()?, ..Entry::default() };
    entry.data = input.sized()?.to_vec().into();
    Ok(entry)
}

/// raft's form of a snapshot.
pub(super) fn snapshot(index: u64, term: u64, voters: Vec<u64>, data: Vec<u8>) -> Snapshot {
    let mut metadata = SnapshotMetadata { index, term, ..SnapshotMetadata::default() };
    metadata.set_conf_state(ConfState { voters, ..ConfState::default() });
    let mut snapshot = Snapshot { data: data.into(), ..Snapshot::default() };
    snapshot.set_metadata(metadata);
    snapshot
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn some_message(kind: MessageType, numbers: [u64; 8], data: Vec<u8>, has_entry: bool) -> Message {
        let mut message = Message { msg_type: kind, reject: has_entry, priority: -1, ..Message::default() };
        [message.to, message.from, message.term, message.log_term] = [numbers[0], numbers[1], numbers[2], numbers[3]];
        [message.index, message.commit, message.commit_term, message.reject_hint] =
            [numbers[4], numbers[5], numbers[6], numbers[7]];
        message.context = data.clone().into();
        if has_entry {
            let entry = Entry { term: numbers[0], index: numbers[1], data: data.clone().into(), ..Entry::default() };
            message.set_entries(vec![entry].into());
        }
        if kind == MessageType::MsgSnapshot {
            message.set_snapshot(snapshot(numbers[2], numbers[3], vec![1, 2, 3], data));
        }
        message
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            kind in 0_usize..9,
            numbers in proptest::array::uniform8(any::<u64>()),
            data in proptest::collection::vec(any::<u8>(), 0..40),
            has_entry in any::<bool>(),
        ) {
            let message = some_message(KINDS[kind], numbers, data, has_entry);
            let bytes = encode(&message).expect("it goes to others");
            prop_assert_eq!(decode(&bytes), Ok(message));
            prop_assert_eq!(decode(&bytes[..bytes.len() - 1]), Err(Malformed));
        }

        #[test]
        fn no_bytes_make_it_fail_otherwise_than_by_saying_so(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(&bytes).is_ok();
        }
    }

    #[test]
    fn what_only_raft_says_to_itself_is_not_sent() {
        assert_eq!(encode(&Message { msg_type: MessageType::MsgHup, ..Message::default() }), None);
    }
}
