//! Candidates as the other side must see them: with the shared port, and with the public address of a 1:1 NAT.
//!
//! The engine names its host candidates by the address it believes it is bound to. Pure: text in, text out; what is no
//! candidate stays as it is.

use std::net::{IpAddr, SocketAddr};

/// UDP or TCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// Datagrams.
    Udp,
    /// Streams.
    Tcp,
}

/// What stands for what.
#[derive(Clone, Debug, Default)]
pub(crate) struct AddressMap {
    ports: Vec<(Transport, SocketAddr, u16)>,
    public: Vec<IpAddr>,
}

impl AddressMap {
    /// Maps local addresses to these, one for IPv4 and one for IPv6 at most.
    pub(crate) fn to_public(public: &[IpAddr]) -> Self {
        Self { ports: Vec::new(), public: public.to_vec() }
    }

    /// What the engine names `local` is reached on `port`.
    pub(crate) fn share(&mut self, transport: Transport, local: SocketAddr, port: u16) {
        self.ports.retain(|(of, address, _)| (*of, *address) != (transport, local));
        self.ports.push((transport, local, port));
    }

    /// A description with its candidates rewritten. Two that become alike are one.
    pub(crate) fn description(&self, sdp: &str) -> String {
        let mut rewritten = String::with_capacity(sdp.len());
        let mut seen = Vec::new();
        for line in sdp.split_inclusive('\n') {
            if line.starts_with("m=") {
                seen.clear();
            }
            let Some(candidate) = line.strip_prefix("a=").filter(|rest| rest.starts_with("candidate:")) else {
                rewritten += line;
                continue;
            };
            let text = candidate.trim_end();
            let mapped = self.candidate(text);
            let destination = destination(&mapped);
            if destination.as_ref().is_some_and(|destination| seen.contains(destination)) {
                continue;
            }
            seen.extend(destination);
            rewritten += "a=";
            rewritten += &mapped;
            rewritten += &candidate[text.len()..];
        }
        rewritten
    }

    /// A candidate (RFC 8839, section 5.1) as the other side must see it.
    pub(crate) fn candidate(&self, candidate: &str) -> String {
        let mut words: Vec<String> = candidate.split(' ').map(str::to_owned).collect();
        let transport = match words.get(2).map(|transport| transport.to_ascii_lowercase()).as_deref() {
            Some("udp") => Transport::Udp,
            Some("tcp") => Transport::Tcp,
            _ => return candidate.to_owned(),
        };
        if words.get(7).is_some_and(|kind| kind == "host") {
            self.rewrite(&mut words, 4, 5, transport);
        }
        // A reflexive or relayed candidate says which local address stands behind it.
        let related = words.iter().position(|word| word == "raddr").zip(words.iter().position(|word| word == "rport"));
        if let Some((address, port)) = related {
            self.rewrite(&mut words, address + 1, port + 1, transport);
        }
        words.join(" ")
    }

    fn rewrite(&self, words: &mut [String], ip: usize, port: usize, transport: Transport) {
        let address = |words: &[String]| -> Option<SocketAddr> {
            Some(SocketAddr::new(words.get(ip)?.parse().ok()?, words.get(port)?.parse().ok()?))
        };
        let Some(local) = address(words) else { return };
        let shared = self.ports.iter().find(|(of, address, _)| (*of, *address) == (transport, local));
        if let (Some((.., shared)), Some(word)) = (shared, words.get_mut(port)) {
            *word = shared.to_string();
        }
        let public = self.public.iter().find(|public| public.is_ipv4() == local.is_ipv4());
        if let (Some(public), false, Some(word)) = (public, local.ip().is_loopback(), words.get_mut(ip)) {
            *word = public.to_string();
        }
    }
}

