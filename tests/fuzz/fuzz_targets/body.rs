//! Every JSON body; those with both directions say the same after another turn.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq_protocol::body::{
    ClusterInfo, ConsumeStats, ConsumerOffsets, DataVersion, GroupTable, SubscriptionGroupConfig, TopicConfigList,
    TopicList, TopicRouteData, TopicStats, TopicTable,
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
    turn!(bytes, ClusterInfo ConsumerOffsets DataVersion GroupTable SubscriptionGroupConfig TopicList TopicTable);
    if let Ok(route) = TopicRouteData::decode(bytes) {
        for form in [JsonForm::Fastjson, JsonForm::Standard] {
            assert_eq!(TopicRouteData::decode(&route.encode(form)).as_ref(), Ok(&route));
        }
    }
    let _ = (TopicConfigList::decode(bytes), SubscriptionGroupConfig::decode_list(bytes));
    // Rates may be so large that their text is no longer theirs.
    let _ = (
        ConsumeStats::decode(bytes).map(|stats| stats.encode()),
        TopicStats::decode(bytes).map(|stats| stats.encode()),
    );
});
