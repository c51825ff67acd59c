use super::*;
use crate::log::commit_log::tests::draft;
use crate::log::{FlushPolicy, HeapTail, LogSettings, QueueIndex, Read, ReadLimits};
use crate::model::{Now, QueueId, QueueOffset};
use crate::protocol::record::encode_filler;

/// A log of two closed segments with its files, and as much as the ring has behind them.
pub(crate) struct World {
    pub(crate) log: Log,
    files: BTreeMap<FileName, Vec<u8>>,
    queue: QueueIndex,
    /// Blocks of the first segment that cannot be read, by their beginning, until they are written.
    unreadable: BTreeSet<u64>,
    /// Not then either.
    stays_bad: bool,
    now: Now,
}

impl World {
    pub(crate) fn new() -> World {
        World::with(|_| 3_000)
    }

    /// A log of one closed segment of so many bytes, and what follows.
    fn large(segment_bytes: u32) -> World {
        World::filled(segment_bytes, u64::from(segment_bytes) / 3_000 + 40, |_| 3_000)
    }

    /// The same with messages that are so long.
    fn with(len: impl Fn(u64) -> usize) -> World {
        World::filled(64 * 1024, 60, len)
    }

    fn filled(segment_bytes: u32, messages: u64, len: impl Fn(u64) -> usize) -> World {
        let settings = LogSettings {
            segment_bytes: u64::from(segment_bytes),
            cache_bytes: 1024 * 1024,
            queue_block_entries: 4,
            key_run_entries: 16,
            index_file_bytes: 128 * 1024,
            flush: FlushPolicy::Sync,
            ..LogSettings::default()
        };
        let mut log = Log::create(settings, Box::new(HeapTail::new(32 * 1024)));
        let queue = log.queue("T", QueueId(0));
        let (unreadable, now) = (BTreeSet::new(), Now::default());
        let mut world = World { log, files: BTreeMap::new(), queue, unreadable, stays_bad: false, now };
        for number in 0..messages {
            world.settle();
            world.log.append(queue, &draft(&vec![number.to_le_bytes()[0]; len(number)])).expect("there is room");
        }
        world.settle();
        world
    }

    fn file(&mut self, name: FileName) -> &mut Vec<u8> {
        self.files.entry(name).or_default()
    }

    /// Carries out what is asked, reads ahead of need included.
    pub(crate) fn settle(&mut self) {
        loop {
            if let Some(io) = self.log.poll_background(self.now) {
                match io.work {
                    Work::Prepare { file, size, .. } => {
                        self.file(file).resize(usize::try_from(size).expect("small"), 0);
                    }
                    Work::Rename { from, to } => {
                        let moved = self.files.remove(&from).expect("it was made");
                        self.files.insert(to, moved);
                    }
                    Work::Write { file, at, data, .. } | Work::Mend { file, at, data, .. } => {
                        if file == FileName::Segment(LogOffset(0)) && !self.stays_bad {
                            let end = at + data.len() as u64;
                            self.unreadable.retain(|block| !(at..end).contains(block));
                        }
                        let at = usize::try_from(at).expect("small");
                        let content = self.file(file);
                        content.resize(content.len().max(at + data.len()), 0);
                        content[at..at + data.len()].copy_from_slice(&data);
                    }
                    Work::Replace { file, data } => *self.file(file) = data.to_vec(),
                    Work::Remove { file } => drop(self.files.remove(&file)),
                }
                self.log.handle_io(io.id, Ok(()));
            } else if let Some(commit) = self.log.poll_commit() {
                let mut bytes = vec![0; commit.len];
                self.log.copy_tail(commit.from, &mut bytes);
                let at = usize::try_from(commit.at).expect("small");
                self.file(commit.segment)[at..at + commit.len].copy_from_slice(&bytes);
                self.log.handle_io(commit.id, Ok(()));
            } else {
                let wanted = self.log.prefetch();
                if wanted.is_empty() {
                    return;
                }
                wanted.into_iter().for_each(|block| self.bring(block));
            }
            self.log.check_invariants();
        }
    }

