//! The broker as a service: listeners, signals, start and stop.
//!
//! [`run`] is what the daemon does. [`Server`] is the same without signals: any number of servers can run in one
//! process, as they do in tests.

mod admission;
mod attribution;
mod data_directory;
mod following;
mod open_files;
mod pace;
mod ports_file;
mod reception;
mod signals;
mod terms;
#[cfg(unix)]
#[cfg(test)]
mod tests;
mod turns;
mod visit;

use std::fmt::Write;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{error, info, warn};

pub use data_directory::DataDirectory;
pub use signals::Signals;
pub use terms::{AcceptLimits, ListenerGroup, Terms};

use crate::actor::{BrokerHandle, BrokerTask, Clock, Outside, ShellCounters, Surroundings};
use crate::auth::{AuthError, Authenticator, Authenticators, ReloadReport};
use crate::broker::{Broker, BrokerConfig, Input, PolicyName};
use crate::connection::ConnectionLimits;
use crate::storage::StorageError;
use crate::transport::proxy::ProxySettings;
use crate::transport::tls::{Report, Tls, TlsError, TlsSettings};
use crate::transport::{BoundAddress, Inherited, Listener, ListenerConfig, UnfinishedPackets};
use admission::Admission;
use open_files::OpenFiles;
use reception::Reception;

/// All that can be set about a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerConfig {
    /// Where to listen, on the terms below. At least one, here or in a group.
    pub listeners: Vec<ListenerConfig>,
    /// Where to listen on other terms.
    pub groups: Vec<ListenerGroup>,
    /// Certificates, for the listeners that need them.
    pub tls: Option<TlsSettings>,
    /// The broker's own settings.
    pub broker: BrokerConfig,
    /// Where state is kept; `None`: in memory.
    pub data: Option<DataDirectory>,
    /// The bounds on each connection.
    pub connection: ConnectionLimits,
    /// How many connections there may be.
    pub accept: AcceptLimits,
    /// Proxies, and on which listeners they say whose connections they pass on.
    pub proxies: ProxySettings,
    /// Where to write the addresses that were bound, once all listeners stand.
    pub ports_file: Option<PathBuf>,
    /// How long connections are given to end when the server is asked to stop.
    pub shutdown_grace: Duration,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listeners: Vec::new(),
            groups: Vec::new(),
            tls: None,
            broker: BrokerConfig::default(),
            data: None,
            connection: ConnectionLimits::default(),
            accept: AcceptLimits::default(),
            proxies: ProxySettings::default(),
            ports_file: None,
            shutdown_grace: Duration::from_secs(10),
        }
    }
}

