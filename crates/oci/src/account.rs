//! As whom a container runs: what its pod says, and the accounts of its image.

use std::fs;
use std::path::Path;

use backstay_node::runtime::SecurityContext;
use rustix::fs::OFlags;

use crate::store::{ImageRecord, open_inside};

/// Whoever needs passwords that are longer than this has none.
const ACCOUNTS_BYTES_MAX: u64 = 1 << 20;

#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<u32>,
}

/// Whom the container runs as: what the pod says, else the image.
pub(crate) fn account(layers: &Path, image: &ImageRecord, security: &SecurityContext) -> Result<Account, String> {
    let read = |path: &str| read_from_layers(layers, &image.layers, Path::new(path)).unwrap_or_default();
    resolve(&image.config.user, security, &read("etc/passwd"), &read("etc/group"))
}

fn resolve(image_user: &str, security: &SecurityContext, passwd: &str, group: &str) -> Result<Account, String> {
    let (user, named_group) = image_user.split_once(':').unwrap_or((image_user, ""));
    let entry = |line: &str| {
        let fields: Vec<String> = line.split(':').map(String::from).collect();
        let id = fields.get(2)?.parse::<u32>().ok()?;
        Some((fields[0].clone(), id, fields.get(3).cloned().unwrap_or_default()))
    };
    let users: Vec<(String, u32, String)> = passwd.lines().filter_map(entry).collect();
    let groups: Vec<(String, u32, String)> = group.lines().filter_map(entry).collect();
    let uid = match (security.user, user) {
        (Some(uid), _) => uid,
        (None, "") => 0,
        (None, name) => match (name.parse(), users.iter().find(|(known, ..)| known == name)) {
            (Ok(uid), _) => uid,
            (_, Some((_, uid, _))) => *uid,
            _ => return Err(format!("unable to find user {name}: no matching entries in passwd file")),
        },
    };
    let known = users.iter().find(|(_, id, _)| *id == uid);
    let of_user = known.and_then(|(_, _, gid)| gid.parse().ok()).unwrap_or(0);
    let gid = match (security.group, security.user, named_group) {
        (Some(gid), ..) => gid,
        (None, None, name) if !name.is_empty() => match (name.parse(), groups.iter().find(|(it, ..)| it == name)) {
            (Ok(gid), _) => gid,
            (_, Some((_, gid, _))) => *gid,
            _ => return Err(format!("unable to find group {name}: no matching entries in group file")),
        },
        _ => of_user,
    };
    let mut all = security.supplemental_groups.clone();
    if let Some((name, ..)) = known.filter(|_| !security.strict_groups) {
        let member = |members: &str| members.split(',').any(|member| member == name);
        all.extend(groups.iter().filter(|(_, _, members)| member(members)).map(|(_, gid, _)| *gid));
    }
    all.push(gid);
    all.sort_unstable();
    all.dedup();
    Ok(Account { uid, gid, groups: all })
}

/// A small file of an image, from the highest layer that has it.
fn read_from_layers(dir: &Path, layers: &[String], path: &Path) -> Option<String> {
    use std::io::Read as _;
    layers.iter().rev().find_map(|layer| {
        let root = fs::File::open(dir.join(layer)).ok()?;
        let file = open_inside(&root, path, OFlags::RDONLY).ok()?;
        let mut text = String::new();
        fs::File::from(file).take(ACCOUNTS_BYTES_MAX).read_to_string(&mut text).ok()?;
        Some(text)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0::/:/bin/sh\napp:x:100:101::/:/bin/sh\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:app\n";

    fn check(image: &str, user: Option<u32>, expected: Result<(u32, u32, &[u32]), &str>) {
        let security = SecurityContext { user, ..SecurityContext::default() };
        let found = resolve(image, &security, PASSWD, GROUP);
        let found = found.as_ref().map(|it| (it.uid, it.gid, it.groups.as_slice())).map_err(String::as_str);
        assert_eq!(found, expected, "{image} {user:?}");
    }

    #[test]
    fn users_are_looked_up_in_the_image() {
        check("", None, Ok((0, 0, &[0])));
        check("app", None, Ok((100, 101, &[33, 101])));
        check("app:web", None, Ok((100, 33, &[33])));
        check("7:8", None, Ok((7, 8, &[8])));
        check("app", Some(5), Ok((5, 0, &[0])));
        check("nobody", None, Err("unable to find user nobody: no matching entries in passwd file"));
    }
}
