//! The story itself.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use super::fleet::Fleet;
use super::manifest::Cast;

/// Until the broken pod shows why it does not start.
const TROUBLE: Duration = Duration::from_secs(15);

pub async fn tell(fleet: &mut Fleet, cast: &Cast) -> Result<()> {
    let begun = Instant::now();
    let target = format!("daemonset/{}", cast.name);
    let target = target.as_str();
    for remark in &cast.remarks {
        println!("{remark}");
    }
    let [first, broken] = [&cast.first, &cast.broken].map(|path| path.display().to_string());

    chapter("1. A fleet. Every node runs one agent: that is a DaemonSet.");
    run(fleet, &["get", "nodes"]).await?;
    run(fleet, &["apply", "-f", &first]).await?;
    run(fleet, &["rollout", "status", target]).await?;
    run(fleet, &["get", "pods", "-o", "wide"]).await?;
    if cast.real_pods {
        say("The pod on this machine is a real process, and this is what it printed:");
        let pod = pod_on(fleet, "my-machine").await?;
        run(fleet, &["logs", &pod]).await?;
    }

    chapter("2. An update that cannot work.");
    run(fleet, &["apply", "-f", &broken]).await?;
    let pod = wait_for_trouble(fleet).await?;
    say("The rollout does not finish, and it stops by itself: no more than maxUnavailable (1) pods are down.");
    run_to_failure(fleet, &["rollout", "status", target, "--timeout=2s"]).await?;

    chapter("3. Why it hangs.");
    run(fleet, &["get", "pods", "-o", "wide"]).await?;
    if cast.real_pods {
        run(fleet, &["logs", &pod]).await?;
    }
    run(fleet, &["events", "--for", &format!("pod/{pod}")]).await?;

    chapter("4. History: every template this DaemonSet ever had has a revision.");
    run(fleet, &["rollout", "history", target]).await?;
    run(fleet, &["rollout", "history", target, "--revision=1"]).await?;

    chapter("5. Take it back.");
    run(fleet, &["rollout", "undo", target]).await?;
    run(fleet, &["rollout", "status", target]).await?;
    run(fleet, &["get", "pods", "-o", "wide"]).await?;
    say("Revision numbers only move forward: what was revision 1 is now revision 3.");
    run(fleet, &["rollout", "history", target]).await?;
    run(fleet, &["get", "controllerrevisions"]).await?;

    println!("\nThat was the tour, in {:.0} s. The fleet is taken down now.", begun.elapsed().as_secs_f64());
    println!("Next: `backstay up` keeps one running; kubectl works with the kubeconfig that it prints.");
    Ok(())
}

fn chapter(title: &str) {
    println!("\n\n{title}\n{}", "=".repeat(title.chars().count()));
}

fn say(text: &str) {
    println!("\n{text}");
}

async fn run(fleet: &Fleet, arguments: &[&str]) -> Result<()> {
    println!("\n$ backstay {}", arguments.join(" "));
    ensure!(fleet.show(arguments).await?, "this step of the tour failed: backstay {}", arguments.join(" "));
    Ok(())
}

async fn run_to_failure(fleet: &Fleet, arguments: &[&str]) -> Result<()> {
    println!("\n$ backstay {}", arguments.join(" "));
    ensure!(!fleet.show(arguments).await?, "this was expected to fail: backstay {}", arguments.join(" "));
    Ok(())
}

async fn pod_on(fleet: &Fleet, node: &str) -> Result<String> {
    let selector = format!("spec.nodeName={node}");
    let names = fleet.quiet(&["get", "pods", "--field-selector", &selector, "-o", "name"]).await?;
    let name = names.lines().next().with_context(|| format!("no pod on {node}"))?;
    Ok(name.trim_start_matches("pod/").to_string())
}

/// Waits until a pod says why it does not start, and returns its name.
async fn wait_for_trouble(fleet: &Fleet) -> Result<String> {
    let reasons = "jsonpath={range .items[*]}{.metadata.name} \
                   {.status.containerStatuses[*].state.waiting.reason}{\"\\n\"}{end}";
    let deadline = Instant::now() + TROUBLE;
    loop {
        let pods = fleet.quiet(&["get", "pods", "-o", reasons]).await?;
        let troubled = pods.lines().find(|line| line.ends_with("BackOff") || line.ends_with("ErrImagePull"));
        if let Some((name, _)) = troubled.and_then(|line| line.split_once(' ')) {
            return Ok(name.to_string());
        }
        ensure!(Instant::now() < deadline, "the broken version shows no trouble:\n{pods}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
