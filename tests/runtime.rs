//! The shard runtime keeps the promises that glommio 0.9 breaks: one test a listed bug, each through ringmq's own shell.
//!
//! Proved here: executors do not sleep on runnable tasks; a fresh preallocated file can be read; a taken port is refused; a panic in the
//! blocking pool is an error; no accepted socket is leaked; bad, slow and silent clients cost what the limits say; a panicking executor
//! takes the process with it. Not proved: anything about time. Counts are the oracle, so a slow machine fails nothing.

#![expect(clippy::disallowed_methods, reason = "tests use sockets, files and threads of their own")]

use std::cell::{Cell, RefCell};
use std::io::{BufRead as _, Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use bytes::BytesMut;
use ringmq::broker::outbox::Outbox;
use ringmq::disk::{Disk, blocking};
use ringmq::limits::CONNECTIONS_MAX;
use ringmq::model::{ConnectionId, FastMap, MonoNs};
use ringmq::net::{Host, Listeners, Net, Service};
use ringmq::protocol::frame::{CloseReason, RawFrame};
use ringmq::shard::runtime::{self, ExecutorPlan, Runtime};
use ringmq::shard::watch::Watch;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

fn plan(name: &str, preempt: Duration) -> ExecutorPlan {
    let mut plan = ExecutorPlan::of_shard(0, 4);
    plan.name = name.to_owned();
    plan.preempt = preempt;
    plan
}

/// Runs `main` on an executor as a shard has it and waits for its result.
fn on_shard<T, F, M>(name: &str, main: M) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + 'static,
    M: FnOnce(Runtime) -> F + Send + 'static,
{
    let thread =
        runtime::spawn(plan(name, Duration::from_millis(1)), main, |error| panic!("{error}")).expect("a thread");
    thread.join().expect("the executor's thread ends well").expect("there was an executor")
}

/// A folder on a real file system: direct I/O differs on a tmpfs.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a temp folder")
}

/// glommio parks with runnable tasks when the preempt timer fires between arming and the first task. With a timer of 100 us that happened in
/// every run of this stream, and both executors slept for ever with a full channel between them. An always armed timer, the usual remedy,
/// was not enough on a busy machine: the timer's own task was lost in the same way.
#[test]
fn executors_do_not_sleep_on_runnable_tasks() {
    const MESSAGES: u64 = 100_000;
    let (sender, receiver) = glommio::channels::shared_channel::new_bounded::<u64>(256);
    let preempt = Duration::from_micros(100);
    let produce = runtime::spawn(
        plan("producer", preempt),
        |_| async move {
            let sender = sender.connect().await;
            for number in 0..MESSAGES {
                sender.send(number).await.expect("the receiver lives");
            }
        },
        |error| panic!("{error}"),
    );
    let consume = runtime::spawn(
        plan("consumer", preempt),
        |_| async move {
            let receiver = receiver.connect().await;
            let mut sum = 0;
            while let Some(number) = receiver.recv().await {
                sum += number;
            }
            sum
        },
        |error| panic!("{error}"),
    );
    produce.expect("a thread").join().expect("the producer ends");
    let sum = consume.expect("a thread").join().expect("the consumer ends").expect("an executor");
    assert_eq!(sum, MESSAGES * (MESSAGES - 1) / 2);
}

/// glommio's first look at a device, if it goes to an empty or preallocated file, makes every later read of that device fail with EOPNOTSUPP.
#[test]
fn a_fresh_preallocated_file_is_readable_on_each_executor() {
    for shard in 0..2 {
        let folder = folder();
        let path = folder.path().to_owned();
        let read = on_shard(&format!("disk-{shard}"), move |_| async move {
            let disk = Disk::open(&path).await.expect("a primed device");
            let file = std::path::Path::new("segment");
            disk.prepare(file, 0, 4096, 1 << 20).await.expect("allocated, its first block zeroed");
            disk.write(file, 8192, 4096, |block| block.fill(3)).await.expect("written");
            disk.flush(file).await.expect("flushed");
            let read = disk.read(file, 0, 16384).await.expect("read");
            (read[0], read[8192], read[12288])
        });
        assert_eq!(read, (0, 3, 0));
    }
}

