//! The zone file: its lines, and changing it while a server reads it.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use hickory_proto::rr::Name;
use hickory_proto::rr::rdata::TXT;

use crate::Endpoints;

/// Octets that one string of a TXT record holds (RFC 1035 section 3.3).
const STRING: usize = 255;

/// A parsed zone file.
#[derive(Debug, Default)]
pub struct Zone {
    entries: Vec<Entry>,
}

/// One line of it.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: Name,
    pub(super) ttl: u32,
    pub(super) data: Data,
}

/// What the server does about a name.
#[derive(Debug)]
pub(super) enum Data {
    Txt(TXT),
    Cname { target: Name, alone: bool },
    ServFail,
    Refused,
    Timeout,
    NxDomain,
}

impl Zone {
    /// Reads a file. A line that is no record is an error that shows it; a file that is not there is an empty zone.
    pub fn load(path: &Path) -> io::Result<Zone> {
        match fs::read_to_string(path) {
            Ok(text) => Zone::parse(&text).map_err(io::Error::other),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Zone::default()),
            Err(error) => Err(error),
        }
    }

    fn parse(text: &str) -> Result<Zone, String> {
        let entries = text.lines().filter(|line| is_record(line)).map(entry);
        Ok(Zone {
            entries: entries.collect::<Result<_, _>>()?,
        })
    }

    /// The lines for a name, in their order.
    pub(super) fn of<'z>(&'z self, name: &'z Name) -> impl Iterator<Item = &'z Entry> {
        self.entries.iter().filter(move |entry| entry.name == *name)
    }
}

/// Adds a line to the zone of a running relay; the next query sees it.
///
/// A filter that asked before may hold the old answer for as long as its TTL says.
pub fn add(endpoints: &Endpoints, line: &str) -> io::Result<()> {
    add_to(&endpoints.dns_zone, line)
}

/// Removes all lines for a name from the zone of a running relay.
pub fn remove(endpoints: &Endpoints, name: &str) -> io::Result<()> {
    remove_from(&endpoints.dns_zone, name)
}

/// Puts a line in the place of all lines for its name.
pub fn replace(endpoints: &Endpoints, line: &str) -> io::Result<()> {
    replace_in(&endpoints.dns_zone, line)
}

/// [`add`] for a zone file.
pub fn add_to(path: &Path, line: &str) -> io::Result<()> {
    let _ = entry(line).map_err(io::Error::other)?;
    change(path, |text| text.push_str(&format!("{}\n", line.trim())))
}

/// [`remove`] for a zone file.
pub fn remove_from(path: &Path, name: &str) -> io::Result<()> {
    let name = parse_name(name).map_err(io::Error::other)?;
    change(path, |text| *text = without(text, &name))
}

/// [`replace`] for a zone file.
pub fn replace_in(path: &Path, line: &str) -> io::Result<()> {
    let name = entry(line).map_err(io::Error::other)?.name;
    change(path, |text| {
        *text = format!("{}{}\n", without(text, &name), line.trim());
    })
}

/// The line for a TXT record with this value, cut into strings of 255 octets.
pub fn txt(name: &str, ttl: u32, value: &str) -> String {
    let mut line = format!("{name} {ttl} TXT");
    for string in value.as_bytes().chunks(STRING) {
        let string = String::from_utf8_lossy(string);
        line.push_str(&format!(
            " \"{}\"",
            string.replace('\\', "\\\\").replace('"', "\\\"")
        ));
    }
    line
}

/// Several processes may change a zone: a relay, its peers, tests. Readers see the old file or the new one.
fn change(path: &Path, change: impl FnOnce(&mut String)) -> io::Result<()> {
    let lock = File::create(path.with_extension("lock"))?;
    lock.lock()?;
    let mut text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        Err(error) => return Err(error),
    };
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    change(&mut text);
    let temporary = path.with_extension("tmp");
    fs::write(&temporary, text)?;
    fs::rename(&temporary, path)
}

fn without(text: &str, name: &Name) -> String {
    let of_name = |line: &str| {
        is_record(line)
            && line
                .split_whitespace()
                .next()
                .is_some_and(|first| parse_name(first).is_ok_and(|first| first == *name))
    };
    text.lines()
        .filter(|line| !of_name(line))
        .map(|line| format!("{line}\n"))
        .collect()
}

fn is_record(line: &str) -> bool {
    let line = line.trim();
    !line.is_empty() && !line.starts_with('#')
}

