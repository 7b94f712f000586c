//! Starts the parts of a relay, watches over them, and stops them.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::peers;
use super::processes::{Process, Record, poll};
use crate::interrupt;
use crate::terminal::say;

/// How long a part may take to answer.
const READY: Duration = Duration::from_secs(30);
/// A part that dies sooner than this after its start waits as long before the next one, as systemd's RestartSec does.
const PAUSE: Duration = Duration::from_secs(1);
/// As many early deaths in a row, and it is given up.
const EARLY_DEATHS: u32 = 10;
/// Lines shown of each log when something went wrong.
const TAIL: usize = 15;

/// How to run one part of a relay.
pub(crate) struct Part {
    /// E.g. `Dovecot`.
    pub(crate) name: &'static str,
    pub(crate) program: PathBuf,
    pub(crate) arguments: Vec<String>,
    /// Whether it makes itself the leader of a process group. Postfix's master insists on that.
    pub(crate) groups_itself: bool,
    /// Whether it is started again when it dies.
    pub(crate) restarts: bool,
    /// When it is ready.
    pub(crate) ready: Vec<Ready>,
}

/// What can be seen of a part that is ready.
pub(crate) enum Ready {
    /// The first line from this port begins so.
    Greeting(u16, &'static str),
    /// Something accepts connections on this port.
    Port(u16),
    /// Something accepts connections on this Unix socket.
    Socket(PathBuf),
}

impl Ready {
    fn is_met(&self) -> bool {
        match self {
            Ready::Greeting(port, greeting) => greets(*port, greeting).unwrap_or(false),
            Ready::Port(port) => TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).is_ok(),
            Ready::Socket(path) => UnixStream::connect(path).is_ok(),
        }
    }
}

fn greets(port: u16, greeting: &str) -> std::io::Result<bool> {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.starts_with(greeting))
}

struct Running {
    part: Part,
    child: Child,
    process: Process,
    since: Instant,
    early_deaths: u32,
}

/// The parts that run. Dropping it stops them, the last one first.
pub(crate) struct Supervisor {
    directory: PathBuf,
    running: Vec<Running>,
}

impl Supervisor {
    /// Nothing runs yet.
    pub(crate) fn new(directory: &Path) -> Supervisor {
        Supervisor {
            directory: directory.to_owned(),
            running: Vec::new(),
        }
    }

    /// Starts a part and waits until it is ready.
    pub(crate) fn start(&mut self, part: Part) -> Result<()> {
        let name = part.name;
        let (child, process) = spawn(&self.directory, &part)?;
        self.running.push(Running {
            part,
            child,
            process,
            since: Instant::now(),
            early_deaths: 0,
        });
        self.record()?;
        let Some(running) = self.running.last_mut() else {
            bail!("{name} was not started")
        };
        let mut left = None;
        let mut ended: Option<ExitStatus> = None;
        let ready = poll(READY, || {
            ended = running.child.try_wait().ok().flatten();
            left = running.part.ready.iter().position(|ready| !ready.is_met());
            interrupt::requested() || ended.is_some() || left.is_none()
        });
        interrupt::check()?;
        if let Some(status) = ended {
            bail!(
                "{name} ended at its start: {}\n{}",
                words(status),
                self.logs()
            );
        }
        if !ready {
            let missing = match left.and_then(|at| running.part.ready.get(at)) {
                Some(Ready::Greeting(port, greeting)) => {
                    format!("port {port} does not answer `{greeting}…`")
                }
                Some(Ready::Port(port)) => format!("nothing listens on port {port}"),
                Some(Ready::Socket(path)) => format!("nothing listens on {}", path.display()),
                None => "it is late".to_owned(),
            };
            bail!(
                "{name} is not ready after {} s: {missing}\n{}",
                READY.as_secs(),
                self.logs()
            );
        }
        Ok(())
    }

    /// The process id of a running part.
    pub(crate) fn pid(&self, name: &str) -> Option<u32> {
        self.running
            .iter()
            .find(|r| r.part.name == name)
            .map(|r| r.process.pid)
    }

