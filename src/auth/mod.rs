//! Who is it, and what may it do: the auth file, passwords, and the rules that follow from them.
//!
//! An [`Authenticator`] stands for one source of truth: an auth file, or the decision to do without one. It says
//! who a client is; what that one may do is in its [`Policy`], which the broker applies. It knows neither
//! connections nor sessions.
//!
//! Start with [`Authenticator::authenticate`]; `file` has the format, `accounts` the users, `rules` the rules, `command`
//! what operators can ask and have made.

mod accounts;
mod authenticators;
pub mod command;
pub mod enhanced;
mod error;
mod file;
mod jwt;
mod locate;
mod password;
mod password_hash;
mod pool;
mod reload;
mod rules;
mod scram;
mod throttle;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Once, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use tokio::time;
use tracing::{debug, warn};

pub use authenticators::{Authenticators, ReloadedAll};
pub use enhanced::{Exchange, Opening, Step};
pub use error::AuthError;
pub use reload::ReloadReport;

use accounts::Accounts;
use file::AuthFile;
use jwt::{Bearer, TokenVerifier};
use pool::{HashingPool, NotComputed};
use throttle::{Guess, Throttle, TooMany, Turn};

use crate::broker::{Grants, Identity, Policy};
use crate::mqtt::ReasonCode;
use crate::mqtt::packet::Password;

/// Where it is said who may do what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AuthSettings {
    /// In this file, which must be there.
    File(PathBuf),
    /// In this file if it is there. If not, clients of this host may do everything, and others nothing.
    FileIfPresent(PathBuf),
    /// Nowhere: everybody may do everything.
    Everybody {
        /// The file that must not be there, as it would say otherwise; `None`: there may be any.
        unless: Option<PathBuf>,
    },
}

/// A client's attempt to connect.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// Where it comes from.
    pub origin: Origin,
    /// Who it is according to its certificate, where it has shown one that was verified.
    pub certificate: Option<Arc<str>>,
    /// The user name of its CONNECT.
    pub username: Option<Arc<str>>,
    /// The password of its CONNECT.
    pub password: Option<Password>,
}

/// Where a connection comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// From this address.
    Ip(IpAddr),
    /// Over a Unix socket.
    Unix,
}

impl Origin {
    fn is_this_host(self) -> bool {
        match self {
            Self::Ip(address) => address.to_canonical().is_loopback(),
            Self::Unix => true,
        }
    }
}

/// A client that may come in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Login {
    /// Who it is.
    pub identity: Identity,
    /// For how long that holds, from now on; `None`: as long as the connection.
    pub lifetime: Option<Duration>,
    /// What its token grants, if it came with one.
    pub grants: Option<Arc<Grants>>,
}

impl From<Identity> for Login {
    fn from(identity: Identity) -> Self {
        Self { identity, lifetime: None, grants: None }
    }
}

/// Why a client is not let in. Tells nothing that would help to guess users or passwords.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// For CONNACK.
    pub reason: ReasonCode,
    /// A sentence, for the client's reason string and for the log.
    pub detail: String,
}

impl Refusal {
    fn new(reason: ReasonCode, detail: &str) -> Self {
        Self { reason, detail: detail.to_owned() }
    }
}

impl From<NotComputed> for Refusal {
    fn from(why: NotComputed) -> Self {
        match why {
            NotComputed::Busy => Self::new(ReasonCode::ServerBusy, "too many logins wait to be verified"),
            NotComputed::Failed => Self::new(ReasonCode::UnspecifiedError, "the login could not be verified"),
        }
    }
}

/// Says who a client is.
#[derive(Debug)]
pub struct Authenticator {
    settings: AuthSettings,
    state: RwLock<Arc<State>>,
    pool: Arc<HashingPool>,
    throttle: Throttle,
    /// Makes up what is shown of users that are not there.
    secret: [u8; 32],
    /// The first client turned away for want of an auth file is worth a warning; the others could flood the log.
    turned_away: Once,
}

impl Authenticator {
    /// Reads what `settings` name.
    pub fn open(settings: AuthSettings) -> Result<Self, AuthError> {
        Self::open_with(settings, Arc::new(HashingPool::new()))
    }

