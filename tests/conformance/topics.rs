//! Topic Names and Topic Filters: chapter 4.7 of both standards.

use crate::support::*;
use crate::{expect_end, in_each_version, in_numbered_versions, join};

/// Subscribes to each filter by itself and insists on its matching exactly these topics.
fn expect_matches(filter: &str, matching: &[&str], others: &[&str]) {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.subscribe(filter, 0);
        for topic in matching.iter().chain(others) {
            client.send(publish(topic));
        }
        for topic in matching {
            client.expect(publish(topic));
        }
        client.expect_nothing();
    });
}

/// Subscribes to a filter that cannot be. In MQTT 3.1 no return code says so.
fn expect_refused(filter: &str) {
    in_numbered_versions(|broker, version| {
        let mut client = join(broker, version);
        client.send(subscribe(filter, 0));
        let failure = if version.is_v5() { 0x8F } else { 0x80 };
        match client.try_receive() {
            None => assert!(!version.is_v5(), "closed without a word"),
            Some(answer) => assert!(answer.is(&suback(1, &[failure]).into()), "{filter}: {answer:?}"),
        }
    });
}

/// Keeps [MQTT-4.7.1-1] [MQTT3-4.7.1-2].
#[test]
fn the_multi_level_wildcard_stands_alone_at_the_end() {
    for filter in ["a#", "a/b#", "#/a", "a/#/b", "##", "a/##"] {
        expect_refused(filter);
    }
    expect_matches("a/#", &["a", "a/", "a/b", "a/b/c"], &["ab", "b", "/a"]);
}

/// Keeps [MQTT-4.7.1-2] [MQTT3-4.7.1-3].
#[test]
fn the_single_level_wildcard_takes_a_whole_level() {
    for filter in ["a+", "+a", "a/b+/c", "++", "a/+b"] {
        expect_refused(filter);
    }
    expect_matches("+/b/+", &["a/b/c", "/b/", "x/b/y"], &["a/b", "b/c", "a/b/c/d"]);
    expect_matches("+", &["a"], &["/a", "a/"]);
}

/// Keeps [MQTT-4.7.2-1] [MQTT3-4.7.2-1].
#[test]
fn a_leading_wildcard_does_not_match_a_topic_that_begins_with_a_dollar() {
    expect_matches("#", &["a", "a/$b"], &["$a", "$a/b", "$"]);
    expect_matches("+/b", &["a/b"], &["$a/b"]);
    expect_matches("$a/#", &["$a", "$a/b"], &["a/b"]);
    expect_matches("$a/+", &["$a/b"], &["$a"]);
}

/// Keeps [MQTT-4.7.3-1] [MQTT3-4.7.3-1].
#[test]
fn an_empty_topic_name_or_filter_is_refused() {
    in_each_version(|broker, version| {
        let mut client = join(broker, version);
        client.send(publish(""));
        expect_end(&mut client, &[0x81, 0x82, 0x90]);
    });
    expect_refused("");
}

/// Keeps [MQTT-4.7.3-4] [MQTT3-4.7.3-4].
#[test]
fn matching_compares_characters_as_they_are() {
    expect_matches(
        "caf\u{e9}/A b",
        &["caf\u{e9}/A b"],
        &["cafe\u{301}/A b", "caf\u{e9}/a b", "caf\u{e9}/A  b"],
    );
    expect_matches("a//b", &["a//b"], &["a/b", "a//b/", "/a//b"]);
    expect_matches("../a", &["../a"], &["a"]);
}
