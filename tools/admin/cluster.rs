//! The brokers there are.

use crate::output::Output;
use crate::wire::{AdminError, Cluster};

/// One row a replica.
pub(crate) fn list(cluster: &mut Cluster, output: Output) -> Result<(), AdminError> {
    let info = cluster.info()?;
    let mut rows = Vec::new();
    for broker in info.brokers.values() {
        for (id, address) in &broker.addresses {
            rows.push(vec![broker.cluster.clone(), broker.broker_name.to_string(), id.to_string(), address.clone()]);
        }
    }
    output.table(&["CLUSTER", "BROKER", "ID", "ADDRESS"], &rows);
    Ok(())
}
