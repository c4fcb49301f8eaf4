//! Keyframe requests, paced: any thread asks without waiting, one task sends what is due.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use rtc::rtcp::payload_feedbacks::picture_loss_indication::PictureLossIndication;
use tokio::sync::Notify;
use tokio::time::Instant;
use tracing::debug;
use webrtc::media_stream::track_remote::TrackRemote;

use crate::terms::Ssrc;

/// A keyframe takes a round trip and is expensive for the sender: asking more often only makes it worse. Chrome makes no two of
/// them in less time; much longer, and a request that gets lost costs the picture a second.
const INTERVAL: Duration = Duration::from_millis(300);

/// Asks for keyframes, from any thread, without ever waiting. Clones ask the same sender.
#[derive(Clone, Debug, Default)]
pub struct KeyframeRequester {
    shared: Arc<Request>,
}

#[derive(Debug, Default)]
struct Request {
    wanted: Notify,
    /// Whether it is still wanted when its time comes.
    pending: AtomicBool,
    ssrc: AtomicU32,
}

impl KeyframeRequester {
    /// Asks once. Requests within 300 ms of one another become one, and none if a keyframe comes first.
    pub fn request(&self) {
        self.shared.pending.store(true, Ordering::Relaxed);
        self.shared.wanted.notify_one();
    }

    /// A keyframe of this stream has come: what was not asked for yet need not be.
    ///
    /// Whoever waits for one asks again with each picture that is of no use, and the last of these requests would bring another
    /// keyframe after the one that came.
    pub(crate) fn arrived(&self, ssrc: Ssrc) {
        if self.shared.ssrc.load(Ordering::Relaxed) == ssrc.0 {
            self.shared.pending.store(false, Ordering::Relaxed);
        }
    }

    /// Names the stream that the next request is about.
    pub(crate) fn of(&self, ssrc: Ssrc) {
        self.shared.ssrc.store(ssrc.0, Ordering::Relaxed);
    }

    /// Waits until a request is due. What is asked until then is part of it.
    pub(crate) async fn next(&self, pace: &mut Pace) {
        loop {
            self.shared.wanted.notified().await;
            tokio::time::sleep_until(pace.due(Instant::now())).await;
            if self.shared.pending.swap(false, Ordering::Relaxed) {
                pace.last = Some(Instant::now());
                return;
            }
        }
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
    /// When a request that is wanted now may go out.
    fn due(&self, now: Instant) -> Instant {
        self.last.map_or(now, |last| now.max(last + INTERVAL))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_go_out_at_once_but_not_sooner_than_a_keyframe_can_follow() {
        let (start, mut pace) = (Instant::now(), Pace::default());
        let after = |milliseconds| start + Duration::from_millis(milliseconds);
        for (asked, due) in [(0, 0), (10, 300), (600, 600), (5000, 5000), (5299, 5300), (5700, 5700)] {
            assert_eq!(pace.due(after(asked)), after(due), "asked after {asked} ms");
            pace.last = Some(after(due));
        }
    }

    /// Whether there is a request to send within half a second.
    async fn sends(requester: &KeyframeRequester, pace: &mut Pace) -> bool {
        tokio::time::timeout(Duration::from_millis(500), requester.next(pace)).await.is_ok()
    }

    #[tokio::test]
    async fn a_hundred_requests_become_one() {
        let (requester, mut pace) = (KeyframeRequester::default(), Pace::default());
        for _ in 0..100 {
            requester.request();
        }
        assert!(sends(&requester, &mut pace).await && !sends(&requester, &mut pace).await);
    }

    /// Without what `arrived` does the second request goes out, and brings a keyframe that nobody needs.
    #[tokio::test]
    async fn what_waits_until_a_keyframe_comes_asks_for_one_and_not_for_two() {
        let (requester, mut pace) = (KeyframeRequester::default(), Pace::default());
        requester.of(Ssrc(7));
        requester.request();
        assert!(sends(&requester, &mut pace).await);
        requester.request();
        requester.arrived(Ssrc(7));
        assert!(!sends(&requester, &mut pace).await);

        requester.request();
        requester.arrived(Ssrc(8));
        assert!(sends(&requester, &mut pace).await, "it was of another layer");
        requester.request();
        requester.arrived(Ssrc(7));
        requester.request();
        assert!(sends(&requester, &mut pace).await, "it was torn");
    }
}
