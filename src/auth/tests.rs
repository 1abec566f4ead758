mod files;

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::*;
use crate::mqtt::{ClientId, TopicFilter, TopicName};

const DIGEST: &str = "38ea2e5e88fcd692fe177c6cada15e9b2db6e70bee0a0d6678c8d3b2a9aae2ad";
const AFAR: Origin = Origin::Ip(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));

/// A directory of one test's own.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name =
            format!("mqtt-broker-auth-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn path(&self) -> PathBuf {
        self.0.join("auth.json")
    }

    fn write(&self, text: &str) -> AuthSettings {
        fs::write(self.path(), text).unwrap();
        AuthSettings::File(self.path())
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

impl Authenticator {
    fn reload(&self) -> Result<ReloadReport, AuthError> {
        self.read_again().map(|reloaded| self.install(reloaded))
    }
}

/// A file with these users, and no rules.
fn users(entries: &str) -> String {
    format!("{{ authentication: [{entries}], authorization: [] }}")
}

async fn attempt(
    auth: &Authenticator,
    origin: Origin,
    username: Option<&str>,
    password: Option<&'static [u8]>,
) -> Result<Identity, Refusal> {
    let password = password.map(|bytes| Password(Bytes::from_static(bytes)));
    let login = auth
        .authenticate(Attempt { origin, certificate: None, username: username.map(Arc::from), password })
        .await?;
    assert_eq!(login.lifetime, None);
    Ok(login.identity)
}

fn user(name: &str) -> Identity {
    Identity::User(Arc::from(name))
}

const EVERY_METHOD: &str = r#"
    { name: "hashed", method: "sha256", salt: "salt", digest: "38EA2E5E88FCD692FE177C6CADA15E9B2DB6E70BEE0A0D6678C8D3B2A9AAE2AD" },
    { name: "plain", method: "plain_password", password: "pässword", digest: "not this" },
    { name: "odd", method: "plain_password", digest: "in the digest" },
    { name: "slow", method: "password_hash", hash: "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4" },
    { name: "certified", method: "client_cert" },
"#;
const ANONYMOUS: &str = r#"{ name: "nobody", method: "anonymous" },"#;
const UNAUTHENTICATED: &str = r#"{ name: "stranger", method: "unauthenticated" },"#;

/// What a client gives, and who it then is: `None` stands for whoever fails.
type Row = (Option<&'static str>, Option<&'static [u8]>, Option<&'static str>);

const ATTEMPTS: &[Row] = &[
    (Some("hashed"), Some(b"mypassword"), Some("hashed")),
    (Some("hashed"), Some(b"MYPASSWORD"), None),
    (Some("hashed"), Some(b""), None),
    (Some("hashed"), Some(b"\xFF\xFE"), None),
    (Some("hashed"), None, None),
    (Some("plain"), Some("pässword".as_bytes()), Some("plain")),
    (Some("plain"), Some(b"not this"), None),
    (Some("odd"), Some(b"in the digest"), Some("odd")),
    (Some("slow"), Some(b"password"), Some("slow")),
    (Some("slow"), Some(b"passwore"), None),
    (Some("slow"), None, None),
    (Some("certified"), None, None),
    (Some("certified"), Some(b""), None),
    (Some("nobody"), Some(b""), None),
    (Some("nobody"), None, None),
    (Some("stranger"), Some(b""), None),
    (Some("absent"), Some(b"mypassword"), None),
    (Some(""), Some(b""), None),
    (None, Some(b"mypassword"), None),
];

#[tokio::test]
async fn who_a_client_is_follows_from_what_it_gives() {
    for (extra, anonymous, unauthenticated) in [
        (String::new(), None, None),
        (ANONYMOUS.to_owned(), Some("nobody"), None),
        (UNAUTHENTICATED.to_owned(), Some("stranger"), Some("stranger")),
        (format!("{ANONYMOUS}{UNAUTHENTICATED}"), Some("nobody"), Some("stranger")),
    ] {
        let directory = Directory::new();
        let auth = Authenticator::open(directory.write(&users(&format!("{EVERY_METHOD}{extra}")))).unwrap();
        let neither = [(None, None, anonymous)];
        for (username, password, expected) in ATTEMPTS.iter().copied().chain(neither) {
            for origin in [AFAR, Origin::Unix] {
                let expected = expected.or(unauthenticated).map(user);
                let found = attempt(&auth, origin, username, password).await;
                assert_eq!(found.clone().ok(), expected, "{username:?} {password:?} with {extra:?}");
                if let Err(refusal) = found {
                    assert_eq!(refusal.reason, ReasonCode::NotAuthorized);
                }
            }
        }
    }
}

#[tokio::test]
async fn a_certificate_is_that_of_its_user_and_of_nobody_else() {
    let directory = Directory::new();
    let other = r#"{ name: "other", method: "client_cert" },"#;
    let auth =
        Authenticator::open(directory.write(&users(&format!("{EVERY_METHOD}{ANONYMOUS}{other}")))).unwrap();
    let mypassword = Some(b"mypassword".as_slice());
    for (certificate, username, password, expected) in [
        ("certified", None, None, Some("certified")),
        ("certified", Some("certified"), None, Some("certified")),
        ("certified", Some("certified"), mypassword, Some("certified")),
        ("certified", None, mypassword, Some("certified")),
        ("certified", Some("other"), None, None),
        ("certified", Some("hashed"), None, None),
        ("certified", Some("hashed"), mypassword, None),
        ("certified", Some(""), None, None),
        // Of these the file does not say that a certificate is enough, or anything at all.
        ("hashed", None, None, Some("nobody")),
        ("hashed", Some("hashed"), None, None),
        ("hashed", Some("hashed"), mypassword, Some("hashed")),
        ("nobody", Some("nobody"), None, None),
        ("absent", None, None, Some("nobody")),
        ("absent", Some("absent"), None, None),
        ("absent", Some("certified"), None, None),
        ("absent", Some("certified"), mypassword, None),
        ("absent", Some("hashed"), mypassword, Some("hashed")),
    ] {
        let attempt = Attempt {
            origin: AFAR,
            certificate: Some(Arc::from(certificate)),
            username: username.map(Arc::from),
            password: password.map(|bytes| Password(Bytes::copy_from_slice(bytes))),
        };
        let found = auth.authenticate(attempt).await;
        assert_eq!(
            found.ok().map(|login| login.identity),
            expected.map(user),
            "{certificate} {username:?} {password:?}"
        );
    }
}

#[tokio::test]
async fn without_an_auth_file_only_clients_of_this_host_are_let_in() {
    let directory = Directory::new();
    let auth = Authenticator::open(AuthSettings::FileIfPresent(directory.path())).unwrap();
    let mapped = Ipv4Addr::LOCALHOST.to_ipv6_mapped();
    for origin in [
        Origin::Unix,
        Origin::Ip(Ipv4Addr::new(127, 1, 2, 3).into()),
        Origin::Ip(Ipv6Addr::LOCALHOST.into()),
        Origin::Ip(mapped.into()),
    ] {
        assert_eq!(
            attempt(&auth, origin, Some("u"), Some(b"p")).await,
            Ok(Identity::Anonymous),
            "{origin:?}"
        );
    }
    let refusal = attempt(&auth, AFAR, None, None).await.unwrap_err();
    assert_eq!(refusal.reason, ReasonCode::NotAuthorized);
    for way_out in ["--auth-file", "--allow-anonymous"] {
        assert!(refusal.detail.contains(way_out), "{refusal}");
    }
    assert_eq!(*auth.policy(), Policy::AllowAll);
}

#[tokio::test]
async fn everybody_may_be_let_in_unless_a_file_says_otherwise() {
    let directory = Directory::new();
    let settings = AuthSettings::Everybody { unless: Some(directory.path()) };
    let auth = Authenticator::open(settings.clone()).unwrap();
    assert_eq!(attempt(&auth, AFAR, None, None).await, Ok(Identity::Anonymous));

    directory.write(&users(""));
    let error = Authenticator::open(settings).unwrap_err();
    assert!(matches!(error, AuthError::Contradiction { .. }));
    assert!(
        error.to_string().starts_with("--allow-anonymous lets everybody do everything, but the auth file")
    );
}

#[test]
fn a_named_file_must_be_there() {
    let directory = Directory::new();
    let error = Authenticator::open(AuthSettings::File(directory.path())).unwrap_err();
    assert!(matches!(error, AuthError::Unreadable { .. }), "{error}");
    assert!(error.to_string().contains("auth.json: the auth file cannot be read: "), "{error}");
    let error = Authenticator::open(AuthSettings::File(directory.0.clone())).unwrap_err();
    assert!(matches!(error, AuthError::Unreadable { .. }), "{error}");
}

#[cfg(unix)]
#[test]
fn a_link_that_leads_nowhere_is_a_mistake() {
    let directory = Directory::new();
    std::os::unix::fs::symlink(directory.0.join("gone"), directory.path()).unwrap();
    let error = Authenticator::open(AuthSettings::FileIfPresent(directory.path())).unwrap_err();
    assert!(matches!(error, AuthError::Unreadable { .. }), "{error}");
}

#[tokio::test]
async fn the_example_lets_the_readme_s_trial_work() {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("auth.json");
    let file = AuthFile::read(&example).unwrap();
    assert_eq!(file.warnings, [""; 0]);

    let auth = Authenticator::open(AuthSettings::File(example)).unwrap();
    let guest = attempt(&auth, AFAR, None, None).await.unwrap();
    assert_eq!(guest, user("guest"));
    for name in ["alice", "bob"] {
        assert_eq!(attempt(&auth, AFAR, Some(name), Some(b"mypassword")).await, Ok(user(name)));
    }
    let topic = |name| TopicName::parse(name).unwrap();
    let guest = auth.policy().permissions(&guest, &ClientId::new("c"));
    assert!(guest.may_publish(&topic("hello")) && guest.may_receive(&topic("hello")));
    assert!(guest.may_subscribe(&TopicFilter::parse("#").unwrap()));
    assert!(!guest.may_publish(&topic("staff/news")) && guest.may_receive(&topic("staff/news")));
    assert!(!guest.may_receive(&topic("staff/bob/private")));
    let bob = auth.policy().permissions(&user("bob"), &ClientId::new("c"));
    assert!(bob.may_publish(&topic("staff/news")) && bob.may_receive(&topic("staff/bob/private")));
}

/// Rules about u1 and u2, who are `@both`; `verb` applies to publishing and subscribing alike.
fn policy_of(rules: &str) -> Policy {
    let text = format!(
        r#"{{
            authentication: [{{ name: "u1", method: "client_cert" }}, {{ name: "u2", method: "client_cert" }}],
            group: [{{ name: "@both", members: ["u1", "u2"] }}, {{ name: "@empty" }}],
            authorization: [{rules}],
        }}"#
    );
    AuthFile::parse(text.as_bytes(), Path::new("auth.json")).unwrap_or_else(|error| panic!("{error}")).policy
}

