"""Uses a container as programs do that are written with the official Python client: commands, logs, connections.

Run with the name of a pod, the name of its container, and a port of the pod that sends back what it gets. The container
greets with `begun`, and answers each line that it reads with `got` in front. Prints `ok: NAME` or `FAILED: NAME: WHY` for
each check.
"""

import sys
import traceback

from kubernetes import client, config
from kubernetes.stream import portforward, stream

from common import PATIENCE_SECONDS, expect

POD, CONTAINER, PORT = sys.argv[1], sys.argv[2], int(sys.argv[3])


def connect(method, **options):
    streams = {"stdin": False, "stdout": True, "stderr": True, "tty": False, **options}
    return stream(method, POD, "default", container=CONTAINER, **streams)


def commands_print(core):
    printed = connect(core.connect_get_namespaced_pod_exec, command=["sh", "-c", "echo $WHO; echo bad >&2"])
    expect(sorted(printed.split()), ["bad", "container"])


def commands_end_with_a_code(core):
    script = ["sh", "-c", "echo one; echo two >&2; exit 3"]
    running = connect(core.connect_get_namespaced_pod_exec, command=script, _preload_content=False)
    running.run_forever(timeout=PATIENCE_SECONDS)
    expect((running.read_stdout(), running.read_stderr(), running.returncode), ("one\n", "two\n", 3))


def commands_take_input(core):
    script = ["sh", "-c", "read word; echo got $word"]
    running = connect(core.connect_get_namespaced_pod_exec, command=script, stdin=True, _preload_content=False)
    running.write_stdin("hello\n")
    running.run_forever(timeout=PATIENCE_SECONDS)
    expect((running.read_stdout(), running.returncode), ("got hello\n", 0))


def many_bytes_arrive(core):
    script = ["sh", "-c", "head -c 5000000 /dev/zero | tr '\\0' x"]
    printed = connect(core.connect_get_namespaced_pod_exec, command=script)
    expect((len(printed), set(printed)), (5_000_000, {"x"}))


def terminals_have_a_size(core):
    script = ["sh", "-c", "read word; stty size"]
    running = connect(
        core.connect_get_namespaced_pod_exec, command=script, stdin=True, stderr=False, tty=True, _preload_content=False
    )
    running.write_channel(4, '{"Width": 83, "Height": 29}')
    running.write_stdin("go\n")
    running.run_forever(timeout=PATIENCE_SECONDS)
    expect("29 83" in running.read_stdout(), True)


def one_attaches(core):
    attached = connect(core.connect_get_namespaced_pod_attach, stdin=True, _preload_content=False)
    attached.write_stdin("python\n")
    expect(attached.readline_stdout(timeout=PATIENCE_SECONDS), "got python")
    attached.close()
    # As text, some versions of the client hand out how Python would write the bytes.
    log = core.read_namespaced_pod_log(POD, "default", container=CONTAINER, tail_lines=1, _preload_content=False)
    expect(log.data, b"got python\n")


def ports_are_forwarded(core):
    forwarded = portforward(core.connect_get_namespaced_pod_portforward, POD, "default", ports=str(PORT))
    connection = forwarded.socket(PORT)
    connection.setblocking(True)
    connection.settimeout(PATIENCE_SECONDS)
    connection.sendall(b"x" * 100_000)
    got = 0
    while got < 100_000:
        piece = connection.recv(65_536)
        expect(bool(piece) and set(piece) == {ord("x")}, True)
        got += len(piece)
    expect(forwarded.error(PORT), None)
    connection.close()


CHECKS = [
    commands_print,
    commands_end_with_a_code,
    commands_take_input,
    many_bytes_arrive,
    terminals_have_a_size,
    one_attaches,
    ports_are_forwarded,
]


def main():
    config.load_kube_config()
    core = client.CoreV1Api()
    failed = 0
    for check in CHECKS:
        try:
            check(core)
            print(f"ok: {check.__name__}", flush=True)
        except Exception as error:  # whatever it is, the other checks still tell something
            failed += 1
            traceback.print_exc()
            said = " ".join(str(error).split())
            print(f"FAILED: {check.__name__}: {type(error).__name__}: {said}", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
