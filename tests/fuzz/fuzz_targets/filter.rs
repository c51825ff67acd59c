//! SQL92 expressions from any text, evaluated on any properties.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ringmq::broker::filter::SqlFilter;

fuzz_target!(|input: (&str, &[u8])| {
    let (expression, properties) = input;
    if let Ok(filter) = SqlFilter::compile(expression) {
        assert_eq!(filter.evaluate(properties), filter.evaluate(properties));
    }
});
