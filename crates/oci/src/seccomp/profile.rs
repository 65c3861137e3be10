//! Profiles as files: the form of the OCI runtime specification, and Docker's, which adds conditions to its rules.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::bpf::{self, Condition, Is, Rule, Section};
use super::syscalls::Architecture;
use super::{Filter, LOG_FLAG, SPEC_ALLOW_FLAG, Subject};

/// The errno that a refused call gets unless the profile says another.
const EPERM: u32 = 1;
/// Calls that are newer than the profile do not exist, so that programs fall back to older ones.
pub(super) const ENOSYS: u32 = 38;
/// The kernel knows no higher ones.
const ERRNO_MAX: u32 = 4095;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    default_action: String,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<Family>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    listener_path: String,
    #[serde(default)]
    syscalls: Option<Vec<Entry>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Family {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    #[serde(default)]
    name: String,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<When>,
    #[serde(default)]
    excludes: Option<When>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

/// What must be true for a rule to be there at all, or must not.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct When {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: String,
}

/// # Errors
/// If it is no profile, or wants something that cannot be had.
pub(super) fn parse(text: &[u8], subject: &Subject) -> Result<Filter, String> {
    let document: Document = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if !document.listener_path.is_empty() {
        return Err("it wants to notify a listener, which is not supported".into());
    }
    let flags = document.flags.iter().flatten().try_fold(0, |all, name| flag(name).map(|one| all | one))?;
    let usual = action(&document.default_action, document.default_errno_ret)?;
    let entries = document.syscalls.as_deref().unwrap_or_default();
    let present = entries.iter().filter(|entry| entry.is_present(subject));
    let rules = present.map(|entry| Ok((entry, entry.rules()?))).collect::<Result<Vec<_>, String>>()?;
    let sections = document.architectures(subject.architecture).into_iter().map(|architecture| {
        let numbers = architecture.syscalls();
        let mut by_number: BTreeMap<u32, Vec<Rule>> = BTreeMap::new();
        for (entry, rules) in &rules {
            // Names that are unknown here are those of another architecture, or of another kernel.
            for number in entry.all_names().filter_map(|name| numbers.get(name)) {
                by_number.entry(*number).or_default().extend(rules.iter().cloned());
            }
        }
        // What is said of certain arguments goes before what is said of all.
        by_number.values_mut().for_each(|rules| rules.sort_by_key(|rule| rule.conditions.is_empty()));
        let beyond = if usual & !0xffff == bpf::ERRNO { bpf::ERRNO | ENOSYS } else { usual };
        Section { architecture, rules: by_number, usual, beyond }
    });
    Filter::compile(&sections.collect::<Vec<_>>(), flags)
}

impl Document {
    /// This machine's own, and those beside it that the profile is for as well.
    fn architectures(&self, native: Architecture) -> Vec<Architecture> {
        let named = self.architectures.iter().flatten();
        let family = self.arch_map.iter().flatten();
        let family = family.filter(|it| Architecture::by_name(&it.architecture) == Some(native));
        let all = named.chain(family.flat_map(|it| it.sub_architectures.iter().flatten()));
        let mut found = vec![native];
        for one in all.filter_map(|name| Architecture::by_name(name)).filter(|one| one.runs_on(native)) {
            if !found.contains(&one) {
                found.push(one);
            }
        }
        found
    }
}

impl Entry {
    fn all_names(&self) -> impl Iterator<Item = &str> {
        let one = Some(self.name.as_str()).filter(|name| !name.is_empty());
        one.into_iter().chain(self.names.iter().flatten().map(String::as_str))
    }

    fn is_present(&self, subject: &Subject) -> bool {
        self.includes.as_ref().is_none_or(|when| when.all_hold(subject))
            && !self.excludes.as_ref().is_some_and(|when| when.any_holds(subject))
    }

    fn rules(&self) -> Result<Vec<Rule>, String> {
        let action = action(&self.action, self.errno_ret)?;
        let conditions = self.args.iter().flatten().map(Argument::condition).collect::<Result<Vec<_>, String>>()?;
        let arguments: BTreeSet<u32> = conditions.iter().map(|condition| condition.argument).collect();
        // Several of one argument are alternatives, as runtimes have it.
        if arguments.len() < conditions.len() {
            let each = conditions.into_iter().map(|condition| Rule { conditions: vec![condition], action });
            return Ok(each.collect());
        }
        Ok(vec![Rule { conditions, action }])
    }
}

