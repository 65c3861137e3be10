//! Real containers, as root: through the runtime's port only.

mod machine;
#[path = "../../backstay/tests/support/needs.rs"]
mod needs;
mod support;

use std::path::PathBuf;
use std::time::Duration;

use backstay_node::runtime::{
    Capabilities, ContainerKey, Mount, Namespace, Profile, Propagation, Runtime, SecurityContext, StartRequest,
    masked_paths,
};
use machine::{Machine, gone, runtime};
use serde_json::json;

#[tokio::test]
async fn containers_have_what_image_and_pod_say() {
    let Some(mut machine) = Machine::new("containers_have_what_image_and_pod_say").await else { return };
    machine.check("", |_| {}, "from the image", 7).await;
    let env = |request: &mut StartRequest| request.env = vec![("OWN".into(), "pod".into())];
    machine.check("echo $FROM $OWN $$", env, "image pod 1", 0).await;
    machine.check("id -u; id -g; id -G", |it| it.security.user = Some(100), "100\n101\n101 33", 0).await;
    machine.check("ls /etc | head -9; test -e /etc/hidden", |_| {}, "group\npasswd\nresolv.conf", 1).await;
    machine.check("touch /x && ls / | grep x", |_| {}, "x", 0).await;
    machine.check("touch /x", |it| it.security.read_only_root = true, "touch: /x: Read-only file system", 1).await;
    machine.check("readlink /proc/self/cwd", |it| it.working_dir = Some("/made/here".into()), "/made/here", 0).await;
    machine.check("kill -9 $$; kill -TERM 1; sleep 0", |_| {}, "", 0).await;
    let nothing = |it: &mut StartRequest| it.command = vec!["nope".into()];
    machine.check("", nothing, "exec: \"nope\": executable file not found in $PATH", 128).await;
    machine.end().await;
}

#[tokio::test]
async fn rights_are_few() {
    let Some(mut machine) = Machine::new("rights_are_few").await else { return };
    let rights = "grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status";
    let shown =
        |effective: &str, bound: &str, new: u8| format!("CapEff:\t{effective}\nCapBnd:\t{bound}\nNoNewPrivs:\t{new}");
    // As Docker's, without MKNOD.
    let usual = "00000000a00425fb";
    machine.check(rights, |it| it.security.no_new_privileges = true, &shown(usual, usual, 1), 0).await;
    machine.check(rights, |it| it.security.user = Some(5), &shown("0000000000000000", usual, 0), 0).await;
    let drop = |it: &mut StartRequest| {
        it.security.capabilities = Capabilities { add: vec!["NET_ADMIN".into()], drop: vec!["ALL".into()] };
    };
    machine.check(rights, drop, &shown("0000000000001000", "0000000000001000", 0), 0).await;
    machine
        .check(
            "echo 1 > /proc/sys/kernel/panic",
            |_| {},
            "sh: can't create /proc/sys/kernel/panic: Read-only file system",
            1,
        )
        .await;
    let hidden: Vec<String> = masked_paths().iter().map(|path| path.display().to_string()).collect();
    let look = "do test -d $it && ls -A $it; test -f $it && head -c 100 $it; test -c $it && cat $it; done; true";
    machine.check(&format!("for it in {}; {look}", hidden.join(" ")), |_| {}, "", 0).await;
    machine.check("head -c 3 /proc/interrupts | wc -c", |it| it.security.unmasked_proc = true, "3", 0).await;
    let privileged = |it: &mut StartRequest| it.security.privileged = true;
    let all = "echo $(ls -d /proc/1/ns/pid /dev/ptmx /dev/null); test -L /dev/ptmx && test -w /proc/sys/kernel/printk";
    machine.check(all, privileged, "/dev/null /dev/ptmx /proc/1/ns/pid", 0).await;
    machine
        .check(
            "ls /dev",
            |_| {},
            "fd\nfull\nmqueue\nnull\nptmx\npts\nrandom\nshm\nstderr\nstdin\nstdout\ntty\nurandom\nzero",
            0,
        )
        .await;
    machine.end().await;
}

