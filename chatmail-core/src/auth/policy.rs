//! Who may have a new address. Existing addresses never come here.

use std::fs;
use std::io;
use std::path::PathBuf;

use super::NotCreated;
use super::host::Host;
use super::password::PASSWORD_MAX;
use crate::address::Address;
use crate::config::Config;

/// The rules, in the order in which they are asked.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    nocreate_file: PathBuf,
    password_min_length: usize,
    username_min_length: usize,
    username_max_length: usize,
    max_load_1m: f64,
    min_available_memory: u64,
    min_free_disk_space: u64,
    mailboxes_dir: PathBuf,
}

impl Policy {
    pub(super) fn new(config: &Config) -> Policy {
        Policy {
            nocreate_file: config.nocreate_file.clone(),
            password_min_length: config.password_min_length,
            username_min_length: config.username_min_length,
            username_max_length: config.username_max_length,
            max_load_1m: config.max_load_1m,
            min_available_memory: config.min_available_memory,
            min_free_disk_space: config.min_free_disk_space,
            mailboxes_dir: config.mailboxes_dir.clone(),
        }
    }

    /// `Ok(Ok(_))`: may be created; with the host limits that could not be read. `Err`: it cannot
    /// be told whether the kill switch is there.
    pub(super) fn judge(
        &self,
        address: &Address,
        password: &[u8],
        host: &dyn Host,
    ) -> io::Result<Result<Vec<String>, NotCreated>> {
        let switched_off = fs::exists(&self.nocreate_file)
            .map_err(|error| crate::mailbox::named(&self.nocreate_file, error))?;
        Ok(if switched_off {
            Err(NotCreated::SwitchedOff)
        } else {
            self.judge_password(password)
                .and_then(|()| self.judge_localpart(address.localpart()))
                .and_then(|()| self.judge_host(host))
        })
    }

    fn judge_password(&self, password: &[u8]) -> Result<(), NotCreated> {
        // Any bytes do; what is not UTF-8 counts as one character for each faulty sequence.
        let characters = String::from_utf8_lossy(password).chars().count();
        if characters < self.password_min_length
            || password.len() > PASSWORD_MAX
            || password.contains(&0)
        {
            return Err(NotCreated::Password);
        }
        Ok(())
    }

    fn judge_localpart(&self, localpart: &str) -> Result<(), NotCreated> {
        if !(self.username_min_length..=self.username_max_length).contains(&localpart.len()) {
            return Err(NotCreated::LocalpartLength);
        }
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-');
        if !localpart.bytes().all(allowed) {
            return Err(NotCreated::LocalpartCharacters);
        }
        Ok(())
    }

    fn judge_host(&self, host: &dyn Host) -> Result<Vec<String>, NotCreated> {
        let mut warnings = Vec::new();
        if let Some(load) = known("load", host.load(), &mut warnings)
            && load > self.max_load_1m
        {
            let limit = self.max_load_1m;
            return Err(NotCreated::HostLimit(format!(
                "load average {load:.2} is above {limit:.2}"
            )));
        }
        let memory = known("available memory", host.available_memory(), &mut warnings);
        at_least("available memory", memory, self.min_available_memory)?;
        let disk = known(
            "free disk space",
            host.free_disk_space(&self.mailboxes_dir),
            &mut warnings,
        );
        at_least("free disk space", disk, self.min_free_disk_space)?;
        Ok(warnings)
    }
}

/// A limit that cannot be read must not lock everyone out: it is noted and ignored.
fn known<T>(what: &str, value: io::Result<T>, warnings: &mut Vec<String>) -> Option<T> {
    value
        .map_err(|error| warnings.push(format!("{what} cannot be read and is ignored: {error}")))
        .ok()
}

fn at_least(what: &str, value: Option<u64>, limit: u64) -> Result<(), NotCreated> {
    match value {
        Some(value) if value < limit => {
            let (value, limit) = (value >> 20, limit >> 20);
            Err(NotCreated::HostLimit(format!(
                "{what} {value} MB is below {limit} MB"
            )))
        }
        _ => Ok(()),
    }
}
