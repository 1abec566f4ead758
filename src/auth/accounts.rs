//! The users of an auth file, and what each must show.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::file::{Fault, Method, User};
use super::locate::Step::{Index, Key};
use super::password::Verifier;
use super::password_hash::PasswordHash;
use super::scram::ScramKeys;

/// Who there is.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Accounts {
    users: BTreeMap<Arc<str>, Account>,
    /// What a password is verified with where there is no user to whom it could belong: as much work as for the user
    /// whose password takes most.
    decoy: Verifier,
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
    /// A proof that it knows a password.
    Scram(ScramKeys),
    /// A certificate.
    Certificate,
    /// Nothing: neither user name nor password.
    Anonymous,
    /// Something else, and wrongly.
    Unauthenticated,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { users: BTreeMap::new(), decoy: Verifier::refusing(), anonymous: None, unauthenticated: None }
    }
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
            if let Account::Password { verifier, .. } = &account
                && verifier.cost() > accounts.decoy.cost()
            {
                accounts.decoy = verifier.decoy();
            }
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
            Method::PasswordHash => return password_hash(entry, index),
            Method::ScramSha256 => return scram_sha_256(entry, index),
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

    /// The name of this user, and what its password is verified with. For a user that is not there, or has no
    /// password, there is a verifier too: it refuses all, and takes no less time.
    pub(super) fn password_of(&self, name: &str) -> (Option<&Arc<str>>, &Verifier) {
        match self.users.get_key_value(name) {
            Some((name, Account::Password { verifier, .. })) => (Some(name), verifier),
            // A certificate speaks for itself: a user who has one is never somebody with a password.
            Some((
                _,
                Account::Scram(_) | Account::Certificate | Account::Anonymous | Account::Unauthenticated,
            ))
            | None => (None, &self.decoy),
        }
    }

    /// What this user proves to know a password with; if there is no such user, keys that hide that, made with
    /// `secret`.
    pub(super) fn scram_keys_of(&self, name: &str, secret: &[u8; 32]) -> Result<ScramKeys, ScramKeys> {
        if let Some(Account::Scram(keys)) = self.users.get(name) {
            return Ok(keys.clone());
        }
        let iterations = self.scram_keys().next().map_or(NonZeroU32::MIN, ScramKeys::iterations);
        Err(ScramKeys::made_up(name, iterations, secret))
    }

    /// Whether there are users who prove to know a password.
    pub(super) fn have_scram_keys(&self) -> bool {
        self.scram_keys().next().is_some()
    }

    fn scram_keys(&self) -> impl Iterator<Item = &ScramKeys> {
        self.users.values().filter_map(|account| match account {
            Account::Scram(keys) => Some(keys),
            Account::Password { .. }
            | Account::Certificate
            | Account::Anonymous
            | Account::Unauthenticated => None,
        })
    }

    /// The name of this user, if there is one.
    pub(super) fn name_of(&self, name: &str) -> Option<Arc<str>> {
        self.users.get_key_value(name).map(|(name, _)| Arc::clone(name))
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

fn password_hash(entry: &User, index: usize) -> Result<Account, Fault> {
    let Some(hash) = &entry.hash else {
        let message =
            format!("the user {:?} of method \"password_hash\" has no `hash`, expected one", entry.name);
        return Err(Fault::at(&[Key("authentication"), Index(index)], message));
    };
    let hash = PasswordHash::parse(hash)
        .map_err(|message| Fault::at(&[Key("authentication"), Index(index), Key("hash")], message))?;
    Ok(Account::Password { verifier: Verifier::Slow(Box::new(hash)), plain: false })
}

fn plain_password(entry: &User, index: usize) -> Result<Account, Fault> {
    let password = entry.password.as_ref().or(entry.digest.as_ref()).ok_or_else(|| {
        let message =
            format!("the user {:?} of method \"plain_password\" has no `password`, expected one", entry.name);
        Fault::at(&[Key("authentication"), Index(index)], message)
    })?;
    Ok(Account::Password { verifier: Verifier::from_password(password), plain: true })
}

fn scram_sha_256(entry: &User, index: usize) -> Result<Account, Fault> {
    let here = [Key("authentication"), Index(index)];
    let missing = |key| {
        let message =
            format!("the user {:?} of method \"scram_sha_256\" has no `{key}`, expected one", entry.name);
        Fault::at(&here, message)
    };
    let decode = |key, value: &Option<String>| {
        let value = value.as_ref().ok_or_else(|| missing(key))?;
        STANDARD.decode(value).ok().filter(|bytes| !bytes.is_empty()).ok_or_else(|| {
            Fault::at(&[here[0], here[1], Key(key)], "not base64, expected some bytes in base64".to_owned())
        })
    };
    let key = |key, value| {
        <[u8; 32]>::try_from(decode(key, value)?).map_err(|bytes| {
            let message = format!("a key of {} bytes, expected 32", bytes.len());
            Fault::at(&[here[0], here[1], Key(key)], message)
        })
    };
    let iterations =
        NonZeroU32::new(entry.iterations.ok_or_else(|| missing("iterations"))?).ok_or_else(|| {
            let message = "0 iterations, expected at least 1".to_owned();
            Fault::at(&[here[0], here[1], Key("iterations")], message)
        })?;
    Ok(Account::Scram(ScramKeys::new(
        decode("salt", &entry.salt)?,
        iterations,
        key("stored_key", &entry.stored_key)?,
        key("server_key", &entry.server_key)?,
    )))
}

/// A warning about keys that have no meaning for the user's method.
fn unused_keys(user: &User) -> Option<String> {
    let User { name, method, digest, password, salt, hash, iterations, stored_key, server_key } = user;
    let meant: &[&str] = match method {
        Method::Sha256 => &["digest", "salt"],
        Method::PlainPassword if password.is_none() => &["digest"],
        Method::PlainPassword => &["password"],
        Method::PasswordHash => &["hash"],
        Method::ScramSha256 => &["salt", "iterations", "stored_key", "server_key"],
        Method::ClientCert | Method::Anonymous | Method::Unauthenticated => &[],
    };
    let unused: Vec<_> = [
        ("digest", digest.is_some()),
        ("password", password.is_some()),
        ("salt", salt.is_some()),
        ("hash", hash.is_some()),
        ("iterations", iterations.is_some()),
        ("stored_key", stored_key.is_some()),
        ("server_key", server_key.is_some()),
    ]
    .into_iter()
    .filter_map(|(key, is_there)| (is_there && !meant.contains(&key)).then_some(key))
    .collect();
    (!unused.is_empty()).then(|| format!("not used by the method of user {name:?}: {}", unused.join(", ")))
}
