//! Whatever a client sends, the server lives, its memory stays bounded, and the client beside it notices nothing.
//!
//! Every attack goes to the broker's port and to the name server's, while a neighbour sends messages and asks for routes; each
//! of its requests must succeed within the three seconds that stock clients wait. Its latencies are printed, not asserted: how
//! long a shared machine takes says little. The bench measures them.
//!
//! What it cannot show: that no input at all is dangerous. That is for the fuzz targets of the decoders; here is one of each kind
//! that has brought down servers of this sort, through the real socket.
#![allow(clippy::disallowed_methods, reason = "a test has clocks, files, threads and sockets")]

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use harness::{Client, Frame, Neighbour, Node, NodeOptions, Random, Seed, code, open_files_max, resident_mb_max, say};
use ringmq::protocol::body::{DataVersion, RegisterBody, TopicConfig, TopicTable};

/// Most memory that the server may have had resident after any of this. Its buffers, its tail (8 MiB here) and what a
/// thousand connections hold sum up to far less.
const RESIDENT_MB_MAX: u64 = 512;
/// Longest wait for an answer or for the end of a connection.
const PATIENCE: Duration = Duration::from_secs(20);
/// Idle connections, as far as the limits on open files allow.
const IDLE_CONNECTIONS: usize = 10_000;

/// A node under attack and the neighbour.
struct Scene {
    node: Node,
    neighbour: Neighbour,
}

impl Scene {
    fn begin() -> io::Result<Self> {
        let options = NodeOptions { more: vec![("tailSize", "8388608".to_owned())], ..NodeOptions::default() };
        let node = Node::start(&options);
        Client::connect(&node.broker(0))?.create_topic("neighbour", 1)?;
        harness::wait_for("route", || Client::connect(&node.name_server()).ok()?.route("neighbour").ok()?);
        let neighbour = Neighbour::start(&node.broker(0), &node.name_server())?;
        Ok(Self { node, neighbour })
    }

