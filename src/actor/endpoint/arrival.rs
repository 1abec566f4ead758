//! From the first byte to the session: CONNECT, and who sent it.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::debug;

use super::intake::Intake;
use super::{Endpoint, Stage};
use crate::actor::handle::Letter;
use crate::auth::{Attempt, Authenticator, Origin, Refusal};
use crate::broker::{Attach, Closure, Identity};
use crate::clock::Instant;
use crate::mqtt::packet::Connect;
use crate::transport::Peer;

type Authentication = Pin<Box<dyn Future<Output = Result<Identity, Refusal>> + Send>>;

/// What is only needed until the broker knows about a connection.
pub(super) struct Arrival {
    connect: Option<Box<Connect>>,
    authentication: Option<Authentication>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    /// See [`Newcomer`](super::Newcomer).
    _unfinished: Box<dyn Any + Send>,
}

impl Arrival {
    pub(super) fn new(shutdown: CancellationToken, unfinished: Box<dyn Any + Send>) -> Self {
        Self {
            connect: None,
            authentication: None,
            shutdown: Box::pin(shutdown.cancelled_owned()),
            _unfinished: unfinished,
        }
    }

    /// Begins to find out who sent this.
    pub(super) fn authenticate(&mut self, connect: Box<Connect>, peer: &Peer, auth: Arc<Authenticator>) {
        let attempt = Attempt {
            origin: peer.address.map_or(Origin::Unix, |address| Origin::Ip(address.ip())),
            certificate: peer.certificate.clone(),
            username: connect.username.clone(),
            password: connect.password.clone(),
        };
        self.connect = Some(connect);
        self.authentication = Some(Box::pin(async move { auth.authenticate(attempt).await }));
    }

    /// What has been found out.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<(Box<Connect>, Result<Identity, Refusal>)> {
        let Some(authentication) = &mut self.authentication else { return Poll::Pending };
        let found = std::task::ready!(authentication.as_mut().poll(cx));
        self.authentication = None;
        self.connect.take().map_or(Poll::Pending, |connect| Poll::Ready((connect, found)))
    }
}

impl fmt::Debug for Arrival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Arrival").field("connect", &self.connect).finish_non_exhaustive()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Endpoint<S> {
    /// Lets the client in, or turns it away, once it is known who it is.
    pub(super) fn arrive(&mut self, cx: &mut Context<'_>, now: Instant) -> bool {
        let Stage::Arriving(arrival) = &mut self.stage else { return false };
        if arrival.shutdown.as_mut().poll(cx).is_ready() {
            self.stage = Stage::Ended;
            return true;
        }
        match arrival.poll(cx) {
            Poll::Pending => return false,
            Poll::Ready((connect, Ok(identity))) => self.attach(*connect, identity, now),
            Poll::Ready((connect, Err(Refusal { reason, detail }))) => {
                debug!(connection = %self.id, peer = %self.peer, client_id = %connect.client_id, %reason, detail,
                    "the client was refused");
                self.around.counters.authentications_refused.increment();
                self.say_last_word(Some(reason), &detail, cx, now);
                self.begin_closing(Closure::Asked, now);
            }
        }
        true
    }

    fn attach(&mut self, connect: Connect, identity: Identity, now: Instant) {
        debug!(connection = %self.id, peer = %self.peer, client_id = %connect.client_id, version = %connect.version,
            ?identity, "the client is let in");
        self.stage = Stage::Attached;
        self.attached = true;
        self.intake = Intake::new(&self.around.limits, now);
        self.mailbox.batch_sent();
        let attach = Box::new(Attach { connection: self.id, connect, identity });
        self.outbox.send(Letter::Attach(attach, Arc::clone(&self.mailbox)), &self.around.broker);
        let mut packets = Vec::new();
        let accepted = self.connection.accept(now, &mut packets);
        self.hand_on(packets);
        if let Err(error) = accepted {
            self.misbehave(error);
        }
    }
}
