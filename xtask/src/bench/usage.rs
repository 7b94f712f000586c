//! What processes use, as `/proc` shows it (proc(5)): CPU time and memory.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter::Sum;
use std::ops::{Div, Sub};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// Two looks this far apart that find next to nothing done: the work has ended.
const PAUSE: Duration = Duration::from_millis(100);
/// What servers use while nobody asks anything of them, in seconds of CPU time per [`PAUSE`].
const IDLE: f64 = 0.001;
/// Longest wait for the end of the work.
const PATIENCE: Duration = Duration::from_secs(20);

/// What of `/proc/PID/stat` matters here; times in clock ticks.
#[derive(Debug, PartialEq)]
struct Stat {
    pid: u32,
    parent: u32,
    own: u64,
    reaped: u64,
}

fn parse(text: &str) -> Option<Stat> {
    // The second field, the name in parentheses, may hold anything.
    let (head, tail) = text.rsplit_once(") ")?;
    let pid = head.split_once(' ')?.0.parse().ok()?;
    let fields: Vec<&str> = tail.split(' ').collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Stat {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        own: number(11)? + number(12)?,
        reaped: number(13)? + number(14)?,
    })
}

/// The process and all its descendants.
fn tree(root: u32) -> Vec<Stat> {
    let read = |pid| parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?);
    let all: Vec<Stat> = crate::relay::processes::all()
        .into_iter()
        .filter_map(read)
        .collect();
    let mut pids = BTreeSet::from([root]);
    loop {
        let before = pids.len();
        let children = all.iter().filter(|stat| pids.contains(&stat.parent));
        let children: Vec<u32> = children.map(|stat| stat.pid).collect();
        pids.extend(children);
        if pids.len() == before {
            break;
        }
    }
    all.into_iter()
        .filter(|stat| pids.contains(&stat.pid))
        .collect()
}

/// The process and all its descendants, those with this name (`/proc/PID/comm`); the empty name is everybody's.
pub(super) fn descendants(root: u32, name: &str) -> Vec<u32> {
    let is_it = |pid: &u32| {
        name.is_empty()
            || fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|found| found.trim_end() == name)
    };
    let pids = tree(root).into_iter().map(|stat| stat.pid);
    pids.filter(is_it).collect()
}

/// How many inotify(7) instances a process has open.
pub(super) fn inotify_instances(pid: u32) -> usize {
    let descriptors = fs::read_dir(format!("/proc/{pid}/fd"));
    let targets = descriptors.into_iter().flatten().flatten();
    targets
        .filter_map(|entry| fs::read_link(entry.path()).ok())
        .filter(|target| target.ends_with("anon_inode:inotify"))
        .count()
}

/// What the scheduler counted for the threads of a process, in seconds. `/proc/PID/stat` has the same time cut to
/// clock ticks of 10 ms, which is too coarse for a dozen processes that did a little each.
fn scheduled(pid: u32) -> f64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    let nanoseconds = threads.into_iter().flatten().flatten().filter_map(|entry| {
        let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
        text.split(' ').next()?.parse::<u64>().ok()
    });
    nanoseconds.sum::<u64>() as f64 / 1e9
}

/// User and system time of a process and its descendants, those that have ended included, in seconds.
pub(super) fn cpu(root: u32) -> Result<f64> {
    let tick = rustix::param::clock_ticks_per_second() as f64;
    for _ in 0..20 {
        let stats = tree(root);
        let mut sum = 0.0;
        for stat in &stats {
            // Threads that have ended are in the ticks only.
            sum += scheduled(stat.pid).max(stat.own as f64 / tick) + stat.reaped as f64 / tick;
        }
        let pids = |stats: &[Stat]| stats.iter().map(|stat| stat.pid).collect::<Vec<_>>();
        // A process that ends in between would be counted nowhere, or twice.
        if stats.iter().any(|stat| stat.pid == root) && pids(&tree(root)) == pids(&stats) {
            return Ok(sum);
        }
    }
    bail!("process {root} is gone, or its children come and go too fast to be counted")
}

/// [`cpu`] once the processes have nothing more to do.
pub(super) fn cpu_at_rest(root: u32) -> Result<f64> {
    let end = Instant::now() + PATIENCE;
    let mut before = cpu(root)?;
    loop {
        thread::sleep(PAUSE);
        let now = cpu(root)?;
        if now - before < IDLE || Instant::now() > end {
            return Ok(now);
        }
        before = now;
    }
}

/// The CPU time in seconds that each of these trees spends on some work, its aftermath included.
pub(super) fn spent<const N: usize>(
    roots: [u32; N],
    work: impl FnOnce() -> Result<()>,
) -> Result<[f64; N]> {
    let mut before = [0.0; N];
    for (slot, root) in before.iter_mut().zip(roots) {
        *slot = cpu_at_rest(root)?;
    }
    work()?;
    let mut after = [0.0; N];
    for ((slot, root), before) in after.iter_mut().zip(roots).zip(before) {
        *slot = cpu_at_rest(root)? - before;
    }
    Ok(after)
}

