//! One pinned executor a core, alone with its queues.
