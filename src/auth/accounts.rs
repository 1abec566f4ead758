//! The users of an auth file, and what each must show.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::file::{Fault, Method, User};
use super::locate::Step::{Index, Key};
use super::password::Verifier;
use crate::mqtt::packet::Password;

/// Who there is.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Accounts {
    users: BTreeMap<Arc<str>, Account>,
    anonymous: Option<Arc<str>>,
    unauthenticated: Option<Arc<str>>,
}

/// What a client must show to be a user.
#[derive(Clone, PartialEq, Eq)]
enum Account {
    /// A password.
    Password {
        verifier: Verifier,
        /// Whether it can be read in the file.
        plain: bool,
    },
    /// A certificate.
    Certificate,
    /// Nothing: neither user name nor password.
    Anonymous,
    /// Something else, and wrongly.
    Unauthenticated,
}

impl Accounts {
    /// The users of these entries.
    pub(super) fn build(entries: &[User], warnings: &mut Vec<String>) -> Result<Self, Fault> {
        let mut accounts = Self::default();
        let mut declared = BTreeMap::new();
        let mut unsalted = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let here = [Key("authentication"), Index(index), Key("name")];
            check_user_name(&entry.name).map_err(|message| Fault::at(&here, message))?;
            let name: Arc<str> = Arc::from(entry.name.as_str());
            match declared.entry(entry.name.as_str()) {
                Entry::Vacant(vacant) => vacant.insert(index),
                Entry::Occupied(first) => {
                    let first = [Key("authentication"), Index(*first.get()), Key("name")];
                    let message = format!("the user {name:?} is declared twice, expected each user once");
                    return Err(Fault::at(&here, message).because_of(&first));
                }
            };
            if entry.method == Method::Sha256 && entry.salt.as_deref().unwrap_or_default().is_empty() {
                unsalted.push(&*entry.name);
            }
            warnings.extend(unused_keys(entry));
            let account = accounts.account(entry, index, &name, &declared)?;
            accounts.users.insert(name, account);
        }
        if !unsalted.is_empty() {
            warnings.push(format!(
                "passwords without a salt are easily guessed from their digests: {}",
                unsalted.join(", ")
            ));
        }
        Ok(accounts)
    }

    fn account(
        &mut self,
        entry: &User,
        index: usize,
        name: &Arc<str>,
        declared: &BTreeMap<&str, usize>,
    ) -> Result<Account, Fault> {
        let single = match entry.method {
            Method::Sha256 => return sha256(entry, index),
            Method::PlainPassword => return plain_password(entry, index),
            Method::ClientCert => return Ok(Account::Certificate),
            Method::Anonymous => &mut self.anonymous,
            Method::Unauthenticated => &mut self.unauthenticated,
        };
        if let Some(first) = single {
            let method = if entry.method == Method::Anonymous { "anonymous" } else { "unauthenticated" };
            let message = format!("a second user of method {method:?}, expected one at most");
            let fault = Fault::at(&[Key("authentication"), Index(index), Key("method")], message);
            return Err(match declared.get(&**first) {
                Some(first) => fault.because_of(&[Key("authentication"), Index(*first), Key("method")]),
                None => fault,
            });
        }
        *single = Some(Arc::clone(name));
        Ok(if entry.method == Method::Anonymous { Account::Anonymous } else { Account::Unauthenticated })
    }

    /// Whether there is a user of this name.
    pub(super) fn knows(&self, name: &str) -> bool {
        self.users.contains_key(name)
    }

    /// The names of all users.
    pub(super) fn names(&self) -> BTreeSet<Arc<str>> {
        self.users.keys().cloned().collect()
    }

    /// The users that `other` has too, but with other credentials.
    pub(super) fn changed_in(&self, other: &Self) -> BTreeSet<Arc<str>> {
        let changed = |(name, account): &(&Arc<str>, &Account)| {
            other.users.get(&***name).is_some_and(|theirs| theirs != *account)
        };
        self.users.iter().filter(changed).map(|(name, _)| Arc::clone(name)).collect()
    }

    /// Whether the file tells a password.
    pub(super) fn has_plain_passwords(&self) -> bool {
        self.users.values().any(|account| matches!(account, Account::Password { plain: true, .. }))
    }

    /// The user that clients are who say nothing about themselves.
    pub(super) fn anonymous(&self) -> Option<&Arc<str>> {
        self.anonymous.as_ref()
    }

    /// The user that clients are who are nobody else.
    pub(super) fn unauthenticated(&self) -> Option<&Arc<str>> {
        self.unauthenticated.as_ref()
    }

    /// The user of this name, if it shows so by a certificate.
    pub(super) fn certified(&self, name: &str) -> Option<&Arc<str>> {
        let (name, account) = self.users.get_key_value(name)?;
        matches!(account, Account::Certificate).then_some(name)
    }

    /// The user of this name, if it has this password. Takes no less time for a user that is not there.
    ///
    /// It computes: not for the threads of the runtime.
    pub(super) fn verify(&self, name: &str, password: &Password) -> Option<Arc<str>> {
        match self.users.get_key_value(name) {
            Some((name, Account::Password { verifier, .. })) => {
                verifier.verifies(password).then(|| Arc::clone(name))
            }
            // A certificate speaks for itself: a user who has one is never somebody with a password.
            Some((_, Account::Certificate | Account::Anonymous | Account::Unauthenticated)) | None => {
                std::hint::black_box(Verifier::refusing().verifies(password));
                None
            }
        }
    }
}

