//! A log of some length: what a restart and a slave that catches up need before anything is measured.

use std::time::Duration;

use serde::{Deserialize, Deserializer};

use crate::lab::error::LabError;
use crate::lab::probe;
use crate::lab::say;
use crate::lab::session::{Session, leave_alone};
use crate::lab::site::Site;
use crate::load::run::ratio;
use crate::load::settings::LoadArgs;

/// Bodies with which a log is filled: large, since only bytes count.
const BODY_BYTES: usize = 4096;
/// A log is filled in loads of this time.
const STEP: Duration = Duration::from_secs(5);
const MB: u64 = 1_000_000;
const GB: u64 = 1000 * MB;

impl Session {
    /// Sends until the log of a subject's first master holds so many bytes; of that nothing is kept.
    ///
    /// # Errors
    /// When the load does not begin, the subject is lost, or stores nothing.
    pub(super) fn fill(&self, site: &mut Site, load: &LoadArgs, bytes: u64) -> Result<(), LabError> {
        let master = site.place.targets[0];
        let load = LoadArgs {
            topic: load.topic.clone(),
            queues: load.queues,
            size: BODY_BYTES.to_string(),
            cpu: load.cpu,
            connections: site.place.targets.len().max(8),
            in_flight: Some(8),
            duration: STEP,
            warmup: Duration::ZERO,
            ..LoadArgs::default()
        };
        loop {
            let end = probe::log_end(master).map_err(LabError::Silent)?;
            if end >= bytes {
                return Ok(());
            }
            say(&format!("{} holds {:.1} of {:.1} GB", site.name, ratio(end, GB), ratio(bytes, GB)));
            let loaded = self.load(site, &load, "filling", &mut leave_alone)?;
            self.check_ending(site, &loaded.outcome)?;
            let tally = &loaded.outcome.tally;
            if tally.sent() + tally.below_promise().iter().sum::<u64>() == 0 {
                let reason = "it stores nothing".to_owned();
                return Err(LabError::CutShort { subject: site.name.clone(), reason });
            }
        }
    }
}

/// `5GB`, `200MB`.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no size: it takes a number with MB or GB, such as 5GB, from 1MB to 1000GB");
    let (number, unit) = match (text.strip_suffix("GB"), text.strip_suffix("MB")) {
        (Some(number), _) => (number, GB),
        (None, Some(number)) => (number, MB),
        (None, None) => return Err(wrong()),
    };
    let number: u64 = number.trim().parse().map_err(|_| wrong())?;
    number.checked_mul(unit).filter(|bytes| (MB..=1000 * GB).contains(bytes)).ok_or_else(wrong)
}

/// [`parse_bytes`] in a scenario.
pub(super) fn bytes<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
    parse_bytes(&String::deserialize(from)?).map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_a_unit() {
        assert_eq!((parse_bytes("5GB"), parse_bytes("20MB")), (Ok(5_000_000_000), Ok(20_000_000)));
        for wrong in ["5", "GB", "0MB", "1.5GB", "20000GB", "99999999999999999999GB"] {
            assert!(parse_bytes(wrong).is_err_and(|error| error.contains("5GB")), "{wrong}");
        }
    }
}
