//! What waits for one connection: so many frames, and so many bytes of what other members send to it.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::{Message as Frame, Utf8Bytes};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::timeout;

/// A frame on its way to a connection. It holds its place until it is written.
#[derive(Debug)]
pub(crate) struct Waiting {
    frame: Utf8Bytes,
    _place: Option<OwnedSemaphorePermit>,
}

/// What the server itself says is short.
impl From<Utf8Bytes> for Waiting {
    fn from(frame: Utf8Bytes) -> Self {
        Self { frame, _place: None }
    }
}

impl Waiting {
    /// As it is written; its place is free.
    pub(super) fn into_frame(self) -> Frame {
        Frame::Text(self.frame)
    }
}

/// The way to a connection.
#[derive(Clone, Debug)]
pub(crate) struct Outbox {
    frames: mpsc::Sender<Waiting>,
    room: Arc<Semaphore>,
    bytes: usize,
}

/// Why a frame was not put in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotSent {
    /// The connection takes nothing.
    Full,
    /// It has ended.
    Closed,
}

impl Outbox {
    /// Room for so many frames, and for so many bytes from others.
    pub(super) fn new(frames: usize, bytes: usize) -> (Self, mpsc::Receiver<Waiting>) {
        let (frames, waiting) = mpsc::channel(frames.max(1));
        (Self { frames, room: Arc::new(Semaphore::new(bytes)), bytes }, waiting)
    }

    /// Puts in what another member says, as soon as there is room for it.
    pub(super) async fn relay(&self, frame: Utf8Bytes, patience: Duration) -> Result<(), NotSent> {
        // What is larger than all the room there is has it to itself.
        let weight = u32::try_from(frame.len().min(self.bytes)).unwrap_or(u32::MAX);
        let sending = async {
            let place = Arc::clone(&self.room).acquire_many_owned(weight).await.map_err(|_closed| NotSent::Closed)?;
            self.frames.send(Waiting { frame, _place: Some(place) }).await.map_err(|_closed| NotSent::Closed)
        };
        timeout(patience, sending).await.unwrap_or(if self.frames.is_closed() {
            Err(NotSent::Closed)
        } else {
            Err(NotSent::Full)
        })
    }

    /// The way for what the server says.
    pub(super) fn frames(&self) -> &mpsc::Sender<Waiting> {
        &self.frames
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With `_place: None` for what is relayed: the one too many was taken.
    #[tokio::test]
    async fn few_large_frames_fill_a_queue_that_has_room_for_many_small_ones() {
        let (outbox, mut waiting) = Outbox::new(64, 4000);
        let frame = |bytes: usize| Utf8Bytes::from("x".repeat(bytes));
        let soon = Duration::from_millis(10);
        for _ in 0..4 {
            assert_eq!(outbox.relay(frame(1000), soon).await, Ok(()));
        }
        assert_eq!(outbox.relay(frame(1), soon).await, Err(NotSent::Full));
        waiting.recv().await.unwrap().into_frame();
        assert_eq!(outbox.relay(frame(1000), soon).await, Ok(()), "a frame that is written makes room");
        while let Ok(frame) = waiting.try_recv() {
            frame.into_frame();
        }
        assert_eq!(outbox.relay(frame(100_000), soon).await, Ok(()), "alone");
        drop(waiting);
        assert_eq!(outbox.relay(frame(1), soon).await, Err(NotSent::Closed));
    }
}
