//! nginx in front of a relay, with the configuration that is shipped for it.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;

use tempfile::TempDir;

use crate::http::{self, Answer};
use crate::instance::Instance;
use crate::process::{self, Signal};
use crate::wait;

/// Debian's, from the package `nginx`.
pub const PROGRAM: &str = "/usr/sbin/nginx";

/// What an operator includes.
const SHIPPED: &str = include_str!("../../packaging/nginx/chatmail.conf");

/// The service's socket in it.
const SHIPPED_SOCKET: &str = "/run/chatmail/http.sock";

/// Somebody else may take a free port before nginx does.
const TRIES: usize = 5;

/// Whom requests come from if nobody says otherwise.
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A running nginx that does TLS for a relay. It stops with this value and leaves nothing behind; if the test
/// is failing, its log is printed first.
pub struct Nginx<'r> {
    relay: &'r Instance,
    port: u16,
    /// For clients of a proxy that speaks the PROXY protocol.
    behind_proxy: u16,
    child: Child,
    dir: TempDir,
}

impl<'r> Nginx<'r> {
    /// Starts it and waits until it listens.
    ///
    /// # Panics
    ///
    /// If it does not; the message holds its log.
    #[track_caller]
    pub fn start(relay: &'r Instance) -> Nginx<'r> {
        let mut tries = (0..TRIES).map(|_| Nginx::try_start(relay));
        let started = tries.find(|tried| !is_in_use(tried));
        match started {
            Some(Ok(nginx)) => nginx,
            Some(Err(error)) => panic!("nginx did not start: {error}"),
            None => panic!("others took all ports that were free"),
        }
    }

    fn try_start(relay: &'r Instance) -> io::Result<Nginx<'r>> {
        let dir = tempfile::Builder::new()
            .prefix("chatmail-nginx-")
            .tempdir()?;
        let [port, behind_proxy] = free_ports()?;
        let socket = relay.endpoints().http_socket.display().to_string();
        assert!(SHIPPED.contains(SHIPPED_SOCKET), "the shipped socket");
        let shipped = SHIPPED.replace(SHIPPED_SOCKET, &socket);
        fs::write(dir.path().join("chatmail.conf"), shipped)?;
        let config = dir.path().join("nginx.conf");
        fs::write(
            &config,
            configuration(relay, dir.path(), port, behind_proxy),
        )?;
        let child = Command::new(PROGRAM)
            .arg("-p")
            .arg(dir.path())
            .arg("-e")
            .arg(dir.path().join("error.log"))
            .arg("-c")
            .arg(config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // It says everything twice.
            .stderr(Stdio::null())
            .spawn()?;
        let mut nginx = Nginx {
            relay,
            port,
            behind_proxy,
            child,
            dir,
        };
        let pid = nginx.child.id();
        let listens = wait::poll(wait::DEADLINE, || match nginx.child.try_wait() {
            Ok(None) => {
                let ports = process::listening_ports(pid).unwrap_or_default();
                let all = [port, behind_proxy].iter().all(|port| ports.contains(port));
                all.then_some(true)
            }
            _ => Some(false),
        });
        match listens {
            Some(true) => Ok(nginx),
            _ => {
                let log = nginx.log();
                let in_use = log.contains("Address already in use");
                Err(match in_use {
                    true => io::ErrorKind::AddrInUse.into(),
                    false => io::Error::other(log),
                })
            }
        }
    }

    /// Where it is asked for a path.
    pub fn url(&self, path: &str) -> String {
        format!("https://127.0.0.1:{}{path}", self.port)
    }

    /// The answer to a request without a body, such as `GET /new`.
    ///
    /// # Errors
    ///
    /// As for [`http::over_tls`].
    pub fn ask(&self, line: &str) -> io::Result<Answer> {
        self.ask_as(CLIENT, line, &[])
    }

    /// The same of a client that has another address of loopback, and sends these header fields.
    ///
    /// # Errors
    ///
    /// As for [`http::over_tls`].
    pub fn ask_as(&self, client: IpAddr, line: &str, fields: &[&str]) -> io::Result<Answer> {
        http::over_tls(
            self.relay.endpoints(),
            self.port,
            client,
            "",
            &request(line, fields, 0),
        )
    }

    /// The same with a body of so many octets.
    ///
    /// # Errors
    ///
    /// As for [`http::over_tls`].
    pub fn ask_with_body(&self, line: &str, octets: usize) -> io::Result<Answer> {
        let request = request(line, &[], octets);
        http::over_tls(self.relay.endpoints(), self.port, CLIENT, "", &request)
    }

    /// The same by way of a proxy that hands TLS on as it is, and says by the PROXY protocol whose connection it is.
    ///
    /// # Errors
    ///
    /// As for [`http::over_tls`].
    pub fn ask_by_proxy(&self, client: Ipv4Addr, line: &str) -> io::Result<Answer> {
        let proxy = format!("PROXY TCP4 {client} 192.0.2.1 4711 443\r\n");
        let request = request(line, &[], 0);
        http::over_tls(
            self.relay.endpoints(),
            self.behind_proxy,
            CLIENT,
            &proxy,
            &request,
        )
    }

    /// What it logged.
    pub fn log(&self) -> String {
        let log = fs::read(self.dir.path().join("error.log"));
        String::from_utf8_lossy(&log.unwrap_or_default()).into_owned()
    }
}

impl Drop for Nginx<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- nginx\n{}", self.log());
        }
        // Whoever was waited for already has no number any more.
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let pid = self.child.id();
        process::signal(pid, Signal::TERM).ok();
        let ended = wait::poll(wait::DEADLINE, || self.child.try_wait().ok().flatten());
        if ended.is_none() {
            // Its workers do not end with one that is killed.
            for process in process::tree(pid) {
                process::signal(process.pid, Signal::KILL).ok();
            }
            self.child.wait().ok();
        }
    }
}

