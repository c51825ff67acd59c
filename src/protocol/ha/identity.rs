//! What ringmq nodes tell each other beside Apache's stream with epochs: whose bytes these are.
//!
//! A ringmq slave sets bit 1 of `from_last_segment` in its handshake, which an Apache master takes for 0 and answers as it always does. A ringmq
//! master answers with the identity of its log and of every reign, and awaits a statement before the first report:
//!
//! | bytes  | field     | meaning                                                                        |
//! |--------|-----------|--------------------------------------------------------------------------------|
//! | 0..4   | state     | `i32`, 0x524D0001                                                                |
//! | 4..8   | body size | `i32`, 20 for each of at most [`EPOCHS_MAX`] epochs                            |
//! | 8..16  | `end`     | `i64`, end of the master's log                                                 |
//! | 16..20 | `epoch`   | `i32`, its reign                                                               |
//! | 20..36 | `log`     | 128 bits; 0 is unknown                                                         |
//! | 36..40 | `promise` | `i32`, bits: 1: what it acknowledges is on stable storage; 2: it can be asked for bytes |
//! | then   | epochs    | each: number `i32`, log offset `i64` at which it began, identity of 64 bits    |
//!
//! The slave's statement, which it may repeat when it gives a connection up:
//!
//! | bytes  | field         | meaning                                                             |
//! |--------|---------------|---------------------------------------------------------------------|
//! | 0..4   | state         | `i32`, 0x524D0002                                                     |
//! | 4..8   | `verdict`     | `i32`, see [`LogVerdict`]; 256 more if it can be asked for bytes, which it says only to a master that can be |
//! | 8..24  | `log`         | 128 bits, that of its own log; 0 is unknown or none                 |
//! | 24..32 | `start`       | `i64`, where its log begins                                         |
//! | 32..40 | `end`         | `i64`, where it ends; the same as `start` if it is empty            |
//! | 40..44 | `epoch`       | `i32`, of its last byte                                             |
//! | 44..52 | `epoch_start` | `i64`, where that began                                             |
//! | 52..60 | `epoch_id`    | 64 bits; 0 is unknown                                               |
//! | 60..68 | `point`       | `i64`, what the verdict is about                                    |
//!
//! Reports and transfers are those of the stream with epochs; what is asked for is [`super::mend`]'s.

use bytes::BufMut;

use super::epoch::{STATE_LINEAGE, STATE_STATEMENT, is_state, to_epoch};
use super::{Cursor, HaError, offset, wire_size};
use crate::cursor::Ended;
use crate::limits::EPOCHS_MAX;
use crate::model::{Epoch, LogId, LogOffset, ReignId};

/// One reign: bytes from `start` on, until the next one's start, were appended under `epoch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochEntry {
    /// Its number.
    pub epoch: Epoch,
    /// Its first byte.
    pub start: LogOffset,
    /// Which reign it is, apart from its number.
    pub id: ReignId,
}

/// Bytes of a master's answer with identities, before its list.
pub(crate) const LINEAGE_BYTES: usize = 40;
/// Bytes of an epoch in that list.
pub(crate) const LINEAGE_ENTRY_BYTES: usize = 20;
/// Bytes of a slave's statement.
pub(crate) const STATEMENT_BYTES: usize = 68;

/// What a slave makes of its master's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogVerdict {
    /// 0: its log is empty, or this one up to its end: it follows.
    Follows,
    /// 1: another log: it keeps what it has.
    Stranger,
    /// 2: the same log, which leaves this one at `point`, below what was confirmed to the slave: it keeps what it has.
    Ahead,
    /// 3: the same log, which leaves this one at `point`, before the slave's begins.
    Hopeless,
    /// 4: what it was sent at `point` is no record of this log.
    Damaged,
}

/// Which log a slave has, and what it makes of its master's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Statement {
    /// What follows from the comparison.
    pub verdict: LogVerdict,
    pub log: LogId,
    /// Where that begins.
    pub start: LogOffset,
    /// Where it ends.
    pub end: LogOffset,
    /// The reign of its last byte; of an empty log, number 0 from 0.
    pub last: EpochEntry,
    /// What the verdict is about.
    pub point: LogOffset,
    /// Whether it can be asked for bytes of the log.
    pub can_be_asked: bool,
}

/// Added to a verdict by who can be asked for bytes.
const CAN_BE_ASKED: i32 = 256;
/// Bits of a master's promise.
const IS_DURABLE: i32 = 1;
const MASTER_CAN_BE_ASKED: i32 = 2;

const VERDICTS: [LogVerdict; 5] =
    [LogVerdict::Follows, LogVerdict::Stranger, LogVerdict::Ahead, LogVerdict::Hopeless, LogVerdict::Damaged];

