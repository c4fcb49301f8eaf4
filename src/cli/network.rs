//! How media finds its way: options that `bridge`, `publish` and `serve` share.

use std::net::IpAddr;

use roomcast::peer::{NetworkConfig, PortRange};

/// The names in the environment, which child processes inherit.
pub(crate) const PORT_VARIABLES: [&str; 2] = ["ROOMCAST_UDP_PORT", "ROOMCAST_TCP_PORT"];

/// Addresses and ports for media.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub(crate) struct NetworkOptions {
    /// A local address for media, IPv4 or IPv6; by default those of the real network interfaces. May be repeated.
    #[arg(long = "bind", value_name = "ADDRESS", env = "ROOMCAST_BIND", value_delimiter = ',')]
    bind: Vec<IpAddr>,
    /// One UDP port for the media of all participants; of a range, the first that is free. Every bridge and every test
    /// participant needs one of its own. By default each participant has any free one.
    #[arg(long, value_name = "PORT|FIRST-LAST", env = "ROOMCAST_UDP_PORT")]
    udp_port: Option<PortRange>,
    /// One TCP port for participants whose network lets no UDP through (ICE-TCP); of a range, the first that is free.
    #[arg(long, value_name = "PORT|FIRST-LAST", env = "ROOMCAST_TCP_PORT")]
    tcp_port: Option<PortRange>,
    /// The address by which the world reaches this machine behind a 1:1 NAT: participants see it in the place of the
    /// local one. One IPv4 and one IPv6 address at most.
    #[arg(long, value_name = "IP", env = "ROOMCAST_PUBLIC_IP", value_delimiter = ',')]
    public_ip: Vec<IpAddr>,
    /// Leave connectivity checks to the participants (ICE-lite): for a machine that everybody reaches directly. It uses
    /// no STUN and no TURN server.
    #[arg(long, env = "ROOMCAST_ICE_LITE", value_parser = clap::builder::FalseyValueParser::new())]
    ice_lite: bool,
    /// RTP and RTCP packets a second that one participant may send [default: 10000]; what exceeds them is lost, as it would be in a network.
    #[arg(long, value_name = "PACKETS", env = "ROOMCAST_MAX_PACKET_RATE", value_parser = clap::value_parser!(u32).range(1..))]
    max_packet_rate: Option<u32>,
}

impl NetworkOptions {
    pub(crate) fn config(&self) -> NetworkConfig {
        NetworkConfig {
            addresses: self.bind.clone(),
            udp_ports: self.udp_port,
            tcp_ports: self.tcp_port,
            public_ips: self.public_ip.clone(),
            ice_lite: self.ice_lite,
            packet_rate: self.max_packet_rate,
        }
    }

    /// The same network for connections of this process whose child processes have the ports.
    pub(crate) fn without_ports(&self) -> NetworkConfig {
        NetworkConfig { udp_ports: None, tcp_ports: None, ..self.config() }
    }

    /// The same options for child processes.
    pub(crate) fn arguments(&self) -> Vec<String> {
        let mut arguments = Vec::new();
        let mut add = |option: &str, values: Vec<String>| {
            for value in values {
                arguments.extend([option.to_owned(), value]);
            }
        };
        add("--bind", self.bind.iter().map(ToString::to_string).collect());
        add("--udp-port", self.udp_port.iter().map(ToString::to_string).collect());
        add("--tcp-port", self.tcp_port.iter().map(ToString::to_string).collect());
        add("--public-ip", self.public_ip.iter().map(ToString::to_string).collect());
        add("--max-packet-rate", self.max_packet_rate.iter().map(ToString::to_string).collect());
        if self.ice_lite {
            arguments.push("--ice-lite".to_owned());
        }
        arguments
    }

    /// How many child processes can have a port of their own; `None`: any number.
    pub(crate) fn children(&self) -> Option<usize> {
        [self.udp_port, self.tcp_port].into_iter().flatten().map(PortRange::count).min()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Options {
        #[command(flatten)]
        network: NetworkOptions,
    }

    fn parse<'a>(arguments: impl IntoIterator<Item = &'a str>) -> NetworkOptions {
        Options::try_parse_from(["roomcast"].into_iter().chain(arguments)).unwrap().network
    }

    #[test]
    fn a_child_gets_the_same_network() {
        for line in [
            "",
            "--bind ::1 --bind 127.0.0.1 --udp-port 40000-40009 --tcp-port 443 --public-ip 198.51.100.7 --max-packet-rate 500 --ice-lite",
        ] {
            let options = parse(line.split_whitespace());
            let arguments = options.arguments();
            assert_eq!(parse(arguments.iter().map(String::as_str)).config(), options.config(), "{line}");
            assert_eq!(arguments.join(" "), line);
        }
    }

    #[test]
    fn a_range_has_room_for_as_many_children() {
        assert_eq!(parse([]).children(), None);
        assert_eq!(parse(["--udp-port", "40000"]).children(), Some(1));
        assert_eq!(parse(["--udp-port", "40000-40009", "--tcp-port", "40000-40003"]).children(), Some(4));
        assert!(parse(["--udp-port", "0"]).children() > Some(1000));
    }
}