fn is_in_use<T>(tried: &io::Result<T>) -> bool {
    let error = tried.as_ref().err();
    error.is_some_and(|error| error.kind() == io::ErrorKind::AddrInUse)
}

/// Two different ones: both are held until both are known.
fn free_ports() -> io::Result<[u16; 2]> {
    let bind = || TcpListener::bind((CLIENT, 0));
    let held = [bind()?, bind()?];
    Ok([held[0].local_addr()?.port(), held[1].local_addr()?.port()])
}

fn request(line: &str, fields: &[&str], octets: usize) -> String {
    let fields: String = fields.iter().map(|field| format!("{field}\r\n")).collect();
    let body = "x".repeat(octets);
    format!(
        "{line} HTTP/1.1\r\nHost: chat.test\r\n{fields}Content-Length: {octets}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// A server as an operator has it, twice: on a port of its own, and behind a proxy. Its worker is root, as the private
/// relay's socket is for nobody else; of nginx's own directories it uses none.
fn configuration(relay: &Instance, dir: &Path, port: u16, behind_proxy: u16) -> String {
    let dir = dir.display();
    let tls = relay.dir().join("tls");
    let tls = tls.display();
    format!(
        "daemon off;
user root;
pid {dir}/pid;
worker_processes 1;
events {{}}
http {{
    access_log off;
    client_body_temp_path {dir}/body;
    proxy_temp_path {dir}/proxy;
    fastcgi_temp_path {dir}/fastcgi;
    uwsgi_temp_path {dir}/uwsgi;
    scgi_temp_path {dir}/scgi;
    ssl_certificate {tls}/server.pem;
    ssl_certificate_key {tls}/server.key;
    ssl_protocols TLSv1.2 TLSv1.3;
    server {{
        listen 127.0.0.1:{port} ssl;
        include {dir}/chatmail.conf;
    }}
    server {{
        listen 127.0.0.1:{behind_proxy} ssl proxy_protocol;
        set_real_ip_from 127.0.0.1;
        real_ip_header proxy_protocol;
        include {dir}/chatmail.conf;
    }}
}}
"
    )
}
