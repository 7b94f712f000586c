//! Which files go along when a mailbox moves to another relay, told by their paths in it.
//!
//! Dovecot's UIDs and keywords do, so that clients need not download everything again; its indexes, logs
//! and counts do not: it makes them anew.

use super::{DISABLED, ENFORCE, METADATA, PASSWORD, PASSWORD_MAX};

/// Longest list of UIDs that is taken along, in bytes: more than half a million messages.
const INDEX_MAX: u64 = 64 * 1024 * 1024;

/// Longest file that only has to exist, in bytes.
const MARK_MAX: u64 = 1024;

/// Longest name of a file (`NAME_MAX`), in bytes.
const NAME_MAX: usize = 255;

/// The files of a folder that are no messages, with their longest size in bytes.
pub(super) const OF_FOLDER: [(&str, u64); 3] = [
    ("maildirfolder", MARK_MAX),
    ("dovecot-keywords", INDEX_MAX),
    ("dovecot-uidlist", INDEX_MAX),
];

/// Those of the mailbox itself, which is a folder besides.
pub(super) const OF_MAILBOX: [(&str, u64); 5] = [
    (PASSWORD, PASSWORD_MAX),
    (ENFORCE, MARK_MAX),
    (DISABLED, MARK_MAX),
    (METADATA, INDEX_MAX),
    ("subscriptions", INDEX_MAX),
];

/// The last UIDVALIDITY that Dovecot gave to a folder: this name, also with `.` and eight digits.
const UIDVALIDITY: &[u8] = b"dovecot-uidvalidity";

/// A file that goes along.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part<'a> {
    /// `.Name`; `None` for the INBOX.
    pub(super) folder: Option<&'a [u8]>,
    /// `cur` or `new` if it is a message.
    pub(super) dir: Option<&'static str>,
    pub(super) name: &'a [u8],
    /// In bytes; `None` for a message.
    pub(super) limit: Option<u64>,
}

impl<'a> Part<'a> {
    /// `None`: no file that goes along. Whatever this is not `None` for leads to a place in the mailbox.
    pub(super) fn parse(path: &'a [u8]) -> Option<Part<'a>> {
        let mut steps = path.split(|byte| *byte == b'/');
        let mut step = steps.next()?;
        let folder = is_folder(step).then_some(step);
        if folder.is_some() {
            step = steps.next()?;
        }
        let dir = ["cur", "new"]
            .into_iter()
            .find(|dir| dir.as_bytes() == step);
        if dir.is_some() {
            step = steps.next()?;
        }
        let limit = match dir {
            Some(_) => is_message(step).then_some(None)?,
            None => Some(limit(folder.is_none(), step)?),
        };
        steps.next().is_none().then_some(Part {
            folder,
            dir,
            name: step,
            limit,
        })
    }
}

fn limit(of_mailbox: bool, name: &[u8]) -> Option<u64> {
    let own: &[(&str, u64)] = if of_mailbox { &OF_MAILBOX } else { &[] };
    let mut known = own.iter().chain(&OF_FOLDER);
    match known.find(|known| known.0.as_bytes() == name) {
        Some(known) => Some(known.1),
        None => (of_mailbox && is_uidvalidity(name)).then_some(MARK_MAX),
    }
}

/// `.Name`, Maildir++.
pub(super) fn is_folder(name: &[u8]) -> bool {
    matches!(name, [b'.', first, ..] if *first != b'.') && is_plain(name)
}

/// Hidden files in `cur` and `new` are no messages.
pub(super) fn is_message(name: &[u8]) -> bool {
    !name.is_empty() && !name.starts_with(b".") && is_plain(name)
}

pub(super) fn is_uidvalidity(name: &[u8]) -> bool {
    match name.strip_prefix(UIDVALIDITY) {
        Some([]) => true,
        Some([b'.', digits @ ..]) => digits.len() == 8 && digits.iter().all(u8::is_ascii_hexdigit),
        _ => false,
    }
}

fn is_plain(name: &[u8]) -> bool {
    name.len() <= NAME_MAX
        && !name
            .iter()
            .any(|byte| *byte == b'/' || byte.is_ascii_control())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_flags_uids_and_keywords_go_along() {
        for path in [
            "password",
            "enforceE2EEincoming",
            "DISABLED",
            "metadata.json",
            "subscriptions",
            "dovecot-uidlist",
            "dovecot-keywords",
            "dovecot-uidvalidity",
            "dovecot-uidvalidity.69a1b2c3",
            "cur/1775324677.M44P30.host,S=3235,W=3305:2,S",
            "new/1775324677.M44P30.host",
            ".DeltaChat/cur/1775324677.M44P30.host,S=3235:2,RSa",
            ".DeltaChat/maildirfolder",
            ".A.B&AOk-/dovecot-uidlist",
        ] {
            assert!(Part::parse(path.as_bytes()).is_some(), "{path}");
        }
    }

    #[test]
    fn nothing_else_does() {
        for path in [
            "",
            "/",
            "/etc/passwd",
            "/password",
            "../other@chat.example/password",
            "./password",
            "cur/../../x",
            "cur/..",
            "cur/.",
            "cur/",
            "cur",
            "cur/.hidden",
            "cur/a/b",
            "tmp/1775324677.M44P30.host",
            ".",
            "..",
            ".Folder",
            "./cur/1.M1P1.h",
            "../cur/1.M1P1.h",
            "...x/cur/1.M1P1.h",
            ".Folder/../password",
            ".Folder/password",
            ".Folder/.Sub/cur/1.M1P1.h",
            "Folder/cur/1.M1P1.h",
            "maildirsize",
            "dovecot.index",
            ".Folder/dovecot.index.cache",
            "dovecot-uidvalidity.69a1b2c",
            "dovecot-uidvalidity.69a1b2cx",
            "password.tmp",
            "password ",
            "cur/a\nb",
            "cur/a\0b",
        ] {
            assert_eq!(Part::parse(path.as_bytes()), None, "{path:?}");
        }
        let long = [&b"cur/"[..], &[b'a'; 256]].concat();
        assert_eq!(Part::parse(&long), None);
    }

    proptest! {
        #[test]
        fn no_path_leads_out_of_the_mailbox(
            path in prop_oneof![
                any::<Vec<u8>>(),
                "(\\.|\\.\\.|cur|new|\\.A|password|/|a|\0){0,6}".prop_map(String::into_bytes),
                "((\\.|\\.\\.|cur|new|\\.A|password|a)/){0,4}(\\.|\\.\\.|password|a)".prop_map(String::into_bytes),
            ]
        ) {
            if let Some(part) = Part::parse(&path) {
                let steps: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
                prop_assert!(steps.len() <= 3);
                for step in steps {
                    prop_assert!(!step.is_empty() && step != b"." && step != b"..");
                    prop_assert!(!step.contains(&0));
                }
                prop_assert!(path.ends_with(part.name));
            }
        }
    }
}
