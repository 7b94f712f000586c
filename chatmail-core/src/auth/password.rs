//! SHA512-CRYPT, the scheme of `password` files.
//!
//! <https://www.akkadia.org/drepper/SHA-crypt.txt>; Dovecot writes its name in front:
//! `{SHA512-CRYPT}$6$[rounds=N$]SALT$DIGEST`.

use std::io;

use sha_crypt::{Sha512Params, sha512_crypt_b64};
use subtle::ConstantTimeEq;

use crate::signup::PASSWORD_MAX;

const SCHEME: &str = "{SHA512-CRYPT}";
const PREFIX: &str = "$6$";
const ROUNDS: &str = "rounds=";

/// When the hash does not say.
const DEFAULT_ROUNDS: u32 = 5_000;

/// What may follow `rounds=`; other implementations clamp to it when they write.
const ROUNDS_RANGE: std::ops::RangeInclusive<u32> = 1_000..=999_999_999;

const SALT_MAX: usize = 16;
const DIGEST_LENGTH: usize = 86;

/// crypt's base64, in its order.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// The content of a `password` file that is not empty and no nonsense.
pub(super) struct PasswordHash {
    text: String,
}

/// The parts of a hash.
#[derive(Debug, PartialEq, Eq)]
struct Parts<'a> {
    rounds: u32,
    salt: &'a str,
    digest: &'a str,
}

impl PasswordHash {
    /// `None`: not a hash that can be verified.
    pub(super) fn parse(bytes: &[u8]) -> Option<PasswordHash> {
        let text = std::str::from_utf8(bytes).ok()?;
        split(text)?;
        Some(PasswordHash {
            text: text.to_owned(),
        })
    }

    /// Whether the file looks like one whose writing was cut short, by a full disk or a power
    /// failure: the beginning of a hash, or zeros. Not empty: that is how operators block.
    pub(super) fn is_cut_short(bytes: &[u8]) -> bool {
        let zeros = bytes.iter().rev().take_while(|byte| **byte == 0).count();
        let (begun, zeros) = bytes.split_at(bytes.len() - zeros);
        let Ok(text) = std::str::from_utf8(begun) else {
            return false;
        };
        let prefix = format!("{SCHEME}{PREFIX}");
        let is_begun = match text.strip_prefix(&prefix) {
            Some(rest) => {
                let digest = rest.rsplit('$').next().unwrap_or_default();
                let fits = |byte: u8| ALPHABET.contains(&byte) || byte == b'$' || byte == b'=';
                digest.len() < DIGEST_LENGTH && rest.bytes().all(fits)
            }
            None => prefix.starts_with(text),
        };
        is_begun && !(text.is_empty() && zeros.is_empty())
    }

    /// Hashes `password` with a random salt. The caller sees to its length.
    ///
    /// # Errors
    ///
    /// The system has no randomness.
    pub(super) fn create(password: &[u8]) -> io::Result<PasswordHash> {
        let mut salt = [0; SALT_MAX];
        getrandom::fill(&mut salt)
            .map_err(|error| io::Error::other(format!("no randomness: {error}")))?;
        let salt = salt.map(|byte| char::from(ALPHABET[usize::from(byte & 63)]));
        let salt = String::from_iter(salt);
        let digest = digest(password, &salt, DEFAULT_ROUNDS)
            .ok_or_else(|| io::Error::other("SHA512-CRYPT refused its own defaults"))?;
        Ok(PasswordHash {
            text: format!("{SCHEME}{PREFIX}{salt}${digest}"),
        })
    }

    /// Whether it is the hash of `password`. Takes as long for a wrong digest as for the right one.
    pub(super) fn matches(&self, password: &[u8]) -> bool {
        if password.len() > PASSWORD_MAX {
            return false;
        }
        let Some(parts) = split(&self.text) else {
            return false;
        };
        digest(password, parts.salt, parts.rounds)
            .is_some_and(|digest| digest.as_bytes().ct_eq(parts.digest.as_bytes()).into())
    }

    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    pub(super) fn into_string(self) -> String {
        self.text
    }
}

fn split(text: &str) -> Option<Parts<'_>> {
    let rest = text.strip_prefix(SCHEME)?.strip_prefix(PREFIX)?;
    let (rounds, rest) = match rest.strip_prefix(ROUNDS) {
        Some(rest) => {
            let (digits, rest) = rest.split_once('$')?;
            let plain = digits.bytes().all(|b| b.is_ascii_digit()) && !digits.starts_with('0');
            (plain.then(|| digits.parse().ok())??, rest)
        }
        None => (DEFAULT_ROUNDS, rest),
    };
    let (salt, digest) = rest.split_once('$')?;
    let sound = ROUNDS_RANGE.contains(&rounds)
        && salt.len() <= SALT_MAX
        && salt.bytes().all(|b| b.is_ascii_graphic() && b != b':')
        && digest.len() == DIGEST_LENGTH
        && digest.bytes().all(|b| ALPHABET.contains(&b));
    sound.then_some(Parts {
        rounds,
        salt,
        digest,
    })
}

