//! What the clients play, and what they must have seen.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use crate::support::Version;

/// The payload of [`Scenario::Large`].
pub(crate) fn large_payload() -> Vec<u8> {
    (b'a'..).take(23).cycle().take(10 * 1024 * 1024).collect()
}

/// What is reported of the payload that arrived in [`Scenario::Large`].
pub(crate) fn large_report(payload: &[u8]) -> String {
    let mut report = format!("bytes={} sha256=", payload.len());
    for byte in Sha256::digest(payload) {
        write!(report, "{byte:02x}").unwrap();
    }
    report
}

/// A small play for a few clients. A message that a client has received is reported as one line,
/// `client: topic qos=Q retain=R payload`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// `reader` subscribes to `every/+/G` with QoS G, for each G; `writer` publishes `P to G` to `every/P/G` with QoS
    /// P, for each P and G.
    EveryQos,
    /// `writer` publishes two retained messages, `first` to `kept/a` and `second` to `kept/b`. `early` subscribes to
    /// `kept/#` and receives both, then sees how `writer` clears the first. `late` subscribes to the same, and
    /// receives the second, and what is published to `kept/end` then.
    Retained,
    /// `watcher` subscribes to `wills/#`. `doomed`, with a will, is cut off; `polite`, with another, disconnects.
    /// Then there is a last word on `wills/end`.
    Will,
    /// `away` subscribes to `session/#` with a session that is kept, and leaves. Three messages are published. It
    /// comes back and receives them; at last it comes back with a clean session. Each time it reports
    /// `present=0` or `present=1`, if the client can tell.
    Session,
    /// `one` and `two` subscribe to `$share/crew/jobs/#`; ten messages are published to `jobs/0` and so on.
    Shared,
    /// `reader` reports the properties of a message that has all that a publisher can give it, a line for each.
    Properties,
    /// 10 MiB of letters are published to `large`, the letter at i being the one after `a` by i modulo 23. Their
    /// number and SHA-256 are reported as `bytes=N sha256=HEX`.
    Large,
}

impl Scenario {
    const ALL: [Self; 7] = [
        Self::EveryQos,
        Self::Retained,
        Self::Will,
        Self::Session,
        Self::Shared,
        Self::Properties,
        Self::Large,
    ];

    /// The scenarios that can be played in a version.
    pub(crate) fn of(version: Version) -> impl Iterator<Item = Self> {
        Self::ALL.into_iter().filter(move |scenario| *scenario != Self::Properties || version == Version::V5)
    }

    /// Its name, as the scripts know it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::EveryQos => "every-qos",
            Self::Retained => "retained",
            Self::Will => "will",
            Self::Session => "session",
            Self::Shared => "shared",
            Self::Properties => "properties",
            Self::Large => "large",
        }
    }

    /// Panics unless this is what must have been seen.
    pub(crate) fn check(self, version: Version, seen: &[String]) {
        match self {
            Self::EveryQos => check_every_qos(seen),
            Self::Retained => assert_eq!(
                seen,
                [
                    "early: kept/a qos=1 retain=1 first",
                    "early: kept/b qos=1 retain=1 second",
                    "early: kept/a qos=1 retain=0 ",
                    "late: kept/b qos=1 retain=1 second",
                    "late: kept/end qos=1 retain=0 live",
                ]
            ),
            Self::Will => assert_eq!(
                seen,
                ["watcher: wills/doomed qos=1 retain=0 cut off", "watcher: wills/end qos=1 retain=0 live"]
            ),
            Self::Session => check_session(version, seen),
            Self::Shared => check_shared(seen),
            Self::Properties => check_properties(seen),
            Self::Large => assert_eq!(
                seen,
                ["bytes=10485760 sha256=0470cdd242296c7c47d8c287ab89046e331209f3328352c0c7d20b5a7e2bcf81"]
            ),
        }
    }
}

/// Each message arrives once, with the lower of the two QoS; there is no order between messages of different QoS.
fn check_every_qos(seen: &[String]) {
    let mut expected = Vec::new();
    for sent in 0..3 {
        for granted in 0..3 {
            let qos = granted.min(sent);
            expected.push(format!("reader: every/{sent}/{granted} qos={qos} retain=0 {sent} to {granted}"));
        }
    }
    let mut seen = seen.to_vec();
    seen.sort_unstable();
    assert_eq!(seen, expected);
}

fn check_session(version: Version, seen: &[String]) {
    let (present, messages): (Vec<&str>, Vec<&str>) =
        seen.iter().map(String::as_str).partition(|line| line.starts_with("present="));
    assert_eq!(
        messages,
        ["one", "two", "three"].map(|text| format!("away: session/x qos=1 retain=0 {text}"))
    );
    // The CONNACK of MQTT 3.1 does not say whether there was a session.
    let expected = match version {
        Version::V31 => ["present=0", "present=0", "present=0"],
        Version::V311 | Version::V5 => ["present=0", "present=1", "present=0"],
    };
    assert!(present.is_empty() || present == expected, "{present:?}");
}

/// Each message goes to one member, and neither does all the work.
fn check_shared(seen: &[String]) {
    let mut messages: Vec<&str> = seen.iter().map(|line| line.split_once(": ").unwrap().1).collect();
    messages.sort_unstable();
    let expected: Vec<String> =
        (0..10).map(|number| format!("jobs/{number} qos=1 retain=0 {number}")).collect();
    assert_eq!(messages, expected);
    for member in ["one: ", "two: "] {
        assert!(seen.iter().any(|line| line.starts_with(member)), "nothing for {member}in {seen:?}");
    }
}

fn check_properties(seen: &[String]) {
    let (changing, same): (Vec<&str>, Vec<&str>) = seen
        .iter()
        .map(String::as_str)
        .partition(|line| line.starts_with("expiry=") || line.starts_with("user "));
    assert_eq!(
        same,
        [
            "reader: props/x qos=1 retain=0 dressed",
            "format=1",
            "content-type=text/plain",
            "response-topic=answers/here",
            "correlation-data=c-1",
        ]
    );
    let expiry = changing.iter().find_map(|line| line.strip_prefix("expiry=")).expect("it has an expiry");
    let expiry: u32 = expiry.parse().unwrap();
    assert!((1..=60).contains(&expiry), "{expiry}");
    // Some clients group them by their names: their order is only compared under one name.
    let user = |name: &str| -> Vec<&str> {
        changing.iter().filter_map(|line| line.strip_prefix("user ")?.strip_prefix(name)).collect()
    };
    assert_eq!(user("colour="), ["red", "blue"]);
    assert_eq!(user("size="), ["9"]);
    assert_eq!(changing.len(), 4, "{changing:?}");
}
