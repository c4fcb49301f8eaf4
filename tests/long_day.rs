//! What takes hours, in seconds: a bridge on a clock that runs many times as fast as time, across the wraps of 32 and 33 bits.
//! `make soak` lives through a whole day like that.

#[path = "support/long_day/mod.rs"]
mod long_day;

use std::time::Duration;

use long_day::Plan;

/// When the clock reference of MPEG-TS wraps: 33 bits at 90 kHz (ISO/IEC 13818-1, section 2.4.2.2), and GStreamer's muxer begins
/// with an hour.
const REFERENCE_WRAPS: Duration = Duration::from_millis((1 << 33) / 90 - 3_600_000);

/// With `Part::finish` keeping its pipeline instead of stopping it: "descriptors: 90 in the second quarter, 117 in the last; threads: 90
/// in the second quarter, 142 in the last".
#[tokio::test(flavor = "multi_thread")]
async fn wraps_are_passed_and_nothing_grows() -> Result<(), long_day::Failure> {
    let day = long_day::live(Plan {
        begin: REFERENCE_WRAPS - Duration::from_secs(60),
        length: Duration::from_secs(200),
        rate: 20,
        sample: Duration::from_secs(20),
        split: "40s",
    })
    .await?;
    let wraps = ["copy v", "copy a", "ts"].map(|reader| day.wraps(reader));
    day.judge()?;
    assert_eq!(wraps, [1, 1, 1]);
    Ok(())
}
