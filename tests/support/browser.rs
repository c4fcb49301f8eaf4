//! A real headless Chromium with one page, driven through chromedriver. One process per page: a tab in the background
//! has its timers throttled, and a call page in such a tab would measure Chromium's thrift instead of our code.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use fantoccini::wd::WebDriverCompatibleCommand;
use fantoccini::{Client, ClientBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{Instant, sleep, timeout};

use super::process::{Running, piped};

const START_WITHIN: Duration = Duration::from_secs(30);
/// How often `chromedriver` is started.
const DRIVER_TRIES: usize = 5;

const FLAGS: &[&str] = &[
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-features=LocalNetworkAccessChecks",
    "--allow-loopback-in-peer-connection",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--remote-debugging-port=0",
];

/// How a browser starts.
pub(crate) struct BrowserOptions {
    /// Size of the page in CSS pixels.
    pub(crate) size: (u32, u32),
    /// Whether the system prefers dark.
    pub(crate) dark: bool,
    /// More command-line flags.
    pub(crate) flags: Vec<String>,
    /// JavaScript that runs in every document before its own scripts.
    pub(crate) before_load: String,
}

impl Default for BrowserOptions {
    fn default() -> Self {
        Self { size: (1280, 800), dark: false, flags: Vec::new(), before_load: String::new() }
    }
}

/// A browser with one page. Dropping it ends its processes and removes its profile.
pub(crate) struct Browser {
    client: Client,
    driver: Running,
    chromium: Running,
    profile: TempDir,
}

impl Browser {
    /// Starts a browser with a fake camera and microphone.
    pub(crate) async fn start() -> Self {
        Self::start_with(BrowserOptions::default()).await
    }

    /// Starts a browser.
    pub(crate) async fn start_with(options: BrowserOptions) -> Self {
        let profile = TempDir::with_prefix("roomcast-chromium-").expect("a temporary directory");
        let mut command = piped("chromium");
        command.args(FLAGS).args(&options.flags).arg("about:blank");
        command.arg(format!("--user-data-dir={}", profile.path().display()));
        command.arg(format!("--window-size={},{}", options.size.0, options.size.1));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut chromium = Running::start(command, "chromium");

        let (debugger, (driver, port)) =
            timeout(START_WITHIN, async { tokio::join!(debugger_port(profile.path(), &mut chromium), start_driver()) })
                .await
                .unwrap_or_else(|_| panic!("chromium and chromedriver did not start within {START_WITHIN:?}"));

        let capabilities = json!({
            "goog:chromeOptions": { "debuggerAddress": format!("127.0.0.1:{debugger}") },
            "goog:loggingPrefs": { "browser": "ALL" },
            "timeouts": { "script": 60_000, "pageLoad": 30_000 },
        });
        let Value::Object(capabilities) = capabilities else { unreachable!() };
        let mut builder = ClientBuilder::new(HttpConnector::new());
        let client = builder
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .unwrap_or_else(|error| panic!("chromedriver gave no session: {error}"));

        let browser = Self { client, driver, chromium, profile };
        browser.resize(options.size.0, options.size.1).await;
        if options.dark {
            browser.prefer_dark().await;
        }
        if !options.before_load.is_empty() {
            browser.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": options.before_load })).await;
        }
        browser
    }

    /// Opens a URL and waits for its load event.
    pub(crate) async fn goto(&self, url: &str) {
        self.client.goto(url).await.unwrap_or_else(|error| panic!("opening {url}: {error}"));
    }

    /// Loads the page again.
    pub(crate) async fn reload(&self) {
        self.client.refresh().await.unwrap_or_else(|error| panic!("reloading: {error}"));
    }

    /// The value of a JavaScript expression, as JSON; a promise is awaited, an exception fails the test.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        self.try_eval(expression).await.unwrap_or_else(|error| panic!("{expression}\n  {error}"))
    }

    async fn try_eval(&self, expression: &str) -> Result<Value, String> {
        let script = format!(
            "const done = arguments[arguments.length - 1];
             (async () => JSON.parse(JSON.stringify((await ({expression}\n)) ?? null) ?? 'null'))().then((value) => done({{ value }}),
                (error) => done({{ error: String(error?.stack ?? error) }}));"
        );
        let answer = self.client.execute_async(&script, Vec::new()).await.map_err(|error| error.to_string())?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(error.to_owned()),
            None => Ok(answer.get("value").cloned().unwrap_or(Value::Null)),
        }
    }

    /// Polls in the page until an expression is truthy and returns its value; an exception counts as not yet. When time
    /// is up the test fails with the last value and what the page logged.
    pub(crate) async fn wait_for(&self, expression: &str, within: Duration) -> Value {
        let deadline = Instant::now() + within;
        loop {
            // In portions, so that one script never runs into WebDriver's own limit.
            let left = deadline.saturating_duration_since(Instant::now()).as_millis().min(20_000);
            let poll = format!(
                "await (async () => {{
                   const until = Date.now() + {left};
                   let last;
                   for (;;) {{
                     try {{ last = await ({expression}\n); if (last) return {{ met: last }}; }} catch (error) {{ last = String(error); }}
                     if (Date.now() >= until) return {{ last: String(last) }};
                     await new Promise((resolve) => setTimeout(resolve, 40));
                   }}
                 }})()"
            );
            let last = match self.try_eval(&poll).await {
                Ok(value) if value.get("met").is_some() => return value["met"].clone(),
                Ok(value) => value["last"].to_string(),
                // The document went away under the script: a reload. The next one is asked again.
                Err(error) => error,
            };
            if Instant::now() >= deadline {
                let console = self.console().await.join("\n  ");
                panic!("not true within {within:?}: {expression}\n  last value: {last}\n  console:\n  {console}");
            }
        }
    }

    /// What the page has written to its console since the last call, warnings and network errors included.
    pub(crate) async fn console(&self) -> Vec<String> {
        let answer = self.client.issue_cmd(Extension { path: "se/log", body: json!({ "type": "browser" }) }).await;
        let Ok(Value::Array(entries)) = answer else { return Vec::new() };
        entries.iter().map(|entry| format!("{} {}", entry["level"], entry["message"])).collect()
    }

    /// Writes what the page looks like to a PNG file.
    pub(crate) async fn screenshot(&self, path: impl AsRef<Path>) {
        let png = self.client.screenshot().await.unwrap_or_else(|error| panic!("screenshot: {error}"));
        std::fs::write(&path, png).unwrap_or_else(|error| panic!("{}: {error}", path.as_ref().display()));
    }

    /// Gives the page another size, in CSS pixels.
    pub(crate) async fn resize(&self, width: u32, height: u32) {
        let metrics = json!({ "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false });
        self.cdp("Emulation.setDeviceMetricsOverride", metrics).await;
    }

    /// Makes the system prefer dark.
    pub(crate) async fn prefer_dark(&self) {
        let features = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
        self.cdp("Emulation.setEmulatedMedia", features).await;
    }

    /// One command of the Chrome DevTools Protocol.
    pub(crate) async fn cdp(&self, command: &str, params: Value) -> Value {
        let body = json!({ "cmd": command, "params": params });
        let answer = self.client.issue_cmd(Extension { path: "goog/cdp/execute", body }).await;
        answer.unwrap_or_else(|error| panic!("{command}: {error}"))
    }

    /// Kills the browser as a crash would: no goodbye to any server.
    pub(crate) fn kill(self) {
        drop(self);
    }

    /// Leaves the page as a person who closes the tab does, then ends the browser.
    pub(crate) async fn close(self) {
        self.client.goto("about:blank").await.ok();
    }
}

/// A WebDriver command that fantoccini does not know.
#[derive(Debug)]
struct Extension {
    path: &'static str,
    body: Value,
}

impl WebDriverCompatibleCommand for Extension {
    fn endpoint(&self, base_url: &url::Url, session_id: Option<&str>) -> Result<url::Url, url::ParseError> {
        base_url.join(&format!("session/{}/{}", session_id.unwrap_or_default(), self.path))
    }

    fn method_and_body(&self, _request_url: &url::Url) -> (axum::http::Method, Option<String>) {
        (axum::http::Method::POST, Some(self.body.to_string()))
    }
}

async fn debugger_port(profile: &Path, chromium: &mut Running) -> u16 {
    let file = profile.join("DevToolsActivePort");
    loop {
        let text = tokio::fs::read_to_string(&file).await.unwrap_or_default();
        if let Some(port) = text.lines().next().and_then(|line| line.parse().ok()) {
            return port;
        }
        if let Ok(Some(status)) = chromium.child.try_wait() {
            panic!("chromium ended at once: {status}; run it by hand with the flags of {}", file!());
        }
        // A file that another process writes has no event of its own.
        sleep(Duration::from_millis(20)).await;
    }
}

/// Starts `chromedriver`, and tells its port. It chooses one that is free for IPv6, and ends when the same is not free for IPv4.
async fn start_driver() -> (Running, u16) {
    let mut said = String::new();
    for _ in 0..DRIVER_TRIES {
        let mut command = piped("chromedriver");
        command.arg("--port=0").stderr(Stdio::null());
        let mut driver = Running::start(command, "chromium-driver");
        match driver_port(&mut driver).await {
            Ok(port) => return (driver, port),
            Err(last) => said = last,
        }
    }
    panic!("chromedriver told no port:\n{said}");
}

/// Its port, or all that it said.
async fn driver_port(driver: &mut Running) -> Result<u16, String> {
    let stdout = driver.child.stdout.take().expect("stdout is piped");
    let mut lines = BufReader::new(stdout).lines();
    let mut said = String::new();
    while let Ok(Some(line)) = lines.next_line().await {
        if let Some(port) = line.rsplit_once("on port ").and_then(|(_, port)| port.trim_end_matches('.').parse().ok())
            && line.contains("successfully")
        {
            // Its pipe must stay open and be read, or it stops at its next line.
            tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
            return Ok(port);
        }
        said.push_str(&line);
        said.push('\n');
    }
    Err(said)
}
