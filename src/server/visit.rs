//! One connection from its beginning to its end: the handshakes of its transport, then MQTT.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time;
use tracing::{debug, error};

use super::admission::Place;
use super::open_files::OpenFile;
use super::turns::Queue;
use crate::actor::{Endpoint, Newcomer, Surroundings};
use crate::transport::{Handshake, HandshakeError};

/// A connection that has been taken on. As a future it is complete when the connection has ended.
///
/// Not an `async` block, which would take twice the memory.
pub(super) struct Visit<T> {
    stage: Stage<T>,
    around: Arc<Surroundings>,
    /// Until the client is let in, or turned away.
    queue: Option<Box<Queue>>,
    _places: (Place, Option<OpenFile>),
}

#[expect(clippy::large_enum_variant, reason = "it is the larger one nearly all the time")]
enum Stage<T> {
    /// The handshakes. In a box, so that what they need is given back when they are done.
    Opening(Pin<Box<dyn Future<Output = Option<Endpoint<T>>> + Send>>),
    Serving(Endpoint<T>),
}

impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Visit<T> {
    pub(super) fn begin<S, H>(
        stream: S,
        handshake: H,
        newcomer: Newcomer,
        (queue, place, file): (Queue, Place, Option<OpenFile>),
        around: Arc<Surroundings>,
    ) -> Self
    where
        S: Send + 'static,
        H: Handshake<S, Stream = T>,
    {
        around.counters.connections_accepted.increment();
        let opening = Box::pin(open(stream, handshake, newcomer, Arc::clone(&around)));
        Self { stage: Stage::Opening(opening), around, queue: Some(Box::new(queue)), _places: (place, file) }
    }
}

/// Performs the handshakes, within the time to CONNECT and as long as the server runs.
async fn open<S, H: Handshake<S>>(
    stream: S,
    handshake: H,
    newcomer: Newcomer,
    around: Arc<Surroundings>,
) -> Option<Endpoint<H::Stream>> {
    let deadline = around.clock.to_tokio(newcomer.accepted + around.limits.connect_timeout);
    let performed = time::timeout_at(deadline, handshake.perform(stream, newcomer.peer.clone()));
    match around.shutdown.run_until_cancelled(performed).await? {
        Ok(Ok((stream, peer))) => Some(Endpoint::new(stream, Newcomer { peer, ..newcomer }, around)),
        // It is counted, and the log has a line for it if it is to have one.
        Ok(Err(HandshakeError::Refused)) => None,
        Ok(Err(error)) => {
            debug!(connection = %newcomer.id, peer = %newcomer.peer, %error, "the handshake failed");
            around.counters.handshakes_failed.increment();
            if error.is_for_want_of_room() {
                around.counters.refused_unfinished.increment();
            }
            None
        }
        Err(_) => {
            debug!(connection = %newcomer.id, peer = %newcomer.peer, "the handshake was not done in time");
            around.counters.connect_timeouts.increment();
            None
        }
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> Future for Visit<T> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Self { stage, queue, .. } = &mut *self;
        loop {
            match stage {
                Stage::Opening(opening) => {
                    match std::task::ready!(poll_in_turn(queue.as_deref_mut(), opening.as_mut(), cx)) {
                        Some(endpoint) => *stage = Stage::Serving(endpoint),
                        None => return Poll::Ready(()),
                    }
                }
                Stage::Serving(endpoint) => {
                    let polled = poll_in_turn(queue.as_deref_mut(), Pin::new(&mut *endpoint), cx);
                    if endpoint.has_arrived() {
                        *queue = None;
                    }
                    return polled;
                }
            }
        }
    }
}

/// Polls a future when it is its turn; at once if it is in no queue.
fn poll_in_turn<F: Future + ?Sized>(
    queue: Option<&mut Queue>,
    future: Pin<&mut F>,
    cx: &mut Context<'_>,
) -> Poll<F::Output> {
    match queue {
        Some(queue) => queue.poll(future, cx),
        None => future.poll(cx),
    }
}

impl<T> Drop for Visit<T> {
    fn drop(&mut self) {
        self.around.counters.connections_ended.increment();
        // An endpoint says so itself.
        if matches!(self.stage, Stage::Opening(_)) && std::thread::panicking() {
            self.around.counters.panics.increment();
            error!("a fault ended the handshake of a connection");
        }
    }
}
