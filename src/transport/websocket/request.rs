//! The HTTP request that a connection begins with, and the answer to it (RFC 6455, section 4.2).

use std::fmt::{self, Write};

use httparse::{EMPTY_HEADER, Header, Request};
use sha1::{Digest, Sha1};

use super::options::WebSocketOptions;

/// The most header fields that a request may have.
const FIELDS: usize = 64;
/// The version of WebSocket that RFC 6455 defines.
const VERSION: &[u8] = b"13";
/// The sub-protocols, the preferred first: MQTT's [MQTT-6.0.0-4], and what it was called for MQTT 3.1.
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// A request that is granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Acceptance {
    /// How many bytes the request has; frames begin behind it.
    pub request_len: usize,
    accept: String,
    protocol: Option<&'static str>,
}

impl Acceptance {
    /// The answer.
    pub fn response(&self) -> String {
        let mut response = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n",
            self.accept
        );
        if let Some(protocol) = self.protocol {
            // A String takes whatever is written.
            let _ = write!(response, "Sec-WebSocket-Protocol: {protocol}\r\n");
        }
        response.push_str("\r\n");
        response
    }
}

/// A request that is not granted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// What kind of mistake it is.
    pub status: Status,
    /// What is wrong with it, for a human being.
    pub sentence: String,
}

impl Refusal {
    pub(super) const TOO_LARGE: &'static str = "the request's head is larger than this broker reads";

    pub(super) fn new(status: Status, sentence: impl Into<String>) -> Self {
        Self { status, sentence: sentence.into() }
    }

    /// The answer: a page of plain text, as somebody may look at it with a browser.
    pub fn response(&self) -> String {
        let body =
            format!("This is an MQTT broker, which speaks MQTT over WebSocket here: {}.\n", self.sentence);
        let fields = match self.status {
            Status::UpgradeRequired => {
                "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nConnection: Upgrade, close"
            }
            Status::BadRequest | Status::Forbidden | Status::NotFound | Status::TooLarge => {
                "Connection: close"
            }
        };
        format!(
            "HTTP/1.1 {}\r\n{fields}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n\r\n{body}",
            self.status,
            body.len()
        )
    }
}

/// The status of a refusal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// It is not what RFC 6455 asks for.
    BadRequest,
    /// Its page may not connect.
    Forbidden,
    /// There is no MQTT at its path.
    NotFound,
    /// It does not ask for WebSocket, or for another version.
    UpgradeRequired,
    /// It is larger than what is read.
    TooLarge,
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BadRequest => "400 Bad Request",
            Self::Forbidden => "403 Forbidden",
            Self::NotFound => "404 Not Found",
            Self::UpgradeRequired => "426 Upgrade Required",
            Self::TooLarge => "431 Request Header Fields Too Large",
        })
    }
}

/// The answer to the request at the beginning of `bytes`; `None`: it is not all there.
pub fn answer(bytes: &[u8], options: &WebSocketOptions) -> Result<Option<Acceptance>, Refusal> {
    let mut fields = [EMPTY_HEADER; FIELDS];
    let mut request = Request::new(&mut fields);
    let request_len = match request.parse(bytes) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => {
            return Err(Refusal::new(Status::TooLarge, Refusal::TOO_LARGE));
        }
        Err(_) => return Err(bad("what came is not an HTTP request")),
    };
    judge(&request, options)?;
    let fields = Fields(request.headers);
    let key = fields.key()?;
    fields.check_origin(options)?;
    let protocol = fields.protocol()?;
    Ok(Some(Acceptance { request_len, accept: accept(key), protocol }))
}

