//! What was sent, what was promised, and so: what each subscriber must receive, may receive, and must not.
//!
//! Time is counted in things that happen at the clients: whatever the broker does with a message happens between its
//! first sending and its acknowledgement, and whatever it does with a subscription between SUBSCRIBE and SUBACK.

use std::collections::BTreeMap;

use crate::support::Publish;

/// How sure the broker under test has to be before it acknowledges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Promise {
    /// What it has acknowledged survives its being killed.
    Kept,
    /// What it has acknowledged may be lost with it.
    Nothing,
}

/// The place of a message in [`Model::messages`], which is also what its payload says.
pub(crate) type Number = usize;

/// The place of a subscriber in [`Model::books`].
pub(crate) type Book = usize;

/// A moment.
pub(crate) type Tick = u64;

/// A message that a client has sent, or given to the broker as its will.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The name of who published it.
    pub(crate) publisher: String,
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) retain: bool,
    /// How many bytes its payload has; none: it clears a retained message.
    pub(crate) length: usize,
    first_sent: Tick,
    /// How many PUBLISH packets it went in.
    sendings: usize,
    fate: Fate,
}

/// What is known about what the broker has made of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// Nothing.
    Unknown,
    /// It has it.
    Acknowledged(Tick),
    /// It is a will, and the broker has it until its time comes.
    Armed,
    /// It did not take it.
    Refused,
}

/// A subscription, from being asked for until it is certainly gone.
#[derive(Debug, Clone, Copy)]
struct Span {
    qos: u8,
    asked: Tick,
    granted: Option<Tick>,
    leaving: Option<Tick>,
    gone: Option<Tick>,
}

/// A message that has reached the application of a subscriber.
#[derive(Debug, Clone, Copy)]
struct Delivery {
    number: Number,
    qos: u8,
    /// The connection on which it came.
    connection: u32,
}

/// What concerns one subscriber.
#[derive(Debug)]
struct Subscriber {
    name: String,
    spans: BTreeMap<String, Vec<Span>>,
    deliveries: Vec<Delivery>,
    counts: BTreeMap<Number, usize>,
}

/// All that is known.
#[derive(Debug)]
pub(crate) struct Model {
    promise: Promise,
    now: Tick,
    messages: Vec<Message>,
    books: Vec<Subscriber>,
}

impl Model {
    pub(crate) fn new(promise: Promise) -> Self {
        Self { promise, now: 0, messages: Vec::new(), books: Vec::new() }
    }

    pub(crate) fn promise(&self) -> Promise {
        self.promise
    }

    /// Messages that were sent, that the broker has acknowledged, and that have been received.
    pub(crate) fn totals(&self) -> (usize, usize, usize) {
        let is_acknowledged = |message: &&Message| matches!(message.fate, Fate::Acknowledged(_));
        let received = self.books.iter().map(|book| book.deliveries.len()).sum();
        (self.messages.len(), self.messages.iter().filter(is_acknowledged).count(), received)
    }

    fn tick(&mut self) -> Tick {
        self.now += 1;
        self.now
    }

    /// Gives a subscriber a book.
    pub(crate) fn open_book(&mut self, name: &str) -> Book {
        let (spans, deliveries, counts) = Default::default();
        self.books.push(Subscriber { name: name.to_owned(), spans, deliveries, counts });
        self.books.len() - 1
    }

    /// A message that is sent for the first time now.
    pub(crate) fn publish(
        &mut self,
        publisher: &str,
        topic: String,
        qos: u8,
        retain: bool,
        length: usize,
    ) -> Number {
        let (publisher, first_sent) = (publisher.to_owned(), self.tick());
        let fate = Fate::Unknown;
        self.messages.push(Message { publisher, topic, qos, retain, length, first_sent, sendings: 1, fate });
        self.messages.len() - 1
    }

    pub(crate) fn message(&self, number: Number) -> &Message {
        &self.messages[number]
    }

