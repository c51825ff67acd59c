//! Names, units and one registry a shard.
