//! `roomcast serve`: rooms, the call page, the watch page and the bridges behind it.

use std::time::Duration;

use jiff::Timestamp;
use roomcast::media::layout::Size;
use roomcast::output::OutputSpec;
use roomcast::server::{
    AllowedOrigins, GatewayConfig, ListenAddress, RtcConfig, Server, ServerConfig, WhipToken, serve,
};
use serde_json::json;
use url::Url;

use super::network::NetworkOptions;
use super::parse::{bytes, size};
use super::{Context, Exit, Failure, print_line};

/// Options of `roomcast serve`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  roomcast serve
  roomcast serve --listen :8080 --allow-origin https://calls.example.org
  roomcast serve --listen :8080 --whip-token SECRET
  roomcast serve --low-latency --renditions 720p,360p,audio
  roomcast serve --record 'rec/{room}-{time}.mp4'
  roomcast serve --listen unix:/run/roomcast.sock --no-bridges
  roomcast serve --listen :8080 --udp-port 40000-40015 --public-ip 198.51.100.7

The network options are those of its bridges, and but for the ports those of WHIP and WHEP. Each bridge is a process and needs a port of its own: \
a range of 16 ports is enough for 16 rooms that are watched at once, a single port for one.")]
pub(crate) struct Options {
    /// Where to listen: HOST:PORT, :PORT for all addresses, or unix:PATH.
    #[arg(long, env = "ADDR", default_value_t, value_name = "ADDRESS")]
    listen: ListenAddress,
    /// Pages of other hosts that may use the rooms: *, host, host:port or https://host, separated by commas.
    #[arg(long, env = "WS_ALLOWED_ORIGINS", default_value = "", hide_default_value = true, value_name = "ORIGINS")]
    allow_origin: AllowedOrigins,
    /// The page's RTCConfiguration as JSON, with its STUN and TURN servers.
    #[arg(long, env = "RTC_CONFIG_JSON", hide_env_values = true, value_name = "JSON")]
    rtc_config: Option<RtcConfig>,
    /// The bearer token of WHIP and WHEP clients; without one everybody may publish and watch.
    #[arg(long, env = "ROOMCAST_WHIP_TOKEN", hide_env_values = true, value_name = "TOKEN")]
    whip_token: Option<WhipToken>,
    /// Run no bridges: rooms and the call page only, nothing to watch.
    #[arg(long)]
    no_bridges: bool,
    /// Seconds that a room's bridge goes on when nobody watches any more.
    #[arg(long, default_value_t = 60, value_name = "SECONDS", conflicts_with = "no_bridges")]
    bridge_idle: u64,
    /// No further room is watched when its bridge would make all of them take more than this part of the processors, as measured
    /// from those that run; off is no limit.
    #[arg(long, default_value = "90%", value_name = "PERCENT", value_parser = cpu_limit, conflicts_with = "no_bridges")]
    cpu_limit: CpuLimit,
    /// Size of the picture that bridges make of a room.
    #[arg(long, default_value = "1280x720", value_parser = size, conflicts_with = "no_bridges")]
    size: Size,
    /// Pictures per second that bridges make.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i32).range(1..=120), conflicts_with = "no_bridges")]
    fps: i32,
    /// Low-latency HLS in fragmented MP4: about two seconds behind instead of six, with more requests of each viewer.
    #[arg(long, conflicts_with = "no_bridges")]
    low_latency: bool,
    /// Several sizes of the picture to choose from, and sound alone: 720p,360p,audio. Each costs an encoder.
    #[arg(long, value_name = "LIST", conflicts_with = "no_bridges", value_parser = renditions)]
    renditions: Option<String>,
    /// Record every room to this file, from the first participant to the last, watched or not: rec/{room}-{time}.mkv, with settings as
    /// in `bridge --output`; may be repeated. {room} must be in it. rec/ROOM.session.json (or session.json in a directory of the
    /// room's own) names the files: after a crash of the room's bridge the recording goes on in a further part.
    #[arg(long, value_name = "FILE", conflicts_with = "no_bridges", value_parser = recording)]
    record: Vec<OutputSpec>,
    /// Recordings end, whole, when their disk has less than this left [default: 500M]. Bytes; k, M and G are understood.
    #[arg(long, value_name = "BYTES", value_parser = bytes, requires = "record")]
    disk_floor: Option<u64>,
    /// Delete the oldest complete recordings when their disk reaches --disk-floor, instead of ending the new ones.
    #[arg(long, requires = "record")]
    prune: bool,
    #[command(flatten)]
    network: NetworkOptions,
}

