//! A slave asks its master for what is damaged in its log, and is asked.

use super::super::mend::Askable;
use super::{Slave, SlaveError};
use crate::log::Log;
use crate::model::MonoNs;
use crate::protocol::ha::{MendMessage, StreamKind};

impl Slave {
    /// Goes on with what is damaged in the log: takes what the master has answered, and asks it for more.
    pub(crate) fn mend(&mut self, now: MonoNs, log: &mut Log) {
        let link = self.link().filter(|_| self.is_following() && self.mend.is_able());
        let peers: Vec<Askable> = link.into_iter().map(|link| Askable { link, is_free: self.mend.is_free() }).collect();
        // Other slaves may have what this one's master has not.
        if let Some((_, ask)) = self.mender.go_on(now, &peers, log, |_, _| false) {
            self.mend.ask(ask);
        }
    }

    /// Whether the master has answered, and that was not looked at: then [`Slave::mend`].
    #[must_use]
    pub(crate) fn has_answer(&self) -> bool {
        self.mender.has_answer()
    }

    /// Takes what the master asks or answers. Whether it is that.
    pub(super) fn take_mend(&mut self, now: MonoNs, front: &[u8]) -> Result<bool, SlaveError> {
        if self.stream == StreamKind::Classic || !matches!(MendMessage::size(front), Ok(Some(_))) {
            return Ok(false);
        }
        let message = MendMessage::decode(front).map_err(|_| SlaveError::Garbage)?;
        let Some(message) = message else { return Ok(false) };
        self.last_read = now;
        let heard = self.mend.hear(message).map_err(|_| SlaveError::Garbage)?;
        if let Some(((from, bytes), link)) = heard.zip(self.link()) {
            self.mender.note_answer(link, from, bytes);
        }
        Ok(true)
    }
}
