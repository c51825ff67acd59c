//! Randomness that can be had again: one number decides a whole run, and a failure says which it was.
use std::env;
use std::io::{self, Write as _};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

/// The seed of a test's run: of `RINGMQ_SEED`, or of the clock. When the test fails, its drop says how to run it again.
#[derive(Debug)]
pub struct Seed {
    number: u64,
    test_file: &'static str,
    test: &'static str,
}

impl Seed {
    /// The seed for the test `test` of `tests/TEST_FILE.rs`. What timing decides (the scheduler, the disk) it cannot repeat.
    pub fn of(test_file: &'static str, test: &'static str) -> Self {
        let number = env::var("RINGMQ_SEED").ok().map_or_else(
            || {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
                u64::from(now.subsec_nanos()) ^ now.as_secs()
            },
            |text| text.parse().expect("RINGMQ_SEED is a whole number"),
        );
        Self { number, test_file, test }
    }

    /// A stream of numbers for one purpose; other purposes have streams of their own, so that one does not shift another.
    pub fn random(&self, purpose: u64) -> Random {
        // Seeds that differ in few bits give streams that differ in all: the first number of each is the next one's seed.
        Random(Random(self.number).number() ^ Random(purpose).number())
    }
}

impl Drop for Seed {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self { number, test_file, test } = self;
            let again = format!("RINGMQ_SEED={number} cargo test --test {test_file} {test}");
            // A failure to write must not become a second panic, which would hide the first.
            drop(writeln!(io::stderr(), "seed {number}; again: {again}"));
        }
    }
}

/// How many rounds a test does: `RINGMQ_ROUNDS`, or `default`.
pub fn rounds(default: u32) -> u32 {
    env::var("RINGMQ_ROUNDS").ok().map_or(default, |text| text.parse().expect("RINGMQ_ROUNDS is a whole number"))
}

/// SplitMix64: small, and good enough to choose sizes and moments.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of one seed.
    pub fn of(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        let bound = u64::try_from(bound).expect("64-bit machine");
        usize::try_from(self.number() % bound).expect("64-bit machine")
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of `choices`.
    pub fn choose<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }

    /// Random ones.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let number = self.number().to_le_bytes();
            chunk.copy_from_slice(&number[..chunk.len()]);
        }
    }
}