    fn open_with(settings: AuthSettings, pool: Arc<HashingPool>) -> Result<Self, AuthError> {
        let state = State::load(&settings)?;
        Ok(Self {
            settings,
            state: RwLock::new(Arc::new(state)),
            pool,
            throttle: Throttle::new(),
            secret: unpredictable(),
            turned_away: Once::new(),
        })
    }

    /// Who makes this attempt, if it is somebody who may come in.
    ///
    /// The future may be dropped at any time. Where it has to compute it does so on threads for blocking work.
    pub async fn authenticate(&self, attempt: Attempt) -> Result<Login, Refusal> {
        let state = self.current();
        let Doors::Guarded { accounts, .. } = &state.doors else {
            return match state.doors {
                Doors::ThisHost if !attempt.origin.is_this_host() => Err(self.turn_away(attempt.origin)),
                Doors::Open | Doors::ThisHost | Doors::Guarded { .. } => Ok(Identity::Anonymous.into()),
            };
        };
        let certified = attempt.certificate.and_then(|name| accounts.certified(&name));
        let user = match (attempt.username, attempt.password) {
            // The certificate says who it is, and a password would add nothing to that.
            (None, _) if certified.is_some() => certified.cloned(),
            // A user name may confirm it. Another is a contradiction: it is nobody, whatever its password.
            (Some(username), _) if certified.is_some() => {
                certified.filter(|user| ***user == *username).cloned()
            }
            (None, None) => accounts.anonymous().cloned(),
            (username, Some(password)) if state.takes_as_token(username.as_deref(), &password) => {
                match self.verify_token(&state, attempt.origin, username.as_deref(), password.0).await {
                    Ok(login) if username.is_none_or(|name| login.identity == Identity::User(name)) => {
                        return Ok(login);
                    }
                    Err(refusal) if refusal.reason != ReasonCode::NotAuthorized => return Err(refusal),
                    Ok(_) | Err(_) => None,
                }
            }
            (Some(username), Some(password)) => {
                self.verify(Arc::clone(&state), attempt.origin, username, password).await?
            }
            // A name alone would be that of a certificate, and there is none: who has no certificate has no name.
            (Some(_), None) | (None, Some(_)) => None,
        };
        match user.or_else(|| accounts.unauthenticated().cloned()) {
            Some(user) => Ok(Identity::User(user).into()),
            None => Err(Refusal::new(
                ReasonCode::NotAuthorized,
                "the user name and the password are not those of a user",
            )),
        }
    }

    /// Who the bearer of a token is. Attempts are throttled under `name`; without one under what the token says, so that
    /// a device whose token has expired keeps none of its neighbours out.
    async fn verify_token(
        &self,
        state: &State,
        origin: Origin,
        name: Option<&str>,
        token: Bytes,
    ) -> Result<Login, Refusal> {
        let Some(tokens) = state.tokens().cloned() else {
            return Err(Refusal::new(ReasonCode::BadAuthenticationMethod, "tokens are not taken"));
        };
        let guess = match name {
            Some(name) => self.throttle.guess(origin, name),
            None => self.throttle.guess(origin, jwt::signed_part(&token)),
        };
        let verified = self.compute(guess, 0, move || tokens.verify(&token, SystemTime::now())).await?;
        match verified {
            Ok(Bearer { user, lifetime, grants }) => {
                self.throttle.succeeded(guess);
                let (identity, grants) = (Identity::User(user), Some(Arc::new(grants)));
                Ok(Login { identity, lifetime: Some(lifetime), grants })
            }
            Err(why) => {
                debug!(name = ?name.map(shortened), why, "a token is refused");
                self.throttle.failed(guess, Instant::now());
                Err(Refusal::new(ReasonCode::NotAuthorized, "the token is not valid"))
            }
        }
    }

    fn turn_away(&self, origin: Origin) -> Refusal {
        let detail = "the broker has no auth file and serves only clients of its own host; to serve others it needs \
                      an auth file (--auth-file) or --allow-anonymous";
        self.turned_away.call_once(|| warn!(?origin, "client refused, as will be all others: {detail}"));
        Refusal { reason: ReasonCode::NotAuthorized, detail: detail.to_owned() }
    }

