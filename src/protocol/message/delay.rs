//! Delay levels: how long a message with the property `DELAY` waits, and where it is stored meanwhile.
//!
//! Such a message lies in queue `level - 1` of [`SCHEDULE_TOPIC`] until its time has come. Source: RocketMQ `ScheduleMessageService`,
//! `MessageStoreConfig.messageDelayLevel`.

use std::fmt;

use crate::limits::DELAY_LEVELS_MAX;
use crate::model::QueueId;
use crate::reply::shown;

/// The topic in which delayed messages wait. No client sends to it.
pub const SCHEDULE_TOPIC: &str = "SCHEDULE_TOPIC_XXXX";

/// RocketMQ's 18 levels.
const DELAY_LEVELS_DEFAULT: &str = "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h";

/// Longest delay of a level: a hundred years. Nothing that is added to a time of day overflows then.
const DELAY_MS_MAX: u64 = 100 * 366 * 86_400_000;

/// Units of a delay and their milliseconds, the largest first.
const UNITS: [(char, u64); 4] = [('d', 86_400_000), ('h', 3_600_000), ('m', 60_000), ('s', 1_000)];

/// How long each level waits: `messageDelayLevel`. Level 1 is the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DelayLevels {
    delays_ms: [u64; DELAY_LEVELS_MAX],
    count: usize,
}

/// Why a text names no delay levels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DelayLevelsError {
    /// Not a number and a unit, or too long.
    #[error("`{}` is no delay: a whole number and one of the units s, m, h, d, a hundred years at most", shown(.level))]
    BadDelay {
        /// What was found between two spaces.
        level: String,
    },
    /// None, or too many.
    #[error("{count} delay levels: there may be 1 to {DELAY_LEVELS_MAX}")]
    BadCount {
        /// How many there are.
        count: usize,
    },
}

impl DelayLevels {
    /// Reads delays with a space between each two: `1s 5s 10s 1m 2h 1d`.
    ///
    /// # Errors
    /// [`DelayLevelsError`]. RocketMQ starts with half a table then, and loses what is delayed beyond it.
    pub fn parse(text: &str) -> Result<DelayLevels, DelayLevelsError> {
        let mut delays_ms = [0; DELAY_LEVELS_MAX];
        let count = text.split_ascii_whitespace().count();
        if count == 0 || count > DELAY_LEVELS_MAX {
            return Err(DelayLevelsError::BadCount { count });
        }
        for (place, level) in delays_ms.iter_mut().zip(text.split_ascii_whitespace()) {
            *place = delay_ms(level).ok_or_else(|| DelayLevelsError::BadDelay { level: level.to_owned() })?;
        }
        Ok(DelayLevels { delays_ms, count })
    }

    /// The highest level, at least 1.
    #[must_use]
    pub fn highest(&self) -> i32 {
        i32::try_from(self.count).unwrap_or(i32::MAX)
    }

    /// The level that a message gets that asks for this one: at most the highest. `None` if it is not delayed.
    #[must_use]
    pub fn clamp(&self, level: i32) -> Option<i32> {
        (level > 0).then(|| level.min(self.highest()))
    }

    /// How long a level waits, in milliseconds. A level that does not exist waits a second, as RocketMQ has it.
    #[must_use]
    pub fn delay_ms(&self, level: i32) -> u64 {
        let index = usize::try_from(level).ok().and_then(|level| level.checked_sub(1)).filter(|&at| at < self.count);
        index.and_then(|index| self.delays_ms.get(index)).copied().unwrap_or(1_000)
    }

    /// When a message of [`SCHEDULE_TOPIC`] is due that asks for this level and was stored then, Unix ms. `None` if it is not delayed.
    #[must_use]
    pub fn due(&self, level: i32, store_timestamp: i64) -> Option<i64> {
        let delay_ms = self.delay_ms(self.clamp(level)?);
        Some(store_timestamp.saturating_add(i64::try_from(delay_ms).unwrap_or(i64::MAX)))
    }
}

impl Default for DelayLevels {
    fn default() -> DelayLevels {
        DelayLevels::parse(DELAY_LEVELS_DEFAULT).expect("RocketMQ's own levels")
    }
}

impl fmt::Display for DelayLevels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, delay_ms) in self.delays_ms.iter().take(self.count).enumerate() {
            let fits = |unit_ms: &&(char, u64)| *delay_ms >= unit_ms.1 && delay_ms.is_multiple_of(unit_ms.1);
            let (unit, unit_ms) = UNITS.iter().find(fits).copied().unwrap_or(('s', 1_000));
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{}{unit}", delay_ms.checked_div(unit_ms).unwrap_or_default())?;
        }
        Ok(())
    }
}

/// The queue of [`SCHEDULE_TOPIC`] in which a level waits.
#[must_use]
pub fn queue_of_level(level: i32) -> QueueId {
    QueueId(u32::try_from(level.saturating_sub(1)).unwrap_or_default())
}

fn delay_ms(text: &str) -> Option<u64> {
    let unit = text.chars().next_back()?;
    let number = text.strip_suffix(unit)?;
    let (_, unit_ms) = UNITS.iter().find(|(name, _)| *name == unit).copied()?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = if is_number { number.parse().ok()? } else { return None };
    number.checked_mul(unit_ms).filter(|&delay| delay <= DELAY_MS_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_as_rocketmq_writes_them() {
        let levels = DelayLevels::default();
        assert_eq!(levels.highest(), 18);
        assert_eq!((levels.delay_ms(1), levels.delay_ms(5), levels.delay_ms(18)), (1_000, 60_000, 7_200_000));
        assert_eq!((levels.delay_ms(0), levels.delay_ms(19), levels.delay_ms(-3)), (1_000, 1_000, 1_000));
        let days = DelayLevels::parse("  0s   3d ").unwrap();
        assert_eq!((days.highest(), days.delay_ms(1), days.delay_ms(2)), (2, 0, 259_200_000));
        assert_eq!((levels.to_string(), days.to_string()), (DELAY_LEVELS_DEFAULT.to_owned(), "0s 3d".to_owned()));
    }

    #[test]
    fn a_level_beyond_the_highest_is_the_highest() {
        let levels = DelayLevels::parse("1s 10s").unwrap();
        assert_eq!(
            [levels.clamp(-1), levels.clamp(0), levels.clamp(2), levels.clamp(99)],
            [None, None, Some(2), Some(2)]
        );
        assert_eq!((levels.due(0, 5), levels.due(1, 5), levels.due(99, 5)), (None, Some(1_005), Some(10_005)));
        assert_eq!(levels.due(1, i64::MAX), Some(i64::MAX));
        assert_eq!((queue_of_level(1), queue_of_level(18)), (QueueId(0), QueueId(17)));
    }

    #[test]
    fn what_is_no_table_of_delays_is_refused_by_name() {
        let check =
            |text: &str, expected: &str| assert_eq!(DelayLevels::parse(text).unwrap_err().to_string(), expected);
        let bad = |level: &str| {
            format!("`{level}` is no delay: a whole number and one of the units s, m, h, d, a hundred years at most")
        };
        for level in ["5", "s", "5x", "-1s", "+1s", "1.5s", "1S", "1sm", "99999999999999999999s", "36601d", "\u{e4}"] {
            check(&format!("1s {level} 2s"), &bad(level));
        }
        check("", "0 delay levels: there may be 1 to 64");
        check(&"1s ".repeat(65), "65 delay levels: there may be 1 to 64");
    }
}
