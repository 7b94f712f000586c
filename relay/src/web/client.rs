//! Whose request it is.

use std::net::{IpAddr, SocketAddr};
use std::sync::Once;

use chatmail_core::config::Config;
use hyper::HeaderMap;
use tracing::warn;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// Who may say whose request it is.
#[derive(Debug)]
pub(super) struct Proxies {
    trusted: Vec<IpAddr>,
    silent: Once,
}

impl Proxies {
    pub(super) fn new(config: &Config) -> Proxies {
        let trusted = config.trusted_proxies.iter();
        Proxies {
            trusted: trusted.map(IpAddr::to_canonical).collect(),
            silent: Once::new(),
        }
    }

    /// The client's address. A proxy appends whom it talks to, so the last entry is the one that it
    /// knows; those before it are the client's word. `None`: a proxy on a Unix socket that does not say,
    /// or says nonsense.
    pub(super) fn client(&self, peer: Option<IpAddr>, fields: &HeaderMap) -> Option<IpAddr> {
        let peer = peer.map(|ip| ip.to_canonical());
        if peer.is_some_and(|ip| !self.trusted.contains(&ip)) {
            return peer;
        }
        let client = match fields.get_all(FORWARDED_FOR).into_iter().next_back() {
            Some(value) => value.to_str().ok().and_then(last_address),
            None => peer,
        };
        if client.is_none() {
            self.silent.call_once(|| {
                warn!(
                    "the web server does not say in X-Forwarded-For whose requests it passes on: \
                     the new accounts of one network are not limited"
                );
            });
        }
        client
    }
}

/// `192.0.2.7`, or with a port, as some proxies write it: `192.0.2.7:4711`, `[2001:db8::7]:4711`.
fn last_address(list: &str) -> Option<IpAddr> {
    let last = list.rsplit(',').next()?.trim();
    let bare = last
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(last);
    let with_port = || last.parse().map(|address: SocketAddr| address.ip());
    let ip: IpAddr = bare.parse().or_else(|_| with_port()).ok()?;
    Some(ip.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;
    use proptest::prelude::*;

    fn client(peer: Option<&str>, fields: &[&str]) -> Option<IpAddr> {
        let proxies = Proxies {
            trusted: vec!["127.0.0.1".parse().expect("address")],
            silent: Once::new(),
        };
        let mut map = HeaderMap::new();
        for field in fields {
            map.append(FORWARDED_FOR, HeaderValue::from_str(field).expect("value"));
        }
        let peer = peer.map(|peer| peer.parse().expect("address"));
        proxies.client(peer, &map)
    }

    fn ip(text: &str) -> Option<IpAddr> {
        text.parse().ok()
    }

    #[test]
    fn a_trusted_proxy_tells_the_clients_address_last() {
        for proxy in [None, Some("127.0.0.1"), Some("::ffff:127.0.0.1")] {
            for (fields, expected) in [
                (&["192.0.2.7"][..], "192.0.2.7"),
                (&["10.0.0.1, 192.0.2.7"], "192.0.2.7"),
                (&["10.0.0.1", "192.0.2.7 , 2001:db8::7"], "2001:db8::7"),
                (&["[2001:db8::7]"], "2001:db8::7"),
                (&["192.0.2.7:4711"], "192.0.2.7"),
                (&["[2001:db8::7]:4711"], "2001:db8::7"),
                (&["::ffff:192.0.2.7"], "192.0.2.7"),
            ] {
                assert_eq!(client(proxy, fields), ip(expected), "{fields:?}");
            }
            for nonsense in [
                "",
                "x",
                "192.0.2.7,",
                "unknown",
                "192.0.2.7.8",
                "[192.0.2.7",
            ] {
                assert_eq!(client(proxy, &[nonsense]), None, "{nonsense}");
            }
        }
    }

    proptest! {
        #[test]
        fn what_the_client_says_before_it_changes_nothing(text in "[ -~]{0,40}", ip: IpAddr) {
            let expected = Some(ip.to_canonical());
            prop_assert_eq!(last_address(&format!("{text},{ip}")), expected);
            prop_assert_eq!(last_address(&format!("{text}, {} ", SocketAddr::new(ip, 1))), expected);
            let _ = last_address(&text);
        }
    }

    #[test]
    fn nobody_elses_word_is_taken() {
        assert_eq!(client(Some("127.0.0.2"), &["192.0.2.7"]), ip("127.0.0.2"));
        assert_eq!(client(Some("::1"), &["192.0.2.7"]), ip("::1"));
    }

    #[test]
    fn without_a_word_it_is_the_peer_itself() {
        assert_eq!(client(Some("127.0.0.1"), &[]), ip("127.0.0.1"));
        assert_eq!(client(None, &[]), None);
    }
}
