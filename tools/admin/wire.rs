//! A small blocking client: one connection an address, one request at a time.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use ringmq_protocol::body::{BrokerData, ClusterInfo, QueueData, TopicRouteData, perm};
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::exchange::{Exchange, Response};
use ringmq_protocol::placement::PlacementError;
use ringmq_protocol::reply::ExtValue;

const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(15);
const MASTER: u64 = 0;

/// Why a command fails; each is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("no name server answers: {reason}; start one, or name another with -n HOST:PORT")]
    NoNameServer { reason: String },
    #[error("cannot talk to {address}: {source}")]
    Io { address: String, source: io::Error },
    #[error("{address} does not speak RocketMQ's protocol: {reason}")]
    Protocol { address: String, reason: String },
    #[error("{address} refuses {what} with code {code}: {remark}")]
    Refused { address: String, what: &'static str, code: i32, remark: String },
    #[error("there is no topic {topic}; `topic list` shows the topics there are")]
    NoTopic { topic: String },
    #[error("there was no topic {topic}; `topic list` shows the topics there are")]
    NothingDeleted { topic: String },
    #[error("there is no group {group}; `group list` shows the groups there are")]
    NoGroup { group: String },
    #[error("there was no group {group}; `group list` shows the groups there are")]
    NoGroupDeleted { group: String },
    #[error("there is no cluster {cluster}; there are {known}")]
    NoCluster { cluster: String, known: String },
    #[error("there is no broker at {address} or of that name; `cluster list` shows the brokers there are")]
    NoBroker { address: String },
    #[error("no master of topic {topic} is there to take a message; `cluster list` shows who is")]
    NotWritable { topic: String },
    #[error("no broker with a master is registered; start one, or look at `cluster list`")]
    NoMaster,
    #[error("{0}")]
    Placement(#[from] PlacementError),
    #[error(
        "group {group} has consumers online, which would overwrite the offsets, and {address} cannot stop them from it; stop them first"
    )]
    Online { group: String, address: String },
    #[error(
        "there is no `ringmq` in {folder} or on the PATH, and `store` is its command: put it there, or say `ringmq store` where it is"
    )]
    NoRingmq { folder: String },
    #[error(
        "{program} cannot be started: {source}; make it executable for this user, or say `ringmq store` with another one"
    )]
    NotStarted { program: String, source: io::Error },
    #[error("{0}")]
    Usage(String),
}

impl AdminError {
    pub(crate) fn refused(address: String, what: &'static str, response: Response) -> AdminError {
        let reason = if response.remark.is_empty() { "no reason given".to_owned() } else { response.remark };
        AdminError::Refused { address, what, code: response.code, remark: reason }
    }
}

/// A broker that takes changes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Master {
    pub(crate) name: String,
    pub(crate) address: String,
}

/// A cluster, seen through its name servers.
pub(crate) struct Cluster {
    name_servers: Vec<String>,
    connections: BTreeMap<String, Connection>,
}

struct Connection {
    stream: TcpStream,
    exchange: Exchange,
}

impl Cluster {
    pub(crate) fn new(name_servers: &str) -> Cluster {
        let name_servers = name_servers.split(';').map(str::trim).filter(|name| !name.is_empty());
        Cluster { name_servers: name_servers.map(str::to_owned).collect(), connections: BTreeMap::new() }
    }

