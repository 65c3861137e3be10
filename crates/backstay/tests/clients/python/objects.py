"""Objects of the types that the client knows: everything one does to them in single requests."""

import json

from kubernetes import client

from common import NAMESPACE, Failed, apis, config_map, daemonset, expect, refused, wait_for


def versions_and_discovery():
    version = client.VersionApi().get_code()
    expect((version.major, version.minor), ("1", "36"))
    groups = {group.name for group in client.ApisApi().get_api_versions().groups}
    if not {"apps", "coordination.k8s.io", "rbac.authorization.k8s.io", "apiextensions.k8s.io"} <= groups:
        raise Failed(f"groups are missing: {groups}")
    served = {resource.name for resource in apis.apps.get_api_resources().resources}
    if not {"daemonsets", "daemonsets/status", "controllerrevisions", "deployments/scale"} <= served:
        raise Failed(f"resources are missing: {served}")


def objects_of_many_kinds_live_and_die():
    core, rbac = apis.core, client.RbacAuthorizationV1Api()
    rule = {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}
    pod_spec = daemonset("x")["spec"]
    port = {"port": 80}
    namespaced = [
        (core, "config_map", config_map("x", {"a": "1"})),
        (core, "secret", {"metadata": {"name": "x"}, "stringData": {"a": "1"}}),
        (core, "service", {"metadata": {"name": "x"}, "spec": {"ports": [port], "selector": {"a": "b"}}}),
        (core, "service_account", {"metadata": {"name": "x"}}),
        (core, "resource_quota", {"metadata": {"name": "x"}, "spec": {"hard": {"pods": "10"}}}),
        # No controller here writes to these meanwhile.
        (apis.apps, "stateful_set", {"metadata": {"name": "x"}, "spec": {**pod_spec, "serviceName": "x"}}),
        (apis.apps, "deployment", {"metadata": {"name": "x"}, "spec": pod_spec}),
        (apis.apps, "controller_revision", {"metadata": {"name": "x"}, "data": {"a": {"b": [1]}}, "revision": 3}),
        (apis.leases, "lease", {"metadata": {"name": "x"}, "spec": {"holderIdentity": "me"}}),
        (rbac, "role", {"metadata": {"name": "x"}, "rules": [rule]}),
        (client.BatchV1Api(), "job", {"metadata": {"name": "x"}, "spec": {"template": job_template()}}),
    ]
    for api, kind, body in namespaced:
        lives_and_dies(kind, body, lambda verb: getattr(api, f"{verb}_namespaced_{kind}"), (NAMESPACE,))
    cluster = [
        (core, "node", {"metadata": {"name": "x"}}),
        (core, "persistent_volume", persistent_volume()),
        (rbac, "cluster_role", {"metadata": {"name": "x"}, "rules": [rule]}),
        (client.SchedulingV1Api(), "priority_class", {"metadata": {"name": "x"}, "value": 7}),
        (client.StorageV1Api(), "storage_class", {"metadata": {"name": "x"}, "provisioner": "example.com/none"}),
    ]
    for api, kind, body in cluster:
        lives_and_dies(kind, body, lambda verb: getattr(api, f"{verb}_{kind}"), ())


def job_template():
    return {"spec": {"restartPolicy": "Never", "containers": [{"name": "main", "image": "main:v1"}]}}


