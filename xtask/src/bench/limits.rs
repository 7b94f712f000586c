//! Limits of this host that thousands of sessions run into.

use std::fs;

use anyhow::{Context, Result};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::terminal::say;

/// `fs.inotify.max_user_instances` (inotify(7)): each session that idles takes one, and all belong to one user.
const INSTANCES: &str = "/proc/sys/fs/inotify/max_user_instances";
/// What relays set.
const WANTED: u64 = 65_535;

/// As long as it lives, the limits of a relay hold here.
pub(super) struct Limits {
    /// What is put back.
    instances: Option<String>,
}

impl Limits {
    pub(super) fn raise() -> Result<Limits> {
        descriptors()?;
        let text =
            fs::read_to_string(INSTANCES).with_context(|| format!("cannot read {INSTANCES}"))?;
        let enough = text.trim().parse::<u64>().is_ok_and(|now| now >= WANTED);
        if enough {
            return Ok(Limits { instances: None });
        }
        fs::write(INSTANCES, WANTED.to_string())
            .with_context(|| format!("cannot write {INSTANCES}"))?;
        say(format_args!(
            "note: fs.inotify.max_user_instances is {WANTED} instead of {} until the end",
            text.trim()
        ));
        Ok(Limits {
            instances: Some(text),
        })
    }
}

impl Drop for Limits {
    fn drop(&mut self) {
        if let Some(text) = &self.instances
            && let Err(why) = fs::write(INSTANCES, text)
        {
            say(format_args!(
                "error: cannot put {INSTANCES} back to {}: {why}",
                text.trim()
            ));
        }
    }
}

/// File descriptors of this process, and of the servers it starts; Debian's unit of Dovecot sets as many.
fn descriptors() -> Result<()> {
    let now = getrlimit(Resource::Nofile);
    let at_least = |limit: Option<u64>| limit.map(|limit| limit.max(WANTED));
    let wanted = Rlimit {
        current: at_least(now.current),
        maximum: at_least(now.maximum),
    };
    let all = Rlimit {
        current: now.maximum,
        maximum: now.maximum,
    };
    // Some containers let not even root go beyond what they were given.
    setrlimit(Resource::Nofile, wanted)
        .or_else(|_| setrlimit(Resource::Nofile, all))
        .context("cannot raise the limit of file descriptors")
}