/// Whether the request asks for WebSocket, and where there is some.
fn judge(request: &Request<'_, '_>, options: &WebSocketOptions) -> Result<(), Refusal> {
    if request.method != Some("GET") {
        return Err(bad("the method has to be GET"));
    }
    if request.version != Some(1) {
        return Err(bad("the version has to be HTTP/1.1"));
    }
    let fields = Fields(request.headers);
    if fields.one("Host")?.is_none() {
        return Err(bad("the Host field is missing"));
    }
    // What would be its body are frames to us.
    if fields.one("Content-Length")?.is_some_and(|len| len != b"0")
        || fields.one("Transfer-Encoding")?.is_some()
    {
        return Err(bad("the request has a body"));
    }
    let path = path(request.path.unwrap_or_default());
    if !options.paths.iter().any(|served| served.as_str() == path) {
        let served: Vec<_> = options.paths.iter().map(ToString::to_string).collect();
        let sentence = format!("there is nothing at this path, only at {}", served.join(" and "));
        return Err(Refusal::new(Status::NotFound, sentence));
    }
    if !fields.lists("Upgrade", "websocket") || !fields.lists("Connection", "upgrade") {
        let sentence = "connect to it with an MQTT client rather than with a browser or an HTTP client";
        return Err(Refusal::new(Status::UpgradeRequired, sentence));
    }
    if fields.one("Sec-WebSocket-Version")? != Some(VERSION) {
        return Err(Refusal::new(Status::UpgradeRequired, "the version of WebSocket has to be 13"));
    }
    Ok(())
}

fn bad(sentence: &str) -> Refusal {
    Refusal::new(Status::BadRequest, sentence)
}

/// The path of a request's target, which may also be written as a whole URL. What is asked at the path is ignored.
fn path(target: &str) -> &str {
    let path = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains('/') => {
            rest.find('/').and_then(|slash| rest.get(slash..)).unwrap_or("/")
        }
        Some(_) | None => target,
    };
    path.split_once('?').map_or(path, |(path, _)| path)
}

