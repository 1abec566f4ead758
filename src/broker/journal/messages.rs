//! The messages that the journal holds: each once, however many queues it is in.
//!
//! As many of them as a bound allows are in memory, too, the latest; others are read again when they are needed.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use foldhash::fast::FixedState;

use crate::broker::memory::KEPT_MESSAGE;
use crate::broker::record::{Number, Sequence};
use crate::broker::session::SessionKey;
use crate::clock::Instant;
use crate::mqtt::Message;

/// All messages that the journal holds and somebody needs.
#[derive(Debug)]
pub(in crate::broker) struct KeptMessages {
    messages: HashMap<Number, KeptMessage, FixedState>,
    /// Those that are in memory, but for the retained ones, in the order in which they came there.
    cached: VecDeque<Number>,
    cached_bytes: usize,
    /// How many bytes may be in memory.
    cache_bytes: usize,
    live_bytes: u64,
    /// What is to be read.
    wanted: Vec<(Number, Sequence)>,
    /// Who was waiting for a message that nobody needs any more.
    bereft: Vec<SessionKey>,
}

#[derive(Debug)]
struct KeptMessage {
    /// The record that holds it.
    home: Sequence,
    /// How many need it: places in queues, and the retained store.
    references: u32,
    footprint: u32,
    is_retained: bool,
    expires_at: Option<Instant>,
    body: Option<Arc<Message>>,
    /// Who is waiting for it to be read.
    #[expect(clippy::box_collection, reason = "of most messages nobody waits for: 8 bytes instead of 24")]
    waiting: Option<Box<Vec<SessionKey>>>,
}

impl KeptMessage {
    const fn new(home: Sequence, footprint: u32, expires_at: Option<Instant>) -> Self {
        Self { home, references: 0, footprint, is_retained: false, expires_at, body: None, waiting: None }
    }
}

/// Bytes of a record beyond its message's footprint, by and large.
const RECORD: u64 = 64;

/// Messages in memory for which the journal need not be asked, at the least.
const CACHE_BYTES: usize = 64 << 20;

impl KeptMessages {
    pub(in crate::broker) fn new(seed: u64) -> Self {
        Self {
            messages: HashMap::with_hasher(FixedState::with_seed(seed)),
            cached: VecDeque::new(),
            cached_bytes: 0,
            cache_bytes: CACHE_BYTES,
            live_bytes: 0,
            wanted: Vec::new(),
            bereft: Vec::new(),
        }
    }

    pub(in crate::broker) const fn set_cache_bytes(&mut self, bytes: usize) {
        self.cache_bytes = bytes;
    }

    pub(in crate::broker) fn len(&self) -> usize {
        self.messages.len()
    }

    /// The bytes that it takes to know of them, without those that are in memory.
    pub(in crate::broker) fn table_bytes(&self) -> usize {
        self.messages.len() * KEPT_MESSAGE
    }

    pub(in crate::broker) const fn cached_bytes(&self) -> usize {
        self.cached_bytes
    }

    pub(in crate::broker) const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Takes up a message that is written down in this record, and has so many places in queues. It may have none yet.
    pub(in crate::broker) fn insert(
        &mut self,
        number: Number,
        message: &Arc<Message>,
        home: Sequence,
        references: u32,
    ) {
        let footprint = u32::try_from(message.footprint()).unwrap_or(u32::MAX);
        let kept = KeptMessage {
            references,
            body: Some(Arc::clone(message)),
            ..KeptMessage::new(home, footprint, message.expires_at)
        };
        self.live_bytes += RECORD + u64::from(footprint);
        self.cached_bytes += bytes(footprint);
        self.cached.push_back(number);
        self.messages.insert(number, kept);
    }

    /// Takes up a message that is not in memory, or its new home.
    pub(in crate::broker) fn insert_unread(
        &mut self,
        number: Number,
        home: Sequence,
        footprint: u32,
        expires_at: Option<Instant>,
    ) {
        if self.contains(number) {
            self.set_home(number, home);
        } else {
            self.live_bytes += RECORD + u64::from(footprint);
            self.messages.insert(number, KeptMessage::new(home, footprint, expires_at));
        }
    }

    pub(in crate::broker) fn contains(&self, number: Number) -> bool {
        self.messages.contains_key(&number)
    }

    /// The record that holds a message.
    pub(in crate::broker) fn home(&self, number: Number) -> Option<Sequence> {
        self.messages.get(&number).map(|message| message.home)
    }

    pub(in crate::broker) fn set_home(&mut self, number: Number, home: Sequence) {
        if let Some(message) = self.messages.get_mut(&number) {
            message.home = home;
        }
    }

    pub(in crate::broker) fn footprint(&self, number: Number) -> u32 {
        self.messages.get(&number).map_or(0, |message| message.footprint)
    }

    pub(in crate::broker) fn expires_at(&self, number: Number) -> Option<Instant> {
        self.messages.get(&number)?.expires_at
    }

    /// The message, if it is in memory.
    pub(in crate::broker) fn body(&self, number: Number) -> Option<&Arc<Message>> {
        self.messages.get(&number)?.body.as_ref()
    }

    pub(in crate::broker) fn is_retained(&self, number: Number) -> bool {
        self.messages.get(&number).is_some_and(|message| message.is_retained)
    }

    /// One more needs the message.
    pub(in crate::broker) fn refer(&mut self, number: Number) {
        if let Some(message) = self.messages.get_mut(&number) {
            message.references += 1;
        }
    }