#[track_caller]
fn check_rules(rules: &str, expected: &[(&str, &str, &str, bool)]) {
    let policy = policy_of(rules);
    for (name, verb, topic, expected) in expected {
        let permissions = policy.permissions(&user(name), &ClientId::new("c"));
        let found = match *verb {
            "pub" => permissions.may_publish(&TopicName::parse(topic).unwrap()),
            "sub" => permissions.may_subscribe(&TopicFilter::parse(topic).unwrap()),
            "get" => permissions.may_receive(&TopicName::parse(topic).unwrap()),
            verb => panic!("{verb}"),
        };
        assert_eq!(found, *expected, "{name} {verb} {topic} under {rules}");
    }
}

#[test]
fn the_last_applying_rule_decides() {
    check_rules(
        r##"{ topic: "t1", allow: { sub: ["u1"], pub: ["u1"] } },
            { topic: "#", deny: { sub: ["@any"], pub: ["@any"] } },
            { topic: "t2", allow: { sub: ["@both"], pub: ["@both"] } }"##,
        &[
            ("u1", "pub", "t1", false),
            ("u1", "sub", "t1", false),
            ("u1", "pub", "t2", true),
            ("u1", "sub", "t2", true),
            ("u1", "pub", "t3", false),
            ("u1", "sub", "t3", false),
        ],
    );
    check_rules(
        r##"{ topic: "#", deny: { sub: ["u1"], pub: ["u1"] } },
            { topic: "1/#", allow: { sub: ["u1"], pub: ["u1"] } },
            { topic: "1/2/#", deny: { sub: ["u1"], pub: ["u1"] } }"##,
        &[
            ("u1", "pub", "1/2", false),
            ("u1", "sub", "1/2", false),
            ("u1", "sub", "1/2/3", false),
            ("u1", "sub", "1/2/", false),
            ("u1", "sub", "1/#", true),
            ("u1", "get", "1/2/3", false),
            ("u1", "get", "1/3", true),
        ],
    );
}

