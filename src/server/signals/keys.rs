//! Systems without signals: there is the key that interrupts a program.

use std::io;

use tokio::signal;

use super::Wish;

/// Where it is heard.
#[derive(Debug)]
pub(super) struct Sources;

impl Sources {
    #[expect(clippy::unnecessary_wraps, reason = "elsewhere it fails")]
    pub(super) fn listen() -> io::Result<Self> {
        Ok(Self)
    }

    /// What it asks for; `None`: it cannot be heard.
    pub(super) async fn next(&mut self) -> Option<Wish> {
        signal::ctrl_c().await.is_ok().then_some(Wish::Stop)
    }
}