    /// The message is sent once more.
    pub(crate) fn resend(&mut self, number: Number) {
        self.messages[number].sendings += 1;
    }

    /// PUBACK or PUBREC came.
    pub(crate) fn acknowledged(&mut self, number: Number) {
        self.messages[number].fate = Fate::Acknowledged(self.tick());
    }

    /// PUBACK or PUBREC came with an error. If it was sent before, the broker may have taken it that time.
    pub(crate) fn refused(&mut self, number: Number) {
        if self.messages[number].sendings == 1 {
            self.messages[number].fate = Fate::Refused;
        }
    }

    /// The broker has the message as a will.
    pub(crate) fn armed(&mut self, number: Number) {
        self.messages[number].fate = Fate::Armed;
    }

    /// The broker may or may not publish the will.
    pub(crate) fn disarmed(&mut self, number: Number) {
        self.messages[number].fate = Fate::Unknown;
    }

    /// SUBSCRIBE leaves.
    pub(crate) fn subscribe(&mut self, book: Book, filter: &str, qos: u8) {
        let asked = self.tick();
        self.unsubscribe(book, filter);
        let spans = self.books[book].spans.entry(filter.to_owned()).or_default();
        spans.push(Span { qos, asked, granted: None, leaving: None, gone: None });
    }

    /// SUBACK came: nothing holds that was said about the filter before.
    pub(crate) fn subscribed(&mut self, book: Book, filter: &str) {
        let now = self.tick();
        let spans = self.books[book].spans.get_mut(filter).unwrap();
        let (last, before) = spans.split_last_mut().unwrap();
        last.granted = Some(now);
        for span in before {
            span.gone.get_or_insert(now);
        }
    }

    /// SUBACK came, and says no. If the subscription was there, it still is.
    pub(crate) fn subscription_refused(&mut self, book: Book, filter: &str) {
        let last = self.books[book].spans.get_mut(filter).unwrap().last_mut().unwrap();
        last.gone = Some(last.asked);
    }

    /// UNSUBSCRIBE leaves.
    pub(crate) fn unsubscribe(&mut self, book: Book, filter: &str) {
        let now = self.tick();
        for span in self.books[book].spans.get_mut(filter).into_iter().flatten() {
            span.leaving.get_or_insert(now);
        }
    }

    /// UNSUBACK came.
    pub(crate) fn unsubscribed(&mut self, book: Book, filter: &str) {
        let now = self.tick();
        for span in self.books[book].spans.get_mut(filter).into_iter().flatten() {
            span.gone.get_or_insert(now);
        }
    }

    /// The subscriber ends its session: nothing is owed to it of what was for that.
    pub(crate) fn ending(&mut self, book: Book) {
        for span in self.books[book].spans.values_mut().flatten() {
            span.granted = None;
        }
    }

    /// The session that the subscriber had has ended.
    pub(crate) fn ended(&mut self, book: Book) {
        let now = self.tick();
        for span in self.books[book].spans.values_mut().flatten() {
            span.granted = None;
            span.gone.get_or_insert(now);
        }
    }

    /// The broker was killed: what it has not promised to keep may be lost, and what was gone may be back.
    pub(crate) fn killed(&mut self) {
        if self.promise == Promise::Kept {
            return;
        }
        for message in &mut self.messages {
            message.fate = Fate::Unknown;
        }
        for span in self.books.iter_mut().flat_map(|book| book.spans.values_mut().flatten()) {
            (span.granted, span.gone) = (None, None);
        }
    }

