//! What `ringmq all` and `ringmq broker` read: one node, whose shards are brokers.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::assignment::AssignmentConfig;
use super::pop::PopConfig;
use super::properties::Property;
use super::replication::{self, Replication};
use super::table::{self, Draft, Setting, online, setting};
use super::value::{self, Addresses, HoursOfDay, SettingValue};
use super::{
    ConfigError, ControllerConfig, Fault, LightConfig, NamesrvConfig, NotNeeded, TimerConfig, TransactionConfig,
};
use crate::limits::{DISK_BLOCK_BYTES, FRAME_BYTES_MAX, SCRUB_INTERVAL_MS_MAX, SHARDS_MAX, TAIL_BYTES_MIN};
use crate::model::{BrokerId, Role};
use crate::protocol::message::DelayLevels;

/// When a reply says that a message is stored. RocketMQ: `flushDiskType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FlushDiskType {
    /// After the append to the tail: survives `kill -9`.
    #[default]
    Async,
    /// After write and flush: survives power loss.
    Sync,
}

/// With an embedded name server or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeKind {
    /// `ringmq all`: on loopback unless told otherwise, with a name server of its own.
    All,
    /// `ringmq broker`: on every address, registered with the name servers of `namesrvAddr`.
    Broker,
}

/// A checked configuration of one node. Fields are named as RocketMQ names their keys; [`NodeConfig::tables`] explains each.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct NodeConfig {
    kind: NodeKind,
    /// `brokerClusterName`.
    pub cluster: String,
    /// `brokerName`: the node's; a shard's is [`NodeConfig::shard_name`].
    pub broker_name: String,
    /// `brokerId`: 0 is the master.
    pub broker_id: BrokerId,
    /// `brokerRole`.
    pub role: Role,
    /// How shards and their replicas keep together.
    pub replication: Replication,
    /// `brokerIP1`: what clients are told to connect to. `None`: the address from which the name server is reached.
    pub advertised_ip: Option<IpAddr>,
    /// `brokerIP2`: what slaves are told to connect to. `None`: as `brokerIP1`.
    pub replication_ip: Option<IpAddr>,
    /// `bindAddress`, decided.
    pub bind_ip: IpAddr,
    bind_ip_given: Option<IpAddr>,
    /// `listenPort` of shard 0; see [`NodeConfig::port`].
    pub listen_port: u16,
    /// `portStride`: from one shard's port to the next.
    pub(crate) port_stride: u16,
    /// `haListenPort` of shard 0; 0: one above its `listenPort`.
    pub(crate) ha_listen_port: u16,
    /// `shards`. `None`: as many as the store has, for a new store as many as there are cores.
    pub shards: Option<u16>,
    /// `namesrvAddr`: every name server to register with, `HOST:PORT`.
    pub name_servers: Vec<String>,
    /// `namesrvListenPort`: of the name server in `ringmq all`.
    pub namesrv_listen_port: u16,
    /// `storePathRootDir`.
    pub store_root: PathBuf,
    store_path_commit_log: Option<PathBuf>,
    /// `mappedFileSizeCommitLog`: bytes of a segment, a multiple of 4096.
    pub segment_bytes: u64,
    /// `tailPath`: a folder on tmpfs.
    pub tail_path: PathBuf,
    /// `tailSize`: bytes of a shard's tail, a power of two.
    pub tail_bytes: usize,
    pub flush: FlushDiskType,
    pub(crate) sync_flush_timeout_ms: u64,
    /// `enabledAppendPropCRC`: always true.
    pub(crate) append_property_crc: bool,
    /// `maxMessageSize`: bytes of a message's body.
    pub(crate) message_bytes_max: u32,
    /// `messageDelayLevel`.
    pub delay_levels: DelayLevels,
    /// `fileReservedTime`, hours.
    pub(crate) file_reserved_hours: u32,
    /// `deleteWhen`: hours of the day, UTC.
    pub(crate) delete_hours: HoursOfDay,
    /// `retentionClockAccepted`, Unix ms.
    pub(crate) clock_accepted_ms: u64,
    pub(crate) scrub_interval_ms: u64,
    /// `diskMaxUsedSpaceRatio`, percent.
    pub(crate) disk_used_percent_max: u8,
    /// `diskSpaceWarningLevelRatio`, percent.
    pub(crate) disk_used_percent_refused: u8,
    /// Whether a nearly full disk costs the oldest messages (`true`) or new ones (`false`).
    pub(crate) clean_forcibly: bool,
    /// Percent of the disk in use above which the oldest segments go, expired or not, if `clean_forcibly`.
    pub(crate) clean_forcibly_percent: u8,
    /// `autoCreateTopicEnable`.
    pub(crate) auto_create_topic: bool,
    /// `autoCreateSubscriptionGroup`.
    pub(crate) auto_create_group: bool,
    /// `defaultTopicQueueNums`.
    pub(crate) default_topic_queues: u32,
    /// `brokerPermission`: bits 2 write, 4 read.
    pub(crate) broker_permission: u8,
    /// `clusterTopicEnable`.
    pub(crate) cluster_topic: bool,
    /// `brokerTopicEnable`.
    pub(crate) broker_topic: bool,
    /// `traceTopicEnable`.
    pub(crate) trace_topic: bool,
    /// `msgTraceTopicName`.
    pub(crate) trace_topic_name: String,
    pub(crate) trace_on: bool,
    pub(crate) region_id: String,
    /// `longPollingEnable`.
    pub(crate) long_polling: bool,
    /// `enablePropertyFilter`.
    pub(crate) filters_properties: bool,
    /// `filterSupportRetry`.
    pub(crate) filters_retries: bool,
    /// `storeReplyMessageEnable`.
    pub(crate) stores_replies: bool,
    /// `useServerSideResetOffset`.
    pub(crate) resets_offsets: bool,
    /// `accessMessageInMemoryMaxRatio`, percent of `memory_bytes`.
    pub(crate) young_percent_max: u8,
    /// Memory of the machine. No setting: whoever starts the node looks.
    pub memory_bytes: u64,
    /// `shortPollingTimeMills`.
    pub(crate) short_polling_ms: u64,
    /// How consumers get queues of their broker.
    pub(crate) assignment: AssignmentConfig,
    /// How messages are popped.
    pub(crate) pops: PopConfig,
    /// What is asked of transactions.
    pub(crate) transactions: TransactionConfig,
    /// Messages that wait for a time of their own.
    pub(crate) timers: TimerConfig,
    /// Light queues.
    pub(crate) light: LightConfig,
    /// `registerNameServerPeriod`, ms, within 10 to 60 s.
    pub register_period_ms: u64,
    /// `registerBrokerTimeoutMills`.
    pub register_timeout_ms: u64,
    /// Settings of the name server inside `ringmq all`; its port and address come from this node.
    pub namesrv: NamesrvConfig,
    /// Apache's keys that were accepted and do nothing here.
    pub not_needed: Vec<NotNeeded>,
}

