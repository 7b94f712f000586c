//! include/chatmail.h is generated from ffi/src and committed.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::{env, fs};

#[test]
fn the_committed_header_is_the_one_the_sources_give() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let header = here.join("../include/chatmail.h");
    let mut generated = Vec::new();
    cbindgen::Builder::new()
        .with_crate(here)
        .with_config(cbindgen::Config::from_file(here.join("cbindgen.toml")).unwrap())
        .generate()
        .unwrap()
        .write(&mut generated);
    let generated = String::from_utf8(generated).unwrap();
    if env::var_os("UPDATE_HEADER").is_some() {
        fs::write(&header, &generated).unwrap();
    }
    let committed = fs::read_to_string(&header).unwrap_or_default();
    assert!(
        committed == generated,
        "include/chatmail.h is stale. Rewrite it with\n  \
         UPDATE_HEADER=1 cargo test -p chatmail-ffi --test header\nand commit it."
    );
}
