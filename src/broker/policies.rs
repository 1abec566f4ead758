//! The policies in force, by name, and what they say about those who have come.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::permissions::{Grants, Identity, Permissions, Policy, PolicyName};
use crate::mqtt::ClientId;

/// All policies.
#[derive(Debug)]
pub(super) struct Policies {
    by_name: BTreeMap<PolicyName, InForce>,
    hasher: FixedState,
}

#[derive(Debug)]
struct InForce {
    policy: Arc<Policy>,
    /// What the policy says, for each identity that has come; as many as it knows. Not used where the policy asks for
    /// more than the identity.
    permissions: HashMap<Identity, Arc<Permissions>, FixedState>,
    /// Whether the policy asks for client identifiers.
    by_client: bool,
}

impl Policies {
    /// One that has no name, and no other.
    pub(super) fn new(policy: Arc<Policy>, seed: u64) -> Self {
        let mut policies = Self { by_name: BTreeMap::new(), hasher: FixedState::with_seed(seed) };
        policies.put(PolicyName::default(), policy);
        policies
    }

    /// From now on this is the policy of that name.
    pub(super) fn put(&mut self, name: PolicyName, policy: Arc<Policy>) {
        let by_client = policy.depends_on_client_id();
        let permissions = HashMap::with_hasher(self.hasher.clone());
        self.by_name.insert(name, InForce { policy, permissions, by_client });
    }

    /// Whether such a client could log in now; `grants` are those of its token, if it has come with one. To a policy that is not there everybody is a
    /// stranger.
    pub(super) fn welcome(&self, name: &PolicyName, identity: &Identity, grants: Option<&Grants>) -> bool {
        self.by_name.get(name).is_some_and(|InForce { policy, .. }| match grants {
            Some(grants) => policy.takes_token_of(grants.key),
            None => policy.knows(identity),
        })
    }

    /// What a client may do.
    pub(super) fn permissions_of(
        &mut self,
        name: &PolicyName,
        identity: &Identity,
        client_id: &ClientId,
        grants: Option<&Grants>,
    ) -> Arc<Permissions> {
        let Some(InForce { policy, permissions, by_client }) = self.by_name.get_mut(name) else {
            let nothing =
                Policy::Rules { rules: Vec::new(), users: BTreeSet::new(), tokens: BTreeSet::new() };
            return Arc::new(nothing.permissions(identity, client_id));
        };
        if *by_client || grants.is_some() {
            return Arc::new(policy.permissions_with(identity, client_id, grants));
        }
        if let Some(permissions) = permissions.get(identity) {
            return Arc::clone(permissions);
        }
        let found = Arc::new(policy.permissions(identity, client_id));
        if policy.knows(identity) {
            permissions.insert(identity.clone(), Arc::clone(&found));
        }
        found
    }
}
