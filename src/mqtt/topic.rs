//! Topic names and topic filters (MQTT 5.0 section 4.7), checked when they are made.

use std::fmt;
use std::sync::Arc;

/// Why a text is not a topic name or a topic filter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TopicError {
    /// It has no characters \[MQTT-4.7.3-1\].
    #[error("it is empty")]
    Empty,
    /// It is longer than 65,535 bytes \[MQTT-4.7.3-3\].
    #[error("it is longer than 65,535 bytes")]
    TooLong,
    /// It holds U+0000 \[MQTT-4.7.3-2\].
    #[error("it holds the null character U+0000")]
    NullCharacter,
    /// A topic name holds `+` or `#` \[MQTT-3.3.2-2\].
    #[error("a topic name cannot hold the wildcards '+' and '#'")]
    WildcardInName,
    /// `#` stands elsewhere than alone in the last level \[MQTT-4.7.1-1\].
    #[error("'#' must be the whole of the last level")]
    MisplacedMultiLevelWildcard,
    /// `+` shares its level with other characters \[MQTT-4.7.1-2\].
    #[error("'+' must be the whole of its level")]
    MisplacedSingleLevelWildcard,
    /// `$share` without a share name and a filter, or with a share name that cannot be one \[MQTT-4.8.2-1\].
    #[error(
        "a shared subscription is written $share/name/filter, with a name that is not empty and holds no '/', '+' or '#'"
    )]
    BadShare,
}

const MAX_BYTES: usize = 65_535;

fn check_text(text: &str) -> Result<(), TopicError> {
    if text.is_empty() {
        return Err(TopicError::Empty);
    }
    if text.len() > MAX_BYTES {
        return Err(TopicError::TooLong);
    }
    if text.as_bytes().contains(&0) {
        return Err(TopicError::NullCharacter);
    }
    Ok(())
}

/// The name of a topic: where a message is published. Holds no wildcard.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicName(Arc<str>);

impl TopicName {
    /// The topic of this name.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        if text.bytes().any(|byte| byte == b'+' || byte == b'#') {
            return Err(TopicError::WildcardInName);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels of the name: the parts between the slashes.
    pub fn levels(&self) -> std::str::Split<'_, char> {
        self.0.split('/')
    }
}

/// A topic filter without any `$share/…/` before it: a pattern for topic names.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicFilter(Arc<str>);

impl TopicFilter {
    /// The filter of this text.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        let mut levels = text.split('/').peekable();
        while let Some(level) = levels.next() {
            if level.contains('#') && (level != "#" || levels.peek().is_some()) {
                return Err(TopicError::MisplacedMultiLevelWildcard);
            }
            if level.contains('+') && level != "+" {
                return Err(TopicError::MisplacedSingleLevelWildcard);
            }
        }
        Ok(Self(Arc::from(text)))
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The levels of the filter: the parts between the slashes.
    pub fn levels(&self) -> std::str::Split<'_, char> {
        self.0.split('/')
    }

    /// Whether it holds a wildcard.
    pub fn has_wildcard(&self) -> bool {
        self.0.bytes().any(|byte| byte == b'+' || byte == b'#')
    }

    /// Whether a message published to `name` matches (MQTT 5.0 section 4.7).
    ///
    /// A filter that begins with a wildcard does not match names that begin with `$` \[MQTT-4.7.2-1\].
    pub fn matches(&self, name: &TopicName) -> bool {
        let starts_with_wildcard = self.0.starts_with(['+', '#']);
        !(starts_with_wildcard && name.as_str().starts_with('$')) && self.matches_any(name.as_str())
    }

    /// As [`matches`](Self::matches), but without the exception for names that begin with `$`.
    pub fn matches_any(&self, name: &str) -> bool {
        let mut names = name.split('/');
        for level in self.levels() {
            if level == "#" {
                return true;
            }
            match names.next() {
                Some(name) if level == "+" || level == name => {}
                _ => return false,
            }
        }
        names.next().is_none()
    }
}

/// The name of a group of shared subscriptions.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShareName(Arc<str>);

impl ShareName {
    /// The share of this name: not empty, without `/`, `+` and `#` \[MQTT-4.8.2-1\].
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        if text.is_empty() || text.contains(['/', '+', '#', '\0']) {
            return Err(TopicError::BadShare);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a SUBSCRIBE or UNSUBSCRIBE names: a filter, shared or not.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SubscriptionFilter {
    /// The group, for `$share/name/filter`.
    pub share: Option<ShareName>,
    /// The filter itself.
    pub filter: TopicFilter,
}

impl SubscriptionFilter {
    /// Reads `filter` or `$share/name/filter`.
    pub fn parse(text: &str) -> Result<Self, TopicError> {
        check_text(text)?;
        let Some(shared) =
            text.strip_prefix("$share").filter(|rest| rest.is_empty() || rest.starts_with('/'))
        else {
            return Ok(Self { share: None, filter: TopicFilter::parse(text)? });
        };
        let (share, filter) =
            shared.strip_prefix('/').and_then(|rest| rest.split_once('/')).ok_or(TopicError::BadShare)?;
        // [MQTT-4.8.2-2]: the share name is followed by a slash and a filter.
        if filter.is_empty() {
            return Err(TopicError::BadShare);
        }
        Ok(Self { share: Some(ShareName::parse(share)?), filter: TopicFilter::parse(filter)? })
    }
}

impl fmt::Display for SubscriptionFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(share) = &self.share {
            write!(f, "$share/{}/", share.as_str())?;
        }
        f.write_str(self.filter.as_str())
    }
}

macro_rules! text_like {
    ($($name:ident),*) => {$(
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(self.as_str(), f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}

text_like!(TopicName, TopicFilter, ShareName);
