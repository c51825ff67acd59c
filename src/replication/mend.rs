//! Who is asked for what is damaged, and what is answered to those who ask: over the connections of replication, on which both ends have shown whose
//! log they have.
//!
//! State of the shard. [`MendLink`] is one connection's share, [`Mender`] decides who is asked next. One replica at a time is asked, for one piece; one
//! that has nothing to give is passed over until the next try. One that does not answer in time, or gives so little that what is mended is not whole in
//! time, is not asked for a while: others are, and what it may have is not lost. What is done with the bytes is the log's ([`crate::log`]).

use std::collections::{BTreeMap, BTreeSet};

use bytes::BytesMut;

use crate::limits::{MEND_ANSWER_MS, MEND_ONE_MS, MEND_SLOW_REST_MS, MEND_UNSOUND_MAX};
use crate::log::{BlockId, Log, Piece, PieceTaken, PieceWanted};
use crate::model::{LinkId, LogOffset, MonoNs};
use crate::protocol::ha::{Ask, MendMessage};

/// What came over a connection was not asked for there, or is asked before the last answer was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unasked;

/// One connection's share.
#[derive(Debug, Default)]
pub(super) struct MendLink {
    /// The other end has said that it can be asked.
    is_able: bool,
    /// What the other end asks, until it is answered, and the block of the disk that its answer waits for.
    theirs: Option<Ask>,
    blocked: Option<BlockId>,
    /// What it is asked, and whether that was said.
    ours: Option<(Ask, bool)>,
}

impl MendLink {
    /// The other end has said whether it can be asked.
    pub(super) fn note_able(&mut self, is_able: bool) {
        self.is_able = is_able;
    }

    /// Whether it can be asked at all.
    pub(super) fn is_able(&self) -> bool {
        self.is_able
    }

    /// Whether it can be asked now.
    pub(super) fn is_free(&self) -> bool {
        self.is_able && self.ours.is_none()
    }

    /// Whether an answer of the other end is awaited.
    pub(super) fn is_awaiting(&self) -> bool {
        self.ours.is_some_and(|(_, is_said)| is_said)
    }

    /// Takes what the other end says. Its answer, if it is one: the place, and the bytes.
    ///
    /// # Errors
    /// [`Unasked`].
    pub(super) fn hear<'a>(&mut self, message: MendMessage<'a>) -> Result<Option<(LogOffset, &'a [u8])>, Unasked> {
        match message {
            MendMessage::Ask(ask) => {
                if !self.is_able || self.theirs.replace(ask).is_some() {
                    return Err(Unasked);
                }
                self.blocked = None;
                Ok(None)
            }
            MendMessage::Piece { from, bytes } => {
                let (asked, _) = self.ours.take_if(|(_, is_said)| *is_said).ok_or(Unasked)?;
                if from == asked.from && bytes.len() <= asked.len { Ok(Some((from, bytes))) } else { Err(Unasked) }
            }
        }
    }

    /// It is to be asked.
    pub(super) fn ask(&mut self, ask: Ask) {
        assert!(self.is_free(), "{ask:?} is asked of one that was asked for {:?}", self.ours);
        self.ours = Some((ask, false));
    }

    /// Whether there is something to say.
    pub(super) fn is_due(&self) -> bool {
        matches!(self.ours, Some((_, false))) || (self.theirs.is_some() && self.blocked.is_none())
    }

    /// Appends one message, if there is one to say. A block of the disk without which it cannot answer; then [`MendLink::unblock`].
    pub(super) fn say(&mut self, log: &mut Log, buffer: &mut BytesMut) -> Option<BlockId> {
        if let Some((ask, is_said)) = self.ours.as_mut().filter(|(_, is_said)| !is_said) {
            *is_said = true;
            MendMessage::Ask(*ask).encode(buffer);
            return None;
        }
        let Ask { from, len } = self.theirs.filter(|_| self.blocked.is_none())?;
        let mut bytes = BytesMut::new();
        match log.piece(from, len, &mut bytes) {
            Piece::Bytes(_) | Piece::None => {}
            Piece::Cold(block) => {
                self.blocked = Some(block);
                return Some(block);
            }
        }
        self.theirs = None;
        MendMessage::Piece { from, bytes: &bytes }.encode(buffer);
        None
    }

    /// A block was read, or could not be.
    pub(super) fn unblock(&mut self, block: BlockId) {
        self.blocked = self.blocked.filter(|waited| *waited != block);
    }
}

