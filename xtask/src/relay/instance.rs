//! The files of an instance: its `chatmail.ini`, layout, rendered configuration, certificates, modules and mailboxes.

use std::fs::{self, Permissions};
use std::io::Write;
use std::net::Ipv4Addr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use chatmail_tests::{Endpoints, dns};
use serde_json::json;

use super::account::Lengths;
use super::directory::Directory;
use super::dkim;
use super::ini::{self, Setting};
use super::modules::Modules;
use super::peers;
use super::ports::Ports;
use super::processes;
use super::supervise::{Part, Ready};
use super::tls::{self, Certificates};
use super::users;
use super::wish::Wish;
use crate::build::Artifacts;
use crate::command::run;
use crate::dovecot::Version;

/// What its DNS server says.
const ZONE: &str = "dns/zone";
/// The part that has processes of its own by the dozen.
pub(crate) const DOVECOT: &str = "Dovecot";
/// The names of the parts whose process ids are in the endpoints.
pub(crate) const MILTER: &str = "chatmail-milter";
pub(crate) const SERVE: &str = "chatmail serve";

/// An instance that is ready to be started.
pub(crate) struct Instance {
    directory: Directory,
    ports: Ports,
    /// As in an address: an IPv4 literal in brackets.
    domain: String,
    mailboxes: PathBuf,
    push_url: String,
    certificates: Certificates,
    lengths: Lengths,
    verifies: bool,
    dovecot: Version,
    doveadm: Vec<String>,
}