impl Statement {
    /// Whether the slave has nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// As it is if its log is another; a refusal says why already.
    #[must_use]
    pub fn of_a_stranger(self) -> Statement {
        let verdict = if self.verdict == LogVerdict::Follows { LogVerdict::Stranger } else { self.verdict };
        Statement { verdict, ..self }
    }

    /// Puts the statement.
    pub fn encode(&self, out: &mut impl BufMut) {
        out.put_i32(STATE_STATEMENT);
        let place = VERDICTS.iter().position(|verdict| *verdict == self.verdict).unwrap_or_default();
        let asked = if self.can_be_asked { CAN_BE_ASKED } else { 0 };
        out.put_i32(i32::try_from(place).unwrap_or_default() | asked);
        out.put_u128(self.log.0);
        out.put_u64(self.start.0);
        out.put_u64(self.end.0);
        put_entry(&self.last, out);
        out.put_u64(self.point.0);
    }

    /// The statement at the front of `bytes`; `None` if more must come.
    ///
    /// # Errors
    /// `BadState`, `BadVerdict`, `Negative`.
    pub fn decode(bytes: &[u8]) -> Result<Option<Statement>, HaError> {
        let mut at = Cursor::new(bytes);
        if !is_state(&mut at, STATE_STATEMENT)? {
            return Ok(None);
        }
        let Ok(verdict) = at.i32() else { return Ok(None) };
        let can_be_asked = verdict & CAN_BE_ASKED != 0;
        let verdict = usize::try_from(verdict & !CAN_BE_ASKED).ok().and_then(|place| VERDICTS.get(place).copied());
        let verdict = verdict.ok_or(HaError::BadVerdict)?;
        let (Ok(log), Ok(start), Ok(end)) = (at.u128(), at.i64(), at.i64()) else { return Ok(None) };
        let Ok(last) = raw_entry(&mut at) else { return Ok(None) };
        let Ok(point) = at.i64() else { return Ok(None) };
        Ok(Some(Statement {
            verdict,
            log: LogId(log),
            start: offset("start of the log", start)?,
            end: offset("end of the log", end)?,
            last: entry(last)?,
            point: offset("point", point)?,
            can_be_asked,
        }))
    }
}

fn put_entry(entry: &EpochEntry, out: &mut impl BufMut) {
    out.put_u32(entry.epoch.0);
    out.put_u64(entry.start.0);
    out.put_u64(entry.id.0);
}

fn raw_entry(at: &mut Cursor<'_>) -> Result<(i32, i64, u64), Ended> {
    Ok((at.i32()?, at.i64()?, at.u64()?))
}

fn entry((epoch, start, id): (i32, i64, u64)) -> Result<EpochEntry, HaError> {
    Ok(EpochEntry { epoch: to_epoch(epoch)?, start: offset("start of an epoch", start)?, id: ReignId(id) })
}

/// What a master says of its log beside its end and its reigns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// Which it is.
    pub log: LogId,
    /// Whether what is acknowledged is on its stable storage: then no loss of power takes it.
    pub is_durable: bool,
    /// Whether it can be asked for bytes of its log. Older versions take one that can for one that is not durable, which is the careful way.
    pub can_be_asked: bool,
}

/// Puts a master's answer with identities; `epochs` are at most [`EPOCHS_MAX`], oldest first.
///
/// # Panics
/// If there are more.
pub fn encode_lineage(end: LogOffset, lineage: Lineage, epochs: &[EpochEntry], out: &mut impl BufMut) {
    assert!(epochs.len() <= EPOCHS_MAX, "{} epochs, {EPOCHS_MAX} at most", epochs.len());
    out.put_i32(STATE_LINEAGE);
    out.put_i32(wire_size(epochs.len().saturating_mul(LINEAGE_ENTRY_BYTES)));
    out.put_u64(end.0);
    out.put_u32(epochs.last().map_or(0, |last| last.epoch.0));
    out.put_u128(lineage.log.0);
    let is_durable = if lineage.is_durable { IS_DURABLE } else { 0 };
    out.put_i32(is_durable | if lineage.can_be_asked { MASTER_CAN_BE_ASKED } else { 0 });
    for entry in epochs {
        put_entry(entry, out);
    }
}

/// What is said of the log, and the reigns, behind the head of an answer, of which `end` and `epoch` were read.
pub(super) fn decode_lineage(at: &mut Cursor<'_>) -> Result<Option<(Lineage, Vec<EpochEntry>)>, HaError> {
    let (Ok(log), Ok(promise)) = (at.u128(), at.i32()) else { return Ok(None) };
    let mut epochs = Vec::with_capacity(at.left() / LINEAGE_ENTRY_BYTES);
    while let Ok(raw) = raw_entry(at) {
        epochs.push(entry(raw)?);
    }
    let (is_durable, can_be_asked) = (promise & IS_DURABLE != 0, promise & MASTER_CAN_BE_ASKED != 0);
    Ok(Some((Lineage { log: LogId(log), is_durable, can_be_asked }, epochs)))
}
