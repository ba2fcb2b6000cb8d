//! What of `/proc` may be mounted over.

/// Files of which LXCFS and its like provide others (runc `checkProcMount`).
const FILES: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "loadavg",
    "meminfo",
    "net/dev",
    "slabinfo",
    "stat",
    "swaps",
    "sys/crypto/fips_enabled",
    "sys/kernel/ns_last_pid",
    "uptime",
];

/// Whether a path in `/proc` is one of a file that may be mounted over.
pub fn is_mountable_in_proc(path: &str) -> bool {
    path.strip_prefix("/proc/").is_some_and(|name| FILES.contains(&name))
}
