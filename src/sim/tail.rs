//! A tail ring that may outlive its process.

use std::cell::RefCell;
use std::rc::Rc;

use crate::log::TailMemory;
use crate::model::LogOffset;

/// What a process leaves in its ring when it dies.
#[derive(Clone, Debug)]
pub(crate) struct Remains {
    /// The bytes.
    pub(crate) ring: Vec<u8>,
    /// What was published last; `None` if nothing was.
    pub(crate) appended: Option<LogOffset>,
}

/// Where the ring is found after the process has died.
pub(crate) type Slot = Rc<RefCell<Option<Remains>>>;

/// A ring that puts itself into its slot when it is dropped: the mapping goes with the process, the file stays.
#[derive(Debug)]
pub(crate) struct SimTail {
    remains: Remains,
    slot: Slot,
    survives_kill: bool,
}

impl SimTail {
    /// A ring with the bytes of `remains`.
    #[must_use]
    pub(crate) fn new(remains: Remains, slot: Slot, survives_kill: bool) -> SimTail {
        SimTail { remains, slot, survives_kill }
    }
}

impl Drop for SimTail {
    fn drop(&mut self) {
        let ring = std::mem::take(&mut self.remains.ring);
        *self.slot.borrow_mut() = Some(Remains { ring, appended: self.remains.appended });
    }
}

impl TailMemory for SimTail {
    fn len(&self) -> usize {
        self.remains.ring.len()
    }

    fn ring(&self) -> &[u8] {
        &self.remains.ring
    }

    fn ring_mut(&mut self) -> &mut [u8] {
        &mut self.remains.ring
    }

    fn publish(&mut self, appended: LogOffset) {
        self.remains.appended = Some(appended);
    }

    fn survives_kill(&self) -> bool {
        self.survives_kill
    }
}