    /// A message has reached the application of a subscriber.
    pub(crate) fn delivered(&mut self, book: Book, publish: &Publish, connection: u32) {
        self.tick();
        let (topic, name) = (publish.topic().to_owned(), self.books[book].name.clone());
        if publish.payload.is_empty() {
            // It clears a retained message: nobody can tell which of them it is.
            assert!(topic.starts_with("r/"), "{name}: an empty message to {topic}");
            return;
        }
        let number = self.identify(publish).unwrap_or_else(|| panic!("{name}: nobody sent {publish:?}"));
        let message = &self.messages[number];
        assert_eq!(message.topic, topic, "{name}: message {number} came with another topic");
        if publish.retain {
            // It was retained, and came for a subscription: any number of times.
            let has_asked = self.books[book].spans.keys().any(|filter| matches(filter, &topic));
            assert!(message.retain && has_asked, "{name} got message {number} as retained: {message:?}");
            return;
        }
        let (least, most) = self.granted(book, message);
        let most = most.unwrap_or_else(|| {
            panic!("{name} is not subscribed to message {number} {message:?}: {:?}", self.books[book].spans)
        });
        assert!(
            (least.unwrap_or(0)..=most).contains(&publish.qos),
            "{name} got message {number} with QoS {}, and not {least:?} to {most}: {message:?}",
            publish.qos
        );
        let (promise, most) = (self.promise, if message.qos == 2 { 1 } else { message.sendings });
        let subscriber = &mut self.books[book];
        subscriber.deliveries.push(Delivery { number, qos: publish.qos, connection });
        let count = subscriber.counts.entry(number).or_default();
        *count += 1;
        if promise == Promise::Nothing {
            return;
        }
        let seen = subscriber.deliveries.iter().rev();
        let seen = seen.take_while(|delivery| delivery.connection == connection);
        let here = seen.filter(|delivery| delivery.number == number).count();
        let count = if publish.qos == 2 { *count } else { here };
        assert!(count <= most, "{name} got message {number} {count} times, and not {most}: {message:?}");
        if publish.qos == 2 && is_shared(&topic) {
            let all: usize = self.books.iter().filter_map(|book| book.counts.get(&number)).sum();
            assert!(all <= most, "the members got message {number} {all} times, and not {most}");
        }
    }

    /// The message that a packet carries, if there is one that is the same byte for byte.
    fn identify(&self, publish: &Publish) -> Option<Number> {
        let text = publish.payload.split(|byte| *byte == b' ').next()?;
        let number: Number = str::from_utf8(text).ok()?.parse().ok()?;
        let message = self.messages.get(number)?;
        (message.fate != Fate::Refused && publish.payload == payload(number, message.length))
            .then_some(number)
    }

    /// The QoS with which a message reaches a subscriber, at the least and at the most; if it need not, or must not
    /// reach it, there is none.
    fn granted(&self, book: Book, message: &Message) -> (Option<u8>, Option<u8>) {
        let until = match message.fate {
            Fate::Acknowledged(at) => at,
            Fate::Unknown | Fate::Armed => Tick::MAX,
            Fate::Refused => return (None, None),
        };
        let (mut least, mut most) = (None, None);
        for (filter, spans) in &self.books[book].spans {
            if !matches(filter, &message.topic) {
                continue;
            }
            for span in spans {
                let qos = Some(span.qos.min(message.qos));
                if span.asked <= until && span.gone.is_none_or(|gone| gone >= message.first_sent) {
                    most = most.max(qos);
                }
                let is_certain = span.granted.is_some_and(|granted| granted <= message.first_sent)
                    && span.leaving.is_none_or(|leaving| leaving > until);
                if is_certain {
                    least = least.max(qos);
                }
            }
        }
        (least, most)
    }

    /// The QoS with which the broker must deliver a message to a subscriber.
    fn owed(&self, book: Book, number: Number) -> Option<u8> {
        let message = &self.messages[number];
        if !matches!(message.fate, Fate::Acknowledged(_) | Fate::Armed) || message.length == 0 {
            return None;
        }
        self.granted(book, message).0.filter(|qos| *qos > 0)
    }

