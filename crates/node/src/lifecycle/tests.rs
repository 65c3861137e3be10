//! Rows: a pod, what happens to it step by step, and what the planner makes of it.
//!
//! Steps: `exit NAME CODE`, `+10s` (time passes), `-10s` (the clock is set back), `pass|fail NAME startup|readiness|liveness`, `delete GRACE`,
//! `hooked NAME` (its `preStop` hook has run before its turn), `off NAME CODE` (it has exited, and the sandbox is lost), `error NAME REASON`, `pull NAME` and `pulled NAME` (its image is being fetched), `broken WHY` and `mended` (preparing fails, or no more)`, `phase NAME`. After each, the world obeys the plan (preparing and starting work at once,
//! stopping and probing do not) and writes what it was told and what the status says.

use std::time::Duration;

use expect_test::{Expect, expect};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::observed::*;
use super::*;
use backstay_api::meta;

struct World {
    object: Value,
    seen: Observed,
    now: Timestamp,
    /// Preparing fails with this.
    broken: Option<String>,
    out: String,
}

fn check(spec: Value, steps: &str, expected: Expect) {
    let mut world = World::new(spec);
    for step in steps.split(';').map(str::trim).filter(|step| !step.is_empty()) {
        world.step(step);
        world.settle(step);
    }
    expected.assert_eq(&world.out);
}

impl World {
    fn new(mut spec: Value) -> Self {
        for field in ["containers", "initContainers", "ephemeralContainers"] {
            for container in spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
                container["image"] = "app:v1".into();
            }
        }
        let metadata = json!({ "name": "p", "namespace": "default", "uid": "u1", "generation": 1 });
        let object =
            json!({ "metadata": metadata, "spec": spec, "status": { "phase": "Pending", "qosClass": "BestEffort" } });
        Self {
            object,
            seen: Observed::default(),
            now: "2026-01-01T00:00:00Z".parse().unwrap(),
            broken: None,
            out: String::new(),
        }
    }

    fn step(&mut self, step: &str) {
        let words: Vec<&str> = step.split_whitespace().collect();
        match *words.as_slice() {
            ["exit", name, code] => self.exit(name, code.parse().unwrap()),
            ["pass", name, kind] => self.probe(name, kind, true),
            ["fail", name, kind] => self.probe(name, kind, false),
            ["delete", grace] => {
                self.object["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z".into();
                self.object["metadata"]["deletionGracePeriodSeconds"] = grace.parse::<i64>().unwrap().into();
            }
            ["error", name, reason] => {
                let (reason, at) = (reason.to_string(), self.now);
                let failures = self.seen.start_errors.get(name).map_or(0, |error| error.failures) + 1;
                let error = StartError { reason, message: "why".into(), at, failures };
                self.seen.start_errors.insert(name.into(), error);
            }
            ["start"] => {}
            ["hooked", name] => {
                let id = self.seen.latest(name).unwrap().id.clone();
                self.seen.told.insert(id, PreStop::Done);
            }
            ["pull", name] => drop(self.seen.pulling.insert(name.into())),
            ["pulled", name] => drop(self.seen.pulling.remove(name)),
            ["broken", why] => self.broken = Some(why.to_string()),
            ["mended"] => self.broken = None,
            ["off", name, code] => {
                self.exit(name, code.parse().unwrap());
                self.seen.sandbox = None;
            }
            ["phase", phase] => self.object["status"]["phase"] = phase.into(),
            [time] if time.starts_with('+') => {
                self.now += Duration::from_secs(time.trim_matches(['+', 's']).parse().unwrap());
            }
            [time] if time.starts_with('-') => {
                self.now -= Duration::from_secs(time.trim_matches(['-', 's']).parse().unwrap());
            }
            ["debug", name] => {
                self.object["spec"]["ephemeralContainers"] = json!([{ "name": name, "image": "app:v1" }])
            }
            _ => panic!("unknown step {step}"),
        }
    }

    fn exit(&mut self, name: &str, exit_code: i32) {
        let record = self.seen.containers.get_mut(name).unwrap().last_mut().unwrap();
        let reason = if exit_code == 0 { "Completed" } else { "Error" }.to_string();
        let started_at = record.started_at().unwrap();
        let exit = Exit { started_at, finished_at: self.now, exit_code, reason, message: String::new() };
        record.state = ContainerState::Exited(exit);
        self.seen.stopping.remove(&record.id);
    }

    fn probe(&mut self, name: &str, kind: &str, success: bool) {
        let kind = ProbeKind::ALL.into_iter().find(|it| it.title().to_lowercase() == kind).unwrap();
        let pod = Pod::read(&self.object);
        let id = self.seen.latest(name).unwrap().id.clone();
        let state = self.seen.probes.entry((name.into(), kind)).or_default();
        if state.container_id != id {
            *state = ProbeState::new(&id);
        }
        state.record(kind.of(pod.container(name).unwrap()).unwrap(), success, self.now);
    }

    fn settle(&mut self, step: &str) {
        self.out += &format!("{step}\n");
        for _ in 0..10 {
            let plan = plan(&Pod::read(&self.object), &self.seen, self.now);
            self.object["status"] = plan.status.clone();
            let obeyed = plan.actions.iter().filter(|action| self.obey(action)).count();
            if obeyed == 0 {
                self.out += &format!("  {}\n", summary(&plan, self.now));
                return;
            }
        }
        panic!("the plan does not settle:\n{}", self.out);
    }

    /// Returns whether this changed the world.
    fn obey(&mut self, action: &Action) -> bool {
        let text = match action {
            Action::PrepareSandbox if self.broken.is_some() => {
                let failures = self.seen.setup_error.as_ref().map_or(0, |error| error.failures) + 1;
                let message = self.broken.clone().unwrap();
                self.seen.setup_error = Some(SetupError { message, at: self.now, failures });
                "cannot prepare".to_string()
            }
            Action::PrepareSandbox => {
                self.seen.sandbox = Some(Sandbox { ips: vec!["10.0.0.1".into()], host_ips: Vec::new() });
                "prepare".to_string()
            }
            Action::StartContainer { container, attempt, backoff_seconds } => {
                let state = ContainerState::Running { started_at: self.now };
                let (id, image_id) = (format!("test://{container}-{attempt}"), "img".to_string());
                let record =
                    ContainerRecord { id, image_id, attempt: *attempt, backoff_seconds: *backoff_seconds, state };
                self.seen.start_errors.remove(container);
                self.seen.containers.entry(container.clone()).or_default().push(record);
                format!("start {container} #{attempt}")
            }
            Action::PreStop { container, id, deadline } => {
                self.seen.termination_began.get_or_insert(self.now);
                let hook = Pod::read(&self.object).container(container).unwrap().pre_stop.is_some();
                self.seen.told.insert(id.clone(), if hook { PreStop::Runs } else { PreStop::Done });
                format!("tell {container} within {}", deadline.duration_since(self.now).as_secs())
            }
            Action::StopContainer { container, id, deadline, why } => {
                self.seen.termination_began.get_or_insert(self.now);
                self.seen.stopping.insert(id.clone(), *deadline);
                format!("stop {container} within {} ({why:?})", deadline.duration_since(self.now).as_secs())
            }
            Action::RemoveSandbox => {
                self.seen = Observed::default();
                "remove".to_string()
            }
            Action::Probe { container, kind, .. } => {
                self.out += &format!("  probe {container} {}\n", kind.title());
                return false;
            }
            Action::DeletePod { .. } => {
                self.out += "  delete object\n";
                return false;
            }
        };
        self.out += &format!("  {text}\n");
        true
    }
}

