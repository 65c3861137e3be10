//! Turns what was measured into rows of the report.

use crate::fleet::Measured;
use crate::report::{Report, Row};
use crate::steps::Step;
use crate::targets::What;

pub fn fleet(measured: &Measured, report: &mut Report) {
    let limits = report.limits;
    let mut add = |what: What, value: f64, of_machine: Option<String>| {
        report.add(Row { nodes: measured.nodes, set_up: measured.set_up.clone(), what, value, of_machine });
    };
    let steps = &measured.steps;
    let named = [(What::Create, steps.create), (What::Update, steps.update), (What::Undo, steps.undo)];
    for (what, step) in named {
        add(what, step.seconds, writes(step, limits.fsyncs_per_second));
    }
    let list_rate = steps.list.bytes as f64 / 1e6 / steps.list.seconds;
    let (limit, what) = match steps.list.is_decoded {
        true => (limits.json_decode_mb_per_second, "decoding"),
        false => (limits.json_encode_mb_per_second, "encoding"),
    };
    let of_machine =
        (steps.list.bytes > 0).then(|| format!("{list_rate:.0} MB/s, {:.2} of {what} JSON", list_rate / limit));
    add(What::List, steps.list.seconds * 1e3, of_machine);
    add(What::Delete, steps.delete.seconds, writes(steps.delete, limits.fsyncs_per_second));
    if let Some(server) = measured.server {
        add(What::ServerMemoryPeak, server.memory_peak_mb, None);
        add(What::ServerProcessor, server.processor_seconds, None);
    }
    if let Some(etcd) = measured.etcd {
        add(What::EtcdMemoryPeak, etcd.memory_peak_mb, None);
        add(What::EtcdProcessor, etcd.processor_seconds, None);
    }
}

/// Durable writes a second, beside what the disk can do one after another.
fn writes(step: Step, fsyncs_per_second: f64) -> Option<String> {
    let rate = step.writes as f64 / step.seconds;
    (step.writes > 0).then(|| format!("{rate:.0} writes/s, {:.2} of fsyncs", rate / fsyncs_per_second))
}
