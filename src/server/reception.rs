//! Where connections are taken on.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::{task, time};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::AcceptLimits;
use super::admission::{Account, Admission, Full, Place, Source, Unfinished};
use super::attribution::Attribution;
use super::following::Following;
use super::open_files::{OpenFile, OpenFiles};
use super::turns::Turns;
use super::visit::Visit;
use crate::actor::{Newcomer, ShellCounters, Surroundings};
use crate::broker::ConnectionId;
use crate::transport::proxy::{ProxyLayer, ProxySettings};
use crate::transport::{Accepted, Handshake, Listener, Peer, Plain, Then, Transport};

/// Takes connections on and starts their endpoints.
#[derive(Debug)]
pub(super) struct Reception {
    pub(super) around: Arc<Surroundings>,
    pub(super) admission: Arc<Admission>,
    proxies: ProxySettings,
    files: OpenFiles,
    pub(super) endpoints: TaskTracker,
    next: Arc<AtomicU64>,
    turns: Turns,
}

impl Reception {
    /// To be called within the runtime.
    pub(super) fn new(
        around: Surroundings,
        admission: Arc<Admission>,
        files: OpenFiles,
        proxies: ProxySettings,
    ) -> Self {
        let next = Arc::new(AtomicU64::new(1));
        let (around, endpoints, turns) = (Arc::new(around), TaskTracker::new(), Turns::new());
        Self { around, admission, proxies, files, endpoints, next, turns }
    }

    /// One beside it, for connections on other terms. They count among all.
    pub(super) fn on_other_terms(&self, around: Surroundings, limits: AcceptLimits) -> Self {
        Self {
            around: Arc::new(around),
            admission: Admission::within(&self.admission, limits),
            proxies: self.proxies.clone(),
            files: self.files.clone(),
            endpoints: self.endpoints.clone(),
            next: Arc::clone(&self.next),
            turns: self.turns.clone(),
        }
    }

    /// Takes on what comes to this listener, until asked to stop.
    pub(super) async fn serve(&self, listener: Listener, stop: CancellationToken) {
        let mut trouble = Trouble::default();
        // With the listener ends the accepting: what comes later is refused by the system.
        while let Some((file, accepted)) =
            stop.run_until_cancelled(self.accept(&listener, &mut trouble)).await
        {
            match accepted {
                Ok(accepted) => {
                    trouble.is_over();
                    self.take_on(accepted, file);
                    // The runtime runs first what was spawned last: let it begin, so that connections are heard in
                    // the order in which they came, as far as that depends on us.
                    task::yield_now().await;
                }
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    self.around.counters.accept_errors.increment();
                    let pause = trouble.goes_on(&error);
                    stop.run_until_cancelled(time::sleep(pause)).await;
                }
            }
        }
    }

    /// The next connection, and the file that it is, which is waited for first.
    async fn accept(
        &self,
        listener: &Listener,
        trouble: &mut Trouble,
    ) -> (Option<OpenFile>, io::Result<Accepted>) {
        if listener.is_of_datagrams() {
            return (None, listener.accept().await);
        }
        let file = match self.files.try_take() {
            Ok(file) => Some(file),
            Err(error) => {
                self.around.counters.accept_errors.increment();
                trouble.goes_on(&error);
                self.files.take().await
            }
        };
        (file, listener.accept().await)
    }

    fn take_on(&self, accepted: Accepted, file: Option<OpenFile>) {
        let address = accepted.peer().address.map(|address| address.ip());
        let accepted = if self.admission.is_crowded(address) {
            let Some(accepted) = accepted.ask_for_address() else {
                self.around.counters.addresses_asked_for.increment();
                return;
            };
            accepted
        } else {
            accepted
        };
        let peer = accepted.peer();
        let now = self.around.clock.now();
        let account = if self.proxies.expects_header(peer) {
            Account::Proxied(Arc::default())
        } else if let (Transport::Quic, Some(address)) = (peer.transport, peer.address) {
            Account::of_mobile(address.ip())
        } else {
            Account::of(peer.address.map(|address| address.ip()))
        };
        let places = match self.admission.admit(account.clone(), now) {
            Ok(held) => Places { account, held, file },
            Err(full) => return turn_away(full, peer, &self.around.counters),
        };
        match accepted {
            Accepted::Tcp(stream, peer) => self.start(stream, peer, Plain, places),
            Accepted::Tls(stream, peer, layer) => self.start(stream, peer, layer, places),
            Accepted::WebSocket(stream, peer, upgrade) => self.start(stream, peer, upgrade, places),
            Accepted::WebSocketTls(stream, peer, layers) => self.start(stream, peer, layers, places),
            // No proxy speaks QUIC to us.
            Accepted::Quic(incoming, peer, layer) => {
                let account = places.account.clone();
                let following = Following { admission: Arc::clone(&self.admission), account };
                self.visit(incoming, peer, Then(layer, following), places);
            }
            Accepted::Unix(stream, peer) => self.start(stream, peer, Plain, places),
        }
    }

    /// Gives the connection its task: handshakes first, then MQTT.
    fn start<S, H>(&self, stream: S, peer: Peer, handshake: H, places: Places)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        H: Handshake<S>,
    {
        if matches!(places.account, Account::Proxied(_)) {
            let account = places.account.clone();
            let (admission, around) = (Arc::clone(&self.admission), Arc::clone(&self.around));
            let proxy = ProxyLayer::new(Arc::clone(&around.unfinished));
            let attribution = Attribution { admission, account, around };
            self.visit(stream, peer, Then(proxy, Then(attribution, handshake)), places);
        } else {
            self.visit(stream, peer, handshake, places);
        }
    }

    fn visit<S, H>(&self, stream: S, peer: Peer, handshake: H, places: Places)
    where
        S: Send + 'static,
        H: Handshake<S>,
    {
        let Places { held: (place, unfinished), file, .. } = places;
        let id = ConnectionId(self.next.fetch_add(1, Ordering::Relaxed));
        let source = peer.address.map(|address| Source::of(address.ip()));
        let newcomer =
            Newcomer { peer, id, accepted: self.around.clock.now(), unfinished: Box::new(unfinished) };
        let terms = (self.turns.queue(source), place, file);
        self.endpoints.spawn(Visit::begin(stream, handshake, newcomer, terms, Arc::clone(&self.around)));
    }
}

