//! What others chose — a room's name, a participant's id — as a part of a file's name.
//!
//! Such a value never leaves its directory, never hides a file and never looks like an option or a URL; two different values
//! never give one name. Pure: nothing here looks at the file system. Outputs call it when they know the values.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// The longest name that Linux takes, in bytes.
const LONGEST_NAME: usize = 255;

/// What may still be put around a finished name: `.NAME.seekable.mp4`, `NAME.part12345.mp4`, `NAME.2.part3.jpg`.
const RESERVE: usize = 40;

/// A value keeps at least this much, however long the text around it is: then the name is too long, and the system says so.
const SHORTEST_LIMIT: usize = 32;

/// Bytes of the hash that tells altered values apart.
const HASH: usize = 6;

/// A value as a whole component of a path, or as a part of one: at most `limit` bytes of UTF-8 (and never less than a
/// hash), no separator, no control or invisible character, nothing that Windows, shells or players read as something else, and
/// no dot, dash or space in front.
///
/// A value that is safe stays as it is. One that is not carries a hash of what it was, so that `a/b` and `a:b` differ; and
/// so does one that only looks as if it did.
pub fn safe(value: &str, limit: usize) -> String {
    let mut clean: String = value.chars().map(|character| if is_plain(character) { character } else { '_' }).collect();
    if clean.is_empty() {
        clean.push('_');
    } else if clean.starts_with(['.', '-', ' ']) {
        clean.replace_range(..1, "_");
    }
    if clean == value && value.len() <= limit && !ends_like_a_hash(value) {
        return clean;
    }
    let hash = Sha256::digest(value.as_bytes());
    let hash: String = hash.iter().take(HASH).map(|byte| format!("{byte:02x}")).collect();
    clean.truncate(clean.floor_char_boundary(limit.saturating_sub(hash.len() + 1)));
    format!("{clean}-{hash}")
}

/// Puts values in the place of `{key}` in a path, each made safe and cut so that every component fits, with what a recording
/// may add to it. A value is never looked at for keys again; keys that have no value stay.
pub fn fill(pattern: &str, values: &[(&str, &str)]) -> PathBuf {
    let component = |component: &str| {
        let parts = split(component, &|key| values.iter().any(|(known, _)| *known == key));
        let literal: usize = parts.iter().map(|part| if let Part::Text(text) = part { text.len() } else { 0 }).sum();
        let keys = parts.iter().filter(|part| matches!(part, Part::Key(_))).count();
        let limit = LONGEST_NAME.saturating_sub(RESERVE + literal) / keys.max(1);
        let fill = |part: &Part<'_>| match part {
            Part::Text(text) => (*text).to_owned(),
            Part::Key(key) => {
                let value = values.iter().find(|(known, _)| known == key).map_or("", |(_, value)| value);
                safe(value, limit.max(SHORTEST_LIMIT))
            }
        };
        parts.iter().map(fill).collect::<String>()
    };
    pattern.split('/').map(component).collect::<Vec<_>>().join("/").into()
}

/// The keys `{word}` in a path, in their order.
pub fn keys(pattern: &str) -> Vec<&str> {
    let key = |part| if let Part::Key(key) = part { Some(key) } else { None };
    split(pattern, &|_| true).into_iter().filter_map(key).collect()
}

enum Part<'a> {
    Text(&'a str),
    Key(&'a str),
}

/// Parts a text at `{word}`, a word being of small letters, where the word is known.
fn split<'a>(text: &'a str, is_known: &dyn Fn(&str) -> bool) -> Vec<Part<'a>> {
    let mut parts = Vec::new();
    let (mut from, mut at) = (0, 0);
    while let Some(open) = text[at..].find('{').map(|index| at + index) {
        at = open + 1;
        let Some(close) = text[at..].find('}').map(|index| at + index) else { break };
        let word = &text[at..close];
        if !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase()) && is_known(word) {
            parts.extend([Part::Text(&text[from..open]), Part::Key(word)]);
            (from, at) = (close + 1, close + 1);
        }
    }
    parts.push(Part::Text(&text[from..]));
    parts
}