/// Who is asked next, for the record that is being mended.
#[derive(Debug, Default)]
pub(super) struct Mender {
    /// What those below were asked about.
    record: Option<LogOffset>,
    /// Who is asked now, and since when.
    asked: Option<(LinkId, MonoNs)>,
    /// Who was asked last about the record, and since when it is.
    begun: Option<(LinkId, MonoNs)>,
    /// What has come of it. At most one piece.
    answer: Option<(LinkId, LogOffset, BytesMut)>,
    /// Who gave nothing.
    silent: BTreeSet<LinkId>,
    /// Whose bytes were unsound, and how often.
    unsound: BTreeMap<LinkId, u32>,
    /// Who took too long, and until when it is not asked, whatever the record.
    slow: BTreeMap<LinkId, MonoNs>,
    /// Who gave what was sound and did not fit in, of which it was said.
    unfit: BTreeSet<LinkId>,
    /// Who could be asked when that was looked at last.
    known: BTreeSet<LinkId>,
}

/// Somebody who can be asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct Askable {
    pub(super) link: LinkId,
    /// Nothing is awaited of it.
    pub(super) is_free: bool,
}

impl Mender {
    /// An answer has come.
    pub(super) fn note_answer(&mut self, link: LinkId, from: LogOffset, bytes: &[u8]) {
        if self.asked.is_some_and(|(asked, _)| asked == link) {
            self.answer = Some((link, from, BytesMut::from(bytes)));
        }
    }

    /// Whether one has come that the log was not given.
    pub(super) fn has_answer(&self) -> bool {
        self.answer.is_some()
    }

    /// Gives the log what has come, and says who is to be asked for what now. `is_lost` tells of a record, and from those whose bytes were unsound,
    /// whether nobody else can have it.
    pub(super) fn go_on(
        &mut self,
        now: MonoNs,
        peers: &[Askable],
        log: &mut Log,
        is_lost: impl Fn(LogOffset, &BTreeSet<LinkId>) -> bool,
    ) -> Option<(LinkId, Ask)> {
        self.look_around(peers, log);
        self.take_answer(log);
        if let Some((link, since)) = self.asked {
            let is_there = peers.iter().any(|peer| peer.link == link);
            if is_there && now.ms_since(since) < MEND_ANSWER_MS {
                return None;
            }
            self.give_up(link, now, log);
        }
        self.slow.retain(|_, until| now < *until);
        if peers.iter().all(|peer| self.slow.contains_key(&peer.link)) {
            return None;
        }
        let Some(PieceWanted { record, mut from, mut len }) = log.poll_mend(now) else {
            if !log.is_mending() {
                self.record = None;
                self.forget_tried();
            }
            return None;
        };
        if self.record.replace(record) != Some(record) {
            self.forget_tried();
        }
        if log.take_unfit()
            && let Some((link, _)) = self.begun
        {
            self.begun = None;
            self.silent.insert(link);
            if self.unfit.insert(link) {
                tracing::warn!(log_offset = %record, "a replica gave for what is damaged what is sound and does not fit between what lies around it, or is not what its queue says: nothing was written");
            }
        }
        if let Some((link, since)) = self.begun
            && now.ms_since(since) >= MEND_ONE_MS
        {
            // Each piece came in time, and yet it takes for ever.
            self.give_up(link, now, log);
            PieceWanted { from, len, .. } = log.poll_mend(now)?;
        }
        let is_tried = |link: &LinkId| {
            let is_unsound = self.unsound.get(link).is_some_and(|times| *times >= MEND_UNSOUND_MAX);
            is_unsound || self.silent.contains(link) || self.slow.contains_key(link)
        };
        if let Some(peer) = peers.iter().find(|peer| peer.is_free && !is_tried(&peer.link)) {
            self.asked = Some((peer.link, now));
            self.begun = self.begun.filter(|(link, _)| *link == peer.link).or(self.asked);
            return Some((peer.link, Ask { from, len }));
        }
        let lacking: BTreeSet<LinkId> =
            self.unsound.iter().filter(|(_, times)| **times >= MEND_UNSOUND_MAX).map(|(link, _)| *link).collect();
        log.rest_mend(now, is_lost(record, &lacking));
        self.record = None;
        self.forget_tried();
        None
    }

