//! A master and its slave, with a name server that outlives both.
use std::time::Duration;

use super::client::Client;
use super::name_server::NameServer;
use super::node::{Node, NodeOptions, wait_for};

/// How a pair is started.
#[derive(Debug, Clone, Default)]
pub(crate) struct PairOptions {
    /// Whether replies wait for the slave.
    pub(crate) sync: bool,
    /// What both are started with.
    pub(crate) both: NodeOptions,
    /// Further lines of the master.
    pub(crate) master: Vec<(&'static str, String)>,
    /// Further lines of the slave, such as an address of the master that is not the master's.
    pub(crate) slave: Vec<(&'static str, String)>,
}

/// A running pair of one shard each. The slave has number 1.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) name_server: NameServer,
    pub(crate) master: Node,
    pub(crate) slave: Node,
}

impl Pair {
    /// Starts all three and waits until they serve.
    pub(crate) fn start(options: &PairOptions) -> Self {
        let name_server = NameServer::start(&[]);
        let master = Node::start(&Self::master_options(options, &name_server));
        let slave = Node::start(&Self::slave_options(options, &name_server));
        Self { name_server, master, slave }
    }

    /// What the master is started with.
    pub(crate) fn master_options(options: &PairOptions, name_server: &NameServer) -> NodeOptions {
        let mut node = NodeOptions { name_servers: Some(name_server.address()), ..options.both.clone() };
        let role = if options.sync { "SYNC_MASTER" } else { "ASYNC_MASTER" };
        node.more.push(("brokerRole", role.to_owned()));
        node.more.extend(options.master.iter().cloned());
        node
    }

    /// What the slave is started with.
    pub(crate) fn slave_options(options: &PairOptions, name_server: &NameServer) -> NodeOptions {
        let mut node = NodeOptions { name_servers: Some(name_server.address()), ..options.both.clone() };
        node.more.extend([("brokerRole", "SLAVE".to_owned()), ("brokerId", "1".to_owned())]);
        node.more.extend(options.slave.iter().cloned());
        node
    }

    /// A connection to the master.
    pub(crate) fn to_master(&self) -> Client {
        Client::connect(&self.master.broker(0)).expect("the master listens")
    }

    /// A connection to the slave, which is away for a moment while its log is cut.
    pub(crate) fn to_slave(&self) -> Client {
        wait_for("slave that listens", || Client::connect(&self.slave.broker(0)).ok())
    }

    /// Kills the master and waits until its slave has noticed: only then does it show what no master has confirmed.
    pub(crate) fn lose_master(&mut self) {
        self.master.kill();
        wait_for("slave that misses its master", || {
            let status = self.to_slave().ha_status().ok()?;
            (status["haClientRuntimeInfo"]["activated"] == false).then_some(())
        });
    }

    /// Waits until a queue ends on the slave where it ends on the master, which must be quiet.
    pub(crate) fn wait_caught_up(&self, topic: &str, queue_id: i32) {
        let wanted = self.to_master().max_offset(topic, queue_id).expect("the master answers");
        wait_for("slave that has caught up", || {
            let mut slave = self.to_slave();
            slave.set_timeout(Duration::from_secs(5)).expect("a socket has a timeout");
            let found = slave.max_offset(topic, queue_id).unwrap_or(0);
            (found == wanted).then_some(())
        });
    }
}
