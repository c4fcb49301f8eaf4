//! Drives a codec over a WebSocket: dials, pings, reconnects with growing waits, and closes politely.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use futures_util::{SinkExt, StreamExt};
use rand::RngExt as _;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until, timeout};
use tokio_tungstenite::tungstenite::Message as Frame;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, client_async_tls_with_config};
use tokio_util::sync::CancellationToken;

use super::super::codec::{ClientCodec, Next, Output};
use super::super::limits::MAX_MESSAGE;
use super::super::{Command, Event, SignalingError};
use super::dial_error::dial_error;
use super::status_line::FirstLine;
use super::user::{hand_over, next_command, now};

pub(crate) use super::dial_error::Dial;

type Socket = WebSocketStream<MaybeTlsStream<FirstLine<TcpStream>>>;

/// How long dialing may take, TLS included.
const DIAL: Duration = Duration::from_secs(10);
const PING: Duration = Duration::from_secs(20);
/// Without any frame for this long the connection is dead.
const SILENCE: Duration = Duration::from_secs(40);
/// How long one frame may take to leave.
const WRITE: Duration = Duration::from_secs(10);
/// How long a polite end may take.
const CLOSE: Duration = Duration::from_secs(2);
/// Events that may wait for their reader before we stop to read the room.
const PENDING: usize = 256;

/// Runs until the codec says that it is over.
pub(crate) async fn run<C: ClientCodec>(
    dial: Dial,
    codec: C,
    events: mpsc::Sender<Event>,
    commands: mpsc::Receiver<Command>,
    cancel: CancellationToken,
) -> Result<(), SignalingError> {
    let mut driver = Driver {
        dial,
        codec,
        events,
        commands,
        cancel,
        pending: VecDeque::new(),
        leaving: false,
        attempt: 0,
        backoff: backoff(),
    };
    driver.run().await
}

/// 1, 2, 4 .. 30 s, for ever.
fn backoff() -> ExponentialBackoff {
    ExponentialBuilder::new().with_max_delay(Duration::from_secs(30)).without_max_times().build()
}

struct Driver<C> {
    dial: Dial,
    codec: C,
    events: mpsc::Sender<Event>,
    commands: mpsc::Receiver<Command>,
    cancel: CancellationToken,
    /// Events that the user of the session has not taken yet.
    pending: VecDeque<Event>,
    leaving: bool,
    attempt: u32,
    backoff: ExponentialBackoff,
}

/// What the codec wants after everything that it had to say.
struct Drained {
    frames: Vec<String>,
    next: Option<Next>,
}

impl<C: ClientCodec> Driver<C> {
    async fn run(&mut self) -> Result<(), SignalingError> {
        loop {
            let mut connecting = self.dial.clone();
            self.codec.dialing(connecting.url_mut());
            let next = match self.while_offline(async move { connect(&connecting).await }).await {
                Err(next) => next,
                Ok(Ok(socket)) => self.online(socket).await,
                Ok(Err(error)) => {
                    self.codec.lost(error, now());
                    self.drain().next.unwrap_or(Next::Ended)
                }
            };
            let (delay, reason) = match next {
                Next::Ended => return Ok(()),
                Next::Failed(error) => return Err(error),
                Next::Reconnect { delay, reason } => (delay, reason),
            };
            let delay = delay.unwrap_or_else(|| jitter(self.backoff.next().unwrap_or(Duration::from_secs(30))));
            self.attempt += 1;
            tracing::debug!(attempt = self.attempt, ?delay, reason, "reconnecting to the room");
            self.pending.push_back(Event::Reconnecting { attempt: self.attempt, retry_in: delay, reason });
            if let Err(Next::Ended) = self.while_offline(tokio::time::sleep(delay)).await {
                return Ok(());
            }
        }
    }

    /// Waits for something while there is no connection; commands are taken and events handed out meanwhile.
    async fn while_offline<T>(&mut self, wait: impl Future<Output = T>) -> Result<T, Next> {
        tokio::pin!(wait);
        loop {
            tokio::select! {
                done = &mut wait => return Ok(done),
                () = hand_over(&self.events, &mut self.pending) => {}
                command = next_command(&mut self.commands, &self.events, &self.cancel) => {
                    self.codec.command(command, now());
                    if let Some(next) = self.drain().next {
                        return Err(next);
                    }
                }
            }
        }
    }

    /// Collects what the codec has to say.
    fn drain(&mut self) -> Drained {
        let mut drained = Drained { frames: Vec::new(), next: None };
        while let Some(output) = self.codec.poll(now()) {
            match output {
                Output::Event(event) => {
                    if matches!(event, Event::Joined { .. }) {
                        self.attempt = 0;
                        self.backoff = backoff();
                    }
                    self.pending.push_back(event);
                }
                Output::Frame(text) => drained.frames.push(text),
                Output::Disconnect(next) => {
                    drained.next = Some(next);
                    break;
                }
            }
        }
        drained
    }

