//! What a broker says of its replication (907). RocketMQ: `HARuntimeInfo`.

use super::BodyError;
use super::fields::Fields;
use crate::json::{JsonForm, Value, Writer, parse};
use crate::limits::JSON_NODES_MAX;

/// A broker's replication, as `mqadmin haStatus` reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HaRuntimeInfo {
    /// A master and its slaves.
    Master {
        /// What it has appended.
        log_end: u64,
        /// Slaves in sync, the master not among them.
        in_sync_count: u64,
        /// Those that are connected.
        slaves: Vec<HaSlave>,
        /// Those that do not follow, and why. ringmq's own; absent if there are none.
        refused: Vec<HaRefusedSlave>,
        /// Which replicas have what its log has lost, so that it takes no messages until somebody decides: brokerIds with commas. ringmq's own; absent
        /// if there are none.
        ahead: Option<String>,
        /// Which log this is, in hexadecimal. ringmq's own.
        log: Option<String>,
        /// Messages of its log that are proven to be damaged. ringmq's own; absent if there are none.
        damaged: u64,
    },
    /// Where it is, by what its master told.
    Slave(HaMaster),
}

/// One connected slave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaSlave {
    /// `ip:port` of its end of the connection.
    pub address: String,
    /// Acknowledged up to here.
    pub acked: u64,
    /// Bytes of the master's log that it has not acknowledged.
    pub behind_bytes: u64,
    /// Bytes sent in a second.
    pub bytes_per_second: u64,
    /// Sent up to here.
    pub sent: u64,
    /// Whether it counts among the replicas in sync.
    pub in_sync: bool,
}

/// A slave whose log and its master's do not go together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HaRefusedSlave {
    /// `ip:port` of its end of the connection that was closed.
    pub address: String,
    /// One sentence.
    pub why: String,
}

/// What a slave knows of its master.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HaMaster {
    /// `ip:port` of the replication port; `None` while no master is known.
    pub address: Option<String>,
    /// Whether its stream runs. Java's slaves never say so.
    pub is_activated: bool,
    /// End of the slave's own log.
    pub log_end: u64,
    /// Unix ms; 0: never.
    pub last_read: u64,
    /// Unix ms; 0: never.
    pub last_write: u64,
    /// Bytes received in a second.
    pub bytes_per_second: u64,
    /// What the master says is safe; 0 where its stream does not say so.
    pub master_flushed: u64,
    /// Why it does not follow, if something keeps it from that. ringmq's own; absent otherwise.
    pub refusal: Option<String>,
    /// Which log the slave has, in hexadecimal. ringmq's own.
    pub log: Option<String>,
    /// Messages of the slave's log that are proven to be damaged. ringmq's own; absent if there are none.
    pub damaged: u64,
}

impl HaRuntimeInfo {
    /// Reads what a broker says.
    ///
    /// # Errors
    /// [`BodyError`].
    pub fn decode(body: &[u8]) -> Result<HaRuntimeInfo, BodyError> {
        let value = parse(body, JSON_NODES_MAX)?;
        let fields = Fields::of(&value, "haRuntimeInfo")?;
        if fields.boolean("master", false)? {
            return Ok(HaRuntimeInfo::Master {
                log_end: fields.number("masterCommitLogMaxOffset", 0)?,
                in_sync_count: fields.number("inSyncSlaveNums", 0)?,
                slaves: fields.array("haConnectionInfo")?.iter().map(HaSlave::read).collect::<Result<_, _>>()?,
                refused: fields.array("refusedSlaves")?.iter().map(HaRefusedSlave::read).collect::<Result<_, _>>()?,
                ahead: fields.text("aheadBrokerIds")?.map(String::from),
                log: fields.text("logId")?.map(String::from),
                damaged: fields.number("damagedMessages", 0)?,
            });
        }
        let master = fields.object("haClientRuntimeInfo")?.map(HaMaster::read).transpose()?;
        let damaged = fields.number("damagedMessages", 0)?;
        Ok(HaRuntimeInfo::Slave(HaMaster { damaged, ..master.unwrap_or_default() }))
    }

