//! libchatmail.
