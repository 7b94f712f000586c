//! The rate limit per sender.
