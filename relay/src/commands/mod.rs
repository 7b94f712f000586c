//! One module for each command: its options, its manual, and what it prints. What it does is in the
//! library.

pub(crate) mod check;
pub(crate) mod layout;
pub(crate) mod render;
pub(crate) mod serve;
