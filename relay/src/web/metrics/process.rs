//! What this process takes, under the names that all programs have for it.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

use super::exposition::{Exposition, Float};

/// This process.
#[derive(Debug)]
pub(super) struct Process {
    started: SystemTime,
}

impl Process {
    /// Taken to have started at this moment.
    pub(super) fn started_now() -> Process {
        Process {
            started: SystemTime::now(),
        }
    }

    pub(super) fn tell(&self, out: &mut Exposition) {
        let started = self.started.duration_since(UNIX_EPOCH).ok();
        out.known(
            "process_start_time_seconds",
            "Start of chatmail serve, in seconds since 1970",
            started.map(|since| since.as_secs()),
        );
        out.counter(
            "process_cpu_seconds_total",
            "Seconds on the processor, of chatmail serve",
        );
        out.sample("process_cpu_seconds_total", Float(cpu_seconds()));
        out.known(
            "process_resident_memory_bytes",
            "Memory of chatmail serve",
            resident_memory(),
        );
    }
}

fn cpu_seconds() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn resident_memory() -> Option<u64> {
    parse_status(&fs::read_to_string("/proc/self/status").ok()?)
}

/// A line `VmRSS:  16384 kB`, in bytes.
fn parse_status(text: &str) -> Option<u64> {
    let value = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = value.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kibibytes.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_file_is_read() {
        assert_eq!(
            parse_status("VmHWM:\t 20 kB\nVmRSS:\t  16 kB\n"),
            Some(16 << 10)
        );
        for odd in [
            "",
            "VmRSS: 16",
            "VmRSS: x kB",
            "VmRSS: 18446744073709551615 kB",
        ] {
            assert_eq!(parse_status(odd), None, "{odd}");
        }
        assert!(resident_memory().is_some_and(|bytes| bytes > 100_000));
        assert!(cpu_seconds() > 0.0);
    }
}
