//! Rounds: the runs of one load on one subject, of which a figure is the median.

use hdrhistogram::Histogram;

use crate::lab::figure::{Figure, thousands};
use crate::lab::results::{Damaged, Point, Results, Run};
use crate::load::frame::HeaderKind;
use crate::load::report::SettingsReport;
use crate::load::settings::{Arrivals, Filter, PulledFrom, Sending};

/// Settings that say where and how long, but not which load: rounds may differ in them.
const NOT_THE_LOAD: [&str; 6] = ["targets", "topic", "duration_s", "warmup_s", "cpu", "generator"];

/// How requests are written that are not gathered.
const EACH_ALONE: &str = "each request a write";
const FROM_SLAVES: &str = "pulled from slaves";
const FROM_BOTH: &str = "pulled from masters and slaves";

/// What was asked of a subject.
#[derive(Debug, Clone)]
pub struct Load {
    /// In a sweep: where it stands.
    pub point: Option<Point>,
    /// As the runs report it.
    pub settings: SettingsReport,
    /// [`NOT_THE_LOAD`] left out: equal texts are equal loads.
    key: String,
}

impl PartialEq for Load {
    fn eq(&self, other: &Self) -> bool {
        self.point == other.point && self.key == other.key
    }
}

impl Load {
    /// What a run was asked to do, in which rounds are alike.
    pub fn of(run: &Run) -> Self {
        let settings = run.report.settings.clone();
        let mut value = serde_json::to_value(&settings).expect("plain data has a JSON form");
        if let Some(fields) = value.as_object_mut() {
            NOT_THE_LOAD.iter().for_each(|name| drop(fields.remove(*name)));
        }
        Self { point: run.point.clone(), settings, key: value.to_string() }
    }

    /// Whether messages leave when they are due, replies or not.
    pub fn is_open(&self) -> bool {
        self.settings.rate.is_some()
    }

    /// Messages a second that were asked for; none in a closed loop.
    #[expect(clippy::cast_precision_loss, reason = "a rate, far below 2^53")]
    pub fn asked_rate(&self) -> Option<f64> {
        self.settings.rate.map(|rate| rate as f64)
    }

    /// The pace alone: `at 10,000 messages/s`, `in closed loop, 8 connections x 32 in flight`.
    pub fn pace(&self) -> String {
        let pace = match (self.asked_rate(), self.settings.in_flight) {
            (Some(rate), _) => format!("at {} messages/s", thousands(rate)),
            (None, Some(in_flight)) => {
                format!("in closed loop, {} connections x {in_flight} in flight", self.settings.connections)
            }
            (None, None) => "in closed loop".to_owned(),
        };
        self.with_manner(pace)
    }

    /// In few words, for names of files and cells of tables: `10,000 messages/s`, `closed loop 8 x 32`.
    pub fn brief(&self) -> String {
        let pace = match (self.asked_rate(), self.settings.in_flight) {
            (Some(rate), _) => format!("{} messages/s", thousands(rate)),
            (None, Some(in_flight)) => format!("closed loop {} x {in_flight}", self.settings.connections),
            (None, None) => "closed loop".to_owned(),
        };
        self.with_manner(pace)
    }

    /// What tells it from the other loads of its file: the point of a sweep, or the pace.
    pub fn name(&self) -> String {
        match &self.point {
            Some(point) => format!("{} {}", point.name, point.written()),
            None => self.brief(),
        }
    }

    fn with_manner(&self, pace: String) -> String {
        let manners = [
            (self.settings.write_each, EACH_ALONE),
            (self.settings.pulled_from == PulledFrom::Slaves, FROM_SLAVES),
            (self.settings.pulled_from == PulledFrom::Both, FROM_BOTH),
        ];
        let manners = manners.iter().filter(|(is_so, _)| *is_so).map(|(_, text)| *text);
        std::iter::once(pace.as_str()).chain(manners).collect::<Vec<_>>().join(", ")
    }

    /// For headings: `10,000 messages/s in open loop, 256 B, 8 connections, 8 queues`.
    pub fn description(&self) -> String {
        let settings = &self.settings;
        let mut parts = Vec::new();
        if let Some(point) = &self.point {
            parts.push(format!("{} {}", point.name, point.written()));
        }
        parts.push(match (self.asked_rate(), settings.in_flight) {
            (Some(rate), _) => format!("{} messages/s in open loop", thousands(rate)),
            (None, Some(in_flight)) => format!("closed loop with {in_flight} in flight a connection"),
            (None, None) => "closed loop".to_owned(),
        });
        let all: u32 = settings.sizes.iter().map(|size| size.share).sum();
        let sizes = settings.sizes.iter().map(|size| match settings.sizes.len() {
            1 => format!("{} B", thousands(size.bytes as f64)),
            _ => {
                format!("{} B ({:.0} %)", thousands(size.bytes as f64), f64::from(size.share) * 100.0 / f64::from(all))
            }
        });
        parts.push(sizes.collect::<Vec<_>>().join(" and "));
        parts.push(format!("{} connections", settings.connections));
        if settings.topics > 1 {
            parts.push(format!("{} topics", thousands(f64::from(settings.topics))));
        }
        parts.push(format!("{} queues", thousands(f64::from(settings.queues))));
        parts.extend(self.particulars());
        parts.join(", ")
    }