/// User and system time of those descendants that have this name, in seconds. It counts none that end meanwhile.
pub(super) fn spent_by(root: u32, name: &str, work: impl FnOnce() -> Result<()>) -> Result<f64> {
    let now = || -> BTreeMap<u32, f64> {
        let pids = descendants(root, name).into_iter();
        pids.map(|pid| (pid, scheduled(pid))).collect()
    };
    cpu_at_rest(root)?;
    let before = now();
    work()?;
    cpu_at_rest(root)?;
    let spent = |(pid, after): (u32, f64)| after - before.get(&pid).copied().unwrap_or_default();
    Ok(now().into_iter().map(spent).sum())
}

/// User and system time of the root and its descendants that run, in seconds, by the name of the process.
pub(super) fn cpu_by_name(root: u32) -> BTreeMap<String, f64> {
    let mut all = BTreeMap::new();
    for pid in descendants(root, "") {
        if let Ok(name) = fs::read_to_string(format!("/proc/{pid}/comm")) {
            *all.entry(name.trim_end().to_owned()).or_default() += scheduled(pid);
        }
    }
    all
}

/// What processes hold, in kB.
#[derive(Clone, Copy, Default)]
pub(super) struct Memory {
    /// Pages that nobody else has and that differ from every file.
    pub(super) private_dirty: f64,
    /// All pages, each divided by the number of processes that have it.
    pub(super) pss: f64,
}

impl Memory {
    /// Nothing, if the process has ended.
    pub(super) fn of(pid: u32) -> Memory {
        let field = |name| kilobytes(pid, "smaps_rollup", name).unwrap_or_default();
        Memory {
            private_dirty: field("Private_Dirty"),
            pss: field("Pss"),
        }
    }
}

impl Sum for Memory {
    fn sum<I: Iterator<Item = Memory>>(all: I) -> Memory {
        all.fold(Memory::default(), |a, b| Memory {
            private_dirty: a.private_dirty + b.private_dirty,
            pss: a.pss + b.pss,
        })
    }
}

impl Sub for Memory {
    type Output = Memory;

    fn sub(self, other: Memory) -> Memory {
        Memory {
            private_dirty: self.private_dirty - other.private_dirty,
            pss: self.pss - other.pss,
        }
    }
}

impl Div<f64> for Memory {
    type Output = Memory;

    fn div(self, count: f64) -> Memory {
        Memory {
            private_dirty: self.private_dirty / count,
            pss: self.pss / count,
        }
    }
}

/// A field of `/proc/PID/FILE` that is given in kB.
pub(super) fn kilobytes(pid: u32, file: &str, field: &str) -> Result<f64> {
    let path = format!("/proc/{pid}/{file}");
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    field_of(&text, field).with_context(|| format!("{path} has no {field}"))
}

fn field_of(text: &str, field: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.strip_prefix(':')?
        .trim()
        .strip_suffix(" kB")?
        .parse()
        .ok()
}

/// From now on `VmHWM` is the peak since now (proc(5), `clear_refs`).
pub(super) fn forget_peak(pid: u32) -> Result<()> {
    let path = format!("/proc/{pid}/clear_refs");
    fs::write(&path, "5").with_context(|| format!("cannot write {path}"))
}

/// The load average of the last minute.
pub(super) fn load_average() -> Result<f64> {
    let text = fs::read_to_string("/proc/loadavg").context("cannot read /proc/loadavg")?;
    let first = text.split(' ').next().and_then(|word| word.parse().ok());
    first.context("/proc/loadavg is malformed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_the_fields() {
        let text = "7 (a) (b c) S 3 7 7 0 -1 4194304 1 2 3 4 11 12 13 14 20 0 1 0 100 0 0 18446744073709551615";
        let expected = Stat {
            pid: 7,
            parent: 3,
            own: 23,
            reaped: 27,
        };
        assert_eq!(parse(text), Some(expected));
    }

    #[test]
    fn work_of_this_process_is_counted() {
        let me = std::process::id();
        let before = cpu(me).expect("own CPU time");
        let end = Instant::now() + Duration::from_secs(30);
        while cpu(me).expect("own CPU time") - before < 0.05 {
            assert!(Instant::now() < end, "30 s of work were not counted");
        }
    }

    #[test]
    fn a_process_is_found_by_its_name_among_the_descendants() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep");
        let found = || descendants(std::process::id(), "sleep");
        let there = crate::relay::processes::poll(Duration::from_secs(30), || {
            found().contains(&child.id())
        });
        child.kill().expect("kill");
        child.wait().expect("wait");
        assert!(there);
        assert!(!found().contains(&child.id()));
        assert!(descendants(std::process::id(), "").contains(&std::process::id()));
    }

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "VmPeak:\t  9 kB\nVmHWM:\t  1234 kB\nThreads:\t3\n";
        assert_eq!(field_of(text, "VmHWM"), Some(1234.0));
        assert_eq!(field_of(text, "Vm"), None);
        assert_eq!(field_of(text, "Threads"), None);
    }
}
