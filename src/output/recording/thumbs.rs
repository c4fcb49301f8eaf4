//! Small pictures of the mix beside a recording: `NAME.0001.jpg`, at most one in each interval.
//!
//! One picture of each interval passes a probe in front of the scaler; all others cost nothing.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use gst::prelude::*;
use gstreamer as gst;
use gstreamer_app as gst_app;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::super::OutputError;
use super::super::names;
use super::super::spec::{FileDestination, Thumbs, parent};
use super::super::supervisor::Output;
use super::naming::with_stem;
use crate::media::pipeline::{LivePipeline, running_time};
use crate::media::producer::{Feed, Patience, Producer};
use crate::media::{MediaError, template};

/// Running thumbnails of one attempt.
#[derive(Debug)]
pub(super) struct Thumbnails {
    live: LivePipeline,
    feed: Feed,
    sink: gst_app::AppSink,
    writing: JoinHandle<u32>,
}

impl Thumbnails {
    /// Starts after `written` pictures.
    pub(super) async fn start(
        output: &Output,
        file: &FileDestination,
        wanted: Thumbs,
        pictures: &Producer,
        written: u32,
    ) -> Result<Self, OutputError> {
        let mut live = LivePipeline::new(template::build("thumbs", "thumbs")?, &output.clock);
        let cast = |_| MediaError::link("pipelines/thumbs.launch: `video` and `output` are not appsrc and appsink");
        let input = live.element("video")?.downcast::<gst_app::AppSrc>().map_err(cast)?;
        let sink = live.element("output")?.downcast::<gst_app::AppSink>().map_err(cast)?;
        let size = gst::Caps::builder("video/x-raw")
            .field("width", i32::try_from(wanted.width).unwrap_or(320))
            .field("pixel-aspect-ratio", gst::Fraction::new(1, 1))
            .build();
        live.element("size")?.set_property("caps", &size);
        let pad = input.static_pad("src").ok_or_else(|| MediaError::link("`video` has no source pad"))?;
        let every = u64::try_from(wanted.every.as_nanos()).unwrap_or(u64::MAX);
        let due = AtomicU64::new(0);
        pad.add_probe(gst::PadProbeType::BUFFER, move |pad, info| {
            let time = info.buffer().and_then(|buffer| running_time(pad, buffer)).map(gst::ClockTime::nseconds);
            match time.filter(|time| *time >= due.load(Ordering::Relaxed)) {
                Some(time) => {
                    due.store(time.saturating_add(every), Ordering::Relaxed);
                    gst::PadProbeReturn::Ok
                }
                None => gst::PadProbeReturn::Handled,
            }
        });
        let (sender, receiver) = mpsc::channel::<gst::Buffer>(4);
        let callbacks = gst_app::AppSinkCallbacks::builder().new_sample(move |sink| {
            let sample = sink.pull_sample().map_err(|_| gst::FlowError::Eos)?;
            if let Some(buffer) = sample.buffer_owned() {
                // A disk that is slower than one picture in each interval gets fewer.
                sender.try_send(buffer).ok();
            }
            Ok(gst::FlowSuccess::Ok)
        });
        sink.set_callbacks(callbacks.build());
        let feed = pictures.feed(&input, Patience::Stage)?;
        live.play().await?;
        let writing = tokio::spawn(write_all(receiver, base(file, &output.session.room), written));
        Ok(Self { live, feed, sink, writing })
    }

    /// Ends it, and says how many pictures there are by now.
    pub(super) async fn stop(self) -> u32 {
        let Self { live, feed, sink, writing } = self;
        drop(feed);
        live.stop().await;
        // With its callback goes the sender of what is written.
        sink.set_callbacks(gst_app::AppSinkCallbacks::builder().build());
        drop(live);
        writing.await.unwrap_or_default()
    }
}

/// The recording's name without what changes from part to part.
fn base(file: &FileDestination, room: &str) -> PathBuf {
    let name = file.path.file_stem().unwrap_or_default().to_string_lossy().replace("{index}", "").replace("{time}", "");
    let name = name.trim_matches(['-', '_', '.', ' ']);
    let path = file.path.with_file_name(format!("{}.jpg", if name.is_empty() { "thumb" } else { name }));
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    names::fill(&path.to_string_lossy(), &[("room", room), ("time", &time), ("index", "0001")])
}

async fn write_all(mut pictures: mpsc::Receiver<gst::Buffer>, base: PathBuf, mut number: u32) -> u32 {
    while let Some(picture) = pictures.recv().await {
        let base = base.clone();
        match tokio::task::spawn_blocking(move || write(&base, number, &picture)).await {
            Ok(Ok(written)) => number = written,
            Ok(Err(error)) => tracing::warn!(%error, "a thumbnail could not be written"),
            Err(error) => tracing::error!(%error, "the thread that writes thumbnails failed"),
        }
    }
    number
}

/// Writes a picture under the next free number after `number`, and gives that. Nobody sees half a picture.
fn write(base: &Path, number: u32, picture: &gst::Buffer) -> Result<u32, OutputError> {
    let directory = parent(base);
    std::fs::create_dir_all(directory).map_err(OutputError::io(directory))?;
    let mut number = number.saturating_add(1);
    let bytes = picture.map_readable().map_err(|_| MediaError::link("a picture cannot be read"))?;
    let mut file =
        tempfile::Builder::new().prefix(".thumb").tempfile_in(directory).map_err(OutputError::io(directory))?;
    std::io::Write::write_all(&mut file, &bytes).map_err(OutputError::io(base))?;
    // Temporary files are for their owner alone; a picture is for whoever may read the recording.
    let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(readable).map_err(OutputError::io(base))?;
    loop {
        match file.persist_noclobber(with_stem(base, |stem| format!("{stem}.{number:04}"))) {
            Ok(_) => return Ok(number),
            Err(error) if error.error.kind() == std::io::ErrorKind::AlreadyExists && number < u32::MAX => {
                (file, number) = (error.file, number + 1);
            }
            Err(error) => return Err(OutputError::io(base)(error.error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::spec::{Destination, OutputSpec};

    #[test]
    fn pictures_are_named_after_the_recording_and_not_after_its_parts() {
        for (output, expected) in [
            ("rec/call.mkv", "rec/call.jpg"),
            ("rec/{room}-{time}.mp4", "rec/weekly.jpg"),
            ("{room}/{index}.webm", "weekly/thumb.jpg"),
        ] {
            let spec: OutputSpec = format!("{output}?thumbs=1s").parse().unwrap();
            let Destination::File(file) = spec.destination else { panic!() };
            assert_eq!(base(&file, "weekly"), Path::new(expected));
        }
    }

    #[test]
    fn a_picture_never_overwrites_another() {
        gst::init().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let base = directory.path().join("call.jpg");
        std::fs::write(directory.path().join("call.0002.jpg"), "an earlier one").unwrap();
        let picture = gst::Buffer::from_slice(b"jpeg");
        assert_eq!(write(&base, 0, &picture).unwrap(), 1);
        assert_eq!(write(&base, 1, &picture).unwrap(), 3);
        assert_eq!(std::fs::read(directory.path().join("call.0002.jpg")).unwrap(), b"an earlier one");
        assert_eq!(std::fs::read(directory.path().join("call.0003.jpg")).unwrap(), b"jpeg");
    }
}
