//! How Postfix names a socket: relative to its queue directory, which may be its root.

use std::path::Path;

use super::layout::Postfix;

impl Postfix {
    /// A Unix socket as Postfix reaches it.
    ///
    /// A relative path works with and without chroot. A socket elsewhere is an error if the
    /// services are chrooted, because they would never find it.
    pub(super) fn socket(&self, path: &Path) -> Result<String, String> {
        match path.strip_prefix(&self.queue_directory) {
            Ok(inside) => Ok(inside.display().to_string()),
            Err(_) if self.chroot => Err(format!(
                "socket {} is out of reach: Postfix runs in {} as its root (postfix.chroot)",
                path.display(),
                self.queue_directory.display()
            )),
            Err(_) => Ok(path.display().to_string()),
        }
    }

    /// A milter socket (`unix:/path`, `inet:port@host`) in the words of `smtpd_milters`, with what
    /// happens when it does not answer: the client is told to try later. A DKIM key is looked up
    /// for 20 s at most, so 30 s is long enough for a verdict; a filter that hangs holds a client for
    /// no longer.
    pub(super) fn milter(&self, socket: &str) -> Result<String, String> {
        let address = if let Some(path) = socket.strip_prefix("unix:") {
            format!("unix:{}", self.socket(Path::new(path))?)
        } else if let Some((port, host)) = socket
            .strip_prefix("inet:")
            .and_then(|rest| rest.split_once('@'))
        {
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host.to_owned()
            };
            format!("inet:{host}:{port}")
        } else {
            return Err(format!(
                "milter socket {socket:?}: neither unix:/path nor inet:port@host"
            ));
        };
        Ok(format!(
            "{{ {address}, default_action=tempfail, command_timeout=5s, content_timeout=30s }}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_in_the_queue_directory_is_relative_to_it() {
        let stock = Postfix::default();
        let path = Path::new("/var/spool/postfix/private/auth");
        assert_eq!(stock.socket(path).as_deref(), Ok("private/auth"));
    }

    #[test]
    fn a_chrooted_postfix_is_not_given_a_socket_it_cannot_reach() {
        let outside = Path::new("/run/chatmail/outgoing.sock");
        let stock = Postfix::default();
        assert!(
            stock
                .socket(outside)
                .is_err_and(|why| why.contains("out of reach"))
        );
        let free = Postfix {
            chroot: false,
            ..stock
        };
        assert_eq!(
            free.socket(outside).as_deref(),
            Ok("/run/chatmail/outgoing.sock")
        );
    }

    #[test]
    fn a_filter_on_tcp_is_written_the_way_postfix_does() {
        let milter = Postfix::default().milter("inet:10080@127.0.0.1");
        assert!(milter.is_ok_and(|text| text.starts_with("{ inet:127.0.0.1:10080, ")));
        let milter = Postfix::default().milter("inet:10080@::1");
        assert!(milter.is_ok_and(|text| text.starts_with("{ inet:[::1]:10080, ")));
        assert!(Postfix::default().milter("/run/filter.sock").is_err());
    }

    #[test]
    fn a_filter_that_is_down_never_lets_mail_pass() {
        let milter = Postfix::default().milter("unix:/var/spool/postfix/chatmail/x.sock");
        assert!(milter.is_ok_and(|text| text.contains("default_action=tempfail")));
    }
}
