//! File names of the spool in 16 bytes each: a hundred thousand of them may wait.
//!
//! A relay's own names ([`SpoolName`]) are these 16 bytes. Any other name is kept beside, under a hash that
//! only this process can compute.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, Hash, RandomState};

use chatmail_core::push::SpoolName;

/// Stands for one file name of the spool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Key([u8; 16]);

/// The two names of a notification, first one and then the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) waiting: Key,
    pub(super) claimed: Key,
}

/// Hashes to 128 bits, with keys drawn for this process: nobody can make two that collide.
#[derive(Debug, Default)]
pub(super) struct Hasher([RandomState; 2]);

impl Hasher {
    pub(super) fn hash(&self, value: impl Hash) -> [u8; 16] {
        let [high, low] = self.0.each_ref().map(|state| state.hash_one(&value));
        (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
    }
}

/// Turns names into keys and back.
#[derive(Debug, Default)]
pub(super) struct Names {
    others: HashMap<Key, Box<OsStr>>,
    hasher: Hasher,
}

impl Names {
    /// The key of a name; the same for the same name.
    pub(super) fn key(&mut self, name: &OsStr) -> Key {
        if let Some(own) = name.to_str().and_then(SpoolName::parse) {
            return Key(own.to_bytes());
        }
        let key = Key(self.hasher.hash(name));
        self.others.entry(key).or_insert_with(|| name.into());
        key
    }

    /// The name of a key that was not forgotten.
    pub(super) fn name(&self, key: Key) -> OsString {
        match self.others.get(&key) {
            Some(name) => name.into(),
            None => SpoolName::from_bytes(key.0).to_string().into(),
        }
    }

    /// The two keys of a notification: while it waits, and once it was claimed. `None` for a name of
    /// another kind: such a file is never replaced, and so needs no claim.
    pub(super) fn pair(&self, key: Key) -> Option<Pair> {
        if self.others.contains_key(&key) {
            return None;
        }
        let own = SpoolName::from_bytes(key.0);
        Some(Pair {
            waiting: Key(own.waiting().to_bytes()),
            claimed: Key(own.claimed().to_bytes()),
        })
    }

    /// No file of this name is waiting any more.
    pub(super) fn forget(&mut self, key: Key) {
        self.others.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStrExt;

    #[test]
    fn every_name_comes_back_as_it_was() {
        let mut names = Names::default();
        let all = [
            "00000000000000000000000000000000",
            "0123456789abcdef0123456789abcdef",
            "0123456789ABCDEF0123456789abcdef",
            "+123456789abcdef0123456789abcdef",
            "0123456789abcdef0123456789abcde",
            "odd",
            "",
        ];
        let mut all: Vec<&OsStr> = all.iter().map(OsStr::new).collect();
        all.push(OsStr::from_bytes(b"\xff\xfe"));
        let keys: Vec<Key> = all.iter().map(|name| names.key(name)).collect();
        for (name, key) in all.iter().zip(&keys) {
            assert_eq!(names.key(name), *key);
            assert_eq!(&names.name(*key), name);
        }
        let mut different = keys.clone();
        different.sort();
        different.dedup();
        assert_eq!(different.len(), keys.len());
        assert_eq!(names.others.len(), all.len() - 2, "own names need no place");
        let pair = names.pair(keys[0]).expect("a name of the relay's own");
        assert_eq!(pair.waiting, keys[0]);
        assert!(names.name(pair.claimed) > names.name(pair.waiting));
        assert!(names.pair(keys[5]).is_none());
        names.forget(keys[5]);
        assert_eq!(names.others.len(), all.len() - 3);
    }
}
