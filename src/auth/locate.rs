//! Where in a JSON5 text a value stands.
//!
//! The parser tells positions only with its errors. So the text is read once more, this time with a visitor that
//! refuses the value that is sought: the error's position is the answer. This costs nothing while all is well, and
//! is right for strings with escapes and for comments anywhere.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// One step from a value to a value inside it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The value of this key of an object.
    Key(&'static str),
    /// The element of this index, from 0, of a list.
    Index(usize),
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// Counted from 1.
    pub(super) line: usize,
    /// In characters, counted from 1.
    pub(super) column: usize,
}

impl From<json5::Position> for Place {
    fn from(position: json5::Position) -> Self {
        Self { line: position.line + 1, column: position.column + 1 }
    }
}

/// The place where the text begins.
pub(super) const START: Place = Place { line: 1, column: 1 };

/// The place of the value at `path`; where there is none, of the nearest value around it.
pub(super) fn locate(text: &str, path: &[Step]) -> Place {
    let mut deserializer = json5::Deserializer::from_str(text);
    match (Sought { path }).deserialize(&mut deserializer) {
        Ok(()) => START,
        Err(error) => error.position().map_or(START, Place::from),
    }
}

#[derive(Clone, Copy)]
struct Sought<'p> {
    path: &'p [Step],
}

impl<'de> DeserializeSeed<'de> for Sought<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Sought<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("another value")
    }

    // Scalars need no methods here: a visitor refuses by default what it does not know.

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        if let Some((Step::Index(index), path)) = self.path.split_first() {
            for _ in 0..*index {
                elements.next_element::<IgnoredAny>()?;
            }
            elements.next_element_seed(Sought { path })?;
        }
        Err(A::Error::custom("found"))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        if let Some((Step::Key(sought), path)) = self.path.split_first() {
            while let Some(key) = entries.next_key::<String>()? {
                if key == *sought {
                    entries.next_value_seed(Sought { path })?;
                } else {
                    entries.next_value::<IgnoredAny>()?;
                }
            }
        }
        Err(A::Error::custom("found"))
    }
}

#[cfg(test)]
mod tests {
    use super::Step::{Index, Key};
    use super::*;

    const TEXT: &str =
        "// comment with { [ '\n{\n  a: [ 'ä\\n', /* x */ {b: 1, \"c\": null} ],\r\n  d: [],\n}\n";

    #[track_caller]
    fn check(path: &[Step], line: usize, column: usize) {
        assert_eq!(locate(TEXT, path), Place { line, column });
    }

    #[test]
    fn values_are_found_by_their_path() {
        check(&[], 2, 1);
        check(&[Key("a")], 3, 6);
        check(&[Key("a"), Index(0)], 3, 8);
        check(&[Key("a"), Index(1)], 3, 23);
        check(&[Key("a"), Index(1), Key("b")], 3, 27);
        check(&[Key("a"), Index(1), Key("c")], 3, 35);
        check(&[Key("d")], 4, 6);
    }

    #[test]
    fn what_is_not_there_is_placed_at_what_surrounds_it() {
        check(&[Key("a"), Index(1), Key("z")], 3, 23);
        check(&[Key("d"), Index(4)], 4, 6);
    }
}
