//! What controllers agree about: one command an entry of their log, with all that its outcome depends on beside the groups.

use std::collections::BTreeSet;

use super::bytes::{ByteReader, Malformed, Put as _};

/// A living replica, as the leader that made the command knew it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) broker_id: u64,
    /// The last reign in its log; -1: not told.
    pub(crate) epoch: i32,
    /// The end of its log; -1: not told.
    pub(crate) log_end: i64,
    /// The smaller, the sooner it is elected among equals.
    pub(crate) priority: i32,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Decree {
    /// 1013.
    ApplyBrokerId { cluster: String, broker_name: String, broker_id: u64, address: String, check_code: String },
    /// 1003.
    Register { broker_name: String, broker_id: u64, address: String, living: BTreeSet<u64> },
    /// 1001.
    AlterSyncSet {
        broker_name: String,
        master_id: u64,
        master_epoch: i32,
        in_sync: BTreeSet<u64>,
        set_epoch: i32,
        living: BTreeSet<u64>,
    },
    /// 1002, or the leader's own, when a master is gone.
    Elect {
        broker_name: String,
        /// Who asks, or who is wanted; none: the controller itself.
        broker_id: Option<u64>,
        designate: bool,
        /// Whether somebody who is not in sync will do, when nobody else lives.
        unclean: bool,
        candidates: Vec<Candidate>,
    },
    /// 1011.
    Clean { broker_name: String, broker_ids: Option<BTreeSet<u64>>, also_living: bool, living: BTreeSet<u64> },
}

const APPLY_BROKER_ID: u8 = 1;
const REGISTER: u8 = 2;
const ALTER_SYNC_SET: u8 = 3;
const ELECT: u8 = 4;
const CLEAN: u8 = 5;

impl Decree {
    /// The command as an entry of the log: a kind of one byte, then its fields in the order in which they are declared.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Decree::ApplyBrokerId { cluster, broker_name, broker_id, address, check_code } => {
                out.u8(APPLY_BROKER_ID);
                out.text(cluster);
                out.text(broker_name);
                out.u64(*broker_id);
                out.text(address);
                out.text(check_code);
            }
            Decree::Register { broker_name, broker_id, address, living } => {
                out.u8(REGISTER);
                out.text(broker_name);
                out.u64(*broker_id);
                out.text(address);
                out.ids(living);
            }
            Decree::AlterSyncSet { broker_name, master_id, master_epoch, in_sync, set_epoch, living } => {
                out.u8(ALTER_SYNC_SET);
                out.text(broker_name);
                out.u64(*master_id);
                out.i32(*master_epoch);
                out.ids(in_sync);
                out.i32(*set_epoch);
                out.ids(living);
            }
            Decree::Elect { broker_name, broker_id, designate, unclean, candidates } => {
                out.u8(ELECT);
                out.text(broker_name);
                out.optional_id(*broker_id);
                out.boolean(*designate);
                out.boolean(*unclean);
                out.count(candidates.len());
                for candidate in candidates {
                    out.u64(candidate.broker_id);
                    out.i32(candidate.epoch);
                    out.i64(candidate.log_end);
                    out.i32(candidate.priority);
                }
            }
            Decree::Clean { broker_name, broker_ids, also_living, living } => {
                out.u8(CLEAN);
                out.text(broker_name);
                out.boolean(broker_ids.is_some());
                out.ids(broker_ids.as_ref().unwrap_or(&BTreeSet::new()));
                out.boolean(*also_living);
                out.ids(living);
            }
        }
        out
    }

    /// Reads what [`Decree::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Decree, Malformed> {
        let mut input = ByteReader::new(bytes);
        let command = match input.u8()? {
            APPLY_BROKER_ID => Decree::ApplyBrokerId {
                cluster: input.text()?,
                broker_name: input.text()?,
                broker_id: input.u64()?,
                address: input.text()?,
                check_code: input.text()?,
            },
            REGISTER => Decree::Register {
                broker_name: input.text()?,
                broker_id: input.u64()?,
                address: input.text()?,
                living: input.ids()?,
            },
            ALTER_SYNC_SET => Decree::AlterSyncSet {
                broker_name: input.text()?,
                master_id: input.u64()?,
                master_epoch: input.i32()?,
                in_sync: input.ids()?,
                set_epoch: input.i32()?,
                living: input.ids()?,
            },
            ELECT => Decree::Elect {
                broker_name: input.text()?,
                broker_id: input.optional_id()?,
                designate: input.boolean()?,
                unclean: input.boolean()?,
                candidates: candidates(&mut input)?,
            },
            CLEAN => {
                let broker_name = input.text()?;
                let has_ids = input.boolean()?;
                let ids = input.ids()?;
                let broker_ids = has_ids.then_some(ids);
                Decree::Clean { broker_name, broker_ids, also_living: input.boolean()?, living: input.ids()? }
            }
            _ => return Err(Malformed),
        };
        input.end(command)
    }
}

fn candidates(input: &mut ByteReader<'_>) -> Result<Vec<Candidate>, Malformed> {
    let count = input.count()?;
    let candidate = |_| {
        Ok(Candidate { broker_id: input.u64()?, epoch: input.i32()?, log_end: input.i64()?, priority: input.i32()? })
    };
    (0..count).map(candidate).collect()
}
