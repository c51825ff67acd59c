//! What a broker says of itself: 28 and 26.

use super::super::{Asked, Broker, Handled, Output, Refusal};
use crate::limits::{CONNECTION_MEMORY, GROUP_MEMORY, OFFSET_MEMORY, TOPIC_MEMORY};
use crate::metrics::{Stage, StageLatency};
use crate::model::{Now, QueueOffset};
use crate::protocol::body::{RuntimeInfo, byte_text, put_time_text, rate_text, uptime_text};
use crate::protocol::code::ResponseCode;
use crate::protocol::message::{SCHEDULE_TOPIC, queue_of_level};
use crate::protocol::reply::{ExtValue, Reply, VERSION};

/// The version that ringmq speaks, by name.
const VERSION_NAME: &str = "V5_3_3";

impl Broker {
    /// GET_BROKER_RUNTIME_INFO 28.
    pub(in crate::broker) fn runtime_info(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        let counters = self.counters;
        let mut info = RuntimeInfo::new();
        info.set("bootTimestamp", self.started.unix.0);
        info.set("startAcceptSendRequestTimeStamp", 0);
        info.set("runtime", uptime_text(asked.now.mono.ms_since(self.started.mono)));
        info.set("brokerVersion", VERSION);
        info.set("brokerVersionDesc", VERSION_NAME);
        // RocketMQ: whether this broker does what only one of a group may, as the delivery of delayed messages.
        info.set("brokerActive", !self.is_slave() && self.log.failure().is_none());
        info.set("putMessageTimesTotal", counters.put_count);
        info.set("putMessageFailedTimes", counters.put_failed_count);
        info.set("sendHeadersByTemplate", counters.templated_count);
        info.set("sendHeadersInFull", counters.untemplated_count);
        info.set("putMessageSizeTotal", counters.put_bytes);
        #[expect(clippy::cast_precision_loss, reason = "an average is for reading: 53 bits are enough")]
        let average = counters.put_bytes as f64 / counters.put_count.max(1) as f64;
        info.set("putMessageAverageSize", format!("{average:?}"));
        self.set_latencies(&mut info);
        let rate = |pick: fn(&crate::metrics::Counters) -> u64| rate_text(self.rates.per_second(pick));
        info.set("putTps", rate(|counters| counters.put_count));
        info.set("getFoundTps", rate(|counters| counters.get_found_count));
        info.set("getMissTps", rate(|counters| counters.get_miss_count));
        info.set("getTotalTps", rate(|counters| counters.get_found_count + counters.get_miss_count));
        let transferred = rate(|counters| counters.get_count);
        info.set("getTransferredTps", &transferred);
        info.set("getTransferedTps", transferred);
        info.set("msgPutTotalTodayNow", counters.user_put_count);
        info.set("msgPutTotalTodayMorning", self.mornings.today().user_put_count);
        info.set("msgPutTotalYesterdayMorning", self.mornings.yesterday().user_put_count);
        info.set("msgGetTotalTodayNow", counters.user_get_count);
        info.set("msgGetTotalTodayMorning", self.mornings.today().user_get_count);
        info.set("msgGetTotalYesterdayMorning", self.mornings.yesterday().user_get_count);
        info.set("commitLogMinOffset", self.log.start());
        info.set("commitLogMaxOffset", self.log.appended());
        let unflushed = self.log.appended().0.saturating_sub(self.log.flushed().0);
        info.set("remainHowManyDataToFlush", byte_text(unflushed));
        info.set("remainHowManyDataToCommit", byte_text(0));
        self.set_disk(&mut info);
        let damage = self.log.damage();
        info.set("damagedMessages", damage.records);
        info.set("damagedMessagesPassed", counters.damaged_passed_count);
        info.set("damagedMessagesMended", damage.mended);
        info.set("damagedMessagesLost", damage.lost);
        info.set("unreadableBlocks", damage.unreadable);
        info.set("popsWithoutRoom", counters.pops_without_room_count);
        info.set("indexBlocksRebuilt", damage.index_blocks_rebuilt);
        info.set("failedReads", damage.reads_failed);
        let scrub = self.log.scrub();
        info.set("scrubBytes", scrub.done_bytes);
        info.set("scrubBytesTotal", scrub.total_bytes);
        info.set("scrubLastEnd", scrub.last_end.map_or(-1, |time| time.0));
        self.set_delays(&mut info);
        self.set_timers(asked.now, &mut info);
        self.set_memory(&mut info);
        self.reply(asked, &Reply::body(&info.encode()), out);
        Ok(Handled::Done)
    }