    /// It has not given what it was asked for in time, or has gone: it does not have it now.
    fn give_up(&mut self, link: LinkId, now: MonoNs, log: &mut Log) {
        (self.asked, self.begun) = (None, None);
        self.silent.insert(link);
        self.slow.insert(link, now.plus_ms(MEND_SLOW_REST_MS));
        log.restart_mend();
    }

    fn forget_tried(&mut self) {
        self.begun = None;
        self.silent.clear();
        self.unsound.clear();
    }

    /// Somebody new may have what others have not.
    fn look_around(&mut self, peers: &[Askable], log: &mut Log) {
        let is_known = |peer: &Askable| self.known.contains(&peer.link);
        if peers.len() == self.known.len() && peers.iter().all(is_known) {
            return;
        }
        if !peers.iter().all(is_known) {
            log.wake_mends();
        }
        self.known = peers.iter().map(|peer| peer.link).collect();
        self.silent.retain(|link| self.known.contains(link));
        self.unsound.retain(|link, _| self.known.contains(link));
        self.slow.retain(|link, _| self.known.contains(link));
        self.unfit.retain(|link| self.known.contains(link));
    }

    fn take_answer(&mut self, log: &mut Log) {
        let Some((link, from, bytes)) = self.answer.take() else { return };
        self.asked = None;
        if bytes.is_empty() {
            self.silent.insert(link);
            log.restart_mend();
        } else if log.take_piece(from, &bytes) == PieceTaken::Unsound {
            let times = self.unsound.entry(link).or_default();
            *times = times.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MEND_PIECE_BYTES;
    use crate::log::{HeapTail, LogSettings, MendWorld};

    fn log() -> Log {
        Log::create(LogSettings::default(), Box::new(HeapTail::new(64 * 1024)))
    }

    fn able() -> MendLink {
        let mut link = MendLink::default();
        link.note_able(true);
        link
    }

    #[test]
    fn one_ask_at_a_time_and_no_answer_to_what_was_not_asked() {
        let ask = Ask { from: LogOffset(4096), len: 100 };
        let piece = |from, len: usize| MendMessage::Piece { from: LogOffset(from), bytes: &[7; 101][..len] };
        let (mut link, mut said) = (able(), BytesMut::new());
        assert_eq!(link.hear(piece(4096, 100)), Err(Unasked));
        link.ask(ask);
        assert!(!link.is_free() && !link.is_awaiting() && link.is_due());
        assert_eq!(link.hear(piece(4096, 100)), Err(Unasked), "it was not said yet");
        assert_eq!(link.say(&mut log(), &mut said), None);
        assert_eq!(MendMessage::decode(&said), Ok(Some(MendMessage::Ask(ask))));
        assert!(link.is_awaiting() && !link.is_due());
        assert_eq!(link.hear(piece(4096, 100)), Ok(Some((LogOffset(4096), &[7; 100][..]))));
        for (from, len) in [(4095, 100), (4096, 101)] {
            link.ask(ask);
            link.say(&mut log(), &mut said);
            assert_eq!(link.hear(piece(from, len)), Err(Unasked), "{len} bytes from {from}");
        }
    }

    #[test]
    fn who_asks_is_answered_once_and_with_nothing_if_there_is_nothing() {
        let message = MendMessage::Ask(Ask { from: LogOffset(0), len: MEND_PIECE_BYTES });
        assert_eq!(MendLink::default().hear(message), Err(Unasked), "neither has said that it can be asked");
        let (mut link, mut said) = (able(), BytesMut::new());
        assert_eq!(link.hear(message), Ok(None));
        assert_eq!(link.hear(message), Err(Unasked), "before the first one is answered");
        assert!(link.is_due());
        assert_eq!(link.say(&mut log(), &mut said), None);
        assert_eq!(MendMessage::decode(&said), Ok(Some(MendMessage::Piece { from: LogOffset(0), bytes: b"" })));
        assert!(!link.is_due() && link.say(&mut log(), &mut said).is_none());
    }

    /// Two replicas of a log with a damaged record, of which the first one is asked first, and when.
    fn damaged() -> (MendWorld, Vec<u8>, Mender, [Askable; 2]) {
        let mut world = MendWorld::new();
        let before = world.first().to_vec();
        let third = world.place(3);
        world.flip(third.plus(700));
        world.prove(3);
        let mut numbers = 1_u64..;
        let mut peer = || Askable { link: LinkId(numbers.next().expect("there are more")), is_free: true };
        (world, before, Mender::default(), [peer(), peer()])
    }

    /// Whom the mender asks now, when the own bytes that it wants have come.
    fn asks(mender: &mut Mender, now: MonoNs, peers: &[Askable], world: &mut MendWorld) -> Option<(LinkId, Ask)> {
        let is_lost = |_, unsound: &BTreeSet<LinkId>| {
            assert!(unsound.is_empty(), "nobody has sent what is unsound");
            false
        };
        for _ in 0..5 {
            if let Some(asked) = mender.go_on(now, peers, &mut world.log, is_lost) {
                return Some(asked);
            }
            world.settle();
        }
        None
    }

    #[test]
    fn who_says_nothing_is_given_up_and_the_next_one_is_asked() {
        let (mut world, before, mut mender, peers) = damaged();
        let now = |ms| MonoNs(0).plus_ms(ms);
        let (first, _) = asks(&mut mender, now(0), &peers, &mut world).expect("somebody is asked");
        assert_eq!(first, peers[0].link);
        assert_eq!(asks(&mut mender, now(MEND_ANSWER_MS - 1), &peers, &mut world), None);
        let peers = [Askable { is_free: false, ..peers[0] }, peers[1]];
        let (mut asked, mut ms) = (asks(&mut mender, now(MEND_ANSWER_MS), &peers, &mut world), MEND_ANSWER_MS);
        while let Some((link, Ask { from, len })) = asked {
            assert_eq!(link, peers[1].link);
            let at = usize::try_from(from.0).expect("small");
            mender.note_answer(link, from, &before[at..at + len]);
            ms += 1;
            asked = asks(&mut mender, now(ms), &peers, &mut world);
        }
        assert!(world.first() == before, "it is mended from the other one");
        // It is free again, but the next record does not wait for it.
        let peers = peers.map(|peer| Askable { is_free: true, ..peer });
        let fifth = world.place(5);
        world.flip(fifth.plus(700));
        world.prove(5);
        let (link, _) = asks(&mut mender, now(ms + 1_000), &peers, &mut world).expect("somebody is asked");
        assert_eq!(link, peers[1].link);
    }

    #[test]
    fn who_gives_a_byte_at_a_time_is_given_up_as_well() {
        let (mut world, before, mut mender, peers) = damaged();
        let peers = &peers[..1];
        let mut now = MonoNs(0);
        let (mut dripped, mut asked) = (0, asks(&mut mender, now, peers, &mut world));
        while let Some((link, Ask { from, .. })) = asked {
            let at = usize::try_from(from.0).expect("small");
            mender.note_answer(link, from, &before[at..=at]);
            now = now.plus_ms(MEND_ANSWER_MS / 2);
            dripped += 1;
            asked = asks(&mut mender, now, peers, &mut world);
        }
        assert!((2..=MEND_ONE_MS.div_ceil(MEND_ANSWER_MS / 2)).contains(&dripped), "{dripped} bytes");
        let damage = world.log.damage();
        assert_eq!((damage.records, damage.lost), (1, 0), "who is slow may have it");
        assert_eq!(asks(&mut mender, now.plus_ms(MEND_SLOW_REST_MS - 1), peers, &mut world), None);
        assert!(asks(&mut mender, now.plus_ms(MEND_SLOW_REST_MS), peers, &mut world).is_some(), "it is asked again");
    }
}
