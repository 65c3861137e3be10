"""Objects of a type that the client learns from the server: a custom resource, with the dynamic client."""

from kubernetes import client, dynamic
from kubernetes.dynamic.exceptions import (
    ConflictError,
    NotFoundError,
    ResourceNotFoundError,
    UnprocessibleEntityError,
)

from common import NAMESPACE, Failed, expect, wait_for

GROUP = "python.example.com"
DEFINITION = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": f"boats.{GROUP}"},
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {"plural": "boats", "singular": "boat", "kind": "Boat", "shortNames": ["bt"]},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "subresources": {"status": {}},
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {
                            "spec": {
                                "type": "object",
                                "required": ["masts"],
                                "properties": {
                                    "masts": {"type": "integer", "minimum": 1},
                                    "flag": {"type": "string", "default": "none"},
                                    "crew": {
                                        "type": "array",
                                        "x-kubernetes-list-type": "map",
                                        "x-kubernetes-list-map-keys": ["name"],
                                        "items": {
                                            "type": "object",
                                            "required": ["name"],
                                            "properties": {"name": {"type": "string"}, "role": {"type": "string"}},
                                        },
                                    },
                                },
                            },
                            "status": {"type": "object", "properties": {"afloat": {"type": "boolean"}}},
                        },
                    }
                },
            }
        ],
    },
}


def fails(error, call, *arguments, **options):
    try:
        answer = call(*arguments, **options)
    except error as raised:
        return raised
    raise Failed(f"no {error.__name__}: {answer}")


def boat(name, **spec):
    return {"apiVersion": f"{GROUP}/v1", "kind": "Boat", "metadata": {"name": name}, "spec": spec}


def a_custom_resource_is_discovered_and_used():
    known = dynamic.DynamicClient(client.ApiClient())
    fails(ResourceNotFoundError, known.resources.get, api_version=f"{GROUP}/v1", kind="Boat")
    definitions = known.resources.get(api_version="apiextensions.k8s.io/v1", kind="CustomResourceDefinition")
    definitions.create(DEFINITION)

    def established():
        conditions = definitions.get(name=f"boats.{GROUP}").status.conditions or []
        return any(condition.type == "Established" and condition.status == "True" for condition in conditions)

    wait_for("the definition", established)

    def discovered():
        known.resources.invalidate_cache()
        try:
            return known.resources.get(api_version=f"{GROUP}/v1", kind="Boat")
        except ResourceNotFoundError:
            return None

    boats = wait_for("the resource in discovery", discovered)
    made = boats.create(boat("ketch", masts=2), namespace=NAMESPACE)
    expect((made.spec.masts, made.spec.flag, made.metadata.generation), (2, "none", 1))
    error = fails(UnprocessibleEntityError, boats.create, boat("raft", masts=0), namespace=NAMESPACE)
    expect("spec.masts" in error.summary(), True, error.summary())
    fails(UnprocessibleEntityError, boats.create, boat("raft"), namespace=NAMESPACE)

    merged = boats.patch(
        {"spec": {"flag": "red"}}, name="ketch", namespace=NAMESPACE, content_type="application/merge-patch+json"
    )
    expect((merged.spec.flag, merged.metadata.generation), ("red", 2))
    status = boats.status.patch(
        {"spec": {"masts": 9}, "status": {"afloat": True}},
        name="ketch",
        namespace=NAMESPACE,
        content_type="application/merge-patch+json",
    )
    expect((status.spec.masts, status.status.afloat, status.metadata.generation), (2, True, 2))

    # Lists merge by the key that the schema names.
    for manager, sailor in [("one", "ann"), ("two", "bob")]:
        body = boat("ketch", masts=2, crew=[{"name": sailor, "role": "hand"}])
        applied = boats.server_side_apply(
            body, name="ketch", namespace=NAMESPACE, field_manager=manager, force_conflicts=True
        )
    expect(sorted(sailor.name for sailor in applied.spec.crew), ["ann", "bob"])
    body = boat("ketch", masts=2, crew=[{"name": "ann", "role": "captain"}])
    fails(ConflictError, boats.server_side_apply, body, name="ketch", namespace=NAMESPACE, field_manager="two")

    replaced = boats.get(name="ketch", namespace=NAMESPACE).to_dict()
    boats.replace(replaced, namespace=NAMESPACE)
    version = boats.get(namespace=NAMESPACE).metadata.resourceVersion
    boats.create(boat("sloop", masts=1), namespace=NAMESPACE)
    boats.delete(name="ketch", namespace=NAMESPACE)
    events = boats.watch(namespace=NAMESPACE, resource_version=version, timeout=30)
    expect([(event["type"], event["object"].metadata.name) for _, event in zip(range(2), events)],
           [("ADDED", "sloop"), ("DELETED", "ketch")])
    fails(NotFoundError, boats.get, name="ketch", namespace=NAMESPACE)

    definitions.delete(name=f"boats.{GROUP}")

    def gone():
        try:
            boats.get(namespace=NAMESPACE)
        except NotFoundError:
            return True

    wait_for("the resource to go", gone)


CHECKS = [a_custom_resource_is_discovered_and_used]
