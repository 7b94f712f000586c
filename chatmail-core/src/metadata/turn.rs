//! Asking the TURN service for credentials.

use std::io::{ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// A client waits for this; without an answer it has no value, and no calls.
const PATIENCE: Duration = Duration::from_secs(5);

/// Longest line, in bytes; real ones have about 80.
const LINE_MAX: usize = 1024;

/// The line the service at `socket` hands to whoever connects, without white space around it.
pub(super) fn credentials(socket: &Path) -> Option<String> {
    line(socket, PATIENCE)
}

fn line(socket: &Path, patience: Duration) -> Option<String> {
    let give_up = Instant::now() + patience;
    let mut stream = UnixStream::connect(socket).ok()?;
    let mut line = Vec::new();
    let mut buffer = [0; 256];
    // The time is for the whole line: a service that sends a byte now and then must not hold us.
    while !line.contains(&b'\n') {
        let left = give_up
            .checked_duration_since(Instant::now())
            .filter(|left| !left.is_zero())?;
        stream.set_read_timeout(Some(left)).ok()?;
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => line.extend_from_slice(buffer.get(..read)?),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
        if line.len() > LINE_MAX {
            return None;
        }
    }
    let line = line.split(|&b| b == b'\n').next().unwrap_or_default();
    let text = std::str::from_utf8(line).ok()?.trim();
    (!text.is_empty() && !text.contains(char::is_control)).then(|| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::net::UnixListener;
    use std::thread;

    /// What is made of a service that sends this, and keeps the connection open if `hold`.
    fn answer(sent: &[u8], hold: bool, patience: Duration) -> Option<String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("turn.socket");
        let listener = UnixListener::bind(&path).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                // The other side may have hung up by now.
                let _ = stream.write_all(sent);
                if hold {
                    let _ = stream.read(&mut [0]);
                }
            });
            line(&path, patience)
        })
    }

    #[test]
    fn the_first_line_is_the_answer() {
        let patience = Duration::from_secs(20);
        assert_eq!(
            answer(b"1775324677:c2VjcmV0\nmore", true, patience).as_deref(),
            Some("1775324677:c2VjcmV0")
        );
        assert_eq!(
            answer(b" ts:pw \r\n", false, patience).as_deref(),
            Some("ts:pw")
        );
        assert_eq!(
            answer(b"no line end", false, patience).as_deref(),
            Some("no line end")
        );
    }

    #[test]
    fn no_answer_and_no_line_are_no_value() {
        let patience = Duration::from_secs(20);
        for sent in [&b""[..], b"\n", b"\xff\n", b"a\0b\n", &[b'x'; 2000]] {
            assert_eq!(answer(sent, false, patience), None);
        }
        assert_eq!(
            answer(b"half a line", true, Duration::from_millis(50)),
            None
        );
        assert_eq!(line(Path::new("/nonexistent/turn.socket"), patience), None);
        assert_eq!(line(Path::new(""), patience), None);
    }

    #[test]
    fn a_service_that_sends_a_byte_now_and_then_does_not_hold_us() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("turn.socket");
        let listener = UnixListener::bind(&path).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let (mut stream, _) = listener.accept().unwrap();
                // Ends early once the other side has hung up.
                (0..40).all(|_| {
                    thread::sleep(Duration::from_millis(10));
                    stream.write_all(b"x").is_ok()
                });
                let _ = stream.write_all(b"\n");
            });
            assert_eq!(line(&path, Duration::from_millis(100)), None);
        });
    }
}