/// `None` for rounds out of range only.
fn digest(password: &[u8], salt: &str, rounds: u32) -> Option<String> {
    let params = Sha512Params::new(rounds as usize).ok()?;
    sha512_crypt_b64(password, salt.as_bytes(), &params).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Made by glibc's `crypt` (the last two by `doveadm pw`).
    #[rustfmt::skip]
    const MADE_BY_OTHERS: &[(&[u8], &str)] = &[
        (b"secret-password", "$6$saltstring0123./$gJSyhkiGFLyJXSdoVM0ucpVrPCvkA281j43aRI2K3U1KUiIrmO6BALQ/NHp5oQym0uvjasfIxTrE.MDKZYaDV1"),
        (b"secret-password", "$6$rounds=5000$saltstring0123./$gJSyhkiGFLyJXSdoVM0ucpVrPCvkA281j43aRI2K3U1KUiIrmO6BALQ/NHp5oQym0uvjasfIxTrE.MDKZYaDV1"),
        (b"", "$6$a$Z6IPkDduHdwavesVY2NFMpOHkigshxPYdhfLg0D3A7/XFQcso9RV2E8qczyJ2su.dj6RRLaTpvgwN1rZfK0I9."),
        (b"x", "$6$$KvRrc0bxRLyTUhO8OJOmRczh7oCol5BACiR8rmdfVzvuGgm8JmLDumsL/ah.jFtT.DswxoP9Nv3ByfU4j5hm/0"),
        (b"\"quo'te\\ /sl\xc3\xa4sh\x01\xff\xfe", "$6$rounds=1000$abc$KUHGXhgIOXbylX0VYDEObDIzBXrMlKaIInGY3WKMH3DdhvSTtgERfMS6/UgrZoxQUmGV5PIAjc4qeyCT4Gj06/"),
        (&[b'p'; 511], "$6$Zz./$oHu0s6asNjGoksDnjoErX6WGOErV0lv2X0hDm5n/IkwTkIBnnCSBa8aCJzSQssQi.IFS6Rliz5F1pvq7uJOQv0"),
        ("grüße-123".as_bytes(), "$6$abcdefgh$OeYVHUxKb6EqWe4N4sGfWY3QnaRB1I7mLfTgZsYOy/qn719CSRdX9C52gDZ339K7zVnb5zkqzm2eYztkdL.kx0"),
        (b"dove-cot \"x\"", "$6$LbCJmds1pJjFIsl6$W9INJlynPsxe3CuObrLSjk9O4Wa3j7ajda6eqRgTwOxISPC6cRf/albFzTUjVudrrot1opj/u9Zew.PN./Jaz0"),
        (b"dove-cot", "$6$rounds=6000$pKXN2L7M50U8EDoF$n5czZk5I414K2daBKO7k3OFLoklBmZrAV8ZzKzBRHcb/UzaxsnDJC6d5fOJS0mrvszj3dXDkOoXzEkDdimGNw1"),
    ];

    fn parse(text: &str) -> Option<PasswordHash> {
        PasswordHash::parse(text.as_bytes())
    }

    #[test]
    fn hashes_made_by_crypt_and_dovecot_are_verified_and_made_alike() {
        for (password, hash) in MADE_BY_OTHERS {
            let text = format!("{SCHEME}{hash}");
            let parsed = parse(&text).unwrap();
            assert!(parsed.matches(password), "{text}");
            let parts = split(&text).unwrap();
            assert_eq!(
                digest(password, parts.salt, parts.rounds).as_deref(),
                Some(parts.digest)
            );

            assert!(!parsed.matches(&[*password, b"x"].concat()));
            assert!(!parsed.matches(b"something else"));
        }
    }

    #[test]
    fn one_different_character_of_the_digest_is_a_wrong_password() {
        let text = format!("{SCHEME}{}", MADE_BY_OTHERS[3].1);
        assert!(parse(&text).unwrap().matches(b"x"));
        // The last of the digest holds two bits only: `.`, `/`, `0` and `1` are all there is.
        let other = text.strip_suffix('0').unwrap().to_owned() + "1";
        assert!(!parse(&other).unwrap().matches(b"x"));
    }

    #[test]
    fn a_new_hash_has_its_own_salt_and_verifies() {
        let one = PasswordHash::create(b"correct horse").unwrap();
        let two = PasswordHash::create(b"correct horse").unwrap();
        assert_ne!(one.as_str(), two.as_str());
        assert!(one.as_str().starts_with("{SHA512-CRYPT}$6$"));
        assert_eq!(split(one.as_str()).unwrap().rounds, 5_000);
        assert_eq!(split(one.as_str()).unwrap().salt.len(), 16);
        let read = PasswordHash::parse(one.as_str().as_bytes()).unwrap();
        assert!(read.matches(b"correct horse"));
        assert!(!read.matches(b"correct hors"));
    }

    #[test]
    fn nothing_behind_a_nul_or_beyond_the_limit_is_cut_off() {
        let hash = PasswordHash::create(b"secret").unwrap();
        assert!(!hash.matches(b"secret\0"));
        assert!(!hash.matches(b"secret\0more"));
        let longest = PasswordHash::create(&[b'a'; PASSWORD_MAX]).unwrap();
        assert!(longest.matches(&[b'a'; PASSWORD_MAX]));
        assert!(!longest.matches(&[b'a'; PASSWORD_MAX + 1]));
    }

    #[test]
    fn what_is_no_hash_is_not_taken_for_one() {
        let digest = "a".repeat(86);
        assert!(parse(&format!("{{SHA512-CRYPT}}$6$salt${digest}")).is_some());
        for bad in [
            String::new(),
            "!".to_owned(),
            "cleartext".to_owned(),
            format!("$6$salt${digest}"),
            format!("{{BLF-CRYPT}}$6$salt${digest}"),
            format!("!{{SHA512-CRYPT}}$6$salt${digest}"),
            format!("{{SHA512-CRYPT}}$5$salt${digest}"),
            format!("{{SHA512-CRYPT}}$6$salt${digest}a"),
            format!("{{SHA512-CRYPT}}$6$salt${}", &digest[1..]),
            format!("{{SHA512-CRYPT}}$6$salt$*{}", &digest[1..]),
            format!("{{SHA512-CRYPT}}$6${digest}"),
            format!("{{SHA512-CRYPT}}$6$salt$salt${digest}"),
            format!("{{SHA512-CRYPT}}$6$salt567890123456x${digest}"),
            format!("{{SHA512-CRYPT}}$6$sa\nlt${digest}"),
            format!("{{SHA512-CRYPT}}$6$rounds=999$salt${digest}"),
            format!("{{SHA512-CRYPT}}$6$rounds=1000000000$salt${digest}"),
            format!("{{SHA512-CRYPT}}$6$rounds=+5000$salt${digest}"),
            format!("{{SHA512-CRYPT}}$6$rounds=05000$salt${digest}"),
            format!("{{SHA512-CRYPT}}$6$rounds=$salt${digest}"),
            format!("{{SHA512-CRYPT}}$6$rounds=5000${digest}"),
        ] {
            assert!(parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_hash_whose_writing_was_cut_short_is_told_from_one_that_was_blocked() {
        let text = format!("{SCHEME}{}", MADE_BY_OTHERS[1].1);
        for length in 1..text.len() {
            let cut = &text.as_bytes()[..length];
            assert!(PasswordHash::parse(cut).is_none());
            assert!(PasswordHash::is_cut_short(cut), "{length}");
            let padded = [cut, &vec![0; text.len() - length]].concat();
            assert!(PasswordHash::is_cut_short(&padded), "{length}");
        }
        assert!(PasswordHash::is_cut_short(&[0; 120]));
        for blocked in [
            "",
            "!",
            "locked",
            &format!("!{text}"),
            "{PLAIN}secret",
            "{SHA512-CRYPT}!",
            "{SHA512-CRYPT}$6$!",
        ] {
            assert!(!PasswordHash::is_cut_short(blocked.as_bytes()), "{blocked}");
        }
    }

    proptest! {
        #[test]
        fn any_file_is_a_hash_or_not(
            bytes in prop_oneof![
                proptest::collection::vec(any::<u8>(), 0..160),
                "(\\{SHA512-CRYPT\\})?\\$6\\$(rounds=[0-9]{0,11}\\$)?[./a-zA-Z0-9$:]{0,18}\\$[./a-zA-Z0-9]{85,87}"
                    .prop_map(String::into_bytes),
            ]
        ) {
            if let Some(hash) = PasswordHash::parse(&bytes) {
                prop_assert_eq!(hash.as_str().as_bytes(), &bytes[..]);
                let parts = split(hash.as_str()).unwrap();
                prop_assert!(parts.salt.len() <= SALT_MAX && parts.digest.len() == DIGEST_LENGTH);
            }
        }
    }
}
