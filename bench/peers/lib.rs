//! Apache RocketMQ and its stock clients, brought up beside ringmq.
