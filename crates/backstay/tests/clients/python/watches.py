"""Watches and informers that go on after the network was cut and after the server was restarted."""

import threading

from kubernetes import watch
from kubernetes.client.rest import ApiException
from kubernetes.informer import SharedInformer

from common import NAMESPACE, apis, ask, config_map, expect, insistently, refused, wait_for


class Watcher:
    """Watches config maps in a thread of its own, resumes where it was, and notes what it is told.

    One that `relists` lists again when its version is gone, and notes what is new and what is no longer there.
    """

    def __init__(self, label, version, relists=False):
        self.selector = f"watched={label}"
        self.version = version
        self.relists = relists
        self.told = []
        self.broken = 0
        self.stopped = False
        self.watch = watch.Watch()
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        while not self.stopped:
            try:
                events = self.watch.stream(
                    apis.core.list_namespaced_config_map,
                    NAMESPACE,
                    label_selector=self.selector,
                    resource_version=self.version,
                )
                for event in events:
                    self.version = event["object"].metadata.resource_version
                    self.told.append((event["type"], event["object"].metadata.name))
            except ApiException as error:
                if error.status != 410 or not self.relists:
                    self.told.append(("ERROR", error.status))
                    return
                self.list_again()
            except Exception:  # the connection: go on from the version that was seen last
                self.broken += 1

    def list_again(self):
        listed = apis.core.list_namespaced_config_map(NAMESPACE, label_selector=self.selector)
        there = {item.metadata.name for item in listed.items}
        known = {name for kind, name in self.told if kind == "ADDED"} - {n for kind, n in self.told if kind == "DELETED"}
        self.told += [("ADDED", name) for name in sorted(there - known)]
        self.told += [("DELETED", name) for name in sorted(known - there)]
        self.version = listed.metadata.resource_version

    def expect(self, expected):
        wait_for(f"{len(expected)} events", lambda: len(self.told) >= len(expected))
        expect(self.told, expected)

    def stop(self):
        self.stopped = True
        self.watch.stop()


def version_now():
    return apis.core.list_namespaced_config_map(NAMESPACE).metadata.resource_version


def create(name, label):
    apis.core.create_namespaced_config_map(NAMESPACE, config_map(name, labels={"watched": label}))


def a_watch_tells_each_change_once():
    watcher = Watcher("plain", version_now())
    create("a", "plain")
    apis.core.patch_namespaced_config_map("a", NAMESPACE, {"data": {"x": "1"}})
    # A change of labels moves an object out of what is watched, and back.
    apis.core.patch_namespaced_config_map("a", NAMESPACE, {"metadata": {"labels": {"watched": "no"}}})
    apis.core.patch_namespaced_config_map("a", NAMESPACE, {"metadata": {"labels": {"watched": "plain"}}})
    apis.core.delete_namespaced_config_map("a", NAMESPACE)
    watcher.expect([("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a"), ("ADDED", "a"), ("DELETED", "a")])
    watcher.stop()


def a_watch_resumes_after_the_network_was_cut():
    watcher = Watcher("cut", version_now())
    expected = []
    for number in range(5):
        create(f"before-{number}", "cut")
        expected.append(("ADDED", f"before-{number}"))
        watcher.expect(expected)
        ask("cut")
        insistently(create, f"after-{number}", "cut")
        expected.append(("ADDED", f"after-{number}"))
        watcher.expect(expected)
    expect(watcher.broken >= 5, True, f"{watcher.broken} times broken")
    watcher.stop()
    apis.core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="watched=cut")


def a_watch_resumes_after_the_server_was_restarted():
    watcher = Watcher("restart", version_now(), relists=True)
    create("before", "restart")
    watcher.expect([("ADDED", "before")])
    ask("restart")
    insistently(create, "after", "restart")
    watcher.expect([("ADDED", "before"), ("ADDED", "after")])
    insistently(apis.core.delete_namespaced_config_map, "before", NAMESPACE)
    watcher.expect([("ADDED", "before"), ("ADDED", "after"), ("DELETED", "before")])
    watcher.stop()
    apis.core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="watched=restart")


def a_version_that_is_gone_means_list_again():
    """The server forgets the changes before its start; whoever comes with an older version is told to list again."""
    old = version_now()
    create("missed", "expired")
    ask("restart")
    insistently(version_now)
    watcher = Watcher("expired", old)
    watcher.expect([("ERROR", 410)])
    listed = apis.core.list_namespaced_config_map(NAMESPACE, label_selector="watched=expired")
    expect([item.metadata.name for item in listed.items], ["missed"])
    watcher = Watcher("expired", listed.metadata.resource_version)
    create("next", "expired")
    watcher.expect([("ADDED", "next")])
    watcher.stop()
    apis.core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="watched=expired")


def a_page_that_is_gone_means_list_again():
    for number in range(3):
        create(f"paged-{number}", "paged")
    first = apis.core.list_namespaced_config_map(NAMESPACE, label_selector="watched=paged", limit=1)
    create("paged-9", "paged")
    ask("restart")
    insistently(version_now)
    more = first.metadata._continue
    body = refused(
        410, "Expired", apis.core.list_namespaced_config_map, NAMESPACE, label_selector="watched=paged", _continue=more
    )
    # The answer brings a token that goes on in the present.
    more = body["metadata"]["continue"]
    rest = apis.core.list_namespaced_config_map(NAMESPACE, label_selector="watched=paged", _continue=more)
    expect([item.metadata.name for item in rest.items], ["paged-1", "paged-2", "paged-9"])
    apis.core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="watched=paged")


def an_informer_stays_true():
    informer = SharedInformer(
        apis.core.list_namespaced_config_map, namespace=NAMESPACE, label_selector="watched=informer"
    )
    told = []
    for kind in ["ADDED", "MODIFIED", "DELETED"]:
        informer.add_event_handler(kind, lambda obj, kind=kind: told.append((kind, obj.metadata.name)))
    create("a", "informer")
    informer.start()

    def in_cache(*names):
        keys = sorted(f"{NAMESPACE}/{name}" for name in names)
        wait_for(f"{names} in the cache", lambda: sorted(informer.cache.list_keys()) == keys)

    in_cache("a")
    create("b", "informer")
    in_cache("a", "b")
    for trouble in ["cut", "restart", "cut"]:
        ask(trouble)
        insistently(create, f"after-{trouble}", "informer")
        in_cache("a", "b", f"after-{trouble}")
        insistently(apis.core.delete_namespaced_config_map, f"after-{trouble}", NAMESPACE)
        in_cache("a", "b")
    apis.core.patch_namespaced_config_map("a", NAMESPACE, {"data": {"x": "1"}})
    key = f"{NAMESPACE}/a"
    wait_for("the change in the cache", lambda: informer.cache.get_by_key(key).data == {"x": "1"})
    expect([name for kind, name in told if kind == "ADDED"], ["a", "b", "after-cut", "after-restart", "after-cut"])
    informer.stop()
    apis.core.delete_collection_namespaced_config_map(NAMESPACE, label_selector="watched=informer")


CHECKS = [
    a_watch_tells_each_change_once,
    a_watch_resumes_after_the_network_was_cut,
    a_watch_resumes_after_the_server_was_restarted,
    a_version_that_is_gone_means_list_again,
    a_page_that_is_gone_means_list_again,
    an_informer_stays_true,
]
