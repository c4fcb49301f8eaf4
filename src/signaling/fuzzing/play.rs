//! Plays the steps of an input, and checks what every codec promises whatever it hears.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::super::{Command, Event, SignalingError};
use crate::terms::{IceCandidate, ParticipantId, SdpType, SessionDescription};

/// Steps of one input.
const STEPS: usize = 256;
/// The longest text that a room takes.
const FRAME: usize = super::super::limits::MAX_MESSAGE;
/// What a step may lead to at most, besides what all that was heard so far may lead to: a thing per byte.
const OUTPUTS: usize = 256;
/// The longest pause that anybody would wait for.
const PAUSE: Duration = Duration::from_secs(300);
const DAY: u64 = 86_400_000;

/// A codec with its transport's rules: what is called when, and what is lost on the way.
pub(super) trait Driver {
    /// The session begins, or a connection is made anew. Nothing where it stands already.
    fn connect(&mut self, now: Instant);
    /// A text, if there is somebody to hear it.
    fn text(&mut self, text: &str, now: Instant);
    /// A connection is lost or not made, a request fails.
    fn fail(&mut self, error: SignalingError, now: Instant);
    fn command(&mut self, command: Command, now: Instant);
    fn wake(&mut self, now: Instant);
    /// When to wake; nothing without a connection.
    fn wake_at(&self) -> Option<Instant>;
    fn poll(&mut self, now: Instant) -> Option<Said>;
}

/// What came of a step.
#[derive(Debug)]
pub(super) enum Said {
    Event(Event),
    /// A frame or a request of so many bytes.
    Sent(usize),
    /// The session goes on after this pause.
    Pause(Option<Duration>),
    /// It has ended.
    Over,
}

/// Plays steps until they or the session end.
pub(super) fn play(driver: &mut dyn Driver, steps: &str) {
    let mut scene = Scene { now: Instant::now(), fed: 0, told: BTreeSet::new(), leaving: false, over: false };
    driver.connect(scene.now);
    scene.settle(driver);
    for step in steps.split('\n').take(STEPS) {
        if scene.over {
            return;
        }
        scene.fed += step.len();
        scene.step(driver, step);
        scene.settle(driver);
    }
}

struct Scene {
    now: Instant,
    /// Bytes of all steps so far.
    fed: usize,
    /// Whom the user of the session knows.
    told: BTreeSet<ParticipantId>,
    leaving: bool,
    over: bool,
}

impl Scene {
    fn step(&mut self, driver: &mut dyn Driver, step: &str) {
        if let Some(words) = step.strip_prefix('!') {
            let (code, reason) = words.split_once(' ').unwrap_or((words, ""));
            let (host, reason) = ("h".to_owned(), reason.to_owned());
            driver.fail(
                match code.parse() {
                    Ok(0) => SignalingError::Full { host, reason },
                    Ok(code) => SignalingError::Closed { host, code: Some(code), reason },
                    Err(_) if code == "closed" => SignalingError::Closed { host, code: None, reason },
                    Err(_) => SignalingError::Unreachable { host, reason },
                },
                self.now,
            );
        } else if let Some(time) = step.strip_prefix('~') {
            match time.trim().parse::<u64>() {
                Ok(milliseconds) => self.now += Duration::from_millis(milliseconds.min(DAY)),
                Err(_) => self.now = driver.wake_at().map_or(self.now, |at| at.max(self.now)),
            }
        } else if let Some(wish) = step.strip_prefix('>') {
            if let Some(command) = command(wish).filter(|_| !self.leaving) {
                self.leaving = command == Command::Leave;
                driver.command(command, self.now);
            }
        } else {
            driver.connect(self.now);
            self.drain(driver);
            if !self.over {
                driver.text(step.strip_prefix('<').unwrap_or(step), self.now);
            }
        }
    }

    /// Everything that happens at this moment, as in a transport's loop.
    fn settle(&mut self, driver: &mut dyn Driver) {
        self.drain(driver);
        for _ in 0..OUTPUTS {
            if self.over || driver.wake_at().is_none_or(|at| at > self.now) {
                return;
            }
            driver.wake(self.now);
            self.drain(driver);
        }
        panic!("it wants to be woken at the same moment again and again");
    }

    fn drain(&mut self, driver: &mut dyn Driver) {
        for _ in 0..OUTPUTS + self.fed {
            match driver.poll(self.now) {
                None => return,
                Some(said) => {
                    assert!(!self.over, "after the end: {said:?}");
                    self.judge(said);
                }
            }
        }
        panic!("so much was never said to it");
    }

    fn judge(&mut self, said: Said) {
        match said {
            Said::Event(event) => self.hear(&event),
            Said::Sent(bytes) => assert!(bytes <= FRAME, "a frame of {bytes} bytes"),
            Said::Pause(pause) => assert!(pause.is_none_or(|pause| pause <= PAUSE), "a pause of {pause:?}"),
            Said::Over => self.over = true,
        }
    }

    fn hear(&mut self, event: &Event) {
        match event {
            Event::Joined { me, .. } => name(me),
            Event::PeerJoined { peer, .. } | Event::Description { peer, .. } | Event::Candidate { peer, .. } => {
                name(peer);
                self.told.insert(peer.clone());
            }
            Event::SessionEnded { peer } => name(peer),
            Event::PeerLeft { peer } => assert!(self.told.remove(peer), "{peer} leaves who was not there"),
            Event::Reconnecting { retry_in, .. } => assert!(*retry_in <= PAUSE, "a pause of {retry_in:?}"),
        }
    }
}

/// Names of participants come into logs, terminals and the names of pipelines.
fn name(id: &ParticipantId) {
    assert!(!id.as_str().contains(char::is_control) && id.as_str().len() <= 255, "a participant called {id:?}");
}

fn command(wish: &str) -> Option<Command> {
    let mut words = wish.splitn(3, ' ');
    let (kind, peer, word) = (words.next()?, words.next().unwrap_or("peer"), words.next().unwrap_or("ours"));
    // Whom the user names has been named to the user before.
    let peer = ParticipantId::new(Some(peer).filter(|peer| !peer.contains(char::is_control) && peer.len() <= 64)?);
    let candidate = |text: String| {
        let sdp_mid = Some(word.to_owned()).filter(|mid| mid != "ours");
        Some(IceCandidate { candidate: text, sdp_mid, sdp_m_line_index: Some(0), username_fragment: None })
    };
    Some(match kind {
        "offer" | "answer" => {
            let sdp = format!(
                "v=0\r\nm=audio 9 X 111\r\na=mid:0\r\na=ice-ufrag:{word}\r\na=ice-pwd:ourpasswordourpassword00\r\n\
                 a=setup:actpass\r\na=fingerprint:sha-256 {word}\r\n"
            );
            let kind = if kind == "offer" { SdpType::Offer } else { SdpType::Answer };
            Command::Description { peer, description: SessionDescription { kind, sdp } }
        }
        "candidate" => {
            Command::Candidate { peer, candidate: candidate("candidate:1 1 udp 1 192.0.2.7 9 typ host".to_owned()) }
        }
        "blank" => Command::Candidate { peer, candidate: candidate(String::new()) },
        "end" => Command::Candidate { peer, candidate: None },
        "hangup" => Command::Hangup { peer },
        "call" => Command::Call { peer },
        "leave" => Command::Leave,
        _ => return None,
    })
}
