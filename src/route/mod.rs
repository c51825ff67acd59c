//! Topic to brokers and queues: placement over cores and brokers, registration, data version, expiry.
