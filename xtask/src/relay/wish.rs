//! What an instance is to be: the options, with the files they name read.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};

use super::peers::{Peer, Route};
use super::{Options, ini};

/// No DNS server knows a name below `.test` (RFC 6761 section 6.2).
const DOMAIN: &str = "chat.test";

/// A private relay to be.
pub(crate) struct Wish {
    /// The `chatmail.ini` to start from; empty if there is none.
    pub(crate) ini: String,
    /// Without brackets.
    pub(crate) bare_domain: String,
    /// As in an address: an IPv4 literal in brackets.
    pub(crate) domain: String,
    /// `None`: the built-in sink.
    pub(crate) push_url: Option<String>,
    pub(crate) routes: Vec<Route>,
    pub(crate) peers: Vec<Peer>,
    /// The end of its `dovecot.conf`.
    pub(crate) dovecot_settings: Option<String>,
}

impl Wish {
    /// Reads the operator's file and looks for the peers, which must run.
    pub(crate) fn read(options: &Options) -> Result<Wish> {
        let ini = match &options.config {
            Some(file) => fs::read_to_string(file)
                .with_context(|| format!("cannot read --config {}", file.display()))?,
            None => String::new(),
        };
        let bare = match (&options.domain, ini::value(&ini, "mail_domain")) {
            (Some(domain), _) => domain.trim_matches(['[', ']']).to_owned(),
            (None, Some(domain)) if !domain.is_empty() => domain.to_owned(),
            (None, _) if options.config.is_some() => {
                bail!("the file of --config has no mail_domain: add it, or use --domain")
            }
            (None, _) => DOMAIN.to_owned(),
        };
        let domain = match bare.parse::<Ipv4Addr>() {
            Ok(_) => format!("[{bare}]"),
            Err(_) => bare.clone(),
        };
        let dovecot_settings =
            match &options.dovecot_settings {
                Some(file) => Some(fs::read_to_string(file).with_context(|| {
                    format!("cannot read --dovecot-settings {}", file.display())
                })?),
                None => None,
            };
        let peers = options.peer.iter().map(|peer| Peer::find(peer, &domain));
        Ok(Wish {
            peers: peers.collect::<Result<_>>()?,
            ini,
            bare_domain: bare,
            domain,
            push_url: options.push_url.clone(),
            routes: options.route.clone(),
            dovecot_settings,
        })
    }
}
