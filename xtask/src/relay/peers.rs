//! Other mail servers on loopback that an instance exchanges mail with: private relays (`--peer`), and whatever a test
//! listens with (`--route`).
//!
//! Each instance changes its own servers only. Who joins writes a line into the peer's transport map and one into its
//! zone; the peer's supervisor sees the first, and has its Postfix read the map again.

use std::fs::{self, File};
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use chatmail_tests::Endpoints;
use chatmail_tests::dns::zone;
use serde::{Deserialize, Serialize};

use super::directory;
use super::processes::{poll, write_atomically};
use crate::command::run;
use crate::interrupt;

/// Where mail for other domains goes: lines `DOMAIN smtp:[127.0.0.1]:PORT`, as of transport(5).
pub(crate) const TRANSPORT: &str = "peers/transport";
/// The line of the zone with the instance's own DKIM key; empty for a relay on an IPv4 address.
pub(crate) const RECORD: &str = "peers/record";
/// Which relays know this one.
const JOINED: &str = "peers/joined.json";
/// How long the supervisor of a peer may take to see a change.
const DEADLINE: Duration = Duration::from_secs(30);

/// `--route DOMAIN=127.0.0.1:PORT`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    domain: String,
    address: SocketAddrV4,
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Route, String> {
        let (domain, address) = text
            .split_once('=')
            .filter(|(domain, _)| !domain.is_empty() && !domain.contains(char::is_whitespace))
            .ok_or("not DOMAIN=127.0.0.1:PORT")?;
        let address: SocketAddrV4 = address
            .parse()
            .map_err(|_| format!("`{address}` is not 127.0.0.1:PORT"))?;
        if !address.ip().is_loopback() {
            return Err(format!(
                "{address} is not on loopback: no mail leaves the machine"
            ));
        }
        Ok(Route {
            domain: domain.to_ascii_lowercase(),
            address,
        })
    }
}

impl Route {
    fn line(&self) -> String {
        let (ip, port) = (self.address.ip(), self.address.port());
        format!("{} smtp:[{ip}]:{port}\n", self.domain)
    }
}

/// A running relay to exchange mail with.
pub(crate) struct Peer {
    directory: PathBuf,
    pub(crate) endpoints: Endpoints,
}

impl Peer {
    /// The one that runs in a directory. Its domain must not be ours.
    pub(crate) fn find(requested: &Path, domain: &str) -> Result<Peer> {
        let directory = directory::existing(requested).context("--peer")?;
        let endpoints = match Endpoints::load(&directory) {
            Ok(endpoints) => endpoints,
            Err(why) if why.kind() == io::ErrorKind::NotFound => bail!(
                "--peer {shown}: no relay runs there. Start it first, with `cargo xtask relay --dir {shown}`",
                shown = requested.display()
            ),
            Err(why) => return Err(why).with_context(|| format!("--peer {}", requested.display())),
        };
        ensure!(
            !endpoints.domain.eq_ignore_ascii_case(domain),
            "--peer {}: that relay has the domain {domain}, too. Give this one another with --domain",
            requested.display()
        );
        Ok(Peer {
            directory,
            endpoints,
        })
    }

    fn route(&self) -> Result<Route> {
        Ok(Route {
            domain: self.endpoints.domain.to_ascii_lowercase(),
            address: format!("{}:{}", self.endpoints.host, self.endpoints.smtp)
                .parse()
                .context("the peer's address is not IPv4")?,
        })
    }
}

/// The entry of an instance in the files of one peer.
#[derive(Serialize, Deserialize)]
struct Joined {
    peer: PathBuf,
    line: String,
    record: String,
}

/// Writes the instance's own files: its transport map with the routes and peers, and their keys into its zone.
pub(crate) fn prepare(root: &Path, zone: &Path, routes: &[Route], peers: &[Peer]) -> Result<()> {
    let mut map = String::new();
    routes.iter().for_each(|route| map.push_str(&route.line()));
    for peer in peers {
        map.push_str(&peer.route()?.line());
        let record = read(&peer.directory.join(RECORD))?;
        if !record.is_empty() {
            zone::add_to(zone, &record).context("cannot write the zone of the DNS server")?;
        }
    }
    write_atomically(&root.join(TRANSPORT), map.as_bytes())
}

