//! Changes of rendered configuration files, each of which must find exactly what it expects.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::SENDER;
use crate::dovecot::Version;
use crate::relay::users::MAIL;

/// How the line of a service begins that names its filter.
const FILTER: &str = "  -o { smtpd_milters = ";

/// Replaces a text that must be in the file as often as said.
struct Edit {
    find: String,
    put: String,
    times: usize,
}

impl Edit {
    fn once(find: impl Into<String>, put: impl Into<String>) -> Edit {
        Edit {
            find: find.into(),
            put: put.into(),
            times: 1,
        }
    }
}

fn apply(file: &Path, edits: &[Edit]) -> Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let edited = edited(&text, edits).with_context(|| format!("cannot edit {}", file.display()))?;
    fs::write(file, edited).with_context(|| format!("cannot write {}", file.display()))
}

fn edited(text: &str, edits: &[Edit]) -> Result<String> {
    let mut text = text.to_owned();
    for Edit { find, put, times } in edits {
        let found = text.matches(find.as_str()).count();
        ensure!(
            found == *times,
            "expected {times} times, found {found} times: {find:?}. The template has changed: adapt the benchmark"
        );
        text = text.replace(find.as_str(), put);
    }
    Ok(text)
}

/// For all relays: measured is the way into the queue, so mail ends there, and one client may open all connections.
/// `outgoing` takes mail for everybody as the submission ports do, without TLS and login, which smtp-source(1) does not
/// know; the filter is told of a login.
pub(super) fn for_measuring(etc: &Path, lmtp_socket: &Path, outgoing: u16) -> Result<()> {
    let main = [
        Edit::once(
            format!("virtual_transport = lmtp:unix:{}\n", lmtp_socket.display()),
            "virtual_transport = discard:\n",
        ),
        Edit::once(
            "default_transport = error:5.4.4 This relay exchanges no mail with other domains\n",
            "default_transport = discard:\n",
        ),
        Edit::once(
            "smtpd_client_event_limit_exceptions =\n",
            "smtpd_client_event_limit_exceptions = 127.0.0.0/8\n",
        ),
    ];
    apply(&etc.join("postfix/main.cf"), &main)?;
    let master = [Edit::once(
        " inet n - n - - smtpd\n",
        " inet n - n - 300 smtpd\n",
    )];
    let file = etc.join("postfix/master.cf");
    apply(&file, &master)?;
    let mut text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let filter = text
        .lines()
        .skip_while(|line| !line.contains("=ORIGINATING"))
        .find(|line| line.starts_with(FILTER))
        .context("no filter of outgoing mail in master.cf. The template has changed: adapt the benchmark")?;
    text.push_str(&format!(
        "127.0.0.1:{outgoing} inet n - n - 300 smtpd\n  -o cleanup_service_name=authclean\n  \
         -o mynetworks=127.0.0.0/8\n  -o smtpd_relay_restrictions=permit_mynetworks,reject\n  \
         -o {{ milter_macro_defaults = auth_authen={SENDER} }}\n{filter}\n"
    ));
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Dovecot's own settings for its processes, with no module of ours: what `doveconf -d` says of these services.
pub(super) fn default_processes(version: Version) -> &'static str {
    match version {
        Version::V2_3 => {
            "
default_client_limit = 1000
service imap-login {
  service_count = 1
  process_min_avail = 0
  process_limit = 0
  vsz_limit = 18446744073709551615
}
service imap {
  service_count = 1
  process_min_avail = 0
  process_limit = 1024
  idle_kill = 0
}
"
        }
        Version::V2_4 => {
            "
default_client_limit = 1000
service imap-login {
  restart_request_count = 1
  process_min_avail = 0
  process_limit = 100
  vsz_limit = 256M
}
service imap {
  restart_request_count = 1
  process_min_avail = 0
  process_limit = 1024
  idle_kill_interval = 1 mins
}
"
        }
    }
}

/// Sessions sleep soon, so that many of them can be woken.
pub(super) const SOON_HIBERNATED: &str = "
protocol imap {
  imap_hibernate_timeout = 3s
}
";

