//! Agent and containerd are killed: pods notice neither, and no line of theirs is lost. Logs are turned over.

use serde_json::json;

use crate::daemon::IMAGE;
use crate::support::wait_for;
use crate::world::{World, is_ready};

#[test]
fn nothing_is_restarted_and_no_line_is_lost() {
    let Some(mut world) = World::start("nothing_is_restarted_and_no_line_is_lost") else { return };
    let script = "i=0; while :; do i=$((i+1)); echo line $i; sleep 0.05; done";
    world.apply(&json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "writer" },
        "spec": { "terminationGracePeriodSeconds": 0, "containers": [
            { "name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", script] },
            // Ends while nobody looks.
            { "name": "brief", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c",
                "while [ ! -e /tmp/go ]; do sleep 0.1; done; exit 7"] }] } }));
    let before = world.ready("writer");
    let state = |pod: &serde_json::Value, index: usize| pod["status"]["containerStatuses"][index].clone();
    let index = |pod: &serde_json::Value, name: &str| {
        let all = pod["status"]["containerStatuses"].as_array().unwrap();
        all.iter().position(|it| it["name"] == name).unwrap()
    };
    let (main, brief) = (index(&before, "main"), index(&before, "brief"));

    world.kill_agent();
    let log = world.pod_dir(&before).join("logs/main/0.log");
    let lines = |log: &std::path::Path| std::fs::read_to_string(log).unwrap_or_default().lines().count();
    let so_far = lines(&log);
    wait_for("it writes on without an agent", || (lines(&log) > so_far + 5).then_some(()));
    world.start_agent(&[]);
    world.wait_ready();
    let seen = world.pod_that("writer", "readiness", is_ready);
    assert_eq!(state(&seen, main), state(&before, main));

    world.exec_in("writer", "brief", "(sleep 1; touch /tmp/go) >/dev/null 2>&1 &");
    let until_crash = lines(&log);
    world.daemon.kill();
    wait_for("the node says that its runtime is gone", || {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].message}";
        world.backstay(&["get", "node", "n", "-o", path]).stdout.contains("container runtime is down").then_some(())
    });
    world.daemon.start_again();
    world.wait_ready();
    let seen = world.pod_that("writer", "the end of the other container", |pod| {
        state(pod, brief)["lastState"]["terminated"]["exitCode"] == 7
            || state(pod, brief)["state"]["terminated"]["exitCode"] == 7
    });
    assert_eq!(state(&seen, main), state(&before, main));
    let so_far = lines(&log);
    wait_for("it writes on after the crash", || (lines(&log) > so_far + 5).then_some(()));
    let text = std::fs::read_to_string(&log).unwrap();
    let number = |line: &str| line.rsplit_once(" stdout F line ").and_then(|(_, number)| number.parse::<usize>().ok());
    let numbers: Vec<usize> = text.lines().filter_map(number).collect();
    assert_eq!(numbers.len(), text.lines().count(), "{text}");
    assert!(numbers[..until_crash].iter().copied().eq(1..=until_crash), "{text}");
    // What containerd itself had read and not yet written when it was killed is gone: a line at most.
    let gaps: Vec<usize> = numbers.windows(2).map(|pair| pair[1] - pair[0] - 1).filter(|gap| *gap > 0).collect();
    assert!(gaps.is_empty() || gaps == [1], "{text}");
    assert!(world.backstay(&["logs", "writer", "-c", "main", "--tail=1"]).ok().starts_with("line "));
    assert_eq!(world.exec("writer", "echo reached"), "reached\n");
}

#[test]
fn large_logs_are_turned_over() {
    let Some(world) = World::start("large_logs_are_turned_over") else { return };
    // A kubelet's 10 MiB, as fast as it goes.
    const LINE: &str = "0123456789012345678901234567890123456789012345678901234567890123456789";
    let script = format!(
        "busybox yes {LINE} | head -n 140000; while [ ! -e /tmp/go ]; do sleep 0.1; done; echo after; sleep 1000"
    );
    world.apply(&json!({ "apiVersion": "v1", "kind": "Pod", "metadata": { "name": "loud" },
        "spec": { "terminationGracePeriodSeconds": 0, "containers": [
            { "name": "main", "image": IMAGE, "imagePullPolicy": "Never", "command": ["sh", "-c", script] }] } }));
    let pod = world.ready("loud");
    let log = world.pod_dir(&pod).join("logs/main/0.log");
    let older = log.with_extension("log.1");
    wait_for("the log is turned over", || older.exists().then_some(()));
    world.exec("loud", "touch /tmp/go");
    world.log_with("loud", "main", "after");
    let text = [&older, &log].map(|file| std::fs::read_to_string(file).unwrap()).concat();
    // A line may come in parts (`P`), wherever the runtime has read so far.
    let parts = text.lines().filter_map(|line| line.split_once(" stdout ")?.1.split_once(' '));
    let said: String =
        parts.map(|(flag, part)| if flag == "P" { part.to_string() } else { format!("{part}\n") }).collect();
    let (lines, others): (Vec<&str>, Vec<&str>) = said.lines().partition(|line| *line == LINE);
    assert_eq!((lines.len(), others), (140_000, vec!["after"]));
}
