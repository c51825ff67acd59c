//! `ringmq namesrv`, as a process, over TCP.
//!
//! Proves that the sockets carry what the machine decides: registration and loss of a broker by its connection, bytes in pieces,
//! oneway requests, garbage, key-values that survive `kill -9`, a clean exit on SIGTERM, and one sentence where it cannot start.
//! It cannot prove that stock brokers and clients agree; the tests with stock software do.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::BytesMut;
use ringmq::protocol::body::{RegisterBody, TopicConfig, TopicRouteData, TopicTable};
use ringmq::protocol::frame::{Encoding, split};
use ringmq::protocol::header::Header;
use ringmq::protocol::reply::{ExtValue, encode_request};

struct NameServer {
    process: Child,
    address: SocketAddr,
}

impl NameServer {
    /// A name server on a free port; another process may take that port in between, so it is tried again.
    fn start(folder: &Path) -> NameServer {
        for _ in 0..20 {
            let port = free_port();
            let config = format!(
                "listenPort={port}\nbindAddress=127.0.0.1\nkvConfigPath={}\n",
                folder.join("kv/kvConfig.json").display()
            );
            let mut process = spawn(folder, &config);
            let stdout = process.stdout.take().expect("stdout is piped");
            let mut line = String::new();
            BufReader::new(stdout).read_line(&mut line).expect("stdout can be read");
            if line.starts_with("name server") {
                return NameServer { process, address: SocketAddr::from(([127, 0, 0, 1], port)) };
            }
            process.wait().expect("it has ended");
        }
        panic!("no port was free twenty times");
    }

    fn signal(&self, name: &str) {
        let status = Command::new("kill").arg(format!("-{name}")).arg(self.process.id().to_string()).status();
        assert!(status.expect("kill runs").success());
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

#[expect(clippy::disallowed_methods, reason = "the test writes the configuration and needs a port")]
fn spawn(folder: &Path, config: &str) -> Child {
    let file = folder.join("namesrv.conf");
    std::fs::write(&file, config).expect("the file can be written");
    Command::new(env!("CARGO_BIN_EXE_ringmq"))
        .arg("namesrv")
        .arg("-c")
        .arg(file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary runs")
}

#[expect(clippy::disallowed_methods, reason = "the kernel knows which port is free")]
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port()
}

struct Peer {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Peer {
    #[expect(clippy::disallowed_methods, reason = "the test is a client")]
    fn connect(address: SocketAddr) -> Peer {
        let stream = TcpStream::connect(address).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a timeout can be set");
        Peer { stream, received: Vec::new() }
    }

    fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("the peer reads");
    }

    /// Code, fields and body of the next reply.
    fn reply(&mut self) -> (i32, Vec<(String, String)>, Vec<u8>) {
        loop {
            if let Some(frame) = split(&self.received).expect("well-formed") {
                let header = Header::decode(frame.encoding, frame.header).expect("well-formed");
                let ext = header.ext.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
                let answer = (header.code, ext, frame.body.to_vec());
                let size = frame.size;
                self.received.drain(..size);
                return answer;
            }
            let mut chunk = [0; 4096];
            let read = self.stream.read(&mut chunk).expect("a reply within 10 s");
            assert!(read > 0, "the connection was closed");
            self.received.extend_from_slice(&chunk[..read]);
        }
    }

    fn ask(&mut self, code: i32, ext: &[(&str, &str)], body: &[u8]) -> (i32, Vec<(String, String)>, Vec<u8>) {
        self.send(&request(code, false, ext, body));
        self.reply()
    }

    fn is_closed(&mut self) -> bool {
        let mut rest = Vec::new();
        // A reset counts as closed too.
        self.stream.read_to_end(&mut rest).map_or(true, |_| rest.is_empty())
    }
}

fn request(code: i32, oneway: bool, ext: &[(&str, &str)], body: &[u8]) -> BytesMut {
    let ext: Vec<_> = ext.iter().map(|(key, value)| (*key, ExtValue::Str(value))).collect();
    let mut bytes = BytesMut::new();
    encode_request(Encoding::Json, code, 7, oneway, &ext, body, &mut bytes);
    bytes
}

const BROKER: [(&str, &str); 5] = [
    ("brokerName", "broker-a"),
    ("brokerAddr", "127.0.0.1:10911"),
    ("clusterName", "DefaultCluster"),
    ("haServerAddr", "127.0.0.1:10912"),
    ("brokerId", "0"),
];

fn registration() -> Vec<u8> {
    registration_of(["T", "U"].map(str::to_owned))
}

fn registration_of(names: impl IntoIterator<Item = String>) -> Vec<u8> {
    let topics = names.into_iter().map(|name| (name.as_str().into(), TopicConfig::new(name.as_str(), 4)));
    let table = TopicTable { topics: topics.collect(), ..TopicTable::default() };
    RegisterBody { table, filter_servers: Vec::new() }.encode()
}

#[test]
fn a_broker_is_found_until_its_connection_closes() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = NameServer::start(folder.path());
    let mut broker = Peer::connect(server.address);
    assert_eq!(broker.ask(103, &BROKER, &registration()).0, 0);
    let mut client = Peer::connect(server.address);
    let (code, _, body) = client.ask(105, &[("topic", "T")], &[]);
    assert_eq!(code, 0);
    let route = TopicRouteData::decode(&body).expect("a route");
    assert_eq!((route.queues.len(), route.queues[0].read_queues), (1, 4));
    drop(broker);
    // The close travels through the kernel: asked again until it has arrived, 10 s at most.
    let gone = (0..10_000).any(|_| client.ask(105, &[("topic", "T")], &[]).0 == 17);
    assert!(gone, "the broker is still in the route");
}

/// A large registration is read on a thread of its own: nobody waits for it but what came behind it on its own connection.
/// Clients are told what a broker says of itself, and dial it.
#[test]
fn what_no_broker_can_mean_is_not_registered() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = NameServer::start(folder.path());
    let mut stranger = Peer::connect(server.address);
    for (field, value) in [
        ("brokerName", ""),
        ("brokerName", "a\u{1b}[31m"),
        ("clusterName", " "),
        ("brokerAddr", "anything"),
        ("brokerAddr", "10.0.0.1:10911;10.0.0.2:10911"),
        ("haServerAddr", "10.0.0.1"),
        ("brokerId", "18446744073709551615"),
        ("heartbeatTimeoutMillis", "-1"),
    ] {
        let usual = BROKER.into_iter().filter(|(name, _)| *name != field);
        let fields: Vec<_> = usual.chain([(field, value)]).collect();
        assert_eq!(stranger.ask(103, &fields, &registration()).0, 29, "{field}: {value:?}");
    }
    assert_eq!(stranger.ask(103, &BROKER, &registration_of(["T".to_owned(), "a\nb".to_owned()])).0, 29);
    let (code, _, body) = stranger.ask(106, &[], b"");
    assert_eq!((code, String::from_utf8_lossy(&body).contains("brokerAddrs")), (0, false));
    assert_eq!(stranger.ask(103, &BROKER, &registration()).0, 0, "and the same connection registers what a broker is");
}

