//! A DaemonSet whose update cannot work, and its undo; what kubectl reaches of its pod.

use serde_json::json;

use crate::daemon::IMAGE;
use crate::support::wait_for;
use crate::world::World;

#[test]
fn an_image_that_does_not_exist_and_the_way_back() {
    let Some(world) = World::start("an_image_that_does_not_exist_and_the_way_back") else { return };
    let labels = json!({ "app": "web" });
    world.apply(&json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": { "name": "web" },
        "spec": {
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": {
                    "terminationGracePeriodSeconds": 1,
                    "containers": [{
                        "name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent",
                        "command": ["/bin/sh", "-c", "echo begun; echo served > /tmp/index.html; \
                            exec busybox httpd -f -p 8080 -h /tmp"],
                        "ports": [{ "containerPort": 8080, "hostPort": 18080 }],
                    }],
                },
            },
        },
    }));
    world.backstay(&["rollout", "status", "ds/web", "--timeout", "60s"]).ok();
    let pod = world.only_pod("app=web");
    let seen = world.ready(&pod);
    let status = &seen["status"]["containerStatuses"][0];
    assert!(status["containerID"].as_str().unwrap().starts_with("containerd://"), "{status}");
    assert!(status["imageID"].as_str().unwrap().contains("sha256:"), "{status}");
    assert!(seen["status"]["podIP"].as_str().unwrap().starts_with("10.213.0."), "{}", seen["status"]);
    assert_eq!(seen["status"]["hostIP"], "10.99.0.2");
    for event in ["Pulled Container image \"localhost/busybox:1\" already present", "Created", "Started"] {
        world.wait_event(&pod, event);
    }
    reach(&world, &pod);

    // The update cannot be pulled: nobody listens at this registry.
    world.backstay(&["set", "image", "ds/web", "main=127.0.0.1:1/web:2"]).ok();
    let broken = wait_for("the next pod", || Some(world.only_pod("app=web")).filter(|name| *name != pod));
    let reason = |reason: &str| {
        wait_for(reason, || {
            let pods = world.kubectl(&["get", "pods"]).ok();
            pods.lines().find(|line| line.starts_with(&broken) && line.contains(reason)).map(str::to_string)
        })
    };
    reason("ErrImagePull");
    let line = reason("ImagePullBackOff");
    assert!(line.contains("0/1"), "{line}");
    world.wait_event(&broken, "Failed Failed to pull image \"127.0.0.1:1/web:2\": ");
    world.wait_event(&broken, "Failed Error: ErrImagePull");
    world.wait_event(&broken, "Failed Error: ImagePullBackOff");
    world.wait_event(&broken, "BackOff Back-off pulling image \"127.0.0.1:1/web:2\"");

    world.backstay(&["rollout", "undo", "ds/web"]).ok();
    world.backstay(&["rollout", "status", "ds/web", "--timeout", "60s"]).ok();
    assert_eq!(world.ready(&world.only_pod("app=web"))["spec"]["containers"][0]["image"], IMAGE);
}

/// By logs, commands, files and connections; from outside by the port of its host.
fn reach(world: &World, pod: &str) {
    assert_eq!(world.log_with(pod, "main", "begun"), "begun\n");
    assert_eq!(world.kubectl(&["exec", pod, "--", "cat", "/tmp/index.html"]).ok(), "served\n");
    assert_eq!(world.kubectl(&["exec", pod, "--", "sh", "-c", "exit 3"]).code, Some(3));
    let file = world.path("sent");
    std::fs::write(&file, "sent").unwrap();
    // The image has no tar of its own name; busybox has one.
    let (here, there) = (file.to_str().unwrap(), format!("{pod}:/tmp/sent"));
    world.backstay(&["exec", pod, "--", "busybox", "ln", "-s", "/bin/busybox", "/bin/tar"]).ok();
    world.kubectl(&["cp", here, &there]).ok();
    assert_eq!(world.exec(pod, "cat /tmp/sent"), "sent");
    let back = world.path("back");
    world.kubectl(&["cp", &there, back.to_str().unwrap()]).ok();
    assert_eq!(std::fs::read_to_string(&back).unwrap(), "sent");

    let mut outside = world.command("busybox");
    outside.args(["wget", "-q", "-O", "-", "http://10.99.0.2:18080/index.html"]);
    wait_for("the host's port", || (crate::support::run(&mut outside).stdout == "served\n").then_some(()));

    let mut forward = world.command(env!("CARGO_BIN_EXE_backstay"));
    forward.args(["port-forward", &format!("pod/{pod}"), "28080:8080"]).stdout(std::process::Stdio::null());
    let mut forward = forward.spawn().unwrap();
    let mut through = world.command("busybox");
    through.args(["wget", "-q", "-O", "-", "http://127.0.0.1:28080/index.html"]);
    wait_for("the forwarded port", || (crate::support::run(&mut through).stdout == "served\n").then_some(()));
    forward.kill().unwrap();
    forward.wait().unwrap();
}

#[test]
fn images_that_cannot_be_had() {
    let Some(world) = World::start("images_that_cannot_be_had") else { return };
    let check = |name: &str, image: &str, policy: &str, reason: &str| {
        world.apply(&json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": { "name": name },
            "spec": { "terminationGracePeriodSeconds": 0, "containers": [
                { "name": "main", "image": image, "imagePullPolicy": policy, "command": ["sleep", "1000"] }] },
        }));
        world.pod_that(name, reason, |pod| {
            pod["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == reason
        });
    };
    check("name", "Not/A:Name", "Always", "InvalidImageName");
    check("never", "localhost/none:1", "Never", "ErrImageNeverPull");
    check("always", "127.0.0.1:1/none:1", "Always", "ErrImagePull");
    check("always", "127.0.0.1:1/none:1", "Always", "ImagePullBackOff");
}
