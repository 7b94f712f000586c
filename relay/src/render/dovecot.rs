//! Which Dovecot the configuration is for.

use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

/// A series of Dovecot versions that share one configuration language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DovecotVersion {
    /// 2.3.19 and newer.
    #[serde(rename = "2.3")]
    V2_3,
    /// 2.4.1 and newer.
    #[serde(rename = "2.4")]
    V2_4,
}

impl DovecotVersion {
    /// Asks `dovecot --version` on this host.
    pub fn installed() -> Result<DovecotVersion, String> {
        let hint = "write dovecot.version, \"2.3\" or \"2.4\", into the layout";
        let output = Command::new("dovecot")
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .map_err(|why| {
                format!("cannot ask dovecot --version: {why}; install Dovecot or {hint}")
            })?;
        let answer = String::from_utf8_lossy(&output.stdout);
        let answer = answer.trim();
        if !output.status.success() {
            let complaint = String::from_utf8_lossy(&output.stderr);
            let complaint = complaint.lines().next().unwrap_or_default();
            return Err(format!(
                "dovecot --version: {}: {complaint}; {hint}",
                output.status
            ));
        }
        DovecotVersion::of(answer).ok_or_else(|| {
            format!(
                "dovecot --version says {answer:?}: only Dovecot 2.3.19 and newer and 2.4.1 and \
                 newer are supported"
            )
        })
    }

    /// The series of an answer such as `2.3.19.1 (9b53102964)`, `2.4.1-4 (7d8c0e5759)`.
    fn of(answer: &str) -> Option<DovecotVersion> {
        let number = answer.split([' ', '-']).next()?;
        let mut parts = number.split('.').map(|part| part.parse::<u32>().ok());
        let mut next = || parts.next().flatten();
        match (next()?, next()?, next()?) {
            (2, 3, 19..) => Some(DovecotVersion::V2_3),
            (2, 4, 1..) => Some(DovecotVersion::V2_4),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::DovecotVersion;

    #[test]
    fn answers_of_real_dovecots_have_their_series() {
        for (answer, version) in [
            ("2.3.19.1 (9b53102964)", Some(DovecotVersion::V2_3)),
            ("2.3.21.1 (d492236fa0)", Some(DovecotVersion::V2_3)),
            ("2.4.1-4 (7d8c0e5759)", Some(DovecotVersion::V2_4)),
            ("2.4.5 (0123456789)", Some(DovecotVersion::V2_4)),
            ("2.3.18 (9dd8408c18)", None),
            ("2.4.0 (9dd8408c18)", None),
            ("2.5.0", None),
            ("3.0.0", None),
            ("2.4", None),
            ("", None),
        ] {
            assert_eq!(DovecotVersion::of(answer), version, "{answer}");
        }
    }
}
