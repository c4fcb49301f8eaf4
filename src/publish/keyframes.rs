//! Keyframe requests of all members, as force-key-unit events at the one encoder.

use std::sync::Arc;
use std::time::Duration;

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_video as gst_video;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Every member pays for each keyframe: more would cost all of them quality.
const INTERVAL: Duration = Duration::from_millis(500);

/// Asks the encoder for keyframes. Clones ask the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct KeyframeRequests(Arc<Notify>);

impl KeyframeRequests {
    pub(super) fn request(&self) {
        self.0.notify_one();
    }

    /// Passes requests on to the encoder behind this sink, one in half a second at most, until dropped.
    pub(super) async fn run(self, sink: gst::Element) {
        let mut last = None;
        loop {
            self.next(&mut last).await;
            sink.send_event(gst_video::UpstreamForceKeyUnitEvent::builder().all_headers(true).build());
        }
    }

    async fn next(&self, last: &mut Option<Instant>) {
        self.0.notified().await;
        if let Some(last) = *last {
            tokio::time::sleep_until(last + INTERVAL).await;
        }
        *last = Some(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn requests_of_many_members_become_one_in_half_a_second() {
        let requests = KeyframeRequests::default();
        let (start, mut last) = (Instant::now(), None);
        for expected in [Duration::ZERO, INTERVAL, INTERVAL * 2] {
            for member in [&requests.clone(), &requests] {
                member.request();
            }
            requests.next(&mut last).await;
            assert_eq!(start.elapsed(), expected);
        }
    }
}
