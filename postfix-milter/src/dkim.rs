//! DKIM (RFC 6376): mail of ours is signed, mail of others has to be.
//!
//! | module | what it knows |
//! |---|---|
//! | `header` | the header as it was received, octet for octet |
//! | `body` | the hash of a body that streams by |
//! | `identity` | the domain and selector that this relay signs with, and its private key |
//! | `tags` | lists of `tag=value` |
//! | `keys` | public keys in the DNS, and what was looked up lately |
//! | `sign`, `verify` | the two directions |
//!
//! What a signature says, what a key is and whether both fit is the business of the library
//! `mail-auth`. Here is what it leaves to its caller: what this relay demands of a signature, bodies
//! that are not held, and the difference between *no key* and *no answer*.
//!
//! # Whose signature counts
//!
//! One whose `d=` is the domain of the From field, letter for letter but case, and that covers the
//! whole body. SPF and DMARC are not checked. A relay whose domain is an address literal is not in
//! the DNS: it signs nothing, and other relays require no signature. Encrypted mail from it passes;
//! its reports and cleartext pass the check only if the client has that address.
//!
//! ```no_run
//! use chatmail_core::config::Config;
//! use chatmail_milter::dkim::{Dkim, Outcome, Verifier};
//!
//! # async fn verify() -> Result<(), Box<dyn std::error::Error>> {
//! let config = Config::load("/usr/local/lib/chatmaild/chatmail.ini".as_ref())?;
//! let dkim = Dkim::load(&config)?.ok_or("dkim = false")?;
//!
//! let mut message = Verifier::default();
//! message.header(b"DKIM-Signature", b" v=1; a=rsa-sha256; d=elsewhere.example; \xe2\x80\xa6");
//! message.header(b"From", b" carol@elsewhere.example");
//! message.end_of_headers();
//! message.body(b"Hello.\r\n");
//! let outcome = message.finish().outcome("elsewhere.example", &dkim).await;
//! assert_ne!(outcome, Outcome::Pass);
//! # Ok(())
//! # }
//! ```

mod body;
mod header;
mod identity;
mod keys;
mod sign;
mod tags;
mod verify;

use std::fmt;

use chatmail_core::address;
use chatmail_core::config::Config;

use identity::Identity;
use keys::Keys;

pub use sign::{FIELD, Signer, SigningError};
pub use verify::{Cause, Outcome, Verification, Verifier};

/// What a relay needs for both directions.
pub struct Dkim {
    /// `None`: the domain is an IPv4 literal.
    identity: Option<Identity>,
    keys: Keys,
}

impl Dkim {
    /// Reads the key and the addresses of the DNS servers. `None` if the configuration says
    /// `dkim = false`. A relay without a place in the DNS needs no key.
    ///
    /// # Errors
    ///
    /// The message names the file, what is wrong with it, and the remedy.
    pub fn load(config: &Config) -> Result<Option<Dkim>, String> {
        if !config.dkim {
            return Ok(None);
        }
        let identity = match config.mail_domain.is_literal() {
            true => None,
            false => Some(Identity::load(config)?),
        };
        let keys = Keys::new(&config.dns_resolver)?;
        Ok(Some(Dkim { identity, keys }))
    }

    /// Whether there is a key to sign with.
    pub fn signs(&self) -> bool {
        self.identity.is_some()
    }

    /// Whether mail in the name of this domain is signed.
    pub fn signs_for(&self, domain: &str) -> bool {
        self.identity
            .as_ref()
            .is_some_and(|identity| identity.domain.eq_ignore_ascii_case(domain))
    }
}

impl fmt::Debug for Dkim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dkim")
            .field("signs", &self.identity.is_some())
            .finish_non_exhaustive()
    }
}

/// Whether a domain, as it stands in an address, is an address literal (RFC 5321 section 4.1.3), which
/// cannot have a key in the DNS. The check has already decided what may come from it, and from which
/// host.
pub fn is_literal(domain: &str) -> bool {
    address::literal(domain).is_some()
}

/// What is behind the last `@`.
pub fn domain_of(address: &str) -> &str {
    address.rsplit_once('@').map_or("", |(_, domain)| domain)
}