#[test]
fn rules_concern_those_whom_they_name() {
    check_rules(
        r##"{ topic: "#", deny: { pub: ["@both"] } },
            { topic: "sub/#", allow: { pub: ["@both"] } },
            { topic: "sub/x", deny: { pub: ["u2"] } }"##,
        &[("u1", "pub", "sub/x", true), ("u2", "pub", "sub/x", false), ("u2", "pub", "sub/y", true)],
    );
    check_rules(
        r#"{ topic: "t", allow: { pub: ["u1"] }, deny: { pub: ["u2"] } }"#,
        &[("u1", "pub", "t", true), ("u2", "pub", "t", false), ("u1", "sub", "t", false)],
    );
    check_rules(
        r#"{ topic: "t", allow: { pub: ["@both"] }, deny: { pub: ["u2"] } }"#,
        &[("u1", "pub", "t", true), ("u2", "pub", "t", false)],
    );
}

#[test]
fn a_wide_subscription_stands_and_what_is_denied_is_withheld() {
    check_rules(
        r##"{ topic: "#", deny: { sub: ["u1"] } }, { topic: "ok/#", allow: { sub: ["u1"] } }"##,
        &[("u1", "sub", "#", true), ("u1", "get", "ok/x", true), ("u1", "get", "secret/x", false)],
    );
    check_rules(
        r##"{ topic: "#", allow: { sub: ["u1"] } }, { topic: "secret/#", deny: { sub: ["u1"] } }"##,
        &[("u1", "sub", "#", true), ("u1", "get", "ok/x", true), ("u1", "get", "secret/x", false)],
    );
}