fn summary(plan: &Plan, now: Timestamp) -> String {
    let status = &plan.status;
    let mut words = vec![meta::str_at(status, &["phase"]).to_string()];
    for condition in meta::list_at(status, &["conditions"]) {
        if meta::str_at(condition, &["status"]) == "False" {
            words.push(format!("!{} {}", meta::str_at(condition, &["type"]), meta::str_at(condition, &["reason"])));
        }
    }
    for field in ["initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses"] {
        words.extend(meta::list_at(status, &[field]).iter().map(container));
    }
    if let Some(at) = plan.recheck_at {
        words.push(format!("recheck in {}s", at.duration_since(now).as_secs()));
    }
    words.join("; ")
}

fn container(status: &Value) -> String {
    let state = |field: &str| {
        let state = status[field].as_object().unwrap();
        let (kind, detail) = state.iter().next()?;
        let (reason, message) = (meta::str_at(detail, &["reason"]), meta::str_at(detail, &["message"]));
        let code = meta::int_at(detail, &["exitCode"]).map(|code| format!(" {code}")).unwrap_or_default();
        let message = if message.is_empty() { String::new() } else { format!(" ({message})") };
        Some(format!("{kind} {reason}{code}{message}").trim().to_string())
    };
    let mut text = format!("{}: {}", meta::str_at(status, &["name"]), state("state").unwrap());
    if let Some(last) = state("lastState") {
        text += &format!(", last {last}");
    }
    for flag in ["started", "ready"] {
        if status[flag] == json!(true) {
            text += &format!(", {flag}");
        }
    }
    match status["restartCount"].as_i64().unwrap() {
        0 => text,
        count => format!("{text}, restarts {count}"),
    }
}

fn pod(restart_policy: &str) -> Value {
    json!({ "restartPolicy": restart_policy, "containers": [{ "name": "main" }] })
}

fn probed(kind: &str) -> Value {
    let probe = json!({ "tcpSocket": { "port": 80 }, "initialDelaySeconds": 5, "failureThreshold": 2 });
    json!({ "restartPolicy": "Always", "containers": [{ "name": "main", kind: probe }] })
}