impl Argument {
    fn condition(&self) -> Result<Condition, String> {
        if self.index > 5 {
            return Err(format!("calls have arguments 0 to 5, and it names argument {}", self.index));
        }
        let (is, value) = match self.op.as_str() {
            "SCMP_CMP_NE" => (Is::NotEqual, self.value),
            "SCMP_CMP_LT" => (Is::Less, self.value),
            "SCMP_CMP_LE" => (Is::AtMost, self.value),
            "SCMP_CMP_EQ" => (Is::Equal, self.value),
            "SCMP_CMP_GE" => (Is::AtLeast, self.value),
            "SCMP_CMP_GT" => (Is::Greater, self.value),
            "SCMP_CMP_MASKED_EQ" => (Is::EqualUnder(self.value), self.value_two),
            other => return Err(format!("unknown operator {other:?}")),
        };
        Ok(Condition { argument: self.index, is, value })
    }
}

impl When {
    fn checks<'a>(&'a self, subject: &'a Subject) -> impl Iterator<Item = bool> + 'a {
        let caps = self.caps.iter().flatten().map(|name| subject.is_capable(name));
        let arches = self.arches.as_ref().filter(|names| !names.is_empty());
        let arches = arches.map(|names| names.iter().any(|name| name == subject.architecture.go_name()));
        let kernel = Some(&self.min_kernel).filter(|wanted| !wanted.is_empty());
        let kernel = kernel.map(|wanted| version(wanted) <= subject.kernel);
        caps.chain(arches).chain(kernel)
    }

    fn all_hold(&self, subject: &Subject) -> bool {
        self.checks(subject).all(|holds| holds)
    }

    fn any_holds(&self, subject: &Subject) -> bool {
        self.checks(subject).any(|holds| holds)
    }
}

