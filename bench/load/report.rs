//! What remains of a run: a line a second, a table for people, JSON for machines.

use std::collections::BTreeMap;
use std::io::{self, Write};

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use crate::load::consumer::Books;
use crate::load::frame::HeaderKind;
use crate::load::run::{Ending, Outcome, ratio};
use crate::load::settings::{Arrivals, Filter, Pace, PulledFrom, Sending, Settings, SizeShare};
use crate::load::tally::{Failures, Tally};

/// Latencies of one kind, microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half were faster.
    pub p50: f64,
    /// One in ten was slower.
    pub p90: f64,
    /// One in a hundred was slower.
    pub p99: f64,
    /// One in a thousand was slower.
    pub p99_9: f64,
    /// One in ten thousand was slower.
    pub p99_99: f64,
    /// The slowest.
    pub max: f64,
}

impl Percentiles {
    /// Of a histogram of nanoseconds; all zero if it is empty.
    pub fn of(histogram: &Histogram<u64>) -> Self {
        let at = |quantile| micros(histogram.value_at_quantile(quantile));
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p99_9: at(0.999),
            p99_99: at(0.9999),
            max: micros(histogram.max()),
        }
    }
}

fn micros(nanoseconds: u64) -> f64 {
    ratio(nanoseconds, 100).round() / 10.0
}

/// The JSON file: figures first, then how they came about.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Report {
    /// Messages stored as promised, a second.
    pub rate_per_s: f64,
    /// Messages stored as promised, of those due within the measured time.
    pub sent: u64,
    /// Messages refused or never answered, warm-up included.
    pub failed: u64,
    /// From the intended moment to the reply.
    pub latency_us: Percentiles,
    /// From the actual send to the reply: what hides a stall.
    #[serde(default)]
    pub from_send_us: Option<Percentiles>,
    /// From the intended moment until a consumer had it, if messages were pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end_to_end_us: Option<Percentiles>,
    /// How much later messages arrived over the slaves than over their masters, if that was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lag_us: Option<Percentiles>,
    /// From the intended moment to the write: the generator's own lateness, open loop only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub send_delay_us: Option<Percentiles>,
    /// Of transactions, what `latency_us` consists of, and how they ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub transactions: Option<Transactions>,
    /// Of what was popped, how it was acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub popped: Option<Popped>,
    /// `closed` or `open`.
    pub mode: String,
    /// Whether the run went to its end; if not, the figures cover what came before.
    pub complete: bool,
    /// Why it ended, one sentence.
    pub ended: String,
    /// Seconds that `sent` took.
    pub elapsed_s: f64,
    /// Messages without a reply, part of `failed`.
    pub unanswered: u64,
    /// Messages sent once more because their connection broke or stayed silent.
    #[serde(default)]
    pub resent: u64,
    /// Connections that broke and were made again.
    #[serde(default)]
    pub reconnects: u64,
    /// Refusals by response code, part of `failed`.
    pub failed_by_code: BTreeMap<String, Failures>,
    /// Stored with less than the promise: code 10. Neither in `sent` nor in `failed`.
    pub flush_disk_timeout: u64,
    /// Stored with less than the promise: code 11.
    pub slave_not_available: u64,
    /// Stored with less than the promise: code 12.
    pub flush_slave_timeout: u64,
    /// What the consumers got, if messages were pulled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub consumed: Option<Consumed>,
    /// Times that the bound on outstanding requests began to hold messages back.
    pub held_back: u64,
    /// Share of one processor that the generator used; near 1, it was the bottleneck.
    pub generator_cpu: f64,
    /// What was asked for.
    pub settings: SettingsReport,
}

/// How transactions ended, and what their latency consists of.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Transactions {
    /// Of those that were sent.
    pub committed: u64,
    /// The others.
    pub rolled_back: u64,
    /// Times that brokers asked what became of one, warm-up included.
    pub asked: u64,
    /// From the intended moment to the reply to the half message.
    pub prepare_us: Percentiles,
    /// From there to the reply to its end.
    pub end_us: Percentiles,
}

impl Transactions {
    fn of(tally: &Tally) -> Self {
        let found = tally.transactions();
        Self {
            committed: tally.sent().saturating_sub(found.rolled_back),
            rolled_back: found.rolled_back,
            asked: found.asked,
            prepare_us: Percentiles::of(&found.prepare),
            end_us: Percentiles::of(&found.end),
        }
    }
}

