//! Which rule decides, and why.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Answer, CommandError};
use crate::auth::file::{AuthFile, Document, Group, Named, TopicRule, read};
use crate::auth::locate::Step::{Index, Key};
use crate::auth::locate::locate;
use crate::auth::rules::ANY;
use crate::broker::Identity;
use crate::broker::permissions::Ruling;
use crate::mqtt::{ClientId, SubscriptionFilter, TopicName};

/// A question about an auth file: may this user do this?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explain {
    /// The auth file.
    pub file: PathBuf,
    /// The name of the user.
    pub user: String,
    /// The client identifier, where rules may name it.
    pub client_id: Option<String>,
    /// What the user may do, or not.
    pub question: Question,
}

/// What somebody wants to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Question {
    /// Publish to this topic.
    Publish(String),
    /// Subscribe to this topic filter.
    Subscribe(String),
    /// Get what is published to this topic.
    Receive(String),
}

impl Question {
    fn topic(&self) -> &str {
        match self {
            Self::Publish(topic) | Self::Subscribe(topic) | Self::Receive(topic) => topic,
        }
    }

    fn verb(&self) -> &'static str {
        match self {
            Self::Publish(_) => "publish to",
            Self::Subscribe(_) => "subscribe to",
            Self::Receive(_) => "receive what is published to",
        }
    }

    /// The names to which a side of a rule applies, and the key under which they stand.
    fn names<'n>(&self, named: &'n Named) -> (&'static str, &'n [String]) {
        match (self, &named.receive) {
            (Self::Publish(_), _) => ("pub", &named.publish),
            (Self::Receive(_), Some(receive)) => ("receive", receive),
            (Self::Receive(_), None) | (Self::Subscribe(_), _) => ("sub", &named.subscribe),
        }
    }
}

impl Explain {
    pub(super) fn run(self, out: &mut dyn Write) -> Result<Answer, CommandError> {
        let (bytes, _) = read(&self.file)?;
        let (text, document) = Document::parse(&bytes, &self.file)?;
        let file = AuthFile::build(text, &document, &self.file)?;
        if !file.accounts.knows(&self.user) {
            let (path, user) = (self.file.display(), &self.user);
            return Err(CommandError::Question(format!(
                "{path}: there is no user {user:?} in `authentication`"
            )));
        }
        let ruling = self.ruling(&file)?;
        if self.client_id.is_none() && file.policy.depends_on_client_id() {
            let path = self.file.display();
            writeln!(
                out,
                "note: rules of {path} name the client (%c): without --client-id they do not apply"
            )?;
        }

        let (user, verb, topic) = (&self.user, self.question.verb(), self.question.topic());
        let (answer, may) = if ruling.allowed { ("allowed", "may") } else { ("denied", "may not") };
        writeln!(out, "{answer}: the user {user:?} {may} {verb} {topic:?}")?;
        match ruling.rule.and_then(|index| Some((index, document.authorization.get(index)?))) {
            Some(decisive) => self.name(decisive, ruling.allowed, text, &document.group, out)?,
            None => {
                writeln!(out, "  no rule is about this topic and this user: what is not allowed is denied")?;
            }
        }
        if ruling.allowed && matches!(self.question, Question::Subscribe(_)) {
            writeln!(
                out,
                "  of what the filter matches, each message is delivered only if its topic is allowed: see --receive"
            )?;
        }
        Ok(if ruling.allowed { Answer::Yes } else { Answer::No })
    }

    fn ruling(&self, file: &AuthFile) -> Result<Ruling, CommandError> {
        let identity = Identity::User(Arc::from(self.user.as_str()));
        // An empty identifier stands for none: no rule applies to it.
        let client_id = ClientId::new(self.client_id.as_deref().unwrap_or_default());
        let permissions = file.policy.permissions(&identity, &client_id);
        let wrong = |error| CommandError::Question(format!("{:?}: {error}", self.question.topic()));
        Ok(match &self.question {
            Question::Publish(topic) => {
                permissions.rule_on_publishing(&TopicName::parse(topic).map_err(wrong)?)
            }
            Question::Receive(topic) => {
                permissions.rule_on_receiving(&TopicName::parse(topic).map_err(wrong)?)
            }
            Question::Subscribe(filter) => {
                permissions.rule_on_subscribing(&SubscriptionFilter::parse(filter).map_err(wrong)?.filter)
            }
        })
    }

    /// Names the rule that decides, its place, and why it applies.
    fn name(
        &self,
        (index, rule): (usize, &TopicRule),
        allowed: bool,
        text: &str,
        groups: &[Group],
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let (side, side_of_rule) = if allowed { ("allow", &rule.allow) } else { ("deny", &rule.deny) };
        let (key, names) =
            side_of_rule.as_ref().map_or(("pub", [].as_slice()), |named| self.question.names(named));
        let Some((position, because)) = names
            .iter()
            .enumerate()
            .find_map(|(position, name)| Some((position, self.because(name, groups)?)))
        else {
            return Ok(());
        };
        let path = [Key("authorization"), Index(index), Key(side), Key(key), Index(position)];
        let place = locate(text, &path);
        writeln!(
            out,
            "  {}:{}:{}: {side} {key} of rule {}, topic {:?}: {because}",
            self.file.display(),
            place.line,
            place.column,
            index + 1,
            rule.topic,
        )?;
        writeln!(out, "  it is the last rule that is about this topic and this user")?;
        Ok(())
    }

    /// Why a name in a rule means the user, if it does.
    fn because(&self, name: &str, groups: &[Group]) -> Option<String> {
        if name == ANY {
            return Some("@any is everybody".to_owned());
        }
        if name == self.user {
            return Some("it names the user".to_owned());
        }
        let group = groups.iter().find(|group| group.name == name)?;
        group.members.contains(&self.user).then(|| format!("the user is a member of {name}"))
    }
}
