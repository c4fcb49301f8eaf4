//! RTP from a participant to receivers, as it came: numbered anew and sent from a socket of its own, never unpacked.
//!
//! It is called for every packet by whoever reads the participant's track, so that a packet wakes up no further task. Sending
//! never waits: what the kernel does not take at once is dropped and counted.

mod fuzzing;
mod lane;
mod neighbour;
mod sockets;

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::watch;

pub(super) use self::fuzzing::fuzz_lane;
use self::lane::Lane;
pub(crate) use self::lane::{Form, payload_type};
use self::neighbour::Neighbour;
pub use self::sockets::{Interface, Multicast};
use self::sockets::{port_of, socket};
use super::sdp::SrtpKey;
use crate::rtp::{Capture, Packet, PacketSink, Protect, Protection, Wish};
use crate::terms::{MediaKind, Ssrc};

/// How often sender reports go out. RFC 3550, section 6.2, allows less than five seconds where the media is fast; a player that
/// joins shows lips and voice apart until the first ones.
const REPORT: u64 = 1000;

/// Pictures are reported this long after every second report of sound. ffmpeg moves the other stream to the one that it hears of
/// first: pictures can be moved by some milliseconds, but sound that goes back by them is an error, so few of those who join
/// should do so between the two.
const AFTER_SOUND: std::ops::Range<u64> = 15..400;

/// A sender that reports on one of its two streams alone gets this long to report on the other one.
const REPORT_TOGETHER: u64 = 6000;

/// Where a passthrough sends, and what for.
#[derive(Clone, Debug)]
pub struct PassthroughConfig {
    /// Which kinds of media it takes.
    pub kinds: Vec<MediaKind>,
    /// The receivers: RTP of pictures to the port, of sound to the port two above, RTCP one above each.
    pub receivers: Vec<SocketAddr>,
    /// How it leaves when a receiver is a group.
    pub multicast: Multicast,
    /// A keyframe is asked for when none came for this long; at least one second.
    pub keyframes: Duration,
    /// What its sources are called, the same for sound and picture (RFC 3550, section 6.5.1).
    pub name: String,
    /// Encrypts what goes to the receivers.
    pub protection: Option<(Protection, SrtpKey)>,
}

/// One output's packets on their way from taps to receivers.
#[derive(Debug)]
pub struct Passthrough {
    roads: Vec<Road>,
    name: String,
    began: Instant,
    sent: AtomicU64,
    dropped: AtomicU64,
    forms: watch::Sender<Forms>,
}

/// What receivers must know of each kind, once it is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Forms {
    pub(crate) video: Option<Form>,
    pub(crate) audio: Option<Form>,
}

impl Forms {
    pub(crate) fn of(&self, kind: MediaKind) -> Option<&Form> {
        match kind {
            MediaKind::Audio => self.audio.as_ref(),
            MediaKind::Video => self.video.as_ref(),
        }
    }
}

/// What one kind of media goes through.
#[derive(Debug)]
struct Road {
    kind: MediaKind,
    rtp: UdpSocket,
    rtcp: UdpSocket,
    /// When the last report was sent, in ms of [`Passthrough::age`].
    reported: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    lane: Lane,
    neighbour: Neighbour,
    /// Where RTP goes; RTCP one port above.
    receivers: Vec<SocketAddr>,
    buffer: Vec<u8>,
    protection: Option<Box<dyn Protect>>,
    encrypted: Vec<u8>,
}

impl Passthrough {
    /// Opens the sockets.
    ///
    /// # Errors
    /// No socket can be opened, or it cannot send to groups as asked for.
    pub fn open(config: &PassthroughConfig) -> io::Result<Arc<Self>> {
        let road = |kind: &MediaKind| {
            let receivers: Vec<_> = config.receivers.iter().filter_map(|receiver| port_of(*kind, *receiver)).collect();
            let rtp = socket(&config.receivers, &config.multicast)?;
            let mut lane = Lane::new(*kind, Ssrc(rand::random()), config.keyframes);
            let protection = match &config.protection {
                Some((protection, key)) => {
                    lane = lane.beginning_low();
                    Some(protection(key.bytes()).ok_or_else(|| io::Error::other("this build cannot encrypt"))?)
                }
                None => None,
            };
            Ok(Road {
                kind: *kind,
                rtcp: socket(&config.receivers, &config.multicast)?,
                reported: AtomicU64::new(0),
                state: Mutex::new(State {
                    lane,
                    neighbour: Neighbour::of(&rtp, &receivers)?,
                    receivers,
                    buffer: Vec::with_capacity(2048),
                    protection,
                    encrypted: Vec::new(),
                }),
                rtp,
            })
        };
        Ok(Arc::new(Self {
            roads: config.kinds.iter().map(road).collect::<io::Result<_>>()?,
            name: config.name.clone(),
            began: Instant::now(),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            forms: watch::Sender::new(Forms::default()),
        }))
    }

