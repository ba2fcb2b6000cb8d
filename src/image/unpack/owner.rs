//! Which owners files can have here: what the user namespace's maps hold, and what becomes of the others.

use std::fs;

/// The ids that exist in this user namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owners {
    uids: Vec<(u32, u32)>,
    gids: Vec<(u32, u32)>,
}

impl Owners {
    /// Reads the maps of the namespace that this process is in. Unreadable maps (no procfs) are taken as complete:
    /// then the kernel says which owner it refuses.
    pub fn here() -> Owners {
        let read = |path| parse_map(&fs::read_to_string(path).unwrap_or_else(|_| "0 0 4294967295".to_owned()));
        Owners {
            uids: read("/proc/self/uid_map"),
            gids: read("/proc/self/gid_map"),
        }
    }

    /// Whether this user exists here.
    pub fn has_uid(&self, uid: u32) -> bool {
        holds(&self.uids, uid)
    }

    /// Whether this group exists here.
    pub fn has_gid(&self, gid: u32) -> bool {
        holds(&self.gids, gid)
    }

    /// The owner that an entry gets: its own where it can, else root, and then without setuid or setgid, which
    /// would lend root's rights where the image meant to lend someone else's.
    pub(super) fn plan_owner(&self, uid: u32, gid: u32, mode: u32) -> Owner {
        let (has_uid, has_gid) = (holds(&self.uids, uid), holds(&self.gids, gid));
        Owner {
            uid: if has_uid { uid } else { 0 },
            gid: if has_gid { gid } else { 0 },
            mode: mode & !(if has_uid { 0 } else { 0o4000 }) & !(if has_gid { 0 } else { 0o2000 }),
            is_squashed: !has_uid || !has_gid,
        }
    }
}

/// Owner and mode as they are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub uid: u32,
    pub gid: u32,
    pub mode: u32,
    pub is_squashed: bool,
}

/// Lines of first id inside, first id outside, count (user_namespaces(7)); kept are first and count.
fn parse_map(text: &str) -> Vec<(u32, u32)> {
    let line = |line: &str| {
        let numbers: Vec<u32> = line
            .split_whitespace()
            .map_while(|number| number.parse().ok())
            .collect();
        match numbers[..] {
            [first, _outside, count] => Some((first, count)),
            _ => None,
        }
    };
    text.lines().filter_map(line).collect()
}

fn holds(map: &[(u32, u32)], id: u32) -> bool {
    map.iter()
        .any(|(first, count)| id.checked_sub(*first).is_some_and(|offset| offset < *count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(map: &str) -> Owners {
        Owners {
            uids: parse_map(map),
            gids: parse_map(map),
        }
    }

    #[test]
    fn owners_outside_the_map_become_root_without_its_rights() {
        let full = owners("         0       1000          1\n         1     100000      65536\n");
        let single = owners("0 1000 1");
        for (map, (uid, gid, mode), expected) in [
            (
                &full,
                (33, 44, 0o6755),
                Owner {
                    uid: 33,
                    gid: 44,
                    mode: 0o6755,
                    is_squashed: false,
                },
            ),
            (
                &full,
                (65_536, 0, 0o755),
                Owner {
                    uid: 65_536,
                    gid: 0,
                    mode: 0o755,
                    is_squashed: false,
                },
            ),
            (
                &full,
                (65_537, 0, 0o6755),
                Owner {
                    uid: 0,
                    gid: 0,
                    mode: 0o2755,
                    is_squashed: true,
                },
            ),
            (
                &single,
                (0, 0, 0o4755),
                Owner {
                    uid: 0,
                    gid: 0,
                    mode: 0o4755,
                    is_squashed: false,
                },
            ),
            (
                &single,
                (0, 44, 0o6755),
                Owner {
                    uid: 0,
                    gid: 0,
                    mode: 0o4755,
                    is_squashed: true,
                },
            ),
            (
                &single,
                (33, 44, 0o6755),
                Owner {
                    uid: 0,
                    gid: 0,
                    mode: 0o755,
                    is_squashed: true,
                },
            ),
        ] {
            assert_eq!(map.plan_owner(uid, gid, mode), expected, "{uid}:{gid}");
        }
    }
}
