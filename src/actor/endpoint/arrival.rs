//! From the first byte to the session: CONNECT, and who sent it.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::debug;

use super::intake::Intake;
use super::standing::Standing;
use super::{Endpoint, Stage};
use crate::actor::handle::Letter;
use crate::auth::{Attempt, Authenticator, Exchange, Login, Opening, Origin, Refusal, Step};
use crate::broker::{Attach, Closure};
use crate::clock::Instant;
use crate::connection::Transmit;
use crate::mqtt::packet::Connect;
use crate::transport::Peer;

/// What finds out who a client is.
pub(super) type Authentication = Pin<Box<dyn Future<Output = Result<Step, Refusal>> + Send>>;

/// What is only needed until the broker knows about a connection.
pub(super) struct Arrival {
    connect: Option<Box<Connect>>,
    authentication: Option<Authentication>,
    /// While the client is asked for more.
    exchange: Option<Box<Exchange>>,
    shutdown: Pin<Box<WaitForCancellationFutureOwned>>,
    /// See [`Newcomer`](super::Newcomer).
    _unfinished: Box<dyn Any + Send>,
}

impl Arrival {
    pub(super) fn new(shutdown: CancellationToken, unfinished: Box<dyn Any + Send>) -> Self {
        Self {
            connect: None,
            authentication: None,
            exchange: None,
            shutdown: Box::pin(shutdown.cancelled_owned()),
            _unfinished: unfinished,
        }
    }

    /// Begins to find out who sent this.
    pub(super) fn authenticate(&mut self, connect: Box<Connect>, peer: &Peer, auth: Arc<Authenticator>) {
        let origin = origin(peer);
        let properties = &connect.properties;
        self.authentication = Some(if let Some(method) = properties.authentication_method.clone() {
            let (certificate, data) = (peer.certificate.clone(), properties.authentication_data.clone());
            begin(auth, Opening { origin, certificate, method, data })
        } else {
            let attempt = Attempt {
                origin,
                certificate: peer.certificate.clone(),
                username: connect.username.clone(),
                password: connect.password.clone(),
            };
            Box::pin(
                async move { auth.authenticate(attempt).await.map(|login| Step::Done { login, data: None }) },
            )
        });
        self.connect = Some(connect);
    }

    /// Goes on with what the client answered.
    pub(super) fn go_on(&mut self, answer: Option<Bytes>, auth: Arc<Authenticator>) {
        self.authentication = self.exchange.take().map(|exchange| go_on(auth, exchange, answer));
    }

    /// What has been found out.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Step, Refusal>> {
        let Some(authentication) = &mut self.authentication else { return Poll::Pending };
        let found = std::task::ready!(authentication.as_mut().poll(cx));
        self.authentication = None;
        Poll::Ready(found)
    }
}

/// Where a connection comes from.
pub(super) fn origin(peer: &Peer) -> Origin {
    peer.address.map_or(Origin::Unix, |address| Origin::Ip(address.ip()))
}

/// Begins an authentication with a method.
pub(super) fn begin(auth: Arc<Authenticator>, opening: Opening) -> Authentication {
    Box::pin(async move { auth.begin(opening).await })
}

/// Goes on with an authentication.
pub(super) fn go_on(
    auth: Arc<Authenticator>,
    exchange: Box<Exchange>,
    answer: Option<Bytes>,
) -> Authentication {
    Box::pin(async move { auth.go_on(*exchange, answer).await })
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
            Poll::Ready(Ok(Step::Challenge { data, exchange })) => {
                arrival.exchange = Some(exchange);
                self.challenge(data, cx, now);
            }
            Poll::Ready(Ok(Step::Done { login, data })) => {
                if let Some(connect) = arrival.connect.take() {
                    self.attach(*connect, login, data, now);
                }
            }
            Poll::Ready(Err(Refusal { reason, detail })) => {
                let client_id = arrival.connect.as_ref().map(|connect| connect.client_id.as_str());
                debug!(connection = %self.id, peer = %self.peer, client_id, %reason, detail,
                    "the client was refused");
                self.around.counters.authentications_refused.increment();
                self.say_last_word(Some(reason), &detail, cx, now);
                self.begin_closing(Closure::Asked, now);
            }
        }
        true
    }

    /// Asks the client for more.
    pub(super) fn challenge(&mut self, data: Bytes, cx: &mut Context<'_>, now: Instant) {
        let mut packets = Vec::new();
        let (connection, mut asked) = (&mut self.connection, Ok(()));
        let encode = |out: &mut Transmit| {
            asked = connection.challenge(data, &mut packets, out);
            0
        };
        match self.outflow.write(&mut self.stream, cx, now, encode) {
            Ok(written) => self.around.counters.bytes_sent.add(written),
            Err(error) => return self.lose(&error),
        }
        self.hand_on(packets, self.unfinished.bytes());
        if let Err(error) = asked {
            self.misbehave(error);
        }
    }

    fn attach(&mut self, connect: Connect, login: Login, data: Option<Bytes>, now: Instant) {
        let Login { identity, lifetime, grants } = login;
        debug!(connection = %self.id, peer = %self.peer, client_id = %connect.client_id, version = %connect.version,
            ?identity, "the client is let in");
        self.stage = Stage::Attached;
        self.attached = true;
        self.intake = Intake::new(&self.around.limits, now);
        self.standing = Standing::of(&connect, &identity, lifetime, now);
        self.mailbox.batch_sent();
        let (policy, durability) = (self.around.policy.clone(), self.around.durability);
        let attach = Box::new(Attach { connection: self.id, connect, identity, grants, policy, durability });
        self.outbox.send(Letter::Attach(attach, Arc::clone(&self.mailbox)), &self.around.broker);
        let mut packets = Vec::new();
        self.connection.conclude(data);
        let accepted = self.connection.accept(now, &mut packets);
        self.hand_on(packets, self.unfinished.bytes());
        if let Err(error) = accepted {
            self.misbehave(error);
        }
    }
}
