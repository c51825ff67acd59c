//! What `ringmq namesrv` reads, and the part of it that `ringmq all` reads for its own name server.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;

use super::controller::ControllerConfig;
use super::node::NodeConfig;
use super::properties::Property;
use super::table::{self, Setting};
use super::value::{self, SettingValue};
use super::{ConfigError, Fault, NotNeeded};

/// A checked configuration of one name server.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct NamesrvConfig {
    pub listen_port: u16,
    /// `bindAddress`.
    pub bind_ip: IpAddr,
    /// `kvConfigPath`: the file of `updateKvConfig`.
    pub kv_config_path: PathBuf,
    /// `orderMessageEnable`.
    pub(crate) order_message: bool,
    /// `returnOrderTopicConfigToBroker`.
    pub(crate) return_order_topics: bool,
    /// `scanNotActiveBrokerInterval`, ms.
    pub(crate) scan_interval_ms: u64,
    /// `enableAllTopicList`.
    pub(crate) all_topic_list: bool,
    /// `enableTopicList`.
    pub(crate) topic_list: bool,
    /// `needWaitForService`.
    pub(crate) wait_for_service: bool,
    /// `waitSecondsForService`.
    pub(crate) wait_for_service_s: u64,
    /// `deleteTopicWithBrokerRegistration`.
    pub(crate) delete_topic_with_registration: bool,
    /// `enableControllerInNamesrv`.
    pub has_controller: bool,
    /// Apache's keys that were accepted and do nothing here.
    pub not_needed: Vec<NotNeeded>,
}

impl NamesrvConfig {
    /// Keys that `ringmq all` passes on to its name server; the port and address are the node's.
    pub(super) const EMBEDDED: &[&str] = &[
        "kvConfigPath",
        "orderMessageEnable",
        "returnOrderTopicConfigToBroker",
        "scanNotActiveBrokerInterval",
        "enableAllTopicList",
        "enableTopicList",
        "needWaitForService",
        "waitSecondsForService",
        "deleteTopicWithBrokerRegistration",
        "enableControllerInNamesrv",
    ];

    /// Reads properties text and checks it.
    ///
    /// # Errors
    /// The first fault, with its line.
    pub fn read(file: &str, text: &str) -> Result<NamesrvConfig, ConfigError> {
        let node_keys = NodeConfig::tables().iter().flat_map(|table| table.iter()).map(|row| row.key);
        let elsewhere: Vec<&str> = node_keys.chain(ControllerConfig::keys()).collect();
        let draft = table::read(NamesrvConfig::empty(), &[NAMESRV], &elsewhere, file, text)?;
        let mut config = draft.config;
        config.not_needed = draft.not_needed;
        if config.has_controller {
            config.not_needed.retain(|entry| !ControllerConfig::keys().contains(&entry.key.as_str()));
        }
        Ok(config)
    }

    /// Every default.
    #[must_use]
    pub fn defaults() -> NamesrvConfig {
        NamesrvConfig::read("defaults", "").expect("the defaults are a configuration")
    }

    /// Every setting, in the order in which `conf/` shows them.
    #[must_use]
    pub fn table() -> &'static [Setting<NamesrvConfig>] {
        NAMESRV
    }

    /// The configuration in force, as properties.
    #[must_use]
    pub fn print(&self) -> String {
        table::print(self, &[NAMESRV])
    }

    /// Changes one setting while the name server runs.
    ///
    /// # Errors
    /// What the value must be, or that the key cannot be changed now.
    pub(crate) fn change(&mut self, key: &str, value: &str) -> Result<(), String> {
        let row = NAMESRV
            .iter()
            .find(|row| row.key == key)
            .ok_or_else(|| format!("{key} is no setting of this name server"))?;
        if matches!(key, "listenPort" | "bindAddress" | "kvConfigPath" | "enableControllerInNamesrv") {
            return Err(format!("{key} cannot be changed while the name server runs"));
        }
        (row.set)(self, value).map_err(|expected| format!("{key}={value} is not {expected}"))
    }

    pub(super) fn keys() -> Vec<&'static str> {
        NAMESRV.iter().map(|row| row.key).collect()
    }

    /// Takes the keys of [`NamesrvConfig::EMBEDDED`] from a node's file.
    pub(super) fn embed(&mut self, entries: &[Property], file: &str) -> Result<(), ConfigError> {
        for entry in entries.iter().filter(|entry| NamesrvConfig::EMBEDDED.contains(&entry.key.as_str())) {
            let row = NAMESRV.iter().find(|row| row.key == entry.key).expect("EMBEDDED names rows of the table");
            (row.set)(self, &entry.value).map_err(|expected| {
                let fault = Fault::BadValue { key: entry.key.clone(), value: entry.value.clone(), expected };
                ConfigError::new(file, Some(entry.line), fault)
            })?;
        }
        Ok(())
    }

    fn empty() -> NamesrvConfig {
        NamesrvConfig {
            listen_port: 0,
            bind_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            kv_config_path: PathBuf::new(),
            order_message: false,
            return_order_topics: true,
            scan_interval_ms: 0,
            all_topic_list: true,
            topic_list: true,
            wait_for_service: false,
            wait_for_service_s: 0,
            delete_topic_with_registration: false,
            has_controller: false,
            not_needed: Vec::new(),
        }
    }
}

