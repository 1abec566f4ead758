//! The topics of a rule, which can name the client.

use super::Identity;
use crate::mqtt::topic::TopicError;
use crate::mqtt::{ClientId, TopicFilter};

/// Stands for the name of the user.
const USER: &str = "%u";
/// Stands for the client identifier.
const CLIENT: &str = "%c";

/// The topics that a rule is about: a topic filter in which `%u` stands for the user's name and `%c` for the client
/// identifier.
///
/// A name takes the place of a part of one level and of nothing else: where it holds `/`, `+`, `#` or the null
/// character, or would make a first level begin with `$` that does not, the rule is about no topic at all. A client
/// can choose its identifier, and must not choose with it what it may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleTopic {
    filter: TopicFilter,
    names: Names,
}

/// What a topic names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Names {
    user: bool,
    client: bool,
}

/// Why a text is not the topic of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleTopicError {
    /// Rules are about the topics themselves: this one would never apply, even to deny.
    #[error("names a share, expected the topic filter that stands behind it")]
    Share,
    /// It is not a topic filter.
    #[error("is not a topic filter, expected one: {0}")]
    Filter(#[from] TopicError),
}

impl RuleTopic {
    /// The topics of this text.
    pub fn parse(text: &str) -> Result<Self, RuleTopicError> {
        if text == "$share" || text.starts_with("$share/") {
            return Err(RuleTopicError::Share);
        }
        let names = Names { user: text.contains(USER), client: text.contains(CLIENT) };
        Ok(Self { filter: TopicFilter::parse(text)?, names })
    }

    /// The text, as it stands in the rule.
    pub fn as_str(&self) -> &str {
        self.filter.as_str()
    }

    /// Whether it is about other topics for each client identifier.
    pub fn names_the_client(&self) -> bool {
        self.names.client
    }

    /// The topics it is about where this client is concerned; `None`: none.
    pub fn filter_for(&self, identity: &Identity, client_id: &ClientId) -> Option<TopicFilter> {
        if self.names == (Names { user: false, client: false }) {
            return Some(self.filter.clone());
        }
        let user = match identity {
            Identity::User(user) => Some(&**user),
            Identity::Anonymous => None,
        };
        let mut text = String::new();
        let mut rest = self.as_str();
        // In one pass: a name that holds %c must not name the client.
        while let Some((before, after)) = rest.split_once('%') {
            text.push_str(before);
            rest = if let Some(after) = after.strip_prefix('u') {
                text.push_str(user.filter(|name| is_part_of_a_level(name))?);
                after
            } else if let Some(after) = after.strip_prefix('c') {
                text.push_str(Some(client_id.as_str()).filter(|name| is_part_of_a_level(name))?);
                after
            } else {
                text.push('%');
                after
            };
        }
        text.push_str(rest);
        if text.starts_with('$') && !self.as_str().starts_with('$') {
            return None;
        }
        TopicFilter::parse(&text).ok()
    }
}

fn is_part_of_a_level(name: &str) -> bool {
    !name.is_empty() && !name.contains(['/', '+', '#', '\0'])
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[track_caller]
    fn check(topic: &str, user: &str, client: &str, expected: Option<&str>) {
        let topic = RuleTopic::parse(topic).unwrap();
        let filter = topic.filter_for(&Identity::User(Arc::from(user)), &ClientId::new(client));
        assert_eq!(filter.as_ref().map(TopicFilter::as_str), expected, "{topic:?} {user:?} {client:?}");
    }

    #[test]
    fn names_take_their_places() {
        check("a/%u/b", "bob", "c", Some("a/bob/b"));
        check("%c/%u/#", "bob", "c", Some("c/bob/#"));
        check("dev-%c-%u", "bob", "c1", Some("dev-c1-bob"));
        check("100%/%x/%", "bob", "c", Some("100%/%x/%"));
        check("a/%u/%%c%", "50%", "c", Some("a/50%/%c%"));
    }

    #[test]
    fn a_name_does_not_become_a_pattern_by_standing_in_a_rule() {
        check("%u/%c", "%c", "%u", Some("%c/%u"));
        for name in ["a/b", "+", "#", "a#", "/", "a\0", ""] {
            check("x/%u", name, "c", None);
            check("x/%c", "u", name, None);
            check("x", name, name, Some("x"));
        }
    }

    #[test]
    fn a_name_does_not_reach_the_topics_of_the_server() {
        check("%c/#", "u", "$SYS", None);
        check("x/%c", "u", "$SYS", Some("x/$SYS"));
        check("$SYS/%c", "u", "$x", Some("$SYS/$x"));
    }

    #[test]
    fn nobody_has_no_name() {
        let filter =
            |text| RuleTopic::parse(text).unwrap().filter_for(&Identity::Anonymous, &ClientId::new("c"));
        assert_eq!(filter("a/%u"), None);
        assert_eq!(filter("a/%c"), Some(TopicFilter::parse("a/c").unwrap()));
    }

    #[test]
    fn names_that_make_a_filter_too_long_match_nothing() {
        check("a/%u/%c", &"u".repeat(40_000), &"c".repeat(40_000), None);
    }
}
