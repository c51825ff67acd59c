//! A small blocking client: one connection an address, one request at a time.

use std::collections::BTreeMap;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use ringmq_protocol::body::{BrokerData, ClusterInfo, QueueData, TopicRouteData, perm};
use ringmq_protocol::code::{RequestCode, ResponseCode};
use ringmq_protocol::exchange::{Exchange, Response};
use ringmq_protocol::placement::PlacementError;
use ringmq_protocol::reply::ExtValue;

const CONNECT: Duration = Duration::from_secs(3);
const ANSWER: Duration = Duration::from_secs(15);
const MASTER: u64 = 0;
/// Of a name server whose address has none.
const NAME_SERVER_PORT: u16 = 9876;

/// Why a command fails; each is one sentence that says what to do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AdminError {
    #[error("no name server answers: {reason}; start one, or name another with -n HOST:PORT")]
    NoNameServer { reason: String },
    #[error(
        "{address} is a broker and no name server; give -n the address of a name server, whose port is {NAME_SERVER_PORT} where nobody changed it"
    )]
    NotNameServer { address: String },
    #[error(
        "-n {given}: {text:?} is no address of a name server; write HOST or HOST:PORT, several of them with ';' between them"
    )]
    NameServerAddress { given: String, text: String },
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
    #[error("there is no cluster {cluster}; there are {}", known.join(", "))]
    NoCluster { cluster: String, known: Vec<String> },
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
    #[error("this asks for --yes where nobody can be asked (--dry-run only says what would be done): {what}")]
    NeedsYes { what: String },
    #[error("what these brokers have is missing: {missing}")]
    Incomplete { missing: String },
    #[error("{name} has no setting {key}; `config get -b {name}` shows those it has")]
    NoSetting { name: String, key: String },
    #[error("there is no message {what}")]
    NoMessage { what: String },
    #[error("{address} gives no messages, code {code}: {remark}")]
    Unread { address: String, code: i32, remark: String },
    #[error("{} cannot be read: {source}", file.display())]
    File { file: PathBuf, source: io::Error },
    #[error("nothing was done")]
    NotAgreed,
    #[error("{name} is the broker's own {kind}: it is neither changed nor deleted")]
    System { kind: &'static str, name: String },
    #[error("{0}")]
    Usage(String),
}