    /// Packets sent, and those that the kernel did not take.
    pub fn counters(&self) -> (u64, u64) {
        (self.sent.load(Ordering::Relaxed), self.dropped.load(Ordering::Relaxed))
    }

    /// What receivers must know, as it changes.
    pub(crate) fn forms(&self) -> watch::Receiver<Forms> {
        self.forms.subscribe()
    }

    /// Sends to one more receiver, from a keyframe on.
    pub(crate) fn add(&self, receiver: SocketAddr) {
        for road in &self.roads {
            let mut state = road.lock();
            state.lane.want_keyframe();
            state.receivers.extend(port_of(road.kind, receiver));
        }
    }

    /// Ends what [`Self::add`] began.
    pub(crate) fn remove(&self, receiver: SocketAddr) {
        for road in &self.roads {
            let port = port_of(road.kind, receiver);
            road.lock().receivers.retain(|known| Some(*known) != port);
        }
    }

    fn road(&self, kind: MediaKind) -> Option<&Road> {
        self.roads.iter().find(|road| road.kind == kind)
    }

    fn tell(&self, kind: MediaKind, form: Option<Form>) {
        self.forms.send_modify(|forms| match kind {
            MediaKind::Audio => forms.audio = form,
            MediaKind::Video => forms.video = form,
        });
    }

    /// Milliseconds since a little before it began, so that 0 is long ago.
    fn age(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_millis())
            .unwrap_or(u64::MAX)
            .saturating_add(2 * REPORT)
    }

    /// Whether a report of this road is due, and would not be the first that a player hears of this sender's two streams if it
    /// is of the pictures.
    fn is_report_due(&self, road: &Road, age: u64) -> bool {
        let last = road.reported.load(Ordering::Relaxed);
        let other = self.roads.iter().find(|other| other.kind != road.kind);
        let period = if road.kind == MediaKind::Video && other.is_some() { REPORT + REPORT / 2 } else { REPORT };
        if age.saturating_sub(last) < period {
            return false;
        }
        let Some(other) = other else { return true };
        let (begun, related) = {
            let state = other.lock();
            (state.lane.has_begun(), state.lane.is_related())
        };
        if !begun || (!related && age.saturating_sub(last) > REPORT_TOGETHER) {
            return true;
        }
        let of_other = other.reported.load(Ordering::Relaxed);
        related && (road.kind == MediaKind::Audio || AFTER_SOUND.contains(&age.saturating_sub(of_other)))
    }

    /// Sends a report of this road when one is due.
    fn report_when_due(&self, road: &Road, now: Instant) {
        let age = self.age(now);
        if !self.is_report_due(road, age) {
            return;
        }
        let State { lane, receivers, buffer, protection, encrypted, .. } = &mut *road.lock();
        if !lane.report(&self.name, now, SystemTime::now(), buffer) {
            return;
        }
        road.reported.store(age, Ordering::Relaxed);
        let buffer = match protection {
            Some(protection) => match protection.rtcp(buffer, encrypted) {
                Some(()) => encrypted,
                // Never in the clear.
                None => return,
            },
            None => buffer,
        };
        for receiver in receivers.iter() {
            let to = SocketAddr::new(receiver.ip(), receiver.port().saturating_add(1));
            // The next report comes in a second.
            road.rtcp.send_to(buffer, to).ok();
        }
    }
}

