//! The auth file as a text: read, parsed, its parts named.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::accounts::Accounts;
use super::error::AuthError;
use super::jwt::TokenVerifier;
use super::locate::{Place, START, Step, locate};
use super::rules;
use crate::broker::Policy;
use crate::files;

/// What an auth file says.
pub(super) struct AuthFile {
    /// Who there is.
    pub(super) accounts: Accounts,
    /// Who may do what.
    pub(super) policy: Policy,
    /// How many groups it declares.
    pub(super) groups: usize,
    /// Verifies tokens, if they are taken.
    pub(super) tokens: Option<TokenVerifier>,
    /// What is allowed but unwise, a sentence each.
    pub(super) warnings: Vec<String>,
}

impl AuthFile {
    /// Reads the file at `path`; a link is followed.
    pub(super) fn read(path: &Path) -> Result<Self, AuthError> {
        let (bytes, readable_by_all) = read(path)?;
        let mut auth = Self::parse(&bytes, path)?;
        if auth.accounts.has_plain_passwords() && readable_by_all {
            auth.warnings
                .push("it holds plain passwords, and every user of this host may read it".to_owned());
        }
        Ok(auth)
    }

    /// Reads what stands in a file; `path` only names it in errors.
    pub(super) fn parse(bytes: &[u8], path: &Path) -> Result<Self, AuthError> {
        let (text, document) = Document::parse(bytes, path)?;
        Self::build(text, &document, path)
    }

    /// Takes what a file says apart; `path` only names it in errors.
    pub(super) fn build(text: &str, document: &Document, path: &Path) -> Result<Self, AuthError> {
        let at_its_place = |fault: Fault| invalid(path, (locate(text, &fault.path), fault.describe(text)));
        let mut warnings = Vec::new();
        let accounts = Accounts::build(&document.authentication, &mut warnings).map_err(at_its_place)?;
        let rules = rules::build(document, &accounts).map_err(at_its_place)?;
        let directory = path.parent().unwrap_or_else(|| Path::new(""));
        let tokens = document.jwt.as_ref().map(|section| TokenVerifier::build(section, directory));
        let tokens = tokens.transpose().map_err(at_its_place)?;
        let keys = tokens.iter().flat_map(TokenVerifier::keys).collect();
        let policy = Policy::Rules { rules, users: accounts.names(), tokens: keys };
        Ok(Self { accounts, policy, groups: document.group.len(), tokens, warnings })
    }
}

/// The bytes of a file, and whether every user of this host may read them.
pub(super) fn read(path: &Path) -> Result<(Vec<u8>, bool), AuthError> {
    let unreadable = |source| AuthError::Unreadable { path: path.to_owned(), source };
    let (file, bytes) = files::read(path).map_err(unreadable)?;
    let readable_by_all = is_readable_by_all(&file).map_err(unreadable)?;
    Ok((bytes, readable_by_all))
}

fn invalid(path: &Path, (Place { line, column }, message): (Place, String)) -> AuthError {
    AuthError::Invalid { path: path.to_owned(), line, column, message }
}

impl Document {
    /// The text of a file, and what stands in it.
    pub(super) fn parse<'t>(bytes: &'t [u8], path: &Path) -> Result<(&'t str, Self), AuthError> {
        let text = std::str::from_utf8(bytes)
            .map_err(|error| invalid(path, not_utf8(bytes, error.valid_up_to())))?;
        let document = json5::from_str(text).map_err(|error| invalid(path, malformed(text, &error)))?;
        Ok((text, document))
    }
}

/// The whole file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Document {
    pub(super) authentication: Vec<User>,
    #[serde(default)]
    pub(super) group: Vec<Group>,
    pub(super) authorization: Vec<TopicRule>,
    pub(super) jwt: Option<JwtSection>,
}

/// The section `jwt`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct JwtSection {
    pub(super) key_file: Option<PathBuf>,
    pub(super) jwks_file: Option<PathBuf>,
    pub(super) algorithm: Option<SignatureAlgorithm>,
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<String>,
    /// Seconds.
    pub(super) leeway: Option<u64>,
    #[serde(default)]
    pub(super) claims: ClaimNames,
}

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum SignatureAlgorithm {
    #[serde(rename = "HS256")]
    Hs256,
    #[serde(rename = "RS256")]
    Rs256,
    #[serde(rename = "ES256")]
    Es256,
    #[serde(rename = "EdDSA")]
    EdDsa,
}

/// Which claims of a token say what.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ClaimNames {
    pub(super) user: String,
    pub(super) groups: Option<String>,
    #[serde(rename = "pub")]
    pub(super) publish: Option<String>,
    #[serde(rename = "sub")]
    pub(super) subscribe: Option<String>,
    pub(super) receive: Option<String>,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self { user: "sub".to_owned(), groups: None, publish: None, subscribe: None, receive: None }
    }
}

/// An entry of `authentication`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct User {
    pub(super) name: String,
    pub(super) method: Method,
    pub(super) digest: Option<String>,
    pub(super) password: Option<String>,
    pub(super) salt: Option<String>,
    pub(super) hash: Option<String>,
    pub(super) iterations: Option<u32>,
    pub(super) stored_key: Option<String>,
    pub(super) server_key: Option<String>,
}