/// `4.8` of `4.8.0-13-generic`.
pub(super) fn version(text: &str) -> (u32, u32) {
    let mut parts = text.split(|char: char| !char.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
}

fn flag(name: &str) -> Result<u32, String> {
    match name {
        // A container begins with a single thread.
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(0),
        "SECCOMP_FILTER_FLAG_LOG" => Ok(LOG_FLAG),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(SPEC_ALLOW_FLAG),
        other => Err(format!("the flag {other:?} is not supported")),
    }
}

fn action(name: &str, errno: Option<u32>) -> Result<u32, String> {
    let number = errno.unwrap_or(EPERM);
    if number > ERRNO_MAX {
        return Err(format!("{number} is no error number"));
    }
    Ok(match name {
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => bpf::KILL_THREAD,
        "SCMP_ACT_KILL_PROCESS" => bpf::KILL_PROCESS,
        "SCMP_ACT_TRAP" => bpf::TRAP,
        "SCMP_ACT_ERRNO" => bpf::ERRNO | number,
        "SCMP_ACT_TRACE" => bpf::TRACE | number,
        "SCMP_ACT_LOG" => bpf::LOG,
        "SCMP_ACT_ALLOW" => bpf::ALLOW,
        "SCMP_ACT_NOTIFY" => return Err("the action SCMP_ACT_NOTIFY is not supported".into()),
        other => return Err(format!("unknown action {other:?}")),
    })
}

#[cfg(test)]
mod tests {
    use super::super::syscalls::{X86, X86_64};
    use super::super::tests::outcome;
    use super::*;

    const CHROOT: u64 = 1 << 18;

    fn check(profile: &str, capabilities: u64, calls: &[(&str, &[u64], &str)]) {
        let subject = Subject { architecture: X86_64, capabilities, kernel: (5, 10) };
        let filter = parse(profile.replace('\'', "\"").as_bytes(), &subject).unwrap();
        for (name, arguments, expected) in calls {
            assert_eq!(outcome(&filter, X86_64, name, arguments), *expected, "{name} {arguments:?} {profile}");
        }
    }

    #[test]
    fn rules_are_those_of_the_file() {
        let allow =
            "{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[{'names':['read','uname'],'action':'SCMP_ACT_ALLOW'}]}";
        check(allow, 0, &[("read", &[], "allow"), ("open", &[], "errno 1"), ("futex_waitv", &[], "errno 38")]);
        let deny = "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'name':'mkdir','action':'SCMP_ACT_ERRNO',
            'errnoRet':13},{'names':['chmod','no_such_call'],'action':'SCMP_ACT_KILL_PROCESS'}]}";
        check(deny, 0, &[("mkdir", &[], "errno 13"), ("chmod", &[], "kill"), ("futex_waitv", &[], "allow")]);
        let either = "{'defaultAction':'SCMP_ACT_ERRNO','defaultErrnoRet':5,'syscalls':[
            {'names':['personality'],'action':'SCMP_ACT_ALLOW','args':[{'index':0,'value':0,'op':'SCMP_CMP_EQ'},
            {'index':0,'value':8,'op':'SCMP_CMP_EQ'}]}]}";
        check(either, 0, &[("personality", &[8], "allow"), ("personality", &[9], "errno 5")]);
        let masked = "{'defaultAction':'SCMP_ACT_ALLOW','syscalls':[{'names':['clone'],'action':'SCMP_ACT_LOG'},
            {'names':['clone'],'action':'SCMP_ACT_TRAP','args':[{'index':0,'value':240,'valueTwo':16,
            'op':'SCMP_CMP_MASKED_EQ'},{'index':1,'value':1,'op':'SCMP_CMP_GT'}]}]}";
        check(masked, 0, &[("clone", &[0x13, 2], "trap"), ("clone", &[0x13, 1], "log"), ("clone", &[0x23, 2], "log")]);
    }

    #[test]
    fn rules_may_depend_on_the_container() {
        let profile = "{'defaultAction':'SCMP_ACT_ERRNO','syscalls':[
            {'names':['chroot'],'action':'SCMP_ACT_ALLOW','includes':{'caps':['CAP_SYS_CHROOT']}},
            {'names':['mount'],'action':'SCMP_ACT_ALLOW','excludes':{'caps':['CAP_SYS_CHROOT']}},
            {'names':['read'],'action':'SCMP_ACT_ALLOW','includes':{'arches':['amd64','x32']}},
            {'names':['write'],'action':'SCMP_ACT_ALLOW','includes':{'arches':['s390x']}},
            {'names':['ptrace'],'action':'SCMP_ACT_ALLOW','includes':{'minKernel':'4.8'}},
            {'names':['kcmp'],'action':'SCMP_ACT_ALLOW','includes':{'minKernel':'5.11'}},
            {'names':['futex_waitv'],'action':'SCMP_ACT_ALLOW','includes':{}}]}";
        let always = [("read", "allow"), ("write", "errno 1"), ("ptrace", "allow"), ("kcmp", "errno 1")];
        for (capabilities, own) in
            [(CHROOT, [("chroot", "allow"), ("mount", "errno 1")]), (0, [("chroot", "errno 1"), ("mount", "allow")])]
        {
            let calls: Vec<(&str, &[u64], &str)> =
                own.iter().chain(&always).map(|(name, expected)| (*name, &[][..], *expected)).collect();
            check(profile, capabilities, &calls);
        }
    }

    #[test]
    fn profiles_may_be_for_several_architectures() {
        let subject = Subject { architecture: X86_64, capabilities: 0, kernel: (6, 0) };
        let check = |field: &str, expected: &str| {
            let text = format!(
                r#"{{"defaultAction":"SCMP_ACT_ERRNO",{field},"syscalls":[{{"names":["socketcall"],"action":"SCMP_ACT_ALLOW"}}]}}"#
            );
            let filter = parse(text.as_bytes(), &subject).unwrap();
            assert_eq!(outcome(&filter, X86, "socketcall", &[]), expected, "{field}");
        };
        check(r#""architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"]"#, "allow");
        check(r#""architectures":["SCMP_ARCH_X86_64"]"#, "kill");
        check(r#""architectures":null"#, "kill");
        let map =
            r#""archMap":[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86","SCMP_ARCH_X32"]}]"#;
        check(map, "allow");
        check(&map.replace("X86_64", "AARCH64"), "kill");
    }

    #[test]
    fn what_cannot_be_had_is_refused() {
        let subject = Subject { architecture: X86_64, capabilities: 0, kernel: (6, 0) };
        for (text, why) in [
            ("", "EOF"),
            ("{}", "defaultAction"),
            (r#"{"defaultAction":"SCMP_ACT_NOPE"}"#, "unknown action"),
            (r#"{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"/run/x"}"#, "listener"),
            (r#"{"defaultAction":"SCMP_ACT_ALLOW","flags":["NOPE"]}"#, "flag"),
            (r#"{"defaultAction":"SCMP_ACT_ERRNO","defaultErrnoRet":5000}"#, "error number"),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}"#,
                "NOTIFY",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG",
                "args":[{"index":6,"value":1,"op":"SCMP_CMP_EQ"}]}]}"#,
                "argument 6",
            ),
            (
                r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_LOG",
                "args":[{"index":0,"value":1,"op":"IS"}]}]}"#,
                "operator",
            ),
        ] {
            let error = parse(text.as_bytes(), &subject).unwrap_err();
            assert!(error.contains(why), "{text}: {error}");
        }
    }
}