    /// One fewer needs the message; if nobody does, it is forgotten.
    pub(in crate::broker) fn release(&mut self, number: Number) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        message.references = message.references.saturating_sub(1);
        if message.references == 0 {
            self.forget(number);
        }
    }

    /// Forgets all messages that nobody needs.
    #[expect(clippy::disallowed_methods, reason = "the order in which they are looked at does not matter")]
    pub(in crate::broker) fn forget_all_unneeded(&mut self) {
        self.messages.retain(|_, message| message.references > 0);
        self.messages.shrink_to_fit();
        let mut live_bytes = 0;
        for message in self.messages.values() {
            live_bytes += RECORD + u64::from(message.footprint);
        }
        self.live_bytes = live_bytes;
    }

    fn forget(&mut self, number: Number) {
        let Some(message) = self.messages.remove(&number) else { return };
        self.bereft.extend(message.waiting.into_iter().flat_map(|waiting| *waiting));
        self.live_bytes -= RECORD + u64::from(message.footprint);
        if message.body.is_some() && !message.is_retained {
            self.cached_bytes -= bytes(message.footprint);
        }
        // Numbers of what has gone are passed over when the cache is looked through; they must not pile up.
        if self.cached.len() > 64 && self.cached.len() > 2 * self.messages.len() {
            let messages = &self.messages;
            self.cached.retain(|number| messages.contains_key(number));
        }
    }

    /// The message is the retained one of its topic, where it stays in memory.
    pub(in crate::broker) fn retained(&mut self, number: Number) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        message.references += 1;
        message.is_retained = true;
        if message.body.is_some() {
            self.cached_bytes -= bytes(message.footprint);
        }
    }

    /// The message is no longer retained.
    pub(in crate::broker) fn no_longer_retained(&mut self, number: Number) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        message.is_retained = false;
        if message.body.is_some() {
            self.cached_bytes += bytes(message.footprint);
            self.cached.push_back(number);
        }
        self.release(number);
    }

    /// The message has been read. Who waited for it.
    pub(in crate::broker) fn set_body(&mut self, number: Number, body: Arc<Message>) -> Vec<SessionKey> {
        let Some(message) = self.messages.get_mut(&number) else { return Vec::new() };
        if message.body.is_none() {
            message.body = Some(body);
            if !message.is_retained {
                self.cached_bytes += bytes(message.footprint);
                self.cached.push_back(number);
            }
        }
        message.waiting.take().map(|waiting| *waiting).unwrap_or_default()
    }

    /// The message cannot be read. Who waited for it.
    pub(in crate::broker) fn give_up(&mut self, number: Number) -> Vec<SessionKey> {
        let Some(message) = self.messages.get_mut(&number) else { return Vec::new() };
        message.waiting.take().map(|waiting| *waiting).unwrap_or_default()
    }

    /// Has a message read; `session` wants to be told.
    pub(in crate::broker) fn want(&mut self, number: Number, session: Option<SessionKey>) {
        let Some(message) = self.messages.get_mut(&number) else { return };
        if message.body.is_some() {
            return;
        }
        let home = message.home;
        let waiting = message.waiting.get_or_insert_with(|| {
            self.wanted.push((number, home));
            Box::default()
        });
        if let Some(session) = session
            && waiting.last() != Some(&session)
        {
            waiting.push(session);
        }
    }

    /// A message that was wanted is in another place now: it is read there.
    pub(in crate::broker) fn want_again(&mut self, number: Number) {
        if let Some(KeptMessage { body: None, home, .. }) = self.messages.get(&number) {
            self.wanted.push((number, *home));
        }
    }

    /// Who was waiting for a message that is not going to come: it gave way to another.
    pub(in crate::broker) fn take_bereft(&mut self) -> Vec<SessionKey> {
        std::mem::take(&mut self.bereft)
    }

    /// What is to be read next, and where it is.
    pub(in crate::broker) fn take_wanted(&mut self) -> Vec<(Number, Sequence)> {
        std::mem::take(&mut self.wanted)
    }

    /// Takes the oldest messages out of memory while there are too many bytes of them, as far as the journal has them:
    /// all before `written`.
    pub(in crate::broker) fn make_room(&mut self, written: Sequence) {
        while self.cached_bytes > self.cache_bytes
            && let Some(&number) = self.cached.front()
        {
            if let Some(message) = self.messages.get_mut(&number)
                && message.body.is_some()
                && !message.is_retained
            {
                if message.home >= written {
                    return;
                }
                message.body = None;
                self.cached_bytes -= bytes(message.footprint);
            }
            self.cached.pop_front();
        }
    }

    /// Panics if the books do not add up: for tests.
    pub(in crate::broker) fn assert_adds_up(&self, references: &std::collections::BTreeMap<Number, u32>) {
        assert_eq!(self.messages.len(), references.len(), "no message is kept that nobody needs");
        let (mut live, mut cached) = (0, 0);
        for (number, references) in references {
            let Some(message) = self.messages.get(number) else {
                panic!("message {number:?} is needed and not kept");
            };
            assert_eq!(message.references, *references, "references to {number:?} add up");
            live += RECORD + u64::from(message.footprint);
            if message.body.is_some() && !message.is_retained {
                cached += bytes(message.footprint);
            }
        }
        assert_eq!((self.live_bytes, self.cached_bytes), (live, cached), "bytes of kept messages add up");
    }
}

fn bytes(footprint: u32) -> usize {
    usize::try_from(footprint).unwrap_or(usize::MAX)
}
