//! What a master that starts asks its replicas: which commits consumers made there while it was away, and who they are.
//!
//! Of commits only those are taken that were made at this log's replicas. A master whose store was wiped or replaced by an older one does not
//! know its replicas by itself: those that are registered are asked by the shard how far they are before it stores anything.
//!
//! It is asked before the shard listens, so that no consumer finds older offsets and reads a mass of messages twice. The time for it is bounded:
//! a replica that is gone does not hold up a start, and gives back what it has once it finds the master.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{debug, info};

use super::registrar::Identity;
use super::wire::{Wire, WireError};
use crate::letter::KeptOffsets;
use crate::model::BrokerId;
use crate::protocol::body::{ClusterInfo, ConsumerOffsets};
use crate::protocol::code::RequestCode;
use crate::protocol::reply::ExtValue;
use crate::protocol::request::{KEPT_ONLY, REPLICA_LOG};

/// For all shards, name servers and replicas together.
const ALL_WITHIN: Duration = Duration::from_millis(2_500);
const ANSWER: Duration = Duration::from_secs(1);

/// What is known of a master's replicas.
#[derive(Clone, Debug, Default)]
pub struct FoundReplicas {
    /// What they kept.
    pub kept: Vec<KeptOffsets>,
    /// The brokerIds of those that can say which log they have, or have not answered.
    pub broker_ids: BTreeSet<BrokerId>,
}

/// For each identity, its replicas.
pub(super) async fn find_replicas(identities: &[Identity], name_servers: &[String]) -> Vec<FoundReplicas> {
    let mut found: Vec<FoundReplicas> = identities.iter().map(|_| FoundReplicas::default()).collect();
    let mut asking = JoinSet::new();
    let mut asked = BTreeSet::new();
    let gather = async {
        for replicas in replicas_at(name_servers, identities).await {
            for (index, broker_id, address) in replicas {
                if asked.insert((index, address.clone())) {
                    found.get_mut(index).expect("indexes are those of `identities`").broker_ids.insert(broker_id);
                    asking.spawn_local(async move {
                        let answer = kept_by(&address).await;
                        (index, broker_id, address, answer)
                    });
                }
            }
        }
        while let Some(done) = asking.join_next().await {
            let Ok((index, broker_id, address, answer)) = done else { continue };
            match answer {
                Ok(kept) => {
                    info!(%address, groups = kept.offsets.offsets.len(), "asked a replica for commits made there");
                    let found = found.get_mut(index).expect("indexes are those of `identities`");
                    if kept.log.is_none() {
                        found.broker_ids.remove(&broker_id);
                    }
                    found.kept.push(kept);
                }
                Err(error) => debug!(%address, %error, "a replica did not tell its offsets"),
            }
        }
    };
    // What has not come by then is given back later by the replica itself.
    let _late = timeout(ALL_WITHIN, gather).await;
    found
}

/// From each name server: the number of an identity, and number and address of a replica of its.
async fn replicas_at(name_servers: &[String], identities: &[Identity]) -> Vec<Vec<(usize, BrokerId, String)>> {
    let mut asking = JoinSet::new();
    for name_server in name_servers {
        let name_server = name_server.clone();
        asking.spawn_local(async move {
            let info = timeout(ANSWER, cluster_info(&name_server)).await;
            info.ok().and_then(Result::ok)
        });
    }
    let mut found = Vec::new();
    while let Some(done) = asking.join_next().await {
        let Ok(Some(info)) = done else { continue };
        let replicas = identities.iter().enumerate().flat_map(|(index, identity)| {
            let broker = info.brokers.get(identity.broker_name.as_str());
            let addresses = broker.into_iter().flat_map(|broker| &broker.addresses);
            let others = addresses.filter(|(id, address)| **id != BrokerId::MASTER && **address != identity.address);
            others.map(move |(id, address)| (index, *id, address.clone()))
        });
        found.push(replicas.collect());
    }
    found
}

async fn cluster_info(name_server: &str) -> Result<ClusterInfo, WireError> {
    let mut wire = Wire::connect(name_server).await?;
    let answer = wire.ask(RequestCode::GetBrokerClusterInfo, &[], &[], ANSWER).await?;
    ClusterInfo::decode(&answer.body).map_err(|error| WireError::Refused { code: 0, remark: error.to_string() })
}

async fn kept_by(address: &str) -> Result<KeptOffsets, WireError> {
    let exchange = async {
        let mut wire = Wire::connect(address).await?;
        let ext = [(KEPT_ONLY, ExtValue::Bool(true))];
        wire.ask(RequestCode::GetAllConsumerOffset, &ext, &[], ANSWER).await
    };
    let answer = timeout(ANSWER, exchange).await.map_err(|_| WireError::AnswerTimeout(ANSWER))??;
    let offsets = ConsumerOffsets::decode(&answer.body);
    let offsets = offsets.map_err(|error| WireError::Refused { code: 0, remark: error.to_string() })?;
    let log = answer.field(REPLICA_LOG).map(|log| log.parse().unwrap_or_default());
    Ok(KeptOffsets { log, offsets })
}