fn entry(line: &str) -> Result<Entry, String> {
    fields(line)
        .ok_or_else(|| "a record is `NAME TTL TYPE …`".to_owned())
        .and_then(|(name, ttl, kind, rest)| {
            Ok(Entry {
                name: parse_name(name)?,
                ttl: ttl
                    .parse()
                    .map_err(|_| format!("`{ttl}` is no TTL in seconds"))?,
                data: data(kind, rest)?,
            })
        })
        .map_err(|why| format!("zone line `{line}`: {why}"))
}

fn fields(line: &str) -> Option<(&str, &str, &str, &str)> {
    let (name, rest) = line.trim().split_once(char::is_whitespace)?;
    let (ttl, rest) = rest.trim_start().split_once(char::is_whitespace)?;
    let (kind, rest) = rest
        .trim()
        .split_once(char::is_whitespace)
        .unwrap_or((rest.trim(), ""));
    Some((name, ttl, kind, rest.trim()))
}

fn data(kind: &str, rest: &str) -> Result<Data, String> {
    let bare = |data| match rest {
        "" => Ok(data),
        _ => Err(format!("nothing may follow {kind}")),
    };
    match kind {
        "TXT" => Ok(Data::Txt(TXT::from_bytes(
            strings(rest)?.iter().map(Vec::as_slice).collect(),
        ))),
        "CNAME" | "CNAME-ONLY" => Ok(Data::Cname {
            target: parse_name(rest)?,
            alone: kind == "CNAME-ONLY",
        }),
        "SERVFAIL" => bare(Data::ServFail),
        "REFUSED" => bare(Data::Refused),
        "TIMEOUT" => bare(Data::Timeout),
        "NXDOMAIN" => bare(Data::NxDomain),
        _ => Err(format!("`{kind}` is no type that this server knows")),
    }
}

/// Quoted strings with space between them; `\` takes the next character as it is.
fn strings(text: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut all = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let inside = rest
            .strip_prefix('"')
            .ok_or("a TXT record is made of strings in double quotes")?;
        let mut string = Vec::new();
        let mut bytes = inside.bytes().enumerate();
        let end = loop {
            match bytes.next() {
                Some((at, b'"')) => break at,
                Some((_, b'\\')) => string.extend(bytes.next().map(|(_, byte)| byte)),
                Some((_, byte)) => string.push(byte),
                None => return Err("the last string has no end".to_owned()),
            }
        };
        if string.len() > STRING {
            return Err(format!("a string of more than {STRING} octets"));
        }
        all.push(string);
        rest = inside.get(end + 1..).unwrap_or_default().trim_start();
    }
    if all.is_empty() {
        return Err("a TXT record without a string".to_owned());
    }
    Ok(all)
}

pub(super) fn parse_name(text: &str) -> Result<Name, String> {
    let mut name = Name::from_ascii(text).map_err(|why| format!("`{text}` is no name: {why}"))?;
    name.set_fqdn(true);
    if name.is_root() {
        return Err(format!("`{text}` is no name"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_value_is_cut_into_strings_and_read_back() {
        let value = format!("v=DKIM1; p={}; n=a \"quoted\" \\ word", "A".repeat(400));
        let line = txt("sel._domainkey.outside.test", 300, &value);
        let entry = entry(&line).expect("a record");
        let Data::Txt(record) = entry.data else {
            panic!("{entry:?}")
        };
        assert_eq!(record.txt_data.len(), 2);
        assert_eq!(record.txt_data.concat(), value.as_bytes());
        assert_eq!(entry.ttl, 300);
    }

    #[test]
    fn a_line_that_is_no_record_is_an_error_that_shows_it() {
        for line in [
            "name",
            "name 300",
            "name x TXT \"a\"",
            "name 300 TXT",
            "name 300 TXT a",
            "name 300 TXT \"a",
            "name 300 MX 10 a",
            "name 300 CNAME",
            "name 300 SERVFAIL now",
        ] {
            let why = Zone::parse(line).expect_err(line);
            assert!(why.contains(line), "{why}");
        }
    }

    #[test]
    fn lines_are_added_replaced_and_removed_by_name() {
        let directory = tempfile::tempdir().expect("directory");
        let path = directory.path().join("zone");
        add_to(&path, "a.test 1 TXT \"1\"").expect("add");
        add_to(&path, "A.test. 1 TXT \"2\"").expect("add");
        add_to(&path, "b.test 1 SERVFAIL").expect("add");
        replace_in(&path, "a.test 1 TIMEOUT").expect("replace");
        let text = fs::read_to_string(&path).expect("zone");
        assert_eq!(text, "b.test 1 SERVFAIL\na.test 1 TIMEOUT\n");
        remove_from(&path, "B.test").expect("remove");
        let text = fs::read_to_string(&path).expect("zone");
        assert_eq!(text, "a.test 1 TIMEOUT\n");
        assert!(add_to(&path, "a.test").is_err());
    }
}