#[test]
fn receiving_is_as_subscribing_unless_it_is_said() {
    check_rules(
        r##"{ topic: "#", allow: { sub: ["u1", "u2"] } },
            { topic: "a", deny: { receive: ["u1"] } },
            { topic: "b", deny: { sub: ["u1"], receive: [] } }"##,
        &[
            ("u1", "sub", "a", true),
            ("u1", "get", "a", false),
            ("u2", "get", "a", true),
            ("u1", "sub", "b", false),
            ("u1", "get", "b", true),
        ],
    );
}

#[test]
fn rules_may_name_the_user_and_the_client() {
    check_rules(
        r#"{ topic: "%u/+", allow: { sub: ["@any"], pub: ["@any"] } },
            { topic: "by/%c", allow: { sub: ["@any"] } }"#,
        &[
            ("u1", "pub", "u1/x", true),
            ("u1", "pub", "u2/x", false),
            ("u2", "get", "u2/", true),
            ("u1", "sub", "by/c", true),
            ("u1", "sub", "by/d", false),
        ],
    );
}

#[test]
fn rules_that_name_nobody_decide_nothing() {
    check_rules("", &[("u1", "pub", "t", false), ("u1", "sub", "t", false)]);
    check_rules(
        r##"{ topic: "#", allow: { pub: ["u1"], sub: ["u1"] } },
            { topic: "#", deny: { pub: [], sub: ["@empty"] } },
            { topic: "#" }"##,
        &[("u1", "pub", "t", true), ("u1", "sub", "t", true)],
    );
}