    /// Serves one connection until it ends.
    async fn online(&mut self, mut socket: Socket) -> Next {
        let mut ping = interval_at(Instant::now() + PING, PING);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        self.codec.opened(now());
        loop {
            let Drained { frames, next } = self.drain();
            for text in frames {
                if let Err(reason) = send(&mut socket, Frame::text(text)).await {
                    return self.lost(reason);
                }
            }
            if let Some(next) = next {
                self.close(socket).await;
                return next;
            }
            let wake_at = self.codec.wake_at().map(Instant::from_std);
            tokio::select! {
                () = hand_over(&self.events, &mut self.pending) => {}
                frame = socket.next(), if self.pending.len() < PENDING => {
                    heard = Instant::now();
                    match frame {
                        Some(Ok(Frame::Text(text))) => self.codec.receive(text.as_str(), now()),
                        Some(Ok(Frame::Binary(bytes))) => {
                            if let Ok(text) = std::str::from_utf8(&bytes) {
                                self.codec.receive(text, now());
                            }
                        }
                        Some(Ok(Frame::Close(why))) => {
                            let (code, reason) = match why {
                                Some(why) => (Some(why.code.into()), why.reason.to_string()),
                                None => (None, String::new()),
                            };
                            // Our answer leaves and the rest is read: a reset would reach the server as another fault.
                            self.close(socket).await;
                            return self.closed(code, reason);
                        }
                        Some(Ok(_)) => {}
                        Some(Err(error)) => return self.lost(error.to_string()),
                        None => return self.closed(None, String::new()),
                    }
                }
                command = next_command(&mut self.commands, &self.events, &self.cancel), if !self.leaving => {
                    self.leaving = command == Command::Leave;
                    self.codec.command(command, now());
                }
                () = sleep_until(wake_at.unwrap_or_else(Instant::now)), if wake_at.is_some() => self.codec.wake(now()),
                _ = ping.tick() => {
                    if let Err(reason) = send(&mut socket, Frame::Ping(Default::default())).await {
                        return self.lost(reason);
                    }
                }
                () = sleep_until(heard + SILENCE), if self.pending.len() < PENDING => {
                    return self.lost(format!("nothing heard for {} s", SILENCE.as_secs()));
                }
            }
        }
    }

    fn lost(&mut self, reason: String) -> Next {
        self.gone(SignalingError::NoAnswer { host: self.dial.host().to_owned(), reason })
    }

    fn closed(&mut self, code: Option<u16>, reason: String) -> Next {
        self.gone(SignalingError::Closed { host: self.dial.host().to_owned(), code, reason })
    }

    fn gone(&mut self, error: SignalingError) -> Next {
        self.codec.lost(error, now());
        self.drain().next.unwrap_or(Next::Ended)
    }

    /// Says goodbye and reads to the end, so that nothing which was sent gets lost.
    async fn close(&self, mut socket: Socket) {
        let farewell = async {
            if socket.close(None).await.is_ok() {
                while let Some(Ok(_)) = socket.next().await {}
            }
        };
        if timeout(CLOSE, farewell).await.is_err() {
            tracing::debug!(host = self.dial.host(), "the server did not close its side");
        }
    }
}

async fn connect(dial: &Dial) -> Result<Socket, SignalingError> {
    let (request, connector) = (dial.request()?, dial.connector()?);
    let config = WebSocketConfig::default().max_message_size(Some(MAX_MESSAGE)).max_frame_size(Some(MAX_MESSAGE));
    let status_line = Arc::new(OnceLock::new());
    let connecting = async {
        let tcp = TcpStream::connect(dial.address()).await?;
        tcp.set_nodelay(true)?;
        let tcp = FirstLine::new(tcp, Arc::clone(&status_line));
        client_async_tls_with_config(request, tcp, Some(config), connector).await
    };
    match timeout(DIAL, connecting).await {
        Ok(Ok((socket, _))) => Ok(socket),
        Ok(Err(error)) => {
            let line = status_line.get().filter(|_| !dial.is_tls()).map(String::as_str);
            Err(dial_error(dial, line, error))
        }
        Err(_) => Err(SignalingError::Unreachable {
            host: dial.host().to_owned(),
            reason: format!("no answer within {} s", DIAL.as_secs()),
        }),
    }
}

async fn send(socket: &mut Socket, frame: Frame) -> Result<(), String> {
    match timeout(WRITE, socket.send(frame)).await {
        Ok(sent) => sent.map_err(|error| error.to_string()),
        Err(_) => Err(format!("the server took nothing for {} s", WRITE.as_secs())),
    }
}

/// A fifth more or less, so that the clients of a server that restarts do not come all at once.
fn jitter(delay: Duration) -> Duration {
    delay.mul_f64(rand::rng().random_range(0.8..1.2))
}
