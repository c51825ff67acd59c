//! Settings of any text: a file, and what a request wants to change online.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq::config::properties::{parse, set};
use ringmq::config::{NamesrvConfig, NodeConfig, NodeKind};
use ringmq_protocol::message::DelayLevels;
use ringmq_protocol::placement::Placement;

fuzz_target!(|text: &str| {
    let _ = (NodeConfig::read(NodeKind::All, "file", text, None), NamesrvConfig::read("file", text));
    let node = NodeConfig::defaults(NodeKind::Broker);
    if let Ok((_, changes)) = node.changed(text) {
        // What was taken is in the file that is written.
        let written = parse("file", &set("# mine\n", &changes)).expect("what was written can be read");
        assert!(changes.iter().all(|change| written.iter().any(|entry| entry.key == change.key && entry.value == change.value)));
    }
    if let Ok(levels) = DelayLevels::parse(text) {
        for level in [i32::MIN, -1, 0, 1, levels.highest(), i32::MAX] {
            assert!(levels.clamp(level).is_none_or(|level| (1..=levels.highest()).contains(&level)));
        }
    }
    let _ = Placement::parse(text);
});