def persistent_volume():
    spec = {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/nosuch"}}
    return {"metadata": {"name": "x", "finalizers": []}, "spec": spec}


def lives_and_dies(kind, body, method, place):
    """Created once, read, listed, replaced by whoever saw the newest version, deleted."""
    body["metadata"]["labels"] = {"life": "short"}
    made = method("create")(*place, body)
    refused(409, "AlreadyExists", method("create"), *place, body)
    read = method("read")("x", *place)
    expect(read.metadata.uid, made.metadata.uid, kind)
    listed = method("list")(*place, label_selector="life=short")
    expect([item.metadata.name for item in listed.items], ["x"], kind)
    read.metadata.annotations = {"seen": "yes"}
    replaced = method("replace")("x", *place, read)
    if int(replaced.metadata.resource_version) <= int(read.metadata.resource_version):
        raise Failed(f"{kind}: a replaced object keeps its version")
    refused(409, "Conflict", method("replace"), "x", *place, read)
    patched = method("patch")("x", *place, {"metadata": {"annotations": {"seen": None, "patched": "yes"}}})
    expect(patched.metadata.annotations.get("patched"), "yes", kind)
    expect("seen" in patched.metadata.annotations, False, kind)
    stranger = client.V1DeleteOptions(preconditions={"uid": "another"})
    refused(409, "Conflict", method("delete"), "x", *place, body=stranger)
    method("delete")("x", *place)
    wait_for(f"the end of {kind}", lambda: not method("list")(*place, label_selector="life=short").items)
    refused(404, "NotFound", method("read"), "x", *place)


def patches_of_every_kind():
    apis.apps.create_namespaced_daemon_set(NAMESPACE, daemonset("patched", updateStrategy={"type": "OnDelete"}))

    def patch(body, content_type):
        return apis.apps.patch_namespaced_daemon_set("patched", NAMESPACE, body, _content_type=content_type)

    side = {"spec": {"template": {"spec": {"containers": [{"name": "side", "image": "side:v1"}]}}}}
    names = lambda ds: [container.name for container in ds.spec.template.spec.containers]
    # Lists merge by key in a strategic patch, and are replaced in a merge patch.
    expect(sorted(names(patch(side, "application/strategic-merge-patch+json"))), ["main", "side"])
    expect(names(patch(side, "application/merge-patch+json")), ["side"])
    operations = [
        {"op": "test", "path": "/spec/template/spec/containers/0/name", "value": "side"},
        {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "side:v2"},
    ]
    patched = patch(operations, "application/json-patch+json")
    expect(patched.spec.template.spec.containers[0].image, "side:v2")
    expect(patched.metadata.generation, 4)
    operations[0]["value"] = "main"
    refused(422, "Invalid", patch, operations, "application/json-patch+json")
    selector = {"spec": {"selector": {"matchLabels": {"app": "other"}}}}
    body = refused(422, "Invalid", patch, selector, "application/merge-patch+json")
    fields = {cause["field"] for cause in body["details"]["causes"]}
    expect("spec.selector" in fields or "spec.template.metadata.labels" in fields, True, fields)
    apis.apps.delete_namespaced_daemon_set("patched", NAMESPACE)


def server_side_apply():
    def apply(manager, data, **options):
        body = {"apiVersion": "v1", "kind": "ConfigMap", **config_map("applied", data)}
        return apis.core.patch_namespaced_config_map(
            "applied", NAMESPACE, body, field_manager=manager, _content_type="application/apply-patch+yaml", **options
        )

    expect(apply("one", {"a": "1", "b": "1"}).data, {"a": "1", "b": "1"})
    expect(apply("two", {"c": "2"}).data, {"a": "1", "b": "1", "c": "2"})
    # What a manager no longer applies goes, unless another one holds it.
    expect(apply("one", {"a": "1"}).data, {"a": "1", "c": "2"})
    body = refused(409, "Conflict", apply, "two", {"a": "2", "c": "2"})
    expect([(cause["reason"], cause["field"]) for cause in body["details"]["causes"]],
           [("FieldManagerConflict", ".data.a")])
    forced = apply("two", {"a": "2", "c": "2"}, force=True)
    expect(forced.data, {"a": "2", "c": "2"})
    owners = {entry.manager: sorted(entry.fields_v1.get("f:data", {})) for entry in forced.metadata.managed_fields}
    expect(owners, {"two": ["f:a", "f:c"]})
    body = refused(422, "Invalid", apply, None, {"a": "1"})
    expect(body["details"]["causes"][0]["field"], "fieldManager")
    apis.core.delete_namespaced_config_map("applied", NAMESPACE)


def lists_come_in_pages():
    names = [f"page-{number:02}" for number in range(11)]
    for name in names:
        apis.core.create_namespaced_config_map(NAMESPACE, config_map(name, labels={"paged": "yes"}))

    def pages():
        more = None
        while True:
            page = apis.core.list_namespaced_config_map(NAMESPACE, label_selector="paged=yes", limit=4, _continue=more)
            yield page
            more = page.metadata._continue
            if not more:
                return

    seen, versions = [], set()
    for number, page in enumerate(pages()):
        if number == 0:
            # Pages show one moment: what changes meanwhile does not show.
            apis.core.delete_namespaced_config_map(names[-1], NAMESPACE)
        seen += [item.metadata.name for item in page.items]
        versions.add(page.metadata.resource_version)
    expect((seen, len(versions)), (names, 1))
    refused(400, "BadRequest", apis.core.list_namespaced_config_map, NAMESPACE, limit=1, _continue="nonsense")
    apis.core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="paged=yes")
    expect(apis.core.list_namespaced_config_map(NAMESPACE, label_selector="paged=yes").items, [])


