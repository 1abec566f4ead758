//! What is left of authentication once a client is let in: it may authenticate again, and may have to.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tracing::debug;

use super::arrival::{Authentication, begin, go_on, origin};
use super::{Dismissal, Endpoint, Stage};
use crate::actor::handle::Letter;
use crate::auth::{Authenticator, Exchange, Login, Opening, Step};
use crate::broker::{Closure, Identity, Input};
use crate::clock::Instant;
use crate::connection::Transmit;
use crate::mqtt::ReasonCode;
use crate::mqtt::packet::{Auth, Connect};
use crate::transport::Peer;

/// Who a client has been let in as, and until when.
pub(super) struct Standing {
    identity: Identity,
    /// When it ends, if the client is not authenticated again.
    until: Option<Instant>,
    authentication: Option<Authentication>,
    /// While the client is asked for more.
    exchange: Option<Box<Exchange>>,
}

impl Standing {
    /// Nothing, where a client has used no method and may stay for ever, as most do.
    pub(super) fn of(
        connect: &Connect,
        identity: &Identity,
        lifetime: Option<Duration>,
        now: Instant,
    ) -> Option<Box<Self>> {
        (connect.properties.authentication_method.is_some() || lifetime.is_some()).then(|| {
            Box::new(Self {
                identity: identity.clone(),
                until: lifetime.map(|lifetime| now + lifetime),
                authentication: None,
                exchange: None,
            })
        })
    }

    /// When it ends.
    pub(super) fn until(&self) -> Option<Instant> {
        self.until
    }

    /// The client wants to authenticate again, or goes on with that. The connection has seen to it that it is its
    /// turn.
    pub(super) fn hear(&mut self, auth: Auth, peer: &Peer, authenticator: Arc<Authenticator>) {
        self.authentication = match (self.exchange.take(), auth.method) {
            (Some(exchange), _) => Some(go_on(authenticator, exchange, auth.data)),
            (None, Some(method)) => {
                let (origin, certificate) = (origin(peer), peer.certificate.clone());
                Some(begin(authenticator, Opening { origin, certificate, method, data: auth.data }))
            }
            (None, None) => None,
        };
    }
}

impl fmt::Debug for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Standing")
            .field("identity", &self.identity)
            .field("until", &self.until)
            .finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Endpoint<S> {
    /// Goes on authenticating a client that has been let in.
    pub(super) fn reauthenticate(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let (Stage::Attached, Some(standing)) = (&self.stage, &mut self.standing) else { return false };
        let Some(authentication) = &mut standing.authentication else { return false };
        let Poll::Ready(found) = authentication.as_mut().poll(cx) else { return false };
        standing.authentication = None;
        match found {
            Ok(Step::Challenge { data, exchange }) => {
                standing.exchange = Some(exchange);
                self.challenge(data, cx, now);
            }
            Ok(Step::Done { login: Login { identity, lifetime, grants }, data })
                if identity == standing.identity =>
            {
                debug!(connection = %self.id, peer = %self.peer, ?identity, "the client was authenticated again");
                standing.until = lifetime.map(|lifetime| now + lifetime);
                // Before what the client sends once it knows.
                let changed = Input::Reauthenticated { connection: self.id, grants };
                self.outbox.send(Letter::Input(changed), &self.around.broker);
                self.confirm(data, cx, now);
            }
            // The session and its subscriptions belong to whom the client was before.
            Ok(Step::Done { .. }) => {
                self.withdraw(ReasonCode::NotAuthorized, "re-authentication as another user");
            }
            Err(refusal) => {
                debug!(connection = %self.id, peer = %self.peer, %refusal, "re-authentication failed");
                self.around.counters.authentications_refused.increment();
                // [MQTT-4.12.1-2]
                self.withdraw(ReasonCode::NotAuthorized, "re-authentication failed");
            }
        }
        true
    }

    fn confirm(&mut self, data: Option<Bytes>, cx: &mut Context<'_>, now: Instant) {
        let (connection, mut said) = (&mut self.connection, Ok(()));
        let encode = |out: &mut Transmit| {
            said = connection.confirm(data, out);
            0
        };
        match self.outflow.write(&mut self.stream, cx, now, encode) {
            Ok(written) => self.around.counters.bytes_sent.add(written),
            Err(error) => return self.lose(&error),
        }
        if let Err(error) = said {
            self.misbehave(error);
        }
    }

    /// Closes the connection of a client that may no longer be here.
    pub(super) fn withdraw(&mut self, reason: ReasonCode, detail: &'static str) {
        debug!(connection = %self.id, peer = %self.peer, %reason, detail, "closing");
        self.stage = Stage::Dismissed(Box::new(Dismissal { how: Closure::Asked, reason, detail }));
    }
}
