//! A DNS server on loopback that says what a file says: DKIM keys, and the troubles DNS can have.
//!
//! Every private relay has one, and its filter asks nobody else. Tests change the relay's zone
//! while it runs: the file is read again for each query.
//!
//! # Zone file
//!
//! One record a line; empty lines and lines that begin with `#` are skipped. Names have no final
//! dot and match in any case. Several TXT lines for one name are several records.
//!
//! | line | the server's answer |
//! |---|---|
//! | `NAME TTL TXT "string" "string"…` | one TXT record of these strings, 255 octets each at most |
//! | `NAME TTL CNAME TARGET` | the CNAME, and what the zone has for the target |
//! | `NAME TTL CNAME-ONLY TARGET` | the CNAME alone; the client asks for the target itself |
//! | `NAME TTL SERVFAIL` | SERVFAIL |
//! | `NAME TTL REFUSED` | REFUSED |
//! | `NAME TTL TIMEOUT` | none, ever |
//! | `NAME TTL NXDOMAIN` | NXDOMAIN, which may be cached for `TTL` seconds |
//!
//! Other names get NXDOMAIN, and other types of a known name an empty answer, both with a SOA
//! record that allows no caching (RFC 2308 section 5). Over UDP an answer that is longer than the
//! client takes is cut (RFC 1035 section 4.2.1), so that it asks again over TCP.
//!
//! `dns.log` beside the zone file has one line, the name in lower case, for each query that came.
//!
//! ```no_run
//! use chatmail_tests::{Instance, dns};
//!
//! let relay = Instance::start();
//! let name = "sel._domainkey.outside.test";
//! dns::zone::add(relay.endpoints(), &dns::zone::txt(name, 300, "v=DKIM1; k=rsa; p=MIIB…")).expect("zone");
//! // … mail comes in …
//! assert_eq!(dns::asked(relay.endpoints(), name).expect("log"), 1);
//! ```

mod server;
pub mod zone;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::Endpoints;

pub use server::Server;
pub use zone::Zone;

/// How often a name was asked for, of any type and over UDP or TCP, since the relay started.
pub fn asked(endpoints: &Endpoints, name: &str) -> io::Result<usize> {
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    Ok(queries(&endpoints.dns_zone)?
        .iter()
        .filter(|asked| **asked == name)
        .count())
}

/// The names that a server with this zone file was asked for, in order, in lower case.
pub fn queries(zone: &Path) -> io::Result<Vec<String>> {
    let text = fs::read_to_string(log(zone))?;
    Ok(text.lines().map(str::to_owned).collect())
}

fn log(zone: &Path) -> PathBuf {
    zone.with_file_name("dns.log")
}
