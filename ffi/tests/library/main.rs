//! The library as it is linked: what it exports, and a C program that uses all of it.
//!
//! Needs `cc` and binutils. `valgrind` is used where it is installed.
//!
//! Only with all features: the header declares what a smaller library lacks.

#![allow(clippy::unwrap_used)]
#![cfg(all(
    feature = "auth",
    feature = "filter",
    feature = "metadata",
    feature = "push"
))]

mod built;
mod exports;
mod program;
