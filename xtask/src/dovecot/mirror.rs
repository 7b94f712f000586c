//! Where Debian packages come from: the servers that this host's own packages come from, and Debian's.

use std::process::{Command, Stdio};

use chatmail_tests::dovecot::Version;

const DEBIAN: &str = "http://deb.debian.org/debian/";
const SECURITY: &str = "http://deb.debian.org/debian-security/";

/// The Debian release that ships this Dovecot.
pub(super) const fn release(version: Version) -> &'static str {
    match version {
        Version::V2_3 => "bookworm",
        Version::V2_4 => "trixie",
    }
}

/// One archive and its security updates.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mirror {
    pub(super) main: String,
    security: String,
}

impl Mirror {
    /// The ones to try, in this order.
    pub(super) fn candidates() -> Vec<Mirror> {
        let asked = Command::new("apt-get")
            .args(["indextargets", "--format"])
            .arg("$(CREATED_BY) $(ORIGIN) $(COMPONENT) $(CODENAME) $(REPO_URI)")
            .stdin(Stdio::null())
            .output();
        let listed = asked.map(|output| output.stdout).unwrap_or_default();
        let debian = Mirror {
            main: DEBIAN.to_owned(),
            security: SECURITY.to_owned(),
        };
        let mut mirrors = vec![of_host(&String::from_utf8_lossy(&listed)), debian];
        mirrors.dedup();
        mirrors
    }

    /// The sources.list(5) of a release.
    pub(super) fn sources(&self, release: &str) -> String {
        let Mirror { main, security } = self;
        format!(
            "deb {main} {release} main\ndeb {main} {release}-updates main\ndeb {security} {release}-security main\n"
        )
    }
}

/// Those in a list of `Packages Debian COMPONENT CODENAME URI`, as far as it has them.
fn of_host(listed: &str) -> Mirror {
    let find = |security: bool| {
        listed.lines().find_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let ["Packages", "Debian", "main", codename, uri] = fields.as_slice() else {
                return None;
            };
            // debootstrap takes no other scheme.
            let fits = codename.ends_with("-security") == security && uri.starts_with("http");
            fits.then(|| (*uri).to_owned())
        })
    };
    Mirror {
        main: find(false).unwrap_or_else(|| DEBIAN.to_owned()),
        security: find(true).unwrap_or_else(|| SECURITY.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hosts_own_servers_are_tried_first() {
        let listed = "Packages Other main bookworm https://apt.example/x/\n\
                      Translations Debian main bookworm http://mirror.example/wrong/\n\
                      Packages Debian contrib bookworm http://mirror.example/wrong/\n\
                      Packages Debian main bookworm-security http://mirror.example/security/\n\
                      Packages Debian main bookworm http://mirror.example/debian/\n";
        let mirror = of_host(listed);
        assert_eq!(mirror.main, "http://mirror.example/debian/");
        assert_eq!(
            mirror.sources("trixie"),
            "deb http://mirror.example/debian/ trixie main\n\
             deb http://mirror.example/debian/ trixie-updates main\n\
             deb http://mirror.example/security/ trixie-security main\n"
        );
        assert_eq!(of_host("").main, DEBIAN);
    }
}
