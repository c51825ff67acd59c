//! RocketMQ properties to a checked configuration: the unit and default of each setting, refused once, at the start.
