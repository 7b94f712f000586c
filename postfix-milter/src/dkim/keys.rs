//! Public keys (RFC 6376 section 3.6): found in the DNS, and remembered for as long as it says.
//!
//! Only keys are remembered. That there is none, or that the DNS was in trouble, is asked anew for
//! each message: a key published a minute ago must count.

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lru::LruCache;
use mail_auth::common::parse::TxtRecordParser;
use mail_auth::common::verify::DomainKey;
use mail_auth::hickory_resolver::config::{
    NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts,
};
use mail_auth::hickory_resolver::net::runtime::TokioRuntimeProvider;
use mail_auth::hickory_resolver::net::{DnsError, NetError};
use mail_auth::hickory_resolver::proto::op::ResponseCode;
use mail_auth::hickory_resolver::proto::rr::{Name, RData};
use mail_auth::hickory_resolver::{TokioResolver, system_conf};
use tracing::warn;

use super::tags;

/// Names whose keys are cached. With [`ANSWER_BYTES`] the cache stays below 16 MiB whatever strangers
/// publish.
const REMEMBERED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(4095);

/// Octets of a key record: RSA of 8192 bits needs 1,400.
const RECORD_BYTES: usize = 2048;

/// Keys of one selector that are tried (a number). A domain that changes its key has two for a
/// while, and a signature does not show which of them made it.
const KEYS: usize = 4;

/// Octets of all key records of one selector.
const ANSWER_BYTES: usize = 2 * RECORD_BYTES;

/// One attempt at a look-up; there are [`RETRIES`] more. Both together leave a whole verification
/// within [`VERIFICATION`].
const ATTEMPT: Duration = Duration::from_secs(4);
const RETRIES: usize = 1;

/// All look-ups for one message. Mail servers wait for minutes after the final dot (RFC 5321
/// section 4.5.3.2.6), clients who look at a progress bar do not.
pub(super) const VERIFICATION: Duration = Duration::from_secs(20);

/// Look-ups on their way to one DNS server. The library's own limit, 32, is for desktops.
const IN_FLIGHT: usize = 4096;

/// Public keys of other domains.
pub(super) struct Keys {
    resolver: TokioResolver,
    remembered: Mutex<LruCache<Box<str>, Remembered>>,
}

#[derive(Clone)]
struct Remembered {
    keys: Arc<[Key]>,
    until: Instant,
}

/// A public key and what it may be used for.
pub(super) struct Key {
    pub(super) key: DomainKey,
    /// `t=s`: an `i=` must be of the very domain, not of one below it.
    pub(super) is_strict: bool,
}

/// Where keys come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// From memory, if it is there.
    Any,
    /// From the DNS, whatever is remembered.
    Dns,
}

/// Why there is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The DNS says that there is none, or what it has is none.
    None,
    /// The DNS could not be asked, or did not know.
    Trouble,
}

impl Keys {
    /// Asks these DNS servers, or those of the system if there are none.
    ///
    /// # Errors
    ///
    /// The library cannot be set up.
    pub(super) fn new(servers: &[SocketAddr]) -> Result<Keys, String> {
        let config = match servers {
            [] => system_servers(),
            _ => {
                let servers = servers.iter().map(name_server).collect();
                ResolverConfig::from_parts(None, Vec::new(), servers)
            }
        };
        let mut options = ResolverOpts::default();
        options.timeout = ATTEMPT;
        options.attempts = RETRIES;
        options.cache_size = 0;
        options.use_hosts_file = ResolveHosts::Never;
        options.max_active_requests = IN_FLIGHT;
        let resolver = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
            .with_options(options)
            .build()
            .map_err(|e| format!("cannot set up DNS look-ups: {e}"))?;
        Ok(Keys {
            resolver,
            remembered: Mutex::new(LruCache::new(REMEMBERED)),
        })
    }

    /// The keys of this selector and domain, at least one and at most [`KEYS`], and where they were
    /// found.
    ///
    /// # Errors
    ///
    /// See [`NoKey`].
    pub(super) async fn get(
        &self,
        selector: &str,
        domain: &str,
        source: Source,
    ) -> Result<(Arc<[Key]>, Source), NoKey> {
        let name = format!("{selector}._domainkey.{domain}.").to_ascii_lowercase();
        if source == Source::Any
            && let Some(keys) = self.recall(&name)
        {
            return Ok((keys, Source::Any));
        }
        let found = self.look_up(&name).await;
        match &found {
            Ok(Remembered { until, .. }) if *until <= Instant::now() => {}
            Ok(found) => {
                self.memory().put(name.into(), found.clone());
            }
            Err(NoKey::None) => {
                self.memory().pop(name.as_str());
            }
            Err(NoKey::Trouble) => {}
        }
        found.map(|found| (found.keys, Source::Dns))
    }

    fn recall(&self, name: &str) -> Option<Arc<[Key]>> {
        let mut memory = self.memory();
        let found = memory.get(name)?;
        if found.until > Instant::now() {
            return Some(Arc::clone(&found.keys));
        }
        memory.pop(name);
        None
    }

