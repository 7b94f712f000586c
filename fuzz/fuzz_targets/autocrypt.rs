//! The value of an Autocrypt field. Where an outgoing message keeps it, another reading of it finds the
//! packets of one public key and nothing else.

#![no_main]

#[path = "../../chatmail-core/tests/oracle/mod.rs"]
mod oracle;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|value: &[u8]| {
    oracle::keeps_key(value);
});
