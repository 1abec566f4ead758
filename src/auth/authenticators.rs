//! The authenticators of one server: most listeners share one, others have their own.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::pool::HashingPool;
use super::{AuthError, AuthSettings, Authenticator, ReloadReport, Reloaded};
use crate::broker::{Policy, PolicyName};

/// Says who clients are, for each of the policies under which they can come.
#[derive(Debug)]
pub struct Authenticators(BTreeMap<PolicyName, Arc<Authenticator>>);

/// What a reload has read for all of them, and what holds once it is [installed](Authenticators::install).
#[derive(Debug)]
pub struct ReloadedAll(Vec<Reloaded>);

impl Authenticators {
    /// Reads what the settings name: `common` for all who come under no policy in particular, whose name is empty, and
    /// `own` for the others. They verify passwords on the same threads.
    pub fn open(
        common: AuthSettings,
        own: impl IntoIterator<Item = (PolicyName, AuthSettings)>,
    ) -> Result<Self, AuthError> {
        let pool = Arc::new(HashingPool::new());
        let all = [(PolicyName::default(), common)].into_iter().chain(own);
        let open =
            |(name, settings)| Ok((name, Arc::new(Authenticator::open_with(settings, Arc::clone(&pool))?)));
        all.map(open).collect::<Result<_, _>>().map(Self)
    }

    /// Who says it under this policy; `None`: there is no such policy.
    pub fn under(&self, policy: &PolicyName) -> Option<&Arc<Authenticator>> {
        self.0.get(policy)
    }

    /// Who may do what, as of now, under which policy.
    pub fn policies(&self) -> impl Iterator<Item = (PolicyName, Arc<Policy>)> {
        self.0.iter().map(|(name, authenticator)| (name.clone(), authenticator.policy()))
    }

    /// Reads all files again, and changes nothing yet. Not for the threads of the runtime.
    pub fn read_again(&self) -> Result<ReloadedAll, AuthError> {
        self.0
            .values()
            .map(|authenticator| authenticator.read_again())
            .collect::<Result<_, _>>()
            .map(ReloadedAll)
    }

    /// From now on what was read again holds. Tells what that has changed, under which policy.
    pub fn install(&self, ReloadedAll(reloaded): ReloadedAll) -> Vec<(PolicyName, ReloadReport)> {
        let changed = self.0.iter().zip(reloaded);
        changed
            .map(|((name, authenticator), reloaded)| (name.clone(), authenticator.install(reloaded)))
            .collect()
    }

    /// Where it is said who may do what, in a sentence for each policy, for the log.
    pub fn describe(&self) -> impl Iterator<Item = String> {
        self.0.iter().map(|(name, authenticator)| match name.as_str() {
            "" => authenticator.describe(),
            _ => format!("for listeners on terms of their own: {}", authenticator.describe()),
        })
    }

    /// What happened how often, by name, under all policies together.
    pub fn counters(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.values().flat_map(|authenticator| authenticator.counters())
    }
}
