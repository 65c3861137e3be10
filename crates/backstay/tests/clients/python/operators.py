"""An operator written with kopf: it handles objects, keeps its notes in them, and holds them until it has cleaned up."""

import asyncio
import logging
import threading

import kopf

from common import NAMESPACE, apis, ask, config_map, insistently, wait_for


class Operator:
    """Operates the config maps with a label, in a thread of its own."""

    def __init__(self):
        self.handled = []
        self.stop, self.ready = threading.Event(), threading.Event()
        registry = kopf.get_default_registry()
        about = {"labels": {"operated": "yes"}, "registry": registry}
        for kind, handler in [("create", kopf.on.create), ("update", kopf.on.update), ("delete", kopf.on.delete)]:
            handler("configmaps", id=kind, **about)(self.note(kind))

        @kopf.on.startup(registry=registry)
        def without_pauses(settings, **_):
            settings.networking.error_backoffs = [0.1] * 100
            settings.watching.reconnect_backoff = 0.1
            settings.posting.enabled = False

        operator = kopf.operator(
            registry=registry, namespaces=[NAMESPACE], standalone=True, stop_flag=self.stop, ready_flag=self.ready
        )
        threading.Thread(target=lambda: asyncio.run(operator), daemon=True).start()
        wait_for("the operator to be ready", self.ready.is_set)

    def note(self, kind):
        def handle(name, **_):
            self.handled.append((kind, name))

        return handle

    def has_handled(self, kind, name):
        wait_for(f"{kind} of {name}", lambda: (kind, name) in self.handled)


def an_operator_keeps_operating():
    logging.getLogger("kopf").setLevel(logging.CRITICAL)
    operator = Operator()

    def create(name):
        apis.core.create_namespaced_config_map(NAMESPACE, config_map(name, labels={"operated": "yes"}))

    create("operated")
    operator.has_handled("create", "operated")
    ask("cut")
    insistently(apis.core.patch_namespaced_config_map, "operated", NAMESPACE, {"data": {"a": "1"}})
    operator.has_handled("update", "operated")
    ask("restart")
    insistently(create, "operated-too")
    operator.has_handled("create", "operated-too")
    for name in ["operated", "operated-too"]:
        # Its finalizer holds the object until the handler has run.
        insistently(apis.core.delete_namespaced_config_map, name, NAMESPACE)
        operator.has_handled("delete", name)
        names = lambda: {item.metadata.name for item in apis.core.list_namespaced_config_map(NAMESPACE).items}
        wait_for(f"the end of {name}", lambda: name not in names())
    operator.stop.set()


CHECKS = [an_operator_keeps_operating]