    /// The body. Both halves are always there: Java's reader makes no difference.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let none = HaMaster::default();
        let (master, slaves): (&HaMaster, &[HaSlave]) = match self {
            HaRuntimeInfo::Master { slaves, .. } => (&none, slaves),
            HaRuntimeInfo::Slave(master) => (master, &[]),
        };
        let (log_end, in_sync_count, refused, log): (u64, u64, &[HaRefusedSlave], Option<&String>) = match self {
            HaRuntimeInfo::Master { log_end, in_sync_count, refused, log, .. } => {
                (*log_end, *in_sync_count, refused, log.as_ref())
            }
            HaRuntimeInfo::Slave(_) => (0, 0, &[], None),
        };
        let (HaRuntimeInfo::Master { damaged, .. } | HaRuntimeInfo::Slave(HaMaster { damaged, .. })) = self;
        let mut writer = Writer::new(JsonForm::Fastjson);
        writer.object(|writer| {
            if let HaRuntimeInfo::Master { ahead: Some(ahead), .. } = self {
                writer.key("aheadBrokerIds").text(ahead);
            }
            if *damaged > 0 {
                writer.key("damagedMessages").unsigned(*damaged);
            }
            master.write(writer.key("haClientRuntimeInfo"));
            writer.key("haConnectionInfo").array(|writer| slaves.iter().for_each(|slave| slave.write(writer)));
            writer.key("inSyncSlaveNums").unsigned(in_sync_count);
            if let Some(log) = log {
                writer.key("logId").text(log);
            }
            writer.key("master").boolean(matches!(self, HaRuntimeInfo::Master { .. }));
            writer.key("masterCommitLogMaxOffset").unsigned(log_end);
            if !refused.is_empty() {
                writer.key("refusedSlaves").array(|writer| refused.iter().for_each(|slave| slave.write(writer)));
            }
        });
        writer.finish()
    }
}

impl HaMaster {
    fn read(fields: Fields<'_>) -> Result<HaMaster, BodyError> {
        Ok(HaMaster {
            address: fields.text("masterAddr")?.map(String::from),
            is_activated: fields.boolean("activated", false)?,
            log_end: fields.number("maxOffset", 0)?,
            last_read: fields.number("lastReadTimestamp", 0)?,
            last_write: fields.number("lastWriteTimestamp", 0)?,
            bytes_per_second: fields.number("transferredByteInSecond", 0)?,
            master_flushed: fields.number("masterFlushOffset", 0)?,
            refusal: fields.text("refusal")?.map(String::from),
            log: fields.text("logId")?.map(String::from),
            damaged: 0,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            writer.key("activated").boolean(self.is_activated);
            writer.key("lastReadTimestamp").unsigned(self.last_read);
            writer.key("lastWriteTimestamp").unsigned(self.last_write);
            if let Some(log) = &self.log {
                writer.key("logId").text(log);
            }
            if let Some(address) = &self.address {
                writer.key("masterAddr").text(address);
            }
            writer.key("masterFlushOffset").unsigned(self.master_flushed);
            writer.key("maxOffset").unsigned(self.log_end);
            if let Some(refusal) = &self.refusal {
                writer.key("refusal").text(refusal);
            }
            writer.key("transferredByteInSecond").unsigned(self.bytes_per_second);
        });
    }
}

impl HaRefusedSlave {
    fn read(value: &Value<'_>) -> Result<HaRefusedSlave, BodyError> {
        let fields = Fields::of(value, "refusedSlaves")?;
        Ok(HaRefusedSlave {
            address: fields.text("addr")?.map_or_else(String::new, String::from),
            why: fields.text("why")?.map_or_else(String::new, String::from),
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            writer.key("addr").text(&self.address).key("why").text(&self.why);
        });
    }
}