macro_rules! flag {
    ($key:literal, $default:literal, $field:ident, $doc:literal) => {
        Setting {
            key: $key,
            is_online: false,
            default: $default,
            doc: $doc,
            set: |c, v| {
                c.$field = SettingValue::read(v)?;
                Ok(())
            },
            get: |c| c.$field.to_string(),
        }
    };
}

const NAMESRV: &[Setting<NamesrvConfig>] = &[
    Setting {
        key: "listenPort",
        is_online: false,
        default: "9876",
        doc: "Port that brokers, clients and tools connect to.",
        set: |c, v| {
            c.listen_port = value::within(v, 1, u16::MAX, "")?;
            Ok(())
        },
        get: |c| c.listen_port.to_string(),
    },
    Setting {
        key: "bindAddress",
        is_online: false,
        default: "0.0.0.0",
        doc: "The IP address to listen on.",
        set: |c, v| {
            c.bind_ip = Option::<IpAddr>::read(v)?.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            Ok(())
        },
        get: |c| c.bind_ip.to_string(),
    },
    Setting {
        key: "kvConfigPath",
        is_online: false,
        default: "ringmq-data/namesrv/kvConfig.json",
        doc: "File that keeps what updateKvConfig sets; its folder is created. Routes are never kept: brokers register again.",
        set: |c, v| {
            c.kv_config_path = SettingValue::read(v)?;
            Ok(())
        },
        get: |c| c.kv_config_path.display().to_string(),
    },
    flag!(
        "orderMessageEnable",
        "false",
        order_message,
        "Whether routes carry the order of queues that updateOrderConf sets."
    ),
    flag!(
        "returnOrderTopicConfigToBroker",
        "true",
        return_order_topics,
        "Whether a broker's registration is answered with that order."
    ),
    Setting {
        key: "scanNotActiveBrokerInterval",
        is_online: false,
        default: "5000",
        doc: "Milliseconds between two looks for brokers that went silent; a broker expires after 120 s, or what it asked for.",
        set: |c, v| {
            c.scan_interval_ms = value::within(v, 100, 600_000, "of ms ")?;
            Ok(())
        },
        get: |c| c.scan_interval_ms.to_string(),
    },
    flag!("enableAllTopicList", "true", all_topic_list, "Whether the list of all topics is given out."),
    flag!("enableTopicList", "true", topic_list, "Whether lists of topics by cluster and by kind are given out."),
    flag!(
        "needWaitForService",
        "false",
        wait_for_service,
        "Whether routes are refused at first, until brokers have had time to register."
    ),
    Setting {
        key: "waitSecondsForService",
        is_online: false,
        default: "45",
        doc: "Seconds of that.",
        set: |c, v| {
            c.wait_for_service_s = value::within(v, 0, 3_600, "of seconds ")?;
            Ok(())
        },
        get: |c| c.wait_for_service_s.to_string(),
    },
    flag!(
        "deleteTopicWithBrokerRegistration",
        "false",
        delete_topic_with_registration,
        "Whether topics that a master no longer registers leave the routes."
    ),
    flag!(
        "enableControllerInNamesrv",
        "false",
        has_controller,
        "Whether a controller runs in this process as well, on a port and with settings of its own: controller.conf explains them, and they stand in this file."
    ),
];