    async fn verify(
        &self,
        state: Arc<State>,
        origin: Origin,
        username: Arc<str>,
        password: Password,
    ) -> Result<Option<Arc<str>>, Refusal> {
        let Some(accounts) = state.accounts() else { return Ok(None) };
        let guess = self.throttle.guess(origin, &username);
        let (user, verifier) = accounts.password_of(&username);
        let (user, verifier) = (user.cloned(), verifier.clone());
        let is_right = self.compute(guess, verifier.memory(), move || verifier.verifies(&password)).await?;
        if is_right && user.is_some() {
            self.throttle.succeeded(guess);
            return Ok(user);
        }
        debug!(username = ?shortened(&username), "wrong user name or password");
        self.throttle.failed(guess, Instant::now());
        Ok(None)
    }

    /// Computes what tells whether a guess is right, which takes so many KiB, when its turn has come.
    async fn compute<T: Send + 'static>(
        &self,
        guess: Guess,
        memory: u32,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let mut turn = self.wait_for_turn(guess).await?;
        loop {
            let seat = self.pool.enter(memory).await?;
            // It may have waited for long, among many that have come to nothing since.
            if self.throttle.holds(&turn, Instant::now()) {
                return Ok(seat.compute(work).await?);
            }
            drop(seat);
            turn = self.wait_for_another(&turn).await?;
        }
    }

    /// Has whoever failed before wait.
    async fn wait_for_turn(&self, guess: Guess) -> Result<Turn, Refusal> {
        Self::wait_for(self.throttle.admit(guess, Instant::now())).await
    }

    /// Has whoever has missed its turn wait for another.
    async fn wait_for_another(&self, missed: &Turn) -> Result<Turn, Refusal> {
        Self::wait_for(self.throttle.admit_again(missed, Instant::now())).await
    }

    async fn wait_for(turn: Result<Turn, TooMany>) -> Result<Turn, Refusal> {
        match turn {
            Ok(turn) => {
                if !turn.wait.is_zero() {
                    time::sleep(turn.wait).await;
                }
                Ok(turn)
            }
            Err(TooMany) => Err(Refusal {
                reason: ReasonCode::ConnectionRateExceeded,
                detail: "too many attempts have failed; try again later".to_owned(),
            }),
        }
    }

    /// What happened how often, by name.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.throttle.counters().into_iter()
    }

    /// Who may do what, as of now.
    pub fn policy(&self) -> Arc<Policy> {
        Arc::clone(&self.current().policy)
    }

    /// Reads the auth file again, and changes nothing yet.
    ///
    /// An auth file that has come to be since the start is taken; one that has gone is missed. Reads a file: not for
    /// the threads of the runtime.
    pub fn read_again(&self) -> Result<Reloaded, AuthError> {
        let settings = match (&self.settings, &self.current().doors) {
            (AuthSettings::FileIfPresent(path), Doors::Guarded { .. }) => &AuthSettings::File(path.clone()),
            (settings, _) => settings,
        };
        State::load(settings).map(Reloaded)
    }

    /// From now on what was read again holds. Tells what that has changed.
    pub fn install(&self, Reloaded(new): Reloaded) -> ReloadReport {
        let new = Arc::new(new);
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *state, Arc::clone(&new));
        drop(state);
        new.changes_since(&old)
    }

    /// Where it is said who may do what, in a sentence for the log.
    pub fn describe(&self) -> String {
        let state = self.current();
        match &state.doors {
            Doors::Open => "everybody may do everything (--allow-anonymous)".to_owned(),
            Doors::ThisHost => {
                "there is no auth file: clients of this host may do everything, others are refused (an auth file or \
                 --allow-anonymous changes that)"
                    .to_owned()
            }
            Doors::Guarded { path, accounts, groups, .. } => {
                let rules = match &*state.policy {
                    Policy::AllowAll => 0,
                    Policy::Rules { rules, .. } => rules.len(),
                };
                let users = accounts.names().len();
                format!("who may do what is said by {} (users: {users}, groups: {groups}, rules: {rules})", path.display())
            }
        }
    }

    fn current(&self) -> Arc<State> {
        Arc::clone(&self.state.read().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a reload has read, and what holds once it is [installed](Authenticator::install).
#[derive(Debug)]
pub struct Reloaded(State);

/// What holds from one reload to the next.
#[derive(Debug)]
struct State {
    doors: Doors,
    policy: Arc<Policy>,
}

/// Who may come in.
enum Doors {
    /// Everybody.
    Open,
    /// Clients of this host.
    ThisHost,
    /// The users of a file.
    Guarded { path: PathBuf, accounts: Accounts, tokens: Option<Arc<TokenVerifier>>, groups: usize },
}

impl std::fmt::Debug for Doors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open => f.write_str("Open"),
            Self::ThisHost => f.write_str("ThisHost"),
            Self::Guarded { path, .. } => {
                f.debug_struct("Guarded").field("path", path).finish_non_exhaustive()
            }
        }
    }
}