#[tokio::test]
async fn volumes_are_mounted() {
    let Some(mut machine) = Machine::new("volumes_are_mounted").await else { return };
    let volume = machine.dir.path().join("volume");
    std::fs::create_dir(&volume).unwrap();
    std::fs::write(volume.join("f"), "text").unwrap();
    let mount = |target: &str, read_only: bool, source: PathBuf| Mount {
        source,
        target: target.into(),
        read_only,
        ..Mount::default()
    };
    let both = vec![mount("/data", false, volume.clone()), mount("/etc/one", true, volume.join("f"))];
    let script = "exec 2>&1; cat /data/f /etc/one; echo more > /data/g; echo no > /etc/one";
    machine.check(script, |it| it.mounts = both, "texttextsh: can't create /etc/one: Read-only file system", 1).await;
    assert_eq!(std::fs::read_to_string(volume.join("g")).unwrap(), "more\n");
    // The image's `out` leads to `/etc`: the container's, never the host's.
    let inside = vec![mount("/out/from-outside", false, volume.join("f"))];
    machine.check("cat /etc/from-outside", |it| it.mounts = inside, "text", 0).await;
    assert!(!std::path::Path::new("/etc/from-outside").exists());
    // A part of a volume is found inside of it, wherever links lead.
    std::os::unix::fs::symlink("f", volume.join("inner")).unwrap();
    std::os::unix::fs::symlink("/etc", volume.join("outer")).unwrap();
    let part = |path: &str| vec![Mount { sub_path: path.into(), ..mount("/part", false, volume.clone()) }];
    machine.check("cat /part", |it| it.mounts = part("inner"), "text", 0).await;
    let (text, code) = machine.run("ls /part", |it| it.mounts = part("outer/passwd")).await;
    assert_eq!(code, 128, "{text}");
    assert!(text.contains("it leads out of the volume"), "{text}");
    let shared = vec![Mount { propagation: Propagation::Bidirectional, ..mount("/data", false, volume) }];
    let (text, code) = machine.run("true", |it| it.mounts = shared).await;
    assert_eq!(code, 128, "{text}");
    assert!(text.contains("not shared"), "{text}");
    machine.end().await;
}

#[tokio::test]
async fn containers_outlive_the_agent() {
    let Some(mut machine) = Machine::new("containers_outlive_the_agent").await else { return };
    let key = machine.start("echo begun; while :; do sleep 1; done", |_| {}).await;
    let command = ["sh", "-c", "id -u; ls /bin/sh; exit 3"].map(String::from);
    let ran = machine.runtime.exec(&key, &command, Duration::from_secs(20)).await.unwrap();
    assert_eq!((ran.output.as_str(), ran.exit_code), ("0\n/bin/sh\n", Some(3)));
    let late = machine.runtime.exec(&key, &["sleep".into(), "1000".into()], Duration::from_millis(300)).await.unwrap();
    assert_eq!(late.exit_code, None);
    (machine.runtime, machine.changed) = runtime(machine.dir.path());
    assert!(machine.runtime.sandbox(&machine.uid).await.unwrap().is_some());
    let records = machine.runtime.containers(&machine.uid).await.unwrap();
    assert!(records["main"][0].is_running(), "{records:?}");
    machine.runtime.stop(&key, Duration::from_millis(200)).await.unwrap();
    assert_eq!(machine.exit(&key).await.exit_code, 137);
    machine.end().await;
}

