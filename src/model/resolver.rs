//! The resolver's file (resolv.conf(5)) as a value.

use std::net::IpAddr;

/// Whom to ask for names, and how.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Resolver {
    /// Name servers as they are written, in order.
    pub servers: Vec<String>,
    /// Domains in which short names are looked for.
    pub searches: Vec<String>,
    /// Everything else, as `ndots:5`.
    pub options: Vec<String>,
}

impl Resolver {
    /// Reads a resolver's file; what it does not know it leaves out.
    pub fn read(text: &str) -> Resolver {
        let mut resolver = Resolver::default();
        for line in text.lines() {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => resolver.servers.extend(words.next().map(str::to_owned)),
                // The last one counts.
                Some("search" | "domain") => resolver.searches = words.map(without_dot).collect(),
                Some("options") => resolver.options.extend(words.map(str::to_owned)),
                _ => {}
            }
        }
        resolver
    }

    /// The name servers that are addresses.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        self.servers.iter().filter_map(|server| server.parse().ok())
    }

    /// The file, in the order of containerd.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        if !self.searches.is_empty() {
            text.push_str(&format!("search {}\n", self.searches.join(" ")));
        }
        for server in &self.servers {
            text.push_str(&format!("nameserver {server}\n"));
        }
        if !self.options.is_empty() {
            text.push_str(&format!("options {}\n", self.options.join(" ")));
        }
        text
    }
}

fn without_dot(name: &str) -> String {
    name.strip_suffix('.')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(name)
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_as_resolvers_read_it() {
        let file = "# nameserver 1.1.1.1\nnameserver 127.0.0.53\nnameserver x\nnameserver\nnameserver fd00::1\n\
                    domain old\nsearch corp.example. . lab\noptions edns0 rotate\noptions timeout:2\nsortlist 1.2.3.4\n";
        let resolver = Resolver::read(file);
        let addresses: Vec<String> = resolver.addresses().map(|ip| ip.to_string()).collect();
        assert_eq!(addresses, ["127.0.0.53", "fd00::1"]);
        assert_eq!(
            resolver.to_text(),
            "search corp.example . lab\nnameserver 127.0.0.53\nnameserver x\nnameserver fd00::1\noptions edns0 rotate timeout:2\n"
        );
    }
}
