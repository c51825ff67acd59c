//! Bytes of sockets to whole frames and back.
