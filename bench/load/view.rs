//! What people see while a load runs.

use std::io::{self, IsTerminal as _, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::load::run::ratio;
use crate::load::series::Second;

/// Seconds that a line of Apache's own tool covers.
const ROCKETMQ_LINE_SECONDS: u64 = 10;

/// Where each second goes.
#[derive(Debug)]
pub enum View {
    /// A bar that shows how far the run is, and the last second beside it.
    Bar(ProgressBar),
    /// A line a second on stderr.
    Lines,
    /// The lines of Apache's `producer.sh` or `consumer.sh` on stdout.
    RocketMq(RocketMq),
    /// Nowhere.
    Silent,
}

/// Which of Apache's tools a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tool {
    /// `producer.sh`.
    Producer,
    /// `consumer.sh`.
    Consumer,
}

/// Seconds gathered for one line.
#[derive(Debug)]
pub struct RocketMq {
    tool: Tool,
    seconds: Vec<Second>,
    failed: u64,
    /// Apache's tool never forgets the slowest.
    max_us: f64,
}

impl View {
    /// A bar on a terminal, lines elsewhere. `label` says which run it is, `time` how long it
    /// will take.
    pub fn for_stderr(time: Duration, label: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self::Lines;
        }
        let style = "{prefix} {elapsed_precise} [{bar:30}] {eta} left  {msg}";
        let style = ProgressStyle::with_template(style).expect("a constant template that holds");
        let bar = ProgressBar::new(time.as_secs().max(1)).with_style(style).with_prefix(label.to_owned());
        bar.enable_steady_tick(Duration::from_millis(500));
        Self::Bar(bar)
    }

    /// Lines as scripts around Apache's tools expect them.
    pub fn rocketmq(tool: Tool) -> Self {
        Self::RocketMq(RocketMq { tool, seconds: Vec::new(), failed: 0, max_us: 0.0 })
    }

    /// A second is over; `failed` messages in all so far.
    pub fn second(&mut self, second: &Second, failed: u64) {
        match self {
            Self::Bar(bar) => {
                bar.set_position(second.at);
                bar.set_message(line(second, failed));
            }
            Self::Lines => {
                // A closed stderr is no reason to stop measuring.
                let _ = writeln!(io::stderr(), "{:>4} s {}", second.at, line(second, failed));
            }
            Self::RocketMq(lines) => lines.second(second, failed),
            Self::Silent => {}
        }
    }

    /// The load is over.
    pub fn end(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn line(second: &Second, failed: u64) -> String {
    // In the unit of the tables at the end.
    let [p50, p99, p99_9, max] = [second.p50_us, second.p99_us, second.p99_9_us, second.max_us];
    let pulled = if second.received > 0 || second.backlog > 0 {
        format!("   received {:>8}   backlog {:>7}", second.received, second.backlog)
    } else {
        String::new()
    };
    let phase = if second.is_warmup { "  (warm-up)" } else { "" };
    format!(
        "{:>9} replies   p50 {p50:>8.0}   p99 {p99:>8.0}   p99.9 {p99_9:>8.0}   max {max:>8.0} microseconds   failed {failed}{pulled}{phase}",
        second.replies
    )
}

impl RocketMq {
    fn second(&mut self, second: &Second, failed: u64) {
        self.seconds.push(*second);
        let slowest = if self.tool == Tool::Producer { second.max_us } else { second.received_max_us };
        self.max_us = self.max_us.max(slowest);
        if self.seconds.len() as u64 == ROCKETMQ_LINE_SECONDS {
            let line = self.line(failed, &jiff::Zoned::now().strftime("%Y-%m-%d %H:%M:%S,%3f").to_string());
            // A closed stdout is no reason to stop measuring.
            let _ = writeln!(io::stdout(), "{line}");
            self.seconds.clear();
            self.failed = failed;
            if self.tool == Tool::Consumer {
                self.max_us = 0.0;
            }
        }
    }

    /// Source: `org.apache.rocketmq.example.benchmark` `Producer` and `Consumer`, 5.3.3. From store to consumer (S2C) is not measured here:
    /// brokers keep that time in whole milliseconds of their own clock.
    fn line(&self, failed: u64, time: &str) -> String {
        let seconds = self.seconds.len() as u64;
        let mean_ms = |count: fn(&Second) -> u64, mean_us: fn(&Second) -> f64| {
            let all: u64 = self.seconds.iter().map(count).sum();
            let sum: f64 = self.seconds.iter().map(|second| mean_us(second) * ratio(count(second), 1)).sum();
            (all / seconds, sum / ratio(all, 1) / 1000.0)
        };
        let (max_ms, failed) = (self.max_us / 1000.0, failed - self.failed);
        match self.tool {
            Tool::Producer => {
                let (tps, mean_ms) = mean_ms(|second| second.replies, |second| second.mean_us);
                format!(
                    "Current Time: {time} | Send TPS: {tps} | Max RT(ms): {max_ms:.0} | Average RT(ms): {mean_ms:7.3} | \
                     Send Failed: {failed} | Response Failed: 0"
                )
            }
            Tool::Consumer => {
                let (tps, mean_ms) = mean_ms(|second| second.received, |second| second.received_mean_us);
                format!(
                    "Current Time: {time} | Consume TPS: {tps} | AVG(B2C) RT(ms): {mean_ms:7.3} | AVG(S2C) RT(ms):     NaN | \
                     MAX(B2C) RT(ms): {max_ms:.0} | MAX(S2C) RT(ms): NaN | Consume Fail: {failed}"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_for_old_scripts_are_those_of_apaches_tools() {
        let mut lines = RocketMq { tool: Tool::Producer, seconds: Vec::new(), failed: 5, max_us: 0.0 };
        for (replies, mean_us) in [(100, 1000.0), (300, 2000.0)] {
            lines.seconds.push(Second { replies, mean_us, received: 2, received_mean_us: 500.0, ..Second::default() });
        }
        lines.max_us = 12_345.0;
        assert_eq!(
            lines.line(7, "NOW"),
            "Current Time: NOW | Send TPS: 200 | Max RT(ms): 12 | Average RT(ms):   1.750 | Send Failed: 2 | Response Failed: 0"
        );
        lines.tool = Tool::Consumer;
        let line = lines.line(7, "NOW");
        assert!(line.starts_with("Current Time: NOW | Consume TPS: 2 | AVG(B2C) RT(ms):   0.500 | "), "{line}");
    }
}