    /// What is not so in most loads.
    fn particulars(&self) -> Vec<String> {
        let settings = &self.settings;
        let is_pulled = settings.end_to_end && settings.pop == 0;
        let parts = [
            (settings.arrivals == Some(Arrivals::Poisson), "Poisson arrivals".to_owned()),
            (settings.send == Some(Sending::Sync), "each sender waits for its reply".to_owned()),
            (settings.send == Some(Sending::Oneway), "no replies wanted".to_owned()),
            (settings.batch > 1, format!("batches of {}", settings.batch)),
            (settings.deliver_after_s > 0.0, format!("delivered {} s later", settings.deliver_after_s)),
            (settings.delay_level > 0, format!("delay level {}", settings.delay_level)),
            (settings.transactions, "transactions".to_owned()),
            (settings.roll_back > 0, format!("one in {} rolled back", settings.roll_back)),
            (settings.write_each, EACH_ALONE.to_owned()),
            (settings.work_us > 0.0, format!("{} µs of work a request", settings.work_us)),
            (settings.think_us > 0.0, format!("{} µs of thought a request", settings.think_us)),
            (settings.keys, "keys".to_owned()),
            (settings.tags > 0, format!("{} tags", settings.tags)),
            (settings.filter == Some(Filter::Tag), "filtered by tag".to_owned()),
            (settings.filter == Some(Filter::Sql), "filtered by SQL92".to_owned()),
            (settings.header == HeaderKind::Binary, "binary headers".to_owned()),
            (is_pulled && settings.groups <= 1 && settings.pulled_from.is_usual(), "pulled back".to_owned()),
            (settings.pop > 0, format!("popped by {} connections", settings.pop)),
            (settings.pulled_from == PulledFrom::Slaves, FROM_SLAVES.to_owned()),
            (settings.pulled_from == PulledFrom::Both, FROM_BOTH.to_owned()),
            (settings.groups > 1, format!("pulled by {} groups", settings.groups)),
        ];
        parts.into_iter().filter(|(is_so, _)| *is_so).map(|(_, text)| text).collect()
    }
}

impl Point {
    /// Its value with its unit: `10,000 messages/s`.
    pub fn written(&self) -> String {
        let value = if self.value.fract() == 0.0 {
            thousands(self.value)
        } else {
            crate::lab::figure::three_digits(self.value)
        };
        format!("{value} {}", self.unit).trim_end().to_owned()
    }
}

/// A series of latencies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Latency {
    /// From the intended moment to the reply.
    Reply,
    /// From the actual send to the reply.
    FromSend,
    /// From the intended moment to a consumer.
    EndToEnd,
}

impl Latency {
    /// All series.
    pub const ALL: [Self; 3] = [Self::Reply, Self::FromSend, Self::EndToEnd];

    /// For names of files and headings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Reply => "reply",
            Self::FromSend => "reply from actual send",
            Self::EndToEnd => "end to end",
        }
    }

    /// Its histogram in a run, ns; none if nothing was recorded.
    ///
    /// # Errors
    /// When it does not unpack.
    pub fn of(self, run: &Run) -> Result<Option<Histogram<u64>>, Damaged> {
        let packed = match self {
            Self::Reply => Some(&run.histograms.reply),
            Self::FromSend => Some(&run.histograms.from_send),
            Self::EndToEnd => run.histograms.end_to_end.as_ref(),
        };
        let Some(packed) = packed.filter(|packed| !packed.text().is_empty()) else { return Ok(None) };
        Ok(Some(packed.unpack()?).filter(|histogram| !histogram.is_empty()))
    }
}

/// The runs of one load on one subject, in the order in which they happened.
#[derive(Debug, Clone)]
pub struct Rounds<'a> {
    /// Index into [`Results::subjects`].
    pub subject: usize,
    /// What was asked.
    pub load: Load,
    /// At least one.
    pub runs: Vec<&'a Run>,
}

impl<'a> Rounds<'a> {
    /// All of a file, in the order in which they first came.
    pub fn of(results: &'a Results) -> Vec<Self> {
        let mut found: Vec<Self> = Vec::new();
        for run in &results.runs {
            let load = Load::of(run);
            match found.iter_mut().find(|rounds| rounds.subject == run.subject && rounds.load == load) {
                Some(rounds) => rounds.runs.push(run),
                None => found.push(Self { subject: run.subject, load, runs: vec![run] }),
            }
        }
        found
    }

    /// A figure, round by round.
    pub fn values(&self, figure: Figure) -> Vec<f64> {
        self.runs.iter().map(|run| figure.of(&run.report)).collect()
    }

    /// Of all rounds.
    pub fn median(&self, figure: Figure) -> f64 {
        super::statistics::median(&self.values(figure)).expect("at least one run")
    }

    /// All rounds together, ns; none if nothing was recorded.
    ///
    /// # Errors
    /// When a histogram does not unpack.
    pub fn histogram(&self, latency: Latency) -> Result<Option<Histogram<u64>>, Damaged> {
        let mut all: Option<Histogram<u64>> = None;
        for run in &self.runs {
            let Some(mut one) = latency.of(run)? else { continue };
            match &mut all {
                Some(all) => all.add(&one).expect("a histogram that grows takes what another one holds"),
                None => {
                    // Rounds of other versions may have other bounds.
                    one.auto(true);
                    all = Some(one);
                }
            }
        }
        Ok(all)
    }

    /// Whether the generator fell short of a rate that was asked for: 99 % of it or less was stored as promised.
    pub fn is_short(&self) -> bool {
        self.load.asked_rate().is_some_and(|asked| self.median(Figure::Rate) < 0.99 * asked)
    }
}