#[cfg(unix)]
#[test]
fn plain_passwords_that_all_may_read_are_warned_of() {
    use std::os::unix::fs::PermissionsExt;

    let directory = Directory::new();
    directory.write(&users("{ name: 'a', method: 'plain_password', password: 'x' }"));
    for (mode, warnings) in [(0o600, 0), (0o640, 0), (0o644, 1)] {
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(
            AuthFile::read(&directory.path()).unwrap_or_else(|error| panic!("{error}")).warnings.len(),
            warnings
        );
    }
}

#[tokio::test]
async fn a_reload_takes_all_or_nothing_and_says_what_changed() {
    let directory = Directory::new();
    let rules = "{ topic: '#', allow: { pub: ['@any'] } }";
    let file =
        |users: &str, rules: &str| format!("{{ authentication: [{users}], authorization: [{rules}] }}");
    let (a, b, c) = (
        "{ name: 'a', method: 'plain_password', password: 'x' },",
        "{ name: 'b', method: 'plain_password', password: 'x' },",
        "{ name: 'c', method: 'client_cert' },",
    );
    let auth = Authenticator::open(directory.write(&file(&format!("{a}{b}"), rules))).unwrap();
    assert_eq!(auth.reload().unwrap(), ReloadReport::default());

    let b2 = b.replace("'x'", "'y'");
    directory.write(&file(&format!("{b2}{c}"), rules));
    let report = auth.reload().unwrap();
    let names = |name: &str| [Arc::from(name)].into();
    let expected = ReloadReport {
        users_added: names("c"),
        users_removed: names("a"),
        users_changed: names("b"),
        rules_changed: false,
    };
    assert_eq!(report, expected);
    assert_eq!(attempt(&auth, AFAR, Some("b"), Some(b"y")).await, Ok(user("b")));
    assert!(attempt(&auth, AFAR, Some("a"), Some(b"x")).await.is_err());
    assert!(!auth.policy().knows(&user("a")) && auth.policy().knows(&user("c")));

    let before = auth.policy();
    directory.write("{");
    auth.reload().unwrap_err();
    assert_eq!(auth.policy(), before);
    assert_eq!(attempt(&auth, AFAR, Some("b"), Some(b"y")).await, Ok(user("b")));

    directory.write(&file(&format!("{b2}{c}"), ""));
    assert_eq!(auth.reload().unwrap(), ReloadReport { rules_changed: true, ..ReloadReport::default() });
}

#[cfg(unix)]
#[test]
fn a_reload_follows_a_link_anew() {
    let directory = Directory::new();
    for (name, user) in [("one", "a"), ("two", "b")] {
        fs::write(directory.0.join(name), users(&format!("{{ name: '{user}', method: 'client_cert' }}")))
            .unwrap();
    }
    std::os::unix::fs::symlink("one", directory.path()).unwrap();
    let auth = Authenticator::open(AuthSettings::File(directory.path())).unwrap();
    std::os::unix::fs::symlink("two", directory.0.join("new")).unwrap();
    fs::rename(directory.0.join("new"), directory.path()).unwrap();
    auth.reload().unwrap();
    assert!(auth.policy().knows(&user("b")) && !auth.policy().knows(&user("a")));
}

