//! What the filter says of each message in its log: the one place where the reason of a refusal is.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::Instance;
use crate::wait;

/// Reads the log from a point on.
pub struct MilterLog {
    path: PathBuf,
    /// Octets that were read.
    read: usize,
}

/// The fields of one line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry(BTreeMap<String, String>);

impl MilterLog {
    /// From now on.
    pub fn of(relay: &Instance) -> MilterLog {
        let path = relay.dir().join("log/chatmail-milter.log");
        let read = fs::read(&path).map_or(0, |text| text.len());
        MilterLog { path, read }
    }

    /// The entries about messages that have come since the last call.
    pub fn new_entries(&mut self) -> Vec<Entry> {
        let text = fs::read(&self.path).unwrap_or_default();
        let new = text.get(self.read..).unwrap_or_default();
        // The last line may be incomplete.
        let complete = new.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        self.read += complete;
        String::from_utf8_lossy(&new[..complete])
            .lines()
            .map(Entry::parse)
            .filter(|entry| !entry.get("verdict").is_empty())
            .collect()
    }

    /// Waits for the entry about the next message; `what` says which that is.
    #[track_caller]
    pub fn next(&mut self, what: &str) -> Entry {
        let entries = wait::until(&format!("the filter's log line about {what}"), || {
            let entries = self.new_entries();
            (!entries.is_empty()).then_some(entries)
        });
        match &entries[..] {
            [entry] => entry.clone(),
            _ => panic!("more than one message: {entries:?}"),
        }
    }
}

impl Entry {
    /// `name=value` and `name="value"`, with words between them.
    fn parse(line: &str) -> Entry {
        let mut fields = BTreeMap::new();
        let mut rest = line;
        while let Some((before, after)) = rest.split_once('=') {
            let name = before.rsplit(' ').next().unwrap_or_default();
            let value;
            (value, rest) = match after.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
                None => after.split_once(' ').unwrap_or((after, "")),
            };
            fields.insert(name.to_owned(), value.to_owned());
        }
        Entry(fields)
    }

    /// A field; empty if it is not there.
    pub fn get(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    /// The name of the reason, without its place in the message.
    pub fn reason(&self) -> &str {
        self.get("reason")
            .split([' ', ':'])
            .next()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_taken_apart() {
        let line = "2026-01-02T12:00:00Z  INFO message queue_id=\"4abc\" verdict=\"refused\" \
                    reason=\"armor (part 2, offset 12)\" size=12 ms=3";
        let entry = Entry::parse(line);
        assert_eq!(entry.reason(), "armor");
        let shown = ["queue_id", "verdict", "size", "ms", "other"].map(|name| entry.get(name));
        assert_eq!(shown, ["4abc", "refused", "12", "3", ""]);
    }
}
