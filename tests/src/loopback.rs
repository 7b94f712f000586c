//! A server on loopback with a port of its own: one thread for each connection, one state for all.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A client that says nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(120);

/// The server; it ends with this value.
pub(crate) struct Loopback<S> {
    address: SocketAddr,
    shared: Arc<Shared<S>>,
}

struct Shared<S> {
    state: Mutex<S>,
    stopped: AtomicBool,
}

impl<S: Send + 'static> Loopback<S> {
    /// Starts it; `serve` talks to one client until that goes away.
    pub(crate) fn start(
        state: S,
        serve: fn(&TcpStream, &Mutex<S>) -> io::Result<()>,
    ) -> io::Result<Loopback<S>> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            state: Mutex::new(state),
            stopped: AtomicBool::new(false),
        });
        let server = Loopback {
            address,
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::Relaxed) {
                    break;
                }
                let shared = Arc::clone(&shared);
                // A client that goes away in the middle is no news to a server.
                thread::spawn(move || {
                    let stream = stream?;
                    stream.set_read_timeout(Some(SILENCE))?;
                    serve(&stream, &shared.state)
                });
            }
        });
        Ok(server)
    }
}

impl<S> Loopback<S> {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What its connections share.
    pub(crate) fn state(&self) -> MutexGuard<'_, S> {
        locked(&self.shared.state)
    }
}

impl<S> Drop for Loopback<S> {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
        // Wakes the listener, which sees that it is to stop.
        TcpStream::connect(self.address).ok();
    }
}

pub(crate) fn locked<S>(state: &Mutex<S>) -> MutexGuard<'_, S> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
