//! Reads the ICE servers which a room gives, in every spelling that is around.

use serde_json::Value;

use crate::terms::IceServer;

/// The servers of a list. An entry that makes no sense does not spoil the others.
pub(crate) fn read(list: Option<&Value>) -> Vec<IceServer> {
    list.and_then(Value::as_array).into_iter().flatten().filter_map(entry).collect()
}

/// `url` is the legacy spelling of `urls`; servers for old and new clients alike send both.
fn entry(value: &Value) -> Option<IceServer> {
    let mut entry = value.as_object()?.clone();
    if entry.contains_key("urls") {
        entry.remove("url");
    }
    serde_json::from_value(Value::Object(entry)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read_and_nonsense_is_left_out() {
        for (list, urls) in [
            (r#"[{"url":"stun:a"}]"#, vec!["stun:a"]),
            (r#"[{"urls":["stun:a","stun:b"]},7,{"urls":7},{},{"url":"stun:c"}]"#, vec!["stun:a", "stun:b", "stun:c"]),
            (r#"[{"url":"stun:a","urls":"stun:a"}]"#, vec!["stun:a"]),
            ("7", vec![]),
        ] {
            let servers = read(Some(&serde_json::from_str(list).unwrap()));
            assert_eq!(servers.iter().flat_map(|server| &server.urls).collect::<Vec<_>>(), urls, "{list}");
        }
        assert_eq!(read(None), []);
    }
}
