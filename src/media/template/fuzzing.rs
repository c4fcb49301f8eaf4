//! Templates that an operator writes: what `crate::fuzzing` calls for them. Nothing is built.

use super::allowed::{ALLOWED, check, words};
use super::{Ends, FORMS, strip_comments, with_ends, wrong};

type Target = (&'static str, fn(&[u8]));

/// The targets, by name.
pub(crate) const TARGETS: &[Target] = &[("template", template)];

fn template(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let lines = text.lines().count();
    for word in words(&text) {
        assert!((1..=lines).contains(&word.line) && word.column >= 1, "{word:?}");
        let there =
            text.lines().nth(word.line - 1).and_then(|line| line.split_whitespace().find(|it| *it == word.text));
        assert!(there.is_some(), "{word:?} is not in its line");
    }
    let checked = check("x.launch", &text);
    let named: Vec<_> = words(&text).filter(|word| word.names_element()).map(|word| word.text).collect();
    assert_eq!(checked.is_ok(), named.iter().all(|name| ALLOWED.contains(name)));
    for (video, audio) in [(None, None), (Some(FORMS[0]), None), (Some(FORMS[0]), Some(FORMS[5]))] {
        let filled = with_ends(&text, Ends { video, audio, lower: 2 });
        assert_eq!(filled.split('\n').count(), lines.max(1), "lines keep their numbers: {filled:?}");
        assert!(!strip_comments(&filled).contains('\n'));
    }
    let quoted = text.split_whitespace().next().unwrap_or_default();
    assert!(!wrong("x.launch", &text, format!("no element \"{quoted}\"")).to_string().is_empty());
}
