//! What a message is made of besides its body.
