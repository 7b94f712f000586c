//! The `chatmail.ini` of an instance: the operator's text, with the values replaced that the instance must own.

/// One value that the instance sets.
pub(crate) struct Setting {
    key: &'static str,
    value: String,
    /// Whether a value of the operator's goes first.
    only_if_absent: bool,
}

impl Setting {
    /// The instance's value, whatever the operator's file says.
    pub(crate) fn owned(key: &'static str, value: impl Into<String>) -> Setting {
        Setting {
            key,
            value: value.into(),
            only_if_absent: false,
        }
    }

    /// The instance's value if the operator's file says nothing.
    pub(crate) fn default(key: &'static str, value: impl Into<String>) -> Setting {
        Setting {
            key,
            value: value.into(),
            only_if_absent: true,
        }
    }
}

/// Applies the settings to a text. Comments, order and all other keys stay as they are; keys the text does not have
/// go to the end of its section `[params]`, which is added if there is none.
pub(crate) fn with_settings(text: &str, settings: &[Setting]) -> String {
    let mut lines: Vec<String> = Vec::new();
    let mut present: Vec<&'static str> = Vec::new();
    let mut in_params = false;
    let mut end_of_params = None;
    for line in text.lines() {
        if let Some(section) = section(line) {
            in_params = section == "params";
        }
        let setting = settings
            .iter()
            .find(|s| in_params && key(line) == Some(s.key));
        match setting {
            Some(setting) if setting.only_if_absent => {
                present.push(setting.key);
                lines.push(line.to_owned());
            }
            // Of a key given twice, one line is enough.
            Some(setting) if present.contains(&setting.key) => {}
            Some(setting) => {
                present.push(setting.key);
                lines.push(format!("{} = {}", setting.key, setting.value));
            }
            None => lines.push(line.to_owned()),
        }
        if in_params {
            end_of_params = Some(lines.len());
        }
    }
    let at = end_of_params.unwrap_or_else(|| {
        lines.push("[params]".to_owned());
        lines.len()
    });
    let absent = settings.iter().filter(|s| !present.contains(&s.key));
    let added: Vec<String> = absent.map(|s| format!("{} = {}", s.key, s.value)).collect();
    if !added.is_empty() {
        let heading = "# Set by cargo xtask relay for this private instance:".to_owned();
        lines.splice(at..at, std::iter::once(heading).chain(added));
    }
    lines.join("\n") + "\n"
}

/// The value of a key in the section `[params]`.
pub(crate) fn value<'t>(text: &'t str, wanted: &str) -> Option<&'t str> {
    let mut in_params = false;
    let mut found = None;
    for line in text.lines() {
        if let Some(section) = section(line) {
            in_params = section == "params";
        }
        if in_params && key(line) == Some(wanted) {
            found = line
                .find(['=', ':'])
                .and_then(|at| line.get(at + 1..))
                .map(str::trim);
        }
    }
    found
}

fn section(line: &str) -> Option<&str> {
    line.trim()
        .strip_prefix('[')?
        .split_once(']')
        .map(|(name, _)| name.trim())
}

fn key(line: &str) -> Option<&str> {
    let line = line.trim();
    if line.starts_with(['#', ';', '[']) {
        return None;
    }
    line.find(['=', ':'])
        .and_then(|at| line.get(..at))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPERATOR: &str = "# ours\n[params]\nmail_domain = relay.example\nmax_load_1m: 3\nsomething_new = 1\n\n[other]\npush_url = kept\n";

    #[test]
    fn the_operators_lines_stay_and_the_instances_values_win() {
        let settings = [
            Setting::owned("mail_domain", "chat.test"),
            Setting::owned("push_url", "http://x/"),
            Setting::default("max_load_1m", "1000"),
        ];
        let made = with_settings(OPERATOR, &settings);
        assert_eq!(
            made,
            "# ours\n[params]\nmail_domain = chat.test\nmax_load_1m: 3\nsomething_new = 1\n\n\
             # Set by cargo xtask relay for this private instance:\npush_url = http://x/\n[other]\npush_url = kept\n"
        );
        assert_eq!(value(&made, "push_url"), Some("http://x/"));
        assert_eq!(value(&made, "max_load_1m"), Some("3"));
        assert_eq!(value(&made, "nothing"), None);
    }

    #[test]
    fn an_empty_text_becomes_one_section() {
        let made = with_settings("", &[Setting::owned("mail_domain", "chat.test")]);
        assert_eq!(value(&made, "mail_domain"), Some("chat.test"));
        assert!(made.starts_with("[params]\n"));
    }
}
