//! nginx with its RTMP module: a real server to push to and to play from.

use std::path::Path;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::sleep;

use super::free_tcp_port;
use super::process::{Running, piped};

/// A running nginx. Dropping it kills it.
pub(crate) struct Nginx {
    running: Running,
}

/// Where an nginx listens; it may come back there.
#[derive(Clone, Copy)]
pub(crate) struct NginxPorts {
    /// RTMP: the application `live` takes everybody, `refuse` asks a page that says no, `closed` forbids to publish.
    pub(crate) rtmp: u16,
    /// The page that says no.
    http: u16,
}

impl NginxPorts {
    pub(crate) fn free() -> Self {
        Self { rtmp: free_tcp_port(), http: free_tcp_port() }
    }
}

impl Nginx {
    /// Starts one that keeps its files in `directory`, and waits until it accepts connections.
    pub(crate) async fn start(directory: &Path, ports: NginxPorts) -> Self {
        let NginxPorts { rtmp, http } = ports;
        let place = directory.display();
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {place}/{name}; "))
            .concat();
        let configuration = format!(
            "load_module /usr/lib/nginx/modules/ngx_rtmp_module.so;
daemon off; master_process off; pid {place}/nginx.pid; error_log {place}/nginx.log info;
events {{}}
rtmp {{ access_log off; server {{ listen 127.0.0.1:{rtmp};
    application live {{ live on; wait_key on; }}
    application refuse {{ live on; on_publish http://127.0.0.1:{http}/no; }}
    application closed {{ live on; deny publish all; }}
}} }}
http {{ access_log off; {temporary} server {{ listen 127.0.0.1:{http}; location /no {{ return 403; }} }} }}
"
        );
        let file = directory.join("nginx.conf");
        std::fs::write(&file, configuration).expect("a configuration");
        let mut command = piped("/usr/sbin/nginx");
        command.arg("-p").arg(directory).arg("-c").arg(&file).arg("-e").arg(directory.join("nginx.log"));
        let mut running = Running::start(command, "nginx libnginx-mod-rtmp");
        for _ in 0..500 {
            if TcpStream::connect(("127.0.0.1", rtmp)).await.is_ok() {
                return Self { running };
            }
            if let Ok(Some(status)) = running.child.try_wait() {
                let log = std::fs::read_to_string(directory.join("nginx.log")).unwrap_or_default();
                panic!("nginx ended at once ({status}); it takes apt-get install nginx libnginx-mod-rtmp:\n{log}");
            }
            // A socket that another process opens has no event of its own.
            sleep(Duration::from_millis(20)).await;
        }
        panic!("nginx does not accept connections");
    }

    /// Kills it without warning.
    pub(crate) async fn kill(mut self) {
        self.running.signal(rustix::process::Signal::KILL);
        self.running.ended(Duration::from_secs(5)).await;
    }
}
