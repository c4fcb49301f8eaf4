//! Keyframe requests, paced: any thread asks without waiting, one task sends what is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::debug;
use webrtc::media_stream::track_remote::TrackRemote;

use crate::terms::Ssrc;

/// A keyframe takes a round trip and is expensive for the sender: asking more often only makes it worse.
const INTERVAL: Duration = Duration::from_millis(500);

/// Asks for keyframes, from any thread, without ever waiting. Clones ask the same sender.
#[derive(Clone, Debug, Default)]
pub struct KeyframeRequester {
    shared: Arc<Request>,
}

#[derive(Debug, Default)]
struct Request {
    wanted: Notify,
    ssrc: AtomicU32,
}

impl KeyframeRequester {
    /// Asks once. Requests within 500 ms of one another become one.
    pub fn request(&self) {
        self.shared.wanted.notify_one();
    }

    /// Names the stream that the next request is about.
    pub(crate) fn of(&self, ssrc: Ssrc) {
        self.shared.ssrc.store(ssrc.0, Ordering::Relaxed);
    }

    /// Waits until a request is due. What is asked until then is part of it.
    pub(crate) async fn next(&self, pace: &mut Pace) {
        self.shared.wanted.notified().await;
        tokio::time::sleep_until(pace.next(Instant::now())).await;
    }

    /// Sends a picture loss indication (RFC 4585, section 6.3.1) for each request, until dropped.
    pub(crate) async fn run(self, remote: Arc<dyn TrackRemote>) {
        let mut pace = Pace::default();
        loop {
            self.next(&mut pace).await;
            let ssrc = self.shared.ssrc.load(Ordering::Relaxed);
            let request = PictureLossIndication { sender_ssrc: 0, media_ssrc: ssrc };
            if let Err(error) = remote.write_rtcp(vec![Box::new(request)]).await {
                debug!(ssrc, %error, "cannot ask for a keyframe");
            }
        }
    }
}

/// Keeps requests apart.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    last: Option<Instant>,
}

impl Pace {
    /// When the request that is wanted now may go out.
    fn next(&mut self, now: Instant) -> Instant {
        let due = self.last.map_or(now, |last| now.max(last + INTERVAL));
        self.last = Some(due);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_out_at_once_but_half_a_second_apart() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        for (asked, due) in [(0, 0), (10, 500), (600, 1000), (5000, 5000), (5499, 5500), (6000, 6000)] {
            assert_eq!(pace.next(after(asked)), after(due), "asked after {asked} ms");
        }
    }

    #[tokio::test]
    async fn a_hundred_requests_become_one() {
        let requester = KeyframeRequester::default();
        for _ in 0..100 {
            requester.request();
        }
        requester.next(&mut Pace::default()).await;
        let another = tokio::time::timeout(Duration::from_millis(10), requester.shared.wanted.notified()).await;
        assert!(another.is_err());
    }
}