/// Acknowledgements of what was popped.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Popped {
    /// Taken by brokers, a second.
    pub rate_per_s: f64,
    /// Taken by brokers, of messages due within the measured time.
    pub acknowledged: u64,
    /// Messages stored, by the broker's word, and not acknowledged when the run had drained, warm-up included.
    pub unacknowledged: u64,
    /// From the moment a message was popped to the reply to its acknowledgement.
    pub ack_us: Percentiles,
}

impl Popped {
    fn of(outcome: &Outcome) -> Self {
        let (acknowledged, elapsed_ns) = outcome.tally.acknowledgements(outcome.start_ns + outcome.wall_ns);
        Self {
            rate_per_s: (ratio(acknowledged, elapsed_ns.max(1)) * 1e10).round() / 10.0,
            acknowledged,
            unacknowledged: outcome.books.as_ref().map_or(0, Books::unacknowledged),
            ack_us: Percentiles::of(outcome.tally.ack()),
        }
    }
}

/// The consumers' side, warm-up included.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct Consumed {
    /// Different messages received.
    pub received: u64,
    /// Messages received once more.
    pub duplicates: u64,
    /// Messages stored, by the broker's word, and not received when the run had drained.
    pub missing: u64,
    /// Messages received that should not have been: of transactions that were rolled back, or such as the filter does not match.
    #[serde(default, skip_serializing_if = "is_none")]
    pub unwanted: u64,
    /// Messages whose content is not what was sent; in an audit.
    #[serde(default)]
    pub corrupt: u64,
    /// Messages received after a later one of the same sender and queue; in an audit.
    #[serde(default)]
    pub out_of_order: u64,
    pub pulls_refused: u64,
    /// What the broker said to the first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_refusal: Option<String>,
}

/// What was asked for.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the names say it where nothing is said")]
pub struct SettingsReport {
    /// Brokers.
    pub targets: Vec<String>,
    /// Topic, or the first part of the topics' names.
    pub topic: String,
    #[serde(default)]
    pub topics: u32,
    /// Queues of a topic on each target.
    pub queues: u32,
    /// Sending connections.
    pub connections: usize,
    /// Closed loop: requests a connection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub in_flight: Option<usize>,
    /// Open loop: messages a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// Open loop: distances between messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arrivals: Option<Arrivals>,
    /// What senders do with a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub send: Option<Sending>,
    /// Bytes of bodies.
    #[serde(default)]
    pub sizes: Vec<SizeShare>,
    /// Messages of one request.
    #[serde(default)]
    pub batch: usize,
    /// How long brokers were to keep a message, s.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub deliver_after_s: f64,
    /// The delay level of messages.
    #[serde(default, skip_serializing_if = "is_none")]
    pub delay_level: u8,
    /// Whether messages were transactions.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub transactions: bool,
    /// Every so many-th transaction was rolled back.
    #[serde(default, skip_serializing_if = "is_none")]
    pub roll_back: u32,
    /// Whether each request was a write of its own. Absent in files of before: they gathered.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub write_each: bool,
    /// Processor time spent on each request beside what it needed, µs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub work_us: f64,
    /// Time that passed for each request without the processor, µs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub think_us: f64,
    /// Whether messages had keys.
    #[serde(default)]
    pub keys: bool,
    /// Different tags.
    #[serde(default)]
    pub tags: u32,
    /// Measured.
    pub duration_s: f64,
    /// Before.
    pub warmup_s: f64,
    /// Whether messages were pulled back.
    pub end_to_end: bool,
    /// Which replicas they were pulled from. Absent in files of before, where the brokers' addresses alone tell.
    #[serde(default, skip_serializing_if = "PulledFrom::is_usual")]
    pub pulled_from: PulledFrom,
    /// Connections of each group at each broker that popped.
    #[serde(default, skip_serializing_if = "is_none")]
    pub pop: usize,
    /// How they asked for one message of `tags`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub filter: Option<Filter>,
    /// Groups that pulled.
    #[serde(default)]
    pub groups: usize,
    /// Of requests.
    pub header: HeaderKind,
    /// The generator's processor, if it was pinned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<usize>,
    /// Version of this tool; a debug build says so.
    pub generator: String,
}

