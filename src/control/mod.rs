//! The control plane thread: signals, the name server's sockets, registration with name servers.