/// What makes two candidates alike: all but foundation and priority.
fn destination(candidate: &str) -> Option<Vec<String>> {
    let words: Vec<&str> = candidate.split(' ').collect();
    let (component, transport, rest) = (words.get(1)?, words.get(2)?, words.get(4..)?);
    Some([component, transport].into_iter().chain(rest).map(|word| (*word).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map() -> AddressMap {
        let mut map = AddressMap::to_public(&["198.51.100.7".parse().unwrap(), "2001:db8::7".parse().unwrap()]);
        map.share(Transport::Udp, "10.0.0.5:51000".parse().unwrap(), 40000);
        map.share(Transport::Udp, "127.0.0.1:51001".parse().unwrap(), 40000);
        map.share(Transport::Udp, "[fd00::5]:51002".parse().unwrap(), 40000);
        map.share(Transport::Tcp, "10.0.0.5:51000".parse().unwrap(), 40001);
        map
    }

    #[test]
    fn candidates_name_the_shared_port_and_the_public_address() {
        let cases = [
            (
                "candidate:1 1 udp 2130706431 10.0.0.5 51000 typ host",
                "candidate:1 1 udp 2130706431 198.51.100.7 40000 typ host",
            ),
            (
                "candidate:1 1 UDP 2130706431 127.0.0.1 51001 typ host",
                "candidate:1 1 UDP 2130706431 127.0.0.1 40000 typ host",
            ),
            ("candidate:1 1 udp 21 fd00::5 51002 typ host", "candidate:1 1 udp 21 2001:db8::7 40000 typ host"),
            (
                "candidate:1 1 tcp 21 10.0.0.5 51000 typ host tcptype passive",
                "candidate:1 1 tcp 21 198.51.100.7 40001 typ host tcptype passive",
            ),
            (
                "candidate:1 1 tcp 21 10.0.0.5 9 typ host tcptype active",
                "candidate:1 1 tcp 21 198.51.100.7 9 typ host tcptype active",
            ),
            (
                "candidate:1 1 udp 21 203.0.113.1 6000 typ srflx raddr 10.0.0.5 rport 51000",
                "candidate:1 1 udp 21 203.0.113.1 6000 typ srflx raddr 198.51.100.7 rport 40000",
            ),
            (
                "candidate:1 1 udp 21 203.0.113.9 7000 typ relay raddr 203.0.113.1 rport 6000",
                "candidate:1 1 udp 21 203.0.113.9 7000 typ relay raddr 198.51.100.7 rport 6000",
            ),
        ];
        for (local, expected) in cases {
            assert_eq!(map().candidate(local), expected);
        }
    }

    #[test]
    fn without_a_public_address_only_the_port_changes() {
        let mut map = AddressMap::default();
        let local = "candidate:1 1 udp 21 10.0.0.5 51000 typ host";
        assert_eq!(map.candidate(local), local);
        map.share(Transport::Udp, "10.0.0.5:51000".parse().unwrap(), 40000);
        assert_eq!(map.candidate(local), "candidate:1 1 udp 21 10.0.0.5 40000 typ host");
    }

    #[test]
    fn what_is_no_candidate_stays() {
        for text in ["", "candidate:", "candidate:1 1 udp", "candidate:1 1 udp 1 x y typ host", "raddr", "raddr rport"]
        {
            assert_eq!(map().candidate(text), text);
        }
    }

    #[test]
    fn a_description_keeps_its_lines_and_loses_duplicates() {
        let mut map = map();
        map.share(Transport::Udp, "10.0.0.6:52000".parse().unwrap(), 40000);
        let section = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:x\r\n\
            a=candidate:1 1 udp 21 10.0.0.5 51000 typ host\r\na=candidate:2 1 udp 20 10.0.0.6 52000 typ host\r\n";
        let expected = "m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:x\r\n\
            a=candidate:1 1 udp 21 198.51.100.7 40000 typ host\r\n";
        let sdp = format!("v=0\r\n{section}{section}a=end-of-candidates\r\n");
        assert_eq!(map.description(&sdp), format!("v=0\r\n{expected}{expected}a=end-of-candidates\r\n"));
    }
}