impl Report {
    /// Of a run that began.
    pub fn of(settings: &Settings, outcome: &Outcome) -> Self {
        let tally = &outcome.tally;
        let [flush_disk_timeout, slave_not_available, flush_slave_timeout] = tally.below_promise();
        let elapsed_s = ratio(outcome.elapsed_ns, 1_000_000_000);
        let is_open = matches!(settings.pace, Pace::Open { .. });
        Self {
            rate_per_s: if outcome.elapsed_ns == 0 {
                0.0
            } else {
                (ratio(tally.sent(), 1) / elapsed_s * 10.0).round() / 10.0
            },
            sent: tally.sent(),
            failed: tally.failed(),
            latency_us: Percentiles::of(tally.latency()),
            from_send_us: (settings.send != Sending::Oneway).then(|| Percentiles::of(tally.from_send())),
            lag_us: outcome.books.as_ref().and_then(Books::lag).map(Percentiles::of),
            end_to_end_us: outcome.books.as_ref().map(|_| Percentiles::of(tally.end_to_end())),
            send_delay_us: is_open.then(|| Percentiles::of(tally.send_delay())),
            transactions: settings.transactions.map(|_| Transactions::of(tally)),
            popped: (settings.pop > 0).then(|| Popped::of(outcome)),
            mode: if is_open { "open" } else { "closed" }.to_owned(),
            complete: matches!(outcome.ending, Ending::Finished),
            ended: ending_sentence(&outcome.ending),
            elapsed_s,
            unanswered: tally.unanswered(),
            resent: tally.resent_count(),
            reconnects: outcome.reconnects,
            failed_by_code: tally
                .failures()
                .iter()
                .map(|(code, failures)| (code.to_string(), failures.clone()))
                .collect(),
            flush_disk_timeout,
            slave_not_available,
            flush_slave_timeout,
            consumed: outcome.books.as_ref().map(consumed),
            held_back: outcome.held_back,
            generator_cpu: (outcome.generator_cpu * 1000.0).round() / 1000.0,
            settings: settings_report(settings),
        }
    }

    /// Why the figures are not those of a good run, a sentence each; none if they are.
    pub fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        if !self.complete {
            complaints.push(format!(
                "the run was cut short after {:.1} s, and the figures cover only that time: {}",
                self.elapsed_s, self.ended
            ));
        }
        for (code, failures) in &self.failed_by_code {
            complaints.push(format!("{} messages refused with code {code}: {}", failures.count, failures.remark));
        }
        let counts = [
            (self.unanswered, "messages got no reply"),
            (self.flush_disk_timeout, "messages were stored but not flushed in time (code 10)"),
            (self.slave_not_available, "messages were stored without a slave (code 11)"),
            (self.flush_slave_timeout, "messages were stored but not confirmed by a slave in time (code 12)"),
            (
                self.consumed.as_ref().map_or(0, |consumed| consumed.missing),
                "stored messages never arrived at the consumers",
            ),
            (
                self.popped.as_ref().map_or(0, |popped| popped.unacknowledged),
                "stored messages were not acknowledged in the end",
            ),
        ];
        complaints.extend(counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
        if let Some(consumed) = self.consumed.as_ref().filter(|consumed| consumed.corrupt > 0) {
            complaints.push(format!("{} messages arrived with another content than was sent", consumed.corrupt));
        }
        if let Some(consumed) = self.consumed.as_ref().filter(|consumed| consumed.unwanted > 0) {
            complaints.push(format!("{} messages arrived that should not have", consumed.unwanted));
        }
        if let Some(refusal) = self.consumed.as_ref().and_then(|consumed| consumed.first_refusal.as_ref()) {
            complaints.push(format!("consumers were refused with {refusal}"));
        }
        complaints
    }

    /// What a reader should know though the run was good.
    pub fn remarks(&self) -> Vec<String> {
        let mut remarks = Vec::new();
        if self.held_back > 0 {
            remarks.push(format!(
                "the bound on outstanding requests held messages back {} times; their latency counts from when they were due",
                self.held_back
            ));
        }
        if self.generator_cpu > 0.9 {
            remarks.push(format!(
                "the generator used {:.0} % of a processor: it may be the bottleneck",
                self.generator_cpu * 100.0
            ));
        }
        if let Some(consumed) = self.consumed.as_ref().filter(|consumed| consumed.duplicates > 0) {
            remarks.push(format!("{} messages arrived more than once", consumed.duplicates));
        }
        if let Some(consumed) = self.consumed.as_ref().filter(|consumed| consumed.out_of_order > 0) {
            remarks.push(format!(
                "{} messages arrived after a later one of their sender and queue",
                consumed.out_of_order
            ));
        }
        if self.reconnects > 0 {
            remarks.push(format!(
                "{} connections broke and were made again; {} messages were sent once more",
                self.reconnects, self.resent
            ));
        }
        remarks
    }

