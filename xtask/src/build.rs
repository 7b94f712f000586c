//! Builds what a relay is made of: two programs, and two Dovecot modules with the Rust library linked in.
//!
//! The library is built twice, with the features that each module needs: a Dovecot process maps nothing it does not
//! use. Cargo keeps both builds apart by their features, so nothing is compiled again while the sources stay the same.
//! They have a target directory of their own: `target/release/libchatmail.a` is the whole library, or none.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use chatmail_tests::dovecot::{EX_UNAVAILABLE, Modules};
use clap::Args;

use crate::command::{cargo, cargo_into, run, target_directory, workspace};
use crate::dovecot::{Dovecot, Version};
use crate::privilege::give_to_caller;
use crate::terminal::{say, stage, talk_on_stderr};
use crate::{packages, privilege};

/// What the auth module needs of the library.
const AUTH_FEATURES: &str = "auth";
/// What the mail module needs of the library.
const MAIL_FEATURES: &str = "metadata,push";

/// Tells how the installed Dovecot was built, and where it is; comes with dovecot-dev.
pub(crate) const DOVECOT_CONFIG: &str = "/usr/lib/dovecot/dovecot-config";
/// Set this variable if the tests will be built too, as CI does: [`Programs::WithTests`].
pub(crate) const WITH_TESTS: &str = "CHATMAIL_BUILD_WITH_TESTS";

/// Set for tests that start relays, when everything is built: cargo and make need not look for changes each time.
pub(crate) const IS_BUILT: &str = "CHATMAIL_IS_BUILT";

/// How `chatmail` and `chatmail-milter` are built. Tests need more features of many dependencies than the programs,
/// and cargo compiles a dependency again for other features, and all that depends on it.
#[derive(Clone, Copy)]
pub(crate) enum Programs {
    /// With the features they need: less to compile, unless tests follow.
    Alone,
    /// With the features that tests need.
    WithTests,
}

impl Programs {
    /// As the environment asks for.
    pub(crate) fn wanted() -> Programs {
        match is_set(WITH_TESTS) {
            true => Programs::WithTests,
            false => Programs::Alone,
        }
    }

