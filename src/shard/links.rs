//! The shard's share of replication: bytes between the links and the broker, connections that are asked for, the epochs' file.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use bytes::{Bytes, BytesMut};

use super::pump::Shard;
use super::work::io_error;
use crate::model::LinkId;
use crate::net::LinkService;

/// The path of the epochs' file below the shard's folder.
pub(super) fn epochs_path() -> PathBuf {
    Path::new("config").join("epochs")
}

impl LinkService for Shard {
    fn link_up(self: &Rc<Self>, link: LinkId, peer: SocketAddr) {
        self.act("replica", |broker, now, out| broker.handle_link_up(now, link, peer, out));
    }

    fn link_failed(self: &Rc<Self>, address: SocketAddr, why: &str) {
        self.act("replica", |broker, now, out| broker.handle_link_failed(now, address, why, out));
    }

    fn link_bytes(self: &Rc<Self>, link: LinkId, bytes: &[u8]) {
        self.act("replica", |broker, now, out| broker.handle_link_bytes(now, link, bytes, out));
    }

    fn fill_link(self: &Rc<Self>, link: LinkId, buffer: &mut BytesMut) {
        self.act("replica", |broker, now, out| broker.fill_link(now, link, buffer, out));
    }

    fn poll_link_input(&self, link: LinkId) -> bool {
        self.look(|broker| broker.poll_link_input(link))
    }

    fn link_down(self: &Rc<Self>, link: LinkId) {
        self.act("replica", |broker, now, out| broker.handle_link_down(now, link, out));
    }
}

impl Shard {
    /// Replaces the epochs' file.
    pub(super) fn spawn_epochs(self: &Rc<Self>, generation: u64, text: Bytes) {
        let shard = self.clone();
        self.runtime.spawn(self.runtime.queues.background, async move {
            let Some(written) = shard.write(shard.disk.replace_table(&epochs_path(), text)).await else { return };
            let written = written.map_err(|error| io_error(&error));
            shard.act("epochs", |broker, now, out| broker.handle_epochs_written(now, generation, written, out));
        });
    }
}
