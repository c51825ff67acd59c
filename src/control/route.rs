//! What name servers say of topics whose queues a shard deals out among consumers (400): one question at a time, over a connection that is kept.
//!
//! One task a node. A name server that has answered is asked again; one that has not is followed by the next. A question that has waited for too long is
//! answered with nothing, so that consumers hear from their broker before they give up.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::mailbox::ShardSender;
use super::wire::{Wire, WireError};
use crate::letter::{ToShard, ToldRoute};
use crate::limits::TOLD_BROKERS_MAX;
use crate::model::{BrokerName, TopicName};
use crate::protocol::body::{TopicRouteData, perm};
use crate::protocol::code::{RequestCode, ResponseCode};
use crate::protocol::reply::ExtValue;

/// A consumer waits 3 s for its broker.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// A shard asks for a topic's route.
pub(super) struct RouteQuestion {
    /// Who is told.
    pub(super) mailbox: ShardSender,
    pub(super) topic: TopicName,
    /// When it was asked.
    pub(super) asked: Instant,
}

/// See the module.
pub(super) struct RouteAsker {
    name_servers: Vec<String>,
    questions: mpsc::Receiver<RouteQuestion>,
    /// The one that is asked first.
    first: usize,
    wire: Option<Wire>,
}

impl RouteAsker {
    pub(super) fn new(name_servers: Vec<String>, questions: mpsc::Receiver<RouteQuestion>) -> RouteAsker {
        RouteAsker { name_servers, questions, first: 0, wire: None }
    }

    /// Runs until the control plane ends. Local task.
    pub(super) async fn run(mut self) {
        while let Some(RouteQuestion { mailbox, topic, asked }) = self.questions.recv().await {
            let deadline = asked + ANSWERED_WITHIN;
            let route = match tokio::time::timeout_at(deadline, self.ask(&topic, deadline)).await {
                Ok(route) => route,
                Err(_) => {
                    self.go_on();
                    ToldRoute::Unknown
                }
            };
            // A closed mailbox: the shard has ended.
            drop(mailbox.send(ToShard::RouteTold { topic, route }).await);
        }
    }

    /// The next question goes to the next one.
    fn go_on(&mut self) {
        self.wire = None;
        self.first = self.first.wrapping_add(1);
    }

    /// Asks one name server after the other.
    async fn ask(&mut self, topic: &TopicName, deadline: Instant) -> ToldRoute {
        for _ in 0..self.name_servers.len() {
            let is_kept = self.wire.is_some();
            let mut asked = self.ask_first(topic, deadline).await;
            if is_kept && matches!(asked, Err(ref error) if !is_answer(error)) {
                // It may have been started again since it was asked last.
                self.wire = None;
                asked = self.ask_first(topic, deadline).await;
            }
            match asked {
                Ok(route) => return route,
                Err(WireError::Refused { code, .. }) if code == ResponseCode::TopicNotExist.number() => {
                    return ToldRoute::NoTopic;
                }
                Err(error) => {
                    debug!(%topic, %error, "a name server does not tell a route");
                    self.go_on();
                }
            }
        }
        ToldRoute::Unknown
    }

    async fn ask_first(&mut self, topic: &TopicName, deadline: Instant) -> Result<ToldRoute, WireError> {
        let count = self.name_servers.len().max(1);
        let Some(name_server) = self.name_servers.get(self.first % count) else { return Ok(ToldRoute::Unknown) };
        if self.wire.is_none() {
            self.wire = Some(Wire::connect(name_server).await?);
        }
        let Some(wire) = &mut self.wire else { return Ok(ToldRoute::Unknown) };
        let ext = [("topic", ExtValue::Str(topic.as_str())), ("acceptStandardJsonOnly", ExtValue::Bool(true))];
        let within = deadline.saturating_duration_since(Instant::now());
        let answer = wire.ask(RequestCode::GetRouteinfoByTopic, &ext, &[], within).await?;
        Ok(told(topic, &answer.body))
    }
}

/// Whether the connection is still of use.
fn is_answer(error: &WireError) -> bool {
    matches!(error, WireError::Refused { .. })
}

/// The queues that consumers may read, by broker. Source: RocketMQ `MQClientInstance.topicRouteData2TopicSubscribeInfo`.
fn told(topic: &TopicName, body: &[u8]) -> ToldRoute {
    let route = match TopicRouteData::decode(body) {
        Ok(route) => route,
        Err(error) => {
            warn!(%topic, %error, "a name server's route cannot be read");
            return ToldRoute::Unknown;
        }
    };
    let readable = route.queues.into_iter().filter(|queues| queues.perm & perm::READ != 0);
    let mut queues: Vec<(BrokerName, u32)> = readable.map(|queues| (queues.broker_name, queues.read_queues)).collect();
    queues.sort();
    if queues.len() > TOLD_BROKERS_MAX {
        warn!(%topic, brokers = queues.len(), "a route has more brokers than queues are dealt out of");
        return ToldRoute::Unknown;
    }
    ToldRoute::Queues(queues)
}