pub(crate) async fn run(options: Options, context: Context) -> Result<Exit, Failure> {
    let bridges = if options.no_bridges {
        None
    } else {
        let config = GatewayConfig::of_this_program()?;
        // A port cannot be shared by processes: no more bridges than ports.
        let most = options.network.children().map_or(config.most, |ports| ports.min(config.most));
        let picture = ["--size", &options.size.to_string(), "--fps", &options.fps.to_string()].map(str::to_owned);
        let floor = options.disk_floor.into_iter().flat_map(|bytes| ["--disk-floor".to_owned(), bytes.to_string()]);
        let prune = options.prune.then(|| "--prune".to_owned());
        let arguments = picture.into_iter().chain(options.network.arguments()).chain(floor).chain(prune).collect();
        let idle = Duration::from_secs(options.bridge_idle);
        let hls = hls_settings(options.low_latency, options.renditions.as_deref());
        let output = format!("hls:x?{hls}").parse::<OutputSpec>().map_err(Failure::bad_arguments)?;
        output.check_heights(options.size.height).map_err(Failure::bad_arguments)?;
        let record = options.record;
        Some(GatewayConfig { idle, arguments, most, hls, record, cpu_limit: options.cpu_limit.0, ..config })
    };
    let watchable = bridges.is_some();
    let config = ServerConfig {
        listen: options.listen,
        origins: options.allow_origin,
        rtc_config: options.rtc_config.unwrap_or_default(),
        whip_token: options.whip_token,
        bridges,
        relay_network: options.network.without_ports(),
        ..ServerConfig::default()
    };
    let server = serve(config, context.shutdown.token()).await.map_err(Failure::bad_arguments)?;
    announce(&server, watchable, context.json);
    server.closed().await;
    Ok(Exit::Done)
}

/// What `--cpu-limit` says, as a part of all processors.
#[derive(Clone, Copy, Debug, PartialEq)]
struct CpuLimit(Option<f64>);

fn cpu_limit(text: &str) -> Result<CpuLimit, String> {
    if text == "off" {
        return Ok(CpuLimit(None));
    }
    match text.strip_suffix('%').unwrap_or(text).parse::<u8>() {
        Ok(percent @ 1..=100) => Ok(CpuLimit(Some(f64::from(percent) / 100.0))),
        _ => Err("give 1% to 100%, or off".into()),
    }
}

/// The settings of the HLS output of bridges.
fn hls_settings(low_latency: bool, renditions: Option<&str>) -> String {
    match (low_latency, renditions) {
        (false, None) => String::new(),
        (true, None) => "format=ll".into(),
        (_, Some(renditions)) => format!("format={}&renditions={renditions}", if low_latency { "ll" } else { "fmp4" }),
    }
}

/// Checks a list of renditions as the output does.
fn renditions(list: &str) -> Result<String, String> {
    let settings = hls_settings(false, Some(list));
    format!("hls:x?{settings}").parse::<OutputSpec>().map(|_| list.to_owned()).map_err(|error| error.to_string())
}

/// Checks what rooms are recorded to.
fn recording(text: &str) -> Result<OutputSpec, String> {
    let spec = text.parse::<OutputSpec>().map_err(|error| error.to_string())?;
    match spec.manifest("r") {
        None => Err("only a file can be recorded to: rec/{room}.mkv, for example".into()),
        Some(path) if path == spec.manifest("s").unwrap_or_default() || !text.contains("{room}") => {
            Err("put {room} into it, rec/{room}.mkv for example: rooms must not share a file".into())
        }
        Some(_) => Ok(spec),
    }
}

/// Says where the server is.
fn announce(server: &Server, watchable: bool, json: bool) {
    let (page, watch) = (format!("{}/", server.base_url()), format!("{}/watch/ROOM", server.base_url()));
    if json {
        let watch = watchable.then_some(watch);
        print_line(json!({ "event": "listening", "time": Timestamp::now(), "url": page, "watch": watch }));
    } else {
        print_line(format_args!("call page   {page}"));
        if watchable {
            print_line(format_args!("watch page  {watch}"));
        }
    }
}

/// A page of a room.
pub(super) fn room_page(server: &Server, path: &[&str]) -> String {
    // A socket's address is always a URL's.
    let Ok(mut url) = Url::parse(server.base_url()) else { return server.base_url().to_owned() };
    if let Ok(mut segments) = url.path_segments_mut() {
        segments.extend(path);
    }
    url.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rooms_never_share_a_recording() {
        for good in ["rec/{room}.mkv", "rec/{room}/{time}.mp4?split=10m", "rec/{room}/{participant}.mkv"] {
            assert!(recording(good).is_ok(), "{good}");
        }
        for (bad, reason) in
            [("rec/call.mkv", "{room}"), ("hls:{room}", "only a file"), ("rec/{room}.avi", "not clear")]
        {
            assert!(recording(bad).unwrap_err().contains(reason), "{bad}");
        }
    }
}
