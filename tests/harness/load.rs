//! Producers that keep many sends in flight until they are told to end or the broker dies.
use std::collections::VecDeque;
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::audit::{self, BODY_BYTES_MIN, Place, Queue, Sent, body_of};
use crate::clerk::Clerk;
use crate::client::{Client, code};
use crate::frame::{Frame, invalid};
use crate::node::Node;
use crate::seed::Random;

/// Requests that a producer keeps in flight.
const IN_FLIGHT: usize = 24;
/// Largest body.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Messages of a batch, and what it may hold: it must fit `maxMessageSize`.
const BATCH_COUNT_MAX: usize = 20;
const BATCH_BYTES_MAX: usize = 200 << 10;
/// Pause of a producer that is told that a message is not where it should be: it has something left to send when that is over.
const PAUSE: Duration = Duration::from_millis(5);

/// Producers of a node that is to be killed, all shards together, and messages that each sends at most.
const PRODUCERS_PER_NODE: usize = 4;
const PRODUCER_MESSAGES_MAX: usize = 5000;

/// Of one producer: all that it sent, and how that ended.
pub(crate) type Produced = (Vec<Sent>, io::Result<()>);

/// What all producers of a test share.
#[derive(Debug, Default)]
pub struct Load {
    next_number: AtomicU64,
    acknowledged: AtomicU64,
    /// Producers end when they see it, also those of others who have it.
    pub ends: AtomicBool,
}