    fn bring(&mut self, block: BlockId) {
        let at = usize::try_from(block.at).expect("small");
        let data = Bytes::copy_from_slice(&self.files[&block.file][at..at + block.len as usize]);
        let is_bad = block.file == FileName::Segment(LogOffset(0))
            && self.unreadable.range(block.at..block.at + u64::from(block.len)).next().is_some();
        self.log.supply(block, if is_bad { Err(IoError::Failed { errno: 5 }) } else { Ok(data) });
    }

    pub(crate) fn place(&mut self, number: u64) -> LogOffset {
        loop {
            match self.log.place(self.queue, QueueOffset(number)) {
                Ok(place) => return place.expect("it was stored"),
                Err(block) => self.bring(block),
            }
        }
    }

    /// A reader meets a damaged message.
    pub(crate) fn prove(&mut self, number: u64) {
        assert!(matches!(self.read(number), Read::Damaged { .. }), "message {number} is not damaged");
    }

    fn read(&mut self, number: u64) -> Read {
        let limits = ReadLimits { messages_max: 1, bytes_max: 10_000, entries_max: 1 };
        loop {
            let mut out = BytesMut::new();
            match self.log.read(self.queue, QueueOffset(number), &limits, &|_| true, &mut out) {
                Read::Cold(block) => self.bring(block),
                read => return read,
            }
        }
    }

    /// Bytes of the first segment, as they were written.
    pub(crate) fn first(&self) -> &[u8] {
        &self.files[&FileName::Segment(LogOffset(0))]
    }

    pub(crate) fn flip(&mut self, at: LogOffset) {
        self.file(FileName::Segment(LogOffset(0)))[usize::try_from(at.0).expect("small")] ^= 0x10;
    }

    /// Answers what is wanted from `theirs`, which begin at `begin`. How often.
    fn feed(&mut self, theirs: &[u8], now: MonoNs) -> Vec<(u64, PieceTaken)> {
        let mut fed = Vec::new();
        self.log.poll_mend(now);
        self.settle();
        while let Some(PieceWanted { record, from, len }) = self.log.poll_mend(now) {
            assert!(from >= record && len > 0 && len <= MEND_PIECE_BYTES && fed.len() < 200, "{record} {from} {len}");
            let at = usize::try_from(from.0).expect("small");
            let taken = self.log.take_piece(from, &theirs[at..(at + len).min(theirs.len())]);
            fed.push((record.0, taken));
            if taken == PieceTaken::Unsound || self.log.damage.mends.is_unfit {
                break;
            }
            self.log.poll_mend(now);
            self.settle();
        }
        fed
    }
}

const NOW: MonoNs = MonoNs(0);

#[test]
fn a_damaged_record_and_those_behind_it_are_mended_and_nothing_else_is_written() {
    let mut world = World::new();
    let before = world.first().to_vec();
    let (third, fourth) = (world.place(3), world.place(4));
    world.flip(third.plus(700));
    world.flip(fourth.plus(20));
    assert!(matches!(world.read(3), Read::Damaged { at, .. } if at == third));
    assert_eq!(world.log.damage().records, 1, "nobody has read the other one");
    let fed = world.feed(&before, NOW);
    assert!(fed.iter().all(|(_, taken)| *taken == PieceTaken::Sound), "{fed:?}");
    let records: BTreeSet<u64> = fed.iter().map(|(record, _)| *record).collect();
    assert_eq!(records, BTreeSet::from([third.0]), "both at once");
    assert!(world.first() == before, "the segment is as it was written");
    let damage = world.log.damage();
    assert_eq!((damage.records, damage.mended, damage.lost), (0, 2, 0));
    for number in 2..6 {
        assert!(matches!(world.read(number), Read::Found { .. }), "{number}");
    }
}

