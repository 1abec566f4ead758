//! Who may publish, subscribe to and receive what.
//!
//! A [`Policy`] is the rules for everybody; [`Permissions`] is what of them concerns one client. The last rule that
//! applies decides; where none does, the answer is no. `topic` has the topics of rules, which can name the client.

#[cfg(test)]
mod tests;
mod topic;

use std::collections::BTreeSet;
use std::sync::Arc;

pub use topic::{RuleTopic, RuleTopicError};

use crate::mqtt::{ClientId, TopicFilter, TopicName};

/// Who a client is, as found by authentication. Sessions belong to identities.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// Nobody in particular: there is no auth file, and the door is open.
    Anonymous,
    /// The user of this name.
    User(Arc<str>),
}

/// Which of the policies there are. Clients of one listener may be under another policy than those of the next, and who
/// is known to one is a stranger to the other: a session belongs to an identity under a policy.
///
/// The policy that holds where nothing else is said has the empty name. Names stay the same from run to run.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct PolicyName(Arc<str>);

impl PolicyName {
    /// A policy beside the one that has no name.
    pub fn new(name: &str) -> Self {
        Self(Arc::from(name))
    }

    /// As it was made.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Which key a token is signed with, and how tokens with this key are read. Means something within one run only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TokenKey(pub u64);

/// The names to which a rule's allow or deny applies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Whether it applies to everybody.
    pub any: bool,
    /// The users to whom it applies, groups resolved.
    pub users: BTreeSet<Arc<str>>,
    /// The groups to which it applies, for those whose groups only a token tells.
    pub groups: BTreeSet<Arc<str>>,
}

/// What a token says that its bearer may do, beside what the rules say about its name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Grants {
    /// What the token was verified with.
    pub key: TokenKey,
    /// The groups of which the bearer is a member.
    pub groups: BTreeSet<Arc<str>>,
    /// Where it may publish.
    pub publish: Vec<TopicFilter>,
    /// To what it may subscribe.
    pub subscribe: Vec<TopicFilter>,
    /// What it may receive; `None`: what it may subscribe to.
    pub receive: Option<Vec<TopicFilter>>,
}

impl Names {
    /// Whether nobody is named.
    pub fn is_empty(&self) -> bool {
        !self.any && self.users.is_empty() && self.groups.is_empty()
    }

    fn name(&self, identity: &Identity, grants: Option<&Grants>) -> bool {
        let is_user = match identity {
            Identity::Anonymous => false,
            Identity::User(user) => self.users.contains(user),
        };
        self.any || is_user || grants.is_some_and(|grants| !self.groups.is_disjoint(&grants.groups))
    }
}

/// Whom a rule allows and denies one verb. Somebody named in both is denied.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Verdicts {
    /// To whom it says yes.
    pub allow: Names,
    /// To whom it says no.
    pub deny: Names,
}

impl Verdicts {
    fn about(&self, identity: &Identity, grants: Option<&Grants>) -> Option<bool> {
        if self.deny.name(identity, grants) {
            Some(false)
        } else if self.allow.name(identity, grants) {
            Some(true)
        } else {
            None
        }
    }
}

/// One rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    /// The topics it is about. `$` has no special meaning here: `#` is every topic.
    pub topic: RuleTopic,
    /// Who may publish.
    pub publish: Verdicts,
    /// Who may subscribe.
    pub subscribe: Verdicts,
    /// To whom messages may be delivered.
    pub receive: Verdicts,
}

/// The rules for everybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Everybody may do everything: there is no auth file.
    AllowAll,
    /// The rules of an auth file.
    Rules {
        /// In the order in which they stand there.
        rules: Vec<Rule>,
        /// All the users there are.
        users: BTreeSet<Arc<str>>,
        /// The keys of tokens, which can make somebody a user, too.
        tokens: BTreeSet<TokenKey>,
    },
}

impl Policy {
    /// What of the rules concerns the client of this identity and client identifier.
    pub fn permissions(&self, identity: &Identity, client_id: &ClientId) -> Permissions {
        self.permissions_with(identity, client_id, None)
    }

    /// As [`permissions`](Self::permissions), for a client whom a token grants more. What it grants stands before the
    /// rules, which may deny it.
    pub fn permissions_with(
        &self,
        identity: &Identity,
        client_id: &ClientId,
        grants: Option<&Grants>,
    ) -> Permissions {
        let Self::Rules { rules, .. } = self else {
            let all = || Verb::All { rule: None };
            return Permissions { publish: all(), subscribe: all(), receive: all() };
        };
        let decisions = |verdicts: fn(&Rule) -> &Verdicts, granted: Option<&Vec<TopicFilter>>| {
            let granted = granted.into_iter().flatten().cloned();
            let mut decisions: Vec<Decision> =
                granted.map(|filter| Decision { filter, allow: true, rule: None }).collect();
            for (index, rule) in rules.iter().enumerate() {
                let Some(allow) = verdicts(rule).about(identity, grants) else { continue };
                let Some(filter) = rule.topic.filter_for(identity, client_id) else { continue };
                if filter.as_str() == "#" {
                    decisions.clear(); // What stands before a rule for every topic never decides.
                }
                decisions.push(Decision { filter, allow, rule: Some(index) });
            }
            match decisions.as_slice() {
                [Decision { filter, allow: true, rule }] if filter.as_str() == "#" => {
                    Verb::All { rule: *rule }
                }
                _ => Verb::Decisions(decisions.into()),
            }
        };
        let receive = grants.and_then(|grants| grants.receive.as_ref().or(Some(&grants.subscribe)));
        Permissions {
            publish: decisions(|rule| &rule.publish, grants.map(|grants| &grants.publish)),
            subscribe: decisions(|rule| &rule.subscribe, grants.map(|grants| &grants.subscribe)),
            receive: decisions(|rule| &rule.receive, receive),
        }
    }