    /// What should have been delivered and was not, in words.
    pub(crate) fn missing(&self) -> Vec<String> {
        let mut missing = Vec::new();
        for (number, message) in self.messages.iter().enumerate() {
            let owed: Vec<Book> =
                (0..self.books.len()).filter(|book| self.owed(*book, number).is_some()).collect();
            let has_it = |book: &Book| self.books[*book].counts.contains_key(&number);
            if is_shared(&message.topic) {
                if !owed.is_empty() && !(0..self.books.len()).any(|book| has_it(&book)) {
                    missing.push(format!("no member got message {number} {message:?}"));
                }
                continue;
            }
            for book in owed.iter().filter(|book| !has_it(book)) {
                missing.push(format!("{} did not get message {number} {message:?}", self.books[*book].name));
            }
        }
        missing
    }

    /// What came too early: of one publisher's messages to one topic, all of one QoS.
    pub(crate) fn disorder(&self) -> Vec<String> {
        let mut disorder = Vec::new();
        for (book, subscriber) in self.books.iter().enumerate() {
            let mut latest: BTreeMap<(&str, &str, u8, u8), Number> = BTreeMap::new();
            let mut seen = std::collections::BTreeSet::new();
            for delivery in &subscriber.deliveries {
                let message = &self.messages[delivery.number];
                let is_first = seen.insert(delivery.number);
                if !is_first || is_shared(&message.topic) || self.owed(book, delivery.number).is_none() {
                    continue;
                }
                let stream = (message.publisher.as_str(), message.topic.as_str(), message.qos, delivery.qos);
                let latest = latest.entry(stream).or_insert(delivery.number);
                if *latest > delivery.number {
                    let (name, number) = (&subscriber.name, delivery.number);
                    disorder.push(format!(
                        "{name} got message {number} {message:?} after message {latest} with QoS {}",
                        delivery.qos
                    ));
                }
                *latest = (*latest).max(delivery.number);
            }
        }
        disorder
    }

    /// Whether a topic may have this retained message now, `None` meaning that it has none.
    pub(crate) fn may_be_retained(&self, topic: &str, found: Option<&Publish>) -> bool {
        let found = match found {
            Some(publish) => match self.identify(publish) {
                Some(number) => Some(number),
                None => return false,
            },
            None => None,
        };
        let of_topic = || self.messages.iter().enumerate().filter(|(_, message)| message.topic == topic);
        let last_kept =
            of_topic().filter(|(_, message)| matches!(message.fate, Fate::Acknowledged(_))).map(|(at, _)| at);
        let last_kept = last_kept.max();
        let may_hold =
            |number: Number, message: &Message| Some(number) == last_kept || message.fate == Fate::Unknown;
        let may_be_empty = last_kept.is_none()
            || of_topic().any(|(number, message)| message.length == 0 && may_hold(number, message));
        match found {
            None => may_be_empty,
            Some(number) => {
                let message = &self.messages[number];
                message.topic == topic && message.retain && may_hold(number, message)
            }
        }
    }

    /// All that is known about what was retained under a topic.
    pub(crate) fn retained_history(&self, topic: &str) -> String {
        let of_topic = self.messages.iter().enumerate().filter(|(_, message)| message.topic == topic);
        let lines: Vec<String> = of_topic.map(|(number, message)| format!("{number}: {message:?}")).collect();
        lines.join("\n")
    }
}

/// What a message carries: its number, and bytes that follow from it.
pub(crate) fn payload(number: Number, length: usize) -> Vec<u8> {
    if length == 0 {
        return Vec::new();
    }
    let mut bytes = format!("{number} ").into_bytes();
    bytes.extend(number.to_le_bytes().repeat(length.div_ceil(size_of::<Number>())));
    bytes
}

/// Whether a topic is for groups.
fn is_shared(topic: &str) -> bool {
    topic.starts_with("s/")
}

/// Whether a topic matches a filter, of a shared subscription perhaps.
fn matches(filter: &str, topic: &str) -> bool {
    let filter = match filter.strip_prefix("$share/") {
        Some(rest) => rest.split_once('/').unwrap().1,
        None => filter,
    };
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (Some("#"), _) | (None, None) => return true,
            (Some(wanted), Some(level)) if wanted == "+" || wanted == level => {}
            _ => return false,
        }
    }
}
