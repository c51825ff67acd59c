//! Points in time as operators write and read them. What names no zone is UTC.

use std::time::{SystemTime, UNIX_EPOCH};

const SECOND_MS: i64 = 1000;
const MINUTE_MS: i64 = 60 * SECOND_MS;
const HOUR_MS: i64 = 60 * MINUTE_MS;
const DAY_MS: i64 = 24 * HOUR_MS;

/// What [`parse`] reads, for `--help` and for who wrote something else.
pub(crate) const FORMS: &str = "now, -10m (before now: ms, s, m, h, d), 2026-11-30T12:00:00 (UTC; Z or +08:00 may follow), mqadmin's 2026-11-30#12:00:00:000 (UTC) or Unix milliseconds";

/// Unix ms of one of [`FORMS`]. A `+` before a length of time is after `now`.
pub(crate) fn parse(text: &str, now: i64) -> Option<i64> {
    if text == "now" {
        return Some(now);
    }
    if let Some(length) = text.strip_prefix('-') {
        return now.checked_sub(parse_length(length)?).filter(|time| *time >= 0);
    }
    if let Some(length) = text.strip_prefix('+') {
        return now.checked_add(parse_length(length)?);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    parse_date(text)
}

/// Milliseconds of `10m`; the unit is needed.
pub(crate) fn parse_length(text: &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = match unit {
        "ms" => 1,
        "s" => SECOND_MS,
        "m" => MINUTE_MS,
        "h" => HOUR_MS,
        "d" => DAY_MS,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit)
}

/// `2026-11-30`, with `T12:00`, `T12:00:00` or `T12:00:00.000` and a zone, or as mqadmin has it.
fn parse_date(text: &str) -> Option<i64> {
    let (text, zone_ms) = split_zone(text)?;
    let (date, time) = match text.split_once(['T', '#', ' ']) {
        Some((date, time)) => (date, time),
        None => (text, "00:00"),
    };
    let mut date = date.splitn(3, '-');
    let (year, month, day) = (part(&mut date, 4)?, part(&mut date, 2)?, part(&mut date, 2)?);
    let mut time = time.splitn(4, [':', '.']);
    let (hour, minute) = (part(&mut time, 2)?, part(&mut time, 2)?);
    let second = time.next().map_or(Some(0), |text| number(text, 2))?;
    let ms = time.next().map_or(Some(0), |text| number(text, 3))?;
    let is_time = hour < 24 && minute < 60 && second < 60;
    let days = days_since_epoch(year, month, day)?;
    let of_day = hour * HOUR_MS + minute * MINUTE_MS + second * SECOND_MS + ms;
    is_time.then(|| days * DAY_MS + of_day - zone_ms).filter(|time| *time >= 0)
}

/// The text before a zone, and how far that is ahead of UTC.
fn split_zone(text: &str) -> Option<(&str, i64)> {
    if let Some(text) = text.strip_suffix('Z') {
        return Some((text, 0));
    }
    let at = text.len().checked_sub("+00:00".len());
    let Some((before, zone)) = at.and_then(|at| text.split_at_checked(at)) else { return Some((text, 0)) };
    let sign = match zone.chars().next() {
        Some('+') => 1,
        // A date alone ends like a zone: 2026-11-30.
        Some('-') if before.contains(['T', '#', ' ']) => -1,
        _ => return Some((text, 0)),
    };
    let (hours, minutes) = zone.get(1..)?.split_once(':')?;
    Some((before, sign * (number(hours, 2)? * HOUR_MS + number(minutes, 2)? * MINUTE_MS)))
}

fn part<'t>(parts: &mut impl Iterator<Item = &'t str>, digits: usize) -> Option<i64> {
    number(parts.next()?, digits)
}

fn number(text: &str, digits: usize) -> Option<i64> {
    let is_number = text.len() == digits && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_number)
}

/// Days since 1970-01-01 of a day that exists. Years begin in March here, so that a leap day is their last.
fn days_since_epoch(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_of_month = match month {
        2 => 28 + i64::from(is_leap),
        4 | 6 | 9 | 11 => 30,
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days_of_month).contains(&day) {
        return None;
    }
    let (year, month) = if month <= 2 { (year - 1, month + 9) } else { (year, month - 3) };
    let of_year = (153 * month + 2) / 5 + day - 1;
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    Some(365 * year + leaps + of_year - DAYS_BEFORE_EPOCH)
}

/// From March of year 0 to 1970.
const DAYS_BEFORE_EPOCH: i64 = 719_468;

/// `2026-11-30T12:00:00.000Z`.
pub(crate) fn text(unix_ms: i64) -> String {
    let (days, of_day) = (unix_ms.div_euclid(DAY_MS), unix_ms.rem_euclid(DAY_MS));
    let (year, month, day) = date_of(days);
    let (hour, minute) = (of_day / HOUR_MS, of_day / MINUTE_MS % 60);
    let (second, ms) = (of_day / SECOND_MS % 60, of_day % SECOND_MS);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

fn date_of(days: i64) -> (i64, i64, i64) {
    const CYCLE: i64 = 146_097;
    let days = days + DAYS_BEFORE_EPOCH;
    let (cycle, of_cycle) = (days.div_euclid(CYCLE), days.rem_euclid(CYCLE));
    let year = (of_cycle - of_cycle / 1460 + of_cycle / 36_524 - of_cycle / 146_096) / 365;
    let of_year = of_cycle - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let year = year + cycle * 400;
    if month < 10 { (year, month + 3, day) } else { (year + 1, month - 9, day) }
}

#[expect(clippy::disallowed_methods, reason = "a tool, which says what is ago")]
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_796_040_000_000;

    #[test]
    fn a_time_is_read_in_every_form() {
        for (given, expected) in [
            ("now", Some(NOW)),
            ("-10m", Some(NOW - 600_000)),
            ("+2h", Some(NOW + 7_200_000)),
            ("-250ms", Some(NOW - 250)),
            ("12", Some(12)),
            ("2026-11-30T12:00:00", Some(NOW)),
            ("2026-11-30T12:00", Some(NOW)),
            ("2026-11-30 12:00:00.250Z", Some(NOW + 250)),
            ("2026-11-30T20:00:00+08:00", Some(NOW)),
            ("2026-11-30T07:00:00-05:00", Some(NOW)),
            ("2026-11-30#12:00:00:000", Some(NOW)),
            ("2026-11-30", Some(NOW - 43_200_000)),
            ("2024-02-29", Some(1_709_164_800_000)),
            ("1970-01-01", Some(0)),
        ] {
            assert_eq!(parse(given, NOW), expected, "{given}");
        }
        for wrong in [
            "",
            "-",
            "-10",
            "yesterday",
            "2025-02-29",
            "2026-13-01",
            "2026-11-30T25:00",
            "2026-11-30T",
            "1.5",
            "-99999999d",
        ] {
            assert_eq!(parse(wrong, NOW), None, "{wrong}");
        }
    }

    #[test]
    fn a_time_is_written_as_it_is_read() {
        assert_eq!(text(NOW), "2026-11-30T12:00:00.000Z");
        for day in (0..80_000).step_by(13) {
            let time = day * DAY_MS + 12_345;
            assert_eq!(parse(&text(time), NOW), Some(time), "{}", text(time));
        }
    }
}
