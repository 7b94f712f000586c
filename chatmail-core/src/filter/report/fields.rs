//! Collects header fields from lines: those of a part, of a delivery status, of a returned message.

use super::super::mime;
use super::super::verdict::Reason;

/// What to do with a field that exceeds the limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Long {
    Refuse,
    /// Pass on its beginning.
    Cut,
}

/// A field that is not complete yet.
#[derive(Debug)]
pub(super) struct Fields {
    /// Its lines, with LF between them.
    text: Vec<u8>,
    most: usize,
    long: Long,
    is_cut: bool,
    reason: Reason,
}

/// One field.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field<'f> {
    pub(super) name: &'f [u8],
    /// With its folds, as LF and white space.
    pub(super) value: &'f [u8],
    /// The rest of the value is missing.
    pub(super) is_cut: bool,
}

impl Fields {
    /// Keeps `most` bytes of a field. `reason` is for lines that are not one.
    pub(super) fn new(most: usize, long: Long, reason: Reason) -> Fields {
        Fields {
            text: Vec::new(),
            most,
            long,
            is_cut: false,
            reason,
        }
    }

    /// Takes one line, and hands on the field that ended before it. `true`: the line is empty.
    pub(super) fn line(
        &mut self,
        line: &[u8],
        read: impl FnMut(Field<'_>) -> Result<(), Reason>,
    ) -> Result<bool, Reason> {
        // Some programs read it as white space, others as a line end.
        if mime::has_control(line) {
            return Err(self.reason.clone());
        }
        if matches!(line, [b' ' | b'\t', ..]) {
            // Mail programs differ on an empty fold, and on one that continues nothing.
            if self.text.is_empty() || line.trim_ascii().is_empty() {
                return Err(self.reason.clone());
            }
            self.keep(b"\n")?;
        } else {
            self.end(read)?;
        }
        self.keep(line)?;
        Ok(line.is_empty())
    }

    /// The input has ended: passes on the last field.
    pub(super) fn end(
        &mut self,
        mut read: impl FnMut(Field<'_>) -> Result<(), Reason>,
    ) -> Result<(), Reason> {
        if self.text.is_empty() {
            return Ok(());
        }
        let colon = memchr::memchr(b':', &self.text).ok_or_else(|| self.reason.clone())?;
        let (name, value) = self.text.split_at(colon);
        // Some programs accept a space after the name, for others the header ends there.
        if name.is_empty() || !name.iter().all(u8::is_ascii_graphic) {
            return Err(self.reason.clone());
        }
        read(Field {
            name,
            value: value.get(1..).unwrap_or_default(),
            is_cut: self.is_cut,
        })?;
        self.text.clear();
        self.is_cut = false;
        Ok(())
    }

    fn keep(&mut self, line: &[u8]) -> Result<(), Reason> {
        let room = self.most.saturating_sub(self.text.len());
        if line.len() > room {
            if self.long == Long::Refuse {
                return Err(self.reason.clone());
            }
            self.is_cut = true;
        }
        self.text.extend(line.iter().take(room));
        Ok(())
    }
}
