//! `chatmail.ini`: nothing panics, and line ends and comments change nothing.

#![no_main]

use std::path::Path;

use chatmail_core::config::Config;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let read = |text: &str| {
        let config = Config::parse(Path::new("chatmail.ini"), text);
        config
            .map(|config| format!("{config:?}"))
            .map_err(|error| error.to_string())
    };
    let plain = read(text);
    if !text.contains('\r') {
        assert_eq!(plain, read(&text.replace('\n', "\r\n")));
    }
    if plain.is_ok() {
        assert_eq!(plain, read(&format!("{text}\n# a comment\n")));
    }
});
