//! A master and its slave, with a name server that outlives both.
use std::path::PathBuf;
use std::time::Duration;

use crate::audit::Queue;
use crate::client::Client;
use crate::name_server::NameServer;
use crate::node::{Node, NodeOptions, wait_for};
use crate::tails::small_log;

/// How a pair is started.
#[derive(Debug, Clone, Default)]
pub struct PairOptions {
    /// Whether replies wait for the slave.
    pub sync: bool,
    /// What both are started with.
    pub both: NodeOptions,
    /// Further lines of the master.
    pub master: Vec<(&'static str, String)>,
    /// Further lines of the slave, such as an address of the master that is not the master's.
    pub slave: Vec<(&'static str, String)>,
    /// `storePathRootDir` of the master, if not a fresh folder.
    pub master_store: Option<PathBuf>,
    /// The same of the slave.
    pub slave_store: Option<PathBuf>,
}

impl PairOptions {
    /// With [`small_log`]s.
    pub fn small(sync: bool) -> Self {
        Self { sync, both: NodeOptions { more: small_log(), ..NodeOptions::default() }, ..Self::default() }
    }
}

/// A running pair with as many shards on either. The slave has number 1.
#[derive(Debug)]
pub struct Pair {
    pub name_server: NameServer,
    pub master: Node,
    pub slave: Node,
}

impl Pair {
    /// Starts all three and waits until they serve.
    pub fn start(options: &PairOptions) -> Self {
        let name_server = NameServer::start(&[]);
        let master = Node::start(&Self::master_options(options, &name_server));
        let slave = Node::start(&Self::slave_options(options, &name_server));
        Self { name_server, master, slave }
    }

    /// What the master is started with.
    pub fn master_options(options: &PairOptions, name_server: &NameServer) -> NodeOptions {
        let mut node = NodeOptions { name_servers: Some(name_server.address()), ..options.both.clone() };
        node.store_dir.clone_from(&options.master_store);
        let role = if options.sync { "SYNC_MASTER" } else { "ASYNC_MASTER" };
        node.more.push(("brokerRole", role.to_owned()));
        node.more.extend(options.master.iter().cloned());
        node
    }

    /// What the slave is started with.
    pub fn slave_options(options: &PairOptions, name_server: &NameServer) -> NodeOptions {
        let mut node = NodeOptions { name_servers: Some(name_server.address()), ..options.both.clone() };
        node.store_dir.clone_from(&options.slave_store);
        node.more.extend([("brokerRole", "SLAVE".to_owned()), ("brokerId", "1".to_owned())]);
        node.more.extend(options.slave.iter().cloned());
        node
    }

    /// A connection to the master, to its first shard.
    pub fn to_master(&self) -> Client {
        self.to_master_of(0)
    }

    /// A connection to one of the master's shards.
    pub fn to_master_of(&self, shard: u16) -> Client {
        Client::connect(&self.master.broker(shard)).expect("the master listens")
    }

    /// A connection to the slave, to its first shard.
    pub fn to_slave(&self) -> Client {
        self.to_slave_of(0)
    }

    /// A connection to one of the slave's shards, which is away for a moment while its log is cut.
    pub fn to_slave_of(&self, shard: u16) -> Client {
        wait_for("slave that listens", || Client::connect(&self.slave.broker(shard)).ok())
    }

    /// Kills the master and waits until its slave has noticed: only then does it show what no master has confirmed.
    pub fn lose_master(&mut self) {
        self.master.kill();
        for shard in 0..self.slave.shards() {
            wait_for("slave that misses its master", || {
                let status = self.to_slave_of(shard).ha_status().ok()?;
                (status["haClientRuntimeInfo"]["activated"] == false).then_some(())
            });
        }
    }

    /// Waits until the slave is in sync with the master, on every shard.
    pub fn wait_in_sync(&self) {
        for shard in 0..self.master.shards() {
            wait_for("slave in sync", || {
                let status = self.to_master_of(shard).ha_status().ok()?;
                (status["inSyncSlaveNums"] == 1).then_some(())
            });
        }
    }

    /// Waits until a queue ends on the slave where it ends on the master, which must be quiet.
    pub fn wait_caught_up(&self, queue: &Queue) {
        let Queue { shard, topic, queue_id } = queue;
        let wanted = self.to_master_of(*shard).max_offset(topic, *queue_id).expect("the master answers");
        wait_for("slave that has caught up", || {
            let mut slave = self.to_slave_of(*shard);
            slave.set_timeout(Duration::from_secs(5)).expect("a socket has a timeout");
            let found = slave.max_offset(topic, *queue_id).unwrap_or(0);
            (found == wanted).then_some(())
        });
    }
}
