//! What `ringmq controller` reads, and the part of it that a name server reads for the controller in its process.

use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};

use super::namesrv::NamesrvConfig;
use super::node::NodeConfig;
use super::table::{self, Setting, online, setting};
use super::value::{SettingValue, is_host_port};
use super::{ConfigError, NotNeeded};

/// One of the controllers that agree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerPeer {
    /// The number behind `n`.
    number: u16,
    /// `host:port`.
    pub address: String,
}

impl ControllerPeer {
    /// Its name in settings and answers.
    #[must_use]
    pub fn id(&self) -> String {
        format!("n{}", self.number)
    }

    /// Its number as a member, which is never 0.
    pub(crate) fn member(&self) -> u64 {
        u64::from(self.number) + 1
    }
}

/// A checked configuration of one controller.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct ControllerConfig {
    /// `controllerDLegerGroup`.
    pub(crate) group: String,
    /// `controllerDLegerPeers`, by number.
    pub(crate) peers: Vec<ControllerPeer>,
    /// `controllerDLegerSelfId`.
    self_number: u16,
    /// `bindAddress`.
    pub bind_ip: IpAddr,
    /// `controllerStorePath`.
    pub store_path: PathBuf,
    /// `scanNotActiveBrokerInterval`, ms.
    pub(crate) scan_interval_ms: u64,
    /// `enableElectUncleanMaster`.
    pub(crate) unclean: bool,
    /// `notifyBrokerRoleChanged`.
    pub(crate) notify: bool,
    /// Apache's keys that were accepted and do nothing here.
    pub not_needed: Vec<NotNeeded>,
}

impl ControllerConfig {
    /// Reads properties text and checks it. Keys of name servers and nodes are accepted: the controller may be within one.
    ///
    /// # Errors
    /// The first fault, with its line.
    pub fn read(file: &str, text: &str) -> Result<ControllerConfig, ConfigError> {
        ControllerConfig::read_beside(file, text, None)
    }

    /// The same of the controller within a node, whose folder is below `root` unless the file says otherwise.
    ///
    /// # Errors
    /// As of [`ControllerConfig::read`].
    pub fn read_beside(file: &str, text: &str, root: Option<&Path>) -> Result<ControllerConfig, ConfigError> {
        let node_keys = NodeConfig::tables().iter().flat_map(|table| table.iter()).map(|row| row.key);
        let elsewhere: Vec<&str> = node_keys.chain(NamesrvConfig::keys()).collect();
        let draft = table::read(ControllerConfig::empty(), &[CONTROLLER], &elsewhere, file, text)?;
        if draft.config.own().is_none() {
            let sentence = format!(
                "controllerDLegerSelfId=n{} is none of controllerDLegerPeers; name this controller there, as all others name it",
                draft.config.self_number
            );
            return Err(draft.contradiction(&["controllerDLegerSelfId", "controllerDLegerPeers"], sentence));
        }
        let is_set = draft.line("controllerStorePath").is_some();
        let mut config = draft.config;
        config.not_needed = draft.not_needed;
        if let Some(root) = root.filter(|_| !is_set) {
            config.store_path = root.join("controller");
        }
        Ok(config)
    }

    /// Every setting, in the order in which `conf/` shows them.
    #[must_use]
    pub fn table() -> &'static [Setting<ControllerConfig>] {
        CONTROLLER
    }

    pub(super) fn keys() -> Vec<&'static str> {
        CONTROLLER.iter().map(|row| row.key).collect()
    }

    /// The configuration in force, as properties.
    #[must_use]
    pub fn print(&self) -> String {
        table::print(self, &[CONTROLLER])
    }

    /// This controller among its peers.
    #[must_use]
    pub fn this(&self) -> &ControllerPeer {
        self.own().expect("it was there when the settings were read")
    }

    fn own(&self) -> Option<&ControllerPeer> {
        self.peers.iter().find(|peer| peer.number == self.self_number)
    }

    /// The port to listen on.
    #[must_use]
    pub fn port(&self) -> u16 {
        let port = self.this().address.rsplit_once(':').and_then(|(_, port)| port.parse().ok());
        port.expect("addresses have ports")
    }

    /// Changes one setting while the controller runs.
    ///
    /// # Errors
    /// What the value must be, or that the key cannot be changed now.
    pub(crate) fn change(&mut self, key: &str, value: &str) -> Result<(), String> {
        let row = CONTROLLER.iter().find(|row| row.key == key);
        let row = row.ok_or_else(|| format!("{key} is no setting of this controller"))?;
        if !row.is_online {
            return Err(format!("{key} cannot be changed while the controller runs"));
        }
        (row.set)(self, value).map_err(|expected| format!("{key}={value} is not {expected}"))
    }

    fn empty() -> ControllerConfig {
        ControllerConfig {
            group: String::new(),
            peers: Vec::new(),
            self_number: 0,
            bind_ip: IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            store_path: PathBuf::new(),
            scan_interval_ms: 0,
            unclean: false,
            notify: true,
            not_needed: Vec::new(),
        }
    }
}

