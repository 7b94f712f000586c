//! Passwords that were verified a moment ago.
//!
//! SHA512-CRYPT is slow on purpose, and a client logs in again with every connection. What is
//! remembered here is the answer to one question of arithmetic: *is this the password of that
//! hash?* It never goes stale, so nothing has to be watched: the hash is read from the mailbox at
//! every login, and one that was changed, emptied or removed finds no answer here. Neither does a
//! wrong password, which is never remembered and so never drives out a right one, nor makes one
//! look more recently used than it is.
//!
//! The alternative was to remember the file's device, inode, size and times beside the answer, and
//! to ask `stat` instead of reading the file. That takes 0.7 µs where reading takes 1.8, of 6.6 for a
//! repeated login here and 140 for all of it over SASL. It would gain nothing to see, and there would be a
//! stamp to be wrong about: the last login alone changes ctime every day, and a file system with coarse
//! times can show the same stamp for another hash.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::sync::{Mutex, PoisonError};

use hmac::{Hmac, Mac};
use lru::LruCache;
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::password::PasswordHash;

/// How many passwords are remembered, the least recently used forgotten first. About 100 bytes
/// each, so a worker that has seen this many users holds 2 MB.
const ENTRIES: NonZeroUsize = NonZeroUsize::new(16_384).expect("not zero");

/// `HMAC-SHA-256(key, hash, password)`: tells nothing about the password outside this process.
type Tag = [u8; 32];

/// Whether a password is right, and how that was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Verified before.
    Remembered,
    /// Verified now.
    Right,
    Wrong,
}

/// The memory of one process. Gone with it: the key is random and never leaves.
pub(super) struct Verified {
    /// `None` without a source of randomness: then nothing is remembered.
    key: Option<[u8; 32]>,
    index: RandomState,
    tags: Mutex<LruCache<u64, Tag>>,
}

impl Verified {
    pub(super) fn new() -> Verified {
        Verified::holding(ENTRIES)
    }

    fn holding(entries: NonZeroUsize) -> Verified {
        let mut key = [0; 32];
        let key = getrandom::fill(&mut key).is_ok().then_some(key);
        // Grows with its use: most processes see few users.
        let mut tags = LruCache::unbounded();
        tags.resize(entries);
        Verified {
            key,
            index: RandomState::new(),
            tags: Mutex::new(tags),
        }
    }

    /// Whether `password` is the password of `hash`: from memory, or else by hashing it.
    pub(super) fn verify(&self, hash: &PasswordHash, password: &[u8]) -> Verdict {
        let Some(tag) = self.tag(hash, password) else {
            return match hash.matches(password) {
                true => Verdict::Right,
                false => Verdict::Wrong,
            };
        };
        let place = self.index.hash_one(hash.as_str());
        if self.remembers(place, &tag) {
            return Verdict::Remembered;
        }
        if hash.matches(password) {
            self.tags().put(place, tag);
            return Verdict::Right;
        }
        Verdict::Wrong
    }

    fn remembers(&self, place: u64, tag: &Tag) -> bool {
        let mut tags = self.tags();
        // A look only: which entry is forgotten next is not for wrong passwords to say.
        let known = tags
            .peek(&place)
            .is_some_and(|known| known.ct_eq(tag).into());
        if known {
            tags.promote(&place);
        }
        known
    }

