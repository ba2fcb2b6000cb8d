//! Which capabilities a container has. Pure.

use oci_spec::runtime::{Capabilities, Capability};

use crate::runtime::Security;

/// Every capability, at the index of the kernel's number (`linux/capability.h`).
const ALL: [(&str, Capability); 41] = [
    ("CHOWN", Capability::Chown),
    ("DAC_OVERRIDE", Capability::DacOverride),
    ("DAC_READ_SEARCH", Capability::DacReadSearch),
    ("FOWNER", Capability::Fowner),
    ("FSETID", Capability::Fsetid),
    ("KILL", Capability::Kill),
    ("SETGID", Capability::Setgid),
    ("SETUID", Capability::Setuid),
    ("SETPCAP", Capability::Setpcap),
    ("LINUX_IMMUTABLE", Capability::LinuxImmutable),
    ("NET_BIND_SERVICE", Capability::NetBindService),
    ("NET_BROADCAST", Capability::NetBroadcast),
    ("NET_ADMIN", Capability::NetAdmin),
    ("NET_RAW", Capability::NetRaw),
    ("IPC_LOCK", Capability::IpcLock),
    ("IPC_OWNER", Capability::IpcOwner),
    ("SYS_MODULE", Capability::SysModule),
    ("SYS_RAWIO", Capability::SysRawio),
    ("SYS_CHROOT", Capability::SysChroot),
    ("SYS_PTRACE", Capability::SysPtrace),
    ("SYS_PACCT", Capability::SysPacct),
    ("SYS_ADMIN", Capability::SysAdmin),
    ("SYS_BOOT", Capability::SysBoot),
    ("SYS_NICE", Capability::SysNice),
    ("SYS_RESOURCE", Capability::SysResource),
    ("SYS_TIME", Capability::SysTime),
    ("SYS_TTY_CONFIG", Capability::SysTtyConfig),
    ("MKNOD", Capability::Mknod),
    ("LEASE", Capability::Lease),
    ("AUDIT_WRITE", Capability::AuditWrite),
    ("AUDIT_CONTROL", Capability::AuditControl),
    ("SETFCAP", Capability::Setfcap),
    ("MAC_OVERRIDE", Capability::MacOverride),
    ("MAC_ADMIN", Capability::MacAdmin),
    ("SYSLOG", Capability::Syslog),
    ("WAKE_ALARM", Capability::WakeAlarm),
    ("BLOCK_SUSPEND", Capability::BlockSuspend),
    ("AUDIT_READ", Capability::AuditRead),
    ("PERFMON", Capability::Perfmon),
    ("BPF", Capability::Bpf),
    ("CHECKPOINT_RESTORE", Capability::CheckpointRestore),
];

/// What containerd and docker give a container that asks for nothing.
const DEFAULT: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// A set of capabilities as the kernel prints it in `/proc/<pid>/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::runtime::native) struct CapabilitySet(pub u64);

impl CapabilitySet {
    const EVERY: CapabilitySet = CapabilitySet((1 << ALL.len()) - 1);

    /// Whether the capability of this name, without `CAP_`, is in it.
    pub fn has(self, name: &str) -> bool {
        bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    /// As OCI writes it.
    pub fn to_oci(self) -> Capabilities {
        let members = ALL.iter().enumerate().filter(|(number, _)| self.0 & (1 << number) != 0);
        members.map(|(_, (_, capability))| *capability).collect()
    }
}

/// The set a container gets: the default, or every one when privileged; then what is added and dropped, where `drop: [ALL]`
/// with `add: [X]` leaves X (containerd's order: add ALL, drop ALL, add, drop). Never more than `bounding`, the bounding
/// set of the process that starts containers: asking the kernel for more fails.
///
/// # Errors
/// A name is no capability; the text is for people.
pub(super) fn plan_capabilities(security: &Security, bounding: CapabilitySet) -> Result<CapabilitySet, String> {
    let wants_all = |names: &[String]| names.iter().any(|name| is_all(name));
    let mut set = DEFAULT.iter().filter_map(|name| bit(name)).sum();
    if security.privileged || wants_all(&security.add_capabilities) {
        set = CapabilitySet::EVERY.0;
    }
    if wants_all(&security.drop_capabilities) {
        set = 0;
    }
    for name in security.add_capabilities.iter().filter(|name| !is_all(name)) {
        set |= parse(name)?;
    }
    for name in security.drop_capabilities.iter().filter(|name| !is_all(name)) {
        set &= !parse(name)?;
    }
    Ok(CapabilitySet(set & bounding.0))
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("ALL")
}

fn parse(name: &str) -> Result<u64, String> {
    let upper = name.to_ascii_uppercase();
    bit(upper.strip_prefix("CAP_").unwrap_or(&upper)).ok_or_else(|| format!("unknown capability {name:?}"))
}

fn bit(name: &str) -> Option<u64> {
    ALL.iter()
        .position(|(known, _)| *known == name)
        .map(|number| 1 << number)
}

#[cfg(test)]
mod tests {
    use super::super::tests::security;
    use super::*;

    const KERNEL: CapabilitySet = CapabilitySet(u64::MAX);

    fn planned(add: &[&str], drop: &[&str]) -> CapabilitySet {
        let mut wanted = security();
        wanted.add_capabilities = add.iter().map(|s| (*s).to_owned()).collect();
        wanted.drop_capabilities = drop.iter().map(|s| (*s).to_owned()).collect();
        plan_capabilities(&wanted, KERNEL).expect("these are capabilities")
    }

    #[test]
    fn the_default_is_containerds_and_changes_as_asked() {
        // The value that `grep CapEff /proc/self/status` prints in a docker container.
        assert_eq!(planned(&[], &[]).0, 0xa804_25fb);
        assert_eq!(planned(&[], &["ALL"]).0, 0);
        assert_eq!(planned(&["NET_BIND_SERVICE"], &["all"]).0, 1 << 10);
        assert!(planned(&["CAP_SYS_PTRACE"], &[]).has("SYS_PTRACE"));
        assert!(!planned(&[], &["mknod"]).has("MKNOD"));
        assert_eq!(planned(&["ALL"], &["SYS_ADMIN"]).0, CapabilitySet::EVERY.0 & !(1 << 21));
    }

    #[test]
    fn nobody_gets_more_than_the_starter_has() {
        let mut wanted = security();
        wanted.privileged = true;
        assert_eq!(
            plan_capabilities(&wanted, CapabilitySet(0b1001)),
            Ok(CapabilitySet(0b1001))
        );
    }

    #[test]
    fn an_unknown_name_is_an_error() {
        let mut wanted = security();
        wanted.add_capabilities = vec!["SYS_ADMEN".to_owned()];
        assert!(plan_capabilities(&wanted, KERNEL).is_err());
    }

    #[test]
    fn oci_gets_the_same_members() {
        assert_eq!(
            CapabilitySet(0b11).to_oci(),
            [Capability::Chown, Capability::DacOverride].into_iter().collect()
        );
        assert_eq!(CapabilitySet::EVERY.to_oci().len(), 41);
    }
}
