//! How busy and how full this host is.

use std::fs;
use std::io;
use std::path::Path;

use crate::config::Config;

/// Measures the host. Tests have their own.
pub(crate) trait Host: std::fmt::Debug + Send + Sync {
    /// Load average over one minute.
    fn load(&self) -> io::Result<f64>;
    /// Memory available without swapping, in bytes.
    fn available_memory(&self) -> io::Result<u64>;
    /// Free space for ordinary users on the file system of `dir`, in bytes.
    fn free_disk_space(&self, dir: &Path) -> io::Result<u64>;
}

/// The host this process runs on.
#[derive(Debug)]
pub(crate) struct ThisHost;

impl Host for ThisHost {
    fn load(&self) -> io::Result<f64> {
        parse_loadavg(&fs::read_to_string("/proc/loadavg")?)
            .ok_or_else(|| unreadable("/proc/loadavg"))
    }

    fn available_memory(&self) -> io::Result<u64> {
        parse_meminfo(&fs::read_to_string("/proc/meminfo")?)
            .ok_or_else(|| unreadable("/proc/meminfo"))
    }

    fn free_disk_space(&self, dir: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(dir)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// What the limits `max_load_1m`, `min_available_memory` and `min_free_disk_space` are compared with at
/// one moment. `None` cannot be read; the sign-up policy ignores it then.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HostNow {
    /// Load average over one minute.
    pub load: Option<f64>,
    /// Memory available without swapping, in bytes.
    pub available_memory: Option<u64>,
    /// Free space for ordinary users on the file system of the mailboxes, in bytes.
    pub free_disk_space: Option<u64>,
}

impl HostNow {
    /// Asks the kernel.
    pub fn measure(config: &Config) -> HostNow {
        HostNow {
            load: ThisHost.load().ok(),
            available_memory: ThisHost.available_memory().ok(),
            free_disk_space: ThisHost.free_disk_space(&config.mailboxes_dir).ok(),
        }
    }
}

fn unreadable(file: &str) -> io::Error {
    io::Error::other(format!("{file} is not as expected"))
}

/// `0.52 0.58 0.59 1/977 4711`
fn parse_loadavg(text: &str) -> Option<f64> {
    text.split_whitespace().next()?.parse().ok()
}

/// A line `MemAvailable:   16316164 kB`.
fn parse_meminfo(text: &str) -> Option<u64> {
    let value = text
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        assert_eq!(parse_loadavg("0.52 0.58 0.59 1/977 4711\n"), Some(0.52));
        assert_eq!(parse_loadavg(""), None);
        let meminfo = "MemTotal:       32 kB\nMemAvailable:   16 kB\nBuffers: 1 kB\n";
        assert_eq!(parse_meminfo(meminfo), Some(16 * 1024));
        assert_eq!(parse_meminfo("MemTotal: 32 kB\n"), None);
        assert_eq!(parse_meminfo("MemAvailable: many kB\n"), None);
    }

    #[test]
    fn this_host_can_be_measured() {
        assert!(ThisHost.load().unwrap() >= 0.0);
        assert!(ThisHost.available_memory().unwrap() > 0);
        assert!(ThisHost.free_disk_space(Path::new("/proc")).is_ok());
        assert!(ThisHost.free_disk_space(Path::new("/nonexistent")).is_err());
    }
}