    /// The time that storing takes, as RocketMQ says it, and each stage in numbers of ours: as [`STAGE_KEYS`](crate::protocol::body::STAGE_KEYS) has them.
    fn set_latencies(&self, info: &mut RuntimeInfo) {
        info.set("putMessageEntireTimeMax", self.stages.longest_reply_ms());
        let stages = self.stages.latencies();
        for (stage, latency) in Stage::ALL.into_iter().zip(stages) {
            info.set(stage.key(), stage_text(&latency));
            // Of what was not measured RocketMQ's broker says what an idle one does.
            if stage == Stage::Reply && latency.count > 0 {
                info.set("putMessageDistributeTime", put_time_text(self.stages.reply_classes()));
                #[expect(clippy::cast_precision_loss, reason = "a time is for reading: 53 bits are enough")]
                let ms = |us: u64| format!("{:.2}", us as f64 / 1_000.0);
                info.set("putLatency99", ms(latency.p99_us));
                info.set("putLatency999", ms(latency.p999_us));
            }
        }
    }

    fn set_disk(&self, info: &mut RuntimeInfo) {
        let disk = self.disk;
        #[expect(clippy::cast_precision_loss, reason = "a ratio is for reading: 53 bits are enough")]
        let ratio = disk.used_bytes as f64 / disk.total_bytes.max(1) as f64;
        info.set("commitLogDiskRatio", format!("{ratio:.4}"));
        info.set("consumeQueueDiskRatio", format!("{ratio:.4}"));
        let free = disk.total_bytes.saturating_sub(disk.used_bytes);
        info.set("commitLogDirCapacity", crate::protocol::body::capacity_text(disk.total_bytes, free));
        info.set("earliestMessageTimeStamp", self.log.earliest_time().map_or(-1, |oldest| oldest.0));
    }

    /// How far each delay level is, and how far its queue. Source: `ScheduleMessageService.buildRunningStats`. A level that stands still says
    /// which message it cannot deliver, and how often in a row that was tried, which RocketMQ does not.
    fn set_delays(&self, info: &mut RuntimeInfo) {
        for (level, delivered) in self.delays.offsets() {
            let queue = self.log.find_queue(SCHEDULE_TOPIC, queue_of_level(level));
            let max = queue.map_or(QueueOffset(0), |queue| self.log.bounds(queue).max);
            info.set(format!("scheduleMessageOffset_{level}"), format!("{delivered},{max}"));
        }
        for (level, at, tries) in self.delays.blocked() {
            info.set(format!("scheduleMessageUnreadable_{level}"), format!("{at},{tries}"));
        }
    }

    /// How many seconds timer messages are late, and which stands in the way of the others. Source: `AdminBrokerProcessor.prepareRuntimeInfo`.
    fn set_timers(&self, now: Now, info: &mut RuntimeInfo) {
        let next_ms = self.delays.timers.next_due_ms(self.settings.timers.precision_ms).unwrap_or(now.unix.0);
        info.set("timerReadBehind", now.unix.0.saturating_sub(next_ms).max(0) / 1_000);
        info.set("timerMessagesRecalled", self.counters.recalled_count);
        if let Some((at, tries)) = self.delays.timers.blocked() {
            info.set("timerMessageUnreadable", format!("{at},{tries}"));
        }
    }

    /// What the shard's tables cost in memory, in bytes, by what `limits` states of each entry. Ours.
    fn set_memory(&self, info: &mut RuntimeInfo) {
        let (queues, index) = self.log.memory();
        info.set("memoryOfQueues", queues);
        info.set("memoryOfIndex", index);
        info.set("memoryOfTopics", self.topics.len() * TOPIC_MEMORY);
        info.set("memoryOfGroups", self.groups.all().len() * GROUP_MEMORY);
        info.set("memoryOfOffsets", self.offsets.len() * OFFSET_MEMORY);
        info.set("memoryOfClients", self.clients.connections() * CONNECTION_MEMORY + self.clients.bytes());
    }

    /// GET_BROKER_CONFIG 26: the configuration in force, as properties.
    pub(in crate::broker) fn broker_config(&mut self, asked: &Asked, out: &mut Output) -> Result<Handled, Refusal> {
        let version = String::from_utf8(self.config_version.encode()).unwrap_or_default();
        let ext = [("version", ExtValue::Str(&version))];
        let body = self.settings.config_text.as_bytes();
        self.reply(asked, &Reply { code: ResponseCode::Success, remark: None, ext: &ext, body }, out);
        Ok(Handled::Done)
    }
}

fn stage_text(latency: &StageLatency) -> String {
    let StageLatency { count, p50_us, p99_us, p999_us, max_us } = latency;
    if *count == 0 {
        return "0 - - - -".to_owned();
    }
    format!("{count} {p50_us} {p99_us} {p999_us} {max_us}")
}
