//! Every JSON body; those with both directions say the same after another turn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_protocol::body::{
    ClusterInfo, ConsumeStats, ConsumerOffsets, DataVersion, DelayOffsets, GroupTable, HaRuntimeInfo, SubscriptionGroupConfig,
    TopicConfig, TopicConfigList, TopicList, TopicRouteData, TopicStats, TopicTable, client_offsets, decode_client_offsets,
    decode_key_values, key_values,
};
use ringmq_protocol::json::JsonForm;

macro_rules! turn {
    ($bytes:expr, $($type:ident)*) => {
        $(if let Ok(value) = $type::decode($bytes) {
            assert_eq!($type::decode(&value.encode()).as_ref(), Ok(&value));
        })*
    };
}

fuzz_target!(|bytes: &[u8]| {
    turn!(bytes, ClusterInfo ConsumerOffsets DataVersion DelayOffsets GroupTable SubscriptionGroupConfig TopicConfig TopicList TopicTable);
    if let Ok(route) = TopicRouteData::decode(bytes) {
        for form in [JsonForm::Fastjson, JsonForm::Standard] {
            assert_eq!(TopicRouteData::decode(&route.encode(form)).as_ref(), Ok(&route));
        }
    }
    if let Ok(pairs) = decode_key_values(bytes) {
        let again = key_values(pairs.iter().map(|(key, value)| (key.as_str(), value.as_str())));
        assert_eq!(decode_key_values(&again), Ok(pairs));
    }
    // Answers of clients are put together for whoever asked.
    if let Ok(offsets) = decode_client_offsets(bytes) {
        let _ = client_offsets(&[("client".into(), offsets)].into());
    }
    let _ = (TopicConfigList::decode(bytes), SubscriptionGroupConfig::decode_list(bytes), HaRuntimeInfo::decode(bytes));
    // Rates may be so large that their text is no longer theirs.
    let _ = (
        ConsumeStats::decode(bytes).map(|stats| stats.encode()),
        TopicStats::decode(bytes).map(|stats| stats.encode()),
    );
});