/// Of settings that stand twice, Dovecot takes the last.
pub(super) fn append_to_dovecot(etc: &Path, settings: &str) -> Result<()> {
    let file = etc.join("dovecot/dovecot.conf");
    let mut text =
        fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    text.push_str(settings);
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// What takes the place of our parts.
pub(super) struct Bare<'a> {
    pub(super) version: Version,
    /// Our `chatmail.ini`.
    pub(super) config: &'a Path,
    /// A passwd-file with the accounts.
    pub(super) passwords: &'a Path,
    pub(super) mailboxes: &'a Path,
    /// How many of Postfix's services name a filter.
    pub(super) filters: usize,
}

/// Takes our parts out: accounts come from a passwd-file, and nobody filters or notifies.
pub(super) fn without_our_parts(etc: &Path, bare: &Bare<'_>) -> Result<()> {
    let dovecot = match bare.version {
        Version::V2_3 => without_dovecot_modules_2_3(bare),
        Version::V2_4 => without_dovecot_modules_2_4(bare),
    };
    apply(&etc.join("dovecot/dovecot.conf"), &dovecot)?;
    without_lines(&etc.join("postfix/master.cf"), FILTER, bare.filters)
}

fn without_dovecot_modules_2_3(bare: &Bare<'_>) -> Vec<Edit> {
    let config = bare.config.display();
    let ours = format!("  driver = chatmail\n  args = config={config} user={MAIL}\n}}\n");
    vec![
        Edit::once(
            format!("passdb {{\n{ours}userdb {{\n  driver = prefetch\n}}\nuserdb {{\n{ours}"),
            format!(
                "passdb {{\n  driver = passwd-file\n  args = scheme=SHA512-CRYPT username_format=%u {}\n}}\n\
                 userdb {{\n  driver = static\n  args = uid={MAIL} gid={MAIL} home={}/%u\n}}\n",
                bare.passwords.display(),
                bare.mailboxes.display()
            ),
        ),
        Edit::once(
            "mail_plugins = zlib quota chatmail\n",
            "mail_plugins = zlib quota\n",
        ),
        Edit::once(
            format!("mail_attribute_dict = chatmail:{config}\n"),
            "mail_attribute_dict = file:%h/dovecot-attributes\n",
        ),
        Edit::once(format!("  chatmail_config = {config}\n"), ""),
    ]
}

fn without_dovecot_modules_2_4(bare: &Bare<'_>) -> Vec<Edit> {
    vec![
        Edit::once(
            "passdb chatmail {\n}\nuserdb prefetch {\n}\nuserdb chatmail {\n}\n",
            format!(
                "passdb passwd-file {{\n  passwd_file_path = {}\n}}\n\
                 userdb static {{\n  fields {{\n    uid = {MAIL}\n    gid = {MAIL}\n    home = {}/%{{user}}\n  }}\n}}\n",
                bare.passwords.display(),
                bare.mailboxes.display()
            ),
        ),
        Edit::once("  chatmail = yes\n", ""),
        Edit::once(
            "  dict chatmail {\n  }\n",
            "  dict file {\n    path = %{home}/dovecot-attributes\n  }\n",
        ),
        Edit::once(format!("chatmail_config = {}\n", bare.config.display()), ""),
        Edit::once(format!("chatmail_mail_user = {MAIL}\n"), ""),
    ]
}

/// Takes out the lines that begin so.
fn without_lines(file: &Path, beginning: &str, times: usize) -> Result<()> {
    let text =
        fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (gone, kept): (Vec<&str>, Vec<&str>) = text
        .split_inclusive('\n')
        .partition(|line| line.starts_with(beginning));
    ensure!(
        gone.len() == times,
        "expected {times} lines that begin with {beginning:?} in {}, found {}. \
         The template has changed: adapt the benchmark",
        file.display(),
        gone.len()
    );
    fs::write(file, kept.concat()).with_context(|| format!("cannot write {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_edit_that_finds_nothing_is_an_error() {
        let edits = [Edit::once("mail_plugins = x\n", "")];
        assert!(edited("mail_plugins = y\n", &edits).is_err());
    }

    #[test]
    fn an_edit_that_finds_too_much_is_an_error() {
        let edits = [Edit::once("x\n", "")];
        assert!(edited("x\nx\n", &edits).is_err());
    }

    #[test]
    fn edits_follow_one_another() {
        let edits = [Edit::once("a", "b"), Edit::once("b", "c")];
        assert_eq!(edited("-a-\n", &edits).expect("found"), "-c-\n");
    }
}
