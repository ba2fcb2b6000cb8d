//! Who a container's process is: an image's `user` word, looked up in the container's own files. Pure.

/// The user a process runs as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Groups beside `gid`, sorted, without duplicates.
    pub groups: Vec<u32>,
    /// What `HOME` should be.
    pub home: String,
}

impl Identity {
    /// As [`crate::runtime::RUN_USER`] has it.
    pub fn to_text(&self) -> String {
        let groups: Vec<_> = self.groups.iter().map(u32::to_string).collect();
        format!("{}:{}:{}", self.uid, self.gid, groups.join(","))
    }
}

/// One line of `/etc/passwd` as far as it matters.
struct Account<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

/// Resolves `user`, `uid`, `user:group` or `uid:gid` as the image specification says (`config.User`): a number need not be in the
/// files, and is then in group 0; a name must be. Groups that list the user as a member come along, as containerd has it, unless `is_strict`.
///
/// # Errors
/// A name is not in the files; the text is for people.
pub(super) fn resolve(
    user: &str,
    passwd: &str,
    group: &str,
    supplemental: &[u32],
    is_strict: bool,
) -> Result<Identity, String> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group).filter(|group| !group.is_empty())),
        None => (user, None),
    };
    let user = if user.is_empty() { "0" } else { user };
    let account = find_account(user, passwd);
    let uid = match (&account, user.parse::<u32>()) {
        (Some(account), _) => account.uid,
        (None, Ok(uid)) => uid,
        (None, Err(_)) => {
            return Err(format!(
                "unable to find user {user}: no matching entries in passwd file"
            ));
        }
    };
    let gid = match wanted_group {
        Some(wanted) => find_group(wanted, group)?,
        None => account.as_ref().map_or(0, |account| account.gid),
    };
    let mut groups = supplemental.to_vec();
    if let (Some(account), None, false) = (&account, wanted_group, is_strict) {
        groups.extend(groups_of(account.name, group));
    }
    groups.sort_unstable();
    groups.dedup();
    let home = account
        .map(|account| account.home)
        .filter(|home| home.starts_with('/'))
        .unwrap_or("/");
    Ok(Identity {
        uid,
        gid,
        groups,
        home: home.to_owned(),
    })
}

fn find_account<'a>(user: &str, passwd: &'a str) -> Option<Account<'a>> {
    let accounts = passwd.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        let (uid, gid) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let home = fields.nth(1).unwrap_or("/");
        Some(Account { name, uid, gid, home })
    });
    // A name wins over a number: an account may be called "1000".
    let number = user.parse::<u32>().ok();
    let mut by_number = None;
    for account in accounts {
        if account.name == user {
            return Some(account);
        }
        if by_number.is_none() && number == Some(account.uid) {
            by_number = Some(account);
        }
    }
    by_number
}

fn group_lines(group: &str) -> impl Iterator<Item = (&str, u32, &str)> {
    group.lines().filter_map(|line| {
        let mut fields = line.split(':');
        let (name, _password) = (fields.next()?, fields.next()?);
        Some((name, fields.next()?.parse().ok()?, fields.next().unwrap_or("")))
    })
}

fn find_group(wanted: &str, group: &str) -> Result<u32, String> {
    if let Some((_, gid, _)) = group_lines(group).find(|(name, _, _)| *name == wanted) {
        return Ok(gid);
    }
    wanted
        .parse()
        .map_err(|_| format!("unable to find group {wanted}: no matching entries in group file"))
}

fn groups_of<'a>(name: &'a str, group: &'a str) -> impl Iterator<Item = u32> + 'a {
    group_lines(group)
        .filter(move |(_, _, members)| members.split(',').any(|m| m.trim() == name))
        .map(|(_, gid, _)| gid)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken:x\nwww:x:33:34:www:/var/www:/bin/false\n\
                          1000:x:7:7::/seven:\n";
    const GROUP: &str = "root:x:0:\nwww:x:34:\nlogs:x:40:root, www\nextra:x:50:www\n";

    fn resolved(user: &str) -> (u32, u32, Vec<u32>, String) {
        let found = resolve(user, PASSWD, GROUP, &[], false).expect("the user is in the files or a number");
        (found.uid, found.gid, found.groups, found.home)
    }

    #[test]
    fn users_resolve_as_the_image_specification_says() {
        for (user, uid, gid, groups, home) in [
            ("", 0, 0, vec![40], "/root"),
            ("www", 33, 34, vec![40, 50], "/var/www"),
            ("33", 33, 34, vec![40, 50], "/var/www"),
            ("33:0", 33, 0, vec![], "/var/www"),
            ("www:logs", 33, 40, vec![], "/var/www"),
            ("4711", 4711, 0, vec![], "/"),
            ("4711:99", 4711, 99, vec![], "/"),
            ("1000", 7, 7, vec![], "/seven"),
            (":logs", 0, 40, vec![], "/root"),
        ] {
            assert_eq!(resolved(user), (uid, gid, groups, home.to_owned()), "{user:?}");
        }
    }

    #[test]
    fn an_identity_is_written_down_with_its_groups() {
        let text = |user: &str| resolve(user, PASSWD, GROUP, &[], false).map(|found| found.to_text());
        assert_eq!(text("www").as_deref(), Ok("33:34:40,50"));
        assert_eq!(text("4711:99").as_deref(), Ok("4711:99:"));
    }

    #[test]
    fn names_that_are_in_no_file_are_errors() {
        assert!(resolve("nobody", PASSWD, GROUP, &[], false).is_err());
        assert!(resolve("www:nobody", PASSWD, GROUP, &[], false).is_err());
    }

    #[test]
    fn supplemental_groups_come_first_and_once() {
        let groups = |is_strict| {
            let found = resolve("www", PASSWD, GROUP, &[50, 7], is_strict);
            found.expect("www is in the files").groups
        };
        assert_eq!(groups(false), [7, 40, 50]);
        assert_eq!(groups(true), [7, 50]);
    }
}