impl HaSlave {
    fn read(value: &Value<'_>) -> Result<HaSlave, BodyError> {
        let fields = Fields::of(value, "haConnectionInfo")?;
        let signed: i64 = fields.number("diff", 0)?;
        Ok(HaSlave {
            address: fields.text("addr")?.map_or_else(String::new, String::from),
            acked: fields.number("slaveAckOffset", 0)?,
            // Java's slave may be ahead of what its master has looked at.
            behind_bytes: u64::try_from(signed).unwrap_or(0),
            bytes_per_second: fields.number("transferredByteInSecond", 0)?,
            sent: fields.number("transferFromWhere", 0)?,
            in_sync: fields.boolean("inSync", false)?,
        })
    }

    fn write(&self, writer: &mut Writer) {
        writer.object(|writer| {
            writer.key("addr").text(&self.address).key("diff").unsigned(self.behind_bytes);
            writer.key("inSync").boolean(self.in_sync).key("slaveAckOffset").unsigned(self.acked);
            writer.key("transferFromWhere").unsigned(self.sent);
            writer.key("transferredByteInSecond").unsigned(self.bytes_per_second);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_roles_have_the_members_that_java_reads() {
        let slave = HaSlave {
            address: "h:1".to_owned(),
            acked: 90,
            behind_bytes: 10,
            bytes_per_second: 5,
            sent: 95,
            in_sync: true,
        };
        let master = HaRuntimeInfo::Master {
            log_end: 100,
            in_sync_count: 1,
            slaves: vec![slave],
            refused: Vec::new(),
            ahead: None,
            log: None,
            damaged: 0,
        };
        let expected = r#"{"haClientRuntimeInfo":{"activated":false,"lastReadTimestamp":0,"lastWriteTimestamp":0,"masterFlushOffset":0,"maxOffset":0,"transferredByteInSecond":0},"haConnectionInfo":[{"addr":"h:1","diff":10,"inSync":true,"slaveAckOffset":90,"transferFromWhere":95,"transferredByteInSecond":5}],"inSyncSlaveNums":1,"master":true,"masterCommitLogMaxOffset":100}"#;
        assert_eq!(String::from_utf8(master.encode()).as_deref(), Ok(expected));
        assert_eq!(HaRuntimeInfo::decode(expected.as_bytes()), Ok(master));
        let address = Some("h:2".to_owned());
        let slave = HaRuntimeInfo::Slave(HaMaster { address, is_activated: true, log_end: 7, ..HaMaster::default() });
        let expected = r#"{"haClientRuntimeInfo":{"activated":true,"lastReadTimestamp":0,"lastWriteTimestamp":0,"masterAddr":"h:2","masterFlushOffset":0,"maxOffset":7,"transferredByteInSecond":0},"haConnectionInfo":[],"inSyncSlaveNums":0,"master":false,"masterCommitLogMaxOffset":0}"#;
        assert_eq!(String::from_utf8(slave.encode()).as_deref(), Ok(expected));
        assert_eq!(HaRuntimeInfo::decode(expected.as_bytes()), Ok(slave));
    }

    #[test]
    fn what_only_ringmq_says_is_read_again() {
        let (refusal, log) = (Some("its log is another".to_owned()), Some("0f".to_owned()));
        let slave = HaRuntimeInfo::Slave(HaMaster { refusal, log: log.clone(), damaged: 3, ..HaMaster::default() });
        let refused = vec![HaRefusedSlave { address: "h:1".to_owned(), why: "its log is another".to_owned() }];
        let (slaves, ahead) = (Vec::new(), Some("1,2".to_owned()));
        let master = HaRuntimeInfo::Master { log_end: 1, in_sync_count: 0, slaves, refused, ahead, log, damaged: 2 };
        for info in [slave, master] {
            assert_eq!(HaRuntimeInfo::decode(&info.encode()), Ok(info));
        }
    }
}