    fn memory(&self) -> MutexGuard<'_, LruCache<Box<str>, Remembered>> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn look_up(&self, name: &str) -> Result<Remembered, NoKey> {
        // A name that cannot be one: a label of 64 octets, say.
        let name = Name::from_str_relaxed(name).map_err(|_| NoKey::None)?;
        let answer = self.resolver.txt_lookup(name).await.map_err(reason)?;
        // The shortest time to live of the answer, aliases on the way to it included.
        let until = answer.valid_until();
        let texts = answer
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                // The strings of a record are one text (section 3.6.2.2).
                RData::TXT(text) => Some(text.txt_data.concat()),
                _ => None,
            });
        match parse_all(texts) {
            keys if keys.is_empty() => Err(NoKey::None),
            keys => Ok(Remembered { keys, until }),
        }
    }
}

/// The keys among these records, in their order, within [`KEYS`] and [`ANSWER_BYTES`]. Other records do
/// not count towards the limits.
fn parse_all(records: impl Iterator<Item = Vec<u8>>) -> Arc<[Key]> {
    let mut room = ANSWER_BYTES;
    records
        .filter_map(|record| {
            let left = room.checked_sub(record.len())?;
            let key = Key::parse(&record)?;
            room = left;
            Some(key)
        })
        .take(KEYS)
        .collect()
}

/// Those of `/etc/resolv.conf` as it is now. Without any, the one on this machine: resolv.conf(5).
fn system_servers() -> ResolverConfig {
    match system_conf::read_system_conf() {
        Ok((config, _)) => config,
        Err(error) => {
            warn!(%error, "no DNS server in /etc/resolv.conf: asking the one on 127.0.0.1");
            let server = NameServerConfig::udp_and_tcp(Ipv4Addr::LOCALHOST.into());
            ResolverConfig::from_parts(None, Vec::new(), vec![server])
        }
    }
}

fn name_server(address: &SocketAddr) -> NameServerConfig {
    let mut server = NameServerConfig::udp_and_tcp(address.ip());
    for connection in &mut server.connections {
        connection.port = address.port();
    }
    server
}

/// What a failed look-up means. Only a clear answer is one: no such name, or no such record.
fn reason(error: NetError) -> NoKey {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(answer))
            if matches!(
                answer.response_code,
                ResponseCode::NXDomain | ResponseCode::NoError
            ) =>
        {
            NoKey::None
        }
        _ => NoKey::Trouble,
    }
}

impl Key {
    /// Reads a key record. `None`: it is none, was withdrawn, or is not for mail and SHA-256.
    fn parse(record: &[u8]) -> Option<Key> {
        if record.len() > RECORD_BYTES || tags::has_duplicates(record) {
            return None;
        }
        let may = |tag: &[u8], words: &[&[u8]]| {
            tags::value(record, tag)
                .is_none_or(|value| words.iter().any(|word| tags::has_word(value, word)))
        };
        if !may(b"h", &[b"sha256"]) || !may(b"s", &[b"*", b"email"]) {
            return None;
        }
        Some(Key {
            key: DomainKey::parse(record).ok()?,
            is_strict: tags::value(record, b"t").is_some_and(|value| tags::has_word(value, b"s")),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const P: &str = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=";

    fn is_key(record: &str) -> bool {
        Key::parse(record.replace("P", P).as_bytes()).is_some()
    }

    #[test]
    fn a_record_may_leave_out_everything_but_the_key() {
        assert!(is_key("p=P"));
        assert!(is_key("v=DKIM1; k=ed25519; p=P"));
        assert!(is_key(
            "v=DKIM1; h=sha1:sha256; s=other:email; t=y; n=note; p=P"
        ));
        assert!(is_key("v = DKIM1 ; k=rsa;s=*; p=P;"));
    }

    #[test]
    fn a_record_for_something_else_is_no_key() {
        for record in [
            "",
            "v=spf1 -all",
            "v=DKIM2; p=P",
            "v=DKIM1; p=",
            "v=DKIM1",
            "v=DKIM1; h=sha1; p=P",
            "v=DKIM1; s=tlsrpt; p=P",
            "v=DKIM1; k=dsa; p=P",
            "v=DKIM1; p=P; p=P",
        ] {
            assert!(!is_key(record), "{record}");
        }
        assert!(!is_key(&format!(
            "v=DKIM1; n={}; p=P",
            "x".repeat(RECORD_BYTES)
        )));
    }

    #[test]
    fn all_keys_of_a_selector_are_read_within_a_bound() {
        let count =
            |records: &[String]| parse_all(records.iter().cloned().map(String::into_bytes)).len();
        let key = format!("p={P}");
        assert_eq!(count(&[]), 0);
        let beside = ["v=spf1 -all", "p=", "k=dsa; p=AAAA", "p=A; p=B"].map(str::to_owned);
        assert_eq!(count(&beside), 0);
        let one = std::slice::from_ref(&key);
        let among = [beside.as_slice(), one, &beside, one].concat();
        assert_eq!(count(&among), 2);
        assert_eq!(count(&vec![key.clone(); KEYS + 3]), KEYS);
        // A key that does not fit in the remaining room, followed by one that does.
        let long = format!("n={}; p={P}", "x".repeat(RECORD_BYTES - 128));
        let many = [long.clone(), long.clone(), long, key];
        assert_eq!(count(&many), 3);
    }

    #[test]
    fn a_strict_key_says_so() {
        let strict = |record: &str| {
            Key::parse(record.replace("P", P).as_bytes())
                .unwrap()
                .is_strict
        };
        assert!(strict("t=y:s; p=P"));
        assert!(!strict("t=y; p=P"));
        assert!(!strict("p=P"));
    }
}