/// Keys of the other kinds of server.
fn elsewhere() -> Vec<&'static str> {
    NamesrvConfig::keys().into_iter().chain(ControllerConfig::keys()).collect()
}

impl NodeConfig {
    /// Reads properties text and checks it. `text` is empty where no file was given; `name_servers` is what `-n` said and wins over the
    /// file.
    ///
    /// # Errors
    /// The first fault, with its line.
    pub fn read(kind: NodeKind, file: &str, text: &str, name_servers: Option<&str>) -> Result<NodeConfig, ConfigError> {
        let elsewhere = elsewhere();
        let mut draft = table::read(NodeConfig::empty(kind), NodeConfig::tables(), &elsewhere, file, text)?;
        if let Some(given) = name_servers {
            let addresses = Addresses::read(given).map_err(|expected| {
                let fault = Fault::BadValue { key: "-n".to_owned(), value: given.to_owned(), expected };
                ConfigError::new("command line", None, fault)
            })?;
            draft.config.name_servers = addresses.0;
        }
        draft.config.namesrv = draft.config.name_server(kind, &draft)?;
        decide_addresses(kind, &mut draft)?;
        replication::check(&mut draft)?;
        check_crc(&draft)?;
        super::light::check(&draft)?;
        check_sizes(&draft)?;
        check_ports(&draft)?;
        check_paths(&draft)?;
        let mut config = draft.config;
        config.not_needed = draft.not_needed;
        if kind == NodeKind::All {
            config.not_needed.retain(|entry| !NamesrvConfig::EMBEDDED.contains(&entry.key.as_str()));
            if config.namesrv.has_controller {
                config.not_needed.retain(|entry| !ControllerConfig::keys().contains(&entry.key.as_str()));
            }
        }
        Ok(config)
    }