impl PacketSink for Passthrough {
    fn packet(&self, packet: &Packet) -> Wish {
        let Some(road) = self.road(packet.codec.kind()) else { return Wish::default() };
        let now = Instant::now();
        let (wish, form) = {
            let State { lane, neighbour, receivers, buffer, protection, encrypted } = &mut *road.lock();
            let taken = lane.take(packet, now, buffer);
            if !taken.send {
                return taken.wish;
            }
            let buffer = match protection {
                Some(protection) => match protection.rtp(buffer, encrypted) {
                    Some(()) => encrypted,
                    // Never in the clear.
                    None => return taken.wish,
                },
                None => buffer,
            };
            for receiver in receivers.iter() {
                match neighbour.send(&road.rtp, buffer, *receiver) {
                    Ok(begins) => {
                        self.sent.fetch_add(1, Ordering::Relaxed);
                        if begins {
                            lane.want_keyframe();
                        }
                    }
                    Err(error) => {
                        tracing::trace!(%receiver, %error, "a packet was not sent");
                        self.dropped.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
            (taken.wish, taken.new_form.then(|| lane.form().cloned()))
        };
        if let Some(form) = form {
            self.tell(road.kind, form);
        }
        for road in &self.roads {
            self.report_when_due(road, now);
        }
        wish
    }

    fn report(&self, capture: &Capture) {
        for road in &self.roads {
            road.lock().lane.relate(capture);
        }
    }
}

impl Road {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use bytes::Bytes;

    use super::*;
    use crate::rtp::{Tap, TrackId};
    use crate::terms::Codec;

    fn listen(first: u16) -> [UdpSocket; 4] {
        [0, 1, 2, 3].map(|offset| {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, first + offset)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
            socket
        })
    }

    fn receive(socket: &UdpSocket) -> Vec<u8> {
        let mut buffer = [0; 2048];
        let length = socket.recv(&mut buffer).unwrap();
        buffer[..length].to_vec()
    }

    #[test]
    fn sound_and_picture_go_to_their_ports_at_every_receiver_with_reports_beside_them() {
        let ports = [super::super::any_free_rtp_ports().unwrap(), super::super::any_free_rtp_ports().unwrap()];
        let listening = ports.map(listen);
        let passthrough = Passthrough::open(&PassthroughConfig {
            kinds: vec![MediaKind::Video, MediaKind::Audio],
            receivers: ports.map(|port| (Ipv4Addr::LOCALHOST, port).into()).to_vec(),
            multicast: Multicast::default(),
            keyframes: Duration::from_secs(2),
            name: "room".into(),
            protection: None,
        })
        .unwrap();
        let tap = Tap::new();
        let _plug = tap.plug(passthrough.clone());
        let packet = |codec, ssrc, sequence_number, payload: &'static [u8]| Packet {
            track: TrackId::unique(),
            codec,
            ssrc: Ssrc(ssrc),
            sequence_number,
            timestamp: 0,
            marker: true,
            payload: Bytes::from_static(payload),
        };
        let (picture, sound) = (packet(Codec::Vp8, 1, 5, &[0x10, 0]), packet(Codec::Opus, 2, 6, &[0xfc]));
        let forms = passthrough.forms();
        tap.packet(&picture);
        tap.packet(&sound);
        for [video, _, audio, _] in &listening {
            assert_eq!(receive(video)[1..4], [0x80 | 96, 0, 5]);
            assert_eq!(receive(audio)[1..4], [0x80 | 111, 0, 6]);
        }
        let forms = forms.borrow().clone();
        assert_eq!(forms.video.map(|form| form.codec), Some(Codec::Vp8));
        assert_eq!(forms.audio.map(|form| form.codec), Some(Codec::Opus));
        for ssrc in [1, 2] {
            tap.report(&Capture { ssrc: Ssrc(ssrc), timestamp: 0, at: Instant::now() });
        }
        let report = |after: u64| {
            for road in &passthrough.roads {
                passthrough.report_when_due(road, Instant::now() + Duration::from_millis(after));
            }
        };
        let [[_, video, _, audio], _] = &listening;
        report(0);
        let sound = receive(audio);
        assert_eq!(sound[1], 200);
        video.set_nonblocking(true).unwrap();
        assert!(video.recv(&mut [0; 64]).is_err(), "sound is reported first");
        report(AFTER_SOUND.start + 50);
        video.set_nonblocking(false).unwrap();
        assert_eq!(receive(video)[1], 200);
        assert_eq!(passthrough.counters(), (4, 0));
    }
}