impl State {
    fn load(settings: &AuthSettings) -> Result<Self, AuthError> {
        let doors = match settings {
            AuthSettings::File(path) => return Self::guarded(path),
            AuthSettings::FileIfPresent(path) if file::is_there(path)? => return Self::guarded(path),
            AuthSettings::FileIfPresent(_) => Doors::ThisHost,
            AuthSettings::Everybody { unless: Some(path) } if file::is_there(path)? => {
                return Err(AuthError::Contradiction { path: path.clone() });
            }
            AuthSettings::Everybody { .. } => Doors::Open,
        };
        Ok(Self { doors, policy: Arc::new(Policy::AllowAll) })
    }

    fn guarded(path: &Path) -> Result<Self, AuthError> {
        let AuthFile { accounts, policy, groups, tokens, warnings } = AuthFile::read(path)?;
        for warning in warnings {
            warn!(file = %path.display(), "{warning}");
        }
        Ok(Self {
            doors: Doors::Guarded { path: path.to_owned(), accounts, tokens: tokens.map(Arc::new), groups },
            policy: Arc::new(policy),
        })
    }

    fn changes_since(&self, old: &Self) -> ReloadReport {
        let nobody = Accounts::default();
        let (ours, theirs) = (self.accounts().unwrap_or(&nobody), old.accounts().unwrap_or(&nobody));
        let (names, old_names) = (ours.names(), theirs.names());
        ReloadReport {
            users_added: names.difference(&old_names).cloned().collect(),
            users_removed: old_names.difference(&names).cloned().collect(),
            users_changed: ours.changed_in(theirs),
            rules_changed: match (&*self.policy, &*old.policy) {
                (Policy::Rules { rules, .. }, Policy::Rules { rules: old, .. }) => rules != old,
                (new, old) => new != old,
            },
        }
    }

    fn tokens(&self) -> Option<&Arc<TokenVerifier>> {
        match &self.doors {
            Doors::Open | Doors::ThisHost => None,
            Doors::Guarded { tokens, .. } => tokens.as_ref(),
        }
    }

    /// Whether a password is looked at as a token: where tokens are taken, if it looks like one, and is not that of a
    /// user who has another.
    fn takes_as_token(&self, username: Option<&str>, password: &Password) -> bool {
        let has_password =
            |name| self.accounts().is_some_and(|accounts| accounts.password_of(name).0.is_some());
        self.tokens().is_some() && jwt::looks_like_token(&password.0) && !username.is_some_and(has_password)
    }

    fn accounts(&self) -> Option<&Accounts> {
        match &self.doors {
            Doors::Open | Doors::ThisHost => None,
            Doors::Guarded { accounts, .. } => Some(accounts),
        }
    }
}

/// Bytes that clients cannot guess: the standard library keys its hash tables from the system's random source.
fn unpredictable() -> [u8; 32] {
    let mut bytes = [0; 32];
    for part in bytes.as_chunks_mut::<8>().0 {
        *part = RandomState::new().hash_one(()).to_ne_bytes();
    }
    bytes
}

/// What of a name is logged: whoever connects can make it as long as MQTT allows.
fn shortened(name: &str) -> &str {
    const SHOWN: usize = 64;
    name.char_indices().nth(SHOWN).and_then(|(end, _)| name.get(..end)).unwrap_or(name)
}

#[cfg(test)]
mod tests;
