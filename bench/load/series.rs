//! What is kept of a run beside its figures: a point a second, and the histograms themselves.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Serialize};

use crate::load::tally::Tally;

/// A text that is no histogram.
#[derive(Debug, thiserror::Error)]
#[error("a histogram does not unpack: {0}")]
pub struct Damaged(String);

/// One second of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Second {
    /// Seconds since the load began; the last moment of this one.
    pub at: u64,
    /// Whether it belongs to the warm-up.
    pub is_warmup: bool,
    /// Messages answered as stored in it.
    pub replies: u64,
    /// Messages refused or given up in it.
    pub failed: u64,
    /// Messages that consumers got in it.
    pub received: u64,
    /// Of the replies of this second, from the intended moment.
    pub mean_us: f64,
    /// The same.
    pub p50_us: f64,
    /// The same.
    pub p99_us: f64,
    /// The same.
    pub p99_9_us: f64,
    /// The same.
    pub max_us: f64,
    /// Of what consumers got in this second, from the intended moment.
    pub received_mean_us: f64,
    /// The same.
    pub received_max_us: f64,
    /// Messages sent and not yet answered at its end.
    pub outstanding: u64,
    /// Messages stored and not yet with every group at its end.
    pub backlog: u64,
    /// Resident memory of all broker processes at its end, MB; 0 if they are elsewhere.
    pub resident_mb: f64,
    /// Open descriptors of all broker processes at its end; 0 if they are elsewhere.
    pub descriptors: u64,
}

/// Histograms of nanoseconds, compressed (HdrHistogram V2, base64): what `.hlog` files hold.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Histograms {
    /// From the intended moment to the reply.
    pub reply: Packed,
    /// From the actual send to the reply: what hides a stall.
    pub from_send: Packed,
    /// From the intended moment to a consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_to_end: Option<Packed>,
}

impl Histograms {
    /// Of what was counted; `is_pulled` if messages were pulled back.
    pub fn of(tally: &Tally, is_pulled: bool) -> Self {
        Self {
            reply: Packed::of(tally.latency()),
            from_send: Packed::of(tally.from_send()),
            end_to_end: is_pulled.then(|| Packed::of(tally.end_to_end())),
        }
    }
}

/// A histogram as text.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Packed(String);

impl Packed {
    /// Packs a histogram.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new()
            .serialize(histogram, &mut bytes)
            .expect("a histogram of ours fits the format, and memory takes it");
        Self(BASE64.encode(bytes))
    }

    /// Unpacks it.
    ///
    /// # Errors
    /// When the text was not made by [`Packed::of`].
    pub fn unpack(&self) -> Result<Histogram<u64>, Damaged> {
        let bytes = BASE64.decode(&self.0).map_err(|error| Damaged(error.to_string()))?;
        let mut rest = bytes.as_slice();
        Deserializer::new().deserialize(&mut rest).map_err(|error| Damaged(error.to_string()))
    }

    /// The text itself, as a line of an `.hlog` has it.
    pub fn text(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_comes_back_whole_and_a_damaged_one_is_refused() {
        let mut histogram = Histogram::new_with_bounds(100, 60_000_000_000, 3).expect("bounds");
        for value in 1..100_000u64 {
            histogram.saturating_record(value * 977);
        }
        let packed = Packed::of(&histogram);
        assert_eq!(packed.unpack().expect("whole"), histogram);
        assert!(Packed(packed.text()[..40].to_owned()).unpack().is_err());
        assert!(Packed("???".to_owned()).unpack().is_err());
    }
}