    /// What a node is without a file and without arguments.
    ///
    /// # Panics
    /// If a default is not a value of its setting, which a test would have shown.
    #[must_use]
    pub fn defaults(kind: NodeKind) -> NodeConfig {
        NodeConfig::read(kind, "defaults", "", None).expect("the defaults fit one another")
    }

    /// This configuration, which is in force, with the settings changed that `text` names as properties; and these settings.
    ///
    /// # Errors
    /// The first fault of the text, or the contradiction that it would bring about.
    pub fn changed(&self, text: &str) -> Result<(NodeConfig, Vec<Property>), ConfigError> {
        let mut config = self.clone();
        let changes = table::change(&mut config, NodeConfig::tables(), &elsewhere(), text)?;
        let mut draft = Draft { config, entries: changes, file: table::REQUEST.to_owned(), not_needed: Vec::new() };
        replication::check(&mut draft)?;
        check_sizes(&draft)?;
        Ok((draft.config, draft.entries))
    }

    /// Whether `text` would start this node again, from `file` and with the name servers that it knows.
    ///
    /// # Errors
    /// The first fault, with its line.
    pub(crate) fn check_file(&self, file: &str, text: &str) -> Result<(), ConfigError> {
        let name_servers = (!self.name_servers.is_empty()).then(|| self.name_servers.join(";"));
        NodeConfig::read(self.kind, file, text, name_servers.as_deref()).map(|_| ())
    }

