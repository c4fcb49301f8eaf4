//! A camera and a microphone that a test controls: a page's getUserMedia replaced by a canvas and an oscillator.

/// A flash and a beep that begin together on each whole second and last a tenth of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FlashAndBeep {
    /// Width of the picture; `window.__capture.resize(w, h)` changes it while it runs.
    pub(crate) width: u32,
    /// Height of the picture.
    pub(crate) height: u32,
    /// Frames per second.
    pub(crate) fps: u32,
    /// Whether there is a camera; without one getUserMedia fails as browsers do.
    pub(crate) camera: bool,
    /// Whether there is a microphone.
    pub(crate) microphone: bool,
}

impl Default for FlashAndBeep {
    fn default() -> Self {
        Self { width: 640, height: 360, fps: 30, camera: true, microphone: true }
    }
}

/// JavaScript for `BrowserOptions::before_load`, or for `Browser::eval` before the page joins. It leaves
/// `window.__capture` with `resize(width, height)`, `size()`, `busy`, which makes a picture that takes any bandwidth, and
/// `stopped`, while which there is no new one.
pub(crate) fn flash_and_beep_js(source: FlashAndBeep) -> String {
    let FlashAndBeep { width, height, fps, camera, microphone } = source;
    include_str!("flash_and_beep.js").replace(
        "__OPTIONS__",
        &format!("{{ width: {width}, height: {height}, fps: {fps}, camera: {camera}, microphone: {microphone} }}"),
    )
}