/// Whether a character means only itself: to file systems, shells, players (which read `a:b` as a protocol) and eyes.
fn is_plain(character: char) -> bool {
    // Besides control characters: marks of direction, joiners and other characters that nobody sees.
    let invisible = matches!(character, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !(character.is_control() || invisible || r#"/\<>:"|?*"#.contains(character))
}

fn ends_like_a_hash(value: &str) -> bool {
    let digits = value.rsplit_once('-').map(|(_, digits)| digits);
    let hexadecimal = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    digits.is_some_and(|digits| digits.len() == 2 * HASH && digits.bytes().all(hexadecimal))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::path::{Component, Path};

    use super::*;

    const LIMIT: usize = 100;

    #[test]
    fn a_plain_name_stays_as_it_is() {
        for name in ["demo", "Weekly call", "a.b", "übung-1", "会議", "x_y", "room-123"] {
            assert_eq!(safe(name, LIMIT), name);
        }
    }

    #[test]
    fn a_name_never_leaves_its_directory_nor_hides() {
        for name in [
            "../../etc",
            "..",
            ".",
            "",
            "/",
            "/etc/passwd",
            "a/b",
            "a\\b",
            "-rf",
            ".hidden",
            " ",
            "a\0b",
            "a\nb",
            "a\u{202e}b",
            "C:\\x",
            "http://x",
            "a:b",
            "{index}",
            "\u{200b}",
        ] {
            let safe = safe(name, LIMIT);
            let components: Vec<_> = Path::new(&safe).components().collect();
            assert!(matches!(components[..], [Component::Normal(only)] if only == safe.as_str()), "{name:?}: {safe:?}");
            assert!(!safe.starts_with(['.', '-', ' ']), "{name:?}: {safe:?}");
            assert!(!safe.contains(['/', '\\', ':', '\0', '\n', '\u{202e}']), "{name:?}: {safe:?}");
        }
        assert_eq!(safe("../../etc", LIMIT), "_._.._etc-74ccf3c5b4c1");
    }

    #[test]
    fn different_names_never_give_one_file() {
        let altered = safe("a/b", LIMIT);
        let long = "é".repeat(300);
        let longer = format!("{long}x");
        let names =
            ["a/b", "a:b", "a_b", "a\\b", &altered, "", ".", "..", "_", "__", &long, &longer, &safe(&long, LIMIT)];
        let safe: HashSet<_> = names.iter().map(|name| safe(name, LIMIT)).collect();
        assert_eq!(safe.len(), names.len(), "{safe:?}");
    }

    #[test]
    fn a_long_name_is_cut_between_characters() {
        let name = safe(&"会".repeat(300), LIMIT);
        assert!(name.len() <= LIMIT && name.starts_with("会会") && !name.contains('\u{fffd}'), "{name}");
        let path = fill("/srv/{room}/x-{room}-{index}.mp4", &[("room", &"é".repeat(300)), ("index", "0007")]);
        for component in path.components() {
            assert!(component.as_os_str().len() + RESERVE <= LONGEST_NAME, "{path:?}");
        }
        assert!(path.to_str().unwrap().ends_with("-0007.mp4"), "{path:?}");
    }

    #[test]
    fn values_are_put_in_once_and_unknown_keys_stay() {
        let values = [("room", "{index}/x"), ("index", "0001")];
        let path = fill("rec/{room}/{index}-{other}-{ROOM}-{}-{.webm", &values);
        let expected = format!("rec/{}/0001-{{other}}-{{ROOM}}-{{}}-{{.webm", safe("{index}/x", LIMIT));
        assert_eq!(path, Path::new(&expected));
        assert_eq!(fill("{room}.mkv", &[("room", "..")]).components().count(), 1);
        assert_eq!(keys("{room}/{a b}{{index}.{x}mkv"), ["room", "index", "x"]);
    }

    #[test]
    fn nothing_that_anybody_writes_makes_it_panic() {
        for text in ["{", "}", "}{", "{{", "{a", "é{é}", "{é", "{{}}", "{a}{a}{a"] {
            fill(text, &[("a", "b")]);
            keys(text);
        }
    }
}
