"""Leader election: the client's own, with a lock that is a Lease (it brings one that is a config map)."""

import datetime
import threading

from kubernetes import client
from kubernetes.client.rest import ApiException
from kubernetes.leaderelection import electionconfig, leaderelection
from kubernetes.leaderelection.leaderelectionrecord import LeaderElectionRecord

from common import NAMESPACE, apis, ask, expect, insistently, wait_for


class LeaseLock:
    """The lock of one candidate. One that has `died` no longer reaches the server."""

    def __init__(self, name, identity):
        self.name, self.namespace, self.identity = name, NAMESPACE, identity
        self.api = client.CoordinationV1Api(client.ApiClient())
        self.lease = None
        self.died = False
        self.conflicts = 0

    def get(self, name, namespace):
        try:
            self.lease = self.reach(self.api.read_namespaced_lease, name, namespace)
        except ApiException as error:
            return False, error
        spec = self.lease.spec
        times = [str(time) for time in (spec.acquire_time, spec.renew_time)]
        return True, LeaderElectionRecord(spec.holder_identity, str(spec.lease_duration_seconds), *times)

    def create(self, name, namespace, election_record):
        body = {"metadata": {"name": name}, "spec": self.spec(election_record, transitions=0)}
        return self.succeeds(self.api.create_namespaced_lease, namespace, body)

    def update(self, name, namespace, updated_record):
        before = self.lease.spec
        changed = before.holder_identity != updated_record.holder_identity
        spec = self.spec(updated_record, before.lease_transitions + changed)
        body = {"metadata": {"name": name, "resourceVersion": self.lease.metadata.resource_version}, "spec": spec}
        return self.succeeds(self.api.replace_namespaced_lease, name, namespace, body)

    def succeeds(self, call, *arguments):
        try:
            self.reach(call, *arguments)
            return True
        except ApiException as error:
            self.conflicts += error.status == 409
            return False

    def reach(self, call, *arguments):
        """A call that fails for reasons of the network is one that did not succeed."""
        if self.died:
            raise unreachable("dead")
        try:
            return call(*arguments)
        except ApiException:
            raise
        except Exception as error:
            raise unreachable(str(error)) from error

    @staticmethod
    def spec(record, transitions):
        def time(text):
            return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.timezone.utc)

        return {
            "holderIdentity": record.holder_identity,
            "leaseDurationSeconds": int(record.lease_duration),
            "acquireTime": time(record.acquire_time),
            "renewTime": time(record.renew_time),
            "leaseTransitions": transitions,
        }


def unreachable(why):
    error = ApiException(status=503, reason=why)
    error.body = '{"code": 503}'
    return error


class Candidate:
    """One process of several, of which one leads."""

    def __init__(self, identity):
        self.lock = LeaseLock("leader", identity)
        self.leads, self.stopped = threading.Event(), threading.Event()
        configuration = electionconfig.Config(
            self.lock,
            lease_duration=4,
            renew_deadline=3,
            retry_period=1,
            onstarted_leading=self.leads.set,
            onstopped_leading=self.stopped.set,
        )
        election = leaderelection.LeaderElection(configuration)
        threading.Thread(target=election.run, daemon=True).start()


def one_leads_and_another_follows():
    first = Candidate("first")
    wait_for("the first to lead", first.leads.is_set)
    second = Candidate("second")
    lease = lambda: apis.leases.read_namespaced_lease("leader", NAMESPACE)
    renewed = lease().spec.renew_time
    ask("cut")
    wait_for("the first to go on after a cut", lambda: insistently(lease).spec.renew_time > renewed)
    expect((lease().spec.holder_identity, second.leads.is_set()), ("first", False))
    first.lock.died = True
    wait_for("the first to give up", first.stopped.is_set)
    wait_for("the second to lead", second.leads.is_set)
    spec = lease().spec
    expect((spec.holder_identity, spec.lease_transitions, spec.lease_duration_seconds), ("second", 1, 4))
    second.lock.died = True


def many_candidates_and_one_lock():
    """All try at once to make the lock, then to take it: each time exactly one does."""
    locks = [LeaseLock("contended", f"candidate-{number}") for number in range(8)]
    def at_once(act):
        start, won = threading.Barrier(len(locks)), []

        def run(lock):
            start.wait()
            if act(lock):
                won.append(lock.identity)

        threads = [threading.Thread(target=run, args=(lock,)) for lock in locks]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return won

    def record(lock):
        # A write that changes nothing would not make the others' versions old.
        now = str(datetime.datetime.now())
        return LeaderElectionRecord(lock.identity, "4", now, now)

    won = at_once(lambda lock: lock.create(lock.name, NAMESPACE, record(lock)))
    expect(len(won), 1, won)
    for _ in range(5):
        for lock in locks:
            lock.get(lock.name, NAMESPACE)
        won = at_once(lambda lock: lock.update(lock.name, NAMESPACE, record(lock)))
        expect(len(won), 1, won)
        expect(apis.leases.read_namespaced_lease("contended", NAMESPACE).spec.holder_identity, won[0])


CHECKS = [one_leads_and_another_follows, many_candidates_and_one_lock]