    /// Every setting, in the order in which `conf/` shows them.
    #[must_use]
    pub fn tables() -> &'static [&'static [Setting<NodeConfig>]] {
        &[
            NODE,
            super::assignment::TABLE,
            super::pop::TABLE,
            super::transaction::TABLE,
            super::timer::TABLE,
            super::light::TABLE,
            replication::TABLE,
        ]
    }

    /// The configuration in force, as properties.
    #[must_use]
    pub fn print(&self) -> String {
        table::print(self, NodeConfig::tables())
    }

    /// A warning, if a message of some delay level keeps the log for longer than `fileReservedTime`.
    #[must_use]
    pub fn too_long_delay(&self) -> Option<String> {
        let kept_ms = u64::from(self.file_reserved_hours) * 3_600_000;
        let level = (1..=self.delay_levels.highest()).find(|level| self.delay_levels.delay_ms(*level) > kept_ms)?;
        Some(format!(
            "messages of delay level {level} (messageDelayLevel) wait longer than fileReservedTime={} hours: the log is kept from the oldest that waits on; \
             the disk needs room for that",
            self.file_reserved_hours
        ))
    }

    /// The brokerName of shard `index` on a node with `shards` of them: the node's own while there is one.
    #[must_use]
    pub fn shard_name(&self, index: u16, shards: u16) -> String {
        if shards == 1 { self.broker_name.clone() } else { format!("{}-{index}", self.broker_name) }
    }

    /// Where shard `index` listens.
    #[must_use]
    pub fn port(&self, index: u16) -> u16 {
        port_of(self.listen_port, index, self.port_stride).expect("check_shards refused ports beyond 65535")
    }

    /// The VIP port of shard `index`, which old clients dial: two below its port.
    #[must_use]
    pub fn vip_port(&self, index: u16) -> u16 {
        self.port(index).checked_sub(VIP_PORTS_BELOW).expect("check_ports refused a listenPort below 3")
    }

    /// The replication port of shard `index`.
    #[must_use]
    pub fn ha_port(&self, index: u16) -> u16 {
        port_of(self.ha_base(), index, self.port_stride).expect("check_shards refused ports beyond 65535")
    }

    /// Whether `shards` shards fit the ports. To be asked once the number is known: it may come from the store or the machine.
    ///
    /// # Errors
    /// A contradiction that names the ports.
    pub fn check_shards(&self, file: &str, shards: u16) -> Result<(), ConfigError> {
        let contradiction = |sentence| Err(ConfigError::new(file, None, Fault::Contradiction(sentence)));
        let stride = self.port_stride;
        if shards > 1 && stride < PORT_STRIDE_MIN {
            return contradiction(format!(
                "portStride={stride} leaves no room for the VIP port (-2) and the HA port (+1) of {shards} shards; use at least {PORT_STRIDE_MIN}"
            ));
        }
        let last = shards.saturating_sub(1);
        if port_of(self.listen_port, last, stride).is_none() || port_of(self.ha_base(), last, stride).is_none() {
            return contradiction(format!(
                "listenPort={} with portStride={stride} puts shard {last} beyond port 65535; use a lower listenPort or fewer shards",
                self.listen_port
            ));
        }
        let mut taken = Vec::new();
        if self.kind == NodeKind::All {
            taken.push((self.namesrv_listen_port, "namesrvListenPort".to_owned()));
        }
        for index in 0..shards {
            let of_shard = [
                (self.port(index), format!("the port of shard {index}")),
                (self.vip_port(index), format!("the VIP port of shard {index}")),
                (self.ha_port(index), format!("the HA port of shard {index}")),
            ];
            for (port, what) in of_shard {
                if let Some((_, other)) = taken.iter().find(|(known, _)| *known == port) {
                    return contradiction(format!(
                        "{what} is {port}, which is {other}; change listenPort, portStride or namesrvListenPort"
                    ));
                }
                taken.push((port, what));
            }
        }
        Ok(())
    }

    fn ha_base(&self) -> u16 {
        if self.ha_listen_port == 0 { self.listen_port.saturating_add(1) } else { self.ha_listen_port }
    }

    /// The embedded name server reads its own keys from the same file.
    fn name_server(&self, kind: NodeKind, draft: &Draft<NodeConfig>) -> Result<NamesrvConfig, ConfigError> {
        let mut namesrv = NamesrvConfig::defaults();
        if kind == NodeKind::All {
            namesrv.embed(&draft.entries, &draft.file)?;
            namesrv.listen_port = self.namesrv_listen_port;
            if draft.line("kvConfigPath").is_none() {
                namesrv.kv_config_path = self.store_root.join("namesrv").join("kvConfig.json");
            }
        }
        Ok(namesrv)
    }

    fn empty(kind: NodeKind) -> NodeConfig {
        NodeConfig {
            kind,
            cluster: String::new(),
            broker_name: String::new(),
            broker_id: BrokerId(0),
            role: Role::AsyncMaster,
            replication: Replication::default(),
            advertised_ip: None,
            replication_ip: None,
            bind_ip: IpAddr::V4(Ipv4Addr::LOCALHOST),
            bind_ip_given: None,
            listen_port: 0,
            port_stride: 0,
            ha_listen_port: 0,
            shards: None,
            name_servers: Vec::new(),
            namesrv_listen_port: 0,
            store_root: PathBuf::new(),
            store_path_commit_log: None,
            segment_bytes: 0,
            tail_path: PathBuf::new(),
            tail_bytes: 0,
            flush: FlushDiskType::Async,
            sync_flush_timeout_ms: 0,
            append_property_crc: true,
            message_bytes_max: 0,
            delay_levels: DelayLevels::default(),
            file_reserved_hours: 0,
            delete_hours: HoursOfDay::default(),
            clock_accepted_ms: 0,
            scrub_interval_ms: 0,
            disk_used_percent_max: 0,
            disk_used_percent_refused: 0,
            clean_forcibly: false,
            clean_forcibly_percent: 0,
            auto_create_topic: true,
            auto_create_group: true,
            default_topic_queues: 0,
            broker_permission: 0,
            cluster_topic: true,
            broker_topic: true,
            trace_topic: false,
            trace_topic_name: String::new(),
            trace_on: true,
            region_id: String::new(),
            long_polling: true,
            filters_properties: false,
            filters_retries: false,
            stores_replies: true,
            resets_offsets: true,
            assignment: AssignmentConfig::default(),
            pops: PopConfig::default(),
            young_percent_max: 0,
            memory_bytes: 0,
            short_polling_ms: 0,
            transactions: TransactionConfig::default(),
            timers: TimerConfig::default(),
            light: LightConfig::default(),
            register_period_ms: 0,
            register_timeout_ms: 0,
            namesrv: NamesrvConfig::defaults(),
            not_needed: Vec::new(),
        }
    }
}

impl fmt::Display for FlushDiskType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FlushDiskType::Async => "ASYNC_FLUSH",
            FlushDiskType::Sync => "SYNC_FLUSH",
        })
    }
}

impl SettingValue for FlushDiskType {
    fn read(text: &str) -> Result<Self, String> {
        match text {
            "ASYNC_FLUSH" => Ok(FlushDiskType::Async),
            "SYNC_FLUSH" => Ok(FlushDiskType::Sync),
            _ => Err("ASYNC_FLUSH or SYNC_FLUSH".to_owned()),
        }
    }
}

