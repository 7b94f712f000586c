//! Where the server listens: `--http`.

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use chatmail_sockets::{Endpoint, Listener};

/// A Unix socket, or a port of this host's own addresses: passwords go over it without TLS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpEndpoint(Endpoint);

impl HttpEndpoint {
    /// The place to listen at.
    pub fn endpoint(&self) -> &Endpoint {
        &self.0
    }
}

impl FromStr for HttpEndpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<HttpEndpoint, String> {
        if text.starts_with("unix:") {
            return text.parse().map(HttpEndpoint);
        }
        let address: SocketAddr = text
            .parse()
            .map_err(|_| "neither unix:/PATH nor ADDRESS:PORT, as in 127.0.0.1:3980".to_owned())?;
        check(address.ip())?;
        Ok(HttpEndpoint(Endpoint::Inet {
            port: address.port(),
            host: address.ip().to_string(),
        }))
    }
}

/// Whether a socket that systemd passes on may be used.
///
/// # Errors
///
/// Why not.
pub fn check_passed_on(listener: &Listener) -> Result<(), String> {
    match listener.tcp_address() {
        Some(address) => check(address.ip()).map_err(|why| format!("{address}: {why}")),
        None => Ok(()),
    }
}

fn check(ip: IpAddr) -> Result<(), String> {
    match ip.to_canonical().is_loopback() {
        true => Ok(()),
        false => Err(
            "not a loopback address: passwords are sent without TLS, so put a web server such as \
             nginx in front"
                .to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_host_reaches_it() {
        for good in [
            "unix:/run/chatmail/http.sock",
            "127.0.0.1:3980",
            "127.9.9.9:0",
            "[::1]:3980",
        ] {
            assert!(good.parse::<HttpEndpoint>().is_ok(), "{good}");
        }
        for far in ["0.0.0.0:80", "192.0.2.7:80", "[::]:80", "[2001:db8::7]:80"] {
            let error = far.parse::<HttpEndpoint>().expect_err(far);
            assert!(error.contains("loopback"), "{error}");
        }
        for wrong in ["", "unix:", "127.0.0.1", "localhost:80", "3980", "/run/x"] {
            assert!(wrong.parse::<HttpEndpoint>().is_err(), "{wrong}");
        }
    }
}
