// Replaces the camera and the microphone of a page. The audio clock rules: pictures are painted when the sample that
// belongs to them is rendered, so that flash and beep leave the page together.
(() => {
  const options = __OPTIONS__;
  let source = null;

  // Coarse noise, another part of it in each picture: an encoder uses all the bits it may, and can do with few.
  const noise = Object.assign(document.createElement("canvas"), { width: 80, height: 45 });
  const grain = noise.getContext("2d").createImageData(noise.width, noise.height);
  crypto.getRandomValues(grain.data);
  for (let alpha = 3; alpha < grain.data.length; alpha += 4) grain.data[alpha] = 255;
  noise.getContext("2d").putImageData(grain, 0, 0);

  function start() {
    const canvas = Object.assign(document.createElement("canvas"), { width: options.width, height: options.height });
    const context = canvas.getContext("2d", { alpha: false });
    const audio = new AudioContext({ sampleRate: 48000, latencyHint: "interactive" });
    const gain = new GainNode(audio, { gain: 0 });
    const destination = audio.createMediaStreamDestination();
    const tone = new OscillatorNode(audio, { frequency: 1000 });
    tone.connect(gain).connect(destination);
    tone.start();
    // A tone that nobody hears is not rendered in step with the clock: give it a way out, silently.
    gain.connect(new GainNode(audio, { gain: 0 })).connect(audio.destination);

    let scheduled = Math.ceil(audio.currentTime);
    function scheduleBeeps() {
      while (scheduled < audio.currentTime + 3) {
        gain.gain.setValueAtTime(0.5, scheduled);
        gain.gain.setValueAtTime(0, scheduled + 0.1);
        scheduled += 1;
      }
    }

    const video = canvas.captureStream(0).getVideoTracks()[0];
    let painted = -1;
    function paint() {
      if (window.__capture.stopped) {
        setTimeout(paint, 20);
        return;
      }
      const now = audio.currentTime;
      const frame = Math.floor(now * options.fps);
      if (frame !== painted) {
        painted = frame;
        const { width, height } = canvas;
        const flash = now % 1 < 0.1;
        context.fillStyle = flash ? "#fff" : "#181818";
        context.fillRect(0, 0, width, height);
        if (!flash && window.__capture.busy) {
          context.drawImage(noise, -Math.random() * width, -Math.random() * height, 2 * width, 2 * height);
        } else if (!flash) {
          context.fillStyle = "#3d7d74";
          context.fillRect(((frame * 4) % (width + 40)) - 40, height / 2, 40, height / 8);
        }
        video.requestFrame();
        scheduleBeeps();
      }
      setTimeout(paint, 4);
    }
    paint();
    source = { canvas, audio, video, sound: destination.stream.getAudioTracks()[0] };
  }

  const missing = (what) => new DOMException(`no ${what}`, "NotFoundError");

  navigator.mediaDevices.getUserMedia = async ({ audio, video } = {}) => {
    if (video && !options.camera) throw missing("camera");
    if (audio && !options.microphone) throw missing("microphone");
    if (!source) start();
    const stream = new MediaStream();
    if (video) stream.addTrack(source.video.clone());
    if (audio) stream.addTrack(source.sound.clone());
    return stream;
  };

  window.__capture = {
    busy: false,
    stopped: false,
    resize(width, height) {
      Object.assign(source.canvas, { width, height });
    },
    size: () => [source.canvas.width, source.canvas.height],
  };
})();
