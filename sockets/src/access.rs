//! Who may connect to Unix sockets.

use std::fs;

use crate::problem::{Kind, Problem};

/// Who may connect to Unix sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Access {
    /// Permission bits.
    pub mode: u32,
    /// Group id; `None` leaves the group as it is.
    pub group: Option<u32>,
}

/// Permission bits from the value of `--socket-mode`.
///
/// # Errors
///
/// What is wrong with it.
pub fn mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err("not an octal mode between 0 and 0777".to_owned()),
    }
}

/// The id of a group from the value of `--socket-group`: a name in /etc/group, or a number.
///
/// # Errors
///
/// There is no such group.
pub fn group_id(group: &str) -> Result<u32, Problem> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let listed = fs::read_to_string("/etc/group").unwrap_or_default();
    let id = listed.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(group))
            .then(|| fields.nth(1)?.parse().ok())
            .flatten()
    });
    id.ok_or_else(|| {
        let message =
            format!("--socket-group {group}: no such group in /etc/group; a number works too");
        Problem::new(Kind::Usage, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_mode_is_octal() {
        assert_eq!(mode("0660"), Ok(0o660));
        assert!(mode("0999").is_err());
        assert!(mode("10777").is_err());
    }

    #[test]
    fn a_group_has_a_name_or_a_number() {
        assert_eq!(group_id("0").unwrap(), 0);
        assert_eq!(group_id("root").unwrap(), 0);
        assert_eq!(group_id("no such group").unwrap_err().kind, Kind::Usage);
    }
}