    /// The parts, in the order of their start.
    pub(crate) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.running.iter().map(|running| &running.process)
    }

    /// Looks whether a part died, and starts it again where that is its rule. True if one was started again.
    pub(crate) fn look_after(&mut self) -> Result<bool> {
        let mut restarted = false;
        for at in 0..self.running.len() {
            let Some(running) = self.running.get_mut(at) else {
                break;
            };
            let Some(status) = running
                .child
                .try_wait()
                .with_context(|| format!("cannot wait for {}", running.part.name))?
            else {
                continue;
            };
            let name = running.part.name;
            if !running.part.restarts {
                bail!("{name} ended: {}\n{}", words(status), self.logs());
            }
            let early = running.since.elapsed() < PAUSE;
            running.early_deaths = if early { running.early_deaths + 1 } else { 0 };
            if running.early_deaths >= EARLY_DEATHS {
                bail!(
                    "{name} ended {EARLY_DEATHS} times in a row right after its start: {}\n{}",
                    words(status),
                    self.logs()
                );
            }
            say(format_args!(
                "{name} ended: {}. It is started again.",
                words(status)
            ));
            if early {
                std::thread::sleep(PAUSE);
            }
            let (child, process) = spawn(&self.directory, &running.part)?;
            (running.child, running.process, running.since) = (child, process, Instant::now());
            // Whether it is ready is for its users to see; that it lives is looked at again soon.
            poll(PAUSE, || {
                running.part.ready.iter().all(Ready::is_met)
                    || running.child.try_wait().is_ok_and(|s| s.is_some())
            });
            restarted = true;
        }
        if restarted {
            self.record()?;
        }
        Ok(restarted)
    }

    fn record(&self) -> Result<()> {
        Record::new(self.running.iter().map(|r| r.process.clone()).collect())?
            .write(&self.directory)
    }

    /// The ends of all logs.
    pub(crate) fn logs(&self) -> String {
        let entries = fs::read_dir(self.directory.join("log"))
            .into_iter()
            .flatten()
            .flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
        files.sort();
        let mut text = String::new();
        for file in files {
            let bytes = fs::read(&file).unwrap_or_default();
            let content = String::from_utf8_lossy(&bytes);
            let lines: Vec<_> = content.lines().collect();
            if !lines.is_empty() {
                let tail = lines
                    .get(lines.len().saturating_sub(TAIL)..)
                    .unwrap_or_default();
                text.push_str(&format!(
                    "--- the end of {}\n    {}\n",
                    file.display(),
                    tail.join("\n    ")
                ));
            }
        }
        text
    }

    /// Stops all parts, the last one first.
    pub(crate) fn stop(&mut self) -> Result<()> {
        let mut failure = None;
        while let Some(mut running) = self.running.pop() {
            // The others are stopped even if this one does not end.
            failure = running.process.stop().err().or(failure);
            let _ = running.child.try_wait();
        }
        clean_up(&self.directory);
        failure.map_or(Ok(()), Err)
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        if let Err(failure) = self.stop() {
            say(format_args!("error: {failure:#}"));
        }
    }
}

fn spawn(directory: &Path, part: &Part) -> Result<(Child, Process)> {
    let log = directory.join("log").join(format!(
        "{}.log",
        part.name.to_lowercase().replace(' ', "-")
    ));
    let output: File = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&log)
        .with_context(|| format!("cannot open {}", log.display()))?;
    let errors = output
        .try_clone()
        .with_context(|| format!("cannot open {}", log.display()))?;
    let mut command = Command::new(&part.program);
    command
        .args(&part.arguments)
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(output)
        .stderr(errors);
    if !part.groups_itself {
        // Ctrl-C at the terminal is for the supervisor, which stops the parts in order.
        command.process_group(0);
    }
    let child = command
        .spawn()
        .with_context(|| format!("cannot run {} for {}", part.program.display(), part.name))?;
    let process = Process::of(part.name, child.id())
        .with_context(|| format!("{} is gone at once", part.name))?;
    Ok((child, process))
}

fn words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Takes away what says that a relay runs here: its entries at peers, sockets, FIFOs, the endpoints and the record of
/// processes.
pub(crate) fn clean_up(directory: &Path) {
    peers::leave(directory);
    for part in ["run", "postfix"] {
        remove_sockets(&directory.join(part));
    }
    let _ = fs::remove_file(directory.join("endpoints.json"));
    Record::remove(directory);
}

fn remove_sockets(directory: &Path) {
    use std::os::unix::fs::FileTypeExt;
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => remove_sockets(&entry.path()),
            Ok(kind) if kind.is_socket() || kind.is_fifo() => {
                let _ = fs::remove_file(entry.path());
            }
            _ => {}
        }
    }
}