/// How a client shows that it is the user.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Method {
    /// A password with a given SHA-256.
    Sha256,
    /// A password that stands in the file.
    PlainPassword,
    /// A password with a given hash of a kind that takes time.
    PasswordHash,
    /// A proof that it knows a password, without telling it.
    #[serde(rename = "scram_sha_256")]
    ScramSha256,
    /// A certificate.
    ClientCert,
    /// By saying nothing about itself.
    Anonymous,
    /// By failing otherwise.
    Unauthenticated,
}

/// An entry of `group`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Group {
    pub(super) name: String,
    #[serde(default)]
    pub(super) members: Vec<String>,
}

/// An entry of `authorization`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TopicRule {
    pub(super) topic: String,
    pub(super) allow: Option<Named>,
    pub(super) deny: Option<Named>,
}

/// Whom a rule allows or denies what.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Named {
    #[serde(default, rename = "sub")]
    pub(super) subscribe: Vec<String>,
    #[serde(default, rename = "pub")]
    pub(super) publish: Vec<String>,
    /// As `sub`, where it is not given.
    pub(super) receive: Option<Vec<String>>,
}

/// A value that cannot be, in a file that can be parsed.
#[derive(Debug)]
pub(super) struct Fault {
    path: Vec<Step>,
    message: String,
    /// Where the other value stands that this one is at odds with.
    other: Option<Vec<Step>>,
}

impl Fault {
    /// The value at `path` is wrong: `message` says how, and what was expected.
    pub(super) fn at(path: &[Step], message: String) -> Self {
        Self { path: path.to_vec(), message, other: None }
    }

    /// It is wrong because of the value at `other`.
    pub(super) fn because_of(mut self, other: &[Step]) -> Self {
        self.other = Some(other.to_vec());
        self
    }

    fn describe(self, text: &str) -> String {
        match self.other {
            None => self.message,
            Some(other) => format!("{} (the other is in line {})", self.message, locate(text, &other).line),
        }
    }
}

fn not_utf8(bytes: &[u8], valid: usize) -> (Place, String) {
    let valid = bytes.get(..valid).map(String::from_utf8_lossy).unwrap_or_default();
    let place = Place::from(json5::Position::from_offset(valid.len(), &valid));
    (place, "a byte that is not UTF-8, expected a text in UTF-8".to_owned())
}

/// What the parser finds wrong, in words for those who do not know the parser.
fn malformed(text: &str, error: &json5::Error) -> (Place, String) {
    use json5::ErrorCode as Code;

    let place = error.position().map_or(START, Place::from);
    let Some(code) = error.code() else {
        // From serde. Its messages say what was expected; its position is appended by the parser.
        let message = error.to_string();
        let message =
            error.position().and_then(|at| message.strip_suffix(&format!(" at {at}"))).unwrap_or(&message);
        return (place, message.to_owned());
    };
    let message = match code {
        Code::EofParsingString => {
            "the file ends before a string that begins in here, expected its closing quote"
        }
        Code::EofParsingObject if error.position().is_none() => {
            return (
                Place::from(json5::Position::from_offset(text.len(), text)),
                "the file ends, expected {".to_owned(),
            );
        }
        Code::EofParsingComment => "the file ends before a comment that begins in here, expected */",
        Code::EofParsingArray
        | Code::EofParsingObject
        | Code::EofParsingBool
        | Code::EofParsingEscapeSequence
        | Code::EofParsingIdentifier
        | Code::EofParsingNull
        | Code::EofParsingNumber
        | Code::EofParsingValue => {
            "the file ends within the object or list that begins here, expected its closing bracket"
        }
        Code::ExpectedBool | Code::ExpectedNull | Code::ExpectedNumber | Code::ExpectedValue => {
            "not a value, expected a string, a list or an object"
        }
        Code::ExpectedClosingBrace => "expected , or } after a value of an object",
        Code::ExpectedClosingBracket => "expected , or ] after an element of a list",
        Code::ExpectedColon => "expected : after a key",
        Code::ExpectedComma => "expected , between values",
        Code::ExpectedComment => "a lone /, expected // or /* to begin a comment",
        Code::ExpectedIdentifier | Code::InvalidKey => "not a key, expected a name or a quoted string",
        Code::ExpectedOpeningBrace => "expected an object: {",
        Code::ExpectedOpeningBracket => "expected a list: [",
        Code::ExpectedString | Code::ExpectedStringOrObject => "expected a string in quotes",
        Code::InvalidEscapeSequence | Code::InvalidBytes => {
            "not an escape sequence, expected one of JSON5 such as \\n"
        }
        Code::LineTerminatorInString => "the line ends within a string, expected its closing quote",
        Code::LeadingZero | Code::OverflowParsingNumber => {
            "not a number, expected a string, a list or an object"
        }
        Code::TrailingCharacters => "more text after the object, expected the end of the file",
    };
    (place, message.to_owned())
}

#[cfg(unix)]
fn is_readable_by_all(file: &File) -> io::Result<bool> {
    use std::os::unix::fs::PermissionsExt;

    const READABLE_BY_ALL: u32 = 0o004;
    file.metadata().map(|metadata| metadata.permissions().mode() & READABLE_BY_ALL != 0)
}

#[cfg(not(unix))]
#[expect(clippy::unnecessary_wraps, reason = "elsewhere it fails")]
fn is_readable_by_all(_file: &File) -> io::Result<bool> {
    Ok(false)
}

/// Whether there is anything at `path`, be it a link that leads nowhere: that is a mistake and not an absence.
pub(super) fn is_there(path: &Path) -> Result<bool, AuthError> {
    match fs::symlink_metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(AuthError::Unreadable { path: path.to_owned(), source }),
    }
}
