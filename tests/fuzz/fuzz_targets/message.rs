//! Properties, batches, ids and names of any bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_protocol::message::{
    MessageId, Properties, append_batched, append_property, check_group, check_topic, split_batch, without_property,
};

fuzz_target!(|bytes: &[u8]| {
    let properties = Properties::new(bytes);
    let count = properties.iter().count();
    let mut text = bytes.to_vec();
    append_property(&mut text, "k", "v");
    assert_eq!(Properties::new(&text).get("k"), Some("v"));
    assert_eq!(Properties::new(&text).iter().count(), count + 1);
    let mut left = Vec::new();
    without_property(&text, "k", &mut left);
    assert_eq!(Properties::new(&left).get("k"), None);

    if let Ok(messages) = split_batch(bytes).collect::<Result<Vec<_>, _>>() {
        let mut again = Vec::new();
        messages.iter().for_each(|message| append_batched(message, &mut again));
        assert_eq!(again.len(), bytes.len());
    }
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = (check_topic(text), check_group(text));
        if let Ok(id) = MessageId::decode(text) {
            assert_eq!(id.encode().as_str(), text.to_uppercase());
        }
    }
});