/// The header fields of a request.
struct Fields<'a>(&'a [Header<'a>]);

impl<'a> Fields<'a> {
    fn all(&self, name: &'static str) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.0.iter().filter(move |field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value)
    }

    /// The value of a field that may be there once.
    fn one(&self, name: &'static str) -> Result<Option<&'a [u8]>, Refusal> {
        let mut values = self.all(name);
        match (values.next(), values.next()) {
            (value, None) => Ok(value),
            (_, Some(_)) => Err(bad(&format!("there is more than one {name} field"))),
        }
    }

    /// Whether a field that is a list, maybe in several parts, has this element.
    fn lists(&self, name: &'static str, element: &str) -> bool {
        elements(self.all(name)).any(|listed| listed.eq_ignore_ascii_case(element.as_bytes()))
    }

    /// The key, which has to be sixteen bytes in Base64.
    fn key(&self) -> Result<&'a [u8], Refusal> {
        let key = self.one("Sec-WebSocket-Key")?.unwrap_or_default();
        match key.strip_suffix(b"==") {
            Some(digits) if digits.len() == 22 && digits.iter().all(|digit| BASE64.contains(digit)) => {
                Ok(key)
            }
            Some(_) | None => Err(bad("the Sec-WebSocket-Key field is missing or wrong")),
        }
    }

    fn check_origin(&self, options: &WebSocketOptions) -> Result<(), Refusal> {
        match self.one("Origin")? {
            Some(origin)
                if !options.origins.is_empty()
                    && !options.origins.iter().any(|allowed| allowed.is(origin)) =>
            {
                Err(Refusal::new(Status::Forbidden, "pages of this origin may not connect"))
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The sub-protocol that is chosen of those that the client offers. It has to offer MQTT's [MQTT-6.0.0-3]; that it
    /// offers none is forgiven.
    fn protocol(&self) -> Result<Option<&'static str>, Refusal> {
        const NAME: &str = "Sec-WebSocket-Protocol";
        if self.all(NAME).next().is_none() {
            return Ok(None);
        }
        let chosen = PROTOCOLS
            .into_iter()
            .find(|protocol| elements(self.all(NAME)).any(|offered| offered == protocol.as_bytes()));
        chosen.map_or_else(|| Err(bad("the sub-protocol has to be mqtt")), |protocol| Ok(Some(protocol)))
    }
}

/// The elements of a list in several parts.
fn elements<'a>(parts: impl Iterator<Item = &'a [u8]>) -> impl Iterator<Item = &'a [u8]> {
    parts.flat_map(|part| part.split(|byte| *byte == b',').map(<[u8]>::trim_ascii))
}

/// What proves that the key was read by somebody who speaks WebSocket.
fn accept(key: &[u8]) -> String {
    const SUFFIX: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    base64(&Sha1::new().chain_update(key).chain_update(SUFFIX).finalize())
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let mut four = [0; 4];
        for (place, byte) in four.iter_mut().skip(1).zip(group) {
            *place = *byte;
        }
        let bits = u32::from_be_bytes(four);
        for (index, shift) in [18, 12, 6, 0].into_iter().enumerate() {
            let digit = usize::try_from(bits >> shift & 0x3F).ok().and_then(|digit| BASE64.get(digit));
            text.push(digit.filter(|_| index <= group.len()).map_or('=', |digit| char::from(*digit)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A request as MQTT.js sends it, with one field changed: `(name, None)` is left out.
    fn request_with(target: &str, change: (&str, Option<&str>)) -> String {
        let fields = [
            ("Host", "localhost:8080"),
            ("Connection", "keep-alive, Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("Sec-WebSocket-Protocol", "mqtt"),
        ];
        let kept = fields.into_iter().filter(|(name, _)| *name != change.0);
        let changed = change.1.map(|value| (change.0, value));
        let fields: String =
            kept.chain(changed).map(|(name, value)| [name, ": ", value, "\r\n"].concat()).collect();
        format!("GET {target} HTTP/1.1\r\n{fields}\r\n")
    }

    fn request() -> String {
        request_with("/mqtt", ("", None))
    }

    fn options(origins: &[&str]) -> WebSocketOptions {
        let origins = origins.iter().map(|origin| origin.parse().unwrap()).collect();
        WebSocketOptions { origins, ..WebSocketOptions::default() }
    }

    fn answer_to(request: &str, origins: &[&str]) -> Result<Acceptance, Refusal> {
        answer(request.as_bytes(), &options(origins)).map(|acceptance| acceptance.expect("it is all there"))
    }

    #[track_caller]
    fn check_refused(request: &str, status: Status, sentence: &str) {
        let refusal = answer_to(request, &["https://example.org"]).unwrap_err();
        assert_eq!(refusal.status, status, "{}", refusal.sentence);
        assert!(refusal.sentence.contains(sentence), "{}", refusal.sentence);
    }

    #[track_caller]
    fn check_field(name: &str, value: impl Into<Option<&'static str>>, status: Status, sentence: &str) {
        check_refused(&request_with("/mqtt", (name, value.into())), status, sentence);
    }

    #[test]
    fn the_example_of_the_standard_is_answered() {
        assert_eq!(accept(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
        let response = answer_to(&request(), &[]).unwrap().response();
        let lines: Vec<_> = response.split("\r\n").collect();
        let expected = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "Sec-WebSocket-Protocol: mqtt",
            "",
            "",
        ];
        assert_eq!(lines, expected);
    }

    #[test]
    fn base64_has_padding() {
        for (bytes, text) in
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")]
        {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn a_request_is_answered_once_it_is_all_there() {
        let request = request() + "\x02\0";
        for cut in 0..request.len() - 2 {
            assert_eq!(answer(&request.as_bytes()[..cut], &options(&[])), Ok(None), "cut at {cut}");
        }
        let acceptance = answer(request.as_bytes(), &options(&[])).unwrap().unwrap();
        assert_eq!(acceptance.request_len, request.len() - 2);
    }

    #[test]
    fn paths_may_be_written_in_several_ways() {
        for target in
            ["/", "/mqtt", "/mqtt?token=x", "/?/other", "http://localhost/mqtt", "https://localhost"]
        {
            assert!(answer_to(&request_with(target, ("", None)), &[]).is_ok(), "{target}");
        }
        for target in ["/mqtt/", "/MQTT", "//mqtt", "/other", "/mq%74t", "*", "http://localhost/other"] {
            let request = request_with(target, ("", None));
            check_refused(&request, Status::NotFound, "only at /mqtt and /");
        }
    }

    #[test]
    fn the_first_sub_protocol_that_is_ours_is_chosen() {
        for (offered, chosen) in [
            (Some("mqtt"), Some("mqtt")),
            (Some("mqttv3.1"), Some("mqttv3.1")),
            (Some("mqttv3.1, mqtt"), Some("mqtt")),
            (Some("chat ,mqtt,\tother"), Some("mqtt")),
            (None, None),
        ] {
            let request = request_with("/mqtt", ("Sec-WebSocket-Protocol", offered));
            assert_eq!(answer_to(&request, &[]).unwrap().protocol, chosen, "{offered:?}");
        }
        let two = request().replace("\r\n\r\n", "\r\nSec-WebSocket-Protocol: mqttv3.1\r\n\r\n");
        assert_eq!(
            answer_to(&two.replace(": mqtt\r\n", ": chat\r\n"), &[]).unwrap().protocol,
            Some("mqttv3.1")
        );
        for offered in ["chat", "mqtt5", "MQTT", "mqtt chat", ""] {
            check_field("Sec-WebSocket-Protocol", offered, Status::BadRequest, "sub-protocol has to be mqtt");
        }
    }

    #[test]
    fn only_the_listed_origins_may_connect_if_there_is_a_list() {
        let from = |origin| request_with("/mqtt", ("Origin", Some(origin)));
        assert!(answer_to(&from("https://anything.example"), &[]).is_ok());
        let listed = ["https://example.org", "http://localhost:8080"];
        assert!(answer_to(&from("http://localhost:8080"), &listed).is_ok());
        assert!(answer_to(&request(), &listed).is_ok(), "no browser");
        for origin in ["https://example.org:444", "http://example.org", "https://sub.example.org", "null", ""]
        {
            check_refused(&from(origin), Status::Forbidden, "origin");
        }
    }

    #[test]
    fn what_is_not_a_request_for_websocket_is_refused_in_a_sentence() {
        let browser = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n";
        check_refused(browser, Status::UpgradeRequired, "an MQTT client");
        check_field("Upgrade", "h2c", Status::UpgradeRequired, "an MQTT client");
        check_field("Connection", "close", Status::UpgradeRequired, "an MQTT client");
        check_field("Sec-WebSocket-Version", None, Status::UpgradeRequired, "13");
        check_field("Sec-WebSocket-Version", "8", Status::UpgradeRequired, "13");
        check_field("Host", None, Status::BadRequest, "Host");
        check_field("Content-Length", "5", Status::BadRequest, "body");
        check_field("Transfer-Encoding", "chunked", Status::BadRequest, "body");
        for key in
            ["", "short", "dGhlIHNhbXBsZSBub25jZQ", "dGhlIHNhbXBsZSBub25j!Q==", "dGhlIHNhbXBsZSBub25jZSE="]
        {
            check_field("Sec-WebSocket-Key", key, Status::BadRequest, "Sec-WebSocket-Key");
        }
        let doubled =
            request().replace("\r\n\r\n", "\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n");
        check_refused(&doubled, Status::BadRequest, "more than one Sec-WebSocket-Key");
        check_refused(&request().replace("GET", "POST"), Status::BadRequest, "GET");
        check_refused(&request().replace("HTTP/1.1", "HTTP/1.0"), Status::BadRequest, "HTTP/1.1");
        check_refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Status::BadRequest, "not an HTTP request");
        check_refused(
            "\x10\x10\0\x04MQTT\x04\x02\0\x3C\0\x04abcd",
            Status::BadRequest,
            "not an HTTP request",
        );
        let many = request().replace("\r\n\r\n", &("\r\nA: b".repeat(FIELDS) + "\r\n\r\n"));
        check_refused(&many, Status::TooLarge, "larger");
    }

    #[test]
    fn a_refusal_is_a_page_that_says_why() {
        let response = answer_to("GET / HTTP/1.1\r\nHost: x\r\n\r\n", &[]).unwrap_err().response();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\n"), "{head}");
        assert!(head.contains("\r\nSec-WebSocket-Version: 13\r\n"), "{head}");
        assert!(head.contains(&format!("\r\nContent-Length: {}\r\n", body.len())), "{head}");
        assert!(body.starts_with("This is an MQTT broker"), "{body}");
        assert!(body.contains("connect to it with an MQTT client"), "{body}");
    }
}