/// A commit that begins a segment opens a file and renames another: neither waits until a large table is flushed.
#[test]
fn the_log_does_not_wait_for_the_flush_of_a_table() {
    let folder = folder();
    let path = folder.path().to_owned();
    let was_first = on_shard("table", move |runtime| async move {
        let disk = Rc::new(Disk::open(&path).await.expect("a primed device"));
        let (spare, segment) = (std::path::Path::new("spare"), std::path::Path::new("segment"));
        disk.prepare(spare, 0, 4096, 1 << 20).await.expect("allocated");
        let is_replaced = Rc::new(Cell::new(false));
        let (table, done) = (disk.clone(), is_replaced.clone());
        runtime.spawn(runtime.queues.background, async move {
            let bytes = bytes::Bytes::from(vec![7; 256 << 20]);
            table.replace(std::path::Path::new("table"), bytes).await.expect("replaced");
            done.set(true);
        });
        // It has begun: its bytes are being written.
        while !path.join("table.new").exists() {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        disk.rename(spare, segment).await.expect("renamed");
        disk.write_durably(segment, 0, 4096, |block| block.fill(3)).await.expect("written");
        let was_first = !is_replaced.get();
        while !is_replaced.get() {
            glommio::timer::sleep(Duration::from_millis(5)).await;
        }
        was_first
    });
    assert!(was_first, "the log waited for the table");
}

/// A panic in glommio's blocking pool hangs its await for ever and breaks every later blocking operation.
#[test]
fn a_panic_in_the_blocking_pool_is_an_error_and_the_pool_lives_on() {
    let (error, after) = on_shard("blocking", |_| async {
        let error = blocking::run::<(), _>(|| panic!("on purpose")).await.expect_err("a panic");
        let after = blocking::run(|| Ok(7)).await.expect("the pool's thread lives");
        (error.to_string(), after)
    });
    assert!(error.contains("on purpose"), "{error}");
    assert_eq!(after, 7);
}

/// glommio binds with SO_REUSEPORT: a second broker on the port would succeed and take half of the connections.
#[test]
fn a_taken_port_is_refused_by_name() {
    let refused = on_shard("ports", |_| async {
        let first = Listeners::bind(LOOPBACK, 0).await.expect("a free pair");
        let port = first.port();
        let _first = first.open().expect("nobody else has it");
        let main = Listeners::bind(LOOPBACK, port).await.expect_err("taken by ourselves").to_string();
        let vip = Listeners::bind(LOOPBACK, port + 2).await.map(|_| ()).expect_err("its VIP port is taken").to_string();
        let none = Listeners::bind(LOOPBACK, 2).await.map(|_| ()).expect_err("no room below").to_string();
        (port, main, vip, none)
    });
    let (port, main, vip, none) = refused;
    assert!(main.contains(&format!("127.0.0.1:{port}")) && main.contains("choose another listenPort"), "{main}");
    assert!(vip.contains(&format!("127.0.0.1:{port}")) && vip.contains("VIP port"), "{vip}");
    assert!(none.contains("listenPort=2"), "{none}");
}

/// A killed broker leaves connections behind that the kernel keeps for a minute; its next start must not wait for them.
#[test]
fn a_port_is_taken_again_at_once_after_kill_9() {
    const CHILD: &str = "RINGMQ_TEST_LISTEN";
    if std::env::var_os(CHILD).is_some() {
        with_echo(
            "before",
            |address| {
                writeln!(std::io::stdout(), "\nport={}", address.port()).expect("the parent reads");
                // Until the parent kills us.
                drop(std::io::stdin().read(&mut [0]));
            },
            |_, _| (),
        );
        return;
    }
    let mut child = child("a_port_is_taken_again_at_once_after_kill_9", CHILD)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child");
    let said = std::io::BufReader::new(child.stdout.take().expect("its output"));
    let port = said.lines().map_while(Result::ok).find_map(|line| line.strip_prefix("port=")?.parse::<u16>().ok());
    let port = port.expect("the child listens");
    let mut client = TcpStream::connect((LOOPBACK, port)).expect("connected");
    client.write_all(&frame_of(b"x")).expect("sent");
    assert_eq!(read_frames(&mut client, 1), [b"x"]);
    child.kill().and_then(|()| child.wait()).expect("killed");
    let again =
        on_shard("after", move |_| async move { Listeners::bind(LOOPBACK, port).await.map(|taken| taken.port()) });
    assert_eq!(again.expect("free but for the old connection"), port);
    drop(client);
}

/// This test binary once more, for one test and in the child's part.
fn child(test: &str, part: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test's binary"));
    command.args([test, "--exact", "--nocapture"]).env(part, "1");
    command
}

/// What every test service counts, and an echo.
struct Echo {
    watch: Rc<Watch>,
    outbox: RefCell<Outbox>,
    bodies: RefCell<FastMap<ConnectionId, usize>>,
    open: Cell<usize>,
    connected: Cell<usize>,
    refuses: Cell<bool>,
    net: RefCell<std::rc::Weak<Net<Echo>>>,
}

impl Echo {
    fn new(watch: Rc<Watch>) -> Rc<Echo> {
        Rc::new(Echo {
            watch,
            outbox: RefCell::default(),
            bodies: RefCell::default(),
            open: Cell::new(0),
            connected: Cell::new(0),
            refuses: Cell::new(false),
            net: RefCell::default(),
        })
    }
}

impl Host for Echo {
    fn now(&self) -> MonoNs {
        self.watch.mono()
    }

    fn turn<T>(&self, name: &'static str, work: impl FnOnce() -> T) -> T {
        self.watch.turn(name, work)
    }
}

impl Service for Echo {
    fn waiting_bytes(&self) -> usize {
        0
    }

    fn connected(&self, _connection: ConnectionId, _peer: SocketAddr) {
        self.connected.set(self.connected.get() + 1);
        self.open.set(self.open.get() + 1);
    }

    fn disconnected(self: &Rc<Self>, connection: ConnectionId) {
        self.open.set(self.open.get() - 1);
        self.outbox.borrow_mut().forget(connection);
    }

    fn frame(&self, connection: ConnectionId, frame: &RawFrame<'_>) -> Result<(), CloseReason> {
        *self.bodies.borrow_mut().entry(connection).or_default() += frame.body.len();
        let mut outbox = self.outbox.borrow_mut();
        outbox.buffer(connection).extend_from_slice(&frame_of(frame.body));
        Ok(())
    }

    fn turn_ended(self: &Rc<Self>) {
        while let Some(connection) = self.outbox.borrow_mut().next_touched() {
            if let Some(net) = self.net.borrow().upgrade() {
                net.wake(connection);
            }
        }
    }

    fn accepts_input(&self, connection: ConnectionId) -> bool {
        !self.refuses.get() && !self.outbox.borrow().is_over(connection)
    }

    fn take_output(&self, connection: ConnectionId) -> BytesMut {
        self.outbox.borrow_mut().take(connection)
    }

    fn note_unsent(&self, connection: ConnectionId, bytes: usize) -> usize {
        let mut outbox = self.outbox.borrow_mut();
        outbox.note_unsent(connection, bytes);
        outbox.pending_bytes(connection)
    }
}

fn frame_of(body: &[u8]) -> Vec<u8> {
    let mut bytes = u32::try_from(4 + body.len()).expect("a small body").to_be_bytes().to_vec();
    bytes.extend_from_slice(&[0, 0, 0, 0]);
    bytes.extend_from_slice(body);
    bytes
}

/// An echo server on an executor; `client` runs on a thread of its own, `look` on the executor when the client is done.
fn with_echo<C, L>(
    name: &str,
    client: impl FnOnce(SocketAddr) -> C + Send + 'static,
    look: impl FnOnce(&Echo, &Net<Echo>) -> L + Send + 'static,
) -> (C, L)
where
    C: Send + 'static,
    L: Send + 'static,
{
    on_shard(name, |runtime| async move {
        let service = Echo::new(runtime.watch.clone());
        let net = Net::new(service.clone(), runtime.queues.request, CONNECTIONS_MAX);
        *service.net.borrow_mut() = Rc::downgrade(&net);
        let listeners = Listeners::bind(LOOPBACK, 0).await.expect("a free pair");
        let address = SocketAddr::new(LOOPBACK, listeners.port());
        listeners.open().expect("its port is free").accept_into(&net);
        let (done, ended) = mpsc::channel();
        let thread = std::thread::spawn(move || done.send(client(address)).expect("the test waits"));
        let outcome = loop {
            match ended.try_recv() {
                Ok(outcome) => break outcome,
                Err(mpsc::TryRecvError::Empty) => glommio::timer::sleep(Duration::from_millis(1)).await,
                Err(mpsc::TryRecvError::Disconnected) => panic!("the client failed"),
            }
        };
        thread.join().expect("the client's thread");
        (outcome, look(&service, &net))
    })
}

fn read_frames(stream: &mut TcpStream, count: usize) -> Vec<Vec<u8>> {
    (0..count)
        .map(|_| {
            let mut prefix = [0; 8];
            stream.read_exact(&mut prefix).expect("a frame");
            let length = u32::from_be_bytes([prefix[0], prefix[1], prefix[2], prefix[3]]) as usize;
            let mut body = vec![0; length - 4];
            stream.read_exact(&mut body).expect("its body");
            body
        })
        .collect()
}

#[test]
fn frames_of_every_size_come_back_in_order() {
    let (bodies, echoed) = with_echo(
        "echo",
        |address| {
            let mut stream = TcpStream::connect(address).expect("connected");
            let bodies: Vec<Vec<u8>> = [0_usize, 1, 100, 70_000, 3, 4_000_000, 5]
                .iter()
                .map(|size| vec![size.to_le_bytes()[0]; *size])
                .collect();
            let mut writer = stream.try_clone().expect("a second handle");
            let sent = bodies.clone();
            let thread = std::thread::spawn(move || {
                let all: Vec<u8> = sent.iter().flat_map(|body| frame_of(body)).collect();
                all.chunks(9973).for_each(|piece| writer.write_all(piece).expect("sent"));
            });
            let echoed = read_frames(&mut stream, bodies.len());
            thread.join().expect("the writer");
            (bodies, echoed)
        },
        |_, net| assert_eq!(net.partial_bytes(), 0),
    )
    .0;
    assert!(bodies == echoed, "sizes {:?}", echoed.iter().map(Vec::len).collect::<Vec<_>>());
}

#[test]
fn many_small_frames_in_one_burst_all_come_back() {
    const COUNT: usize = 20_000;
    let echoed = with_echo(
        "burst",
        |address| {
            let mut stream = TcpStream::connect(address).expect("connected");
            let mut writer = stream.try_clone().expect("a second handle");
            let all: Vec<u8> = (0..COUNT).flat_map(|number| frame_of(&number.to_be_bytes())).collect();
            let thread = std::thread::spawn(move || writer.write_all(&all).expect("sent"));
            let echoed = read_frames(&mut stream, COUNT);
            thread.join().expect("the writer");
            echoed
        },
        |_, _| (),
    )
    .0;
    assert!(echoed.iter().enumerate().all(|(number, body)| body[..] == number.to_be_bytes()));
}

/// Dropping an accept that is under way leaks its socket; ours is never dropped.
#[test]
fn no_descriptor_is_leaked_by_connections_that_come_and_go() {
    fn descriptors() -> usize {
        std::fs::read_dir("/proc/self/fd").expect("our descriptors").count()
    }
    // Other tests of this process open files of their own, so only a leak of about one a connection counts.
    const COUNT: usize = 600;
    let ((before, after), connected) = with_echo(
        "descriptors",
        |address| {
            let before = descriptors();
            for number in 0..COUNT {
                let mut stream = TcpStream::connect(address).expect("connected");
                if number % 2 == 0 {
                    stream.write_all(&frame_of(b"x")).expect("sent");
                    read_frames(&mut stream, 1);
                }
            }
            // The last connection is answered after all before it were accepted, and closed after they were.
            let mut last = TcpStream::connect(address).expect("connected");
            last.write_all(&[0, 0, 0, 0]).expect("sent");
            assert_eq!(last.read(&mut [0]).expect("closed"), 0);
            (before, descriptors())
        },
        |service, _| service.connected.get(),
    );
    assert_eq!(connected, COUNT + 1);
    assert!(after < before + COUNT / 4, "{before} descriptors before, {after} after");
}

#[test]
fn bytes_that_are_no_frame_close_their_connection_only() {
    let closed = with_echo(
        "garbage",
        |address| {
            let mut good = TcpStream::connect(address).expect("connected");
            let bad: [&[u8]; 6] = [
                &[0, 0, 0, 0],
                &[0x7F, 0xFF, 0xFF, 0xFF],
                &[0x80, 0, 0, 0],
                &[1, 0, 0, 1, 0, 0, 0, 0],
                b"GET / HTTP/1.1\r\n\r\n",
                &[0, 0, 0, 4, 9, 0, 0, 0],
            ];
            let closed = bad.map(|bytes| {
                let mut stream = TcpStream::connect(address).expect("connected");
                stream.write_all(bytes).expect("sent");
                // A reset is a close too.
                stream.read(&mut [0]).map_or(true, |count| count == 0)
            });
            good.write_all(&frame_of(b"still here")).expect("sent");
            assert_eq!(read_frames(&mut good, 1)[0], b"still here");
            closed
        },
        |service, _| assert_eq!(service.bodies.borrow().len(), 1),
    )
    .0;
    assert_eq!(closed, [true; 6]);
}

#[test]
fn a_reader_that_never_reads_is_not_read_either() {
    let others = with_echo(
        "no-reader",
        |address| {
            let mut deaf = TcpStream::connect(address).expect("connected");
            deaf.set_nonblocking(true).expect("a socket");
            let piece = frame_of(&[1; 60_000]);
            // Until the socket takes no more for a while: our server has ceased to read.
            let (mut sent, mut refused) = (0, 0);
            while refused < 200 {
                match deaf.write(&piece[sent % piece.len()..]) {
                    Ok(count) => (sent, refused) = (sent + count, 0),
                    Err(_) => {
                        refused += 1;
                        std::thread::sleep(Duration::from_millis(1));
                    }
                }
                assert!(sent < 256 << 20, "the server takes everything");
            }
            let mut other = TcpStream::connect(address).expect("connected");
            other.write_all(&frame_of(b"me too")).expect("sent");
            read_frames(&mut other, 1)
        },
        |service, _| {
            let outbox = service.outbox.borrow();
            let waiting = outbox.pending_bytes(ConnectionId(1));
            assert!(waiting < 4 << 20, "{waiting} bytes wait for a reader that never reads");
        },
    )
    .0;
    assert_eq!(others, [b"me too"]);
}

#[test]
fn thousands_of_idle_connections_cost_no_read_buffers() {
    const COUNT: usize = 3000;
    runtime::raise_open_files();
    let open = with_echo(
        "idle",
        |address| {
            let idle: Vec<TcpStream> = (0..COUNT).map(|_| TcpStream::connect(address).expect("connected")).collect();
            let mut active = TcpStream::connect(address).expect("connected");
            for _ in 0..100 {
                active.write_all(&frame_of(b"x")).expect("sent");
                read_frames(&mut active, 1);
            }
            (idle, active)
        },
        |service, net| {
            assert_eq!(net.partial_bytes(), 0);
            service.open.get()
        },
    )
    .1;
    assert_eq!(open, COUNT + 1);
}

#[test]
fn a_service_that_refuses_is_not_given_frames_until_it_resumes() {
    on_shard("refusal", |runtime| async move {
        let service = Echo::new(runtime.watch.clone());
        let net = Net::new(service.clone(), runtime.queues.request, CONNECTIONS_MAX);
        *service.net.borrow_mut() = Rc::downgrade(&net);
        let listeners = Listeners::bind(LOOPBACK, 0).await.expect("a free pair");
        let address = SocketAddr::new(LOOPBACK, listeners.port());
        listeners.open().expect("its port is free").accept_into(&net);
        service.refuses.set(true);
        let mut stream = TcpStream::connect(address).expect("connected");
        stream.write_all(&frame_of(b"later")).expect("sent");
        while service.connected.get() == 0 {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        glommio::timer::sleep(Duration::from_millis(20)).await;
        assert!(service.bodies.borrow().is_empty(), "nothing is handled while the service refuses");
        service.refuses.set(false);
        net.resume_input();
        while service.bodies.borrow().is_empty() {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        net.close_all();
        while net.count() > 0 {
            glommio::timer::sleep(Duration::from_millis(1)).await;
        }
        // The answer was offered before the close.
        assert_eq!(read_frames(&mut stream, 1), [b"later"]);
        assert_eq!(stream.read(&mut [0]).expect("closed"), 0);
    });
}

/// A shard that is gone must not look alive because its siblings are: the process goes with it.
#[test]
fn a_panicking_executor_aborts_the_process() {
    const CHILD: &str = "RINGMQ_TEST_PANIC";
    if std::env::var_os(CHILD).is_some() {
        runtime::abort_on_panic();
        on_shard("shard-0", |_| async { panic!("on purpose") });
        unreachable!("the process is gone");
    }
    let child = child("a_panicking_executor_aborts_the_process", CHILD).output().expect("a child");
    let said = String::from_utf8_lossy(&child.stderr);
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.status), Some(6), "{said}");
    assert!(said.contains("ringmq: shard-0 has a bug and the process aborts"), "{said}");
    assert!(said.contains("on purpose"), "{said}");
}

/// Only so that a failing check of a folder is seen: a disk that does not give back what was written.
#[test]
fn a_folder_that_is_missing_is_an_error_of_the_disk() {
    let missing = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("missing/folder");
    let error =
        on_shard(
            "missing",
            |_| async move { Disk::open(&missing).await.map(|_| ()).expect_err("missing").to_string() },
        );
    assert!(error.contains("missing/folder"), "{error}");
}
