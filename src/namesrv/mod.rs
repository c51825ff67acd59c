//! The name server: answers over the route table.