/// `listenPort - 2` is RocketMQ's VIP channel.
const VIP_PORTS_BELOW: u16 = 2;
/// VIP port, a free one, the port, the HA port.
const PORT_STRIDE_MIN: u16 = 4;

pub(super) fn port_of(base: u16, index: u16, stride: u16) -> Option<u16> {
    base.checked_add(index.checked_mul(stride)?)
}

/// `all` is on loopback unless an address is named; `broker` is everywhere, as Apache's is.
fn decide_addresses(kind: NodeKind, draft: &mut Draft<NodeConfig>) -> Result<(), ConfigError> {
    let everywhere = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let loopback = IpAddr::V4(Ipv4Addr::LOCALHOST);
    let config = &mut draft.config;
    if kind == NodeKind::All && config.advertised_ip.is_none() {
        config.advertised_ip = match config.bind_ip_given {
            Some(given) if !given.is_unspecified() => Some(given),
            Some(_) => None,
            None => Some(loopback),
        };
    }
    config.bind_ip = match (config.bind_ip_given, kind, config.advertised_ip) {
        (Some(given), _, _) => given,
        (None, NodeKind::All, Some(advertised)) if advertised.is_loopback() => advertised,
        (None, _, Some(IpAddr::V6(_))) => IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED),
        (None, _, _) => everywhere,
    };
    config.namesrv.bind_ip = config.bind_ip;
    let (bind, advertised) = (config.bind_ip, config.advertised_ip);
    match advertised {
        Some(ip) if ip.is_unspecified() => Err(draft.contradiction(
            &["brokerIP1"],
            format!("brokerIP1={ip} is no address that a client could connect to; name one of this machine's"),
        )),
        Some(ip) if bind.is_loopback() && !ip.is_loopback() => Err(draft.contradiction(
            &["bindAddress", "brokerIP1"],
            format!("bindAddress={bind} listens on this machine only, but brokerIP1={ip} sends clients elsewhere; make both agree"),
        )),
        _ => Ok(()),
    }
}

fn check_crc(draft: &Draft<NodeConfig>) -> Result<(), ConfigError> {
    if draft.config.append_property_crc {
        return Ok(());
    }
    Err(draft.contradiction(
        &["enabledAppendPropCRC"],
        "enabledAppendPropCRC=false would leave torn records undetected after a crash; remove the line".to_owned(),
    ))
}

fn check_sizes(draft: &Draft<NodeConfig>) -> Result<(), ConfigError> {
    let config = &draft.config;
    let block = u64::try_from(DISK_BLOCK_BYTES).expect("4096 fits");
    let whole_blocks = |key: &'static str, bytes: u64| {
        if bytes.is_multiple_of(block) {
            return Ok(());
        }
        Err(draft.contradiction(&[key], format!("{key}={bytes} is not a multiple of {block}, the block of direct I/O")))
    };
    whole_blocks("mappedFileSizeCommitLog", config.segment_bytes)?;
    if !config.tail_bytes.is_power_of_two() {
        let near = config.tail_bytes.next_power_of_two();
        let sentence = format!("tailSize={} is not a power of two; use {near}", config.tail_bytes);
        return Err(draft.contradiction(&["tailSize"], sentence));
    }
    // A record is its body, its topic and at most 32 KiB of properties; twice the body is beyond doubt.
    let record_max = u64::from(config.message_bytes_max).saturating_mul(2).max(u64::from(u16::MAX));
    if config.segment_bytes < record_max {
        return Err(draft.contradiction(
            &["mappedFileSizeCommitLog", "maxMessageSize"],
            format!(
                "mappedFileSizeCommitLog={} is too small for messages of maxMessageSize={}; use at least {record_max}",
                config.segment_bytes, config.message_bytes_max
            ),
        ));
    }
    if u64::try_from(config.tail_bytes).unwrap_or(u64::MAX) < record_max {
        return Err(draft.contradiction(
            &["tailSize", "maxMessageSize"],
            format!(
                "tailSize={} is too small for messages of maxMessageSize={}; use at least {record_max}",
                config.tail_bytes, config.message_bytes_max
            ),
        ));
    }
    Ok(())
}