    /// Both ports, with names for messages.
    fn ports(&self) -> [(&'static str, String); 2] {
        [("broker", self.node.broker(0)), ("name server", self.node.name_server())]
    }

    /// The neighbour noticed nothing, the server lives, its memory is bounded.
    fn end(self, what: &str) -> io::Result<()> {
        let latencies = self.neighbour.end()?;
        let resident = resident_mb_max(self.node.process().id())?;
        say(&format!("{what}: neighbour {latencies:?}, at most {resident} MiB resident"));
        assert!(resident <= RESIDENT_MB_MAX, "{what}: {resident} MiB resident");
        let panics = self.node.process().log_text().contains("panicked");
        assert!(!panics, "{what}: something in the server panicked:\n{}", self.node.process().log_tail());
        for (_, port) in [("broker", self.node.broker(0)), ("name server", self.node.name_server())] {
            Client::connect(&port)?;
        }
        Ok(())
    }
}

/// Writes `bytes`, closes our side, and reads what comes until the server closes its side, which it must do soon.
fn provoke(address: &str, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    // The server may close while we still write: that is an answer, too.
    if stream.write_all(bytes).is_ok() {
        drop(stream.shutdown(Shutdown::Write));
    }
    let mut answer = Vec::new();
    match stream.read_to_end(&mut answer) {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock || error.kind() == io::ErrorKind::TimedOut => {
            Err(io::Error::other("the server neither answered nor closed the connection"))
        }
        // A reset is a way to close.
        _ => Ok(answer),
    }
}

/// A frame with any header bytes and any lengths.
fn frame(kind: u8, header: &[u8], body: &[u8]) -> Vec<u8> {
    frame_with(4 + header.len() + body.len(), kind, header.len(), header, body)
}

fn frame_with(length: usize, kind: u8, header_length: usize, header: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(length).expect("fits its field").to_be_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(&u32::try_from(header_length).expect("fits its field").to_be_bytes()[1..]);
    bytes.extend_from_slice(header);
    bytes.extend_from_slice(body);
    bytes
}

/// What is wrong before any header is looked at: the connection must be closed without an answer.
fn malformed_frames() -> Vec<(&'static str, Vec<u8>)> {
    let rest = [0_u8; 64];
    let length = |length: u32| [length.to_be_bytes().as_slice(), &rest].concat();
    vec![
        ("length 0", length(0)),
        ("length 3", length(3)),
        ("length 2^31 - 1", length((1 << 31) - 1)),
        ("length 2^31", length(1 << 31)),
        ("length 2^32 - 1", length(u32::MAX)),
        ("length 16 MiB + 1", length((16 << 20) + 1)),
        ("header longer than the frame", frame_with(20, 0, 4000, &rest, b"")),
        ("header of 2^24 - 1 bytes", frame_with(20, 0, (1 << 24) - 1, &rest, b"")),
        ("header type 2", frame(2, br#"{"code":105,"opaque":1,"flag":0}"#, b"")),
        ("header type 255", frame(255, br#"{"code":105,"opaque":1,"flag":0}"#, b"")),
        ("a TLS hello", [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".as_slice(), &rest].concat()),
        ("an HTTP request", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("a PROXY header", b"PROXY TCP4 127.0.0.1 127.0.0.1 1 2\r\n".to_vec()),
    ]
}

#[test]
fn malformed_frames_end_their_connection_only() -> io::Result<()> {
    let scene = Scene::begin()?;
    for (port, address) in scene.ports() {
        for (name, bytes) in malformed_frames() {
            let answer = provoke(&address, &bytes).unwrap_or_else(|error| panic!("{port}, {name}: {error}"));
            assert!(answer.is_empty(), "{port} answers {name} with {:?}", String::from_utf8_lossy(&answer));
        }
    }
    scene.end("malformed frames")
}

#[test]
fn garbage_and_cut_frames_end_their_connection_only() -> io::Result<()> {
    let seed = Seed::of("hostile", "garbage_and_cut_frames_end_their_connection_only");
    let mut random = seed.random(0);
    let scene = Scene::begin()?;
    for (port, address) in scene.ports() {
        let whole = Client::send_request("neighbour", 0, &[1; 200], &[]).encode();
        for cut in (0..whole.len()).step_by(7) {
            let answer = provoke(&address, &whole[..cut]).unwrap_or_else(|error| panic!("{port}, cut {cut}: {error}"));
            assert!(answer.is_empty(), "{port} answers a frame cut at {cut}");
        }
        for _ in 0..100 {
            let mut bytes = vec![0; 1 + random.below(64 << 10)];
            random.fill(&mut bytes);
            // Small lengths in front, so that the header decoders get their share.
            let small = u32::try_from(random.below(bytes.len() + 8)).expect("small");
            let lengths = [small.to_be_bytes(), [u8::from(random.once_in(2)), 0, 0, bytes[0]]].concat();
            let bytes = if random.once_in(4) { bytes } else { [lengths, bytes].concat() };
            provoke(&address, &bytes).unwrap_or_else(|error| panic!("{port}, garbage: {error}"));
        }
        // One changed byte in a good frame, anywhere.
        for binary in [false, true] {
            let good = Client::send_request("neighbour", 0, b"body", &[("TAGS", "a")]);
            let good = if binary { good.binary() } else { good }.encode();
            for _ in 0..200 {
                let mut bytes = good.clone();
                let at = random.below(bytes.len());
                bytes[at] = u8::try_from(random.below(256)).expect("a byte");
                provoke(&address, &bytes).unwrap_or_else(|error| panic!("{port}, byte {at}: {error}"));
            }
        }
    }
    scene.end("garbage")
}

/// JSON headers that have hurt parsers, up to the size of a frame.
fn json_bombs() -> Vec<(&'static str, Vec<u8>)> {
    let deep = |open: &str, close: &str, depth: usize| {
        format!(r#"{{"code":105,"opaque":1,"flag":0,"extFields":{}1{}}}"#, open.repeat(depth), close.repeat(depth))
            .into_bytes()
    };
    let fields: String = (0..500_000).map(|n| format!(r#""f{n}":"","#)).collect();
    let same: String = r#""topic":"x","#.repeat(1_000_000);
    let header = |fields: &str| format!(r#"{{"code":105,"opaque":1,"flag":0{fields}}}"#).into_bytes();
    vec![
        ("a million arrays", deep("[", "]", 1_000_000)),
        ("a million objects", deep(r#"{"a":"#, "}", 1_000_000)),
        ("a million open arrays", deep("[", "", 1_000_000)),
        ("half a million fields", header(&format!(r#","extFields":{{{fields}"topic":"x"}}"#))),
        ("a million times one field", header(&format!(r#","extFields":{{{same}"topic":"x"}}"#))),
        ("a string of 15 MB", header(&format!(r#","remark":"{}""#, "a".repeat(15_000_000)))),
        ("a million escapes", header(&format!(r#","remark":"{}""#, "\\u0041".repeat(1_000_000)))),
        ("a number of a million digits", header(&format!(r#","version":{}"#, "9".repeat(1_000_000)))),
        ("1e999999999", header(r#","version":1e999999999"#)),
        ("1e-999999999", header(r#","version":1e-999999999"#)),
        ("code beyond 32 bits", br#"{"code":99999999999,"opaque":1,"flag":0}"#.to_vec()),
        ("code as text", br#"{"code":"x","opaque":1,"flag":0}"#.to_vec()),
        ("code as an object", br#"{"code":{},"opaque":1,"flag":0}"#.to_vec()),
        ("no code", br#"{"opaque":1,"flag":0}"#.to_vec()),
        ("no opaque", br#"{"code":105,"flag":0}"#.to_vec()),
        ("flag of all bits", br#"{"code":105,"opaque":1,"flag":-1}"#.to_vec()),
        ("half a surrogate pair", header(r#","remark":"\ud800""#)),
        (
            "no UTF-8",
            [br#"{"code":105,"opaque":1,"flag":0,"remark":""#.as_slice(), &[0xFF, 0xC0, 0x80], b"\"}"].concat(),
        ),
        ("an array for a header", b"[1,2,3]".to_vec()),
        ("null for a header", b"null".to_vec()),
        ("an empty header", Vec::new()),
        ("a cut header", br#"{"code":105,"opaque":1,"fl"#.to_vec()),
        ("text behind the header", br#"{"code":105,"opaque":1,"flag":0}}}}"#.to_vec()),
        ("ext of numbers and objects", header(r#","extFields":{"topic":1,"a":{"b":[]},"c":null,"d":true}"#)),
    ]
}

/// Binary headers with lengths that lie.
fn binary_bombs() -> Vec<(&'static str, Vec<u8>)> {
    let fixed = [0_u8, 105, 0, 1, 223, 0, 0, 0, 1, 0, 0, 0, 0];
    let with = |rest: &[u8]| [fixed.as_slice(), rest].concat();
    let many: Vec<u8> = [0, 1, b'k', 0, 0, 0, 1, b'v'].repeat(1_000_000);
    let many_length = u32::try_from(many.len()).expect("small").to_be_bytes();
    vec![
        ("empty", Vec::new()),
        ("cut in the fixed part", fixed[..9].to_vec()),
        ("no lengths", fixed.to_vec()),
        ("remark of 2^31 - 1", with(&[0x7F, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0])),
        ("remark of -1", with(&[0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0])),
        ("ext of 2^31 - 1", with(&[0, 0, 0, 0, 0x7F, 0xFF, 0xFF, 0xFF])),
        ("ext of -1", with(&[0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF])),
        ("key of 2^16 - 1", with(&[0, 0, 0, 0, 0, 0, 0, 8, 0xFF, 0xFF, b'k', 0, 0, 0, 1, b'v'])),
        ("value of 2^31 - 1", with(&[0, 0, 0, 0, 0, 0, 0, 8, 0, 1, b'k', 0x7F, 0xFF, 0xFF, 0xFF, b'v'])),
        ("value of -1", with(&[0, 0, 0, 0, 0, 0, 0, 8, 0, 1, b'k', 0xFF, 0xFF, 0xFF, 0xFF, b'v'])),
        ("key that is no UTF-8", with(&[0, 0, 0, 0, 0, 0, 0, 8, 0, 1, 0xFF, 0, 0, 0, 1, b'v'])),
        ("a million fields", with(&[&[0, 0, 0, 0], many_length.as_slice(), &many].concat())),
    ]
}

#[test]
fn header_bombs_end_their_connection_at_most() -> io::Result<()> {
    let scene = Scene::begin()?;
    for (port, address) in scene.ports() {
        for (kind, bombs) in [(0, json_bombs()), (1, binary_bombs())] {
            for (name, header) in bombs {
                let begin = Instant::now();
                provoke(&address, &frame(kind, &header, b"")).unwrap_or_else(|error| panic!("{port}, {name}: {error}"));
                assert!(begin.elapsed() < PATIENCE, "{port}, {name}: {:?}", begin.elapsed());
            }
        }
    }
    scene.end("header bombs")
}

/// Requests with bodies that are read as JSON, and with bodies that are batches.
fn body_bombs() -> Vec<(String, Frame)> {
    let deep = |depth: usize| format!("{}{}", r#"{"a":["#.repeat(depth), "]}".repeat(depth));
    let wide: String = (0..300_000).map(|n| format!(r#"{{"groupName":"g{n}"}},"#)).collect();
    let bodies: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", Vec::new()),
        ("garbage", vec![0xFE; 1000]),
        ("deep JSON", deep(500_000).into_bytes()),
        ("wide JSON", format!(r#"{{"clientID":"bomb","producerDataSet":[{wide}{{"groupName":"g"}}]}}"#).into_bytes()),
        ("JSON of the wrong types", br#"{"clientID":[],"consumerDataSet":7,"groupName":{},"topic":true}"#.to_vec()),
        ("a string that never ends", [b"\"".as_slice(), &vec![b'a'; 4 << 20]].concat()),
    ];
    let mut requests = Vec::new();
    // Heartbeat, group settings, locks, register broker, compiled filters, group offsets: all that take JSON.
    for request in [34, 35, 41, 42, 43, 46, 103, 200, 221, 222, 300, 301, 401, 407, 36, 106] {
        for (name, body) in &bodies {
            let frame = Frame::request(request).ext("topic", "neighbour").ext("group", "g").ext("brokerName", "bomb");
            let frame = frame.ext("brokerAddr", "127.0.0.1:1").ext("clusterName", "bomb").ext("brokerId", 0);
            requests.push((format!("code {request} with {name}"), frame.body(body.clone())));
        }
    }
    let batch = |name: &str, body: Vec<u8>| {
        let mut frame = Client::send_request("neighbour", 0, &body, &[]).ext("m", true);
        frame.code = code::SEND_BATCH_MESSAGE;
        (format!("a batch {name}"), frame)
    };
    let sizes = |total: u32, body: u32, properties: u16| {
        let mut bytes = total.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[0; 12]);
        bytes.extend_from_slice(&body.to_be_bytes());
        bytes.extend_from_slice(b"body");
        bytes.extend_from_slice(&properties.to_be_bytes());
        bytes
    };
    requests.extend([
        batch("of nothing", Vec::new()),
        batch("of garbage", vec![0xFE; 1000]),
        batch("of zeroes", vec![0; 1000]),
        batch("with a size of 2^31", sizes(1 << 31, 4, 0)),
        batch("with a size of 0", sizes(0, 4, 0)),
        batch("with a body of 2^31 - 1", sizes(26, (1 << 31) - 1, 0)),
        batch("with a body of -1", sizes(26, u32::MAX, 0)),
        batch("with properties of 2^16 - 1", sizes(26, 4, u16::MAX)),
        batch("that is cut", sizes(26, 4, 0)[..20].to_vec()),
    ]);
    requests
}

/// A body can be refused or ignored, but never without an answer: the client would wait for it.
#[test]
fn body_bombs_are_answered() -> io::Result<()> {
    let scene = Scene::begin()?;
    for (port, address) in scene.ports() {
        let mut client = Client::connect(&address)?;
        for (name, request) in body_bombs() {
            client.call(request).unwrap_or_else(|error| panic!("{port}, {name}: {error}"));
        }
    }
    scene.end("body bombs")
}

/// Numbers and names at the edges, in the requests that use them to look something up.
fn strange_requests() -> Vec<Frame> {
    let numbers =
        ["-1", "0", "2147483647", "-2147483648", "9223372036854775807", "-9223372036854775808", "1e3", "", "x"];
    let long = "t".repeat(40_000);
    let names = ["", "../../../etc/passwd", "a/b", "\u{0}", "%RETRY%", "%DLQ%g", "TBW102", "\u{1F600}", &long];
    let mut requests = Vec::new();
    for number in numbers {
        for letter in ["d", "e", "f", "g", "h", "j", "l"] {
            requests.push(Client::send_request("neighbour", 0, b"strange", &[]).ext(letter, number));
        }
        for field in ["queueId", "queueOffset", "maxMsgNums", "sysFlag", "commitOffset", "subVersion", "maxMsgBytes"] {
            requests.push(Client::pull_request("g", "neighbour", 0, 0, 32).ext(field, number));
        }
        for request in [14, 15, 29, 30, 31, 32, 33] {
            let frame = Frame::request(request).ext("topic", "neighbour").ext("consumerGroup", "strange");
            requests.push(frame.ext("queueId", number).ext("offset", number).ext("timestamp", number));
            let frame = Frame::request(request).ext("topic", "neighbour").ext("consumerGroup", "strange");
            requests.push(
                frame.ext("queueId", 0).ext("commitOffset", number).ext("timestamp", number).ext("offset", number),
            );
        }
        let topic = Frame::request(code::UPDATE_AND_CREATE_TOPIC).ext("topic", "strange").ext("defaultTopic", "TBW102");
        let topic = topic.ext("readQueueNums", number).ext("writeQueueNums", number).ext("perm", number);
        requests.push(topic.ext("topicFilterType", number).ext("topicSysFlag", number).ext("order", number));
    }
    for name in names {
        requests.push(Client::send_request(name, 0, b"strange", &[]));
        requests.push(Client::pull_request(name, name, 0, 0, 32));
        requests.push(Frame::request(code::GET_ROUTE).ext("topic", name));
        for request in [17, 25, 38, 100, 101, 102, 200, 204, 206, 215, 216, 217, 351, 352] {
            let frame = Frame::request(request).ext("topic", name).ext("namespace", name).ext("key", name);
            let frame = frame.ext("value", name).ext("group", name).ext("consumerGroup", name).ext("groupName", name);
            requests.push(frame.ext("readQueueNums", 1).ext("writeQueueNums", 1).ext("perm", 6));
        }
    }
    requests.push(Client::pull_request("g", "neighbour", 0, 0, 32).ext("subscription", "a||".repeat(100_000)));
    requests
        .push(Client::pull_request("g", "neighbour", 0, 0, 32).ext("expressionType", "SQL92").ext("subscription", "("));
    requests.push(Client::send_request("neighbour", 0, b"strange", &[]).ext("i", "\u{1}\u{2}".repeat(9000)));
    requests.push(Client::send_request("neighbour", 0, b"strange", &[]).ext("i", "x".repeat(70_000)));
    requests.push(Client::send_request("neighbour", 0, &vec![0; 15 << 20], &[]));
    requests
}

#[test]
fn strange_requests_are_answered() -> io::Result<()> {
    let scene = Scene::begin()?;
    for (port, address) in scene.ports() {
        let mut client = Client::connect(&address)?;
        for request in strange_requests() {
            let what = format!("{port}, {} {:?}", request.code, shortened(&request));
            client.call(request).unwrap_or_else(|error| panic!("{what}: {error}"));
        }
    }
    scene.end("strange requests")
}

fn shortened(request: &Frame) -> Vec<(String, String)> {
    request.ext.iter().map(|(name, value)| (name.clone(), value.chars().take(40).collect())).collect()
}

/// An unknown code gets 3, one that is known gets something, and a oneway request gets nothing, whatever its code.
#[test]
fn every_code_is_answered_unless_it_is_oneway() -> io::Result<()> {
    let scene = Scene::begin()?;
    let codes = (0..420).chain(900..1030).chain(2000..2020).chain(3000..3010).chain(200_040..200_100);
    for (port, address) in scene.ports() {
        let mut client = Client::connect(&address)?;
        for unknown in [7777, 31_999, -1, i32::MAX, i32::MIN] {
            let response = client.call(Frame::request(unknown))?;
            assert_eq!(response.code, code::REQUEST_CODE_NOT_SUPPORTED, "{port}: {unknown}: {response:?}");
        }
        for request in codes.clone() {
            client
                .call(Frame::request(request))
                .unwrap_or_else(|error| panic!("{port}: code {request} without fields: {error}"));
            client.start(Frame::request(request).oneway())?;
        }
        // What a oneway request got would be filed under its opaque, and seen here.
        let last = client.start(Frame::request(7777))?;
        client.finish(last)?;
        let unexpected = client.unclaimed();
        assert!(unexpected.is_empty(), "{port} answers oneway requests: {unexpected:?}");
    }
    scene.end("every code")
}

#[test]
fn a_byte_at_a_time_is_a_request_like_any_other() -> io::Result<()> {
    let scene = Scene::begin()?;
    let slow: Vec<_> = scene
        .ports()
        .into_iter()
        .map(|(port, address)| {
            thread::spawn(move || -> io::Result<()> {
                let mut client = Client::connect(&address)?;
                let mut request = match port {
                    "broker" => Client::send_request("neighbour", 0, b"slow", &[]),
                    _ => Frame::request(code::GET_ROUTE).ext("topic", "neighbour"),
                };
                request.opaque = 1;
                for byte in request.encode() {
                    client.socket().write_all(&[byte])?;
                    thread::sleep(Duration::from_millis(5));
                }
                let response = client.finish(1)?;
                assert_eq!(response.code, code::SUCCESS, "{port}: {response:?}");
                Ok(())
            })
        })
        .collect();
    for slow in slow {
        slow.join().expect("no assertion failed")?;
    }
    scene.end("a byte at a time")
}

#[test]
fn ten_thousand_idle_connections_disturb_nobody() -> io::Result<()> {
    let scene = Scene::begin()?;
    // Room for the files of the other tests in this process, and for the server's own.
    let possible = open_files_max(std::process::id())?.min(open_files_max(scene.node.process().id())?);
    let wanted = IDLE_CONNECTIONS.min(possible.saturating_sub(1500));
    let mut idle = Vec::new();
    for (port, address) in scene.ports() {
        let count = if port == "broker" { wanted * 4 / 5 } else { wanted / 5 };
        for number in 0..count {
            let mut stream = TcpStream::connect(&address)?;
            // A third says nothing at all, a third stops within a frame that promises 16 MiB.
            match number % 3 {
                0 => {}
                1 => stream.write_all(&[0])?,
                _ => stream.write_all(&[0, 0xFF, 0xFF, 0xF0, 0, 0, 0, 100, b'{'])?,
            }
            idle.push(stream);
        }
    }
    let resident = resident_mb_max(scene.node.process().id())?;
    say(&format!("{} idle connections (limit on open files {possible}), {resident} MiB resident", idle.len()));
    assert!(wanted == IDLE_CONNECTIONS || possible < IDLE_CONNECTIONS + 1500, "fewer connections than possible");
    let mut open = 0;
    for stream in &mut idle {
        stream.set_nonblocking(true)?;
        if stream.read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            open += 1;
        }
    }
    assert_eq!(open, idle.len(), "connections that the server has closed");
    // A newcomer is served among them.
    let mut newcomer = Client::connect(&scene.node.broker(0))?;
    newcomer.send("neighbour", 0, b"newcomer")?;
    drop(idle);
    newcomer.send("neighbour", 0, b"newcomer")?;
    scene.end("idle connections")
}

#[test]
fn readers_that_never_read_are_held_up_alone() -> io::Result<()> {
    let scene = Scene::begin()?;
    let mut client = Client::connect(&scene.node.broker(0))?;
    client.create_topic("large", 1)?;
    for _ in 0..64 {
        client.send("large", 0, &vec![9; 200 << 10])?;
    }
    let mut streams = Vec::new();
    for (port, address) in scene.ports() {
        let request = match port {
            "broker" => Client::pull_request("g", "large", 0, 0, 32).encode(),
            _ => Frame::request(code::GET_ROUTE).ext("topic", "neighbour").encode(),
        };
        let requests = request.repeat(1 + (256 << 10) / request.len());
        for _ in 0..10 {
            let mut stream = TcpStream::connect(&address)?;
            stream.set_write_timeout(Some(Duration::from_millis(300)))?;
            // Until the server reads no more, or has been asked for gigabytes.
            for _ in 0..16 {
                if stream.write_all(&requests).is_err() {
                    break;
                }
            }
            streams.push(stream);
        }
    }
    let mut newcomer = Client::connect(&scene.node.broker(0))?;
    newcomer.send("neighbour", 0, b"newcomer")?;
    assert_eq!(newcomer.pull("g", "large", 0, 0, 1)?.code, 0);
    scene.end("readers that never read")?;
    drop(streams);
    Ok(())
}

/// Many connections that stop in the middle of a large frame: what they hold is bounded by what they sent.
#[test]
fn half_sent_large_frames_are_bounded() -> io::Result<()> {
    let scene = Scene::begin()?;
    let part = vec![0_u8; 1 << 20];
    let mut streams = Vec::new();
    for (_, address) in scene.ports() {
        for _ in 0..60 {
            let mut stream = TcpStream::connect(&address)?;
            stream.set_write_timeout(Some(Duration::from_millis(500)))?;
            stream.write_all(&[0, 0xFF, 0xFF, 0xF0, 0, 0, 0, 100])?;
            // The server need not take all of it.
            drop(stream.write_all(&part));
            streams.push(stream);
        }
    }
    let mut newcomer = Client::connect(&scene.node.broker(0))?;
    newcomer.send("neighbour", 0, b"newcomer")?;
    scene.end("half-sent frames")?;
    drop(streams);
    Ok(())
}

/// Clients that come, ask and vanish: nothing of them stays.
#[test]
fn vanishing_clients_leave_nothing() -> io::Result<()> {
    let seed = Seed::of("hostile", "vanishing_clients_leave_nothing");
    let mut random: Random = seed.random(0);
    let scene = Scene::begin()?;
    for (_, address) in scene.ports() {
        for number in 0..1500 {
            let mut client = Client::connect(&address)?;
            let request = match random.below(3) {
                0 => Client::long_pull_request("g", "neighbour", 0, i64::from(i32::MAX), Duration::from_secs(600)),
                1 => Client::send_request("neighbour", 0, &[1; 5000], &[]),
                _ => Frame::request(code::GET_ROUTE).ext("topic", "neighbour"),
            };
            client.start(request)?;
            if number % 100 == 0 {
                client.socket().shutdown(Shutdown::Write)?;
            }
        }
    }
    scene.end("vanishing clients")
}

/// Clients that ask once for a large answer each and read nothing: what waits for them is bounded, and while it is too much for all, they are closed.
#[test]
fn large_answers_that_nobody_reads_are_bounded_and_their_askers_go() -> io::Result<()> {
    let scene = Scene::begin()?;
    let mut client = Client::connect(&scene.node.broker(0))?;
    client.create_topic("large", 1)?;
    for _ in 0..2 {
        client.send_with("large", 0, &vec![9; 3 << 20], &[("KEYS", "k")])?;
    }
    let fields = [
        ("topic", "large"),
        ("key", "k"),
        ("maxNum", "32"),
        ("beginTimestamp", "0"),
        ("endTimestamp", "9999999999999"),
    ];
    let query = fields.iter().fold(Frame::request(code::QUERY_MESSAGE), |frame, (name, value)| frame.ext(name, *value));
    let deaf = |scene: &Scene| -> TcpStream {
        let mut stream = TcpStream::connect(scene.node.broker(0)).expect("it listens");
        stream.write_all(&query.encode()).expect("it reads");
        stream
    };
    // All of these wait for the same blocks, and are answered by one event; the others one by one, as long as there is room.
    let mut streams: Vec<TcpStream> = (0..150).map(|_| deaf(&scene)).collect();
    let mut pull = || client.call(Client::pull_request("g", "neighbour", 0, 0, 1)).expect("it answers").code;
    harness::wait_for("end of those that read nothing", || {
        match pull() {
            code::SUCCESS => streams.push(deaf(&scene)),
            code => assert_eq!(code, code::FLOW_CONTROL, "readers are behind"),
        }
        scene.node.process().log_text().contains("it does not read").then_some(())
    });
    harness::wait_for("room for those who read", || (pull() == code::SUCCESS).then_some(()));
    scene.end("large answers that nobody reads")?;
    drop(streams);
    Ok(())
}

/// The same of a name server, whose lists of topics are what a broker told of itself.
#[test]
fn lists_of_topics_that_nobody_reads_are_bounded_and_their_askers_go() -> io::Result<()> {
    let scene = Scene::begin()?;
    let topics = (0..20_000).map(|n| TopicConfig::new(format!("{n:0>250}").as_str(), 1));
    let topics = topics.map(|config| (config.name.clone(), config)).collect();
    let table = TopicTable { version: DataVersion::default(), topics };
    let fields = [("brokerName", "large"), ("brokerAddr", "h:1"), ("clusterName", "large"), ("brokerId", "0")];
    let registration = fields.iter().fold(Frame::request(103), |frame, (name, value)| frame.ext(name, *value));
    let mut broker = Client::connect(&scene.node.name_server())?;
    broker.expect_success(
        "registration",
        registration.body(RegisterBody { table, filter_servers: Vec::new() }.encode()),
    )?;
    let list = Frame::request(206);
    assert!(broker.expect_success("a list", list.clone())?.body.len() > 5_000_000);
    let deaf = || -> TcpStream {
        let mut stream = TcpStream::connect(scene.node.name_server()).expect("it listens");
        stream.write_all(&list.encode()).expect("it reads");
        stream
    };
    let mut streams: Vec<TcpStream> = (0..200).map(|_| deaf()).collect();
    let mut ask = || broker.call(list.clone()).expect("it answers").code;
    harness::wait_for("end of those that read nothing", || {
        match ask() {
            code::SUCCESS => streams.push(deaf()),
            code => assert_eq!(code, code::FLOW_CONTROL, "readers are behind"),
        }
        scene.node.process().log_text().contains("it does not read").then_some(())
    });
    harness::wait_for("room for those who read", || (ask() == code::SUCCESS).then_some(()));
    scene.end("lists that nobody reads")?;
    drop(streams);
    Ok(())
}

/// Who takes a little now and then has not read either.
#[test]
fn answers_that_are_read_by_the_byte_keep_nobody_away() -> io::Result<()> {
    let scene = Scene::begin()?;
    let mut client = Client::connect(&scene.node.broker(0))?;
    client.create_topic("large", 1)?;
    for _ in 0..2 {
        client.send("large", 0, &vec![9; 3 << 20])?;
    }
    let request = Client::pull_request("g", "large", 0, 0, 32);
    let mut streams = Vec::new();
    let is_refused = |client: &mut Client| {
        client.call(Client::pull_request("g", "neighbour", 0, 0, 1)).expect("it answers").code == code::FLOW_CONTROL
    };
    harness::wait_for("end of those that read by the byte", || {
        // A moment without room may pass: sockets take much at first.
        if !is_refused(&mut client) {
            let mut stream = TcpStream::connect(scene.node.broker(0)).expect("it listens");
            stream.write_all(&request.encode().repeat(10)).expect("it reads");
            stream.set_nonblocking(true).expect("a socket");
            streams.push(stream);
        }
        for stream in &mut streams {
            drop(stream.read(&mut [0; 100]));
        }
        scene.node.process().log_text().contains("it does not read").then_some(())
    });
    harness::wait_for("room for those who read", || (!is_refused(&mut client)).then_some(()));
    scene.end("answers that are read by the byte")?;
    drop(streams);
    Ok(())
}

/// What strangers can cause as often as they like is said a few times; then it is said how often it was.
#[test]
fn strangers_do_not_fill_the_log() -> io::Result<()> {
    const TIMES: usize = 1_000;
    let scene = Scene::begin()?;
    let lines = || scene.node.process().log_text().lines().count();
    let before = lines();
    for (_, address) in scene.ports() {
        for _ in 0..TIMES {
            provoke(&address, &[0xFF; 16])?;
        }
    }
    let mut client = Client::connect(&scene.node.broker(0))?;
    for _ in 0..TIMES {
        let refused = client.call(Frame::request(25).body("noSuchSetting=1"))?;
        assert_ne!(refused.code, code::SUCCESS);
    }
    let said = lines() - before;
    assert!((3..100).contains(&said), "{said} lines for {} events", 3 * TIMES);
    for what in ["connection closed", "settings were not changed"] {
        harness::wait_for(&format!("count of `{what}`"), || {
            let left_out = format!("more lines like this were left out: {what}");
            scene.node.process().log_text().contains(&left_out).then_some(())
        });
    }
    scene.end("lines of the log")
}