/// Makes the instance known to its peers, and waits until they send mail to it.
pub(crate) fn join(root: &Path, endpoints: &Endpoints, peers: &[Peer]) -> Result<()> {
    let own = Peer {
        directory: root.to_owned(),
        endpoints: endpoints.clone(),
    };
    let line = own.route()?.line();
    let record = read(&root.join(RECORD))?;
    let joined = |peer: &Peer| Joined {
        peer: peer.directory.clone(),
        line: line.clone(),
        record: record.clone(),
    };
    let joined: Vec<Joined> = peers.iter().map(joined).collect();
    // First the note of it: whatever happens then, leave() undoes it.
    write_atomically(&root.join(JOINED), &serde_json::to_vec_pretty(&joined)?)?;
    for (peer, joined) in peers.iter().zip(&joined) {
        let name = &endpoints.domain;
        if !record.is_empty() {
            zone::replace(&peer.endpoints, &record)
                .with_context(|| format!("cannot write {}", peer.endpoints.dns_zone.display()))?;
        }
        change_map(&joined.peer, |map| {
            map.retain(|there| domain(there) != domain(&line));
            map.push(line.trim_end().to_owned());
        })?;
        let knows = || {
            Endpoints::load(&peer.directory)
                .is_ok_and(|endpoints| endpoints.peers.iter().any(|d| d.eq_ignore_ascii_case(name)))
        };
        let shown = peer.directory.display();
        ensure!(
            poll(DEADLINE, || interrupt::requested() || knows()),
            "the relay in {shown} does not take {name} as its peer. Does it still run, and is it of this version?"
        );
        interrupt::check()?;
    }
    Ok(())
}

/// Takes the instance out of the files of its peers again.
pub(crate) fn leave(root: &Path) {
    let note = root.join(JOINED);
    let Ok(text) = fs::read(&note) else {
        return;
    };
    let joined: Vec<Joined> = serde_json::from_slice(&text).unwrap_or_default();
    for Joined { peer, line, record } in joined {
        // A peer that is gone knows nobody any more.
        let _ = change_map(&peer, |map| map.retain(|there| there != line.trim_end()));
        if let (Ok(endpoints), Some(name)) = (Endpoints::load(&peer), domain(&record)) {
            let _ = zone::remove(&endpoints, name);
        }
    }
    let _ = fs::remove_file(note);
}

/// The domains in the transport map of an instance.
pub(crate) fn domains(root: &Path) -> Result<Vec<String>> {
    let map = read(&root.join(TRANSPORT))?;
    Ok(map.lines().filter_map(domain).map(str::to_owned).collect())
}

/// The transport map of a running instance, to see when a peer changes it.
pub(crate) struct Watched {
    file: PathBuf,
    config: PathBuf,
    text: String,
}

impl Watched {
    /// As it is now.
    pub(crate) fn new(root: &Path, endpoints: &Endpoints) -> Result<Watched> {
        let file = root.join(TRANSPORT);
        Ok(Watched {
            text: read(&file)?,
            file,
            config: endpoints.postfix_config_directory.clone(),
        })
    }

    /// If the map has changed, has Postfix read it. True if it had.
    pub(crate) fn look(&mut self) -> Result<bool> {
        let text = read(&self.file)?;
        if text == self.text {
            return Ok(false);
        }
        self.text = text;
        let mut reload = Command::new("postfix");
        reload.arg("-c").arg(&self.config).arg("reload");
        reload.stdin(Stdio::null()).stdout(Stdio::null());
        run(reload.stderr(Stdio::null()))
            .context("Postfix does not read its transport map again")?;
        Ok(true)
    }
}