    fn build(self) -> Result<()> {
        cargo(match self {
            Programs::Alone => {
                "build --release --package chatmail-relay --package chatmail-milter --bins"
            }
            Programs::WithTests => "build --release --workspace --bins --test suite",
        })
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

/// In the directory of a build: what of [`DOVECOT_CONFIG`] it was built against.
const BUILT_AGAINST: &str = "built-against";

/// Arguments of `cargo xtask modules`.
#[derive(Args)]
pub(crate) struct ModulesOptions {
    /// For this Dovecot, 2.3 or 2.4 [default: the host's]
    #[arg(long, value_name = "VERSION")]
    dovecot: Option<Version>,
}

/// Builds the Dovecot modules and prints where they are; exit status 69 if this system cannot run that Dovecot.
pub(crate) fn modules(options: &ModulesOptions) -> Result<ExitCode> {
    privilege::become_root("Entering a Debian tree")?;
    privilege::prepare_process();
    talk_on_stderr();
    if let Some(why) = options.dovecot.and_then(Dovecot::obstacle) {
        say(format_args!("error: {why}"));
        return Ok(ExitCode::from(EX_UNAVAILABLE));
    }
    packages::ensure(&[packages::RELAY])?;
    let built = relay(options.dovecot, Programs::wanted())?;
    let modules = Modules {
        root: built.dovecot.outside(Path::new("/")),
        auth: built.auth_module,
        mail: built.mail_plugin,
        settings: built.settings_module,
    };
    println!("{}", serde_json::to_string(&modules)?);
    Ok(ExitCode::SUCCESS)
}

/// What a relay is made of.
pub(crate) struct Artifacts {
    /// What the modules are for, and what runs them.
    pub(crate) dovecot: Dovecot,
    /// `chatmail`, the operator's command and service.
    pub(crate) chatmail: PathBuf,
    /// `chatmail-milter`.
    pub(crate) milter: PathBuf,
    /// `libauthdb_chatmail.so`.
    pub(crate) auth_module: PathBuf,
    /// `lib90_chatmail_plugin.so`.
    pub(crate) mail_plugin: PathBuf,
    /// `libchatmail_settings.so`; Dovecot 2.3 needs none.
    pub(crate) settings_module: Option<PathBuf>,
}

/// Builds everything a relay runs, with this Dovecot or the host's; does next to nothing if it is built already.
pub(crate) fn relay(wanted: Option<Version>, programs: Programs) -> Result<Artifacts> {
    let dovecot = Dovecot::find(wanted)?;
    let target = target_directory()?;
    let ours = target.join("chatmail");
    let version = dovecot.version();
    let modules = ours.join(format!("dovecot-plugin-{version}"));
    if !is_set(IS_BUILT) {
        let _one_at_a_time = exclusive(&ours)?;
        stage(
            "building chatmail and chatmail-milter (the first time takes a few minutes)",
            || programs.build(),
        )?;
        let auth = stage("building the library for Dovecot's auth module", || {
            library(&ours, "auth", AUTH_FEATURES)
        })?;
        let mail = stage("building the library for Dovecot's mail module", || {
            library(&ours, "mail", MAIL_FEATURES)
        })?;
        stage(
            &format!("building the modules for Dovecot {version}"),
            || dovecot_modules(&dovecot, &modules, &auth, &mail),
        )?;
    }
    let settings_module = match version {
        Version::V2_3 => None,
        Version::V2_4 => Some(existing(modules.join("settings/libchatmail_settings.so"))?),
    };
    Ok(Artifacts {
        dovecot,
        chatmail: existing(target.join("release/chatmail"))?,
        milter: existing(target.join("release/chatmail-milter"))?,
        auth_module: existing(modules.join("auth/libauthdb_chatmail.so"))?,
        mail_plugin: existing(modules.join("lib90_chatmail_plugin.so"))?,
        settings_module,
    })
}

/// Two instances that start at the same time must not copy and link over each other.
fn exclusive(directory: &Path) -> Result<File> {
    create_directory(directory)?;
    let path = directory.join("lock");
    let file = File::create(&path).with_context(|| format!("cannot create {}", path.display()))?;
    give_to_caller(&path)?;
    file.lock()
        .with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// The static library with some features, in a place of its own.
///
/// As its one crate type: with a shared library beside it, whose name is fixed, cargo would keep one build only.
fn library(ours: &Path, name: &str, features: &str) -> Result<PathBuf> {
    let apart = ours.join("library");
    cargo_into(
        &apart,
        &format!(
            "rustc --release --package chatmail-ffi --lib --crate-type staticlib --no-default-features --features {features}"
        ),
    )?;
    let directory = ours.join(name);
    create_directory(&directory)?;
    let (from, to) = (
        apart.join("release/libchatmail.a"),
        directory.join("libchatmail.a"),
    );
    let bytes = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
    // make goes by the time of the file: an unchanged one stays as it is.
    if fs::read(&to).ok().as_ref() != Some(&bytes) {
        fs::write(&to, &bytes).with_context(|| format!("cannot write {}", to.display()))?;
        give_to_caller(&to)?;
    }
    Ok(to)
}

fn dovecot_modules(dovecot: &Dovecot, build: &Path, auth: &Path, mail: &Path) -> Result<()> {
    forget_other_headers(dovecot, build)?;
    create_directory(build)?;
    let setting = |name: &str, path: &Path| {
        let mut setting = std::ffi::OsString::from(name);
        setting.push("=");
        setting.push(path);
        setting
    };
    let mut make = dovecot.as_caller("make", build)?;
    make.args(["--silent", "--directory"])
        .arg(workspace().join("dovecot-plugin"));
    make.args([
        setting("BUILD", build),
        setting("LIBCHATMAIL_AUTH", auth),
        setting("LIBCHATMAIL_MAIL", mail),
    ]);
    // Variables of an outer make, or of a person's habit, must not decide what is built.
    make.env_remove("MAKEFLAGS")
        .env_remove("CFLAGS")
        .env_remove("LDFLAGS");
    run(&mut make)?;
    let stamp = build.join(BUILT_AGAINST);
    fs::write(&stamp, installed_headers(dovecot)?)
        .with_context(|| format!("cannot write {}", stamp.display()))?;
    give_to_caller(&stamp)
}

/// Removes what was built against another dovecot-dev. make does not look at the headers of the system, and
/// distributions change them without a new version.
fn forget_other_headers(dovecot: &Dovecot, build: &Path) -> Result<()> {
    let built_against = fs::read_to_string(build.join(BUILT_AGAINST)).unwrap_or_default();
    if build.exists() && built_against != installed_headers(dovecot)? {
        fs::remove_dir_all(build).with_context(|| format!("cannot remove {}", build.display()))?;
    }
    Ok(())
}

/// How the installed Dovecot was built, and when.
fn installed_headers(dovecot: &Dovecot) -> Result<String> {
    let path = dovecot.outside(Path::new(DOVECOT_CONFIG));
    let read = fs::read_to_string(&path).and_then(|text| Ok((text, fs::metadata(&path)?.mtime())));
    let (text, time) =
        read.with_context(|| format!("cannot read {}: is dovecot-dev installed?", path.display()))?;
    Ok(format!("{time}\n{text}"))
}

fn create_directory(directory: &Path) -> Result<()> {
    if !directory.is_dir() {
        fs::create_dir_all(directory)
            .with_context(|| format!("cannot create {}", directory.display()))?;
        give_to_caller(directory)?;
    }
    Ok(())
}

fn existing(path: PathBuf) -> Result<PathBuf> {
    if !path.is_file() {
        bail!(
            "the build succeeded, and yet there is no {}",
            path.display()
        );
    }
    Ok(path)
}