#[tokio::test]
async fn too_much_memory_is_the_end() {
    let Some(mut machine) = Machine::new("too_much_memory_is_the_end").await else { return };
    let limit = |it: &mut StartRequest| it.limits.memory_bytes = Some(16 << 20);
    let key = machine.start("tail /dev/zero", limit).await;
    let exit = machine.exit(&key).await;
    assert_eq!((exit.reason.as_str(), exit.exit_code), ("OOMKilled", 137), "{exit:?}");
    // Not whatever was killed has been killed for that.
    let key = machine.start("kill -9 0; sleep 1000", limit).await;
    machine.runtime.stop(&key, Duration::ZERO).await.unwrap();
    let exit = machine.exit(&key).await;
    assert_eq!((exit.reason.as_str(), exit.exit_code), ("Error", 137), "{exit:?}");
    machine.end().await;
}

#[tokio::test]
async fn containers_may_share_their_processes() {
    let Some(mut machine) = Machine::with("containers_may_share_their_processes", Namespace::Pod).await else { return };
    let first = machine.start("sleep 1000", |_| {}).await;
    machine.check("test $$ -gt 2 && cat /proc/1/cmdline | head -c 5", |_| {}, "pause", 0).await;
    machine.check("grep -l sleep /proc/[0-9]*/comm | wc -l", |_| {}, "1", 0).await;
    // Not even with the right to trace others is there a way to the machine through the first process.
    let tracer = |it: &mut StartRequest| it.security.capabilities.add = vec!["SYS_PTRACE".into()];
    let closed = ".\n..\nsh: can't create /proc/1/exe: Read-only file system";
    machine.check("ls -a /proc/1/root/; exec 2>&1; echo x > /proc/1/exe", tracer, closed, 1).await;
    machine.check("kill -KILL 1; kill -TERM 1; kill -0 1", |_| {}, "", 0).await;
    // What a container leaves behind is ended with it, though it is no descendant of its supervisor any more.
    machine.check("setsid sleep 1000 & sh -c 'sleep 1000 &'; echo left", |_| {}, "left", 0).await;
    machine.check("grep -l sleep /proc/[0-9]*/comm | wc -l", |_| {}, "1", 0).await;
    // Orphans are reaped.
    machine.check("sh -c '(sleep 0.1 &) '; sleep 0.3; grep -l 'State:.Z' /proc/[0-9]*/status", |_| {}, "", 1).await;
    let pause = machine.pause();
    (machine.runtime, machine.changed) = runtime(machine.dir.path());
    machine.prepare(Namespace::Pod).await;
    assert_eq!(machine.pause(), pause, "a new agent finds it");
    assert!(machine.runtime.sandbox(&machine.uid).await.unwrap().is_some());
    let command = ["sh", "-c", "cat /proc/1/cmdline | head -c 5"].map(String::from);
    let ran = machine.runtime.exec(&first, &command, Duration::from_secs(20)).await.unwrap();
    assert_eq!((ran.output.as_str(), ran.exit_code), ("pause", Some(0)));
    // With the first process the namespace ends, and all in it.
    pause.kill();
    assert_eq!(machine.exit(&first).await.exit_code, 137);
    gone(pause.clone()).await;
    assert!(machine.runtime.sandbox(&machine.uid).await.unwrap().is_none());
    machine.prepare(Namespace::Pod).await;
    machine.check("cat /proc/1/cmdline | head -c 5", |_| {}, "pause", 0).await;
    let pause = machine.pause();
    machine.end().await;
    assert!(pause.open().is_none());
}

/// They can be written to where nothing else can, and begin with what the image has there.
#[tokio::test]
async fn images_have_volumes() {
    let Some(mut machine) = Machine::new("images_have_volumes").await else { return };
    let closed = |it: &mut StartRequest| it.security.read_only_root = true;
    let script =
        "cat /kept/x; echo more > /kept/x; cat /kept/x; touch /kept/deep/fresh/y && ls /kept/deep/fresh; touch /z";
    let expected = "of the image\nmore\ny\ntouch: /z: Read-only file system";
    machine.check(script, closed, expected, 1).await;
    machine.check("cat /kept/x; ls /kept/deep/fresh", |_| {}, "of the image", 0).await;
    let own = machine.dir.path().join("own");
    std::fs::create_dir(&own).unwrap();
    let mounts = vec![Mount { source: own, target: "/kept".into(), ..Mount::default() }];
    let mounted = |it: &mut StartRequest| it.mounts = mounts;
    machine.check("ls /kept; touch /kept/mine; ls /kept", mounted, "mine", 0).await;
    machine.runtime.end_sandbox(&machine.uid).await.unwrap();
    let left = machine.pod().join("containers/main/2");
    assert!(left.join("spec.json").exists() && !left.join("volumes").exists());
    machine.end().await;
}