    fn tag(&self, hash: &PasswordHash, password: &[u8]) -> Option<Tag> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key?).ok()?;
        // No hash has a NUL: where it ends and the password begins is never in doubt.
        mac.update(hash.as_str().as_bytes());
        mac.update(b"\0");
        mac.update(password);
        Some(mac.finalize().into_bytes().into())
    }

    /// Every state of the table is a good one, also after a panic elsewhere.
    fn tags(&self) -> std::sync::MutexGuard<'_, LruCache<u64, Tag>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Verified {
    /// Without key and tags: this ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(password: &[u8]) -> PasswordHash {
        PasswordHash::create(password).unwrap()
    }

    fn matches(verified: &Verified, hash: &PasswordHash, password: &[u8]) -> bool {
        verified.verify(hash, password) != Verdict::Wrong
    }

    fn remembered(verified: &Verified) -> usize {
        verified.tags().len()
    }

    #[test]
    fn a_right_password_is_remembered_and_a_wrong_one_is_not() {
        let verified = Verified::new();
        let alice = hash(b"correct horse");
        assert!(!matches(&verified, &alice, b"battery staple"));
        assert_eq!(remembered(&verified), 0);
        for _ in 0..3 {
            assert!(matches(&verified, &alice, b"correct horse"));
            assert!(!matches(&verified, &alice, b"battery staple"));
            assert!(!matches(&verified, &alice, b""));
            assert_eq!(remembered(&verified), 1);
        }
    }

    #[test]
    fn a_remembered_password_is_not_hashed_again() {
        // Ten million rounds take seconds; the answer below comes without them.
        let slow = PasswordHash::parse(
            b"{SHA512-CRYPT}$6$rounds=9999999$salt$Z6IPkDduHdwavesVY2NFMpOHkigshxPYdhfLg0D3A7/XFQcso9RV2E8qczyJ2su.dj6RRLaTpvgwN1rZfK0I9.",
        )
        .unwrap();
        let verified = Verified::new();
        let tag = verified.tag(&slow, b"anything").unwrap();
        let place = verified.index.hash_one(slow.as_str());
        verified.tags().put(place, tag);
        assert_eq!(verified.verify(&slow, b"anything"), Verdict::Remembered);
    }

    #[test]
    fn one_hash_says_nothing_about_another_of_the_same_password() {
        let verified = Verified::new();
        let old = hash(b"correct horse");
        assert!(matches(&verified, &old, b"correct horse"));
        let new = hash(b"battery staple");
        assert!(!matches(&verified, &new, b"correct horse"));
        let tags = [&old, &hash(b"correct horse")].map(|hash| verified.tag(hash, b"correct horse"));
        assert_ne!(tags[0], tags[1]);
    }

    #[test]
    fn where_the_hash_ends_and_the_password_begins_matters() {
        let verified = Verified::new();
        let alice = hash(b"correct horse");
        assert_ne!(verified.tag(&alice, b"ab"), verified.tag(&alice, b"a\0b"));
        assert_ne!(verified.tag(&alice, b"ab"), verified.tag(&alice, b"abc"));
    }

    #[test]
    fn two_processes_remember_different_tags() {
        let alice = hash(b"correct horse");
        let tags = [(); 2].map(|()| Verified::new().tag(&alice, b"correct horse"));
        assert!(tags[0].is_some());
        assert_ne!(tags[0], tags[1]);
    }

    #[test]
    fn the_least_recently_used_password_is_forgotten_first() {
        let verified = Verified::holding(NonZeroUsize::new(2).unwrap());
        let [a, b, c] = [b"a", b"b", b"c"].map(|password| hash(password));
        assert!(matches(&verified, &a, b"a"));
        assert!(matches(&verified, &b, b"b"));
        assert!(matches(&verified, &a, b"a"));
        assert!(matches(&verified, &c, b"c"));
        assert_eq!(remembered(&verified), 2);
        let places = [&a, &b, &c].map(|hash| verified.index.hash_one(hash.as_str()));
        let known = places.map(|place| verified.tags().contains(&place));
        assert_eq!(known, [true, false, true]);
    }

    #[test]
    fn wrong_passwords_neither_drive_out_a_right_one_nor_keep_it() {
        let verified = Verified::holding(NonZeroUsize::new(2).unwrap());
        let [a, b, c] = [b"a", b"b", b"c"].map(|password| hash(password));
        assert_eq!(verified.verify(&a, b"a"), Verdict::Right);
        assert_eq!(verified.verify(&b, b"b"), Verdict::Right);
        for guess in 0..20 {
            for hash in [&a, &b, &c] {
                let guess = format!("guess {guess}");
                assert_eq!(verified.verify(hash, guess.as_bytes()), Verdict::Wrong);
            }
        }
        assert_eq!(verified.verify(&b, b"b"), Verdict::Remembered);
        assert_eq!(verified.verify(&a, b"a"), Verdict::Remembered);
        // Now b is the older one, and guesses at it do not make it younger.
        for _ in 0..5 {
            assert_eq!(verified.verify(&b, b"guess"), Verdict::Wrong);
        }
        assert_eq!(verified.verify(&c, b"c"), Verdict::Right);
        assert_eq!(verified.verify(&a, b"a"), Verdict::Remembered);
        assert_eq!(verified.verify(&b, b"b"), Verdict::Right);
    }
}
