//! Frames to typed commands of RocketMQ remoting, and typed replies to frames.