#[test]
fn what_proves_no_place_or_no_crc_is_not_written() {
    let mut world = World::new();
    let before = world.first().to_vec();
    let (third, fourth) = (world.place(3), world.place(4));
    world.flip(third.plus(700));
    assert!(matches!(world.read(3), Read::Damaged { .. }));
    let harmed = world.first().to_vec();
    // A sound record of the same log, which lies elsewhere; one with a bit that has changed; and nothing at all.
    let (from, to) = (usize::try_from(third.0).expect("small"), usize::try_from(fourth.0).expect("small"));
    let mut elsewhere = before.clone();
    elsewhere.copy_within(to.., from);
    let mut changed = before.clone();
    changed[from + 1_000] ^= 1;
    for theirs in [elsewhere, changed, vec![0; before.len()]] {
        let fed = world.feed(&theirs, NOW);
        assert_eq!(fed.last().map(|(_, taken)| *taken), Some(PieceTaken::Unsound), "{fed:?}");
        world.settle();
        assert!(world.first() == harmed, "what is not proven was written");
    }
    world.log.restart_mend();
    world.feed(&before, NOW);
    assert!(world.first() == before);
}

/// A misdirected write, or a replica that lies: the rest of the segment was taken for what lies behind a filler.
#[test]
fn a_filler_amid_a_segment_is_damage_and_is_not_taken_from_a_replica() {
    let mut world = World::new();
    let before = world.first().to_vec();
    let third = world.place(3);
    let filler = encode_filler(third, u32::try_from(64 * 1024 - third.0).expect("small"));
    let at = usize::try_from(third.0).expect("small");
    let mut hidden = before.clone();
    hidden[at..at + filler.len()].copy_from_slice(&filler);
    *world.file(FileName::Segment(LogOffset(0))) = hidden.clone();
    assert!(matches!(world.read(3), Read::Damaged { .. }));
    let fed = world.feed(&hidden, NOW);
    assert_eq!(fed, [(third.0, PieceTaken::Unsound)]);
    assert!(world.first() == hidden, "nothing is written");
    world.log.restart_mend();
    world.feed(&before, NOW);
    assert!(world.first() == before);
}

#[test]
fn what_somebody_waits_for_comes_first_and_what_rests_keeps_nothing_from_it() {
    let (at, end) = (|number: u64| LogOffset(10 * number), LogOffset(1_000));
    let proven: BTreeSet<LogOffset> = (1..=5).map(at).collect();
    let blocks = BTreeSet::new();
    let next = |mends: &mut Mends, end, now| mends.next(Known { records: &proven, blocks: &blocks }, end, now);
    let record = |number| MendPlace::record(at(number));
    let mut mends = Mends::default();
    let rest = |mends: &mut Mends, number, until| {
        mends.rests.insert(MendPlace::record(at(number)), Rest { until: MonoNs(until), tries: 1 });
        mends.wake();
    };
    rest(&mut mends, 1, 50);
    rest(&mut mends, 2, 40);
    assert_eq!(next(&mut mends, end, MonoNs(60)), Some(record(3)), "it was not tried yet");
    mends.note_wanted(record(5));
    assert_eq!(next(&mut mends, end, MonoNs(60)), Some(record(5)));
    assert_eq!(next(&mut mends, end, MonoNs(60)), Some(record(3)), "one reader is one turn");
    for (number, until) in [(3, 90), (4, 80), (5, 70)] {
        rest(&mut mends, number, until);
    }
    assert_eq!(next(&mut mends, end, MonoNs(60)), Some(record(2)), "it has rested longest");
    mends.note_wanted(record(5));
    assert_eq!(next(&mut mends, end, MonoNs(30)), None, "also what is wanted rests");
    assert_eq!(mends.quiet_until, MonoNs(40));
    assert_eq!(next(&mut mends, LogOffset(5), MonoNs(60)), None);
    assert_eq!(next(&mut mends, end, MonoNs(60)), Some(record(2)), "the log is safe there by now");
    mends.lost.insert(at(4));
    mends.note_wanted(record(4));
    assert_eq!(mends.wanted, None, "nobody waits for what is lost");
}

