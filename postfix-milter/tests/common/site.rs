//! A relay that verifies, without a mail server.

use chatmail_core::config::Config;
use chatmail_milter::dkim::{Dkim, Outcome, Verifier};

use super::dns::Dns;
use super::signer::Key;
use super::{Mail, Relay};

pub const CAROL: &str = "carol@elsewhere.test";
pub const DOMAIN: &str = "elsewhere.test";
pub const KEY: &str = "s1._domainkey.elsewhere.test";

/// A relay that asks a DNS server of the test's own.
pub struct Site {
    pub dns: Dns,
    pub dkim: Dkim,
}

impl Site {
    pub fn new() -> Site {
        let dns = Dns::start();
        let relay = Relay::with_dkim(dns.address, "");
        let config = Config::load(&relay.config()).unwrap();
        let dkim = Dkim::load(&config).unwrap().unwrap();
        Site { dns, dkim }
    }

    /// Knows this key under [`KEY`].
    pub fn knowing(key: &Key) -> Site {
        let site = Site::new();
        site.dns.text(KEY, &key.record());
        site
    }

    pub async fn verify(&self, mail: &Mail) -> Outcome {
        self.verify_in_pieces(mail, &[]).await
    }

    pub async fn verify_in_pieces(&self, mail: &Mail, cuts: &[usize]) -> Outcome {
        let mut verifier = Verifier::default();
        for (name, value) in &mail.fields {
            verifier.header(name.as_bytes(), format!(" {value}").as_bytes());
        }
        verifier.end_of_headers();
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (mail.body.len() + 1)).collect();
        ends.push(mail.body.len());
        ends.sort_unstable();
        let mut from = 0;
        for end in ends {
            verifier.body(&mail.body[from..end]);
            from = end;
        }
        verifier.finish().outcome(DOMAIN, &self.dkim).await
    }
}

pub fn mail() -> Mail {
    Mail::encrypted(CAROL)
}

/// With a signature of these tags.
pub fn tagged(key: &Key, tags: &str) -> Mail {
    let mut mail = mail();
    let signature = mail.signature(key, tags);
    mail.fields
        .insert(0, ("DKIM-Signature".to_owned(), signature));
    mail
}

pub fn set(mail: &mut Mail, name: &str, value: &str) {
    let field = mail.fields.iter_mut().find(|(known, _)| known == name);
    field.unwrap().1 = value.to_owned();
}