#[test]
fn a_large_registration_holds_up_nobody() {
    const TOPICS: usize = 30_000;
    let folder = tempfile::tempdir().expect("a folder");
    let server = NameServer::start(folder.path());
    let mut broker = Peer::connect(server.address);
    let mut client = Peer::connect(server.address);
    let body = registration_of((0..TOPICS).map(|number| format!("topic-{number}")));
    let mut bytes = request(103, false, &BROKER, &body);
    bytes.extend_from_slice(&request(105, false, &[("topic", "topic-7")], &[]));
    broker.send(&bytes);
    let mut answered = 0;
    while client.ask(105, &[("topic", "topic-29999")], &[]).0 == 17 {
        answered += 1;
    }
    assert!(answered > 0, "nobody was answered while {} bytes were read", body.len());
    assert_eq!((broker.reply().0, broker.reply().0), (0, 0), "in the order of the requests");
    // What is no registration is refused in words, however large it is.
    assert_eq!(broker.ask(103, &BROKER, &[b'['; 100_000]).0, 1);
    assert_eq!(broker.ask(105, &[("topic", "T")], &[b'x'; 100_000]).0, 17);
}

#[test]
fn bytes_in_pieces_and_requests_without_an_answer() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = NameServer::start(folder.path());
    let mut peer = Peer::connect(server.address);
    let mut bytes = request(206, true, &[], &[]);
    bytes.extend_from_slice(&request(4711, true, &[], &[]));
    bytes.extend_from_slice(&request(206, false, &[], &[]));
    for byte in bytes.iter() {
        peer.send(&[*byte]);
    }
    assert_eq!(peer.reply(), (0, vec![], br#"{"topicList":[]}"#.to_vec()), "one answer, to the last");
    assert_eq!(peer.ask(4711, &[], &[]).0, 3);
    let many = request(206, false, &[], &[]).repeat(100);
    peer.send(&many);
    for _ in 0..100 {
        assert_eq!(peer.reply().0, 0);
    }
}

#[test]
fn garbage_closes_its_own_connection_only() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = NameServer::start(folder.path());
    let mut bystander = Peer::connect(server.address);
    for garbage in [
        &[0, 0, 0, 0][..],
        &[0x7f, 0xff, 0xff, 0xff],
        &[1, 0, 0, 1, 0],
        b"GET / HTTP/1.1\r\n\r\n",
        &[0, 0, 0, 8, 0, 0, 0, 4, b'{', b'{', b'{', b'{'],
    ] {
        let mut peer = Peer::connect(server.address);
        peer.send(garbage);
        assert!(peer.is_closed(), "{garbage:?}");
        assert_eq!(bystander.ask(206, &[], &[]).0, 0);
    }
}

#[test]
fn key_values_survive_a_kill_and_a_stop_is_clean() {
    let folder = tempfile::tempdir().expect("a folder");
    let entry = [("namespace", "N"), ("key", "k"), ("value", "v")];
    let server = NameServer::start(folder.path());
    assert_eq!(Peer::connect(server.address).ask(100, &entry, &[]).0, 0);
    drop(server);
    let mut server = NameServer::start(folder.path());
    let (code, ext, _) = Peer::connect(server.address).ask(101, &entry[..2], &[]);
    assert_eq!((code, ext), (0, vec![("value".to_owned(), "v".to_owned())]));
    server.signal("TERM");
    assert_eq!(server.process.wait().expect("it ends").code(), Some(0));
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the test takes the port away")]
fn what_cannot_start_says_why_in_one_sentence() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let port = taken.local_addr().expect("it is bound").port();
    for (config, expected) in [
        (
            format!("listenPort={port}\nbindAddress=127.0.0.1"),
            format!(
                "ringmq: the name server cannot listen on 127.0.0.1:{port}: Address already in use (os error 98); stop who uses the port, or change listenPort\n"
            ),
        ),
        (
            "listenPrt=1".to_owned(),
            format!(
                "ringmq: {} line 1: unknown key listenPrt; did you mean listenPort?\n",
                folder.path().join("namesrv.conf").display()
            ),
        ),
    ] {
        let output = spawn(folder.path(), &config).wait_with_output().expect("it ends");
        assert_eq!((String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code()), (expected, Some(1)));
    }
}
