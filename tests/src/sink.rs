//! A push service on loopback: records what is posted and answers what the test wants.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::time::Instant;

use crate::loopback::{Loopback, locked};

/// One POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Post {
    /// When it was read to its end.
    pub at: Instant,
    /// Path of the request, e.g. `/notify`.
    pub path: String,
    /// The body: the token.
    pub token: String,
    /// The status it was answered with.
    pub status: u16,
}

#[derive(Default)]
struct State {
    posts: Vec<Post>,
    status: u16,
    status_of: HashMap<String, u16>,
}

/// An HTTP server on 127.0.0.1 with a port of its own; it ends with this value.
pub struct Sink {
    server: Loopback<State>,
}

impl Sink {
    /// Starts it; it answers 200 until told otherwise.
    pub fn start() -> io::Result<Sink> {
        let state = State {
            status: 200,
            ..State::default()
        };
        let server = Loopback::start(state, serve)?;
        Ok(Sink { server })
    }

    /// What to give a relay as its push service.
    pub fn url(&self) -> String {
        format!("http://{}/notify", self.server.address())
    }

    /// From now on answers this to every token without an answer of its own.
    pub fn answer(&self, status: u16) {
        self.server.state().status = status;
    }

    /// From now on answers this to one token.
    pub fn answer_to(&self, token: &str, status: u16) {
        self.server
            .state()
            .status_of
            .insert(token.to_owned(), status);
    }

    /// All posts so far.
    pub fn posts(&self) -> Vec<Post> {
        self.server.state().posts.clone()
    }

    /// The tokens posted so far, sorted.
    pub fn tokens(&self) -> Vec<String> {
        let mut tokens: Vec<_> = self.posts().into_iter().map(|post| post.token).collect();
        tokens.sort();
        tokens
    }
}

fn serve(stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    while let Some((path, token)) = read_request(&mut reader)? {
        let status = {
            let mut state = locked(state);
            let status = *state.status_of.get(&token).unwrap_or(&state.status);
            state.posts.push(Post {
                at: Instant::now(),
                path,
                token,
                status,
            });
            status
        };
        write!(
            writer,
            "HTTP/1.1 {status} Answer\r\nContent-Length: 0\r\n\r\n"
        )?;
    }
    Ok(())
}

/// `None` at the end of the connection.
fn read_request(reader: &mut impl BufRead) -> io::Result<Option<(String, String)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut length = 0;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(io::Error::other)?;
        }
    }
    let mut token = vec![0; length];
    reader.read_exact(&mut token)?;
    Ok(Some((path, String::from_utf8_lossy(&token).into_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn post(sink: &Sink, token: &str) -> String {
        let mut stream = TcpStream::connect(sink.server.address()).expect("connect");
        let length = token.len();
        write!(
            stream,
            "POST /notify HTTP/1.1\r\nHost: x\r\ncontent-length: {length}\r\n\r\n{token}"
        )
        .expect("send");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("answer");
        line
    }

    #[test]
    fn a_token_is_recorded_and_answered_as_the_test_wants() {
        let sink = Sink::start().expect("sink");
        sink.answer_to("gone", 410);
        assert_eq!(post(&sink, "here"), "HTTP/1.1 200 Answer\r\n");
        assert_eq!(post(&sink, "gone"), "HTTP/1.1 410 Answer\r\n");
        assert_eq!(sink.tokens(), ["gone", "here"]);
        assert_eq!(sink.posts()[0].path, "/notify");
    }
}