fn domain(line: &str) -> Option<&str> {
    line.split_whitespace().next()
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// Several instances may join one at the same time.
fn change_map(root: &Path, change: impl FnOnce(&mut Vec<String>)) -> Result<()> {
    let file = root.join(TRANSPORT);
    let lock_file = file.with_extension("lock");
    let lock = File::create(&lock_file)
        .with_context(|| format!("cannot create {}", lock_file.display()))?;
    lock.lock()
        .with_context(|| format!("cannot lock {}", lock_file.display()))?;
    let mut lines: Vec<String> = read(&file)?.lines().map(str::to_owned).collect();
    change(&mut lines);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    write_atomically(&file, text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The directory of a relay that runs, as its peers see it.
    fn relay(domain: &str, smtp: u16) -> tempfile::TempDir {
        let directory = tempfile::tempdir().expect("directory");
        let root = directory.path();
        for name in ["peers", "dns"] {
            fs::create_dir(root.join(name)).expect(name);
        }
        fs::write(root.join(".chatmail-relay"), "").expect("mark");
        let record = format!("s._domainkey.{domain} 300 TXT \"v=DKIM1; p=AB\"");
        fs::write(root.join(RECORD), &record).expect("record");
        fs::write(root.join("dns/zone"), record + "\n").expect("zone");
        let endpoints = Endpoints {
            domain: domain.to_owned(),
            host: "127.0.0.1".to_owned(),
            smtp,
            dns_zone: root.join("dns/zone"),
            ..Endpoints::default()
        };
        let text = serde_json::to_vec(&endpoints).expect("JSON");
        fs::write(root.join("endpoints.json"), text).expect("endpoints");
        prepare(root, &root.join("dns/zone"), &[], &[]).expect("no peers");
        directory
    }

    #[test]
    fn a_route_names_a_domain_and_an_address_of_this_machine() {
        let route: Route = "Outside.test=127.0.0.1:2525".parse().expect("a route");
        assert_eq!(route.line(), "outside.test smtp:[127.0.0.1]:2525\n");
        for wrong in [
            "outside.test",
            "=127.0.0.1:25",
            "a.test=192.0.2.1:25",
            "a.test=x:1",
        ] {
            assert!(wrong.parse::<Route>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn both_know_each_other_until_one_leaves() {
        let (a, b) = (relay("a.test", 1025), relay("b.test", 2025));
        let peer = Peer::find(a.path(), "b.test").expect("runs");
        let zone = b.path().join("dns/zone");
        prepare(b.path(), &zone, &[], std::slice::from_ref(&peer)).expect("prepare");
        assert_eq!(
            read(&b.path().join(TRANSPORT)).expect("map"),
            "a.test smtp:[127.0.0.1]:1025\n"
        );
        assert!(read(&zone).expect("zone").contains("_domainkey.a.test"));

        // The supervisor of the other does this.
        let publish = |peers: Vec<String>| {
            let endpoints = Endpoints {
                peers,
                ..peer.endpoints.clone()
            };
            let text = serde_json::to_vec(&endpoints).expect("JSON");
            fs::write(a.path().join("endpoints.json"), text).expect("endpoints");
        };
        publish(vec!["b.test".to_owned()]);
        let own = Endpoints::load(b.path()).expect("endpoints");
        join(b.path(), &own, std::slice::from_ref(&peer)).expect("join");
        let map = || read(&a.path().join(TRANSPORT)).expect("map");
        let keys = || read(&a.path().join("dns/zone")).expect("zone");
        assert_eq!(domains(a.path()).expect("map"), ["b.test"]);
        assert!(keys().contains("_domainkey.b.test"));

        leave(b.path());
        assert_eq!(map(), "");
        assert!(!keys().contains("b.test") && keys().contains("a.test"));
    }

    #[test]
    fn two_relays_of_one_domain_are_no_peers() {
        let a = relay("a.test", 1025);
        let why = Peer::find(a.path(), "A.test").err().expect("refused");
        assert!(why.to_string().contains("--domain"), "{why}");
        fs::remove_file(a.path().join("endpoints.json")).expect("stopped");
        let why = Peer::find(a.path(), "b.test").err().expect("refused");
        assert!(why.to_string().contains("no relay runs there"), "{why}");
    }
}
