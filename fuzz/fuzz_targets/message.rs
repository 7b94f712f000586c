//! The whole check. The input is a message; see the oracle for what must hold of it.

#![no_main]

#[path = "../../chatmail-core/tests/oracle/mod.rs"]
mod oracle;

use libfuzzer_sys::{Corpus, fuzz_target};

fuzz_target!(|message: &[u8]| -> Corpus {
    oracle::examine(message);
    Corpus::Keep
});
