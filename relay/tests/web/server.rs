//! A server in the runtime of the test, and a client that shows exact answers.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use chatmail_core::config::Config;
use chatmail_core::invite::{Invite, Invites};
use chatmail_relay::web::Web;
use chatmail_sockets::{Access, Endpoint, Listener};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// A host that is never too busy. The first value of a key counts, so tests put theirs before it.
const IDLE: &str = "max_load_1m = inf\nmin_available_memory = 0\nmin_free_disk_space = 0\n";

/// A relay and its server on a Unix socket and a TCP port, until it is dropped.
pub(crate) struct Server {
    pub(crate) dir: TempDir,
    pub(crate) config: Config,
    tcp: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    pub(crate) ended: JoinHandle<std::io::Result<()>>,
}

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    fields: HashMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }

    pub(crate) fn reason(&self) -> String {
        self.json()["reason"]
            .as_str()
            .unwrap_or_default()
            .to_owned()
    }
}

/// A `chatmail.ini` in this directory, for this domain.
pub(crate) fn ini(dir: &TempDir, domain: &str, keys: &str) -> String {
    let dir = dir.path().display();
    let host = IDLE.lines().filter(|line| {
        let key = line.split(' ').next().unwrap_or_default();
        !keys.lines().any(|line| line.starts_with(key))
    });
    let host: Vec<_> = host.collect();
    format!(
        "[params]\nmail_domain = {domain}\nmailboxes_dir = {dir}/mail\nnocreate_file = {dir}/nocreate\n\
         push_url = http://127.0.0.1:9/notify\n{keys}\n{}\n",
        host.join("\n")
    )
}

impl Server {
    pub(crate) async fn start(keys: &str) -> Server {
        Server::of("chat.example", keys).await
    }

    pub(crate) async fn of(domain: &str, keys: &str) -> Server {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::parse("chatmail.ini".as_ref(), &ini(&dir, domain, keys)).unwrap();
        std::fs::create_dir_all(config.mailboxes().push_spool()).unwrap();
        let access = Access {
            mode: 0o600,
            group: None,
        };
        let unix = Endpoint::Unix(dir.path().join("http.sock"));
        let tcp: Endpoint = "inet:0@127.0.0.1".parse().unwrap();
        let listeners = [unix, tcp].map(|endpoint| Listener::bind(&endpoint, access).unwrap());
        let tcp = listeners[1].tcp_address().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let web = Web::new(&config, listeners.into());
        let ended = tokio::spawn(web.run(async {
            let _ = stopped.await;
        }));
        Server {
            dir,
            config,
            tcp,
            stop: Some(stop),
            ended,
        }
    }

    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("http.sock")
    }

    pub(crate) async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.socket()).await.unwrap()
    }

    pub(crate) async fn connect_tcp(&self) -> TcpStream {
        TcpStream::connect(self.tcp).await.unwrap()
    }

    /// One request of the client with this address, as a proxy passes it on.
    pub(crate) async fn ask_for(&self, client: &str, line: &str) -> Answer {
        let mut stream = self.connect().await;
        ask_on(&mut stream, line, client).await
    }

    pub(crate) async fn ask(&self, line: &str) -> Answer {
        self.ask_for("192.0.2.7", line).await
    }

    /// Whatever comes back for these octets from a client that then says no more.
    pub(crate) async fn raw(&self, octets: &[u8]) -> String {
        let mut stream = self.connect().await;
        // A server that has heard enough may hang up in the middle.
        let _ = stream.write_all(octets).await;
        let _ = stream.shutdown().await;
        rest(&mut stream).await
    }

    /// All that comes back for these octets, the last of which ask for the end of the connection.
    pub(crate) async fn talk(&self, octets: &[u8]) -> String {
        let mut stream = self.connect().await;
        let _ = stream.write_all(octets).await;
        rest(&mut stream).await
    }

    /// Those that have a directory.
    pub(crate) fn mailboxes(&self) -> usize {
        let addresses = self.config.mailboxes().addresses().unwrap();
        addresses.map(Result::unwrap).count()
    }

    pub(crate) fn invite(&self, uses: u32) -> Invite {
        let invites = Invites::new(&self.config.mailboxes());
        invites.create(Some(uses), None).unwrap()
    }

    /// Holds up everything that makes accounts, as long as the file lives.
    pub(crate) fn hold_up(&self) -> std::fs::File {
        let path = self.dir.path().join("mail/.chatmail");
        std::fs::create_dir_all(&path).unwrap();
        let file = std::fs::File::create(path.join("signups")).unwrap();
        file.lock().unwrap();
        file
    }
}

/// One request on a connection that ends with it.
pub(crate) async fn ask_on(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    line: &str,
    client: &str,
) -> Answer {
    let request = format!(
        "{line} HTTP/1.1\r\nHost: chat.example\r\nX-Forwarded-For: {client}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    parse(&rest(stream).await)
}

/// Everything until the other end hangs up.
pub(crate) async fn rest(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    String::from_utf8(bytes).unwrap()
}

/// One answer that is alone.
pub(crate) fn parse(text: &str) -> Answer {
    let (head, body) = text
        .split_once("\r\n\r\n")
        .unwrap_or_else(|| panic!("{text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap();
    Answer {
        status: status.parse().unwrap(),
        fields: lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        body: body.to_owned(),
    }
}

/// Longer than anything takes that is not stuck.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
