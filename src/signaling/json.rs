//! JSON from the network, for the wire types of all protocols, client and server alike.

use serde::Deserialize;

/// How deep a text may be nested; an offer needs two or three levels.
pub(crate) const MAX_DEPTH: usize = 32;

/// Why a text is no message.
#[derive(Debug, thiserror::Error)]
pub(crate) enum JsonError {
    #[error("nested deeper than {MAX_DEPTH}")]
    TooDeep,
    // serde would also read a struct from a list.
    #[error("not a JSON object")]
    NotAnObject,
    #[error(transparent)]
    Json(#[from] serde_json::Error),
}

/// Reads a text that somebody sent: not one that is nested so deep that it can only do harm.
pub(crate) fn read<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, JsonError> {
    if depth(text) > MAX_DEPTH {
        return Err(JsonError::TooDeep);
    }
    Ok(serde_json::from_str(text)?)
}

/// As [`read`], and it must be an object.
pub(crate) fn read_object<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, JsonError> {
    if !text.trim_start().starts_with('{') {
        return Err(JsonError::NotAnObject);
    }
    read(text)
}

/// How deep a JSON text is nested; of a text that is not JSON, at least as deep as a parser would get.
pub(crate) fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0_usize, 0, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_text_may_be_nested_so_deep_and_brackets_in_words_do_not_count() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert!(read::<Value>(&nested(MAX_DEPTH)).is_ok());
        for levels in [MAX_DEPTH + 1, 100_000] {
            assert!(matches!(read::<Value>(&nested(levels)), Err(JsonError::TooDeep)), "{levels}");
        }
        assert!(read::<Value>(&format!(r#""\"{}""#, "[".repeat(100))).is_ok());
        assert!(read::<Value>(&"[1],".repeat(100)).is_err_and(|error| matches!(error, JsonError::Json(_))));
    }

    #[test]
    fn an_object_is_not_a_list() {
        for (text, readable) in [(" {}", true), ("[]", false), ("", false), ("{", false)] {
            assert_eq!(read_object::<Value>(text).is_ok(), readable, "{text}");
        }
    }
}