def selectors_select():
    for name, labels in [("red", {"color": "red"}), ("blue", {"color": "blue"}), ("none", {})]:
        apis.core.create_namespaced_config_map(NAMESPACE, config_map(name, labels={"selected": "yes", **labels}))
    rows = [
        ("color=red", ["red"]),
        ("color!=red", ["blue", "none"]),
        ("color in (red,blue)", ["blue", "red"]),
        ("color notin (red)", ["blue", "none"]),
        ("color", ["blue", "red"]),
        ("!color", ["none"]),
    ]
    for selector, expected in rows:
        found = apis.core.list_namespaced_config_map(NAMESPACE, label_selector=f"selected=yes,{selector}").items
        expect([item.metadata.name for item in found], expected, selector)
    found = apis.core.list_config_map_for_all_namespaces(field_selector="metadata.name=red").items
    expect([item.metadata.namespace for item in found], [NAMESPACE])
    refused(400, "BadRequest", apis.core.list_namespaced_config_map, NAMESPACE, field_selector="data.a=1")
    refused(400, "BadRequest", apis.core.list_namespaced_config_map, NAMESPACE, label_selector="a==b==c")
    apis.core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="selected=yes")


def dry_runs_and_strictness():
    made = apis.core.create_namespaced_config_map(NAMESPACE, config_map("dry"), dry_run="All")
    expect(bool(made.metadata.uid), True)
    refused(404, "NotFound", apis.core.read_namespaced_config_map, "dry", NAMESPACE)
    unknown = {**config_map("strict"), "dta": {}}
    create = apis.core.create_namespaced_config_map
    body = refused(400, "BadRequest", create, NAMESPACE, unknown, field_validation="Strict")
    expect('unknown field "dta"' in body["message"], True, body["message"])
    create(NAMESPACE, unknown, field_validation="Ignore")
    apis.core.delete_namespaced_config_map("strict", NAMESPACE)


def finalizers_hold_an_object():
    apis.core.create_namespaced_config_map(NAMESPACE, config_map("held", finalizers=["example.com/hold"]))
    apis.core.delete_namespaced_config_map("held", NAMESPACE)
    held = apis.core.read_namespaced_config_map("held", NAMESPACE)
    expect(held.metadata.deletion_timestamp is not None, True)
    apis.core.patch_namespaced_config_map("held", NAMESPACE, {"metadata": {"finalizers": None}})
    refused(404, "NotFound", apis.core.read_namespaced_config_map, "held", NAMESPACE)


def owners_take_their_dependents_along():
    owner = apis.core.create_namespaced_config_map(NAMESPACE, config_map("owner"))
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": owner.metadata.uid}
    for name in ["dependent", "orphan"]:
        apis.core.create_namespaced_config_map(NAMESPACE, config_map(name, ownerReferences=[reference]))
    apis.core.patch_namespaced_config_map("orphan", NAMESPACE, {"metadata": {"ownerReferences": None}})
    apis.core.delete_namespaced_config_map("owner", NAMESPACE, propagation_policy="Foreground")
    names = lambda: {item.metadata.name for item in apis.core.list_namespaced_config_map(NAMESPACE).items}
    wait_for("owner and dependent to go", lambda: not {"owner", "dependent"} & names())
    expect("orphan" in names(), True)
    apis.core.delete_namespaced_config_map("orphan", NAMESPACE)


