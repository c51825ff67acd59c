//! Who in this process may have how many files and sockets open, from what the system allows.
//!
//! The log comes first: a segment that cannot be opened stops a shard, a connection that cannot be accepted tries again. So what logs and
//! their surroundings need is set aside, and connections share the rest.

use super::runtime::RuntimeError;
use crate::limits::{
    CLIENTS_PER_SHARD_MIN, CONNECTIONS_MAX, DESCRIPTORS_OF_PROCESS, DESCRIPTORS_OF_SHARD, HA_LINKS_MAX,
    NAMESRV_CONNECTIONS_MAX,
};

/// How many connections there may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Descriptors {
    /// Clients of one shard.
    pub clients: usize,
    /// Replication connections of one shard.
    pub links: usize,
    /// Connections of the name server, if the process has one, and as many of a controller beside it.
    pub name_server: usize,
}

impl Descriptors {
    /// Raises the limit of open files to what is allowed and shares it out, among so many name servers and controllers besides the shards.
    ///
    /// # Errors
    /// [`RuntimeError::OpenFiles`] if not even a few clients fit.
    pub fn of_process(shards: u16, servers: usize) -> Result<Descriptors, RuntimeError> {
        let allowed = super::runtime::raise_open_files();
        let found = usize::try_from(allowed).unwrap_or(usize::MAX);
        let needed = Descriptors::own(shards) + (usize::from(shards).max(1) * CLIENTS_PER_SHARD_MIN) * 2;
        if found < needed {
            return Err(RuntimeError::OpenFiles { found, needed });
        }
        Ok(Descriptors::share(found, shards, servers))
    }

    /// What the process needs beside connections.
    fn own(shards: u16) -> usize {
        DESCRIPTORS_OF_PROCESS + usize::from(shards) * DESCRIPTORS_OF_SHARD
    }

    fn share(found: usize, shards: u16, servers: usize) -> Descriptors {
        let rest = found.saturating_sub(Descriptors::own(shards));
        let of_server = |all: usize| all.min(NAMESRV_CONNECTIONS_MAX).checked_div(servers).unwrap_or(0);
        if shards == 0 {
            return Descriptors { clients: 0, links: 0, name_server: of_server(rest) };
        }
        let name_server = of_server(rest / 8);
        let of_shard = (rest - name_server * servers) / usize::from(shards);
        let links = (of_shard / 8).min(HA_LINKS_MAX);
        Descriptors { clients: (of_shard - links).min(CONNECTIONS_MAX), links, name_server }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_come_first_and_connections_share_the_rest() {
        for (found, shards) in [(1024, 1), (1024, 2), (4096, 8), (65_536, 16), (1_048_576, 4), (1 << 30, 64)] {
            for servers in [0, 1, 2] {
                let shared = Descriptors::share(found, shards, servers);
                let used = Descriptors::own(shards)
                    + usize::from(shards) * (shared.clients + shared.links)
                    + shared.name_server * servers;
                assert!(used <= found, "{shared:?} of {found} for {shards} shards");
                assert_eq!(shared.name_server > 0, servers > 0);
                assert!(shared.clients >= CLIENTS_PER_SHARD_MIN && shared.links > 0, "{shared:?} of {found}");
            }
        }
        let large = Descriptors::share(1 << 30, 4, 1);
        assert_eq!(
            large,
            Descriptors { clients: CONNECTIONS_MAX, links: HA_LINKS_MAX, name_server: NAMESRV_CONNECTIONS_MAX }
        );
        assert_eq!(Descriptors::share(1024, 0, 1).name_server, 1024 - DESCRIPTORS_OF_PROCESS);
    }
}