#[tokio::test]
async fn calls_of_the_system_are_filtered() {
    let Some(mut machine) = Machine::new("calls_of_the_system_are_filtered").await else { return };
    let profiles = machine.dir.path().join("seccomp");
    std::fs::create_dir(&profiles).unwrap();
    let no_directories = json!({ "defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        { "names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28 } ] });
    std::fs::write(profiles.join("own.json"), no_directories.to_string()).unwrap();
    let of = |profile: Profile| move |it: &mut StartRequest| it.security.seccomp = profile;
    let own = || Profile::Localhost("own.json".into());
    let state = "grep Seccomp: /proc/self/status | tail -c 2";
    machine.check(state, |_| {}, "0", 0).await;
    machine.check(state, of(Profile::Unconfined), "0", 0).await;
    machine.check(state, of(Profile::RuntimeDefault), "2", 0).await;
    let privileged = |it: &mut StartRequest| (it.security.privileged, it.security.seccomp) = (true, own());
    machine.check(state, privileged, "0", 0).await;
    machine.check("unshare -U echo in", |_| {}, "in", 0).await;
    let refused = "unshare: unshare(0x10000000): Operation not permitted";
    machine.check("unshare -U echo in", of(Profile::RuntimeDefault), refused, 1).await;
    let full = "mkdir: can't create directory '/tmp/x': No space left on device";
    machine.check("mkdir /tmp/x", of(own()), full, 1).await;
    // The filter is loaded at another moment where no rights can be gained later.
    let bound = |it: &mut StartRequest| {
        (it.security.seccomp, it.security.no_new_privileges, it.security.user) = (own(), true, Some(5));
    };
    machine.check("mkdir /tmp/x", bound, full, 1).await;
    // Commands beside it are under the same.
    let key = machine.start("echo begun; sleep 1000", bound).await;
    let command = ["mkdir", "/tmp/x"].map(String::from);
    let ran = machine.runtime.exec(&key, &command, Duration::from_secs(20)).await.unwrap();
    assert_eq!((ran.output.trim(), ran.exit_code), (full, Some(1)));
    machine.runtime.stop(&key, Duration::ZERO).await.unwrap();
    let request = StartRequest {
        image_id: machine.image_id.clone(),
        security: SecurityContext { seccomp: Profile::Localhost("none.json".into()), ..SecurityContext::default() },
        ..StartRequest::default()
    };
    let key = ContainerKey { attempt: 99, ..key };
    let failure = machine.runtime.start(&key, request.clone()).await.unwrap_err();
    let expected = format!("{}: No such file or directory", profiles.join("none.json").display());
    assert_eq!(failure.reason, "CreateContainerError");
    assert!(failure.message.contains(&expected), "{}", failure.message);
    // Those of AppArmor are never applied, which must not be passed over in silence.
    for apparmor in [Profile::RuntimeDefault, Profile::Localhost("mine".into())] {
        let security = SecurityContext { apparmor, ..SecurityContext::default() };
        let failure = machine.runtime.start(&key, StartRequest { security, ..request.clone() }).await.unwrap_err();
        assert_eq!(failure.reason, "CreateContainerError");
        assert!(failure.message.contains("applies no AppArmor profile"), "{}", failure.message);
    }
    let unconfined = |it: &mut StartRequest| it.security.apparmor = Profile::Unconfined;
    machine.check("echo free", unconfined, "free", 0).await;
    machine.end().await;
}
