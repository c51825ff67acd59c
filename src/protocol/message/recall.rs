//! The handle by which a timer message is recalled: `v1 <topic> <brokerName> <time> <UNIQ_KEY>` in base64 for URLs. Source: RocketMQ
//! `RecallMessageHandle`.

/// The only version that there is.
const VERSION: &str = "v1";

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

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
        encode_base64(format!("{VERSION} {topic} {broker} {} {unique}", out_ms.saturating_add(1)).as_bytes())
    }

    /// Reads one; `None` if it is none.
    #[must_use]
    pub fn decode(text: &str) -> Option<RecallHandle> {
        let bytes = decode_base64(text.as_bytes())?;
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

fn encode_base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for three in bytes.chunks(3) {
        let mut bits = 0_u32;
        for nth in 0..3 {
            bits = bits << 8 | u32::from(three.get(nth).copied().unwrap_or_default());
        }
        for (nth, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let index = bits >> shift & 63;
            let letter = ALPHABET.get(index as usize).copied().unwrap_or_default();
            text.push(if nth > three.len() { '=' } else { char::from(letter) });
        }
    }
    text
}

/// With or without the `=` at the end, as Java reads it.
fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let end = text.iter().rposition(|letter| *letter != b'=').map_or(0, |last| last.saturating_add(1));
    let (letters, padding) = text.split_at_checked(end)?;
    if !padding.is_empty() && (padding.len() > 2 || !text.len().is_multiple_of(4)) {
        return None;
    }
    let mut bytes = Vec::with_capacity(letters.len());
    for four in letters.chunks(4) {
        let mut bits = 0_u32;
        for letter in four {
            let index = ALPHABET.iter().position(|known| known == letter)?;
            bits = bits << 6 | u32::try_from(index).ok()?;
        }
        let [first, second, third, _] = match four.len() {
            4 => bits << 8,
            3 => bits << 14,
            2 => bits << 20,
            _ => return None,
        }
        .to_be_bytes();
        bytes.extend_from_slice([first, second, third].get(..four.len().saturating_sub(1))?);
    }
    Some(bytes)
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
            assert_eq!(encode_base64(bytes), text);
            assert_eq!(decode_base64(text.as_bytes()).as_deref(), Some(bytes));
        }
        for odd in ["Z", "Zg=", "Zg===", "Zm8==", "Zm+v", "Zm/v", "Z g=", "Zm9vY", "="] {
            assert_eq!(decode_base64(odd.as_bytes()), None, "{odd}");
        }
    }

    #[test]
    fn what_is_no_handle_is_refused() {
        for text in ["", "v2 T b 1 U", "v1 T b 1", "v1 T b 1 ", "v1", "T b 1 U"] {
            assert_eq!(decoded(&encode_base64(text.as_bytes())), None, "{text}");
        }
        assert!(decoded("no handle").is_none());
        let more = decoded(&encode_base64(b"v1 T b 1 U more")).expect("what follows counts for nothing");
        assert_eq!(more.last().map(String::as_str), Some("U"));
    }
}