    /// The table at the end.
    ///
    /// # Errors
    /// When `out` takes no more.
    pub fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(
            out,
            "rate {:.0} /s   sent {}   failed {}   ({} loop, {:.1} s)",
            self.rate_per_s, self.sent, self.failed, self.mode, self.elapsed_s
        )?;
        writeln!(
            out,
            "{:<14}{:>11}{:>11}{:>11}{:>11}{:>11}{:>11}",
            "microseconds", "p50", "p90", "p99", "p99.9", "p99.99", "max"
        )?;
        let rows = [
            // Who wants no reply has none to time.
            ("reply", self.from_send_us.map(|_| self.latency_us)),
            ("from send", self.from_send_us),
            ("half message", self.transactions.as_ref().map(|found| found.prepare_us)),
            ("its end", self.transactions.as_ref().map(|found| found.end_us)),
            ("end to end", self.end_to_end_us),
            ("slave's lag", self.lag_us),
            ("acknowledged", self.popped.as_ref().map(|popped| popped.ack_us)),
            ("send delay", self.send_delay_us),
        ];
        for (name, row) in rows {
            let Some(row) = row else { continue };
            let [p50, p90, p99, p99_9, p99_99, max] = [row.p50, row.p90, row.p99, row.p99_9, row.p99_99, row.max];
            writeln!(out, "{name:<14}{p50:>11.1}{p90:>11.1}{p99:>11.1}{p99_9:>11.1}{p99_99:>11.1}{max:>11.1}")?;
        }
        if let Some(found) = &self.transactions {
            writeln!(
                out,
                "committed {}   rolled back {}   asked for {}",
                found.committed, found.rolled_back, found.asked
            )?;
        }
        if let Some(popped) = &self.popped {
            writeln!(
                out,
                "acknowledged {:.0} /s, {}   not acknowledged {}",
                popped.rate_per_s, popped.acknowledged, popped.unacknowledged
            )?;
        }
        if let Some(consumed) = &self.consumed {
            writeln!(
                out,
                "received {}   duplicates {}   missing {}",
                consumed.received, consumed.duplicates, consumed.missing
            )?;
        }
        Ok(())
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde gives references")]
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

fn is_none<N: Default + PartialEq>(count: &N) -> bool {
    *count == N::default()
}

fn ending_sentence(ending: &Ending) -> String {
    match ending {
        Ending::Finished => "finished".to_owned(),
        Ending::Interrupted => "interrupted".to_owned(),
        Ending::Failed(error) => error.to_string(),
    }
}

fn consumed(books: &Books) -> Consumed {
    let (pulls_refused, first_refusal) = books.refusals();
    Consumed {
        received: books.received_count(),
        duplicates: books.duplicates(),
        missing: books.missing(),
        unwanted: books.unwanted(),
        corrupt: books.corrupt(),
        out_of_order: books.out_of_order(),
        pulls_refused,
        first_refusal: first_refusal.map(str::to_owned),
    }
}

fn settings_report(settings: &Settings) -> SettingsReport {
    let (in_flight, rate, arrivals) = match settings.pace {
        Pace::Closed { in_flight } => (Some(in_flight), None, None),
        Pace::Open { rate_per_s, arrivals, .. } => (None, Some(rate_per_s), Some(arrivals)),
    };
    let debug = if cfg!(debug_assertions) { " (debug build)" } else { "" };
    SettingsReport {
        targets: settings.targets.iter().map(ToString::to_string).collect(),
        topic: settings.topic.clone(),
        topics: settings.topics,
        queues: settings.queues,
        connections: settings.connections,
        in_flight,
        rate,
        arrivals,
        send: Some(settings.send),
        sizes: settings.sizes.clone(),
        batch: settings.batch,
        deliver_after_s: settings.deliver_after.as_secs_f64(),
        delay_level: settings.delay_level,
        transactions: settings.transactions.is_some(),
        roll_back: settings.transactions.map_or(0, |endings| endings.roll_back),
        write_each: settings.write_each,
        work_us: settings.work.as_secs_f64() * 1e6,
        think_us: settings.think.as_secs_f64() * 1e6,
        keys: settings.keys,
        tags: settings.tags,
        duration_s: settings.duration.as_secs_f64(),
        warmup_s: settings.warmup.as_secs_f64(),
        end_to_end: !settings.sources.is_empty(),
        pulled_from: settings.pulled_from,
        pop: settings.pop,
        filter: settings.filter,
        groups: if settings.sources.is_empty() { 0 } else { settings.groups },
        header: settings.header,
        cpu: settings.cpu,
        generator: format!("ringmq-bench {}{debug}", env!("CARGO_PKG_VERSION")),
    }
}
