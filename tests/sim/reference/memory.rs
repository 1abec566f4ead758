//! What the reference broker knows that outlives a broker, and what it makes of what has outlived one.

use std::rc::Rc;
use std::time::Duration;

use mqtt_broker::broker::Room;
use mqtt_broker::broker::record::SessionId;
use mqtt_broker::clock::Instant;
use mqtt_broker::mqtt::{Message, SubscriptionFilter};

use super::{Reference, Session};
use crate::account::{Account, Presence, RetainedAccount, SessionAccount, publisher_name};
use crate::claims::{Expected, Subscription};

/// How much of what a broker was told has outlived it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Outlived {
    /// All that came of the first so many inputs.
    pub(crate) inputs: u64,
    /// Some of what came of this one.
    pub(crate) partly: Option<u64>,
    /// Whether what clients did and were told may be lost all the same.
    pub(crate) is_lossy: bool,
}

impl Outlived {
    /// Whether something of what came of this input is among it.
    pub(crate) fn includes(self, input: u64) -> bool {
        input <= self.inputs || Some(input) == self.partly
    }
}

impl Reference {
    /// What outlives the broker.
    pub(crate) fn account(&self) -> Account {
        let mut account = Account { unsure: self.unsure.clone(), ..Account::default() };
        for session in self.sessions.iter().filter(|session| session.is_kept && !session.ended) {
            account.sessions.insert(session.client_id.to_string(), session.account());
        }
        for Expected { message, publisher, .. } in &self.retained {
            let retained = RetainedAccount {
                payload: message.payload.clone(),
                publisher: publisher_name(publisher),
                expires_at: message.expires_at.map(in_milliseconds),
            };
            account.retained.insert(message.topic.as_str().to_owned(), retained);
        }
        account
    }

    /// Another broker has been started, whose counters begin anew.
    pub(crate) fn restarted(&mut self) {
        self.tally_before = self.tally.clone();
    }

    /// The broker has given this number to a session, and perhaps also its name.
    pub(crate) fn learn(&mut self, id: SessionId, client_id: &str) {
        let known = self.sessions.iter().position(|session| session.id == Some(id));
        if known.is_some_and(|known| !self.sessions[known].ended) {
            return;
        }
        let is_it = |session: &&mut Session| {
            let is_named = client_id.starts_with("auto-") && session.client_id.starts_with("auto ");
            session.is_kept
                && !session.ended
                && session.id.is_none()
                && (is_named || *session.client_id == *client_id)
        };
        let session = self.sessions.iter_mut().rev().find(is_it);
        if let Some(session) = session {
            session.id = Some(id);
            session.client_id = client_id.into();
            // One of which nothing is left may have had the number before.
            if let Some(known) = known {
                self.sessions[known].id = None;
            }
        } else {
            assert!(known.is_some(), "{client_id} is kept as {id:?}, and need not be");
        }
    }

    /// Another broker has taken over, and knows what is `told`.
    pub(crate) fn recover(&mut self, told: &Account, outlived: Outlived) {
        self.answers.clear();
        self.due.clear();
        self.room = Room::Enough;
        self.retained = told.retained.iter().map(|(topic, retained)| self.once(topic, retained)).collect();
        let mut gone = Vec::new();
        for (index, session) in self.sessions.iter_mut().enumerate() {
            let of_it = |told: &&SessionAccount| told.id.is_some() && told.id == session.id;
            if let Some(told) = told.sessions.values().find(of_it) {
                session.come_back(told);
            } else {
                if !session.ended {
                    gone.push(index);
                }
                session.vanish();
            }
            session.claims.outlive(outlived, &self.retained);
        }
        for (client, session) in &told.sessions {
            let is_known = self.sessions.iter().any(|known| known.id == session.id);
            assert!(is_known, "nobody knows the session {:?} of {client}", session.id);
        }
        self.shared.retain_mut(|shared| shared.outlive(outlived, &gone));
    }

    /// The message that was retained once, with its life as it was written down.
    fn once(&self, topic: &str, told: &RetainedAccount) -> Expected {
        let is_it = |expected: &&Expected| {
            expected.message.topic.as_str() == topic
                && expected.message.payload == told.payload
                && publisher_name(&expected.publisher) == told.publisher
        };
        let found = self.once_retained.iter().rev().find(is_it);
        let found = found.unwrap_or_else(|| panic!("nobody ever retained {told:?} in {topic}"));
        Expected {
            message: Rc::new(Message { expires_at: told.expires_at, ..(*found.message).clone() }),
            ..found.clone()
        }
    }
}

impl Session {
    fn account(&self) -> SessionAccount {
        let presence = match self.connection {
            Some(_) => Presence::Connected,
            None if self.was_cut_off => Presence::CutOff,
            None => Presence::Away,
        };
        let subscription = |subscription: &Subscription| {
            (subscription.filter.to_string(), (subscription.options, subscription.identifier))
        };
        SessionAccount {
            id: self.id,
            identity: self.identity.clone(),
            expiry: self.expiry,
            presence,
            ends: self.expires_at.map(in_milliseconds),
            will: self.will.clone(),
            will_at: self.will_at.map(in_milliseconds),
            subscriptions: self.subscriptions.iter().map(subscription).collect(),
            received: self.received.iter().copied().collect(),
        }
    }

    fn come_back(&mut self, told: &SessionAccount) {
        self.ended = false;
        self.connection = None;
        self.was_cut_off = told.presence == Presence::Connected;
        self.expiry = told.expiry;
        self.expires_at = told.ends;
        self.will.clone_from(&told.will);
        self.will_at = told.will_at;
        self.received = told.received.iter().copied().collect();
        self.received_as.clear();
        let subscriptions = told.subscriptions.iter();
        self.subscriptions = subscriptions
            .map(|(filter, (options, identifier))| Subscription {
                filter: SubscriptionFilter::parse(filter).unwrap(),
                options: *options,
                identifier: *identifier,
            })
            .collect();
    }

    /// The session did not outlive its broker, or had ended before.
    fn vanish(&mut self) {
        self.ended = true;
        self.connection = None;
        self.expires_at = None;
        self.will = None;
        self.will_at = None;
        self.claims.ended();
    }
}

fn in_milliseconds(at: Instant) -> Instant {
    let millis = u64::try_from(at.since_start().as_millis()).unwrap();
    Instant::from_start(Duration::from_millis(millis))
}