/// What a connection has been given.
struct Places {
    account: Account,
    held: (Place, Unfinished),
    file: Option<OpenFile>,
}

/// Which version of MQTT would be spoken is not known yet, so that nothing can be said: the stream is dropped.
pub(super) fn turn_away(full: Full, peer: &Peer, counters: &ShellCounters) {
    let (counter, limit) = match full {
        Full::Total => (&counters.connections_refused_total, "there are too many"),
        Full::Address => (&counters.connections_refused_address, "there are too many from its address"),
        Full::UnfinishedTotal => {
            (&counters.connections_refused_unfinished_total, "there are too many that are not let in yet")
        }
        Full::UnfinishedAddress => (
            &counters.connections_refused_unfinished_address,
            "there are too many from its address that are not let in yet",
        ),
        Full::RateTotal => (&counters.connections_refused_rate_total, "too many come"),
        Full::RateAddress => (&counters.connections_refused_rate_address, "too many come from its address"),
    };
    let refused = counter.increment();
    // A flood of connections must not become a flood of lines.
    if refused.is_power_of_two() {
        warn!(%peer, refused, "connection refused: {limit}");
    }
}

/// Whether the error says nothing about the connections to come.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::Interrupted
    )
}

/// A time in which no connection could be accepted, for want of file descriptors or memory as a rule.
#[derive(Debug, Default)]
struct Trouble {
    pause: Option<Duration>,
    /// How often it has begun.
    times: u64,
}

impl Trouble {
    const SHORTEST: Duration = Duration::from_millis(10);
    const LONGEST: Duration = Duration::from_secs(1);

    /// How long to wait before the next attempt. Logs only the first of a row, and of rows ever fewer: where many
    /// connections come and go they follow closely upon each other.
    fn goes_on(&mut self, error: &io::Error) -> Duration {
        if self.pause.is_none() {
            self.times += 1;
            if self.times.is_power_of_two() {
                warn!(%error, times = self.times, "connections cannot be accepted; trying again until they can");
            }
        }
        let pause = self.pause.map_or(Self::SHORTEST, |pause| (pause * 2).min(Self::LONGEST));
        self.pause = Some(pause);
        pause
    }

    fn is_over(&mut self) {
        if self.pause.take().is_some() && self.times.is_power_of_two() {
            info!("connections are accepted again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_second_and_begin_anew_after_a_success() {
        let mut trouble = Trouble::default();
        let error = io::Error::other("no file descriptor is left");
        let pauses: Vec<_> = (0..9).map(|_| trouble.goes_on(&error)).collect();
        assert_eq!(pauses.first(), Some(&Trouble::SHORTEST));
        assert!(pauses.is_sorted());
        assert_eq!(pauses.last(), Some(&Trouble::LONGEST));
        trouble.is_over();
        assert_eq!(trouble.goes_on(&error), Trouble::SHORTEST);
    }
}
