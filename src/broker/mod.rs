//! What a broker decides: command and state in, reply and effects out.

pub mod ack;
pub mod hold;
pub mod offset;
pub mod order;
pub mod outbox;
