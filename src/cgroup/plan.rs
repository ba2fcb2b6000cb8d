//! Limits as the files of a group have them. Pure.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Controller, Limits};

/// The time over which CPU is measured out, in microseconds (kubelet `QuotaPeriod`).
const PERIOD: u64 = 100_000;
/// The least that the kernel takes for a quota (kubelet `MinQuotaPeriod`).
const LEAST_QUOTA: u64 = 1000;
/// What the kernel takes for shares.
const SHARES: std::ops::RangeInclusive<u64> = 2..=262_144;

/// Which interface of the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A hierarchy for each controller.
    One,
    /// One hierarchy.
    Two,
}

/// How memory is kept from being reclaimed for others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protection {
    /// Never.
    Min(u64),
    /// Not while there is other memory to reclaim.
    Low(u64),
}

/// One file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Whose file it is.
    pub controller: Controller,
    /// The file's name.
    pub file: String,
    /// What is written.
    pub value: String,
    /// Whether a kernel without the file fails the limit.
    pub is_needed: bool,
}

/// What is written for these limits where these controllers are. All of it is written each time, since a limit may have gone.
pub fn plan_settings(limits: &Limits, version: Version, controllers: &BTreeSet<Controller>) -> Vec<Setting> {
    let all = match version {
        Version::One => plan_one(limits),
        Version::Two => plan_two(limits),
    };
    all.into_iter()
        .filter(|setting| controllers.contains(&setting.controller))
        .collect()
}

fn plan_one(limits: &Limits) -> Vec<Setting> {
    let quota = limits.cpu.map(quota_of);
    let mut settings = vec![
        setting(Controller::Cpu, "cpu.cfs_period_us", PERIOD, quota.is_some()),
        limit(Controller::Cpu, "cpu.cfs_quota_us", quota, "-1"),
        limit(Controller::Memory, "memory.limit_in_bytes", limits.memory, "-1"),
        // Memory and swap together: a limit means no swap, as the kubelet has it.
        setting(
            Controller::Memory,
            "memory.memsw.limit_in_bytes",
            or(limits.memory, "-1"),
            false,
        ),
        limit(Controller::Pids, "pids.max", limits.pids, "max"),
    ];
    settings.extend(
        limits
            .cpu_shares
            .map(|shares| setting(Controller::Cpu, "cpu.shares", bounded(shares), true)),
    );
    settings.extend(plan_hugepages(limits, "limit_in_bytes"));
    settings
}

fn plan_two(limits: &Limits) -> Vec<Setting> {
    let quota = limits.cpu.map(quota_of);
    let (min, low) = match limits.memory_protection {
        Some(Protection::Min(bytes)) => (bytes, 0),
        Some(Protection::Low(bytes)) => (0, bytes),
        None => (0, 0),
    };
    // A limit means no swap, as the kubelet has it.
    let swap = limits.memory.map(|_| 0);
    let mut settings = vec![
        setting(
            Controller::Cpu,
            "cpu.max",
            format!("{} {PERIOD}", or(quota, "max")),
            quota.is_some(),
        ),
        limit(Controller::Memory, "memory.max", limits.memory, "max"),
        limit(Controller::Memory, "memory.high", limits.memory_high, "max"),
        setting(Controller::Memory, "memory.min", min, min > 0),
        setting(Controller::Memory, "memory.low", low, low > 0),
        setting(Controller::Memory, "memory.swap.max", or(swap, "max"), false),
        setting(
            Controller::Memory,
            "memory.oom.group",
            u8::from(limits.dies_together),
            false,
        ),
        limit(Controller::Pids, "pids.max", limits.pids, "max"),
    ];
    settings.extend(
        limits
            .cpu_shares
            .map(|shares| setting(Controller::Cpu, "cpu.weight", weight_of(shares), true)),
    );
    settings.extend(plan_hugepages(limits, "max"));
    settings
}

fn plan_hugepages(limits: &Limits, file: &str) -> Vec<Setting> {
    let pages = limits.hugepages.iter();
    pages
        .map(|(size, bytes)| {
            setting(
                Controller::HugeTlb,
                &format!("hugetlb.{}.{file}", page_name(*size)),
                bytes,
                true,
            )
        })
        .collect()
}

fn setting(controller: Controller, file: &str, value: impl ToString, is_needed: bool) -> Setting {
    Setting {
        controller,
        file: file.to_owned(),
        value: value.to_string(),
        is_needed,
    }
}

/// A limit, which a kernel without the file fails only where there is one.
fn limit(controller: Controller, file: &str, number: Option<u64>, unlimited: &str) -> Setting {
    setting(controller, file, or(number, unlimited), number.is_some())
}

fn or(number: Option<u64>, unlimited: &str) -> String {
    number.map_or_else(|| unlimited.to_owned(), |number| number.to_string())
}

