//! How the shards of a node replicate: the keys, and what must hold between them.

use super::node::NodeConfig;
use super::table::{Draft, Setting, online, setting};
use super::value::{self, Addresses, SettingValue as _};
use super::{ConfigError, Fault};
use crate::limits::BROKER_ID_MAX;
use crate::model::{BrokerId, Role};
use crate::replication::ReplicaSettings;

/// Settings of replication, beside the role and the brokerId.
#[derive(Clone, Debug, Default)]
pub struct Replication {
    /// What each shard is told.
    pub replica: ReplicaSettings,
    in_sync_replicas_given: Option<u32>,
    /// `haMasterAddress`, `HOST:PORT` of shard 0's master; see [`NodeConfig::ha_master_address`].
    pub master_address: Option<String>,
}

/// `inSyncReplicas` of a SYNC_MASTER whose file does not say.
const SYNC_REPLICAS: u32 = 2;

impl Replication {
    /// The same for a shard that may become a SYNC_MASTER, whatever role its file has: `inSyncReplicas` is the line, or that role's default.
    #[must_use]
    pub(crate) fn of_any_role(&self) -> ReplicaSettings {
        let in_sync_replicas = self.in_sync_replicas_given.unwrap_or(SYNC_REPLICAS);
        ReplicaSettings { in_sync_replicas, ..self.replica.clone() }
    }
}

impl NodeConfig {
    /// `HOST:PORT` where shard `index` of a slave finds its master's log, if the configuration says so: shards of a master follow
    /// one another by the same `portStride`.
    #[must_use]
    pub fn ha_master_address(&self, index: u16) -> Option<String> {
        let (host, port) = self.replication.master_address.as_deref()?.rsplit_once(':')?;
        let port = super::node::port_of(port.parse().ok()?, index, self.port_stride)?;
        Some(format!("{host}:{port}"))
    }
}

/// Replicas of one brokerName beyond which a number is a slip.
const REPLICAS_MAX: u32 = 16;

/// Decides what depends on the role, and refuses what contradicts it.
pub(super) fn check(draft: &mut Draft<NodeConfig>) -> Result<(), ConfigError> {
    let config = &mut draft.config;
    let (role, id) = (config.role, config.broker_id);
    let replication = &mut config.replication;
    let default = if role == Role::SyncMaster { SYNC_REPLICAS } else { 1 };
    replication.replica.in_sync_replicas = replication.in_sync_replicas_given.unwrap_or(default);
    let (wanted, min) = (replication.replica.in_sync_replicas, replication.replica.min_in_sync_replicas);
    let (heartbeat_ms, silence_ms) = (replication.replica.heartbeat_ms, replication.replica.silence_ms_max);
    if role.is_master() && id != BrokerId::MASTER {
        return Err(draft.contradiction(
            &["brokerId", "brokerRole"],
            format!("brokerId={id} is a slave's, but brokerRole={role}; a master has brokerId=0"),
        ));
    }
    if role == Role::Slave && id == BrokerId::MASTER {
        return Err(draft.contradiction(
            &["brokerId", "brokerRole"],
            "brokerId=0 is the master's, but brokerRole=SLAVE; give each slave a brokerId of its own, from 1"
                .to_owned(),
        ));
    }
    if role == Role::AsyncMaster && wanted > 1 {
        return Err(draft.contradiction(
            &["inSyncReplicas"],
            format!("inSyncReplicas={wanted} waits for slaves, but brokerRole=ASYNC_MASTER waits for none; use SYNC_MASTER or remove the line"),
        ));
    }
    // A slave's file is often a copy of its master's: what only a master does is not looked at.
    if role.is_master() && min > wanted {
        return Err(draft.contradiction(
            &["minInSyncReplicas", "inSyncReplicas"],
            format!("minInSyncReplicas={min} is more than inSyncReplicas={wanted}, the replicas that a reply waits for; lower it"),
        ));
    }
    if heartbeat_ms >= silence_ms {
        return Err(draft.contradiction(
            &["haSendHeartbeatInterval", "haHousekeepingInterval"],
            format!("haSendHeartbeatInterval={heartbeat_ms} lets idle connections be silent for haHousekeepingInterval={silence_ms}, after which they are closed; make it shorter"),
        ));
    }
    check_master_address(draft)
}

fn check_master_address(draft: &Draft<NodeConfig>) -> Result<(), ConfigError> {
    let config = &draft.config;
    let Some(address) = &config.replication.master_address else { return Ok(()) };
    let fits = config.shards.is_none_or(|shards| config.ha_master_address(shards.saturating_sub(1)).is_some());
    if fits {
        return Ok(());
    }
    Err(ConfigError::new(
        &draft.file,
        draft.line("haMasterAddress"),
        Fault::Contradiction(format!(
            "haMasterAddress={address} with portStride={} puts the master of the last shard beyond port 65535; use a lower port or fewer shards",
            config.port_stride
        )),
    ))
}

