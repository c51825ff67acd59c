//! The made-up world for tests: clock, disk, network, faults, seed.