    /// Asks one address; any code is an answer.
    pub(crate) fn ask(
        &mut self,
        address: &str,
        code: RequestCode,
        ext: &[(&str, ExtValue<'_>)],
        body: &[u8],
    ) -> Result<Response, AdminError> {
        let failed = |source| AdminError::Io { address: address.to_owned(), source };
        let mut connection = match self.connections.remove(address) {
            Some(connection) => connection,
            None => Connection { stream: connect(address).map_err(failed)?, exchange: Exchange::default() },
        };
        let request = connection.exchange.request(code, ext, body);
        connection.stream.write_all(&request).map_err(failed)?;
        let response = connection.read_response(address)?;
        self.connections.insert(address.to_owned(), connection);
        Ok(response)
    }

    /// Asks one address for something that must succeed.
    pub(crate) fn must(
        &mut self,
        address: &str,
        what: &'static str,
        code: RequestCode,
        ext: &[(&str, ExtValue<'_>)],
        body: &[u8],
    ) -> Result<Response, AdminError> {
        let answer = self.ask(address, code, ext, body)?;
        if answer.is_success() { Ok(answer) } else { Err(AdminError::refused(address.to_owned(), what, answer)) }
    }

    /// Asks the first name server that answers.
    pub(crate) fn ask_name_server(
        &mut self,
        code: RequestCode,
        ext: &[(&str, ExtValue<'_>)],
    ) -> Result<(String, Response), AdminError> {
        let mut reason = "none was given".to_owned();
        for address in self.name_servers.clone() {
            match self.ask(&address, code, ext, &[]) {
                Ok(answer) => return Ok((address, answer)),
                Err(error) => reason = error.to_string(),
            }
        }
        Err(AdminError::NoNameServer { reason })
    }

    /// Asks every name server for something that must succeed on each.
    pub(crate) fn tell_name_servers(
        &mut self,
        what: &'static str,
        code: RequestCode,
        ext: &[(&str, ExtValue<'_>)],
    ) -> Result<(), AdminError> {
        for address in self.name_servers.clone() {
            self.must(&address, what, code, ext, &[])?;
        }
        Ok(())
    }

    /// Every broker and cluster.
    pub(crate) fn info(&mut self) -> Result<ClusterInfo, AdminError> {
        let (address, answer) = self.ask_name_server(RequestCode::GetBrokerClusterInfo, &[])?;
        ClusterInfo::decode(&answer.body).map_err(|error| AdminError::Protocol { address, reason: error.to_string() })
    }

    /// The masters of a cluster, or of all.
    pub(crate) fn masters(&mut self, cluster: Option<&str>) -> Result<Vec<Master>, AdminError> {
        let info = self.info()?;
        if let Some(cluster) = cluster
            && !info.clusters.contains_key(cluster)
        {
            let known: Vec<&str> = info.clusters.keys().map(String::as_str).collect();
            return Err(AdminError::NoCluster { cluster: cluster.to_owned(), known: known.join(", ") });
        }
        let of = info.brokers.values().filter(|broker| cluster.is_none_or(|cluster| broker.cluster == cluster));
        let masters: Vec<Master> = of.filter_map(master).collect();
        if masters.is_empty() { Err(AdminError::NoMaster) } else { Ok(masters) }
    }

    /// A topic's route.
    pub(crate) fn route(&mut self, topic: &str) -> Result<TopicRouteData, AdminError> {
        let ext = [("topic", ExtValue::Str(topic))];
        let (address, answer) = self.ask_name_server(RequestCode::GetRouteinfoByTopic, &ext)?;
        if answer.code == ResponseCode::TopicNotExist.number() {
            return Err(AdminError::NoTopic { topic: topic.to_owned() });
        }
        if !answer.is_success() {
            return Err(AdminError::refused(address, "a route", answer));
        }
        TopicRouteData::decode(&answer.body)
            .map_err(|error| AdminError::Protocol { address, reason: error.to_string() })
    }

    /// Each readable queue of a topic with its broker: the master, or the slave that stands in for it.
    pub(crate) fn queues(&mut self, topic: &str) -> Result<Vec<(Master, u32)>, AdminError> {
        self.queues_where(topic, |data| data.read_queues)
    }

    /// Each queue of a topic that takes messages now. None if all masters are gone.
    pub(crate) fn writable_queues(&mut self, topic: &str) -> Result<Vec<(Master, u32)>, AdminError> {
        self.queues_where(topic, |data| if data.perm & perm::WRITE == 0 { 0 } else { data.write_queues })
    }

    fn queues_where(
        &mut self,
        topic: &str,
        count: impl Fn(&QueueData) -> u32,
    ) -> Result<Vec<(Master, u32)>, AdminError> {
        let route = self.route(topic)?;
        let mut queues = Vec::new();
        for data in &route.queues {
            let broker = route.brokers.iter().find(|broker| broker.broker_name == data.broker_name);
            if let Some(master) = broker.and_then(master_or_slave) {
                queues.extend((0..count(data)).map(|queue| (master.clone(), queue)));
            }
        }
        Ok(queues)
    }
}

fn master(broker: &BrokerData) -> Option<Master> {
    let address = broker.addresses.iter().find(|(id, _)| id.0 == MASTER).map(|(_, address)| address.clone())?;
    Some(Master { name: broker.broker_name.to_string(), address })
}

/// Where readers go: the master, or the first slave while it is gone.
fn master_or_slave(broker: &BrokerData) -> Option<Master> {
    let address = broker.addresses.values().next()?.clone();
    Some(Master { name: broker.broker_name.to_string(), address })
}

fn connect(address: &str) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for target in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&target, CONNECT) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(ANSWER))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

impl Connection {
    fn read_response(&mut self, address: &str) -> Result<Response, AdminError> {
        let failed = |source| AdminError::Io { address: address.to_owned(), source };
        let mut chunk = [0; 64 * 1024];
        loop {
            let taken = self.exchange.take_response();
            let taken = taken.map_err(|error| AdminError::Protocol {
                address: address.to_owned(),
                reason: format!("it sent {error}"),
            })?;
            if let Some(response) = taken {
                return Ok(response);
            }
            let read = self.stream.read(&mut chunk).map_err(failed)?;
            if read == 0 {
                return Err(failed(io::Error::new(io::ErrorKind::UnexpectedEof, "the connection was closed")));
            }
            self.exchange.received().extend_from_slice(chunk.get(..read).unwrap_or_default());
        }
    }
}
