//! Which rule decides, and why.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use super::{Answer, CommandError};
use crate::auth::file::{AuthFile, Document, Group, Named, TopicRule, read};
use crate::auth::jwt::Bearer;
use crate::auth::locate::Step::{Index, Key};
use crate::auth::locate::locate;
use crate::auth::rules::ANY;
use crate::broker::permissions::Ruling;
use crate::broker::{Grants, Identity};
use crate::files;
use crate::mqtt::{ClientId, SubscriptionFilter, TopicName};

/// A question about an auth file: may this user do this?
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explain {
    /// The auth file.
    pub file: PathBuf,
    /// The name of the user; `None`: the token says it.
    pub user: Option<String>,
    /// The file that holds the user's token, if it has one; `-`: the standard input.
    pub token: Option<PathBuf>,
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
        let asker = self.asker(&file)?;
        let ruling = self.ruling(&file, &asker)?;
        if self.client_id.is_none() && file.policy.depends_on_client_id() {
            let path = self.file.display();
            writeln!(
                out,
                "note: rules of {path} name the client (%c): without --client-id they do not apply"
            )?;
        }

        let (user, verb, topic) = (&*asker.user, self.question.verb(), self.question.topic());
        let (answer, may) = if ruling.allowed { ("allowed", "may") } else { ("denied", "may not") };
        writeln!(out, "{answer}: the user {user:?} {may} {verb} {topic:?}")?;
        match ruling.rule.and_then(|index| Some((index, document.authorization.get(index)?))) {
            Some(decisive) => self.name(decisive, ruling.allowed, text, (&document.group, &asker), out)?,
            None if ruling.allowed => {
                writeln!(out, "  the token grants it, and no rule is about this topic and this user")?;
            }
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

    /// For whom it is asked.
    fn asker(&self, file: &AuthFile) -> Result<Asker, CommandError> {
        let path = self.file.display();
        let wrong = |sentence: String| CommandError::Question(format!("{path}: {sentence}"));
        let Some(token) = &self.token else {
            let user = self.user.as_deref().unwrap_or_default();
            if !file.accounts.knows(user) {
                return Err(wrong(format!("there is no user {user:?} in `authentication`")));
            }
            return Ok(Asker { user: Arc::from(user), grants: None });
        };
        let Some(verifier) = &file.tokens else {
            return Err(wrong("there is no `jwt`: tokens are not taken".to_owned()));
        };
        let token = read_token(token)?;
        let Bearer { user, grants, .. } = verifier
            .verify(token.trim_ascii(), SystemTime::now())
            .map_err(|why| wrong(format!("the token is not taken: {why}")))?;
        match self.user.as_deref().filter(|named| *named != &*user) {
            Some(named) => Err(wrong(format!("the token is that of the user {user:?} and not of {named:?}"))),
            None => Ok(Asker { user, grants: Some(grants) }),
        }
    }

    fn ruling(&self, file: &AuthFile, asker: &Asker) -> Result<Ruling, CommandError> {
        let identity = Identity::User(Arc::clone(&asker.user));
        // An empty identifier stands for none: no rule applies to it.
        let client_id = ClientId::new(self.client_id.as_deref().unwrap_or_default());
        let permissions = file.policy.permissions_with(&identity, &client_id, asker.grants.as_ref());
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
        (groups, asker): (&[Group], &Asker),
        out: &mut dyn Write,
    ) -> Result<(), CommandError> {
        let (side, side_of_rule) = if allowed { ("allow", &rule.allow) } else { ("deny", &rule.deny) };
        let (key, names) =
            side_of_rule.as_ref().map_or(("pub", [].as_slice()), |named| self.question.names(named));
        let Some((position, because)) = names
            .iter()
            .enumerate()
            .find_map(|(position, name)| Some((position, asker.because(name, groups)?)))
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
}

/// For whom it is asked.
struct Asker {
    user: Arc<str>,
    /// What its token grants, if it has one.
    grants: Option<Grants>,
}

impl Asker {
    /// Why a name in a rule means the user, if it does.
    fn because(&self, name: &str, groups: &[Group]) -> Option<String> {
        if name == ANY {
            return Some("@any is everybody".to_owned());
        }
        if name == &*self.user {
            return Some("it names the user".to_owned());
        }
        if self.grants.as_ref().is_some_and(|grants| grants.groups.contains(name)) {
            return Some(format!("the token says that the user is a member of {name}"));
        }
        let group = groups.iter().find(|group| group.name == name)?;
        let is_member = group.members.iter().any(|member| *member == *self.user);
        is_member.then(|| format!("the user is a member of {name}"))
    }
}

fn read_token(path: &Path) -> Result<Vec<u8>, CommandError> {
    /// As MQTT's password.
    const LONGEST: u64 = 65_535;
    let mut token = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(LONGEST).read_to_end(&mut token)?;
    } else {
        let unreadable =
            |error| CommandError::Question(format!("{}: the token cannot be read: {error}", path.display()));
        token = files::read(path).map_err(unreadable)?.1;
    }
    Ok(token)
}
