//! Listens in on what a server answers to a WebSocket's handshake: tungstenite drops the reason phrase of the status
//! line, which is all that one protocol says.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A first line that is longer is cut off.
const LONGEST: usize = 256;

/// A stream that remembers the first line which it reads.
#[derive(Debug)]
pub(crate) struct FirstLine<S> {
    stream: S,
    begun: Vec<u8>,
    line: Arc<OnceLock<String>>,
}

impl<S> FirstLine<S> {
    /// `line` is set when the line is complete.
    pub(crate) fn new(stream: S, line: Arc<OnceLock<String>>) -> Self {
        Self { stream, begun: Vec::new(), line }
    }

    fn take(&mut self, bytes: &[u8]) {
        if self.line.get().is_some() {
            return;
        }
        let end = bytes.iter().position(|byte| *byte == b'\n');
        self.begun.extend(bytes.iter().take(end.unwrap_or(bytes.len())).take(LONGEST - self.begun.len()));
        if end.is_some() || self.begun.len() == LONGEST {
            let line = String::from_utf8_lossy(&std::mem::take(&mut self.begun)).trim_end().to_owned();
            self.line.get_or_init(|| line);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstLine<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buf))?;
        this.take(buf.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstLine<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn the_first_line_is_remembered_however_it_arrives() {
        for (parts, expected) in [
            (vec!["HTTP/1.1 400 Space ", "Full\r", "\nDate: x\r\n"], Some("HTTP/1.1 400 Space Full")),
            (
                vec!["HTTP/1.1 101 Switching Protocols\r\nA: b\r\n\r\nframes\n"],
                Some("HTTP/1.1 101 Switching Protocols"),
            ),
            (vec!["no line at all"], None),
        ] {
            let line = Arc::new(OnceLock::new());
            let mut mock = FirstLine::new(&b""[..], Arc::clone(&line));
            let mut read = Vec::new();
            for part in &parts {
                mock.stream = part.as_bytes();
                mock.read_to_end(&mut read).await.unwrap();
            }
            assert_eq!((line.get().map(String::as_str), read), (expected, parts.concat().into_bytes()));
        }
        let line = Arc::new(OnceLock::new());
        let endless = "x".repeat(10_000);
        FirstLine::new(endless.as_bytes(), Arc::clone(&line)).read_to_end(&mut Vec::new()).await.unwrap();
        assert_eq!(line.get().map(String::len), Some(LONGEST));
    }
}
