//! A WHEP viewer in a room: what one member sends goes to the client, in the codecs it comes in.
//!
//! The answer can only be made when it is known what the member sends, so the member is called first. When that member
//! leaves, another one who sends the same codecs takes the place.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::client::Client;
use super::feed::{self, Feed, Inlet};
use super::source::{News, Source};
use super::{Begin, Opened, RelayConfig, RelayError, Request};
use crate::peer::{InboundTrack, PeerEvent, sdp};
use crate::rtp::SenderClock;
use crate::terms::{Codec, MediaKind, ParticipantId};

/// How long it may take to find somebody who sends.
const SEARCH: Duration = Duration::from_secs(20);
/// The answer waits this long for the second track once the first one flows.
const SECOND_TRACK: Duration = Duration::from_secs(2);
/// A client whose connection does not come up for so long never connects.
const CONNECT: Duration = Duration::from_secs(30);
/// A viewer without anything to see is kept this long.
const NOTHING_TO_SEE: Duration = Duration::from_secs(60);
/// How often members who sent nothing are asked again.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// A relay's life: answers the wish, then forwards until the client, the server or the connection ends it.
pub(super) async fn run(mut begin: Begin, requests: mpsc::Receiver<Request>) {
    let (config, room, only) = (Arc::clone(&begin.config), begin.wish.room.clone(), begin.wish.participant.clone());
    let offer = std::mem::take(&mut begin.wish.offer);
    let Some(opened) = begin.unless_given_up(open(config, &room, only, offer)).await else { return };
    let (viewer, answer) = match opened {
        Ok(opened) => opened,
        Err(error) => return drop(begin.reply.send(Err(error))),
    };
    info!(room, participant = ?viewer.source.participant(), "a WHEP client watches");
    let opened = Opened { id: begin.id.borrow().clone(), etag: viewer.client.etag().to_owned(), answer };
    // Nobody waits for the answer any more: then nobody will connect.
    if begin.reply.send(Ok(opened)).is_ok() {
        viewer.run(requests, begin.cancel).await;
    } else {
        viewer.close().await;
    }
    info!(room, "a WHEP client is gone");
}

/// Finds somebody who sends, and answers the offer with that.
async fn open(
    config: Arc<RelayConfig>,
    room: &str,
    only: Option<ParticipantId>,
    offer: String,
) -> Result<(Viewer, String), RelayError> {
    let codecs = codecs_of(&offer)?;
    let mut source = Source::enter(Arc::clone(&config), room, only, codecs.clone()).await?;
    let mut streams = Streams::default();
    let answered = match streams.find(&mut source, &codecs).await {
        Ok(()) => streams.answer(&source, &config, offer).await,
        Err(error) => Err(error),
    };
    match answered {
        Ok((client, answer)) => {
            source.keep_to(streams.codecs());
            Ok((Viewer { client, source, streams }, answer))
        }
        Err(error) => {
            source.close().await;
            Err(error)
        }
    }
}

/// What a client can take, of the kinds that it wants.
fn codecs_of(offer: &str) -> Result<Vec<Codec>, RelayError> {
    sdp::check(offer).map_err(super::offer_error)?;
    let kinds: Vec<MediaKind> = sdp::sections(offer).into_iter().map(|section| section.kind).collect();
    if kinds.is_empty() {
        return Err(RelayError::BadOffer("it has neither audio nor video; offer them as recvonly".to_owned()));
    }
    let mut codecs: Vec<Codec> = Vec::new();
    for (_, codec) in sdp::payload_types(offer) {
        if kinds.contains(&codec.kind()) && !codecs.contains(&codec) {
            codecs.push(codec);
        }
    }
    if codecs.is_empty() {
        return Err(RelayError::NothingInCommon("rooms have VP8, H.264, VP9, AV1 and Opus".to_owned()));
    }
    Ok(codecs)
}

/// What flows from the member to the client.
#[derive(Debug, Default)]
struct Streams {
    feeds: HashMap<MediaKind, (Feed, Inlet)>,
    clock: SenderClock,
    tasks: JoinSet<()>,
}

impl Streams {
    /// Waits until a member sends what the client wants, or as much of it as there is.
    async fn find(&mut self, source: &mut Source, codecs: &[Codec]) -> Result<(), RelayError> {
        let mut wanted: Vec<MediaKind> = codecs.iter().map(|codec| codec.kind()).collect();
        wanted.sort_unstable();
        wanted.dedup();
        let nobody = || RelayError::NobodySends("nobody in this room sends what you can take".to_owned());
        let mut deadline = Instant::now() + SEARCH;
        loop {
            if wanted.iter().all(|kind| self.feeds.contains_key(kind)) {
                return Ok(());
            }
            let happened = tokio::select! {
                happened = source.wait() => happened,
                () = sleep_until(deadline) => {
                    return if self.feeds.is_empty() { Err(nobody()) } else { Ok(()) };
                }
            };
            let called = source.participant().cloned();
            match source.take(happened).await {
                News::Track(track) => {
                    let picture_is_there = track.kind == MediaKind::Video || !wanted.contains(&MediaKind::Video);
                    self.attach(track).await;
                    if picture_is_there {
                        deadline = deadline.min(Instant::now() + SECOND_TRACK);
                    }
                }
                News::Report(compound) => self.relate(&compound),
                News::Nobody | News::Over => return Err(nobody()),
                News::None => {}
            }
            if source.participant() != called.as_ref() {
                // What came from the last one is not what the next one sends.
                *self = Self::default();
            }
        }
    }