def subresources_answer():
    spec = {**daemonset("scaled")["spec"], "replicas": 2}
    apis.apps.create_namespaced_deployment(NAMESPACE, {"metadata": {"name": "scaled"}, "spec": spec})
    expect(apis.apps.read_namespaced_deployment_scale("scaled", NAMESPACE).spec.replicas, 2)
    apis.apps.patch_namespaced_deployment_scale("scaled", NAMESPACE, {"spec": {"replicas": 5}})
    expect(apis.apps.read_namespaced_deployment("scaled", NAMESPACE).spec.replicas, 5)
    both = {"spec": {"replicas": 9}, "status": {"replicas": 3}}
    apis.apps.patch_namespaced_deployment_status("scaled", NAMESPACE, both)
    deployment = apis.apps.read_namespaced_deployment("scaled", NAMESPACE)
    expect((deployment.spec.replicas, deployment.status.replicas), (5, 3))
    apis.apps.delete_namespaced_deployment("scaled", NAMESPACE)

    apis.core.create_namespaced_service_account(NAMESPACE, {"metadata": {"name": "robot"}})
    token = apis.core.create_namespaced_service_account_token("robot", NAMESPACE, {"spec": {"audiences": []}}).status.token
    review = client.AuthenticationV1Api().create_token_review({"spec": {"token": token}})
    expect(review.status.user.username, f"system:serviceaccount:{NAMESPACE}:robot")
    attributes = {"verb": "get", "resource": "secrets", "namespace": NAMESPACE}
    access = {"spec": {"user": review.status.user.username, "resourceAttributes": attributes}}
    authorization = client.AuthorizationV1Api()
    expect(authorization.create_subject_access_review(access).status.allowed, False)
    expect(authorization.create_self_subject_access_review({"spec": {"resourceAttributes": attributes}}).status.allowed, True)
    # The robot itself is told so.
    configuration = client.Configuration.get_default_copy()
    configuration.cert_file = configuration.key_file = None
    configuration.api_key = {"authorization": f"Bearer {token}"}
    robot = client.CoreV1Api(client.ApiClient(configuration))
    refused(403, "Forbidden", robot.list_namespaced_secret, NAMESPACE)


def a_daemonset_rolls_out_and_back():
    """The product's story: undo sends the data of an older revision as a strategic merge patch."""
    apps = apis.apps
    apps.create_namespaced_daemon_set(NAMESPACE, daemonset("rolled"))

    def settled():
        ds = apps.read_namespaced_daemon_set("rolled", NAMESPACE)
        status, wanted = ds.status, ds.status.desired_number_scheduled
        current = status.observed_generation == ds.metadata.generation and wanted > 0
        return current and status.updated_number_scheduled == wanted and status.number_available == wanted

    wait_for("the first rollout", settled)
    pods = apis.core.list_namespaced_pod(NAMESPACE, label_selector="app=rolled", field_selector="status.phase=Running")
    expect(len(pods.items), 2)
    node = pods.items[0].spec.node_name
    on_it = apis.core.list_pod_for_all_namespaces(field_selector=f"spec.nodeName={node}").items
    expect([pod.metadata.name for pod in on_it], [pods.items[0].metadata.name])
    # An eviction ends a pod, and the set puts another one in its place.
    name = pods.items[0].metadata.name
    apis.core.create_namespaced_pod_eviction(name, NAMESPACE, {"metadata": {"name": name}})
    gone = lambda: all(pod.metadata.name != name for pod in apis.core.list_namespaced_pod(NAMESPACE).items)
    wait_for("the evicted pod to go", gone)
    wait_for("its successor", settled)

    image = {"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "main:v2"}]}}}}
    apps.patch_namespaced_daemon_set("rolled", NAMESPACE, image)
    wait_for("the update", settled)
    history = lambda: {
        revision.revision: revision
        for revision in apps.list_namespaced_controller_revision(NAMESPACE, label_selector="app=rolled").items
    }
    expect(sorted(history()), [1, 2])
    apps.patch_namespaced_daemon_set("rolled", NAMESPACE, history()[1].data)
    wait_for("the undo", settled)
    expect(sorted(history()), [2, 3])
    ds = apps.read_namespaced_daemon_set("rolled", NAMESPACE)
    expect(ds.spec.template.spec.containers[0].image, "main:v1")
    raw = apps.list_namespaced_controller_revision(NAMESPACE, label_selector="app=rolled", _preload_content=False)
    expect(len(json.loads(raw.data)["items"]), 2)
    apps.delete_namespaced_daemon_set("rolled", NAMESPACE, propagation_policy="Background")
    wait_for("its pods to go", lambda: not apis.core.list_namespaced_pod(NAMESPACE).items)


CHECKS = [
    versions_and_discovery,
    objects_of_many_kinds_live_and_die,
    patches_of_every_kind,
    server_side_apply,
    lists_come_in_pages,
    selectors_select,
    dry_runs_and_strictness,
    finalizers_hold_an_object,
    owners_take_their_dependents_along,
    subresources_answer,
    a_daemonset_rolls_out_and_back,
]
