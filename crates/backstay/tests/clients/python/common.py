"""What the checks share: the APIs, how to expect a failure, how to wait."""

import functools
import sys
import time

from kubernetes import client
from kubernetes.client.rest import ApiException

NAMESPACE = "python"

# The longest that anything may take; a limit against hanging, never a measure.
PATIENCE_SECONDS = 60


class Failed(Exception):
    """Something is not as it must be."""


class Apis:
    """The APIs that the checks use, made when the configuration is known."""

    @functools.cached_property
    def core(self):
        return client.CoreV1Api()

    @functools.cached_property
    def apps(self):
        return client.AppsV1Api()

    @functools.cached_property
    def leases(self):
        return client.CoordinationV1Api()


apis = Apis()


def expect(found, expected, what=""):
    if found != expected:
        raise Failed(f"{what or 'value'}: {found!r} instead of {expected!r}")


def refused(status, reason, call, *arguments, **options):
    """The message of a call that must be refused."""
    import json

    try:
        answer = call(*arguments, **options)
    except ApiException as error:
        body = json.loads(error.body)
        expect((error.status, body.get("reason"), body["kind"]), (status, reason, "Status"), error.body)
        return body
    raise Failed(f"not refused with {reason}: {answer}")


def wait_for(what, found):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        value = found()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed(f"waited in vain for {what}")
        time.sleep(0.05)


def insistently(call, *arguments):
    """The client keeps connections; the first call on one that was cut fails."""

    def tried():
        try:
            return call(*arguments) or True
        except ApiException:
            raise
        except Exception:
            return None

    return wait_for(call.__name__, tried)


def ask(word):
    """Has the network cut, or the server restarted."""
    print(f"do: {word}", flush=True)
    expect(sys.stdin.readline(), "done\n", f"answer to {word}")


def config_map(name, data=None, **metadata):
    return {"metadata": {"name": name, **metadata}, "data": data or {}}


def daemonset(name, image="main:v1", **spec):
    labels = {"app": name}
    containers = [{"name": "main", "image": image}]
    template = {"metadata": {"labels": labels}, "spec": {"containers": containers}}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": {"matchLabels": labels}, "template": template, **spec},
    }
