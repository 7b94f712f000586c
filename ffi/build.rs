//! Gives the shared library its SONAME. The number is `CHATMAIL_ABI_VERSION`; a test says so.

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-cdylib-link-arg=-Wl,-soname,libchatmail.so.1");
}