#[tokio::test]
async fn a_reload_takes_a_file_that_has_come_and_misses_one_that_has_gone() {
    let directory = Directory::new();
    let auth = Authenticator::open(AuthSettings::FileIfPresent(directory.path())).unwrap();
    assert!(auth.reload().unwrap().is_empty());
    assert!(auth.describe().contains("no auth file"), "{}", auth.describe());

    directory.write(&users("{ name: 'a', method: 'client_cert' }"));
    assert!(auth.reload().unwrap().rules_changed);
    assert!(auth.describe().ends_with("auth.json (users: 1, groups: 0, rules: 0)"), "{}", auth.describe());
    assert!(!auth.policy().knows(&Identity::Anonymous));

    fs::remove_file(directory.path()).unwrap();
    auth.reload().unwrap_err();
    assert!(attempt(&auth, Origin::Unix, None, None).await.is_err());
}

#[tokio::test]
async fn more_verifications_than_permits_wait_for_each_other() {
    let directory = Directory::new();
    let auth = Arc::new(Authenticator::open(directory.write(&users(EVERY_METHOD))).unwrap());
    let attempts: Vec<_> = (0..64)
        .map(|_| {
            let auth = Arc::clone(&auth);
            tokio::spawn(async move { attempt(&auth, AFAR, Some("hashed"), Some(b"mypassword")).await })
        })
        .collect();
    for attempt in attempts {
        assert_eq!(attempt.await.unwrap(), Ok(user("hashed")));
    }
}

#[tokio::test(start_paused = true)]
async fn guesses_that_wait_to_be_verified_are_throttled_when_those_before_them_fail() {
    const GUESSES: usize = 200;
    let directory = Directory::new();
    let auth = Arc::new(Authenticator::open(directory.write(&users(EVERY_METHOD))).unwrap());
    // Nothing is verified before all of them have been admitted.
    let seat = auth.pool.enter(1 << 20).await.unwrap();
    let guesses: Vec<_> = (0..GUESSES)
        .map(|_| {
            let auth = Arc::clone(&auth);
            tokio::spawn(async move { attempt(&auth, AFAR, Some("slow"), Some(b"wrong")).await })
        })
        .collect();
    while auth.pool.waiting() < GUESSES {
        tokio::task::yield_now().await;
    }
    drop(seat);
    let mut throttled = 0;
    for guess in guesses {
        throttled +=
            usize::from(guess.await.unwrap().unwrap_err().reason == ReasonCode::ConnectionRateExceeded);
    }
    assert!(throttled > GUESSES * 9 / 10, "{throttled}");
}

#[tokio::test]
async fn a_thousand_wrong_guesses_leave_the_user_s_login_elsewhere_immediate() {
    let directory = Directory::new();
    let auth = Authenticator::open(directory.write(&users(EVERY_METHOD))).unwrap();
    let guesser = Origin::Ip(Ipv4Addr::new(127, 0, 0, 2).into());
    let mut refused = 0;
    for _ in 0..1_000 {
        // The few that are made to wait do so with a wait that nobody sees the end of.
        let guess = attempt(&auth, guesser, Some("hashed"), Some(b"wrong"));
        match time::timeout(Duration::from_millis(1), guess).await {
            Ok(Err(Refusal { reason: ReasonCode::ConnectionRateExceeded, .. })) => refused += 1,
            Ok(Err(_)) | Err(_) => {}
            Ok(Ok(identity)) => panic!("{identity:?}"),
        }
    }
    assert!(refused > 900, "{refused}");
    // The password is right, and not looked at.
    let refusal = attempt(&auth, guesser, Some("hashed"), Some(b"mypassword")).await.unwrap_err();
    assert_eq!(refusal.reason, ReasonCode::ConnectionRateExceeded);

    let delayed = || auth.counters().find(|(name, _)| *name == "logins_delayed");
    let before = delayed();
    let here = Origin::Ip(Ipv4Addr::LOCALHOST.into());
    assert_eq!(attempt(&auth, here, Some("hashed"), Some(b"mypassword")).await, Ok(user("hashed")));
    assert_eq!(attempt(&auth, guesser, Some("plain"), Some("pässword".as_bytes())).await, Ok(user("plain")));
    assert_eq!(delayed(), before);
}