/// Java's brokers with DLedger or a controller have -1 in their files.
pub(super) fn read_broker_id(text: &str) -> Result<BrokerId, String> {
    match text {
        "-1" => Err("0 for a master, or a number of its own from 1 for a slave: -1 leaves it to DLedger or a controller, and ringmq's brokers take their numbers from nobody".to_owned()),
        _ => value::within(text, 0, BROKER_ID_MAX, "").map(BrokerId),
    }
}

pub(super) fn read_role(text: &str) -> Result<Role, String> {
    match text {
        "ASYNC_MASTER" => Ok(Role::AsyncMaster),
        "SYNC_MASTER" => Ok(Role::SyncMaster),
        "SLAVE" => Ok(Role::Slave),
        _ => Err("ASYNC_MASTER, SYNC_MASTER or SLAVE".to_owned()),
    }
}

fn read_behind(text: &str) -> Result<bool, String> {
    match text {
        "WAIT" => Ok(false),
        "GO_ON" => Ok(true),
        _ => Err("WAIT or GO_ON".to_owned()),
    }
}

fn read_address(text: &str) -> Result<Option<String>, String> {
    let expected = "HOST:PORT of the master's replication port";
    let mut addresses = Addresses::read(text).map_err(|_| expected)?.0;
    let address = addresses.pop();
    if addresses.is_empty() { Ok(address) } else { Err(expected.to_owned()) }
}

/// Rows of these settings, shown after the node's own.
pub(super) const TABLE: &[Setting<NodeConfig>] = &[
    online(setting!(
        "inSyncReplicas",
        "",
        "Replicas that must have a message before SYNC_MASTER replies, the master among them. Default: 2 for SYNC_MASTER, so that \
         the name means what it says (Apache's default, 1, waits for no slave); else 1.",
        |c, v| {
            let given = if v.is_empty() { None } else { Some(value::within(v, 1, REPLICAS_MAX, "")?) };
            c.replication.in_sync_replicas_given = given;
            Ok(())
        },
        |c| c.replication.replica.in_sync_replicas.to_string()
    )),
    online(setting!("minInSyncReplicas", "1", replication.replica.min_in_sync_replicas in 1..=REPLICAS_MAX, "",
        "With fewer replicas in sync, the master among them, SYNC_MASTER refuses sends before it stores them, and delayed messages and retries wait in their levels.")),
    online(setting!("slaveTimeout", "3000", replication.replica.slave_wait_ms in 1..=600_000, "of ms ",
        "Milliseconds after which a send that waits for slaves is answered FLUSH_SLAVE_TIMEOUT: stored here, but maybe not there.")),
    setting!(
        "haMasterAddress",
        "",
        "HOST:PORT of the replication port of this slave's master, shard 0. Default: what the name server says, which also \
         follows a master that moves and tells where topics and offsets are to be had.",
        |c, v| {
            c.replication.master_address = read_address(v)?;
            Ok(())
        },
        |c| c.replication.master_address.clone().unwrap_or_default()
    ),
    setting!("haTransferBatchSize", "32768", replication.replica.batch_bytes_max in 4_096..=4_194_304, "of bytes ",
        "Bytes of the log in one batch to a slave, at most."),
    setting!("haSendHeartbeatInterval", "5000", replication.replica.heartbeat_ms in 10..=600_000, "of ms ",
        "Milliseconds for which a replication connection may be silent before a sign of life is sent."),
    setting!("haHousekeepingInterval", "20000", replication.replica.silence_ms_max in 20..=3_600_000, "of ms ",
        "Milliseconds of silence after which a replication connection is closed."),
    setting!("haMaxTimeSlaveNotCatchup", "15000", replication.replica.catch_up_within_ms in 100..=3_600_000, "of ms ",
        "Milliseconds for which a slave may be behind before it leaves the replicas in sync, whom consumers wait for."),
    online(setting!("haMaxTimeWaitInSyncSlaves", "3000", replication.replica.ask_ms in 0..=86_400_000, "of ms ",
        "Milliseconds for which a master that begins refuses sends until the slaves that were in sync, or are registered, have said how far they \
         are. One that comes later, with more, does not follow. A master goes on at once when this is set below what it has waited.")),
    online(setting!(
        "haMasterBehindSlave",
        "WAIT",
        "What a master that begins with less than a slave has does: WAIT refuses sends until it has the rest again, or somebody has decided \
         (`ringmq-admin replica`); GO_ON takes them, and the slave does not follow.",
        |c, v| {
            c.replication.replica.goes_on_behind = read_behind(v)?;
            Ok(())
        },
        |c| if c.replication.replica.goes_on_behind { "GO_ON" } else { "WAIT" }.to_owned()
    )),
    online(setting!(
        "slaveReadEnable",
        "false",
        replication.replica.slave_read,
        "Whether a master sends readers of old messages, which its tail no longer holds, to a slave."
    )),
];