#[test]
fn what_nobody_has_rests_longer_each_time_and_is_lost_only_until_somebody_has_it() {
    let mut world = World::new();
    let before = world.first().to_vec();
    let third = world.place(3);
    world.flip(third.plus(700));
    assert!(matches!(world.read(3), Read::Damaged { .. }));
    let mut now = NOW;
    for rest_ms in [MEND_REST_MS_MIN, 2 * MEND_REST_MS_MIN] {
        world.log.poll_mend(now);
        world.settle();
        assert!(world.log.poll_mend(now).is_some());
        world.log.rest_mend(now, rest_ms > MEND_REST_MS_MIN);
        assert_eq!(world.log.poll_mend(now.plus_ms(rest_ms - 1)), None);
        assert!(world.log.prefetch().is_empty(), "it is not even looked at");
        now = now.plus_ms(rest_ms);
    }
    assert!(world.log.is_lost(third) && world.log.damage().lost == 1);
    world.log.wake_mends();
    world.feed(&before, now);
    assert!(!world.log.is_lost(third) && world.first() == before);
    assert_eq!((world.log.damage().lost, world.log.damage().mended), (0, 1));
}

#[test]
fn a_replica_is_given_what_consumers_may_see_and_nothing_beyond() {
    let mut world = World::new();
    let before = world.first().to_vec();
    let end = world.log.appended();
    let mut piece = |from: u64, len: usize| loop {
        let mut out = BytesMut::new();
        match world.log.piece(LogOffset(from), len, &mut out) {
            Piece::Cold(block) => world.bring(block),
            Piece::Bytes(bytes) => {
                assert_eq!(bytes, out.len());
                return out.to_vec();
            }
            Piece::None => return Vec::new(),
        }
    };
    assert_eq!(piece(100, 5_000), before[100..5_100]);
    assert_eq!(piece(64 * 1024 - 10, 5_000).len(), 10, "to the end of the segment");
    assert_eq!(piece(end.0 - 10, 5_000).len(), 10, "to the end of the log");
    assert!(piece(end.0, 1).is_empty() && piece(u64::MAX, 1).is_empty());
}

/// Who answers with a record that is sound, says that it lies here, and is longer than what lay here would take what is behind it along.
#[test]
fn a_record_that_would_hide_its_neighbours_is_not_written() {
    for other in [6_500, 6_000, 2_000] {
        let mut world = World::new();
        let before = world.first().to_vec();
        let mut forger = World::with(|number| if number == 3 { other } else { 3_000 });
        let third = world.place(3);
        assert_eq!(forger.place(3), third);
        let forged = forger.first().to_vec();
        world.flip(third.plus(700));
        world.prove(3);
        let harmed = world.first().to_vec();
        world.feed(&forged, NOW);
        assert!(world.log.take_unfit() && !world.log.take_unfit(), "{other}");
        world.settle();
        assert!(world.first() == harmed, "a record of {other} bytes was written");
        world.feed(&before, NOW);
        assert!(world.first() == before && world.log.damage().records == 0, "{other}");
    }
}

impl World {
    /// Some disk blocks of the first segment are lost, and a reader tries to read a message of it more than once.
    fn lose_blocks(&mut self, blocks: &[u64], number: u64) {
        for block in blocks {
            let at = usize::try_from(block * BLOCK).expect("small");
            self.file(FileName::Segment(LogOffset(0)))[at..at + DISK_BLOCK_BYTES].fill(0xEE);
            self.unreadable.insert(block * BLOCK);
        }
        for _ in 0..6 {
            assert!(matches!(self.read(number), Read::Failed), "an error moves no reader");
            self.now.mono = self.now.mono.plus_ms(10_000);
            self.settle();
        }
        assert!(self.log.has_to_mend() && self.log.damage().records == 0);
    }
}

