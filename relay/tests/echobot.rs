//! The echo bot's process, with a program that dies in the place of Delta Chat's core.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A bot, killed when the test ends.
struct Bot {
    child: Child,
    base: TempDir,
}

impl Bot {
    fn start() -> Bot {
        let base = tempfile::tempdir().unwrap();
        let path = |name: &str| base.path().join(name);
        let dir = base.path().display();
        let ini = format!("[params]\nmail_domain = chat.test\nmailboxes_dir = {dir}/mail\n");
        fs::write(path("chatmail.ini"), ini).unwrap();
        fs::write(path("password"), "no secret\n").unwrap();
        let program =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/rpc-server-that-dies.sh");
        let child = Command::new(env!("CARGO_BIN_EXE_chatmail"))
            .arg("echobot")
            .arg("--config")
            .arg(path("chatmail.ini"))
            .arg("--password-file")
            .arg(path("password"))
            .arg("--state-dir")
            .arg(path("state"))
            .arg("--rpc-server")
            .arg(program)
            .stderr(fs::File::create(path("log")).unwrap())
            .spawn()
            .unwrap();
        Bot { child, base }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.base.path().join("log")).unwrap()
    }

    #[track_caller]
    fn until_logged(&self, text: &str, times: usize) {
        let start = Instant::now();
        while self.log().matches(text).count() < times {
            assert!(
                start.elapsed() < Duration::from_secs(60),
                "no {text:?} in\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: libc::c_int) {
        let pid = self.child.id().try_into().unwrap();
        // SAFETY: no memory is involved; the child is not waited for yet, so the id is its own.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }
}

impl Drop for Bot {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_core_that_dies_in_a_call_is_started_again_and_sigterm_ends_the_pause() {
    let mut bot = Bot::start();
    bot.until_logged(
        "the RPC server did not start: the accounts are locked; starting it again in 1s",
        1,
    );
    bot.until_logged("the accounts are locked; starting it again in 2s", 1);
    let start = Instant::now();
    bot.signal(libc::SIGTERM);
    let status = bot.child.wait().unwrap();
    assert_eq!(
        status.code(),
        Some(0),
        "{:?}: {}",
        status.signal(),
        bot.log()
    );
    // The pause alone would have lasted two.
    assert!(
        start.elapsed() < Duration::from_millis(1500),
        "{:?}",
        start.elapsed()
    );
}
