//! The file format: what Python's `iniconfig` reads, which relays have read their file with.
//!
//! Not the `rust-ini` crate, whatever its options: it joins a line that ends in `\` to the next
//! one, makes comment lines inside a multi-line value part of that value, and takes a line without
//! `=` or an indented comment as the beginning of the next key.

/// One `key = value` with the section it stands in.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// The section's name, without brackets.
    pub(super) section: String,
    pub(super) key: String,
    /// Literal: no quotes, no escapes. The lines of a multi-line value, joined by `\n`.
    pub(super) value: String,
}

/// What is wrong with a line. Lines count from 1.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SyntaxError {
    pub(super) line: usize,
    pub(super) problem: &'static str,
}

/// A parsed file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Ini {
    /// All sections, each once.
    pub(super) sections: Vec<String>,
    /// In the order of the file.
    pub(super) entries: Vec<Entry>,
}

/// Reads `text`. Whole-line comments begin with `#` or `;`, indented or not; a `#` after a value
/// belongs to the value. A line that begins with white space continues the value before it; empty
/// lines and comments between such lines are dropped.
pub(super) fn parse(text: &str) -> Result<Ini, SyntaxError> {
    let mut ini = Ini::default();
    // Whether the line above may be continued: false right after a section's header.
    let mut open = false;
    // Some editors begin a file with a byte order mark.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let error = |problem| {
            Err(SyntaxError {
                line: index + 1,
                problem,
            })
        };
        let content = line.trim();
        if content.is_empty() || content.starts_with(['#', ';']) {
            continue;
        }
        if line.starts_with(char::is_whitespace) {
            match ini.entries.last_mut().filter(|_| open) {
                Some(entry) => {
                    if !entry.value.is_empty() {
                        entry.value.push('\n');
                    }
                    entry.value.push_str(content);
                }
                None => {
                    return error("an indented line continues a value, and there is none above it");
                }
            }
        } else if let Some(header) = content.strip_prefix('[') {
            // A comment may follow a section's header.
            let header = header
                .split(['#', ';'])
                .next()
                .unwrap_or_default()
                .trim_end();
            let Some(name) = header.strip_suffix(']').filter(|name| !name.is_empty()) else {
                return error("a section is written [name]");
            };
            if ini.sections.iter().any(|known| known == name) {
                return error("this section stands here twice");
            }
            ini.sections.push(name.to_owned());
            open = false;
        } else {
            let Some((key, value)) = content.split_once(['=', ':']) else {
                return error("expected `key = value`");
            };
            let (key, value) = (key.trim_end(), value.trim_start());
            if key.is_empty() {
                return error("a value without a key");
            }
            let Some(section) = ini.sections.last() else {
                return error("a key before the first section");
            };
            if ini
                .entries
                .iter()
                .any(|e| e.section == *section && e.key == key)
            {
                return error("this key stands here twice");
            }
            ini.entries.push(Entry {
                section: section.clone(),
                key: key.to_owned(),
                value: value.to_owned(),
            });
            open = true;
        }
    }
    Ok(ini)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(text: &str) -> Vec<(String, String)> {
        let ini = parse(text).unwrap();
        ini.entries.into_iter().map(|e| (e.key, e.value)).collect()
    }

    fn pair(key: &str, value: &str) -> (String, String) {
        (key.to_owned(), value.to_owned())
    }

    #[test]
    fn values_are_literal() {
        let text = "[params]\na = \"x\" 'y'\nb = C:\\n\\\nc = 1 # not a comment ; neither\nd==:\n";
        assert_eq!(
            values(text),
            [
                pair("a", "\"x\" 'y'"),
                pair("b", "C:\\n\\"),
                pair("c", "1 # not a comment ; neither"),
                pair("d", "=:")
            ]
        );
    }

    #[test]
    fn equals_sign_and_colon_both_separate() {
        let text = "[params] # the only one\r\na:1\r\nb : x=y\r\nc = x:y\r\nd=\r\n";
        assert_eq!(
            values(text),
            [
                pair("a", "1"),
                pair("b", "x=y"),
                pair("c", "x:y"),
                pair("d", "")
            ]
        );
    }

    #[test]
    fn an_indented_line_continues_the_value_above() {
        let text = "[params]\npostal =\n  Merlinux GmbH\n\n\t; a comment\n# another\n  [Street] = 1\n  79098\nmail = x\n";
        assert_eq!(
            values(text),
            [
                pair("postal", "Merlinux GmbH\n[Street] = 1\n79098"),
                pair("mail", "x")
            ]
        );
    }

    #[test]
    fn a_byte_order_mark_is_not_part_of_the_first_line() {
        assert_eq!(values("\u{feff}[params]\na = 1\n"), [pair("a", "1")]);
    }

    #[test]
    fn a_faulty_line_is_named() {
        for (text, line) in [
            ("a = 1\n", 1),
            ("[params]\n\nnonsense\n", 3),
            ("[params]\na = 1\na = 1\n", 3),
            ("[params]\n[params]\n", 2),
            ("[params]\n  a = 1\n", 2),
            (" a = 1\n", 1),
            ("[params]\na = 1\n[other]\n  more\n", 4),
            ("[params\n", 1),
            ("[]\n", 1),
            ("[params]\n= 1\n", 2),
        ] {
            assert_eq!(parse(text).unwrap_err().line, line, "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in prop_oneof![any::<String>(), "[\\[\\]a=:# ;\n\t\r\\\\]{0,60}"]) {
            if let Ok(ini) = parse(&text) {
                for entry in &ini.entries {
                    prop_assert!(!entry.key.is_empty());
                    prop_assert!(ini.sections.contains(&entry.section));
                    prop_assert_eq!(entry.value.trim(), &entry.value);
                }
            }
        }
    }
}
