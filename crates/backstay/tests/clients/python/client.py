"""Uses a server as programs do that are written with the official Python client.

Every check prints `ok: NAME`, or `FAILED: NAME` with the reason; the exit code says whether all went well. A line
`do: WORD` asks whoever runs this to do something to the connection (`cut`) or to the server (`restart`); the answer is
a line on standard input.
"""

import logging
import sys
import traceback

from kubernetes import config

import objects
import dynamic_objects
import leases
import operators
import watches
from common import apis

CHECKS = [*objects.CHECKS, *dynamic_objects.CHECKS, *watches.CHECKS, *leases.CHECKS, *operators.CHECKS]


def main():
    # The informer logs every broken connection with its whole stack; here they break on purpose.
    logging.getLogger("kubernetes.informer.informer").setLevel(logging.CRITICAL)
    config.load_kube_config()
    apis.core.create_namespace({"metadata": {"name": "python"}})
    failed = 0
    for check in CHECKS:
        try:
            check()
            print(f"ok: {check.__name__}", flush=True)
        except Exception as error:  # whatever it is, the other checks still tell something
            failed += 1
            traceback.print_exc()
            said = " ".join(str(error).split())
            print(f"FAILED: {check.__name__}: {type(error).__name__}: {said}", flush=True)
    print(f"{len(CHECKS) - failed} of {len(CHECKS)} checks passed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
