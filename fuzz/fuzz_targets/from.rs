//! The one address of a From field. Where the filter reads one, mail-parser reads the same and no
//! other.

#![no_main]

use chatmail_core::address::header_address;
use libfuzzer_sys::fuzz_target;
use mail_parser::MessageParser;

fuzz_target!(|value: &[u8]| {
    let Some(address) = header_address(value) else {
        return;
    };
    assert!(address.is_ascii() && address.matches('@').count() == 1);
    for form in [
        address.clone().into_owned(),
        format!("<{address}>"),
        format!("A <{address}>"),
    ] {
        assert_eq!(header_address(form.as_bytes()).as_deref(), Some(&*address));
    }
    // mail-parser takes the colon of a bare IPv6 literal for the end of a group's name. A line
    // break that is no fold ends the field: the filter never asks about such a value.
    if address.contains(':') || breaks_off(value) {
        return;
    }
    let message = [b"From:", value, b"\r\nSubject: [...]\r\n\r\n"].concat();
    let parsed = MessageParser::default().parse(&message).expect("a message");
    let read: Vec<_> = parsed
        .from()
        .into_iter()
        .flat_map(|from| from.iter())
        .collect();
    let read: Vec<_> = read.iter().map(|found| bare(found.address())).collect();
    assert_eq!(
        read,
        [Some(address.into_owned())],
        "{:?}",
        String::from_utf8_lossy(value)
    );
});

/// An address as mail-parser finds it, less the blanks around the `@` and the quotes around the
/// localpart, which mail-parser keeps.
fn bare(address: Option<&str>) -> Option<String> {
    let (localpart, domain) = address?.rsplit_once('@')?;
    let localpart = localpart.trim_end_matches([' ', '\t']);
    let quoted = localpart.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let domain = domain.trim_start_matches([' ', '\t']);
    Some(format!("{}@{domain}", quoted.unwrap_or(localpart)))
}

fn breaks_off(value: &[u8]) -> bool {
    let breaks = value.split(|&byte| byte == b'\n').skip(1);
    let mut folds = breaks.map(|line| line.first().is_some_and(|b| b" \t".contains(b)));
    !folds.all(|fold| fold) || value.iter().any(|&b| b < b' ' && b != b'\t' && b != b'\n')
}