/// Controllers that agree: beyond seven each decision waits for more disks and nothing is gained.
const PEERS_MAX: usize = 7;

fn number_of(id: &str) -> Result<u16, String> {
    let number = id.strip_prefix('n').and_then(|number| number.parse::<u16>().ok());
    number.filter(|number| format!("n{number}") == id).ok_or_else(|| "n and a number, as n0".to_owned())
}

fn peers_of(text: &str) -> Result<Vec<ControllerPeer>, String> {
    let expected = format!("a list of one to {PEERS_MAX} nNUMBER-HOST:PORT, separated by ;");
    let mut peers: Vec<ControllerPeer> = Vec::new();
    for part in text.split(';').map(str::trim).filter(|part| !part.is_empty()) {
        let (id, address) = part.split_once('-').ok_or_else(|| expected.clone())?;
        let number = number_of(id).map_err(|_| expected.clone())?;
        let is_new = peers.iter().all(|peer| peer.number != number && peer.address != address);
        if !is_host_port(address) || !is_new {
            return Err(expected);
        }
        peers.push(ControllerPeer { number, address: address.to_owned() });
    }
    peers.sort_by_key(|peer| peer.number);
    if peers.is_empty() || peers.len() > PEERS_MAX { Err(expected) } else { Ok(peers) }
}

const CONTROLLER: &[Setting<ControllerConfig>] = &[
    setting!(
        "controllerDLegerGroup",
        "controller",
        "Name of the controllers that agree with one another. What comes from others is dropped.",
        |c, v| {
            c.group = super::value::name(v)?;
            Ok(())
        },
        |c| c.group.clone()
    ),
    setting!(
        "controllerDLegerPeers",
        "n0-127.0.0.1:9877",
        "All of them, the same at each: nNUMBER-HOST:PORT, separated by ;. One, three or five: a majority must run. The port is where brokers, tools and the other controllers connect.",
        |c, v| {
            c.peers = peers_of(v)?;
            Ok(())
        },
        |c| {
            let peers: Vec<String> = c.peers.iter().map(|peer| format!("{}-{}", peer.id(), peer.address)).collect();
            peers.join(";")
        }
    ),
    setting!(
        "controllerDLegerSelfId",
        "n0",
        "Which of them this is. It stays the same as long as the folder of controllerStorePath is there.",
        |c, v| {
            c.self_number = number_of(v)?;
            Ok(())
        },
        |c| format!("n{}", c.self_number)
    ),
    setting!(
        "bindAddress",
        "0.0.0.0",
        "The IP address to listen on.",
        |c, v| {
            c.bind_ip = Option::<IpAddr>::read(v)?.unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
            Ok(())
        },
        |c| c.bind_ip.to_string()
    ),
    setting!(
        "controllerStorePath",
        "ringmq-data/controller",
        "Folder of what this controller has promised the others; it is created. Without it the controller must not come back under its id.",
        |c, v| {
            c.store_path = SettingValue::read(v)?;
            Ok(())
        },
        |c| c.store_path.display().to_string()
    ),
    online(setting!(
        "scanNotActiveBrokerInterval",
        "500",
        scan_interval_ms in 100..=600_000,
        "of ms ",
        "Milliseconds between two looks for masters that went silent. A broker says itself after which silence it is gone (controllerHeartBeatTimeoutMills, 10 s with Apache's); one whose connection closes is gone at once."
    )),
    online(setting!(
        "enableElectUncleanMaster",
        "false",
        unclean,
        "Whether a replica that was not in sync may become the master, if nobody who was lives: what the last master acknowledged and it has not is lost."
    )),
    online(setting!(
        "notifyBrokerRoleChanged",
        "true",
        notify,
        "Whether brokers are told of a new master at once; they ask every few seconds in any case."
    )),
];
