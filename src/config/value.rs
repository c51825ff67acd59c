//! Text to the types that settings have, with a description of what was expected where the text does not fit.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::protocol::message::DelayLevels;

/// Reads one setting's value; the error says what a value must be.
pub(super) trait SettingValue: Sized {
    fn read(text: &str) -> Result<Self, String>;
}

impl SettingValue for bool {
    fn read(text: &str) -> Result<Self, String> {
        // Java takes everything but "true" as false; a typing error must not switch something off.
        match text.to_ascii_lowercase().as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err("true or false".to_owned()),
        }
    }
}

impl SettingValue for String {
    fn read(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl SettingValue for PathBuf {
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("the path of a folder or file".to_owned()) } else { Ok(PathBuf::from(text)) }
    }
}

impl SettingValue for Option<PathBuf> {
    fn read(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { PathBuf::read(text).map(Some) }
    }
}

impl SettingValue for Option<IpAddr> {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "" => Ok(None),
            "localhost" => Ok(Some(IpAddr::from([127, 0, 0, 1]))),
            // IPv4 in the clothes of IPv6 would be told to clients and stored as IPv6.
            _ => match text.parse::<IpAddr>() {
                Ok(ip) => Ok(Some(ip.to_canonical())),
                Err(_) => Err("an IP address such as 192.168.0.1".to_owned()),
            },
        }
    }
}

impl SettingValue for DelayLevels {
    fn read(text: &str) -> Result<Self, String> {
        DelayLevels::parse(text).map_err(|error| format!("delays such as 1s 10m 2h 1d: {error}"))
    }
}

/// Whether this is `host:port`.
pub(super) fn is_host_port(text: &str) -> bool {
    text.rsplit_once(':').is_some_and(|(host, port)| {
        !host.is_empty() && !host.contains(char::is_whitespace) && port.parse::<u16>().is_ok_and(|port| port > 0)
    })
}

/// `host:port` of name servers, separated by `;`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Addresses(pub(super) Vec<String>);

impl SettingValue for Addresses {
    fn read(text: &str) -> Result<Self, String> {
        let expected = "a list of HOST:PORT, separated by ;";
        let mut addresses: Vec<String> = Vec::new();
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            if !is_host_port(part) {
                return Err(expected.to_owned());
            }
            if !addresses.iter().any(|known| known == part) {
                addresses.push(part.to_owned());
            }
        }
        Ok(Addresses(addresses))
    }
}

/// Hours of the day, as RocketMQ's `deleteWhen` has them: one, or several with `;` between.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct HoursOfDay(u32);

impl HoursOfDay {
    /// Bit `h` is hour `h` of 0..24.
    #[must_use]
    pub(crate) fn bits(self) -> u32 {
        self.0
    }
}

impl fmt::Display for HoursOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hours: Vec<String> =
            (0..24).filter(|hour| self.0 & (1 << hour) != 0).map(|hour| format!("{hour:02}")).collect();
        f.write_str(&hours.join(";"))
    }
}

impl SettingValue for HoursOfDay {
    fn read(text: &str) -> Result<Self, String> {
        let expected = || "hours of the day from 00 to 23, with ; between".to_owned();
        let mut bits = 0;
        for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
            let hour: u32 = part.parse().ok().filter(|hour| *hour < 24).ok_or_else(expected)?;
            bits |= 1 << hour;
        }
        if bits == 0 { Err(expected()) } else { Ok(HoursOfDay(bits)) }
    }
}

/// Whole numbers, with optional bounds that the setting itself names.
macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl SettingValue for $type {
            fn read(text: &str) -> Result<Self, String> {
                text.parse().map_err(|_| format!("a whole number from {} to {}", <$type>::MIN, <$type>::MAX))
            }
        }
    )*};
}

whole_number!(u16, u32, u64);

/// A whole number within bounds.
pub(super) fn within<T>(text: &str, min: T, max: T, unit: &str) -> Result<T, String>
where
    T: std::str::FromStr + PartialOrd + std::fmt::Display + Copy,
{
    let expected = || format!("a whole number {unit}from {min} to {max}");
    let number: T = text.parse().map_err(|_| expected())?;
    if number < min || number > max { Err(expected()) } else { Ok(number) }
}

/// A whole number that is brought within bounds, where RocketMQ does so too.
pub(super) fn brought_within<T>(text: &str, min: T, max: T, unit: &str) -> Result<T, String>
where
    T: TryFrom<i64> + Ord + fmt::Display + Copy,
{
    let number: i64 = text.parse().map_err(|_| format!("a whole number {unit}(brought into {min} to {max})"))?;
    Ok(T::try_from(number).map_or(if number < 0 { min } else { max }, |number| number.clamp(min, max)))
}

/// A name that may stand in routes, topic names and receipt handles.
pub(super) fn name(text: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '%' | '|');
    if text.is_empty() || text.len() > NAME_BYTES_MAX || !text.chars().all(fits) {
        return Err(format!("a name of 1 to {NAME_BYTES_MAX} letters, digits, - _ . % or |"));
    }
    Ok(text.to_owned())
}

/// A broker's or cluster's name takes part in names of system topics, which end at 127 bytes.
const NAME_BYTES_MAX: usize = 90;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_are_read_as_rocketmq_writes_them() {
        let read = |text: &str| HoursOfDay::read(text).map(|hours| (hours.bits(), hours.to_string())).ok();
        let check = |text: &str, hours: &[u32], shown: &str| {
            let bits = hours.iter().map(|hour| 1 << hour).sum();
            assert_eq!(read(text), Some((bits, shown.to_owned())), "{text}");
        };
        check("04", &[4], "04");
        check("4", &[4], "04");
        check("04;16", &[4, 16], "04;16");
        check("16;04;", &[4, 16], "04;16");
        let all: Vec<u32> = (0..24).collect();
        let every: Vec<String> = all.iter().map(|hour| format!("{hour:02}")).collect();
        check(&every.join(";"), &all, &every.join(";"));
        for bad in ["", ";", "24", "-1", "four", "04,16", "04 16"] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }

    #[test]
    fn some_numbers_are_brought_within_their_bounds() {
        let read = |text| brought_within::<u8>(text, 10, 95, "");
        assert_eq!(
            [read("75"), read("98"), read("3"), read("-7"), read("1000")],
            [Ok(75), Ok(95), Ok(10), Ok(10), Ok(95)]
        );
        assert!(read("much").is_err());
    }

    #[test]
    fn ipv4_stays_ipv4() {
        let read = <Option<IpAddr>>::read;
        let localhost = Ok(Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(
            [read("127.0.0.1"), read("::ffff:127.0.0.1"), read("localhost")],
            [localhost.clone(), localhost.clone(), localhost]
        );
        assert_eq!(read("::1").map(|ip| ip.map(|ip| ip.is_ipv6())), Ok(Some(true)));
    }

    #[test]
    fn addresses_are_split_trimmed_and_unique() {
        let read = |text| Addresses::read(text).map(|a| a.0);
        assert_eq!(read("a:1; b:2;a:1;"), Ok(vec!["a:1".to_owned(), "b:2".to_owned()]));
        assert_eq!(read(""), Ok(vec![]));
        for bad in ["a", "a:", "a:0", ":1", "a:99999", "a b:1"] {
            assert_eq!(read(bad), Err("a list of HOST:PORT, separated by ;".to_owned()), "{bad}");
        }
    }
}
