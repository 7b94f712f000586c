//! Sockets that take connections.

use std::fmt;
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};

use crate::access::Access;

/// Where a socket is: `unix:/path` or `inet:port@host`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// A TCP port of a host name or address.
    Inet {
        /// 0 lets the system choose.
        port: u16,
        /// IPv6 addresses may stand in brackets.
        host: String,
    },
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Endpoint, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err("unix: lacks the path of the socket".to_owned());
            }
            return Ok(Endpoint::Unix(path.into()));
        }
        if let Some(rest) = text.strip_prefix("inet:") {
            let (port, host) = rest
                .split_once('@')
                .ok_or("inet: lacks the host, as in inet:8890@127.0.0.1")?;
            let port = port
                .parse()
                .map_err(|_| format!("'{port}' is not a port number"))?;
            let host = host
                .strip_prefix('[')
                .and_then(|host| host.strip_suffix(']'))
                .unwrap_or(host);
            if host.is_empty() {
                return Err("inet: lacks the host, as in inet:8890@127.0.0.1".to_owned());
            }
            let host = host.to_owned();
            return Ok(Endpoint::Inet { port, host });
        }
        Err("neither unix:/path nor inet:port@host".to_owned())
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
            Endpoint::Inet { port, host } if host.contains(':') => {
                write!(f, "inet:{port}@[{host}]")
            }
            Endpoint::Inet { port, host } => write!(f, "inet:{port}@{host}"),
        }
    }
}

/// A socket that takes connections. Dropping it removes a Unix socket's file.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
}

#[derive(Debug)]
enum Socket {
    Unix {
        listener: UnixListener,
        /// Goes with the listener. `None` if another process made the socket.
        _file: Option<SocketFile>,
    },
    Inet(TcpListener),
}

/// The file of a Unix socket, removed in the end if it is still ours.
#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Listener {
    /// Binds and listens. A Unix socket that nobody listens on any more is replaced; everything
    /// else that is in the way stays, and is an error.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::AddrInUse`] if another process listens there; others from the system.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn bind(endpoint: &Endpoint, access: Access) -> io::Result<Listener> {
        let socket = match endpoint {
            Endpoint::Unix(path) => bind_unix(path, access)?,
            Endpoint::Inet { port, host } => {
                let addresses: Vec<SocketAddr> =
                    (host.as_str(), *port).to_socket_addrs()?.collect();
                return Listener::from_tcp(std::net::TcpListener::bind(addresses.as_slice())?);
            }
        };
        Ok(Listener { socket })
    }

    /// A Unix socket that listens already, such as systemd passes on. Its file is left alone.
    ///
    /// # Errors
    ///
    /// From the system.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn from_unix(listener: std::os::unix::net::UnixListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let socket = Socket::Unix {
            listener,
            _file: None,
        };
        Ok(Listener { socket })
    }

    /// A TCP socket that listens already.
    ///
    /// # Errors
    ///
    /// From the system.
    ///
    /// # Panics
    ///
    /// Outside of a tokio runtime.
    pub fn from_tcp(listener: std::net::TcpListener) -> io::Result<Listener> {
        listener.set_nonblocking(true)?;
        let socket = Socket::Inet(TcpListener::from_std(listener)?);
        Ok(Listener { socket })
    }

    /// The TCP address it listens on, for callers who let the system choose the port.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Inet(listener) => listener.local_addr().ok(),
            Socket::Unix { .. } => None,
        }
    }

    /// The next connection.
    ///
    /// # Errors
    ///
    /// From the system, for want of descriptors above all. The next call may work.
    pub async fn accept(&self) -> io::Result<Stream> {
        match &self.socket {
            Socket::Unix { listener, .. } => Ok(Stream::Unix(listener.accept().await?.0)),
            Socket::Inet(listener) => {
                let stream = listener.accept().await?.0;
                // Answers are small and awaited.
                stream.set_nodelay(true)?;
                Ok(Stream::Inet(stream))
            }
        }
    }
}

fn bind_unix(path: &Path, access: Access) -> io::Result<Socket> {
    remove_if_stale(path)?;
    let listener = UnixListener::bind(path)?;
    let metadata = fs::symlink_metadata(path)?;
    let file = SocketFile {
        path: path.to_owned(),
        inode: (metadata.dev(), metadata.ino()),
    };
    if let Some(group) = access.group {
        chown(path, None, Some(group)).map_err(|e| {
            let hint = "this user is not in it, perhaps";
            io::Error::new(e.kind(), format!("group {group}: {e} ({hint})"))
        })?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(access.mode))?;
    Ok(Socket::Unix {
        listener,
        _file: Some(file),
    })
}

fn remove_if_stale(path: &Path) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "there is something else than a socket",
        ));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            "another process listens on this socket",
        )),
        Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(e) => Err(e),
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let still_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|metadata| (metadata.dev(), metadata.ino()) == self.inode);
        if still_ours {
            // Nothing depends on it: the next start replaces a stale socket.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// A connection.
#[derive(Debug)]
pub enum Stream {
    /// From this host.
    Unix(UnixStream),
    /// From anywhere the port can be reached.
    Inet(TcpStream),
}

impl Stream {
    /// The address at the other end; `None` for a Unix socket, and for a connection that is gone.
    pub fn peer_ip(&self) -> Option<IpAddr> {
        match self {
            Stream::Unix(_) => None,
            Stream::Inet(stream) => stream.peer_addr().ok().map(|peer| peer.ip()),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Inet(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        octets: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, octets),
            Stream::Inet(stream) => Pin::new(stream).poll_write(cx, octets),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Inet(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Inet(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