/// Microseconds in each period (kubelet `MilliCPUToQuota`).
fn quota_of(milli_cpu: u64) -> u64 {
    (milli_cpu.saturating_mul(PERIOD) / 1000).max(LEAST_QUOTA)
}

fn bounded(shares: u64) -> u64 {
    shares.clamp(*SHARES.start(), *SHARES.end())
}

/// The weight that stands for shares (`opencontainers/cgroups` `ConvertCPUSharesToCgroupV2Value`): a curve through 2 → 1, 1024 → 100 and
/// 262144 → 10000, so that a request of one CPU weighs as much as a group of which nothing was said.
fn weight_of(shares: u64) -> u64 {
    let shares = bounded(shares);
    if shares == *SHARES.start() {
        return 1;
    }
    if shares == *SHARES.end() {
        return 10_000;
    }
    // At most 2^18: exact as a floating-point number.
    #[expect(clippy::cast_precision_loss)]
    let exponent = (shares as f64).log2();
    let power = (exponent * exponent + 125.0 * exponent) / 612.0 - 7.0 / 34.0;
    // Rounding errors must not lift 100 to 101.
    let weight = (10_f64.powf(power) - 1e-9).ceil();
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let weight = weight as u64;
    weight.clamp(1, 10_000)
}

/// The kernel's name for pages of a size: `2MB`, `1GB`, `64KB`.
fn page_name(bytes: u64) -> String {
    match bytes {
        _ if bytes >= 1 << 30 => format!("{}GB", bytes >> 30),
        _ if bytes >= 1 << 20 => format!("{}MB", bytes >> 20),
        _ => format!("{}KB", bytes >> 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planned(limits: &Limits, version: Version) -> Vec<String> {
        let settings = plan_settings(limits, version, &Controller::LIMITING.into());
        let text = |s: &Setting| format!("{}={}{}", s.file, s.value, if s.is_needed { "!" } else { "" });
        settings.iter().map(text).collect()
    }

    #[test]
    fn limits_are_written_as_each_version_has_them() {
        let limits = Limits {
            cpu: Some(250),
            cpu_shares: Some(1024),
            memory: Some(64 << 20),
            memory_high: Some(60 << 20),
            memory_protection: Some(Protection::Low(32 << 20)),
            pids: Some(100),
            hugepages: [(2 << 20, 4 << 20), (1 << 30, 0)].into(),
            dies_together: true,
        };
        assert_eq!(
            planned(&limits, Version::Two),
            [
                "cpu.max=25000 100000!",
                "memory.max=67108864!",
                "memory.high=62914560!",
                "memory.min=0",
                "memory.low=33554432!",
                "memory.swap.max=0",
                "memory.oom.group=1",
                "pids.max=100!",
                "cpu.weight=100!",
                "hugetlb.2MB.max=4194304!",
                "hugetlb.1GB.max=0!",
            ]
        );
        assert_eq!(
            planned(&limits, Version::One),
            [
                "cpu.cfs_period_us=100000!",
                "cpu.cfs_quota_us=25000!",
                "memory.limit_in_bytes=67108864!",
                "memory.memsw.limit_in_bytes=67108864",
                "pids.max=100!",
                "cpu.shares=1024!",
                "hugetlb.2MB.limit_in_bytes=4194304!",
                "hugetlb.1GB.limit_in_bytes=0!",
            ]
        );
    }

    #[test]
    fn a_limit_that_is_gone_is_written_too_and_may_miss_its_file() {
        let two = "cpu.max=max 100000 memory.max=max memory.high=max memory.min=0 memory.low=0 memory.swap.max=max \
                   memory.oom.group=0 pids.max=max";
        assert_eq!(planned(&Limits::default(), Version::Two).join(" "), two);
        let one = "cpu.cfs_period_us=100000 cpu.cfs_quota_us=-1 memory.limit_in_bytes=-1 memory.memsw.limit_in_bytes=-1 pids.max=max";
        assert_eq!(planned(&Limits::default(), Version::One).join(" "), one);
    }

    #[test]
    fn only_what_has_its_controller_is_written() {
        let settings = plan_settings(&Limits::default(), Version::Two, &[Controller::Pids].into());
        assert_eq!(
            settings.iter().map(|s| s.file.as_str()).collect::<Vec<_>>(),
            ["pids.max"]
        );
    }

    #[test]
    fn shares_become_weights_as_upstream_does() {
        for (shares, weight) in [
            (0, 1),
            (2, 1),
            (102, 17),
            (512, 59),
            (1024, 100),
            (2048, 174),
            (262_144, 10_000),
            (1 << 30, 10_000),
        ] {
            assert_eq!(weight_of(shares), weight, "{shares}");
        }
    }

    #[test]
    fn the_smallest_quota_is_what_the_kernel_takes() {
        assert_eq!(quota_of(1), 1000);
        assert_eq!(quota_of(1500), 150_000);
    }
}
