//! The signing identity of this relay, and the private key in its file.

use std::fs;
use std::io::ErrorKind;

use chatmail_core::config::Config;
use mail_auth::common::crypto::{DkimKey, Ed25519Key, RsaKey};
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject;

/// The domain and selector of signatures, and the key.
pub(super) struct Identity {
    pub(super) domain: String,
    pub(super) selector: String,
    pub(super) key: DkimKey,
}

impl Identity {
    /// Reads `dkim_key_file`.
    ///
    /// # Errors
    ///
    /// The message names the file, what is wrong with it, and the remedy.
    pub(super) fn load(config: &Config) -> Result<Identity, String> {
        let path = &config.dkim_key_file;
        let key = match fs::read(path) {
            Ok(pem) => signing_key(&pem),
            Err(error) => Err(format!("{error}; {}", remedy(error.kind()))),
        };
        Ok(Identity {
            domain: config.mail_domain.bare().to_owned(),
            selector: config.dkim_selector.clone(),
            key: key.map_err(|error| format!("dkim_key_file {}: {error}", path.display()))?,
        })
    }
}

/// RSA in PKCS#1 or PKCS#8, or Ed25519 in PKCS#8.
fn signing_key(pem: &[u8]) -> Result<DkimKey, String> {
    let key = PrivateKeyDer::from_pem_slice(pem).map_err(|_| unreadable(pem))?;
    if let PrivateKeyDer::Pkcs8(der) = &key
        && let Ok(key) = Ed25519Key::from_pkcs8_maybe_unchecked_der(der.secret_pkcs8_der())
    {
        return Ok(key.into());
    }
    RsaKey::from_key_der(key)
        .map(DkimKey::from)
        .map_err(|error| {
            format!(
                "neither an RSA key of 2048 to 4096 bits nor an Ed25519 key ({error}); {MAKE_ONE}"
            )
        })
}

/// A public key in the DNS belongs to it, so a new key needs a new record.
const MAKE_ONE: &str = "make one with \"openssl genpkey -algorithm RSA -pkeyopt \
                        rsa_keygen_bits:2048\" and publish its public key under dkim_selector";

fn remedy(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => MAKE_ONE,
        _ => "the user of chatmail-milter must be able to read it",
    }
}

/// The reason why a file holds no usable key.
fn unreadable(pem: &[u8]) -> String {
    let has = |words: &[u8]| pem.windows(words.len()).any(|window| window == words);
    if has(b"BEGIN ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED") {
        "the private key is encrypted; write it without a passphrase: \"openssl pkey -in\""
            .to_owned()
    } else if has(b"BEGIN PUBLIC KEY") || has(b"BEGIN CERTIFICATE") {
        "no private key in PEM form, but a public one; its private key belongs there".to_owned()
    } else {
        format!("no private key in PEM form; {MAKE_ONE}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wrong(pem: &str) -> String {
        match signing_key(pem.as_bytes()) {
            Ok(_) => panic!("a key: {pem}"),
            Err(error) => error,
        }
    }

    #[test]
    fn what_is_no_key_is_named_with_a_remedy() {
        for (pem, name, remedy) in [
            ("", "no private key in PEM form", "openssl genpkey"),
            (
                "-----BEGIN PRIVATE KEY-----\n",
                "no private key",
                "openssl genpkey",
            ),
            (
                include_str!("../../tests/keys/rsa1024.pem"),
                "2048 to 4096 bits",
                "openssl genpkey",
            ),
            (
                include_str!("../../tests/keys/ec.pem"),
                "neither an RSA key",
                "openssl genpkey",
            ),
            (
                include_str!("../../tests/keys/encrypted.pem"),
                "is encrypted",
                "openssl pkey",
            ),
            (
                include_str!("../../tests/keys/public.pem"),
                "a public one",
                "its private key",
            ),
        ] {
            let error = wrong(pem);
            assert!(error.contains(name) && error.contains(remedy), "{error}");
            assert!(!error.contains("-----"), "{error}");
        }
    }

    #[test]
    fn encrypted_keys_of_both_forms_are_recognized() {
        let traditional = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\
                           DEK-Info: AES-256-CBC,00\n\nAAAA\n-----END RSA PRIVATE KEY-----\n";
        assert!(wrong(traditional).contains("is encrypted"));
    }
}
