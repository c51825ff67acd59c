//! What an SQL92 filter costs a message: `cargo bench --bench filter`.
//!
//! The record is a stock client's: eight properties, those that the broker adds among them. The goal is less than 200 ns for an expression of
//! three terms. A row is repeated and the fastest run counts: the others were disturbed.

use std::hint::black_box;

use ringmq::broker::filter::SqlFilter;

/// A run is shorter than a slice of the scheduler, so that some of many are not interrupted.
const CALLS: u32 = 5_000;
const RUNS: usize = 200;

fn main() {
    let properties = b"KEYS\x01order-4711\x02TAGS\x01TagA\x02region\x01eu-west\x02price\x0199\x02WAIT\x01true\x02UNIQ_KEY\x01\
        7F0000013D2F1B2A3C4D5E6F70810000\x02CLUSTER\x01DefaultCluster\x02MSG_REGION\x01DefaultRegion\x02TRACE_ON\x01true\x02";
    for (name, expression) in [
        ("one term", "price > 50"),
        ("three terms", "region = 'eu-west' AND price BETWEEN 10 AND 100 AND TAGS IN ('TagA', 'TagB')"),
        ("three terms, decimals", "region <> 'us' AND price < 100.5 AND KEYS STARTSWITH 'order'"),
        ("three terms, the first decides", "region = 'us' AND price > 10 AND TAGS IS NOT NULL"),
    ] {
        let filter = SqlFilter::compile(expression).expect("an expression");
        report(name, || {
            black_box(filter.matches(black_box(properties)));
        });
    }
    let long = (0..700).map(|n| format!("k{n} = '{n}'")).take(200).collect::<Vec<_>>().join(" OR ");
    report("compiling 200 terms", || {
        black_box(SqlFilter::compile(black_box(&long)).is_ok());
    });
}

fn report(name: &str, mut call: impl FnMut()) {
    let calls = if name.starts_with("compiling") { CALLS / 500 } else { CALLS };
    let mut best = f64::INFINITY;
    for _ in 0..RUNS {
        #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
        let start = std::time::Instant::now();
        (0..calls).for_each(|_| call());
        best = best.min(start.elapsed().as_secs_f64() * 1e9 / f64::from(calls));
    }
    eprintln!("{name}: {best:.0} ns fastest of {RUNS} runs of {calls}");
}
