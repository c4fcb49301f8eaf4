//! Networks of a test's own, made of network namespaces: whoever is in one reaches what the test lets it reach.
//!
//! They need root, as CI has it. Where that is not so the test fails and says so: a network that was not tried is not one
//! that works.

use std::ffi::OsStr;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::process::Command;

use super::roomcast::Roomcast;

/// A network namespace; dropping it deletes it with its links.
pub(crate) struct Namespace {
    name: String,
}

impl Namespace {
    /// An empty network: loopback only.
    pub(crate) async fn new(role: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let namespace = Self { name: format!("rc{}-{number}-{role}", std::process::id()) };
        let made = output("ip", ["netns", "add", &namespace.name]).await;
        assert!(
            made.is_ok(),
            "cannot make the network namespace {}: {}\nthis test needs root: sudo -E env PATH=$PATH cargo test --test networks",
            namespace.name,
            made.unwrap_err()
        );
        namespace.ip("link set lo up").await;
        namespace
    }

    /// A network for a whole test with the sockets that it opens itself: a browser in it, whose page comes from loopback as
    /// cameras demand, and the browser's driver. Starts the test called `test` once more, in there; returns the network in
    /// there, and nothing outside, where all is done by then.
    pub(crate) async fn around(test: &str) -> Option<Self> {
        const INSIDE: &str = "ROOMCAST_TEST_NETWORK";
        if let Ok(name) = std::env::var(INSIDE) {
            return Some(Self { name });
        }
        let namespace = Self::new("here").await;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", namespace.name)).arg(std::env::current_exe().expect("a path"));
        command.args(["--exact", test, "--nocapture"]).env(INSIDE, &namespace.name).stdin(Stdio::null());
        let running = command.kill_on_drop(true).output();
        let output = running.await.unwrap_or_else(|error| panic!("nsenter (apt-get install util-linux): {error}"));
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
        let said = String::from_utf8_lossy(&output.stdout);
        // A name that is no test's would pass as well.
        assert!(output.status.success() && said.contains("1 passed"), "in a network of its own: {said}");
        None
    }

    /// Puts a cable between two networks: `a` and `b` are the ends' addresses with their prefix length.
    pub(crate) async fn connect(&self, a: &[&str], other: &Self, b: &[&str]) {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // Interface names have 15 characters at most.
        let ends = [format!("to-{number}a"), format!("to-{number}b")];
        let [left, right] = &ends;
        self.ip(&format!("link add {left} type veth peer name {right} netns {}", other.name)).await;
        for (namespace, end, addresses) in [(self, left, a), (other, right, b)] {
            for address in addresses {
                // No check for duplicates: the address is usable at once.
                let no_check = if address.contains(':') { "nodad" } else { "" };
                namespace.ip(&format!("address add {address} dev {end} {no_check}")).await;
            }
            namespace.ip(&format!("link set {end} up")).await;
        }
        self.wait_until_up(left).await;
        other.wait_until_up(right).await;
    }

    /// Puts one end of a cable into a network that only passes frames on, and returns that end's name. Checksums and segments
    /// are made here: on the way nobody would complete them.
    pub(crate) async fn connect_raw(&self, address: &str, other: &Self) -> String {
        let end = format!("raw-{}", &self.name[self.name.len().saturating_sub(6)..]);
        self.ip(&format!("link add wire type veth peer name {end} netns {}", other.name)).await;
        self.ip(&format!("address add {address} dev wire")).await;
        let offload = ["netns", "exec", &self.name, "ethtool", "-K", "wire", "tx", "off", "tso", "off", "gso", "off"];
        let switched = output("ip", offload).await;
        switched.unwrap_or_else(|error| panic!("ethtool (apt-get install ethtool): {error}"));
        // An address that comes a second after the link ends what a browser is loading: ERR_NETWORK_CHANGED.
        self.ip("link set wire addrgenmode none").await;
        self.ip("link set wire up").await;
        other.ip(&format!("link set {end} up")).await;
        self.wait_until_up("wire").await;
        end
    }

    /// The kernel takes up to a second to call a new link usable; programs that look before choose another address.
    async fn wait_until_up(&self, interface: &str) {
        for _ in 0..500 {
            let link = output("ip", ["-n", &self.name, "-o", "link", "show", "dev", interface]).await;
            if link.unwrap_or_else(|error| panic!("ip link show {interface}: {error}")).contains("state UP") {
                return;
            }
            // Nothing that would tell is worth the code here.
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{interface} in {} does not come up", self.name);
    }

    /// `ip ARGUMENTS` in here.
    pub(crate) async fn ip(&self, arguments: &str) {
        let words = ["-n", &self.name].into_iter().chain(arguments.split_whitespace());
        output("ip", words).await.unwrap_or_else(|error| panic!("ip {arguments}: {error}"));
    }

    /// Loads rules for nftables in here.
    pub(crate) async fn nft(&self, rules: &str) {
        let loaded = output("ip", ["netns", "exec", &self.name, "nft", rules]).await;
        loaded.unwrap_or_else(|error| panic!("nft (apt-get install nftables) {rules}: {error}"));
    }

    /// Sets a kernel parameter in here.
    pub(crate) async fn sysctl(&self, setting: &str) {
        let set = output("ip", ["netns", "exec", &self.name, "sysctl", "-q", "-w", setting]).await;
        set.unwrap_or_else(|error| panic!("sysctl (apt-get install procps) {setting}: {error}"));
    }

    /// Starts `roomcast ARGS --json` in here.
    pub(crate) fn roomcast<A: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = A>) -> Roomcast {
        Roomcast::start_as(self.command(env!("CARGO_BIN_EXE_roomcast")), args)
    }

    /// A command that will run in here, under its own process id.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // Nothing else can be done in a test that ends; the name is never used again.
        std::process::Command::new("ip").args(["netns", "del", &self.name]).stderr(Stdio::null()).status().ok();
    }
}

async fn output<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) -> Result<String, String> {
    let output = Command::new(program).args(arguments).output().await.map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() { Ok(text(&output.stdout)) } else { Err(text(&output.stderr)) }
}
