//! A room as the API shows it, whatever its protocol. The owner of each protocol's rooms makes the list of its own.

/// A room, and who is in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RoomInfo {
    /// As its protocol names it; empty where it has no name.
    pub(crate) room: String,
    /// Ids by which the others know them. Where the protocol has none, or where an id is the right to act, their places: `1`
    /// and `2`.
    pub(crate) members: Vec<String>,
}

/// The members of a room of two by their places.
pub(crate) fn places(count: usize) -> Vec<String> {
    (1..=count).map(|place| place.to_string()).collect()
}
