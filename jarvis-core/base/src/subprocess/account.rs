//! Whom to run as.

use crate::{Error, ErrorKind, Result};

/// User and group number of `"name"`, `"uid"` or `"uid:gid"`. Names are looked up in
/// `/etc/passwd`.
///
/// # Errors
/// `ConfigInvalid` for a user that is not there.
pub fn account(text: &str) -> Result<(u32, u32)> {
    if let Some((uid, gid)) = text.split_once(':')
        && let (Ok(uid), Ok(gid)) = (uid.parse(), gid.parse())
    {
        return Ok((uid, gid));
    }
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    find(&passwd, text).ok_or_else(|| {
        Error::new(
            ErrorKind::ConfigInvalid,
            format!("user {text:?} is not in /etc/passwd; write its name, or \"uid:gid\""),
        )
    })
}

fn find(passwd: &str, user: &str) -> Option<(u32, u32)> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, uid, gid) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
        if name != user && uid != user {
            return None;
        }
        Some((uid.parse().ok()?, gid.parse().ok()?))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_name_or_numbers() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\ncoach:x:1001:1002::/:/bin/false\n";
        assert_eq!(find(passwd, "coach"), Some((1001, 1002)));
        assert_eq!(find(passwd, "1001"), Some((1001, 1002)));
        assert_eq!(find(passwd, "x"), None);
        assert_eq!(account("7:8").unwrap(), (7, 8));
        assert_eq!(account("no:body").unwrap_err().kind(), ErrorKind::ConfigInvalid);
    }
}