impl Instance {
    /// Writes everything below the directory. What an earlier run left there is used again, mailboxes included.
    pub(crate) fn prepare(
        directory: Directory,
        ports: Ports,
        wish: &Wish,
        artifacts: &Artifacts,
    ) -> Result<Instance> {
        let root = directory.path();
        let Wish {
            bare_domain: bare,
            domain,
            ..
        } = wish;
        let mailboxes = root.join("mail").join(bare);
        let push_url = wish
            .push_url
            .clone()
            .unwrap_or_else(|| format!("http://127.0.0.1:{}/notify", ports.push_sink()));

        for name in ["etc", "log", "run", "postfix", "mail", "dns", "peers"] {
            make(&root.join(name), 0o755)?;
        }
        remove_logs(&root.join("log"));
        let made = ini::with_settings(
            &wish.ini,
            &settings(root, ports.dns(), bare, &mailboxes, &push_url),
        );
        let lengths = Lengths {
            // No account has a longer one.
            localpart: number(&made, "username_max_length", 9).min(64),
            password: number(&made, "password_min_length", 9).max(9) + 3,
        };
        let verifies = ini::value(&made, "dkim").is_none_or(|on| on.eq_ignore_ascii_case("true"));
        let mail_user = users::mail_user()?;
        // What tests and peers wrote into the zone ended with the run they wrote it for.
        let record = dkim::record(root, domain, &made, &mail_user)?;
        for file in [peers::RECORD, ZONE] {
            fs::write(root.join(file), &record).with_context(|| format!("cannot write {file}"))?;
        }
        peers::prepare(root, &root.join(ZONE), &wish.routes, &wish.peers)?;
        fs::write(root.join("chatmail.ini"), made)
            .context("cannot write the instance's chatmail.ini")?;

        let certificates = tls::certificates(&root.join("tls"), bare)?;
        let postfix = users::find("postfix")?;
        make(&root.join("run/dovecot"), 0o755)?;
        make(&root.join("run/dovecot-state"), 0o755)?;
        make(&root.join("run/sockets"), 0o755)?;
        for owned in [
            mailboxes.as_path(),
            &root.join("run/milter"),
            &root.join("run/http"),
        ] {
            make(owned, 0o755)?;
            chown(owned, Some(mail_user.uid), Some(mail_user.gid))
                .with_context(|| format!("cannot change the owner of {}", owned.display()))?;
        }
        make(&root.join("postfix/queue"), 0o755)?;
        let data = root.join("postfix/data");
        make(&data, 0o755)?;
        chown(&data, Some(postfix.uid), Some(postfix.gid))
            .with_context(|| format!("cannot change the owner of {}", data.display()))?;
        let modules = Modules::install(artifacts, &root.join("modules"))?;

        let dovecot = &artifacts.dovecot;
        let mut doveadm = dovecot.words(root)?;
        doveadm.push("doveadm".to_owned());
        let instance = Instance {
            dovecot: dovecot.version(),
            doveadm,
            directory,
            ports,
            domain: domain.clone(),
            mailboxes,
            push_url,
            certificates,
            lengths,
            verifies,
        };
        instance.render(&artifacts.chatmail, &modules)?;
        if let Some(settings) = &wish.dovecot_settings {
            instance.append_to_dovecot_conf(settings)?;
        }
        Ok(instance)
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn domain(&self) -> &str {
        &self.domain
    }

    pub(crate) fn lengths(&self) -> Lengths {
        self.lengths
    }

    /// Whether mail of others needs a DKIM signature.
    pub(crate) fn verifies(&self) -> bool {
        self.verifies
    }

    pub(crate) fn ports(&self) -> &Ports {
        &self.ports
    }

    /// The DNS server of the instance. It answers as long as the value lives.
    pub(crate) fn start_dns(&self) -> Result<dns::Server> {
        let port = self.ports.dns();
        dns::Server::start(port, &self.path(ZONE))
            .with_context(|| format!("cannot listen on port {port} for DNS"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    fn shown(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn milter_socket(&self, direction: &str) -> PathBuf {
        self.path("run/milter").join(format!("{direction}.sock"))
    }

    fn dovecot_conf(&self) -> PathBuf {
        self.path("etc/dovecot/dovecot.conf")
    }

    fn postfix_config(&self) -> PathBuf {
        self.path("etc/postfix")
    }

    fn http_socket(&self) -> PathBuf {
        self.path("run/http/http.sock")
    }

    fn lmtp_socket(&self) -> PathBuf {
        self.path("run/sockets/lmtp")
    }

    /// `chatmail render` writes the configuration of both servers.
    fn render(&self, chatmail: &Path, modules: &Modules) -> Result<()> {
        let layout = json!({
            "listen": Ipv4Addr::LOCALHOST,
            "ports": {
                "imaps": self.ports.imaps(), "imap": self.ports.imap(), "smtps": self.ports.smtps(),
                "submission": self.ports.submission(), "smtp": self.ports.smtp(),
            },
            "tls_certificate": self.certificates.certificate,
            "tls_key": self.certificates.key,
            "mail_user": users::MAIL,
            "mail_group": users::MAIL,
            "outside_mail": false,
            "smtp_requires_tls": false,
            "lmtp_socket": self.lmtp_socket(),
            "auth_socket": self.path("run/sockets/auth"),
            "milters": {
                "outgoing": format!("unix:{}", self.milter_socket("outgoing").display()),
                "incoming": format!("unix:{}", self.milter_socket("incoming").display()),
                "internal": format!("unix:{}", self.milter_socket("internal").display()),
            },
            "dovecot": {
                "version": self.dovecot,
                "run_dir": self.path("run/dovecot"),
                "state_dir": self.path("run/dovecot-state"),
                "log": self.path("log/dovecot.log"),
                "instance_name": format!("chatmail-{}", self.ports.imaps()),
                "mail_plugin_dir": modules.mail_plugin_dir,
                "login_processes": 2,
            },
            "postfix": {
                "queue_directory": self.path("postfix/queue"),
                "data_directory": self.path("postfix/data"),
                "log": self.path("log/postfix.log"),
                "chroot": false,
                "transport_map": self.path(peers::TRANSPORT),
            },
        });
        let file = self.path("layout.json");
        processes::write_atomically(&file, serde_json::to_string_pretty(&layout)?.as_bytes())?;
        let mut render = Command::new(chatmail);
        render
            .arg("render")
            .arg("--config")
            .arg(self.path("chatmail.ini"))
            .arg("--layout")
            .arg(file)
            .arg("--out")
            .arg(self.path("etc"))
            .arg("--force");
        run(render.stdin(Stdio::null()).stdout(Stdio::null()))
            .context("the configuration cannot be written")
    }

    /// What comes later takes the place of what came before, in blocks of the same name too.
    fn append_to_dovecot_conf(&self, settings: &str) -> Result<()> {
        let path = self.dovecot_conf();
        let append = |text: &str| {
            let mut file = fs::File::options().append(true).open(&path)?;
            file.write_all(text.as_bytes())
        };
        append(&format!("\n{settings}\n"))
            .with_context(|| format!("cannot write {}", path.display()))
    }

    /// In the order of their start: each after those that it needs.
    pub(crate) fn parts(&self, artifacts: &Artifacts) -> Result<Vec<Part>> {
        let config = self.shown("chatmail.ini");
        let mut dovecot = artifacts.dovecot.words(self.directory())?;
        dovecot.extend(words([
            "/usr/sbin/dovecot",
            "-F",
            "-c",
            &self.shown("etc/dovecot/dovecot.conf"),
        ]));
        let (program, arguments) = dovecot.split_first().context("no command of Dovecot's")?;
        let sockets =
            ["outgoing", "incoming", "internal"].map(|direction| self.milter_socket(direction));
        let [outgoing, incoming, internal] = sockets
            .each_ref()
            .map(|socket| format!("unix:{}", socket.display()));
        Ok(vec![
            Part {
                name: DOVECOT,
                program: PathBuf::from(program),
                arguments: arguments.to_vec(),
                groups_itself: false,
                restarts: false,
                ready: vec![
                    Ready::Greeting(self.ports.imap(), "* OK"),
                    Ready::Port(self.ports.imaps()),
                    Ready::Socket(self.lmtp_socket()),
                ],
            },
            as_mail_user(
                MILTER,
                &artifacts.milter,
                words([
                    "--config",
                    &config,
                    "--outgoing",
                    &outgoing,
                    "--incoming",
                    &incoming,
                    "--internal",
                    &internal,
                    "--metrics",
                    &format!("inet:{}@127.0.0.1", self.ports.metrics()),
                    "--socket-group",
                    "postfix",
                ]),
                sockets.map(Ready::Socket).into(),
            ),
            Part {
                name: "Postfix",
                program: self.postfix_master()?,
                arguments: words(["-s", "-c", &self.postfix_config().display().to_string()]),
                groups_itself: true,
                restarts: false,
                ready: vec![
                    Ready::Greeting(self.ports.smtp(), "220"),
                    Ready::Greeting(self.ports.submission(), "220"),
                    Ready::Port(self.ports.smtps()),
                ],
            },
            as_mail_user(
                SERVE,
                &artifacts.chatmail,
                words([
                    "serve",
                    "--config",
                    &config,
                    "--http",
                    &format!("unix:{}", self.http_socket().display()),
                ]),
                vec![Ready::Socket(self.http_socket())],
            ),
        ])
    }

    /// Makes the queue and looks for mistakes in the configuration; finds Postfix's own programs.
    fn postfix_master(&self) -> Result<PathBuf> {
        let config = self.postfix_config();
        let check = Command::new("postfix")
            .arg("-c")
            .arg(&config)
            .arg("check")
            .stdin(Stdio::null())
            .output()
            .context("cannot run postfix")?;
        if !check.status.success() {
            bail!(
                "`postfix -c {} check` failed: {}",
                config.display(),
                String::from_utf8_lossy(&check.stderr).trim()
            );
        }
        let asked = Command::new("postconf")
            .arg("-c")
            .arg(&config)
            .args(["-h", "daemon_directory"])
            .stdin(Stdio::null())
            .output()
            .context("cannot run postconf")?;
        Ok(Path::new(String::from_utf8_lossy(&asked.stdout).trim()).join("master"))
    }

    /// Where everything is, once it runs.
    pub(crate) fn endpoints(&self, milter_pid: u32, serve_pid: u32) -> Result<Endpoints> {
        Ok(Endpoints {
            domain: self.domain.clone(),
            host: Ipv4Addr::LOCALHOST.to_string(),
            imaps: self.ports.imaps(),
            imap: self.ports.imap(),
            smtps: self.ports.smtps(),
            submission: self.ports.submission(),
            smtp: self.ports.smtp(),
            lmtp_socket: self.lmtp_socket(),
            http_socket: self.http_socket(),
            mailboxes_dir: self.mailboxes.clone(),
            config: self.path("chatmail.ini"),
            ca_certificate: self.certificates.ca.clone(),
            push_url: self.push_url.clone(),
            dns: format!("127.0.0.1:{}", self.ports.dns()),
            dns_zone: self.path(ZONE),
            metrics: format!("127.0.0.1:{}", self.ports.metrics()),
            peers: peers::domains(self.directory())?,
            dovecot_conf: self.dovecot_conf(),
            dovecot_version: self.dovecot,
            doveadm: self.doveadm.clone(),
            postfix_config_directory: self.postfix_config(),
            milter_pid,
            serve_pid,
        })
    }

    /// Tells others, in one step: they read the old file or the new one.
    pub(crate) fn publish(&self, endpoints: &Endpoints) -> Result<()> {
        processes::write_atomically(
            &self.path("endpoints.json"),
            (serde_json::to_string_pretty(endpoints)? + "\n").as_bytes(),
        )
    }
}

/// What a private instance must own, and what it had better not inherit from a host with real users.
fn settings(
    root: &Path,
    dns_port: u16,
    domain: &str,
    mailboxes: &Path,
    push_url: &str,
) -> Vec<Setting> {
    let path = |path: PathBuf| path.display().to_string();
    vec![
        Setting::owned("mail_domain", domain),
        Setting::owned("mailboxes_dir", path(mailboxes.to_owned())),
        Setting::owned("passdb_path", path(root.join("passdb.sqlite"))),
        Setting::owned("nocreate_file", path(root.join("nocreate"))),
        Setting::owned("push_url", push_url),
        Setting::owned("dkim_key_file", path(root.join(dkim::KEY))),
        Setting::owned("dns_resolver", format!("127.0.0.1:{dns_port}")),
        // A developer's machine is busy, and this relay is not what it should be kept free for.
        Setting::default("max_load_1m", "1000"),
        Setting::default("min_available_memory", "20M"),
        Setting::default("min_free_disk_space", "100M"),
        // And all its clients are in one network.
        Setting::default("max_network_signups_per_hour", "inf"),
        Setting::default("max_signups_per_hour", "inf"),
    ]
}

fn number(ini: &str, key: &str, default: usize) -> usize {
    ini::value(ini, key)
        .and_then(|value| value.parse().ok())
        .unwrap_or(default)
}

/// The services run as the owner of the mailboxes, as under systemd; Postfix's group is for the milter's sockets.
fn as_mail_user(
    name: &'static str,
    program: &Path,
    arguments: Vec<String>,
    ready: Vec<Ready>,
) -> Part {
    let groups = format!("{},postfix", users::MAIL);
    let mut all = words([
        "--reuid",
        users::MAIL,
        "--regid",
        users::MAIL,
        "--groups",
        &groups,
        "--",
    ]);
    all.push(program.display().to_string());
    all.extend(arguments);
    Part {
        name,
        program: PathBuf::from("setpriv"),
        arguments: all,
        groups_itself: false,
        restarts: true,
        ready,
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).into()
}

fn make(directory: &Path, mode: u32) -> Result<()> {
    fs::create_dir_all(directory)
        .with_context(|| format!("cannot create {}", directory.display()))?;
    fs::set_permissions(directory, Permissions::from_mode(mode))
        .with_context(|| format!("cannot set the mode of {}", directory.display()))
}

/// Each run has logs of its own: what went wrong is at their end.
fn remove_logs(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        let _ = fs::remove_file(entry.path());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_key_and_name_servers_are_not_used() {
        let operators = "[params]\nmail_domain = relay.example\ndkim_selector = mine\n\
                         dkim_key_file = /etc/dkimkeys/mine.private\ndns_resolver = 192.0.2.53\n";
        let root = Path::new("/srv/relay");
        let settings = settings(root, 20_006, "relay.example", root, "http://127.0.0.1/");
        let made = ini::with_settings(operators, &settings);
        let value = |key| ini::value(&made, key);
        let key = "/srv/relay/dkim/opendkim.private";
        assert_eq!(value("dkim_key_file"), Some(key));
        assert_eq!(value("dns_resolver"), Some("127.0.0.1:20006"));
        assert_eq!(value("dkim_selector"), Some("mine"));
        assert!(!made.contains("mine.private") && !made.contains("192.0.2.53"));
    }
}
