//! The handle by which a timer message is recalled: `v1 <topic> <brokerName> <time> <UNIQ_KEY>` in base64 for URLs. Source: RocketMQ
//! `RecallMessageHandle`.

use base64::Engine as _;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// As Java writes handles, and reads those that end in `=`.
const PADDED: GeneralPurpose = like_java(DecodePaddingMode::RequireCanonical);

/// As Java reads all others.
const BARE: GeneralPurpose = like_java(DecodePaddingMode::RequireNone);

/// Java does not look at the bits behind the last byte.
const fn like_java(padding: DecodePaddingMode) -> GeneralPurpose {
    let config = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true).with_decode_padding_mode(padding);
    GeneralPurpose::new(&URL_SAFE, config)
}

/// The only version that there is.
const VERSION: &str = "v1";

/// What a handle says. A client gives back what it got, or what it made up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecallHandle {
    /// The topic that the message is for.
    pub topic: String,
    /// The broker that has it.
    pub broker: String,
    /// A moment within the step for which it waits, Unix ms, as text.
    pub time: String,
    /// Its unique key.
    pub unique: String,
}

impl RecallHandle {
    /// The handle of a message that waits for `out_ms`.
    #[must_use]
    pub fn encode(topic: &str, broker: &str, out_ms: i64, unique: &str) -> String {
        // Java's clients have the step rounded down once more when they recall: the beginning of a step would be in the one before.
        PADDED.encode(format!("{VERSION} {topic} {broker} {} {unique}", out_ms.saturating_add(1)))
    }

    /// Reads one; `None` if it is none.
    #[must_use]
    pub fn decode(text: &str) -> Option<RecallHandle> {
        let bytes = decode_base64(text)?;
        let text = String::from_utf8_lossy(&bytes);
        let mut words = text.split(' ');
        if words.next() != Some(VERSION) {
            return None;
        }
        let mut word = || words.next().map(str::to_owned);
        let handle = RecallHandle { topic: word()?, broker: word()?, time: word()?, unique: word()? };
        // Java drops empty words at the end.
        (!handle.unique.is_empty() || words.any(|rest| !rest.is_empty())).then_some(handle)
    }
}

fn decode_base64(text: &str) -> Option<Vec<u8>> {
    let engine = if text.ends_with('=') { PADDED } else { BARE };
    engine.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(text: &str) -> Option<[String; 4]> {
        RecallHandle::decode(text).map(|handle| [handle.topic, handle.broker, handle.time, handle.unique])
    }

    #[test]
    fn a_handle_is_java_s() {
        let handle = RecallHandle::encode("T", "broker-a", 1_699_999_999_999, "7F0000010001");
        assert_eq!(handle, "djEgVCBicm9rZXItYSAxNzAwMDAwMDAwMDAwIDdGMDAwMDAxMDAwMQ==");
        let expected = Some(["T", "broker-a", "1700000000000", "7F0000010001"].map(str::to_owned));
        assert_eq!(decoded(&handle), expected);
        assert_eq!(decoded(handle.trim_end_matches('=')), expected);
    }

    #[test]
    fn base64_is_that_of_urls() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
            (&[0xFB, 0xFF, 0xBF], "-_-_"),
        ] {
            assert_eq!(PADDED.encode(bytes), text);
            assert_eq!(decode_base64(text).as_deref(), Some(bytes));
        }
        for odd in ["Z", "Zg=", "Zg===", "Zm8==", "Zm+v", "Zm/v", "Z g=", "Zm9vY", "="] {
            assert_eq!(decode_base64(odd), None, "{odd}");
        }
    }

    #[test]
    fn what_is_no_handle_is_refused() {
        for text in ["", "v2 T b 1 U", "v1 T b 1", "v1 T b 1 ", "v1", "T b 1 U"] {
            assert_eq!(decoded(&PADDED.encode(text)), None, "{text}");
        }
        assert!(decoded("no handle").is_none());
        let more = decoded(&PADDED.encode(b"v1 T b 1 U more")).expect("what follows counts for nothing");
        assert_eq!(more.last().map(String::as_str), Some("U"));
    }
}
