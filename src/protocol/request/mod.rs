//! One typed request a code.