    /// Answers the client's offer with what flows.
    async fn answer(
        &mut self,
        source: &Source,
        config: &RelayConfig,
        offer: String,
    ) -> Result<(Client, String), RelayError> {
        let mut client = Client::start(source.me(), config, self.codecs()).await?;
        match self.send_to(&mut client, offer).await {
            Ok(answer) => Ok((client, answer)),
            Err(error) => {
                client.close().await;
                Err(error)
            }
        }
    }

    async fn send_to(&mut self, client: &mut Client, offer: String) -> Result<String, RelayError> {
        let mut tracks = Vec::new();
        for (feed, _) in self.feeds.values() {
            tracks.push((feed.clone(), client.add_outbound(feed.codec).await?));
        }
        feed::send_all(tracks, &mut self.tasks);
        let answer = client.answer(offer).await?;
        if sdp::sections(&answer).iter().any(|section| section.sends) {
            Ok(answer)
        } else {
            Err(RelayError::NothingInCommon("the offer takes nothing of what is sent".to_owned()))
        }
    }

    fn codecs(&self) -> Vec<Codec> {
        self.feeds.values().map(|(feed, _)| feed.codec).collect()
    }

    /// A track began, or takes the place of the one before.
    async fn attach(&mut self, track: InboundTrack) {
        debug!(?track, "a WHEP client is to see this");
        match self.feeds.get(&track.kind) {
            Some((_, inlet)) => {
                // Fails only when forwarding has failed, which is reported.
                inlet.tracks.send(track).await.ok();
            }
            None => {
                let kind = track.kind;
                let stream = feed::start(track, &mut self.tasks);
                self.feeds.insert(kind, stream);
            }
        }
    }

    fn relate(&mut self, compound: &[u8]) {
        let Some(capture) = self.clock.read(compound, std::time::Instant::now()) else { return };
        for (_, inlet) in self.feeds.values() {
            inlet.captures.send_replace(Some(capture));
        }
    }
}

struct Viewer {
    client: Client,
    source: Source,
    streams: Streams,
}

impl Viewer {
    async fn run(mut self, mut requests: mpsc::Receiver<Request>, cancel: CancellationToken) {
        let mut connect_by = Some(Instant::now() + CONNECT);
        let mut nothing_since: Option<Instant> = None;
        let mut ask = tokio::time::interval(ASK_AGAIN);
        let mut closing = None;
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                request = requests.recv() => match request {
                    Some(Request::Patch { condition, fragment, reply }) => {
                        reply.send(self.client.patch(&condition, fragment).await).ok();
                    }
                    Some(Request::TakeOver { reply, .. }) => drop(reply.send(Err(RelayError::Ended))),
                    Some(Request::Close { reply }) => { closing = Some(reply); break }
                    None => break,
                },
                event = self.client.next() => match event {
                    Some(PeerEvent::Connected) => connect_by = None,
                    Some(PeerEvent::Failed { reason } | PeerEvent::Misused { reason }) => { debug!(reason, "a WHEP client is lost"); break }
                    Some(_) => {}
                    None => break,
                },
                happened = self.source.wait() => match self.source.take(happened).await {
                    News::Track(track) => {
                        nothing_since = None;
                        // Another kind than was agreed on cannot be sent.
                        if self.streams.feeds.contains_key(&track.kind) {
                            self.streams.attach(track).await;
                        }
                    }
                    News::Report(compound) => self.streams.relate(&compound),
                    News::Over => break,
                    News::None | News::Nobody => {}
                },
                _ = ask.tick(), if self.source.participant().is_none() => {
                    let since = *nothing_since.get_or_insert_with(Instant::now);
                    if since.elapsed() > NOTHING_TO_SEE {
                        debug!("a WHEP client has had nothing to see for long");
                        break;
                    }
                    self.source.forget_tried();
                }
                () = sleep_until(connect_by.unwrap_or_else(Instant::now)), if connect_by.is_some() => {
                    debug!("a WHEP client did not connect in time");
                    break;
                }
                Some(ended) = self.streams.tasks.join_next() => {
                    if let Err(error) = ended { tracing::error!(%error, "forwarding failed"); }
                }
            }
        }
        self.close().await;
        if let Some(reply) = closing {
            reply.send(()).ok();
        }
    }

    async fn close(self) {
        let Self { client, source, mut streams } = self;
        streams.tasks.shutdown().await;
        tokio::join!(client.close(), source.close());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offer_must_have_media_and_a_codec_that_rooms_have() {
        let video = "m=video 9 X 96 98\r\na=mid:0\r\na=recvonly\r\na=rtpmap:98 H264/90000\r\na=rtpmap:96 VP8/90000\r\n";
        assert_eq!(codecs_of(&format!("v=0\r\n{video}")).ok(), Some(vec![Codec::H264, Codec::Vp8]));
        let audio = "v=0\r\nm=audio 9 X 0\r\na=mid:0\r\na=rtpmap:0 PCMU/8000\r\n";
        assert!(matches!(codecs_of(audio), Err(RelayError::NothingInCommon(_))));
        for sdp in ["", "garbage", "v=0\r\nm=application 9 X webrtc-datachannel\r\na=mid:0\r\n"] {
            assert!(matches!(codecs_of(sdp), Err(RelayError::BadOffer(_))), "{sdp}");
        }
    }
}
