//! What a reload of the auth file changed.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// What is different since a reload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ReloadReport {
    /// Users that are new.
    pub users_added: BTreeSet<Arc<str>>,
    /// Users that are gone.
    pub users_removed: BTreeSet<Arc<str>>,
    /// Users that must show something else than before.
    pub users_changed: BTreeSet<Arc<str>>,
    /// Whether the rules are others than before, be it because of a group's members.
    pub rules_changed: bool,
}

impl ReloadReport {
    /// Whether all is as before.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl fmt::Display for ReloadReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing has changed");
        }
        let users = [
            ("users added", &self.users_added),
            ("users removed", &self.users_removed),
            ("users with other credentials", &self.users_changed),
        ];
        for (what, names) in users.into_iter().filter(|(_, names)| !names.is_empty()) {
            write!(f, "{what}: {}; ", Listed(names))?;
        }
        f.write_str(if self.rules_changed { "the rules are others" } else { "the rules are the same" })
    }
}

/// The first of some names, and how many more there are: a line of a log is not a page.
struct Listed<'n>(&'n BTreeSet<Arc<str>>);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 10;
        for (index, name) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{name}", if index == 0 { "" } else { ", " })?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: impl IntoIterator<Item = impl Into<Arc<str>>>) -> BTreeSet<Arc<str>> {
        names.into_iter().map(Into::into).collect()
    }

    #[test]
    fn a_report_names_what_changed() {
        let mut report = ReloadReport::default();
        assert_eq!(report.to_string(), "nothing has changed");
        report.users_added = names(["u1", "u2"]);
        assert_eq!(report.to_string(), "users added: u1, u2; the rules are the same");
        report.rules_changed = true;
        report.users_removed = names((0..12).map(|n| format!("v{n:02}")));
        assert_eq!(
            report.to_string(),
            "users added: u1, u2; users removed: v00, v01, v02, v03, v04, v05, v06, v07, v08, v09 and 2 more; the \
             rules are others"
        );
    }
}
