//! Who may publish, subscribe to and receive what.
//!
//! A [`Policy`] is the rules for everybody; [`Permissions`] is what of them concerns one identity. The last rule
//! that applies decides; where none does, the answer is no.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::mqtt::{TopicFilter, TopicName};

/// Who a client is, as found by authentication. Sessions belong to identities.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Identity {
    /// Nobody in particular: there is no auth file, and the door is open.
    Anonymous,
    /// The user of this name.
    User(Arc<str>),
}

/// The names to which a rule's allow or deny applies.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Names {
    /// Whether it applies to everybody.
    pub any: bool,
    /// The users to whom it applies, groups resolved.
    pub users: BTreeSet<Arc<str>>,
}

impl Names {
    /// Whether nobody is named.
    pub fn is_empty(&self) -> bool {
        !self.any && self.users.is_empty()
    }

    fn name(&self, identity: &Identity) -> bool {
        match identity {
            Identity::Anonymous => self.any,
            Identity::User(user) => self.any || self.users.contains(user),
        }
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
    fn about(&self, identity: &Identity) -> Option<bool> {
        if self.deny.name(identity) {
            Some(false)
        } else if self.allow.name(identity) {
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
    pub filter: TopicFilter,
    /// Who may publish.
    pub publish: Verdicts,
    /// Who may subscribe, and receive.
    pub subscribe: Verdicts,
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
    },
}

impl Policy {
    /// What of the rules concerns `identity`.
    pub fn permissions(&self, identity: &Identity) -> Permissions {
        let Self::Rules { rules, .. } = self else {
            return Permissions { publish: Verb::All, subscribe: Verb::All };
        };
        let decisions = |verdicts: fn(&Rule) -> &Verdicts| {
            let mut decisions: Vec<Decision> = Vec::new();
            for rule in rules {
                if let Some(allow) = verdicts(rule).about(identity) {
                    if rule.filter.as_str() == "#" {
                        decisions.clear(); // What stands before a rule for every topic never decides.
                    }
                    decisions.push(Decision { filter: rule.filter.clone(), allow });
                }
            }
            match decisions.as_slice() {
                [Decision { filter, allow: true }] if filter.as_str() == "#" => Verb::All,
                _ => Verb::Decisions(decisions.into()),
            }
        };
        Permissions { publish: decisions(|rule| &rule.publish), subscribe: decisions(|rule| &rule.subscribe) }
    }

    /// Whether such a client could still log in.
    pub fn knows(&self, identity: &Identity) -> bool {
        match (self, identity) {
            (Self::AllowAll, _) => true,
            (Self::Rules { .. }, Identity::Anonymous) => false,
            (Self::Rules { users, .. }, Identity::User(user)) => users.contains(user),
        }
    }
}

/// What one identity may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Permissions {
    publish: Verb,
    subscribe: Verb,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Verb {
    All,
    Decisions(Box<[Decision]>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Decision {
    filter: TopicFilter,
    allow: bool,
}

impl Verb {
    fn allows(&self, topic: &TopicName) -> bool {
        match self {
            Self::All => true,
            Self::Decisions(decisions) => decisions
                .iter()
                .rev()
                .find(|decision| decision.filter.matches_any(topic.as_str()))
                .is_some_and(|decision| decision.allow),
        }
    }
}

impl Permissions {
    /// Whether a message may be published to `topic`.
    pub fn may_publish(&self, topic: &TopicName) -> bool {
        self.publish.allows(topic)
    }

    /// Whether a message published to `topic` may be delivered.
    pub fn may_receive(&self, topic: &TopicName) -> bool {
        self.subscribe.allows(topic)
    }

    /// Whether `filter` may be subscribed to: whether there is a topic under it that may be received, as far as the
    /// rules one by one can tell. A rule that denies only a part of the topics leaves the subscription standing; the
    /// messages of that part are withheld at delivery.
    pub fn may_subscribe(&self, filter: &TopicFilter) -> bool {
        let Verb::Decisions(decisions) = &self.subscribe else {
            return true;
        };
        decisions.iter().fold(false, |granted, decision| {
            if decision.allow {
                granted || overlaps(&decision.filter, filter)
            } else {
                granted && !covers(&decision.filter, filter)
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    fn names(users: &[&str]) -> Names {
        Names { any: users.contains(&"@any"), users: users.iter().copied().map(Arc::from).collect() }
    }

    /// Rules of one verb for both publishing and subscribing: `+u1,u2 filter` allows, `-u1 filter` denies.
    fn policy(lines: &[&str]) -> Policy {
        let rules = lines
            .iter()
            .map(|line| {
                let (who, filter) = line.split_once(' ').unwrap();
                let (sign, who) = who.split_at(1);
                let who = names(&who.split(',').collect::<Vec<_>>());
                let verdicts = if sign == "+" {
                    Verdicts { allow: who, deny: Names::default() }
                } else {
                    Verdicts { allow: Names::default(), deny: who }
                };
                Rule {
                    filter: TopicFilter::parse(filter).unwrap(),
                    publish: verdicts.clone(),
                    subscribe: verdicts,
                }
            })
            .collect();
        Policy::Rules { rules, users: ["u1", "u2"].into_iter().map(Arc::from).collect() }
    }

    fn of(policy: &Policy, user: &str) -> Permissions {
        policy.permissions(&Identity::User(Arc::from(user)))
    }

    #[track_caller]
    fn check(lines: &[&str], user: &str, publish: &[(&str, bool)], subscribe: &[(&str, bool)]) {
        let permissions = of(&policy(lines), user);
        for (topic, expected) in publish {
            assert_eq!(
                permissions.may_publish(&TopicName::parse(topic).unwrap()),
                *expected,
                "publish {topic}"
            );
        }
        for (filter, expected) in subscribe {
            assert_eq!(
                permissions.may_subscribe(&TopicFilter::parse(filter).unwrap()),
                *expected,
                "subscribe {filter}"
            );
        }
    }

    #[test]
    fn the_last_applying_rule_decides() {
        check(
            &["+u1 t1", "-u1 #", "+u1 t2"],
            "u1",
            &[("t1", false), ("t2", true), ("t3", false)],
            &[("t1", false), ("t2", true), ("t3", false), ("+", true)],
        );
        check(
            &["-u1 #", "+u1 1/#", "-u1 1/2/#"],
            "u1",
            &[("1", true), ("1/2", false), ("1/2/3", false), ("1/3", true)],
            &[("1/2", false), ("1/2/3", false), ("1/2/", false), ("1/#", true), ("1/+", true)],
        );
    }

    #[test]
    fn a_rule_concerns_only_those_it_names() {
        let rules = ["-@any #", "+u1,u2 sub/#", "-u2 sub/x"];
        check(&rules, "u1", &[("sub/x", true), ("other", false)], &[("sub/x", true)]);
        check(&rules, "u2", &[("sub/x", false), ("sub/y", true)], &[("sub/x", false), ("sub/#", true)]);
        check(&["+u1 #"], "u2", &[("a", false)], &[("a", false)]);
        check(&[], "u1", &[("a", false)], &[("#", false)]);
    }

    #[test]
    fn a_partly_denied_subscription_stands_and_its_denied_topics_are_withheld() {
        check(&["+u1 #", "-u1 secret/#"], "u1", &[("secret/x", false)], &[("#", true), ("secret/x", false)]);
        let permissions = of(&policy(&["+u1 #", "-u1 secret/#"]), "u1");
        assert!(permissions.may_receive(&TopicName::parse("open").unwrap()));
        assert!(!permissions.may_receive(&TopicName::parse("secret").unwrap()));
    }

    #[test]
    fn one_rule_may_allow_some_and_deny_others() {
        let verdicts = Verdicts { allow: names(&["u1"]), deny: names(&["u2"]) };
        let rule = Rule {
            filter: TopicFilter::parse("a").unwrap(),
            publish: verdicts,
            subscribe: Verdicts::default(),
        };
        let policy = Policy::Rules { rules: vec![rule], users: BTreeSet::new() };
        let topic = TopicName::parse("a").unwrap();
        assert!(of(&policy, "u1").may_publish(&topic));
        assert!(!of(&policy, "u2").may_publish(&topic));
        assert!(!of(&policy, "u1").may_receive(&topic));
    }

    #[test]
    fn covering_knows_wildcards() {
        for (outer, inner, expected) in [
            ("#", "a/b", true),
            ("a/#", "a", true),
            ("a/#", "a/#", true),
            ("a/+", "a/b", true),
            ("a/+", "a/+", true),
            ("a/+", "a/#", false),
            ("a/b", "a/+", false),
            ("+", "a/b", false),
            ("+/#", "#", false),
        ] {
            let (outer, inner) = (TopicFilter::parse(outer).unwrap(), TopicFilter::parse(inner).unwrap());
            assert_eq!(covers(&outer, &inner), expected, "{outer} {inner}");
        }
    }
}
