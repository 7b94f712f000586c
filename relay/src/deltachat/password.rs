//! Passwords in files: on a command line others could see them.

use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::path::Path;

/// As long as a password may be, and the end of a line.
const FILE_MAX: u64 = 512;

/// The first line of a password file; `None` if there is no file.
///
/// # Errors
///
/// It cannot be read, or holds no password. Says which file it is.
pub fn read(path: &Path) -> io::Result<Option<String>> {
    let named =
        |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    match File::open(path) {
        Ok(file) => read_from(file).map(Some).map_err(named),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(named(error)),
    }
}

/// A password that comes from somewhere else, standard input for example.
///
/// # Errors
///
/// It cannot be read, or is not a password.
pub fn read_from(input: impl Read) -> io::Result<String> {
    let mut text = String::new();
    input.take(FILE_MAX + 1).read_to_string(&mut text)?;
    let password = text.trim_end_matches(['\r', '\n']);
    if password.is_empty() || text.len() as u64 > FILE_MAX || password.contains('\n') {
        let why = "is not a password: one line, of at most 511 bytes";
        return Err(io::Error::new(ErrorKind::InvalidData, why));
    }
    Ok(password.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_password_is_one_line() {
        let base = tempfile::tempdir().unwrap();
        let path = base.path().join("password");
        assert_eq!(read(&path).unwrap(), None);
        for good in ["secret", "secret\n", "secret\r\n"] {
            fs::write(&path, good).unwrap();
            assert_eq!(read(&path).unwrap().as_deref(), Some("secret"));
        }
        let long = "x".repeat(600);
        for bad in ["", "\n", "one\ntwo\n", long.as_str()] {
            fs::write(&path, bad).unwrap();
            let error = read(&path).unwrap_err();
            assert!(error.to_string().contains("password: "), "{error}");
        }
    }
}