fn check_ports(draft: &Draft<NodeConfig>) -> Result<(), ConfigError> {
    let config = &draft.config;
    if config.listen_port <= VIP_PORTS_BELOW {
        return Err(draft.contradiction(
            &["listenPort"],
            format!("listenPort={} leaves no room for the VIP port two below it; use 1024 or more", config.listen_port),
        ));
    }
    config.check_shards(&draft.file, config.shards.unwrap_or(1)).map_err(|mut error| {
        let keys = ["listenPort", "portStride", "shards", "haListenPort", "namesrvListenPort"];
        error.line = keys.iter().rev().find_map(|key| draft.line(key));
        error
    })
}

fn check_paths(draft: &Draft<NodeConfig>) -> Result<(), ConfigError> {
    let config = &draft.config;
    let Some(commit_log) = &config.store_path_commit_log else { return Ok(()) };
    if commit_log.as_os_str().as_encoded_bytes().contains(&b',') {
        // RocketMQ's separator of several folders.
        let sentence = format!(
            "storePathCommitLog={} names several folders; remove the line, and give each disk a node or a shard of its own",
            commit_log.display()
        );
        return Err(draft.contradiction(&["storePathCommitLog"], sentence));
    }
    if commit_log.starts_with(&config.store_root) {
        return Ok(());
    }
    Err(draft.contradiction(
        &["storePathCommitLog"],
        format!(
            "storePathCommitLog={} lies outside storePathRootDir={}, where every shard keeps its commit log; remove the line or move storePathRootDir",
            commit_log.display(),
            config.store_root.display()
        ),
    ))
}