impl AdminError {
    /// What kind of failure it is, for programs: it stays, whatever the sentence becomes.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            AdminError::NoNameServer { .. } => "no_name_server",
            AdminError::NotNameServer { .. } => "not_a_name_server",
            AdminError::Io { .. } => "connection",
            AdminError::Protocol { .. } => "protocol",
            AdminError::Refused { .. } | AdminError::Unread { .. } => "refused",
            AdminError::NoTopic { .. } | AdminError::NothingDeleted { .. } => "no_topic",
            AdminError::NoGroup { .. } | AdminError::NoGroupDeleted { .. } => "no_group",
            AdminError::NoCluster { .. } => "no_cluster",
            AdminError::NoBroker { .. } | AdminError::NoMaster => "no_broker",
            AdminError::NoMessage { .. } => "no_message",
            AdminError::NoSetting { .. } => "no_setting",
            AdminError::NotWritable { .. } => "not_writable",
            AdminError::Online { .. } => "online",
            AdminError::System { .. } => "system",
            AdminError::Incomplete { .. } => "incomplete",
            AdminError::NeedsYes { .. } => "needs_yes",
            AdminError::NotAgreed => "not_agreed",
            AdminError::NoRingmq { .. } | AdminError::NotStarted { .. } => "no_ringmq",
            AdminError::File { .. } => "file",
            AdminError::NameServerAddress { .. } | AdminError::Placement(_) | AdminError::Usage(_) => "usage",
        }
    }

    /// Whether it is refused for what was asked, and so the next time as well.
    pub(crate) fn is_lasting(&self) -> bool {
        let lasting =
            [ResponseCode::NoPermission, ResponseCode::SubscriptionGroupNotExist, ResponseCode::InvalidParameter];
        self.code().is_some_and(|code| lasting.iter().any(|one| one.number() == code))
    }

    /// `RocketMQ`'s code of a refusal.
    pub(crate) fn code(&self) -> Option<i32> {
        match self {
            AdminError::Refused { code, .. } | AdminError::Unread { code, .. } => Some(*code),
            _ => None,
        }
    }

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
    /// Of name servers `HOST` or `HOST:PORT`, with `;` between them.
    ///
    /// # Errors
    /// [`AdminError::NameServerAddress`].
    pub(crate) fn new(name_servers: &str) -> Result<Cluster, AdminError> {
        let wrong =
            |text: &str| AdminError::NameServerAddress { given: name_servers.to_owned(), text: text.to_owned() };
        let given = name_servers.split(';').map(str::trim).filter(|text| !text.is_empty());
        let addresses: Vec<String> =
            given.map(|text| name_server_address(text).ok_or_else(|| wrong(text))).collect::<Result<_, _>>()?;
        if addresses.is_empty() {
            return Err(wrong(""));
        }
        Ok(Cluster { name_servers: addresses, connections: BTreeMap::new() })
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

    /// Asks the first name server that answers. A broker, which does not know these requests, is none.
    pub(crate) fn ask_name_server(
        &mut self,
        code: RequestCode,
        ext: &[(&str, ExtValue<'_>)],
    ) -> Result<(String, Response), AdminError> {
        let mut reasons = Vec::new();
        let mut broker = None;
        for address in self.name_servers.clone() {
            match self.ask(&address, code, ext, &[]) {
                Ok(answer) if answer.code == ResponseCode::RequestCodeNotSupported.number() => broker = Some(address),
                Ok(answer) => return Ok((address, answer)),
                Err(error) => reasons.push(error.to_string()),
            }
        }
        match broker {
            Some(address) => Err(AdminError::NotNameServer { address }),
            None => Err(AdminError::NoNameServer { reason: reasons.join("; ") }),
        }
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
        if !answer.is_success() {
            return Err(AdminError::refused(address, "the brokers there are", answer));
        }
        ClusterInfo::decode(&answer.body).map_err(|error| AdminError::Protocol { address, reason: error.to_string() })
    }

    /// Every broker and cluster, where there is a cluster of this name.
    ///
    /// # Errors
    /// [`AdminError::NoCluster`].
    pub(crate) fn info_of(&mut self, cluster: Option<&str>) -> Result<ClusterInfo, AdminError> {
        let info = self.info()?;
        match cluster {
            Some(_) if info.clusters.is_empty() => Err(AdminError::NoMaster),
            Some(cluster) if !info.clusters.contains_key(cluster) => {
                Err(AdminError::NoCluster { cluster: cluster.to_owned(), known: info.clusters.into_keys().collect() })
            }
            _ => Ok(info),
        }
    }

    /// The masters of a cluster, or of all.
    pub(crate) fn masters(&mut self, cluster: Option<&str>) -> Result<Vec<Master>, AdminError> {
        let info = self.info_of(cluster)?;
        let of = info.brokers.values().filter(|broker| cluster.is_none_or(|cluster| broker.cluster == cluster));
        let masters: Vec<Master> = of.filter_map(master).collect();
        if masters.is_empty() { Err(AdminError::NoMaster) } else { Ok(masters) }
    }

    /// Of each broker the master, or a slave of it while that is gone; and the names of those whose master is gone.
    pub(crate) fn readers(&mut self) -> Result<(Vec<Master>, Vec<String>), AdminError> {
        let info = self.info()?;
        let readers: Vec<Master> = info.brokers.values().filter_map(master_or_slave).collect();
        let slaves = info.brokers.values().filter(|broker| master(broker).is_none());
        let slaves = slaves.map(|broker| broker.broker_name.to_string()).collect();
        if readers.is_empty() { Err(AdminError::NoMaster) } else { Ok((readers, slaves)) }
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

/// `HOST:PORT` of what an operator wrote: a name or an address, with or without a port.
fn name_server_address(text: &str) -> Option<String> {
    if let Ok(ip) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Some(SocketAddr::new(ip, NAME_SERVER_PORT).to_string());
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0)?),
        None => (text, NAME_SERVER_PORT),
    };
    let is_ip6 = host.starts_with('[') && host.ends_with(']');
    let is_name = |host: &str| host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte));
    (!host.is_empty() && (is_ip6 || is_name(host))).then(|| format!("{host}:{port}"))
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
        let failed = |source: io::Error| {
            let is_late = matches!(source.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
            let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {} s", ANSWER.as_secs()));
            AdminError::Io { address: address.to_owned(), source: if is_late { late() } else { source } }
        };
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fake;

    #[test]
    fn a_name_server_is_a_host_with_or_without_a_port() {
        let check = |given: &str, expected: Option<&[&str]>| {
            let found = Cluster::new(given).map(|cluster| cluster.name_servers);
            match expected {
                Some(expected) => assert_eq!(found.expect(given), expected, "{given}"),
                None => assert!(matches!(found, Err(AdminError::NameServerAddress { .. })), "{given}: {found:?}"),
            }
        };
        check("127.0.0.1", Some(&["127.0.0.1:9876"]));
        check("names.example:1234", Some(&["names.example:1234"]));
        check(" a ; b:1;", Some(&["a:9876", "b:1"]));
        check("::1;[::1];[::1]:5", Some(&["[::1]:9876", "[::1]:9876", "[::1]:5"]));
        for wrong in ["", ";", "a:b", "a:0", "a:99999", ":9876", "http://a:9876", "a b", "a,b"] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_broker_is_told_from_a_name_server() {
        let (broker, _) = fake::broker(|_, _| None);
        let found = Cluster::new(&broker).expect("an address").info();
        assert!(matches!(found, Err(AdminError::NotNameServer { .. })), "{found:?}");
        // Whichever of several is one will do.
        let (name_server, _) = fake::broker(|code, _| match code {
            RequestCode::GetBrokerClusterInfo => fake::success(r#"{"brokerAddrTable":{},"clusterAddrTable":{}}"#),
            _ => None,
        });
        Cluster::new(&format!("{broker};{name_server}")).expect("addresses").info().expect("it answers");
    }

    #[test]
    fn a_cluster_that_is_not_there_is_named() {
        let (mut cluster, _) = fake::cluster(|_, _| None);
        let found = cluster.masters(Some("Nope"));
        assert!(matches!(&found, Err(AdminError::NoCluster { known, .. }) if known == &["C"]), "{found:?}");
        assert_eq!(cluster.masters(Some("C")).expect("it is there").len(), 1);
    }
}
