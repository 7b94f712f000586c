//! A message with the envelope of a delivery report: a null sender, one recipient, and the client that
//! the address literal of its author names.

use std::net::IpAddr;

use chatmail_core::filter::{Class, MessageFilter, Origin, Verdict};

use super::{alike, as_fields, crlf, cuts, fed, readers};

fn filter() -> MessageFilter {
    let client = Some(IpAddr::from([203, 0, 113, 7]));
    let mut filter = MessageFilter::new(Origin::Incoming { client }, b"");
    filter.recipient(b"bob@chat.test");
    filter
}

/// Examines one message. Returns whether it passed as a delivery report.
///
/// # Panics
///
/// If the verdict depends on how the message comes, or if a report passes in which mail-parser finds
/// more to read than a report may have.
pub fn examine_report(message: &[u8]) -> bool {
    let verdict = fed(filter(), message, &[]);
    if let Some(objection) = objection(message, &verdict) {
        panic!(
            "as a report: {objection}\n{verdict:?}\n{}",
            String::from_utf8_lossy(message)
        );
    }
    matches!(verdict, Verdict::Accepted(accepted) if accepted.class == Class::DeliveryReport)
}

fn objection(message: &[u8], verdict: &Verdict) -> Option<String> {
    for cuts in [cuts(message, 1), cuts(message, 23), cuts(message, 1021)] {
        let cut = fed(filter(), message, &cuts);
        if cut != *verdict {
            return Some(format!("cut at {cuts:?} it is {cut:?}"));
        }
    }
    if !message.contains(&b'\r') {
        let other = fed(filter(), &crlf(message), &[]);
        if !alike(&other, verdict) {
            return Some(format!("with CRLF it is {other:?}"));
        }
    }
    if let Some(other) = as_fields(filter(), message)
        && !alike(&other, verdict)
    {
        return Some(format!("field by field it is {other:?}"));
    }
    let Verdict::Accepted(accepted) = verdict else {
        return None;
    };
    match accepted.class {
        Class::DeliveryReport => readers::is_report(message).err(),
        Class::Encrypted | Class::SecureJoinRequest => None,
        _ => Some("no recipient allowed this".to_owned()),
    }
}
