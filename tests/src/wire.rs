//! A line-oriented connection, plain or TLS, that all clients stand on.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{self, AddressFamily, SocketFlags, SocketType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use crate::endpoints::Endpoints;

/// Longer than any delay a server of ours may legitimately take: Postfix gives the filter 60 s for
/// the content of a message.
const TIMEOUT: Duration = Duration::from_secs(90);

enum Stream {
    Plain(TcpStream),
    Unix(UnixStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
    /// Only while TLS is being put in place.
    Taken,
}

/// The connection and what has been read of it but not yet asked for.
pub(crate) struct Wire {
    stream: Stream,
    unread: Vec<u8>,
}

impl Wire {
    pub(crate) fn connect(host: &str, port: u16) -> io::Result<Wire> {
        Wire::on(TcpStream::connect((host, port))?)
    }

    /// As a client of this address, which has to be one of this host: any of 127.0.0.0/8 is.
    pub(crate) fn connect_from(client: IpAddr, host: &str, port: u16) -> io::Result<Wire> {
        let server: IpAddr = host.parse().map_err(io::Error::other)?;
        let family = match client {
            IpAddr::V4(_) => AddressFamily::INET,
            IpAddr::V6(_) => AddressFamily::INET6,
        };
        let socket = net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        net::bind(&socket, &SocketAddr::new(client, 0))?;
        net::connect(&socket, &SocketAddr::new(server, port))?;
        Wire::on(TcpStream::from(socket))
    }

    fn on(stream: TcpStream) -> io::Result<Wire> {
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        stream.set_nodelay(true)?;
        Ok(Wire {
            stream: Stream::Plain(stream),
            unread: Vec::new(),
        })
    }

    pub(crate) fn connect_unix(socket: &Path) -> io::Result<Wire> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        stream.set_write_timeout(Some(TIMEOUT))?;
        Ok(Wire {
            stream: Stream::Unix(stream),
            unread: Vec::new(),
        })
    }

    /// Puts TLS on the connection, trusting the instance's own authority and nobody else.
    pub(crate) fn start_tls(&mut self, endpoints: &Endpoints) -> io::Result<()> {
        let Stream::Plain(stream) = std::mem::replace(&mut self.stream, Stream::Taken) else {
            return Err(io::Error::other("TLS is in place, or has no place here"));
        };
        let name = endpoints.domain.trim_matches(['[', ']']).to_owned();
        let name = ServerName::try_from(name).map_err(io::Error::other)?;
        let config = client_config(&endpoints.ca_certificate)?;
        let session = ClientConnection::new(config, name).map_err(io::Error::other)?;
        let mut tls = StreamOwned::new(session, stream);
        tls.conn.complete_io(&mut tls.sock)?;
        self.stream = Stream::Tls(Box::new(tls));
        Ok(())
    }

    /// The next line, without its CRLF.
    pub(crate) fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut searched = 0;
        loop {
            if let Some(at) = self.unread[searched..].iter().position(|&b| b == b'\n') {
                let rest = self.unread.split_off(searched + at + 1);
                let mut line = std::mem::replace(&mut self.unread, rest);
                line.pop();
                if line.last() == Some(&b'\r') {
                    line.pop();
                }
                return Ok(line);
            }
            searched = self.unread.len();
            self.fill()?;
        }
    }

    /// The next line as text; bytes that are not UTF-8 are replaced.
    pub(crate) fn text_line(&mut self) -> io::Result<String> {
        Ok(String::from_utf8_lossy(&self.line()?).into_owned())
    }

    /// Exactly the next `count` bytes.
    pub(crate) fn exactly(&mut self, count: usize) -> io::Result<Vec<u8>> {
        while self.unread.len() < count {
            self.fill()?;
        }
        let rest = self.unread.split_off(count);
        Ok(std::mem::replace(&mut self.unread, rest))
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match &mut self.stream {
            Stream::Plain(stream) => stream.write_all(bytes),
            Stream::Unix(stream) => stream.write_all(bytes),
            Stream::Tls(stream) => stream.write_all(bytes).and_then(|()| stream.flush()),
            Stream::Taken => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn fill(&mut self) -> io::Result<()> {
        let mut chunk = [0; 16384];
        let count = match &mut self.stream {
            Stream::Plain(stream) => stream.read(&mut chunk)?,
            Stream::Unix(stream) => stream.read(&mut chunk)?,
            Stream::Tls(stream) => stream.read(&mut chunk)?,
            Stream::Taken => return Err(io::ErrorKind::NotConnected.into()),
        };
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection",
            ));
        }
        self.unread.extend_from_slice(&chunk[..count]);
        Ok(())
    }
}

fn client_config(ca_certificate: &Path) -> io::Result<Arc<ClientConfig>> {
    let pem = fs::read(ca_certificate)?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(io::Error::other)?;
        roots.add(certificate).map_err(io::Error::other)?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