#[test]
fn runs_and_is_ready_at_once_without_probes() {
    check(
        pod("Always"),
        "start",
        expect![[r#"
        start
          prepare
          start main #0
          Running; main: running, started, ready
    "#]],
    );
}

/// Nobody waits for the time before to come again.
#[test]
fn a_clock_that_is_set_back() {
    let mut probed = pod("Always");
    probed["containers"][0]["readinessProbe"] = json!({ "exec": { "command": ["x"] }, "periodSeconds": 10 });
    check(
        probed,
        "start; pass main readiness; -600s; pass main readiness; +10s",
        expect![[r#"
            start
              prepare
              start main #0
              probe main Readiness
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: running, started
            pass main readiness
              Running; main: running, started, ready; recheck in 10s
            -600s
              probe main Readiness
              Running; main: running, started, ready
            pass main readiness
              Running; main: running, started, ready; recheck in 10s
            +10s
              probe main Readiness
              Running; main: running, started, ready
        "#]],
    );
    check(
        pod("Always"),
        "start; exit main 3; exit main 3; -600s; exit main 3; +20s",
        expect![[r#"
            start
              prepare
              start main #0
              Running; main: running, started, ready
            exit main 3
              start main #1
              Running; main: running, last terminated Error 3, started, ready, restarts 1
            exit main 3
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting CrashLoopBackOff (back-off 10s restarting failed container=main pod=p_default(u1)), last terminated Error 3, restarts 1; recheck in 10s
            -600s
              start main #2
              Running; main: running, last terminated Error 3, started, ready, restarts 2
            exit main 3
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting CrashLoopBackOff (back-off 20s restarting failed container=main pod=p_default(u1)), last terminated Error 3, restarts 2; recheck in 20s
            +20s
              start main #3
              Running; main: running, last terminated Error 3, started, ready, restarts 3
        "#]],
    );
    check(
        pod("Always"),
        "error main CreateContainerError; -600s",
        expect![[r#"
            error main CreateContainerError
              prepare
              Pending; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting CreateContainerError (why); recheck in 10s
            -600s
              start main #0
              Running; main: running, started, ready
        "#]],
    );
    check(
        pod("Always"),
        "broken why; -600s; mended; +1s",
        expect![[r#"
            broken why
              cannot prepare
              Pending; !PodReadyToStartContainers ; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ContainerCreating; recheck in 0s
            -600s
              cannot prepare
              Pending; !PodReadyToStartContainers ; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ContainerCreating; recheck in 1s
            mended
              Pending; !PodReadyToStartContainers ; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ContainerCreating; recheck in 1s
            +1s
              prepare
              start main #0
              Running; main: running, started, ready
        "#]],
    );
}

#[test]
fn restarts_at_once_and_then_backs_off() {
    check(
        pod("Always"),
        "start; exit main 3; exit main 3; +9s; +1s; +1s; exit main 137; +20s; +601s; exit main 0",
        expect![[r#"
        start
          prepare
          start main #0
          Running; main: running, started, ready
        exit main 3
          start main #1
          Running; main: running, last terminated Error 3, started, ready, restarts 1
        exit main 3
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting CrashLoopBackOff (back-off 10s restarting failed container=main pod=p_default(u1)), last terminated Error 3, restarts 1; recheck in 10s
        +9s
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting CrashLoopBackOff (back-off 10s restarting failed container=main pod=p_default(u1)), last terminated Error 3, restarts 1; recheck in 1s
        +1s
          start main #2
          Running; main: running, last terminated Error 3, started, ready, restarts 2
        +1s
          Running; main: running, last terminated Error 3, started, ready, restarts 2
        exit main 137
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting CrashLoopBackOff (back-off 20s restarting failed container=main pod=p_default(u1)), last terminated Error 137, restarts 2; recheck in 20s
        +20s
          start main #3
          Running; main: running, last terminated Error 137, started, ready, restarts 3
        +601s
          Running; main: running, last terminated Error 137, started, ready, restarts 3
        exit main 0
          start main #4
          Running; main: running, last terminated Completed 0, started, ready, restarts 4
    "#]],
    );
}

#[test]
fn on_failure_ends_with_success() {
    check(
        pod("OnFailure"),
        "start; exit main 1; exit main 0",
        expect![[r#"
        start
          prepare
          start main #0
          Running; main: running, started, ready
        exit main 1
          start main #1
          Running; main: running, last terminated Error 1, started, ready, restarts 1
        exit main 0
          Succeeded; !Ready PodCompleted; !ContainersReady PodCompleted; main: terminated Completed 0, last terminated Error 1, restarts 1
    "#]],
    );
}

#[test]
fn never_ends_as_its_exit_code_says() {
    check(
        pod("Never"),
        "start; exit main 2; delete 0",
        expect![[r#"
            start
              prepare
              start main #0
              Running; main: running, started, ready
            exit main 2
              Failed; !Ready PodFailed; !ContainersReady PodFailed; main: terminated Error 2
            delete 0
              remove
              delete object
              Failed; !Ready PodFailed; !ContainersReady PodFailed; main: terminated Error 2
        "#]],
    );
}

/// A container's own word comes before the pod's, and its rules before both.
#[test]
fn containers_have_restart_policies_of_their_own() {
    let spec = |policy: &str, container: Value| {
        let mut container = container;
        container["name"] = "own".into();
        json!({ "restartPolicy": policy, "containers": [container] })
    };
    let rules = |operator: &str| {
        json!({ "restartPolicy": "Never", "restartPolicyRules": [
            { "action": "Restart", "exitCodes": { "operator": operator, "values": [42, 43] } }] })
    };
    check(
        spec("Never", json!({ "restartPolicy": "OnFailure" })),
        "start; exit own 1; exit own 0",
        expect![[r#"
        start
          prepare
          start own #0
          Running; own: running, started, ready
        exit own 1
          start own #1
          Running; own: running, last terminated Error 1, started, ready, restarts 1
        exit own 0
          Succeeded; !Ready PodCompleted; !ContainersReady PodCompleted; own: terminated Completed 0, last terminated Error 1, restarts 1
    "#]],
    );
    check(
        spec("Always", json!({ "restartPolicy": "Never" })),
        "start; exit own 1",
        expect![[r#"
        start
          prepare
          start own #0
          Running; own: running, started, ready
        exit own 1
          Failed; !Ready PodFailed; !ContainersReady PodFailed; own: terminated Error 1
    "#]],
    );
    check(
        spec("Always", rules("In")),
        "start; exit own 43; exit own 1",
        expect![[r#"
        start
          prepare
          start own #0
          Running; own: running, started, ready
        exit own 43
          start own #1
          Running; own: running, last terminated Error 43, started, ready, restarts 1
        exit own 1
          Failed; !Ready PodFailed; !ContainersReady PodFailed; own: terminated Error 1, last terminated Error 43, restarts 1
    "#]],
    );
    check(
        spec("Always", rules("NotIn")),
        "start; exit own 1; exit own 42",
        expect![[r#"
        start
          prepare
          start own #0
          Running; own: running, started, ready
        exit own 1
          start own #1
          Running; own: running, last terminated Error 1, started, ready, restarts 1
        exit own 42
          Failed; !Ready PodFailed; !ContainersReady PodFailed; own: terminated Error 42, last terminated Error 1, restarts 1
    "#]],
    );
    let mut init = pod("Always");
    init["initContainers"] = json!([{ "name": "init", "restartPolicy": "Never", "restartPolicyRules": [
        { "action": "Restart", "exitCodes": { "operator": "In", "values": [7] } }] }]);
    check(
        init,
        "start; exit init 7; exit init 1",
        expect![[r#"
        start
          prepare
          start init #0
          Pending; !Initialized ContainersNotInitialized; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; init: running, started; main: waiting PodInitializing
        exit init 7
          start init #1
          Pending; !Initialized ContainersNotInitialized; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; init: running, last terminated Error 7, started, restarts 1; main: waiting PodInitializing
        exit init 1
          Failed; !Initialized ContainersNotInitialized; !Ready PodFailed; !ContainersReady PodFailed; init: terminated Error 1, last terminated Error 7, restarts 1; main: waiting PodInitializing
    "#]],
    );
}

/// `kubectl debug`.
#[test]
fn ephemeral_containers_are_started_once() {
    check(
        pod("Always"),
        "start; debug d; exit d 1; exit main 1; delete 5; exit main 0",
        expect![[r#"
        start
          prepare
          start main #0
          Running; main: running, started, ready
        debug d
          start d #0
          Running; main: running, started, ready; d: running
        exit d 1
          Running; main: running, started, ready; d: terminated Error 1
        exit main 1
          start main #1
          Running; main: running, last terminated Error 1, started, ready, restarts 1; d: terminated Error 1
        delete 5
          stop main within 5 (Deleted)
          Running; main: running, last terminated Error 1, started, ready, restarts 1; d: terminated Error 1
        exit main 0
          remove
          delete object
          Succeeded; !Ready PodCompleted; !ContainersReady PodCompleted; main: terminated Completed 0, last terminated Error 1, restarts 1; d: terminated Error 1
    "#]],
    );
    // Also where nothing else gets on.
    check(
        pod("Always"),
        "error main ErrImagePull; debug d; delete 5; exit d 0",
        expect![[r#"
        error main ErrImagePull
          prepare
          Pending; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ErrImagePull (why); recheck in 2s
        debug d
          start d #0
          Pending; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ErrImagePull (why); d: running; recheck in 2s
        delete 5
          stop d within 5 (Deleted)
          Pending; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ErrImagePull (why); d: running
        exit d 0
          remove
          delete object
          Failed; !Ready PodFailed; !ContainersReady PodFailed; main: waiting ErrImagePull (why); d: terminated Completed 0
    "#]],
    );
    let mut stuck = pod("Never");
    stuck["initContainers"] = json!([{ "name": "init" }]);
    check(
        stuck,
        "start; debug d; exit init 1; exit d 0",
        expect![[r#"
        start
          prepare
          start init #0
          Pending; !Initialized ContainersNotInitialized; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; init: running, started; main: waiting PodInitializing
        debug d
          start d #0
          Pending; !Initialized ContainersNotInitialized; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; init: running, started; main: waiting PodInitializing; d: running
        exit init 1
          stop d within 30 (PodFinished)
          Pending; !Initialized ContainersNotInitialized; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; init: terminated Error 1; main: waiting PodInitializing; d: running
        exit d 0
          Failed; !Initialized ContainersNotInitialized; !Ready PodFailed; !ContainersReady PodFailed; init: terminated Error 1; main: waiting PodInitializing; d: terminated Completed 0
    "#]],
    );
}

/// Who ships the last words of the others still hears that it is to end.
#[test]
fn a_sidecar_has_a_moment_when_the_grace_is_used_up() {
    let spec = json!({ "restartPolicy": "Always", "containers": [{ "name": "main" }],
        "initContainers": [{ "name": "side", "restartPolicy": "Always" }] });
    check(
        spec.clone(),
        "start; delete 5; +5s; exit main 137; +1s; exit side 0",
        expect![[r#"
            start
              prepare
              start side #0
              start main #0
              Running; side: running, started, ready; main: running, started, ready
            delete 5
              stop main within 5 (Deleted)
              tell side within 5
              Running; side: running, started, ready; main: running, started, ready; recheck in 5s
            +5s
              stop side within 2 (Deleted)
              Running; side: running, started, ready; main: running, started, ready
            exit main 137
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; side: running, started, ready; main: terminated Error 137
            +1s
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; side: running, started, ready; main: terminated Error 137
            exit side 0
              remove
              delete object
              Failed; !Ready PodFailed; !ContainersReady PodFailed; side: terminated Completed 0; main: terminated Error 137
        "#]],
    );
    check(
        spec,
        "start; delete 0; exit main 137; exit side 137",
        expect![[r#"
            start
              prepare
              start side #0
              start main #0
              Running; side: running, started, ready; main: running, started, ready
            delete 0
              stop main within 0 (Deleted)
              stop side within 0 (Deleted)
              Running; side: running, started, ready; main: running, started, ready
            exit main 137
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; side: running, started, ready; main: terminated Error 137
            exit side 137
              remove
              delete object
              Failed; !Ready PodFailed; !ContainersReady PodFailed; side: terminated Error 137; main: terminated Error 137
        "#]],
    );
}

/// Kubernetes knows no longest one, and who means "never" writes the largest number there is.
#[test]
fn a_grace_may_be_beyond_all_time() {
    let endless = i64::MAX;
    let probe =
        json!({ "exec": { "command": ["x"] }, "failureThreshold": 1, "terminationGracePeriodSeconds": endless });
    let spec = json!({ "restartPolicy": "Always", "terminationGracePeriodSeconds": endless,
        "containers": [{ "name": "main", "livenessProbe": probe }] });
    check(
        spec,
        &format!("start; fail main liveness; delete {endless}; delete 0; exit main 137"),
        expect![[r#"
        start
          prepare
          start main #0
          probe main Liveness
          Running; main: running, started, ready
        fail main liveness
          stop main within 251634981600 (Unhealthy(Liveness))
          Running; main: running, started, ready
        delete 9223372036854775807
          Running; main: running, started, ready
        delete 0
          stop main within 0 (Deleted)
          Running; main: running, started, ready
        exit main 137
          remove
          delete object
          Failed; !Ready PodFailed; !ContainersReady PodFailed; main: terminated Error 137
    "#]],
    );
}

#[test]
fn no_grace_grows_when_the_clock_is_set_back() {
    let spec = json!({ "restartPolicy": "Always", "containers": [{ "name": "main" }],
        "initContainers": [{ "name": "side", "restartPolicy": "Always" }] });
    check(
        spec,
        "start; delete 5; -3600s; exit main 137",
        expect![[r#"
        start
          prepare
          start side #0
          start main #0
          Running; side: running, started, ready; main: running, started, ready
        delete 5
          stop main within 5 (Deleted)
          tell side within 5
          Running; side: running, started, ready; main: running, started, ready; recheck in 5s
        -3600s
          stop main within 5 (Deleted)
          Running; side: running, started, ready; main: running, started, ready; recheck in 5s
        exit main 137
          stop side within 5 (Deleted)
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; side: running, started, ready; main: terminated Error 137
    "#]],
    );
}

#[test]
fn a_sandbox_is_made_again_only_for_what_is_to_run() {
    check(
        pod("OnFailure"),
        "start; off main 1; off main 0",
        expect![[r#"
        start
          prepare
          start main #0
          Running; main: running, started, ready
        off main 1
          prepare
          start main #1
          Running; main: running, last terminated Error 1, started, ready, restarts 1
        off main 0
          Succeeded; !PodReadyToStartContainers ; !Ready PodCompleted; !ContainersReady PodCompleted; main: terminated Completed 0, last terminated Error 1, restarts 1
    "#]],
    );
}

#[test]
fn init_containers_run_in_order() {
    let spec = json!({ "restartPolicy": "Always", "containers": [{ "name": "main" }],
        "initContainers": [{ "name": "a" }, { "name": "b" }] });
    check(
        spec,
        "start; exit a 0; exit b 1; exit b 0",
        expect![[r#"
        start
          prepare
          start a #0
          Pending; !Initialized ContainersNotInitialized; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; a: running, started; b: waiting PodInitializing; main: waiting PodInitializing
        exit a 0
          start b #0
          Pending; !Initialized ContainersNotInitialized; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; a: terminated Completed 0, ready; b: running, started; main: waiting PodInitializing
        exit b 1
          start b #1
          Pending; !Initialized ContainersNotInitialized; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; a: terminated Completed 0, ready; b: running, last terminated Error 1, started, restarts 1; main: waiting PodInitializing
        exit b 0
          start main #0
          Running; a: terminated Completed 0, ready; b: terminated Completed 0, last terminated Error 1, ready, restarts 1; main: running, started, ready
    "#]],
    );
}

#[test]
fn a_failed_init_container_fails_a_pod_that_never_restarts() {
    let spec =
        json!({ "restartPolicy": "Never", "containers": [{ "name": "main" }], "initContainers": [{ "name": "a" }] });
    check(
        spec,
        "start; exit a 1",
        expect![[r#"
        start
          prepare
          start a #0
          Pending; !Initialized ContainersNotInitialized; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; a: running, started; main: waiting PodInitializing
        exit a 1
          Failed; !Initialized ContainersNotInitialized; !Ready PodFailed; !ContainersReady PodFailed; a: terminated Error 1; main: waiting PodInitializing
    "#]],
    );
}

#[test]
fn sidecars_start_before_and_stop_after() {
    let probe = json!({ "tcpSocket": { "port": 80 } });
    let spec = json!({ "restartPolicy": "Never", "containers": [{ "name": "main" }],
        "initContainers": [{ "name": "s", "restartPolicy": "Always", "startupProbe": probe }, { "name": "b" },
            { "name": "t", "restartPolicy": "Always" }] });
    check(
        spec,
        "start; pass s startup; exit b 0; exit s 1; pass s startup; exit main 0; exit t 143; exit s 143",
        expect![[r#"
            start
              prepare
              start s #0
              probe s Startup
              Pending; !Initialized ContainersNotInitialized; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running; b: waiting PodInitializing; t: waiting PodInitializing; main: waiting PodInitializing
            pass s startup
              start b #0
              Pending; !Initialized ContainersNotInitialized; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; b: running, started; t: waiting PodInitializing; main: waiting PodInitializing
            exit b 0
              start t #0
              start main #0
              Running; s: running, started, ready; b: terminated Completed 0, ready; t: running, started, ready; main: running, started, ready
            exit s 1
              start s #1
              probe s Startup
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, last terminated Error 1, restarts 1; b: terminated Completed 0, ready; t: running, started, ready; main: running, started, ready
            pass s startup
              Running; s: running, last terminated Error 1, started, ready, restarts 1; b: terminated Completed 0, ready; t: running, started, ready; main: running, started, ready
            exit main 0
              stop t within 30 (PodFinished)
              tell s within 30
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, last terminated Error 1, started, ready, restarts 1; b: terminated Completed 0, ready; t: running, started, ready; main: terminated Completed 0; recheck in 30s
            exit t 143
              stop s within 30 (PodFinished)
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, last terminated Error 1, started, ready, restarts 1; b: terminated Completed 0, ready; t: terminated Error 143; main: terminated Completed 0
            exit s 143
              Succeeded; !Ready PodCompleted; !ContainersReady PodCompleted; s: terminated Error 143, last terminated Error 1, restarts 1; b: terminated Completed 0, ready; t: terminated Error 143; main: terminated Completed 0
        "#]],
    );
}

/// As by a kubelet: hooks run at once, signals come in order, and nobody waits once the grace is used up.
#[test]
fn sidecars_hear_at_once_that_their_pod_ends() {
    let hook = json!({ "preStop": { "exec": { "command": ["x"] } } });
    let sidecar =
        |name: &str, lifecycle: Value| json!({ "name": name, "restartPolicy": "Always", "lifecycle": lifecycle });
    let spec = json!({ "restartPolicy": "Always", "containers": [{ "name": "main" }],
        "initContainers": [sidecar("s", hook.clone()), sidecar("t", json!({})), sidecar("u", hook)] });
    // The hook of u takes longer than main: its signal waits for it, and t's for u.
    check(
        spec.clone(),
        "start; delete 30; +5s; exit main 0; hooked s; +5s; hooked u; exit u 0; exit t 0; +5s; exit s 0",
        expect![[r#"
            start
              prepare
              start s #0
              start t #0
              start u #0
              start main #0
              Running; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: running, started, ready
            delete 30
              stop main within 30 (Deleted)
              tell u within 30
              tell t within 30
              tell s within 30
              Running; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: running, started, ready; recheck in 30s
            +5s
              Running; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: running, started, ready; recheck in 25s
            exit main 0
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: terminated Completed 0; recheck in 25s
            hooked s
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: terminated Completed 0; recheck in 25s
            +5s
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: terminated Completed 0; recheck in 20s
            hooked u
              stop u within 20 (Deleted)
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: terminated Completed 0; recheck in 20s
            exit u 0
              stop t within 20 (Deleted)
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; t: running, started, ready; u: terminated Completed 0; main: terminated Completed 0; recheck in 20s
            exit t 0
              stop s within 20 (Deleted)
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; t: terminated Completed 0; u: terminated Completed 0; main: terminated Completed 0
            +5s
              Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; t: terminated Completed 0; u: terminated Completed 0; main: terminated Completed 0
            exit s 0
              remove
              delete object
              Succeeded; !Ready PodCompleted; !ContainersReady PodCompleted; s: terminated Completed 0; t: terminated Completed 0; u: terminated Completed 0; main: terminated Completed 0
        "#]],
    );
    check(
        spec.clone(),
        "start; delete 5; +4s; exit main 0; +1s; exit s 0; exit t 0; exit u 0",
        expect![[r#"
        start
          prepare
          start s #0
          start t #0
          start u #0
          start main #0
          Running; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: running, started, ready
        delete 5
          stop main within 5 (Deleted)
          tell u within 5
          tell t within 5
          tell s within 5
          Running; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: running, started, ready; recheck in 5s
        +4s
          Running; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: running, started, ready; recheck in 1s
        exit main 0
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: terminated Completed 0; recheck in 1s
        +1s
          stop u within 2 (Deleted)
          stop t within 2 (Deleted)
          stop s within 2 (Deleted)
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: terminated Completed 0
        exit s 0
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: terminated Completed 0; t: running, started, ready; u: running, started, ready; main: terminated Completed 0
        exit t 0
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: terminated Completed 0; t: terminated Completed 0; u: running, started, ready; main: terminated Completed 0
        exit u 0
          remove
          delete object
          Succeeded; !Ready PodCompleted; !ContainersReady PodCompleted; s: terminated Completed 0; t: terminated Completed 0; u: terminated Completed 0; main: terminated Completed 0
    "#]],
    );
    check(
        spec.clone(),
        "start; delete 5; +5s; exit u 137; exit main 137; +1s; exit s 0; exit t 0",
        expect![[r#"
        start
          prepare
          start s #0
          start t #0
          start u #0
          start main #0
          Running; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: running, started, ready
        delete 5
          stop main within 5 (Deleted)
          tell u within 5
          tell t within 5
          tell s within 5
          Running; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: running, started, ready; recheck in 5s
        +5s
          stop u within 2 (Deleted)
          stop t within 2 (Deleted)
          stop s within 2 (Deleted)
          Running; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: running, started, ready
        exit u 137
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; t: running, started, ready; u: terminated Error 137; main: running, started, ready
        exit main 137
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; t: running, started, ready; u: terminated Error 137; main: terminated Error 137
        +1s
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; t: running, started, ready; u: terminated Error 137; main: terminated Error 137
        exit s 0
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: terminated Completed 0; t: running, started, ready; u: terminated Error 137; main: terminated Error 137
        exit t 0
          remove
          delete object
          Failed; !Ready PodFailed; !ContainersReady PodFailed; s: terminated Completed 0; t: terminated Completed 0; u: terminated Error 137; main: terminated Error 137
    "#]],
    );
    check(
        spec,
        "start; delete 0; exit u 137; exit s 137; exit main 137; exit t 137",
        expect![[r#"
        start
          prepare
          start s #0
          start t #0
          start u #0
          start main #0
          Running; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: running, started, ready
        delete 0
          stop main within 0 (Deleted)
          stop u within 0 (Deleted)
          stop t within 0 (Deleted)
          stop s within 0 (Deleted)
          Running; s: running, started, ready; t: running, started, ready; u: running, started, ready; main: running, started, ready
        exit u 137
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; t: running, started, ready; u: terminated Error 137; main: running, started, ready
        exit s 137
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: terminated Error 137; t: running, started, ready; u: terminated Error 137; main: running, started, ready
        exit main 137
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: terminated Error 137; t: running, started, ready; u: terminated Error 137; main: terminated Error 137
        exit t 137
          remove
          delete object
          Failed; !Ready PodFailed; !ContainersReady PodFailed; s: terminated Error 137; t: terminated Error 137; u: terminated Error 137; main: terminated Error 137
    "#]],
    );
}

/// Only containers are waited for.
#[test]
fn who_is_waited_for_by_sidecars() {
    let spec = json!({ "restartPolicy": "Always", "containers": [{ "name": "main" }],
        "initContainers": [{ "name": "s", "restartPolicy": "Always" }, { "name": "init" }] });
    check(
        spec.clone(),
        "start; delete 30",
        expect![[r#"
        start
          prepare
          start s #0
          start init #0
          Pending; !Initialized ContainersNotInitialized; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; init: running, started; main: waiting PodInitializing
        delete 30
          stop init within 30 (Deleted)
          stop s within 30 (Deleted)
          Pending; !Initialized ContainersNotInitialized; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; init: running, started; main: waiting PodInitializing
    "#]],
    );
    check(
        spec,
        "start; exit init 0; debug d; delete 30; exit main 0",
        expect![[r#"
        start
          prepare
          start s #0
          start init #0
          Pending; !Initialized ContainersNotInitialized; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; init: running, started; main: waiting PodInitializing
        exit init 0
          start main #0
          Running; s: running, started, ready; init: terminated Completed 0, ready; main: running, started, ready
        debug d
          start d #0
          Running; s: running, started, ready; init: terminated Completed 0, ready; main: running, started, ready; d: running
        delete 30
          stop main within 30 (Deleted)
          stop d within 30 (Deleted)
          tell s within 30
          Running; s: running, started, ready; init: terminated Completed 0, ready; main: running, started, ready; d: running; recheck in 30s
        exit main 0
          stop s within 30 (Deleted)
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; s: running, started, ready; init: terminated Completed 0, ready; main: terminated Completed 0; d: running
    "#]],
    );
}

#[test]
fn readiness_follows_its_probe() {
    check(
        probed("readinessProbe"),
        "start; +5s; pass main readiness; +10s; fail main readiness; fail main readiness",
        expect![[r#"
        start
          prepare
          start main #0
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: running, started; recheck in 5s
        +5s
          probe main Readiness
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: running, started
        pass main readiness
          Running; main: running, started, ready; recheck in 10s
        +10s
          probe main Readiness
          Running; main: running, started, ready
        fail main readiness
          Running; main: running, started, ready; recheck in 10s
        fail main readiness
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: running, started; recheck in 10s
    "#]],
    );
}

#[test]
fn a_failed_liveness_probe_restarts() {
    check(
        probed("livenessProbe"),
        "start; +5s; fail main liveness; +10s; fail main liveness; exit main 143; +5s",
        expect![[r#"
        start
          prepare
          start main #0
          Running; main: running, started, ready; recheck in 5s
        +5s
          probe main Liveness
          Running; main: running, started, ready
        fail main liveness
          Running; main: running, started, ready; recheck in 10s
        +10s
          probe main Liveness
          Running; main: running, started, ready
        fail main liveness
          stop main within 30 (Unhealthy(Liveness))
          Running; main: running, started, ready
        exit main 143
          start main #1
          Running; main: running, last terminated Error 143, started, ready, restarts 1; recheck in 5s
        +5s
          probe main Liveness
          Running; main: running, last terminated Error 143, started, ready, restarts 1
    "#]],
    );
}

#[test]
fn other_probes_wait_for_the_startup_probe() {
    let probe = json!({ "tcpSocket": { "port": 80 }, "failureThreshold": 1, "terminationGracePeriodSeconds": 3 });
    let spec = json!({ "restartPolicy": "Always",
        "containers": [{ "name": "main", "startupProbe": probe, "readinessProbe": { "exec": { "command": ["x"] } } }] });
    check(
        spec,
        "start; fail main startup; exit main 137; pass main startup; pass main readiness",
        expect![[r#"
        start
          prepare
          start main #0
          probe main Startup
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: running
        fail main startup
          stop main within 3 (Unhealthy(Startup))
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: running
        exit main 137
          start main #1
          probe main Startup
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: running, last terminated Error 137, restarts 1
        pass main startup
          probe main Readiness
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: running, last terminated Error 137, started, restarts 1
        pass main readiness
          Running; main: running, last terminated Error 137, started, ready, restarts 1; recheck in 10s
    "#]],
    );
}

#[test]
fn deletion_waits_for_the_grace_and_then_for_the_object() {
    check(
        pod("Always"),
        "start; delete 30; +5s; delete 1; exit main 143",
        expect![[r#"
            start
              prepare
              start main #0
              Running; main: running, started, ready
            delete 30
              stop main within 30 (Deleted)
              Running; main: running, started, ready
            +5s
              Running; main: running, started, ready
            delete 1
              stop main within 0 (Deleted)
              Running; main: running, started, ready
            exit main 143
              remove
              delete object
              Failed; !Ready PodFailed; !ContainersReady PodFailed; main: terminated Error 143
        "#]],
    );
}

#[test]
fn a_pod_that_never_began_is_deleted_at_once() {
    check(
        pod("Always"),
        "broken x; delete 30",
        expect![[r#"
            broken x
              cannot prepare
              Pending; !PodReadyToStartContainers ; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ContainerCreating; recheck in 0s
            delete 30
              delete object
              Pending; !PodReadyToStartContainers ; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ContainerCreating
        "#]],
    );
}

#[test]
fn setup_errors_keep_containers_creating() {
    check(
        pod("Always"),
        "broken x; +1s; mended; +2s",
        expect![[r#"
            broken x
              cannot prepare
              Pending; !PodReadyToStartContainers ; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ContainerCreating; recheck in 0s
            +1s
              cannot prepare
              Pending; !PodReadyToStartContainers ; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ContainerCreating; recheck in 1s
            mended
              Pending; !PodReadyToStartContainers ; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ContainerCreating; recheck in 1s
            +2s
              prepare
              start main #0
              Running; main: running, started, ready
        "#]],
    );
}

#[test]
fn start_errors_wait_and_are_tried_again() {
    check(
        pod("Always"),
        "start; exit main 1; exit main 1; error main CreateContainerConfigError; +10s",
        expect![[r#"
        start
          prepare
          start main #0
          Running; main: running, started, ready
        exit main 1
          start main #1
          Running; main: running, last terminated Error 1, started, ready, restarts 1
        exit main 1
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting CrashLoopBackOff (back-off 10s restarting failed container=main pod=p_default(u1)), last terminated Error 1, restarts 1; recheck in 10s
        error main CreateContainerConfigError
          Running; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting CrashLoopBackOff (back-off 10s restarting failed container=main pod=p_default(u1)), last terminated Error 1, restarts 1; recheck in 10s
        +10s
          start main #2
          Running; main: running, last terminated Error 1, started, ready, restarts 2
    "#]],
    );
}

#[test]
fn images_are_waited_for() {
    check(
        pod("Always"),
        "pull main; pulled main; ",
        expect![[r#"
        pull main
          prepare
          Pending; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ContainerCreating
        pulled main
          start main #0
          Running; main: running, started, ready
    "#]],
    );
    check(
        pod("Always"),
        "pull main; error main ErrImagePull; pulled main; +1s; +1s; pull main; pulled main; +8s",
        expect![[r#"
            pull main
              prepare
              Pending; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ContainerCreating
            error main ErrImagePull
              Pending; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ContainerCreating; recheck in 2s
            pulled main
              Pending; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ErrImagePull (why); recheck in 2s
            +1s
              Pending; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ErrImagePull (why); recheck in 1s
            +1s
              Pending; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ImagePullBackOff (Back-off pulling image "app:v1": ErrImagePull: why); recheck in 8s
            pull main
              Pending; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ContainerCreating; recheck in 8s
            pulled main
              Pending; !Ready ContainersNotReady; !ContainersReady ContainersNotReady; main: waiting ImagePullBackOff (Back-off pulling image "app:v1": ErrImagePull: why); recheck in 8s
            +8s
              start main #0
              Running; main: running, started, ready
        "#]],
    );
}

#[test]
fn a_phase_that_the_server_calls_final_stops_the_pod() {
    check(
        pod("Always"),
        "start; phase Failed; exit main 143",
        expect![[r#"
        start
          prepare
          start main #0
          Running; main: running, started, ready
        phase Failed
          stop main within 30 (PodFinished)
          Failed; !Ready PodFailed; !ContainersReady PodFailed; main: running, started, ready
        exit main 143
          Failed; !Ready PodFailed; !ContainersReady PodFailed; main: terminated Error 143
    "#]],
    );
}

#[test]
fn the_active_deadline_ends_a_pod() {
    let mut spec = pod("Always");
    spec["activeDeadlineSeconds"] = 60.into();
    check(
        spec,
        "start; +60s; exit main 143; +1s",
        expect![[r#"
        start
          prepare
          start main #0
          Running; main: running, started, ready; recheck in 60s
        +60s
          stop main within 30 (DeadlineExceeded)
          Running; main: running, started, ready
        exit main 143
          Failed; !Ready PodFailed; !ContainersReady PodFailed; main: terminated Error 143
        +1s
          Failed; !Ready PodFailed; !ContainersReady PodFailed; main: terminated Error 143
    "#]],
    );
}

#[test]
fn transition_times_stay_while_nothing_changes() {
    let mut world = World::new(pod("Always"));
    world.settle("start");
    let before = world.object["status"].clone();
    world.now += Duration::from_secs(60);
    world.settle("later");
    assert_eq!(world.object["status"], before);
}

#[test]
fn foreign_conditions_and_fields_are_kept() {
    let mut world =
        World::new(json!({ "containers": [{ "name": "main" }], "readinessGates": [{ "conditionType": "my/gate" }] }));
    world.object["status"]["conditions"] = json!([{ "type": "my/gate", "status": "True" }]);
    world.settle("start");
    let status = &world.object["status"];
    assert_eq!(status["qosClass"], "BestEffort");
    assert_eq!(meta::list_at(status, &["conditions"]).last().unwrap()["type"], "my/gate");
    assert_eq!(meta::list_at(status, &["conditions"])[2]["status"], "True", "the gate is met: {status}");
}
