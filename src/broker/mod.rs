//! What a broker decides: command and state in, reply and effects out.
