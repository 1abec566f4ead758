use super::*;

fn names(users: &[&str]) -> Names {
    Names {
        any: users.contains(&"@any"),
        users: users.iter().copied().map(Arc::from).collect(),
        groups: BTreeSet::new(),
    }
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
                topic: RuleTopic::parse(filter).unwrap(),
                publish: verdicts.clone(),
                subscribe: verdicts.clone(),
                receive: verdicts,
            }
        })
        .collect();
    Policy::Rules { rules, users: ["u1", "u2"].into_iter().map(Arc::from).collect(), tokens: BTreeSet::new() }
}

fn of(policy: &Policy, user: &str) -> Permissions {
    policy.permissions(&Identity::User(Arc::from(user)), &ClientId::new("c1"))
}

#[track_caller]
fn check(lines: &[&str], user: &str, publish: &[(&str, bool)], subscribe: &[(&str, bool)]) {
    let permissions = of(&policy(lines), user);
    for (topic, expected) in publish {
        assert_eq!(permissions.may_publish(&TopicName::parse(topic).unwrap()), *expected, "publish {topic}");
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
        topic: RuleTopic::parse("a").unwrap(),
        publish: verdicts,
        subscribe: Verdicts::default(),
        receive: Verdicts::default(),
    };
    let policy = Policy::Rules { rules: vec![rule], users: BTreeSet::new(), tokens: BTreeSet::new() };
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

#[test]
fn rules_may_name_the_user_and_the_client() {
    let rules = ["+@any users/%u/#", "+@any clients/%c", "-u2 users/u2/secret"];
    check(
        &rules,
        "u1",
        &[("users/u1/x", true), ("users/u2/x", false), ("clients/c1", true), ("clients/c2", false)],
        &[("users/u1/#", true), ("users/+", true), ("users/u2/#", false)],
    );
    check(&rules, "u2", &[("users/u2/x", true), ("users/u2/secret", false)], &[("users/u2/secret", false)]);
    assert!(policy(&rules).depends_on_client_id());
    assert!(!policy(&["+@any users/%u"]).depends_on_client_id());
}

#[test]
fn each_answer_names_the_rule_that_gave_it() {
    let permissions = of(&policy(&["+u1 #", "+u2 a", "-u1 a/#", "+u1 a/b"]), "u1");
    let topic = |name| TopicName::parse(name).unwrap();
    let ruling = |allowed, rule| Ruling { allowed, rule };
    assert_eq!(permissions.rule_on_publishing(&topic("x")), ruling(true, Some(0)));
    assert_eq!(permissions.rule_on_publishing(&topic("a")), ruling(false, Some(2)));
    assert_eq!(permissions.rule_on_receiving(&topic("a/b")), ruling(true, Some(3)));
    let filter = |text| TopicFilter::parse(text).unwrap();
    assert_eq!(permissions.rule_on_subscribing(&filter("a/c")), ruling(false, Some(2)));
    assert_eq!(permissions.rule_on_subscribing(&filter("a/+")), ruling(true, Some(3)));
    assert_eq!(of(&policy(&[]), "u1").rule_on_publishing(&topic("x")), ruling(false, None));
    assert_eq!(of(&policy(&["+u1 #"]), "u1").rule_on_publishing(&topic("x")), ruling(true, Some(0)));
    assert_eq!(of(&Policy::AllowAll, "u1").rule_on_publishing(&topic("x")), ruling(true, None));
}

#[test]
fn receiving_has_verdicts_of_its_own() {
    let all = Verdicts { allow: names(&["@any"]), deny: Names::default() };
    let rule = Rule {
        topic: RuleTopic::parse("a").unwrap(),
        publish: Verdicts::default(),
        subscribe: all,
        receive: Verdicts::default(),
    };
    let permissions =
        of(&Policy::Rules { rules: vec![rule], users: BTreeSet::new(), tokens: BTreeSet::new() }, "u1");
    assert!(permissions.may_subscribe(&TopicFilter::parse("a").unwrap()));
    assert!(!permissions.may_receive(&TopicName::parse("a").unwrap()));
}

#[test]
fn a_token_grants_what_the_rules_do_not_deny() {
    let mut policy = policy(&["-u1 a/secret", "+u1 b"]);
    if let Policy::Rules { rules, .. } = &mut policy {
        let groups = [Arc::from("@g")].into();
        let allow = Names { groups, ..Names::default() };
        let verdicts = Verdicts { allow, deny: Names::default() };
        rules.push(Rule {
            topic: RuleTopic::parse("of/g").unwrap(),
            publish: verdicts.clone(),
            subscribe: verdicts.clone(),
            receive: verdicts,
        });
    }
    let filters = |texts: &[&str]| texts.iter().map(|text| TopicFilter::parse(text).unwrap()).collect();
    let grants = Grants {
        key: TokenKey::default(),
        groups: [Arc::from("@g")].into(),
        publish: filters(&["p"]),
        subscribe: filters(&["a/#"]),
        receive: None,
    };
    let topic = |name| TopicName::parse(name).unwrap();
    let permissions = |grants: Option<&Grants>| {
        policy.permissions_with(&Identity::User(Arc::from("u1")), &ClientId::new("c"), grants)
    };
    let granted = permissions(Some(&grants));
    assert!(granted.may_publish(&topic("p")) && !granted.may_publish(&topic("a/x")));
    assert!(granted.may_receive(&topic("a/x")) && !granted.may_receive(&topic("a/secret")));
    assert!(granted.may_subscribe(&TopicFilter::parse("a/#").unwrap()));
    assert!(granted.may_publish(&topic("of/g")) && granted.may_publish(&topic("b")));
    let alone = permissions(None);
    assert!(!alone.may_publish(&topic("of/g")) && !alone.may_receive(&topic("a/x")));
    let deaf = Grants { receive: Some(Vec::new()), ..grants };
    assert!(!permissions(Some(&deaf)).may_receive(&topic("a/x")));
}
