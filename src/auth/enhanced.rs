//! Enhanced authentication (MQTT 5.0 section 4.12): methods that take more than a user name and a password.
//!
//! A method is given what the client said, and either knows who it is or has something to ask. [`Exchange`] is what it
//! has to remember meanwhile; the caller keeps it.

use std::sync::Arc;
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use bytes::Bytes;

use super::accounts::Accounts;
use super::jwt;
use super::scram::{self, ScramError, ScramExchange};
use super::throttle::Turn;
use super::{Authenticator, Login, Origin, Refusal};
use crate::broker::Identity;
use crate::mqtt::ReasonCode;

/// A client's wish to be authenticated with a method.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Where it comes from.
    pub origin: Origin,
    /// Who it is according to its certificate, where it has shown one that was verified.
    pub certificate: Option<Arc<str>>,
    /// The method.
    pub method: Arc<str>,
    /// What the client says first.
    pub data: Option<Bytes>,
}

/// How far an authentication has come.
#[derive(Debug)]
pub enum Step {
    /// The client is to be asked for more.
    Challenge {
        /// What to ask.
        data: Bytes,
        /// To be given back with the answer.
        exchange: Box<Exchange>,
    },
    /// It is known who the client is.
    Done {
        /// Who.
        login: Login,
        /// What to tell the client with its success.
        data: Option<Bytes>,
    },
}

/// An authentication in which the client has been asked something.
#[derive(Debug)]
pub struct Exchange {
    scram: ScramExchange,
    certificate: Option<Arc<str>>,
    turn: Turn,
}

impl Authenticator {
    /// Begins to find out who a client is that wants to be authenticated with a method.
    ///
    /// The future may be dropped at any time.
    pub async fn begin(&self, opening: Opening) -> Result<Step, Refusal> {
        let state = self.current();
        match (&*opening.method, state.accounts()) {
            (scram::METHOD, Some(accounts)) if accounts.have_scram_keys() => {
                self.begin_scram(opening, accounts).await
            }
            (jwt::METHOD, Some(_)) if state.tokens().is_some() => {
                let token = opening.data.unwrap_or_default();
                let login = self.verify_token(&state, opening.origin, None, token).await?;
                let accounts = state.accounts();
                let login = confirmed(login, accounts, opening.certificate.as_deref())?;
                Ok(Step::Done { login, data: None })
            }
            // [MQTT-4.12.0-1]
            _ => Err(Refusal::new(
                ReasonCode::BadAuthenticationMethod,
                "the authentication method is not supported",
            )),
        }
    }

    /// Goes on, with what the client has answered.
    ///
    /// The future may be dropped at any time.
    pub async fn go_on(&self, exchange: Exchange, answer: Option<Bytes>) -> Result<Step, Refusal> {
        let Exchange { scram, certificate, mut turn } = exchange;
        let guess = turn.guess;
        // Many may have been asked before the first of them answers.
        while !self.throttle.holds(&turn, Instant::now()) {
            turn = self.wait_for_another(&turn).await?;
        }
        let user = scram.user().to_owned();
        let finished = scram.finish(&answer.unwrap_or_default());
        // The file may have changed since the exchange began.
        let state = self.current();
        let accounts = state.accounts();
        let user = accounts.and_then(|accounts| accounts.name_of(&user));
        match (finished, user) {
            (Ok(data), Some(user)) => {
                self.throttle.succeeded(guess);
                let login = Login::from(Identity::User(user));
                let login = confirmed(login, accounts, certificate.as_deref())?;
                Ok(Step::Done { login, data: Some(data.into()) })
            }
            (Ok(_), None) => Err(refused(ScramError::WrongProof)),
            (Err(error), _) => {
                self.throttle.failed(guess, Instant::now());
                Err(refused(error))
            }
        }
    }

    async fn begin_scram(&self, opening: Opening, accounts: &Accounts) -> Result<Step, Refusal> {
        let Opening { origin, certificate, data, .. } = opening;
        let mut nonce = [0; 18];
        getrandom::fill(&mut nonce)
            .map_err(|_| Refusal::new(ReasonCode::UnspecifiedError, "no random numbers are to be had"))?;
        let nonce = STANDARD_NO_PAD.encode(nonce);
        let keys_of = |name: &str| accounts.scram_keys_of(name, &self.secret);
        let (scram, question) =
            ScramExchange::begin(&data.unwrap_or_default(), &nonce, keys_of).map_err(refused)?;
        let guess = self.throttle.guess(origin, scram.user());
        let turn = self.wait_for_turn(guess).await?;
        let exchange = Box::new(Exchange { scram, certificate, turn });
        Ok(Step::Challenge { data: question.into(), exchange })
    }
}

/// A method may confirm what a certificate says, and not contradict it: with the certificate of one user and the secret
/// of another a client is neither.
fn confirmed(login: Login, accounts: Option<&Accounts>, certificate: Option<&str>) -> Result<Login, Refusal> {
    let certified = accounts.zip(certificate).and_then(|(accounts, name)| accounts.certified(name));
    match certified {
        Some(user) if login.identity != Identity::User(Arc::clone(user)) => Err(Refusal::new(
            ReasonCode::NotAuthorized,
            "the certificate is that of another user than the method has found",
        )),
        Some(_) | None => Ok(login),
    }
}

fn refused(error: ScramError) -> Refusal {
    Refusal::new(ReasonCode::NotAuthorized, &error.to_string())
}