#[test]
fn what_cannot_be_read_is_written_anew_from_a_replica() {
    // In one message, over several, one after the other within one, the first of the segment, and the last, with the filler.
    for (blocks, number) in [(&[3][..], 4), (&[3, 4, 5], 5), (&[3, 5], 4), (&[0], 0), (&[15], 20)] {
        let mut world = World::new();
        let mut before = world.first().to_vec();
        world.lose_blocks(blocks, number);
        let fed = world.feed(&before, world.now.mono);
        assert!(!fed.is_empty() && fed.iter().all(|(_, taken)| *taken == PieceTaken::Sound), "{blocks:?}: {fed:?}");
        for _ in 0..blocks.len() {
            world.feed(&before, world.now.mono);
        }
        let mut mended = world.first().to_vec();
        if blocks == [15] {
            // What lies behind a filler has no meaning.
            let filler =
                world.log.segments.find(LogOffset(0)).and_then(|segment| segment.filler).expect("it is closed");
            let end = usize::try_from(filler.0).expect("small") + FILLER_BYTES;
            before.truncate(end);
            mended.truncate(end);
        }
        assert!(mended == before, "{blocks:?}");
        assert!(world.unreadable.is_empty(), "{blocks:?}");
        let damage = world.log.damage();
        assert_eq!((damage.records, damage.unreadable, damage.lost), (0, 0, 0), "{blocks:?}");
        assert!(matches!(world.read(number), Read::Found { .. }), "{blocks:?}");
    }
}

#[test]
fn what_cannot_be_read_after_it_was_written_rests_and_is_never_lost() {
    let mut world = World::new();
    let before = world.first().to_vec();
    world.stays_bad = true;
    world.lose_blocks(&[3], 4);
    let now = world.now.mono;
    world.feed(&before, now);
    assert!(world.first() == before, "it was written");
    assert_eq!(world.log.damage().unreadable, 1);
    assert_eq!(world.log.poll_mend(now.plus_ms(MEND_REST_MS_MIN - 1)), None);
    assert!(!world.log.is_mending(), "it rests");
    // Nor if a replica has said that it is damaged there as well.
    let now = now.plus_ms(MEND_REST_MS_MIN);
    world.log.poll_mend(now);
    world.settle();
    assert!(world.log.poll_mend(now).is_some());
    world.log.rest_mend(now, true);
    assert_eq!(world.log.damage().lost, 0);
    assert!(matches!(world.read(4), Read::Failed));
}

/// The scrub, or a reader, has found the first message of it.
#[test]
fn most_of_a_segment_is_mended_in_its_time_and_not_at_once() {
    const SEGMENT_BYTES: u32 = 4 * 1024 * 1024;
    let mut world = World::large(SEGMENT_BYTES);
    let before = world.first().to_vec();
    let (third, end) = (world.place(3), SEGMENT_BYTES as usize - 5_000);
    let from = usize::try_from(third.0).expect("small");
    world.file(FileName::Segment(LogOffset(0)))[from..end].fill(0);
    world.prove(3);
    let mut ms = 0_u64;
    while world.log.has_to_mend() || world.log.is_mending() {
        let fed = world.feed(&before, world.now.mono);
        assert!(fed.iter().all(|(_, taken)| *taken == PieceTaken::Sound), "{fed:?}");
        assert!(ms > 0 || world.log.has_to_mend() || world.log.is_mending(), "all of it at once");
        ms += MEND_BURST_MS;
        assert!(ms < 5_000, "{:?}", world.log.damage());
        world.now.mono = world.now.mono.plus_ms(MEND_BURST_MS);
        world.settle();
    }
    assert!(world.first() == before);
    let damage = world.log.damage();
    assert!((damage.records, damage.lost) == (0, 0) && damage.mended > 1_000, "{damage:?}");
    // Each of its bytes is read, fetched and written.
    assert!(ms >= 3 * u64::from(SEGMENT_BYTES) * 1000 / MEND_BYTES_PER_SECOND, "{ms} ms");
}