/// Why a server could not start, or ended otherwise than asked to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// There is nothing to listen on.
    #[error("there is no listener")]
    NoListener,
    /// Clients of a listener are to come under a policy of which nothing is known.
    #[error("there is no policy {:?}", .0.as_str())]
    NoPolicy(PolicyName),
    /// The files of TLS are not what they should be.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// An address cannot be listened on.
    #[error("cannot listen on {listener}: {source}")]
    Bind {
        /// What should have been listened on.
        listener: String,
        /// Why not.
        source: io::Error,
    },
    /// The ports file cannot be written.
    #[error("cannot write the ports file {}: {source}", path.display())]
    PortsFile {
        /// Its path.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The data directory cannot be used.
    #[error(transparent)]
    Data(#[from] StorageError),
    /// There is no thread for the storage.
    #[error("cannot start the thread that writes to the data directory: {0}")]
    StorageThread(#[source] io::Error),
    /// Signals cannot be listened to.
    #[error("cannot listen to signals: {0}")]
    Signals(#[source] io::Error),
    /// The broker itself broke down. All sessions are lost, so that nothing is left to go on with.
    #[error("a fault ended the broker: this is a bug; all connections are lost")]
    BrokerFailed,
}

/// Serves until a signal asks to stop: the first for an orderly end, the second for an end at once.
///
/// Where the configuration names sockets that were passed on to this process, they are taken from `inherited`.
pub async fn run(config: ServerConfig, auth: Authenticators, inherited: Inherited) -> Result<(), ServeError> {
    let signals = Signals::listen().map_err(ServeError::Signals)?;
    open_files::raise_limit(config.accept.connections);
    let server = Server::bind(config, auth, inherited)?;
    let controls = server.controls();
    let shutdown = CancellationToken::new();
    tokio::select! {
        result = server.run(shutdown.clone()) => result,
        () = signals.obey(&controls, &shutdown) => Ok(()),
    }
}

/// A listener, and where its connections are taken on.
type Served = (Listener, Arc<Reception>);

/// A server whose listeners stand.
#[derive(Debug)]
pub struct Server {
    listeners: Vec<Served>,
    addresses: Vec<BoundAddress>,
    /// That of the listeners on common terms.
    reception: Arc<Reception>,
    broker: BrokerTask,
    controls: Controls,
    shutdown_grace: Duration,
    /// Where state is kept; `None`: in memory.
    data: Option<DataDirectory>,
}

impl Server {
    /// Reads the certificates, binds all listeners, and writes the ports file. Connections wait until it [runs](Self::run). To be called
    /// within the runtime.
    pub fn bind(
        config: ServerConfig,
        auth: Authenticators,
        mut inherited: Inherited,
    ) -> Result<Self, ServeError> {
        let tls = config.tls.map(Tls::open).transpose()?.map(Arc::new);
        let clock = Clock::start();
        let common = authenticator(&auth, &PolicyName::default())?;
        let outbound_window = config.broker.limits.outbound_window;
        let seed = unpredictable_seed();
        let (mut broker, keeper) = match &config.data {
            Some(data) => {
                let (broker, keeper) = data_directory::open(data, config.broker, common.policy(), seed)?;
                (broker, Some(keeper))
            }
            None => (Broker::new(config.broker, common.policy(), seed), None),
        };
        for (name, policy) in auth.policies() {
            broker.handle(Input::PolicyChanged { name, policy }, clock.now());
        }
        let unfinished = UnfinishedPackets::with_room_for(config.connection.unfinished_bytes_total);
        let outside = Outside::new(Arc::clone(&unfinished));
        let (handle, broker) = BrokerTask::new(broker, clock, keeper, Arc::clone(&outside));
        let around = Surroundings {
            broker: handle,
            auth: common,
            policy: PolicyName::default(),
            durability: None,
            unfinished,
            outside,
            limits: Arc::new(config.connection),
            outbound_window,
            counters: Arc::default(),
            clock,
            shutdown: CancellationToken::new(),
        };
        let listeners = config.groups.iter().map(|group| group.listeners.len()).sum::<usize>();
        let files = OpenFiles::beside(listeners + config.listeners.len());
        let admission = Admission::new(config.accept);
        let reception = Arc::new(Reception::new(around.clone(), admission, files, config.proxies));

        let mut bound = listen(&config.listeners, tls.as_ref(), &mut inherited, &reception)?;
        for ListenerGroup { listeners, terms } in config.groups {
            let auth = authenticator(&auth, &terms.policy)?;
            let around = Surroundings {
                auth,
                policy: terms.policy,
                durability: terms.durability,
                limits: Arc::new(terms.connection),
                ..around.clone()
            };
            let reception = Arc::new(reception.on_other_terms(around, terms.accept));
            bound.extend(listen(&listeners, tls.as_ref(), &mut inherited, &reception)?);
        }
        if bound.is_empty() {
            return Err(ServeError::NoListener);
        }
        let (addresses, listeners): (Vec<_>, Vec<_>) = bound.into_iter().unzip();
        if let Some(path) = config.ports_file {
            ports_file::write(&path, &addresses).map_err(|source| ServeError::PortsFile { path, source })?;
        }
        let controls =
            Controls { broker: around.broker, auth: Arc::new(auth), tls, counters: around.counters };
        let shutdown_grace = config.shutdown_grace;
        Ok(Self { listeners, addresses, reception, broker, controls, shutdown_grace, data: config.data })
    }

    /// Where it listens, in the order of the configuration.
    pub fn addresses(&self) -> &[BoundAddress] {
        &self.addresses
    }

    /// What can be asked of it while it runs.
    pub fn controls(&self) -> Controls {
        self.controls.clone()
    }

    /// Serves until `shutdown` is cancelled. Then nothing is accepted any more, all clients are told, and they are
    /// given the grace period to go.
    pub async fn run(self, shutdown: CancellationToken) -> Result<(), ServeError> {
        for address in &self.addresses {
            info!("listening on {address}");
        }
        if self.data.is_none() {
            info!("all state is in memory: it ends with this process");
        }
        let _expiry = self.controls.tls.clone().map(|tls| {
            tls.log_expiry(Report::All);
            AbortOnDropHandle::new(tokio::spawn(async move { tls.watch_expiry().await }))
        });
        let broker_stop = CancellationToken::new();
        let mut broker = tokio::spawn(self.broker.run(broker_stop.clone()));
        let idle: Vec<_> = self.listeners.iter().map(|(listener, _)| listener.idle()).collect();
        let mut receptions = JoinSet::new();
        for (listener, reception) in self.listeners {
            let stop = shutdown.clone();
            receptions.spawn(async move { reception.serve(listener, stop).await });
        }
        let ended = async {
            shutdown.cancelled().await;
            while receptions.join_next().await.is_some() {}
            end_connections(&self.reception, self.shutdown_grace).await;
            tell_peers(idle).await;
            broker_stop.cancel();
            std::future::pending::<()>().await;
        };
        let counters = tokio::select! {
            () = ended => return Ok(()),
            counters = &mut broker => counters.map_err(|_| ServeError::BrokerFailed)?,
        };
        self.controls.log_with(&counters);
        info!("stopped");
        Ok(())
    }
}

/// What can be asked of a running server.
#[derive(Debug, Clone)]
pub struct Controls {
    broker: BrokerHandle,
    auth: Arc<Authenticators>,
    tls: Option<Arc<Tls>>,
    counters: Arc<ShellCounters>,
}

impl Controls {
    /// Reads the auth file, certificates, keys, authorities and revocation lists again. Where any of that fails all
    /// stays as it was; either way the log says so.
    pub async fn reload(&self) {
        let (auth, tls) = (Arc::clone(&self.auth), self.tls.clone());
        match tokio::task::spawn_blocking(move || reload(&auth, tls.as_deref())).await {
            Ok(Ok(reports)) => {
                // What comes after the line in the log is judged by the new rules.
                for (name, policy) in self.auth.policies() {
                    self.broker.change_policy(name, policy).await;
                }
                for (policy, report) in reports {
                    match policy.as_str() {
                        "" => info!("auth reloaded: {report}"),
                        policy => info!("auth reloaded, {policy}: {report}"),
                    }
                }
                if let Some(tls) = &self.tls {
                    info!("certificates reloaded");
                    tls.log_expiry(Report::All);
                }
            }
            Ok(Err(error)) => error!(%error, "not reloaded; what was in force stays so"),
            Err(error) => error!(%error, "not reloaded; what was in force stays so"),
        }
    }

    /// Logs all counters, the broker's and those of what is around it, in one line.
    pub async fn log_counters(&self) {
        self.log_with(&self.broker.counters().await);
    }

    fn log_with(&self, broker: &[(&'static str, u64)]) {
        let days_left = self.tls.as_ref().map(|tls| ("certificate_days_left", tls.days_left()));
        log_counters(broker, self.counters.iter().chain(self.auth.counters()).chain(days_left));
    }

    /// What happened around the connections.
    pub fn counters(&self) -> &ShellCounters {
        &self.counters
    }
}

/// All or nothing: what is read first is put in force last.
fn reload(auth: &Authenticators, tls: Option<&Tls>) -> Result<Vec<(PolicyName, ReloadReport)>, ReloadError> {
    let certificates = tls.map(Tls::read_again).transpose()?;
    let reloaded = auth.read_again()?;
    if let Some((tls, certificates)) = tls.zip(certificates) {
        tls.install(certificates);
    }
    Ok(auth.install(reloaded))
}

/// Why nothing was reloaded.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error(transparent)]
    Auth(#[from] AuthError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

fn authenticator(auth: &Authenticators, policy: &PolicyName) -> Result<Arc<Authenticator>, ServeError> {
    auth.under(policy).map(Arc::clone).ok_or_else(|| ServeError::NoPolicy(policy.clone()))
}

/// Begins to listen; what comes is for `reception`.
fn listen(
    configs: &[ListenerConfig],
    tls: Option<&Arc<Tls>>,
    inherited: &mut Inherited,
    reception: &Arc<Reception>,
) -> Result<Vec<(BoundAddress, Served)>, ServeError> {
    let mut bind = |config| {
        let listener = Listener::bind(config, tls, inherited, &reception.around.unfinished)?;
        Ok((listener.address()?, (listener, Arc::clone(reception))))
    };
    let bound = configs.iter().map(|config| {
        bind(config).map_err(|source| ServeError::Bind { listener: config.to_string(), source })
    });
    bound.collect()
}

/// Ends all connections; returns when they have ended, or when the grace period is over.
async fn end_connections(reception: &Reception, grace: Duration) {
    reception.around.shutdown.cancel();
    reception.endpoints.close();
    let ended = async {
        reception.around.broker.shut_down().await;
        reception.endpoints.wait().await;
    };
    if time::timeout(grace, ended).await.is_err() {
        let open = reception.endpoints.len();
        warn!(open, "connections are still open after the grace period; dropping them");
    }
}

/// Waits until the other ends know that their connections have ended, or for a moment: some do not answer.
async fn tell_peers(idle: Vec<impl Future<Output = ()>>) {
    const MOMENT: Duration = Duration::from_secs(1);
    let all = async {
        for idle in idle {
            idle.await;
        }
    };
    // What is lost by going is a hint: peers notice by themselves, later.
    let _ = time::timeout(MOMENT, all).await;
}

/// One line: the names and values of all counters. What both broker and shell count is added up.
fn log_counters(broker: &[(&'static str, u64)], shell: impl Iterator<Item = (&'static str, u64)>) {
    let mut all = broker.to_vec();
    for (name, count) in shell {
        match all.iter_mut().find(|(other, _)| *other == name) {
            Some((_, sum)) => *sum += count,
            None => all.push((name, count)),
        }
    }
    let mut line = String::new();
    for (name, value) in all {
        // A String takes whatever is written.
        let _ = write!(line, " {name}={value}");
    }
    info!("counters{line}");
}

/// A number that clients cannot guess: the standard library keys its hash tables from the system's random source.
fn unpredictable_seed() -> u64 {
    RandomState::new().hash_one(std::process::id())
}