fn shown<T: fmt::Display>(value: Option<T>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

const NODE: &[Setting<NodeConfig>] = &[
    setting!(
        "brokerClusterName",
        "DefaultCluster",
        "Name of the cluster that this node belongs to.",
        |c, v| {
            c.cluster = value::name(v)?;
            Ok(())
        },
        |c| c.cluster.clone()
    ),
    setting!(
        "brokerName",
        "broker-a",
        "Name of the node. Each shard is a broker of its own: with one shard it has this name, with more they are called NAME-0, NAME-1, and so on.",
        |c, v| {
            c.broker_name = value::name(v)?;
            Ok(())
        },
        |c| c.broker_name.clone()
    ),
    setting!(
        "brokerId",
        "0",
        "0 is the master of this brokerName; each of its slaves has another number.",
        |c, v| {
            c.broker_id = replication::read_broker_id(v)?;
            Ok(())
        },
        |c| c.broker_id.to_string()
    ),
    setting!(
        "brokerRole",
        "ASYNC_MASTER",
        "ASYNC_MASTER: a reply waits for no slave. SYNC_MASTER: it waits for inSyncReplicas. SLAVE: copies the log of the master of the same brokerName, and serves its readers.",
        |c, v| {
            c.role = replication::read_role(v)?;
            Ok(())
        },
        |c| c.role.to_string()
    ),
    setting!(
        "brokerIP1",
        "",
        "The IP address that clients are told to connect to. Default: 127.0.0.1 for `all`; for `broker` the address from which the name server is reached.",
        |c, v| {
            c.advertised_ip = SettingValue::read(v)?;
            Ok(())
        },
        |c| shown(c.advertised_ip)
    ),
    setting!(
        "brokerIP2",
        "",
        "The IP address that slaves are told to connect to. Default: as brokerIP1.",
        |c, v| {
            c.replication_ip = SettingValue::read(v)?;
            Ok(())
        },
        |c| shown(c.replication_ip)
    ),
    setting!(
        "bindAddress",
        "",
        "The IP address to listen on. Default: 0.0.0.0, but 127.0.0.1 for `all` as long as brokerIP1 is a loopback address.",
        |c, v| {
            c.bind_ip_given = SettingValue::read(v)?;
            Ok(())
        },
        |c| c.bind_ip.to_string()
    ),
    setting!(
        "listenPort",
        "10911",
        listen_port,
        "Port of shard 0. Each shard also takes the port two below (VIP channel of old clients) and one above (replication)."
    ),
    setting!("portStride", "10", port_stride in 0..=u16::MAX, "",
        "Distance from one shard's port to the next one's; at least 4 with more than one shard."),
    setting!(
        "haListenPort",
        "0",
        ha_listen_port,
        "Replication port of shard 0; those of the other shards follow by portStride. 0: one above listenPort."
    ),
    setting!(
        "shards",
        "",
        "Number of shards: brokers with a core of their own. Default: what the store has; for a new store \
         the cores this process may use. A store keeps its number.",
        |c, v| {
            c.shards = if v.is_empty() { None } else { Some(value::within(v, 1, SHARDS_MAX, "")?) };
            Ok(())
        },
        |c| shown(c.shards)
    ),
    setting!(
        "namesrvAddr",
        "",
        "Name servers to register with, HOST:PORT separated by ; and the same list that clients use. `all` adds its own.",
        |c, v| {
            c.name_servers = Addresses::read(v)?.0;
            Ok(())
        },
        |c| c.name_servers.join(";")
    ),
    setting!("namesrvListenPort", "9876", namesrv_listen_port, "Port of the name server inside `all`."),
    setting!(
        "storePathRootDir",
        "ringmq-data",
        "Folder of all data of this node; created if it is missing.",
        |c, v| {
            c.store_root = SettingValue::read(v)?;
            Ok(())
        },
        |c| c.store_root.display().to_string()
    ),
    setting!(
        "storePathCommitLog",
        "",
        "Accepted for Apache's files; must lie in storePathRootDir, where each shard keeps its own commit log.",
        |c, v| {
            c.store_path_commit_log = SettingValue::read(v)?;
            Ok(())
        },
        |c| shown(c.store_path_commit_log.as_ref().map(|path| path.display().to_string()))
    ),
    setting!("mappedFileSizeCommitLog", "268435456", segment_bytes in 1_048_576..=2_147_483_648, "of bytes ",
        "Bytes of one commit log segment, a multiple of 4096. One segment a shard is written ahead, so small disks want small segments."),
    setting!(
        "tailPath",
        "/dev/shm",
        "Folder on tmpfs for the newest bytes of each shard's log. On a disk, or too full, ASYNC_FLUSH replies after the write instead.",
        |c, v| {
            c.tail_path = SettingValue::read(v)?;
            Ok(())
        },
        |c| c.tail_path.display().to_string()
    ),
    setting!("tailSize", "33554432", tail_bytes in TAIL_BYTES_MIN..=2_147_483_648, "of bytes, a power of two, ",
        "Bytes of each shard's tail, a power of two. Consumers within this distance of the end never touch the disk."),
    setting!(
        "flushDiskType",
        "ASYNC_FLUSH",
        flush,
        "ASYNC_FLUSH: a reply means the message survives kill -9 of this process. SYNC_FLUSH: it survives power loss of this machine."
    ),
    online(setting!("syncFlushTimeout", "2700", sync_flush_timeout_ms in 1..=600_000, "of ms ",
        "Milliseconds after which a send under SYNC_FLUSH is answered FLUSH_DISK_TIMEOUT. Apache's default is 5000, which stock clients do not live \
         to see: they give up after 3000, and send again what is stored.")),
    setting!(
        "enabledAppendPropCRC",
        "true",
        append_property_crc,
        "Every record carries a checksum over all of it. Always true: a torn record could not be told otherwise."
    ),
    online(setting!("maxMessageSize", "4194304",
        message_bytes_max in 1..=u32::try_from(FRAME_BYTES_MAX / 2).expect("8 MiB fits"), "of bytes ",
        "Largest message body in bytes.")),
    setting!(
        "messageDelayLevel",
        "1s 5s 10s 30s 1m 2m 3m 4m 5m 6m 7m 8m 9m 10m 20m 30m 1h 2h",
        delay_levels,
        "How long a message of each delay level waits, level 1 first: numbers with s, m, h or d, 64 at most. Masters and their slaves must agree."
    ),
    online(setting!("fileReservedTime", "72", file_reserved_hours in 1..=876_000, "of hours ",
        "Hours that messages are kept, at least.")),
    online(setting!(
        "deleteWhen",
        "04",
        delete_hours,
        "Hours of the day, UTC, from 00 to 23 and with ; between, in which expired segments go."
    )),
    online(setting!("diskMaxUsedSpaceRatio", "75", disk_used_percent_max brought_into 10..=95, "of percent ",
        "Percent of the disk in use above which expired segments go at once; brought into 10 to 95.")),
    online(setting!("diskSpaceWarningLevelRatio", "90", disk_used_percent_refused brought_into 35..=90, "of percent ",
        "Percent of the disk in use above which sends are refused; brought into 35 to 90.")),
    online(setting!("retentionClockAccepted", "0", clock_accepted_ms in 0..=9_999_999_999_999, "of ms ",
        "Unix ms at which an operator found the wall clock right, after it was set.")),
    online(setting!("scrubInterval", "604800000", scrub_interval_ms in 0..=SCRUB_INTERVAL_MS_MAX, "of ms ",
        "In such a time all of the log is read once, to find damage while a replica is whole; 0: never.")),
    online(setting!(
        "cleanFileForciblyEnable",
        "false",
        clean_forcibly,
        "Whether a nearly full disk costs the oldest messages, expired or not. Apache's default is true; here sends are refused instead, so that nothing acknowledged is lost."
    )),
    online(setting!("diskSpaceCleanForciblyRatio", "85", clean_forcibly_percent brought_into 20..=95, "of percent ",
        "Percent of the disk in use above which that happens, if it may; brought into 20 to 95.")),
    online(setting!(
        "autoCreateTopicEnable",
        "true",
        auto_create_topic,
        "Whether a send to an unknown topic creates it, on every shard."
    )),
    online(setting!(
        "autoCreateSubscriptionGroup",
        "true",
        auto_create_group,
        "Whether an unknown consumer group is created when it is first seen."
    )),
    setting!("defaultTopicQueueNums", "8", default_topic_queues in 1..=1024, "",
        "Queues a shard of a topic that a send creates, at most; clients ask for 4."),
    online(setting!("brokerPermission", "6", broker_permission in 0..=7, "",
        "Sum of 4 (readable) and 2 (writable), for all topics. 4 lets consumers drain a node before it is taken away.")),
    setting!(
        "clusterTopicEnable",
        "true",
        cluster_topic,
        "Whether a send may create topics through the topic named like the cluster."
    ),
    setting!(
        "brokerTopicEnable",
        "true",
        broker_topic,
        "Whether a send may create topics through the topic named like the broker."
    ),
    setting!("traceTopicEnable", "false", trace_topic, "Whether this node stores message traces."),
    setting!(
        "msgTraceTopicName",
        "RMQ_SYS_TRACE_TOPIC",
        "Topic of message traces.",
        |c, v| {
            c.trace_topic_name = value::name(v)?;
            Ok(())
        },
        |c| c.trace_topic_name.clone()
    ),
    online(setting!("traceOn", "true", trace_on, "Whether clients are told to trace.")),
    online(setting!(
        "regionId",
        "DefaultRegion",
        "Region that clients put into traces.",
        |c, v| {
            c.region_id = value::name(v)?;
            Ok(())
        },
        |c| c.region_id.clone()
    )),
    online(setting!(
        "longPollingEnable",
        "true",
        long_polling,
        "Whether a pull that finds nothing is held until a message comes."
    )),
    online(setting!(
        "enablePropertyFilter",
        "false",
        filters_properties,
        "Whether consumers may filter by SQL92 over properties; else they are refused, and filter by tags."
    )),
    online(setting!(
        "filterSupportRetry",
        "false",
        filters_retries,
        "Whether an SQL92 subscription to a retry topic filters by what its group wants of the topics that the messages come from."
    )),
    online(setting!(
        "storeReplyMessageEnable",
        "true",
        stores_replies,
        "Whether replies to requests are stored in CLUSTER_REPLY_TOPIC as well as pushed to who made the request."
    )),
    online(setting!(
        "useServerSideResetOffset",
        "true",
        resets_offsets,
        "Whether the broker resets a group's offsets itself, whoever is online; false tells the clients to, as RocketMQ 4 did."
    )),
    online(setting!("accessMessageInMemoryMaxRatio", "40", young_percent_max in 0..=100, "of percent ",
        "Percent of the machine's memory. A group that is new reads a queue from its first message as long as no more than this was stored since; \
         later it begins as its consumers say.")),
    online(setting!("shortPollingTimeMills", "1000", short_polling_ms in 1..=60_000, "of ms ",
        "Milliseconds that such a pull waits if longPollingEnable=false.")),
    setting!(
        "registerNameServerPeriod",
        "30000",
        "Milliseconds from one registration with the name servers to the next; brought into 10000 to 60000.",
        |c, v| {
            c.register_period_ms = u64::read(v)?.clamp(10_000, 60_000);
            Ok(())
        },
        |c| c.register_period_ms.to_string()
    ),
    setting!("registerBrokerTimeoutMills", "24000", register_timeout_ms in 100..=600_000, "of ms ",
        "Milliseconds that a name server has for its answer."),
];