impl Load {
    /// Messages acknowledged so far, by all producers.
    pub fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::Relaxed)
    }

    /// Lets all producers end.
    pub fn end(&self) {
        self.ends.store(true, Ordering::Relaxed);
    }

    /// Lets them begin again.
    pub fn begin(&self) {
        self.ends.store(false, Ordering::Relaxed);
    }

    /// Sends to `queues` of one shard at `address`, at most `count_max` messages, until the broker dies or [`Load::ends`]. Returns
    /// all that was sent and the replies, and how it ended: `Ok` by itself, an error with the connection or a refusal.
    ///
    /// One request in five is a batch (320). A reply of FLUSH_DISK_TIMEOUT is no acknowledgement; one of SYSTEM_BUSY is entered
    /// as a refusal, and the producer goes on.
    pub fn produce(&self, address: &str, queues: &[Queue], count_max: usize, random: &mut Random) -> Produced {
        let mut book = Vec::new();
        let result = self.produce_into(address, queues, count_max, random, &mut book);
        (book, result)
    }

    /// Produces on all shards of a node, with a clerk at each, until `is_over`, and kills it then. Returns what its producers did, and when it was
    /// killed.
    pub fn produce_and_kill(
        &self,
        node: &mut Node,
        queues: &[Vec<Queue>],
        clerks: &mut [Clerk],
        random: &mut Random,
        mut is_over: impl FnMut(&mut Random) -> bool,
    ) -> (Vec<Produced>, Instant) {
        let addresses: Vec<String> = (0..node.shards()).map(|shard| node.broker(shard)).collect();
        let produced = thread::scope(|scope| {
            let mut producers = Vec::new();
            for producer in 0..PRODUCERS_PER_NODE {
                let shard = producer % addresses.len();
                let (address, queues) = (&addresses[shard], &queues[shard]);
                let mut random = Random::of(random.number());
                producers.push(scope.spawn(move || self.produce(address, queues, PRODUCER_MESSAGES_MAX, &mut random)));
            }
            for (clerk, address) in clerks.iter_mut().zip(&addresses) {
                scope.spawn(|| clerk.work(address, &self.ends));
            }
            while !is_over(random) {
                thread::sleep(Duration::from_micros(200));
            }
            node.kill();
            let killed = Instant::now();
            self.end();
            let produced = producers.into_iter().map(|producer| producer.join().expect("a producer ends")).collect();
            (produced, killed)
        });
        self.begin();
        produced
    }

    fn produce_into(
        &self,
        address: &str,
        queues: &[Queue],
        count_max: usize,
        random: &mut Random,
        book: &mut Vec<Sent>,
    ) -> io::Result<()> {
        let mut client = Client::connect(address)?;
        // Opaque and the book's entries, oldest first.
        let mut in_flight: VecDeque<(i32, std::ops::Range<usize>)> = VecDeque::new();
        while !self.ends.load(Ordering::Relaxed) && book.len() < count_max {
            let first = book.len();
            let request = self.request(queues, random, book);
            in_flight.push_back((client.start(request)?, first..book.len()));
            if in_flight.len() >= IN_FLIGHT {
                self.settle(&mut client, in_flight.pop_front(), book)?;
            }
        }
        while !in_flight.is_empty() {
            self.settle(&mut client, in_flight.pop_front(), book)?;
        }
        Ok(())
    }

    /// The next request, entered in the book before it is sent.
    fn request(&self, queues: &[Queue], random: &mut Random, book: &mut Vec<Sent>) -> Frame {
        let queue = random.choose(queues);
        if !random.once_in(5) {
            let sent = self.message(queue, random);
            let body = body_of(sent.number, sent.body_bytes);
            book.push(sent);
            let request = Client::send_request(&queue.topic, queue.queue_id, &body, &[("TAGS", "a")]);
            return if random.once_in(2) { request } else { request.binary() };
        }
        let mut body = Vec::new();
        for _ in 0..=random.below(BATCH_COUNT_MAX) {
            let sent = self.message(queue, random);
            if !body.is_empty() && body.len() + sent.body_bytes > BATCH_BYTES_MAX {
                break;
            }
            push_batched(&mut body, &body_of(sent.number, sent.body_bytes));
            book.push(sent);
        }
        let mut request = Client::send_request(&queue.topic, queue.queue_id, &body, &[]).ext("m", true);
        request.code = code::SEND_BATCH_MESSAGE;
        request
    }

    fn message(&self, queue: &Queue, random: &mut Random) -> Sent {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        // Mostly small, all lengths of the last block, now and then a large one.
        let scale = random.below(12);
        let body_bytes = if random.once_in(40) { random.below(BODY_BYTES_MAX) } else { random.below(1 << (scale + 1)) };
        let body_bytes = body_bytes.max(BODY_BYTES_MIN);
        Sent { number, queue: queue.clone(), body_bytes, place: None, refused: false }
    }

    /// Waits for the reply to a request and enters the places.
    fn settle(
        &self,
        client: &mut Client,
        request: Option<(i32, std::ops::Range<usize>)>,
        book: &mut [Sent],
    ) -> io::Result<()> {
        let Some((opaque, entries)) = request else { return Ok(()) };
        let response = client.finish(opaque)?;
        let messages = &mut book[entries];
        if response.code == code::SYSTEM_BUSY {
            // More was in flight than the tail holds. The other requests on the way make the pause.
            messages.iter_mut().for_each(|message| message.refused = true);
            return Ok(());
        }
        let receipt = Client::receipt(&response)?;
        let ids: Vec<&str> = receipt.msg_id.split(',').collect();
        if ids.len() != messages.len() || receipt.queue_id != messages[0].queue.queue_id {
            return Err(invalid(format!("{receipt:?} answers {} messages", messages.len())));
        }
        if receipt.code != code::SUCCESS {
            thread::sleep(PAUSE);
            return Ok(());
        }
        for ((queue_offset, id), message) in (receipt.queue_offset..).zip(ids).zip(messages.iter_mut()) {
            message.place = Some(Place { queue_offset, log_offset: audit::log_offset_of(id)? });
        }
        self.acknowledged.fetch_add(u64::try_from(messages.len()).expect("64-bit machine"), Ordering::Relaxed);
        Ok(())
    }
}

/// One message in the body of a batch: size, magic, CRC (both unused), flag, body, properties.
fn push_batched(batch: &mut Vec<u8>, body: &[u8]) {
    let properties = b"TAGS\x01b\x02";
    let length = |bytes: usize| u32::try_from(bytes).expect("a test's message is small").to_be_bytes();
    batch.extend_from_slice(&length(22 + body.len() + properties.len()));
    batch.extend_from_slice(&[0; 12]);
    batch.extend_from_slice(&length(body.len()));
    batch.extend_from_slice(body);
    batch.extend_from_slice(&u16::try_from(properties.len()).expect("short").to_be_bytes());
    batch.extend_from_slice(properties);
}
