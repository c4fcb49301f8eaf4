//! The settings behind the `?` of an output.

use std::borrow::Cow;

/// The settings of one output; each is taken once, and what is left over is unknown.
#[derive(Debug)]
pub(super) struct Settings<'a> {
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
    known: Vec<&'static str>,
}

impl<'a> Settings<'a> {
    /// Reads `key=value&key=value`.
    pub(super) fn new(query: &'a str) -> Self {
        Self { pairs: url::form_urlencoded::parse(query.as_bytes()).collect(), known: Vec::new() }
    }

    /// The last value of a key, as text.
    pub(super) fn take(&mut self, key: &'static str) -> Option<String> {
        self.known.push(key);
        let mut value = None;
        self.pairs.retain(|(name, text)| {
            let taken = name == key;
            if taken {
                value = Some(text.clone().into_owned());
            }
            !taken
        });
        value
    }

    /// All values of a key, in their order.
    pub(super) fn take_all(&mut self, key: &'static str) -> Vec<String> {
        self.known.push(key);
        let (taken, left) = std::mem::take(&mut self.pairs).into_iter().partition(|(name, _)| name == key);
        self.pairs = left;
        let taken: Vec<_> = taken;
        taken.into_iter().map(|(_, text)| text.into_owned()).collect()
    }

    /// A whole number in a range.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        range: std::ops::RangeInclusive<u32>,
    ) -> Result<Option<u32>, String> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let number = value.parse().ok().filter(|number| range.contains(number));
        number
            .map(Some)
            .ok_or_else(|| format!("{key}={value} is not a whole number from {} to {}", range.start(), range.end()))
    }

    /// One of several words.
    pub(super) fn word<T: Copy>(&mut self, key: &'static str, words: &[(&str, T)]) -> Result<Option<T>, String> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let found = words.iter().find(|(word, _)| *word == value).map(|(_, meaning)| *meaning);
        found.map(Some).ok_or_else(|| {
            let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
            format!("{key}={value} is not supported: use {}", known.join(", "))
        })
    }

    /// Refuses what nobody took.
    pub(super) fn end(self) -> Result<(), String> {
        match self.pairs.first() {
            Some((key, _)) => Err(format!("unknown setting `{key}`: this output has {}", self.known.join(", "))),
            None => Ok(()),
        }
    }
}

/// Parts a path from its settings. A path may contain `?`; only what looks like settings after the last one is taken for
/// them.
pub(super) fn split_query(text: &str) -> (&str, &str) {
    match text.rsplit_once('?') {
        Some((path, query)) if query.contains('=') => (path, query),
        _ => (text, ""),
    }
}
