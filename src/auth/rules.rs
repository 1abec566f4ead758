//! Groups and rules of an auth file, made into rules about users.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::accounts::Accounts;
use super::file::{Document, Fault, Named};
use super::locate::Step::{self, Index, Key};
use crate::broker::permissions::{Names, Rule, RuleTopic, Verdicts};

/// The group that holds everybody, and needs no declaration.
pub(super) const ANY: &str = "@any";

/// The rules, in their order.
pub(super) fn build(document: &Document, accounts: &Accounts) -> Result<Vec<Rule>, Fault> {
    let directory = Directory { accounts, groups: groups(document, accounts)? };
    document
        .authorization
        .iter()
        .enumerate()
        .map(|(index, rule)| {
            let here = [Key("authorization"), Index(index)];
            let topic = RuleTopic::parse(&rule.topic).map_err(|error| {
                Fault::at(&[here[0], here[1], Key("topic")], format!("{:?} {error}", rule.topic))
            })?;
            let side = |key, named: &Option<Named>| {
                directory.resolve_all([here[0], here[1], Key(key)], named.as_ref())
            };
            let (allow, deny) = (side("allow", &rule.allow)?, side("deny", &rule.deny)?);
            Ok(Rule {
                topic,
                publish: Verdicts { allow: allow.publish, deny: deny.publish },
                subscribe: Verdicts { allow: allow.subscribe, deny: deny.subscribe },
                receive: Verdicts { allow: allow.receive, deny: deny.receive },
            })
        })
        .collect()
}

type Groups<'d> = BTreeMap<&'d str, BTreeSet<Arc<str>>>;

fn groups<'d>(document: &'d Document, accounts: &Accounts) -> Result<Groups<'d>, Fault> {
    let mut groups = Groups::new();
    for (index, group) in document.group.iter().enumerate() {
        let name = &group.name;
        let here = |message| Fault::at(&[Key("group"), Index(index), Key("name")], message);
        if name.strip_prefix('@').is_none_or(str::is_empty) {
            return Err(here(format!("the group name {name:?}, expected @ and at least one character")));
        }
        if name == ANY {
            return Err(here("the group @any always holds everybody, expected another name".to_owned()));
        }
        let mut members = BTreeSet::new();
        for (position, member) in group.members.iter().enumerate() {
            if !accounts.knows(member) {
                let message =
                    format!("{member:?} is a member of {name}, expected a user of `authentication`");
                return Err(Fault::at(
                    &[Key("group"), Index(index), Key("members"), Index(position)],
                    message,
                ));
            }
            members.insert(Arc::from(member.as_str()));
        }
        if groups.insert(name, members).is_some() {
            let first = document.group.iter().position(|other| other.name == *name).unwrap_or(index);
            return Err(here(format!("the group {name} is declared twice, expected each group once"))
                .because_of(&[Key("group"), Index(first), Key("name")]));
        }
    }
    Ok(groups)
}

/// Who is meant by a name in a rule.
struct Directory<'d> {
    accounts: &'d Accounts,
    groups: Groups<'d>,
}

#[derive(Default)]
struct Resolved {
    publish: Names,
    subscribe: Names,
    receive: Names,
}

impl Directory<'_> {
    fn resolve_all(&self, [one, two, three]: [Step; 3], named: Option<&Named>) -> Result<Resolved, Fault> {
        let Some(named) = named else {
            return Ok(Resolved::default());
        };
        let publish = self.resolve([one, two, three, Key("pub")], &named.publish)?;
        let subscribe = self.resolve([one, two, three, Key("sub")], &named.subscribe)?;
        let receive = match &named.receive {
            Some(receivers) => self.resolve([one, two, three, Key("receive")], receivers)?,
            None => subscribe.clone(),
        };
        Ok(Resolved { publish, subscribe, receive })
    }

    fn resolve(&self, [one, two, three, four]: [Step; 4], names: &[String]) -> Result<Names, Fault> {
        let mut resolved = Names::default();
        for (index, name) in names.iter().enumerate() {
            if name == ANY {
                resolved.any = true;
            } else if let Some(members) = self.groups.get(name.as_str()) {
                resolved.users.extend(members.iter().cloned());
                resolved.groups.insert(Arc::from(name.as_str()));
            } else if self.accounts.knows(name) {
                resolved.users.insert(Arc::from(name.as_str()));
            } else {
                let expected = if name.starts_with('@') {
                    "a group of `group`, or @any"
                } else {
                    "a user of `authentication`"
                };
                let message = format!("{name:?} is not declared, expected {expected}");
                return Err(Fault::at(&[one, two, three, four, Index(index)], message));
            }
        }
        Ok(resolved)
    }
}
