//! The value of an Autocrypt field. If an outgoing message keeps the field, an independent parser finds
//! the packets of one public key in it and nothing else.

#![no_main]

#[path = "../../chatmail-core/tests/oracle/mod.rs"]
mod oracle;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    oracle::keeps_key(value);
});