    /// Whether two clients of the same identity may be allowed different things.
    pub fn depends_on_client_id(&self) -> bool {
        match self {
            Self::AllowAll => false,
            Self::Rules { rules, .. } => rules.iter().any(|rule| rule.topic.names_the_client()),
        }
    }

    /// Whether such a client could still log in.
    pub fn knows(&self, identity: &Identity) -> bool {
        match (self, identity) {
            (Self::AllowAll, _) => true,
            (Self::Rules { .. }, Identity::Anonymous) => false,
            (Self::Rules { users, .. }, Identity::User(user)) => users.contains(user),
        }
    }

    /// Whether a client with a token of this key could still log in.
    pub fn takes_token_of(&self, key: TokenKey) -> bool {
        match self {
            Self::AllowAll => true,
            Self::Rules { tokens, .. } => tokens.contains(&key),
        }
    }
}

/// What one client may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    publish: Verb,
    subscribe: Verb,
    receive: Verb,
}

/// An answer of the rules, and which of them gave it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ruling {
    /// Whether the answer is yes.
    pub allowed: bool,
    /// The index of the rule that decided, in the order of the file; `None`: there was none, and the answer follows
    /// from that.
    pub rule: Option<usize>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verb {
    All { rule: Option<usize> },
    Decisions(Box<[Decision]>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Decision {
    filter: TopicFilter,
    allow: bool,
    /// `None`: a token's grant.
    rule: Option<usize>,
}

impl Verb {
    fn about(&self, topic: &TopicName) -> Ruling {
        let decisions = match self {
            Self::All { rule } => return Ruling { allowed: true, rule: *rule },
            Self::Decisions(decisions) => decisions,
        };
        decisions.iter().rev().find(|decision| decision.filter.matches_any(topic.as_str())).map_or(
            Ruling { allowed: false, rule: None },
            |decision| Ruling { allowed: decision.allow, rule: decision.rule },
        )
    }
}

impl Permissions {
    /// Whether a message may be published to `topic`.
    pub fn may_publish(&self, topic: &TopicName) -> bool {
        self.rule_on_publishing(topic).allowed
    }

    /// Whether a message published to `topic` may be delivered.
    pub fn may_receive(&self, topic: &TopicName) -> bool {
        self.rule_on_receiving(topic).allowed
    }

    /// Whether `filter` may be subscribed to: whether there is a topic under it that may be subscribed to, as far as
    /// the rules one by one can tell. A rule that denies only a part of the topics leaves the subscription standing;
    /// the messages of that part are withheld at delivery.
    pub fn may_subscribe(&self, filter: &TopicFilter) -> bool {
        self.rule_on_subscribing(filter).allowed
    }

    /// As [`may_publish`](Self::may_publish), with the rule that decides.
    pub fn rule_on_publishing(&self, topic: &TopicName) -> Ruling {
        self.publish.about(topic)
    }

    /// As [`may_receive`](Self::may_receive), with the rule that decides.
    pub fn rule_on_receiving(&self, topic: &TopicName) -> Ruling {
        self.receive.about(topic)
    }

    /// As [`may_subscribe`](Self::may_subscribe), with the rule that decides.
    pub fn rule_on_subscribing(&self, filter: &TopicFilter) -> Ruling {
        let decisions = match &self.subscribe {
            Verb::All { rule } => return Ruling { allowed: true, rule: *rule },
            Verb::Decisions(decisions) => decisions,
        };
        decisions.iter().fold(Ruling { allowed: false, rule: None }, |before, decision| {
            let decides = if decision.allow {
                overlaps(&decision.filter, filter)
            } else {
                covers(&decision.filter, filter)
            };
            if decides { Ruling { allowed: decision.allow, rule: decision.rule } } else { before }
        })
    }
}

/// Whether there is a topic name that matches both filters.
fn overlaps(one: &TopicFilter, other: &TopicFilter) -> bool {
    let (mut ones, mut others) = (one.levels(), other.levels());
    loop {
        match (ones.next(), others.next()) {
            (Some("#"), _) | (_, Some("#")) | (None, None) => return true,
            (Some("+"), Some(_)) | (Some(_), Some("+")) => {}
            (Some(level), Some(other)) if level == other => {}
            _ => return false,
        }
    }
}

/// Whether each topic name that matches `inner` matches `outer` too.
fn covers(outer: &TopicFilter, inner: &TopicFilter) -> bool {
    let (mut outers, mut inners) = (outer.levels(), inner.levels());
    loop {
        match (outers.next(), inners.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some("+"), Some(level)) if level != "#" => {}
            (Some(level), Some(other)) if level == other => {}
            _ => return false,
        }
    }
}
