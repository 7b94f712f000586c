//! A push service that only counts: where a private instance sends its notifications unless told otherwise.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::terminal::say;

/// Longest body that is read. Tokens have up to 4096 characters.
const LONGEST: usize = 64 * 1024;

/// The running sink. It ends with the process.
pub(crate) struct Sink {
    count: Arc<AtomicU64>,
}

impl Sink {
    /// Listens on loopback and answers every POST with 200. The token is counted, not shown.
    pub(crate) fn start(port: u16) -> Result<Sink> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))
            .with_context(|| format!("cannot listen on port {port} for notifications"))?;
        let count = Arc::new(AtomicU64::new(0));
        let shared = Arc::clone(&count);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A client that goes away in the middle of a request is no news.
                thread::spawn(move || serve(&stream, &shared).ok());
            }
        });
        Ok(Sink { count })
    }

    /// How many notifications came so far.
    pub(crate) fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}

fn serve(stream: &TcpStream, count: &AtomicU64) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(120)))?;
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some((method, length)) = read_request(&mut reader)? {
        if method == "POST" {
            let number = count.fetch_add(1, Ordering::SeqCst) + 1;
            say(format_args!(
                "push sink: notification {number}, a token of {length} characters"
            ));
        }
        let body = format!("{{\"notifications\": {}}}\n", count.load(Ordering::SeqCst));
        write!(
            writer,
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
    }
    Ok(())
}

/// The method and the length of the body, which is read and dropped. `None` at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<(String, usize)>> {
    let mut line = String::new();
    if reader.take(8192).read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let method = line.split(' ').next().unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.take(8192).read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    if length > LONGEST {
        return Err(io::Error::other("the body is too long"));
    }
    io::copy(&mut reader.take(length as u64), &mut io::sink())?;
    Ok(Some((method, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_post_counts_once_on_a_kept_connection() {
        let mut requests: &[u8] = b"POST /notify HTTP/1.1\r\ncontent-length: 5\r\n\r\ntokenPOST / HTTP/1.1\r\nContent-Length: 0\r\n\r\n";
        assert_eq!(
            read_request(&mut requests).expect("first"),
            Some(("POST".to_owned(), 5))
        );
        assert_eq!(
            read_request(&mut requests).expect("second"),
            Some(("POST".to_owned(), 0))
        );
        assert_eq!(read_request(&mut requests).expect("end"), None);
    }
}
