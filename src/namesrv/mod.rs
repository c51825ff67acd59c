//! The name server: requests to answers over the route table. Pure; `control::server` has the sockets.
//!
//! [`NameServer::handle`] is called once a request, in the order of arrival on a connection; [`NameServer::disconnected`] once a
//! connection is gone; [`NameServer::tick`] every [`NameServer::scan_interval_ms`]. Codes and answers: RocketMQ 5.3
//! `DefaultRequestProcessor` and `ClientRequestProcessor`.

mod admin;
mod answer;
mod broker;
mod kv;
mod lookup;

pub(crate) use answer::{Answer, NameServerEffect};
pub(crate) use kv::KvConfig;

pub use crate::route::Peer;
pub(crate) use crate::route::Registration;

use crate::config::NamesrvConfig;
use crate::model::{ConnectionId, MonoNs, Now};
use crate::protocol::code::{RequestCode, ResponseCode};
use crate::protocol::header::Header;
use crate::route::RouteTable;
use crate::said::say_change;

/// The state of one name server. Routes live in memory only; [`KvConfig`] outlives the process through [`NameServerEffect::PersistKv`].
#[derive(Debug)]
pub struct NameServer {
    config: NamesrvConfig,
    table: RouteTable,
    kv: KvConfig,
    started: MonoNs,
}

impl NameServer {
    /// A name server that knows no broker yet. `kv` is what its file held.
    #[must_use]
    pub fn new(now: Now, config: NamesrvConfig, kv: KvConfig) -> NameServer {
        let mut table = RouteTable::default();
        table.delete_absent_topics(config.delete_topic_with_registration);
        NameServer { config, table, kv, started: now.mono }
    }

    /// Answers one request. Every code gets an answer, an unknown one too.
    pub fn handle(&mut self, now: Now, from: Peer, header: &Header<'_>, body: &[u8]) -> Answer {
        let Ok(code) = RequestCode::try_from(header.code) else { return not_supported(header.code) };
        let answered = match code {
            RequestCode::GetRouteinfoByTopic => self.route(now, header),
            RequestCode::RegisterBroker => NameServer::read_registration(header, body)
                .and_then(|registration| self.register_broker(now, from, registration)),
            RequestCode::UnregisterBroker => self.unregister_broker(from, header),
            RequestCode::QueryDataVersion => self.query_data_version(now, header, body),
            RequestCode::BrokerHeartbeat => self.broker_heartbeat(now, header),
            RequestCode::GetBrokerMemberGroup => self.broker_member_group(header),
            RequestCode::RegisterTopicInNamesrv => self.register_topic(header, body),
            RequestCode::DeleteTopicInNamesrv => self.delete_topic(header),
            RequestCode::WipeWritePermOfBroker => self.wipe_write_permission(header),
            RequestCode::AddWritePermOfBroker => self.add_write_permission(header),
            RequestCode::GetBrokerClusterInfo => Ok(self.cluster_info()),
            RequestCode::GetAllTopicListFromNameserver => Ok(self.all_topics()),
            RequestCode::GetTopicsByCluster => self.topics_of_cluster(header),
            RequestCode::GetSystemTopicListFromNs => Ok(self.system_topics()),
            RequestCode::GetUnitTopicList => Ok(self.topics_by_unit(lookup::UnitFilter::Unit)),
            RequestCode::GetHasUnitSubTopicList => Ok(self.topics_by_unit(lookup::UnitFilter::Subscribed)),
            RequestCode::GetHasUnitSubUnunitTopicList => Ok(self.topics_by_unit(lookup::UnitFilter::SubscribedNotUnit)),
            RequestCode::PutKvConfig => self.put_kv(header),
            RequestCode::GetKvConfig => self.get_kv(header),
            RequestCode::DeleteKvConfig => self.delete_kv(header),
            RequestCode::GetKvlistByNamespace => self.kv_of_namespace(header),
            RequestCode::UpdateNamesrvConfig => Ok(self.update_config(body)),
            RequestCode::GetNamesrvConfig => Ok(self.print_config()),
            _ => return not_supported(header.code),
        };
        if answered.is_ok() && code.row().sets {
            say_change("the name server", code, from.ip(), header, body);
        }
        answered.unwrap_or_else(|refusal| refusal)
    }

    /// A connection is gone; how many brokers went with it.
    pub fn disconnected(&mut self, connection: ConnectionId) -> usize {
        self.table.disconnected(connection)
    }

    /// Drops brokers that were silent too long; their number.
    pub(crate) fn tick(&mut self, now: Now) -> usize {
        self.table.expire(now.mono)
    }

    /// How often [`NameServer::tick`] is due, ms.
    #[must_use]
    pub(crate) fn scan_interval_ms(&self) -> u64 {
        self.config.scan_interval_ms
    }
}

/// An answer, or the answer that says why there is none.
type Answered = Result<Answer, Answer>;

fn not_supported(code: i32) -> Answer {
    Answer::error(ResponseCode::RequestCodeNotSupported, format!(" request type {code} not supported"))
}

#[cfg(test)]
mod tests;
