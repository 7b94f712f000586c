//! The other end of `/dev/log` of a system that has no log service.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How soon it ends.
const ROUND: Duration = Duration::from_millis(100);

/// Keeps what is logged, as long as it lives.
pub(super) struct Syslog {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    text: Mutex<String>,
    over: AtomicBool,
}

impl Syslog {
    /// Listens at this path.
    pub(super) fn start(path: &Path) -> io::Result<Syslog> {
        let socket = UnixDatagram::bind(path)?;
        socket.set_read_timeout(Some(ROUND))?;
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o666))?;
        let shared = Arc::<Shared>::default();
        let syslog = Syslog {
            shared: Arc::clone(&shared),
        };
        thread::spawn(move || {
            let mut line = [0; 64 * 1024];
            while !shared.over.load(Ordering::Relaxed) {
                if let Ok(length) = socket.recv(&mut line) {
                    let line = String::from_utf8_lossy(&line[..length]);
                    let mut text = shared.text.lock().unwrap_or_else(PoisonError::into_inner);
                    text.push_str(line.trim_end_matches(['\n', '\0']));
                    text.push('\n');
                }
            }
        });
        Ok(syslog)
    }

    /// Everything so far: `<PRIORITY>TIME NAME[PID]: …`, a line each.
    pub(super) fn text(&self) -> String {
        let text = self.shared.text.lock();
        text.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::Relaxed);
    }
}