fn check_user_name(name: &str) -> Result<(), String> {
    if name.is_empty() {
        Err("an empty user name, expected at least one character".to_owned())
    } else if name.starts_with('@') {
        Err(format!("the user name {name:?} begins with @, expected that of group names only"))
    } else {
        Ok(())
    }
}

fn sha256(entry: &User, index: usize) -> Result<Account, Fault> {
    let Some(digest) = &entry.digest else {
        let message = format!("the user {:?} of method \"sha256\" has no `digest`, expected one", entry.name);
        return Err(Fault::at(&[Key("authentication"), Index(index)], message));
    };
    let salt = entry.salt.as_deref().unwrap_or_default();
    let verifier = Verifier::from_digest(salt, digest).ok_or_else(|| {
        let message = "not a digest, expected the 64 hexadecimal digits of a SHA-256".to_owned();
        Fault::at(&[Key("authentication"), Index(index), Key("digest")], message)
    })?;
    Ok(Account::Password { verifier, plain: false })
}

fn plain_password(entry: &User, index: usize) -> Result<Account, Fault> {
    let password = entry.password.as_ref().or(entry.digest.as_ref()).ok_or_else(|| {
        let message =
            format!("the user {:?} of method \"plain_password\" has no `password`, expected one", entry.name);
        Fault::at(&[Key("authentication"), Index(index)], message)
    })?;
    Ok(Account::Password { verifier: Verifier::from_password(password), plain: true })
}

/// A warning about keys that have no meaning for the user's method.
fn unused_keys(User { name, method, digest, password, salt }: &User) -> Option<String> {
    let (uses_digest, uses_password, uses_salt) = match method {
        Method::Sha256 => (true, false, true),
        Method::PlainPassword => (password.is_none(), true, false),
        Method::ClientCert | Method::Anonymous | Method::Unauthenticated => (false, false, false),
    };
    let unused: Vec<_> = [
        ("digest", digest.is_some() && !uses_digest),
        ("password", password.is_some() && !uses_password),
        ("salt", salt.is_some() && !uses_salt),
    ]
    .into_iter()
    .filter_map(|(key, unused)| unused.then_some(key))
    .collect();
    (!unused.is_empty()).then(|| format!("not used by the method of user {name:?}: {}", unused.join(", ")))
}
